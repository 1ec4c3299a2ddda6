import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import nine_outliers

WIDTH = 16


@pytest.fixture
def few(monkeypatch):
    """Six images, three steps."""
    monkeypatch.setattr(nine_outliers, "IMAGES", 6)
    monkeypatch.setattr(nine_outliers, "STEPS", 3)
    monkeypatch.setattr(nine_outliers, "MARKS", (0, 1, 2, 3))
    images = nine_outliers.data(6)
    monkeypatch.setattr(nine_outliers, "data", lambda: images)
    return images


def by_autodiff(x, y, rng):
    """Losses and spectra of W^1 of the same network, its gradients by JAX."""
    gamma0, rate = nine_outliers.GAMMA0, nine_outliers.RATE
    shapes = (WIDTH, x.shape[1]), (WIDTH, WIDTH), (10, WIDTH)
    weights = [jnp.asarray(rng.standard_normal(shape)) for shape in shapes]

    def loss(weights):
        W0, W1, w = weights
        first = jnp.tanh(x @ W0.T / np.sqrt(x.shape[1]))
        second = jnp.tanh(first @ W1.T / np.sqrt(WIDTH))
        f = second @ w.T / (gamma0 * WIDTH)
        return ((y - f) ** 2).sum(1).mean() / 2

    losses, spectra = [], []
    for _ in range(nine_outliers.STEPS + 1):
        losses.append(2 * loss(weights))
        values = np.linalg.svd(weights[1] / np.sqrt(WIDTH), compute_uv=False)
        spectra.append(values[: nine_outliers.SHOWN])
        slopes = jax.grad(loss)(weights)
        step = rate * gamma0**2 * WIDTH
        weights = [W - step * slope for W, slope in zip(weights, slopes, strict=True)]
    return np.array(losses), np.array(spectra)


def test_gradients_by_hand_are_those_of_autodiff(few):
    losses, spectra = by_autodiff(*few, np.random.default_rng(1))
    row = nine_outliers.trained(WIDTH, np.random.default_rng(1))
    for t in nine_outliers.MARKS:
        np.testing.assert_allclose(row[f"loss, step {t}"], losses[t], rtol=1e-10)
        ours = [row[f"value {k}, step {t}"] for k in range(1, nine_outliers.SHOWN + 1)]
        np.testing.assert_allclose(ours, spectra[t], rtol=1e-8)
    assert losses[-1] < 0.9 * losses[0]
