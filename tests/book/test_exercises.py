"""Exercises check themselves: right answers pass, wrong ones get the hint that helps;
the student edition has neither.

nbval runs the solutions of every chapter with their checks; here are the checkers, and
the edition without solutions.
"""

import ast
import inspect
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import exercises
import nbformat
import numpy as np
import pytest
import sympy as sp
from exercises import Exercise, Wrong, check
from nbclient import NotebookClient

import dmftlib as dm
from tools import answers, student_edition

ROOT = Path(__file__).parents[2]

BOOK = ROOT / "book"
SOURCES = {path.stem: nbformat.read(path, 4) for path in sorted(BOOK.glob("*.ipynb"))}
CHECKERS = [
    ast.literal_eval(node.args[0])
    for path in sorted((BOOK / "exercises").glob("chapter_*.py"))
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "exercise"
]
SLOW = {
    "ex-kernel-ends",
    "ex-which-response",
    "ex-when-to-stop",
    "ex-outlier-overlap",
    "ex-strength",
    "ex-border",
    "ex-two-scalings",
    "ex-period-two",
    "ex-ntk-shares",
    "ex-transfer-infinite",
    "ex-merge",
    "ex-schedule-slope",
}  # they solve networks
ANSWER_CELL = re.compile(r'answer = \.\.\.\ncheck\("(ex-[\w-]+)", answer\)')


def exercises_of(notebook) -> dict[str, tuple[str, str]]:
    """Label -> title and text of each exercise of a chapter."""
    text = "\n\n".join(
        cell.source for cell in notebook.cells if cell.cell_type == "markdown"
    )
    found = re.findall(
        r"^`{3,}\{exercise\} (.*)\n:label: (\S+)\n\n([\s\S]*?)\n`{3,}$", text, re.M
    )
    return {label: (title, body) for title, label, body in found}


def solutions_of(notebook) -> dict[str, list]:
    """Label -> the cells of each solution."""
    found, label = {}, None
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and "{solution-end}" in cell.source:
            found[label].append(cell)
            label = None
        if start := re.search(
            r"\{solution-start\} (\S+)", cell.source.split("{solution-end}")[-1]
        ):
            label = start[1]
        if label:
            found.setdefault(label, []).append(cell)
    return found


def code(cells) -> str:
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "code")


def printed(cells) -> str:
    return "".join(
        output.get("text", "") for cell in cells for output in cell.get("outputs", ())
    )


# The book


def test_every_exercise_has_a_checker_and_every_checker_an_exercise():
    asked = [label for notebook in SOURCES.values() for label in exercises_of(notebook)]
    assert sorted(asked) == sorted(CHECKERS)


@pytest.mark.parametrize("chapter", SOURCES)
def test_exercises_are_enough_graded_and_say_what_the_answer_is(chapter):
    found = exercises_of(SOURCES[chapter])
    assert len(found) >= 4
    for label, (title, body) in found.items():
        assert re.search(r" ★{1,3}$", title), f"{label}: no grade"
        assert re.search(r"\n\n\*\*Answer:\*\* .*\.$", body), (
            f"{label}: does not say what the answer is"
        )


@pytest.mark.parametrize("chapter", SOURCES)
def test_solutions_check_themselves(chapter):
    solved = solutions_of(SOURCES[chapter])
    assert sorted(solved) == sorted(exercises_of(SOURCES[chapter]))
    for label, cells in solved.items():
        assert re.search(rf'check\(\s*"{label}",', code(cells)), (
            f"{label}: the solution is not checked"
        )
        assert f"{label}: right\n" in printed(cells), (
            f"{label}: run the notebook, `make figures`"
        )


def test_each_part_ends_in_a_project():
    parts = (ROOT / "_toc.yml").read_text().split("caption: ")[2:7]
    for part in parts:
        last = part.split("file: book/")[-1].split()[0]
        assert any(
            "\n## Project\n" in f"\n{cell.source}" for cell in SOURCES[last].cells
        ), f"{last}: no project"


# The checkers


