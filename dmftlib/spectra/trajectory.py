"""All outliers of a layer at every step of its training, at once.

The queries are the same for every step and so is what they reveal of M(0); only D(t) = Q_L^T M(t) Q_R moves.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import checks
from .outliers import ConditionedEnsemble, Outliers, _newton, _share


def conditioned(history) -> ConditionedEnsemble:
    """What the queries of a weight history have revealed of M(0), by Stein's lemma; no spikes yet.

    Over orthonormal directions: the image of a right direction is its innovation and A times the left directions.
    """
    c, v, A, B = history.aspect, history.variance, history.right_response, history.left_response
    core = v * jnp.sqrt(c) * (B + A.T)
    left = v * (jnp.eye(len(B)) + v * c * (A.T @ B.T + B @ A) + v * c * B @ B.T)
    right = v * c * (jnp.eye(len(A)) + v * (B.T @ A.T + A @ B) + v * A @ A.T)
    return ConditionedEnsemble(c, v, core, left - core @ core.T, right - core.T @ core,
                               jnp.zeros((len(B), 0)), jnp.zeros((len(A), 0)), jnp.zeros((0, 0)))  # fmt: skip


def outlier_trajectory(history, step: int | None = None, max_outliers: int | None = None) -> Outliers:
    """Outliers and overlaps of M(t) at every step: values (steps+1, k), NaN where there are fewer than k.

    k is the largest number that any step has, or `max_outliers`, which is needed under `jit` and `vmap`. With a `step`
    the axis of steps is left out. Values can be differentiated once, and so can overlaps where outliers are not
    degenerate; the gradient of an absent entry is 0.
    """
    start = conditioned(history)
    spikes = history.rates[:, None, None] * history.left_queries[:, :, None] * history.right_queries[:, None, :]
    cores = jnp.cumsum(jnp.concatenate([start.core[None], jnp.sqrt(history.aspect) * spikes]), 0)
    ensembles = eqx.tree_at(lambda e: e.core, start, cores if step is None else cores[step][None])
    at_edge, y = _at_edge(jax.lax.stop_gradient(ensembles))
    if max_outliers is None:
        if not checks.known(at_edge):
            checks.fail("max_outliers", None, "a whole number under jit and vmap, where shapes are fixed")
        max_outliers = max(int(jnp.max(jnp.sum(at_edge > 1, 1))), 0 if step is not None else 1)
    rows = min(max_outliers, *cores.shape[1:])
    values, y = _roots(ensembles, at_edge[:, :rows] > 1 + 1e-12, y[:, :, :rows])
    left, right = y[..., : cores.shape[1]] @ history.left_queries.T, y[..., cores.shape[1] :] @ history.right_queries.T
    absent = jnp.isnan(values)[..., None]
    shares = (_share(v**2, (q**2).sum(1)) for v, q in ((left, history.left_queries), (right, history.right_queries)))
    found = Outliers(values, *(jnp.where(absent, jnp.nan, share) for share in shares))
    return found if step is None else jax.tree.map(lambda x: x[0], found)


_BY_STEP = ConditionedEnsemble(None, None, 0, None, None, None, None, None)  # for vmap: only the core moves


@jax.jit
def _at_edge(ensembles):
    """Eigenvalues of K(s_+)/s_+, descending, with their vectors: as many are above 1 as there are outliers."""
    return jax.vmap(lambda ensemble: ensemble.crossings(ensemble.law.edges[0][1]), (_BY_STEP,))(ensembles)


@jax.jit
def _roots(ensembles, escaped, y):
    """The outliers s of each step (steps+1, rows), and the vectors T(s) y = 0 with y^T T'(s) y = 2."""

    def of_step(ensemble, escaped, y):
        number = jnp.arange(len(escaped))
        return jax.vmap(lambda k, escaped, y: _root(ensemble, k, escaped, y), (0, 0, 1))(number, escaped, y)

    return jax.vmap(of_step, (_BY_STEP, 0, 0))(ensembles, escaped, y)


def _root(ensemble, k, escaped, y):
    """Outlier number k from its vector at the edge.

    For the largest, the solution of y^T T(s) y = 0 with the vector y of an earlier s lies between that s and the root:
    the iteration is monotone, and its error is squared each time.
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
    """The s above the edge with y^T T(s) y = 0, by Newton's method in x = sqrt(s - edge), where m_L, m_R are smooth."""
    p, law = len(ensemble.core), ensemble.law
    left, right = y[:p] @ ensemble.left_beyond @ y[:p], y[p:] @ ensemble.right_beyond @ y[p:]
    direct = 2 * y[:p] @ ensemble.core @ y[p:]

    def residual(x):
        s = edge + x**2
        return s - direct - law.m_right(s) * left - law.m_left(s) * right

    def newton(_, x):
        value, slope = jax.jvp(residual, (x,), (jnp.ones_like(x),))
        return jnp.maximum(x - value / jnp.where(slope > 0, slope, 1.0), 1e-6 * jnp.sqrt(edge))

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
