"""Kernels of a Nonlinear before training, exactly: no samples, no widths.

With Phi^0 = x.x'/D and v_l the initial variance of W^l, v_L that of w, the fields of
layer l = 1 ... L are Gaussian of covariance v_{l-1} Phi^{l-1}, so that

    Phi^l = <phi(h) phi(h')>,    G^l = v_l <phi'(h) phi'(h')> G^{l+1},    G^{L+1} = 1,

over pairs (h, h') of the fields of two inputs. The averages are closed forms for the
linear activation, erf and ReLU, and quadratures for all others.
"""

import equinox as eqx
import numpy as np
from jaxtyping import Float

from . import _checks
from .activations import Activation, Erf, Linear, Relu
from .networks import Nonlinear

_NODES = 120


class KernelsAtStart(eqx.Module):
    """Kernels over the training inputs and, after them, the test inputs, n in all.

    features    Phi^1 ... Phi^L, each (n, n): <phi(h^l) phi(h^l)>
    gradients   G^1 ... G^L, each (n, n): <g^l_k g^l_j> for k = j; other pairs of outputs have 0
    tangent     (n, n)  sum_{l=0}^{L} r_l Phi^l G^{l+1}, G^{L+1} = 1, r_l the layer_rates: times 1/P, over the
                training inputs, it is a block of `solution.ntk.kernel` for each output
    """

    features: list[Float[np.ndarray, "n n"]]
    gradients: list[Float[np.ndarray, "n n"]]
    tangent: Float[np.ndarray, "n n"]


def kernel_at_start(net: Nonlinear) -> KernelsAtStart:
    """The kernels of a Nonlinear before its first update, at infinite width.

    Raises ValueError for anything but a Nonlinear, and under `jit` and `grad`. Kinked
    activations of your own are integrated to about 1e-2, smooth ones much better.
    Source: derived in chapter 5 of the book (Cho and Saul 2009 for ReLU, Williams 1997
    for erf).

    >>> net = Nonlinear(inputs=[[1.0, 1.0], [1.0, -1.0]], targets=[1.0, -1.0], hidden_layers=1,
    ...                 activation="relu", learning_rate=0.1, steps=1)
    >>> print(kernel_at_start(net).features[0].round(4))
    [[0.5    0.1592]
     [0.1592 0.5   ]]
    """
    if not isinstance(net, Nonlinear):
        _checks.fail("net", type(net).__name__, "a Nonlinear")
    _checks.concrete("net", net)
    x = np.concatenate([net.inputs, net.test_inputs])
    kernel = x @ x.T / x.shape[1]
    below = [kernel]
    slopes = []
    layers = net.hidden_layers + 1
    variances = np.asarray(net.init_variance)
    variances = np.broadcast_to(variances, layers)
    for variance, above in zip(variances[:-1], variances[1:], strict=True):
        pair = _averages(net.activation, variance * below[-1])
        below.append(pair.values)
        slopes.append(above * pair.slopes)
    above = [np.ones_like(kernel)]
    for slope in reversed(slopes):
        above.insert(0, slope * above[0])
    rates = np.ones(layers)
    if net.layer_rates is not None:
        rates = np.asarray(net.layer_rates)
    tangent = np.zeros_like(kernel)
    for rate, phi, g in zip(rates, below, above, strict=True):
        tangent += rate * phi * g
    return KernelsAtStart(below[1:], above[:-1], tangent)


class Averages(eqx.Module):
    """<phi(h) phi(h')> and <phi'(h) phi'(h')>, (n, n)."""

    values: np.ndarray
    slopes: np.ndarray


def _averages(activation: Activation, covariance) -> Averages:
    if activation is Linear:
        return _linear(covariance)
    if activation is Erf:
        return _erf(covariance)
    if activation is Relu:
        return _relu(covariance)
    return _by_quadrature(activation, covariance)


def _linear(covariance) -> Averages:
    return Averages(covariance, np.ones_like(covariance))


def _erf(covariance) -> Averages:
    """Of erf(h/sqrt 2): arcsines."""
    size = 1 + np.diag(covariance)
    square = np.outer(size, size)
    ratio = covariance / np.sqrt(square)
    root = np.sqrt(square - covariance**2)
    two = 2 / np.pi
    return Averages(two * np.arcsin(ratio), two / root)


def _relu(covariance) -> Averages:
    """By the angle between the two fields."""
    size = np.sqrt(np.diag(covariance))
    lengths = np.outer(size, size)
    safe = np.where(lengths > 0, lengths, 1.0)
    cosine = np.clip(covariance / safe, -1.0, 1.0)
    angle = np.arccos(cosine)
    np.fill_diagonal(angle, 0.0)
    both = np.pi - angle  # the directions in which both are positive
    values = lengths * (np.sin(angle) + both * np.cos(angle))
    turn = 2 * np.pi
    return Averages(values / turn, both / turn)


def _by_quadrature(activation, covariance) -> Averages:
    """Gauss-Hermite in the first field and in what is new of the second."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    size = np.sqrt(np.diag(covariance))
    values = np.empty_like(covariance)
    slopes = np.empty_like(covariance)
    for i, first in enumerate(size):
        h = first * nodes
        shared = covariance[i] / first if first > 0 else 0 * size
        rest = size**2 - shared**2
        new = np.sqrt(np.maximum(rest, 0.0))
        # of all second inputs, given each node of the first
        known = shared[:, None, None] * nodes[:, None]
        fresh = new[:, None, None] * nodes
        other = known + fresh
        mean = np.asarray(activation(other)) @ weights
        slope = np.asarray(activation.derivative(other)) @ weights
        own = np.asarray(activation(h))
        own_slope = np.asarray(activation.derivative(h))
        values[i] = mean @ (weights * own)
        slopes[i] = slope @ (weights * own_slope)
    return Averages(_symmetric(values), _symmetric(slopes))


def _symmetric(matrix):
    return (matrix + matrix.T) / 2