@pytest.mark.parametrize(
    "label",
    [
        pytest.param(label, marks=pytest.mark.slow if label in SLOW else ())
        for label in CHECKERS
    ],
)
def test_each_mistake_gets_its_hint(label, capsys):
    right, mistakes = exercises.find(label).answers
    check(label, right)
    assert capsys.readouterr().out == f"{label}: right\n"
    assert len(mistakes) >= 2
    for hint, wrong in mistakes.items():
        with pytest.raises(Wrong, match=f"^{re.escape(f'{label}: {hint}')}$"):
            check(label, wrong)


NUMBERS = Exercise(
    "ex", lambda: ([3.0, 4.0, 0.0], {"the last two are exchanged": [3.0, 0.0, 4.0]})
)
NUMBER = Exercise("ex", lambda: (3.0, {}))
NAMED = Exercise(
    "ex", lambda: ({"a": 3.0, "b": 4.0}, {"a is not b": {"a": 4.0, "b": 3.0}})
)
x, y = sp.symbols("x y")
FORMULA = Exercise("ex", lambda: (x**2 + y, {"the square is missing": x + y}))
FUNCTION = Exercise(
    "ex",
    lambda: (lambda s, t: s / t, {"upside down": lambda s, t: t / s}),
    at=((1, 2), (2, 3)),
)


@pytest.mark.parametrize(
    "exercise, answer, hint",
    [
        (NUMBER, 3.0, None),
        (NUMBER, np.float32(3), None),
        (NUMBER, 3.001, None),
        (NUMBERS, (3, 4, 0), None),
        (NUMBER, [3.0], None),
        (NUMBER, sp.sqrt(9), None),
        (NUMBERS, [[3.0], [4.0], [0.0]], None),
        (NAMED, {"b": 4, sp.Symbol("a"): 3}, None),
        (FORMULA, "x*x + y", None),
        (FUNCTION, lambda a, b: a / b, None),
        (FUNCTION, sp.Symbol("s") / sp.Symbol("t"), None),
        (FUNCTION, lambda s, t: [s / (t + 0j)], None),
        (FORMULA, y + sp.Symbol("x", positive=True) ** 2, None),
        (FORMULA, lambda y, x: x**2 + y, None),
        (FORMULA, lambda x, y: sp.sqrt(x) ** 4 + y, None),
        (NUMBER, ..., "not answered yet"),
        (NUMBER, "three", "wanted: a number; given: something of type str"),
        (NUMBER, 3j, "wanted: a number; given: something of type complex"),
        (NUMBER, [3.0, 3.0], "wanted: a number; given: a list of 2"),
        (
            NUMBERS,
            [3.0, ..., 0.0],
            "wanted: a list of 3; given: something in which not all are real numbers",
        ),
        (
            NUMBERS,
            np.array([3j, 4, 0]),
            "wanted: a list of 3; given: something in which not all are real numbers",
        ),
        (
            NUMBERS,
            [[3.0], [4.0, 0.0]],
            "wanted: a list of 3; given: something in which not all are real numbers",
        ),
        (NUMBER, np.nan, "there is an infinity or a NaN in it"),
        (NUMBER, -3.0, "the sign is wrong"),
        (NUMBER, 6.0, "too large by a factor of 2"),
        (NUMBER, 3 / np.pi, "too small by a factor of pi"),
        (NUMBER, 9.0, "this is the square of the answer"),
        (NUMBER, 3**0.5, "this is the square root of the answer"),
        (NUMBER, 1 / 3, "this is one over the answer"),
        (
            NUMBER,
            3.01,
            "nearly: off by 0.33%, and 0.1% is allowed; is it rounded, or simulated?",
        ),
        (NUMBER, 5.0, "too large"),
        (NUMBER, 1.0, "too small"),
        (NUMBERS, [3.0, 0.0, 4.0], "the last two are exchanged"),
        (NUMBERS, [4.0, 3.0, 0.0], "the right numbers, in another order"),
        (
            NUMBERS,
            [3.0, 7.0, 0.0],
            "wrong at 1, counted from 0 (too large), right elsewhere",
        ),
        (
            NUMBERS,
            [3.0, 2.0, 0.0],
            "wrong at 1, counted from 0 (too small by a factor of 2), right elsewhere",
        ),
        (
            NUMBERS,
            [3.0, np.nan, 0.0],
            "there is an infinity or a NaN in it, at 1, counted from 0",
        ),
        (NUMBERS, [1.0, 7.0, 1.0], "wrong"),
        (NUMBERS, np.eye(3), "wanted: a list of 3; given: an array of shape (3, 3)"),
        (NAMED, {"a": 3}, "wanted: a dictionary with the keys a, b"),
        (NAMED, {"a": 4, "b": 3}, "a is not b"),
        (NAMED, {"a": 3, "b": -4}, "wrong at b (the sign is wrong), right elsewhere"),
        (FORMULA, "x + y", "the square is missing"),
        (FORMULA, "2*(x**2 + y)", "too large by a factor of 2"),
        (FORMULA, "1.5*(x**2 + y)", "right everywhere but for the same factor, 1.5"),
        (
            FORMULA,
            "x**2 + z",
            "wanted: a SymPy expression in x, y; this one contains z",
        ),
        (FORMULA, "x**", "wanted: a SymPy expression in x, y"),
        (FORMULA, lambda x, y: x + y, "the square is missing"),
        (
            FORMULA,
            lambda a, b: a**2 + b,
            "wanted: a SymPy expression, or a function, of x, y",
        ),
        (
            FORMULA,
            [x**2 + y],
            "wanted: a SymPy expression in x, y; given: something of type list",
        ),
        (
            FORMULA,
            sp.Eq(x, y),
            "wanted: a SymPy expression in x, y; given: something of type Equality",
        ),
        (FUNCTION, 0.5, "wanted: a function of s, t"),
        (
            FUNCTION,
            lambda s, t: s / t if s == 1 else np.nan,
            "there is an infinity or a NaN in it, at s = 2, t = 3",
        ),
        (
            FUNCTION,
            lambda s, t: s / t if s == 1 else 9,
            "wrong at s = 2, t = 3 (too large), right elsewhere",
        ),
        (
            FUNCTION,
            lambda s, t: 1j * s,
            "cannot be evaluated: not all of its values are real",
        ),
        (FUNCTION, lambda s, t: math.log(-s), "cannot be evaluated: math domain error"),
        (FUNCTION, lambda s, t: t / s, "upside down"),
    ],
)
def test_hints(exercise, answer, hint):
    assert exercise.hint(answer) == hint


