"""When are two values the same, from one process to the next? A digest of what they
say: numbers and data by their bytes, functions by their name and code.
"""

import dataclasses
import functools
import hashlib
import os
import sysconfig
import types
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

_INSTALLED = (
    os.path.dirname(os.path.abspath(__file__)),
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
)
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def fingerprint(value) -> str:
    """A digest, equal for two values that mean the same.

    Of a function it holds the name, the code, the defaults, and whatever the code
    refers to: closed-over values, and the functions and values of its own module.
    Functions of installed packages count by name. Raises TypeError for what has neither
    code nor fields.

    >>> fingerprint(lambda h: h + 1) == fingerprint(lambda h: h + 1)
    True
    >>> fingerprint(lambda h: h + 1) == fingerprint(lambda h: h + 2)
    False
    """
    digest = hashlib.sha256()
    _Feed(digest, []).value(value)
    return digest.hexdigest()


class Named:
    """What has a `name` here, or was made from a function of a user's, its `source`.

    Two of a class are equal, in any process, if they have the same name here or were
    made from functions of the same name and code.
    """

    name: str
    source: Callable | None

    @functools.cached_property
    def _identity(self):
        """What is compared."""
        if self.source is None:
            return self.name
        try:
            return fingerprint(self.source)
        except TypeError:  # neither code nor fields
            return self.source

    def __eq__(self, other):
        return type(self) is type(other) and self._identity == other._identity

    def __hash__(self):
        return hash(self._identity)


@dataclasses.dataclass
class _Feed:
    """What goes into a digest; `open` are the functions and objects being fed, by which
    recursion ends.
    """

    digest: Any  # of hashlib
    open: list

    def words(self, *words):
        for word in words:
            text = repr(word).encode()
            self.digest.update(b"%d:" % len(text) + text)

    def value(self, value):
        if isinstance(value, np.generic) or isinstance(value, (np.ndarray, jax.Array)):
            self.array(np.asarray(value))
        elif isinstance(value, _PLAIN):
            self.words(type(value).__name__, value)
        elif isinstance(value, (tuple, list)):
            self.words(type(value).__name__, len(value))
            for each in value:
                self.value(each)
        elif isinstance(value, (dict, set, frozenset)):
            self.unordered(value)
        elif any(value is each for each in self.open):
            self.words("again")
        else:
            self.open.append(value)
            self.thing(value)
            self.open.pop()

    def array(self, value):
        self.words("array", str(value.dtype), value.shape)
        if value.dtype.kind == "O":
            self.value(value.ravel().tolist())
        else:
            self.digest.update(np.ascontiguousarray(value).tobytes())

    def unordered(self, value):
        items = value.items() if isinstance(value, dict) else ((x, None) for x in value)
        self.words(type(value).__name__, len(value))
        for each in sorted((fingerprint(key), key, item) for key, item in items):
            self.value(each[0])
            self.value(each[2])

    def thing(self, value):
        if isinstance(value, functools.partial):
            self.words("partial")
            self.value([value.func, value.args, value.keywords])
        elif isinstance(value, types.MethodType):
            self.words("method")
            self.value([value.__func__, value.__self__])
        elif isinstance(value, types.FunctionType):
            self.words("function", value.__qualname__)
            self.function(value)
        elif callable(getattr(value, "__wrapped__", None)):  # a jit, a cache
            self.words("wrapped", type(value).__qualname__)
            self.value(value.__wrapped__)
        elif callable(value) and isinstance(getattr(value, "__name__", None), str):
            self.words("name", getattr(value, "__module__", None), value.__name__)
        else:
            self.fields(value)

    def function(self, function):
        if _installed(function):
            self.words("of", function.__module__)
            return
        self.code(function.__code__)
        self.value([function.__defaults__, function.__kwdefaults__])
        for cell in function.__closure__ or ():
            self.value(cell.cell_contents)
        for name, value in sorted(_globals(function.__code__, function).items()):
            self.words("global", name)
            self.value(value)

    def code(self, code):
        self.words("code", code.co_code, code.co_names, code.co_varnames)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.code(constant)
            else:
                self.value(constant)

    def fields(self, value):
        kind = type(value)
        self.words("object", kind.__module__, kind.__qualname__)
        if dataclasses.is_dataclass(value):
            compared = [field for field in dataclasses.fields(value) if field.compare]
            self.value({field.name: getattr(value, field.name) for field in compared})
        else:
            self.value(_contents(value))


def _contents(value):
    """What pickle would keep of an object."""
    try:
        made = value.__reduce_ex__(4)
    except Exception as error:  # whatever an object of the user's may raise
        kind = type(value).__name__
        raise TypeError(f"a {kind}, which has neither code nor fields") from error
    return made if isinstance(made, str) else list(made[1:3])


def _installed(function) -> bool:
    """Whether a function is of dmftlib, of Python or of an installed package."""
    return function.__code__.co_filename.startswith(_INSTALLED)


def _globals(code, function) -> dict:
    """The global values that a function's code names, but modules."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= set(_globals(constant, function))
    known = function.__globals__
    return {
        name: known[name]
        for name in names & set(known)
        if not isinstance(known[name], types.ModuleType)
    }
