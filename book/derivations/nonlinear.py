"""Chapters 4, 5 and 7: Gaussian averages of nonlinear networks in closed form.

Kernels of erf and ReLU by Price's theorem, the lazy limit, a network of scalars, the
responses of the first steps and the outlier of the first step. Everything is derived
for the network at infinite width; the library samples it.
"""

import functools

import numpy as np
import sympy as sp
from sympy import Symbol, diff, exp, pi, sqrt, symbols

import dmftlib as dm

from . import spikes
from .contract import Contract

k11, k22 = symbols("k_11 k_22", positive=True)
k12 = Symbol("k_12", real=True)
theta = Symbol("vartheta", positive=True)
sigma, gamma0, eta, q = symbols("sigma gamma_0 eta q", positive=True)
y = Symbol("y", real=True)

# ---------------------------------------------------------------- kernels


def erf_slopes():
    """<phi'(a) phi'(b)> for erf: phi' = sqrt(2/pi) exp(-h^2/2), and <exp(-z.z/2)> =
    det(1 + K)^(-1/2).
    """
    K = sp.Matrix([[k11, k12], [k12, k22]])
    return 2 / pi / sqrt((sp.eye(2) + K).det())


def erf_kernel():
    """<phi(a) phi(b)>: its slope in k_12 is <phi' phi'> (Price), and it is odd, so zero
    at k_12 = 0.
    """
    size = Symbol("S", positive=True)  # sqrt((1 + k_11)(1 + k_22))
    slope = 2 / pi / sqrt(size**2 - k12**2)
    assert (
        sp.expand(
            (1 / erf_slopes() ** 2 - 1 / slope**2).subs(
                size, sqrt((1 + k11) * (1 + k22))
            )
        )
        == 0
    )
    x = Symbol("x", real=True)
    found = sp.integrate(2 / pi / sqrt(1 - x**2), (x, 0, k12 / size))
    return found.subs(size, sqrt((1 + k11) * (1 + k22)))


def relu_slopes():
    """<phi'(a) phi'(b)> for ReLU: its slope in k_12 is the density at 0; k_12 =
    sqrt(k_11 k_22) cos(theta).
    """
    angle = Symbol("angle", positive=True)
    K = sp.Matrix(
        [[k11, sqrt(k11 * k22) * sp.cos(angle)], [sqrt(k11 * k22) * sp.cos(angle), k22]]
    )
    density = 1 / (2 * pi * sqrt(k11 * k22) * sp.sin(angle))
    assert sp.simplify(density**-2 - (2 * pi) ** 2 * K.det()) == 0
    step = sp.simplify(density * -sp.diff(K[0, 1], angle))
    return sp.integrate(step, (angle, theta, pi))  # 0 where a = -b


def relu_kernel():
    """<phi(a) phi(b)>: Price's theorem once more, from 0 at theta = pi."""
    angle = Symbol("angle", positive=True)
    step = relu_slopes().subs(theta, angle) * sqrt(k11 * k22) * sp.sin(angle)
    return sp.simplify(sp.integrate(step, (angle, theta, pi)))


def _entrywise(formula, K):
    """A kernel formula at each pair of a covariance matrix."""
    return sp.Matrix(
        *K.shape,
        lambda i, j: formula.xreplace({k11: K[i, i], k22: K[j, j], k12: K[i, j]}),
    )


def lazy_kernels(gram, layers):
    """Phi^0 ... Phi^L and G^1 ... G^{L+1} of an erf network before training, Phi^0 =
    x.x'/D (a SymPy matrix).
    """
    features, gradients = [gram], [sp.ones(*gram.shape)]
    for _ in range(layers):
        features.append(_entrywise(erf_kernel(), sigma**2 * features[-1]))
    for below in features[-2::-1]:
        gradients.insert(
            0,
            sigma**2
            * gradients[0].multiply_elementwise(
                _entrywise(erf_slopes(), sigma**2 * below)
            ),
        )
    return features, gradients


def lazy_ntk(gram, layers):
    """Sum over l = 0 ... L of Phi^l G^{l+1}: P times the kernel that moves the
    predictions.
    """
    pairs = zip(*lazy_kernels(gram, layers), strict=True)
    return sum(
        (features.multiply_elementwise(gradients) for features, gradients in pairs),
        sp.zeros(*gram.shape),
    )


def lazy_predictions(gram, layers, targets, steps):
    """f after some steps from f = 0, at a kernel that does not move."""
    ntk, residual = lazy_ntk(gram, layers), targets
    for _ in range(steps):
        residual = residual - eta / len(targets) * ntk * residual
    return targets - residual


