"""The solution of a network that a user wrote: level 1 in independent batches of
samples, level 2 from their pooled moments.
"""

import functools
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .. import _checks
from .._types import Layer
from ..history import WeightHistory
from ..programs import Program
from ..spectra.bulk import RectangularLaw
from ..spectra.outliers import Outliers
from ..training import program
from .sampled import AbstractSampledSolution, Size, fitted, side_by_side

_SAMPLES = 4000
_MOST_SITES = 2**16  # of a batch, unless asked for
_FINEST = 1e-4  # of the largest query: smaller directions are dropped
_LEADING = 1e-3  # queries smaller than that, relative to the largest, are left out


class ProgramSolution(AbstractSampledSolution[Program]):
    """The training of a Program at infinite width, and the spectra of its matrices, by
    name.

    Averages over independent batches of samples; `standard_error` gives theirs. Arrays
    over time have length steps+1, entry t after t updates, and are NaN from the step on
    at which training diverged.
    """

    net: Program
    trajectory: program.Trajectory  # every array has a first axis of batches
    sites: int = eqx.field(static=True)
    seed: int = eqx.field(static=True)
    rank: int = eqx.field(static=True)

    @property
    def predictions(self):
        """f of the inputs, (steps+1, P, K)."""
        return self.trajectory.predictions.mean(0)

    @property
    def numbers(self) -> dict:
        """What `forward` notes (`note`), by name: (steps+1, ...)."""
        noted = self.trajectory.numbers
        return {name: rows.mean(0) for name, rows in noted.items()}

    @property
    def train_loss(self):
        """The squared residual summed over outputs, averaged over samples (no 1/2):
        (steps+1,).
        """
        residual = self.predictions - self.net.targets
        return jnp.sum(residual**2, -1).mean(-1)

    @property
    def sharpness(self):
        """Refused with a ValueError: the kernel of a program is not computed."""
        need = "train_loss and predictions: the kernel of a Program is not computed"
        _checks.fail("sharpness", "one of a Program", need)

    @property
    def sharpness_limit(self):
        """Refused like `sharpness`."""
        return self.sharpness

    def initial_law(self, layer: Layer) -> RectangularLaw:
        """The law of the singular values of W / sqrt(N) before training."""
        return RectangularLaw(
            1.0, jnp.asarray(self.net.variance(self.net.layer(layer)))
        )

    def descent(self, layer: Layer) -> None:
        """None: the optimiser of every matrix is plain gradient descent."""
        self.net.layer(layer)

    def weight_history(self, layer: Layer) -> WeightHistory:
        """What level 2 needs to know of a matrix, from all batches; queries as in
        `outliers`.
        """
        measured = self.trajectory.matrices[self.net.layer(layer)]
        if self._has_diverged:
            measured = measured.until(int(self.finite_steps))
        return WeightHistory.from_moments(measured, _LEADING)

    def outliers(
        self,
        layer: Layer,
        step: int | None = None,
        max_outliers: int | None = None,
        independent: bool = False,
    ) -> Outliers:
        """Outliers of W / sqrt(N) of a matrix, and their overlaps with its queries.

        Of the n vectors that the matrix is asked in a forward pass (question by
        question, each with its axes in order), number i of step s is at index s n + i:
        on the right the vector h, on the left the derivative g that is sent back
        through its answer, contracted with Delta. At one step, values (k,); without
        `step` at all of them, (steps+1, k), padded with NaN. `max_outliers` sets k. With
        `independent` the spikes are wrongly taken as independent of the initial
        weights, to be compared with. The values have their `standard_error`.
        """
        step = self._step(step)
        history = self.weight_history(layer)
        history = history.independent() if independent else history
        found = self._outliers(history, step, max_outliers)
        rows = found.values.shape[-1]

        def values(solution):
            return solution.outliers(layer, step, rows, independent).values

        return found.with_error(lambda: self.standard_error(values))

    @property
    def stats(self) -> dict:
        """Samples, batches, the largest standard error of the predictions, the rank of
        the queries of each matrix (backward, forward), the room there was, and the
        sizes of the bases.
        """
        ranks = {name: each.max(0) for name, each in self.trajectory.ranks.items()}
        return dict(
            samples=self.batches * self.sites,
            batches=self.batches,
            standard_error=float(jnp.max(self.standard_error("predictions"))),
            ranks=ranks,
            rank_cap=self.rank,
            directions=self.trajectory.used.max(0),
        )


def solve_program(
    net: Program,
    samples: int | None = None,
    seed: int = 0,
    batches: int = 4,
    rank: int | None = None,
) -> ProgramSolution:
    """Solve the theory of a network that a user wrote.

    samples    sites in all, roughly: in `batches` independent batches, from which the
               standard errors come, each of a power of two. If not given,
               4000, and as many more as the directions of the queries ask for
    rank       room for the directions of the queries of each matrix; if not given, it
               grows until nothing is dropped

    Raises ValueError for a network whose numbers JAX is tracing, and where the memory
    needed is more than this machine has.

    >>> from dmftlib import Program
    >>> def forward(ask, sites, x):
    ...     h = sites["U"] @ x.T
    ...     h = h + ask("W", jnp.tanh(h))
    ...     return jnp.mean(sites["w"][:, None] * jnp.tanh(h), 0)
    >>> net = Program(forward, matrices={"W": ("hidden", "hidden")}, sites={"U": (2,), "w": ()},
    ...               inputs=[[1.0, 0.0], [0.5, 1.0]], targets=[1.0, -1.0], learning_rate=0.5, steps=8)
    >>> solution = solve_program(net)
    >>> print(solution.status, solution.train_loss[jnp.array([0, 8])].round(2))
    ok [1.   0.01]
    """
    _checks.concrete("net", net)
    batches = _checks.integer("batches", batches, 1)
    _checks.integer("seed", seed, 0)
    asked = _SAMPLES if samples is None else _checks.integer("samples", samples, 1)
    if asked < 16 * batches:
        _checks.fail("samples", asked, f"at least 16 for each of the {batches} batches")
    sites = 2 ** round(np.log2(asked / batches))
    most = (net.steps + 1) * max(program.questions(net).values())
    room = min(most, math.ceil(16 * math.sqrt(most)))
    if rank is not None:
        room = min(_checks.integer("rank", rank, 1), most)
        most = room
    most_sites = _MOST_SITES if samples is None else sites
    seeds = [(seed, b) for b in range(batches)]
    train = functools.partial(_batches, net)
    size = Size(sites, room, _FINEST)
    trained = fitted(train, seeds, size, Size(most_sites, most, _FINEST))
    sites, room, _ = trained.size
    return ProgramSolution(net, trained.trajectory, sites, seed, room)


def _batches(net: Program, size: Size, seeds: list) -> program.Trajectory:
    """Trajectories of these seeds, stacked."""
    room = program.room_for(net, size.rank, size.sites)
    needed = program.memory(net, room, size.sites, len(seeds))
    instead = "more batches, fewer inputs or steps, a smaller rank"
    _checks.memory("samples", f"{size.sites} a batch", needed, instead)
    train = functools.partial(
        program.train, net, sites=size.sites, room=room, tolerance=size.tolerance
    )
    return side_by_side(train, net, seeds)
