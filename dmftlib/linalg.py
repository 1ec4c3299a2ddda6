"""Linear algebra of many small matrices that cannot stall: `jnp.linalg`, in groups.

On a CPU, JAX gives a batch of matrices to LAPACK in pieces, which it puts on the very
threads that run its programs, and waits there for them. As soon as as many such calls
run at once as there are threads (two calls, on two processors), each waits for pieces
that no thread is left to do, for ever. What takes fewer than 200,000 operations is done
where it stands, and one matrix always is. So here a batch goes in groups of so many
matrices that each is done where it stands, under `vmap` too, and the derivatives are
written in terms of the same functions.

Every function takes arrays of matrices (..., m, n) and means what its namesake in
`jnp.linalg` means; where eigenvalues are equal, the derivative of `eigh` leaves the
turning between them out, where that of `jnp.linalg` is NaN.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ._compile import compiled

_AT_ONCE = 200_000  # operations that LAPACK does where it stands, in JAX's estimate


def _grouped(function: Callable, cost: float) -> Callable:
    """`function` of single matrices, for arrays of them, (B, m, n).

    cost   operations, over those of `_operations`
    """

    @jax.custom_batching.custom_vmap
    def batch(*arrays):
        size = len(arrays[0])
        operations = cost * _operations(*arrays)
        group = max(1, math.ceil(_AT_ONCE / operations) - 1)
        if size <= group or jax.default_backend() != "cpu":
            return jax.vmap(function)(*arrays)
        return jax.lax.map(lambda each: function(*each), arrays, batch_size=group)

    @batch.def_vmap
    def rule(count, batched, *arrays):
        flat = []
        for array, own in zip(arrays, batched, strict=True):
            if not own:
                array = jnp.broadcast_to(array, (count, *array.shape))
            flat.append(_joined(array, 2))
        found = batch(*flat)
        size = arrays[0].shape[1 if batched[0] else 0]

        def apart(x):
            return x.reshape(count, size, *x.shape[1:])

        found = jax.tree.map(apart, found)
        return found, jax.tree.map(lambda _: True, found)

    return batch


def each(function: Callable, *arrays):
    """function(*entries) for every entry of the arrays' first axes, stacked: one after
    the other on a CPU, where a `while_loop` of one does not wait for that of another;
    side by side elsewhere, as `vmap` does.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function)(*arrays)
    return jax.lax.map(lambda entries: function(*entries), arrays)


def _joined(array, axes: int):
    """The first `axes` axes as one."""
    count = math.prod(array.shape[:axes])
    return array.reshape(count, *array.shape[axes:])


def _operations(matrix, right_sides=None) -> int:
    """m n min(m, n) of a matrix (B, m, n), or n n k with k right sides."""
    _, m, n = matrix.shape
    third = min(m, n)
    if right_sides is not None:
        third = max(third, right_sides.shape[-1])
    return max(1, m * n * third)


def _one_lower(a, b):
    return jax.scipy.linalg.solve_triangular(a, b, lower=True)


def _one_lower_transposed(a, b):
    return jax.scipy.linalg.solve_triangular(a, b, lower=True, trans="T")


def _one_eigh(a):
    return tuple(jnp.linalg.eigh(a))


def _one_svd(a):
    return tuple(jnp.linalg.svd(a, full_matrices=False))


def _one_qr(a):
    return tuple(jnp.linalg.qr(a))


_eigh_of = _grouped(_one_eigh, 5)
_solve_of = _grouped(jnp.linalg.solve, 1)
_lower_of = _grouped(_one_lower, 1)
_lower_transposed_of = _grouped(_one_lower_transposed, 1)
_cholesky_of = _grouped(jnp.linalg.cholesky, 1)
_svd_of = _grouped(_one_svd, 10)
_qr_of = _grouped(_one_qr, 2)


def _stacked(function):
    """`function` of (B, m, n), for arrays of any number of axes; a program of its own
    where it is called alone.
    """

    @compiled(inline=True)
    def call(a, *others):
        a = jnp.asarray(a)
        leading = a.shape[:-2]
        axes = len(leading)
        flat = [_joined(x, axes) if axes else x[None] for x in (a, *others)]
        found = function(*flat)
        return jax.tree.map(lambda x: x.reshape(leading + x.shape[1:]), found)

    return call


def _transposed(a):
    return jnp.swapaxes(a, -1, -2)


