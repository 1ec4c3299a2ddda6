"""Random calls of every compiled entry point: does one stand still, does memory grow?

    python -m tools.soak --minutes 10 [--calls N] [--only PART] [--stall 120] [--seed 0]
    python -m tools.soak --networks 2000       different networks: are mappings bounded?

Every case is a function of six numbers. It is called at random numbers, as it is, under
`jit` with the library's compiler options, with its gradient, and under `vmap`. A call
that takes longer than `--stall` seconds ends the process with the stacks of all threads
and the name of the case. At the end the calls of each case are listed, with the growth of
memory and of memory mappings since every case had been called once.
"""

import argparse
import faulthandler
import functools
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import dmftlib as dm
from dmftlib._compile import compiler_options, mappings

LOW = np.array([0.5, 0.5, 0.5, 0.3, 0.01, 0.02])
HIGH = np.array([2.0, 3.0, 4.0, 1.5, 0.5, 0.15])
STEPS = 12
MOST_STEPS = 42  # of the networks of `--networks`
STATM = Path("/proc/self/statm")
TOGETHER = 3  # points under one vmap
WAYS = ("plain", "jit", "gradient", "vmap")


def deep(x, layers=2, steps=STEPS):
    return dm.DeepLinear(
        hidden_layers=layers,
        width_ratio=x[0],
        sample_ratio=x[1],
        gamma0=x[2],
        init_variance=x[3],
        label_noise=x[4],
        learning_rate=x[5],
        steps=steps,
    )


def solved(x, **options):
    return dm.solve(deep(x, **options), throw=False)


def losses(x):
    return solved(x).test_loss


def outliers(x):
    found = solved(x).outliers(1, max_outliers=2)
    return found.values, found.left_overlap, found.right_overlap


def margins(x):
    solution = solved(x)
    return [(solution.escape_margin(l), solution.escape_time(l)) for l in (0, 1)]


def everything(x):
    """What stood still most often: outliers, margins and times of both layers."""
    solution = solved(x)
    return [
        (
            solution.outliers(l, max_outliers=2),
            solution.escape_margin(l),
            solution.escape_time(l),
        )
        for l in (0, 1)
    ]


def kernel(x):
    return solved(x, layers=1).ntk.outliers


def spiked(x):
    ensemble = dm.SpikedEnsemble(
        aspect=x[0],
        variance=x[3],
        left_gram=jnp.eye(2),
        right_gram=jnp.eye(2),
        strengths=jnp.diag(x[1:3]),
    )
    found = dm.outliers(ensemble, max_outliers=2)
    return found.values, found.left_overlap, found.right_overlap


def sampled(x):
    net = dm.Nonlinear(
        inputs=[[1.0, 0.0], [0.5, 1.0]],
        targets=[1.0, -1.0],
        hidden_layers=2,
        gamma0=x[2],
        init_variance=x[3],
        learning_rate=x[5],
        steps=3,
    )
    solution = dm.solve(net, throw=False, samples=64, batches=2, rank=8)
    return solution.train_loss, solution.sharpness


def wide(x):
    net = dm.WideOutput(
        output_ratio=0.5,
        input_ratio=0.7,
        gamma0=x[2],
        init_variance=x[3],
        learning_rate=x[5],
        steps=STEPS,
    )
    return dm.solve(net, throw=False).test_loss


def law(x):
    bulk = dm.rectangular_law(x[0], x[3])
    return bulk.density(x[1]), bulk.cdf(x[1]), bulk.stieltjes(10.0 + x[2])


@dataclass
class Case:
    """A function of six numbers, and the ways in which it can be called."""

    function: Callable
    ways: tuple = WAYS
    calls: dict = field(default_factory=dict)

    def calling(self, way: str) -> Callable:
        options = compiler_options()
        if way == "plain":
            return self.function
        if way == "jit":
            return jax.jit(self.function, compiler_options=options)
        if way == "gradient":
            gradient = jax.grad(functools.partial(total, self.function))
            return jax.jit(gradient, compiler_options=options)
        together = jax.vmap(self.function)
        return jax.jit(together, compiler_options=options)

    def call(self, way: str, rng) -> None:
        if way not in self.calls:
            self.calls[way] = self.calling(way)
        shape = (TOGETHER, len(LOW)) if way == "vmap" else LOW.shape
        found = self.calls[way](jnp.asarray(rng.uniform(LOW, HIGH, shape)))
        jax.block_until_ready(found)


