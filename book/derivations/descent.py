"""Chapter 13: momentum and weight decay. A weight and its buffer are two numbers that a
step multiplies by a matrix, and everything follows from its two eigenvalues.

The matrices of a step are made from the definition of the optimiser, with letters. The
library never forms them: it runs the optimiser.
"""

import functools

import jax.numpy as jnp
import numpy as np
import sympy as sp
from sympy import Matrix, sqrt, symbols

import dmftlib as dm
from dmftlib.history import WeightHistory
from dmftlib.spectra.outliers import outliers_by_step
from dmftlib.training.descent import Descent, sharpness_limit

from . import gradient_descent as gd
from . import spikes
from .contract import Contract
from .deep_linear import L, start_loss
from .gradient_descent import alpha, eta, gamma, noise
from .spikes import c, sigma, theta

mu, delta, lam = symbols("mu delta lambda", positive=True)
t = symbols("t", integer=True, nonnegative=True)
r = symbols("r")
r_plus, r_minus = symbols("r_+ r_-")
a, b = symbols("a b")
eta_L, lazy_x = symbols("eta_L x", positive=True)
scale = symbols("a", positive=True)  # what is left of the initial weights
pull = eta * (lam + delta)  # the step along a direction of curvature lambda


def step(nesterov=False):
    """The matrix by which one step multiplies (a, b), a weight and its buffer, where
    the loss has curvature lambda: from the definition of the optimiser.
    """
    gradient = (lam + delta) * a
    buffer = mu * b + gradient
    moved = gradient + mu * buffer if nesterov else buffer
    after = Matrix([a - eta * moved, buffer])
    return after.jacobian([a, b])


def characteristic(nesterov=False):
    """The polynomial of which the factors r_+ and r_- are the roots."""
    return sp.collect(sp.expand((step(nesterov) - r * sp.eye(2)).det()), r)


def factors():
    """r_+ and r_-."""
    half = (1 + mu - pull) / 2
    found = [half + sqrt(half**2 - mu), half - sqrt(half**2 - mu)]
    left = [sp.expand(characteristic().subs(r, root)) for root in found]
    if left != [0, 0]:
        raise ArithmeticError("these are not the roots")
    return found


def scale_at():
    """a_t of a weight that starts at 1 with an empty buffer, by the two factors: the
    combination of powers that has the right values at 0 and 1.
    """
    x, y = symbols("x y")
    first = (r_plus + r_minus - mu).subs(mu, r_plus * r_minus)  # a_1 = 1 - pull
    begin = [sp.Eq(x + y, 1), sp.Eq(x * r_plus + y * r_minus, first)]
    (found,) = sp.solve(begin, [x, y], dict=True)
    weights = [sp.factor(found[x] / r_plus), sp.factor(found[y] / r_minus)]
    return weights[0] * r_plus ** (t + 1) + weights[1] * r_minus ** (t + 1)


def oscillation():
    """The same where the factors are a complex pair sqrt(mu) exp(+-i theta): a damped
    wave, in the angle and the step's own numbers.
    """
    angle = symbols("vartheta", positive=True)
    wave = symbols("x")
    first = sqrt(mu) * (sp.cos(angle) + wave * sp.sin(angle))
    (share,) = sp.solve(first - (1 - pull), wave)
    damped = sqrt(mu) ** t * (sp.cos(t * angle) + share * sp.sin(t * angle))
    cosine = (1 + mu - pull) / (2 * sqrt(mu))
    return damped, sp.acos(cosine), angle


def limits():
    """The curvature at which a factor reaches -1, with momentum and with Nesterov's."""
    return Matrix(
        [
            sp.solve(characteristic(nesterov).subs(r, -1), lam)[0]
            for nesterov in (False, True)
        ]
    )


