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

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._compile import compiled
from .._types import AnyArray
from ..programs import Program
from ..tracing import Equations, FirstUse, Question, Trace
from .descent import schedule
from .moments import measured
from .nonlinear_step import DIVERGED
from .queries import Innovations, Matrix, ask
from .rows import rounded
from .sites import Source, Space, at_once, drawn, ready, sobol
from .steps import all_finite, empty_rows, or_nan, or_zero, recorded, unless_diverged


class Trajectory(eqx.Module):
    """Everything that training determines, of one sample. Entry t after t updates; NaN
    from where it diverged.
    """

    predictions: Float[AnyArray, "times P K"]
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
    """What a pass leaves for reverse mode: values of all variables, the pullbacks of
    equations by the number of their part, and questions over the directions.
    """

    values: dict
    pullbacks: dict
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

    def begun(self, state: State) -> State:
        """The state with its site parameters, which are drawn where the forward pass
        reads them first.
        """
        state, _ = self.forward(state, drawing=True)
        return state

    def step(self, state: State, t) -> tuple[State, Entry]:
        """The questions and the update of the docstring of the module."""
        P, _ = self.targets.shape
        state, ahead = self.forward(state)
        output = ahead.values[self.trace.output]
        predictions = output.reshape(self.targets.shape) / self.gamma0
        residual = self.targets - predictions
        state, back = self.backward(state, ahead, residual.reshape(output.shape))
        loss = jnp.sum(residual**2) / P
        start_loss = jnp.where(t == 0, loss, state.start_loss)
        alive = state.alive & (loss < DIVERGED * (start_loss + 1))
        strength = self.rates[t] * self.gamma0 / P
        queries = {}
        for name, matrix in state.matrices.items():
            right = ahead.asked[name]
            left = back.asked[name]
            queries[name] = _joined(matrix, left, right)
        updated = self.updated(state, queries, back.sites, strength)
        going_on = alive & all_finite(updated)
        now = (_spikes(state), state.sites)
        spikes, sites = unless_diverged(going_on, updated, now)
        state = eqx.tree_at(_spikes, state, spikes)
        state = State(state.matrices, state.spaces, sites, start_loss, going_on)
        entry = Entry(
            or_nan(alive, predictions),
            queries,
            or_zero(alive, strength),
            alive,
        )
        return state, entry

    def forward(self, state: State, drawing: bool = False) -> tuple[State, Forward]:
        """All parts, in order."""
        values = {**self.trace.constants, self.trace.x: self.inputs}
        pullbacks = {}
        questions = {name: [] for name in state.matrices}
        for i, part in enumerate(self.trace.parts):
            if isinstance(part, FirstUse):
                if drawing:
                    alive = [values[variable] for variable in part.alive]
                    state = self.drawn(state, part.site, alive)
                values[part.variable] = state.sites[part.site]
            elif isinstance(part, Question):
                h = values[part.asked]
                state, answer, block = self.answer(state, part.matrix, h, back=False)
                values[part.answer] = answer
                questions[part.matrix].append(block)
            else:
                outputs, pullbacks[i] = _differentiated(part, values)
                values |= zip(part.outputs, outputs, strict=True)
        return state, Forward(values, pullbacks, questions)

    def backward(self, state: State, ahead: Forward, residual):
        """All parts, in reverse order."""
        cotangents = _Sum({self.trace.output: residual})
        questions = {name: [] for name in state.matrices}
        gradients = {}
        for i, part in reversed([*enumerate(self.trace.parts)]):
            if isinstance(part, Equations):
                made = [cotangents.of(v, ahead.values[v]) for v in part.outputs]
                pullback = ahead.pullbacks[i]
                cotangents.add(pullback(made))
            elif isinstance(part, Question):
                g = cotangents.of(part.answer, ahead.values[part.answer])
                g = len(g) * g
                state, answer, block = self.answer(state, part.matrix, g, back=True)
                cotangents.add({part.asked: answer / len(g)})
                questions[part.matrix].insert(0, block)
            else:
                value = ahead.values[part.variable]
                gradients[part.site] = len(value) * cotangents.of(part.variable, value)
        return state, Backward(gradients, questions)

    def answer(self, state: State, name: str, vectors, back: bool):
        """M(t) or M(t)^T times vectors (S, ...): the state that knows of it, the answer
        and the question over the directions of the matrix.
        """
        to, origin = dict(self.ends)[name]
        matrix = state.matrices[name]
        if back:
            to, origin = origin, to
            matrix = matrix.transposed
        sites, *rest = vectors.shape
        reply = ask(
            matrix,
            state.spaces[origin],
            None if to == origin else state.spaces[to],
            vectors.reshape(sites, -1).T,
            Innovations(self.sources[to], None, self.deviations[name]),
            self.tolerance,
        )
        matrix = reply.matrix.transposed if back else reply.matrix
        matrices = {**state.matrices, name: matrix}
        spaces = {**state.spaces, origin: reply.inside, to: reply.outside}
        state = State(matrices, spaces, state.sites, state.start_loss, state.alive)
        return state, reply.image.T.reshape(sites, *rest), reply.asked

    def drawn(self, state: State, name: str, alive: list) -> State:
        """The state with one more site parameter, orthonormal, and orthogonal to all
        vectors that are alive: they are independent.
        """
        space, shape = dict(self.shapes)[name]
        sites = self.sources[space].sites
        known = [jnp.ones((1, sites))]
        for each in alive:
            known.append(_vectors(each, sites))
        own, rows = drawn(
            state.spaces[space],
            self.sources[space],
            math.prod(shape),
            jnp.concatenate(known),
        )
        values = self.deviations[name] * rows.T.reshape(sites, *shape)
        spaces = {**state.spaces, space: own}
        return State(
            state.matrices,
            spaces,
            {**state.sites, name: values},
            state.start_loss,
            state.alive,
        )

    def updated(self, state: State, queries: dict, gradients: dict, strength):
        """The spikes and the site parameters after a step."""
        spikes = []
        for name, matrix in state.matrices.items():
            asked = queries[name]
            pull = asked.left.T @ asked.right
            spikes.append(matrix.spikes + strength * pull)
        sites = {}
        for name, value in state.sites.items():
            sites[name] = value + strength * gradients[name]
        return spikes, sites


