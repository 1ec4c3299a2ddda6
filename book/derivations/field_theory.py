"""Chapter 5: the equations of a whole network, L layers, P samples and K outputs,
followed with letters.

Where the activation is the identity every vector is a combination of innovations, and
`gradient_descent.Matrix` answers with noise and echoes. `Training` follows the box of
the chapter line by line, in the same order, and knows of nothing else. The library
draws neurons and knows no responses.

Chapter 7: the spikes of one step, by differentiating the loss in the raw weights, and
with them the trained matrix between its own questions.
"""

import functools
from typing import NamedTuple

import numpy as np
import sympy as sp
from sympy import Matrix as Table
from sympy import Symbol, sqrt, symbols

import dmftlib as dm

from .contract import Contract
from .gradient_descent import Innovations, Matrix, combine

sigma, gamma0, eta = symbols("sigma gamma_0 eta", positive=True)
rho = Symbol("rho", real=True)  # x.x'/D of the two inputs, whose squares are one
TARGETS = ((1, -1), (sp.Rational(1, 2), 2))  # two samples, two outputs

_RING, _square, _rate, _scale, _rho = sp.ring("square, rate, scale, rho", sp.QQ)
_MEANING = (sigma**2, eta * gamma0 / len(TARGETS), 1 / gamma0, rho)


class Training:
    """A linear network in training: `predictions[t][sample][output]`, in letters."""

    def __init__(self, hidden_layers, steps):
        self.world = Innovations()
        self.matrices = [
            Matrix(self.world, str(l), 1, _square) for l in range(1, hidden_layers)
        ]
        self.inputs = ((1, _rho), (_rho, 1))  # x.x'/D
        self.past = []  # (residuals, fields h, gradients g) of the earlier steps
        self.predictions = []
        field, readout = self._start()
        for _ in range(steps + 1):
            fields = self._up(field)
            gradients = self._down(readout)
            self.predictions.append(self._output(fields[-1], readout))
            residuals = self._residuals()
            self.past.append((residuals, fields, gradients))
            field = self._moved(field, residuals, gradients[0])
            readout = [
                combine(
                    (1, readout[k]),
                    *[(_rate * residuals[s][k], fields[-1][s]) for s in range(2)],
                )
                for k in range(2)
            ]

    def _start(self):
        """h^1 with <h h'> = sigma^2 x.x'/D, and w, before training."""
        world = self.world
        field = [world.new(f"x{s}", _square) for s in range(2)]
        world.covariance["x0", "x1"] = _square * _rho
        return field, [world.new(f"w{k}", _square) for k in range(2)]

    def _up(self, field):
        """h^1 ... h^L of every sample: M_l(0) h, and the spikes of the past."""
        fields = [field]
        for l, matrix in enumerate(self.matrices):
            fields.append(
                [
                    combine((1, matrix.forward(h)), *self._learnt_up(l, h))
                    for h in fields[-1]
                ]
            )
        return fields

    def _down(self, readout):
        """g^1 ... g^L of every sample and output."""
        gradients = [[list(readout) for _ in range(2)]]
        for l in reversed(range(len(self.matrices))):
            above = gradients[0]
            gradients.insert(
                0,
                [
                    [
                        combine(
                            (1, self.matrices[l].backward(g)), *self._learnt_down(l, g)
                        )
                        for g in of_sample
                    ]
                    for of_sample in above
                ],
            )
        return gradients

    def _learnt_up(self, l, h):
        """What the spikes of layer l make of h: terms rate Delta <h_s h> g_s."""
        return [
            (
                _rate * residuals[s][k] * self.world.average(fields[l][s], h),
                gradients[l + 1][s][k],
            )
            for residuals, fields, gradients in self.past
            for s in range(2)
            for k in range(2)
        ]

    def _learnt_down(self, l, g):
        """What the transposed spikes make of g: terms rate Delta <g_s g> h_s."""
        return [
            (
                _rate * residuals[s][k] * self.world.average(gradients[l + 1][s][k], g),
                fields[l][s],
            )
            for residuals, fields, gradients in self.past
            for s in range(2)
            for k in range(2)
        ]

    def _output(self, last, readout):
        return [[_scale * self.world.average(w, h) for w in readout] for h in last]

    def _residuals(self):
        return [
            [_RING(y) - f for y, f in zip(*pair, strict=True)]
            for pair in zip(TARGETS, self.predictions[-1], strict=True)
        ]

    def _moved(self, field, residuals, gradients):
        """h^1 after the step of W^0."""
        return [
            combine(
                (1, field[mu]),
                *[
                    (_rate * self.inputs[mu][s] * residuals[s][k], gradients[s][k])
                    for s in range(2)
                    for k in range(2)
                ],
            )
            for mu in range(2)
        ]


