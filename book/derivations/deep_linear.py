"""Chapter 6: what can be said in closed form of a deep linear network, whatever its
depth.

The start, the first gradient of every layer, its outlier, and the limit of infinite
width. The recursions over layers are solved here with letters;
`gradient_descent.Training` runs the same steps for one depth at a time, in another way.
"""

import functools

import numpy as np
import sympy as sp
from sympy import Symbol, sqrt, symbols

import dmftlib as dm

from . import gradient_descent as gd
from . import spikes
from .contract import Contract
from .gradient_descent import alpha, eta, gamma, noise, nu
from .spikes import c, sigma

L = symbols("L", positive=True, integer=True)
l = symbols("l", nonnegative=True, integer=True)
H0 = Symbol("H_0", positive=True)


def gradient_gram():
    """<(g^l)^2> inside the network: <w^2> = sigma^2 at the top, and each M^T multiplies
    by sigma^2.
    """
    G = sp.Function("G")
    steps_down = Symbol("k", integer=True, nonnegative=True)
    below = sp.rsolve(
        G(steps_down + 1) - sigma**2 * G(steps_down), G(steps_down), {G(0): sigma**2}
    )
    return sp.simplify(below.subs(steps_down, L - l))


def start_loss():
    """|beta - p|^2/D before training: 1 and the variance of p, whose last matrix has
    aspect nu.
    """
    square_of_g0 = nu * gradient_gram().subs(l, 0)
    return 1 + sp.simplify(square_of_g0 / (gamma * sqrt(nu)) ** 2)


def descent_square():
    """H_0 = <d^2>: d is v plus what finitely many noisy samples make of it."""
    losses = gd.least_squares(1)[1]
    eta_squared = sp.expand(losses).coeff(eta, 2)  # v - eta d
    V = start_loss()
    return sp.expand(
        V * eta_squared.subs(noise, 0) + eta_squared - eta_squared.subs(noise, 0)
    )


def first_response():
    """A_l = <dh^l/dr^l>: d hears r^0 through p; M_l h^l echoes g^{l+1}, which is
    r^{l+1} and more, with sigma^2 A_l.
    """
    A = sp.Function("A")
    return sp.simplify(
        sp.rsolve(A(l + 1) - sigma**2 * A(l), A(l), {A(0): -1 / (gamma * sqrt(nu))})
    )


def first_gram():
    """H_l = <(h^l)^2>: noise sigma^2 H_l and an echo sigma^2 A_l of g^{l+1} at each
    layer, summed up.
    """
    k = Symbol("k", integer=True, nonnegative=True)
    echo = (sigma**2 * first_response()) ** 2 * gradient_gram().subs(l, l + 1)
    gathered = sp.simplify(
        (echo / sigma ** (2 * l + 2)).subs(l, k)
    )  # H_l/sigma^(2l) grows by this at layer k
    return sp.simplify(sigma ** (2 * l) * (H0 + sp.summation(gathered, (k, 0, l - 1))))


def first_product():
    """1/(m_L m_R) at the outlier of the first spike, theta = eta gamma/sqrt(nu), from
    the condition of chapter 3.
    """
    G, H, A = symbols("G H A")
    Q = spikes.overlap_matrix(
        sp.Matrix([[G]]), sp.Matrix([[H]]), sp.zeros(1, 1), sp.Matrix([[A]])
    )
    condition = spikes.outlier_condition(Q, [[spikes.theta]])
    product = Symbol("p", positive=True)
    (value,) = sp.solve(condition.subs(spikes.m_L, product / spikes.m_R), product)
    value = (1 / value).subs(
        {
            spikes.theta: eta * gamma / sqrt(nu),
            G: gradient_gram().subs(l, l + 1),
            A: first_response(),
            H: first_gram(),
        }
    )
    return sp.factor(sp.expand(sp.powsimp(sp.expand(value))))


def first_outlier():
    """Square of the outlier of W^l after one step, in units of sigma^2, over Lambda =
    1/(sigma^2 m_L m_R).
    """
    big = Symbol("Lambda", positive=True)
    return sp.factor(spikes.position_where(1 / (sigma**2 * big)))


def first_escape():
    """Learning rate at which the first step makes an outlier: 1/(m_L m_R) = sigma^2
    sqrt(c) there.
    """
    roots = sp.solve(first_product() - sigma**2 * sqrt(c), eta)
    return [sp.simplify(root) for root in roots]


