"""Refusing bad input at the boundary: each check names the argument, what came, and
what is needed.

Values that JAX is tracing (inside `jit`, `grad`, `vmap`) carry no numbers yet and pass
unchecked.
"""

import inspect
import os
import reprlib
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

# in size, and 1/LARGEST the smallest that is not zero: products of several stay in
# double precision
LARGEST = 1e50
_MOST = 2**53  # whole numbers
_LITTLE = 2**24  # bytes: there are so many, and looking takes a millisecond

_short = reprlib.Repr()
_short.maxother = _short.maxstring = _short.maxlong = 60


def is_concrete(value) -> bool:
    """True where the numbers are there to be looked at, False under a JAX
    transformation.
    """
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))


def concrete(name: str, value):
    """Refuse numbers that JAX is tracing, where a law is found by looking at them."""
    if not is_concrete(value):
        need = "known ones: what is found by looking at numbers has no derivative here"
        fail(name, "traced numbers", need)
    return value


def fail(name: str, got, need: str) -> NoReturn:
    raise ValueError(f"{name}: got {got}; needed: {need}")


def shown(value) -> str:
    """What came, in one short line."""
    try:
        return " ".join(_short.repr(value).split())
    except (
        Exception
    ):  # whatever an object of the user's may raise, or an int of thousands of digits
        return f"a {type(value).__name__}"


def number(
    name: str,
    value,
    minimum: float = -np.inf,
    strict: bool = False,
    maximum: float = np.inf,
) -> Any:
    """A finite real scalar, at least `minimum` (above it if `strict`), at most
    `maximum`: a float, whatever type it came in, so that nothing overflows or is
    rounded in the arithmetic of eight bits.
    """
    if not is_concrete(value):
        return jnp.asarray(value, float)
    need = "a finite real number" + _bounds(minimum, strict, maximum)
    as_float = _as_float(value)
    if as_float is None:
        fail(name, shown(value), need)
    outside = as_float < minimum or as_float > maximum
    if not np.isfinite(as_float) or outside or (strict and as_float == minimum):
        fail(name, as_float, need)
    if as_float != 0 and not 1 / LARGEST <= abs(as_float) <= LARGEST:
        fail(name, as_float, f"{need}, of size {1 / LARGEST:g} to {LARGEST:g}")
    return as_float


def _bounds(minimum, strict, maximum):
    words = []
    if minimum > -np.inf:
        words.append(f" {'above' if strict else 'at least'} {minimum:g}")
    if maximum < np.inf:
        words.append(f" at most {maximum:g}")
    return " and".join(words)


def _as_float(value) -> float | None:
    """The number, None if it is not one real number."""
    try:
        as_array = np.asarray(value)
        real = _is_real(as_array) and as_array.ndim == 0
        return float(as_array) if real else None
    except (TypeError, ValueError, OverflowError):
        return None


def positive(name: str, value) -> Any:
    return number(name, value, 0.0, strict=True)


LAYERS = "one for each of W^0 ... W^{L-1} and the readout"


def schedule(name: str, value, steps: int | None):
    """A positive number, or a number of at least 0 for each step, as an array."""
    if not _is_sequence(value):
        return positive(name, value)
    return row(name, value, steps, "one for each step")


def of_layers(name: str, value, layers: int | None):
    """A positive number, or one for each layer, as an array."""
    if not _is_sequence(value):
        return positive(name, value)
    return row(name, value, layers, LAYERS, strict=True)


def row(name: str, value, length: int | None, words: str, strict: bool = False):
    """So many numbers of at least 0 (above it if `strict`), as an array; `words` say
    what they are.
    """
    values = array(name, value, (length,), words)
    if is_concrete(values):
        numbers = np.asarray(values)
        outside = numbers <= 0 if strict else numbers < 0
        if bad := np.count_nonzero(outside):
            need = f"{len(numbers)} finite real numbers" + _bounds(0, strict, np.inf)
            fail(name, f"{bad} entries out of bounds", f"{need}, {words}")
    return values


