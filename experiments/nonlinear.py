"""The theory of nonlinear networks beside simulation at four widths, for chapters 5 and
7.

A fractional design over depth (1, 2, 3), activation (tanh, erf, ReLU), outputs (1, 3),
learning rate (small, and near 2/lambda_max) and batch (full, SGD). Predictions on a
training and a test input, losses, kernels, and the largest singular value of every
hidden matrix after the last step: outliers that theory puts closer together than the
widest matrices resolve are averaged, and those as close to the edge are shown but not
judged.

A second table, `nonlinear_deep`, is of one network: twenty digits learnt by four hidden
layers, at four widths from 128. Its sizes, seeds and quantities were fixed before it was
run; its rate and scale by the theory alone, so that there are outliers to be seen.

The networks are trained by `dmftlib.simulate`: raw weights, gradients by automatic
differentiation, singular values by LAPACK. Writes book/_data/nonlinear.csv (simulation)
and book/_data/nonlinear_theory.csv (the verdicts, also on other theories; some ten
minutes), and the same of nonlinear_deep:

    python -m experiments.nonlinear [nonlinear] [nonlinear_deep] [theories]

with `theories` the verdicts alone.

The other theories: a variance 2 or 5 percent too large; gradient flow, in the place of
steps of finite size (of full batches, in the first table); and, for the outliers, the same spikes on a fresh
M(0), the first step's spike once for every step, and two errors planted in what M(0)
answers between the queries: counted twice, as if a half were missing, or with a wrong
sign.
"""

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

import dmftlib as dm
from dmftlib.spectra.outliers import outliers_by_step
from experiments import protocol, simpler

INPUTS = np.array(
    [[1.2, -0.4, 0.7, 0.3], [-0.6, 1.1, 0.2, -0.9], [0.3, 0.8, -1.3, 0.5]]
)
TEST_INPUTS = np.array([[0.5, 0.5, -0.5, 1.0]])
TARGETS = {1: np.array([1.0, -1.0, 0.5]), 3: np.eye(3) - 1 / 3}
STEPS, SIZES, SAMPLES = 12, (64, 128, 256, 512), 32_768
RESOLVED = 3 * max(SIZES) ** (-2 / 3)
CASES = {  # hidden layers, activation, outputs, gamma0, learning rate, batch
    "tanh 1": (1, "tanh", 1, 3.0, 0.3, "full"),
    "relu 1, three outputs, SGD, large rate": (1, "relu", 3, 3.0, 1.0, 2),
    "tanh 2, three outputs, large rate": (2, "tanh", 3, 5.0, 0.9, "full"),
    "erf 2, SGD": (2, "erf", 1, 4.0, 0.3, 2),
    "relu 2": (2, "relu", 1, 3.0, 0.2, "full"),
    "erf 3, three outputs": (3, "erf", 3, 4.0, 0.3, "full"),
    "tanh 3, large rate": (3, "tanh", 1, 3.0, 0.32, "full"),
    "relu 3, three outputs, SGD": (3, "relu", 3, 3.0, 0.2, 2),
}
DEEP = "erf 4, twenty digits"
DEEP_SCALE, DEEP_RATE, DEEP_STEPS = 4.0, 1.0, 6
AT_ONCE = 20  # networks simulated together
TABLES = {  # cases and widths
    "nonlinear": (tuple(CASES), SIZES),
    "nonlinear_deep": ((DEEP,), (128, 256, 512, 1024)),
}


def seeds(width):
    return 40_000 // width


def network(name, init_variance=1.0):
    if name == DEEP:
        return twenty_digits(init_variance)
    layers, activation, outputs, gamma0, rate, batch = CASES[name]
    return dm.Nonlinear(
        inputs=INPUTS,
        targets=TARGETS[outputs],
        hidden_layers=layers,
        activation=activation,
        gamma0=gamma0,
        init_variance=init_variance,
        learning_rate=rate,
        steps=STEPS,
        test_inputs=TEST_INPUTS,
        test_targets=np.zeros((1, outputs)),
        batch=batch,
    )


