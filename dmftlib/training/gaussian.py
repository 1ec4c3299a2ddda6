"""Dynamical mean-field theory of any linear algorithm: Gaussian matrices under causal forward and backward queries.

An algorithm multiplies vectors by a large random matrix M and by its transpose. What it has learnt of M are the
answers to its past queries; given those, the rest of M is still iid Gaussian (Bolthausen conditioning). So split a
query into its part in the span of the earlier queries, whose image is known, and a new direction q. The image of q
is the memory that the backward queries left, plus a fresh Gaussian vector, an *innovation*.

In a linear algorithm every vector is therefore a linear combination of the innovations of its space. In the limit of
infinite dimension, innovations are orthogonal to one another and to all that came before, so a vector *is* its
coefficients: inner products (per site) are dot products of coefficients, and a coefficient is a response, d h/d r.
The infinite problem has become a small deterministic one, exact at every step, whose size is the numerical rank of
the query history.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .. import checks


def default_tolerance() -> float:
    """Directions smaller than this are not told from rounding: 4e-10 in double precision."""
    return float(jnp.finfo(float).eps) ** 0.6


class GaussianMatrix(eqx.Module):
    """An n x m matrix M with iid N(0, variance/m) entries, n, m -> infinity at n/m = aspect, known by its queries.

    Vectors of the left space (length n) have `left_dim` coefficients, those of the right space `right_dim`. The fresh
    part of the k-th new forward direction is coefficient `left_start + k`; that of the j-th new backward direction is
    coefficient `right_start + j`. All other coefficients are the caller's: start vectors, other matrices. For unit
    directions (per site) the fresh parts have norm sqrt(variance) forward and sqrt(variance aspect) backward.

    Each side keeps an orthonormal basis of its queries, and their images: at most `capacity` directions. A direction
    smaller than `tolerance` (relative to its query) is dropped; `overflow` says that a larger one was, for want of
    capacity. Exact in exact arithmetic, as n, m -> infinity; at finite size the inner products fluctuate by
    O(n^(-1/2)) about these values.

    Raises ValueError if a start or the capacity does not fit the dimensions.

    Source: Bolthausen 2014 (conditioning); Lu 2021 (the same at finite size, "Householder Dice").

    Power iteration v <- M^T M v from a random v: the overlaps with the start are the moments of the
    Marchenko-Pastur law, for a square matrix the Catalan numbers.

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
    left_basis: Float[Array, "capacity left"]  # orthonormal directions of the backward queries
    left_images: Float[Array, "capacity right"]  # M^T times them
    right_basis: Float[Array, "capacity right"]  # orthonormal directions of the forward queries
    right_images: Float[Array, "capacity left"]  # M times them
    left_largest: Float[Array, ""]  # largest squared norm of a backward query
    right_largest: Float[Array, ""]
    left_rank: Int[Array, ""]
    right_rank: Int[Array, ""]
    dropped: Float[Array, ""]
    left_start: int = eqx.field(static=True)
    right_start: int = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)

    def __init__(self, aspect, variance, left_dim, right_dim, capacity, left_start=0, right_start=0, tolerance=None):
        self.aspect = jnp.asarray(checks.positive("aspect", aspect), float)
        self.variance = jnp.asarray(checks.positive("variance", variance), float)
        capacity = checks.integer("capacity", capacity, 1)
        for side, start, dim in (("left", left_start, left_dim), ("right", right_start, right_dim)):
            checks.integer(f"{side}_start", start, 0)
            if checks.integer(f"{side}_dim", dim, 1) < start + capacity:
                checks.fail(f"{side}_dim", dim, f"room for {capacity} innovations from {start} on")
        self.left_start, self.right_start = left_start, right_start
        self.left_basis = self.right_images = jnp.zeros((capacity, left_dim))
        self.right_basis = self.left_images = jnp.zeros((capacity, right_dim))
        self.left_largest = self.right_largest = jnp.zeros(())
        self.left_rank = self.right_rank = jnp.zeros((), int)
        self.dropped = jnp.zeros(())
        self.tolerance = default_tolerance() if tolerance is None else float(tolerance)

    def forward(self, h: Float[Array, " right"]):
        """Query M h. Returns the matrix that remembers it, the coordinates of h in `right_basis`, and M h."""
        side = (self.right_basis, self.right_images, self.right_largest, self.right_rank)
        side, dropped, coordinates = _query(h, side, self.left_basis, self.left_images / self.aspect,
                                             jnp.sqrt(self.variance), self.left_start, self.tolerance)
        matrix = eqx.tree_at(lambda m: (m.right_basis, m.right_images, m.right_largest, m.right_rank, m.dropped), self,
                             (*side, jnp.maximum(self.dropped, dropped)))  # fmt: skip
        return matrix, coordinates, coordinates @ matrix.right_images

    def backward(self, g: Float[Array, " left"]):
        """Query M^T g. Returns the matrix that remembers it, the coordinates of g in `left_basis`, and M^T g."""
        side = (self.left_basis, self.left_images, self.left_largest, self.left_rank)
        side, dropped, coordinates = _query(g, side, self.right_basis, self.right_images * self.aspect,
                                             jnp.sqrt(self.variance * self.aspect), self.right_start, self.tolerance)
        matrix = eqx.tree_at(lambda m: (m.left_basis, m.left_images, m.left_largest, m.left_rank, m.dropped), self,
                             (*side, jnp.maximum(self.dropped, dropped)))  # fmt: skip
        return matrix, coordinates, coordinates @ matrix.left_images

    @property
    def left_response(self) -> Float[Array, "capacity capacity"]:
        """B_jk = <d q_j/d u_k>: left direction j to the innovation u_k of forward direction k."""
        start = self.left_start
        return self.left_basis[:, start : start + len(self.left_basis)] / jnp.sqrt(self.variance)

    @property
    def right_response(self) -> Float[Array, "capacity capacity"]:
        """A_kj = <d q_k/d r_j>: right direction k to the innovation r_j of backward direction j."""
        start = self.right_start
        return self.right_basis[:, start : start + len(self.right_basis)] / jnp.sqrt(self.variance * self.aspect)


