"""Outliers: exact limits in both forms, agreement of the forms, simulated matrices,
derivatives, and refusals.
"""

import contextlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivations.spikes import tanh_chain
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import dmftlib as dm
from dmftlib.spectra.outliers import effective_matrix
from tests.reference import outliers as oracle

both_forms = pytest.mark.parametrize("form", ["response", "conditioning"])


def in_form(ensemble, form):
    return ensemble if form == "response" else ensemble.history()


def benaych_georges_nadakuditi(aspect, variance, theta):
    """Singular value and squared overlaps for M0 + theta u v^T, unit u and v
    independent of M0 (their Theorem 2.9).
    """
    c, t = aspect, theta / np.sqrt(variance)
    if t <= c**0.25:
        return None
    position = np.sqrt(variance * (1 + t**2) * (c + t**2)) / t
    return (
        position,
        1 - c * (1 + t**2) / (t**2 * (t**2 + c)),
        1 - (c + t**2) / (t**2 * (t**2 + 1)),
    )


def test_outliers_of_an_exact_theory_have_no_standard_error():
    ensemble = dm.SpikedEnsemble(
        aspect=1.0,
        variance=1.0,
        left_gram=[[1.0]],
        right_gram=[[1.0]],
        strengths=[[2.0]],
    )
    found = dm.outliers(ensemble)
    with pytest.raises(AttributeError, match="nothing was sampled"):
        found.standard_error  # noqa: B018


@both_forms
@settings(deadline=None, max_examples=40)
@given(st.floats(0.05, 20), st.floats(0.05, 20), st.floats(0.5, 4), st.floats(0.1, 10))
def test_independent_spike_is_benaych_georges_nadakuditi(
    form, aspect, variance, relative, norm
):
    theta = relative * np.sqrt(variance) * aspect**0.25
    if abs(relative - 1) < 1e-3:
        return
    ensemble = dm.SpikedEnsemble(
        aspect=aspect,
        variance=variance,
        left_gram=[[norm]],
        right_gram=[[1.0]],
        strengths=[[theta / np.sqrt(aspect * norm)]],
    )
    found, expected = (
        dm.outliers(in_form(ensemble, form)),
        benaych_georges_nadakuditi(aspect, variance, theta),
    )
    if expected is None:
        assert found.values.shape == (0,)
    else:
        ours = (found.values[0], found.left_overlap[0, 0], found.right_overlap[0, 0])
        assert_allclose(ours, expected, rtol=1e-10, atol=1e-10)


def spiked_covariance(aspect, variance, theta):
    """M0 + theta (M0 v) v^T with unit v: the population covariance of the rows has one
    eigenvalue (1 + theta)^2.
    """
    return dm.SpikedEnsemble(
        aspect=aspect,
        variance=variance,
        left_gram=[[variance]],
        right_gram=[[1.0]],
        left_response=[[1.0]],
        strengths=[[theta]],
    )


@both_forms
@settings(deadline=None, max_examples=40)
@given(st.floats(0.05, 20), st.floats(0.05, 20), st.floats(0.3, 4))
def test_spike_along_M_v_is_spiked_covariance(form, aspect, variance, theta):
    """Baik-Silverstein position and Paul's overlap: ell outlies iff ell > 1 +
    sqrt(gamma), gamma = m/n.
    """
    ell, gamma = (1 + theta) ** 2, 1 / aspect
    found = dm.outliers(in_form(spiked_covariance(aspect, variance, theta), form))
    if abs(ell - 1 - np.sqrt(gamma)) < 1e-3:
        return
    if ell < 1 + np.sqrt(gamma):
        assert found.values.shape == (0,)
        return
    position = np.sqrt(
        variance * aspect * ell * (1 + gamma / (ell - 1))
    )  # entries of variance/m, n rows
    overlap = (1 - gamma / (ell - 1) ** 2) / (1 + gamma / (ell - 1))
    assert_allclose(found.values[0], position, rtol=1e-10)
    assert_allclose(found.right_overlap[0, 0], overlap, rtol=1e-10, atol=1e-10)


