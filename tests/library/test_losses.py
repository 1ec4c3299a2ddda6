"""Losses of nonlinear networks, beside SciPy's, finite differences and raw weights."""

import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import ks_2samp, norm

import dmftlib as dm
from dmftlib import linalg
from dmftlib.fingerprint import fingerprint
from dmftlib.losses import Loss, loss
from experiments import losses, optimisers

RNG = np.random.default_rng(11)
INPUTS = RNG.standard_normal((4, 3))
CLASSES = np.array([0, 2, 1, 2])
SIGNS = np.array([1.0, -1.0, -1.0, 1.0])


def half_squared(f, y):
    return jnp.sum((f - y) ** 2) / 2


def network(**changes):
    settings = dict(
        inputs=INPUTS,
        targets=CLASSES,
        loss="cross-entropy",
        hidden_layers=2,
        gamma0=2.0,
        learning_rate=0.5,
        steps=5,
    )
    return dm.Nonlinear(**settings | changes)


# ---- what training sees of a loss


def cross_entropy(f, y):
    return -np.sum(y * log_softmax(f))


def logistic(f, y):
    return np.sum(np.log1p(np.exp(-y * f)))


@pytest.mark.parametrize(
    ("spec", "value", "y"),
    [
        ("squared", lambda f, y: np.sum((y - f) ** 2), np.array([0.3, -1.0, 2.0])),
        ("cross-entropy", cross_entropy, np.array([0.0, 1.0, 0.0])),
        ("cross-entropy", cross_entropy, np.array([0.1, 0.7, 0.2])),
        ("logistic", logistic, np.array([1.0, -1.0, -1.0])),
        (lambda f, y: jnp.sum((f - y) ** 4), lambda f, y: np.sum((f - y) ** 4), SIGNS),
    ],
)
def test_residual_and_hessian_are_derivatives_of_the_value(spec, value, y):
    found = loss(spec)
    f = np.random.default_rng(0).standard_normal(len(y))
    np.testing.assert_allclose(found.value(f, y), value(f, y), rtol=1e-12)
    half = 2.0 if spec == "squared" else 1.0  # it is reported without the half
    steps = 1e-5 * np.eye(len(y))
    slope = [(value(f + e, y) - value(f - e, y)) / 2e-5 for e in steps]
    residual = np.asarray(found.residual(f, y))
    np.testing.assert_allclose(residual, -np.array(slope) / half, atol=1e-8)
    curvature = [
        np.asarray(found.residual(f - e, y) - found.residual(f + e, y)) / 2e-5
        for e in steps
    ]
    np.testing.assert_allclose(found.hessian(f, y), curvature, atol=1e-8)
    many = np.stack([f, -f])[:, None]
    assert found.value(many, y).shape == (2, 1)
    assert found.hessian(many, y).shape == (2, 1, len(y), len(y))


def test_large_outputs_have_finite_losses():
    f = np.array([800.0, -800.0])
    for spec, y in (("cross-entropy", [0.0, 1.0]), ("logistic", [-1.0, 1.0])):
        found = loss(spec)
        np.testing.assert_allclose(found.value(f, np.array(y)), 1600.0)
        assert np.isfinite(found.residual(f, np.array(y))).all()
        assert np.isfinite(found.hessian(f, np.array(y))).all()


