"""Deep linear networks of any finite size, exactly in law, at a cost that does not
depend on the size.

`coordinate_training` trains a network on coordinates; the largest singular values and
eigenvalues of the tangent kernel come from further questions, `coordinate_spectra`.
Here random numbers are drawn, seeds are treated some at a time, and each number is given
once it has settled.

Nothing here knows the theory: this is what the theory is checked against.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from .. import _checks
from .._compile import compiled
from ..networks import DeepLinear
from .base import Simulation, in_turns
from .coordinate_spectra import (
    Pair,
    kernel_modes,
    kernel_questions,
    layer_of,
    weight_modes,
    weight_modes_of_small,
    widened_for_kernel,
)
from .coordinate_training import Sizes, rooms, train, unasked
from .leading_values import BLOCKS_A_STEP, chi_squared, draw_triangles
from .questions import Draw

_NUMBERS_AT_ONCE = 2**24  # kept for the seeds that are treated together
_SEEDS_AT_ONCE = 64
_BLOCKS_IN_CACHE = 4  # seeds whose blocks are multiplied together
_SETTLED = 1e-5  # a value that another doubling moves by less, relatively, is given
_FEWEST_BLOCKS = 64
_NO_EDGES = np.zeros((1, 1))
_SMALL = 128  # rows, columns: up to here LAPACK is quicker than an iteration


@dataclasses.dataclass(frozen=True)
class CoordinateSimulation(Simulation[DeepLinear]):
    """Trained networks of any size: every array has a first axis of seeds, entry t after
    t updates.

    train_loss, test_loss           (seeds, steps+1)
    predictor_norm, alignment       (seeds, steps+1)  |p|^2/D and beta.p/D of the linear predictor p
    leading                         number of singular values and eigenvalues recorded
    """

    net: DeepLinear
    dim: int
    train_loss: np.ndarray
    test_loss: np.ndarray
    predictor_norm: np.ndarray
    alignment: np.ndarray
    spectra_at: tuple
    leading: int
    recorded_overlaps: int
    spectra: dict = dataclasses.field(repr=False)
    left_overlaps: dict = dataclasses.field(repr=False)
    right_overlaps: dict = dataclasses.field(repr=False)
    kernels: dict = dataclasses.field(repr=False)
    moved: dict = dataclasses.field(repr=False)

    def singular_values(self, layer: int, step: int) -> np.ndarray:
        """The largest singular values of W^layer / sqrt(fan_in) after `step` updates,
        descending: (seeds, leading). NaN where as many steps of the iteration as were
        allowed have not settled them.
        """
        return super().singular_values(layer, step)

    def overlaps(self, layer: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Squared cosines of the leading singular vectors, left with each g_j and right
        with each h_j: (seeds, k, steps), for the number k of `overlaps` that the
        simulation was asked for; NaN like the values.
        """
        at = self.net.layer(layer), self.recorded(step)
        if at not in self.left_overlaps:
            _checks.fail("overlaps", "not recorded", "simulate(..., overlaps=k)")
        return self.left_overlaps[at], self.right_overlaps[at]

    def ntk_eigenvalues(self, step: int) -> np.ndarray:
        """The largest eigenvalues of the neural tangent kernel, K = (D gamma^2 / P) sum
        over parameters of df df^T: (seeds, leading), NaN where not settled.

        They belong to the same networks' losses, but their further questions are drawn
        apart from the singular values of the weights.
        """
        step = self.recorded(step)
        if step not in self.kernels:
            _checks.fail("ntk", "not recorded", "simulate(..., ntk=True)")
        return self.kernels[step]

    @property
    def stats(self) -> dict:
        """By how much, relatively, the last doubling of the iteration moved each number
        (seeds, leading): {"values 0": {step: ...}, ..., "ntk": {step: ...}}.
        """
        return self.moved


class Wanted(NamedTuple):
    """What a simulation is asked for."""

    seed: int
    spectra_at: tuple
    leading: int
    overlaps: int
    ntk: bool
    blocks: int


class Shape(NamedTuple):
    """D, N and P as whole numbers."""

    dim: int
    width: int
    samples: int


class Run(NamedTuple):
    """Some seeds: losses (seeds, 4, steps+1), and what is recorded, by layer and step."""

    losses: np.ndarray
    spectra: dict
    left_overlaps: dict
    right_overlaps: dict
    kernels: dict
    moved: dict


