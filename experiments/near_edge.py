"""Outliers within one percent of the bulk edge, which the protocol of chapter 7 misses:
three looks, taken afterwards.

    python -m experiments.near_edge [part ...]     parts: control plain exact

The network is "relu 3, three outputs, SGD" of experiments/nonlinear.py after its last step.

plain     the network at widths up to eight times those of the protocol, its gradients
          written out in NumPy: no code in common with the theory. Settled, by the
          protocol's own rule, if the means over the four widths, extrapolated linearly
          in 1/N, agree with theory within three standard errors (both sides', corrected
          for two rows; the table of chapter 7 leaves out the theory's, 0.0002, and so
          is stricter)
control   matrices with one independent spike, whose outlier is known in closed form and
          put where theory puts that of the network, at the same widths and with as many
          seeds: what the largest singular value does so close to the edge, and what the
          same extrapolation makes of it
exact     the network at larger widths, without its matrices (`simulate(...,
          matrix_free=True)`); its outliers are read with level 2 of the theory, so this
          is no independent check of that

Writes book/_data/near_edge.csv, the parts not run as they were.
"""

import sys

import numpy as np
import pandas as pd
from scipy.sparse.linalg import svds
from tqdm import tqdm

import dmftlib as dm
from experiments import nonlinear, protocol

NAME = "relu 3, three outputs, SGD"
EXACT = {512: 100, 2048: 40, 16384: 12}  # seeds of each width
PLAIN = {512: 1280, 1024: 640, 2048: 320, 4096: 80}


def row(part, layer, N, theory, values):
    return dict(
        part=part,
        layer=layer,
        N=N,
        seeds=len(values),
        theory=theory,
        mean=np.mean(values),
        standard_error=np.std(values, ddof=1) / np.sqrt(len(values)),
        spread=np.std(values, ddof=1),
    )


def largest(M):
    return svds(M, k=1, return_singular_vectors=False, tol=1e-6, rng=0)[0]


def control(theory):
    for N, seeds in PLAIN.items():
        for layer, s in theory.items():
            strength, top = (s + np.sqrt(s**2 - 4)) / 2, []
            for seed in tqdm(range(seeds), desc=f"control, N = {N}"):
                rng = np.random.default_rng([layer, N, seed])
                u, v = (x / np.linalg.norm(x) for x in rng.standard_normal((2, N)))
                top.append(
                    largest(
                        rng.standard_normal((N, N)) / np.sqrt(N)
                        + strength * np.outer(u, v)
                    )
                )
            yield row("control", layer, N, s, top)


def trained(net, N, rng):
    """The raw weights W^0, W^1, W^2 of one ReLU network after its last step, with
    gradients by hand.
    """
    x, y = np.asarray(net.inputs), np.asarray(net.targets)
    W = [rng.standard_normal((N, n)) for n in (x.shape[1], N, N)]
    w, rate = (
        rng.standard_normal((y.shape[1], N)),
        net.learning_rate * net.gamma0**2 * N,
    )
    for weights in np.asarray(net.sample_weights()):
        h, phi = [], [x]
        for M in W:
            h.append(phi[-1] @ M.T / np.sqrt(M.shape[1]))
            phi.append(np.maximum(h[-1], 0))
        f = phi[-1] @ w.T / (net.gamma0 * N)
        pull = (
            weights[:, None] * (y - f) / (net.gamma0 * N)
        )  # minus the derivative of the loss by w phi
        g, w = pull @ w, w + rate * pull.T @ phi[-1]
        for l in reversed(range(len(W))):
            g, fan_in = g * (h[l] > 0), W[l].shape[1]
            before = g @ W[l] / np.sqrt(fan_in)
            W[l] += rate / np.sqrt(fan_in) * g.T @ phi[l]
            g = before
    return W


def plain(theory):
    net = nonlinear.network(NAME)
    for N, seeds in PLAIN.items():
        top = []
        for seed in tqdm(range(seeds), desc=f"plain, N = {N}"):
            W = trained(net, N, np.random.default_rng([N, seed]))
            top.append([largest(W[layer] / np.sqrt(N)) for layer in theory])
        for (layer, s), values in zip(theory.items(), np.transpose(top), strict=True):
            yield row("plain", layer, N, s, values)


def exact(theory):
    for N, seeds in EXACT.items():
        networks = dm.simulate(
            nonlinear.network(NAME),
            width=N,
            seeds=seeds,
            seed=3,
            spectra_at=(nonlinear.STEPS,),
            matrix_free=True,
        )
        for layer, s in theory.items():
            values = networks.singular_values(layer, nonlinear.STEPS)[:, 0]
            yield row("exact", layer, N, s, np.where(np.isfinite(values), values, 2.0))


PARTS = {"control": control, "plain": plain, "exact": exact}

if __name__ == "__main__":
    parts = sys.argv[1:] or list(PARTS)
    verdicts = (
        protocol.load("nonlinear_theory")
        .query("which == 'theory'")
        .set_index("quantity")
        .theory
    )
    theory = {
        layer: float(verdicts[nonlinear.outlier(NAME, layer)]) for layer in (1, 2)
    }
    file = protocol.DATA / "near_edge.csv"
    old = (
        protocol.load("near_edge").query("part not in @parts")
        if file.exists()
        else None
    )
    for part in parts:
        old = pd.concat([old, pd.DataFrame(PARTS[part](theory))], ignore_index=True)
        protocol.save(
            "near_edge",
            old,
            script="experiments/near_edge.py",
            network=NAME,
            exact=EXACT,
            plain=PLAIN,
        )
