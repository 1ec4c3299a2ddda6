"""Exercises that check themselves: `check("ex-...", answer)` says that an answer is
right, or what is wrong with it.

An exercise is a function that computes the right answer, and the answers to which
typical mistakes lead, each under the hint that helps against it. There is one module a
chapter, imported when an exercise of it is checked. An answer is a number, an array, a
SymPy expression, a function, or a dictionary of these. Expressions and functions are
compared by their values, so that any form of them will do.
"""

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import sympy as sp

ABSOLUTE = 1e-9  # a computed zero is a zero
FACTORS = {
    "2": 2,
    "4": 4,
    "the square root of 2": 2**0.5,
    "pi": np.pi,
    "2 pi": 2 * np.pi,
    "100": 100,
}


class Wrong(AssertionError):
    """An answer that is not right, with a hint. A notebook shows the hint alone,
    without a traceback.
    """

    def _render_traceback_(self):
        return [str(self)]


@dataclass(frozen=True)
class Exercise:
    label: str
    solve: Callable[
        [], tuple[Any, dict[str, Any]]
    ]  # the right answer, and {hint: what that mistake gives}
    tolerance: float = 1e-3  # relative
    # where a function or an expression is evaluated: a tuple of arguments each; else at
    # random
    at: tuple = ()

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
            got, wanted = (
                numbers(answer, right, self.at),
                numbers(right, right, self.at),
            )
        except Wrong as misfit:
            return str(misfit)
        if np.squeeze(got).shape != np.squeeze(wanted).shape:
            return f"wanted: {_shape(wanted)}; given: {_shape(got)}"
        got = got.reshape(wanted.shape)  # [3.0] is as good as 3.0
        if not np.isfinite(got).all():
            where = f", {self.places(~np.isfinite(got))}" if got.size > 1 else ""
            return f"there is an infinity or a NaN in it{where}"
        if self.close(got, wanted):
            return None
        for hint, wrong in mistakes.items():
            if self.close(got, numbers(wrong, right, self.at)):
                return hint
        return self.general_hint(got, wanted)

    def close(self, got, wanted) -> bool:
        return got.shape == wanted.shape and np.allclose(
            got, wanted, rtol=self.tolerance, atol=ABSOLUTE
        )

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
        if self.close(got * wanted, np.ones_like(wanted)):
            return "this is one over the answer"
        if got.size > 1 and self.close(np.sort(got, None), np.sort(wanted, None)):
            return "the right numbers, in another order"
        if (
            got.size > 1
            and wanted.all()
            and np.ptp(ratio := got / wanted) < self.tolerance * abs(ratio.mean())
        ):
            return f"right everywhere but for the same factor, {ratio.mean():.3g}"
        error = np.abs(got - wanted) / np.maximum(np.abs(wanted), ABSOLUTE)
        if error.max() < 0.03:
            off, allowed = (
                f"{100 * number:.2g}%" for number in (error.max(), self.tolerance)
            )
            return f"nearly: off by {off}, and {allowed} is allowed; is it rounded, or simulated?"
        if got.size == 1:
            return f"too {'large' if got > wanted else 'small'}"
        wrong = error > self.tolerance
        if wrong.all():
            return "wrong"
        why = (
            f" ({self.general_hint(got[wrong], wanted[wrong])})"
            if wrong.sum() == 1
            else ""
        )
        return f"wrong {self.places(wrong)}{why}, right elsewhere"

    def places(self, chosen: np.ndarray) -> str:
        """Where in the answer the entries chosen are: at which arguments, under which
        key, or at which position.
        """
        right, entries = self.answers[0], np.flatnonzero(chosen)
        if names := _arguments(right):
            points = np.array(self.at or _points(len(names)))[entries]
            named = [map("{} = {:.3g}".format, names, point) for point in points]
            return "at " + "; ".join(map(", ".join, named))
        if isinstance(right, dict) and len(right) == chosen.size:
            return f"at {', '.join(list(right)[entry] for entry in entries)}"
        return f"at {', '.join(map(str, entries))}, counted from 0"


EXERCISES: dict[str, Exercise] = {}


def exercise(label: str, tolerance: float = 1e-3, at: tuple = ()):
    """Decorator: register a function that returns (right answer, {hint: wrong answer})
    under the label of the book.
    """

    def register(solve):
        if label in EXERCISES:
            raise ValueError(f"label: got {label}, which is taken")
        EXERCISES[label] = Exercise(label, solve, tolerance, at)
        return solve

    return register


