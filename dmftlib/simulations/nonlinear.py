"""Nonlinear networks of finite width: raw weights and gradients by automatic
differentiation, many seeds.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from .. import _checks
from .._compile import compiled
from ..networks import Adam, Nonlinear
from .base import Simulation, in_turns, singular
from .optimisers import adam, optimiser, shared, updated

# seeds trained together share about this many weights
_NUMBERS_AT_ONCE = 4_000_000


@dataclasses.dataclass(frozen=True)
class NonlinearSimulation(Simulation[Nonlinear]):
    """Trained networks: every array has a first axis of seeds, then entry t after t
    updates.

    train_loss, test_loss   (seeds, steps+1); no test_loss without test targets
    predictions, test_predictions   (seeds, steps+1, samples, K)
    """

    net: Nonlinear
    width: int
    all_predictions: np.ndarray = dataclasses.field(repr=False)
    feature_kernels: list = dataclasses.field(repr=False)
    gradient_kernels: list = dataclasses.field(repr=False)
    spectra_at: tuple
    spectra: dict = dataclasses.field(repr=False)

    @property
    def predictions(self):
        """f on the training inputs, (seeds, steps+1, P, K)."""
        samples = len(self.net.inputs)
        return self.all_predictions[:, :, :samples]

    @property
    def test_predictions(self):
        """f on the test inputs, (seeds, steps+1, Q, K)."""
        samples = len(self.net.inputs)
        return self.all_predictions[:, :, samples:]

    @property
    def train_loss(self):
        """The loss averaged over all samples: the squared residual summed over outputs
        (no 1/2), the cross-entropy, ...
        """
        return _mean_loss(self.net, self.predictions, self.net.targets)

    @property
    def test_loss(self):
        """The same on the test data; None if there are no test targets."""
        targets = self.net.test_targets
        if targets is None:
            return None
        return _mean_loss(self.net, self.test_predictions, targets)

    @property
    def fraction_correct(self):
        """The share of right answers on the training inputs, (seeds, steps+1), as of a
        solution.
        """
        return _fraction_correct(self.net, self.predictions, self.net.targets)

    @property
    def test_fraction_correct(self):
        """The same on the test data; None if there are no test targets."""
        targets = self.net.test_targets
        if targets is None:
            return None
        return _fraction_correct(self.net, self.test_predictions, targets)

    def feature_kernel(self, l: int) -> np.ndarray:
        """phi(h^l_mu).phi(h^l_nu)/N, l = 1 ... L: (seeds, steps+1, P, P)."""
        return self.feature_kernels[self._space(l)]

    def gradient_kernel(self, l: int) -> np.ndarray:
        """g^l.g^l/N, g^l = gamma0 N df/dh^l, l = 1 ... L: (seeds, steps+1, P, K, P, K)."""
        return self.gradient_kernels[self._space(l)]

    def _space(self, l):
        layers = range(1, self.net.hidden_layers + 1)
        return _checks.choice("l", l, tuple(layers)) - 1


def trained_loss(net: Nonlinear, predictions, targets):
    """What a network descends, of each sample: half the squared residual, or as named."""
    kind = _kind(net)
    if kind == "function":
        each = jnp.vectorize(net.loss.source, signature="(k),(k)->()")
        return each(predictions, targets)
    if kind == "cross-entropy":
        return optax.softmax_cross_entropy(predictions, targets)
    if kind == "logistic":
        margins = predictions * targets
        return -jax.nn.log_sigmoid(margins).sum(-1)
    return jnp.sum((targets - predictions) ** 2, -1) / 2


def _kind(net) -> str:
    """The name of the loss; "function" for one of a user's."""
    return net.loss.name if net.loss.source is None else "function"


def _mean_loss(net, predictions, targets):
    """Over samples; the squared loss without the half."""
    factor = 2.0 if _kind(net) == "squared" else 1.0
    return factor * np.asarray(trained_loss(net, predictions, targets)).mean(-1)


