"""Training with as many outputs as dimensions: the population that a frozen readout makes of the rows of M, and the
modes of the target that evolve alone when both layers train in the wide limit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import checks
from ..networks import WideOutput


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


def marchenko_pastur_nodes(aspect, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Quadrature of the squared singular values, zeros apart, of an n x m matrix of variance 1/m, aspect = n/m."""
    angle = np.pi * (np.arange(count) + 0.5) / count
    square = 1 + aspect + 2 * np.sqrt(aspect) * np.cos(angle)
    weight = np.sin(angle) ** 2 / square
    return square, weight / weight.sum()


def train(net: WideOutput) -> Trajectory:
    """The training of `net`, exactly, in the limit of large dimensions.

    Frozen readout: with f = (1 - learning_rate lambda)^t and h = (1 - f)/lambda, M(t) = f(a^T a) M(0) + gamma0 h(a^T a)
    a^T W*, so that given a its rows, turned to the eigenvectors of a^T a, are independent and Gaussian, of variance

        tau(lambda)/N,   tau = init_variance f^2 + gamma0^2 target_variance (N/D) lambda h^2.

    Where the readout trains, see `modes`.

    >>> net = WideOutput(output_ratio=0.5, input_ratio=0.7, target_variance=4.0, learning_rate=0.1, steps=30)
    >>> train(net).test_loss[0].round(6)  # 4 from the target, 0.7 from the random start
    Array(4.7, dtype=float64)
    """
    checks.memory("steps", net.steps, 64 * 200 * (net.steps + 1), "fewer steps")
    if net.train_readout:
        s, weights = marchenko_pastur_nodes(net.output_ratio / net.input_ratio)
        s = np.sqrt(net.target_variance * s)
        F, k = modes(net, s)
        per_output = min(1.0, net.input_ratio / net.output_ratio)
        loss = per_output * ((s - F / net.gamma0) ** 2 @ weights)
        return _alive(Trajectory(loss, 2 * jnp.maximum(k.max(1), net.init_variance)))
    c, shape = net.output_ratio, 1 / net.input_ratio
    lam, weights = marchenko_pastur_nodes(c)
    decay = (1 - net.learning_rate * lam) ** jnp.arange(net.steps + 1.0)[:, None]
    gain = net.gamma0**2 * net.target_variance * shape * (1 - decay) ** 2 / lam
    start = net.target_variance + net.init_variance / (shape * net.gamma0**2) * lam
    loss = jnp.minimum(1.0, 1 / c if c > 0 else 1.0) * (decay**2 * start) @ weights
    loss = loss + max(0.0, 1 - 1 / c if c > 0 else 0.0) * net.target_variance

    def with_untouched_rows(rows, untouched):
        return jnp.concatenate([jnp.full((net.steps + 1, 1), untouched), rows], 1)

    return _alive(Trajectory(
        loss, jnp.full(net.steps + 1, (1 + c**0.5) ** 2),
        with_untouched_rows(net.init_variance * decay**2 + gain, net.init_variance),
        with_untouched_rows(net.init_variance * (1 - decay) ** 2 + gain, 0.0),
        jnp.asarray(np.append(max(0.0, 1 - c), min(1.0, c) * weights)),
    ))  # fmt: skip


def _alive(trajectory) -> Trajectory:
    """NaN from the first step on at which the loss has grown beyond what rounding leaves of its start."""
    loss = trajectory.test_loss
    alive = jnp.cumprod((loss < loss[0] / jnp.finfo(float).eps).astype(int)) == 1
    return jax.tree.map(lambda x: jnp.where(alive.reshape(-1, *[1] * (x.ndim - 1)), x, jnp.nan)
                        if x.shape[:1] == alive.shape else x, trajectory)  # fmt: skip


