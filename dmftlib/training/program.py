"""Level 1 of a network that a user wrote: its parts in causal order on sampled sites.

With F = forward(...) a mean over sites and f = F / gamma0, each step goes through the
parts forward, and through them backward with the cotangents of Delta F, Delta = y - f:
equations by `jax.vjp`, questions by questions to the transposed matrix. Of a vector v of
the network, N sites long, the cotangent is g / N with g of order one, and

    an answer  u = M h   sends back   M^T g,    M by kappa sum g h^T / N over its questions,
    a site parameter moves by kappa g,           kappa = learning_rate gamma0 / P,

while the cotangent of a number, which a mean over sites is, is a number. The answers are
those of `queries`, as for a Nonlinear; a matrix that is asked twice in a pass echoes its
own answers in that pass.
"""

import dataclasses
import math
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._compile import compiled
from .._types import AnyArray
from ..history import Moments
from ..programs import Program
from ..tracing import Equations, FirstUse, Question, Trace
from .descent import schedule
from .moments import measured
from .nonlinear_step import DIVERGED
from .queries import Innovations, Matrix, ask
from .rows import rounded
from .sites import Source, Space, at_once, drawn, ready, sobol
from .steps import all_finite, one_by_one, or_nan, or_zero, unless_diverged


class Trajectory(eqx.Module):
    """Everything that training determines, of one sample. Entry t after t updates; NaN
    from where it diverged.
    """

    predictions: Float[AnyArray, "times P K"]
    numbers: dict  # name -> (times, ...), what `forward` notes
    matrices: dict  # name -> Moments
    finite_steps: Int[AnyArray, ""]
    full: Bool[AnyArray, ""]  # some direction found no room
    ranks: dict  # name -> directions of the backward and forward queries
    used: Int[AnyArray, " spaces"]  # sizes of the bases


class Room(NamedTuple):
    """Rows of the bases of a sample."""

    queries: int  # of each matrix, on either side
    spaces: tuple  # (name, rows)
    few: int  # directions added together


class State(eqx.Module):
    """The network between two steps."""

    matrices: dict
    spaces: dict
    sites: dict  # name -> (S, ...)
    start_loss: Float[Array, ""]
    alive: Bool[Array, ""]


class Forward(NamedTuple):
    """What a pass leaves for reverse mode: values of all variables, and questions over
    the directions.
    """

    values: dict
    asked: dict  # matrix -> blocks (k, r), one a question


class Backward(NamedTuple):
    """Gradients of the site parameters, and questions over the directions, the first
    question first.
    """

    sites: dict
    asked: dict


class Queries(NamedTuple):
    """What is kept of the questions to one matrix in one step."""

    left: Float[Array, "questions r"]
    right: Float[Array, "questions r"]
    ranks: Int[Array, "2"]


class Entry(NamedTuple):
    """A row of the record."""

    predictions: Float[Array, "P K"]
    numbers: dict
    queries: dict
    strength: Float[Array, ""]  # kappa; zero where training has diverged
    alive: Bool[Array, ""]


