"""Where sampled vectors are kept: spaces of S sites with an orthonormal basis of all
that is known of them.

A space of the network is a sample of S sites (neurons). Its basis (per site: <e e'> = 1
on the diagonal) holds the innovations of the matrices beside it, and whatever the
nonlinearity has added to their span, so that every vector a matrix was ever multiplied
with is a short list of coordinates. Fresh vectors are random, and orthogonal to all
that the space holds.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.special import ndtri
from scipy.stats import qmc

from .. import linalg
from .rows import Rows


def at_once(queries: int) -> int:
    """Directions that are added together, where so many queries are asked together.

    Going through a large basis for eight of them takes twice as long as for two.

    >>> at_once(10), at_once(20), at_once(100)
    (2, 8, 32)
    """
    if queries < 16:
        return 2
    return 8 if queries < 64 else 32


def ready(few: int) -> int:
    """Fresh vectors that are kept orthogonal to all that is known."""
    return 2 * few


class Fresh(eqx.Module):
    """Vectors of a source of random ones, from number `first` on, made orthogonal to a
    basis.
    """

    vectors: Float[Array, "ahead S"]
    first: Int[Array, ""]
    used: Int[Array, ""]  # number of the next one

    @staticmethod
    def none(number: int, sites: int, dtype) -> "Fresh":
        nothing = jnp.zeros((), int)
        shape = (number, sites)
        vectors = jnp.zeros(shape, dtype)
        return Fresh(vectors, nothing - number, nothing)

    def without(self, rows, scale, drawn) -> "Fresh":
        """Orthogonal to further rows, too, for which so many were drawn."""
        overlaps = self.vectors @ rows.T / scale
        rest = self.vectors - overlaps @ rows
        used = self.used + drawn
        return Fresh(rest, self.first, used)


class Space(eqx.Module):
    """Orthonormal vectors of length S."""

    basis: Rows
    limit: Int[Array, ""]  # rows that may be used, of those that there are
    full: Bool[Array, ""]  # a direction found no room
    fresh: Fresh | None
    few: int = eqx.field(static=True)  # directions added together

    @staticmethod
    def empty(
        rows: int,
        sites: int,
        dtype,
        limit,
        few: int,
        fresh: bool = False,
        together: int = 0,
    ) -> "Space":
        basis = Rows.zeros(rows, sites, dtype, max(few, together))
        none = Fresh.none(ready(few), sites, dtype) if fresh else None
        full = jnp.asarray(False)
        return Space(basis, limit, full, none, few)

    @property
    def dtype(self):
        return self.basis.groups[0].dtype

    @property
    def count(self):
        return self.basis.count

    @property
    def supply(self) -> Fresh:
        """The fresh vectors, of a space that has some."""
        if self.fresh is None:
            raise TypeError("a space without fresh vectors was asked for one")
        return self.fresh

    def coordinates(self, block: Float[Array, "k S"]) -> Float[Array, "k rows"]:
        _, sites = self.basis.shape
        return self.basis.inner(block) / sites

    def vectors(self, coordinates: Float[Array, "k rows"]) -> Float[Array, "k S"]:
        return self.basis.combined(coordinates)

    def with_rows(
        self, rows: Float[Array, "k S"], number, scale, drawn: Int[Array, ""] | int = 0
    ) -> "Space":
        """The space with so many of the rows, which are orthonormal and else zero;
        `drawn` of them were fresh.
        """
        fresh = self.fresh
        if fresh is not None:
            fresh = fresh.without(rows, scale, drawn)
        basis = self.basis.with_rows(rows, number)
        return Space(basis, self.limit, self.full, fresh, self.few)


class Source(eqx.Module):
    """Random vectors of one space, by number: rows of a pool, or Gaussian ones of a
    key.
    """

    pool: Float[Array, "rows S"] | None
    key: Array
    sites: int = eqx.field(static=True)
    dtype: str = eqx.field(static=True)

    def __call__(self, first, number: int) -> Float[Array, "number S"]:
        if self.pool is not None:
            shape = (number, self.sites)
            return jax.lax.dynamic_slice(self.pool, (first, 0), shape)

        def gaussian(i):
            key = jax.random.fold_in(self.key, i)
            return jax.random.normal(key, (self.sites,), self.dtype)

        numbers = first + jnp.arange(number)
        return jax.vmap(gaussian)(numbers)


class Grown(NamedTuple):
    """A space that knows a block of vectors, and their coordinates (k, rows) in it."""

    space: Space
    coordinates: Float[Array, "k rows"]


class Innovated(NamedTuple):
    """A space with fresh directions, and the triangular factor of what they were made
    of.
    """

    space: Space
    factor: Float[Array, "few few"]


class Orthonormal(NamedTuple):
    """Orthonormal rows, and the triangular factor between what they were made of and
    them.
    """

    rows: Float[Array, "k S"]
    factor: Float[Array, "k k"]


def grow(space: Space, block: Float[Array, "k S"], floor, scale=None) -> Grown:
    """Add what `block` has outside the span of the space, where its square is above
    `floor`.

    Inner products are averages over the sites, or sums divided by `scale`.
    """
    _, sites = space.basis.shape
    few = space.few
    scale = sites if scale is None else scale
    coordinates = space.basis.inner(block) / scale
    gram = block @ block.T / scale
    rest = gram - coordinates @ coordinates.T
    number = _numbered(
        jax.lax.stop_gradient(rest),
        jax.lax.stop_gradient(floor),
    )
    new = number >= 0
    kept = new & (space.count + number < space.limit - few)
    target = space.count + kept.sum()

    def append(state):
        i, grown = state
        space, coordinates = grown
        wanted = i + jnp.arange(few)
        real = space.count + jnp.arange(few) < target
        chosen = _where(number, wanted)
        rest = block[chosen] - space.vectors(coordinates[chosen])
        rest = jnp.where(real[:, None], rest, 0)
        rest = _perpendicular(space, rest, real, scale)
        coordinates = jax.lax.dynamic_update_slice(
            coordinates,
            block @ rest.T / scale,
            (0, space.count),
        )
        space = space.with_rows(rest, real.sum(), scale)
        return i + few, Grown(space, coordinates)

    def unfinished(state):
        _, grown = state
        return grown.space.count < target

    start = (0, Grown(space, coordinates))
    _, grown = jax.lax.while_loop(unfinished, append, start)
    space, coordinates = grown
    full = space.full | jnp.any(new & ~kept)
    space = Space(space.basis, space.limit, full, space.fresh, few)
    return Grown(space, coordinates)


def innovated(space: Space, real: Bool[Array, "few"], source: Source) -> Innovated:
    """The space with as many fresh directions as are real."""
    _, sites = space.basis.shape
    few = space.few
    places = space.count + jnp.arange(few)
    kept = real & (places < space.limit - few)
    fresh = _ready(space, source)
    next_one = fresh.used - fresh.first
    chosen = jax.lax.dynamic_slice_in_dim(fresh.vectors, next_one, few)
    chosen = jnp.where(kept[:, None], chosen, 0)
    chosen, factor = orthonormal(chosen, kept, sites)
    full = space.full | jnp.any(real & ~kept)
    space = Space(space.basis, space.limit, full, fresh, few)
    number = kept.sum()
    space = space.with_rows(chosen, number, sites, drawn=number)
    return Innovated(space, factor)


def _ready(space: Space, source: Source) -> Fresh:
    """Fresh vectors of which enough are unused, drawn anew where they are not."""
    fresh = space.supply
    most = ready(space.few)

    def renewed(_):
        drawn = source(fresh.used, most)
        known = space.vectors(space.coordinates(drawn))
        return drawn - known, fresh.used

    def as_they_are(now):
        return now

    vectors, first = jax.lax.cond(
        fresh.used + space.few > fresh.first + most,
        renewed,
        as_they_are,
        (fresh.vectors, fresh.first),
    )
    return Fresh(vectors, first, fresh.used)


def outside(space: Space, block: Float[Array, "k S"]) -> Float[Array, "k S"]:
    """Orthonormal vectors that span what the block has outside the space."""
    real = jnp.ones(len(block), bool)
    for _ in range(2):
        known = space.vectors(space.coordinates(block))
        block = block - known
        block, _ = orthonormal(block, real, block.shape[1])
    return block


class Drawn(NamedTuple):
    """A space that has given vectors of its own, and these."""

    space: Space
    rows: Float[Array, "number S"]


def drawn(
    space: Space, source: Source, number: int, known: Float[Array, "k S"]
) -> Drawn:
    """So many random vectors, orthonormal, orthogonal to the space and to what is
    known.
    """
    _, sites = known.shape
    used = space.supply.used
    vectors = source(used, number)
    space = eqx.tree_at(lambda s: s.fresh.used, space, used + number)
    rest = known - space.vectors(space.coordinates(known))
    ridge = 50 * jnp.finfo(rest.dtype).eps * jnp.sum(known**2)
    gram = rest @ rest.T
    gram = gram + ridge * jnp.eye(len(rest), dtype=rest.dtype)
    overlaps = linalg.solve(gram, rest @ vectors.T)
    rows = outside(space, vectors - overlaps.T @ rest)
    return Drawn(space.with_rows(rows, number, sites), rows)


def sobol(rng, rows: int, sites: int) -> np.ndarray:
    """(rows, sites) normal numbers, each column one point of a scrambled Sobol
    sequence.
    """
    points = qmc.Sobol(rows, rng=rng).random_base2(int(np.ceil(np.log2(sites))))[:sites]
    return ndtri(np.clip(points.T, 1e-12, 1 - 1e-12))


def _perpendicular(space: Space, block, real, scale):
    """A block that is nearly outside the space made orthonormal, and orthogonal to the
    space, to all digits.
    """
    block, _ = orthonormal(block, real, scale)
    coordinates = space.basis.inner(block) / scale
    block = block - space.vectors(coordinates)
    block, _ = orthonormal(block, real, scale)
    return block


def orthonormal(rows, real, scale) -> Orthonormal:
    """The rows made orthonormal in order; those that are not real are zero."""
    gram = rows @ rows.T / scale
    instead_of_none = jnp.diag(~real).astype(rows.dtype)
    factor, inverse = _factored(gram + instead_of_none)
    return Orthonormal(inverse @ rows, factor)


def _factored(gram):
    """The triangular F of gram = F F^T, and its inverse, by elimination of the columns
    of [gram, 1], which becomes [F^T, F^-1].
    """
    count = len(gram)
    row_number = jnp.arange(count)[:, None]

    def step(j, both):
        row = jax.lax.dynamic_slice_in_dim(both, j, 1)
        column = jax.lax.dynamic_slice_in_dim(both, j, 1, axis=1)
        pivot = jax.lax.dynamic_slice_in_dim(row, j, 1, axis=1)
        diagonal = jnp.sqrt(pivot)
        row = row / diagonal
        column = column / diagonal
        below = jnp.where(row_number > j, both - column * row, both)
        return jnp.where(row_number == j, row, below)

    both = jnp.concatenate([gram, jnp.eye(count, dtype=gram.dtype)], 1)
    both = jax.lax.fori_loop(0, count, step, both)
    upper = both[:, :count]
    inverse = both[:, count:]
    return jnp.tril(upper.T), inverse


def _numbered(gram, floor):
    """The number of every row among those that have a part of square above `floor`
    outside the span of the rows before them; -1 for the others.
    """
    count = len(gram)
    place = jnp.arange(count)

    def step(j, state):
        gram, number, found = state
        column = jax.lax.dynamic_slice_in_dim(gram, j, 1, axis=1)
        pivot = jax.lax.dynamic_slice_in_dim(column, j, 1)
        really = pivot > floor
        square = jnp.where(really, pivot, 1.0)
        taken = jnp.where(really, column * column.T / square, 0.0)
        number = jnp.where(really[0] & (place == j), found, number)
        return gram - taken, number, found + really.sum()

    none = jnp.full(count, -1)
    _, number, _ = jax.lax.fori_loop(0, count, step, (gram, none, 0))
    return number


def _where(number: Int[Array, " k"], wanted: Int[Array, " few"]):
    """The places of these numbers; 0 for one that there is not."""
    place = jnp.arange(len(number))
    here = number == wanted[:, None]
    return jnp.sum(jnp.where(here, place, 0), 1)
