"""Bulk laws restructured by as many spikes as dimensions: generalised Marchenko-Pastur,
and information plus noise.

Both are read off an explicit rational function z(v). Edges are its critical points.
Between two population values there is at most one gap, where a function `tightness`
that is infinite at both values falls below one; it has one minimum there, so every gap
is found, however narrow.
"""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .. import _checks
from .bulk import AbstractLaw, off_the_support

ROUNDING = 1e-12


class AbstractResolventLaw(AbstractLaw):
    """A law given by an explicit map z(v), with v ~ z far away.

    Whoever writes one of his own gives it `intervals` (see `bulk_ends`), `atoms` and

    support_map(v)   z and dz/dv
    transform(v, z)  E[1/(z - x)]
    potential(v, z)  E[log(z - x)]; only its imaginary part is used

    The root v is followed from far above the real axis, where it is unique, down to z,
    the height divided by three at every step, by Newton's method. Numbers in, JAX
    arrays out: the roots are found by NumPy, which needs no compilation for every new
    shape.
    """

    intervals: eqx.AbstractVar[Float[np.ndarray, "bulks 2"]]

    @abc.abstractmethod
    def support_map(self, v, /) -> tuple[Any, Any]:
        """z(v) and dz/dv."""

    @abc.abstractmethod
    def transform(self, v, z, /) -> np.ndarray:
        """E[1/(z - x)] at z = z(v)."""

    @abc.abstractmethod
    def potential(self, v, z, /) -> np.ndarray:
        """E[log(z - x)] at z = z(v)."""

    @property
    def edges(self) -> tuple:
        """The intervals filled, ascending: a tuple of pairs."""
        return tuple((low, high) for low, high in self.intervals)

    def density(self, x):
        """Density at x, any shape; it integrates to one less the weight of the atoms."""
        x = _checks.known_points("x", x)
        low, high = self.intervals.T
        each = x[..., None]
        within = (each > low) & (each < high)
        inside = within.any(-1)
        somewhere = (low[0] + high[0]) / 2
        z = np.where(inside, x, somewhere)
        z = z.astype(complex)
        v = self._root(z)
        transform = self.transform(v, z)
        density = -np.imag(transform) / np.pi
        density = np.where(inside, density, 0.0)
        return jnp.asarray(density)

    def cdf(self, x):
        """Fraction of the law at or below x, atoms included, in closed form."""
        x = _checks.known_points("x", x)
        below = 1 - np.asarray(self.sf(x))
        atoms = atoms_below(self.atoms, x)
        first = self.intervals[0, 0]
        fraction = np.where(x < first, atoms, below)
        return jnp.asarray(fraction)

    def sf(self, x):
        """Fraction of the law above x, in closed form: Im E[log(x + i0 - x')] / pi."""
        x = _checks.known_points("x", x)
        low, high = self.intervals.T
        band = np.searchsorted(low, x, side="right") - 1
        # a point of a gap is moved to the edge below it
        moved = np.minimum(x, high[band])
        moved = np.where(band < 0, high[-1], moved)
        z = moved.astype(complex)
        with np.errstate(divide="ignore", invalid="ignore"):  # log 0 at a hard edge
            potential = self.potential(self._root(z), z)
        above = np.imag(potential) / np.pi
        last = high[-1]
        above = np.where(x >= last, 0.0, above)
        before = 1 - atoms_below(self.atoms, x)
        fraction = np.where(band < 0, before, above)
        return jnp.asarray(fraction)

    def stieltjes(self, z):
        """E[1/(z - x)], z off the support, real or complex, any shape."""
        z = off_the_support(self, z)
        lower = np.imag(z) < 0
        above = np.where(lower, np.conj(z), z)
        above = above.astype(complex)
        v = self._root(above)
        transform = self.transform(v, above)
        if not np.iscomplexobj(z):
            return jnp.asarray(np.real(transform))
        transform = np.where(lower, np.conj(transform), transform)
        return jnp.asarray(transform)

    def _root(self, z):
        """v with z(v) = z, for z in the closed upper half plane."""
        far = self.intervals[-1, 1] + np.abs(z)
        height = 8j * far
        v = z + height
        thirds = [3.0 ** (k // 2) for k in range(68)]
        path = [height / third for third in thirds]
        path += [0.0] * 6
        with np.errstate(divide="ignore", invalid="ignore"):
            for above in path:
                position, slope = self.support_map(v)
                slope = np.where(slope == 0, 1.0, slope)
                v = v - (position - z - above) / slope
                v = v.real + 1j * np.abs(v.imag)
        return v


class GeneralisedMP(AbstractResolventLaw):
    """Eigenvalues of Z^T T Z / D with Z (N, D) of iid unit entries and any positive
    semidefinite T, aspect = N/D.

    As N, D -> infinity, with v = 1/E[1/(z - x)] and tau distributed as the spectrum of
    T,

        z = v + aspect E_tau[tau v / (v - tau)].

    Inside a bulk v = p + i q lies on aspect E_tau[tau^2/|v - tau|^2] = 1: one q for
    every p, and z grows with p. At the edges q = 0. There is an atom at zero of weight
    1 - aspect P(tau > 0) if that is positive. It needs numbers, so it cannot be made
    under jit or grad. Source: derived in chapter 12 of the book (Silverstein and Choi
    1995).
    """

    values: Float[np.ndarray, " k"]  # distinct and positive, ascending
    loads: Float[np.ndarray, " k"]  # aspect times their weights
    intervals: Float[np.ndarray, "bulks 2"]

    @property
    def atoms(self) -> tuple:
        """((0, weight),) if there are zero eigenvalues, else ()."""
        weight = 1 - float(self.loads.sum())
        return ((0.0, weight),) if weight > ROUNDING else ()

    def support_map(self, v):
        """z(v) = v + aspect E[tau v/(v - tau)], and dz/dv."""
        relative = self.values / (v[..., None] - self.values)
        pushed = v * (relative @ self.loads)
        return v + pushed, 1 - relative**2 @ self.loads

    def transform(self, v, z):
        """1/v."""
        return 1 / v

    def potential(self, v, z):
        """log v + aspect E[log(1 - tau/v) + tau/(v - tau)]."""
        logs = log1p(-self.values / v[..., None])
        apart = v[..., None] - self.values
        rest = self.values / apart
        shares = logs + rest
        return np.log(v) + shares @ self.loads


class InformationPlusNoise(AbstractResolventLaw):
    """Squared singular values of M = M0 + A, n <= m, M0 (n, m) iid N(0, variance/m),
    aspect = n/m, A any of its size.

    With t the squared singular values of A, f(w) = E[1/(t - w)] and u(w) = 1 - variance
    aspect f(w),

        z = w u^2 + variance (1 - aspect) u,    E[1/(z - x)] = -f/u.

    With a = E[1/(w - t)^2] and b = E[t/(w - t)^2], the edges dz/dw = 0 are where
    variance (aspect b + sqrt(aspect^2 w^2 a^2 + aspect (1 - aspect) a)) = 1.
    Source: derived in chapter 12 of the book (Dozier and Silverstein 2007).
    """

    values: Float[np.ndarray, " k"]  # t, distinct, ascending
    weights: Float[np.ndarray, " k"]
    aspect: float
    variance: float
    intervals: Float[np.ndarray, "bulks 2"]

    @property
    def atoms(self) -> tuple:
        """None: the noise fills every direction."""
        return ()

    def support_map(self, w):
        """z(w) = w u^2 + variance (1 - aspect) u, and dz/dw."""
        inverse = self._inverse(w)
        f = inverse @ self.weights
        slope = inverse**2 @ self.weights
        load = self.variance * self.aspect
        u = 1 - load * f
        rest = self.variance * (1 - self.aspect)
        z = w * u**2 + rest * u
        steepness = 2 * w * u + rest
        return z, u**2 - load * slope * steepness

    def transform(self, w, z):
        """-f/u."""
        f = self._inverse(w) @ self.weights
        u = 1 - self.variance * self.aspect * f
        return -f / u

    def potential(self, w, z):
        """E[log(w - t)] - (1/aspect - 1) log u - f (z/u - w)."""
        f = self._inverse(w) @ self.weights
        load = self.variance * self.aspect
        apart = w[..., None] - self.values
        logs = np.log(apart) @ self.weights
        others = 1 / self.aspect - 1
        logs = logs - others * log1p(-load * f)
        u = 1 - load * f
        return logs - f * (z / u - w)

    def _inverse(self, w):
        """1/(t - w), a last axis for t."""
        return 1 / (self.values - w[..., None])


def log1p(x):
    """log(1 + x) of complex numbers, near 0 too (that of NumPy loses its digits
    there).
    """
    small = np.abs(x) < 0.5
    near = np.where(small, x, 0.0)
    a = np.real(near)
    b = np.imag(near)
    square = 2 * a + a**2 + b**2
    angle = np.arctan2(b, 1 + a)
    precise = np.log1p(square) / 2 + 1j * angle
    direct = np.log(1 + x)
    return np.where(small, precise, direct)


def atoms_below(atoms, x) -> np.ndarray:
    """The weight of the atoms at or below x, of any shape."""
    total = np.zeros(np.shape(x))
    for at, weight in atoms:
        total += weight * (x >= at)
    return total


def generalised_mp(values, weights, aspect) -> GeneralisedMP:
    """The law of the eigenvalues of Z^T T Z / D, Z (N, D) of iid unit entries, aspect =
    N/D; see `GeneralisedMP`.

    values   (k,)  the spectrum of T, none negative, some positive
    weights  (k,)  their fractions, adding up to one; a continuous spectrum is given by quadrature nodes

    Raises ValueError for anything else, and under `jit` and `grad`. With one value this
    is the law of Marchenko and Pastur:

    >>> law = generalised_mp([1.0], [1.0], aspect=4.0)
    >>> [round(float(edge), 3) for edge in law.edges[0]], law.atoms
    ([1.0, 9.0], ())
    >>> len(generalised_mp([1.0, 20.0], [0.5, 0.5], aspect=0.5).edges)
    2
    """
    aspect = _checks.positive("aspect", _checks.concrete("aspect", aspect))
    values, weights = population("values", values, "weights", weights)
    if abs(weights.sum() - 1) > 1e-9:
        got = f"a sum of {weights.sum():.6g}"
        _checks.fail("weights", got, "weights that add up to one")
    positive = values > 0
    if not (weights[positive] > 0).any():
        got = "no positive one that has a weight"
        _checks.fail("values", got, "some positive values of positive weight")
    values, weights = merged(values[positive], weights[positive])
    loads = aspect * weights

    def tightness(v):
        relative = values / (v[:, None] - values)
        return relative**2 @ loads

    reach = np.sqrt(loads @ values**2)
    ends = bulk_ends(tightness, values, reach)
    relative = values / (ends[..., None] - values)
    factor = 1 + relative @ loads
    intervals = np.maximum(factor * ends, 0.0)
    if abs(loads.sum() - 1) <= ROUNDING:
        intervals[0, 0] = 0.0  # a hard edge is at zero, not near it
    return GeneralisedMP(
        values=values,
        loads=loads,
        intervals=intervals,
    )


def information_plus_noise(aspect, variance, values, weights) -> InformationPlusNoise:
    """The law of the squared singular values of M0 + A; see `InformationPlusNoise`.

    values   (k,)  squared singular values of A, distinct, ascending
    weights  (k,)  their fractions, adding up to one
    """
    c = aspect
    v = variance
    t = values
    h = weights

    def tightness(w):
        inverse_square = h / (w[:, None] - t) ** 2
        a = inverse_square.sum(1)
        b = (inverse_square * t).sum(1)
        rest = c * (1 - c)
        square = (c * w * a) ** 2 + rest * a
        return v * (c * b + np.sqrt(square))

    product = v * (v + t.max())
    reach = v + 2 * np.sqrt(product)
    ends = bulk_ends(tightness, t, reach)
    inverse = h / (t - ends[..., None])
    f = inverse.sum(-1)
    u = 1 - v * c * f
    z = ends * u**2 + v * (1 - c) * u
    intervals = np.maximum(z, 0.0)
    if c == 1 and ends[0, 0] <= 0:
        intervals[0, 0] = 0.0  # a hard edge is at zero, not near it
    return InformationPlusNoise(
        values=t,
        weights=h,
        aspect=c,
        variance=v,
        intervals=intervals,
    )


def population(name, values, weights_name, weights):
    """Values and their weights as NumPy arrays (k,), none negative.

    Raises ValueError, naming the argument, for anything else and for traced numbers.
    """
    first = _known_row(name, values, None)
    second = _known_row(weights_name, weights, len(first))
    for label, numbers in ((name, first), (weights_name, second)):
        if (numbers < 0).any():
            got = f"one of {numbers.min():.6g}"
            _checks.fail(label, got, "numbers that are not negative")
    return first, second


def _known_row(name, given, length):
    """So many numbers, not traced."""
    row = _checks.array(name, given, (length,))
    return np.asarray(_checks.concrete(name, row))


def merged(values, weights):
    """Distinct values of positive weight, ascending; those that differ by rounding are
    one.
    """
    order = np.argsort(values)
    order = order[weights[order] > 0]
    values = values[order]
    weights = weights[order]
    steps = np.diff(values, prepend=-np.inf)
    apart = steps > ROUNDING * values.max()
    group = np.cumsum(apart) - 1
    total = np.bincount(group, weights)
    means = np.bincount(group, weights * values) / total
    return means, total


def bulk_ends(tightness, poles, reach) -> Float[np.ndarray, "bulks 2"]:
    """The intervals that tightness > 1 cuts out of the real line.

    tightness   a function of points (k,): infinite at the poles, at most 1 beyond
                `reach` of them, with one minimum between two
    poles       (n,), ascending
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        # at a pole, to rounding: infinity or NaN, never below 1
        lowest = _minima(tightness, poles[:-1], poles[1:])
        gap = tightness(lowest) < 1
        far = 1.001 * reach
        holes = lowest[gap]
        left = np.append(poles[0] - far, holes)
        right = np.append(holes, poles[-1] + far)
        outside = np.stack([left, right])
        behind = poles[1:][gap]
        before = poles[:-1][gap]
        first = np.append(poles[0], behind)
        last = np.append(before, poles[-1])
        inside = np.stack([first, last])
        for _ in range(100):
            middle = (outside + inside) / 2
            loose = np.stack([tightness(side) < 1 for side in middle])
            outside = np.where(loose, middle, outside)
            inside = np.where(loose, inside, middle)
    return ((outside + inside) / 2).T


def _minima(function, low, high):
    """Where it is least in each of the intervals, by golden section."""
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(80):
        part = golden * (high - low)
        a = high - part
        b = low + part
        falls = function(a) > function(b)
        low = np.where(falls, a, low)
        high = np.where(falls, high, b)
    return (low + high) / 2
