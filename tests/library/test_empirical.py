"""Spectra of trained weights on planted cases. The rates are those of
experiments/empirical_rates.py; a slice is rerun.
"""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import ml_dtypes
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from scipy.integrate import simpson
from scipy.stats import gamma, norm

from dmftlib import empirical, plotting
from dmftlib.noise import TW_MEAN, TW_VARIANCE
from experiments import empirical_rates, protocol

RATES = protocol.load("empirical_rates")


def noise(n, m, seed=0):
    return np.random.default_rng([n, m, seed]).standard_normal((n, m))


def test_tracy_widom_quantile_against_published_values_its_moments_and_a_gamma_fit():
    for probability, published in (
        (0.5, -1.2686),
        (0.9, 0.4501),
        (0.95, 0.9793),
        (0.99, 2.0234),
    ):
        assert empirical.tracy_widom_quantile(probability) == pytest.approx(
            published, abs=1e-4
        )
    levels = (np.arange(50) + 0.5) / 50
    quantiles = np.array([empirical.tracy_widom_quantile(level) for level in levels])
    assert quantiles.mean() == pytest.approx(TW_MEAN, abs=0.01)
    assert quantiles.var() == pytest.approx(
        TW_VARIANCE, rel=0.05
    )  # the last 1/100 of each tail is missed
    fit = gamma.ppf(levels, 46.446, scale=0.186054) - 9.84801  # Chiani 2014
    assert np.abs(quantiles - fit).max() < 0.02


@pytest.mark.parametrize(
    "n, m, seeds", [(10, 10, 500), (64, 64, 200), (30, 300, 100), (200, 50, 100)]
)
def test_variance_is_fitted_with_the_stated_bias_and_error(n, m, seeds):
    found = [empirical.spectrum(2 * noise(n, m, seed)) for seed in range(seeds)]
    variances = np.array([f.variance for f in found])
    stated = np.mean([f.variance_error for f in found])
    assert abs(variances.mean() - 4) < (0.2 + 3 / np.sqrt(seeds)) * stated
    assert abs(variances.std() / stated - 1) < 4 / np.sqrt(2 * seeds) + 0.05
    assert 1.0 < stated / 4 / np.sqrt(2 / (n * m)) < 1.4


def test_outliers_do_not_pull_the_variance_or_the_bulk():
    W, _, _ = empirical_rates.plant(
        200, 300, np.linspace(5, 50, 15), np.random.default_rng(3)
    )
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
    assert turned.variance == pytest.approx(
        found.variance
    )  # of the entries: no units of fan-in
    for name in ("threshold", "outliers", "edge"):
        assert getattr(turned, name) == pytest.approx(
            np.sqrt(200 / 80) * getattr(found, name)
        )
    assert turned.kolmogorov == pytest.approx(found.kolmogorov)


def test_edge_and_threshold_of_large_noise():
    found = empirical.spectrum(noise(200, 400))
    assert found.edge == pytest.approx(np.sqrt(found.variance) * (1 + np.sqrt(0.5)))
    assert 0 < found.threshold - found.edge < 4 * 400 ** (-2 / 3)
    assert empirical.spectrum(noise(200, 400), 1e-6).threshold > found.threshold


def test_kolmogorov_sees_a_bulk_that_is_not_noise():
    rows = np.linspace(0.5, 1.5, 200)[:, None]  # of unequal variance
    noisy, mixed = (
        empirical.spectrum(X).kolmogorov
        for X in (noise(200, 400), rows * noise(200, 400))
    )
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
    theory = empirical_rates.prediction(
        empirical_rates.ASPECT, empirical_rates.STRENGTH
    )
    assert protocol.judge(planted, theory).agrees.all()
    position = empirical_rates.prediction(
        empirical_rates.ASPECT, 1.05 * empirical_rates.STRENGTH
    )
    assert not protocol.judge(
        planted, position
    ).agrees.all()  # a strength 5% off is seen


