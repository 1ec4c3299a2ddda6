"""Exact simulation of wide nonlinear networks without their N x N matrices: the conditioning run at S = N sites."""

import jax
import numpy as np
from tqdm import tqdm

from . import checks
from .networks import Nonlinear
from .simulations.nonlinear import NonlinearSimulation
from .solutions.nonlinear import pooled_outliers
from .training import nonlinear


def simulate_matrix_free(net: Nonlinear, width: int = 2000, seeds: int = 8, seed: int = 0, spectra_at=(),
                         progress: bool = True, dtype: str = "float64", tolerance: float | None = None,
                         rank: int | None = None) -> NonlinearSimulation:  # fmt: skip
    """`simulate(..., matrix_free=True)`: networks known only as far as their training asks for them.

    The distribution is that of `simulate_nonlinear`, memory proportional to the width; see `training.conditioning`.
    Queries are taken as dependent where less than `tolerance` of them is new. Singular values recorded are those past
    the edge of the bulk.

    Raises ValueError where the queries need more than `rank` directions.
    """
    width = checks.integer("width", width, 1)
    most, room = nonlinear.rank_guess(net)
    most = min(most, width)
    room = min(most, room) if rank is None else min(checks.integer("rank", rank, 1), most)
    tolerance = (1e-3 if dtype == "float32" else 1e-6) if tolerance is None else checks.positive("tolerance", tolerance)
    records, values = [], []
    with tqdm(total=seeds, desc=f"simulating N = {width}", delay=5, disable=not progress) as bar:
        while len(records) < seeds:
            run = nonlinear.train(net, (seed, len(records)), sites=width, rank=room, tolerance=tolerance, matched=False,
                                  dtype=dtype)  # fmt: skip
            if bool(run.full) and room < most and rank is None:
                room = min(2 * room, most)
                continue
            if bool(run.full):
                checks.fail("rank", room, "room for more directions: a larger rank or tolerance")
            records.append(jax.device_get((run.predictions, list(run.feature_kernels), list(run.gradient_kernels))))
            histories = jax.tree.map(lambda x: x[None], run.layers)
            values.append({(l + 1, t): np.asarray(pooled_outliers(history, t, None, False, tolerance).values)
                           for l, history in enumerate(histories) for t in spectra_at})  # fmt: skip
            bar.update()
    predictions, features, gradients = jax.tree.map(lambda *a: np.stack(a), *records)
    spectra = {at: np.full((seeds, max(len(v[at]) for v in values)), np.nan) for at in values[0]}
    for at, table in spectra.items():
        for row, found in zip(table, values, strict=True):
            row[: len(found[at])] = found[at]
    return NonlinearSimulation(net, width, predictions, features, gradients, spectra_at, spectra)
