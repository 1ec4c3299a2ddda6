"""The book's sources, read but not run: order, outputs, captions, references,
contracts, notation.

What else guards the book: `pytest --nbval book` reruns every cell and compares text,
numbers and figures (`book/figure_check.py`); `tests/book/test_contracts.py` reruns every
contract; `tools/check_site.py` walks the built site. `tools/break_it.py` breaks a
copy in each way named here and fails unless the check of that name notices.
"""

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

import nbformat
import pytest
import yaml
from test_contracts import labels

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
NOTEBOOKS = {path.stem: nbformat.read(path, 4) for path in sorted(BOOK.glob("*.ipynb"))}
HARMLESS_TAGS = {
    "hide-input",
    "hide-cell",
    "hide-output",
}  # folded away; all else switches something off


def _without_code(text: str) -> str:
    """Markdown without code blocks (directives stay) and without inline code (roles
    stay).
    """
    kept, directives, code = [], [], 0
    for line in text.splitlines():
        fence = re.match(r"\s*(`{3,})(\{[\w:-]+\})?(.*)", line)
        ticks = len(fence[1]) if fence else 0
        bare = fence is not None and not fence[2] and not fence[3].strip()
        if code:  # inside a code block, until a bare fence at least as long
            code = 0 if bare and ticks >= code else code
        elif bare and directives and ticks >= directives[-1]:
            directives.pop()
        elif fence and (not fence[2] or fence[2] == "{code-block}"):
            code = ticks
        else:
            directives += [ticks] if fence else []
            kept.append(line)
    return re.sub(
        r"(\{[\w:]+\})?`[^`\n]+`",
        lambda match: match[0] if match[1] else "",
        "\n".join(kept),
    )


def _read_pages() -> dict[str, str]:
    pages = {path.stem: path.read_text() for path in sorted(BOOK.glob("*.md"))}
    for name, notebook in NOTEBOOKS.items():
        pages[name] = "\n\n".join(
            cell.source for cell in notebook.cells if cell.cell_type == "markdown"
        )
    return {name: _without_code(text) for name, text in pages.items()}


PAGES = _read_pages()
CAPTIONS = {
    name: "\n".join(
        cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")
        for cell in notebook.cells
    )
    for name, notebook in NOTEBOOKS.items()
}
CELLS = [
    (f"{name}, code cell {i}", cell)
    for name, notebook in NOTEBOOKS.items()
    for i, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1)
]


def _has(cell, mime: str) -> bool:
    return any(mime in output.get("data", {}) for output in cell.outputs)


FIGURES = [
    (where, cell)
    for where, cell in CELLS
    if _has(cell, "image/png") or "figure" in cell.metadata.get("mystnb", {})
]


def _equations() -> list[tuple[str, str, str]]:
    """(page, label, LaTeX) of every numbered equation."""
    blocks = [
        (page, *match.groups())
        for page, text in PAGES.items()
        for match in re.finditer(r"\$\$(.+?)\$\$[ \t]*(?:\(([\w:-]+)\))?", text, re.S)
    ]
    return [(page, label, latex) for page, latex, label in blocks if label]


EQUATIONS = _equations()


def _roles(*names: str) -> list[tuple[str, str]]:
    """(page, target) of every role of these names: {eq}`x`, {numref}`Figure %s <x>`,
    {cite:t}`a,b`.
    """
    found = []
    for page, text in PAGES.items():
        for role, content in re.findall(
            r"\{([\w:]+)\}`([^`]+)`", text + "\n" + CAPTIONS.get(page, "")
        ):
            if role in names or role.split(":")[0] in names:
                target = re.search(r"<(.+)>$", content.strip())
                found += [
                    (page, t.strip())
                    for t in (target[1] if target else content).split(",")
                ]
    return found


def _labels(pattern: str) -> list[str]:
    return [
        label for text in PAGES.values() for label in re.findall(pattern, text, re.M)
    ]