def kernel_losses():
    """Test losses after one and two steps at infinite width: least squares from
    start_loss, eta (L+1) sigma^(2L).
    """
    V = start_loss()
    losses = [
        loss.subs(eta, eta * (L + 1) * sigma ** (2 * L))
        for loss in gd.least_squares(2)[1:]
    ]
    return [
        sp.expand(V * loss.subs(noise, 0) + loss - loss.subs(noise, 0))
        for loss in losses
    ]


def typed_first_outlier():
    """(Lambda, s^2) as typed in the chapter, to be held against the derived ones."""
    big = Symbol("Lambda", positive=True)
    strength = eta * (gamma**2 * H0 + l * sigma ** (2 * L + 2) / nu) - 2 * sigma**2
    return c * eta * sigma ** (2 * L - 2) / nu * strength, sigma**2 * (1 + big) * (
        c + big
    ) / big


# ---------------------------------------------------------------- contracts

_parameters = (nu, alpha, sigma, gamma, noise, eta)


@functools.lru_cache(1)
def _solved(layers, nu_, alpha_, sigma_, gamma_, noise_, eta_, steps=1):
    return dm.solve(
        dm.DeepLinear(
            hidden_layers=layers,
            width_ratio=nu_,
            sample_ratio=alpha_,
            gamma0=gamma_,
            learning_rate=eta_,
            steps=steps,
            init_variance=sigma_**2,
            label_noise=noise_**2,
            parameterization="ntk",
        )
    )


def _draw(rng):
    return (
        *np.exp(rng.uniform(-0.7, 0.7, 4)),
        rng.uniform(0.1, 1),
        rng.uniform(0.05, 0.3),
    )


def _draw_stable(rng):
    """Small enough steps for a width of 1e9 to be infinite to six digits."""
    *_, gamma_, noise_, _ = _draw(rng)
    return (
        1.0,
        np.exp(rng.uniform(-0.7, 0.7)),
        rng.uniform(0.6, 1.0),
        gamma_,
        noise_,
        rng.uniform(0.02, 0.15),
    )


def _draw_escaped(rng):
    """A step twice to four times as long as the one that makes an outlier in the layer
    that is slowest to have one.
    """
    *rest, _ = _draw(rng)
    values = dict(zip((nu, alpha, sigma, gamma, noise), rest, strict=True))
    slowest = max(float(_escape[layer].subs(values)) for layer in (0, 1))
    return (*rest, slowest * rng.uniform(2, 4))


def _of(layers, layer, formula):
    """The formula for one layer of one depth, in the parameters of the network."""
    return formula.subs(H0, descent_square()).subs(
        {L: layers, l: layer, c: nu if layer == 0 else 1}
    )


_escape = [_of(2, layer, first_escape()[1]) for layer in (0, 1)]


def _first_positions(layers):
    Lambda = [_of(layers, layer, first_product()) / sigma**2 for layer in range(layers)]
    squares = [
        _of(layers, layer, first_outlier()).subs(Symbol("Lambda", positive=True), value)
        for layer, value in enumerate(Lambda)
    ]
    return sp.Matrix([sqrt(square) for square in squares])


BESIDES = "simulated networks (`experiments/deep_linear.py`); the library knows no recursion over layers"

CONTRACTS = [
    Contract(
        "eq-deep-start",
        sp.Matrix([start_loss().subs(L, 3)]),
        _parameters,
        lambda *x: _solved(3, *x).test_loss[0],
        _draw,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-first-response",
        sp.Matrix([_of(3, layer, first_response()) for layer in range(3)]),
        _parameters,
        lambda *x: [_solved(3, *x).responses(layer)[1][0, 0] for layer in range(3)],
        _draw,
        1e-8,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-first-gram",
        sp.Matrix([_of(3, layer, first_gram()) for layer in range(3)]),
        _parameters,
        lambda *x: [_solved(3, *x).feature_gram(layer)[0, 0] for layer in range(3)],
        _draw,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-first-outlier",
        _first_positions(2),
        _parameters,
        lambda *x: [_solved(2, *x).outliers(layer, 1).values[0] for layer in range(2)],
        _draw_escaped,
        1e-8,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-kernel-descent",
        sp.Matrix(kernel_losses()).subs(L, 2),
        _parameters,
        lambda *x: _solved(2, 1e9, *x[1:], steps=2).test_loss[1:],
        _draw_stable,
        1e-6,
        standing="premise typed",
        besides=BESIDES,
    ),
]
