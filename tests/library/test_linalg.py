"""Linear algebra in groups: the numbers and derivatives of `jnp.linalg`, whatever the
groups, and no call that could wait for threads.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dmftlib import linalg

RNG = np.random.default_rng(0)
SQUARE = RNG.normal(size=(3, 2, 5, 5))
POSITIVE = SQUARE @ SQUARE.swapaxes(-1, -2) + np.eye(5)
TALL = RNG.normal(size=(3, 2, 6, 4))
RIGHT = jnp.asarray(RNG.normal(size=(5, 2)))
WEIGHTS = jnp.asarray(RNG.normal(size=6))


def of_eigh(library, a):
    values, vectors = library.eigh(a)
    return values @ WEIGHTS[:5] + vectors[..., 0] ** 2 @ WEIGHTS[:5]


def of_qr(library, a):
    q, r = library.qr(a)
    return q[..., -1] @ WEIGHTS + r[..., 0, :] @ WEIGHTS[:4]


def of_lower(library, a, transposed=False):
    lower = jnp.tril(a)
    right = jnp.broadcast_to(RIGHT, (*a.shape[:-1], 2))
    if library is linalg:
        found = linalg.solve_lower(lower, right, transposed)
    else:
        found = jax.scipy.linalg.solve_triangular(
            lower, right, lower=True, trans=int(transposed)
        )
    return found[..., 1] @ WEIGHTS[:5]


FUNCTIONS = {
    "eigh": (of_eigh, POSITIVE),
    "eigvalsh": (lambda library, a: library.eigvalsh(a) @ WEIGHTS[:5], POSITIVE),
    "solve": (lambda library, a: library.solve(a, RIGHT)[..., 1] @ WEIGHTS[:5], SQUARE),
    "vector": (
        lambda library, a: library.solve(a, RIGHT[:, 0]) @ WEIGHTS[:5],
        SQUARE,
    ),
    "lower": (of_lower, POSITIVE),
    "lower, transposed": (functools.partial(of_lower, transposed=True), POSITIVE),
    "cholesky": (
        lambda library, a: library.cholesky(a)[..., -1, :] @ WEIGHTS[:5],
        POSITIVE,
    ),
    "qr": (of_qr, TALL),
    "pinv": (lambda library, a: library.pinv(a)[..., 0, :] @ WEIGHTS, TALL),
}


@pytest.fixture
def group(monkeypatch):
    """Groups of two matrices at most."""
    monkeypatch.setattr(linalg, "_AT_ONCE", 300)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numbers_and_derivatives_are_those_of_jax(name, group):
    function, a = FUNCTIONS[name]

    def ours(a):
        return function(linalg, a)

    def theirs(a):
        return function(jnp.linalg, a)

    each = jax.vmap(jax.vmap(ours))
    right = theirs(a)
    for found in (ours(a), each(a), jax.jit(each)(a)):
        np.testing.assert_allclose(found, right, rtol=1e-12)
    slopes = jax.vmap(jax.vmap(jax.grad(theirs)))(a)
    np.testing.assert_allclose(
        jax.grad(lambda a: each(a).sum())(a), slopes, rtol=1e-10, atol=1e-10
    )
    one, along = jnp.asarray(a[0, 0]), jnp.asarray(a[1, 1])
    second = jax.jvp(jax.grad(theirs), (one,), (along,))[1]
    found = jax.jvp(jax.grad(ours), (one,), (along,))[1]
    np.testing.assert_allclose(found, second, rtol=1e-8, atol=1e-8)


def test_singular_vectors_are_those_of_jax(group):
    left, sizes, right = linalg.svd(TALL)
    np.testing.assert_allclose((left * sizes[..., None, :]) @ right, TALL, atol=1e-12)
    np.testing.assert_allclose(sizes, np.linalg.svd(TALL, compute_uv=False), rtol=1e-12)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
def test_singular_values_and_their_derivatives_are_those_of_jax(shape):
    a = jnp.asarray(np.random.default_rng(1).normal(size=(4, *shape)))

    def theirs(a):
        return jnp.linalg.svd(a, compute_uv=False)

    np.testing.assert_allclose(linalg.singular_values(a), theirs(a), rtol=1e-12)
    slopes = jax.jacfwd(linalg.singular_values)(a)
    np.testing.assert_allclose(slopes, jax.jacfwd(theirs)(a), atol=1e-10)
    assert not linalg.singular_values(jnp.zeros(shape)).any()


def test_equal_eigenvalues_have_finite_derivatives():
    slopes = jax.grad(lambda a: linalg.eigh(a)[0].sum())(jnp.eye(3))
    np.testing.assert_allclose(slopes, np.eye(3), atol=1e-15)
    turning = jax.grad(lambda a: linalg.eigh(a)[1][0, 0])(jnp.eye(3))
    assert np.isfinite(turning).all()


def test_no_call_takes_so_much_that_it_would_wait_for_threads():
    """In the compiled program of eigenproblems under two `vmap`s, every call of LAPACK
    is of few enough matrices: 5 n^3 operations each, below 200,000 together.
    """
    n = 12
    a = jnp.asarray(np.eye(n) + np.zeros((20, 30, n, n)))
    program = jax.jit(jax.vmap(jax.vmap(linalg.eigh))).lower(a).as_text()
    calls = re.findall(r"custom_call @lapack_dsyevd_ffi.*?tensor<(\d+)x(\d+)x", program)
    assert calls and all(int(size) * 5 * n**3 < 200_000 for size, _ in calls)
    plain = jax.jit(jax.vmap(jax.vmap(jnp.linalg.eigh))).lower(a).as_text()
    ((size, _, _),) = re.findall(
        r"custom_call @lapack_dsyevd_ffi.*?tensor<(\d+)x(\d+)x(\d+)x", plain
    )
    assert int(size) * 30 * 5 * n**3 > 200_000  # what `jnp.linalg` would do


def test_no_matrix_at_all_is_no_fault():
    none = jnp.zeros((0, 3, 3))
    values, vectors = jax.vmap(linalg.eigh)(none)
    assert (values.shape, vectors.shape) == ((0, 3), (0, 3, 3))
    over_none = jax.vmap(jax.vmap(linalg.solve, (0, None)), (None, 0))
    assert over_none(none, jnp.zeros((2, 3))).shape == (2, 0, 3)
