import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.integrate import quad
from scipy.stats import ks_2samp, norm
from scipy.stats import t as student

from dmftlib import compare, history, simulate, solve
from dmftlib.networks import Nonlinear
from dmftlib.solutions import nonlinear as nonlinear_solution
from dmftlib.training import nonlinear

RNG = np.random.default_rng(7)
INPUTS, TARGETS = RNG.standard_normal((2, 4)), np.array([1.0, -0.5])
TEST_INPUTS = RNG.standard_normal((2, 4))


def network(**changes):
    settings = dict(
        inputs=INPUTS,
        targets=TARGETS,
        hidden_layers=2,
        activation="tanh",
        gamma0=2.0,
        init_variance=1.2,
        learning_rate=0.2,
        steps=5,
    )
    return Nonlinear(**settings | changes)


def z_scores(solution, simulations, quantity):
    """Simulated means extrapolated linearly in 1/N, beside theory, for each entry of a
    quantity.
    """
    theory, error = (
        np.asarray(quantity(solution)),
        np.asarray(solution.standard_error(quantity)),
    )
    x, means, errors = [], [], []
    for simulation in simulations:
        values = quantity(simulation)
        x.append(1 / simulation.width)
        means.append(values.mean(0))
        errors.append(values.std(0, ddof=1) / np.sqrt(len(values)))
    (x0, x1), (m0, m1), (e0, e1) = x, means, errors
    intercept = (m1 * x0 - m0 * x1) / (x0 - x1)
    spread = np.sqrt((e1 * x0) ** 2 + (e0 * x1) ** 2) / (x0 - x1)
    noisy = spread > 1e-12
    return ((intercept - theory)[noisy] / np.sqrt(spread**2 + error**2)[noisy]).ravel()


def agree(z):
    """None further off than three standard errors, Bonferroni-corrected; the entries
    are correlated, so that their root mean square says nothing more.
    """
    assert np.abs(z).max() < norm.isf(norm.sf(3) / len(z))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        dict(hidden_layers=1),
        dict(
            activation="relu", hidden_layers=2, targets=RNG.choice([-1.0, 1.0], (2, 2))
        ),
        dict(activation="erf", hidden_layers=3, batch=1),
        dict(activation="gelu", learning_rate=0.4),
        dict(
            activation=lambda h: jnp.sin(h) + h / 2, targets=RNG.standard_normal((2, 3))
        ),
    ],
    ids=[
        "one layer",
        "relu, two outputs",
        "erf, three layers, SGD",
        "gelu",
        "custom, three outputs",
    ],
)
def test_agrees_with_raw_weights_and_autodiff(changes):
    net = network(
        test_inputs=TEST_INPUTS,
        test_targets=np.zeros(np.shape(changes.get("targets", TARGETS))),
        **changes,
    )
    # 32 batches: an error estimated from 8 is often too small for normal quantiles
    solution = solve(net, samples=32 * 2048, batches=32)
    assert solution.status == "ok"
    simulations = [
        simulate(net, width=N, seeds=s, progress=False)
        for N, s in ((150, 400), (600, 100))
    ]
    for name in ("predictions", "test_predictions", "train_loss", "test_loss"):
        agree(z_scores(solution, simulations, lambda s, name=name: getattr(s, name)))
    for l in range(1, net.hidden_layers + 1):
        agree(z_scores(solution, simulations, lambda s, l=l: s.feature_kernel(l)))
        agree(z_scores(solution, simulations, lambda s, l=l: s.gradient_kernel(l)))


def test_the_errors_of_outliers_are_the_spread_over_seeds():
    """Of ten seeds, with three degrees of freedom each, by the F distribution; they are
    not carried through a transformation.
    """
    net = network(gamma0=4.0, init_variance=1.0, steps=6)
    solutions = [solve(net, samples=512, rank=14, seed=seed) for seed in range(10)]
    found = [solution.outliers(1, 6) for solution in solutions]
    values = np.array([each.values for each in found])
    errors = np.array([each.standard_error for each in found])
    assert values.shape == errors.shape == (10, 1)
    ratio = float(np.var(values, ddof=1) / np.mean(errors**2))
    assert 5e-4 < scipy.stats.f.cdf(ratio, 9, 30) < 1 - 5e-4
    with pytest.raises(AttributeError, match="transformed after they were found"):
        jax.tree.map(jnp.asarray, found[0]).standard_error  # noqa: B018


@pytest.mark.slow
def test_outliers_agree_with_singular_values_and_independent_spikes_do_not():
    net = network(gamma0=4.0, init_variance=1.0, steps=10)
    solution = solve(net, samples=8192)
    simulations = [
        simulate(net, width=N, seeds=s, spectra_at=(10,), progress=False)
        for N, s in ((150, 200), (600, 50))
    ]
    theory = solution.outliers(1, 10)
    error = np.asarray(theory.standard_error)[0]
    (m0, e0), (m1, e1) = [
        (v.mean(), v.std(ddof=1) / np.sqrt(len(v)))
        for v in (s.singular_values(1, 10)[:, 0] for s in simulations)
    ]
    simulated, spread = m1 + (m1 - m0) / 3, np.hypot(4 * e1, e0) / 3
    assert abs(simulated - theory.values[0]) < 3 * np.hypot(spread, error)
    independent = solution.outliers(1, 10, independent=True).values
    assert abs(simulated - independent[0]) > 10 * spread
    assert (
        theory.left_overlap.shape == (len(theory.values), 20)
        and theory.right_overlap.shape[1] == 20
    )
    assert 0 < solution.escape_step(1) <= 10
    everywhere = solution.outliers(1).values
    np.testing.assert_allclose(
        everywhere[-1, : len(theory.values)], theory.values, rtol=1e-6
    )
    assert np.isnan(everywhere[0]).all()