def _symmetric(a):
    return (a + _transposed(a)) / 2


def _diagonal(a):
    return jnp.diagonal(a, axis1=-2, axis2=-1)


def _turned(vectors, change):
    """V^T dA V."""
    return _transposed(vectors) @ _symmetric(change) @ vectors


def _inverse(x, present=True):
    """1/x, and 0 where x is 0 or not present."""
    present = present & (x != 0)
    return jnp.where(present, 1 / jnp.where(present, x, 1.0), 0.0)


@jax.custom_jvp
def _eigh(a):
    return _eigh_of(_symmetric(a))


@_eigh.defjvp
def _eigh_jvp(primals, tangents):
    values, vectors = _eigh(*primals)
    turned = _turned(vectors, tangents[0])
    gaps = values[:, None, :] - values[:, :, None]
    turning = vectors @ (_inverse(gaps) * turned)
    return (values, vectors), (_diagonal(turned), turning)


@jax.custom_jvp
def _eigvalsh(a):
    return _eigh_of(_symmetric(a))[0]


@_eigvalsh.defjvp
def _eigvalsh_jvp(primals, tangents):
    values, vectors = _eigh(*primals)
    return values, _diagonal(_turned(vectors, tangents[0]))


def _solve(a, b):
    return jax.lax.custom_linear_solve(
        lambda x: a @ x,
        b,
        solve=lambda _, y: _solve_of(a, y),
        transpose_solve=lambda _, y: _solve_of(_transposed(a), y),
    )


def _solve_lower(a, b):
    return jax.lax.custom_linear_solve(
        lambda x: a @ x,
        b,
        solve=lambda _, y: _lower_of(a, y),
        transpose_solve=lambda _, y: _lower_transposed_of(a, y),
    )


def _solve_lower_transposed(a, b):
    return jax.lax.custom_linear_solve(
        lambda x: _transposed(a) @ x,
        b,
        solve=lambda _, y: _lower_transposed_of(a, y),
        transpose_solve=lambda _, y: _lower_of(a, y),
    )


@jax.custom_jvp
def _cholesky(a):
    return _cholesky_of(_symmetric(a))


@_cholesky.defjvp
def _cholesky_jvp(primals, tangents):
    factor = _cholesky(*primals)
    change = _symmetric(tangents[0])
    half = _solve(factor, change)
    whitened = _solve(factor, _transposed(half))
    lower = jnp.tril(whitened)
    half_diagonal = jnp.eye(lower.shape[-1], dtype=lower.dtype) / 2
    return factor, factor @ (lower - lower * half_diagonal)


@jax.custom_jvp
def _qr(a):
    return _qr_of(a)


@_qr.defjvp
def _qr_jvp(primals, tangents):
    q, r = _qr(*primals)
    change = _transposed(tangents[0])
    within = _transposed(_solve(_transposed(r), change))
    inside = _transposed(q) @ within
    below = jnp.tril(inside, -1)
    turning = below - _transposed(below)
    stretch = inside - turning
    return (q, r), (within - q @ stretch, stretch @ r)


@jax.custom_jvp
def _pinv(a, rtol):
    left, sizes, right = _svd_of(a)
    kept = sizes > rtol * sizes[:, :1]
    inverse = _inverse(sizes, kept)
    scaled = inverse[..., None] * _transposed(left)
    return _transposed(right) @ scaled


@_pinv.defjvp
def _pinv_jvp(primals, tangents):
    a, _ = primals
    change, _ = tangents
    p = _pinv(*primals)
    adjoint = _transposed(p)
    back = _transposed(change)
    m, n = a.shape[-2:]
    beyond_left = jnp.eye(m, dtype=a.dtype) - a @ p
    beyond_right = jnp.eye(n, dtype=a.dtype) - p @ a
    left = p @ adjoint @ back @ beyond_left
    right = beyond_right @ back @ adjoint @ p
    return p, left + right - p @ change @ p


_stacked_eigh = _stacked(_eigh)
_stacked_eigvalsh = _stacked(_eigvalsh)
_stacked_solve = _stacked(_solve)
_stacked_lower = _stacked(_solve_lower)
_stacked_lower_transposed = _stacked(_solve_lower_transposed)
_stacked_cholesky = _stacked(_cholesky)
_stacked_qr = _stacked(_qr)
_stacked_svd = _stacked(_svd_of)


