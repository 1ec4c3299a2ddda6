"""Restructured bulks against closed forms, polynomial roots, a second solver, and
simulated matrices.
"""

import itertools

import jax
import numpy as np
import pytest
import sympy
from numpy.testing import assert_allclose
from scipy.optimize import brentq

import dmftlib as dm
from dmftlib.spectra.push_forward import extensive_spikes, monotonic_branches
from dmftlib.spectra.resolvent import generalised_mp


def masses(law, count=300):
    """Weight of each interval by quadrature of the density, and from the distribution
    function.
    """
    angle = np.pi * (np.arange(count) + 0.5) / count
    by_density, by_cdf = [], []
    for low, high in law.edges:
        x = (low + high - (high - low) * np.cos(angle)) / 2
        by_density.append(
            float(
                (law.density(x) * np.sin(angle)).sum()
                * (high - low)
                / 2
                * np.pi
                / count
            )
        )
        by_cdf.append(
            float(law.cdf(high) - law.cdf(low * (1 - 1e-15)))
            - sum(w for at, w in law.atoms if at == low)
        )
    return np.array(by_density), np.array(by_cdf)


def random_population(rng):
    k = rng.choice([2, 3, 10, 40])
    values = np.exp(rng.normal(size=k) * rng.choice([0.1, 1, 2]))
    weights = np.maximum(rng.dirichlet(np.full(k, rng.choice([0.2, 1.0]))), 1e-6)
    return (
        values,
        weights / weights.sum(),
        rng.choice([1.0, np.exp(1.5 * rng.normal())]),
    )


def graph_root(values, loads, x):
    """v with z(v) = x on the real axis, in another way than the library's: the curve on
    which Im z = 0 is a graph q(p) over p = Re v, found by bisection, and Re z grows
    along it: bisection again.
    """

    def q(p):
        def excess(q):
            return (loads * values**2 / ((p - values) ** 2 + q**2)).sum() - 1

        top = np.sqrt((loads * values**2).sum()) * 1.001
        return 0.0 if excess(1e-14) < 0 else brentq(excess, 1e-14, top, xtol=1e-15)

    def real_part(p):
        v = p + 1j * q(p)
        return (v + v * (loads * values / (v - values)).sum()).real - x

    centre, reach = (
        x - (loads * values).sum(),
        np.sqrt((loads * values**2).sum()) * 1.001,
    )
    p = brentq(real_part, centre - reach, centre + reach, xtol=1e-15)
    return p + 1j * q(p)


@pytest.mark.parametrize("aspect", [0.05, 0.5, 1.0, 3.0])
def test_one_value_is_the_law_of_marchenko_and_pastur(aspect):
    law, values = generalised_mp([2.0], [1.0], aspect), dm.rectangular_law(aspect, 2.0)
    (low, high), (s_low, s_high) = law.edges[0], values.edges[0]
    assert_allclose([low, high], [float(s_low) ** 2, float(s_high) ** 2], atol=1e-13)
    s = np.linspace(float(s_low), float(s_high), 12)[1:-1]
    rank = min(1.0, aspect)  # of the D eigenvalues
    assert_allclose(law.density(s**2) * 2 * s, rank * values.density(s), rtol=1e-9)
    assert_allclose(law.cdf(s**2), 1 - rank + rank * values.cdf(s), rtol=1e-9)
    z = np.array([1.01 * high + 0j, 0.3 * high + 0.01j, -1.0 + 0j, 0.3 * high - 0.5j])
    s = np.sqrt(z)
    expected = (rank * values.m_left(s) if aspect <= 1 else values.m_right(s)) / s
    if aspect <= 1:
        expected = values.m_right(s) / s
    assert_allclose(law.stieltjes(z), expected, rtol=1e-9)
    assert law.atoms == (((0.0, pytest.approx(1 - aspect)),) if aspect < 1 else ())


def test_densities_integrate_to_one_with_the_atoms():
    rng = np.random.default_rng(0)
    for _ in range(8):
        law = generalised_mp(*random_population(rng))
        by_density, by_cdf = masses(law)
        assert_allclose(by_density, by_cdf, atol=2e-4)
        assert_allclose(by_cdf.sum() + sum(w for _, w in law.atoms), 1, atol=1e-9)
        assert_allclose(by_density.sum() + sum(w for _, w in law.atoms), 1, atol=2e-4)


