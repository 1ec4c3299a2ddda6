"""Level 1 of a nonlinear network in the mean-field limit: D and P finite, N -> infinity.

At infinite width the sites (neurons) of a layer are independent copies of one stochastic process, and S of them are a
sample. Each step makes the queries

    forward    h^{l+1}_mu = M_l phi(h^l_mu),                                      f_mu = <w phi(h^L_mu)> / gamma0
    backward   g^L_mu = phi'(h^L_mu) w,   g^l_mu = phi'(h^l_mu) M_l^T g^{l+1}_mu
    update     M_l += kappa sum_mu Delta_mu g^{l+1}_mu phi(h^l_mu)^T / N,   w += kappa sum_mu Delta_mu phi(h^L_mu),
               h^1_mu += kappa sum_nu Delta_nu (x_mu . x_nu / D) g^1_nu,    kappa = learning_rate gamma0 / P

in causal order, and `conditioning` answers them. w, Delta and g carry an output index. Exact at any step size: there is
no gradient flow and no fixed point to iterate.
"""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float, Int
from scipy.stats import qmc

from ..networks import Nonlinear
from .conditioning import ROOM, Matrix, Space, grow, inner, outside, query

DIVERGED = 1e8  # times the loss at the start


class LayerHistory(eqx.Module):
    """All that level 2 needs to know of M_l (aspect 1), over the orthonormal directions of its queries."""

    variance: Float[Array, ""]
    left_queries: Float[Array, "times P K r"]  # g^{l+1}
    right_queries: Float[Array, "times P r"]  # phi(h^l)
    left_time: Int[Array, " r"]  # the step at which each direction was new
    right_time: Int[Array, " r"]
    core: Float[Array, "r r"]  # Q_L^T M(0) Q_R
    left_images: Float[Array, "r r"]  # Q_L^T M(0) M(0)^T Q_L
    right_images: Float[Array, "r r"]  # Q_R^T M(0)^T M(0) Q_R
    rates: Float[Array, "steps P K"]  # the spike of step t is sum over mu and k of rates g phi^T / N

    def grams(self):
        """<phi(h^l)(s) phi(h^l)(t)> and <g^{l+1}(s) g^{l+1}(t)>."""
        features, gradients = self.right_queries, self.left_queries
        return jnp.tensordot(features, features, (-1, -1)), jnp.tensordot(gradients, gradients, (-1, -1))

    def responses(self):
        """B and A by Stein's lemma: <g u> = variance B for orthonormal forward queries."""
        causal, shared = self.left_time[:, None] >= self.right_time, self.core / self.variance
        left, right = (q.reshape(-1, q.shape[-1]) for q in (self.left_queries, self.right_queries))
        B = left @ jnp.where(causal, shared, 0.0) @ jnp.linalg.pinv(right)
        A = right @ jnp.where(causal, 0.0, shared).T @ jnp.linalg.pinv(left)
        sides = self.left_queries.shape[:-1], self.right_queries.shape[:-1]
        return B.reshape(sides[0] + sides[1]), A.reshape(sides[1] + sides[0])


class Trajectory(eqx.Module):
    """Everything that training determines, of one sample. Entry t after t updates; NaN from where it diverged."""

    predictions: Float[Array, "times inputs K"]  # training inputs first
    feature_kernels: tuple  # L of (times, P, P), <phi(h^l) phi(h^l)>
    gradient_kernels: tuple  # L of (times, P, K, P, K), <g^l g^l>
    layers: tuple  # LayerHistory of M_1 ... M_{L-1}
    top_features: Array | None  # (times, P, times, P), <phi(h^L(s)) phi(h^L(t))>, if asked for, and
    bottom_gradients: Array | None  # (times, P, K, times, P, K), <g^1(s) g^1(t)>
    finite_steps: Int[Array, ""]
    full: Bool[Array, ""]  # some direction found no room
    ranks: Int[Array, "matrices 2"]  # directions of the backward and forward queries
    used: Int[Array, " spaces"]  # sizes of the bases


def rank_guess(net: Nonlinear) -> tuple[int, int]:
    """The largest number of directions that the queries of a matrix can have, and about how many they will."""
    P, K = net.targets.shape
    most = (net.steps + 1) * max(len(net.inputs) + len(net.test_inputs), P * K)
    return most, min(most, math.ceil(8 * math.sqrt(most)))