FIGURE_NAMES = [
    cell.metadata.mystnb.figure.name
    for _, cell in FIGURES
    if "name" in cell.metadata.get("mystnb", {}).get("figure", {})
]
SECTIONS = _labels(r"^\(([\w:-]+)\)=")
NAMED = _labels(r"^:(?:label|name):[ ]*(\S+)")
BIBLIOGRAPHY = re.findall(
    r"^@\w+\{\s*([^,\s]+)\s*,", (BOOK / "references.bib").read_text(), re.M
)


def refuse(wrong: list, why: str):
    assert not wrong, why + ":\n  " + "\n  ".join(map(str, wrong))


def test_there_is_a_book_to_check():
    assert NOTEBOOKS and FIGURES and EQUATIONS and BIBLIOGRAPHY and len(CELLS) > 20


def test_every_page_is_in_the_table_of_contents():
    text = (ROOT / "_toc.yml").read_text()
    listed = re.findall(r"(?:root|file):\s*book/(\S+)", text)
    assert sorted(listed) == sorted(PAGES), "_toc.yml and the pages of book/ differ"


# Notebooks


def test_cells_were_executed_in_order():
    wrong = []
    for name, notebook in NOTEBOOKS.items():
        counts = [
            cell.execution_count for cell in notebook.cells if cell.cell_type == "code"
        ]
        if counts != list(range(1, len(counts) + 1)):
            wrong.append(f"{name}: {counts}")
    refuse(
        wrong,
        "code cells not executed from top to bottom (nbval passes these in silence); run `make figures`",
    )


def test_no_errors_and_no_warnings_in_outputs():
    refuse(
        [
            f"{where}: {output.output_type} {output.get('name', output.get('ename'))}"
            for where, cell in CELLS
            for output in cell.outputs
            if output.output_type == "error" or output.get("name") == "stderr"
        ],
        "errors or stderr among the outputs",
    )


def test_outputs_are_there():
    """A stored picture where a cell shows one, a result where it ends in an expression,
    text where it prints.

    nbval compares the rest, but it ignores pictures, and a cell without an execution
    count altogether.
    """
    wrong = []
    for where, cell in CELLS:
        last = ast.parse(cell.source).body[-1]
        ending = ast.unparse(last)
        shows = ending == "plt.show()"
        if not shows and (_has(cell, "image/png") or "plt.show()" in cell.source):
            wrong.append(f"{where}: shows a figure, and does not end in plt.show()")
        if shows and not _has(cell, "image/png"):
            wrong.append(f"{where}: no picture stored")
        if (
            isinstance(last, ast.Expr)
            and not isinstance(last.value, ast.Call)
            and not _has(cell, "text/plain")
        ):
            wrong.append(f"{where}: ends in `{ending}`, no result stored")
        if ending.startswith(("print(", "contract.show(")) and not any(
            o.get("name") == "stdout" for o in cell.outputs
        ):
            wrong.append(f"{where}: prints, no text stored")
    refuse(wrong, "outputs missing")


def test_nothing_is_switched_off_in_silence():
    """No tag or comment that keeps a cell from being run, checked or shown, and no
    skipped test, without a reason.
    """
    reasons = tomllib.loads((ROOT / "tests/switched_off.toml").read_text())
    listed = {
        (file, key): why
        for file, entries in reasons.items()
        for key, why in entries.items()
    }
    found = {}
    for name, notebook in NOTEBOOKS.items():
        for cell in notebook.cells:
            tags = set(cell.metadata.get("tags", ())) - HARMLESS_TAGS
            tags |= {
                line
                for line in cell.source.splitlines()
                if re.match(r"\s*#\s*(NBVAL|PYTEST)_", line)
            }
            tags |= set(cell.metadata.get("mystnb", {})) - {"figure", "image"}
            if cell.cell_type == "code":
                tags |= set(
                    re.findall(r"^\s*(%%?\w+|warnings\.\w+)", cell.source, re.M)
                )
            if tags:
                found[name, cell.id] = tags
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                called = {
                    ast.unparse(part)
                    for part in ast.walk(node)
                    if isinstance(part, ast.Attribute)
                }
                if any(
                    re.fullmatch(r"pytest\.(mark\.)?(skip|skipif|xfail)", name)
                    for name in called
                ):
                    found[path.stem, node.name] = {"skipped"}
    refuse(
        [
            f"{file}, {key}: {found[file, key]}"
            for file, key in found
            if not listed.get((file, key), "").strip()
        ],
        "switched off without a reason in tests/switched_off.toml",
    )
    refuse(
        sorted(listed.keys() - found.keys()),
        "listed in tests/switched_off.toml, but not switched off",
    )


