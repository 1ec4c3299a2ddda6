"""Chapter 4: gradient descent as a conversation with Gaussian matrices, with letters in
the place of numbers.

`answer` derives the rule: what a matrix that has been asked says to one more question.
A vector of a linear algorithm is a linear combination of *innovations*, the Gaussian
vectors that the matrices have answered with so far. Its coefficients are its responses.
That is all `Innovations` and `Matrix` know; neither uses the library's way of doing it,
which keeps orthonormal bases of the queries and no responses.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import sympy as sp
from sympy import Matrix as Table
from sympy import Symbol, sqrt, symbols

import dmftlib as dm
from dmftlib.training.gaussian import GaussianMatrix

from . import spikes
from .contract import Contract
from .spikes import c, sigma

nu, alpha, gamma, eta, noise = symbols("nu alpha gamma eta varepsilon", positive=True)

# The algebra is done with polynomials, which are fast, in sigma^2, varepsilon^2,
# 1/alpha, nu, the strength kappa = eta gamma/sqrt(nu) of a spike, the scale 1/(gamma
# sqrt(nu)) of the output, and c and eta themselves.
_RING, _square, _noise, _fewness, _nu, _strength, _scale, _c, _eta = sp.ring(
    "square, noise, fewness, nu, strength, scale, c, eta", sp.QQ
)
_MEANING = (
    sigma**2,
    noise**2,
    1 / alpha,
    nu,
    eta * gamma / sqrt(nu),
    1 / (gamma * sqrt(nu)),
    c,
    eta,
)
ONE = _RING(1)


def expression(polynomial):
    """The same in the letters of the text."""
    return sp.Add(
        *(
            number * sp.Mul(*(x**k for x, k in zip(_MEANING, powers, strict=True)))
            for powers, number in _RING(polynomial).terms()
        )
    )


# ---------------------------------------------------------------- a matrix that has
# been asked


class Question(NamedTuple):
    """The next question h to a matrix that was asked h_1 ... h_k forward and g_1 ... g_j
    backward, by its inner products and responses.
    """

    gram: Table  # (k + 1, k + 1)  <h_a h_b>, the new question last
    gram_back: Table  # (j, j)  <g_a g_b>
    response: Table  # (k + 1, j)  A: of each forward question to r_1 ... r_j
    response_back: Table  # (j, k)  B: of each backward question to u_1 ... u_k

    @classmethod
    def in_letters(cls, forward, backward):
        """Any such question, asked after `forward` and `backward` others."""

        def symmetric(letter, size):
            return Table(
                size,
                size,
                lambda i, k: Symbol(f"{letter}_{min(i, k) + 1}{max(i, k) + 1}"),
            )

        return cls(
            symmetric("H", forward + 1),
            symmetric("G", backward),
            Table(forward + 1, backward, lambda a, b: Symbol(f"A_{a + 1}{b + 1}")),
            Table(backward, forward, lambda b, a: Symbol(f"B_{b + 1}{a + 1}")),
        )


class Answer(NamedTuple):
    """M0 h = sum of old_noise_a u_a + sum of echo_b g_b + a new Gaussian vector."""

    old_noise: Table  # (k, 1)
    echo: Table  # (j, 1)
    new_variance: sp.Expr
    noise_covariance: Table  # (k + 1, 1)  <u u_a>, <u^2> of u, old noise and new part


def answer(question):
    """What the matrix says, from what it has said: project, use the rule for the
    earlier answers, and Stein's lemma.

    M0 = M0 P + P' M0 (1 - P) + (1 - P') M0 (1 - P), with P on the earlier h and P' on
    the earlier g. The first two parts are known, the third is independent of them.
    """
    k = len(question.gram[:, 0]) - 1
    gram, G = question.gram[:k, :k], question.gram_back
    A, B = question.response, question.response_back
    rho = gram.LUsolve(question.gram[:k, k])
    outside = Table([*-rho, 1])  # h - sum rho_a h_a, over h_1 ... h_k, h
    r_h = sigma**2 * c * G * A.T  # <r_b h_a>, by Stein's lemma
    z_h = r_h + sigma**2 * c * B * question.gram[:k, :]  # <z_b h_a>, z_b = M0^T g_b
    first = sigma**2 * A[:k, :].T * rho  # echoes in sum rho_a M0 h_a
    second = G.LUsolve(z_h * outside) / c  # P' M0 (h - sum rho_a h_a), over the g_b
    new = sigma**2 * (question.gram[k, k] - (rho.T * gram * rho)[0])
    old = sigma**2 * gram * rho
    return Answer(
        rho.applyfunc(sp.factor),
        (first + second).applyfunc(sp.factor),
        sp.factor(new),
        Table([*old, (rho.T * old)[0] + new]).applyfunc(sp.factor),
    )


def answered_products(question):
    """<x x_1> ... <x x_k>, <x g_1> ... <x g_j>, <x^2> for the answer x = M0 h, x_a =
    u_a + sigma^2 sum_b A_ab g_b the earlier ones.
    """
    said = answer(question)
    k = len(said.old_noise)
    gram, G = question.gram[:k, :k], question.gram_back
    u_g = sigma**2 * gram * question.response_back.T  # <u_a g_b>, by Stein's lemma
    x_u = sigma**2 * gram * said.old_noise + u_g * said.echo
    x_g = u_g.T * said.old_noise + G * said.echo
    x_x = x_u + sigma**2 * question.response[:k, :] * x_g
    square = (
        said.new_variance
        + (said.old_noise.T * sigma**2 * gram * said.old_noise)[0]
        + 2 * (said.old_noise.T * u_g * said.echo)[0]
        + (said.echo.T * G * said.echo)[0]
    )
    return Table([*x_x, *x_g, square])


p, q = symbols("p q", real=True)


def linear_question():
    """The third forward question of a linear dialogue, k = 2 and j = 1: h_1 a start,
    g = b M0 h_1 + start, h_2 = a M0^T g + start, h = p M0^T g + q h_1 + start, all
    starts of unit variance.
    """
    a, b = spikes.a, spikes.b
    square_g = 1 + b**2 * sigma**2
    z_h = sigma**2 * c * b  # <z h_1>: the echo
    square_z = sigma**2 * c * square_g + z_h**2
    gram = Table(
        [
            [1, a * z_h, p * z_h + q],
            [a * z_h, a**2 * square_z + 1, a * p * square_z + a * q * z_h],
            [
                p * z_h + q,
                a * p * square_z + a * q * z_h,
                p**2 * square_z + 2 * p * q * z_h + q**2 + 1,
            ],
        ]
    )
    return Question(gram, Table([[square_g]]), Table([0, a, p]), Table([[b, 0]]))


# ---------------------------------------------------------------- vectors over
# innovations


class Innovations:
    """Gaussian vectors and their covariances per site. A vector is {innovation:
    coefficient}.
    """

    def __init__(self):
        self.covariance = {}

    def new(self, name, variance):
        """A vector that nothing else knows of."""
        self.covariance[name, name] = variance
        return {name: 1}

    def average(self, a, b):
        """<a b>, per site."""
        known = self.covariance
        return sum(
            x * y * known[pair]
            for i, x in a.items()
            for j, y in b.items()
            for pair in ((i, j), (j, i))[: 1 + (i != j)]
            if pair in known
        )


def combine(*terms):
    """Sum of coefficient * vector."""
    total = {}
    for coefficient, vector in terms:
        for name, value in vector.items():
            total[name] = total.get(name, 0) + coefficient * value
    return total


class Matrix:
    """M0 of n x m independent entries N(0, variance/m), n/m = aspect, and its answers:
    noise plus echoes.
    """

    def __init__(self, innovations, name, aspect, variance):
        self.innovations, self.name, self.aspect = innovations, name, aspect
        self.noise = self.echo = {"u": variance, "r": variance * aspect}
        self.asked = {
            "u": [],
            "r": [],
        }  # forward queries h, answered by u, and backward queries g, answered by r

    def forward(self, h):
        """M0 h = u + variance sum_j <dh/dr_j> g_j."""
        return self._answer(h, "u", "r")

    def backward(self, g):
        """M0^T g = r + variance aspect sum_k <dg/du_k> h_k."""
        return self._answer(g, "r", "u")

    def _answer(self, query, own, other):
        mine, average = self.asked[own], self.innovations.average
        mine.append(query)
        new = f"{own}_{self.name}{len(mine) - 1}"
        for k, earlier in enumerate(mine):
            pair = f"{own}_{self.name}{k}", new
            self.innovations.covariance[pair] = self.noise[own] * average(
                earlier, query
            )
        echoes = [
            (self.echo[own] * self.response(query, other, j), vector)
            for j, vector in enumerate(self.asked[other])
        ]
        return combine((1, {new: 1}), *echoes)

    def response(self, query, innovation, number):
        """<d query/d innovation>: in a linear algorithm, a coefficient."""
        return query.get(f"{innovation}_{self.name}{number}", 0)


class Inputs(Matrix):
    """X/sqrt(D), entries N(0, 1/D), P = alpha D rows; backward is (D/P) X^T/sqrt(D),
    the average over samples.
    """

    def __init__(self, innovations):
        super().__init__(innovations, "X", None, ONE)
        self.noise, self.echo = {"u": ONE, "r": _fewness}, {"u": _fewness, "r": ONE}


# ---------------------------------------------------------------- algorithms without a
# network


def exchange():
    """Products of g = b M0 h_1 and M0 h_2, where h_2 = a M0^T g: <g^2>, <g M0 h_2>,
    <(M0 h_2)^2>, over <h_1^2>.
    """
    world = Innovations()
    M = Matrix(world, "M", _c, _square)
    g = M.forward(world.new("h", ONE))
    last = M.forward(M.backward(g))
    a, b = spikes.a, spikes.b
    return Table(
        [
            b**2 * expression(world.average(g, g)),
            a * b**2 * expression(world.average(g, last)),
            a**2 * b**2 * expression(world.average(last, last)),
        ]
    ).applyfunc(sp.factor)


def power_iteration(steps):
    """<v_0 v_k> for v_{k+1} = M0^T M0 v_k from a random start of unit variance."""
    world = Innovations()
    M = Matrix(world, "M", _c, _square)
    v = start = world.new("v", ONE)
    overlaps = []
    for _ in range(steps):
        v = M.backward(M.forward(v))
        overlaps.append(sp.factor(expression(world.average(start, v))))
    return overlaps


def moments_of_the_bulk(number):
    """Mean k-th powers of the eigenvalues of M0^T M0, k = 1 ... number: the expansion
    of s m_R in 1/s^2.
    """
    x = sp.Symbol("x")  # 1/s^2
    left = right = sp.Integer(1)  # s m_L and s m_R
    for _ in range(number):
        left, right = 1 / (1 - sigma**2 * x * right), 1 / (1 - sigma**2 * c * x * left)
        left, right = (sp.series(f, x, 0, number + 1).removeO() for f in (left, right))
    return [sp.factor(sp.expand(right).coeff(x, k)) for k in range(1, number + 1)]


def least_squares(steps):
    """<v_t^2>, t = 0 ... steps, of gradient descent on a linear model from zero: v =
    beta - p, p += eta d.
    """
    world = Innovations()
    X, v, epsilon = Inputs(world), world.new("b", ONE), world.new("e", _noise)
    losses = [ONE]
    for _ in range(steps):
        d = X.backward(combine((1, X.forward(v)), (1, epsilon)))
        v = combine((1, v), (-_eta, d))
        losses.append(world.average(v, v))
    return [expression(loss) for loss in losses]


# ---------------------------------------------------------------- a linear network of
# any depth


class Training:
    """Gradient descent on a deep linear network for a few steps, everything in letters.

    g[t][l], h[t][l] are the queries of step t; test_loss[t], train_loss[t] the losses
    after t steps; `last` what they are made of at the end, g^0 and X v. Without
    `memory` the matrices answer with noise alone, which is wrong: it is there to be
    compared with.
    """

    def __init__(self, hidden_layers, steps, memory=True):
        self.innovations = world = Innovations()
        L, average = hidden_layers, world.average
        X, self.M = (
            Inputs(world),
            [Matrix(world, str(l), _nu if l == 0 else ONE, _square) for l in range(L)],
        )
        if not memory:
            for matrix in (X, *self.M):
                matrix.echo = {"u": 0, "r": 0}
        beta, epsilon, w = (
            world.new("b", ONE),
            world.new("e", _noise),
            world.new("w", _square),
        )
        self.test_loss, self.train_loss, self.g, self.h = [], [], [], []
        for t in range(steps + 1):
            g = [None] * L + [w]
            for l in reversed(range(L)):
                learnt = [
                    (_strength * self.M[l].aspect * average(old[l + 1], g[l + 1]), h[l])
                    for old, h in zip(self.g, self.h, strict=True)
                ]
                g[l] = combine((1, self.M[l].backward(g[l + 1])), *learnt)
            v = combine((1, beta), (-_scale, g[0]))
            image = X.forward(v)
            residual = combine((1, image), (1, epsilon))
            self.test_loss.append(average(v, v))
            self.train_loss.append(average(residual, residual))
            if t == steps:
                self.last = (g[0], image)
                break
            h = [X.backward(residual)]
            for l in range(L):
                learnt = [
                    (_strength * average(old[l], h[l]), g_old[l + 1])
                    for g_old, old in zip(self.g, self.h, strict=True)
                ]
                h.append(combine((1, self.M[l].forward(h[l])), *learnt))
            w = combine((1, w), (_strength, h[L]))
            self.g.append(g)
            self.h.append(h)


@functools.cache
def training(hidden_layers, steps, memory=True):
    return Training(hidden_layers, steps, memory)


@functools.cache
def losses(steps, memory=True):
    """Test and train loss after `steps` steps, one hidden layer."""
    run = training(1, steps, memory)
    return expression(run.test_loss[steps]), expression(run.train_loss[steps])


def first_gradient(hidden_layers, layer):
    """<g^2>, <h^2> and the response <dh/dr> of the first spike g h^T of a layer."""
    run = training(hidden_layers, 1)
    g, h = run.g[0][layer + 1], run.h[0][layer]
    average = run.innovations.average
    return tuple(
        map(
            expression, (average(g, g), average(h, h), run.M[layer].response(h, "r", 0))
        )
    )


# ---------------------------------------------------------------- the first spike of
# one hidden layer

Lambda = sp.Symbol("Lambda", positive=True)


def first_spike():
    """Lambda = 1/(sigma^2 m_L m_R) at the outlier of W^0 after one step, from the
    condition of chapter 3.
    """
    G, H, A = first_gradient(1, 0)
    product = sp.Symbol("p", positive=True)
    Q = spikes.overlap_matrix(
        *(sp.Matrix([[symbol]]) for symbol in symbols("G H")),
        sp.zeros(1, 1),
        sp.Matrix([[sp.Symbol("A")]]),
    )
    condition = spikes.outlier_condition(Q, [[spikes.theta]]).subs(
        spikes.m_L, product / spikes.m_R
    )
    (value,) = sp.solve(condition, product)
    meaning = dict(zip(symbols("G H A"), (G, H, A), strict=True)) | {
        spikes.theta: eta * gamma / sqrt(nu),
        c: nu,
    }
    return sp.factor(sp.expand((1 / (sigma**2 * value)).subs(meaning)))


def position():
    """Square of the outlier as a function of Lambda, c = nu."""
    return sp.factor(spikes.position_where(1 / (sigma**2 * Lambda)).subs(c, nu))


# ---------------------------------------------------------------- typed in the chapter,
# to be held against the derived

V, H0 = symbols("V H_0", positive=True)  # initial test loss, <d^2>
TYPED = {
    V: 1 + sigma**4 / gamma**2,
    H0: (1 + 1 / alpha) * (1 + sigma**4 / gamma**2) + noise**2 / alpha,
}


def typed_one_step():
    x = eta * sigma**2
    return (
        V
        - 2 * x * (2 * V + (V - 1) / nu)
        + x**2 * ((4 + 1 / nu) * H0 + 2 * (3 * V - 2) / nu + (V - 1) / nu**2)
        - 2 * x**3 / nu * (2 * H0 + (V - 1) / nu)
        + x**4 * H0 / nu**2
    )


def typed_first_spike():
    return eta * (eta * gamma**2 * H0 - 2 * sigma**2)


# ---------------------------------------------------------------- contracts

_parameters = (nu, alpha, sigma, gamma, noise, eta)


@functools.lru_cache(1)
def _solved(nu_, alpha_, sigma_, gamma_, noise_, eta_, steps):
    return dm.solve(
        dm.DeepLinear(
            hidden_layers=1,
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


def _both(solution, step):
    return [solution.test_loss[step], solution.train_loss[step]]


def _draw(rng):
    return (
        *np.exp(rng.uniform(-0.7, 0.7, 4)),
        rng.uniform(0.1, 1),
        rng.uniform(0.05, 0.5),
    )


def _draw_escaped(rng):
    """A step 1.5 to 3 times as long as the one that makes an outlier, Lambda =
    sqrt(nu).
    """
    nu_, *rest, _ = _draw(rng)
    root = sp.solve(typed_first_spike() - sqrt(nu), eta)[-1].subs(TYPED)
    escape = float(root.subs(dict(zip(_parameters, (nu_, *rest), strict=False))))
    return (nu_, *rest, escape * rng.uniform(1.5, 3))


def ask(aspect, variance, capacity=6, starts=1):
    """A fresh `dmftlib.training.gaussian.GaussianMatrix` and a start vector on its
    right, or as many as one wants, on either side.
    """
    matrix = GaussianMatrix(
        aspect=aspect,
        variance=variance,
        left_dim=starts + capacity,
        right_dim=starts + capacity,
        left_start=starts,
        right_start=starts,
        capacity=capacity,
    )
    first = jnp.eye(starts + capacity)[:starts]
    return matrix, first[0] if starts == 1 else first


def _exchange(c_, sigma_, a_, b_):
    matrix, h = ask(c_, sigma_**2)
    matrix, _, image = matrix.forward(h)
    g = b_ * image
    matrix, _, image = matrix.backward(g)
    _, _, last = matrix.forward(a_ * image)
    return [g @ g, g @ last, last @ last]


def _third_answer(c_, sigma_, a_, b_, p_, q_):
    """The inner products of `answered_products(linear_question())`."""
    matrix, start = ask(c_, sigma_**2, starts=3)
    matrix, _, x_1 = matrix.forward(start[0])
    g = b_ * x_1 + start[0]
    matrix, _, z = matrix.backward(g)
    matrix, _, x_2 = matrix.forward(a_ * z + start[1])
    _, _, x = matrix.forward(p_ * z + q_ * start[0] + start[2])
    return [x @ x_1, x @ x_2, x @ g, x @ x]


def _power(c_, sigma_):
    matrix, v = ask(c_, sigma_**2)
    start, overlaps = v, []
    for _ in range(4):
        matrix, _, u = matrix.forward(v)
        matrix, _, v = matrix.backward(u)
        overlaps.append(start @ v)
    return overlaps


def least_squares_curve(alpha_, noise_, eta_, steps):
    """The numbers of `least_squares`, any number of steps: the causal pass of the
    library.
    """
    X, v = ask(alpha_, 1.0, steps + 1)
    epsilon, losses = (
        noise_ * v,
        [v @ v],
    )  # the first coefficient on either side: target, label noise
    for _ in range(steps):
        X, _, image = X.forward(v)
        X, _, d = X.backward(image + epsilon)
        v = v - eta_ / alpha_ * d
        losses.append(v @ v)
    return np.array(losses)


BESIDES = "the residual of the rule on one matrix (Chapter 4); simulated networks (`experiments/deep_linear.py`)"

CONTRACTS = [
    Contract(
        "eq-asked-again",
        answered_products(linear_question()),
        (c, sigma, spikes.a, spikes.b, p, q),
        _third_answer,
        lambda rng: (*np.exp(rng.uniform(-1, 1, 2)), *rng.standard_normal(4)),
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-answers",
        exchange(),
        (c, sigma, spikes.a, spikes.b),
        _exchange,
        lambda rng: (*np.exp(rng.uniform(-1, 1, 2)), *rng.standard_normal(2)),
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-power",
        sp.Matrix(power_iteration(4)),
        (c, sigma),
        _power,
        lambda rng: np.exp(rng.uniform(-1, 1, 2)),
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-least-squares",
        sp.Matrix(least_squares(2)),
        (alpha, noise, eta),
        lambda *x: least_squares_curve(*x, 2),
        lambda rng: (
            np.exp(rng.uniform(-1, 1)),
            rng.uniform(0.1, 1),
            rng.uniform(0.1, 1),
        ),
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-start",
        sp.Matrix(losses(0)),
        _parameters,
        lambda *x: _both(_solved(*x, 1), 0),
        _draw,
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-one-step",
        sp.Matrix(losses(1)),
        _parameters,
        lambda *x: _both(_solved(*x, 1), 1),
        _draw,
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-two-steps",
        sp.Matrix(losses(2)),
        _parameters,
        lambda *x: _both(_solved(*x, 2), 2),
        _draw,
        1e-9,
        standing="derived",
        besides=BESIDES,
    ),
    Contract(
        "eq-first-spike",
        sp.sqrt(position().subs(Lambda, first_spike())),
        _parameters,
        lambda *x: _solved(*x, 1).outliers(0, 1).values[0],
        _draw_escaped,
        1e-8,
        standing="derived",
        besides=BESIDES,
    ),
]
