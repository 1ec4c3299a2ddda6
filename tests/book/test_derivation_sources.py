"""What the pages say of derivations: their sources, and how much of an equation was
derived.
"""

import importlib
import re
import sys
from pathlib import Path

import nbformat
import pytest
from docutils import nodes
from test_book import EQUATIONS
from test_contracts import labels

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK / "_ext"))
extension = importlib.import_module("derivation_sources")

TEACHING = ("03_spikes", "04_gradient_descent_to_dmft", "05_nonlinear_networks")


def code_cells(chapter):
    notebook = nbformat.read(BOOK / f"{chapter}.ipynb", 4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def page(*cells):
    """A page of code cells as MyST-NB makes it."""
    parent = nodes.section()
    for code in cells:
        cell = nodes.container(nb_element="cell_code")
        cell += nodes.literal_block(code, code)
        parent += cell
    return parent


def folded(doctree):
    """The sources shown, box by box."""
    return [
        box.next_node(nodes.literal_block).astext()
        for box in doctree.children
        if box.tagname == "only"
    ]


@pytest.mark.parametrize("chapter", TEACHING)
def test_every_derivation_that_a_chapter_calls_is_shown_with_its_source(chapter):
    cells = code_cells(chapter)
    doctree = page(*cells)
    extension.add_sources(doctree)
    shown = "\n".join(folded(doctree))
    modules = {}
    wanted = set()
    for code in cells:
        modules |= extension.imported(code)
        wanted |= set(extension.called(code, modules))
    assert len(wanted) > 5
    for _, name in wanted:
        assert re.search(rf"^(def|class) {name}\b", shown, re.M), name


def test_the_source_is_the_text_of_the_module_and_brings_what_it_uses():
    names = extension.with_what_it_uses("spikes", "condition_one")
    assert names[0] == "condition_one"
    assert {"overlap_matrix_one", "overlap_matrix", "outlier_condition"} <= set(names)
    text = (BOOK / "derivations/spikes.py").read_text()
    assert extension.sources("spikes")["condition_one"].text in text


def test_a_source_is_shown_once_on_a_page():
    call = "from derivations import spikes\nspikes.condition_one()"
    doctree = page(call, call)
    extension.add_sources(doctree)
    assert len(folded(doctree)) == 1


def test_a_call_of_something_else_shows_nothing():
    doctree = page("import numpy as spikes\nspikes.condition_one()")
    extension.add_sources(doctree)
    assert folded(doctree) == []


def test_a_marked_equation_says_what_its_contract_says():
    equation = nodes.math_block("x", "x", label="eq-answers")
    parent = nodes.section("", equation, nodes.math_block("y", "y"))
    extension.add_marks(parent)
    said = [part.astext() for part in parent.findall(nodes.paragraph)]
    assert said == [extension.standings()["eq-answers"]]


def test_every_numbered_equation_has_a_mark():
    found = [label for _, label, _ in EQUATIONS]
    assert found and not [each for each in found if each not in extension.standings()]


def test_the_table_has_every_numbered_equation_with_all_that_is_known_of_it():
    table = "\n".join(extension.table_lines())
    rows = re.findall(
        r"^\* - \{eq\}`(.+)`\n  - (.+)\n  - (.+)\n  - (.+)\n  - (.+)$", table, re.M
    )
    assert [row[0] for row in rows] == [label for _, label, _ in EQUATIONS]


def test_what_is_read_of_a_contract_is_what_it_says():
    from derivations import bulk

    for contract in bulk.CONTRACTS:
        read = extension.contracts()[contract.label]
        assert read == (
            "bulk",
            contract.standing,
            contract.tolerance,
            contract.besides,
        )


def test_the_marks_are_those_of_the_contracts_and_are_explained():
    from derivations.contract import STANDINGS

    assert set(extension.standings()) <= {label for _, label in labels()}
    assert set(extension.standings().values()) <= set(STANDINGS)
    explained = (BOOK / "scales.md").read_text()
    assert "(sec-marks)=" in explained
    for standing in STANDINGS:
        assert re.search(rf"^{standing}$", explained, re.M), standing
