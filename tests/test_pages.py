"""The pages around the chapters: their code runs, their tables are those of the code, their pictures are up to date."""

import doctest
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

import dmftlib as dm
from dmftlib import activations, empirical, plotting
from dmftlib.simulations import deep_linear as simulated_deep
from dmftlib.simulations import nonlinear as simulated_nonlinear
from dmftlib.simulations import wide_output as simulated_wide
from dmftlib.solutions import base, deep_linear, nonlinear, wide_output
from dmftlib.spectra import ntk, population

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
sys.path[:0] = [str(ROOT / "scripts"), str(BOOK / "_ext")]
PAGES = {path.stem: path.read_text() for path in sorted(BOOK.glob("*.md"))}
WITH_CODE = [name for name, text in PAGES.items() if "```python" in text]


# Code


@pytest.mark.parametrize("name", WITH_CODE)
def test_the_code_of_a_page_runs(name):
    text = re.sub(r"(?m)^```.*$", "", PAGES[name])
    examples = doctest.DocTestParser().get_doctest(text, {}, name, str(BOOK / f"{name}.md"), 0)
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", PAGES[name])
    assert examples.examples and all(block.startswith(">>>") for block in blocks), "code that is not run"
    said = []
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, out=said.append)
    assert results.failed == 0, "".join(said)
