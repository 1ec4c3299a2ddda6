"""What is trained: frozen descriptions of a network, its data and its optimiser,
refused where they make no sense.
"""

import functools
import math

import equinox as eqx
import jax
import numpy as np

from . import _checks
from .activations import Activation
from .activations import activation as find_activation
from .losses import Loss
from .losses import loss as find_loss

_DEEPEST = 1000  # layers: each is compiled
_MOST_NS_STEPS = 100  # likewise


def _positive(name, **options):
    """A field for a positive number, kept as a float or traced."""
    return eqx.field(converter=functools.partial(_checks.positive, name), **options)


def _whole(name, minimum, *maximum, **options):
    """A field for a whole number, on which the compiled programs depend."""

    def converter(value):
        return _checks.integer(name, value, minimum, *maximum)

    return eqx.field(static=True, converter=converter, **options)


def _momentum(value):
    """At least 0 and below 1. A network without it has no such number."""
    return _checks.or_zero(_checks.below_one("momentum", value))


def _decay(value):
    """At least 0. A network without it has no such number."""
    return _checks.or_zero(_checks.number("weight_decay", value, 0.0))


def _truth(name, **options):
    """A field for True or False, on which the compiled programs depend."""

    def converter(value):
        return _checks.choice(name, value, (True, False))

    return eqx.field(static=True, converter=converter, **options)


def _fraction(batch) -> str | float:
    """The batch of a DeepLinear."""
    plain = _checks.plain(batch)
    if isinstance(plain, str) and plain in ("full", "online"):
        return plain
    if isinstance(plain, float) and 0 < plain < 1:
        return plain
    need = "'full', 'online', or a fraction above 0 and below 1"
    _checks.fail("batch", _checks.shown(batch), need)


def _variances(value, layers: int | None = None):
    """Of the initial weights: a number, or one for each layer."""
    return _checks.of_layers("init_variance", value, layers)


def _rates(value, steps: int | None = None):
    """A learning rate, or one for each step."""
    return _checks.schedule("learning_rate", value, steps)


def _factors(value, layers: int | None = None):
    """Of the rates of the layers, as an array; None where all are one."""
    if value is None:
        return None
    return _checks.row("layer_rates", value, layers, _checks.LAYERS)


def _coefficients(value) -> tuple:
    """Of Newton-Schulz steps: a triple, or several, as Python's numbers."""
    name = "ns_coeffs"
    words = "a triple (a, b, c), or one for each of ns_steps"
    try:
        several = np.ndim(_checks.concrete(name, value)) != 1
    except ValueError:  # ragged
        several = True
    shape = (None, 3) if several else (3,)
    with jax.ensure_compile_time_eval():
        numbers = np.asarray(_checks.array(name, value, shape, words)).tolist()
    if several and not numbers:
        _checks.fail(name, "no triple", words)
    return tuple(map(tuple, numbers)) if several else tuple(numbers)


