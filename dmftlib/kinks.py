"""Where a scalar function that JAX can trace may jump or kink.

A function made of smooth pieces is cut by decisions: comparisons, signs, maxima,
roundings. Its jumps and kinks are where one of its decisions changes, however far out
that is, so the decisions are read out of the traced function, looked at on a wide grid,
and followed to the point at which they change.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from ._compile import compiled

# thousandths where most of a Gaussian is, then as far as numbers of interest go
_FAR = np.geomspace(40.0, 1e6, 4000)
_NEAR = np.linspace(-40.0, 40.0, 80_001)[1:-1]
_GRID = np.concatenate([-_FAR[::-1], _NEAR, _FAR])
_HALVINGS = 80
_JUMP = 1e-9  # relative to the size of the function
_KINK = 1e-6

_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
_STEPS = ("sign", "floor", "ceil", "round", "is_finite")
_LOOPS = ("scan", "while")
_BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def jumps_or_kinks(function: Callable, slope: Callable) -> bool:
    """Whether a function of arrays, elementwise, or its derivative jumps somewhere.

    >>> jumps_or_kinks(lambda h: jnp.maximum(h, 20.0), lambda h: jnp.where(h > 20, 1.0, 0.0))
    True
    >>> jumps_or_kinks(jnp.tanh, lambda h: 1 - jnp.tanh(h) ** 2)
    False
    """
    decisions = _decisions_of(function)
    before, after = _changes(decisions)
    if len(before) == 0:
        return False
    jumped = _apart(function(before), function(after), _JUMP)
    kinked = _apart(slope(before), slope(after), _KINK)
    return bool(np.any(jumped | kinked))


def _apart(left, right, tolerance):
    left = np.asarray(left)
    difference = np.abs(np.asarray(right) - left)
    return difference > tolerance * (1 + np.abs(left))


class Changes(NamedTuple):
    """Where decisions change."""

    before: np.ndarray
    after: np.ndarray


def _changes(decisions) -> Changes:
    """Neighbouring numbers between which a decision changes."""
    table = np.asarray(decisions(_GRID))
    differing = table[:, 1:] != table[:, :-1]
    changed = np.flatnonzero(differing.any(0))
    count = len(changed)
    if count == 0:
        return Changes(changed, changed)
    # always as many points as the grid has: one compiled program
    low = np.resize(_GRID[changed], _GRID.shape)
    high = np.resize(_GRID[changed + 1], _GRID.shape)
    at_low = np.asarray(decisions(low))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        at_middle = np.asarray(decisions(middle))
        same = (at_middle == at_low).all(0)
        low = np.where(same, middle, low)
        high = np.where(same, high, middle)
    return Changes(low[:count], high[:count])


def _decisions_of(function):
    """A compiled function of points: (decisions, points), whole numbers."""

    @compiled
    def decisions(points):
        trace = jax.make_jaxpr(function)
        traced = trace(points)
        found = [jnp.zeros(points.shape)]
        _follow(traced.jaxpr, traced.consts, [points], found)
        everywhere = [jnp.broadcast_to(x, points.shape) for x in found]
        return jnp.stack(everywhere)

    return decisions


def _follow(jaxpr, constants, arguments, found) -> list:
    """Evaluate a traced function, and note all that it decides."""
    known = dict(zip(jaxpr.constvars, constants, strict=True))
    known |= zip(jaxpr.invars, arguments, strict=True)

    def value(variable):
        return variable.val if isinstance(variable, Literal) else known[variable]

    for equation in jaxpr.eqns:
        inputs = [value(variable) for variable in equation.invars]
        body = _body(equation)
        if body is None:
            outputs = _applied(equation, inputs)
            found += _decided(equation.primitive.name, inputs, outputs)
        else:
            outputs = _follow(*body, inputs, found)
        known |= zip(equation.outvars, outputs, strict=True)
    return [value(variable) for variable in jaxpr.outvars]


def _body(equation):
    """The traced function that an equation calls, with its constants; None if it calls
    none.
    """
    if equation.primitive.name in _LOOPS:
        return None
    for name in _BODIES:
        body = equation.params.get(name)
        if body is not None:
            open_one = getattr(body, "jaxpr", body)
            return open_one, getattr(body, "consts", ())
    return None


def _applied(equation, inputs) -> list:
    primitive = equation.primitive
    outputs = primitive.bind(*inputs, **equation.params)
    return list(outputs) if primitive.multiple_results else [outputs]


def _decided(name, inputs, outputs) -> list:
    """What a primitive decides about its inputs, as whole numbers."""
    if name in _COMPARISONS or name in _STEPS:
        decisions = outputs
    elif name == "abs":
        decisions = [jnp.sign(inputs[0])]
    elif name in ("max", "min"):
        x, y = inputs
        decisions = [jnp.sign(x - y)]
    elif name == "clamp":
        least, x, most = inputs
        decisions = [jnp.sign(x - least), jnp.sign(x - most)]
    elif name == "rem":
        x, divisor = inputs
        decisions = [jnp.trunc(x / divisor)]
    elif name == "convert_element_type" and jnp.issubdtype(outputs[0].dtype, int):
        decisions = outputs
    else:
        return []
    return [x.astype(float) for x in decisions]
