"""A hundred real digits of ten classes: which outliers the hidden matrix sends out, and
when, in theory and in networks of four widths. For chapter 7.

Images, targets, width parameters and rate are those of chapter 1, of whose 500 images
these are the first hundred. The networks are written out in NumPy, their gradients by
hand: no code in common with the theory. Sizes, seeds and the rows that are judged were
fixed before the first network of the test was drawn (two of width 512 and four of width
1024, with other seeds, had been looked at). The theory is solved as `dm.solve` does
without options, and once more with smaller directions kept, after the first had put one
row of eighteen beyond the limit.

    python -m experiments.nine_outliers [part ...]

theory      the theory without options, with smaller directions kept, and a fresh M(0)
networks    of four widths, their seeds fixed before
again       other networks, drawn after one row of these had been refused
directions  how many directions the queries have

Writes book/_data/nine_outliers*.csv (ten minutes a part on two cores; theory and again
twenty).
"""

import functools
import sys

import numpy as np
import pandas as pd
from scipy.sparse.linalg import svds
from sklearn.datasets import load_digits
from tqdm import tqdm

import dmftlib as dm
from dmftlib.solutions import nonlinear as nonlinear_solution
from dmftlib.spectra.outliers import outliers_by_step
from dmftlib.training import nonlinear
from experiments import protocol

IMAGES, CLASSES, STEPS = 100, 10, 40
GAMMA0, RATE = 4.0, 1.0
MARKS = (10, 20, 30, 40)  # steps at which networks are looked at
SHOWN = 12  # singular values
SEEDS = {512: 32, 1024: 16, 2048: 8, 4096: 4}
AGAIN = {512: 32, 1024: 16, 2048: 16, 4096: 12}
OTHERS = 1000  # comes before the seeds of those drawn again
OUTLIERS = CLASSES - 1
EDGE = 2.0  # of the bulk
FINER = 0.02  # of the largest query, where `dm.solve` without options takes 0.05
# images, tolerance and neurons of a batch whose directions are counted
COUNTED = ((25, 0.05, 4096), (50, 0.05, 4096), (100, 0.05, 4096), (100, FINER, 8192))
ROOM = 1500  # for them
JUDGED = [f"value {k}, step {t}" for t in (20, 40) for k in range(1, OUTLIERS + 1)]


def data(number=IMAGES):
    """The first images of chapter 1, and their classes as numbers around zero."""
    digits = load_digits()
    images = digits.data - digits.data.mean(axis=0)
    images /= np.sqrt((images**2).mean())
    chosen = np.random.default_rng(0).permutation(len(images))[:number]
    return images[chosen], np.eye(CLASSES)[digits.target[chosen]] - 1 / CLASSES


def network(number=IMAGES) -> dm.Nonlinear:
    inputs, targets = data(number)
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


def told(solution, which, independent=False) -> pd.DataFrame:
    """A row for each outlier of each step looked at, with its standard error."""
    read = functools.partial(found, independent=independent)
    values = read(solution)
    errors = np.asarray(solution.standard_error(read))
    rows = []
    for i, step in enumerate(MARKS):
        for k in range(OUTLIERS):
            row = dict(
                which=which,
                quantity=f"value {k + 1}, step {step}",
                theory=values[i, k],
                theory_standard_error=errors[i, k],
                batches=solution.batches,
                loss=float(solution.train_loss[step]),
            )
            rows.append(row)
    return pd.DataFrame(rows)


def theory():
    """Three of them, and what the two solutions say of themselves."""
    coarse = dm.solve(network())
    # a private constant: how much is dropped is no option of the library
    nonlinear_solution._COARSE = (FINER,)
    fine = dm.solve(network(), batches=2)
    parts = [
        told(coarse, "theory"),
        told(fine, "smaller directions kept"),
        told(coarse, "a fresh M(0)", independent=True),
    ]
    notes = {}
    for name, solution in (("theory", coarse), ("finer", fine)):
        stats = solution.stats
        notes[name] = dict(
            status=solution.status,
            samples=stats["samples"],
            batches=stats["batches"],
            tolerance=stats["tolerance"],
            ranks=stats["ranks"].tolist(),
            directions=stats["directions"].tolist(),
        )
    protocol.save(
        "nine_outliers_theory",
        pd.concat(parts, ignore_index=True),
        script="experiments/nine_outliers.py",
        **notes,
    )


def directions():
    """How many directions the queries of some numbers of images have, and the loss."""
    rows = []
    for number, tolerance, sites in COUNTED:
        net = network(number)
        trained = nonlinear.train(
            net,
            (0, 0),
            sites=sites,
            room=nonlinear.room_for(net, ROOM, sites, each_output=False),
            tolerance=tolerance,
            each_output=False,
        )
        residual = np.asarray(net.targets - trained.predictions[-1])
        left, right = np.asarray(trained.ranks)[0]
        row = dict(
            images=number,
            tolerance=tolerance,
            neurons=sites,
            questions=number * STEPS,
            left=left,
            right=right,
            of_a_layer=np.asarray(trained.used).max(),
            full=bool(trained.full),
            loss=np.sum(residual**2, 1).mean(),
        )
        print(row, flush=True)
        rows.append(row)
    protocol.save(
        "nine_outliers_directions",
        pd.DataFrame(rows),
        script="experiments/nine_outliers.py",
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


def drawn(seeds: dict[int, int], *first: int):
    """The table of so many networks of each width."""
    with tqdm(total=sum(seeds.values()), desc="networks") as bar:

        def draw(N, rng):
            row = trained(N, rng)
            bar.update()
            return row

        samples = protocol.simulate(draw, seeds, seeds.get, bar.write, first=first)
    return protocol.summary(samples)


def networks():
    protocol.save(
        "nine_outliers",
        drawn(SEEDS),
        script="experiments/nine_outliers.py",
        sizes=[*SEEDS],
        seeds=[*SEEDS.values()],
    )


def again():
    protocol.save(
        "nine_outliers_again",
        drawn(AGAIN, OTHERS),
        script="experiments/nine_outliers.py",
        sizes=[*AGAIN],
        seeds=[*AGAIN.values()],
    )


def rows_of(which="theory") -> pd.DataFrame:
    """What one of the theories says of the rows of the test; an outlier that it does
    not have is put at the edge.
    """
    said = protocol.load("nine_outliers_theory")
    known = said[said.which == which].set_index("quantity").loc[JUDGED]
    known = known.fillna({"theory": EDGE, "theory_standard_error": 0.0})
    return known.reset_index()


def judged(which="theory", table="nine_outliers") -> pd.DataFrame:
    """`protocol.judge` of these rows."""
    known = rows_of(which).set_index("quantity")
    return protocol.judge(
        protocol.load(table),
        known.theory.to_dict(),
        theory_error=known.theory_standard_error.to_dict(),
        batches=int(known.batches.iloc[0]),
    )


PARTS = dict(theory=theory, networks=networks, again=again, directions=directions)

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