class Network(eqx.Module):
    """What stays the same from step to step."""

    trace: Trace = eqx.field(static=True)
    ends: tuple = eqx.field(static=True)  # (matrix, (to, from))
    shapes: tuple = eqx.field(static=True)  # (site parameter, (space, shape))
    tolerance: float = eqx.field(static=True)
    sources: dict  # of the spaces
    inputs: Float[Array, "P ..."]
    targets: Float[Array, "P K"]
    gamma0: Float[Array, ""]
    deviations: dict  # of matrices and site parameters before training
    rates: Float[Array, " times"]

    def step(self, state: State, t) -> tuple[State, Entry]:
        """The questions and the update of the docstring of the module."""
        state, ahead = self.forward(state)
        output = ahead.values[self.trace.output]
        judged = _judged(output, self.targets, self.gamma0)
        numbers = self.trace.numbers(ahead.values)
        state, back = self.backward(state, ahead, judged.residual)
        ended = _ended(self, state, ahead.asked, back, judged, numbers, t)
        matrices = {}
        for name, matrix in state.matrices.items():
            spikes = ended.spikes[name]
            matrices[name] = dataclasses.replace(matrix, spikes=spikes)
        state = dataclasses.replace(
            state,
            matrices=matrices,
            sites=ended.sites,
            start_loss=ended.start_loss,
            alive=ended.alive,
        )
        return state, ended.entry

    def forward(self, state: State) -> tuple[State, Forward]:
        """All parts, in order. A site parameter is drawn where it is first read."""
        values = {**self.trace.constants, self.trace.x: self.inputs}
        questions = {name: [] for name in state.matrices}
        for part in self.trace.parts:
            if isinstance(part, FirstUse):
                if part.site not in state.sites:
                    alive = [values[variable] for variable in part.alive]
                    state = self.drawn(state, part.site, alive)
                values[part.variable] = state.sites[part.site]
            elif isinstance(part, Question):
                h = values[part.asked]
                state, answer, block = self.answer(state, part.matrix, h, back=False)
                values[part.answer] = answer
                questions[part.matrix].append(block)
            else:
                inputs = [values[variable] for variable in part.inputs]
                made = self.trace.compiled(part).made(*inputs)
                values |= zip(part.outputs, made, strict=True)
        return state, Forward(values, questions)

    def backward(self, state: State, ahead: Forward, residual):
        """All parts, in reverse order."""
        values = ahead.values
        cotangents = _Sum({self.trace.output: residual})
        questions = {name: [] for name in state.matrices}
        gradients = {}
        for part in reversed(self.trace.parts):
            if isinstance(part, Equations):
                inputs = [values[variable] for variable in part.inputs]
                above = [cotangents.found.get(variable) for variable in part.outputs]
                below = self.trace.compiled(part).pulled(inputs, above)
                cotangents.add(zip(part.inputs, below, strict=True))
            elif isinstance(part, Question):
                g = cotangents.of(part.answer, values[part.answer])
                state, answer, block = self.answer(state, part.matrix, g, back=True)
                cotangents.add([(part.asked, answer)])
                questions[part.matrix].insert(0, block)
            else:
                g = cotangents.of(part.variable, values[part.variable])
                gradients[part.site] = g
        return state, Backward(gradients, questions)

    def answer(self, state: State, name: str, vectors, back: bool):
        """M(t) times vectors (S, ...), or M(t)^T of N times them, divided by N: the
        state that knows of it, the answer and the question over the directions of the
        matrix.
        """
        to, origin = dict(self.ends)[name]
        matrix = state.matrices[name]
        if back:
            to, origin = origin, to
            matrix = matrix.transposed
        sites, *rest = vectors.shape
        factor = sites if back else 1
        reply = _ask(
            matrix,
            state.spaces[origin],
            None if to == origin else state.spaces[to],
            _as_rows(vectors, factor),
            Innovations(self.sources[to], None, self.deviations[name]),
            self.tolerance,
        )
        matrix = reply.matrix.transposed if back else reply.matrix
        matrices = {**state.matrices, name: matrix}
        spaces = {**state.spaces, origin: reply.inside, to: reply.outside}
        state = dataclasses.replace(state, matrices=matrices, spaces=spaces)
        answer = _as_sites(reply.image, factor, tuple(rest))
        return state, answer, reply.asked

    def drawn(self, state: State, name: str, alive: list) -> State:
        """The state with one more site parameter, orthonormal, and orthogonal to all
        vectors that are alive: they are independent.
        """
        space, shape = dict(self.shapes)[name]
        own, values = _drawn(
            state.spaces[space],
            self.sources[space],
            alive,
            self.deviations[name],
            shape,
        )
        spaces = {**state.spaces, space: own}
        sites = {**state.sites, name: values}
        return dataclasses.replace(state, spaces=spaces, sites=sites)


# one program for all questions of a shape, which writes into the bases in place
_ask = compiled(ask, donate_argnums=(0, 1, 2))


class Judged(NamedTuple):
    """What the loss makes of the outputs."""

    predictions: Float[Array, "P K"]
    residual: Float[Array, "..."]  # of the shape of the output
    loss: Float[Array, ""]


@compiled
def _judged(output, targets, gamma0) -> Judged:
    predictions = output.reshape(targets.shape) / gamma0
    residual = targets - predictions
    loss = jnp.sum(residual**2) / len(targets)
    return Judged(predictions, residual.reshape(output.shape), loss)