@functools.cache
def _stacked_pinv(rtol: float):
    return _stacked(functools.partial(_pinv, rtol=rtol))


def eigh(a) -> tuple:
    """Eigenvalues (..., n), ascending, and eigenvectors (..., n, n), in columns, of
    symmetric matrices.

    >>> print(eigh(jnp.diag(jnp.array([3.0, 1.0])))[0])
    [1. 3.]
    """
    return _stacked_eigh(a)


def eigvalsh(a) -> jax.Array:
    """Eigenvalues (..., n), ascending, of symmetric matrices."""
    return _stacked_eigvalsh(a)


def top_of_product(a, h) -> jax.Array:
    """The largest eigenvalue (...,) of a^{1/2} h a^{1/2}, for symmetric h and positive
    semidefinite a; for positive semidefinite h that of h^{1/2} a h^{1/2} as well.

    Its first derivative, of l.(a h) r / l.r with the vectors held fixed, is that of a
    simple eigenvalue; higher ones are not right.

    >>> print(top_of_product(jnp.diag(jnp.array([2.0, 1.0])), jnp.diag(jnp.array([1.0, 3.0]))))
    3.0
    """
    a = jnp.asarray(a)
    h = jnp.asarray(h)
    frozen = jax.lax.stop_gradient(a)
    values, vectors = eigh(frozen)
    sizes = jnp.sqrt(jnp.maximum(values, 0.0))
    root = vectors * sizes[..., None, :]
    curvature = jax.lax.stop_gradient(h)
    within = _transposed(root) @ curvature @ root
    largest, turned = eigh(within)
    right = root @ turned[..., -1:]
    left = curvature @ right
    norm = jnp.sum(left * right, (-2, -1))
    present = norm != 0
    onward = a @ (h @ right)
    product = jnp.sum(left * onward, (-2, -1))
    quotient = product / jnp.where(present, norm, 1.0)
    return jnp.where(present, quotient, largest[..., -1])


def solve(a, b) -> jax.Array:
    """x with a x = b; b a vector (n,), or matrices (..., n, k)."""
    a = jnp.asarray(a)
    b = jnp.asarray(b)
    if b.ndim == 1:
        column = jnp.broadcast_to(b, a.shape[:-1])[..., None]
        return solve(a, column)[..., 0]
    leading = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = jnp.broadcast_to(a, leading + a.shape[-2:])
    b = jnp.broadcast_to(b, leading + b.shape[-2:])
    return _stacked_solve(a, b)


def solve_lower(a, b, transposed: bool = False) -> jax.Array:
    """x with a x = b, or a^T x = b, for lower triangular matrices a (..., n, n); b has
    the same axes before its last two.
    """
    solve_them = _stacked_lower_transposed if transposed else _stacked_lower
    return solve_them(a, b)


def cholesky(a) -> jax.Array:
    """Lower triangular L with a = L L^T."""
    return _stacked_cholesky(a)


def qr(a) -> tuple:
    """Orthonormal columns Q and upper triangular R with a = Q R; its derivative is for
    matrices with at least as many rows as columns.
    """
    return _stacked_qr(a)


def svd(a) -> tuple:
    """U, singular values, descending, and V^T, without what belongs to no singular
    value. It has no derivative.
    """
    return _stacked_svd(jax.lax.stop_gradient(a))


def singular_values(a) -> jax.Array:
    """Descending, with derivatives: eigenvalues of [[0, a], [a^T, 0]]."""
    *_, m, n = a.shape
    ahead = jnp.zeros((*a.shape[:-1], m), a.dtype)
    behind = jnp.zeros((*a.shape[:-2], n, n), a.dtype)
    upper = jnp.concatenate([ahead, a], -1)
    lower = jnp.concatenate([_transposed(a), behind], -1)
    values = eigvalsh(jnp.concatenate([upper, lower], -2))
    largest_first = values[..., ::-1]
    return jnp.maximum(largest_first[..., : min(m, n)], 0.0)


def pinv(a, rtol: float | None = None) -> jax.Array:
    """Pseudo-inverse; singular values below `rtol` of the largest count as zero (10
    max(m, n) times the rounding, if not given).
    """
    a = jnp.asarray(a)
    if rtol is None:
        rounding = float(jnp.finfo(a.dtype).eps)
        rtol = 10.0 * max(a.shape[-2:]) * rounding
    return _stacked_pinv(rtol)(a)
