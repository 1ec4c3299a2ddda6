"""Does an update reshape the bulk because of its size and rank, or because it knows the initial matrix? For chapter 11.

The mlp of scripts/images.py with the squared loss is trained as registered. Each hidden matrix M0 + dM is then measured
beside M0 + O dM Q, with O and Q random rotations: an update of the same singular values that knows nothing of M0.
Taken up after the registered runs had been seen. Two minutes; writes book/_data/rotated_updates.csv.

    python scripts/rotated_updates.py
"""

import images
import numpy as np
import pandas as pd
import trained
from scipy.stats import ortho_group
from trained import protocol

from dmftlib import empirical


def row(M, M0, rng):
    """What is measured of one trained matrix, with its update as it is and rotated."""
    p, change = len(M), M - M0
    O, Q = ortho_group.rvs(p, size=2, random_state=rng)
    found = {"overlap": (change * M0).sum() / np.linalg.norm(change) / np.linalg.norm(M0)}
    for which, matrix in (("trained", M), ("rotated", M0 + O @ change @ Q)):
        spectrum = trained.spectrum_row(matrix, M0)
        found |= {f"S_{which}": spectrum["kolmogorov"] / spectrum["noise"], f"outliers_{which}": spectrum["outliers"],
                  f"excess_{which}": p / empirical.participation_ratio(matrix) - 2}
    return found


if __name__ == "__main__":
    rows = []
    for settings in images.registered():
        if settings.loss == "squared":
            task, rng = images.make_task(settings), np.random.default_rng([settings.outputs, settings.seed])
            _, network = trained.train(settings, images.make_task)
            for name, M in network.hidden.items():
                rows.append(dict(outputs=settings.outputs, seed=settings.seed, matrix=name)
                            | row(np.asarray(M, float), np.asarray(task.model.hidden[name], float), rng))
            print(pd.DataFrame(rows[-2:]).round(3).to_string(header=len(rows) == 2), flush=True)
    protocol.save("rotated_updates", pd.DataFrame(rows), 4, script="scripts/rotated_updates.py")
