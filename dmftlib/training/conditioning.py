"""Sampled sites under Gaussian matrices that are known only through their queries (Bolthausen conditioning).

A space of the network is a sample of S sites with an orthonormal basis (per site: <e e'> = 1 on the diagonal) of all
that is known of it: innovations of the matrices beside it, and whatever the nonlinearity has added to their span. Every
vector a matrix was ever multiplied with is then a short list of coordinates, and what the queries have revealed of the
matrix is a small matrix between two such lists. A query is split into its part in the span of earlier queries, whose
image is known, and a new direction q. The image of q is what the backward queries reveal of it plus a fresh vector,
orthogonal to all backward queries.

With `matched` fresh vectors, orthonormal to everything known (a constant included) and of exactly the right variance,
this is a low-variance solver of the limit of infinite width. With plain Gaussian ones it is an exact simulation of
networks of width S, whose S x S matrices are never formed.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_FEW = 3  # new directions a block that are found without the work of a full block


class Space(eqx.Module):
    """Orthonormal vectors in the rows of `basis` (capacity, S), of which `count` are in use; the others are zero."""

    basis: Float[Array, "capacity S"]
    count: Int[Array, ""]
    full: Bool[Array, ""]  # a direction found no room

    @staticmethod
    def empty(capacity: int, sites: int, dtype) -> "Space":
        return Space(jnp.zeros((capacity, sites), dtype), jnp.zeros((), int), jnp.asarray(False))

    def coordinates(self, block: Float[Array, "k S"]) -> Float[Array, "k capacity"]:
        return block @ self.basis.T / self.basis.shape[1]


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
        nothing = jnp.zeros((n, m), dtype)
        zero = jnp.zeros((), dtype)
        return Matrix(nothing, nothing, Space.empty(rank, n, dtype), Space.empty(rank, m, dtype), zero, zero)

    @property
    def transposed(self) -> "Matrix":
        return Matrix(self.revealed.T, self.spikes.T, self.right, self.left, self.right_largest, self.left_largest)

    @property
    def full(self):
        return self.left.full | self.right.full


def grow(space: Space, block: Float[Array, "k S"], floor, per_site: bool = True):
    """Add what `block` has outside the span of the space, where its square is above `floor`.

    Returns the space and the coordinates of the block. `per_site`: inner products are averages and not sums.
    """
    k, (capacity, sites) = len(block), space.basis.shape
    scale = sites if per_site else 1
    coordinates = block @ space.basis.T / scale
    gram = block @ block.T / scale - coordinates @ coordinates.T
    new = _independent(jax.lax.stop_gradient(gram), jax.lax.stop_gradient(floor))
    room = space.count + jnp.cumsum(new) <= capacity - k
    full = space.full | jnp.any(new & ~room)
    new = new & room
    order = jnp.argsort(~new)  # new rows first
    found = new.sum()

    def rows(size):
        chosen = order[:size]
        real = (jnp.arange(size) < found).astype(block.dtype)
        rest = block[chosen] * real[:, None]
        for _ in range(2):
            rest = rest - (rest @ space.basis.T / scale) @ space.basis
            rest = _orthonormal(rest, real, scale)
        return jnp.zeros((k, sites), block.dtype).at[:size].set(rest * real[:, None])

    added = _by_size(found, k, rows, (k, sites), block.dtype)
    basis = jax.lax.dynamic_update_slice(space.basis, added, (space.count, 0))
    coordinates = jax.lax.dynamic_update_slice(coordinates, block @ added.T / scale, (0, space.count))
    return Space(basis, space.count + found, full), coordinates


def query(matrix: Matrix, space: Space, coordinates: Float[Array, "k m"], key, tolerance, deviation, matched):
    """Multiply M(0) with vectors given by coordinates on its right; the answers live in the `space` on its left.

    Returns the matrix and the space, which now know the answers `matrix.revealed @ coordinates`.
    """
    k, sites = len(coordinates), space.basis.shape[1]
    size = jnp.max(jnp.sum(jax.lax.stop_gradient(coordinates) ** 2, 1))
    largest = jnp.maximum(matrix.right_largest, size)
    right, _ = grow(matrix.right, coordinates, tolerance**2 * largest, per_site=False)
    found = right.count - matrix.right.count
    directions = jax.lax.dynamic_slice(right.basis, (matrix.right.count, 0), (k, right.basis.shape[1]))

    def draw(size):
        real = (jnp.arange(size) < found).astype(space.basis.dtype)
        return jnp.zeros((k, sites), real.dtype).at[:size].set(normal(key, size, sites, real.dtype) * real[:, None])

    fresh = _by_size(found, k, draw, (k, sites), space.basis.dtype)
    before = space.count
    space, images = grow(space, fresh, tolerance**2)
    if matched:
        images = _unit(before + jnp.arange(k), jnp.arange(k) < found, len(space.basis), fresh.dtype)
    else:
        images = images - (images @ matrix.left.basis.T) @ matrix.left.basis
    revealed = matrix.revealed + deviation * images.T @ directions
    return Matrix(revealed, matrix.spikes, matrix.left, right, matrix.left_largest, largest), space


def normal(key, count, sites, dtype):
    """(count, S) standard normal numbers; a row does not depend on how many there are."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
    return jax.vmap(lambda key: jax.random.normal(key, (sites,), dtype))(keys)


def _unit(slots, real, length, dtype):
    return (real[:, None] & (slots[:, None] == jnp.arange(length))).astype(dtype)


def _by_size(found, k, rows, shape, dtype):
    """rows(size) for the smallest of the sizes 0, few, k that holds what was found; its shape does not depend on it."""
    sizes = [_FEW, k] if k > _FEW else [k]
    branches = [lambda: jnp.zeros(shape, dtype)] + [lambda size=size: rows(size) for size in sizes]
    return jax.lax.switch(sum((found > size).astype(int) for size in [0, *sizes[:-1]]), branches)


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
    """The rows made orthonormal in order (rows that are not real are zero)."""
    gram = rows @ rows.T / scale
    factor = jnp.linalg.cholesky(gram + jnp.diag(1 - real))
    return jax.scipy.linalg.solve_triangular(factor, rows, lower=True)
