"""Which displayed equations are wider than the screen at four widths; part of
`tools/check_browser.py`.

    python -m tools.check_equations _build/html      write tools/scrolling.json anew

Those that scroll must be on that list, which may only shrink: break a new one by hand.
"""

import asyncio
import json
import sys
from pathlib import Path

LIST = Path(__file__).parent / "scrolling.json"

SCROLLING = """(async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  await document.fonts.ready;
  const equations = [...document.querySelectorAll('main div.math')].filter(e => e.querySelector('mjx-container'));
  const scrolls = formula => formula.scrollWidth > formula.clientWidth + 1;
  return equations.filter(e => e.checkVisibility() && scrolls(e.querySelector('mjx-container')))
    .map(e => e.id || e.querySelector('mjx-container').textContent.replace(/\\s+/g, '').slice(0, 40));
})()"""


def known() -> dict[str, dict[str, list[str]]]:
    """Width -> page -> names of the equations that scroll there."""
    return json.loads(LIST.read_text()) if LIST.exists() else {}


def new(page: str, width: int, found: list[str], listed: dict) -> list[str]:
    """Complaints about equations that scroll and are not on the list."""
    allowed = list(listed.get(str(width), {}).get(page, []))
    wrong = []
    for name in found:
        if name in allowed:
            allowed.remove(name)
        else:
            wrong.append(f"{width} px: {name} scrolls and did not before")
    return wrong


async def scrolling(browser) -> list[str]:
    return await browser.evaluate(SCROLLING)


def summary(counts: dict[int, int]) -> str:
    shown = ", ".join(f"{number} at {width} px" for width, number in counts.items())
    return f"equations that scroll: {shown}"


async def measured(site: Path, port: int, browser) -> dict:
    """The list as it is now."""
    from tools import check_browser, check_screens

    found: dict[str, dict[str, list[str]]] = {}
    for path in check_browser.pages(site):
        page = path.relative_to(site).as_posix()
        await browser.open(f"http://localhost:{port}/{page}")
        for width in check_screens.WIDTHS:
            await check_screens.at_width(browser, width)
            await asyncio.sleep(0.4)
            names = await scrolling(browser)
            if names:
                found.setdefault(str(width), {})[page] = names
    return found


if __name__ == "__main__":
    from tools import check_browser

    found = check_browser.browse(Path(sys.argv[1]).resolve(), measured)
    LIST.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    counts = {
        int(width): sum(map(len, pages.values())) for width, pages in found.items()
    }
    print(summary(counts))
