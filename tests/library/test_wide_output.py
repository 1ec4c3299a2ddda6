"""Many outputs: the frozen readout against simulation and the spiked theory, the
trained one against simulation.
"""

import dataclasses

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

import dmftlib as dm
from dmftlib import simulate, solve
from dmftlib.networks import WideOutput
from dmftlib.spectra.push_forward import singular_values
from dmftlib.spectra.resolvent import generalised_mp
from dmftlib.training.wide_output import edge_correction, marchenko_pastur_nodes, modes

MANY = WideOutput(
    output_ratio=0.5, input_ratio=0.7, target_variance=4.0, learning_rate=0.1, steps=12
)
FEW = WideOutput(
    output_ratio=0.0, input_ratio=0.7, target_variance=9.0, learning_rate=0.1, steps=30
)
TRAINED = WideOutput(
    output_ratio=0.5,
    input_ratio=0.5,
    gamma0=2.0,
    learning_rate=0.05,
    steps=40,
    train_readout=True,
)


def distance(law, values):
    ranks = (np.arange(values.shape[-1]) + 0.5) / values.shape[-1]
    return np.mean(
        [np.abs(np.asarray(law.cdf(np.sort(row))) - ranks).max() for row in values]
    )


def test_nodes_have_the_moments_of_marchenko_and_pastur():
    for c in (0.2, 1.0, 3.0):
        square, weight = marchenko_pastur_nodes(c)
        assert_allclose(
            [weight @ square, weight @ square**2],
            max(1, c) * np.array([1, 1 + c]),
            rtol=1e-10,
        )


def test_before_training_the_bulk_is_rectangular():
    for ratio in (0.4, 1.0, 2.5):
        law = solve(
            dataclasses.replace(MANY, input_ratio=ratio, init_variance=1.3)
        ).bulk(0, 0)
        expected = dm.rectangular_law(
            1 / ratio, 1.3 * ratio
        )  # entries of variance 1.3/N, N x D
        assert_allclose(
            np.ravel(law.edges), [float(x) for x in expected.edges[0]], atol=1e-9
        )
        x = np.linspace(*map(float, expected.edges[0]), 9)[1:-1]
        assert_allclose(law.density(x), expected.density(x), rtol=1e-8)
        assert law.atoms == ()


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "outputs, inputs, change",
    [
        (0.5, 0.7, {}),
        (0.05, 1.0, {"target_variance": 9.0}),
        pytest.param(1.5, 1.8, {"gamma0": 2.0}, marks=SLOW),
        pytest.param(1.0, 0.5, {"init_variance": 0.5}, marks=SLOW),
    ],
)
def test_distance_to_simulation_falls_at_any_ratios(outputs, inputs, change):
    net = dataclasses.replace(MANY, output_ratio=outputs, input_ratio=inputs, **change)
    sol = solve(net)
    near, far = (
        [distance(sol.bulk(0, t), sim.singular_values(0, t)) for t in (3, 12)]
        for sim in (
            simulate(net, width=N, seeds=3, spectra_at=(3, 12), updates=False)
            for N in (240, 60)
        )
    )
    assert max(near) < 0.02 and np.mean(near) < 0.5 * np.mean(far)


def test_loss_and_update_against_simulation():
    sim, sol = simulate(MANY, width=240, seeds=6, spectra_at=(12,)), solve(MANY)
    error = sim.test_loss.std(0, ddof=1) / np.sqrt(6)
    assert np.all(
        np.abs(sim.test_loss.mean(0) - sol.test_loss) < 4 * error + 3 / 240
    )  # a bias of order 1/N
    law, values = sol.update_bulk(0), sim.update_singular_values(0, 12)
    rank = sim.outputs / values.shape[1]
    assert law.atoms == ((0.0, pytest.approx(1 - rank)),)
    assert np.all(values[:, sim.outputs :] < 1e-9)
    moments = np.stack([np.mean(values**p, 1) for p in (1, 2, 4)])
    low, high = law.edges[0]
    angle = np.pi * (np.arange(400) + 0.5) / 400
    x = (low + high - (high - low) * np.cos(angle)) / 2
    weight = np.asarray(law.density(x)) * np.sin(angle) * (high - low) / 2 * np.pi / 400
    assert_allclose(weight.sum(), rank, rtol=1e-5)
    assert_allclose(moments.mean(1), [weight @ x**p for p in (1, 2, 4)], rtol=0.01)
    assert np.all(sim.update_energy(0, 12).sum(1) < 1 + 1e-9)


