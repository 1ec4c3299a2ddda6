"""The LaTeX that a reader sees says what SymPy derived: every numbered equation is read
sign by sign and compared at random numbers, and so is every one of its misprints.
"""

import functools
import importlib
import re

import numpy as np
import pytest
from box_by_neurons import Box
from printed_latex import Meaning, Unreadable, Wrong, check, tokens_of
from printed_meanings import MEANINGS, At
from test_book import EQUATIONS
from test_contracts import SAMPLED, labels

PRINTED = {label: latex for _, label, latex in EQUATIONS}
MODULES = {label: module for module, label in labels()}
LONG = {"eq-two-steps"}  # a polynomial of thousands of terms
CASES = [
    pytest.param(
        label,
        marks=pytest.mark.slow if MODULES[label] in SAMPLED or label in LONG else (),
    )
    for label in PRINTED
]


@functools.cache
def meanings(label, seed):
    module = MODULES[label]
    contracts = importlib.import_module(f"derivations.{module}").CONTRACTS
    (contract,) = (each for each in contracts if each.label == label)
    return MEANINGS[label](At(module, contract, seed))


def test_every_numbered_equation_is_read():
    assert set(PRINTED) == set(MEANINGS)


@pytest.mark.parametrize("label", CASES)
def test_what_is_printed_is_what_sympy_derived(label):
    for seed in (1, 2):
        assert all(check(PRINTED[label], each) for each in meanings(label, seed))


# ---------------------------------------------------------------- misprints

LETTER = re.compile(r"[A-Za-z]|\\(?!left|right)[a-zA-Z]+")
NOT_LETTERS = {
    *r"\frac \sqrt \hat \tilde \mathcal \mathrm \mathsf \mathbf \textbf \text".split(),
    *r"\rm \sum \int \lim \langle \rangle \qquad \quad \to \leftarrow \sim".split(),
    *r"\sin \cos \arcsin \max \min \pm \cdot \cdots \dots \begin \end \le \ne".split(),
    *r"\infty \beginpmatrix \endpmatrix \begincases \endcases \Pr".split(),
}
EXCHANGED = {
    "+": ["-"],
    "-": ["+"],
    r"\pm": ["+"],
    r"\sin": [r"\cos"],
    r"\cos": [r"\sin"],
    r"\arcsin": [r"\sin"],
    r"\max": [r"\min"],
    r"\le": ["<"],
    "<": [r"\le"],
    "/": [r"\cdot"],
    "^": ["_"],
    "_": ["^"],
    "'": [],
    r"\sqrt": [],
    "!": [],
}


def is_letter(token):
    return bool(LETTER.fullmatch(token)) and token not in NOT_LETTERS


def misprints(tokens):
    """(what was done, signs): each digit one more, each sign of addition turned, each
    letter another of the equation's or left out, and so on.
    """
    letters = list(dict.fromkeys(filter(is_letter, tokens)))
    for place, token in enumerate(tokens):
        if token.isdigit():
            changes = [[str((int(token) + 1) % 10)], []]
        elif is_letter(token):
            other = letters[(letters.index(token) + 1) % len(letters)]
            changes = [[], [other]] if other != token else [[]]
        else:
            same = token == "!" and tokens[place - 1] == "2"  # 2! = 2
            changes = [EXCHANGED[token]] if token in EXCHANGED and not same else []
        for change in changes:
            context = " ".join(tokens[max(0, place - 3) : place + 4])
            yield (
                f"{token} -> {' '.join(change) or 'nothing'} in {context}",
                tokens[:place] + change + tokens[place + 1 :],
            )


def is_caught(tokens, all_meanings):
    try:
        return not all(check(tokens, each) for each in all_meanings)
    except (Wrong, Unreadable, ArithmeticError, ValueError, TypeError, LookupError):
        return True


@pytest.mark.slow
@pytest.mark.parametrize("label", PRINTED)
def test_every_misprint_of_a_sign_is_caught(label):
    known = [each for seed in (1, 2) for each in meanings(label, seed)]
    tokens = tokens_of(PRINTED[label])
    passed = [what for what, signs in misprints(tokens) if not is_caught(signs, known)]
    assert not passed, "\n".join(passed)


# ---------------------------------------------------------------- the reader

a, b = 1.7, 0.6
SIMPLE = Meaning({"a": a, "b": b, r"\hat x": 2.0, r"\theta_{\rm out}": 3.0})


@pytest.mark.parametrize(
    "latex",
    [
        r"a+b = 2.3",
        r"\frac ab = a/b",
        r"\tfrac12 = 0.5",
        r"\sqrt{a^2} = a",
        r"-a^2b = -1.734",
        r"\hat x^2 = 4",
        r"\theta_{\rm out} = \hat x+1",
        r"|b-a| = a-b",
        r"\begin{pmatrix}a & b\\ b & a\end{pmatrix}\begin{pmatrix}1\\ 1\end{pmatrix}"
        r" = \begin{pmatrix}a+b\\ a+b\end{pmatrix}",
        r"\max(a,\,b) = a,\qquad \cos(0) = 1",
    ],
)
def test_the_reader_understands(latex):
    latex = latex.replace("2.3", r"\frac{23}{10}").replace("0.5", r"\frac{5}{10}")
    latex = latex.replace("-1.734", r"-\frac{1734}{1000}")
    assert check(latex, SIMPLE)


@pytest.mark.parametrize("latex", ["a = b", "a+1 = a+2", "a = a,\\quad b = a"])
def test_the_reader_sees_what_is_wrong(latex):
    with pytest.raises(Wrong):
        check(latex, SIMPLE)


@pytest.mark.parametrize(
    "latex", ["a = c", "a", r"\frac{a} = 1", r"a = \foo", "a) = a"]
)
def test_the_reader_refuses_what_it_cannot_read(latex):
    with pytest.raises((Unreadable, Wrong, IndexError)):
        check(latex, SIMPLE)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [2, 3])
def test_the_box_with_numbers_trains_a_linear_network_exactly(layers):
    """What the printed box is read against is itself what SymPy follows with letters."""
    theory = importlib.import_module("derivations.field_theory")
    rho, sigma, gamma0, eta = 0.3, 0.8, 0.9, 0.2
    box = Box(
        lambda x: x,
        np.ones_like,
        layers,
        2,
        np.array([[1, rho], [rho, 1]]),
        np.array(theory.TARGETS, float),
        sigma,
        gamma0,
        eta,
    )
    letters = dict(
        zip(
            (theory.rho, theory.sigma, theory.gamma0, theory.eta),
            (rho, sigma, gamma0, eta),
            strict=True,
        )
    )
    derived = [
        [float(theory.expression(f).subs(letters)) for f in of_sample]
        for of_sample in theory.predictions(layers, 2)
    ]
    np.testing.assert_allclose(box.f[2], derived, rtol=1e-9)
