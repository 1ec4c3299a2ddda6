import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.deep_linear import SETTING, plain_loop
from dmftlib import SolveError, simulate, solve
from dmftlib.networks import DeepLinear
from dmftlib.spectra.outliers import SpikedEnsemble, outliers
from dmftlib.spectra.trajectory import outlier_trajectory
from dmftlib.training.deep_linear import query_capacity, train

NUMBERS = ("width_ratio", "sample_ratio", "gamma0", "init_variance", "label_noise", "learning_rate")
BASE = {**SETTING, "steps": 20}


def network(**changes):
    return DeepLinear(**{**BASE, **changes})


@pytest.mark.parametrize("changes", [
    {}, {"hidden_layers": 1, "parameterization": "ntk", "sample_ratio": 0.5}, {"hidden_layers": 3, "label_noise": 0.0},
])  # fmt: skip
def test_conditioning_form_is_the_response_form(changes):
    """Orthonormal directions, dropped at 4e-10, against full coefficients: losses, Grams and responses."""
    setting = {**BASE, **changes}
    solution, plain = solve(DeepLinear(**setting)), plain_loop(**setting)
    assert solution.ok
    np.testing.assert_allclose(solution.train_loss, plain["train_loss"], rtol=1e-8)
    np.testing.assert_allclose(solution.test_loss, plain["test_loss"], rtol=1e-8)
    for layer in range(setting["hidden_layers"]):
        history = solution.weight_history(layer)
        np.testing.assert_allclose(history.left_gram, plain["left_gram"][layer][:20, :20], rtol=1e-8)
        np.testing.assert_allclose(history.right_gram, plain["right_gram"][layer][:20, :20], rtol=1e-8)
    short = {**setting, "steps": 4}
    plain = plain_loop(**short)
    for layer, history in enumerate(train(DeepLinear(**short)).layers):
        B, A = history.responses()
        np.testing.assert_allclose(B, plain["left_response"][layer][:4, :4], atol=1e-7)
        np.testing.assert_allclose(A, plain["right_response"][layer][:4, :4], atol=1e-7)


@pytest.mark.slow
def test_outliers_from_responses_of_the_plain_loop():
    """Level 2 in its response form on the Grams and responses of the plain loop, against the compressed trajectory."""
    setting = {**BASE, "steps": 5}
    plain, solution = plain_loop(**setting), solve(DeepLinear(**setting))
    kappa = BASE["learning_rate"] * BASE["gamma0"]  # muP: gamma / sqrt(nu) = gamma0
    for layer, aspect in ((0, BASE["width_ratio"]), (1, 1.0)):
        parts = {name: plain[name][layer][:5, :5] for name in ("left_gram", "right_gram", "left_response",
                                                                "right_response")}  # fmt: skip
        strong = 3.0  # far above the edge
        spiked = SpikedEnsemble(aspect=aspect, variance=BASE["init_variance"], strengths=strong * kappa * np.eye(5),
                                **parts)  # fmt: skip
        history = solution.weight_history(layer)
        stronger = type(history)(history.aspect, history.variance, history.left_queries, history.right_queries,
                                 history.left_response, history.right_response, strong * history.rates)  # fmt: skip
        np.testing.assert_allclose(outliers(spiked).values, outlier_trajectory(stronger, step=5).values, rtol=1e-6)


def test_first_step_spike_in_closed_form():
    """One hidden layer: w is independent of M_0, and d = C (beta - scale M_0^T w) + noise answers by -scale <C>."""
    net = network(hidden_layers=1, steps=1, gamma0=2.0, learning_rate=1.5)
    nu, alpha, variance = net.width_ratio, net.sample_ratio, net.init_variance
    scale = 1 / (net.gamma * np.sqrt(nu))
    square = 1 + scale**2 * variance**2 * nu  # |v|^2/D
    d_square = (1 + 1 / alpha) * square + net.label_noise / alpha
    spiked = SpikedEnsemble(
        aspect=nu, variance=variance, left_gram=[[variance]], right_gram=[[d_square]], right_response=[[-scale]],
        strengths=[[net.learning_rate * net.gamma / np.sqrt(nu)]],
    )
    expected = outliers(spiked)
    assert len(expected.values) == 1
    found = solve(net).outliers(0, 1)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-9)
    np.testing.assert_allclose(found.left_overlap, expected.left_overlap, rtol=1e-6)
    np.testing.assert_allclose(found.right_overlap, expected.right_overlap, rtol=1e-6)