def _query(vector, side, other_basis, answers, fresh_norm, start, tolerance):
    """Split `vector` into known directions and one new one, and give the new one its image.

    `answers` are the images of `other_basis` by the transposed map, in this side's inner product: the overlap of
    M q with a past query g of the other side is that of q with M^T g.
    """
    basis, images, largest, rank = side
    largest = jnp.maximum(largest, jax.lax.stop_gradient(vector @ vector))
    coordinates = basis @ vector
    remainder = vector - coordinates @ basis
    squared = remainder @ remainder
    new = squared > tolerance**2 * largest
    kept = new & (rank < len(basis))
    dropped = jnp.where(new & ~kept, jnp.sqrt(squared / jnp.where(largest > 0, largest, 1.0)), 0.0)
    size = jnp.sqrt(jnp.where(kept, squared, 1.0))
    direction = remainder / size
    direction = direction - (basis @ direction) @ basis  # again: it may be known to few digits
    direction = jnp.where(kept, direction, 0.0) / jnp.sqrt(jnp.where(kept, direction @ direction, 1.0))
    image = _put((answers @ direction) @ other_basis, start + rank, fresh_norm, kept)
    basis, images = _put(basis, rank, direction, kept), _put(images, rank, image, kept)
    coordinates = _put(coordinates, rank, size, kept)
    return (basis, images, largest, rank + kept.astype(int)), jax.lax.stop_gradient(dropped), coordinates


def _put(array, index, value, really):
    """`array` with `value` at `index` if `really`; an index past the end is never really meant."""
    now = jax.lax.dynamic_index_in_dim(array, index, keepdims=False)
    return jax.lax.dynamic_update_index_in_dim(array, jnp.where(really, value, now), index, 0)
