"""Chapter 4: gradient descent as a conversation with Gaussian matrices, with letters in the place of numbers.

A vector of a linear algorithm is a linear combination of *innovations*, the fresh Gaussian vectors that the matrices
have answered with so far. Its coefficients are its responses. That is all `Innovations` and `Matrix` know; neither
uses the library's way of doing it, which keeps orthonormal bases of the queries and no responses.
"""

import functools

import numpy as np
import sympy as sp
from sympy import Rational, sqrt, symbols

from dmftlib.networks import DeepLinear
from dmftlib.solve import solve
from dmftlib.training.gaussian import GaussianMatrix

from . import spikes
from .contract import Contract
from .spikes import c, sigma

nu, alpha, gamma, eta, noise = symbols("nu alpha gamma eta varepsilon", positive=True)


# ---------------------------------------------------------------- vectors over innovations

class Innovations:
    """Fresh Gaussian vectors and their covariances per site. A vector is {innovation: coefficient}."""

    def __init__(self):
        self.covariance = {}

    def new(self, name, variance):
        """A vector that nothing else knows of."""
        self.covariance[name, name] = variance
        return {name: sp.Integer(1)}

    def average(self, a, b):
        """<a b>, per site."""
        return sp.expand(sum(x * y * self.covariance.get((i, j), self.covariance.get((j, i), 0))
                             for i, x in a.items() for j, y in b.items()))


def combine(*terms):
    """Sum of coefficient * vector."""
    total = {}
    for coefficient, vector in terms:
        for name, value in vector.items():
            total[name] = sp.expand(total.get(name, 0) + coefficient * value)
    return {name: value for name, value in total.items() if value != 0}


class Matrix:
    """M0 of n x m independent entries N(0, variance/m), n/m = aspect, and its answers: noise plus echoes."""

    def __init__(self, innovations, name, aspect, variance):
        self.innovations, self.name, self.aspect, self.variance = innovations, name, aspect, variance
        self.forward_queries, self.backward_queries = [], []

    def forward(self, h):
        """M0 h = u + variance sum_j <dh/dr_j> g_j."""
        return self._answer("u", h, self.forward_queries, self.backward_queries, "r", self.variance)

    def backward(self, g):
        """M0^T g = r + variance aspect sum_k <dg/du_k> h_k."""
        scale = self.variance * self.aspect
        return self._answer("r", g, self.backward_queries, self.forward_queries, "u", scale)

    def _answer(self, letter, query, asked, others, other_letter, scale):
        fresh = f"{letter}_{self.name}{len(asked)}"
        asked.append(query)
        for k, earlier in enumerate(asked):
            self.innovations.covariance[f"{letter}_{self.name}{k}", fresh] = scale * self.innovations.average(earlier, query)
        echoes = [(scale * query.get(f"{other_letter}_{self.name}{j}", 0), other) for j, other in enumerate(others)]
        return combine((1, {fresh: sp.Integer(1)}), *echoes)

    def response(self, side, query, innovation):
        """<d query/d innovation>: "A" of a forward query to r, "B" of a backward query to u."""
        asked, letter = (self.forward_queries, "r") if side == "A" else (self.backward_queries, "u")
        return asked[query].get(f"{letter}_{self.name}{innovation}", sp.Integer(0))


# ---------------------------------------------------------------- two algorithms without a network

def power_iteration(steps):
    """<v_0 v_k> for v_{k+1} = M0^T M0 v_k from a random start of unit variance."""
    world = Innovations()
    M = Matrix(world, "M", c, sigma**2)
    v = start = world.new("v", sp.Integer(1))
    overlaps = []
    for _ in range(steps):
        v = M.backward(M.forward(v))
        overlaps.append(sp.factor(world.average(start, v)))
    return overlaps


def moments_of_the_bulk(number):
    """Mean k-th powers of the eigenvalues of M0^T M0, k = 1 ... number: the expansion of s m_R in 1/s^2."""
    x = sp.Symbol("x")  # 1/s^2
    left = right = sp.Integer(1)  # s m_L and s m_R
    for _ in range(number):
        left, right = 1 / (1 - sigma**2 * x * right), 1 / (1 - sigma**2 * c * x * left)
        left, right = (sp.series(f, x, 0, number + 1).removeO() for f in (left, right))
    return [sp.factor(sp.expand(right).coeff(x, k)) for k in range(1, number + 1)]


def least_squares(steps):
    """<v_t^2> and the mean squared residual for gradient descent on a linear model from zero: v = beta - p."""
    world = Innovations()
    X = Matrix(world, "X", alpha, 1)
    v, epsilon = world.new("b", sp.Integer(1)), world.new("e", noise**2)
    test, train = [], []
    for _ in range(steps + 1):
        residual = combine((1, X.forward(v)), (1, epsilon))
        test.append(world.average(v, v))
        train.append(world.average(residual, residual))
        v = combine((1, v), (-eta / alpha, X.backward(residual)))
    return test, train


# ---------------------------------------------------------------- a linear network of any depth

class Training:
    """Gradient descent on a deep linear network for a few steps; everything is an expression in nu ... varepsilon."""

    def __init__(self, hidden_layers, steps):
        self.innovations = world = Innovations()
        self.hidden_layers = L = hidden_layers
        self.X = Matrix(world, "X", alpha, 1)
        self.M = [Matrix(world, str(l), nu if l == 0 else 1, sigma**2) for l in range(L)]
        beta, epsilon = world.new("b", sp.Integer(1)), world.new("e", noise**2)
        w = world.new("w", sigma**2)
        self.rate, self.scale = eta * gamma / sqrt(nu), 1 / (gamma * sqrt(nu))
        self.test_loss, self.train_loss, self.g, self.h = [], [], [], []
        for t in range(steps + 1):
            g = [None] * L + [w]
            for l in reversed(range(L)):
                learnt = [(self.rate * self.M[l].aspect * world.average(old[l + 1], g[l + 1]), query[l])
                          for old, query in zip(self.g, self.h)]
                g[l] = combine((1, self.M[l].backward(g[l + 1])), *learnt)
            v = combine((1, beta), (-self.scale, g[0]))
            residual = combine((1, self.X.forward(v)), (1, epsilon))
            self.test_loss.append(world.average(v, v))
            self.train_loss.append(world.average(residual, residual))
            if t == steps:
                break
            h = [combine((1 / alpha, self.X.backward(residual)))]
            for l in range(L):
                learnt = [(self.rate * world.average(query[l], h[l]), old[l + 1]) for old, query in zip(self.g, self.h)]
                h.append(combine((1, self.M[l].forward(h[l])), *learnt))
            self.g.append(g)
            self.h.append(h)
            w = combine((1, w), (self.rate, h[L]))


@functools.cache
def training(hidden_layers, steps):
    return Training(hidden_layers, steps)
