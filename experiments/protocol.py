"""How a theory curve is verified: simulate at several sizes, extrapolate to infinite
size, compare; then break the theory on purpose and see the comparison refuse it.

For each quantity the simulated means are fitted by a straight line in 1/N, weighted by
their standard errors. The intercept must agree with theory within three standard errors
(Bonferroni-corrected: as unlikely over the whole table as three standard errors are for
one row). The bias and the seed-to-seed spread are fitted by powers of N.

`judge` judges each row, `report` the whole table: largest distance, chi^2, and the
straight line itself, with Student's quantiles where seeds are few. `seen_from` tells how
large the networks must be for a wrong theory to be refused.
"""

import json
import platform
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

_ROOT = Path(__file__).parents[1]
_REFEREE = "experiments/referee.py"
DATA = _ROOT / ("book/_data" if (_ROOT / "book").exists() else "_data")


def simulate(draw: Callable, sizes, seeds: Callable, progress=print, first=()) -> dict:
    """draw(N, rng) -> {quantity: number} for seeds(N) seeds at each size; {N: DataFrame
    of seeds x quantities}. Numbers in `first` come before N and seed: other networks.
    """
    samples = {}
    for size in sizes:
        rows = [
            draw(size, np.random.default_rng([*first, size, seed]))
            for seed in range(seeds(size))
        ]
        samples[size] = pd.DataFrame(rows)
        progress(f"N = {size}: {len(rows)} seeds")
    return samples


def summary(samples: dict) -> pd.DataFrame:
    """Mean, standard error, spread and seeds of each quantity at each size: the small
    table that is committed.
    """
    rows = []
    for size, table in samples.items():
        for quantity in table.columns:
            values = table[quantity].to_numpy()
            spread = values.std(ddof=1)
            error = spread / np.sqrt(len(values))
            rows.append(
                dict(
                    quantity=quantity,
                    N=size,
                    mean=values.mean(),
                    standard_error=error,
                    spread=spread,
                    seeds=len(values),
                )
            )
    return pd.DataFrame(rows)


def _line(x, y, error):
    """Weighted least squares y = a + b x: a, b and their standard errors."""
    design = np.stack([np.ones_like(x), x], 1) / error[:, None]
    covariance = np.linalg.inv(design.T @ design)
    a, b = covariance @ design.T @ (y / error)
    return a, b, *np.sqrt(np.diagonal(covariance))


class Fit(NamedTuple):
    """A straight line through means whose errors are estimated from few seeds."""

    intercept: float
    error: float  # of the intercept
    freedom: float  # of that error (Welch, Satterthwaite)
    longer: float  # so many times, as the weights are estimated too
    bend: float  # chi^2 of the means about the line
    bend_freedom: int
    bend_p: float


def bent(chi2: float, freedom: int, uncertain: float) -> float:
    """How likely a straight line leaves so large a chi^2 (Johansen, Biometrika 67, 85):
    `uncertain` is the sum of (1 - leverage)^2 / (seeds - 1) over the sizes.
    """
    if freedom == 0:
        return np.nan
    scale = freedom + 2 * uncertain - 6 * uncertain / (freedom + 2)
    other = freedom * (freedom + 2) / (3 * uncertain)
    return float(stats.f.sf(chi2 / scale, freedom, other))


def fit(x, mean, error, seeds) -> Fit:
    """The line mean = intercept + slope x, weighted by the errors."""
    design = np.stack([np.ones_like(x), x], 1) / error[:, None]
    inverse = np.linalg.pinv(design)
    intercept, slope = inverse @ (mean / error)
    part = inverse[0] ** 2  # of the variance of the intercept
    residual = (mean - intercept - slope * x) / error
    left = 1 - np.diagonal(design @ inverse)
    bend, freedom = float(residual @ residual), len(x) - 2
    # Meier, Biometrics 9, 59; Kenward and Roger, Biometrics 53, 983
    estimated = part * (1 + 4 * left / (seeds - 1))
    return Fit(
        intercept,
        part.sum() ** 0.5,
        effective(part, seeds - 1),
        (estimated.sum() / part.sum()) ** 0.5,
        bend,
        freedom,
        bent(bend, freedom, (left**2 / (seeds - 1)).sum()),
    )


def effective(variances, freedoms) -> float:
    """Degrees of freedom of a sum of estimated variances (Welch, Satterthwaite)."""
    variances, freedoms = np.asarray(variances), np.asarray(freedoms)
    return float(variances.sum() ** 2 / (variances**2 / freedoms).sum())


def limit(rows: int) -> float:
    """The least p of a row that agrees: that of three standard errors, over the rows."""
    return 2 * stats.norm.sf(3) / rows


def powers(part: pd.DataFrame, expected: float) -> dict:
    """The exponents of bias and spread in N, of one quantity.

    That of the bias only where it is seen at three standard errors at the two smallest
    sizes.
    """
    N, mean, error, spread, seeds = (
        part[name].to_numpy(float)
        for name in ("N", "mean", "standard_error", "spread", "seeds")
    )
    known = 1 / np.sqrt(2 * (seeds - 1))
    _, spread_slope, _, spread_error = _line(np.log(N), np.log(spread), known)
    bias = np.abs(mean - expected)
    bias_slope = bias_error = np.nan
    if np.all(bias[:2] > 3 * error[:2]):
        _, bias_slope, _, bias_error = _line(np.log(N), np.log(bias), error / bias)
    return dict(
        bias_exponent=bias_slope,
        bias_exponent_error=bias_error,
        spread_exponent=spread_slope,
        spread_exponent_error=spread_error,
    )


