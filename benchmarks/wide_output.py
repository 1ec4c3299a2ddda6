"""The theory's densities beside the singular values of one simulated network of width
4000, at six steps.

python -m benchmarks.wide_output writes book/_data/wide_benchmark.csv: for each step a
row with the Kolmogorov distance, the edges and the ends of the spectrum, and the times
that the theory and the SVD took (a few minutes on one core).
"""

import time

import numpy as np
import pandas as pd

from dmftlib import solve
from dmftlib.networks import WideOutput
from experiments import protocol

NET = WideOutput(
    output_ratio=0.25, input_ratio=0.5, target_variance=6.0, learning_rate=0.2, steps=20
)
WIDTH, STEPS, BINS = 4000, (0, 1, 2, 4, 8, 20), 40


def main():
    N, D, C = WIDTH, round(NET.input_ratio * WIDTH), round(NET.output_ratio * WIDTH)
    rng = np.random.default_rng(0)
    M, a = rng.normal(size=(N, D)) / np.sqrt(N), rng.normal(size=(C, N)) / np.sqrt(N)
    target = rng.normal(size=(C, D)) * np.sqrt(NET.target_variance / D)
    solution, rows, histograms = solve(NET), [], []
    for t in range(NET.steps + 1):
        if t in STEPS:
            start = time.perf_counter()
            values = np.sort(np.linalg.svd(M, compute_uv=False))
            middle = time.perf_counter()
            law = solution.bulk(0, t)
            (low, _), (_, high) = law.edges[0], law.edges[-1]
            grid = np.linspace(low, high, 200)
            law.density(grid)
            end = time.perf_counter()
            reached, ranks = np.asarray(law.cdf(values)), np.arange(D + 1) / D
            rows.append(
                dict(
                    step=t,
                    bulks=len(law.edges),
                    low=low,
                    smallest=values[0],
                    high=high,
                    largest=values[-1],
                    kolmogorov=max(
                        np.abs(reached - ranks[1:]).max(),
                        np.abs(reached - ranks[:-1]).max(),
                    ),
                    seconds_svd=middle - start,
                    seconds_theory=end - middle,
                )
            )
            print(rows[-1], flush=True)
            count, ends = np.histogram(values, BINS)
            width = ends[1] - ends[0]
            histograms += [
                dict(step=t, left=x, width=width, density=n / D / width)
                for x, n in zip(ends[:-1], count, strict=True)
            ]
        M = M + NET.learning_rate * NET.gamma0 * a.T @ (target - a @ M / NET.gamma0)
    provenance = dict(script="benchmarks/wide_output.py", width=N, network=repr(NET))
    protocol.save("wide_benchmark", pd.DataFrame(rows), **provenance)
    protocol.save(
        "wide_benchmark_histograms", pd.DataFrame(histograms), bins=BINS, **provenance
    )


if __name__ == "__main__":
    main()
