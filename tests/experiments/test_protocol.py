"""The judge of tables: right theories pass as often as they should, small errors are
noticed, and what is stored is what the stored tables say.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import dmftlib as dm
from experiments import across_width, protocol, referee, simpler

SIZES = np.array([50, 100, 200, 400])
FEW = np.array([80, 40, 20, 10])  # seeds


def simulated(rows, rng, bias=3.0, bend=0.0, seeds=FEW, sizes=SIZES):
    """Quantities whose limit is one, in a table as of `protocol.summary`."""
    parts = []
    for row in range(rows):
        for N, count in zip(sizes, seeds, strict=True):
            spread = N**-0.5
            middle = 1 + bias / N + bend / N**2
            values = middle + spread * rng.standard_normal(count)
            error = values.std(ddof=1) / count**0.5
            parts.append((str(row), N, values.mean(), error, error * count**0.5, count))
    names = ["quantity", "N", "mean", "standard_error", "spread", "seeds"]
    return pd.DataFrame(parts, columns=pd.Index(names))


def expected(rows, value=1.0):
    return {str(row): value for row in range(rows)}


def reports(tables=100, rows=10, value=1.0, **options):
    rng = np.random.default_rng(5)
    found = [
        protocol.report(protocol.judge(simulated(rows, rng, **options), said))
        for said in [expected(rows, value)] * tables
    ]
    return pd.DataFrame(found)


@pytest.fixture(scope="module")
def right():
    return reports()


def test_a_right_theory_passes_at_the_right_rate(right):
    """p of a table of ten rows with ten seeds at the largest size is uniform, and one
    table of 370 has a row that is refused.
    """
    assert stats.kstest(right.p, "uniform").pvalue > 0.01
    assert 0 <= (right.p < 0.05).sum() <= 12  # five are expected
    assert right.rejected.sum() <= 2


def test_a_straight_line_passes_at_the_right_rate(right):
    assert stats.kstest(right.bend_p, "uniform").pvalue > 0.01
    assert (right.bend_freedom == 20).all()


def test_normal_quantiles_would_refuse_too_often():
    rng = np.random.default_rng(2)
    judged = protocol.judge(simulated(600, rng), expected(600))
    beyond = judged.z.abs() > 3
    share = 2 * stats.norm.sf(3)
    assert beyond.mean() > 1.5 * share
    assert (judged.p < share).sum() <= 5  # of 600, 1.6 are expected
    assert 10 < judged.freedom.median() < 60


def test_a_bent_line_is_seen(right):
    bent = reports(tables=20, bend=4000.0)
    assert (bent.bend_p < 0.01).mean() > 0.9
    assert right.bend_p.median() > 0.2


def test_an_error_in_one_direction_is_seen_in_the_whole_table():
    """A standard error or two in every row, few of which are refused."""
    wrong = reports(tables=20, value=1.03)
    assert (wrong.p < 0.01).mean() > 0.9
    assert wrong.rejected.sum() < 0.2 * wrong.rows.sum()


def test_many_seeds_make_it_chi_squared():
    assert protocol.bent(5.0, 2, 1e-9) == pytest.approx(stats.chi2.sf(5.0, 2), rel=1e-6)
    many = protocol.fit(1 / SIZES, 1 + 3 / SIZES, np.full(4, 0.1), np.full(4, 10**9))
    assert many.intercept == pytest.approx(1) and many.bend == pytest.approx(0)
    assert many.freedom > 1e9
    assert protocol.effective([1.0, 1.0], [7, 7]) == pytest.approx(14)
    assert protocol.effective([1.0, 0.0], [7, 3]) == pytest.approx(7)


def test_rows_that_say_the_same_are_worth_one():
    rng = np.random.default_rng(0)
    free = pd.DataFrame(rng.standard_normal((200, 12)))
    assert 11 < protocol.worth(free) <= 12
    copies = pd.concat([free[[0]]] * 12, axis=1)
    assert protocol.worth(copies) == pytest.approx(1)
    pairs = pd.concat([free, free], axis=1)
    assert 11 < protocol.worth(pairs) < 13


def test_p_of_correlated_rows_is_that_of_what_they_are_worth():
    """Five copies of each row: p is uniform, and taken as independent it is not; nor is
    that of the lines.
    """
    rng = np.random.default_rng(1)
    worth, independent = [], []
    for _ in range(60):
        once = protocol.judge(simulated(6, rng), expected(6))
        five = pd.concat([once] * 5, ignore_index=True)
        worth.append(protocol.report(five, 6))
        independent.append(protocol.report(five))
    for p in ("p", "bend_p"):
        right, wrong = (
            [getattr(one, p) for one in found] for found in (worth, independent)
        )
        assert stats.kstest(right, "uniform").pvalue > 0.01
        assert stats.kstest(wrong, "uniform").pvalue < 0.01


def test_a_smaller_error_takes_larger_networks():
    rng = np.random.default_rng(3)
    sizes = 50 * 2 ** np.arange(7)
    table = simulated(10, rng, seeds=np.full(7, 40), sizes=sizes)

    def seen(value):
        return protocol.seen_from(
            table, lambda part: protocol.judge(part, expected(10, value))
        )

    large, small = seen(1.5), seen(1.03)
    assert large == 100
    assert small is not None and small > large
    assert seen(1.0) is None


def test_a_theory_that_is_sampled_has_its_own_error():
    rng = np.random.default_rng(4)
    table = simulated(1, rng)
    alone = protocol.judge(table, {"0": 1.1}).iloc[0]
    both = protocol.judge(table, {"0": 1.1}, theory_error={"0": 10.0}).iloc[0]
    assert abs(both.z) < abs(alone.z)
    assert both.freedom == pytest.approx(7, rel=1e-3)


# The other theories


def small_network():
    setting = dict(gamma0=2.0, init_variance=0.5, label_noise=0.1)
    return dm.DeepLinear(
        hidden_layers=1,
        width_ratio=1.0,
        sample_ratio=2.0,
        learning_rate=0.02,
        steps=4,
        **setting,
    )


def test_gradient_flow_is_training_in_small_steps():
    def loss(net, every):
        return {"loss": float(dm.solve(net).train_loss[3 * every])}

    net = small_network()
    fine, steps = (loss(simpler.finer(net, k), k)["loss"] for k in (64, 1))
    flow = simpler.flow(net, loss)["loss"]
    assert abs(flow - fine) < 0.05 * abs(steps - fine)


def test_tampered_histories_differ_in_what_they_say():
    queries = dm.solve(small_network()).queries(0).compressed(1e-6)
    history = queries.history()
    assert not np.any(simpler.fresh(history).core)
    first = np.asarray(history.increments[0])
    last = simpler.extrapolated(history).spikes[-1]
    assert last == pytest.approx(4 * first) and np.any(first)
    assert simpler.core_twice(history).core == pytest.approx(2 * history.core)
    assert simpler.core_turned(history).core == pytest.approx(-history.core)
    other = simpler.response_times(queries, "left_response", -1.0)
    assert other.left_response == pytest.approx(-queries.left_response)
    assert other.right_response == pytest.approx(queries.right_response)
    assert other.history().core != pytest.approx(history.core)


# The stored tables

PLANTED = {  # rows that notice
    "dependent_spikes": {
        "variance 2% larger": 2,
        "a half missing in A": 10,
        "a sign wrong in A": 10,
    },
    "deep_linear": {
        "initial variance 2% larger": 4,
        "a half missing in A": 60,
        "a sign wrong in B": 60,
    },
    "nonlinear": {
        "variance 2% larger": 16,
        "a half missing in the core": 9,
        "a sign wrong in the core": 9,
    },
    "nonlinear_deep": {
        "variance 2% larger": 3,
        "a half missing in the core": 3,
        "a sign wrong in the core": 3,
    },
    "ntk": {"initial variance 2% larger": 4},
    "across_width_outliers": {"initial variance 2% larger": 36},
    "across_width_kernel": {"initial variance 2% larger": 12},
    "across_width_rates": {"initial variance 2% larger": 10},
}


@pytest.mark.parametrize("table", PLANTED)
def test_a_small_error_planted_in_a_theory_is_noticed(table):
    found = stored().query("table == @table").set_index("which")
    for which, rows in PLANTED[table].items():
        assert found.rejected[which] == rows and found.p[which] < 1e-6
        assert found.seen_from[which] <= found.largest[which]


def test_what_is_planted_is_computed_from_the_library():
    """And the right theory of the same table beside it."""
    kept = protocol.load("theories").query("table == 'dependent_spikes'")
    for which, _, values in referee.spikes():
        old = kept[kept.which == which].set_index("quantity").theory
        assert set(values) == set(old.index)
        for quantity, value in values.items():
            assert value == pytest.approx(old[quantity], rel=1e-8)


def stored():
    return protocol.load("referee")


@pytest.mark.slow
def test_the_report_is_what_the_stored_tables_say():
    old, new = stored(), referee.reports()
    pd.testing.assert_frame_equal(old, new, check_dtype=False, rtol=1e-4, atol=1e-12)
    for name, fresh in (
        ("referee_outputs", referee.powers()),
        ("referee_rises", referee.rises()),
    ):
        kept = protocol.load(name)
        pd.testing.assert_frame_equal(kept, fresh, check_dtype=False, rtol=1e-2)


def test_no_row_of_a_theory_is_refused_but_those_that_are_explained():
    theory = stored().query("which == 'theory'").set_index("table")
    assert set(theory[theory.rejected > 0].index) <= {"escape_half"}


def test_every_broken_theory_is_refused():
    broken = stored().query("which != 'theory'")
    assert (broken.rejected > 0).all() and broken.seen_from.notna().all()


@pytest.mark.parametrize(
    "name, network",
    [("rates", "mup 2"), pytest.param("kernel", "ntk 8", marks=pytest.mark.slow)],
)
def test_what_is_stored_across_width_is_what_the_library_says(name, network):
    part = across_width.PARTS[name]
    kept = protocol.load(f"across_width_{name}_theory").query("which == 'theory'")
    old = kept.set_index("quantity").theory
    said = part.theory(network, part.networks[network])
    assert len(said) == 2
    for quantity, value in said.items():
        assert value == pytest.approx(old[quantity], rel=1e-7)
