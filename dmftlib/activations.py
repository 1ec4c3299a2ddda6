"""Activations of a nonlinear network, by name or as a scalar function."""

import dataclasses
import functools
import importlib
import inspect
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

from . import _checks
from .fingerprint import Named
from .kinks import jumps_or_kinks

_ROOT_2 = float(np.sqrt(2.0))
_GRID = np.linspace(-8.0, 8.0, 160_001)
_FAR = np.array([-1e6, -1e3, 1e3, 1e6])


@dataclasses.dataclass(frozen=True, eq=False)
class Activation(Named):
    """phi and phi', both elementwise. `kinked`: phi or phi' jumps, so that phi'' has
    delta functions that autodiff misses. `source`: the function of a user's, from which
    they were made; None for those that have a name here.

    Two are equal, in any process, if they have the same name here or were made from
    functions of the same name and code.
    """

    name: str
    function: Callable
    derivative: Callable
    kinked: bool = False
    source: Callable | None = None

    def __call__(self, h):
        return self.function(h)

    def __reduce__(self):
        if self.source is None:
            return activation, (self.name,)
        place = _place(self.source)
        if place is not None:
            return _found, place
        return activation, (self.source,)

    def __deepcopy__(self, memo):
        return self


def _place(function) -> tuple[str, str] | None:
    """The module and the name where a compiled function is found, as jnp.tanh is, which
    does not pickle by itself.
    """
    if inspect.isfunction(function):
        return None
    module = str(getattr(function, "__module__", None))
    name = str(getattr(function, "__qualname__", None))
    known = getattr(sys.modules.get(module), name, None)
    return (module, name) if known is function else None


def _found(module: str, name: str) -> Activation:
    return activation(getattr(importlib.import_module(module), name))


def _density(h):
    return jnp.exp(-(h**2) / 2) / jnp.sqrt(2 * jnp.pi)


def _below(h):
    return (1 + erf(h / _ROOT_2)) / 2


Linear = Activation("linear", lambda h: h, jnp.ones_like)
Tanh = Activation("tanh", jnp.tanh, lambda h: 1 - jnp.tanh(h) ** 2)
Erf = Activation("erf", lambda h: erf(h / _ROOT_2), lambda h: 2 * _density(h))
Relu = Activation(
    "relu",
    lambda h: jnp.maximum(h, 0),
    lambda h: jnp.where(h > 0, jnp.ones_like(h), 0),
    kinked=True,
)
Gelu = Activation(
    "gelu", lambda h: h * _below(h), lambda h: _below(h) + h * _density(h)
)

_NAMED = {known.name: known for known in (Linear, Tanh, Erf, Relu, Gelu)}
_NEED = f"one of {', '.join(map(repr, _NAMED))}, or a scalar function of at most linear growth"


def activation(spec) -> Activation:
    """The activation of that name, or made from a scalar function, whose derivative
    autodiff then takes.

    "erf" is erf(h/sqrt 2), "gelu" is exact. A scalar function must map a number to a
    number, be finite, and grow at most linearly: training with a faster one blows up in
    finite time. Raises ValueError for anything else. Where it jumps or kinks, the
    gradient is the one that autodiff gives, as in the networks themselves.

    >>> print(activation("erf")(0.5).round(4), activation(lambda h: h / (1 + h**2)).derivative(0.0))
    0.3829 1.0
    """
    if isinstance(spec, Activation):
        return spec
    if isinstance(spec, str) and spec in _NAMED:
        return _NAMED[spec]
    if not callable(spec):
        _checks.fail("activation", _checks.shown(spec), _NEED)
    _check_scalar(spec)
    name = getattr(spec, "__name__", "custom")
    phi = jnp.vectorize(spec)
    slope = jnp.vectorize(jax.grad(spec))
    return _examined(Activation(name, phi, slope, source=spec))


@functools.lru_cache(maxsize=256)
def _examined(made: Activation) -> Activation:
    """The activation, if it is one, which knows whether it jumps or kinks: looked at
    once, however often the same function is written.
    """
    phi = made.function
    slope = made.derivative
    _check_finite(phi, slope)
    _check_growth(phi)
    kinked = _rough_slope(slope) or jumps_or_kinks(phi, slope)
    return dataclasses.replace(made, kinked=kinked)


def _check_scalar(spec):
    """Refuse what does not map a number to a number."""
    number = jax.ShapeDtypeStruct((), float)
    try:
        shape = jax.eval_shape(lambda h: spec(h), number).shape
    except Exception as error:  # whatever a function of the user's may raise
        first, _, _ = str(error).partition("\n")
        _checks.fail(
            "activation", f"a function that fails on a number ({first})", _NEED
        )
    if shape != ():
        got = f"a function from a number to an array of shape {shape}"
        _checks.fail("activation", got, _NEED)


def _check_finite(phi, slope):
    for values in (phi(_GRID), slope(_GRID), phi(_FAR)):
        if not np.isfinite(values).all():
            got = "a function with infinite or undefined values or slopes"
            _checks.fail("activation", got, _NEED)


def _check_growth(phi):
    """Refuse what has become steeper by far at a distance."""
    steepness = np.abs(phi(_FAR) / _FAR)
    left, near_left, near_right, right = steepness
    if max(left / (near_left + 1), right / (near_right + 1)) > 2:
        _checks.fail("activation", "a function that grows faster than linearly", _NEED)


def _rough_slope(slope) -> bool:
    """Whether the derivative jumps, as far as a fine grid can tell."""
    slopes = np.asarray(slope(_GRID))
    steepest = max(1.0, np.abs(slopes).max())
    jumps = np.abs(np.diff(slopes))
    return bool(jumps.max() > 1e-2 * steepest)
