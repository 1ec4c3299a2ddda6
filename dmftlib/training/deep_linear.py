"""Level 1 of a deep linear network in the proportional limit: N, D, P -> infinity at
fixed ratios.

Gradient descent on a linear network is a linear algorithm on Gaussian matrices, the
weights and the inputs X. With p = g^0 / (gamma sqrt(nu)) the linear predictor, v = beta
- p, and g^L = w, each step makes the queries

    backward   g^l = M_l^T g^{l+1},  l = L-1 ... 0                  Delta = X v / sqrt(D) + noise
    forward    h^0 = d = (D/P) X^T Delta / sqrt(D),                 h^{l+1} = M_l h^l
    update     M_l by kappa g^{l+1} (h^l)^T / dim(h^l),   w by kappa h^L,    kappa = gamma / sqrt(nu)

and `GaussianMatrix` answers them; plain descent adds the rate times these directions,
`descent` and `muon` say what other optimisers make of them: M_l(t) = scale_l M_l(0) +
spikes.
Exact at any step size: there is no gradient flow and no fixed point to iterate.
"""

import dataclasses
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from tqdm import tqdm

from .. import _checks
from .._compile import compiled
from .._types import AnyArray
from ..history import LinearQueries
from ..networks import DeepLinear
from .descent import AbstractDescent, Moved, Optimiser, as_vector
from .forward_mode import apart, carried_forward, join, lengths
from .gaussian import GaussianMatrix, default_tolerance
from .muon import MuonNumbers, MuonShape
from .steps import (
    all_finite,
    empty_rows,
    head,
    or_nan,
    or_zero,
    padded,
    recorded,
    unless_diverged,
)

# where derivatives are taken: at zero noise the noise itself, of size
# sqrt(label_noise), has none
_LEAST_NOISE = 1e-6
# entries of bases read in all: where there are more, training takes more than some ten
# seconds, shows how far it is, and can be interrupted between slices, of a second each
_LONG = 1e10
_SLICE = 1e9


class Trajectory(eqx.Module):
    """Everything that training determines. Entry t after t updates; NaN from the step
    on at which training diverged.

    train_loss      (steps+1,)  <Delta^2>; with batch="online" on the fresh samples of that step
    test_loss       (steps+1,)  |v|^2/D, without label noise
    predictor_norm  (steps+1,)  |p|^2/D
    alignment       (steps+1,)  beta.p/D
    forward         h^0 ... h^L, each (steps+1, coefficients): dot products are inner
                    products per site
    backward        g^0 ... g^L, likewise
    layers          the LinearQueries of M_0 ... M_{L-1}
    matrices        M_0(0) ... M_{L-1}(0) and X/sqrt(D), as far as training has revealed
                    them
    finite_steps    number of finite entries: steps+1 unless training diverged
    dropped         relative size of the largest direction that had no room in the query
                    histories
    ranks           (L+1, 2)    directions used by M_0 ... M_{L-1} and X, backward and forward
    """

    train_loss: Float[Array, " times"]
    test_loss: Float[Array, " times"]
    predictor_norm: Float[Array, " times"]
    alignment: Float[Array, " times"]
    forward: tuple
    backward: tuple
    layers: tuple
    matrices: tuple
    finite_steps: Int[Array, ""]
    dropped: Float[Array, ""]
    ranks: Int[Array, "matrices 2"]


def query_capacity(
    steps: int,
    batch: str | float = "full",
    tolerance: float | None = None,
    momentum: bool = False,
) -> int:
    """Room for the directions among `steps` + 1 queries.

    A stable mode decays as x^t with |x| < 1, and x^t is a polynomial of degree sqrt(2 t
    log(2/tolerance)) up to the tolerance: so many directions are enough for full
    batches. Fresh noise in each step needs all of them, and so does momentum, with
    which modes are Chebyshev's polynomials, slowly damped, or Muon.
    """
    smooth = (
        math.ceil(
            math.sqrt(2 * steps * math.log(2 / (tolerance or default_tolerance())))
        )
        + 1
    )
    if batch != "full" or momentum:
        return steps + 1
    return min(steps + 1, smooth)


