"""From a DeepLinear to its solution: level 1 trains it, level 2 reads the spectra of its weights off the history."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import checks
from ..networks import DeepLinear
from ..spectra.bulk import RectangularLaw
from ..spectra.ntk import KernelSpectrum, kernel_spectrum
from ..spectra.outliers import Outliers
from ..spectra.trajectory import conditioned, outlier_trajectory
from ..training import deep_linear
from ..training.history import WeightHistory
from .base import Solution

_DROPPED = 1e-5  # a query history that had to drop more is reported
_COMPRESSION, _COMPRESSION_OF_SLOPES = 1e-5, 1e-12  # of the histories that level 2 sees; slopes need more directions


class DeepLinearSolution(Solution):
    """The training of a DeepLinear in the proportional limit, and the spectra of its weights."""

    net: DeepLinear
    trajectory: deep_linear.Trajectory

    @property
    def train_loss(self) -> Float[Array, " times"]:
        """Squared residual averaged over the samples (no 1/2)."""
        return self.trajectory.train_loss

    @property
    def test_loss(self) -> Float[Array, " times"]:
        """Squared error of the prediction on fresh inputs, without label noise."""
        return self.trajectory.test_loss

    @property
    def predictor_norm(self) -> Float[Array, " times"]:
        """|p|^2/D, where f(x) = p.x/sqrt(D)."""
        return self.trajectory.predictor_norm

    @property
    def alignment(self) -> Float[Array, " times"]:
        """beta.p/D."""
        return self.trajectory.alignment

    def feature_gram(self, l: int) -> Float[Array, "times times"]:
        """<h^l(s) h^l(t)>, l = 0 ... L: h^0 is the direction of descent, h^{l+1} = M_l h^l."""
        h = self.trajectory.forward[checks.choice("l", l, tuple(range(self.net.hidden_layers + 1)))]
        return h @ h.T

    def gradient_gram(self, l: int) -> Float[Array, "times times"]:
        """<g^l(s) g^l(t)>, l = 0 ... L: g^L is the readout, g^l = M_l^T g^{l+1}."""
        g = self.trajectory.backward[checks.choice("l", l, tuple(range(self.net.hidden_layers + 1)))]
        return g @ g.T

    def weight_history(self, layer: int) -> WeightHistory:
        """What level 2 needs to know of W^layer."""
        return self.trajectory.layers[self.net.layer(layer)]

    def bulk(self, layer: int, step: int | None = None) -> RectangularLaw:
        """The law of all but finitely many singular values of W^layer / sqrt(fan_in), the same at every step."""
        self._step(step)
        history = self.weight_history(layer)
        return RectangularLaw(history.aspect, history.variance)

    def outliers(self, layer: int, step: int | None = None, max_outliers: int | None = None,
                 independent: bool = False) -> Outliers:  # fmt: skip
        """Outliers of W^layer / sqrt(fan_in) and their overlaps with the queries g_s, h_s of steps s = 0 ... steps-1.

        At one step, values (k,); without `step`, at all of them: (steps+1, k), padded with NaN. `max_outliers` sets k,
        and has to be given under `jit` and `vmap`. With `independent` the spikes are taken as independent of the
        initial weights, which is wrong: it is there to be compared with.
        """
        history = self._compressed(layer)
        found = outlier_trajectory(history.independent() if independent else history, self._step(step), max_outliers)
        if checks.known(found.values) and step is None and self.finite_steps <= self.net.steps:
            alive = (np.arange(self.net.steps + 1) < self.trajectory.finite_steps)[:, None]
            found = Outliers(*(jnp.where(alive if x.ndim == 2 else alive[:, :, None], x, jnp.nan)
                               for x in (found.values, found.left_overlap, found.right_overlap)))
        return found

    def _compressed(self, layer):
        history = self.weight_history(layer)
        tolerance = _COMPRESSION if checks.known(history.left_queries) else _COMPRESSION_OF_SLOPES
        return history.compressed(tolerance, deep_linear.query_capacity(self.net.steps, self.net.batch, tolerance))

    def _revealed(self, layer):
        return conditioned(self._compressed(layer))

    @functools.cached_property
    def ntk(self) -> KernelSpectrum:
        """The spectrum of the neural tangent kernel at every step. Not under `jit`, `grad` and `vmap`."""
        return kernel_spectrum(self.net, self.trajectory.layers[0].left_queries.shape[1])

    @property
    def sharpness(self):
        """Largest eigenvalue of the NTK at each step: unstable at 2/learning_rate."""
        return np.fmax(self.ntk.edge, self.ntk.outliers[:, 0])

    @property
    def finite_steps(self):
        return self.trajectory.finite_steps

    @property
    def warning(self):
        return "rank cap reached" if self.trajectory.dropped > _DROPPED else None

    @property
    def troubled(self):
        return super().troubled | (self.trajectory.dropped > _DROPPED)

    @property
    def stats(self) -> dict:
        """ranks: directions used by the histories of W^0 ... W^{L-1} and X, backward and forward; dropped: relative
        size of the largest direction that had no room."""
        return {"ranks": np.asarray(self.trajectory.ranks), "dropped": float(self.trajectory.dropped)}


def solve_deep_linear(net: DeepLinear, capacity: int | None = None) -> DeepLinearSolution:
    """`solve` for a DeepLinear.

    capacity   room for the directions in its query histories; if not given, it grows until nothing is dropped

    >>> net = DeepLinear(hidden_layers=2, width_ratio=0.8, sample_ratio=1.5, gamma0=3.0, init_variance=0.5,
    ...                  label_noise=0.2, learning_rate=0.05, steps=20)
    >>> solution = solve_deep_linear(net)
    >>> print(solution.test_loss[jnp.array([0, 10, 20])].round(4), solution.outliers(layer=1, step=20).values.round(4))
    [1.0174 0.377  0.2642] [1.5767]
    """
    room = deep_linear.query_capacity(net.steps, net.batch) if capacity is None else capacity
    while True:
        solution = DeepLinearSolution(net, deep_linear.train(net, room))
        dropped = solution.trajectory.dropped
        if capacity is not None or not checks.known(dropped) or dropped <= _DROPPED or room > net.steps:
            return solution
        room = min(2 * room, net.steps + 1)
