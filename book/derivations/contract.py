"""The equation contract: a result derived in SymPy and the function of `dmftlib` that computes it are the same.

Each numbered equation of the book has one `Contract`, in the `CONTRACTS` of its chapter's module. The chapter shows
them; `tests/test_contracts.py` runs all of them again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sympy


@dataclass(frozen=True)
class Contract:
    """`derived` (a SymPy expression or matrix in `symbols`) equals `library(*values)` at every draw of the values."""

    label: str  # the label of the numbered equation in the chapter
    derived: sympy.Basic | sympy.MatrixBase
    symbols: tuple
    library: Callable
    draw: Callable  # numpy Generator -> one value for each symbol
    tolerance: float = 1e-10

    def largest_error(self, draws: int = 50, seed: int = 0) -> float:
        """Largest relative error over random parameters; NaN counts as infinite."""
        formula = sympy.lambdify(self.symbols, self.derived, "numpy")
        rng = np.random.default_rng(seed)
        worst = 0.0
        for _ in range(draws):
            values = self.draw(rng)
            ours = np.asarray(self.library(*values)).ravel()
            theirs = np.asarray(formula(*values)).ravel()
            scale = max(np.abs(theirs).max(), 1e-300)
            error = np.abs(np.broadcast_to(ours, theirs.shape) - theirs).max() / scale
            worst = max(worst, np.inf if np.isnan(error) else float(error))
        return worst


def show(*contracts: Contract) -> None:
    """Print each contract with its largest relative error, rounded up to the tolerance it must meet."""
    for contract in contracts:
        error = contract.largest_error()
        verdict = f"below {contract.tolerance:.0e}" if error < contract.tolerance else f"{error:.1e}: BROKEN"
        print(f"{contract.label}: SymPy and dmftlib agree at 50 random points, largest relative error {verdict}")
