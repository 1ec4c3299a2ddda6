"""Deep linear networks of finite size: raw weights, gradients by automatic
differentiation, many seeds.

Nothing here knows the theory: this is what the theory is checked against.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.linalg import svds
from tqdm import tqdm

from .. import _checks
from .._compile import compiled
from ..networks import DeepLinear
from .base import Simulation, Singular, in_turns, singular
from .optimisers import optimiser, shared, updated

# seeds trained together share about this many weights and inputs
_NUMBERS_AT_ONCE = 2_000_000


@dataclasses.dataclass(frozen=True)
class DeepLinearSimulation(Simulation[DeepLinear]):
    """Trained networks: every array has a first axis of seeds, entry t after t updates.

    train_loss, test_loss           (seeds, steps+1)
    predictor_norm, alignment       (seeds, steps+1)  |p|^2/D and beta.p/D of the linear predictor p
    batch                           that of the network, or the fraction of the samples that a step has drawn
    """

    net: DeepLinear
    dim: int
    train_loss: np.ndarray
    test_loss: np.ndarray
    predictor_norm: np.ndarray
    alignment: np.ndarray
    spectra_at: tuple
    spectra: dict = dataclasses.field(repr=False)
    left_overlaps: dict = dataclasses.field(repr=False)
    right_overlaps: dict = dataclasses.field(repr=False)
    kernels: dict = dataclasses.field(repr=False)
    recorded_overlaps: int = 0
    batch: str | float = "full"

    def overlaps(self, layer: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Squared cosines of the leading singular vectors, left with each g_j and right
        with each h_j: (seeds, k, steps), for the number k of `overlaps` that the
        simulation was asked for.
        """
        at = self.net.layer(layer), self.recorded(step)
        if at not in self.left_overlaps:
            _checks.fail("overlaps", "not recorded", "simulate(..., overlaps=k)")
        return self.left_overlaps[at], self.right_overlaps[at]

    def ntk_eigenvalues(self, step: int) -> np.ndarray:
        """Eigenvalues of the neural tangent kernel, K = (D gamma^2 / P) sum over
        parameters of df df^T: (seeds, P).

        In these units Delta(t+1) = (1 - learning_rate K) Delta(t) to first order in the
        learning rate.
        """
        step = self.recorded(step)
        if step not in self.kernels:
            _checks.fail("ntk", "not recorded", "simulate(..., ntk=True)")
        return self.kernels[step]


class Sizes(NamedTuple):
    """Input dimension D, width N, samples P."""

    dim: int
    width: int
    samples: int


class Wanted(NamedTuple):
    """What is to be recorded at which steps; see `simulate_deep_linear`."""

    spectra_at: tuple
    overlaps: int
    leading: int
    ntk: bool