@pytest.fixture(scope="module")
def solved():
    return solve(network(test_inputs=TEST_INPUTS), samples=2048)


def test_shapes_and_kernels_of_a_solution(solved):
    assert (
        solved.ok
        and solved.predictions.shape == (6, 2, 1)
        and solved.test_predictions.shape == (6, 2, 1)
    )
    assert solved.train_loss.shape == (6,) and solved.test_loss is None
    np.testing.assert_allclose(solved.train_loss[0], np.mean(TARGETS**2), rtol=1e-6)
    for l in (1, 2):
        features, gradients = solved.two_time(l)
        at_once = (
            np.einsum("tmtn->tmn", features),
            np.einsum("tmktnj->tmknj", gradients),
        )
        np.testing.assert_allclose(at_once[0], solved.feature_kernel(l), atol=1e-6)
        np.testing.assert_allclose(at_once[1], solved.gradient_kernel(l), atol=1e-6)
    assert solved.ntk.kernel.shape == (6, 2, 2)
    np.testing.assert_allclose(
        solved.sharpness, np.linalg.eigvalsh(solved.ntk.kernel)[:, -1]
    )
    assert solved.alignment.shape == (6,) and solved.bulk(1).edges[0][
        1
    ] == pytest.approx(2 * 1.2**0.5)


@pytest.fixture(scope="module")
def by_response():
    """The same by the response form, which shares no sampling with conditioning."""
    return solve(
        network(test_inputs=TEST_INPUTS), samples=4096, batches=8, form="response"
    )


def test_response_form_agrees_with_conditioning(solved, by_response):
    quantities = [
        lambda s: s.predictions,
        lambda s: s.test_predictions,
        lambda s: s.train_loss,
    ]
    quantities += [lambda s, l=l: s.feature_kernel(l) for l in (1, 2)] + [
        lambda s, l=l: s.gradient_kernel(l) for l in (1, 2)
    ]
    quantities += [lambda s, i=i, l=l: s.two_time(l)[i] for i in (0, 1) for l in (1, 2)]
    assert by_response.ok and isinstance(by_response, type(solved))
    for quantity in quantities:
        error = np.hypot(
            solved.standard_error(quantity), by_response.standard_error(quantity)
        )
        difference = np.asarray(quantity(solved) - quantity(by_response))
        noisy = error > 1e-9
        # with 4 and 8 batches the standard errors are uncertain themselves: Student's t
        # of about 8 degrees of freedom
        assert np.abs(difference[noisy] / error[noisy]).max() < student.isf(
            norm.sf(3) / noisy.sum(), 8
        )
        np.testing.assert_allclose(difference[~noisy], 0, atol=1e-8)


def test_responses_of_both_forms_agree_where_they_have_a_meaning(solved, by_response):
    """<g u> / variance = B H and <phi r> / variance = A G: what Stein's lemma makes of
    the responses.
    """
    for solution in (solved, by_response):
        B, A = solution.responses(1)
        features, gradients = solution.two_time(1)[0], solution.two_time(2)[1]
        BH = np.einsum("tmksn,snup->tmkup", B, features)
        AG = np.einsum("tmsnk,snkupj->tmupj", A, gradients)
        if solution is solved:
            expected = BH, AG
    np.testing.assert_allclose(BH, expected[0], atol=0.02)
    np.testing.assert_allclose(AG, expected[1], atol=0.02)


def test_response_form_of_targets_that_are_zero():
    net = Nonlinear(
        inputs=[[1.0, 2.0]], targets=[0.0], hidden_layers=1, learning_rate=0.1, steps=1
    )
    solution = solve(net, samples=64, form="response")
    assert solution.ok and np.all(solution.train_loss == 0)


def test_response_form_of_no_updates_has_no_outliers():
    solution = solve(network(steps=0), samples=64, form="response")
    assert np.isnan(solution.outliers(1).values).all()
    assert solution.outliers(1).values.shape == (1, 1)
    assert len(solution.outliers(1, 0).values) == 0
    np.testing.assert_allclose(solution.escape_margin(1), [-1.0])
    assert np.isnan(solution.escape_time(1)) and solution.escape_step(1) is None
    assert [x.shape for x in solution.two_time(1)][0] == (1, 2, 1, 2)


@pytest.mark.slow
def test_what_was_before_a_divergence_is_what_it_would_have_been():
    """However large the last queries: losses, outliers and margins of the steps before
    are those of a shorter training.
    """
    wild = dict(activation="linear", learning_rate=400.0, samples=512, rank=26)

    def solved(steps):
        options = {name: wild[name] for name in ("samples", "rank")}
        rest = {name: wild[name] for name in ("activation", "learning_rate")}
        return solve(network(steps=steps, **rest), throw=False, **options)

    whole = solved(8)
    alive = int(whole.finite_steps)
    shorter = solved(alive - 1)
    assert 1 < alive < 8 and shorter.ok
    found = [s.outliers(1, max_outliers=2).values for s in (whole, shorter)]
    np.testing.assert_allclose(found[0][:alive], found[1], rtol=1e-6)
    assert np.isnan(found[0][alive:]).all() and np.isfinite(found[1]).any()
    margins = [s.escape_margin(1) for s in (whole, shorter)]
    np.testing.assert_allclose(margins[0][:alive], margins[1], rtol=1e-6)
    assert whole.crossings(1) == shorter.crossings(1) != ()


