"""Leading singular values of trained matrices, and leading eigenvalues of the tangent
kernel, of networks that are known by coordinates: by further questions.

The matrices are M(t) = scale(t) M(0) + U^T S(t) V; of M(0) `leading_values` draws as many blocks
as the largest values need. The kernel K = (D/P) Xh S_0 Xh^T asks every matrix once
forward and once backward, and Lanczos' iteration asks it so from the residual.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import linalg
from .coordinate_training import Trained, Training, Weights, new_data
from .leading_values import (
    BLOCKS_A_STEP,
    BlockForm,
    Revealed,
    Triangles,
    all_modes,
    bidiagonalise,
    block_form,
    modes,
    reveal,
)
from .questions import Known, without

_NOTHING = 1e-12  # of the kernel: a remainder below it is rounding
_LEAST_SCALE = 1e-8  # of what is left of M(0), that stands for zero
_QUESTIONS = 48  # to the tangent kernel


class Overlaps(NamedTuple):
    """Squared cosines of singular vectors with the queries, (at, k, steps) a side."""

    left: Float[Array, "at vectors steps"]
    right: Float[Array, "at vectors steps"]


class Found(NamedTuple):
    """Leading numbers (at, leading), and their vectors' overlaps with the queries."""

    values: Float[Array, "at leading"]
    overlaps: Overlaps | None


class Pair(NamedTuple):
    """What an iteration found, and what it had found after half of its steps."""

    now: Found
    earlier: Found


class Kernel(NamedTuple):
    """The tangent kernel at one step, K = (D/P) Xh S_0 Xh^T with S_l = a_l + M_l^T
    S_{l+1} M_l, a_l = r_l |g^{l+1}|^2/(N fan_in/D) and a_L = r_L D/N, r_l the factors of
    the rates.
    """

    trained: list
    shares: Float[Array, " layers"]  # N/D times a_0 ... a_L
    scale: Float[Array, ""]  # D/P D/N

    def __call__(self, draw, known, question):
        """K q: every matrix asked once forward and once backward."""
        L = len(self.trained)
        known, _, image = known.backward(draw[0, 1], L, question)
        fields = [image]
        for l in range(L):
            weights = Weights(known, self.trained)
            known, _, image = weights.forward(draw[l + 1, 1], l, fields[l])
            fields.append(image)
        total = self.shares[L] * fields[L]
        for l in reversed(range(L)):
            weights = Weights(known, self.trained)
            known, _, image = weights.backward(draw[l, 0], l, total)
            total = image + self.shares[l] * fields[l]
        known, _, image = known.forward(draw[L + 1, 0], L, total)
        return known, self.scale * image

    def modes(self, draws, known, start):
        """Lanczos' iteration from `start`, a question for each of the draws: what is
        known then, its eigenvalues, and those after half of the questions.
        """
        questions = len(draws.outside)
        vector = start / jnp.linalg.norm(start)
        basis = jnp.zeros((questions, len(start)))
        none = jnp.zeros((), int)
        state = _Iteration(known, basis, vector, jnp.zeros(()), none)

        def step(state, draw):
            return self._step(state, draw)

        state, entries = jax.lax.scan(step, state, draws)
        diagonal, beside = entries
        half = questions // 2
        now = _eigenvalues(diagonal, beside)
        earlier = _eigenvalues(diagonal[:half], beside[:half])
        return state.known, now, earlier

    def _step(self, state, draw):
        basis = state.basis
        known, image = self(draw, state.known, state.vector)
        basis = basis.at[state.number].set(state.vector)
        alpha = state.vector @ image
        largest = jnp.maximum(state.largest, alpha)
        rest = without(image, basis)
        rest = without(rest, basis)
        length = jnp.linalg.norm(rest)
        there = length > _NOTHING * largest
        unit = rest / jnp.where(there, length, 1.0)
        vector = jnp.where(there, unit, 0.0)
        beta = jnp.where(there, length, 0.0)
        number = state.number + 1
        state = _Iteration(known, basis, vector, largest, number)
        return state, (alpha, beta)


class _Iteration(NamedTuple):
    """Lanczos' iteration: the vectors so far, the next one, the largest entry, and how
    many there are.
    """

    known: Known
    basis: Float[Array, "questions room"]
    vector: Float[Array, " room"]
    largest: Float[Array, ""]
    number: Array


def _eigenvalues(diagonal, beside):
    """Those of a tridiagonal matrix, descending."""
    beside = beside[:-1]
    matrix = jnp.diag(diagonal)
    matrix = matrix + jnp.diag(beside, 1)
    matrix = matrix + jnp.diag(beside, -1)
    return linalg.eigvalsh(matrix)[::-1]


def _widened(known, capacity, room):
    """The same with room for more questions, and for what they bring into the spaces."""

    def wider(matrix):
        return dataclasses.replace(
            matrix,
            left=matrix.left.widened(capacity, room, room),
            right=matrix.right.widened(capacity, room, room),
        )

    matrices = tuple(map(wider, known.matrices))
    return Known(known.spaces, matrices)


def kernel_questions(leading):
    """How often the kernel is asked for so many eigenvalues."""
    return max(_QUESTIONS, 2 * leading)


def widened_for_kernel(known, at, leading):
    """`known` with room for the questions of kernels at `at` steps."""
    asked = at * (kernel_questions(leading) + 1)
    return _widened(known, asked, 2 * asked)


class _AtSteps(NamedTuple):
    """The steps' matrices, shares of the kernel, and v = beta - p."""

    trained: Trained
    shares: Float[Array, "at layers"]
    error: Float[Array, "at room"]


