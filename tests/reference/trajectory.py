"""The superseded solver of a whole trajectory, in s: an oracle.

All outliers of a layer at every step of its training, at once.

The queries are the same for every step and so is what they reveal of M(0); only D(t) =
Q_L^T M(t) Q_R moves.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dmftlib import _checks

from .outliers import ConditionedEnsemble, Outliers, _newton, _share


def outlier_trajectory(
    history, step: int | None = None, max_outliers: int | None = None
) -> Outliers:
    """Outliers and overlaps of a WeightHistory, by `outliers_by_step`."""
    return outliers_by_step(*conditioned(history), step, max_outliers)


def outliers_by_step(
    start: ConditionedEnsemble,
    spikes: Float[Array, "steps p q"],
    step: int | None = None,
    max_outliers: int | None = None,
) -> Outliers:
    """Outliers of M(t), and overlaps with the queries, at every step: values (steps+1,
    k), NaN where there are fewer.

    start    what all queries have revealed of M(0), and their coordinates; its
             strengths are not looked at
    spikes   Q_L^T (M(t+1) - M(t)) Q_R

    k is the largest number that any step has, or `max_outliers`, which is needed under
    `jit` and `vmap`. With a `step` the axis of steps is left out. Values can be
    differentiated once, and so can overlaps where outliers are not degenerate; the
    gradient of an absent entry is 0.
    """
    cores = jnp.cumsum(jnp.concatenate([start.core[None], spikes]), 0)
    (_, p, q), queries = cores.shape, (start.left_coordinates, start.right_coordinates)
    none = jnp.zeros((p, 0)), jnp.zeros((q, 0)), jnp.zeros((0, 0))
    ensembles = ConditionedEnsemble(
        start.aspect,
        start.variance,
        cores if step is None else cores[step][None],
        start.left_beyond,
        start.right_beyond,
        *none,
    )
    at_edge, y = _at_edge(jax.lax.stop_gradient(ensembles))
    if max_outliers is None:
        if not _checks.is_concrete(at_edge):
            _checks.fail(
                "max_outliers",
                None,
                "a whole number under jit and vmap, where shapes are fixed",
            )
        max_outliers = max(
            int(jnp.max(jnp.sum(at_edge > 1, 1))), 0 if step is not None else 1
        )
    rows = min(_checks.integer("max_outliers", max_outliers, 0), p, q)
    found = _located(ensembles, at_edge[:, :rows] > 1 + 1e-12, y[:, :, :rows], queries)
    return found if step is None else jax.tree.map(lambda x: x[0], found)


def stacked(found: list[Outliers]) -> Outliers:
    """The outliers of many steps as one, padded with NaN."""
    rows = max(1, *(len(at.values) for at in found))

    def stack(*parts):
        return jnp.stack(
            [jnp.full((rows, *x.shape[1:]), jnp.nan).at[: len(x)].set(x) for x in parts]
        )

    return jax.tree.map(stack, *found)


def escape_margin(
    start: ConditionedEnsemble,
    spikes: Float[Array, "steps p q"],
    step: int | None = None,
    number: int = 1,
):
    """omega - 1, where M(0) + (M(t) - M(0))/omega has outlier `number` just at the
    edge: at one step or at each.

    omega is an eigenvalue of S y = omega (s_+ - K(s_+)) y, with K of M(0) and S = [[0,
    D], [D^T, 0]], D the sum of the spikes so far; as many omega are above 1 as there
    are outliers. It can be differentiated, once: at the edge m_R = 1/deviation and m_L
    = 1/(deviation sqrt(c)).
    """
    D, (p, q) = (
        jnp.cumsum(jnp.concatenate([jnp.zeros((1, *start.core.shape)), spikes]), 0),
        start.core.shape,
    )
    D, deviation, root = (
        D if step is None else D[step],
        jnp.sqrt(start.variance),
        jnp.sqrt(start.aspect),
    )
    K = jnp.block(
        [
            [start.left_beyond / deviation, start.core],
            [start.core.T, start.right_beyond / (deviation * root)],
        ]
    )
    S = (
        jnp.zeros((*D.shape[:-2], p + q, p + q))
        .at[..., :p, p:]
        .set(D)
        .at[..., p:, :p]
        .set(jnp.swapaxes(D, -1, -2))
    )
    below = deviation * (1 + root) * jnp.eye(p + q) - K
    L = jnp.linalg.cholesky(jax.lax.stop_gradient(below))
    whitened = jnp.linalg.solve(
        L, jnp.swapaxes(jnp.linalg.solve(L, jax.lax.stop_gradient(S)), -1, -2)
    )
    y = jnp.linalg.solve(L.T, jnp.linalg.eigh(whitened)[1])[..., -number]
    return (
        jnp.einsum("...i,...ij,...j", y, S, y) / jnp.einsum("...i,ij,...j", y, below, y)
        - 1
    )


@jax.jit
def conditioned(history) -> tuple[ConditionedEnsemble, Float[Array, "steps p q"]]:
    """What the queries of a WeightHistory have revealed of M(0), by Stein's lemma, and
    the spikes.

    Over orthonormal directions: the image of a right direction is its innovation and A
    times the left directions.
    """
    c, v, A, B = (
        history.aspect,
        history.variance,
        history.right_response,
        history.left_response,
    )
    left = v * (jnp.eye(len(B)) + v * c * (A.T @ B.T + B @ A) + v * c * B @ B.T)
    right = v * c * (jnp.eye(len(A)) + v * (B.T @ A.T + A @ B) + v * A @ A.T)
    queries = history.left_queries.T, history.right_queries.T
    spikes = (
        jnp.sqrt(c)
        * history.rates[:, None, None]
        * queries[0].T[:, :, None]
        * queries[1].T[:, None, :]
    )
    return _start(c, v, v * jnp.sqrt(c) * (B + A.T), left, right, *queries), spikes


def pooled(
    histories, independent: bool = False, tolerance: float = 1e-3
) -> tuple[ConditionedEnsemble, Array]:
    """The same of a LayerHistory whose arrays have a first axis of batches of samples.

    Moments are averaged over the batches: the queries, unlike the directions, are the
    same in all of them. Directions of less than `tolerance` of the largest are left
    out. With `independent` the queries reveal nothing.
    """
    rates = histories.rates.mean(0)
    steps, P, K = rates.shape
    left = histories.left_queries[:, :steps].reshape(
        len(histories.core), steps * P * K, -1
    )
    right = histories.right_queries[:, :steps].reshape(
        len(histories.core), steps * P, -1
    )
    (to_left, left), (to_right, right) = (
        _leading(left, tolerance),
        _leading(right, tolerance),
    )
    core = jnp.mean(to_left @ histories.core @ to_right.transpose(0, 2, 1), 0)
    variance, images = (
        histories.variance.mean(),
        (histories.left_images, histories.right_images),
    )
    images = [
        jnp.mean(to @ x @ to.transpose(0, 2, 1), 0)
        for to, x in zip((to_left, to_right), images, strict=True)
    ]
    if independent:
        core, images = jnp.zeros_like(core), [variance * jnp.eye(n) for n in core.shape]
    spikes = jnp.einsum(
        "tmk,ptmk,qtm->tpq",
        rates,
        left.reshape(-1, steps, P, K),
        right.reshape(-1, steps, P),
    )
    return _start(jnp.ones(()), variance, core, *images, left, right), spikes


def _start(aspect, variance, core, left_images, right_images, left, right):
    beyond = left_images - core @ core.T, right_images - core.T @ core
    return ConditionedEnsemble(
        aspect, variance, core, *beyond, left, right, jnp.zeros((0, 0))
    )


def _leading(queries, tolerance):
    """The leading directions of the pooled queries: their coordinates (batches, p, r)
    over the directions of each batch and of the queries (p, number) over them. Which
    span is taken is not differentiated.
    """
    stacked = jnp.concatenate(list(queries), 1) / len(queries) ** 0.5
    directions, sizes, _ = jnp.linalg.svd(
        jax.lax.stop_gradient(stacked), full_matrices=False
    )
    kept = (
        int(jnp.sum(sizes > tolerance * sizes[0]))
        if _checks.is_concrete(sizes)
        else queries.shape[-1]
    )
    mixed = directions[:, :kept].T @ stacked
    whitened = jnp.linalg.solve(
        jnp.linalg.cholesky(mixed @ mixed.T), directions[:, :kept].T
    )
    whitened = jnp.pad(
        whitened, ((0, -kept % 8), (0, 0))
    )  # so that compiled functions serve many histories
    return whitened @ queries, whitened @ stacked @ stacked.T


_BY_STEP = ConditionedEnsemble(
    None, None, 0, None, None, None, None, None
)  # for vmap: only the core moves


@jax.jit
def _at_edge(ensembles):
    """Eigenvalues of K(s_+)/s_+, descending, with their vectors: as many are above 1 as
    there are outliers.
    """
    return jax.vmap(
        lambda ensemble: ensemble.crossings(ensemble.law.edges[0][1]), (_BY_STEP,)
    )(ensembles)


@jax.jit
def _located(ensembles, escaped, y, queries) -> Outliers:
    """The outliers of each step (steps+1, rows), and their overlaps with the queries."""
    values, y = _roots(ensembles, escaped, y)
    p = ensembles.core.shape[1]
    shares = (
        _share((part @ x) ** 2, (x**2).sum(0))
        for part, x in zip((y[..., :p], y[..., p:]), queries, strict=True)
    )
    return Outliers(
        values,
        *(jnp.where(jnp.isnan(values)[..., None], jnp.nan, share) for share in shares),
    )


def _roots(ensembles, escaped, y):
    """The outliers s of each step (steps+1, rows), and the vectors T(s) y = 0 with y^T
    T'(s) y = 2.
    """

    def of_step(ensemble, escaped, y):
        number = jnp.arange(len(escaped))
        return jax.vmap(
            lambda k, escaped, y: _root(ensemble, k, escaped, y), (0, 0, 1)
        )(number, escaped, y)

    return jax.vmap(of_step, (_BY_STEP, 0, 0))(ensembles, escaped, y)


def _root(ensemble, k, escaped, y):
    """Outlier number k from its vector at the edge.

    For the largest, the solution of y^T T(s) y = 0 with the vector y of an earlier s
    lies between that s and the root: the iteration is monotone, and its error is
    squared each time.
    """
    frozen = jax.lax.stop_gradient(ensemble)
    _, edge = frozen.law.edges[0]

    def improve(state):
        s, y, _, count = state
        y = jax.lax.dynamic_index_in_dim(frozen.crossings(s)[1], k, 1, keepdims=False)
        new = _rayleigh(frozen, edge, y)
        return new, y, jnp.abs(new - s), count + 1

    def unfinished(state):
        s, _, moved, count = state
        return escaped & (moved > 1e-6 * s) & (count < 50)

    s = jnp.where(escaped, _rayleigh(frozen, edge, y), 2 * edge)
    s, y, _, _ = jax.lax.while_loop(unfinished, improve, (s, y, s, 0))
    s, y = _differentiable(ensemble, frozen, s, y)
    return jnp.where(escaped, s, jnp.nan), jnp.where(escaped, y, jnp.nan)


def _rayleigh(ensemble, edge, y):
    """The s above the edge with y^T T(s) y = 0, by Newton's method in x = sqrt(s -
    edge), where m_L, m_R are smooth.
    """
    p, law = len(ensemble.core), ensemble.law
    left, right = (
        y[:p] @ ensemble.left_beyond @ y[:p],
        y[p:] @ ensemble.right_beyond @ y[p:],
    )
    direct = 2 * y[:p] @ ensemble.core @ y[p:]

    def residual(x):
        s = edge + x**2
        return s - direct - law.m_right(s) * left - law.m_left(s) * right

    def newton(_, x):
        value, slope = jax.jvp(residual, (x,), (jnp.ones_like(x),))
        return jnp.maximum(
            x - value / jnp.where(slope > 0, slope, 1.0), 1e-6 * jnp.sqrt(edge)
        )

    return edge + jax.lax.fori_loop(0, 12, newton, 1e-3 * jnp.sqrt(edge)) ** 2


def _differentiable(ensemble, frozen, s, y):
    """The root with its derivatives, and y normalised, with its own."""
    solved = frozen.pencil(s)
    s = _newton(ensemble, s, y)
    T, slope = jax.jvp(ensemble.pencil, (s,), (jnp.ones_like(s),))
    bordered = jnp.block([[solved, y[:, None]], [y[None, :], jnp.zeros((1, 1))]])
    y = y - jnp.linalg.solve(bordered, jnp.append(T @ y, 0.0))[:-1]
    norm = y @ slope @ y
    return s, y * jnp.sqrt(2 / jnp.where(norm > 0, norm, 1.0))
