"""Take the times of execution out of notebooks, which would differ in every run.

python -m tools.without_times book/03_spikes.ipynb ...
"""

import sys

import nbformat


def main(paths: list[str]) -> None:
    for path in paths:
        notebook = nbformat.read(path, 4)
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main(sys.argv[1:])