def simulate_deep_linear(
    net: DeepLinear,
    dim: int = 1000,
    seeds: int = 8,
    seed: int = 0,
    spectra_at=(),
    overlaps: int = 0,
    ntk: bool = True,
    progress: bool = True,
    leading: int = 0,
) -> DeepLinearSimulation:
    """Train `seeds` networks of input dimension `dim`, each on its own data from its
    own start.

    Width and samples are `dim` times the ratios of `net`, rounded, and so are the
    samples of a batch. Singular values and NTK eigenvalues (unless `ntk` is False) are
    recorded at the steps `spectra_at`, with the overlaps of the leading `overlaps`
    singular vectors; with `leading` only so many singular values, by Lanczos iteration,
    which is quicker for wide networks. Seeds are trained a few at a time, so that
    memory stays that of a few networks. The same `seed` gives the same numbers. A bar
    on stderr shows the progress of runs longer than a few seconds.

    Raises ValueError for sizes below 1, and for a batch that rounds to no sample.

    >>> net = DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=5)
    >>> simulate_deep_linear(net, dim=50, seeds=3, spectra_at=(0, 5)).singular_values(layer=0, step=5).shape
    (3, 50)
    """
    sizes = _sizes(net, _checks.integer("dim", dim, 1), seeds)
    rows = _rows(net, sizes)
    wanted = Wanted(
        spectra_at,
        _checks.integer("overlaps", overlaps, 0),
        _checks.integer("leading", leading, 0),
        ntk,
    )
    batches, at_once = in_turns(seeds, _numbers(net, sizes), _NUMBERS_AT_ONCE)
    total = batches * (net.steps + 1)
    label = f"simulating D = {dim}"
    with tqdm(total=total, desc=label, delay=10, disable=not progress) as bar:
        runs = []
        for i in range(batches):
            numbers = range(i * at_once, (i + 1) * at_once)
            rngs = [np.random.default_rng([seed, number]) for number in numbers]
            runs.append(_train(net, sizes, rows, rngs, wanted, bar))
    joined = jax.tree.map(lambda *arrays: np.concatenate(arrays)[:seeds], *runs)
    train_loss, test_loss, predictor_norm, alignment = joined.losses
    return DeepLinearSimulation(
        net=net,
        dim=sizes.dim,
        train_loss=train_loss,
        test_loss=test_loss,
        predictor_norm=predictor_norm,
        alignment=alignment,
        spectra_at=wanted.spectra_at,
        spectra=joined.spectra,
        left_overlaps=joined.left_overlaps,
        right_overlaps=joined.right_overlaps,
        kernels=joined.kernels,
        recorded_overlaps=wanted.overlaps,
        batch=net.batch if rows is None else rows / sizes.samples,
    )


def _sizes(net, dim, seeds) -> Sizes:
    width = round(net.width_ratio * dim)
    samples = round(net.sample_ratio * dim)
    sizes = Sizes(dim, width, samples)
    _checks.integer("dim * width_ratio", sizes.width, 1)
    _checks.integer("dim * sample_ratio", sizes.samples, 1)
    numbers = _numbers(net, sizes)
    recorded = seeds * (net.steps + 1)
    needed = 32.0 * (numbers + recorded)
    _checks.memory(
        "dim", dim, needed, "a smaller dim, fewer seeds, or method='coordinates'"
    )
    return sizes


def _numbers(net, sizes):
    """Weights and inputs of one network."""
    first = sizes.dim * sizes.width
    others = (net.hidden_layers - 1) * sizes.width**2
    inputs = sizes.dim * sizes.samples
    return first + others + inputs


def _rows(net, sizes) -> int | None:
    """The samples of each batch, None where all of them are used."""
    if isinstance(net.batch, str):
        return None
    rows = round(net.batch * sizes.samples)
    if rows == 0:
        wanted = net.batch * sizes.samples
        _checks.fail(
            "batch",
            f"{net.batch:g} of {sizes.samples} samples at dim={sizes.dim}: {wanted:.2g}",
            "a dim at which a batch has at least one sample",
        )
    return rows


def predictor(net: DeepLinear, weights):
    """g^L = w, g^l = M_l^T g^{l+1} down to g^0, and p with f(x) = p.x/sqrt(D), from raw
    weights (W^0 ..., w).
    """
    *matrices, w = weights
    g = [w]
    for W in reversed(matrices):
        g.append(W.T @ g[-1] / jnp.sqrt(W.shape[1]))
    p = g[-1] * jnp.sqrt(len(g[-1]) / len(w))
    return g, p / gamma(net, weights)


def gamma(net: DeepLinear, weights):
    """The output scale, from the shape of W^0."""
    if net.parameterization == "ntk":
        return net.gamma0
    width, dim = weights[0].shape
    return net.gamma0 * jnp.sqrt(width / dim)


def loss(p, X, y):
    """(1/2P) sum of squared residuals."""
    f = X @ p / jnp.sqrt(X.shape[1])
    residual = y - f
    return jnp.mean(residual**2) / 2


class Network(NamedTuple):
    """Raw weights (W^0 ... W^{L-1}, w), the target beta, and the data at hand."""

    weights: list
    beta: jax.Array
    inputs: jax.Array
    labels: jax.Array