@jax.jit
def modes(net: WideOutput, s) -> tuple[Array, Array]:
    """F and k (steps+1, ...) of modes of the target with singular values s (...), as N -> infinity at fixed C and D.

    With F the mode of a M, k that of M^T M and of a a^T, e = s - F/gamma0, from F = 0 and k = init_variance:

        F += 2 eta gamma0 k e + eta^2 gamma0^2 e^2 F,   k += 2 eta gamma0 F e + eta^2 gamma0^2 e^2 k.

    >>> net = WideOutput(output_ratio=0.5, input_ratio=0.5, target_variance=1.0, gamma0=2.0, learning_rate=0.01,
    ...                  steps=200, train_readout=True)
    >>> print((modes(net, 2.0)[1][-1] ** 0.5).round(4))
    2.029
    """
    s = jnp.asarray(s, float)

    def step(state, _):
        F, k = state
        e = net.learning_rate * net.gamma0 * (s - F / net.gamma0)
        new = (F + 2 * k * e + e**2 * F, k + 2 * F * e + e**2 * k)
        return new, new

    start = (jnp.zeros_like(s), jnp.full_like(s, net.init_variance))
    _, path = jax.lax.scan(step, start, length=net.steps)
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, path)


def edge_correction(net: WideOutput, s=None, others=None) -> Float[Array, " times"]:
    """How much the largest singular value of M(t) gains at width N, times N/D: to first order in 1/N.

    s        its mode; sqrt(target_variance) (1 + sqrt(C/D)), the largest, by default
    others   the other singular values of one W* (min(C, D) - 1); their law by default

    The matrices F = aM, K = M^T M and Q = a a^T obey closed equations at any N, which only the start makes random:
    its entries off the diagonal have variance init_variance^2 / N. Each couples two modes; the second derivative of
    the eigenvalue of K with respect to it, halved, is what the pair adds, and D pairs add up. Infinite at t = 0, where
    all modes are alike and the edge moves as sqrt(D/N).
    """
    ratio = net.output_ratio / net.input_ratio
    s = net.target_variance**0.5 * (1 + ratio**0.5) if s is None else s
    if others is None:
        square, weights = marchenko_pastur_nodes(ratio)
        others, weights = np.sqrt(net.target_variance * square), weights * min(1.0, ratio)
    else:
        others = np.asarray(others, float)
        weights = np.full(len(others), min(1.0, ratio) / (len(others) + 1))
    only_left, only_right = max(0.0, ratio - 1), max(0.0, 1 - ratio)  # directions that the target leaves out
    pairs = np.append(others, 0.0)
    share = np.append(weights, 0.0) + np.eye(len(pairs))[-1] * np.array(
        [only_right, only_left, only_right, only_left])[:, None]  # fmt: skip

    change = jnp.einsum("ep,ept->t", share, _pair_gains(net, jnp.asarray(s, float), jnp.asarray(pairs)))
    return jnp.append(jnp.inf, change / (2 * jnp.sqrt(modes(net, s)[1][1:])))


@jax.jit
def _pair_gains(net, s, others):
    """Half the second derivative (4, others, steps) of the eigenvalue of K(t) that belongs to s, by the coupling of s
    to each of the others in the start of K, Q, F_12 or F_21."""
    def largest(other, source, size):
        """Top eigenvalue of K(t) for the modes s and `other`, the start perturbed in K, Q, F_12 or F_21."""
        off = jnp.array([[0.0, 1.0], [1.0, 0.0]])
        target = jnp.diag(jnp.array([s, other]))
        upper, lower = jnp.triu(off), jnp.tril(off)
        noise = [jnp.where(source == i, size, 0.0) for i in range(4)]
        K, Q = (net.init_variance * (jnp.eye(2) + noise[i] * off) for i in (0, 1))
        F = net.init_variance * (noise[2] * upper + noise[3] * lower)

        def step(state, _):
            F, K, Q = state
            e = net.learning_rate * net.gamma0 * (target - F / net.gamma0)
            new = (F + Q @ e + e @ K + e @ F.T @ e, K + F.T @ e + e.T @ F + e.T @ Q @ e,
                   Q + F @ e.T + e @ F.T + e @ K @ e.T)  # fmt: skip
            return new, new[1]

        K = jax.lax.scan(step, (F, K, Q), length=net.steps)[1]
        half, gap = (K[:, 0, 0] + K[:, 1, 1]) / 2, (K[:, 0, 0] - K[:, 1, 1]) / 2
        return half + gap * jnp.sqrt(1 + (K[:, 0, 1] / gap) ** 2)

    def second(other, source):
        slope = lambda size: jax.jvp(lambda x: largest(other, source, x), (size,), (1.0,))[1]  # noqa: E731
        return jax.jvp(slope, (0.0,), (1.0,))[1] / 2

    return jax.vmap(jax.vmap(second, (0, None)), (None, 0))(others, jnp.arange(4))
