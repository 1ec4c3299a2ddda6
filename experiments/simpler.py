"""Theories that one might believe in the place of this one, and small errors planted in
it: what the tables of the protocol are put to, beside the theory.

gradient flow                training in continuous time, for steps of finite size
a fresh M(0)                 spikes right in all their Grams, on a matrix that was never
                             asked
the first step extrapolated  the spike of the first step, once for every step
a half missing, a sign       planted in what M(0) answers
wrong
"""

from collections.abc import Callable
from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp

from dmftlib.history import LinearQueries, WeightHistory

Named = dict[str, float]  # quantity -> theory


def wider(net, factor: float = 1.02):
    """An initial variance two percent larger."""
    return replace(net, init_variance=factor * net.init_variance)


def finer(net, times: int):
    """The same training in steps of 1/times of their size."""
    return replace(
        net, learning_rate=net.learning_rate / times, steps=times * net.steps
    )


def flow(net, read: Callable[..., Named]) -> Named:
    """Gradient flow: `read(net, every)`, where so many steps are one, extrapolated from
    steps of half and of a quarter of their size.
    """
    half, quarter = (read(finer(net, every), every) for every in (2, 4))
    return {key: 2 * value - half[key] for key, value in quarter.items() if key in half}


def fresh(history: WeightHistory) -> WeightHistory:
    """Measured Grams with an M(0) that was never asked."""
    return history.independent()


def extrapolated(history: WeightHistory) -> WeightHistory:
    """The formula of the first step, for every step."""
    first = jnp.repeat(history.increments[:1], history.steps, 0)
    return eqx.tree_at(lambda h: h.increments, history, first)


def core_twice(history: WeightHistory) -> WeightHistory:
    """A half forgotten in what M(0) answers between the queries."""
    return eqx.tree_at(lambda h: h.core, history, 2 * history.core)


def core_turned(history: WeightHistory) -> WeightHistory:
    """Its sign forgotten."""
    return eqx.tree_at(lambda h: h.core, history, -history.core)


def response_times(queries: LinearQueries, name: str, factor: float) -> LinearQueries:
    """Of a linear network: one of its two responses, `left_response` (B) or
    `right_response` (A), so many times.
    """
    wrong = factor * getattr(queries, name)
    return eqx.tree_at(lambda q: getattr(q, name), queries, wrong)
