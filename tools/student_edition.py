"""The student edition: the notebooks of the book without solutions, and what is needed
to run them.

    python -m tools.student_edition _build/student

The text and the code of a solution give way to one cell, which fails until the dots are
replaced by an answer. All else is kept, outputs too. References, captions and numbered
equations are written so that Jupyter shows them, which knows nothing of the book's
markup.
"""

import re
import shutil
import sys
from pathlib import Path

import nbformat

BOOK = Path(__file__).parents[1] / "book"
NEEDED = (
    "references.bib",
    "derivations/*.py",
    "exercises/*.py",
    "_data/*.*",
    "_static/*.svg",
)
SOLUTION = re.compile(
    r"""
    ^`{3,}\{solution-start\}\ (?P<start>\S+)\n (?::.*\n)* `{3,}[ ]*$
  | ^`{3,}\{solution-end\}\n `{3,}[ ]*$
  | ^(?P<fence>`{3,})\{solution\}\ (?P<whole>\S+)\n [\s\S]*? ^(?P=fence)[ ]*$
""",
    re.M | re.X,
)
EXERCISE = re.compile(r"^(`{3,})\{exercise\} (.*)\n(?::.*\n)*([\s\S]*?)^\1[ ]*$", re.M)
PICTURE = re.compile(
    r"""
    ^(`{3,})\{figure\}\ (?P<file>\S+)\n
    :name:\ (?P<name>\S+)\n (?:(?!:alt:):.*\n)* :alt:\ (?P<alt>.*)\n (?::.*\n)*
    (?P<caption>[\s\S]*?) ^\1[ ]*$
""",
    re.M | re.X,
)
BOX = re.compile(
    r"^(`{3,})\{admonition\} (?P<title>.*)\n(?::.*\n)*(?P<text>[\s\S]*?)^\1[ ]*$", re.M
)
EQUATION = re.compile(r"^\$\$ \((eq-[\w-]+)\)$", re.M)
ROLE = re.compile(r"\{(eq|numref|cite|doc|ref|term)\}`([^`<]*?)(?: <([^`>]*)>)?`")
HOW = """Replace the dots of each `answer = ...` by your answer, after as many cells of your own as you need, and run
the cell. It says that the answer is right, or what is wrong with it. A number should be right to a part in a thousand
unless something else is said; where two numbers are asked for, give them as a list, in the order of the question. A
formula is a SymPy expression, and any form of it will do."""
README = f"""# Student edition

Set it up once, in the folder of the library's repository (Python 3.11):

    python3.11 -m venv .venv
    .venv/bin/python -m pip install --constraint constraints.txt '.[book]' jupyterlab

Then start `.venv/bin/jupyter lab` and open the notebooks of this folder, which may lie anywhere; keep its files
together. Begin with `01_why_spectra.ipynb`. Run a notebook from its first cell: the exercises at its end use what was
defined above.

{HOW}

What stands in brackets, [wigner1958], is a key of `references.bib`. The figures with sliders are on the site of the
book.
"""


def labels_of(notebooks) -> dict[str, str]:
    """What a reader is told in the place of a label: figures by number, equations by
    name, chapters by their titles.
    """
    found = {}
    for name, notebook in notebooks.items():
        figures = [name for cell in notebook.cells for name in figures_of(cell)]
        found |= {
            figure: f"Figure {int(name[:2])}.{number}"
            for number, figure in enumerate(figures, 1)
        }
        for cell in notebook.cells:
            found |= {
                label: f"({label}, Chapter {int(name[:2])})"
                for label in EQUATION.findall(cell.source)
            }
        found[name] = (
            f"[{notebook.cells[0].source.splitlines()[0].lstrip('# ')}]({name}.ipynb)"
        )
    return found


def figures_of(cell) -> list[str]:
    """The names of the figures of a cell, drawn by code or standing in its text."""
    if cell.cell_type == "markdown":
        return [match["name"] for match in PICTURE.finditer(cell.source)]
    figure = cell.metadata.get("mystnb", {}).get("figure")
    return [figure["name"]] if figure else []


def plain(text: str, labels: dict[str, str]) -> str:
    """The book's markup as Jupyter shows it: exercises as headings, references as
    words, names at equations.
    """

    def role(match):
        kind, first, target = match.groups()
        if kind == "cite":
            return f"[{first.replace(',', ', ')}]"
        if kind == "doc" and target in labels:
            return f"[{first}]({target}.ipynb)"
        return first if target else labels.get(first, first.replace("_", " "))

    def picture(match):
        caption = " ".join(match["caption"].split())
        number = labels.get(match["name"], match["name"])
        return f"![{match['alt']}]({match['file']})\n\n*{number}.* {caption}"

    text = EXERCISE.sub(
        lambda match: f"### Exercise: {match[2]}\n\n{match[3].strip()}", text
    )
    text = BOX.sub(
        lambda match: f"**{match['title']}**\n\n{match['text'].strip()}", text
    )
    text = PICTURE.sub(picture, text)
    text = re.sub(r"^\(sec-[\w-]+\)=\n", "", text, flags=re.M)
    text = re.sub(
        r"^## Exercises$", lambda match: f"{match[0]}\n\n{HOW}", text, flags=re.M
    )
    return EQUATION.sub(r"\\tag{\1}\n$$", ROLE.sub(role, text))


def without_solutions(notebook, labels: dict[str, str]):
    """A copy of a notebook in which a cell that asks for the answer stands in the place
    of each solution.
    """
    kept, inside = [], False
    labels = labels | {
        name: f"({name})"
        for cell in notebook.cells
        for name in EQUATION.findall(cell.source)
    }

    def keep(cell, text, number):
        if text.strip():
            name = cell.id if number == 0 else f"{cell.id}-{number}"
            kept.append(
                nbformat.v4.new_markdown_cell(
                    plain(text.strip(), labels), id=name, metadata=cell.metadata
                )
            )

    for cell in notebook.cells:
        if cell.cell_type == "code":
            kept += [] if inside else [cell]
            if not inside and (figure := cell.metadata.get("mystnb", {}).get("figure")):
                caption = f"*{labels.get(figure['name'], figure['name'])}.* {plain(figure['caption'].strip(), labels)}"
                kept.append(
                    nbformat.v4.new_markdown_cell(caption, id=f"{cell.id}-caption")
                )
            continue
        position = number = 0
        for mark in SOLUTION.finditer(cell.source):
            if not inside:
                keep(cell, cell.source[position : mark.start()], number)
            if label := mark["start"] or mark["whole"]:
                kept.append(
                    nbformat.v4.new_code_cell(
                        f'answer = ...\ncheck("{label}", answer)', id=f"answer-{label}"
                    )
                )
            inside, position, number = mark["start"] is not None, mark.end(), number + 1
        if not inside:
            keep(cell, cell.source[position:], number)
    assert not inside, "a solution without an end"
    return nbformat.v4.new_notebook(cells=kept, metadata=notebook.metadata)


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for pattern in NEEDED:
        for path in BOOK.glob(pattern):
            (target := folder / path.relative_to(BOOK)).parent.mkdir(
                parents=True, exist_ok=True
            )
            shutil.copy(path, target)
    shutil.copytree(
        BOOK.parent / "experiments",
        folder / "experiments",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    notebooks = {
        path.stem: nbformat.read(path, 4) for path in sorted(BOOK.glob("*.ipynb"))
    }
    labels = labels_of(notebooks)
    for name, notebook in notebooks.items():
        nbformat.write(without_solutions(notebook, labels), folder / f"{name}.ipynb")
    (folder / "README.md").write_text(README)
    print(f"the student edition is in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
