"""Chapter 2."""

import numpy as np
from derivations import bulk
from scipy.integrate import quad
from scipy.special import ive

import dmftlib as dm

from . import exercise


@exercise("ex-stable-rank")
def stable_rank():
    law, width = dm.rectangular_law(1.0, 0.3), 1000
    squares, edge = bulk.law_average(law, np.square), float(law.edges[0][1])
    return width * squares / edge**2, {
        "the largest singular value enters squared": width * squares**0.5 / edge,
        "the largest singular value is at the edge, not at the root mean square": width,
        "the variance cancels": width / edge**2,
    }


@exercise("ex-edge-tail")
def edge_tail():
    height, b = (
        ive(1, 2e8) * np.sqrt(1e8),
        1 / 3,
    )  # ive is I_1 with the exponential taken out
    return [height, b], {
        "the constant lacks Gamma(1 + b)": [1 / np.pi, b],
        "sqrt(4 - x^2) is about 2 sqrt(2 - x) at the edge": [height / 2, b],
        "the tail is tau^(-1-b)": [height, 4 / 3],
        "the tail is tau^(-1-b), not tau^(1-b)": [height, 7 / 3],
    }


@exercise("ex-half-echo", at=((2.0, 0.5), (2.5, 0.3), (3.0, 1.0), (2.2, 0.8)))
def half_echo():
    def response(s, rho):
        """The root of s R = 1 + rho R^2 that vanishes at large s."""
        return 2 / (s + np.sqrt(s**2 - 4 * rho))

    return response, {
        "this is Wigner's response: the echo is weaker by the correlation": lambda s, rho: (
            response(s, 1.0)
        ),
        "this has no echo at all": lambda s, rho: 1 / s,
        "divide by rho: the coefficient of the square is not one": lambda s, rho: (
            rho * response(s, rho)
        ),
        "the other root does not vanish at large s": lambda s, rho: (
            s / rho - response(s, rho)
        ),
        "the correlation enters once, not squared": lambda s, rho: response(s, rho**2),
    }


@exercise("ex-two-rows")
def two_rows():
    at = np.array([2.4, 3.0, 4.0])

    def right_transform(variances, weights):
        return at * np.asarray(
            dm.generalised_mp(variances, weights, aspect=0.5).stieltjes(at**2)
        )

    one, two = 0.5, 2.0
    right = right_transform([one, two], [0.5, 0.5])
    return right, {
        "rows of one mean variance are another law: keep the two kinds apart": right_transform(
            [1.25], [1.0]
        ),
        "the variances are the squares, 1/2 and 2": right_transform(
            [one**0.5, two**0.5], [0.5, 0.5]
        ),
        "this is the transform of the squares; multiply by s": right / at,
        "this is the average over the rows; wanted is that over the columns": (
            1 / (at - one * right) + 1 / (at - two * right)
        )
        / 2,
    }


@exercise("ex-hard-edge")
def hard_edge():
    mean = quad(lambda v: np.exp(-(v**2) / 2 - v), 0, np.inf)[0]
    low, high = (float(edge) for edge in dm.rectangular_law(1 / 4, 1.0).edges[0])
    return [mean, high / low], {
        "this is the estimate by counting; take the mean of Edelman's law": [
            np.pi / 2,
            high / low,
        ],
        "this is the median; the mean is the integral of the probability": [
            np.sqrt(1 + 2 * np.log(2)) - 1,
            high / low,
        ],
        "the condition number is a ratio of singular values, not of eigenvalues": [
            mean,
            (high / low) ** 2,
        ],
    }
