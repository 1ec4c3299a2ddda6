"""Theory beside simulation: one tidy table, with the distance in standard errors."""

import numpy as np
import pandas as pd

from . import checks

_CURVES = ("train_loss", "test_loss", "predictor_norm", "alignment")


def compare(solution, simulation) -> pd.DataFrame:
    """Every quantity that both sides have, one row each.

    Columns: quantity, layer (absent for losses), step, theory, simulation (mean over seeds), standard_error (of the
    difference), z = (simulation - theory)/standard_error, relative_error = simulation/theory - 1.

    Losses are compared at every step. At the recorded steps, outlier_k is the k-th largest singular value against the
    k-th outlier, or against the bulk edge where theory has fewer, for as many k as theory has outliers at any recorded
    step. left_overlap_k and right_overlap_k are squared cosines with the query that theory says is the closest, where
    the simulation recorded overlaps. With a single seed there is no standard error, and z is NaN.

    Raises ValueError if the two do not belong to the same network.

    >>> from dmftlib import DeepLinear, simulate, solve
    >>> net = DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=5)
    >>> table = compare(solve(net), simulate(net, dim=100, seeds=4, spectra_at=(5,)))
    >>> list(table.quantity.unique())
    ['train_loss', 'test_loss', 'predictor_norm', 'alignment', 'outlier_1']
    """
    if solution.net != simulation.net:
        checks.fail("simulation", f"a simulation of {simulation.net}", f"one of the solved network, {solution.net}")
    rows = []
    for name in _CURVES:
        theory, simulated = (getattr(side, name, None) for side in (solution, simulation))
        if theory is not None and simulated is not None:
            rows += [_row(name, None, t, theory[t], simulated[:, t]) for t in range(len(theory))]
    for layer in range(solution.net.hidden_layers):
        found = {t: solution.outliers(layer, t) for t in simulation.spectra_at}
        most = max((len(at.values) for at in found.values()), default=0)
        for t, outliers in found.items():
            edge = solution.bulk(layer, t).edges[-1][1]
            singular = simulation.singular_values(layer, t)
            for k in range(max(1, most)):
                present = k < len(outliers.values)
                theory = outliers.values[k] if present else edge
                rows.append(_row(f"outlier_{k + 1}", layer, t, theory, singular[:, k]))
                if present and k < simulation.recorded_overlaps:
                    for side, predicted, measured in zip(
                        ("left", "right"), (outliers.left_overlap, outliers.right_overlap),
                        simulation.overlaps(layer, t), strict=True,
                    ):  # fmt: skip
                        closest = int(np.argmax(predicted[k]))
                        rows.append(_row(f"{side}_overlap_{k + 1}", layer, t, predicted[k, closest],
                                         measured[:, k, closest]))  # fmt: skip
    table = pd.DataFrame(rows, columns=["quantity", "layer", "step", "theory", "simulation", "standard_error", "z",
                                        "relative_error"])  # fmt: skip
    return table.astype({"layer": "Int64"})


def _row(quantity, layer, step, theory, simulated):
    theory, mean, seeds = float(theory), float(np.mean(simulated)), len(simulated)
    error = float(np.std(simulated, ddof=1) / np.sqrt(seeds)) if seeds > 1 else np.nan
    difference = mean - theory
    return (quantity, layer, step, theory, mean, error, difference / error if error > 0 else np.nan,
            difference / theory if theory else np.nan)  # fmt: skip
