"""Chapter 8."""

from dataclasses import replace

import numpy as np
import sympy as sp
from derivations import width
from scipy.optimize import brentq

import dmftlib as dm

from . import exercise

NETWORK = dm.DeepLinear(
    hidden_layers=2,
    width_ratio=1.0,
    sample_ratio=1.5,
    label_noise=0.2,
    learning_rate=0.05,
    steps=40,
    gamma0=3.0,
    init_variance=0.5,
)


@exercise("ex-two-scalings")
def two_scalings():
    mup = float(
        dm.critical(
            lambda gamma0: replace(NETWORK, width_ratio=8.0, gamma0=gamma0),
            0,
            (0.1, 3.5),
            step=20,
            rtol=1e-6,
            capacity=41,
        )
    )
    return [mup, mup * 8**0.5], {
        "gamma is gamma0 sqrt(nu), not gamma0 nu": [mup, mup * 8],
        "the NTK network needs the larger output scale": [mup, mup / 8**0.5],
        "the other way round: the first is muP": [mup * 8**0.5, mup],
    }


@exercise("ex-drowning-width", tolerance=1e-4)
def drowning_width():
    at = {
        width.eta: 1,
        width.sigma: sp.sqrt(0.5),
        width.gamma0: 3,
        width.alpha: 1.5,
        width.noise: sp.sqrt(0.2),
        width.L: 2,
        width.l: 1,
    }
    first, deep = (
        width.first_step("ntk", first=layer == 0).subs(at) for layer in (0, 1)
    )
    strength = float(first)
    second = brentq(lambda nu: float(deep.subs(width.nu, nu)) - 1, 1, 100)
    return [strength**2, second], {
        "W^0 escapes at Lambda = sqrt(nu), so it drowns at the square": [
            strength,
            second,
        ],
        "this is without the second term in the bracket of Lambda_l": [
            strength**2,
            strength,
        ],
        "the other way round: the first is W^0": [second, strength**2],
        "W^1 is square: its edge is at Lambda = 1, whatever the width": [
            strength**2,
            strength**2,
        ],
    }


@exercise("ex-for-ever")
def for_ever():
    x, weight = np.polynomial.chebyshev.chebgauss(4000)
    low, high = (1 - 1.5**-0.5) ** 2, (1 + 1.5**-0.5) ** 2
    x = (low + high) / 2 + (high - low) / 2 * x
    density = (
        weight * (high - x) * (x - low) * 1.5 / (2 * np.pi * x)
    )  # Marchenko-Pastur
    gamma0, layers, v, noise = 3.0, 2, 0.5, 0.2
    start = 1 + v ** (layers + 1) / gamma0**2

    def bound(start=start, noise=noise):
        moved = density @ (start + noise / (1.5 * x))  # (1 - eta x)^t has died
        return gamma0**2 / ((layers + 1) ** 2 * v ** (layers + 1)) * moved

    return bound(), {
        "the label noise moves the predictor as well": bound(noise=0.0),
        "V is the whole loss before training, with the output of the untrained network": bound(
            start=1.0
        ),
        "each of the L + 1 matrices learns its share only": bound() * (layers + 1) ** 2,
        "this is the strength; the width enters it as a root": np.sqrt(bound()),
    }


@exercise("ex-border", tolerance=0.02)
def border():
    values = {"init_variance": 0.5, "learning_rate": 0.05}

    def logarithm(**changes):
        found = dm.critical(
            lambda gamma0: replace(NETWORK, gamma0=gamma0, **changes),
            1,
            between=(0.5, 3.0),
            step=20,
            rtol=1e-10,
            capacity=41,
        )
        return float(np.log(found))

    slopes = {
        name: (logarithm(**{name: 1.002 * value}) - logarithm(**{name: value / 1.002}))
        / (2 * np.log(1.002))
        for name, value in values.items()
    }
    critical = np.exp(logarithm())
    return slopes, {
        "these are slopes of gamma_c itself; divide by it": {
            k: critical * slopes[k] for k in slopes
        },
        "percent for percent: both sides by their logarithms": {
            k: slopes[k] / values[k] for k in slopes
        },
        "the step up and the step down are twice the logarithm apart": {
            k: 2 * slopes[k] for k in slopes
        },
    }
