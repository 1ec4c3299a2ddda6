"""What is saved comes back; what is damaged, or of another version, does not."""

import copy
import dataclasses
import json
import os
import pickle
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dmftlib as dm
from dmftlib import storage
from dmftlib.fingerprint import fingerprint

DEEP = dm.DeepLinear(
    hidden_layers=2,
    width_ratio=0.8,
    sample_ratio=1.5,
    gamma0=3.0,
    learning_rate=0.05,
    steps=4,
)
WIDE = dm.WideOutput(output_ratio=0.5, input_ratio=0.7, learning_rate=0.1, steps=3)
NONLINEAR = dm.Nonlinear(
    inputs=[[1.0, 0.0], [0.5, 1.0]],
    targets=[1.0, -1.0],
    hidden_layers=2,
    learning_rate=0.1,
    steps=2,
)


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
    for simulation in (
        dm.simulate(
            DEEP, dim=30, seeds=2, spectra_at=(0, 4), overlaps=1, progress=False
        ),
        dm.simulate(WIDE, width=30, seeds=2, spectra_at=(3,)),
        dm.simulate(NONLINEAR, width=30, seeds=2, spectra_at=(2,), progress=False),
    ):
        again = dm.load(dm.save(simulation, tmp_path / "simulation.npz"))
        layer = 1 if simulation.net is NONLINEAR else 0
        at = max(simulation.net.steps, 0)
        np.testing.assert_array_equal(
            again.singular_values(layer, at), simulation.singular_values(layer, at)
        )
        np.testing.assert_array_equal(again.train_loss, simulation.train_loss)


@settings(max_examples=80, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255), st.booleans())
@example(
    where=0.9223598535890588, change=52, cut=False
)  # the table of contents is one array short
def test_a_file_with_any_byte_changed_or_cut_is_refused_or_the_same(
    whole, where, change, cut
):
    """Most of a file is under a checksum; what is not (dates, padding) does not matter."""
    path, content = whole
    at = int(where * len(content))
    path.write_bytes(
        content[:at]
        if cut
        else content[:at] + bytes([content[at] ^ change]) + content[at + 1 :]
    )
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
    for damaged in (
        whole[:half],
        whole[:half] + bytes([whole[half] ^ 255]) + whole[half + 1 :],
        b"",
        b"not a file",
    ):
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
    custom = dm.Nonlinear(
        inputs=[[1.0]],
        targets=[1.0],
        hidden_layers=1,
        activation=lambda h: h / 2,
        learning_rate=0.1,
        steps=1,
    )
    with pytest.raises(ValueError, match="activation"):
        dm.save(custom, path)
    with pytest.raises(FileNotFoundError):
        dm.load(tmp_path / "nothing.npz")


# ---- what was changed after it was written


def header_of(path):
    with np.load(path) as file:
        parts = dict(file)
    return json.loads(str(parts["header"])), parts


def forged(path, header, parts, arrays=()):
    """A file with another header, and the digest that belongs to it."""
    parts = parts | dict(arrays)
    kept = [parts[f"a{i}"] for i in range(header["arrays"])]
    header["digest"] = fingerprint([header["result"], kept])
    np.savez(path, **(parts | {"header": np.array(json.dumps(header))}))
    return path


def edited(header, *keys, value):
    """A copy in which the entry at `keys` is `value`; left out where that is ..."""
    copied = json.loads(json.dumps(header))
    at = copied["result"]
    for key in keys[:-1]:
        at = at[key]
    if value is ...:
        del at[keys[-1]]
    else:
        at[keys[-1]] = value
    return copied


def a_path(name):
    return {"class": f"dmftlib.storage:{name}", "fields": {}}


