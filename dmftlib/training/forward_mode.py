"""Derivatives carried forward: few numbers go into a training and many come out.

A training is a long loop with a large state. Reverse mode would have to keep the state
of every step; forward mode carries one tangent for each number that goes in. So a
training is compiled as it is, its derivative with respect to its numbers is a second
compiled program, in forward mode whichever mode JAX is asked for, and the derivative of
that one a third.
"""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from .. import _checks
from .._compile import compiled

_AT_ONCE = 16  # numbers in which derivatives are taken together


def carried_forward(
    train: Callable, refusal: str, where: Callable = lambda numbers: numbers
) -> Callable:
    """train(static, data, numbers), compiled, with derivatives of any order in the
    vector `numbers` alone.

    static    hashable: another one is another program
    data      a tree of arrays. ValueError with the words of `refusal` where it is
              differentiated
    where     the numbers at which derivatives are taken, given those of the values

    >>> import jax.numpy as jnp
    >>> power = carried_forward(lambda n, data, x: x**n, "data: got a derivative")
    >>> jax.grad(lambda x: power(3, (), x)[0])(jnp.array([2.0]))
    Array([12.], dtype=float64)
    """
    program = compiled(train, static_argnums=0)

    @functools.cache
    def slopes():
        return carried_forward(_jacobian(train), refusal, where)

    @functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
    def carried(static, data, numbers):
        return program(static, data, numbers)

    @functools.partial(carried.defjvp, symbolic_zeros=True)
    def derivative(static, primals, tangents):
        data, numbers = primals
        data_tangents, direction = tangents
        if not all(isinstance(x, SymbolicZero) for x in jax.tree.leaves(data_tangents)):
            raise ValueError(refusal)
        value = carried(static, data, numbers)
        slope = slopes()(static, data, where(numbers))
        return value, jax.tree.map(functools.partial(_along, direction), value, slope)

    @functools.wraps(train)
    def call(static, data, numbers):
        if _checks.is_concrete((data, numbers)):
            return program(static, data, numbers)
        return carried(static, data, numbers)

    return call


def _jacobian(train):
    """Derivatives of the floating-point outputs of `train`: a last axis for the
    numbers. Where there are many of them, so many at once.
    """

    def slopes(static, data, numbers):
        def floats(numbers):
            return eqx.filter(train(static, data, numbers), eqx.is_inexact_array)

        def along(direction):
            return jax.jvp(floats, (numbers,), (direction,))[1]

        count = len(numbers)
        if count <= _AT_ONCE:
            return jax.jacfwd(floats)(numbers)
        room = _AT_ONCE * -(-count // _AT_ONCE)
        directions = jnp.eye(room, count, dtype=numbers.dtype)
        columns = jax.lax.map(along, directions, batch_size=_AT_ONCE)
        return jax.tree.map(lambda x: jnp.moveaxis(x[:count], 0, -1), columns)

    return slopes


def join(numbers) -> Float[Array, " numbers"]:
    """The vectors of a tree in one."""
    vectors = jax.tree.leaves(numbers)
    if _checks.is_concrete(vectors):
        return jnp.asarray(np.concatenate(vectors))
    return jnp.concatenate(vectors)


def lengths(numbers) -> tuple[int, ...]:
    """Of the vectors of a tree."""
    return tuple(len(each) for each in jax.tree.leaves(numbers))


def apart(joined: Float[Array, " numbers"], lengths: tuple[int, ...]) -> list:
    """The vectors that were joined.

    >>> import jax.numpy as jnp
    >>> print(*apart(join([jnp.ones(1), jnp.zeros(2)]), (1, 2)))
    [1.] [0. 0.]
    """
    ends = np.cumsum(lengths)
    return jnp.split(joined, ends[:-1])


def _along(direction, value, slope):
    """The derivative of `value` in one direction of the numbers; whole numbers have
    none.
    """
    if slope is None:
        return np.zeros(value.shape, jax.dtypes.float0)
    return slope @ direction
