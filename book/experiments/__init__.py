"""The package `experiments` beside this folder, for notebooks, which run here."""

from pathlib import Path

__path__ = [str(Path(__file__).parents[2] / "experiments")]
