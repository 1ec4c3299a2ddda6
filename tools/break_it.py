"""Break a copy of the repository in each way that the checks are there for; fail unless
the check in charge notices.

    python -m tools.break_it          the short form: sources, contracts, excerpts of
                                        notebooks (a slow test)
    python -m tools.break_it --long   also whole notebooks, and the built site if
                                        there is one in _build/html

Prints a table: what was broken, which check caught it. The checks must pass before
anything is broken.
"""

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv",
    "_build",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    "*.egg-info",
    "shared",
)
BOOK, CONTRACTS, SITE = (
    "tests/book/test_book.py",
    "tests/book/test_contracts.py",
    "tests/book/test_site.py",
)
EXERCISES = "tests/book/test_exercises.py"
TEXT, FIGURE = "book/excerpts/text.ipynb", "book/excerpts/figure.ipynb"


@dataclass(frozen=True)
class Corruption:
    """`edit` is applied to `file` of the copy; then `check` (a test, a notebook or a
    script) must fail, and say so.
    """

    what: str
    file: str
    edit: Callable[[Path], object]
    check: str
    says: str = ""


def pattern(old: str, new: str, count: int = 1) -> Callable:
    """Replace a regular expression in a text file (of a notebook: in its JSON)."""
    return lambda path: path.write_text(re.sub(old, new, path.read_text(), count=count))


def cells(change: Callable) -> Callable:
    """Apply `change` to the list of code cells of a notebook."""

    def edit(path):
        notebook = json.loads(path.read_text())
        change([cell for cell in notebook["cells"] if cell["cell_type"] == "code"])
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False))

    return edit


def _figures(code: list) -> list:
    return [cell for cell in code if "figure" in cell["metadata"].get("mystnb", {})]


def _number(cell: dict) -> bool:
    return any(
        "text/plain" in output.get("data", {})
        and "image/png" not in output["data"]
        and re.search(r"\d", "".join(output["data"]["text/plain"]))
        for output in cell["outputs"]
    )


def _strip(code: list) -> None:
    for cell in code:
        cell.update(outputs=[], execution_count=None)


def _edit_number(code: list) -> None:
    data = next(
        output["data"]
        for output in code[-1]["outputs"]
        if "text/plain" in output.get("data", {})
    )
    data["text/plain"] = re.sub(
        r"\d", lambda d: str((int(d[0]) + 1) % 10), "".join(data["text/plain"]), count=1
    )


def _move_a_curve(path: Path) -> None:
    """Move one point of the first curve of a stored figure by half a percent."""
    record = json.loads(path.read_text())
    values = next(ax for ax in record["axes"] if "lines" in ax)["lines"][0]["y"][
        "values"
    ]
    largest = max(range(len(values)), key=lambda i: abs(values[i]))
    values[largest] *= 1.005
    path.write_text(json.dumps(record))


def _cover_a_corner(path: Path) -> None:
    with Image.open(path) as image:
        broken = image.convert("L")
    corner = (0, 0, broken.width // 4, broken.height // 4)
    broken.paste(ImageOps.invert(broken.crop(corner)), corner)
    broken.save(path)


def _excerpt(books: list[Path], wanted: Callable, target: Path) -> dict:
    """Write the shortest beginning of a chapter whose last code cell is as wanted;
    return that cell.
    """
    best = None
    for path in books:
        notebook = json.loads(path.read_text())
        end = next(
            (
                i
                for i, c in enumerate(notebook["cells"])
                if c["cell_type"] == "code" and wanted(c)
            ),
            None,
        )
        if end is not None and (best is None or end < len(best["cells"]) - 1):
            best = notebook | dict(cells=notebook["cells"][: end + 1])
    assert best is not None, "no chapter has such a cell"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(best))
    return best["cells"][-1]


PAGES = "tests/book/test_pages.py"
SOURCES = "tests/book/test_derivation_sources.py"
_VARIANCE = pattern(
    r"scale = jnp\.sqrt\(self\.variance\)(?=\n        root)",
    "scale = jnp.sqrt(1.05 * self.variance)",
)


