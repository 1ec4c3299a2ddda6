"""What passes from level 1 to level 2: the weight history of one layer."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import checks


class WeightHistory(eqx.Module):
    """M(t) = M(0) + sum_{s < t} rates_s g_s h_s^T / m, with M(0) (n, m) of entries N(0, variance/m), aspect = n/m.

    The queries g_s to M(0)^T and h_s to M(0) are given over orthonormal directions (per site), p of them and q:

    left_queries    (steps, p)  g_s;                      right_queries   (steps, q)  h_s
    left_response   (p, q)      B: of the left directions to the innovations of the images of the right ones
    right_response  (q, p)      A: of the right directions to the innovations of the images of the left ones
    rates           (steps,)    strength of the spike of each step
    """

    aspect: Float[Array, ""]
    variance: Float[Array, ""]
    left_queries: Float[Array, "steps p"]
    right_queries: Float[Array, "steps q"]
    left_response: Float[Array, "p q"]
    right_response: Float[Array, "q p"]
    rates: Float[Array, " steps"]

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

    def independent(self) -> "WeightHistory":
        """The same spikes taken as independent of M(0)."""
        return eqx.tree_at(lambda h: (h.left_response, h.right_response), self, replace_fn=jnp.zeros_like)

    def compressed(self, tolerance: float, rank: int | None = None) -> "WeightHistory":
        """The same spikes over their leading directions: all those of more than `tolerance` of the largest, and as many
        as make their number a multiple of 8, so that compiled functions serve many histories.

        The responses to the directions left out are left out too, so that the error is of the size of the tolerance.
        Under `jit` and `vmap`, where the number of directions cannot depend on numbers, it is `rank`.
        """
        if not len(self.rates):
            return self
        _, sizes, directions = zip(*(
            jnp.linalg.svd(jax.lax.stop_gradient(queries), full_matrices=False)
            for queries in (self.left_queries, self.right_queries)
        ), strict=True)  # fmt: skip
        if checks.known(sizes[0]):
            rank = 8 * math.ceil(max(int(np.sum(each > tolerance * each[0])) for each in sizes) / 8)
        L, R = (each[:rank].T for each in directions)
        return WeightHistory(self.aspect, self.variance, self.left_queries @ L, self.right_queries @ R,
                             L.T @ self.left_response @ R, R.T @ self.right_response @ L, self.rates)  # fmt: skip
