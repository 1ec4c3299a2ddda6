"""Chapter 12."""

from dataclasses import replace

import numpy as np

import dmftlib as dm
from dmftlib.training.wide_output import edge_correction, modes

from . import exercise

FROZEN = dm.WideOutput(
    output_ratio=0.0, input_ratio=0.7, target_variance=6.0, learning_rate=0.1, steps=30
)
TRAINED = dm.WideOutput(
    output_ratio=0.5,
    input_ratio=0.5,
    gamma0=2.0,
    learning_rate=0.05,
    steps=40,
    train_readout=True,
)


@exercise("ex-merge", tolerance=0.02)
def merge():
    def touching(steps):
        low, high = 0.02, 1.0
        for _ in range(9):
            middle = np.sqrt(low * high)
            parted = (
                len(
                    dm.solve(replace(FROZEN, output_ratio=middle, steps=steps))
                    .bulk(0)
                    .edges
                )
                == 2
            )
            low, high = (middle, high) if parted else (low, middle)
        return np.sqrt(low * high)

    early, late, end = touching(15), touching(30), touching(200)
    return [early, late], {
        "these are outputs over inputs; wanted is C/N": np.array([early, late])
        / FROZEN.input_ratio,
        "the other way round: the first is that of 15 steps": [late, early],
        "training longer does change it": [late, late],
        "wanted is C/N after 15 and after 30 steps": [late, end],
    }


@exercise("ex-vacated")
def vacated():
    def edge(strength):
        """At c = sigma = 1, 1 = f + 2 w f' with f = 1/(theta^2 - w): a quadratic
        equation in w.
        """
        t = strength**2
        w = min(np.roots([1.0, -(2 * t + 1), t**2 - t]).real)
        return np.sqrt(w) * (1 - 1 / (t - w))

    strengths = 1.1, 1.5
    right = np.array([edge(strength) for strength in strengths])
    return right, {
        "these are squares": right**2,
        "this is theta - sigma; beyond the threshold the edge starts more slowly": [
            0.1,
            0.5,
        ],
        "zero is vacated as soon as theta is beyond sigma": [0.0, 0.0],
        "these are the upper edges": [
            float(dm.extensive_spikes(1.0, 1.0, [t], [1.0]).edges[0][1])
            for t in strengths
        ],
        "this is where a single spike puts its outlier": [t + 1 / t for t in strengths],
    }


@exercise("ex-two-gaussians")
def two_gaussians():
    def edges(variance):
        return np.array(dm.rectangular_law(0.5, variance).edges[0], float)

    right = edges(0.5 + 0.8)
    return right, {
        "the lower edge first": right[::-1],
        "the squared edges are sigma^2 (1 ± sqrt(c))^2": np.sqrt(1.3)
        * np.array([1 - 0.5, 1 + 0.5]),
        "variances add; standard deviations and edges do not": edges(0.5) + edges(0.8),
        "these are the edges of one of the two": edges(0.8),
        "these are eigenvalues": right**2,
    }


@exercise("ex-rich-edge", tolerance=0.04)
def rich_edge():
    gamma0, s = 0.25, 2.0
    learning = (1 + gamma0**2 * s**2) ** 0.25 - 1
    width = (
        float(edge_correction(replace(TRAINED, gamma0=gamma0, steps=200))[-1]) * 0.01
    )
    unfinished = replace(TRAINED, gamma0=gamma0)
    early = (
        float(modes(unfinished, s)[1][-1]) ** 0.5 - 1,
        float(edge_correction(unfinished)[-1]) * 0.01,
    )
    rich = float(edge_correction(replace(TRAINED, steps=200))[-1]) * 0.01
    return [learning, width], {
        "the other way round: the first is learning": [width, learning],
        "the first is the square; the singular value is its root": [
            (1 + learning) ** 2 - 1,
            width,
        ],
        "the correction is to be multiplied by D/N": [learning, 100 * width],
        "40 steps are not the end at so small a gamma0; train until nothing changes": early,
        "this is gamma0 = 2, as in the figure": [
            (1 + TRAINED.gamma0**2 * s**2) ** 0.25 - 1,
            rich,
        ],
        "the edge starts at one; wanted is its change": [1 + learning, width],
    }
