"""Six handwritten digits learnt by networks of four widths, for chapter 5.

Two hidden layers of erf, twenty steps at gamma0 = 2: raw weights, gradients by
automatic differentiation. Writes book/_data/digits.csv (some minutes on two cores):

    python -m experiments.digits
"""

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

import dmftlib as dm
from experiments import protocol

WIDTHS = (64, 128, 256, 512)
AT_ONCE = 64  # networks simulated together
TIMES = (3, 8, 20)
QUANTITIES = {
    "output, training image": lambda f, Phi, G: f[..., 0],
    "output, test image": lambda f, Phi, G: f[..., 9],
    "feature kernel, same class": lambda f, Phi, G: Phi[..., 0, 2],
    "feature kernel, different": lambda f, Phi, G: Phi[..., 1, 3],
    "gradient kernel, diagonal": lambda f, Phi, G: G[..., 0, 0],
    "gradient kernel, same class": lambda f, Phi, G: G[..., 0, 2],
}


def seeds(width):
    return 65536 // width


def named(f, Phi, G) -> pd.DataFrame:
    """A row for each network: f (networks, steps+1, images), Phi and G (networks,
    steps+1, P, P) of the last layer; every quantity at every time.
    """
    return pd.DataFrame(
        {
            f"{name}, step {t}": quantity(f, Phi, G)[:, t]
            for name, quantity in QUANTITIES.items()
            for t in TIMES
        }
    )


def of_networks(sim) -> pd.DataFrame:
    """The same of the networks of `dmftlib.simulate`."""
    f = np.concatenate([sim.predictions, sim.test_predictions], 2)[..., 0]
    G = np.asarray(sim.gradient_kernel(2))[:, :, :, 0, :, 0]
    return named(f, np.asarray(sim.feature_kernel(2)), G)


def network() -> dm.Nonlinear:
    """Three threes and three eights to learn, as many to be tested on."""
    images, labels = load_digits(return_X_y=True)
    images = images - images.mean(0)
    images *= np.sqrt(64 / np.sum(images**2, 1, keepdims=True))
    every = {digit: np.flatnonzero(labels == digit) for digit in (3, 8)}
    seen = np.concatenate([every[digit][:3] for digit in (3, 8)])
    new = np.concatenate([every[digit][10:13] for digit in (3, 8)])
    return dm.Nonlinear(
        inputs=images[seen],
        targets=np.where(labels[seen] == 3, 1.0, -1.0),
        test_inputs=images[new],
        test_targets=np.where(labels[new] == 3, 1.0, -1.0),
        hidden_layers=2,
        activation="erf",
        learning_rate=0.8,
        steps=20,
        gamma0=2.0,
    )


def simulated(net, width) -> pd.DataFrame:
    """All networks of one width."""
    parts = [
        dm.simulate(
            net, width=width, seeds=AT_ONCE, seed=1000 * width + part, progress=False
        )
        for part in range(seeds(width) // AT_ONCE)
    ]
    print(f"N = {width}: {AT_ONCE * len(parts)} networks", flush=True)
    return pd.concat(map(of_networks, parts), ignore_index=True)


if __name__ == "__main__":
    net = network()
    table = protocol.summary({width: simulated(net, width) for width in WIDTHS})
    protocol.save(
        "digits",
        table,
        script="experiments/digits.py",
        sizes=WIDTHS,
        seeds=[seeds(width) for width in WIDTHS],
    )
