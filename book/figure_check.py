"""Figures cannot drift: a matplotlib backend that shows figures in a notebook as usual
and holds each to its record.

    MPLBACKEND=module://figure_check                 plt.show() raises if the figure
                                                     differs from its record
    MPLBACKEND=module://figure_check FIGURES=store   plt.show() writes the record (`make
                                                     figures`)

nbval compares text and ignores pictures. With this backend in the kernel
(`book/conftest.py` sees to it) the same run compares the figures too: a cell that draws
something else fails, and says which curve moved. The notebooks know nothing of it. A
figure is known by its name in the metadata of its cell; its record in `_data/figures`
has two parts.

* `<name>.json`: what is plotted, by artist. Lines, error bars, markers, bars, filled
areas, images, texts, labels,
  limits, scales. Numbers agree to one part in a thousand, texts exactly. Catches a moved curve, however small.
* `<name>.png`: a small grey picture. Catches what numbers do not say: a covered label,
a lost marker, a changed layout.
"""

import io
import json
import os
from pathlib import Path

import matplotlib
import numpy as np
from IPython.core.getipython import get_ipython
from matplotlib._pylab_helpers import Gcf
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib_inline import backend_inline
from PIL import Image

# What matplotlib looks for in a backend, by these names.
FigureCanvas = backend_inline.FigureCanvas
new_figure_manager = backend_inline.new_figure_manager
configure_inline_support = backend_inline.configure_inline_support

RECORDS = Path(__file__).parent / "_data" / "figures"
KEPT = 24  # numbers kept of a longer sequence; its mean and spread are kept too
# Tolerances; the second in units of the largest number of the sequence: at the edge of a
# bulk the square root of a rounding is drawn, 1e-8, and other processors round otherwise
RELATIVE, ABSOLUTE = 1e-3, 1e-7
DPI, GREYS = 50, 16
LEVEL, SHARE = (
    40,
    0.004,
)  # at most this share of the pixels may differ by more than this many of 255 grey levels


def numbers(values) -> dict:
    """A sequence in short: how many, mean, spread, and KEPT of them spread evenly, to
    five digits.
    """
    values = np.ma.filled(np.ma.asarray(values, float), np.nan).ravel()
    finite = values[np.isfinite(values)]
    kept = values[
        np.unique(
            np.linspace(0, len(values) - 1, min(KEPT, len(values))).round().astype(int)
        )
    ]
    short = dict(count=len(values), values=[float(f"{v:.5g}") for v in kept])
    if len(values) > KEPT and len(finite):
        short |= dict(
            mean=float(f"{finite.mean():.5g}"), spread=float(f"{finite.std():.5g}")
        )
    return short


def _points(points) -> dict:
    points = (
        np.ma.reshape(np.ma.asarray(points, float), (-1, 2))
        if np.size(points)
        else np.empty((0, 2))
    )
    return dict(x=numbers(points[:, 0]), y=numbers(points[:, 1]))


def _colour(colours) -> list:
    return sorted(
        {to_hex(colour, keep_alpha=True) for colour in np.reshape(colours, (-1, 4))}
    )


def _label(artist) -> str:
    return "" if artist.get_label().startswith("_") else artist.get_label()


def _text(text) -> list:
    return [text.get_text(), *(float(f"{v:.4g}") for v in text.get_position())]


def _line(line) -> dict:
    style = f"{to_hex(line.get_color())} {line.get_linestyle()} {line.get_marker()}"
    return dict(label=_label(line), style=style) | _points(line.get_xydata())


def _collection(collection) -> dict:
    kind = type(collection).__name__
    if isinstance(collection, PathCollection):
        points = collection.get_offsets()
    elif isinstance(collection, QuadMesh):
        points = collection.get_coordinates()
    else:
        points = np.concatenate(
            [path.vertices for path in collection.get_paths()] or [np.empty((0, 2))]
        )
    style = dict(
        kind=kind, label=_label(collection), colour=_colour(collection.get_facecolor())
    )
    values = (
        {}
        if collection.get_array() is None
        else dict(values=numbers(collection.get_array()))
    )
    return style | _points(points) | values


def _patches(patches) -> list:
    """Patches of one kind and colour (the bars of a histogram) as one record."""
    groups: dict = {}
    for patch in patches:
        vertices = patch.get_patch_transform().transform_path(patch.get_path()).vertices
        groups.setdefault(
            (type(patch).__name__, to_hex(patch.get_facecolor(), keep_alpha=True)), []
        ).append(vertices)
    return [
        dict(kind=kind, colour=colour) | _points(np.concatenate(v))
        for (kind, colour), v in groups.items()
    ]


def _axes(ax) -> dict:
    legend = ax.get_legend()
    return dict(
        title=ax.get_title(),
        xlabel=ax.get_xlabel(),
        ylabel=ax.get_ylabel(),
        xscale=ax.get_xscale(),
        yscale=ax.get_yscale(),
        xlim=numbers(ax.get_xlim()),
        ylim=numbers(ax.get_ylim()),
        ticks=[
            label.get_text() for label in (*ax.get_xticklabels(), *ax.get_yticklabels())
        ],
        legend=[]
        if legend is None
        else [text.get_text() for text in legend.get_texts()],
        texts=[_text(text) for text in ax.texts],
        lines=[_line(line) for line in ax.lines],
        collections=[_collection(collection) for collection in ax.collections],
        patches=_patches(ax.patches),
        images=[
            dict(extent=numbers(i.get_extent()), values=numbers(i.get_array()))
            for i in ax.images
        ],
    )


