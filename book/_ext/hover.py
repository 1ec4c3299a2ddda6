"""What the hover boxes say (hover.js): each symbol of the notation table with its
meaning, shape, names and first equation, and each word of the glossary. Written when
the site is built, as a script, so that pages opened from the file system have it too.
"""

import json
import re
from pathlib import Path

from docutils import nodes

NOTATION, GLOSSARY = "book/notation", "book/glossary"
SHAPE = re.compile(r"\s*Shape:\s*")


def plain(node: nodes.Node) -> str:
    """Text with formulas between \\( and \\), as MathJax reads them."""
    if isinstance(node, nodes.math):
        return rf"\({node.astext()}\)"
    if isinstance(node, nodes.Text):
        return node.astext()
    return "".join(map(plain, node.children))


def formulas(node: nodes.Node) -> list[str]:
    return [part.astext() for part in node.findall(nodes.math)]


def symbol(latex: str) -> str:
    """The left side of a definition, without its argument: m_L(s) is m_L."""
    left = re.split(r"(?<!\\)=", latex)[0].strip()
    return re.sub(r"\((?:[^()]|\\[a-z]+)*\)$", "", left).strip()


def first_link(node: nodes.Node) -> list[str]:
    """[address, text] of the first reference; empty where there is none."""
    for link in node.findall(nodes.reference):
        if address := link.get("refuri"):
            return [address, link.astext()]
    return []


def code(node: nodes.Node) -> str:
    return ", ".join(part.astext() for part in node.findall(nodes.literal))


def symbols(document: nodes.document) -> list[dict]:
    """One entry a row; a row may be that of several symbols."""
    found = []
    for row in document.findall(nodes.row):
        entries = [child for child in row.children if isinstance(child, nodes.entry)]
        if len(entries) != 5 or isinstance(row.parent, nodes.thead):
            continue
        names, meaning, where, sympy, library = entries
        meaning, *shape = SHAPE.split(plain(meaning).strip())
        found.append(
            dict(
                symbols=list(dict.fromkeys(map(symbol, formulas(names)))),
                meaning=meaning,
                shape=shape[0] if shape else "",
                equation=first_link(where),
                sympy=code(sympy),
                library=code(library),
            )
        )
    return found


def words(document: nodes.document) -> dict[str, str]:
    """The definition of each word, by the anchor of its entry."""
    found = {}
    for item in document.findall(nodes.definition_list_item):
        definition = " ".join(
            plain(part).strip() for part in item.findall(nodes.paragraph)
        )
        for term in item.findall(nodes.term):
            for anchor in term["ids"]:
                found[anchor] = " ".join(definition.split())
    return found


def write(app, exception):
    if exception or app.builder.format != "html":
        return
    documents = [
        app.env.get_and_resolve_doctree(name, app.builder)
        for name in (NOTATION, GLOSSARY)
    ]
    data = dict(symbols=symbols(documents[0]), words=words(documents[1]))
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    target = Path(app.outdir) / "_static/hover_data.js"
    target.write_text(f"window.hoverData = {text};\n")


def setup(app):
    app.connect("build-finished", write)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
