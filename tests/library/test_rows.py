import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dmftlib.networks import Nonlinear
from dmftlib.training import nonlinear, rows
from dmftlib.training.rows import Rows

TOGETHER = 3
LENGTH = 5
ROOM = 24


@pytest.fixture
def in_groups(monkeypatch):
    """However small, matrices are held in groups of rows."""
    monkeypatch.setattr(rows, "_LARGE", 0)
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.parametrize("counts", [(3,) * 7, (2, 3, 1, 3, 3, 2, 3, 1, 3)])
def test_groups_of_rows_are_one_matrix(in_groups, counts):
    rng = np.random.default_rng(0)
    matrix = Rows.zeros(ROOM, LENGTH, float, TOGETHER)
    assert len(matrix.groups) == 4
    plain = np.zeros((ROOM + TOGETHER, LENGTH))
    written = 0
    for count in counts:
        new = np.zeros((TOGETHER, LENGTH))
        new[:count] = rng.standard_normal((count, LENGTH))
        plain[written : written + TOGETHER] = new
        matrix = matrix.with_rows(jnp.asarray(new), count)
        written += count
        assert matrix.count == written
        np.testing.assert_array_equal(jnp.concatenate(matrix.groups), plain[:ROOM])
        for start in range(ROOM - TOGETHER + 1):
            wanted = plain[start : start + TOGETHER]
            np.testing.assert_array_equal(matrix.at(start, TOGETHER), wanted)
    left = rng.standard_normal((2, ROOM))
    right = rng.standard_normal((2, LENGTH))
    np.testing.assert_allclose(matrix.combined(left), left @ plain[:ROOM], atol=1e-14)
    np.testing.assert_allclose(matrix.inner(right), right @ plain[:ROOM].T, atol=1e-14)


def trained():
    """Predictions, by bases to which more than two directions at once are added."""
    samples = 20
    rng = np.random.default_rng(1)
    net = Nonlinear(
        inputs=rng.standard_normal((samples, 8)),
        targets=rng.standard_normal(samples),
        hidden_layers=2,
        gamma0=2.0,
        learning_rate=0.2,
        steps=4,
    )
    room = nonlinear.room_for(net, 120, 512, each_output=False)
    found = nonlinear.train(
        net, (0, 0), sites=512, room=room, tolerance=1e-2, each_output=False
    )
    assert not found.full
    return np.asarray(found.predictions)


def test_a_network_trains_the_same_in_groups(request):
    plain = trained()
    request.getfixturevalue("in_groups")
    np.testing.assert_allclose(trained(), plain, atol=1e-9)
