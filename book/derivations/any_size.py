"""Chapter 6: a Gaussian matrix of any size, by the numbers that it is asked for.

What lies outside the directions seen is a chi; two questions say how a mean falls short
of its limit; and the smallest matrix that is not a number becomes a triangle.
"""

import numpy as np
import sympy as sp
from scipy.special import roots_genlaguerre

from dmftlib.simulations import leading_noise, questions

from .contract import Contract
from .spikes import c, sigma

n, k, m = sp.symbols("n k m", positive=True)
x, y, z, s, t = sp.symbols("x y z s t", real=True)
a, b, d, e = sp.symbols("a b d e", real=True)
Normal = sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)


def average(expression, over=x):
    """The mean over a normal number."""
    density = Normal.subs(x, over)
    integral = sp.integrate(expression * density, (over, -sp.oo, sp.oo))
    return sp.simplify(integral)


def chi_moment(power, order):
    """The mean of |z|^(2 power) for z of `order` normal coordinates: E exp(-s |z|^2) is
    that of one coordinate to the power `order`.
    """
    rate = sp.Symbol("s", positive=True)
    one = average(sp.exp(-rate * x**2))
    generating = one**order
    moment = (-1) ** power * sp.diff(generating, rate, power)
    return sp.factor(sp.simplify(moment.subs(rate, 0)))


def news():
    """Mean and variance of the squared length, outside k directions, of a fresh vector
    with n entries of variance sigma^2.
    """
    mean = sigma**2 * chi_moment(1, n - k)
    square = sigma**4 * chi_moment(2, n - k)
    return sp.Matrix([sp.factor(mean), sp.factor(square - mean**2)])


def echo():
    """|M^T M v|^2 in the mean, for a unit v and n = c m rows. M v = r u has the length
    r = sigma chi_n/sqrt(m), along a direction u never seen. M^T u is known along v,
    where it is r; outside v it has the length sigma chi_(m-1)/sqrt(m). So the square is
    r^2 (r^2 + sigma^2 chi_(m-1)^2/m).
    """
    first = chi_moment(2, n)
    second = chi_moment(1, n) * chi_moment(1, m - 1)
    mean = sigma**4 / m**2 * (first + second)
    mean = sp.expand(mean.subs(n, c * m))
    return sp.collect(mean, 1 / m)


def turned():
    """The matrix [[a, b], [d, e]] in a basis whose first vector is (a, d): the first
    column becomes a length, the second the vector (b', e').
    """
    length = sp.sqrt(a**2 + d**2)
    rotation = sp.Matrix([[a, d], [-d, a]]) / length
    return sp.simplify(rotation * sp.Matrix([[a, b], [d, e]]))


def second_column():
    """E exp(i s b' + i t e') over b and e, at given a and d: that of two independent
    normal numbers, whatever a and d are.
    """
    exponent = s * turned()[0, 1] + t * turned()[1, 1]
    along_b = sp.diff(exponent, b)
    along_e = sp.diff(exponent, e)
    wave = sp.Symbol("omega", real=True)
    one = average(sp.exp(sp.I * wave * x))
    return sp.simplify(one.subs(wave, along_b) * one.subs(wave, along_e))


def squares():
    """The squared singular values of [[x, y], [0, z]], larger first."""
    triangle = sp.Matrix([[x, y], [0, z]])
    total = sp.trace(triangle.T * triangle)
    product = triangle.det() ** 2
    root = sp.sqrt(total**2 - 4 * product)
    return sp.Matrix([(total + root) / 2, (total - root) / 2])


def squares_of_entries():
    """The same of [[a, b], [d, e]], from its entries, by the characteristic equation."""
    matrix = sp.Matrix([[a, b], [d, e]])
    unknown = sp.Symbol("lambda")
    equation = (matrix.T * matrix).charpoly(unknown).as_expr()
    roots = sp.solve(equation, unknown)
    return sp.Matrix(sorted(roots, key=lambda r: -_at_a_point(r)))


def _at_a_point(expression):
    return float(expression.subs({a: 1.0, b: 0.3, d: -0.4, e: 0.7}))


def _over_chi(order, points=2):
    """Values of chi^2 and weights, exact for polynomials of degree 2 points - 1."""
    nodes, weights = roots_genlaguerre(points, order / 2 - 1)
    return 2 * nodes, weights / weights.sum()


def _space(dimension, seen):
    return questions.Space(np.asarray(float(dimension)), np.asarray(seen))


def _draw(square, room):
    """Nothing on the directions there is room for, that square outside."""
    return questions.Draw(np.zeros(room), np.asarray(square))


def _news_of_library(n_, k_, sigma_):
    """Mean and variance by quadrature over the squared length that the library is
    given.
    """
    room = 4
    nothing = np.zeros((0, room))
    values, weights = _over_chi(n_ - k_)
    found = []
    for square in values:
        drawn = questions.fresh(_draw(square, room), _space(n_, 0), nothing)
        found.append(sigma_**2 * np.sum(np.asarray(drawn.vector) ** 2))
    mean = weights @ np.array(found)
    return mean, weights @ (np.array(found) - mean) ** 2


def _echo_of_library(sigma_, c_, m_):
    """The mean of |M^T M v|^2, by quadrature over the two numbers drawn."""
    n_ = c_ * m_
    total = 0.0
    for first, weight in zip(*_over_chi(n_), strict=True):
        for second, other in zip(*_over_chi(m_ - 1), strict=True):
            total += weight * other * _asked(sigma_, n_, m_, first, second)
    return total


def _asked(sigma_, n_, m_, first, second):
    room = 3
    side = questions.Side.unasked(1, room, room)
    deviation = np.asarray(sigma_ / np.sqrt(m_))
    matrix = questions.Matrix(deviation, side, side, 1, 0)
    spaces = (_space(m_, 1), _space(n_, 0))
    known = questions.Known(spaces, (matrix,))
    v = np.eye(room)[0]
    forward = known.forward(_draw(first, room), 0, v)
    back = forward.known.backward(_draw(second, room), 0, forward.image)
    return float(np.sum(np.asarray(back.image) ** 2))


def _smallest_of_library(a_, b_, d_, e_):
    """The library's bidiagonal form, the transpose of the turned matrix."""
    length = np.hypot(a_, d_)
    beside = (a_ * b_ + d_ * e_) / length
    below = (a_ * e_ - b_ * d_) / length
    values = leading_noise.largest(np.array([length, beside, below]), 2)
    return values**2


def _draw_sizes(rng):
    sigma_, c_ = np.exp(rng.uniform(-0.7, 0.7, 2))
    return sigma_, c_, rng.integers(2, 40)


def _draw_news(rng):
    k_ = rng.integers(0, 4)
    return k_ + rng.integers(1, 50), k_, np.exp(rng.uniform(-0.7, 0.7))


BESIDES = "dense matrices of small sizes, law against law (`experiments/any_size.py`)"

CONTRACTS = [
    Contract(
        "eq-news",
        news(),
        (n, k, sigma),
        _news_of_library,
        _draw_news,
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-echo",
        sp.Matrix([echo()]),
        (sigma, c, m),
        _echo_of_library,
        _draw_sizes,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-smallest",
        squares_of_entries(),
        (a, b, d, e),
        _smallest_of_library,
        lambda rng: tuple(rng.standard_normal(4)),
        1e-8,
        standing="derived",
        besides=BESIDES,
    ),
]