# ---------------------------------------------------------------- a network of scalars

f, k, e = symbols("f k e")  # e = y - f
_root = Symbol("sqrt_q", positive=True)


def scalar_step():
    """(f, k) after a step of the linear network with one hidden layer and one sample, k
    = <h^2> = q <w^2>.

    h and w have <h^2> = k, <w^2> = k/q, <h w> = gamma0 f; the step is h += kappa q e w,
    w += kappa e h.
    """
    kappa = eta * gamma0
    gram = sp.Matrix([[k, gamma0 * f], [gamma0 * f, k / q]])
    h, w = (
        sp.Matrix([1, kappa * q * e]),
        sp.Matrix([kappa * e, 1]),
    )  # the new h and w over the old ones
    hh, hw, ww = (sp.expand((a.T * gram * b)[0]) for a, b in ((h, h), (h, w), (w, w)))
    assert sp.expand(hh - q * ww) == 0
    return hw / gamma0, hh


def scalar_growth():
    """The factors by which k + gamma0 sqrt(q) f and k - gamma0 sqrt(q) f grow in a
    step.
    """
    new_f, new_k = (new.subs(q, _root**2) for new in scalar_step())
    grown = [
        sp.factor(
            (new_k + sign * gamma0 * _root * new_f) / (k + sign * gamma0 * _root * f)
        )
        for sign in (1, -1)
    ]
    return [factor.subs(_root, sqrt(q)) for factor in grown]


def scalar_steps(steps):
    """f and the NTK 2k after some steps from f = 0, k = sigma^2 q, by the factors."""
    up = down = sigma**2 * q
    for _ in range(steps):
        error = y - (up - down) / (2 * gamma0 * sqrt(q))
        up, down = (
            x * factor.subs(e, error)
            for x, factor in zip((up, down), scalar_growth(), strict=True)
        )
    return (up - down) / (2 * gamma0 * sqrt(q)), up + down


# ---------------------------------------------------------------- the outlier of the
# first step


def start_averages():
    """Phi = <phi(h^1)^2> and G = <(g^2)^2> before training: two layers of erf, one
    sample of square q.
    """
    same = {k11: sigma**2 * q, k22: sigma**2 * q, k12: sigma**2 * q}
    Phi = erf_kernel().subs(same)
    same = {key: sigma**2 * Phi for key in same}
    return sp.simplify(Phi), sp.simplify(sigma**2 * erf_slopes().subs(same))


def first_product():
    """1/(m_L m_R) at the outlier after one step; g = phi'(u) w and phi(h) do not
    respond: w has mean zero.
    """
    G, H = symbols("G H", positive=True)
    Q = spikes.overlap_matrix(
        sp.Matrix([[G]]), sp.Matrix([[H]]), sp.zeros(1, 1), sp.zeros(1, 1)
    ).subs(spikes.c, 1)
    condition = spikes.outlier_condition(Q, [[eta * gamma0 * y]])
    product = Symbol("p", positive=True)
    (value,) = sp.solve(condition.subs(spikes.m_L, product / spikes.m_R), product)
    return (1 / value).subs(dict(zip((H, G), start_averages(), strict=True)))


def first_outlier():
    """Square of the outlier after one step, over the strength theta: 1/(m_L m_R) =
    theta^2.
    """
    strength = Symbol("theta", positive=True)
    return sp.factor(
        spikes.position_where(1 / strength**2).subs({spikes.c: 1, spikes.sigma: sigma})
    )


_labels = sp.Matrix(2, 2, symbols("Y_:2:2", real=True))  # of two samples, two outputs


def many_strengths(features, gradients):
    """theta^2 of the two outliers after one step, two samples and two outputs: from the
    kernels before training.

    The queries are g_{mu k}, whose Gram has no entry between outputs, and phi_mu; none
    of them responds.
    """
    strengths = eta * gamma0 / 2 * sp.Matrix.vstack(*map(sp.diag, *_labels.tolist()))
    gram_L = sp.diag(gradients, gradients)
    Q = spikes.overlap_matrix(gram_L, features, sp.zeros(4, 2), sp.zeros(2, 4))
    product = Symbol("p", positive=True)
    condition = spikes.outlier_condition(Q.subs(spikes.c, 1), strengths)
    condition = condition.subs(spikes.m_L, product / spikes.m_R)
    both, one, none = sp.Poly(condition, product).all_coeffs()
    root = sqrt(one**2 - 4 * both * none)
    return (-one + root) / 2, (-one - root) / 2  # of the powers of 1/p = theta^2


