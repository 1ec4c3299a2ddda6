"""From a DeepLinear to its solution: level 1 trains it, level 2 reads the spectra of
its weights off the history.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks
from ..history import LinearQueries, WeightHistory
from ..networks import DeepLinear
from ..spectra.bulk import RectangularLaw
from ..spectra.ntk import KernelSpectrum, kernel_spectrum
from ..spectra.outliers import Outliers
from ..training import deep_linear
from ..training.descent import AbstractDescent
from .base import AbstractHistorySolution, Outcome, refuse_unlinear

_KERNEL_TOLERANCE = 1e-4  # of the training that the kernel's spectrum is read off
_DROPPED = 1e-5  # a query history that had to drop more is reported
_COMPRESSION = 1e-5  # of the histories that level 2 sees


class DeepLinearSolution(AbstractHistorySolution[DeepLinear]):
    """The training of a DeepLinear in the proportional limit, and the spectra of its
    weights.
    """

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
        """<h^l(s) h^l(t)>, l = 0 ... L: h^0 is the direction of descent, h^{l+1} = M_l
        h^l.
        """
        h = self.trajectory.forward[
            _checks.choice("l", l, tuple(range(self.net.hidden_layers + 1)))
        ]
        return h @ h.T

    def gradient_gram(self, l: int) -> Float[Array, "times times"]:
        """<g^l(s) g^l(t)>, l = 0 ... L: g^L is the readout, g^l = M_l^T g^{l+1}."""
        g = self.trajectory.backward[
            _checks.choice("l", l, tuple(range(self.net.hidden_layers + 1)))
        ]
        return g @ g.T

    def weight_history(self, layer: int) -> WeightHistory:
        """What level 2 needs to know of W^layer, over the leading directions of its
        queries: those of more than 1e-5 of the largest, and all of them under `jit`,
        `grad` and `vmap`. With Muon also those of more than 1e-5 of its largest updates.
        """
        queries = self.queries(layer)
        if self._has_diverged:
            queries = queries.until(int(self.finite_steps))
        if self.net.optimizer is None:
            return queries.compressed(_COMPRESSION).history()
        steps, p = queries.left_queries.shape
        _checks.memory("steps", steps, 32.0 * steps * p**2, "fewer steps")
        return queries.history().compressed(_COMPRESSION)

    def responses(
        self, layer: int
    ) -> tuple[Float[Array, "steps steps"], Float[Array, "steps steps"]]:
        """B_st = <d g^{l+1}(s) / d u(t)> and A_st = <d h^l(s) / d r(t)>, l = layer.

        u and r are the innovations of M_l(0) h^l and M_l(0)^T g^{l+1}. Where queries
        are linearly dependent only sums of responses have a meaning; these are the
        smallest. NaN where training had diverged at s or at t.
        """
        alive = self._alive(None)[: self.net.steps]
        both = alive[:, None] & alive
        B, A = self.queries(layer).responses()
        return jnp.where(both, B, jnp.nan), jnp.where(both, A, jnp.nan)

    def initial_law(self, layer: int) -> RectangularLaw:
        """The law of the singular values of W^layer / sqrt(fan_in) before training."""
        queries = self.queries(layer)
        return RectangularLaw(queries.aspect, queries.variance)

    def descent(self, layer: int) -> AbstractDescent | None:
        """The optimiser of W^layer."""
        return self.queries(layer).descent

    def outliers(
        self,
        layer: int,
        step: int | None = None,
        max_outliers: int | None = None,
        independent: bool = False,
    ) -> Outliers:
        """Outliers of W^layer / sqrt(fan_in) and their overlaps with the queries g_s,
        h_s of steps s = 0 ... steps-1.

        At one step, values (k,); without `step`, at all of them: (steps+1, k), padded
        with NaN. `max_outliers` sets k, and has to be given under `jit` and `vmap`.
        With `independent` the spikes are taken as independent of the initial weights,
        which is wrong: it is there to be compared with.
        """
        history = self.weight_history(layer)
        history = history.independent() if independent else history
        return self._outliers(history, step, max_outliers)

    def queries(self, layer: int) -> LinearQueries:
        """The queries to W^layer and their responses, over orthonormal directions."""
        return self.trajectory.layers[self.net.layer(layer)]

    @functools.cached_property
    def ntk(self) -> KernelSpectrum:
        """The spectrum of the neural tangent kernel at every step. Not under `jit`,
        `grad` and `vmap`.
        """
        return kernel_spectrum(self.net, self.few_directions)

    @functools.cached_property
    def few_directions(self) -> deep_linear.Trajectory:
        """The training solved again with each query perturbed by up to 1e-4, so that it
        reveals few directions of the matrices: what the spectrum of the kernel is read
        off. What is known of the matrices is exact for the perturbed queries.
        """
        room = self.trajectory.layers[0].left_queries.shape[1]
        return deep_linear.train(self.net, room, _KERNEL_TOLERANCE)

    @property
    def sharpness(self):
        """Largest eigenvalue of the NTK at each step: unstable at `sharpness_limit`.

        It is the kernel's, not the Hessian's: that of the loss is, in these units, the
        kernel's on the residual's side and a term of the residual besides, and may be
        up to several times larger while the residual is large.

        Raises ValueError for a network that Muon trains: the size of its update does
        not follow that of the gradient, and no curvature is the edge of stability.
        """
        refuse_unlinear(self.net)
        return np.fmax(self.ntk.edge, self.ntk.outliers[:, 0])

    @property
    def finite_steps(self):
        return self.trajectory.finite_steps

    @property
    def quality(self) -> Outcome:
        full = self.trajectory.dropped > _DROPPED
        return Outcome.where(full, Outcome.rank_cap, Outcome.ok)

    @property
    def reason(self) -> str:
        return "rank cap reached"

    @property
    def stats(self) -> dict:
        """ranks: directions used by the histories of W^0 ... W^{L-1} and X, backward
        and forward; dropped: relative size of the largest direction that had no room.
        """
        return {
            "ranks": np.asarray(self.trajectory.ranks),
            "dropped": float(self.trajectory.dropped),
        }


def solve_deep_linear(
    net: DeepLinear, capacity: int | None = None
) -> DeepLinearSolution:
    """`solve` for a DeepLinear.

    capacity   room for the directions in its query histories; if not given, it grows
               until nothing is dropped

    >>> net = DeepLinear(hidden_layers=2, width_ratio=0.8, sample_ratio=1.5, gamma0=3.0, init_variance=0.5,
    ...                  label_noise=0.2, learning_rate=0.05, steps=20)
    >>> solution = solve_deep_linear(net)
    >>> print(solution.test_loss[::10].round(4), solution.outliers(layer=1, step=20).values.round(4))
    [1.0174 0.377  0.2642] [1.5767]
    """
    room = deep_linear.default_capacity(net) if capacity is None else capacity
    while True:
        solution = DeepLinearSolution(net, deep_linear.train(net, room))
        dropped = solution.trajectory.dropped
        settled = capacity is not None or not _checks.is_concrete(dropped)
        if settled or dropped <= _DROPPED or room > net.steps:
            return solution
        room = min(2 * room, net.steps + 1)
