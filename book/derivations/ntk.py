"""Chapter 9: the kernel of a network with one hidden layer, as a pencil; its bulk, its
edge, and what leaves it.
"""

import functools
import itertools

import numpy as np
import sympy as sp
from scipy.optimize import brentq
from sympy import symbols

import dmftlib as dm
from dmftlib.simulations import deep_linear as simulations
from dmftlib.spectra import pencil as library

from .contract import Contract
from .gradient_descent import alpha, nu
from .spikes import sigma, theta

x, z = symbols("x z", positive=True)
a0, a1 = symbols("a_0 a_1", positive=True)
m, xi = symbols("mhat xhat", real=True)  # the known part of M and of X in one direction
known = symbols(
    "iota_1:5", nonnegative=True
)  # 1 where the direction was queried: of X left and right, M right, left


def kernel():
    """What the pencil says of a: eliminating e and b gives (X S_0 X^T - z) a. X and M
    do not commute.
    """
    X, XT, M, MT, a = sp.symbols("X X^T M M^T a", commutative=False)
    b0 = XT * a
    b1 = M * b0
    e1 = a1 * b1
    e0 = a0 * b0 + MT * e1
    return sp.expand(X * e0 - z * a)


_dims = (2, 3, 3)  # D and N of a network of two hidden layers, all of it in letters
_weights = [
    sp.Matrix(rows, columns, symbols(f"W{l}_:{rows}:{columns}"))
    for l, (columns, rows) in enumerate(itertools.pairwise(_dims))
]
_readout = sp.Matrix(_dims[-1], 1, symbols("w_:3"))
_signals = [
    sp.Matrix(size, 1, symbols(f"h{l}_:{size}")) for l, size in enumerate(_dims)
]


def gradient_gram(layer):
    """The kernel at one sample as a function of its signal in a layer, from there up:
    D gamma^2 times the squares of the derivatives by all weights.
    """
    signal, fan_in = _signals[layer], _dims
    for W, inputs in zip(_weights[layer:], fan_in[layer:], strict=False):
        signal = W * signal / sp.sqrt(inputs)
    output = (_readout.T * signal)[0] / sp.sqrt(fan_in[-1])  # gamma f
    trained = [*_readout, *itertools.chain(*_weights[layer:])]
    return fan_in[0] * sum(sp.diff(output, weight) ** 2 for weight in trained)


def sent_back(layer):
    """S_l: the matrix of that quadratic form."""
    return sp.hessian(gradient_gram(layer), list(_signals[layer])) / 2


@functools.cache
def bulk():
    """z as a function of x = -s_e of space 1: each space's two equations with its
    self-energies, solved in turn.
    """
    s_b, s_e, g_P = symbols(
        "s_b s_e g_P"
    )  # of space 0, and the response of the samples
    g1 = sp.Matrix([[a1, -1], [-1, x]]).inv()
    g0 = sp.Matrix([[a0 - s_b, -1], [-1, -s_e]]).inv()
    (back,) = sp.solve(
        s_b - sigma**2 * nu * g1[1, 1], s_b
    )  # M^T after M: what space 1 sends down
    (up,) = sp.solve(-x - sigma**2 * g0[0, 0], s_e)  # M after M^T
    heard = (g0[1, 1]).subs(s_e, up).subs(s_b, back)
    response = (up / alpha).subs(s_b, back)  # s_e = alpha g_P
    (value,) = sp.solve(response * (-z - heard) - 1, z)
    return sp.simplify(value), sp.simplify(a0 - back)


def sigma_0():
    return bulk()[1]


@functools.cache
def edge():
    """The sample ratio that puts the edge at x, and the edge there: dz/dx = 0 is linear
    in alpha.
    """
    slope = sp.diff(bulk()[0], x)
    (ratio,) = sp.solve(sp.numer(sp.together(slope)), alpha)
    return ratio, sp.simplify((bulk()[0] / alpha).subs(alpha, ratio))


@functools.cache
def lazy_edge():
    """At the start a_0 = sigma^2, a_1 = 1/nu; then infinite width."""
    wide = sp.limit(bulk()[0].subs({a0: sigma**2, a1: 1 / nu}), nu, sp.oo)
    (where,) = sp.solve(sp.diff(wide, x), x)
    root = symbols("r", positive=True)  # of alpha
    return sp.factor(
        sp.simplify((wide.subs(x, where) / alpha).subs(alpha, root**2))
    ).subs(root, sp.sqrt(alpha))


def pencil_on_known():
    """The 5 x 5 pencil (a, b_0, e_0, b_1, e_1) on one known direction of each space; a
    queried direction has no self-energy.
    """
    value, s0 = bulk()
    eps0 = sp.simplify(x / (sigma**2 + s0 * x))
    y0 = sp.simplify(s0 / (1 - s0 * eps0))
    p1, p2, p3, p4 = known
    return sp.Matrix(
        [
            [-value + y0 * (1 - p1), 0, xi, 0, 0],
            [0, a0 + (s0 - a0) * (1 - p3), -1, 0, m],
            [xi, -1, eps0 * (1 - p2), 0, 0],
            [0, 0, 0, a1, -1],
            [0, m, 0, -1, x * (1 - p4)],
        ]
    )


