"""Level 1 of a nonlinear network once more, in the response form: a slower way to the
same answers, and to A and B.

With x^0 = x, x^l = phi(h^l), z^l = M_l^T g^{l+1} (z^L = w, as if G^{L+1} = 1), i and j
the queries of earlier steps,

    h^l = a u^l + sum_j (a v A^{l-1}_j + S_j H^{l-1}_j) g^l_j,   u^l ~ GP(0, v H^{l-1})
    z^l = a r^l + sum_i (a v B^l_i + S_i G^{l+1}_i) x^l_i,       r^l ~ GP(0, v G^{l+1})
    g^l = phi'(h^l) z^l,   A^l = <d x^l/d r^l>,   B^l = <d g^{l+1}/d u^{l+1}>,   H^l = <x^l x^l>,   G^l = <g^l g^l>.

v the initial variances. Of M(t) = a M(0) + sum_j S_j g_j x_j^T / N the optimiser makes a
and S, linearly in the strengths kappa Delta_j with which each query pulls: a = 1 and S_j
= learning_rate kappa Delta_j in plain descent.

Sites are sampled step by step, with their Jacobians; f = <w x^L>/gamma0 follows from
A^L by Stein's lemma.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks
from .._compile import compiled
from ..activations import Activation
from ..history import Responses
from ..losses import Loss
from ..networks import Nonlinear
from .descent import Descent, Optimiser
from .nonlinear import Trajectory, with_seed
from .nonlinear_step import DIVERGED


def memory(net: Nonlinear, sites: int) -> int:
    """Bytes that `train` needs, roughly: Jacobians."""
    P, K = net.targets.shape
    inputs = len(net.inputs) + len(net.test_inputs)
    times = net.steps + 1
    innovations = times * (P + P * K)
    queries = times * (inputs + P * K)
    spaces = net.hidden_layers + 2
    return 8 * sites * spaces * innovations * queries


def train(net: Nonlinear, seed, sites: int) -> Trajectory:
    """One sample of `sites` sites. It takes sites x (steps x samples)^2 of memory, and
    ^3 of time.

    Raises ValueError for a kinked activation: its B has a part that no derivative at a
    site sees; and for a network that Muon or Adam trains.
    """
    activation = net.activation
    if activation.kinked:
        _checks.fail(
            "activation",
            activation.name,
            'a smooth one in the response form; form="conditioning" takes any',
        )
    if net.optimizer is not None:
        _checks.fail(
            "optimizer",
            _checks.kind(net.optimizer),
            'None in the response form, where updates are multiples of the gradients; form="conditioning" takes one',
        )
    if not _checks.is_concrete(net):
        _checks.fail("form", "response", '"conditioning" under jit and grad')
    training = _Training.of(net, np.random.default_rng(seed), sites)
    bound = np.inf
    for t in range(training.size.times):
        ahead = training.forward(t)
        training.predict(t)
        cost = training.cost(t)
        if t == 0:
            bound = DIVERGED * (cost + 1)
        if not cost < bound:
            training.predictions[t] = np.nan
            return with_seed(training.trajectory(t), seed)
        training.backward(t, ahead)
        training.rates[t] = training.strength[t][:, None] * training.residual(t)
    return with_seed(training.trajectory(training.size.times), seed)


class _Pointwise(NamedTuple):
    """An activation with two derivatives, compiled."""

    phi: Callable
    slope: Callable
    curvature: Callable

    @staticmethod
    @functools.lru_cache(maxsize=64)
    def of(activation: Activation) -> "_Pointwise":
        phi = activation.function
        slope = activation.derivative

        def curvature(h):
            one = jnp.ones_like(h)
            return jax.jvp(slope, (h,), (one,))[1]

        return _Pointwise(
            compiled(phi),
            compiled(slope),
            compiled(curvature),
        )


class _Size(NamedTuple):
    layers: int
    times: int
    inputs: int  # training and test inputs
    samples: int  # P
    outputs: int  # K
    sites: int

    @property
    def forward(self) -> tuple[int, int]:
        """Shape of the forward queries."""
        return self.times, self.inputs

    @property
    def backward(self) -> tuple[int, int, int]:
        """Shape of the backward queries."""
        return self.times, self.samples, self.outputs

    @property
    def innovations(self) -> int:
        """Of one step: u of the samples, then r of samples and outputs."""
        return self.samples * (1 + self.outputs)


class _Forward(NamedTuple):
    """h^l of one step, l = 1 ... L behind a None, and its derivatives with respect to
    all innovations.
    """

    h: list  # (inputs, sites)
    d_h: list  # (inputs, sites, innovations)


@dataclasses.dataclass
class _Queries:
    """The queries of one side in all spaces, sampled: first axis l, last but one
    the sites of `slopes`.
    """

    innovations: np.ndarray  # u, or r
    values: np.ndarray  # x, or g
    slopes: np.ndarray  # with respect to all innovations of the space

    @staticmethod
    def none(size: _Size, shape) -> "_Queries":
        shape = (size.layers + 1, *shape, size.sites)
        columns = size.times * size.innovations
        return _Queries(
            np.zeros(shape),
            np.zeros(shape),
            np.zeros((*shape, columns)),
        )


@dataclasses.dataclass
class _Moments:
    """Grams and responses of all spaces, index as in the docstring of the module."""

    H: np.ndarray
    A: np.ndarray
    G: np.ndarray
    B: np.ndarray

    @staticmethod
    def none(size: _Size, x) -> "_Moments":
        """Before any query: H^0 is that of the inputs, G^{L+1} = 1."""
        forward = size.forward
        backward = size.backward
        spaces = size.layers + 1
        H = np.zeros((spaces, *forward, *forward))
        G = np.zeros((spaces + 1, *backward, *backward))
        H[0] = (x @ x.T / x.shape[1])[:, None]
        G[-1] = np.eye(size.outputs)[:, None, None]
        A = np.zeros((spaces, *forward, *backward))
        samples = (size.times, size.samples)
        B = np.zeros((spaces, *backward, *samples))
        return _Moments(H, A, G, B)


class _Layer(NamedTuple):
    """What the optimiser makes of one matrix: M(t) = scale_t M(0) + spikes, which have
    the strength strengths_ts times that of the pull of step s.
    """

    variance: float
    scale: np.ndarray  # (times,)
    strengths: np.ndarray  # (times, times)
    descent: Descent

    @staticmethod
    def all(net: Nonlinear) -> list:
        """Of W^0 ... W^{L-1}, w."""
        times = net.steps + 1
        layers = net.hidden_layers + 1
        variances = np.broadcast_to(net.init_variance, (layers,))
        descents = Optimiser.of(net, times).descents(layers, times, net.nesterov)
        found = []
        for variance, descent in zip(variances, descents, strict=True):
            scale, increments = map(np.asarray, descent.path(jnp.eye(times)))
            strengths = np.zeros((times, times))
            strengths[1:] = np.cumsum(increments, 0)[:-1]
            found.append(_Layer(float(variance), scale[:-1], strengths, descent))
        return found

    def left(self, t):
        """a v: the initial variance, as far as it is left."""
        return self.scale[t] * self.variance

    def spikes(self, rates, t):
        """S_j at time t, of all queries j."""
        return self.strengths[t][:, None, None] * rates


@dataclasses.dataclass
class _Training:
    """A training as it goes: arrays that are filled step by step."""

    size: _Size
    rng: np.random.Generator
    pointwise: _Pointwise
    loss: Loss
    targets: np.ndarray
    gamma0: float
    layers: list  # _Layer, of W^0 ... W^{L-1}, w
    strength: np.ndarray  # (times, P): kappa of each step and sample
    ahead: _Queries
    back: _Queries
    moments: _Moments
    rates: np.ndarray
    predictions: np.ndarray

    @staticmethod
    def of(net: Nonlinear, rng, sites: int) -> "_Training":
        x = np.concatenate([net.inputs, net.test_inputs])
        P, K = net.targets.shape
        size = _Size(net.hidden_layers, net.steps + 1, len(x), P, K, sites)
        weights = np.append(net.sample_weights(), np.zeros((1, P)), 0)
        gamma0 = float(net.gamma0)
        return _Training(
            size,
            rng,
            _Pointwise.of(net.activation),
            net.loss,
            np.asarray(net.targets),
            gamma0,
            _Layer.all(net),
            gamma0 * weights,
            _Queries.none(size, size.forward),
            _Queries.none(size, size.backward),
            _Moments.none(size, x),
            np.zeros(size.backward),
            np.full((size.times, len(x), K), np.nan),
        )

    def draw(self, layer: "_Layer", values, gram, t):
        """Step t of a Gaussian process of that covariance times the initial variance of
        the layer, given the steps before.
        """
        sites = self.size.sites
        count = values[0, ..., 0].size
        before = t * count
        now = before + count
        gram = gram.reshape(self.size.times * count, -1)
        past = gram[:before, :before]
        across = gram[before:now, :before]
        present = gram[before:now, before:now]
        known = across @ np.linalg.pinv(past, 1e-10, hermitian=True)
        rest = present - known @ gram[:before, before:now]
        squares, vectors = np.linalg.eigh(rest)
        deviations = np.sqrt(layer.variance * np.maximum(squares, 0))
        normal = self.rng.standard_normal((count, sites))
        fresh = vectors * deviations @ normal
        earlier = values[:t].reshape(before, sites)
        drawn = known @ earlier + fresh
        values[t] = drawn.reshape(values[t].shape)

    def memory_of_gradients(self, l, t):
        """a v A^l_j + S_j H^l_j, of the queries of step t to all g."""
        P = self.size.samples
        H = self.moments.H[l, t]
        A = self.moments.A[l, t]
        spikes = self.layers[l].spikes(self.rates, t)
        return self.layers[l].left(t) * A + spikes * H[:, :, :P, None]

    def forward(self, t) -> _Forward:
        """u^l, h^l, x^l = phi(h^l), and H^l, A^l of step t, l = 1 ... L."""
        size = self.size
        own = np.arange(size.samples)
        innovation = t * size.innovations + own
        ahead = _Forward([None], [None])
        for l in range(1, size.layers + 1):
            below = self.layers[l - 1]
            self.draw(below, self.ahead.innovations[l], self.moments.H[l - 1], t)
            given = self.memory_of_gradients(l - 1, t)[:, :t]
            h = below.scale[t] * self.ahead.innovations[l, t]
            h = h + np.tensordot(given, self.back.values[l, :t], 3)
            d_h = np.tensordot(given, self.back.slopes[l, :t], 3)
            d_h[own, :, innovation] += below.scale[t]
            slope = np.asarray(self.pointwise.slope(h))
            self.ahead.values[l, t] = self.pointwise.phi(h)
            self.ahead.slopes[l, t] = slope[..., None] * d_h
            features = self.ahead.values[l]
            gram = np.tensordot(features, features, ([2], [2]))
            self.moments.H[l] = gram / size.sites
            slopes = self.ahead.slopes[l, t].mean(1)
            self.moments.A[l, t] = self.response_to_r(slopes)
            ahead.h.append(h)
            ahead.d_h.append(d_h)
        return ahead

    def response_to_r(self, slopes):
        """Of averaged slopes, those with respect to the innovations r."""
        size = self.size
        P = size.samples
        by_step = slopes.reshape(*size.forward[::-1], size.innovations)
        to_r = by_step[:, :, P:]
        return to_r.reshape(size.inputs, *size.backward)

    def predict(self, t):
        """f = <w x^L>/gamma0 of step t, by Stein's lemma."""
        given = self.memory_of_gradients(self.size.layers, t)
        self.predictions[t] = given.sum((1, 2)) / self.gamma0

    def cost(self, t) -> float:
        """What tells whether training diverges: the mean loss of step t, in size."""
        f = self.predictions[t, : self.size.samples]
        return float(np.abs(self.loss.value(f, self.targets)).mean())

    def residual(self, t):
        """Delta of step t."""
        f = self.predictions[t, : self.size.samples]
        return np.asarray(self.loss.residual(f, self.targets))

    def backward(self, t, ahead: _Forward):
        """r^l, z^l, g^l = phi'(h^l) z^l, and G^l, B^{l-1} of step t, l = L ... 1."""
        size = self.size
        P = size.samples
        own = np.arange(P * size.outputs)
        innovation = t * size.innovations + P + own
        until_now = slice(t + 1)
        for l in range(size.layers, 0, -1):
            above = self.layers[l]
            self.draw(above, self.back.innovations[l], self.moments.G[l + 1], t)
            spikes = above.spikes(self.rates, t)
            spiked = (spikes * self.moments.G[l + 1, t]).sum(-1)
            given = above.left(t) * self.moments.B[l, t] + spiked
            given = given[:, :, until_now]
            z = np.tensordot(given, self.ahead.values[l, until_now, :P], 2)
            d_z = np.tensordot(given, self.ahead.slopes[l, until_now, :P], 2)
            z += above.scale[t] * self.back.innovations[l, t]
            flat = d_z.reshape(P * size.outputs, size.sites, -1)
            flat[own, :, innovation] += above.scale[t]
            h = ahead.h[l][:P]
            slope = np.asarray(self.pointwise.slope(h))[:, None]
            curvature = np.asarray(self.pointwise.curvature(h))[:, None]
            through_h = (curvature * z)[..., None] * ahead.d_h[l][:P, None]
            self.back.values[l, t] = slope * z
            self.back.slopes[l, t] = through_h + slope[..., None] * d_z
            gradients = self.back.values[l]
            gram = np.tensordot(gradients, gradients, ([3], [3]))
            self.moments.G[l] = gram / size.sites
            slopes = self.back.slopes[l, t].mean(2)
            by_step = slopes.reshape(P, size.outputs, size.times, -1)
            self.moments.B[l - 1, t] = by_step[..., :P]

    def trajectory(self, alive: int) -> Trajectory:
        """What has been found, finite for the first `alive` steps."""
        size = self.size
        L = size.layers
        P = size.samples
        G = self.moments.G
        H = self.moments.H[:, :, :P, :, :P]
        features = np.einsum("ltmtn->ltmn", H).copy()
        gradients = np.einsum("ltmktnj->ltmknj", G).copy()
        features[:, alive:] = np.nan
        gradients[:, alive:] = np.nan
        backward_queries = math.prod(size.backward)
        ranks = (backward_queries, size.times * P)
        return Trajectory(
            self.predictions,
            tuple(features[1:]),
            tuple(gradients[1:-1]),
            tuple(self.history(l) for l in range(1, L)),
            H[L],
            G[1],
            np.asarray(alive),
            np.asarray(False),
            np.full((L - 1, 2), ranks),
            np.zeros(L, int),
        )

    def history(self, l: int) -> Responses:
        P = self.size.samples
        layer = self.layers[l]
        steps = self.size.times - 1
        descent = layer.descent.until(steps)
        rates = self.rates[:-1]
        if descent.is_plain:
            rates = np.asarray(descent.rates)[:, None, None] * rates
            descent = None
        return Responses(
            np.asarray(layer.variance),
            self.moments.G[l + 1],
            self.moments.H[l, :, :P, :, :P],
            self.moments.B[l],
            self.moments.A[l, :, :P],
            rates,
            descent,
        )
