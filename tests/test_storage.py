"""What is saved comes back; what is damaged, or of another version, does not."""

import json

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dmftlib as dm

DEEP = dm.DeepLinear(hidden_layers=2, width_ratio=0.8, sample_ratio=1.5, gamma0=3.0, learning_rate=0.05, steps=4)
WIDE = dm.WideOutput(output_ratio=0.5, input_ratio=0.7, learning_rate=0.1, steps=3)
NONLINEAR = dm.Nonlinear(inputs=[[1.0, 0.0], [0.5, 1.0]], targets=[1.0, -1.0], hidden_layers=2, learning_rate=0.1,
                         steps=2)  # fmt: skip


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_solutions_come_back(tmp_path):
    for net in (DEEP, WIDE):
        solution = dm.solve(net)
        again = dm.load(dm.save(solution, tmp_path / "solution.npz"))
        same(solution, again)
        assert again.ok and type(again) is type(solution)
    found = dm.load(dm.save(dm.solve(DEEP), tmp_path / "solution.npz")).outliers(1, 4)
    np.testing.assert_array_equal(found.values, dm.solve(DEEP).outliers(1, 4).values)


@pytest.mark.slow
def test_nonlinear_solutions_come_back(tmp_path):
    solution = dm.solve(NONLINEAR, samples=256)
    again = dm.load(dm.save(solution, tmp_path / "solution.npz"))
    same(solution, again)
    assert again.net.activation is solution.net.activation


def test_simulations_come_back(tmp_path):
    for simulation in (dm.simulate(DEEP, dim=30, seeds=2, spectra_at=(0, 4), overlaps=1, progress=False),
                       dm.simulate(WIDE, width=30, seeds=2, spectra_at=(3,)),
                       dm.simulate(NONLINEAR, width=30, seeds=2, spectra_at=(2,), progress=False)):  # fmt: skip
        again = dm.load(dm.save(simulation, tmp_path / "simulation.npz"))
        layer = 1 if simulation.net is NONLINEAR else 0
        at = max(simulation.net.steps, 0)
        np.testing.assert_array_equal(again.singular_values(layer, at), simulation.singular_values(layer, at))
        np.testing.assert_array_equal(again.train_loss, simulation.train_loss)


@settings(max_examples=80, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255), st.booleans())
@example(where=0.9223598535890588, change=52, cut=False)  # the table of contents is one array short
def test_a_file_with_any_byte_changed_or_cut_is_refused_or_the_same(whole, where, change, cut):
    """Most of a file is under a checksum; what is not (dates, padding) does not matter."""
    path, content = whole
    at = int(where * len(content))
    path.write_bytes(content[:at] if cut else content[:at] + bytes([content[at] ^ change]) + content[at + 1 :])
    try:
        same(dm.load(path), NONLINEAR)
    except ValueError as error:
        assert str(error).startswith("path: got")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = dm.save(NONLINEAR, tmp_path_factory.mktemp("storage") / "net.npz")
    return path, path.read_bytes()


def test_what_is_refused(tmp_path):
    path = dm.save(DEEP, tmp_path / "net.npz")
    assert dm.load(path) == DEEP
    whole = dm.save(dm.solve(WIDE), path).read_bytes()
    half = len(whole) // 2
    for damaged in (whole[:half], whole[:half] + bytes([whole[half] ^ 255]) + whole[half + 1 :], b"", b"not a file"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            dm.load(path)
    with np.load(dm.save(dm.solve(WIDE), path)) as file:
        parts = dict(file)
    header = json.loads(str(parts["header"]))
    for change in ({"dmftlib": "0.0.1"}, {"format": "another"}):
        np.savez(path, **(parts | {"header": np.array(json.dumps(header | change))}))
        with pytest.raises(ValueError, match="written by dmftlib"):
            dm.load(path)
    with pytest.raises(ValueError, match="result"):
        dm.save({"loss": 1.0}, path)
    custom = dm.Nonlinear(inputs=[[1.0]], targets=[1.0], hidden_layers=1, activation=lambda h: h / 2, learning_rate=0.1,
                          steps=1)  # fmt: skip
    with pytest.raises(ValueError, match="activation"):
        dm.save(custom, path)
    with pytest.raises(FileNotFoundError):
        dm.load(tmp_path / "nothing.npz")
