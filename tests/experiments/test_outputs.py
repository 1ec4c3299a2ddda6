"""The runs on a large GPU: the table made of them, and the rule that decides."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments import large_runs, outputs_verdict, protocol
from experiments.outputs_verdict import Interval

WIDTHS = np.array([256, 512, 1024])


def test_kinds_of_matrix_are_never_mixed_and_refused_ones_are_left_out():
    rows = pd.DataFrame(
        {
            "fam": "A",
            "N": 256,
            "C": 2,
            "r": np.nan,
            "step": 8,
            "matrix": ["0.up", "1.up", "2.up", "0.value"],
            **{name: [1.0, 3.0, 50.0, 7.0] for name in ("k", "P", "phi", "moved")},
            **{name: [1.0, 3.0, 50.0, 7.0] for name in ("overlap", "held", "acc")},
            **{name: [1.0, 3.0, 50.0, 7.0] for name in ("k_turned", "D_turned")},
            "D": [0.1, 0.3, np.nan, 0.7],
        }
    )
    table = large_runs.by_type(rows).set_index("type")
    assert table.participation_ratio.to_dict() == {"up": 2.0, "value": 7.0}
    assert table.refused.round(3).to_dict() == {"up": 0.333, "value": 0.0}
    assert table.matrices.to_dict() == {"up": 3, "value": 1}


def test_an_exponent_and_its_interval_are_those_of_a_regression():
    values = 3.0 * WIDTHS**0.4 * np.array([1.02, 0.97, 1.01])
    found = outputs_verdict.exponent(WIDTHS, values)
    right = stats.linregress(np.log(WIDTHS), np.log(values))
    assert found.value == pytest.approx(right.slope)
    assert found.error == pytest.approx(12.7062 * right.stderr, rel=1e-5)


@pytest.mark.parametrize(
    "b, e, a, share, expected",
    [
        ((0.0, 0.1), (0.1, 0.2), (1.0, 0.2), 0.9, "finite"),
        ((0.0, 0.1), (0.1, 0.2), (1.0, 0.2), 0.7, "between"),  # by the share
        ((1.0, 0.3), (1.0, 0.3), (0.1, 0.1), 0.1, "restructured"),
        ((1.0, 0.3), (1.0, 0.3), (0.1, 0.1), 0.5, "between"),
        ((0.4, 0.1), (0.0, 0.1), (0.5, 0.1), 0.1, "between"),
        ((0.4, 0.1), (0.0, 0.1), (0.5, 0.4), 0.1, "between"),  # b alone refutes both
        ((0.4, 9.0), (0.0, 9.0), (0.5, 9.0), 0.1, "open"),
        ((0.0, 9.0), (0.0, 9.0), (1.0, 9.0), 0.9, "finite"),  # the share refutes
    ],
)
def test_the_rule(b, e, a, share, expected):
    found = outputs_verdict.verdict(Interval(*b), Interval(*e), Interval(*a), share)
    assert found == expected


@pytest.mark.parametrize(
    "b, e, a, share, expected",
    [(0.05, 0.0, 1.0, 0.9, "finite"), (0.9, 0.9, 0.1, 0.1, "restructured")],
)
def test_planted_ladders_are_told_apart(b, e, a, share, expected):
    wiggle = 1 + 0.01 * np.array([1, -1, 0.5])
    table = pd.DataFrame(
        {
            "family": "gpt",
            "width": WIDTHS,
            "outputs": 2,
            "rank": 0,
            "step": 8,
            "type": "up",
            "refused": 0.0,
            "participation_ratio": WIDTHS**b * wiggle,
            "outliers": 20.0 * WIDTHS**e * wiggle,
            "kolmogorov": WIDTHS**-a * wiggle,
            "share": share,
        }
    )
    (row,) = outputs_verdict.verdicts(table).to_dict("records")
    assert row["verdict"] == expected and row["power"] < 0.5


def test_what_the_chapter_says_of_the_runs():
    """The sentences of chapter 11 that the table of the runs must bear."""
    table = protocol.load("large_runs")
    ladder = table[(table.family == "gpt, readout map") & (table.step == 1280)]
    ratio = ladder.pivot(index="type", columns="rank", values="participation_ratio")
    for kind in ("down", "value", "mix", "up"):
        assert ratio.loc[kind, 1] < ratio.loc[kind, 8] / 1.8 < ratio.loc[kind, 64] / 2.5
    for kind in ("query", "key"):
        assert ratio.loc[kind].between(11, 17).all()
    moved = ladder.pivot(index="type", columns="rank", values="moved")
    assert abs(moved.loc["down", 64] / moved.loc["down", 8] - 1) < 0.01
    excess = (ladder.kolmogorov - ladder.kolmogorov_turned).abs()
    assert excess.max() < 0.002
    verdicts = outputs_verdict.verdicts()
    counts = verdicts.verdict.value_counts().to_dict()
    assert counts == {"between": 16, "finite": 4, "open": 4}
    assert (verdicts.power < 0.5).sum() == 1
    squared = table[(table.family == "mlp, squared") & (table.outputs == 1000)]
    assert (squared.outliers == 0).all()