def numbers(answer, like, at: tuple = ()) -> np.ndarray:
    """An answer as an array, read as what the right answer (`like`) is; raises Wrong
    where it is something else.
    """
    if isinstance(like, dict):
        answer = (
            {str(key): value for key, value in answer.items()}
            if isinstance(answer, dict)
            else {}
        )
        if set(answer) != set(like):
            raise Wrong(f"wanted: a dictionary with the keys {', '.join(like)}")
        return np.concatenate(
            [np.ravel(numbers(answer[key], like[key], at)) for key in like]
        )
    if names := _arguments(like):
        if isinstance(like, sp.Basic) and inspect.isroutine(answer):
            answer = _by_name(answer, names)
        elif (
            isinstance(like, sp.Basic)
            or isinstance(answer, sp.Expr)
            and not callable(answer)
        ):
            answer = _function(answer, names)
        elif not callable(answer):
            raise Wrong(f"wanted: a function of {', '.join(names)}")
        return _values(answer, at or _points(len(names)))
    try:
        if np.iscomplexobj(answer):
            raise TypeError("complex")
        return np.asarray(answer, float)
    except (TypeError, ValueError):
        plain = not isinstance(answer, list | tuple | np.ndarray)
        given = (
            f"of type {type(answer).__name__}"
            if plain
            else "in which not all are real numbers"
        )
        raise Wrong(
            f"wanted: {_shape(np.asarray(like, float))}; given: something {given}"
        ) from None


def _arguments(like) -> list[str]:
    """Names of the arguments of a function, or of the symbols of an expression; none
    for numbers.
    """
    if isinstance(like, sp.Basic):
        return sorted(symbol.name for symbol in like.free_symbols)
    return list(inspect.signature(like).parameters) if callable(like) else []


def _by_name(function, names):
    """A function where an expression is wanted: its arguments are known by their names,
    in any order.
    """
    if sorted(inspect.signature(function).parameters) != names:
        wanted = f"a SymPy expression, or a function, of {', '.join(names)}"
        raise Wrong(f"wanted: {wanted}")
    return lambda *point: function(**dict(zip(names, point, strict=True)))


def _function(expression, names):
    """A SymPy expression, or the text of one, as a function of the symbols of these
    names.
    """
    wanted = f"a SymPy expression in {', '.join(names)}"
    try:
        expression = sp.sympify(
            expression, locals={name: sp.Symbol(name) for name in names}
        )
    except (sp.SympifyError, TypeError):
        raise Wrong(f"wanted: {wanted}") from None
    if not isinstance(expression, sp.Expr):
        raise Wrong(
            f"wanted: {wanted}; given: something of type {type(expression).__name__}"
        )
    symbols = {symbol.name: symbol for symbol in expression.free_symbols}
    if strange := sorted(symbols.keys() - set(names)):
        raise Wrong(f"wanted: {wanted}; this one contains {', '.join(strange)}")
    return sp.lambdify([symbols.get(name, name) for name in names], expression, "numpy")


def _values(function, points) -> np.ndarray:
    try:
        with np.errstate(all="ignore"):
            values = [
                np.real_if_close(np.squeeze(function(*point))) for point in points
            ]
        if np.iscomplexobj(values):
            raise TypeError("not all of its values are real")
        return np.array([float(value) for value in values])
    except (TypeError, ValueError, ArithmeticError) as error:
        raise Wrong(f"cannot be evaluated: {error}") from None


def _points(arguments: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.5, 2, (7, arguments))


def _shape(array: np.ndarray) -> str:
    if array.ndim == 0:
        return "a number"
    return (
        f"a list of {array.size}"
        if array.ndim == 1
        else f"an array of shape {array.shape}"
    )


def check(label: str, answer) -> None:
    """Print that the answer to an exercise is right, or raise `Wrong`, which says what
    is not.
    """
    if hint := find(label).hint(answer):
        raise Wrong(f"{label}: {hint}")
    print(f"{label}: right")


def find(label: str) -> Exercise:
    """The exercise of this label, from the chapter that has it."""
    named = re.compile(rf'@exercise\(\s*"{re.escape(label)}"')
    for path in sorted(Path(__file__).parent.glob("chapter_*.py")):
        if named.search(path.read_text()):
            importlib.import_module(f"{__name__}.{path.stem}")
            return EXERCISES[label]
    raise ValueError(
        f'label: got {label!r}; needed: the label of an exercise, as in check("ex-stable-rank", answer)'
    )