@pytest.mark.slow
def test_a_slice_of_the_measured_rates_again():
    again = empirical_rates.false_positives((100, 100), "normal", 0.05, 200)
    assert abs(again["mean"] - 0.05) < 3 * again["standard_error"]
    assert empirical_rates.detected(256, [1.4], 40)["mean"] > 0.75
    rows = [
        empirical_rates.draw(128, np.random.default_rng([128, seed]))
        for seed in range(40)
    ]
    for quantity, expected in empirical_rates.prediction(
        empirical_rates.ASPECT, empirical_rates.STRENGTH
    ).items():
        values = np.array([row[quantity] for row in rows])
        assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(40)


def test_ranks():
    rng = np.random.default_rng(5)
    low = rng.standard_normal((30, 3)) @ rng.standard_normal((3, 20))
    for measure in (empirical.stable_rank, empirical.participation_ratio):
        assert 1 <= measure(low) <= 3
        assert measure(
            np.outer(rng.standard_normal(8), rng.standard_normal(5))
        ) == pytest.approx(1)
        assert measure(np.eye(7)) == pytest.approx(7)
        assert measure(1e-200 * low) == pytest.approx(measure(low))
    W = noise(
        400, 800
    )  # sum s^2 = n and s_max^2 = (1 + sqrt c)^2; sum s^4 = n (1 + c), c = 1/2
    assert empirical.stable_rank(W) == pytest.approx(
        400 / (1 + np.sqrt(0.5)) ** 2, rel=0.03
    )
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
    bumps = np.exp(-((points[:, None] - singular_values) ** 2) / (2 * width**2)) / (
        width * np.sqrt(2 * np.pi)
    )
    density = empirical.lanczos_density(W, points, width, depth=60, probes=40)
    assert density.sum() * (points[1] - points[0]) == pytest.approx(1, abs=1e-3)
    assert np.abs(density - bumps.mean(1)).max() < 0.12 * bumps.mean(1).max()
    past = points > singular_values[1] + 5 * width  # the outlier carries 1 / min(n, m)
    assert density[past].sum() * (points[1] - points[0]) * min(n, m) == pytest.approx(
        1, abs=0.8
    )


def smoothed(W, points, width):
    """The density by a plain singular value decomposition."""
    s = np.linalg.svd(W / np.sqrt(W.shape[1]), compute_uv=False)
    bumps = np.exp(-(((points[:, None] - s) / width) ** 2) / 2)
    return bumps.mean(1) / (width * np.sqrt(2 * np.pi))


@pytest.mark.parametrize("shape", [(120, 160), (160, 120), (100, 100)])
@pytest.mark.parametrize("zero_rows", [1, 60, 99])
def test_lanczos_density_of_a_matrix_whose_directions_run_out(shape, zero_rows):
    W = noise(*shape)
    W[:zero_rows] = 0
    points = np.linspace(0, 4, 401)
    right = smoothed(W, points, 0.1)
    density = empirical.lanczos_density(W, points, 0.1, depth=80, probes=60)
    assert np.abs(density - right).max() < 0.12 * right.max()
    assert density.sum() == pytest.approx(right.sum(), rel=0.03)


@pytest.mark.parametrize(
    "W",
    [np.zeros((20, 30)), np.eye(20), np.outer(np.arange(1.0, 21), np.ones(30)) / 9],
    ids=["zeros", "identity", "rank one"],
)
def test_lanczos_density_of_matrices_with_few_values(W):
    points = np.linspace(0, 4, 41)
    density = empirical.lanczos_density(W, points, 0.5, depth=20, probes=4000)
    right = smoothed(W, points, 0.5)
    assert np.abs(density - right).max() < 0.02 * right.max()


def test_lanczos_density_of_a_small_matrix_goes_as_deep_as_it_is():
    W = noise(30, 45)
    points = np.linspace(0, 4, 41)
    by_default = empirical.lanczos_density(W, points, 0.2)
    np.testing.assert_array_equal(
        by_default, empirical.lanczos_density(W, points, 0.2, depth=30)
    )


