import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf
from scipy.stats import norm

from dmftlib.activations import Activation, activation

NAMES = ("linear", "tanh", "erf", "relu", "gelu")
POINTS = np.array([-3.0, -0.7, 0.2, 1.1, 4.0])


@pytest.mark.parametrize("name", NAMES)
def test_derivative_is_that_of_the_function(name):
    phi = activation(name)
    slopes = (phi(POINTS + 1e-6) - phi(POINTS - 1e-6)) / 2e-6
    np.testing.assert_allclose(phi.derivative(POINTS), slopes, atol=1e-8)


def test_values_are_those_of_scipy():
    np.testing.assert_allclose(
        activation("erf")(POINTS), erf(POINTS / np.sqrt(2)), rtol=1e-12
    )
    np.testing.assert_allclose(
        activation("gelu")(POINTS), POINTS * norm.cdf(POINTS), rtol=1e-10, atol=1e-14
    )
    np.testing.assert_allclose(activation("tanh")(POINTS), np.tanh(POINTS), rtol=1e-12)
    np.testing.assert_allclose(activation("relu")(POINTS), np.maximum(POINTS, 0))


def test_only_relu_is_kinked_among_the_named():
    assert [name for name in NAMES if activation(name).kinked] == ["relu"]


def test_custom_functions_and_their_kinks():
    assert activation("tanh") is activation(activation("tanh"))
    smooth = activation(lambda h: jnp.sin(h) + h)
    assert isinstance(smooth, Activation) and not smooth.kinked
    np.testing.assert_allclose(
        smooth.derivative(POINTS[:, None]), np.cos(POINTS)[:, None] + 1
    )
    assert activation(lambda h: jnp.maximum(0.1 * h, h)).kinked
    assert jax.jit(smooth)(POINTS).shape == POINTS.shape


@pytest.mark.parametrize(
    "function",
    [
        lambda h: h + jnp.sign(h),
        lambda h: jnp.maximum(h, 9.0),
        lambda h: jnp.abs(h - 20.0),
        lambda h: jnp.where(h < -5000.0, 0.0, jnp.tanh(h)),
        lambda h: h + jnp.floor(h / 30.0),
        lambda h: jnp.clip(h, -50.0, 50.0),
        lambda h: jax.nn.relu(h - 12.0),
        lambda h: jax.lax.cond(h > 17.0, lambda x: 17.0 + 0 * x, lambda x: x, h),
        lambda h: h + jnp.round(h / 100.0),
        lambda h: jnp.where(h > 9.25, h + 1e-3, h),
    ],
)
def test_jumps_and_kinks_are_seen_however_far_out(function):
    assert activation(function).kinked


@pytest.mark.parametrize(
    "function",
    [
        jax.nn.softplus,
        jax.nn.elu,
        jax.nn.silu,
        lambda h: jnp.where(jnp.abs(h) < 1e-2, h - h**3 / 6 + h**5 / 120, jnp.sin(h)),
        lambda h: h + jnp.sin(3 * h),
        lambda h: jnp.where(h > 2.0, 4 * (h - 1), jnp.where(h > 0.0, h**2, 0.0)),
    ],
)
def test_smooth_functions_in_pieces_are_not_taken_for_kinked(function):
    assert not activation(function).kinked


@pytest.mark.parametrize(
    "bad",
    [
        "swish",
        3,
        None,
        lambda h: h**2,
        jnp.exp,
        jnp.log,
        lambda h: jnp.stack([h, h]),
        lambda h, k: h,
    ],
)
def test_what_is_refused(bad):
    with pytest.raises(ValueError, match="activation: got .*needed: one of 'linear'"):
        activation(bad)
