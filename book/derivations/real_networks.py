"""Chapter 11: what an update does to the spectrum of a random matrix, from three
numbers that can be measured: its relative energy, its participation ratio, and the
shape of the matrix.
"""

import functools

import numpy as np
import sympy as sp

from dmftlib.spectra.bulk import rectangular_law
from dmftlib.spectra.escape import escape_margin
from dmftlib.spectra.push_forward import extensive_spikes
from dmftlib.spectra.spiked import SpikedEnsemble

from . import spikes
from .contract import Contract
from .spikes import independent_position

sigma, c, xi, kappa, theta, m2, m4, angle = sp.symbols(
    "sigma c xi kappa theta m_2 m_4 varphi", positive=True
)
chi, a1, a2, s, w, x, f, share = sp.symbols("chi alpha_1 alpha_2 s w x f P")

# ---------------------------------------------------------------- how many outliers an
# update can pay for


def strength_of_equal_spikes():
    """Square of the singular value of each of kappa n equal spikes that share the
    energy xi |M0|^2 = xi n sigma^2.
    """
    square = sp.Symbol("r", positive=True)
    (answer,) = sp.solve(sp.Eq(kappa * square, xi * sigma**2), square)
    return answer


def budget():
    """The number of equal independent spikes, over n, beyond which none is an outlier:
    where chapter 3's position of an outlier is at its minimum, which is the edge.
    """
    square = sp.Symbol("r", positive=True)
    position = independent_position().subs(
        {spikes.theta: sp.sqrt(square), spikes.c: c, spikes.sigma: sigma}
    )
    weakest = [r for r in sp.solve(sp.diff(position, square), square) if r.is_positive]
    return sp.solve(sp.Eq(strength_of_equal_spikes(), weakest[0]), kappa)[0]


# ---------------------------------------------------------------- cumulants of singular
# values add up


def transform():
    """T = s m_L - 1 and chi = m_L m_R of M0 + A, from chapter 12's pairs: functions of
    w and f, and sigma^2 chi.
    """
    left, right = sp.symbols("omega_L omega_R")
    mL, mR = -right * f, -c * left * f + (1 - c) / right
    product = sp.simplify((mL * mR).subs(left, w / right))
    total = sp.expand(
        (left + sigma**2 * mR) * mL - 1 - sigma**2 * mL * mR
    )  # s = omega_L + sigma^2 m_R
    return sp.simplify(total.subs(left, w / right)), sp.expand(product)


def second_coefficient():
    """T - sigma^2 chi as a series in chi: (coefficient of chi, coefficient of chi^2),
    from the moments of A.
    """
    own, product = transform()
    small = sp.Symbol("epsilon")
    moments = -small * (
        1 + m2 * small + m4 * small**2
    )  # f = E[1/(theta^2 - w)], small = 1/w
    T = sp.series(own.subs(w, 1 / small).subs(f, moments), small, 0, 3).removeO()
    X = sp.series(product.subs(w, 1 / small).subs(f, moments), small, 0, 3).removeO()
    first = sp.simplify(T.coeff(small, 1) / X.coeff(small, 1))
    second = sp.simplify(
        (T.coeff(small, 2) - first * X.coeff(small, 2)) / X.coeff(small, 1) ** 2
    )
    return first, sp.factor(second)


def excess():
    """alpha_2/alpha_1^2 of M0 + A, by xi = m_2/sigma^2 and the participation ratio
    share = m_2^2/m_4 of A over n.
    """
    first, second = second_coefficient()
    value = second / (sigma**2 + first) ** 2
    return sp.factor(sp.simplify(value.subs(m4, m2**2 / share).subs(m2, xi * sigma**2)))


# ---------------------------------------------------------------- the shape of a bulk
# with a second coefficient


def square_of(point=chi):
    """x = s^2 at chi, for T = chi + alpha_2 chi^2: x chi = s m_L s m_R, s m_R = 1 + c
    T.
    """
    T = point + a2 * point**2
    return (1 + T) * (1 + c * T) / point