class Muon(eqx.Module):
    """Muon as it is run: every hidden matrix moves along its momentum buffer with the
    singular values brought near 1 by Newton-Schulz steps.

    With d minus the gradient of M = W/sqrt(fan-in), which Muon sees up to a factor only,

        buffer <- momentum buffer + d,     X <- buffer (nesterov: d + momentum buffer),
        X <- X / |X|_F,     then ns_steps times   X <- a X + b (X X^T) X + c (X X^T)^2 X,
        M <- (1 - rate weight_decay) M + rate X.

    learning_rate   how far a step moves M, in spectral norm, up to a factor near 1: a
                    number, or one for each step, (steps,), which may be zero; the
                    same at every width. On W it is learning_rate sqrt(fan-in)
    momentum        at least 0 and below 1. A sum of gradients; an average of them, as in
                    torch, is the same after X / |X|_F
    nesterov        True or False
    weight_decay    decoupled, and multiplied by the rate
    ns_steps        0 to 100; 0 is descent along the normalised buffer
    ns_coeffs       (a, b, c), or one such triple for each of ns_steps

    There is no shape factor: where others multiply the update by sqrt(max(1, rows /
    columns)) or .2 sqrt(max(rows, columns)), multiply learning_rate, or the
    layer_rates of the network, which act on the rate and so on the decay. Nothing is
    added to |X|_F, and a buffer of zeros moves nothing. The readout, which is a vector,
    and W^0 of a Nonlinear, which has no spectrum, are left to the SGD of the network,
    with its learning_rate, momentum, nesterov and weight_decay.

    learning_rate, momentum and weight_decay may be JAX tracers. Raises ValueError,
    naming the argument, for anything else.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural
    networks", https://kellerjordan.github.io/posts/muon/ (the coefficients; there with
    the factor sqrt(max(1, rows/columns))).

    >>> muon = Muon(learning_rate=0.1, weight_decay=0.2)
    >>> net = DeepLinear(hidden_layers=2, width_ratio=0.8, sample_ratio=1.5, learning_rate=0.04, steps=20,
    ...                  optimizer=muon)
    >>> net.optimizer.momentum, len(muon.polynomials), muon.slope > 400
    (0.95, 5, True)
    """

    learning_rate: float | jax.Array = eqx.field(converter=_rates)
    momentum: float = eqx.field(
        converter=functools.partial(_checks.below_one, "momentum"), default=0.95
    )
    nesterov: bool = _truth("nesterov", default=True)
    weight_decay: float = eqx.field(
        converter=lambda value: _checks.number("weight_decay", value, 0.0),
        default=0.0,
    )
    ns_steps: int = _whole("ns_steps", 0, _MOST_NS_STEPS, default=5)
    ns_coeffs: tuple = eqx.field(
        static=True, converter=_coefficients, default=(3.4445, -4.7750, 2.0315)
    )

    def __check_init__(self):
        if self._has_many and len(self.ns_coeffs) != self.ns_steps:
            got = f"{len(self.ns_coeffs)} triples for {self.ns_steps} steps"
            _checks.fail("ns_coeffs", got, "a triple, or one for each of ns_steps")

    @property
    def _has_many(self) -> bool:
        return isinstance(self.ns_coeffs[0], tuple)

    @property
    def polynomials(self) -> tuple:
        """(a, b, c) of each Newton-Schulz step."""
        return self.ns_coeffs if self._has_many else (self.ns_coeffs,) * self.ns_steps

    @property
    def slope(self) -> float:
        """By how much the smallest singular values of X are multiplied."""
        return abs(math.prod(a for a, _, _ in self.polynomials))


def _known_fraction(name):
    """At least 0 and below 1, and known. Zero is known to be zero."""

    def converter(value):
        known = _checks.concrete(name, value)
        return _checks.or_zero(_checks.below_one(name, known))

    return converter


def _known_number(name):
    """At least 0, and known. Zero is known to be zero."""

    def converter(value):
        known = _checks.concrete(name, value)
        return _checks.or_zero(_checks.number(name, known, 0.0))

    return converter


def _known_rates(value):
    """A learning rate, or one for each step, and known."""
    return _rates(_checks.concrete("learning_rate", value))


