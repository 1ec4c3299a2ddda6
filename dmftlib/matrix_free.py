"""Exact simulation of wide nonlinear networks without their N x N matrices: the
conditioning run at S = N sites.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple, NoReturn

import jax
import numpy as np
from tqdm import tqdm

from . import _checks
from .history import WeightHistory
from .networks import Adam, Nonlinear
from .simulations.nonlinear import NonlinearSimulation
from .spectra.outliers import outliers_by_step
from .training import nonlinear
from .training.rows import rounded
from .training.sites import at_once

# the width of the network that tells how many directions a wider one will need
_PILOT = 8192
_UNLIMITED = 2**40  # sites


def simulate_matrix_free(
    net: Nonlinear,
    width: int = 2000,
    seeds: int = 8,
    seed: int = 0,
    spectra_at=(),
    progress: bool = True,
    dtype: str = "float64",
    tolerance: float | None = None,
    rank: int | None = None,
) -> NonlinearSimulation:
    """`simulate(..., matrix_free=True)`: networks known only as far as their training
    asks for them.

    The distribution is that of `simulate_nonlinear`, memory proportional to the width;
    see `training.queries`. Queries are taken as dependent where less than
    `tolerance` of them is new; with Muon, which enlarges what is small, of its updates.
    Singular values recorded are those past the edge of the
    bulk.

    Raises ValueError where the queries need more than `rank` directions, where a
    network is so narrow that they fill it, for a network that Muon trains in single
    precision, and for one that Adam trains.

    >>> net = Nonlinear(inputs=np.eye(2), targets=[1.0, -1.0], hidden_layers=2, learning_rate=0.1, steps=3)
    >>> one = simulate_matrix_free(net, width=8000, seeds=1)  # W^1 would have 64 million entries
    >>> bool(one.train_loss[0, 3] < one.train_loss[0, 0])
    True
    """
    width = _checks.integer("width", width, 1)
    _checks.choice("dtype", dtype, ("float32", "float64"))
    if isinstance(net.optimizer, Adam):
        need = (
            "matrix_free=False: Adam moves every entry of a matrix by itself, so that "
            "there is no network without its matrices"
        )
        _checks.fail("matrix_free", True, need)
    if net.optimizer is not None and dtype == "float32":
        need = "'float64' for a network that Muon trains, which enlarges what is small"
        _checks.fail("dtype", repr(dtype), need)
    if tolerance is None:
        tolerance = 1e-3 if dtype == "float32" else 1e-6
    _checks.positive("tolerance", tolerance)
    most, guess = nonlinear.rank_guess(net)
    cap = most if rank is None else min(_checks.integer("rank", rank, 1), most)
    train = functools.partial(
        nonlinear.train, net, tolerance=tolerance, matched=False, dtype=dtype
    )
    trained = _Networks(net, width, seed, cap, train)
    recorded = []
    with tqdm(
        total=seeds, desc=f"simulating N = {width}", delay=5, disable=not progress
    ) as bar:
        for one in trained.first(seeds, min(guess, cap)):
            recorded.append(_recorded(one, spectra_at, tolerance))
            bar.update()
    predictions, features, gradients, values = zip(*recorded, strict=True)
    return NonlinearSimulation(
        net,
        width,
        np.stack(predictions),
        jax.tree.map(lambda *x: np.stack(x), *features),
        jax.tree.map(lambda *x: np.stack(x), *gradients),
        spectra_at,
        {at: _padded([found[at] for found in values]) for at in values[0]},
    )


@dataclasses.dataclass(frozen=True)
class _Networks:
    """Networks of one width, each from its own start."""

    net: Nonlinear
    width: int
    seed: int
    cap: int  # the largest rank that there may be
    train: Callable

    def first(self, seeds: int, rank: int) -> Iterator[nonlinear.Trajectory]:
        """The first so many, trained; each with as much room as those before."""
        small = min(self.width, _PILOT)
        trained, room = self.fitted(0, rank, small)
        if small < self.width:
            # as much room as the pilot has used, and a little more
            used = np.append(np.max(trained.ranks, initial=1), trained.used)
            few = at_once(nonlinear.asked_together(self.net, each_output=True))
            room = tuple(rounded(int(1.05 * n), few) for n in used)
            trained = self.run(0, room)
        for number in range(seeds):
            if number > 0:
                trained = self.run(number, room)
            if bool(trained.full):
                rank = min(max(room), self.cap)
                trained, room = self.fitted(number, rank, self.width)
            yield trained

    def run(self, number, room, sites=None) -> nonlinear.Trajectory:
        seed = (self.seed, number)
        return self.train(seed, sites=sites or self.width, room=room)

    def fitted(self, number, rank, sites) -> "_Fitted":
        """A network with room for all directions of its queries."""
        while True:
            room = nonlinear.room_for(self.net, min(rank, sites), sites)
            trained = self.run(number, room, sites)
            if not bool(trained.full):
                return _Fitted(trained, room)
            if rank >= self.cap:
                self._refuse(rank, sites)
            rank = min(2 * rank, self.cap)

    def _refuse(self, rank, sites) -> NoReturn:
        """There is no room for more: for want of sites, or of rank."""
        most = max(nonlinear.room_for(self.net, rank, _UNLIMITED))
        if sites == self.width < most:
            need = f"at least {most}, the directions that there may be"
            _checks.fail("width", sites, f"{need}, or matrix_free=False")
        need = "room for more directions: a larger rank or tolerance"
        _checks.fail("rank", rank, need)


class _Fitted(NamedTuple):
    trained: nonlinear.Trajectory
    room: tuple[int, ...]


class _Recorded(NamedTuple):
    """What is kept of one network."""

    predictions: np.ndarray
    feature_kernels: list
    gradient_kernels: list
    outliers: dict  # (layer, step) -> values


def _recorded(one: nonlinear.Trajectory, spectra_at, tolerance) -> _Recorded:
    found = {}
    for l, layer in enumerate(one.layers, 1):
        alone = jax.tree.map(lambda x: x[None], layer)
        history = WeightHistory.from_moments(alone, tolerance)
        for t in spectra_at:
            found[l, t] = np.asarray(outliers_by_step(history, t).values)
    return _Recorded(
        np.asarray(one.predictions),
        [np.asarray(kernel) for kernel in one.feature_kernels],
        [np.asarray(kernel) for kernel in one.gradient_kernels],
        found,
    )


def _padded(rows) -> np.ndarray:
    """Rows of different lengths as one array, padded with NaN."""
    table = np.full((len(rows), max(map(len, rows))), np.nan)
    for row, found in zip(table, rows, strict=True):
        row[: len(found)] = found
    return table
