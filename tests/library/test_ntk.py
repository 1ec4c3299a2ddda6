import jax
import numpy as np
import pytest

from benchmarks.deep_linear import SETTING
from dmftlib import generalised_mp, rectangular_law, simulate, solve
from dmftlib.networks import DeepLinear, Nonlinear
from dmftlib.spectra.ntk import KernelSpectrum, kernel_spectrum
from dmftlib.spectra.pencil import Chain, find_edge
from dmftlib.training.deep_linear import train

BASE = {**SETTING, "steps": 20}


def network(**changes):
    return DeepLinear(**{**BASE, **changes})


def cdf(spectrum, x, step):
    """Fraction of the eigenvalues at or below the ascending points x, the first of
    which is 0.
    """
    density = spectrum.density(x, step)
    zeros = max(0.0, 1 - 1 / spectrum.aspects[-1])
    return zeros + np.concatenate(
        [[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(x))]
    )


@pytest.mark.parametrize("sample_ratio", [0.5, 1.5])
def test_start_of_one_hidden_layer_is_a_generalised_marchenko_pastur_law(sample_ratio):
    """K = X (a_0 + M^T M/nu) X^T/P with X independent of M: another algorithm, on the
    known spectrum of M.
    """
    net = network(hidden_layers=1, sample_ratio=sample_ratio, width_ratio=2.0)
    spectrum = solve(net).ntk
    inner = rectangular_law(net.width_ratio, net.init_variance)
    position, weight = inner._nodes()
    law = generalised_mp(
        net.init_variance + np.asarray(position) ** 2 / net.width_ratio,
        weight,
        1 / sample_ratio,
    )
    np.testing.assert_allclose(spectrum.edge[0], law.edges[-1][1], rtol=1e-6)
    x = spectrum.edge[0] * np.linspace(0.1, 0.95, 7)
    np.testing.assert_allclose(
        spectrum.density(x, 0), law.density(x), rtol=1e-5, atol=1e-8
    )
    assert np.isnan(spectrum.outliers[0]).all()


