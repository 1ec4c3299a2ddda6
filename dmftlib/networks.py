"""What is trained: frozen descriptions of a network, its data and its optimiser, refused where they make no sense."""

import equinox as eqx
import numpy as np

from . import checks


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
        checks.integer("hidden_layers", self.hidden_layers, 1)
        checks.integer("steps", self.steps, 0)
        for name in ("width_ratio", "sample_ratio", "gamma0", "init_variance", "learning_rate"):
            checks.positive(name, getattr(self, name))
        checks.number("label_noise", self.label_noise, 0.0)
        checks.choice("parameterization", self.parameterization, ("mup", "ntk"))
        fraction = isinstance(self.batch, (float, np.floating)) and 0 < self.batch < 1
        if not fraction and not (isinstance(self.batch, str) and self.batch in ("full", "online")):
            checks.fail("batch", repr(self.batch), "'full', 'online', or a fraction above 0 and below 1")

    @property
    def gamma(self):
        """The output scale that the width gives: gamma0 sqrt(N/D) for "mup", gamma0 for "ntk"."""
        return self.gamma0 * self.width_ratio**0.5 if self.parameterization == "mup" else self.gamma0

    def layer(self, layer: int) -> int:
        """The layer, if there is such a matrix W^l."""
        return checks.choice("layer", layer, tuple(range(self.hidden_layers)))


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