class Adam(eqx.Module):
    """Adam as it is run, with decoupled weight decay (AdamW), on every weight of a
    nonlinear network.

    With d minus the gradient of a weight, in the units below, and t = 1, 2, ...,

        m <- b1 m + (1 - b1) d,     v <- b2 v + (1 - b2) d^2,
        W <- (1 - rate weight_decay) W + rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps),

    entry by entry. b1 = b2 = 0 is d/(|d| + eps), and with eps = 0 sign descent: an entry
    whose gradient is zero stays.

    learning_rate   how far a step moves an entry of W^0 and of the readout, and N times
                    how far one of M = W/sqrt(N) of a hidden matrix: a number, or one for
                    each step, (steps,), which may be zero; the same at every width. On W
                    it is learning_rate, of a hidden matrix learning_rate/sqrt(N)
    b1, b2          at least 0 and below 1
    eps             at least 0, and above 0 unless b1 = b2 = 0, beside what Adam sees:
                    (gamma0/P) sum_mu Delta_mu g^{l+1}_mu phi(h^l_mu)^T of a hidden
                    matrix, Delta_mu g^1_mu x_mu^T of W^0 and Delta_mu phi(h^L_mu) of the
                    readout likewise. On gradients of W^l it is eps/(gamma0^2 N
                    sqrt(fan-in)), of the readout eps/(gamma0^2 N)
    weight_decay    decoupled, and multiplied by the rate

    The layer_rates of the network multiply the rate, and so the decay. Its learning_rate
    moves nothing and may be left out.

    Raises ValueError, naming the argument, for anything else, and for JAX tracers: there
    are no derivatives.

    Source: Kingma & Ba 2014, arXiv:1412.6980; Loshchilov & Hutter 2017, arXiv:1711.05101
    (decoupled decay); Yang & Littwin 2023, arXiv:2308.01814 (entrywise optimisers at
    infinite width).

    >>> adam = Adam(learning_rate=0.05, eps=0.01)
    >>> net = Nonlinear(inputs=[[1.0, 2.0]], targets=[1.0], hidden_layers=2, steps=5, optimizer=adam)
    >>> net.optimizer.b2, Adam(0.05, b1=0.0, b2=0.0, eps=0.0).is_sign_descent
    (0.999, True)
    """

    learning_rate: float | jax.Array = eqx.field(converter=_known_rates)
    b1: float = eqx.field(converter=_known_fraction("b1"), default=0.9)
    b2: float = eqx.field(converter=_known_fraction("b2"), default=0.999)
    eps: float = eqx.field(converter=_known_number("eps"), default=1e-8)
    weight_decay: float = eqx.field(
        converter=_known_number("weight_decay"), default=0.0
    )

    def __check_init__(self):
        zero = isinstance(self.eps, _checks.Zero)
        if zero and not (self._forgets_size and self._forgets_direction):
            need = "a number above 0; 0 is sign descent, for b1 = b2 = 0 alone"
            _checks.fail("eps", float(self.eps), need)

    @property
    def _forgets_direction(self) -> bool:
        return isinstance(self.b1, _checks.Zero)

    @property
    def _forgets_size(self) -> bool:
        return isinstance(self.b2, _checks.Zero)

    @property
    def is_sign_descent(self) -> bool:
        """Whether a step is the sign of the gradient alone."""
        return isinstance(self.eps, _checks.Zero)


def _muon(value) -> Muon | None:
    """What moves the matrices of a DeepLinear, None where its SGD does."""
    if isinstance(value, Adam):
        need = (
            "None or a dmftlib.Muon: Adam acts on every entry apart, which coefficients "
            "between directions cannot follow; it is for a Nonlinear"
        )
        _checks.fail("optimizer", "an Adam", need)
    if value is not None and not isinstance(value, Muon):
        _checks.fail("optimizer", _checks.shown(value), "None or a dmftlib.Muon")
    return value


def _optimizer(value) -> Muon | Adam | None:
    """What moves weights of a Nonlinear in the place of its SGD."""
    if value is not None and not isinstance(value, (Muon, Adam)):
        need = "None, a dmftlib.Muon or a dmftlib.Adam"
        _checks.fail("optimizer", _checks.shown(value), need)
    return value


def _moves(optimizer: Muon | Adam | None, steps: int, matrices: int):
    """It has something to move, and a schedule of as many steps as the network."""
    if optimizer is None:
        return
    _checks.schedule("optimizer.learning_rate", optimizer.learning_rate, steps)
    if isinstance(optimizer, Muon) and not matrices:
        need = "None with hidden_layers=1, which has no N x N matrix for it to move"
        _checks.fail("optimizer", "a Muon", need)