def slow_factor():
    """r_+ for small steps along a direction, x = eta (lambda + delta), to second order:
    a series in x that solves the characteristic equation.
    """
    x, first, second = symbols("x c_1 c_2")
    root = 1 + first * x + second * x**2
    polynomial = r**2 - (1 + mu - x) * r + mu
    if sp.expand(polynomial.subs(x, pull) - characteristic()) != 0:
        raise ArithmeticError("not the polynomial of a step")
    orders = sp.Poly(sp.expand(polynomial.subs(r, root)), x)
    (one,) = sp.solve(orders.coeff_monomial(x), first)
    (two,) = sp.solve(orders.coeff_monomial(x**2).subs(first, one), second)
    return 1 + sp.factor(one) * pull + sp.factor(two) * pull**2


def left_behind():
    """Square of the outlier of a M0 + theta g h^T/m, unit vectors that M0 has never met:
    |a| times that of M0 + (theta/a).
    """
    return sp.factor(
        scale**2 * spikes.independent_position().subs(theta, theta / scale)
    )


def left_behind_from():
    """The strength from which on it is outside: |a| times the threshold of chapter 3."""
    (least,) = spikes.threshold(1 / theta**2)
    return sp.simplify(scale * least)


@functools.cache
def lazy_losses(steps):
    """Test losses at infinite width after 1 ... steps updates: on an eigenvalue x of
    X^T X/P the error has shrunk to a_t(x), and the noise has entered by 1 - a_t(x).
    """
    x, state, found = lazy_x, Matrix([1, 0]), []
    at_x = step().subs({delta: 0, lam: x, eta: eta_L})
    for _ in range(steps):
        state = (at_x * state).applyfunc(sp.expand)
        left = state[0]
        signal = sp.expand(left**2)
        entered = sp.expand(sp.cancel((1 - left) ** 2 / x))
        found.append(
            start_loss() * _average(signal, x) + noise**2 / alpha * _average(entered, x)
        )
    return [sp.expand(each) for each in found]


def _average(polynomial, x):
    """Over the eigenvalues of X^T X/P: those of M0^T M0 at aspect alpha, over alpha."""
    powers = sp.Poly(polynomial, x)
    moments = [sp.Integer(1), *gd.moments_of_the_bulk(max(powers.degree(), 1))]
    at = {sigma: 1, c: alpha}
    return sum(
        coefficient * moments[k].subs(at) / alpha**k
        for (k,), coefficient in powers.terms()
    )


# ---------------------------------------------------------------- contracts

AT, LAZY_STEPS = 9, 2  # steps at which scales, and up to which losses are compared


def _scale(mu_, eta_, lam_, delta_, steps=AT):
    """A weight on a direction of curvature lambda, which pulls at it as decay does."""
    rates = jnp.full(steps, eta_)
    descent = Descent(rates, jnp.asarray(mu_), jnp.asarray(lam_ + delta_))
    return descent.path(jnp.zeros(steps)).scale


def _network(mu_, eta_, delta_, nesterov=False):
    return dm.DeepLinear(
        hidden_layers=1,
        width_ratio=1.0,
        sample_ratio=1.0,
        learning_rate=eta_,
        steps=1,
        momentum=mu_,
        nesterov=nesterov,
        weight_decay=delta_,
    )


def _limits(mu_, eta_, delta_):
    return [
        sharpness_limit(_network(mu_, eta_, delta_, nesterov))[0]
        for nesterov in (False, True)
    ]


def _history(aspect, variance, scale_, strength):
    """A matrix that has shrunk to `scale_` and got one spike between unit directions
    that tell nothing of it.
    """
    return WeightHistory(
        aspect=jnp.asarray(aspect),
        variance=jnp.asarray(variance),
        core=jnp.zeros((1, 1)),
        left_beyond=jnp.full((1, 1), variance),
        right_beyond=jnp.full((1, 1), variance * aspect),
        left_queries=jnp.ones((1, 1)),
        right_queries=jnp.ones((1, 1)),
        scale=jnp.asarray([1.0, scale_]),
        increments=jnp.full((1, 1, 1), strength),
    )


def _left_behind(c_, sigma_, scale_, theta_):
    return outliers_by_step(_history(c_, sigma_**2, scale_, theta_), 1).values[0]


def _draw_outside(rng):
    c_, sigma_ = np.exp(rng.uniform(-0.7, 0.7, 2))
    scale_ = rng.uniform(0.05, 1.0)
    return c_, sigma_, scale_, scale_ * sigma_ * c_**0.25 * rng.uniform(1.1, 4.0)