# ---------------------------------------------------------------- responses of the
# first steps

h, v = symbols("h v", positive=True)


def slope(x):
    """phi' of erf."""
    return sqrt(2 / pi) * exp(-(x**2) / 2)


def average(expression, variance):
    """<expression> over h ~ N(0, variance), in closed form where SymPy finds one."""
    x = Symbol("x", real=True)
    density = exp(-(x**2) / (2 * v)) / sqrt(2 * pi * v)
    return sp.simplify(
        sp.integrate(expression.subs(h, x) * density, (x, -sp.oo, sp.oo))
    ).subs(v, variance)


def slope_of_a_noisy_field():
    """<phi'(h + zeta r)> over a unit Gaussian r, for erf: a Gaussian integral."""
    zeta = Symbol("zeta", positive=True)
    r = Symbol("r", real=True)
    density = exp(-(r**2) / 2) / sqrt(2 * pi)
    found = sp.integrate(slope(h + zeta * r) * density, (r, -sp.oo, sp.oo))
    return zeta, sp.simplify(found.rewrite(sp.erf))


def first_integrand():
    """phi'(h^1(1)) phi'(h^1(0)) averaged over r, h^1(1) = h + kappa y q phi'(h) r: what
    is left depends on h.
    """
    zeta, averaged = slope_of_a_noisy_field()
    variance = (eta * gamma0 * y * q * slope(h)) ** 2 * sigma**2 * start_averages()[1]
    return slope(h) * averaged.subs(zeta, sqrt(variance))