def _fraction_correct(net, predictions, targets):
    targets = np.asarray(targets)
    if _kind(net) == "logistic" or targets.shape[1] == 1:
        right = np.sign(predictions) == np.sign(targets)
    else:
        right = predictions.argmax(-1) == targets.argmax(-1)
    return right.reshape(*predictions.shape[:2], -1).mean(-1)


def simulate_nonlinear(
    net: Nonlinear,
    width: int = 2000,
    seeds: int = 8,
    seed: int = 0,
    spectra_at=(),
    progress: bool = True,
) -> NonlinearSimulation:
    """Train `seeds` networks of that width on the data of `net`, each from its own
    start.

    Singular values of the hidden matrices are recorded at the steps `spectra_at`. Seeds
    are trained a few at a time. Predictions fluctuate by O(N^(-1/2)) from seed to seed
    and are biased by O(1/N).

    Raises ValueError for sizes below 1.

    >>> inputs, targets = [[1.0, 0.0], [0.5, 1.0]], [1.0, -1.0]
    >>> net = Nonlinear(inputs=inputs, targets=targets, hidden_layers=2, learning_rate=0.1, steps=3)
    >>> simulate_nonlinear(net, width=30, seeds=4, spectra_at=(3,)).singular_values(layer=1, step=3).shape
    (4, 30)
    """
    width = _checks.integer("width", width, 1)
    check_memory(net, width, seeds, matrices=net.hidden_layers - 1)
    D = net.inputs.shape[1]
    K = net.targets.shape[1]
    inner = (net.hidden_layers - 1) * width
    weights = width * (D + inner + K)
    batches, at_once = in_turns(seeds, weights, _NUMBERS_AT_ONCE)
    keys = jax.random.split(jax.random.key(seed), batches * at_once)
    total = batches * (net.steps + 1)
    label = f"simulating N = {width}"
    with tqdm(total=total, desc=label, delay=5, disable=not progress) as bar:
        turns = keys.reshape(batches, at_once)
        runs = [_train(net, width, turn, spectra_at, bar) for turn in turns]
    joined = jax.tree.map(lambda *a: np.concatenate(a)[:seeds], *runs)
    return NonlinearSimulation(
        net,
        width,
        joined.record.predictions,
        joined.record.feature_kernels,
        joined.record.gradient_kernels,
        spectra_at,
        joined.spectra,
    )


def check_memory(net: Nonlinear, width: int, seeds: int, matrices: int):
    """Refuse a width at which the sites, that many width x width matrices and what is
    recorded would not fit into memory.
    """
    sites = width * (len(net.inputs) + net.inputs.shape[1]) * net.hidden_layers
    kernels = net.hidden_layers * net.targets.size**2
    recorded = seeds * (net.steps + 1) * kernels
    weights = matrices * width**2
    needed = 32.0 * (sites + weights) + 8.0 * recorded
    _checks.memory("width", width, needed, "a smaller width, or matrix_free=True")


class Record(NamedTuple):
    """Measured before an update, or stacked over all of them."""

    predictions: jax.Array
    feature_kernels: list
    gradient_kernels: list


class Run(NamedTuple):
    """One batch of seeds: the records of all steps, and spectra by layer and step."""

    record: Record
    spectra: dict


def outputs(net: Nonlinear, weights, x, shifts):
    """f (samples, K) and the features phi(h^l), from raw weights (W^0 ... W^{L-1}, w);
    shifts are added to the h^l.
    """
    *matrices, w = weights
    features = [x]
    for W, shift in zip(matrices, shifts, strict=True):
        fan_in = W.shape[1]
        h = features[-1] @ W.T / jnp.sqrt(fan_in) + shift
        features.append(net.activation(h))
    width = w.shape[1]
    f = features[-1] @ w.T / (net.gamma0 * width)
    return f, features[1:]


