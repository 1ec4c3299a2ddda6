"""Training with as many outputs as dimensions: the population that a frozen readout
makes of the rows of M, and the modes of the target that evolve alone when both layers
train in the wide limit.
"""

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks
from .._compile import compiled
from ..networks import WideOutput
from .steps import head, padded


class Trajectory(eqx.Module):
    """Entry t after t updates; NaN from the step on at which training diverged.

    test_loss     (steps+1,)  |E|^2 / C: squared error, averaged over inputs and outputs
    sharpness     (steps+1,)  largest eigenvalue of A in E(t+1) = (1 - learning_rate A) E(t)
    population    (steps+1, k)  frozen readout: N times the variance of the entries in a row of M(t)
    update        (steps+1, k)  likewise of M(t) - M(0)
    weights       (k,)  fractions of the rows that have it; None, as the two before, where the readout trains
    """

    test_loss: Float[Array, " times"]
    sharpness: Float[Array, " times"]
    population: Float[Array, "times k"] | None = None
    update: Float[Array, "times k"] | None = None
    weights: Float[Array, " k"] | None = None


class Nodes(NamedTuple):
    """A quadrature: the integral of f is the sum of weight f(square)."""

    square: np.ndarray
    weight: np.ndarray


def marchenko_pastur_nodes(aspect, count: int = 200) -> Nodes:
    """Quadrature of the squared singular values, zeros apart, of an n x m matrix of
    variance 1/m, aspect = n/m.
    """
    angle = np.pi * (np.arange(count) + 0.5) / count
    centre = 1 + aspect
    radius = 2 * aspect**0.5
    square = centre + radius * np.cos(angle)
    height = np.sin(angle)
    weight = height**2 / square
    return Nodes(square, weight / weight.sum())


def train(net: WideOutput) -> Trajectory:
    """The training of `net`, exactly, in the limit of large dimensions.

    Frozen readout: with f = (1 - learning_rate lambda)^t and h = (1 - f)/lambda, M(t) =
    f(a^T a) M(0) + gamma0 h(a^T a) a^T W*, so that given a its rows, turned to the
    eigenvectors of a^T a, are independent and Gaussian, of variance

        tau(lambda)/N,   tau = init_variance f^2 + gamma0^2 target_variance (N/D) lambda
                         h^2.

    Where the readout trains, see `modes`.

    >>> net = WideOutput(output_ratio=0.5, input_ratio=0.7, target_variance=4.0, learning_rate=0.1, steps=30)
    >>> train(net).test_loss[0].round(6)  # 4 from the target, 0.7 from the random start
    Array(4.7, dtype=float64)
    """
    _checks.memory("steps", net.steps, 64 * 200 * (net.steps + 1), "fewer steps")
    longer = dataclasses.replace(net, steps=padded(net.steps))
    trained = _trained(longer)
    by_step = dataclasses.replace(trained, weights=None)
    asked = head(by_step, net.steps + 1)
    return dataclasses.replace(asked, weights=trained.weights)


@compiled
def _trained(net: WideOutput) -> Trajectory:
    train_them = _both_layers if net.train_readout else _frozen_readout
    trajectory = train_them(net)
    return _alive(trajectory)


def _both_layers(net: WideOutput) -> Trajectory:
    ratio = net.output_ratio / net.input_ratio
    square, weight = marchenko_pastur_nodes(ratio)
    s = (net.target_variance * square) ** 0.5
    F, k = modes(net, s)
    error = s - F / net.gamma0
    per_output = jnp.minimum(1.0, 1 / ratio)
    loss = per_output * (error**2 @ weight)
    largest = jnp.maximum(k.max(1), net.init_variance)
    return Trajectory(loss, 2 * largest)


