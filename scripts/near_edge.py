"""Outliers within one percent of the bulk edge, which the protocol of chapter 7 misses: two looks, taken afterwards.

    python scripts/near_edge.py [part ...]     parts: control exact

The network is "relu 3, three outputs, SGD" of scripts/nonlinear.py after its last step.

control   matrices with one independent spike, whose outlier is known in closed form and put where theory puts that of
          the network, at the widths of the protocol: what the largest singular value does so close to the edge
exact     the network at larger widths, without its matrices (`simulate(..., matrix_free=True)`); its outliers are
          read with level 2 of the theory, so this is no independent check of that

Writes book/_data/near_edge.csv, the parts not run as they were.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "book")]
import nonlinear  # noqa: E402
import protocol  # noqa: E402

import dmftlib as dm  # noqa: E402

NAME = "relu 3, three outputs, SGD"
EXACT = {512: 100, 2048: 40, 16384: 12}  # seeds of each width


def row(part, layer, N, theory, values):
    return dict(part=part, layer=layer, N=N, seeds=len(values), theory=theory, mean=np.mean(values),
                standard_error=np.std(values, ddof=1) / np.sqrt(len(values)))  # fmt: skip


def control(theory):
    for N in nonlinear.SIZES:
        for layer, s in theory.items():
            strength, top = (s + np.sqrt(s**2 - 4)) / 2, []
            for seed in range(max(625, 160_000 // N)):
                rng = np.random.default_rng([layer, N, seed])
                u, v = (x / np.linalg.norm(x) for x in rng.standard_normal((2, N)))
                M = rng.standard_normal((N, N)) / np.sqrt(N) + strength * np.outer(u, v)
                top.append(np.sqrt(np.linalg.eigvalsh(M @ M.T)[-1]))
            yield row("control", layer, N, s, top)


def exact(theory):
    for N, seeds in EXACT.items():
        networks = dm.simulate(nonlinear.network(NAME), width=N, seeds=seeds, seed=3, spectra_at=(nonlinear.STEPS,),
                               matrix_free=True)  # fmt: skip
        for layer, s in theory.items():
            values = networks.singular_values(layer, nonlinear.STEPS)[:, 0]
            yield row("exact", layer, N, s, np.where(np.isfinite(values), values, 2.0))


if __name__ == "__main__":
    parts = sys.argv[1:] or ["control", "exact"]
    verdicts = protocol.load("nonlinear_theory").query("which == 'theory'").set_index("quantity").theory
    theory = {layer: float(verdicts[nonlinear.outlier(NAME, layer)]) for layer in (1, 2)}
    file = protocol.DATA / "near_edge.csv"
    old = protocol.load("near_edge").query("part not in @parts") if file.exists() else None
    rows = [found for part in parts for found in {"control": control, "exact": exact}[part](theory)]
    protocol.save("near_edge", pd.concat([old, pd.DataFrame(rows)], ignore_index=True), script="scripts/near_edge.py",
                  network=NAME, exact=EXACT)  # fmt: skip
