"""The rectangular law against quadrature, exact moments, its defining equations and
simulated matrices.
"""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import quad

import dmftlib as dm

ASPECTS = [0.01, 0.1, 0.5, 0.99, 1.0, 1.01, 2.0, 10.0, 100.0]


def average(law, function):
    """Over the law, by adaptive quadrature in the angle that removes the square roots
    at the edges.
    """
    (low, high) = (float(edge) for edge in law.edges[0])

    def integrand(angle):
        x = (low + high) / 2 - (high - low) / 2 * np.cos(angle)
        return float(law.density(x)) * function(x) * (high - low) / 2 * np.sin(angle)

    return quad(integrand, 0, np.pi, limit=400, epsabs=1e-12)[0]


@pytest.mark.parametrize("aspect", ASPECTS)
def test_normalisation_and_first_four_moments(aspect):
    variance = 1.7
    law = dm.rectangular_law(aspect, variance)
    assert law.atoms == ()
    assert_allclose(average(law, lambda x: 1.0), 1, rtol=1e-9)
    # E tr (M0 M0^T)^k / min(n, m) by Wick contraction: polynomials of Narayana in the
    # aspect
    c = aspect
    narayana = [1, 1 + c, 1 + 3 * c + c**2, 1 + 6 * c + 6 * c**2 + c**3]
    for k, polynomial in enumerate(narayana, start=1):
        expected = (
            variance**k * polynomial * max(1.0, c)
        )  # n/min(n, m) times the average over n rows
        assert_allclose(average(law, lambda x, k=k: x ** (2 * k)), expected, rtol=1e-8)


@pytest.mark.parametrize("aspect", ASPECTS)
def test_first_four_moments_of_the_singular_values_match_a_finite_matrix(aspect):
    n, m = (round(400 * min(1, aspect)), round(400 * min(1, 1 / aspect)))
    rng = np.random.default_rng(1)
    draws = [
        np.linalg.svd(rng.standard_normal((n, m)) / np.sqrt(m), compute_uv=False)
        for _ in range(20)
    ]
    law = dm.rectangular_law(n / m, 1.0)
    for k in (1, 2, 3, 4):
        means = np.array([np.mean(x**k) for x in draws])
        bias = (
            3 / min(n, m) * means.mean()
        )  # real matrices have corrections of order 1/n
        assert (
            abs(means.mean() - average(law, lambda x, k=k: x**k))
            < 4 * means.std() / np.sqrt(20) + bias
        )


@pytest.mark.parametrize("aspect", ASPECTS)
def test_cdf_is_the_integral_of_the_density(aspect):
    law = dm.rectangular_law(aspect, 0.6)
    low, high = (float(edge) for edge in law.edges[0])
    for x in np.linspace(low, high, 9)[1:-1]:
        assert_allclose(
            float(law.cdf(x)),
            quad(lambda y: float(law.density(y)), low, x, limit=400)[0],
            atol=1e-7,
        )
    assert (
        float(law.cdf(low * 0.99)) == 0
        and float(law.cdf(high)) == 1
        and float(law.cdf(high * 2)) == 1
    )


@settings(deadline=None, max_examples=60)
@given(
    st.floats(0.01, 100), st.floats(0.01, 100), st.floats(1.001, 30), st.floats(0.05, 3)
)
def test_symmetrised_transforms_solve_the_cavity_equations(
    aspect, variance, beyond, height
):
    law = dm.rectangular_law(aspect, variance)
    high = float(law.edges[0][1])
    for s in (
        high * beyond,
        -high * beyond,
        high * (0.3 + 1j * height),
        high * (-0.3 - 1j * height),
    ):
        m_L, m_R = law.m_left(s), law.m_right(s)
        assert_allclose(m_L * (s - variance * m_R), 1, rtol=1e-10)
        assert_allclose(m_R * (s - variance * aspect * m_L), 1, rtol=1e-10)
        assert (
            abs(m_L * s) < 1 + 1 / max(beyond**2 - 1, 1e-3) + 1e3 / height**2
        )  # the branch that decays
        if np.iscomplexobj(s):
            assert np.sign(complex(m_L).imag) == -np.sign(s.imag)


