"""Spectra of trained weights on planted cases. The rates are those of scripts/empirical_rates.py; a slice is rerun."""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import protocol
import pytest
from scipy.stats import gamma, norm

from dmftlib import empirical

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
import empirical_rates  # noqa: E402

RATES = protocol.load("empirical_rates")


def noise(n, m, seed=0):
    return np.random.default_rng([n, m, seed]).standard_normal((n, m))


def test_tracy_widom_quantile_against_published_values_its_moments_and_a_gamma_fit():
    for probability, published in ((0.5, -1.2686), (0.9, 0.4501), (0.95, 0.9793), (0.99, 2.0234)):
        assert empirical.tracy_widom_quantile(probability) == pytest.approx(published, abs=1e-4)
    levels = (np.arange(50) + 0.5) / 50
    quantiles = np.array([empirical.tracy_widom_quantile(level) for level in levels])
    assert quantiles.mean() == pytest.approx(empirical._TW_MEAN, abs=0.01)
    assert quantiles.var() == pytest.approx(empirical._TW_VARIANCE, rel=0.05)  # the last 1/100 of each tail is missed
    fit = gamma.ppf(levels, 46.446, scale=0.186054) - 9.84801  # Chiani 2014
    assert np.abs(quantiles - fit).max() < 0.02


@pytest.mark.parametrize("n, m, seeds", [(10, 10, 500), (64, 64, 200), (30, 300, 100), (200, 50, 100)])
def test_variance_is_fitted_with_the_stated_bias_and_error(n, m, seeds):
    found = [empirical.spectrum(2 * noise(n, m, seed)) for seed in range(seeds)]
    variances = np.array([f.variance for f in found])
    stated = np.mean([f.variance_error for f in found])
    assert abs(variances.mean() - 4) < (0.2 + 3 / np.sqrt(seeds)) * stated
    assert abs(variances.std() / stated - 1) < 4 / np.sqrt(2 * seeds) + 0.05
    assert 1.0 < stated / 4 / np.sqrt(2 / (n * m)) < 1.4


def test_outliers_do_not_pull_the_variance_or_the_bulk():
    W, _, _ = empirical_rates.plant(200, 300, np.linspace(5, 50, 15), np.random.default_rng(3))
    found = empirical.spectrum(W)
    assert len(found.outliers) == 15 and len(found.bulk) == 185
    assert abs(found.variance - 1) < 4 * found.variance_error
    assert found.bulk[0] < found.threshold < found.outliers[-1]
    assert found.kolmogorov < 3 / 185


def test_scale_and_transpose():
    W, _, _ = empirical_rates.plant(80, 200, [2.5], np.random.default_rng(4))
    found, scaled, turned = (empirical.spectrum(X) for X in (W, 3 * W, W.T))
    assert scaled.variance == pytest.approx(9 * found.variance)
    assert scaled.outliers == pytest.approx(3 * found.outliers)
    assert turned.variance == pytest.approx(found.variance)  # of the entries: no units of fan-in
    for name in ("threshold", "outliers", "edge"):
        assert getattr(turned, name) == pytest.approx(np.sqrt(200 / 80) * getattr(found, name))
    assert turned.kolmogorov == pytest.approx(found.kolmogorov)


def test_edge_and_threshold_of_large_noise():
    found = empirical.spectrum(noise(200, 400))
    assert found.edge == pytest.approx(np.sqrt(found.variance) * (1 + np.sqrt(0.5)))
    assert 0 < found.threshold - found.edge < 4 * 400 ** (-2 / 3)
    assert empirical.spectrum(noise(200, 400), 1e-6).threshold > found.threshold


def test_kolmogorov_sees_a_bulk_that_is_not_noise():
    rows = np.linspace(0.5, 1.5, 200)[:, None]  # of unequal variance
    noisy, mixed = (empirical.spectrum(X).kolmogorov for X in (noise(200, 400), rows * noise(200, 400)))
    assert noisy < 3 / 200 and mixed > 3 * noisy


