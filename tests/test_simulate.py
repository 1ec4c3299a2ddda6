import ast
import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dmftlib import simulate
from dmftlib.networks import DeepLinear
from dmftlib.simulations.deep_linear import _start, loss, predictor
from dmftlib.spectra.bulk import rectangular_law

MODULE = importlib.import_module("dmftlib.simulations.deep_linear")
NET = DeepLinear(hidden_layers=2, width_ratio=0.8, sample_ratio=1.5, gamma0=3.0, init_variance=0.5, label_noise=0.2,
                 learning_rate=0.05, steps=4)  # fmt: skip


def test_simulation_shares_no_code_with_the_theory():
    tree = ast.parse(pathlib.Path(MODULE.__file__).read_text())
    imported = {
        name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level
        for name in ([node.module] if node.module else [alias.name for alias in node.names])
    }  # fmt: skip
    assert imported <= {"checks", "networks", "activations"}


def test_leading_singular_values_are_those_of_the_whole_matrix():
    whole, leading = (simulate(NET, dim=40, seeds=2, spectra_at=(4,), ntk=False, **k) for k in ({}, {"leading": 3}))
    for layer in range(2):
        np.testing.assert_allclose(leading.singular_values(layer, 4), whole.singular_values(layer, 4)[:, :3], rtol=1e-6)


def test_seeds_do_not_depend_on_how_many_are_trained_at_once(monkeypatch):
    together = simulate(NET, dim=40, seeds=5, seed=3, spectra_at=(0, 4), overlaps=2)
    monkeypatch.setattr(MODULE, "_NUMBERS_AT_ONCE", 2 * 40 * 40 * 3)
    apart = simulate(NET, dim=40, seeds=5, seed=3, spectra_at=(0, 4), overlaps=2)
    np.testing.assert_allclose(together.train_loss, apart.train_loss, rtol=1e-10)
    np.testing.assert_allclose(together.singular_values(1, 4), apart.singular_values(1, 4), rtol=1e-8)
    other = simulate(NET, dim=40, seeds=5, seed=4)
    assert np.abs(other.train_loss / together.train_loss - 1).max() > 0.01
    left, right = together.overlaps(0, 4)
    assert left.shape == right.shape == (5, 2, 4) and together.singular_values(0, 4).shape == (5, 32)
    assert (left >= 0).all() and (left <= 1 + 1e-12).all()


def test_updates_are_those_of_the_normalised_recursion():
    """Autodiff on raw weights against M_l += (kappa/dim) g h^T, w += kappa h^L, written out."""
    simulation = simulate(NET, dim=40, seeds=1, seed=7)
    (W0, W1, w), beta, X, y = _start(NET, 40, 32, 60, np.random.default_rng([7, 0]))
    M, gamma, kappa = [W0 / np.sqrt(40), W1 / np.sqrt(32)], 3.0 * np.sqrt(0.8), 0.05 * 3.0
    train, test = [], []
    for _ in range(5):
        g = [M[0].T @ M[1].T @ w, M[1].T @ w, w]
        v = beta - g[0] / (gamma * np.sqrt(0.8))
        residual = y - X @ (beta - v) / np.sqrt(40)
        train.append(np.mean(residual**2))
        test.append(np.mean(v**2))
        d = np.sqrt(40) / 60 * X.T @ residual
        h = [d, M[0] @ d, M[1] @ (M[0] @ d)]
        M = [M[l] + kappa * np.outer(g[l + 1], h[l]) / len(h[l]) for l in range(2)]
        w = w + kappa * h[2]
    np.testing.assert_allclose(simulation.train_loss[0], train, rtol=1e-10)
    np.testing.assert_allclose(simulation.test_loss[0], test, rtol=1e-10)


@pytest.mark.parametrize("samples", [15, 45])
def test_ntk_eigenvalues_are_those_of_the_jacobian(samples):
    net = DeepLinear(hidden_layers=2, width_ratio=0.8, sample_ratio=samples / 30, gamma0=3.0, init_variance=0.5,
                     learning_rate=0.05, steps=0)  # fmt: skip
    weights, _, X, _ = _start(net, 30, 24, samples, np.random.default_rng([5, 0]))
    weights = [jnp.asarray(W) for W in weights]
    jacobian = jax.jacrev(lambda weights: X @ predictor(net, weights)[1] / jnp.sqrt(30))(weights)
    kernel = sum(J.reshape(samples, -1) @ J.reshape(samples, -1).T for J in jacobian) * 30 * net.gamma**2 / samples
    found = simulate(net, dim=30, seeds=1, seed=5, spectra_at=(0,)).ntk_eigenvalues(0)
    np.testing.assert_allclose(found[0], np.linalg.eigvalsh(kernel)[::-1], atol=1e-10)


def test_initial_spectrum_is_the_rectangular_law():
    simulation = simulate(NET, dim=400, seeds=2, spectra_at=(0,), ntk=False)
    for layer, aspect in ((0, 0.8), (1, 1.0)):
        values = np.sort(simulation.singular_values(layer, 0).ravel())
        law = rectangular_law(aspect, 0.5)
        assert np.abs(np.asarray(law.cdf(values)) - (np.arange(len(values)) + 0.5) / len(values)).max() < 0.01


def test_loss_and_target_are_normalised():
    assert loss(jnp.zeros(3), jnp.zeros((5, 3)), jnp.full(5, 2.0)) == 2.0
    _, beta, _, _ = _start(NET, 40, 32, 60, np.random.default_rng(0))
    np.testing.assert_allclose((beta**2).mean(), 1.0, rtol=1e-12)


def test_bad_input_is_refused():
    for call, name in (
        (lambda: simulate("net"), "net"), (lambda: simulate(NET, dim=0), "dim"),
        (lambda: simulate(NET, seeds=1.5), "seeds"),
        (lambda: simulate(NET, dim=40, spectra_at=(5,)), "spectra_at"),
        (lambda: simulate(DeepLinear(hidden_layers=1, width_ratio=1e-3, sample_ratio=1.0, learning_rate=0.1, steps=1),
                          dim=40), r"dim \* width_ratio"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{name}: got"):
            call()
    simulation = simulate(NET, dim=40, seeds=1, spectra_at=(0,), ntk=False)
    for call, name in (
        (lambda: simulation.singular_values(0, 1), "step"), (lambda: simulation.singular_values(2, 0), "layer"),
        (lambda: simulation.ntk_eigenvalues(0), "ntk"), (lambda: simulation.overlaps(0, 0), "overlaps"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{name}: got"):
            call()
