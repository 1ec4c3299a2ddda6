"""How dense the code is: tokens a code line, lines a function, tuple assignments.

    python -m tools.check_style [--table] [folder]     (make lint; folder: dmftlib)

A line that packs several ideas costs a reader more than several lines. A module may have
`TOKENS` tokens a code line, a function a body of `LINES` lines of code (docstrings,
comments and blanks do not count), and nothing is guarded by `assert`, which `python -O` leaves out.
What is over a limit, and listed in tools/dense.toml with the reason, is let through; what
is listed in vain is refused as well.
"""

import argparse
import ast
import io
import sys
import tokenize
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOKENS, LINES = 10.0, 40
SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True)
class Measured:
    """One module: code lines, tokens a code line, tuple assignments, its functions."""

    name: str
    lines: int
    density: float
    tuples: int
    functions: dict[str, int]  # qualified name -> code lines
    asserts: tuple[int, ...]  # line numbers


def code_tokens(source: str) -> list[tokenize.TokenInfo]:
    """The tokens that are code: no comments, no layout, no docstrings."""
    documented = docstring_lines(ast.parse(source))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [
        token
        for token in tokens
        if token.type not in SILENT and token.start[0] not in documented
    ]


def docstring_lines(tree: ast.AST) -> set[int]:
    """The numbers of the lines that strings standing alone take."""
    alone = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, str)
    )
    return {line for node in alone for line in range(node.lineno, node.end_lineno + 1)}


def occupied(tokens: list[tokenize.TokenInfo]) -> set[int]:
    """The numbers of the lines on which there is code."""
    spans = (range(token.start[0], token.end[0] + 1) for token in tokens)
    return {line for span in spans for line in span}


def is_tuple_assignment(node: ast.AST) -> bool:
    """Several unlike things in one statement: a, b = x, y."""
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Tuple)
        and isinstance(node.value, ast.Tuple)
    )


def functions_of(tree: ast.Module, code: set[int]) -> dict[str, int]:
    """Qualified name -> code lines of the body, those of nested functions included."""
    found = {}

    def visit(node, path):
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.ClassDef)
            inner = [*path, child.name] if named else path
            if isinstance(child, ast.FunctionDef):
                span = range(child.body[0].lineno, child.end_lineno + 1)
                found[".".join(inner)] = len(code.intersection(span))
            visit(child, inner)

    visit(tree, [])
    return found


def measure(name: str, source: str) -> Measured:
    """A module's numbers, from its text."""
    tree = ast.parse(source)
    tokens = code_tokens(source)
    code = occupied(tokens)
    nodes = list(ast.walk(tree))
    return Measured(
        name=name,
        lines=len(code),
        density=len(tokens) / max(1, len(code)),
        tuples=sum(map(is_tuple_assignment, nodes)),
        functions=functions_of(tree, code),
        asserts=tuple(node.lineno for node in nodes if isinstance(node, ast.Assert)),
    )


def faults(module: Measured) -> dict[str, str]:
    """Where -> what is over a limit."""
    found = {}
    if module.density > TOKENS:
        found[module.name] = f"{module.density:.1f} tokens a code line, of {TOKENS:g}"
    for function, lines in module.functions.items():
        if lines > LINES:
            found[f"{module.name}::{function}"] = f"{lines} code lines, of {LINES}"
    for line in module.asserts:
        found[f"{module.name}:{line}"] = "an assert, which python -O leaves out"
    return found


def read(folder: Path) -> list[Measured]:
    paths = sorted(folder.rglob("*.py"))
    return [measure(str(path.relative_to(ROOT)), path.read_text()) for path in paths]


def table(modules: list[Measured]) -> str:
    """One line a module, for the reader of a change."""
    rows = [
        f"{'module':44s}{'lines':>6s}{'tokens/line':>12s}{'tuples':>8s}{'longest':>8s}"
    ]
    for module in modules:
        longest = max(module.functions.values(), default=0)
        rows.append(
            f"{module.name:44s}{module.lines:6d}{module.density:12.1f}"
            f"{module.tuples:8d}{longest:8d}"
        )
    return "\n".join(rows)


def main(folder: Path, show: bool) -> int:
    modules = read(folder)
    if show:
        print(table(modules))
    found = {}
    for module in modules:
        found |= faults(module)
    listed = tomllib.loads((ROOT / "tools/dense.toml").read_text())["allowed"]
    wrong = {where: what for where, what in found.items() if where not in listed}
    wrong |= {
        where: "listed in tools/dense.toml, and within the limits"
        for where in listed
        if where not in found
    }
    for where, what in wrong.items():
        print(f"{where}: {what}")
    return len(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "dmftlib")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    sys.exit(min(main(arguments.folder.resolve(), arguments.table), 1))
