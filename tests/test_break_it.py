"""Each guard notices what it guards against (`scripts/break_it.py`, short form)."""

import importlib.util
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_corruption_is_caught():
    spec = importlib.util.spec_from_file_location("break_it", Path(__file__).parents[1] / "scripts/break_it.py")
    break_it = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(break_it)
    assert break_it.main(long=False) == 0