class DeepLinear(eqx.Module):
    """A deep linear network trained by gradient descent on noisy linear targets, all
    dimensions large.

        f(x) = w . M_{L-1} ... M_1 W^0 x / (gamma sqrt(N D)),   M_l = W^l / sqrt(N),
        y = beta . x / sqrt(D) + noise,   x iid N(0, 1),   |beta|^2 = D,

    with input dimension D, width N = width_ratio D and P = sample_ratio D samples.
    Every entry of every W^l and of w starts as N(0, init_variance). gamma = gamma0
    sqrt(N/D) for parameterization "mup", gamma = gamma0 for "ntk". The loss is (1/2P)
    sum Delta^2 with Delta = y - f, and the raw learning rate is learning_rate gamma^2
    D. The optimiser is torch's SGD, in these units: with d minus the gradient,

        pull = d - weight_decay W,   buffer <- momentum buffer + pull,
        W <- W + rate buffer   (nesterov: W + rate (pull + momentum buffer)),

    hidden_layers         L, at least 1: the matrices W^0 ... W^{L-1} and the readout w
    width_ratio           N/D
    sample_ratio          P/D; for batch="online" the fresh samples of each step, over D
    gamma0                output scale; f(0) is of order 1/gamma
    init_variance         variance of the initial weights: a number, or one for each of
                          W^0 ... W^{L-1}, w
    label_noise           variance of the label noise
    learning_rate         in units in which the training does not depend on D: a number,
                          or one for each step, (steps,), which may be zero
    steps                 number of updates
    momentum, nesterov    at least 0 and below 1; True or False
    weight_decay          without momentum a step shrinks weights by the factor
                          1 - learning_rate weight_decay
    layer_rates           factors of the rate, and so of the decay, of W^0 ... W^{L-1}, w
    parameterization      "mup" or "ntk"
    batch                 "full", "online", or the fraction in (0, 1) of the samples
                          that each step draws anew
    optimizer             None, or a `Muon` that moves W^0 ... W^{L-1}; learning_rate,
                          momentum, nesterov and weight_decay are then of w alone

    Numbers may be JAX tracers, so that losses and outliers can be differentiated with
    respect to them; the layers, the steps, the parameterization, the batch and
    nesterov may not. Raises ValueError, naming the argument, for anything else.

    >>> DeepLinear(hidden_layers=2, width_ratio=0.8, sample_ratio=1.5, learning_rate=0.05, steps=60).gamma0
    1.0
    """

    hidden_layers: int = _whole("hidden_layers", 1, _DEEPEST)
    width_ratio: float = _positive("width_ratio")
    sample_ratio: float = _positive("sample_ratio")
    gamma0: float = _positive("gamma0", default=1.0)
    init_variance: float | jax.Array = eqx.field(converter=_variances, default=1.0)
    label_noise: float = eqx.field(
        converter=lambda value: _checks.number("label_noise", value, 0.0), default=0.0
    )
    learning_rate: float | jax.Array = eqx.field(converter=_rates, kw_only=True)
    steps: int = _whole("steps", 0, kw_only=True)
    parameterization: str = eqx.field(
        static=True,
        converter=lambda value: _checks.choice(
            "parameterization", value, ("mup", "ntk")
        ),
        default="mup",
    )
    batch: str | float = eqx.field(static=True, converter=_fraction, default="full")
    momentum: float = eqx.field(converter=_momentum, default=0.0, kw_only=True)
    nesterov: bool = _truth("nesterov", default=False, kw_only=True)
    weight_decay: float = eqx.field(converter=_decay, default=0.0, kw_only=True)
    layer_rates: jax.Array | None = eqx.field(
        converter=_factors, default=None, kw_only=True
    )
    optimizer: Muon | None = eqx.field(converter=_muon, default=None, kw_only=True)

    def __check_init__(self):
        layers = self.hidden_layers + 1
        _variances(self.init_variance, layers)
        _rates(self.learning_rate, self.steps)
        _factors(self.layer_rates, layers)
        _moves(self.optimizer, self.steps, matrices=layers - 1)

    @property
    def gamma(self):
        """The output scale that the width gives: gamma0 sqrt(N/D) for "mup", gamma0 for
        "ntk".
        """
        return (
            self.gamma0 * self.width_ratio**0.5
            if self.parameterization == "mup"
            else self.gamma0
        )

    def layer(self, layer: int) -> int:
        """The layer, if there is such a matrix W^l."""
        return _checks.choice("layer", layer, tuple(range(self.hidden_layers)))


