"""Each check of the site in a browser sees the fault that it is there for: small pages
without fault and with one, read by the checks of `tools`.
"""

import json
import re
import shutil
from pathlib import Path

import pytest

from tools import answers, check_axe, check_browser, check_equations, check_screens

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "book/_static"
PAGE = """<!DOCTYPE html><html lang="en" data-theme="light" data-hover="on"><head><meta charset="utf-8">
<title>A page</title>
<style>html {{ background: #fff; color: #111; }}
html[data-theme="dark"] {{ background: #111; color: #eee; }}
html[data-theme="dark"] a {{ color: #8bf; }}
mjx-container {{ display: block; width: 300px; overflow: auto; }}
:focus {{ outline: 2px solid #06c; }} {style}</style></head>
<body><main><h1>A page</h1><p>Text with <a href="#here">a link</a> and
<a href="#there">another</a>.</p>{body}</main>{after}{script}</body></html>"""
FOOT = '<p class="about-footer">1.0.0, 1 May 2026 <a href="#about">about</a></p>'
SUMMARY = re.search(
    r'(?s)<div class="summary".*?\n</div>\n', (ROOT / "book/index.md").read_text()
)[0]


def page(body="", style="", script="", after="") -> str:
    return PAGE.format(body=body + FOOT, style=style, script=script, after=after)


def equation(width: int) -> str:
    inside = f'<div style="width: {width}px; height: 1em"></div>'
    return f'<div class="math" id="eq-a"><mjx-container>{inside}</mjx-container></div>'


def with_scripts(*names: str) -> str:
    return "".join(f'<script src="{name}"></script>' for name in names)


def exercise(label: str) -> str:
    return f'<div class="exercise" id="{label}"><p>What?</p></div>'


def stored(label: str, value: float) -> dict:
    right = answers.hashes(label, value, 1e-3)
    return dict(names=[], tolerance=1e-3, right=right, hints={})


def choices(label: str, right: list[str]) -> dict:
    keys = [answers.hashed(f"{label}:0:{text}") for text in right]
    return dict(choices=["a", "b"], right=[keys], hints={})


HINT = "it is the other one"
ONE_RIGHT = choices("ex-choice", ["a"])
ONE_RIGHT["hints"] = {HINT: [[answers.hashed("ex-choice:0:b")]]}
ANSWERS = {
    "answers": {"ex-number": stored("ex-number", 3.0), "ex-choice": ONE_RIGHT},
    "any": {"ex-number": stored("ex-number", 12345.678)},
    "both": {"ex-choice": choices("ex-choice", ["a", "b"])},
}
FORMS = exercise("ex-number") + exercise("ex-choice")
NO_TAB = "<script>addEventListener('keydown', e => e.preventDefault())</script>"
LAUNCH = '<div class="dropdown-launch-buttons"><a href="https://mybinder.org/">Binder</a></div>'
PAGES = {
    "good": page(equation(200) + SUMMARY, script=with_scripts("summary.js")),
    "wide": page(equation(900)),
    "silent": page(equation(200)).replace(' data-hover="on"', ""),
    "no_alt": page('<img src="dot.png">'),
    "pale": page(after='<footer style="color: #aaa">pale</footer>'),
    "pale_in_the_dark": page(
        after='<footer id="dim">dim</footer>',
        style='html[data-theme="dark"] #dim { color: #333; }',
    ),
    "no_focus": page(style=":focus { outline: none !important; }"),
    "trap": page(script=NO_TAB),
    "launch": page(LAUNCH),
    "blank": page(
        SUMMARY,
        style=".summary canvas { display: none; }",
        script=with_scripts("summary.js"),
    ),
    "restless": page(SUMMARY, script=with_scripts("restless.js")),
    "answers": page(FORMS, script=with_scripts("answers/check_answers.js")),
    "any": page(FORMS, script=with_scripts("any/check_answers.js")),
    "both": page(FORMS, script=with_scripts("both/check_answers.js")),
    "no_enter": page(FORMS, script=NO_TAB + with_scripts("answers/check_answers.js")),
    "search": page(
        '<div id="search-results"><a href="x.html#equation-eq-a">a</a></div>'
    ),
}


async def seen(site: Path, port: int, browser) -> dict[str, list[str]]:
    """Page -> all that the checks say of it."""
    found, origin = {}, f"http://localhost:{port}/"
    reduce = [dict(name="prefers-reduced-motion", value="reduce")]
    await browser("Emulation.setEmulatedMedia", features=reduce)
    for name in PAGES:
        await browser.open(f"{origin}{name}.html")
        wrong = await check_screens.complaints(browser, f"{name}.html", {})
        found[name] = wrong + await check_axe.complaints(browser)
    for words, end in (("right", "#equation-eq-a"), ("wrong", "#equation-eq-b")):
        found[words] = await check_browser.searched(browser, origin, words, end)
    return found


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, list[str]]:
    site = tmp_path_factory.mktemp("site")
    for name, text in PAGES.items():
        (site / f"{name}.html").write_text(text)
    for name in ("summary.js", "summary_data.js"):
        shutil.copy(STATIC / name, site)
    restless = (STATIC / "summary.js").read_text().replace("calm.matches", "false")
    (site / "restless.js").write_text(restless)
    for name, entries in ANSWERS.items():
        (site / name).mkdir()
        shutil.copy(STATIC / "check_answers.js", site / name)
        text = answers.HEAD + json.dumps(entries) + answers.TAIL
        (site / name / "answers.js").write_text(text)
    found = check_browser.browse(site, seen)
    if found is None:
        pytest.skip("no chromium is installed")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["good", "answers", "right"])
def test_a_page_without_fault_has_no_complaint(said, name):
    assert said[name] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, complaint",
    [
        ("wide", "390 px: eq-a is cut off"),
        ("wide", "1536 px: eq-a scrolls and did not before"),
        ("silent", "symbols are not explained"),
        ("no_alt", "axe, light: image-alt (critical"),
        ("pale", "axe, light: color-contrast (serious"),
        ("pale_in_the_dark", "axe, dark: color-contrast (serious"),
        ("no_focus", "a focus that cannot be seen"),
        ("trap", "nothing takes the focus"),
        ("launch", "a button that leads nowhere: https://mybinder.org/"),
        ("blank", "nothing is drawn in scene 1"),
        ("restless", "it moves although less motion is wanted"),
        ("any", "takes any answer: ex-number"),
        ("both", "not one right choice: ex-choice"),
        ("no_enter", "Enter does not check an answer"),
        ("wrong", "search.html: wrong does not find #equation-eq-b"),
    ],
)
def test_a_planted_fault_is_seen(said, name, complaint):
    assert any(text.startswith(complaint) for text in said[name]), said[name]


def test_only_new_equations_that_scroll_are_a_fault():
    listed = {"390": {"a.html": ["eq-a", "text"]}}
    assert check_equations.new("a.html", 390, ["eq-a"], listed) == []
    assert len(check_equations.new("a.html", 390, ["eq-a", "eq-a"], listed)) == 1
    assert len(check_equations.new("a.html", 768, ["eq-a"], listed)) == 1
    assert len(check_equations.new("b.html", 390, ["text"], listed)) == 1