def default_capacity(net: DeepLinear) -> int:
    """Room for the queries of all networks that share a program with this one."""
    last = padded(net.steps + 1) - 1
    return query_capacity(last, net.batch, momentum=_has_momentum(net))


def _has_momentum(net: DeepLinear) -> bool:
    return net.optimizer is not None or not isinstance(net.momentum, _checks.Zero)


def train(
    net: DeepLinear, capacity: int | None = None, tolerance: float | None = None
) -> Trajectory:
    """The training of `net`, exactly, in the limit of large dimensions.

    The cost is steps * capacity^2: the query histories are kept to their numerical
    rank, at most `capacity` (see `query_capacity`); what is smaller than `tolerance`,
    relative to the largest query, is dropped as it arises, which solves a training
    perturbed by as much; with Muon, which enlarges what is small, what would be so
    after it. At dimension D the losses fluctuate by O(D^(-1/2)) and are
    biased by O(1/D). A long training shows how far it is, and stops on Ctrl-C.

    Derivatives are carried forward, whichever mode JAX is asked for: few numbers go in
    and many come out; of a schedule, as many as steps. They are those at label_noise =
    1e-6 where there is less.

    >>> net = DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, gamma0=1.0, learning_rate=0.1, steps=2)
    >>> train(net).test_loss[0].round(6)
    Array(2., dtype=float64)
    """
    if not jax.config.values["jax_enable_x64"]:
        _checks.fail(
            "JAX_ENABLE_X64",
            "single precision",
            "double precision for a DeepLinear, whose memory of all its "
            "queries loses every digit in less",
        )
    size = Size.of(net, capacity, tolerance)
    _checks.memory("steps", net.steps, size.memory, "fewer steps")
    fraction = 1.0 if isinstance(net.batch, str) else float(net.batch)
    schedule = Schedule(jnp.asarray(net.steps + 1), jnp.asarray(fraction))
    numbers = join(Numbers.of(net, size.rows))
    long = size.work * net.steps > _LONG and _checks.is_concrete(numbers)
    training = _in_slices if long else _train
    return _until(training(size, schedule, numbers), net.steps)


@dataclasses.dataclass(frozen=True)
class Size:
    """What the compiled program is made for: it serves every number of steps below
    `rows`, and every batch of the same kind.
    """

    layers: int
    rows: int
    capacity: int
    batch: str
    tolerance: float | None
    nesterov: bool
    muon: MuonShape | None
    lengths: tuple[int, ...]  # of the vectors of `Numbers`

    @staticmethod
    def of(net: DeepLinear, capacity: int | None, tolerance: float | None) -> "Size":
        rows = padded(net.steps + 1)
        if capacity is None:
            momentum = _has_momentum(net)
            capacity = query_capacity(rows - 1, net.batch, tolerance, momentum)
        shape = MuonShape.of(net.optimizer)
        if shape is not None:
            tolerance = (tolerance or default_tolerance()) / max(1.0, shape.slope)
            tolerance = max(tolerance, float(jnp.finfo(float).eps))
        return Size(
            layers=net.hidden_layers,
            rows=rows,
            capacity=min(_checks.integer("capacity", capacity, 1), rows),
            batch=net.batch if isinstance(net.batch, str) else "fraction",
            tolerance=tolerance,
            nesterov=net.nesterov,
            muon=shape,
            lengths=lengths(Numbers.of(net, rows)),
        )

    @property
    def memory(self) -> int:
        """Bytes that training needs, roughly."""
        coefficients = 2 * self.capacity + self.fresh_inputs + self.fresh_samples
        vectors = (self.layers + 1) * (self.rows + self.capacity)
        return 32 * vectors * coefficients

    @property
    def work(self) -> int:
        """Entries of bases that a step reads, roughly."""
        queries = 2 * (self.layers + 1)
        coefficients = 2 * self.capacity + self.fresh_inputs + self.fresh_samples
        products = 0 if self.muon is None else 3 * len(self.muon.polynomials)
        of_muon = products * self.layers * self.capacity**3
        return 4 * queries * self.capacity * coefficients + of_muon

    @property
    def fresh_inputs(self) -> int:
        """Directions of the input space that new samples bring, one a step."""
        return self.rows if self.batch == "online" else 0

    @property
    def fresh_samples(self) -> int:
        """Directions of the space of the samples that random batches bring."""
        return self.rows if self.batch == "fraction" else 0


