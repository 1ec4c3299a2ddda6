"""What the solutions of all networks have in common."""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .. import checks
from ..spectra.trajectory import escape_margin


class Solution(eqx.Module):
    """The training of a network, and the spectra of its weights.

    Arrays over time have length steps+1, entry t after t updates, and are NaN from the step on at which it diverged.
    """

    net: eqx.AbstractVar[eqx.Module]

    @property
    @abc.abstractmethod
    def finite_steps(self):
        """The number of finite entries of every array over time."""

    @property
    def warning(self) -> str | None:
        """What else is wrong than divergence, in words."""
        return None

    @property
    def troubled(self):
        """Whether there is anything to report, as a number that may be traced."""
        return jnp.asarray(self.finite_steps <= self.net.steps)

    @property
    def status(self) -> str:
        """"ok", "diverged at step t", or another reason not to trust the numbers."""
        if self.finite_steps <= self.net.steps:
            return f"diverged at step {int(self.finite_steps)}"
        return self.warning or "ok"

    @property
    def ok(self) -> bool:
        """Whether `status` is "ok"."""
        return self.status == "ok"

    def escape_step(self, layer: int, number: int = 1) -> int | None:
        """The first step at which W^layer has at least `number` outliers, None if there is none."""
        values = np.asarray(self.outliers(layer).values)
        escaped = np.flatnonzero(np.isfinite(values).sum(1) >= checks.integer("number", number, 1))
        return int(escaped[0]) if len(escaped) else None

    def escape_margin(self, layer: int, step: int | None = None, number: int = 1):
        """How far W^layer is from its first outlier, or outlier `number`: -1 before training, positive after escape.

        omega - 1, where an update omega times as small would have that outlier just at the edge: a number at one
        step, else (steps+1,). For one independent spike of strength theta, omega = theta/(sigma c^(1/4)).
        """
        start, spikes = self._revealed(layer)
        if checks.integer("number", number, 1) > sum(start.core.shape):
            checks.fail("number", number, f"at most {sum(start.core.shape)}, the directions of the training")
        margin = escape_margin(start, spikes, self._step(step), number)
        steps = np.arange(self.net.steps + 1) if step is None else step
        return jnp.where(steps < self.finite_steps, margin, jnp.nan)

    def escape_time(self, layer: int, number: int = 1):
        """`escape_step` between steps: where the margin, interpolated by straight lines, crosses 0; NaN if nowhere."""
        margin = self.escape_margin(layer, number=number)
        t = jnp.argmax(margin > 0)
        return jnp.where(t > 0, t.astype(float) - margin[t] / (margin[t] - margin[t - 1]), jnp.nan)

    @property
    def edge_of_stability_step(self) -> int | None:
        """The first step at which the sharpness is at least 2/learning_rate, None if there is none."""
        unstable = np.flatnonzero(np.asarray(self.sharpness) * self.net.learning_rate >= 2)
        return int(unstable[0]) if len(unstable) else None

    def _revealed(self, layer):
        """The ConditionedEnsemble of W^layer at the start, and the spikes of each step."""
        checks.fail("net", type(self.net).__name__, "a DeepLinear or Nonlinear network")

    def _step(self, step):
        return None if step is None else checks.integer("step", step, 0, self.net.steps)
