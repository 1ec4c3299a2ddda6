"""The equation contract: what a chapter derives in SymPy is what the library computes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

DERIVATIONS = Path(__file__).parents[2] / "book/derivations"


def labels() -> list[tuple[str, str]]:
    """(chapter's module, label) of every `Contract("label", ...)` in book/derivations,
    read and not run.
    """
    return [
        (path.stem, ast.literal_eval(call.args[0]))
        for path in sorted(DERIVATIONS.glob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Contract"
    ]


SAMPLED = ("nonlinear", "field_theory")  # contracts that draw neurons take longer
CASES = [
    pytest.param(*each, marks=pytest.mark.slow if each[0] in SAMPLED else ())
    for each in labels()
]


@pytest.mark.parametrize("chapter, label", CASES, ids=lambda x: x)
def test_contract(chapter, label):
    contracts = importlib.import_module(f"derivations.{chapter}").CONTRACTS
    (contract,) = (c for c in contracts if c.label == label)
    assert contract.largest_error(draws=20, seed=1) < contract.tolerance


@pytest.mark.slow
def test_every_contract_is_in_its_chapters_list():
    assert len(labels()) > 0 and len({label for _, label in labels()}) == len(labels())
    for chapter in {chapter for chapter, _ in labels()}:
        listed = importlib.import_module(f"derivations.{chapter}").CONTRACTS
        assert sorted(c.label for c in listed) == sorted(
            label for where, label in labels() if where == chapter
        )


def test_a_broken_contract_is_seen():
    import sympy
    from derivations.contract import Contract

    x = sympy.Symbol("x")
    for wrong in (lambda v: v + 1e-9, lambda v: np.nan):
        broken = Contract("broken", x, (x,), wrong, lambda rng: (rng.uniform(1, 2),))
        assert not broken.largest_error() < broken.tolerance