def _at_steps(net, sizes, training, steps, asked) -> _AtSteps:
    """With room for so many questions more."""
    trained = training.trained(net, sizes)
    scale = trained.scale[steps]
    strengths = trained.strengths[steps]
    wider = ((0, 0), (0, 0), (0, asked), (0, asked))
    error = training.error[steps]
    fan_in = [sizes.fan_in(l) for l in range(net.hidden_layers)]
    left = training.left[steps]
    squares = jnp.sum(left**2, 2)
    squares = squares / jnp.stack(fan_in)
    shares = jnp.pad(squares, ((0, 0), (0, 1)), constant_values=1.0)
    if net.layer_rates is not None:
        shares = shares * net.layer_rates
    return _AtSteps(
        Trained(scale, jnp.pad(strengths, wider)),
        shares,
        jnp.pad(error, ((0, 0), (0, 2 * asked))),
    )


def kernel_modes(net, sizes, training: Training, steps, draws, leading) -> Pair:
    """The largest eigenvalues of the tangent kernel at some steps. `draws` are those of
    each step and question, one more than Lanczos makes: (at, questions+1, spaces, 2, ...).

    With batch="online" they are those of a data set that training has not seen.
    """
    L = net.hidden_layers
    known = widened_for_kernel(training.known, len(steps), leading)
    capacity = known.matrices[0].left.directions.shape[0]
    asked = capacity - (net.steps + 1)
    wanted = _at_steps(net, sizes, training, steps, asked)
    scale = sizes.dim**2 / (sizes.samples * sizes.width)

    def at_step(state, now):
        known, noise = state
        (trained, share, error), draw = now
        if net.batch == "online":
            known, noise = new_data(draw[0, L + 1, 1], net, known)
        known, _, image = known.forward(draw[0, L + 1, 0], L, error)
        matrices = [*map(Trained, *trained)]
        kernel = Kernel(matrices, share, scale)
        residual = image + noise
        known, values, earlier = kernel.modes(draw[1:], known, residual)
        return (known, noise), (values[:leading], earlier[:leading])

    noise = jnp.pad(training.noise, (0, 2 * asked))
    _, found = jax.lax.scan(at_step, (known, noise), (wanted, draws))
    now, earlier = found
    return Pair(Found(now, None), Found(earlier, None))


class Layer(NamedTuple):
    """What the singular values of one matrix are drawn from: what is known of its start,
    what training made of it at some steps, and the queries of training on the
    directions asked.
    """

    start: Revealed
    trained: Trained
    left: Float[Array, "steps capacity"]
    right: Float[Array, "steps capacity"]


def layer_of(net, sizes, training: Training, steps, layer) -> Layer:
    """One matrix of a training."""
    trained = training.trained(net, sizes)
    return Layer(
        reveal(training.known.matrices[layer]),
        Trained(
            trained.scale[steps, layer],
            trained.strengths[steps, layer],
        ),
        training.left[:-1, layer],
        training.right[:-1, layer],
    )


def weight_modes(layer: Layer, key, draws: Triangles, leading, vectors) -> Pair:
    """The largest singular values of one matrix at some steps, all of them of one
    completion of the matrix, and the overlaps of the first vectors with the queries.
    """
    keys = jax.random.split(key)
    form = block_form(keys[0], layer.start, draws)
    blocks, width = draws.below.shape
    asked = jnp.arange(width) < layer.start.columns
    drawn = jax.random.normal(keys[1], (width,))
    first = jnp.where(asked, drawn, 0.0)
    start = jnp.zeros((blocks, width)).at[0].set(first)
    steps = blocks // BLOCKS_A_STEP

    def at_step(trained):
        scale = _there(trained.scale)
        bidiagonal = bidiagonalise(_trained(form, trained), start, steps)
        now = after(bidiagonal, steps, scale)
        return Pair(now, after(bidiagonal, steps // 2, scale))

    def after(bidiagonal, steps, scale):
        found = modes(bidiagonal, steps, leading, vectors)
        return _found(layer, found, vectors, scale)

    return jax.vmap(at_step)(layer.trained)


def weight_modes_of_small(
    layer: Layer, key, draws: Triangles, leading, vectors
) -> Pair:
    """The same of a matrix that the blocks exhaust, by LAPACK."""
    keys = jax.random.split(key)
    form = block_form(keys[0], layer.start, draws)

    def at_step(trained):
        found = all_modes(_trained(form, trained), leading, vectors)
        found = _found(layer, found, vectors, _there(trained.scale))
        return Pair(found, found)

    return jax.vmap(at_step)(layer.trained)


def _there(scale):
    """The factor of the start; where there is none, too little to be seen."""
    return jnp.where(jnp.abs(scale) > _LEAST_SCALE, scale, _LEAST_SCALE)


def _trained(form: BlockForm, trained: Trained) -> BlockForm:
    """M(t) over its scale: what training added is in the first block."""
    strength = trained.strengths / _there(trained.scale)
    diagonal = form.diagonal.at[0].add(strength)
    return dataclasses.replace(form, diagonal=diagonal)


def _found(layer, modes, vectors, scale) -> Found:
    values = jnp.abs(scale) * modes.values
    if vectors == 0:
        return Found(values, None)
    left = _squared_cosines(modes.left, layer.left)
    right = _squared_cosines(modes.right, layer.right)
    return Found(values, Overlaps(left, right))


def _squared_cosines(vectors, queries):
    """(k, steps) of unit vectors, by their part on the directions asked, with queries."""
    lengths = jnp.sum(queries**2, 1)
    return (vectors @ queries.T) ** 2 / lengths