def test_a_theory_that_forgets_that_the_readout_is_fed_by_the_start_is_rejected():
    """Without the factor f in sigma^2 f^2 the bulk would keep all of its start."""
    sim = simulate(MANY, width=240, seeds=3, spectra_at=(12,), updates=False)
    sol = solve(MANY)
    kept = sol.trajectory.population[12] + MANY.init_variance * (
        1 - np.append(1, (1 - 0.1 * marchenko_pastur_nodes(0.5)[0]) ** 24)
    )
    wrong = singular_values(generalised_mp(kept, sol.trajectory.weights, 1 / 0.7), 0.7)
    values = sim.singular_values(0, 12)
    assert distance(wrong, values) > 3.5 * distance(sol.bulk(0), values)


@pytest.mark.parametrize(
    "inputs", [0.7, pytest.param(0.3, marks=SLOW), pytest.param(1.6, marks=SLOW)]
)
def test_few_outputs_join_the_spiked_theory(inputs):
    """The outliers from the Grams and responses of the spikes, and the limit of the
    band of the population map.
    """
    few = dataclasses.replace(FEW, input_ratio=inputs, init_variance=1.4)
    found = solve(few).outliers(0, few.steps)
    assert found.values.shape == (1,)
    gaps = []
    for ratio in (1e-3, 1e-5, 1e-7):
        law = solve(dataclasses.replace(few, output_ratio=ratio)).bulk(0)
        assert len(law.edges) == 2
        gaps.append(max(abs(x - float(found.values[0])) for x in law.edges[1]))
        assert_allclose(1 - law.cdf(law.edges[0][1]), ratio / min(1, inputs), rtol=1e-4)
    assert gaps[2] < 1e-2 and np.all(
        np.abs(np.diff(np.log10(gaps)) + 1) < 0.1
    )  # the band closes as sqrt(C/N)
    assert_allclose(
        law.edges[0][1],
        float(dm.rectangular_law(1 / inputs, 1.4 * inputs).edges[0][1]),
        rtol=1e-5,
    )


def test_few_outputs_without_their_dependence_are_elsewhere():
    found = solve(FEW).outliers(0, FEW.steps)
    (edge,) = solve(dataclasses.replace(FEW, output_ratio=1e-7)).bulk(0).edges[1:]
    h = 1 - 0.9**30
    stranger = dm.outliers(
        dm.SpikedEnsemble(
            aspect=1 / 0.7,
            variance=0.7,
            left_gram=[[1.0]],
            right_gram=[[1.0, 0], [0, 9.0]],
            strengths=[[-h * 0.7, h * 0.7**0.5]],
        )
    ).values
    assert_allclose(found.values[0], np.mean(edge), rtol=1e-5)
    assert abs(stranger[0] / found.values[0] - 1) > 0.05


def test_outliers_only_where_there_is_a_finite_number():
    assert solve(MANY).outliers(0, MANY.steps).values.shape == (0,)
    assert solve(FEW).outliers(0, 0).values.shape == (0,)
    sim = simulate(
        dataclasses.replace(FEW, output_ratio=1 / 300),
        width=300,
        seeds=12,
        spectra_at=(30,),
    )
    found = solve(FEW).outliers(0, FEW.steps)
    top = sim.singular_values(0, 30)[:, 0]
    spread = top.std(ddof=1) / np.sqrt(12)
    assert abs(top.mean() - found.values[0]) < 4 * spread
    assert (
        abs(sim.update_energy(0, 30)[:, 0].mean() - found.left_overlap[0, 0]) < 0.03
    )  # one row moves: its share


