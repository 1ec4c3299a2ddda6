"""Many problems at once: the same numbers by every way, stored as they come, and nothing computed twice."""

import concurrent.futures
import json
import multiprocessing
import os
import signal

import numpy as np
import pytest
import xarray as xr

import dmftlib as dm

GRID = {"gamma0": [0.5, 1.0, 2.0, 3.0], "init_variance": [0.5, 1.0], "width_ratio": [1.0]}


def network(**parameters):
    return dm.DeepLinear(hidden_layers=1, sample_ratio=2.0, learning_rate=0.1, steps=8, **parameters)


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
    assert table.sizes == {"gamma0": 4, "init_variance": 2, "width_ratio": 1, "outlier_0": 1}
    assert (table.status == "ok").all()
    alone = dm.solve(network(gamma0=2.0, init_variance=0.5, width_ratio=1.0))
    at = table.sel(gamma0=2.0, init_variance=0.5, width_ratio=1.0)
    assert float(at.loss) == float(alone.test_loss[-1])
    assert float(at.outlier[0]) == float(alone.outliers(0, 8).values[0])
    assert np.isnan(table.outlier.sel(gamma0=0.5)).any()  # no outlier there


def test_side_by_side_is_the_same(table):
    together = dm.sweep(network, GRID, QUANTITIES, progress=False)
    xr.testing.assert_allclose(together, table, rtol=1e-9)
    points = [dict(gamma0=g, init_variance=1.0, width_ratio=1.0) for g in GRID["gamma0"]]
    listed = dm.sweep(network, points, QUANTITIES, progress=False)
    np.testing.assert_allclose(listed.loss, table.loss.sel(init_variance=1.0).squeeze(), rtol=1e-9)
    assert listed.gamma0.dims == ("point",)


def test_what_needs_numbers_is_solved_one_by_one():
    grid = {**GRID, "gamma0": [1.0, 2.0, 3.0]}
    steps = dm.sweep(network, grid, {"escape": lambda solution: solution.escape_step(0) or -1}, progress=False)
    assert (steps.status == "ok").all() and steps.escape.dtype.kind == "i" and steps.escape.max() > 0


def test_a_failed_point_does_not_stop_the_others():
    grid = {"gamma0": [1.0, -1.0, 2.0], "learning_rate": [0.1, 40.0]}

    def build(gamma0, learning_rate):
        return dm.DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, gamma0=gamma0,
                             learning_rate=learning_rate, steps=20)  # fmt: skip

    for executor in (None, Here()):
        table = dm.sweep(build, grid, ["test_loss"], executor=executor, progress=False)
        words = table.status
        assert (words.sel(gamma0=-1.0) == "ValueError: gamma0: got -1.0; needed: a finite real number above 0").all()
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
    resumed = dm.sweep(network, GRID, QUANTITIES, executor=rest, store=store, progress=False)
    assert rest.count == 4
    xr.testing.assert_identical(resumed, table)
    again = Here()
    xr.testing.assert_identical(dm.sweep(network, GRID, QUANTITIES, executor=again, store=store, progress=False), table)
    assert again.count == 0
    with pytest.raises(ValueError, match="store"):
        dm.sweep(network, GRID, ["test_loss"], store=store, progress=False)
    lines = store.read_text().splitlines()
    store.write_text("\n".join([*lines[:3], lines[3][:40], *lines[4:]]) + "\n")
    with pytest.raises(ValueError, match="damaged line 4"):
        dm.sweep(network, GRID, QUANTITIES, store=store, progress=False)


def test_a_full_disk_stops_the_sweep_and_what_was_written_is_kept(table, tmp_path, monkeypatch):
    store, written = tmp_path / "sweep.jsonl", []

    def sync(file):
        written.append(file)
        if len(written) == 4:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", sync)
        with pytest.raises(OSError, match="No space left"):
            dm.sweep(network, GRID, QUANTITIES, executor=Here(), store=store, progress=False)
    rest = Here()
    resumed = dm.sweep(network, GRID, QUANTITIES, executor=rest, store=store, progress=False)
    assert 0 < rest.count <= 5
    xr.testing.assert_identical(resumed, table)


def test_an_interrupted_sweep_is_resumed(table, tmp_path):
    """What a notebook's stop button does: nothing is lost, nothing is left running, and the rest is computed later."""
    store, asked = tmp_path / "sweep.jsonl", []

    def stopped(**parameters):
        asked.append(parameters)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return network(**parameters)

    with pytest.raises(KeyboardInterrupt), concurrent.futures.ThreadPoolExecutor(1) as pool:
        dm.sweep(stopped, GRID, QUANTITIES, executor=pool, store=store, progress=False)
    assert len(asked) <= 5  # those that had not begun were cancelled
    kept = len(store.read_text().splitlines()) - 1
    assert kept == 3
    rest = Here()
    xr.testing.assert_identical(dm.sweep(network, GRID, QUANTITIES, executor=rest, store=store, progress=False), table)
    assert rest.count == 8 - kept


def test_an_interrupt_side_by_side_keeps_the_store(table, tmp_path, monkeypatch):
    store, solved = tmp_path / "sweep.jsonl", []

    def once(*args):
        solved.append(args)
        if len(solved) == 3:
            raise KeyboardInterrupt
        return one(*args)

    one = dm.sweep.__globals__["_solved"]
    monkeypatch.setitem(dm.sweep.__globals__, "_solved", once)
    with pytest.raises(KeyboardInterrupt):
        dm.sweep(network, GRID, {"loss": lambda s: float(s.test_loss[-1])}, store=store, progress=False)
    assert len(store.read_text().splitlines()) == 3
    monkeypatch.undo()
    done = dm.sweep(network, GRID, {"loss": lambda s: float(s.test_loss[-1])}, store=store, progress=False)
    np.testing.assert_allclose(done.loss, table.loss, rtol=1e-12)


def suicidal(gamma0):
    if gamma0 == 2.0:
        os.kill(os.getpid(), signal.SIGKILL)
    return network(gamma0=gamma0, init_variance=1.0, width_ratio=1.0)


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_and_what_was_there_is_kept(tmp_path):
    store, grid = tmp_path / "sweep.jsonl", {"gamma0": [1.0, 2.0]}
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        table = dm.sweep(suicidal, grid, ["test_loss"], executor=pool, store=store, progress=False)
    assert "not computed, BrokenProcessPool" in str(table.status.values[1])
    kept = [json.loads(line)[0] for line in store.read_text().splitlines()[1:]]
    assert {"gamma0": 2.0} not in kept and len(kept) <= 1


@pytest.mark.parametrize("grid, quantities, name", [
    ({}, ["test_loss"], "grid"), ({"gamma0": []}, ["test_loss"], "grid"), ({"gamma0": [1.0]}, [], "quantities"),
    ([{"gamma0": 1.0}, {"width_ratio": 1.0}], ["test_loss"], "grid"), ({"gamma0": [None]}, ["test_loss"], "gamma0"),
])  # fmt: skip
def test_what_is_refused(grid, quantities, name):
    with pytest.raises(ValueError, match=name):
        dm.sweep(network, grid, quantities, progress=False)
