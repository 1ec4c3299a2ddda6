"""How often `dmftlib.empirical.spectrum` is right: false positives on pure noise,
planted spikes, and the threshold.

* noise: three shapes, Gaussian and uniform entries, two nominal rates, 500 seeds each;
* three spikes: how often exactly the three that were planted are found; * planted:
position and overlaps of one spike at four sizes, for extrapolation to the formulas of
Benaych-Georges and
  Nadakuditi (2012);
* threshold: how often one spike is found, against its strength.

Writes book/_data/empirical_rates.csv (two minutes on two cores): python
experiments/empirical_rates.py
"""

import numpy as np
import pandas as pd

from dmftlib import empirical
from experiments import protocol

SHAPES = ((100, 100), (64, 512), (400, 100))
RATES = (0.05, 0.01)
SEEDS = 500
SPIKES = (1.6, 2.2, 3.0)  # three at once, in a square matrix
ASPECT, STRENGTH, SIZES = (
    0.5,
    1.5,
    (64, 128, 256, 512),
)  # one spike, n rows and n / ASPECT columns
STRENGTHS = (
    0.6,
    0.8,
    0.9,
    1.0,
    1.1,
    1.2,
    1.3,
    1.4,
    1.6,
)  # one spike in a square matrix: the threshold is 1


def entries(kind, shape, rng):
    """iid entries of variance one."""
    return (
        rng.standard_normal(shape)
        if kind == "normal"
        else rng.uniform(-np.sqrt(3), np.sqrt(3), shape)
    )


def plant(n, m, strengths, rng):
    """Raw weights W (n, m) = sqrt(m) (M0 + sum_k strength_k u_k v_k^T), random
    orthonormal u (n, k) and v (m, k).
    """
    u, v = (
        np.linalg.qr(rng.standard_normal((size, len(strengths))))[0] for size in (n, m)
    )
    return (
        rng.standard_normal((n, m)) + np.sqrt(m) * (u * np.asarray(strengths)) @ v.T,
        u,
        v,
    )


def prediction(aspect, strength):
    """Benaych-Georges and Nadakuditi 2012: position and squared cosines of an
    independent spike, unit variance.
    """
    c, square = aspect, strength**2
    return {
        "position": np.sqrt((1 + square) * (c + square)) / strength,
        "left overlap": 1 - c * (1 + square) / (square * (square + c)),
        "right overlap": 1 - (c + square) / (square * (square + 1)),
    }


def draw(n, rng):
    """One planted spike: where the largest singular value lies and where its vectors
    point.
    """
    W, u, v = plant(n, round(n / ASPECT), [STRENGTH], rng)
    return {
        "position": empirical.spectrum(W).singular_values[0],
        "left overlap": empirical.overlaps(W, u, "left")[0, 0],
        "right overlap": empirical.overlaps(W, v, "right")[0, 0],
    }


def rate(hits, expected=np.nan):
    """Row entries for a rate: its standard error is that of the rate expected, where
    there is one.
    """
    mean, count = float(np.mean(hits)), len(hits)
    level = mean if np.isnan(expected) else expected
    return dict(
        expected=expected,
        mean=mean,
        standard_error=np.sqrt(level * (1 - level) / count),
        seeds=count,
    )


def false_positives(shape, kind, nominal, seeds):
    rng = [
        np.random.default_rng([*shape, kind == "normal", seed]) for seed in range(seeds)
    ]
    return rate(
        [
            len(empirical.spectrum(entries(kind, shape, r), nominal).outliers) > 0
            for r in rng
        ],
        nominal,
    )


def detected(n, strengths, seeds, expected=np.nan):
    """How often as many outliers are found as were planted, at the default
    false-positive rate.
    """
    found = []
    for seed in range(seeds):
        W, _, _ = plant(
            n,
            n,
            strengths,
            np.random.default_rng([n, seed, round(100 * sum(strengths))]),
        )
        found.append(len(empirical.spectrum(W).outliers) == len(strengths))
    return rate(found, expected)


if __name__ == "__main__":
    rows = []
    for shape in SHAPES:
        for kind in ("normal", "uniform"):
            for nominal in RATES:
                rows.append(
                    dict(
                        experiment="noise",
                        quantity=kind,
                        rows=shape[0],
                        columns=shape[1],
                        **false_positives(shape, kind, nominal, SEEDS),
                    )
                )
    rows.append(
        dict(
            experiment="three spikes",
            quantity="all three and no more",
            rows=256,
            columns=256,
            **detected(256, SPIKES, SEEDS, expected=0.99),
        )
    )
    for strength in STRENGTHS:
        rows.append(
            dict(
                experiment="threshold",
                quantity="found",
                rows=256,
                columns=256,
                strength=strength,
                **detected(256, [strength], 200),
            )
        )
    planted = protocol.summary(protocol.simulate(draw, SIZES, lambda n: 40_000 // n))
    expected = prediction(ASPECT, STRENGTH)
    for row in planted.itertuples():
        rows.append(
            dict(
                experiment="planted",
                quantity=row.quantity,
                rows=row.N,
                columns=round(row.N / ASPECT),
                strength=STRENGTH,
                expected=expected[row.quantity],
                mean=row.mean,
                standard_error=row.standard_error,
                spread=row.spread,
                seeds=row.seeds,
            )
        )
    table = pd.DataFrame(rows)
    table["z"] = (table["mean"] - table.expected) / table.standard_error
    protocol.save(
        "empirical_rates",
        table,
        script="experiments/empirical_rates.py",
        shapes=SHAPES,
        seeds=SEEDS,
        spikes=SPIKES,
        aspect=ASPECT,
        strength=STRENGTH,
        sizes=SIZES,
    )
    print(table.round(4).to_string())
    print(protocol.judge(planted, expected).round(4).to_string())
