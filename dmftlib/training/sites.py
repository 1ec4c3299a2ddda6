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

_LARGE = 2**19  # a basis of so many numbers is held in groups of rows
_GROUPS = 4


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


def rounded(rows: int, few: int) -> int:
    """Rows of a basis that is to hold so many: room for `few` more, and groups of equal
    size.
    """
    return -(-(rows + few) // _GROUPS) * _GROUPS


class Rows(eqx.Module):
    """A matrix of which `count` rows are in use, and the others zero: products do not
    touch groups of unused rows.
    """

    groups: tuple  # of (rows, S)
    count: Int[Array, ""]

    @staticmethod
    def zeros(rows: int, length: int, dtype, together: int) -> "Rows":
        """Room for `rows`, of which at most so many will be written together."""
        groups = 1
        if rows * length > _LARGE:
            size, left_over = divmod(rows, _GROUPS)
            if left_over == 0 and size >= together:
                groups = _GROUPS
        shape = (rows // groups, length)
        empty = jnp.zeros(shape, dtype)
        none = jnp.zeros((), int)
        return Rows((empty,) * groups, none)

    @property
    def shape(self):
        rows, sites = self.groups[0].shape
        return len(self.groups) * rows, sites

    @property
    def starts(self):
        step = len(self.groups[0])
        return range(0, self.shape[0], step)

    def inner(self, a: Float[Array, "k S"]) -> Float[Array, "k rows"]:
        """a @ rows.T"""
        shape = (len(self.groups[0]), len(a))
        nothing = jnp.zeros(shape, a.dtype)
        parts = []
        for start, group in zip(self.starts, self.groups, strict=True):

            def products(_, group=group):
                return group @ a.T

            parts.append(self._if_used(start, products, nothing))
        return jnp.concatenate(parts).T

    def combined(self, a: Float[Array, "k rows"]) -> Float[Array, "k S"]:
        """a @ rows"""
        shape = (len(a), self.shape[1])
        total = jnp.zeros(shape, a.dtype)
        for start, group in zip(self.starts, self.groups, strict=True):
            stop = start + len(group)
            part = a[:, start:stop]

            def added(total, part=part, group=group):
                return total + part @ group

            total = self._if_used(start, added, total)
        return total

    def _if_used(self, start, function, argument):
        """function(argument) if rows from `start` on are in use, and else the argument."""
        if len(self.groups) == 1:
            return function(argument)
        return jax.lax.cond(self.count > start, function, lambda value: value, argument)

    def at(self, start, few: int) -> Float[Array, "few S"]:
        """As many rows, from `start` on."""
        wanted = start + jnp.arange(few)
        number = jnp.arange(self.shape[0])
        chosen = wanted[:, None] == number
        dtype = self.groups[0].dtype
        return self.combined(chosen.astype(dtype))

    def with_rows(self, rows: Float[Array, "few S"], number) -> "Rows":
        """The matrix with a few rows written at its end, of which `number` count."""
        groups = tuple(
            _written(group, rows, self.count - first)
            for first, group in zip(self.starts, self.groups, strict=True)
        )
        return Rows(groups, self.count + number)


def _written(group, rows, at):
    """The group with those of the rows, written from `at` on, that fall into it."""
    size = len(group)
    count = len(rows)
    place = jnp.clip(at, 0, size - count)

    def write(state):
        group, _ = state
        index = place - at + jnp.arange(count)
        mine = (index >= 0) & (index < count)
        old = jax.lax.dynamic_slice_in_dim(group, place, count)
        new = jnp.where(mine[:, None], rows[index % count], old)
        group = jax.lax.dynamic_update_slice_in_dim(group, new, place, 0)
        return group, False

    def unwritten(state):
        _, here = state
        return here

    here = (at < size) & (at + count > 0)
    # once: a loop, unlike a branch, works in place
    group, _ = jax.lax.while_loop(unwritten, write, (group, here))
    return group


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
    new = _independent(
        jax.lax.stop_gradient(rest),
        jax.lax.stop_gradient(floor),
    )
    places = space.count + jnp.cumsum(new)
    kept = new & (places <= space.limit - few)
    target = space.count + kept.sum()
    new_first = jnp.argsort(~kept)
    order = jnp.concatenate([new_first, jnp.zeros(few, int)])

    def append(state):
        i, grown = state
        space, coordinates = grown
        real = space.count + jnp.arange(few) < target
        chosen = jax.lax.dynamic_slice(order, (i,), (few,))
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
    dtype = rows.dtype
    gram = rows @ rows.T / scale
    instead_of_none = jnp.diag(~real).astype(dtype)
    factor = linalg.cholesky(gram + instead_of_none)
    identity = jnp.eye(len(rows), dtype=dtype)
    inverse = linalg.solve_lower(factor, identity)
    return Orthonormal(inverse @ rows, factor)


def _independent(gram, floor):
    """Which rows have a part of square above `floor` outside the span of the rows
    before them.
    """

    def step(j, state):
        gram, new = state
        pivot = gram[j, j]
        really = pivot > floor
        square = jnp.where(really, pivot, 1.0)
        column = gram[:, j] / jnp.sqrt(square)
        column = jnp.where(really, column, 0.0)
        gram = gram - jnp.outer(column, column)
        return gram, new.at[j].set(really)

    count = len(gram)
    none = jnp.zeros(count, bool)
    _, new = jax.lax.fori_loop(0, count, step, (gram, none))
    return new
