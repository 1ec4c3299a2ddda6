"""Chapter 12: many outputs. The population that a frozen readout makes, the law of its
spectrum, spikes of extensive rank, the modes of two trained layers, and the first
correction to their edge.
"""

import functools

import numpy as np
import sympy as sp
from sympy import Matrix, Rational, Symbol, diff, simplify, solve, sqrt, symbols

from dmftlib import solve as solve_network
from dmftlib.networks import WideOutput
from dmftlib.spectra.push_forward import extensive_spikes
from dmftlib.spectra.resolvent import InformationPlusNoise, generalised_mp
from dmftlib.training.wide_output import (
    edge_correction,
    marchenko_pastur_nodes,
    modes,
    train,
)

from .contract import Contract

sigma, gamma, eta, s_star, lam, tau, c, q, theta, kappa = symbols(
    "sigma gamma eta s_* lambda tau c q theta kappa", positive=True
)
t = Symbol("t", integer=True, nonnegative=True)
z, v, g, w, m = symbols("z v g w m")

# ---------------------------------------------------------------- frozen readout: the
# population


def row_update():
    """A row of M along an eigenvector of a^T a: there a is sqrt(lambda), and the
    target's row is omega.
    """
    row, omega = symbols("m_t omega")
    return sp.expand(row + eta * gamma * sqrt(lam) * (omega - sqrt(lam) * row / gamma))


def row_after():
    """Its solution after t steps from m_0: coefficients of m_0 and of omega."""
    row, omega = symbols("m_t omega")
    step = row_update()
    keep, feed = step.coeff(row), step.coeff(omega)
    start = Symbol("m_0")
    # x_{t+1} = keep x_t + feed omega: a geometric series
    solution = keep**t * start + feed * omega * (1 - keep**t) / (1 - keep)
    if (
        simplify(solution.subs(t, t + 1) - step.subs(row, solution)) != 0
        or simplify(solution.subs(t, 0) - start) != 0
    ):
        raise ArithmeticError("the geometric series does not solve the recursion")
    return tuple(simplify(solution.coeff(x)) for x in (start, omega))


def population():
    """N times the variance of an entry of the row: m_0 has sigma^2/N, omega has
    s_*^2/D, q = D/N.
    """
    on_start, on_target = row_after()
    return simplify(on_start**2 * sigma**2 + on_target**2 * s_star**2 / q)


# ---------------------------------------------------------------- the law of Z^T T Z /
# D


def one_row():
    """z_i^T R z_i / D from its cavity value g, R = (z - A)^{-1} with A = A_without +
    tau z_i z_i^T / D.
    """
    answer = Symbol("r")
    # R = R' + R' (tau z_i z_i^T / D) R, sandwiched: r = g + tau g r
    return solve(sp.Eq(answer, g + tau * g * answer), answer)[0]


def population_law():
    """z of v = 1/g for a population of one value, per unit of c: from the trace of (z -
    A) R = 1.
    """
    # z g - c tau r = 1
    position = solve(sp.Eq(z * g - c * tau * one_row(), 1), z)[0]
    return simplify(position.subs(g, 1 / v))


tau1, tau2, w1 = symbols("tau_1 tau_2 w_1", positive=True)


def population_law_two():
    """z(v) for two values of weights w_1 and 1 - w_1: the loads of the values add up."""
    extra = population_law() - v
    return v + w1 * extra.subs(tau, tau1) + (1 - w1) * extra.subs(tau, tau2)


P, height = symbols("p h", real=True)


def level_line():
    """Im z / Im v at v = p + i h, for one value: it vanishes on the level line."""
    return simplify(
        sp.im(sp.expand_complex(population_law().subs(v, P + sp.I * height))) / height
    )


@functools.cache
def density_on_the_line():
    """x = Re z and the density there, as functions of p along the level line, for one
    value.
    """
    (square,) = solve(sp.numer(sp.together(level_line())).subs(height**2, z), z)
    x = sp.re(sp.expand_complex(population_law().subs(v, P + sp.I * height)))
    rho = -sp.im(sp.expand_complex(1 / (P + sp.I * height))) / sp.pi
    return tuple(simplify(f.subs(height, sqrt(square))) for f in (x, rho))


# ---------------------------------------------------------------- few outputs


