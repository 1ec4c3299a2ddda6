"""The tables of "How each claim is tested", made when the page is built: from the
outputs stored in the chapters, which the tests compare with a fresh run, and from what
the long runs have left in book/_data.

In a table with simulations a column headed "z" compares them with theory. A table with
a column "agrees", or one that counts the rows it rejects, belongs to the protocol.
There the row "theory" is the theory, and others are broken ones.
"""

import csv
import json
import re
from pathlib import Path

from bs4 import BeautifulSoup
from docutils import nodes
from docutils.statemachine import StringList
from scipy.stats import chi2
from sphinx.util.docutils import SphinxDirective

BOOK = Path(__file__).parents[1]


def tables(notebook: Path):
    """(names of columns, rows) of every table that a chapter shows; a name is what
    stands in all rows of its head.
    """
    for cell in json.loads(notebook.read_text())["cells"]:
        for output in cell.get("outputs", ()):
            html = "".join(output.get("data", {}).get("text/html", ""))
            if "<thead>" not in html:
                continue
            soup = BeautifulSoup(html, "html.parser")
            head = [
                [
                    th.get_text()
                    for th in row.find_all("th")
                    for _ in range(int(th.get("colspan", 1)))
                ]
                for row in soup.thead.find_all("tr")
            ]
            columns = [
                " ".join(filter(None, names)) for names in zip(*head, strict=True)
            ]
            rows = [
                [cell.get_text() for cell in row.find_all(["th", "td"])]
                for row in soup.tbody.find_all("tr")
            ]
            yield (
                columns,
                [[""] * (len(columns) - len(row)) + row for row in rows],
            )  # names of groups are given once


def column(table, *starts: str) -> list[float]:
    """The numbers in all columns whose names are one of these words, or begin with it
    and go on to a second level.
    """
    columns, rows = table
    wanted = [
        i
        for i, name in enumerate(columns)
        for start in starts
        if name == start
        or name.startswith(start + " ")
        and columns.count(name) == 1
        and start in ("rows", "agree", "largest |z|")
    ]
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
                found = (
                    int(record[counts]),
                    int(record.get("of") or record["rows"]),
                    float(record["largest |z|"]),
                )
                if name == "theory":
                    summed = found
                else:
                    broken.append(found)
        elif any(name.startswith("agree ") for name in columns):
            number = int(sum(column(table, "rows")))
            summed = (
                number - int(sum(column(table, "agree"))),
                number,
                max(column(table, "largest |z|")),
            )
        elif "agrees" in columns:
            rejected = sum(row[columns.index("agrees")] == "False" for row in rows)
            judged.append((rejected, len(rows), max(map(abs, column(table, "z")))))
        elif any(
            word in name
            for name in columns
            for word in ("simulation", "live", "networks")
        ):
            shown += map(abs, column(table, "z"))
    if summed is None and judged:
        summed = (
            sum(x for x, _, _ in judged),
            sum(n for _, n, _ in judged),
            max(z for _, _, z in judged),
        )
    return dict(shown=shown, protocol=summed, broken=broken)


def by_chapter():
    yield [
        "Chapter",
        "Shown",
        "largest $\\lvert z\\rvert$",
        "Protocol",
        "rejected",
        "largest $\\lvert z\\rvert$",
        "Broken theories",
        "refused",
    ]
    for notebook in sorted(BOOK.glob("[0-9]*.ipynb")):
        found = chapter(notebook)
        rejected, rows, worst = found["protocol"] or ("", "", "")
        if not found["shown"] and not rows:
            continue
        yield [
            f"{{doc}}`{int(notebook.stem[:2])} </book/{notebook.stem}>`",
            len(found["shown"]) or "",
            max(found["shown"], default=""),
            rows,
            rejected,
            worst,
            len(found["broken"]) or "",
            sum(hits > 0 for hits, _, _ in found["broken"]) if found["broken"] else "",
        ]