@pytest.mark.parametrize(
    "outputs, inputs",
    [
        (0.3, 0.6),
        pytest.param(0.5, 0.5, marks=SLOW),
        pytest.param(0.6, 0.3, marks=SLOW),
    ],
)
def test_both_layers_trained_in_the_wide_limit(outputs, inputs):
    net = dataclasses.replace(TRAINED, output_ratio=outputs, input_ratio=inputs)
    sol = solve(net)
    law = sol.bulk(0)
    assert law.atoms == (((1.0, 1 - outputs / inputs),) if outputs < inputs else ())
    x = np.linspace(*law.edges[0], 20)[1:-1]
    slope = (np.asarray(law.cdf(x + 1e-6)) - np.asarray(law.cdf(x - 1e-6))) / 2e-6
    assert_allclose(law.density(x), slope, rtol=1e-4)
    means, errors = [], []
    for width in (2000, 8000):
        sim = simulate(
            net, width=width, dim=40, seeds=3, spectra_at=(40,), updates=False
        )
        ours = np.sort(np.asarray(modes(net, sim.targets)[1][-1]) ** 0.5, -1)[:, ::-1]
        means.append(
            np.mean((sim.singular_values(0, 40)[:, : ours.shape[1]] - ours) ** 2) ** 0.5
        )
        errors.append(abs(sim.test_loss[:, 5].mean() / sol.test_loss[5] - 1))
    assert means[1] < 0.65 * means[0] and means[1] < 0.03 and errors[1] < 0.1
    assert_allclose(
        sol.sharpness[0], 2 * net.init_variance
    )  # E is multiplied by a a^T and by M^T M, each the identity
    assert_allclose(sol.sharpness[-1], 2 * float(law.edges[-1][1]) ** 2, rtol=1e-3)


def test_modes_conserve_and_converge_where_they_should():
    """k^2 - F^2 is conserved by the flow: at small learning rate sigma^4 + gamma^2 s^2
    = k^2 at the end.
    """
    net = dataclasses.replace(TRAINED, learning_rate=1e-3, steps=4000)
    s = np.array([0.3, 1.0, 2.0])
    F, k = modes(net, s)
    assert_allclose(k[-1], np.sqrt(1 + (net.gamma0 * s) ** 2), rtol=3e-3)
    assert_allclose(F[-1], net.gamma0 * s, rtol=3e-3)


def exact_edge(net, s, start, scale):
    """Largest singular value of M(t) from the closed equations of F, K, Q, the start
    given in units of `scale`.
    """
    K, Q, F = (np.eye(len(s)) * (i < 2) + scale * X for i, X in enumerate(start))
    for _ in range(net.steps):
        e = net.learning_rate * net.gamma0 * (np.diag(s) - F / net.gamma0)
        K, Q, F = (
            K + F.T @ e + e.T @ F + e.T @ Q @ e,
            Q + F @ e.T + e @ F.T + e @ K @ e.T,
            F + Q @ e + e @ K + e @ F.T @ e,
        )
    return np.sqrt(np.linalg.eigvalsh((K + K.T) / 2)[-1])


def test_first_correction_of_the_edge_by_finite_differences():
    """Averaged over antithetic starts, off the diagonal only: nothing of perturbation
    theory enters.
    """
    net, rng, size, scale = (
        dataclasses.replace(TRAINED, steps=15),
        np.random.default_rng(0),
        6,
        2e-3,
    )
    s = np.array([2.0, 1.6, 1.3, 0.9, 0.5, 0.2])
    off = 1 - np.eye(size)
    base, gains = exact_edge(net, s, [0 * off] * 3, 0.0), []
    for _ in range(1500):
        X, Y, Z = rng.normal(size=(3, size, size)) * off
        start = [np.triu(X) + np.triu(X).T, np.triu(Y) + np.triu(Y).T, Z]
        gains.append(
            (
                exact_edge(net, s, start, scale)
                + exact_edge(net, s, start, -scale)
                - 2 * base
            )
            / 2
            / scale**2
        )
    expected = (
        float(edge_correction(net, s[0], s[1:])[-1]) * size
    )  # D times the share of one pair
    assert abs(np.mean(gains) - expected) < 3.5 * np.std(gains) / np.sqrt(1500)
    assert np.std(gains) / np.sqrt(1500) < 0.05 * expected


@pytest.mark.slow
def test_the_correction_for_a_law_is_the_limit_of_that_for_draws():
    """Quantiles of the law, D of them, miss D^(-1/3) of the sum, where the other modes
    are closest.
    """
    angle = (np.arange(20001) / 20000) * np.pi
    cumulative = (
        angle + np.sin(angle)
    ) / np.pi  # of s = 2 sin(angle/2), the square law
    sums = []
    for D in (500, 4000):
        others = 2 * np.sin(
            np.interp((np.arange(D - 1) + 0.5) / D, cumulative, angle) / 2
        )
        sums.append(float(edge_correction(TRAINED, 2.0, others)[-1]))
    law = float(edge_correction(TRAINED)[-1])
    assert abs(sums[0] / law - 1) > 0.05
    assert abs((2 * sums[1] - sums[0]) / law - 1) < 0.01


