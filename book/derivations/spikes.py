"""Chapter 3: outliers of M = M0 + spikes, derived.

The auxiliary dynamics a = (s - H)^{-1} F of the two halves (a, a') obeys s a = M0 a' +
..., s a' = M0^T a + .... Stein's lemma turns each product with M0 into fresh noise and
responses, and everything below is algebra.
"""

import numpy as np
import sympy as sp
from sympy import Matrix, Symbol, diff, eye, simplify, solve, sqrt, symbols, zeros

import dmftlib as dm
from dmftlib.spectra import outliers as level_two

from .contract import Contract

s, sigma, c, theta = symbols("s sigma c theta", positive=True)
m_L, m_R = symbols("m_L m_R", positive=True)
G, H, B, A = symbols("G H B A", real=True)
bulk_equations = (m_L * (s - sigma**2 * m_R) - 1, m_R * (s - sigma**2 * c * m_L) - 1)


# ---------------------------------------------------------------- independent spikes


def overlap_matrix_independent():
    """Q = F^T (s - H0)^{-1} F / m for F = ((g, 0), (0, h)), g and h independent of M0."""
    return Matrix([[c * G * m_L, 0], [0, H * m_R]])


def outlier_condition(Q, strengths):
    """det(1 - Q J), J = [[0, strengths], [strengths^T, 0]]: zero at an outlier."""
    strengths = Matrix(strengths)
    l, k = strengths.shape
    J = Matrix(sp.BlockMatrix([[zeros(l, l), strengths], [strengths.T, zeros(k, k)]]))
    return sp.expand((eye(l + k) - Q * J).det())


def position_where(product):
    """s^2 at which m_L m_R takes the given value, from the bulk equations alone.

    Their products with m_R and m_L give s m_R and s m_L in terms of m_L m_R; multiply
    the two.
    """
    # m_L (s - sigma**2 m_R) = 1  ->  s m_L = 1 + sigma**2 m_L m_R;  likewise  s m_R = 1
    # + sigma**2 c m_L m_R
    s_m_L, s_m_R = 1 + sigma**2 * product, 1 + sigma**2 * c * product
    return sp.factor(s_m_L * s_m_R / product)


def independent_position():
    """Square of the outlier for unit vectors u, v and M0 + theta u v^T (G = 1/c, H = 1,
    so theta^2 m_L m_R = 1).
    """
    condition = outlier_condition(overlap_matrix_independent(), [[theta]]).subs(
        {G: 1 / c, H: 1}
    )
    product = Symbol("p", positive=True)
    (value,) = solve(condition.subs(m_L, product / m_R), product)
    return position_where(value)


def bulk_slopes():
    """dm_L/ds and dm_R/ds, by differentiating the bulk equations."""
    left, right = sp.Function("m_L")(s), sp.Function("m_R")(s)
    system = [diff(e.subs({m_L: left, m_R: right}), s) for e in bulk_equations]
    slopes = solve(system, [left.diff(s), right.diff(s)], dict=True)[0]
    back = {left: m_L, right: m_R}
    return tuple(simplify(slopes[f.diff(s)].subs(back)) for f in (left, right))


def overlaps(Q, strengths, G_diagonal, H_diagonal):
    """Squared cosines from y = Q J y and y^T J (-dQ/ds) J y = 2, for one spike."""
    slope_L, slope_R = bulk_slopes()
    dQ = Q.applyfunc(lambda q: diff(q, m_L) * slope_L + diff(q, m_R) * slope_R)
    J = Matrix([[0, strengths], [strengths, 0]])
    y = Matrix([1, 0])
    y[1] = (1 - (Q * J)[0, 0]) / (Q * J)[0, 1]  # first row of y = Q J y
    scale = 2 / (-(y.T * J * dQ * J * y)[0])
    return simplify(scale * y[0] ** 2 / (c * G_diagonal)), simplify(
        scale * y[1] ** 2 / H_diagonal
    )


def on_shell(expression, product):
    """Eliminate m_L, m_R and s where m_L m_R = product, using s m_L = 1 + sigma**2 p
    and s m_R = 1 + sigma**2 c p.
    """
    s_L, s_R = 1 + sigma**2 * product, 1 + sigma**2 * c * product
    position = sqrt(s_L * s_R / product)
    return sp.factor(
        simplify(
            expression.subs({m_L: s_L / position, m_R: s_R / position, s: position})
        )
    )