def _is_sequence(value) -> bool:
    """Whether it holds numbers, and is not one."""
    if isinstance(value, (str, bytes, dict)):
        return False
    try:
        return np.ndim(value) > 0
    except ValueError:  # ragged
        return True


def below_one(name: str, value):
    """A number of at least 0 and below 1."""
    fraction = number(name, value, 0.0, maximum=1.0)
    if is_concrete(fraction) and fraction == 1:
        fail(name, fraction, "a finite real number at least 0 and below 1")
    return fraction


@jax.tree_util.register_static
class Zero(float):
    """Zero, known to be so: no number of a tree, so that no transformation of JAX sees
    it.
    """


def or_zero(value):
    """A number that is known to be zero as a `Zero`, all else as it is."""
    if is_concrete(value) and value == 0:
        return Zero(0.0)
    return value


def plain(value) -> Any:
    """A NumPy scalar or an array without axes as Python's own number; all else as it
    is.
    """
    scalar = isinstance(value, np.generic) or (
        isinstance(value, (np.ndarray, jax.Array))
        and is_concrete(value)
        and value.ndim == 0
    )
    return value.item() if scalar else value


def integer(name: str, value, minimum: int, maximum: int = _MOST) -> int:
    """A whole number (not a bool, not a float), at least `minimum`, at most `maximum`.

    Arrays without axes are numbers, as `np.argmin` and `jnp.argmin` return them.
    """
    number = plain(value)
    whole = isinstance(number, int) and not isinstance(number, bool)
    whole = whole and not isinstance(value, np.timedelta64)
    if not whole or not minimum <= number <= maximum:
        most = maximum < _MOST or (whole and number > maximum)
        bound = f", at most {maximum}" if most else ""
        fail(name, shown(value), f"a whole number of at least {minimum}{bound}")
    return number


def choice(name: str, value, allowed: tuple) -> Any:
    """One of `allowed`, and of its type."""
    given = plain(value)
    if not any(type(given) is type(each) and given == each for each in allowed):
        fail(name, shown(value), "one of " + ", ".join(map(repr, allowed)))
    return given


def array(name: str, value, shape: tuple, words: str = "") -> jax.Array:
    """Finite real numbers of the given shape, as a JAX array of floats; `None` in
    `shape` leaves that length free. `words` say what they are.
    """
    lengths = ", ".join("any" if n is None else str(n) for n in shape)
    need = f"finite real numbers of shape ({lengths})"
    if words:
        need = f"{need}: {words}"
    if is_concrete(value):
        value = _numbers(name, value, need, complex_too=False)
        if (bad := np.count_nonzero(~np.isfinite(value))) > 0:
            fail(name, f"{bad} entries that are NaN or infinite", need)
        if (bad := np.count_nonzero(np.abs(value) > LARGEST)) > 0:
            fail(
                name,
                f"{bad} entries above {LARGEST:g}",
                f"{need}, of size at most {LARGEST:g}",
            )
    value = jnp.asarray(value, float)
    if len(value.shape) != len(shape) or any(
        n not in (None, g) for n, g in zip(shape, value.shape, strict=True)
    ):
        fail(name, f"shape {value.shape}", need)
    return value


def points(name: str, value, complex_too: bool = False) -> Any:
    """Where a function is asked for: numbers of any shape, none of them NaN."""
    need = f"{'finite real or complex' if complex_too else 'real'} numbers, none of them NaN"
    if is_concrete(value):
        value = _numbers(name, value, need, complex_too)
        if (
            bad := np.count_nonzero(
                ~np.isfinite(value) if complex_too else np.isnan(value)
            )
        ) > 0:
            fail(
                name,
                f"{bad} entries that are {'not finite' if complex_too else 'NaN'}",
                need,
            )
    return value


def known_points(name: str, value, complex_too: bool = False) -> np.ndarray:
    """The same, refused where JAX is tracing them."""
    return concrete(name, points(name, value, complex_too))


