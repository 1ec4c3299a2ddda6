"""Chapter 1."""

import numpy as np
from scipy.optimize import brentq

import dmftlib as dm

from . import exercise


def edges(aspect):
    return np.array(dm.rectangular_law(aspect, 1.0).edges[0], float)


@exercise("ex-input-layer")
def input_layer():
    return edges(8.0), {
        "the aspect is rows over columns, n/m = 8, and not 1/8; the unit is that of W/sqrt(fan-in)": edges(
            1 / 8
        ),
        "these are eigenvalues; singular values are their square roots": edges(8.0)
        ** 2,
        "these would be the edges of a square matrix": edges(1.0),
    }


@exercise("ex-lower-bound")
def lower_bound():
    edge = edges(1.0)[1]
    stranger = brentq(lambda strength: np.hypot(1, strength) - edge, 0, 10)
    acquaintance = brentq(lambda strength: 1 + strength - edge, 0, 10)
    return [stranger, acquaintance], {
        "these are the true thresholds; wanted is where the bounds reach the edge": [
            1,
            2**0.5 - 1,
        ],
        "(a) forgets that M_0 v, of length 1, is there as well": [edge, acquaintance],
        "(b) M_0 v and its multiple are parallel: lengths add, not their squares": [
            stranger,
            stranger,
        ],
    }


@exercise("ex-parity")
def parity():
    sign = 0.5 - np.arange(10) % 2
    return float(np.linalg.matrix_rank(np.stack([sign, -sign]))), {
        "the second output is minus the first and asks for nothing new": 2,
        "that is the number for ten classes; here there are two": 9,
    }


@exercise("ex-width", tolerance=0.025)  # from seed to seed they differ by one percent
def width():
    widths = np.array([128, 256, 512])
    largest = np.array([3.022, 2.990, 3.001])  # means over five seeds, thirty steps
    return largest, {
        "these are the numbers of outliers; wanted is where the largest one is": np.full(
            3, 9.0
        ),
        "this is the edge of the bulk; the largest outlier is beyond it": np.full(
            3, edges(1.0)[1]
        ),
        "these are singular values of W; the unit is that of W/sqrt(fan-in)": largest
        * np.sqrt(widths),
    }
