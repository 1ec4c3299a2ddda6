"""Learning-rate transfer across width, for chapter 10: the loss after a few steps
against the learning rate, and where it is least. Writes three tables to book/_data.

transfer             theory: the best learning rate and its loss at each width, found
                     with the slope that `jax.grad` takes through the solver; the edge
                     of stability beside
transfer_simulation  simulated networks at three width ratios and three sizes, the same
                     random numbers at all learning rates of a network, and others for
                     the next: each seed's best rate, by a parabola through the losses
                     around the least
transfer_nonlinear   nonlinear networks of growing width, by the matrix-free simulator

Some minutes on two cores: python -m experiments.transfer [transfer | transfer_simulation |
transfer_nonlinear]
"""

import itertools
import sys

import jax
import numpy as np
import pandas as pd
from scipy.optimize import brentq

import dmftlib as dm
from experiments import protocol

SETTING = dict(
    hidden_layers=2,
    gamma0=3.0,
    init_variance=1.0,
    sample_ratio=2.0,
    label_noise=0.1,
    steps=15,
)
RATIOS, SIMULATED = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0), (0.5, 2.0, 8.0)
SIZES = (100, 200, 400)  # sqrt(N D)
PARAMETERIZATIONS = ("mup", "ntk")


def network(parameterization, ratio, rate):
    return dm.DeepLinear(
        **SETTING,
        width_ratio=ratio,
        learning_rate=rate,
        parameterization=parameterization,
    )


def loss(parameterization, ratio, rate):
    return dm.solve(network(parameterization, ratio, rate), throw=False).train_loss[-1]


def best_rate(parameterization, ratio):
    """The root of the slope of the loss next to the least of a few rates."""
    slope = jax.grad(lambda rate: loss(parameterization, ratio, rate))
    rates = np.geomspace(0.03, 0.4, 130)
    losses = np.array([loss(parameterization, ratio, rate) for rate in rates])
    least = int(np.nanargmin(losses))
    return brentq(
        lambda rate: float(slope(rate)), rates[least - 1], rates[least + 1], rtol=1e-4
    )


def transfer():
    rows = []
    for name in PARAMETERIZATIONS:
        for ratio in RATIOS:
            rate = best_rate(name, ratio)
            solution = dm.solve(network(name, ratio, rate))
            rows.append(
                dict(
                    parameterization=name,
                    width_ratio=ratio,
                    best_rate=rate,
                    loss=solution.train_loss[-1],
                    first_sharpness=solution.sharpness[0],
                    last_sharpness=solution.sharpness[-1],
                )
            )
            print(rows[-1])
    protocol.save(
        "transfer",
        pd.DataFrame(rows),
        script="experiments/transfer.py",
        setting=SETTING,
    )


def parabola(rates, losses):
    """Where the parabola through the least loss and its neighbours, in the logarithm of
    the rate, is least.
    """
    least = int(np.clip(np.nanargmin(losses), 1, len(rates) - 2))
    a, b, _ = np.polyfit(
        np.log(rates[least - 1 : least + 2]), losses[least - 1 : least + 2], 2
    )
    return np.exp(-b / (2 * a))


def tried(name, ratio):
    """Learning rates about the best one of the theory."""
    centres = (
        protocol.load("transfer")
        .set_index(["parameterization", "width_ratio"])
        .best_rate
    )
    return centres[name, ratio] * np.array([0.75, 0.81, 0.87, 0.93, 1.0, 1.07, 1.15])


def transfer_simulation():
    """At three sizes each, to be extrapolated; the best rate and the loss at the
    theory's best rate of each seed.
    """
    samples = {}
    for size in SIZES:
        columns = {}
        for row, (name, ratio) in enumerate(
            itertools.product(PARAMETERIZATIONS, SIMULATED)
        ):
            dim, rates = round(size / np.sqrt(ratio)), tried(name, ratio)
            losses = np.stack(
                [
                    dm.simulate(
                        network(name, ratio, rate),
                        dim=dim,
                        seeds=8000 // size,
                        seed=100 + row,
                        ntk=False,
                        progress=False,
                    ).train_loss[:, -1]
                    for rate in rates
                ],
                1,
            )
            columns[f"{name} {ratio:g}: best rate"] = [
                parabola(rates, each) for each in losses
            ]
            columns[f"{name} {ratio:g}: loss"] = losses[:, 4]
        samples[size] = pd.DataFrame(columns)
        print(size, samples[size].mean().round(4).to_dict())
    protocol.save(
        "transfer_simulation",
        protocol.summary(samples),
        script="experiments/transfer.py",
        setting=SETTING,
        sizes=SIZES,
    )


NONLINEAR = dict(
    hidden_layers=2, activation="tanh", gamma0=2.0, init_variance=1.0, steps=15
)


def data(samples=4, dim=4):
    rng = np.random.default_rng(4)
    inputs = rng.standard_normal((samples, dim))
    return inputs, np.sign(inputs[:, 0] * inputs[:, 1])


def nonlinear_network(gamma0, rate):
    inputs, targets = data()
    return dm.Nonlinear(
        inputs=inputs,
        targets=targets,
        learning_rate=rate,
        **{**NONLINEAR, "gamma0": gamma0},
    )


def transfer_nonlinear(count=6):
    """muP keeps gamma0 as the width grows; the neural tangent parameterization is
    gamma0 sqrt(128/width).
    """
    rows = []
    for name in PARAMETERIZATIONS:
        for width in (128, 512, 2048, 8192):
            gamma0 = NONLINEAR["gamma0"] * (
                1.0 if name == "mup" else np.sqrt(128 / width)
            )
            rates = np.geomspace(0.3, 12, 14)
            losses = np.stack(
                [
                    dm.simulate(
                        nonlinear_network(gamma0, rate),
                        width=width,
                        seeds=count,
                        seed=2,
                        matrix_free=True,
                    ).train_loss[:, -1]
                    for rate in rates
                ],
                1,
            )
            for seed, each in enumerate(losses):
                rows += [
                    dict(
                        parameterization=name,
                        width=width,
                        seed=seed,
                        rate=rate,
                        loss=value,
                        best_rate=parabola(rates, each),
                    )
                    for rate, value in zip(rates, each, strict=True)
                ]
            print(
                name,
                width,
                np.mean([parabola(rates, each) for each in losses]),
                losses.mean(0).round(3),
            )
    protocol.save(
        "transfer_nonlinear",
        pd.DataFrame(rows),
        script="experiments/transfer.py",
        setting=NONLINEAR,
        seeds=count,
    )


if __name__ == "__main__":
    parts = dict(
        transfer=transfer,
        transfer_simulation=transfer_simulation,
        transfer_nonlinear=transfer_nonlinear,
    )
    for part in sys.argv[1:] or parts:
        parts[part]()
