"""Many problems at once: side by side under `vmap`, or on any executor; written as they
come, resumed after a kill.
"""

import contextlib
import dataclasses
import functools
import operator
import os
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from tqdm import tqdm

from . import _checks
from ._compile import compiled
from .fingerprint import fingerprint
from .solve import solve
from .sweep_store import Record, Store, key_of, problem_key
from .sweep_table import grid_of, quantity_value, refuse_clashes, table_of
from .sweep_workers import Crew, refuse_pool

_AT_ONCE = 32  # points under one vmap
_NAMES = (
    "names of properties, or functions of a solution by name, that are not names of "
    "the grid or 'status'"
)


class Point(NamedTuple):
    """number: its place in the grid; key: in the store, None without one."""

    number: int
    parameters: dict
    key: str | None


class Answer(NamedTuple):
    point: Point
    record: Record


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is asked of every point; it travels to the workers."""

    make_network: Callable
    quantities: dict
    options: dict

    def solved(self, parameters: dict) -> Record:
        """One point. Whatever goes wrong becomes its status."""
        try:
            network = self.make_network(**parameters)
            solution = solve(network, throw=False, **self.options)
            status = solution.status
            values = {
                name: quantity_value(name, get(solution))
                for name, get in self.quantities.items()
            }
        except Exception as error:  # anything that a function of the user's may raise
            return Record(f"{type(error).__name__}: {error}", {}, False)
        return Record(status, values, True)


def sweep(
    make_network: Callable,
    grid: dict | list,
    quantities: dict | list,
    executor=None,
    store=None,
    progress: bool = True,
    timeout: float | None = None,
    **options,
) -> xr.Dataset:
    """Solve many networks, and collect quantities of the solutions in a labelled
    dataset.

    make_network  parameters by name -> network
    grid          name -> values: all combinations, a dimension each; or a list of
                  dicts: one dimension, `point`. Numbers and strings keep their types; a
                  sequence is passed as a tuple and labelled by its text
    quantities    name -> function of the solution, to numbers, text or dates; or a list
                  of names of its properties
    executor      any concurrent.futures.Executor: a process pool (started by spawn),
                  Dask's Client.get_executor(), an MPI pool. What is sent to it has to
                  be importable there, or the executor has to know how to pickle it.
                  Without one, networks of equal structure are solved under `vmap`,
                  where the quantities allow it (give `max_outliers` to `outliers`), and
                  one by one where not
    store         a file to which every point is added as soon as it is there; run again
                  with the same file, only the others are computed. A point is known by
                  its network, with all numbers and data, the quantities' names and
                  code, the options and the version: of another problem nothing is
                  reused. Points that failed are tried again
    timeout       seconds that a worker may take for a point. One that takes longer is
                  named in the log with its stacks and ends itself; its points are tried
                  again, in a new process pool where the pool broke
    options       those of `solve`

    Every quantity has the dimensions of the grid and its own, q_0, q_1, .... Where
    points differ in shape, or failed, there is NaN: NaT among dates, and whole numbers
    too large to be real ones, truth values and text stand as objects beside it. `status`
    says in words what became of each point: a point that fails does not stop the
    others. A first Ctrl-C stops after the points under way, a second at once.

    Raises ValueError for an empty grid, for values that are neither numbers nor
    strings, for a pool started by fork, for functions that a process pool cannot
    import, and for a store that is damaged or in use; OSError for a store that cannot
    be written. A full disk stops the sweep; the store keeps all that was written
    before.

    >>> from dmftlib import DeepLinear
    >>> def network(gamma0, layers):
    ...     return DeepLinear(hidden_layers=layers, width_ratio=1.0, sample_ratio=2.0, gamma0=gamma0, learning_rate=0.1,
    ...                       steps=10)
    >>> table = sweep(network, {"gamma0": [1.0, 2.0], "layers": [1]}, ["train_loss"], progress=False)
    >>> print(dict(table.sizes), table.status.values.ravel().tolist())
    {'gamma0': 2, 'layers': 1, 'train_loss_0': 11} ['ok', 'ok']
    """
    if not callable(make_network):
        need = "a function from parameters to a network"
        _checks.fail("make_network", _checks.shown(make_network), need)
    table = grid_of(grid)
    quantities = _quantities(quantities, table.coords)
    refuse_clashes(table, quantities)
    problem = Problem(make_network, quantities, options)
    _refuse(problem, executor, store, timeout)
    with contextlib.nullcontext() if store is None else Store(store) as file:
        points = _points(problem, table.points, file)
        records = {} if file is None else _known(points, file)
        todo = [point for point in points if point.number not in records]
        if file is not None:
            file.expect(todo)
        answers = (
            _side_by_side(problem, todo)
            if executor is None
            else _on_executor(executor, problem, todo, timeout)
        )
        bar = tqdm(total=len(points), desc="sweep", disable=not progress, delay=2)
        with bar, contextlib.closing(answers):
            bar.update(len(records))
            for point, record in answers:
                records[point.number] = record
                if file is not None and record.answered and point.key:
                    file.add(point.key, point.parameters, record)
                bar.update()
    return table_of([records[point.number] for point in points], table, quantities)


def _refuse(problem, executor, store, timeout):
    if "throw" in problem.options:
        need = "no such option: what became of each point is in `status`"
        _checks.fail("throw", problem.options["throw"], need)
    if store is not None and not isinstance(store, (str, os.PathLike)):
        _checks.fail("store", _checks.shown(store), "the path of a file")
    if timeout is not None:
        _checks.positive("timeout", timeout)
        if executor is None:
            need = "an executor: a process cannot replace itself"
            _checks.fail("timeout", timeout, need)
    if executor is not None:
        refuse_pool(executor, problem)


_property = functools.cache(operator.attrgetter)


def _quantities(quantities, names) -> dict:
    """name -> function of a solution."""
    listed = isinstance(quantities, Iterable) and not isinstance(quantities, str)
    if not listed or not quantities:
        _checks.fail("quantities", _checks.shown(quantities), _NAMES)
    if not isinstance(quantities, dict):
        quantities = {
            name: _property(name) if isinstance(name, str) else None
            for name in quantities
        }
    for name, get in quantities.items():
        known = isinstance(name, str) and callable(get)
        if not known or name in names or name in ("status", "point"):
            got = f"{_checks.shown(name)} for {_checks.shown(get)}"
            _checks.fail("quantities", got, _NAMES)
    return quantities


def _points(problem, parameters, file) -> list:
    if file is None:
        return [Point(i, each, None) for i, each in enumerate(parameters)]
    shared = problem_key(problem.quantities, problem.options)
    return [
        Point(i, each, key_of(shared, problem.make_network, each))
        for i, each in enumerate(parameters)
    ]


def _known(points, file) -> dict:
    found = {point.number: file.records.get(point.key) for point in points}
    return {number: record for number, record in found.items() if record is not None}


def _on_executor(executor, problem, todo, timeout):
    crew = Crew(executor, problem.solved, timeout)
    for number, record in crew.records([point.parameters for point in todo]):
        yield Answer(todo[number], record)


class _Family(NamedTuple):
    """Points whose networks differ in numbers alone. structure: None for those that
    could not be made; numbers: those of each point.
    """

    structure: Any
    points: list
    numbers: list


def _families(problem, todo) -> list:
    families = {}
    for point in todo:
        try:
            numbers, structure = jax.tree.flatten(
                problem.make_network(**point.parameters)
            )
            kind = structure, tuple(np.shape(number) for number in numbers)
        except Exception:  # it will be its status
            numbers, kind = None, (None, ())
        family = families.setdefault(kind, _Family(kind[0], [], []))
        family.points.append(point)
        family.numbers.append(numbers)
    return list(families.values())


def _side_by_side(problem, todo):
    """The same, networks of one structure under `vmap`. A point with any trouble is
    solved again by itself.
    """
    with _interrupts_between_points() as look_for_interrupt:
        for family in _families(problem, todo):
            together = family.structure is not None and len(family.points) > 2
            for start in range(0, len(family.points), _AT_ONCE):
                chunk = slice(start, start + _AT_ONCE)
                points = family.points[chunk]
                look_for_interrupt()
                records = _chunk(problem, family, chunk) if together else None
                together = records is not None
                for i, point in enumerate(points):
                    record = None if records is None else records[i]
                    if record is None:
                        look_for_interrupt()
                        record = problem.solved(point.parameters)
                    yield Answer(point, record)


def _chunk(problem, family, chunk) -> list | None:
    """A record for each point of a chunk, None for those in trouble; None if there are
    quantities that need numbers, not tracers.
    """
    numbers = family.numbers[chunk]
    count = len(numbers)
    room = min(_AT_ONCE, len(family.points))
    numbers = numbers + [numbers[0]] * (room - count)
    try:
        stacked = [jnp.stack(each) for each in zip(*numbers, strict=True)]
        values, troubled = jax.device_get(
            _solved_together(family.structure, _Asked(problem), stacked)
        )
        return [
            None if troubled[i] else Record("ok", _row(values, i), True)
            for i in range(count)
        ]
    except Exception:  # whatever a function of the user's may raise on tracers
        return None


def _row(values, i) -> dict:
    return {name: quantity_value(name, value[i]) for name, value in values.items()}


class _Asked:
    """A problem as a static argument: two are equal where all their functions have
    equal code, so that lambdas written anew are not compiled anew.
    """

    def __init__(self, problem):
        self.problem = problem
        try:
            self.key = fingerprint([problem.quantities, problem.options])
        except TypeError:
            self.key = id(problem)

    def __eq__(self, other):
        return self.key == other.key

    def __hash__(self):
        return hash(self.key)


@compiled(static_argnums=(0, 1))
def _solved_together(structure, asked, numbers):
    problem = asked.problem

    def solved(numbers):
        network = jax.tree.unflatten(structure, numbers)
        solution = solve(network, throw=False, **problem.options)
        values = {
            name: jnp.asarray(get(solution)) for name, get in problem.quantities.items()
        }
        return values, solution.troubled

    return jax.vmap(solved)(numbers)


@contextlib.contextmanager
def _interrupts_between_points():
    """Ctrl-C waits for the program under way: an interpreter that ends while one runs
    is killed by the system. A second one does not wait. Yields what raises the first.
    """
    asked = []

    def handler(number, frame):
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        tqdm.write("sweep: stops after the points under way (Ctrl-C again: at once)")

    def look():
        if asked:
            raise KeyboardInterrupt

    alone = threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield look
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield look
        look()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
