import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dmftlib as dm

FIRST = dict(
    width_ratio=0.7,
    sample_ratio=1.6,
    gamma0=1.5,
    init_variance=0.8,
    label_noise=0.3,
    learning_rate=1.0,
)


def first_step(**changes):
    return dm.DeepLinear(hidden_layers=1, steps=1, **{**FIRST, **changes})


def closed_form(
    width_ratio, sample_ratio, init_variance, label_noise, learning_rate, **_
):
    """gamma0 (muP) at which one step of a network with one hidden layer makes an
    outlier.
    """
    square = (
        jnp.sqrt(width_ratio) / learning_rate**2 + 2 * init_variance / learning_rate
    )
    square = square - (1 + 1 / sample_ratio) * init_variance**2
    return jnp.sqrt(square / (1 + (1 + label_noise) / sample_ratio) / width_ratio)


def test_first_step_in_closed_form():
    expected = closed_form(**FIRST)
    found = dm.critical(lambda gamma0: first_step(gamma0=gamma0), 0, between=(0.1, 5.0))
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    for name, between in (("init_variance", (2.0, 0.5)), ("learning_rate", (0.5, 3.0))):
        found = dm.critical(
            lambda x, name=name: first_step(**{"gamma0": expected, name: x}), 0, between
        )
        np.testing.assert_allclose(found, FIRST[name], rtol=1e-7)


@pytest.mark.slow
def test_margin_changes_sign_where_an_outlier_escapes():
    net = dm.DeepLinear(
        hidden_layers=1, steps=6, **{**FIRST, "gamma0": 3.0, "learning_rate": 0.13}
    )
    solution = dm.solve(net)
    margin, values = solution.escape_margin(0), solution.outliers(0).values
    assert margin.shape == (7,) and (np.isfinite(values).sum(1) == (margin > 0)).all()
    np.testing.assert_allclose(solution.escape_margin(0, 6), margin[6], rtol=1e-12)
    assert margin[0] == -1 and (solution.escape_margin(0, number=2) < margin)[1:].all()
    step = solution.escape_step(0)
    assert 1 < step < 6 and step - 1 < solution.escape_time(0) <= step
    assert np.isnan(solution.escape_time(0, number=2))


@pytest.mark.slow
def test_second_derivative_in_closed_form():
    """1.5556 = 14/9: the critical output scale of a first step in its learning rate."""

    def found(rate):
        def network(gamma0):
            return dm.DeepLinear(
                hidden_layers=1,
                width_ratio=1.0,
                sample_ratio=2.0,
                gamma0=gamma0,
                learning_rate=rate,
                steps=1,
            )

        return dm.critical(network, 0, (0.05, 40.0))

    np.testing.assert_allclose(jax.grad(found)(1.0), -4 / 3, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(jax.grad(found))(1.0), 14 / 9, rtol=1e-6)


@pytest.mark.slow
def test_second_derivatives_are_those_of_the_closed_form():
    """In all numbers of the network, at random points."""
    names = ("width_ratio", "sample_ratio", "init_variance", "learning_rate")

    def numbers(values):
        return {**FIRST, **dict(zip(names, values, strict=True))}

    def found(values):
        return dm.critical(
            lambda gamma0: first_step(**{**numbers(values), "gamma0": gamma0}),
            0,
            (0.05, 40.0),
        )

    def expected(values):
        return closed_form(**numbers(values))

    low, high = (0.6, 1.2, 0.5, 0.6), (1.4, 2.0, 0.8, 1.0)
    for values in np.random.default_rng(0).uniform(low, high, (3, len(names))):
        second = jax.jacfwd(jax.grad(found))(values)
        np.testing.assert_allclose(
            second, jax.jacfwd(jax.grad(expected))(values), rtol=1e-5, atol=1e-6
        )