def _lazy(alpha_, sigma_, gamma_, noise_, mu_, rate):
    net = dm.DeepLinear(
        hidden_layers=2,
        width_ratio=1e9,
        sample_ratio=alpha_,
        gamma0=gamma_,
        init_variance=sigma_**2,
        label_noise=noise_**2,
        learning_rate=rate / (3 * sigma_**4),
        steps=LAZY_STEPS,
        parameterization="ntk",
        momentum=mu_,
    )
    return dm.solve(net).test_loss[1:]


def _draw_lazy(rng):
    alpha_, gamma_ = np.exp(rng.uniform(-0.7, 0.7, 2))
    mu_, rate = rng.uniform(0.2, 0.9), rng.uniform(0.05, 0.2)
    return alpha_, rng.uniform(0.6, 1.0), gamma_, rng.uniform(0.1, 1.0), mu_, rate


def _late_factor(mu_, eta_, lam_, delta_):
    """The ratio of two late scales, the faster factor long gone."""
    late = _scale(mu_, eta_, lam_, delta_, 200)[-2:]
    return late[1] / late[0]


def _draw(rng, between):
    """Numbers of an optimiser: the step along a direction is a share of a range."""
    mu_, eta_ = rng.uniform(0.1, 0.8), rng.uniform(0.02, 0.5)
    low, high = between(mu_)
    total = rng.uniform(low, high) / eta_
    share = rng.uniform(0.2, 0.8)
    return mu_, eta_, share * total, (1 - share) * total


def _creeping(mu_):
    end = (1 - mu_**0.5) ** 2
    return 0.02 * end, 0.95 * end


def _swinging(mu_):
    low, high = (1 - mu_**0.5) ** 2, (1 + mu_**0.5) ** 2
    return 0.98 * low + 0.02 * high, 0.02 * low + 0.98 * high


def _tiny(mu_):
    return 1e-3 * (1 - mu_) ** 2, 2e-3 * (1 - mu_) ** 2


def _scale_formula():
    pair = dict(zip((r_plus, r_minus), factors(), strict=True))
    return scale_at().subs(t, AT).subs(pair)


def _wave_formula():
    damped, angle, letter = oscillation()
    return damped.subs(t, AT).subs(letter, angle)


_letters = (mu, eta, lam, delta)
BY_OPTAX = "dense networks that optax trains"

CONTRACTS = [
    Contract(
        "eq-scale",
        _scale_formula(),
        _letters,
        lambda *x: _scale(*x)[AT],
        lambda rng: _draw(rng, _creeping),
        1e-9,
        standing="derived",
        besides=BY_OPTAX,
    ),
    Contract(
        "eq-scale-wave",
        _wave_formula(),
        _letters,
        lambda *x: _scale(*x)[AT],
        lambda rng: _draw(rng, _swinging),
        1e-8,
        standing="derived",
        besides=BY_OPTAX,
    ),
    Contract(
        "eq-momentum-limit",
        limits(),
        (mu, eta, delta),
        _limits,
        lambda rng: (rng.uniform(0, 0.95), rng.uniform(0.01, 0.5), rng.uniform(0, 2)),
        standing="derived",
        besides="networks on both sides of the limit, in Chapter 9",
    ),
    Contract(
        "eq-slow-factor",
        slow_factor(),
        _letters,
        _late_factor,
        lambda rng: _draw(rng, _tiny),
        1e-8,
        standing="derived",
        besides=BY_OPTAX,
    ),
    Contract(
        "eq-left-behind",
        Matrix([sqrt(left_behind())]),
        (c, sigma, scale, theta),
        _left_behind,
        _draw_outside,
        1e-8,
        standing="derived",
        besides="the edge and the outlier of decaying networks of a billion dimensions",
    ),
    Contract(
        "eq-momentum-lazy",
        Matrix(lazy_losses(LAZY_STEPS)).subs(L, 2),
        (alpha, sigma, gamma, noise, mu, eta_L),
        _lazy,
        _draw_lazy,
        1e-6,
        standing="premise typed",
        besides=BY_OPTAX,
    ),
]
