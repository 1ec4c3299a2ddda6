"""What `dm.sweep` gains by solving networks side by side, and what an executor costs on
top of the solving.

python -m benchmarks.sweep [--quick]
"""

import argparse
import concurrent.futures
import tempfile
import time

import numpy as np
import pandas as pd

import dmftlib as dm
from experiments import protocol


def network(gamma0, init_variance):
    return dm.DeepLinear(
        hidden_layers=1,
        width_ratio=1.0,
        sample_ratio=2.0,
        gamma0=gamma0,
        init_variance=init_variance,
        learning_rate=0.05,
        steps=20,
    )


def loss(solution):
    return solution.test_loss


def outlier(solution):
    return solution.outliers(0, 20, max_outliers=1).values


def seconds(run):
    run()  # compile
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


class Answered(concurrent.futures.Executor):
    """Knows every answer already: what is left is the work of the driver."""

    def submit(self, function, *args):
        future = concurrent.futures.Future()
        future.set_result(
            {"loss": np.linspace(0.0, 1.0, 21), "outlier": np.ones(1), "status": "ok"}
        )
        return future


def driver(points):
    """Seconds a point that the driver needs to send problems, and to write every answer
    to the disk.
    """
    grid = {
        "gamma0": np.geomspace(0.5, 4, points // 10).tolist(),
        "init_variance": np.linspace(0.3, 1.5, 10).tolist(),
    }
    quantities = {"loss": loss, "outlier": outlier}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        dm.sweep(
            network,
            grid,
            quantities,
            executor=Answered(),
            store=f"{folder}/sweep.jsonl",
            progress=False,
        )
        return (time.perf_counter() - start) / points


def main(side):
    if side >= 14:
        table = pd.DataFrame([{"points": 2000, "seconds_per_point": driver(2000)}])
        protocol.save("sweep_driver", table, digits=2, script="benchmarks/sweep.py")
        print(table, flush=True)
    grid = {
        "gamma0": np.geomspace(0.5, 4.0, side).tolist(),
        "init_variance": np.linspace(0.3, 1.5, side).tolist(),
    }
    points = [(g, v) for g in grid["gamma0"] for v in grid["init_variance"]]
    rows = []
    for what, quantities in (
        ("loss", {"loss": loss}),
        ("loss and outlier", {"loss": loss, "outlier": outlier}),
    ):

        def loop(quantities=quantities):
            return [
                [np.asarray(get(solution)) for get in quantities.values()]
                for solution in (dm.solve(network(g, v)) for g, v in points)
            ]

        def swept(executor=None, quantities=quantities):
            return dm.sweep(
                network, grid, quantities, executor=executor, progress=False
            )

        plain = seconds(loop)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            rows += [
                {
                    "quantities": what,
                    "points": len(points),
                    "way": "vmap",
                    "ratio to a loop of solves": plain / seconds(swept),
                },
                {
                    "quantities": what,
                    "points": len(points),
                    "way": "executor of one thread",
                    "ratio to a loop of solves": plain / seconds(lambda: swept(pool)),
                },
            ]
        print(rows[-2:], flush=True)
    if side >= 14:
        protocol.save(
            "sweep_benchmark",
            pd.DataFrame(rows),
            digits=3,
            script="benchmarks/sweep.py",
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="a grid too small to mean anything"
    )
    main(4 if parser.parse_args().quick else 14)
