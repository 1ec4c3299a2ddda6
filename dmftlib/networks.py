"""What is trained: frozen descriptions of a network, its data and its optimiser, refused where they make no sense."""

import equinox as eqx
import jax
import numpy as np

from . import checks
from .activations import Activation
from .activations import activation as find_activation

_DEEPEST = 1000  # layers: each is compiled

class DeepLinear(eqx.Module):
    """A deep linear network trained by gradient descent on noisy linear targets, all dimensions large.

        f(x) = w . M_{L-1} ... M_1 W^0 x / (gamma sqrt(N D)),   M_l = W^l / sqrt(N),
        y = beta . x / sqrt(D) + noise,   x iid N(0, 1),   |beta|^2 = D,

    with input dimension D, width N = width_ratio D and P = sample_ratio D samples. Every entry of every W^l and of w
    starts as N(0, init_variance). gamma = gamma0 sqrt(N/D) for parameterization "mup", gamma = gamma0 for "ntk". The
    loss is (1/2P) sum Delta^2 with Delta = y - f, and the raw learning rate is learning_rate gamma^2 D.

    hidden_layers         L, at least 1: the matrices W^0 ... W^{L-1} and the readout w
    width_ratio           N/D
    sample_ratio          P/D; for batch="online" the fresh samples of each step, over D
    gamma0                output scale; f(0) is of order 1/gamma
    init_variance         variance of the initial weights
    label_noise           variance of the label noise
    learning_rate         in units in which the training does not depend on D
    steps                 number of updates
    parameterization      "mup" or "ntk"
    batch                 "full", "online", or the fraction in (0, 1) of the samples that each step draws anew

    Numbers may be JAX tracers, so that losses and outliers can be differentiated with respect to them; the layers, the
    steps, the parameterization and the batch may not. Raises ValueError, naming the argument, for anything else.

    >>> DeepLinear(hidden_layers=2, width_ratio=0.8, sample_ratio=1.5, learning_rate=0.05, steps=60).gamma0
    1.0
    """

    hidden_layers: int = eqx.field(static=True)
    width_ratio: float
    sample_ratio: float
    gamma0: float = 1.0
    init_variance: float = 1.0
    label_noise: float = 0.0
    learning_rate: float = eqx.field(kw_only=True)
    steps: int = eqx.field(static=True, kw_only=True)
    parameterization: str = eqx.field(static=True, default="mup")
    batch: str | float = eqx.field(static=True, default="full")

    def __check_init__(self):
        checks.integer("hidden_layers", self.hidden_layers, 1, _DEEPEST)
        checks.integer("steps", self.steps, 0)
        for name in ("width_ratio", "sample_ratio", "gamma0", "init_variance", "learning_rate"):
            checks.positive(name, getattr(self, name))
        checks.number("label_noise", self.label_noise, 0.0)
        checks.choice("parameterization", self.parameterization, ("mup", "ntk"))
        fraction = isinstance(self.batch, (float, np.floating)) and 0 < self.batch < 1
        if not fraction and not (isinstance(self.batch, str) and self.batch in ("full", "online")):
            checks.fail("batch", checks.shown(self.batch), "'full', 'online', or a fraction above 0 and below 1")

    @property
    def gamma(self):
        """The output scale that the width gives: gamma0 sqrt(N/D) for "mup", gamma0 for "ntk"."""
        return self.gamma0 * self.width_ratio**0.5 if self.parameterization == "mup" else self.gamma0

    def layer(self, layer: int) -> int:
        """The layer, if there is such a matrix W^l."""
        return checks.choice("layer", layer, tuple(range(self.hidden_layers)))