def short_form(chapter: str, figure: str) -> list[Corruption]:
    bulk, outliers, record = (
        "dmftlib/spectra/bulk.py",
        "dmftlib/spectra/spiked.py",
        f"book/_data/figures/{figure}",
    )
    return [
        Corruption(
            "variance in the library 5% larger",
            bulk,
            _VARIANCE,
            f"{CONTRACTS}::test_contract[bulk-eq-transforms]",
        ),
        Corruption(
            "sign of a response in the library",
            outliers,
            pattern(r"jnp\.hstack\(\[B\.T, jnp", "jnp.hstack([-B.T, jnp"),
            f"{CONTRACTS}::test_contract[spikes-eq-overlap-matrix]",
        ),
        Corruption(
            "outputs stripped",
            chapter,
            cells(_strip),
            f"{BOOK}::test_cells_were_executed_in_order",
        ),
        Corruption(
            "a cell executed out of order",
            chapter,
            cells(lambda code: code[-1].update(execution_count=1)),
            f"{BOOK}::test_cells_were_executed_in_order",
        ),
        Corruption(
            "a picture deleted",
            chapter,
            cells(lambda code: _figures(code)[0].update(outputs=[])),
            f"{BOOK}::test_outputs_are_there",
        ),
        Corruption(
            "a warning in the output",
            chapter,
            cells(
                lambda code: code[-1]["outputs"].append(
                    dict(output_type="stream", name="stderr", text=["overflow"])
                )
            ),
            f"{BOOK}::test_no_errors_and_no_warnings_in_outputs",
        ),
        Corruption(
            "a cell skipped without a reason",
            chapter,
            cells(lambda code: code[0]["metadata"].update(tags=["nbval-skip"])),
            f"{BOOK}::test_nothing_is_switched_off_in_silence",
        ),
        Corruption(
            "a test skipped without a reason",
            "tests/library/test_bulk.py",
            pattern(r"\ndef test_", "\n@pytest.mark.skip(reason='')\ndef test_"),
            f"{BOOK}::test_nothing_is_switched_off_in_silence",
        ),
        Corruption(
            "alt text removed",
            chapter,
            cells(lambda code: _figures(code)[0]["metadata"]["mystnb"].pop("image")),
            f"{BOOK}::test_figures_have_name_caption_and_alt_text",
        ),
        Corruption(
            "caption cut down to a title",
            chapter,
            cells(
                lambda code: _figures(code)[0]["metadata"]["mystnb"]["figure"].update(
                    caption="Outliers"
                )
            ),
            f"{BOOK}::test_figures_have_name_caption_and_alt_text",
        ),
        Corruption(
            "record of a figure deleted",
            record + ".png",
            Path.unlink,
            f"{BOOK}::test_every_figure_has_its_record",
        ),
        Corruption(
            "a figure no longer referred to",
            chapter,
            pattern(r"\{numref\}`fig-", "{numref}`figure-", 0),
            f"{BOOK}::test_every_figure_is_referred_to",
        ),
        Corruption(
            "a broken reference",
            chapter,
            pattern(r"\{eq\}`eq-", "{eq}`eq-no-"),
            f"{BOOK}::test_every_reference_resolves",
        ),
        Corruption(
            "a link to a page that is not there",
            "book/index.md",
            pattern(r"<03_spikes>", "<03_spike>"),
            f"{BOOK}::test_every_reference_resolves",
        ),
        Corruption(
            "an equation no longer referred to",
            chapter,
            pattern(r"\{eq\}`eq-", "equation `eq-", 0),
            f"{BOOK}::test_every_numbered_equation_is_referred_to",
        ),
        Corruption(
            "a contract removed",
            "book/derivations/spikes.py",
            pattern(
                r"(?s)\nCONTRACTS = \[\n.*?\n    Contract\(",
                "\nCONTRACTS = [\n    Contract(",
            ),
            f"{BOOK}::test_every_numbered_equation_is_under_contract",
        ),
        Corruption(
            "a number on the first page edited",
            "book/index.md",
            pattern(r"2\.1648", "2.1649"),
            f"{PAGES}::test_the_code_of_a_page_runs[index]",
        ),
        Corruption(
            "a public name not on the API page",
            "book/api.md",
            pattern(r"\.\. autofunction:: dmftlib\.critical\n", ""),
            f"{PAGES}::test_every_public_name_is_on_the_api_page",
        ),
        Corruption(
            "a SymPy name that is not there",
            "book/notation.md",
            pattern(r"`spikes\.sigma`", "`spikes.sigmas`"),
            f"{PAGES}::test_sympy_names_of_the_notation_table_are_derivations",
        ),
        Corruption(
            "a chapter not in the map",
            "book/index.md",
            pattern(r"\* - \{doc\}`6 <06_deep_linear>`", "* - 6"),
            f"{PAGES}::test_every_chapter_is_in_the_map_of_the_first_page",
        ),
        Corruption(
            "an outlier moved in the picture of the two levels",
            "book/_static/two_levels.svg",
            pattern(r"M3\d\d\.\d,446h10", "M333.3,446h10"),
            f"{PAGES}::test_the_picture_of_the_two_levels_is_up_to_date",
        ),
        Corruption(
            "a response named wrongly in the picture of the conversation",
            "book/_static/conversation.svg",
            pattern(r'font-size="10">21<', 'font-size="10">12<'),
            f"{PAGES}::test_the_pictures_of_ideas_are_up_to_date[conversation]",
        ),
        Corruption(
            "an equation that does not say how much of it was derived",
            "book/derivations/spikes.py",
            pattern(r'        standing="derived",\n', ""),
            f"{SOURCES}::test_every_numbered_equation_has_a_mark",
        ),
        Corruption(
            "a digit misprinted in a numbered equation",
            "book/02_bulk_laws.ipynb",
            pattern(r"big\|1", "big|2"),
            "tests/book/test_printed_equations.py"
            "::test_what_is_printed_is_what_sympy_derived[eq-edges]",
        ),
        Corruption(
            "an echo of half the size in the derivation of the rule",
            "book/derivations/gradient_descent.py",
            pattern(
                r"G\.LUsolve\(z_h \* outside\) / c", "G.LUsolve(z_h * outside) / 2"
            ),
            f"{CONTRACTS}::test_contract[gradient_descent-eq-asked-again]",
        ),
        Corruption(
            "a rejected row that the claims do not count",
            "book/03_spikes.ipynb",
            pattern(r"<td>True</td>", "<td>False</td>"),
            f"{PAGES}::test_claims_are_counted_from_the_chapters_and_the_runs",
        ),
        Corruption(
            "a label given twice",
            chapter,
            pattern(r"\(eq-[\w-]+\)(?=(.|\n)*\((eq-[\w-]+)\))", r"(\2)"),
            f"{BOOK}::test_labels_are_unique",
        ),
        Corruption(
            "a symbol struck from the notation",
            "book/notation.md",
            pattern(r"\* - \$\\sigma\^2\$", "* - "),
            f"{BOOK}::test_every_symbol_is_in_the_notation_table",
        ),
        Corruption(
            "the definition of a symbol deleted",
            "book/11_few_and_many_outputs.ipynb",
            pattern(r"\*\*A budget for outliers\.\*\*.*?as a fraction of", ""),
            f"{BOOK}::test_every_symbol_of_a_numbered_equation_is_defined_on_its_page",
        ),
        Corruption(
            "a misspelt citation",
            chapter,
            pattern(r"\{cite\}`", "{cite}`x"),
            f"{BOOK}::test_citations_resolve_both_ways",
        ),
        Corruption(
            "a solution removed",
            chapter,
            pattern(r"\{solution(-start)?\} ", "{note} "),
            f"{BOOK}::test_exercises_and_solutions_belong_together",
        ),
        Corruption(
            "a checker that takes a wrong answer",
            "book/exercises/chapter_03.py",
            pattern(r"left_response=\[\[response\]\]", "left_response=[[0.8]]"),
            f"{EXERCISES}::test_each_mistake_gets_its_hint[ex-sign]",
        ),
        Corruption(
            "a checker removed",
            "book/exercises/chapter_03.py",
            pattern(r'@exercise\("ex-sign"\)\n', ""),
            f"{EXERCISES}::test_every_exercise_has_a_checker_and_every_checker_an_exercise",
        ),
        Corruption(
            "a solution that is not checked",
            chapter,
            pattern(r'check\(\\"ex-sign\\", ', "print("),
            f"{EXERCISES}::test_solutions_check_themselves[03_spikes]",
        ),
        Corruption(
            "solutions left in the student edition",
            "tools/student_edition.py",
            pattern(r"kept \+= \[\] if inside else \[cell\]", "kept += [cell]"),
            f"{EXERCISES}::test_the_student_edition_has_everything_but_the_solutions[03_spikes]",
        ),
        Corruption(
            "the book's references left in the student edition",
            "tools/student_edition.py",
            pattern(r"ROLE\.sub\(role, text\)", "text"),
            f"{EXERCISES}::test_jupyter_can_show_the_student_edition[03_spikes]",
        ),
        Corruption(
            "MathJax from elsewhere",
            "_config.yml",
            pattern("sphinx-mathjax-offline,?", ""),
            f"{BOOK}::test_the_site_is_configured_to_need_no_other",
        ),
        Corruption(
            "a pin of a package dropped",
            "constraints.txt",
            pattern("jaxtyping==.*\n", ""),
            f"{SITE}::test_every_package_is_pinned_and_every_pin_is_allowed",
        ),
        Corruption(
            "Binder installs something else",
            "environment.yml",
            pattern(r"\[test,cluster\]", "[book]"),
            f"{SITE}::test_environment_installs_what_make_installs",
        ),
        Corruption(
            "a button that leads elsewhere",
            "README.md",
            pattern("^", "[x](https://mybinder.org/v2/gh/a/b?book/03_spikes.ipynb)"),
            f"{SITE}::test_one_address_for_all_buttons",
        ),
        Corruption(
            "the data of a slider out of date",
            "book/_static/sliders/aspect.js",
            pattern(r"0\.206,1\.794", "0.216,1.794"),
            f"{SITE}::test_sliders_show_what_the_library_computes[aspect]",
        ),
        Corruption(
            "sliders in other colours",
            "book/_static/book.css",
            pattern("--theory: #0072B2", "--theory: #00F"),
            f"{SITE}::test_sliders_have_the_colours_of_the_figures",
        ),
        Corruption(
            "a slider lost from its chapter",
            chapter,
            pattern("slider-figure", "figure"),
            f"{SITE}::test_every_slider_is_in_a_chapter",
        ),
        Corruption(
            "a printed number edited",
            TEXT,
            cells(_edit_number),
            TEXT,
            "Cell outputs differ",
        ),
        Corruption(
            "a curve of a stored figure moved",
            record + ".json",
            _move_a_curve,
            FIGURE,
            ".y.values",
        ),
    ]