def few_outputs_position():
    """Squared singular value of the outliers as C/N -> 0: D/N times z at v = tau, all
    other rows sigma^2, c = N/D.
    """
    bulk = population_law().subs(tau, sigma**2)
    return sp.factor(simplify((q * bulk).subs({v: tau, c: 1 / q})))


# ---------------------------------------------------------------- spikes of extensive
# rank


def information_plus_noise():
    """z(w) of M0 + A, from the cavity equations of a left and a right node with A
    between them.

    A pair (left i, right i) coupled by theta hears sigma^2 m_R and sigma^2 c m_L: its 2
    x 2 resolvent has the diagonal (omega_R, omega_L)/(w - theta^2), w = omega_L
    omega_R. With f = E[1/(theta^2 - w)], m_L = -omega_R f and m_R = -c omega_L f + (1 -
    c)/omega_R.
    """
    s, f, omega_R = symbols("s f omega_R")
    right = solve(sp.Eq(omega_R, s + sigma**2 * c * omega_R * f), omega_R)[0]
    left = w / right
    closed = sp.Eq(left, s - sigma**2 * (-c * left * f + (1 - c) / right))
    square = solve(
        sp.together(closed.lhs - closed.rhs).subs(s**2, z).subs(s, sqrt(z)), z
    )
    square = [simplify(x) for x in square if x != 0]
    return square[0], f


def pair_resolvent():
    """The 2 x 2 resolvent of a coupled pair."""
    left, right = symbols("omega_L omega_R")
    return Matrix([[left, -theta], [-theta, right]]).inv().applyfunc(simplify)


def spikes_map():
    """z(w) for a fraction kappa of strength theta and the rest without."""
    position, f = information_plus_noise()
    return position.subs(f, kappa / (theta**2 - w) + (1 - kappa) / (-w))


def square_equation():
    """The right-hand side of m = ... for square matrices of sigma = 1: m = E[1/(x - z)]
    over squares.
    """
    u = 1 / (1 + m)  # from m = f/u and u = 1 - f
    # w = z / u^2 at c = 1, and m = f/u
    f = kappa / (theta**2 - z / u**2) + (1 - kappa) / (-z / u**2)
    return simplify(f / u)


def square_polynomial():
    """The polynomial whose root m is: a quartic, a cubic if all directions carry a
    spike.
    """
    return sp.Poly(sp.numer(sp.together(square_equation() - m)), m)


def critical_variance():
    """1/sigma^2 where dz/dw vanishes, as a function of f and f' = df/dw: the largest
    root.
    """
    X, f1, f0 = symbols("X f' f")
    function = sp.Function("f")(w)
    u = 1 - X * c * function
    slope = (
        diff(w * u**2 + X * (1 - c) * u, w)
        .subs(diff(function, w), f1)
        .subs(function, f0)
    )
    Y = Symbol("Y")
    roots = solve(sp.expand(slope.subs(X, 1 / Y) * Y**2), Y)
    return roots, f0, f1


# ---------------------------------------------------------------- both layers trained


def mode_step():
    """One step of a mode, from two vectors: a (a row of the readout) and M (a column),
    F = a.M, k = M.M, l = a.a.
    """
    a, M = (
        sp.MatrixSymbol("a", 3, 1).as_explicit(),
        sp.MatrixSymbol("M", 3, 1).as_explicit(),
    )
    e, F, k, l = symbols("e F k l")
    new_M, new_a = M + e * a, a + e * M  # e = eta gamma (s - F/gamma)
    overlap = {"F": new_a.dot(new_M), "k": new_M.dot(new_M), "l": new_a.dot(new_a)}
    in_terms = {
        "F": F + e * (k + l) + e**2 * F,
        "k": k + 2 * e * F + e**2 * l,
        "l": l + 2 * e * F + e**2 * k,
    }
    explicit = {F: a.dot(M), k: M.dot(M), l: a.dot(a)}
    for name, expression in in_terms.items():
        if sp.expand(overlap[name] - expression.subs(explicit)) != 0:
            raise ArithmeticError(name)
    return {
        name: expression.subs(l, k)
        for name, expression in in_terms.items()
        if name != "l"
    }, (e, F, k)


s_mode = Symbol("s", positive=True)


