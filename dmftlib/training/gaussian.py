"""Dynamical mean-field theory of any linear algorithm: Gaussian matrices under causal
forward and backward queries.

An algorithm multiplies vectors by a large random matrix M and by its transpose. What it
has learnt of M are the answers to its past queries; given those, the rest of M is still
iid Gaussian (Bolthausen conditioning). So split a query into its part in the span of
the earlier queries, whose image is known, and a new direction q. The image of q is the
memory that the backward queries left, plus a fresh Gaussian vector, an *innovation*.

In a linear algorithm every vector is therefore a linear combination of the innovations
of its space. In the limit of infinite dimension, innovations are orthogonal to one
another and to all that came before, so a vector *is* its coefficients: inner products
(per site) are dot products of coefficients, and a coefficient is a response, d h/d r.
The infinite problem has become a small deterministic one, exact at every step, whose
size is the numerical rank of the query history.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .. import _checks


def default_tolerance() -> float:
    """Directions smaller than this are not told from rounding: 4e-10 in double
    precision.
    """
    return float(jnp.finfo(float).eps) ** 0.6


class Side(eqx.Module):
    """The queries that one side of a matrix has been asked, kept as orthonormal
    directions with their images.
    """

    basis: Float[Array, "capacity own"]
    images: Float[Array, "capacity other"]  # what the matrix makes of them
    largest: Float[Array, ""]  # squared norm of the largest query
    rank: Int[Array, ""]  # directions in use

    @staticmethod
    def empty(capacity: int, own: int, other: int) -> "Side":
        return Side(
            jnp.zeros((capacity, own)),
            jnp.zeros((capacity, other)),
            jnp.zeros(()),
            jnp.zeros((), int),
        )


class Innovation(NamedTuple):
    """The fresh part of the image of a new direction."""

    start: int  # the coefficient of the first one
    norm: Float[Array, ""]


class Asked(NamedTuple):
    """What a query does to the side that it is put to."""

    side: Side
    dropped: Float[Array, ""]  # relative size of a direction that had no room
    coordinates: Float[Array, " capacity"]  # of the query, over the directions

    @property
    def image(self) -> Float[Array, " other"]:
        return self.coordinates @ self.side.images


class Answer(NamedTuple):
    """The matrix that remembers the query, the coordinates of the query over the
    directions of its side, and its image.
    """

    matrix: "GaussianMatrix"
    coordinates: Float[Array, " capacity"]
    image: Float[Array, " dim"]


class GaussianMatrix(eqx.Module):
    """An n x m matrix M with iid N(0, variance/m) entries, n, m -> infinity at n/m =
    aspect, known by its queries.

    Vectors of the left space (length n) have `left_dim` coefficients, those of the
    right space `right_dim`. The fresh part of the k-th new forward direction is
    coefficient `left_start + k`; that of the j-th new backward direction is coefficient
    `right_start + j`. All other coefficients are the caller's: start vectors, other
    matrices. For unit directions (per site) the fresh parts have norm sqrt(variance)
    forward and sqrt(variance aspect) backward.

    Each side keeps an orthonormal basis of its queries, and their images: at most
    `capacity` directions. A direction smaller than `tolerance` (relative to its query)
    is dropped; `overflow` says that a larger one was, for want of capacity. Exact in
    exact arithmetic, as n, m -> infinity; at finite size the inner products fluctuate
    by O(n^(-1/2)) about these values.

    Raises ValueError if a start or the capacity does not fit the dimensions.

    Source: Bolthausen 2014 (conditioning); Lu 2021 (the same at finite size,
    "Householder Dice").

    Power iteration v <- M^T M v from a random v: the overlaps with the start are the
    moments of the Marchenko-Pastur law, for a square matrix the Catalan numbers.

    >>> matrix = GaussianMatrix(aspect=1.0, variance=1.0, left_dim=4, right_dim=5, right_start=1, capacity=4)
    >>> v = start = jnp.eye(5)[0]
    >>> for _ in range(4):
    ...     matrix, _, u = matrix.forward(v)
    ...     matrix, _, v = matrix.backward(u)
    ...     print(round(float(start @ v), 6))
    1.0
    2.0
    5.0
    14.0
    """

    aspect: Float[Array, ""]
    variance: Float[Array, ""]
    left: Side  # backward queries; images are M^T times the directions
    right: Side  # forward queries; images are M times the directions
    dropped: Float[Array, ""]
    left_start: int = eqx.field(static=True)
    right_start: int = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)

    def __init__(
        self,
        aspect,
        variance,
        left_dim,
        right_dim,
        capacity,
        left_start=0,
        right_start=0,
        tolerance=None,
    ):
        self.aspect = jnp.asarray(_checks.positive("aspect", aspect), float)
        self.variance = jnp.asarray(_checks.positive("variance", variance), float)
        capacity = _checks.integer("capacity", capacity, 1)
        for side, start, dim in (
            ("left", left_start, left_dim),
            ("right", right_start, right_dim),
        ):
            _checks.integer(f"{side}_start", start, 0)
            if _checks.integer(f"{side}_dim", dim, 1) < start + capacity:
                _checks.fail(
                    f"{side}_dim",
                    dim,
                    f"room for {capacity} innovations from {start} on",
                )
        self.left_start = left_start
        self.right_start = right_start
        self.left = Side.empty(capacity, left_dim, right_dim)
        self.right = Side.empty(capacity, right_dim, left_dim)
        self.dropped = jnp.zeros(())
        self.tolerance = default_tolerance() if tolerance is None else float(tolerance)

    def forward(self, h: Float[Array, " right"]) -> Answer:
        """Query M h. Returns the matrix that remembers it, the coordinates of h in
        `right_basis`, and M h.
        """
        fresh = Innovation(self.left_start, jnp.sqrt(self.variance))
        answers = self.left.images / self.aspect
        asked = ask(self.right, h, self.left.basis, answers, fresh, self.tolerance)
        matrix = self._remembering(lambda m: m.right, asked)
        return Answer(matrix, asked.coordinates, asked.image)

    def backward(self, g: Float[Array, " left"]) -> Answer:
        """Query M^T g. Returns the matrix that remembers it, the coordinates of g in
        `left_basis`, and M^T g.
        """
        fresh = Innovation(self.right_start, jnp.sqrt(self.variance * self.aspect))
        answers = self.right.images * self.aspect
        asked = ask(self.left, g, self.right.basis, answers, fresh, self.tolerance)
        matrix = self._remembering(lambda m: m.left, asked)
        return Answer(matrix, asked.coordinates, asked.image)

    def _remembering(self, side, asked: Asked) -> "GaussianMatrix":
        dropped = jnp.maximum(self.dropped, asked.dropped)
        return eqx.tree_at(lambda m: (side(m), m.dropped), self, (asked.side, dropped))

    @property
    def left_basis(self) -> Float[Array, "capacity left"]:
        """Orthonormal directions of the backward queries."""
        return self.left.basis

    @property
    def left_images(self) -> Float[Array, "capacity right"]:
        """M^T times them."""
        return self.left.images

    @property
    def left_rank(self) -> Int[Array, ""]:
        """Their number."""
        return self.left.rank

    @property
    def right_basis(self) -> Float[Array, "capacity right"]:
        """Orthonormal directions of the forward queries."""
        return self.right.basis

    @property
    def right_images(self) -> Float[Array, "capacity left"]:
        """M times them."""
        return self.right.images

    @property
    def right_rank(self) -> Int[Array, ""]:
        """Their number."""
        return self.right.rank

    @property
    def left_response(self) -> Float[Array, "capacity capacity"]:
        """B_jk = <d q_j/d u_k>: left direction j to the innovation u_k of forward
        direction k.
        """
        capacity = len(self.left.basis)
        innovations = slice(self.left_start, self.left_start + capacity)
        return self.left.basis[:, innovations] / jnp.sqrt(self.variance)

    @property
    def right_response(self) -> Float[Array, "capacity capacity"]:
        """A_kj = <d q_k/d r_j>: right direction k to the innovation r_j of backward
        direction j.
        """
        capacity = len(self.right.basis)
        innovations = slice(self.right_start, self.right_start + capacity)
        size = jnp.sqrt(self.variance * self.aspect)
        return self.right.basis[:, innovations] / size


def ask(
    side: Side,
    query: Float[Array, " own"],
    other_basis: Float[Array, "capacity other"],
    answers: Float[Array, "capacity own"],
    fresh: Innovation,
    tolerance: float,
) -> Asked:
    """Split `query` into the known directions of its side and one new one, and give the
    new one its image.

    `answers` are the images of `other_basis` by the transposed map, in this side's
    inner product: the overlap of M q with a past query g of the other side is that of q
    with M^T g.
    """
    squared_norm = jax.lax.stop_gradient(query @ query)
    largest = jnp.maximum(side.largest, squared_norm)
    coordinates = side.basis @ query
    remainder = query - coordinates @ side.basis
    squared = remainder @ remainder
    new = squared > tolerance**2 * largest
    kept = new & (side.rank < len(side.basis))
    lost = jnp.sqrt(squared / jnp.where(largest > 0, largest, 1.0))
    dropped = jnp.where(new & ~kept, lost, 0.0)
    size = jnp.sqrt(jnp.where(kept, squared, 1.0))
    direction = _orthogonal(side.basis, remainder / size, kept)
    memory = (answers @ direction) @ other_basis
    image = _put(memory, fresh.start + side.rank, fresh.norm, kept)
    remembering = Side(
        _put(side.basis, side.rank, direction, kept),
        _put(side.images, side.rank, image, kept),
        largest,
        side.rank + kept.astype(int),
    )
    coordinates = _put(coordinates, side.rank, size, kept)
    return Asked(remembering, jax.lax.stop_gradient(dropped), coordinates)


def _orthogonal(basis, direction, kept):
    """A direction that may be known to few digits, made orthogonal to the basis to all
    of them; zero if it is not kept.
    """
    direction = direction - (basis @ direction) @ basis
    norm = jnp.sqrt(jnp.where(kept, direction @ direction, 1.0))
    return jnp.where(kept, direction, 0.0) / norm


def _put(array, index, value, really):
    """`array` with `value` at `index` if `really`; an index past the end is never
    really meant.
    """
    now = jax.lax.dynamic_index_in_dim(array, index, keepdims=False)
    return jax.lax.dynamic_update_index_in_dim(
        array, jnp.where(really, value, now), index, 0
    )