def _numbers(name, value, need, complex_too):
    try:
        value = np.asarray(value)
    except (ValueError, TypeError):
        fail(name, "a ragged sequence", need)
    if (
        value.size
        and not _is_real(value)
        and not (complex_too and value.dtype.kind == "c")
    ):
        fail(name, f"{'strings' if value.dtype.kind in 'US' else value.dtype}", need)
    return value.astype(complex if value.dtype.kind == "c" else float)


def _is_real(value):
    return value.dtype.kind in "fiu" or jnp.issubdtype(
        value.dtype, jnp.floating
    )  # also bfloat16


def memory(name: str, got, needed: float, instead: str):
    """Refuse what would need more memory than there is; `needed` in bytes."""
    if needed < _LITTLE:
        return
    available = 0.8 * available_memory()
    if needed > available:
        need = f"at most {available / 2**30:.1f} GiB: {instead}"
        fail(name, f"{got}, which needs {needed / 2**30:.3g} GiB", need)


def available_memory() -> float:
    """Bytes that this process may use: the least of the memory of the machine, of the
    limits of its container (cgroups), and of its own (ulimit). Infinite where the
    system tells none of them.
    """
    return min([_physical(), *_cgroup_limits(), *_own_limits()])


def _physical() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not a Unix, or not told
        return np.inf


def _cgroup_limits(
    membership=Path("/proc/self/cgroup"), root=Path("/sys/fs/cgroup")
) -> list[float]:
    """The limits of the groups of processes that this one is in, of both versions."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / controllers
        file = "memory.limit_in_bytes" if controllers else "memory.max"
        here = top / group.lstrip("/")
        limits += [_limit(folder / file) for folder in (here, *here.parents)]
    return limits


def _limit(path) -> float:
    try:
        return float(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return np.inf


def _own_limits() -> list[float]:
    """Limits of the address space and of the data of this process, less what it has
    already.
    """
    try:
        import resource
    except ModuleNotFoundError:  # not a Unix
        return []
    try:
        pages = Path("/proc/self/statm").read_text().split()
        mapped = [int(pages[i]) * resource.getpagesize() for i in (0, 5)]
    except (OSError, IndexError):
        mapped = [0, 0]
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    limits = [resource.getrlimit(kind)[0] for kind in kinds]
    return [
        max(0.0, float(limit - used))
        for limit, used in zip(limits, mapped, strict=True)
        if limit != resource.RLIM_INFINITY
    ]


def gram(name: str, value, size: int | None = None, rtol: float = 1e-8) -> jax.Array:
    """A symmetric positive semidefinite matrix (up to rounding)."""
    value = array(name, value, (size, size))
    if value.shape[0] != value.shape[1]:
        fail(name, f"shape {value.shape}", "a square matrix of inner products")
    if is_concrete(value) and value.size:
        matrix = np.asarray(value)
        scale = max(np.abs(matrix).max(), np.finfo(float).tiny)
        if np.abs(matrix - matrix.T).max() > rtol * scale:
            fail(
                name,
                f"an asymmetry of {np.abs(matrix - matrix.T).max():.3g}",
                "a symmetric matrix of inner products",
            )
        lowest = np.linalg.eigvalsh(matrix)[0]
        if lowest < -rtol * scale * len(matrix):
            fail(
                name,
                f"a lowest eigenvalue of {lowest:.3g}",
                "a positive semidefinite matrix of inner products",
            )
    return value


def kind(value) -> str:
    """What it is, with its article.

    >>> kind([]), kind(1)
    ('a list', 'an int')
    """
    name = type(value).__name__
    article = "an" if name[0] in "AEIOaeio" else "a"
    return f"{article} {name}"


def kinds(dispatcher) -> str:
    """The networks that a single-dispatch function knows, in words."""
    names = [kind.__name__ for kind in dispatcher.registry if kind is not object]
    return "a " + ", ".join(names)


def call(function, net, options: dict):
    """function(net, **options), refusing options that it does not have."""
    allowed = list(inspect.signature(function).parameters)[1:]
    for name in options:
        if name not in allowed:
            fail(
                name,
                "an option that has no meaning here",
                f"for a {type(net).__name__} one of {', '.join(allowed)}",
            )
    return function(net, **options)
