r"""Reads the LaTeX of a printed equation and says whether it is true at given numbers.

    check(r"s^2 = \frac{(1+\Lambda)(c+\Lambda)}{\Lambda}", Meaning({"s": ..., ...}))

Only what this book prints is understood: sums and products, fractions, roots, powers,
matrices, averages, sums over indices, integrals over a law. What a letter stands for is
a `Meaning`; a letter that it does not know is an error, and so is every sign that the
reader does not know. A symbol is a letter with its accent, its primes and its subscript.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Unreadable(ValueError):
    """The equation says what cannot be read, or what nothing was said about."""


class Wrong(ValueError):
    """The two sides of a printed equation differ."""


class Lazy(NamedTuple):
    """A value that depends on what else is known: of an index, a sign, an argument."""

    of: Callable[[dict], object]


class Indexed(NamedTuple):
    """A value by its indices: of(above, below), two lists of whole numbers."""

    of: Callable[[list, list], object]


class Operator(NamedTuple):
    """Something that acts on what follows: of(body, names), body a function of names."""

    of: Callable[[Callable, dict], object]


@dataclass(frozen=True)
class Meaning:
    """What the letters of an equation stand for.

    Keys of `names` and `stands_for` are written as on the page. What is in `as_is` must
    be on the page letter by letter, and says nothing about numbers.
    """

    names: dict = field(default_factory=dict)
    stands_for: dict = field(default_factory=dict)  # {a longer formula: its value}
    as_is: tuple = ()
    defines: tuple = ()  # symbols that the equation itself explains
    after: dict = field(default_factory=dict)  # names left of an arrow: a step later
    average: Callable = np.mean
    sums: dict = field(default_factory=dict)  # {what stands below a sum: its bindings}
    law: tuple = ()  # (letter, points, weights) of an integral
    items: tuple = ()  # what formulas without a relation are worth, in order
    tolerance: float = 1e-9


# ---------------------------------------------------------------- signs

TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[A-Za-z]|\d|\S", re.S)
SPACES = {r"\,", r"\;", r"\!", r"\:", r"\ ", r"\displaystyle"}
SIZES = {r"\left", r"\right", r"\big", r"\Big", r"\bigg", r"\Bigg"}
ACCENTS = {r"\hat", r"\tilde", r"\mathcal", r"\bar"}
FONTS = {r"\rm", r"\mathrm", r"\mathsf", r"\sf", r"\text"}
FUNCTIONS = {
    r"\sin": np.sin,
    r"\cos": np.cos,
    r"\arcsin": np.arcsin,
    r"\max": max,
    r"\min": min,
}
OPENING = {"(": ")", "[": "]", "{": "}", r"\{": r"\}", r"\langle": r"\rangle"}
BREAKS = {r"\quad", r"\qquad", r"\\", ",", ";"}
RELATIONS = {"=", r"\to", r"\leftarrow", r"\sim"}
SAME = {r"\dfrac": r"\frac", r"\tfrac": r"\frac"}


def tokens_of(latex: str) -> list[str]:
    """The signs of a formula, without those that only place them."""
    latex = re.sub(r"\\\\\[[^]]*\]", r"\\\\ ", latex)
    latex = re.sub(r"\\(begin|end)\{aligned\}", " ", latex).replace("{+}", "+")
    latex = re.sub(r"\\(begin|end)\{(\w+)\}", r"\\\1\2 ", latex)
    found = [SAME.get(token, token) for token in TOKEN.findall(latex)]
    return [token for token in found if token not in SPACES | SIZES]


def _depths(tokens: list[str]) -> Iterator[tuple[int, str]]:
    """Each sign with the number of brackets around it."""
    depth = 0
    for token in tokens:
        closes = token in OPENING.values() or token.startswith(r"\end")
        depth -= closes
        yield depth, token
        depth += token in OPENING or token.startswith(r"\begin")


def _split(tokens: list[str], at: set[str]) -> list[list[str]]:
    parts = [[]]
    for depth, token in _depths(tokens):
        if depth == 0 and token in at:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _find(tokens: list[str], wanted: list[str]) -> list[int]:
    width = len(wanted)
    return [
        k for k in range(len(tokens) - width + 1) if tokens[k : k + width] == wanted
    ]


def _replaced(tokens: list[str], wanted: str, by: list[str]) -> list[str]:
    """The signs of `wanted` replaced wherever they stand: at least once."""
    signs = tokens_of(wanted)
    places = _find(tokens, signs)
    if not places:
        raise Unreadable(f"not on the page: {wanted}")
    for place in reversed(places):
        tokens = tokens[:place] + by + tokens[place + len(signs) :]
    return tokens


def _on_one_line(tokens: list[str]) -> list[str]:
    """Without the new lines that stand between brackets."""
    kept, brackets = [], []
    for token in tokens:
        if token in OPENING or token.startswith(r"\begin"):
            brackets.append(token)
        elif token in OPENING.values() or token.startswith(r"\end"):
            brackets.pop()
        if not brackets or brackets[-1].startswith(r"\begin"):
            kept.append(token)
        elif token not in (r"\\", "&", r"\qquad", r"\quad"):
            kept.append(token)
    return kept


def statements(tokens: list[str]) -> list[list[str]]:
    """The signs between commas, wide spaces and new lines; a line that begins with a
    sign of addition goes on with the one before.
    """
    kept = []
    outside = [
        (depth, token)
        for depth, token in _depths(_on_one_line(tokens))
        if depth or token not in ("&", ".")
    ]
    for number, (depth, token) in enumerate(outside):
        if depth == 0 and token in BREAKS:
            rest = (t for _, t in outside[number:] if t not in BREAKS)
            if next(rest, "") in ("+", "-"):
                continue
        kept.append(token)
    return [part for part in _split(kept, BREAKS) if part]


# ---------------------------------------------------------------- arithmetic


def _matrix(value) -> bool:
    return np.ndim(value) == 2


def _times(a, b):
    return a @ b if _matrix(a) and _matrix(b) else a * b


def _plus(a, b):
    if _matrix(a) and np.ndim(b) == 0:
        b = b * np.eye(len(a))
    if _matrix(b) and np.ndim(a) == 0:
        a = a * np.eye(len(b))
    return a + b


def _power(base, exponent):
    if _matrix(base):
        return np.linalg.matrix_power(base, int(exponent))
    if isinstance(base, int) and isinstance(exponent, int) and exponent < 0:
        base = float(base)
    return base**exponent


def _over(a, b):
    if not _matrix(b) and np.any(np.asarray(b) == 0):
        raise Wrong("a division by zero")
    return a / b


# ---------------------------------------------------------------- reading


class Reader:
    """Turns signs into a function of the names: recursive descent, one level a method."""

    def __init__(self, tokens: list[str], names: dict):
        self.tokens, self.names, self.at = tokens, names, 0
        self.in_bars = False

    def read(self):
        body = self.sum()
        if self.at < len(self.tokens):
            raise Unreadable(f"what is {' '.join(self.tokens[self.at :])}?")
        return body

    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.next()
        if not token or (expected and token != expected):
            raise Unreadable(f"{expected or 'more'} expected, not {token or 'the end'}")
        self.at += 1
        return token

    def inside(self) -> list[str]:
        """The signs up to the bracket that closes the one just taken."""
        depth, start = 1, self.at
        while depth:
            token = self.take()
            depth += token in OPENING or token.startswith(r"\begin")
            depth -= token in OPENING.values() or token.startswith(r"\end")
        return self.tokens[start : self.at - 1]

    def argument(self) -> list[str]:
        """The signs of one argument: what is in braces, or a single sign."""
        token = self.take()
        if token == "{":
            return self.inside()
        if token in ACCENTS or token in FONTS:
            return [token, *self.argument()]
        return [token]

    def body(self, tokens: list[str]):
        return Reader(tokens, self.names).read()

    # -- sums and products

    def sum(self):
        sign = -1 if self.next() == "-" else 1
        if self.next() in ("+", "-"):
            self.take()
        first = self.product()
        parts = [(lambda names, f=first, s=sign: s * f(names) if s < 0 else f(names))]
        while self.next() in ("+", "-", r"\pm"):
            parts.append(self._signed(self.take(), self.product()))
        return lambda names: _total([part(names) for part in parts])

    @staticmethod
    def _signed(sign, term):
        if sign == r"\pm":
            return lambda names: names[r"\pm"] * term(names)
        return term if sign == "+" else lambda names: -1 * term(names)

    def ends(self) -> bool:
        token = self.next()
        bars = self.in_bars and token == "|"
        return token in ("", "+", "-", r"\pm", ",") or bars

    def product(self):
        value = self.factor()
        while not self.ends():
            token = self.next()
            if token == "/":
                self.take()
                value = self._joined(_over, value, self.factor())
            elif token == r"\cdot":
                self.take()
                value = self._joined(np.dot, value, self.factor())
            elif token == r"\circ":
                self.take()
                value = self._joined(np.multiply, value, self.factor())
            else:
                value = self._joined(_times, value, self.factor())
        return value

    @staticmethod
    def _joined(how, left, right):
        return lambda names: how(left(names), right(names))

    def factor(self):
        value = self.atom()
        while self.next() in ("^", "!"):
            if self.take() == "!":

                def value(names, f=value):
                    return math.factorial(f(names))
            else:
                value = self._raised(value, self.argument())
        return value

    def _raised(self, value, exponent):
        if exponent in (["T"], [r"\mathsf", "T"]):
            return lambda names: np.transpose(value(names))
        power = self.body(exponent)
        return lambda names: _power(value(names), power(names))

    # -- the smallest parts

    def atom(self):
        token = self.take()
        if token.isdigit():
            return self._number(token)
        if token in ("(", "[", r"\{", "{"):
            return self.body(self.inside())
        known = {
            r"\frac": self._fraction,
            r"\sqrt": self._root,
            r"\langle": self._average,
            r"\sum": self._sum_over,
            r"\int": self._integral,
            r"\beginpmatrix": self._pmatrix,
            r"\begincases": self._cases,
            "|": self._bars,
        }
        if token in known:
            return known[token]()
        if token in FUNCTIONS:
            return self._function(FUNCTIONS[token])
        return self._symbol(token)

    def _number(self, token):
        while self.next().isdigit():
            token += self.take()
        return lambda names: int(token)

    def _fraction(self):
        above, below = self.body(self.argument()), self.body(self.argument())
        return self._joined(_over, above, below)

    def _root(self):
        body = self.body(self.argument())
        return lambda names: np.sqrt(body(names))

    def _average(self):
        body = self.body(self.inside())
        if self.next() == "_":
            self.take()
            self.argument_is([r"\tau"])
        return lambda names: names["<>"](body(names))

    def argument_is(self, wanted):
        found = self.argument()
        if found != wanted:
            raise Unreadable(f"{wanted} expected, not {found}")

    def _sum_over(self):
        self.take("_")
        below = "".join(self.argument())
        if below not in self.names["sums"]:
            raise Unreadable(f"a sum over {below}")
        bindings, body = self.names["sums"][below], self.product()
        return lambda names: sum(body(names | binding) for binding in bindings(names))

    def _integral(self):
        start = self.at
        end = next(
            (
                start + k
                for k, (depth, token) in enumerate(_depths(self.tokens[start:]))
                if depth == 0 and token == r"\mathrm"
            ),
            None,
        )
        letter, points, weights = self.names["law"]
        measure = tokens_of(rf"\mathrm d\mu({letter})")
        if end is None or self.tokens[end : end + len(measure)] != measure:
            raise Unreadable("an integral that does not end with its law")
        body = self.body(self.tokens[start:end])
        self.at = end + len(measure)
        return lambda names: np.sum(weights * body(names | {letter: points}))

    def _pmatrix(self):
        rows = [
            [self._cell(cell) for cell in _split(row, {"&"})]
            for row in _split(self.inside(), {r"\\"})
        ]
        return lambda names: np.block(
            [[np.atleast_2d(cell(names)) for cell in row] for row in rows]
        )

    def _cell(self, tokens):
        """An entry of a matrix; a dot is one that is not said again."""
        if tokens == [r"\cdot"]:
            return lambda names: np.nan
        body = self.body(tokens)

        def value(names):
            if np.isnan(found := body(names)).any():
                raise Wrong("an entry that is not a number")
            return found

        return value

    def _cases(self):
        rows = [self.body(row) for row in _split(self.inside(), {r"\\"}) if row]
        return lambda names: np.array([row(names) for row in rows])

    def _bars(self):
        self.in_bars, outer = True, self.in_bars
        body = self.sum()
        self.in_bars = outer
        self.take("|")
        return lambda names: np.abs(body(names))

    def _function(self, function):
        if self.next() == "(":
            bodies = self._arguments()
        else:
            bodies = [self._juxtaposed()]
        return lambda names: function(*[body(names) for body in bodies])

    def _juxtaposed(self):
        """The argument of a function without brackets, as in sin 2x."""
        value = self.factor()
        while not self.ends() and self.next() not in ("(", *FUNCTIONS):
            value = self._joined(_times, value, self.factor())
        return value

    def _arguments(self):
        self.take("(")
        return [self.body(part) for part in _split(self.inside(), {",", ";"})]

    # -- symbols

    def _symbol(self, token):
        if token in ACCENTS:
            token = f"{token}{{{''.join(self.argument())}}}"
        while self.next() == "'":
            token += self.take()
        if isinstance(self.names.get(token), Indexed):
            return self._indexed(token)
        if self.next() == "_":
            self.take()
            below = [part for part in self.argument() if part not in FONTS]
            token += "_" + "".join(below)
        if token not in self.names:
            raise Unreadable(f"nothing is known of {token}")
        value = self.names[token]
        if isinstance(value, Operator):
            body = self.factor()
            return lambda names: names[token].of(body, names)
        if callable(value) and not isinstance(value, (Lazy, Indexed)):
            bodies = self._arguments()
            return lambda names: names[token](*[body(names) for body in bodies])
        return lambda names: _resolved(names[token], names)

    def _indexed(self, token):
        above, below = [], []
        while self.next() in ("^", "_") and not self._is_transposed():
            side = above if self.take() == "^" else below
            side += self._indices(self.argument())
        value = self._indexed_value(token, above, below)
        if callable(self.names.get(token + "()")) and self.next() == "(":
            return self._called(token, above, below)
        return value

    def _is_transposed(self):
        return self.tokens[self.at : self.at + 5] == ["^", "{", r"\mathsf", "T", "}"]

    @staticmethod
    def _indexed_value(token, above, below):
        return lambda names: names[token].of(
            [index(names) for index in above], [index(names) for index in below]
        )

    def _called(self, token, above, below):
        bodies = self._arguments()
        return lambda names: names[token + "()"](
            [index(names) for index in above],
            [index(names) for index in below],
            *[body(names) for body in bodies],
        )

    def _indices(self, tokens):
        """One function for each index: they stand side by side, or are a sum."""
        if "+" in tokens or "-" in tokens:
            return [self.body(tokens)]
        parts = []
        for token in tokens:
            if token == "'":
                parts[-1] += token
            elif token != ",":
                parts.append(token)
        for part in parts:
            if not part.isdigit() and part not in self.names:
                raise Unreadable(f"an index {part}")
        return [self._index(part) for part in parts]

    @staticmethod
    def _index(part):
        return lambda names: int(part) if part.isdigit() else names[part]


def _total(parts):
    total = parts[0]
    for part in parts[1:]:
        total = _plus(total, part)
    return total


def _resolved(value, names):
    return value.of(names) if isinstance(value, Lazy) else value


# ---------------------------------------------------------------- checking


def canonical(name: str) -> str:
    r"""A name as the reader finds it: \hat x_1 is \hat{x}_1, s_{\rm out} is s_out."""
    reader = Reader(tokens_of(name), {})
    token = reader.take()
    if token in ACCENTS:
        token = f"{token}{{{''.join(reader.argument())}}}"
    while reader.next() == "'":
        token += reader.take()
    if reader.next() == "_":
        reader.take()
        token += "_" + "".join(x for x in reader.argument() if x not in FONTS)
    return token + "".join(reader.tokens[reader.at :])


def _prepared(tokens: list[str], meaning: Meaning) -> tuple[list[str], dict]:
    """The signs with the longer formulas replaced, and the names."""
    names = {"e": np.e, r"\pi": np.pi} | {
        canonical(key): value for key, value in meaning.names.items()
    }
    names |= {"<>": meaning.average, "sums": meaning.sums, "law": meaning.law}
    if meaning.law:
        names[meaning.law[0]] = meaning.law[1]
    for text in meaning.as_is:
        tokens = _replaced(tokens, text, [])
    for number, (text, value) in enumerate(meaning.stands_for.items()):
        tokens = _replaced(tokens, text, [f"<{number}>"])
        names[f"<{number}>"] = value
    return tokens, names


def _compare(left, right, tolerance, what):
    left, right = np.asarray(left), np.asarray(right)
    try:
        left, right = np.broadcast_arrays(left, right)
    except ValueError as error:
        raise Wrong(f"{what}: shapes {left.shape} and {right.shape}") from error
    said = ~(np.isnan(left) | np.isnan(right))
    if not said.any() or np.isnan(left).sum() + np.isnan(right).sum() > left.size / 2:
        raise Wrong(f"{what}: not a number")
    scale = np.maximum(np.abs(left[said]), np.abs(right[said])) + 1e-300
    worst = np.max(np.abs(left[said] - right[said]) / scale)
    if not worst < tolerance:
        raise Wrong(f"{what}: the sides differ by {worst:.1e}")


def _definition(sides, meaning, names):
    """(symbol, power) if a statement explains one of the symbols that it may explain."""
    if len(sides) != 2:
        return None
    head, power = list(sides[0]), 1
    if head[-2:] == ["^", "2"]:
        head, power = head[:-2], 2
    name = canonical(" ".join(head)) if head else ""
    allowed = {canonical(each) for each in meaning.defines}
    return (name, power) if name in allowed and name not in names else None


def check(latex: str | list[str], meaning: Meaning) -> int:
    """The number of equalities found true; raises `Wrong` or `Unreadable`."""
    tokens = tokens_of(latex) if isinstance(latex, str) else latex
    tokens, names = _prepared(tokens, meaning)
    waiting = [_split(part, RELATIONS) for part in statements(tokens)]
    arrows = [
        [token for depth, token in _depths(part) if not depth and token in RELATIONS]
        for part in statements(tokens)
    ]
    waiting = _with_definitions(list(zip(waiting, arrows, strict=True)), meaning, names)
    signs = (1, -1) if r"\pm" in tokens else (1,)
    return sum(_checked(waiting, meaning, names | {r"\pm": sign}) for sign in signs)


def _with_definitions(waiting, meaning, names):
    """What is left once the equation's own definitions are known."""
    found = 0
    for _ in range(len(waiting)):
        left = []
        for sides, arrows in waiting:
            defined = _definition(sides, meaning, names)
            try:
                value = Reader(sides[1], names).read()(names) if defined else None
            except Unreadable:
                defined = None
            if defined:
                name, power = defined
                names[name] = np.sqrt(value) if power == 2 else value
                found += 1
            else:
                left.append((sides, arrows))
        waiting = left
    if found != len(meaning.defines):
        raise Unreadable(f"of {meaning.defines} not all are explained")
    return waiting


def _checked(waiting, meaning, names):
    items, done = list(meaning.items), 0
    for sides, arrows in waiting:
        what = " ".join(" ".join(side) for side in sides)[:60]
        later = names | {canonical(k): v for k, v in meaning.after.items()}
        values = [
            Reader(side, names).read()(
                later if arrows[:1] == [r"\leftarrow"] and not number else names
            )
            for number, side in enumerate(sides)
        ]
        if items:
            _compare(values[-1], items.pop(0), meaning.tolerance, what)
            done += 1
        elif len(values) < 2:
            raise Unreadable(f"{what} is not equal to anything")
        for left, right in zip(values, values[1:], strict=False):
            _compare(left, right, meaning.tolerance, what)
            done += 1
    if items or not done:
        raise Wrong("fewer formulas than there are values for")
    return done