@functools.cache
def predictions(hidden_layers, steps):
    """f of both samples and both outputs after `steps` steps, as polynomials."""
    return Training(hidden_layers, steps).predictions[steps]


def expression(polynomial):
    """The same in the letters of the text."""
    return sp.Add(
        *(
            number * sp.Mul(*(x**k for x, k in zip(_MEANING, powers, strict=True)))
            for powers, number in _RING(polynomial).terms()
        )
    )


# ---------------------------------------------------------------- the spikes of a step


class RawNetwork(NamedTuple):
    """A network of two hidden layers with two neurons each, in its raw weights: vectors
    are columns, one for each sample.
    """

    weights: tuple[Table, Table, Table]  # W^0, W^1 and w, a row for each output
    fields: tuple[Table, Table]  # h^1, h^2
    residuals: Table
    loss: sp.Expr  # half the squared residuals, over the samples
    rate: sp.Expr  # of the raw weights

    @classmethod
    def of(cls, phi, inputs, targets, width, samples):
        """By its definition; `width` and `samples`, N and P, may stay letters."""
        D = inputs.shape[0]
        W0 = Table(2, D, symbols(f"U_:2:{D}", real=True))
        W1 = Table(2, 2, symbols("W_:2:2", real=True))
        w = Table(targets.shape[0], 2, symbols(f"w_:{targets.shape[0]}:2", real=True))
        h1 = W0 * inputs / sqrt(D)
        h2 = W1 * h1.applyfunc(phi) / sqrt(width)
        residuals = targets - w * h2.applyfunc(phi) / (gamma0 * width)
        loss = sum(Delta**2 for Delta in residuals) / (2 * samples)
        return cls((W0, W1, w), (h1, h2), residuals, loss, eta * gamma0**2 * width)

    def added(self, weights):
        """What one step of gradient descent adds to a matrix of raw weights."""
        return weights.applyfunc(lambda entry: -self.rate * sp.diff(self.loss, entry))


def spike_strength():
    """What a step adds to W^1/sqrt(N) for one sample and one output, divided by Delta
    g^2 phi(h^1)^T/N: the same number in every entry, for any activation.

    The loss is a sum over samples and outputs, and so is what a step adds.
    """
    phi, x = sp.Function("phi"), Symbol("x", real=True)
    N, P = symbols("N P", positive=True)
    net = RawNetwork.of(phi, Table([x]), Table([Symbol("y")]), N, P)
    (_, W1, w), (h1, h2) = net.weights, net.fields
    slopes = h2.applyfunc(lambda h: phi(x).diff(x).subs(x, h))
    g2 = slopes.multiply_elementwise(w.T)
    spike = net.residuals[0] * g2 * h1.applyfunc(phi).T / N
    over_spike = spike.applyfunc(lambda entry: 1 / entry)
    ratios = (net.added(W1) / sqrt(N)).multiply_elementwise(over_spike)
    (strength,) = set(ratios.applyfunc(sp.simplify))
    return strength


ASKED = [(1, 0), (1, 1)]  # (step, sample) of two backward questions


