"""Read every page of the built site in headless Chromium with the network cut off.

    python scripts/check_browser.py _build/html

Fails if a page asks for anything from elsewhere, an equation is not typeset or typeset as an error, a picture is
missing, the console shows an error, or a page is wider than a phone (360 px). Needs a chromium on the path; without one
it says so and checks nothing.
"""

import asyncio
import functools
import http.server
import json
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


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class Browser:
    """As much of the DevTools protocol as is needed: commands, and the events that come meanwhile."""

    def __init__(self, connection):
        self.connection, self.number, self.events = connection, 0, []

    async def __call__(self, method: str, **parameters) -> dict:
        self.number += 1
        await self.connection.write_message(json.dumps(dict(id=self.number, method=method, params=parameters)))
        while True:
            message = json.loads(await self.connection.read_message())
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

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
    wrong = [f"not typeset: {text}" for text in state["raw"]] + [f"MathJax error: {text}" for text in state["errors"]]
    wrong += [f"picture missing: {source}" for source in state["pictures"]]
    if state["width"] > WIDTH:
        wrong.append(f"{state['width']} px wide on a phone of {WIDTH}: {state['wide']}")
    for event in events:
        parameters = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            address = parameters["request"]["url"]
            wrong += [] if address.startswith((origin, "data:", "blob:")) else [f"asked for {address}"]
        elif event["method"] == "Runtime.exceptionThrown":
            wrong.append("exception: " + parameters["exceptionDetails"].get("exception", {}).get("description", "?"))
        elif event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "assert"):
            wrong.append("console: " + " ".join(str(part.get("value")) for part in parameters["args"]))
        elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            entry = parameters["entry"]
            if entry.get("url") != origin + "favicon.ico":  # asked for by the browser, not by a page
                wrong.append(f"log: {entry['text']} {entry.get('url', '')}")
    return wrong


async def read(site: Path, port: int, address: str) -> list[str]:
    browser = Browser(await websocket_connect(address, max_message_size=2**28))
    for domain in ("Page", "Runtime", "Network", "Log"):
        await browser(f"{domain}.enable")
    await browser("Emulation.setDeviceMetricsOverride", width=WIDTH, height=800, deviceScaleFactor=1, mobile=True)
    origin, wrong, typeset = f"http://localhost:{port}/", [], 0
    for path in sorted(site.rglob("*.html")):
        page = path.relative_to(site)
        if "_static" in page.parts or 'http-equiv="refresh"' in path.read_text().lower():  # a page that leads elsewhere
            continue
        await browser.open(origin + page.as_posix())
        result = await browser("Runtime.evaluate", expression=STATE, awaitPromise=True)
        state = json.loads(result["result"]["value"])
        typeset += state["typeset"]
        wrong += [f"{page}: {text}" for text in complaints(state, browser.events, origin)]
        print(f"  {page}: {state['typeset']} formulas, {state['width']} px")
    return wrong + ([] if typeset else [f"{site}: not one formula is typeset"])


def main(site: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("SKIPPED: the site was NOT read in a browser: no chromium is installed (Debian: apt install chromium).")
        return
    server = http.server.ThreadingHTTPServer(("localhost", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}",
             "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost", "--remote-debugging-port=0", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port_file, end = Path(profile) / "DevToolsActivePort", time.monotonic() + 60
            while not port_file.exists() or not port_file.read_text().strip():
                if time.monotonic() > end or process.poll() is not None:
                    sys.exit(f"{chromium} did not start")
                time.sleep(0.1)
            debugger = f"http://localhost:{port_file.read_text().split()[0]}/json"
            target = next(page for page in json.load(urlopen(debugger)) if page["type"] == "page")
            wrong = IOLoop.current().run_sync(
                lambda: read(site, server.server_address[1], target["webSocketDebuggerUrl"]))
        finally:
            process.terminate()
            process.wait(20)
    if wrong:
        sys.exit("\n".join([*wrong, f"{len(wrong)} problems in {site}"]))
    print(f"{site}: read with the network cut off; all formulas typeset, no errors, no page wider than {WIDTH} px.")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "_build/html").resolve())