def room_for(net: Nonlinear, rank: int, sites: int) -> tuple[int, ...]:
    """Rows of the query bases, and of the bases of the L spaces, for matrices with `rank` queries on each side."""
    L, start = net.hidden_layers, [1] * net.hidden_layers
    start[0] += min(len(net.inputs) + len(net.test_inputs), net.inputs.shape[1])
    start[-1] += net.targets.shape[1]
    spaces = [min(start[l] + 2 * rank * ((l > 0) + (l < L - 1)), sites) for l in range(L)]
    return tuple(rows + ROOM for rows in (rank, *spaces))


def memory(net: Nonlinear, room: tuple[int, ...], sites: int) -> int:
    """Bytes that `train` needs in double precision and with `two_time`, roughly."""
    (P, K), L, times, (queries, *spaces) = net.targets.shape, net.hidden_layers, net.steps + 1, room
    small = 6 * (L - 1) * max(spaces) * (max(spaces) + queries) + times * L * (P * K) ** 2
    blocks = 4 * L * (len(net.inputs) + len(net.test_inputs) + P * K) + times * P * (K + 1)
    return 8 * (sites * (sum(spaces) + blocks) + small)


def train(net: Nonlinear, seed, *, sites: int, room: tuple[int, ...], tolerance=1e-4, matched=True, two_time=False,
          dtype="float64") -> Trajectory:  # fmt: skip
    """One sample of `sites` sites, trained.

    seed       a number or a sequence of numbers: another sample for each
    room       rows of the bases: see `room_for`
    tolerance  directions of less than this share of the largest query are forgotten
    matched    fresh vectors of exact moments from a scrambled Sobol sequence, for the limit (`sites` should be a power
               of 2); otherwise the networks of width `sites` themselves
    two_time   also the kernels between different times of phi(h^L) and g^1

    Derivatives with respect to gamma0, init_variance and learning_rate, at fixed random numbers, are carried forward
    whichever mode JAX is asked for; those with respect to the data are refused.
    """
    numbers = jnp.stack([jnp.asarray(x, float) for x in (net.gamma0, net.init_variance, net.learning_rate)])
    rng = np.random.default_rng(seed)
    key = jax.random.key(int(rng.integers(2**62)))
    pools = tuple(_sobol(rng, n, sites).astype(dtype) for n in room[1:]) if matched else None
    data = (net.inputs, net.targets, net.test_inputs, jnp.asarray(net.sample_weights()), key, pools)
    static = (net.hidden_layers, net.activation, net.steps, sites, room, tolerance, matched, two_time, dtype)
    return _train(static, data, numbers)


