"""Chapter 6."""

import json
from dataclasses import replace

import equinox as eqx
import numpy as np
import sympy as sp
from derivations import deep_linear
from derivations import gradient_descent as gd

import dmftlib as dm
from dmftlib.spectra.outliers import outliers_by_step
from experiments import protocol

from . import exercise

NETWORK = dm.DeepLinear(
    **json.loads((protocol.DATA / "deep_linear.json").read_text())["networks"]["mup 2"]
)


@exercise("ex-one-step")
def one_step():
    values = {
        gd.nu: NETWORK.width_ratio,
        gd.alpha: NETWORK.sample_ratio,
        gd.sigma: NETWORK.init_variance**0.5,
        gd.gamma: NETWORK.gamma,
        gd.noise: NETWORK.label_noise**0.5,
        deep_linear.L: NETWORK.hidden_layers,
    }
    spike = (deep_linear.first_product() / gd.sigma**2).subs(
        deep_linear.H0, deep_linear.descent_square()
    )

    def escape(layer, aspect, response=1):
        """Where Lambda, a polynomial in the rate, passes its value at the edge."""
        strength = spike.subs(values).subs({deep_linear.l: layer, gd.c: aspect})
        first, second = (
            float(strength.expand().coeff(gd.eta, power)) for power in (1, 2)
        )
        return max(np.roots([second, response * first, -np.sqrt(aspect)]))

    first, second = escape(0, NETWORK.width_ratio), escape(1, 1.0)
    return [first, second], {
        "these are independent spikes: the term -2 sigma^2 is missing": [
            escape(0, NETWORK.width_ratio, response=0),
            escape(1, 1.0, response=0),
        ],
        "the other way round: the first is W^0": [second, first],
        "the aspect of W^0 is nu, and its edge at Lambda = sqrt(nu)": [
            escape(0, 1.0),
            second,
        ],
    }


@exercise("ex-which-response", tolerance=3e-3)
def which_response():
    solution = dm.solve(NETWORK)
    queries = solution.queries(1).compressed(1e-6)

    def outlier(*dropped):
        broken = eqx.tree_at(
            lambda h: [getattr(h, name) for name in dropped],
            queries,
            replace_fn=np.zeros_like,
        )
        return float(outliers_by_step(broken.history(), max_outliers=1).values[-1, 0])

    A, B, both = (
        outlier("right_response"),
        outlier("left_response"),
        outlier("right_response", "left_response"),
    )
    theory, edge = (
        float(solution.outliers(1, max_outliers=1).values[-1, 0]),
        float(solution.bulk(1).edges[0][1]),
    )
    return [A, B, both], {
        "A is the response of the right vectors, `right_response`, and B that of the left ones": [
            B,
            A,
            both,
        ],
        "nothing was dropped: this is the theory": [theory, theory, theory],
        "without either there still is an outlier, of independent spikes": [A, B, edge],
    }


@exercise("ex-when-to-stop")
def when_to_stop():
    losses = [
        dm.solve(replace(NETWORK, sample_ratio=ratio, steps=60)).test_loss
        for ratio in (1.0, 3.0, 12.0)
    ]
    best = np.array([np.argmin(loss) for loss in losses], float)
    return best, {
        "entry t is the loss after t steps: count from 0": best + 1,
        "that is the minimum of the train loss, which only falls": np.full(3, 60.0),
        "these are the losses, not the steps": [np.min(loss) for loss in losses],
    }


@exercise("ex-determinant")
def determinant():
    sizes = np.array([2, 3, 10])
    numbers = np.array([float(sp.factorial(n)) for n in sizes])
    return numbers / sizes ** sizes.astype(float), {
        "the entries have the variance 1/n, not 1": numbers,
        "the orders of the chi numbers fall: n, n - 1, ..., 1": np.ones(3),
        "the mean of the square of a chi number is its order": numbers**2
        / sizes ** sizes.astype(float),
    }


@exercise("ex-outlier-slope", tolerance=2e-2)  # one percent is a finite step
def outlier_slope():
    values = {
        name: getattr(NETWORK, name)
        for name in ("gamma0", "init_variance", "learning_rate")
    }

    def outliers(name, factor):
        network = replace(NETWORK, **{name: factor * values[name]})
        return dm.solve(network).outliers(1, max_outliers=1).values[[10, 40], 0]

    slopes = {
        name: (outliers(name, 1.001) - outliers(name, 1 / 1.001)) / (2 * np.log(1.001))
        for name in values
    }
    early, late = (
        {name: float(slope[i]) for name, slope in slopes.items()} for i in range(2)
    )
    return late, {
        "these are slopes against the knobs; multiply by their values": {
            k: late[k] / values[k] for k in late
        },
        "these are changes for one percent of the knob; divide by its logarithm": {
            k: late[k] / 100 for k in late
        },
        "the step up and the step down are twice the logarithm apart": {
            k: 2 * late[k] for k in late
        },
        "these are the slopes at step 10": early,
    }
