"""The same few classes under the cross-entropy and under the squared loss: the leading
singular values of the hidden matrix in theory, and in twelve networks of width 300. For
chapter 13; the protocol of the cross-entropy is `losses`.

Writes book/_data/few_classes.csv: python -m experiments.few_classes
"""

import numpy as np
import pandas as pd

import dmftlib as dm
from experiments import protocol

CLASSES = np.repeat(np.arange(3), (3, 2, 1))
LOSSES = ("cross-entropy", "squared")
STEPS, SAMPLED_AT = 6, (2, 4, 6)
DIRECTIONS = (STEPS + 1) * 18  # seven passes of six samples with three outputs
WIDTH, SEEDS, SAMPLES = 300, 12, 4096


def inputs():
    """Six samples around three centres."""
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((3, 8))
    return centres[CLASSES] + 0.7 * rng.standard_normal((6, 8))


def network(loss):
    return dm.Nonlinear(
        inputs=inputs(),
        targets=CLASSES if loss == "cross-entropy" else np.eye(3)[CLASSES],
        loss=loss,
        hidden_layers=2,
        gamma0=3.0,
        learning_rate=1.0,
        steps=STEPS,
    )


def table(loss):
    """A row for each of three values at each step; NaN where the theory has none, or
    where networks were not looked at.
    """
    net = network(loss)
    solution = dm.solve(net, samples=SAMPLES, rank=DIRECTIONS)
    told = np.asarray(solution.outliers(1, max_outliers=3).values)
    run = dm.simulate(
        net, width=WIDTH, seeds=SEEDS, spectra_at=SAMPLED_AT, progress=False
    )
    rows = []
    for step in range(STEPS + 1):
        for k in range(3):
            row = dict(loss=loss, number=k + 1, step=step, theory=told[step, k])
            if step in SAMPLED_AT:
                seen = run.singular_values(1, step)[:, k]
                row["simulation"] = seen.mean()
                row["standard_error"] = seen.std(ddof=1) / SEEDS**0.5
            rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    found = pd.concat([table(loss) for loss in LOSSES])
    note = dict(script="experiments/few_classes.py", sizes=[WIDTH], seeds=[SEEDS])
    protocol.save("few_classes", found, **note, samples=SAMPLES)
    print(found[found.step == STEPS].to_string())
