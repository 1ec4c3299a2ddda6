"""The picture of the first page: two levels, drawn around the spectra of one deep
linear network.

    python -m tools.two_levels

Writes `book/_static/two_levels.svg`. Bulk, outliers, and where outliers would be if the
spikes were independent are computed; the signals above them are a sketch.
`tests/book/test_pages.py` draws it again.
"""

import sys
from pathlib import Path

import numpy as np

import dmftlib as dm
from dmftlib.plotting import BASELINE, EDGE, THEORY

PATH = Path(__file__).parents[1] / "book/_static/two_levels.svg"
NET = dm.DeepLinear(
    hidden_layers=2,
    width_ratio=0.8,
    sample_ratio=1.5,
    gamma0=4.0,
    init_variance=0.5,
    label_noise=0.2,
    learning_rate=0.04,
    steps=40,
)
LAYER, STEPS, SHADE, INK = 1, (0, 6, 12, 40), "#cfe3f0", "#1A1A1A"
WIDTH, HEIGHT, COLUMNS, LARGEST = 400, 520, (56, 150, 244, 338), 2.2
LEVEL, ITALIC, HEAD = (
    "<tspan font-weight='bold'>Level ",
    "<tspan font-style='italic'>",
    'marker-end="url(#head)"',
)


def text(x, y, words, size=13, anchor="middle", colour=INK, more="") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" {more}>{words}</text>'


def path(d, colour=INK, fill="none", width=1.4, more="") -> str:
    return (
        f'<path d="{d}" stroke="{colour}" fill="{fill}" stroke-width="{width}" {more}/>'
    )


def matrix(x, y, step) -> str:
    return (
        f'<rect x="{x - 24}" y="{y}" width="48" height="26" fill="#eee" stroke="{INK}"/>'
        + text(x, y + 18, f"M({step})")
    )


def training() -> list[str]:
    """Level 1: at each step a signal passes up through the matrix and an error down;
    later ones remember earlier.
    """
    drawn = [
        text(
            8,
            20,
            f"{LEVEL}1</tspan>: training time {ITALIC}t</tspan>, from step to step",
            anchor="start",
        ),
        path("M8,190H388", more=HEAD),
    ]
    for i, (x, step) in enumerate(zip(COLUMNS, STEPS, strict=True)):
        for later in COLUMNS[i + 1 :]:
            drawn.append(
                path(
                    f"M{x},80Q{(x + later) / 2},{80 - 0.28 * (later - x):.0f} {later},80",
                    THEORY,
                )
            )
        drawn += [
            matrix(x, 108, step),
            path(f"M{x - 31},158V88", more=HEAD),
            path(f"M{x + 31},86V156", more=HEAD),
            f'<circle cx="{x}" cy="84" r="6" fill="{THEORY}"/>',
            f'<circle cx="{x}" cy="158" r="6" fill="{INK}"/>',
            path(f"M{x},186v8"),
            text(x, 208, f"{ITALIC}t</tspan> = {step}"),
        ]
    return [
        *drawn,
        text(COLUMNS[0] + 10, 98, f"{ITALIC}g</tspan>", 12, "start"),
        text(COLUMNS[0] + 10, 172, f"{ITALIC}h</tspan>", 12, "start"),
    ]


def handed_down() -> list[str]:
    return [
        f'<rect x="8" y="222" width="384" height="42" rx="6" fill="{SHADE}" stroke="{THEORY}"/>',
        text(
            200,
            239,
            "handed down, for each matrix: inner products of all g, of all h,",
            12,
        ),
        text(
            200,
            256,
            "their responses to each other, and the strengths of the spikes",
            12,
        ),
    ]


def spectra() -> list[str]:
    """Level 2: at each step the matrix is frozen, and a test field finds where it
    resonates.
    """
    drawn = [
        text(
            8,
            290,
            f"{LEVEL}2</tspan>: auxiliary time {ITALIC}τ</tspan>, each matrix held still",
            anchor="start",
        )
    ]
    solution = dm.solve(NET)
    law, low = solution.bulk(LAYER), 458
    start, end = (float(edge) for edge in law.edges[0])
    places = (start + end - (end - start) * np.cos(np.linspace(0, np.pi, 40))) / 2
    heights = np.asarray(law.density(places))
    for x, step in zip(COLUMNS, STEPS, strict=True):

        def across(s, left=x - 42):
            return left + 84 * s / LARGEST

        drawn.append(matrix(x, 302, step))
        for ring in (8, 16, 24):
            drawn.append(
                path(
                    f"M{x - ring},{330 + ring}Q{x},{336 + 1.3 * ring:.0f} {x + ring},{330 + ring}",
                    EDGE,
                )
            )
        outline = "L".join(
            f"{across(s):.1f},{low - 70 * h:.1f}"
            for s, h in zip(places, heights, strict=True)
        )
        drawn += [
            path(
                f"M{across(start):.1f},{low}L{outline}L{across(end):.1f},{low}Z",
                THEORY,
                SHADE,
            ),
            path(f"M{x - 42},{low}h88"),
        ]
        for independent, colour, fill in (
            (True, BASELINE, "#fff"),
            (False, THEORY, THEORY),
        ):
            for value in np.asarray(
                solution.outliers(LAYER, step, independent=independent).values
            ):
                drawn.append(
                    path(f"M{across(value) - 5:.1f},{low - 12}h10l-5,11z", colour, fill)
                )
    return [
        *drawn,
        text(200, 478, "singular values of the matrix, its bulk and its outlier", 12),
        path("M12,494h10l-5,11z", THEORY, THEORY),
        text(28, 505, "outlier", 12, "start"),
        path("M100,494h10l-5,11z", BASELINE, "#fff"),
        text(116, 505, "if the spikes were strangers to the matrix", 12, "start"),
    ]


def drawing() -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0,0L8,4L0,8z" fill="{INK}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        *training(),
        *handed_down(),
        *spectra(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PATH.write_text(drawing())
    sys.exit(print(PATH))
