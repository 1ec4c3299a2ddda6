"""Where an outlier is born: the value of a parameter at which it escapes, by a root through the solver."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from . import checks
from .solve import solve


def critical(make_network: Callable, layer: int, between: tuple, step: int | None = None, number: int = 1,
             rtol: float = 1e-9, **options):  # fmt: skip
    """The value at which W^layer has its first outlier (or outlier `number`) at `step`, the last one if not given.

    make_network   one number, of any parameter -> DeepLinear or Nonlinear
    between        two values, one without the outlier and one with it
    options        those of `solve`; a Nonlinear keeps its random numbers, so that the margin is a smooth function

    It is a root x of margin(x, p), the `escape_margin` of the solution, p all that make_network does not vary, located
    by Brent's method to the relative accuracy rtol. `jax.grad` of a function that calls `critical` is given
    dx/dp = -(d margin/dp) / (d margin/dx), the implicit function theorem, once. Of the roots between the two values it
    is one: an outlier may escape, fall back and escape again.

    Raises ValueError where the margin has the same sign at both ends, where training diverges, and under `jit` and
    `vmap`, where there are no numbers to search with.

    >>> from dmftlib import DeepLinear
    >>> def network(gamma0):
    ...     return DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, gamma0=gamma0, learning_rate=1.0,
    ...                       steps=1)
    >>> print(critical(network, layer=0, between=(0.5, 4.0)).round(6))
    1.0
    """

    if not callable(make_network):
        checks.fail("make_network", checks.shown(make_network), "a function from a number to a network")
    if not isinstance(between, (tuple, list, np.ndarray)) or len(between) != 2:
        checks.fail("between", checks.shown(between), "two values")
    checks.number("rtol", rtol, 4 * np.finfo(float).eps, maximum=1.0)  # brentq refuses less

    def margin(net, **options):
        solution = solve(net, throw=False, **options)
        return solution.escape_margin(layer, net.steps if step is None else step, number), solution

    def at(value):
        net = jax.lax.stop_gradient(make_network(value))
        if not checks.known(net):
            checks.fail("make_network", "a network of traced numbers", "numbers: no jit or vmap around `critical`")
        found, solution = margin(net, **options)
        if not jnp.isfinite(found):
            checks.fail("between", f"{value:g}, where training {solution.status}", "values at which training is stable")
        return float(found)

    low, high = (float(checks.number("between", value)) for value in between)
    ends = at(low), at(high)
    if ends[0] * ends[1] > 0:
        checks.fail("between", f"margins {ends[0]:.3g} at {low:g} and {ends[1]:.3g} at {high:g}",
                    "one value with the outlier (margin above 0) and one without (below 0)")
    root = jnp.asarray(brentq(at, low, high, xtol=1e-300, rtol=rtol))
    if checks.known(make_network(root)):
        return root
    point, direction = jax.lax.stop_gradient(eqx.filter_jvp(make_network, (root,), (jnp.ones_like(root),)))
    slope = eqx.filter_jvp(lambda net: margin(net, **options)[0], (point,), (direction,))[1]
    return root - margin(make_network(root), **options)[0] / slope
