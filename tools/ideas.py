"""The pictures of five ideas: a node and its echo, a matrix in known and unknown
blocks (alone, and met by a new question), the conversation in time, the paths behind an
overlap, one layer of a network.

    python -m tools.ideas

Writes `node_and_echo.svg`, `known_blocks.svg`, `known_and_unknown.svg`,
`conversation.svg`, `paths.svg` and `one_layer.svg` in `book/_static`. They are sketches: nothing in them is computed.
`tests/book/test_pages.py` draws them again.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dmftlib.plotting import BASELINE, EDGE, THEORY
from tools.two_levels import INK, SHADE, path, text

STATIC = Path(__file__).parents[1] / "book/_static"
GREY = "#eeeeee"
HEADS = {"ink": INK, "echo": THEORY, "noise": BASELINE}


class Picture(NamedTuple):
    width: int
    height: int
    parts: list[str]

    def drawn(self) -> str:
        markers = [
            f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
            f'markerHeight="6" orient="auto"><path d="M0,0L8,4L0,8z" fill="{colour}"/></marker>'
            for name, colour in HEADS.items()
        ]
        lines = [
            '<svg xmlns="http://www.w3.org/2000/svg" '
            f'viewBox="0 0 {self.width} {self.height}" font-family="sans-serif">',
            f"<defs>{''.join(markers)}</defs>",
            f'<rect width="{self.width}" height="{self.height}" fill="#fff"/>',
            *self.parts,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"


def head(kind: str) -> str:
    return f'marker-end="url(#{kind})"'


def circle(x, y, radius, fill) -> str:
    return f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{fill}" stroke="{INK}"/>'


def box(x, y, width, height, fill, colour=INK) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}" '
        f'stroke="{colour}"/>'
    )


def letter(name: str, below: str = "") -> str:
    """An italic letter with a subscript."""
    index = (
        f'<tspan dy="4" font-size="10">{below}</tspan><tspan dy="-4">&#8203;</tspan>'
        if below
        else ""
    )
    return f"<tspan font-style='italic'>{name}</tspan>{index}"


# ---------------------------------------------------------------- a node and its echo


def node_and_echo() -> Picture:
    """One node of the left, all nodes of the right, and the lines between them."""
    heights = (40, 80, 120, 160, 200)
    parts = []
    for y in heights:
        parts.append(path(f"M92,112L306,{y - 3}", THEORY, width=1.2))
        parts.append(path(f"M300,{y + 4}L96,126", THEORY, more=head("echo")))
    for y in (60, 100, 140, 180):
        parts.append(path(f"M398,{y}L326,{y}", BASELINE, more=head("noise")))
    parts += [circle(316, y, 9, GREY) for y in heights]
    parts += [
        circle(78, 119, 17, SHADE),
        text(78, 124, letter("g", "i")),
        text(78, 84, "one node", 12),
        text(316, 22, f"all nodes {letter('j')} of the other side", 12),
        text(200, 98, letter("M", "ij"), 12),
        text(404, 44, "signals of", 12, "start", BASELINE),
        text(404, 58, "all other", 12, "start", BASELINE),
        text(404, 72, "nodes", 12, "start", BASELINE),
        path("M10,232H490", EDGE, width=0.8),
        text(10, 252, "back over the line that it went out on:", 12, "start", THEORY),
        text(
            10,
            270,
            f"sum over {letter('j')} of {letter('M', 'ij')}² × (response of node "
            f"{letter('j')}) × {letter('g', 'i')}: does not average out, an echo",
            12,
            "start",
            THEORY,
        ),
        text(
            10,
            292,
            "over other lines, signals of strangers to them:",
            12,
            "start",
            BASELINE,
        ),
        text(
            10,
            310,
            f"sum over {letter('j')} of {letter('M', 'ij')} × (what "
            f"{letter('j')} would say without node {letter('i')}): Gaussian noise",
            12,
            "start",
            BASELINE,
        ),
    ]
    return Picture(500, 322, parts)


# ---------------------------------------------------------------- known and unknown
# blocks


LEFT, TOP, KNOWN, WHOLE = 130, 62, 62, 224
REST = WHOLE - KNOWN


def hatching() -> list[str]:
    """Thin diagonal lines over the block that was never asked."""
    left, top = LEFT + KNOWN, TOP + KNOWN
    right, bottom = LEFT + WHOLE, TOP + WHOLE
    lines = [f"M{left + k},{bottom}L{right},{top + k}" for k in range(0, REST, 12)]
    lines += [f"M{left},{bottom - k}L{right - k},{top}" for k in range(12, REST, 12)]
    return [path(line, EDGE, width=0.5) for line in lines]


def centred(x, y, lines, size=12, colour=INK) -> list[str]:
    """Lines of text below one another."""
    return [
        text(x, y + 16 * number, line, size, colour=colour)
        for number, line in enumerate(lines)
    ]


def blocks(core: str, beside: list[str], below: list[str], corner: list[str]):
    """The matrix in four blocks, with the names of its sides."""
    rest = LEFT + KNOWN + REST / 2
    return [
        box(LEFT + KNOWN, TOP + KNOWN, REST, REST, "#fff"),
        *hatching(),
        box(LEFT, TOP, KNOWN, KNOWN, THEORY),
        box(LEFT + KNOWN, TOP, REST, KNOWN, SHADE),
        box(LEFT, TOP + KNOWN, KNOWN, REST, SHADE),
        text(LEFT + 31, TOP + 36, core, 15, colour="#fff"),
        *centred(rest, TOP + 27, beside),
        *centred(LEFT + 31, TOP + KNOWN + 50, below, 11),
        box(LEFT + KNOWN + 22, TOP + KNOWN + 58, REST - 44, 48, "#fff", EDGE),
        *centred(rest, TOP + KNOWN + 78, corner),
        text(LEFT + KNOWN / 2, TOP - 24, f"span of the {letter('h')}", 12),
        text(rest, TOP - 24, "all that is orthogonal to it", 12),
        path(f"M{LEFT},{TOP - 12}h{KNOWN - 3}M{LEFT + KNOWN},{TOP - 12}h{REST}"),
        text(LEFT - 14, TOP + KNOWN / 2 - 4, "span", 12, "end"),
        text(LEFT - 14, TOP + KNOWN / 2 + 12, f"of the {letter('g')}", 12, "end"),
        text(LEFT - 14, TOP + KNOWN + REST / 2, "orthogonal", 12, "end"),
        text(LEFT - 14, TOP + KNOWN + REST / 2 + 16, "to it", 12, "end"),
        path(f"M{LEFT - 7},{TOP}v{KNOWN - 3}M{LEFT - 7},{TOP + KNOWN}v{REST}"),
    ]


def known_blocks() -> Picture:
    """The four blocks, by their letters."""
    drawn = blocks(
        "core",
        [letter("Y"), "known"],
        [letter("Y′"), "", "known"],
        [f"{letter('Z')}, never asked:", "independent entries"],
    )
    return Picture(372, 302, drawn)


def known_and_unknown() -> Picture:
    """The four blocks, and a new question that meets them."""
    drawn = blocks(
        "known",
        ["known: what the", "backward answers add"],
        ["known:", "what the", "forward", "answers", "add"],
        ["never asked:", "independent entries"],
    )
    column, low = LEFT + WHOLE + 38, TOP + KNOWN
    notes = [
        (TOP + 24, "old part: its", INK),
        (TOP + 40, "answer is known", INK),
        (low + 30, "new part: meets", INK),
        (low + 46, "the block above", THEORY),
        (low + 62, "(an echo)", THEORY),
        (low + 82, "and the block that", BASELINE),
        (low + 98, "was never asked", BASELINE),
        (low + 114, "(new noise)", BASELINE),
    ]
    drawn += [
        text(column, TOP - 24, f"new {letter('h')}", 12),
        box(column - 10, TOP, 20, KNOWN, THEORY),
        box(column - 10, low, 20, REST, "#fff", BASELINE),
        *(
            text(column + 18, y, words, 12, "start", colour)
            for y, words, colour in notes
        ),
    ]
    return Picture(530, 302, drawn)


# ---------------------------------------------------------------- the conversation in
# time


class Turn(NamedTuple):
    """A question and its answer at a place in time."""

    x: int
    question: str
    noise: str
    number: str
    forward: bool


TURNS = (
    Turn(70, "h", "u", "1", True),
    Turn(190, "g", "r", "1", False),
    Turn(310, "h", "u", "2", True),
    Turn(430, "g", "r", "2", False),
)
RESPONSES = ((0, 1, "B", "11"), (1, 2, "A", "21"), (2, 3, "B", "22"), (0, 3, "B", "21"))
HIGH, LOW = 92, 212


def turn(at: Turn) -> list[str]:
    start, end = (LOW, HIGH) if at.forward else (HIGH, LOW)
    sign = 1 if at.forward else -1
    matrix = letter("M", "0") if at.forward else letter("M", "0") + "ᵀ"
    return [
        path(f"M{at.x},{start - 13 * sign}V{end + 15 * sign}", more=head("ink")),
        box(at.x - 20, (HIGH + LOW) / 2 - 12, 40, 24, GREY),
        text(at.x, (HIGH + LOW) / 2 + 5, matrix, 13),
        circle(at.x, start, 13, "#fff"),
        text(at.x, start + 4, letter(at.question, at.number), 13),
        circle(at.x, end, 13, "#fbe3d3"),
        text(at.x, end + 4, letter(at.noise, at.number), 13),
    ]


def response(first: Turn, later: Turn, name: str, index: str) -> list[str]:
    """From the noise of an answer to a later question on the same side."""
    high = first.forward
    y = HIGH if high else LOW
    far = later.x - first.x > 200
    bend = (-84 if far else -34) if high else 30
    middle = (first.x + later.x) / 2
    return [
        path(
            f"M{first.x + 9},{y + (-11 if high else 11)}Q{middle},{y + bend} "
            f"{later.x - 10},{y + (-12 if high else 12)}",
            THEORY,
            more=head("echo"),
        ),
        text(
            middle,
            y + bend / 2 + (-8 if far else 16),
            letter(name, index),
            13,
            colour=THEORY,
        ),
    ]


def conversation() -> Picture:
    parts = [
        text(8, 22, "left side of the matrix", 12, "start"),
        text(8, 278, "right side of the matrix", 12, "start"),
        path("M8,300H490", more=head("ink")),
        text(492, 292, "order of the questions", 12, "end"),
    ]
    for first, later, name, index in RESPONSES:
        parts += response(TURNS[first], TURNS[later], name, index)
    for at in TURNS:
        parts += turn(at)
    parts += [
        text(
            250, 326, "An arrow from a noise to a later question is a response. The", 12
        ),
        text(
            250, 343, "answer to that question contains the earlier question that", 12
        ),
        text(
            250, 360, "had the noise for an answer, as loud as the arrow is strong.", 12
        ),
    ]
    return Picture(500, 372, parts)


# ---------------------------------------------------------------- paths behind an
# overlap


LEFT_ROW, RIGHT_ROW = 104, 204


def heard(x, y, name: str, gram: str, above: bool) -> list[str]:
    """A query that meets itself: a loop with its Gram."""
    side = -1 if above else 1
    return [
        path(
            f"M{x - 7},{y + 13 * side}C{x - 26},{y + 44 * side} "
            f"{x + 26},{y + 44 * side} {x + 8},{y + 15 * side}",
            more=head("ink"),
        ),
        text(x, y + (-42 if above else 52), letter(gram), 13),
        circle(x, y, 14, "#fff"),
        text(x, y + 4, letter(name), 13),
    ]


def crossing(x, down: bool, label_at: int) -> list[str]:
    """Along a response, from one side to the other."""
    start, end = (
        (LEFT_ROW + 14, RIGHT_ROW - 16) if down else (RIGHT_ROW - 14, LEFT_ROW + 16)
    )
    return [
        path(f"M{x},{start}V{end}", THEORY, more=head("echo")),
        text(x + label_at, 158, f"σ²{letter('B')}", 12, colour=THEORY),
    ]


def product(x, entry: str, lines: list[str]) -> list[str]:
    return [
        text(x, 30, letter("Q", entry), 14),
        *centred(x, 284, lines, 12),
    ]


def paths() -> Picture:
    """The four paths of one spike g h^T with g made from M0 h."""
    cm, mr = f"{letter('c')} {letter('m', 'L')}", letter("m", "R")
    G, H = letter("G"), letter("H")
    first, second, third, last = 76, 200, 330, 448
    parts = [
        path(f"M8,{LEFT_ROW}H492M8,{RIGHT_ROW}H492", EDGE, width=0.5),
        text(6, LEFT_ROW - 6, "left", 11, "start"),
        text(6, RIGHT_ROW - 6, "right", 11, "start"),
        *heard(first, LEFT_ROW, "g", "G", True),
        *product(first, "gg", [f"{cm} {G}"]),
        text(138, 30, "+", 14),
        *crossing(second - 8, True, -20),
        *crossing(second + 8, False, 20),
        circle(second, LEFT_ROW, 14, "#fff"),
        text(second, LEFT_ROW + 4, letter("g"), 13),
        *heard(second, RIGHT_ROW, "h", "H", False),
        *product(
            second,
            "gg",
            [f"{cm} · σ²{letter('B')} · {mr} {H}", f"· σ²{letter('B')} · {cm}"],
        ),
        *crossing(third, True, 20),
        circle(third, LEFT_ROW, 14, "#fff"),
        text(third, LEFT_ROW + 4, letter("g"), 13),
        *heard(third, RIGHT_ROW, "h", "H", False),
        *product(third, "gh", [f"{cm} · σ²{letter('B')}", f"· {mr} {H}"]),
        *heard(last, RIGHT_ROW, "h", "H", False),
        *product(last, "hh", [f"{mr} {H}"]),
    ]
    return Picture(500, 314, parts)


# ---------------------------------------------------------------- one layer


def layer_of(y, index: str, words: str) -> list[str]:
    """A row of neurons."""
    return [
        *(circle(x, y, 8, GREY) for x in range(170, 331, 20)),
        text(352, y + 5, f"layer {index}", 12, "start"),
        text(148, y + 5, words, 12, "end"),
    ]


def terms(x, y, lines: list[tuple[str, str]], anchor: str) -> list[str]:
    return [
        text(x, y + 20 * number, words, 12, anchor, colour)
        for number, (words, colour) in enumerate(lines)
    ]


def one_layer() -> Picture:
    """h goes up, g comes down; where sigma^2, nu and kappa are."""
    above = f"{letter('l')} + 1"
    A, B, D = letter("A"), letter("B"), letter("Δ")
    features = f"{letter('φ')}({letter('h')})"
    parts = [
        *layer_of(40, above, f"{letter('h')} and {letter('g')} of"),
        *layer_of(252, letter("l"), f"{letter('h')} and {letter('g')} of"),
        path("M226,238V172", more=head("ink")),
        path("M226,120V54", more=head("ink")),
        path("M274,54V120", more=head("ink")),
        path("M274,172V238", more=head("ink")),
        box(206, 122, 88, 48, GREY),
        text(250, 142, letter("M", "l") + " and", 12),
        text(250, 158, "its spikes", 12),
        text(214, 210, features, 12, "end"),
        text(286, 84, letter("g"), 12, "start"),
        text(8, 86, f"up: {letter('h')} of layer {above} is", 12, "start"),
        *terms(
            8,
            110,
            [
                (f"noise {letter('u')}, variance σ²Φ", BASELINE),
                (f"+ σ² {A} {letter('g')}, the echo", THEORY),
                (f"+ κ {D} Φ {letter('g')}, the spikes", INK),
            ],
            "start",
        ),
        text(
            492,
            86,
            f"down: {letter('g')} of layer {letter('l')} is {letter('φ')}′ times",
            12,
            "end",
        ),
        *terms(
            492,
            110,
            [
                (
                    f"noise {letter('r')}, variance σ²{letter('c')} {letter('G')}",
                    BASELINE,
                ),
                (f"+ σ²{letter('c')} {B} {features}, the echo", THEORY),
                (f"+ κ{letter('c')} {D} {letter('G')} {features}, the spikes", INK),
            ],
            "end",
        ),
        path("M10,282H490", EDGE, width=0.8),
        *centred(
            250,
            302,
            [
                "σ², the variance of the start: noise and echo, both ways.   "
                "κ, the rate: spikes, both ways.",
                f"{letter('c')}, rows over columns: only on the way down; one between "
                "hidden layers,",
                "and ν in the first matrix of a network as wide as its data (Chapter 6).",
            ],
            12,
        ),
    ]
    return Picture(500, 346, parts)


PICTURES: dict[str, Callable[[], Picture]] = {
    "node_and_echo": node_and_echo,
    "known_blocks": known_blocks,
    "known_and_unknown": known_and_unknown,
    "conversation": conversation,
    "paths": paths,
    "one_layer": one_layer,
}

if __name__ == "__main__":
    for name, picture in PICTURES.items():
        (STATIC / f"{name}.svg").write_text(picture().drawn())
    sys.exit(print(*PICTURES))