def simulate_coordinates(
    net: DeepLinear,
    dim: int = 1000,
    seeds: int = 8,
    seed: int = 0,
    spectra_at=(),
    leading: int = 0,
    overlaps: int = 0,
    ntk: bool = False,
    blocks: int = 128,
    progress: bool = True,
) -> CoordinateSimulation:
    """Train `seeds` networks of any input dimension `dim` up to 2^53, exactly in law, at
    a cost that does not depend on it.

    Width and samples are `dim` times the ratios of `net`, rounded. At the steps
    `spectra_at` the `leading` largest singular values of every matrix are recorded,
    with the overlaps of the first `overlaps` of their vectors, and with `ntk` the
    largest eigenvalues of the tangent kernel. A singular value comes from up to
    `blocks` blocks of the matrix, 64, 128, ...: it is given once twice as many as half
    of them move it by less than 1e-5, relatively, and NaN if none does; small matrices
    are exhausted and exact. One close above the edge of the bulk takes more; those at
    the edge of a large matrix do not settle, are not looked for beyond the first 64
    blocks, and are what `leading_noise` draws. All singular values of a seed are those
    of one network at all steps. The same `seed` gives the same numbers.

    Raises ValueError for sizes below 1 or above 2^53, for more leading values than the
    matrices have, for whole spectra (leading = 0) and for mini-batches drawn anew from a
    fixed set of samples, whose residuals have no finite coordinates.

    >>> net = DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=5)
    >>> networks = simulate_coordinates(net, dim=10**9, seeds=3)
    >>> networks.test_loss.shape, bool(abs(networks.test_loss[:, 0] - 2).max() < 1e-3)
    ((3, 6), True)
    """
    shape = _shape(net, dim)
    wanted = Wanted(seed, tuple(spectra_at), leading, overlaps, ntk, blocks)
    _check(net, shape, seeds, wanted)
    batches, at_once = _turns(net, seeds, wanted)
    total = batches * at_once
    label = f"simulating D = {dim}"
    with tqdm(total=total, desc=label, delay=10, disable=not progress) as bar:
        runs = []
        for i in range(batches):
            numbers = np.arange(i * at_once, (i + 1) * at_once)
            some = _Seeds(net, shape, seed, numbers)
            runs.append(_run(some, wanted))
            bar.update(at_once)
    joined = jax.tree.map(lambda *arrays: np.concatenate(arrays)[:seeds], *runs)
    train_loss, test_loss, predictor_norm, alignment = joined.losses.transpose(1, 0, 2)
    return CoordinateSimulation(
        net=net,
        dim=shape.dim,
        train_loss=train_loss,
        test_loss=test_loss,
        predictor_norm=predictor_norm,
        alignment=alignment,
        spectra_at=wanted.spectra_at,
        leading=leading,
        recorded_overlaps=overlaps,
        spectra=joined.spectra,
        left_overlaps=joined.left_overlaps,
        right_overlaps=joined.right_overlaps,
        kernels=joined.kernels,
        moved=joined.moved,
    )


def _shape(net, dim) -> Shape:
    dim = _checks.integer("dim", dim, 1)
    width = round(net.width_ratio * dim)
    samples = round(net.sample_ratio * dim)
    return Shape(
        dim,
        _checks.integer("dim * width_ratio", width, 1),
        _checks.integer("dim * sample_ratio", samples, 1),
    )


def _check(net, shape, seeds, wanted):
    """Refuse what this method cannot do."""
    if not isinstance(net.batch, str):
        need = (
            "'full' or 'online': of mini-batches drawn anew from a fixed set there are "
            "no finite coordinates; method='dense' trains them"
        )
        _checks.fail("batch", net.batch, need)
    ntk = _checks.choice("ntk", wanted.ntk, (True, False))
    sides = shape if ntk else shape[:2]
    leading = _checks.integer("leading", wanted.leading, 0, min(sides))
    if len(wanted.spectra_at) and leading == 0:
        need = (
            "at least 1: whole spectra need the whole matrix, which method='dense' has"
        )
        _checks.fail("leading", 0, need)
    _checks.integer("overlaps", wanted.overlaps, 0, leading)
    _checks.integer("blocks", wanted.blocks, _FEWEST_BLOCKS)
    matrices = len(wanted.spectra_at) * net.hidden_layers
    recorded = 4 + matrices * 2 * wanted.overlaps
    numbers = _numbers(net, wanted) + seeds * (net.steps + 1) * recorded
    _checks.memory("seeds", seeds, 16.0 * numbers, "fewer seeds, steps or blocks")


def _numbers(net, wanted):
    """How many numbers are kept for a seed, at most."""
    times = net.steps + 1
    steps = len(wanted.spectra_at)
    layers = net.hidden_layers + 1
    kept = 16 * layers * times**2
    if steps:
        blocks = _most_blocks(wanted)
        kept += 6 * blocks * times**2
        kept += 4 * steps * blocks**2 * times
    if wanted.ntk:
        asked = times + steps * (1 + kernel_questions(wanted.leading))
        kept += 16 * layers * asked**2
    return kept


