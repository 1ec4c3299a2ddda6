"""Chapter 3."""

import numpy as np
import sympy as sp
from derivations import spikes
from scipy.integrate import quad
from scipy.optimize import brentq

import dmftlib as dm

from . import exercise


@exercise("ex-effective-strength")
def effective_strength():
    def gain(strength):
        """The crossing at the edge, where it passes one if an outlier escapes."""
        return float(spikes.tanh_spike(1.0, strength).crossings(2.0)[0][0])

    G = spikes.gaussian_average(lambda u: np.tanh(u) ** 2)
    B = 1 - G
    return brentq(lambda strength: gain(strength) - 1, 0.05, 5), {
        "this is the strength that a stranger needs": 1 / np.sqrt(G),
        "this is the linear map, g = M_0 h": 2**0.5 - 1,
        "the response enters with a factor 2: G theta^2 + 2 B theta = 1": (
            np.sqrt(B**2 / 4 + G) - B / 2
        )
        / G,
        "this is the size of the negative strength": (np.sqrt(B**2 + G) + B) / G,
        "this is the negative strength": -(np.sqrt(B**2 + G) + B) / G,
        "this is tanh scaled to <g^2> = 1; wanted is tanh as it is": (
            np.sqrt(B**2 + G) - B
        )
        / np.sqrt(G),
    }


@exercise("ex-negative")
def negative():
    G, B, strength = spikes.G, spikes.B, sp.Symbol("strength", real=True)
    square = {
        spikes.c: 1,
        spikes.H: 1,
        spikes.sigma: 1,
        spikes.m_L: 1 / spikes.m_R,
    }  # at the edge m_L m_R = 1
    roots = sp.solve(
        spikes.condition_one().subs(square).subs(spikes.theta, strength), strength
    )
    low, high = sorted(roots, key=lambda root: float(root.subs({G: 1, B: 1})))
    return low, {
        "this is the positive strength": high,
        "the response enters with a factor 2: G theta^2 + 2 B theta = 1": -(
            sp.sqrt(B**2 / 4 + G) + B / 2
        )
        / G,
        "this is the strength of a stranger; the response is missing": -1 / sp.sqrt(G),
        "here the effective strength vanishes: the spike has only undone what M_0 does": -2
        * B
        / G,
    }


@exercise("ex-sign")
def sign():
    def outlier(response):
        spike = dm.SpikedEnsemble(
            aspect=1.0,
            variance=1.0,
            left_gram=[[1.0]],
            right_gram=[[1.0]],
            left_response=[[response]],
            strengths=[[0.8]],
        )
        found = dm.outliers(spike, max_outliers=1).values[0]
        return float(np.nan_to_num(found, nan=2.0))

    response = (
        2 * quad(lambda u: u * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi), 0, np.inf)[0]
    )  # <u sign(u)>
    return outlier(response), {
        "the spike is no stranger: the derivative of the sign is a delta function": outlier(
            0.0
        ),
        "the sign jumps by two at zero, not by one": outlier(response / 2),
        "B is the mean of |u|, the square root of 2/pi, and not 2/pi": outlier(
            response**2
        ),
        "with B = 1 this is the linear map": outlier(1.0),
    }


@exercise("ex-left-out", tolerance=2e-4)
def left_out():
    n, rng = 1200, np.random.default_rng(300)
    M0 = rng.standard_normal((n, n)) / np.sqrt(n)
    h1, e = rng.standard_normal((2, n))
    g1 = np.tanh(M0 @ h1)
    h2 = e + M0.T @ g1 / 2
    g2 = M0 @ h2 - g1

    def predicted(U, V, strengths, matrix=M0):
        return float(
            dm.outliers(
                dm.SpikedEnsemble.from_vectors(matrix, U, V, strengths), max_outliers=1
            ).values[0]
        )

    U, V = np.stack([g1, g2], 1), np.stack([h1, h2], 1)
    trained = M0 + np.outer(g2, h2) / n
    every, short = (
        predicted(U, V, [[0.0, 0.0], [0.0, 1.0]]),
        predicted(U[:, 1:], V[:, 1:], [[1.0]]),
    )
    strength = np.linalg.norm(g2) * np.linalg.norm(h2) / n
    return [every, short], {
        "the other way round: the first is that of all four queries": [short, every],
        "both are the short list; give all queries, two of them with zero strength": [
            short,
            short,
        ],
        "from_vectors wants M_0; it adds the spike itself": [
            predicted(U, V, [[0.0, 0.0], [0.0, 1.0]], trained),
            predicted(U[:, 1:], V[:, 1:], [[1.0]], trained),
        ],
        "g_1 h_1^T is no spike: its strength is zero": [
            predicted(U, V, np.eye(2)),
            short,
        ],
        "the second is a formula for strangers; g_2 and h_2 are none": [
            every,
            strength + 1 / strength,
        ],
    }
