"""Outliers across width in both parameterizations, and where they escape, for chapter
8.

* widths: six width ratios, a factor 32 apart, in muP and NTK parameterization. The
largest singular value of each
  matrix after 40 steps, W^0 over sqrt(width_ratio), by Lanczos iteration, beside the theory.
* escape: square matrices; for three initial variances the fraction of seeds in which
the largest singular value after
  20 steps passes the threshold that pure noise passes once in a hundred, over a range of output scales, at four sizes.
  The middle of the rise, in units of the critical output scale, is to be extrapolated to one.
* control: the same for one spike that is independent of the matrix, whose critical
strength is known to be one.

Writes book/_data/width.csv, width_paths.csv (the theory of each step), escape.csv and
escape_half.csv (five minutes on one core): python -m experiments.width
"""

import numpy as np
import pandas as pd
from scipy.sparse.linalg import svds

import dmftlib as dm
from dmftlib.empirical import tracy_widom_quantile
from experiments import protocol

SHARED = dict(hidden_layers=2, learning_rate=0.05, sample_ratio=1.5, label_noise=0.2)
WIDTHS = {
    0.5: (400, 40),
    1.0: (400, 32),
    2.0: (400, 24),
    4.0: (300, 16),
    8.0: (250, 12),
    16.0: (200, 8),
}  # D and seeds
WIDE, STEP = dict(gamma0=3.0, init_variance=0.5, steps=40, **SHARED), 40
ESCAPE = dict(width_ratio=1.0, steps=20, **SHARED)
VARIANCES, MULTIPLES = (
    (0.35, 0.5, 0.7),
    (0.7, 0.9, 1.1, 1.3, 1.5, 1.8, 2.2),
)  # gamma0 in units of that critical for W^1
SIZES, CONTROL = (
    {50: 200, 100: 120, 200: 60, 400: 30},
    6,
)  # D = N and seeds; so many times as many for the control


def widths():
    """One row a matrix: theory, and mean, standard error and spread of the simulation;
    and the theory of each step.
    """
    rows, paths = [], []
    for parameterization in ("mup", "ntk"):
        for ratio, (dim, seeds) in WIDTHS.items():
            net = dm.DeepLinear(
                width_ratio=ratio, parameterization=parameterization, **WIDE
            )
            solution = dm.solve(net)
            run = dm.simulate(
                net,
                dim=dim,
                seeds=seeds,
                seed=dim,
                spectra_at=(STEP,),
                leading=1,
                ntk=False,
                progress=False,
            )
            for layer in range(2):
                unit = ratio**0.5 if layer == 0 else 1.0
                name = dict(
                    parameterization=parameterization, width_ratio=ratio, matrix=layer
                )
                path = (
                    np.asarray(solution.outliers(layer, max_outliers=1).values[:, 0])
                    / unit
                )
                paths += [
                    dict(**name, step=t, outlier=value) for t, value in enumerate(path)
                ]
                top = run.singular_values(layer, STEP)[:, 0] / unit
                rows.append(
                    dict(
                        **name,
                        D=dim,
                        seeds=seeds,
                        edge=float(solution.bulk(layer).edges[0][1]) / unit,
                        theory=path[STEP],
                        mean=top.mean(),
                        standard_error=top.std(ddof=1) / np.sqrt(seeds),
                        spread=top.std(ddof=1),
                    )
                )
            print(pd.DataFrame(rows[-2:]).round(4).to_string(header=False), flush=True)
    return pd.DataFrame(rows), pd.DataFrame(paths)


def network(variance):
    """gamma0 -> the network of the escape study."""
    return lambda gamma0: dm.DeepLinear(gamma0=gamma0, init_variance=variance, **ESCAPE)


def threshold(n, m, variance, false_positive_rate=0.01):
    """What the largest singular value of an n x m matrix of N(0, variance/m) entries
    passes so often.
    """
    rows, columns = np.sqrt(n - 0.5), np.sqrt(m - 0.5)
    scale = (rows + columns) * (1 / rows + 1 / columns) ** (1 / 3)
    return np.sqrt(
        variance
        / m
        * (
            (rows + columns) ** 2
            + scale * tracy_widom_quantile(1 - false_positive_rate)
        )
    )