def start(net: DeepLinear, sizes: Sizes, rng) -> Network:
    """A network before training, with a first data set."""
    dim, width, _ = sizes
    inner = net.hidden_layers - 1
    shapes = [
        (width, dim),
        *[(width, width)] * inner,
        (width,),
    ]
    deviations = np.broadcast_to(np.sqrt(net.init_variance), len(shapes))
    weights = [
        deviation * rng.standard_normal(shape)
        for deviation, shape in zip(deviations, shapes, strict=True)
    ]
    beta = rng.standard_normal(dim)
    beta *= np.sqrt(dim) / np.linalg.norm(beta)
    X, y = _data(net, sizes.samples, beta, rng)
    return Network(weights, beta, X, y)


def _data(net, samples, beta, rng):
    dim = len(beta)
    X = rng.standard_normal((samples, dim))
    draws = rng.standard_normal(samples)
    noise = np.sqrt(net.label_noise) * draws
    y = X @ beta / np.sqrt(dim) + noise
    return X, y


class Step(NamedTuple):
    """What one update has measured, before it: four losses, the queries g^1 ... g^L and
    h^0 ... h^{L-1}; and the weights and the optimiser's memory after it.
    """

    weights: list
    memory: tuple
    losses: tuple
    backward: list
    forward: list


@compiled(donate_argnums=(1, 2))
def _step(net, weights, memory, beta, X, y, chosen) -> Step:
    """One update of each seed. `chosen` are the rows of the batch."""
    one = functools.partial(_step_one, net)
    return jax.vmap(one)(weights, memory, beta, X, y, chosen)


def _step_one(net, weights, memory, beta, X, y, chosen):
    dim = len(beta)
    batch = (X, y) if chosen is None else (X[chosen], y[chosen])

    def objective(weights):
        return loss(predictor(net, weights)[1], *batch)

    gradient = jax.grad(objective)(weights)
    g, p = predictor(net, weights)
    h = [-dim * jax.grad(loss)(p, *batch)]
    for W in weights[:-1]:
        h.append(W @ h[-1] / jnp.sqrt(W.shape[1]))
    unit = gamma(net, weights) ** 2 * dim
    trained_by = _optimiser(net, unit, weights)
    weights, memory = updated(trained_by, gradient, memory, weights)
    error = beta - p
    losses = (
        2 * loss(p, X, y),
        jnp.mean(error**2),
        jnp.mean(p**2),
        beta @ p / dim,
    )
    return Step(weights, memory, losses, g[:-1][::-1], h[:-1])


def _optimiser(net, unit, weights):
    """Of raw weights, of one seed or of several."""
    matrices = weights[:-1]
    lengths = [W.shape[-1] ** 0.5 for W in matrices]
    return optimiser(net, unit, lengths)


class Run(NamedTuple):
    """One batch of seeds: losses four times (seeds, steps+1), and what is recorded by
    layer and step.
    """

    losses: tuple
    spectra: dict
    left_overlaps: dict
    right_overlaps: dict
    kernels: dict


def _train(net, sizes, rows, rngs, wanted, bar) -> Run:
    weights, beta, X, y = _stacked([start(net, sizes, rng) for rng in rngs])
    same = shared(net)
    memory = jax.vmap(_optimiser(same, 1.0, weights).init)(weights)
    chosen = None
    looks, kernels, steps = {}, {}, []
    for t in range(net.steps + 1):
        if t in wanted.spectra_at:
            for l, W in enumerate(weights[:-1]):
                looks[l, t] = _look(np.asarray(W) / np.sqrt(W.shape[2]), wanted)
            if wanted.ntk:
                kernels[t] = ntk_eigenvalues(weights, X, net.layer_rates)
        if net.batch == "online" and t:
            pairs = zip(beta, rngs, strict=True)
            fresh = [_data(net, sizes.samples, np.asarray(b), rng) for b, rng in pairs]
            X, y = _stacked(fresh)
        if rows is not None:
            draws = [rng.choice(sizes.samples, rows, replace=False) for rng in rngs]
            chosen = _stacked(draws)
        step = _step(same, weights, memory, beta, X, y, chosen)
        weights, memory = step.weights, step.memory
        queries = (step.backward, step.forward) if wanted.overlaps else None
        steps.append(jax.device_get((step.losses, queries)))
        bar.update()
    losses = tuple(np.stack([each for each, _ in steps]).transpose(1, 2, 0))
    values = {at: look.values for at, look in looks.items()}
    queries = [queries for _, queries in steps[:-1]]
    left, right = _overlaps(looks, queries) if wanted.overlaps else ({}, {})
    return Run(losses, values, left, right, kernels)


