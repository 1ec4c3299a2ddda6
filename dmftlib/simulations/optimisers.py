"""The optimisers of networks of finite size, on raw weights: SGD and Adam from optax,
Muon by the chain of its definition.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

_SHELF = 32  # steps: one compiled program serves all numbers up to a multiple of it


def sgd(net, unit) -> optax.GradientTransformation:
    """torch's SGD for a list of raw weights W^0 ... W^{L-1}, w, or of what stands for
    them.

    `unit` is the raw learning rate that belongs to a learning_rate of one: weights
    decay by learning_rate weight_decay in a step, whatever it is.

    >>> from dmftlib import DeepLinear
    >>> net = DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=5,
    ...                  weight_decay=2.0)
    >>> weights = [jnp.ones((2, 2)), jnp.ones(2)]
    >>> optimiser = sgd(net, unit=50.0)
    >>> updates, _ = optimiser.update([0 * W for W in weights], optimiser.init(weights), weights)
    >>> print(updates[1])
    [-0.2 -0.2]
    """

    return optax.chain(
        _sgd(net, unit),
        optax.stateless(functools.partial(_by_layer, net.layer_rates)),
    )


def _sgd(net, unit):
    """The same without the factors of the layers."""

    def rate(step):
        return unit * _at(net.learning_rate, net.steps, step)

    return optax.chain(
        optax.add_decayed_weights(net.weight_decay / unit),
        optax.sgd(rate, momentum=net.momentum, nesterov=net.nesterov),
    )


def shared(net, **nothing) -> Any:
    """The network as compiled programs take it: one serves every batch, and every number
    of steps up to the next multiple of 32, beyond which the rate is zero. `nothing` is
    what else a program does not look at.

    >>> from dmftlib import DeepLinear
    >>> net = DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=2)
    >>> longer = shared(net)
    >>> longer.steps, longer.learning_rate[:3].tolist()
    (32, [0.1, 0.1, 0.0])
    """
    room = max(1, -(-net.steps // _SHELF)) * _SHELF
    rates = np.zeros(room)
    rates[: net.steps] = net.learning_rate
    changes = {"steps": room, "learning_rate": rates, "batch": "full", **nothing}
    muon = getattr(net, "optimizer", None)
    if muon is not None:
        moves = np.zeros(room)
        moves[: net.steps] = muon.learning_rate
        changes["optimizer"] = dataclasses.replace(muon, learning_rate=moves)
    return dataclasses.replace(net, **changes)


def _at(learning_rate, steps, step):
    """The rate of a step, zero after the last."""
    rates = jnp.broadcast_to(jnp.asarray(learning_rate, float), (steps,))
    return jnp.pad(rates, (0, 1))[step]


def optimiser(net, unit, lengths, first=0) -> optax.GradientTransformation:
    """What trains a list of weights W^0 ... W^{L-1}, w, or what stands for them: `sgd`,
    or Muon for all from the `first` on but the last.

    `lengths` are those by which Muon's update of a matrix is multiplied: sqrt(fan-in) of
    raw weights.
    """
    if net.optimizer is None:
        return sgd(net, unit)
    others: Any = _sgd(net, unit)

    def apart(weights):
        matrices = weights[first:-1]
        return matrices, [*weights[:first], weights[-1]]

    def init(params: Any):
        matrices, rest = apart(params)
        buffers = jax.tree.map(jnp.zeros_like, matrices)
        return _Memory(jnp.zeros((), int), buffers, others.init(rest))

    def update(updates: Any, state, params: Any = None):
        muon = net.optimizer
        matrices, rest = apart(params)
        gradients, of_rest = apart(updates)
        turned, buffers = _turned(muon, gradients, state.buffers)
        rate = _at(muon.learning_rate, net.steps, state.step)
        moved = []
        for each, matrix, length in zip(turned, matrices, lengths, strict=True):
            move = functools.partial(_moved, rate, rate * muon.weight_decay, length)
            moved.append(jax.tree.map(move, each, matrix))
        by_sgd, kept = others.update(of_rest, state.others, rest)
        moved = [*by_sgd[:-1], *moved, by_sgd[-1]]
        moved = _by_layer(net.layer_rates, moved, None)
        return moved, _Memory(state.step + 1, buffers, kept)

    return optax.GradientTransformation(init, update)


def adam(net, lengths, units) -> optax.GradientTransformation:
    """Adam for a list of raw weights W^0 ... W^{L-1}, w: by optax, of rates
    learning_rate * length and epsilons eps / unit, each of its layer; or the sign of the
    gradient.

    >>> from dmftlib import Adam, Nonlinear
    >>> net = Nonlinear(inputs=[[1.0]], targets=[1.0], hidden_layers=1, steps=5, optimizer=Adam(0.1))
    >>> optimiser = adam(net, lengths=[1.0, 0.5], units=[1.0, 1.0])
    >>> weights = [jnp.ones((2, 1)), jnp.ones(2)]
    >>> updates, _ = optimiser.update([3 * W for W in weights], optimiser.init(weights), weights)
    >>> print(updates[1].round(6))
    [-0.05 -0.05]
    """
    own = net.optimizer
    each: Any = [_adapted(own, unit) for unit in units]

    def init(params: Any):
        kept = []
        for one, W in zip(each, params, strict=True):
            memory = one.init(W)
            kept.append(memory)
        none = jnp.zeros((), int)
        return _Steps(none, kept)

    def update(updates: Any, state, params: Any = None):
        rate = _at(own.learning_rate, net.steps, state.step)
        decay = rate * own.weight_decay
        moved = []
        kept = []
        for l, one in enumerate(each):
            # optax's count of steps is a whole number of 32 bits
            with jax.numpy_dtype_promotion("standard"):
                adapted, memory = one.update(updates[l], state.layers[l])
            step = _moved(rate, decay, lengths[l], adapted, params[l])
            moved.append(step)
            kept.append(memory)
        moved = _by_layer(net.layer_rates, moved, None)
        return moved, _Steps(state.step + 1, kept)

    return optax.GradientTransformation(init, update)


def _adapted(own, unit) -> optax.GradientTransformation:
    """What an Adam makes of the gradients of a layer, or the sign of them."""
    if own.is_sign_descent:
        return optax.scale_by_sign()
    return optax.scale_by_adam(own.b1, own.b2, own.eps / unit)


class _Steps(NamedTuple):
    """Of Adam: steps done, and what it remembers of each layer."""

    step: jax.Array
    layers: list


class _Memory(NamedTuple):
    """Of Muon, and of the SGD of all else."""

    step: jax.Array
    buffers: list
    others: Any


def _turned(muon, gradients, buffers):
    """The orthogonalised directions of ascent, and the buffers after the step."""

    def kept(buffer, gradient):
        return muon.momentum * buffer + gradient

    buffers = jax.tree.map(kept, buffers, gradients)
    directions = buffers
    if muon.nesterov:
        directions = jax.tree.map(kept, buffers, gradients)
    newton_schulz = functools.partial(_newton_schulz, muon.polynomials)
    return jax.tree.map(newton_schulz, directions), buffers


def _moved(rate, decay, length, turned, matrix):
    """What a step adds to a matrix, or to a number: the share of the start that is left,
    which has no gradient.
    """
    return -rate * length * turned - decay * matrix


def _newton_schulz(polynomials, direction):
    """The chain on a matrix, on its smaller side. A number stays."""
    if direction.ndim < 2:
        return direction
    rows, columns = direction.shape
    if rows > columns:
        return _newton_schulz(polynomials, direction.T).T
    norm = jnp.linalg.norm(direction)
    x = direction / jnp.where(norm > 0, norm, 1.0)
    for a, b, c in polynomials:
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x


def updated(optimiser: optax.GradientTransformation, gradient, memory, weights) -> Any:
    """The weights and the optimiser's memory after a step, trees as they were before."""
    updates, memory = optimiser.update(gradient, memory, weights)
    return optax.apply_updates(weights, updates), memory


def _by_layer(factors, updates, _):
    """The updates times the factors of their rates."""
    if factors is None:
        return updates
    return [
        jax.tree.map(functools.partial(jnp.multiply, factor), each)
        for factor, each in zip(factors, updates, strict=True)
    ]
