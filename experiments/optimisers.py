"""Momentum, weight decay, schedules, and rates and variances per layer: the theory of
deep linear and of nonlinear networks beside simulation at four sizes.

Three optimisers each: momentum .9; decay that shrinks the bulk below .3 of its start;
and everything at once (Nesterov's momentum, decay, a schedule with warm-up, unequal
rates and variances). Losses at two steps, and the largest singular value of every
matrix at two more. Beside the theory, theories broken on purpose: momentum without a
buffer, at a rate that is larger by 1/(1 - momentum); decay that forgets M(0); decay
outside the buffer.

The networks are trained by `dmftlib.simulate`: raw weights, gradients by automatic
differentiation, optax, singular values by LAPACK. Writes book/_data/optimisers.csv
(simulation) and book/_data/optimisers_theory.csv (the theories, right and wrong):
python -m experiments.optimisers simulation theory
"""

import contextlib
import dataclasses
import sys
from unittest import mock

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import dmftlib as dm
from dmftlib.spectra.outliers import outliers_by_step
from dmftlib.training.descent import Descent, Updated
from experiments import protocol

STEPS = 24
LOSSES_AT, SPECTRA_AT = (10, 24), (14, 24)
SIZES = (48, 96, 192, 384)  # D of DeepLinear, N of Nonlinear
SAMPLES = 8_192
WARM_UP = np.concatenate([np.linspace(0.0, 1.0, 6), np.linspace(1.0, 0.3, 18)])
INPUTS = np.array(
    [[1.2, -0.4, 0.7, 0.3], [-0.6, 1.1, 0.2, -0.9], [0.3, 0.8, -1.3, 0.5]]
)
EVERYTHING = dict(
    momentum=0.6,
    nesterov=True,
    layer_rates=[0.5, 1.5, 0.8],
)
DEEP = dict(
    hidden_layers=2,
    width_ratio=0.8,
    sample_ratio=1.5,
    gamma0=3.0,
    label_noise=0.2,
    steps=STEPS,
)
TANH = dict(
    inputs=INPUTS,
    targets=[1.0, -1.0, 0.5],
    hidden_layers=2,
    gamma0=3.0,
    steps=STEPS,
)
CASES = {
    "linear, momentum": dict(
        DEEP, init_variance=0.5, learning_rate=0.006, momentum=0.9
    ),
    "linear, decay": dict(
        DEEP, init_variance=0.5, learning_rate=0.03, weight_decay=2.0
    ),
    "linear, everything": dict(
        DEEP,
        **EVERYTHING,
        init_variance=[0.6, 0.4, 0.8],
        learning_rate=0.04 * WARM_UP,
        weight_decay=0.8,
    ),
    "tanh, momentum": dict(TANH, learning_rate=0.06, momentum=0.9),
    "tanh, decay": dict(TANH, learning_rate=0.4, weight_decay=0.15),
    "tanh, everything": dict(
        TANH,
        **EVERYTHING,
        init_variance=[1.0, 0.6, 1.3],
        learning_rate=0.3 * WARM_UP,
        weight_decay=0.1,
    ),
}


def seeds(size):
    return 9_600 // size


def network(name, **changes):
    kind = dm.DeepLinear if name.startswith("linear") else dm.Nonlinear
    return kind(**{**CASES[name], **changes})


def matrices(net):
    """The numbers of those that have a bulk."""
    return range(int(isinstance(net, dm.Nonlinear)), net.hidden_layers)


def named(name, net, loss, top):
    """{quantity: loss(t) or top(layer, t)}."""
    found = {f"{name}: train loss at {t}": loss(t) for t in LOSSES_AT}
    return found | {
        f"{name}: outlier of W^{layer} at {t}": top(layer, t)
        for layer in matrices(net)
        for t in SPECTRA_AT
    }


def simulated(name, size):
    """A row a seed."""
    net = network(name)
    deep = isinstance(net, dm.DeepLinear)
    options = dict(dim=size, ntk=False) if deep else dict(width=size)
    run = dm.simulate(
        net,
        seeds=seeds(size),
        seed=size,
        spectra_at=SPECTRA_AT,
        progress=False,
        **options,
    )
    return pd.DataFrame(
        named(
            name,
            net,
            lambda t: run.train_loss[:, t],
            lambda layer, t: run.singular_values(layer, t)[:, 0],
        )
    )


def solved(net):
    if isinstance(net, dm.DeepLinear):
        return dm.solve(net)
    return dm.solve(net, samples=SAMPLES, batches=8)