class Ended(NamedTuple):
    """What a step leaves."""

    entry: Entry
    spikes: dict
    sites: dict
    start_loss: Float[Array, ""]
    alive: Bool[Array, ""]


@compiled
def _ended(
    network: Network, state: State, asked, back: Backward, judged, numbers, t
) -> Ended:
    """The update, and what is kept of the step."""
    start_loss = jnp.where(t == 0, judged.loss, state.start_loss)
    alive = state.alive & (judged.loss < DIVERGED * (start_loss + 1))
    strength = network.rates[t] * network.gamma0 / len(network.targets)
    queries = {}
    spikes = {}
    updated = {}
    for name, matrix in state.matrices.items():
        queries[name] = _joined(matrix, back.asked[name], asked[name])
        pull = queries[name].left.T @ queries[name].right
        spikes[name] = matrix.spikes
        updated[name] = matrix.spikes + strength * pull
    moved = {}
    for name, value in state.sites.items():
        moved[name] = value + strength * len(value) * back.sites[name]
    going_on = alive & all_finite((updated, moved))
    now = (spikes, state.sites)
    spikes, sites = unless_diverged(going_on, (updated, moved), now)
    entry = Entry(
        or_nan(alive, judged.predictions),
        or_nan(alive, numbers),
        queries,
        or_zero(alive, strength),
        alive,
    )
    return Ended(entry, spikes, sites, start_loss, going_on)


@compiled(donate_argnums=0, static_argnums=4)
def _drawn(space: Space, source: Source, alive: list, deviation, shape: tuple):
    """The space that has given a site parameter, and this."""
    known = [jnp.ones((1, source.sites))]
    for each in alive:
        known.append(_vectors(each, source.sites))
    number = math.prod(shape)
    space, rows = drawn(space, source, number, jnp.concatenate(known))
    return space, deviation * rows.T.reshape(source.sites, *shape)


@compiled
def _as_rows(vectors, factor) -> Float[Array, "k S"]:
    """Vectors (S, ...), the sites last, times a factor."""
    return factor * vectors.reshape(len(vectors), -1).T


@compiled(static_argnums=2)
def _as_sites(rows: Float[Array, "k S"], factor, shape: tuple):
    """Vectors (S, ...) of rows, divided by the factor."""
    _, sites = rows.shape
    return rows.T.reshape(sites, *shape) / factor


class _Sum:
    """Cotangents by variable, added up."""

    def __init__(self, start: dict):
        self.found = start

    def of(self, variable, value):
        """What was added, zero if nothing was."""
        found = self.found.get(variable)
        return jnp.zeros_like(value) if found is None else found

    def add(self, more):
        """Add to those of these variables; None is nothing."""
        for variable, cotangent in more:
            if cotangent is None:
                continue
            before = self.found.get(variable)
            self.found[variable] = cotangent if before is None else before + cotangent


def _vectors(value, sites: int) -> Float[Array, "k S"]:
    """The vectors that an array holds, none if no axis is that of the sites."""
    if sites not in value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        return jnp.zeros((0, sites))
    axis = value.shape.index(sites)
    sites_last = jnp.moveaxis(value, axis, -1)
    return sites_last.reshape(-1, sites)


def _joined(matrix: Matrix, left: list, right: list) -> Queries:
    ranks = [matrix.left.count, matrix.right.count]
    return Queries(
        jnp.concatenate(left),
        jnp.concatenate(right),
        jnp.array(ranks, int),
    )


def questions(net: Program) -> dict:
    """The vectors that each matrix is asked in a forward pass."""
    found = net.trace({space: 2 for space in net.spaces})
    counts = dict.fromkeys(dict(net.matrices), 0)
    for part in found.parts:
        if isinstance(part, Question):
            counts[part.matrix] += part.vectors
    return counts


def room_for(net: Program, rank: int, sites: int) -> Room:
    """Rows for matrices with `rank` directions on each side."""
    few = at_once(max(questions(net).values()))
    spaces = []
    for space in net.spaces:
        beside = sum(ends.count(space) for _, ends in net.matrices)
        rows = 1 + _components(net, space) + 2 * rank * beside
        spaces.append((space, rounded(min(rows, sites), few)))
    return Room(rounded(rank, few), tuple(spaces), few)