def first_response(nodes=40):
    """A_10 = kappa y q <phi'(h^1(1)) phi'(h^1(0))>, the last average by Gauss-Hermite
    quadrature.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    integrand = first_integrand()
    total = sum(
        weight * integrand.subs(h, point * sigma * sqrt(q))
        for point, weight in zip(points, weights, strict=True)
    )
    return eta * gamma0 * y * q * total / np.sqrt(2 * np.pi)


def residual_sum(steps):
    """Sum of the residuals of the first steps in the lazy limit, one sample."""
    kernel = lazy_ntk(sp.Matrix([[q]]), 2)[0]
    return sum(y * (1 - eta * kernel) ** step for step in range(steps))


def first_order_question(echo):
    """g = phi'(h^2) w to first order in K = kappa times the sum of residuals: h^2 = u +
    K echo g, as all earlier g are nearly phi'(u) w, and the readout is w + K phi(u).
    """
    K, w = symbols("K w")
    moved = slope(h + K * echo * slope(h) * w) * (w + K * sp.erf(h / sqrt(2)))
    return w, sp.expand(diff(moved, K).subs(K, 0))


@functools.lru_cache(1)
def slow_responses():
    """A and B to first order in gamma0, per kappa times the sum of residuals; all
    earlier queries taken together.

    h^1 = h + K q phi'(h) r, so phi(h^1) responds to r with K q phi'(h)^2. h^2 feels
    the earlier g through the echo, sigma^2 A, and through the spikes, Phi.
    """
    Phi, _ = start_averages()
    A = q * average(slope(h) ** 2, sigma**2 * q)
    echo = Symbol("b")
    w, question = first_order_question(echo)
    response = sp.expand(diff(question, h))  # to u, which is called h here
    squares = average(response.coeff(w, 2), v)  # <w^2> = sigma^2, and <w> = 0
    others = average(response.coeff(w, 0), v)
    B = others + sigma**2 * squares.subs(echo, sigma**2 * A + Phi)
    return A, B.subs(v, sigma**2 * Phi)


# ---------------------------------------------------------------- contracts


@functools.lru_cache(2)
def _solved(inputs, targets, **options):
    """A solution, for hashable data; the same shapes are compiled once."""
    settings = dict(samples=16384) | {
        name: options.pop(name)
        for name in ("samples", "rank", "seed")
        if name in options
    }
    return dm.solve(
        dm.Nonlinear(inputs=np.array(inputs), targets=np.array(targets), **options),
        **settings,
    )


def _at_start(activation, a, b, angle, samples=2**16, seed=0):
    """<phi phi> and <phi' phi'> of two inputs of squares a D and b D and some angle,
    one hidden layer, variance 1.
    """
    inputs = (
        (np.sqrt(2 * a), 0.0),
        (np.sqrt(2 * b) * np.cos(angle), np.sqrt(2 * b) * np.sin(angle)),
    )
    solution = _solved(
        inputs,
        (1.0, -1.0),
        hidden_layers=1,
        activation=activation,
        learning_rate=1.0,
        steps=0,
        samples=samples,
        seed=seed,
    )
    return solution.feature_kernel(1)[0, 0, 1], solution.gradient_kernel(1)[
        0, 0, 0, 1, 0
    ]


def _draw_pair(rng):
    return (*np.exp(rng.uniform(-0.7, 0.7, 2)), rng.uniform(0.3, 2.8))


_erf_pair = sp.Matrix([erf_kernel(), erf_slopes()]).subs(
    k12, sqrt(k11 * k22) * sp.cos(theta)
)
_a, _b, _c = symbols("a b c", real=True)  # x.x'/D: a and b on the diagonal, c off it
_two = sp.Matrix([[_a, _c], [_c, _b]])
_targets = sp.Matrix([1, -1])


def _lazy(a, b, c, sigma_, eta_, **sampled):
    """Predictions after two steps at a small output scale."""
    factor = np.linalg.cholesky([[2 * a, 2 * c], [2 * c, 2 * b]])
    return _solved(
        tuple(map(tuple, factor)),
        (1.0, -1.0),
        hidden_layers=2,
        activation="erf",
        learning_rate=eta_,
        init_variance=sigma_**2,
        gamma0=1e-3,
        steps=2,
        rank=6,
        **sampled,
    ).predictions[2]


def _draw_lazy(rng):
    a, b = np.exp(rng.uniform(-0.5, 0.5, 2))
    return (
        a,
        b,
        rng.uniform(-0.7, 0.7) * np.sqrt(a * b),
        rng.uniform(0.7, 1.3),
        rng.uniform(0.3, 1.0),
    )


def _scalar(y_, q_, sigma_, gamma0_, eta_):
    solution = _solved(
        ((np.sqrt(q_),),),
        (y_,),
        hidden_layers=1,
        activation="linear",
        init_variance=sigma_**2,
        gamma0=gamma0_,
        learning_rate=eta_,
        steps=2,
    )
    return solution.predictions[2, 0, 0], solution.ntk.kernel[2, 0, 0]


def _draw_scalar(rng):
    return (
        rng.uniform(0.5, 1.5),
        *np.exp(rng.uniform(-0.4, 0.4, 3)),
        rng.uniform(0.05, 0.4),
    )


BESIDES = "simulated networks (`experiments/nonlinear.py`)"

CONTRACTS_5 = [
    Contract(
        "eq-erf-kernel",
        _erf_pair,
        (k11, k22, theta),
        lambda *x: _at_start("erf", *x),
        _draw_pair,
        1e-3,
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-relu-kernel",
        sp.Matrix([relu_kernel(), relu_slopes()]),
        (k11, k22, theta),
        lambda *x: _at_start("relu", *x),
        _draw_pair,
        1.3e-2,
        standing="derived",
        besides=BESIDES,
    ),  # an average of jumps: sampled less accurately
    Contract(
        "eq-lazy",
        lazy_predictions(_two, 2, _targets, 2),
        (_a, _b, _c, sigma, eta),
        _lazy,
        _draw_lazy,
        3e-3,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-scalar",
        sp.Matrix(scalar_steps(2)),
        (y, q, sigma, gamma0, eta),
        _scalar,
        _draw_scalar,
        1e-8,
        standing="derived",
        besides=BESIDES,
    ),
]


def _first_outlier(q_, sigma_, gamma0_, eta_, y_, **sampled):
    solution = _solved(
        ((np.sqrt(q_),),),
        (y_,),
        hidden_layers=2,
        activation="erf",
        init_variance=sigma_**2,
        gamma0=gamma0_,
        learning_rate=eta_,
        steps=1,
        rank=2,
        **sampled,
    )
    return solution.outliers(1, 1, max_outliers=1).values


def _draw_escaped(rng):
    """A first step of one and a half to four times the strength that makes an outlier."""
    q_, sigma_, gamma0_, y_ = np.exp(rng.uniform(-0.4, 0.4, 4))
    return (
        q_,
        sigma_,
        gamma0_,
        rng.uniform(1.5, 4) * sigma_ / _strength_at(q_, sigma_, gamma0_, 1.0, y_),
        y_,
    )


def _many_outliers(*values):
    labels, (a, b, c, sigma_, gamma0_, eta_) = values[:4], values[4:]
    factor = np.linalg.cholesky([[2 * a, 2 * c], [2 * c, 2 * b]])
    solution = _solved(
        tuple(map(tuple, factor)),
        (labels[:2], labels[2:]),
        hidden_layers=2,
        activation="linear",
        init_variance=sigma_**2,
        gamma0=gamma0_,
        learning_rate=eta_,
        steps=1,
        rank=6,
    )
    return solution.outliers(1, 1, max_outliers=2).values


def _many_squares():
    """theta^2 in a linear network: Phi = sigma^2 x.x'/D, G = sigma^2."""
    return many_strengths(sigma**2 * _two, sigma**2 * sp.ones(2, 2))