def long_form(figure: str) -> list[Corruption]:
    page = "_build/html/book/03_spikes.html"
    whole = [
        Corruption(
            "a stored picture changed",
            f"book/_data/figures/{figure}.png",
            _cover_a_corner,
            FIGURE,
            "picture:",
        ),
        Corruption(
            "a colour of the figures changed",
            "dmftlib/plotting.py",
            pattern(r'THEORY(.*?)= "#\w\w', r'THEORY\1= "#77'),
            FIGURE,
            ".style",
        ),
        Corruption(
            "variance in the library 5% larger",
            "dmftlib/spectra/bulk.py",
            _VARIANCE,
            "book/03_spikes.ipynb",
            "is not the figure on record",
        ),
    ]
    site, browser = "tools/check_site.py", "tools/check_browser.py"
    if not (ROOT / page).exists():
        print("No site in _build/html (make book): its checks were NOT tried.")
        return whole
    whole += [
        Corruption(
            "a script from a CDN",
            page,
            pattern("</head>", '<script src="https://cdn.org/a.js"></script></head>'),
            site,
        ),
        Corruption(
            "a link to an anchor that is not there",
            page,
            pattern(r'href="#', 'href="#no-'),
            site,
        ),
        Corruption(
            "a picture lost",
            page,
            pattern(r'src="\.\./_images/', 'src="../_images/no-'),
            site,
        ),
        Corruption(
            "MathJax lost",
            "_build/html/_static/mathjax/tex-chtml.js",
            Path.unlink,
            site,
        ),
    ]
    if shutil.which("chromium"):
        whole += [
            Corruption(
                "an equation that does not parse",
                page,
                pattern(r"\\\[", r"\\[\\frac{1}{\\left("),
                browser,
            ),
            Corruption(
                "a page wider than a phone",
                page,
                pattern("<h1><span", '<div style="width: 900px">x</div><h1><span'),
                browser,
            ),
            Corruption(
                "a page that fetches when it runs",
                page,
                pattern(
                    "</head>", "<script>fetch('ht' + 'tps://cdn.org/a')</script></head>"
                ),
                browser,
            ),
            *(
                Corruption(what, f"_build/html/{file}", edit, browser, says)
                for what, file, edit, says in (
                    (
                        "a slider that does nothing",
                        "_static/sliders.js",
                        pattern('"input", draw', '"none", draw'),
                        "does not change",
                    ),
                    (
                        "the data of a slider lost",
                        "_static/sliders/spike.js",
                        Path.unlink,
                        "without its sliders",
                    ),
                    (
                        "sliders that need a server",
                        "_static/sliders.js",
                        pattern("document.currentScript.src", '"/_static/"'),
                        "from the file system",
                    ),
                    (
                        "solutions that do not open",
                        "_static/togglebutton.js",
                        pattern('remove\\("toggle-hidden', 'remove("none'),
                        "does not open",
                    ),
                    (
                        "equations that are not in the index",
                        "searchindex.js",
                        pattern('"eq-', '"no-', 0),
                        "does not find",
                    ),
                    (
                        "links too dark for the dark",
                        "_static/book.css",
                        pattern("#86b7fe", "#333333"),
                        "dark, contrast",
                    ),
                    (
                        "numbers that stand on their equations",
                        "_static/book.css",
                        pattern(
                            "row-reverse; align-items: center",
                            "row; position: relative; } .eqno { position: absolute !important; left: 40%",
                        ),
                        "under its number",
                    ),
                    (
                        "equations cut off without a sign",
                        "_static/screens.js",
                        pattern('"more-right", scrolls', '"more-none", scrolls'),
                        "is cut off",
                    ),
                    (
                        "equations with no room",
                        "_static/book.css",
                        pattern(
                            "flex: 1 1 auto; min-width: 0; margin",
                            "flex: 0 0 9rem; margin",
                        ),
                        "is too wide",
                    ),
                    (
                        "code of figures that is not folded",
                        "book/03_spikes.html",
                        pattern("<details", "<div", 0),
                        "not folded",
                    ),
                    (
                        "light pictures on dark pages",
                        "_static/book.css",
                        pattern(r'html\[data-theme="dark"\] .bd-content .panels', ".x"),
                        "in the dark: ",
                    ),
                    (
                        "symbols that nothing explains",
                        "_static/hover.js",
                        pattern("box.hidden = false", "box.hidden = true"),
                        "focus explains nothing",
                    ),
                    (
                        "answers that are taken whatever they are",
                        "_static/check_answers.js",
                        pattern(
                            'if \\(!text.trim\\(\\)\\) return "[^"]*"', 'return "right"'
                        ),
                        "takes any answer",
                    ),
                    (
                        "a right answer refused",
                        "_static/check_answers.js",
                        pattern("2654435761", "2654435763"),
                        "refuses the right answer",
                    ),
                    (
                        "no version on a page",
                        "book/03_spikes.html",
                        pattern("about-footer", "about"),
                        "no version, date and licence",
                    ),
                    (
                        "sliders on paper",
                        "_static/book.css",
                        pattern("@media print", "@media none"),
                        "printed: slider-row",
                    ),
                )
            ),
            Corruption(
                "no link to the next page",
                "_build/html/book/index.html",
                pattern("right-next", "right-none", 0),
                browser,
                "no link to the next",
            ),
            Corruption(
                "a reference to an equation lost",
                page,
                pattern('href="#equation-', 'href="#no-'),
                browser,
                "no #no-",
            ),
        ]
    return whole