def test_lanczos_density_of_products_alone():
    """A linear operator, a sparse matrix and the matrix itself: one density, and a
    matrix too large to be written down.
    """
    W = noise(60, 90) * (noise(60, 90, 1) > 0)
    points = np.linspace(0, 4, 50)
    forms = W, scipy.sparse.csr_matrix(W), scipy.sparse.linalg.aslinearoperator(W)
    whole, sparse, products = (
        empirical.lanczos_density(form, points, 0.1, depth=30) for form in forms
    )
    np.testing.assert_allclose(sparse, whole, rtol=1e-9)
    np.testing.assert_allclose(products, whole, rtol=1e-9)
    n = 10**6
    diagonal = scipy.sparse.linalg.LinearOperator(
        (n, n), matvec=lambda v: 3e3 * v, rmatvec=lambda v: 3e3 * v, dtype=float
    )
    density = empirical.lanczos_density(diagonal, [3.0], 0.1, depth=5, probes=1)
    assert density[0] == pytest.approx(1 / (0.1 * np.sqrt(2 * np.pi)))


def test_spectra_of_a_tree():
    initial = {
        "layers": [jnp.asarray(noise(40, 60)), jnp.zeros(40)],
        "readout": noise(1, 40),
        "activation": np.tanh,
    }
    W = np.asarray(initial["layers"][0]) + np.sqrt(60) * 4 * np.outer(
        np.eye(40)[0], np.eye(60)[0]
    )
    table = empirical.spectra(
        dict(initial, layers=[jnp.asarray(W), jnp.zeros(40)]), initial
    )
    (row,) = table.to_dict("records")
    assert table.index.tolist() == ["['layers'][0]"]
    assert row["outliers"] == 1 and (row["rows"], row["columns"]) == (40, 60)
    assert row["update_stable_rank"] == pytest.approx(1) and row[
        "update_participation_ratio"
    ] == pytest.approx(1)
    assert row["largest"] == pytest.approx(empirical.spectrum(W).singular_values[0])
    unmoved = empirical.spectra(initial, initial)
    assert np.isnan(unmoved.update_stable_rank).all()
    assert empirical.spectra(W).index.tolist() == ["weights"]


# ---------------------------------------------------------------- faults of the trade


def test_tracy_widom_of_arrays_and_its_two_functions_are_inverse():
    levels = np.array([[0.5, 0.9], [0.95, 0.99]])
    quantiles = empirical.tracy_widom_quantile(levels)
    published = [[-1.2686, 0.4501], [0.9793, 2.0234]]
    np.testing.assert_allclose(quantiles, published, atol=1e-4)
    np.testing.assert_allclose(empirical.tracy_widom_cdf(quantiles), levels, atol=1e-9)
    tails = empirical.tracy_widom_cdf([-1e9, -30.0, -8.0, 8.0, 30.0, np.inf])
    np.testing.assert_allclose(tails, [0, 0, 0, 1, 1, 1], atol=1e-8)
    assert np.all(np.diff(tails) >= 0)
    x = np.linspace(-12, 16, 561)  # moments of the law, by parts
    below = empirical.tracy_widom_cdf(x)
    mean = x[-1] - simpson(below, x=x)
    assert mean == pytest.approx(TW_MEAN, abs=1e-8)
    second = x[-1] ** 2 - 2 * simpson(x * below, x=x)
    assert second - mean**2 == pytest.approx(TW_VARIANCE, abs=1e-8)


@pytest.mark.parametrize("rows, columns", [(40, 0), (0, 60), (40, 60), (150, 0)])
def test_pruned_units_are_taken_out_and_the_rest_is_tested(rows, columns):
    W, _, _ = empirical_rates.plant(200, 300, [4.0, 6.0], np.random.default_rng(8))
    whole = W[rows:, columns:].copy()
    W[:rows] = 0
    W[:, :columns] *= 1e-12  # decayed, not zero
    found = empirical.spectrum(W)
    rest = empirical.spectrum(whole)
    assert (found.zero_rows, found.zero_columns) == (rows, columns)
    assert len(found.outliers) == len(rest.outliers) > 0
    assert found.variance == pytest.approx(rest.variance)
    assert abs(found.variance - 1) < 4 * found.variance_error
    assert found.kolmogorov == pytest.approx(rest.kolmogorov)
    plain = np.linalg.svd(W / np.sqrt(300), compute_uv=False)[: min(whole.shape)]
    np.testing.assert_allclose(found.singular_values, plain)
    (row,) = empirical.spectra(W).to_dict("records")
    assert (row["zero_rows"], row["zero_columns"]) == (rows, columns)