class Schedule(eqx.Module):
    """The steps to do, and the share of the samples that each draws."""

    times: Int[Array, ""]
    fraction: Float[Array, ""]


class Numbers(NamedTuple):
    """What training can be differentiated in, each a vector."""

    nu: Float[AnyArray, " one"]
    alpha: Float[AnyArray, " one"]
    gamma: Float[AnyArray, " one"]
    label_noise: Float[AnyArray, " one"]
    variance: Float[AnyArray, " layers"]  # or one of all
    optimiser: Optimiser
    muon: MuonNumbers

    @staticmethod
    def of(net: DeepLinear, rows: int) -> "Numbers":
        """The numbers of a network."""
        return Numbers(
            as_vector(net.width_ratio),
            as_vector(net.sample_ratio),
            as_vector(net.gamma),
            as_vector(net.label_noise),
            as_vector(net.init_variance),
            Optimiser.of(net, rows),
            MuonNumbers.of(net.optimizer, rows),
        )

    @staticmethod
    def apart(joined, lengths) -> "Numbers":
        """What was joined in one vector."""
        nu, alpha, gamma, noise, variance, *rest = apart(joined, lengths)
        count = len(Optimiser._fields)
        optimiser = Optimiser(*rest[:count])
        of_muon = MuonNumbers(*rest[count:])
        return Numbers(nu, alpha, gamma, noise, variance, optimiser, of_muon)


_NOISE = Numbers._fields.index("label_noise")


def _with_noise(numbers):
    return numbers.at[_NOISE].max(_LEAST_NOISE)


class Units(NamedTuple):
    """The numbers that a step needs."""

    alpha: Float[Array, ""]
    label_noise: Float[Array, ""]
    kappa: Float[Array, ""]  # the strength of the direction of an update
    scale: Float[Array, ""]  # of the linear predictor, p over g^0

    @staticmethod
    def of(numbers: Numbers) -> "Units":
        nu = numbers.nu[0]
        gamma = numbers.gamma[0]
        return Units(
            alpha=numbers.alpha[0],
            label_noise=numbers.label_noise[0],
            kappa=gamma / jnp.sqrt(nu),
            scale=1 / (gamma * jnp.sqrt(nu)),
        )


class State(eqx.Module):
    """The network between two steps: coefficients over the innovations of each space."""

    matrices: tuple  # M_0(0) ... M_{L-1}(0)
    inputs: GaussianMatrix  # X/sqrt(D)
    # Moved: M_l(t), its spikes between the directions of the queries; and the readout
    weights: tuple
    buffers: tuple  # of the momentum, likewise
    start_loss: Float[Array, ""]
    alive: Bool[Array, ""]


class Asked(NamedTuple):
    """One pass through the network."""

    matrices: tuple  # which remember it
    fields: tuple  # g^0 ... g^L, or h^0 ... h^L
    coordinates: tuple  # over the directions of M_0 ... M_{L-1}


class Residual(NamedTuple):
    """The residual of a step, and what it asks the network to do."""

    inputs: GaussianMatrix
    loss: Float[Array, ""]  # <Delta^2>
    direction: Float[Array, " inputs"]  # d = h^0


class Record(eqx.Module):
    """What is kept of each step."""

    train_loss: Float[Array, ""]
    test_loss: Float[Array, ""]
    predictor_norm: Float[Array, ""]
    alignment: Float[Array, ""]
    forward: tuple
    backward: tuple


