"""Chapter 4."""

import numpy as np
import sympy as sp
from derivations import gradient_descent as gd
from derivations import nonlinear as nl
from scipy.optimize import brentq, minimize_scalar

from . import exercise


@exercise("ex-one-echo")
def one_echo():
    echo, square = gd.power_iteration(2)  # <v_0 v_1> and <v_0 v_2> = <v_1^2>
    share, c = sp.factor(echo**2 / square), gd.c
    return share, {
        "this is the share of the noise": 1 - share,
        "this is the ratio of echo to noise; the share is of their sum": c,
        "amplitudes are to be squared": sp.sqrt(share),
        "this is the echo itself; divide by the whole": c**2,
    }


def along_the_spectrum(update, ratio=1.5, noise_variance=0.25):
    """<v^2> where update(x) gives the coefficients of the error and of the noise on the
    eigenvalue x of X^T X/P.
    """
    x, weight = np.polynomial.chebyshev.chebgauss(2000)
    low, high = (1 - ratio**-0.5) ** 2, (1 + ratio**-0.5) ** 2
    x = (low + high) / 2 + (high - low) / 2 * x
    density = (
        weight * (high - x) * (x - low) * ratio / (2 * np.pi * x)
    )  # Marchenko-Pastur
    error, noise = update(x)
    return float(density @ (error**2 + noise**2 * noise_variance * x / ratio))


@exercise("ex-momentum")
def momentum():
    def errors(steps, mu=0.8, eta=0.1, **law):
        def coefficients(x, t):
            v, q = np.array([1 + 0 * x, 0 * x]), np.zeros((2, len(x)))
            for _ in range(t):
                q = mu * q + x * v + np.array([[0.0], [1.0]])
                v = v - eta * q
            return v

        return [
            along_the_spectrum(lambda x, t=t: coefficients(x, t), **law) for t in steps
        ]

    return errors((4, 8, 12)), {
        "these are the errors one step earlier: t counts updates": errors((3, 7, 11)),
        "this is plain gradient descent; q keeps mu times what it was": errors(
            (4, 8, 12), mu=0.0
        ),
        "epsilon is 1/2, so the noise has variance 1/4": errors(
            (4, 8, 12), noise_variance=0.5
        ),
        "the labels have noise as well": errors((4, 8, 12), noise_variance=0.0),
        "the new gradient enters in full, not with weight 1 - mu": errors(
            (4, 8, 12), eta=0.02
        ),
    }


@exercise("ex-best-step")
def best_step():
    def best(noise=0.2, gamma=2.0, variance=0.5):
        at = {
            gd.nu: 1e12,
            gd.alpha: 1.5,
            gd.gamma: gamma,
            gd.noise: noise**0.5,
            gd.sigma: variance**0.5,
        }
        loss = sp.lambdify(gd.eta, gd.losses(1)[0].subs(at), "numpy")
        found = minimize_scalar(
            loss, bounds=(0, 2), method="bounded", options=dict(xatol=1e-9)
        )
        return np.array([found.x, found.fun])

    right = best()
    return right, {
        "the label noise is missing": best(noise=0.0),
        "the output of the untrained network is missing: V is not one": best(gamma=1e6),
        "each of the two layers contributes sigma^2: the rate is half of that": right
        * [2, 1],
        "the second is to be the loss itself, not in units of that at the start": right
        / [1, 1 + 0.5**2 / 4],
    }


@exercise(
    "ex-online",
    at=((0.1, 0.5, 0.25), (0.3, 1.5, 0.25), (0.3, 4.0, 1.0), (0.6, 2.0, 0.1)),
)
def online():
    def remaining(eta, alpha, noise_variance):
        """Where the map v -> factor v + constant stays."""
        factor, constant = (
            (1 - eta) ** 2 + eta**2 / alpha,
            eta**2 / alpha * noise_variance,
        )
        return constant / (1 - factor)

    return remaining, {
        "this is the limit of small steps": lambda eta, alpha, variance: (
            eta * variance / (2 * alpha)
        ),
        "the argument is the variance of the noise: do not square it": lambda e, a, v: (
            remaining(e, a, v**2)
        ),
        "this is what one step adds; the steps before it have left theirs": lambda e, a, v: (
            e**2 / a * v
        ),
        "the noise of the inputs is missing: Delta contains v itself, not the labels' noise alone": lambda e, a, v: (
            e**2 / a * v / (1 - (1 - e) ** 2)
        ),
    }


@exercise("ex-saturation")
def saturation():
    slow = sp.lambdify((nl.q, nl.sigma), nl.slow_responses()[1], "numpy")

    def turn(size):
        return brentq(lambda variance: slow(size, np.sqrt(variance)), 0.1, 10)

    return turn(1.0), {
        "this is for q = 1/2": turn(0.5),
        "this is for q = 2": turn(2.0),
        "this is sigma; wanted is the variance": np.sqrt(turn(1.0)),
    }