@pytest.mark.parametrize("factor", [1e-45, 1e-20, 1e30, 1e45])
def test_no_scale_changes_what_is_found(factor):
    W, _, _ = empirical_rates.plant(80, 200, [2.5, 4.0], np.random.default_rng(4))
    found = empirical.spectrum(W)
    scaled = empirical.spectrum(factor * W)
    assert scaled.outliers == pytest.approx(factor * found.outliers)
    assert scaled.variance == pytest.approx(factor**2 * found.variance, rel=1e-9)
    assert scaled.kolmogorov == pytest.approx(found.kolmogorov)
    assert scaled.edge == pytest.approx(factor * found.edge)
    middle = found.singular_values[40]
    below = float(found.law.cdf(middle))
    assert float(scaled.law.cdf(factor * middle)) == pytest.approx(below)


class Tensor:
    """As a torch tensor: shape, and no numbers before `detach` and `double`."""

    def __init__(self, values, grad=True, sparse=False):
        self.values = np.asarray(values)
        self.shape = self.values.shape
        self.grad = grad
        self.is_sparse = sparse

    def __array__(self, *args, **kwargs):
        if self.grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        raise TypeError("Got unsupported ScalarType BFloat16")

    def detach(self):
        return Tensor(self.values, False, self.is_sparse)

    def cpu(self):
        return self

    def is_complex(self):
        return self.values.dtype.kind == "c"

    def to_dense(self):
        return Tensor(self.values, self.grad)

    def double(self):
        return Tensor(self.values.astype(float), self.grad)

    def numpy(self):
        if self.grad or self.is_sparse or self.values.dtype == ml_dtypes.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values


class Module:
    def __init__(self, **leaves):
        self.leaves = leaves

    def state_dict(self):
        return self.leaves


def bf16(values):
    return np.asarray(values).astype(ml_dtypes.bfloat16)


@pytest.mark.parametrize(
    "kind, precision",
    [
        (lambda W: Tensor(W), 1e-12),
        (lambda W: Tensor(bf16(W)), 1e-2),
        (lambda W: Tensor(W.astype(np.float16)), 2e-3),
        (lambda W: Tensor(W, sparse=True), 1e-12),
        (bf16, 1e-2),
        (lambda W: W.astype(np.float32), 1e-6),
        (lambda W: jnp.asarray(W, jnp.bfloat16), 1e-2),
        (scipy.sparse.csr_matrix, 1e-12),
        (scipy.sparse.coo_array, 1e-12),
    ],
    ids=[
        *("torch", "torch bf16", "torch half", "torch sparse", "bf16", "float32"),
        *("jax bf16", "scipy matrix", "scipy array"),
    ],
)
def test_numbers_of_any_library_are_read(kind, precision):
    start = noise(40, 60)
    W, u, _ = empirical_rates.plant(40, 60, [4.0], np.random.default_rng(9))
    s = np.linalg.svd(W / np.sqrt(60), compute_uv=False)
    found = empirical.spectrum(kind(W))
    assert found.singular_values[0] == pytest.approx(s[0], rel=precision)
    assert len(found.outliers) == len(empirical.spectrum(W).outliers)
    (row,) = empirical.report(Module(w=kind(start)), Module(w=kind(W))).to_dict(
        "records"
    )
    moved = np.linalg.norm(W - start) / np.linalg.norm(start)
    assert row["moved"] == pytest.approx(moved, rel=precision)
    assert row["reason"] == ""
    measured = empirical.participation_ratio(kind(W))
    assert measured == pytest.approx(
        empirical.participation_ratio(W), rel=2 * precision
    )
    assert empirical.overlaps(kind(W), u)[0, 0] == pytest.approx(
        empirical.overlaps(W, u)[0, 0], rel=2 * precision
    )


# ---------------------------------------------------------------- the report