def outlier_slopes(factor_up, factor_down):
    """Of the outlier of W^1 at step 40, as 6.4 asks for them."""
    network = exercises.find("ex-outlier-slope").solve.__globals__["NETWORK"]

    def outlier(name, factor):
        changed = replace(network, **{name: getattr(network, name) * factor})
        return float(dm.solve(changed).outliers(1, max_outliers=1).values[40, 0])

    between = np.log(factor_up / factor_down)
    return {
        name: (outlier(name, factor_up) - outlier(name, factor_down)) / between
        for name in ("gamma0", "init_variance", "learning_rate")
    }


@pytest.mark.slow
@pytest.mark.parametrize("down", [1.0, 1 / 1.01], ids=["forward", "central"])
def test_one_percent_more_is_an_answer_to_which_knob_is_the_strongest(down):
    assert exercises.find("ex-outlier-slope").hint(outlier_slopes(1.01, down)) is None


def sign_outlier(response):
    spike = dm.SpikedEnsemble(
        aspect=1.0,
        variance=1.0,
        left_gram=[[1.0]],
        right_gram=[[1.0]],
        left_response=[[response]],
        strengths=[[0.8]],
    )
    return float(dm.outliers(spike).values[0])


def wigner(s, rho):
    return (s - np.sqrt(s**2 - 4)) / 2


@pytest.mark.parametrize(
    "label, answer, says",
    [
        ("ex-half-echo", lambda s, rho: (s - np.sqrt(s * s - 4 * rho)) / (2 * rho), ""),
        ("ex-half-echo", wigner, "this is Wigner's response"),
        ("ex-sign", lambda: sign_outlier(np.sqrt(2 / np.pi)), ""),
        ("ex-sign", lambda: sign_outlier(2 / np.pi), "B is the mean of |u|"),
        ("ex-negative", lambda G, B: -(np.sqrt(B**2 + G) + B) / G, ""),
        ("ex-negative", lambda B, G: (np.sqrt(B**2 + G) - B) / G, "this is the posit"),
        ("ex-width", lambda: [2.99, 2.99, 2.96], ""),
        ("ex-width", lambda: [9, 9, 9], "these are the numbers of outliers"),
    ],
)
def test_answers_that_readers_gave_get_the_word_that_they_need(label, answer, says):
    takes_nothing = not inspect.signature(answer).parameters
    hint = exercises.find(label).hint(answer() if takes_nothing else answer) or ""
    assert hint.startswith(says) and bool(hint) == bool(says)