class Entry(NamedTuple):
    """A row of the record: NaN, and queries that are zero, where training diverged."""

    record: Record
    left: tuple
    right: tuple
    alive: Bool[Array, ""]


class Network(eqx.Module):
    """What stays the same from step to step."""

    units: Units
    descents: tuple  # of M_0 ... M_{L-1} and of the readout
    fraction: Float[Array, ""]
    beta: Float[Array, " inputs"]
    noise: Float[Array, " samples"]
    batch: str = eqx.field(static=True)

    def step(self, state: State, t) -> tuple[State, Entry]:
        """The queries and the update of the docstring of the module."""
        back = backward(state)
        p = self.units.scale * back.fields[0]
        v = self.beta - p
        residual = self.residual(state.inputs, v, t)
        ahead = forward(back.matrices, state.weights, residual.direction)
        start_loss = jnp.where(t == 0, residual.loss, state.start_loss)
        # beyond that, rounding has erased the start
        alive = state.alive & (residual.loss < start_loss / jnp.finfo(float).eps)
        updated = self.updated(state, back, ahead, t)
        going_on = alive & all_finite(updated)
        now = (state.weights, state.buffers)
        weights, buffers = unless_diverged(going_on, updated, now)
        record = Record(
            residual.loss, v @ v, p @ p, self.beta @ p, ahead.fields, back.fields
        )
        entry = Entry(
            or_nan(alive, record),
            or_zero(alive, back.coordinates),
            or_zero(alive, ahead.coordinates),
            alive,
        )
        state = State(
            ahead.matrices, residual.inputs, weights, buffers, start_loss, going_on
        )
        return state, entry

    def residual(self, inputs: GaussianMatrix, v, t) -> Residual:
        """The residual's mean square and the descent direction d = h^0."""
        alpha = self.units.alpha
        if self.batch == "online":
            loss = v @ v + self.units.label_noise
            return Residual(inputs, loss, v.at[1 + t].add(jnp.sqrt(loss / alpha)))
        inputs, _, image = inputs.forward(v)
        residual = image + self.noise
        loss = residual @ residual
        if self.batch == "fraction":
            b = self.fraction
            drawn = jnp.sqrt(b * (1 - b) * loss)
            residual = (b * residual).at[1 + t].add(drawn)
        inputs, _, image = inputs.backward(residual)
        return Residual(inputs, loss, image / (alpha * self.fraction))

    def updated(self, state: State, back: Asked, ahead: Asked, t):
        """The weights and the buffers after a step."""
        kappa = self.units.kappa
        spikes = [
            kappa * jnp.outer(g, h)
            for g, h in zip(back.coordinates, ahead.coordinates, strict=True)
        ]
        still = jnp.zeros(())
        directions = [*(Moved(still, each) for each in spikes)]
        directions.append(kappa * ahead.fields[-1])
        weights = []
        buffers = []
        for descent, weight, buffer, direction in zip(
            self.descents, state.weights, state.buffers, directions, strict=True
        ):
            updated = descent.update(t, weight, buffer, direction)
            weights.append(jax.tree.map(jnp.add, weight, updated.update))
            buffers.append(updated.buffer)
        return tuple(weights), tuple(buffers)


def backward(state: State) -> Asked:
    """g^l = M_l^T g^{l+1}, from g^L = w down to g^0."""
    matrices = list(state.matrices)
    coordinates = [None] * len(matrices)
    *weights, readout = state.weights
    g = [readout]
    for l in reversed(range(len(matrices))):
        matrices[l], coordinates[l], image = matrices[l].backward(g[0])
        spike = (coordinates[l] @ weights[l].spikes) @ matrices[l].right_basis
        g.insert(0, weights[l].scale * image + matrices[l].aspect * spike)
    return Asked(tuple(matrices), tuple(g), tuple(coordinates))


