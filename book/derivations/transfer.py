"""Chapter 10: how the width enters the first step, in both parameterizations, for one
hidden layer.
"""

import functools

import sympy as sp
from sympy import symbols

import dmftlib as dm

from . import deep_linear as deep
from .contract import Contract
from .gradient_descent import alpha, eta, gamma, noise, nu
from .spikes import sigma

gamma0 = symbols("gamma_0", positive=True)
PARAMETERIZATIONS = {"mup": gamma0 * sp.sqrt(nu), "ntk": gamma0}


@functools.cache
def first_share():
    """a_0 = <w^2> after one step, w + kappa h^1: h^1 is noise of square H_1, and an
    echo sigma^2 A_0 of w itself.
    """
    kappa = eta * gamma / sp.sqrt(nu)
    one = {deep.L: 1}
    H1 = deep.first_gram().subs({**one, deep.l: 1})
    echo = sigma**2 * deep.first_response().subs({**one, deep.l: 0})
    w_square = deep.gradient_gram().subs({**one, deep.l: 1})
    square = w_square + 2 * kappa * echo * w_square + kappa**2 * H1
    return sp.expand(sp.simplify(square.subs(deep.H0, deep.descent_square().subs(one))))


def in_parameterization(name):
    return sp.expand(sp.simplify(first_share().subs(gamma, PARAMETERIZATIONS[name])))


@functools.cache
def infinite_width():
    """The limits nu -> infinity in muP and in the neural tangent parameterization."""
    return sp.Matrix(
        [
            sp.factor(sp.limit(in_parameterization(name), nu, sp.oo))
            for name in PARAMETERIZATIONS
        ]
    )


def approach():
    """The coefficients of 1/nu in both."""
    inverse = symbols("r", positive=True)
    return sp.Matrix(
        [
            sp.expand(in_parameterization(name).subs(nu, 1 / inverse)).coeff(inverse, 1)
            for name in PARAMETERIZATIONS
        ]
    )


def _share(name, nu_, alpha_, sigma_, gamma_, noise_, eta_):
    net = dm.DeepLinear(
        hidden_layers=1,
        width_ratio=nu_,
        sample_ratio=alpha_,
        gamma0=gamma_,
        learning_rate=eta_,
        steps=1,
        init_variance=sigma_**2,
        label_noise=noise_**2,
        parameterization=name,
    )
    return dm.solve(net).gradient_gram(1)[1, 1]


_letters = (alpha, sigma, gamma0, noise, eta)

BESIDES = "simulated networks (`experiments/transfer.py`)"

CONTRACTS = [
    Contract(
        "eq-transfer-share",
        first_share(),
        (nu, alpha, sigma, gamma, noise, eta),
        lambda *values: _share("ntk", *values),
        deep._draw,
        1e-9,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-transfer-limit",
        infinite_width(),
        _letters,
        lambda *values: [_share(name, 1e9, *values) for name in PARAMETERIZATIONS],
        lambda rng: deep._draw(rng)[1:],
        1e-6,
        standing="premise typed",
        besides=BESIDES,
    ),
]