def modes_after(steps):
    """F and k after some steps from F = 0, k = sigma^2."""
    step, (e, F, k) = mode_step()
    state = (sp.Integer(0), sigma**2)
    for _ in range(steps):
        values = {
            e: eta * gamma * (s_mode - state[0] / gamma),
            F: state[0],
            k: state[1],
        }
        state = tuple(
            sp.expand(step[name].subs(values, simultaneous=True)) for name in "Fk"
        )
    return Matrix(state)


def flow_invariant():
    """d(k^2 - F^2)/dt under the flow, to first order in e: it vanishes."""
    step, (e, F, k) = mode_step()
    change = {name: diff(step[name], e).subs(e, 0) for name in "Fk"}
    return sp.expand(2 * k * change["k"] - 2 * F * change["F"])


s1, s2 = symbols("s_1 s_2", positive=True)


def pair_gain():
    """Half the second derivative, by the coupling x to s_2, of the eigenvalue of K that
    belongs to s_1, one step after x stood in the start of K, Q, F_12 or F_21; summed
    over the four.
    """
    x = Symbol("x")
    target, total = sp.diag(s1, s2), 0
    for source in range(4):
        K, Q = (
            sigma**2
            * (sp.eye(2) + (x if source == i else 0) * Matrix([[0, 1], [1, 0]]))
            for i in (0, 1)
        )
        F = sigma**2 * Matrix(
            [[0, x if source == 2 else 0], [x if source == 3 else 0, 0]]
        )
        e = eta * gamma * (target - F / gamma)
        K = (K + F.T * e + e.T * F + e.T * Q * e).applyfunc(sp.expand)
        total += K[0, 0].coeff(x, 2) + K[0, 1].coeff(x, 1) ** 2 / (
            K[0, 0] - K[1, 1]
        ).subs(x, 0)
    return sp.factor(simplify(total))


def correction_of_one_pair():
    """What edge_correction gives after one step for D = C = 2."""
    largest = sigma**2 * (1 + eta**2 * gamma**2 * s1**2)
    return pair_gain() * Rational(1, 2) / (2 * sqrt(largest))


# ---------------------------------------------------------------- contracts


def _draw_network(rng):
    """sigma, gamma, eta, s_*, q = D/N, t, C/N, the number of a node and its lambda."""
    ratio, number = np.exp(rng.uniform(-1.5, 1)), int(rng.integers(0, 200))
    node = marchenko_pastur_nodes(ratio)[0][number]
    return (
        *np.exp(rng.uniform(-0.7, 0.7, 2)),
        rng.uniform(0.02, 0.15),
        *np.exp(rng.uniform(-0.7, 0.7, 2)),
        int(rng.integers(0, 12)),
        ratio,
        number,
        node,
    )


def _population(sigma_, gamma_, eta_, s_, q_, t_, ratio, number, _):
    net = WideOutput(
        output_ratio=ratio,
        input_ratio=q_,
        target_variance=s_**2,
        gamma0=gamma_,
        init_variance=sigma_**2,
        learning_rate=eta_,
        steps=12,
    )
    return train(net).population[t_, 1 + number]


def _draw_two(rng):
    low, high = np.sort(np.exp(rng.uniform(-1, 1.5, 2)))
    return (
        low,
        high,
        rng.uniform(0.1, 0.9),
        np.exp(rng.uniform(-1, 1)),
        complex(rng.normal(), rng.uniform(0.1, 2)),
    )


def _two(low, high, weight, aspect, v_):
    return generalised_mp([low, high], [weight, 1 - weight], aspect).support_map(
        np.array(v_)
    )


def _draw_line(rng):
    c_, tau_ = np.exp(rng.uniform(-1, 1, 2))
    return c_, tau_, tau_ * (1 + np.sqrt(c_) * rng.uniform(-0.95, 0.95))


def _density(c_, tau_, p_):
    x = float(density_on_the_line()[0].subs({c: c_, tau: tau_, P: p_}))
    return np.array([x, float(generalised_mp([tau_], [1.0], c_).density(x))])