@pytest.mark.parametrize("aspect", ASPECTS)
def test_stieltjes_is_the_average_of_one_over_z_minus_x(aspect):
    law = dm.rectangular_law(aspect, 2.3)
    high = float(law.edges[0][1])
    for z in (
        1.02 * high + 0j,
        -0.7 * high + 0j,
        0.6 * high + 0.4j,
        -0.1 * high - 0.2j,
        0.3j,
    ):
        real, imaginary = (
            average(law, lambda x, z=z, p=part: getattr(1 / (z - x), p))
            for part in ("real", "imag")
        )
        expected = real + 1j * imaginary
        assert_allclose(complex(law.stieltjes(z)), expected, rtol=1e-7)


def test_gap_below_the_bulk_and_atoms():
    law = dm.rectangular_law(0.25, 1.0)
    rng = np.random.default_rng(2)
    M = rng.standard_normal((250, 1000)) / np.sqrt(1000)
    s = 0.2  # inside the gap (0, 0.5)
    assert_allclose(
        law.m_left(s),
        np.trace(np.linalg.inv(s**2 * np.eye(250) - M @ M.T)) * s / 250,
        rtol=0.01,
    )
    assert_allclose(
        law.m_right(s),
        np.trace(np.linalg.inv(s**2 * np.eye(1000) - M.T @ M)) * s / 1000,
        rtol=0.01,
    )
    assert_allclose(law.m_right(1e-6) * 1e-6, law.right_atom, rtol=1e-6)
    assert (
        float(law.left_atom) == 0
        and float(dm.rectangular_law(4.0, 1.0).left_atom) == 0.75
    )


def test_jit_grad_vmap():
    edge = jax.grad(lambda v: dm.rectangular_law(0.5, v).edges[0][1])(2.0)
    assert_allclose(edge, (1 + np.sqrt(0.5)) / 2 / np.sqrt(2), rtol=1e-12)
    values = jax.jit(jax.vmap(lambda c: dm.rectangular_law(c, 1.0).m_left(5.0)))(
        np.array([0.1, 1.0, 2.0])
    )
    assert np.all(np.isfinite(values)) and np.all(np.diff(values) > 0)


@pytest.mark.parametrize(
    "aspect, variance, name",
    [
        (0, 1, "aspect"),
        (-1, 1, "aspect"),
        (np.nan, 1, "aspect"),
        ("1", 1, "aspect"),
        (np.inf, 1, "aspect"),
        (1, -0.1, "variance"),
        (1, 0, "variance"),
        (1, [1, 2], "variance"),
        (1, None, "variance"),
        (1, True, "variance"),
    ],
)
def test_bad_parameters_are_refused_by_name(aspect, variance, name):
    with pytest.raises(ValueError, match=f"^{name}: got .*needed: "):
        dm.rectangular_law(aspect, variance)


def test_points_inside_the_bulk_are_refused():
    law = dm.rectangular_law(0.25, 1.0)
    for transform in (law.m_left, law.m_right, law.stieltjes):
        with pytest.raises(ValueError, match=r"off the bulk \[0.5, 1.5\]"):
            transform(np.array([2.0, 1.0]))


@pytest.mark.parametrize("aspect", [0.3, 1.0, 3.0])
def test_derivatives_of_the_law(aspect):
    """With respect to the point and the variance: zero outside the bulk, and inside by
    scale, s f(s/sigma)/sigma.
    """
    law = dm.rectangular_law(aspect, 1.3)
    low, high = map(float, law.edges[0])
    for what in ("density", "cdf"):
        slopes = jax.grad(
            lambda x, v, what=what: getattr(dm.rectangular_law(aspect, v), what)(x),
            (0, 1),
        )
        for x in (0.5 * low, 1.1 * high, 2.5 * high):
            if not low <= x <= high:
                assert slopes(x, 1.3) == (0, 0)
        x = 0.4 * low + 0.6 * high
        by_point, by_variance = slopes(x, 1.3)
        assert_allclose(
            by_variance,
            -(x * by_point + (law.density(x) if what == "density" else 0)) / 2.6,
            rtol=1e-10,
        )
    assert_allclose(by_point, law.density(x), rtol=1e-10)


