"""Optimisers that are linear in gradients and weights: a schedule of rates, momentum,
Nesterov's and weight decay, in torch's convention.

With d_t minus the gradient of a weight W at step t, rate eta_t (times the factor of the
layer), momentum mu and decay lam,

    pull = d_t - lam W,   buffer <- mu buffer + pull,   W <- W + eta_t buffer,

and with Nesterov's momentum W <- W + eta_t (pull + mu buffer). Being linear, this acts
on coefficients as it acts on weights. A matrix M(t) = scale_t M(0) + S(t) has d_t
between the directions of its queries, where S lives: S starts at 0 and is pulled by
d_t, the scale starts at 1 and is pulled by nothing but the decay. What is known of M(0)
does not change.
"""

import abc
from typing import Any, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks
from .._types import AnyArray

_LEAST_SHARE = 1e-7  # its square is above the rounding of inner products


class Moved(NamedTuple):
    """M(t) = scale M(0) + spikes."""

    scale: Float[Array, ""]
    spikes: Float[Array, "..."]


class Updated(NamedTuple):
    """What one step adds to weights, and the buffers after it."""

    update: Any  # a tree as that of the weights
    buffer: Any


class Path(NamedTuple):
    """scale_t of every time, and what each step adds to the spikes."""

    scale: Float[Array, " times"]
    increments: Float[Array, "steps ..."]


class AbstractDescent(eqx.Module):
    """The optimiser of one layer."""

    rates: eqx.AbstractVar[Float[Array, " steps"]]

    @property
    @abc.abstractmethod
    def is_plain(self) -> bool:
        """Whether each step adds its rate times its direction, and no more."""

    @property
    def normalises(self) -> bool:
        """Whether a step is as large for a small direction as for a large one."""
        return False

    @property
    def slope(self) -> float:
        """By how much an update may enlarge what is small in its direction beside what
        is large.
        """
        return 1.0

    @abc.abstractmethod
    def at_rest(self, weights) -> Any:
        """The buffers before the first step."""

    @abc.abstractmethod
    def update(self, t, weights, buffer, direction) -> Updated:
        """What step t adds to `weights`; `direction` is minus the gradient."""

    def moved(self, t, moved: Moved, buffer, direction) -> Updated:
        """The same of a matrix that training pulls in `direction` between the queries."""
        nothing = jnp.zeros_like(moved.scale)
        return self.update(t, moved, buffer, Moved(nothing, direction))

    def path(self, directions: Float[Array, "steps ..."]) -> Path:
        """Where a matrix goes that is pulled in these directions, one a step."""
        if not len(directions):
            return Path(jnp.ones((1,), directions.dtype), directions)
        still = jnp.zeros(directions.shape[1:], directions.dtype)
        start = Moved(jnp.ones((), directions.dtype), still)

        def step(carried, now):
            moved, buffer = carried
            t, direction = now
            update, buffer = self.moved(t, moved, buffer, direction)
            moved = _plus(moved, update)
            return (moved, buffer), (moved.scale, update.spikes)

        steps = jnp.arange(len(directions))
        begun = (start, self.at_rest(start))
        _, (scale, increments) = jax.lax.scan(step, begun, (steps, directions))
        first = jnp.ones((1,), scale.dtype)
        return Path(jnp.concatenate([first, scale]), increments)

    def between_unit_directions(self) -> Self:
        """The same where queries and spikes are over unit vectors, not per site."""
        return self

    def until(self, steps: int) -> Self:
        """The first so many steps."""
        return eqx.tree_at(lambda descent: descent.rates, self, self.rates[:steps])


class AbstractNormalising(AbstractDescent):
    """One whose update is as large for a small gradient as for a large one."""

    @property
    def is_plain(self) -> bool:
        """Never: an update is no multiple of its direction."""
        return False

    @property
    def normalises(self) -> bool:
        """Always."""
        return True


def before_update(tolerance: float, slope: float) -> float:
    """The share of the largest direction below which an update of that `slope` has less
    than `tolerance` of its largest, as far as squares of directions can tell.

    >>> before_update(1e-3, 1.0), before_update(1e-3, 100.0), before_update(1e-6, 100.0)
    (0.001, 1e-05, 1e-07)
    """
    finer = max(tolerance / max(1.0, slope), _LEAST_SHARE)
    return min(tolerance, finer)


def after_update(tolerance: float, slope: float) -> float:
    """The share of the largest in an update below which directions are dropped, where
    `before_update` has chosen them.

    >>> after_update(1e-3, 100.0), round(after_update(1e-6, 100.0), 9)
    (0.001, 1e-05)
    """
    return before_update(tolerance, slope) * max(1.0, slope)


