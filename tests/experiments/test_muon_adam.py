import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import muon_adam, protocol

WIDTH = 20
LINEAR = "linear, Muon"
BROKEN = [
    "independent spikes",
    "exact polar factor",
    "momentum after the polynomial",
    "one direction of the update",
]
rng = np.random.default_rng(0)


def network(name):
    kind = muon_adam.Linear if name == LINEAR else muon_adam.Tanh
    return kind(name, WIDTH, np.random.default_rng(1))


def mean_loss(net, weights):
    """What is descended, written once more."""
    case = net.case
    W0, W1, w = weights
    hidden = net.x @ W0.T
    if net.name == LINEAR:
        D, N = WIDTH, len(W0)
        gamma = case["gamma0"] * (N / D) ** 0.5
        f = hidden @ W1.T @ w.T / (gamma * N * D**0.5)
        return ((net.y[:, None] - f) ** 2).mean() / 2
    hidden = jnp.tanh(hidden / net.x.shape[1] ** 0.5)
    f = jnp.tanh(hidden @ W1.T / WIDTH**0.5) @ w.T / (case["gamma0"] * WIDTH)
    if case.get("loss") == "cross-entropy":
        each = optax.softmax_cross_entropy_with_integer_labels(f, case["targets"])
        return each.mean()
    return ((case["targets"].reshape(f.shape) - f) ** 2).sum(1).mean() / 2


@pytest.mark.parametrize("name", muon_adam.CASES)
def test_gradients_by_hand_are_those_of_autodiff(name):
    net = network(name)
    weights = [jnp.asarray(W) for W in net.W]
    loss, expected = jax.value_and_grad(lambda W: mean_loss(net, W))(weights)
    here = net.passed()
    classes = "loss" in net.case
    np.testing.assert_allclose(here.loss, loss if classes else 2 * loss, rtol=1e-12)
    for ours, known in zip(here.gradients, expected, strict=True):
        np.testing.assert_allclose(ours, known, rtol=1e-9, atol=1e-15)


def test_the_chain_is_the_polynomial_of_the_singular_values():
    def polynomial(s):
        a, b, c = muon_adam.COEFFICIENTS
        for _ in range(muon_adam.NEWTON_SCHULZ_STEPS):
            s = a * s + b * s**3 + c * s**5
        return s

    for shape in ((6, 4), (4, 6)):
        matrix = rng.normal(size=shape)
        u, s, v = np.linalg.svd(matrix, full_matrices=False)
        expected = (u * polynomial(s / np.linalg.norm(s))) @ v
        np.testing.assert_allclose(
            muon_adam.newton_schulz(matrix), expected, atol=1e-12
        )
    assert not muon_adam.newton_schulz(np.zeros((3, 4))).any()


def by_optax(name, N, gradients):
    """What optax's Adam, or its sign, and decay would do to a hidden matrix."""
    rule = muon_adam.ADAM[name]
    eps = rule["eps"] / (muon_adam.CASES[name]["gamma0"] ** 2 * N**1.5)
    rate = rule["learning_rate"] / N**0.5
    if rule["b1"] == 0:
        chain = optax.chain(optax.scale_by_sign(), optax.scale(-rate))
    else:
        chain = optax.adam(rate, rule["b1"], rule["b2"], eps)
    W = jnp.zeros((N, N))
    memory = chain.init(W)
    for gradient in gradients:
        with jax.numpy_dtype_promotion("standard"):
            update, memory = chain.update(jnp.asarray(gradient), memory, W)
        W = optax.apply_updates(W, update)
    return W


@pytest.mark.parametrize("name", muon_adam.ADAM)
def test_adam_by_hand_is_that_of_optax(name):
    gradients = 0.01 * rng.normal(size=(4, WIDTH, WIDTH)) / WIDTH**1.5
    _, of_hidden, _ = network(name).optimisers()
    W = np.zeros((WIDTH, WIDTH))
    for gradient in gradients:
        W = of_hidden.moved(W, gradient)
    np.testing.assert_allclose(W, by_optax(name, WIDTH, gradients), rtol=1e-10)


