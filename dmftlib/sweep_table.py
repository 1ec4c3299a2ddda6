"""What goes into a sweep and what comes out: a grid of parameters, and a labelled
table.
"""

import datetime
import itertools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from . import _checks

_TAKEN = ("status", "point")
_KINDS = "biufcmMUO"  # NumPy's letters for numbers, dates, text and Python objects
_EXACT = 2**53  # whole numbers up to here are exact as real numbers
_GRID = "name -> values, or a list of points: name -> value"
_VALUES = "numbers, strings, or sequences of them, and another name"
_QUANTITY = "numbers, text, dates, or an array of them"


class Grid(NamedTuple):
    """points: dicts of parameters; dims: name -> length, in the order of the points;
    coords: what xarray labels them with.
    """

    points: list
    dims: dict
    coords: dict


def grid_of(grid) -> Grid:
    """All combinations of a dict of values, or the points of a list of dicts. Every
    value keeps its type.
    """
    if isinstance(grid, (str, bytes)) or not isinstance(grid, Iterable):
        _checks.fail("grid", _checks.shown(grid), _GRID)
    if isinstance(grid, dict):
        made = _combinations(grid)
    else:
        made = _listed(list(grid))
    if not made.points or not made.points[0]:
        need = "at least one value for at least one name"
        _checks.fail("grid", _checks.shown(grid), need)
    return made


def _combinations(grid) -> Grid:
    values = {name: _values(name, of) for name, of in grid.items()}
    points = [
        dict(zip(values, each, strict=True))
        for each in itertools.product(*values.values())
    ]
    dims = {name: len(of) for name, of in values.items()}
    coords = {name: (name, _labels(of)) for name, of in values.items()}
    return Grid(points, dims, coords)


def _listed(grid) -> Grid:
    if not all(isinstance(point, dict) for point in grid):
        _checks.fail("grid", _checks.shown(grid), _GRID)
    names = list(grid[0]) if grid else []
    for point in grid:
        if list(point) != names:
            need = f"points of the same names, {names}"
            _checks.fail("grid", f"a point of {list(point)}", need)
    points = []
    for point in grid:
        points.append({name: _value(name, value) for name, value in point.items()})
    coords = {}
    for name in names:
        labels = _labels([point[name] for point in points])
        coords[name] = "point", labels
    return Grid(points, {"point": len(points)}, coords)


def _values(name, values) -> list:
    if isinstance(values, (np.ndarray, jax.Array)):
        values = np.atleast_1d(np.asarray(values))
    elif isinstance(values, (str, bytes, dict)) or not isinstance(values, Iterable):
        values = [values]
    return [_value(name, value) for value in values]


def _value(name, value):
    """A Python number, a string, or a tuple of them."""
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        value = np.asarray(value).tolist()
    if isinstance(value, (list, tuple)):
        return tuple(_value(name, each) for each in value)
    plain = isinstance(value, (int, float, str))
    if not plain or not isinstance(name, str) or name in _TAKEN:
        _checks.fail(f"grid[{name!r}]", _checks.shown(value), _VALUES)
    return value


def _labels(values) -> np.ndarray:
    """One type where there is one, else the values themselves."""
    kinds = {type(value) for value in values}
    alike = kinds <= {int, float} or len(kinds) == 1
    if alike and tuple not in kinds:
        labels = np.array(values)
        if labels.dtype.kind != "O":
            return labels
    labels = np.empty(len(values), object)
    for i, value in enumerate(values):
        labels[i] = str(value) if isinstance(value, tuple) else value
    return labels


def refuse_clashes(grid: Grid, quantities) -> None:
    """A name may stand for one thing: a parameter, a quantity, or a quantity's own
    dimension.
    """
    for name in (*grid.coords, *quantities):
        quantity, _, number = name.rpartition("_")
        if quantity in quantities and number.isdigit():
            need = f"another name: {name} is a dimension of {quantity}"
            where = "quantities" if name in quantities else f"grid[{name!r}]"
            _checks.fail(where, name, need)