class Nonlinear(eqx.Module):
    """A nonlinear network in the mean-field (muP) parameterization, of width N ->
    infinity, on given data.

        h^1 = W^0 x / sqrt(D),   h^{l+1} = W^l phi(h^l) / sqrt(N),   f_k(x) = w_k . phi(h^L) / (gamma0 N).

    Every entry of every W^l and of w starts as N(0, init_variance); what is descended
    is the mean over samples of the loss, which enters through Delta = -d loss/d f only,
    and the raw learning rate is learning_rate gamma0^2 N. The optimiser is torch's SGD,
    in these units: see `DeepLinear`.

    inputs           (P, D)
    targets          (P,) or (P, K); kept as (P, K)
    loss             "squared" (half the squared residual, Delta = y - f),
                     "cross-entropy" (targets one-hot or shares (P, K), or classes (P,)
                     as whole numbers, K the largest + 1), "logistic" (targets -1 and
                     1), or a function of outputs (K,) and targets (K,) to a number
    hidden_layers    L, at least 1: the matrices W^0 ... W^{L-1} and the readout w
    activation       "linear", "tanh", "erf" (erf(h/sqrt 2)), "relu", "gelu", or a
                     scalar function
    gamma0           output scale: gamma0 -> 0 is lazy
    init_variance    variance of the initial weights: a number, or one for each of W^0
                     ... W^{L-1}, w
    learning_rate    in units in which the training does not depend on N: a number, or
                     one for each step, (steps,), which may be zero
    steps            number of updates
    test_inputs      (Q, D), test_targets (Q,) or (Q, K): only watched
    batch            "full", or the number of samples that each step draws anew; the
                     gradient divides by it
    batch_seed       seed of those draws
    momentum, nesterov, weight_decay, layer_rates   as of a DeepLinear
    optimizer        None, or a `Muon` that moves W^1 ... W^{L-1}; learning_rate,
                     momentum, nesterov and weight_decay are then of W^0 and w alone,
                     and L is at least 2. Or an `Adam`, which moves every weight: then
                     learning_rate may be left out, and there are no others

    gamma0, init_variance, learning_rate, momentum, weight_decay and layer_rates may be
    JAX tracers. Raises ValueError, naming the argument, for shapes that do not match,
    NaN, numbers that are not positive, activations that grow faster than linearly,
    targets that are none of the loss, losses that are no number, a Muon with no matrix
    to move, and momentum or decay beside an Adam.

    >>> inputs, targets = [[1.0, 2.0], [0.5, -1.0]], [1.0, -1.0]
    >>> net = Nonlinear(inputs=inputs, targets=targets, hidden_layers=2, learning_rate=0.1, steps=5)
    >>> net.targets.shape, net.activation.name
    ((2, 1), 'tanh')
    """

    inputs: jax.Array
    targets: jax.Array
    hidden_layers: int = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    loss: Loss = eqx.field(static=True)
    gamma0: float
    init_variance: float | jax.Array
    learning_rate: float | jax.Array
    steps: int = eqx.field(static=True)
    test_inputs: jax.Array
    test_targets: jax.Array | None
    batch: str | int = eqx.field(static=True)
    batch_seed: int = eqx.field(static=True)
    momentum: float
    nesterov: bool = eqx.field(static=True)
    weight_decay: float
    layer_rates: jax.Array | None
    optimizer: Muon | Adam | None

    def __init__(
        self,
        *,
        inputs,
        targets,
        hidden_layers,
        activation="tanh",
        loss="squared",
        gamma0=1.0,
        init_variance=1.0,
        learning_rate=None,
        steps,
        test_inputs=None,
        test_targets=None,
        batch="full",
        batch_seed=0,
        momentum=0.0,
        nesterov=False,
        weight_decay=0.0,
        layer_rates=None,
        optimizer=None,
    ):
        self.inputs = _inputs(inputs, targets)
        samples, dim = self.inputs.shape
        self.loss = find_loss(loss)
        self.targets = self.loss.targets("targets", targets, samples)
        outputs = self.targets.shape[1]
        self.test_inputs = _test_inputs(test_inputs, test_targets, dim)
        self.test_targets = _test_targets(
            self.loss, test_targets, self.test_inputs, outputs
        )
        self.hidden_layers = _checks.integer(
            "hidden_layers", hidden_layers, 1, _DEEPEST
        )
        self.steps = _checks.integer("steps", steps, 0)
        self.activation = find_activation(activation)
        self.gamma0 = _checks.positive("gamma0", gamma0)
        layers = self.hidden_layers + 1
        self.init_variance = _variances(init_variance, layers)
        self.optimizer = _optimizer(optimizer)
        self.learning_rate = _rates_beside(self.optimizer, learning_rate, self.steps)
        self.momentum = _momentum(momentum)
        self.nesterov = _checks.choice("nesterov", nesterov, (True, False))
        self.weight_decay = _decay(weight_decay)
        self.layer_rates = _factors(layer_rates, layers)
        self.batch = _drawn(batch, samples)
        self.batch_seed = _checks.integer("batch_seed", batch_seed, 0)
        _nothing_beside(self)
        _moves(self.optimizer, self.steps, matrices=self.hidden_layers - 1)

    def sample_weights(self) -> np.ndarray:
        """(steps, P): the weight of each sample in the gradient of each step, 1/batch
        for those drawn and else 0.
        """
        samples = len(self.inputs)
        if isinstance(self.batch, str):
            return np.full((self.steps, samples), 1 / samples)
        rng, weights = (
            np.random.default_rng(self.batch_seed),
            np.zeros((self.steps, samples)),
        )
        for row in weights:
            row[rng.choice(samples, self.batch, replace=False)] = 1 / self.batch
        return weights

    def layer(self, layer: int) -> int:
        """The layer, if W^layer is an N x N matrix: 1 ... L-1."""
        if self.hidden_layers == 1:
            _checks.fail(
                "layer",
                layer,
                "a network with hidden_layers of at least 2: W^0 has no bulk",
            )
        return _checks.choice("layer", layer, tuple(range(1, self.hidden_layers)))


