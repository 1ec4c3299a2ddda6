"""Solutions and simulations on disk: arrays in a NumPy archive, all else as JSON beside
them; nothing is unpickled.
"""

import contextlib
import dataclasses
import datetime
import functools
import importlib
import json
import os
import platform
import secrets
import stat
import types
import typing
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import AbstractArray

from . import _checks
from .activations import Activation, activation
from .fingerprint import fingerprint
from .losses import Loss, loss

_FORMAT = "dmftlib result 4"
_NUMBERS = (bool, int, float, np.ndarray)
_PLAIN = (type(None), bool, int, float, str)
_ARRAYS = (np.ndarray, jax.Array, AbstractArray)
_SEQUENCES = {"tuple": tuple, "list": list}


class _Found(typing.NamedTuple):
    """What a file holds by name, and the function that finds it."""

    type: type
    find: Callable


_NAMED = {"activation": _Found(Activation, activation), "loss": _Found(Loss, loss)}

# Module -> classes that a file may hold: results, and what they are made of.
_CLASSES = {
    "networks": "Adam DeepLinear Muon Nonlinear WideOutput",
    "solutions.deep_linear": "DeepLinearSolution",
    "solutions.nonlinear": "NonlinearSolution NeuralTangentKernel",
    "solutions.wide_output": "WideOutputSolution _ModeSize",
    "simulations.coordinates": "CoordinateSimulation",
    "simulations.deep_linear": "DeepLinearSimulation",
    "simulations.nonlinear": "NonlinearSimulation",
    "simulations.wide_output": "WideSimulation",
    "training.deep_linear": "Trajectory",
    "training.nonlinear": "Trajectory",
    "training.wide_output": "Trajectory",
    "history": "WeightHistory LinearQueries Moments Functions Responses",
    "training.descent": "Descent",
    "training.entrywise": "AdamDescent",
    "training.muon": "MuonDescent",
    "training.gaussian": "GaussianMatrix Side",
    "spectra.bulk": "RectangularLaw",
    "spectra.ntk": "KernelSpectrum",
    "spectra.outliers": "Outliers",
    "spectra.spiked": "SpikedEnsemble",
    "spectra.push_forward": "Image Root",
    "spectra.resolvent": "GeneralisedMP InformationPlusNoise",
    "empirical": "Spectrum",
}


@functools.cache
def classes() -> dict:
    """Name in a file -> class: the only ones that `save` writes and `load` makes."""
    found = {}
    for module, names in _CLASSES.items():
        home = importlib.import_module(f"{__package__}.{module}")
        for name in names.split():
            found[f"{home.__name__}:{name}"] = getattr(home, name)
    return found


def own_version() -> str:
    """The version of dmftlib, "unknown" where it runs without being installed."""
    try:
        return version("dmftlib")
    except PackageNotFoundError:
        return "unknown"