def independent_overlaps():
    """Left and right squared cosines of M0 + theta u v^T."""
    Q = overlap_matrix_independent().subs({G: 1 / c, H: 1})
    return tuple(on_shell(o, 1 / theta**2) for o in overlaps(Q, theta, 1 / c, 1))


def threshold(product):
    """Strength at which m_L m_R reaches its value at the bulk edge, 1/(sigma**2
    sqrt(c)).
    """
    return [
        root
        for root in solve(sp.Eq(product, 1 / (sigma**2 * sqrt(c))), theta)
        if root.is_positive is not False
    ]


def edge_product():
    """m_L m_R at the bulk edge: the minimum of s^2 = (1 + sigma**2 p)(1 + sigma**2 c
    p)/p over p.
    """
    p = Symbol("p", positive=True)
    return solve(diff(position_where(p), p), p)


# ---------------------------------------------------------------- dependent spikes


def stein(function, u, variance):
    """<u f(u)> - variance <f'(u)> for u ~ N(0, variance): an integral that must vanish."""
    weight = sp.exp(-(u**2) / (2 * variance)) / sqrt(2 * sp.pi * variance)
    return simplify(
        sp.integrate(
            sp.expand((u * function - variance * diff(function, u)) * weight),
            (u, -sp.oo, sp.oo),
        )
    )


def overlap_matrix(gram_L, gram_R, response_L, response_R):
    """Q(s) of any set of queries, by solving the two linear systems of the auxiliary
    dynamics.

    alpha = <d a'/d r>, beta = <d a/d u>, X = <g a>, Y = <h a'> for the sources F = (g |
    h): each half of the field is m times (source + what M0 sends back), and M0's answer
    is noise plus responses.
    """
    l, k = response_L.shape
    source_alpha = Matrix.hstack(zeros(l, l), response_R.T)
    source_beta = Matrix.hstack(response_L.T, zeros(k, k))
    source_X = Matrix.hstack(gram_L, zeros(l, k))
    source_Y = Matrix.hstack(zeros(k, l), gram_R)
    alpha = Matrix(l, l + k, lambda i, j: Symbol(f"alpha_{i}{j}"))
    beta = Matrix(k, l + k, lambda i, j: Symbol(f"beta_{i}{j}"))
    X = Matrix(l, l + k, lambda i, j: Symbol(f"X_{i}{j}"))
    Y = Matrix(k, l + k, lambda i, j: Symbol(f"Y_{i}{j}"))
    responses = [
        *(alpha - m_R * (source_alpha + sigma**2 * c * response_R.T * beta)),
        *(beta - m_L * (source_beta + sigma**2 * response_L.T * alpha)),
    ]
    found = solve(responses, [*alpha, *beta], dict=True)[0]
    averages = [
        *(
            X
            - m_L
            * (
                source_X
                + sigma**2 * response_L * Y
                + sigma**2 * gram_L * alpha.subs(found)
            )
        ),
        *(
            Y
            - m_R
            * (
                source_Y
                + sigma**2 * c * response_R * X
                + sigma**2 * c * gram_R * beta.subs(found)
            )
        ),
    ]
    found = solve(averages, [*X, *Y], dict=True)[0]
    return Matrix.vstack(c * X, Y).subs(found).applyfunc(sp.factor)


def sum_over_paths(gram_L, gram_R, response_L, response_R):
    """Q(s) once more, without a linear system of fields: paths from a query back over
    the responses to what it was made of, once a Gram, and on to another query.

    A stay on the left is a factor c m_L, one on the right m_R, a crossing sigma^2 times
    its response; the responses of a causal list are nilpotent, so the sum is finite.
    """
    l, k = response_L.shape
    stays = sp.diag(*[c * m_L] * l, *[m_R] * k)
    made_of = Matrix.vstack(
        Matrix.hstack(zeros(l, l), response_L), Matrix.hstack(response_R, zeros(k, k))
    )
    path = reached = eye(l + k)
    for _ in range(l + k):
        path = stays * sigma**2 * made_of * path
        reached += path
    return reached * stays * sp.diag(gram_L, gram_R) * reached.T


def overlap_matrix_one():
    """Q for one spike g h^T with g = g(M0 h): G = <g^2>, H = <h^2>, B = <dg/du>, and h
    does not answer.
    """
    return overlap_matrix(Matrix([[G]]), Matrix([[H]]), Matrix([[B]]), zeros(1, 1))


