"""Chapter 7."""

from functools import cache

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.datasets import load_digits

import dmftlib as dm

from . import exercise


def start(variance, size=1.0):
    """Phi and G of the error function before training, by quadrature over the Gaussian
    fields.
    """
    x, weight = np.polynomial.hermite_e.hermegauss(200)
    weight = weight / weight.sum()

    def slope_square(v):
        return weight @ (2 / np.pi * np.exp(-v * x**2))

    def square(v):
        """<phi^2> grows with the variance as <phi'^2 + phi phi''> does, which for this
        phi is an arcsine.
        """
        return 2 / np.pi * np.arcsin(v / (1 + v))

    Phi = square(variance * size)
    return (
        Phi,
        variance * slope_square(variance * Phi),
        slope_square(variance * size),
        square(variance * Phi),
    )


@exercise("ex-one-step-enough", tolerance=4e-3)
def one_step_enough():
    Phi, G, slope, top = start(1.0)
    strength, kernel = np.sqrt(G * Phi), top + G * Phi + slope * G
    rate, limit = 1 / (2 * strength), 2 / kernel
    return [rate, limit], {
        "gamma0 is 2, and makes the spike stronger": [2 * rate, limit],
        "the strength is the root of G Phi": [1 / (2 * strength**2), limit],
        "training is stable up to 2 over the largest eigenvalue, not 1": [
            rate,
            limit / 2,
        ],
        "the kernel has three terms, one for each matrix": [rate, 2 / top],
    }


@exercise("ex-variance-edge", tolerance=1e-2)
def variance_edge():
    def best(ratio):
        found = minimize_scalar(
            lambda logarithm: -ratio(np.exp(logarithm)),
            bounds=(-3, 4),
            method="bounded",
            options=dict(xatol=1e-8),
        )
        return float(np.exp(found.x))

    def strength(variance, size=1.0):
        Phi, G, *_ = start(variance, size)
        return np.sqrt(G * Phi)

    right = best(lambda variance: strength(variance) / np.sqrt(variance))
    return right, {
        "this is sigma; wanted is the variance": np.sqrt(right),
        "this is for q = 1/2": best(
            lambda variance: strength(variance, 0.5) / np.sqrt(variance)
        ),
        "this maximises G Phi; the strength is its root": best(
            lambda v: strength(v) ** 2 / np.sqrt(v)
        ),
    }


@cache
def digits():
    """The network of the chapter, solved."""
    images, labels = load_digits(return_X_y=True)
    images = images - images.mean(0)
    images *= np.sqrt(64 / np.sum(images**2, 1, keepdims=True))
    seen = np.concatenate([np.flatnonzero(labels == digit)[:2] for digit in (3, 8)])
    network = dm.Nonlinear(
        inputs=images[seen],
        targets=np.where(labels[seen] == 3, 1.0, -1.0),
        hidden_layers=2,
        activation="erf",
        gamma0=2.0,
        learning_rate=0.6,
        steps=16,
    )
    return dm.solve(network, samples=4096, rank=120)


@exercise("ex-outlier-overlap", tolerance=0.05)
def outlier_overlap():
    found = digits().outliers(1, 16)
    left, right = (
        np.asarray(overlap)[0].reshape(16, 4).mean(1)[[0, 15]]
        for overlap in (found.left_overlap, found.right_overlap)
    )
    return right, {
        "these are the overlaps of the left vector with the gradients": left,
        "take the mean over the four images, not the sum": 4 * right,
        "the other way round: the first is that with the features of the start": right[
            ::-1
        ],
    }


@exercise("ex-strength", tolerance=0.02)
def strength():
    tops = np.array(
        [
            float(digits().outliers(1, 16, max_outliers=1, independent=alone).values[0])
            for alone in (False, True)
        ]
    )
    small, large = ((tops + sign * np.sqrt(tops**2 - 4)) / 2 for sign in (-1, 1))
    return large, {
        "the other root is below the threshold, where there is no outlier": small,
        "these are the outliers; solve for the strengths": tops,
        "the other way round: the first is that of the theory": large[::-1],
    }
