"""Bulk laws: what every law of eigenvalues or singular values answers, and the law of a
rectangular matrix with its resolvent.

The resolvent is a response. Let H = [[0, M], [M^T, 0]] and let a field obey da/dtau =
-s a + H a + source in an auxiliary time tau: the Laplace transform of its response to
the source is (s - H)^{-1}. This is the second level.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks
from .._compile import compiled

_GAUSS_LEGENDRE = np.polynomial.legendre.leggauss(200)
_ROUNDING = 1e-12
_SETTLED = 4 * float(np.finfo(float).eps)  # of a quantile
_SERIES = 0.3  # q below which the sums of the cdf are taken term by term
_ANGLES = np.linspace(0, np.pi, 129)
_TABLE = (1 - np.cos(_ANGLES)) / 2  # of each band, for quantiles


class AbstractLaw(eqx.Module):
    """A law of real numbers: bands with a density, and atoms.

    Whoever writes a law of his own gives it `edges`, `atoms`, `density`, `cdf` and
    `stieltjes`; quantiles and samples follow from these. See the page on extending the
    library.

    edges          the bands, ascending: a tuple of pairs; () for atoms alone
    atoms          pairs (position, weight)
    density(x)     of the bands; it integrates to one less the weight of the atoms
    cdf(x)         fraction at or below x, atoms included
    stieltjes(z)   E[1/(z - x)], z off the support, real or complex

    Methods take numbers and arrays of any shape.
    """

    @property
    @abc.abstractmethod
    def edges(self) -> tuple:
        """The bands, ascending: a tuple of pairs."""

    @property
    @abc.abstractmethod
    def atoms(self) -> tuple:
        """Pairs (position, weight)."""

    @abc.abstractmethod
    def density(self, x) -> Array:
        """Density of the bands at x; it integrates to one less the weight of the atoms."""

    @abc.abstractmethod
    def cdf(self, x) -> Array:
        """Fraction of the law at or below x, atoms included."""

    @abc.abstractmethod
    def stieltjes(self, z) -> Array:
        """E[1/(z - x)], z off the support, real or complex."""

    def sf(self, x):
        """Fraction of the law above x."""
        return 1 - self.cdf(x)

    @property
    def upper_end(self):
        """The largest number of the law: the end of its last band, or an atom beyond.

        >>> round(float(rectangular_law(1.0, 1.0).upper_end), 6)
        2.0
        """
        ends = [high for _, high in self.edges]
        ends += [at for at, _ in self.atoms]
        if len(ends) == 1:  # which may be traced
            return ends[0]
        return max(ends)

    def ppf(self, q):
        """Quantiles: the smallest number x of the law with cdf(x) >= q, for q in [0, 1]
        of any shape.

        Raises ValueError for other q, and under `jit` and `grad`: it looks at numbers.

        >>> print(rectangular_law(1.0, 1.0).ppf([0.0, 0.5, 1.0]).round(4))
        [0.     0.8079 2.    ]
        """
        if not _checks.is_concrete((self, q)):
            _checks.fail(
                "q", "traced numbers", "known ones: quantiles have no derivative"
            )
        q = np.asarray(_checks.points("q", q))
        beyond = (q < 0) | (q > 1)
        outside = np.count_nonzero(beyond)
        if outside:
            _checks.fail("q", f"{outside} outside [0, 1]", "fractions from 0 to 1")
        table = _tabulated(self)
        last = len(table.points) - 1
        at = np.searchsorted(table.reached, q)
        at = np.minimum(at, last)
        below = np.maximum(at - 1, 0)
        inside = q > table.reached[below]
        inside &= q < table.before[at]
        inside &= table.bands[below] == table.bands[at]
        high = table.points[at]
        low = np.where(inside, table.points[below], high)
        return jax.device_put(_inverted(self, q, low, high))

    def sample(self, n: int, seed: int = 0):
        """n numbers drawn independently from the law: (n,). The same seed gives the same
        numbers.

        Raises ValueError for an n below 1.

        >>> rectangular_law(0.5, 1.0).sample(1000, seed=3).shape
        (1000,)
        """
        _checks.integer("n", n, 1)
        _checks.integer("seed", seed, 0)
        rng = np.random.default_rng(seed)
        return self.ppf(rng.random(n))

    def __hash__(self):
        leaves = jax.tree.leaves(self)
        arrays = map(np.asarray, leaves)
        numbers = [array.tobytes() for array in arrays]
        return hash((type(self), *numbers))


def off_the_support(law, z):
    """z as an array, refused on the bands and the atoms of the law."""
    points = _checks.known_points("z", z, complex_too=True)
    position = np.real(points)
    on = np.zeros(points.shape, bool)
    for low, high in law.edges:
        inner_low = low + _ROUNDING * abs(low)
        inner_high = high - _ROUNDING * abs(high)
        on |= (position > inner_low) & (position < inner_high)
    for at, _ in law.atoms:
        on |= position == at
    on &= np.imag(points) == 0
    if on.any():
        need = "a point off the support (real, or with an imaginary part)"
        _checks.fail("z", f"{position[on].flat[0]:.6g}", need)
    return points


class _Table(eqx.Module):
    """Points of a law, ascending, with the fractions at or below and before them, and
    the band that each is in.
    """

    points: np.ndarray
    reached: np.ndarray
    before: np.ndarray
    bands: np.ndarray


def _tabulated(law) -> _Table:
    low, high = _columns(law.edges)
    at, weight = _columns(law.atoms)
    width = high - low
    within = low[:, None] + width[:, None] * _TABLE
    points = np.concatenate([within.ravel(), at])
    nothing = np.zeros(within.size)
    weights = np.concatenate([nothing, weight])
    order = np.lexsort((weights, points))
    points = points[order]
    steps = weights[order]
    cdf = np.asarray(law.cdf(points))
    reached = np.maximum.accumulate(cdf)
    before = reached - steps
    bands = np.searchsorted(low, points, side="right")
    return _Table(points, reached, before, bands)


def _columns(pairs) -> np.ndarray:
    """The first numbers of pairs, and the second ones."""
    rows = [[float(x) for x in pair] for pair in pairs]
    return np.reshape(rows, (-1, 2)).T


def _inverted(law, q, low, high):
    """x between low and high with cdf(x) = q, by Newton's method where it stays
    between, else by bisection.
    """
    x = (low + high) / 2
    for _ in range(200):
        excess = np.asarray(law.cdf(x)) - q
        slope = np.asarray(law.density(x))
        short = excess < 0
        low = np.where(short, x, low)
        high = np.where(short, high, x)
        rises = slope > 0
        newton = x - excess / np.where(rises, slope, 1.0)
        between = rises & (newton > low) & (newton < high)
        middle = (low + high) / 2
        new = np.where(between, newton, middle)
        moved = np.abs(new - x)
        if np.all(moved <= _SETTLED * np.abs(new)):
            return new
        x = new
    return x


class RectangularLaw(AbstractLaw):
    """The law of the min(n, m) singular values of an n x m matrix M0 with iid N(0,
    variance/m) entries, aspect = n/m.

    As n, m -> infinity the symmetrised resolvent has the traces

        m_L = (1/n) tr s (s^2 - M0 M0^T)^{-1},   m_R = (1/m) tr s (s^2 - M0^T M0)^{-1},
        m_L = 1/(s - variance m_R),              m_R = 1/(s - variance aspect m_L),

    and the singular values fill [s_-, s_+], s_± = sqrt(variance) |1 ± sqrt(aspect)|.

    All methods take numbers or arrays of any shape. `atoms` is empty: the zeros that a
    non-square M0 must have are not among its min(n, m) singular values. They are in M0
    M0^T and M0^T M0, and so in m_L and m_R: `left_atom` and `right_atom` are their
    fractions.

    Source: the cavity derivation in chapter 2 of the book (Marchenko and Pastur 1967).

    >>> law = RectangularLaw(aspect=0.25, variance=1.0)
    >>> [round(float(edge), 3) for edge in law.edges[0]]
    [0.5, 1.5]
    >>> round(float(law.m_left(2.0)), 4)
    0.6883
    """

    aspect: Float[Array, ""]
    variance: Float[Array, ""]

    def __init__(self, aspect, variance):
        aspect = _checks.positive("aspect", aspect)
        variance = _checks.positive("variance", variance)
        self.aspect = jnp.asarray(aspect, float)
        self.variance = jnp.asarray(variance, float)

    @property
    def edges(self) -> tuple:
        """((s_-, s_+),): the one interval that the singular values fill."""
        scale = jnp.sqrt(self.variance)
        root = jnp.sqrt(self.aspect)
        # |1 - root|, to rounding where the matrix is all but square
        high = 1 + root
        low = jnp.abs(1 - self.aspect) / high
        low = jnp.minimum(low, high)
        return ((scale * low, scale * high),)

    @property
    def atoms(self) -> tuple:
        """Pairs (position, weight). None here."""
        return ()

    @property
    def left_atom(self) -> Float[Array, ""]:
        """Fraction of the n eigenvalues of M0 M0^T that are exactly zero: max(0, 1 -
        1/aspect).
        """
        return jnp.maximum(0.0, 1 - 1 / self.aspect)

    @property
    def right_atom(self) -> Float[Array, ""]:
        """Fraction of the m eigenvalues of M0^T M0 that are exactly zero: max(0, 1 -
        aspect).
        """
        return jnp.maximum(0.0, 1 - self.aspect)

    def _discriminant_root(self, s):
        """sqrt((s^2 - s_-^2)(s^2 - s_+^2)), the branch that grows like s^2."""
        low, high = (edge.astype(s.dtype) for edge in self.edges[0])
        square = s * s
        if jnp.iscomplexobj(s):
            below = jnp.sqrt(square - low**2)
            above = jnp.sqrt(square - high**2)
            return below * above
        beyond = (s - high) * (s + high)
        outside = beyond * (s - low) * (s + low)
        present = outside > 0
        root = jnp.sqrt(jnp.where(present, outside, 1.0))
        signed = jnp.sign(square - low**2) * root
        return jnp.where(present, signed, 0.0)

    def _off_the_bulk(self, name, s, mirrored: bool):
        """s as an array, refused on the bulk (and on its mirror image)."""
        s = _checks.points(name, s, complex_too=True)
        if _checks.is_concrete((s, self)):
            low, high = (float(edge) for edge in self.edges[0])
            position = np.real(s)
            size = np.abs(position) if mirrored else position
            inside = size < high * (1 - _ROUNDING)
            inside &= size > low * (1 + _ROUNDING)
            inside &= np.imag(s) == 0
            if np.any(inside):
                bulk = f"[{low:.6g}, {high:.6g}]"
                need = f"a point off the bulk {bulk} (real, or with an imaginary part)"
                got = f"{position[inside].flat[0]:.6g}"
                _checks.fail(name, got, need)
        return s

    def m_left(self, s):
        """m_L(s) = (1/n) tr s (s^2 - M0 M0^T)^{-1}, for s off the bulk, real or
        complex.
        """
        s = self._off_the_bulk("s", s, mirrored=True)
        return _at_points(_m_left, self, s)

    def m_right(self, s):
        """m_R(s) = (1/m) tr s (s^2 - M0^T M0)^{-1}, for s off the bulk, real or
        complex.
        """
        s = self._off_the_bulk("s", s, mirrored=True)
        return _at_points(_m_right, self, s)

    def _symmetrised(self, s, left):
        """The root of the quadratic that decays like 1/s, in the one of its two forms
        that does not cancel.
        """
        c = self.aspect.astype(s.dtype)
        v = self.variance.astype(s.dtype)
        excess = v * (1 - c)
        middle = s * s - jnp.where(left, excess, -excess)
        root = self._discriminant_root(s)
        plus = middle + root
        minus = middle - root
        direct = jnp.abs(plus) >= jnp.abs(minus)
        larger = jnp.where(direct, plus, minus)
        load = 2 * v * jnp.where(left, c, 1.0)
        small = larger / (load * s)
        return jnp.where(direct, 2 * s / larger, small)

    def _nodes(self):
        """Positions and weights of a quadrature: E f = sum weights f(positions)."""
        (low, high) = self.edges[0]
        nodes, weights = _GAUSS_LEGENDRE
        half_angle = jnp.pi / 4 * (1 + nodes)
        width = high**2 - low**2
        square = low**2 + width * jnp.cos(half_angle) ** 2
        weights = weights * jnp.sin(2 * half_angle) ** 2 / square
        return jnp.sqrt(square), weights / weights.sum()

    def stieltjes(self, z):
        """E[1/(z - x)] over the singular values x, for z off the bulk, real or complex.

        With m the symmetrised transform on the smaller side it is 2 m(z) - E[1/(z + x)]
        where Re z >= 0, so that the only average left to quadrature is smooth.
        """
        z = self._off_the_bulk("z", z, mirrored=False)
        return _at_points(_stieltjes, self, z)

    def density(self, x):
        """Density of the singular values, normalised to one on [s_-, s_+] and zero
        outside.

        A square matrix has it at zero too, where it is 2/(pi sqrt(variance)).
        """
        return _at_points(_density, self, _checks.points("x", x))

    def cdf(self, x):
        """Fraction of the singular values at or below x, in closed form.

        With q = sqrt(min(aspect, 1/aspect)) and x in proportion to |1 - q e^{i theta}|,
        theta from 0 at s_- to pi at s_+, the angle has density (2/pi) sin^2(theta)/|1 -
        q e^{i theta}|^2, and

            pi cdf = theta + sum_{k > 0} q^k sin(k theta)/k - sum_{k > 1} q^(k-2) sin(k theta)/k.
        """
        return _at_points(_cdf, self, _checks.points("x", x))


def _at_points(function, law, x):
    """function(law, x), compiled once for as many points as fill the next power of
    two.
    """
    if not _checks.is_concrete((law, x)):
        kind = complex if jnp.iscomplexobj(x) else float
        return function(law, jnp.asarray(x, kind))
    points = np.asarray(x)
    doublings = max(3, (points.size - 1).bit_length())
    room = 1 << doublings
    spare = np.ones(room - points.size)
    filled = np.concatenate([points.ravel(), spare])
    answers = np.asarray(function(law, filled))
    asked = answers[: points.size]
    # `jnp.asarray` would compile a program for each shape
    return jax.device_put(asked.reshape(points.shape))


@compiled
def _m_left(law, s):
    return law._symmetrised(s, left=True)


@compiled
def _m_right(law, s):
    return law._symmetrised(s, left=False)


@compiled
def _stieltjes(law, z):
    position, weight = law._nodes()
    position = position.astype(z.dtype)
    weight = weight.astype(z.dtype)
    negative = z.real < 0
    size = jnp.where(negative, -z, z)
    shares = weight / (size[..., None] + position)
    mirrored = shares.sum(-1)
    both = 2 * law._symmetrised(z, left=law.aspect <= 1)
    return jnp.where(negative, -mirrored, both - mirrored)


@compiled
def _density(law, x):
    (low, high) = law.edges[0]
    at_zero = (x == 0) & (low == 0)
    within = (x > low) & (x < high)
    inside = within | at_zero
    middle = (low + high) / 2
    safe = jnp.where(inside & ~at_zero, x, middle)
    beyond = (high - safe) * (high + safe)
    beyond = jnp.where(at_zero, high**2, beyond)
    gap = (1 - low / safe) * (1 + low / safe)
    gap = jnp.where(at_zero, 1.0, gap)
    square = jnp.maximum(beyond * gap, 0.0)
    height = jnp.sqrt(square)
    smaller = jnp.minimum(1.0, law.aspect)
    weight = jnp.pi * law.variance * smaller
    return jnp.where(inside, height / weight, 0.0)


@compiled
def _cdf(law, x):
    (low, high) = law.edges[0]
    inside = (x > low) & (x < high)
    middle = (low + high) / 2
    safe = jnp.where(inside, x, middle)
    climbed = (safe - low) * (safe + low)
    rest = (high - safe) * (high + safe)
    half = jnp.arctan2(jnp.sqrt(climbed), jnp.sqrt(rest))
    theta = 2 * half
    square = jnp.minimum(law.aspect, 1 / law.aspect)
    q = jnp.sqrt(square)
    up = q * jnp.sin(theta)
    first = jnp.arctan2(up, 1 - q * jnp.cos(theta))
    total = theta + first - _tail(q, theta, first)
    above = (x >= high).astype(float)
    return jnp.where(inside, total / jnp.pi, above)


def _tail(q, theta, first):
    """sum_{k > 1} q^(k-2) sin(k theta)/k, given the sum `first` of q^k sin(k theta)/k
    over k > 0; where that would cancel, by its terms.
    """
    k = np.arange(2.0, 34.0)
    small = jnp.minimum(q, _SERIES)
    sines = jnp.sin(theta[..., None] * k)
    terms = sines @ (small ** (k - 2) / k)
    large = jnp.maximum(q, _SERIES)
    rest = first - large * jnp.sin(theta)
    return jnp.where(q < _SERIES, terms, rest / large**2)


def rectangular_law(aspect, variance) -> RectangularLaw:
    """The law of the singular values of an n x m matrix with iid N(0, variance/m)
    entries, aspect = n/m.

    Raises ValueError unless both are positive and finite. See `RectangularLaw`.

    >>> round(float(rectangular_law(1.0, 4.0).cdf(4.0)), 6)
    1.0
    """
    return RectangularLaw(aspect, variance)
