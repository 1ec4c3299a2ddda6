"""Walk the built site: every internal link leads somewhere, and no page fetches
anything from elsewhere.

    python -m tools.check_site _build/html

The last step of `make book`. Links that a reader clicks may go out; scripts, styles,
fonts and pictures may not, and MathJax must be a file of the site. What the pages do in
a browser is checked by `tools/check_browser.py`.
"""

import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "link": "href",
    "object": "data",
    "form": "action",
    "use": "href",
    "image": "href",
}
OUTSIDE = re.compile(r"(?:https?:)?//", re.I)
# rel=... of <link> that the browser does not fetch
POINTERS = {
    "canonical",
    "next",
    "prev",
    "index",
    "search",
    "author",
    "help",
    "license",
    "alternate",
}


# What a newcomer looks for: the page, one click from the first, and its heading.
WANTED = {
    "how to cite": ("book/about.html", "how-to-cite"),
    "the licence": ("book/about.html", "licence"),
    "what to install": ("book/about.html", "what-to-install"),
    "where an outlier comes from": (
        "book/start_here.html",
        "where-does-an-outlier-come-from",
    ),
}
FIRST = "book/index.html"


def unfound(site: Path, pages: dict, known: dict) -> list[str]:
    """What a newcomer does not find one click from the first page."""
    first = (site / FIRST).resolve()
    links = pages[first].find_all("a", href=True) if first in pages else []
    near = {
        (first.parent / unquote(urlsplit(link["href"]).path)).resolve()
        for link in links
    }
    wrong = []
    for what, (page, anchor) in WANTED.items():
        target = (site / page).resolve()
        if target not in near or anchor not in known.get(target, ()):
            wrong.append(f"{FIRST}: a newcomer does not find {what}")
    return wrong


def anchors(soup) -> set[str]:
    return {
        tag[key]
        for tag in soup.find_all(True)
        for key in ("id", "name")
        if tag.has_attr(key)
    }


def problems(site: Path) -> list[str]:
    pages = {
        path.resolve(): BeautifulSoup(path.read_text(), "html.parser")
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.relative_to(site).parts
    }
    known = {path: anchors(soup) for path, soup in pages.items()}
    wrong, mathjax, equations = [], 0, 0
    for path, soup in pages.items():
        page = path.relative_to(site.resolve())
        for tag in soup.find_all(True):
            link = (
                tag.get("href")
                if tag.name in ("a", "area")
                else tag.get(FETCHED.get(tag.name, ""))
            )
            if tag.name == "meta" and tag.get("http-equiv", "").lower() == "refresh":
                link = re.split("url=", tag["content"], flags=re.I)[-1].strip("'\" ")
            followed = tag.name in ("a", "area") or (
                tag.name == "link" and set(tag.get("rel", [])) <= POINTERS
            )
            if link and not link.startswith(("data:", "mailto:", "javascript:")):
                if OUTSIDE.match(link):
                    wrong += (
                        [] if followed else [f"{page}: <{tag.name}> fetches {link}"]
                    )
                else:
                    wrong += [
                        f"{page}: {link} {why}"
                        for why in [_broken(link, path, site, known)]
                        if why
                    ]
            fetched = [tag.get("style", ""), tag.get("srcset", "")]
            if tag.name == "style" or (tag.name == "script" and not tag.get("src")):
                fetched.append(tag.get_text())
            wrong += [
                f"{page}: <{tag.name}> names {found}"
                for text in fetched
                for found in re.findall(r"(?:https?:)?//[\w-]+\.[\w./@-]+", text)
            ]
        scripts = [tag.get("src", "") for tag in soup.find_all("script")]
        math = soup.select(".math")
        equations += len(math)
        mathjax += any("mathjax/" in source for source in scripts)
        if math and not any("_static/mathjax/" in source for source in scripts):
            wrong.append(f"{page}: equations, but no MathJax from the site")
    for path in site.rglob("*.css"):
        wrong += [
            f"{path.relative_to(site)}: fetches {url}"
            for url in re.findall(
                r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')]+)",
                path.read_text(errors="replace"),
            )
        ]
    wrong += unfound(site, pages, known)
    if not (pages and equations and mathjax):
        wrong.append(
            f"no book in {site}: {len(pages)} pages, {equations} equations, {mathjax} pages with MathJax"
        )
    return wrong


def _broken(link: str, path: Path, site: Path, known: dict) -> str:
    """Why an internal link leads nowhere; empty if it leads somewhere."""
    parts = urlsplit(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    if not target.exists():
        return "does not exist"
    if not target.is_relative_to(site.resolve()):
        return "leads out of the site"
    if (
        parts.fragment
        and target in known
        and unquote(parts.fragment) not in known[target]
    ):
        return "has no such anchor"
    return ""


if __name__ == "__main__":
    site = Path(sys.argv[1] if len(sys.argv) > 1 else "_build/html")
    found = problems(site)
    print(*found, sep="\n", end="\n" if found else "")
    if found:
        sys.exit(f"{len(found)} problems in {site}")
    print(f"{site}: no broken link, nothing fetched from elsewhere.")
