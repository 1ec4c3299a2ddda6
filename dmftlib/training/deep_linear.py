"""Level 1 of a deep linear network in the proportional limit: N, D, P -> infinity at fixed ratios.

Gradient descent on a linear network is a linear algorithm on Gaussian matrices, the weights and the inputs X. With
p = g^0 / (gamma sqrt(nu)) the linear predictor, v = beta - p, and g^L = w, each step makes the queries

    backward   g^l = M_l^T g^{l+1},  l = L-1 ... 0                  Delta = X v / sqrt(D) + noise
    forward    h^0 = d = (D/P) X^T Delta / sqrt(D),                 h^{l+1} = M_l h^l
    update     M_l += kappa g^{l+1} (h^l)^T / dim(h^l),   w += kappa h^L,   kappa = learning_rate gamma / sqrt(nu)

and `GaussianMatrix` answers them. Exact at any step size: there is no gradient flow and no fixed point to iterate.
"""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .. import checks
from ..networks import DeepLinear
from .gaussian import GaussianMatrix, default_tolerance
from .history import WeightHistory

_NUMBERS = ("width_ratio", "sample_ratio", "gamma", "init_variance", "label_noise", "learning_rate")
_LEAST_NOISE = 1e-6  # where derivatives are taken: at zero noise the noise itself, of size sqrt(label_noise), has none


class Trajectory(eqx.Module):
    """Everything that training determines. Entry t after t updates; NaN from the step on at which training diverged.

    train_loss      (steps+1,)  <Delta^2>; with batch="online" on the fresh samples of that step
    test_loss       (steps+1,)  |v|^2/D, without label noise
    predictor_norm  (steps+1,)  |p|^2/D
    alignment       (steps+1,)  beta.p/D
    forward         h^0 ... h^L, each (steps+1, coefficients): dot products are inner products per site
    backward        g^0 ... g^L, likewise
    layers          the WeightHistory of M_0 ... M_{L-1}
    matrices        M_0(0) ... M_{L-1}(0) and X/sqrt(D), as far as training has revealed them
    finite_steps    number of finite entries: steps+1 unless training diverged
    dropped         relative size of the largest direction that had no room in the query histories
    ranks           (L+1, 2)    directions used by M_0 ... M_{L-1} and X, backward and forward
    """

    train_loss: Float[Array, " times"]
    test_loss: Float[Array, " times"]
    predictor_norm: Float[Array, " times"]
    alignment: Float[Array, " times"]
    forward: tuple
    backward: tuple
    layers: tuple
    matrices: tuple
    finite_steps: Int[Array, ""]
    dropped: Float[Array, ""]
    ranks: Int[Array, "matrices 2"]


def query_capacity(steps: int, batch="full", tolerance: float | None = None) -> int:
    """Room for the directions among `steps` + 1 queries.

    A stable mode decays as x^t with |x| < 1, and x^t is a polynomial of degree sqrt(2 t log(2/tolerance)) up to the
    tolerance: so many directions are enough for full batches. Fresh noise in each step needs all of them.
    """
    smooth = math.ceil(math.sqrt(2 * steps * math.log(2 / (tolerance or default_tolerance())))) + 1
    return min(steps + 1, smooth) if batch == "full" else steps + 1


def train(net: DeepLinear, capacity: int | None = None, tolerance: float | None = None) -> Trajectory:
    """The training of `net`, exactly, in the limit of large dimensions.

    The cost is steps * capacity^2: the query histories are kept to their numerical rank, at most `capacity`
    (see `query_capacity`); what is smaller than `tolerance`, relative to the largest query, is dropped as it arises,
    which solves a training perturbed by as much. At dimension D the losses fluctuate by O(D^(-1/2)) and are biased by
    O(1/D).

    Derivatives are carried forward, whichever mode JAX is asked for: six numbers go in and many come out. They are
    those at label_noise = 1e-6 where there is less.

    >>> net = DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, gamma0=1.0, learning_rate=0.1, steps=2)
    >>> train(net).test_loss[0].round(6)
    Array(2., dtype=float64)
    """
    if not jax.config.jax_enable_x64:
        checks.fail("JAX_ENABLE_X64", "single precision", "double precision for a DeepLinear, whose memory of all its "
                    "queries loses every digit in less")  # fmt: skip
    capacity = query_capacity(net.steps, net.batch, tolerance) if capacity is None else capacity
    capacity, times = min(checks.integer("capacity", capacity, 1), net.steps + 1), net.steps + 1
    room = 2 * capacity + (0 if net.batch == "full" else times)
    checks.memory("steps", net.steps, 32 * (net.hidden_layers + 1) * room * (times + capacity), "fewer steps")
    numbers = jnp.stack([jnp.asarray(getattr(net, name), float) for name in _NUMBERS])
    return _train(net.hidden_layers, net.steps, net.batch, capacity, tolerance, numbers)


_STATIC = tuple(range(5))