@functools.cache
def trained_matrix():
    """g^T W^1(2)/sqrt(N) h / N for the backward questions in ASKED, the gradients of a
    sample contracted with its residual, and all forward ones: M0 with noise and echoes,
    and the spikes of two steps.
    """
    training = Training(hidden_layers=2, steps=2)
    past, average = training.past[:2], training.world.average
    strength = spike_strength().subs(Symbol("P", positive=True), len(TARGETS))
    elements = []
    for step, sample in ASKED:
        asked = list(zip(past[step][0][sample], past[step][2][1][sample], strict=True))
        for h in [field for _, fields, _ in past for field in fields[0]]:
            answer = training.matrices[0].forward(h)
            of_start = sum(Delta * average(g, answer) for Delta, g in asked)
            of_spikes = sum(
                Delta
                * residuals[s][k]
                * average(g, gradients[1][s][k])
                * average(fields[0][s], h)
                for residuals, fields, gradients in past
                for s in range(2)
                for k in range(2)
                for Delta, g in asked
            )
            elements.append(expression(of_start) + strength * expression(of_spikes))
    return Table(elements)


# ---------------------------------------------------------------- contracts


def _inputs(rho_):
    """Two inputs with |x|^2/D = 1 and x.x'/D = rho."""
    return np.linalg.cholesky([[2, 2 * rho_], [2 * rho_, 2]])


def _trained(rho_, sigma_, gamma0_, eta_):
    """f after two steps, two and three hidden layers, both samples and outputs."""
    solved = [
        dm.solve(
            dm.Nonlinear(
                inputs=_inputs(rho_),
                targets=np.array(TARGETS, float),
                hidden_layers=layers,
                activation="linear",
                init_variance=sigma_**2,
                gamma0=gamma0_,
                learning_rate=eta_,
                steps=2,
            ),
            samples=256,
        )
        for layers in (2, 3)
    ]
    return np.concatenate([np.ravel(solution.predictions[2]) for solution in solved])


def _draw(rng):
    return (
        rng.uniform(-0.8, 0.8),
        rng.uniform(0.6, 1.0),
        rng.uniform(0.5, 2),
        rng.uniform(0.05, 0.25),
    )


def two_steps():
    """f after two steps of two and of three hidden layers."""
    return sp.Matrix(
        [
            expression(f)
            for layers in (2, 3)
            for of_sample in predictions(layers, 2)
            for f in of_sample
        ]
    )


def _matrix_between_questions(rho_, sigma_, gamma0_, eta_):
    """The same elements of the matrix after two steps: the history has its directions."""
    solution = dm.solve(
        dm.Nonlinear(
            inputs=_inputs(rho_),
            targets=np.array(TARGETS, float),
            hidden_layers=2,
            activation="linear",
            init_variance=sigma_**2,
            gamma0=gamma0_,
            learning_rate=eta_,
            steps=2,
        ),
        samples=256,
    )
    history = solution.weight_history(1, tolerance=1e-9)
    trained = history.core + history.spikes[2]
    asked = [2 * step + sample for step, sample in ASKED]
    return history.left_queries[:, asked].T @ trained @ history.right_queries


BESIDES = "the fifty lines of NumPy and simulated networks of Chapter 5; the library knows no responses"

CONTRACTS_5 = [
    Contract(
        "eq-whole-theory",
        two_steps(),
        (rho, sigma, gamma0, eta),
        _trained,
        _draw,
        1e-8,
        standing="typed, cross-checked",
        besides=BESIDES,
    ),
]
CONTRACTS_7 = [
    Contract(
        "eq-spike-sum",
        trained_matrix(),
        (rho, sigma, gamma0, eta),
        _matrix_between_questions,
        _draw,
        1e-8,
        standing="derived",
        besides="all tests of outliers of nonlinear networks (`experiments/nonlinear.py`)",
    ),
]
CONTRACTS = CONTRACTS_5 + CONTRACTS_7