def escape():
    """One row a variance, output scale, size and matrix: how many seeds have an
    outlier.
    """
    rows = []
    for dim, seeds in SIZES.items():
        for variance in VARIANCES:
            make = network(variance)
            critical = [
                float(dm.critical(make, layer, between=(0.2, 4.0)))
                for layer in range(2)
            ]
            for i, multiple in enumerate(MULTIPLES):
                run = dm.simulate(
                    make(multiple * critical[1]),
                    dim=dim,
                    seeds=seeds,
                    seed=dim + i,
                    leading=1,
                    spectra_at=(ESCAPE["steps"],),
                    ntk=False,
                    progress=False,
                )
                for layer in range(2):
                    past = run.singular_values(layer, ESCAPE["steps"])[
                        :, 0
                    ] > threshold(dim, dim, variance)
                    rows.append(
                        dict(
                            case=f"W^{layer} at variance {variance}",
                            matrix=layer,
                            init_variance=variance,
                            gamma0=multiple * critical[1],
                            critical=critical[layer],
                            N=dim,
                            seeds=seeds,
                            escaped=int(past.sum()),
                        )
                    )
        print(f"D = {dim}: {seeds} seeds", flush=True)
    return pd.DataFrame(rows)


def control():
    """The same for M0 + theta u v^T with random unit vectors, theta in the place of
    gamma0; critical at 1.
    """
    rows = []
    for dim, seeds in SIZES.items():
        for multiple in MULTIPLES:
            escaped = 0
            for seed in range(CONTROL * seeds):
                rng = np.random.default_rng([dim, seed, round(100 * multiple)])
                u, v = (x / np.linalg.norm(x) for x in rng.standard_normal((2, dim)))
                M = rng.standard_normal((dim, dim)) / np.sqrt(
                    dim
                ) + multiple * np.outer(u, v)
                escaped += svds(M, 1, return_singular_vectors=False, rng=0)[
                    0
                ] > threshold(dim, dim, 1.0)
            rows.append(
                dict(
                    case="independent spike",
                    init_variance=1.0,
                    gamma0=multiple,
                    critical=1.0,
                    N=dim,
                    seeds=CONTROL * seeds,
                    escaped=int(escaped),
                )
            )
    return pd.DataFrame(rows)


def half(table):
    """The middle of the rise of the fraction f, x_0 + integral of (1 - f) dx with x =
    gamma0 / critical, for each case and size (Spearman and Karber), and its binomial
    standard error.
    """
    rows = []
    for (case, size), part in table.groupby(["case", "N"]):
        x, f = (
            (part.gamma0 / part.critical).to_numpy(),
            (part.escaped / part.seeds).to_numpy(),
        )
        seeds = part.seeds.iloc[0]
        step = np.diff(x, prepend=x[0], append=x[-1])
        weight = (step[1:] + step[:-1]) / 2
        error = np.sqrt((weight**2 * f * (1 - f)).sum() / seeds)
        rows.append(
            dict(
                quantity=case,
                N=size,
                mean=x[0] + (weight * (1 - f)).sum(),
                standard_error=error,
                spread=error * np.sqrt(seeds),
                seeds=seeds,
            )
        )
    return pd.DataFrame(rows)


def extrapolated(halves, powers):
    """Weighted least squares in N^(-1/3): intercept, its standard error and z against
    one, for each case.
    """
    rows = []
    for case, part in halves.groupby("quantity"):
        design = (
            np.stack([part.N ** (-k / 3) for k in range(powers + 1)], 1)
            / part.standard_error.to_numpy()[:, None]
        )
        covariance = np.linalg.inv(design.T @ design)
        value = (
            covariance @ design.T @ (part["mean"] / part.standard_error).to_numpy()
        )[0]
        error = covariance[0, 0] ** 0.5
        rows.append(dict(case=case, value=value, error=error, z=(value - 1) / error))
    return pd.DataFrame(rows).set_index("case")


if __name__ == "__main__":
    note = dict(script="experiments/width.py")
    for name, found in zip(("width", "width_paths"), widths(), strict=True):
        protocol.save(
            name, found, setting=WIDE, step=STEP, dims_and_seeds=WIDTHS, **note
        )
    table = pd.concat([escape(), control()])
    protocol.save(
        "escape",
        table,
        setting=ESCAPE,
        variances=VARIANCES,
        multiples=MULTIPLES,
        seeds=SIZES,
        **note,
    )
    halves = half(table)
    protocol.save("escape_half", halves, from_table="escape.csv", **note)
    print(*[extrapolated(halves, powers).round(3) for powers in (1, 2)], sep="\n")
