"""A hundred real digits of ten classes: which outliers the hidden matrix sends out, and
when, in theory and in networks of four widths. For chapter 7.

Images, targets, width parameters and rate are those of chapter 1, of whose 500 images
these are the first hundred. The networks are written out in NumPy, their gradients by
hand: no code in common with the theory. Sizes, seeds and the rows that are judged were
fixed before the first network of the test was drawn (two of width 512 and four of width
1024, with other seeds, had been looked at). The theory is solved as `dm.solve` does
without options.

    python -m experiments.nine_outliers [part ...]     parts: theory networks

Writes book/_data/nine_outliers*.csv (some ten minutes each on two cores).
"""

import sys

import numpy as np
import pandas as pd
from scipy.sparse.linalg import svds
from sklearn.datasets import load_digits
from tqdm import tqdm

import dmftlib as dm
from dmftlib.spectra.outliers import outliers_by_step
from experiments import protocol

IMAGES, CLASSES, STEPS = 100, 10, 40
GAMMA0, RATE = 4.0, 1.0
MARKS = (10, 20, 30, 40)  # steps at which networks are looked at
SHOWN = 12  # singular values
SEEDS = {512: 32, 1024: 16, 2048: 8, 4096: 4}
OUTLIERS = CLASSES - 1
JUDGED = [f"value {k}, step {t}" for t in (20, 40) for k in range(1, OUTLIERS + 1)]


def data():
    """The first images of chapter 1, and their classes as numbers around zero."""
    digits = load_digits()
    images = digits.data - digits.data.mean(axis=0)
    images /= np.sqrt((images**2).mean())
    chosen = np.random.default_rng(0).permutation(len(images))[:IMAGES]
    return images[chosen], np.eye(CLASSES)[digits.target[chosen]] - 1 / CLASSES


def network() -> dm.Nonlinear:
    inputs, targets = data()
    return dm.Nonlinear(
        inputs=inputs,
        targets=targets,
        hidden_layers=2,
        activation="tanh",
        gamma0=GAMMA0,
        learning_rate=RATE,
        steps=STEPS,
    )


def found(solution, independent=False):
    """The nine largest outliers at the steps looked at, NaN where there are fewer."""
    history = solution.weight_history(1)
    if independent:
        history = history.independent()
    values = np.full((len(MARKS), OUTLIERS), np.nan)
    for row, step in zip(values, MARKS, strict=True):
        here = outliers_by_step(history, step).values[:OUTLIERS]
        row[: len(here)] = here
    return values


def told(solution) -> pd.DataFrame:
    """A row for each outlier of each step looked at: with its standard error, and where
    independent spikes of the same Grams would put it.
    """
    values = found(solution)
    errors = np.asarray(solution.standard_error(found))
    alone = found(solution, independent=True)
    rows = []
    for i, step in enumerate(MARKS):
        for k in range(OUTLIERS):
            row = dict(
                quantity=f"value {k + 1}, step {step}",
                theory=values[i, k],
                theory_standard_error=errors[i, k],
                independent=alone[i, k],
                loss=float(solution.train_loss[step]),
            )
            rows.append(row)
    return pd.DataFrame(rows)


def theory():
    solution = dm.solve(network())
    stats = solution.stats
    protocol.save(
        "nine_outliers_theory",
        told(solution),
        script="experiments/nine_outliers.py",
        status=solution.status,
        samples=stats["samples"],
        batches=stats["batches"],
        tolerance=stats["tolerance"],
        ranks=stats["ranks"].tolist(),
        directions=stats["directions"].tolist(),
    )


def trained(N, rng):
    """Losses (steps+1,), and the leading singular values at the steps looked at."""
    x, y = data()
    D = x.shape[1]
    W0 = rng.standard_normal((N, D))
    W1 = rng.standard_normal((N, N))
    w = rng.standard_normal((CLASSES, N))
    kappa = RATE * GAMMA0 / IMAGES
    row = {}
    for t in range(STEPS + 1):
        first = np.tanh(x @ W0.T / np.sqrt(D))
        second = np.tanh(first @ W1.T / np.sqrt(N))
        residual = y - second @ w.T / (GAMMA0 * N)
        if t in MARKS:
            row[f"loss, step {t}"] = np.sum(residual**2, 1).mean()
            top = svds(W1 / np.sqrt(N), k=SHOWN, return_singular_vectors=False, rng=0)
            values = np.sort(top)[::-1]
            for k, value in enumerate(values):
                row[f"value {k + 1}, step {t}"] = value
        g2 = (residual @ w) * (1 - second**2)
        g1 = (g2 @ W1 / np.sqrt(N)) * (1 - first**2)
        w = w + kappa * residual.T @ second
        W1 += kappa * g2.T @ first / np.sqrt(N)
        W0 += kappa * g1.T @ x / np.sqrt(D)
    return row


def networks():
    with tqdm(total=sum(SEEDS.values()), desc="networks") as bar:

        def draw(N, rng):
            row = trained(N, rng)
            bar.update()
            return row

        samples = protocol.simulate(draw, SEEDS, SEEDS.get, progress=bar.write)
    protocol.save(
        "nine_outliers",
        protocol.summary(samples),
        script="experiments/nine_outliers.py",
        sizes=[*SEEDS],
        seeds=[*SEEDS.values()],
    )


def judged(column="theory") -> pd.DataFrame:
    """`protocol.judge` of the rows of the test: the theory, or "independent" spikes."""
    said = protocol.load("nine_outliers_theory").set_index("quantity")
    known = said.reindex(JUDGED)
    return protocol.judge(
        protocol.load("nine_outliers"),
        known[column].to_dict(),
        theory_error=known.theory_standard_error.to_dict(),
        batches=4,
    )


PARTS = dict(theory=theory, networks=networks)

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
