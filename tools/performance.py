"""The figures and the projection of the page on performance, from the tables that the
benchmarks have left.

    python -m tools.performance

Reads book/_data/{deep_linear,nonlinear,sweep}_benchmark.csv and sweep_driver.csv,
measures nothing. To be run after any of them has changed; writes
book/_static/performance_*.png and book/_data/projection.csv.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import protocol

BOOK = Path(__file__).parents[1] / "book"

# seconds a worker needs for its first deep linear network, of both levels, roughly
COMPILING = 5.0
POINTS, WORKERS = 10_000, (1, 2, 16, 64, 256, 1024)
MARKS = {"steps": "o", "samples": "s", "sites": "^"}


def exponent(x, seconds) -> float:
    """Slope of log seconds against log x."""
    return float(np.polyfit(np.log(x), np.log(seconds), 1)[0])


def level_1() -> pd.DataFrame:
    """steps, seconds of the library, seconds of the loop: level 1 of deep linear
    networks.
    """
    table = protocol.load("deep_linear_benchmark")
    steps = table.what.str.extract(r"^level 1, (\d+) steps", expand=False)
    rows = table[steps.notna()].assign(steps=steps.dropna().astype(int))
    return rows[["steps", "seconds", "its seconds"]].sort_values("steps")


def scaling() -> dict:
    """steps, samples and sites of nonlinear networks: (numbers, seconds)."""
    table = protocol.load("nonlinear_benchmark")
    found = {}
    for what, seconds in table[table.part == "scaling"][["what", "seconds"]].itertuples(
        index=False
    ):
        if match := re.fullmatch(r"(\w+) = (\d+)", what):
            found.setdefault(match[1], []).append((int(match[2]), seconds))
    return {name: tuple(np.array(pairs).T) for name, pairs in found.items()}


def measured() -> dict:
    """Seconds a point of two kinds of network, what an executor adds at most, and what
    the driver does for a point.
    """
    deep, nonlinear = (
        protocol.load("deep_linear_benchmark"),
        protocol.load("nonlinear_benchmark"),
    )
    sweeps, driver = protocol.load("sweep_benchmark"), protocol.load("sweep_driver")
    both = nonlinear[nonlinear.what.str.startswith("both levels")].iloc[0]
    slowest = sweeps[sweeps.way.str.startswith("executor")][
        "ratio to a loop of solves"
    ].min()
    levels = deep[deep.what.str.startswith("levels 1 and 2")].seconds.iloc[0]
    return {
        "deep linear, two layers, 60 steps": (float(levels), COMPILING),
        "nonlinear, both levels": (float(both.seconds), float(both.first_call)),
        "overhead": max(0.0, 1 / slowest - 1),
        "driver": float(driver.seconds_per_point.iloc[0]),
    }


def projection() -> pd.DataFrame:
    """Minutes that 10^4 points would take: what the workers do in parallel, or what the
    driver does if it is more.
    """
    numbers, rows = measured(), []
    for network in [name for name in numbers if "," in name]:
        seconds, first = numbers[network]
        for workers in WORKERS:
            alone = first + POINTS * seconds * (1 + numbers["overhead"]) / workers
            driver = POINTS * numbers["driver"]
            minutes, slowest = max((alone / 60, "workers"), (driver / 60, "driver"))
            rows.append(
                {
                    "network": network,
                    "workers": workers,
                    "minutes, projected": round(minutes, 1),
                    "limited by": slowest,
                }
            )
    return pd.DataFrame(rows)


def draw():
    import matplotlib.pyplot as plt

    from dmftlib import plotting

    plotting.use_book_style()
    table = level_1()
    ax = plt.subplots()[1]
    for column, name, color, line in (
        ("seconds", "library", plotting.THEORY, "o-"),
        ("its seconds", "NumPy loop", plotting.BASELINE, "s--"),
    ):
        long = table[table.steps >= 200]
        ax.loglog(
            table.steps,
            table[column],
            line,
            color=color,
            label=f"{name}: steps$^{{{exponent(long.steps, long[column]):.1f}}}$ from 200 on",
        )
    ax.set(xlabel="steps", ylabel="seconds")
    ax.legend()
    plt.savefig(BOOK / "_static/performance_deep_linear.png")
    ax = plt.subplots()[1]
    for (name, (x, seconds)), color in zip(
        scaling().items(), ("#0072B2", "#D55E00", "#1A1A1A"), strict=True
    ):
        ax.loglog(
            x / x[0],
            seconds,
            MARKS[name] + "-",
            color=color,
            label=f"{name}$^{{{exponent(x, seconds):.2f}}}$, {x[0]:.0f} to {x[-1]:.0f}",
        )
    ax.set(xlabel="multiple of the smallest", ylabel="seconds")
    ax.legend()
    plt.savefig(BOOK / "_static/performance_nonlinear.png")


if __name__ == "__main__":
    draw()
    table = projection()
    protocol.save(
        "projection",
        table,
        digits=3,
        script="tools/performance.py",
        projected="not measured",
    )
    print(table.to_string(index=False))