@pytest.mark.parametrize("layers", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_no_outliers_at_the_start_and_none_without_learning(layers):
    """The kernel of the start is that of matrices with no preferred direction, whatever
    else is known of them.
    """
    spectrum = solve(network(hidden_layers=layers)).ntk
    assert (
        np.isnan(spectrum.outliers[0]).all()
        and np.isfinite(spectrum.outliers[12]).any()
    )
    x = spectrum.edge[12] * np.sin(np.linspace(0, np.pi / 2, 2001)) ** 2
    np.testing.assert_allclose(cdf(spectrum, x, 12)[-1], 1, atol=1e-4)
    still = solve(network(hidden_layers=layers, learning_rate=1e-9)).ntk
    np.testing.assert_allclose(still.edge, still.edge[0], rtol=1e-6)
    assert np.isnan(still.outliers).all()


@pytest.mark.parametrize("layers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_lazy_kernel_is_constant(layers):
    """K -> (L+1) variance^L X X^T/P, of edge (1 + alpha^(-1/2))^2."""
    net = network(
        hidden_layers=layers,
        width_ratio=1e8,
        parameterization="ntk",
        gamma0=1.5,
        learning_rate=0.1,
    )
    solution = solve(net)
    expected = (
        (layers + 1) * net.init_variance**layers * (1 + net.sample_ratio**-0.5) ** 2
    )
    np.testing.assert_allclose(solution.sharpness, expected, rtol=1e-3)
    np.testing.assert_allclose(solution.ntk.edge, expected, rtol=1e-3)


def test_density_ends_at_the_edge():
    """At any depth and shares, with gaps in the bulk or without: the density comes from
    the complex plane, the edge from the real axis.
    """
    rng = np.random.default_rng(0)
    for _ in range(40):
        layers = rng.integers(1, 5)
        a, aspects, variance = (
            np.exp(rng.normal(0, 1.5, (1, layers + 1))),
            np.ones(layers + 1),
            np.exp(rng.normal()),
        )
        aspects[[0, -1]] = np.exp(rng.normal(0, 1, 2))
        edge = (
            Chain(find_edge(a.T, aspects, variance), a.T, aspects, variance).z
            / aspects[-1]
        )
        spectrum = KernelSpectrum(
            edge,
            *[np.full((1, 1), np.nan)] * 3,
            a,
            aspects,
            np.full((1, layers), variance),
        )
        below, above = spectrum.density(edge * [1 - 1e-4, 1 + 1e-4], 0) * edge
        assert above < 1e-4 * below


@pytest.mark.slow
def test_many_steps():
    """Two hundred steps: continuous in time, the same at a tolerance a hundred times
    smaller.
    """
    net = network(hidden_layers=1, steps=200, parameterization="ntk", sample_ratio=4.0)
    solution = solve(net)
    spectrum, finer = solution.ntk, kernel_spectrum(net, train(net, tolerance=1e-6))
    assert np.isfinite(solution.sharpness).all() and np.isfinite(
        spectrum.outliers[-1, 0]
    )
    assert np.nanmin(spectrum.outliers - spectrum.edge[:, None]) > 0
    assert (
        np.abs(np.diff(solution.sharpness)[20:] / solution.sharpness[21:]).max() < 0.02
    )
    np.testing.assert_allclose(
        np.fmax(finer.edge, finer.outliers[:, 0]), solution.sharpness, rtol=1e-3
    )


def test_step_at_which_the_threshold_is_reached():
    net = network(hidden_layers=1, learning_rate=0.25)
    solution = solve(net, throw=False)
    t = solution.edge_of_stability_step
    assert 0 < t < 20 and solution.sharpness[t] >= 2 / 0.25 > solution.sharpness[t - 1]
    assert solve(network(hidden_layers=1)).edge_of_stability_step is None


@pytest.mark.slow
def test_threshold_of_a_nonlinear_network():
    nonlinear = Nonlinear(
        inputs=np.eye(2) * 2,
        targets=[1.0, -1.0],
        hidden_layers=1,
        learning_rate=5.0,
        steps=3,
    )
    assert solve(nonlinear, throw=False).edge_of_stability_step == 0


def test_divergence_leaves_the_finite_part():
    solution = solve(
        network(hidden_layers=1, init_variance=1.0, learning_rate=1.5), throw=False
    )
    assert solution.status.startswith("diverged at step")
    alive = np.arange(21) < solution.finite_steps
    assert (np.isfinite(solution.sharpness) == alive).all()
    assert np.isnan(solution.ntk.outliers[~alive]).all()


def test_steps_beyond_the_training_and_traced_numbers_are_refused():
    with pytest.raises(ValueError, match="^step: got 21"):
        solve(network(hidden_layers=1)).ntk.density([1.0], 21)
    with pytest.raises(ValueError, match="^net: got traced"):
        few = solve(network(hidden_layers=1)).few_directions
        jax.grad(
            lambda rate: kernel_spectrum(network(learning_rate=rate), few).edge[-1]
        )(0.1)


@pytest.mark.parametrize(
    ("layers", "batch"), [(1, "full"), (2, "full"), (2, "online"), (2, 0.5)]
)
@pytest.mark.slow
def test_density_is_the_limit_of_simulation(layers, batch):
    """Mean Kolmogorov distance of a network's eigenvalues from the law: falling with
    the size.
    """
    net = network(hidden_layers=layers, batch=batch)
    spectrum = solve(net).ntk
    x = 1.5 * spectrum.edge[20] * np.sin(np.linspace(0, np.pi / 2, 4001)) ** 2
    law, distances = cdf(spectrum, x, 20), []
    for dim in (50, 400):
        values = simulate(
            net, dim=dim, seeds=3200 // dim, seed=1, spectra_at=(20,), progress=False
        ).ntk_eigenvalues(20)
        below = np.stack(
            [np.searchsorted(np.sort(each), x + 1e-9) / len(each) for each in values]
        )
        distances.append(np.abs(below - law).max(1).mean())
    assert distances[1] < 0.5 * distances[0], distances


def mode_of(net, dim, seed):
    """The top eigenvalue of the kernel at the end, and its squared cosines with
    residual and targets, by dense arrays and explicit gradients: nothing of the
    library.
    """
    rng = np.random.default_rng(seed)
    N, P, L = (
        round(net.width_ratio * dim),
        round(net.sample_ratio * dim),
        net.hidden_layers,
    )
    X = rng.standard_normal((P, dim)) / np.sqrt(dim)
    beta = rng.standard_normal(dim)
    beta *= np.sqrt(dim) / np.linalg.norm(beta)
    y = X @ beta + np.sqrt(net.label_noise) * rng.standard_normal(P)
    M = [
        rng.standard_normal((N, m)) * np.sqrt(net.init_variance / m)
        for m in [dim] + [N] * (L - 1)
    ]
    w = rng.standard_normal(N) * np.sqrt(net.init_variance)
    gamma = float(net.gamma)
    kappa = net.learning_rate * gamma / np.sqrt(net.width_ratio)
    for t in range(net.steps + 1):
        g = [w]
        for matrix in reversed(M):
            g.insert(0, matrix.T @ g[0])
        residual = y - X @ g[0] / (gamma * np.sqrt(net.width_ratio))
        h = [X.T @ residual * dim / P]
        for matrix in M:
            h.append(matrix @ h[-1])
        if t < net.steps:
            M = [
                matrix + kappa * np.outer(g[l + 1], h[l]) / len(h[l])
                for l, matrix in enumerate(M)
            ]
            w = w + kappa * h[L]
    K, forward = (
        0.0,
        X.T,
    )  # sum over layers of |g^{l+1}|^2/fan_in times the kernel of h^l
    for l in range(L + 1):
        K = K + (
            g[l + 1] @ g[l + 1] / len(forward) if l < L else 1.0
        ) * forward.T @ forward * dim**2 / (P * N)
        forward = M[l] @ forward if l < L else None
    values, vectors = np.linalg.eigh(K)
    cosines = [(vectors[:, -1] @ v) ** 2 / (v @ v) for v in (residual, y)]
    return values[-1], *cosines


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "parameterization"), [(1, "mup"), (2, "ntk")])
def test_leading_mode_against_dense_kernels(layers, parameterization):
    """Value and both overlaps within four errors; with an output scale 10% larger the
    value is off.
    """
    net = network(
        hidden_layers=layers,
        parameterization=parameterization,
        steps=8,
        sample_ratio=2.0,
    )
    spectrum = solve(net).ntk
    found = np.array([mode_of(net, 400, seed) for seed in range(12)])
    mean, error = found.mean(0), found.std(0, ddof=1) / np.sqrt(12)
    theory = np.array(
        [
            spectrum.outliers[8, 0],
            spectrum.residual_overlap[8, 0],
            spectrum.target_overlap[8, 0],
        ]
    )
    assert (np.abs(mean - theory) < 4 * error).all(), (mean, theory, error)
    wrong = solve(
        network(
            hidden_layers=layers,
            parameterization=parameterization,
            steps=8,
            sample_ratio=2.0,
            gamma0=1.1 * net.gamma0,
        )
    ).ntk
    assert abs(mean[0] - wrong.outliers[8, 0]) > 4 * error[0]