@compiled(static_argnums=1)
@functools.partial(jax.vmap, in_axes=(None, None, 0))
def _start(net, width, key):
    D = net.inputs.shape[1]
    K = net.targets.shape[1]
    L = net.hidden_layers
    hidden = [(width, width)] * (L - 1)
    shapes = [(width, D), *hidden, (K, width)]
    keys = jax.random.split(key, L + 1)
    deviations = jnp.broadcast_to(jnp.sqrt(net.init_variance), (L + 1,))
    triples = zip(deviations, keys, shapes, strict=True)
    return [each * jax.random.normal(own, shape) for each, own, shape in triples]


@compiled(donate_argnums=(1, 2))
@functools.partial(jax.vmap, in_axes=(None, 0, 0, None))
def _step(net, weights, memory, sample_weights):
    """One update, and what is measured before it."""
    width = weights[-1].shape[1]
    record = _measured(net, weights, width)

    def loss(weights):
        none = [0.0] * net.hidden_layers
        predictions, _ = outputs(net, weights, net.inputs, none)
        each = trained_loss(net, predictions, net.targets)
        return jnp.sum(sample_weights * each)

    unit = net.gamma0**2 * width
    gradient = jax.grad(loss)(weights)
    weights, memory = updated(_optimiser(net, unit, width), gradient, memory, weights)
    return weights, memory, record


def _optimiser(net, unit, width):
    """Of raw weights; W^0 and w are never Muon's. Adam sees a gradient of W^l times unit
    sqrt(fan-in), one of w times unit.
    """
    if isinstance(net.optimizer, Adam):
        matrices = net.hidden_layers - 1
        D = net.inputs.shape[1]
        hidden = unit * width**0.5
        bottom = unit * D**0.5
        units = [bottom, *[hidden] * matrices, unit]
        lengths = [1.0, *[width**-0.5] * matrices, 1.0]
        return adam(net, lengths, units)
    lengths = [width**0.5] * (net.hidden_layers - 1)
    return optimiser(net, unit, lengths, first=1)


def _measured(net, weights, width) -> Record:
    samples = len(net.inputs)
    x = jnp.concatenate([net.inputs, net.test_inputs])
    none = [0.0] * net.hidden_layers
    predictions, features = outputs(net, weights, x, none)
    gradients = _gradients(net, weights, width)
    return Record(
        predictions,
        [_gram(each[:samples], width) for each in features],
        [_gram_of_outputs(each, width) for each in gradients],
    )


def _gram(features, width):
    return features @ features.T / width


def _gram_of_outputs(gradients, width):
    return jnp.einsum("mki,nji->mknj", gradients, gradients) / width


def _gradients(net, weights, width):
    """g^l = gamma0 N df/dh^l of each layer: (P, K, N)."""
    none = [jnp.zeros((len(net.inputs), width))] * net.hidden_layers
    per_output = []
    for k in range(net.targets.shape[1]):

        def total(shifts, k=k):
            f, _ = outputs(net, weights, net.inputs, shifts)
            return f[:, k].sum()

        per_output.append(jax.grad(total)(none))
    layers = zip(*per_output, strict=True)
    return [net.gamma0 * width * jnp.stack(layer, 1) for layer in layers]


def _train(net, width, keys, spectra_at, bar) -> Run:
    same = shared(net, batch_seed=0)
    weights = _start(same, width, keys)
    memory = jax.vmap(_optimiser(same, 1.0, width).init)(weights)
    records = []
    spectra = {}
    nothing = np.zeros((1, len(net.inputs)))
    schedule = np.concatenate([net.sample_weights(), nothing])
    for t, sample_weights in enumerate(schedule):
        if t in spectra_at:
            for l in range(1, net.hidden_layers):
                M = np.asarray(weights[l]) / np.sqrt(width)
                spectra[l, t] = singular(M).values
        weights, memory, record = _step(same, weights, memory, sample_weights)
        records.append(jax.device_get(record))
        bar.update()
    record = jax.tree.map(lambda *steps: np.stack(steps, 1), *records)
    return Run(record, spectra)
