"""Simulated networks with many outputs, for chapter 12: spectra at four widths, and the
edge against the width.

* frozen: two networks with a frozen readout; singular values at the edges, linear
statistics, and the Kolmogorov
  distance of each spectrum to the law (the one place where theory enters this script);
* trained: both layers trained at fixed C = D and growing N; the largest singular value
less the one predicted at
  N = infinity. Most of its scatter is linear in three numbers of the random start whose means are zero (below), which
  are regressed out.

Everything simulated is NumPy on explicit matrices. Writes book/_data/wide_frozen.csv
and wide_trained.csv (half an hour on one core): python -m experiments.wide_output
"""

import numpy as np
import pandas as pd

from dmftlib import solve
from dmftlib.networks import WideOutput
from dmftlib.training.wide_output import edge_correction, modes
from experiments import protocol

FROZEN = {
    "many": WideOutput(
        output_ratio=0.5,
        input_ratio=0.7,
        target_variance=4.0,
        learning_rate=0.1,
        steps=30,
    ),
    "few": WideOutput(
        output_ratio=0.05,
        input_ratio=1.0,
        target_variance=9.0,
        learning_rate=0.1,
        steps=30,
    ),
}
STEP = {"many": 30, "few": 30}
SIZES = (200, 400, 800, 1600)
TRAINED = WideOutput(
    output_ratio=0.5,
    input_ratio=0.5,
    target_variance=1.0,
    gamma0=2.0,
    learning_rate=0.05,
    steps=40,
    train_readout=True,
)
DIM, WIDTHS, REPEATS = 64, (800, 1600, 3200, 6400, 12800), 48


def seeds(width):
    return 32_000 // width


def train(net, N, D, C, rng):
    """M(0), a(0), M(t), a(t) and W*."""
    readout_variance = net.init_variance if net.train_readout else 1.0
    M = rng.normal(size=(N, D)) * np.sqrt(net.init_variance / N)
    a = rng.normal(size=(C, N)) * np.sqrt(readout_variance / N)
    target = rng.normal(size=(C, D)) * np.sqrt(net.target_variance / D)
    M0, a0, rate = M, a, net.learning_rate * net.gamma0
    for _ in range(net.steps):
        E = target - a @ M / net.gamma0
        M, a = M + rate * a.T @ E, a + rate * E @ M.T if net.train_readout else a
    return M0, a0, M, a, target


def kolmogorov(law, values):
    reached, steps = (
        np.asarray(law.cdf(np.sort(values))),
        np.arange(len(values) + 1) / len(values),
    )
    return max(np.abs(reached - steps[1:]).max(), np.abs(reached - steps[:-1]).max())


def draw(N, rng, laws=None):
    """One network of each kind, and with `laws` how far from them its spectra are."""
    row = {}
    for name, net in FROZEN.items():
        D, C = round(net.input_ratio * N), round(net.output_ratio * N)
        M0, _, M, a, target = train(net, N, D, C, rng)
        values, update = (
            np.linalg.svd(M, compute_uv=False),
            np.linalg.svd(M - M0, compute_uv=False),
        )
        row[f"{name}: top"] = values[0]
        if name == "few":
            row[f"{name}: bottom of the band"], row[f"{name}: top of the bulk"] = (
                values[C - 1],
                values[C],
            )
        else:
            row[f"{name}: bottom"] = values[-1]
        row[f"{name}: mean"], row[f"{name}: mean square"] = (
            values.mean(),
            (values**2).mean(),
        )
        row[f"{name}: loss"] = ((target - a @ M / net.gamma0) ** 2).sum() / C
        row[f"{name}: update, stable rank / N"] = (update**2).sum() / update[0] ** 2 / N
        if laws is not None:
            row[f"{name}: Kolmogorov"] = kolmogorov(laws[name], values)
    return row


def edge(N, repeat):
    """Largest singular value less the prediction at N = infinity, the first correction,
    and the control variates.
    """
    rng = np.random.default_rng([N, repeat])
    M0, a0, M, _, target = train(TRAINED, N, DIM, DIM, rng)
    left, s, right = np.linalg.svd(target)
    u, v = left[:, 0], right[0]
    top = np.sqrt(np.linalg.eigvalsh(M.T @ M)[-1])
    predicted = float(modes(TRAINED, s[0])[1][-1]) ** 0.5
    correction = float(edge_correction(TRAINED, s[0], s[1:])[-1]) * DIM / N
    one = TRAINED.init_variance
    return dict(
        N=N,
        shift=top - predicted,
        correction=correction,
        x=(M0 @ v) @ (M0 @ v) - one,
        y=(u @ a0) @ (u @ a0) - one,
        z=u @ a0 @ M0 @ v,
    )


def intercept(table):
    """Mean shift with the control variates regressed out, and its standard error."""
    design = np.column_stack([np.ones(len(table)), table[["x", "y", "z"]]])
    value, residual, *_ = np.linalg.lstsq(design, table["shift"], rcond=None)
    noise = residual[0] / (len(table) - 4)
    return value[0], np.sqrt(noise * np.linalg.inv(design.T @ design)[0, 0])


if __name__ == "__main__":
    laws = {name: solve(net).bulk(0, STEP[name]) for name, net in FROZEN.items()}
    table = protocol.summary(
        protocol.simulate(lambda N, rng: draw(N, rng, laws), SIZES, seeds)
    )
    protocol.save(
        "wide_frozen",
        table,
        script="experiments/wide_output.py",
        sizes=SIZES,
        seeds=[seeds(N) for N in SIZES],
        networks={name: repr(net) for name, net in FROZEN.items()},
    )
    rows = []
    for N in WIDTHS:
        one = pd.DataFrame([edge(N, repeat) for repeat in range(REPEATS)])
        value, error = intercept(one)
        rows.append(
            dict(
                N=N,
                shift=value,
                standard_error=error,
                spread=one["shift"].std(ddof=1),
                correction=one["correction"].mean(),
                seeds=REPEATS,
            )
        )
        print(rows[-1], flush=True)
    protocol.save(
        "wide_trained",
        pd.DataFrame(rows),
        script="experiments/wide_output.py",
        dim=DIM,
        widths=WIDTHS,
        network=repr(TRAINED),
    )
