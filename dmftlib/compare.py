"""Theory beside simulation: one tidy table, with the distance in standard errors."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import equinox as eqx
import numpy as np
import pandas as pd
from scipy import stats

from . import _checks
from .networks import DeepLinear, Nonlinear, WideOutput
from .programs import Program
from .simulations.leading_noise import leading_noise
from .solutions.base import AbstractSolution
from .solutions.deep_linear import solve_deep_linear

_NOISE_DRAWS = 200  # matrices M(0), for the finite-size edge
_CURVES = (
    "train_loss",
    "test_loss",
    "predictor_norm",
    "alignment",
    "predictions",
    "test_predictions",
)
_COLUMNS = (
    "quantity",
    "layer",
    "step",
    "theory",
    "simulation",
    "standard_error",
    "degrees_of_freedom",
    "z",
    "relative_error",
)


def compare(solution, simulation) -> pd.DataFrame:
    """Every quantity that both sides have, one row each.

    Columns: quantity, layer (absent for losses and predictions), step, theory,
    simulation (mean over seeds), standard_error (of the difference),
    degrees_of_freedom, z, relative_error = simulation/theory - 1.

    z is the distance (simulation - theory)/standard_error, as it would be if the error
    were known. A standard error estimated from few seeds, or from the few batches of
    samples that the theory of a Nonlinear has, is often too small by chance, so that
    the ratio follows Student's law, and exceeds 3 in 5.8 of 100 rows of a right theory
    (four batches) instead of 0.27. z is the normal number that is as improbable as the
    ratio is by Student's law, with the degrees of freedom of Welch and Satterthwaite
    where both sides have an error. With a single seed, or batch of samples, there is
    none, and z is NaN.

    Losses, predictions (named mu,k by sample and output) and the traces of kernels
    (summed over outputs, averaged over samples; layer l for h^l) are compared at every
    step. At the recorded steps, outlier_k is the k-th largest singular value against
    the k-th outlier, for as many k as theory has outliers at any recorded step. Where
    theory has fewer, j < k of them, it is against the (k - j)-th largest singular value
    of noise alone, M(0) of the size simulated: the mean of 200 matrices drawn by
    `leading_noise`, whose error counts in standard_error. It lies below the edge of the
    bulk by a distance of the order of size^(-2/3), the edge itself only where the size
    is infinite or nothing was recorded. left_overlap_k and right_overlap_k are
    squared cosines with the query that theory says is the closest, where the simulation
    recorded overlaps; edge, of a WideOutput, is the largest singular value against the
    end of the law.

    A DeepLinear whose simulation had to round the fraction of a batch is solved again
    at the fraction used, which `table.attrs["batch"]` says.

    Raises ValueError if the two do not belong to the same network.

    >>> from dmftlib import DeepLinear, simulate, solve
    >>> net = DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=5)
    >>> table = compare(solve(net), simulate(net, dim=100, seeds=4, spectra_at=(5,)))
    >>> list(table.quantity.unique())
    ['train_loss', 'test_loss', 'predictor_norm', 'alignment', 'outlier_1']
    """
    _check(solution, simulation)
    solution = _at_the_batch_used(solution, simulation)
    rows = [
        row
        for quantity in _quantities(solution, simulation)
        for row in _rows(solution, quantity)
    ]
    table = pd.DataFrame(rows, columns=_COLUMNS).astype({"layer": "Int64"})
    if isinstance(solution.net, DeepLinear):
        table.attrs["batch"] = solution.net.batch
    return table


def _check(solution, simulation):
    if not isinstance(solution, AbstractSolution):
        need = "what `solve` returns"
        _checks.fail("solution", type(solution).__name__, need)
    if isinstance(solution.net, Program):
        need = "that of another network: compare `measured` with a simulation by hand"
        _checks.fail("solution", "one of a Program", need)
    if not hasattr(simulation, "singular_values"):
        need = "what `simulate` returns"
        _checks.fail("simulation", type(simulation).__name__, need)
    if not eqx.tree_equal(solution.net, simulation.net):
        got = f"one of {_checks.shown(simulation.net)}"
        _checks.fail("simulation", got, f"one of {_checks.shown(solution.net)}")


def _at_the_batch_used(solution, simulation) -> AbstractSolution:
    """The solution; where the simulation has drawn another fraction of its samples than
    the network says, the solution of that.
    """
    used = getattr(simulation, "batch", None)
    if used is None or used == getattr(solution.net, "batch", used):
        return solution
    if used == 1:
        used = "full"  # every sample in every step
    return solve_deep_linear(dataclasses.replace(solution.net, batch=used))


class Quantity(NamedTuple):
    """What is compared: theory get(solution) and simulated (seeds, ...) of the same
    shape. Without a step, the first axis is that of the steps.

    noise   theory's number is the mean of these, which has an error of its own
    """

    name: str
    layer: int | None
    step: int | None
    get: Callable
    simulated: np.ndarray
    noise: np.ndarray | None = None


def _quantities(solution, simulation) -> Iterator[Quantity]:
    yield from _curves(solution, simulation)
    if isinstance(solution.net, Nonlinear):
        yield from _kernels(solution, simulation)
    spectra = _edges if isinstance(solution.net, WideOutput) else _outliers
    first = int(isinstance(solution.net, Nonlinear))
    for layer in range(first, getattr(solution.net, "hidden_layers", 1)):
        yield from spectra(solution, simulation, layer)


def _curves(solution, simulation):
    for name in _CURVES:
        curve = getattr(simulation, name, None)
        known = getattr(solution, name, None) is not None
        if curve is not None and known and curve[0].size:

            def get(s, name=name):
                return getattr(s, name)

            yield Quantity(name, None, None, get, curve)


def _kernels(solution, simulation):
    for l in range(1, solution.net.hidden_layers + 1):
        for name in ("feature_kernel", "gradient_kernel"):

            def get(s, name=name, l=l):
                return _trace(getattr(s, name)(l), 1)

            simulated = _trace(getattr(simulation, name)(l), 2)
            yield Quantity(f"{name} trace", l, None, get, simulated)


def _trace(kernel, axis):
    """Of (..., P, P) or (..., P, K, P, K), over what follows `axis`: the mean over
    samples of the sum over outputs.
    """
    size = int(np.prod(kernel.shape[axis:]) ** 0.5)
    square = np.asarray(kernel).reshape(*kernel.shape[:axis], size, size)
    return np.trace(square, 0, -2, -1) / kernel.shape[axis]


def _edges(solution, simulation, layer):
    for t in simulation.spectra_at:

        def get(s, t=t):
            return s.bulk(layer, t).upper_end if t < s.finite_steps else np.nan

        simulated = simulation.singular_values(layer, t)[:, 0]
        yield Quantity("edge", layer, t, get, simulated)


def _outliers(solution, simulation, layer):
    found = {t: solution.outliers(layer, t) for t in simulation.spectra_at}
    most = max((len(each.values) for each in found.values()), default=0)
    for t in simulation.spectra_at:
        bulk = solution.bulk(layer, t)
        edge = bulk.upper_end
        simulated = simulation.singular_values(layer, t)
        recorded = simulated.shape[1]
        for k in range(min(max(1, most), recorded)):
            noise = None
            within = k - len(found[t].values)
            if within >= 0 and np.isfinite(simulated[:, k]).any():
                noise = _noise(simulation, layer, most + 1)[:, within]
                noise = noise * np.sqrt(bulk.variance)
            inside = edge if noise is None else noise.mean()

            def top(s, t=t, k=k, inside=inside):
                values = s.outliers(layer, t).values
                return values[k] if k < len(values) else inside

            yield Quantity(f"outlier_{k + 1}", layer, t, top, simulated[:, k], noise)
            overlaps = getattr(simulation, "recorded_overlaps", 0)
            if k < min(len(found[t].values), overlaps):
                yield from _overlaps(found[t], simulation, layer, t, k)


def _noise(simulation, layer, leading) -> np.ndarray:
    """The largest singular values of a matrix of the shape of M(0), at the simulated
    size and variance 1: (draws, leading).
    """
    net = simulation.net
    if isinstance(net, Nonlinear):
        rows = simulation.width
        columns = rows
    else:
        rows = round(net.width_ratio * simulation.dim)
        columns = simulation.dim if layer == 0 else rows
    leading = min(leading, rows, columns)
    return _drawn_noise(rows, columns, leading)


@functools.lru_cache(32)
def _drawn_noise(rows, columns, leading):
    return leading_noise(rows / columns, 1.0, rows, _NOISE_DRAWS, leading)


def _overlaps(found, simulation, layer, t, k):
    predicted = {"left": found.left_overlap[k], "right": found.right_overlap[k]}
    measured = simulation.overlaps(layer, t)
    for (side, theory), simulated in zip(predicted.items(), measured, strict=True):
        closest = int(np.argmax(theory))

        def get(s, value=theory[closest]):
            return value

        name = f"{side}_overlap_{k + 1}"
        yield Quantity(name, layer, t, get, simulated[:, k, closest])


def _rows(solution, quantity: Quantity) -> Iterator[tuple]:
    theory = np.asarray(quantity.get(solution))
    simulated = np.asarray(quantity.simulated)
    errors = _errors(solution, quantity, theory.shape)
    mean = simulated.mean(0)
    difference = mean - theory
    z = normal_score(difference, errors.size, errors.degrees)
    safe = np.where(np.abs(theory) > 1e-12, theory, np.nan)
    for at in np.ndindex(theory.shape):
        which = at if quantity.step is not None else at[1:]
        yield (
            quantity.name + (" " + ",".join(map(str, which)) if which else ""),
            quantity.layer,
            at[0] if quantity.step is None else quantity.step,
            theory[at],
            mean[at],
            errors.size[at],
            errors.degrees[at],
            z[at],
            difference[at] / safe[at],
        )


class Errors(NamedTuple):
    """Standard errors of differences, and the degrees of freedom of these estimates."""

    size: np.ndarray
    degrees: np.ndarray


def _errors(solution, quantity, shape) -> Errors:
    seeds = len(quantity.simulated)
    if seeds == 1:
        return Errors(np.full(shape, np.nan), np.zeros(shape))
    parts = [Errors(_error_of_mean(quantity.simulated), np.array(seeds - 1))]
    if quantity.noise is not None:
        error = _error_of_mean(quantity.noise)
        parts.append(Errors(error, np.array(len(quantity.noise) - 1)))
    if hasattr(solution, "standard_error"):
        own = np.asarray(solution.standard_error(quantity.get))
        parts.append(Errors(own, np.array(max(solution.batches - 1, 1))))
    if len(parts) == 1:
        return Errors(parts[0].size, np.full(shape, seeds - 1.0))
    return _joined(parts, shape)


def _error_of_mean(draws):
    return np.std(draws, 0, ddof=1) / len(draws) ** 0.5


def _joined(parts, shape) -> Errors:
    """Welch and Satterthwaite's degrees of freedom of a sum of independent errors."""
    total = np.sqrt(sum(part.size**2 for part in parts))
    nothing = np.zeros(np.shape(total))
    inverse = 0.0
    for size, degrees in parts:
        share = np.divide(size, total, where=total > 0, out=nothing.copy())
        inverse = inverse + share**4 / degrees
    degrees = np.divide(1.0, inverse, where=inverse > 0, out=np.full(shape, np.inf))
    return Errors(total, degrees)


def normal_score(difference, error, degrees):
    """The number that a normal variable exceeds as rarely as Student's t does exceed
    difference/error: arrays of one shape. NaN where there is no error.
    """
    error = np.where(error > 0, error, np.nan)
    ratio = np.abs(difference / error)
    beyond = stats.t.sf(ratio, np.where(degrees > 0, degrees, np.nan))
    # beyond what doubles can tell, where the law of t is normal
    score = np.where(beyond == 0, ratio, stats.norm.isf(beyond))
    return np.sign(difference) * score