def span(values) -> str:
    """The different values, or the first and the last of many."""
    values = sorted({float(value) for value in values if value})
    shown = [f"{value:g}" for value in values]
    return ", ".join(shown) if len(shown) < 6 else f"{shown[0]} … {shown[-1]}"


def by_run():
    yield ["Table", "Made by", "Sizes", "Seeds", "Rows", "Date"]
    for note in sorted((BOOK / "_data").glob("*.json")):
        made = json.loads(note.read_text())
        if not made.get("script", "").startswith(("experiments/", "tools/")):
            continue
        with open(note.with_suffix(".csv")) as file:
            rows = list(csv.DictReader(file))
        sizes = next(
            (
                span(row[key] for row in rows)
                for key in ("N", "D", "width")
                if key in rows[0]
            ),
            "",
        )
        seeds = (
            span(row["seeds"] for row in rows)
            if "seeds" in rows[0]
            else made.get("seeds", "")
        )
        yield [
            f"`{note.stem}`",
            f"`{made['script'].split()[0]}`",
            sizes or made.get("dim", ""),
            seeds if isinstance(seeds, (str, int)) else span(seeds),
            len(rows),
            made["date"],
        ]


def stored(name: str) -> list[dict]:
    with open(BOOK / f"_data/{name}.csv") as file:
        return list(csv.DictReader(file))


def linked(chapter: str) -> str:
    (path,) = BOOK.glob(f"{int(chapter):02d}_*.ipynb")
    return f"{{doc}}`{int(chapter)} </book/{path.stem}>`"


def number(text: str, digits: int = 1) -> str:
    return f"{float(text):.{digits}f}" if text else ""


def chance(text: str) -> str:
    """A p, to one digit where it is small."""
    if not text or float(text) >= 0.01:
        return number(text, 2)
    p = float(text)
    return f"{p:.0e}".replace("e-0", "e-") if p else "0"


def of(part: str, whole: str) -> str:
    return f"{float(part):.0f} of {float(whole):.0f}" if float(whole) else ""


def by_table():
    """Every table that is stored, and those of which only the chapter has the rows."""
    yield [
        "Chapter",
        "Table",
        "rejected",
        "largest $\\lvert z\\rvert$",
        "mean $z^2$",
        "$\\chi^2$",
        "rows worth",
        "$p$",
        "without the smallest: mean $z^2$",
        "$p$",
        "the line: $\\chi^2$",
        "$p$",
    ]
    rows = [row for row in stored("referee") if row["which"] == "theory"]
    rows.append(dict.fromkeys(rows[0], "") | dict(chapter="4", bend_freedom="0"))
    for row in sorted(rows, key=lambda row: int(row["chapter"])):
        known = judged(row) if row["rows"] else printed(int(row["chapter"]))
        yield [
            linked(row["chapter"]),
            f"`{row['table']}`" if row["table"] else "live",
            *known,
            number(row["less_mean_z2"]),
            chance(row["less_p"]),
            line(row),
            chance(row["bend_p"]),
        ]


def judged(row: dict) -> list:
    known = row["freedom"] != row["rows"]
    return [
        of(row["rejected"], row["rows"]),
        number(row["largest_z"]),
        number(row["mean_z2"]),
        number(row["chi2"], 0),
        number(row["freedom"], 0) if known else "",
        chance(row["p"]),
    ]


def line(row: dict) -> str:
    """chi^2 about the straight lines."""
    if not float(row["bend_freedom"]):
        return ""
    return f"{float(row['bend']):.0f} of {row['bend_freedom']}"


def printed(chapter: int) -> list:
    """The same from the z that a chapter prints, with one digit."""
    for columns, rows in tables(next(BOOK.glob(f"{chapter:02d}_*.ipynb"))):
        if "agrees" in columns:
            z = column((columns, rows), "z")
            squares = sum(value**2 for value in z)
            rejected = sum(row[columns.index("agrees")] == "False" for row in rows)
            return [
                of(str(rejected), str(len(rows))),
                max(map(abs, z)),
                number(str(squares / len(z))),
                number(str(squares), 0),
                "",
                chance(str(chi2.sf(squares, len(z)))),
            ]
    raise LookupError(f"chapter {chapter} judges no table")


