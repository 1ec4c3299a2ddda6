"""Matrices of which rows are used one after the other: bases that grow.

A large one is held in groups of rows, so that products touch only what is in use, and
rows are written in place.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_LARGE = 2**19  # a matrix of so many numbers is held in groups of rows
_GROUPS = 4


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
    def numbered(self):
        """The groups, and before them the number of their first row."""
        size = len(self.groups[0])
        starts = range(0, self.shape[0], size)
        return zip(starts, self.groups, strict=True)

    def inner(self, a: Float[Array, "k S"]) -> Float[Array, "k rows"]:
        """a @ rows.T"""
        shape = (len(self.groups[0]), len(a))
        nothing = jnp.zeros(shape, a.dtype)
        parts = []
        for start, group in self.numbered:

            def products(_, group=group):
                return group @ a.T

            parts.append(self._if_used(start, products, nothing))
        return jnp.concatenate(parts).T

    def combined(self, a: Float[Array, "k rows"]) -> Float[Array, "k S"]:
        """a @ rows"""
        shape = (len(a), self.shape[1])
        total = jnp.zeros(shape, a.dtype)
        for start, group in self.numbered:
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
        shape = (few, self.shape[1])
        dtype = self.groups[0].dtype
        rows = jnp.zeros(shape, dtype)
        for first, group in self.numbered:
            at = start - first
            rows = rows + _found(group, at, few)
        return rows

    def with_rows(self, rows: Float[Array, "few S"], number) -> "Rows":
        """The matrix with a few rows written at its end, of which `number` count."""
        groups = []
        for first, group in self.numbered:
            at = self.count - first
            groups.append(_written(group, rows, at))
        return Rows(tuple(groups), self.count + number)


def _found(group, at, few: int):
    """Those of the rows from `at` on that are in the group, and zero for the others."""
    place = jnp.clip(at, 0, len(group) - few)
    rows = jax.lax.dynamic_slice_in_dim(group, place, few)
    by = at - place
    return _shifted(rows, by)


def _written(group, rows, at):
    """The group, which is zero from `at` on, with those of the rows, written from there
    on, that fall into it.
    """
    few = len(rows)
    place = jnp.clip(at, 0, len(group) - few)
    old = jax.lax.dynamic_slice_in_dim(group, place, few)
    by = place - at
    new = old + _shifted(rows, by)
    return jax.lax.dynamic_update_slice_in_dim(group, new, place, 0)


def _shifted(rows, by):
    """Row i + by in the place of row i, and zero where there is none."""
    few = len(rows)
    none = jnp.zeros_like(rows)
    around = jnp.concatenate([none, rows, none])
    first = jnp.clip(few + by, 0, 2 * few)
    return jax.lax.dynamic_slice_in_dim(around, first, few)
