"""The solution of a nonlinear network: level 1 in independent batches of samples, level 2 from their pooled moments."""

import contextlib
import functools
import operator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import checks
from ..networks import Nonlinear
from ..spectra.bulk import RectangularLaw
from ..spectra.outliers import Outliers, SpikedEnsemble, outliers
from ..spectra.trajectory import outliers_by_step, pooled, stacked
from ..training import nonlinear, response
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
    rank: int | None = eqx.field(static=True)
    form: str = eqx.field(static=True)
    accuracy: float | None = eqx.field(static=True)

    @property
    def batches(self) -> int:
        """The number of independent batches of samples."""
        return len(self.trajectory.predictions)

    @property
    def predictions(self):
        """f on the training inputs, (steps+1, P, K)."""
        return self.trajectory.predictions.mean(0)[:, : len(self.net.targets)]

    @property
    def test_predictions(self):
        """f on the test inputs, (steps+1, Q, K)."""
        return self.trajectory.predictions.mean(0)[:, len(self.net.targets) :]

    @property
    def train_loss(self):
        """Squared residual summed over outputs, averaged over all P samples (no 1/2)."""
        return jnp.sum((self.net.targets - self.predictions) ** 2, -1).mean(-1)

    @property
    def test_loss(self):
        """The same on the test data; None if there are no test targets."""
        targets = self.net.test_targets
        return None if targets is None else jnp.sum((targets - self.test_predictions) ** 2, -1).mean(-1)

    def feature_kernel(self, l: int):
        """<phi(h^l_mu) phi(h^l_nu)>, l = 1 ... L: (steps+1, P, P)."""
        return self.trajectory.feature_kernels[self._space(l)].mean(0)

    def gradient_kernel(self, l: int):
        """<g^l_{mu k} g^l_{nu j}>, l = 1 ... L: (steps+1, P, K, P, K)."""
        return self.trajectory.gradient_kernels[self._space(l)].mean(0)

    def two_time(self, l: int):
        """<phi(h^l_mu(s)) phi(h^l_nu(t))> (steps+1, P, steps+1, P), <g^l(s) g^l(t)> (steps+1, P, K, steps+1, P, K)."""
        space, layers = self._space(l), self.trajectory.layers
        top, bottom = space == self.net.hidden_layers - 1, space == 0
        features = self.trajectory.top_features if top else jax.vmap(lambda h: h.grams()[0])(layers[space])
        gradients = self.trajectory.bottom_gradients if bottom else jax.vmap(lambda h: h.grams()[1])(layers[space - 1])
        return features.mean(0), gradients.mean(0)

    def responses(self, layer: int):
        """B (steps+1, P, K, steps+1, P) = <d g^{l+1}/d u>, A (steps+1, P, steps+1, P, K) = <d phi(h^l)/d r>, l = layer.

        u and r are the innovations of M_l(0) phi(h^l) and M_l(0)^T g^{l+1}. The conditioning form has them by Stein's
        lemma, without a derivative of the activation. Where queries are linearly dependent only sums of responses have
        a meaning; these are the smallest.
        """
        return tuple(x.mean(0) for x in jax.vmap(lambda h: h.responses())(self._layer(layer)))

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
        With `independent` the spikes are wrongly taken as independent of the initial weights, to be compared with.
        """
        history, step = self._layer(layer), self._step(step)
        if self.form == "conditioning":
            return outliers_by_step(*pooled(history, independent, tolerance), step, max_outliers)
        found = [outliers(ensemble.independent() if independent else ensemble, max_outliers)
                 for ensemble in self._spiked(history, range(self.net.steps + 1) if step is None else [step])]
        return found[0] if step is not None else stacked(found)

    def _spiked(self, history, steps):
        """The response form of level 2 at those steps."""
        h = jax.tree.map(lambda x: x.mean(0), history)
        (last, P, K), l, k = h.rates.shape, h.rates.size, h.rates.shape[0] * h.rates.shape[1]
        G, B = (x[:last, :, :, :last].reshape(l, -1) for x in (h.left_gram, h.left_response))
        H, A = (x[:last, :, :last].reshape(k, -1) for x in (h.right_gram, h.right_response))
        for step in steps:
            rates = jnp.where(np.arange(l) < step * P * K, h.rates.ravel(), 0.0)
            yield SpikedEnsemble(aspect=1.0, variance=h.variance, left_gram=G, right_gram=H, left_response=B,
                                 right_response=A, strengths=rates[:, None] * jnp.repeat(jnp.eye(k), K, 0))  # fmt: skip

    def _revealed(self, layer):
        if self.form != "conditioning":
            checks.fail("form", self.form, "conditioning")
        return pooled(self._layer(layer))

    def standard_error(self, quantity):
        """Standard error of quantity(solution), an array, by the jackknife over the batches: NaN for a single batch.

        `quantity` may be the name of a property, or a function of a solution. It does not contain what all batches
        share: a bias of order one over the sites of a batch (0.2% of a kernel at 2,048), which is the smaller the fewer
        batches the same samples are in.
        """
        get, every = operator.attrgetter(quantity) if isinstance(quantity, str) else quantity, np.arange(self.batches)
        if len(every) == 1:
            return jnp.full_like(get(self), jnp.nan)
        rests = [jax.tree.map(lambda x, b=b: x[every != b], self.trajectory) for b in every]
        values = jnp.stack([get(eqx.tree_at(lambda s: s.trajectory, self, rest)) for rest in rests])
        return jnp.sqrt((len(every) - 1) * jnp.var(values, 0))

    def more(self, samples: int) -> "NonlinearSolution":
        """The solution with about that many samples added, in new batches of the same size."""
        count = -(-checks.integer("samples", samples, 1) // self.sites)
        added = _batches(self.net, self.form, self.sites, self.rank, self.seed, self.batches, count)
        joined = jax.tree.map(lambda *x: _numbers(x).concatenate(x), self.trajectory, added)
        return eqx.tree_at(lambda s: s.trajectory, self, joined)

    @property
    def finite_steps(self):
        return jnp.min(self.trajectory.finite_steps)

    @property
    def troubled(self):
        return super().troubled | self.trajectory.full.any() | (2 * self.trajectory.used.max() > self.sites)

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
        error, ranks, used = self.standard_error("predictions"), self.trajectory.ranks, self.trajectory.used
        return dict(samples=self.batches * self.sites, batches=self.batches, standard_error=float(jnp.max(error)),
                    ranks=np.asarray(ranks.max(0)), rank_cap=self.rank, directions=np.asarray(used.max(0)))  # fmt: skip

    def _space(self, l):
        return checks.choice("l", l, tuple(range(1, self.net.hidden_layers + 1))) - 1

    def _layer(self, layer):
        return self.trajectory.layers[self.net.layer(layer) - 1]


def solve_nonlinear(net: Nonlinear, samples: int = 4000, seed: int = 0, batches: int = 4, rank: int | None = None,
                    accuracy: float | None = None, form: str = "conditioning") -> NonlinearSolution:  # fmt: skip
    """Solve the theory of a nonlinear network.

    samples    sites in all, roughly: in `batches` independent batches, from which the standard errors come, each of a
               power of two, as quasi-random numbers like it
    rank       room for the directions of the queries of each matrix; if not given, it grows until nothing is dropped
    accuracy   the standard error of the predictions above which `status` reports too few samples
    form       "conditioning": the cost is samples x inputs x steps x rank. "response": an independent and slower way,
               samples x (inputs x steps)^3, that refuses kinked activations and takes no derivatives

    Raises ValueError for anything but a Nonlinear, and where the memory needed is more than this machine has. Under
    `jit` and `grad` give `rank`.

    >>> inputs, targets = [[1.0, 0.0], [0.5, 1.0]], [1.0, -1.0]
    >>> net = Nonlinear(inputs=inputs, targets=targets, hidden_layers=1, learning_rate=0.5, steps=9)
    >>> solution = solve_nonlinear(net)
    >>> print(solution.status, solution.train_loss[jnp.array([0, 9])].round(2))
    ok [1.   0.09]
    """
    batches = checks.integer("batches", batches, 1)
    checks.choice("form", form, ("conditioning", "response"))
    checks.integer("seed", seed, 0)
    if checks.integer("samples", samples, 1) < 16 * batches:
        checks.fail("samples", samples, f"at least 16 for each of the {batches} batches")
    sites = 2 ** round(np.log2(samples / batches))
    if accuracy is not None:
        checks.positive("accuracy", accuracy)
    most, room = nonlinear.rank_guess(net)
    if rank is not None:
        room = min(checks.integer("rank", rank, 1), most)
    while True:
        trajectory = _batches(net, form, sites, room, seed, 0, batches)
        solution = NonlinearSolution(net, trajectory, sites, seed, room, form, accuracy)
        if rank is not None or not checks.known(trajectory.full) or not bool(trajectory.full.any()) or room == most:
            return solution
        room = min(2 * room, most)


def _batches(net, form, sites, rank, seed, first, count):
    """Trajectories number first ... first+count-1 of a seed, stacked."""
    room = nonlinear.room_for(net, rank, sites)
    needed = nonlinear.memory(net, room, sites) if form == "conditioning" else response.memory(net, sites)
    checks.memory("samples", f"{sites} a batch", needed, "more batches, fewer inputs or steps, a smaller rank")
    train = functools.partial(nonlinear.train, room=room, two_time=True) if form == "conditioning" else response.train
    devices, runs = jax.local_devices() if checks.known(net) else [None], []
    for b in range(first, first + count):  # independent, and started without waiting: side by side on several devices
        with jax.default_device(devices[b % len(devices)]) if len(devices) > 1 else contextlib.nullcontext():
            runs.append(train(net, (seed, b), sites=sites))
    return jax.tree.map(lambda *x: _numbers(x).stack(x), *runs)


def _numbers(arrays):
    """NumPy, which has nothing to compile, unless JAX is tracing."""
    return np if checks.known(arrays) else jnp
