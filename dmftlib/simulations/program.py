"""Programs at finite width: the user's function on raw weights, gradients by automatic
differentiation, many seeds.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from .. import _checks
from .._compile import compiled
from ..programs import Program
from ..tracing import Noted, with_notes
from .base import Simulation, in_turns, singular

# seeds trained together share about this many weights
_NUMBERS_AT_ONCE = 4_000_000


@dataclasses.dataclass(frozen=True)
class ProgramSimulation(Simulation[Program]):
    """Trained programs: every array has a first axis of seeds, then entry t after t
    updates.

    predictions   (seeds, steps+1, P, K)
    train_loss    (seeds, steps+1)
    numbers       what `forward` notes, by name: (seeds, steps+1, ...)
    """

    net: Program
    width: int
    predictions: np.ndarray = dataclasses.field(repr=False)
    numbers: dict = dataclasses.field(repr=False)
    spectra_at: tuple
    spectra: dict = dataclasses.field(repr=False)

    @property
    def train_loss(self):
        """The squared residual summed over outputs, averaged over samples (no 1/2)."""
        targets = np.asarray(self.net.targets)
        residual = self.predictions - targets
        squares = np.sum(residual**2, -1)
        return squares.mean(-1)


def simulate_program(
    net: Program,
    width: int = 1000,
    seeds: int = 8,
    seed: int = 0,
    spectra_at=(),
    progress: bool = True,
) -> ProgramSimulation:
    """Train `seeds` networks with so many sites in every space, each from its own
    start. They share with the theory the function `forward`, and nothing else.

    Singular values of W / sqrt(N) of every matrix, by its name, are recorded at the
    steps `spectra_at`. Raises ValueError for a width below 1, and for one that does not
    fit into memory.

    >>> from dmftlib import Program
    >>> def forward(ask, sites, x):
    ...     h = ask("W", jnp.tanh(sites["U"] @ x.T))
    ...     return jnp.mean(sites["w"][:, None] * jnp.tanh(h), 0)
    >>> net = Program(forward, matrices={"W": ("hidden", "hidden")}, sites={"U": (2,), "w": ()},
    ...               inputs=[[1.0, 0.0], [0.5, 1.0]], targets=[1.0, -1.0], learning_rate=0.1, steps=3)
    >>> simulation = simulate_program(net, width=30, seeds=4, spectra_at=(3,))
    >>> simulation.predictions.shape, simulation.singular_values("W", 3).shape
    ((4, 4, 2, 1), (4, 30))
    """
    width = _checks.integer("width", width, 1)
    numbers = width**2 * len(net.matrices)
    _checks.memory("width", width, 40.0 * numbers, "a smaller width")
    batches, at_once = in_turns(seeds, numbers, _NUMBERS_AT_ONCE)
    keys = jax.random.split(jax.random.key(seed), batches * at_once)
    total = batches * (net.steps + 1)
    label = f"simulating N = {width}"
    with tqdm(total=total, desc=label, delay=5, disable=not progress) as bar:
        turns = keys.reshape(batches, at_once)
        runs = [_train(net, width, turn, spectra_at, bar) for turn in turns]
    joined = jax.tree.map(lambda *a: np.concatenate(a)[:seeds], *runs)
    return ProgramSimulation(
        net, width, joined.predictions, joined.numbers, spectra_at, joined.spectra
    )


class Run(NamedTuple):
    """One batch of seeds: predictions and numbers of all steps, spectra by matrix and
    step.
    """

    predictions: np.ndarray
    numbers: dict
    spectra: dict


def _train(net: Program, width, keys, spectra_at, bar) -> Run:
    weights = _start(net, width, keys)
    rates = np.broadcast_to(net.learning_rate, (net.steps,))
    record = []
    spectra = {}
    for t in range(net.steps + 1):
        if t in spectra_at:
            for name, _ in net.matrices:
                W = np.asarray(weights[name])
                M = W / np.sqrt(width)
                spectra[name, t] = singular(M).values
        last = t == net.steps
        rate = 0.0 if last else rates[t]
        weights, found = _step(net, weights, rate)
        record.append(jax.tree.map(np.asarray, found))
        bar.update()
    predictions, numbers = jax.tree.map(lambda *rows: np.stack(rows, 1), *record)
    return Run(predictions, numbers, spectra)


@compiled(static_argnums=1)
@functools.partial(jax.vmap, in_axes=(None, None, 0))
def _start(net: Program, width, key):
    """The raw weights and site parameters, by name."""
    shapes = {name: (width, width) for name, _ in net.matrices}
    shapes |= {name: (width, *shape) for name, (_, shape) in net.sites}
    keys = jax.random.split(key, len(shapes))
    weights = {}
    for own, (name, shape) in zip(keys, shapes.items(), strict=True):
        deviation = jnp.sqrt(net.variance(name))
        weights[name] = deviation * jax.random.normal(own, shape)
    return weights


@compiled
@functools.partial(jax.vmap, in_axes=(None, 0, None))
def _step(net: Program, weights, rate):
    """The weights after an update, and the outputs (P, K) and numbers before it."""

    def loss(weights):
        found = _outputs(net, weights)
        residual = net.targets - found.returned
        half = jnp.sum(residual**2) / 2
        return half / len(residual), found

    gradients, found = jax.grad(loss, has_aux=True)(weights)
    name, _ = net.matrices[0]
    raw_rate = rate * net.gamma0**2 * len(weights[name])
    weights = jax.tree.map(lambda W, slope: W - raw_rate * slope, weights, gradients)
    return weights, found


def _outputs(net: Program, weights) -> Noted:
    def ask(name, h):
        W = weights[name]
        fan_in = W.shape[1]
        return jnp.tensordot(W, h, 1) / jnp.sqrt(fan_in)

    sites = {name: weights[name] for name, _ in net.sites}
    forward = functools.partial(net.forward, ask)
    outputs, notes = with_notes(forward)(sites, net.inputs)
    return Noted(outputs.reshape(net.targets.shape) / net.gamma0, notes)
