"""WideOutput at finite size: explicit weights, automatic differentiation. Nothing here knows the theory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from .. import checks
from ..networks import WideOutput


@dataclasses.dataclass(frozen=True)
class WideSimulation:
    """Trained networks: every array has a first axis of seeds, entry t after t updates.

    test_loss  (seeds, steps+1)  |E|^2 / C; train_loss is the same
    targets    (seeds, min(C, D))  singular values of W*, descending
    """

    net: WideOutput
    width: int
    dim: int
    outputs: int
    test_loss: np.ndarray
    targets: np.ndarray
    spectra: dict = dataclasses.field(repr=False)

    @property
    def train_loss(self):
        """The same as the test loss: the gradient is that of the whole population."""
        return self.test_loss

    def _recorded(self, kind, layer, step):
        self.net.layer(layer)
        return self.spectra[kind][checks.choice("step", step, tuple(self.spectra[kind]))]

    def singular_values(self, layer: int, step: int) -> np.ndarray:
        """Singular values of M = W/sqrt(N) after `step` updates, descending: (seeds, min(N, D))."""
        return self._recorded("values", layer, step)

    def update_singular_values(self, layer: int, step: int) -> np.ndarray:
        """Singular values of M(step) - M(0), descending: (seeds, min(N, D))."""
        return self._recorded("update", layer, step)

    def update_energy(self, layer: int, step: int) -> np.ndarray:
        """Fraction of |M(step) - M(0)|^2 along each left singular vector of M(step): (seeds, min(N, D))."""
        return self._recorded("energy", layer, step)


def simulate_wide_output(net: WideOutput, width: int = 1000, dim: int | None = None, seeds: int = 8, seed: int = 0,
                         spectra_at=(), updates: bool = True, progress: bool = True) -> WideSimulation:  # fmt: skip
    """Train `seeds` networks of width N, each from its own start towards its own target.

    D = input_ratio N, or `dim`, which is needed where the readout trains; C = D output_ratio/input_ratio, both rounded.
    Spectra are recorded at the steps `spectra_at`, those of the update only if `updates`.

    Raises ValueError for sizes that round to zero.

    >>> net = WideOutput(output_ratio=0.5, input_ratio=0.7, learning_rate=0.1, steps=5)
    >>> simulate_wide_output(net, width=100, seeds=3, spectra_at=(0, 5)).singular_values(layer=0, step=5).shape
    (3, 70)
    """
    if dim is None and net.train_readout:
        checks.fail("dim", None, "the input dimension: where the readout trains, it does not follow from the width")
    checks.integer("width", width, 1)
    dim = round(net.input_ratio * width) if dim is None else checks.integer("dim", dim, 1)
    outputs = round(dim * net.output_ratio / net.input_ratio)
    for name, size in (("input_ratio * width", dim), ("outputs (output_ratio/input_ratio * D)", outputs)):
        checks.integer(name, size, 1)
    checks.memory("width", width, 32.0 * (width * (dim + outputs) + dim * outputs + seeds * (net.steps + 1)),
                  "a smaller width")  # fmt: skip
    keys = jax.random.split(jax.random.key(seed), seeds)
    bar = tqdm(keys, desc=f"simulating N = {width}", delay=10, disable=not progress)
    runs = [_train(net, width, dim, outputs, key, spectra_at, updates) for key in bar]
    losses, targets, spectra = zip(*runs, strict=True)
    spectra = jax.tree.map(lambda *x: np.stack(x), *spectra)
    return WideSimulation(net, width, dim, outputs, np.stack(losses), np.stack(targets), spectra)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _start(net, width, dim, outputs, key):
    """M, a and W*."""
    readout_variance = net.init_variance if net.train_readout else 1.0
    shapes = (width, dim), (outputs, width), (outputs, dim)
    variances = net.init_variance / width, readout_variance / width, net.target_variance / dim
    keys = jax.random.split(key, 3)
    return [jnp.sqrt(v) * jax.random.normal(k, shape) for k, shape, v in zip(keys, shapes, variances, strict=True)]


@jax.jit
def _step(net, M, a, target):
    """One update of gradient descent, and the loss before it."""
    def loss(M, a):
        return jnp.sum((target - a @ M / net.gamma0) ** 2) / 2

    value, (dM, da) = jax.value_and_grad(loss, (0, 1))(M, a)
    rate = net.learning_rate * net.gamma0**2
    return M - rate * dM, a - rate * da if net.train_readout else a, 2 * value / len(target)


def _train(net, width, dim, outputs, key, spectra_at, updates):
    M, a, target = _start(net, width, dim, outputs, key)
    start, losses, spectra = np.asarray(M), [], {"values": {}, "update": {}, "energy": {}}
    for t in range(net.steps + 1):
        if t in spectra_at:
            if updates:
                update = np.asarray(M) - start
                left, spectra["values"][t], _ = np.linalg.svd(M, full_matrices=False)
                spectra["update"][t] = np.linalg.svd(update, compute_uv=False)
                spectra["energy"][t] = np.square(left.T @ update).sum(1) / max(np.square(update).sum(), 1e-300)
            else:
                spectra["values"][t] = np.linalg.svd(M, compute_uv=False)
        M, a, loss = _step(net, M, a, target)
        losses.append(float(loss))
    return np.array(losses), np.linalg.svd(np.asarray(target), compute_uv=False), spectra