def test_classes_are_one_hot_targets():
    by_number = network(test_inputs=INPUTS[:2], test_targets=[1, 0])
    one_hot = network(
        targets=np.eye(3)[CLASSES],
        test_inputs=INPUTS[:2],
        test_targets=np.eye(3)[[1, 0]],
    )
    assert jax.tree.structure(by_number) == jax.tree.structure(one_hot)
    for a, b in zip(*map(jax.tree.leaves, (by_number, one_hot)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert network(targets=CLASSES.astype(float)).targets.shape == (4, 3)
    assert network(targets=[0, 4, 1, 1]).targets.shape == (4, 5)


def test_right_answers_are_counted_by_the_largest_output_or_the_sign():
    f = np.array([[0.2, 0.1, -1.0], [3.0, 5.0, 4.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    y = np.eye(3)[[0, 2, 1, 1]]
    np.testing.assert_allclose(
        loss("cross-entropy").correct(f, y), [1, 0, 1 / 2, 1 / 3]
    )
    np.testing.assert_allclose(loss("squared").correct(f, y), [1, 0, 1 / 2, 1 / 3])
    signs = np.array([[1.0, -1.0, -1.0]])
    np.testing.assert_allclose(loss("logistic").correct(f[:1], signs), 2 / 3)
    np.testing.assert_allclose(
        loss("squared").correct(f[:, :1], np.ones((4, 1))), [1, 1, 1, 0.5]
    )


def test_losses_travel_as_equals_and_functions_are_known_by_their_code():
    for spec in ("squared", "cross-entropy", "logistic", half_squared):
        found = loss(spec)
        assert isinstance(found, Loss) and loss(found) is found
        for again in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
            assert again == found and hash(again) == hash(found)
    assert loss(lambda f, y: f[0]) == loss(lambda f, y: f[0])
    assert loss(lambda f, y: f[0]) != loss(lambda f, y: f[0] * y[0])
    assert loss("squared") != loss(half_squared)


# ---- the same network twice


@pytest.fixture(scope="module")
def solved():
    return dm.solve(network(), samples=1024)


@pytest.mark.slow
def test_a_function_equal_to_a_named_loss_gives_the_same(solved):
    def same(f, y):
        return jax.nn.logsumexp(f) - jnp.dot(f, y)

    again = dm.solve(network(targets=np.eye(3)[CLASSES], loss=same), samples=1024)
    for name in ("predictions", "train_loss", "sharpness", "fraction_correct"):
        np.testing.assert_allclose(
            getattr(again, name), getattr(solved, name), rtol=1e-9, atol=1e-12
        )


@pytest.mark.slow
def test_half_the_squared_residual_as_a_function_is_the_squared_loss():
    targets = np.eye(3)[CLASSES]
    named = dm.solve(network(targets=targets, loss="squared"), samples=1024)
    own = dm.solve(network(targets=targets, loss=half_squared), samples=1024)
    np.testing.assert_allclose(own.predictions, named.predictions, atol=1e-12)
    np.testing.assert_allclose(2 * own.train_loss, named.train_loss, atol=1e-12)
    np.testing.assert_allclose(own.sharpness, named.sharpness, rtol=1e-9)
    direct = ((np.asarray(named.predictions) - targets) ** 2).sum(-1).mean(-1)
    np.testing.assert_allclose(named.train_loss, direct, rtol=1e-12)
    np.testing.assert_allclose(
        named.sharpness, np.linalg.eigvalsh(named.ntk.kernel)[:, -1], rtol=1e-9
    )


# ---- sharpness


def test_sharpness_weighs_the_kernel_with_the_hessian_of_the_loss(solved):
    f = np.asarray(solved.predictions)
    for t in (0, 5):
        H = np.zeros((12, 12))
        for mu in range(4):
            p = softmax(f[t, mu])
            block = slice(3 * mu, 3 * mu + 3)
            H[block, block] = np.diag(p) - np.outer(p, p)
        K = np.asarray(solved.ntk.kernel[t])
        top = np.linalg.eigvals(K @ H).real.max()  # those of H^{1/2} K H^{1/2}
        np.testing.assert_allclose(solved.sharpness[t], top, rtol=1e-6)
        assert top < 0.9 * np.linalg.eigvalsh(K)[-1]


def test_the_largest_eigenvalue_of_a_product_has_its_derivative():
    a = RNG.standard_normal((3, 5, 4))
    a = a @ a.swapaxes(1, 2)  # of rank 4
    h = RNG.standard_normal((3, 5, 5))
    h = h + h.swapaxes(1, 2)  # indefinite
    wanted = np.linalg.eigvals(a @ h).real.max(1)
    np.testing.assert_allclose(linalg.top_of_product(a, h), wanted, rtol=1e-9)
    change = RNG.standard_normal((3, 5, 4))
    change = change @ change.swapaxes(1, 2)
    turn = RNG.standard_normal((3, 5, 5))
    turn = turn + turn.swapaxes(1, 2)

    def along(x):
        return linalg.top_of_product(a + x * change, h + x * turn)

    slope = jax.jacfwd(along)(0.0)
    ahead = np.linalg.eigvals((a + 1e-6 * change) @ (h + 1e-6 * turn)).real.max(1)
    behind = np.linalg.eigvals((a - 1e-6 * change) @ (h - 1e-6 * turn)).real.max(1)
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, rtol=1e-4)
    assert float(linalg.top_of_product(np.zeros((2, 2)), np.eye(2))) == 0.0


def test_a_lazy_network_is_unstable_at_two_over_the_sharpness():
    """One layer, one sample, two classes, linear, lazy: f_1 - f_0 obeys a map of one
    number, whose fixed point is left at 2/sharpness.
    """
    y = np.array([[0.8, 0.2]])
    at_rest = np.log(y[0, 0] / y[0, 1])
    f = np.array([at_rest / 2, -at_rest / 2])
    kernel = 0.7 * np.eye(2)
    sharpness = float(
        linalg.top_of_product(kernel, loss("cross-entropy").hessian(f, y[0]))
    )
    for factor, grows in ((0.95, False), (1.05, True)):
        rate = factor * 2 / sharpness
        now = f + np.array([1e-4, -1e-4])
        for _ in range(20):
            now = now + rate * kernel @ (y[0] - softmax(now))
        assert (abs(now[0] - f[0]) > 1e-4) == grows


# ---- limits


@pytest.mark.slow
def test_two_logits_are_the_logistic_loss_with_twice_the_readout():
    """f_1 - f_0 = (w_1 - w_0) . phi(h) / (gamma0 N): the difference of two readouts has
    twice the variance, and moves at twice the rate.
    """
    settings = dict(activation="linear", steps=8)
    two = dm.solve(network(targets=(SIGNS > 0).astype(int), **settings), samples=2048)
    one = dm.solve(
        network(
            targets=SIGNS,
            loss="logistic",
            init_variance=[1.0, 1.0, 2.0],
            layer_rates=[1.0, 1.0, 2.0],
            **settings,
        ),
        samples=2048,
    )
    margin = np.diff(np.asarray(two.predictions), axis=-1)
    np.testing.assert_allclose(margin, one.predictions, atol=2e-3)
    np.testing.assert_allclose(two.train_loss, one.train_loss, atol=1e-3)
    assert abs(float(two.train_loss[-1] - two.train_loss[0])) > 0.1
    np.testing.assert_allclose(two.sharpness, one.sharpness, rtol=1e-2)


# ---- the theory beside a second solver, and beside raw weights


@pytest.mark.slow
def test_response_form_agrees_with_conditioning():
    settings = dict(samples=4096, batches=8)
    net = network(steps=4)
    one = dm.solve(net, **settings)
    other = dm.solve(net, form="response", **settings)
    for quantity in ("predictions", "train_loss"):
        error = np.hypot(*(s.standard_error(quantity) for s in (one, other)))
        difference = np.asarray(getattr(one, quantity) - getattr(other, quantity))
        noisy = error > 1e-9
        assert np.abs(difference[noisy] / error[noisy]).max() < 5
        np.testing.assert_allclose(difference[~noisy], 0, atol=1e-8)
    squared = dm.solve(network(targets=np.eye(3)[CLASSES], loss="squared", steps=4))
    error = np.max(other.standard_error("predictions"))
    wrong = np.abs(np.asarray(squared.predictions - other.predictions)).max()
    assert wrong > 20 * error


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        dict(batch=2),
        dict(loss="logistic", targets=np.stack([SIGNS, SIGNS[::-1]], 1)),
        dict(loss=lambda f, y: jnp.sum(jnp.sqrt(1 + (f - y) ** 2)), targets=SIGNS),
    ],
    ids=["cross-entropy, mini-batches", "logistic, two outputs", "a function"],
)
def test_agrees_with_raw_weights_and_autodiff(changes):
    net = network(test_inputs=INPUTS[1:3] + 0.3, **changes)
    net = dataclasses.replace(net, test_targets=net.targets[1:3])
    solution = dm.solve(net, samples=4096, batches=8)
    assert solution.status == "ok"
    simulations = [
        dm.simulate(net, width=N, seeds=s, progress=False)
        for N, s in ((100, 400), (400, 100))
    ]
    for name in ("predictions", "test_predictions", "train_loss", "test_loss"):
        z = extrapolated(solution, simulations, name)
        assert np.abs(z).max() < norm.isf(norm.sf(3) / len(z))
    wide = simulations[1]
    right = net.loss.correct(wide.predictions, np.asarray(net.targets)).mean(-1)
    np.testing.assert_allclose(wide.fraction_correct, right)  # by another formula


def extrapolated(solution, simulations, name):
    """Distances in standard errors, the simulated means extrapolated linearly in 1/N."""
    theory = np.asarray(getattr(solution, name))
    own = np.asarray(solution.standard_error(name))
    (narrow, e0), (wide, e1) = (
        (values.mean(0), values.std(0, ddof=1) / len(values) ** 0.5)
        for values in (getattr(s, name) for s in simulations)
    )
    share = simulations[0].width / (simulations[1].width - simulations[0].width)
    intercept = wide + share * (wide - narrow)
    error = np.sqrt(((1 + share) * e1) ** 2 + (share * e0) ** 2 + own**2)
    noisy = error > 1e-12
    return ((intercept - theory)[noisy] / error[noisy]).ravel()


@pytest.mark.slow
def test_matrix_free_networks_have_the_law_of_plain_ones():
    net = network(steps=4)
    plain = dm.simulate(net, width=120, seeds=1000, progress=False)
    free = dm.simulate(
        net, width=120, seeds=500, seed=1, matrix_free=True, progress=False
    )
    for quantity in (
        lambda s: s.train_loss[:, -1],
        lambda s: s.predictions[:, -1, 0, 0],
        lambda s: s.feature_kernel(2)[:, -1, 0, 1],
    ):
        assert ks_2samp(quantity(plain), quantity(free)).pvalue > 0.01 / 3


# ---- what a network with a loss can be asked


@pytest.mark.slow
def test_derivatives_match_finite_differences():
    def numbers(gamma0, variance, rate):
        net = network(
            gamma0=gamma0, init_variance=variance, learning_rate=rate, steps=2
        )
        solution = dm.solve(net, samples=512, batches=1, rank=36)
        return jnp.stack([solution.train_loss[-1], solution.sharpness[-1]])

    at = (2.0, 1.2, 0.5)
    slopes = jax.jacfwd(numbers, (0, 1, 2))(*at)
    for i, slope in enumerate(slopes):
        up, down = (
            [v + sign * 1e-4 * (i == j) for j, v in enumerate(at)] for sign in (1, -1)
        )
        difference = (numbers(*up) - numbers(*down)) / 2e-4
        np.testing.assert_allclose(slope, difference, rtol=1e-4)


@pytest.mark.slow
def test_an_outlier_is_born_and_swept():
    def make(gamma0):
        return network(gamma0=gamma0, steps=3, learning_rate=1.0)

    options = dict(samples=2048, rank=48)
    gamma0 = dm.critical(make, layer=1, between=(0.5, 6.0), rtol=1e-3, **options)
    below, above = (
        dm.solve(make(factor * gamma0), **options).outliers(1, 3).values
        for factor in (0.98, 1.02)
    )
    assert len(below) == 0 and len(above) >= 1
    swept = dm.sweep(
        make,
        {"gamma0": [1.0, 2.0]},
        ["train_loss", "fraction_correct"],
        progress=False,
        **options,
    )
    alone = dm.solve(make(2.0), **options)
    np.testing.assert_allclose(
        swept.train_loss.sel(gamma0=2.0), alone.train_loss, rtol=1e-6
    )
    assert swept.fraction_correct.shape == (2, 4)


@pytest.mark.slow
def test_solutions_and_simulations_are_kept_and_functions_refused(solved, tmp_path):
    again = dm.load(dm.save(solved, tmp_path / "solution.npz"))
    assert again.net.loss is solved.net.loss
    np.testing.assert_array_equal(again.sharpness, solved.sharpness)
    simulation = dm.simulate(network(), width=20, seeds=2, progress=False)
    kept = dm.load(dm.save(simulation, tmp_path / "simulation.npz"))
    np.testing.assert_array_equal(kept.train_loss, simulation.train_loss)
    table = dm.compare(solved, kept)
    assert {"train_loss", "predictions 3,2"} <= set(table.quantity)
    custom = network(targets=SIGNS, loss=half_squared)
    with pytest.raises(ValueError, match="loss: got the custom half_squared"):
        dm.save(custom, tmp_path / "x.npz")
    assert fingerprint(custom) == fingerprint(copy.deepcopy(custom))
    assert fingerprint(custom) != fingerprint(network(targets=SIGNS, loss="squared"))


def test_the_protocol_accepts_the_cross_entropy_and_rejects_what_is_wrong():
    table = losses.protocol.load("losses")
    theories = losses.protocol.load("losses_theory").groupby("which")
    judged = {which: optimisers.verdict(table, rows) for which, rows in theories}
    right = judged.pop("theory")
    assert len(right) == 27 and right.agrees.all()
    assert judged.keys() == {*losses.BROKEN, "independent spikes"}
    for rows in judged.values():
        assert (~rows.agrees).sum() >= 2