EDITS = [
    (("fields", "net", "fields", "steps"), -3),
    (("fields", "net", "fields", "steps"), 7),
    (("fields", "net", "fields", "steps"), 4.5),
    (("fields", "net", "fields", "steps"), "4"),
    (("fields", "net", "fields", "steps"), True),
    (("fields", "net", "fields", "steps"), None),
    (("fields", "net", "fields", "steps"), ...),
    (("fields", "net", "fields", "gamma0"), float("nan")),
    (("fields", "net", "fields", "gamma0"), -1.0),
    (("fields", "net", "fields", "gamma0"), None),
    (("fields", "net", "fields", "gamma0"), [1.0]),
    (("fields", "net", "fields", "more"), 1.0),
    (("fields", "net"), None),
    (("fields", "net"), 3),
    (("fields", "net"), a_path("Path")),
    (("fields", "net", "class"), "dmftlib.storage:os"),
    (("fields", "net", "class"), "dmftlib.networks:eqx"),
    (("fields", "net", "class"), "os:system"),
    (("fields", "net", "class"), "dmftlib.networks"),
    (("fields", "net", "class"), ["dmftlib.networks:DeepLinear"]),
    (("fields", "trajectory"), ...),
    (("fields", "trajectory", "fields", "train_loss"), {"array": 10**6, "jax": True}),
    (("fields", "trajectory", "fields", "train_loss"), {"array": -1, "jax": True}),
    (("fields", "trajectory", "fields", "train_loss"), {"array": "0", "jax": True}),
    (("fields", "trajectory", "fields", "train_loss"), {"array": 0}),
    (("fields", "trajectory", "fields", "train_loss"), None),
    (("fields", "trajectory", "fields", "train_loss"), {"tuple": 3}),
    (("fields", "trajectory", "fields", "train_loss"), {"activation": "tanhh"}),
    (("fields", "trajectory", "fields", "train_loss"), {"dict": [[1]]}),
    (("fields", "trajectory", "fields", "train_loss"), {"set": []}),
]


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    path = dm.save(dm.solve(DEEP), tmp_path_factory.mktemp("forged") / "x.npz")
    return header_of(path)


@pytest.mark.parametrize("keys, value", EDITS)
def test_an_edited_header_is_refused_in_words_even_with_its_digest(
    keys, value, solved, tmp_path
):
    header, parts = solved
    path = forged(tmp_path / "x.npz", edited(header, *keys, value=value), parts)
    with pytest.raises(ValueError, match="^path: got .* changed after it was written"):
        dm.load(path)


@pytest.mark.parametrize("result", [None, 3, [], {}, "x", {"class": 1}])
def test_a_header_of_something_else_is_refused_in_words(result, solved, tmp_path):
    header, parts = solved
    path = forged(tmp_path / "x.npz", header | {"result": result}, parts)
    with pytest.raises(ValueError, match="^path: got .* changed after it was written"):
        dm.load(path)


def test_other_numbers_are_refused(solved, tmp_path):
    """An array, or a number of the network, changed without a new digest; and arrays
    of another length with one.
    """
    header, parts = solved
    digest = header["digest"]
    loss = header["result"]["fields"]["trajectory"]["fields"]["train_loss"]["array"]
    other = edited(header, "fields", "net", "fields", "gamma0", value=2.5)
    forged(tmp_path / "a.npz", other, parts)
    changed, rest = header_of(tmp_path / "a.npz")
    changed["digest"] = digest
    text = np.array(json.dumps(changed))
    np.savez(tmp_path / "a.npz", **(rest | {"header": text}))
    np.savez(tmp_path / "b.npz", **(parts | {f"a{loss}": parts[f"a{loss}"] + 1}))
    forged(tmp_path / "c.npz", header, parts, {f"a{loss}": np.ones(3)})
    for name in "abc":
        with pytest.raises(ValueError, match="changed after it was written"):
            dm.load(tmp_path / f"{name}.npz")


def test_every_class_of_a_file_is_there():
    """The list of what a file may hold names classes by their modules: all exist, and
    are of dmftlib.
    """
    found = storage.classes()
    assert all(dataclasses.is_dataclass(kind) for kind in found.values())
    assert all(kind.__module__.startswith("dmftlib.") for kind in found.values())
    assert {type(DEEP), type(WIDE), type(NONLINEAR)} <= set(found.values())


# ---- whole, or not at all