def condition_one():
    """Outlier condition of theta g h^T / m with g = g(M0 h)."""
    return outlier_condition(overlap_matrix_one(), [[theta]])


def condition_mirrored():
    """Outlier condition of theta g h^T / m with h = h(M0^T g), A = <dh/dr>; g does not
    answer.
    """
    Q = overlap_matrix(Matrix([[G]]), Matrix([[H]]), zeros(1, 1), Matrix([[A]]))
    return outlier_condition(Q, [[theta]])


def linear_product():
    """m_L m_R at the outlier for g = M0 h (B = 1, G = sigma**2 H): the spiked
    covariance, <h^2> = 1.
    """
    p = Symbol("p", positive=True)
    condition = sp.expand(
        condition_one().subs({B: 1, G: sigma**2 * H}).subs(H, 1).subs(m_L, p / m_R)
    )
    (value,) = solve(condition, p)
    return sp.factor(value)


def linear_position():
    """Square of the outlier of M0 + theta (M0 v) v^T."""
    return position_where(linear_product())


def linear_overlaps():
    """Left overlap with M0 v and right overlap with v."""
    Q = overlap_matrix_one().subs({B: 1, G: sigma**2 * H}).subs(H, 1)
    return tuple(on_shell(o, linear_product()) for o in overlaps(Q, theta, sigma**2, 1))


def linear_threshold():
    """Strength at which the outlier of M0 + theta (M0 v) v^T leaves the bulk."""
    return simplify(threshold(linear_product())[0])


a, b = symbols("a b", real=True)
G1, H1, H12, H2 = symbols("G_1 H_1 H_12 H_2", real=True)


def overlap_matrix_chain():
    """Q for the chain h_1 -> g = g(M0 h_1) -> h_2 = a M0^T g + ...: b = <dg/du_1>, a =
    <dh_2/dr>.
    """
    gram_R = Matrix([[H1, H12], [H12, H2]])
    return overlap_matrix(Matrix([[G1]]), gram_R, Matrix([[b, 0]]), Matrix([[0], [a]]))


