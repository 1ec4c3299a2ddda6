import numpy as np
import pytest

from dmftlib import simulate, solve
from dmftlib.compare import compare
from dmftlib.networks import DeepLinear, WideOutput

NET = DeepLinear(hidden_layers=2, width_ratio=0.8, sample_ratio=1.5, gamma0=3.0, init_variance=0.5, label_noise=0.2,
                 learning_rate=0.05, steps=20)  # fmt: skip


@pytest.fixture(scope="module")
def simulation():
    return simulate(NET, dim=200, seeds=20, spectra_at=(0, 20), overlaps=1, ntk=False, progress=False)


def test_table(simulation):
    solution = solve(NET)
    table = compare(solution, simulation)
    assert list(table.columns) == ["quantity", "layer", "step", "theory", "simulation", "standard_error", "z",
                                   "relative_error"]  # fmt: skip
    losses = table[table.quantity == "test_loss"]
    assert list(losses.step) == list(range(21)) and losses.layer.isna().all()
    np.testing.assert_allclose(losses.theory, solution.test_loss)
    np.testing.assert_allclose(losses.simulation, simulation.test_loss.mean(0))
    np.testing.assert_allclose(losses.standard_error, simulation.test_loss.std(0, ddof=1) / np.sqrt(20))
    np.testing.assert_allclose(losses.z, (losses.simulation - losses.theory) / losses.standard_error)
    start = table[(table.quantity == "outlier_1") & (table.step == 0)]
    np.testing.assert_allclose(start.theory, [solution.bulk(layer).edges[0][1] for layer in (0, 1)])
    end = table[(table.step == 20) & table.layer.notna()]
    assert sorted(end.quantity.unique()) == ["left_overlap_1", "outlier_1", "right_overlap_1"]
    assert (end.z.abs() < 4).all()
    assert (table[table.quantity.isin(["train_loss", "test_loss"])].relative_error.abs() < 0.1).all()


def test_one_seed_has_no_standard_error():
    table = compare(solve(NET), simulate(NET, dim=40, seeds=1))
    assert table.z.isna().all() and table.simulation.notna().all()


def test_wide_outputs_are_compared_by_loss_and_edge():
    net = WideOutput(output_ratio=0.5, input_ratio=0.7, target_variance=4.0, learning_rate=0.1, steps=5)
    table = compare(solve(net), simulate(net, width=300, seeds=6, spectra_at=(0, 5)))
    assert set(table.quantity) == {"train_loss", "test_loss", "edge"}
    assert table[table.quantity == "edge"].step.tolist() == [0, 5]
    assert table.relative_error.abs().max() < 0.05


def test_another_network_is_refused(simulation):
    other = DeepLinear(hidden_layers=2, width_ratio=0.8, sample_ratio=1.5, learning_rate=0.05, steps=20)
    with pytest.raises(ValueError, match="^simulation: got"):
        compare(solve(other), simulation)
