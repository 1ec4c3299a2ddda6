import dataclasses

import numpy as np
import pytest
from scipy import stats

from dmftlib import simulate, solve
from dmftlib.compare import compare, normal_score
from dmftlib.networks import DeepLinear, Nonlinear, WideOutput

NET = DeepLinear(
    hidden_layers=2,
    width_ratio=0.8,
    sample_ratio=1.5,
    gamma0=3.0,
    init_variance=0.5,
    label_noise=0.2,
    learning_rate=0.05,
    steps=20,
)


@pytest.fixture(scope="module")
def simulation():
    return simulate(
        NET,
        dim=200,
        seeds=20,
        spectra_at=(0, 20),
        overlaps=1,
        ntk=False,
        progress=False,
    )


def test_table(simulation):
    solution = solve(NET)
    table = compare(solution, simulation)
    assert list(table.columns) == [
        "quantity",
        "layer",
        "step",
        "theory",
        "simulation",
        "standard_error",
        "degrees_of_freedom",
        "z",
        "relative_error",
    ]
    losses = table[table.quantity == "test_loss"]
    assert list(losses.step) == list(range(21)) and losses.layer.isna().all()
    np.testing.assert_allclose(losses.theory, solution.test_loss)
    np.testing.assert_allclose(losses.simulation, simulation.test_loss.mean(0))
    np.testing.assert_allclose(
        losses.standard_error, simulation.test_loss.std(0, ddof=1) / np.sqrt(20)
    )
    ratio = (losses.simulation - losses.theory) / losses.standard_error
    assert (losses.degrees_of_freedom == 19).all()
    tails = stats.t.cdf(ratio, 19)  # as improbable by Student's law as z is by Gauss's
    np.testing.assert_allclose(stats.norm.cdf(losses.z), tails, rtol=1e-10)
    start = table[(table.quantity == "outlier_1") & (table.step == 0)]
    # the largest singular value of noise falls short of the edge at this size
    short = 1 - start.theory / [solution.bulk(layer).edges[0][1] for layer in (0, 1)]
    assert ((short > 0.005) & (short < 0.05)).all()
    assert (start.z.abs() < 4).all()
    end = table[(table.step == 20) & table.layer.notna()]
    assert sorted(end.quantity.unique()) == [
        "left_overlap_1",
        "outlier_1",
        "right_overlap_1",
    ]
    assert (end.z.abs() < 4).all()
    assert (
        table[table.quantity.isin(["train_loss", "test_loss"])].relative_error.abs()
        < 0.1
    ).all()


def test_one_seed_has_no_standard_error():
    table = compare(solve(NET), simulate(NET, dim=40, seeds=1))
    assert table.z.isna().all() and table.simulation.notna().all()


def test_wide_outputs_are_compared_by_loss_and_edge():
    net = WideOutput(
        output_ratio=0.5,
        input_ratio=0.7,
        target_variance=4.0,
        learning_rate=0.1,
        steps=5,
    )
    table = compare(solve(net), simulate(net, width=300, seeds=6, spectra_at=(0, 5)))
    assert set(table.quantity) == {"train_loss", "test_loss", "edge"}
    assert table[table.quantity == "edge"].step.tolist() == [0, 5]
    assert table.relative_error.abs().max() < 0.05


def test_another_network_is_refused(simulation):
    other = DeepLinear(
        hidden_layers=2, width_ratio=0.8, sample_ratio=1.5, learning_rate=0.05, steps=20
    )
    with pytest.raises(ValueError, match="^simulation: got"):
        compare(solve(other), simulation)


def test_few_seeds_are_judged_by_students_law():
    """One degree of freedom is Cauchy's law, in closed form; and of a right theory with
    an error from four numbers, 0.27 in 100 exceed 3, not 5.8.
    """
    ratio = np.array([-5.0, 0.3, 2.0, 40.0])
    z = normal_score(ratio, np.ones(4), np.ones(4))
    np.testing.assert_allclose(
        stats.norm.cdf(z), 0.5 + np.arctan(ratio) / np.pi, rtol=1e-10
    )
    draws = np.random.default_rng(0).standard_normal((40_000, 4))
    error, mean = draws.std(1, ddof=1) / 2, draws.mean(1)
    score = normal_score(mean, error, np.full(40_000, 3.0))
    assert 0.04 < (np.abs(mean / error) > 3).mean()
    rare = (np.abs(score) > 3).mean()
    assert abs(rare - 0.0027) < 4 * np.sqrt(0.0027 / 40_000)
    large = normal_score(np.array([50.0]), np.ones(1), np.array([1e9]))
    np.testing.assert_allclose(large, 50, rtol=1e-3)