@pytest.mark.parametrize(
    "function",
    [
        "relu",
        lambda h: h + jnp.sign(h),
        lambda h: jnp.maximum(h, 9.0),
        lambda h: jnp.minimum(h, 20.0),
    ],
)
def test_response_form_refuses_jumps_and_kinks(function):
    with pytest.raises(ValueError, match="^activation: got (relu|<lambda>)"):
        solve(network(activation=function), form="response")


def test_kernels_between_all_times_are_made_when_asked_for(solved):
    """They are not kept, are those of the same random numbers, and are refused where
    they do not fit.
    """
    assert solved.trajectory.top_features is None
    assert solved.trajectory.bottom_gradients is None
    features, _ = solved.two_time(2)
    np.testing.assert_allclose(
        np.einsum("tmtn->tmn", features), solved.feature_kernel(2), rtol=1e-12
    )
    many = RNG.standard_normal((200, 4))
    long = network(inputs=many, targets=many[:, 0], hidden_layers=1, steps=1000)
    with pytest.raises(ValueError, match="^two_time: got 1000 steps of 200 .*GiB"):
        eqx.tree_at(lambda s: s.net, solved, long).two_time(1)
    deep = network(inputs=many, targets=many[:, 0], steps=1000)
    with pytest.raises(ValueError, match="^samples: got .*GiB"):
        solve(deep)