def test_bad_questions_are_refused():
    def find(between=(0.1, 5.0), layer=0, **options):
        return dm.critical(
            lambda gamma0: first_step(gamma0=gamma0), layer, between, **options
        )

    def traced(noise):
        return dm.critical(
            lambda gamma0: first_step(gamma0=gamma0, label_noise=noise), 0, (0.1, 5.0)
        )

    def diverging():
        return dm.critical(
            lambda rate: dm.DeepLinear(
                hidden_layers=1, steps=6, **{**FIRST, "learning_rate": rate}
            ),
            0,
            (0.1, 500),
        )

    for call, message in (
        (
            lambda: find((0.1, 0.2)),
            r"between: got margins -0\.\d+ at 0.1 and -0\.\d+ at 0.2",
        ),
        (lambda: find((0.1, np.nan)), "between: got nan"),
        (lambda: find(layer=1), "layer: got 1"),
        (lambda: find(step=2), "step: got 2"),
        (lambda: find(number=9), "number: got 9"),
        (lambda: find(samples=100), "samples: got"),
        (lambda: jax.jit(traced)(0.1), "make_network: got a network of"),
        (diverging, "between: got 500, where training diverged at step"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            call()


@pytest.mark.slow
def test_slopes_in_closed_form():
    names = (
        "width_ratio",
        "sample_ratio",
        "init_variance",
        "label_noise",
        "learning_rate",
    )

    def found(values):
        numbers = dict(zip(names, values, strict=True))
        return dm.critical(
            lambda gamma0: first_step(gamma0=gamma0, **numbers), 0, (0.1, 5.0)
        )

    at = [FIRST[name] for name in names]
    slopes = jax.grad(found)(at)
    expected = jax.grad(
        lambda values: closed_form(**dict(zip(names, values, strict=True)))
    )(at)
    np.testing.assert_allclose(slopes, expected, rtol=1e-6)


@pytest.mark.slow
def test_slopes_along_a_trajectory_match_finite_differences():
    def found(variance):
        return dm.critical(
            lambda gamma0: dm.DeepLinear(
                hidden_layers=2,
                width_ratio=1.0,
                sample_ratio=1.5,
                gamma0=gamma0,
                init_variance=variance,
                label_noise=0.2,
                learning_rate=0.05,
                steps=12,
            ),
            1,
            (0.5, 4.0),
        )

    difference = (found(0.5 + 1e-4) - found(0.5 - 1e-4)) / 2e-4
    np.testing.assert_allclose(jax.grad(found)(0.5), difference, rtol=1e-4)


@pytest.mark.slow
def test_nonlinear_network():
    """Two samples: one outlier above the critical output scale and none below, and its
    slope, through leading queries that move.
    """
    inputs = np.random.default_rng(0).standard_normal((2, 3))
    few = dict(samples=1024, batches=2)

    def network(gamma0, variance=1.0):
        return dm.Nonlinear(
            inputs=inputs,
            targets=[1.0, -1.0],
            hidden_layers=2,
            gamma0=gamma0,
            init_variance=variance,
            learning_rate=0.5,
            steps=6,
        )

    def found(variance):
        return dm.critical(
            lambda gamma0: network(gamma0, variance), 1, (0.5, 6.0), **few
        )

    root = found(1.0)
    for factor, count in ((0.99, 0), (1.01, 1)):
        assert (
            len(dm.solve(network(factor * root), **few).outliers(1, 6).values) == count
        )
    difference = (found(1.01) - found(0.99)) / 0.02
    np.testing.assert_allclose(jax.grad(found)(1.0), difference, rtol=0.03)


@pytest.mark.slow
def test_second_derivatives_of_a_nonlinear_network_match_differences():
    """At random points; forward over forward, and reverse of reverse once."""

    def found(variance):
        def network(gamma0):
            return dm.Nonlinear(
                inputs=[[1.0, 0.5]],
                targets=[1.0],
                hidden_layers=2,
                gamma0=gamma0,
                init_variance=variance,
                learning_rate=0.5,
                steps=2,
            )

        return dm.critical(network, 1, (0.5, 8.0), samples=256, batches=1, rank=4)

    first = jax.jacfwd(found)
    step = 1e-3
    for variance in np.random.default_rng(0).uniform(0.9, 1.3, 2):
        second = jax.jacfwd(first)(variance)
        difference = (first(variance + step) - first(variance - step)) / (2 * step)
        np.testing.assert_allclose(second, difference, rtol=1e-4)
    np.testing.assert_allclose(jax.grad(jax.grad(found))(variance), second, rtol=1e-9)
