"""Few outputs and many on one large GPU: the measurements of those runs as a small
table, for chapter 11.

The runs were made once, by a protocol fixed beforehand, and are not repeated here: a GPT
of four blocks on 20 million tokens and an mlp of two hidden matrices on 3,755 Chinese
characters, one seed each. FOLDER holds `spectra.csv`, a row for each matrix and step.
Blocks of a GPT are averaged over, matrices of different types are not. A matrix with
more outliers than half of its singular values is counted as refused, and left out of
the averages. Writes book/_data/large_runs.csv; a few seconds.

    python -m experiments.large_runs FOLDER
"""

import argparse
from pathlib import Path

import pandas as pd

from experiments import protocol

RUN = ["family", "width", "outputs", "rank", "step", "type"]
MEASURED = [
    "outliers",
    "kolmogorov",
    "participation_ratio",
    "share",
    "moved",
    "overlap",
    "outliers_turned",
    "kolmogorov_turned",
    "held_out_loss",
    "accuracy",
]
FAMILIES = {
    "A": "gpt",
    "B": "gpt, readout map",
    "ce": "mlp, cross-entropy",
    "sq": "mlp, squared",
    "zero": "mlp, zero targets",
}
NAMES = {
    "N": "width",
    "C": "outputs",
    "r": "rank",
    "k": "outliers",
    "D": "kolmogorov",
    "P": "participation_ratio",
    "phi": "share",
    "k_turned": "outliers_turned",
    "D_turned": "kolmogorov_turned",
    "held": "held_out_loss",
    "acc": "accuracy",
}


def by_type(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over the blocks, of each type of matrix, of each run at each step."""
    rows = rows.rename(columns=NAMES)
    rows["family"] = rows.fam.map(FAMILIES)
    rows["type"] = rows.matrix.str.split(".").str[-1]
    rows["rank"] = rows["rank"].fillna(0).astype(int)  # 0: no map
    rows["refused"] = rows.kolmogorov.isna()
    measured = rows[~rows.refused].groupby(RUN)[MEASURED].mean()
    refused = rows.groupby(RUN).refused.agg(["mean", "size"])
    refused.columns = ["refused", "matrices"]
    return refused.join(measured).reset_index()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    table = by_type(pd.read_csv(parser.parse_args().folder / "spectra.csv"))
    protocol.save(
        "large_runs",
        table,
        4,
        script="experiments/large_runs.py",
        machine="one NVIDIA H200",
        runs="2026-11-26, one seed",
    )
    print(table.groupby("family").size())