@pytest.mark.parametrize("aspect", [1e-12, 1e12])
def test_far_from_square_the_law_is_a_semicircle(aspect):
    """To first order in q, the square root of the smaller aspect, with the centre moved
    by q/(3 pi): in closed form, where differences of large numbers would leave nothing.
    """
    law = dm.rectangular_law(aspect, 1.0)
    centre, q = max(1.0, aspect) ** 0.5, 1e-6
    u = np.linspace(-0.95, 0.95, 9)
    semicircle = 0.5 + (u * np.sqrt(1 - u**2) + np.arcsin(u)) / np.pi
    assert_allclose(law.cdf(centre * (1 + q * u)), semicircle, atol=1e-6)
    height = 2 / np.pi * np.sqrt(1 - u**2) / (centre * q)
    assert_allclose(law.density(centre * (1 + q * u)), height, rtol=1e-5)
    assert_allclose(law.cdf(centre), 0.5 + q / (3 * np.pi), atol=1e-9)
    smaller = law.m_left if aspect < 1 else law.m_right
    assert_allclose(smaller(3 * centre), 3 / (9 - 1) / centre, rtol=1e-5)


def test_edges_keep_their_order_where_they_are_one_number():
    law = dm.rectangular_law(10.0**36.375, 1.0)
    low, high = law.edges[0]
    assert low <= high
    # and their digits where the matrix is all but square: sqrt(1 + x) - 1 = x/2
    almost = dm.rectangular_law(1 + 2.0**-40, 1.0)
    assert_allclose(almost.edges[0][0], 2.0**-41, rtol=1e-11)


def test_a_square_matrix_has_a_density_at_zero():
    for variance in (1.0, 2.5):
        law = dm.rectangular_law(1.0, variance)
        expected = 2 / np.pi / np.sqrt(variance)
        assert_allclose(law.density(0.0), expected, rtol=1e-14)
        assert_allclose(law.density(1e-9), expected, rtol=1e-12)
    assert float(dm.rectangular_law(1.0 + 1e-9, 1.0).density(0.0)) == 0


@pytest.mark.parametrize("aspect", [0.05, 0.0899, 0.0901, 0.7, 1.0, 1.4, 30.0])
def test_cdf_and_its_slope_agree_on_both_sides_of_the_switch_of_formulas(aspect):
    law = dm.rectangular_law(aspect, 0.8)
    low, high = (float(edge) for edge in law.edges[0])
    x = np.linspace(low, high, 7)[1:-1]
    slope = jax.vmap(jax.grad(law.cdf))(x)
    assert_allclose(slope, law.density(x), rtol=1e-10)
    for by in (lambda c: c, lambda c: 1 / c):  # in the aspect, by differences
        near = [dm.rectangular_law(by(aspect) * (1 + h), 1.0) for h in (-1e-6, 1e-6)]
        y = 0.5 * sum(float(edge) for edge in near[0].edges[0])
        difference = float(near[1].cdf(y) - near[0].cdf(y)) / 2e-6
        gradient = jax.grad(lambda c, y=y: dm.rectangular_law(c, 1.0).cdf(y))(
            by(aspect)
        )
        assert_allclose(gradient * by(aspect), difference, rtol=1e-5, atol=1e-9)


LAWS = {
    "rectangular": lambda: dm.rectangular_law(0.3, 2.0),
    "square": lambda: dm.rectangular_law(1.0, 1.0),
    "wide": lambda: dm.rectangular_law(1e-12, 1.0),
    "two bands and an atom": lambda: dm.generalised_mp([1.0, 20.0], [0.5, 0.5], 0.5),
    "two bands of singular values": lambda: dm.extensive_spikes(1.0, 1.0, [5.0], [0.3]),
    "an atom alone": lambda: trained_readout(0),
    "an atom at the end of a band": lambda: trained_readout(3),
}