def total(function, x):
    """One number, of what is finite."""
    leaves = jax.tree.leaves(function(x))
    return sum(jnp.where(jnp.isfinite(leaf), leaf, 0.0).sum() for leaf in leaves)


CASES = {
    "losses": Case(losses),
    "outliers": Case(outliers),
    "margins": Case(margins),
    "everything": Case(everything),
    "kernel": Case(kernel, ("plain",)),
    "spiked": Case(spiked),
    "sampled": Case(sampled),
    "wide": Case(wide, ("plain", "jit", "vmap")),
    "law": Case(law),
}


@dataclass(frozen=True)
class Held:
    """What a process holds: memory, now and at most so far, in MB, and memory mappings."""

    memory: int
    peak: int
    mappings: int

    @staticmethod
    def now() -> "Held":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        now = peak
        if STATM.exists():
            now = int(STATM.read_text().split()[1]) * resource.getpagesize() // 1024
        return Held(now // 1024, peak // 1024, mappings())


def soak(cases: dict, seconds: float, stall: float, seed: int, most=sys.maxsize):
    """Calls of each case and way, and what was held after the first and the last."""
    rng = np.random.default_rng(seed)
    turns = [(name, way) for name, case in cases.items() for way in case.ways]
    counts = dict.fromkeys(turns, 0)
    for name, way in turns:
        watched(cases[name], name, way, rng, 10 * stall)
    start = Held.now()
    print(f"{len(turns)} programs compiled: {start}", flush=True)
    end = time.monotonic() + seconds
    said = time.monotonic()
    while time.monotonic() < end and sum(counts.values()) < most:
        name, way = turns[rng.integers(len(turns))]
        watched(cases[name], name, way, rng, stall)
        counts[name, way] += 1
        if time.monotonic() - said > 60:
            said = time.monotonic()
            print(f"{sum(counts.values())} calls: {Held.now()}", flush=True)
    return counts, start, Held.now()


def watched(case, name, way, rng, stall):
    """One call; if it stands still, the stacks and the end of the process."""
    sys.stderr.write(f"\r{name} {way}".ljust(40))
    sys.stderr.flush()
    faulthandler.dump_traceback_later(stall, exit=True)
    case.call(way, rng)
    faulthandler.cancel_dump_traceback_later()


def another(rng) -> dm.DeepLinear | dm.WideOutput:
    """A network of a size and of numbers that have not been there before."""
    numbers = rng.uniform(LOW, HIGH)
    steps = int(rng.integers(3, MOST_STEPS + 1))
    layers = int(rng.integers(0, 4))
    if layers:
        return deep(numbers, layers=layers, steps=steps)
    return dm.WideOutput(
        output_ratio=numbers[0],
        input_ratio=numbers[1],
        gamma0=numbers[2],
        init_variance=numbers[3],
        learning_rate=numbers[5],
        steps=steps,
    )


def networks(count: int, stall: float, seed: int) -> list[Held]:
    """What is held while different networks are solved and read."""
    rng = np.random.default_rng(seed)
    held = []
    for i in range(count):
        faulthandler.dump_traceback_later(stall, exit=True)
        net = another(rng)
        solution = dm.solve(net, throw=False)
        jax.block_until_ready(solution.test_loss)
        if isinstance(net, dm.DeepLinear):
            jax.block_until_ready(solution.outliers(net.hidden_layers - 1))
        held.append(Held.now())
        if i % 10 == 9:
            print(f"{i + 1} networks: {held[-1]}", flush=True)
    faulthandler.cancel_dump_traceback_later()
    return held


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--calls", type=int, default=sys.maxsize, help="at most")
    parser.add_argument("--stall", type=float, default=120.0, help="seconds for a call")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument(
        "--networks", type=int, default=0, help="how many, and no calls"
    )
    asked = parser.parse_args()
    if asked.networks:
        networks(asked.networks, 10 * asked.stall, asked.seed)
        return
    chosen = {name: case for name, case in CASES.items() if asked.only in name}
    seconds = 60 * asked.minutes
    counts, start, end = soak(chosen, seconds, asked.stall, asked.seed, asked.calls)
    print(f"\n{'case':12} {'way':10} calls")
    for (name, way), count in counts.items():
        print(f"{name:12} {way:10} {count:6}")
    print(f"{sum(counts.values())} calls; from {start} to {end}")


if __name__ == "__main__":
    main()
