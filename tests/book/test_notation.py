"""One letter, one thing: also in displayed equations without a number, and among the
indices.
"""

import re

import pytest
from test_book import PAGES, notation, symbols

DISPLAYED = [
    (page, latex)
    for page, text in PAGES.items()
    for latex in re.findall(r"\$\$(.+?)\$\$", text, re.S)
]
NOT_INDICES = re.compile(
    r"\\(?:rm|mathrm|mathsf|text|textbf|operatorname)\s*(?:\{[^{}]*\}|[A-Za-z]+)"
    r"|\\(?:sum|int|lim|prod)\s*_(?:\{[^{}]*\}|\S)|\\(?:perp|pm)\b|_\{\\textstyle[^{}]*\}"
)
SUBSCRIPT = re.compile(r"_(?:\{([^{}]*)\}|(\\[A-Za-z]+|[^\\{]))")
LAYER = re.compile(r"(?<=[A-Za-z])\^(?:\{(l[+-]1)\}|(l)(?![A-Za-z]))")
LETTER = re.compile(r"\\[A-Za-z]+|[a-z]")


def indices(latex: str) -> set[str]:
    """Lower-case and Greek letters below others, and l above them. A subscript with a
    capital is a part of the symbol.
    """
    latex = NOT_INDICES.sub(" ", latex)
    found = [a or b for a, b in SUBSCRIPT.findall(latex) + LAYER.findall(latex)]
    return {
        letter
        for part in found
        if not re.search(r"(?<!\\)\b[A-Z]", part)
        for letter in LETTER.findall(part)
    }


def index_table() -> dict[str, set[int]]:
    """{index: chapters in which notation.md says what it counts}."""
    rows = re.findall(r"^\| (\$.+\$) \|.+\| ([\d, ]+) \|$", PAGES["notation"], re.M)
    return {
        letter: {int(chapter) for chapter in chapters.split(",")}
        for letters, chapters in rows
        for letter in re.findall(r"\$([^$]+)\$", letters)
    }


@pytest.mark.parametrize(
    "latex, expected",
    [
        (r"A_{kj}g_j", {"j", "k"}),
        (r"\Phi^l_{\mu\nu}(t,t')", {"l", r"\mu", r"\nu"}),
        (r"g^{l+1}_{\nu j}(t')", {"l", r"\nu", "j"}),
        (r"m_L^2+\theta_{\rm eff}", set()),
        (r"e^{-z\tau}x^t", set()),
        (r"\sum_{s<t}\Delta_s", {"s"}),
    ],
)
def test_what_an_index_is(latex, expected):
    assert indices(latex) == expected


def test_every_symbol_of_a_displayed_equation_is_in_the_notation_table():
    known = set().union(*notation())
    missing = [
        (page, sorted(symbols(latex) - known), latex[:60])
        for page, latex in DISPLAYED
        if symbols(latex) - known
    ]
    assert len(DISPLAYED) > 100 and not missing


def test_every_index_of_a_displayed_equation_is_in_the_table_of_indices():
    table = index_table()
    missing = [
        (page, letter, latex[:60])
        for page, latex in DISPLAYED
        for letter in sorted(indices(latex))
        if page[:2].isdigit() and int(page[:2]) not in table.get(letter, ())
    ]
    assert not missing


def test_the_table_of_indices_has_each_once_and_none_too_many():
    lines = [line for line in PAGES["notation"].splitlines() if line.startswith("| $")]
    letters = re.findall(r"\$([^$]+)\$", " ".join(line.split("|")[1] for line in lines))
    assert len(letters) == len(set(letters))
    used = {
        (letter, int(page[:2]))
        for page, latex in DISPLAYED
        if page[:2].isdigit()
        for letter in indices(latex)
    }
    promised = {(letter, n) for letter, where in index_table().items() for n in where}
    assert promised <= used
