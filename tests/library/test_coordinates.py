"""Sampling in coordinates against dense networks, law against law; against the limit;
and against faults planted in it.
"""

import ast
import functools
import pathlib

import jax
import numpy as np
import pytest
from scipy.stats import ks_2samp, kstest

import dmftlib as dm
from dmftlib.empirical import tracy_widom_quantile
from dmftlib.simulations import (
    coordinates,
    leading_noise,
    leading_values,
    questions,
)
from experiments import any_size, protocol

SMALL = dict(
    hidden_layers=2,
    width_ratio=0.8,
    sample_ratio=1.5,
    gamma0=3.0,
    init_variance=0.5,
    label_noise=0.2,
    learning_rate=0.1,
    steps=3,
)
NET = dm.DeepLinear(**SMALL)
ONLINE = dm.DeepLinear(**SMALL | dict(hidden_layers=1, batch="online"))
NTK = dm.DeepLinear(**SMALL | dict(hidden_layers=1, parameterization="ntk", gamma0=2.0))
# of one shape wherever possible, so that little is compiled
SEEDS = 32
RECORDED = dict(spectra_at=(3,), leading=3, overlaps=1)


def exact(net, dim, seeds, **options):
    return dm.simulate(net, dim=dim, seeds=seeds, method="coordinates", **options)


def numbers(simulation, values=3):
    """(seeds, quantities): losses at all steps, singular values and overlaps at the
    last.
    """
    steps = simulation.net.steps
    columns = [simulation.train_loss, simulation.test_loss, simulation.alignment[:, 1:]]
    for layer in range(simulation.net.hidden_layers):
        columns.append(simulation.singular_values(layer, steps)[:, :values])
        for side in simulation.overlaps(layer, steps):
            columns.append(side[:, 0])
    return np.concatenate(columns, 1)


@functools.cache
def dense_numbers(net, dim, seeds):
    """The same of dense networks, trained once for all tests."""
    dense = dm.simulate(net, dim=dim, seeds=seeds, seed=1, ntk=False, **RECORDED)
    return numbers(dense)


def p_values(net, dim, seeds=20 * SEEDS):
    """Kolmogorov and Smirnov's for every quantity, dense networks against coordinates."""
    dense = dense_numbers(net, dim, seeds)
    free = numbers(exact(net, dim, seeds, seed=2, **RECORDED))
    return np.array(
        [
            ks_2samp(one, other).pvalue
            for one, other in zip(dense.T, free.T, strict=True)
        ]
    )


MODULES = (
    "questions",
    "leading_values",
    "coordinate_training",
    "coordinate_spectra",
    "coordinates",
    "optimisers",
)


@pytest.mark.parametrize("name", MODULES)
def test_sampling_in_coordinates_shares_no_code_with_the_theory(name):
    path = pathlib.Path(coordinates.__file__).with_name(f"{name}.py")
    imported = {
        node.module
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    }
    assert imported <= {None, "_compile", "_types", "networks", "base", *MODULES}


@pytest.mark.parametrize(
    "net, dim",
    [
        pytest.param(NET, 5, marks=pytest.mark.slow),
        (NET, 12),
        pytest.param(ONLINE, 12, marks=pytest.mark.slow),
        pytest.param(NTK, 30, marks=pytest.mark.slow),
    ],
    ids=["5", "12", "online", "ntk"],
)
def test_the_laws_are_those_of_dense_networks(net, dim):
    found = p_values(net, dim)
    assert found.min() * len(found) > 1e-3
    assert 0.25 < found.mean() < 0.75


def one_order_off(rng, freedom):
    return rng.chisquare(np.maximum(freedom, 1.0) + 1) * (freedom > 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "module, name, fault",
    [
        (coordinates, "chi_squared", one_order_off),
        (leading_values, "chi_squared", one_order_off),
        (questions, "without", lambda vector, directions: vector),
        (leading_values, "triangle", lambda normal, diagonal: jax.numpy.diag(diagonal)),
    ],
    ids=["chi", "chi of the triangles", "projection", "triangle"],
)
def test_planted_faults_are_noticed(module, name, fault, monkeypatch):
    monkeypatch.setattr(module, name, fault)
    jax.clear_caches()
    found = p_values(NET, 12, seeds=64 * SEEDS)
    jax.clear_caches()
    assert found.min() * len(found) < 1e-6


@pytest.mark.slow
def test_kernel_modes_have_the_law_of_dense_networks():
    dense = dm.simulate(NTK, dim=12, seeds=10 * SEEDS, spectra_at=(3,))
    free = exact(NTK, 12, 10 * SEEDS, ntk=True, **RECORDED)
    both = dense.ntk_eigenvalues(3)[:, :3].T, free.ntk_eigenvalues(3).T
    for one, other in zip(*both, strict=True):
        assert ks_2samp(one, other).pvalue > 1e-3


