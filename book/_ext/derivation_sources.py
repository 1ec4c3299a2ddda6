"""How SymPy gets this: under a code cell that calls a derivation its source, folded
away, and beside a numbered equation a mark that says how much of it was derived; and
the table of all numbered equations.

Both are read from `book/derivations`, whose modules are parsed and not imported. A call
is one of a function or class of a module that the page imports from `derivations`, as
in

    from derivations import spikes
    spikes.overlap_matrix_one()

Shown are the function and, below it, whatever of its own module it uses, each once on a
page. The mark is the `standing` of the `Contract` with the equation's label; an
equation without one gets no mark. What the words mean is on the page that has the label
`sec-marks`. The table is made by the directive

    ```{equation-table}
    ```

Whether what is printed is what SymPy derived, tests/book/test_printed_equations.py says.
"""

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

BOOK = Path(__file__).parents[1]
DERIVATIONS = Path(__file__).parents[1] / "derivations"
NOT_DERIVATIONS = {"contract"}  # modules of the folder that derive nothing


class Source(NamedTuple):
    """A function, class or constant of a module: its text, and the names in it."""

    text: str
    uses: tuple[str, ...]
    is_code: bool  # a function or class, and not a constant


def _names_defined(statement) -> list[str]:
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        return [
            part.id
            for target in statement.targets
            for part in ast.walk(target)
            if isinstance(part, ast.Name)
        ]
    return []


@cache
def sources(module: str) -> dict[str, Source]:
    """Everything that book/derivations/MODULE.py defines at its top level."""
    text = (DERIVATIONS / f"{module}.py").read_text()
    lines, found = text.splitlines(), {}
    for statement in ast.parse(text).body:
        decorators = getattr(statement, "decorator_list", [])
        first = min([statement.lineno, *(each.lineno for each in decorators)])
        code = "\n".join(lines[first - 1 : statement.end_lineno])
        uses = tuple(
            part.id for part in ast.walk(statement) if isinstance(part, ast.Name)
        )
        is_code = isinstance(statement, (ast.FunctionDef, ast.ClassDef))
        for name in _names_defined(statement):
            found[name] = Source(code, uses, is_code)
    return found


def with_what_it_uses(module: str, name: str) -> list[str]:
    """The name, and after it the functions and classes of its module that it uses,
    directly or through others, in the order in which they are met.
    """
    known, order = sources(module), [name]
    for each in order:
        order += [
            used
            for used in dict.fromkeys(known[each].uses)
            if used in known and known[used].is_code and used not in order
        ]
    return order


def imported(code: str) -> dict[str, str]:
    """{name in the code: module of `derivations`}."""
    return {
        alias.asname or alias.name: alias.name
        for statement in ast.walk(ast.parse(code))
        if isinstance(statement, ast.ImportFrom) and statement.module == "derivations"
        for alias in statement.names
        if alias.name not in NOT_DERIVATIONS
    }


def _attributes(call: ast.Call) -> list[str]:
    """[module's name, attribute, ...] of a call a.b.c(...)."""
    names, part = [], call.func
    while isinstance(part, ast.Attribute):
        names.insert(0, part.attr)
        part = part.value
    return [part.id, *names] if isinstance(part, ast.Name) else []


