"""Chapter 14: Muon. An odd polynomial of a matrix acts on its singular values alone, and
of a sum of few products of vectors it is another such sum.

Products of matrices are multiplied out as words, with letters that do not commute;
wherever a word has a vector's transposed beside a vector, there is a Gram.
"""

import functools

import jax.numpy as jnp
import numpy as np
import sympy as sp
from sympy import Matrix, MatrixSymbol, symbols

from dmftlib.history import WeightHistory
from dmftlib.spectra.outliers import outliers_by_step
from dmftlib.training.muon import MuonDescent, orthogonalised

from .contract import Contract
from .gradient_descent import eta
from .spikes import sigma, theta

USUAL = (
    sp.Rational(34445, 10**4),
    sp.Rational(-4775, 10**3),
    sp.Rational(20315, 10**4),
)
TIMES = 5  # Newton-Schulz steps

a_1, a_3, a_5 = symbols("a_1 a_3 a_5", real=True)
x, p_5 = symbols("x p_5", positive=True)
n, m = symbols("n m", integer=True, positive=True)
left, right = MatrixSymbol("g", n, 2), MatrixSymbol("h", m, 2)
G, H, Theta = (MatrixSymbol(name, 2, 2) for name in ("G", "H", "Theta"))


# ---------------------------------------------------------------- sums of spikes


def in_grams(word):
    """A product that begins with g and ends with h^T, without these two, and with the
    Grams in the place of g^T g and h^T h.
    """
    rest = list(sp.MatMul(*word).doit().args)
    first, last = rest.pop(0), rest.pop()
    if (first, last) != (left, right.T):
        raise ArithmeticError("not between g and h^T")
    found = []
    while rest:
        if rest[:2] == [left.T, left]:
            found, rest = [*found, G], rest[2:]
        elif rest[:2] == [right.T, right]:
            found, rest = [*found, H], rest[2:]
        else:
            found.append(rest.pop(0))
    return sp.MatMul(*found).doit()


def strengths():
    """A step takes g Theta h^T to g (...) h^T: what stands for Theta, in Grams."""
    spikes = [left, Theta, right.T]
    back = [right, Theta.T, left.T]
    once = in_grams(spikes)
    thrice = in_grams([*spikes, *back, *spikes])
    five = in_grams([*spikes, *back, *spikes, *back, *spikes])
    return once, thrice, five


def of_two_spikes():
    """The matrix that takes the place of Theta, entry by entry."""
    once, thrice, five = (word.subs(entries()).doit() for word in strengths())
    return Matrix(a_1 * once + a_3 * thrice + a_5 * five)


def between():
    """Theta H Theta^T G, which every further factor repeats."""
    return Matrix((Theta * H * Theta.T * G).subs(entries()).doit())


def entries():
    """What the letters stand for where there are two spikes."""
    return {Theta: Matrix(2, 2, STRENGTHS), G: _symmetric(*GS), H: _symmetric(*HS)}


def _symmetric(first, mixed, second):
    return Matrix([[first, mixed], [mixed, second]])


STRENGTHS = symbols("theta_11 theta_12 theta_21 theta_22", real=True)
GS = symbols("G_11 G_12 G_22", real=True)
HS = symbols("H_11 H_12 H_22", real=True)


# ---------------------------------------------------------------- singular values


def of_singular_values():
    """What stands for the strengths where g and h are singular vectors: no Grams but 1,
    and no strengths but the singular values.
    """
    one = dict(zip((*GS, *HS), (1, 0, 1) * 2, strict=True))
    s_1, s_2 = symbols("s_1 s_2", positive=True)
    alone = dict(zip(STRENGTHS, (s_1, 0, 0, s_2), strict=True))
    return of_two_spikes().subs(one | alone)


def polynomial():
    """One step as a function of a singular value."""
    first = of_singular_values()[0, 0]
    return sp.expand(first.subs(symbols("s_1", positive=True), x))


@functools.cache
def usual(times=TIMES):
    """The usual polynomial, as often as it is applied."""
    once = polynomial().subs(dict(zip((a_1, a_3, a_5), USUAL, strict=True)))
    found = x
    for _ in range(times):
        found = once.subs(x, found)
    return found


def value_at_one():
    """What five steps make of the one singular value of a matrix of rank one."""
    return usual().subs(x, 1)


