"""The rectangular law against quadrature, exact moments, its defining equations and simulated matrices."""

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
    """Over the law, by adaptive quadrature in the angle that removes the square roots at the edges."""
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
    # E tr (M0 M0^T)^k / min(n, m) by Wick contraction: polynomials of Narayana in the aspect
    c = aspect
    narayana = [1, 1 + c, 1 + 3 * c + c**2, 1 + 6 * c + 6 * c**2 + c**3]
    for k, polynomial in enumerate(narayana, start=1):
        expected = variance**k * polynomial * max(1.0, c)  # n/min(n, m) times the average over n rows
        assert_allclose(average(law, lambda x, k=k: x ** (2 * k)), expected, rtol=1e-8)


@pytest.mark.parametrize("aspect", ASPECTS)
def test_first_four_moments_of_the_singular_values_match_a_finite_matrix(aspect):
    n, m = (round(400 * min(1, aspect)), round(400 * min(1, 1 / aspect)))
    rng = np.random.default_rng(1)
    draws = [np.linalg.svd(rng.standard_normal((n, m)) / np.sqrt(m), compute_uv=False) for _ in range(20)]
    law = dm.rectangular_law(n / m, 1.0)
    for k in (1, 2, 3, 4):
        means = np.array([np.mean(x**k) for x in draws])
        bias = 3 / min(n, m) * means.mean()  # real matrices have corrections of order 1/n
        assert abs(means.mean() - average(law, lambda x, k=k: x**k)) < 4 * means.std() / np.sqrt(20) + bias


@pytest.mark.parametrize("aspect", ASPECTS)
def test_cdf_is_the_integral_of_the_density(aspect):
    law = dm.rectangular_law(aspect, 0.6)
    low, high = (float(edge) for edge in law.edges[0])
    for x in np.linspace(low, high, 9)[1:-1]:
        assert_allclose(float(law.cdf(x)), quad(lambda y: float(law.density(y)), low, x, limit=400)[0], atol=1e-7)
    assert float(law.cdf(low * 0.99)) == 0 and float(law.cdf(high)) == 1 and float(law.cdf(high * 2)) == 1


@settings(deadline=None, max_examples=60)
@given(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(1.001, 30), st.floats(0.05, 3))
def test_symmetrised_transforms_solve_the_cavity_equations(aspect, variance, beyond, height):
    law = dm.rectangular_law(aspect, variance)
    high = float(law.edges[0][1])
    for s in (high * beyond, -high * beyond, high * (0.3 + 1j * height), high * (-0.3 - 1j * height)):
        m_L, m_R = law.m_left(s), law.m_right(s)
        assert_allclose(m_L * (s - variance * m_R), 1, rtol=1e-10)
        assert_allclose(m_R * (s - variance * aspect * m_L), 1, rtol=1e-10)
        assert abs(m_L * s) < 1 + 1 / max(beyond**2 - 1, 1e-3) + 1e3 / height**2  # the branch that decays
        if np.iscomplexobj(s):
            assert np.sign(complex(m_L).imag) == -np.sign(s.imag)


@pytest.mark.parametrize("aspect", ASPECTS)
def test_stieltjes_is_the_average_of_one_over_z_minus_x(aspect):
    law = dm.rectangular_law(aspect, 2.3)
    high = float(law.edges[0][1])
    for z in (1.02 * high + 0j, -0.7 * high + 0j, 0.6 * high + 0.4j, -0.1 * high - 0.2j, 0.3j):
        real, imaginary = (average(law, lambda x, z=z, p=part: getattr(1 / (z - x), p)) for part in ("real", "imag"))
        expected = real + 1j * imaginary
        assert_allclose(complex(law.stieltjes(z)), expected, rtol=1e-7)


def test_gap_below_the_bulk_and_atoms():
    law = dm.rectangular_law(0.25, 1.0)
    rng = np.random.default_rng(2)
    M = rng.standard_normal((250, 1000)) / np.sqrt(1000)
    s = 0.2  # inside the gap (0, 0.5)
    assert_allclose(law.m_left(s), np.trace(np.linalg.inv(s**2 * np.eye(250) - M @ M.T)) * s / 250, rtol=0.01)
    assert_allclose(law.m_right(s), np.trace(np.linalg.inv(s**2 * np.eye(1000) - M.T @ M)) * s / 1000, rtol=0.01)
    assert_allclose(law.m_right(1e-6) * 1e-6, law.right_atom, rtol=1e-6)
    assert float(law.left_atom) == 0 and float(dm.rectangular_law(4.0, 1.0).left_atom) == 0.75


def test_jit_grad_vmap():
    edge = jax.grad(lambda v: dm.rectangular_law(0.5, v).edges[0][1])(2.0)
    assert_allclose(edge, (1 + np.sqrt(0.5)) / 2 / np.sqrt(2), rtol=1e-12)
    values = jax.jit(jax.vmap(lambda c: dm.rectangular_law(c, 1.0).m_left(5.0)))(np.array([0.1, 1.0, 2.0]))
    assert np.all(np.isfinite(values)) and np.all(np.diff(values) > 0)


@pytest.mark.parametrize(
    "aspect, variance, name",
    [(0, 1, "aspect"), (-1, 1, "aspect"), (np.nan, 1, "aspect"), ("1", 1, "aspect"), (np.inf, 1, "aspect"),
     (1, -0.1, "variance"), (1, 0, "variance"), (1, [1, 2], "variance"), (1, None, "variance"), (1, True, "variance")],
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
    """With respect to the point and the variance: zero outside the bulk, and inside by scale, s f(s/sigma)/sigma."""
    law = dm.rectangular_law(aspect, 1.3)
    low, high = map(float, law.edges[0])
    for what in ("density", "cdf"):
        slopes = jax.grad(lambda x, v, what=what: getattr(dm.rectangular_law(aspect, v), what)(x), (0, 1))
        for x in (0.5 * low, 1.1 * high, 2.5 * high):
            if not low <= x <= high:
                assert slopes(x, 1.3) == (0, 0)
        x = 0.4 * low + 0.6 * high
        by_point, by_variance = slopes(x, 1.3)
        assert_allclose(by_variance, -(x * by_point + (law.density(x) if what == "density" else 0)) / 2.6, rtol=1e-10)
    assert_allclose(by_point, law.density(x), rtol=1e-10)
