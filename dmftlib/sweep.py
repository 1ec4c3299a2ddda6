"""Many problems at once: side by side under `vmap`, or on any executor; written as they come, resumed after a kill."""

import concurrent.futures
import functools
import itertools
import json
import operator
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from tqdm import tqdm

from . import checks
from .solve import solve

_AT_ONCE = 32  # points under one vmap
_FORMAT = "dmftlib sweep 1"


def sweep(make_network: Callable, grid: dict | list, quantities: dict | list, executor=None, store=None,
          progress: bool = True, **options) -> xr.Dataset:  # fmt: skip
    """Solve many networks, and collect quantities of the solutions in a labelled dataset.

    make_network  parameters by name -> network
    grid          name -> values: all combinations, a dimension each; or a list of dicts: one dimension, `point`
    quantities    name -> function of the solution, to numbers; or a list of names of its properties
    executor      any concurrent.futures.Executor: a process pool (started by spawn), Dask's Client.get_executor(), an
                  MPI pool. What is sent to it has to be importable there, or the executor has to know how to pickle it.
                  Without one, networks of equal structure are solved under `vmap`, where the quantities allow it (give
                  `max_outliers` to `outliers`), and one by one where not
    store         a file to which every point is added as soon as it is there; run again with the same file, only the
                  others are computed
    options       those of `solve`

    Every quantity has the dimensions of the grid and its own, q_0, q_1, ..., padded with NaN where points differ in
    shape. `status` says in words what became of each point: a point that fails (NaN) does not stop the others.

    Raises ValueError for an empty grid, for values that are neither numbers nor strings, and for a store that is
    damaged or belongs to another sweep. A full disk stops the sweep; the store keeps all that was written before.

    >>> from dmftlib import DeepLinear
    >>> def network(gamma0, layers):
    ...     return DeepLinear(hidden_layers=layers, width_ratio=1.0, sample_ratio=2.0, gamma0=gamma0, learning_rate=0.1,
    ...                       steps=10)
    >>> table = sweep(network, {"gamma0": [1.0, 2.0], "layers": [1]}, ["train_loss"], progress=False)
    >>> print(dict(table.sizes), table.status.values.ravel().tolist())
    {'gamma0': 2, 'layers': 1, 'train_loss_0': 11} ['ok', 'ok']
    """
    if not callable(make_network):
        checks.fail("make_network", checks.shown(make_network), "a function from parameters to a network")
    points, dims, coords = _points(grid)
    quantities = _quantities(quantities, coords)
    if executor is not None and not callable(getattr(executor, "submit", None)):
        checks.fail("executor", checks.shown(executor), "a concurrent.futures.Executor, or None")
    if store is not None and not isinstance(store, (str, os.PathLike)):
        checks.fail("store", checks.shown(store), "the path of a file")
    if "throw" in options:
        checks.fail("throw", options["throw"], "no such option: what became of each point is in `status`")
    records = _opened(store, sorted(points[0]), list(quantities))
    todo = [point for point in points if _key(point) not in records]
    problem = make_network, quantities, options
    answers = _side_by_side(*problem, todo) if executor is None else _on_executor(executor, *problem, todo)
    with tqdm(total=len(points), initial=len(points) - len(todo), desc="sweep", disable=not progress, delay=2) as bar:
        for point, record, lasting in answers:
            records[_key(point)] = record
            if store is not None and lasting:
                _append(store, point, record)
            bar.update()
    return _dataset([records[_key(point)] for point in points], dims, coords, list(quantities))


_property = functools.cache(operator.attrgetter)


def _quantities(quantities, names) -> dict:
    """name -> function of a solution."""
    need = "names of properties, or functions of a solution by name, that are not names of the grid or 'status'"
    if isinstance(quantities, str) or not isinstance(quantities, Iterable) or not quantities:
        checks.fail("quantities", checks.shown(quantities), need)
    if not isinstance(quantities, dict):
        quantities = {name: _property(name) if isinstance(name, str) else None for name in quantities}
    for name, get in quantities.items():
        if not isinstance(name, str) or not callable(get) or name in names or name in ("status", "point"):
            checks.fail("quantities", f"{checks.shown(name)} for {checks.shown(get)}", need)
    return quantities


def _points(grid):
    need = "name -> values, or a list of points: name -> value"
    if isinstance(grid, (str, bytes)) or not isinstance(grid, Iterable):
        checks.fail("grid", checks.shown(grid), need)
    if isinstance(grid, dict):
        values = {name: _plain(name, of) for name, of in grid.items()}
        points = [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]
        dims, coords = {name: len(of) for name, of in values.items()}, values
    else:
        grid = list(grid)
        if not all(isinstance(point, dict) for point in grid):
            checks.fail("grid", checks.shown(grid), need)
        points = [{name: _plain(name, value)[0] for name, value in point.items()} for point in grid]
        dims = {"point": len(points)}
        coords = {name: ("point", [point.get(name) for point in points]) for name in (points[0] if points else ())}
    if not points or not points[0]:
        checks.fail("grid", checks.shown(grid), "at least one value for at least one name")
    for point in points:
        if list(point) != list(points[0]):
            checks.fail("grid", f"a point of {list(point)}", f"points of the same names, {list(points[0])}")
        for name, value in point.items():
            if not isinstance(value, (int, float, str)) or not isinstance(name, str) or name in ("status", "point"):
                checks.fail(f"grid[{name!r}]", checks.shown(value), "numbers or strings, and another name")
    return points, dims, coords