def _rates_beside(optimizer, value, steps: int):
    """The learning rate of SGD, which may be left out where an Adam moves all."""
    if value is None and isinstance(optimizer, Adam):
        value = np.zeros(steps)
    return _rates(value, steps)


def _nothing_beside(net: Nonlinear):
    """An Adam moves every weight: there is no SGD with momentum and decay beside it."""
    if not isinstance(net.optimizer, Adam):
        return
    for name, nothing in (("momentum", 0), ("nesterov", False), ("weight_decay", 0)):
        value = getattr(net, name)
        if not _checks.is_concrete(value) or value != nothing:
            need = f"{nothing} with an Adam, which moves every weight itself"
            _checks.fail(name, _checks.shown(value), f"{need}: see its own arguments")


def _inputs(value, targets):
    """(P, D), at least one of each."""
    inputs = _checks.array("inputs", value, (None, None))
    samples, dim = inputs.shape
    _checks.integer("samples (rows of inputs)", samples, 1)
    _checks.integer("columns of inputs", dim, 1)
    _ask_if_transposed("inputs", inputs, "target", targets)
    return inputs


def _test_inputs(value, targets, dim):
    """(Q, D), with Q = 0 where there are none."""
    if value is None and targets is not None:
        need = "the inputs that test_targets belong to"
        _checks.fail("test_inputs", None, need)
    if value is None:
        value = np.zeros((0, dim))
    _ask_if_of_the_other_side("test_inputs", value, dim)
    return _checks.array("test_inputs", value, (None, dim))