def called(code: str, modules: dict[str, str]) -> list[tuple[str, str]]:
    """(module, name) of each derivation that the code calls, in order, each once."""
    calls = [part for part in ast.walk(ast.parse(code)) if isinstance(part, ast.Call)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    chains = [_attributes(call) for call in calls]
    found = [
        (modules[chain[0]], chain[1])
        for chain in chains
        if len(chain) > 1 and chain[0] in modules
    ]
    return [
        (module, name)
        for module, name in dict.fromkeys(found)
        if name in sources(module) and sources(module)[name].is_code
    ]


class Listed(NamedTuple):
    """What a contract says of itself, as it is written."""

    module: str
    standing: str
    tolerance: float
    besides: str


FIELDS = ("label", "derived", "symbols", "library", "draw", "tolerance")


def _value(node, module: str):
    """A constant, or the constant of the module that a name stands for."""
    if isinstance(node, ast.Name):
        assigned = ast.parse(sources(module)[node.id].text).body[0]
        return ast.literal_eval(assigned.value)
    return ast.literal_eval(node)


@cache
def contracts() -> dict[str, Listed]:
    """{label of an equation: what its contract says}."""
    found = {}
    for path in sorted(DERIVATIONS.glob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "Contract":
                given = dict(zip(FIELDS, call.args, strict=False))
                given |= {each.arg: each.value for each in call.keywords}
                said = {
                    key: _value(given[key], path.stem) if key in given else default
                    for key, default in (
                        ("label", None),
                        ("standing", ""),
                        ("tolerance", 1e-10),
                        ("besides", ""),
                    )
                }
                label = said.pop("label")
                found[label] = Listed(path.stem, **said)
    return found


def standings() -> dict[str, str]:
    """{label of an equation: standing of its contract}, of the contracts that say."""
    return {
        label: each.standing for label, each in contracts().items() if each.standing
    }


LABEL = re.compile(r"\$\$.+?\$\$[ \t]*(?:\(([\w:-]+)\))?", re.S)


def numbered() -> dict[str, list[str]]:
    """{chapter: labels of its numbered equations, in order}."""
    found = {}
    for path in sorted(BOOK.glob("[0-9]*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        text = "\n\n".join(
            "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
        )
        labels = [label for label in LABEL.findall(text) if label]
        if labels:
            found[path.stem] = labels
    return found


def table_lines() -> list[str]:
    """The table of all numbered equations, in MyST."""
    lines = [
        ":::{list-table}",
        ":header-rows: 1",
        ":widths: 9 21 30 12 28",
        "",
        "* - Equation",
        "  - How much SymPy derived",
        "  - Contract",
        "  - Differs by less than",
        "  - What protects it besides",
    ]
    for labels in numbered().values():
        for label in labels:
            said = contracts()[label]
            lines += [
                f"* - {{eq}}`{label}`",
                f"  - {said.standing}",
                f"  - `{said.module}`: `{label}`",
                f"  - {said.tolerance:.0e}",
                f"  - {said.besides}",
            ]
    return [*lines, ":::"]


# ---------------------------------------------------------------- what is put on a page


def _html(text: str) -> nodes.raw:
    return nodes.raw("", text, format="html")


def _folded(module: str, names: list[str]) -> nodes.Node:
    """A closed box with the sources of these names."""
    shown = ", ".join(f"<code>{module}.{name}</code>" for name in names[:1])
    more = f" and {len(names) - 1} more that it uses" if len(names) > 1 else ""
    box = addnodes.only(expr="html")
    box += _html(
        '<details class="derivation-source"><summary>How SymPy gets this: '
        f"{shown}{more}</summary>"
    )
    text = "\n\n\n".join(sources(module)[name].text for name in names)
    box += nodes.literal_block(text, text, language="python")
    box += _html("</details>")
    return box


def _mark(standing: str) -> nodes.Node:
    """A word beside the equation, which leads to what it means."""
    kind = standing.split(",")[0].replace(" ", "-")
    paragraph = nodes.paragraph(classes=["equation-mark", f"equation-mark-{kind}"])
    reference = addnodes.pending_xref(
        "",
        nodes.inline("", standing),
        refdomain="std",
        reftype="ref",
        reftarget="sec-marks",
        refexplicit=True,
        refwarn=True,
    )
    paragraph += reference
    return paragraph


def add_sources(doctree) -> None:
    """After each code cell the derivations that it is the first on its page to call."""
    modules, shown = {}, set()
    cells = [
        cell
        for cell in doctree.findall(nodes.container)
        if cell.get("nb_element") == "cell_code"
    ]
    for cell in cells:
        block = next(iter(cell.findall(nodes.literal_block)), None)
        if block is None:
            continue
        code = block.astext()
        modules |= imported(code)
        boxes = []
        for module, name in called(code, modules):
            names = [
                each
                for each in with_what_it_uses(module, name)
                if (module, each) not in shown
            ]
            if name in names:
                boxes.append(_folded(module, names))
                shown |= {(module, each) for each in names}
        at = cell.parent.index(cell) + 1
        cell.parent[at:at] = boxes


def add_marks(doctree) -> None:
    """After each numbered equation the standing of its contract."""
    for equation in list(doctree.findall(nodes.math_block)):
        standing = standings().get(equation.get("label"))
        if standing:
            equation.parent.insert(equation.parent.index(equation) + 1, _mark(standing))


class EquationTable(SphinxDirective):
    """Every numbered equation with its mark, contract and tolerance."""

    def run(self):
        box = nodes.Element()
        lines = StringList(table_lines(), "derivation_sources")
        self.state.nested_parse(lines, self.content_offset, box)
        return box.children


def on_doctree_read(app, doctree) -> None:
    add_sources(doctree)
    add_marks(doctree)
    for path in DERIVATIONS.glob("*.py"):
        app.env.note_dependency(str(path))


def setup(app):
    app.add_directive("equation-table", EquationTable)
    app.connect("doctree-read", on_doctree_read, priority=600)
    app.add_css_file("derivation_sources.css")
    return dict(parallel_read_safe=True, parallel_write_safe=True)
