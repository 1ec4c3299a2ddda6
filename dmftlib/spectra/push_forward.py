"""Laws made of others: the law of image(y) where the law of y is known, and so singular
values from their squares.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .. import _checks
from .._types import AnyArray
from .bulk import AbstractLaw, off_the_support
from .resolvent import (
    ROUNDING,
    AbstractResolventLaw,
    atoms_below,
    information_plus_noise,
    merged,
    population,
)

_GAUSS_LEGENDRE = np.polynomial.legendre.leggauss(400)
_NEAR_ZERO = 1e-6  # of the width: where a density at a hard edge is read off


class AbstractMap(eqx.Module):
    """A function y -> x of arrays, and its slope."""

    @abc.abstractmethod
    def __call__(self, y, /) -> AnyArray:
        """x."""

    @abc.abstractmethod
    def slope(self, y, /) -> AnyArray:
        """dx/dy."""


class Image(AbstractLaw):
    """The law of image(y), y distributed by `source`; `image` is monotonic on each of
    `branches` and has a `slope`.

    `points` are the atoms of the image. Where the source has weight that is no longer
    counted (zeros of M^T M that are not among the min(n, m) singular values of M), the
    fraction `counted` of the source is divided out.
    """

    source: AbstractLaw
    image: AbstractMap
    branches: Float[np.ndarray, "k 2"]
    counted: float = 1.0
    points: tuple = ()

    @property
    def atoms(self) -> tuple:
        """Pairs (position, weight)."""
        return self.points

    @property
    def edges(self) -> tuple:
        """The intervals filled, ascending: a tuple of pairs; () for atoms alone."""
        ends = np.asarray(self.image(self.branches))
        ends = np.sort(ends, 1)
        order = np.argsort(ends[:, 0])
        intervals = []
        for low, high in ends[order]:
            end = intervals[-1][1] if intervals else -np.inf
            if low > end * (1 + ROUNDING):
                intervals.append([low, high])
            else:
                intervals[-1][1] = max(high, end)
        return tuple(map(tuple, intervals))

    def density(self, x):
        """Density at x, any shape; it integrates to one less the weight of the atoms."""
        x = _checks.known_points("x", x)
        if self.edges:
            low, high = self.edges[0]
            # at a hard edge the source's density is infinite, and the slope of the root
            hard = (x == 0) & (low == 0)
            x = np.where(hard, _NEAR_ZERO * high, x)
        found = self._preimages(x)
        inside = self.branches.mean(1)
        y = np.where(found.present, found.y, inside)
        slope = np.abs(self.image.slope(y))
        slope = np.where(found.present, slope, 1.0)
        density = np.asarray(self.source.density(y))
        shares = np.where(found.present, density / slope, 0.0)
        return jnp.asarray(shares.sum(-1) / self.counted)

    def cdf(self, x):
        """Fraction at or below x, atoms included."""
        x = _checks.known_points("x", x)
        found = self._preimages(x)
        ends = np.asarray(self.source.sf(self.branches))
        left, right = ends.T
        reached = np.asarray(self.source.sf(found.y))
        below = np.where(found.rising, left - reached, reached - right)
        bulks = below.sum(-1) / self.counted
        return jnp.asarray(bulks + atoms_below(self.atoms, x))

    def stieltjes(self, z):
        """E[1/(z - x)], z off the support, by quadrature: good from 1% of its width
        away.
        """
        z = off_the_support(self, z)
        left, right = self.branches.T[..., None]
        nodes, weights = _GAUSS_LEGENDRE
        angle = np.pi / 2 * (1 + nodes)
        width = right - left
        y = (left + right - width * np.cos(angle)) / 2
        step = width * np.sin(angle) * weights * np.pi / 4
        density = np.asarray(self.source.density(y))
        apart = z[..., None, None] - self.image(y)
        bulks = (density * step / apart).sum((-2, -1))
        atoms = sum(weight / (z - at) for at, weight in self.atoms)
        return jnp.asarray(bulks / self.counted + atoms)

    def _preimages(self, x) -> "_Preimages":
        left, right = self.branches.T
        start = np.asarray(self.image(left))
        end = np.asarray(self.image(right))
        rising = end > start
        x = x[..., None]
        low = left + 0 * x
        high = right + 0 * x
        for _ in range(54):
            middle = (low + high) / 2
            above = np.asarray(self.image(middle)) > x
            beyond = above == rising
            low = np.where(beyond, low, middle)
            high = np.where(beyond, middle, high)
        present = x > np.minimum(start, end)
        present &= x < np.maximum(start, end)
        return _Preimages((low + high) / 2, present, rising)


class _Preimages(eqx.Module):
    """y with image(y) = x on each branch, or the end of it that is nearest; where there
    is one; whether the branch rises.
    """

    y: Float[np.ndarray, "*points k"]
    present: np.ndarray
    rising: np.ndarray


class Root(AbstractMap):
    """y -> sqrt(factor y)."""

    factor: float

    def __call__(self, y):
        """x."""
        return np.sqrt(self.factor * y)

    def slope(self, y):
        """dx/dy."""
        return np.sqrt(self.factor / y) / 2


def singular_values(
    squares: AbstractResolventLaw, factor: float = 1.0, excess: float = 0.0
) -> Image:
    """The law of sqrt(factor x), x distributed by `squares`, without a fraction
    `excess` of its zeros.
    """
    counted = 1 - excess
    atoms = ((at, (weight - excess) / counted) for at, weight in squares.atoms)
    atoms = tuple((at, weight) for at, weight in atoms if weight > ROUNDING)
    return Image(squares, Root(factor), squares.intervals, counted, atoms)


def monotonic_branches(image, low, high, count: int = 1000) -> Float[np.ndarray, "k 2"]:
    """The intervals between the turning points of `image` on [low, high]; none where it
    is constant.
    """
    grid = np.linspace(low, high, count)
    sign = np.sign(image.slope(grid))
    if not sign.any():
        return np.zeros((0, 2))
    changes = sign[1:] * sign[:-1]
    turn = np.flatnonzero(changes < 0)
    left = grid[turn]
    right = grid[turn + 1]
    for _ in range(50):
        middle = (left + right) / 2
        same = np.sign(image.slope(middle)) == sign[turn]
        left = np.where(same, middle, left)
        right = np.where(same, right, middle)
    ends = np.concatenate([[low], (left + right) / 2, [high]])
    return np.stack([ends[:-1], ends[1:]], 1)


def extensive_spikes(aspect, variance, strengths, fractions) -> Image:
    """Singular values of M = M0 + A, M0 (n, m) of iid N(0, variance/m) entries, aspect
    = n/m, A of extensive rank.

    strengths  (k,)  singular values of A, none negative (in fixed or random directions that know nothing of M0)
    fractions  (k,)  how many there are of each, over min(n, m); up to a sum of one, the other min(n, m) are zero

    Raises ValueError for anything else, and under `jit` and `grad`. See
    `InformationPlusNoise` for the equation. Without spikes it is the rectangular law;
    spikes with the law of another Gaussian matrix add up to a Gaussian matrix.

    >>> law = extensive_spikes(1.0, 1.0, strengths=[5.0], fractions=[0.3])
    >>> [[round(float(x), 3) for x in pair] for pair in law.edges]
    [[0.0, 1.663], [4.393, 5.919]]
    """
    c = _checks.positive("aspect", _checks.concrete("aspect", aspect))
    v = _checks.positive("variance", _checks.concrete("variance", variance))
    strengths, fractions = population("strengths", strengths, "fractions", fractions)
    rest = 1 - fractions.sum()
    if rest < -1e-9:
        got = f"a sum of {fractions.sum():.6g}"
        _checks.fail("fractions", got, "fractions that add up to at most one")
    if c > 1:  # the transpose has the same singular values
        v = v * c
        c = 1 / c
    rest = rest if rest > ROUNDING else 0.0
    squares = np.append(strengths, 0.0) ** 2
    weights = np.append(fractions, rest)
    t, h = merged(squares, weights)
    return singular_values(information_plus_noise(c, v, t, h))
