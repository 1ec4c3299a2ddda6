"""Read every page of the built site in headless Chromium with the network cut off.

    python -m tools.check_browser _build/html

Fails if a page asks for anything from elsewhere, an equation is not typeset or typeset
as an error, a picture is missing, the console shows an error, or a page is wider than a
phone (360 px). Then it does what readers do: moves each slider by keyboard, opens a
solution, follows a reference to an equation and the link to the next page, searches for
an equation by name, turns the light off (text must keep a contrast of 4.5 to its
ground), prints, and opens a page with sliders from the file system. At four widths it
measures every equation (`tools/check_equations.py`), it tries what a page explains and
checks (`tools/check_screens.py`), and asks axe-core about accessibility
(`tools/check_axe.py`). Needs a chromium on the path; without one it says so and
checks nothing.
"""

import asyncio
import contextlib
import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.request import urlopen

from tornado.ioloop import IOLoop
from tornado.websocket import websocket_connect

from tools import check_axe, check_equations, check_screens

WIDTH = 360
STATE = f"""(async () => {{
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  await document.fonts.ready;
  const raw = [...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container'));
  const scrolls = e => e && (getComputedStyle(e).overflowX !== 'visible' || scrolls(e.parentElement));
  const wide = [...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > {WIDTH} + 1
    && !scrolls(e.parentElement));
  return JSON.stringify({{
    typeset: document.querySelectorAll('mjx-container').length, raw: raw.map(e => e.textContent.slice(0, 60)),
    errors: [...document.querySelectorAll('mjx-merror')].map(e => e.textContent.slice(0, 80)),
    pictures: [...document.images].filter(e => e.complete && !e.naturalWidth && e.loading !== 'lazy').map(e => e.src),
    width: document.documentElement.scrollWidth, wide: wide.slice(0, 3).map(e => e.tagName + '.' + e.className)}});
}})()"""


