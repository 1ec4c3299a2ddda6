"""What is made of the chapters when the site is built: folded cells, pictures for two
themes, boxes for symbols, dots for tables, answers that a page checks.
"""

import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import exercises
import numpy as np
import pytest
import sympy as sp

from tools import answers

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK / "_ext"))
import about  # noqa: E402
import dot_plots  # noqa: E402
import figures  # noqa: E402
import folding  # noqa: E402
import hover  # noqa: E402
import long_tables  # noqa: E402

NOTEBOOKS = sorted(BOOK.glob("[0-9]*.ipynb"))


def code_cells(path: Path) -> list[str]:
    cells = json.loads(path.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


# Folded cells


@pytest.mark.parametrize(
    "source, kind",
    [
        ("fig, ax = plt.subplots()\nax.plot(x, spikes.f(x))\nplt.show()", "figure"),
        ("import numpy as np\nimport dmftlib as dm", "setup"),
        ("a\nb\nc\nd\nsim = dm.simulate(net, dim=100)", "simulation"),
        ("a\nb\nc\nd\npd.DataFrame(rows)", "table"),
        ("sp.Eq(bulk.m_L, bulk.transform(bulk.m_L))", None),
        ("\n".join(["x = sp.expand(x)"] * 30), None),
        ("contract.show(*bulk.CONTRACTS)", None),
    ],
)
def test_cells_that_draw_simulate_or_import_are_folded(source, kind):
    assert folding.kind(source) == kind


def test_a_newcomer_sees_little_code_on_the_first_page():
    shown = [code for code in code_cells(NOTEBOOKS[0]) if folding.kind(code) is None]
    assert 0 < sum(len(code.splitlines()) for code in shown) < 60


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_derivations_are_open(path):
    """A cell of one line that calls a derivation is what the chapter is about."""
    for code in code_cells(path):
        if "\n" not in code and re.match(r"\w+\.\w+\(\)$", code):
            assert folding.kind(code) is None


# Pictures


def picture(legend=False) -> np.ndarray:
    """Two dark panels of 40 columns on white, and a coloured line above both."""
    pixels = np.full((100, 100, 3), 255, np.uint8)
    pixels[12:90, 5:45] = 0
    pixels[12:90, 55:95] = 0
    if legend:
        pixels[2:6, 30:70] = (0, 114, 178)
    return pixels


def test_a_picture_falls_into_its_panels_and_loses_nothing():
    found = figures.pieces(picture())
    assert [piece.kind for piece in found] == ["panel", "panel"]
    assert np.array_equal(np.hstack([piece.pixels for piece in found]), picture())


def test_a_legend_above_the_panels_is_not_cut_by_them():
    entry, *panels = figures.pieces(picture(legend=True))
    assert entry.kind == "entry" and entry.pixels.shape[1] == 40 and len(panels) == 2


def test_a_picture_of_one_panel_stays_whole():
    whole = picture()
    whole[12:90, 5:95] = 0
    assert len(figures.pieces(whole)) == 1


def test_the_dark_twin_keeps_hues_and_turns_lightness():
    colours = np.array([[[255, 255, 255], [0, 0, 0], [0, 114, 178]]], np.uint8)
    white, black, blue = figures.dark(colours)[0].astype(int)
    assert set(white) == {18} and set(black) == {255}
    assert blue[0] < blue[1] < blue[2] and blue.sum() > 0 + 114 + 178


# Boxes for symbols


@pytest.mark.parametrize(
    "latex, symbol",
    [
        ("m_L(s)", "m_L"),
        ("c = n/m", "c"),
        (r"\hat R(s)", r"\hat R"),
        (r"R(\tau)", "R"),
        (r"\theta_{\rm escape}", r"\theta_{\rm escape}"),
    ],
)
def test_a_symbol_is_known_without_its_argument(latex, symbol):
    assert hover.symbol(latex) == symbol


# Tables


def table(values, extra="") -> str:
    body = "".join(f"<tr><th>{i}</th><td>{z}</td></tr>" for i, z in enumerate(values))
    return (
        '<table border="1" class="dataframe"><thead><tr><th></th><th>z</th></tr>'
        f"{extra}</thead><tbody>{body}</tbody></table>"
    )


def shown(html: str) -> str:
    return dot_plots.TABLE.sub(dot_plots.shown, html)


def test_a_table_of_comparisons_is_shown_as_dots_and_folded():
    html = shown(table([0.1, -0.2, 0.3, 1.0, 4.5, 2.0, "NaN"]))
    assert html.count("<circle") == 6 and html.count('class="z-out"') == 1
    assert "largest |z| = 4.5" in html and "<details" in html and "<table" in html


def test_few_rows_and_tables_of_the_protocol_stay_numbers():
    few, judged = table([0.1, 0.2]), table([0.1] * 9, "<tr><th>agrees</th></tr>")
    assert shown(few) == few and shown(judged) == judged


def test_limits_of_many_rows_are_wider():
    assert dot_plots.limit(2) == 3 and 3.4 < dot_plots.limit(100) < 3.5


def test_long_tables_to_look_things_up_in_are_folded():
    long, short = (f"<table>{'<tr></tr>' * number}</table>" for number in (20, 5))
    fold = long_tables.TABLE.sub
    assert "<details" in fold(long_tables.folded, long)
    assert fold(long_tables.folded, short) == short


# About the site


def test_the_citation_is_that_of_the_file():
    entry = about.citation()
    text = about.bibtex(entry, "dmftlib", "", date(2026, 11, 27))
    assert entry["title"] in text and f"{{{entry['version']}}}" in text
    (paper,) = entry["references"]
    assert "Clarissa Lauditi and Cengiz Pehlevan" in about.bibtex(
        paper, "x", "", date(2026, 1, 1)
    )


@pytest.mark.parametrize("address", ["", "https://a.org/b"])
def test_buttons_that_lead_to_the_repository_need_its_address(address):
    launch = {"colab_url": "https://colab.research.google.com"}
    options = {"repository_url": address, "launch_buttons": launch}
    about.switch_buttons(None, SimpleNamespace(html_theme_options=options))
    buttons = ("repository", "issues", "edit_page")
    assert {options[f"use_{name}_button"] for name in buttons} == {bool(address)}
    assert options["launch_buttons"] == (launch if address else {})


def run_elsewhere(folder: Path, cell: str) -> subprocess.CompletedProcess:
    """The first cell of a notebook where neither library nor folders are known."""
    script = folder / "cell.py"
    script.write_text(f"{cell}\nprint('it goes on')")
    command = [sys.executable, "-I", "-S", str(script)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_first_cell_of_a_notebook_stops_where_the_library_is_missing(tmp_path):
    result = run_elsewhere(tmp_path, about.first_cell(""))
    assert result.returncode == 1 and "it goes on" not in result.stdout
    assert "ModuleNotFoundError: This notebook needs the library dmftlib" in (
        result.stderr
    )


def test_the_first_cell_of_a_notebook_fetches_and_installs(tmp_path):
    """With git and Python replaced by programs that write what they were asked."""
    tools = tmp_path / "bin"
    tools.mkdir()
    asked = tmp_path / "asked"
    for name in ("git", "python"):
        program = tools / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {asked}\n')
        program.chmod(0o755)
    (tmp_path / "dmftlib-book/book").mkdir(parents=True)
    cell = "import os\nimport sys\n"
    cell += f"os.environ['PATH'] = '{tools}:/bin'\n"
    cell += f"sys.executable = '{tools}/python'\n"
    cell += about.first_cell("https://a.org/b")
    result = run_elsewhere(tmp_path, cell + "\nprint(os.getcwd(), sys.path[:2])")
    assert "it goes on" in result.stdout and str(tmp_path / "dmftlib-book/book") in (
        result.stdout
    )
    assert asked.read_text().splitlines() == [
        "git clone --depth 1 https://a.org/b dmftlib-book",
        "python -m pip install -q ./dmftlib-book[book]",
    ]


def test_a_downloaded_notebook_says_or_fetches_what_it_needs():
    without, with_one = about.first_cell(""), about.first_cell("https://a.org/b")
    for cell in (without, with_one):
        compile(cell, "cell", "exec")
    assert "ModuleNotFoundError" in without and "git clone" not in without
    assert "git clone --depth 1 https://a.org/b" in with_one


# Answers


def test_an_answer_finds_its_hash_within_the_tolerance_and_not_beyond():
    (stored,) = answers.hashes("ex-x", np.array([-0.41]), 1e-3)

    def accepted(value):
        return answers.hashed(f"ex-x:0:{answers.keys(value, 1e-3)[0]}") in stored

    assert all(map(accepted, (-0.41, -0.41 * 1.0009, -0.41 * 0.9991)))
    assert not any(map(accepted, (0.41, -0.41 * 1.003, -0.41 * 0.997, 0.0)))


@pytest.mark.parametrize(
    "chapter", [2, *(pytest.param(c, marks=pytest.mark.slow) for c in (3, 9, 10))]
)
def test_stored_answers_are_those_of_the_exercises(chapter):
    stored, fresh = answers.load(), answers.made(chapter)
    assert fresh
    for label, entry in fresh.items():
        assert stored[label].keys() == entry.keys()
        assert stored[label].get("names") == entry.get("names")
        assert set(stored[label].get("choices", ())) == set(entry.get("choices", ()))
        for old, new in zip(stored[label]["right"], entry["right"], strict=True):
            assert set(old) & set(new)
        assert stored[label]["hints"].keys() == entry["hints"].keys()


def test_a_formula_is_chosen_and_every_other_choice_has_its_hint():
    G, B = sp.symbols("G B")
    exercise = exercises.Exercise(
        "ex-x", lambda: (G + B, {"the sign": G - B, "only a part": G})
    )
    stored = answers.entry(exercise, exercises.numbers)
    texts = [sp.latex(formula) for formula in (G + B, G - B, G)]
    assert sorted(stored["choices"]) == sorted(texts)
    keys = {text: answers.hashed(f"ex-x:0:{text}") for text in stored["choices"]}
    assert stored["right"] == [[keys[sp.latex(G + B)]]]
    assert stored["hints"]["the sign"] == [[keys[sp.latex(G - B)]]]


def test_a_function_is_asked_for_at_two_points():
    points = ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0))
    exercise = exercises.Exercise(
        "ex-x", lambda: (lambda s, t: s / t, {"no": lambda s, t: t / s}), at=points
    )
    stored = answers.entry(exercise, exercises.numbers)
    assert stored["names"] == ["at (s, t) = (1, 2)", "at (s, t) = (3, 4)"]
    assert stored["right"] == answers.hashes("ex-x", np.array([0.5, 0.75]), 1e-3)


def test_every_exercise_can_be_answered_on_the_page():
    pages = [path.read_text() for path in NOTEBOOKS]
    asked = {
        label for text in pages for label in re.findall(r":label: (ex-[\w-]+)", text)
    }
    assert asked == answers.load().keys()