def gaussian_average(function, variance=1.0):
    """<f(u)> for u ~ N(0, variance), by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    return float(weights @ function(np.sqrt(variance) * nodes) / weights.sum())


def tanh_spike(aspect, strength):
    """M0 + strength g h^T / m with g = tanh(M0 h), <h^2> = 1, variance one."""
    power = gaussian_average(lambda u: np.tanh(u) ** 2)
    return dm.SpikedEnsemble(
        aspect=aspect,
        variance=1.0,
        left_gram=[[power]],
        right_gram=[[1.0]],
        left_response=[[1 - power]],
        strengths=[[strength]],
    )


def tanh_chain(aspect, strengths):
    """h_1, e fresh and of unit variance, g_1 = tanh(M0 h_1), h_2 = e + M0^T g_1 / 2,
    g_2 = M0 h_2 - g_1; variance one.

    With b = <tanh'> and P = <tanh^2>: M0^T g_1 = r_1 + c b h_1, so h_2 = e + r_1/2 + x
    h_1, x = c b/2 and A_21 = 1/2; then M0 h_2 = u_2 + g_1/2, so g_2 = u_2 - g_1/2; and
    <u_2 g_1> = H_12 b by Stein's lemma.
    """
    power = gaussian_average(lambda u: np.tanh(u) ** 2)
    gain = 1 - power  # tanh' = 1 - tanh^2
    x = aspect * gain / 2
    H = np.array([[1, x], [x, 1 + aspect * power / 4 + x**2]])
    u2_g1 = x * gain
    G = np.array(
        [[power, u2_g1 - power / 2], [u2_g1 - power / 2, H[1, 1] - u2_g1 + power / 4]]
    )
    return dm.SpikedEnsemble(
        aspect=aspect,
        variance=1.0,
        left_gram=G,
        right_gram=H,
        strengths=strengths,
        left_response=[[gain, 0], [-gain / 2, 1]],
        right_response=[[0, 0], [0.5, 0]],
    )


# ---------------------------------------------------------------- the conditioning form


def eliminate_one_mode(left, right):
    """What one mode of the block Z that was never asked sends back to the known
    directions: a symmetric matrix over `left` known directions on the left and `right`
    on the right.

    The mode has a singular value zeta. Its right vector is coupled to the left
    directions by numbers p_i (the known block to the right of D), its left vector to
    the right directions by q_i (the known block below D). With the amplitudes x, y of
    the mode's left and right vector, the rows of s psi = H psi that belong to it are
    s x = zeta y + sum q_i b_i and s y = zeta x + sum p_i a_i.
    """
    p = [Symbol(f"p_{i}") for i in range(left)]
    q = [Symbol(f"q_{i}") for i in range(right)]
    a = [Symbol(f"a_{i}") for i in range(left)]
    b = [Symbol(f"b_{i}") for i in range(right)]
    x, y, zeta = symbols("x y zeta")
    from_left = sum(x * y for x, y in zip(p, a, strict=True))
    from_right = sum(x * y for x, y in zip(q, b, strict=True))
    rows = [s * x - zeta * y - from_right, s * y - zeta * x - from_left]
    mode = solve(rows, [x, y], dict=True)[0]
    sent_back = [p_i * mode[y] for p_i in p] + [q_i * mode[x] for q_i in q]
    known = [*a, *b]
    return Matrix([[diff(sent, each) for each in known] for sent in sent_back])


def effective_matrix(left, right):
    """K(s) over `left` and `right` known directions: D, and beside it the average over
    the couplings of what all modes of Z send back.

    Z is independent of the known blocks and its law does not change under rotations, so
    a pair of couplings on one side averages to an entry of the Gram over the dimension
    (beyond_L, beyond_R), and a pair on different sides to zero. The sum of
    s/(s^2 - zeta^2) over the modes is the dimension times m_L or m_R.
    """
    zeta, dimension = symbols("zeta dimension")
    one = eliminate_one_mode(left, right).applyfunc(sp.expand)
    averaged = zeros(left + right, left + right)
    for i in range(left + right):
        for j in range(left + right):
            if (i < left) != (j < left):
                continue  # the average of p_i q_j
            name, side, transform = ("p", 0, m_R) if i < left else ("q", left, m_L)
            couplings = Symbol(f"{name}_{i - side}") * Symbol(f"{name}_{j - side}")
            resonance = simplify(one[i, j] / couplings)
            gram = beyond(name, i - side, j - side)
            total = resonance * gram / dimension
            averaged[i, j] = total.subs(s / (s**2 - zeta**2), dimension * transform)
    core = Matrix(left, right, lambda i, j: entry("D", i, j))
    known = Matrix.vstack(
        Matrix.hstack(zeros(left, left), core),
        Matrix.hstack(core.T, zeros(right, right)),
    )
    return known + averaged


def entry(letter, i, j):
    """An entry of the core D, or of the Grams A, B of what the answers have beyond."""
    return Symbol(f"\\mathcal{{{letter}}}_{{{i + 1}{j + 1}}}")


def beyond(name, i, j):
    """The average of couplings p_i p_j or q_i q_j, times the dimension."""
    return entry({"p": "A", "q": "B"}[name], min(i, j), max(i, j))


def conditioned_one():
    """K(s) for one spike g h^T, g = g(M0 h): inner products with M0 by Stein's lemma,
    then orthonormal bases.
    """
    gMh = c * sigma**2 * B * H  # g^T M0 h / m = c <g u>
    image_g = sigma**2 * (G + sigma**2 * c * B**2 * H)  # |M0^T g|^2 / n
    image_h = c * sigma**2 * H  # |M0 h|^2 / m
    core = gMh / sqrt(c * G * H)
    D = core + theta * sqrt(c * G * H)
    return Matrix(
        [
            [m_R * simplify(image_g / G - core**2), D],
            [D, m_L * simplify(image_h / H - core**2)],
        ]
    )


def forms_differ_by():
    """det(s - K) / det(1 - QJ) with c and s eliminated by the bulk equations: a factor
    without zeros off the bulk.
    """
    position = 1 / m_L + sigma**2 * m_R
    aspect = (position - 1 / m_R) / (sigma**2 * m_L)
    ratio = (s * eye(2) - conditioned_one()).det() / condition_one()
    return sp.factor(simplify(ratio.subs(c, aspect).subs(s, position)))


# ---------------------------------------------------------------- contracts


def _ensemble(c_, sigma_, G_, H_, B_, theta_):
    return dm.SpikedEnsemble(
        aspect=c_,
        variance=sigma_**2,
        left_gram=[[G_]],
        right_gram=[[H_]],
        left_response=[[B_]],
        strengths=[[theta_]],
    )


def _independent(c_, sigma_, theta_):
    return dm.outliers(_ensemble(c_, sigma_, 1 / c_, 1.0, 0.0, theta_))


def _linear(c_, sigma_, theta_):
    return dm.outliers(_ensemble(c_, sigma_, sigma_**2, 1.0, 1.0, theta_))


def _draw_outside(rng):
    """Aspect, sigma, and a strength well past the independent threshold."""
    c_, v_ = np.exp(rng.uniform(-1.5, 1.5, 2))
    return c_, np.sqrt(v_), np.sqrt(v_) * c_**0.25 * rng.uniform(1.1, 3)


def _draw_linear(rng):
    c_, v_ = np.exp(rng.uniform(-1.5, 1.5, 2))
    return c_, np.sqrt(v_), (np.sqrt(1 + 1 / np.sqrt(c_)) - 1) * rng.uniform(1.1, 3)


def _draw_dependent(rng):
    """Aspect, sigma, transforms at a point off the bulk, Grams, response with sigma^2
    B^2 H <= G, strength.
    """
    c_, v_ = np.exp(rng.uniform(-1.5, 1.5, 2))
    law = dm.rectangular_law(c_, v_)
    s_ = float(law.edges[0][1]) * rng.uniform(1.05, 2)
    H_, B_ = np.exp(rng.uniform(-1, 1)), rng.standard_normal()
    G_ = v_ * B_**2 * H_ * rng.uniform(1.1, 3)
    return (
        c_,
        np.sqrt(v_),
        s_,
        float(law.m_left(s_)),
        float(law.m_right(s_)),
        G_,
        H_,
        B_,
        rng.standard_normal(),
    )


def _draw_mirrored(rng):
    """The same with the sides exchanged: sigma^2 c A^2 G <= H."""
    c_, sigma_, s_, L_, R_, *_ = _draw_dependent(rng)
    G_, A_ = np.exp(rng.uniform(-1, 1)), rng.standard_normal()
    H_ = sigma_**2 * c_ * A_**2 * G_ * rng.uniform(1.1, 3)
    return c_, sigma_, s_, L_, R_, G_, H_, A_, rng.standard_normal()


def _draw_chain(rng):
    c_, sigma_, s_, L_, R_, G_, H_, B_, _ = _draw_dependent(rng)
    a_ = rng.standard_normal()
    # h_2 = a r + x h_1 + own part
    x = rng.standard_normal()
    return (
        c_,
        sigma_,
        s_,
        L_,
        R_,
        G_,
        H_,
        x * H_,
        sigma_**2 * c_ * a_**2 * G_ + x**2 * H_ + 0.3,
        a_,
        B_,
    )


def _chain_matrix(c_, sigma_, s_, L_, R_, G_, H_, H12_, H2_, a_, b_):
    ensemble = dm.SpikedEnsemble(
        aspect=c_,
        variance=sigma_**2,
        left_gram=[[G_]],
        right_gram=[[H_, H12_], [H12_, H2_]],
        left_response=[[b_, 0]],
        right_response=[[0], [a_]],
        strengths=[[1.0, 1.0]],
    )
    return ensemble.overlap_matrix(s_)


_dependent = (c, sigma, s, m_L, m_R, G, H, B, theta)


def _escape_by_bisection(c_):
    """Where the library's eigenvalue at the edge crosses one: nothing of the closed
    form enters.
    """
    from scipy.optimize import brentq

    def excess(strength):
        ensemble = _ensemble(c_, 1.0, 1.0, 1.0, 1.0, strength)
        return float(ensemble.crossings(ensemble.law.edges[0][1])[0][0]) - 1

    return brentq(excess, 1e-3, 50, xtol=1e-13)


SIZES = (40, 32)  # of a matrix of which everything is known: no limit is taken
_seed = Symbol("seed")
_entries = [
    *(entry("D", i, j) for i in range(2) for j in range(2)),
    *(entry("A", i, j) for i in range(2) for j in range(i, 2)),
    *(entry("B", i, j) for i in range(2) for j in range(i, 2)),
]


def _matrix_with_spikes(seed):
    """M0, two queries on either side, one of them made from M0, and strengths."""
    rng = np.random.default_rng(int(seed))
    M0 = rng.standard_normal(SIZES) / np.sqrt(SIZES[1])
    V = rng.standard_normal((SIZES[1], 2))
    U = np.stack([M0 @ V[:, 0], rng.standard_normal(SIZES[0])], 1)
    return M0, U, V, rng.standard_normal((2, 2))


def _draw_blocks(rng):
    """A seed, s and the transforms there, and the known blocks of the matrix in
    orthonormal bases of the queries, by plain linear algebra.
    """
    seed = rng.integers(2**31)
    M0, U, V, strengths = _matrix_with_spikes(seed)
    law = dm.rectangular_law(SIZES[0] / SIZES[1], 1.0)
    s_ = float(law.edges[0][1]) * rng.uniform(1.05, 2)
    M = M0 + U @ strengths @ V.T / SIZES[1]
    left, right = np.linalg.qr(U)[0], np.linalg.qr(V)[0]
    core = left.T @ M @ right
    above = left.T @ M @ M.T @ left - core @ core.T
    beside = right.T @ M.T @ M @ right - core.T @ core
    upper = np.triu_indices(2)
    blocks = (*core.ravel(), *above[upper], *beside[upper])
    return (seed, s_, float(law.m_left(s_)), float(law.m_right(s_)), *blocks)


def _secular(seed, s_, *_):
    """det(s - K(s)) by the library: it does not depend on the choice of bases."""
    ensemble = dm.SpikedEnsemble.from_vectors(*_matrix_with_spikes(seed), variance=1.0)
    known = np.asarray(level_two.effective_matrix(ensemble, s_))
    return np.linalg.det(s_ * np.eye(4) - known)


BESIDES = "simulated matrices (`experiments/dependent_spikes.py`); the two forms of the theory against each other"

CONTRACTS = [
    Contract(
        "eq-independent-position",
        sqrt(independent_position()),
        (c, sigma, theta),
        lambda *x: _independent(*x).values,
        _draw_outside,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-independent-left",
        independent_overlaps()[0],
        (c, sigma, theta),
        lambda *x: _independent(*x).left_overlap,
        _draw_outside,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-independent-right",
        independent_overlaps()[1],
        (c, sigma, theta),
        lambda *x: _independent(*x).right_overlap,
        _draw_outside,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-overlap-matrix",
        overlap_matrix_one(),
        _dependent[:-1],
        lambda c_, sigma_, s_, L_, R_, *x: _ensemble(
            c_, sigma_, *x, 1.0
        ).overlap_matrix(s_),
        lambda rng: _draw_dependent(rng)[:-1],
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-dependent-condition",
        condition_one(),
        _dependent,
        lambda c_, sigma_, s_, L_, R_, *x: np.linalg.det(
            np.eye(2)
            - _ensemble(c_, sigma_, *x).overlap_matrix(s_)
            @ np.array([[0, x[-1]], [x[-1], 0]])
        ),
        _draw_dependent,
        1e-9,
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-spiked-covariance",
        sqrt(linear_position()),
        (c, sigma, theta),
        lambda *x: _linear(*x).values,
        _draw_linear,
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-spiked-overlap",
        linear_overlaps()[1],
        (c, sigma, theta),
        lambda *x: _linear(*x).right_overlap,
        _draw_linear,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-escape",
        linear_threshold(),
        (c,),
        _escape_by_bisection,
        lambda rng: (np.exp(rng.uniform(-1.5, 1.5)),),
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-chain",
        overlap_matrix_chain(),
        (c, sigma, s, m_L, m_R, G1, H1, H12, H2, a, b),
        _chain_matrix,
        _draw_chain,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-mirrored-condition",
        condition_mirrored(),
        (c, sigma, s, m_L, m_R, G, H, A, theta),
        lambda c_, sigma_, s_, L_, R_, G_, H_, A_, theta_: np.linalg.det(
            np.eye(2)
            - dm.SpikedEnsemble(
                aspect=c_,
                variance=sigma_**2,
                left_gram=[[G_]],
                right_gram=[[H_]],
                right_response=[[A_]],
                strengths=[[theta_]],
            ).overlap_matrix(s_)
            @ np.array([[0, theta_], [theta_, 0]])
        ),
        _draw_mirrored,
        1e-9,
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-effective",
        (s * eye(4) - effective_matrix(2, 2)).det(method="berkowitz"),
        (_seed, s, m_L, m_R, *_entries),
        _secular,
        _draw_blocks,
        1e-9,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-conditioning",
        conditioned_one(),
        _dependent,
        lambda c_, sigma_, s_, L_, R_, *x: level_two.effective_matrix(
            _ensemble(c_, sigma_, *x).history(), s_
        ),
        _draw_dependent,
        standing="premise typed",
        besides=BESIDES,
    ),
]
