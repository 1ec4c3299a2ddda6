"""How far a matrix is from sending out an outlier."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import linalg
from .._compile import compiled
from ..history import WeightHistory
from .outliers import family, steps_asked
from .roots import AbstractFamily, differentiable


class EdgeFamily(AbstractFamily):
    """T(omega) = spikes - omega below, with `below` positive definite."""

    spikes: Float[Array, "*steps n n"]
    below: Float[Array, "*steps n n"]

    def matrix(self, x):
        """T(omega)."""
        return self.spikes - x * self.below

    def root(self, y):
        """The Rayleigh quotient."""
        pushed = y @ self.spikes @ y
        held = y @ self.below @ y
        return pushed / held


def escape_margin(history: WeightHistory, step: int | None = None, number: int = 1):
    """omega - 1, where scale M(0) + (M(t) - scale M(0))/omega has outlier `number` just
    at the edge: at one step or at each.

    omega is an eigenvalue of S y = omega (s_+ - K(s_+)) y, with K of scale M(0) and S =
    [[0, D], [D^T, 0]], D the sum of the spikes so far; as many omega are above 1 as
    there are outliers. It can be differentiated as often as asked.
    """
    steps = steps_asked(history, step)
    margin = _margins(history, steps, number)
    return margin if step is None else margin[0]


@compiled
def _margins(history: WeightHistory, steps, number):
    """The margin at each of the steps; infinite where nothing of M(0) is left."""
    unspiked = eqx.tree_at(lambda h: h.increments, history, replace_fn=jnp.zeros_like)
    spiked = family(history, steps).at_edge
    start = family(unspiked, steps).at_edge
    families = EdgeFamily(spiked - start, -start)
    omega = jax.vmap(_omega, (0, None))(families, number)
    left = history.scale[steps] != 0
    return jnp.where(left, omega - 1, jnp.inf)


def _omega(family: EdgeFamily, number):
    """Eigenvalue `number` from the top of spikes y = omega below y."""
    frozen = jax.lax.stop_gradient(family)
    factor = linalg.cholesky(frozen.below)
    half = linalg.solve_lower(factor, frozen.spikes)
    whitened = linalg.solve_lower(factor, half.T)
    _, vectors = linalg.eigh(whitened)
    null = linalg.solve_lower(factor, vectors[:, -number, None], transposed=True)
    unit = null[:, 0] / jnp.linalg.norm(null)
    y = differentiable(family, unit)
    return family.root(y)