def _plain(name, values):
    """A list of Python numbers or strings."""
    try:
        values = np.atleast_1d(np.asarray(values))
    except ValueError:
        checks.fail(f"grid[{name!r}]", "a ragged sequence", "numbers or strings")
    if values.ndim > 1:
        checks.fail(f"grid[{name!r}]", f"an array of shape {values.shape}", "a list of numbers or strings")
    return values.tolist() or [None]


def _key(point):
    return json.dumps(point, sort_keys=True)


def _solved(make_network, quantities, options, point) -> dict:
    """One point. Whatever goes wrong becomes its status."""
    try:
        solution = solve(make_network(**point), throw=False, **options)
        return {name: np.asarray(get(solution)) for name, get in quantities.items()} | {"status": solution.status}
    except Exception as error:  # anything that a function of the user's may raise
        return {"status": f"{type(error).__name__}: {error}"}


def _on_executor(executor, make_network, quantities, options, todo):
    """(point, record, whether it is an answer) in the order in which they come."""
    futures = {executor.submit(_solved, make_network, quantities, options, point): point for point in todo}
    try:
        for future in concurrent.futures.as_completed(futures):
            try:
                yield futures[future], future.result(), True
            except Exception as error:  # the worker died, or could not be sent the problem
                yield futures[future], {"status": f"not computed, {type(error).__name__}: {error}"}, False
    finally:
        for future in futures:
            future.cancel()


def _side_by_side(make_network, quantities, options, todo):
    """The same, networks of one structure under `vmap`. A point with any trouble is solved again by itself."""
    families = {}
    for point in todo:
        try:
            numbers, structure = jax.tree.flatten(make_network(**point))
            family = structure, tuple(np.shape(x) for x in numbers)
        except Exception:  # it will be its status
            numbers, family = None, None
        families.setdefault(family, []).append((point, numbers))
    for family, members in families.items():
        together = family is not None and len(members) > 2
        for start in range(0, len(members), _AT_ONCE):
            chunk = members[start : start + _AT_ONCE]
            if together:
                filled = [numbers for _, numbers in chunk] + [chunk[0][1]] * (min(_AT_ONCE, len(members)) - len(chunk))
                try:
                    numbers = [jnp.stack(each) for each in zip(*filled, strict=True)]
                    problem = family[0], tuple(quantities.items()), tuple(options.items())
                    values, troubled = jax.device_get(_solved_together(*problem, numbers))
                except Exception:  # a quantity that needs numbers, not tracers
                    together = False
            for i, (point, _) in enumerate(chunk):
                if together and not troubled[i]:
                    yield point, {name: value[i] for name, value in values.items()} | {"status": "ok"}, True
                else:
                    yield point, _solved(make_network, quantities, options, point), True


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _solved_together(structure, quantities, options, numbers):
    def solved(numbers):
        solution = solve(jax.tree.unflatten(structure, numbers), throw=False, **dict(options))
        return {name: jnp.asarray(get(solution)) for name, get in quantities}, solution.troubled

    return jax.vmap(solved)(numbers)


def _opened(store, parameters, quantities) -> dict:
    """The records of an earlier run, by point; a new store is begun, and a last line cut short by a kill removed."""
    if store is None:
        return {}
    head = {"format": _FORMAT, "parameters": parameters, "quantities": quantities}
    path = Path(store)
    try:
        *lines, torn = path.read_text().split("\n") if path.exists() else [""]
    except UnicodeDecodeError:
        checks.fail("store", f"{path}, which is no text", "a new file, or one of `sweep`")
    lines = lines or [json.dumps(head)]
    if torn or not path.exists():
        path.write_text("\n".join(lines) + "\n")
    records = {}
    for number, line in enumerate(lines, 1):
        try:
            line = json.loads(line)
            if number > 1:
                values = {name: np.array(flat, dtype).reshape(shape) for name, (dtype, shape, flat) in line[2].items()}
                records[_key(line[0])] = values | {"status": line[1]}
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"store: got a damaged line {number} of {path}; needed: a whole file") from error
        if number == 1 and line != head:
            checks.fail("store", f"{path}, of {line}", f"a new file, or one of {head}")
    return records


def _append(store, point, record):
    values = {name: (value.dtype.str, value.shape, value.ravel().tolist())
              for name, value in record.items() if name != "status"}  # fmt: skip
    with open(store, "a") as file:
        file.write(json.dumps([point, record["status"], values]) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _dataset(records, dims, coords, quantities):
    shape, variables = tuple(dims.values()), {}
    for name in quantities:
        found = [record.get(name) for record in records]
        present = [value for value in found if value is not None]
        own = tuple(np.max([value.shape for value in present], 0).astype(int)) if present else ()
        if len({value.shape for value in present}) == 1 and len(present) == len(found):
            table = np.stack(found)
        else:
            table = np.full((len(found), *own), np.nan)
            for i, value in enumerate(found):
                if value is not None:
                    table[(i, *map(slice, value.shape))] = value
        variables[name] = (*dims, *(f"{name}_{i}" for i in range(len(own)))), table.reshape(*shape, *own)
    status = np.array([record["status"] for record in records]).reshape(shape)
    return xr.Dataset(variables | {"status": (tuple(dims), status)}, coords)