def _draw_few(rng):
    sigma_, q_ = np.exp(rng.uniform(-0.3, 0.3)), np.exp(rng.uniform(-1, 1))
    gamma_, s_ = np.exp(rng.uniform(0, 0.5)), rng.uniform(3, 5) * max(sigma_, 1)
    eta_, t_ = rng.uniform(0.1, 0.3), int(rng.integers(6, 20))
    f = (1 - eta_) ** t_
    return (
        sigma_,
        q_,
        sigma_**2 * f**2 + gamma_**2 * s_**2 / q_ * (1 - f) ** 2,
        gamma_,
        s_,
        eta_,
        t_,
    )


def _few(sigma_, q_, _, gamma_, s_, eta_, t_):
    net = WideOutput(
        output_ratio=0.0,
        input_ratio=q_,
        target_variance=s_**2,
        gamma0=gamma_,
        init_variance=sigma_**2,
        learning_rate=eta_,
        steps=20,
    )
    return solve_network(net).outliers(0, t_).values[0] ** 2


def _draw_spikes(rng):
    return (
        *np.exp(rng.uniform(-0.7, 0.7, 2)),
        rng.uniform(0.1, 0.9),
        rng.uniform(0.1, 0.95),
        complex(rng.normal(), rng.uniform(0.2, 2)),
    )


def _spikes(sigma_, theta_, kappa_, c_, w_):
    sizes, weights = np.array([0.0, theta_**2]), np.array([1 - kappa_, kappa_])
    unasked = np.zeros((0, 2))
    law = InformationPlusNoise(sizes, weights, c_, sigma_**2, unasked)
    return law.support_map(np.array(w_))[0]


def _draw_square(rng):
    theta_, kappa_ = rng.uniform(0.3, 4), rng.uniform(0.1, 0.9)
    z_ = complex(rng.uniform(0.1, 20), rng.uniform(0.01, 3))
    return theta_, kappa_, z_, _square(theta_, kappa_, z_, None)


def _square(theta_, kappa_, z_, _):
    return complex(
        -extensive_spikes(1.0, 1.0, [theta_], [kappa_]).source.stieltjes(np.array(z_))
    )


def _draw_modes(rng):
    return (
        *np.exp(rng.uniform(-0.5, 0.5, 2)),
        rng.uniform(0.02, 0.1),
        rng.uniform(0.1, 3),
    )


def _trained(sigma_, gamma_, eta_, steps):
    return WideOutput(
        output_ratio=1.0,
        input_ratio=1.0,
        gamma0=gamma_,
        init_variance=sigma_**2,
        learning_rate=eta_,
        steps=steps,
        train_readout=True,
    )


def _modes(sigma_, gamma_, eta_, s_):
    return np.array([x[-1] for x in modes(_trained(sigma_, gamma_, eta_, 3), s_)])


def _pair(sigma_, gamma_, eta_, low, high):
    return edge_correction(_trained(sigma_, gamma_, eta_, 1), high, [low])[-1]


BESIDES = (
    "simulated networks (`experiments/wide_output.py`); matrices drawn in Chapter 12"
)

CONTRACTS = [
    Contract(
        "eq-population",
        population(),
        (sigma, gamma, eta, s_star, q, t, Symbol("C_N"), Symbol("j"), lam),
        _population,
        _draw_network,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-population-law",
        population_law_two(),
        (tau1, tau2, w1, c, v),
        lambda *x: _two(*x)[0],
        _draw_two,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-population-edges",
        diff(population_law_two(), v),
        (tau1, tau2, w1, c, v),
        lambda *x: _two(*x)[1],
        _draw_two,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-level-line",
        Matrix(density_on_the_line()),
        (c, tau, P),
        _density,
        _draw_line,
        1e-9,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-few-outputs",
        few_outputs_position(),
        (sigma, q, tau, gamma, s_star, eta, t),
        _few,
        _draw_few,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-information-plus-noise",
        spikes_map(),
        (sigma, theta, kappa, c, w),
        _spikes,
        _draw_spikes,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-quartic",
        square_equation(),
        (theta, kappa, z, m),
        _square,
        _draw_square,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-modes",
        modes_after(3),
        (sigma, gamma, eta, s_mode),
        _modes,
        _draw_modes,
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-edge-correction",
        correction_of_one_pair(),
        (sigma, gamma, eta, s2, s1),
        _pair,
        lambda rng: (*_draw_modes(rng)[:3], rng.uniform(0.2, 1), rng.uniform(1.2, 3)),
        1e-9,
        standing="premise typed",
        besides=BESIDES,
    ),
]
