"""Simulated training of deep linear networks at four sizes, for chapter 6.

Depths 1, 2, 3 in both parameterizations: losses at three steps; at three more the
largest singular value of each W^l; at the last of them the squared cosines of its
vectors with the two sides of the gradient of step QUERY.

The networks are trained by `dmftlib.simulate`: raw weights, gradients by automatic
differentiation, singular values by LAPACK, nothing of the theory. Writes
book/_data/deep_linear.csv (some minutes on two cores): python -m experiments.deep_linear
"""

import pandas as pd

import dmftlib as dm
from experiments import protocol

SHARED = dict(
    sample_ratio=1.5, gamma0=4.0, init_variance=0.5, label_noise=0.2, steps=40
)
NETWORKS = {
    f"{parameterization} {layers}": dict(
        hidden_layers=layers,
        width_ratio=ratio,
        learning_rate=rate,
        parameterization=parameterization,
        **SHARED,
    )
    for parameterization, ratio in (("mup", 0.8), ("ntk", 0.5))
    for layers, rate in ((1, 0.05), (2, 0.04), (3, 0.02))
}
SIZES = (80, 160, 320, 640)  # D
LOSSES_AT, SPECTRA_AT, QUERY = (5, 20, 40), (15, 25, 40), 5


def seeds(dim):
    return 20_000 // dim


def measured(name, simulation):
    """One row a seed."""
    columns = {}
    for kind in ("train_loss", "test_loss"):
        for t in LOSSES_AT:
            columns[f"{name}: {kind} at {t}"] = getattr(simulation, kind)[:, t]
    for layer in range(simulation.net.hidden_layers):
        for t in SPECTRA_AT:
            columns[f"{name}: outlier of W^{layer} at {t}"] = (
                simulation.singular_values(layer, t)[:, 0]
            )
        for side, overlaps in zip(
            ("left", "right"), simulation.overlaps(layer, SPECTRA_AT[-1]), strict=True
        ):
            columns[f"{name}: {side} overlap of W^{layer} at {SPECTRA_AT[-1]}"] = (
                overlaps[:, 0, QUERY]
            )
    return pd.DataFrame(columns)


if __name__ == "__main__":
    samples = {}
    for dim in SIZES:
        runs = [
            measured(
                name,
                dm.simulate(
                    dm.DeepLinear(**setting),
                    dim=dim,
                    seeds=seeds(dim),
                    seed=dim,
                    overlaps=1,
                    spectra_at=SPECTRA_AT,
                    ntk=False,
                ),
            )
            for name, setting in NETWORKS.items()
        ]
        samples[dim] = pd.concat(runs, axis=1)
        print(f"D = {dim}: {seeds(dim)} seeds")
    protocol.save(
        "deep_linear",
        protocol.summary(samples),
        script="experiments/deep_linear.py",
        networks=NETWORKS,
        sizes=SIZES,
        seeds=[seeds(dim) for dim in SIZES],
        losses_at=LOSSES_AT,
        spectra_at=SPECTRA_AT,
        query=QUERY,
    )