def test_the_weight_of_a_bulk_is_that_of_the_values_that_made_it():
    values, weights, aspect = (
        np.array([1.0, 10.0, 100.0]),
        np.array([0.5, 0.3, 0.2]),
        0.4,
    )
    law = generalised_mp(values, weights, aspect)
    assert len(law.edges) == 3
    assert_allclose(masses(law)[1], aspect * weights, rtol=1e-10)
    assert law.atoms == ((0.0, pytest.approx(0.6)),)


def test_a_zero_value_only_dilutes():
    law, diluted = (
        generalised_mp([1.0, 5.0], [0.5, 0.5], 0.6),
        generalised_mp([0, 1.0, 5.0], [0.4, 0.3, 0.3], 1.0),
    )
    assert_allclose(law.edges, diluted.edges, rtol=1e-12)
    assert law.atoms == diluted.atoms


def test_roots_agree_with_a_second_solver():
    rng = np.random.default_rng(1)
    for _ in range(12):
        law = generalised_mp(*random_population(rng))
        low, high = law.edges[rng.integers(len(law.edges))]
        x = low + (high - low) * np.array([0.003, 0.4, 0.99])
        v = [graph_root(np.asarray(law.values), np.asarray(law.loads), y) for y in x]
        assert_allclose(law.density(x), -np.imag(1 / np.array(v)) / np.pi, rtol=1e-7)


def test_edges_are_all_the_critical_points_of_the_polynomial():
    v = sympy.Symbol("v")
    rng = np.random.default_rng(2)
    for _ in range(6):
        values, weights = np.sort(rng.uniform(0.2, 12, 3)), rng.dirichlet(np.ones(3))
        aspect = rng.uniform(0.05, 0.6)
        z = v + aspect * sum(
            w * t * v / (v - t) for t, w in zip(values, weights, strict=True)
        )
        roots = sympy.Poly(sympy.numer(sympy.together(sympy.diff(z, v))), v).nroots(
            n=30
        )
        real = sorted(
            float(z.subs(v, sympy.re(r))) for r in roots if abs(sympy.im(r)) < 1e-20
        )
        assert_allclose(
            np.ravel(generalised_mp(values, weights, aspect).edges), real, rtol=1e-9
        )


def test_gaps_however_narrow():
    """The gap between two values closes where the minimum of the tightness, known in
    closed form, passes one.
    """
    low, high, half = 1.0, 3.0, 0.5
    roots = (half * low**2) ** (1 / 3) + (half * high**2) ** (
        1 / 3
    )  # Hoelder: min of A/x^2 + B/(d-x)^2
    critical = (high - low) ** 2 / roots**3
    assert (
        len(generalised_mp([low, high], [half, half], critical * (1 - 1e-9)).edges) == 2
    )
    assert (
        len(generalised_mp([low, high], [half, half], critical * (1 + 1e-9)).edges) == 1
    )


@pytest.mark.parametrize("aspect", [0.4, 1.0, 2.5])
def test_extensive_spikes_without_spikes_is_the_rectangular_law(aspect):
    law, expected = (
        extensive_spikes(aspect, 1.7, [], []),
        dm.rectangular_law(aspect, 1.7),
    )
    low, high = (float(x) for x in expected.edges[0])
    assert_allclose(np.ravel(law.edges), [low, high], atol=1e-12)
    x = np.linspace(low, high, 9)[1:-1]
    assert_allclose(law.density(x), expected.density(x), rtol=1e-9)
    assert_allclose(law.cdf(x), expected.cdf(x), atol=1e-8)
    z = np.array([1.02 * high + 0j, -0.5, 0.5 * high + 0.3j, 0.2 * high - 0.3j])
    assert_allclose(law.stieltjes(z), expected.stieltjes(z), rtol=1e-9)


@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.6])
def test_gaussian_spikes_add_up_to_a_gaussian_matrix(aspect):
    signal, k = dm.rectangular_law(aspect, 0.8), 250
    angle = np.pi * (np.arange(k) + 0.5) / k
    low, high = (float(x) for x in signal.edges[0])
    strengths = (low + high - (high - low) * np.cos(angle)) / 2
    fractions = np.asarray(signal.density(strengths)) * np.sin(angle)
    law = extensive_spikes(aspect, 0.5, strengths, fractions / fractions.sum())
    expected = dm.rectangular_law(aspect, 1.3)
    low, high = (float(x) for x in expected.edges[0])
    assert_allclose(law.edges[-1][1], high, rtol=1e-6)
    x = np.linspace(low, high, 9)[1:-1]
    assert_allclose(law.density(x), expected.density(x), rtol=2e-4)