def values(solution, name, with_scale=True):
    """The numbers of a theory; where it has no outlier, the edge."""

    def top(layer, t):
        history = solution.weight_history(layer)
        edge = solution.bulk(layer, t).upper_end
        if not with_scale:
            ones = jnp.ones_like(history.scale)
            history = eqx.tree_at(lambda h: h.scale, history, ones)
            edge = solution.bulk(layer, 0).upper_end
        found = outliers_by_step(history, t, 1).values[0]
        return jnp.where(jnp.isfinite(found), found, edge)

    return named(name, solution.net, lambda t: solution.train_loss[t], top)


def theory(name, **changes):
    """{quantity: number}, and standard errors."""
    solution = solved(network(name, **changes))
    found = values(solution, name)
    errors = dict.fromkeys(found, 0.0)
    if hasattr(solution, "standard_error"):
        spread = solution.standard_error(
            lambda s: jnp.stack([jnp.asarray(v) for v in values(s, name).values()])
        )
        errors = dict(zip(found, map(float, spread), strict=True))
    return {quantity: float(v) for quantity, v in found.items()}, errors


def without_buffer(name):
    mu = CASES[name].get("momentum", 0.0)
    rate = CASES[name]["learning_rate"] / (1 - mu)
    return theory(name, momentum=0.0, nesterov=False, learning_rate=rate)


def forgetting_the_start(name):
    """Decay acts on what training has added, and M(0) stays."""
    solution = solved(network(name))
    found = values(solution, name, with_scale=False)
    found = {q: float(v) for q, v in found.items() if "outlier" in q}
    return found, dict.fromkeys(found, 0.0)


@contextlib.contextmanager
def decay_outside_the_buffer():
    """W <- W + eta buffer - eta lam W, as in AdamW."""
    right = Descent.update

    def update(self, t, weights, buffer, direction):
        free = dataclasses.replace(self, weight_decay=None)
        moved = right(free, t, weights, buffer, direction)
        shrink = jnp.asarray(self.rates)[t] * self.weight_decay
        update = jax.tree.map(lambda u, w: u - shrink * w, moved.update, weights)
        return Updated(update, moved.buffer)

    jax.clear_caches()
    with mock.patch.object(Descent, "update", update):
        yield
    jax.clear_caches()


def verdict(table, expected):
    """`protocol.judge` on a theory, columns quantity, theory, theory_standard_error,
    with its standard error added to that of the simulation.
    """
    values, errors = (
        dict(zip(expected.quantity, expected[name], strict=True))
        for name in ("theory", "theory_standard_error")
    )
    return protocol.judge(table, values, theory_error=errors)


def summarised(judged):
    """In one line."""
    rejected = (~judged.agrees).sum()
    largest = judged.z.abs().max()
    square = (judged.z**2).mean()
    return (
        f"{rejected} of {len(judged)} rows rejected, largest |z| {largest:.1f}, "
        f"mean z^2 {square:.2f}"
    )


def all_theories():
    """Right and wrong, by name; the wrong ones of the cases that they are wrong in."""
    with_momentum = [name for name in CASES if "decay" not in name]
    with_decay = [name for name in CASES if "momentum" not in name]
    both = [name for name in CASES if "everything" in name]
    found = {
        "theory": [theory(name) for name in CASES],
        "no buffer": [without_buffer(name) for name in with_momentum],
        "M(0) does not decay": [forgetting_the_start(name) for name in with_decay],
    }
    with decay_outside_the_buffer():
        found["decay outside the buffer"] = [theory(name) for name in both]
    return found


def tabulated(theories):
    """One row a quantity of each theory."""
    rows = [
        dict(
            which=which,
            quantity=quantity,
            theory=number,
            theory_standard_error=errors[quantity],
        )
        for which, found in theories.items()
        for numbers, errors in found
        for quantity, number in numbers.items()
    ]
    return pd.DataFrame(rows)


def simulation():
    """The small table of all cases at all sizes."""
    samples = {}
    for size in SIZES:
        samples[size] = pd.concat([simulated(name, size) for name in CASES], axis=1)
        print(f"{size}: {seeds(size)} seeds", flush=True)
    return protocol.summary(samples)


PROVENANCE = dict(
    script="experiments/optimisers.py",
    cases={
        name: {key: np.asarray(value).tolist() for key, value in case.items()}
        for name, case in CASES.items()
    },
    sizes=SIZES,
    seeds=[seeds(size) for size in SIZES],
    samples=SAMPLES,
)


if __name__ == "__main__":
    if "simulation" in sys.argv:
        protocol.save("optimisers", simulation(), **PROVENANCE)
    if "theory" in sys.argv:
        protocol.save("optimisers_theory", tabulated(all_theories()), **PROVENANCE)
    table = protocol.load("optimisers")
    for which, expected in protocol.load("optimisers_theory").groupby("which"):
        print(f"{which}: {summarised(verdict(table, expected))}")
