"""Chapter 2: the bulk law, from one node and its echo to the density of the singular
values.

Every function derives its result; the notebook shows them in this order and `CONTRACTS`
compares them with `dmftlib`.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import sympy as sp

import dmftlib as dm
from derivations.contract import Contract

s, z, c, sigma, tau, x = sp.symbols("s z c sigma tau x", positive=True)
q, y, u = sp.symbols(
    "q y u", positive=True
)  # q = sqrt(c); y = -i s on the imaginary axis
n, m = sp.symbols("n m", positive=True, integer=True)
m_L, m_R = sp.symbols("m_L m_R")
zeta = sp.Symbol("zeta")


# --- one node, its neighbours and the echo
# ----------------------------------------------------------------------


def hermitization(rows: int, columns: int) -> sp.Matrix:
    """[[0, M], [M^T, 0]] with a symbol for every entry of the rows x columns matrix M."""
    M = sp.Matrix(rows, columns, lambda i, j: sp.Symbol(f"M_{i + 1}{j + 1}"))
    return sp.Matrix(sp.BlockMatrix([[sp.zeros(rows), M], [M.T, sp.zeros(columns)]]))


def resolvent_entry(H: sp.Matrix, node: int) -> sp.Expr:
    """The diagonal entry of (s - H)^{-1} at `node`, as a ratio of determinants."""
    shifted = s * sp.eye(H.rows) - H
    return sp.factor(shifted.minor(node, node) / shifted.det())


def node_and_echo(H: sp.Matrix, node: int) -> tuple:
    """Poke `node` with a unit source and eliminate all others from s a = H a + source.

    Returns (a_node, echo): the others answer a_node linearly, and what they send back
    is echo * a_node.
    """
    others = [k for k in range(H.rows) if k != node]
    a_node, echo = sp.symbols("a_0 Echo")
    rest = sp.Matrix(sp.symbols(f"a_1:{H.rows}"))
    coupling = H.extract(others, [node])
    answer = sp.solve(
        s * rest - H.extract(others, others) * rest - coupling * a_node,
        list(rest),
        dict=True,
    )[0]
    sent_back = sp.factor((coupling.T * rest.subs(answer))[0] / a_node)
    return sp.solve(sp.Eq(s * a_node, echo * a_node + 1), a_node)[0].subs(
        echo, sent_back
    ), sent_back


def gaussian_average(expression: sp.Expr, variables, variance) -> sp.Expr:
    """E of a polynomial in independent centred Gaussians: x^(2k) becomes (2k - 1)!!
    variance^k, odd powers vanish.
    """
    terms = sp.Poly(sp.expand(expression), *variables).terms()
    return sp.Add(
        *(
            coefficient
            * sp.Mul(
                *(sp.factorial2(p - 1) * variance ** (p // 2) for p in powers if p)
            )
            for powers, coefficient in terms
            if not any(p % 2 for p in powers)
        )
    )


def echo_statistics(size: int, variance) -> tuple:
    """(R, mean, variance) of the echo j^T R j: R symmetric and fixed, the couplings j
    independent Gaussians.
    """
    R = sp.Matrix(
        size, size, lambda i, k: sp.Symbol(f"R_{min(i, k) + 1}{max(i, k) + 1}")
    )
    couplings = sp.Matrix(sp.symbols(f"j_1:{size + 1}"))
    echo = (couplings.T * R * couplings)[0]
    mean = gaussian_average(echo, couplings, variance)
    return (
        R,
        sp.factor(mean),
        sp.factor(gaussian_average(echo**2, couplings, variance) - mean**2),
    )


def mean_echo(answering: sp.Expr, transform: sp.Expr) -> sp.Expr:
    """Mean echo off `answering` nodes whose resolvent entries average to `transform`,
    for couplings of variance sigma^2/m: linear in the number of nodes, with the slope
    that explicit sizes give.
    """
    slopes = set()
    for size in (2, 3):
        R, mean, _ = echo_statistics(size, sigma**2 / m)
        slopes.add(
            sp.simplify(mean.subs({R[k, k]: transform for k in range(size)}) / size)
        )
    (slope,) = slopes
    return answering * slope


@cache
def cavity_equations() -> tuple:
    """The left and the right equation: Eq(m_L, ...), Eq(m_R, ...)."""
    left = sp.Eq(m_L, 1 / (s - mean_echo(m, m_R)))
    right = sp.Eq(m_R, 1 / (s - mean_echo(n, m_L).subs(n, c * m)))
    return left, right


# --- the response in the auxiliary time
# -------------------------------------------------------------------------


@cache
def response_coefficients(order: int, to_left=sp.S.One, to_right=sp.S.One) -> tuple:
    """Coefficients (left, right) of tau^k/k! in r_L' = to_left r_R*r_L + delta, r_R' =
    to_right r_L*r_R + delta.

    With tau^i/i! * tau^j/j! = tau^(i+j+1)/(i+j+1)! the coefficient of tau^k/k! on the
    right-hand side is the sum of right_i left_j over i + j = k - 1.
    """
    left, right = [sp.Integer(1)], [sp.Integer(1)]
    for k in range(order):
        pairs = sp.Add(*(right[i] * left[k - 1 - i] for i in range(k)))
        left.append(sp.expand(to_left * pairs))
        right.append(
            sp.expand(
                to_right * sp.Add(*(left[i] * right[k - 1 - i] for i in range(k)))
            )
        )
    return tuple(left), tuple(right)


def response_series(coefficients, decay) -> sp.Expr:
    """exp(-decay tau) sum_k coefficient_k tau^k/k!."""
    return sp.exp(-decay * tau) * sp.Add(
        *(a * tau**k / sp.factorial(k) for k, a in enumerate(coefficients))
    )


def laplace_series(coefficients) -> sp.Expr:
    """Laplace transform of sum_k coefficient_k tau^k/k!, term by term."""
    return sp.Add(*(a * s ** (-k - 1) for k, a in enumerate(coefficients)))


def wigner_resolvent() -> sp.Expr:
    """The root of s R = 1 + R^2 that decays as 1/s."""
    R = sp.Symbol("R")
    return decaying_root(sp.solve(sp.Eq(s * R, 1 + R**2), R))


def decaying_root(roots) -> sp.Expr:
    """The one of the roots with s * root -> 1 as s -> infinity."""
    (root,) = (
        r
        for r in roots
        if sp.limit(sp.simplify((s * r).subs(s, 1 / u)), u, 0, "+") == 1
    )
    return root


# --- the rectangular law
# ----------------------------------------------------------------------------------------


@cache
def quadratic(side: sp.Symbol = m_L) -> sp.Poly:
    """The polynomial that m_L (or m_R) makes zero, once the other is eliminated."""
    other = m_R if side == m_L else m_L
    left, right = (sp.numer(sp.together(e.lhs - e.rhs)) for e in cavity_equations())
    eliminated = sp.Poly(sp.resultant(left, right, other), side)
    return (
        eliminated if eliminated.LC().subs({s: 1, c: 1, sigma: 1}) > 0 else -eliminated
    )


@cache
def transform(side: sp.Symbol = m_L) -> sp.Expr:
    """m_L(s) (or m_R) for s above the bulk: the decaying root of the quadratic."""
    return decaying_root(sp.roots(quadratic(side)))


@cache
def edge_condition() -> sp.Expr:
    """What vanishes where ds/dm_L = 0, with c = q^2: the resultant of the quadratic and
    its derivative in m_L.
    """
    condition = sp.resultant(
        quadratic().as_expr(), quadratic().diff(m_L).as_expr(), m_L
    ).subs(c, q**2)
    return sp.factor(condition / quadratic().LC().subs(c, q**2))


@cache
def edges() -> tuple:
    """(s_-^2, s_+^2)."""
    squares = sp.solve(edge_condition().subs(s, sp.sqrt(y)), y)
    return tuple(
        sp.factor(e.subs(q, sp.sqrt(c)))
        for e in sorted(squares, key=lambda e: e.subs({q: 2, sigma: 1}))
    )


@cache
def atom(side: sp.Symbol = m_L) -> sp.Expr:
    """Residue of m_L (or m_R) at s = 0, reached along the imaginary axis s = i y, where
    no singular value lies.

    There the quadratic has real coefficients in Y = s m, and the branch with Y -> 1 at
    infinity continues down to 0.
    """
    Y = sp.Symbol("Y")
    on_axis = sp.Poly(
        sp.expand(s * quadratic(side).as_expr().subs(side, Y / s)).subs(s, sp.I * y), Y
    )
    (branch,) = (root for root in sp.roots(on_axis) if sp.limit(root, y, sp.oo) == 1)
    return sp.simplify(sp.factor(branch.subs(y, 0), deep=True))


@cache
def density_prefactor() -> sp.Expr:
    """What multiplies sqrt((s_+^2 - x^2)(x^2 - s_-^2)) in the density."""
    return 2 / (2 * sp.pi * quadratic().LC().subs(s, x)) * sp.cancel(1 / (1 - atom()))


@cache
def density() -> sp.Expr:
    """Density of the min(n, m) singular values at x inside the bulk.

    The jump of m_L across the cut, the difference of the two roots, is 2 pi i times the
    left density; +x and -x share each singular value, and the fraction 1 - atom of the
    left space carries them.
    """
    low, high = edges()
    minus_discriminant = (
        -sp.Poly(edge_condition(), s).LC() * (high - x**2) * (x**2 - low)
    )
    return sp.sqrt(minus_discriminant) * density_prefactor()


@cache
def density_at_angle() -> tuple:
    """(x^2, left density dx/dw) on the circle zeta = exp(i theta), where x^2 = sigma^2
    |1 + q zeta|^2, q = sqrt(c).

    theta from 0 to pi runs over the bulk once; the whole circle twice, hence the half.
    """
    square = sigma**2 * (1 + q * zeta) * (zeta + q) / zeta
    sine = (zeta - 1 / zeta) / (2 * sp.I)
    low, high = (edge.subs(c, q**2) for edge in edges())
    root = (high - low) / 2 * sine  # sqrt((s_+^2 - x^2)(x^2 - s_-^2))
    assert sp.simplify(root**2 - (high - square) * (square - low)) == 0
    left = (
        2 * root / quadratic().LC().subs({s: 1, c: q**2}) / (2 * sp.pi) / square
    )  # density of x, over x
    jacobian = (high - low) / 4 * sine / (sp.I * zeta)  # |x dx/dtheta| dtheta/dw
    return square, sp.factor(left * jacobian / 2)


@cache
def moment(k: int, wide: bool = False) -> sp.Expr:
    """(1/n) tr (M M^T)^k carried by the bulk, by the residues inside the unit circle;
    `wide` says c > 1.

    For k = 0 the integrand has a pole at zeta = -q where c < 1, at zeta = -1/q where c
    > 1.
    """
    square, weight = density_at_angle()
    integrand = sp.factor(square**k * weight)
    poles = [0] if k else [0, -1 / q if wide else -q]
    return sp.factor(
        sp.expand(
            sp.simplify(
                2 * sp.pi * sp.I * sum(sp.residue(integrand, zeta, p) for p in poles)
            )
        ).subs(q, sp.sqrt(c))
    )


def finite_moment(k: int, rows: int, columns: int) -> sp.Expr:
    """E (1/n) tr (M M^T)^k of a matrix of this size, exactly, by Gaussian averages over
    its entries.
    """
    M = hermitization(rows, columns)[:rows, rows:]
    return gaussian_average(
        ((M * M.T) ** k).trace() / rows, list(M), sigma**2 / columns
    )


@cache
def square_moment(k: int) -> sp.Expr:
    """E x^k over the singular values of a square matrix, with x = 2 sigma sin(theta)."""
    theta = sp.Symbol("theta", positive=True)
    integrand = (
        (x**k * density().subs(c, 1)).subs(x, 2 * sigma * sp.sin(theta))
        * 2
        * sigma
        * sp.cos(theta)
    )
    integrand = sp.simplify(integrand).replace(
        sp.Abs, lambda a: a
    )  # cos(theta) is positive here
    return sp.simplify(sp.integrate(integrand, (theta, 0, sp.pi / 2)))


def narrow_density() -> sp.Expr:
    """Limit c -> 0 of the density of u, where x = sigma (1 + sqrt(c) u)."""
    rescaled = sp.simplify(
        (density() * sigma * sp.sqrt(c))
        .subs(x, sigma * (1 + sp.sqrt(c) * u))
        .subs(c, q**2)
        ** 2
    )
    return sp.sqrt(sp.factor(sp.limit(rescaled, q, 0, "+")))


def edge_height() -> sp.Expr:
    """rho_+ in density = rho_+ sqrt(s_+ - x) just below the upper edge."""
    top = sigma * (1 + q)
    slope = sp.factor(sp.cancel(edge_condition().subs(s, x) / (top - x)).subs(x, top))
    return (sp.sqrt(slope) * density_prefactor().subs(x, top)).subs(q, sp.sqrt(c))


# --- the equation contract
# --------------------------------------------------------------------------------------

# of the power series that stand for the responses below: at s_+ tau < 4 the rest is
# below 1e-17
ORDER = 32


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(300)


def law_average(law, values):
    """E values(x) over the singular values, from the library's density by
    Gauss-Legendre quadrature in an angle.
    """
    (low, high), angle = law.edges[0], np.pi / 2 * (1 + _NODES)
    position = np.sqrt((low**2 + high**2 + (high**2 - low**2) * np.cos(angle)) / 2)
    jacobian = (high**2 - low**2) * np.sin(angle) / (4 * position)
    return float(
        np.sum(_WEIGHTS * law.density(position) * jacobian * values(position))
        * np.pi
        / 2
    )


def _law(aspect, scale):
    return dm.rectangular_law(aspect, scale**2)


_cdf_slope = jax.jit(
    jax.grad(lambda position, aspect, scale: _law(aspect, scale).cdf(position))
)


def _draw(rng, *more):
    """Random aspect and sigma, then whatever `more` draws from (rng, law)."""
    aspect, scale = np.exp(rng.uniform(-3, 3)), rng.uniform(0.3, 3)
    law = _law(aspect, scale)
    return aspect, scale, *(value for draw in more for value in draw(rng, law))


def _above(rng, law):
    return (float(law.edges[0][1]) * rng.uniform(1.01, 3),)


def _inside(rng, law):
    low, high = law.edges[0]
    return (float(low + (high - low) * rng.uniform(0.01, 0.99)),)


def _complex_pair(rng, law):
    point = complex(rng.normal(), rng.uniform(0.1, 2) * rng.choice([-1, 1]))
    return point, complex(law.m_left(point)), complex(law.m_right(point))


def _time(rng, law):
    return rng.uniform(0, 2), rng.uniform(0, 4) / float(law.edges[0][1])


def _left_response(aspect, scale, decay, time):
    law = _law(aspect, scale)
    bulk = (1 - law.left_atom) * law_average(
        law, lambda position: np.cosh(time * position)
    )
    return np.exp(-decay * time) * (bulk + law.left_atom)


def _right_response(aspect, scale, decay, time):
    law = _law(aspect, scale)
    bulk = (1 - law.right_atom) * law_average(
        law, lambda position: np.cosh(time * position)
    )
    return np.exp(-decay * time) * (bulk + law.right_atom)


def _moments(aspect, scale):
    law = _law(aspect, scale)
    return [
        (1 - law.left_atom)
        * law_average(law, lambda position, k=k: position ** (2 * k))
        for k in range(1, 5)
    ]


def _density_twice(aspect, scale, position):
    """The density and the slope of the distribution function."""
    return _law(aspect, scale).density(position), _cdf_slope(position, aspect, scale)


def _edge_height(aspect, scale):
    law = _law(aspect, scale)
    low, high = law.edges[0]
    depth = 1e-8 * (high - low)
    return law.density(high - depth) / jnp.sqrt(depth)


BESIDES = (
    "exact moments of small Gaussian matrices, and singular values drawn in Chapter 2"
)

CONTRACTS = [
    Contract(
        "eq-wigner-response",
        response_series(response_coefficients(ORDER)[0], z),
        (z, tau),
        lambda decay, time: _left_response(1.0, 1.0, decay, time),
        lambda rng: (rng.uniform(0, 2), rng.uniform(0, 2)),
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-wigner-resolvent",
        wigner_resolvent(),
        (s,),
        lambda point: _law(1.0, 1.0).m_left(point),
        lambda rng: (rng.uniform(2.01, 6),),
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-cavity",
        sp.Matrix([equation.rhs for equation in cavity_equations()]),
        (c, sigma, s, m_L, m_R),
        lambda aspect, scale, point, *_: [
            _law(aspect, scale).m_left(point),
            _law(aspect, scale).m_right(point),
        ],
        lambda rng: _draw(rng, _complex_pair),
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-rectangular-response",
        sp.Matrix(
            [
                response_series(a, s)
                for a in response_coefficients(ORDER, sigma**2, c * sigma**2)
            ]
        ),
        (c, sigma, s, tau),
        lambda *values: [_left_response(*values), _right_response(*values)],
        lambda rng: _draw(rng, _time),
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-transforms",
        sp.Matrix([transform(m_L), transform(m_R)]),
        (c, sigma, s),
        lambda aspect, scale, point: [
            _law(aspect, scale).m_left(point),
            _law(aspect, scale).m_right(point),
        ],
        lambda rng: _draw(rng, _above),
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-edges",
        sp.Matrix([sp.sqrt(edge) for edge in edges()]),
        (c, sigma),
        lambda aspect, scale: _law(aspect, scale).edges[0],
        _draw,
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-atoms",
        sp.Matrix([atom(m_L), atom(m_R)]),
        (c, sigma),
        lambda aspect, scale: [
            _law(aspect, scale).left_atom,
            _law(aspect, scale).right_atom,
        ],
        _draw,
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-density",
        sp.Matrix([density(), density()]),
        (c, sigma, x),
        _density_twice,
        lambda rng: _draw(rng, _inside),
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-moments",
        sp.Matrix([moment(k) for k in range(1, 5)]),
        (c, sigma),
        _moments,
        _draw,
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-quarter-circle",
        sp.Matrix([square_moment(k) for k in (1, 3)]),
        (sigma,),
        lambda scale: [
            law_average(_law(1.0, scale), lambda position, k=k: position**k)
            for k in (1, 3)
        ],
        lambda rng: (rng.uniform(0.3, 3),),
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-transpose",
        density().subs({c: 1 / c, sigma: sigma * sp.sqrt(c)}, simultaneous=True),
        (c, sigma, x),
        lambda aspect, scale, position: _law(aspect, scale).density(position),
        lambda rng: _draw(rng, _inside),
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-narrow",
        narrow_density(),
        (u,),  # the library at aspect 1e-10, an error of order 1e-5
        lambda at: 1e-5 * _law(1e-10, 1.0).density(1 + 1e-5 * at),
        lambda rng: (rng.uniform(-0.99, 0.99),),
        tolerance=1e-4,
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-edge-height",
        edge_height(),
        (c, sigma),
        _edge_height,
        _draw,
        tolerance=1e-6,
        standing="derived",
        besides=BESIDES,
    ),
]
