"""The largest singular values of a matrix of any size of which only some questions are
known, exactly in law.

In orthonormal bases that begin with the directions asked, p on the left and q on the
right, a Gaussian matrix is

    [[K, B, 0], [C, Z11, Z12], [0, Z21, Z22]],

K what was asked on both sides, C and B what the answers have outside the directions
asked, rotated into q and p rows and columns, and all Z iid N(0, deviation^2). Draw Z11.
Rotating the rows below turns Z21 into a triangle, with chi numbers of falling order on
the diagonal and Gaussian numbers above it (Bartlett), and leaves Z22 iid; the columns
beside alike. So it goes on, and the matrix is block tridiagonal: blocks on the diagonal,
triangles below and beside it. Training adds to K alone.

Golub-Kahan bidiagonalisation from a vector in the first block reaches two further
blocks a step, one by M and one by M^T. With half as many steps as blocks nothing is cut
off, and a value outside the bulk converges geometrically; with more steps values settle
at those of a matrix that is cut off, which is wrong at the edge.

Source: Bartlett 1933; Dumitriu and Edelman 2002 (math-ph/0206043), here by blocks;
Golub and Kahan 1965; Simon and Zha 2000.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import linalg
from .questions import without

BLOCKS_A_STEP = 2
_NOTHING = 1e-12  # of the matrix: a remainder below it is rounding


class Revealed(eqx.Module):
    """What is known of a matrix: K, C and B of above, zero where there is no row or
    column; the numbers of rows and columns asked.
    """

    corner: Float[Array, "width width"]
    below: Float[Array, "width width"]
    beside: Float[Array, "width width"]
    deviation: Float[Array, ""]
    rows: Array
    columns: Array


def reveal(matrix) -> Revealed:
    """What the questions to a `questions.Matrix` revealed."""
    left = matrix.left
    right = matrix.right
    corner = left.directions @ right.answers.T
    outside_left = right.answers - corner.T @ left.directions
    inside_right = (left.answers @ right.directions.T) @ right.directions
    outside_right = left.answers - inside_right
    return Revealed(
        corner,
        _condensed(outside_left).T,
        _condensed(outside_right),
        matrix.deviation,
        left.asked,
        right.asked,
    )


def _condensed(vectors):
    """(k, room) vectors by k coordinates on k orthonormal directions that span them,
    those that nothing lies along last.
    """
    directions, sizes, _ = linalg.svd(vectors)
    return directions * sizes


class Triangles(NamedTuple):
    """Sizes of the blocks, (seeds, blocks + 1), and the diagonals of the triangles below
    and beside each, (seeds, blocks, width), in units of the deviation.
    """

    rows: np.ndarray
    columns: np.ndarray
    below: np.ndarray
    beside: np.ndarray

    @property
    def used(self):
        """How many blocks have a row or a column, in any seed; if all have, more are
        missing.
        """
        there = (self.rows > 0) | (self.columns > 0)
        return int(there.any(0).sum())

    def first(self, blocks):
        """Those of the first blocks."""
        return Triangles(
            self.rows[:, : blocks + 1],
            self.columns[:, : blocks + 1],
            self.below[:, :blocks],
            self.beside[:, :blocks],
        )


def draw_triangles(rngs, shape, asked, width, blocks) -> Triangles:
    """The sizes of all blocks of a matrix of that shape, and the chi numbers.

    rngs    a generator for each seed
    asked   (seeds, 2)    rows and columns asked
    width   of the blocks, at most, as they are stored
    """
    rows = [asked[:, 0]]
    columns = [asked[:, 1]]
    rows_left = shape[0] - rows[0]
    columns_left = shape[1] - columns[0]
    freedom = []
    for j in range(blocks):
        below = np.minimum(rows_left, columns[j])
        beside = np.minimum(columns_left, rows[j])
        pair = [
            _falling(rows_left, below, width),
            _falling(columns_left, beside, width),
        ]
        freedom.append(np.stack(pair, 1))
        rows.append(below)
        columns.append(beside)
        rows_left = rows_left - below
        columns_left = columns_left - beside
    each = zip(rngs, np.stack(freedom, 1), strict=True)
    drawn = [chi_squared(rng, orders) for rng, orders in each]
    chi = np.sqrt(np.stack(drawn))
    return Triangles(
        np.stack(rows, 1),
        np.stack(columns, 1),
        chi[:, :, 0],
        chi[:, :, 1],
    )


def _falling(left, kept, width):
    """The orders of the chi numbers on the diagonal of a triangle of `kept` rows, of
    `left` that are left: left, left - 1, ..., and 0 up to the width.
    """
    order = np.arange(width)
    there = order < kept[:, None]
    return np.where(there, left[:, None] - order, 0)


def chi_squared(rng, freedom):
    """Chi-squared numbers, zero for no degree of freedom."""
    square = rng.chisquare(np.maximum(freedom, 1.0))
    return np.where(freedom > 0, square, 0.0)


class BlockForm(eqx.Module):
    """A block tridiagonal matrix: entry j of the stacks is the block (j, j), (j + 1, j)
    and (j, j + 1).
    """

    diagonal: Float[Array, "blocks width width"]
    below: Float[Array, "blocks width width"]
    beside: Float[Array, "blocks width width"]

    def __matmul__(self, x):
        """The matrix on a vector of (blocks, width) entries."""
        y = _times(self.diagonal, x)
        from_above = _times(self.below[:-1], x[:-1])
        from_right = _times(self.beside[:-1], x[1:])
        y = y.at[1:].add(from_above)
        return y.at[:-1].add(from_right)

    def whole(self):
        """The matrix with all its entries."""
        blocks, width, _ = self.diagonal.shape
        size = blocks * width
        units = jnp.eye(size).reshape(size, blocks, width)
        columns = jax.vmap(self.__matmul__)(units)
        return columns.reshape(size, size).T

    def first(self, number):
        """Its first blocks."""
        return jax.tree.map(lambda blocks: blocks[:number], self)

    @property
    def T(self):
        def turned(blocks):
            return jnp.swapaxes(blocks, 1, 2)

        return BlockForm(turned(self.diagonal), turned(self.beside), turned(self.below))


def _times(blocks, x):
    return jnp.einsum("bij,bj->bi", blocks, x)


def triangle(normal, diagonal):
    """The triangle of a Gaussian matrix: chi numbers on the diagonal, Gaussian numbers
    above it.
    """
    return jnp.triu(normal, 1) + jnp.diag(diagonal)


def block_form(key, known: Revealed, draws: Triangles) -> BlockForm:
    """The matrix, as far as its first blocks; `draws` of one seed."""
    blocks, width = draws.below.shape

    def drawn(j):
        own = jax.random.fold_in(key, j)
        return jax.random.normal(own, (3, width, width))

    normal = jax.vmap(drawn)(jnp.arange(blocks))
    row = _there(draws.rows, width)
    column = _there(draws.columns, width)
    inside = normal[:, 0]
    below = jax.vmap(triangle)(normal[:, 1], draws.below)
    beside = jax.vmap(triangle)(normal[:, 2], draws.beside)
    beside = jnp.swapaxes(beside, 1, 2)
    inside = inside * row[:-1, :, None]
    inside = inside * column[:-1, None, :]
    below = below * row[1:, :, None]
    below = below * column[:-1, None, :]
    beside = beside * row[:-1, :, None]
    beside = beside * column[1:, None, :]
    first_below = known.below * row[1, :, None]
    first_beside = known.beside * column[1, None, :]
    return BlockForm(
        (known.deviation * inside).at[0].set(known.corner),
        (known.deviation * below).at[0].set(first_below),
        (known.deviation * beside).at[0].set(first_beside),
    )


def _there(sizes, width):
    """1 for each row that a block has, 0 for those that are stored beyond."""
    return (jnp.arange(width) < sizes[:, None]).astype(float)


class Bidiagonal(NamedTuple):
    """A V = U B with the diagonal and superdiagonal of B (steps,), and the first block
    of the columns of U and V (steps, width), which is their part on the directions
    asked.
    """

    diagonal: Float[Array, " steps"]
    superdiagonal: Float[Array, " steps"]
    left: Float[Array, "steps width"]
    right: Float[Array, "steps width"]


class _Reached(NamedTuple):
    """Where the iteration stands: the vectors on the right so far, zero rows for those
    to come; the last on the left, the next on the right and what joins them; the
    largest entry of B; and how many steps were made.
    """

    right: Float[Array, "steps size"]
    u: Float[Array, " size"]
    v: Float[Array, " size"]
    beta: Float[Array, ""]
    largest: Float[Array, ""]
    number: Array

    def widened(self, steps, size):
        """The same with zeros for more steps, and for blocks that were not reached."""
        more = size - len(self.u)
        return self._replace(
            right=jnp.pad(self.right, ((0, steps - len(self.right)), (0, more))),
            u=jnp.pad(self.u, (0, more)),
            v=jnp.pad(self.v, (0, more)),
        )


def bidiagonalise(form: BlockForm, start, steps: int) -> Bidiagonal:
    """Golub and Kahan's steps from `start` (blocks, width).

    Each new vector on the right is made orthogonal to all before; those on the left
    then are, up to rounding errors times the condition of B (Simon and Zha 2000). The
    first half of the steps does not reach beyond the first half of the blocks and one.
    """
    blocks, width = start.shape
    half = steps // 2
    within = min(blocks, BLOCKS_A_STEP * half + 1)
    v = start[:within].ravel()
    nothing = jnp.zeros_like(v)
    zero = jnp.zeros(())
    state = _Reached(
        jnp.zeros((half, len(v))),
        nothing,
        v / jnp.linalg.norm(v),
        zero,
        zero,
        jnp.zeros((), int),
    )
    state, first = _golub_kahan(form.first(within), state, half)
    state = state.widened(steps, blocks * width)
    _, second = _golub_kahan(form, state, steps - half)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), first, second)


def _golub_kahan(form, state, steps):
    """So many steps more, and what they find."""
    blocks, width, _ = form.diagonal.shape
    turned = form.T

    def times(matrix, vector):
        return (matrix @ vector.reshape(blocks, width)).ravel()

    def step(state, _):
        u = times(form, state.v) - state.beta * state.u
        u, alpha = _unit(u, state.largest)
        largest = jnp.maximum(state.largest, alpha)
        right = state.right.at[state.number].set(state.v)
        rest = without(times(turned, u), right)
        # twice: if M's entries lie below its diagonal, one pass leaves the errors of
        # the last vectors, and they grow from step to step
        v, beta = _unit(without(rest, right), largest)
        found = Bidiagonal(alpha, beta, u[:width], state.v[:width])
        return _Reached(right, u, v, beta, largest, state.number + 1), found

    return jax.lax.scan(step, state, length=steps)


def _unit(vector, largest):
    """A vector of length one and its length, both zero where it is rounding."""
    length = jnp.linalg.norm(vector)
    there = length > _NOTHING * largest
    unit = vector / jnp.where(there, length, 1.0)
    return jnp.where(there, unit, 0.0), jnp.where(there, length, 0.0)


class Modes(NamedTuple):
    """Leading singular values and, where asked for, the first block of their vectors,
    which is their part on the directions asked.

    values        (leading,)
    left, right   (vectors, width)
    """

    values: Float[Array, " leading"]
    left: Float[Array, "vectors width"]
    right: Float[Array, "vectors width"]


def modes(found: Bidiagonal, steps: int, leading: int, vectors: int) -> Modes:
    """The `leading` largest singular values after that many of the steps, and the
    vectors of the first of them.
    """
    diagonal = found.diagonal[:steps]
    superdiagonal = found.superdiagonal[:steps]
    gram = _gram(diagonal, superdiagonal)
    if vectors == 0:
        squares = linalg.eigvalsh(gram)
        none = found.left[:0]
        return Modes(_roots(squares, leading), none, none)
    squares, combinations = linalg.eigh(gram)
    values = _roots(squares, leading)
    combinations = combinations[:, ::-1][:, :vectors]
    left = combinations.T @ found.left[:steps]
    # M^T u = s v, with M^T U = V B^T
    turned = diagonal[:, None] * combinations
    beside = superdiagonal[:-1, None]
    turned = turned.at[1:].add(beside * combinations[:-1])
    right = turned.T @ found.right[:steps]
    sizes = jnp.where(values > 0, values, 1.0)[:vectors]
    return Modes(values, left, right / sizes[:, None])


def all_modes(form: BlockForm, leading: int, vectors: int) -> Modes:
    """The same of a matrix that the blocks exhaust, by its entries."""
    left, values, right = linalg.svd(form.whole())
    width = form.diagonal.shape[1]
    return Modes(
        values[:leading],
        left[:width, :vectors].T,
        right[:vectors, :width],
    )


def _gram(diagonal, superdiagonal):
    """B B^T for the bidiagonal B with one column more than rows."""
    beside = superdiagonal[:-1] * diagonal[1:]
    squares = diagonal**2 + superdiagonal**2
    gram = jnp.diag(squares)
    gram = gram + jnp.diag(beside, 1)
    return gram + jnp.diag(beside, -1)


def _roots(squares, leading):
    """The `leading` largest of ascending squares, as roots, descending."""
    largest = squares[::-1][:leading]
    return jnp.sqrt(jnp.maximum(largest, 0.0))
