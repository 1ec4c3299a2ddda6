"""How a theory curve is verified: simulate at several sizes, extrapolate to infinite size, compare; then break the
theory on purpose and see the comparison refuse it.

For each quantity the simulated means are fitted by a straight line in 1/N, weighted by their standard errors. The
intercept must agree with theory within three standard errors (Bonferroni-corrected: as unlikely over the whole table
as three standard errors are for one row). The bias and the seed-to-seed spread are fitted by powers of N.
"""

import json
import platform
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

DATA = Path(__file__).parent / "_data"


def simulate(draw: Callable, sizes, seeds: Callable, progress=print) -> dict:
    """draw(N, rng) -> {quantity: number} for seeds(N) seeds at each size; {N: DataFrame of seeds x quantities}."""
    samples = {}
    for size in sizes:
        rows = [draw(size, np.random.default_rng([size, seed])) for seed in range(seeds(size))]
        samples[size] = pd.DataFrame(rows)
        progress(f"N = {size}: {len(rows)} seeds")
    return samples


def summary(samples: dict) -> pd.DataFrame:
    """Mean, standard error, spread and seeds of each quantity at each size: the small table that is committed."""
    rows = []
    for size, table in samples.items():
        for quantity in table.columns:
            values = table[quantity].to_numpy()
            spread = values.std(ddof=1)
            error = spread / np.sqrt(len(values))
            rows.append(dict(quantity=quantity, N=size, mean=values.mean(), standard_error=error, spread=spread,
                             seeds=len(values)))
    return pd.DataFrame(rows)


def _line(x, y, error):
    """Weighted least squares y = a + b x: a, b and their standard errors."""
    design = np.stack([np.ones_like(x), x], 1) / error[:, None]
    covariance = np.linalg.inv(design.T @ design)
    a, b = covariance @ design.T @ (y / error)
    return a, b, *np.sqrt(np.diagonal(covariance))


def judge(table: pd.DataFrame, theory: dict, exponent: float = 1.0) -> pd.DataFrame:
    """Extrapolated simulation beside theory, with z, the agreement, and the exponents of bias and spread.

    `bias_exponent` is fitted only where the bias is seen at three standard errors at the two smallest sizes.
    """
    threshold = norm.isf(norm.sf(3) / len(theory))
    rows = []
    for quantity, expected in theory.items():
        part = table[table.quantity == quantity].sort_values("N")
        N, mean, error = (part[name].to_numpy(float) for name in ("N", "mean", "standard_error"))
        intercept, _, intercept_error, _ = _line(N**-exponent, mean, error)
        z = float((intercept - expected) / intercept_error)
        _, spread_slope, _, spread_slope_error = _line(
            np.log(N), np.log(part.spread.to_numpy()), 1 / np.sqrt(2 * (part.seeds.to_numpy(float) - 1)))
        bias = np.abs(mean - expected)
        bias_slope = bias_slope_error = np.nan
        if np.all(bias[:2] > 3 * error[:2]):
            _, bias_slope, _, bias_slope_error = _line(np.log(N), np.log(bias), error / bias)
        rows.append(dict(quantity=quantity, theory=float(expected), simulation=intercept,
                         standard_error=intercept_error,
                         z=z, agrees=bool(abs(z) < threshold), bias_exponent=bias_slope,
                         bias_exponent_error=bias_slope_error, spread_exponent=spread_slope,
                         spread_exponent_error=spread_slope_error))
    return pd.DataFrame(rows)


def save(name: str, table: pd.DataFrame, digits: int = 8, **provenance) -> None:
    """Write book/_data/name.csv and, beside it, where it came from."""
    table.to_csv(DATA / f"{name}.csv", index=False, float_format=f"%.{digits}g")
    note = dict(provenance, date=date.today().isoformat(), python=platform.python_version(), numpy=np.__version__)
    (DATA / f"{name}.json").write_text(json.dumps(note, indent=1) + "\n")


def load(name: str) -> pd.DataFrame:
    return pd.read_csv(DATA / f"{name}.csv")
