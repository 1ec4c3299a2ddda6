"""Level 1 of a nonlinear network once more, in the response form: a slower way to the same answers, and to A and B.

With x^0 = x, x^l = phi(h^l), z^l = M_l^T g^{l+1} (z^L = w, as if G^{L+1} = 1), i and j the queries of earlier steps,

    h^l = u^l + sum_j (variance A^{l-1}_j + rates_j H^{l-1}_j) g^l_j,    u^l ~ GP(0, variance H^{l-1})
    z^l = r^l + sum_i (variance B^l_i + rates_i G^{l+1}_i) x^l_i,        r^l ~ GP(0, variance G^{l+1})
    g^l = phi'(h^l) z^l,   A^l = <d x^l/d r^l>,   B^l = <d g^{l+1}/d u^{l+1}>,   H^l = <x^l x^l>,   G^l = <g^l g^l>.

Sites are sampled step by step, with their Jacobians; f = <w x^L>/gamma0 follows from A^L by Stein's lemma.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import checks
from ..networks import Nonlinear
from .nonlinear import DIVERGED, Trajectory


class ResponseHistory(eqx.Module):
    """All that level 2 needs to know of M_l (aspect 1): Grams and responses of its queries g^{l+1} and phi(h^l).

    The spike of step t is the sum over mu and k of rates (steps, P, K) times g phi^T / N.
    """

    variance: Float[Array, ""]
    left_gram: Float[Array, "times P K times P K"]
    right_gram: Float[Array, "times P times P"]
    left_response: Float[Array, "times P K times P"]
    right_response: Float[Array, "times P times P K"]
    rates: Float[Array, "steps P K"]

    def grams(self):
        """Of phi(h^l) and of g^{l+1}."""
        return self.right_gram, self.left_gram

    def responses(self):
        """B and A."""
        return self.left_response, self.right_response


def memory(net: Nonlinear, sites: int) -> int:
    """Bytes that `train` needs, roughly: Jacobians."""
    (P, K), inputs = net.targets.shape, len(net.inputs) + len(net.test_inputs)
    return 8 * sites * (net.steps + 1) ** 2 * (P + P * K) * (net.hidden_layers + 2) * (inputs + P * K)


def train(net: Nonlinear, seed, sites: int) -> Trajectory:
    """One sample of `sites` sites. It takes sites x (steps x samples)^2 of memory, and ^3 of time.

    Raises ValueError for a kinked activation: its B has a part that no derivative at a site sees.
    """
    activation = net.activation
    if activation.kinked:
        checks.fail("activation", activation.name, 'a smooth one in the response form; form="conditioning" takes any')
    if not checks.known((net.inputs, net.gamma0, net.init_variance, net.learning_rate)):
        checks.fail("form", "response", '"conditioning" under jit and grad')
    rng, L, times, (P, K) = np.random.default_rng(seed), net.hidden_layers, net.steps + 1, net.targets.shape
    phi, slope = activation.function, activation.derivative
    phi, slope, curvature = map(jax.jit, (phi, slope, lambda h: jax.jvp(slope, (h,), (jnp.ones_like(h),))[1]))
    x, targets = np.concatenate([net.inputs, net.test_inputs]), np.asarray(net.targets)
    gamma0, variance, learning_rate = map(float, (net.gamma0, net.init_variance, net.learning_rate))
    weights, inputs, each = np.append(net.sample_weights(), np.zeros((1, P)), 0), len(x), P + P * K
    forward, backward = (times, inputs), (times, P, K)
    u, features = np.zeros((2, L + 1, *forward, sites))
    r, g = np.zeros((2, L + 1, *backward, sites))
    d_features, d_g = (np.zeros((L + 1, *shape, sites, times * each)) for shape in (forward, backward))
    H, A = np.zeros((L + 1, *forward, *forward)), np.zeros((L + 1, *forward, *backward))
    G, B = np.zeros((L + 2, *backward, *backward)), np.zeros((L + 1, *backward, times, P))
    H[0], G[L + 1] = (x @ x.T / x.shape[1])[:, None], np.eye(K)[:, None, None]
    rates, f, alive = np.zeros(backward), np.full((times, inputs, K), np.nan), 0

    def draw(values, gram, t):
        """Step t of a Gaussian process of that covariance, given the steps before."""
        count = values[0, ..., 0].size
        gram, before = gram.reshape(times * count, -1)[: (t + 1) * count, : (t + 1) * count], t * count
        known = gram[before:, :before] @ np.linalg.pinv(gram[:before, :before], 1e-10, hermitian=True)
        squares, vectors = np.linalg.eigh(gram[before:, before:] - known @ gram[:before, before:])
        fresh = vectors * np.sqrt(variance * np.maximum(squares, 0)) @ rng.standard_normal((count, sites))
        values[t] = (known @ values[:t].reshape(before, sites) + fresh).reshape(values[t].shape)

    for t in range(times):
        own, now, h, d_h = np.arange(P), slice(t + 1), [None] * (L + 1), [None] * (L + 1)
        for l in range(1, L + 1):
            draw(u[l], H[l - 1], t)
            given = (variance * A[l - 1, t] + rates * H[l - 1, t, :, :, :P, None])[:, :t]
            h[l] = u[l, t] + np.tensordot(given, g[l, :t], 3)
            d_h[l] = np.tensordot(given, d_g[l, :t], 3)
            d_h[l][own, :, t * each + own] += 1
            features[l, t], d_features[l, t] = phi(h[l]), np.asarray(slope(h[l]))[..., None] * d_h[l]
            H[l] = np.tensordot(features[l], features[l], ([2], [2])) / sites
            A[l, t] = d_features[l, t].mean(1).reshape(inputs, times, each)[:, :, P:].reshape(inputs, *backward)
        f[t] = (variance * A[L, t] + rates * H[L, t, :, :, :P, None]).sum((1, 2)) / gamma0
        residual = targets - f[t, :P]
        if not np.sum(residual**2) < DIVERGED * (np.sum(targets**2) + P):
            f[t] = np.nan
            break
        alive = t + 1
        for l in range(L, 0, -1):
            draw(r[l], G[l + 1], t)
            given = (variance * B[l, t] + (rates * G[l + 1, t]).sum(-1))[:, :, now]
            z, d_z = (np.tensordot(given, values[l, now, :P], 2) for values in (features, d_features))
            z += r[l, t]
            d_z.reshape(P * K, sites, -1)[np.arange(P * K), :, t * each + P + np.arange(P * K)] += 1
            first, second = (np.asarray(f(h[l][:P]))[:, None] for f in (slope, curvature))
            g[l, t], d_g[l, t] = first * z, (second * z)[..., None] * d_h[l][:P, None] + first[..., None] * d_z
            G[l] = np.tensordot(g[l], g[l], ([3], [3])) / sites
            B[l - 1, t] = d_g[l, t].mean(2).reshape(P, K, times, each)[..., :P]
        rates[t] = learning_rate * gamma0 * weights[t][:, None] * residual
    dead = np.where(np.arange(times) < alive, 0.0, np.nan)[:, None, None]
    H, A = H[:, :, :P, :, :P], A[:, :, :P]
    layers = tuple(ResponseHistory(*map(np.asarray, (variance, G[l + 1], H[l], B[l], A[l], rates[:-1])))
                   for l in range(1, L))  # fmt: skip
    return Trajectory(
        f, tuple(np.einsum("tmtn->tmn", H[l]) + dead for l in range(1, L + 1)),
        tuple(np.einsum("tmktnj->tmknj", G[l]) + dead[..., None, None] for l in range(1, L + 1)),
        layers, H[L], G[1], np.asarray(alive), np.asarray(False),
        np.full((L - 1, 2), (times * P * K, times * P)), np.zeros(L, int),
    )  # fmt: skip