def by_hand(M0, M, k):
    """The columns of a report by a plain singular value decomposition."""
    change = M - M0
    squares = np.linalg.svd(change, compute_uv=False) ** 2
    left, _, right = np.linalg.svd(M)
    along = left.T @ change if len(M) <= M.shape[1] else right @ change.T
    return {
        "moved": np.sqrt((change**2).sum() / (M0**2).sum()),
        "participation_ratio": squares.sum() ** 2 / (squares**2).sum(),
        "stable_rank": squares.sum() / squares[0],
        "share": (along[:k] ** 2).sum() / (change**2).sum(),
        "overlap": (change * M0).sum() / np.sqrt((change**2).sum() * (M0**2).sum()),
    }


@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (64, 64)])
@pytest.mark.parametrize("scale", [1.0, 1e-80, 1e80])
def test_report_against_a_plain_decomposition(shape, scale):
    M0 = noise(*shape)
    M, u, v = empirical_rates.plant(*shape, [3.0, 5.0], np.random.default_rng(10))
    M = 0.3 * noise(*shape, 1) + 0.8 * M0 + (M - M.mean()) * 0.7
    (row,) = empirical.report({"w": scale * M0}, {"w": scale * M}).to_dict("records")
    found = empirical.spectrum(M)
    assert row["outliers"] == len(found.outliers) > 0
    assert row["kolmogorov"] == pytest.approx(found.kolmogorov)
    assert row["variance"] == pytest.approx(scale**2 * found.variance)
    for name, right in by_hand(M0, M, len(found.outliers)).items():
        assert row[name] == pytest.approx(right), name
    turned = empirical.report({"w": scale * M0.T}, {"w": scale * M.T}).iloc[0]
    names = ["outliers", "kolmogorov", "moved", "overlap", "stable_rank"]
    for name in names + ["share"] * (shape[0] != shape[1]):
        assert turned[name] == pytest.approx(row[name]), name


def test_the_turned_control_has_the_update_and_not_its_knowledge():
    """A damped quarter of M0 reshapes the bulk; the same update turned does not. A
    spike that knows nothing is an outlier turned or not.
    """
    M0 = noise(200, 200)
    u = np.linalg.qr(noise(200, 200, 1))[0][:, :50]
    damped = M0 - 0.6 * u @ (u.T @ M0)
    spiked = M0 + np.sqrt(200) * 3 * np.outer(u[:, 0], u[:, 1])
    table = empirical.report(
        {"a": M0, "b": M0}, {"a": damped, "b": spiked}, seed=3
    ).reset_index(drop=True)
    assert table.overlap[0] == pytest.approx(-0.5, abs=0.02)
    assert table.kolmogorov[0] > 3 * table.kolmogorov_turned[0]
    assert table.outliers[1] == table.outliers_turned[1] == 1
    assert table.kolmogorov_turned.max() < 3 / 200
    again = empirical.report({"b": M0}, {"b": spiked}, seed=3).iloc[0]
    assert (
        again.kolmogorov_turned == table.kolmogorov_turned[1]
    )  # no matter beside what
    other = empirical.report({"b": M0}, {"b": spiked}, seed=4).iloc[0]
    assert other.kolmogorov_turned != again.kolmogorov_turned