def run(copy: Path, *checks: str) -> subprocess.CompletedProcess:
    """Tests and notebooks with pytest (several at once), a script on the built site."""
    if checks[0].startswith("tools/"):
        command = ["-m", f"tools.{Path(checks[0]).stem}", "_build/html"]
    else:
        command = ["-m", "pytest", "-p", "no:cacheprovider", "--nbval", *checks]
    environment = os.environ | dict(
        PYTHONPATH=f"{copy}:{copy / 'book'}",
        JAX_PLATFORMS="cpu",
        JAX_ENABLE_X64="1",
        PYTHONDONTWRITEBYTECODE="1",
        PYTHONWARNINGS="ignore::DeprecationWarning",
    )
    environment.pop("FIGURES", None)
    return subprocess.run(
        [sys.executable, *command],
        cwd=copy,
        env=environment,
        text=True,
        capture_output=True,
    )


def caught(copy: Path, corruption: Corruption) -> bool:
    """Break the copy, run the check, mend the copy. True if the check failed, for the
    reason given.
    """
    path = copy / corruption.file
    before = path.read_bytes()
    corruption.edit(path)
    try:
        if path.exists() and path.read_bytes() == before:
            sys.exit(
                f"{corruption.what}: found nothing to break in {corruption.file}; mend tools/break_it.py"
            )
        result = run(copy, corruption.check)
        return (
            result.returncode == 1 and corruption.says in result.stdout + result.stderr
        )
    finally:
        path.write_bytes(before)