# Figures


def test_figures_have_name_caption_and_alt_text():
    wrong = []
    for where, cell in FIGURES:
        mystnb = cell.metadata.get("mystnb", {})
        figure, alt = (
            mystnb.get("figure", {}),
            mystnb.get("image", {}).get("alt", "").strip(),
        )
        caption = figure.get("caption", "").strip()
        if not re.fullmatch(r"fig-[a-z0-9-]+", figure.get("name", "")):
            wrong.append(f"{where}: no name fig-...")
        if not re.fullmatch(r"[A-Z$].{40,}\.", caption, re.S):
            wrong.append(
                f"{where}: the caption is not made of full sentences: {caption!r}"
            )
        if len(alt) < 40:
            wrong.append(f"{where}: no alt text that describes the picture: {alt!r}")
        if alt and alt == caption:
            wrong.append(f"{where}: the alt text repeats the caption")
        if sum("image/png" in output.get("data", {}) for output in cell.outputs) > 1:
            wrong.append(f"{where}: more than one picture in a cell")
    refuse(wrong, "figures without name, caption or alt text")


def test_every_figure_is_referred_to():
    refuse(
        sorted(set(FIGURE_NAMES) - {target for _, target in _roles("numref")}),
        "figures without a {numref}",
    )


def test_every_figure_has_its_record():
    """Both ways; that the figures agree with their records is checked while nbval runs
    the notebooks.
    """
    stored = {path.name for path in (BOOK / "_data/figures").glob("*")}
    wanted = {name + suffix for name in FIGURE_NAMES for suffix in (".json", ".png")}
    refuse(
        sorted(wanted - stored), "no record in book/_data/figures, run `make figures`"
    )
    refuse(sorted(stored - wanted), "a record of no figure, delete it")
    refuse(
        [
            name
            for name in stored
            if (BOOK / "_data/figures" / name).stat().st_size > 40_000
        ],
        "larger than 40 kB",
    )


# Equations


def contract_labels() -> list[str]:
    return [
        label for _, label in labels()
    ]  # read and not run; test_contracts.py runs them


def test_labels_are_unique():
    labels = [label for _, label, _ in EQUATIONS] + FIGURE_NAMES + SECTIONS + NAMED
    refuse(
        [label for label, times in Counter(labels).items() if times > 1],
        "labels given twice",
    )


def test_every_numbered_equation_is_referred_to():
    used = {target for page, target in _roles("eq") if page != "notation"}
    refuse(
        [(page, label) for page, label, _ in EQUATIONS if label not in used],
        "equations that no {eq} refers to",
    )


def test_every_numbered_equation_is_under_contract():
    labels, contracts = {label for _, label, _ in EQUATIONS}, set(contract_labels())
    refuse(sorted(labels - contracts), "numbered equations without a contract")
    refuse(sorted(contracts - labels), "contracts without a numbered equation")
    refuse(
        [
            (page, block)
            for page, text in PAGES.items()
            for block in re.findall(
                r"\\begin\{(?:equation|align|gather|multline|eqnarray)\}", text
            )
        ],
        "environments that number equations without a label",
    )


def test_every_contract_is_shown_in_a_chapter():
    code = "\n".join(cell.source for _, cell in CELLS)
    shown = "\n".join(
        output.get("text", "") for _, cell in CELLS for output in cell.outputs
    )
    assert "contract.show(" in code
    refuse(
        [
            label
            for label in contract_labels()
            if f"{label}: SymPy and dmftlib agree" not in shown
        ],
        "contracts whose result no chapter prints",
    )


# Notation