def quantity_value(name: str, got) -> np.ndarray | None:
    """What a quantity has given, as an array that keeps its type; None for None."""
    if got is None:
        return None
    try:
        value = np.asarray(got)
    except ValueError:
        _checks.fail(f"quantities[{name!r}]", "a ragged sequence", _QUANTITY)
    if value.dtype.kind == "O":
        value = _typed(value)
    elif value.dtype.kind == "V" and jnp.issubdtype(value.dtype, jnp.floating):
        value = value.astype(np.float32)  # bfloat16 and shorter
    if value is None or value.dtype.kind not in _KINDS:
        _checks.fail(f"quantities[{name!r}]", _checks.shown(got), _QUANTITY)
    return value


def _typed(value):
    """Python objects as numbers or dates: None if they are neither."""
    kinds = {type(each) for each in value.ravel()}
    if kinds == {int}:
        return value
    if kinds <= {datetime.datetime, datetime.date}:
        return value.astype("datetime64[us]")
    if kinds <= {int, float, np.float64, type(None)}:
        return value.astype(float)
    return None


def table_of(records: list, grid: Grid, quantities) -> xr.Dataset:
    """records: a `Record` for each point, in their order."""
    shape = tuple(grid.dims.values())
    variables = {}
    for name in quantities:
        column = _column([record.values.get(name) for record in records])
        own = column.shape[1:]
        own_dims = [f"{name}_{i}" for i in range(len(own))]
        table = column.reshape(*shape, *own)
        variables[name] = [*grid.dims, *own_dims], table
    status = np.array([record.status for record in records]).reshape(shape)
    variables["status"] = tuple(grid.dims), status
    return xr.Dataset(variables, grid.coords)


def _column(values: list) -> np.ndarray:
    """The values of all points, one after the other. Where they differ in shape, or are
    missing, NaN (NaT for dates).
    """
    present = [value for value in values if value is not None]
    axes = max((value.ndim for value in present), default=0)
    present = [_with_axes(value, axes) for value in present]
    shapes = {value.shape for value in present}
    own = np.max(list(shapes), axis=0, initial=0).astype(int) if axes else ()
    gaps = len(present) < len(values) or len(shapes) > 1
    dtype = _dtype(present, gaps)
    column = np.zeros((len(values), *own), dtype)
    if gaps and dtype.kind in "mM":
        column[...] = np.array("NaT", dtype)
    elif gaps:
        column[...] = np.nan
    present = iter(present)
    for i, value in enumerate(values):
        if value is not None:
            cells = next(present)
            place = (slice(i, i + 1), *map(slice, cells.shape))
            column[place] = cells[None].astype(dtype)
    return column


def _with_axes(value, axes: int):
    """Axes of length one after its own, to have so many."""
    return value.reshape(value.shape + (1,) * (axes - value.ndim))


def _dtype(present, gaps) -> np.dtype:
    """One type that holds all values exactly, and NaN beside them where there are gaps:
    Python objects where NumPy has no such type.
    """
    if not present:
        return np.dtype(float)
    kinds = {value.dtype.kind for value in present}
    numbers = kinds <= set("biufc")
    if "O" in kinds or not (numbers or len(kinds) == 1):
        return np.dtype(object)
    dtype = np.result_type(*(value.dtype for value in present))
    if gaps:
        if dtype.kind in "bU":
            return np.dtype(object)
        if dtype.kind in "iu":
            dtype = np.dtype(float)
    if dtype.kind in "iu" or all(map(_is_exact, present)):
        return dtype
    return np.dtype(object)


def _is_exact(value) -> bool:
    """Whether a real number can stand for each entry."""
    if value.dtype.kind not in "iu" or value.size == 0:
        return True
    return -_EXACT <= value.min() and value.max() <= _EXACT
