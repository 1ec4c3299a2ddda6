"""The steps of a training: recorded as they are done, and stopped where training
diverges.
"""

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from .. import _checks
from .._compile import compiled

_LADDER = 32


def padded(count: int) -> int:
    """The next multiple of 32: programs with room for so many steps serve all numbers
    of steps up to there.

    >>> padded(1), padded(32), padded(33)
    (32, 32, 64)
    """
    return _LADDER * -(-count // _LADDER)


def shelf(rows: int) -> int:
    """The next of 4, 6, 8, 12, 16, 24, ...: the sizes of arrays that hold so many rows.

    >>> [shelf(rows) for rows in (4, 5, 8, 100, 150)]
    [4, 6, 8, 128, 192]
    """
    size = 4
    while size < rows:
        size *= 2
    between = 3 * size // 4
    if rows <= between:
        return between
    return size


@compiled(inline=True)
def _step(network, state, t):
    """Traced once, for the shapes of its entries and for the loop."""
    return network.step(state, t)


def one_by_one(network, state, count: int, room: int):
    """Do network.step(state, t) -> (state, entry) for t = 0 ... count-1, each with
    compiled parts of its own: the state afterwards, and all entries, in arrays with room
    for so many. A training of more than a few seconds shows how far it is.
    """
    first = np.asarray(0)
    state, entry = network.step(state, first)
    rows = _with_row(_tables(entry, room), entry, first)
    for t in tqdm(range(1, count), desc="training", initial=1, total=count, delay=5):
        t = np.asarray(t)
        state, entry = network.step(state, t)
        rows = _with_row(rows, entry, t)
    return state, rows


def _written(rows, entry, t):
    """The entry in row t of the tables."""

    def write(table, row):
        return jax.lax.dynamic_update_index_in_dim(table, row, t, 0)

    return jax.tree.map(write, rows, entry)


_with_row = compiled(_written, donate_argnums=0)


def recorded(network, state, first, last, rows):
    """Do network.step(state, t) -> (state, entry) for t = first ... last-1, and write
    each entry into row t of `rows`, a tree of arrays with room for all of them.
    """

    def once(t, carried):
        state, rows = carried
        state, entry = _step(network, state, t)
        return state, _written(rows, entry, t)

    first = jnp.asarray(first, int)
    last = jnp.asarray(last, int)
    return jax.lax.fori_loop(first, last, once, (state, rows))


def empty_rows(network, state, room: int):
    """Room for the entries of so many steps, filled with zeros."""
    t = jax.ShapeDtypeStruct((), int)
    _, entry = jax.eval_shape(_step, network, state, t)
    return _tables(entry, room)


def _tables(entry, room: int):
    def table(row):
        shape = (room, *row.shape)
        return jnp.zeros(shape, row.dtype)

    return jax.tree.map(table, entry)


def unless_diverged(alive, new, old):
    """The new state where training goes on, and else the old one."""

    def chosen(new, old):
        return jnp.where(alive, new, old)

    return jax.tree.map(chosen, new, old)


def or_nan(alive, record):
    """The record of a step, NaN where training has diverged."""
    return _or(alive, record, jnp.nan)


def or_zero(alive, queries):
    """What level 2 may multiply with: zero where training has diverged."""
    return _or(alive, queries, 0.0)


def _or(alive, tree, instead):
    def chosen(x):
        return jnp.where(alive, x, instead)

    return jax.tree.map(chosen, tree)


def all_finite(tree):
    """Whether all numbers of a tree are finite."""
    leaves = jax.tree.leaves(tree)
    total = sum(jnp.sum(leaf) for leaf in leaves)
    return jnp.isfinite(total)


def head(tree, count: int, last: int | None = None):
    """The first `count` rows of every array of a tree, and of those the first `last`
    entries; numbers as they are. One call for many arrays costs less than many.
    """

    def cut(rows):
        if not rows.ndim:
            return rows
        return rows[:count] if last is None else rows[:count, ..., :last]

    if _checks.is_concrete(tree):
        # NumPy has nothing to compile
        arrays = jax.tree.map(np.asarray, tree)
        return jax.device_put(jax.tree.map(cut, arrays))
    return jax.tree.map(cut, tree)