def test_false_positive_rates_met():
    table = RATES[RATES.experiment == "noise"]
    normal = table[table.quantity == "normal"]
    assert len(normal) == 6 and (normal.seeds == 500).all()
    assert (normal.z.abs() < norm.isf(norm.sf(3) / 6)).all()
    assert (table.z < 3).all()  # uniform entries: no more often than stated


def test_three_planted_spikes_are_counted():
    row = RATES[RATES.experiment == "three spikes"].iloc[0]
    assert abs(row.z) < 3


def test_detection_rises_through_the_threshold():
    table = RATES[RATES.experiment == "threshold"].set_index("strength")["mean"]
    assert table[0.6] < 0.05 and table[1.0] < 0.2 and table[1.4] > 0.9
    assert (np.diff(table[table.index >= 0.9]) > 0).all()


def test_planted_positions_and_overlaps_follow_benaych_georges_and_nadakuditi():
    planted = RATES[RATES.experiment == "planted"].rename(columns={"rows": "N"})
    theory = empirical_rates.prediction(empirical_rates.ASPECT, empirical_rates.STRENGTH)
    assert protocol.judge(planted, theory).agrees.all()
    position = empirical_rates.prediction(empirical_rates.ASPECT, 1.05 * empirical_rates.STRENGTH)
    assert not protocol.judge(planted, position).agrees.all()  # a strength 5% off is seen


@pytest.mark.slow
def test_a_slice_of_the_measured_rates_again():
    again = empirical_rates.false_positives((100, 100), "normal", 0.05, 200)
    assert abs(again["mean"] - 0.05) < 3 * again["standard_error"]
    assert empirical_rates.detected(256, [1.4], 40)["mean"] > 0.75
    rows = [empirical_rates.draw(128, np.random.default_rng([128, seed])) for seed in range(40)]
    for quantity, expected in empirical_rates.prediction(empirical_rates.ASPECT, empirical_rates.STRENGTH).items():
        values = np.array([row[quantity] for row in rows])
        assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(40)


def test_ranks():
    rng = np.random.default_rng(5)
    low = rng.standard_normal((30, 3)) @ rng.standard_normal((3, 20))
    for measure in (empirical.stable_rank, empirical.participation_ratio):
        assert 1 <= measure(low) <= 3
        assert measure(np.outer(rng.standard_normal(8), rng.standard_normal(5))) == pytest.approx(1)
        assert measure(np.eye(7)) == pytest.approx(7)
        assert measure(1e-200 * low) == pytest.approx(measure(low))
    W = noise(400, 800)  # sum s^2 = n and s_max^2 = (1 + sqrt c)^2; sum s^4 = n (1 + c), c = 1/2
    assert empirical.stable_rank(W) == pytest.approx(400 / (1 + np.sqrt(0.5)) ** 2, rel=0.03)
    assert empirical.participation_ratio(W) == pytest.approx(400 / 1.5, rel=0.01)


def test_overlaps():
    W, u, v = empirical_rates.plant(60, 90, [30.0, 20.0], np.random.default_rng(6))
    assert np.allclose(empirical.overlaps(W, 5 * u, "left", 2), np.eye(2), atol=0.02)
    assert np.allclose(empirical.overlaps(W, v, "right", 2), np.eye(2), atol=0.02)
    assert np.allclose(empirical.overlaps(W, np.eye(90), "right", 7).sum(1), 1)


@pytest.mark.parametrize("n, m", [(150, 400), (400, 150)])
def test_lanczos_density_is_the_smoothed_spectrum(n, m):
    W, _, _ = empirical_rates.plant(n, m, [6.0], np.random.default_rng(7))
    singular_values = empirical.spectrum(W).singular_values
    points, width = np.linspace(0, 9, 400), 0.1
    bumps = np.exp(-((points[:, None] - singular_values) ** 2) / (2 * width**2)) / (width * np.sqrt(2 * np.pi))
    density = empirical.lanczos_density(W, points, width, depth=60, probes=40)
    assert density.sum() * (points[1] - points[0]) == pytest.approx(1, abs=1e-3)
    assert np.abs(density - bumps.mean(1)).max() < 0.12 * bumps.mean(1).max()
    past = points > singular_values[1] + 5 * width  # the outlier carries 1 / min(n, m)
    assert density[past].sum() * (points[1] - points[0]) * min(n, m) == pytest.approx(1, abs=0.8)


