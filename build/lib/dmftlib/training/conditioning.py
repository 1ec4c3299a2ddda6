"""Sampled sites under Gaussian matrices that are known only through their queries (Bolthausen conditioning).

A space of the network is a sample of S sites with an orthonormal basis (per site: <e e'> = 1 on the diagonal) of all
that is known of it: innovations of the matrices beside it, and whatever the nonlinearity has added to their span. Every
vector a matrix was ever multiplied with is then a short list of coordinates, and what the queries have revealed of the
matrix is a small matrix between two such lists. A query is split into its part in the span of earlier queries, whose
image is known, and a new direction q. The image of q is what the backward queries reveal of it plus a fresh vector,
orthogonal to all backward queries.

With `matched` fresh vectors, orthonormal to everything known (a constant included), of exactly the right variance and
from a low-discrepancy sequence, this is a low-variance solver of the limit of infinite width. With plain Gaussian ones
it is an exact simulation of networks of width S, whose S x S matrices are never formed.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_FEW = ROOM = 2  # directions that are added at once; a basis needs that much room beyond what it is to hold
_CHUNK, _ROWS = 4096, 16  # pieces of a very long basis: sites, and rows of those in use


def inner(a: Float[Array, "k S"], b: Float[Array, "r S"], count=None) -> Float[Array, "k r"]:
    """a @ b.T, over long rows in pieces that stay in the cache; rows of b from `count` on are zero."""
    whole = a.shape[1] // _CHUNK * _CHUNK
    if whole < 16 * _CHUNK:
        return a @ b.T

    def add(i, j, rows, total):
        x, y = jax.lax.dynamic_slice_in_dim(a, i, _CHUNK, 1), jax.lax.dynamic_slice(b, (j, i), (rows, _CHUNK))
        old = jax.lax.dynamic_slice_in_dim(total, j, rows, 1)
        return jax.lax.dynamic_update_slice_in_dim(total, old + x @ y.T, j, 1)

    return _over_pieces(add, b, whole, count, a[:, whole:] @ b[:, whole:].T)


def combined(coefficients: Float[Array, "k r"], b: Float[Array, "r S"], count) -> Float[Array, "k S"]:
    """coefficients @ b, likewise."""
    whole = b.shape[1] // _CHUNK * _CHUNK
    if whole < 16 * _CHUNK:
        return coefficients @ b

    def add(i, j, rows, total):
        x, y = jax.lax.dynamic_slice_in_dim(coefficients, j, rows, 1), jax.lax.dynamic_slice(b, (j, i), (rows, _CHUNK))
        old = jax.lax.dynamic_slice_in_dim(total, i, _CHUNK, 1)
        return jax.lax.dynamic_update_slice_in_dim(total, old + x @ y, i, 1)

    rest = coefficients @ b[:, whole:]
    return _over_pieces(add, b, whole, count, jnp.pad(rest, ((0, 0), (whole, 0))))


def _over_pieces(add, b, whole, count, total):
    """add(site, row, rows, total) for every piece of b."""
    rows = _ROWS if count is not None and len(b) % _ROWS == 0 else len(b)
    blocks = -(-count // rows) if rows < len(b) else 1

    def of_chunk(i, total):
        return jax.lax.fori_loop(0, blocks, lambda j, total: add(i * _CHUNK, j * rows, rows, total), total)

    return jax.lax.fori_loop(0, whole // _CHUNK, of_chunk, total)


class Space(eqx.Module):
    """Orthonormal vectors in the rows of `basis` (capacity, S), of which `count` are in use; the others are zero."""

    basis: Float[Array, "capacity S"]
    count: Int[Array, ""]
    full: Bool[Array, ""]  # a direction found no room

    @staticmethod
    def empty(capacity: int, sites: int, dtype) -> "Space":
        return Space(jnp.zeros((capacity, sites), dtype), jnp.zeros((), int), jnp.asarray(False))

    def coordinates(self, block: Float[Array, "k S"]) -> Float[Array, "k capacity"]:
        return inner(block, self.basis, self.count) / self.basis.shape[1]

    def vectors(self, coordinates: Float[Array, "k capacity"]) -> Float[Array, "k S"]:
        return combined(coordinates, self.basis, self.count)


class Matrix(eqx.Module):
    """What queries have revealed of a matrix M(0), and the spikes that training has added to it.

    revealed  (n, m)  M(0) between the coordinates of its two spaces, right on the span of the queries
    spikes    (n, m)  M(t) - M(0)
    left      (r, n)  orthonormal directions of the backward queries;  right (r, m) of the forward ones
    """

    revealed: Float[Array, "n m"]
    spikes: Float[Array, "n m"]
    left: Space
    right: Space
    left_largest: Float[Array, ""]
    right_largest: Float[Array, ""]

    @staticmethod
    def unknown(left: Space, right: Space, rank: int) -> "Matrix":
        n, m, dtype = len(left.basis), len(right.basis), left.basis.dtype
        nothing, zero = jnp.zeros((n, m), dtype), jnp.zeros((), dtype)
        return Matrix(nothing, nothing, Space.empty(rank, n, dtype), Space.empty(rank, m, dtype), zero, zero)

    @property
    def transposed(self) -> "Matrix":
        return Matrix(self.revealed.T, self.spikes.T, self.right, self.left, self.right_largest, self.left_largest)

    @property
    def full(self):
        return self.left.full | self.right.full


def grow(space: Space, block: Float[Array, "k S"], floor, scale=None, again=True):
    """Add what `block` has outside the span of the space, where its square is above `floor`.

    Returns the space and the coordinates (k, capacity) of the block. Inner products are averages over the sites, or
    sums divided by `scale`. Vectors that are mostly outside need not be made orthogonal `again`.
    """
    capacity, sites = space.basis.shape
    scale = sites if scale is None else scale
    coordinates = inner(block, space.basis, space.count) / scale
    gram = jax.lax.stop_gradient(inner(block, block) / scale - coordinates @ coordinates.T)
    new = _independent(gram, jax.lax.stop_gradient(floor))
    kept = new & (space.count + jnp.cumsum(new) <= capacity - _FEW)
    order = jnp.concatenate([jnp.argsort(~kept), jnp.zeros(_FEW, int)])  # new rows first
    target = space.count + kept.sum()

    def append(state):
        i, space, coordinates = state
        real = space.count + jnp.arange(_FEW) < target
        chosen = jax.lax.dynamic_slice(order, (i,), (_FEW,))
        rows = jnp.where(real[:, None], block[chosen] - space.vectors(coordinates[chosen]), 0)
        rows = _orthonormal(rows, real, scale)
        if again:
            rows = rows - space.vectors(inner(rows, space.basis, space.count) / scale)
            rows = _orthonormal(rows, real, scale)
        basis = jax.lax.dynamic_update_slice(space.basis, rows, (space.count, 0))
        coordinates = jax.lax.dynamic_update_slice(coordinates, inner(block, rows) / scale, (0, space.count))
        return i + _FEW, Space(basis, jnp.minimum(space.count + _FEW, target), space.full), coordinates

    _, grown, coordinates = jax.lax.while_loop(
        lambda state: state[1].count < target, append, (0, space, coordinates))
    return Space(grown.basis, grown.count, space.full | jnp.any(new & ~kept)), coordinates


def query(matrix: Matrix, space: Space, coordinates: Float[Array, "k m"], draw, tolerance, deviation, matched):
    """Multiply M(0) with vectors given by coordinates on its right; the answers live in the `space` on its left.

    Returns the matrix and the space, which now know the answers, `coordinates @ matrix.revealed.T`. `draw(i, count, k)`
    gives k fresh Gaussian vectors (k, S) to a space that holds `count` directions, i of them from this query.
    """
    largest = jnp.maximum(matrix.right_largest, jnp.max(jnp.sum(jax.lax.stop_gradient(coordinates) ** 2, 1)))
    right, _ = grow(matrix.right, coordinates, tolerance**2 * largest, scale=1)
    found = right.count - matrix.right.count

    def reveal(state):
        i, space, revealed = state
        slots = i + jnp.arange(_FEW)
        real = slots < found
        directions = jax.lax.dynamic_slice(right.basis, (matrix.right.count + i, 0), (_FEW, right.basis.shape[1]))
        fresh = jnp.where(real[:, None], draw(i, space.count, _FEW), 0)
        before = space.count
        space, images = grow(space, fresh, tolerance**2, again=matched)
        if matched:
            new = real[:, None] & (before + jnp.arange(_FEW)[:, None] == jnp.arange(len(space.basis)))
            images = new.astype(fresh.dtype)
        else:
            images = images - (images @ matrix.left.basis.T) @ matrix.left.basis
        return i + _FEW, space, revealed + deviation * images.T @ jnp.where(real[:, None], directions, 0)

    _, space, revealed = jax.lax.while_loop(lambda state: state[0] < found, reveal, (0, space, matrix.revealed))
    return Matrix(revealed, matrix.spikes, matrix.left, right, matrix.left_largest, largest), space


def outside(space: Space, block: Float[Array, "k S"]) -> Float[Array, "k S"]:
    """Orthonormal vectors that span what the block has outside the space."""
    for _ in range(2):
        block = block - space.vectors(space.coordinates(block))
        block = _orthonormal(block, jnp.ones(len(block), bool), block.shape[1])
    return block


def _independent(gram, floor):
    """Which rows have a part of square above `floor` outside the span of the rows before them."""

    def step(j, state):
        gram, new = state
        pivot = gram[j, j]
        really = pivot > floor
        column = jnp.where(really, gram[:, j] / jnp.sqrt(jnp.where(really, pivot, 1.0)), 0.0)
        return gram - jnp.outer(column, column), new.at[j].set(really)

    return jax.lax.fori_loop(0, len(gram), step, (gram, jnp.zeros(len(gram), bool)))[1]


def _orthonormal(rows, real, scale):
    """The rows made orthonormal in order (those that are not real are zero)."""
    factor = jnp.linalg.cholesky(inner(rows, rows) / scale + jnp.diag(~real).astype(rows.dtype))
    return jax.scipy.linalg.solve_triangular(factor, jnp.eye(len(rows), dtype=rows.dtype), lower=True) @ rows