class Descent(AbstractDescent):
    """The SGD of one layer. Momentum and decay that are known to be zero are None.

    >>> descent = Descent(jnp.array([0.1, 0.1]), momentum=jnp.array(0.5), weight_decay=jnp.array(1.0))
    >>> scale, increments = descent.path(jnp.array([1.0, 0.0]))
    >>> print(scale.round(3), increments.round(3))
    [1.   0.9  0.76] [0.1  0.04]
    """

    rates: Float[Array, " steps"]  # eta_t, of this layer
    momentum: Float[Array, ""] | None = None
    weight_decay: Float[Array, ""] | None = None
    nesterov: bool = eqx.field(static=True, default=False)

    @property
    def is_plain(self) -> bool:
        """Whether each step adds its rate times its direction, and no more."""
        return self.momentum is None and self.weight_decay is None

    def at_rest(self, weights):
        """The buffers before the first step, None where there is no momentum."""
        if self.momentum is None:
            return None
        return jax.tree.map(jnp.zeros_like, weights)

    def update(self, t, weights, buffer, direction) -> Updated:
        """What step t adds to `weights`, any tree; `direction` is minus the gradient."""
        rate = jnp.asarray(self.rates)[t]
        pull = self._pull(weights, direction)
        if self.momentum is None:
            return Updated(_times(rate, pull), None)
        buffer = _plus(_times(self.momentum, buffer), pull)
        step = buffer
        if self.nesterov:
            step = _plus(pull, _times(self.momentum, buffer))
        return Updated(_times(rate, step), buffer)

    def _pull(self, weights, direction):
        if self.weight_decay is None:
            return direction
        return _plus(direction, _times(-self.weight_decay, weights))


def _times(number, tree):
    return jax.tree.map(lambda leaf: number * leaf, tree)


def _plus(tree, other):
    return jax.tree.map(jnp.add, tree, other)


class Optimiser(NamedTuple):
    """The numbers of an optimiser for all layers, each a vector.

    learning_rate  (1,), or one for each of `times`
    momentum       (1,), or () where it is known to be zero
    weight_decay   likewise
    layer_rates    (L+1,), or () where all are one
    """

    learning_rate: Float[AnyArray, " rates"]
    momentum: Float[AnyArray, " one"]
    weight_decay: Float[AnyArray, " one"]
    layer_rates: Float[AnyArray, " layers"]

    @staticmethod
    def of(net, times: int) -> "Optimiser":
        """Of a network; a schedule is zero from its end on."""
        factors = () if net.layer_rates is None else net.layer_rates
        return Optimiser(
            schedule(net.learning_rate, times),
            _unless_zero(net.momentum),
            _unless_zero(net.weight_decay),
            as_vector(factors),
        )

    def descents(self, layers: int, times: int, nesterov: bool) -> tuple:
        """A Descent for each of so many layers."""
        rates = jnp.broadcast_to(self.learning_rate, (times,))
        momentum, decay = (
            numbers[0] if len(numbers) else None
            for numbers in (self.momentum, self.weight_decay)
        )
        factors = self.layer_rates
        return tuple(
            Descent(
                factors[l] * rates if len(factors) else rates,
                momentum,
                decay,
                nesterov,
            )
            for l in range(layers)
        )


def schedule(rates, times: int) -> Float[AnyArray, " rates"]:
    """A rate as a vector of one, or those of each step, zero from their end on."""
    vector = as_vector(rates)
    if jnp.ndim(rates):
        return jnp.pad(vector, (0, times - len(vector)))
    return vector


def as_vector(number) -> Float[AnyArray, " numbers"]:
    """A number, or numbers, as a vector."""
    if _checks.is_concrete(number):
        # NumPy has nothing to dispatch
        return np.atleast_1d(np.asarray(number, float))
    return jnp.atleast_1d(jnp.asarray(number, float))


def _unless_zero(number) -> Float[AnyArray, " one"]:
    """A vector of one number, of none where it is known to be zero."""
    if isinstance(number, _checks.Zero):
        return np.zeros(0)
    return as_vector(number)


def sharpness_limit(net) -> Float[Array, " times"]:
    """The eigenvalue of A, in Delta(t+1) = (1 - learning_rate A) Delta(t) of plain
    descent, from which on the optimiser of `net` is unstable: after each of 0 ... steps
    updates, the last at the rate of the last.

    On a direction of curvature A + lam the recursion x(t+1) = (1 + mu - e) x(t) - mu
    x(t-1), e = learning_rate (A + lam), has both roots in the unit circle up to e = 2
    (1 + mu). With Nesterov's momentum it is x(t+1) = (1 + mu)(1 - e) x(t) - mu (1 - e)
    x(t-1), up to e = 2 (1 + mu)/(1 + 2 mu).
    """
    rates = jnp.broadcast_to(as_vector(net.learning_rate), (max(net.steps, 1),))
    rates = jnp.concatenate([rates, rates[-1:]])[-(net.steps + 1) :]
    factor = 2 * (1 + net.momentum)
    if net.nesterov:
        factor = factor / (1 + 2 * net.momentum)
    decay = net.weight_decay
    if net.layer_rates is not None:
        decay = decay * jnp.max(net.layer_rates)
    safe = jnp.where(rates > 0, rates, 1.0)
    return jnp.where(rates > 0, factor / safe, jnp.inf) - decay