@functools.cache
def escape_matrix():
    """Minus the Schur complement of a, b_0, b_1: N on (e_0, e_1)."""
    T = pencil_on_known()
    first, second = [0, 1, 3], [2, 4]
    A, B, C = (
        T.extract(first, first),
        T.extract(first, second),
        T.extract(second, second),
    )
    return -(C - B.T * A.inv() * B)


@functools.cache
def planted_mode():
    """A spike of strength theta in M, planted independently of M and X: the x of its
    mode, and its z.
    """
    N = escape_matrix().subs(dict.fromkeys(known, 0)).subs({xi: 0, m: theta})
    (where,) = [
        root for root in sp.solve(sp.numer(sp.factor(N.det())), x) if root.has(theta)
    ]
    return sp.factor(where), sp.factor(sp.simplify(bulk()[0].subs(x, where)))


# ---------------------------------------------------------------- contracts

_letters = (x, a0, a1, nu, alpha, sigma)


def _draw(rng):
    """x below 1/a_1."""
    a, b, nu_, alpha_, sigma_ = np.exp(rng.uniform(-0.7, 0.7, 5))
    return rng.uniform(0.05, 0.9) / b, a, b, nu_, alpha_, sigma_


def _chain(x_, a, b, nu_, alpha_, sigma_):
    return library.Chain(x_, np.array([a, b]), np.array([nu_, alpha_]), sigma_**2)


def _draw_known(rng):
    return (*_draw(rng), *rng.normal(size=2), *rng.integers(0, 2, 4).astype(float))


def _escape_matrix(*values):
    parameters, (m_, xi_, *flags) = values[:6], values[6:]
    one = [np.array([[value]]) for value in (m_, xi_, *flags)]
    chain = _chain(*parameters)
    return library.escape_matrix(
        chain,
        np.array(parameters[1:3]),
        [one[0]],
        one[1],
        [one[5], one[2]],
        [one[4], one[3]],
    )


def _planted(theta_, a, b, nu_, alpha_, sigma_):
    """The root of the library's matrix below 1/a_1, for a planted direction in M and
    nothing known of X.
    """

    def determinant(x_):
        return np.linalg.det(
            _escape_matrix(
                x_, a, b, nu_, alpha_, sigma_, theta_, 0.0, 0.0, 0.0, 0.0, 0.0
            )
        )

    return _chain(
        brentq(determinant, 1e-6 / b, (1 - 1e-9) / b, xtol=1e-14),
        a,
        b,
        nu_,
        alpha_,
        sigma_,
    ).z


def _solved_edge(x_, nu_, sigma_):
    ratio = float(_ratio(x_, nu_, sigma_))
    a, aspects = np.array([[sigma_**2], [1 / nu_]]), np.array([nu_, ratio])
    return (
        library.Chain(library.find_edge(a, aspects, sigma_**2), a, aspects, sigma_**2).z
        / ratio
    )


_start = {a0: sigma**2, a1: 1 / nu}
_ratio = sp.lambdify((x, nu, sigma), edge()[0].subs(_start))


def _draw_edge(rng):
    """An x below the one that infinitely many samples have."""
    while True:
        nu_, sigma_ = np.exp(rng.uniform(-0.7, 0.7, 2))
        x_ = rng.uniform(0.05, 0.8) * nu_
        if 0.1 < _ratio(x_, nu_, sigma_) < 30:
            return x_, nu_, sigma_


def _lazy(alpha_, sigma_):
    net = dm.DeepLinear(
        hidden_layers=1,
        width_ratio=1e9,
        sample_ratio=alpha_,
        init_variance=sigma_**2,
        learning_rate=0.1,
        steps=0,
        parameterization="ntk",
    )
    return dm.solve(net).ntk.edge[0]


_letters_of_one = (*_signals[0], *itertools.chain(*_weights), *_readout)


def _kernel_of_one(*values):
    """The library's kernel of a network with these weights, at one sample."""
    x_, first, second, w_ = np.split(np.array(values), np.cumsum([2, 6, 9]))
    weights = (first.reshape(1, 3, 2), second.reshape(1, 3, 3), w_[None])
    return simulations.ntk_eigenvalues(weights, x_[None, None])


BESIDES = "kernels of simulated networks (`experiments/ntk.py`)"

CONTRACTS = [
    Contract(
        "eq-ntk-recursion",
        gradient_gram(0),
        _letters_of_one,
        _kernel_of_one,
        lambda rng: rng.normal(size=len(_letters_of_one)),
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-ntk-bulk",
        bulk()[0],
        _letters,
        lambda *values: _chain(*values).z,
        _draw,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-ntk-edge",
        edge()[1].subs(_start),
        (x, nu, sigma),
        _solved_edge,
        _draw_edge,
        1e-8,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-ntk-lazy",
        lazy_edge(),
        (alpha, sigma),
        _lazy,
        lambda rng: np.exp(rng.uniform(-0.7, 0.7, 2)),
        1e-3,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-ntk-outlier",
        escape_matrix(),
        (*_letters, m, xi, *known),
        _escape_matrix,
        _draw_known,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-ntk-planted",
        planted_mode()[1],
        (theta, a0, a1, nu, alpha, sigma),
        _planted,
        lambda rng: np.exp(rng.uniform(-0.7, 0.7, 6)),
        1e-8,
        standing="premise typed",
        besides=BESIDES,
    ),
]
