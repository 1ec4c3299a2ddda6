"""What the solutions of all networks have in common."""

import equinox as eqx
import numpy as np

from .. import checks


class Solution(eqx.Module):
    """The training of a network, and the spectra of its weights.

    Arrays over time have length steps+1, entry t after t updates, and are NaN from the step on at which it diverged.
    """

    net: eqx.AbstractVar[eqx.Module]

    @property
    def finite_steps(self):
        """The number of finite entries of every array over time."""
        raise NotImplementedError

    @property
    def warning(self) -> str | None:
        """What else is wrong than divergence, in words."""
        return None

    @property
    def status(self) -> str:
        """"ok", "diverged at step t", or another reason not to trust the numbers."""
        if self.finite_steps <= self.net.steps:
            return f"diverged at step {int(self.finite_steps)}"
        return self.warning or "ok"

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    def escape_step(self, layer: int, number: int = 1) -> int | None:
        """The first step at which W^layer has at least `number` outliers, None if there is none."""
        values = np.asarray(self.outliers(layer).values)
        escaped = np.flatnonzero(np.isfinite(values).sum(1) >= checks.integer("number", number, 1))
        return int(escaped[0]) if len(escaped) else None

    def _step(self, step):
        if step is not None and checks.integer("step", step, 0) > self.net.steps:
            checks.fail("step", step, f"at most {self.net.steps}, the steps of the training")
        return step
