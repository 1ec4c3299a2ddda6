"""Activations of a nonlinear network, by name or as a scalar function."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

from . import checks

_ROOT_2 = float(np.sqrt(2.0))


@dataclasses.dataclass(frozen=True)
class Activation:
    """phi and phi', both elementwise. `kinked`: phi' jumps, so that phi'' has delta functions that autodiff misses."""

    name: str
    function: Callable
    derivative: Callable
    kinked: bool = False

    def __call__(self, h):
        return self.function(h)


def _density(h):
    return jnp.exp(-(h**2) / 2) / jnp.sqrt(2 * jnp.pi)


def _below(h):
    return (1 + erf(h / _ROOT_2)) / 2


Linear = Activation("linear", lambda h: h, jnp.ones_like)
Tanh = Activation("tanh", jnp.tanh, lambda h: 1 - jnp.tanh(h) ** 2)
Erf = Activation("erf", lambda h: erf(h / _ROOT_2), lambda h: 2 * _density(h))
Relu = Activation("relu", lambda h: jnp.maximum(h, 0), lambda h: jnp.where(h > 0, jnp.ones_like(h), 0), kinked=True)
Gelu = Activation("gelu", lambda h: h * _below(h), lambda h: _below(h) + h * _density(h))

_NAMED = {known.name: known for known in (Linear, Tanh, Erf, Relu, Gelu)}
_NEED = f"one of {', '.join(map(repr, _NAMED))}, or a scalar function of at most linear growth"


def activation(spec) -> Activation:
    """The activation of that name, or made from a scalar function, whose derivative autodiff then takes.

    "erf" is erf(h/sqrt 2), "gelu" is exact. A scalar function must map a number to a number, be finite, and grow at
    most linearly: training with a faster one blows up in finite time. Raises ValueError for anything else.

    >>> print(activation("erf")(0.5).round(4), activation(lambda h: h / (1 + h**2)).derivative(0.0))
    0.3829 1.0
    """
    if isinstance(spec, Activation):
        return spec
    if isinstance(spec, str) and spec in _NAMED:
        return _NAMED[spec]
    if not callable(spec):
        checks.fail("activation", checks.shown(spec), _NEED)
    try:
        shape = jax.eval_shape(lambda h: spec(h), jax.ShapeDtypeStruct((), float)).shape
    except Exception as error:  # whatever a function of the user's may raise
        first = str(error).partition("\n")[0]
        checks.fail("activation", f"a function that fails on a number ({first})", _NEED)
    if shape != ():
        checks.fail("activation", f"a function from a number to an array of shape {shape}", _NEED)
    phi, slope = jnp.vectorize(spec), jnp.vectorize(jax.grad(spec))
    far, grid = np.array([-1e6, -1e3, 1e3, 1e6]), np.linspace(-8.0, 8.0, 160_001)
    ends, values, slopes = np.abs(phi(far)), np.asarray(phi(grid)), np.asarray(slope(grid))
    if not all(np.isfinite(x).all() for x in (values, slopes, ends)):
        checks.fail("activation", "a function with infinite or undefined values or slopes", _NEED)
    steepness = ends / np.abs(far)
    if max(steepness[0] / (steepness[1] + 1), steepness[3] / (steepness[2] + 1)) > 2:
        checks.fail("activation", "a function that grows faster than linearly", _NEED)
    kinked = bool(np.abs(np.diff(slopes)).max() > 1e-2 * max(1.0, np.abs(slopes).max()))
    return Activation(getattr(spec, "__name__", "custom"), phi, slope, kinked)
