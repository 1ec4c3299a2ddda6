"""Many problems at once: the same numbers by every way, stored as they come, and
nothing computed twice.
"""

import concurrent.futures
import dataclasses
import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import dmftlib as dm

Problem = sys.modules["dmftlib.sweep"].Problem
GRID = {
    "gamma0": [0.5, 1.0, 2.0, 3.0],
    "init_variance": [0.5, 1.0],
    "width_ratio": [1.0],
}


def network(**parameters):
    return dm.DeepLinear(
        hidden_layers=1, sample_ratio=2.0, learning_rate=0.1, steps=8, **parameters
    )


def outlier(solution):
    return solution.outliers(0, 8, max_outliers=1).values


QUANTITIES = {"loss": lambda solution: solution.test_loss[-1], "outlier": outlier}


class Here(concurrent.futures.Executor):
    """Runs what it is given at once, and counts."""

    count = 0

    def submit(self, function, *args):
        self.count += 1
        future = concurrent.futures.Future()
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)
        return future


@pytest.fixture(scope="module")
def table():
    return dm.sweep(network, GRID, QUANTITIES, executor=Here(), progress=False)


def test_labels_and_numbers(table):
    assert table.sizes == {
        "gamma0": 4,
        "init_variance": 2,
        "width_ratio": 1,
        "outlier_0": 1,
    }
    assert (table.status == "ok").all()
    alone = dm.solve(network(gamma0=2.0, init_variance=0.5, width_ratio=1.0))
    at = table.sel(gamma0=2.0, init_variance=0.5, width_ratio=1.0)
    assert float(at.loss) == float(alone.test_loss[-1])
    assert float(at.outlier[0]) == float(alone.outliers(0, 8).values[0])
    assert np.isnan(table.outlier.sel(gamma0=0.5)).any()  # no outlier there


def test_side_by_side_is_the_same(table):
    together = dm.sweep(network, GRID, QUANTITIES, progress=False)
    xr.testing.assert_allclose(together, table, rtol=1e-9)
    points = [
        dict(gamma0=g, init_variance=1.0, width_ratio=1.0) for g in GRID["gamma0"]
    ]
    listed = dm.sweep(network, points, QUANTITIES, progress=False)
    np.testing.assert_allclose(
        listed.loss, table.loss.sel(init_variance=1.0).squeeze(), rtol=1e-9
    )
    assert listed.gamma0.dims == ("point",)


def test_what_needs_numbers_is_solved_one_by_one():
    grid = {**GRID, "gamma0": [1.0, 2.0, 3.0]}
    steps = dm.sweep(
        network,
        grid,
        {"escape": lambda solution: solution.escape_step(0) or -1},
        progress=False,
    )
    assert (
        (steps.status == "ok").all()
        and steps.escape.dtype.kind == "i"
        and steps.escape.max() > 0
    )


def test_a_failed_point_does_not_stop_the_others():
    grid = {"gamma0": [1.0, -1.0, 2.0], "learning_rate": [0.1, 40.0]}

    def build(gamma0, learning_rate):
        return dm.DeepLinear(
            hidden_layers=1,
            width_ratio=1.0,
            sample_ratio=2.0,
            gamma0=gamma0,
            learning_rate=learning_rate,
            steps=20,
        )

    for executor in (None, Here()):
        table = dm.sweep(build, grid, ["test_loss"], executor=executor, progress=False)
        words = table.status
        assert (
            words.sel(gamma0=-1.0)
            == "ValueError: gamma0: got -1.0; needed: a finite real number above 0"
        ).all()
        assert np.isnan(table.test_loss.sel(gamma0=-1.0)).all()
        wild = words.sel(gamma0=[1.0, 2.0], learning_rate=40.0).values
        assert all(str(word).startswith("diverged at step") for word in wild)
        assert (words.sel(gamma0=[1.0, 2.0], learning_rate=0.1) == "ok").all()


