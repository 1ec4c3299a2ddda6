"""The same networks at finite size: raw weights, gradients by automatic differentiation, many seeds.

Nothing in `simulations` knows the theory: this is what the theory is checked against.
"""

from collections.abc import Iterable

from . import checks
from .matrix_free import simulate_matrix_free
from .networks import DeepLinear, Nonlinear, WideOutput
from .simulations.deep_linear import simulate_deep_linear
from .simulations.nonlinear import simulate_nonlinear
from .simulations.wide_output import simulate_wide_output

_SIMULATORS = {DeepLinear: simulate_deep_linear, Nonlinear: simulate_nonlinear, WideOutput: simulate_wide_output}


def simulate(net: DeepLinear | Nonlinear | WideOutput, seeds: int = 8, seed: int = 0, spectra_at=(), **options):
    """Train `seeds` networks of finite size, each from its own start, and record spectra at the steps `spectra_at`.

    options    sizes, and what else is to be recorded: see `simulate_deep_linear` (dim, overlaps, ntk),
               `simulate_nonlinear` (width; with matrix_free=True `simulate_matrix_free`) or `simulate_wide_output`

    Every array of the result has a first axis of seeds. The same `seed` gives the same numbers. Raises ValueError for
    anything that is not a network, options that it does not have, sizes below 1, and steps that it does not reach.

    >>> from dmftlib import DeepLinear
    >>> net = DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=5)
    >>> simulate(net, dim=50, seeds=3, spectra_at=(0, 5)).singular_values(layer=0, step=5).shape
    (3, 50)
    """
    simulator = checks.of_network(net, _SIMULATORS)
    if simulator is simulate_nonlinear and "matrix_free" in options:
        free = checks.choice("matrix_free", options.pop("matrix_free"), (True, False))
        simulator = simulate_matrix_free if free else simulator
    checks.integer("seeds", seeds, 1)
    checks.integer("seed", seed, 0)
    if not isinstance(spectra_at, Iterable):
        checks.fail("spectra_at", checks.shown(spectra_at), "the steps, as a sequence")
    spectra_at = tuple(checks.integer("spectra_at", t, 0, net.steps) for t in spectra_at)
    if isinstance(net, Nonlinear):
        width = checks.integer("width", options.get("width", 2000), 1)
        _check_width(net, width, seeds, with_matrices=simulator is simulate_nonlinear)
    return checks.call(simulator, net, dict(options, seeds=seeds, seed=seed, spectra_at=spectra_at))


def _check_width(net, width, seeds, with_matrices):
    """Refuse a Nonlinear that would not fit into memory."""
    sites = width * (len(net.inputs) + net.inputs.shape[1]) * net.hidden_layers
    recorded = seeds * (net.steps + 1) * net.hidden_layers * net.targets.size**2
    matrices = (net.hidden_layers - 1) * width**2 if with_matrices else 0
    checks.memory("width", width, 32.0 * (sites + matrices) + 8.0 * recorded, "a smaller width, or matrix_free=True")