def _frozen_readout(net: WideOutput) -> Trajectory:
    """Directions of the outputs and of the rows that a leaves out stay as they are."""
    c = net.output_ratio
    shape = 1 / net.input_ratio
    lam, weight = marchenko_pastur_nodes(c)
    times = jnp.arange(net.steps + 1.0)
    f = (1 - net.learning_rate * lam) ** times[:, None]
    pull = net.gamma0**2 * shape
    target = net.target_variance * (1 - f) ** 2
    gain = pull * target / lam
    start = net.target_variance + net.init_variance * lam / pull
    some = jnp.where(c > 0, c, 1.0)
    reached = jnp.minimum(1.0, 1 / some)
    loss = reached * (f**2 * start) @ weight
    unreached = (1 - reached) * net.target_variance
    untouched_rows = jnp.maximum(0.0, 1 - c)
    touched_rows = jnp.minimum(1.0, c) * weight
    own = net.init_variance * f**2
    lost = net.init_variance * (1 - f) ** 2
    return Trajectory(
        loss + unreached,
        jnp.full(net.steps + 1, (1 + c**0.5) ** 2),
        _with_untouched(net.init_variance, own + gain),
        _with_untouched(0.0, lost + gain),
        jnp.append(untouched_rows, touched_rows),
    )


def _with_untouched(variance, rows):
    """The rows that training leaves alone, before the others."""
    shape = (len(rows), 1)
    untouched = jnp.full(shape, variance)
    return jnp.concatenate([untouched, rows], 1)


def _alive(trajectory: Trajectory) -> Trajectory:
    """NaN from the first step on at which the loss has grown beyond what rounding
    leaves of its start.
    """
    loss = trajectory.test_loss
    rounding = jnp.finfo(float).eps
    small = loss < loss[0] / rounding
    so_far = jnp.cumprod(small.astype(int))
    alive = so_far == 1

    def finite(x):
        if x.shape[:1] != alive.shape:
            return x
        others = (1,) * (x.ndim - 1)
        rows = alive.reshape(-1, *others)
        return jnp.where(rows, x, jnp.nan)

    return jax.tree.map(finite, trajectory)


@compiled
def modes(net: WideOutput, s) -> tuple[Array, Array]:
    """F and k (steps+1, ...) of modes of the target with singular values s (...), as N
    -> infinity at fixed C and D.

    With F the mode of a M, k that of M^T M and of a a^T, e = s - F/gamma0, from F = 0
    and k = init_variance:

        F += 2 eta gamma0 k e + eta^2 gamma0^2 e^2 F,   k += 2 eta gamma0 F e + eta^2
                                                        gamma0^2 e^2 k.

    >>> net = WideOutput(output_ratio=0.5, input_ratio=0.5, target_variance=1.0, gamma0=2.0, learning_rate=0.01,
    ...                  steps=200, train_readout=True)
    >>> print((modes(net, 2.0)[1][-1] ** 0.5).round(4))
    2.029
    """
    s = jnp.asarray(s, float)

    def step(state, _):
        F, k = state
        error = s - F / net.gamma0
        e = net.learning_rate * net.gamma0 * error
        F_next = F + 2 * k * e + e**2 * F
        k_next = k + 2 * F * e + e**2 * k
        state = (F_next, k_next)
        return state, state

    start = (
        jnp.zeros_like(s),
        jnp.full_like(s, net.init_variance),
    )
    _, path = jax.lax.scan(step, start, length=net.steps)

    def with_start(first, rest):
        return jnp.concatenate([first[None], rest])

    return jax.tree.map(with_start, start, path)


def edge_correction(net: WideOutput, s=None, others=None) -> Float[Array, " times"]:
    """How much the largest singular value of M(t) gains at width N, times N/D: to first
    order in 1/N.

    s        its mode; sqrt(target_variance) (1 + sqrt(C/D)), the largest, by default
    others   the other singular values of one W* (min(C, D) - 1); their law by default

    The matrices F = aM, K = M^T M and Q = a a^T obey closed equations at any N, which
    only the start makes random: its entries off the diagonal have variance
    init_variance^2 / N. Each couples two modes; the second derivative of the eigenvalue
    of K with respect to it, halved, is what the pair adds, and D pairs add up. Infinite
    at t = 0, where all modes are alike and the edge moves as sqrt(D/N).
    """
    ratio = net.output_ratio / net.input_ratio
    if s is None:
        s = net.target_variance**0.5 * (1 + ratio**0.5)
    s = jnp.asarray(s, float)
    pairs = _partners(net, ratio, others)
    modes_beside = jnp.asarray(pairs.modes)
    gains = _pair_gains(net, s, modes_beside)
    change = jnp.einsum("ep,ept->t", pairs.share, gains)
    _, k = modes(net, s)
    size = jnp.sqrt(k[1:])
    return jnp.append(jnp.inf, change / (2 * size))


