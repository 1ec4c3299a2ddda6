"""What passes from level 1 to level 2: the weight history of one layer."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import checks
from .gaussian import GaussianMatrix


class WeightHistory(eqx.Module):
    """M(t) = M(0) + sum_{s < t} rates_s g_s h_s^T / m, with M(0) (n, m) of entries N(0, variance/m), aspect = n/m.

    Q_L and Q_R are orthonormal bases (per site) of all that M(0)^T and M(0) were ever multiplied with: p and q
    directions, zero where there were fewer.

    left_queries    (steps, p)  g_s over Q_L;   right_queries (steps, q)  h_s over Q_R
    core            (p, q)      Q_L^T M(0) Q_R
    left_beyond     (p, p)      Gram of what M(0)^T Q_L has outside Q_R
    right_beyond    (q, q)      Gram of what M(0) Q_R has outside Q_L
    left_response   (p, q)      <d q_L / d u>, u the innovations of the images of Q_R
    right_response  (q, p)      <d q_R / d r>, r the innovations of the images of Q_L
    rates           (steps,)    strength of the spike of each step
    """

    aspect: Float[Array, ""]
    variance: Float[Array, ""]
    left_queries: Float[Array, "steps p"]
    right_queries: Float[Array, "steps q"]
    core: Float[Array, "p q"]
    left_beyond: Float[Array, "p p"]
    right_beyond: Float[Array, "q q"]
    left_response: Float[Array, "p q"]
    right_response: Float[Array, "q p"]
    rates: Float[Array, " steps"]

    @staticmethod
    def of(matrix: GaussianMatrix, left_queries, right_queries, rates) -> "WeightHistory":
        """The history from what the queries have revealed of M(0)."""
        root = jnp.sqrt(matrix.aspect)
        core = root * matrix.left_basis @ matrix.right_images.T
        left_beyond = matrix.left_images / root - core @ matrix.right_basis
        right_beyond = matrix.right_images * root - core.T @ matrix.left_basis
        return WeightHistory(
            matrix.aspect, matrix.variance, left_queries, right_queries, core, left_beyond @ left_beyond.T,
            right_beyond @ right_beyond.T, matrix.left_response, matrix.right_response, rates,
        )  # fmt: skip

    @property
    def left_gram(self) -> Float[Array, "steps steps"]:
        """G_st = <g_s g_t>."""
        return self.left_queries @ self.left_queries.T

    @property
    def right_gram(self) -> Float[Array, "steps steps"]:
        """H_st = <h_s h_t>."""
        return self.right_queries @ self.right_queries.T

    def responses(self) -> tuple[Float[Array, "steps steps"], Float[Array, "steps steps"]]:
        """B_st = <d g_s / d u_t> and A_st = <d h_s / d r_t>, u_t and r_t the innovations of M(0) h_t and M(0)^T g_t.

        Where the queries are linearly dependent only sums of responses have a meaning; these are the smallest.
        """
        left, right = self.left_queries, self.right_queries
        return (left @ self.left_response @ jnp.linalg.pinv(right), right @ self.right_response @ jnp.linalg.pinv(left))

    def compressed(self, tolerance: float = 1e-7) -> "WeightHistory":
        """The same spikes over fewer directions: those that are less than `tolerance` of any query are forgotten.

        Needs numbers, so that it leaves the history as it is under a JAX transformation.
        """
        if not checks.known(self.left_queries) or not len(self.rates):
            return self
        L, R = (_leading(queries, tolerance) for queries in (self.left_queries, self.right_queries))
        core = L.T @ self.core @ R
        return WeightHistory(
            self.aspect, self.variance, self.left_queries @ L, self.right_queries @ R, core,
            L.T @ (self.left_beyond + self.core @ self.core.T) @ L - core @ core.T,
            R.T @ (self.right_beyond + self.core.T @ self.core) @ R - core.T @ core,
            L.T @ self.left_response @ R, R.T @ self.right_response @ L, self.rates,
        )  # fmt: skip


def _leading(queries, tolerance):
    """Orthonormal columns that span the queries (rows) up to the tolerance, relative to the largest direction."""
    _, sizes, directions = np.linalg.svd(np.asarray(queries), full_matrices=False)
    return directions[: max(1, int(np.sum(sizes > tolerance * sizes[0])))].T