@pytest.mark.slow
def test_numbers_of_steps_share_random_numbers_and_a_program():
    """With the same room, what was done before is the same to all digits."""
    longer, shorter = (
        solve(network(steps=t), samples=512, rank=18, throw=False) for t in (11, 8)
    )
    np.testing.assert_allclose(
        shorter.predictions, longer.predictions[:9], rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(
        shorter.gradient_kernel(1), longer.gradient_kernel(1)[:9], rtol=1e-12
    )
    assert shorter.trajectory.layers[0].rates.shape[1] == 8
    sizes = [
        nonlinear.shapes(nonlinear.room_for(network(steps=t), rank, 1024))
        for t, rank in ((8, 16), (11, 18))
    ]
    assert sizes[0] == sizes[1]


@pytest.mark.slow
def test_second_derivatives_match_differences_of_first_ones():
    def loss(gamma0):
        net = network(hidden_layers=1, gamma0=gamma0, steps=2)
        return solve(net, samples=256, batches=1, rank=12).train_loss[-1]

    first = jax.grad(loss)
    difference = (first(2.0 + 1e-4) - first(2.0 - 1e-4)) / 2e-4
    assert float(jax.grad(first)(2.0)) == pytest.approx(float(difference), rel=1e-5)


def level_two(numbers):
    """Of W^1 after four steps: value, overlaps, margin, escape time; and sharpness."""
    gamma0, variance, rate = numbers
    net = network(gamma0=gamma0, init_variance=variance, learning_rate=rate, steps=4)
    solution = solve(net, samples=256, batches=1, rank=16, throw=False)
    found = solution.outliers(1, 4, max_outliers=1)
    return jnp.stack(
        [
            found.values[0],
            found.left_overlap[0, -1],
            jnp.sum(found.right_overlap),
            solution.escape_margin(1, 4),
            solution.escape_time(1),
            solution.sharpness[4],
        ]
    )


def second_derivatives(points):
    """At random points along random lines: (derivative, difference) of first and of
    second order, each (points, quantities).
    """
    rng = np.random.default_rng(0)
    step = 1e-4

    @jax.jit
    def line(t, at, direction):
        return level_two(at + t * direction)

    slope = jax.jit(jax.jacfwd(line))
    curvature = jax.jit(jax.jacfwd(jax.jacfwd(line)))
    found = []
    for _ in range(points):
        at = rng.uniform([3.0, 0.8, 0.4], [5.0, 1.2, 0.6])
        direction = rng.uniform(-1, 1, 3) * [1.0, 0.3, 0.1]
        up, down = ((sign * step, at, direction) for sign in (1, -1))
        first = (line(*up) - line(*down)) / (2 * step)
        second = (slope(*up) - slope(*down)) / (2 * step)
        here = (0.0, at, direction)
        found.append([slope(*here), first, curvature(*here), second])
    return np.moveaxis(np.array(found), 1, 0)


@pytest.mark.slow
def test_second_derivatives_of_level_two_match_differences():
    slope, first, curvature, second = second_derivatives(3)
    assert (np.abs(second) > 1e-4).all()
    np.testing.assert_allclose(slope, first, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(curvature, second, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_outliers_of_the_response_form():
    net = network(gamma0=4.0, init_variance=1.0, steps=6)
    response, conditioning = (
        solve(net, samples=16384, batches=8, form="response"),
        solve(net, samples=8192),
    )
    np.testing.assert_allclose(
        response.outliers(1, 6).values, conditioning.outliers(1, 6).values, rtol=5e-3
    )
    for side in ("left_overlap", "right_overlap"):
        one, other = (
            getattr(s.outliers(1, 6, 1), side) for s in (response, conditioning)
        )
        error = np.hypot(
            *(
                s.standard_error(
                    lambda s, side=side: getattr(s.outliers(1, 6, 1), side)
                )
                for s in (response, conditioning)
            )
        )
        assert one.shape == (1, 12) and (np.abs(one - other) < 4 * error).all()
    assert not any(
        len(s.outliers(1, 6, independent=True).values) for s in (response, conditioning)
    )
    everywhere = response.outliers(1).values
    assert everywhere.shape[0] == 7 and np.isnan(everywhere[0]).all()
    np.testing.assert_allclose(
        everywhere[-1, 0], response.outliers(1, 6).values[0], rtol=1e-6
    )
    assert response.escape_step(1) == conditioning.escape_step(1)


@pytest.mark.slow
def test_comparison_with_a_simulation():
    net = network(gamma0=4.0, test_inputs=TEST_INPUTS, test_targets=[0.0, 0.0])
    solution, simulation = (
        solve(net, samples=4096),
        simulate(net, width=800, seeds=20, spectra_at=(5,), progress=False),
    )
    table = compare(solution, simulation)
    assert {
        "predictions 1,0",
        "test_loss",
        "feature_kernel trace",
        "gradient_kernel trace",
    } <= set(table.quantity)
    row = table[(table.quantity == "predictions 0,0") & (table.step == 5)].iloc[0]
    seeds = simulation.predictions[:, 5, 0, 0]
    error = np.hypot(
        seeds.std(ddof=1) / np.sqrt(20), solution.standard_error("predictions")[5, 0, 0]
    )
    assert row.theory == pytest.approx(
        float(solution.predictions[5, 0, 0])
    ) and row.simulation == pytest.approx(seeds.mean(), rel=1e-12)
    assert row.standard_error == pytest.approx(float(error))
    assert table[table.quantity == "outlier_1"].layer.tolist() == [1]
    assert table[table.theory.abs() > 0.01].relative_error.abs().max() < 0.1


OUTPUTS = np.array([[1.0, 0.2, -0.3], [-0.5, 0.4, 0.9]])


@pytest.mark.slow
def test_one_query_of_a_sample_is_as_good_as_one_of_every_output():
    """Momentum, decay and another loss see no difference either: predictions and
    outliers of both ways agree within their errors, and the queries are a third as many.
    """
    net = network(
        targets=OUTPUTS, momentum=0.5, weight_decay=0.1, learning_rate=0.6, steps=8
    )
    solution = solve(net, samples=8192)
    whole = solution._of_each_output
    assert not solution.each_output and whole.each_output
    for quantity in ("predictions", lambda s: s.outliers(1, 8, max_outliers=2).values):
        found = np.asarray(
            getattr(solution, quantity)
            if isinstance(quantity, str)
            else quantity(solution)
        )
        expected = np.asarray(
            getattr(whole, quantity) if isinstance(quantity, str) else quantity(whole)
        )
        error = np.hypot(
            solution.standard_error(quantity), whole.standard_error(quantity)
        )
        assert np.isfinite(found).all()
        assert (np.abs(found - expected) < 5 * error + 1e-6).all()
    assert solution.outliers(1, 8).left_overlap.shape[1] == 8 * 2
    assert whole.outliers(1, 8).left_overlap.shape[1] == 8 * 2 * 3
    assert (solution.stats["ranks"][:, 0] < whole.stats["ranks"][:, 0]).all()


def test_kernels_with_output_indices_are_made_once_and_belong_to_the_solution():
    net = network(targets=OUTPUTS, steps=4)
    solution = solve(net, samples=1024, batches=2)
    kernel = solution.gradient_kernel(1)
    assert kernel.shape == (5, 2, 3, 2, 3)
    nonlinear_solution._kept_kernels.cache_clear()
    assert solution.ntk.kernel.shape == (5, 6, 6)
    assert nonlinear_solution._kept_kernels.cache_info().misses == 2
    assert solution.sharpness.shape == (5,)
    assert nonlinear_solution._kept_kernels.cache_info().misses == 2
    error = solution.standard_error(lambda s: s.gradient_kernel(1))
    assert nonlinear_solution._kept_kernels.cache_info().misses == 2
    assert error.shape == kernel.shape and 0 < error.max() < 0.2
    again = solve(dataclasses.replace(net, gamma0=1.0), samples=1024, batches=2)
    assert not np.allclose(again.gradient_kernel(1)[-1], kernel[-1])
    contracted = np.einsum("mk,mknj,nj->mn", OUTPUTS, kernel[0], OUTPUTS)
    own = solution.trajectory.gradient_kernels[0].mean(0)[0][:, 0, :, 0]
    np.testing.assert_allclose(own, contracted, rtol=0.05)


@pytest.mark.slow
def test_without_options_as_many_sites_as_the_queries_need():
    """Twenty samples in forty steps: the first batch finds that a thousand sites are
    too few, and a standard error comes with the answer.
    """
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((20, 30))
    targets = rng.choice([-1.0, 1.0], 20)
    net = network(inputs=inputs, targets=targets, learning_rate=1.0, steps=40)
    solution = solve(net)
    assert solution.ok and 2 * solution.stats["directions"].max() <= solution.sites
    assert 0 < solution.stats["standard_error"] < 0.02
    few = solve(net, samples=4000, throw=False)
    assert few.sites == 1024 < solution.sites
    assert few.status.startswith("too few samples")


@pytest.mark.slow
def test_of_many_queries_small_directions_are_dropped(monkeypatch):
    monkeypatch.setattr(nonlinear_solution, "_MANY_QUERIES", 8)
    coarse = solve(network(steps=20))
    assert coarse.stats["tolerance"] == 1e-3
    fine = solve(network(steps=20), samples=4 * 4096)
    assert fine.stats["tolerance"] == 1e-4
    assert (coarse.stats["ranks"] <= fine.stats["ranks"]).all()
    np.testing.assert_allclose(coarse.predictions, fine.predictions, atol=5e-3)
    np.testing.assert_allclose(
        coarse.outliers(1, 20).values, fine.outliers(1, 20).values, rtol=5e-3
    )


def test_samples_can_be_added(solved):
    more = solved.more(1024)
    assert more.batches == 6 and more.stats["samples"] == 3072
    np.testing.assert_array_equal(
        more.trajectory.predictions[:4], solved.trajectory.predictions
    )
    at_once = solve(network(test_inputs=TEST_INPUTS), samples=3072, batches=6)
    np.testing.assert_array_equal(at_once.train_loss, more.train_loss)


@pytest.mark.parametrize("layers", [1, 2])
def test_sites_have_the_kernels_of_their_step(layers):
    """To all digits, at the start and after training, on test inputs too. With several
    outputs they are those of the training in which each of them has asked.
    """
    net = network(
        hidden_layers=layers,
        targets=np.array([[1.0, 0.2], [-0.5, 0.4]]),
        test_inputs=TEST_INPUTS,
        steps=2,
    )
    solution = solve(net, samples=256, batches=2, rank=12)._of_each_output
    for l, step in ((1, 0), (layers, 2)):
        fields = solution.fields(l, step)
        h, z = fields.forward, fields.backward
        assert h.shape == (4, 256) and z.shape == (2, 2, 256) and fields.batches == 2
        phi = np.tanh(h[:2])
        g = (1 - phi**2)[:, None] * z
        found = np.einsum("ms,ns->mn", phi, phi) / 256
        expected = solution.feature_kernel(l)[step]
        np.testing.assert_allclose(found, expected, rtol=1e-10)
        found = np.einsum("mks,njs->mknj", g, g) / 256
        expected = solution.gradient_kernel(l)[step]
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    readout = solution.fields(layers, 2)
    predictions = np.tanh(readout.forward[:2]) @ readout.backward[0].T / 256 / 2.0
    np.testing.assert_allclose(predictions, solution.predictions[2], rtol=1e-10)


@pytest.mark.slow
def test_what_fields_refuse_and_that_they_end_with_training():
    net = network(hidden_layers=1, learning_rate=300.0, steps=6)
    solution = solve(net, samples=128, batches=2, rank=12, throw=False)
    assert solution.finite_steps < 6
    assert np.isfinite(solution.fields(1, 0).forward).all()
    after = solution.fields(1, 6)
    assert np.isnan(after.forward).all() and np.isnan(after.backward).all()
    with pytest.raises(ValueError, match="^step: got 7"):
        solution.fields(1, 7)
    with pytest.raises(ValueError, match="^l: got 2"):
        solution.fields(2, 1)


def tanh_slope(h):
    return 1 - np.tanh(h) ** 2


def trained_in_numpy(net, width, seed, phi=np.tanh, slope=tanh_slope):
    """A plain network with two hidden layers: its losses, and h^1, z^1, h^2, z^2
    (inputs, width) at the end.
    """
    x, y = np.asarray(net.inputs), np.asarray(net.targets)[:, 0]
    P, D = x.shape
    rng = np.random.default_rng(seed)
    size = np.sqrt(net.init_variance)
    W0 = size * rng.standard_normal((width, D))
    W1 = size * rng.standard_normal((width, width))
    w = size * rng.standard_normal(width)
    rate = net.learning_rate * net.gamma0 / P
    losses = []
    for _ in range(net.steps + 1):
        h1 = W0 @ x.T / np.sqrt(D)
        h2 = W1 @ phi(h1) / np.sqrt(width)
        z2 = np.repeat(w[:, None], P, 1)
        z1 = W1.T @ (slope(h2) * z2) / np.sqrt(width)
        residual = y - w @ phi(h2) / width / net.gamma0
        losses.append(np.mean(residual**2))
        push = rate * residual
        W0 = W0 + (slope(h1) * z1 * push) @ x / np.sqrt(D)
        W1 = W1 + (slope(h2) * z2 * push) @ phi(h1).T / np.sqrt(width)
        w = w + phi(h2) @ push
    return losses, (h1.T, z1.T, h2.T, z2.T)


@pytest.mark.slow
def test_an_activation_that_jumps_has_the_losses_of_plain_networks():
    """h + sign(h), of slope one: by conditioning. The response form, which would need
    the slope of the jump, gave other numbers, and refuses it.
    """
    net = network(activation=lambda h: h + jnp.sign(h), gamma0=3.0, learning_rate=0.1)
    solution = solve(net, samples=16384)
    runs = [
        trained_in_numpy(net, 1500, seed, lambda h: h + np.sign(h), np.ones_like)
        for seed in range(8)
    ]
    losses = np.array([losses for losses, _ in runs])
    spread = np.var(losses, 0, ddof=1) / len(losses)
    error = np.sqrt(spread + solution.standard_error("train_loss") ** 2)
    z = (losses.mean(0) - solution.train_loss) / error
    assert np.abs(z).max() < student.isf(norm.sf(3) / len(z), 7)
    assert error.max() < 0.02 and losses.mean(0)[-1] < 0.8 * losses.mean(0)[0]
    with pytest.raises(ValueError, match="^activation: got <lambda>"):
        solve(net, form="response")


@pytest.mark.slow
def test_sites_have_the_law_of_neurons_of_plain_networks():
    """Quantiles and the kurtosis of h and z of both layers, after training."""
    net = network(gamma0=4.0, steps=4, learning_rate=0.4)
    solution = solve(net, samples=16384)
    layers = [solution.fields(l, 4) for l in (1, 2)]
    theory = [x for f in layers for x in (f.forward, f.backward[:, 0])]
    runs = [trained_in_numpy(net, 1500, seed)[1] for seed in range(8)]

    def measured(x):
        at = np.quantile(x, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1)
        square = np.mean(x**2, 1)
        kurtosis = np.mean(x**4, 1) / square**2
        return np.concatenate([at, [square, kurtosis]])

    worst = []
    far = 0.0
    for i, law in enumerate(theory):
        seeds = np.array([measured(run[i]) for run in runs])
        batches = [measured(part) for part in np.split(law, solution.batches, 1)]
        spread = np.var(seeds, 0, ddof=1) / len(seeds)
        error = np.sqrt(spread + np.var(batches, 0, ddof=1) / len(batches))
        worst.append(np.abs(seeds.mean(0) - measured(law)) / error)
        far = max(far, np.abs(measured(law)[-1] - 3).max())
    z = np.concatenate([x.ravel() for x in worst])
    # four batches and eight seeds: Student's law
    assert z.max() < student.isf(norm.sf(3) / len(z), 3)
    assert np.sqrt(np.mean(z**2)) < 2 and far > 0.1


@pytest.mark.slow
def test_linear_networks_take_as_few_sites_as_are_exact():
    """And have the kernels of many more."""
    net = network(activation="linear", steps=3)
    few = solve(net)
    many = solve(net, samples=8192)
    assert few.sites < 1024 < many.sites and few.ok
    for quantity in ("predictions", "train_loss"):
        np.testing.assert_allclose(
            getattr(few, quantity), getattr(many, quantity), rtol=1e-6, atol=1e-8
        )
    for l in (1, 2):
        np.testing.assert_allclose(
            few.gradient_kernel(l), many.gradient_kernel(l), rtol=1e-6
        )
    np.testing.assert_allclose(
        few.outliers(1, 3).values, many.outliers(1, 3).values, rtol=1e-6
    )
    assert solve(network(steps=1)).sites == 1024


def test_first_step_is_the_ntk():
    """Delta(1) = (1 - learning_rate K) Delta(0) up to second order, for a small
    learning rate.
    """
    net = network(learning_rate=1e-4, gamma0=0.5, test_inputs=TEST_INPUTS)
    solution = solve(net, samples=2048)
    residual = TARGETS - solution.predictions[:, :, 0]
    moved = (residual[1] - residual[0]) / 1e-4
    np.testing.assert_allclose(moved, -solution.ntk.kernel[0] @ residual[0], rtol=2e-3)


def angle_kernels(name, h, variance):
    """E phi(u) phi(v) and E phi'(u) phi'(v) for Gaussian (u, v) of covariance h, in
    closed form.
    """
    d = np.sqrt(np.outer(np.diag(h), np.diag(h)))
    if name == "relu":
        angle = np.arccos(np.clip(h / d, -1, 1))
        return d * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi), (
            np.pi - angle
        ) / (2 * np.pi)
    scale = np.sqrt(np.outer(1 + np.diag(h), 1 + np.diag(h)))
    return 2 / np.pi * np.arcsin(h / scale), 2 / np.pi / np.sqrt(scale**2 - h**2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu", "erf"])
def test_lazy_limit_is_kernel_regression(name):
    """gamma0 -> 0: gradient descent with the analytic arc-cosine or arcsine kernel, on
    training and test inputs.
    """
    net = network(activation=name, gamma0=1e-3, test_inputs=TEST_INPUTS, steps=8)
    solution = solve(net, samples=8192, rank=64)
    x = np.concatenate([INPUTS, TEST_INPUTS])
    layer = 1.2 * x @ x.T / 4
    ntk, features, slopes = x @ x.T / 4, [], []
    for _ in range(2):
        phi, slope = angle_kernels(name, layer, 1.2)
        features.append(phi)
        slopes.append(slope)
        layer = 1.2 * phi
    back2 = 1.2 * slopes[1]  # <g^2 g^2>
    back1 = 1.2 * back2 * slopes[0]
    ntk = (ntk * back1 + features[0] * back2 + features[1]) / 2
    f = np.zeros(4)
    for _ in range(8):
        f = f + 0.2 * ntk[:, :2] @ (TARGETS - f[:2])
    np.testing.assert_allclose(solution.predictions[-1, :, 0], f[:2], atol=4e-3)
    np.testing.assert_allclose(solution.test_predictions[-1, :, 0], f[2:], atol=6e-3)
    np.testing.assert_allclose(solution.ntk.kernel[0], ntk[:2, :2], rtol=2e-2)


def test_linear_activation_with_one_sample_is_a_recursion():
    """L = 1, P = 1, phi(h) = h: h and w stay in the plane of h(0) and w(0), so that
    moments close.
    """
    x, y = np.array([[1.0, 2.0]]), np.array([1.5])
    gamma0, variance, rate, steps = 1.5, 0.8, 0.1, 12
    net = Nonlinear(
        inputs=x,
        targets=y,
        hidden_layers=1,
        activation="linear",
        gamma0=gamma0,
        init_variance=variance,
        learning_rate=rate,
        steps=steps,
    )
    size = (x @ x.T).item() / 2
    moments = np.diag([variance * size, variance])  # of (h, w)
    f = [moments[0, 1] / gamma0]
    for _ in range(steps):
        push = rate * gamma0 * (y[0] - f[-1])
        step = np.array([[1.0, push * size], [push, 1.0]])
        moments = step @ moments @ step.T
        f.append(moments[0, 1] / gamma0)
    solution = solve(net, samples=256)
    np.testing.assert_allclose(solution.predictions[:, 0, 0], f, rtol=1e-8, atol=1e-12)


def linear_network(x, y, gamma0, variance, rate, steps):
    """Infinitely wide two-layer linear network: coefficients over the Gaussian
    innovations, in exact arithmetic.

    Space 1: h^1(0) (P), r of each backward query. Space 2: w(0), u of each forward
    query. Everything is linear.
    """
    P, size = len(x), 400
    gram = x @ x.T / x.shape[1]
    one, two = np.zeros((P, size)), np.zeros(size)
    one[:, :P] = np.sqrt(variance) * np.linalg.cholesky(gram)
    two[0] = np.sqrt(variance)
    used = [P, 1]
    forward, backward = [], []  # (query, its innovation) on each side
    spikes, predictions = [], []

    def answer(query, own, other, space):
        """M(0) query: by regression on earlier queries `own`, and on what `other`
        revealed.
        """
        known = np.array([q for q, _ in own]).reshape(-1, size)
        images = np.array([image for _, image in own]).reshape(-1, size)
        coefficients = (
            np.linalg.lstsq(known.T, query, rcond=1e-9)[0] if len(own) else np.zeros(0)
        )
        rest = query - coefficients @ known
        image = coefficients @ images if len(own) else np.zeros(size)
        if rest @ rest > 1e-16 * max(query @ query, 1e-300):
            if len(other):
                past = np.array([q for q, _ in other])
                overlaps = np.array([answer_ @ rest for _, answer_ in other])
                image = (
                    image
                    + np.linalg.lstsq(past @ past.T, overlaps, rcond=1e-13)[0] @ past
                )
            fresh = np.zeros(size)
            fresh[used[space]] = np.sqrt(variance * (rest @ rest))
            used[space] += 1
            image = image + fresh
        own.append((query, image))
        return image

    for _ in range(steps + 1):
        h2 = np.array(
            [
                answer(h, forward, backward, 1)
                + sum(k * g * (p @ h) for k, g, p in spikes)
                for h in one
            ]
        )
        f = h2 @ two / gamma0
        predictions.append(f)
        back = answer(two, backward, forward, 0) + sum(
            k * p * (g @ two) for k, g, p in spikes
        )
        push = rate * gamma0 / P * (y - f)
        spikes += [(k, two.copy(), h.copy()) for k, h in zip(push, one, strict=True)]
        one, two = one + np.outer(gram @ push, back), two + push @ h2
    return np.array(predictions)


def test_linear_activation_is_the_closed_linear_theory():
    """Every inner product is exact with matched moments: no sampling error is left."""
    net = network(activation="linear", steps=5, gamma0=1.5)
    exact = linear_network(INPUTS, TARGETS, 1.5, 1.2, 0.2, 5)
    solution = solve(net, samples=512, batches=2)
    np.testing.assert_allclose(
        solution.predictions[:, :, 0], exact, rtol=2e-5, atol=1e-7
    )


@pytest.mark.slow
def test_gradient_kernel_is_a_matrix_over_outputs():
    """At the start <g_k g_j> is diagonal in the outputs, each entry that of a single
    output.
    """
    two = solve(
        network(targets=RNG.choice([-1.0, 1.0], (2, 2)), steps=1), samples=8192, rank=8
    )
    one = solve(network(steps=1), samples=8192, rank=8)
    for l in (1, 2):
        kernel, single = (
            two.gradient_kernel(l)[0],
            one.gradient_kernel(l)[0][:, 0, :, 0],
        )
        np.testing.assert_allclose(kernel[:, 0, :, 0], single, atol=0.05)
        np.testing.assert_allclose(kernel[:, 1, :, 1], single, atol=0.05)
        np.testing.assert_allclose(kernel[:, 0, :, 1], 0, atol=0.05)


@pytest.mark.slow
def test_response_of_the_gradient_by_quadrature():
    """At the start B = <d g^2/d u> = <phi''(h^2) w> = 0 and A = 0; after one step A =
    <d phi(h^1)/d r>, for P = 1 learning_rate gamma0 Delta |x|^2/D <phi'(h^1(1))
    phi'(h^1(0))>.
    """
    x, y = np.array([[1.0, 1.0]]), np.array([1.0])
    gamma0, variance, rate = 2.0, 1.0, 0.3
    net = Nonlinear(
        inputs=x,
        targets=y,
        hidden_layers=2,
        activation="erf",
        gamma0=gamma0,
        init_variance=variance,
        learning_rate=rate,
        steps=1,
    )
    solution = solve(net, samples=16384, batches=8)
    B, A = solution.responses(1)
    error = np.asarray(solution.standard_error(lambda s: s.responses(1)[1]))[
        1, 0, 0, 0, 0
    ]
    assert abs(B[0, 0, 0, 0, 0]) < 0.02 and abs(A[0, 0, 0, 0, 0]) < 1e-12

    # h(1) = h(0) + k phi'(h(0)) z: z = M^T g of variance <g^2>, g = phi'(h^2) w,
    # <phi'(h^2)^2> = 2/pi / sqrt(1 + 2 h)
    def slope(h):
        return np.sqrt(2 / np.pi) * np.exp(-(h**2) / 2)

    feature = 2 / np.pi * np.arcsin(0.5)
    gradient = variance * 2 / np.pi / np.sqrt(1 + 2 * variance * feature)
    push = rate * gamma0 * y[0]

    def inner(h):
        # E over z of phi'(h + push phi'(h) z): a Gaussian integral
        spread = 1 + (push * slope(h)) ** 2 * variance * gradient
        return np.sqrt(2 / np.pi) * np.exp(-(h**2) / 2 / spread) / np.sqrt(spread)

    expected = push * quad(lambda h: norm.pdf(h) * slope(h) * inner(h), -8, 8)[0]
    assert abs(A[1, 0, 0, 0, 0] - expected) < 4 * error + 1e-4


@pytest.mark.slow
def test_derivatives_match_finite_differences():
    def loss(gamma0, variance, rate):
        net = network(
            gamma0=gamma0, init_variance=variance, learning_rate=rate, steps=4
        )
        return solve(net, samples=512, batches=1, rank=16).train_loss[-1]

    at = (2.0, 1.2, 0.2)
    slopes = jax.grad(loss, (0, 1, 2))(*at)
    for i, slope in enumerate(slopes):
        up, down = (
            [v + sign * 1e-4 * (i == j) for j, v in enumerate(at)] for sign in (1, -1)
        )
        assert float(slope) == pytest.approx(
            float(loss(*up) - loss(*down)) / 2e-4, rel=1e-5
        )
    with pytest.raises(ValueError, match="inputs and targets"):
        jax.grad(
            lambda x: solve(
                network(inputs=x), samples=512, batches=1, rank=16
            ).train_loss[-1]
        )(jnp.asarray(INPUTS))


def test_what_is_refused():
    with pytest.raises(ValueError, match="^test_inputs: got None"):
        network(test_targets=[1.0, 2.0])
    with pytest.raises(ValueError, match="GiB"):
        solve(network(steps=1000), samples=2**30)
    with pytest.raises(ValueError, match="layer"):
        network().layer(2)


def test_more_directions_than_sites_are_too_few_samples_and_no_divergence():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(8, 6))
    net = network(inputs=inputs, targets=np.sign(inputs[:, 0]), steps=20)
    solution = solve(net, samples=64, throw=False)
    assert not np.isfinite(solution.train_loss).all()
    assert solution.status.startswith("too few samples: batches of 16 sites for 18")
    assert "more `samples`" in solution.remedy


@pytest.mark.slow
def test_what_is_reported():
    assert (
        solve(network(), samples=512, rank=3, throw=False).status == "rank cap reached"
    )
    assert solve(
        network(), samples=64, batches=2, rank=16, throw=False
    ).status.startswith("too few samples")
    accurate = solve(network(), samples=512, rank=16, accuracy=1e-7, throw=False)
    assert accurate.status.startswith("too few samples: standard error")
    wild = network(learning_rate=400.0, steps=12, activation="linear")
    solution = solve(wild, samples=512, rank=26, throw=False)
    finite = np.isfinite(solution.train_loss)
    assert (
        solution.status.startswith("diverged at step") and finite[0] and not finite[-1]
    )
    assert solution.status == f"diverged at step {finite.sum()}"


@pytest.mark.slow
def test_matrix_free_networks_have_the_law_of_plain_ones():
    net = network(steps=6)
    plain = simulate(net, width=50, seeds=4000, progress=False)
    free = simulate(net, width=50, seeds=2000, seed=1, matrix_free=True, progress=False)
    other = simulate(
        network(steps=6, init_variance=1.2 * 1.02),
        width=50,
        seeds=4000,
        seed=2,
        progress=False,
    )
    quantities = (
        lambda s: s.train_loss[:, -1],
        lambda s: s.predictions[:, 3, 0, 0],
        lambda s: s.feature_kernel(2)[:, -1, 0, 1],
        lambda s: s.gradient_kernel(1)[:, -1, 0, 0, 0, 0],
    )
    for quantity in quantities:
        assert ks_2samp(quantity(plain), quantity(free)).pvalue > 0.01 / len(quantities)

    def start(s):
        kernels = (
            s.feature_kernel(1),
            s.feature_kernel(2),
            s.gradient_kernel(2)[:, :, :, 0, :, 0],
        )
        return sum(
            np.log(np.trace(kernel[:, 0], axis1=1, axis2=2)) for kernel in kernels
        )

    assert (
        ks_2samp(start(plain), start(other)).pvalue < 0.01
    )  # the test can see a variance 2% off
    assert ks_2samp(start(plain), start(free)).pvalue > 0.01


@pytest.mark.slow
def test_matrix_free_networks_follow_the_theory(solved):
    net = network(test_inputs=TEST_INPUTS)
    free = simulate(
        net, width=20_000, seeds=1, matrix_free=True, spectra_at=(5,), progress=False
    )
    np.testing.assert_allclose(free.predictions[0], solved.predictions, atol=0.06)
    np.testing.assert_allclose(free.train_loss[0], solved.train_loss, rtol=0.06)


def test_the_leading_directions_of_many_queries_are_found(monkeypatch):
    """Of many queries the span of the largest is found by iteration: here down to a
    thousandth of them.
    """
    monkeypatch.setattr(history, "_MANY", 8)
    rng = np.random.default_rng(5)
    left, _ = np.linalg.qr(rng.normal(size=(60, 50)))
    right, _ = np.linalg.qr(rng.normal(size=(80, 50)))
    wanted = 10.0 ** (-np.arange(50) / 5)
    queries = jnp.asarray((left * wanted) @ right.T)
    directions, sizes = history._singular(queries, 16)
    assert directions.shape == (60, 24)
    np.testing.assert_allclose(sizes[:16], wanted[:16], rtol=1e-9)
    cosines = np.abs(np.sum(directions[:, :16] * left[:, :16], 0))
    np.testing.assert_allclose(cosines, 1.0, atol=1e-9)