class Nonlinear(eqx.Module):
    """A nonlinear network in the mean-field (muP) parameterization, of width N -> infinity, on given data.

        h^1 = W^0 x / sqrt(D),   h^{l+1} = W^l phi(h^l) / sqrt(N),   f_k(x) = w_k . phi(h^L) / (gamma0 N).

    Every entry of every W^l and of w starts as N(0, init_variance); the loss is (1/2P) sum Delta^2 over samples and
    outputs, Delta = y - f, and the raw learning rate is learning_rate gamma0^2 N.

    inputs           (P, D)
    targets          (P,) or (P, K); kept as (P, K)
    hidden_layers    L, at least 1: the matrices W^0 ... W^{L-1} and the readout w
    activation       "linear", "tanh", "erf" (erf(h/sqrt 2)), "relu", "gelu", or a scalar function
    gamma0           output scale: gamma0 -> 0 is lazy
    init_variance    variance of the initial weights
    learning_rate    in units in which the training does not depend on N
    steps            number of updates
    test_inputs      (Q, D), test_targets (Q,) or (Q, K): only watched
    batch            "full", or the number of samples that each step draws anew; the gradient divides by it
    batch_seed       seed of those draws

    gamma0, init_variance and learning_rate may be JAX tracers. Raises ValueError, naming the argument, for shapes that
    do not match, NaN, numbers that are not positive, and activations that grow faster than linearly.

    >>> inputs, targets = [[1.0, 2.0], [0.5, -1.0]], [1.0, -1.0]
    >>> net = Nonlinear(inputs=inputs, targets=targets, hidden_layers=2, learning_rate=0.1, steps=5)
    >>> net.targets.shape, net.activation.name
    ((2, 1), 'tanh')
    """

    inputs: jax.Array
    targets: jax.Array
    hidden_layers: int = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    gamma0: float
    init_variance: float
    learning_rate: float
    steps: int = eqx.field(static=True)
    test_inputs: jax.Array
    test_targets: jax.Array | None
    batch: str | int = eqx.field(static=True)
    batch_seed: int = eqx.field(static=True)

    def __init__(self, *, inputs, targets, hidden_layers, activation="tanh", gamma0=1.0, init_variance=1.0,
                 learning_rate, steps, test_inputs=None, test_targets=None, batch="full", batch_seed=0):  # fmt: skip
        self.inputs = checks.array("inputs", inputs, (None, None))
        samples, dim = self.inputs.shape
        for name, size in (("samples (rows of inputs)", samples), ("columns of inputs", dim)):
            checks.integer(name, size, 1)
        self.targets = _columns("targets", targets, samples)
        if test_inputs is None and test_targets is not None:
            checks.fail("test_inputs", None, "the inputs that test_targets belong to")
        test_inputs = np.zeros((0, dim)) if test_inputs is None else test_inputs
        self.test_inputs = checks.array("test_inputs", test_inputs, (None, dim))
        self.test_targets = test_targets
        if test_targets is not None:
            self.test_targets = _columns("test_targets", test_targets, len(self.test_inputs), self.targets.shape[1])
        self.hidden_layers = checks.integer("hidden_layers", hidden_layers, 1, _DEEPEST)
        self.steps = checks.integer("steps", steps, 0)
        self.activation = find_activation(activation)
        self.gamma0 = checks.positive("gamma0", gamma0)
        self.init_variance = checks.positive("init_variance", init_variance)
        self.learning_rate = checks.positive("learning_rate", learning_rate)
        if not isinstance(batch, str):
            batch = checks.integer("batch", batch, 1, samples)
        elif batch != "full":
            checks.fail("batch", repr(batch), f"'full' or a number of samples, at most {samples}")
        self.batch, self.batch_seed = batch, checks.integer("batch_seed", batch_seed, 0)

    def sample_weights(self) -> np.ndarray:
        """(steps, P): the weight of each sample in the gradient of each step, 1/batch for those drawn and else 0."""
        samples = len(self.inputs)
        if self.batch == "full":
            return np.full((self.steps, samples), 1 / samples)
        rng, weights = np.random.default_rng(self.batch_seed), np.zeros((self.steps, samples))
        for row in weights:
            row[rng.choice(samples, self.batch, replace=False)] = 1 / self.batch
        return weights

    def layer(self, layer: int) -> int:
        """The layer, if W^layer is an N x N matrix: 1 ... L-1."""
        if self.hidden_layers == 1:
            checks.fail("layer", layer, "a network with hidden_layers of at least 2: W^0 has no bulk")
        return checks.choice("layer", layer, tuple(range(1, self.hidden_layers)))


def _columns(name, targets, rows, columns=None):
    """Targets as (rows, K), one column for a plain vector."""
    try:
        vector = np.ndim(targets) < 2
    except ValueError:  # a ragged sequence
        vector = False
    values = checks.array(name, targets, (rows,))[:, None] if vector else checks.array(name, targets, (rows, columns))
    checks.integer(f"columns of {name}", values.shape[1], 1)
    return values


class WideOutput(eqx.Module):
    """A linear network with one hidden layer and as many outputs as dimensions, on isotropic population data.

        f(x) = a M x / gamma0,   y = W* x,   E = W* - a M / gamma0,
        M += learning_rate gamma0 a^T E,   and a += learning_rate gamma0 E M^T where the readout trains too,

    with input dimension D = input_ratio N, width N and C = output_ratio N outputs. Entries start as M (N, D) iid
    N(0, init_variance/N), a (C, N) iid N(0, 1/N) where it is frozen and N(0, init_variance/N) where it trains; those of
    W* (C, D) are N(0, target_variance/D). M is W/sqrt(N), and so are its spectra.

    output_ratio     C/N; zero is the limit of few outputs, where C singular values leave together (frozen readout only)
    input_ratio      D/N
    target_variance  D times the variance of the entries of W*
    train_readout    the limit N -> infinity at fixed C and D, in which the two ratios matter only through C/D

    Raises ValueError, naming the argument, for anything else.

    >>> WideOutput(output_ratio=0.5, input_ratio=0.7, learning_rate=0.1, steps=30).gamma0
    1.0
    """

    output_ratio: float
    input_ratio: float
    target_variance: float = 1.0
    gamma0: float = 1.0
    init_variance: float = 1.0
    learning_rate: float = eqx.field(kw_only=True)
    steps: int = eqx.field(static=True, kw_only=True)
    train_readout: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        checks.choice("train_readout", self.train_readout, (True, False))
        checks.number("output_ratio", self.output_ratio, 0.0, strict=self.train_readout)
        for name in ("input_ratio", "target_variance", "gamma0", "init_variance", "learning_rate"):
            checks.positive(name, getattr(self, name))
        checks.integer("steps", self.steps, 0)

    def layer(self, layer: int) -> int:
        """The layer, if there is such a matrix: only W^0."""
        return checks.choice("layer", layer, (0,))
