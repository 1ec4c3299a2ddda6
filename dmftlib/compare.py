"""Theory beside simulation: one tidy table, with the distance in standard errors."""

import equinox as eqx
import numpy as np
import pandas as pd

from . import checks
from .networks import Nonlinear, WideOutput
from .solutions.base import Solution

_CURVES = ("train_loss", "test_loss", "predictor_norm", "alignment", "predictions", "test_predictions")


def compare(solution, simulation) -> pd.DataFrame:
    """Every quantity that both sides have, one row each.

    Columns: quantity, layer (absent for losses and predictions), step, theory, simulation (mean over seeds),
    standard_error (of the difference), z = (simulation - theory)/standard_error,
    relative_error = simulation/theory - 1.

    Losses, predictions (named mu,k by sample and output) and the traces of kernels (summed over outputs, averaged over
    samples; layer l for h^l) are compared at every step. At the recorded steps, outlier_k is the k-th largest singular
    value against the k-th outlier, or against the bulk edge where theory has fewer, for as many k as theory has
    outliers at any recorded step. left_overlap_k and right_overlap_k are squared cosines with the query that theory
    says is the closest, where the simulation recorded overlaps; edge, of a WideOutput, is the largest singular value
    against the end of the bulk. The theory of a Nonlinear has a standard error of its own, and it is included. With a
    single seed, or batch of samples, there is none, and z is NaN.

    Raises ValueError if the two do not belong to the same network.

    >>> from dmftlib import DeepLinear, simulate, solve
    >>> net = DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=5)
    >>> table = compare(solve(net), simulate(net, dim=100, seeds=4, spectra_at=(5,)))
    >>> list(table.quantity.unique())
    ['train_loss', 'test_loss', 'predictor_norm', 'alignment', 'outlier_1']
    """
    for name, side, is_it in (("solution", solution, isinstance(solution, Solution)),
                              ("simulation", simulation, hasattr(simulation, "singular_values"))):  # fmt: skip
        if not is_it:
            checks.fail(name, type(side).__name__, f"what `{'solve' if name == 'solution' else 'simulate'}` returns")
    if not eqx.tree_equal(solution.net, simulation.net):
        checks.fail("simulation", f"one of {checks.shown(simulation.net)}", f"one of {checks.shown(solution.net)}")
    rows = []

    def add(quantity, layer, step, get, simulated):
        """Rows of a quantity: theory get(solution) and simulations (seeds, ...) of the same shape."""
        theory, simulated = np.asarray(get(solution)), np.asarray(simulated)
        seeds, own = len(simulated), getattr(solution, "standard_error", None)
        error = np.std(simulated, 0, ddof=1) / seeds**0.5 if seeds > 1 else np.full(theory.shape, np.nan)
        error = error if own is None else np.hypot(error, own(get))
        for at in np.ndindex(theory.shape):
            when, which = (at[0], at[1:]) if step is None else (step, at)
            name = quantity + (" " + ",".join(map(str, which)) if which else "")
            mean, difference = simulated[:, *at].mean(), simulated[:, *at].mean() - theory[at]
            rows.append((name, layer, when, theory[at], mean, error[at], difference / error[at] if error[at] > 0
                         else np.nan, difference / theory[at] if abs(theory[at]) > 1e-12 else np.nan))  # fmt: skip

    for name in _CURVES:
        curve = getattr(simulation, name, None)
        if curve is not None and getattr(solution, name, None) is not None and curve[0].size:
            add(name, None, None, lambda s, name=name: getattr(s, name), curve)
    if isinstance(solution.net, Nonlinear):
        for l in range(1, solution.net.hidden_layers + 1):
            for name in ("feature_kernel", "gradient_kernel"):
                add(f"{name} trace", l, None, lambda s, name=name, l=l: _trace(getattr(s, name)(l), 1),
                    _trace(getattr(simulation, name)(l), 2))  # fmt: skip
    layers = range(isinstance(solution.net, Nonlinear), getattr(solution.net, "hidden_layers", 1))
    for layer in layers:
        if isinstance(solution.net, WideOutput):
            for t in simulation.spectra["values"]:
                add("edge", layer, t, lambda s, layer=layer, t=t: s.bulk(layer, t).edges[-1][1],
                    simulation.singular_values(layer, t)[:, 0])  # fmt: skip
            continue
        most = max((len(solution.outliers(layer, t).values) for t in simulation.spectra_at), default=0)
        for t in simulation.spectra_at:
            found, edge = solution.outliers(layer, t), solution.bulk(layer, t).edges[-1][1]
            for k in range(max(1, most)):

                def top(s, layer=layer, t=t, k=k, edge=edge):
                    values = s.outliers(layer, t).values
                    return values[k] if k < len(values) else edge

                add(f"outlier_{k + 1}", layer, t, top, simulation.singular_values(layer, t)[:, k])
                if k < min(len(found.values), getattr(simulation, "recorded_overlaps", 0)):
                    for side, predicted, measured in zip(
                        ("left", "right"), (found.left_overlap, found.right_overlap), simulation.overlaps(layer, t),
                        strict=True,
                    ):  # fmt: skip
                        closest = int(np.argmax(predicted[k]))
                        add(f"{side}_overlap_{k + 1}", layer, t, lambda s, x=predicted[k, closest]: x,
                            measured[:, k, closest])  # fmt: skip
    table = pd.DataFrame(rows, columns=["quantity", "layer", "step", "theory", "simulation", "standard_error", "z",
                                        "relative_error"])  # fmt: skip
    return table.astype({"layer": "Int64"})


def _trace(kernel, axis):
    """Of (..., P, P) or (..., P, K, P, K), over what follows `axis`: the mean over samples of the sum over outputs."""
    size = int(np.prod(kernel.shape[axis:]) ** 0.5)
    return np.trace(np.asarray(kernel).reshape(*kernel.shape[:axis], size, size), 0, -2, -1) / kernel.shape[axis]
