"""Refusing bad input at the boundary: each check names the argument, what came, and what is needed.

Values that JAX is tracing (inside `jit`, `grad`, `vmap`) carry no numbers yet and pass unchecked.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np


def known(value) -> bool:
    """True where the numbers are there to be looked at, False under a JAX transformation."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def fail(name: str, got, need: str):
    raise ValueError(f"{name}: got {got}; needed: {need}")


def number(name: str, value, minimum: float = -np.inf, strict: bool = False, maximum: float = np.inf):
    """A finite real scalar, at least `minimum` (above it if `strict`), at most `maximum`."""
    if not known(value):
        return value
    bound = "" if minimum == -np.inf else f" {'above' if strict else 'at least'} {minimum:g}"
    bound += "" if maximum == np.inf else f"{' and' if bound else ''} at most {maximum:g}"
    need = f"a finite real number{bound}"
    if isinstance(value, (str, bytes, bool, np.bool_)) or np.ndim(value) != 0 or np.iscomplexobj(value):
        fail(name, repr(value), need)
    try:
        as_float = float(value)
    except (TypeError, ValueError, OverflowError):
        fail(name, repr(value)[:40], need)
    if not np.isfinite(as_float) or as_float < minimum or as_float > maximum or (strict and as_float == minimum):
        fail(name, as_float, need)
    return value


def positive(name: str, value):
    return number(name, value, 0.0, strict=True)


def integer(name: str, value, minimum: int):
    """A whole number (not a bool, not a float), at least `minimum`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < minimum:
        fail(name, repr(value), f"a whole number of at least {minimum}")
    return int(value)


def choice(name: str, value, allowed: tuple):
    if value not in allowed:
        fail(name, repr(value), "one of " + ", ".join(map(repr, allowed)))
    return value


def array(name: str, value, shape: tuple) -> jax.Array:
    """Finite real numbers of the given shape, as a JAX array of floats; `None` in `shape` leaves that length free."""
    need = f"finite real numbers of shape ({', '.join('any' if n is None else str(n) for n in shape)})"
    if known(value):
        try:
            value = np.asarray(value)
        except ValueError:
            fail(name, "a ragged sequence", need)
        if value.size and value.dtype.kind not in "fiu":
            fail(name, f"{'strings' if value.dtype.kind in 'US' else value.dtype}", need)
        if (bad := np.count_nonzero(~np.isfinite(value.astype(float)))) > 0:
            fail(name, f"{bad} entries that are NaN or infinite", need)
    value = jnp.asarray(value, float)
    if len(value.shape) != len(shape) or any(n not in (None, g) for n, g in zip(shape, value.shape, strict=True)):
        fail(name, f"shape {value.shape}", need)
    return value


def gram(name: str, value, size: int | None = None, rtol: float = 1e-8) -> jax.Array:
    """A symmetric positive semidefinite matrix (up to rounding)."""
    value = array(name, value, (size, size))
    if value.shape[0] != value.shape[1]:
        fail(name, f"shape {value.shape}", "a square matrix of inner products")
    if known(value) and value.size:
        matrix = np.asarray(value)
        scale = max(np.abs(matrix).max(), np.finfo(float).tiny)
        if np.abs(matrix - matrix.T).max() > rtol * scale:
            fail(name, f"an asymmetry of {np.abs(matrix - matrix.T).max():.3g}", "a symmetric matrix of inner products")
        lowest = np.linalg.eigvalsh(matrix)[0]
        if lowest < -rtol * scale * len(matrix):
            fail(name, f"a lowest eigenvalue of {lowest:.3g}", "a positive semidefinite matrix of inner products")
    return value


def of_network(net, functions: dict):
    """The function for this kind of network."""
    for kind, function in functions.items():
        if isinstance(net, kind):
            return function
    fail("net", type(net).__name__, "a " + ", ".join(kind.__name__ for kind in functions))


def call(function, net, options: dict):
    """function(net, **options), refusing options that it does not have."""
    allowed = list(inspect.signature(function).parameters)[1:]
    for name in options:
        if name not in allowed:
            fail(name, "an option that has no meaning here", f"for a {type(net).__name__} one of {', '.join(allowed)}")
    return function(net, **options)
