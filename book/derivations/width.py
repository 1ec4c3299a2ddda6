"""Chapter 8: the two parameterizations across width, in closed form where there is one.

The first step at any width and its limits, the output scale at which it makes an
outlier, and, for NTK parameterization at large width, the strength of the update and
its distance from escape at any step.
"""

import functools

import jax.numpy as jnp
import numpy as np
import sympy as sp
from sympy import Symbol, sqrt

import dmftlib as dm
from dmftlib.spectra.escape import escape_margin

from . import deep_linear as dl
from . import gradient_descent as gd
from . import spikes
from .contract import Contract
from .deep_linear import H0, L, l
from .gradient_descent import alpha, eta, gamma, noise, nu
from .spikes import c, sigma

gamma0, theta = sp.symbols("gamma_0 theta", positive=True)
eta_L = Symbol("eta_L", positive=True)
SCALE = {"mup": gamma0 * sqrt(nu), "ntk": gamma0}
PRODUCT = (dl.first_product() / sigma**2).subs(
    H0, dl.descent_square()
)  # Lambda = 1/(sigma^2 m_L m_R), chapter 6


@functools.cache
def first_step(parameterization, first=False):
    """Lambda of the spike of one step as a function of width.

    It escapes above 1, and for W^0 (`first`), of aspect nu, above sqrt(nu).
    """
    value = PRODUCT.subs(gamma, SCALE[parameterization])
    return sp.simplify(value.subs({l: 0, c: nu}) if first else value.subs(c, 1))


@functools.cache
def wide_mup(first=False):
    """Limit of Lambda in muP; of Lambda/nu for W^0."""
    return sp.factor(
        sp.limit(first_step("mup", first) / (nu if first else 1), nu, sp.oo)
    )


@functools.cache
def wide_ntk(first=False):
    """Limit of nu Lambda in NTK parameterization; of Lambda itself for W^0."""
    return sp.factor(
        sp.limit(first_step("ntk", first) * (1 if first else nu), nu, sp.oo)
    )


@functools.cache
def critical_scale():
    """gamma at which the first step just makes an outlier: Lambda = sqrt(c), linear in
    gamma^2.
    """
    square = Symbol("s", positive=True)
    (value,) = sp.solve(
        sp.expand(sp.expand(PRODUCT - sqrt(c)).subs(gamma, sqrt(square))), square
    )
    return sp.sqrt(sp.simplify(value))


@functools.cache
def kernel_rate():
    """What a step of NTK parameterization adds to the predictor along d: the shares of
    the L+1 matrices, summed up.
    """
    kappa, scale = eta * gamma / sqrt(nu), 1 / (gamma * sqrt(nu))
    share = (
        scale * kappa * nu * dl.gradient_gram().subs(l, l + 1) * sigma ** (2 * l)
    )  # W^l: |g^{l+1}|^2, up and down
    return sp.simplify(sp.summation(sp.simplify(share), (l, 0, L)))


def lazy_strength(change):
    """Strength of the update of W^l, from the change |p_t - p_0|/sqrt(D) of the
    predictor.

    At large width all steps have the same g^{l+1}, and h^l is M_{l-1} ... M_0 d: the
    spikes add up to one, with the sum of the d in it, and (p_t - p_0)/kernel_rate is
    that sum.
    """
    summed = sigma ** (2 * l) * (change / kernel_rate()) ** 2  # <(sum_s h^l_s)^2>
    square = (eta * gamma / sqrt(nu)) ** 2 * dl.gradient_gram().subs(l, l + 1) * summed
    return sp.powsimp(sp.simplify(sqrt(sp.powsimp(square, force=True))), force=True)