def prepared(folder: Path, long: bool) -> tuple[Path, str]:
    """A copy of the repository with the excerpts, and the name of the figure of the
    one.
    """
    copy = folder / "book"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    if long and (ROOT / "_build/html").exists():
        shutil.copytree(ROOT / "_build/html", copy / "_build/html")
    chapters = sorted((copy / "book").glob("[0-9]*.ipynb"))
    _excerpt(chapters, _number, copy / TEXT)
    shown = _excerpt(
        chapters,
        lambda cell: "figure" in cell["metadata"].get("mystnb", {}),
        copy / FIGURE,
    )
    return copy, shown["metadata"]["mystnb"]["figure"]["name"]


def main(long: bool, workers: int = 2) -> int:
    with tempfile.TemporaryDirectory() as folder:
        copies = [prepared(Path(folder) / str(i), long) for i in range(workers)]
        figure = copies[0][1]
        corruptions = short_form("book/03_spikes.ipynb", figure) + (
            long_form(figure) if long else []
        )
        mine, free = threading.local(), [copy for copy, _ in copies]

        def own_copy():
            mine.copy = free.pop()

        def attempt(corruption):
            start = time.perf_counter()
            found = caught(mine.copy, corruption)
            verdict = (
                corruption.check if found else f"NOTHING ({corruption.check} passed)"
            )
            print(
                f"{corruption.what:42s} {verdict}  [{time.perf_counter() - start:.0f} s]",
                flush=True,
            )
            return found

        checks = list(dict.fromkeys(corruption.check for corruption in corruptions))
        tests = [check for check in checks if not check.startswith("tools/")]
        for group in (tests, *([script] for script in checks if script not in tests)):
            whole = run(copies[0][0], *group)
            if whole.returncode != 0:
                print(whole.stdout[-3000:], whole.stderr[-3000:])
                sys.exit("The checks fail before anything is broken.")
        print(f"{'corruption':42s} caught by", flush=True)
        with concurrent.futures.ThreadPoolExecutor(
            workers, initializer=own_copy
        ) as pool:
            found = list(pool.map(attempt, corruptions))
    print(f"{sum(found)} of {len(found)} corruptions caught.")
    return len(found) - sum(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--long", action="store_true", help="also whole notebooks and the built site"
    )
    sys.exit(min(main(parser.parse_args().long), 1))
