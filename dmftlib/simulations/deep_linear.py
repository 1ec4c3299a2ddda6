"""The same networks at finite size: raw weights, gradients by automatic differentiation, many seeds.

Nothing here knows the theory: this is what the theory is checked against.
"""

import collections
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.linalg import svds
from tqdm import tqdm

from .. import checks
from ..networks import DeepLinear

_NUMBERS_AT_ONCE = 2_000_000  # seeds trained together share about this many weights and inputs


@dataclasses.dataclass(frozen=True)
class Simulation:
    """Trained networks: every array has a first axis of seeds, entry t after t updates.

    train_loss, test_loss           (seeds, steps+1)
    predictor_norm, alignment       (seeds, steps+1)  |p|^2/D and beta.p/D of the linear predictor p
    """

    net: DeepLinear
    dim: int
    train_loss: np.ndarray
    test_loss: np.ndarray
    predictor_norm: np.ndarray
    alignment: np.ndarray
    spectra_at: tuple
    recorded_overlaps: int
    spectra: dict = dataclasses.field(repr=False)

    def _recorded(self, kind, step):
        if step not in self.spectra_at:
            checks.fail("step", step, f"one of spectra_at = {self.spectra_at}")
        if kind not in self.spectra:
            checks.fail(kind.split()[0], "not recorded", "simulate(..., overlaps=k) or ntk=True")
        return self.spectra[kind][step]

    def singular_values(self, layer: int, step: int) -> np.ndarray:
        """Singular values of W^layer / sqrt(fan_in) after `step` updates, descending: (seeds, min(n, m))."""
        return self._recorded(f"values {self.net.layer(layer)}", step)

    def overlaps(self, layer: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Squared cosines of the leading singular vectors, left with each g_j and right with each h_j:
        (seeds, k, steps), for the number k of `overlaps` that the simulation was asked for."""
        return self._recorded(f"overlaps {self.net.layer(layer)}", step)

    def ntk_eigenvalues(self, step: int) -> np.ndarray:
        """Eigenvalues of the neural tangent kernel, K = (D gamma^2 / P) sum over parameters of df df^T: (seeds, P).

        In these units Delta(t+1) = (1 - learning_rate K) Delta(t) to first order in the learning rate.
        """
        return self._recorded("ntk", step)


def simulate_deep_linear(net: DeepLinear, dim: int = 1000, seeds: int = 8, seed: int = 0, spectra_at=(),
                         overlaps: int = 0, ntk: bool = True, progress: bool = True,
                         leading: int = 0) -> Simulation:  # fmt: skip
    """Train `seeds` networks of input dimension `dim`, each on its own data from its own start.

    Width and samples are `dim` times the ratios of `net`, rounded. Singular values and NTK eigenvalues (unless `ntk` is
    False) are recorded at the steps `spectra_at`, with the overlaps of the leading `overlaps` singular vectors; with
    `leading` only so many singular values, by Lanczos iteration, which is quicker for wide networks. Seeds are trained
    a few at a time, so that memory stays that of a few networks. The same `seed` gives the same numbers.
    A bar on stderr shows the progress of runs longer than a few seconds.

    Raises ValueError for sizes below 1.

    >>> net = DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=5)
    >>> simulate_deep_linear(net, dim=50, seeds=3, spectra_at=(0, 5)).singular_values(layer=0, step=5).shape
    (3, 50)
    """
    dim = checks.integer("dim", dim, 1)
    checks.integer("overlaps", overlaps, 0)
    checks.integer("leading", leading, 0)
    width, samples = round(net.width_ratio * dim), round(net.sample_ratio * dim)
    for name, size in (("width_ratio", width), ("sample_ratio", samples)):
        checks.integer(f"dim * {name}", size, 1)
    numbers = dim * (width + samples) + (net.hidden_layers - 1) * width**2
    checks.memory("dim", dim, 32.0 * (numbers + seeds * (net.steps + 1)), "a smaller dim, fewer seeds")
    at_once = max(1, _NUMBERS_AT_ONCE // numbers)
    batches = -(-seeds // at_once)
    at_once = -(-seeds // batches)  # of equal size, so that one compilation serves all; the surplus is cut off
    rngs = [[np.random.default_rng([seed, i * at_once + j]) for j in range(at_once)] for i in range(batches)]
    with tqdm(total=batches * (net.steps + 1), desc=f"simulating D = {dim}", delay=10, disable=not progress) as bar:
        parts = [_train(net, dim, width, samples, rngs[i], spectra_at, (overlaps, leading, ntk), bar)
                 for i in range(batches)]
    joined = jax.tree.map(lambda *arrays: np.concatenate(arrays)[:seeds], *parts)
    return Simulation(net, dim, *joined[0], spectra_at, overlaps, dict(joined[1]))


def predictor(net: DeepLinear, weights):
    """g^L = w, g^l = M_l^T g^{l+1} down to g^0, and p with f(x) = p.x/sqrt(D), from raw weights (W^0 ..., w)."""
    *matrices, w = weights
    g = [w]
    for W in reversed(matrices):
        g.append(W.T @ g[-1] / jnp.sqrt(W.shape[1]))
    return g, g[-1] * jnp.sqrt(len(g[-1]) / len(w)) / gamma(net, weights)


def gamma(net: DeepLinear, weights):
    width, dim = weights[0].shape
    return net.gamma0 * (jnp.sqrt(width / dim) if net.parameterization == "mup" else 1.0)


def loss(p, X, y):
    """(1/2P) sum of squared residuals."""
    return jnp.mean((y - X @ p / jnp.sqrt(X.shape[1])) ** 2) / 2


def _start(net, dim, width, samples, rng):
    """Raw weights, beta and a first data set."""
    shapes = [(width, dim)] + [(width, width)] * (net.hidden_layers - 1) + [(width,)]
    weights = [np.sqrt(net.init_variance) * rng.standard_normal(shape) for shape in shapes]
    beta = rng.standard_normal(dim)
    beta *= np.sqrt(dim) / np.linalg.norm(beta)
    return weights, beta, *_data(net, samples, beta, rng)


def _data(net, samples, beta, rng):
    X = rng.standard_normal((samples, len(beta)))
    return X, X @ beta / np.sqrt(len(beta)) + np.sqrt(net.label_noise) * rng.standard_normal(samples)


@functools.partial(jax.jit, donate_argnums=1)
def _step(net, weights, beta, X, y, chosen):
    """One update of each seed, and what is measured before it. `chosen` are the rows of the batch."""
    return jax.vmap(functools.partial(_step_one, net))(weights, beta, X, y, chosen)


def _step_one(net, weights, beta, X, y, chosen):
    dim = len(beta)
    batch = (X, y) if chosen is None else (X[chosen], y[chosen])
    gradient = jax.grad(lambda weights: loss(predictor(net, weights)[1], *batch))(weights)
    g, p = predictor(net, weights)
    h = [-dim * jax.grad(loss)(p, *batch)]
    for W in weights[:-1]:
        h.append(W @ h[-1] / jnp.sqrt(W.shape[1]))
    rate = net.learning_rate * gamma(net, weights) ** 2 * dim
    losses = 2 * loss(p, X, y), jnp.mean((beta - p) ** 2), jnp.mean(p**2), beta @ p / dim
    return [W - rate * dW for W, dW in zip(weights, gradient, strict=True)], losses, g[:-1][::-1], h[:-1]


def _train(net, dim, width, samples, rngs, spectra_at, recorded, bar):
    """Train one batch of seeds; the measured losses and spectra."""
    overlaps, leading, ntk = recorded
    weights, beta, X, y = _stacked([_start(net, dim, width, samples, rng) for rng in rngs])
    fraction, chosen = net.batch if not isinstance(net.batch, str) else None, None
    losses, left, right, vectors, spectra = [], [], [], {}, collections.defaultdict(dict)
    for t in range(net.steps + 1):
        if t in spectra_at:
            for l, W in enumerate(weights[:-1]):
                M = np.asarray(W) / np.sqrt(W.shape[2])
                if overlaps:
                    U, values, V = np.linalg.svd(M, full_matrices=False)
                    vectors[l, t] = U[:, :, :overlaps].transpose(0, 2, 1), V[:, :overlaps]
                elif leading:
                    values = np.stack([svds(m, leading, return_singular_vectors=False, rng=0)[::-1] for m in M])
                else:
                    values = np.linalg.svd(M, compute_uv=False)
                spectra[f"values {l}"][t] = values
            if ntk:
                spectra["ntk"][t] = _ntk_eigenvalues(net, weights, X)
        if net.batch == "online" and t:
            X, y = _stacked([_data(net, samples, np.asarray(b), rng) for b, rng in zip(beta, rngs, strict=True)])
        if fraction is not None:
            rows = round(fraction * samples)
            chosen = _stacked([rng.choice(samples, rows, replace=False) for rng in rngs])
        weights, measured, g, h = _step(net, weights, beta, X, y, chosen)
        losses.append(np.asarray(measured))
        if overlaps and t < net.steps:
            left.append(jax.device_get(g))
            right.append(jax.device_get(h))
        bar.update()
    for (l, t), sides in vectors.items():
        queries = (np.stack([g[l] for g in left], 2), np.stack([h[l] for h in right], 2))
        spectra[f"overlaps {l}"][t] = tuple(
            (side @ query) ** 2 / (query**2).sum(1)[:, None] for side, query in zip(sides, queries, strict=True)
        )
    return tuple(np.stack(losses).transpose(1, 2, 0)), spectra


def _stacked(each):
    """A new first axis for the seeds."""
    return jax.tree.map(lambda *arrays: jnp.asarray(np.stack(arrays)), *each)


def _ntk_eigenvalues(net, weights, inputs):
    """Eigenvalues of (D/P) sum_l |g^{l+1}|^2/(N fan_in) h^l h^l^T, for each seed, by its smaller side."""
    out = []
    for *matrices, w, X in zip(*map(np.asarray, weights), np.asarray(inputs), strict=True):
        samples, dim = X.shape
        g, inner = w, np.eye(len(w))  # inner: the share of the layers from l up, as a quadratic form in h^l
        for W in reversed(matrices):
            inner = (g @ g * np.eye(W.shape[1]) + W.T @ inner @ W) / W.shape[1]
            g = W.T @ g / np.sqrt(W.shape[1])
        inner *= dim / (samples * len(w))
        root = np.linalg.cholesky(inner)
        values = np.linalg.eigvalsh(X @ inner @ X.T if samples <= dim else root.T @ (X.T @ X) @ root)
        out.append(np.concatenate([np.zeros(samples - len(values)), values])[::-1])
    return np.stack(out)
