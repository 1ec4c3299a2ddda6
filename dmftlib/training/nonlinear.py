"""Level 1 of a nonlinear network in the mean-field limit: D and P finite, N ->
infinity.

At infinite width the sites (neurons) of a layer are independent copies of one
stochastic process, and S of them are a sample. Each step makes the queries

    forward    h^{l+1}_mu = M_l phi(h^l_mu),                                      f_mu = <w phi(h^L_mu)> / gamma0
    backward   g^L_mu = phi'(h^L_mu) w,   g^l_mu = phi'(h^l_mu) M_l^T g^{l+1}_mu
    update     M_l by kappa sum_mu Delta_mu g^{l+1}_mu phi(h^l_mu)^T / N,   w by kappa sum_mu Delta_mu phi(h^L_mu),
               h^1_mu by kappa sum_nu Delta_nu (x_mu . x_nu / D) g^1_nu,    kappa = gamma0 / P

in causal order, and `queries` answers them. Plain descent adds the rate times these
directions, `descent`, `muon` and `entrywise` say what other optimisers make of them.
w, Delta and g carry an output index; training needs of them sum_k Delta_k g_k alone,
which a sample asks once: g^L_mu = phi'(h^L_mu) sum_k Delta_mu k w_k, and kappa
without Delta. Kernels with output indices need the queries of each output (`each_output`).
Delta = -d loss/d f is all that training sees of the loss: y - f for the squared one.
Exact at any step size: there is no gradient flow and no fixed point to iterate.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .. import _checks, linalg
from .._compile import compiled
from .._types import AnyArray
from ..activations import Activation
from ..history import Functions, Moments
from ..losses import Loss
from ..networks import Adam, Muon, Nonlinear
from . import entrywise
from .descent import AbstractDescent, Optimiser, as_vector, before_update
from .entrywise import FUNCTIONS, AdamNumbers, EntrywiseNetwork
from .forward_mode import apart, carried_forward, join, lengths
from .moments import measured
from .muon import MuonNumbers, MuonShape
from .nonlinear_step import Leading, Network, Queries, Random, State, kernel
from .queries import Matrix, ask, ask_back
from .rows import rounded
from .sites import Source, Space, at_once, grow, ready, sobol
from .steps import empty_rows, head, padded, recorded, shelf

_FEW_DIRECTIONS = 64
_ROOM_FOR_FUNCTIONS = 64  # of updates, at first
_OF_UPDATES = 5e-3  # of the largest query: less of an update is not asked for


class Trajectory(eqx.Module):
    """Everything that training determines, of one sample. Entry t after t updates; NaN
    from where it diverged.
    """

    predictions: Float[AnyArray, "times inputs K"]  # training inputs first
    feature_kernels: tuple  # L of (times, P, P), <phi(h^l) phi(h^l)>
    # L of (times, P, J, P, J), <g^l g^l>: J = K outputs if each asks, and else 1
    gradient_kernels: tuple
    layers: tuple  # Moments of M_1 ... M_{L-1}
    # if asked for, (times, P, times, P), <phi(h^L(s)) phi(h^L(t))>, and
    # (times, P, J, times, P, J), <g^1(s) g^1(t)>
    top_features: AnyArray | None
    bottom_gradients: AnyArray | None
    finite_steps: Int[AnyArray, ""]
    full: Bool[AnyArray, ""]  # some direction found no room
    ranks: Int[AnyArray, "matrices 2"]  # directions of the backward and forward queries
    used: Int[AnyArray, " spaces"]  # sizes of the bases
    seed: Int[AnyArray, " numbers"] | None = None  # of the sample

    @property
    def seeds(self) -> list[tuple]:
        """Of several samples, stacked: the seed of each, as far as known."""
        return [] if self.seed is None else [*map(tuple, self.seed)]


def asked_together(net: Nonlinear, each_output: bool) -> int:
    """The queries that a matrix is asked at once, forward or backward."""
    P, K = net.targets.shape
    forward = P + len(net.test_inputs)
    return max(forward, P * K) if each_output else forward


def rank_guess(net: Nonlinear, each_output: bool = True) -> tuple[int, int]:
    """The largest number of directions that the queries of a matrix can have, and about
    how many they will.
    """
    most = (net.steps + 1) * asked_together(net, each_output)
    guess = min(most, math.ceil(16 * math.sqrt(most)))
    if not isinstance(net.optimizer, Adam):
        return most, guess
    functions = net.steps * FUNCTIONS
    return most + functions, guess + min(functions, _ROOM_FOR_FUNCTIONS)


def room_for(
    net: Nonlinear, rank: int, sites: int, each_output: bool = True
) -> tuple[int, ...]:
    """Rows of the query bases, and of the bases of the L spaces, for matrices with
    `rank` queries on each side.
    """
    L = net.hidden_layers
    start = [1] * L
    start[0] += min(len(net.inputs) + len(net.test_inputs), net.inputs.shape[1])
    start[-1] += net.targets.shape[1]
    spaces = [
        min(start[l] + 2 * rank * ((l > 0) + (l < L - 1)), sites) for l in range(L)
    ]
    few = at_once(asked_together(net, each_output))
    return tuple(rounded(rows, few) for rows in (rank, *spaces))


def shapes(room: tuple[int, ...]) -> tuple[int, ...]:
    """Rows of the arrays that have this room. Small ones are larger than they need be,
    so that a program serves many of them; where there are many directions the time goes
    into the products with them, and not into compiling.
    """
    return room if room[0] > _FEW_DIRECTIONS else tuple(map(shelf, room))


def memory(
    net: Nonlinear,
    room: tuple[int, ...],
    sites: int,
    batches: int = 1,
    each_output: bool = True,
) -> int:
    """Bytes that `train` needs in double precision and without `two_time`, roughly: one
    sample as it trains, and the trajectories of all of them.
    """
    P, K = net.targets.shape
    K = K if each_output else 1
    L = net.hidden_layers
    times = padded(net.steps + 1)
    queries, *spaces = shapes(room)
    block = len(net.inputs) + len(net.test_inputs) + P * K
    bases = 2 * sum(spaces) + 4 * L * block
    matrices = (L - 1) * queries * (4 * max(spaces) + 3 * queries)
    histories = (L - 1) * queries * times * P * (K + 1)
    kernels = times * L * (P**2 + (P * K) ** 2)
    moments = 8 * (sites * bases + matrices + (batches + 1) * (histories + kernels))
    if not isinstance(net.optimizer, Adam):
        return moments
    return moments + entrywise.memory(net.optimizer, sites, L - 1, times)


def two_time_memory(net: Nonlinear, sites: int, batches: int = 1) -> int:
    """Bytes that kernels between all times need: of one sample as it trains, fields and
    kernels, and of all of them kernels.
    """
    P, K = net.targets.shape
    times = net.steps + 1
    features = times * P
    gradients = times * P * K
    fields = sites * (features + gradients)
    kernels = features**2 + gradients**2
    return 8 * (2 * fields + (batches + 1) * kernels)


def train(
    net: Nonlinear,
    seed,
    *,
    sites: int,
    room: tuple[int, ...],
    tolerance=1e-4,
    matched=True,
    two_time=False,
    dtype="float64",
    each_output=True,
) -> Trajectory:
    """One sample of `sites` sites, trained.

    seed       a number or a sequence of numbers: another sample for each
    room       rows of the bases: see `room_for`
    tolerance  directions of less than this share of the largest query are forgotten;
               with Muon, which enlarges what is small, of the largest update
    matched    fresh vectors of exact moments from a scrambled Sobol sequence, for the
               limit (`sites` should be a power of 2); otherwise the networks of width
               `sites` themselves
    each_output
               False: a sample asks once, whatever the number of outputs
    two_time   also the kernels between different times of phi(h^L) and g^1, of
               (steps P)^2 numbers

    Derivatives with respect to gamma0, init_variance and the numbers of the optimiser,
    at fixed random numbers, are carried forward whichever mode JAX is asked for; those
    with respect to the data are refused.
    """
    size, data, numbers = _problem(
        net, seed, sites, room, tolerance, matched, two_time, dtype, each_output
    )
    trajectory = _until(_train(size, data, numbers), net.steps, room[0])
    return with_seed(trajectory, seed)


class Fields(eqx.Module):
    """Fields of the sites of one layer at one step."""

    forward: Float[Array, "*batches inputs S"]  # h^l, training inputs first
    backward: Float[Array, "*batches P K S"]  # z^l


def fields(
    net: Nonlinear,
    seed,
    l: int,
    step: int,
    *,
    sites: int,
    room: tuple[int, ...],
    tolerance=1e-4,
) -> Fields:
    """h^l and z^l at a step of the training that `train` with the same seed does; z^L
    is the readout. They have no derivatives.
    """
    size, data, numbers = _problem(net, seed, sites, room, tolerance)
    return _fields(size, l - 1, data, numbers, step)


class Problem(NamedTuple):
    """What a training is compiled for, what it is of, and what it is differentiated in."""

    size: "Size"
    data: "Data"
    numbers: Float[Array, " numbers"]


def _problem(
    net,
    seed,
    sites,
    room,
    tolerance=1e-4,
    matched=True,
    two_time=False,
    dtype="float64",
    each_output=True,
) -> Problem:
    rng = np.random.default_rng(seed)
    key = jax.random.key(int(rng.integers(2**62)))
    times = padded(net.steps + 1)
    _refuse_derivatives(net)
    numbers = Numbers.of(net, times)
    muon = MuonShape.of(_only(Muon, net))
    if muon is not None:
        tolerance = before_update(tolerance, muon.slope)
    size = Size(
        net.hidden_layers,
        net.activation,
        net.loss,
        times,
        sites,
        shapes(room) if matched else room,
        tolerance,
        matched,
        two_time,
        dtype,
        each_output or net.targets.shape[1] == 1,
        net.nesterov,
        muon,
        isinstance(net.optimizer, Adam),
        lengths(numbers),
    )
    weights = net.sample_weights()
    weights = np.pad(weights, ((0, size.times - len(weights)), (0, 0)))
    data = Data(
        net.inputs,
        net.targets,
        net.test_inputs,
        jnp.asarray(weights),
        jnp.asarray(net.steps + 1),
        jnp.asarray(room),
        key,
        _pools(net, rng, room, size) if matched else None,
    )
    return Problem(size, data, join(numbers))


def _refuse_derivatives(net: Nonlinear):
    """Of a network that Adam trains, whose update jumps with the sign of a gradient."""
    if isinstance(net.optimizer, Adam) and not _checks.is_concrete(net):
        need = (
            "a Muon or None under jit and grad: with an Adam there are no derivatives"
        )
        _checks.fail("optimizer", "an Adam", need)


def with_seed(trajectory: Trajectory, seed) -> Trajectory:
    """The trajectory, which knows from which random numbers it came."""
    numbers = np.atleast_1d(np.asarray(seed))
    return dataclasses.replace(trajectory, seed=numbers)


@dataclasses.dataclass(frozen=True)
class Size:
    """What the compiled program is made for: it serves every number of steps below
    `times`, and any smaller room.
    """

    layers: int
    activation: Activation
    loss: Loss
    times: int
    sites: int
    room: tuple[int, ...]  # rows of the bases of the queries, and of the L spaces
    tolerance: float
    matched: bool
    two_time: bool
    dtype: str
    each_output: bool
    nesterov: bool
    muon: MuonShape | None
    adam: bool
    lengths: tuple[int, ...]  # of the vectors of `Numbers`


class Numbers(NamedTuple):
    """What training can be differentiated in, each a vector."""

    gamma0: Float[AnyArray, " one"]
    variance: Float[AnyArray, " layers"]  # or one of all
    optimiser: Optimiser
    muon: MuonNumbers
    adam: AdamNumbers

    @staticmethod
    def of(net: Nonlinear, times: int) -> "Numbers":
        """The numbers of a network."""
        return Numbers(
            as_vector(net.gamma0),
            as_vector(net.init_variance),
            Optimiser.of(net, times),
            MuonNumbers.of(_only(Muon, net), times),
            AdamNumbers.of(_only(Adam, net), times),
        )

    @staticmethod
    def apart(joined, lengths) -> "Numbers":
        """What was joined in one vector."""
        gamma0, variance, *rest = apart(joined, lengths)
        of_sgd = len(Optimiser._fields)
        of_muon = of_sgd + len(MuonNumbers._fields)
        optimiser = Optimiser(*rest[:of_sgd])
        muon = MuonNumbers(*rest[of_sgd:of_muon])
        return Numbers(gamma0, variance, optimiser, muon, AdamNumbers(*rest[of_muon:]))


def _only(kind: type, net: Nonlinear):
    """The optimiser of the network if it is of this kind, and else None."""
    return net.optimizer if isinstance(net.optimizer, kind) else None


class Data(eqx.Module):
    """What training can not be differentiated in."""

    inputs: Float[Array, "P D"]
    targets: Float[Array, "P K"]
    test_inputs: Float[Array, "Q D"]
    sample_weights: Float[Array, "times P"]
    times: Int[Array, ""]
    room: Int[Array, " bases"]  # that may be used, of what there is
    key: Array
    pools: list | None  # random vectors of the L spaces


def _pools(net: Nonlinear, rng, room, size: Size) -> list:
    """Quasi-random vectors for each space, as many as can be asked for, and zeros up to
    the room that there is.
    """
    together = asked_together(net, size.each_output)
    few = len(net.inputs) + len(net.test_inputs) + net.targets.shape[1]
    few += ready(at_once(together))
    pools = []
    for l in range(size.layers):
        matrices = (l > 0) + (l < size.layers - 1)
        drawn = sobol(rng, room[0] * matrices + few, size.sites)
        pool = np.zeros((size.room[0] * matrices + few, size.sites), size.dtype)
        pool[: len(drawn)] = drawn
        pools.append(pool)
    return pools


def _begun(size: Size, data: Data, numbers) -> tuple[Network, State]:
    """The network before its first step."""
    numbers = Numbers.apart(numbers.astype(size.dtype), size.lengths)
    layers = size.layers + 1
    variances = jnp.broadcast_to(numbers.variance, (layers,))
    x = jnp.concatenate([data.inputs, data.test_inputs]).astype(size.dtype)
    gram = x @ x.T / x.shape[1]
    kind = Network
    if size.adam:
        kind = functools.partial(EntrywiseNetwork, inputs=x)
    network = kind(
        size.activation,
        size.loss,
        size.tolerance,
        size.two_time,
        size.each_output,
        _random(size, data),
        gram,
        data.targets.astype(size.dtype),
        data.sample_weights.astype(size.dtype),
        numbers.gamma0[0],
        jnp.sqrt(variances),
        _descents(size, numbers, x),
    )
    return network, _start(size, network, x, data.room)


def _descents(size: Size, numbers: Numbers, x) -> tuple:
    """The optimisers of W^0 ... W^{L-1}, w."""
    layers = size.layers + 1
    if size.adam:
        factors = numbers.optimiser.layer_rates
        return numbers.adam.descents(layers, size.times, factors, x)
    descents = numbers.optimiser.descents(layers, size.times, size.nesterov)
    if size.muon is None:
        return descents
    square = dict.fromkeys(range(1, size.layers), 1.0)
    factors = numbers.optimiser.layer_rates
    return numbers.muon.in_place_of(descents, square, factors, size.times, size.muon)


def _run(size: Size, data: Data, numbers) -> Trajectory:
    """All the steps, in arrays with room for `size.times` of them."""
    network, state = _begun(size, data, numbers)
    rows = empty_rows(network, state, size.times)
    state, rows = recorded(network, state, 0, data.times, rows)
    state, functions = _with_functions(network, state, rows.leading, data.times)
    known = [*state.spaces, *state.matrices]
    top, bottom = rows.kept or (None, None)
    return Trajectory(
        predictions=rows.record.predictions,
        feature_kernels=rows.record.feature_kernels,
        gradient_kernels=rows.record.gradient_kernels,
        layers=_layers(network, state.matrices, rows.queries, data.times, functions),
        top_features=top,
        bottom_gradients=bottom,
        finite_steps=rows.alive.sum(),
        full=functools.reduce(jnp.logical_or, [each.full for each in known]),
        ranks=rows.queries.ranks[data.times - 1],
        used=jnp.stack([space.count for space in state.spaces]),
    )


@compiled(static_argnums=(0, 1))
def _fields(size: Size, layer: int, data: Data, numbers, step) -> Fields:
    """The steps before this one, and the queries of this one."""
    network, state = _begun(size, data, numbers)

    def once(t, state):
        after, _ = network.step(state, t)
        return after

    state = jax.lax.fori_loop(0, step, once, state)
    keys = network.random.at(step)
    state, ahead = network.forward(state, keys)
    state = network.with_readout(state, ahead.features[-1], step)
    nothing = jnp.zeros_like(data.targets)
    readouts = network.pull(state.readout, nothing).readouts
    _, back = network.backward(state, ahead, readouts, keys)
    return Fields(ahead.fields[layer], back.fields[layer])


_train = carried_forward(
    _run,
    "derivatives with respect to inputs and targets are not there; only gamma0, "
    "init_variance and the numbers of the optimiser can be differentiated",
)


def _random(size: Size, data: Data) -> Random:
    source_key, noise_key = jax.random.split(data.key)
    sources = tuple(
        Source(
            None if data.pools is None else data.pools[l],
            jax.random.fold_in(source_key, l),
            size.sites,
            size.dtype,
        )
        for l in range(size.layers)
    )
    return Random(sources, noise_key, size.matched, size.room[1:], size.dtype)


def _start(size: Size, network: Network, x, limits) -> State:
    """The network before its first step: h^1(0) is Gaussian, nothing is known of the
    matrices.
    """
    P, outputs = network.targets.shape
    backward = P * outputs if size.each_output else P
    few = at_once(max(len(x), backward))
    query_rows, *space_rows = size.room
    query_limit, *space_limits = limits
    constant = jnp.ones((1, size.sites), size.dtype)
    spaces = []
    for rows, limit in zip(space_rows, space_limits, strict=True):
        empty = Space.empty(
            rows, size.sites, size.dtype, limit, few, fresh=True, together=outputs
        )
        spaces.append(empty.with_rows(constant, 1, size.sites))
    factor = _factor(x, network.gram)
    directions = network.random.sources[0](0, factor.shape[1])
    bottom, _ = grow(spaces[0], directions, size.tolerance**2)
    used = jnp.asarray(len(directions))
    spaces[0] = eqx.tree_at(lambda s: s.fresh.used, bottom, used)
    if size.matched:
        after_constant = jnp.eye(len(directions), space_rows[0], 1, dtype=size.dtype)
        directions = spaces[0].vectors(after_constant)
    matrices = tuple(
        Matrix.unknown(above, below, query_rows, query_limit)
        for below, above in zip(spaces[:-1], spaces[1:], strict=True)
    )
    state = State(
        matrices,
        tuple(spaces),
        network.deviations[0] * factor @ directions,
        jnp.zeros((outputs, size.sites), size.dtype),
        (),
        jnp.zeros((), size.dtype),
        jnp.asarray(True),
    )
    if size.adam:
        shape = (size.layers - 1, size.sites, size.sites)
        operators = tuple(jnp.zeros(shape, size.dtype))
        state = eqx.tree_at(lambda s: s.operators, state, operators)
    layers = zip(network.descents, state.weights.layers, strict=True)
    buffers = tuple(descent.at_rest(weight) for descent, weight in layers)
    return eqx.tree_at(lambda s: s.buffers, state, buffers)


def _factor(x, gram):
    """A square root of the Gram of the inputs, of as few columns as it has."""
    if x.shape[1] <= len(x):
        return x / np.sqrt(x.shape[1])
    values, vectors = linalg.eigh(gram)
    return vectors * jnp.sqrt(jnp.maximum(values, 0.0))


def _between_times(fields):
    """The kernel of fields (times, ..., S) between all times."""
    gram = kernel(fields.reshape(-1, fields.shape[-1]))
    return gram.reshape(2 * fields.shape[:-1])


def _with_functions(network: Network, state: State, leading: tuple, times):
    """The state in which M(0) has been asked the leading functions of all updates, and
    these over its directions; None of matrices that have none.
    """
    if not leading:
        return state, [None] * len(state.matrices)
    functions = []
    for l, rows in enumerate(leading):
        state, found = _asked(network, state, l, rows, times)
        functions.append(found)
    return state, functions


def _asked(network: Network, state: State, l: int, rows: Leading, times):
    """Of one matrix. Rows t = 1 ... are what was added up to there: of step t - 1."""
    matrix = state.matrices[l]
    start = eqx.tree_at(lambda m: m.scale, matrix, jnp.ones_like(matrix.scale))
    tolerance = max(network.tolerance, _OF_UPDATES)
    deviation = network.deviations[l + 1]
    empty = jnp.zeros((*rows.left.shape[:2], len(matrix.spikes)), rows.left.dtype)

    def asked(known, functions, t, tolerance):
        """The functions over the directions, of which there may be more afterwards."""
        matrix, below, above = known
        to_above, to_below = network.random.at(times + t)[:2]
        fresh = network.random.innovations(l + 1, to_above, deviation)
        ahead = ask(matrix, below, above, functions.right, fresh, tolerance)
        known = (ahead.matrix, ahead.outside, ahead.inside)
        fresh = network.random.innovations(l, to_below, deviation)
        back = ask_back(*known, functions.left, fresh, tolerance)
        return (back.matrix, back.outside, back.inside), back.asked, ahead.asked

    def once(t, carried):
        known, left, right = carried
        functions = jax.tree.map(lambda x: x[t], rows)
        known, _, _ = asked(known, functions.by_size(), t, tolerance)
        known, of_left, of_right = asked(known, functions, t, jnp.inf)
        return known, left.at[t - 1].set(of_left), right.at[t - 1].set(of_right)

    known = (start, state.spaces[l], state.spaces[l + 1])
    known, left, right = jax.lax.fori_loop(1, times, once, (known, empty, empty))
    left_out = jnp.roll(rows.left_out, -1)
    return state.after(l, *known), Functions(left, right, left_out)


def _layers(network: Network, matrices, queries: Queries, times, functions) -> tuple:
    """The histories of the matrices."""
    return tuple(
        measured(
            matrix,
            queries.left[l],
            queries.right[l],
            queries.ranks[:, l],
            times,
            network.deviations[l + 1] ** 2,
            *_pull(network.descents[l + 1], queries.rates),
            functions[l],
        )
        for l, matrix in enumerate(matrices)
    )


def _pull(descent: AbstractDescent, rates):
    """The strengths of the spikes of each step, and the optimiser that they are handed
    to if there is need of one.
    """
    if descent.is_plain:
        return descent.rates[:, None, None] * rates, None
    return rates, descent.between_unit_directions()


@compiled(static_argnums=(1, 2))
def _until(trajectory: Trajectory, steps: int, rank: int) -> Trajectory:
    """The steps that were done, entries 0 ... steps and updates 0 ... steps-1, and the
    directions that may have been used.
    """
    times = steps + 1
    layers = tuple(_shorter(layer, steps, rank) for layer in trajectory.layers)
    top = head(trajectory.top_features, times)
    bottom = head(trajectory.bottom_gradients, times)
    return dataclasses.replace(
        trajectory,
        predictions=head(trajectory.predictions, times),
        feature_kernels=head(trajectory.feature_kernels, times),
        gradient_kernels=head(trajectory.gradient_kernels, times),
        layers=layers,
        top_features=None if top is None else _between_times(top),
        bottom_gradients=None if bottom is None else _between_times(bottom),
    )


def _shorter(layer: Moments, steps: int, rank: int) -> Moments:
    return Moments(
        layer.variance,
        layer.left_queries[: steps + 1, ..., :rank],
        layer.right_queries[: steps + 1, ..., :rank],
        layer.left_time[:rank],
        layer.right_time[:rank],
        layer.core[:rank, :rank],
        layer.left_images[:rank, :rank],
        layer.right_images[:rank, :rank],
        layer.rates[:steps],
        None if layer.descent is None else layer.descent.until(steps),
        None if layer.functions is None else _fewer(layer.functions, steps, rank),
    )


def _fewer(functions: Functions, steps: int, rank: int) -> Functions:
    return Functions(
        functions.left[:steps, :, :rank],
        functions.right[:steps, :, :rank],
        functions.left_out[:steps],
    )
