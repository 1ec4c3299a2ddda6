"""Muon on coefficients: an update that is an odd polynomial of the momentum buffer.

With d_t minus the gradient of a matrix M at step t, rate eta_t (times the factor of the
layer), momentum mu and decay lam,

    buffer <- mu buffer + d_t,   X = buffer  (Nesterov: d_t + mu buffer),
    M <- (1 - eta_t lam) M + eta_t p(X/|X|_F),   p = p_n o ... o p_1,
    p_k(X) = a_k X + b_k (X X^T) X + c_k (X X^T)^2 X.

The buffer is a sum of g_s h_s^T, a matrix S between the directions of the queries. With
unit directions, X = Q_L S Q_R^T, so that |X|_F = |S|_F and p(X) = Q_L p(S) Q_R^T: the
polynomial is that of the small matrix, as it is run at any width and with no limit
taken. Per site, where Q_L and Q_R have the lengths sqrt(n) and sqrt(m) and spikes are
divided by m, M moves by S sqrt(n/m), and what stands for p is p(S)/sqrt(n/m).

A direction that is small in the buffer is not small in the update: p multiplies by up
to the product of the a_k, 485 for five steps of the usual coefficients. What is left
out of the queries must be smaller by as much.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._types import AnyArray
from .descent import AbstractNormalising, Moved, Updated, as_vector, schedule

_LARGE = 96  # a matrix whose products take longer than to look how much of it is zero
_PARTS = 4


def orthogonalised(
    matrix: Float[Array, "p q"], polynomials: tuple
) -> Float[Array, "p q"]:
    """p(X/|X|_F), the singular values brought near 1; zero where the matrix is, and so
    are its derivatives there.

    >>> usual = ((3.4445, -4.7750, 2.0315),) * 5
    >>> print(orthogonalised(jnp.diag(jnp.array([3.0, 0.0])), usual).round(3))
    [[0.696 0.   ]
     [0.    0.   ]]
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(matrix)))
    there = largest != 0
    scaled = matrix / jnp.where(there, largest, 1.0)
    square = jnp.sum(scaled**2)
    x = jnp.where(there, scaled / jnp.sqrt(jnp.where(there, square, 1.0)), 0.0)
    if min(matrix.shape) < _LARGE:
        return _composed(x, polynomials)
    sizes = [
        math.ceil(part * max(matrix.shape) / _PARTS) for part in range(1, _PARTS + 1)
    ]
    blocks = [functools.partial(_of_block, polynomials, size) for size in sizes]
    fitting = jnp.searchsorted(jnp.asarray(sizes), _used(x))
    return jax.lax.switch(fitting, blocks, x)


def _composed(x, polynomials):
    """p_n o ... o p_1 of a matrix."""
    for a, b, c in polynomials:
        gram = x @ x.T
        once = gram @ x
        x = a * x + b * once + c * (gram @ once)
    return x


def _of_block(polynomials: tuple, size: int, x):
    """p of a matrix that is zero but for the first `size` rows and columns."""
    block = _composed(x[:size, :size], polynomials)
    return jnp.zeros_like(x).at[:size, :size].set(block)


def _used(x):
    """After so many rows and columns a matrix is zero: there is room for directions that
    training has yet to find.
    """
    there = jax.lax.stop_gradient(x) != 0
    rows, columns = (
        jnp.max(jnp.where(jnp.any(there, axis), jnp.arange(count) + 1, 0))
        for axis, count in ((1, x.shape[0]), (0, x.shape[1]))
    )
    return jnp.maximum(rows, columns)


class MuonDescent(AbstractNormalising):
    """Muon on one matrix, M(t) = scale M(0) + spikes.

    `unit` is what stands for one over unit directions: per site 1/sqrt(n/m).

    >>> descent = MuonDescent(jnp.array([0.1, 0.1]), jnp.array(0.5), jnp.array(2.0), jnp.array(1.0))
    >>> scale, increments = descent.path(jnp.array([[[7.0]], [[0.0]]]))
    >>> print(scale.round(3), increments[:, 0, 0].round(3))
    [1.   0.8  0.64] [0.1  0.08]
    """

    rates: Float[Array, " steps"]  # eta_t, of this layer
    momentum: Float[Array, ""]
    weight_decay: Float[Array, ""]
    unit: Float[Array, ""]
    polynomials: tuple = eqx.field(static=True, default=())
    nesterov: bool = eqx.field(static=True, default=False)

    @property
    def slope(self) -> float:
        """By how much the smallest singular values of the buffer are multiplied."""
        return abs(math.prod(a for a, _, _ in self.polynomials))

    def at_rest(self, weights: Moved) -> Float[Array, "..."]:
        """The buffer before the first step."""
        return jnp.zeros_like(weights.spikes)

    def update(self, t, weights: Moved, buffer, direction: Moved) -> Updated:
        """What step t adds to a matrix that is pulled in `direction`."""
        buffer = self.momentum * buffer + direction.spikes
        ahead = buffer
        if self.nesterov:
            ahead = direction.spikes + self.momentum * buffer
        turned = self.unit * orthogonalised(ahead, self.polynomials)
        rate = jnp.asarray(self.rates)[t]
        shrunk = rate * self.weight_decay
        spikes = rate * turned - shrunk * weights.spikes
        return Updated(Moved(-shrunk * weights.scale, spikes), buffer)

    def between_unit_directions(self) -> "MuonDescent":
        """The same where queries and spikes are over unit vectors, not per site."""
        return dataclasses.replace(self, unit=jnp.ones(()))


class MuonShape(NamedTuple):
    """What the programs of a Muon depend on."""

    polynomials: tuple
    nesterov: bool
    slope: float  # of small singular values

    @staticmethod
    def of(muon) -> "MuonShape | None":
        """Of a `networks.Muon` or None."""
        if muon is None:
            return None
        return MuonShape(muon.polynomials, muon.nesterov, muon.slope)


class MuonNumbers(NamedTuple):
    """The numbers of a Muon, each a vector; empty where there is none."""

    learning_rate: Float[AnyArray, " rates"]
    momentum: Float[AnyArray, " one"]
    weight_decay: Float[AnyArray, " one"]

    @staticmethod
    def of(muon, times: int) -> "MuonNumbers":
        """Of a `networks.Muon` or None; a schedule is zero from its end on."""
        if muon is None:
            return MuonNumbers(*(np.zeros(0),) * 3)
        return MuonNumbers(
            schedule(muon.learning_rate, times),
            as_vector(muon.momentum),
            as_vector(muon.weight_decay),
        )

    def in_place_of(
        self, descents: tuple, aspects: dict, factors, times: int, shape: MuonShape
    ) -> tuple:
        """The optimiser of every layer: of those whose aspect n/m is given Muon, and of
        the others the one there is. `factors` multiply the rates, () if none do.
        """
        own = list(descents)
        for l, aspect in aspects.items():
            factor = factors[l] if len(factors) else 1.0
            own[l] = self._descent(times, factor, aspect, shape)
        return tuple(own)

    def _descent(self, times: int, factor, aspect, shape: MuonShape) -> MuonDescent:
        """Of one matrix, its strengths per site."""
        return MuonDescent(
            factor * jnp.broadcast_to(self.learning_rate, (times,)),
            self.momentum[0],
            self.weight_decay[0],
            1 / jnp.sqrt(aspect),
            shape.polynomials,
            shape.nesterov,
        )
