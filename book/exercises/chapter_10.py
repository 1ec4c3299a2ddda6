"""Chapter 10."""

import json
from dataclasses import replace

import numpy as np
from scipy.optimize import brentq, minimize_scalar

import dmftlib as dm
from experiments import protocol

from . import exercise

SETTING = json.loads((protocol.DATA / "transfer.json").read_text())["setting"]
RATES = np.geomspace(0.03, 0.3, 70)


def losses(parameterization, ratio, rate):
    network = dm.DeepLinear(
        **SETTING,
        width_ratio=ratio,
        learning_rate=rate,
        parameterization=parameterization,
    )
    return np.asarray(dm.solve(network, throw=False).train_loss)


def tried(parameterization, ratio):
    """The loss at every step, for each of the rates of the chapter."""
    return np.array([losses(parameterization, ratio, rate) for rate in RATES])


@exercise("ex-transfer-infinite", tolerance=5e-3)
def transfer_infinite():
    def best(name, ratio):
        least = np.nanargmin(tried(name, ratio)[:, -1])
        found = minimize_scalar(
            lambda rate: losses(name, ratio, rate)[-1],
            bounds=RATES[[least - 1, least + 1]],
            method="bounded",
            options=dict(xatol=1e-6),
        )
        return found.x

    mup, ntk = best("mup", 1e6), best("ntk", 1e6)
    return [mup, ntk], {
        "these are the best rates at nu = 16": [best("mup", 16.0), best("ntk", 16.0)],
        "the other way round: the first is muP": [ntk, mup],
        "the two differ at infinite width: one of them is that of a fixed kernel": [
            mup,
            mup,
        ],
    }


@exercise("ex-transfer-horizon", tolerance=0.02)
def transfer_horizon():
    def best(name):
        paths = tried(name, 8.0)
        return np.array([np.nanargmin(paths[:, t]) for t in (5, 10, 15)]), paths

    (mup, paths), (ntk, _) = best("mup"), best("ntk")
    return RATES[mup], {
        "these are the rates in NTK parameterization": RATES[ntk],
        "these are places in the list of rates": mup,
        "these are the losses, not the rates": [
            paths[place, t] for place, t in zip(mup, (5, 10, 15), strict=True)
        ],
    }


@exercise("ex-transfer-unlearning")
def transfer_unlearning():
    network = dm.DeepLinear(
        hidden_layers=1,
        width_ratio=1.0,
        sample_ratio=2.0,
        gamma0=3.0,
        label_noise=0.1,
        learning_rate=0.1,
        steps=1,
    )

    def change(rate):
        return (
            float(dm.solve(replace(network, learning_rate=rate)).gradient_gram(1)[1, 1])
            - 1
        )

    right, H0 = brentq(change, 0.01, 1), 1.5 * (1 + 1 / 9) + 0.1 / 2
    return right, {
        "H_1 has a second term, the echo of w": 2 / (9 * H0),
        "the term of first order has a factor 2": right / 2,
        "gamma enters squared": 3 * right,
        "the label noise is missing in H_0": 2 / (9 * (H0 - 0.05 + 1 / 9)),
    }


@exercise("ex-transfer-repair")
def transfer_repair():
    mup = dm.DeepLinear(
        **SETTING, width_ratio=8.0, learning_rate=0.09, parameterization="mup"
    )
    return float(mup.gamma), {
        "gamma grows as the root of the width": 8 * SETTING["gamma0"],
        "the NTK network needs the larger output scale": SETTING["gamma0"] / 8**0.5,
        "with gamma0 kept it is another network": SETTING["gamma0"],
    }