def _sobol(rng, rows, sites):
    """(rows, sites) normal numbers, each column one point of a scrambled Sobol sequence."""
    points = qmc.Sobol(rows, rng=rng).random_base2(int(np.ceil(np.log2(sites))))[:sites]
    return jax.scipy.special.ndtri(jnp.asarray(np.clip(points.T, 1e-12, 1 - 1e-12)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
@functools.partial(jax.jit, static_argnums=0)
def _train(static, data, numbers) -> Trajectory:
    L, phi, steps, sites, (query_rows, *space_rows), tolerance, matched, two_time, dtype = static
    inputs, targets, test_inputs, weights, key, pools = data
    gamma0, variance, learning_rate = numbers.astype(dtype)
    deviation, times, targets, (P, K) = jnp.sqrt(variance), steps + 1, targets.astype(dtype), targets.shape
    x = jnp.concatenate([inputs, test_inputs]).astype(dtype)
    gram = x @ x.T / x.shape[1]
    weights = jnp.concatenate([weights.astype(dtype), jnp.zeros((1, P), dtype)])
    keys = jax.random.split(key, 2)

    def drawing(l, key):
        """Fresh vectors for space l, as `query` asks for them."""
        if not matched:
            return lambda i, count, k: jax.random.normal(jax.random.fold_in(key, i), (k, sites), dtype)
        return lambda i, count, k: jax.lax.dynamic_slice(pools[l], (count, 0), (k, sites))

    spaces = [grow(Space.empty(rows, sites, dtype), jnp.ones((1, sites), dtype), 0.5)[0] for rows in space_rows]
    factor = x / np.sqrt(x.shape[1])
    if x.shape[1] > len(x):
        values, vectors = jnp.linalg.eigh(gram)
        factor = vectors * jnp.sqrt(jnp.maximum(values, 0.0))
    directions = drawing(0, keys[0])(0, 1, factor.shape[1])
    spaces[0], known = grow(spaces[0], directions, tolerance**2)
    if matched:
        directions = jax.lax.dynamic_slice(spaces[0].basis, (1, 0), directions.shape)
    h1 = deviation * factor @ directions
    matrices = [Matrix.unknown(spaces[l + 1], spaces[l], query_rows) for l in range(L - 1)]

    def answered(matrix, space_in, space_out, block, draw):
        """M(t) times a block of vectors: matrix and spaces that know of it, the block's coordinates, and M(t) block."""
        largest = jax.lax.stop_gradient(jnp.max(jnp.mean(block**2, 1)))
        space_in, coordinates = grow(space_in, block, tolerance**2 * jnp.maximum(largest, matrix.right_largest))
        matrix, space_out = query(matrix, space_out, coordinates, draw, tolerance, deviation, matched)
        image = space_out.vectors(coordinates @ (matrix.revealed + matrix.spikes).T)
        return matrix, space_in, space_out, coordinates, image

    def start_readout(space, features):
        """w(0), independent of everything; if matched, orthogonal to the features, so that f(0) = 0."""
        w = drawing(-1, keys[1])(0, space.count, K)
        if not matched:
            return space, deviation * w
        rest = features - space.vectors(space.coordinates(features))
        ridge = 50 * jnp.finfo(dtype).eps * jnp.sum(features**2)
        rows = w - jnp.linalg.solve(rest @ rest.T + ridge * jnp.eye(len(rest), dtype=dtype), rest @ w.T).T @ rest
        rows = outside(space, rows)
        basis = jax.lax.dynamic_update_slice(space.basis, rows, (space.count, 0))
        return Space(basis, space.count + K, space.full), deviation * rows

    def step(state, t):
        matrices, spaces, h1, w, start, alive = state
        matrices, spaces = list(matrices), list(spaces)
        keys_t = jax.random.split(jax.random.fold_in(key, t), 2 * L)
        h, features, gradients = [h1], [None] * L, [None] * L
        right, left = [None] * (L - 1), [None] * (L - 1)
        for l in range(L - 1):
            features[l] = phi(h[l])
            matrices[l], spaces[l], spaces[l + 1], right[l], image = answered(
                matrices[l], spaces[l], spaces[l + 1], features[l], drawing(l + 1, keys_t[l]))
            h.append(image)
        features[-1] = phi(h[-1])
        spaces[-1], w, _ = jax.lax.while_loop(  # once: a loop, unlike a branch, works on the basis in place
            lambda state: state[2], lambda state: (*start_readout(state[0], features[-1]), False),
            (spaces[-1], w, t == 0))
        predictions = inner(features[-1], w) / (sites * gamma0)
        residual = targets - predictions[:P]
        loss = jnp.sum(residual**2) / P
        slope = phi.derivative(h[-1][:P])
        gradients[-1] = slope[:, None] * w
        for l in reversed(range(L - 1)):
            block = gradients[l + 1].reshape(P * K, sites)
            flipped, spaces[l + 1], spaces[l], left[l], image = answered(
                matrices[l].transposed, spaces[l + 1], spaces[l], block, drawing(l, keys_t[L + l]))
            matrices[l] = flipped.transposed
            gradients[l] = phi.derivative(h[l][:P])[:, None] * image.reshape(P, K, sites)

        rates = learning_rate * gamma0 * weights[t][:, None] * residual
        spikes = [matrix.spikes + jnp.einsum("mk,mkr->mr", rates, b.reshape(P, K, -1)).T @ a[:P]
                  for matrix, b, a in zip(matrices, left, right, strict=True)]  # fmt: skip
        moved = h1 + gram[:, :P] @ jnp.einsum("mk,mks->ms", rates, gradients[0])
        w_next = w + rates.T @ features[-1][:P]
        start = jnp.where(t == 0, loss, start)
        alive = alive & (loss < DIVERGED * (start + 1))
        going_on = alive & jnp.isfinite(jnp.sum(w_next) + jnp.sum(moved))
        (spikes, h1, w) = jax.tree.map(
            lambda new, old: jnp.where(going_on, new, old),
            (spikes, moved, w_next), ([m.spikes for m in matrices], h1, w))  # fmt: skip
        matrices = [eqx.tree_at(lambda m: m.spikes, m, s) for m, s in zip(matrices, spikes, strict=True)]
        feature_kernels = tuple(inner(f[:P], f[:P]) / sites for f in features)
        blocks = [g.reshape(P * K, sites) for g in gradients]
        gradient_kernels = tuple((inner(g, g) / sites).reshape(P, K, P, K) for g in blocks)
        record = (predictions, feature_kernels, gradient_kernels)
        record = jax.tree.map(lambda x: jnp.where(alive, x, jnp.nan), record)
        ranks = jnp.array([[m.left.count, m.right.count] for m in matrices], int).reshape(L - 1, 2)
        queries = ([b.reshape(P, K, -1) for b in left], [a[:P] for a in right], jnp.where(alive, rates, 0.0), ranks)
        kept = (features[-1][:P], gradients[0]) if two_time else None
        return (tuple(matrices), tuple(spaces), h1, w, start, going_on), (record, queries, kept, alive)

    start = (tuple(matrices), tuple(spaces), h1, jnp.zeros((K, sites), dtype), jnp.zeros((), dtype), jnp.asarray(True))
    (matrices, spaces, *_), (record, (left, right, rates, ranks), kept, alive) = jax.lax.scan(
        step, start, jnp.arange(times))
    layers = tuple(_history(*parts, variance, rates[:steps])
                   for parts in zip(matrices, left, right, ranks.transpose(1, 2, 0), strict=True))
    grams = (None, None)
    if two_time:
        rows = [field.reshape(-1, sites) for field in kept]
        grams = [(r @ r.T / sites).reshape(2 * f.shape[:-1]) for r, f in zip(rows, kept, strict=True)]
    full = functools.reduce(jnp.logical_or, [s.full for s in spaces] + [m.full for m in matrices])
    used = jnp.stack([s.count for s in spaces])
    return Trajectory(*record, layers, *grams, alive.sum(), full, ranks[-1], used)


@functools.partial(_train.defjvp, symbolic_zeros=True)
def _train_jvp(static, primals, tangents):
    (data, numbers), (data_tangents, tangent) = primals, tangents
    if not all(isinstance(x, SymbolicZero) for x in jax.tree.leaves(data_tangents)):
        raise ValueError("derivatives with respect to inputs and targets are not there; only gamma0, init_variance and "
                         "learning_rate can be differentiated")  # fmt: skip
    value, slopes = _train(static, data, numbers), _slopes(static, data, numbers)

    def along(value, slope):
        return np.zeros(value.shape, jax.dtypes.float0) if slope is None else jnp.tensordot(tangent, slope, 1)

    return value, jax.tree.map(along, value, slopes)


@functools.partial(jax.jit, static_argnums=0)
def _slopes(static, data, numbers):
    """Derivatives of the floating-point outputs: a leading axis for the three numbers."""

    def floats(numbers):
        return eqx.filter(_train.fun(static, data, numbers), eqx.is_inexact_array)

    return jax.vmap(lambda direction: jax.jvp(floats, (numbers,), (direction,))[1])(jnp.eye(3))


def _history(matrix, left, right, ranks, variance, rates):
    Q_L, Q_R, M = matrix.left.basis, matrix.right.basis, matrix.revealed
    left_time, right_time = (jnp.searchsorted(count, jnp.arange(len(Q_L)), side="right") for count in ranks)
    from_left, from_right = Q_L @ M, Q_R @ M.T
    return LayerHistory(variance, left @ Q_L.T, right @ Q_R.T, left_time, right_time, from_left @ Q_R.T,
                        from_left @ from_left.T, from_right @ from_right.T, rates)  # fmt: skip