def test_nothing_is_computed_twice(table, tmp_path):
    store = tmp_path / "sweep.jsonl"

    half = {**GRID, "gamma0": GRID["gamma0"][:2]}
    dm.sweep(network, half, QUANTITIES, executor=Here(), store=store, progress=False)
    with open(store, "a") as file:
        file.write('[{"gamma0": 2.0, "init')  # a driver killed while writing
    rest = Here()
    resumed = dm.sweep(
        network, GRID, QUANTITIES, executor=rest, store=store, progress=False
    )
    assert rest.count == 4
    xr.testing.assert_identical(resumed, table)
    again = Here()
    xr.testing.assert_identical(
        dm.sweep(
            network, GRID, QUANTITIES, executor=again, store=store, progress=False
        ),
        table,
    )
    assert again.count == 0
    other = Here()
    dm.sweep(network, GRID, ["test_loss"], executor=other, store=store, progress=False)
    assert other.count == 8  # another question has no answers there
    lines = store.read_text().splitlines()
    store.write_text("\n".join([*lines[:3], lines[3][:40], *lines[4:]]) + "\n")
    with pytest.raises(ValueError, match="damaged line 4"):
        dm.sweep(network, GRID, QUANTITIES, store=store, progress=False)


def test_a_full_disk_stops_the_sweep_and_what_was_written_is_kept(
    table, tmp_path, monkeypatch
):
    store, written = tmp_path / "sweep.jsonl", []

    def sync(file):
        written.append(file)
        if len(written) == 4:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", sync)
        with pytest.raises(OSError, match="No space left"):
            dm.sweep(
                network, GRID, QUANTITIES, executor=Here(), store=store, progress=False
            )
    rest = Here()
    resumed = dm.sweep(
        network, GRID, QUANTITIES, executor=rest, store=store, progress=False
    )
    assert rest.count == 6  # the header and two points were safe on the disk
    xr.testing.assert_identical(resumed, table)


