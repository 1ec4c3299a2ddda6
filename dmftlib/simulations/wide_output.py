"""WideOutput at finite size: explicit weights, automatic differentiation. Nothing here
knows the theory.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from .. import _checks
from .._compile import compiled
from ..networks import WideOutput
from .base import Simulation, singular


@dataclasses.dataclass(frozen=True)
class WideSimulation(Simulation[WideOutput]):
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
    spectra_at: tuple
    spectra: dict = dataclasses.field(repr=False)
    updates: dict = dataclasses.field(repr=False)
    energies: dict = dataclasses.field(repr=False)

    @property
    def train_loss(self):
        """The same as the test loss: the gradient is that of the whole population."""
        return self.test_loss

    def update_singular_values(self, layer: int, step: int) -> np.ndarray:
        """Singular values of M(step) - M(0), descending: (seeds, min(N, D))."""
        return self._of_update(self.updates, layer, step)

    def update_energy(self, layer: int, step: int) -> np.ndarray:
        """Fraction of |M(step) - M(0)|^2 along each left singular vector of M(step):
        (seeds, min(N, D)).
        """
        return self._of_update(self.energies, layer, step)

    def _of_update(self, table, layer, step):
        at = self.net.layer(layer), self.recorded(step)
        if at not in table:
            _checks.fail("updates", "not recorded", "simulate(..., updates=True)")
        return table[at]


class Sizes(NamedTuple):
    """Width N, input dimension D, outputs C."""

    width: int
    dim: int
    outputs: int


def simulate_wide_output(
    net: WideOutput,
    width: int = 1000,
    dim: int | None = None,
    seeds: int = 8,
    seed: int = 0,
    spectra_at=(),
    updates: bool = True,
    progress: bool = True,
) -> WideSimulation:
    """Train `seeds` networks of width N, each from its own start towards its own
    target.

    D = input_ratio N, or `dim`, which is needed where the readout trains; C = D
    output_ratio/input_ratio, both rounded. Spectra are recorded at the steps
    `spectra_at`, those of the update only if `updates`.

    Raises ValueError for sizes that round to zero.

    >>> net = WideOutput(output_ratio=0.5, input_ratio=0.7, learning_rate=0.1, steps=5)
    >>> simulate_wide_output(net, width=100, seeds=3, spectra_at=(0, 5)).singular_values(layer=0, step=5).shape
    (3, 70)
    """
    sizes = _sizes(net, width, dim)
    numbers = sizes.width * (sizes.dim + sizes.outputs) + sizes.dim * sizes.outputs
    needed = 32.0 * (numbers + seeds * (net.steps + 1))
    _checks.memory("width", width, needed, "a smaller width")
    keys = jax.random.split(jax.random.key(seed), seeds)
    label = f"simulating N = {width}"
    bar = tqdm(keys, desc=label, delay=10, disable=not progress)
    runs = [_train(net, sizes, key, spectra_at, updates) for key in bar]
    joined = jax.tree.map(lambda *x: np.stack(x), *runs)
    return WideSimulation(
        net,
        *sizes,
        joined.losses,
        joined.targets,
        spectra_at,
        joined.spectra,
        joined.updates,
        joined.energies,
    )


def _sizes(net, width, dim) -> Sizes:
    if dim is None and net.train_readout:
        need = "the input dimension: where the readout trains, it does not follow from the width"
        _checks.fail("dim", None, need)
    width = _checks.integer("width", width, 1)
    if dim is None:
        dim = _checks.integer("input_ratio * width", round(net.input_ratio * width), 1)
    dim = _checks.integer("dim", dim, 1)
    outputs = round(dim * net.output_ratio / net.input_ratio)
    _checks.integer("outputs (output_ratio/input_ratio * D)", outputs, 1)
    return Sizes(width, dim, outputs)


@compiled(static_argnums=1)
def _start(net, sizes, key):
    """M, a and W*."""
    width, dim, outputs = sizes
    shapes = ((width, dim), (outputs, width), (outputs, dim))
    readout_variance = net.init_variance if net.train_readout else 1.0
    variances = (
        net.init_variance / width,
        readout_variance / width,
        net.target_variance / dim,
    )
    draws = zip(jax.random.split(key, 3), shapes, variances, strict=True)
    return [jnp.sqrt(v) * jax.random.normal(k, shape) for k, shape, v in draws]


@compiled
def _step(net, M, a, target):
    """One update of gradient descent, and the loss before it."""

    def loss(M, a):
        return jnp.sum((target - a @ M / net.gamma0) ** 2) / 2

    value, (dM, da) = jax.value_and_grad(loss, (0, 1))(M, a)
    rate = net.learning_rate * net.gamma0**2
    return (
        M - rate * dM,
        a - rate * da if net.train_readout else a,
        2 * value / len(target),
    )


class Run(NamedTuple):
    """One seed: losses (steps+1,), singular values of W*, and spectra by layer and
    step.
    """

    losses: np.ndarray
    targets: np.ndarray
    spectra: dict
    updates: dict
    energies: dict


def _train(net, sizes, key, spectra_at, updates) -> Run:
    same = dataclasses.replace(net, steps=0)  # one program for all numbers of steps
    M, a, target = _start(same, sizes, key)
    initial = np.asarray(M)
    losses = np.empty(net.steps + 1)
    run = Run(losses, singular(np.asarray(target)).values, {}, {}, {})
    for t in range(net.steps + 1):
        if t in spectra_at:
            now = singular(np.asarray(M), vectors=updates)
            run.spectra[0, t] = now.values
            if updates:
                update = np.asarray(M) - initial
                run.updates[0, t] = singular(update).values
                run.energies[0, t] = _energies(now.left, update)
        M, a, loss = _step(same, M, a, target)
        run.losses[t] = float(loss)
    return run


def _energies(left, update):
    """The fraction of |update|^2 along each of the left vectors."""
    relative = update / max(np.abs(update).max(), 1e-300)
    along = np.square(left.T @ relative).sum(1)
    return along / max(np.square(relative).sum(), 1e-300)
