"""What solutions by independent batches of samples have in common."""

import contextlib
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from .. import _checks
from .._types import Net
from .base import AbstractHistorySolution, Outcome


class Measured(NamedTuple):
    """An average over batches of samples, and its standard error."""

    value: Array
    standard_error: Array


class AbstractSampledSolution(AbstractHistorySolution[Net]):
    """A solution made of averages over independent batches of samples."""

    trajectory: eqx.AbstractVar[Any]  # every array has a first axis of batches
    sites: eqx.AbstractVar[int]

    @property
    def batches(self) -> int:
        """The number of independent batches of samples."""
        return len(self.trajectory.predictions)

    def standard_error(self, quantity):
        """Standard error of quantity(solution), an array, by the jackknife over the
        batches: NaN for a single batch.

        `quantity` may be the name of a property, or a function of a solution. It does
        not contain what all batches share: a bias of order one over the sites of a
        batch (0.2% of a kernel at 2,048), which is the smaller the fewer batches the
        same samples are in.
        """
        get = operator.attrgetter(quantity) if isinstance(quantity, str) else quantity
        every = np.arange(self.batches)
        if len(every) == 1:
            return jnp.full_like(get(self), jnp.nan)
        rests = [
            jax.tree.map(lambda x, b=b: x[every != b], self.trajectory) for b in every
        ]
        values = jnp.stack(
            [get(eqx.tree_at(lambda s: s.trajectory, self, rest)) for rest in rests]
        )
        return jnp.sqrt((len(every) - 1) * jnp.var(values, 0))

    def measured(self, quantity) -> Measured:
        """quantity(solution), an array or the name of a property, and its standard
        error.

        >>> from dmftlib import Nonlinear, solve
        >>> net = Nonlinear(inputs=[[1.0, 1.0]], targets=[1.0], hidden_layers=1, learning_rate=0.1, steps=3)
        >>> loss, error = solve(net).measured("train_loss")
        >>> print(loss.shape, bool(jnp.all(error < 0.01)))
        (4,) True
        """
        get = operator.attrgetter(quantity) if isinstance(quantity, str) else quantity
        return Measured(get(self), self.standard_error(get))

    @property
    def finite_steps(self):
        return jnp.min(self.trajectory.finite_steps)

    @property
    def quality(self) -> Outcome:
        """The rank cap was reached, or there are too few samples."""
        few = 2 * self.trajectory.used.max() > self.sites
        found = Outcome.where(few, Outcome.few_samples, Outcome.ok)
        return Outcome.where(self.trajectory.full.any(), Outcome.rank_cap, found)

    @property
    def outcome(self) -> Outcome:
        exhausted = self._exhausted
        return Outcome.where(exhausted, Outcome.few_samples, super().outcome)

    @property
    def _exhausted(self) -> Bool[Array, ""]:
        """As many directions as sites: what comes next is no training, and may well
        not be finite.
        """
        return self.trajectory.used.max() >= self.sites

    @property
    def reason(self) -> str:
        if bool(self.outcome == Outcome.rank_cap):
            return "rank cap reached"
        used = int(self.trajectory.used.max())
        return (
            f"too few samples: batches of {self.sites} sites for {used} "
            f"directions; at least {2 * used} needed"
        )


class Size(NamedTuple):
    """Of a batch: its sites, the room for the directions of each matrix, and the share
    of the largest query below which a direction is dropped.
    """

    sites: int
    rank: int
    tolerance: float


class Trained(NamedTuple):
    """Batches side by side, and the size of each."""

    trajectory: Any
    size: Size


def fitted(
    train: Callable,
    seeds: list,
    size: Size,
    most: Size,
    pilot: Any = None,
) -> Trained:
    """train(size, seeds), with as much room and as many sites as their directions need,
    up to the most. The first of them, which may have been done, finds out how much that
    is.
    """
    one = train(size, seeds[:1]) if pilot is None else pilot
    larger = _larger(one, size, most)
    if larger != size:
        return fitted(train, seeds, larger, most)
    if len(seeds) == 1:
        return Trained(one, size)
    rest = train(size, seeds[1:])
    larger = _larger(rest, size, most)
    if larger != size:
        return fitted(train, seeds, larger, most)
    return Trained(joined(one, rest), size)


def _larger(trained: Any, size: Size, most: Size) -> Size:
    """The size with which more of the directions find room; itself if all have."""
    if not _checks.is_concrete(trained.full):
        return size
    sites, rank, tolerance = size
    if bool(trained.full.any()):
        rank = min(2 * rank, most.rank)
    if 2 * trained.used.max() > sites:
        sites = min(2 * sites, most.sites)
    return Size(sites, rank, tolerance)


def joined(*trajectories):
    """Batches one after the other."""
    return jax.tree.map(lambda *x: _numbers(x).concatenate(x), *trajectories)


def side_by_side(train, net, seeds):
    """train(seed) of each seed, stacked: started without waiting, side by side where
    there are several devices.
    """
    devices = jax.local_devices() if _checks.is_concrete(net) else [None]
    runs = []
    for seed in seeds:
        place = contextlib.nullcontext()
        if len(devices) > 1:
            batch = int(seed[-1])
            place = jax.default_device(devices[batch % len(devices)])
        with place:
            runs.append(train(seed))
    return jax.tree.map(lambda *x: _numbers(x).stack(x), *runs)


def _numbers(arrays):
    """NumPy, which has nothing to compile, unless JAX is tracing."""
    return np if _checks.is_concrete(arrays) else jnp
