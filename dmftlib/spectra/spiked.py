"""M = M0 + U strengths V^T / m whose spikes may have been computed from M0 itself, by
the Grams and responses of the queries.

The columns g_j of U (n, l) and h_k of V (m, k) are *queries*: a query may be any
function of the images M0 h of earlier h's, or M0^T g of earlier g's. In this, the
response form of level 2, their inner products with the resolvent of M0 are a matrix
Q(s), and s is an outlier iff 1 is an eigenvalue of Q(s) J, J = [[0, strengths],
[strengths^T, 0]]. `SpikedEnsemble.history` is the same in the conditioning form, which
the solver works with.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks, linalg
from .._compile import compiled
from ..history import WeightHistory
from .bulk import RectangularLaw


class Crossings(NamedTuple):
    """values (l+k,) descending, vectors (l+k, l+k) in columns."""

    values: Float[Array, " n"]
    vectors: Float[Array, "n n"]


class SpikedEnsemble(eqx.Module):
    """M = M0 + U strengths V^T / m, with M0 (n, m) of entries N(0, variance/m), aspect
    = n/m; response form.

    left_gram       G (l, l)  <g_i g_j>, averages over the n left sites
    right_gram      H (k, k)  <h_i h_j>, averages over the m right sites
    left_response   B (l, k)  <d g_j / d (M0 h_k)>, zero if not given
    right_response  A (k, l)  <d h_k / d (M0^T g_j)>, zero if not given
    strengths         (l, k)

    Every vector that M0 was multiplied with on the way to a spike has to be among the
    queries, with zero strength if it is not in a spike: a query left out gives wrong
    outliers. Strengths of order one give singular values of order one at any n, m. With
    zero responses the spikes are independent of M0.

    Raises ValueError for an aspect or variance that is not positive, Grams that are not
    symmetric positive semidefinite, shapes that do not match, NaN, responses that no
    causal order of queries could have, and responses too large for the Grams (the
    covariance of the queries with the images of M0 would not be positive).

    Source: derived in chapter 3 of the book.

    The square spiked covariance (1 + theta v v^T) M0 has its top right direction
    amplified; its spike M0 -> g = M0 v depends on M0 and escapes for every theta above
    sqrt(2) - 1, where an independent spike needs 1:

    >>> from dmftlib import outliers
    >>> spiked = SpikedEnsemble(aspect=1.0, variance=1.0, left_gram=[[1.0]],
    ...                         right_gram=[[1.0]], left_response=[[1.0]],
    ...                         strengths=[[0.8]])
    >>> print(outliers(spiked).values.round(4), outliers(spiked.independent()).values)
    [2.1648] []
    """

    aspect: Float[Array, ""]
    variance: Float[Array, ""]
    left_gram: Float[Array, "l l"]
    right_gram: Float[Array, "k k"]
    left_response: Float[Array, "l k"]
    right_response: Float[Array, "k l"]
    strengths: Float[Array, "l k"]

    def __init__(
        self,
        *,
        aspect,
        variance,
        left_gram,
        right_gram,
        strengths,
        left_response=None,
        right_response=None,
    ):
        self.aspect = jnp.asarray(_checks.positive("aspect", aspect), float)
        self.variance = jnp.asarray(_checks.positive("variance", variance), float)
        self.left_gram = _checks.gram("left_gram", left_gram)
        self.right_gram = _checks.gram("right_gram", right_gram)
        left = len(self.left_gram)
        right = len(self.right_gram)
        if left_response is None:
            left_response = jnp.zeros((left, right))
        if right_response is None:
            right_response = jnp.zeros((right, left))
        self.left_response = _checks.array(
            "left_response", left_response, (left, right)
        )
        self.right_response = _checks.array(
            "right_response", right_response, (right, left)
        )
        self.strengths = _checks.array("strengths", strengths, (left, right))
        if all(map(_checks.is_concrete, jax.tree.leaves(self))):
            self._refuse_circles()
            self._refuse_large_responses()

    def _refuse_circles(self):
        """Queries that depend on each other in a circle have no order to be made in."""
        A = np.asarray(self.right_response)
        B = np.asarray(self.left_response)
        # g_i was computed, one M0^T and one M0 later, from g_j
        onward = ((B != 0).astype(int) @ (A != 0)) > 0
        for _ in range(len(B).bit_length()):
            onward = onward | (onward.astype(int) @ onward > 0)
        if np.diagonal(onward).any():
            _checks.fail(
                "left_response, right_response",
                "queries that depend on each other in a circle",
                "responses with a causal order: each query a function of earlier ones",
            )

    def _refuse_large_responses(self):
        """A Gram contains at least what the responses explain of it."""
        G = np.asarray(self.left_gram)
        H = np.asarray(self.right_gram)
        B = np.asarray(self.left_response)
        A = np.asarray(self.right_response)
        of_left = float(self.variance) * B @ H @ B.T
        of_right = float(self.variance * self.aspect) * A @ G @ A.T
        for name, gram, explained in (("left", G, of_left), ("right", H, of_right)):
            allowed = -0.05 * np.max(np.abs(gram), initial=0.0)
            if gram.size and np.linalg.eigvalsh(gram - explained)[0] < allowed:
                _checks.fail(
                    f"{name}_response",
                    "responses larger than the Grams allow",
                    f"{name}_gram minus the part that the responses explain to be "
                    "positive semidefinite",
                )

    @staticmethod
    def from_vectors(M0, U, V, strengths, variance=None) -> WeightHistory:
        """The conditioning form from the vectors themselves; see
        `WeightHistory.from_vectors`.

        >>> from dmftlib import outliers
        >>> rng = np.random.default_rng(0)
        >>> M0 = rng.standard_normal((600, 600)) / np.sqrt(600)
        >>> h = rng.standard_normal((600, 1))
        >>> g = M0 @ h
        >>> outliers(SpikedEnsemble.from_vectors(M0, g, h, [[0.8]])).values.shape
        (1,)
        """
        return WeightHistory.from_vectors(M0, U, V, strengths, variance)

    def independent(self) -> "SpikedEnsemble":
        """The same Grams and strengths with the responses dropped: the spikes taken as
        independent of M0.
        """
        return eqx.tree_at(
            lambda e: (e.left_response, e.right_response),
            self,
            replace_fn=jnp.zeros_like,
        )

    @compiled(jit=eqx.filter_jit)
    def history(self, tolerance: float = 1e-6) -> WeightHistory:
        """The conditioning form, by Stein's lemma: a history of one step.

        Directions smaller than `tolerance`, relative to the largest query, are left
        out.
        """
        return WeightHistory.from_grams(
            aspect=self.aspect,
            variance=self.variance,
            left_gram=self.left_gram,
            right_gram=self.right_gram,
            left_response=self.left_response,
            right_response=self.right_response,
            strengths=self.strengths[None],
            tolerance=tolerance,
        )

    @property
    def law(self) -> RectangularLaw:
        """The bulk."""
        return RectangularLaw(self.aspect, self.variance)

    @property
    def _spike_operator(self) -> Float[Array, "n n"]:
        """J = [[0, strengths], [strengths^T, 0]]."""
        l, k = self.strengths.shape
        J = jnp.zeros((l + k, l + k))
        return J.at[:l, l:].set(self.strengths).at[l:, :l].set(self.strengths.T)

    def overlap_matrix(self, s) -> Float[Array, "n n"]:
        """Q(s) = F^T (s - H0)^{-1} F / m over the queries F = (g_1 … g_l | h_1 … h_k),
        H0 the Hermitization of M0.

        With sources for each query, the two responses and the two overlaps of the
        auxiliary dynamics are one linear solve each.
        """
        v = self.variance
        vc = v * self.aspect
        m_L = self.law.m_left(s)
        m_R = self.law.m_right(s)
        G = self.left_gram
        H = self.right_gram
        B = self.left_response
        A = self.right_response
        A_F = jnp.hstack([jnp.zeros_like(G), A.T])
        B_F = jnp.hstack([B.T, jnp.zeros_like(H)])
        G_F = jnp.hstack([G, jnp.zeros_like(B)])
        H_F = jnp.hstack([jnp.zeros_like(A), H])
        identity = jnp.eye(len(G))
        back = identity - m_L * m_R * v * vc * A.T @ B.T
        alpha = linalg.solve(back, m_R * (A_F + vc * m_L * A.T @ B_F))
        beta = m_L * (B_F + v * B.T @ alpha)
        source = m_R * (H_F + vc * H @ beta)
        forth = identity - m_L * m_R * v * vc * B @ A
        left = linalg.solve(forth, m_L * (G_F + v * B @ source + v * G @ alpha))
        right = source + m_R * vc * A @ left
        Q = jnp.vstack([self.aspect * left, right])
        return (Q + Q.T) / 2

    def crossings(self, s) -> "Crossings":
        """Eigenvalues of Q^{1/2} J Q^{1/2}, descending, with the columns y = Q J y: they
        fall in s and cross 1 at the outliers.
        """
        squares, vectors = linalg.eigh(self.overlap_matrix(s))
        root = vectors * jnp.sqrt(jnp.maximum(squares, 0.0)) @ vectors.T
        values, vectors = linalg.eigh(root @ self._spike_operator @ root)
        return Crossings(values[::-1], root @ vectors[:, ::-1])
