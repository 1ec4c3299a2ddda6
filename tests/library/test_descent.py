"""Momentum, weight decay, schedules, and rates and variances per layer: on coefficients
as on weights.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dmftlib as dm
from dmftlib.spectra.outliers import Outliers, outliers_by_step
from dmftlib.training.descent import Descent, sharpness_limit
from experiments import optimisers, schedules

DEEP = dict(
    hidden_layers=2,
    width_ratio=0.8,
    sample_ratio=1.5,
    gamma0=3.0,
    init_variance=0.5,
    label_noise=0.2,
    learning_rate=0.03,
    steps=12,
)
RATES = np.linspace(0.01, 0.05, 12)
ALL = dict(
    learning_rate=RATES,
    momentum=0.6,
    nesterov=True,
    weight_decay=1.5,
    layer_rates=[0.5, 1.5, 0.8],
    init_variance=[0.6, 0.4, 0.8],
)
rng = np.random.default_rng(0)
INPUTS = rng.normal(size=(4, 6))
SMALL = dict(
    inputs=INPUTS,
    targets=np.sign(INPUTS[:, 0]),
    hidden_layers=2,
    gamma0=2.0,
    learning_rate=0.3,
    steps=6,
)
SMALL_ALL = dict(
    learning_rate=np.linspace(0.1, 0.5, 6),
    momentum=0.6,
    nesterov=True,
    weight_decay=0.2,
    layer_rates=[0.5, 1.5, 0.8],
    init_variance=[1.0, 0.6, 1.3],
)


def deep(**changes):
    return dm.DeepLinear(**{**DEEP, **changes})


def small(**changes):
    return dm.Nonlinear(**{**SMALL, **changes})


def array(number):
    """A number that is not known to be zero."""
    return jnp.asarray(number, float)


@pytest.mark.parametrize("nesterov", [False, True])
def test_scale_and_spikes_move_as_the_matrix_does_under_optax(nesterov):
    steps, rates = 9, np.linspace(0.0, 0.3, 9)
    directions = np.random.default_rng(1).normal(size=(steps, 3, 4))
    start = np.random.default_rng(2).normal(size=(3, 4))
    sgd = optax.chain(
        optax.add_decayed_weights(2.0),
        optax.sgd(lambda t: jnp.asarray(rates)[t], momentum=0.7, nesterov=nesterov),
    )
    matrix = jnp.asarray(start)
    memory = sgd.init(matrix)
    descent = Descent(jnp.asarray(rates), array(0.7), array(2.0), nesterov)
    scale, increments = descent.path(jnp.asarray(directions))
    spikes = np.zeros((3, 4))
    for t, direction in enumerate(directions):
        update, memory = sgd.update(-jnp.asarray(direction), memory, matrix)
        matrix = matrix + update
        spikes = spikes + increments[t]
        np.testing.assert_allclose(
            scale[t + 1] * start + spikes, matrix, rtol=1e-12, atol=1e-13
        )
    assert abs(scale[-1]) < 0.5


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_an_optimiser_is_unstable_just_above_its_limit(momentum, nesterov):
    net = deep(
        momentum=momentum, nesterov=nesterov, weight_decay=1.0, learning_rate=0.05
    )
    (limit,) = set(np.asarray(sharpness_limit(net)).tolist())

    def size_after(sharpness, steps=4_000):
        rates = jnp.full(steps, 0.05)
        # a weight on a direction of that curvature decays by it and by the decay
        descent = Descent(rates, array(momentum), array(sharpness + 1.0), nesterov)
        return float(jnp.abs(descent.path(jnp.zeros(steps)).scale[-50:]).max())

    assert size_after(0.999 * limit) < 1e-3 < 1e3 < size_after(1.001 * limit)


def test_the_limit_of_plain_descent_is_two_over_the_rate_of_each_step():
    net = deep(learning_rate=np.append(np.zeros(2), np.full(10, 0.1)))
    limit = dm.solve(net).sharpness_limit
    np.testing.assert_allclose(limit, [np.inf, np.inf, *[20.0] * 11], rtol=1e-15)


def test_zeros_that_are_numbers_change_no_bit():
    directions = np.random.default_rng(1).normal(size=(12, 3, 4))
    scale, increments = Descent(jnp.asarray(RATES)).path(jnp.asarray(directions))
    np.testing.assert_array_equal(scale, 1)
    np.testing.assert_array_equal(increments, RATES[:, None, None] * directions)
    nothing = dict(momentum=0, weight_decay=0.0, layer_rates=None)
    for plain, same, options in (
        (deep(), deep(**nothing), {}),
        (small(), small(**nothing), dict(samples=512)),
    ):
        told, again = (dm.solve(net, **options) for net in (plain, same))
        for quantity in ("train_loss", "sharpness"):
            np.testing.assert_array_equal(
                getattr(again, quantity), getattr(told, quantity)
            )
        np.testing.assert_array_equal(again.outliers(1).values, told.outliers(1).values)
        assert again.net.momentum == 0 and again.bulk(1) == told.bulk(1)


@pytest.mark.parametrize("batch", ["full", "online", 0.3])
def test_what_does_nothing_changes_nothing(batch):
    plain = dm.solve(deep(batch=batch))
    for changes in (
        dict(learning_rate=np.full(12, 0.03)),
        dict(momentum=array(0.0), weight_decay=array(0.0)),
        dict(momentum=array(0.0), nesterov=True),
        dict(layer_rates=np.ones(3), init_variance=np.full(3, 0.5)),
    ):
        same = dm.solve(deep(batch=batch, **changes))
        np.testing.assert_allclose(same.test_loss, plain.test_loss, rtol=1e-12)
        for layer in (0, 1):
            np.testing.assert_allclose(
                same.outliers(layer, 12).values,
                plain.outliers(layer, 12).values,
                rtol=1e-12,
            )
            assert same.bulk(layer, 12) == plain.bulk(layer, 12)


@pytest.mark.slow
def test_what_does_nothing_changes_nothing_in_a_nonlinear_network():
    plain = dm.solve(small(), samples=512)
    for changes in (
        dict(learning_rate=np.full(6, 0.3)),
        dict(momentum=array(0.0), weight_decay=array(0.0)),
        dict(layer_rates=np.ones(3), init_variance=np.ones(3)),
    ):
        same = dm.solve(small(**changes), samples=512)
        np.testing.assert_allclose(same.predictions, plain.predictions, atol=1e-12)
        np.testing.assert_allclose(
            same.outliers(1, 6).values, plain.outliers(1, 6).values, rtol=1e-12
        )
        np.testing.assert_allclose(same.sharpness, plain.sharpness, rtol=1e-12)


@pytest.mark.slow
def test_without_residual_a_nonlinear_network_only_decays():
    rates = np.array([0.5, 1.0, 2.0])
    net = small(
        activation="linear",
        targets=np.zeros(4),
        weight_decay=0.7,
        layer_rates=rates,
        momentum=0.4,
    )
    solution = dm.solve(net, samples=512)
    np.testing.assert_allclose(solution.train_loss, 0, atol=1e-20)
    a, step = np.ones((7, 3)), np.zeros(3)
    for t in range(6):
        step = 0.4 * step + 0.3 * rates * 0.7 * a[t]
        a[t + 1] = a[t] - step
    np.testing.assert_allclose(solution.scale(1), a[:, 1], rtol=1e-12)
    top = solution.feature_kernel(2)
    shrunk = (a[:, 0] * a[:, 1]) ** 2
    np.testing.assert_allclose(top, shrunk[:, None, None] * top[0], rtol=1e-10)
    gradients = solution.gradient_kernel(1)
    shrunk = ((a[:, 1] * a[:, 2]) ** 2)[:, None, None, None, None]
    np.testing.assert_allclose(gradients, shrunk * gradients[0], rtol=1e-10)
    assert not np.isfinite(solution.outliers(1).values).any()
    edges = [float(solution.bulk(1, t).upper_end) for t in range(7)]
    np.testing.assert_allclose(edges, 2 * np.abs(a[:, 1]), rtol=1e-12)


def test_without_a_rate_to_speak_of_a_deep_linear_network_only_decays():
    net = deep(learning_rate=1e-14, weight_decay=0.2 / 1e-14)
    solution = dm.solve(net)
    a = 0.8 ** np.arange(13)
    np.testing.assert_allclose(solution.scale(0), a, rtol=1e-12)
    norms = solution.predictor_norm
    np.testing.assert_allclose(norms, a**6 * norms[0], rtol=1e-9)
    assert solution.escape_step(1) is None


@pytest.mark.parametrize("lam", [1.0, 1.5])
def test_a_bulk_that_vanishes_or_changes_sign_is_told(lam):
    """A single step of learning_rate weight_decay >= 1."""
    net = deep(learning_rate=[1.0], steps=1, weight_decay=lam, gamma0=1.0)
    solution = dm.solve(net)
    np.testing.assert_allclose(solution.scale(1), [1, 1 - lam], atol=1e-15)
    edge = 2 * np.sqrt(0.5) * max(abs(1 - lam), 1e-8)
    np.testing.assert_allclose(solution.bulk(1, 1).upper_end, edge, rtol=1e-9)
    simulation = dm.simulate(net, dim=150, seeds=20, spectra_at=(1,), progress=False)
    table = dm.compare(solution, simulation)
    tops = table[table.quantity == "outlier_1"]
    assert (tops.theory > 1.2 * edge).all()
    assert np.abs(tops.z).max() < 4 and np.abs(tops.relative_error).max() < 0.05


def test_a_bulk_that_shrinks_leaves_its_outlier_outside():
    net = deep(weight_decay=2.0, steps=25)
    solution = dm.solve(net)
    edge = solution.bulk(1, 25).upper_end
    assert edge < 0.3 * solution.bulk(1, 0).upper_end
    assert solution.outliers(1, 25).values[0] > 2 * edge
    history = solution.weight_history(1)
    np.testing.assert_allclose(history.scale[-1], (1 - 0.03 * 2) ** 25, rtol=1e-12)
    # |a| times the outliers of M(0) + S/a
    a = history.scale[-1]
    divided = eqx.tree_at(
        lambda h: (h.scale, h.increments),
        history,
        (jnp.ones(2), history.increments.sum(0)[None] / a),
    )
    np.testing.assert_allclose(
        a * outliers_by_step(divided, 1).values,
        solution.outliers(1, 25).values,
        rtol=1e-8,
    )


def test_an_outlier_that_returns_is_told(monkeypatch):
    solution = dm.solve(deep())
    outside = np.array([0, 0, 1, 2, 2, 1, 0, 0, 1, 1, 1, 1, 1])
    values = np.where(np.arange(2) < outside[:, None], 3.0, np.nan)
    found = Outliers(values, values[..., None], values[..., None])
    monkeypatch.setattr(type(solution), "outliers", lambda self, layer: found)
    crossings = [(each.step, each.leaves) for each in solution.crossings(1)]
    assert crossings == [(2, True), (6, False), (8, True)]
    assert [each.step for each in solution.crossings(1, number=2)] == [3, 5]
    assert solution.escape_step(1) == 2 and solution.escape_step(1, number=2) == 3
    assert solution.crossings(1, number=3) == () and solution.escape_step(1, 3) is None


def everything(name, value, **options):
    net = deep(**{**ALL, name: value}) if name else deep(**ALL)
    solution = dm.solve(net, **options)
    return jnp.stack(
        [
            solution.test_loss[-1],
            *solution.outliers(1, 12, max_outliers=1).values,
            solution.escape_margin(0, 12),
            solution.scale(1)[-1],
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["learning_rate", "momentum", "weight_decay", "layer_rates", "init_variance"],
)
def test_derivatives_with_respect_to_every_new_number(name):
    value = jnp.asarray(ALL[name], float)
    found = jax.jacfwd(lambda x: everything(name, x))(value)
    step = 1e-5
    for at in np.ndindex(value.shape):
        shift = jnp.zeros(value.shape).at[at].set(step)
        ahead, behind = (everything(name, value + sign * shift) for sign in (1, -1))
        expected = (ahead - behind) / (2 * step)
        np.testing.assert_allclose(
            found[(slice(None), *at)], expected, rtol=2e-5, atol=1e-6
        )


@pytest.mark.slow
def test_the_gradient_along_a_schedule_of_sixty_steps_is_that_of_finite_differences():
    rates = jnp.asarray(0.02 + 0.01 * np.sin(np.arange(60)))

    def final(rates):
        net = deep(learning_rate=rates, steps=60, momentum=0.5, weight_decay=0.3)
        return dm.solve(net).test_loss[-1]

    gradient = jax.grad(final)(rates)
    assert gradient.shape == (60,)
    for t in (0, 7, 31, 59):
        shift = jnp.zeros(60).at[t].set(1e-4)
        expected = (final(rates + shift) - final(rates - shift)) / 2e-4
        np.testing.assert_allclose(gradient[t], expected, rtol=1e-5)
    direction = jnp.asarray(np.random.default_rng(3).normal(size=60))
    ahead, behind = (final(rates + s * 1e-5 * direction) for s in (1, -1))
    np.testing.assert_allclose(gradient @ direction, (ahead - behind) / 2e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_nonlinear_network_has_derivatives_in_its_optimiser():
    value = dict(
        learning_rate=jnp.asarray(SMALL_ALL["learning_rate"]),
        momentum=array(0.6),
        weight_decay=array(0.2),
        layer_rates=jnp.asarray(SMALL_ALL["layer_rates"]),
        init_variance=jnp.asarray(SMALL_ALL["init_variance"]),
    )

    def final(value):
        net = small(**{**SMALL_ALL, **value})
        solution = dm.solve(net, samples=1024, rank=80)
        return (
            solution.train_loss[-1] + solution.outliers(1, 6, max_outliers=1).values[0]
        )

    gradient = jax.grad(final)(value)
    for name, slope in gradient.items():
        direction = jnp.asarray(np.random.default_rng(4).normal(size=slope.shape))
        ends = [
            final({**value, name: value[name] + sign * 1e-5 * direction})
            for sign in (1, -1)
        ]
        expected = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(jnp.sum(slope * direction), expected, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["full", "online", 0.5])
def test_deep_linear_networks_of_finite_size_obey(batch):
    net = deep(**ALL, batch=batch)
    solution = dm.solve(net)
    simulation = dm.simulate(
        net, dim=200, seeds=40, spectra_at=(6, 12), progress=False, ntk=batch == "full"
    )
    table = dm.compare(solution, simulation)
    assert np.abs(table.z).max() < 4
    assert (table.z**2).mean() < 2.5  # biased by O(1/D)
    plain = dm.solve(deep(**{**ALL, "momentum": 0.0}, batch=batch))
    gap = np.abs(plain.test_loss - solution.test_loss)[-1]
    assert gap > 5 * table[table.quantity == "test_loss"].standard_error.iloc[-1]
    if batch == "full":
        top = simulation.ntk_eigenvalues(12)[:, 0]
        error = top.std(ddof=1) / len(top) ** 0.5
        assert abs(top.mean() - solution.sharpness[12]) < 4 * error


@pytest.mark.slow
def test_nonlinear_networks_of_finite_width_obey_in_both_forms():
    net = small(**SMALL_ALL)
    solution = dm.solve(net, samples=4096)
    simulation = dm.simulate(net, width=400, seeds=24, spectra_at=(6,), progress=False)
    table = dm.compare(solution, simulation)
    assert (table.z**2).mean() < 2.5
    without = dm.solve(small(**{**SMALL_ALL, "weight_decay": 0.0}), samples=4096)
    tops = table[table.quantity == "outlier_1"]
    gap = abs(without.outliers(1, 6).values[0] - solution.outliers(1, 6).values[0])
    assert gap > 10 * tops.standard_error.iloc[0]
    response = dm.solve(net, samples=4096, form="response")
    np.testing.assert_allclose(response.predictions, solution.predictions, atol=0.02)
    np.testing.assert_allclose(
        response.outliers(1, 6).values[0], solution.outliers(1, 6).values[0], rtol=0.01
    )
    np.testing.assert_allclose(response.sharpness, solution.sharpness, rtol=0.02)
    edges = [each.bulk(1, 3).upper_end for each in (response, solution)]
    np.testing.assert_allclose(*edges, rtol=1e-12)
    free = dm.simulate(
        net, width=20_000, seeds=2, spectra_at=(6,), matrix_free=True, progress=False
    )
    np.testing.assert_allclose(
        free.singular_values(1, 6)[:, 0].mean(),
        solution.outliers(1, 6).values[0],
        rtol=0.01,
    )


def test_the_kernel_at_the_start_knows_variances_and_rates():
    net = small(**SMALL_ALL)
    exact = dm.kernel_at_start(net)
    solution = dm.solve(net, samples=8192)
    np.testing.assert_allclose(
        solution.ntk.kernel[0], exact.tangent / len(INPUTS), rtol=0.02, atol=2e-3
    )


@pytest.mark.slow
def test_the_momentum_at_which_an_outlier_escapes_has_a_derivative():
    def escape(lam):
        return dm.critical(
            lambda mu: deep(momentum=mu, weight_decay=lam, gamma0=1.5),
            layer=1,
            between=(0.0, 0.9),
        )

    at = escape(0.3)
    net = deep(momentum=at, weight_decay=0.3, gamma0=1.5)
    np.testing.assert_allclose(dm.solve(net).escape_margin(1, 12), 0, atol=1e-7)
    slope = jax.grad(escape)(0.3)
    np.testing.assert_allclose(
        slope, (escape(0.3001) - escape(0.2999)) / 2e-4, rtol=1e-4
    )


@pytest.mark.slow
def test_optimisers_are_swept_saved_and_found_again(tmp_path):
    schedules = [tuple(RATES), tuple(RATES[::-1]), tuple(RATES / 2)]

    def network(learning_rate, momentum):
        return deep(learning_rate=learning_rate, momentum=momentum)

    grid = {"learning_rate": schedules, "momentum": [0.0, 0.5]}
    table = dm.sweep(network, grid, ["test_loss"], progress=False)
    for i, rates in enumerate(schedules):
        for j, momentum in enumerate([0.0, 0.5]):
            alone = dm.solve(network(rates, momentum)).test_loss
            np.testing.assert_allclose(table.test_loss[i, j], alone, rtol=1e-9)
    for net in (deep(**ALL), small(**SMALL_ALL)):
        solution = dm.solve(net)
        again = dm.load(dm.save(solution, tmp_path / "solution.npz"))
        assert eqx.tree_equal(again.net, net)
        np.testing.assert_array_equal(
            again.bulk(1).upper_end, solution.bulk(1).upper_end
        )
        np.testing.assert_array_equal(
            again.outliers(1).values, solution.outliers(1).values
        )


def test_changes_of_an_optimiser_are_changes_of_the_network():
    net = deep()
    assert dataclasses.replace(net, momentum=0.5).momentum == 0.5
    prints = {
        dm.fingerprint.fingerprint(dataclasses.replace(net, **change))
        for change in (
            {},
            dict(momentum=0.5),
            dict(momentum=0.5, nesterov=True),
            dict(weight_decay=0.1),
            dict(layer_rates=[1.0, 1.0, 2.0]),
            dict(learning_rate=np.full(12, 0.03)),
        )
    }
    assert len(prints) == 6


@pytest.mark.slow
def test_deep_linear_networks_of_a_billion_inputs_obey_to_four_digits():
    net = deep(**ALL)
    solution = dm.solve(net)
    simulation = dm.simulate(
        net,
        dim=10**9,
        seeds=4,
        method="coordinates",
        leading=1,
        ntk=True,
        spectra_at=(12,),
        progress=False,
    )
    np.testing.assert_allclose(
        simulation.test_loss.mean(0), solution.test_loss, rtol=3e-4
    )
    for layer in (0, 1):
        np.testing.assert_allclose(
            simulation.singular_values(layer, 12)[:, 0].mean(),
            solution.outliers(layer, 12).values[0],
            rtol=1e-4,
        )
    np.testing.assert_allclose(
        simulation.ntk_eigenvalues(12)[:, 0].mean(), solution.sharpness[12], rtol=3e-4
    )


def test_the_protocol_accepts_the_theory_and_rejects_the_broken_ones():
    table = optimisers.protocol.load("optimisers")
    theories = optimisers.protocol.load("optimisers_theory").groupby("which")
    judged = {which: optimisers.verdict(table, rows) for which, rows in theories}
    assert len(judged["theory"]) == 6 * 2 + 3 * 4 + 3 * 2
    assert judged.pop("theory").agrees.all()
    assert judged.keys() == {
        "no buffer",
        "M(0) does not decay",
        "decay outside the buffer",
    }
    for rows in judged.values():
        cases = rows.quantity.str.split(":").str[0]
        assert not rows.groupby(cases).agrees.all().any()


@pytest.mark.slow
def test_the_committed_theory_is_that_of_the_library():
    name = "linear, everything"
    rows = optimisers.protocol.load("optimisers_theory").query("which == 'theory'")
    rows = rows[rows.quantity.str.startswith(name)].set_index("quantity")
    found, _ = optimisers.theory(name)
    assert len(found) == 6
    for quantity, number in found.items():
        np.testing.assert_allclose(number, rows.theory[quantity], rtol=1e-6)


def test_decay_takes_the_bulk_below_three_tenths_of_its_start():
    for name in ("linear, decay", "tanh, decay"):
        net = optimisers.network(name)
        scale = (1 - net.learning_rate * net.weight_decay) ** net.steps
        assert 0.1 < scale < 0.3


def test_schedules_that_were_found_beat_the_best_single_rate_in_wide_networks():
    table = schedules.protocol.load("schedules").groupby("name").first()
    obeyed = schedules.protocol.load("schedules_obeyed").set_index(["name", "D"])
    promised = table.theory[schedules.ONE] - table.theory
    for name in schedules.NAMES:
        row = obeyed.loc[name, 10**6]
        assert abs(row["mean"] - table.theory[name]) < 3 * row.standard_error
    for name in (schedules.LAYERS, schedules.FREE, schedules.BELOW):
        row = obeyed.loc[name, 10**6]
        assert abs(row.gain - promised[name]) < 3 * row.error_of_gain
        assert row.gain > 10 * row.error_of_gain
    # beyond the edge of stability only wide ones obey
    assert table.over_the_edge[schedules.FREE] > 3
    for dim in (150, 300):
        row = obeyed.loc[schedules.FREE, dim]
        assert row.gain < promised[schedules.FREE] - 3 * row.error_of_gain
        row = obeyed.loc[schedules.LAYERS, dim]
        assert abs(row.gain - promised[schedules.LAYERS]) < 3 * row.error_of_gain


@pytest.mark.slow
def test_the_committed_schedules_do_in_theory_what_is_told_of_them():
    table = schedules.protocol.load("schedules").groupby("name").first()
    found = schedules.stored()
    for name, numbers in found.items():
        loss, slope = schedules.final_loss(numbers)
        np.testing.assert_allclose(loss, table.theory[name], rtol=1e-6)
        if name == schedules.ONE:
            # with a curvature of 0.2, 0.00003 of loss above the best single rate
            assert abs(slope["rates"].sum()) < 0.004
    after = schedules.descent(("layers",), found[schedules.ONE], 3)[-1]
    assert schedules.final_loss(after)[0] < table.theory[schedules.ONE]


def raw_update(net, width, seed):
    """The singular values of what momentum and decay have added to W^1 / sqrt(N), beside
    what they have left of its start: a network of two hidden layers and one output, in
    NumPy with gradients by hand.
    """
    draw = np.random.default_rng([seed, width])
    P, D = net.inputs.shape
    x = np.asarray(net.inputs) / D**0.5
    pull = net.gamma0 / P
    start = draw.normal(size=(width, width)) / width**0.5
    weights = [draw.normal(size=(width, D)), start, draw.normal(size=width), 1.0]
    buffers = [0.0, 0.0, 0.0, 0.0]
    for _ in range(net.steps):
        W0, M, w, _ = weights
        first = np.tanh(x @ W0.T)
        second = np.tanh(first @ M.T)
        residual = np.asarray(net.targets)[:, 0] - second @ w / (net.gamma0 * width)
        g2 = (1 - second**2) * residual[:, None] * w
        g1 = (1 - first**2) * (g2 @ M)
        pulls = [g1.T @ x, g2.T @ first / width, residual @ second, 0.0]
        for l, weight in enumerate(weights):
            direction = pull * pulls[l] - net.weight_decay * weight
            buffers[l] = net.momentum * buffers[l] + direction
            weights[l] = weight + net.learning_rate * buffers[l]
    _, M, _, scale = weights
    return np.linalg.svd(M - scale * start, compute_uv=False)[:2], scale


@pytest.mark.slow
def test_the_spectrum_of_an_update_is_that_of_raw_networks():
    """With momentum and decay, at two widths, of which the second is twice the first."""
    net = dm.Nonlinear(
        inputs=[[1.0, 0.4, -0.3], [-0.5, 1.2, 0.6]],
        targets=[1.0, -1.0],
        hidden_layers=2,
        gamma0=3.0,
        learning_rate=0.2,
        steps=6,
        momentum=0.6,
        weight_decay=0.1,
    )
    solution = dm.solve(net, samples=8192)
    found, error = solution.measured(lambda s: s.update_spectrum(1, 6)[:2])
    runs = {
        width: [raw_update(net, width, seed) for seed in range(40)]
        for width in (150, 300)
    }
    narrow, wide = (np.array([each for each, _ in run]) for run in runs.values())
    limit = 2 * wide.mean(0) - narrow.mean(0)
    own = np.sqrt((4 * wide.var(0, ddof=1) + narrow.var(0, ddof=1)) / 40)
    assert (np.abs(found - limit) < 3.5 * np.hypot(own, error)).all()
    assert (own < 0.03 * limit).all()  # a half of it would be seen
    np.testing.assert_allclose(solution.scale(1)[6], runs[300][0][1], rtol=1e-12)
