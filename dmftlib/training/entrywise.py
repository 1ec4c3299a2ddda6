"""Adam and sign descent: an update that is a function of each entry of the gradients.

Adam sees d = (gamma0/P) sum_mu Delta_mu g^{l+1}_mu phi(h^l_mu)^T of a hidden matrix, d =
(gamma0/P) sum_mu Delta_mu g^1_mu x_mu^T of W^0 and (gamma0/P) sum_mu Delta_mu
phi(h^L_mu) of the readout. Entry by entry, with t = 1, 2, ...,

    m <- b1 m + (1 - b1) d,   v <- b2 v + (1 - b2) d^2,
    A = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps),
    W^0 and w move by eta A, M_l by eta A / N; decay shrinks each by 1 - eta lam.

So M(t) = scale_t M(0) + D_t / N, and entry ij of D_t is a function of all that site i of
one layer and site j of the other have met. It is no sum of few spikes but an integral
operator between the sites, and is kept as one: S x S numbers of a sample of S sites,
with D h / S for what it makes of a query h.

Level 2 needs directions. D is compact and its singular values fall fast, so that few of
its singular functions matter. Functions v = D^T ... D c, which begin at fixed
combinations c of phi(h) and sign phi(h), span the leading ones; they are the same
functions in every sample. Asked of M(0) like queries, they make of D_t an ordinary sum
of spikes (D v) v^T; what it leaves out is bounded by its Frobenius norm

    |D_t - sum (D v) v^T|^2 = |D_t|^2 - sum_i s_i^2.

Source: Yang & Littwin 2023, arXiv:2308.01814 (entrywise updates are integral operators).
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import linalg
from .._types import AnyArray
from .descent import AbstractNormalising, Moved, Path, Updated, as_vector, schedule
from .nonlinear_step import (
    Backward,
    Entry,
    Forward,
    Leading,
    Network,
    State,
    Weights,
    kernel,
)
from .steps import all_finite, or_zero, unless_diverged

FUNCTIONS = 16  # of D that level 2 sees
_ROUNDS = 2  # of D and its transposed
_TOGETHER = 2**20  # numbers of an operator
_CUT = 1e-3  # of the largest singular value: smaller ones are left out
_ROUNDING = 1e-12  # of the largest square


class AdamDescent(AbstractNormalising):
    """Adam on one layer. Numbers that are known to be zero are None.

    inputs   (inputs, D)   of W^0, which is known by the fields that it makes of them: x /
                           sqrt(D); None of all others

    >>> descent = AdamDescent(jnp.array([0.1, 0.1]), None, None, None, jnp.array(1.0))
    >>> update, _ = descent.update(0, jnp.array([1.0, 0.0]), descent.at_rest(jnp.zeros(2)), jnp.array([-3.0, 0.0]))
    >>> print(update)
    [-0.2  0. ]
    """

    rates: Float[Array, " steps"]  # eta_t, of this layer
    b1: Float[Array, ""] | None
    b2: Float[Array, ""] | None
    eps: Float[Array, ""] | None
    weight_decay: Float[Array, ""] | None = None
    inputs: Float[Array, "inputs D"] | None = None

    def at_rest(self, weights) -> "Averages":
        """The buffers before the first step, None of what is not remembered."""
        if self.inputs is not None:
            shape = (self.inputs.shape[1], weights.shape[1])
            weights = jnp.zeros(shape, weights.dtype)
        if isinstance(weights, Moved):
            weights = weights.spikes
        first = None
        second = None
        if self.b1 is not None:
            first = jax.tree.map(jnp.zeros_like, weights)
        if self.b2 is not None:
            second = jax.tree.map(jnp.zeros_like, weights)
        return Averages(first, second)

    def update(self, t, weights, buffer: "Averages", direction) -> Updated:
        """What step t adds to `weights`, any tree; `direction` is what Adam sees."""
        square = jax.tree.map(jnp.square, direction)
        first = _averaged(self.b1, buffer.first, direction)
        second = _averaged(self.b2, buffer.second, square)
        rate = jnp.asarray(self.rates)[t]

        def moved(m, v):
            return rate * self._adapted(t, m, v)

        update = jax.tree.map(moved, first, second)
        if self.inputs is not None:
            update = self.inputs @ update
        update = self._decayed(update, rate, weights)
        if self.b1 is None:
            first = None
        if self.b2 is None:
            second = None
        return Updated(update, Averages(first, second))

    def _adapted(self, t, m, v):
        """A, of the running averages."""
        if self.eps is None:
            return jnp.sign(m)
        average = m / _bias(self.b1, t)
        size = jnp.sqrt(v / _bias(self.b2, t))
        return average / (size + self.eps)

    def _decayed(self, update, rate, weights):
        """The update, less what decay takes."""
        if self.weight_decay is None:
            return update
        shrunk = rate * self.weight_decay

        def less(moved, weight):
            return moved - shrunk * weight

        return jax.tree.map(less, update, weights)

    def in_place(
        self, t, moved: Moved, buffer: "Averages", pull: "Pull", going_on
    ) -> "Stepped":
        """The matrix and its buffers after step t, or as they were. Large arrays are
        written a few rows at a time and one after the other, for want of room for a
        second of them.
        """

        def direction(rows):
            return rows(pull.left.T) @ pull.right

        def square(rows):
            return direction(rows) ** 2

        def remembered(memory, average, new):
            if memory is None:
                return None

            def after(rows, old):
                mixed = _averaged(memory, old, new(rows))
                return jnp.where(going_on, mixed, old)

            return _by_rows(after, average)

        first = remembered(self.b1, buffer.first, direction)
        second = remembered(self.b2, buffer.second, square)
        rate = self.rates[t]

        def after(rows, old):
            m = direction(rows) if first is None else rows(first)
            v = square(rows) if second is None else rows(second)
            step = rate * self._adapted(t, m, v)
            step = self._decayed(step, rate, old)
            return jnp.where(going_on, old + step, old)

        spikes = _by_rows(after, moved.spikes)
        nothing = jnp.zeros_like(moved.scale)
        shrunk = moved.scale + self._decayed(nothing, rate, moved.scale)
        scale = jnp.where(going_on, shrunk, moved.scale)
        moved = Moved(scale, spikes)
        return Stepped(moved, Averages(first, second))

    def path(self, directions: Float[Array, "steps ..."]) -> Path:
        """Where a matrix goes of which D_1, D_2, ... are known."""
        decay = 0.0 if self.weight_decay is None else self.weight_decay
        rates = jnp.asarray(self.rates)[: len(directions)]
        scale = jnp.cumprod(1 - rates * decay)
        first = jnp.ones((1,), scale.dtype)
        before = jnp.zeros_like(directions[:1])
        increments = jnp.diff(directions, axis=0, prepend=before)
        return Path(jnp.concatenate([first, scale]), increments)


class Pull(NamedTuple):
    """What Adam sees of a matrix: left^T right."""

    left: Float[Array, "P S"]
    right: Float[Array, "P S"]


class Stepped(NamedTuple):
    """A matrix and its buffers after a step."""

    moved: Moved
    buffer: "Averages"


class Averages(NamedTuple):
    """m and v, None where nothing is remembered."""

    first: Any
    second: Any


def _by_rows(after, matrix: Float[Array, "S S"]) -> Float[Array, "S S"]:
    """after(rows, old) in the place of the matrix, where rows(x) are those of an array x
    that `old` are of the matrix.
    """
    few = _rows_at_once(len(matrix))

    def written(i, matrix):
        def rows(x):
            return jax.lax.dynamic_slice_in_dim(x, i * few, few)

        old = rows(matrix)
        block = after(rows, old)
        return jax.lax.dynamic_update_slice_in_dim(matrix, block, i * few, 0)

    return jax.lax.fori_loop(0, len(matrix) // few, written, matrix)


def _rows_at_once(sites: int) -> int:
    """Rows of an operator, a divisor of their number, that are updated together.

    >>> _rows_at_once(4096), _rows_at_once(100), _rows_at_once(1009)
    (256, 100, 1009)
    """
    most = max(1, _TOGETHER // sites)
    if most >= sites or sites % most:
        return sites
    return most


def _averaged(memory, average, new):
    """The running average after a new entry."""
    if memory is None:
        return new

    def mixed(old, now):
        return memory * old + (1 - memory) * now

    return jax.tree.map(mixed, average, new)


def _bias(memory, t):
    """The share of the running average that is not of its start."""
    if memory is None:
        return 1.0
    return 1 - memory ** jnp.asarray(t + 1, memory.dtype)


class AdamNumbers(NamedTuple):
    """The numbers of an Adam, each a vector, () where it is known to be zero; all empty
    where there is no Adam.
    """

    learning_rate: Float[AnyArray, " rates"]
    b1: Float[AnyArray, " one"]
    b2: Float[AnyArray, " one"]
    eps: Float[AnyArray, " one"]
    weight_decay: Float[AnyArray, " one"]

    @staticmethod
    def of(adam, times: int) -> "AdamNumbers":
        """Of a `networks.Adam` or None; a schedule is zero from its end on."""
        nothing = np.zeros(0)
        if adam is None:
            return AdamNumbers(*(nothing,) * 5)
        numbers = (adam.b1, adam.b2, adam.eps, adam.weight_decay)
        known = [as_vector(x) if x else nothing for x in numbers]
        rates = schedule(adam.learning_rate, times)
        return AdamNumbers(rates, *known)

    def descents(self, layers: int, times: int, factors, x) -> tuple:
        """The optimiser of each layer, of inputs x (inputs, D); `factors` multiply the
        rates, () if none do.
        """
        rates = jnp.broadcast_to(self.learning_rate, (times,))
        if not len(factors):
            factors = [1.0] * layers
        b1, b2, eps, decay = (each[0] if len(each) else None for each in self[1:])
        inputs = x / np.sqrt(x.shape[1])
        of_layer = [inputs, *[None] * (layers - 1)]
        return tuple(
            AdamDescent(factor * rates, b1, b2, eps, decay, known)
            for factor, known in zip(factors, of_layer, strict=True)
        )


class EntrywiseNetwork(Network):
    """A network whose updates are functions of each entry of the gradients."""

    inputs: Float[Array, "inputs D"]

    def moved(self, state: State, directions, t, alive) -> State:
        """The state after a step, with weights as they were if training has diverged:
        the operators, which are large, in place.
        """
        start, *middle, end = self.descents
        first, *buffers, last = state.buffers
        bottom = start.update(t, state.h1, first, directions.h1)
        top = end.update(t, state.readout, last, directions.readout)
        ends = (state.h1 + bottom.update, state.readout + top.update)
        going_on = alive & all_finite(ends)
        now = (state.h1, state.readout, first, last)
        stepped = (*ends, bottom.buffer, top.buffer)
        h1, readout, first, last = unless_diverged(going_on, stepped, now)
        matrices = []
        for l, descent in enumerate(middle):
            after = descent.in_place(
                t,
                state.weights.matrices[l],
                buffers[l],
                directions.matrices[l],
                going_on,
            )
            matrices.append(after.moved)
            buffers[l] = after.buffer
        weights = Weights(h1, tuple(matrices), readout)
        state = state.with_weights(weights, (first, *buffers, last))
        return dataclasses.replace(state, alive=going_on)

    def directions(self, state: State, ahead: Forward, back: Backward, rates, pulls):
        """kappa sum Delta g^{l+1} phi(h^l)^T between the sites as a Pull, and likewise
        for W^0, the entries of x in the place of phi, and for w, as Weights.
        """
        P, _ = rates.shape
        weighted = [jnp.einsum("mj,mjs->ms", pulls, g) for g in back.gradients]
        features = [each[:P] for each in ahead.features]
        bottom, *pushes = weighted
        *below, top = features
        pulls = map(Pull, pushes, below)
        inputs = self.inputs[:P]
        return Weights(inputs.T @ bottom, tuple(pulls), rates.T @ top)

    def entry(self, state, ahead: Forward, back, predictions, pulls, alive) -> Entry:
        """What is kept of a step, with the leading functions of what was added before."""
        P, _ = pulls.shape
        entry = super().entry(state, ahead, back, predictions, pulls, alive)
        found = []
        for l, D in enumerate(state.operators):
            features = ahead.features[l][:P]
            found.append(leading_functions(D, features))
        leading = or_zero(alive, tuple(found))
        return entry._replace(leading=leading)


def leading_functions(D: Float[Array, "S S"], features: Float[Array, "P S"]) -> Leading:
    """Functions of the sites, per site, of which the sum of left right^T is nearly D."""
    _, S = features.shape
    known = jnp.concatenate([features, jnp.sign(features)])
    shape = (FUNCTIONS, len(known))
    mixing = np.random.default_rng(0).normal(size=shape)
    mixed = jnp.asarray(mixing, known.dtype) @ known
    right = _whitened(mixed)
    for _ in range(_ROUNDS):
        left = _whitened(right @ D.T / S)
        right = _whitened(left @ D / S)
    left = right @ D.T / S
    gram = kernel(left)
    squares, _ = linalg.eigh(gram)
    least = _CUT**2 * squares[-1]
    up = _power(gram, 0.25, least)
    down = _power(gram, -0.25, least)
    known = jnp.sum(jnp.where(squares > least, squares, 0.0))
    rest = jnp.sum((D / S) ** 2) - known
    left_out = jnp.sqrt(jnp.maximum(rest, 0.0))
    return Leading(down @ left, up @ right, left_out)


def _whitened(block: Float[Array, "k S"]) -> Float[Array, "k S"]:
    """Orthonormal functions of the same span, by the root of their Gram, which does not
    depend on signs that a sample has chosen.
    """
    gram = kernel(block)
    least = _ROUNDING * jnp.trace(gram)
    return _power(gram, -0.5, least) @ block


def _power(gram: Float[Array, "k k"], exponent: float, least) -> Float[Array, "k k"]:
    """A power of a Gram; eigenvalues up to the least count for nothing."""
    squares, turned = linalg.eigh(gram)
    kept = squares > jnp.maximum(least, 0.0)
    safe = jnp.where(kept, squares, 1.0)
    powers = jnp.where(kept, safe**exponent, 0.0)
    return (turned * powers) @ turned.T


def memory(adam, sites: int, matrices: int, times: int) -> int:
    """Bytes of double precision: D, what Adam remembers of it, a step of it, and
    functions of all times.
    """
    remembered = (adam.b1 > 0) + (adam.b2 > 0)
    operators = matrices * (2 + remembered)
    functions = 2 * matrices * times * FUNCTIONS
    return 8 * sites * (operators * sites + functions)