# Solutions that print no answer: a formula, a count, other cases, fewer digits
PRINT_OTHERS = {
    "ex-lower-bound": [0],
    "ex-parity": [0],
    "ex-edge-tail": [0, 1],
    "ex-left-out": [0, 1],
    "ex-best-step": [0, 1],
    "ex-saturation": [0],
    "ex-two-outputs": [0, 1],
    "ex-variance-edge": [0],
    "ex-transfer-repair": [0],
    "ex-resolution": [0],
    "ex-vacated": [0, 1],
    "ex-determinant": [0, 2],
}
FORMULAS = {
    "ex-negative",
    "ex-one-echo",
    "ex-half-echo",
    "ex-online",
    "ex-fastest-momentum",
}
NUMBER_IN_TEXT = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


def shown_numbers(cells) -> set[float]:
    """All numbers in the outputs and the text of a solution."""
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    texts = [output.get("text", "") for output in outputs]
    texts += [output.get("data", {}).get("text/plain", "") for output in outputs]
    texts += [cell.source for cell in cells if cell.cell_type == "markdown"]
    return {float(word) for text in texts for word in NUMBER_IN_TEXT.findall(text)}


@pytest.mark.parametrize("chapter", SOURCES)
def test_numbers_that_a_solution_prints_are_right_answers(chapter):
    stored = answers.load()
    for label, cells in solutions_of(SOURCES[chapter]).items():
        if label in FORMULAS:
            continue
        tolerance, right = stored[label]["tolerance"], stored[label]["right"]
        keys = [answers.keys(number, tolerance)[0] for number in shown_numbers(cells)]
        missing = [
            place
            for place, hashes in enumerate(right)
            if not any(answers.hashed(f"{label}:{place}:{k}") in hashes for k in keys)
        ]
        assert missing == PRINT_OTHERS.get(label, []), label


def test_a_function_of_the_wrong_arguments_is_no_crash():
    assert "cannot be evaluated" in FUNCTION.hint(lambda s: s)


def test_a_label_that_is_not_there():
    with pytest.raises(ValueError, match="^label: got 'ex-nothing'"):
        check("ex-nothing", 1.0)


# The student edition


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edition") / "student"
    subprocess.run(
        [sys.executable, "-m", "tools.student_edition", folder],
        check=True,
        capture_output=True,
        cwd=ROOT,
    )
    return folder


@pytest.mark.parametrize("chapter", SOURCES)
def test_the_student_edition_has_everything_but_the_solutions(edition, chapter):
    source, student = SOURCES[chapter], nbformat.read(edition / f"{chapter}.ipynb", 4)
    nbformat.validate(student)
    text = "\n".join(cell.source for cell in student.cells)
    solved = solutions_of(source)
    assert "{solution" not in text
    assert [
        match for cell in student.cells for match in ANSWER_CELL.findall(cell.source)
    ] == list(solved)
    inside = {
        cell.id
        for cells in solved.values()
        for cell in cells
        if cell.cell_type == "code"
    }
    others = [
        cell
        for cell in source.cells
        if cell.cell_type == "code" and cell.id not in inside
    ]
    allowed = {line.strip() for line in code(others).splitlines()}
    there = {line.strip() for line in text.splitlines() if len(line) > 40} - allowed
    for label, cells in solved.items():
        for cell in cells:
            hidden = cell.source.split("{solution-start} " + label)[-1].split(
                "```{solution-end}"
            )[0]
            left = there & {line.strip() for line in hidden.splitlines()}
            assert not left, f"{label}: left in the student edition: {left}"
    kept = [
        cell
        for cell in student.cells
        if cell.cell_type == "code" and not ANSWER_CELL.match(cell.source)
    ]
    assert kept == others, "code outside the solutions, with its outputs"
    assert not any(
        cell.outputs for cell in student.cells if ANSWER_CELL.match(cell.source)
    )
    here = {
        name: f"({name})"
        for cell in source.cells
        for name in student_edition.EQUATION.findall(cell.source)
    }
    labels = student_edition.labels_of(SOURCES) | here
    for label, (title, body) in exercises_of(source).items():
        assert (
            student_edition.plain(body.strip(), labels) in text
            and f"### Exercise: {title}\n" in text
        ), label