def test_a_billion_dimensions_are_the_limit_in_five_digits():
    strong = dict(parameterization="ntk", hidden_layers=1, gamma0=8.0)
    net = dm.DeepLinear(**SMALL | strong)
    theory = dm.solve(net)
    free = exact(net, 10**9, SEEDS, ntk=True, seed=4, **RECORDED)
    table = dm.compare(theory, free)
    assert table.standard_error.max() < 1e-4
    assert np.abs(table.z).max() < 4 and np.abs(table.relative_error).max() < 1e-4
    assert "right_overlap_1" in set(table.quantity)
    mode = free.ntk_eigenvalues(3)[:, 0]
    error = mode.std(ddof=1) / SEEDS**0.5
    assert abs(mode.mean() - theory.ntk.outliers[3, 0]) < 4 * error < 1e-3


def test_theory_is_what_all_sizes_together_say_and_wrong_theories_are_not():
    table = protocol.load("any_size_limits").set_index("quantity")
    assert np.abs(table.z).max() < any_size.limit(len(table))
    assert (table.infinity_error < 1e-4 * table.theory).all()
    assert table["z, variance 1 % larger"].abs().min() > 50
    outliers = ["outlier W0", "outlier W1"]
    assert table.loc[outliers, "z, independent spikes"].abs().min() > 1000


def test_stored_networks_of_a_billion_dimensions_are_the_limit():
    table = protocol.load("any_size_billion")
    table = table[np.isfinite(table.z)]
    assert table.parameterization.nunique() == 2 and table.width_ratio.nunique() == 5
    assert np.abs(table.z).max() < any_size.limit(len(table))
    assert np.abs(table.relative_error).max() < 1e-4
    again = protocol.load("any_size_again")
    assert np.abs(again.z).max() < 3
    assert np.abs(again.relative_error).max() < 1e-5


def test_stored_p_values_of_small_networks_are_uniform():
    table = protocol.load("any_size_law")
    assert table.groupby(["network", "D"]).ngroups == 9
    assert kstest(table.p, "uniform").pvalue > 1e-3
    assert table.p.min() * len(table) > 1e-3
    assert (table.settled == 1).all()


@pytest.mark.slow
def test_a_slice_of_the_sizes_drawn_again_and_the_theory_beside_them():
    net = any_size.network_of_sizes()
    limits = protocol.load("any_size_limits").set_index("quantity")
    for name, value in any_size.expected(net).items():
        if name in limits.index:
            assert limits.theory[name] == pytest.approx(float(value), rel=1e-7)
    stored = protocol.load("any_size_sizes")
    stored = stored[stored.D == 10**4].set_index("quantity")
    again = exact(net, 10**4, 4 * SEEDS, seed=6)
    for name in ("train_loss", "test_loss"):
        values = getattr(again, name)[:, -1]
        error = values.std(ddof=1) / len(values) ** 0.5
        distance = values.mean() - stored["mean"][name]
        assert abs(distance) < 4 * np.hypot(error, stored.standard_error[name])


def test_what_lies_in_the_bulk_is_compared_with_noise_of_the_simulated_size():
    theory = dm.solve(NTK)
    free = exact(NTK, 30, 10 * SEEDS, **RECORDED | dict(spectra_at=(0,)))
    table = dm.compare(theory, free)
    (row,) = table[table.quantity == "outlier_1"].itertuples()
    assert abs(row.z) < 4
    short = theory.bulk(0).upper_end - row.simulation
    assert short > 10 * row.standard_error  # the edge itself would be refused


def test_values_at_the_edge_of_a_large_matrix_are_not_given():
    free = exact(NTK, 10**9, SEEDS, **RECORDED | dict(spectra_at=(0,)))
    assert np.isnan(free.singular_values(0, 0)).all()
    assert (free.stats["values 0"][0] > 1e-5).all()


def test_the_first_matrix_of_a_wide_network_has_its_outlier():
    """Its iteration has small steps to the right beside large ones to the left, and with
    one pass of orthogonalisation errors grew by the root of the ratio a step.
    """
    net = dm.DeepLinear(**SMALL | dict(width_ratio=64.0))
    free = exact(net, 10**6, SEEDS, **RECORDED)
    top = free.singular_values(0, 3)[:, 0]
    assert (free.stats["values 0"][3][:, 0] < 1e-12).all()
    expected = dm.solve(net).outliers(0, 3, max_outliers=1).values[0]
    error = top.std(ddof=1) / SEEDS**0.5
    assert abs(top.mean() - expected) < 4 * error


@pytest.mark.slow
def test_seeds_do_not_depend_on_how_many_are_treated_at_once(monkeypatch):
    options = dict(spectra_at=(0, 2), leading=2, overlaps=1, ntk=True, seed=3)
    together = exact(NET, 50, 5, **options)
    monkeypatch.setattr(coordinates, "_SEEDS_AT_ONCE", 2)
    apart = exact(NET, 50, 5, **options)
    for one, other in (
        (together.train_loss, apart.train_loss),
        (together.singular_values(1, 2), apart.singular_values(1, 2)),
        (together.overlaps(0, 2)[0], apart.overlaps(0, 2)[0]),
        (together.ntk_eigenvalues(2), apart.ntk_eigenvalues(2)),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-8)