def test_divergence_is_reported_and_what_came_before_is_kept():
    wild = dataclasses.replace(TRAINED, learning_rate=5.0)
    with pytest.raises(dm.SolveError, match="diverged at step"):
        solve(wild)
    sol = solve(wild, throw=False)
    assert not sol.ok and sol.status.startswith("diverged at step ")
    alive = int(sol.status.split()[-1])
    assert np.all(np.isfinite(sol.test_loss[:alive])) and np.all(
        np.isnan(sol.test_loss[alive:])
    )
    assert np.isfinite(sol.bulk(0, alive - 1).edges[0][1])
    with pytest.raises(ValueError, match="^step: got"):
        sol.bulk(0, alive)
    assert solve(MANY).ok and solve(MANY).status == "ok"


def test_sharpness_is_the_edge_of_stability():
    limit = 2 / float(solve(MANY).sharpness[0])
    slow, fast = (
        solve(dataclasses.replace(MANY, steps=400, learning_rate=limit * x)).test_loss
        for x in (0.99, 1.01)
    )
    assert slow[-1] < slow[200] and fast[-1] > fast[200]


def test_bad_questions_are_refused_by_name():
    sol = solve(MANY)
    for question in (lambda: sol.bulk(1), lambda: sol.outliers(2)):
        with pytest.raises(ValueError, match="^layer: got"):
            question()
    with pytest.raises(ValueError, match="^step: got 13"):
        sol.bulk(0, 13)
    with pytest.raises(ValueError, match="^step: got 0"):
        sol.update_bulk(0, 0)
    with pytest.raises(ValueError, match="^train_readout: got True"):
        solve(TRAINED).update_bulk(0, 1)


def test_simulation_repeats_and_jax_is_in_double_precision():
    first, second = (
        simulate(MANY, width=40, seeds=2, spectra_at=(12,)).singular_values(0, 12)
        for _ in range(2)
    )
    assert_allclose(first, second, rtol=0)
    assert jax.config.jax_enable_x64 and first.dtype == np.float64


def test_the_update_leaves_alone_what_no_output_reads():
    """M(t) - M(0) has the rank C of the readout: of its min(N, D) = D = 0.7 N singular
    values 0.2 N are zero.
    """
    law = dm.solve(
        dm.WideOutput(output_ratio=0.5, input_ratio=0.7, learning_rate=0.1, steps=3)
    ).update_bulk(0, 3)
    ((position, weight),) = law.atoms
    assert position == 0 and np.isclose(weight, 2 / 7)


@pytest.mark.parametrize("net", [MANY, TRAINED])
@pytest.mark.parametrize(
    "name",
    ["output_ratio", "input_ratio", "target_variance", "gamma0", "learning_rate"],
)
def test_losses_have_derivatives_in_every_number(net, name):
    """Against central differences."""

    def last(value):
        return solve(dataclasses.replace(net, **{name: value}), throw=False).test_loss[
            -1
        ]

    at = getattr(net, name)
    if name == "output_ratio" and net is TRAINED:
        at = 0.4  # at 0.5 there are as many outputs as dimensions, and a kink
    if name == "input_ratio" and net is TRAINED:
        at = 0.6
    step = 1e-5 * at
    difference = (last(at + step) - last(at - step)) / (2 * step)
    assert_allclose(jax.grad(last)(at), difference, rtol=1e-5)
    assert_allclose(jax.jit(last)(at), last(at), rtol=1e-12)


@pytest.mark.parametrize("net", [MANY, TRAINED])
def test_laws_of_traced_numbers_are_refused_in_words(net):
    def edge(value):
        solution = solve(dataclasses.replace(net, gamma0=value), throw=False)
        return solution.bulk(0).edges[0][1]

    for transformed in (jax.grad(edge), jax.jit(edge)):
        with pytest.raises(ValueError, match="^net: got traced numbers"):
            transformed(1.5)


def test_narrow_numbers_calculate_like_any_other():
    """In eight bits 100^2 would be 16."""
    wide = dataclasses.replace(MANY, gamma0=100.0)
    for narrow in (np.int8(100), np.float16(100), np.array(100, np.uint8)):
        same = dataclasses.replace(MANY, gamma0=narrow)
        assert same == wide and type(same.gamma0) is float
        assert_allclose(solve(same).test_loss, solve(wide).test_loss, rtol=0)
