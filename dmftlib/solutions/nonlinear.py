"""The solution of a nonlinear network: level 1 in independent batches of samples, level 2 from their pooled moments."""

import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import checks
from ..networks import Nonlinear
from ..spectra.bulk import RectangularLaw
from ..spectra.outliers import ConditionedEnsemble, Outliers
from ..spectra.trajectory import _at_edge, _roots, _share
from ..training import nonlinear
from .base import Solution


class NeuralTangentKernel(eqx.Module):
    """kernel (steps+1, P K, P K), index mu K + k: Delta(t+1) = (1 - learning_rate kernel) Delta(t) to first order.

        kernel = (1/P) sum_{l=0}^{L} Phi^l G^{l+1},  Phi^0 = x.x'/D,  G^{L+1} = identity over the outputs
    """

    kernel: jax.Array


class NonlinearSolution(Solution):
    """The training of a Nonlinear at infinite width, and the spectra of its hidden matrices.

    Averages over independent batches of samples; `standard_error` gives theirs. Arrays over time have length steps+1,
    entry t after t updates, and are NaN from the step on at which training diverged.
    """

    net: Nonlinear
    trajectory: nonlinear.Trajectory  # every array has a first axis of batches
    sites: int = eqx.field(static=True)
    seed: int = eqx.field(static=True)
    rank: int = eqx.field(static=True)
    accuracy: float | None = eqx.field(static=True)

    @property
    def batches(self) -> int:
        return len(self.trajectory.train_loss)

    @property
    def predictions(self):
        """f on the training inputs, (steps+1, P, K)."""
        return self.trajectory.predictions.mean(0)[:, : len(self.net.inputs)]

    @property
    def test_predictions(self):
        """f on the test inputs, (steps+1, Q, K)."""
        return self.trajectory.predictions.mean(0)[:, len(self.net.inputs) :]

    @property
    def train_loss(self):
        """Squared residual summed over outputs, averaged over all P samples (no 1/2)."""
        return jnp.mean(jnp.sum((self.net.targets - self.predictions) ** 2, -1), -1)

    @property
    def test_loss(self):
        """The same on the test data; None if there are no test targets."""
        if self.net.test_targets is None:
            return None
        return jnp.mean(jnp.sum((self.net.test_targets - self.test_predictions) ** 2, -1), -1)

    def feature_kernel(self, l: int):
        """<phi(h^l_mu) phi(h^l_nu)>, l = 1 ... L: (steps+1, P, P)."""
        return self.trajectory.feature_kernels[self._space(l)].mean(0)

    def gradient_kernel(self, l: int):
        """<g^l_{mu k} g^l_{nu j}>, l = 1 ... L: (steps+1, P, K, P, K)."""
        return self.trajectory.gradient_kernels[self._space(l)].mean(0)

    def two_time(self, l: int):
        """<phi(h^l_mu(s)) phi(h^l_nu(t))> (steps+1, P, steps+1, P), <g^l(s) g^l(t)> (steps+1, P, K, steps+1, P, K)."""
        space, layers = self._space(l), self.trajectory.layers
        if space < self.net.hidden_layers - 1:
            features = jnp.einsum("btmr,bsnr->tmsn", *[layers[space].right_queries] * 2) / self.batches
        else:
            features = self.trajectory.top_features.mean(0)
        if space > 0:
            gradients = jnp.einsum("btmkr,bsnjr->tmksnj", *[layers[space - 1].left_queries] * 2) / self.batches
        else:
            gradients = self.trajectory.bottom_gradients.mean(0)
        return features, gradients

    def responses(self, layer: int):
        """B (steps+1, P, K, steps+1, P) = <d g^{l+1}/d u>, A (steps+1, P, steps+1, P, K) = <d phi(h^l)/d r>, l = layer.

        u and r are the innovations of M_l(0) phi(h^l) and M_l(0)^T g^{l+1}. By Stein's lemma <g u> = variance B, so
        that no derivative of the activation is taken. Where queries are linearly dependent only sums of responses
        have a meaning; these are the smallest.
        """
        history = self._layer(layer)

        def of_batch(h):
            causal = h.left_time[:, None] >= h.right_time
            shared = h.core / h.variance
            left, right = (q.reshape(-1, q.shape[-1]) for q in (h.left_queries, h.right_queries))
            B = left @ jnp.where(causal, shared, 0.0) @ jnp.linalg.pinv(right)
            A = right @ jnp.where(causal, 0.0, shared).T @ jnp.linalg.pinv(left)
            return B, A

        B, A = (x.mean(0) for x in jax.vmap(of_batch)(history))
        left, right = history.left_queries.shape[1:-1], history.right_queries.shape[1:-1]
        return B.reshape(left + right), A.reshape(right + left)

    @property
    def ntk(self) -> NeuralTangentKernel:
        """The kernel that moves the predictions, in the units of the learning rate."""
        P, K = self.net.targets.shape
        total = jnp.einsum("tmn,kj->tmknj", self.feature_kernel(self.net.hidden_layers), jnp.eye(K))
        for l in range(1, self.net.hidden_layers):
            total = total + self.feature_kernel(l)[:, :, None, :, None] * self.gradient_kernel(l + 1)
        inputs = self.net.inputs @ self.net.inputs.T / self.net.inputs.shape[1]
        total = total + inputs[:, None, :, None] * self.gradient_kernel(1)
        return NeuralTangentKernel(total.reshape(-1, P * K, P * K) / P)

    @property
    def sharpness(self):
        """Largest eigenvalue of the NTK at each step: unstable at 2/learning_rate."""
        kernel = self.ntk.kernel
        finite = jnp.isfinite(kernel).all((1, 2))
        top = jnp.linalg.eigvalsh(jnp.where(finite[:, None, None], kernel, 0.0))[:, -1]
        return jnp.where(finite, top, jnp.nan)

    @property
    def alignment(self):
        """Cosine of the top feature kernel with the Gram of the targets, at each step."""
        wanted = self.net.targets @ self.net.targets.T
        kernel = self.feature_kernel(self.net.hidden_layers)
        norms = jnp.linalg.norm(kernel, axis=(1, 2)) * jnp.linalg.norm(wanted)
        return jnp.sum(kernel * wanted, (1, 2)) / jnp.where(norms > 0, norms, 1.0)

    def bulk(self, layer: int, step: int | None = None) -> RectangularLaw:
        """The law of all but finitely many singular values of W^layer / sqrt(N), the same at every step."""
        self._layer(layer), self._step(step)
        return RectangularLaw(1.0, self.net.init_variance)

    def outliers(self, layer: int, step: int | None = None, max_outliers: int | None = None, independent: bool = False,
                 tolerance: float = 1e-3) -> Outliers:  # fmt: skip
        """Outliers of W^layer / sqrt(N), and their overlaps with the queries of the updates.

        Left with g_{mu k}(s), index (s P + mu) K + k, right with phi(h_mu(s)), index s P + mu, s = 0 ... steps-1. At
        one step, values (k,); without `step` at all of them, (steps+1, k), padded with NaN. `max_outliers` sets k and
        has to be given under `jit`. Directions of less than `tolerance` of the largest among the queries are left out.
        With `independent` the spikes are taken as independent of the initial weights, which is wrong: it is there to
        be compared with.
        """
        history, step = self._layer(layer), self._step(step)
        return pooled_outliers(history, step, max_outliers, independent, tolerance)

    def standard_error(self, quantity):
        """Standard error of quantity(solution), an array, by the jackknife over the batches: NaN for a single batch.

        `quantity` may be the name of a property, or a function of a solution.
        """
        get = (lambda solution: getattr(solution, quantity)) if isinstance(quantity, str) else quantity
        count = self.batches
        if count == 1:
            return jnp.full_like(get(self), jnp.nan)

        def without(b):
            rest = jax.tree.map(lambda x: x[np.arange(count) != b], self.trajectory)
            return eqx.tree_at(lambda s: s.trajectory, self, rest)

        values = jnp.stack([get(without(b)) for b in range(count)])
        return jnp.sqrt((count - 1) * jnp.var(values, 0))

    def more(self, samples: int) -> "NonlinearSolution":
        """The solution with about that many samples added, in new batches of the same size."""
        count = -(-checks.integer("samples", samples, 1) // self.sites)
        added = _batches(self.net, self.sites, self.rank, self.seed, self.batches, count)
        joined = jax.tree.map(lambda *x: _numbers(x).concatenate(x), self.trajectory, added)
        return eqx.tree_at(lambda s: s.trajectory, self, joined)

    @property
    def finite_steps(self):
        return jnp.min(self.trajectory.finite_steps)

    @property
    def warning(self):
        """The rank cap was reached, or there are too few samples."""
        if bool(self.trajectory.full.any()):
            return "rank cap reached"
        used = int(self.trajectory.used.max())
        if 2 * used > self.sites:
            return f"too few samples: batches of {self.sites} sites for {used} directions; at least {2 * used} needed"
        if self.accuracy is not None:
            error = float(jnp.max(self.standard_error("predictions")))
            if not error <= self.accuracy:
                return f"too few samples: standard error of the predictions {error:.2g}, asked for {self.accuracy:.2g}"
        return None

    @property
    def stats(self) -> dict:
        """Samples, batches, the largest standard error of the predictions, the rank of the query histories of each
        layer (backward, forward), the room there was, and the sizes of the bases."""
        return {
            "samples": self.batches * self.sites, "batches": self.batches,
            "standard_error": float(jnp.max(self.standard_error("predictions"))),
            "ranks": np.asarray(self.trajectory.ranks.max(0)), "rank_cap": self.rank,
            "directions": np.asarray(self.trajectory.used.max(0)),
        }  # fmt: skip

    def _space(self, l):
        return checks.choice("l", l, tuple(range(1, self.net.hidden_layers + 1))) - 1

    def _layer(self, layer):
        return self.trajectory.layers[self.net.layer(layer) - 1]


def solve_nonlinear(net: Nonlinear, samples: int = 4000, seed: int = 0, batches: int = 4, rank: int | None = None,
                    accuracy: float | None = None) -> NonlinearSolution:  # fmt: skip
    """Solve the theory of a nonlinear network, by conditioning.

    samples    sites in all, roughly: in `batches` independent batches, from which the standard errors come, each of a
               power of two, as quasi-random numbers like it
    rank       room for the directions of the queries of each matrix; if not given, it grows until nothing is dropped
    accuracy   the standard error of the predictions above which `status` reports too few samples

    Raises ValueError for anything but a Nonlinear, and where the memory needed is more than this machine has. The cost
    is samples x inputs x steps x rank. Under `jit` and `grad` give `rank`.

    >>> inputs, targets = [[1.0, 0.0], [0.5, 1.0]], [1.0, -1.0]
    >>> net = Nonlinear(inputs=inputs, targets=targets, hidden_layers=1, learning_rate=0.5, steps=9)
    >>> solution = solve_nonlinear(net)
    >>> print(solution.status, solution.train_loss[jnp.array([0, 9])].round(2))
    ok [1.  0.1]
    """
    batches = checks.integer("batches", batches, 1)
    if checks.integer("samples", samples, 1) < 16 * batches:
        checks.fail("samples", samples, f"at least 16 for each of the {batches} batches")
    sites = 2 ** round(np.log2(samples / batches))
    if accuracy is not None:
        checks.positive("accuracy", accuracy)
    most, room = nonlinear.rank_guess(net)
    if rank is not None:
        room = min(checks.integer("rank", rank, 1), most)
    while True:
        trajectory = _batches(net, sites, room, seed, 0, batches)
        solution = NonlinearSolution(net, trajectory, sites, seed, room, accuracy)
        if rank is not None or not checks.known(trajectory.full) or not bool(trajectory.full.any()) or room == most:
            return solution
        room = min(2 * room, most)


def _batches(net, sites, rank, seed, first, count):
    """Trajectories number first ... first+count-1 of a seed, stacked."""
    needed = nonlinear.memory(net, rank, sites)
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > 0.8 * available:
        checks.fail("samples", f"{sites} a batch, which need {needed / 2**30:.1f} GiB",
                    f"at most {0.8 * available / 2**30:.1f} GiB: more batches, fewer inputs or steps, a smaller rank")
    runs = [nonlinear.train(net, (checks.integer("seed", seed, 0), b), sites=sites, rank=rank, two_time=True)
            for b in range(first, first + count)]  # fmt: skip
    return jax.tree.map(lambda *x: _numbers(x).stack(x), *runs)


def _numbers(arrays):
    """NumPy, which has nothing to compile, unless JAX is tracing."""
    return np if checks.known(arrays) else jnp


def pooled_outliers(histories, step, max_outliers, independent, tolerance) -> Outliers:
    """Level 2 from the moments of the queries, averaged over the batches (first axis): the queries, unlike the
    directions, are the same in all of them."""
    rates = histories.rates.mean(0)
    steps, P, K = rates.shape
    left = histories.left_queries[:, :steps].reshape(len(histories.core), steps * P * K, -1)
    right = histories.right_queries[:, :steps].reshape(len(histories.core), steps * P, -1)
    to_left, left_coordinates = _leading(left, tolerance)
    to_right, right_coordinates = _leading(right, tolerance)
    core = jnp.mean(to_left @ histories.core @ to_right.transpose(0, 2, 1), 0)
    variance = histories.variance.mean()
    if independent:
        core, images = jnp.zeros_like(core), [variance * jnp.eye(n) for n in core.shape]
    else:
        images = [jnp.mean(T @ moments @ T.transpose(0, 2, 1), 0)
                  for T, moments in ((to_left, histories.left_images), (to_right, histories.right_images))]  # fmt: skip
    spikes = jnp.einsum("tmk,ptmk,qtm->tpq", rates, left_coordinates.reshape(-1, steps, P, K),
                        right_coordinates.reshape(-1, steps, P))  # fmt: skip
    cores = jnp.cumsum(jnp.concatenate([core[None], spikes]), 0)
    none = jnp.zeros((len(core), 0)), jnp.zeros((core.shape[1], 0)), jnp.zeros((0, 0))
    cores = cores if step is None else cores[step : step + 1]
    beyond = images[0] - core @ core.T, images[1] - core.T @ core
    ensembles = ConditionedEnsemble(jnp.ones(()), variance, cores, *beyond, *none)
    at_edge, y = _at_edge(jax.lax.stop_gradient(ensembles))
    if max_outliers is None:
        if not checks.known(at_edge):
            checks.fail("max_outliers", None, "a whole number under jit and vmap, where shapes are fixed")
        max_outliers = max(int(jnp.max(jnp.sum(at_edge > 1, 1))), 0 if step is not None else 1)
    rows = min(checks.integer("max_outliers", max_outliers, 0), *core.shape)
    values, y = _roots(ensembles, at_edge[:, :rows] > 1 + 1e-12, y[:, :, :rows])
    absent = jnp.isnan(values)[..., None]
    parts = (y[..., : len(core)], left_coordinates), (y[..., len(core) :], right_coordinates)
    shares = [jnp.where(absent, jnp.nan, _share((v @ q) ** 2, (q**2).sum(0))) for v, q in parts]
    found = Outliers(values, *shares)
    return found if step is None else jax.tree.map(lambda x: x[0], found)


def _leading(queries, tolerance):
    """The leading directions of the pooled queries: their coordinates (batches, p, r) over the directions of each batch
    and of the queries (p, number) over them. Which span is taken is not differentiated."""
    stacked = jnp.concatenate(list(queries), 1) / np.sqrt(len(queries))
    directions, sizes, _ = jnp.linalg.svd(jax.lax.stop_gradient(stacked), full_matrices=False)
    kept = int(np.sum(sizes > tolerance * sizes[0])) if checks.known(sizes) else queries.shape[-1]
    mixed = directions[:, :kept].T @ stacked
    whitened = jnp.linalg.solve(jnp.linalg.cholesky(mixed @ mixed.T), directions[:, :kept].T)
    return whitened @ queries, whitened @ stacked @ stacked.T
