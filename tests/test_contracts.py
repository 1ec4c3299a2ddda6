"""The equation contract: what a chapter derives in SymPy is what the library computes."""

import importlib
import pkgutil

import derivations
import numpy as np
import pytest
import sympy
from derivations.contract import Contract

CHAPTERS = [m.name for m in pkgutil.iter_modules(derivations.__path__) if m.name != "contract"]
CONTRACTS = [c for name in CHAPTERS for c in getattr(importlib.import_module(f"derivations.{name}"), "CONTRACTS", [])]


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.label)
def test_contract(contract):
    assert contract.largest_error(draws=20, seed=1) < contract.tolerance


def test_labels_are_unique():
    assert len({c.label for c in CONTRACTS}) == len(CONTRACTS) > 0


def test_a_broken_contract_is_seen():
    x = sympy.Symbol("x")
    for wrong in (lambda v: v + 1e-9, lambda v: np.nan):
        broken = Contract("broken", x, (x,), wrong, lambda rng: (rng.uniform(1, 2),))
        assert not broken.largest_error() < broken.tolerance
