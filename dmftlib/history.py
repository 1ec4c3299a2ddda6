"""What passes between the levels: the weight history of one matrix, and what training
hands over to make one.

Queries are the vectors that a matrix M(0) was multiplied with on the way to its spikes:
g from the left, h from the right. With orthonormal directions Q_L, Q_R of all of them,
level 2 needs to know of M(0) its core Q_L^T M(0) Q_R and the Grams of what the images
M(0)^T Q_L and M(0) Q_R have beyond the two spans; all else of M(0) is fresh noise.
Three makers measure them:

    from_vectors     from the vectors themselves and M(0), projected out of it
    from_responses   by Stein's lemma, from the responses of the directions: over unit
                     directions (per site), with B = d q_L / d u and A = d q_R / d r,
                         core  = variance sqrt(c) (B + A^T),
                         left  beyond = variance   (1 - variance c A^T A),
                         right beyond = variance c (1 - variance   B^T B)
    from_moments     from averages over sampled sites, batches of them pooled
"""

import dataclasses
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from . import _checks, linalg
from ._compile import compiled
from ._types import AnyArray
from .training.descent import AbstractDescent, Path, before_update

_DERIVATIVES = 3  # of the span of leading directions
_RESOLVED = 1e-9  # relative gap between squared sizes that are told apart
_MANY = 1024  # queries and directions, of which the leading part alone is computed
_ROUNDS = 2  # of their Gram
_TOGETHER = 8  # directions come in multiples of it: compiled functions serve many


