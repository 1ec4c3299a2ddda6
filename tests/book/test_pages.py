"""The pages around the chapters: their code runs, their tables are those of the code,
their pictures are up to date.
"""

import ast
import doctest
import inspect
import re
from pathlib import Path

import pytest

import dmftlib as dm
from dmftlib import activations, empirical, losses, plotting
from dmftlib.simulations import base as simulated
from dmftlib.simulations import coordinates
from dmftlib.simulations import deep_linear as simulated_deep
from dmftlib.simulations import nonlinear as simulated_nonlinear
from dmftlib.simulations import program as simulated_program
from dmftlib.simulations import wide_output as simulated_wide
from dmftlib.solutions import (
    base,
    deep_linear,
    nonlinear,
    program,
    sampled,
    wide_output,
)
from dmftlib.spectra import ntk, outliers, pencil, push_forward, resolvent

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
PAGES = {path.stem: path.read_text() for path in sorted(BOOK.glob("*.md"))}
WITH_CODE = [name for name, text in PAGES.items() if "```python" in text]


# Code


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "index" else pytest.mark.slow)
        for name in WITH_CODE
    ],
)
def test_the_code_of_a_page_runs(name):
    text = re.sub(r"(?m)^```.*$", "", PAGES[name])
    examples = doctest.DocTestParser().get_doctest(
        text, {}, name, str(BOOK / f"{name}.md"), 0
    )
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", PAGES[name])
    assert examples.examples and all(block.startswith(">>>") for block in blocks), (
        "code that is not run"
    )
    said = []
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(
        examples, out=said.append
    )
    assert results.failed == 0, "".join(said)


# The API page

CLASSES = [
    *(getattr(dm, name) for name in dm.__all__ if inspect.isclass(getattr(dm, name))),
    activations.Activation,
    losses.Loss,
    base.AbstractSolution,
    base.AbstractHistorySolution,
    deep_linear.DeepLinearSolution,
    sampled.AbstractSampledSolution,
    nonlinear.NonlinearSolution,
    nonlinear.NeuralTangentKernel,
    program.ProgramSolution,
    wide_output.WideOutputSolution,
    simulated.Simulation,
    simulated_deep.DeepLinearSimulation,
    coordinates.CoordinateSimulation,
    simulated_nonlinear.NonlinearSimulation,
    simulated_program.ProgramSimulation,
    simulated_wide.WideSimulation,
    resolvent.GeneralisedMP,
    resolvent.InformationPlusNoise,
    push_forward.Image,
    ntk.KernelSpectrum,
    empirical.Spectrum,
]
FUNCTIONS = [
    *(
        getattr(dm, name)
        for name in dm.__all__
        if inspect.isfunction(getattr(dm, name))
    ),
    *(
        value
        for module in (empirical, plotting, activations, losses)
        for name, value in vars(module).items()
        if inspect.isroutine(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ),
]
MEMBERS = {
    f"{cls.__name__}.{name}": value
    for cls in CLASSES
    for name, value in vars(cls).items()
    if not name.startswith("_")
    and (isinstance(value, property) or callable(value) or hasattr(value, "func"))
}


def examples() -> str:
    """All code that the pages and the docstrings of what they document run."""
    texts = [
        inspect.getdoc(value) or ""
        for value in (*CLASSES, *FUNCTIONS, *MEMBERS.values())
    ]
    return "\n".join(
        e.source
        for text in (
            *texts,
            *(re.sub(r"(?m)^```.*$", "", PAGES[name]) for name in WITH_CODE),
        )
        for e in doctest.DocTestParser().get_examples(text)
    )


def test_every_public_name_is_on_the_api_page():
    shown = {
        name.split(".")[-1]
        for name in re.findall(r"^\.\. auto\w+:: (\S+)", PAGES["api"], re.M)
    }
    missing = sorted({value.__name__ for value in (*CLASSES, *FUNCTIONS)} - shown)
    assert not missing, f"not on book/api.md: {missing}"


def test_every_public_name_has_an_example_that_runs():
    code = examples()
    called = [value.__name__ for value in FUNCTIONS] + [
        name.split(".")[1] for name in MEMBERS
    ]
    missing = sorted({name for name in called if not re.search(rf"\b{name}\b", code)})
    assert not missing, f"no example, neither in a docstring nor on a page: {missing}"


def test_every_public_name_says_what_it_is_and_what_it_refuses():
    assert not [name for name, value in MEMBERS.items() if not inspect.getdoc(value)]
    for function in FUNCTIONS:
        takes = inspect.signature(function).parameters
        assert inspect.getdoc(function), function
        assert (
            function.__module__ == plotting.__name__
            or not takes
            or "ValueError" in function.__doc__
        ), function


# Tables


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?m)^  -", row)]


