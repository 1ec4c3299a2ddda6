"""Simulated outliers of a chain of dependent spikes at four sizes, for chapter 3.

    h_1, e fresh,  g_1 = tanh(M0 h_1),  h_2 = e + M0^T g_1 / 2,  g_2 = M0 h_2 - g_1,  M = M0 + U strengths V^T / m

Everything here is NumPy and SciPy on explicit matrices. Writes
book/_data/dependent_spikes.csv (a few minutes on two cores): python
experiments/dependent_spikes.py
"""

import numpy as np
from scipy.sparse.linalg import svds

from experiments import protocol

ASPECT = 1.25
STRENGTHS = np.array([[2.0, 1.0], [-1.0, 1.0]])
SIZES = (500, 1000, 2000, 4000)  # n; m = n / ASPECT


def seeds(n):
    return 1_200_000 // n


def chain(n, rng):
    """M0 and the queries U, V of the chain."""
    m = round(n / ASPECT)
    M0 = rng.standard_normal((n, m)) / np.sqrt(m)
    h1, e = rng.standard_normal((2, m))
    g1 = np.tanh(M0 @ h1)
    h2 = e + M0.T @ g1 / 2
    return M0, np.stack([g1, M0 @ h2 - g1], 1), np.stack([h1, h2], 1)


def draw(n, rng):
    """The two largest singular values and the squared cosines of their vectors with
    every query.
    """
    M0, U, V = chain(n, rng)
    M0 += U @ STRENGTHS @ V.T / M0.shape[1]
    left, values, right = svds(M0, k=2, rng=rng)
    order = np.argsort(-values)
    row = {}
    for k, index in enumerate(order, start=1):
        row[f"outlier {k}"] = values[index]
        for j in (0, 1):
            row[f"left overlap {k}, g_{j + 1}"] = (left[:, index] @ U[:, j]) ** 2 / (
                U[:, j] @ U[:, j]
            )
            row[f"right overlap {k}, h_{j + 1}"] = (right[index] @ V[:, j]) ** 2 / (
                V[:, j] @ V[:, j]
            )
    return row


if __name__ == "__main__":
    table = protocol.summary(protocol.simulate(draw, SIZES, seeds))
    protocol.save(
        "dependent_spikes",
        table,
        script="experiments/dependent_spikes.py",
        aspect=ASPECT,
        strengths=STRENGTHS.tolist(),
        sizes=SIZES,
        seeds=[seeds(n) for n in SIZES],
    )