class WeightHistory(eqx.Module):
    """M(t) = scale_t M(0) + sum_{s<t} increments_s, seen through orthonormal directions
    Q_L (p of them) and Q_R (q) of all queries.

    aspect, variance   M(0) is (n, m), n/m = aspect, with entries N(0, variance/m)
    core               (p, q)         Q_L^T M(0) Q_R
    left_beyond        (p, p)         Gram of what M(0)^T Q_L has outside Q_R
    right_beyond       (q, q)         Gram of what M(0) Q_R has outside Q_L
    left_queries       (p, l)         the queries g over Q_L, per site
    right_queries      (q, k)         the queries h over Q_R, per site
    scale              (steps+1,)     1 where weights do not decay
    increments         (steps, p, q)  Q_L^T (what each step adds) Q_R

    Source: the conditioning form of chapter 3 of the book.
    """

    aspect: Float[Array, ""]
    variance: Float[Array, ""]
    core: Float[Array, "p q"]
    left_beyond: Float[Array, "p p"]
    right_beyond: Float[Array, "q q"]
    left_queries: Float[Array, "p l"]
    right_queries: Float[Array, "q k"]
    scale: Float[Array, " times"]
    increments: Float[Array, "steps p q"]

    @property
    def steps(self) -> int:
        """The number of updates."""
        return len(self.increments)

    @property
    def spikes(self) -> Float[Array, "times p q"]:
        """Q_L^T (M(t) - scale_t M(0)) Q_R, at every step."""
        start = jnp.zeros((1, *self.core.shape))
        return jnp.cumsum(jnp.concatenate([start, self.increments]), 0)

    def padded(self, steps: int) -> "WeightHistory":
        """The same with more steps, which add nothing, so that compiled functions serve
        many numbers of steps; itself under `jit`, `grad` and `vmap`.
        """
        more = steps - self.steps
        if more <= 0 or not self.steps or not _checks.is_concrete(self):
            return self
        left = more * (self.left_queries.shape[1] // self.steps)
        right = more * (self.right_queries.shape[1] // self.steps)
        last = np.repeat(np.asarray(self.scale)[-1:], more)
        return dataclasses.replace(
            self,
            left_queries=_with_zeros(self.left_queries, (0, left)),
            right_queries=_with_zeros(self.right_queries, (0, right)),
            scale=jnp.asarray(np.concatenate([self.scale, last])),
            increments=_with_zeros(self.increments, (more, 0, 0)),
        )

    def under(self, descent: AbstractDescent | None) -> "WeightHistory":
        """The history under an optimiser, of one whose increments are the directions
        that it is given; the same if there is none.
        """
        if descent is None:
            return self
        path = descent.path(self.increments)
        return dataclasses.replace(self, scale=path.scale, increments=path.increments)

    def compressed(self, tolerance: float) -> "WeightHistory":
        """The same over the directions of which the queries, or what the steps add, have
        more than `tolerance` of the largest, a multiple of 8 of them; the same under
        `jit`, `grad` and `vmap`.
        """
        if not self.steps or not _checks.is_concrete(self):
            return self
        numbers = jax.tree.map(np.asarray, self)
        added = numbers.increments
        p, q = numbers.core.shape
        left = _leading(numbers.left_queries, added.transpose(1, 0, 2).reshape(p, -1))
        right = _leading(numbers.right_queries, added.transpose(2, 0, 1).reshape(q, -1))
        count = max(np.sum(side.sizes > tolerance) for side in (left, right))
        rank = _TOGETHER * math.ceil(count / _TOGETHER)
        Q_L = left.directions[:, :rank]
        Q_R = right.directions[:, :rank]
        core = Q_L.T @ numbers.core @ Q_R
        images_left = numbers.left_beyond + numbers.core @ numbers.core.T
        images_right = numbers.right_beyond + numbers.core.T @ numbers.core
        compressed = dataclasses.replace(
            numbers,
            core=core,
            left_beyond=Q_L.T @ images_left @ Q_L - core @ core.T,
            right_beyond=Q_R.T @ images_right @ Q_R - core.T @ core,
            left_queries=Q_L.T @ numbers.left_queries,
            right_queries=Q_R.T @ numbers.right_queries,
            increments=Q_L.T @ added @ Q_R,
        )
        return jax.tree.map(jnp.asarray, compressed)

    def independent(self) -> "WeightHistory":
        """The same spikes taken as independent of M(0): the queries reveal nothing."""
        p, q = self.core.shape
        return eqx.tree_at(
            lambda history: (history.core, history.left_beyond, history.right_beyond),
            self,
            (
                jnp.zeros((p, q)),
                self.variance * jnp.eye(p),
                self.variance * self.aspect * jnp.eye(q),
            ),
        )

    @staticmethod
    def from_vectors(M0, U, V, strengths, variance=None) -> "WeightHistory":
        """The history of M0 + U strengths V^T / m, one step, from the vectors
        themselves: M0 (n, m), U (n, l), V (m, k), strengths (l, k).

        U and V hold every query ever made to M0 on its side, as columns. `variance` is
        measured from the entries of M0 if not given. At finite n the outliers are those
        of this very M0, up to O(1/n) in the bulk; memory is that of one product M0 V
        and one M0^T U.

        Raises ValueError for shapes that do not match, NaN, as many queries as
        dimensions, and an M0 of zeros.

        >>> rng = np.random.default_rng(0)
        >>> M0 = rng.standard_normal((600, 600)) / np.sqrt(600)
        >>> h = rng.standard_normal((600, 1))
        >>> history = WeightHistory.from_vectors(M0, M0 @ h, h, [[0.8]])
        >>> history.increments.shape, history.left_queries.shape
        ((1, 1, 1), (1, 1))
        """
        M0 = _checks.array("M0", M0, (None, None))
        n, m = M0.shape
        U = _checks.array("U", U, (n, None))
        V = _checks.array("V", V, (m, None))
        strengths = _checks.array("strengths", strengths, (U.shape[1], V.shape[1]))
        for name, vectors in (("U", U), ("V", V)):
            dimension, count = vectors.shape
            if count >= dimension:
                _checks.fail(
                    name,
                    f"{count} columns of length {dimension}",
                    "fewer queries than dimensions",
                )
        if variance is not None:
            variance = jnp.asarray(_checks.positive("variance", variance), float)
        elif _checks.is_concrete(M0) and not jnp.any(M0):
            _checks.fail("M0", "a matrix of zeros", "entries that are not all zero")
        else:
            variance = m * jnp.mean(M0**2)
        return _projected(M0, U, V, strengths, variance)

    @staticmethod
    def from_responses(
        *,
        aspect,
        variance,
        left_queries,
        right_queries,
        left_response,
        right_response,
        increments,
    ) -> "WeightHistory":
        """By Stein's lemma, over orthonormal directions (per site).

        left_queries (p, l) and right_queries (q, k) are the queries over the
        directions; left_response B (p, q) is that of the left directions to the
        innovations of the images of the right ones, right_response A (q, p) that of the
        right directions; increments (steps, p, q) as in the history.

        >>> one = jnp.ones((1, 1))
        >>> history = WeightHistory.from_responses(
        ...     aspect=1.0, variance=1.0, left_queries=one, right_queries=one,
        ...     left_response=one, right_response=0 * one, increments=0.8 * one[None])
        >>> print(history.core, history.left_beyond, history.right_beyond)
        [[1.]] [[1.]] [[0.]]
        """
        p, q = left_response.shape
        explained_left = variance * aspect * right_response.T @ right_response
        explained_right = variance * left_response.T @ left_response
        return WeightHistory(
            aspect=jnp.asarray(aspect, float),
            variance=jnp.asarray(variance, float),
            core=variance * jnp.sqrt(aspect) * (left_response + right_response.T),
            left_beyond=variance * (jnp.eye(p) - explained_left),
            right_beyond=variance * aspect * (jnp.eye(q) - explained_right),
            left_queries=left_queries,
            right_queries=right_queries,
            scale=jnp.ones(len(increments) + 1),
            increments=increments,
        )

    @staticmethod
    def from_grams(
        *,
        aspect,
        variance,
        left_gram,
        right_gram,
        left_response,
        right_response,
        strengths,
        tolerance: float = 1e-6,
    ) -> "WeightHistory":
        """By `from_responses`, from Grams (l, l) and (k, k) of the queries and from
        their responses B (l, k) and A (k, l); strengths (steps, l, k).

        Directions smaller than `tolerance`, relative to the largest, are left out.

        >>> one = jnp.ones((1, 1))
        >>> history = WeightHistory.from_grams(
        ...     aspect=1.0, variance=1.0, left_gram=4 * one, right_gram=one,
        ...     left_response=2 * one, right_response=0 * one, strengths=one[None])
        >>> print(history.core, history.increments)
        [[1.]] [[[2.]]]
        """
        left = orthonormal(left_gram, tolerance)
        right = orthonormal(right_gram, tolerance)
        return WeightHistory.from_responses(
            aspect=aspect,
            variance=variance,
            left_queries=left.queries,
            right_queries=right.queries,
            left_response=left.weights @ left_response @ right.queries.T,
            right_response=right.weights @ right_response @ left.queries.T,
            increments=jnp.sqrt(aspect) * (left.queries @ strengths @ right.queries.T),
        )

    @staticmethod
    def from_moments(moments: "Moments", tolerance: float = 1e-3) -> "WeightHistory":
        """From the Moments of a sampled network whose arrays have a first axis of
        batches.

        Moments are averaged over the batches: the queries, unlike the directions, are
        the same in all of them. Directions of less than `tolerance` of the largest are
        left out; with Muon, which enlarges what is small, those of less than that of
        the largest update. The queries are those of the updates: phi(h_mu(s)) at index
        s P + mu, and on the left g_mu(s) = sum_k Delta_{mu k}(s) g_{mu k}(s) likewise,
        with Muon and Adam over the largest residual, or, where every output has asked,
        g_{mu k}(s) at (s P + mu) K + k; after them, with Adam, the functions that make
        up its updates.

        >>> import dmftlib as dm
        >>> net = dm.Nonlinear(inputs=np.eye(2), targets=[1.0, -1.0], hidden_layers=2,
        ...                    learning_rate=0.1, steps=3)
        >>> measured = dm.solve(net, samples=256).trajectory.layers[0]
        >>> history = WeightHistory.from_moments(measured)
        >>> history.steps, history.left_queries.shape[1]
        (3, 6)
        """
        batches, steps, P, K = moments.rates.shape
        rank = moments.core.shape[-1]
        left = moments.left_queries[:, :steps].reshape(batches, steps * P * K, rank)
        right = moments.right_queries[:, :steps].reshape(batches, steps * P, rank)
        if moments.functions is not None:
            functions = moments.functions
            left = _beside(left, functions.left)
            right = _beside(right, functions.right)
        slope = 1.0 if moments.descent is None else moments.descent.slope
        finer = before_update(tolerance, slope)
        measured = _measured(moments, _pooled(left, finer), _pooled(right, finer))
        return measured if finer == tolerance else measured.compressed(tolerance)


def _beside(queries, functions):
    """(batches, number, r): the queries and, after them, the functions of all steps."""
    batches, _, rank = queries.shape
    return jnp.concatenate([queries, functions.reshape(batches, -1, rank)], 1)


class _Leading(NamedTuple):
    """Orthonormal directions (p, p), and how much of them there is, descending, over the
    most.
    """

    directions: np.ndarray
    sizes: np.ndarray


def _leading(queries, added) -> _Leading:
    """Of the queries (p, l) and of what is added (p, .), each over its largest."""
    total = np.zeros((len(queries), len(queries)))
    for vectors in (queries, added):
        gram = vectors @ vectors.T
        largest = np.linalg.norm(gram, 2)
        if largest > 0:
            total = total + gram / largest
    squares, directions = np.linalg.eigh(total)
    sizes = np.sqrt(np.maximum(squares, 0))
    return _Leading(directions[:, ::-1], sizes[::-1])


class LinearQueries(eqx.Module):
    """What the training of a linear network leaves behind of one matrix: M(t) = M(0) +
    sum_{s<t} rates_s g_s h_s^T / m, or what `descent` makes of these directions.

    The queries g_s to M(0)^T and h_s to M(0) are given over orthonormal directions (per
    site), p of them and q:

    left_queries    (steps, p)  g_s;                      right_queries   (steps, q)  h_s
    left_response   (p, q)      B: of the left directions to the innovations of the
                                images of the right ones
    right_response  (q, p)      A: of the right directions to the innovations of the
                                images of the left ones
    rates           (steps,)    strength of the spike of each step
    descent                     the optimiser that it is handed to, None if M is changed
                                by just that
    """

    aspect: Float[Array, ""]
    variance: Float[Array, ""]
    left_queries: Float[Array, "steps p"]
    right_queries: Float[Array, "steps q"]
    left_response: Float[Array, "p q"]
    right_response: Float[Array, "q p"]
    rates: Float[Array, " steps"]
    descent: AbstractDescent | None = None

    @property
    def path(self) -> Path:
        """scale_t of every time, and what each step adds between the directions."""
        left = self.left_queries[:, :, None]
        right = self.right_queries[:, None, :]
        strengths = jnp.sqrt(self.aspect) * self.rates[:, None, None]
        directions = strengths * left * right
        if self.descent is None:
            return Path(jnp.ones(len(directions) + 1), directions)
        return self.descent.path(directions)

    def responses(
        self,
    ) -> tuple[Float[Array, "steps steps"], Float[Array, "steps steps"]]:
        """B_st = <d g_s / d u_t> and A_st = <d h_s / d r_t>, u_t and r_t the
        innovations of M(0) h_t and M(0)^T g_t.

        Where the queries are linearly dependent only sums of responses have a meaning;
        these are the smallest.
        """
        left = self.left_queries
        right = self.right_queries
        return (
            left @ self.left_response @ linalg.pinv(right),
            right @ self.right_response @ linalg.pinv(left),
        )

    def until(self, steps: int) -> "LinearQueries":
        """The same spikes of a training that has diverged after so many steps, nothing
        beyond, by queries that do not grow, so that no early one is lost beside the
        last.
        """
        left = _tamed(self.left_queries, 0, steps)
        right = _tamed(self.right_queries, 0, steps)
        return dataclasses.replace(
            self,
            left_queries=jnp.asarray(left.queries),
            right_queries=jnp.asarray(right.queries),
            rates=jnp.asarray(self.rates * left.growth * right.growth),
        )

    def compressed(self, tolerance: float) -> "LinearQueries":
        """The same spikes over their leading directions: all those of more than
        `tolerance` of the largest, and as many as make their number a multiple of 8.

        The responses to the directions left out are left out too, so that the error is
        of the size of the tolerance. Where the optimiser enlarges what is small, as Muon
        does, use `WeightHistory.compressed`, which looks at its updates. Under `jit`, `grad` and `vmap` the number of
        directions cannot depend on numbers, and all are kept.
        """
        if not len(self.rates) or not _checks.is_concrete(self):
            return self
        left = np.linalg.svd(self.left_queries, full_matrices=False)
        right = np.linalg.svd(self.right_queries, full_matrices=False)
        count = max(np.sum(side.S > tolerance * side.S[0]) for side in (left, right))
        rank = _TOGETHER * math.ceil(count / _TOGETHER)
        Q_L = left.Vh[:rank].T
        Q_R = right.Vh[:rank].T
        # in NumPy, which has nothing to compile
        numbers = jax.tree.map(np.asarray, self)
        compressed = LinearQueries(
            aspect=self.aspect,
            variance=self.variance,
            left_queries=numbers.left_queries @ Q_L,
            right_queries=numbers.right_queries @ Q_R,
            left_response=Q_L.T @ numbers.left_response @ Q_R,
            right_response=Q_R.T @ numbers.right_response @ Q_L,
            rates=self.rates,
            descent=self.descent,
        )
        return jax.tree.map(jnp.asarray, compressed)

    @compiled
    def history(self) -> WeightHistory:
        """What level 2 needs to know of it."""
        path = self.path
        history = WeightHistory.from_responses(
            aspect=self.aspect,
            variance=self.variance,
            left_queries=self.left_queries.T,
            right_queries=self.right_queries.T,
            left_response=self.left_response,
            right_response=self.right_response,
            increments=path.increments,
        )
        return dataclasses.replace(history, scale=path.scale)


class Functions(eqx.Module):
    """Functions of the sites of which, at the end of each step, the sum of left right^T
    / N is nearly what training has added to a matrix, over the directions of its
    queries, and the Frobenius norm of what it leaves out; with a first axis of batches
    in a solution.
    """

    left: Float[Array, "*batches steps k r"]
    right: Float[Array, "*batches steps k r"]
    left_out: Float[Array, "*batches steps"]

    def until(self, steps: int) -> "Functions":
        """Zero after so many steps; with a first axis of batches."""
        done = jnp.arange(self.left_out.shape[1]) < steps
        return jax.tree.map(
            lambda x: jnp.where(
                jnp.expand_dims(done, tuple(range(1, x.ndim - 1))), x, 0.0
            ),
            self,
        )


class Moments(eqx.Module):
    """What a sample of sites has measured of M_l (aspect 1), over the orthonormal
    directions of its queries.

    The spike of step t is the sum over mu and k of rates (steps, P, K) times g phi^T /
    N; or these are the directions that `descent` is handed. K is one where a sample has
    asked once, with its gradients contracted with the residual. Where updates are no
    such sums, `descent` is handed the sum of left right^T of functions that M(0) was
    asked besides, and the rates are not used.
    """

    variance: Float[Array, ""]
    left_queries: Float[Array, "times P K r"]  # g^{l+1}
    right_queries: Float[Array, "times P r"]  # phi(h^l)
    left_time: Int[Array, " r"]  # the step at which each direction was new
    right_time: Int[Array, " r"]
    core: Float[Array, "r r"]  # Q_L^T M(0) Q_R
    left_images: Float[Array, "r r"]  # Q_L^T M(0) M(0)^T Q_L
    right_images: Float[Array, "r r"]  # Q_R^T M(0)^T M(0) Q_R
    rates: Float[Array, "steps P K"]
    descent: AbstractDescent | None = None
    functions: "Functions | None" = None

    def until(self, steps: int) -> "Moments":
        """The same spikes of a training that has diverged after so many steps, nothing
        beyond, by queries that do not grow; with a first axis of batches.
        """
        left = _tamed(self.left_queries, 1, steps)
        right = _tamed(self.right_queries, 1, steps)
        growth = left.growth * right.growth
        growth = growth[: self.rates.shape[1], None, None]
        return dataclasses.replace(
            self,
            left_queries=jnp.asarray(left.queries),
            right_queries=jnp.asarray(right.queries),
            rates=jnp.asarray(self.rates * growth),
            functions=None if self.functions is None else self.functions.until(steps),
        )

    def grams(self):
        """<phi(h^l)(s) phi(h^l)(t)> and <g^{l+1}(s) g^{l+1}(t)>."""
        features = self.right_queries
        gradients = self.left_queries
        return (
            jnp.tensordot(features, features, (-1, -1)),
            jnp.tensordot(gradients, gradients, (-1, -1)),
        )

    def responses(self):
        """B and A by Stein's lemma: <g u> = variance B for orthonormal forward queries."""
        causal = self.left_time[:, None] >= self.right_time
        shared = self.core / self.variance
        left = self.left_queries.reshape(-1, len(self.core))
        right = self.right_queries.reshape(-1, len(self.core))
        B = left @ jnp.where(causal, shared, 0.0) @ linalg.pinv(right)
        A = right @ jnp.where(causal, 0.0, shared).T @ linalg.pinv(left)
        to_left = self.left_queries.shape[:-1]
        to_right = self.right_queries.shape[:-1]
        return B.reshape(to_left + to_right), A.reshape(to_right + to_left)


class Responses(eqx.Module):
    """Grams and responses of the queries g^{l+1} and phi(h^l) to M_l (aspect 1).

    The spike of step t is the sum over mu and k of rates (steps, P, K) times g phi^T /
    N; or these are the directions that `descent` is handed.
    """

    variance: Float[AnyArray, ""]
    left_gram: Float[AnyArray, "times P K times P K"]
    right_gram: Float[AnyArray, "times P times P"]
    left_response: Float[AnyArray, "times P K times P"]
    right_response: Float[AnyArray, "times P times P K"]
    rates: Float[AnyArray, "steps P K"]
    descent: AbstractDescent | None = None

    def grams(self):
        """Of phi(h^l) and of g^{l+1}."""
        return self.right_gram, self.left_gram

    def responses(self):
        """B and A."""
        return self.left_response, self.right_response

    def history(self, tolerance: float) -> WeightHistory:
        """What level 2 needs to know of it; see `WeightHistory.from_grams`."""
        steps, P, K = self.rates.shape
        now = slice(steps)
        left = steps * P * K
        right = steps * P
        own = jnp.eye(steps)[:, :, None, None, None, None]
        same = jnp.einsum("st,mn->smtn", jnp.eye(steps), jnp.eye(P))
        strengths = own * self.rates[:, :, :, None, None] * same[:, :, None]
        history = WeightHistory.from_grams(
            aspect=jnp.ones(()),
            variance=self.variance,
            left_gram=self.left_gram[now, :, :, now].reshape(left, left),
            right_gram=self.right_gram[now, :, now].reshape(right, right),
            left_response=self.left_response[now, :, :, now].reshape(left, right),
            right_response=self.right_response[now, :, now].reshape(right, left),
            strengths=strengths.reshape(steps, left, right),
            tolerance=tolerance,
        )
        return history.under(self.descent)


@dataclasses.dataclass(frozen=True)
class _Tamed:
    """Queries, each over how far the largest so far exceeds the first, and that."""

    queries: np.ndarray
    growth: np.ndarray


def _tamed(queries, axis: int, steps: int) -> _Tamed:
    """The queries of as many times as `axis` has; zero after so many steps."""
    by_time = np.moveaxis(np.asarray(queries), axis, 0)
    count = len(by_time)
    alive = np.arange(count) < steps
    sizes = np.abs(by_time).reshape(count, -1).max(1, initial=0.0)
    largest = np.maximum.accumulate(np.where(alive, sizes, 0.0))
    first = largest[0] if largest[0] > 0 else 1.0
    growth = np.maximum(largest / first, 1.0)
    tamed = np.zeros_like(by_time)
    others = tuple(range(1, by_time.ndim))
    tamed[alive] = (by_time / np.expand_dims(growth, others))[alive]
    return _Tamed(np.moveaxis(tamed, 0, axis), growth)


def _with_zeros(array, more: tuple[int, ...]):
    """An array, zero beyond its end: in NumPy, which has nothing to compile."""
    widths = [(0, count) for count in more]
    return jnp.asarray(np.pad(np.asarray(array), widths))


class Orthonormal(eqx.Module):
    """Orthonormal directions of queries that are known by their Gram; rows of zeros
    stand for those left out.

    queries (p, l)   the queries over the directions: queries^T queries = Gram
    weights (p, l)   the directions over the queries
    """

    queries: Float[Array, "p l"]
    weights: Float[Array, "p l"]


def orthonormal(gram: Float[Array, "l l"], tolerance: float) -> Orthonormal:
    """As many directions as queries, and one where there are none; those smaller than
    `tolerance` of the largest are zero. Which span is kept is not differentiated.

    >>> found = orthonormal(jnp.array([[4.0, 0.0], [0.0, 0.0]]), 1e-6)
    >>> print(abs(found.queries).sum(0), abs(found.weights).sum(0))
    [2. 0.] [0.5 0. ]
    """
    if not len(gram):
        idle = jnp.zeros((1, 0))
        return Orthonormal(idle, idle)
    squares, vectors = linalg.eigh(jax.lax.stop_gradient(gram))
    kept = (squares > tolerance**2 * squares[-1:]) & (squares > 0)
    near = jnp.where(kept, vectors / jnp.sqrt(jnp.where(kept, squares, 1.0)), 0.0)
    weights = _whitened(near.T, near.T @ gram @ near, kept)
    return Orthonormal(weights @ gram, weights)


def _whitened(rows, products, kept):
    """Combinations of the rows kept that are orthonormal, from their inner products.

    It can be differentiated even where directions are equally large.
    """
    factor = linalg.cholesky(products + jnp.diag(jnp.where(kept, 0.0, 1.0)))
    return linalg.solve(factor, rows)


class _Pooled(eqx.Module):
    """Directions common to all batches: `over` those of each (batches, p, r), and the
    queries over them (p, number).
    """

    over: Float[Array, "batches p r"]
    queries: Float[Array, "p number"]

    def mean(self, moment: Float[Array, "batches r r"], other: "_Pooled"):
        """A moment of the batches between these directions and others, averaged."""
        return jnp.mean(self.over @ moment @ other.over.transpose(0, 2, 1), 0)


@compiled
def _measured(moments: Moments, left: _Pooled, right: _Pooled) -> WeightHistory:
    """What the moments say of M, between these directions."""
    _, steps, P, K = moments.rates.shape
    core = left.mean(moments.core, right)
    asked_left = left.queries[:, : steps * P * K]
    asked_right = right.queries[:, : steps * P]
    increments = jnp.einsum(
        "tmk,ptmk,qtm->tpq",
        moments.rates.mean(0),
        asked_left.reshape(len(core), steps, P, K),
        asked_right.reshape(core.shape[1], steps, P),
    )
    if moments.functions is not None:
        _, _, number, _ = moments.functions.left.shape
        of_left = left.queries[:, steps * P * K :]
        of_right = right.queries[:, steps * P :]
        increments = jnp.einsum(
            "ptk,qtk->tpq",
            of_left.reshape(len(core), steps, number),
            of_right.reshape(core.shape[1], steps, number),
        )
    history = WeightHistory(
        aspect=jnp.ones(()),
        variance=moments.variance.mean(),
        core=core,
        left_beyond=left.mean(moments.left_images, left) - core @ core.T,
        right_beyond=right.mean(moments.right_images, right) - core.T @ core,
        left_queries=left.queries,
        right_queries=right.queries,
        scale=jnp.ones(steps + 1),
        increments=increments,
    )
    return history.under(jax.tree.map(lambda x: x[0], moments.descent))


def _pooled(queries: Float[Array, "batches number r"], tolerance: float) -> _Pooled:
    """The leading directions of the queries, which are the same in all batches.

    How many are taken is not differentiated. There are as many rows as directions of a
    batch, zero where fewer are kept; where numbers are known, rows of zeros are cut off
    up to the next multiple of 8.
    """
    batches, number, rank = queries.shape
    stacked = queries.transpose(1, 0, 2).reshape(number, batches * rank) / batches**0.5
    directions, sizes = _singular(jax.lax.stop_gradient(stacked), rank)
    kept = sizes > tolerance * jnp.max(sizes, initial=0.0)
    rows = rank
    if _checks.is_concrete(kept):
        rows = max(1, math.ceil(int(jnp.sum(kept)) / _TOGETHER)) * _TOGETHER
    moving = not _checks.is_concrete(stacked)
    return _taken(queries, stacked, directions, sizes, kept, rows, moving)


def _singular(stacked: Float[Array, "number columns"], rank: int):
    """Left singular vectors and singular values, descending; of large matrices that are
    known the leading ones, a few more than `rank`: those of a span that their Gram has
    turned towards them.
    """
    number, columns = stacked.shape
    some = rank + _TOGETHER
    if min(number, columns) < max(_MANY, some) or not _checks.is_concrete(stacked):
        directions, sizes, _ = linalg.svd(stacked)
        return directions, sizes
    rng = np.random.default_rng(0)
    block = stacked @ rng.normal(size=(columns, some))
    for _ in range(_ROUNDS):
        basis, _ = linalg.qr(block)
        block = stacked @ (stacked.T @ basis)
    basis, _ = linalg.qr(block)
    directions, sizes, _ = linalg.svd(basis.T @ stacked)
    return basis @ directions, sizes


@compiled(static_argnames=("rows", "moving"))
def _taken(queries, stacked, directions, sizes, kept, rows: int, moving: bool):
    """So many rows of directions, whitened, those that are not kept zero: a _Pooled.

    moving: whether derivatives of the directions may be asked.
    """
    kept = _resized(kept, rows)
    near = _resized(jnp.swapaxes(directions, 0, 1), rows)
    near = jnp.where(kept[:, None], near, 0.0)
    if moving:
        near = _followed(near, stacked, directions, sizes, kept)
    mixed = near @ stacked
    weights = _whitened(near, mixed @ mixed.T, kept)
    return _Pooled(weights @ queries, weights @ stacked @ stacked.T)


def _followed(near, stacked, directions, sizes, kept):
    """The leading directions (rows) of S = stacked stacked^T as S moves: their values,
    with the first three derivatives of their span.

    V = V_0 + Y, V_0^T Y = 0, spans an invariant subspace iff R = S V - V V_0^T S V is
    zero; with the slope of R in Y held fixed, each Newton step has one derivative more.
    """
    start = near.T
    squares = _resized(sizes**2, len(near))
    squares = jnp.where(kept, squares, 1.0)
    left_out = jnp.where(_resized(kept, len(sizes)), 0.0, directions)
    gaps = squares - sizes[:, None] ** 2
    resolved = gaps > _RESOLVED * squares
    among = jnp.where(resolved, 1 / jnp.where(resolved, gaps, 1.0), 0.0)
    moved = jnp.zeros_like(start)
    for _ in range(_DERIVATIVES):
        span = start + moved
        image = stacked @ (stacked.T @ span)
        residual = image - span @ (start.T @ image)
        # zero but for rounding, and its derivatives are not
        residual = residual - jax.lax.stop_gradient(residual)
        within = left_out.T @ residual
        beyond = residual - left_out @ within
        moved = moved + beyond / squares + left_out @ (among * within)
    return (start + moved).T


def _resized(rows, number: int):
    """That many rows: the first, or all and rows of zeros."""
    missing = max(0, number - len(rows))
    padding = [(0, missing)] + [(0, 0)] * (rows.ndim - 1)
    return jnp.pad(rows, padding)[:number]


@compiled
def _projected(M0, U, V, strengths, variance) -> WeightHistory:
    """What the queries U and V have revealed of M0, projected out of it."""
    n, m = M0.shape
    Q_L, left = linalg.qr(U / jnp.sqrt(n))
    Q_R, right = linalg.qr(V / jnp.sqrt(m))
    core = Q_L.T @ M0 @ Q_R
    beyond_right = M0.T @ Q_L - Q_R @ core.T
    beyond_left = M0 @ Q_R - Q_L @ core
    return WeightHistory(
        aspect=jnp.asarray(n / m),
        variance=variance,
        core=core,
        left_beyond=beyond_right.T @ beyond_right,
        right_beyond=beyond_left.T @ beyond_left,
        left_queries=left,
        right_queries=right,
        scale=jnp.ones(2),
        increments=jnp.sqrt(n / m) * (left @ strengths @ right.T)[None],
    )
