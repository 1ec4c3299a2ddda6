"""Does an update reshape the bulk because of its size and rank, or because it knows the
initial matrix? For chapter 11.

The mlp of experiments/images.py with the squared loss is trained as registered. Each
hidden matrix M0 + dM is then measured beside M0 + O dM Q, with O and Q random
rotations: an update of the same singular values that knows nothing of M0. The networks
of 1,000 outputs are trained once more with targets of zero: what they do is to unlearn the
random output of the start, and nothing else. Taken up after the registered runs had
been seen. Three minutes; writes book/_data/rotated_updates.csv.

    python -m experiments.rotated_updates
"""

import dataclasses

import numpy as np
import pandas as pd
from scipy.stats import ortho_group

from dmftlib import empirical
from experiments import images, protocol, trained


def row(M, M0, rng):
    """What is measured of one trained matrix, with its update as it is and rotated."""
    p, change = len(M), M - M0
    O, Q = ortho_group.rvs(p, size=2, random_state=rng)
    overlap = (change * M0).sum() / np.linalg.norm(change) / np.linalg.norm(M0)
    found = {
        "overlap": overlap,
        "moved": np.linalg.norm(change) / np.linalg.norm(M0),
        "participation_ratio": empirical.participation_ratio(change),
    }
    for which, matrix in (("trained", M), ("rotated", M0 + O @ change @ Q)):
        spectrum = trained.spectrum_row(matrix, M0)
        found |= {
            f"S_{which}": spectrum["kolmogorov"] / spectrum["noise"],
            f"outliers_{which}": spectrum.get("outliers", np.nan),
            f"refused_{which}": spectrum["refused"],
            f"excess_{which}": p / empirical.participation_ratio(matrix) - 2,
        }
    return found


def runs():
    """The registered runs with the squared loss, and those of most outputs again with
    targets of zero.
    """
    squared = [
        settings for settings in images.registered() if settings.loss == "squared"
    ]
    most = max(settings.outputs for settings in squared)
    zero = [
        dataclasses.replace(settings, loss="zero")
        for settings in squared
        if settings.outputs == most
    ]
    return squared + zero


def rows_of(settings):
    """A row for each hidden matrix of one trained network."""
    task = images.make_task(settings)
    rng = np.random.default_rng([settings.outputs, settings.seed])
    _, network = trained.train(settings, images.make_task)
    common = dict(
        outputs=settings.outputs,
        targets="zero" if settings.loss == "zero" else "classes",
        seed=settings.seed,
    )
    return [
        common
        | dict(matrix=name)
        | row(np.asarray(M, float), np.asarray(task.model.hidden[name], float), rng)
        for name, M in network.hidden.items()
    ]


if __name__ == "__main__":
    rows = []
    for settings in runs():
        rows += rows_of(settings)
        print(pd.DataFrame(rows[-2:]).round(3).to_string(header=len(rows) == 2))
    protocol.save(
        "rotated_updates",
        pd.DataFrame(rows),
        4,
        script="experiments/rotated_updates.py",
    )