@pytest.mark.slow
def test_no_outliers_at_the_start():
    solution = solve(network())
    for layer, edge in ((0, np.sqrt(0.5) * (1 + np.sqrt(0.8))), (1, 2 * np.sqrt(0.5))):
        assert len(solution.outliers(layer, 0).values) == 0
        np.testing.assert_allclose(solution.bulk(layer, 0).edges[0][1], edge, rtol=1e-12)
        escape = solution.escape_step(layer)
        assert 0 < escape < 20
        assert len(solution.outliers(layer, escape).values) == 1
        assert len(solution.outliers(layer, escape - 1).values) == 0
    assert solution.escape_step(0, number=5) is None


def test_trajectory_of_outliers_is_the_single_steps():
    solution = solve(network())
    whole = solution.outliers(1)
    for step in (0, 6, 13, 20):
        one = solution.outliers(1, step)
        np.testing.assert_allclose(whole.values[step, : len(one.values)], one.values, rtol=1e-12)
        np.testing.assert_allclose(whole.left_overlap[step, : len(one.values)], one.left_overlap, atol=1e-10)
        assert np.isnan(whole.values[step, len(one.values) :]).all()


def population(net, dim, seed):
    """Population gradient descent at finite size, d = v."""
    rng = np.random.default_rng(seed)
    width, kappa = round(net.width_ratio * dim), net.learning_rate * net.gamma / np.sqrt(net.width_ratio)
    beta = rng.standard_normal(dim)
    beta *= np.sqrt(dim) / np.linalg.norm(beta)
    M = [rng.standard_normal((width, n)) * np.sqrt(net.init_variance / n) for n in (dim, width)]
    w, losses = rng.standard_normal(width) * np.sqrt(net.init_variance), []
    for _ in range(net.steps + 1):
        g = [M[0].T @ M[1].T @ w, M[1].T @ w, w]
        v = beta - g[0] / (net.gamma * np.sqrt(net.width_ratio))
        losses.append(np.mean(v**2))
        h = [v, M[0] @ v, M[1] @ (M[0] @ v)]
        M = [M[l] + kappa * np.outer(g[l + 1], h[l]) / len(h[l]) for l in range(2)]
        w = w + kappa * h[2]
    return losses


def test_infinite_samples_is_population_gradient_descent():
    many, online = (solve(network(sample_ratio=1e9, batch=batch)) for batch in ("full", "online"))
    np.testing.assert_allclose(many.test_loss, online.test_loss, rtol=1e-6)
    np.testing.assert_allclose(many.train_loss, many.test_loss + BASE["label_noise"], rtol=1e-6)
    simulated = np.array([population(many.net, 400, seed) for seed in range(16)])
    error = simulated.std(0, ddof=1) / 4
    assert np.abs((simulated.mean(0) - many.test_loss) / error).max() < 4