def _draw_many(rng):
    """A first step whose weaker spike is one and a half to three times as strong as it
    must be.
    """
    labels = np.array([1.0, 0.2, -0.3, 1.0]) + 0.2 * rng.standard_normal(4)
    a, b, sigma_, gamma0_ = np.exp(rng.uniform(-0.3, 0.3, 4))
    values = (*labels, a, b, rng.uniform(-0.4, 0.4), sigma_, gamma0_)
    weaker = _weaker_square(*values, 1.0)
    return *values, rng.uniform(1.5, 3) * sigma_ / np.sqrt(weaker)


_many_letters = (*_labels, _a, _b, _c, sigma, gamma0, eta)
_many = sp.Matrix(_many_squares())
_weaker_square = sp.lambdify(_many_letters, _many[1], "numpy")
_strength = eta * gamma0 * sqrt(y**2) * sqrt(first_product() / (eta * gamma0 * y) ** 2)
_strength_at = sp.lambdify((q, sigma, gamma0, eta, y), _strength, "numpy")
CONTRACTS_7 = [
    Contract(
        "eq-first-step-outlier",
        sqrt(first_outlier()).subs(Symbol("theta", positive=True), _strength),
        (q, sigma, gamma0, eta, y),
        _first_outlier,
        _draw_escaped,
        1e-3,
        standing="premise typed",
        besides=BESIDES,
    ),
    Contract(
        "eq-many-strengths",
        _many.applyfunc(lambda square: sqrt(square) + sigma**2 / sqrt(square)),
        _many_letters,
        _many_outliers,
        _draw_many,
        1e-8,
        standing="derived",
        besides="six networks after one step on ten digits (fig-ten-outliers)",
    ),
]


def _responses(y_, q_, sigma_, gamma0_, eta_, samples=8192, seed=0):
    """B (t, s) and A (t, s) of the first two steps, one sample and one output."""
    solution = _solved(
        ((np.sqrt(q_),),),
        (y_,),
        hidden_layers=2,
        activation="erf",
        init_variance=sigma_**2,
        gamma0=gamma0_,
        learning_rate=eta_,
        steps=2,
        rank=3,
        samples=samples,
        seed=seed,
    )
    B, A = (np.asarray(responses) for responses in solution.responses(1))
    return B[:, 0, 0, :, 0], A[:, 0, :, 0, 0]


def _slow_responses(q_, sigma_, eta_, **sampled):
    """A(1), B(1), A(2), B(2) per kappa, summed over the earlier queries, at a small
    output scale.
    """
    B, A = (
        responses.sum(1)
        for responses in _responses(1.0, q_, sigma_, 0.1, eta_, **sampled)
    )
    return np.array([A[1], B[1] - B[0], A[2], B[2] - B[0]]) / (
        0.1 * eta_
    )  # B[0] is sampling error: it is 0


def _draw_responses(rng):
    return (
        rng.uniform(0.5, 1.5),
        *np.exp(rng.uniform(-0.3, 0.3, 3)),
        rng.uniform(0.3, 1.0),
    )


_slow = sp.Matrix(
    [
        part * residual_sum(steps).subs(y, 1)
        for steps in (1, 2)
        for part in slow_responses()
    ]
)
CONTRACTS_4 = [
    Contract(
        "eq-first-step-response",
        first_response(),
        (y, q, sigma, gamma0, eta),
        lambda *x: _responses(*x)[1][1, 0],
        _draw_responses,
        6e-3,
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-slow-responses",
        _slow,
        (q, sigma, eta),
        _slow_responses,
        lambda rng: (*np.exp(rng.uniform(-0.3, 0.3, 2)), rng.uniform(0.3, 1.0)),
        1.4e-2,
        standing="derived",
        besides=BESIDES,
    ),
]
CONTRACTS = CONTRACTS_4 + CONTRACTS_5 + CONTRACTS_7
