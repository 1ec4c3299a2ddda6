"""Stochastic gradient descent on deep linear networks at four sizes, for chapter 8.

Depths 1 and 2; fresh samples in each step (two batch sizes) and random batches of a
fixed training set (two fractions). Losses at three steps, and at three more the largest
singular value of each W^l. Beside the simulation: the theory, and others.

labels alone       a fresh batch adds the noise of its labels to the gradient, as a
                   Langevin equation of constant temperature has it, and not that its
                   own covariance is not the identity
with replacement   a batch of b P samples may have one of them twice
the other two      an initial variance 5% larger; the spikes with their own Grams and a
                   fresh M(0)

Writes book/_data/sgd.csv, sgd.json and sgd_paths.csv, the theory of each step (four
minutes on one core): python -m experiments.sgd; with `theories` behind it, these alone.
"""

import json
import sys
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import dmftlib as dm
from dmftlib.training import deep_linear as training
from experiments import protocol

SHARED = dict(width_ratio=0.8, gamma0=4.0, init_variance=0.5, label_noise=0.2, steps=30)
BATCHES = {
    "online, 1.5 D": ("online", 1.5),
    "online, 0.5 D": ("online", 0.5),
    "half of 1.5 D": (0.5, 1.5),
    "a fifth of 1.5 D": (0.2, 1.5),
}
NETWORKS = {
    f"{layers} hidden, {name}": dict(
        hidden_layers=layers,
        learning_rate=rate,
        batch=batch,
        sample_ratio=ratio,
        **SHARED,
    )
    for layers, rate in ((1, 0.05), (2, 0.04))
    for name, (batch, ratio) in BATCHES.items()
}
SIZES = (80, 160, 320, 640)  # D
LOSSES_AT, SPECTRA_AT = (5, 15, 30), (12, 20, 30)


def seeds(dim):
    return 15_000 // dim


def named(name, net, loss, top):
    """{quantity: loss(kind, t) or top(layer, t)}."""
    found = {
        f"{name}: {kind} at {t}": loss(kind, t)
        for kind in ("train_loss", "test_loss")
        for t in LOSSES_AT
    }
    return found | {
        f"{name}: outlier of W^{layer} at {t}": top(layer, t)
        for layer in range(net.hidden_layers)
        for t in SPECTRA_AT
    }


def simulated(name, net, dim, count, seed):
    """A row a seed."""
    run = dm.simulate(
        net,
        dim=dim,
        seeds=count,
        seed=seed,
        spectra_at=SPECTRA_AT,
        ntk=False,
        progress=False,
    )
    return pd.DataFrame(
        named(
            name,
            net,
            lambda kind, t: getattr(run, kind)[:, t],
            lambda layer, t: run.singular_values(layer, t)[:, 0],
        )
    )


def predicted(name, net, independent=False):
    """The theory: outliers, or the edge where there is none; with `independent` the
    outliers only.
    """
    solution = dm.solve(net)
    edges = [
        float(solution.bulk(layer).edges[0][1]) for layer in range(net.hidden_layers)
    ]
    tops = [
        np.nan_to_num(
            solution.outliers(layer, max_outliers=1, independent=independent).values[
                :, 0
            ],
            nan=edge,
        )
        for layer, edge in enumerate(edges)
    ]
    found = named(
        name,
        net,
        lambda kind, t: float(getattr(solution, kind)[t]),
        lambda layer, t: float(tops[layer][t]),
    )
    return {
        key: value
        for key, value in found.items()
        if not independent or "outlier" in key
    }


def over_networks(change=lambda net: net, **options):
    return {
        key: value
        for name, setting in NETWORKS.items()
        for key, value in predicted(
            name, change(dm.DeepLinear(**setting)), **options
        ).items()
    }


def paths():
    """Test loss, <w^2> and outliers of the theory at every step, with full batches too."""
    rows = []
    for name, setting in NETWORKS.items():
        nets = {name: dm.DeepLinear(**setting)}
        if setting["batch"] == 0.5:
            nets[f"{setting['hidden_layers']} hidden, all of 1.5 D"] = replace(
                nets[name], batch="full"
            )
        for label, net in nets.items():
            solution = dm.solve(net)
            readout = np.diagonal(solution.gradient_gram(net.hidden_layers))
            for layer in range(net.hidden_layers):
                top = solution.outliers(layer, max_outliers=1).values[:, 0]
                rows += [
                    dict(
                        network=label,
                        matrix=layer,
                        step=t,
                        outlier=float(top[t]),
                        readout=readout[t],
                        test_loss=float(solution.test_loss[t]),
                    )
                    for t in range(net.steps + 1)
                ]
    return pd.DataFrame(rows)


def simpler(network, inputs, v, t) -> training.Residual:
    """`Network.residual` with the noises that a reader might believe."""
    alpha, b = network.units.alpha, network.fraction
    if network.batch == "online":
        noise = network.units.label_noise
        loss = v @ v + noise
        direction = v.at[1 + t].add(jnp.sqrt(noise / alpha))
        return training.Residual(inputs, loss, direction)
    inputs, _, image = inputs.forward(v)
    residual = image + network.noise
    loss = residual @ residual
    residual = (b * residual).at[1 + t].add(jnp.sqrt(b * loss))
    inputs, _, image = inputs.backward(residual)
    return training.Residual(inputs, loss, image / (alpha * b))


@contextmanager
def simpler_noise():
    jax.clear_caches()
    with patch.object(training.Network, "residual", simpler):
        yield
    jax.clear_caches()


def theories() -> dict[str, dict[str, float]]:
    right = over_networks()
    with simpler_noise():
        simplified = over_networks()
    return {
        "theory": right,
        "fresh samples, noise of the labels alone": {
            key: value for key, value in simplified.items() if "online" in key
        },
        "batches drawn with replacement": {
            key: value for key, value in simplified.items() if "online" not in key
        },
        "initial variance 5% larger": over_networks(
            lambda net: replace(net, init_variance=1.05 * net.init_variance)
        ),
        "a fresh M(0)": over_networks(independent=True),
    }


def tell_again() -> None:
    """The theories anew, beside the simulation that there is."""
    path = protocol.DATA / "sgd.json"
    note = json.loads(path.read_text()) | dict(theories=theories())
    path.write_text(json.dumps(note, indent=1) + "\n")


def simulate() -> None:
    """The simulation, and the theories beside it."""
    protocol.save("sgd_paths", paths(), script="experiments/sgd.py", networks=NETWORKS)
    told = theories()
    samples = {}
    for dim in SIZES:
        samples[dim] = pd.concat(
            [
                simulated(name, dm.DeepLinear(**setting), dim, seeds(dim), dim)
                for name, setting in NETWORKS.items()
            ],
            axis=1,
        )
        print(f"D = {dim}: {seeds(dim)} seeds", flush=True)
    table = protocol.summary(samples)
    protocol.save(
        "sgd",
        table,
        script="experiments/sgd.py",
        networks=NETWORKS,
        sizes=SIZES,
        seeds=[seeds(dim) for dim in SIZES],
        losses_at=LOSSES_AT,
        spectra_at=SPECTRA_AT,
        theories=told,
    )
    for name, theory in told.items():
        verdict = protocol.judge(table, theory)
        print(
            f"{name}: {(~verdict.agrees).sum()} of {len(verdict)} rows rejected, largest |z| "
            f"{verdict.z.abs().max():.1f}, mean z^2 {(verdict.z**2).mean():.2f}"
        )


if __name__ == "__main__":
    tell_again() if "theories" in sys.argv else simulate()
