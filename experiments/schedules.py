"""The best rates for sixteen steps, found by gradient descent through the theory of
training, and what networks of many sizes make of them. For chapter 13.

Four descents on the final test loss of a deep linear network: one rate; a rate for each
layer; a rate for each step; and a rate for each step that stops where the sharpness of
the training first reaches what a rate bears. The first stops 0.00003 of loss above the
best single rate (a slope of 0.0034 and a curvature of 0.2 in the logarithm of the
rate); the others begin there. The networks are sampled in coordinates, exactly in law
at any size, with the same random numbers for each schedule.

Writes book/_data/schedules.csv (the rates, step by step, and what the theory says) and
book/_data/schedules_obeyed.csv (final test losses of networks):
python -m experiments.schedules best obeyed
"""

import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd

import dmftlib as dm
from experiments import protocol

STEPS = 16
BASE = dm.DeepLinear(
    hidden_layers=2,
    width_ratio=0.8,
    sample_ratio=1.5,
    gamma0=4.0,
    init_variance=0.5,
    label_noise=0.2,
    learning_rate=0.05,
    steps=STEPS,
)
ONE, LAYERS = "one rate", "a rate for each layer"
FREE, BELOW = "a rate for each step", "a rate for each step, below the edge"
NAMES = (ONE, LAYERS, FREE, BELOW)
SIZES = (150, 300, 1_000, 10_000, 10**6)  # D
SEEDS, SEED = 64, 3
WAY = {"rates": np.full(STEPS, np.log(0.05)), "layers": np.zeros(3)}


def network(numbers):
    """Trained at a rate for each step and a factor for each layer, all positive."""
    rates = jnp.exp(numbers["rates"]) * jnp.ones(STEPS)
    return replace(BASE, learning_rate=rates, layer_rates=jnp.exp(numbers["layers"]))


@jax.jit
@jax.value_and_grad
def final_loss(numbers):
    return dm.solve(network(numbers), throw=False).test_loss[-1]


def over_the_edge(numbers):
    """The largest sharpness of the training over what the rate of its step bears."""
    solved = dm.solve(network(numbers), throw=False)
    share = solved.sharpness / solved.sharpness_limit
    return float(share[:STEPS].max())


def descent(free, numbers, steps, rate=0.1):
    """Adam on the final test loss, through the theory of training: all numbers that it
    passes.
    """
    adam = optax.adam(rate)
    state = adam.init(numbers)
    passed = [numbers]
    for _ in range(steps):
        slope = final_loss(numbers)[1]
        if "rates" not in free:
            slope["rates"] = jnp.full(STEPS, slope["rates"].mean())
        if "layers" not in free:
            slope["layers"] = jnp.zeros(3)
        change, state = adam.update(slope, state)
        numbers = optax.apply_updates(numbers, change)
        passed.append(numbers)
    return passed


def up_to_the_edge(passed):
    """The last of these before the sharpness reaches what a rate bears: by bisection."""
    below, above = 0, len(passed) - 1
    if over_the_edge(passed[above]) <= 1:
        return passed[above]
    while above - below > 1:
        between = (below + above) // 2
        if over_the_edge(passed[between]) <= 1:
            below = between
        else:
            above = between
    return passed[below]


def best():
    """{name: numbers} of the four descents."""
    start = jax.tree.map(jnp.asarray, WAY)
    one = descent((), start, 30)[-1]
    return {
        ONE: one,
        LAYERS: descent(("layers",), one, 60)[-1],
        FREE: descent(("rates",), one, 60)[-1],
        BELOW: up_to_the_edge(descent(("rates",), one, 60, rate=0.02)),
    }


def tabulated(found):
    """A row a step of each schedule."""
    rows = []
    for name, numbers in found.items():
        loss = float(final_loss(numbers)[0])
        sharpest = over_the_edge(numbers)
        factors = np.exp(np.asarray(numbers["layers"]))
        for t, rate in enumerate(np.exp(np.asarray(numbers["rates"]))):
            row = dict(name=name, step=t, rate=rate)
            row |= {f"factor {layer}": each for layer, each in enumerate(factors)}
            rows.append(row | dict(theory=loss, over_the_edge=sharpest))
    return pd.DataFrame(rows)


def stored():
    """What `best` has found, read back."""
    table = protocol.load("schedules")
    found = {}
    for name, rows in table.groupby("name", sort=False):
        factors = rows.filter(like="factor").iloc[0].to_numpy()
        found[name] = {
            "rates": jnp.log(jnp.asarray(rows.rate.to_numpy())),
            "layers": jnp.log(jnp.asarray(factors)),
        }
    return found


def simulated(net, dim, seeds=SEEDS):
    """Test losses, (seeds, steps+1)."""
    run = dm.simulate(
        net,
        dim=dim,
        seeds=seeds,
        seed=SEED,
        method="coordinates",
        ntk=False,
        progress=False,
    )
    return run.test_loss


def obeyed():
    """Final test losses at every size, and by how much they are below those of the best
    single rate, network by network.
    """
    rows = []
    found = stored()
    for dim in SIZES:
        losses = {n: simulated(network(x), dim) for n, x in found.items()}
        for name, each in losses.items():
            gain = losses[ONE][:, -1] - each[:, -1]
            row = dict(name=name, D=dim, seeds=SEEDS, mean=each[:, -1].mean())
            row["standard_error"] = each[:, -1].std(ddof=1) / SEEDS**0.5
            row["gain"] = gain.mean()
            row["error_of_gain"] = gain.std(ddof=1) / SEEDS**0.5
            rows.append(row)
            print(row, flush=True)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    if "best" in sys.argv:
        table = tabulated(best())
        print(table.groupby("name", sort=False).first())
        protocol.save("schedules", table, script="experiments/schedules.py")
    if "obeyed" in sys.argv:
        note = dict(script="experiments/schedules.py", sizes=SIZES, seeds=SEEDS)
        protocol.save("schedules_obeyed", obeyed(), **note)
