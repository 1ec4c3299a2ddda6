"""All outliers of a layer at every step of its training, at once.

The queries are the same for every step and so is what they reveal of M(0); only D(t) = Q_L^T M(t) Q_R moves.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import checks
from .outliers import ConditionedEnsemble, Outliers, _newton, _share


def conditioned(history, step: int | None = None) -> ConditionedEnsemble:
    """The conditioned ensemble of M(step) from a weight history; the last step if None."""
    steps = len(history.rates)
    active = jnp.arange(steps) < (steps if step is None else step)
    return ConditionedEnsemble(
        history.aspect, history.variance, history.core, history.left_beyond, history.right_beyond,
        history.left_queries.T, history.right_queries.T, jnp.diag(jnp.where(active, history.rates, 0.0)),
    )  # fmt: skip


def outlier_trajectory(history, max_outliers: int | None = None) -> Outliers:
    """Outliers and overlaps of M(t) for t = 0 ... steps: values (steps+1, k), NaN where there are fewer than k.

    k is the largest number that any step has, or `max_outliers`, which is needed under `jit` and `grad`. Values can be
    differentiated once, and so can overlaps where outliers are not degenerate; the gradient of an absent entry is 0.
    """
    spikes = history.rates[:, None, None] * history.left_queries[:, :, None] * history.right_queries[:, None, :]
    cores = jnp.cumsum(jnp.concatenate([history.core[None], jnp.sqrt(history.aspect) * spikes]), 0)
    ensembles = ConditionedEnsemble(
        history.aspect, history.variance, cores, history.left_beyond, history.right_beyond,
        jnp.zeros((cores.shape[1], 0)), jnp.zeros((cores.shape[2], 0)), jnp.zeros((0, 0)),
    )  # fmt: skip
    if max_outliers is None:
        if not checks.known(cores):
            checks.fail("max_outliers", None, "a whole number under jit, grad and vmap, where shapes are fixed")
        max_outliers = max(1, int(jnp.max(_count(ensembles))))
    rows = min(checks.integer("max_outliers", max_outliers, 1), min(cores.shape[1:]))
    values, y = _roots(ensembles, rows)
    left, right = y[..., : cores.shape[1]] @ history.left_queries.T, y[..., cores.shape[1] :] @ history.right_queries.T
    absent = jnp.isnan(values)[..., None]
    shares = (_share(v**2, (q**2).sum(1)) for v, q in ((left, history.left_queries), (right, history.right_queries)))
    return Outliers(values, *(jnp.where(absent, jnp.nan, share) for share in shares))


_steps = ConditionedEnsemble(None, None, 0, None, None, None, None, None)  # the axis of vmap: only the core depends on t


@jax.jit
def _count(ensembles):
    def of(ensemble):
        _, edge = ensemble.law.edges[0]
        return jnp.sum(jnp.linalg.eigvalsh(ensemble.effective_matrix(edge)) > edge)

    return jax.vmap(of, (_steps,))(ensembles)


@eqx.filter_jit
def _roots(ensembles, rows):
    """The leading outliers s of each step (steps+1, rows), and the vectors T(s) y = 0 with y^T T'(s) y = 2."""

    def of_step(ensemble):
        frozen = jax.lax.stop_gradient(ensemble)
        _, edge = frozen.law.edges[0]
        at_edge = jnp.linalg.eigvalsh(frozen.effective_matrix(edge))[::-1][:rows]
        return jax.vmap(lambda k, top: _root(ensemble, frozen, edge, k, top))(jnp.arange(rows), at_edge)

    return jax.vmap(of_step, (_steps,))(ensembles)


def _root(ensemble, frozen, edge, k, top):
    """Outlier number k: Newton in x = sqrt(s - edge), where the eigenvalue is smooth, inside a shrinking bracket."""
    escaped = top > edge * (1 + 1e-12)
    upper = jnp.sqrt(jnp.where(escaped, top - edge, 1.0))

    def improve(state):
        x, low, high, _, _, count = state
        s = edge + x**2
        values, vectors = frozen.crossings(s)
        y = jax.lax.dynamic_index_in_dim(vectors, k, 1, keepdims=False)
        below = values[k] > 1
        low, high = jnp.where(below, x, low), jnp.where(below, high, x)
        newton = x + (_newton(frozen, s, y) - s) / (2 * x)
        new = jnp.where((newton > low) & (newton < high), newton, (low + high) / 2)
        return new, low, high, y, jnp.abs(new - x), count + 1

    def unfinished(state):
        return escaped & (state[-2] > 1e-9 * upper) & (state[-1] < 60)

    nothing = jnp.zeros(len(frozen.left_beyond) + len(frozen.right_beyond))
    start = (upper * 1e-3, 0.0 * upper, upper, nothing, upper, 0)
    x, _, _, y, _, _ = jax.lax.while_loop(unfinished, improve, start)
    s = jnp.where(escaped, edge + x**2, 2 * edge + 1)
    s, y = _differentiable(ensemble, frozen, s, y)
    return jnp.where(escaped, s, jnp.nan), jnp.where(escaped, y, jnp.nan)


def _differentiable(ensemble, frozen, s, y):
    """The root with its derivatives, and y normalised, with its own."""
    solved = frozen.pencil(s)
    s = _newton(ensemble, s, y)
    T, slope = jax.jvp(ensemble.pencil, (s,), (jnp.ones_like(s),))
    bordered = jnp.block([[solved, y[:, None]], [y[None, :], jnp.zeros((1, 1))]])
    y = y - jnp.linalg.solve(bordered, jnp.append(T @ y, 0.0))[:-1]
    norm = y @ slope @ y
    return s, y * jnp.sqrt(2 / jnp.where(norm > 0, norm, 1.0))