def slope_at_zero():
    """By how much five steps multiply a small singular value."""
    return usual(1).coeff(x, 1) ** TIMES


# ---------------------------------------------------------------- the first step


def first_outlier():
    """Of a square matrix after one step on one sample: a spike of strength eta p_5
    between strangers, by the formula of Chapter 3.
    """
    strength = eta * p_5
    return (theta + sigma**2 / theta).subs(theta, strength)


def first_rate():
    """The rate from which on it is outside: where it is at the edge."""
    (least,) = sp.solve(sp.diff(first_outlier(), eta), eta)
    return least


# ---------------------------------------------------------------- contracts

_FIVE = (tuple(map(float, USUAL)),) * TIMES


def _of_large(*values):
    """The same of large matrices: vectors with the Grams, and the library's polynomial
    of their product, which it divides by its norm.
    """
    strengths_, grams, odd = values[:4], (values[4:7], values[7:10]), values[10:]
    rng = np.random.default_rng(0)
    vectors = []
    for size, entries in zip((7, 5), grams, strict=True):
        gram = np.array(_symmetric(*entries), float)
        bases, _ = np.linalg.qr(rng.normal(size=(size, 2)))
        vectors.append(bases @ np.linalg.cholesky(gram).T)
    U, V = vectors
    X = U @ np.reshape(strengths_, (2, 2)) @ V.T
    length = np.linalg.norm(X)
    coefficients = tuple(a * length**k for a, k in zip(odd, (1, 3, 5), strict=True))
    moved = orthogonalised(jnp.asarray(X), (coefficients,))
    return np.linalg.pinv(U) @ moved @ np.linalg.pinv(V).T


def _draw_two(rng):
    factors = rng.normal(size=(2, 2, 3))
    grams = [each @ each.T / 3 + 0.1 * np.eye(2) for each in factors]
    entries = [gram[np.triu_indices(2)] for gram in grams]
    return *rng.normal(size=4), *np.concatenate(entries), *_draw_odd(rng)


def _draw_odd(rng):
    return rng.uniform(2, 4), rng.uniform(-5, -3), rng.uniform(1, 3)


def _of_one_value(x_, *odd):
    rest = np.sqrt(1 - x_**2)
    return orthogonalised(jnp.diag(jnp.array([x_, rest])), (odd,))[0, 0]


def _draw_value(rng):
    return rng.uniform(0.02, 0.98), *_draw_odd(rng)


def _first_outlier(eta_, sigma_):
    """By the optimiser of the library, whatever the size of the gradient."""
    numbers = (jnp.asarray(z) for z in ([eta_], 0.0, 0.0, 1.0))
    moved = MuonDescent(*numbers, _FIVE).path(jnp.full((1, 1, 1), 37.0))
    history = WeightHistory(
        aspect=jnp.asarray(1.0),
        variance=jnp.asarray(sigma_**2),
        core=jnp.zeros((1, 1)),
        left_beyond=jnp.full((1, 1), sigma_**2),
        right_beyond=jnp.full((1, 1), sigma_**2),
        left_queries=jnp.ones((1, 1)),
        right_queries=jnp.ones((1, 1)),
        scale=moved.scale,
        increments=moved.increments,
    )
    return outliers_by_step(history, 1).values[0]


def _draw_first(rng):
    sigma_ = rng.uniform(0.2, 1.5)
    return sigma_ * rng.uniform(1.6, 4.0), sigma_


CONTRACTS = [
    Contract(
        "eq-muon-values",
        polynomial(),
        (x, a_1, a_3, a_5),
        _of_one_value,
        _draw_value,
        standing="derived",
        besides="singular values of dense updates, in the tests of the library",
    ),
    Contract(
        "eq-muon-grams",
        of_two_spikes(),
        (*STRENGTHS, *GS, *HS, a_1, a_3, a_5),
        _of_large,
        _draw_two,
        1e-9,
        standing="derived",
        besides="dense networks that Muon trains on raw weights",
    ),
    Contract(
        "eq-muon-first",
        first_outlier().subs(p_5, value_at_one()),
        (eta, sigma),
        _first_outlier,
        _draw_first,
        1e-8,
        standing="derived",
        besides="dense networks that Muon trains on raw weights",
    ),
]
