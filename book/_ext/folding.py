"""Which code a reader sees at first. Cells that derive stay open; those that draw,
simulate, read stored runs, make tables or only import are folded, by the rules below
and not by hand. A cell with a tag of its own (`hide-input`) and the cells of a
solution, which is folded as a whole, are left as they are.
"""

import ast

from docutils import nodes
from myst_nb.sphinx_ import HideInputCells
from sphinx.transforms.post_transforms import SphinxPostTransform

DRAWS = {"plt", "plotting"}
SIMULATES = {"simulate", "default_rng", "svd", "singular_values", "random", "PRNGKey"}
READS = {"load", "read_csv"}
TABLES = {"DataFrame"}
DERIVES = {
    "bulk",
    "contract",
    "deep_linear",
    "gradient_descent",
    "nonlinear",
    "ntk",
    "real_networks",
    "sp",
    "spikes",
    "transfer",
    "wide_output",
    "width",
}
SAME_FOR_ALL = '<summary aria-label="Toggle hidden content">'
SHORT = 4  # lines that hide nothing and are not worth a click

PROMPTS = {
    "figure": "code of the figure",
    "simulation": "code of the simulation",
    "table": "code of the table",
    "setup": "imports and settings",
}


def names(tree: ast.AST) -> set[str]:
    """Every name and attribute that a piece of code uses."""
    plain = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return plain | {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    }


def kind(source: str) -> str | None:
    """What a cell is there for, a key of PROMPTS; None if it stays open."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # magics of IPython
        return None
    used = names(tree)
    if used & DRAWS and "show" in used:
        return "figure"
    if any(isinstance(line, ast.Import | ast.ImportFrom) for line in tree.body):
        return "setup"
    if len(source.splitlines()) <= SHORT:
        return None
    if used & SIMULATES:
        return "simulation"
    if used & (TABLES | READS):
        return "table"
    return None if used & DERIVES or len(source.splitlines()) < 4 * SHORT else "table"


def in_a_solution(node: nodes.Node) -> bool:
    while node is not None:
        if type(node).__name__ == "solution_node":
            return True
        node = node.parent
    return False


class Fold(SphinxPostTransform):
    """Just before myst-nb folds the cells that ask for it."""

    default_priority = HideInputCells.default_priority - 1
    formats = ("html",)

    def run(self, **kwargs):
        for cell in self.document.findall(nodes.container):
            if cell.get("nb_element") != "cell_code" or not cell.children:
                continue
            found = kind(cell.children[0].astext())
            if found and not in_a_solution(cell) and cell.get("hide_mode") != "all":
                cell["hide_mode"] = cell.get("hide_mode", "input")
                cell["prompt_show"] = f"Show the {PROMPTS[found]}"
                cell["prompt_hide"] = f"Hide the {PROMPTS[found]}"


def name_by_its_text(app, page, template, context, doctree):
    """A fold is called by what it shows, also for those who hear it."""
    if "body" in context:
        context["body"] = context["body"].replace(SAME_FOR_ALL, "<summary>")


def setup(app):
    app.add_post_transform(Fold)
    app.connect("html-page-context", name_by_its_text)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