def judge(
    table: pd.DataFrame,
    theory: dict,
    exponent: float = 1.0,
    theory_error: dict | None = None,
    batches: int = 8,
) -> pd.DataFrame:
    """Extrapolated simulation beside theory: z, whether it agrees (three standard
    errors, by normal quantiles), the p of so large a distance either way (Student's, and
    the error of the weights counted), how straight the line is, and the exponents of bias and spread.

    `theory_error` are standard errors of a theory that is itself sampled, in `batches`
    parts; z has them.
    """
    threshold = stats.norm.isf(stats.norm.sf(3) / len(theory))
    rows = []
    for quantity, expected in theory.items():
        part = table[table.quantity == quantity].sort_values("N")
        N, mean, error, seeds = (
            part[name].to_numpy(float)
            for name in ("N", "mean", "standard_error", "seeds")
        )
        line = fit(N**-exponent, mean, error, seeds)
        own = (theory_error or {}).get(quantity, 0.0)
        total = np.hypot(line.error, own)
        freedom = effective([line.error**2, own**2], [line.freedom, batches - 1])
        distance = line.intercept - expected
        z = float(distance / total)
        t = float(distance / np.hypot(line.longer * line.error, own))
        row = dict(
            quantity=quantity,
            theory=float(expected),
            simulation=line.intercept,
            standard_error=line.error,
            z=z,
            agrees=bool(abs(z) < threshold),
            **powers(part, expected),
            theory_standard_error=own,
            freedom=freedom,
            p=float(2 * stats.t.sf(abs(t), freedom)),
            bend=line.bend,
            bend_freedom=line.bend_freedom,
            bend_p=line.bend_p,
        )
        rows.append(row)
    return pd.DataFrame(rows)


class Report(NamedTuple):
    """What a table of rows says of a theory."""

    rows: int
    rejected: int
    largest_z: float
    mean_z2: float
    chi2: float  # of all rows, each at its p
    freedom: float  # rows, or how many independent ones they are worth
    p: float  # of chi2
    bend: float  # chi^2 of the means about their lines
    bend_freedom: int
    bend_p: float


def report(judged: pd.DataFrame, worth: float | None = None) -> Report:
    """The table as a whole, from what `judge` says of its rows.

    Rows that share networks are correlated. If they are `worth` fewer independent ones,
    chi^2 has the distribution of as many, scaled to its mean (Box), and so has that of
    their means about the lines; without it p is that of independent rows.
    """
    rows = len(judged)
    squares = stats.chi2.isf(judged.p, 1)
    freedom = float(worth or rows)
    lines = judged[judged.bend_freedom > 0]
    straight = stats.chi2.isf(lines.bend_p, lines.bend_freedom)
    share = freedom / rows
    return Report(
        rows,
        int((judged.p <= limit(rows)).sum()),
        float(judged.z.abs().max()),
        float((judged.z**2).mean()),
        float(squares.sum()),
        freedom,
        float(stats.chi2.sf(squares.sum() * share, freedom)),
        float(straight.sum()),
        int(lines.bend_freedom.sum()),
        float(stats.chi2.sf(straight.sum() * share, lines.bend_freedom.sum() * share))
        if len(lines)
        else np.nan,
    )


def worth(samples: pd.DataFrame) -> float:
    """How many independent rows these correlated ones are worth, from a row a seed: the
    squares of their correlations are summed, less what chance alone makes of each.
    """
    found = np.corrcoef(samples.to_numpy(), rowvar=False) ** 2
    squares = found - (1 - found) / (len(samples) - 2)
    return float(len(found) ** 2 / max(squares.sum(), len(found)))


def seen_from(table: pd.DataFrame, judged: Callable) -> int | None:
    """The least N such that networks up to N, two sizes or more, are enough for some row
    to be refused; `judged` takes a table. A row of which there is one size up to there
    is left out.
    """
    for size in sorted(table.N.unique())[1:]:
        found = judged(extrapolable(table[table.N <= size]))
        if (found.p <= limit(len(found))).any():
            return int(size)
    return None


def extrapolable(table: pd.DataFrame) -> pd.DataFrame:
    """Without the rows of which there is one size."""
    return table[table.groupby("quantity").N.transform("nunique") > 1]


def save(name: str, table: pd.DataFrame, digits: int = 8, **provenance) -> None:
    """Write book/_data/name.csv and, beside it, where it came from."""
    table.to_csv(DATA / f"{name}.csv", index=False, float_format=f"%.{digits}g")
    note = dict(
        provenance,
        date=date.today().isoformat(),
        python=platform.python_version(),
        numpy=np.__version__,
    )
    (DATA / f"{name}.json").write_text(json.dumps(note, indent=1) + "\n")


def load(name: str) -> pd.DataFrame:
    return pd.read_csv(DATA / f"{name}.csv")


def keep_worth(row: dict) -> None:
    """Enter in book/_data/worths.csv what a table is worth, in the place of what is
    known of the same table.
    """
    there = (DATA / "worths.csv").exists()
    known = load("worths").to_dict("records") if there else []
    rows = {old["table"]: old for old in known} | {row["table"]: row}
    save("worths", pd.DataFrame(rows.values()), digits=6, script=_REFEREE)
