"""Print every page of the built site to PDF, one file a chapter, in headless Chromium;
no TeX is needed (make pdf).

python -m tools.make_pdf _build/html _build/pdf
"""

import asyncio
import base64
import sys
from pathlib import Path

from tools.check_browser import STATE, browse, pages


async def printed(site: Path, port: int, browser) -> list[Path]:
    made = []
    for path in pages(site / "book"):
        await browser.open(f"http://localhost:{port}/book/{path.name}")
        await browser.evaluate(STATE)  # waits until the formulas are typeset
        await browser.evaluate(
            "document.querySelectorAll('.toggle-hidden .toggle-button').forEach(b => b.click())"
        )
        await asyncio.sleep(0.5)  # until the solutions have opened
        answer = await browser(
            "Page.printToPDF",
            paperWidth=8.27,
            paperHeight=11.69,
            marginTop=0.6,
            marginBottom=0.6,
            scale=0.85,
        )
        made.append(Path(sys.argv[2]) / f"{path.stem}.pdf")
        made[-1].write_bytes(base64.b64decode(answer["data"]))
    return made


if __name__ == "__main__":
    Path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
    print(*browse(Path(sys.argv[1]).resolve(), printed) or [], sep="\n")