def trained_readout(step):
    net = dm.WideOutput(
        output_ratio=0.25,
        input_ratio=0.5,
        learning_rate=0.1,
        steps=3,
        train_readout=True,
    )
    return dm.solve(net).bulk(0, step)


@pytest.mark.parametrize("name", LAWS)
def test_quantiles_are_the_inverse_of_the_distribution_function(name):
    law = LAWS[name]()
    q = np.linspace(0.01, 0.99, 25)
    x = np.asarray(law.ppf(q))
    below = (
        np.asarray(law.cdf(x - 1e-9 * np.maximum(np.abs(x), 1e-3)))
        if "wide" not in name
        else q
    )
    assert (np.asarray(law.cdf(x)) >= q - 1e-8).all() and (below <= q + 1e-8).all()
    assert (np.diff(x) >= 0).all()
    ends = [float(x) for band in law.edges for x in band] + [a for a, _ in law.atoms]
    assert_allclose(law.ppf([0.0, 1.0]), [min(ends), max(ends)], atol=1e-12)
    assert_allclose(law.upper_end, max(ends))


def test_quantiles_of_a_square_matrix_in_closed_form():
    """x = 2 sin(theta/2) has cdf (theta + sin theta)/pi."""
    theta = np.linspace(0.1, 3.0, 9)
    law = dm.rectangular_law(1.0, 4.0)
    x = law.ppf((theta + np.sin(theta)) / np.pi)
    assert_allclose(x, 4 * np.sin(theta / 2), rtol=1e-12)


@pytest.mark.slow
def test_a_sample_has_the_law_it_was_drawn_from():
    law = dm.generalised_mp([1.0, 20.0], [0.5, 0.5], 0.5)
    drawn = np.asarray(law.sample(4000, seed=1))
    assert abs((drawn == 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)
    # E x = aspect E tau
    assert abs(drawn.mean() - 5.25) < 4 * drawn.std() / np.sqrt(4000)
    np.testing.assert_array_equal(drawn, law.sample(4000, seed=1))
    assert (np.asarray(law.sample(4000, seed=2)) != drawn).any()


def test_methods_of_a_law_can_be_compiled():
    law = dm.rectangular_law(0.5, 1.0)
    assert_allclose(jax.jit(law.density)(1.0), law.density(1.0), rtol=1e-12)
    assert_allclose(jax.jit(law.cdf)(1.0), law.cdf(1.0), rtol=1e-12)
    assert hash(law) == hash(dm.rectangular_law(0.5, 1.0))


@pytest.mark.parametrize(
    "method, turned",
    [
        *((name, 1.0) for name in ("density", "cdf", "stieltjes", "m_left", "m_right")),
        *((name, 1 + 0.5j) for name in ("stieltjes", "m_left", "m_right")),
    ],
)
def test_numbers_of_points_share_a_program(compiled, method, turned):
    """And those that fill up to it change nothing."""
    law = dm.rectangular_law(0.3, 2.0)
    ask = getattr(law, method)
    x = np.linspace(2.5, 4.0, 31) * turned
    first = ask(x)
    compiled.clear()
    fewer = ask(x[:20])
    shaped = ask(x[:30].reshape(2, 5, 3))
    assert not compiled
    np.testing.assert_array_equal(fewer, first[:20])
    np.testing.assert_array_equal(shaped.ravel(), first[:30])
    assert first.dtype == x.dtype
    traced = jax.jit(lambda law, x: getattr(law, method)(x))(law, x)
    assert_allclose(first, traced, rtol=1e-13)


def test_what_has_no_quantile_is_refused():
    law = dm.rectangular_law(0.5, 1.0)
    for bad in (1.1, -0.1, [0.5, 2.0]):
        with pytest.raises(ValueError, match="^q: got .*needed: "):
            law.ppf(bad)
    with pytest.raises(ValueError, match="^q: got traced"):
        jax.grad(law.ppf)(0.5)
    for bad in (0, 1.5, "a"):
        with pytest.raises(ValueError, match="^n: got .*needed: "):
            law.sample(bad)