def _turns(net, seeds, wanted):
    """Batches of seeds, and the seeds in each."""
    numbers = _numbers(net, wanted)
    fitting = max(numbers, _NUMBERS_AT_ONCE // _SEEDS_AT_ONCE)
    return in_turns(seeds, fitting, _NUMBERS_AT_ONCE)


class _Seeds(NamedTuple):
    """Some seeds of a network, by number."""

    net: DeepLinear
    shape: Shape
    seed: int
    numbers: np.ndarray

    @property
    def sizes(self):
        """As what a compiled function takes."""
        return Sizes(*(jnp.asarray(size, float) for size in self.shape))

    def generators(self, purpose):
        """A stream of random numbers for each seed."""
        return [
            np.random.default_rng([self.seed, number, purpose])
            for number in self.numbers
        ]

    def keys(self, purpose):
        """The same for JAX."""
        key = jax.random.key(self.seed)
        key = jax.random.fold_in(key, purpose)
        numbers = jnp.asarray(self.numbers)
        return jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers)

    def draws(self, purpose, shape, known) -> Draw:
        """Two vectors of each space of `known`, for every entry of `shape`."""
        dim, width, samples = self.shape
        hidden = [width] * self.net.hidden_layers
        dimensions = np.array([dim, *hidden, samples])
        room = np.asarray(rooms(known))
        freedom = np.maximum(dimensions - room, 0)
        freedom = freedom[:, None] * np.ones((1, 2))
        freedom = np.broadcast_to(freedom, (*shape, *freedom.shape))
        generators = self.generators(purpose)
        outside = [chi_squared(rng, freedom) for rng in generators]
        inside = _normal(self.keys(purpose), (*freedom.shape, max(room)))
        return Draw(inside, np.stack(outside))


@compiled(static_argnums=1)
def _normal(keys, shape):
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


@compiled
def _train_all(net, sizes, draws):
    return jax.vmap(train, (None, None, 0))(net, sizes, draws)


@compiled(static_argnums=5)
def _all_kernel_modes(net, sizes, training, steps, draws, leading):
    def one(training, draws):
        return kernel_modes(net, sizes, training, steps, draws, leading)

    return jax.vmap(one)(training, draws)


@compiled(static_argnums=4)
def _all_layers(net, sizes, training, steps, layer):
    def one(training):
        return layer_of(net, sizes, training, steps, layer)

    return jax.vmap(one)(training)


@compiled(static_argnums=(3, 4, 5))
def _all_weight_modes(layers, keys, draws, leading, vectors, small):
    found = weight_modes_of_small if small else weight_modes

    def one(seed):
        layer, key, triangles = seed
        return found(layer, key, triangles, leading, vectors)

    seeds = (layers, keys, draws)
    return jax.lax.map(one, seeds, batch_size=_BLOCKS_IN_CACHE)


# purposes of random numbers; from _LAYER on, layer by layer
_TRAINING = 0
_KERNEL = 1
_LAYER = 2


def _run(seeds: _Seeds, wanted) -> Run:
    """Train these seeds, and find what is wanted."""
    net = seeds.net
    known = jax.eval_shape(unasked, net, seeds.sizes)
    draws = seeds.draws(_TRAINING, (net.steps + 2,), known)
    training = _train_all(net, seeds.sizes, draws)
    run = Run(np.asarray(training.losses), {}, {}, {}, {}, {})
    if not wanted.spectra_at:
        return run
    at = np.asarray(wanted.spectra_at)
    alive = np.isfinite(run.losses[:, :2, at]).all(1)
    for l in range(net.hidden_layers):
        kept = _of_weights(seeds, training, l, wanted).where(alive)
        _record_weights(run, l, kept, wanted)
    if wanted.ntk:
        kept = _of_kernel(seeds, training, known, wanted).where(alive)
        run.kernels.update(_by_step(kept.values, wanted))
        run.moved["ntk"] = _by_step(kept.moved, wanted)
    return run


def _record_weights(run, layer, kept, wanted):
    """Enter what was found of one matrix."""
    for step, values in _by_step(kept.values, wanted).items():
        run.spectra[layer, step] = values
    run.moved[f"values {layer}"] = _by_step(kept.moved, wanted)
    if not wanted.overlaps:
        return
    for step, sides in _by_step(kept.overlaps, wanted).items():
        run.left_overlaps[layer, step] = sides[:, :, 0]
        run.right_overlaps[layer, step] = sides[:, :, 1]


def _by_step(array, wanted) -> dict:
    """An array (seeds, at, ...) as {step: (seeds, ...)}."""
    return {step: array[:, i] for i, step in enumerate(wanted.spectra_at)}