@pytest.mark.slow
def test_small_matrices_have_the_same_values_by_lapack_and_by_iteration(monkeypatch):
    whole = exact(NET, 12, 5, seed=2, **RECORDED)
    monkeypatch.setattr(coordinates, "_SMALL", 0)
    iterated = exact(NET, 12, 5, seed=2, **RECORDED)
    for layer in (0, 1):
        values = iterated.singular_values(layer, 3)
        assert np.isfinite(values).all()
        np.testing.assert_allclose(whole.singular_values(layer, 3), values, rtol=1e-8)
        for one, other in zip(
            whole.overlaps(layer, 3), iterated.overlaps(layer, 3), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-10)


@pytest.mark.slow
def test_all_singular_values_of_a_small_matrix_are_exact():
    """Their squares sum to the squared length of the matrix, N D entries of variance
    1/(2 D).
    """
    free = exact(NET, 10, 2000, spectra_at=(0,), leading=8, seed=5)
    squares = (free.singular_values(0, 0) ** 2).sum(1) / (0.5 / 10)
    assert kstest(squares, "chi2", args=(80,)).pvalue > 1e-3


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (1, 3), (20, 20)])
def test_leading_noise_has_the_law_of_gaussian_matrices(shape):
    rows, columns = shape
    rng = np.random.default_rng(7)
    leading = min(3, *shape)
    whole = rng.standard_normal((2000, rows, columns)) / columns**0.5
    whole = np.linalg.svd(whole, compute_uv=False)[:, :leading]
    free = dm.leading_noise(rows / columns, 1.0, rows, 2000, leading, seed=8)
    for one, other in zip(whole.T, free.T, strict=True):
        assert ks_2samp(one, other).pvalue > 1e-3


@pytest.mark.parametrize("aspect", [0.01, 1.0, 7.0])
def test_more_rows_than_needed_move_nothing(aspect):
    rows = 10**8
    columns = round(rows / aspect)
    kept = leading_noise.rows_needed(rows, columns, 3)
    rng = np.random.default_rng(9)
    entries = leading_noise.draw_entries(rng, rows, columns, 2 * kept)
    found = leading_noise.largest(entries[: 2 * kept], 3)
    np.testing.assert_allclose(found, leading_noise.largest(entries, 3), rtol=1e-13)


@pytest.mark.slow
def test_the_largest_value_of_a_billion_rows_is_tracy_and_widoms():
    n, seeds = 10**9, 1000
    squares = n * dm.leading_noise(1.0, 1.0, n, seeds, leading=1, seed=1)[:, 0] ** 2
    root = np.sqrt(n - 1) + np.sqrt(n)
    scale = root * (1 / np.sqrt(n - 1) + 1 / np.sqrt(n)) ** (1 / 3)
    scaled = (squares - root**2) / scale
    for probability in (0.05, 0.5, 0.95):
        below = np.mean(scaled < tracy_widom_quantile(probability))
        error = np.sqrt(probability * (1 - probability) / seeds)
        assert abs(below - probability) < 3 * error


@pytest.mark.parametrize(
    "options, name",
    [
        (dict(dim=0), "dim"),
        (dict(dim=1.5), "dim"),
        (dict(dim=2**54), "dim"),
        (dict(dim=2**53), "sample_ratio"),
        (dict(spectra_at=(0,)), "leading"),
        (dict(dim=10, leading=9, spectra_at=(0,)), "leading"),
        (dict(leading=2, overlaps=3, spectra_at=(0,)), "overlaps"),
        (dict(ntk="yes"), "ntk"),
        (dict(blocks=1), "blocks"),
        (dict(method="exact"), "method"),
    ],
)
def test_what_cannot_be_had_is_refused(options, name):
    with pytest.raises(ValueError, match=name):
        dm.simulate(NET, **dict(method="coordinates") | options)


def test_minibatches_and_large_dense_networks_are_refused_with_the_remedy():
    net = dm.DeepLinear(**SMALL | dict(batch=0.5))
    with pytest.raises(ValueError, match="batch.*no finite coordinates.*dense"):
        exact(net, 50, 1)
    with pytest.raises(ValueError, match="dim.*method='coordinates'"):
        dm.simulate(NET, dim=10**6)


@pytest.mark.parametrize(
    "options, name",
    [
        (dict(aspect=0.0), "aspect"),
        (dict(variance=-1.0), "variance"),
        (dict(size=0), "size"),
        (dict(size=2**54), "size"),
        (dict(leading=11), "leading"),
        (dict(seeds=0), "seeds"),
    ],
)
def test_leading_noise_refuses_bad_input(options, name):
    good = dict(aspect=1.0, variance=1.0, size=10, seeds=2)
    with pytest.raises(ValueError, match=name):
        dm.leading_noise(**good | options)
