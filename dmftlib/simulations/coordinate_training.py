"""Training a deep linear network of any finite size, on the coordinates of its vectors.

Every vector of training lies in the span of few directions of its space: the target,
the noise, the readout, and what each question to a Gaussian matrix added. `questions`
keeps the coordinates on them. With Xh = X/sqrt(D), nu = N/D, p = g^0/(gamma sqrt(nu))
and v = beta - p, a step of training asks

    backward   g^l = M_l^T g^{l+1},  l = L-1 ... 0,  g^L = w;     Xh v,  Delta = Xh v + noise
    forward    h^0 = (D/P) Xh^T Delta,                            h^{l+1} = M_l h^l
    gradient   of M_l: -kappa/dim(h^l) g^{l+1} (h^l)^T,   of w: -kappa h^L,    kappa = gamma/sqrt(nu).

The matrices asked are those of the start. What training added is a small matrix S of
strengths over the directions asked, M(t) = scale(t) M(0) + U^T S(t) V, so that an
optimiser acts on the scale, on S and on the readout's coordinates: Muon's polynomial of
U^T S V is U^T times that of S times V.

Nothing here knows the theory: this is what the theory is checked against.
"""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..networks import DeepLinear
from .optimisers import optimiser, updated
from .questions import Draw, Known, Matrix, Side, Space, fresh


class Sizes(eqx.Module):
    """Dimensions of the input, the hidden layers and the samples, as numbers, so that
    one compilation serves all.
    """

    dim: Float[Array, ""]
    width: Float[Array, ""]
    samples: Float[Array, ""]

    def gamma(self, net):
        """The output scale at this size."""
        if net.parameterization == "mup":
            return net.gamma0 * jnp.sqrt(self.width / self.dim)
        return net.gamma0

    def fan_in(self, layer):
        """The number of columns of W^layer."""
        return self.dim if layer == 0 else self.width


class Training(NamedTuple):
    """What a training leaves behind, for one seed.

    known          the questions
    noise          of the labels, in the sample space; of a data set drawn anew with
                   batch="online" there is none
    losses         (4, steps+1)    train, test, |p|^2/D, beta.p/D
    error          (steps+1, room)   v = beta - p
    left, right    (steps+1, L, capacity)   g^{l+1} and h^l on the directions that M_l
                   was asked
    """

    known: Known
    noise: Float[Array, " room"]
    losses: Float[Array, "4 times"]
    error: Float[Array, "times room"]
    left: Float[Array, "times layers capacity"]
    right: Float[Array, "times layers capacity"]

    def trained(self, net, sizes) -> "Trained":
        """The matrices at every step: scale (times, L), strengths (times, L, capacity,
        capacity).
        """
        capacity = self.left.shape[2]
        weights = [*_untrained(net, capacity), jnp.zeros(())]
        of_matrices = _optimiser(net)
        kappa = _kappa(net, sizes)

        def step(carried, queries):
            weights, memory = carried
            pull = _gradients(sizes, kappa, *queries)
            gradient = [*pull, jnp.zeros(())]
            *matrices, _ = weights
            now = jax.tree.map(lambda *each: jnp.stack(each), *matrices)
            return updated(of_matrices, gradient, memory, weights), now

        start = (weights, of_matrices.init(weights))
        _, trained = jax.lax.scan(step, start, (self.left, self.right))
        return trained


class Trained(NamedTuple):
    """M(t) = scale M(0) + U^T strengths V."""

    scale: Float[Array, ""]
    strengths: Float[Array, "capacity capacity"]


def _untrained(net, capacity) -> list:
    nothing = jnp.zeros((capacity, capacity))
    return [Trained(jnp.ones(()), nothing)] * net.hidden_layers


def _gradients(sizes, kappa, left, right) -> list:
    """Of the matrices, from g^{l+1} and h^l on the directions asked."""
    gradients = []
    for l, (g, h) in enumerate(zip(left, right, strict=True)):
        strength = -kappa / sizes.fan_in(l)
        gradients.append(Trained(jnp.zeros(()), strength * jnp.outer(g, h)))
    return gradients