@functools.partial(jax.custom_jvp, nondiff_argnums=_STATIC)
@functools.partial(jax.jit, static_argnums=_STATIC)
def _train(L, steps, batch, capacity, tolerance, numbers) -> Trajectory:
    nu, alpha, gamma, variance, label_noise, learning_rate = numbers
    kappa, scale = learning_rate * gamma / jnp.sqrt(nu), 1 / (gamma * jnp.sqrt(nu))
    times = steps + 1

    # Coefficients of each space: start vector and fresh noise | innovations from the matrix below | from that above.
    fresh = {"full": (0, 0), "online": (times, 0)}.get(batch, (0, times))  # new axes a step, input and sample space
    own = [1 + fresh[0] + capacity] + [0] * (L - 1) + [1]
    dims = [own[0] + capacity] + [2 * capacity] * (L - 1) + [1 + capacity]
    samples = 1 + fresh[1] + capacity
    below = [0] + [0] * (L - 1) + [1]  # where the innovations of M_{l-1} begin in space l
    matrices = [
        GaussianMatrix(nu if l == 0 else 1.0, variance, dims[l + 1], dims[l], capacity,
                       left_start=below[l + 1], right_start=own[0] if l == 0 else capacity, tolerance=tolerance)
        for l in range(L)
    ]  # fmt: skip
    inputs = GaussianMatrix(alpha, 1.0, samples, dims[0], capacity, 1 + fresh[1], 1 + fresh[0], tolerance)
    beta = jnp.zeros(dims[0]).at[0].set(1.0)
    noise = jnp.zeros(samples).at[0].set(jnp.sqrt(label_noise))
    readout = jnp.zeros(dims[L]).at[0].set(jnp.sqrt(variance))

    def descend(inputs, v, t):
        """The residual's mean square and the descent direction d = h^0."""
        if batch == "online":
            square = v @ v + label_noise
            return inputs, square, v.at[1 + t].add(jnp.sqrt(square / alpha))
        inputs, _, image = inputs.forward(v)
        residual = image + noise
        square = residual @ residual
        if batch != "full":
            residual = (batch * residual).at[1 + t].add(jnp.sqrt(batch * (1 - batch) * square))
        inputs, _, image = inputs.backward(residual)
        return inputs, square, image / (alpha * (1.0 if batch == "full" else batch))

    def step(state, t):
        matrices, inputs, spikes, readout, start, alive = state
        matrices, g, h = list(matrices), [None] * L + [readout], [None] * (L + 1)
        left, right = [None] * L, [None] * L
        for l in reversed(range(L)):
            matrices[l], left[l], image = matrices[l].backward(g[l + 1])
            g[l] = image + matrices[l].aspect * (left[l] @ spikes[l]) @ matrices[l].right_basis
        p = scale * g[0]
        v = beta - p
        inputs, train_loss, h[0] = descend(inputs, v, t)
        for l in range(L):
            matrices[l], right[l], image = matrices[l].forward(h[l])
            h[l + 1] = image + (spikes[l] @ right[l]) @ matrices[l].left_basis
        start = jnp.where(t == 0, train_loss, start)
        alive = alive & (train_loss < start / jnp.finfo(float).eps)  # beyond that, rounding has erased the start
        updated = [S + kappa * jnp.outer(a, b) for S, a, b in zip(spikes, left, right, strict=True)]
        updated = (tuple(updated), readout + kappa * h[L])
        going_on = alive & jnp.isfinite(sum(jnp.sum(x) for x in jax.tree.leaves(updated)))
        spikes, readout = jax.tree.map(lambda new, old: jnp.where(going_on, new, old), updated, (spikes, readout))
        record = (train_loss, v @ v, p @ p, beta @ p, tuple(h), tuple(g))
        record = jax.tree.map(lambda x: jnp.where(alive, x, jnp.nan), record)
        queries = jax.tree.map(lambda x: jnp.where(alive, x, 0.0), (left, right))
        return (tuple(matrices), inputs, spikes, readout, start, going_on), (record, queries, alive)

    spikes = (jnp.zeros((capacity, capacity)),) * L
    state = (tuple(matrices), inputs, spikes, readout, jnp.asarray(jnp.inf), jnp.asarray(True))
    (matrices, inputs, *_), (record, queries, alive) = jax.lax.scan(step, state, jnp.arange(times))
    layers = tuple(
        WeightHistory(matrix.aspect, matrix.variance, left[:steps], right[:steps], matrix.left_response,
                      matrix.right_response, jnp.full(steps, kappa))
        for matrix, left, right in zip(matrices, *queries, strict=True)
    )
    known = (*matrices, inputs)
    dropped = jnp.max(jnp.stack([matrix.dropped for matrix in known]))
    ranks = jnp.stack([jnp.stack([matrix.left_rank, matrix.right_rank]) for matrix in known])
    return Trajectory(*record, layers, known, alive.sum(), dropped, ranks)


_slopes = jax.jit(jax.jacfwd(_train.fun, len(_STATIC)), static_argnums=_STATIC)


@_train.defjvp
def _train_jvp(*args):
    *static, (numbers,), (tangent,) = args
    slopes = _slopes(*static, numbers.at[_NUMBERS.index("label_noise")].max(_LEAST_NOISE))

    def along(value, slope):
        floating = jnp.issubdtype(value.dtype, jnp.floating)
        return slope @ tangent if floating else np.zeros(value.shape, jax.dtypes.float0)

    value = _train(*static, numbers)
    return value, jax.tree.map(along, value, slopes)
