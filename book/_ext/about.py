"""What a reader needs to know about the site itself: version and date at the foot of
every page, how to cite (made from CITATION.cff), the changelog, and buttons that lead
to the repository, which exist only while `repository: url` in _config.yml names one. A
notebook that is downloaded gets a first cell that says, or fetches, what it needs.
"""

import json
import os
import re
import subprocess
from datetime import date
from pathlib import Path

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]
FIRST_CELL = "where-the-library-is-missing"


def citation() -> dict:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())


def day() -> date:
    """When what is shown was last changed: that of the last commit, or today's where
    there is no repository; SOURCE_DATE_EPOCH goes before both.
    """
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        return date.fromtimestamp(int(epoch))
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%cs"]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=True)
        return date.fromisoformat(made.stdout.strip())
    except (OSError, subprocess.CalledProcessError, ValueError):
        return date.today()


def words(when: date) -> str:
    return f"{when.day} {when:%B %Y}"


def authors(entry: dict) -> str:
    names = [
        author.get("name") or f"{author['given-names']} {author['family-names']}"
        for author in entry["authors"]
    ]
    return " and ".join(names)


def bibtex(entry: dict, key: str, address: str, when: date) -> str:
    """One entry of CITATION.cff for a reference list."""
    fields = {
        "author": "{" + authors(entry) + "}" if "version" in entry else authors(entry),
        "title": "{" + entry["title"] + "}",
        "year": str(entry.get("year", when.year)),
        "version": entry.get("version", ""),
        "url": address,
        "note": ", ".join(
            identifier["value"] for identifier in entry.get("identifiers", ())
        )
        or f"Version of {words(when)}",
    }
    kind = "software" if entry.get("type") == "software" else "misc"
    lines = [f"  {name:8s}= {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


class CiteThis(SphinxDirective):
    """The book and library in words and in BibTeX, then the paper they rest on."""

    def run(self):
        self.env.note_dependency(str(ROOT / "CITATION.cff"))
        entry, when = citation(), day()
        address = self.config.html_theme_options.get("repository_url", "")
        where = f" {address}." if address else ""
        text = (
            f"{authors(entry)} ({when.year}). {entry['title']}. Version"
            f" {entry['version']}, {words(when)}.{where}"
        )
        (paper,) = entry["references"]
        found = [nodes.block_quote("", nodes.paragraph("", text))]
        for key, source, link in (
            ("dmftlib", entry, address),
            ("lauditi2026", paper, ""),
        ):
            block = nodes.literal_block("", bibtex(source, key, link, when))
            block["language"] = "text"
            found.append(block)
        return found


class Changes(SphinxDirective):
    """CHANGELOG.md without its title."""

    def run(self):
        path = ROOT / "CHANGELOG.md"
        self.env.note_dependency(str(path))
        lines = path.read_text().splitlines()[1:]
        lines = [re.sub(r"^## (.*)", r"**\1**", line) for line in lines]
        parent = nodes.container()
        self.state.nested_parse(StringList(lines), 0, parent)
        return parent.children


def switch_buttons(app, config):
    """Launch, edit and feedback buttons need an address."""
    options = config.html_theme_options
    address = options.get("repository_url") or ""
    if not address:
        options.pop("repository_url", None)
        options["launch_buttons"] = {}
    for button in (
        "use_repository_button",
        "use_issues_button",
        "use_edit_page_button",
    ):
        options[button] = bool(address)


def add_footer(app, page, template, context, doctree):
    if app.builder.format != "html":
        return
    entry = citation()
    if address := app.config.html_theme_options.get("repository_url", ""):
        context["metatags"] += f'<meta name="book-repository" content="{address}">'
    link = f'<a href="{context["pathto"]("book/about")}">'
    context["theme_extra_footer"] = (
        f'<p class="about-footer">dmftlib {entry["version"]}, {words(day())} · code MIT, text'
        f" and figures CC BY 4.0 · {link}licence and how to cite</a></p>"
    )


def first_cell(address: str) -> str:
    """Nothing where the library and the folders of the book are there."""
    get = (
        f'    for command in ("git clone --depth 1 {address} dmftlib-book",\n'
        '                    f"{sys.executable} -m pip install -q ./dmftlib-book[book]"):\n'
        "        subprocess.run(command.split(), check=True)\n"
        "    importlib.invalidate_caches()  # what was installed just now can be imported\n"
        '    os.chdir("dmftlib-book/book")\n'
        "    sys.path[:0] = [os.getcwd(), os.path.dirname(os.getcwd())]\n"
    )
    say = (
        "    raise ModuleNotFoundError(\n"
        '        "This notebook needs the library dmftlib with its extra [book], and the "\n'
        '        "folder book/ of its repository (derivations, exercises, _data): put the "\n'
        '        "notebook into that folder and start it there."\n'
        "    )\n"
    )
    return (
        "# Does nothing where the book is installed. Elsewhere (Colab, a machine of your own)\n"
        "# it says or fetches what this notebook needs.\n"
        "import importlib.util\nimport os\nimport subprocess\nimport sys\n\n"
        'needed = ("dmftlib", "derivations", "exercises")\n'
        "if missing := [name for name in needed if importlib.util.find_spec(name) is None]:\n"
        + (get if address else say)
    )


def prepare_downloads(app, exception):
    """The notebooks that the download button gives get their first cell."""
    if exception or app.builder.format != "html":
        return
    address = app.config.html_theme_options.get("repository_url") or ""
    for path in (Path(app.outdir) / "_sources").rglob("*.ipynb"):
        notebook = json.loads(path.read_text())
        if any(cell.get("id") == FIRST_CELL for cell in notebook["cells"]):
            continue
        cell = dict(cell_type="code", id=FIRST_CELL, metadata={}, outputs=[])
        cell |= dict(execution_count=None, source=first_cell(address))
        notebook["cells"].insert(0, cell)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def setup(app):
    app.add_directive("cite-this", CiteThis)
    app.add_directive("changes", Changes)
    app.connect("config-inited", switch_buttons, priority=900)
    app.connect("html-page-context", add_footer)
    app.connect("build-finished", prepare_downloads)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
