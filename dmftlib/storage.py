"""Solutions and simulations on disk: arrays in a NumPy archive, all else as JSON beside them; nothing is unpickled."""

import dataclasses
import datetime
import importlib
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from . import checks
from .activations import Activation, activation

_FORMAT = "dmftlib result 2"


def save(result, path) -> Path:
    """Write a solution, a simulation or a network to `path` (.npz): whole, or not at all.

    Beside the numbers it holds the versions of dmftlib, JAX and NumPy, the machine and the date; `load` gives back an
    object equal to the one saved. Raises ValueError for anything that is not dmftlib's, and for custom activations,
    which are functions and not data; OSError where the disk is full.

    >>> import tempfile, dmftlib as dm
    >>> net = dm.DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = load(save(dm.solve(net), folder + "/solution.npz"))
    >>> again.net == net, float(again.test_loss[-1].round(4))
    (True, 0.5555)
    """
    arrays, path = [], _path(path)
    if not type(result).__module__.startswith("dmftlib."):
        checks.fail("result", type(result).__name__, "a network, solution or simulation of dmftlib")
    header = {"format": _FORMAT, "dmftlib": version("dmftlib"), "jax": jax.__version__, "numpy": np.__version__,
              "machine": platform.platform(), "date": datetime.datetime.now(datetime.UTC).isoformat(),
              "result": _described(result, arrays)}  # fmt: skip
    header["arrays"] = len(arrays)
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            np.savez_compressed(file, header=np.array(json.dumps(header)), **{f"a{i}": a for i, a in enumerate(arrays)})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def load(path):
    """What `save` has written. Raises ValueError for a damaged file, and for one of another version of dmftlib."""
    path = _path(path)
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:  # np.load(path) may leave it open
            header = dict(json.loads(str(file["header"])))
            arrays = [file[f"a{i}"] for i in range(header.get("arrays", 0))]  # none in format 1, refused below
    except FileNotFoundError:
        raise
    except Exception as error:  # BadZipFile, zlib.error, KeyError, OSError, NotImplementedError ...
        raise ValueError(f"path: got {path}, damaged or no result; needed: a file of `save`") from error
    if (header.get("format"), header.get("dmftlib")) != (_FORMAT, version("dmftlib")):
        checks.fail("path", f"{path}, written by dmftlib {header.get('dmftlib')} ({header.get('format')})",
                    f"a file of dmftlib {version('dmftlib')} ({_FORMAT}): compute it again, or install that version")
    return _made(header["result"], arrays)


def _path(path) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        checks.fail("path", checks.shown(path), "the path of a file")
    return Path(path)


def _described(value, arrays):
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        arrays.append(np.asarray(value))
        return {"array": len(arrays) - 1, "jax": isinstance(value, jax.Array)}
    if isinstance(value, (tuple, list)):
        return {type(value).__name__: [_described(each, arrays) for each in value]}
    if isinstance(value, dict):
        return {"dict": [[_described(key, arrays), _described(each, arrays)] for key, each in value.items()]}
    if isinstance(value, Activation):
        try:
            assert activation(value.name) is value
        except (ValueError, AssertionError):
            checks.fail("activation", f"the custom {value.name}", "a named one: functions are not stored")
        return {"activation": value.name}
    name = f"{type(value).__module__}:{type(value).__qualname__}"
    if not (name.startswith("dmftlib.") and dataclasses.is_dataclass(value)):
        checks.fail("result", f"a part of type {name}", "numbers, arrays, and what dmftlib makes of them")
    fields = {field.name: _described(getattr(value, field.name), arrays) for field in dataclasses.fields(value)}
    return {"class": name, "fields": fields}


def _made(what, arrays):
    if not isinstance(what, dict):
        return what
    if "array" in what:
        array = arrays[what["array"]]
        return jnp.asarray(array) if what["jax"] else array if array.ndim else array[()]
    if "activation" in what:
        return activation(what["activation"])
    if "dict" in what:
        return {_made(key, arrays): _made(each, arrays) for key, each in what["dict"]}
    if "class" not in what:
        ((kind, items),) = what.items()
        return {"tuple": tuple, "list": list}[kind](_made(each, arrays) for each in items)
    module, name = what["class"].split(":")
    if not module.startswith("dmftlib."):
        checks.fail("path", f"a file with a {what['class']}", "one with dmftlib's own classes")
    made = object.__new__(getattr(importlib.import_module(module), name))
    for field, value in what["fields"].items():
        object.__setattr__(made, field, _made(value, arrays))
    return made
