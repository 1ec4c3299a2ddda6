"""From a network to its solution: level 1 trains it, level 2 reads the spectra of its weights off the history."""

from . import checks
from .networks import DeepLinear, Nonlinear, WideOutput
from .solutions.base import Solution
from .solutions.deep_linear import solve_deep_linear
from .solutions.nonlinear import solve_nonlinear
from .solutions.wide_output import solve_wide_output

_SOLVERS = {DeepLinear: solve_deep_linear, Nonlinear: solve_nonlinear, WideOutput: solve_wide_output}


class SolveError(RuntimeError):
    """The theory has no complete answer. `.solution` is the part that there is."""

    def __init__(self, solution):
        super().__init__(f"{solution.status}; solve(..., throw=False) returns the part that is finite")
        self.solution = solution


def solve(net: DeepLinear | Nonlinear | WideOutput, throw: bool = True, **options) -> Solution:
    """Solve the theory of a network in the limit in which its dimensions are large.

    options    Nonlinear: see `solve_nonlinear` (samples, seed, form, ...); DeepLinear: `capacity`; WideOutput: none

    Raises ValueError for anything that is not a network and for options that it does not have, and SolveError where
    training diverges or the answer is not to be trusted, unless `throw` is False: `status` then says why. Under `jit`
    and `grad` nothing can be raised: look at `status` outside.

    >>> from dmftlib import DeepLinear
    >>> net = DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, gamma0=2.0, learning_rate=0.1, steps=20)
    >>> print(solve(net).test_loss[::10].round(4))
    [1.25   0.1676 0.0556]
    """
    solver = checks.of_network(net, _SOLVERS)
    solution = checks.call(solver, net, options)
    if throw and checks.known(solution) and not solution.ok:
        raise SolveError(solution)
    return solution
