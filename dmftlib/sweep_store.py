"""The file of a sweep: a line of JSON for each point that has an answer, found again by
a digest of all that the answer depends on.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from . import _checks
from .fingerprint import fingerprint
from .storage import own_version

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None

_FORMAT = "dmftlib sweep 2"
_HEAD = json.dumps({"format": _FORMAT})
_NEED = f"a new file, or one of `sweep` ({_FORMAT})"


class Record(NamedTuple):
    """What became of one point. status: in words; values: name -> array, or None where
    the quantity has none; answered: whether it would come out so again.
    """

    status: str
    values: dict
    answered: bool


def key_of(problem: str, make_network, parameters) -> str | None:
    """The digest of one point's problem: of its network, with numbers and data, and of
    what is asked of it. None where there is no such network.
    """
    try:
        return fingerprint([problem, make_network(**parameters)])
    except Exception:  # whatever a function of the user's may raise: its status
        return None


def problem_key(quantities: dict, options: dict) -> str:
    """The digest of what all points share: quantities by name and code, options, and
    the version that computes them.
    """
    versions = [own_version(), bool(jax.config.values["jax_enable_x64"])]
    try:
        return fingerprint([versions, quantities, options])
    except TypeError as error:
        need = "quantities and options that a file can tell apart, or no store"
        _checks.fail("store", error, need)


class Store:
    """The records of a file, by key, and the file kept open for more: by one sweep at a
    time. A last line cut short by a kill is removed.

    Raises ValueError for a file that is damaged, of something else, or in use, and
    OSError where it cannot be written.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.read_only = None  # or why
        self.file = self._opened()
        content = self.file.read()
        self.length = content.rfind(b"\n") + 1
        if self.length == 0 and not _HEAD.encode().startswith(content):
            _checks.fail("store", f"{self.path}, which is none of `sweep`", _NEED)
        self.records = self._read(content[: self.length])
        if self.length < len(content) and not self.read_only:
            self.file.truncate(self.length)
        if self.length == 0 and not self.read_only:
            self._write(_HEAD)

    def _opened(self):
        try:
            file = open(self.path, "a+b", buffering=0)
        except OSError as error:
            if not self.path.is_file():
                raise self._failed("cannot be begun", error) from error
            self.read_only = self._failed("cannot be written", error)
            return open(self.path, "rb", buffering=0)  # enough, if all is there
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            got = f"{self.path}, to which another sweep is writing"
            _checks.fail("store", got, "one sweep at a time for each file")
        except OSError:  # a file system without locks
            pass
        file.seek(0)
        return file

    def _read(self, content) -> dict:
        try:
            head, *lines = content.decode().splitlines() or [_HEAD]
            head = json.loads(head)
        except ValueError:
            _checks.fail("store", f"{self.path}, which is none of `sweep`", _NEED)
        if head != {"format": _FORMAT}:
            shown = _checks.shown(head)
            _checks.fail("store", f"{self.path}, which begins with {shown}", _NEED)
        records = {}
        for number, line in enumerate(lines, 2):
            try:
                line = json.loads(line)
                values = {name: _array(*of) for name, of in line["values"].items()}
                records[line["key"]] = Record(line["status"], values, True)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                raise ValueError(
                    f"store: got a damaged line {number} of {self.path}; "
                    "needed: a whole file"
                ) from error
        return records

    def expect(self, points: list):
        """Raise OSError now, if there are points to come and no way to keep them."""
        if points and self.read_only:
            raise self.read_only

    def add(self, key, parameters, record: Record):
        """Write one answer, so that it outlives this process."""
        values = {name: _parts(value) for name, value in record.values.items()}
        line = {"key": key, "point": parameters, "status": record.status}
        self._write(json.dumps(line | {"values": values}))
        self.records[key] = record

    def _write(self, line):
        line = line.encode() + b"\n"
        try:
            if self.file.write(line) != len(line):
                raise OSError(28, "No space left on device")
            os.fsync(self.file.fileno())
        except OSError as error:
            self._cut()
            raise self._failed("cannot be written any more", error) from error
        self.length += len(line)

    def _cut(self):
        """Leave whole lines only."""
        try:
            self.file.truncate(self.length)
        except OSError:  # the next sweep will
            pass

    def _failed(self, what, error):
        words = f"store: {what} ({error.strerror or error})"
        if what != "cannot be begun":
            words += (
                "; all that was written is kept, and the rest computed when run again"
            )
        return OSError(error.errno, words, str(self.path))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def _parts(value):
    """(type, shape, numbers or words) of an array, as JSON has them."""
    if value is None:
        return None, None, None
    flat = np.ascontiguousarray(value).ravel()
    if flat.dtype.kind == "c":
        flat = flat.view(np.real(flat).dtype)
    elif flat.dtype.kind in "mM":
        flat = flat.view(np.int64)
    return value.dtype.str, value.shape, flat.tolist()


def _array(dtype, shape, flat):
    if dtype is None:
        return None
    dtype = np.dtype(dtype)
    if dtype.kind == "c":
        parts = np.real(np.empty(0, dtype)).dtype
        value = np.array(flat, parts).view(dtype)
    elif dtype.kind in "mM":
        value = np.array(flat, np.int64).view(dtype)
    else:
        value = np.array(flat, dtype)
    return value.reshape(shape)