def test_an_interrupted_sweep_is_resumed(table, tmp_path):
    """What a notebook's stop button does: nothing is lost, nothing is left running, and
    the rest is computed later.
    """
    store, asked = tmp_path / "sweep.jsonl", []
    driver = threading.current_thread()

    def stopped(**parameters):
        if threading.current_thread() is not driver:
            asked.append(parameters)
            if len(asked) == 4:
                raise KeyboardInterrupt
            if len(asked) > 4:
                time.sleep(2)  # the driver has time to hear of it
        return network(**parameters)

    with (
        pytest.raises(KeyboardInterrupt),
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        dm.sweep(stopped, GRID, QUANTITIES, executor=pool, store=store, progress=False)
    assert len(asked) <= 5  # those that had not begun were cancelled
    kept = len(store.read_text().splitlines()) - 1
    assert kept == 3
    rest = Here()
    xr.testing.assert_identical(
        dm.sweep(network, GRID, QUANTITIES, executor=rest, store=store, progress=False),
        table,
    )
    assert rest.count == 8 - kept


def test_an_interrupt_side_by_side_keeps_the_store(table, tmp_path, monkeypatch):
    store, solved = tmp_path / "sweep.jsonl", []

    def once(problem, parameters):
        solved.append(parameters)
        if len(solved) == 3:
            raise KeyboardInterrupt
        return one(problem, parameters)

    one = Problem.solved
    monkeypatch.setattr(Problem, "solved", once)
    with pytest.raises(KeyboardInterrupt):
        dm.sweep(
            network,
            GRID,
            {"loss": lambda s: float(s.test_loss[-1])},
            store=store,
            progress=False,
        )
    assert len(store.read_text().splitlines()) == 3
    monkeypatch.undo()
    done = dm.sweep(
        network,
        GRID,
        {"loss": lambda s: float(s.test_loss[-1])},
        store=store,
        progress=False,
    )
    np.testing.assert_allclose(done.loss, table.loss, rtol=1e-12)


def suicidal(gamma0):
    if gamma0 == 2.0 and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return network(gamma0=gamma0, init_variance=1.0, width_ratio=1.0)


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_and_what_was_there_is_kept(tmp_path):
    store, grid = tmp_path / "sweep.jsonl", {"gamma0": [1.0, 2.0]}
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        table = dm.sweep(
            suicidal, grid, ["test_loss"], executor=pool, store=store, progress=False
        )
    assert "not computed, BrokenProcessPool" in str(table.status.values[1])
    kept = [json.loads(line)["point"] for line in store.read_text().splitlines()[1:]]
    assert kept == [{"gamma0": 1.0}]  # the point beside it was tried again


@pytest.mark.parametrize(
    "grid, quantities, name",
    [
        ({}, ["test_loss"], "grid"),
        ({"gamma0": []}, ["test_loss"], "grid"),
        ({"gamma0": [1.0]}, [], "quantities"),
        ([{"gamma0": 1.0}, {"width_ratio": 1.0}], ["test_loss"], "grid"),
        ({"gamma0": [None]}, ["test_loss"], "gamma0"),
        ({"test_loss_0": [1.0]}, ["test_loss"], "test_loss_0"),
        ({"gamma0": [1.0]}, {"a": outlier, "a_0": outlier}, "a_0 is a dimension of a"),
    ],
)
def test_what_is_refused(grid, quantities, name):
    with pytest.raises(ValueError, match=name):
        dm.sweep(network, grid, quantities, progress=False)


# ---- what a grid and a table keep


@dataclasses.dataclass
class Solved:
    """Stands for a solution where only the table is looked at."""

    net: object
    status: str = "ok"


@pytest.fixture
def echo(monkeypatch):
    """`solve` gives back the parameters themselves."""

    def solve(parameters, throw, **options):
        return Solved(parameters)

    monkeypatch.setitem(dm.sweep.__globals__, "solve", solve)
    return lambda **parameters: parameters


def test_every_grid_value_keeps_its_type(echo):
    values = ["full", "online", 0.5]
    table = dm.sweep(echo, {"batch": values}, {"x": kind_of("batch")}, progress=False)
    assert table.x.values.tolist() == ["str", "str", "float"]
    assert table.batch.values.tolist() == values
    table = dm.sweep(echo, {"n": [1, 2.0]}, {"x": kind_of("n")}, progress=False)
    assert table.x.values.tolist() == ["int", "float"]
    rates = [[1.0, 2.0], [1.0, 1.0, 0.5]]
    table = dm.sweep(
        echo,
        {"rates": rates, "n": np.arange(2)},
        {"x": lambda s: float(sum(s.net["rates"])), "kind": kind_of("n")},
        progress=False,
    )
    assert table.x.values.tolist() == [[3.0, 3.0], [2.5, 2.5]]
    assert set(table.kind.values.ravel()) == {"int"}
    assert float(table.x.sel(rates="(1.0, 2.0)", n=1)) == 3.0
    listed = dm.sweep(
        echo,
        [{"rates": each} for each in rates],
        {"x": lambda s: float(s.net["rates"][1])},
        progress=False,
    )
    assert listed.x.values.tolist() == [2.0, 1.0]


def kind_of(name):
    return lambda solution: type(solution.net[name]).__name__


def at_points(values, name="value"):
    """A quantity that is values[point], and fails where that is an error."""

    def get(solution):
        value = values[solution.net["point_number"]]
        if isinstance(value, Exception):
            raise value
        return value

    return get


BIG = 2**60 + 1
FAILED = RuntimeError("no")
WHEN = np.datetime64("2026-11-27T01:02:03", "s")
COLUMNS = {
    "complex": ([1 + 2j, FAILED, 3j], [1 + 2j, np.nan, 3j]),
    "mixed": ([1.5, 2 + 1j, FAILED], [1.5, 2 + 1j, np.nan]),
    "dates": ([WHEN, FAILED, WHEN], [WHEN, np.datetime64("NaT"), WHEN]),
    "truth": ([True, False, FAILED], [True, False, np.nan]),
    "all truth": ([True, False, True], [True, False, True]),
    "whole": ([3, FAILED, 5], [3.0, np.nan, 5.0]),
    "large": ([BIG, FAILED, BIG + 1], [BIG, np.nan, BIG + 1]),
    "larger": ([2**70, 1, 2], [2**70, 1, 2]),
    "text": (["yes", "longer", FAILED], ["yes", "longer", np.nan]),
    "absent": ([4, None, 7], [4.0, np.nan, 7.0]),
    "never": ([None, None, None], [np.nan] * 3),
    "axes": (
        [1.0, np.array([2.0, 3.0]), np.array([[4.0, 5.0]])],
        [
            [[1.0, np.nan], [np.nan, np.nan]],
            [[2.0, np.nan], [3.0, np.nan]],
            [[4.0, 5.0], [np.nan, np.nan]],
        ],
    ),
    "short": ([np.ones(2, np.float32), np.ones(1, np.float32), FAILED], None),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("stored", [False, True])
def test_every_quantity_keeps_its_type(echo, name, stored, tmp_path):
    values, right = COLUMNS[name]
    store = tmp_path / "x.jsonl" if stored else None
    for _ in range(2 if stored else 1):  # the second time from the file
        table = dm.sweep(
            echo,
            {"point_number": [0, 1, 2]},
            {"x": at_points(values)},
            store=store,
            progress=False,
        )
        failed = [isinstance(value, Exception) for value in values]
        expected = ["RuntimeError: no" if each else "ok" for each in failed]
        assert table.status.values.tolist() == expected
        if right is None:
            assert table.x.dtype == np.float32
            continue
        kept = np.array(right, object if table.x.dtype == object else None)
        assert table.x.dtype.kind == kept.dtype.kind
        for got, want in zip(table.x.values.ravel(), kept.ravel(), strict=True):
            assert type(got) is type(want) or isinstance(got, np.generic)
            assert got == want or (got != got and want != want)


def test_what_is_no_number_is_refused_in_words(echo):
    table = dm.sweep(
        echo,
        {"point_number": [0, 1]},
        {"x": lambda s: {"a": 1} if s.net["point_number"] else 1.0},
        progress=False,
    )
    assert table.x.values.tolist()[0] == 1.0
    words = str(table.status.values[1])
    assert words.startswith("ValueError: quantities['x']: got {'a': 1}; needed:")


def test_a_step_that_never_comes_is_nan():
    """`edge_of_stability_step` is None where there is none."""
    table = dm.sweep(
        network,
        {"gamma0": [1.0, 2.0], "init_variance": [1.0], "width_ratio": [1.0]},
        {"step": lambda s: 3 if s.net.gamma0 > 1.5 else None},
        progress=False,
    )
    assert table.step.dtype == float and np.isnan(table.step.values[0]).all()
    assert table.step.values[1] == 3


# ---- what a store may answer


def scaled(factor):
    return lambda solution: factor * solution.test_loss[-1]


def deep(gamma0, **changed):
    given = {"gamma0": gamma0, "init_variance": 1.0, "width_ratio": 1.0}
    return (
        network(**given)
        if not changed
        else dataclasses.replace(network(**given), **changed)
    )


def final(solution):
    return solution.test_loss[-1]


@pytest.mark.parametrize(
    "other",
    [
        dict(make_network=lambda gamma0: deep(gamma0, learning_rate=0.05)),
        dict(make_network=lambda gamma0: deep(gamma0, steps=9)),
        dict(make_network=lambda gamma0: deep(gamma0, label_noise=0.1)),
        dict(quantities={"final": lambda solution: 2 * solution.test_loss[-1]}),
        dict(quantities={"final": scaled(3.0)}),
        dict(capacity=40),
    ],
)
def test_another_problem_gets_no_answer_from_the_store(other, tmp_path):
    store = tmp_path / "sweep.jsonl"
    first = dict(
        make_network=deep,
        grid={"gamma0": [1.0, 2.0]},
        quantities={"final": final},
        executor=Here(),
        progress=False,
    )
    dm.sweep(**first, store=store)
    changed = {**first, **other, "executor": Here()}
    right = dm.sweep(**{**changed, "executor": Here()})
    xr.testing.assert_identical(dm.sweep(**changed, store=store), right)
    assert changed["executor"].count == 2
    again = {**first, "executor": Here()}
    dm.sweep(**again, store=store)
    assert again["executor"].count == 0  # the first problem's answers are still there


def test_data_and_seeds_are_part_of_the_problem(tmp_path):
    def build(scale, data):
        return dm.Nonlinear(
            inputs=np.array([[1.0, 0.0], [0.5, data]]),
            targets=[1.0, -1.0],
            hidden_layers=1,
            learning_rate=0.1 * scale,
            steps=1,
        )

    finals = []
    for data, seed in ((1.0, 0), (2.0, 0), (1.0, 1)):
        table = dm.sweep(
            functools.partial(build, data=data),
            {"scale": [1.0]},
            {"final": lambda s: s.train_loss[-1]},
            store=tmp_path / "x.jsonl",
            samples=64,
            seed=seed,
            progress=False,
        )
        finals.append(float(table.final[0]))
    assert len(set(finals)) == 3


def test_a_failure_is_tried_again(tmp_path):
    store, mood = tmp_path / "sweep.jsonl", ["bad"]

    def moody(solution):
        if mood[0] == "bad":
            raise MemoryError("for now")
        return solution.test_loss[-1]

    ask = dict(grid={"gamma0": [1.0, 2.0]}, store=store, progress=False)
    failed = dm.sweep(deep, quantities={"x": moody}, **ask)
    assert set(failed.status.values) == {"MemoryError: for now"}
    mood[0] = "good"
    table = dm.sweep(deep, quantities={"x": moody}, **ask)
    assert (table.status == "ok").all() and np.isfinite(table.x).all()
    typo = dm.sweep(deep, quantities={"x": lambda s: s.test_los[-1]}, **ask)
    assert "AttributeError" in str(typo.status.values[0])
    mended = dm.sweep(deep, quantities={"x": lambda s: s.test_loss[-1]}, **ask)
    np.testing.assert_array_equal(mended.x, table.x)


def test_two_drivers_on_one_store_do_not_meet(tmp_path):
    store = tmp_path / "sweep.jsonl"

    def second(solution):
        with pytest.raises(ValueError, match="to which another sweep is writing"):
            dm.sweep(deep, {"gamma0": [2.0]}, [final.__name__], store=store)
        return solution.test_loss[-1]

    ask = dict(grid={"gamma0": [1.0]}, store=store, progress=False)
    table = dm.sweep(deep, quantities={"x": second}, **ask)
    assert (table.status == "ok").all()
    assert len(store.read_text().splitlines()) == 2


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_computed(
    tmp_path, monkeypatch
):
    here = Here()
    ask = dict(executor=here, progress=False, quantities={"x": final})
    with pytest.raises(OSError, match="store: cannot be begun"):
        dm.sweep(deep, {"gamma0": [1.0]}, store=tmp_path / "no" / "x.jsonl", **ask)
    with pytest.raises(OSError, match="store: cannot be begun"):
        dm.sweep(deep, {"gamma0": [1.0]}, store=tmp_path, **ask)
    assert here.count == 0
    store = tmp_path / "x.jsonl"
    whole = dm.sweep(deep, {"gamma0": [1.0]}, store=store, **ask)

    def opened(path, mode, **options):
        if "a" in mode:
            raise PermissionError(13, "Permission denied")
        return open(path, mode, **options)

    monkeypatch.setattr(sys.modules["dmftlib.sweep_store"], "open", opened, False)
    here.count = 0
    read = dm.sweep(deep, {"gamma0": [1.0]}, store=store, **ask)
    xr.testing.assert_identical(read, whole)
    with pytest.raises(OSError, match="store: cannot be written"):
        dm.sweep(deep, {"gamma0": [1.0, 2.0]}, store=store, **ask)
    assert here.count == 0


# ---- pools, and workers that stand still


def test_pools_that_would_hang_and_functions_that_cannot_travel_are_refused(
    monkeypatch,
):
    grid = {"gamma0": [1.0]}
    fork = multiprocessing.get_context("fork")
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=fork) as pool:
        with pytest.raises(ValueError, match="executor: .*fork.*get_context..spawn"):
            dm.sweep(deep, grid, {"x": final}, executor=pool)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        with pytest.raises(
            ValueError, match=r"quantities\[.x.\]: (.|\n)*cannot be sent"
        ):
            dm.sweep(deep, grid, {"x": lambda s: s.test_loss}, executor=pool)
        notebook = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", notebook)
        monkeypatch.setattr(final, "__module__", "__main__")
        notebook.final = final
        with pytest.raises(ValueError, match="in this notebook alone; needed: for a"):
            dm.sweep(deep, grid, {"x": final}, executor=pool)


STANDING = threading.Event()


def standing(solution):
    """Stands still, once in each process that has not seen the file."""
    mark = Path(os.environ["STANDING_STILL"])
    if solution.net.gamma0 == 2.0 and not mark.exists():
        mark.touch()
        STANDING.wait()
    return solution.test_loss[-1]


@pytest.mark.slow
def test_a_worker_that_stands_still_is_named_and_its_points_are_tried_again(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("STANDING_STILL", str(tmp_path / "mark"))
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        table = dm.sweep(
            deep,
            {"gamma0": [1.0, 2.0, 3.0]},
            {"x": standing},
            executor=pool,
            timeout=60,
            progress=False,
        )
    assert (table.status == "ok").all()
    (said,) = [r.getMessage() for r in caplog.records if "no answer" in r.getMessage()]
    assert "{'gamma0': 2.0}" in said and "tried again" in said
    right = [float(dm.solve(deep(g)).test_loss[-1]) for g in (1.0, 2.0, 3.0)]
    np.testing.assert_allclose(table.x, right, rtol=1e-12)


def test_a_thread_that_stands_still_is_given_up_after_two_tries(monkeypatch):
    calls = []

    def stands(solution):
        calls.append(1)
        STANDING.wait(20)
        return 0.0

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        table = dm.sweep(
            deep,
            {"gamma0": [1.0]},
            {"x": stands},
            executor=pool,
            timeout=1.0,
            progress=False,
        )
        STANDING.set()
    STANDING.clear()
    words = str(table.status.values[0])
    assert words.startswith("not computed, no answer from worker ") and len(calls) == 2
    with pytest.raises(ValueError, match="timeout: got 1.0; needed: an executor"):
        dm.sweep(deep, {"gamma0": [1.0]}, {"x": final}, timeout=1.0)


def test_lambdas_written_anew_are_not_compiled_anew():
    import jax

    grid = {"gamma0": [0.5, 1.0, 2.0, 3.0]}
    compiled = []

    def listener(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    dm.sweep(deep, grid, {"x": lambda s: s.test_loss[-1]}, progress=False)
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        dm.sweep(deep, grid, {"x": lambda s: s.test_loss[-1]}, progress=False)
        assert not compiled
        dm.sweep(deep, grid, {"x": lambda s: s.test_loss[-2]}, progress=False)
        assert compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)


INTERRUPTED = """
import sys, time, os, signal, threading
import dmftlib as dm
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever has started us
def network(gamma0):
    return dm.DeepLinear(hidden_layers=2, width_ratio=1.0, sample_ratio=2.0,
                         gamma0=gamma0, learning_rate=0.05, steps=30)
def loss(solution):
    if solution.net.gamma0 > 1.25:
        os.kill(os.getpid(), signal.SIGINT)
    return float(solution.test_loss[-1])
try:
    dm.sweep(network, {"gamma0": [1.0, 1.2, 1.3, 1.4, 1.5]}, {"x": loss},
             store=sys.argv[1], progress=False)
except KeyboardInterrupt:
    sys.exit(77)
"""


@pytest.mark.slow
def test_ctrl_c_ends_a_sweep_after_the_point_under_way(tmp_path):
    store = tmp_path / "x.jsonl"
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, store], capture_output=True, timeout=300
    )
    assert run.returncode == 77, run.stderr.decode()
    assert len(store.read_text().splitlines()) == 1 + 3
    assert b"stops after the points under way" in run.stderr + run.stdout
