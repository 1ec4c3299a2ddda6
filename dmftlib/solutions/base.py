"""What the solutions of all networks have in common."""

import abc
from typing import Generic, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .. import _checks, linalg
from .._types import AnyArray, Layer, Net
from ..history import WeightHistory
from ..spectra.bulk import RectangularLaw
from ..spectra.escape import escape_margin
from ..spectra.outliers import Outliers, outliers_by_step, squared_scale
from ..training.descent import AbstractDescent, sharpness_limit
from ..training.steps import head, shelf


class Outcome(eqx.Enumeration):
    """How solving ended. The message is the remedy: Outcome[solution.outcome]."""

    ok = "nothing to be done"
    diverged = "a smaller learning_rate, or fewer steps"
    rank_cap = "room for more directions: a larger `rank` or `capacity`"
    few_samples = "more `samples`, or fewer `batches`"
    inaccurate = "more `samples`, by solve or by solution.more, or a larger `accuracy`"


class Crossing(NamedTuple):
    """The first step after an outlier has left the bulk, or returned to it."""

    step: int
    leaves: bool


class AbstractSolution(eqx.Module, Generic[Net]):
    """The training of a network, and the spectra of its weights.

    Arrays over time have length steps+1, entry t after t updates, and are NaN from the
    step on at which it diverged; so is whatever is asked of such a step.
    """

    net: eqx.AbstractVar[Net]

    @property
    @abc.abstractmethod
    def finite_steps(self) -> Int[AnyArray, ""]:
        """The number of finite entries of every array over time."""

    @property
    @abc.abstractmethod
    def quality(self) -> Outcome:
        """The outcome where training did not diverge. It may be traced."""

    @property
    @abc.abstractmethod
    def sharpness(self) -> Float[AnyArray, " times"]:
        """Largest eigenvalue of A in Delta(t+1) = (1 - learning_rate A) Delta(t)."""

    @abc.abstractmethod
    def outliers(self, layer: Layer, step: int | None = None) -> Outliers:
        """Outliers of W^layer at a step, or at each of all."""

    @property
    @abc.abstractmethod
    def reason(self) -> str:
        """The same in words, where it is not ok."""

    @property
    def outcome(self) -> Outcome:
        """What is wrong, if anything. It may be traced: it equals Outcome.ok or not."""
        diverged = jnp.asarray(self.finite_steps <= self.net.steps)
        return Outcome.where(diverged, Outcome.diverged, self.quality)

    @property
    def troubled(self) -> Bool[Array, ""]:
        """Whether there is anything to report, as a number that may be traced."""
        return self.outcome != Outcome.ok

    @property
    def status(self) -> str:
        """ "ok", "diverged at step t", or another reason not to trust the numbers."""
        if self.ok:
            return "ok"
        if bool(self.outcome == Outcome.diverged):
            return f"diverged at step {int(self.finite_steps)}"
        return self.reason

    @property
    def remedy(self) -> str:
        """What to do about the status."""
        return Outcome[self.outcome]

    @property
    def ok(self) -> bool:
        """Whether `status` is "ok"."""
        return not bool(_checks.concrete("solution", self.troubled))

    def escape_step(self, layer: Layer, number: int = 1) -> int | None:
        """The first step at which W^layer has at least `number` outliers, None if there
        is none. It may return to the bulk, and leave it again: see `crossings`.
        """
        left = [each.step for each in self.crossings(layer, number) if each.leaves]
        return left[0] if left else None

    def crossings(self, layer: Layer, number: int = 1) -> tuple["Crossing", ...]:
        """Every step at which outlier `number` of W^layer has left the bulk or returned
        to it, in order.
        """
        _checks.integer("number", number, 1)
        _checks.concrete("solution", self)
        values = self.outliers(layer).values
        outside = np.isfinite(values).sum(1) >= number
        outside = outside[: int(self.finite_steps)]
        changed = np.flatnonzero(np.diff(outside, prepend=False))
        return tuple(Crossing(int(t), bool(outside[t])) for t in changed)

    @property
    def sharpness_limit(self) -> Float[Array, " times"]:
        """The sharpness from which on the optimiser is unstable: 2/learning_rate of
        plain descent.
        """
        return jnp.full(self.net.steps + 1, 2 / self.net.learning_rate)

    @property
    def edge_of_stability_step(self) -> int | None:
        """The first step at which the sharpness is at least `sharpness_limit`, None if
        there is none.
        """
        _checks.concrete("solution", self)
        sharpness = np.asarray(self.sharpness)
        unstable = np.flatnonzero(sharpness >= np.asarray(self.sharpness_limit))
        return int(unstable[0]) if len(unstable) else None

    @property
    def _has_diverged(self) -> bool:
        """Whether training is known to have diverged: not while it is traced."""
        finite = self.finite_steps
        return _checks.is_concrete(finite) and bool(finite <= self.net.steps)

    def _step(self, step):
        return (
            None if step is None else _checks.integer("step", step, 0, self.net.steps)
        )

    def _alive(self, step, steps: int | None = None) -> Bool[Array, "..."]:
        """Whether training had not diverged at that step, or at each of all (`steps` of
        them, if there are to be more).
        """
        last = self.net.steps if steps is None else steps
        times = np.arange(last + 1) if step is None else step
        return jnp.asarray(times < self.finite_steps)


def refuse_unlinear(net):
    """Refuse what belongs to optimisers that are linear in gradients."""
    optimizer = getattr(net, "optimizer", None)
    if optimizer is not None:
        name = type(optimizer).__name__
        need = (
            f"None: with {name}, whose update is as large for a small gradient as for a "
            "large one, neither the sharpness nor its limit are defined; `ntk` is"
        )
        _checks.fail("optimizer", _checks.kind(optimizer), need)


