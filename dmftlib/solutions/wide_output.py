"""From a WideOutput to its solution: level 1 trains it, level 2 reads the spectra off
the population it makes.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _checks
from .._compile import compiled
from ..networks import WideOutput
from ..spectra.bulk import RectangularLaw
from ..spectra.outliers import Outliers, outliers
from ..spectra.push_forward import (
    AbstractMap,
    Image,
    monotonic_branches,
    singular_values,
)
from ..spectra.resolvent import generalised_mp
from ..spectra.spiked import SpikedEnsemble
from ..training import wide_output
from .base import AbstractSolution, Outcome


class WideOutputSolution(AbstractSolution[WideOutput]):
    """The training of a WideOutput in the limit of large dimensions, and the spectra of
    its weights.
    """

    net: WideOutput
    trajectory: wide_output.Trajectory

    @property
    def test_loss(self) -> Float[Array, " times"]:
        """|E|^2 / C: squared error averaged over inputs and, since they are as many as
        dimensions, over outputs.
        """
        return self.trajectory.test_loss

    @property
    def train_loss(self) -> Float[Array, " times"]:
        """The same: the gradient is that of the whole population."""
        return self.trajectory.test_loss

    @property
    def sharpness(self) -> Float[Array, " times"]:
        """Largest eigenvalue of A in E(t+1) = (1 - learning_rate A) E(t): unstable at
        2/learning_rate. It is not that of the Hessian, which has a term of the residual
        besides and may be several times larger.
        """
        return self.trajectory.sharpness

    def bulk(self, layer: int, step: int | None = None) -> Image:
        """The law of the min(N, D) singular values of M(step), the last step if None.

        A trained readout gives the D singular values in the limit N -> infinity. Before
        training, or where the target has fewer directions, these are an atom: all
        sqrt(init_variance). Raises ValueError under `jit` and `grad`.
        """
        if not self.net.train_readout:
            return self._law(layer, step, self.trajectory.population)
        _checks.concrete("net", self.net)
        net = dataclasses.replace(self.net, steps=self._taken(layer, step))
        ratio = net.output_ratio / net.input_ratio
        law = RectangularLaw(ratio, net.target_variance)
        size = _ModeSize(net)
        low, high = map(float, law.edges[0])
        branches = monotonic_branches(size, low, high)
        weight = max(0.0, 1 - ratio) if len(branches) else 1.0
        atoms = ((net.init_variance**0.5, weight),) if weight > 0 else ()
        counted = 1 / (1 - weight) if weight < 1 else 1.0
        return Image(law, size, branches, counted, atoms)

    def update_bulk(self, layer: int, step: int | None = None) -> Image:
        """The law of the min(N, D) singular values of M(step) - M(0), step > 0, for a
        frozen readout.
        """
        if self.net.train_readout:
            _checks.fail("train_readout", True, "a frozen readout")
        if self._taken(layer, step) == 0:
            _checks.fail("step", 0, "a step after the first update")
        return self._law(layer, step, self.trajectory.update)

    def outliers(self, layer: int, step: int | None = None) -> Outliers:
        """Outliers of M(step), with overlaps: left with the rows of a, right with those
        of a M(0) and of W*.

        At one step (k,); without `step` at all of them, (steps+1, k), NaN where there
        are none.

        There are some only in the limit of few outputs, output_ratio = 0, where each of
        the C outputs has one, at the same place. At any other ratio they are a band of
        `bulk`, isolated or not, and no entry is left for here.
        """
        if step is None:
            found = [self.outliers(layer, t) for t in range(int(self.finite_steps))]
            rows = max(len(at.values) for at in found)
            return jax.tree.map(
                lambda *parts: _padded(parts, (self.net.steps + 1, rows)), *found
            )
        net, t = self.net, self._taken(layer, step)
        h = (1 - (1 - net.learning_rate) ** t) if net.output_ratio == 0 else 0.0
        scale = net.input_ratio
        return outliers(
            SpikedEnsemble(
                aspect=1 / scale,
                variance=net.init_variance * scale,
                left_gram=[[1.0]],
                right_gram=jnp.diag(
                    jnp.array([net.init_variance, net.target_variance])
                ),
                right_response=[[1.0], [0.0]],
                strengths=h * jnp.array([[-scale, net.gamma0 * scale**0.5]]),
            )
        )

    @property
    def quality(self) -> Outcome:
        return Outcome.ok

    @property
    def reason(self) -> str:
        return "ok"

    @property
    def finite_steps(self):
        return jnp.isfinite(self.test_loss).sum()

    def _taken(self, layer, step):
        self.net.layer(layer)
        step = self.net.steps if step is None else _checks.integer("step", step, 0)
        alive = int(jnp.isfinite(self.test_loss).sum())
        return (
            step
            if step < alive
            else _checks.fail(
                "step", step, f"at most {alive - 1}: steps taken, and finite"
            )
        )

    def _law(self, layer, step, populations):
        _checks.concrete("net", (self.net, populations))
        shape = 1 / self.net.input_ratio
        population = populations[self._taken(layer, step)]
        squares = generalised_mp(population, self.trajectory.weights, shape)
        return singular_values(squares, 1 / shape, max(0.0, 1 - shape))


def _padded(parts, shape):
    """One row for each step, NaN where there is nothing."""
    filled = jnp.full(shape + parts[-1].shape[1:], jnp.nan)
    for t, part in enumerate(parts):
        filled = filled.at[t, : len(part)].set(part)
    return filled


class _ModeSize(AbstractMap):
    """s -> the singular value of M that a mode s of the target has made."""

    net: WideOutput

    @compiled
    def __call__(self, s):
        return jnp.sqrt(wide_output.modes(self.net, s)[1][-1])

    @compiled
    def slope(self, s):
        return jax.jvp(self.__call__, (s,), (jnp.ones_like(s),))[1]


def solve_wide_output(net: WideOutput) -> WideOutputSolution:
    """`solve` for a WideOutput.

    >>> net = WideOutput(output_ratio=0.1, input_ratio=0.7, target_variance=9.0, learning_rate=0.1, steps=30)
    >>> [[round(float(x), 2) for x in pair] for pair in solve_wide_output(net).bulk(0).edges]
    [[0.17, 1.71], [1.99, 4.27]]
    """
    return WideOutputSolution(net, wide_output.train(net))