def test_both_sides_of_a_nonlinear_network_have_degrees_of_freedom():
    net = Nonlinear(
        inputs=[[1.0, 0.0], [0.5, 1.0]],
        targets=[1.0, -1.0],
        hidden_layers=1,
        learning_rate=0.1,
        steps=2,
    )
    table = compare(
        solve(net, samples=256), simulate(net, width=30, seeds=5, progress=False)
    )
    last = table[(table.quantity == "train_loss") & (table.step == 2)]
    # Welch: between the fewer of the two, 3 and 4, and their sum
    assert last.degrees_of_freedom.between(3, 7).all() and np.isfinite(last.z).all()


def test_laws_without_a_band_are_compared_by_their_atom():
    """Before training the singular values of a network with a trained readout are all
    sqrt(init_variance), as N -> infinity.
    """
    net = WideOutput(
        output_ratio=0.5,
        input_ratio=0.5,
        init_variance=2.0,
        learning_rate=0.05,
        steps=2,
        train_readout=True,
    )
    simulation = simulate(net, width=2000, dim=20, seeds=3, spectra_at=(0, 2))
    table = compare(solve(net), simulation)
    edges = table[table.quantity == "edge"]
    assert edges.step.tolist() == [0, 2]
    np.testing.assert_allclose(edges.theory.iloc[0], 2**0.5, rtol=1e-12)
    assert edges.relative_error.abs().max() < 0.15


def test_the_fraction_that_a_simulation_has_drawn_is_the_one_compared():
    """0.3 of 4 samples is 1 of 4: the theory of a quarter, not of three tenths."""
    net = DeepLinear(
        hidden_layers=1,
        width_ratio=1.0,
        sample_ratio=0.2,
        learning_rate=0.05,
        steps=3,
        batch=0.3,
    )
    simulation = simulate(net, dim=20, seeds=3, ntk=False, progress=False)
    assert simulation.batch == 0.25
    table = compare(solve(net), simulation)
    assert table.attrs["batch"] == 0.25
    quarter = solve(dataclasses.replace(net, batch=0.25))
    losses = table[table.quantity == "train_loss"]
    np.testing.assert_allclose(losses.theory, quarter.train_loss, rtol=1e-12)
    assert np.abs(losses.theory - np.asarray(solve(net).train_loss)).max() > 1e-3


def test_a_diverged_run_is_compared_as_far_as_it_goes():
    net = WideOutput(output_ratio=0.5, input_ratio=0.7, learning_rate=50.0, steps=30)
    solution = solve(net, throw=False)
    simulation = simulate(net, width=20, seeds=2, spectra_at=(0, 30))
    table = compare(solution, simulation)
    edges = table[table.quantity == "edge"]
    assert np.isfinite(edges.theory.iloc[0]) and np.isnan(edges.theory.iloc[1])


UNTRAINED = {
    "deep linear": (dataclasses.replace(NET, steps=0), dict(dim=40)),
    "online": (dataclasses.replace(NET, steps=0, batch="online"), dict(dim=40)),
    "nonlinear": (
        Nonlinear(
            inputs=[[1.0, 0.0], [0.5, 1.0]],
            targets=[1.0, -1.0],
            hidden_layers=2,
            learning_rate=0.1,
            steps=0,
        ),
        dict(width=30),
    ),
}


@pytest.mark.parametrize("name", UNTRAINED)
def test_no_updates_at_all_are_answered_and_compared(name):
    net, size = UNTRAINED[name]
    solution = solve(net)
    assert solution.ok and len(solution.train_loss) == 1
    layer = net.hidden_layers - 1
    assert np.isnan(solution.outliers(layer).values).all()
    assert len(solution.outliers(layer, 0).values) == 0
    np.testing.assert_allclose(solution.escape_margin(layer), [-1.0])
    assert np.isnan(solution.escape_time(layer))
    assert solution.escape_step(layer) is None
    simulation = simulate(net, seeds=3, spectra_at=(0,), progress=False, **size)
    table = compare(solution, simulation)
    assert len(table) >= 2 and set(table.step) == {0}
    assert np.isfinite(table.simulation).all() and np.isfinite(table.theory).all()