@both_forms
def test_square_spiked_covariance_escapes_at_sqrt2_minus_1_where_the_independent_formula_says_1(
    form,
):
    threshold = np.sqrt(2) - 1
    for theta, escaped in ((threshold - 1e-4, 0), (threshold + 1e-4, 1)):
        assert (
            len(dm.outliers(in_form(spiked_covariance(1.0, 1.0, theta), form)).values)
            == escaped
        )
    for theta, escaped in ((1 - 1e-4, 0), (1 + 1e-4, 1)):
        assert (
            len(
                dm.outliers(
                    in_form(spiked_covariance(1.0, 1.0, theta).independent(), form)
                ).values
            )
            == escaped
        )


def causal_ensemble(rng, queries=3, independent_part=1.0):
    """A realisable ensemble: g_j = sum B_jk (M0 h_k)-innovations + own part, h_k = sum
    A_kj r_j + own part, in turn.
    """
    c, v = np.exp(rng.uniform(-1.5, 1.5, 2))
    own_g, own_h = (
        independent_part * np.cov(rng.standard_normal((queries, 6 * queries)))
        for _ in range(2)
    )
    B = np.tril(rng.standard_normal((queries, queries))) / np.sqrt(queries)
    A = np.tril(rng.standard_normal((queries, queries)), -1) / np.sqrt(queries)
    G, H = own_g, own_h
    for _ in range(2 * queries):
        G, H = v * B @ H @ B.T + own_g, v * c * A @ G @ A.T + own_h
    scale = np.sqrt(np.sqrt(c) / v / np.trace(G) / np.trace(H)) * queries
    return dict(
        aspect=c,
        variance=v,
        left_gram=(G + G.T) / 2,
        right_gram=(H + H.T) / 2,
        left_response=B,
        right_response=A,
        strengths=rng.uniform(0.3, 3)
        * rng.standard_normal((queries, queries))
        * v
        * scale,
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_the_solver_agrees_with_the_response_form(seed):
    """The superseded solver looks for the crossings of Q^{1/2} J Q^{1/2} in s: it
    shares nothing with the solver but the theory.
    """
    given = causal_ensemble(np.random.default_rng(seed))
    ours = dm.outliers(dm.SpikedEnsemble(**given))
    theirs = oracle.outliers(oracle.SpikedEnsemble(**given))
    assert ours.values.shape == theirs.values.shape
    for one, other in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        assert_allclose(one, other, rtol=1e-8, atol=1e-8)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_overlap_matrix_is_symmetric_positive_and_eigenvalues_fall(seed):
    ensemble = dm.SpikedEnsemble(**causal_ensemble(np.random.default_rng(seed)))
    edge = float(ensemble.law.edges[0][1])
    history = ensemble.history()

    def shares(s):
        return np.linalg.eigvalsh(effective_matrix(history, s))[::-1] / s

    for form in (lambda s: ensemble.crossings(s).values, shares):
        values = np.array([form(s)[:3] for s in edge * np.array([1.0, 1.1, 1.5, 3.0])])
        assert np.all(np.diff(np.where(values > 0, values, 0.0), axis=0) <= 1e-10)
    Q = ensemble.overlap_matrix(1.2 * edge)
    assert np.linalg.eigvalsh(Q)[0] > -1e-10 * np.trace(Q)


def simulated_chain(rng, n, m):
    """h_1, e fresh, g_1 = tanh(M0 h_1), h_2 = e + M0^T g_1 / 2, g_2 = M0 h_2 - g_1: all
    dependent on M0.
    """
    M0 = rng.standard_normal((n, m)) / np.sqrt(m)
    h1, e = rng.standard_normal((2, m))
    g1 = np.tanh(M0 @ h1)
    h2 = e + M0.T @ g1 / 2
    return M0, np.stack([g1, M0 @ h2 - g1], 1), np.stack([h1, h2], 1)


@pytest.mark.slow
def test_dependent_chain_against_simulated_matrices():
    n, m, strengths = 600, 400, np.array([[2.0, 1.0], [-1.0, 1.0]])
    theory = dm.outliers(tanh_chain(n / m, strengths))
    assert theory.values.shape == (2,)
    seen = []
    for seed in range(8):
        M0, U, V = simulated_chain(np.random.default_rng(seed), n, m)
        left, values, right = np.linalg.svd(M0 + U @ strengths @ V.T / m)
        seen.append(
            [
                *values[:2],
                *((left[:, 0] @ U) ** 2 / (U**2).sum(0)),
                *((right[0] @ V) ** 2 / (V**2).sum(0)),
            ]
        )
        exact = dm.outliers(dm.SpikedEnsemble.from_vectors(M0, U, V, strengths))
        assert_allclose(
            exact.values, values[:2], rtol=5e-3
        )  # this very matrix: what is left is O(1/n)
    mean, error = np.mean(seen, 0), np.std(seen, 0, ddof=1) / np.sqrt(8)
    predicted = np.concatenate(
        [theory.values, theory.left_overlap[0], theory.right_overlap[0]]
    )
    assert np.all(np.abs(mean - predicted) < 4 * error + 3 / n)
    independent = dm.outliers(tanh_chain(n / m, strengths).independent()).values[0]
    assert abs(mean[0] - independent) > 10 * error[0]


@pytest.mark.slow
def test_a_query_left_out_gives_a_wrong_outlier():
    strengths = np.array(
        [[0.0, 0.0], [0.0, 1.0]]
    )  # only g_2 h_2^T is added, but g_1 and h_1 shaped it
    M0, U, V = simulated_chain(np.random.default_rng(0), 1500, 1000)
    value = np.linalg.norm(M0 + U @ strengths @ V.T / 1000, 2)
    full = dm.outliers(dm.SpikedEnsemble.from_vectors(M0, U, V, strengths)).values[0]
    partial = dm.outliers(
        dm.SpikedEnsemble.from_vectors(M0, U[:, 1:], V[:, 1:], [[1.0]])
    ).values[0]
    assert abs(full / value - 1) < 3e-3 and abs(partial / value - 1) > 3 * abs(
        full / value - 1
    )
    limit = tanh_chain(1.5, strengths)
    with pytest.raises(ValueError, match="larger than the Grams allow"):
        dm.SpikedEnsemble(
            aspect=1.5,
            variance=1.0,
            left_gram=limit.left_gram[1:, 1:],
            strengths=[[1.0]],
            right_gram=limit.right_gram[1:, 1:],
            left_response=limit.left_response[1:, 1:],
        )


@pytest.mark.slow
def test_derivatives_match_finite_differences_and_absent_rows_have_gradient_zero():
    base = causal_ensemble(np.random.default_rng(3))

    def found(x, form):
        changed = {
            "strengths": base["strengths"] * x,
            "variance": base["variance"] / x**0.1,
            "left_gram": base["left_gram"] * x**0.3,
        }
        ensemble = dm.SpikedEnsemble(**(base | changed))
        return dm.outliers(in_form(ensemble, form), max_outliers=3)

    for form in ("response", "conditioning"):
        derivative = jax.jacrev(lambda x, form=form: found(x, form))(1.0)
        step = 1e-5
        up, down = found(1 + step, form), found(1 - step, form)
        for ours, high, low in zip(
            *map(jax.tree.leaves, (derivative, up, down)), strict=True
        ):
            difference = np.nan_to_num((high - low) / (2 * step))
            assert_allclose(ours, difference, rtol=1e-6, atol=1e-7)
        present = np.isfinite(found(1.0, form).values)
        assert 0 < present.sum() < 3
        assert np.all(np.asarray(derivative.values)[~present] == 0)


def test_jit_and_vmap_pad_with_nan():
    def top(theta):
        return dm.outliers(spiked_covariance(1.0, 1.0, theta)).values

    thetas = jnp.array([0.2, 0.6, 1.5])
    batch = jax.jit(jax.vmap(top))(thetas)
    assert batch.shape == (3, 1) and np.isnan(batch[0, 0])
    assert_allclose(batch[1:, 0], [top(0.6)[0], top(1.5)[0]], rtol=1e-12)


def test_several_outliers_degenerate_spikes_and_none():
    def independent(strengths):
        k = len(strengths)
        return dm.SpikedEnsemble(
            aspect=1.0,
            variance=1.0,
            left_gram=np.eye(k),
            right_gram=np.eye(k),
            strengths=np.diag(strengths),
        )

    expected = [benaych_georges_nadakuditi(1.0, 1.0, t)[0] for t in (3.0, 2.0, 2.0)]
    for form in ("response", "conditioning"):
        found = dm.outliers(in_form(independent([2.0, 0.5, 3.0, 2.0]), form))
        assert_allclose(found.values, expected, rtol=1e-10)
        assert np.all(np.isfinite(found.left_overlap)) and np.all(
            np.isfinite(found.right_overlap)
        )
        assert dm.outliers(in_form(independent([0.0] * 4), form)).values.shape == (0,)
    duplicated = dm.SpikedEnsemble(
        aspect=1.0,
        variance=1.0,
        left_gram=np.ones((4, 4)),
        right_gram=np.ones((4, 4)),
        strengths=np.full((4, 4), 1 / 8),
    )  # the same spike sixteen times, singular Grams
    assert_allclose(dm.outliers(duplicated).values, expected[1:2], rtol=1e-10)


@both_forms
def test_a_spike_at_the_threshold_is_no_outlier(form):
    """theta = sigma c^(1/4) to all digits: whichever way rounding goes, only the edge
    of the bulk is there.
    """
    ensembles = [
        dm.SpikedEnsemble(
            aspect=c,
            variance=v,
            left_gram=[[1.0]],
            right_gram=[[1.0]],
            strengths=[[np.sqrt(v) * c**-0.25]],
        )
        for c in np.geomspace(0.1, 8, 12)
        for v in (0.5, 1.0, 1.7)
    ]
    batch = jax.tree.map(
        lambda *x: jnp.stack(np.asarray(x, float)),
        *(in_form(e, form) for e in ensembles),
    )
    found = jax.vmap(lambda e: dm.outliers(e, max_outliers=1).values)(batch)
    assert found.shape == (36, 1) and np.isnan(found).all()


@pytest.mark.parametrize("aspect", [0.3, 1.0, 5.0])
def test_just_above_the_threshold(aspect):
    """10,000 spikes in all, from 1e-14 to 1 above it: position and overlaps in closed
    form, by the distance; nothing below the edge, no cosine above 1.
    """
    rng = np.random.default_rng(0)
    distance = np.sort(10.0 ** rng.uniform(-14, 0, 3334))
    variance = 1.7
    threshold = np.sqrt(variance) * aspect**-0.25

    def found(x):
        ensemble = dm.SpikedEnsemble(
            aspect=aspect,
            variance=variance,
            left_gram=[[1.0]],
            right_gram=[[1.0]],
            strengths=jnp.reshape(threshold * (1 + x), (1, 1)),
        )
        return dm.outliers(ensemble, max_outliers=1)

    outliers = jax.jit(jax.vmap(found))(distance)
    edge = np.sqrt(variance) * (1 + np.sqrt(aspect))
    values = np.nan_to_num(outliers.values[:, 0], nan=edge)
    assert np.isfinite(outliers.values[distance > 1e-13]).all()
    root = np.sqrt(aspect)
    t = root * (1 + distance) ** 2
    beyond = root * distance * (2 + distance)  # t - sqrt(c), to all digits
    assert_allclose(values, np.sqrt(edge**2 + variance * beyond**2 / t), rtol=2e-15)
    assert np.all(values >= edge * (1 - 1e-15)) and np.all(np.diff(values) > -1e-15)
    growth = beyond * (t + root) / t
    for overlap, expected in (
        (outliers.left_overlap, growth / (t + aspect)),
        (outliers.right_overlap, growth / (t + 1)),
    ):
        overlap = np.nan_to_num(np.asarray(overlap[:, 0, 0]))
        assert np.all((overlap >= 0) & (overlap <= 1))
        assert_allclose(overlap, expected, rtol=1e-12, atol=2e-14)


def test_the_first_digits_above_the_threshold():
    """strength 1 + 1e-8, c = 1: 2 + 1e-16, cosines 2e-8."""
    found = dm.outliers(
        dm.SpikedEnsemble(
            aspect=1.0,
            variance=1.0,
            left_gram=[[1.0]],
            right_gram=[[1.0]],
            strengths=[[1 + 1e-8]],
        )
    )
    assert found.values[0] == 2.0
    assert_allclose(found.left_overlap, [[2e-8]], rtol=1e-6)


@pytest.mark.slow
def test_derivatives_of_any_order():
    """s = theta + 1/theta and the squared cosine 1 - 1/theta^2 at theta = 2."""

    def found(theta):
        ensemble = spiked_covariance(1.0, 1.0, 1.0).independent()
        strengths = jnp.reshape(theta, (1, 1))
        return dm.outliers(
            eqx.tree_at(lambda e: e.strengths, ensemble, strengths), max_outliers=1
        )

    def value(theta):
        return found(theta).values[0]

    def cosine(theta):
        return found(theta).left_overlap[0, 0]

    for function, expected in (
        (value, (0.75, 0.25, -0.375)),
        (cosine, (0.25, -0.375, 0.75)),
    ):
        first = jax.grad(function)
        for second in (jax.grad(first), jax.jacfwd(first), jax.jacrev(first)):
            assert_allclose((first(2.0), second(2.0)), expected[:2], rtol=1e-12)
        third = jax.jit(jax.grad(jax.jacfwd(first)))
        assert_allclose(third(2.0), expected[2], rtol=1e-12)
        assert jax.grad(function)(0.9) == 0 and jax.grad(function)(1.0) == 0


def test_weights_that_decay():
    """Outliers of a M(0) + S are |a| times those of M(0) + S/a; those of S alone its
    singular values.
    """
    ensemble = spiked_covariance(0.6, 0.8, 0.9)
    whole = ensemble.history()
    for scale in (0.5, -0.4):
        history = eqx.tree_at(
            lambda h: (h.scale, h.increments),
            whole,
            (jnp.array([1.0, scale]), scale * whole.increments),
        )
        ours = dm.outliers(history)
        theirs = dm.outliers(whole)
        assert_allclose(ours.values, abs(scale) * theirs.values, rtol=1e-12)
        assert_allclose(ours.left_overlap, theirs.left_overlap, rtol=1e-12)
    nothing = eqx.tree_at(lambda h: h.scale, whole, jnp.array([1.0, 0.0]))
    found = dm.outliers(nothing)
    expected = np.linalg.svd(whole.increments[0])[1]
    assert_allclose(found.values, expected, rtol=1e-12)
    assert_allclose(found.right_overlap, [[1.0]], rtol=1e-12)


good = dict(
    aspect=1.0,
    variance=1.0,
    left_gram=np.eye(2),
    right_gram=np.eye(2),
    strengths=np.eye(2),
)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(variance=-1.0), "variance: got -1.0"),
        (dict(aspect=0), "aspect: got 0"),
        (dict(left_gram=[[1, 0], [0, -1]]), "left_gram: got a lowest eigenvalue of -1"),
        (dict(right_gram=[[1, 0.5], [0, 1]]), "right_gram: got an asymmetry"),
        (dict(left_gram=np.eye(3)), "strengths: got shape"),
        (dict(left_gram=np.ones((2, 3))), "left_gram: got shape"),
        (dict(left_gram=[1.0, 2.0]), "left_gram: got shape"),
        (
            dict(left_gram=[[np.nan, 0], [0, 1]]),
            "left_gram: got 1 entries that are NaN",
        ),
        (dict(strengths=np.eye(3)), r"strengths: got shape \(3, 3\)"),
        (dict(strengths=[[1, 2], [3]]), "strengths: got a ragged"),
        (dict(strengths="ab"), "strengths: got strings"),
        (dict(left_response=np.ones((1, 2))), "left_response: got shape"),
        (
            dict(left_response=3 * np.eye(2)),
            "left_response: got responses larger than the Grams allow",
        ),
        (
            dict(right_response=np.diag([3.0, 0])),
            "right_response: got responses larger than the Grams allow",
        ),
        (
            dict(left_response=0.5 * np.eye(2), right_response=0.5 * np.eye(2)),
            "in a circle",
        ),
    ],
)
def test_bad_ensembles_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dm.SpikedEnsemble(**{**good, **change})


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_responses_are_refused_by_their_share_of_the_gram(scale):
    """What is explained may exceed the Gram by a twentieth, in whatever units the
    queries are.
    """
    for excess, refused in ((0.03, False), (0.08, True)):
        ensemble = dict(
            aspect=1.0,
            variance=1.0,
            left_gram=[[scale]],
            right_gram=[[1.0]],
            strengths=[[0.1]],
            left_response=[[np.sqrt(scale * (1 + excess))]],
        )
        with (
            pytest.raises(ValueError, match="left_response")
            if refused
            else contextlib.nullcontext()
        ):
            dm.SpikedEnsemble(**ensemble)