def test_kernel_on_fresh_inputs_against_networks():
    """One hidden layer by hand, f = w.W x/(gamma sqrt(N D)): the largest eigenvalue on
    samples not trained on.
    """
    net = DeepLinear(
        hidden_layers=1,
        width_ratio=1.0,
        sample_ratio=4.0,
        gamma0=4.0,
        init_variance=0.3,
        label_noise=0.1,
        learning_rate=0.1,
        steps=15,
    )
    D, found = 200, []
    for rng in map(np.random.default_rng, range(30)):
        (W, w), beta = (
            (0.3**0.5 * rng.standard_normal(shape) for shape in ((D, D), D)),
            rng.standard_normal(D),
        )
        X, fresh = rng.standard_normal((2, 4 * D, D))
        y = X @ beta / np.sqrt(D) + np.sqrt(0.1) * rng.standard_normal(4 * D)
        for _ in range(15):
            pull = (
                0.1 * 4.0 * X.T @ (y - X @ (W.T @ w) / (4.0 * D)) / len(X)
            )  # minus the gradient by the predictor
            W, w = W + np.outer(w, pull), w + W @ pull
        factor = np.linalg.cholesky(W.T @ W + w @ w * np.eye(D))
        found.append(
            [
                np.linalg.svd(x @ factor, compute_uv=False)[0] ** 2 / (len(x) * D)
                for x in (X, fresh)
            ]
        )
    mean, error = np.mean(found, 0), np.std(found, 0, ddof=1) / np.sqrt(30)
    expected = np.array(
        [
            solve(net).sharpness[15],
            kernel_spectrum(net, solve(net).few_directions, fresh_inputs=True).outliers[
                15, 0
            ],
        ]
    )
    assert (abs(mean - expected) < 3 * error).all() and (error < 0.02 * expected).all()