def test_square_spikes_solve_the_quartic():
    """m = (1-kappa)/(-(1+m) z) + kappa/(theta^2/(1+m) - (1+m) z), its root in the upper
    half plane.
    """
    theta, kappa = 1.5, 0.3
    law = extensive_spikes(1.0, 1.0, [theta], [kappa])
    m, z = sympy.symbols("m z")
    equation = (
        m - (1 - kappa) / (-(1 + m) * z) - kappa / (theta**2 / (1 + m) - (1 + m) * z)
    )
    quartic = sympy.Poly(sympy.numer(sympy.together(equation)), m)
    x = np.array([0.3, 1.0, 2.0, 2.6])
    roots = [sympy.Poly(quartic.as_expr().subs(z, y**2), m).nroots() for y in x]
    densities = [
        max(complex(r).imag for r in four) / np.pi * 2 * y
        for four, y in zip(roots, x, strict=True)
    ]
    assert_allclose(law.density(x), densities, rtol=1e-9)


@pytest.mark.parametrize("theta", [0.7, 1.3, 3.0])
@pytest.mark.parametrize(
    "aspect", [0.5, pytest.param(1.0, marks=pytest.mark.slow), 1.7]
)
def test_few_spikes_are_where_independent_spikes_are(aspect, theta):
    """A fraction 1e-8 of the singular values: the band closes on the outlier of one
    independent spike.
    """
    law = extensive_spikes(aspect, 1.0, [theta], [1e-8])
    one = dm.outliers(
        dm.SpikedEnsemble(
            aspect=aspect,
            variance=1.0,
            left_gram=[[1 / aspect]],
            right_gram=[[1.0]],
            strengths=[[theta]],
        )
    ).values
    assert len(law.edges) == 1 + len(one)
    if len(one):
        assert_allclose(np.mean(law.edges[-1]), one[0], rtol=1e-6)
        assert law.edges[-1][1] - law.edges[-1][0] < 1e-3


@pytest.mark.parametrize(
    "aspect, strengths, fractions",
    [(1.0, [3.0], [0.3]), (0.5, [2.0, 6.0], [0.3, 0.3]), (1.6, [2.0, 1.0], [0.5, 0.5])],
)
def test_distance_to_simulated_spikes_falls(aspect, strengths, fractions):
    law, rng, distances = (
        extensive_spikes(aspect, 1.3, strengths, fractions),
        np.random.default_rng(3),
        [],
    )
    for size, seeds in ((100, 8), (400, 4)):
        n, m = round(size * min(1, aspect)), round(size * min(1, 1 / aspect))
        k = min(n, m)
        spikes = np.repeat(strengths, [round(f * k) for f in fractions])
        values = []
        for _ in range(seeds):
            M = rng.normal(size=(n, m)) * np.sqrt(1.3 / m)
            M[np.arange(len(spikes)), np.arange(len(spikes))] += spikes
            values.append(np.sort(np.linalg.svd(M, compute_uv=False)))
        ranks = (np.arange(k) + 0.5) / k
        distances.append(
            np.mean([np.abs(np.asarray(law.cdf(x)) - ranks).max() for x in values])
        )
    assert distances[1] < 0.5 * distances[0] and distances[1] < 0.015