def _look(M, wanted) -> Singular:
    """Singular values of stacked matrices, and the leading vectors as (seeds, overlaps,
    n or m), as far as they are wanted.
    """
    k = wanted.overlaps
    if k:
        all_of = singular(M, vectors=True)
        left = all_of.left[:, :, :k].transpose(0, 2, 1)
        return Singular(all_of.values, left, all_of.right[:, :k])
    if wanted.leading and np.isfinite(M).all():
        leading = functools.partial(
            svds, k=wanted.leading, return_singular_vectors=False, rng=0
        )
        values = [np.asarray(leading(m))[::-1] for m in M]
        return Singular(np.stack(values))
    values = singular(M).values
    return Singular(values[:, : wanted.leading] if wanted.leading else values)


def _overlaps(looks, queries):
    """Squared cosines of the singular vectors with the queries of all steps, left and
    right, by layer and step.
    """
    left, right = {}, {}
    for (l, t), look in looks.items():
        left[l, t] = _cosines(look.left, [g[l] for g, _ in queries])
        right[l, t] = _cosines(look.right, [h[l] for _, h in queries])
    return left, right


def _cosines(vectors, queries):
    """Squared cosines (seeds, k, steps) of vectors (seeds, k, n) with each query (seeds,
    n).
    """
    if not queries:
        return np.zeros((*vectors.shape[:2], 0))
    query = np.stack(queries, 2)
    with np.errstate(over="ignore", invalid="ignore"):  # after a divergence
        return (vectors @ query) ** 2 / (query**2).sum(1)[:, None]


def _stacked(each):
    """A new first axis for the seeds."""
    return jax.tree.map(lambda *arrays: jnp.asarray(np.stack(arrays)), *each)


def ntk_eigenvalues(weights, inputs, layer_rates=None) -> np.ndarray:
    """Eigenvalues of (D/P) sum_l r_l |g^{l+1}|^2/(N fan_in) h^l h^l^T, r_l the factors
    of the rates, for each seed, by its smaller side; NaN where they are not finite.
    """
    rates = np.ones(len(weights)) if layer_rates is None else np.asarray(layer_rates)
    seeds = zip(*map(np.asarray, weights), np.asarray(inputs), strict=True)
    with np.errstate(over="ignore", invalid="ignore"):  # after a divergence
        return np.stack(
            [_ntk_of_one(matrices, w, X, rates) for *matrices, w, X in seeds]
        )


def _ntk_of_one(matrices, w, X, rates):
    samples, dim = X.shape
    g = w
    # the share of the layers from l up, as a quadratic form in h^l
    inner = rates[-1] * np.eye(len(w))
    for W, rate in zip(reversed(matrices), rates[-2::-1], strict=True):
        own = rate * (g @ g) * np.eye(W.shape[1])
        inner = (own + W.T @ inner @ W) / W.shape[1]
        g = W.T @ g / np.sqrt(W.shape[1])
    inner *= dim / (samples * len(w))
    if not np.isfinite(inner).all():
        return np.full(samples, np.nan)
    if samples <= dim:
        return np.linalg.eigvalsh(X @ inner @ X.T)[::-1]
    # the eigenvalues of X inner X^T that are not zero are those of R^T (X^T X) R
    values, vectors = np.linalg.eigh(inner)
    root = vectors * np.sqrt(np.maximum(values, 0))
    values = np.linalg.eigvalsh(root.T @ (X.T @ X) @ root)
    return np.concatenate([np.zeros(samples - len(values)), values])[::-1]
