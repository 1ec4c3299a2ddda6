"""Exercises that check themselves: `check("ex-...", answer)` says that an answer is right, or what is wrong with it.

An exercise is a function that computes the right answer, and the answers to which typical mistakes lead, each under the
hint that helps against it. There is one module a chapter, imported when an exercise of it is checked. An answer is a
number, an array, a SymPy expression, a function, or a dictionary of these. Expressions and functions are compared by
their values, so that any form of them will do.
"""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import sympy as sp

ABSOLUTE = 1e-9  # a computed zero is a zero
FACTORS = {"2": 2, "4": 4, "the square root of 2": 2**0.5, "pi": np.pi, "2 pi": 2 * np.pi, "100": 100}


class Wrong(AssertionError):
    """An answer that is not right, with a hint. A notebook shows the hint alone, without a traceback."""

    def _render_traceback_(self):
        return [str(self)]


@dataclass(frozen=True)
class Exercise:
    label: str
    solve: Callable[[], tuple[Any, dict[str, Any]]]  # the right answer, and {hint: what that mistake gives}
    tolerance: float = 1e-3  # relative
    at: tuple = ()  # where a function or an expression is evaluated: a tuple of arguments each; else at random

    @cached_property
    def answers(self) -> tuple[Any, dict[str, Any]]:
        """Computed when first asked for."""
        return self.solve()

    def hint(self, answer) -> str | None:
        """What is wrong with an answer; None if nothing is."""
        if answer is ...:
            return "not answered yet"
        right, mistakes = self.answers
        try:
            got, wanted = numbers(answer, right, self.at), numbers(right, right, self.at)
        except Wrong as misfit:
            return str(misfit)
        if got.shape != wanted.shape:
            return f"wanted: {_shape(wanted)}; given: {_shape(got)}"
        if not np.isfinite(got).all():
            return "there is an infinity or a NaN in it"
        if self.close(got, wanted):
            return None
        for hint, wrong in mistakes.items():
            if self.close(got, numbers(wrong, right, self.at)):
                return hint
        return self.general_hint(got, wanted)

    def close(self, got, wanted) -> bool:
        return got.shape == wanted.shape and np.allclose(got, wanted, rtol=self.tolerance, atol=ABSOLUTE)

    def general_hint(self, got: np.ndarray, wanted: np.ndarray) -> str:
        """For an answer that no listed mistake explains."""
        if self.close(got, -wanted):
            return "the sign is wrong"
        for name, factor in FACTORS.items():
            for word, times in (("large", factor), ("small", 1 / factor)):
                if self.close(got, times * wanted):
                    return f"too {word} by a factor of {name}"
        if self.close(got, wanted**2):
            return "this is the square of the answer"
        if self.close(got, np.sqrt(np.abs(wanted))):
            return "this is the square root of the answer"
        if got.size > 1 and self.close(np.sort(got, None), np.sort(wanted, None)):
            return "the right numbers, in another order"
        if got.size > 1 and wanted.all() and np.ptp(ratio := got / wanted) < self.tolerance * abs(ratio.mean()):
            return f"too large everywhere by the same factor, {ratio.mean():.3g}"
        error = np.abs(got - wanted) / np.maximum(np.abs(wanted), ABSOLUTE)
        if error.max() < 0.03:
            return f"nearly: off by {100 * error.max():.1g}%, and {100 * self.tolerance:.1g}% is allowed"
        wrong = np.flatnonzero(error.ravel() > self.tolerance)
        if 0 < len(wrong) < got.size:
            return f"wrong at {', '.join(map(str, wrong))} (counted from 0), right elsewhere"
        return "wrong" if got.size > 1 else f"too {'large' if got > wanted else 'small'}"


EXERCISES: dict[str, Exercise] = {}


def exercise(label: str, tolerance: float = 1e-3, at: tuple = ()):
    """Decorator: register a function that returns (right answer, {hint: wrong answer}) under the label of the book."""
    def register(solve):
        if label in EXERCISES:
            raise ValueError(f"label: got {label}, which is taken")
        EXERCISES[label] = Exercise(label, solve, tolerance, at)
        return solve
    return register


def numbers(answer, like, at: tuple = ()) -> np.ndarray:
    """An answer as an array, read as what the right answer (`like`) is; raises Wrong where it is something else."""
    if isinstance(like, dict):
        if not isinstance(answer, dict) or set(map(str, answer)) != set(like):
            raise Wrong(f"wanted: a dictionary with the keys {', '.join(like)}")
        return np.concatenate([np.ravel(numbers(answer[key], like[key], at)) for key in like])
    if isinstance(like, sp.Basic):
        names = sorted(symbol.name for symbol in like.free_symbols)
        try:
            expression = sp.sympify(answer)
        except (sp.SympifyError, TypeError):
            raise Wrong(f"wanted: a SymPy expression in {', '.join(names)}") from None
        if strange := sorted(symbol.name for symbol in expression.free_symbols if symbol.name not in names):
            raise Wrong(f"wanted: an expression in {', '.join(names)}; this one contains {', '.join(strange)}")
        symbols = {symbol.name: symbol for symbol in expression.free_symbols}
        function = sp.lambdify([symbols.get(name, name) for name in names], expression, "numpy")
        return _values(function, at or _points(len(names)))
    if callable(like):
        arguments = list(inspect.signature(like).parameters)
        if not callable(answer):
            raise Wrong(f"wanted: a function of {', '.join(arguments)}")
        return _values(answer, at or _points(len(arguments)))
    try:
        if np.iscomplexobj(answer):
            raise TypeError("complex")
        return np.asarray(answer, float)
    except (TypeError, ValueError):
        plain = not isinstance(answer, list | tuple | np.ndarray)
        given = f"of type {type(answer).__name__}" if plain else "in which not all are real numbers"
        raise Wrong(f"wanted: {_shape(np.asarray(like, float))}; given: something {given}") from None


def _values(function, points) -> np.ndarray:
    try:
        return np.array([float(function(*point)) for point in points])
    except TypeError as error:
        raise Wrong(f"cannot be evaluated: {error}") from None


def _points(arguments: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.5, 2, (7, arguments))


def _shape(array: np.ndarray) -> str:
    if array.ndim == 0:
        return "a number"
    return f"a list of {array.size}" if array.ndim == 1 else f"an array of shape {array.shape}"


def check(label: str, answer) -> None:
    """Print that the answer to an exercise is right, or raise `Wrong`, which says what is not."""
    if hint := find(label).hint(answer):
        raise Wrong(f"{label}: {hint}")
    print(f"{label}: right")


def find(label: str) -> Exercise:
    """The exercise of this label, from the chapter that has it."""
    for path in sorted(Path(__file__).parent.glob("chapter_*.py")):
        if f'@exercise("{label}"' in path.read_text():
            importlib.import_module(f"{__name__}.{path.stem}")
            return EXERCISES[label]
    raise ValueError(f"label: got {label!r}; needed: the label of an exercise, as in check(\"ex-stable-rank\", answer)")
