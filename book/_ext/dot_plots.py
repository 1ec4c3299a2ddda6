"""A table that compares with simulation is shown as dots: each row at its z, its
distance from theory in standard errors, between the limits that are due to a table of
so many rows. The table itself is folded below.
"""

import re
from html import escape
from typing import NamedTuple

from bs4 import BeautifulSoup
from scipy.stats import norm

TABLE = re.compile(r'<table border="1" class="dataframe">.*?</table>', re.S)
# a table of the protocol, or a part of one, whose limit is that of all its rows
JUDGED = re.compile("rejected|agrees")
FEWEST = 6  # rows; fewer are read faster as numbers
CHANCE = 0.05  # that a right theory passes a limit somewhere in the table
WIDTH, STEP, RADIUS = 600, 11, 4.5  # pixels


class Row(NamedTuple):
    name: str
    z: float


def rows(table: BeautifulSoup) -> list[Row]:
    """The values in all columns of the name "z", with what stands on their left."""
    head = table.thead.find_all("tr")
    names = [""] * len(head[-1].find_all("th"))
    for line in head:
        spread = [
            th.get_text()
            for th in line.find_all("th")
            for _ in range(int(th.get("colspan", 1)))
        ]
        names = [new or old for new, old in zip(spread, names, strict=False)]
    wanted = [i - len(names) for i, name in enumerate(names) if name == "z"]
    found = []
    for line in table.tbody.find_all("tr"):
        entries = [entry.get_text() for entry in line.find_all(["th", "td"])]
        label = ", ".join(th.get_text() for th in line.find_all("th"))
        for i in wanted:
            try:
                z = float(entries[i])
            except (IndexError, ValueError):
                continue
            if z == z:
                found.append(Row(label, z))
    return found


def limit(number: int) -> float:
    """Three standard errors, or more in a table of many rows: two-sided, corrected for
    their number (Bonferroni).
    """
    return max(3.0, float(norm.isf(CHANCE / 2 / number)))


def drawing(found: list[Row]) -> str:
    bound = limit(len(found))
    largest = max(abs(row.z) for row in found)
    reach = max(1.2 * bound, 1.05 * largest)

    def place(z: float) -> float:
        return WIDTH / 2 * (1 + 0.96 * z / reach)

    heaps: dict[int, int] = {}
    dots = []
    for row in sorted(found, key=lambda row: abs(row.z)):
        heap = round(place(row.z) / (2 * RADIUS))
        level = heaps[heap] = heaps.get(heap, 0) + 1
        dots.append((2 * RADIUS * heap, level, row))
    base = STEP * max(heaps.values()) + 8
    marks = [
        f'<path class="z-limit" d="M{place(sign * bound):.1f},0V{base}"/>'
        for sign in (-1, 1)
    ]
    marks += [
        f'<circle class="{"z-out" if abs(row.z) > bound else "z-in"}" cx="{x:.1f}"'
        f' cy="{base - STEP * level + STEP / 2:.1f}" r="{RADIUS}">'
        f"<title>{escape(row.name)}: z = {row.z:g}</title></circle>"
        for x, level, row in dots
    ]
    ticks = {0.0: "0", -bound: f"−{bound:.1f}", bound: f"{bound:.1f}"}
    marks += [
        f'<text x="{place(z):.1f}" y="{base + 16}" text-anchor="middle">{text}</text>'
        for z, text in ticks.items()
    ]
    outside = sum(abs(row.z) > bound for row in found)
    says = (
        f"{len(found)} comparisons, largest |z| = {largest:.1f}; "
        f"{outside or 'none'} beyond the limit of {bound:.1f}"
    )
    return (
        f'<figure class="z-dots"><svg viewBox="0 0 {WIDTH} {base + 22}" role="img"'
        f' aria-label="{escape(says)}"><path class="axis" d="M0,{base}H{WIDTH}"/>'
        f"{''.join(marks)}</svg><figcaption>z of each row: {escape(says)}.</figcaption>"
        "</figure>"
    )


def shown(match: re.Match) -> str:
    table = BeautifulSoup(match[0], "html.parser")
    if table.thead is None or JUDGED.search(table.thead.get_text()):
        return match[0]
    found = rows(table)
    if len(found) < FEWEST:
        return match[0]
    number = len(table.tbody.find_all("tr"))
    return (
        f'{drawing(found)}<details class="table-folded"><summary>The table,'
        f" {number} rows</summary>{match[0]}</details>"
    )


def rewrite(app, page, template, context, doctree):
    if app.builder.format == "html" and "body" in context:
        context["body"] = TABLE.sub(shown, context["body"])


def setup(app):
    app.connect("html-page-context", rewrite)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
