"""Chapter 5."""

import numpy as np

import dmftlib as dm

from . import exercise


def scalar_kernel(target, gamma0, rate, steps):
    """The mean square k at the end of a linear network with one hidden layer and one
    input, sigma = q = 1.
    """
    f, k = 0.0, 1.0
    for _ in range(steps):
        up, down = (
            (k + sign * gamma0 * f) * (1 + sign * rate * gamma0 * (target - f)) ** 2
            for sign in (1, -1)
        )
        f, k = (up - down) / (2 * gamma0), (up + down) / 2
    return k


@exercise("ex-scale-sign", tolerance=0.03)
def scale_sign():
    movement = [scalar_kernel(1.0, gamma0, 0.01, 1000) - 1 for gamma0 in (0.05, 0.1)]
    exponent = float(np.log2(movement[1] / movement[0]))
    return exponent, {
        "a movement in proportion to gamma0 would change sign with it": 1.0,
        "this is in natural logarithms; divide by that of the ratio of scales": exponent
        * np.log(2),
        "this is the ratio of the movements; the exponent is its logarithm to base two": 2
        ** exponent,
    }


@exercise("ex-depth-forgets", tolerance=3e-3)  # to a tenth of a degree
def depth_forgets():
    def angles(scale=1.0, layers=(1, 2, 4, 8, 16)):
        angle, found = np.pi / 2, [np.pi / 2]
        for _ in range(max(layers)):
            angle = np.arccos(
                scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
            )
            found.append(angle)
        return np.degrees(np.array(found)[list(layers)])

    right = angles()
    return right, {
        "this is in radians": np.radians(right),
        "with sigma^2 = 2 the square is kept, and the cosine is twice the kernel": angles(
            scale=0.5
        ),
        "these are one layer behind: the right angle is before the first": angles(
            layers=(0, 1, 3, 7, 15)
        ),
        "these are cosines": np.cos(np.radians(right)),
    }


@exercise("ex-kernel-ends")
def kernel_ends():
    network = dm.Nonlinear(
        inputs=[[1.0]],
        targets=[1.0],
        hidden_layers=1,
        activation="linear",
        gamma0=2.0,
        learning_rate=0.3,
        steps=25,
    )
    large, small = (
        float(dm.solve(network, samples=64).ntk.kernel[-1, 0, 0]),
        2 * np.sqrt(1 + 2.0**2),
    )
    return [large, small], {
        "this is the feature kernel k; the tangent kernel is twice that": [
            large / 2,
            small / 2,
        ],
        "the other way round: the first is that of large steps": [small, large],
        "large steps lose some of k^2 - gamma0^2 q f^2; the two are not the same": [
            small,
            small,
        ],
        "this is the kernel of the start": [2.0, 2.0],
    }


@exercise("ex-two-outputs")
def two_outputs():
    learning = scalar_kernel(
        2**0.5, 2.0, 0.05, 40
    )  # of (w_1 + w_2)/sqrt(2), or with a minus; the other stays at one
    right = (learning - 1) / 2
    return [right, -right], {
        "with opposite targets the two readouts get opposite updates": [right, right],
        "this is the diagonal, the mean square of one readout": [right + 1, right + 1],
        "this is what it was before training": [0.0, 0.0],
        "the other way round: the first is for equal targets": [-right, right],
    }
