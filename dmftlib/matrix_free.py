"""Exact simulation of wide nonlinear networks without their N x N matrices: the conditioning run at S = N sites."""

import jax
import numpy as np
from tqdm import tqdm

from . import checks
from .networks import Nonlinear
from .simulations.nonlinear import NonlinearSimulation
from .spectra.trajectory import outliers_by_step, pooled
from .training import nonlinear
from .training.conditioning import rounded

_PILOT = 8192  # the width of the network that tells how many directions a wider one will need


def simulate_matrix_free(net: Nonlinear, width: int = 2000, seeds: int = 8, seed: int = 0, spectra_at=(),
                         progress: bool = True, dtype: str = "float64", tolerance: float | None = None,
                         rank: int | None = None) -> NonlinearSimulation:  # fmt: skip
    """`simulate(..., matrix_free=True)`: networks known only as far as their training asks for them.

    The distribution is that of `simulate_nonlinear`, memory proportional to the width; see `training.conditioning`.
    Queries are taken as dependent where less than `tolerance` of them is new. Singular values recorded are those past
    the edge of the bulk.

    Raises ValueError where the queries need more than `rank` directions.

    >>> net = Nonlinear(inputs=np.eye(2), targets=[1.0, -1.0], hidden_layers=2, learning_rate=0.1, steps=3)
    >>> one = simulate_matrix_free(net, width=8000, seeds=1)  # W^1 would have 64 million entries
    >>> bool(one.train_loss[0, 3] < one.train_loss[0, 0])
    True
    """
    width = checks.integer("width", width, 1)
    checks.choice("dtype", dtype, ("float32", "float64"))
    tolerance = (1e-3 if dtype == "float32" else 1e-6) if tolerance is None else checks.positive("tolerance", tolerance)
    most, guess = nonlinear.rank_guess(net)
    cap = most if rank is None else min(checks.integer("rank", rank, 1), most)

    def run(number, room, sites=width):
        return nonlinear.train(net, (seed, number), sites=sites, room=room, tolerance=tolerance, matched=False,
                               dtype=dtype)  # fmt: skip

    def fitted(number, rank, sites):
        """A run with room for all directions, and that room."""
        room = nonlinear.room_for(net, min(rank, sites), sites)
        one = run(number, room, sites)
        if bool(one.full) and rank >= cap:
            checks.fail("rank", rank, "room for more directions: a larger rank or tolerance")
        return fitted(number, min(2 * rank, cap), sites) if bool(one.full) else (one, room)

    first, room = fitted(0, min(guess, cap), min(width, _PILOT))
    if width > _PILOT:  # as much room as the pilot has used, and a little more
        used = np.append(np.max(first.ranks, initial=1), first.used)
        room, first = tuple(rounded(int(1.05 * n)) for n in used), None
    records, values = [], []
    with tqdm(total=seeds, desc=f"simulating N = {width}", delay=5, disable=not progress) as bar:
        for number in range(seeds):
            one = run(number, room) if number or first is None else first
            if bool(one.full):
                one, room = fitted(number, min(max(room), cap), width)
            records.append(jax.device_get((one.predictions, list(one.feature_kernels), list(one.gradient_kernels))))
            layers = [pooled(jax.tree.map(lambda x: x[None], layer), tolerance=tolerance) for layer in one.layers]
            values.append({(l + 1, t): np.asarray(outliers_by_step(*layer, t).values)
                           for l, layer in enumerate(layers) for t in spectra_at})  # fmt: skip
            bar.update()
    predictions, features, gradients = jax.tree.map(lambda *a: np.stack(a), *records)
    spectra = {at: np.full((seeds, max(len(v[at]) for v in values)), np.nan) for at in values[0]}
    for at, table in spectra.items():
        for row, found in zip(table, values, strict=True):
            row[: len(found[at])] = found[at]
    return NonlinearSimulation(net, width, predictions, features, gradients, spectra_at, spectra)
