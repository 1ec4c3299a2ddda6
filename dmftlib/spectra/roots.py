"""Null vectors of families of symmetric matrices, with derivatives of any order.

Level 2 asks one kind of question: at which x is a symmetric matrix T(x) singular, and
what is its null vector y? Whoever asks finds y as numbers. From there on x is the root
of the scalar equation y^T T(x) y = 0, in closed form, and y moves as T(x) y = 0 says:

    T dy = -(dT) y,   y^T dy = 0,   dT the change of T(x) at fixed y.

The rule refers to y itself, so that it can be differentiated again, as often as asked,
in forward and in reverse mode.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import linalg

_ZERO = 1e-9  # of the largest eigenvalue: not told from zero


class AbstractFamily(eqx.Module):
    """Symmetric matrices T(x)."""

    @abc.abstractmethod
    def matrix(self, x) -> Float[Array, "n n"]:
        """T(x)."""

    @abc.abstractmethod
    def root(self, y: Float[Array, " n"]) -> Array:
        """The x with y^T T(x) y = 0."""


@jax.custom_jvp
def differentiable(family: AbstractFamily, y: Float[Array, " n"]) -> Float[Array, " n"]:
    """The null vector y, of unit length, with its derivatives through the family; zero
    where there is none.
    """
    return y


@differentiable.defjvp
def _moved(primals, tangents):
    family, found = primals
    y = differentiable(family, found)

    def residual(family):
        return family.matrix(family.root(y)) @ y

    _, change = jax.jvp(residual, (family,), tangents[:1])
    matrix = family.matrix(family.root(y))
    others = _other_null_vectors(jax.lax.stop_gradient(matrix), found)
    solvable = change - others @ change
    regular = matrix + jnp.outer(y, y) + others
    regular = jnp.where(jnp.any(found != 0), regular, jnp.eye(len(y)))
    return y, -linalg.solve(regular, solvable)


def _other_null_vectors(matrix, y):
    """The projector on the null vectors beside y: how those turn among themselves is
    not determined, and not differentiated.
    """
    values, vectors = linalg.eigh(matrix)
    sizes = jnp.abs(values)
    null = sizes <= _ZERO * jnp.max(sizes)
    own = jnp.argmax(jnp.abs(y @ vectors))
    null = jnp.where(null.at[own].set(True), vectors, 0.0)
    return null @ null.T - jnp.outer(y, y)
