"""The same networks at finite size: raw weights, gradients by automatic
differentiation, many seeds.

Nothing in `simulations` knows the theory: this is what the theory is checked against.
`simulate` asks the simulator that is registered for the kind of network.
"""

import functools
from collections.abc import Iterable
from typing import Literal, overload

from . import _checks
from .networks import DeepLinear, Nonlinear, WideOutput
from .programs import Program
from .simulations.base import Simulation
from .simulations.coordinates import CoordinateSimulation, simulate_coordinates
from .simulations.deep_linear import DeepLinearSimulation, simulate_deep_linear
from .simulations.nonlinear import (
    NonlinearSimulation,
    check_memory,
    simulate_nonlinear,
)
from .simulations.program import ProgramSimulation, simulate_program
from .simulations.wide_output import WideSimulation, simulate_wide_output


@functools.singledispatch
def simulator(net, **options) -> Simulation:
    """The function that trains networks of this kind: `simulator.register(Kind,
    function)` adds one, called with the network, `seeds`, `seed`, `spectra_at` and its
    own options.

    Raises ValueError for anything that is not a network.

    >>> simulator.dispatch(WideOutput).__name__
    'simulate_wide_output'
    """
    _checks.fail("net", type(net).__name__, _checks.kinds(simulator))


def _simulate_any_deep_linear(net: DeepLinear, method: str = "dense", **options):
    chosen = _checks.choice("method", method, ("dense", "coordinates"))
    if chosen == "coordinates":
        return _checks.call(simulate_coordinates, net, options)
    return _checks.call(simulate_deep_linear, net, options)


def _simulate_any_nonlinear(net: Nonlinear, matrix_free: bool = False, **options):
    if not _checks.choice("matrix_free", matrix_free, (True, False)):
        return _checks.call(simulate_nonlinear, net, options)
    # the conditioning solver run at S = N, the one simulation that knows of level 1
    from .matrix_free import simulate_matrix_free

    width = _checks.integer("width", options.get("width", 2000), 1)
    check_memory(net, width, options["seeds"], matrices=0)
    return _checks.call(simulate_matrix_free, net, options)


simulator.register(DeepLinear, _simulate_any_deep_linear)
simulator.register(Nonlinear, _simulate_any_nonlinear)
simulator.register(WideOutput, simulate_wide_output)
simulator.register(Program, simulate_program)


@overload
def simulate(
    net: DeepLinear,
    seeds: int = 8,
    seed: int = 0,
    spectra_at: Iterable[int] = (),
    *,
    dim: int = 1000,
    method: Literal["dense"] = "dense",
    overlaps: int = 0,
    ntk: bool = True,
    leading: int = 0,
    progress: bool = True,
) -> DeepLinearSimulation: ...


@overload
def simulate(
    net: DeepLinear,
    seeds: int = 8,
    seed: int = 0,
    spectra_at: Iterable[int] = (),
    *,
    dim: int = 1000,
    method: Literal["coordinates"],
    leading: int = 0,
    overlaps: int = 0,
    ntk: bool = False,
    blocks: int = 128,
    progress: bool = True,
) -> CoordinateSimulation: ...


@overload
def simulate(
    net: Nonlinear,
    seeds: int = 8,
    seed: int = 0,
    spectra_at: Iterable[int] = (),
    *,
    width: int = 2000,
    matrix_free: bool = False,
    dtype: str = "float64",
    tolerance: float | None = None,
    rank: int | None = None,
    progress: bool = True,
) -> NonlinearSimulation: ...


@overload
def simulate(
    net: Program,
    seeds: int = 8,
    seed: int = 0,
    spectra_at: Iterable[int] = (),
    *,
    width: int = 1000,
    progress: bool = True,
) -> ProgramSimulation: ...


@overload
def simulate(
    net: WideOutput,
    seeds: int = 8,
    seed: int = 0,
    spectra_at: Iterable[int] = (),
    *,
    width: int = 1000,
    dim: int | None = None,
    updates: bool = True,
    progress: bool = True,
) -> WideSimulation: ...


def simulate(net, seeds=8, seed=0, spectra_at=(), **options) -> Simulation:
    """Train `seeds` networks of finite size, each from its own start, and record
    spectra at the steps `spectra_at`.

    DeepLinear   dim=1000, overlaps=0, ntk=True, leading=0: see `simulate_deep_linear`;
                 with method="coordinates" any dim, exactly in law, leading values only,
                 blocks=128: see `simulate_coordinates`
    Nonlinear    width=2000: see `simulate_nonlinear`; with matrix_free=True also
                 dtype, tolerance, rank: see `simulate_matrix_free`
    Program      width=1000: see `simulate_program`
    WideOutput   width=1000, dim=None, updates=True: see `simulate_wide_output`
    progress     True: a bar on stderr for runs longer than a few seconds

    Every array of the result has a first axis of seeds. The same `seed` gives the same
    numbers. Raises ValueError for anything that is not a network, options that it does
    not have, sizes below 1, and steps that it does not reach.

    >>> net = DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=5)
    >>> simulate(net, dim=50, seeds=3, spectra_at=(0, 5)).singular_values(layer=0, step=5).shape
    (3, 50)
    """
    function = simulator.dispatch(type(net))
    if function is simulator.dispatch(object):
        return function(net)
    if not isinstance(spectra_at, Iterable):
        _checks.fail(
            "spectra_at", _checks.shown(spectra_at), "the steps, as a sequence"
        )
    steps = (_checks.integer("spectra_at", t, 0, net.steps) for t in spectra_at)
    options = dict(
        options,
        seeds=_checks.integer("seeds", seeds, 1),
        seed=_checks.integer("seed", seed, 0),
        spectra_at=tuple(steps),
    )
    if function in (_simulate_any_deep_linear, _simulate_any_nonlinear):
        return function(net, **options)
    return _checks.call(function, net, options)