def memory(net: Program, room: Room, sites: int, batches: int) -> int:
    """Bytes that `train` needs, roughly: one sample as it trains, and the trajectories
    of all of them.
    """
    asked = questions(net)
    rows = [each for _, each in room.spaces]
    bases = 2 * sum(rows) + 6 * sum(asked.values())
    matrices = len(asked) * room.queries * (4 * max(rows) + room.queries)
    histories = 2 * sum(asked.values()) * (net.steps + 1) * room.queries
    return 8 * (sites * bases + matrices + (batches + 1) * histories)


def train(
    net: Program, seed, *, sites: int, room: Room, tolerance: float = 1e-4
) -> Trajectory:
    """One sample of `sites` sites in every space, trained.

    seed       a number or a sequence of numbers: another sample for each
    room       rows of the bases: see `room_for`
    tolerance  directions of less than this share of the largest query are forgotten
    """
    rng = np.random.default_rng(seed)
    ends = [space for _, pair in net.matrices for space in pair]
    sources = {}
    for space in net.spaces:
        rows = room.queries * ends.count(space) + _components(net, space)
        pool = sobol(rng, rows + ready(room.few), sites)
        sources[space] = Source(jnp.asarray(pool), jnp.zeros(()), sites, "float64")
    deviations = {}
    for name, _ in net.matrices + net.sites:
        variance = jnp.asarray(net.variance(name), float)
        deviations[name] = jnp.sqrt(variance)
    times = net.steps + 1
    network = Network(
        net.trace({space: sites for space in net.spaces}),
        net.matrices,
        net.sites,
        tolerance,
        sources,
        net.inputs,
        net.targets,
        jnp.asarray(net.gamma0, float),
        deviations,
        jnp.broadcast_to(schedule(net.learning_rate, times), (times,)),
    )
    return _train(network, room)


def _train(network: Network, room: Room) -> Trajectory:
    times = len(network.rates)
    state, rows = one_by_one(network, _empty(network, room), times, times)
    known = [*state.spaces.values(), *state.matrices.values()]
    return Trajectory(
        predictions=rows.predictions,
        numbers=rows.numbers,
        matrices={
            name: _moments(
                matrix, rows.queries[name], rows.strength, network.deviations[name]
            )
            for name, matrix in state.matrices.items()
        },
        finite_steps=rows.alive.sum(),
        full=jnp.any(jnp.stack([each.full for each in known])),
        ranks={name: each.ranks[-1] for name, each in rows.queries.items()},
        used=jnp.stack([space.count for space in state.spaces.values()]),
    )


@compiled(static_argnums=1)
def _empty(network: Network, room: Room) -> State:
    """Before anything is asked: the spaces know the constant vector."""
    together = max(math.prod(shape) for _, (_, shape) in network.shapes)
    spaces = {}
    for name, rows in room.spaces:
        sites = network.sources[name].sites
        empty = Space.empty(
            rows,
            sites,
            "float64",
            rows,
            room.few,
            fresh=True,
            together=together,
        )
        spaces[name] = empty.with_rows(jnp.ones((1, sites)), 1, sites)
    rows = room.queries
    matrices = {}
    for name, (to, origin) in network.ends:
        matrices[name] = Matrix.unknown(spaces[to], spaces[origin], rows, rows)
    return State(matrices, spaces, {}, jnp.zeros(()), jnp.asarray(True))


@compiled
def _moments(matrix: Matrix, queries: Queries, strength, deviation) -> Moments:
    """The history of a matrix: each question is a sample of its own."""
    times, asked, _ = queries.right.shape
    strengths = jnp.broadcast_to(strength[:-1, None, None], (times - 1, asked, 1))
    return measured(
        matrix,
        queries.left[:, :, None],
        queries.right,
        queries.ranks,
        times,
        deviation**2,
        strengths,
    )


def _components(net: Program, space: str) -> int:
    """Numbers of a site in this space."""
    return sum(math.prod(shape) for _, (own, shape) in net.sites if own == space)