def test_no_leaf_stops_the_report():
    good = noise(30, 40)
    nan = good.copy()
    nan[3, 4] = np.nan
    before = {
        "good": good,
        "nan": good,
        "zero": np.zeros((30, 40)),
        "lora_a": noise(4, 40),
        "lora_b": np.zeros((30, 4)),
        "other shape": good,
        "flags": good > 0,
        "unmoved": good,
        "low rank": good,
        "bias": np.zeros(30),
        "pruned": good,
        "name": "a network",
        "step": np.array(3),
    }
    pruned = good + 0.1 * noise(30, 40, 2)
    pruned[:12] = 0
    after = {
        **before,
        "good": good + 0.1 * noise(30, 40, 1),
        "nan": nan,
        "lora_a": noise(4, 40, 1),
        "lora_b": noise(30, 4),
        "other shape": good[:20],
        "low rank": np.outer(np.ones(30), np.ones(40)),
        "pruned": pruned,
        "new": good,
        "grad": Tensor(bf16(good)),
        "odd": Tensor(np.array([["a"] * 20] * 20)),
    }
    table = empirical.report(before, after)
    table.index = [label[2:-2] for label in table.index]
    reasons = table.reason.to_dict()
    says = {
        "nan": "1 entries that are NaN",
        "zero": "rank 0",
        "lora_a": "at least 10 rows",
        "lora_b": "at least 10 rows",
        "other shape": "before: got shape (30, 40)",
        "flags": "got bool",
        "unmoved": "one that has moved",
        "low rank": "rank 1",
        "new": "not in `before`",
        "grad": "not in `before`",
        "odd": "",
    }
    for name, words in says.items():
        assert words in reasons.pop(name), name
    assert reasons == {"good": "", "pruned": ""}
    assert "bias" not in table.index and "step" not in table.index
    lora = table.loc["lora_b"]
    assert lora.moved == np.inf and 1 <= lora.stable_rank <= 4 and np.isnan(lora.share)
    assert table.loc["unmoved"].moved == 0 and table.loc["unmoved"].outliers == 0
    assert table.loc["pruned"].zero_rows == 12
    assert table.loc["new"].outliers == 0 and np.isnan(table.loc["new"].moved)
    low = table.loc["low rank"]
    assert low.participation_ratio == pytest.approx(
        empirical.participation_ratio(after["low rank"] - good)
    )
    names = ("good", "low rank", "nan", "pruned", "zero")
    others = empirical.spectra({name: after[name] for name in names})
    assert (others.reason != "").tolist() == [False, True, True, False, True]


def test_the_report_is_drawn_as_it_is():
    """Lines as long as the participation ratios, points at the outliers, and reasons."""
    start = {"a": noise(60, 90), "b": noise(30, 40), "c": noise(4, 40)}
    spike = 30 * np.outer(np.eye(60)[0], np.eye(90)[0])
    table = empirical.report(
        start, start | {"a": start["a"] + spike, "b": start["b"][1:]}
    )
    ax = plotting.report(table)
    (lines,) = ax.collections
    ends = [line[1].tolist() for line in lines.get_segments() if len(line)]
    assert ends[0] == [pytest.approx(1.0), 2.0]
    turned, outliers = ax.lines
    assert outliers.get_xdata()[0] == turned.get_xdata()[0] == 1
    assert outliers.get_ydata().tolist() == [2, 1, 0]
    assert [text.get_text() for text in ax.texts] == table.reason[1:].tolist()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["['a']", "['b']", "['c']"]
    plt.close(ax.figure)


def test_kernels_are_matrices_and_stacks_are_read_one_by_one():
    kernel = np.random.default_rng(11).normal(size=(40, 30, 3, 3))
    whole = kernel.reshape(40, 270)
    stack = np.stack([noise(30, 40), noise(30, 40, 1)])
    tree = {
        "torch": kernel,
        "flax": kernel.transpose(2, 3, 1, 0),
        "first": kernel[:, :3],
        "line": kernel[:, :, 0],
        "flax line": kernel[:, :, 0, :2].transpose(2, 1, 0),
        "patch": np.random.default_rng(12).normal(size=(48, 3, 16, 16)),
        "layers": stack,
        "heads": stack.reshape(2, 1, 30, 40),
        "blocks": np.ones((12, 12, 1, 1)) * noise(16, 24),
        "pointwise": noise(30, 40).reshape(1, 1, 30, 40),
    }
    table = empirical.spectra(tree)
    sizes = zip(table["rows"], table["columns"], strict=True)
    shapes = dict(zip(table.index, sizes, strict=True))
    assert shapes == {
        "['torch']": (40, 270),
        "['flax']": (40, 270),
        "['first']": (40, 27),
        "['line']": (40, 90),
        "['flax line'][0]": (30, 40),
        "['flax line'][1]": (30, 40),
        "['patch']": (48, 768),
        "['layers'][0]": (30, 40),
        "['layers'][1]": (30, 40),
        "['heads'][0, 0]": (30, 40),
        "['heads'][1, 0]": (30, 40),
        "['pointwise']": (40, 30),
        **{f"['blocks'][{i}, {j}]": (16, 24) for i in range(12) for j in range(12)},
    }
    s = np.linalg.svd(whole / np.sqrt(270), compute_uv=False)
    assert table.loc["['torch']", "largest"] == pytest.approx(s[0])
    assert table.loc["['flax']", "largest"] == pytest.approx(s[0])
    second = np.linalg.svd(stack[1] / np.sqrt(40), compute_uv=False)
    assert table.loc["['layers'][1]", "largest"] == pytest.approx(second[0])
    start = {"torch": kernel, "layers": stack}
    moved = {"torch": 1.5 * kernel, "layers": 0.5 * stack}
    report = empirical.report(start, moved)
    np.testing.assert_allclose(report.moved, 0.5)
    np.testing.assert_allclose(report.overlap.abs(), 1)


