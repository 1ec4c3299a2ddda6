"""Nonlinear networks of finite width: raw weights and gradients by automatic differentiation, many seeds."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from .. import checks
from ..networks import Nonlinear

_NUMBERS_AT_ONCE = 4_000_000  # seeds trained together share about this many weights


@dataclasses.dataclass(frozen=True)
class NonlinearSimulation:
    """Trained networks: every array has a first axis of seeds, then entry t after t updates.

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
        return self.all_predictions[:, :, : len(self.net.inputs)]

    @property
    def test_predictions(self):
        return self.all_predictions[:, :, len(self.net.inputs) :]

    @property
    def train_loss(self):
        """Squared residual summed over outputs, averaged over samples (no 1/2)."""
        return _loss(self.net.targets, self.predictions)

    @property
    def test_loss(self):
        return None if self.net.test_targets is None else _loss(self.net.test_targets, self.test_predictions)

    def feature_kernel(self, l: int) -> np.ndarray:
        """phi(h^l_mu).phi(h^l_nu)/N, l = 1 ... L: (seeds, steps+1, P, P)."""
        return self.feature_kernels[self._space(l)]

    def gradient_kernel(self, l: int) -> np.ndarray:
        """g^l.g^l/N, g^l = gamma0 N df/dh^l, l = 1 ... L: (seeds, steps+1, P, K, P, K)."""
        return self.gradient_kernels[self._space(l)]

    def _space(self, l):
        return checks.choice("l", l, tuple(range(1, self.net.hidden_layers + 1))) - 1

    def singular_values(self, layer: int, step: int) -> np.ndarray:
        """Singular values of W^layer / sqrt(N) after `step` updates, descending: (seeds, N); of matrix-free networks
        those past the edge of the bulk, up to O(1/N), padded with NaN."""
        return self.spectra[self.net.layer(layer), checks.choice("step", step, self.spectra_at)]


def _loss(targets, predictions):
    return ((np.asarray(targets) - predictions) ** 2).sum(-1).mean(-1)


def simulate_nonlinear(net: Nonlinear, width: int = 2000, seeds: int = 8, seed: int = 0, spectra_at=(),
                       progress: bool = True) -> NonlinearSimulation:  # fmt: skip
    """Train `seeds` networks of that width on the data of `net`, each from its own start.

    Singular values of the hidden matrices are recorded at the steps `spectra_at`. Seeds are trained a few at a time.
    Predictions fluctuate by O(N^(-1/2)) from seed to seed and are biased by O(1/N).

    Raises ValueError for sizes below 1.

    >>> inputs, targets = [[1.0, 0.0], [0.5, 1.0]], [1.0, -1.0]
    >>> net = Nonlinear(inputs=inputs, targets=targets, hidden_layers=2, learning_rate=0.1, steps=3)
    >>> simulate_nonlinear(net, width=30, seeds=4, spectra_at=(3,)).singular_values(layer=1, step=3).shape
    (4, 30)
    """
    width = checks.integer("width", width, 1)
    weights = width * (net.inputs.shape[1] + (net.hidden_layers - 1) * width + net.targets.shape[1])
    batches = -(-seeds // max(1, _NUMBERS_AT_ONCE // weights))
    at_once = -(-seeds // batches)
    keys = jax.random.split(jax.random.key(seed), batches * at_once).reshape(batches, at_once)
    with tqdm(total=batches * (net.steps + 1), desc=f"simulating N = {width}", delay=5, disable=not progress) as bar:
        parts = [_train(net, width, batch, spectra_at, bar) for batch in keys]
    (predictions, features, gradients), spectra = jax.tree.map(lambda *a: np.concatenate(a)[:seeds], *parts)
    return NonlinearSimulation(net, width, predictions, features, gradients, spectra_at, spectra)


def outputs(net: Nonlinear, weights, x, shifts):
    """f (samples, K) and the features phi(h^l), from raw weights (W^0 ... W^{L-1}, w); shifts are added to the h^l."""
    *matrices, w = weights
    features = [x]
    for W, shift in zip(matrices, shifts, strict=True):
        features.append(net.activation(features[-1] @ W.T / jnp.sqrt(W.shape[1]) + shift))
    return features[-1] @ w.T / (net.gamma0 * w.shape[1]), features[1:]


@functools.partial(jax.jit, static_argnums=1)
@functools.partial(jax.vmap, in_axes=(None, None, 0))
def _start(net, width, key):
    D, K, L = net.inputs.shape[1], net.targets.shape[1], net.hidden_layers
    shapes = [(width, D)] + [(width, width)] * (L - 1) + [(K, width)]
    keys = jax.random.split(key, L + 1)
    return [jnp.sqrt(net.init_variance) * jax.random.normal(*each) for each in zip(keys, shapes, strict=True)]


@functools.partial(jax.jit, donate_argnums=1)
@functools.partial(jax.vmap, in_axes=(None, 0, None))
def _step(net, weights, sample_weights):
    """One update, and what is measured before it."""
    width, P, K = weights[-1].shape[1], *net.targets.shape
    none = [jnp.zeros((P, width))] * net.hidden_layers

    def loss(weights):
        residual = net.targets - outputs(net, weights, net.inputs, none)[0]
        return jnp.sum(sample_weights[:, None] * residual**2) / 2

    per_output = [jax.grad(lambda shifts, k=k: outputs(net, weights, net.inputs, shifts)[0][:, k].sum())(none)
                  for k in range(K)]  # fmt: skip
    g = [net.gamma0 * width * jnp.stack(layer, 1) for layer in zip(*per_output, strict=True)]
    x = jnp.concatenate([net.inputs, net.test_inputs])
    predictions, features = outputs(net, weights, x, [0.0] * net.hidden_layers)
    feature_kernels = [f[:P] @ f[:P].T / width for f in features]
    gradient_kernels = [jnp.einsum("mki,nji->mknj", layer, layer) / width for layer in g]
    rate = net.learning_rate * net.gamma0**2 * width
    weights = jax.tree.map(lambda W, dW: W - rate * dW, weights, jax.grad(loss)(weights))
    return weights, (predictions, feature_kernels, gradient_kernels)


def _train(net, width, keys, spectra_at, bar):
    """Train one batch of seeds."""
    weights, measured, spectra = _start(net, width, keys), [], {}
    schedule = np.concatenate([net.sample_weights(), np.zeros((1, len(net.inputs)))])
    for t, sample_weights in enumerate(schedule):
        if t in spectra_at:
            for l in range(1, net.hidden_layers):
                spectra[l, t] = np.linalg.svd(np.asarray(weights[l]) / np.sqrt(width), compute_uv=False)
        weights, record = _step(net, weights, sample_weights)
        measured.append(jax.device_get(record))
        bar.update()
    return jax.tree.map(lambda *steps: np.stack(steps, 1), *measured), spectra