def _optimiser(net):
    """Of what stands for the matrices M_l, over unit directions, and of the readout."""
    return optimiser(net, 1.0, [1.0] * net.hidden_layers)


def _kappa(net, sizes):
    return sizes.gamma(net) * jnp.sqrt(sizes.dim / sizes.width)


def _deviations(net):
    """Of the initial weights, W^0 ... W^{L-1} and the readout."""
    return jnp.broadcast_to(jnp.sqrt(net.init_variance), (net.hidden_layers + 1,))


def _data_room(net):
    """Questions to one data set, on each side."""
    return 1 if net.batch == "online" else net.steps + 1


def unasked(net, sizes) -> Known:
    """Spaces 0 ... L of the layers and L+1 of the samples; matrices M_0 ... M_{L-1} and
    Xh, of which nothing is known.
    """
    L = net.hidden_layers
    times = net.steps + 1
    asked = _data_room(net)
    inner = [2 * times] * (L - 1)
    rooms = [1 + 2 * times, *inner, 1 + times, 1 + asked]
    matrices = []
    for l in range(L):
        deviation = _deviations(net)[l] / jnp.sqrt(sizes.fan_in(l))
        matrix = _unasked_matrix(deviation, (l + 1, l), times, rooms)
        matrices.append(matrix)
    deviation = 1 / jnp.sqrt(sizes.dim)
    data = _unasked_matrix(deviation, (L + 1, 0), asked, rooms)
    dimensions = [sizes.dim, *[sizes.width] * L, sizes.samples]
    spaces = tuple(map(Space.unseen, dimensions))
    return Known(spaces, (*matrices, data))


def _unasked_matrix(deviation, ends, capacity, rooms):
    left, right = ends
    return Matrix(
        deviation,
        Side.unasked(capacity, rooms[left], rooms[right]),
        Side.unasked(capacity, rooms[right], rooms[left]),
        left,
        right,
    )


def rooms(known) -> list:
    """How many coordinates are stored of a vector of each space."""
    found = [0] * len(known.spaces)
    for matrix in known.matrices:
        found[matrix.left_space] = matrix.left.directions.shape[1]
        found[matrix.right_space] = matrix.right.directions.shape[1]
    return found


class NewVector(NamedTuple):
    """What is known with a new vector, and the vector."""

    known: Known
    vector: Float[Array, " room"]


def _new_vector(draw, known, space, deviation) -> NewVector:
    """A Gaussian vector of a space."""
    room = rooms(known)[space]
    nothing = jnp.zeros((0, room))
    drawn = fresh(draw, known.spaces[space], nothing)
    known = eqx.tree_at(
        lambda known: known.spaces[space],
        known,
        drawn.space,
    )
    return NewVector(known, deviation * drawn.vector)


def new_data(draw, net, known) -> NewVector:
    """Another data set, of which nothing is known, and the noise of its labels."""
    data = known.matrices[-1]
    left = jax.tree.map(jnp.zeros_like, data.left)
    right = jax.tree.map(jnp.zeros_like, data.right)
    none = jnp.zeros((), int)
    known = eqx.tree_at(
        lambda known: (
            known.matrices[-1].left,
            known.matrices[-1].right,
            known.spaces[-1].seen,
        ),
        known,
        (left, right, none),
    )
    samples = len(known.spaces) - 1
    deviation = jnp.sqrt(net.label_noise)
    return _new_vector(draw, known, samples, deviation)


class _Running(NamedTuple):
    """What one step of training hands to the next."""

    known: Known
    noise: Float[Array, " room"]
    weights: list  # Trained, and the readout
    memory: Any  # of the optimiser


class _Beginning(NamedTuple):
    """A network before training, and the target beta of length sqrt(D)."""

    state: _Running
    beta: Float[Array, " room"]


