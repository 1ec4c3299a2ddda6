"""Chapter 13."""

from dataclasses import replace

import numpy as np
import sympy as sp

import dmftlib as dm
from experiments import schedules

from . import exercise

RATE = 0.05


@exercise("ex-fastest-momentum")
def fastest_momentum():
    x = sp.Symbol("x", positive=True)
    right = (1 - sp.sqrt(x)) ** 2
    return right, {
        "this is the factor of a step, of which the momentum is the square": 1
        - sp.sqrt(x),
        "the other end of the range in which a direction swings": (1 + sp.sqrt(x)) ** 2,
        "this is the x at which a direction of momentum x begins to swing, turned round": (
            1 + x
        )
        - sp.sqrt(x),
    }


def _over_edge(scale, strength=2.0):
    return (strength + scale**2 / strength) / (2 * scale)


@exercise("ex-what-decay-leaves")
def what_decay_leaves():
    together, alone = _over_edge(1.0), _over_edge(0.3)
    return [together, alone], {
        "the spike shrinks with the matrix where both decay": [alone, alone],
        "these are the outliers, not their ratios to the edge": [
            2.5 * 0.3,
            2.0 + 0.3**2 / 2.0,
        ],
        "the edge of the second matrix has shrunk, too": [together, 2.045 / 2.0],
    }


@exercise("ex-vanishing-bulk")
def vanishing_bulk():
    mu, pull = 0.9, 0.04
    angle = np.arccos((1 + mu - pull) / (2 * mu**0.5))
    share = (1 - mu - pull) / (2 * mu**0.5 * np.sin(angle))
    right = (np.pi - np.arctan(1 / share)) / angle
    return right, {
        "a cosine alone vanishes here: the first step is not that of a wave at its crest": (
            np.pi / (2 * angle)
        ),
        "here the weights have turned round, they do not vanish": np.pi / angle,
        "the sine counts with the opposite sign": np.arctan(1 / share) / angle,
    }


@exercise("ex-schedule-slope", tolerance=5e-3)
def schedule_slope():
    """By finite differences."""
    small = 1e-4
    test, train = [], []
    for t in range(schedules.STEPS):
        ends = []
        for sign in (1, -1):
            rates = np.full(schedules.STEPS, RATE)
            rates[t] += sign * small
            net = replace(schedules.BASE, learning_rate=rates)
            solved = dm.solve(net)
            ends.append((float(solved.test_loss[-1]), float(solved.train_loss[-1])))
        test.append((ends[0][0] - ends[1][0]) / (2 * small))
        train.append((ends[0][1] - ends[1][1]) / (2 * small))
    return test, {
        "these are the derivatives of the train loss": train,
        "these are derivatives by the logarithms of the rates": np.multiply(test, RATE),
    }
