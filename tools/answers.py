"""The answers of exercises that a page can check without a kernel: for each exercise,
hashes of what is right and of typical mistakes. Numbers are asked for as they are; of a
function its values at two points; a formula is chosen from the right one and those that
mistakes give.

    python -m tools.answers            all chapters (several minutes)
    python -m tools.answers 2 5        these chapters
    python -m tools.answers ex-sign    this exercise

Writes book/_static/answers.js, which book/_static/check_answers.js reads. A number is
written as the nearest whole multiple of the tolerance in its logarithm, with its sign;
it and its two neighbours are hashed, so that every answer within the tolerance finds
its hash, and the file does not say what is right.
"""

import importlib
import inspect
import json
import math
import sys
from pathlib import Path

import numpy as np
import sympy as sp

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
TARGET = BOOK / "_static/answers.js"
HEAD, TAIL = "window.bookAnswers = ", ";\n"
SMALLEST = 1e-9  # and less counts as zero
WORD = 2**32


def multiply(a: int, b: int) -> int:
    return a * b % WORD


def hashed(text: str) -> str:
    """53 bits of a text, computed the same way in JavaScript."""
    one, two = 0xDEADBEEF, 0x41C6CE57
    for letter in text.encode():
        one = multiply(one ^ letter, 2654435761)
        two = multiply(two ^ letter, 1597334677)
    one = multiply(one ^ (one >> 16), 2246822507) ^ multiply(
        two ^ (two >> 13), 3266489909
    )
    two = multiply(two ^ (two >> 16), 2246822507) ^ multiply(
        one ^ (one >> 13), 3266489909
    )
    return f"{WORD * (two % 2**21) + one:x}"


def keys(value: float, tolerance: float) -> list[str]:
    """What is hashed of a number: all that a number as near as the tolerance becomes."""
    if abs(value) < SMALLEST:
        return ["0"]
    nearest = math.floor(math.log(abs(value)) / tolerance + 0.5)
    sign = "-" if value < 0 else "+"
    return [f"{sign}{nearest + step}" for step in (0, -1, 1)]


def hashes(label: str, values: np.ndarray, tolerance: float) -> list[list[str]]:
    return [
        [hashed(f"{label}:{place}:{key}") for key in keys(value, tolerance)]
        for place, value in enumerate(np.ravel(values).tolist())
    ]


POINTS = 2  # at which a function is asked for


def places(right, at: tuple) -> list[str]:
    """What each number of an answer is called; nothing where they have no names."""
    if callable(right):
        arguments = ", ".join(inspect.signature(right).parameters)
        points = [", ".join(f"{value:g}" for value in point) for point in at]
        return [f"at ({arguments}) = ({point})" for point in points]
    return list(right) if isinstance(right, dict) else []


def choice(exercise) -> dict:
    """Formulas to choose from, in an order that says nothing."""
    right, mistakes = exercise.answers
    written = {hint: sp.latex(sp.sympify(wrong)) for hint, wrong in mistakes.items()}
    texts = {sp.latex(right), *written.values()}

    def key(text):
        return hashed(f"{exercise.label}:0:{text}")

    return dict(
        choices=sorted(texts, key=key),
        right=[[key(sp.latex(right))]],
        hints={hint: [[key(text)]] for hint, text in written.items()},
    )


def entry(exercise, numbers) -> dict:
    """What is stored of an exercise."""
    right, mistakes = exercise.answers
    if isinstance(right, sp.Basic):
        return choice(exercise)
    at = exercise.at[:POINTS]
    wrong = {hint: numbers(value, right, at) for hint, value in mistakes.items()}
    names, values = places(right, at), numbers(right, right, at)
    return dict(
        names=names if len(names) == np.size(values) else [],
        tolerance=exercise.tolerance,
        right=hashes(exercise.label, values, exercise.tolerance),
        hints={
            hint: hashes(exercise.label, value, exercise.tolerance)
            for hint, value in wrong.items()
            if np.size(value) == np.size(values) and np.isfinite(value).all()
        },
    )


def made(chapter: int) -> dict:
    sys.path[:0] = [str(BOOK), str(ROOT)]
    exercises = importlib.import_module("exercises")
    importlib.import_module(f"exercises.chapter_{chapter:02d}")
    found = {}
    for label, exercise in exercises.EXERCISES.items():
        if exercise.solve.__module__.endswith(f"chapter_{chapter:02d}"):
            found[label] = entry(exercise, exercises.numbers)
    return found


def load() -> dict:
    if not TARGET.exists():
        return {}
    return json.loads(TARGET.read_text().removeprefix(HEAD).removesuffix(TAIL))


def save(answers: dict) -> None:
    text = json.dumps(dict(sorted(answers.items())), indent=0, ensure_ascii=False)
    TARGET.write_text(HEAD + text + TAIL)


def one(label: str) -> dict:
    sys.path[:0] = [str(BOOK), str(ROOT)]
    exercises = importlib.import_module("exercises")
    return {label: entry(exercises.find(label), exercises.numbers)}


def main(wanted: list[str]) -> None:
    for word in wanted or map(str, range(1, 14)):
        save(load() | (made(int(word)) if word.isdigit() else one(word)))
        print(f"{word}: {len(load())} answers stored", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