def twenty_digits(init_variance=1.0):
    """Ten threes and ten eights; another three to be tested on."""
    images, labels = load_digits(return_X_y=True)
    images = images - images.mean(0)
    images *= np.sqrt(64 / np.sum(images**2, 1, keepdims=True))
    three, eight = (np.flatnonzero(labels == digit) for digit in (3, 8))
    seen = np.concatenate([three[:10], eight[:10]])
    return dm.Nonlinear(
        inputs=images[seen],
        targets=np.where(labels[seen] == 3, 1.0, -1.0),
        test_inputs=images[three[10:11]],
        test_targets=np.ones(1),
        hidden_layers=4,
        activation="erf",
        gamma0=DEEP_SCALE,
        init_variance=init_variance,
        learning_rate=DEEP_RATE,
        steps=DEEP_STEPS,
    )


def measured(name, side, every=1):
    """Numbers of a solution, or arrays over the seeds of a simulation; `every` so many
    steps are one.
    """
    L, last = side.net.hidden_layers, side.net.steps
    steps = last // every
    found = {
        f"prediction at {t}": side.predictions[..., every * t, 0, 0]
        for t in (steps // 2, steps)
    }
    found |= {
        "test prediction": side.test_predictions[..., last, 0, 0],
        f"train loss at {steps // 3}": side.train_loss[..., every * (steps // 3)],
        "feature kernel, first layer": side.feature_kernel(1)[..., last, 0, 1],
        "feature kernel, last layer": side.feature_kernel(L)[..., last, 0, 0],
        "gradient kernel, first layer": side.gradient_kernel(1)[..., last, 0, 0, 0, 0],
        "gradient kernel, last layer": side.gradient_kernel(L)[..., last, 1, 0, 0, 0],
    }
    return {f"{name}: {quantity}": value for quantity, value in found.items()}


def outlier(name, layer):
    return f"{name}: outlier of W^{layer}"


class Told(NamedTuple):
    """What a theory says of some quantities, and the standard errors of its sampling."""

    values: dict[str, float]
    errors: dict[str, float]


def solved(net):
    return dm.solve(net, samples=SAMPLES, batches=8)


def averaged(solution) -> dict[int, int]:
    """How many outliers of each layer are too close together to be told apart."""
    counts = {}
    for layer in range(1, solution.net.hidden_layers):
        values = np.asarray(solution.outliers(layer, solution.net.steps).values)
        counts[layer] = max(1, int(np.sum(values > values[:1] - RESOLVED)))
    return counts


def said(name, solution, together, change=None, every=1) -> dict:
    """All quantities, of a solution or of a part of its samples; with a `change` of the
    weight histories the outliers alone.
    """
    found = {} if change else measured(name, solution, every)
    for layer, count in together.items():
        history = solution.weight_history(layer)
        history = change(history) if change else history
        last = solution.net.steps
        values = np.asarray(outliers_by_step(history, last).values)[:count]
        edge = float(solution.bulk(layer).edges[0][1])
        missing = (0, count - len(values))
        values = np.pad(values, missing, constant_values=edge)
        found[outlier(name, layer)] = values.mean()
    return found


def with_errors(read: Callable, solution) -> Told:
    """`read` takes a solution."""
    values = read(solution)
    if not values:
        return Told({}, {})
    errors = solution.standard_error(lambda s: np.array(list(read(s).values())))
    return Told(
        {key: float(value) for key, value in values.items()},
        dict(zip(values, map(float, errors), strict=True)),
    )


CHANGES = {
    "a fresh M(0)": simpler.fresh,
    "the first step extrapolated": simpler.extrapolated,
    "a half missing in the core": simpler.core_twice,
    "a sign wrong in the core": simpler.core_turned,
}
VARIANCES = {"variance 5% larger": 1.05, "variance 2% larger": 1.02}


def flow(name, solution, together) -> Told:
    """Gradient flow, from steps of full and of half size; nothing for small batches,
    whose noise has no limit of this kind.
    """
    net = solution.net
    if net.batch != "full":
        return Told({}, {})
    whole = with_errors(lambda s: said(name, s, together), solution)
    half = with_errors(
        lambda s: said(name, s, together, every=2), solved(simpler.finer(net, 2))
    )
    return Told(
        {key: 2 * half.values[key] - whole.values[key] for key in whole.values},
        {key: np.hypot(2 * half.errors[key], e) for key, e in whole.errors.items()},
    )


def told(name) -> tuple[dict[str, Told], dict]:
    """All theories of a case, and what there is to say about the right one."""
    solution = solved(network(name))
    together = averaged(solution)
    found = {"theory": with_errors(lambda s: said(name, s, together), solution)}
    for which, variance in VARIANCES.items():
        other = solved(network(name, variance))
        found[which] = with_errors(lambda s: said(name, s, together), other)
    if name != DEEP:
        found["gradient flow"] = flow(name, solution, together)
    for which, change in CHANGES.items():
        found[which] = with_errors(
            lambda s, change=change: said(name, s, together, change), solution
        )
    sharpest = float(np.max(solution.sharpness) * solution.net.learning_rate)
    return found, dict(rate_times_sharpness=sharpest, averaged=together)


def simulated(name, width, together):
    """One row a seed."""
    count = seeds(width)
    if name != DEEP:
        return row_a_seed(name, trained(name, width, count, width), together)
    parts = [
        trained(name, width, min(AT_ONCE, count - first), 1000 * width + first)
        for first in range(0, count, AT_ONCE)
    ]
    rows = [row_a_seed(name, part, together) for part in parts]
    return pd.concat(rows, ignore_index=True)


def trained(name, width, count, seed):
    net = network(name)
    return dm.simulate(
        net,
        width=width,
        seeds=count,
        seed=seed,
        spectra_at=(net.steps,),
        progress=False,
    )


def row_a_seed(name, simulation, together):
    found = measured(name, simulation)
    for layer, count in together.items():
        values = simulation.singular_values(layer, simulation.net.steps)
        found[outlier(name, layer)] = values[:, :count].mean(1)
    return pd.DataFrame(found)


def verdict(table, found: list[Told], which, near):
    """`protocol.judge` on theories with standard errors of their own."""
    values = {key: v for one in found for key, v in one.values.items()}
    errors = {key: e for one in found for key, e in one.errors.items()}
    judged = protocol.judge(table, values, theory_error=errors)
    return judged.assign(which=which, near_edge=judged.quantity.isin(near))


def near_edge(found: list[Told]):
    """Outliers that the widest matrices do not resolve from the edge, which is at 2."""
    return [
        quantity
        for one in found
        for quantity, value in one.values.items()
        if "outlier" in quantity and value < 2 + RESOLVED
    ]


def verdicts(table, theories: dict[str, dict[str, Told]]):
    """Of {case: {which: what it says}}."""
    right = [found["theory"] for found in theories.values()]
    near = near_edge(right)
    kinds = next(iter(theories.values()))
    return pd.concat(
        [
            verdict(table, [found[which] for found in theories.values()], which, near)
            for which in kinds
        ]
    )


def all_samples(notes, sizes) -> dict[int, pd.DataFrame]:
    samples = {}
    for width in sizes:
        samples[width] = pd.concat(
            [simulated(name, width, notes[name]["averaged"]) for name in notes], axis=1
        )
        print(f"N = {width}: {seeds(width)} seeds", flush=True)
    return samples


def run(name: str, simulate: bool) -> None:
    """Makes one of the tables."""
    theories, notes = {}, {}
    cases, sizes = TABLES[name]
    for case in cases:
        theories[case], notes[case] = told(case)
        print(case, flush=True)
    provenance = dict(
        script="experiments/nonlinear.py",
        cases=CASES if name == "nonlinear" else cases,
        sizes=sizes,
        seeds=[seeds(N) for N in sizes],
        steps=[network(case).steps for case in cases],
        samples=SAMPLES,
        resolved=RESOLVED,
        theories=notes,
    )
    if simulate:
        table = protocol.summary(all_samples(notes, sizes))
        protocol.save(name, table, **provenance)
    judged = verdicts(protocol.load(name), theories)
    protocol.save(f"{name}_theory", judged, **provenance)
    print(judged[~judged.near_edge].groupby("which").agrees.agg(["sum", "size"]))


if __name__ == "__main__":
    chosen = [name for name in TABLES if name in sys.argv]
    for name in chosen or TABLES:
        run(name, simulate="theories" not in sys.argv)
