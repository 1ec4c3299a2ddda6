"""The equation contract: a result derived in SymPy and the function of `dmftlib` that
computes it are the same.

Each numbered equation of the book has one `Contract`, in the `CONTRACTS` of its
chapter's module. The chapter shows them; `tests/book/test_contracts.py` runs all of them
again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sympy

STANDINGS = {
    "derived": "SymPy gets it from definitions, the rule for a matrix that has been asked, "
    "and integrals",
    "premise typed": "SymPy starts from equations that were typed in; the text derives "
    "them in words",
    "typed, cross-checked": "typed in as it stands, and compared with what was computed "
    "in another way",
}


@dataclass(frozen=True)
class Contract:
    """`derived` (a SymPy expression or matrix in `symbols`) equals `library(*values)`
    at every draw of the values.

    `standing` is what the page says beside the equation, and with `besides` it stands
    in the table of all equations (`_ext/derivation_sources.py`).
    """

    label: str  # the label of the numbered equation in the chapter
    derived: sympy.Basic | sympy.MatrixBase
    symbols: tuple
    library: Callable
    draw: Callable  # numpy Generator -> one value for each symbol
    tolerance: float = 1e-10
    standing: str | None = None  # one of STANDINGS: how much of it SymPy has derived
    besides: str | None = None  # what else protects it, where both share a premise

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


def show(*contracts: Contract, draws: int = 50) -> None:
    """Print each contract with its largest relative error, rounded up to the tolerance
    it must meet.
    """
    for contract in contracts:
        error = contract.largest_error(draws)
        verdict = (
            f"below {contract.tolerance:.0e}"
            if error < contract.tolerance
            else f"{error:.1e}: BROKEN"
        )
        print(
            f"{contract.label}: SymPy and dmftlib agree at {draws} random points, "
            f"largest relative error {verdict}"
        )