def _start(draw, net, sizes) -> _Beginning:
    L = net.hidden_layers
    known = unasked(net, sizes)
    length = jnp.sqrt(sizes.dim)
    beta = jnp.zeros(rooms(known)[0]).at[0].set(length)
    seen = known.spaces[0].seen + 1
    known = eqx.tree_at(lambda known: known.spaces[0].seen, known, seen)
    deviation = _deviations(net)[L]
    known, readout = _new_vector(draw[L, 0], known, L, deviation)
    known, noise = new_data(draw[L + 1, 1], net, known)
    weights = [*_untrained(net, net.steps + 1), readout]
    state = _Running(known, noise, weights, _optimiser(net).init(weights))
    return _Beginning(state, beta)


class Weights(NamedTuple):
    """The matrices at one step: the questions to M(0), and what training added."""

    known: Known
    trained: list

    def forward(self, draw, layer, question):
        """M_layer(t) q, as a `questions.Reply`."""
        reply = self.known.forward(draw, layer, question)
        left = reply.known.matrices[layer].left
        scale, strengths = self.trained[layer]
        added = (strengths @ reply.coordinates) @ left.directions
        return reply._replace(image=scale * reply.image + added)

    def backward(self, draw, layer, question):
        """M_layer(t)^T q."""
        reply = self.known.backward(draw, layer, question)
        right = reply.known.matrices[layer].right
        scale, strengths = self.trained[layer]
        added = (reply.coordinates @ strengths) @ right.directions
        return reply._replace(image=scale * reply.image + added)


def train(net: DeepLinear, sizes: Sizes, draws: Draw) -> Training:
    """The training of one network. `draws` are those of the start and of each step, two
    for each space: (steps+2, spaces, 2, ...).
    """
    beginning, beta = _start(draws[0], net, sizes)
    step = functools.partial(_step, net, sizes, beta)
    end, record = jax.lax.scan(step, beginning, draws[1:])
    return Training(
        end.known,
        end.noise,
        record.losses.T,
        record.error,
        record.left,
        record.right,
    )


class _Record(NamedTuple):
    """What a step measures before its update: train, test, |p|^2/D, beta.p/D; v; and
    g^{l+1} and h^l on the directions asked, a row each layer.
    """

    losses: Float[Array, " 4"]
    error: Float[Array, " room"]
    left: Float[Array, "layers capacity"]
    right: Float[Array, "layers capacity"]


def _step(net, sizes, beta, state, draw):
    """One update, and what is measured before it.

    Each space answers at most twice: its draws are used in turn.
    """
    L = net.hidden_layers
    known, noise = state.known, state.noise
    if net.batch == "online":
        known, noise = new_data(draw[L + 1, 1], net, known)
    left = [None] * L
    *trained, g = state.weights
    for l in reversed(range(L)):
        weights = Weights(known, trained)
        known, left[l], g = weights.backward(draw[l, 0], l, g)
    p = g / (sizes.gamma(net) * jnp.sqrt(sizes.width / sizes.dim))
    error = beta - p
    known, _, image = known.forward(draw[L + 1, 0], L, error)
    residual = image + noise
    losses = _losses(sizes, residual, error, p, beta)
    known, _, image = known.backward(draw[0, 1], L, residual)
    h = sizes.dim / sizes.samples * image
    right = [None] * L
    for l in range(L):
        weights = Weights(known, trained)
        known, right[l], h = weights.forward(draw[l + 1, 1], l, h)
    kappa = _kappa(net, sizes)
    gradient = [*_gradients(sizes, kappa, left, right), -kappa * h]
    weights, memory = updated(_optimiser(net), gradient, state.memory, state.weights)
    state = _Running(known, noise, weights, memory)
    record = _Record(losses, error, jnp.stack(left), jnp.stack(right))
    return state, record


def _losses(sizes, residual, error, p, beta):
    return jnp.stack(
        [
            residual @ residual / sizes.samples,
            error @ error / sizes.dim,
            p @ p / sizes.dim,
            beta @ p / sizes.dim,
        ]
    )
