"""From a network to its solution: level 1 trains it, level 2 reads the spectra of its
weights off the history. `solve` asks the solver that is registered for the kind of
network.
"""

import functools
from typing import Literal, overload

from . import _checks
from .networks import DeepLinear, Nonlinear, WideOutput
from .programs import Program
from .solutions.base import AbstractSolution
from .solutions.deep_linear import DeepLinearSolution, solve_deep_linear
from .solutions.nonlinear import NonlinearSolution, solve_nonlinear
from .solutions.program import ProgramSolution, solve_program
from .solutions.wide_output import WideOutputSolution, solve_wide_output


class SolveError(RuntimeError):
    """The theory has no complete answer. `.solution` is the part that there is."""

    def __init__(self, solution):
        super().__init__(solution)
        self.solution = solution

    def __str__(self):
        remedy = "solve(..., throw=False) returns the part that is finite"
        return f"{self.solution.status}; {remedy}"


@functools.singledispatch
def solver(net, **options) -> AbstractSolution:
    """The function that solves networks of this kind: `solver.register(Kind, function)`
    adds one, called with the network and its own options.

    Raises ValueError for anything that is not a network.

    >>> solver.dispatch(DeepLinear).__name__
    'solve_deep_linear'
    """
    _checks.fail("net", type(net).__name__, _checks.kinds(solver))


solver.register(DeepLinear, solve_deep_linear)
solver.register(Nonlinear, solve_nonlinear)
solver.register(WideOutput, solve_wide_output)
solver.register(Program, solve_program)


@overload
def solve(
    net: DeepLinear, throw: bool = True, *, capacity: int | None = None
) -> DeepLinearSolution: ...


@overload
def solve(
    net: Nonlinear,
    throw: bool = True,
    *,
    samples: int | None = None,
    seed: int = 0,
    batches: int = 4,
    rank: int | None = None,
    accuracy: float | None = None,
    form: Literal["conditioning", "response"] = "conditioning",
) -> NonlinearSolution: ...


@overload
def solve(
    net: Program,
    throw: bool = True,
    *,
    samples: int | None = None,
    seed: int = 0,
    batches: int = 4,
    rank: int | None = None,
) -> ProgramSolution: ...


@overload
def solve(net: WideOutput, throw: bool = True) -> WideOutputSolution: ...


def solve(net, throw=True, **options) -> AbstractSolution:
    """Solve the theory of a network in the limit in which its dimensions are large.

    DeepLinear   capacity=None: see `solve_deep_linear`
    Nonlinear    samples=None (4000 or more), seed=0, batches=4, rank=None, accuracy=None,
                 form="conditioning": see `solve_nonlinear`
    Program      samples=None (4000), seed=0, batches=4, rank=None: see `solve_program`
    WideOutput   no options

    Raises ValueError for anything that is not a network and for options that it does
    not have, and SolveError where training diverges or the answer is not to be trusted,
    unless `throw` is False: `status` then says why. Under `jit` and `grad` nothing can
    be raised: look at `status` outside.

    >>> net = DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, gamma0=2.0, learning_rate=0.1, steps=20)
    >>> print(solve(net).test_loss[::10].round(4))
    [1.25   0.1676 0.0556]
    """
    function = solver.dispatch(type(net))
    if function is solver.dispatch(object):
        return function(net)
    solution = _checks.call(function, net, options)
    if throw and _checks.is_concrete(solution) and not solution.ok:
        raise SolveError(solution)
    return solution
