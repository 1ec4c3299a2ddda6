import jax.numpy as jnp
import numpy as np
import pytest

from dmftlib.training.gaussian import GaussianMatrix


def power_iteration(aspect, variance, steps, capacity=None):
    """<v v_t>, v_t = (M^T M)^t v from a random v."""
    capacity = steps if capacity is None else capacity
    matrix = GaussianMatrix(
        aspect, variance, capacity, capacity + 1, capacity, right_start=1
    )
    v = start = jnp.zeros(capacity + 1).at[0].set(1.0)
    overlaps = []
    for _ in range(steps):
        matrix, _, u = matrix.forward(v)
        matrix, _, v = matrix.backward(u)
        overlaps.append(float(start @ v))
    return np.array(overlaps), matrix


def test_power_iteration_gives_catalan_numbers():
    overlaps, matrix = power_iteration(1.0, 1.0, 8)
    np.testing.assert_allclose(overlaps, [1, 2, 5, 14, 42, 132, 429, 1430], rtol=1e-12)
    assert int(matrix.left_rank) == int(matrix.right_rank) == 8 and matrix.dropped == 0


@pytest.mark.parametrize(("aspect", "variance"), [(0.3, 1.0), (2.5, 0.7)])
def test_power_iteration_gives_moments_of_marchenko_pastur(aspect, variance):
    edges = variance * (1 + np.array([-1, 1]) * np.sqrt(aspect)) ** 2
    angle = np.linspace(0, np.pi, 20001)
    x = edges.mean() + np.diff(edges)[0] / 2 * np.cos(angle)
    density = np.sqrt(np.maximum((edges[1] - x) * (x - edges[0]), 0)) / (
        2 * np.pi * variance * x
    )
    moments = [
        np.trapezoid(x**k * density * np.diff(edges)[0] / 2 * np.sin(angle), angle)
        for k in range(1, 6)
    ]
    np.testing.assert_allclose(
        power_iteration(aspect, variance, 5)[0], moments, rtol=1e-6
    )


def test_any_linear_algorithm_against_a_large_matrix():
    """Queries of both sides in no particular order, with momentum, beside a real
    matrix.
    """
    aspect, variance, m, steps = 1.6, 0.5, 3000, 5
    n = int(aspect * m)
    rng = np.random.default_rng(0)
    M = rng.standard_normal((n, m)) * np.sqrt(variance / m)
    h, g = rng.standard_normal(m), rng.standard_normal(n)
    matrix = GaussianMatrix(
        aspect, variance, steps + 1, steps + 1, steps, left_start=1, right_start=1
    )
    h_theory = g_theory = jnp.zeros(steps + 1).at[0].set(1.0)
    for t in range(steps):
        matrix, _, forward = matrix.forward(h_theory)
        matrix, _, backward = matrix.backward(g_theory + 0.5 * forward)
        h, g, h_theory, g_theory = (
            0.3 * h + M.T @ (g + 0.5 * M @ h),
            g - (t % 2) * M @ h,
            0.3 * h_theory + backward,
            g_theory - (t % 2) * forward,
        )
        assert abs(h @ h / m / (h_theory @ h_theory) - 1) < 6 / np.sqrt(m)
        assert abs(g @ g / n / (g_theory @ g_theory) - 1) < 6 / np.sqrt(m)
        assert (
            abs(g @ M @ h / n - g_theory @ matrix.forward(h_theory)[2])
            < 6 / np.sqrt(m) * (g @ g + h @ h) / m
        )


def test_answers_are_consistent():
    """<g M h> is the same from either side, and a repeated query reveals nothing new."""
    rng = np.random.default_rng(1)
    matrix = GaussianMatrix(0.4, 1.3, 12, 12, 6, left_start=2, right_start=2)
    own = jnp.asarray(rng.standard_normal((2, 12)) * (np.arange(12) < 2))
    h, g = own
    for _ in range(4):
        matrix, _, image = matrix.forward(h)
        g = g + image
        matrix, _, image = matrix.backward(g)
        h = h - 0.5 * image
    matrix, _, image_h = matrix.forward(h)
    again, coordinates, image_g = matrix.backward(g)
    np.testing.assert_allclose(g @ image_h, image_g @ h / matrix.aspect, rtol=1e-12)
    assert again.left_rank == matrix.left_rank
    np.testing.assert_allclose(coordinates @ matrix.left_basis, g, atol=1e-12)


def test_responses_are_those_of_stein():
    """h_1 = a h_0 + b M^T g with g = M h_0: by hand, B = 1 and, over unit directions, A
    = b |g| / |rest of h_1|.
    """
    variance, aspect, b = 0.8, 1.5, -0.3
    matrix = GaussianMatrix(aspect, variance, 2, 3, 2, right_start=1)
    h = jnp.array([1.0, 0.0, 0.0])
    matrix, _, g = matrix.forward(h)
    matrix, _, image = matrix.backward(g)
    matrix, _, _ = matrix.forward(b * image)
    np.testing.assert_allclose(
        matrix.left_response[0, 0], 1 / np.sqrt(variance), rtol=1e-12
    )
    np.testing.assert_allclose(
        image[0], variance * aspect, rtol=1e-12
    )  # memory: <h M^T M h>
    np.testing.assert_allclose(
        abs(matrix.right_response[1, 0]), 1 / np.sqrt(variance * aspect), rtol=1e-12
    )
    np.testing.assert_allclose(matrix.right_response[0, 0], 0.0, atol=1e-15)


def test_want_of_room_is_reported():
    matrix = power_iteration(1.0, 1.0, 6, capacity=3)[1]
    assert matrix.dropped > 0.1 and int(matrix.right_rank) == 3


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"aspect": 0.0}, "aspect"),
        ({"variance": float("nan")}, "variance"),
        ({"capacity": 0}, "capacity"),
        ({"left_dim": 3}, "left_dim"),
        ({"right_start": -1}, "right_start"),
    ],
)
def test_bad_input_is_refused(change, name):
    good = dict(aspect=1.0, variance=1.0, left_dim=4, right_dim=4, capacity=4)
    with pytest.raises(ValueError, match=f"^{name}: got"):
        GaussianMatrix(**{**good, **change})


def test_directions_stay_orthogonal_where_queries_are_nearly_the_same():
    """Queries 1e-7 apart: the new direction is first known to nine digits, and then
    made orthogonal again.
    """
    matrix = GaussianMatrix(1.0, 1.0, 6, 6, 4, left_start=1, right_start=2)
    for k in range(3):
        matrix, _, _ = matrix.forward(jnp.ones(6).at[k].add(1e-7 * (k + 1)))
    assert int(matrix.right_rank) == 3
    gram = np.asarray(matrix.right_basis @ matrix.right_basis.T)[:3, :3]
    np.testing.assert_allclose(gram, np.eye(3), atol=1e-14)
