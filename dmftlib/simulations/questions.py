"""Gaussian matrices of any finite size under causal questions, exactly in law.

A space of dimension n is known by the few directions that were seen in it, and a vector
by its coordinates on them. Let M be n x m with iid N(0, deviation^2) entries, and v a
unit vector orthogonal to all v_k that M was asked before. With u_j the directions that
M^T was asked,

    M v = sum_j u_j <M^T u_j, v> + fresh,

where fresh is a Gaussian vector without its part along the u_j, independent of all that
is known. On the k directions seen so far its coordinates are N(0, deviation^2), less
that part; outside them it has the length deviation chi_{n-k} along one direction that
was never seen, or none if k = n. M^T alike. Nothing is approximated and no limit is
taken: the dimensions are numbers, and only the coordinates are stored.

Source: conditioning of Bolthausen 2014; Lu 2021 ("Householder Dice") with vectors of
the full size. Where nothing acts on entries, coordinates are enough.
"""

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._types import AnyArray

_SMALLEST = 1e-9  # of a question: a remainder below it is no new direction


class Space(eqx.Module):
    """A space of that dimension, and the number of its directions seen so far."""

    dimension: Float[Array, ""]
    seen: Int[Array, ""]

    @classmethod
    def unseen(cls, dimension):
        return cls(jnp.asarray(dimension, float), jnp.zeros((), int))


class Draw(eqx.Module):
    """The random numbers of a Gaussian vector with entries N(0, 1): its coordinates on
    as many directions as there is room for, and its squared length outside them, which
    is chi-squared of order dimension - room (zero where that is not positive).
    """

    inside: Float[Array, " room"]
    outside: Float[AnyArray, ""]

    def __getitem__(self, index) -> "Draw":
        return Draw(self.inside[index], self.outside[index])


class Fresh(NamedTuple):
    """A new vector, and the space that has seen it."""

    vector: Float[Array, " room"]
    space: Space


def without(vector, directions):
    """`vector` less its part along orthonormal `directions`, which may be zero rows."""
    return vector - (directions @ vector) @ directions


def fresh(draw: Draw, space: Space, excluded: Float[Array, "any room"]) -> Fresh:
    """A Gaussian vector with entries N(0, 1), without its part along `excluded`.

    What it has outside the directions seen so far is one new direction, of length
    chi_{n-k}: turned so that it is the next coordinate.
    """
    order = jnp.arange(excluded.shape[1])
    inside = draw.inside[: len(order)]
    known = order < space.seen
    seen = without(jnp.where(known, inside, 0.0), excluded)
    there = order.astype(float) < space.dimension
    unseen = there & ~known
    counted = jnp.where(unseen, inside, 0.0)
    square = jnp.sum(counted**2) + draw.outside
    length = jnp.sqrt(square)
    vector = seen.at[space.seen].add(length, mode="drop")
    more = space.seen.astype(float) < space.dimension
    number = space.seen + more.astype(int)
    return Fresh(vector, Space(space.dimension, number))


class Side(eqx.Module):
    """What a matrix was asked from one side: orthonormal directions, zero rows from
    number `asked` on, and the answers.
    """

    directions: Float[Array, "capacity room"]
    answers: Float[Array, "capacity other_room"]
    asked: Int[Array, ""]

    @classmethod
    def unasked(cls, capacity, room, other_room):
        return cls(
            jnp.zeros((capacity, room)),
            jnp.zeros((capacity, other_room)),
            jnp.zeros((), int),
        )

    def widened(self, capacity, room, other_room):
        """The same with so much more room."""
        return Side(
            jnp.pad(self.directions, ((0, capacity), (0, room))),
            jnp.pad(self.answers, ((0, capacity), (0, other_room))),
            self.asked,
        )


class Split(NamedTuple):
    """A question as a combination of known directions and a new one, zero if there is
    none.
    """

    coordinates: Float[Array, " capacity"]
    direction: Float[Array, " room"]
    length: Float[Array, ""]
    new: Array


def split(question, side: Side, dimension) -> Split:
    """What of `question` the matrix was asked before."""
    coordinates = side.directions @ question
    rest = question - coordinates @ side.directions
    again = side.directions @ rest
    rest = rest - again @ side.directions
    length = jnp.linalg.norm(rest)
    beyond_rounding = length > _SMALLEST * jnp.linalg.norm(question)
    more = side.asked.astype(float) < dimension
    new = beyond_rounding & more
    unit = rest / jnp.where(new, length, 1.0)
    direction = jnp.where(new, unit, 0.0)
    length = jnp.where(new, length, 0.0)
    return Split(coordinates + again, direction, length, new)


class Matrix(eqx.Module):
    """A Gaussian matrix between two spaces, given by their numbers, as far as questions
    revealed it: M^T on the directions of `left`, M on those of `right`.
    """

    deviation: Float[Array, ""]
    left: Side
    right: Side
    left_space: int = eqx.field(static=True)
    right_space: int = eqx.field(static=True)


class Reply(NamedTuple):
    """What is known after a question, the question's coordinates on the matrix's
    directions, and the image.
    """

    known: "Known"
    coordinates: Float[Array, " capacity"]
    image: Float[Array, " room"]


class Known(eqx.Module):
    """All spaces, and the matrices between them."""

    spaces: tuple
    matrices: tuple

    def forward(self, draw, number, question) -> Reply:
        """M q, for the matrix of that number."""
        matrix = self.matrices[number]
        sides = (matrix.right, matrix.left)
        ends = (matrix.right_space, matrix.left_space)
        asked = _ask(draw, self, question, sides, ends, matrix)
        changed = dataclasses.replace(matrix, right=asked.side)
        return self._reply(number, changed, asked, matrix.left_space)

    def backward(self, draw, number, question) -> Reply:
        """M^T q."""
        matrix = self.matrices[number]
        sides = (matrix.left, matrix.right)
        ends = (matrix.left_space, matrix.right_space)
        asked = _ask(draw, self, question, sides, ends, matrix)
        changed = dataclasses.replace(matrix, left=asked.side)
        return self._reply(number, changed, asked, matrix.right_space)

    def _reply(self, number, matrix, asked, space):
        known = eqx.tree_at(
            lambda known: (known.matrices[number], known.spaces[space]),
            self,
            (matrix, asked.space),
        )
        return Reply(known, asked.coordinates, asked.image)


class _Asked(NamedTuple):
    side: Side
    space: Space
    coordinates: Float[Array, " capacity"]
    image: Float[Array, " room"]


def _ask(draw, known, question, sides, ends, matrix) -> _Asked:
    """Ask from sides[0], which lies in the space ends[0]; the answer lies in ends[1]."""
    side, other = sides
    space = known.spaces[ends[0]]
    answering = known.spaces[ends[1]]
    part = split(question, side, space.dimension)
    drawn = fresh(draw, answering, other.directions)
    answer = (other.answers @ part.direction) @ other.directions
    answer = answer + matrix.deviation * drawn.vector
    answer = jnp.where(part.new, answer, 0.0)
    side = Side(
        side.directions.at[side.asked].add(part.direction, mode="drop"),
        side.answers.at[side.asked].add(answer, mode="drop"),
        side.asked + part.new.astype(int),
    )
    seen = jnp.where(part.new, drawn.space.seen, answering.seen)
    image = part.coordinates @ side.answers + part.length * answer
    last = side.asked - 1
    coordinates = part.coordinates.at[last].add(part.length, mode="drop")
    return _Asked(side, Space(answering.dimension, seen), coordinates, image)