def save(result, path) -> Path:
    """Write a solution, a simulation or a network to `path` (.npz): whole, or not at
    all.

    Beside the numbers it holds the versions of dmftlib, JAX and NumPy, the machine, the
    date and a digest; `load` gives back an object equal to the one saved. A file that
    is there keeps its mode, and a link its target; two that save to one path do not
    meet. Raises ValueError for anything that is not dmftlib's, and for custom
    activations and losses, which are functions and not data; OSError where the disk is
    full.

    >>> import tempfile, dmftlib as dm
    >>> net = dm.DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = load(save(dm.solve(net), folder + "/solution.npz"))
    >>> again.net == net, float(again.test_loss[-1].round(4))
    (True, 0.5555)
    """
    path = _path(path)
    if _name(type(result)) not in classes():
        need = "a network, solution or simulation of dmftlib"
        _checks.fail("result", type(result).__name__, need)
    arrays = []
    described = _described(result, arrays)
    header = {
        "format": _FORMAT,
        "dmftlib": own_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "machine": platform.platform(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(),
        "arrays": len(arrays),
        "digest": fingerprint([described, arrays]),
        "result": described,
    }
    named = {f"a{i}": array for i, array in enumerate(arrays)}
    with _replacing(path) as file:
        np.savez_compressed(file, header=np.array(json.dumps(header)), **named)
    return path


@contextlib.contextmanager
def _replacing(path):
    """A new file beside the one that `path` means, and in its place once it is whole."""
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            os.chmod(part, stat.S_IMODE(target.stat().st_mode))
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def load(path):
    """What `save` has written. Raises ValueError for a file that is damaged or was
    changed, and for one of another version of dmftlib; all of it is checked before
    anything is made.
    """
    path = _path(path)
    header, arrays = _read(path)
    wanted = _FORMAT, own_version()
    if (header.get("format"), header.get("dmftlib")) != wanted:
        got = f"{path}, written by dmftlib {header.get('dmftlib')}"
        need = f"a file of dmftlib {wanted[1]} ({_FORMAT})"
        _checks.fail(
            "path",
            f"{got} ({header.get('format')})",
            f"{need}: compute it again, or install that version",
        )
    described = header.get("result")
    try:
        if header.get("digest") != fingerprint([described, arrays]):
            raise ValueError("its digest is that of another result")
        if _Schema(arrays).check(described) not in classes().values():
            raise ValueError("it is no result")
        made = _made(described, arrays)
        _check_times(made)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        got = f"{path}, changed after it was written ({error})"
        raise ValueError(f"path: got {got}; needed: a file of `save`") from error
    return made


def _read(path) -> tuple[dict, list]:
    """The header of a file, and its arrays."""
    try:
        with (
            open(path, "rb") as stream,
            np.load(stream, allow_pickle=False) as file,
        ):  # np.load(path) may leave it open
            header = dict(json.loads(str(file["header"])))
            count = header.get("arrays", 0)  # none in format 1, refused by its format
            return header, [file[f"a{i}"] for i in range(count)]
    except FileNotFoundError:
        raise
    except Exception as error:  # BadZipFile, zlib.error, KeyError, OSError ...
        got = f"{path}, damaged or no result"
        raise ValueError(f"path: got {got}; needed: a file of `save`") from error


def _path(path) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        _checks.fail("path", _checks.shown(path), "the path of a file")
    return Path(path)


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _described(value, arrays: list):
    """`value` as JSON has it; its arrays are added to `arrays`."""
    if isinstance(value, _checks.Zero):
        return float(value)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return _described_array(value, arrays)
    if type(value).__name__ in _SEQUENCES:
        return {type(value).__name__: [_described(each, arrays) for each in value]}
    if isinstance(value, dict):
        items = [
            [_described(key, arrays), _described(each, arrays)]
            for key, each in value.items()
        ]
        return {"dict": items}
    for word, kind in _NAMED.items():
        if isinstance(value, kind.type):
            return _described_name(word, kind, value)
    name = _name(type(value))
    if name not in classes():
        need = "numbers, arrays, and what dmftlib makes of them"
        _checks.fail("result", f"a part of type {name}", need)
    fields = {
        field.name: _described(getattr(value, field.name), arrays)
        for field in dataclasses.fields(value)
    }
    return {"class": name, "fields": fields}


def _described_array(value, arrays):
    array = np.asarray(value)
    if array.dtype.kind == "O":
        _checks.fail(
            "result", "an array of Python objects", "arrays of numbers or text"
        )
    arrays.append(array)
    return {"array": len(arrays) - 1, "jax": isinstance(value, jax.Array)}


def _described_name(word, kind, value):
    try:
        named = kind.find(value.name) == value
    except ValueError:
        named = False
    if not named:
        need = "a named one: functions are not stored"
        _checks.fail(word, f"the custom {value.name}", need)
    return {word: value.name}


class _Schema:
    """Whether a description is one that `save` may have written."""

    def __init__(self, arrays):
        self.arrays = arrays

    def check(self, what) -> type:
        """The type of what will be made. Raises ValueError for anything unknown."""
        if isinstance(what, _PLAIN):
            return type(what)
        keys = set(what) if isinstance(what, dict) else None
        if keys == {"array", "jax"}:
            return self._array(**what)
        if keys == {"class", "fields"}:
            return self._object(what["class"], what["fields"])
        for word, kind in _NAMED.items():
            if keys == {word}:
                kind.find(what[word])
                return kind.type
        if keys == {"dict"}:
            for pair in what["dict"]:
                for each in pair if len(pair) == 2 else [None, None, pair]:
                    self.check(each)
            return dict
        if keys is not None and len(keys) == 1 and keys < set(_SEQUENCES):
            ((name, items),) = what.items()
            for each in items:
                self.check(each)
            return _SEQUENCES[name]
        raise ValueError(f"{_checks.shown(what)} is nothing that `save` writes")

    def _array(self, array, jax):
        known = type(array) is int and 0 <= array < len(self.arrays)
        if not known or type(jax) is not bool:
            raise ValueError(f"there is no array {_checks.shown(array)}")
        return np.ndarray

    def _object(self, name, given):
        if not isinstance(name, str) or name not in classes():
            raise ValueError(f"{_checks.shown(name)} is none of dmftlib's results")
        kind = classes()[name]
        fields = {field.name for field in dataclasses.fields(kind)}
        if not isinstance(given, dict) or set(given) != fields:
            raise ValueError(f"a {kind.__name__} has the fields {sorted(fields)}")
        hints = _hints(kind)
        for field, what in given.items():
            made = self.check(what)
            if not _admits(hints.get(field, object), made):
                word = f"{kind.__name__}.{field}"
                raise ValueError(f"{word} is a {made.__name__}: {_checks.shown(what)}")
        return kind


def _hints(kind) -> dict:
    try:
        return typing.get_type_hints(kind)
    except NameError:  # a name that is there for type checkers only
        return {}


def _admits(hint, made: type) -> bool:
    """Whether a field of that annotation may hold such a value."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_admits(each, made) for each in typing.get_args(hint))
    if hint in (None, type(None)) or made is type(None):
        return hint in (None, type(None)) and made is type(None)
    if hint in (str, dict, list, tuple, Activation, Loss):
        return made is hint
    if hint in (int, bool):
        return made in (hint, np.ndarray)
    kind = hint if isinstance(hint, type) else object
    if hint is float or issubclass(kind, _ARRAYS):
        return made in _NUMBERS
    return issubclass(made, kind) or not dataclasses.is_dataclass(kind)


def _made(what, arrays):
    """The object of a description that `_Schema` has checked."""
    if not isinstance(what, dict):
        return what
    if "array" in what:
        array = arrays[what["array"]]
        return jnp.asarray(array) if what["jax"] else array if array.ndim else array[()]
    for word, kind in _NAMED.items():
        if word in what:
            return kind.find(what[word])
    if "dict" in what:
        return {_made(key, arrays): _made(each, arrays) for key, each in what["dict"]}
    if "class" not in what:
        ((name, items),) = what.items()
        return _SEQUENCES[name](_made(each, arrays) for each in items)
    kind = classes()[what["class"]]
    fields = {name: _made(each, arrays) for name, each in what["fields"].items()}
    if kind.__module__.endswith(".networks"):
        return kind(**fields)  # which refuses what makes no sense
    made = object.__new__(kind)
    for field, value in fields.items():
        object.__setattr__(made, field, value)
    return made


def _check_times(made):
    """Arrays over time are as long as the training of their network."""
    net = getattr(made, "net", None)
    if net is not None and hasattr(made, "train_loss"):
        times = np.shape(made.train_loss)[-1]
        if times != net.steps + 1:
            raise ValueError(f"{times} times for {net.steps} steps")