class _Sum:
    """Cotangents by variable, added up."""

    def __init__(self, start: dict):
        self.found = start

    def of(self, variable, value):
        """What was added, zero if nothing was."""
        return self.found.get(variable, jnp.zeros_like(value))

    def add(self, more: dict):
        """Add to those of these variables."""
        for variable, cotangent in more.items():
            before = self.found.get(variable, 0.0)
            self.found[variable] = before + cotangent


def _differentiated(part: Equations, values: dict):
    """The outputs, and the pullback of a list of their cotangents to those of the inputs
    by variable. Whole numbers and truth values have none.
    """
    smooth = [v for v in part.inputs if _is_real(values[v])]

    def outputs(*moving):
        given = {v: values[v] for v in part.inputs}
        given |= zip(smooth, moving, strict=True)
        made = part.function(*given.values())
        real = [each for each in made if _is_real(each)]
        return real, made

    start = [values[v] for v in smooth]
    _, pull, made = jax.vjp(outputs, *start, has_aux=True)

    def pullback(cotangents):
        real = [each for each in cotangents if _is_real(each)]
        found = pull(real)
        return dict(zip(smooth, found, strict=True))

    return made, pullback


def _is_real(value) -> bool:
    return jnp.issubdtype(jnp.asarray(value).dtype, jnp.floating)


def _vectors(value, sites: int) -> Float[Array, "k S"]:
    """The vectors that an array holds, none if no axis is that of the sites."""
    if sites not in value.shape or not _is_real(value):
        return jnp.zeros((0, sites))
    axis = value.shape.index(sites)
    sites_last = jnp.moveaxis(value, axis, -1)
    return sites_last.reshape(-1, sites)


def _spikes(state: State) -> list:
    return [matrix.spikes for matrix in state.matrices.values()]


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


@compiled(static_argnums=1)
def _train(network: Network, room: Room) -> Trajectory:
    times = len(network.rates)
    state = network.begun(_empty(network, room))
    rows = empty_rows(network, state, times)
    state, rows = recorded(network, state, 0, times, rows)
    known = [*state.spaces.values(), *state.matrices.values()]
    return Trajectory(
        predictions=rows.predictions,
        matrices={
            name: _moments(network, matrix, name, rows)
            for name, matrix in state.matrices.items()
        },
        finite_steps=rows.alive.sum(),
        full=jnp.any(jnp.stack([each.full for each in known])),
        ranks={name: each.ranks[-1] for name, each in rows.queries.items()},
        used=jnp.stack([space.count for space in state.spaces.values()]),
    )


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


def _moments(network: Network, matrix: Matrix, name: str, rows: Entry):
    """The history of a matrix: each question is a sample of its own."""
    own = rows.queries[name]
    times, asked, _ = own.right.shape
    strengths = jnp.broadcast_to(rows.strength[:-1, None, None], (times - 1, asked, 1))
    return measured(
        matrix,
        own.left[:, :, None],
        own.right,
        own.ranks,
        times,
        network.deviations[name] ** 2,
        strengths,
    )


def _components(net: Program, space: str) -> int:
    """Numbers of a site in this space."""
    return sum(math.prod(shape) for _, (own, shape) in net.sites if own == space)
