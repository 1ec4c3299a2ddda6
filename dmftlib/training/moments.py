"""What a sample of sites has measured of a matrix, for level 2."""

import jax.numpy as jnp

from ..history import Functions, Moments
from .queries import Matrix


def measured(
    matrix: Matrix,
    left,
    right,
    ranks,
    times,
    variance,
    rates,
    descent=None,
    functions: Functions | None = None,
) -> Moments:
    """The moments of a matrix whose backward and forward queries over its directions
    are `left` and `right`, after `times` steps.

    ranks   (room, 2)   the directions, left and right, that were there at each step
    """
    # directions found after the last step have no time
    done = jnp.arange(len(ranks))[:, None] < times
    counts = jnp.where(done, ranks, ranks[times - 1])
    from_left = jnp.concatenate(matrix.left_images.groups)
    from_right = jnp.concatenate(matrix.right_images.groups)
    right_basis = jnp.concatenate(matrix.right.basis.groups)
    left_time, right_time = _times(counts, matrix, times)
    return Moments(
        variance=variance,
        left_queries=left,
        right_queries=right,
        left_time=left_time,
        right_time=right_time,
        core=from_left @ right_basis.T,
        left_images=from_left @ from_left.T,
        right_images=from_right @ from_right.T,
        rates=rates,
        descent=descent,
        functions=functions,
    )


def _times(counts, matrix: Matrix, times):
    """The step at which each direction was new, left and right."""
    directions = jnp.arange(len(matrix.spikes))
    before = counts[:, :, None] <= directions
    return jnp.minimum(before.sum(0), times)
