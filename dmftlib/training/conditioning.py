"""Sampled sites under Gaussian matrices that are known only through their queries (Bolthausen conditioning).

A space of the network is a sample of S sites with an orthonormal basis (per site: <e e'> = 1 on the diagonal) of all
that is known of it: innovations of the matrices beside it, and whatever the nonlinearity has added to their span. Every
vector a matrix was ever multiplied with is then a short list of coordinates, and what the queries have revealed of the
matrix is the images of their orthonormal directions. A query is split into its part in the span of earlier queries,
whose image is known, and a new direction q. The image of q is what the backward queries reveal of it plus a fresh
vector, orthogonal to all backward queries.

With `matched` fresh vectors, orthonormal to everything known (a constant included), of exactly the right variance and
from a low-discrepancy sequence, this is a low-variance solver of the limit of infinite width. With plain Gaussian ones
it is an exact simulation of networks of width S, whose S x S matrices are never formed.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

FEW, AHEAD = 2, 4  # directions added at once; fresh vectors that are kept orthogonal to all that is known
_LARGE, _GROUPS = 2**19, 4  # a large basis is held in so many groups of rows


def rounded(rows: int) -> int:
    """Rows of a basis that is to hold so many: room for `FEW` more, and groups of equal size."""
    return -(-(rows + FEW) // _GROUPS) * _GROUPS


class Rows(eqx.Module):
    """A matrix of which `count` rows are in use, and the others zero: products do not touch groups of unused rows."""

    groups: tuple  # of (rows, S)
    count: Int[Array, ""]

    @staticmethod
    def zeros(rows: int, length: int, dtype, at_once: int = FEW) -> "Rows":
        """Room for `rows`, of which at most `at_once` will be written together."""
        groups = _GROUPS if rows * length > _LARGE and rows % _GROUPS == 0 and rows >= _GROUPS * at_once else 1
        return Rows((jnp.zeros((rows // groups, length), dtype),) * groups, jnp.zeros((), int))

    @property
    def shape(self):
        return len(self.groups) * len(self.groups[0]), self.groups[0].shape[1]

    @property
    def starts(self):
        return range(0, self.shape[0], len(self.groups[0]))

    def inner(self, a: Float[Array, "k S"]) -> Float[Array, "k rows"]:
        """a @ rows.T"""
        nothing = jnp.zeros((len(self.groups[0]), len(a)), a.dtype)
        parts = [self._if_used(start, lambda _, group=group: group @ a.T, nothing)
                 for start, group in zip(self.starts, self.groups, strict=True)]  # fmt: skip
        return jnp.concatenate(parts).T

    def combined(self, a: Float[Array, "k rows"]) -> Float[Array, "k S"]:
        """a @ rows"""
        total = jnp.zeros((len(a), self.shape[1]), a.dtype)
        for start, group in zip(self.starts, self.groups, strict=True):
            part = a[:, start : start + len(group)]
            total = self._if_used(start, lambda total, part=part, group=group: total + part @ group, total)
        return total

    def _if_used(self, start, function, argument):
        """function(argument) if rows from `start` on are in use, and else the argument."""
        if len(self.groups) == 1:
            return function(argument)
        return jax.lax.cond(self.count > start, function, lambda value: value, argument)

    def at(self, start) -> Float[Array, "FEW S"]:
        """The rows from `start` on."""
        chosen = start + jnp.arange(FEW)[:, None] == jnp.arange(self.shape[0])
        return self.combined(chosen.astype(self.groups[0].dtype))

    def with_rows(self, rows: Float[Array, "FEW S"], number) -> "Rows":
        """The matrix with a few rows written at its end, of which `number` count."""
        size, at = len(self.groups[0]), self.count
        groups = []
        for first, group in zip(self.starts, self.groups, strict=True):
            place = jnp.clip(at - first, 0, size - len(rows))

            def write(state, place=place, first=first):
                index = place + first - at + jnp.arange(len(rows))
                old = jax.lax.dynamic_slice_in_dim(state[0], place, len(rows))
                new = jnp.where(((index >= 0) & (index < len(rows)))[:, None], rows[index % len(rows)], old)
                return jax.lax.dynamic_update_slice_in_dim(state[0], new, place, 0), False

            here = (at < first + size) & (at + len(rows) > first)
            # once: a loop, unlike a branch, works in place
            groups.append(jax.lax.while_loop(lambda state: state[1], write, (group, here))[0])
        return Rows(tuple(groups), self.count + number)


class Fresh(eqx.Module):
    """Vectors number `first` ... `first` + AHEAD - 1 of a source of random ones, made orthogonal to a basis."""

    vectors: Float[Array, "AHEAD S"]
    first: Int[Array, ""]
    used: Int[Array, ""]  # number of the next one


class Space(eqx.Module):
    """Orthonormal vectors of length S."""

    basis: Rows
    full: Bool[Array, ""]  # a direction found no room
    fresh: Fresh | None

    @staticmethod
    def empty(rows: int, sites: int, dtype, fresh: bool = False, at_once: int = FEW) -> "Space":
        number = jnp.zeros((), int)
        none = Fresh(jnp.zeros((AHEAD, sites), dtype), number - AHEAD, number) if fresh else None
        return Space(Rows.zeros(rows, sites, dtype, at_once), jnp.asarray(False), none)

    @property
    def count(self):
        return self.basis.count

    def coordinates(self, block: Float[Array, "k S"]) -> Float[Array, "k rows"]:
        return self.basis.inner(block) / self.basis.shape[1]

    def vectors(self, coordinates: Float[Array, "k rows"]) -> Float[Array, "k S"]:
        return self.basis.combined(coordinates)

    def with_rows(self, rows: Float[Array, "k S"], number, scale, drawn=0) -> "Space":
        """The space with so many of the rows, which are orthonormal and else zero; `drawn` of them were fresh."""
        fresh = self.fresh
        if fresh is not None:
            rest = fresh.vectors - (fresh.vectors @ rows.T / scale) @ rows
            fresh = Fresh(rest, fresh.first, fresh.used + drawn)
        return Space(self.basis.with_rows(rows, number), self.full, fresh)


class Matrix(eqx.Module):
    """What queries have revealed of a matrix M(0), and the spikes that training has added to it.

    left   orthonormal directions (l, n) of the backward queries; left_images (l, m) are M(0)^T times them
    right  those (r, m) of the forward queries;                  right_images (r, n) are M(0) times them
    spikes (l, r)  M(t) - M(0) between the two
    """

    left: Space
    right: Space
    left_images: Rows
    right_images: Rows
    spikes: Float[Array, "l r"]
    left_largest: Float[Array, ""]
    right_largest: Float[Array, ""]

    @staticmethod
    def unknown(left: Space, right: Space, rows: int) -> "Matrix":
        n, m, dtype = left.basis.shape[0], right.basis.shape[0], left.basis.groups[0].dtype
        zero = jnp.zeros((), dtype)
        return Matrix(Space.empty(rows, n, dtype), Space.empty(rows, m, dtype), Rows.zeros(rows, m, dtype),
                      Rows.zeros(rows, n, dtype), jnp.zeros((rows, rows), dtype), zero, zero)  # fmt: skip

    @property
    def transposed(self) -> "Matrix":
        return Matrix(self.right, self.left, self.right_images, self.left_images, self.spikes.T, self.right_largest,
                      self.left_largest)  # fmt: skip

    @property
    def full(self):
        return self.left.full | self.right.full


def grow(space: Space, block: Float[Array, "k S"], floor, scale=None):
    """Add what `block` has outside the span of the space, where its square is above `floor`.

    Returns the space and the coordinates (k, rows) of the block. Inner products are averages over the sites, or sums
    divided by `scale`.
    """
    rows, sites = space.basis.shape
    scale = sites if scale is None else scale
    coordinates = space.basis.inner(block) / scale
    gram = jax.lax.stop_gradient(block @ block.T / scale - coordinates @ coordinates.T)
    new = _independent(gram, jax.lax.stop_gradient(floor))
    kept = new & (space.count + jnp.cumsum(new) <= rows - FEW)
    order = jnp.concatenate([jnp.argsort(~kept), jnp.zeros(FEW, int)])  # new rows first
    target = space.count + kept.sum()

    def append(state):
        i, space, coordinates = state
        real = space.count + jnp.arange(FEW) < target
        chosen = jax.lax.dynamic_slice(order, (i,), (FEW,))
        rest = jnp.where(real[:, None], block[chosen] - space.vectors(coordinates[chosen]), 0)
        rest, _ = _orthonormal(rest, real, scale)
        rest, _ = _orthonormal(rest - space.vectors(space.basis.inner(rest) / scale), real, scale)  # to all digits
        coordinates = jax.lax.dynamic_update_slice(coordinates, block @ rest.T / scale, (0, space.count))
        return i + FEW, space.with_rows(rest, real.sum(), scale), coordinates

    _, grown, coordinates = jax.lax.while_loop(
        lambda state: state[1].count < target, append, (0, space, coordinates))
    return Space(grown.basis, space.full | jnp.any(new & ~kept), grown.fresh), coordinates


def innovated(space: Space, real: Bool[Array, "FEW"], source):
    """The space with as many fresh directions as are real, and the triangular factor of what they were made of.

    source(i, k)   random vectors number i ... i+k-1, (k, S)
    """
    (rows, sites), fresh = space.basis.shape, space.fresh
    kept = real & (space.count + jnp.arange(FEW) < rows - FEW)

    def renewed(_):
        drawn = source(fresh.used, AHEAD)
        return drawn - space.vectors(space.coordinates(drawn)), fresh.used

    vectors, first = jax.lax.cond(fresh.used + FEW > fresh.first + AHEAD, renewed, lambda now: now,
                                  (fresh.vectors, fresh.first))  # fmt: skip
    chosen = jnp.where(kept[:, None], jax.lax.dynamic_slice_in_dim(vectors, fresh.used - first, FEW), 0)
    chosen, factor = _orthonormal(chosen, kept, sites)
    space = Space(space.basis, space.full | jnp.any(real & ~kept), Fresh(vectors, first, fresh.used))
    return space.with_rows(chosen, kept.sum(), sites, drawn=kept.sum()), factor


def query(matrix: Matrix, space: Space, coordinates: Float[Array, "k m"], source, noise, tolerance, deviation):
    """Multiply M(0) and M(t) with vectors given by coordinates on their right; the answers live on their left.

    source   of the fresh directions, see `innovated`
    noise    noise(i): Gaussian numbers (FEW, n), the coordinates of plain Gaussian vectors; None for matched ones

    Returns the matrix and the space on the left, which now know the answer, the coordinates of the queries over the
    directions of the matrix, and those of the products with M(t) in the space.
    """
    largest = jnp.maximum(matrix.right_largest, jnp.max(jnp.sum(jax.lax.stop_gradient(coordinates) ** 2, 1)))
    right, asked = grow(matrix.right, coordinates, tolerance**2 * largest, scale=1)
    known, left, (rows, sites) = matrix.right.count, matrix.left, space.basis.shape

    def reveal(state):
        i, space, images = state
        real = known + i + jnp.arange(FEW) < right.count
        directions, start = right.basis.at(known + i), space.count
        space, factor = innovated(space, real, source)
        if noise is None:
            factor = jnp.eye(FEW, dtype=factor.dtype)
        image = jax.lax.dynamic_update_slice(jnp.zeros((FEW, rows), factor.dtype), factor, (0, start))
        if noise is not None:
            image = image + jnp.where(jnp.arange(rows) < start, noise(i), 0) / jnp.sqrt(sites)
            image = image - left.vectors(left.basis.inner(image))
        image = deviation * image + left.vectors(matrix.left_images.inner(directions))
        image = jnp.where(real[:, None], image, 0)
        return i + FEW, space, images.with_rows(image, real.sum())

    _, space, images = jax.lax.while_loop(
        lambda state: known + state[0] < right.count, reveal, (0, space, matrix.right_images))
    forgotten = matrix.left_images.inner(coordinates - right.vectors(asked))  # what backward queries know of the rest
    answer = images.combined(asked) + left.vectors(asked @ matrix.spikes.T + forgotten)
    matrix = Matrix(left, right, matrix.left_images, images, matrix.spikes, matrix.left_largest, largest)
    return matrix, space, asked, answer


def outside(space: Space, block: Float[Array, "k S"]) -> Float[Array, "k S"]:
    """Orthonormal vectors that span what the block has outside the space."""
    for _ in range(2):
        block = block - space.vectors(space.coordinates(block))
        block, _ = _orthonormal(block, jnp.ones(len(block), bool), block.shape[1])
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
    """The rows made orthonormal in order (those that are not real are zero), and the triangular factor between."""
    factor = jnp.linalg.cholesky(rows @ rows.T / scale + jnp.diag(~real).astype(rows.dtype))
    inverse = jax.scipy.linalg.solve_triangular(factor, jnp.eye(len(rows), dtype=rows.dtype), lower=True)
    return inverse @ rows, factor