def test_a_restructured_bulk_is_told_from_a_population_five_percent_larger():
    rng, (n, d) = np.random.default_rng(4), (600, 400)
    tau = np.repeat([1.0, 4.0], n // 2)
    x = np.linalg.eigvalsh((Z := rng.normal(size=(n, d))).T @ (tau[:, None] * Z) / d)
    ranks = (np.arange(d) + 0.5) / d
    laws = (
        generalised_mp([scale, 4 * scale], [0.5, 0.5], n / d) for scale in (1, 1.05)
    )
    right, wrong = (np.abs(np.asarray(law.cdf(x)) - ranks).max() for law in laws)
    assert right < 0.008 < 0.015 < wrong


@pytest.mark.parametrize("aspect", [1e-12, 1e12])
def test_laws_far_from_square_agree_with_the_closed_form(aspect):
    """Fractions above a point, to nine digits, where one less the distribution function
    has none.
    """
    law = dm.rectangular_law(aspect, 1.0)
    low, high = (float(x) for x in law.edges[0])
    x = np.linspace(low, high, 7)[1:-1]
    rank = min(1.0, aspect)  # of the eigenvalues of generalised_mp
    squares = generalised_mp([1.0], [1.0], aspect)
    assert_allclose(squares.sf(x**2) / rank, law.sf(x), atol=1e-6)
    spikes = extensive_spikes(aspect, 1.0, [], [])
    assert_allclose(spikes.cdf(x), law.cdf(x), atol=1e-8)
    assert_allclose(spikes.density(x), law.density(x), rtol=1e-8)


def test_singular_values_have_a_density_at_a_hard_edge():
    spikes = extensive_spikes(1.0, 1.0, [], [])
    assert_allclose(spikes.density([0.0, 1e-5]), 2 / np.pi, rtol=1e-9)
    net = dm.WideOutput(output_ratio=0.5, input_ratio=1.0, learning_rate=0.1, steps=0)
    assert_allclose(dm.solve(net).bulk(0).density(0.0), 2 / np.pi, rtol=1e-9)


def test_traced_numbers_are_refused_in_words():
    law = extensive_spikes(1.0, 1.0, [5.0], [0.3])
    mixed = generalised_mp([1.0], [1.0], 0.5)
    for function, name in (
        (lambda a: generalised_mp([1.0], [1.0], a).edges[0][1], "aspect"),
        (lambda a: generalised_mp([a], [1.0], 1.0).edges[0][1], "values"),
        (lambda a: extensive_spikes(a, 1.0, [], []).edges[0][1], "aspect"),
        (lambda a: extensive_spikes(1.0, a, [], []).edges[0][1], "variance"),
        (lambda a: extensive_spikes(1.0, 1.0, [a], [0.3]).edges[0][1], "strengths"),
        (law.density, "x"),
        (law.cdf, "x"),
        (law.stieltjes, "z"),
        (mixed.density, "x"),
        (mixed.sf, "x"),
    ):
        with pytest.raises(ValueError, match=f"^{name}: got traced numbers"):
            jax.grad(function)(0.7)


@pytest.mark.parametrize(
    "arguments, name",
    [
        (([1.0], [1.0], 0), "aspect"),
        (([1.0, -1], [0.5, 0.5], 1), "values"),
        (([0.0], [1.0], 1), "values"),
        (([1.0, 2], [0.5, 0.4], 1), "weights"),
        (([1.0, 2], [1.5, -0.5], 1), "weights"),
        (([1.0, 2], [1.0], 1), "weights"),
        (([np.nan], [1.0], 1), "values"),
        (([], [], 1), "weights"),
        (("a", [1.0], 1), "values"),
    ],
)
def test_bad_populations_are_refused_by_name(arguments, name):
    with pytest.raises(ValueError, match=f"^{name}: got .*needed: "):
        generalised_mp(*arguments)


@pytest.mark.parametrize(
    "arguments, name",
    [
        ((0, 1, [1.0], [0.1]), "aspect"),
        ((1, -1, [1.0], [0.1]), "variance"),
        ((1, 1, [-1.0], [0.1]), "strengths"),
        ((1, 1, [1.0], [1.1]), "fractions"),
        ((1, 1, [1.0, 2], [0.1]), "fractions"),
        ((1, 1, [np.inf], [0.1]), "strengths"),
    ],
)
def test_bad_spikes_are_refused_by_name(arguments, name):
    with pytest.raises(ValueError, match=f"^{name}: got .*needed: "):
        extensive_spikes(*arguments)


def test_many_points_at_once_are_the_single_ones():
    law = extensive_spikes(1.0, 1.0, [3.0], [0.5])
    points = np.array([[8.0, 9.0, 10.0]])
    assert_allclose(
        law.stieltjes(points),
        [[float(law.stieltjes(z)) for z in points[0]]],
        rtol=1e-12,
    )


def test_points_on_the_support_are_refused():
    for law in (
        generalised_mp([1.0], [1.0], 0.5),
        extensive_spikes(1.0, 1.0, [3.0], [0.5]),
    ):
        with pytest.raises(ValueError, match="^z: got .*off the support"):
            law.stieltjes(np.mean(law.edges[0]))
    with pytest.raises(ValueError, match="^z: got 0"):
        generalised_mp([1.0], [1.0], 0.5).stieltjes(0.0)


@pytest.mark.parametrize("turns", [[0.4], [1e-5, 0.5], [0.3, 0.99999]])
def test_branches_end_at_the_turning_points(turns):
    class Image:
        def slope(self, x):
            return np.prod([x - turn for turn in turns], 0)

    ends = [0.0, *turns, 1.0]
    assert_allclose(
        monotonic_branches(Image(), 0.0, 1.0),
        list(itertools.pairwise(ends)),
        atol=1e-12,
    )