GREEK = {
    "\\" + name
    for name in (
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta kappa lambda "
        "mu nu xi rho varrho sigma tau phi varphi chi psi omega ell Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega"
    ).split()
}
ACCENTS = {
    "\\" + name
    for name in "hat widehat tilde widetilde bar dot ddot vec mathcal mathbb mathbf check".split()
}
WORDS = {
    "\\" + name
    for name in "mathrm mathsf text textrm textbf operatorname mathit begin end label tag hspace".split()
}
NAMES = {
    r"\rm",
    r"\max",
    r"\min",
    r"\sf",
} | WORDS  # in a subscript, the subscript is a name and not an index
CONSTANTS = {
    "e",
    "i",
    r"\mathbb{E}",
    r"\mathbb{R}",
}  # Euler's number, the imaginary unit, an average, the reals
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[A-Za-z]|\d+|\S")


def _argument(tokens: list[str]) -> list[str]:
    """Take one argument off the front: what is between braces, or a single token (with
    its own argument).
    """
    head = tokens.pop(0)
    if head in WORDS | ACCENTS:
        return [head, *_argument(tokens)]
    if head != "{":
        return [head]
    inside, depth = [], 1
    while depth:
        inside.append(tokens.pop(0))
        depth += (inside[-1] == "{") - (inside[-1] == "}")
    return inside[:-1]


def symbols(latex: str | list[str]) -> set[str]:
    r"""Symbols of a formula: a Latin or Greek letter, with its accent, and its subscript
    where that is a name.

    A subscript with a capital or a word in it belongs to the symbol (`m_L`,
    `\theta_{eff}`). Any other is an index and is dropped: `g_j` is `g`, `M_0` is `M`.
    So are superscripts with at most one letter (powers, indices, transposes); longer
    ones, as in `e^{-z\tau}`, are formulas.
    """
    tokens = (
        TOKEN.findall(re.sub(r"\\\\\[[^]]*\]", " ", latex))
        if isinstance(latex, str)
        else list(latex)
    )
    found = set()
    while tokens:
        name = token = tokens.pop(0)
        if token in WORDS:
            _argument(tokens)
        elif token in ACCENTS:
            inside = _argument(tokens)
            name = f"{token}{{{''.join(inside)}}}"
            found |= symbols(inside) if len(inside) > 1 else set()
        if token in ("^", "_"):
            script = _argument(tokens)
            letters = [part for part in script if part in GREEK or part.isalpha()]
            found |= (
                symbols(script)
                if token == "^" and len(letters) > 1 and not NAMES & set(script)
                else set()
            )
        elif (
            token in GREEK or token.isalpha() or (token in ACCENTS and len(inside) == 1)
        ):
            if tokens[:1] == ["_"]:
                ahead = tokens[1:]
                script = _argument(ahead)
                if NAMES & set(script) or any(part.isupper() for part in script):
                    name += "_" + "".join(
                        part
                        for part in script
                        if part.isalpha() or part in (r"\max", r"\min")
                    )
                    tokens = ahead
            found.add(name)
    return found - CONSTANTS


def notation() -> list[set[str]]:
    """The symbols in the first column of each row of the table in notation.md."""
    rows = re.split(r"^\* - ", (BOOK / "notation.md").read_text(), flags=re.M)[2:]
    heads = [
        re.sub(r"\([^()]*\)", "", row.split("\n")[0]) for row in rows
    ]  # without arguments: m_L, not m_L(s)
    return [
        set().union(*map(symbols, re.findall(r"\$([^$]+)\$", head))) for head in heads
    ]


