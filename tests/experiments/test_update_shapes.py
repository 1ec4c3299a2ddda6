"""The networks in NumPy of chapter 14: their gradients, and what is stored of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import protocol, update_shapes


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


@pytest.mark.parametrize("name", update_shapes.OPTIMISERS)
def test_stored_networks_are_those_that_are_drawn(name):
    """Their first seed lies among the stored eight."""
    stored = protocol.load("update_networks").query(f"optimiser == '{name}'")
    last = stored[(stored.quantity == "loss") & (stored.step == update_shapes.STEPS)]
    spread = last.standard_error.item() * 8**0.5
    found = update_shapes.Dense(name, update_shapes.WIDTH, 0).trained().loss
    assert abs(found - last.simulation.item()) < 3 * spread
