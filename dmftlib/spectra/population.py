"""Bulk laws restructured by as many spikes as dimensions: generalised Marchenko-Pastur, and information plus noise.

Both are read off an explicit rational function z(v). Edges are its critical points. Between two population values
there is at most one gap, where a function `tightness` that is infinite at both values falls below one; it has one
minimum there, so every gap is found, however narrow.
"""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .. import checks

_ROUNDING = 1e-12
_GAUSS_LEGENDRE = np.polynomial.legendre.leggauss(400)


class _ResolventLaw(eqx.Module):
    """A law given by a rational function: `support_map(v)` = (z, dz/dv), with v ~ z far away, and `_answers(v, z)`,
    which are E[1/(z - x)] and E[log(z - x)]. The root v is followed from far above the real axis, where it is unique,
    down to z, the height divided by three at every step, by Newton's method. Numbers in, JAX arrays out: the roots are
    found by NumPy, which needs no compilation for every new shape.
    """

    @property
    def edges(self) -> tuple:
        """The intervals filled, ascending: a tuple of pairs."""
        return tuple((low, high) for low, high in self.intervals)

    def density(self, x):
        """Density at x, any shape; it integrates to one less the weight of the atoms."""
        x = checks.points("x", x)
        low, high = self.intervals.T
        inside = ((x[..., None] > low) & (x[..., None] < high)).any(-1)
        g, _ = self._resolve(np.where(inside, x, (low + high)[0] / 2))
        return jnp.asarray(np.where(inside, -g.imag / np.pi, 0.0))

    def cdf(self, x):
        """Fraction of the law at or below x, atoms included, in closed form: 1 - Im E[log(x + i0 - x')] / pi."""
        x = checks.points("x", x)
        low, high = self.intervals.T
        bulks = np.searchsorted(low, x, side="right")  # a point of a gap is moved to the edge below it
        _, potential = self._resolve(np.where(bulks > 0, np.minimum(x, high[bulks - 1]), high[-1]))
        below = sum((weight * (x >= position) for position, weight in self.atoms), 0.0)
        return jnp.asarray(np.where(bulks == 0, below, np.where(x >= high[-1], 1.0, 1 - potential.imag / np.pi)))

    def stieltjes(self, z):
        """E[1/(z - x)], z off the support, real or complex, any shape."""
        z = _off_the_support(self, z)
        g, _ = self._resolve(np.where(z.imag < 0, z.conj(), z))
        return jnp.asarray(np.where(z.imag < 0, g.conj(), g) if np.iscomplexobj(z) else g.real)

    def _resolve(self, z):
        """E[1/(z - x)] and E[log(z - x)] for z in the closed upper half plane."""
        z = np.asarray(z, complex)
        height = 8j * (self.intervals[-1, 1] + np.abs(z))
        v = z + height
        with np.errstate(divide="ignore", invalid="ignore"):  # log 0 at a hard edge
            for target in [*(z + height / 3.0 ** (k // 2) for k in range(68)), *[z] * 6]:
                position, slope = self.support_map(v)
                v = v - (position - target) / np.where(slope == 0, 1.0, slope)
                v = v.real + 1j * np.abs(v.imag)
            return self._answers(v, z)


class GeneralisedMP(_ResolventLaw):
    """Eigenvalues of Z^T T Z / D with Z (N, D) of iid unit entries and any positive semidefinite T, aspect = N/D.

    As N, D -> infinity, with v = 1/E[1/(z - x)] and tau distributed as the spectrum of T,

        z = v + aspect E_tau[tau v / (v - tau)].

    Inside a bulk v = p + i q lies on aspect E_tau[tau^2/|v - tau|^2] = 1: one q for every p, and z grows with p. At the
    edges q = 0. There is an atom at zero of weight 1 - aspect P(tau > 0) if that is positive. It needs numbers, so it
    cannot be made under jit or grad. Source: derived in chapter 12 of the book (Silverstein and Choi 1995).
    """

    values: Float[np.ndarray, " k"]  # distinct and positive, ascending
    loads: Float[np.ndarray, " k"]  # aspect times their weights
    intervals: Float[np.ndarray, "bulks 2"]

    @property
    def atoms(self) -> tuple:
        """((0, weight),) if there are zero eigenvalues, else ()."""
        weight = 1 - float(self.loads.sum())
        return ((0.0, weight),) if weight > _ROUNDING else ()

    def support_map(self, v):
        """z(v) = v + aspect E[tau v/(v - tau)], and dz/dv."""
        relative = self.values / (v[..., None] - self.values)
        return v + v * (relative @ self.loads), 1 - relative**2 @ self.loads

    def _answers(self, v, z):
        beyond = v[..., None] - self.values
        mixed = np.log(v)[..., None] - np.log(beyond) - self.values / beyond
        return 1 / v, np.log(v) - (self.loads * mixed).sum(-1)


def generalised_mp(values, weights, aspect) -> GeneralisedMP:
    """The law of the eigenvalues of Z^T T Z / D, Z (N, D) of iid unit entries, aspect = N/D; see `GeneralisedMP`.

    values   (k,)  the spectrum of T, none negative, some positive
    weights  (k,)  their fractions, adding up to one; a continuous spectrum is given by quadrature nodes

    Raises ValueError for anything else. With one value this is the law of Marchenko and Pastur:

    >>> law = generalised_mp([1.0], [1.0], aspect=4.0)
    >>> [round(float(edge), 3) for edge in law.edges[0]], law.atoms
    ([1.0, 9.0], ())
    >>> len(generalised_mp([1.0, 20.0], [0.5, 0.5], aspect=0.5).edges)
    2
    """
    checks.positive("aspect", aspect)
    values, weights = _population("values", values, "weights", weights)
    if abs(weights.sum() - 1) > 1e-9:
        checks.fail("weights", f"a sum of {weights.sum():.6g}", "weights that add up to one")
    if not (weights[values > 0] > 0).any():
        checks.fail("values", "no positive one that has a weight", "some positive values of positive weight")
    values, weights = _merged(values[values > 0], weights[values > 0])
    loads = float(aspect) * weights

    def tightness(v):
        return (loads * values**2 / (v[:, None] - values) ** 2).sum(1)

    ends = _bulk_ends(tightness, values, np.sqrt((loads * values**2).sum()))
    intervals = np.maximum((1 + (loads * values / (ends[..., None] - values)).sum(-1)) * ends, 0.0)
    intervals[0, 0] *= abs(loads.sum() - 1) > _ROUNDING  # a hard edge is at zero, not near it
    return GeneralisedMP(values, loads, intervals)


class InformationPlusNoise(_ResolventLaw):
    """Squared singular values of M = M0 + A, n <= m, M0 (n, m) iid N(0, variance/m), aspect = n/m, A any of its size.

    With t the squared singular values of A, f(w) = E[1/(t - w)] and u(w) = 1 - variance aspect f(w),

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

    def _signal(self, w):
        """f, u and f'."""
        inverse = 1 / (self.values - w[..., None])
        f, slope = inverse @ self.weights, inverse**2 @ self.weights
        return f, 1 - self.variance * self.aspect * f, slope

    def support_map(self, w):
        """z(w) = w u^2 + variance (1 - aspect) u, and dz/dw."""
        _, u, slope = self._signal(w)
        rest = self.variance * (1 - self.aspect)
        return w * u**2 + rest * u, u**2 - self.variance * self.aspect * slope * (2 * w * u + rest)

    def _answers(self, w, z):
        f, u, _ = self._signal(w)
        logs = (self.weights * np.log(w[..., None] - self.values)).sum(-1) - (1 / self.aspect - 1) * np.log(u)
        return -f / u, logs - f * (z / u - w)


class Image(eqx.Module):
    """The law of image(y), y distributed by `source`; `image` is monotonic on each of `branches` and has a `slope`.

    Of the atoms, `atoms` are those of the image. Where the source has weight that is no longer counted (zeros of
    M^T M that are not among the min(n, m) singular values of M), the fraction `counted` of the source is divided out.
    """

    source: eqx.Module
    image: Callable
    branches: Float[np.ndarray, "k 2"]
    counted: float = 1.0
    atoms: tuple = ()

    @property
    def edges(self) -> tuple:
        """The intervals filled, ascending: a tuple of pairs."""
        ends, intervals = np.sort(np.asarray(self.image(self.branches)), 1), []
        for low, high in ends[np.argsort(ends[:, 0])]:
            if intervals and low <= intervals[-1][1] * (1 + _ROUNDING):
                intervals[-1] = (intervals[-1][0], max(high, intervals[-1][1]))
            else:
                intervals.append((low, high))
        return tuple(intervals)

    def _preimages(self, x):
        """y with image(y) = x on each branch (…, k), or the end of it that is nearest; where there is one; whether the
        branch rises."""
        left, right = self.branches.T
        start, end = (np.asarray(self.image(side)) for side in (left, right))
        x = checks.points("x", x)[..., None]
        low, high = left + 0 * x, right + 0 * x
        for _ in range(54):
            middle = (low + high) / 2
            beyond = (np.asarray(self.image(middle)) > x) == (end > start)
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        return (low + high) / 2, (x > np.minimum(start, end)) & (x < np.maximum(start, end)), end > start

    def density(self, x):
        """Density at x, any shape; it integrates to one less the weight of the atoms."""
        y, present, _ = self._preimages(x)
        slope = np.where(present, np.abs(self.image.slope(np.where(present, y, self.branches.mean(1)))), 1.0)
        return jnp.asarray(np.where(present, self.source.density(y) / slope, 0.0).sum(-1) / self.counted)

    def cdf(self, x):
        """Fraction at or below x, atoms included."""
        y, _, rising = self._preimages(x)
        left, right = np.asarray(self.source.cdf(self.branches)).T
        reached = np.asarray(self.source.cdf(y))
        below = np.where(rising, reached - left, right - reached).sum(-1) / self.counted
        return jnp.asarray(below + sum(weight * (np.asarray(x) >= at) for at, weight in self.atoms))

    def stieltjes(self, z):
        """E[1/(z - x)], z off the support, by quadrature: good from 1% of its width away."""
        z = _off_the_support(self, z)
        left, right = self.branches.T[..., None]
        angle = np.pi / 2 * (1 + _GAUSS_LEGENDRE[0])
        y = (left + right - (right - left) * np.cos(angle)) / 2
        weight = np.asarray(self.source.density(y)) * (right - left) * np.sin(angle) * _GAUSS_LEGENDRE[1] * np.pi / 4
        bulks = (weight / (z[..., None, None] - self.image(y))).sum((-2, -1)) / self.counted
        return jnp.asarray(bulks + sum(weight / (z - at) for at, weight in self.atoms))


class _Root(eqx.Module):
    """y -> sqrt(factor y)."""

    factor: float

    def __call__(self, y):
        return np.sqrt(self.factor * y)

    def slope(self, y):
        return np.sqrt(self.factor / y) / 2


def singular_values(squares: _ResolventLaw, factor: float = 1.0, excess: float = 0.0) -> Image:
    """The law of sqrt(factor x), x distributed by `squares`, without a fraction `excess` of its zeros."""
    atoms = tuple((at, (weight - excess) / (1 - excess)) for at, weight in squares.atoms)
    atoms = tuple((at, weight) for at, weight in atoms if weight > _ROUNDING)
    return Image(squares, _Root(factor), squares.intervals, 1 - excess, atoms)


def monotonic_branches(image, low, high, count: int = 1000) -> Float[np.ndarray, "k 2"]:
    """The intervals between the turning points of `image` on [low, high]; none where it is constant."""
    grid = np.linspace(low, high, count)
    sign = np.sign(image.slope(grid))
    if not sign.any():
        return np.zeros((0, 2))
    turn = np.flatnonzero(sign[1:] * sign[:-1] < 0)
    left, right = grid[turn], grid[turn + 1]
    for _ in range(50):
        middle = (left + right) / 2
        same = np.sign(image.slope(middle)) == sign[turn]
        left, right = np.where(same, middle, left), np.where(same, right, middle)
    ends = np.concatenate([[low], (left + right) / 2, [high]])
    return np.stack([ends[:-1], ends[1:]], 1)


def extensive_spikes(aspect, variance, strengths, fractions) -> Image:
    """Singular values of M = M0 + A, M0 (n, m) of iid N(0, variance/m) entries, aspect = n/m, A of extensive rank.

    strengths  (k,)  singular values of A, none negative (in fixed or random directions that know nothing of M0)
    fractions  (k,)  how many there are of each, over min(n, m); up to a sum of one, the other min(n, m) are zero

    Raises ValueError for anything else. See `InformationPlusNoise` for the equation. Without spikes it is the
    rectangular law; spikes with the law of another Gaussian matrix add up to a Gaussian matrix.

    >>> law = extensive_spikes(1.0, 1.0, strengths=[5.0], fractions=[0.3])
    >>> [[round(float(x), 3) for x in pair] for pair in law.edges]
    [[0.0, 1.663], [4.393, 5.919]]
    """
    checks.positive("aspect", aspect)
    checks.positive("variance", variance)
    strengths, fractions = _population("strengths", strengths, "fractions", fractions)
    rest = 1 - fractions.sum()
    if rest < -1e-9:
        checks.fail("fractions", f"a sum of {fractions.sum():.6g}", "fractions that add up to at most one")
    c, v = (float(aspect), float(variance)) if aspect <= 1 else (1 / float(aspect), float(variance * aspect))
    t, h = _merged(np.append(strengths, 0.0) ** 2, np.append(fractions, rest if rest > _ROUNDING else 0.0))

    def tightness(w):
        inverse_square = h / (w[:, None] - t) ** 2
        a, b = inverse_square.sum(1), (inverse_square * t).sum(1)
        return v * (c * b + np.sqrt((c * w * a) ** 2 + c * (1 - c) * a))

    ends = _bulk_ends(tightness, t, v + 2 * np.sqrt(v * (v + t.max())))
    u = 1 - v * c * (h / (t - ends[..., None])).sum(-1)
    intervals = np.maximum(ends * u**2 + v * (1 - c) * u, 0.0)
    intervals[0, 0] *= c < 1 or ends[0, 0] > 0  # a hard edge is at zero, not near it
    return singular_values(InformationPlusNoise(t, h, c, v, intervals))


def _population(name, values, weights_name, weights):
    values = np.asarray(checks.array(name, values, (None,)))
    weights = np.asarray(checks.array(weights_name, weights, (len(values),)))
    for label, numbers in ((name, values), (weights_name, weights)):
        if (numbers < 0).any():
            checks.fail(label, f"one of {numbers.min():.6g}", "numbers that are not negative")
    return values, weights


def _merged(values, weights):
    """Distinct values of positive weight, ascending; those that differ by rounding are one."""
    order = np.argsort(values)
    values, weights = values[order][weights[order] > 0], weights[order][weights[order] > 0]
    group = np.cumsum(np.diff(values, prepend=-np.inf) > _ROUNDING * values.max()) - 1
    total = np.bincount(group, weights)
    return np.bincount(group, weights * values) / total, total


def _bulk_ends(tightness, poles, reach) -> np.ndarray:
    """The intervals (bulks, 2) that tightness > 1 cuts out of the real line.

    tightness is infinite at the poles, at most 1 beyond `reach` of them, and has one minimum between two.
    """
    left, right = low, high = poles[:-1], poles[1:]
    golden = (np.sqrt(5) - 1) / 2
    with np.errstate(divide="ignore", invalid="ignore"):  # at a pole, to rounding: infinity or NaN, never below 1
        for _ in range(80):
            a, b = high - golden * (high - low), low + golden * (high - low)
            falls = tightness(a) > tightness(b)
            low, high = np.where(falls, a, low), np.where(falls, high, b)
        lowest = (low + high) / 2
        gap = tightness(lowest) < 1
        outside = np.stack([np.append(poles[0] - 1.001 * reach, lowest[gap]),
                            np.append(lowest[gap], poles[-1] + 1.001 * reach)])  # fmt: skip
        inside = np.stack([np.append(poles[0], right[gap]), np.append(left[gap], poles[-1])])
        for _ in range(100):
            middle = (outside + inside) / 2
            loose = np.stack([tightness(side) < 1 for side in middle])
            outside, inside = np.where(loose, middle, outside), np.where(loose, inside, middle)
    return ((outside + inside) / 2).T


def _off_the_support(law, z):
    """z as an array, refused on the support."""
    z = points = checks.points("z", z, complex_too=True)
    on = [(points.real > low * (1 + _ROUNDING)) & (points.real < high * (1 - _ROUNDING)) for low, high in law.edges]
    bad = np.any(on + [points.real == at for at, _ in law.atoms], axis=0) & (points.imag == 0)
    if np.any(bad):
        need = "a point off the support (real, or with an imaginary part)"
        checks.fail("z", f"{points[bad].flat[0].real:.6g}", need)
    return z
