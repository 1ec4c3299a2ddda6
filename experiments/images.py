"""Three handwritten digits side by side, with 10, 100 or 1,000 classes; for chapter 11.

The pictures are always the same: three of scikit-learn's 8 x 8 digits in a row, drawn
anew for every batch from 1,297 of them (the other 500 are kept for held-out pictures).
Only the label map changes: the first digit (10 classes), the first two (100), all three
(1,000).

mlp: three hidden layers of `width` units, tanh. cnn: three 3 x 3 convolutions of
`width` channels (strides 2, 1, 2), tanh, and a readout from all positions.

    python -m experiments.images --plan                      the registered runs
                                                         (book/_data/outputs_protocol.md)
    python -m experiments.images --outputs 10 100 --width 64 other runs, printed
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from experiments import trained
from experiments.trained import Network, Settings, Task, gaussian

DIGITS = 3
SHAPE = (8, 8 * DIGITS)


class Mlp(Network):
    def features(self, x):
        h = x @ self.inputs["W0"].T
        seen = {"W0": h}
        for name, M in self.hidden.items():
            h = jnp.tanh(h) @ M.T
            seen[name] = h
        return jnp.tanh(h), seen


class Cnn(Network):
    """Kernels are matrices (channels, 9 channels before); zero padding, channels last."""

    def features(self, x):
        h, seen = x.reshape(-1, *SHAPE, 1), {}
        for (name, M), stride in zip(
            (self.inputs | self.hidden).items(), (2, 1, 2), strict=True
        ):
            h = patches(h if name == "K0" else jnp.tanh(h), stride) @ M.T
            seen[name] = h
        return jnp.tanh(h).reshape(h.shape[0], -1), seen


def patches(h, stride: int):
    """The 3 x 3 neighbourhood of every `stride`-th pixel: (..., height, width,
    channels) -> (..., 9 channels).
    """
    rows, columns = h.shape[1:3]
    h = jnp.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return jnp.concatenate(
        [
            h[:, i : i + rows : stride, j : j + columns : stride]
            for i in range(3)
            for j in range(3)
        ],
        -1,
    )


def network(settings: Settings) -> Network:
    N, C = settings.width, settings.outputs
    keys = jax.random.split(jax.random.key(settings.seed), 4)
    if settings.network == "mlp":
        return Mlp(
            inputs={"W0": gaussian(keys[0], N, SHAPE[0] * SHAPE[1])},
            hidden={f"W{l}": gaussian(keys[l], N, N) for l in (1, 2)},
            readout=gaussian(keys[3], C, N, unit=True),
            scale=N,
            gamma0=settings.gamma0,
        )
    positions = SHAPE[0] // 4 * (SHAPE[1] // 4)
    return Cnn(
        inputs={"K0": gaussian(keys[0], N, 9)},
        hidden={f"K{l}": gaussian(keys[l], N, 9 * N) for l in (1, 2)},
        readout=gaussian(keys[3], C, positions * N, unit=True),
        scale=positions * N,
        gamma0=settings.gamma0,
    )


def classes_of(digits, outputs: int):
    """Class of digits (..., 3): the leading ones read as a decimal number."""
    return (digits * np.array([100, 10, 1])).sum(-1) // (1000 // outputs)


@functools.cache
def pictures():
    """(pixels (1797, 8, 8) of mean zero and unit mean square, classes, training
    indices, held-out indices).
    """
    digits = load_digits()
    pixels = digits.images - digits.images.mean(0)
    order = np.random.default_rng(0).permutation(len(pixels))
    return (
        (pixels / np.sqrt((pixels**2).mean())).astype(np.float32),
        digits.target,
        order[:1297],
        order[1297:],
    )


def make_task(settings: Settings) -> Task:
    pixels, target, training, testing = pictures()

    def compose(chosen):
        side_by_side = jnp.swapaxes(jnp.asarray(pixels)[chosen], -3, -2)
        return (
            side_by_side.reshape(len(chosen), -1),
            classes_of(jnp.asarray(target)[chosen], settings.outputs),
        )

    def draw(key):
        return compose(
            jnp.asarray(training)[
                jax.random.randint(key, (settings.batch, DIGITS), 0, len(training))
            ]
        )

    held_out = compose(
        testing[np.random.default_rng(1).integers(0, len(testing), (1000, DIGITS))]
    )
    return Task(network(settings), draw, held_out)


def provenance() -> dict:
    return dict(
        script="experiments/images.py", protocol="book/_data/outputs_protocol.md"
    )


DEFAULTS = dict(
    outputs=10,
    width=256,
    seed=0,
    loss="cross-entropy",
    optimizer="sgd",
    learning_rate=8.0,
    gamma0=2.0,
    steps=4096,
    batch=128,
)


def registered() -> list[Settings]:
    """The runs of book/_data/outputs_protocol.md."""
    mlp, cnn = (
        dict(DEFAULTS, network="mlp"),
        dict(DEFAULTS, network="cnn", width=64, steps=384, batch=64),
    )
    families = [
        (mlp, (10, 100, 1000)),
        (cnn, (10, 100, 1000)),
        (dict(mlp, loss="squared", learning_rate=2.0), (10, 100, 1000)),
        (dict(mlp, optimizer="adam", learning_rate=0.05), (10, 100, 1000)),
        *((dict(mlp, width=width), (10, 1000)) for width in (32, 64, 128)),
    ]
    return [
        Settings(**dict(family, outputs=C, seed=seed))
        for family, outputs in families
        for C in outputs
        for seed in range(3)
    ]


if __name__ == "__main__":
    trained.command_line(
        __doc__.split("\n")[0],
        DEFAULTS,
        ("mlp", "cnn"),
        registered(),
        make_task,
        "images",
        provenance,
    )
