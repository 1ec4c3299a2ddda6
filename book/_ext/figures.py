"""Figures for two themes and for narrow screens, made from the stored pictures when the
site is built.

The dark twin of a picture has each lightness turned into its opposite and every hue
kept: a colour (r, g, b) becomes (r, g, b) + 1 - max - min, and white becomes the ground
of the dark pages. A picture of several panels side by side is cut between them, where
a column is white from top to bottom, and a legend above them between its entries. On a
wide page the pieces stand together as before; on a phone they stand below each other.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

GROUND = 18 / 255  # the dark pages are #121212
WHITE = 250  # and lighter counts as empty
NARROWEST = 0.22  # of the width: what is less is a label and belongs to its neighbour
GAP = 5  # pixels
ENTRIES = 18  # pixels between two entries of a legend
MARKER = 30  # pixels, the widest sample of a legend without its text
LEGEND = 0.15  # of the height: no legend above the panels is higher
COLOURED = 40  # difference of channels that text does not have
PICTURE = re.compile(
    r'<img(?P<rest>[^>]*?) src="(?P<source>[^"]*_images/[^"]+\.png)"(?P<after>[^>]*?)/?>'
)


class Piece(NamedTuple):
    pixels: np.ndarray
    start: int  # its first column in the whole picture
    kind: str  # "panel" or "entry" of a legend


def dark(pixels: np.ndarray) -> np.ndarray:
    """The dark twin of an RGB picture with entries 0 to 255."""
    colours = pixels.astype(float) / 255
    lightness = colours.max(-1, keepdims=True) + colours.min(-1, keepdims=True)
    turned = np.clip(colours + 1 - lightness, 0, 1)
    return np.round(255 * (GROUND + (1 - GROUND) * turned)).astype(np.uint8)


def gaps(pixels: np.ndarray, axis: int, least: int = GAP) -> list[tuple[int, int]]:
    """Empty bands of rows (axis 0) or columns (axis 1) between what is drawn, as
    (first, one past the last).
    """
    empty = (pixels >= WHITE).all(axis=(1 - axis, 2)).astype(int)
    steps = np.flatnonzero(np.diff(np.r_[0, empty, 0]))
    return [
        (start, stop)
        for start, stop in zip(steps[::2].tolist(), steps[1::2].tolist(), strict=True)
        if start > 0 and stop < len(empty) and stop - start >= least
    ]


def cuts(pixels: np.ndarray) -> list[int]:
    """Columns at which a picture falls into panels. A piece that is narrow is a label;
    it stays with what is on its right, or at the end with what is on its left.
    """
    width, last, found = pixels.shape[1], 0, []
    for start, stop in gaps(pixels, axis=1):
        if start - last >= NARROWEST * width:
            found.append((start + stop) // 2)
            last = stop
    while found and width - found[-1] < NARROWEST * width:
        found.pop()
    return found


def end_of_legend(pixels: np.ndarray) -> int:
    """The row below a legend that stands above all panels; zero where there is none.
    A legend shows colours, a title does not.
    """
    ends = [(start + stop) // 2 for start, stop in gaps(pixels, axis=0, least=3)]
    if not ends or ends[0] > LEGEND * len(pixels):
        return 0
    strip = pixels[: ends[0]].astype(int)
    return ends[0] if np.ptp(strip, axis=-1).max() > COLOURED else 0


def entries(strip: np.ndarray) -> list[Piece]:
    """A legend, entry by entry, without the empty columns between them."""
    drawn = np.flatnonzero((strip < WHITE).any(axis=(0, 2)))
    bands, last = [], drawn[0]
    for start, stop in gaps(strip, axis=1, least=ENTRIES):
        if start - last > MARKER:  # else what it stands for is still to come
            bands.append((start, stop))
        last = stop
    starts = [drawn[0], *(stop for _, stop in bands)]
    stops = [*(start for start, _ in bands), drawn[-1] + 1]
    return [
        Piece(strip[:, start:stop], int(start), "entry")
        for start, stop in zip(starts, stops, strict=True)
    ]


def one_for_each(legend: list[Piece], edges: list[int]) -> bool:
    """Each panel has a legend of its own above it."""
    return len(legend) == len(edges) - 1 and all(
        start <= piece.start and piece.start + piece.pixels.shape[1] <= stop
        for piece, start, stop in zip(legend, edges, edges[1:], strict=False)
    )


def pieces(pixels: np.ndarray) -> list[Piece]:
    """A picture of one panel is left whole."""
    row = end_of_legend(pixels)
    edges = [0, *cuts(pixels[row:]), pixels.shape[1]]
    if len(edges) == 2:
        return [Piece(pixels, 0, "panel")]
    legend = entries(pixels[:row]) if row else []
    if one_for_each(legend, edges):
        legend, row = [], 0
    return legend + [
        Piece(pixels[row:, start:stop], start, "panel")
        for start, stop in zip(edges, edges[1:], strict=False)
    ]


def save(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).save(path, optimize=True)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        return np.asarray(Image.alpha_composite(ground, image).convert("RGB"))


def images(piece: Piece, name: str, folder: Path, where: str, alt: str) -> str:
    """The tags of one piece, in the light and in the dark."""
    height, width = piece.pixels.shape[:2]
    tags = []
    for theme, drawn in (("light", piece.pixels), ("dark", dark(piece.pixels))):
        file = f"{name}-{theme}.png"
        save(drawn, folder / file)
        lazy = ' loading="lazy"' if theme == "dark" else ""
        tags.append(
            f'<img class="dark-light in-the-{theme}" {alt} width="{width}" height="{height}"'
            f' src="{where}/{file}"{lazy}/>'
        )
    return "".join(tags)


def markup(match: re.Match, folder: Path, source: Path) -> str:
    """The tags that stand for one picture; only the first panel has its text."""
    alt = re.search(r'alt="[^"]*"', match["rest"] + match["after"])
    where, _, name = match["source"].removesuffix(".png").rpartition("/")
    pixels = read(source)
    total, tags, at, spoken = pixels.shape[1], [], 0, False
    for number, piece in enumerate(pieces(pixels)):
        says = alt[0] if alt and piece.kind == "panel" and not spoken else 'alt=""'
        spoken = spoken or piece.kind == "panel"
        at = 0 if piece.start < at else at  # a new row begins
        width = piece.pixels.shape[1]
        shares = [100 * part / total for part in (piece.start - at, width)]
        tags.append(
            f'<span class="{piece.kind}" style="margin-left:{shares[0]:.3f}%;'
            f'width:{shares[1]:.3f}%">'
            + images(piece, f"{name}-{number}", folder, where, says)
            + "</span>"
            + ('<span class="row-end"></span>' if piece.kind == "entry" else "")
        )
        at = piece.start + width
    inner = "".join(tags)
    # one break, after the last entry
    head, mark, tail = inner.rpartition('<span class="row-end"></span>')
    inner = head.replace(mark, "") + mark + tail if mark else inner
    return f'<span class="panels" style="max-width:{total}px">{inner}</span>'


def rewrite(app, page, template, context, doctree):
    """Each stored picture of a page that is about to be written becomes its panels, in
    both themes.
    """
    if app.builder.format != "html" or "body" not in context:
        return
    folder = Path(app.outdir) / "_images"
    folder.mkdir(parents=True, exist_ok=True)
    sources = {
        name: Path(app.srcdir) / path for path, name in app.builder.images.items()
    }

    def replaced(match):
        source = sources.get(Path(match["source"]).name)
        return markup(match, folder, source) if source else match[0]

    context["body"] = PICTURE.sub(replaced, context["body"])


def setup(app):
    app.connect("html-page-context", rewrite)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
