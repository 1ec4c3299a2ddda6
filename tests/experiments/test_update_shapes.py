"""The networks in NumPy of chapter 14: gradients and optimisers are what they are called."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dmftlib.training.muon import orthogonalised
from experiments import protocol, update_shapes

rng = np.random.default_rng(0)
PULLS = rng.standard_normal((4, 5, 3))


def final(rule):
    return sum(rule.step(pull) for pull in PULLS)


def test_muon_moves_by_the_polynomial_of_its_buffer():
    usual = ((3.4445, -4.7750, 2.0315),) * 5
    buffer, moved = 0.0, 0.0
    for pull in PULLS:
        buffer = 0.8 * buffer + pull
        moved = moved + 0.1 * orthogonalised(jnp.asarray(buffer), usual)
    np.testing.assert_allclose(final(update_shapes.Orthogonal(0.1, 0.8)), moved)


def test_adam_moves_as_optax_does():
    rule = optax.adam(0.1, b1=0.9, b2=0.95, eps=0.01)
    weights = jnp.zeros(PULLS[0].shape)
    memory = rule.init(weights)
    for pull in PULLS:
        with jax.numpy_dtype_promotion("standard"):
            step, memory = rule.update(-jnp.asarray(pull), memory)
        weights = weights + step
    found = final(update_shapes.Entrywise(0.1, **update_shapes.ADAM))
    np.testing.assert_allclose(found, weights, rtol=1e-12)
    signs = final(update_shapes.Entrywise(0.1, **update_shapes.SIGN))
    np.testing.assert_allclose(signs, 0.1 * np.sign(PULLS).sum(0))


@pytest.mark.parametrize("samples", [6, 12])
def test_gradient_descent_goes_down_the_loss(samples):
    """A step of the library's units, of which the gradient is taken by JAX: half the
    loss at the raw rate eta gamma0^2 N.
    """
    dense = update_shapes.Dense("gradient descent", 20, 0, samples=samples)
    raw = (dense.W0, 20**0.5 * dense.M, dense.w)

    def half_the_loss(weights):
        W0, W1, w = weights
        first = jnp.tanh(dense.x @ W0.T / dense.x.shape[1] ** 0.5)
        second = jnp.tanh(first @ W1.T / 20**0.5)
        f = second @ w.T / (update_shapes.GAMMA * 20)
        return jnp.sum((dense.y - f) ** 2) / (2 * samples)

    np.testing.assert_allclose(dense.loss, 2 * half_the_loss(raw))
    slope = jax.grad(half_the_loss)(raw)
    rate = update_shapes.RATE * update_shapes.GAMMA**2 * 20
    dense.update()
    after = (dense.W0, 20**0.5 * dense.M, dense.w)
    for was, now, gradient in zip(raw, after, slope, strict=True):
        np.testing.assert_allclose(now, was - rate * gradient, atol=1e-12)


def test_networks_have_the_losses_that_theory_says():
    told = protocol.load("update_theory")
    last = told[(told.quantity == "loss") & (told.step == update_shapes.STEPS)]
    assert list(last.optimiser) == list(update_shapes.OPTIMISERS)
    for name, loss in zip(last.optimiser, last.theory, strict=True):
        found = [update_shapes.Dense(name, 200, s).trained().loss for s in range(8)]
        error = np.std(found, ddof=1) / 8**0.5
        assert abs(np.mean(found) - loss) < 4 * error + 0.01, name
