"""A phase diagram on a cluster, through everything that happens to clusters.

    python -m experiments.sweep_cluster          200 points; --points 25: fewer

1. 200 deep linear networks (gamma0 x init_variance x width_ratio) in this process, one
after the other. 2. The same on a Dask LocalCluster of two workers, one of which is
killed in the middle. 3. The same again with a store, the driver killed in the middle (a
process of its own, by SIGKILL) and started again.

Fails unless all three tables are identical and no point that was stored was computed
again in the third. Writes book/_data/sweep.csv.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import dmftlib as dm
from experiments import protocol

STEPS = 20


def network(gamma0, init_variance, width_ratio):
    return dm.DeepLinear(
        hidden_layers=1,
        width_ratio=width_ratio,
        sample_ratio=2.0,
        gamma0=gamma0,
        init_variance=init_variance,
        learning_rate=0.05,
        steps=STEPS,
    )


def outlier(solution):
    return solution.outliers(0, STEPS, max_outliers=1).values[0]


def loss(solution):
    return solution.test_loss[-1]


QUANTITIES = {"outlier": outlier, "loss": loss}


def grid(points):
    return {
        "gamma0": np.geomspace(0.5, 8.0, max(1, points // 25)).tolist(),
        "init_variance": [0.25, 0.5, 1.0, 1.5, 2.0],
        "width_ratio": [0.5, 1.0, 2.0, 4.0, 8.0],
    }


class Serial(concurrent.futures.Executor):
    """One after the other, in this process."""

    def submit(self, function, *args):
        future = concurrent.futures.Future()
        future.set_result(function(*args))
        return future


def on_dask(points, store, kill_a_worker):
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        if kill_a_worker:

            def kill():
                pid = min(client.run(os.getpid).values())
                while lines(store) < len(todo) // 3:
                    time.sleep(0.05)
                os.kill(pid, signal.SIGKILL)

            todo = range(np.prod([len(values) for values in grid(points).values()]))
            threading.Thread(target=kill, daemon=True).start()
        return dm.sweep(
            network,
            grid(points),
            QUANTITIES,
            executor=client.get_executor(),
            store=store,
        )


def lines(store):
    return len(Path(store).read_text().splitlines()) - 1 if Path(store).exists() else 0


def driver(points, store):
    on_dask(points, store, False)


def main(points):
    rows, clock = [], time.perf_counter()

    def passed(what, note):
        nonlocal clock
        now = time.perf_counter()
        rows.append(
            {"run": what, "seconds": round(now - clock, 1), "what happened": note}
        )
        clock = now
        print(rows[-1], flush=True)

    serial = dm.sweep(network, grid(points), QUANTITIES, executor=Serial())
    size = serial.status.size
    passed("serial", f"{size} points, {int((serial.status == 'ok').sum())} ok")
    with tempfile.TemporaryDirectory() as folder:
        store = f"{folder}/worker.jsonl"
        killed = on_dask(points, store, True)
        xr.testing.assert_identical(killed, serial)
        passed(
            "Dask, a worker killed",
            f"identical to the serial one, {lines(store)} points stored",
        )

        store = f"{folder}/driver.jsonl"
        process = multiprocessing.get_context("spawn").Process(
            target=driver, args=(points, store)
        )
        process.start()
        while lines(store) < size // 2:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        before = Path(store).read_text().splitlines()
        resumed = on_dask(points, store, False)
        xr.testing.assert_identical(resumed, serial)
        after = Path(store).read_text().splitlines()
        assert len(after) == size + 1 and len(set(after)) == size + 1, (
            "a point was stored twice"
        )
        whole = (
            before if before[-1] == after[len(before) - 1] else before[:-1]
        )  # the last line may have been cut short
        assert after[: len(whole)] == whole, "a point was computed again"
        passed(
            "Dask, the driver killed",
            f"{len(whole) - 1} points before, {size + 1 - len(whole)} after, none twice",
        )
    protocol.save(
        "sweep",
        pd.DataFrame(rows),
        script=f"experiments/sweep_cluster.py --points {points}",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=200)
    main(parser.parse_args().points)