class AbstractHistorySolution(AbstractSolution[Net]):
    """A solution that knows the weight histories of its matrices."""

    @abc.abstractmethod
    def weight_history(self, layer: Layer) -> WeightHistory:
        """What level 2 needs to know of W^layer."""

    @abc.abstractmethod
    def initial_law(self, layer: Layer) -> RectangularLaw:
        """The law of the singular values of W^layer / sqrt(fan_in) before training."""

    @abc.abstractmethod
    def descent(self, layer: Layer) -> AbstractDescent | None:
        """The optimiser of W^layer, None where nothing decays and nothing is carried
        over from step to step.
        """

    def scale(self, layer: Layer) -> Float[Array, " times"]:
        """The factor to which weight decay has shrunk the initial weights, in W^layer(t)
        = scale_t W^layer(0) + spikes; it may be negative.
        """
        descent = self.descent(layer)
        if descent is None:
            return jnp.ones(self.net.steps + 1)
        nowhere = jnp.zeros((self.net.steps, 1, 1))
        return descent.path(nowhere).scale

    @property
    def sharpness_limit(self) -> Float[Array, " times"]:
        """The sharpness from which on the optimiser is unstable at the rate of each
        step, (steps+1,); entry `steps` at the last rate, infinite where it is zero.

        With momentum mu and decay lam it is 2 (1 + mu)/learning_rate - lam, with
        Nesterov's 2 (1 + mu)/(1 + 2 mu)/learning_rate - lam. Unequal layer_rates
        multiply the decay; then lam is that of the layer with the largest. Raises
        ValueError for a network that Muon or Adam trains.
        """
        refuse_unlinear(self.net)
        return sharpness_limit(self.net)

    def bulk(self, layer: Layer, step: int | None = None) -> RectangularLaw:
        """The law of all but finitely many singular values of W^layer / sqrt(fan_in)
        after `step` updates, the last if not given: that of the initial weights but for
        the factor to which weight decay has shrunk them. Of variance NaN where training
        has diverged.

        Where nothing is left of the initial weights, the edge is 1e-8 of what it was.
        """
        last = step is None
        step = self._step(step)
        law = self.initial_law(layer)
        when = jnp.maximum(self.finite_steps - 1, 0) if last else step
        variance = law.variance * squared_scale(self.scale(layer)[when])
        if not last:
            variance = jnp.where(self._alive(step), variance, jnp.nan)
        return eqx.tree_at(lambda law: law.variance, law, variance)

    def update_spectrum(
        self, layer: Layer, step: int | None = None
    ) -> Float[AnyArray, "*times k"]:
        """The singular values of what training has added to W^layer / sqrt(fan_in), S in
        W^layer(t) = scale_t W^layer(0) + S, descending: (k,) at one step, else
        (steps+1, k). All beyond those k are zero. Directions that `weight_history` leaves
        out are left out here.
        """
        step = self._step(step)
        spikes = self.weight_history(layer).spikes
        values = linalg.singular_values(spikes)
        values = jnp.where(self._alive(None)[:, None], values, jnp.nan)
        return values if step is None else values[step]

    def escape_margin(self, layer: Layer, step: int | None = None, number: int = 1):
        """How far W^layer is from its first outlier, or outlier `number`: -1 before
        training, positive after escape.

        omega - 1, where an update omega times as small would have that outlier just at
        the edge: a number at one step, else (steps+1,). For one independent spike of
        strength theta, omega = theta/(sigma c^(1/4)).
        """
        step = self._step(step)
        history = self.weight_history(layer)
        most = sum(history.core.shape)
        if _checks.integer("number", number, 1) > most:
            need = f"at most {most}, the directions of the training"
            _checks.fail("number", number, need)
        longer = history.padded(shelf(history.steps))
        margin = escape_margin(longer, step, number)
        margin = jnp.where(self._alive(step, longer.steps), margin, jnp.nan)
        return margin if step is not None else head(margin, history.steps + 1)

    def escape_time(self, layer: Layer, number: int = 1):
        """`escape_step` between steps: where the margin, interpolated by straight
        lines, crosses 0 for the first time; NaN if nowhere.
        """
        margin = self.escape_margin(layer, number=number)
        t = jnp.argmax(margin > 0)
        escaped = (t > 0) & jnp.isfinite(margin[t])
        after = jnp.where(escaped, margin[t], 1.0)
        before = jnp.where(escaped, margin[t - 1], 0.0)
        time = t.astype(float) - after / (after - before)
        return jnp.where(escaped, time, jnp.nan)

    def _outliers(self, history, step, max_outliers) -> Outliers:
        """Those of the history, NaN from where training diverged."""
        step = self._step(step)
        longer = history.padded(shelf(history.steps))
        alive = self._alive(step, longer.steps)
        found = outliers_by_step(longer, step, max_outliers, alive)
        if max_outliers is None and not len(found.values) and not jnp.all(alive):
            found = outliers_by_step(longer, step, 1, alive)
        return _shorter(found, history, step)


def _shorter(found: Outliers, history: WeightHistory, step) -> Outliers:
    """What belongs to the steps and the queries of a history that was padded."""
    times = history.steps + 1 if step is None else len(found.values)
    return Outliers(
        head(found.values, times),
        head(found.left_overlap, times, history.left_queries.shape[1]),
        head(found.right_overlap, times, history.right_queries.shape[1]),
    )