def test_lanczos_density_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matfree", None)
    with pytest.raises(ImportError, match=r"dmftlib\[book\]"):
        empirical.lanczos_density(noise(20, 20), [1.0], 0.1, depth=5)


def test_spectra_of_a_tree():
    initial = {"layers": [jnp.asarray(noise(40, 60)), jnp.zeros(40)], "readout": noise(1, 40), "activation": np.tanh}
    W = np.asarray(initial["layers"][0]) + np.sqrt(60) * 4 * np.outer(np.eye(40)[0], np.eye(60)[0])
    table = empirical.spectra(dict(initial, layers=[jnp.asarray(W), jnp.zeros(40)]), initial)
    (row,) = table.to_dict("records")
    assert table.index.tolist() == ["['layers'][0]"]
    assert row["outliers"] == 1 and (row["rows"], row["columns"]) == (40, 60)
    assert row["update_stable_rank"] == pytest.approx(1) and row["update_participation_ratio"] == pytest.approx(1)
    assert row["largest"] == pytest.approx(empirical.spectrum(W).singular_values[0])
    unmoved = empirical.spectra(initial, initial)
    assert np.isnan(unmoved.update_stable_rank).all()
    assert empirical.spectra(W).index.tolist() == ["weights"]


SQUARE = noise(20, 20)


@pytest.mark.parametrize("call, message", [
    (lambda: empirical.spectrum(np.zeros(5)), "weights: got shape"),
    (lambda: empirical.spectrum(noise(9, 40)), "weights: got shape .* at least 10"),
    (lambda: empirical.spectrum(np.full((20, 20), np.nan)), "weights: got 400 entries that are NaN"),
    (lambda: empirical.spectrum([["a"] * 20] * 20), "weights: got strings"),
    (lambda: empirical.spectrum(np.zeros((20, 20))), "weights: got a matrix of rank 0"),
    (lambda: empirical.spectrum(np.outer(np.ones(20), np.ones(20))), "weights: got a matrix of rank 1"),
    (lambda: empirical.spectrum(SQUARE, false_positive_rate=0.0), "false_positive_rate"),
    (lambda: empirical.spectrum(np.diag(np.logspace(0, 4, 40))), "weights: got .* past the edge"),
    (lambda: empirical.spectra({"b": np.zeros(3)}), "tree: got 1 leaves"),
    (lambda: empirical.spectra({"w": SQUARE}, {"v": SQUARE}), "initial"),
    (lambda: empirical.spectra({"w": np.full((20, 20), np.inf)}), r"\['w'\]: got 400 entries"),
    (lambda: empirical.stable_rank(np.zeros((3, 3))), "matrix: got a matrix of zeros"),
    (lambda: empirical.participation_ratio(np.zeros((0, 3))), "matrix: got shape"),
    (lambda: empirical.overlaps(SQUARE, np.ones((19, 1))), "directions: got shape"),
    (lambda: empirical.overlaps(SQUARE, np.zeros((20, 1))), "directions: got a column of zeros"),
    (lambda: empirical.overlaps(SQUARE, np.ones((20, 1)), "up"), "side"),
    (lambda: empirical.overlaps(SQUARE, np.ones((20, 1)), count=21), "count: got 21"),
    (lambda: empirical.lanczos_density(SQUARE, [1.0], 0.1, depth=21), "depth: got 21"),
    (lambda: empirical.lanczos_density(SQUARE, [1.0], 0.0, depth=5), "width"),
    (lambda: empirical.lanczos_density(SQUARE, [np.nan], 0.1, depth=5), "points"),
    (lambda: empirical.tracy_widom_quantile(1.0), "probability"),
])
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