SQUARE = noise(20, 20)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: empirical.spectrum(np.zeros(5)), "weights: got shape"),
        (lambda: empirical.spectrum(noise(9, 40)), "weights: got shape .* at least 10"),
        (
            lambda: empirical.spectrum(np.full((20, 20), np.nan)),
            "weights: got 400 entries that are NaN",
        ),
        (lambda: empirical.spectrum([["a"] * 20] * 20), "weights: got strings"),
        (
            lambda: empirical.spectrum(np.zeros((20, 20))),
            "weights: got a matrix of rank 0",
        ),
        (
            lambda: empirical.spectrum(np.outer(np.ones(20), np.ones(20))),
            "weights: got a matrix of rank 1",
        ),
        (
            lambda: empirical.spectrum(SQUARE, false_positive_rate=0.0),
            "false_positive_rate",
        ),
        (
            lambda: empirical.spectrum(np.diag(np.logspace(0, 4, 40))),
            "weights: got .* past the edge",
        ),
        (lambda: empirical.spectra({"b": np.zeros(3)}), "tree: got 0 leaves"),
        (lambda: empirical.spectra({"w": SQUARE}, {"v": SQUARE}), "initial"),
        (lambda: empirical.spectrum(1e-170 * SQUARE), "weights: got a largest entry"),
        (lambda: empirical.spectrum(1e60 * SQUARE), "weights: got a largest entry"),
        (lambda: empirical.spectrum(np.eye(20) * 1j), "weights: got complex"),
        (lambda: empirical.spectrum(np.full((20, 20), np.inf)), "400 infinite entries"),
        (lambda: empirical.report({}, {"b": np.zeros(3)}), "after: got no matrix"),
        (lambda: empirical.report({}, {"w": SQUARE}, seed=-1), "seed: got -1"),
        (
            lambda: empirical.report({}, {"w": SQUARE}, false_positive_rate=0.9),
            "false_positive_rate",
        ),
        (lambda: empirical.tracy_widom_quantile([0.5, 1.0]), "probability: got 1.0"),
        (lambda: empirical.tracy_widom_cdf([0.5, np.nan]), "x: got 1 entries"),
        (
            lambda: empirical.stable_rank(np.zeros((3, 3))),
            "matrix: got a matrix of zeros",
        ),
        (lambda: empirical.participation_ratio(np.zeros((0, 3))), "matrix: got shape"),
        (lambda: empirical.overlaps(SQUARE, np.ones((19, 1))), "directions: got shape"),
        (
            lambda: empirical.overlaps(SQUARE, np.zeros((20, 1))),
            "directions: got a column of zeros",
        ),
        (lambda: empirical.overlaps(SQUARE, np.ones((20, 1)), "up"), "side"),
        (
            lambda: empirical.overlaps(SQUARE, np.ones((20, 1)), count=21),
            "count: got 21",
        ),
        (
            lambda: empirical.lanczos_density(SQUARE, [1.0], 0.1, depth=21),
            "depth: got 21",
        ),
        (lambda: empirical.lanczos_density(SQUARE, [1.0], 0.0, depth=5), "width"),
        (lambda: empirical.lanczos_density(SQUARE, [np.nan], 0.1, depth=5), "points"),
        (lambda: empirical.tracy_widom_quantile(1.0), "probability"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
