"""How the fast tests check shapes: jaxtyping's annotations of arrays, by beartype.

Of arrays alone: numbers come as Python's, NumPy's and JAX's, and what a caller should
not have given the library refuses itself, with words (`bad_input`). An array of NumPy
counts as one of JAX.
"""

import types
import typing

import jax
import numpy as np
from beartype import beartype
from jaxtyping import AbstractArray


def check(function):
    """What jaxtyping's import hook puts around every function of the library."""
    kept = {}
    for name, annotation in function.__annotations__.items():
        if of_arrays(annotation):
            kept[name] = widened(annotation)
    function.__annotations__ = kept
    return beartype(function) if kept else function


def of_arrays(annotation) -> bool:
    """Whether an annotation says something of an array."""
    if isinstance(annotation, type) and issubclass(annotation, AbstractArray):
        return True
    return any(map(of_arrays, typing.get_args(annotation)))


def widened(annotation):
    """The same for arrays of NumPy, where it is for those of JAX."""
    parts = tuple(map(widened, typing.get_args(annotation)))
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        return typing.Union[parts]  # noqa: UP007
    if origin is tuple:
        return tuple[parts]
    if not isinstance(annotation, type) or not issubclass(annotation, AbstractArray):
        return annotation
    if annotation.array_type is not jax.Array:
        return annotation
    return annotation.dtype[jax.Array | np.ndarray, annotation.dim_str]