def forward(matrices, weights, direction) -> Asked:
    """h^{l+1} = M_l h^l, from h^0 = d up to h^L."""
    matrices = list(matrices)
    coordinates = [None] * len(matrices)
    h = [direction]
    for l in range(len(matrices)):
        matrices[l], coordinates[l], image = matrices[l].forward(h[-1])
        spike = (weights[l].spikes @ coordinates[l]) @ matrices[l].left_basis
        h.append(weights[l].scale * image + spike)
    return Asked(tuple(matrices), tuple(h), tuple(coordinates))


def _run(size: Size, schedule: Schedule, numbers) -> Trajectory:
    """All the steps, in arrays with room for `size.rows` of them."""
    run = _begun(size, schedule, numbers)
    return _finished(size, _advanced(run, 0, schedule.times))


class Run(NamedTuple):
    """A training on its way."""

    network: Network
    state: State
    rows: Entry  # of all steps


def _begun(size: Size, schedule: Schedule, numbers) -> Run:
    network, state = start(size, schedule, Numbers.apart(numbers, size.lengths))
    rows = empty_rows(network, state, size.rows)
    return Run(network, state, rows)


def _advanced(run: Run, first, last) -> Run:
    """After steps first ... last-1."""
    state, rows = recorded(run.network, run.state, first, last, run.rows)
    return Run(run.network, state, rows)


def _finished(size: Size, run: Run) -> Trajectory:
    network, state, rows = run
    *descents, _ = network.descents
    layers = tuple(
        _history(matrix, left, right, network.units.kappa, descent)
        for matrix, left, right, descent in zip(
            state.matrices, rows.left, rows.right, descents, strict=True
        )
    )
    known = (*state.matrices, state.inputs)
    ranks = [jnp.stack([matrix.left_rank, matrix.right_rank]) for matrix in known]
    record = rows.record
    return Trajectory(
        record.train_loss,
        record.test_loss,
        record.predictor_norm,
        record.alignment,
        record.forward,
        record.backward,
        layers,
        known,
        rows.alive.sum(),
        jnp.max(jnp.stack([matrix.dropped for matrix in known])),
        jnp.stack(ranks),
    )


_train = carried_forward(
    _run,
    "batch: got a derivative; needed: one in the numbers of the network",
    _with_noise,
)


_begin = compiled(_begun, static_argnums=0)
_advance = compiled(_advanced, donate_argnums=0)
_finish = compiled(_finished, static_argnums=0)


def _in_slices(size: Size, schedule: Schedule, numbers) -> Trajectory:
    """The same in slices of steps: shown, and open to Ctrl-C, between them."""
    times = int(schedule.times)
    steps = max(1, int(_SLICE / size.work))
    run = _begin(size, schedule, numbers)
    with tqdm(total=times, desc="training", unit="step", delay=5) as bar:
        for first in range(0, times, steps):
            last = min(first + steps, times)
            run = jax.block_until_ready(_advance(run, first, last))
            bar.update(last - first)
    return _finish(size, run)


class Layout:
    """Coefficients of each space: start vector and fresh noise | innovations from the
    matrix below | from that above.

    The input space holds beta, the top one the readout, that of the samples the noise.
    """

    def __init__(self, size: Size):
        L = size.layers
        self.layers = L
        self.capacity = size.capacity
        self.tolerance = size.tolerance
        self.below = 1 + size.fresh_inputs  # of the innovations of X in the input space
        bottom = self.below + 2 * size.capacity
        top = 1 + size.capacity
        self.dims = [bottom] + [2 * size.capacity] * (L - 1) + [top]
        self.noise = 1 + size.fresh_samples
        self.samples = self.noise + size.capacity

    def weights(self, l: int, numbers: Numbers) -> GaussianMatrix:
        """M_l(0), of which nothing is known yet."""
        start_below = self.below if l == 0 else 0
        return GaussianMatrix(
            numbers.nu[0] if l == 0 else 1.0,
            self.variances(numbers)[l],
            self.dims[l + 1],
            self.dims[l],
            self.capacity,
            left_start=1 if l == self.layers - 1 else 0,
            right_start=start_below + self.capacity,
            tolerance=self.tolerance,
        )

    def variances(self, numbers: Numbers):
        """Of W^0(0) ... W^{L-1}(0), w(0)."""
        return jnp.broadcast_to(numbers.variance, (self.layers + 1,))

    def inputs(self, numbers: Numbers) -> GaussianMatrix:
        """X/sqrt(D), likewise."""
        return GaussianMatrix(
            numbers.alpha[0],
            1.0,
            self.samples,
            self.dims[0],
            self.capacity,
            left_start=self.noise,
            right_start=self.below,
            tolerance=self.tolerance,
        )


