"""Chapter 11."""

import numpy as np
from derivations import real_networks

from . import exercise


@exercise("ex-things-to-say")
def things_to_say():
    each, classes = 10, 10**3
    return [3 * (each - 1), classes - 1], {
        "the other way round: the logits come first": [classes - 1, 3 * (each - 1)],
        "a constant added to all logits of a digit changes nothing": [
            3 * each,
            classes - 1,
        ],
        "probabilities add up to one": [3 * (each - 1), classes],
        "the logarithm of a product is a sum": [classes - 1, classes - 1],
    }


@exercise("ex-adam-rank", tolerance=0.02)
def adam_rank():
    squares = np.repeat(
        1 / np.arange(1.0, 10_000, 2) ** 2, 2
    )  # of the Fourier coefficients of a square wave
    return [1, squares.sum() ** 2 / (squares**2).sum()], {
        "this is the participation ratio, or the rank, of G; with two terms the signs do not factorise": [
            1,
            2,
        ],
        "this is the rank; most of the directions carry next to nothing": [1, 256],
        "each singular value comes twice": [1, 1.5],
        "the sign of a product is the product of the signs": [3, 3],
    }


@exercise("ex-cheap-outliers")
def cheap_outliers():
    dependent = np.sqrt(2) - 1
    return 1 / dependent**2, {
        "this is the ratio of the strengths; energies are their squares": 1 / dependent,
        "the other way round: how much more the independent one costs": dependent**2,
        "this is a difference; wanted is a ratio": 1 - dependent**2,
    }


@exercise("ex-resolution")
def resolution():
    def excess(xi, share):
        names = {"xi": xi, "c": 1.0, "P": share}
        expression = real_networks.excess()
        return float(
            expression.subs(
                {symbol: names[symbol.name] for symbol in expression.free_symbols}
            )
        )

    right = excess(0.5, 0.2)
    return [right, right / (2 * np.pi)], {
        "the share of the energy, xi/(1 + xi), is to be squared": [
            3 * right,
            3 * right / (2 * np.pi),
        ],
        "xi is the energy over that of M_0, not over that of M": [
            2.25 * right,
            2.25 * right / (2 * np.pi),
        ],
        "the distance is the excess times the largest change per unit of excess": [
            right,
            1 / (2 * np.pi),
        ],
        "the participation ratio of equal spikes is their number, n/5": [
            excess(0.5, 0.1),
            excess(0.5, 0.1) / (2 * np.pi),
        ],
    }
