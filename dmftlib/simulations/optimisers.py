"""The optimisers of networks of finite size, on raw weights, from optax."""

import dataclasses
import functools
from typing import Any

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

    def rate(step):
        rates = jnp.broadcast_to(jnp.asarray(net.learning_rate, float), (net.steps,))
        return unit * jnp.pad(rates, (0, 1))[step]

    return optax.chain(
        optax.add_decayed_weights(net.weight_decay / unit),
        optax.sgd(rate, momentum=net.momentum, nesterov=net.nesterov),
        optax.stateless(functools.partial(_by_layer, net.layer_rates)),
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
    return dataclasses.replace(net, **changes)


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
