"""From a WideOutput to its solution: level 1 trains it, level 2 reads the spectra off the population it makes."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import checks
from .networks import WideOutput
from .spectra.bulk import RectangularLaw
from .spectra.outliers import Outliers, SpikedEnsemble, outliers
from .spectra.population import Image, SingularValues, generalised_mp, image
from .training import wide_output


class WideOutputSolution(eqx.Module):
    """The training of a WideOutput in the limit of large dimensions, and the spectra of its weights.

    Arrays over time have length steps+1, entry t after t updates, and are NaN from the step on at which it diverged.
    """

    net: WideOutput
    trajectory: wide_output.Trajectory

    @property
    def test_loss(self) -> Float[Array, " times"]:
        """|E|^2 / C, the squared error averaged over inputs and, being as many as dimensions, over outputs."""
        return self.trajectory.test_loss

    @property
    def train_loss(self) -> Float[Array, " times"]:
        """The same: the gradient is that of the whole population."""
        return self.trajectory.test_loss

    @property
    def sharpness(self) -> Float[Array, " times"]:
        """Largest eigenvalue of A in E(t+1) = (1 - learning_rate A) E(t): unstable at 2/learning_rate."""
        return self.trajectory.sharpness

    @property
    def ok(self) -> bool:
        """True if training did not diverge."""
        return bool(jnp.isfinite(self.test_loss).all())

    @property
    def status(self) -> str:
        """"ok", or at which step training diverged."""
        return "ok" if self.ok else f"diverged at step {int(jnp.isfinite(self.test_loss).sum())}"

    def bulk(self, layer: int, step: int | None = None) -> SingularValues | Image:
        """The law of the min(N, D) singular values of M(step), the last step if None.

        A trained readout gives the D singular values in the limit N -> infinity.
        """
        self.net.layer(layer)
        step, net = self._step(step), self.net
        if not net.train_readout:
            return self._law(self.trajectory.population[step], max(0.0, 1 - 1 / net.input_ratio))
        ratio = net.output_ratio / net.input_ratio
        atoms = ((net.init_variance**0.5, 1 - ratio),) if ratio < 1 else ()
        truncated = eqx.tree_at(lambda n: n.steps, net, step, is_leaf=lambda x: x is None) if False else _until(net, step)
        return image(RectangularLaw(ratio, net.target_variance),
                     lambda s: jnp.sqrt(wide_output.modes(truncated, s)[1][-1]), atoms)