@pytest.mark.parametrize("layers", [1, 2])
def test_infinite_width_in_ntk_parameterization_is_kernel_gradient_descent(layers):
    """K -> (L+1) variance^L X X^T/P, from a random linear start of size variance^(L+1)/gamma0^2."""
    net = network(hidden_layers=layers, parameterization="ntk", width_ratio=1e8, gamma0=1.5, learning_rate=0.1)
    rate = net.learning_rate * (layers + 1) * net.init_variance**layers
    ratio = 1 / net.sample_ratio
    low, high = (1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2
    angle = np.pi * (np.arange(4000) + 0.5) / 4000
    x = (low + high) / 2 + (high - low) / 2 * np.cos(angle)
    weight = np.sqrt((high - x) * (x - low)) / (2 * np.pi * ratio * x) * (high - low) / 2 * np.sin(angle) * np.pi / 4000
    left = (1 - rate * x)[None, :] ** np.arange(net.steps + 1)[:, None]
    start = 1 + net.init_variance ** (layers + 1) / net.gamma0**2
    expected = start * left**2 @ weight + net.label_noise * ratio * (1 - left) ** 2 @ (weight / x)
    np.testing.assert_allclose(solve(net).test_loss, expected, rtol=1e-5)


def test_vanishing_output_scale_is_the_target_free_limit():
    """gamma0 -> 0 at fixed width ratio is not lazy: weights move, and by the network's own output only."""
    small = [solve(network(gamma0=1e-6, label_noise=noise)) for noise in (0.0, 3.0)]
    grams = [np.asarray(solution.gradient_gram(2)) for solution in small]
    np.testing.assert_allclose(grams[0], grams[1], rtol=1e-6)
    assert abs(grams[0][20, 20] / grams[0][0, 0] - 1) > 0.1
    net, dim, squares = small[0].net, 400, []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        width, samples, rate = round(0.8 * dim), round(1.5 * dim), net.learning_rate / np.sqrt(net.width_ratio)
        X = rng.standard_normal((samples, dim)) / np.sqrt(samples)
        M = [rng.standard_normal((width, n)) * np.sqrt(net.init_variance / n) for n in (dim, width)]
        w = rng.standard_normal(width) * np.sqrt(net.init_variance)
        for _ in range(net.steps):
            g = [M[0].T @ M[1].T @ w, M[1].T @ w, w]
            d = -X.T @ (X @ g[0]) / np.sqrt(net.width_ratio)
            h = [d, M[0] @ d, M[1] @ (M[0] @ d)]
            M = [M[l] + rate * np.outer(g[l + 1], h[l]) / len(h[l]) for l in range(2)]
            w = w + rate * h[2]
        squares.append(np.mean(w**2))
    assert abs(np.mean(squares) - grams[0][20, 20]) < 4 * np.std(squares, ddof=1) / 4


SHALLOW = {**BASE, "hidden_layers": 1}


def loss_and_outlier(numbers):
    solution = solve(DeepLinear(**{**SHALLOW, **dict(zip(NUMBERS, numbers, strict=True))}))
    return solution.train_loss[-1], solution.test_loss[-1], solution.outliers(0, 20, max_outliers=1).values[0]


@pytest.mark.slow
def test_gradients_of_losses_are_those_of_the_plain_loop():
    """Complex-step derivatives of the plain loop are exact."""
    at = [SHALLOW[name] for name in NUMBERS]
    slopes = jax.jacrev(lambda x: loss_and_outlier(x)[:2])(at)
    for i, name in enumerate(NUMBERS):
        plain = plain_loop(**{**SHALLOW, name: SHALLOW[name] + 1e-30j}, dtype=complex)
        np.testing.assert_allclose(slopes[0][i], plain["train_loss"][-1].imag / 1e-30, rtol=1e-5)
        np.testing.assert_allclose(slopes[1][i], plain["test_loss"][-1].imag / 1e-30, rtol=1e-5)


@pytest.mark.slow
def test_gradients_of_outliers_match_finite_differences():
    at = np.array([SHALLOW[name] for name in NUMBERS])
    reverse = np.array(jax.grad(lambda x: loss_and_outlier(x)[2])(list(at)))
    forward = np.array(jax.jacfwd(lambda x: loss_and_outlier(x)[2])(list(at)))
    np.testing.assert_allclose(reverse, forward, rtol=1e-8)
    for i in range(len(at)):
        step = 3e-4 * at[i] * (np.arange(len(at)) == i)
        difference = (loss_and_outlier(at + step)[2] - loss_and_outlier(at - step)[2]) / (2 * step[i])
        np.testing.assert_allclose(reverse[i], difference, rtol=1e-5)


@pytest.mark.slow
def test_gradient_of_an_absent_outlier_is_zero():
    def total(gamma0):
        return jnp.nansum(solve(network(hidden_layers=1, gamma0=gamma0)).outliers(0, 0, max_outliers=2).values)

    assert jax.grad(total)(3.0) == 0.0
    with pytest.raises(ValueError, match="^max_outliers"):
        jax.jit(lambda gamma0: solve(network(gamma0=gamma0)).outliers(1).values)(3.0)


def test_divergence_is_reported_and_the_finite_part_kept():
    net = network(init_variance=1.0, learning_rate=0.4)
    with pytest.raises(SolveError, match="^diverged at step 4") as error:
        solve(net)
    solution = solve(net, throw=False)
    assert not solution.ok and solution.status == "diverged at step 4" == error.value.solution.status
    assert np.isfinite(solution.test_loss[:4]).all() and np.isnan(solution.test_loss[4:]).all()
    plain = plain_loop(**{**BASE, "init_variance": 1.0, "learning_rate": 0.4, "steps": 4})["train_loss"]
    np.testing.assert_allclose(solution.train_loss[:4], plain[:4], rtol=1e-6)
    assert plain[4] > 1e15 * plain[0]
    whole = solution.outliers(0)
    assert np.isnan(whole.values[4:]).all() and np.isfinite(whole.values[3]).any()
    slope = jax.grad(lambda x: solve(network(hidden_layers=1, gamma0=6.0, learning_rate=x)).train_loss[2])(2.0)
    assert not solve(network(hidden_layers=1, gamma0=6.0, learning_rate=2.0), throw=False).ok and np.isfinite(slope)


def test_histories_are_kept_to_their_rank_and_there_may_be_none():
    history = solve(network()).weight_history(0)
    assert history.compressed(1e-5).left_queries.shape[1] < history.left_queries.shape[1]
    untrained = solve(network(steps=0))
    assert untrained.train_loss.shape == (1,) and not np.isfinite(untrained.outliers(0).values).any()


def test_want_of_room_is_reported():
    with pytest.raises(SolveError, match="^rank cap reached"):
        solve(network(), capacity=8)
    solution = solve(network(), capacity=8, throw=False)
    assert solution.status == "rank cap reached" and solution.stats["dropped"] > 1e-3
    assert query_capacity(1000) < 250 and query_capacity(10) == 11 and query_capacity(100, "online") == 101


def test_bad_questions_are_refused():
    solution = solve(network())
    for call, name in ((lambda: solution.outliers(2), "layer"), (lambda: solution.bulk(-1), "layer"),
                       (lambda: solution.outliers(0, 21), "step"), (lambda: solution.feature_gram(3), "l")):
        with pytest.raises(ValueError, match=f"^{name}: got"):
            call()


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "parameterization"), [(1, "mup"), (2, "ntk"), (3, "mup")])
def test_theory_is_the_limit_of_simulation(layers, parameterization):
    """Losses, predictor and outliers within errors at D = 400; an initial variance 5% off is seen."""
    net = network(hidden_layers=layers, parameterization=parameterization)
    simulation = simulate(net, dim=400, seeds=40, spectra_at=(20,), overlaps=1, ntk=False, progress=False)
    rejected = 0
    for variance, wrong in ((0.5, False), (0.525, True)):
        solution = solve(network(hidden_layers=layers, parameterization=parameterization, init_variance=variance))
        for simulated, theory in (
            (simulation.predictor_norm[:, 0], solution.predictor_norm[0]),
            (simulation.train_loss[:, 20], solution.train_loss[20]),
            (simulation.test_loss[:, 5], solution.test_loss[5]),
            (simulation.singular_values(0, 20)[:, 0], solution.outliers(0, 20, max_outliers=1).values[0]),
        ):  # fmt: skip
            if np.isnan(theory):
                theory = solution.bulk(0).edges[0][1]
            z = (simulated.mean() - theory) / (simulated.std(ddof=1) / np.sqrt(len(simulated)))
            rejected += wrong and abs(z) > 4
            assert wrong or abs(z) < 4
    assert rejected


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["online", 0.3])
def test_batches_against_simulation(batch):
    net = network(batch=batch)
    solution, simulation = solve(net), simulate(net, dim=400, seeds=24, spectra_at=(20,), ntk=False, progress=False)
    for name in ("train_loss", "test_loss"):
        simulated = getattr(simulation, name)
        z = (simulated.mean(0) - getattr(solution, name)) / (simulated.std(0, ddof=1) / np.sqrt(24))
        assert np.abs(z).max() < 4.5
    for layer in (0, 1):
        top = simulation.singular_values(layer, 20)[:, 0]
        z = (top.mean() - solution.outliers(layer, 20).values[0]) / (top.std(ddof=1) / np.sqrt(24))
        assert abs(z) < 4
