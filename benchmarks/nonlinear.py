"""What the theory of nonlinear networks costs: beside its response form, simulation,
and the same algorithm in NumPy.

    python -m benchmarks.nonlinear [--quick] [part ...]      parts: forms simulation plain million scaling

Ratios within one run; compilation is timed apart, as the first call. Writes
book/_data/nonlinear_benchmark.csv, unless --quick, which only tries every part at a
tiny size.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import protocol


def plain(net, sites, seed, tolerance=1e-4):
    """Level 1 by conditioning, in NumPy with arrays that grow.

    Returns predictions (steps+1, P, K), and for each block of queries the sizes of its
    bases and its new directions.

    A matrix is its forward queries (orthonormal, with images), its backward queries
    likewise, and the spikes in the coordinates of both. Fresh directions are made
    orthonormal to all that is known of their space.
    """
    rng, phi, slope = (
        np.random.default_rng(seed),
        np.tanh,
        lambda h: 1 - np.tanh(h) ** 2,
    )
    L, (P, K), targets, x = (
        net.hidden_layers,
        net.targets.shape,
        np.asarray(net.targets),
        np.asarray(net.inputs),
    )
    gamma0, deviation, learning_rate = (
        net.gamma0,
        net.init_variance**0.5,
        net.learning_rate,
    )

    def unit(rows, known):
        """The rows made orthonormal, and orthogonal to what is known."""
        for _ in range(2):
            rows = rows - (rows @ known.T / sites) @ known
            rows = np.linalg.solve(np.linalg.cholesky(rows @ rows.T / sites), rows)
        return rows

    def grown(known, rows, floor):
        """`known` with what is new in the rows."""
        for row in rows:
            rest = row - (known @ row / sites) @ known
            if rest @ rest / sites > floor:
                known = np.append(known, unit(rest[None], known), 0)
        return known

    known = [np.ones((1, sites)) for _ in range(L)]
    known[0] = np.append(
        known[0], unit(rng.standard_normal((min(x.shape), sites)), known[0]), 0
    )
    gram = x @ x.T / x.shape[1]
    values, vectors = np.linalg.eigh(gram)
    h1 = (
        deviation
        * (vectors * np.sqrt(np.maximum(values, 0)))[:, -min(x.shape) :]
        @ known[0][1:]
    )
    queries = [
        [np.zeros((0, sites))] * 2 for _ in range(L - 1)
    ]  # orthonormal, backward and forward
    images = [[np.zeros((0, sites))] * 2 for _ in range(L - 1)]
    spikes, largest, sizes = (
        [np.zeros((0, 0)) for _ in range(L - 1)],
        np.zeros((L - 1, 2)),
        [],
    )

    def answer(m, side, rows):
        """Matrix m (side 1: forward, 0: backward) times the rows: images, and
        coordinates.
        """
        here, there = (m, m + 1) if side else (m + 1, m)
        largest[m, side] = max(largest[m, side], (rows**2).mean(1).max())
        before = len(queries[m][side])
        queries[m][side] = grown(
            queries[m][side], rows, tolerance**2 * largest[m, side]
        )
        new = queries[m][side][before:]
        known[here] = grown(known[here], rows, tolerance**2 * largest[m, side])
        if len(new):
            fresh = unit(rng.standard_normal((len(new), sites)), known[there])
            known[there] = np.append(known[there], fresh, 0)
            shared = new @ images[m][1 - side].T / sites
            images[m][side] = np.append(
                images[m][side], shared @ queries[m][1 - side] + deviation * fresh, 0
            )
        spikes[m] = np.pad(
            spikes[m],
            [(0, len(q) - n) for q, n in zip(queries[m], spikes[m].shape, strict=True)],
        )
        sizes.append((len(known[here]), len(known[there]), len(new)))
        coordinates = rows @ queries[m][side].T / sites
        theta = spikes[m] if side else spikes[m].T
        return coordinates @ images[m][side] + coordinates @ theta.T @ queries[m][
            1 - side
        ], coordinates

    predictions = []
    for t in range(net.steps + 1):
        h, right, left = [h1], [None] * (L - 1), [None] * (L - 1)
        for m in range(L - 1):
            image, right[m] = answer(m, 1, phi(h[m]))
            h.append(image)
        top = phi(h[-1])
        if t == 0:
            w = deviation * unit(
                rng.standard_normal((K, sites)), grown(known[-1], top, 1e-8)
            )
            known[-1] = np.append(known[-1], w / deviation, 0)
        predictions.append(top @ w.T / sites / gamma0)
        rates = learning_rate * gamma0 / P * (targets - predictions[-1])
        g = slope(h[-1])[:, None] * w
        for m in reversed(range(L - 1)):
            image, left[m] = answer(m, 0, g.reshape(P * K, sites))
            g = slope(h[m])[:, None] * image.reshape(P, K, sites)
        for m in range(L - 1):
            pushed = (rates[:, :, None] * left[m].reshape(P, K, -1)).sum(1)
            forward = np.pad(
                right[m], ((0, 0), (0, len(queries[m][1]) - right[m].shape[1]))
            )
            spikes[m] = np.pad(
                spikes[m],
                [
                    (0, len(q) - n)
                    for q, n in zip(queries[m], spikes[m].shape, strict=True)
                ],
            )
            spikes[m] += pushed.T @ forward
        h1 = h1 + gram @ np.einsum("mk,mks->ms", rates, g)
        w = w + rates.T @ top
    return np.array(predictions), sizes


def products_alone(sizes, sites, count):
    """Seconds of the products with bases that no such program can leave out: `count`
    queries over their basis and as many answers out of theirs; and new directions made
    orthogonal, twice where they are asked, once where answered.
    """
    rng = np.random.default_rng(0)
    basis, rows = (
        rng.standard_normal((max(map(max, sizes)), sites)),
        rng.standard_normal((count, sites)),
    )
    start = time.perf_counter()
    for here, there, new in sizes:
        coordinates = rows @ basis[: max(here, there)].T
        coordinates[:, :there] @ basis[:there]
        few = coordinates[:new]
        few[:, :here] @ basis[:here]
        for known in (here, there) if new else ():
            (rows[:new] @ basis[:known].T) @ basis[:known]
    return time.perf_counter() - start


def network(steps, samples, layers=2, outputs=1, **changes):
    import dmftlib as dm

    rng = np.random.default_rng(0)
    settings = dict(
        inputs=rng.standard_normal((samples, 25)),
        targets=rng.choice([-1.0, 1.0], (samples, outputs)),
        hidden_layers=layers,
        gamma0=1.0,
        learning_rate=0.1,
        steps=steps,
    )
    return dm.Nonlinear(**settings | changes)


def timed(run):
    """Seconds of the first call and of a second one, and its result."""
    took = []
    for _ in range(2):
        start = time.perf_counter()
        result = run()
        took.append(time.perf_counter() - start)
    return *took, result


def forms(quick):
    """Conditioning against response form, at equal standard error of the predictions."""
    import dmftlib as dm

    net = network(4 if quick else 20, 2, gamma0=2.0, learning_rate=0.2)
    cost = {}
    for form in ("conditioning", "response"):
        first, seconds, solution = timed(
            lambda form=form: dm.solve(
                net, samples=512 if quick else 4096, batches=8, form=form
            )
        )
        error = float(
            np.sqrt(
                np.mean(np.asarray(solution.standard_error("predictions"))[1:] ** 2)
            )
        )
        cost[form] = seconds * error**2
        yield dict(what=form, seconds=seconds, first_call=first, standard_error=error)
    yield dict(
        what="response form / conditioning at equal error",
        ratio=cost["response"] / cost["conditioning"],
    )


def simulation(quick):
    """Both levels against one simulated network and its singular values."""
    import dmftlib as dm

    steps, width = (3, 100) if quick else (20, 4000)
    net = network(steps, 2, gamma0=3.0, learning_rate=0.2)

    def theory():
        solution = dm.solve(net, samples=256 if quick else 4096)
        return solution, np.asarray(solution.outliers(1).values)

    first, seconds, (solution, outliers) = timed(theory)
    yield dict(
        what="both levels, outliers at all steps",
        seconds=seconds,
        first_call=first,
        standard_error=float(np.max(solution.standard_error("predictions"))),
    )
    start = time.perf_counter()
    one = dm.simulate(
        net, width=width, seeds=1, spectra_at=(0, steps // 2, steps), progress=False
    )
    simulated = time.perf_counter() - start
    yield dict(
        what=f"one network of N = {width}, three spectra",
        seconds=simulated,
        ratio=simulated / seconds,
        standard_error=float(np.max(np.abs(one.predictions[0] - solution.predictions))),
    )


def plain_numpy(quick):
    """L = 3, P = 10, T = 100 at 4,096 sites in one batch, beside `plain`."""
    import dmftlib as dm

    sites, net = (256, network(3, 4, 3)) if quick else (4096, network(100, 10, 3))
    first, seconds, solution = timed(
        lambda: dm.solve(net, samples=sites, batches=1, throw=False)
    )
    yield dict(what="library", seconds=seconds, first_call=first)
    start = time.perf_counter()
    predictions, sizes = plain(net, sites, 0)
    took = time.perf_counter() - start
    alone = products_alone(sizes, sites, len(net.inputs))
    difference = float(np.max(np.abs(predictions - solution.predictions)))
    yield dict(
        what="the same algorithm in NumPy",
        seconds=took,
        ratio=took / seconds,
        standard_error=difference,
    )
    yield dict(
        what="its products with bases alone, in NumPy",
        seconds=alone,
        ratio=alone / seconds,
    )


def million(quick):
    """Networks of N = 10^6 and 10^7, each in a process of its own so that its memory
    can be seen.
    """
    for width, calls in (
        ((10_000, 2), (20_000, 1)) if quick else ((1_000_000, 2), (10_000_000, 1))
    ):
        code = (
            f"from benchmarks import nonlinear; nonlinear.very_wide({width}, "
            f"{5 if quick else 50}, {calls})"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent.parent,
        )
        first, *seconds, gigabytes, loss = map(float, done.stdout.split())
        yield dict(
            what=f"matrix-free, N = {width}",
            first_call=first,
            gigabytes=gigabytes,
            loss=loss,
            **(dict(seconds=seconds[0]) if seconds else {}),
        )


def very_wide(width, steps, calls):
    import dmftlib as dm

    net, took = network(steps, 4), []
    for _ in range(calls):
        start = time.perf_counter()
        one = dm.simulate(
            net,
            width=width,
            seeds=1,
            matrix_free=True,
            dtype="float32",
            tolerance=1e-3,
            progress=False,
        )
        took.append(time.perf_counter() - start)
    print(
        *took,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        one.train_loss[0, -1],
    )


def scaling(quick):
    """Time of level 1 against steps, samples of the data and sampled sites, around T =
    50, P = 4, 4,096 sites.
    """
    import dmftlib as dm

    base = (
        dict(steps=4, samples=2, sites=256)
        if quick
        else dict(steps=50, samples=4, sites=4096)
    )
    for name, factors in (
        ("steps", (0.5, 1, 2, 4)),
        ("samples", (0.5, 1, 2, 4)),
        ("sites", (1, 2, 4, 8)),
    ):
        sizes, took = [], []
        for factor in factors[:2] if quick else factors:
            at = base | {name: int(base[name] * factor)}
            net = network(at["steps"], at["samples"])
            _, seconds, _ = timed(
                lambda net=net, at=at: dm.solve(
                    net, samples=at["sites"], batches=1, throw=False
                )
            )
            yield dict(what=f"{name} = {at[name]}", seconds=seconds)
            sizes.append(at[name])
            took.append(seconds)
        exponent = np.polyfit(np.log(sizes), np.log(took), 1)[0]
        yield dict(what=f"exponent of the time in {name}", exponent=float(exponent))


PARTS = dict(
    forms=forms,
    simulation=simulation,
    plain=plain_numpy,
    million=million,
    scaling=scaling,
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    rows = []
    for part in chosen.parts:
        for row in PARTS[part](chosen.quick):
            rows.append(dict(part=part) | row)
            print(
                *(
                    f"{k} {v:.3g}" if isinstance(v, float) else v
                    for k, v in rows[-1].items()
                ),
                sep=", ",
                flush=True,
            )
    if not chosen.quick:
        processor = next(
            (
                line.split(":")[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")
            ),
            "unknown",
        )
        protocol.save(
            "nonlinear_benchmark",
            pd.DataFrame(rows),
            digits=3,
            script="benchmarks/nonlinear.py",
            processor=processor,
            parts=chosen.parts,
        )