ROWS = [
    cells(row)
    for row in re.split(r"(?m)^\* -", PAGES["notation"].replace("\n:::\n", "\n"))[2:]
]


def test_the_notation_table_has_five_columns():
    assert len(ROWS) > 40 and {len(row) for row in ROWS} == {5}


def defined(module: str) -> set[str]:
    """What a module of derivations defines, read and not run: running all of them takes
    a minute.
    """
    names = set()
    for node in ast.parse((BOOK / f"derivations/{module}.py").read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {
                part.id
                for target in node.targets
                for part in ast.walk(target)
                if isinstance(part, ast.Name)
            }
    return names


def test_sympy_names_of_the_notation_table_are_derivations():
    names = [name for row in ROWS for name in re.findall(r"`([^`]+)`", row[3])]
    assert len(names) > 50
    assert not [
        name for name in names if name.split(".")[1] not in defined(name.split(".")[0])
    ]


def test_library_names_of_the_notation_table_are_in_the_library():
    known = {name.split(".")[1] for name in MEMBERS} | {
        *dm.__all__,
        "Chain",
        "effective_matrix",
        "escape_matrix",
        "sigma",
        "eps",
        "law",
    }
    for value in (
        *CLASSES,
        *FUNCTIONS,
        *filter(callable, MEMBERS.values()),
        pencil.escape_matrix,
        outliers.effective_matrix,
        dm.SpikedEnsemble.from_vectors,
    ):
        known |= set(inspect.signature(value).parameters)
    outside = [
        re.sub(r"\(.*?\)", "", row[4]) for row in ROWS
    ]  # of parentheses, which explain
    names = [
        part
        for text in outside
        for name in re.findall(r"`([^`]+)`", text)
        for part in name.split(".")
    ]
    assert len(names) > 30
    assert not sorted(set(names) - known)


def test_every_chapter_is_in_the_map_of_the_first_page():
    chapters = [path.stem for path in sorted(BOOK.glob("[0-9]*.ipynb"))]
    assert chapters == re.findall(r"(?m)^\* - \{doc\}`\d+ <(\w+)>`", PAGES["index"])


def test_every_entry_of_the_bibliography_has_a_link():
    entries = re.split(r"(?m)^(?=@)", (BOOK / "references.bib").read_text())[1:]
    assert not [
        entry.split(",")[0]
        for entry in entries
        if not re.search(r"(?m)^ *(doi|eprint|url) *=", entry)
    ]


def test_claims_are_counted_from_the_chapters_and_the_runs():
    import claims

    head, *chapters = claims.by_chapter()
    by_number = {int(re.search(r"`(\d+)", row[0])[1]): row for row in chapters}
    assert {len(row) for row in chapters} == {len(head)} and {
        3,
        6,
        7,
        8,
        9,
        12,
    } <= by_number.keys()
    spikes = claims.chapter(BOOK / "03_spikes.ipynb")
    assert spikes["protocol"] == (0, 10, 1.8) and [
        hits for hits, _, _ in spikes["broken"]
    ] == [3, 10, 6, 10]
    assert claims.chapter(BOOK / "06_deep_linear.ipynb")["protocol"][:2] == (0, 96)
    assert all(row[6] == row[7] for row in chapters), (
        "a broken theory that was not refused"
    )
    scripts = {row[1].strip("`") for row in list(claims.by_run())[1:]}
    assert {
        "experiments/deep_linear.py",
        "experiments/nonlinear.py",
        "experiments/ntk.py",
    } <= scripts
    assert all((ROOT / script).exists() for script in scripts)


def test_every_table_is_judged_as_a_whole():
    """Rows and largest distances are those that the chapters print, and a small p has a
    word on the page.
    """
    import claims

    head, *rows = claims.by_table()
    assert {len(row) for row in rows} == {len(head)}
    chapters = [int(re.search(r"`(\d+)", row[0])[1]) for row in rows]
    assert chapters == sorted(chapters)
    assert set(chapters) == {3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14}
    told = claims.stored("referee")
    theory = {row["table"]: row for row in told if row["which"] == "theory"}
    for number, name in {3: "dependent_spikes", 6: "deep_linear", 8: "sgd"}.items():
        (notebook,) = BOOK.glob(f"{number:02d}_*.ipynb")
        _, count, worst = claims.chapter(notebook)["protocol"]
        assert int(theory[name]["rows"]) == count
        assert float(theory[name]["largest_z"]) == pytest.approx(worst, abs=0.06)
    explained = PAGES["how_claims_are_tested"]
    chances = ("p", "less_p", "bend_p")
    for row in theory.values():
        small = min(float(row[name] or 1) for name in chances)
        assert small > 0.04 or row["table"] in explained, row["table"]


def test_broken_theories_and_families_are_told():
    import claims

    for kind in (claims.by_broken, claims.by_family, claims.by_rise):
        head, *rows = kind()
        assert rows and {len(row) for row in rows} == {len(head)}
    names = {row[2] for row in claims.by_broken()}
    planted = {row[2] for row in list(claims.by_planted())[1:]}
    assert {"variance 2% larger", "a half missing in A", "a sign wrong in A"} <= planted
    assert planted < names
    assert claims.chance("7.4e-05") == "7e-5" and claims.chance("0.31") == "0.31"


# Pictures


def test_the_picture_of_the_two_levels_is_up_to_date():
    """All numbers agree to half a pixel, and all else to the letter."""
    from tools import two_levels

    number = re.compile(r"-?\d+(?:\.\d+)?")
    drawn, stored = two_levels.drawing(), two_levels.PATH.read_text()
    assert number.sub("", drawn) == number.sub("", stored)
    pairs = zip(number.findall(drawn), number.findall(stored), strict=True)
    assert max(abs(float(one) - float(other)) for one, other in pairs) < 0.5


@pytest.mark.parametrize(
    "name",
    [
        "node_and_echo",
        "known_blocks",
        "known_and_unknown",
        "conversation",
        "paths",
        "one_layer",
    ],
)
def test_the_pictures_of_ideas_are_up_to_date(name):
    from tools import ideas

    assert set(ideas.PICTURES) == {
        "node_and_echo",
        "known_blocks",
        "known_and_unknown",
        "conversation",
        "paths",
        "one_layer",
    }
    drawn = ideas.PICTURES[name]().drawn()
    assert drawn == (ideas.STATIC / f"{name}.svg").read_text()


@pytest.mark.parametrize(
    "text, made",
    [
        ("of W^l_{k} and |x|*2", r"of W^l\_{k} and \|x\|\*2"),
        ('batch="online", see `solve`', None),
    ],
)
def test_docstrings_become_markup(text, made):
    import plain_docstrings

    assert plain_docstrings.plain(text) == (
        made or 'batch=\\ ``"online"``\\ , see \\ ``solve``\\ '
    )


def test_lists_and_equations_of_docstrings_are_recognised():
    import plain_docstrings

    lines = [
        "What it is.",
        "",
        "    f(x) = w . x",
        "",
        "width   N, at",
        "        least one",
        "seed    of the draws",
    ]
    made = [
        line
        for block in plain_docstrings.blocks(lines)
        for line in plain_docstrings.restructured(block)
    ]
    assert made == [
        "What it is.",
        "",
        ".. code-block:: text",
        "",
        "    f(x) = w . x",
        "",
        "``width``",
        "    N, at",
        "    least one",
        "``seed``",
        "    of the draws",
        "",
    ]