def start(size: Size, schedule: Schedule, numbers: Numbers) -> tuple[Network, State]:
    """The network before its first step."""
    layout = Layout(size)
    units = Units.of(numbers)
    matrices = tuple(layout.weights(l, numbers) for l in range(size.layers))
    network = Network(
        units,
        _descents(size, numbers, matrices),
        schedule.fraction,
        _first(layout.dims[0], 1.0),
        _first(layout.samples, jnp.sqrt(units.label_noise)),
        size.batch,
    )
    untrained = Moved(jnp.ones(()), jnp.zeros((size.capacity, size.capacity)))
    readout = _first(layout.dims[-1], jnp.sqrt(layout.variances(numbers)[-1]))
    weights = (*(untrained,) * size.layers, readout)
    buffers = [
        descent.at_rest(weight)
        for descent, weight in zip(network.descents, weights, strict=True)
    ]
    state = State(
        matrices,
        layout.inputs(numbers),
        weights,
        tuple(buffers),
        jnp.full((), jnp.inf),
        jnp.full((), True),
    )
    return network, state


def _descents(size: Size, numbers: Numbers, matrices) -> tuple:
    """The optimisers of the matrices and of the readout."""
    layers = size.layers + 1
    descents = numbers.optimiser.descents(layers, size.rows, size.nesterov)
    if size.muon is None:
        return descents
    aspects = {l: matrix.aspect for l, matrix in enumerate(matrices)}
    factors = numbers.optimiser.layer_rates
    return numbers.muon.in_place_of(descents, aspects, factors, size.rows, size.muon)


def _first(dim, size):
    """A vector along the first direction of its space."""
    return jnp.zeros(dim).at[0].set(size)


def _history(
    matrix: GaussianMatrix, left, right, kappa, descent: AbstractDescent
) -> LinearQueries:
    plain = descent.is_plain
    rates = kappa * descent.rates if plain else jnp.full_like(descent.rates, kappa)
    return LinearQueries(
        matrix.aspect,
        matrix.variance,
        left,
        right,
        matrix.left_response,
        matrix.right_response,
        rates,
        None if plain else descent.between_unit_directions(),
    )


def _until(trajectory: Trajectory, steps: int) -> Trajectory:
    """The steps that were done: entries 0 ... steps, and updates 0 ... steps-1."""
    over_times = {
        "train_loss": trajectory.train_loss,
        "test_loss": trajectory.test_loss,
        "predictor_norm": trajectory.predictor_norm,
        "alignment": trajectory.alignment,
        "forward": trajectory.forward,
        "backward": trajectory.backward,
    }
    updates = head([_over_updates(history) for history in trajectory.layers], steps)
    layers = zip(trajectory.layers, updates, strict=True)
    return dataclasses.replace(
        trajectory,
        **head(over_times, steps + 1),
        layers=tuple(dataclasses.replace(history, **rows) for history, rows in layers),
    )


def _over_updates(history: LinearQueries) -> dict:
    """What it has a row of for each update."""
    return {
        "left_queries": history.left_queries,
        "right_queries": history.right_queries,
        "rates": history.rates,
        "descent": history.descent,
    }