class _Partners(NamedTuple):
    """The modes that one mode is coupled to: singular values of the target."""

    modes: np.ndarray
    share: np.ndarray  # (4, modes): their number over D, for each kind of coupling


def _partners(net: WideOutput, ratio, others) -> _Partners:
    """The other modes of the target, and the directions that it leaves out, as a mode
    of singular value zero: on the right for K and F_21, on the left for Q and F_12.
    """
    fewer = min(1.0, ratio)
    if others is None:
        square, weight = marchenko_pastur_nodes(ratio)
        others = np.sqrt(net.target_variance * square)
        weight = weight * fewer
    else:
        others = np.asarray(others, float)
        count = len(others)
        weight = np.full(count, fewer / (count + 1))
    only_left = max(0.0, ratio - 1)
    only_right = max(0.0, 1 - ratio)
    left_out = np.array(
        [
            only_right,
            only_left,
            only_right,
            only_left,
        ]
    )
    each = np.tile(weight, (4, 1))
    share = np.column_stack([each, left_out])
    return _Partners(np.append(others, 0.0), share)


@compiled
def _pair_gains(net: WideOutput, s, others):
    """Half the second derivative (4, others, steps) of the eigenvalue of K(t) that
    belongs to s, by the coupling of s to each of the others in the start of K, Q, F_12
    or F_21.
    """

    def second(other, source):
        def top(size):
            return _top_eigenvalue(net, s, other, source, size)

        def slope(size):
            return _slope(top, size)

        return _slope(slope, 0.0) / 2

    sources = jnp.arange(4)
    of_others = jax.vmap(second, (0, None))
    of_all = jax.vmap(of_others, (None, 0))
    return of_all(others, sources)


def _slope(function, x):
    _, slope = jax.jvp(function, (x,), (1.0,))
    return slope


class _Pair(NamedTuple):
    """Two modes: F = a M, K = M^T M and Q = a a^T, each (2, 2)."""

    F: Array
    K: Array
    Q: Array


def _top_eigenvalue(net: WideOutput, s, other, source, size):
    """Top eigenvalue of K(t) for the modes s and `other`, the start perturbed in K, Q,
    F_12 or F_21 by `size`.
    """
    both = jnp.array([s, other])
    target = jnp.diag(both)

    def step(pair, _):
        F, K, Q = pair
        error = target - F / net.gamma0
        e = net.learning_rate * net.gamma0 * error
        pair = _Pair(
            F + Q @ e + e @ K + e @ F.T @ e,
            K + F.T @ e + e.T @ F + e.T @ Q @ e,
            Q + F @ e.T + e @ F.T + e @ K @ e.T,
        )
        return pair, pair.K

    start = _perturbed(net.init_variance, source, size)
    _, K = jax.lax.scan(step, start, length=net.steps)
    first = K[:, 0, 0]
    second = K[:, 1, 1]
    half = (first + second) / 2
    gap = (first - second) / 2
    coupling = K[:, 0, 1] / gap
    return half + gap * jnp.sqrt(1 + coupling**2)


def _perturbed(variance, source, size) -> _Pair:
    """The start of two modes, perturbed off the diagonal in one of four ways."""
    one = jnp.eye(2)
    off = 1 - one
    K, Q, F_12, F_21 = (jnp.where(source == i, size, 0.0) for i in range(4))
    upper = F_12 * jnp.triu(off)
    lower = F_21 * jnp.tril(off)
    return _Pair(
        variance * (upper + lower),
        variance * (one + K * off),
        variance * (one + Q * off),
    )
