"""Refusing bad input at the boundary: each check names the argument, what came, and what is needed.

Values that JAX is tracing (inside `jit`, `grad`, `vmap`) carry no numbers yet and pass unchecked.
"""

import inspect
import os
import reprlib

import jax
import jax.numpy as jnp
import numpy as np

LARGEST = 1e50  # in size, and 1/LARGEST the smallest that is not zero: products of several stay in double precision
_MOST = 2**53  # whole numbers

_short = reprlib.Repr()
_short.maxother = _short.maxstring = _short.maxlong = 60


def known(value) -> bool:
    """True where the numbers are there to be looked at, False under a JAX transformation."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def fail(name: str, got, need: str):
    raise ValueError(f"{name}: got {got}; needed: {need}")


def shown(value) -> str:
    """What came, in one short line."""
    try:
        return " ".join(_short.repr(value).split())
    except Exception:  # whatever an object of the user's may raise, or an int of thousands of digits
        return f"a {type(value).__name__}"


def number(name: str, value, minimum: float = -np.inf, strict: bool = False, maximum: float = np.inf):
    """A finite real scalar, at least `minimum` (above it if `strict`), at most `maximum`."""
    if not known(value):
        return value
    bound = "" if minimum == -np.inf else f" {'above' if strict else 'at least'} {minimum:g}"
    bound += "" if maximum == np.inf else f"{' and' if bound else ''} at most {maximum:g}"
    need = f"a finite real number{bound}"
    try:
        as_array = np.asarray(value)
        as_float = float(as_array) if _is_real(as_array) and as_array.ndim == 0 else None
    except (TypeError, ValueError, OverflowError):
        as_float = None
    if as_float is None:
        fail(name, shown(value), need)
    if not np.isfinite(as_float) or as_float < minimum or as_float > maximum or (strict and as_float == minimum):
        fail(name, as_float, need)
    if as_float != 0 and not 1 / LARGEST <= abs(as_float) <= LARGEST:
        fail(name, as_float, f"{need}, of size {1 / LARGEST:g} to {LARGEST:g}")
    return value


def positive(name: str, value):
    return number(name, value, 0.0, strict=True)


def integer(name: str, value, minimum: int, maximum: int = _MOST):
    """A whole number (not a bool, not a float), at least `minimum`, at most `maximum`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))
    if not whole or not minimum <= value <= maximum:
        bound = f", at most {maximum}" if maximum < _MOST or (whole and value > maximum) else ""
        fail(name, shown(value), f"a whole number of at least {minimum}{bound}")
    return int(value)


def choice(name: str, value, allowed: tuple):
    """One of `allowed`, and of its type."""
    plain = value.item() if isinstance(value, np.generic) else value
    if not any(type(plain) is type(each) and plain == each for each in allowed):
        fail(name, shown(value), "one of " + ", ".join(map(repr, allowed)))
    return plain


def array(name: str, value, shape: tuple) -> jax.Array:
    """Finite real numbers of the given shape, as a JAX array of floats; `None` in `shape` leaves that length free."""
    need = f"finite real numbers of shape ({', '.join('any' if n is None else str(n) for n in shape)})"
    if known(value):
        value = _numbers(name, value, need, complex_too=False)
        if (bad := np.count_nonzero(~np.isfinite(value))) > 0:
            fail(name, f"{bad} entries that are NaN or infinite", need)
        if (bad := np.count_nonzero(np.abs(value) > LARGEST)) > 0:
            fail(name, f"{bad} entries above {LARGEST:g}", f"{need}, of size at most {LARGEST:g}")
    value = jnp.asarray(value, float)
    if len(value.shape) != len(shape) or any(n not in (None, g) for n, g in zip(shape, value.shape, strict=True)):
        fail(name, f"shape {value.shape}", need)
    return value


def points(name: str, value, complex_too: bool = False):
    """Where a function is asked for: numbers of any shape, none of them NaN."""
    need = f"{'finite real or complex' if complex_too else 'real'} numbers, none of them NaN"
    if known(value):
        value = _numbers(name, value, need, complex_too)
        if (bad := np.count_nonzero(~np.isfinite(value) if complex_too else np.isnan(value))) > 0:
            fail(name, f"{bad} entries that are {'not finite' if complex_too else 'NaN'}", need)
    return value


def _numbers(name, value, need, complex_too):
    try:
        value = np.asarray(value)
    except (ValueError, TypeError):
        fail(name, "a ragged sequence", need)
    if value.size and not _is_real(value) and not (complex_too and value.dtype.kind == "c"):
        fail(name, f"{'strings' if value.dtype.kind in 'US' else value.dtype}", need)
    return value.astype(complex if value.dtype.kind == "c" else float)


def _is_real(value):
    return value.dtype.kind in "fiu" or jnp.issubdtype(value.dtype, jnp.floating)  # also bfloat16


def memory(name: str, got, needed: float, instead: str):
    """Refuse what would need more memory than this machine has; `needed` in bytes."""
    available = 0.8 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available:
        fail(name, f"{got}, which needs {needed / 2**30:.3g} GiB", f"at most {available / 2**30:.1f} GiB: {instead}")


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
