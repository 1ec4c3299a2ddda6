"""The student edition: the notebooks of the book without solutions, and what is needed to run them.

    python scripts/student_edition.py _build/student

The text and the code of a solution give way to one cell, which fails until the dots are replaced by an answer. All else
is kept, outputs too.
"""

import re
import shutil
import sys
from pathlib import Path

import nbformat

BOOK = Path(__file__).parents[1] / "book"
NEEDED = ("*.py", "derivations/*.py", "exercises/*.py", "_data/*.*", "_static/*.*")
SOLUTION = re.compile(r"""
    ^`{3,}\{solution-start\}\ (?P<start>\S+)\n (?::.*\n)* `{3,}[ ]*$
  | ^`{3,}\{solution-end\}\n `{3,}[ ]*$
  | ^(?P<fence>`{3,})\{solution\}\ (?P<whole>\S+)\n [\s\S]*? ^(?P=fence)[ ]*$
""", re.M | re.X)
EXERCISE = re.compile(r"^(`{3,})\{exercise\} (.*)\n(?::.*\n)*([\s\S]*?)^\1[ ]*$", re.M)
README = """# Student edition

Install the library from its repository (`pip install '.[book]'`), then open the notebooks of this folder with Jupyter.
In each exercise replace the dots in `answer = ...` by the answer and run the cell. It says whether the answer is right,
and if not, what is wrong with it.
"""


def without_solutions(notebook):
    """A copy of a notebook in which a cell that asks for the answer stands in the place of each solution."""
    kept, inside = [], False

    def keep(cell, text, number):
        if text.strip():
            name = cell.id if number == 0 else f"{cell.id}-{number}"
            plain = EXERCISE.sub(_plain, text.strip())
            kept.append(nbformat.v4.new_markdown_cell(plain, id=name, metadata=cell.metadata))

    for cell in notebook.cells:
        if cell.cell_type == "code":
            kept += [] if inside else [cell]
            continue
        position = number = 0
        for mark in SOLUTION.finditer(cell.source):
            if not inside:
                keep(cell, cell.source[position : mark.start()], number)
            if label := mark["start"] or mark["whole"]:
                kept.append(nbformat.v4.new_code_cell(f'answer = ...\ncheck("{label}", answer)', id=f"answer-{label}"))
            inside, position, number = mark["start"] is not None, mark.end(), number + 1
        if not inside:
            keep(cell, cell.source[position:], number)
    assert not inside, "a solution without an end"
    return nbformat.v4.new_notebook(cells=kept, metadata=notebook.metadata)


def _plain(exercise):
    """An exercise as Jupyter shows it, which knows no directives: a heading and its text."""
    return f"### Exercise: {exercise[2]}\n\n{exercise[3].strip()}"


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for pattern in NEEDED:
        for path in BOOK.glob(pattern):
            if path.name != "conftest.py":
                (target := folder / path.relative_to(BOOK)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
    for path in sorted(BOOK.glob("*.ipynb")):
        nbformat.write(without_solutions(nbformat.read(path, 4)), folder / path.name)
    (folder / "README.md").write_text(README)
    print(f"the student edition is in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