def _test_targets(loss, value, inputs, outputs):
    """(Q, K); None where there are none."""
    if value is None:
        return None
    _ask_if_transposed("test_inputs", inputs, "test target", value)
    return loss.targets("test_targets", value, len(inputs), outputs)


def _drawn(batch, samples):
    """The batch of a Nonlinear."""
    if not isinstance(batch, str):
        return _checks.integer("batch", batch, 1, samples)
    if batch != "full":
        need = f"'full' or a number of samples, at most {samples}"
        _checks.fail("batch", repr(batch), need)
    return batch


def _ask_if_transposed(name, inputs, target, targets):
    """Where there are as many targets as columns, and not as many as rows."""
    rows, columns = inputs.shape
    try:
        count = len(targets)
    except TypeError:
        return
    if columns == count != rows:
        got = f"shape ({rows}, {columns}) for {count} {target}s"
        need = f"a row for each {target}: are the {name} transposed?"
        _checks.fail(name, got, need)


def _ask_if_of_the_other_side(name, inputs, dim):
    """Where the rows are as long as the columns should be."""
    shape = np.shape(inputs) if isinstance(inputs, (np.ndarray, jax.Array)) else ()
    if len(shape) == 2 and shape[0] == dim != shape[1]:
        need = f"{dim} columns, as those of inputs: are the {name} transposed?"
        _checks.fail(name, f"shape {shape}", need)


class WideOutput(eqx.Module):
    """A linear network with one hidden layer and as many outputs as dimensions, on
    isotropic population data.

        f(x) = a M x / gamma0,   y = W* x,   E = W* - a M / gamma0,
        M += learning_rate gamma0 a^T E,   and a += learning_rate gamma0 E M^T where the
                                           readout trains too,

    with input dimension D = input_ratio N, width N and C = output_ratio N outputs.
    Entries start as M (N, D) iid N(0, init_variance/N), a (C, N) iid N(0, 1/N) where it
    is frozen and N(0, init_variance/N) where it trains; those of W* (C, D) are N(0,
    target_variance/D). M is W/sqrt(N), and so are its spectra.

    output_ratio     C/N; zero is the limit of few outputs, where C singular values
                     leave together (frozen readout only)
    input_ratio      D/N
    target_variance  D times the variance of the entries of W*
    train_readout    the limit N -> infinity at fixed C and D, in which the two ratios
                     matter only through C/D

    Raises ValueError, naming the argument, for anything else.

    >>> WideOutput(output_ratio=0.5, input_ratio=0.7, learning_rate=0.1, steps=30).gamma0
    1.0
    """

    output_ratio: float = eqx.field(
        converter=lambda value: _checks.number("output_ratio", value, 0.0)
    )
    input_ratio: float = _positive("input_ratio")
    target_variance: float = _positive("target_variance", default=1.0)
    gamma0: float = _positive("gamma0", default=1.0)
    init_variance: float = _positive("init_variance", default=1.0)
    learning_rate: float = _positive("learning_rate", kw_only=True)
    steps: int = _whole("steps", 0, kw_only=True)
    train_readout: bool = eqx.field(
        static=True,
        converter=lambda value: _checks.choice("train_readout", value, (True, False)),
        default=False,
    )

    def __check_init__(self):
        if self.train_readout:
            _checks.positive("output_ratio", self.output_ratio)

    def layer(self, layer: int) -> int:
        """The layer, if there is such a matrix: only W^0."""
        return _checks.choice("layer", layer, (0,))
