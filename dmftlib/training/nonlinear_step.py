"""One step of a nonlinear network, on sampled sites: the queries and the update of
`nonlinear`.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .. import linalg
from ..activations import Activation
from ..losses import Loss
from .descent import Moved
from .queries import Innovations, Matrix, Noise, ask, ask_back
from .sites import Space, drawn
from .steps import all_finite, or_nan, or_zero, unless_diverged

DIVERGED = 1e8  # times the loss at the start


class Weights(NamedTuple):
    """What an update moves: W^0 by the fields that it makes of the inputs, the L-1
    matrices between the directions of their queries, or between the sites, and the
    readout.
    """

    h1: Float[Array, "inputs S"]
    matrices: tuple  # Moved
    readout: Float[Array, "K S"]

    @property
    def layers(self) -> list:
        """Of W^0 ... W^{L-1}, w."""
        return [self.h1, *self.matrices, self.readout]

    @staticmethod
    def of(layers) -> "Weights":
        h1, *matrices, readout = layers
        return Weights(h1, tuple(matrices), readout)


class State(eqx.Module):
    """The network between two steps."""

    matrices: tuple  # L-1
    spaces: tuple  # L
    h1: Float[Array, "inputs S"]
    readout: Float[Array, "K S"]
    buffers: tuple  # of the momentum of W^0 ... W^{L-1}, w
    start_loss: Float[Array, ""]
    alive: Bool[Array, ""]
    operators: tuple = ()  # L-1 of (S, S): N (M(t) - scale M(0)), where it is no spikes

    @property
    def weights(self) -> Weights:
        scales = [matrix.scale for matrix in self.matrices]
        added = self.operators or [matrix.spikes for matrix in self.matrices]
        moved = map(Moved, scales, added)
        return Weights(self.h1, tuple(moved), self.readout)

    def spread(self, l: int, features: Float[Array, "k S"]):
        """What the operator of matrix l adds to its answers."""
        if not self.operators:
            return 0.0
        return features @ self.operators[l].T / features.shape[1]

    def spread_back(self, l: int, gradients: Float[Array, "k S"]):
        """What it adds to those of the transposed matrix."""
        if not self.operators:
            return 0.0
        return gradients @ self.operators[l] / gradients.shape[1]

    def after(self, l: int, matrix: Matrix, below: Space, above: Space) -> "State":
        """The state in which matrix l and the spaces beside it know of more queries."""
        matrices = [*self.matrices]
        spaces = [*self.spaces]
        matrices[l] = matrix
        spaces[l] = below
        spaces[l + 1] = above
        return State(
            tuple(matrices),
            tuple(spaces),
            self.h1,
            self.readout,
            self.buffers,
            self.start_loss,
            self.alive,
            self.operators,
        )

    def with_weights(self, weights: Weights, buffers: tuple) -> "State":
        operators = tuple(moved.spikes for moved in weights.matrices)
        if self.operators:
            spikes = [matrix.spikes for matrix in self.matrices]
        else:
            spikes = operators
            operators = ()
        scales = [moved.scale for moved in weights.matrices]
        matrices = tuple(
            eqx.tree_at(lambda m: (m.scale, m.spikes), matrix, moved)
            for matrix, *moved in zip(self.matrices, scales, spikes, strict=True)
        )
        return State(
            matrices,
            self.spaces,
            weights.h1,
            weights.readout,
            buffers,
            self.start_loss,
            self.alive,
            operators,
        )


class Forward(NamedTuple):
    """h^l and phi(h^l), l = 1 ... L, and the queries over the directions of the
    matrices.
    """

    fields: list  # (inputs, S)
    features: list
    asked: list  # L-1 of (inputs, r)


class Pull(NamedTuple):
    """What the loss makes of the outputs: training moves by sum_j strengths_mu j times
    phi'(h^L_mu) readouts_mu j. Either j counts the outputs, or there is one j only, and
    its readout is contracted with the residual.
    """

    readouts: Float[Array, "P J S"]
    strengths: Float[Array, "P J"]


class Backward(NamedTuple):
    """z^l and g^l = phi'(h^l) z^l, l = 1 ... L, and the queries over the directions of
    the matrices.
    """

    fields: list  # (P, J, S)
    gradients: list  # (P, J, S)
    asked: list  # L-1 of (P, J, r)


class Record(NamedTuple):
    """What is kept of the fields of a step."""

    predictions: Float[Array, "inputs K"]
    feature_kernels: tuple  # L of (P, P)
    gradient_kernels: tuple  # L of (P, J, P, J)


class Queries(NamedTuple):
    """What is kept of the queries of a step, and how strongly they pull."""

    left: tuple  # L-1 of (P, J, r)
    right: tuple  # L-1 of (P, r)
    rates: Float[Array, "P J"]
    ranks: Int[Array, "matrices 2"]


class Kept(NamedTuple):
    """Fields whose kernels between different times are asked for."""

    top_features: Float[Array, "P S"]
    bottom_gradients: Float[Array, "P J S"]


class Leading(NamedTuple):
    """Functions of the sites of which the sum of left right^T is nearly an operator, both
    as large as the roots of its singular values, and the Frobenius norm of what it
    leaves out.
    """

    left: Float[Array, "k S"]
    right: Float[Array, "k S"]
    left_out: Float[Array, ""]

    def by_size(self) -> "Leading":
        """The same as large as the singular values, so that what is small is as small as
        what it adds to the operator.
        """
        return Leading(_enlarged(self.left), _enlarged(self.right), self.left_out)


def _enlarged(functions: Float[Array, "k S"]) -> Float[Array, "k S"]:
    """Times the root of their Gram."""
    squares, turned = linalg.eigh(kernel(functions))
    roots = jnp.sqrt(jnp.maximum(squares, 0.0))
    return (turned * roots) @ turned.T @ functions


class Entry(NamedTuple):
    """A row of the record."""

    record: Record
    queries: Queries
    kept: Kept | None
    alive: Bool[Array, ""]
    leading: tuple = ()  # Leading of the operators


class Random(eqx.Module):
    """The random numbers of a training."""

    sources: tuple  # of the L spaces
    noise_key: Array
    matched: bool = eqx.field(static=True)
    rows: tuple = eqx.field(static=True)  # of the L spaces
    dtype: str = eqx.field(static=True)

    def at(self, t) -> Array:
        """Keys of the noise of step t: of the forward queries into the spaces, then of
        the backward ones.
        """
        key = jax.random.fold_in(self.noise_key, t)
        return jax.random.split(key, 2 * len(self.sources))

    def innovations(self, space: int, key, deviation) -> Innovations:
        """What is new in answers that live in this space."""
        noise = None if self.matched else Noise(key, self.rows[space], self.dtype)
        return Innovations(self.sources[space], noise, deviation)


class Network(eqx.Module):
    """What stays the same from step to step."""

    activation: Activation = eqx.field(static=True)
    loss: Loss = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    two_time: bool = eqx.field(static=True)
    each_output: bool = eqx.field(static=True)  # asks backward queries of its own
    random: Random
    gram: Float[Array, "inputs inputs"]  # x_mu . x_nu / D
    targets: Float[Array, "P K"]
    sample_weights: Float[Array, "times P"]
    gamma0: Float[Array, ""]
    deviations: Float[Array, " layers"]  # of the initial weights, W^0 ... W^{L-1}, w
    descents: tuple  # likewise

    def step(self, state: State, t) -> tuple[State, Entry]:
        """The queries and the update of the docstring of `nonlinear`."""
        keys = self.random.at(t)
        state, ahead = self.forward(state, keys)
        state = self.with_readout(state, ahead.features[-1], t)
        predictions = self.predictions(state, ahead)
        on_samples = predictions[: len(self.targets)]
        residual = self.loss.residual(on_samples, self.targets)
        pull = self.pull(state.readout, residual)
        state, back = self.backward(state, ahead, pull.readouts, keys)
        loss = jnp.abs(self.loss.value(on_samples, self.targets)).mean()
        start_loss = jnp.where(t == 0, loss, state.start_loss)
        alive = state.alive & (loss < DIVERGED * (start_loss + 1))
        rates = self.rates(residual, t)
        pulls = self.rates(pull.strengths, t)
        directions = self.directions(state, ahead, back, rates, pulls)
        entry = self.entry(state, ahead, back, predictions, pulls, alive)
        state = self.moved(state, directions, t, alive)
        state = eqx.tree_at(lambda s: s.start_loss, state, start_loss)
        return state, entry

    def moved(self, state: State, directions, t, alive) -> State:
        """The state after a step, with weights as they were if training has diverged."""
        updated = self.updated(state, directions, t)
        moved, _ = updated
        going_on = alive & all_finite((moved.h1, moved.readout))
        now = (state.weights, state.buffers)
        state = state.with_weights(*unless_diverged(going_on, updated, now))
        return eqx.tree_at(lambda s: s.alive, state, going_on)

    def forward(self, state: State, keys) -> tuple[State, Forward]:
        """h^{l+1} = M_l phi(h^l)."""
        h = [state.h1]
        features = [self.activation(state.h1)]
        asked = []
        for l in range(len(state.matrices)):
            reply = ask(
                state.matrices[l],
                state.spaces[l],
                state.spaces[l + 1],
                features[l],
                self.random.innovations(l + 1, keys[l], self.deviations[l + 1]),
                self.tolerance,
            )
            state = state.after(l, reply.matrix, reply.inside, reply.outside)
            asked.append(reply.asked)
            h.append(reply.image + state.spread(l, features[l]))
            features.append(self.activation(h[-1]))
        return state, Forward(h, features, asked)

    def predictions(self, state: State, ahead: Forward):
        """f_mu = <w phi(h^L_mu)> / gamma0."""
        features = ahead.features[-1]
        sites = features.shape[1]
        return features @ state.readout.T / (sites * self.gamma0)

    def pull(self, readout, residual) -> Pull:
        """The readout of every output, or one of a sample: sum_k Delta_k w_k."""
        P, K = self.targets.shape
        if self.each_output:
            readouts = jnp.broadcast_to(readout, (P, *readout.shape))
            return Pull(readouts, residual)
        size = self.size(residual)
        contracted = (residual / size) @ readout
        ones = jnp.ones((P, 1), readout.dtype)
        return Pull(contracted[:, None], size * ones)

    def size(self, residual):
        """By which contracted queries are divided. An update that is as large for a
        small residual as for a large one asks for as much precision of its queries.
        """
        if not any(descent.normalises for descent in self.descents):
            return 1.0
        largest = jnp.max(jnp.abs(jax.lax.stop_gradient(residual)))
        return jnp.where(largest > 0, largest, 1.0)

    def backward(
        self, state: State, ahead: Forward, readouts: Float[Array, "P J S"], keys
    ) -> tuple[State, Backward]:
        """z^L = w, z^l = M_l^T g^{l+1}, g^l = phi'(h^l) z^l."""
        P, J, _ = readouts.shape
        L = len(state.spaces)
        slope = self.slope(ahead.fields[-1])
        z = [readouts]
        g = [slope * readouts]
        asked = []
        for l in reversed(range(L - 1)):
            asking = g[0].reshape(P * J, -1)
            reply = ask_back(
                state.matrices[l],
                state.spaces[l + 1],
                state.spaces[l],
                asking,
                self.random.innovations(l, keys[L + l], self.deviations[l + 1]),
                self.tolerance,
            )
            state = state.after(l, reply.matrix, reply.outside, reply.inside)
            asked.insert(0, reply.asked.reshape(P, J, -1))
            slope = self.slope(ahead.fields[l])
            image = reply.image + state.spread_back(l, asking)
            z.insert(0, image.reshape(P, J, -1))
            g.insert(0, slope * z[0])
        return state, Backward(z, g, asked)

    def slope(self, h):
        """phi'(h) on the training inputs, the same for all outputs: (P, 1, S)."""
        P = len(self.targets)
        slope = self.activation.derivative(h[:P])
        return slope[:, None]

    def rates(self, strengths, t):
        """kappa Delta, of strengths Delta: how strongly a step pulls."""
        weights = self.sample_weights[t][:, None]
        return self.gamma0 * weights * strengths

    def updated(self, state: State, directions: Weights, t):
        """The weights and the buffers after a step."""
        layers = []
        buffers = []
        for descent, weight, buffer, direction in zip(
            self.descents,
            state.weights.layers,
            state.buffers,
            directions.layers,
            strict=True,
        ):
            updated = descent.update(t, weight, buffer, direction)
            layers.append(jax.tree.map(jnp.add, weight, updated.update))
            buffers.append(updated.buffer)
        return Weights.of(layers), tuple(buffers)

    def directions(self, state, ahead: Forward, back: Backward, rates, pulls):
        """kappa sum Delta g^{l+1} phi(h^l)^T / N for M_l, and likewise for h^1 and w,
        as Weights.
        """
        P, _ = rates.shape
        matrices = []
        for l, matrix in enumerate(state.matrices):
            right = ahead.asked[l][:P]
            weighted = jnp.einsum("mj,mjr->mr", pulls, back.asked[l])
            still = jnp.zeros_like(matrix.scale)
            matrices.append(Moved(still, weighted.T @ right))
        push = jnp.einsum("mj,mjs->ms", pulls, back.gradients[0])
        features = ahead.features[-1][:P]
        return Weights(self.gram[:, :P] @ push, tuple(matrices), rates.T @ features)

    def entry(self, state, ahead, back, predictions, pulls, alive) -> Entry:
        """What is kept of a step: NaN, and rates of zero, where training diverged."""
        P, J = pulls.shape
        features = [each[:P] for each in ahead.features]
        gradients = [each.reshape(P * J, -1) for each in back.gradients]
        record = Record(
            predictions,
            tuple(kernel(each) for each in features),
            tuple(kernel(each).reshape(P, J, P, J) for each in gradients),
        )
        ranks = [(m.left.count, m.right.count) for m in state.matrices]
        ranks = jnp.array(ranks, int)
        queries = Queries(
            tuple(back.asked),
            tuple(each[:P] for each in ahead.asked),
            or_zero(alive, pulls),
            ranks.reshape(-1, 2),
        )
        kept = None
        if self.two_time:
            kept = Kept(features[-1], back.gradients[0])
        return Entry(
            or_nan(alive, record),
            queries,
            kept,
            alive,
        )

    def with_readout(self, state: State, features, t) -> State:
        """The state with w(0), once the features of the first step are known."""

        def begun(carried):
            space, _, _ = carried
            space, readout = self.start_readout(space, features)
            return space, readout, False

        def undrawn(carried):
            _, _, missing = carried
            return missing

        *below, top = state.spaces
        start = (top, state.readout, t == 0)
        # once: a loop, unlike a branch, works on the basis in place
        top, readout, _ = jax.lax.while_loop(undrawn, begun, start)
        return State(
            state.matrices,
            (*below, top),
            state.h1,
            readout,
            state.buffers,
            state.start_loss,
            state.alive,
            state.operators,
        )

    def start_readout(self, space: Space, features):
        """w(0), independent of everything, and the space that has given it; if matched,
        orthogonal to the features, so that f(0) = 0.
        """
        _, K = self.targets.shape
        source = self.random.sources[-1]
        if self.random.matched:
            space, rows = drawn(space, source, K, features)
            return space, self.deviations[-1] * rows
        used = space.supply.used
        w = source(used, K)
        space = eqx.tree_at(lambda s: s.fresh.used, space, used + K)
        return space, self.deviations[-1] * w


def kernel(vectors: Float[Array, "k S"]) -> Float[Array, "k k"]:
    """Inner products, averaged over the sites."""
    return vectors @ vectors.T / vectors.shape[1]
