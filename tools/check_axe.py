"""Accessibility of the open page, by the rules of axe-core, which the package
axe-core-python brings; part of `tools/check_browser.py`.

The glyphs of formulas, which are hidden from screen readers, and the colours of code are
taken off the page first, which are thousands of elements; it is of no use afterwards. Colours,
which cost the most, are looked at around the text alone, in both themes; those of the
text itself `tools/check_browser.py` looks at. Serious and critical findings fail.
"""

import json
from functools import cache
from importlib import resources

FAILS = ("serious", "critical")

RUN = """(async () => {
  const found = await axe.run({exclude: EXCLUDED}, {resultTypes: ['violations'], OPTIONS});
  return JSON.stringify(found.violations.map(rule => ({
    rule: rule.id, impact: rule.impact, help: rule.help, number: rule.nodes.length,
    first: rule.nodes[0].target.join(' ') + ' ' + rule.nodes[0].html.slice(0, 80)})));
})()"""
# Nothing moves, and what is looked at elsewhere and costs much is gone.
STRIPPED = """(() => {
  document.head.appendChild(document.createElement('style')).textContent =
    '*, *::before, *::after { transition: none !important; animation: none !important; }';
  document.querySelectorAll('mjx-math').forEach(glyphs => glyphs.remove());
  document.querySelectorAll('main pre').forEach(code => { code.textContent = code.textContent; });
})()"""
ALL_BUT_COLOURS = "rules: {'color-contrast': {enabled: false}}"
COLOURS = "runOnly: ['color-contrast']"
RUNS = (  # theme, what is left out, options
    ("dark", "[['main']]", COLOURS),
    ("light", "[['main']]", COLOURS),
    ("light", "[]", ALL_BUT_COLOURS),
)


@cache
def script() -> str:
    folder = resources.files("axe_core_python")
    return (folder / "axe.min.js").read_text(encoding="utf-8")


def said(findings: list[dict]) -> list[str]:
    """What fails among the findings of axe-core."""
    return [
        f"{f['rule']} ({f['impact']}, {f['number']} times): {f['help']}: {f['first']}"
        for f in findings
        if f["impact"] in FAILS
    ]


async def complaints(browser) -> list[str]:
    """About the page that is open, which is of no use afterwards."""
    await browser.evaluate(script() + "\n;0")
    await browser.evaluate(STRIPPED)
    wrong = []
    for theme, excluded, options in RUNS:
        await browser.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        await browser.evaluate("new Promise(done => setTimeout(done, 50))")
        run = RUN.replace("EXCLUDED", excluded).replace("OPTIONS", options)
        found = json.loads(await browser.evaluate(run))
        wrong += [f"axe, {theme}: {text}" for text in said(found)]
    return wrong
