"""On pages to look things up in, a long table is folded: what one reads stays short,
and the table is one click away.
"""

import re

PAGES = {"book/errors", "book/performance"}
LONGEST = 8  # rows that are not folded
TABLE = re.compile(r"<table\b.*?</table>", re.S)


def folded(match: re.Match) -> str:
    number = match[0].count("<tr") - 1
    if number <= LONGEST:
        return match[0]
    return (
        f'<details class="table-folded"><summary>Show the {number} rows</summary>'
        f"{match[0]}</details>"
    )


def rewrite(app, page, template, context, doctree):
    if page in PAGES and "body" in context and app.builder.format == "html":
        context["body"] = TABLE.sub(folded, context["body"])


def setup(app):
    app.connect("html-page-context", rewrite)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