def record(figure) -> dict:
    """What a (drawn) figure shows, artist by artist; empty entries are left out."""
    whole = dict(
        size=[float(f"{v:.4g}") for v in figure.get_size_inches()],
        texts=[_text(text) for text in figure.texts],
        legend=[
            text.get_text() for legend in figure.legends for text in legend.get_texts()
        ],
        axes=[
            {k: v for k, v in _axes(ax).items() if v not in ("", [])}
            for ax in dict.fromkeys(figure.findobj(Axes))
        ],
    )
    return {k: v for k, v in whole.items() if v not in ("", [])}


def picture(figure) -> Image.Image:
    """The figure small and grey, at its own size in inches."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png", facecolor="white", bbox_inches=None)
    return Image.open(buffer).convert("L").quantize(GREYS).convert("L")


def differences(stored, drawn, where="figure") -> list[str]:
    """Where two records disagree, in words; empty if they agree within the tolerances."""
    if isinstance(stored, dict) and isinstance(drawn, dict):
        return [
            line
            for key in sorted(stored.keys() | drawn.keys())
            for line in differences(
                stored.get(key, "nothing"), drawn.get(key, "nothing"), f"{where}.{key}"
            )
        ]
    if (
        isinstance(stored, list)
        and isinstance(drawn, list)
        and len(stored) == len(drawn)
    ):
        if not all(isinstance(v, float) for v in stored + drawn):
            return [
                line
                for i, pair in enumerate(zip(stored, drawn, strict=True))
                for line in differences(*pair, f"{where}[{i}]")
            ]
        scale = max((abs(v) for v in stored if np.isfinite(v)), default=0.0)
        wrong = np.flatnonzero(
            ~np.isclose(
                drawn, stored, rtol=RELATIVE, atol=ABSOLUTE * scale, equal_nan=True
            )
        )
        return [
            f"{where}[{i}]: stored {stored[i]}, drawn {drawn[i]} ({len(wrong)} of {len(stored)} differ)"
            for i in wrong[:1]
        ]
    if isinstance(stored, float) and isinstance(drawn, float):
        return differences([stored], [drawn], where)
    return [] if stored == drawn else [f"{where}: stored {stored!r}, drawn {drawn!r}"]


def picture_differences(stored: Image.Image, drawn: Image.Image) -> list[str]:
    """The same for two pictures, averaged over two by two pixels so that a shift of one
    counts for little.
    """
    if stored.size != drawn.size:
        return [f"picture: stored {stored.size} pixels, drawn {drawn.size}"]
    old, new = (
        np.asarray(image.convert("L").reduce(2), float) for image in (stored, drawn)
    )
    share = float(np.mean(np.abs(old - new) > LEVEL))
    return (
        []
        if share <= SHARE
        else [f"picture: {share:.2%} of the pixels differ, {SHARE:.2%} allowed"]
    )


def check(name: str, figure, drawn_picture: Image.Image | None = None) -> list[str]:
    """Differences between a figure and its record; a record that is missing is one."""
    drawn_picture = drawn_picture or picture(
        figure
    )  # first: ticks have their labels once drawn
    data, image = RECORDS / f"{name}.json", RECORDS / f"{name}.png"
    if not (data.exists() and image.exists()):
        return [f"no record in {RECORDS}: run `make figures`"]
    with Image.open(image) as stored_picture:
        return differences(
            json.loads(data.read_text()), record(figure)
        ) + picture_differences(stored_picture, drawn_picture)


def store(name: str, figure) -> None:
    """Write the record of a figure, unless the one there agrees with it."""
    drawn_picture = picture(
        figure
    )  # once: a layout may move a little with every drawing
    if check(name, figure, drawn_picture):
        RECORDS.mkdir(exist_ok=True)
        drawn_picture.save(RECORDS / f"{name}.png", optimize=True)
        text = json.dumps(record(figure), separators=(",", ":")).replace(
            '{"', '\n{"'
        )  # one sequence a line
        (RECORDS / f"{name}.json").write_text(text.lstrip() + "\n")


def figure_name(source: str) -> str:
    """The name given to a figure in the metadata of the cell with this source, in a
    notebook of this folder.
    """
    for path in sorted(Path(__file__).parent.glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            if (
                cell["cell_type"] == "code"
                and "".join(cell["source"]).rstrip() == source.rstrip()
            ):
                return cell["metadata"].get("mystnb", {}).get("figure", {}).get(
                    "name"
                ) or _nameless(source)
    return _nameless(source)


def _nameless(source: str) -> str:
    raise AssertionError(
        f"a figure without a name in its cell's metadata (mystnb: figure: name):\n{source}"
    )


def show(*args, **kwargs):
    """plt.show(): show inline, then check (or store) the one figure of this cell."""
    figures = [manager.canvas.figure for manager in Gcf.get_all_fig_managers()]
    backend_inline.show(*args, **kwargs)
    if len(figures) != 1:
        raise AssertionError(
            f"plt.show() with {len(figures)} figures: one cell, one figure"
        )
    name = figure_name(get_ipython().get_parent()["content"]["code"])
    if os.environ.get("FIGURES") == "store":
        store(name, figures[0])
    elif wrong := check(name, figures[0]):
        raise AssertionError(
            f"{name} is not the figure on record. If it is meant, run `make figures`.\n"
            + "\n".join(wrong)
        )


if get_ipython() is not None:
    matplotlib.interactive(False)
    configure_inline_support(get_ipython(), "inline")
