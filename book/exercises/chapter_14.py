"""Chapter 14."""

import numpy as np

from . import exercise

USUAL = (3.4445, -4.7750, 2.0315)


def _after(x, steps=5):
    """A singular value of the buffer after Newton-Schulz steps."""
    a, b, c = USUAL
    for _ in range(steps):
        x = a * x + b * x**3 + c * x**5
    return x


@exercise("ex-muon-first-step")
def muon_first_step():
    sigma = 0.5**0.5
    least = sigma / _after(1.0)
    return [least, 2.5 * sigma], {
        "this takes five steps to make one of one": [sigma, 2.5 * sigma],
        "the standard deviation is the root of the variance": [
            0.5 / _after(1.0),
            2.5 * 0.5,
        ],
        "twice the rate is not twice the outlier, which begins at the edge": [
            least,
            4 * sigma,
        ],
    }


@exercise("ex-muon-small")
def muon_small():
    steps = next(n for n in range(1, 99) if _after(1e-6, n) > 0.5)
    linear = int(np.ceil(np.log(0.5e6) / np.log(USUAL[0])))
    return [_after(1e-3), steps], {
        "that is the slope alone, without the third and the fifth power": [
            1e-3 * USUAL[0] ** 5,
            linear,
        ],
        "that is the exact polar factor": [1.0, 1],
    }


@exercise("ex-sign-of-two")
def sign_of_two():
    wave = 2 / np.pi / np.array([1, 3])
    return [*wave, 3.0], {
        "these are the amplitudes of the square wave; a convolution multiplies by half of them": [
            *(2 * wave),
            3.0,
        ],
        "each value comes twice, once for the sine and once for the cosine": [
            *wave,
            1.5,
        ],
        "that is the participation ratio of the gradient itself": [*wave, 2.0],
    }


@exercise("ex-muon-factor")
def muon_factor():
    moved = 0.02 * 0.2 * 256**0.5
    return [moved / (0.2 * 4096**0.5), moved], {
        "it is the product of rate and factor that stays": [0.02, moved],
        "the factor goes with the root of the width": [0.02 / 16, moved],
        "without the factor the rate has to make up for it": [0.005, 0.02],
    }
