"""The tables of "How each claim is tested", made when the page is built: from the outputs stored in the chapters, which
the tests compare with a fresh run, and from what the long runs have left in book/_data.

In a table with simulations a column headed "z" compares them with theory. A table with a column "agrees", or one that
counts the rows it rejects, belongs to the protocol. There the row "theory" is the theory, and others are broken ones.
"""

import csv
import json
import re
from pathlib import Path

from bs4 import BeautifulSoup
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

BOOK = Path(__file__).parents[1]


def tables(notebook: Path):
    """(names of columns, rows) of every table that a chapter shows; a name is what stands in all rows of its head."""
    for cell in json.loads(notebook.read_text())["cells"]:
        for output in cell.get("outputs", ()):
            html = "".join(output.get("data", {}).get("text/html", ""))
            if "<thead>" not in html:
                continue
            soup = BeautifulSoup(html, "html.parser")
            head = [[th.get_text() for th in row.find_all("th") for _ in range(int(th.get("colspan", 1)))]
                    for row in soup.thead.find_all("tr")]
            columns = [" ".join(filter(None, names)) for names in zip(*head, strict=True)]
            rows = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in soup.tbody.find_all("tr")]
            yield columns, [[""] * (len(columns) - len(row)) + row for row in rows]  # names of groups are given once


def column(table, *starts: str) -> list[float]:
    """The numbers in all columns whose names are one of these words, or begin with it and go on to a second level."""
    columns, rows = table
    wanted = [i for i, name in enumerate(columns) for start in starts if name == start or
              name.startswith(start + " ") and columns.count(name) == 1 and start in ("rows", "agree", "largest |z|")]
    return [float(row[i]) for row in rows for i in wanted if row[i] not in ("", "NaN")]


def chapter(notebook: Path) -> dict:
    """What one chapter compares."""
    shown, judged, summed, broken = [], [], None, []
    for table in tables(notebook):
        columns, rows = table
        counts = "rejected" if "rejected" in columns else "rows rejected"
        if counts in columns:
            for row in rows:
                record = dict(zip(columns, row, strict=True))
                name = record.get("theory") or record[""]
                found = int(record[counts]), int(record.get("of") or record["rows"]), float(record["largest |z|"])
                if name == "theory":
                    summed = found
                else:
                    broken.append(found)
        elif any(name.startswith("agree ") for name in columns):
            number = int(sum(column(table, "rows")))
            summed = number - int(sum(column(table, "agree"))), number, max(column(table, "largest |z|"))
        elif "agrees" in columns:
            rejected = sum(row[columns.index("agrees")] == "False" for row in rows)
            judged.append((rejected, len(rows), max(map(abs, column(table, "z")))))
        elif any(word in name for name in columns for word in ("simulation", "live", "networks")):
            shown += map(abs, column(table, "z"))
    if summed is None and judged:
        summed = sum(x for x, _, _ in judged), sum(n for _, n, _ in judged), max(z for _, _, z in judged)
    return dict(shown=shown, protocol=summed, broken=broken)


def by_chapter():
    yield ["Chapter", "Shown", "largest $\\lvert z\\rvert$", "Protocol", "rejected",
           "largest $\\lvert z\\rvert$", "Broken theories", "refused"]
    for notebook in sorted(BOOK.glob("[0-9]*.ipynb")):
        found = chapter(notebook)
        rejected, rows, worst = found["protocol"] or ("", "", "")
        if not found["shown"] and not rows:
            continue
        yield [f"{{doc}}`{int(notebook.stem[:2])} </book/{notebook.stem}>`", len(found["shown"]) or "",
               max(found["shown"], default=""), rows, rejected, worst, len(found["broken"]) or "",
               sum(hits > 0 for hits, _, _ in found["broken"]) if found["broken"] else ""]


def span(values) -> str:
    """The different values, or the first and the last of many."""
    values = sorted({float(value) for value in values if value})
    shown = [f"{value:g}" for value in values]
    return ", ".join(shown) if len(shown) < 6 else f"{shown[0]} … {shown[-1]}"


def by_run():
    yield ["Table", "Made by", "Sizes", "Seeds", "Rows", "Date"]
    for note in sorted((BOOK / "_data").glob("*.json")):
        made = json.loads(note.read_text())
        if not made.get("script", "").startswith("scripts/"):
            continue
        with open(note.with_suffix(".csv")) as file:
            rows = list(csv.DictReader(file))
        sizes = next((span(row[key] for row in rows) for key in ("N", "D", "width") if key in rows[0]), "")
        seeds = span(row["seeds"] for row in rows) if "seeds" in rows[0] else made.get("seeds", "")
        yield [f"`{note.stem}`", f"`{made['script'].split()[0]}`", sizes or made.get("dim", ""),
               seeds if isinstance(seeds, (str, int)) else span(seeds), len(rows), made["date"]]


def mutants() -> list[dict]:
    with open(BOOK / "_data/mutants.csv") as file:
        return list(csv.DictReader(file))


def by_mutant():
    yield ["File", "Mutants", "killed by fast tests", "killed by others", "not killed"]
    found = mutants()
    for name in [*dict.fromkeys(row["file"] for row in found), "all"]:
        fates = [row["fate"] for row in found if name in ("all", row["file"])]
        fast, killed = (sum(fate.startswith(what) for fate in fates) for what in ("killed by fast", "killed"))
        yield [f"`{name}`" if name != "all" else name, len(fates), fast, killed - fast, len(fates) - killed]


def by_survivor():
    yield ["File, line", "Was", "Became", "Why no test sees it"]
    for row in mutants():
        if not row["fate"].startswith("killed"):
            yield [f"`{row['file']}`, {row['line']}", f"`{row['was']}`", f"`{row['is']}`", row["reason"] or "not known"]


class Claims(SphinxDirective):
    required_arguments = 1  # chapters, runs, mutants or survivors

    def run(self):
        for path in [*BOOK.glob("*.ipynb"), *(BOOK / "_data").glob("*.*")]:
            self.env.note_dependency(str(path))
        kinds = {"chapters": by_chapter, "runs": by_run, "mutants": by_mutant, "survivors": by_survivor}
        head, *rows = kinds[self.arguments[0]]()
        lines = [head, ["---"] * len(head), *rows]
        text = [" | ".join(re.sub(r"(?<!\\)\|", r"\\|", str(cell)) for cell in line) for line in lines]
        parent = nodes.container()
        self.state.nested_parse(StringList([f"| {line} |" for line in text]), 0, parent)
        return parent.children


def setup(app):
    app.add_directive("claims", Claims)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