@functools.cache
def change_of_predictor(steps):
    """|p_t - p_0|^2/D of least squares at rate eta_L from a start of mean square V:
    innovations, step by step.
    """
    world = gd.Innovations()
    X, v, epsilon = gd.Inputs(world), world.new("b", gd.ONE), world.new("e", gd._noise)
    start = v
    for _ in range(steps):
        d = X.backward(gd.combine((1, X.forward(v)), (1, epsilon)))
        v = gd.combine((1, v), (-gd._eta, d))
    moved = gd.combine((1, start), (-1, v))
    square = gd.expression(world.average(moved, moved)).subs(eta, eta_L)
    V, clean = dl.start_loss(), square.subs(noise, 0)
    return sp.expand(V * clean + sp.expand(square - clean))


def change_by_moments(steps):
    """The same from the integral over the Marchenko-Pastur law mu, as typed in the
    chapter.
    """
    x = Symbol("x")
    moments = [1] + [
        m.subs({sigma: 1, c: alpha}) / alpha**k
        for k, m in enumerate(gd.moments_of_the_bulk(2 * steps), 1)
    ]
    grown = (1 - (1 - eta_L * x) ** steps) ** 2
    integrand = sp.Poly(
        sp.expand(sp.cancel(grown * (dl.start_loss() + noise**2 / (alpha * x)))), x
    )
    return sp.expand(
        sum(coefficient * moments[k] for (k,), coefficient in integrand.terms())
    )


@functools.cache
def lazy_margin():
    """omega of one spike that does not know the matrix: det(omega (s_+ - K(s_+)) - S) =
    0, chapter 3's K with D_0 = 0.

    The bulk equations turn s - K into 1/m_L and 1/m_R. The edge is where s has its
    minimum as a function of m_L m_R.
    """
    omega, product = Symbol("omega", positive=True), Symbol("p", positive=True)
    determinant = sp.Matrix(
        [[omega / spikes.m_L, -theta], [-theta, omega / spikes.m_R]]
    ).det()
    (at_edge,) = sp.solve(sp.diff(spikes.position_where(product), product), product)
    (value,) = sp.solve(determinant.subs(spikes.m_L, product / spikes.m_R), omega)
    return sp.simplify(value.subs(product, at_edge))


# ---------------------------------------------------------------- contracts

_WIDE, _parameters = 1e10, (nu, alpha, sigma, gamma0, noise, eta)


def _network(parameterization, nu_, alpha_, sigma_, gamma_, noise_, eta_):
    return dm.DeepLinear(
        hidden_layers=2,
        width_ratio=nu_,
        sample_ratio=alpha_,
        gamma0=gamma_,
        learning_rate=eta_,
        steps=2,
        init_variance=sigma_**2,
        label_noise=noise_**2,
        parameterization=parameterization,
    )


def _draw(rng):
    """A first step 1.5 to 3 times as long as the one that makes an outlier in both
    matrices.
    """
    *rest, noise_ = *np.exp(rng.uniform(-0.7, 0.7, 4)), rng.uniform(0.1, 1)
    escape = [float(f(*rest[:3], noise_, rest[3])) for f in _first_rates]
    return *rest, noise_, max(escape) * rng.uniform(1.5, 3)


def _draw_wide(rng):
    """The same in the wide limit of muP."""
    alpha_, sigma_, gamma_, noise_ = (
        *np.exp(rng.uniform(-0.7, 0.7, 3)),
        rng.uniform(0.1, 1),
    )
    least = 1 / (sigma_ * gamma_ * np.sqrt(1 + (1 + noise_**2) / alpha_))
    return _WIDE, alpha_, sigma_, gamma_, noise_, least * rng.uniform(1.5, 3)


def _draw_stable(rng):
    return (
        _WIDE,
        *np.exp(rng.uniform((-0.5, -0.5, -0.7), (0.7, 0.0, 0.7))),
        *rng.uniform((0.1, 0.02), (1, 0.1)),
    )


def _products(parameterization, nu_, alpha_, sigma_, *rest):
    """Lambda of W^0 and W^1 after one step, from their outliers: s^2 = sigma^2 (1 +
    Lambda)(c + Lambda)/Lambda.
    """
    solution, found = (
        dm.solve(_network(parameterization, nu_, alpha_, sigma_, *rest), throw=False),
        [],
    )
    for layer, aspect in enumerate((nu_, 1.0)):
        half = ((solution.outliers(layer, 1).values[0] / sigma_) ** 2 - 1 - aspect) / 2
        found.append(half + np.sqrt(half**2 - aspect))
    return np.array(found)


