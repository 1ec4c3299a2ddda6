"""The theory of nonlinear networks beside simulation at four widths, for chapters 5 and
7.

A fractional design over depth (1, 2, 3), activation (tanh, erf, ReLU), outputs (1, 3),
learning rate (small, and near 2/lambda_max) and batch (full, SGD). Predictions on a
training and a test input, losses, kernels, and the largest singular value of every
hidden matrix after the last step: outliers that theory puts closer together than the
widest matrices resolve are averaged, and those as close to the edge are shown but not
judged.

The networks are trained by `dmftlib.simulate`: raw weights, gradients by automatic
differentiation, singular values by LAPACK. Writes book/_data/nonlinear.csv (simulation)
and book/_data/nonlinear_theory.csv (the verdicts, also on theories broken on purpose;
some ten minutes): python -m experiments.nonlinear
"""

import numpy as np
import pandas as pd

import dmftlib as dm
from experiments import protocol

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


def seeds(width):
    return 40_000 // width


def network(name, init_variance=1.0):
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


def measured(name, side):
    """Numbers of a solution, or arrays over the seeds of a simulation."""
    L = side.net.hidden_layers
    found = {
        f"prediction at {t}": side.predictions[..., t, 0, 0]
        for t in (STEPS // 2, STEPS)
    }
    found |= {
        "test prediction": side.test_predictions[..., STEPS, 0, 0],
        f"train loss at {STEPS // 3}": side.train_loss[..., STEPS // 3],
        "feature kernel, first layer": side.feature_kernel(1)[..., STEPS, 0, 1],
        "feature kernel, last layer": side.feature_kernel(L)[..., STEPS, 0, 0],
        "gradient kernel, first layer": side.gradient_kernel(1)[..., STEPS, 0, 0, 0, 0],
        "gradient kernel, last layer": side.gradient_kernel(L)[..., STEPS, 1, 0, 0, 0],
    }
    return {f"{name}: {quantity}": value for quantity, value in found.items()}


def outlier(name, layer):
    return f"{name}: outlier of W^{layer}"


def theory(name, init_variance=1.0, independent=False, together=None):
    """Numbers, their standard errors, the largest rate x sharpness, and the outliers
    averaged in each layer.
    """
    solution = dm.solve(network(name, init_variance), samples=SAMPLES, batches=8)
    layers = range(1, solution.net.hidden_layers)
    if together is None:
        values = {
            layer: np.asarray(solution.outliers(layer, STEPS).values)
            for layer in layers
        }
        together = {
            layer: max(1, int(np.sum(v > v[:1] - RESOLVED)))
            for layer, v in values.items()
        }

    def all_of(solution):
        found = measured(name, solution)
        for layer, count in together.items():
            values = np.asarray(
                solution.outliers(layer, STEPS, independent=independent).values
            )[:count]
            edge = float(solution.bulk(layer).edges[0][1])
            found[outlier(name, layer)] = np.pad(
                values, (0, count - len(values)), constant_values=edge
            ).mean()
        return found

    found = all_of(solution)
    errors = solution.standard_error(lambda s: np.array(list(all_of(s).values())))
    sharpest = float(np.max(solution.sharpness) * solution.net.learning_rate)
    errors = dict(zip(found, map(float, errors), strict=True))
    return {k: float(v) for k, v in found.items()}, errors, sharpest, together


def simulated(name, width, together):
    """One row a seed."""
    simulation = dm.simulate(
        network(name),
        width=width,
        seeds=seeds(width),
        seed=width,
        spectra_at=(STEPS,),
        progress=False,
    )
    found = measured(name, simulation)
    for layer, count in together.items():
        found[outlier(name, layer)] = simulation.singular_values(layer, STEPS)[
            :, :count
        ].mean(1)
    return pd.DataFrame(found)


def verdict(table, theories, which, near):
    """`protocol.judge` on theories with standard errors of their own."""
    values, errors = (
        {k: v for one in theories for k, v in one[i].items()} for i in (0, 1)
    )
    judged = protocol.judge(table, values, theory_error=errors)
    return judged.assign(which=which, near_edge=judged.quantity.isin(near))


def near_edge(theories):
    """Outliers that the widest matrices do not resolve from the edge, which is at 2."""
    return [
        q
        for one in theories
        for q, v in one[0].items()
        if "outlier" in q and v < 2 + RESOLVED
    ]


def run(chosen):
    """The small table of the simulation, the verdicts, and what there is to say about
    the theories.
    """
    theories = {"theory": [theory(name) for name in chosen]}
    together = {
        name: one[3] for name, one in zip(chosen, theories["theory"], strict=True)
    }
    theories["variance 5% larger"] = [
        theory(name, 1.05, together=together[name]) for name in chosen
    ]
    deep = [
        theory(name, independent=True, together=together[name])
        for name in chosen
        if CASES[name][0] > 1
    ]
    theories["independent spikes"] = [
        tuple({k: v for k, v in part.items() if "outlier" in k} for part in one[:2])
        for one in deep
    ]
    samples = {}
    for width in SIZES:
        samples[width] = pd.concat(
            [simulated(name, width, together[name]) for name in chosen], axis=1
        )
        print(f"N = {width}: {seeds(width)} seeds", flush=True)
    table = protocol.summary(samples)
    notes = {
        name: dict(rate_times_sharpness=one[2], averaged=one[3])
        for name, one in zip(chosen, theories["theory"], strict=True)
    }
    near = near_edge(theories["theory"])
    return (
        table,
        pd.concat(
            [
                verdict(table, found, which, near)
                for which, found in theories.items()
                if found
            ]
        ),
        notes,
    )


if __name__ == "__main__":
    table, judged, notes = run(list(CASES))
    print(judged[~judged.near_edge].groupby("which").agrees.agg(["sum", "size"]))
    provenance = dict(
        script="experiments/nonlinear.py",
        cases=CASES,
        sizes=SIZES,
        seeds=[seeds(N) for N in SIZES],
        steps=STEPS,
        samples=SAMPLES,
        resolved=RESOLVED,
        theories=notes,
    )
    protocol.save("nonlinear", table, **provenance)
    protocol.save("nonlinear_theory", judged, **provenance)
