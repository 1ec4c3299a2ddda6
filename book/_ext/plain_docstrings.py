"""Docstrings are written to be read in a terminal. On the API page aligned lists of
arguments become definition lists, indented equations literal blocks, and everything
else text, in which no character is markup.
"""

import re

ENTRY = re.compile(r"(\S.*?)\s{2,}(\S.*)")


def blocks(lines):
    """Runs of lines between blank ones."""
    block = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []


def plain(text: str) -> str:
    """Text in which only `names` and "words" are markup."""

    def marked(match):
        code = match["name"] or match["word"]
        return (
            f"\\ ``{code}``\\ " if code else "\\" + match[0]
        )  # a backslash and a space are nothing, and end a word

    return re.sub(r"""`(?P<name>[^`]+)`|(?P<word>"[\w.-]+")|[\\*_|]""", marked, text)


def is_list(block) -> bool:
    """Every line is an entry "name   what it is", or deeper than the first and so goes
    on with the one before.
    """
    return ENTRY.fullmatch(block[0]) is not None and all(
        ENTRY.fullmatch(line) or line.startswith(" " * 4) for line in block
    )


def restructured(block) -> list[str]:
    if block[0].startswith(">>>"):
        return [*block, ""]
    if all(line.startswith("    ") for line in block):
        return [".. code-block:: text", "", *block, ""]
    if is_list(block):
        made = []
        for line in block:
            entry = None if line.startswith(" ") else ENTRY.fullmatch(line)
            made += (
                [f"``{entry[1]}``", f"    {plain(entry[2])}"]
                if entry
                else ["    " + plain(line.strip())]
            )
        return [*made, ""]
    return [*map(plain, block), ""]


def process(app, what, name, obj, options, lines):
    lines[:] = [line for block in blocks(lines) for line in restructured(block)]


def setup(app):
    app.connect("autodoc-process-docstring", process)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