def by_broken():
    yield [
        "Chapter",
        "Table",
        "Broken theory",
        "rejected",
        "largest $\\lvert z\\rvert$",
        "by networks up to",
    ]
    for row in stored("referee"):
        if row["which"] != "theory":
            yield [
                linked(row["chapter"]),
                f"`{row['table']}`",
                row["which"],
                of(row["rejected"], row["rows"]),
                number(row["largest_z"]),
                number(row["seen_from"], 0),
            ]


def by_planted():
    """The broken theories that are small errors."""
    small = ("2% larger", "a half missing", "a sign wrong")
    head, *rows = by_broken()
    yield head
    for row in rows:
        if any(word in row[2] for word in small):
            yield row


def by_family():
    """Chapter 11: what the rule says, and whether it could have said something else."""
    words = ["finite", "restructured", "between", "open"]
    yield ["Family", "Outputs", "Kinds of matrix", *words, "able", "best power"]
    for row in stored("referee_outputs"):
        said = [row[word] for word in words]
        able = of(row["able"], row["kinds"])
        yield [
            row["family"],
            row["outputs"],
            row["kinds"],
            *said,
            able,
            number(row["least"], 2),
        ]


def by_rise():
    yield [
        "Networks",
        "Outputs",
        "Seeds",
        "rise of $\\log S$",
        "standard error",
        "$t$",
        "degrees of freedom",
        "limit",
        "$p$",
    ]
    for row in stored("referee_rises"):
        yield [
            row["network"],
            f"{row['few']} to {row['many']}",
            row["seeds"],
            *(number(row[name], 2) for name in ("rise", "standard_error")),
            *(number(row[name]) for name in ("t", "freedom", "limit")),
            chance(row["p"]),
        ]


def mutants() -> list[dict]:
    return stored("mutants")


def by_mutant():
    yield ["File", "Mutants", "killed by fast tests", "killed by others", "not killed"]
    found = mutants()
    for name in [*dict.fromkeys(row["file"] for row in found), "all"]:
        fates = [row["fate"] for row in found if name in ("all", row["file"])]
        fast, killed = (
            sum(fate.startswith(what) for fate in fates)
            for what in ("killed by fast", "killed")
        )
        yield [
            f"`{name}`" if name != "all" else name,
            len(fates),
            fast,
            killed - fast,
            len(fates) - killed,
        ]


def by_survivor():
    yield ["File, line", "Was", "Became", "Why no test sees it"]
    for row in mutants():
        if not row["fate"].startswith("killed"):
            yield [
                f"`{row['file']}`, {row['line']}",
                f"`{row['was']}`",
                f"`{row['is']}`",
                row["reason"] or "not known",
            ]


class Claims(SphinxDirective):
    required_arguments = 1  # one of the kinds below

    def run(self):
        for path in [*BOOK.glob("*.ipynb"), *(BOOK / "_data").glob("*.*")]:
            self.env.note_dependency(str(path))
        kinds = {
            "chapters": by_chapter,
            "runs": by_run,
            "tables": by_table,
            "broken": by_broken,
            "planted": by_planted,
            "families": by_family,
            "rises": by_rise,
            "mutants": by_mutant,
            "survivors": by_survivor,
        }
        head, *rows = kinds[self.arguments[0]]()
        lines = [head, ["---"] * len(head), *rows]
        text = [
            " | ".join(re.sub(r"(?<!\\)\|", r"\\|", str(cell)) for cell in line)
            for line in lines
        ]
        parent = nodes.container()
        self.state.nested_parse(StringList([f"| {line} |" for line in text]), 0, parent)
        return parent.children


def setup(app):
    app.add_directive("claims", Claims)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
