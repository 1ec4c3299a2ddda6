"""Where an outlier is born: the value of a parameter at which it escapes, by a root
through the solver.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from . import _checks
from .solve import solve


def critical(
    make_network: Callable,
    layer: int,
    between: tuple,
    step: int | None = None,
    number: int = 1,
    rtol: float = 1e-9,
    **options,
):
    """The value at which W^layer has its first outlier (or outlier `number`) at `step`,
    the last one if not given.

    make_network   one number, of any parameter -> DeepLinear or Nonlinear
    between        two values, one without the outlier and one with it
    options        those of `solve`; a Nonlinear keeps its random numbers, so that the
                   margin is a smooth function

    It is a root x of margin(x, p), the `escape_margin` of the solution, p all that
    make_network does not vary, located by Brent's method to the relative accuracy rtol.
    Derivatives with respect to p are those of the implicit function, dx/dp = -(d
    margin/dp) / (d margin/dx), as often as asked. Of the roots between the two values it
    is one: an outlier may escape, fall back and escape again.

    Raises ValueError where the margin has the same sign at both ends, where training
    diverges, and under `jit` and `vmap`, where there are no numbers to search with.

    >>> from dmftlib import DeepLinear
    >>> def network(gamma0):
    ...     return DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, gamma0=gamma0, learning_rate=1.0,
    ...                       steps=1)
    >>> print(critical(network, layer=0, between=(0.5, 4.0)).round(6))
    1.0
    """
    _refuse(make_network, between, rtol)

    def margin(net):
        solution = solve(net, throw=False, **options)
        when = net.steps if step is None else step
        return solution.escape_margin(layer, when, number), solution

    def at(value):
        net = jax.lax.stop_gradient(make_network(value))
        if not _checks.is_concrete(net):
            _checks.fail(
                "make_network",
                "a network of traced numbers",
                "numbers: no jit or vmap around `critical`",
            )
        found, solution = margin(net)
        if not jnp.isfinite(found):
            _checks.fail(
                "between",
                f"{value:g}, where training {solution.status}",
                "values at which training is stable",
            )
        return float(found)

    root = jnp.asarray(_bracketed(at, between, rtol))
    if _checks.is_concrete(make_network(root)):
        return root
    return _implicit(lambda x: margin(make_network(x))[0], root)


def _refuse(make_network, between, rtol):
    """ValueError for what is not a function, not two values, not an accuracy."""
    if not callable(make_network):
        _checks.fail(
            "make_network",
            _checks.shown(make_network),
            "a function from a number to a network",
        )
    if not isinstance(between, (tuple, list, np.ndarray)) or len(between) != 2:
        _checks.fail("between", _checks.shown(between), "two values")
    least = 4 * np.finfo(float).eps  # brentq refuses less
    _checks.number("rtol", rtol, least, maximum=1.0)


def _bracketed(margin, between, rtol) -> float:
    """The root of the margin between two values, by Brent's method."""
    low, high = (float(_checks.number("between", value)) for value in between)
    at_low = margin(low)
    at_high = margin(high)
    if at_low * at_high > 0:
        _checks.fail(
            "between",
            f"margins {at_low:.3g} at {low:g} and {at_high:.3g} at {high:g}",
            "one value with the outlier (margin above 0) and one without (below 0)",
        )
    root = brentq(margin, low, high, xtol=1e-300, rtol=rtol)
    return root  # pyright: ignore[reportReturnType]  # scipy has no stubs: a number


def _implicit(margin, root):
    """The root, with derivatives through the numbers that the margin has closed over."""
    margin, numbers = jax.closure_convert(margin, root)
    return _differentiable(margin, root, numbers)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _differentiable(margin, root, numbers):
    """The x with margin(x, *numbers) = 0, which is known to be `root`."""
    return root


@_differentiable.defjvp
def _moved(margin, primals, tangents):
    root, numbers = primals
    x = _differentiable(margin, root, numbers)

    def at_numbers(*numbers):
        return margin(x, *numbers)

    def at_root(x):
        return margin(x, *numbers)

    _, change = jax.jvp(at_numbers, tuple(numbers), tuple(tangents[1]))
    _, slope = jax.jvp(at_root, (x,), (jnp.ones_like(x),))
    return x, -change / slope
