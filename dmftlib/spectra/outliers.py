"""Singular values of M(t) past the edge of the bulk, and where their vectors point.

A WeightHistory says what the queries have revealed of M(0); the rest is fresh noise,
which answers through the resolvents m_L(s), m_R(s) of the bulk. So s is an outlier of
M(t) iff it is an eigenvalue of

    K(s) = [[m_R left_beyond, D], [D^T, m_L right_beyond]],   D = Q_L^T M(t) Q_R.

A spike of strength theta that is independent of M(0) is found at the s with

    s^2 = (theta^2 + v)(theta^2 + v c)/theta^2 = s_+^2 + (theta - theta_c^2/theta)^2,
    m_L = s/(theta^2 + v c),   m_R = s/(theta^2 + v),   theta_c^2 = v sqrt(c),

v the variance, c the aspect. Everything is a smooth function of this theta, down to the
threshold theta_c where s meets the edge, while s and the resolvents are not smooth in
one another there. With it K(s) - s is, but for a factor on each side,

    T(theta) = [[left_beyond - v, theta D], [theta D^T, right_beyond - v c]] - theta^2,

and what is looked for is the distance x = theta - theta_c from the threshold. The
positive eigenvalues of T fall through zero one after the other: as many as T has at
theta_c are the outliers, and each is one bracketed root. With y its null vector, |y| =
1, and d = 2 y_L D y_R, the squared cosines with a unit query q are

    left   2 (y_L . q)^2 (theta^4 - theta_c^4) / (theta (theta^2 + v c)(2 theta - d)),
    right  2 (y_R . q)^2 (theta^4 - theta_c^4) / (theta (theta^2 + v)(2 theta - d)).
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .. import _checks, linalg
from .._compile import compiled
from ..history import WeightHistory
from .bulk import RectangularLaw
from .roots import AbstractFamily, differentiable
from .spiked import SpikedEnsemble

_ROUNDING = 8 * float(np.finfo(float).eps)  # of an eigenvalue, relative to the largest
_NOTHING = 1e-16  # of a variance
_MOST = 60  # iterations: a bisection of the bracket, at worst
_SPARE = 4  # directions beside those of the outliers, where few are asked of many
_MANY = 8  # times as many, at least


class Outliers(eqx.Module):
    """Singular values past the bulk edge, and where their singular vectors point; of a
    trajectory with a leading axis of steps, padded with NaN.

    values         (k,)      descending
    left_overlap   (k, l)    squared cosine of the left singular vector with each g_j (0
                             where g_j = 0)
    right_overlap  (k, k_h)  squared cosine of the right singular vector with each h_k
    """

    values: Float[Array, "*steps k"]
    left_overlap: Float[Array, "*steps k l"]
    right_overlap: Float[Array, "*steps k r"]
    _error: ClassVar[Callable[[], Float[Array, "*steps k"]] | None] = None

    @property
    def standard_error(self) -> Float[Array, "*steps k"]:
        """That of each value, where the theory is an average over batches of samples:
        computed when it is asked for, in the time of finding them once for each batch.

        It belongs to what `outliers` of the solution of a Nonlinear or a Program
        returns: NaN of a single batch, and where an outlier is missing without one of
        them. It does not survive a `jax.tree.map`, nor `jit`. Raises AttributeError for
        all others, which nothing is sampled for.
        """
        if self._error is None:
            raise AttributeError(
                "standard_error: nothing was sampled for these outliers, or they were "
                "transformed after they were found; known of what outliers() of the "
                "solution of a Nonlinear or a Program returns, and by "
                "solution.standard_error"
            )
        return self._error()

    def with_error(self, error: Callable[[], Float[Array, "*steps k"]]) -> "Outliers":
        """The same, whose standard error is what `error` returns when it is asked for.

        >>> found = Outliers(jnp.array([2.5]), jnp.ones((1, 1)), jnp.ones((1, 1)))
        >>> print(found.with_error(lambda: jnp.array([0.1])).standard_error)
        [0.1]
        """
        same = jax.tree.map(lambda x: x, self)
        object.__setattr__(same, "_error", error)  # not an array that jit could pass on
        return same

    def where(self, mask: Bool[Array, "*steps"]) -> "Outliers":
        """NaN where the mask is False; it has the leading axes of all three.

        >>> found = Outliers(jnp.array([2.5]), jnp.ones((1, 1)), jnp.ones((1, 1)))
        >>> print(found.where(jnp.array([False])).values)
        [nan]
        """

        def masked(x):
            axes = tuple(range(mask.ndim, x.ndim))
            present = jnp.expand_dims(mask, axes)
            return jnp.where(present, x, jnp.nan)

        return jax.tree.map(masked, self)


def outliers(
    ensemble: SpikedEnsemble | WeightHistory, max_outliers: int | None = None
) -> Outliers:
    """The singular values of M past the bulk edge s_+ = sqrt(variance) (1 +
    sqrt(aspect)), as n, m -> infinity; of a WeightHistory at its last step.

    Without `max_outliers` all outliers are returned and nothing else. With it, or under
    `jit`, `grad` and `vmap`, where shapes are static, there are `max_outliers` rows (at
    most and by default the smaller number of queries) and the absent ones are NaN;
    their gradient is 0. Values and overlaps can be differentiated as often as asked, in
    forward and reverse mode; of outliers that are degenerate, values once. A gap below
    the bulk is not searched. Raises ValueError for anything but an ensemble.

    >>> independent = SpikedEnsemble(aspect=0.5, variance=1.0, left_gram=[[1.0]],
    ...                              right_gram=[[1.0]], strengths=[[2.0]])
    >>> found = outliers(independent)
    >>> print(found.values.round(4), found.left_overlap.round(4))
    [1.9365] [[0.7]]
    """
    if isinstance(ensemble, SpikedEnsemble):
        ensemble = ensemble.history()
    if not isinstance(ensemble, WeightHistory):
        _checks.fail(
            "ensemble",
            type(ensemble).__name__,
            "a SpikedEnsemble or a WeightHistory",
        )
    if max_outliers is not None:
        _checks.integer("max_outliers", max_outliers, 1)
    elif not _checks.is_concrete(ensemble):
        max_outliers = min(ensemble.core.shape)
    return outliers_by_step(ensemble, ensemble.steps, max_outliers)


def outliers_by_step(
    history: WeightHistory,
    step: int | None = None,
    max_outliers: int | None = None,
    alive: Bool[Array, "*steps"] | None = None,
) -> Outliers:
    """Outliers of M(t) at every step, and overlaps with the queries: values (steps+1,
    k), NaN where there are fewer, and at steps that are not `alive`, which cost
    nothing.

    k is the largest number that any step has, at least one, or `max_outliers`, which is
    needed under `jit` and `vmap`. With a `step` the axis of steps is left out, and k is
    the number at that step. The gradient of an absent entry is 0.
    """
    steps = steps_asked(history, step)
    alive = jnp.ones(len(steps), bool) if alive is None else alive.reshape(-1)
    start = _at_edge(history, steps, alive)
    if max_outliers is None:
        if not _checks.is_concrete(start):
            _checks.fail(
                "max_outliers",
                None,
                "a whole number under jit and vmap, where shapes are fixed",
            )
        fewest = 1 if step is None else 0
        counts = np.sum(start.present, 1)
        max_outliers = int(np.max(counts, initial=fewest))
    _checks.integer("max_outliers", max_outliers, 0)
    rows = min(max_outliers, *history.core.shape)
    found = _located(history, steps, start.leading(rows))
    if step is None:
        return found
    return jax.tree.map(lambda x: x[0], found)


def steps_asked(history: WeightHistory, step: int | None) -> Int[Array, " chosen"]:
    """That step, or all."""
    if step is None:
        return jnp.arange(history.steps + 1)
    return jnp.array([step])


class _Bulk(eqx.Module):
    """The bulk at one step, or at several: its parameters and what follows of them."""

    aspect: Float[Array, ""]
    variance: Float[Array, "*steps"]

    @property
    def threshold(self):
        """theta_c."""
        return jnp.sqrt(self.variance) * self.aspect**0.25

    def growth(self, x, p: int, q: int):
        """The factors that stand on each side of K(s) - s in T, relative to the edge and
        but for one that is common to all: sqrt(theta^2 + v) p times on the left,
        sqrt(theta^2 + v c) q times on the right.
        """
        square = (self.threshold + x) ** 2
        edge = self.threshold**2
        left = (square + self.variance) / (edge + self.variance)
        narrow = self.aspect * self.variance
        right = (square + narrow) / (edge + narrow)
        factors = jnp.concatenate([jnp.full(p, left), jnp.full(q, right)])
        return jnp.sqrt(factors)

    def value(self, x):
        """The s of theta = theta_c + x."""
        ratio = jnp.sqrt(self.aspect)
        edge = jnp.sqrt(self.variance) * (1 + ratio)
        theta = self.threshold + x
        beyond = x * (theta + self.threshold) / theta
        return jnp.sqrt(edge**2 + beyond**2)


class SpikedFamily(AbstractFamily):
    """T(theta_c + x) of one step = at_edge + x slope - x^2."""

    at_edge: Float[Array, "*steps n n"]
    slope: Float[Array, "*steps n n"]

    def matrix(self, x):
        """T(theta_c + x)."""
        identity = jnp.eye(len(self.slope))
        return self.at_edge + x * self.slope - x**2 * identity

    def separation(self, y):
        """2 theta - d: minus the slope of y^T T y in theta, at its larger root. Zero for
        the zero vector.
        """
        constant = y @ self.at_edge @ y
        linear = self._linear(y)
        square = linear**2 + 4 * constant
        present = square > 0
        root = jnp.sqrt(jnp.where(present, square, 1.0))
        return jnp.where(present, root, 0.0)

    def root(self, y):
        """The larger root x of y^T T(theta_c + x) y, in the form that does not cancel."""
        linear = self._linear(y)
        constant = y @ self.at_edge @ y
        total = linear + self.separation(y)
        direct = linear > 0
        small = 2 * constant / jnp.where(direct, total, 1.0)
        return jnp.where(direct, small, total / 2 - linear)

    def _linear(self, y):
        return -(y @ self.slope @ y)


def family(history: WeightHistory, steps: Int[Array, " chosen"]) -> SpikedFamily:
    """T at each of the steps, by its expansion about the threshold."""
    p, q = history.core.shape
    scale = history.scale[steps]
    square = squared_scale(scale)[:, None, None]
    threshold = bulk(history, steps).threshold[:, None, None]
    D = scale[:, None, None] * history.core + history.spikes[steps]
    left = square * (history.left_beyond - history.variance * jnp.eye(p))
    right = history.variance * history.aspect * jnp.eye(q)
    right = square * (history.right_beyond - right)
    zero = jnp.zeros_like
    crossed = _blocks(zero(left), D, zero(right))
    beyond = _blocks(left, zero(D), right)
    identity = jnp.eye(p + q)
    return SpikedFamily(
        at_edge=beyond + threshold * crossed - threshold**2 * identity,
        slope=crossed - 2 * threshold * identity,
    )


def bulk(history: WeightHistory, steps: Int[Array, " chosen"]) -> _Bulk:
    """The bulk of M(t) at each of the steps: that of M(0) times the scale."""
    square = squared_scale(history.scale[steps])
    return _Bulk(history.aspect, square * history.variance)


def squared_scale(scale):
    """scale^2; where nothing of M(0) is left, too little to be seen in any digit."""
    return jnp.maximum(scale**2, _NOTHING)


def effective_matrix(history: WeightHistory, s, step: int = -1):
    """K(s): the Hermitization of M(t) on the span of the queries, the rest of M
    integrated out. Outliers are the s that are its eigenvalues.

    >>> spiked = SpikedEnsemble(aspect=1.0, variance=1.0, left_gram=[[1.0]],
    ...                         right_gram=[[1.0]], strengths=[[2.0]])
    >>> print(jnp.linalg.eigvalsh(effective_matrix(spiked.history(), 2.5))[1])
    2.5
    """
    square = history.scale[step] ** 2
    law = RectangularLaw(history.aspect, square * history.variance)
    return _blocks(
        law.m_right(s) * square * history.left_beyond,
        history.scale[step] * history.core + history.spikes[step],
        law.m_left(s) * square * history.right_beyond,
    )


def _blocks(left, crossed, right):
    """[[left, crossed], [crossed^T, right]]"""
    upper = jnp.concatenate([left, crossed], -1)
    turned = jnp.swapaxes(crossed, -1, -2)
    lower = jnp.concatenate([turned, right], -1)
    return jnp.concatenate([upper, lower], -2)


class _Start(eqx.Module):
    """Eigenvectors of T at the edge, leading first, and which of them have outliers."""

    present: Bool[Array, "*steps k"]
    largest: Float[Array, "*steps"]  # eigenvalue
    vectors: Float[Array, "*steps some size"]

    def leading(self, rows: int) -> "_Start":
        """The first so many; and a few more vectors where there are many more."""
        size = self.vectors.shape[-1]
        wanted = rows + _SPARE
        some = wanted if _MANY * wanted < size else size
        return _Start(
            present=self.present[:, :rows],
            largest=self.largest,
            vectors=self.vectors[:, :some],
        )


@compiled
def _at_edge(history: WeightHistory, steps, alive) -> _Start:
    """The count: the eigenvalues of T at the edge that are positive beyond rounding."""
    matrices = family(jax.lax.stop_gradient(history), steps).at_edge
    size = matrices.shape[-1]

    def nothing(matrix):
        return jnp.zeros(size), jnp.eye(size)

    def solved(alive, matrix):
        return jax.lax.cond(alive, linalg.eigh, nothing, matrix)

    values, vectors = linalg.each(solved, alive, matrices)
    sizes = jnp.abs(values)
    largest = jnp.max(sizes, 1, keepdims=True)
    present = values > _ROUNDING * largest
    rows = jnp.swapaxes(vectors, 1, 2)
    return _Start(
        present=present[:, ::-1],
        largest=values[:, -1],
        vectors=rows[:, ::-1],
    )


@compiled
def _located(history: WeightHistory, steps, start: _Start) -> Outliers:
    """The outliers of each step, and their overlaps with the queries."""
    families = family(history, steps)
    bulks = bulk(history, steps)
    p, _ = history.core.shape

    def null_vectors(family, variance, start):
        own = _Bulk(bulks.aspect, variance)
        return _null_vectors(_Leading(family, own, start, p))

    frozen = jax.lax.stop_gradient((families, bulks.variance, start))
    null = linalg.each(null_vectors, *frozen)

    def read(family, variance, null):
        own = _Bulk(bulks.aspect, variance)
        return _read(family, own, history, null)

    found = jax.vmap(read)(families, bulks.variance, null)
    return found.where(start.present)


def _read(family: SpikedFamily, bulk: _Bulk, history, null) -> Outliers:
    """Values and overlaps of one step, from the null vectors, with derivatives."""
    y = jax.vmap(differentiable, (None, 0))(family, null)
    x = jax.vmap(family.root)(y)
    c = bulk.threshold
    theta = c + x
    squares = theta**2 + c**2
    growth = 2 * x * (theta + c) * squares / theta
    separation = jax.vmap(family.separation)(y)
    separation = jnp.where(separation > 0, separation, 1.0)
    growth = growth / separation
    to_left = theta**2 + bulk.variance * bulk.aspect
    to_right = theta**2 + bulk.variance
    p = len(history.core)
    left = _share(y[:, :p], history.left_queries)
    right = _share(y[:, p:], history.right_queries)
    left_size = growth / to_left
    right_size = growth / to_right
    return Outliers(
        values=bulk.value(x),
        left_overlap=left_size[:, None] * left,
        right_overlap=right_size[:, None] * right,
    )


def _share(y, queries):
    """Squared components of the rows of y along each query; 0 along a zero query."""
    square = jnp.sum(queries**2, 0)
    present = square > 0
    safe = jnp.where(present, square, 1.0)
    shares = (y @ queries) ** 2 / safe
    return jnp.where(present, shares, 0.0)


class _Spectrum(NamedTuple):
    """Eigenvalues in ascending order, and the vectors, as columns."""

    values: Float[Array, " some"]
    vectors: Float[Array, "n some"]


class _Leading(eqx.Module):
    """T of one step, of which the leading eigenvalues are asked."""

    family: SpikedFamily
    bulk: _Bulk
    start: _Start
    left: int = eqx.field(static=True)  # of its rows belong to the left

    def spectrum(self, x) -> _Spectrum:
        """The signs of the leading eigenvalues of T(theta_c + x), and its null vector if
        it has one.

        Of a few eigenvectors V of T at the edge, those with outliers among them, and tau
        more than its largest eigenvalue, tau V V^T - T is positive definite at the edge.
        K(s) - s decreases with s, so that C = tau V V^T - T(x) is that everywhere, V as
        K(s) - s sees it. The span of C^{-1} V has the null vector of T(x), since
        T y = 0 is C y = tau V (V^T y), and as many positive eigenvalues as T(x).
        """
        matrix = self.family.matrix(x)
        size = len(matrix)
        some = len(self.start.vectors)
        if some == size:
            return _Spectrum(*linalg.eigh(matrix))
        growth = self.bulk.growth(x, self.left, size - self.left)
        V = self.start.vectors * growth
        tau = 2 * jnp.abs(self.start.largest)
        rounding = _ROUNDING * jnp.linalg.norm(matrix) * jnp.eye(size)
        factor = linalg.cholesky(tau * V.T @ V - matrix + rounding)

        def seen():
            half = linalg.solve_lower(factor, V.T)
            answers = linalg.solve_lower(factor, half, transposed=True)
            basis, _ = linalg.qr(answers)
            values, vectors = linalg.eigh(basis.T @ matrix @ basis)
            return _Spectrum(values, basis @ vectors)

        def whole():
            values, vectors = linalg.eigh(matrix)
            return _Spectrum(values[-some:], vectors[:, -some:])

        # Grams that a sample has measured may have negative eigenvalues
        definite = jnp.isfinite(factor).all()
        return jax.lax.cond(definite, seen, whole)

    def vector(self, number, x):
        """That of the eigenvalue of this number, from the largest down."""
        values, vectors = self.spectrum(x)
        place = len(values) - 1 - number
        return jax.lax.dynamic_index_in_dim(vectors, place, 1, keepdims=False)


def _null_vectors(leading: _Leading) -> Float[Array, "n size"]:
    """The null vectors of one step, largest root first; zero where there is none."""
    family = leading.family
    present = leading.start.present
    numbers = jnp.arange(len(present))

    def root(number, present, y):
        return _root(leading, number, present, y)

    x = linalg.each(root, numbers, present, leading.start.vectors[: len(numbers)])
    # roots closer than rounding take their vectors from one matrix, which gives them
    # orthogonal
    scale = x + jnp.max(jnp.abs(family.slope))
    gaps = jnp.diff(x, prepend=jnp.inf)
    gaps = jnp.abs(gaps)
    apart = gaps > 1e-9 * scale
    starts = jnp.where(apart, numbers, 0)
    first = jax.lax.cummax(starts)

    def vector(number, x):
        return leading.vector(number, x)

    def nothing(number, x):
        return jnp.zeros(len(family.slope), x.dtype)

    def vector_or_nothing(number, x, present):
        return jax.lax.cond(present, vector, nothing, number, x)

    return linalg.each(vector_or_nothing, numbers, x[first], present)


class _Search(eqx.Module):
    """A root in a bracket, and how far the last step went."""

    x: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    moved: Float[Array, ""]
    count: Int[Array, ""]


def _root(leading: _Leading, number, present, y):
    """Outlier `number`: where that eigenvalue of T(theta_c + x) crosses zero.

    The next x is the root of y^T T y, y the eigenvector at the last one, whose error is
    squared each time; where it leaves the bracket, that is halved.
    """
    family = leading.family
    size = jnp.linalg.norm(family.slope)
    constant = jnp.linalg.norm(family.at_edge)
    square = size**2 + 4 * constant
    high = (size + jnp.sqrt(square)) / 2
    rounding = _ROUNDING * size

    def unfinished(search):
        resolved = search.moved <= 1e-6 * search.x + rounding
        return present & ~resolved & (search.count < _MOST)

    def improved(search):
        values, vectors = leading.spectrum(search.x)
        chosen = len(values) - 1 - number
        above = values[chosen] > 0
        low = jnp.where(above, search.x, search.low)
        high = jnp.where(above, search.high, search.x)
        guess = family.root(vectors[:, chosen])
        moved = jnp.abs(guess - search.x)
        inside = (guess >= low) & (guess <= high)
        inside = inside | (moved <= 1e-6 * search.x + rounding)
        guess = jnp.maximum(guess, 0.0)
        middle = (low + high) / 2
        guess = jnp.where(inside, guess, middle)
        moved = jnp.where(inside, moved, jnp.inf)
        count = search.count + 1
        return _Search(guess, low, high, moved, count)

    start = jnp.clip(family.root(y), 0.0, high)
    zero = jnp.zeros_like(high)
    anywhere = jnp.full_like(high, jnp.inf)
    none = jnp.zeros((), int)
    search = _Search(start, zero, high, anywhere, none)
    return jax.lax.while_loop(unfinished, improved, search).x
