"""Six handwritten digits learnt by networks of four widths, for chapter 5.

Two hidden layers of erf, twenty steps at gamma0 = 2. The networks have raw weights and
gradients by automatic differentiation; theory is the mean over so many neurons that its
error is less than theirs. Writes to book/_data (some ten minutes on a core)

digits          the networks, at the steps at which the chapter draws them
digits_curves   the theory, at the same steps
digits_theory   the verdicts at three steps, also on a theory broken on purpose

    python -m experiments.digits
"""

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

import dmftlib as dm
from experiments import protocol

SIZES = (64, 128, 256, 512)
AT_ONCE = 64  # networks simulated together
BATCHES, NEURONS = 64, 1024  # of the theory
DRAWN = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20)  # steps
QUANTITIES = {
    "output, training image": lambda f, Phi, G: f[..., 0],
    "output, second training image": lambda f, Phi, G: f[..., 3],
    "output, second test image": lambda f, Phi, G: f[..., 6],
    "output, test image": lambda f, Phi, G: f[..., 9],
    "feature kernel, diagonal": lambda f, Phi, G: Phi[..., 0, 0],
    "feature kernel, same class": lambda f, Phi, G: Phi[..., 0, 2],
    "feature kernel, different": lambda f, Phi, G: Phi[..., 1, 3],
    "gradient kernel, diagonal": lambda f, Phi, G: G[..., 0, 0],
    "gradient kernel, same class": lambda f, Phi, G: G[..., 0, 2],
    "gradient kernel, different": lambda f, Phi, G: G[..., 1, 3],
}
JUDGED = [
    f"{name}, step {t}"
    for name in (
        "output, training image",
        "output, test image",
        "feature kernel, same class",
        "feature kernel, different",
        "gradient kernel, diagonal",
        "gradient kernel, same class",
    )
    for t in (3, 8, 20)
]


def seeds(width):
    return 65536 // width


def named(f, Phi, G) -> pd.DataFrame:
    """A row for each network: f (networks, steps+1, images), Phi and G (networks,
    steps+1, P, P) of the last layer; every quantity at every step that is drawn.
    """
    return pd.DataFrame(
        {
            f"{name}, step {t}": quantity(f, Phi, G)[:, t]
            for name, quantity in QUANTITIES.items()
            for t in DRAWN
        }
    )


def of_networks(sim) -> pd.DataFrame:
    """The same of the networks of `dmftlib.simulate`."""
    f = np.concatenate([sim.predictions, sim.test_predictions], 2)[..., 0]
    G = np.asarray(sim.gradient_kernel(2))[:, :, :, 0, :, 0]
    return named(f, np.asarray(sim.feature_kernel(2)), G)


def of_solution(solution) -> pd.DataFrame:
    """One row."""
    f = np.concatenate([solution.predictions, solution.test_predictions], 1)[..., 0]
    G = np.asarray(solution.gradient_kernel(2))[:, :, 0, :, 0]
    every = (f, np.asarray(solution.feature_kernel(2)), G)
    return named(*(values[None] for values in every))


def network(init_variance=1.0) -> dm.Nonlinear:
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
        init_variance=init_variance,
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


def theory(init_variance=1.0) -> pd.DataFrame:
    """Every quantity and its standard error, over independent batches of neurons."""
    solution = dm.solve(
        network(init_variance), samples=BATCHES * NEURONS, batches=BATCHES, rank=160
    )
    value = of_solution(solution)
    own = solution.standard_error(lambda part: of_solution(part).to_numpy())
    return pd.DataFrame(
        dict(
            quantity=value.columns,
            theory=value.to_numpy()[0],
            theory_standard_error=np.asarray(own)[0],
        )
    )


def judged(table, said, batches=BATCHES) -> pd.DataFrame:
    """`protocol.judge` of the rows of the test; `said` as `theory` returns it."""
    known = said.set_index("quantity").loc[JUDGED]
    return protocol.judge(
        table,
        known.theory.to_dict(),
        theory_error=known.theory_standard_error.to_dict(),
        batches=batches,
    )


if __name__ == "__main__":
    provenance = dict(
        script="experiments/digits.py",
        sizes=SIZES,
        seeds=[seeds(width) for width in SIZES],
        batches=BATCHES,
        neurons=NEURONS,
    )
    said = {"theory": theory(), "variance 5% larger": theory(1.05)}
    protocol.save("digits_curves", said["theory"], **provenance)
    net = network()
    table = protocol.summary({width: simulated(net, width) for width in SIZES})
    protocol.save("digits", table, **provenance)
    verdicts = [judged(table, one).assign(which=which) for which, one in said.items()]
    protocol.save("digits_theory", pd.concat(verdicts), **provenance)
