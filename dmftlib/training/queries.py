"""What a sampled matrix answers: Gaussian matrices that are known only through their
queries (Bolthausen conditioning).

What the queries have revealed of a matrix is the images of their orthonormal
directions. A query is split into its part in the span of earlier queries, whose image
is known, and a new direction q. The image of q is what the backward queries reveal of
it plus a fresh vector, orthogonal to all backward queries.

With matched fresh vectors, orthonormal to everything known (a constant included), of
exactly the right variance and from a low-discrepancy sequence, this is a low-variance
solver of the limit of infinite width. With plain Gaussian ones it is an exact
simulation of networks of width S, whose S x S matrices are never formed.

Source: Bolthausen 2014 (conditioning); Lu 2021 (at finite size, "Householder Dice").
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .rows import Rows
from .sites import Source, Space, grow, innovated


class Matrix(eqx.Module):
    """What queries have revealed of a matrix M(0), and what training has made of it.

    left           orthonormal directions (l, n) of the backward queries
    left_images    (l, m)  M(0)^T times them
    right          those (r, m) of the forward queries
    right_images   (r, n)  M(0) times them
    spikes         (l, r)  M(t) - scale M(0) between the two
    """

    left: Space
    right: Space
    left_images: Rows
    right_images: Rows
    scale: Float[Array, ""]
    spikes: Float[Array, "l r"]
    left_largest: Float[Array, ""]
    right_largest: Float[Array, ""]

    @staticmethod
    def unknown(left: Space, right: Space, rows: int, limit) -> "Matrix":
        """A matrix from one space to another that has not been asked anything."""
        n = left.basis.shape[0]
        m = right.basis.shape[0]
        dtype = left.dtype
        zero = jnp.zeros((), dtype)
        return Matrix(
            Space.empty(rows, n, dtype, limit, left.few),
            Space.empty(rows, m, dtype, limit, left.few),
            Rows.zeros(rows, m, dtype, left.few),
            Rows.zeros(rows, n, dtype, left.few),
            jnp.ones((), dtype),
            jnp.zeros((rows, rows), dtype),
            zero,
            zero,
        )

    @property
    def transposed(self) -> "Matrix":
        return Matrix(
            self.right,
            self.left,
            self.right_images,
            self.left_images,
            self.scale,
            self.spikes.T,
            self.right_largest,
            self.left_largest,
        )

    @property
    def full(self):
        return self.left.full | self.right.full


class Noise(eqx.Module):
    """Coordinates of plain Gaussian vectors in a space of so many rows."""

    key: Array
    rows: int = eqx.field(static=True)
    dtype: str = eqx.field(static=True)

    def __call__(self, i, few: int) -> Float[Array, "few rows"]:
        key = jax.random.fold_in(self.key, i)
        return jax.random.normal(key, (few, self.rows), self.dtype)


class Innovations(NamedTuple):
    """Where the fresh parts of answers come from."""

    source: Source
    noise: Noise | None  # None for matched ones
    deviation: Float[Array, ""]


class Revealed(NamedTuple):
    """The space of the answers, and the images of the directions on the other side."""

    space: Space
    images: Rows


class Reply(NamedTuple):
    """A matrix and the two spaces beside it, which now know of a block of queries."""

    matrix: Matrix
    inside: Space  # of the queries
    outside: Space  # of the answers
    asked: Float[Array, "k r"]  # the queries over the directions of the matrix
    image: Float[Array, "k S"]  # M(t) times them


def ask(
    matrix: Matrix,
    inside: Space,
    outside: Space | None,
    block: Float[Array, "k S"],
    innovations: Innovations,
    tolerance: float,
) -> Reply:
    """M(t) times a block of vectors of the space on its right. `outside` is None where
    the answers live in that same space.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.mean(block**2, 1)))
    floor = tolerance**2 * jnp.maximum(largest, matrix.right_largest)
    inside, coordinates = grow(inside, block, floor)
    squares = jnp.sum(jax.lax.stop_gradient(coordinates) ** 2, 1)
    largest = jnp.maximum(matrix.right_largest, jnp.max(squares))
    right, asked = grow(matrix.right, coordinates, tolerance**2 * largest, scale=1)
    within = outside is None
    outside, images = reveal(matrix, right, inside if within else outside, innovations)
    inside = outside if within else inside
    left = matrix.left
    # what backward queries know of the part that was too small to ask
    forgotten = matrix.left_images.inner(coordinates - right.vectors(asked))
    spiked = left.vectors(asked @ matrix.spikes.T + matrix.scale * forgotten)
    answer = matrix.scale * images.combined(asked) + spiked
    matrix = Matrix(
        left,
        right,
        matrix.left_images,
        images,
        matrix.scale,
        matrix.spikes,
        matrix.left_largest,
        largest,
    )
    return Reply(matrix, inside, outside, asked, outside.vectors(answer))


def ask_back(
    matrix: Matrix,
    inside: Space,
    outside: Space | None,
    block: Float[Array, "k S"],
    innovations: Innovations,
    tolerance: float,
) -> Reply:
    """M(t)^T times a block of vectors of the space on its left."""
    reply = ask(matrix.transposed, inside, outside, block, innovations, tolerance)
    return reply._replace(matrix=reply.matrix.transposed)


def reveal(
    matrix: Matrix, right: Space, space: Space, innovations: Innovations
) -> Revealed:
    """The images of those directions of `right` that the matrix has none of yet."""
    known = matrix.right.count
    count = space.few

    def unfinished(state):
        return known + state[0] < right.count

    def few(state):
        i, (space, images) = state
        real = known + i + jnp.arange(count) < right.count
        directions = right.basis.at(known + i, count)
        start = space.count
        space, factor = innovated(space, real, innovations.source)
        image = _fresh(matrix.left, space, factor, start, i, innovations)
        remembered = matrix.left.vectors(matrix.left_images.inner(directions))
        image = innovations.deviation * image + remembered
        image = jnp.where(real[:, None], image, 0)
        return i + count, Revealed(space, images.with_rows(image, real.sum()))

    start = (0, Revealed(space, matrix.right_images))
    return jax.lax.while_loop(unfinished, few, start)[1]


def _fresh(left: Space, space: Space, factor, start, i, innovations: Innovations):
    """Coordinates (few, rows) of fresh vectors of unit variance, orthogonal to all
    backward queries.
    """
    rows, sites = space.basis.shape
    noise = innovations.noise
    if noise is None:
        factor = jnp.eye(space.few, dtype=factor.dtype)
    image = jnp.zeros((space.few, rows), factor.dtype)
    image = jax.lax.dynamic_update_slice(image, factor, (0, start))
    if noise is not None:
        known = jnp.where(jnp.arange(rows) < start, noise(i, space.few), 0) / jnp.sqrt(
            sites
        )
        image = image + known
        image = image - left.vectors(left.basis.inner(image))
    return image