@pytest.mark.parametrize("chapter", SOURCES)
def test_jupyter_can_show_the_student_edition(edition, chapter):
    """None of the book's markup is left, links lead to notebooks that are there, and
    figures have their captions.
    """
    student = nbformat.read(edition / f"{chapter}.ipynb", 4)
    text = "\n".join(
        cell.source for cell in student.cells if cell.cell_type == "markdown"
    )
    assert not re.search(r"\{[\w:-]+\}`|^`{3,}\{|^\([\w-]+\)=$|^\$\$ \(", text, re.M)
    assert text.count("Replace the dots") == 1
    for target in re.findall(r"\]\(([^)]*ipynb)\)", text):
        assert (edition / target).is_file()
    named = [
        cell.metadata["mystnb"]["figure"]["name"]
        for cell in student.cells
        if "figure" in cell.metadata.get("mystnb", {})
    ]
    named += re.findall(r"^!\[[^\]]+\]\((_static/[^)]+)\)$", text, re.M)
    assert all((edition / name).is_file() for name in named if "/" in name)
    captions = re.findall(rf"^\*(Figure {int(chapter[:2])}\.\d+)\.\* \S", text, re.M)
    assert len(captions) == len(named) == len(set(captions)) > 0
    assert set(re.findall(rf"Figure {int(chapter[:2])}\.\d+", text)) == set(captions)


def test_references_of_the_book_in_words():
    labels = {
        "fig-a": "Figure 3.2",
        "eq-b": "(eq-b, Chapter 2)",
        "02_bulk": "[Bulk laws](02_bulk.ipynb)",
    }
    for marked, shown in [
        (
            "see {numref}`fig-a` and {cite}`wigner1958,bai2010`",
            "see Figure 3.2 and [wigner1958, bai2010]",
        ),
        ("by {eq}`eq-b`", "by (eq-b, Chapter 2)"),
        ("{doc}`Chapter 2 <02_bulk>`", "[Chapter 2](02_bulk.ipynb)"),
        ("{doc}`02_bulk`, {doc}`how_claims`", "[Bulk laws](02_bulk.ipynb), how claims"),
        ("(sec-a)=\nBy {ref}`the protocol <sec-b>`", "By the protocol"),
        ("$$\nx\n$$ (eq-c)", "$$\nx\n\\tag{eq-c}\n$$"),
    ]:
        assert student_edition.plain(marked, labels) == shown


@pytest.mark.parametrize("chapter", SOURCES)
def test_every_answer_is_wrong_until_it_is_filled_in(edition, chapter):
    for cell in nbformat.read(edition / f"{chapter}.ipynb", 4).cells:
        if match := ANSWER_CELL.match(cell.source):
            with pytest.raises(Wrong, match=f"^{match[1]}: not answered yet$"):
                exec(cell.source, {"check": check})


@pytest.mark.slow
def test_a_student_notebook_fails_until_filled_in_and_then_passes(
    edition, chapter="02_bulk_laws"
):
    """In the folder of the edition alone: each cell as a student gets it, and after it
    the solution of the book.
    """
    student, solved, cells = (
        nbformat.read(edition / f"{chapter}.ipynb", 4),
        solutions_of(SOURCES[chapter]),
        [],
    )
    for cell in student.cells:
        cells.append(cell)
        if match := ANSWER_CELL.match(cell.source):
            cells.append(nbformat.v4.new_code_cell(code(solved[match[1]])))
    student.cells = cells
    NotebookClient(
        student,
        timeout=300,
        allow_errors=True,
        resources={"metadata": {"path": str(edition)}},
    ).execute()
    for number, cell in enumerate(student.cells):
        failed = [
            output
            for output in cell.get("outputs", ())
            if output.output_type == "error"
        ]
        if match := ANSWER_CELL.match(cell.source):
            assert [output.traceback for output in failed] == [
                [f"{match[1]}: not answered yet"]
            ]
            assert f"{match[1]}: right\n" in printed([student.cells[number + 1]])
        else:
            assert not failed, cell.source