@pytest.mark.parametrize("nesterov", [False, True])
def test_muon_by_hand_moves_by_the_chain_of_its_buffer(nesterov):
    rule = dict(learning_rate=0.2, momentum=0.5, nesterov=nesterov, weight_decay=0.3)
    muon = muon_adam.Muon(rule, 2.0)
    g1, g2, W = rng.normal(size=(3, 5, 4))
    once, twice = g1, g2 + 0.5 * g1
    if nesterov:
        once, twice = g1 + 0.5 * g1, g2 + 0.5 * twice
    expected = W
    for direction in (once, twice):
        turned = muon_adam.newton_schulz(direction)
        expected = (1 - 0.06) * expected - 0.4 * turned
    found = muon.moved(muon.moved(W, g1), g2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_outliers_that_networks_do_not_tell_apart_are_judged_together():
    values = [2.0, 1.7, 1.65, 1.62, 1.2, 1.02]
    assert muon_adam.together(values, 1.0) == [(1, 1), (2, 4), (5, 5)]
    assert muon_adam.together([1.05, 1.02, 1.0], 1.0) == []
    row = {muon_adam.outlier_at("a", 1, k, 6): float(k) for k in (1, 2, 3, 4)}
    assert muon_adam.read(row, muon_adam.mean_at("a", 1, 2, 4, 6)) == 3
    assert muon_adam.read(row, muon_adam.mean_at("a", 1, 2, 2, 6)) == 2


def test_units_are_those_of_the_theory():
    """One step of each optimiser on networks of finite width: what M moves by."""
    tanh = network("tanh, Muon")
    moved = [
        each.moved(W, gradient)
        for each, W, gradient in zip(
            tanh.optimisers(), tanh.W, tanh.passed().gradients, strict=True
        )
    ]
    step = (moved[1] - tanh.W[1]) / WIDTH**0.5
    size = np.linalg.svd(step, compute_uv=False)[0]
    assert 0.6 < size / muon_adam.MUON["tanh, Muon"]["learning_rate"] < 1.3
    sign = network("two outputs, sign descent")
    _, of_hidden, _ = sign.optimisers()
    step = (of_hidden.moved(sign.W[1], sign.passed().gradients[1]) - sign.W[1]) / (
        WIDTH**0.5
    )
    rate = muon_adam.ADAM[sign.name]["learning_rate"]
    np.testing.assert_allclose(np.abs(step), rate / WIDTH, rtol=1e-9)


def test_training_lowers_the_loss_and_sends_out_a_direction():
    name = "two outputs, sign descent"
    row = muon_adam.trained(name, WIDTH, np.random.default_rng([WIDTH, 0]))
    before, after = muon_adam.looked_at(name)
    values = [row[muon_adam.outlier_at(name, 1, k, after)] for k in (1, 2)]
    assert values[0] > values[1] > 0
    assert row[muon_adam.loss_at(name, after)] < row[muon_adam.loss_at(name, before)]


def test_the_stored_theory_of_the_linear_network_is_what_is_solved():
    stored = muon_adam.rows_of("theory", LINEAR)
    solution = muon_adam.solved(LINEAR)
    assert muon_adam.judged_of(solution, LINEAR) == stored.quantity.tolist()
    found = muon_adam.numbers(solution, LINEAR)
    values = [float(muon_adam.read(found, each)) for each in stored.quantity]
    np.testing.assert_allclose(values, stored.theory, rtol=1e-6)


def test_no_row_of_the_theory_is_refused():
    judged = muon_adam.judged()
    assert len(judged) >= 25
    assert (judged.p > protocol.limit(len(judged))).all()


@pytest.mark.parametrize("which", BROKEN)
def test_theories_broken_on_purpose_are_refused(which):
    """In every setting that they are broken in."""
    said = protocol.load("muon_adam_theory")
    quantities = said[said.which == which].quantity
    settings = set(quantities.str.split(":").str[0])
    assert len(settings) >= 2
    for setting in settings:
        judged = muon_adam.judged(which, setting)
        assert (judged.p <= protocol.limit(len(judged))).any(), setting