def first_order():
    """d g/d alpha_2 at fixed x, g = E[1/(x - s^2)] = (1 + T)/x, and -d(chi^2/2)/dx:
    they are the same.
    """
    position, T = square_of(), chi + a2 * chi**2
    slope = sp.diff(position, chi)
    moved = -sp.diff(position, a2) / slope
    change = (sp.diff(T, a2) + sp.diff(T, chi) * moved) / position
    return tuple(
        sp.factor(sp.simplify(value.subs(a2, 0))) for value in (change, -chi / slope)
    )


def shape():
    """Change of the distribution function per alpha_2: -Im/pi of the integral of d g,
    on the bulk.
    """
    one, other = first_order()
    if sp.simplify(one - other) != 0:
        raise ArithmeticError("the change of g is not the derivative of -chi^2/2")
    on_bulk = sp.exp(-sp.I * angle) / sp.sqrt(c)
    return sp.simplify(sp.im(sp.expand_complex(on_bulk**2 / 2)) / sp.pi)


def bulk_point():
    """x on the bulk, at alpha_2 = 0."""
    on_bulk = sp.exp(-sp.I * angle) / sp.sqrt(c)
    return sp.simplify(sp.expand_complex(square_of(on_bulk).subs(a2, 0)))


# ---------------------------------------------------------------- contracts


def _budget(sigma_, c_, xi_, kappa_):
    spiked = SpikedEnsemble(
        aspect=c_,
        variance=sigma_**2,
        left_gram=[[1.0]],
        right_gram=[[1.0]],
        strengths=[[sigma_ * np.sqrt(xi_ / kappa_ / c_)]],
    )
    return (1 + escape_margin(spiked.history(), step=1)) ** 2


def _moments(law, *powers):
    """E[s^k] by a contour around the spectrum."""
    radius = 2 * float(law.edges[-1][1])
    points = radius * np.exp(2j * np.pi * (np.arange(128) + 0.5) / 128)
    transform = np.asarray(law.stieltjes(points))
    return [float((points ** (k + 1) * transform).mean().real) for k in powers]


def _excess(c_, xi_, share_):
    second, fourth = _moments(
        extensive_spikes(c_, 1.3, [np.sqrt(1.3 * xi_ / share_)], [share_]), 2, 4
    )
    return fourth / second**2  # n over the participation ratio of M


@functools.cache
def _weak(c_, xi_, share_):
    return extensive_spikes(c_, 1.0, [np.sqrt(xi_ / share_)], [share_])


def _shape(c_, angle_):
    """Richardson extrapolation in the energy of an update of equal spikes."""
    share_, slopes = 0.2, []
    for xi_ in (0.04, 0.02, 0.01):
        law = _weak(c_, xi_, share_)
        point = np.sqrt((1 + xi_) * (1 + c_ + 2 * np.sqrt(c_) * np.cos(angle_)))
        change = float(law.cdf(point)) - float(rectangular_law(c_, 1 + xi_).cdf(point))
        slopes.append(change / _predicted(c_, xi_, share_))
    halved = [2 * b - a for a, b in zip(slopes, slopes[1:], strict=False)]
    return (4 * halved[1] - halved[0]) / 3


def _draw(rng):
    return rng.uniform(0.2, 1.0), rng.uniform(0.05, 1.5), rng.uniform(0.05, 0.9)


_predicted = sp.lambdify((c, xi, share), excess())

BESIDES = (
    "trained networks, and updates turned at random (`experiments/rotated_updates.py`)"
)

CONTRACTS = [
    Contract(
        "eq-budget",
        budget() / kappa,
        (sigma, c, xi, kappa),
        _budget,
        lambda rng: (rng.uniform(0.5, 2), *_draw(rng)),
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-excess",
        1 + c + excess(),
        (c, xi, share),
        _excess,
        lambda rng: (
            rng.uniform(0.2, 0.95),
            rng.uniform(0.05, 0.3),
            rng.uniform(0.3, 0.9),
        ),
        1e-8,
        standing="premise typed",
        besides=BESIDES,
    ),  # one band
    Contract(
        "eq-shape",
        shape(),
        (c, angle),
        _shape,
        lambda rng: (
            rng.choice([0.3, 0.6, 1.0]),
            rng.choice([0.2, 0.3, 0.7, 0.8]) * np.pi,
        ),
        1e-3,
        standing="premise typed",
        besides=BESIDES,
    ),
]
