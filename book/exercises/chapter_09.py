"""Chapter 9."""

import json

import numpy as np
from scipy.optimize import minimize_scalar

import dmftlib as dm
from experiments import protocol

from . import exercise

NETWORK = dm.DeepLinear(
    **json.loads((protocol.DATA / "ntk.json").read_text())["networks"]["mup 2"]
)


def edge(shares, nu, variance, alpha):
    """x and z/alpha where z(x) of the bulk, the recursion down the layers, stops
    falling. No derivative is taken.
    """

    def z(x):
        sigma, eps = shares[-1], x
        for layer in reversed(range(len(shares) - 1)):
            sigma = shares[layer] + (1.0 if layer else nu) * variance * sigma / (
                1 - sigma * eps
            )
            eps = eps / (variance + sigma * eps)
        return alpha / eps + sigma / (1 - sigma * eps)

    grid = np.linspace(0, 1 / shares[-1], 20002)[1:-1]
    k = np.flatnonzero(np.diff(z(grid)) > 0)[0]
    found = minimize_scalar(
        z,
        bounds=(grid[max(k - 1, 0)], grid[k + 1]),
        method="bounded",
        options=dict(xatol=1e-12),
    )
    return found.x, found.fun / alpha


@exercise("ex-ntk-threshold")
def ntk_threshold():
    nu, variance = 0.8, 0.5
    ends = np.array(
        [
            edge([variance, 1 / nu], nu, variance, alpha)[0]
            for alpha in (0.5, 2.0, 8.0, 1e3)
        ]
    )
    right = np.sqrt(variance * (nu / ends - 1))
    return right, {
        "this is where the spike leaves the bulk of M": np.full(
            4, (variance * nu**0.5) ** 0.5
        ),
        "these are theta^2": right**2,
        "a_1 is 1/nu": np.sqrt(variance * (1 / ends - 1)),
        "these are the x of the edges; solve for theta": ends,
    }


@exercise("ex-ntk-depth")
def ntk_depth():
    def start(nu):
        return np.array(
            [edge([1.0] + [1 / nu] * layers, nu, 1.0, 2.0)[1] for layers in range(1, 7)]
        )

    return start(1.0), {
        "this is nu = 100": start(100.0),
        "this is infinite width": np.arange(2, 8) * (1 + 2**-0.5) ** 2,
        "an eigenvalue of K is z/alpha": 2 * start(1.0),
    }


@exercise("ex-period-two", tolerance=0.02)
def period_two():
    network = json.loads((protocol.DATA / "edge_of_stability.json").read_text())[
        "network"
    ]
    sharpness = dm.solve(
        dm.DeepLinear(**network | dict(learning_rate=0.11)), throw=False
    ).sharpness
    one, two = (abs(1 - 0.11 * float(sharpness[t])) for t in (32, 33))
    return one * two, {
        "one is what the first order says; compute the product from the solution": 1.0,
        "this is one phase; multiply by the other": one,
        "this is the other phase; multiply by the first": two,
        "this is the mean over the phases, not the product": (one + two) / 2,
    }


@exercise("ex-ntk-shares")
def ntk_shares():
    solution, nu = dm.solve(NETWORK), NETWORK.width_ratio
    (first, second), (last_first, last_second) = (
        (
            float(solution.gradient_gram(1)[t, t]),
            float(solution.gradient_gram(2)[t, t]) / nu,
        )
        for t in (0, 40)
    )

    def top(*shares):
        return edge([*shares, 1 / nu], nu, NETWORK.init_variance, NETWORK.sample_ratio)[
            1
        ]

    start, end = top(first, second), top(last_first, last_second)
    one, two = top(last_first, second), top(first, last_second)
    return [start, one, two, end], {
        "the second is with a_0 moved, the third with a_1": [start, two, one, end],
        "an eigenvalue of K is z/alpha": NETWORK.sample_ratio
        * np.array([start, one, two, end]),
        "the effects do not add up; compute each edge": [
            start,
            one,
            two,
            one + two - start,
        ],
    }