@pytest.mark.slow
def test_two_writers_do_not_meet(tmp_path):
    """While two processes save to one path, whatever is there loads."""
    path = tmp_path / "x.npz"
    dm.save(DEEP, path)
    code = (
        "import sys, dmftlib as dm\n"
        "net = dm.load(sys.argv[1])\n"
        "for _ in range(150): dm.save(net, sys.argv[1])\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, path], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    loads = 0
    while any(writer.poll() is None for writer in writers):
        assert dm.load(path) == DEEP
        loads += 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert loads > 10
    assert sorted(tmp_path.iterdir()) == [path]


def test_modes_links_and_the_files_of_others_are_kept(tmp_path):
    target, link = tmp_path / "real.npz", tmp_path / "link.npz"
    own = tmp_path / "real.npz.part"
    own.write_text("mine")
    dm.save(DEEP, target)
    (tmp_path / "plain").touch()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
    target.chmod(0o640)
    link.symlink_to(target)
    dm.save(WIDE, link)
    assert link.is_symlink() and target.stat().st_mode & 0o777 == 0o640
    assert dm.load(target) == WIDE and own.read_text() == "mine"
    hanging = tmp_path / "hanging.npz"
    hanging.symlink_to(tmp_path / "new.npz")
    dm.save(DEEP, hanging)
    assert hanging.is_symlink() and dm.load(tmp_path / "new.npz") == DEEP


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    path = dm.save(DEEP, tmp_path / "x.npz")

    def sync(file):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", sync)
        with pytest.raises(OSError, match="No space left"):
            dm.save(WIDE, path)
    assert dm.load(path) == DEEP and sorted(tmp_path.iterdir()) == [path]


def test_saving_without_installed_metadata_works(tmp_path, monkeypatch):
    """As from a copied folder: the version is unknown, and a file says so."""

    def version(name):
        raise PackageNotFoundError(name)

    installed = dm.save(DEEP, tmp_path / "installed.npz")
    monkeypatch.setattr(storage, "version", version)
    assert dm.load(dm.save(DEEP, tmp_path / "x.npz")) == DEEP
    with pytest.raises(ValueError, match="written by dmftlib 0"):
        dm.load(installed)


def tanh(h):
    return h / 2


@pytest.mark.slow
def test_a_function_named_as_an_activation_is_refused_without_asserts_too(tmp_path):
    custom = custom_network(tanh)
    with pytest.raises(ValueError, match="activation: got the custom tanh"):
        dm.save(custom, tmp_path / "x.npz")
    code = (
        "import sys, dmftlib as dm\n"
        "def tanh(h): return h / 2\n"
        "net = dm.Nonlinear(inputs=[[1.0]], targets=[1.0], hidden_layers=1,\n"
        "                   activation=tanh, learning_rate=0.1, steps=1)\n"
        "try: dm.save(net, sys.argv[1])\n"
        "except ValueError: sys.exit(77)\n"
    )
    run = [sys.executable, "-O", "-c", code, tmp_path / "x.npz"]
    assert subprocess.run(run, timeout=300).returncode == 77


# ---- what travels


def custom_network(activation):
    return dm.Nonlinear(
        inputs=[[1.0, 0.5], [0.5, 1.0]],
        targets=[1.0, -1.0],
        hidden_layers=1,
        activation=activation,
        learning_rate=0.1,
        steps=1,
    )


@pytest.mark.parametrize("name", ["linear", "tanh", "erf", "relu", "gelu"])
def test_networks_travel_as_equals(name):
    cloudpickle = pytest.importorskip("cloudpickle")
    net = custom_network(name)
    for again in (
        pickle.loads(pickle.dumps(net)),
        pickle.loads(cloudpickle.dumps(net)),
        copy.deepcopy(net),
        custom_network(name),
    ):
        assert again.activation == net.activation
        assert hash(again.activation) == hash(net.activation)
        same(again, net)  # of one structure too: nothing is compiled anew


def test_networks_with_a_function_travel_as_equals():
    cloudpickle = pytest.importorskip("cloudpickle")
    net = custom_network(tanh)
    for again in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        same(again, net)
    by_lambda = custom_network(lambda h: h / (1 + h**2))
    again = pickle.loads(cloudpickle.dumps(by_lambda))
    same(again, by_lambda)
    assert float(again.activation(2.0)) == 0.4
    same(custom_network(lambda h: h / (1 + h**2)), by_lambda)
    other = custom_network(lambda h: h / (2 + h**2))
    assert jax.tree.structure(other) != jax.tree.structure(by_lambda)
    assert custom_network(tanh).activation != custom_network("tanh").activation


@pytest.mark.parametrize("function", [jnp.tanh, jax.nn.gelu, jax.nn.silu])
def test_functions_of_jax_travel_as_equals(function):
    """Those of JAX are compiled, and do not pickle by themselves."""
    cloudpickle = pytest.importorskip("cloudpickle")
    net = custom_network(function)
    for again in (
        pickle.loads(pickle.dumps(net)),
        pickle.loads(cloudpickle.dumps(net)),
        copy.deepcopy(net),
        custom_network(function),
    ):
        assert hash(again.activation) == hash(net.activation)
        same(again, net)


def test_what_could_not_be_solved_travels_with_its_finite_part():
    wild = dataclasses.replace(DEEP, learning_rate=40.0)
    with pytest.raises(dm.SolveError, match="^diverged at step") as caught:
        dm.solve(wild)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is dm.SolveError and str(again) == str(caught.value)
    same(again.solution, caught.value.solution)