def _strengths(*values):
    """sqrt(nu) times the norm of the update of W^l/sqrt(fan-in), over sqrt(aspect),
    after one step and after two.
    """
    solution, found = dm.solve(_network("ntk", *values)), []
    for t in (1, 2):
        for layer in range(2):
            history = solution.queries(layer)
            update = (
                history.rates[:t, None] * history.left_queries[:t]
            ).T @ history.right_queries[:t]
            found.append(np.sqrt(values[0]) * jnp.linalg.norm(update, 2))
    return found


def _critical(nu_, alpha_, sigma_, guess, noise_, eta_):
    """gamma0 of NTK parameterization at which W^1 has an outlier after one step."""
    return dm.critical(
        lambda gamma_: _network("ntk", nu_, alpha_, sigma_, gamma_, noise_, eta_),
        1,
        (0.7 * guess, 1.5 * guess),
        step=1,
    )


def _draw_critical(rng):
    """gamma0 near the critical one: only where the search begins."""
    nu_, alpha_, sigma_ = np.exp(rng.uniform(-0.5, 0.5, 3))
    noise_, eta_ = rng.uniform(0.1, 1), rng.uniform(0.2, 0.5) / sigma_**4
    return (
        nu_,
        alpha_,
        sigma_,
        float(_closed(nu_, alpha_, sigma_, noise_, eta_)) * rng.uniform(0.8, 1.2),
        noise_,
        eta_,
    )


def _strength(theta_, sigma_, c_):
    spiked = dm.SpikedEnsemble(
        aspect=c_,
        variance=sigma_**2,
        left_gram=[[1.0]],
        right_gram=[[1.0]],
        strengths=[[theta_ / np.sqrt(c_)]],
    )
    return 1 + escape_margin(spiked.history(), step=1)


def _of(layer, formula):
    return formula.subs({L: 2, l: layer, c: nu if layer == 0 else 1})


_first_rates = [
    sp.lambdify(
        (nu, alpha, sigma, noise, gamma),
        _of(layer, dl.first_escape()[1]).subs(H0, dl.descent_square()).subs(L, 2),
        "numpy",
    )
    for layer in range(2)
]
_closed = sp.lambdify((nu, alpha, sigma, noise, eta), _of(1, critical_scale()), "numpy")
_lazy = [
    _of(1, lazy_strength(sqrt(change_of_predictor(t).subs(eta_L, kernel_rate())))).subs(
        gamma, gamma0
    )
    * sqrt(nu)
    for t in (1, 2)
]

BESIDES = (
    "simulated networks (`experiments/width.py`); the library runs the whole training"
)

CONTRACTS = [
    Contract(
        "eq-width-mup",
        sp.Matrix([wide_mup(True), wide_mup()]).subs(L, 2),
        _parameters,
        lambda *x: _products("mup", *x) / (x[0], 1.0),
        _draw_wide,
        1e-4,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-width-ntk",
        sp.Matrix([first_step("ntk", True), first_step("ntk").subs(l, 1)]).subs(L, 2),
        _parameters,
        lambda *x: _products("ntk", *x),
        _draw,
        1e-7,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-width-critical",
        _of(1, critical_scale()),
        _parameters,
        _critical,
        _draw_critical,
        1e-7,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-width-lazy",
        sp.Matrix([_lazy[0], _lazy[0], _lazy[1], _lazy[1]]),
        _parameters,
        _strengths,
        _draw_stable,
        1e-4,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-width-margin",
        lazy_margin(),
        (theta, sigma, c),
        _strength,
        lambda rng: np.exp(rng.uniform(-1, 1, 3)),
        standing="premise typed",
        besides=BESIDES,
    ),
]
