"""What the checks at the boundary know of the machine: its memory, and the limits of
containers and processes.
"""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dmftlib as dm
from dmftlib import _checks


def groups(tmp_path, text, files):
    """A made-up /proc/self/cgroup and tree of groups."""
    membership = tmp_path / "cgroup"
    membership.write_text(text)
    root = tmp_path / "tree"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return _checks._cgroup_limits(membership, root)


def test_the_limit_of_a_container_is_the_least_of_its_groups(tmp_path):
    found = groups(
        tmp_path,
        "0::/pod/box\n",
        {
            "pod/box/memory.max": "max\n",
            "pod/memory.max": "2147483648\n",
            "memory.max": "9000000000\n",
        },
    )
    assert min(found) == 2**31


def test_the_first_version_of_groups_is_known_too(tmp_path):
    found = groups(
        tmp_path,
        "5:cpu:/x\n4:memory:/box\n",
        {
            "memory/box/memory.limit_in_bytes": "1073741824\n",
            "cpu/x/memory.limit_in_bytes": "1\n",
        },
    )
    assert min(found) == 2**30


def test_no_groups_are_no_limit(tmp_path):
    assert _checks._cgroup_limits(tmp_path / "none", tmp_path) == []


@pytest.mark.parametrize("how", ["ulimit -v", "ulimit -d"])
def test_the_limits_of_the_process_are_respected(how):
    """A network of 4 GB under a limit of 6 GB, of which the process itself takes some,
    is refused; on the machine itself it is not.
    """
    pytest.importorskip("resource")
    size = 6 * 2**20  # in KiB
    code = (
        f"from {_checks.__name__} import available_memory\n"
        f"print(available_memory() <= {size} * 1024)"
    )
    words = f'{how} {size}; exec "$0" -c "$1"'
    done = subprocess.run(
        ["bash", "-c", words, sys.executable, code],
        capture_output=True,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.stdout.strip() == "True", done.stderr


def test_a_system_that_tells_nothing_has_no_limit(monkeypatch):
    monkeypatch.delattr(os, "sysconf")
    assert _checks._physical() == np.inf
    monkeypatch.setattr(_checks, "_cgroup_limits", lambda: [])
    monkeypatch.setattr(_checks, "_own_limits", lambda: [])
    assert _checks.available_memory() == np.inf
    _checks.memory("dim", 3, 1e30, "less")  # nothing is known, and nothing refused


def test_what_needs_more_than_a_container_has_is_refused(monkeypatch):
    monkeypatch.setattr(_checks, "_cgroup_limits", lambda: [2.0**24])
    net = dm.DeepLinear(
        hidden_layers=1, width_ratio=1.0, sample_ratio=1.0, learning_rate=0.1, steps=1
    )
    with pytest.raises(ValueError, match="^dim: got 2000, which needs .* 0.0 GiB"):
        dm.simulate(net, dim=2000, seeds=1)


@pytest.mark.parametrize(
    "whole", [3, np.int8(3), np.array(3), jnp.array(3), np.argmax([0, 1, 2, 5])]
)
def test_whole_numbers_of_every_type_are_taken(whole):
    taken = _checks.integer("n", whole, 1)
    assert taken == 3 and type(taken) is int


@pytest.mark.parametrize("no", [np.array([3]), np.array(3.0), np.array(True), 3.0])
def test_what_is_no_whole_number_is_refused(no):
    with pytest.raises(ValueError, match="^n: got"):
        _checks.integer("n", no, 1)


@pytest.mark.parametrize(
    "narrow", [np.int8(2), np.float16(2), jnp.bfloat16(2), np.array(2), True + 1]
)
def test_numbers_are_floats_whatever_they_came_as(narrow):
    taken = _checks.positive("x", narrow)
    assert taken == 2 and type(taken) is float
    traced = jax.make_jaxpr(lambda x: _checks.positive("x", x))(jnp.asarray(narrow))
    assert traced.out_avals[0].dtype == float


@pytest.mark.parametrize("narrow", [np.int8, np.float16, np.uint8])
def test_every_number_of_every_network_is_converted(narrow):
    two = narrow(2)
    deep = dm.DeepLinear(
        hidden_layers=1,
        width_ratio=two,
        sample_ratio=two,
        gamma0=two,
        init_variance=two,
        label_noise=two,
        learning_rate=two,
        steps=narrow(2) if np.issubdtype(narrow, np.integer) else 2,
        batch=np.float16(0.5),
    )
    wide = dm.WideOutput(
        output_ratio=two,
        input_ratio=two,
        target_variance=two,
        gamma0=two,
        init_variance=two,
        learning_rate=two,
        steps=2,
    )
    tanh = dm.Nonlinear(
        inputs=np.array([[1, 2], [3, 4]], narrow),
        targets=np.array([1, 2], narrow),
        test_inputs=np.array([[1, 2]], narrow),
        hidden_layers=1,
        gamma0=two,
        init_variance=two,
        learning_rate=two,
        steps=2,
    )
    for net in (deep, wide, tanh):
        for name, value in vars(net).items():
            if isinstance(value, jax.Array):
                assert value.dtype == float, name
            else:
                known = type(value) in (bool, int, float, str, type(None), _checks.Zero)
                assert known or name in ("activation", "loss"), name


def test_inputs_that_are_transposed_are_asked_about():
    kind = dict(hidden_layers=1, learning_rate=0.1, steps=1)
    with pytest.raises(ValueError, match="^inputs: got .*are the inputs transposed"):
        dm.Nonlinear(inputs=np.ones((2, 5)), targets=np.ones(5), **kind)
    with pytest.raises(ValueError, match="^test_inputs: got .*transposed"):
        dm.Nonlinear(
            inputs=np.ones((5, 2)),
            targets=np.ones(5),
            test_inputs=np.ones((2, 3)),
            **kind,
        )
    square = dm.Nonlinear(inputs=np.ones((5, 5)), targets=np.ones(5), **kind)
    assert square.inputs.shape == (5, 5)


def test_help_writes_no_file(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dmftlib", "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "usage: python -m dmftlib" in done.stdout, done.stderr
    assert not os.listdir(tmp_path)
