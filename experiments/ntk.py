"""Neural tangent kernels of simulated deep linear networks, for chapter 9. Writes four
tables to book/_data.

ntk.csv              the largest eigenvalues at four sizes, and the Kolmogorov distance
                     of each network's spectrum from the predicted law: depths 1 and 2,
                     both parameterizations, early, at the escape, late
edge_of_stability    sharpness and loss at learning rates below and beyond the edge of
                     stability
hessian              the top eigenvalue of the Hessian of the loss, by Lanczos, beside
                     that of the kernel
ntk_again            other networks, drawn after the means of ntk.csv had left their
                     straight lines by more than chance allows: all four at the two
                     smallest sizes, and the one that bends most at the two largest,
                     before training and with twice as many seeds

The networks are trained by `dmftlib.simulate`, which knows nothing of the theory; the
law that the Kolmogorov distance is taken from is the theory's. Some minutes on two
cores: python -m experiments.ntk [ntk | edge_of_stability | hessian | ntk_again]
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import LinearOperator, eigsh

import dmftlib as dm
from dmftlib.simulations import deep_linear as plain
from experiments import protocol

SHARED = dict(
    sample_ratio=4.0, gamma0=4.0, init_variance=0.5, label_noise=0.2, steps=40
)
NETWORKS = {
    f"{parameterization} {layers}": dict(
        hidden_layers=layers,
        width_ratio=ratio,
        learning_rate=rate,
        parameterization=parameterization,
        **SHARED,
    )
    for parameterization, ratio in (("mup", 0.8), ("ntk", 0.5))
    for layers, rate in ((1, 0.05), (2, 0.04))
}
SIZES = (80, 160, 320, 640)  # D
EARLY, ESCAPE, LATE = AT = (
    0,
    6,
    40,
)  # at step 6 all have had an outlier for two or three steps
RATES = (0.06, 0.09, 0.11, 0.13, 0.16)  # of the network UNSTABLE
UNSTABLE = NETWORKS["mup 2"]
CYCLE = 0.11  # the rate at which it ends in a cycle of two steps


def seeds(dim):
    return 20_000 // dim


def cdf(spectrum, x, step):
    """Fraction of the eigenvalues at or below the ascending points x, the first of
    which is 0.
    """
    density = spectrum.density(x, step)
    zeros = max(0.0, 1 - 1 / spectrum.aspects[-1])
    return zeros + np.concatenate(
        [[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(x))]
    )


def measured(name, simulation, spectrum):
    """One row a seed."""
    top = {t: simulation.ntk_eigenvalues(t) for t in AT}
    columns = {
        f"{name}: edge at {EARLY}": top[EARLY][:, 0],
        f"{name}: leading mode at {ESCAPE}": top[ESCAPE][:, 0],
        f"{name}: leading mode at {LATE}": top[LATE][:, 0],
        f"{name}: edge at {LATE}": top[LATE][:, 1],
    }
    for t in AT:
        x = 1.2 * spectrum.edge[t] * np.sin(np.linspace(0, np.pi / 2, 2001)) ** 2
        law = cdf(spectrum, x, t)
        below = np.stack(
            [np.searchsorted(values[::-1], x + 1e-9) / len(values) for values in top[t]]
        )
        columns[f"{name}: Kolmogorov distance at {t}"] = np.abs(below - law).max(1)
    return pd.DataFrame(columns)


def four_sizes():
    solutions = {
        name: dm.solve(dm.DeepLinear(**setting)) for name, setting in NETWORKS.items()
    }
    samples = {}
    for dim in SIZES:
        runs = [
            measured(
                name,
                dm.simulate(
                    one.net, dim=dim, seeds=seeds(dim), seed=dim, spectra_at=AT
                ),
                one.ntk,
            )
            for name, one in solutions.items()
        ]
        samples[dim] = pd.concat(runs, axis=1)
        print(f"D = {dim}: {seeds(dim)} seeds")
    protocol.save(
        "ntk",
        protocol.summary(samples),
        script="experiments/ntk.py",
        networks=NETWORKS,
        sizes=SIZES,
        seeds=[seeds(dim) for dim in SIZES],
        at=AT,
    )


def again():
    small = {dim: _drawn_again(dim) for dim in SIZES[:2]}
    large = {dim: _untrained(dim) for dim in SIZES[2:]}
    protocol.save(
        "ntk_again",
        pd.concat([protocol.summary(small), protocol.summary(large)]),
        script="experiments/ntk.py ntk_again",
        networks=NETWORKS,
    )


def _drawn_again(dim):
    """Edges and leading modes of all networks, a row a seed."""
    columns = {}
    for i, (name, setting) in enumerate(NETWORKS.items()):
        run = dm.simulate(
            dm.DeepLinear(**setting),
            dim=dim,
            seeds=seeds(dim),
            seed=50_000 + 10 * dim + i,
            spectra_at=(EARLY, LATE),
            progress=False,
        )
        late = run.ntk_eigenvalues(LATE)
        columns[f"{name}: edge at {EARLY}"] = run.ntk_eigenvalues(EARLY)[:, 0]
        columns[f"{name}: edge at {LATE}"] = late[:, 1]
        columns[f"{name}: leading mode at {LATE}"] = late[:, 0]
    return pd.DataFrame(columns)


def _untrained(dim, name="mup 2"):
    run = dm.simulate(
        dm.DeepLinear(**NETWORKS[name] | dict(steps=1)),
        dim=dim,
        seeds=2 * seeds(dim),
        seed=60_000 + 10 * dim,
        spectra_at=(EARLY,),
        progress=False,
    )
    return pd.DataFrame({f"{name}: edge at {EARLY}": run.ntk_eigenvalues(EARLY)[:, 0]})


def edge_of_stability(dim=400, count=8):
    rows, every = [], (0, 2, 4, 6, 8, 10, 12, 14, 16, 20, 25, 30, 40)
    for rate in RATES:
        net = dm.DeepLinear(**{**UNSTABLE, "learning_rate": rate})
        simulation = dm.simulate(net, dim=dim, seeds=count, seed=5, spectra_at=every)
        for t in every:
            for quantity, values in (
                ("train_loss", simulation.train_loss[:, t]),
                ("sharpness", simulation.ntk_eigenvalues(t)[:, 0]),
            ):
                rows.append(
                    dict(
                        learning_rate=rate,
                        step=t,
                        quantity=quantity,
                        mean=values.mean(),
                        standard_error=values.std(ddof=1) / np.sqrt(count),
                        least=values.min(),
                        largest=values.max(),
                    )
                )
        print("learning rate", rate)
    protocol.save(
        "edge_of_stability",
        pd.DataFrame(rows),
        script="experiments/ntk.py",
        network=UNSTABLE,
        dim=dim,
        seeds=count,
        seed=5,
    )


def top_of_hessian(net, weights, X, y):
    """Largest eigenvalue of the Hessian of the loss (1/2P) sum Delta^2, in the units of
    the kernel.
    """
    flat, unflatten = ravel_pytree(weights)
    gradient = jax.grad(
        lambda flat: plain.loss(plain.predictor(net, unflatten(flat))[1], X, y)
    )
    product = jax.jit(lambda v: jax.jvp(gradient, (flat,), (v,))[1])
    operator = LinearOperator(
        (len(flat),) * 2, matvec=lambda v: np.asarray(product(v.ravel())), dtype=float
    )
    start = np.random.default_rng(0).standard_normal(len(flat))
    value = eigsh(
        operator, k=1, which="LA", v0=start, tol=1e-6, return_eigenvectors=False
    )[0]
    return value * float(plain.gamma(net, weights)) ** 2 * X.shape[1]


def hessian(dim=160, count=4):
    """Below the edge of stability as training goes on, and in both phases of the cycle
    beyond it.
    """
    settling, cycling = (0, 2, 4, 6, 8, 12, 20, 40), (37, 38, 39, 40)
    rows = _hessians(UNSTABLE, dim, count, settling)
    rows += _hessians(UNSTABLE | dict(learning_rate=CYCLE), dim, count, cycling)
    protocol.save(
        "hessian",
        pd.DataFrame(rows),
        script="experiments/ntk.py",
        network=UNSTABLE,
        dim=dim,
    )


def _hessians(numbers, dim, count, every):
    net = dm.DeepLinear(**numbers)
    rows = []
    for seed in range(count):
        rng = np.random.default_rng([7, seed])
        weights, beta, X, y = plain.start(
            net,
            plain.Sizes(
                dim, round(net.width_ratio * dim), round(net.sample_ratio * dim)
            ),
            rng,
        )
        weights = [jnp.asarray(W) for W in weights]
        rate = net.learning_rate * plain.gamma(net, weights) ** 2 * dim
        step = jax.jit(
            jax.grad(
                lambda weights, X=X, y=y: plain.loss(
                    plain.predictor(net, weights)[1], X, y
                )
            )
        )
        for t in range(net.steps + 1):
            if t in every:
                kernel = plain.ntk_eigenvalues(
                    [np.asarray(W)[None] for W in weights], X[None]
                )[0, 0]
                rows.append(
                    dict(
                        learning_rate=net.learning_rate,
                        seed=seed,
                        step=t,
                        kernel=kernel,
                        hessian=top_of_hessian(net, weights, X, y),
                    )
                )
            weights = [
                W - rate * dW for W, dW in zip(weights, step(weights), strict=True)
            ]
        print("Hessian, rate", net.learning_rate, "seed", seed)
    return rows


if __name__ == "__main__":
    parts = dict(ntk=four_sizes, edge_of_stability=edge_of_stability, hessian=hessian)
    parts["ntk_again"] = again
    for name in sys.argv[1:] or parts:
        parts[name]()
