"""The solution of a nonlinear network: level 1 in independent batches of samples, level
2 from their pooled moments.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks, linalg
from .._types import AnyArray
from ..activations import Linear
from ..history import WeightHistory
from ..losses import Squared
from ..networks import Adam, Muon, Nonlinear
from ..spectra.bulk import RectangularLaw
from ..spectra.outliers import Outliers
from ..training import nonlinear, response
from ..training.descent import AbstractDescent, after_update
from .base import Outcome, refuse_unlinear
from .sampled import (
    AbstractSampledSolution,
    Size,
    Trained,
    fitted,
    joined,
    side_by_side,
)

_SAMPLES = 4000
_MOST_SITES = 2**16  # of a batch, unless asked for
_FINEST = 1e-4  # of the largest query: smaller directions are dropped
_MANY_QUERIES = 1024  # that a matrix may be asked before coarser tolerances are tried
_KEPT_NUMBERS = 2**20  # of the kernels with output indices of a batch
_COARSE = (5e-2, 1e-2, 1e-3)
_SITES_OF_MANY = 4096  # of a batch
_LEADING = 1e-3  # queries smaller than that, relative to the largest, are left out


class NeuralTangentKernel(eqx.Module):
    """kernel (steps+1, P K, P K), index mu K + k: f(t+1) = f(t) + learning_rate kernel
    Delta(t) to first order; with the squared loss Delta(t+1) = (1 - learning_rate
    kernel) Delta(t).

    kernel = (1/P) sum_{l=0}^{L} r_l Phi^l G^{l+1},  Phi^0 = x.x'/D,  G^{L+1} = identity over the outputs

    with r_l the layer_rates; without momentum and decay.
    """

    kernel: jax.Array


class Fields(eqx.Module):
    """Draws of the fields of one layer at one step, of which every site is one neuron.

    forward    h^l (inputs, sites): on the training inputs and, after them, the test inputs
    backward   z^l (P, K, sites): z^l = M_l^T g^{l+1}, z^L the readout; g^l = phi'(h^l) z^l

    All sites have the same weight, and a column of `forward` and one of `backward` belong
    to the same neuron: averages over the sites are those over the joint law of h and z at
    infinite width. Sites come in `batches` of equal size, one after the other. Batches
    are independent; the sites of one are not, since they share the moments that the
    theory knows exactly.
    """

    forward: np.ndarray
    backward: np.ndarray
    batches: int = eqx.field(static=True)


class _Ends(NamedTuple):
    """The two-time kernels that no matrix keeps, of each batch."""

    features: AnyArray  # of the last layer
    gradients: AnyArray  # of the first


class NonlinearSolution(AbstractSampledSolution[Nonlinear]):
    """The training of a Nonlinear at infinite width, and the spectra of its hidden
    matrices.

    Averages over independent batches of samples; `standard_error` gives theirs. Arrays
    over time have length steps+1, entry t after t updates, and are NaN from the step on
    at which training diverged.
    """

    net: Nonlinear
    trajectory: nonlinear.Trajectory  # every array has a first axis of batches
    sites: int = eqx.field(static=True)
    seed: int = eqx.field(static=True)
    rank: int = eqx.field(static=True)
    form: str = eqx.field(static=True)
    accuracy: float | None = eqx.field(static=True)
    each_output: bool = eqx.field(static=True)  # has asked backward queries of its own
    tolerance: float = eqx.field(static=True)  # directions below this share are dropped

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
        """The loss averaged over all P samples: the squared residual summed over
        outputs (no 1/2), the cross-entropy, ...; (steps+1,).
        """
        return self._mean_loss(self.predictions, self.net.targets)

    @property
    def test_loss(self):
        """The same on the test data; None if there are no test targets."""
        targets = self.net.test_targets
        if targets is None:
            return None
        return self._mean_loss(self.test_predictions, targets)

    def _mean_loss(self, predictions, targets):
        return self.net.loss.value(predictions, targets).mean(-1)

    @property
    def fraction_correct(self):
        """The share of right answers on the training inputs, (steps+1,): of outputs
        whose largest is where that of the targets is; where there is a single output,
        and with the logistic loss, of outputs with the sign of their target. Ties, as at
        the start, share the answer.
        """
        right = self.net.loss.correct(self.predictions, self.net.targets)
        return jnp.where(self._alive(None), right.mean(-1), jnp.nan)

    @property
    def test_fraction_correct(self):
        """The same on the test data; None if there are no test targets."""
        targets = self.net.test_targets
        if targets is None:
            return None
        right = self.net.loss.correct(self.test_predictions, targets)
        return jnp.where(self._alive(None), right.mean(-1), jnp.nan)

    def feature_kernel(self, l: int):
        """<phi(h^l_mu) phi(h^l_nu)>, l = 1 ... L: (steps+1, P, P)."""
        return self.trajectory.feature_kernels[self._space(l)].mean(0)

    def gradient_kernel(self, l: int):
        """<g^l_{mu k} g^l_{nu j}>, l = 1 ... L: (steps+1, P, K, P, K).

        With several outputs they are made when they are first asked for, in a second
        training with the same random numbers: the first asks a matrix once for a
        sample, this one for every output of it.
        """
        space = self._space(l)
        if self.each_output:
            return self.trajectory.gradient_kernels[space].mean(0)
        kernels = [
            _output_kernels(self.net, self.sites, self.tolerance, seed)[space]
            for seed in self.trajectory.seeds
        ]
        return jnp.stack(kernels).mean(0)

    @property
    def _of_each_output(self) -> "NonlinearSolution":
        """This solution, or another with the same random numbers in which every output
        asks its own backward queries.
        """
        if self.each_output:
            return self
        trained = _with_outputs(
            self.net, self.sites, self.tolerance, self.trajectory.seeds
        )
        return dataclasses.replace(
            self,
            trajectory=trained.trajectory,
            sites=trained.size.sites,
            rank=trained.size.rank,
            each_output=True,
            tolerance=trained.size.tolerance,
        )

    def fields(self, l: int, step: int) -> Fields:
        """Draws of h^l and z^l, l = 1 ... L, at a step: the law of a single neuron, for
        histograms and averages of your own.

        Made when they are asked for, in the time of a training up to that step with the
        same random numbers. NaN from where training diverged. Raises ValueError for the
        response form, and under `jit` and `grad`.

        >>> net = Nonlinear(inputs=[[1.0, 1.0]], targets=[1.0], hidden_layers=1, learning_rate=0.1, steps=3)
        >>> solution = solve_nonlinear(net, samples=1024)
        >>> h = solution.fields(1, step=3).forward
        >>> h.shape, bool(abs(np.mean(np.tanh(h) ** 2) - solution.feature_kernel(1)[3, 0, 0]) < 1e-9)
        ((1, 1024), True)
        """
        space = self._space(l)
        step = _checks.integer("step", step, 0, self.net.steps)
        _checks.choice("form", self.form, ("conditioning",))
        _checks.concrete("net", self.net)
        if not self.each_output:
            return self._of_each_output.fields(l, step)
        room = nonlinear.room_for(self.net, self.rank, self.sites)
        made = functools.partial(
            nonlinear.fields,
            self.net,
            l=space + 1,
            step=step,
            sites=self.sites,
            room=room,
            tolerance=self.tolerance,
        )
        found = side_by_side(made, self.net, self.trajectory.seeds)

        def joined(batches):
            sites_last = np.moveaxis(np.asarray(batches), 0, -2)
            flat = sites_last.reshape(*sites_last.shape[:-2], -1)
            return np.where(self._alive(step), flat, np.nan)

        return Fields(joined(found.forward), joined(found.backward), self.batches)

    def two_time(self, l: int):
        """<phi(h^l_mu(s)) phi(h^l_nu(t))> (steps+1, P, steps+1, P), <g^l(s) g^l(t)>
        (steps+1, P, K, steps+1, P, K).

        Made when it is asked for: those of the first and the last layer take the time
        of a second training. Raises ValueError where they need more memory than there
        is.
        """
        space = self._space(l)
        self._room_for_two_time()
        if not self.each_output:
            return self._of_each_output.two_time(l)
        layers = self.trajectory.layers
        top = space == self.net.hidden_layers - 1
        bottom = space == 0
        ends = self._ends() if top or bottom else None
        if top and ends is not None:
            features = ends.features
        else:
            features = jax.vmap(lambda measured: measured.grams()[0])(layers[space])
        if bottom and ends is not None:
            gradients = ends.gradients
        else:
            below = layers[space - 1]
            gradients = jax.vmap(lambda measured: measured.grams()[1])(below)
        return self._dead(features.mean(0), 2), self._dead(gradients.mean(0), 3)

    def _ends(self) -> "_Ends":
        """Trained once more, with the same random numbers, where they were not kept."""
        features = self.trajectory.top_features
        gradients = self.trajectory.bottom_gradients
        if features is not None and gradients is not None:
            return _Ends(features, gradients)
        room = nonlinear.room_for(self.net, self.rank, self.sites)
        train = functools.partial(
            nonlinear.train,
            self.net,
            sites=self.sites,
            room=room,
            tolerance=self.tolerance,
            two_time=True,
        )
        again = side_by_side(train, self.net, self.trajectory.seeds)
        return _Ends(again.top_features, again.bottom_gradients)

    def _room_for_two_time(self):
        P, _ = self.net.targets.shape
        _checks.memory(
            "two_time",
            f"{self.net.steps} steps of {P} inputs",
            nonlinear.two_time_memory(self.net, self.sites, self.batches),
            "fewer inputs or steps",
        )

    def responses(self, layer: int):
        """B (steps+1, P, K, steps+1, P) = <d g^{l+1}/d u>, A (steps+1, P, steps+1, P,
        K) = <d phi(h^l)/d r>, l = layer.

        u and r are the innovations of M_l(0) phi(h^l) and M_l(0)^T g^{l+1}. The
        conditioning form has them by Stein's lemma, without a derivative of the
        activation. Where queries are linearly dependent only sums of responses have a
        meaning; these are the smallest.
        """
        measured = self._of_each_output._layer(layer)
        B, A = jax.vmap(lambda measured: measured.responses())(measured)
        return self._dead(B.mean(0), 3), self._dead(A.mean(0), 2)

    @property
    def ntk(self) -> NeuralTangentKernel:
        """The kernel that moves the predictions, in the units of the learning rate."""
        P, K = self.net.targets.shape
        L = self.net.hidden_layers
        rates = jnp.ones(L + 1)
        if self.net.layer_rates is not None:
            rates = self.net.layer_rates
        top = self.feature_kernel(L)
        total = rates[L] * jnp.einsum("tmn,kj->tmknj", top, jnp.eye(K))
        for l in range(1, L):
            features = self.feature_kernel(l)[:, :, None, :, None]
            total = total + rates[l] * features * self.gradient_kernel(l + 1)
        inputs = self.net.inputs @ self.net.inputs.T / self.net.inputs.shape[1]
        total = total + rates[0] * inputs[:, None, :, None] * self.gradient_kernel(1)
        return NeuralTangentKernel(total.reshape(-1, P * K, P * K) / P)

    @property
    def sharpness(self):
        """Largest eigenvalue of H^{1/2} K H^{1/2} at each step, K the NTK and H the
        Hessian of the loss in the outputs (1 for the squared loss): unstable at
        `sharpness_limit`.

        It is the kernel's, not the Hessian's: that of the loss is, in these units, the
        kernel's on the residual's side and a term of the residual besides, and may be
        up to several times larger while the residual is large.

        Raises ValueError for a network that Muon or Adam trains: the size of its update does
        not follow that of the gradient, and no curvature is the edge of stability.
        """
        refuse_unlinear(self.net)
        kernel = self.ntk.kernel
        finite = jnp.isfinite(kernel).all((1, 2))
        safe = jnp.where(finite[:, None, None], kernel, 0.0)
        if self.net.loss == Squared:
            top = linalg.eigvalsh(safe)[:, -1]
        else:
            top = linalg.top_of_product(safe, self._hessian(finite))
        return jnp.where(finite, top, jnp.nan)

    def _hessian(self, finite):
        """Of the loss in the outputs, (steps+1, P K, P K): nothing between samples."""
        P, K = self.net.targets.shape
        f = jnp.where(finite[:, None, None], self.predictions, 0.0)
        own = self.net.loss.hessian(f, self.net.targets)
        between = jnp.einsum("tmkj,mn->tmknj", own, jnp.eye(P))
        return between.reshape(-1, P * K, P * K)

    @property
    def alignment(self):
        """Cosine of the top feature kernel with the Gram of the targets, at each step."""
        wanted = self.net.targets @ self.net.targets.T
        kernel = self.feature_kernel(self.net.hidden_layers)
        norms = jnp.linalg.norm(kernel, axis=(1, 2)) * jnp.linalg.norm(wanted)
        return jnp.sum(kernel * wanted, (1, 2)) / jnp.where(norms > 0, norms, 1.0)

    def initial_law(self, layer: int) -> RectangularLaw:
        """The law of the singular values of W^layer / sqrt(N) before training."""
        return RectangularLaw(1.0, self._layer(layer).variance.mean())

    def descent(self, layer: int) -> AbstractDescent | None:
        """The optimiser of W^layer."""
        return jax.tree.map(lambda x: x[0], self._layer(layer).descent)

    def outliers(
        self,
        layer: int,
        step: int | None = None,
        max_outliers: int | None = None,
        independent: bool = False,
        tolerance: float | None = None,
    ) -> Outliers:
        """Outliers of W^layer / sqrt(N), and their overlaps with the queries of the
        updates.

        Left with g_mu(s) = sum_k Delta_{mu k}(s) g_{mu k}(s), right with phi(h_mu(s)),
        index s P + mu, s = 0 ... steps-1; in the response form left with g_{mu k}(s),
        index (s P + mu) K + k; with Adam after them with the functions that its updates
        are made of. At one step, values (k,); without `step` at all of
        them, (steps+1, k), padded with NaN. `max_outliers` sets k and has to be given
        under `jit`. Directions of less than `tolerance` of the largest among the
        queries, with Muon among its updates, are left out: 0.001 if not given, or what
        training has dropped already (`stats`). With `independent` the spikes are wrongly
        taken as independent of the initial weights, to be compared with. The
        `standard_error` of the values is that of `standard_error`, all at once.
        """
        step = self._step(step)
        history = self.weight_history(layer, tolerance)
        history = history.independent() if independent else history
        found = self._outliers(history, step, max_outliers)
        rows = found.values.shape[-1]

        def values(solution):
            return solution.outliers(layer, step, rows, independent, tolerance).values

        return found.with_error(lambda: self.standard_error(values))

    def weight_history(
        self, layer: int, tolerance: float | None = None
    ) -> WeightHistory:
        """What level 2 needs to know of W^layer, from all batches; queries as in
        `outliers`.
        """
        measured = self._layer(layer)
        if self.form == "conditioning" and self._has_diverged:
            measured = measured.until(int(self.finite_steps))
        if tolerance is None:
            tolerance = max(_LEADING, self.tolerance)
        if self.form == "conditioning":
            return WeightHistory.from_moments(measured, tolerance)
        return jax.tree.map(lambda x: x.mean(0), measured).history(tolerance)

    def more(self, samples: int) -> "NonlinearSolution":
        """The solution with about that many samples added, in new batches of the same
        size.
        """
        count = -(-_checks.integer("samples", samples, 1) // self.sites)
        seeds = [(self.seed, b) for b in range(self.batches, self.batches + count)]
        size = Size(self.sites, self.rank, self.tolerance)
        added = _batches(self.net, self.form, size, seeds, self.each_output)
        trajectory = joined(self.trajectory, added)
        return eqx.tree_at(lambda s: s.trajectory, self, trajectory)

    @property
    def quality(self) -> Outcome:
        """The rank cap was reached, or there are too few samples."""
        few = 2 * self.trajectory.used.max() > self.sites
        found = Outcome.where(few, Outcome.few_samples, Outcome.ok)
        if self.accuracy is not None:
            error = jnp.max(self.standard_error("predictions"))
            wrong = ~few & ~(error <= self.accuracy)
            found = Outcome.where(wrong, Outcome.inaccurate, found)
        return Outcome.where(self.trajectory.full.any(), Outcome.rank_cap, found)

    @property
    def reason(self) -> str:
        if not bool(self.outcome == Outcome.inaccurate):
            return super().reason
        error = float(jnp.max(self.standard_error("predictions")))
        return (
            f"too few samples: standard error of the predictions {error:.2g}, asked "
            f"for {self.accuracy:.2g}"
        )

    @property
    def stats(self) -> dict:
        """Samples, batches, the largest standard error of the predictions, the rank of
        the query histories of each layer (backward, forward), the room there was, the
        share of the largest query, with Muon of its largest update, below which a
        direction was dropped, and the sizes of the bases. With Adam also `left_out`, of
        each matrix: the Frobenius norm of what its last update has beside its leading
        functions; no singular value is further off for want of it.
        """
        muon = self.net.optimizer
        slope = muon.slope if isinstance(muon, Muon) else 1.0
        error = self.standard_error("predictions")
        of_adam = {}
        if isinstance(self.net.optimizer, Adam):
            of_adam = dict(left_out=self._left_out)
        return dict(
            **of_adam,
            samples=self.batches * self.sites,
            batches=self.batches,
            standard_error=float(jnp.max(error)),
            ranks=np.asarray(self.trajectory.ranks.max(0)),
            rank_cap=self.rank,
            tolerance=after_update(self.tolerance, slope),
            directions=np.asarray(self.trajectory.used.max(0)),
        )

    @property
    def _left_out(self) -> np.ndarray:
        """Of the update of each matrix after the last step, what its leading functions
        leave out: the Frobenius norm, which bounds the error of every singular value.
        """
        layers = self.trajectory.layers
        norms = [np.asarray(layer.functions.left_out) for layer in layers]
        last = [np.max(norm[:, -1:], initial=0.0) for norm in norms]
        return np.array(last)

    def _dead(self, kernel, other: int):
        """A kernel between two times, its axes 0 and `other`, NaN where training had
        diverged at either.
        """
        alive = self._alive(None)
        for axis in (0, other):
            others = [i for i in range(kernel.ndim) if i != axis]
            kernel = jnp.where(jnp.expand_dims(alive, others), kernel, jnp.nan)
        return kernel

    def _space(self, l):
        return _checks.choice("l", l, tuple(range(1, self.net.hidden_layers + 1))) - 1

    def _layer(self, layer):
        return self.trajectory.layers[self.net.layer(layer) - 1]


def solve_nonlinear(
    net: Nonlinear,
    samples: int | None = None,
    seed: int = 0,
    batches: int = 4,
    rank: int | None = None,
    accuracy: float | None = None,
    form: str = "conditioning",
) -> NonlinearSolution:
    """Solve the theory of a nonlinear network.

    samples    sites in all, roughly: in `batches` independent batches, from which the
               standard errors come, each of a power of two, as quasi-random numbers
               like it. If not given, 4000, and as many more as the directions of the
               queries ask for: the first batch tells. Fewer of a linear network, which
               is exact with as many as hold its directions
    rank       room for the directions of the queries of each matrix; if not given, it
               grows until nothing is dropped
    accuracy   the standard error of the predictions above which `status` reports too
               few samples
    form       "conditioning": the cost is samples x inputs x steps x rank. "response":
               an independent and slower way, samples x (inputs x steps)^3, that refuses
               kinked activations and takes no derivatives

    Raises ValueError for anything but a Nonlinear, and where the memory needed is more
    than this machine has. Under `jit` and `grad` give `rank`.

    >>> inputs, targets = [[1.0, 0.0], [0.5, 1.0]], [1.0, -1.0]
    >>> net = Nonlinear(inputs=inputs, targets=targets, hidden_layers=1, learning_rate=0.5, steps=9)
    >>> solution = solve_nonlinear(net)
    >>> print(solution.status, solution.train_loss[jnp.array([0, 9])].round(2))
    ok [1.   0.09]
    """
    batches = _checks.integer("batches", batches, 1)
    asked = _checked(samples, seed, batches, accuracy, form)
    each_output = form == "response" or net.targets.shape[1] == 1
    most, room = nonlinear.rank_guess(net, each_output)
    if rank is not None:
        room = min(_checks.integer("rank", rank, 1), most)
        most = room
    fewest = samples is None and form == "conditioning" and net.activation == Linear
    seeds = [(seed, b) for b in range(batches)]
    train = functools.partial(_batches, net, form, each_output=each_output)
    sites = _sites(net, asked / batches, room, fewest, each_output)
    size = Size(sites, room, _FINEST)
    given = samples is not None or form == "response"
    most = Size(sites if given else _MOST_SITES, most, _FINEST)
    concrete = _checks.is_concrete(net)
    pilot = None
    if not given and rank is None and concrete and most.rank > _MANY_QUERIES:
        first = _as_fine_as_fits(train, seeds[0], room, most)
        size, pilot = first.size, first.trajectory
    trained = fitted(train, seeds, size, most, pilot)
    return NonlinearSolution(
        net,
        trained.trajectory,
        trained.size.sites,
        seed,
        trained.size.rank,
        form,
        accuracy,
        each_output,
        trained.size.tolerance,
    )


def _checked(samples, seed, batches, accuracy, form) -> int:
    """The samples asked for, of options that make sense."""
    _checks.choice("form", form, ("conditioning", "response"))
    _checks.integer("seed", seed, 0)
    asked = _SAMPLES if samples is None else _checks.integer("samples", samples, 1)
    if asked < 16 * batches:
        _checks.fail("samples", asked, f"at least 16 for each of the {batches} batches")
    if accuracy is not None:
        _checks.positive("accuracy", accuracy)
    return asked


def _sites(net, number: float, room: int, fewest: bool, each_output: bool) -> int:
    """Sites of a batch: a power of two, roughly that number or, if fewer are enough, as
    many as hold all directions.
    """
    sites = 2 ** round(np.log2(number))
    if not fewest:
        return sites
    directions = max(nonlinear.room_for(net, room, sites, each_output))
    return min(sites, 2 ** math.ceil(np.log2(2 * directions)))


def _as_fine_as_fits(train: Callable, seed: tuple, rank: int, most: Size) -> Trained:
    """A batch of many queries. A coarse tolerance is tried first, and a
    finer one while there is room for several times as many directions.
    """
    size = Size(_SITES_OF_MANY, rank, _COARSE[0])
    trained = fitted(train, [seed], size, most)
    for finer in _COARSE[1:]:
        if 8 * trained.trajectory.used.max() > trained.size.sites:
            break
        size = trained.size._replace(tolerance=finer)
        trained = fitted(train, [seed], size, most)
    return trained


def _with_outputs(net: Nonlinear, sites: int, tolerance: float, seeds: list) -> Trained:
    """Trained anew, so that every output has asked its own backward queries."""
    most, room = nonlinear.rank_guess(net, each_output=True)
    train = functools.partial(_batches, net, "conditioning", each_output=True)
    size = Size(sites, room, tolerance)
    return fitted(train, seeds, size, Size(_MOST_SITES, most, tolerance))


class _Same:
    """A network as a key: equal to another if it is made of the same arrays."""

    def __init__(self, net: Nonlinear):
        self.net = net
        self.parts = jax.tree.leaves(net)

    def __hash__(self):
        return hash(tuple(map(id, self.parts)))

    def __eq__(self, other):
        if jax.tree.structure(self.net) != jax.tree.structure(other.net):
            return False
        return all(a is b for a, b in zip(self.parts, other.parts, strict=True))


def _kernels(net: Nonlinear, sites: int, tolerance: float, seed: tuple) -> tuple:
    trained = _with_outputs(net, sites, tolerance, [seed]).trajectory
    return tuple(kernels[0] for kernels in trained.gradient_kernels)


@functools.lru_cache(maxsize=32)
def _kept_kernels(net: _Same, sites: int, tolerance: float, seed: tuple) -> tuple:
    return _kernels(net.net, sites, tolerance, seed)


def _output_kernels(net: Nonlinear, sites: int, tolerance: float, seed: tuple) -> tuple:
    """L of (steps+1, P, K, P, K), of one batch; kept for the next who asks, unless
    they are large.
    """
    numbers = net.hidden_layers * (net.steps + 1) * net.targets.size**2
    if numbers > _KEPT_NUMBERS or not _checks.is_concrete(net):
        return _kernels(net, sites, tolerance, seed)
    return _kept_kernels(_Same(net), sites, tolerance, seed)


def _batches(net, form, size: Size, seeds: list, each_output: bool):
    """Trajectories of these seeds, stacked."""
    sites, rank, tolerance = size
    room = nonlinear.room_for(net, rank, sites, each_output)
    if form == "conditioning":
        needed = nonlinear.memory(net, room, sites, len(seeds), each_output)
        train = functools.partial(
            nonlinear.train,
            net,
            sites=sites,
            room=room,
            tolerance=tolerance,
            each_output=each_output,
        )
    else:
        needed = response.memory(net, sites)
        train = functools.partial(response.train, net, sites=sites)
    _checks.memory(
        "samples",
        f"{sites} a batch",
        needed,
        "more batches, fewer inputs or steps, a smaller rank",
    )
    if isinstance(net.optimizer, Adam):
        train = _one_by_one(train)
    return side_by_side(train, net, seeds)


def _one_by_one(train: Callable) -> Callable:
    """The same, done when it returns: no two hold their operators at once."""

    def done(seed):
        return jax.block_until_ready(train(seed))

    return done