def test_bad_vectors_and_calls_are_refused():
    M0, U, V = np.eye(6), np.ones((6, 1)), np.ones((6, 1))
    for arguments, message in (
        ((M0[0], U, V, [[1.0]]), "M0: got shape"),
        ((M0, U[:5], V, [[1.0]]), "U: got shape"),
        ((M0, U, V, [[1.0, 2.0]]), "strengths: got shape"),
        ((M0 * np.nan, U, V, [[1.0]]), "M0: got 36 entries that are NaN"),
        (
            (M0, np.ones((6, 6)), V, np.ones((6, 1))),
            "U: got 6 columns of length 6; needed: fewer queries",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            dm.SpikedEnsemble.from_vectors(*arguments)
    with pytest.raises(ValueError, match="ensemble: got ndarray"):
        dm.outliers(M0)
    with pytest.raises(ValueError, match="max_outliers: got 0"):
        dm.outliers(dm.SpikedEnsemble(**good), max_outliers=0)


def many_queries(strengths, aspect):
    """Sixty on each side, and spikes of these strengths between three directions."""
    rng = np.random.default_rng(0)
    grams = []
    for _ in range(2):
        vectors = rng.normal(size=(60, 80))
        grams.append(vectors @ vectors.T / 80)
    turned = [np.linalg.qr(rng.normal(size=(60, 3)))[0] for _ in range(2)]
    return dm.SpikedEnsemble(
        aspect=aspect,
        variance=1.2,
        left_gram=grams[0],
        right_gram=grams[1],
        strengths=turned[0] @ np.diag(strengths) @ turned[1].T,
    ).history()


@pytest.mark.parametrize(
    "strengths, aspect",
    [([6.0, 4.0, 2.5], 1.0), ([5.0, 3.0, 2.0], 0.3), ([5.0, 5.0, 0.4], 2.5)],
)
def test_few_outliers_of_many_queries(strengths, aspect):
    """Only the leading part of a large matrix is asked: each value is an eigenvalue of
    K(s) of its number, counted on all of it, and none is missing; with Grams that are
    not quite positive, as samples have them, too.
    """
    history = many_queries(strengths, aspect)
    noisy = eqx.tree_at(
        lambda h: h.left_beyond, history, history.left_beyond - 1e-3 * jnp.eye(60)
    )
    for one in (history, noisy):
        found = dm.outliers(one)
        edge = np.sqrt(1.2) * (1 + np.sqrt(aspect))
        at_edge = np.linalg.eigvalsh(effective_matrix(one, edge)) - edge
        assert len(found.values) == np.sum(at_edge > 0) >= 2
        for k, s in enumerate(found.values):
            values = np.linalg.eigvalsh(effective_matrix(one, float(s)))
            assert_allclose(values[-1 - k], s, rtol=1e-12)