# Each of these returns a list of complaints.
LINKS = """(async () => {
  const wrong = [], links = [...document.querySelectorAll('main a[href^="#"]')].filter(a => a.hash);
  for (const a of links) if (!document.getElementById(decodeURIComponent(a.hash.slice(1)))) wrong.push('no ' + a.hash);
  const equation = links.find(a => a.hash.startsWith('#equation-'));
  if (!equation) return wrong;
  equation.click();
  for (let i = 0; i < 40; i++) {  // scrolling takes a while
    const {top} = document.getElementById(equation.hash.slice(1)).getBoundingClientRect();
    if (location.hash === equation.hash && top >= 0 && top < innerHeight) return wrong;
    await new Promise(done => setTimeout(done, 50));
  }
  return [...wrong, 'the link ' + equation.hash + ' does not lead there'];
})()"""
SOLUTIONS = """(async () => {
  const solution = document.querySelector('.solution.dropdown');
  if (!solution) return [];
  const text = solution.querySelector(':scope > :not(.admonition-title)');
  const shown = () => text.checkVisibility({visibilityProperty: true, opacityProperty: true});
  if (shown()) return ['the solution of an exercise is not hidden'];
  solution.querySelector('button')?.click();
  for (let i = 0; i < 40 && !shown(); i++) await new Promise(done => setTimeout(done, 50));
  return shown() ? [] : ['the solution of an exercise does not open'];
})()"""
CONTRAST = """(() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const linear = v => v <= 0.04 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = rgb => rgb.slice(0, 3).map(v => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = e => {
    if (!e) return [255, 255, 255];
    const [r, g, b, a = 1] = numbers(getComputedStyle(e).backgroundColor);
    return a === 0 ? ground(e.parentElement) : a === 1 ? [r, g, b]
      : ground(e.parentElement).map((v, i) => a * [r, g, b][i] + (1 - a) * v);
  };
  const wrong = new Set();
  for (const e of document.querySelectorAll('main *')) {
    const words = [...e.childNodes].filter(n => n.nodeType === 3 && n.textContent.trim());
    if (!words.length || e.closest('script, style, noscript, mjx-assistive-mml') || !e.checkVisibility()) continue;
    const style = getComputedStyle(e), rgb = numbers(e instanceof SVGElement ? style.fill : style.color);
    const [low, high] = [luminance(rgb), luminance(ground(e))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05), large = parseFloat(style.fontSize) >= 24;
    const text = words[0].textContent.trim().slice(0, 20);
    if (ratio < (large ? 3 : 4.5)) wrong.add(`contrast ${ratio.toFixed(1)}: ${e.tagName}.${e.className} "${text}"`);
  }
  return [...wrong].slice(0, 5);
})()"""
PRINTED = """(() => {
  const wrong = [], seen = e => e.checkVisibility();
  for (const e of document.querySelectorAll('.bd-sidebar-primary, .bd-header-article, .slider-row'))
    if (seen(e)) wrong.push('printed: ' + e.className);
  for (const e of document.querySelectorAll('.slider-figure svg, article p'))
    if (!seen(e) && !e.closest('.toggle-hidden, details')) wrong.push('not printed: ' + e.tagName);
  return wrong.slice(0, 3);
})()"""
SLIDERS = """JSON.stringify([...document.querySelectorAll('.slider-figure')].map(figure => [
  [...figure.querySelectorAll('input')].map(input => [input.id, input.getAttribute('aria-valuetext'),
    figure.querySelector(`label[for="${input.id}"]`)?.textContent || '']),
  figure.querySelector('.slider-panels')?.innerHTML || '', figure.querySelector('output')?.textContent || '']))"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class Navigated(RuntimeError):
    """The page was left while it was asked."""


class Browser:
    """As much of the DevTools protocol as is needed: commands, and the events that come
    meanwhile.
    """

    def __init__(self, connection):
        self.connection, self.number, self.events = connection, 0, []

    async def __call__(self, method: str, **parameters) -> dict:
        self.number += 1
        await self.connection.write_message(
            json.dumps(dict(id=self.number, method=method, params=parameters))
        )
        while True:
            message = json.loads(await self.connection.read_message())
            if message.get("id") == self.number:
                if "error" in message:
                    said = f"{method}: {message['error']}"
                    raise Navigated(said) if "navigated" in said else RuntimeError(said)
                return message["result"]
            self.events.append(message)

    async def evaluate(self, expression: str):
        answer = await self(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(
                answer["exceptionDetails"]["exception"].get("description")
            )
        return answer["result"].get("value")

    async def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            await self(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
            )

    async def open(self, address: str) -> None:
        self.events = []
        await self("Page.navigate", url=address)
        for _ in range(600):
            if any(event["method"] == "Page.loadEventFired" for event in self.events):
                return
            await asyncio.sleep(0.05)
            await self("Target.getTargets")  # any command: its answer brings the events
        raise TimeoutError(address)


def complaints(state: dict, events: list, origin: str) -> list[str]:
    wrong = [f"not typeset: {text}" for text in state["raw"]] + [
        f"MathJax error: {text}" for text in state["errors"]
    ]
    wrong += [f"picture missing: {source}" for source in state["pictures"]]
    if state["width"] > WIDTH:
        wrong.append(f"{state['width']} px wide on a phone of {WIDTH}: {state['wide']}")
    for event in events:
        parameters = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            address = parameters["request"]["url"]
            wrong += (
                []
                if address.startswith((origin, "data:", "blob:"))
                else [f"asked for {address}"]
            )
        elif event["method"] == "Runtime.exceptionThrown":
            wrong.append(
                "exception: "
                + parameters["exceptionDetails"]
                .get("exception", {})
                .get("description", "?")
            )
        elif event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in (
            "error",
            "assert",
        ):
            wrong.append(
                "console: "
                + " ".join(str(part.get("value")) for part in parameters["args"])
            )
        elif (
            event["method"] == "Log.entryAdded"
            and parameters["entry"]["level"] == "error"
        ):
            entry = parameters["entry"]
            if (
                entry.get("url") != origin + "favicon.ico"
            ):  # asked for by the browser, not by a page
                wrong.append(f"log: {entry['text']} {entry.get('url', '')}")
    return wrong


async def sliders(browser: Browser) -> list[str]:
    """Move each slider by one step, from the keyboard: picture, text and spoken value
    must change.
    """
    wrong = []
    for i, (inputs, _, _) in enumerate(json.loads(await browser.evaluate(SLIDERS))):
        wrong += [] if inputs else ["a figure without its sliders"]
        for k, (name, _, label) in enumerate(inputs):
            wrong += [] if label else [f"{name}: no label"]
            before = json.loads(await browser.evaluate(SLIDERS))[i]
            last = await browser.evaluate(
                f"(s => (s.focus(), s.value === s.max))(document.getElementById('{name}'))"
            )
            await (
                browser.press("ArrowLeft", 37)
                if last
                else browser.press("ArrowRight", 39)
            )
            after = json.loads(await browser.evaluate(SLIDERS))[i]
            same = [
                what
                for what, x, y in (
                    ("picture", before[1], after[1]),
                    ("text", before[2], after[2]),
                    ("spoken value", before[0][k][1], after[0][k][1]),
                )
                if x == y
            ]
            wrong += [
                f"{name}: the arrow key does not change the {what}" for what in same
            ]
    return wrong


async def used(browser: Browser) -> list[str]:
    """What readers do with a page that is open, in the light, in the dark, and on
    paper.
    """
    wrong = [
        *await sliders(browser),
        *await browser.evaluate(LINKS),
        *await browser.evaluate(SOLUTIONS),
    ]
    for theme in ("light", "dark"):
        await browser.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        await asyncio.sleep(0.3)  # colours change in a transition
        wrong += [f"{theme}, {text}" for text in await browser.evaluate(CONTRAST)]
    await browser("Emulation.setEmulatedMedia", media="print")
    wrong += await browser.evaluate(PRINTED)
    wrong += [f"dark on paper, {text}" for text in await browser.evaluate(CONTRAST)]
    await browser("Emulation.setEmulatedMedia", media="")
    return wrong


async def found(browser: Browser, origin: str, label: str) -> list[str]:
    """The search finds an equation by the words of its label."""
    return await searched(
        browser,
        origin,
        label.removeprefix("eq-").replace("-", "+"),
        f"#equation-{label}",
    )


# What physicists and statisticians look for, and where that is said first.
SUBJECTS = {
    "DMFT": "#equation-eq-whole-theory",
    "BBP": "#equation-eq-escape",
    "Onsager": "#equation-eq-answers",
    "citation": "about.html",
}


async def searched(browser: Browser, origin: str, words: str, end: str) -> list[str]:
    """A search has a result whose address ends like this."""
    await browser.open(f"{origin}search.html?q={words}")
    for _ in range(40):
        if await browser.evaluate(
            f"[...document.querySelectorAll('#search-results a')].some(a => a.href.endsWith('{end}'))"
        ):
            return []
        await asyncio.sleep(0.1)
    return [f"search.html: {words} does not find {end}"]


async def turned(browser: Browser, origin: str) -> list[str]:
    """The link at the foot of the first page leads to the next one."""
    await browser.open(f"{origin}book/index.html")
    await browser.evaluate("document.querySelector('a.right-next')?.click()")
    for _ in range(40):
        with contextlib.suppress(Navigated):
            if await browser.evaluate(
                "!location.pathname.endsWith('/index.html') && !!document.querySelector('main h1')"
            ):
                return []
        await asyncio.sleep(0.1)
    return ["book/index.html: no link to the next page"]


async def read(site: Path, port: int, browser: Browser) -> list[str]:
    origin, wrong, typeset = f"http://localhost:{port}/", [], 0
    listed = check_equations.known()
    for path in pages(site):
        page = path.relative_to(site)
        await browser(
            "Emulation.setDeviceMetricsOverride",
            width=WIDTH,
            height=800,
            deviceScaleFactor=1,
            mobile=True,
        )
        await browser.open(origin + page.as_posix())
        state = json.loads(await browser.evaluate(STATE))
        typeset += state["typeset"]
        wrong += [
            f"{page}: {text}" for text in complaints(state, browser.events, origin)
        ]
        wrong += [f"{page}: {text}" for text in await used(browser)]
        on_screens = await check_screens.complaints(browser, page.as_posix(), listed)
        on_screens += await check_axe.complaints(browser)
        wrong += [f"{page}: {text}" for text in on_screens]
        print(f"  {page}: {state['typeset']} formulas, {state['width']} px")
    wrong += await turned(browser, origin)
    texts = "".join(page.read_text() for page in pages(site))
    for label in re.findall(r'id="equation-(eq-[\w-]+)"', texts)[:1]:
        wrong += await found(browser, origin, label)
    for words, end in SUBJECTS.items():
        wrong += await searched(browser, origin, words, end)
    for page in [
        page for page in pages(site) if 'class="slider-figure"' in page.read_text()
    ][:1]:
        await browser.open(page.as_uri())
        wrong += [
            f"{page.name} from the file system: {text}"
            for text in await sliders(browser)
        ]
    return wrong + ([] if typeset else [f"{site}: not one formula is typeset"])


def pages(site: Path) -> list[Path]:
    """All but those that only lead elsewhere."""
    return [
        path
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
        and 'http-equiv="refresh"' not in path.read_text().lower()
    ]


def browse(site: Path, visit):
    """The result of the coroutine `visit(site, port, browser)`; None, and a word, where
    no chromium is installed.
    """
    chromium = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if chromium is None:
        print(
            "SKIPPED: the site was NOT read in a browser: no chromium is installed (Debian: apt install chromium)."
        )
        return None
    server = http.server.ThreadingHTTPServer(
        ("localhost", 0), functools.partial(Quiet, directory=str(site))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                chromium,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                f"--user-data-dir={profile}",
                "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost",
                "--remote-debugging-port=0",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port_file, end = Path(profile) / "DevToolsActivePort", time.monotonic() + 60
            while not port_file.exists() or not port_file.read_text().strip():
                if time.monotonic() > end or process.poll() is not None:
                    sys.exit(f"{chromium} did not start")
                time.sleep(0.1)
            debugger = f"http://localhost:{port_file.read_text().split()[0]}/json"
            target = next(
                page for page in json.load(urlopen(debugger)) if page["type"] == "page"
            )

            async def session():
                browser = Browser(
                    await websocket_connect(
                        target["webSocketDebuggerUrl"], max_message_size=2**28
                    )
                )
                for domain in ("Page", "Runtime", "Network", "Log"):
                    await browser(f"{domain}.enable")
                return await visit(site, server.server_address[1], browser)

            return IOLoop.current().run_sync(session)
        finally:
            process.terminate()
            process.wait(20)


def main(site: Path) -> None:
    wrong = browse(site, read)
    if wrong:
        sys.exit("\n".join([*wrong, f"{len(wrong)} problems in {site}"]))
    if wrong is not None:
        print(
            f"{site}: read and used with the network cut off; all formulas typeset, no errors, no page wider than "
            f"{WIDTH} px."
        )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "_build/html").resolve())
