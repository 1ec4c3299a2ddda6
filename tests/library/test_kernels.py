"""Kernels before training: closed forms, quadrature, samples of Gaussian fields, and
the solver.
"""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

import dmftlib as dm
from dmftlib.kernels import kernel_at_start

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 5))
SETTING = dict(
    inputs=X,
    targets=[1.0, -1.0, 0.5],
    hidden_layers=2,
    init_variance=0.8,
    learning_rate=0.1,
    steps=1,
)


def network(activation, **changes):
    return dm.Nonlinear(**{**SETTING, "activation": activation, **changes})


def test_linear_layers_multiply_the_kernel():
    kernels = kernel_at_start(network("linear"))
    inputs = X @ X.T / 5
    assert_allclose(kernels.features[1], 0.64 * inputs, rtol=1e-14)
    assert_allclose(kernels.gradients, [np.full((3, 3), 0.64), np.full((3, 3), 0.8)])
    # (L + 1) variance^L times the kernel of the inputs
    assert_allclose(kernels.tangent, 3 * 0.64 * inputs, rtol=1e-14)


PLAIN = {
    "erf": (lambda h: np.vectorize(__import__("math").erf)(h / np.sqrt(2)), None),
    "relu": (lambda h: np.maximum(h, 0), lambda h: (h > 0).astype(float)),
    "tanh": (np.tanh, lambda h: 1 - np.tanh(h) ** 2),
}


@pytest.mark.parametrize("name", PLAIN)
def test_first_layer_against_draws_of_two_gaussian_fields(name):
    phi, slope = PLAIN[name]
    count = 200_000 if name == "erf" else 1_000_000
    kernels = kernel_at_start(network(name, hidden_layers=1))
    root = np.linalg.cholesky(0.8 * X @ X.T / 5)
    h = root @ np.random.default_rng(1).standard_normal((3, count))
    pairs = [(phi(h), kernels.features[0], 1.0)]
    if slope is not None:
        pairs.append((slope(h), kernels.gradients[0], 0.8))
    for drawn, expected, factor in pairs:
        for i in range(3):
            for j in range(3):
                product = factor * drawn[i] * drawn[j]
                error = product.std() / np.sqrt(count)
                assert abs(product.mean() - expected[i, j]) < 4.5 * error


def test_quadrature_is_the_closed_form_of_a_smooth_function():
    """erf written by a user, for whom there is no closed form; and a named function of
    the same name is not taken for it.
    """

    def erf(h):
        return jax.scipy.special.erf(h / np.sqrt(2.0))

    def relu(h):
        return jax.numpy.tanh(h)

    ours, theirs = (kernel_at_start(network(f)) for f in ("erf", erf))
    assert_allclose(theirs.features[1], ours.features[1], rtol=1e-12)
    assert_allclose(theirs.tangent, ours.tangent, rtol=1e-12)
    assert_allclose(
        kernel_at_start(network(relu)).tangent,
        kernel_at_start(network("tanh")).tangent,
        rtol=1e-12,
    )


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["erf", "relu", "tanh"])
def test_the_solver_starts_from_these_kernels(activation):
    """Within four of its standard errors and the bias of order one over the sites of a
    batch.
    """
    net = network(activation, steps=0)
    exact = kernel_at_start(net)
    solution = dm.solve(net, samples=8192, batches=8)
    for l in (1, 2):
        error = solution.standard_error(lambda s, l=l: s.feature_kernel(l))
        gap = np.abs(solution.feature_kernel(l)[0] - exact.features[l - 1])
        assert (gap < 4 * error[0] + 3e-3).all()
    kernel = solution.ntk.kernel[0]
    assert_allclose(kernel, exact.tangent / 3, rtol=0.02, atol=0.01)


def test_kernels_between_test_and_training_inputs():
    both = kernel_at_start(network("erf", test_inputs=X[:2]))
    alone = kernel_at_start(network("erf"))
    assert both.tangent.shape == (5, 5)
    assert_allclose(both.tangent[:3, :3], alone.tangent, rtol=1e-12)
    assert_allclose(both.tangent[3:, :3], alone.tangent[:2], rtol=1e-12)


def test_other_networks_and_traced_numbers_are_refused():
    with pytest.raises(ValueError, match="^net: got NoneType; needed: a Nonlinear"):
        kernel_at_start(None)
    with pytest.raises(ValueError, match="^net: got traced"):
        jax.grad(
            lambda v: kernel_at_start(network("erf", init_variance=v)).tangent[0, 0]
        )(1.0)