class Kept(NamedTuple):
    """Numbers (seeds, at, leading), NaN where they have not settled; by how much they
    moved, relatively; overlaps (seeds, at, vectors, 2, steps) or None; and the numbers
    as they were found.
    """

    values: np.ndarray
    moved: np.ndarray
    overlaps: np.ndarray | None
    found: np.ndarray

    def where(self, alive) -> "Kept":
        """NaN where training has diverged: `alive` (seeds, at) is False."""
        values = np.where(alive[:, :, None], self.values, np.nan)
        overlaps = self.overlaps
        if overlaps is not None:
            overlaps = np.where(alive[:, :, None, None, None], overlaps, np.nan)
        return self._replace(values=values, overlaps=overlaps)

    def complete(self, edges):
        """Whether all above the edges (seeds, at) have settled."""
        inside = self.found < edges[:, :, None]
        done = (np.isfinite(self.values) | inside).all()
        if self.overlaps is None:
            return done
        vectors = self.overlaps.shape[2]
        settled = np.isfinite(self.overlaps).all((3, 4))
        return done and (settled | inside[:, :, :vectors]).all()


def _most_blocks(wanted):
    return max(wanted.blocks, _blocks_needed(wanted))


def _blocks_needed(wanted):
    """For so many steps as there are leading values."""
    return 2 * BLOCKS_A_STEP * wanted.leading


def _of_weights(seeds, training, layer, wanted) -> Kept:
    """The leading singular values of one matrix, from ever more blocks until settled."""
    net = seeds.net
    width = seeds.shape.width
    fan_in = seeds.shape.dim if layer == 0 else width
    at = np.asarray(wanted.spectra_at)
    layers = _all_layers(net, seeds.sizes, training, at, layer)
    asked = np.stack([layers.start.rows, layers.start.columns], 1)
    most = _most_blocks(wanted)
    purpose = _LAYER + layer
    generators = seeds.generators(purpose)
    draws = draw_triangles(generators, (width, fan_in), asked, net.steps + 1, most)
    keys = seeds.keys(purpose)

    def found(blocks, small=False):
        first = draws.first(blocks)
        modes = _all_weight_modes(
            layers, keys, first, wanted.leading, wanted.overlaps, small
        )
        return _settled(modes)

    used = draws.used
    if used <= most and used * (net.steps + 1) <= _SMALL:
        return found(used, small=True)
    edges = _edges(layers, width, fan_in) if used > most else _NO_EDGES
    blocks = min(most, max(_FEWEST_BLOCKS, _blocks_needed(wanted)))
    kept = found(blocks)
    while blocks < most and not kept.complete(edges):
        blocks = min(most, 2 * blocks)
        kept = _with_earlier(found(blocks), kept)
    return kept


def _edges(layers, rows, columns):
    """What the largest singular value of scale(t) M(0) stays below in the mean (Gordon):
    (seeds, at). A value that the first blocks of a large matrix find below it is at the
    edge of the bulk, where no number of blocks settles it.
    """
    deviation = np.asarray(layers.start.deviation)[:, None]
    scale = np.abs(np.asarray(layers.trained.scale))
    return scale * deviation * (np.sqrt(rows) + np.sqrt(columns))


def _of_kernel(seeds, training, known, wanted) -> Kept:
    """The leading eigenvalues of the tangent kernel."""
    at = np.asarray(wanted.spectra_at)
    leading = wanted.leading

    def widened(known):
        return widened_for_kernel(known, len(at), leading)

    known = jax.eval_shape(widened, known)
    shape = (len(at), kernel_questions(leading) + 1)
    draws = seeds.draws(_KERNEL, shape, known)
    sizes = seeds.sizes
    found = _all_kernel_modes(seeds.net, sizes, training, at, draws, leading)
    return _settled(found)


def _settled(pair: Pair) -> Kept:
    """The numbers that half of the iteration had already, NaN for the others; overlaps
    of a vector all together.
    """
    values = np.asarray(pair.now.values)
    shift = np.abs(values - np.asarray(pair.earlier.values))
    moved = shift / np.where(values > 0, values, 1.0)
    kept = np.where(moved < _SETTLED, values, np.nan)
    if pair.now.overlaps is None or pair.earlier.overlaps is None:
        return Kept(kept, moved, None, values)
    now = np.stack(pair.now.overlaps, 3)
    earlier = np.stack(pair.earlier.overlaps, 3)
    shift = np.abs(now - earlier).max((3, 4), keepdims=True, initial=0.0)
    return Kept(kept, moved, np.where(shift < _SETTLED, now, np.nan), values)


def _with_earlier(now: Kept, earlier: Kept) -> Kept:
    """What was settled earlier, and what is known now of the rest."""
    settled = np.isfinite(earlier.values)
    values = np.where(settled, earlier.values, now.values)
    moved = np.where(settled, earlier.moved, now.moved)
    if now.overlaps is None or earlier.overlaps is None:
        return Kept(values, moved, None, now.found)
    settled = np.isfinite(earlier.overlaps)
    overlaps = np.where(settled, earlier.overlaps, now.overlaps)
    return Kept(values, moved, overlaps, now.found)