@pytest.mark.parametrize(
    "latex, expected",
    [
        (r"m_L m_R", {"m_L", "m_R"}),
        (r"g_j h_{k+1}^{\mathsf T}", {"g", "h"}),
        (r"\sigma^2", {r"\sigma"}),
        (r"\hat R(s)", {r"\hat{R}", "s"}),
        (r"\mathcal{N}(0, \tau)", {r"\mathcal{N}", r"\tau"}),
        (r"\frac1m\sum_{j=1}^n \theta_{\rm eff}", {"m", r"\theta_eff"}),
        (r"\tfrac{ab}{2}", {"a", "b"}),
        (r"\mathrm{d}x\, e^{-z\tau}", {"x", "z", r"\tau"}),
        (r"\kappa_{\mu\nu}^{(l)}", {r"\kappa"}),
        (r"\sqrt{s_{\mathrm{edge}}}\operatorname{tr}(A_0^{-1})", {"s_edge", "A"}),
        (r"\begin{pmatrix} G & 0 \\ 0 & H \end{pmatrix}", {"G", "H"}),
        (r"\langle\hat h_L'\rangle", {r"\hat{h}_L"}),
    ],
)
def test_the_tokenizer(latex, expected):
    assert symbols(latex) == expected


def test_every_symbol_is_in_the_notation_table():
    known = set().union(*notation())
    refuse(
        [
            f"{page}, {label}: {sorted(symbols(latex) - known)}"
            for page, label, latex in EQUATIONS
            if symbols(latex) - known
        ],
        "symbols of numbered equations without a row in book/notation.md",
    )


def test_no_symbol_means_two_things():
    times = Counter(symbol for found in notation() for symbol in found)
    refuse(
        [symbol for symbol, n in times.items() if n > 1],
        "symbols with two rows in book/notation.md",
    )


MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$]+)\$", re.S)
CLAUSE = re.compile(r"\s*(?:with|where|[Hh]ere|for|in which|and)\b[^.]*")


def _in_math(text: str) -> set[str]:
    found = (symbols(shown or inline) for shown, inline in MATH.findall(text))
    return set().union(*found)


def _left_sides(latex: str) -> list[list[str]]:
    """What stands left of a sign of equality, after the last break before it: a break
    is a new line, a wide space or a comma. All of them outside all braces.
    """
    left_sides, part, depth = [], [], 0
    for token in TOKEN.findall(latex):
        depth += (token == "{") - (token == "}")
        if depth == 0 and token in (r"\\", r"\qquad", r"\quad", ",", ";"):
            part = []
        elif depth == 0 and token == "=":
            left_sides.append(part)
            part = []
        else:
            part.append(token)
    return left_sides


def undefined(text: str, label: str, latex: str) -> set[str]:
    """Symbols of an equation that its page has not introduced.

    A symbol is introduced by any formula before the equation, by the equation itself
    where it is the one new symbol on the left of a sign of equality, or by the clause
    that follows ("with ...", "where ...", "Here ...").
    """
    start = re.search(r"\$\$[ \t]*\(" + re.escape(label) + r"\)", text)
    before = text[: start.start()]
    clause = CLAUSE.match(text[start.end() :])
    known = _in_math(before[: before.rindex("$$")])
    known |= _in_math(clause[0]) if clause else set()
    for left in _left_sides(latex):
        new = symbols(left) - known
        known |= new if len(new) == 1 else set()
    return symbols(latex) - known


@pytest.mark.parametrize(
    "text, expected",
    [
        (r"Let $x$ be. $$ y = x^2 $$ (eq-a)", set()),
        (r"$$ y = x^2 $$ (eq-a) Later $x$.", {"x"}),
        (r"$$ y = x^2 $$ (eq-a) where $x$ is a length. And $z$.", set()),
        (r"$$ y + z = 1 $$ (eq-a) with nothing.", {"y", "z"}),
        (r"$z$ $$ y = \frac{x}{z} ,\qquad x = z $$ (eq-a)", set()),
    ],
)
def test_what_counts_as_a_definition(text, expected):
    assert (
        undefined(text, "eq-a", re.search(r"\$\$ (.*?) \$\$ \(", text)[1]) == expected
    )


def test_every_symbol_of_a_numbered_equation_is_defined_on_its_page():
    wrong = [
        (page, label, sorted(undefined(PAGES[page], label, latex)))
        for page, label, latex in EQUATIONS
    ]
    refuse(
        [f"{page}, {label}: {missing}" for page, label, missing in wrong if missing],
        "symbols of numbered equations that nothing before on the page introduces",
    )


# References


def test_every_reference_resolves():
    equations = {label for _, label, _ in EQUATIONS}
    everything = (
        equations | set(FIGURE_NAMES) | set(SECTIONS) | set(NAMED) | {"genindex"}
    )
    wrong = [(page, "eq", t) for page, t in _roles("eq") if t not in equations]
    wrong += [
        (page, "ref", t)
        for page, t in _roles("ref", "numref", "prf")
        if t not in everything
    ]
    wrong += [
        (page, "doc", t)
        for page, t in _roles("doc")
        if t.lstrip("/").removeprefix("book/") not in PAGES
    ]
    for page, text in PAGES.items():
        wrong += [
            (page, "link", t)
            for t in re.findall(r"\]\(([^)\s]+)\)", text)
            if not re.match(r"https?://|mailto:|#", t)
            and not (BOOK / t.split("#")[0]).exists()
        ]
    refuse(wrong, "references that lead nowhere")


def test_exercises_and_solutions_belong_together():
    """Every exercise has a label and one solution, folded away."""
    wrong = []
    for page, text in PAGES.items():
        exercises = re.findall(
            r"^`{3,}\{exercise(?:-start)?\}[^\n]*\n((?::[^\n]*\n)*)", text, re.M
        )
        labels = [
            label
            for options in exercises
            for label in re.findall(r":label:\s*(\S+)", options)
        ]
        solutions = re.findall(
            r"^`{3,}\{solution(?:-start)?\}\s*(\S+)\n((?::[^\n]*\n)*)", text, re.M
        )
        if len(labels) != len(exercises):
            wrong.append(f"{page}: an exercise without a label")
        if Counter(labels) != Counter(label for label, _ in solutions):
            wrong.append(
                f"{page}: exercises {labels}, solutions {[label for label, _ in solutions]}"
            )
        wrong += [
            f"{page}: the solution of {label} is not a dropdown"
            for label, options in solutions
            if "dropdown" not in options
        ]
    refuse(wrong, "exercises without a (hidden) solution")


ORDER = [
    "The same equations? in `dmftlib`",
    "What would prove this wrong",
    "Exercises",
    "Project",
    "What to read",
]


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_chapters_have_one_order(chapter):
    """What it needs, then what it asks; the contract before what would refute it,
    before exercises, before reading.
    """
    cells = [
        cell.source for cell in NOTEBOOKS[chapter].cells if cell.cell_type == "markdown"
    ]
    assert re.match(r"\n?# .+\n\n\*Needs: .+\.\*\n\n\S", cells[0]), (
        "no line *Needs: ...* under the title"
    )
    headings = re.findall(r"^## (.+)$", "\n\n".join(cells), re.M)
    found = [
        (i, k)
        for k, heading in enumerate(headings)
        for i, name in enumerate(ORDER)
        if re.fullmatch(name, heading)
    ]
    assert found == sorted(found), f"not in order: {headings}"
    assert {ORDER[i] for i, _ in found} >= set(ORDER[1:3]) and headings[-1] == ORDER[
        -1
    ], f"missing: {headings}"


def test_citations_resolve_both_ways():
    cited = _roles("cite")
    refuse(
        [(page, key) for page, key in cited if key not in BIBLIOGRAPHY],
        "citations not in references.bib",
    )
    refuse(
        sorted(set(BIBLIOGRAPHY) - {key for _, key in cited}),
        "entries of references.bib that nothing cites",
    )
    refuse(
        [key for key, times in Counter(BIBLIOGRAPHY).items() if times > 1],
        "bibliography keys given twice",
    )


def test_the_site_is_configured_to_need_no_other():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    extensions = config["sphinx"]["config"]["extensions"]
    assert "sphinx-mathjax-offline" in extensions, "MathJax would come from a CDN"
    assert "sphinx_thebe" not in extensions, (
        "sphinx_thebe puts the address of a CDN on every page"
    )
    filled = "tools.execute_book " + config["execute"]["cache"]
    assert (
        config["execute"]["execute_notebooks"] == "cache"
        and filled in (ROOT / "Makefile").read_text()
    ), (
        "the site would show stale outputs: tools/execute_book.py knows when the cache is out of date"
    )
