"""The animated summary of the first page: its captions name stored numbers, and those
are what the library computes.
"""

import re
from pathlib import Path

import pytest

from tools import summary

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book/index.md").read_text()
SCRIPT = (ROOT / "book/_static/summary.js").read_text()


def named() -> set[tuple[str, str]]:
    """(name, text) of each number in a caption."""
    return set(re.findall(r'data-number="(\w+)">([^<]+)<', PAGE))


def test_captions_name_the_numbers_that_are_stored():
    data = summary.load()
    last = {name: data[name][-1] for name in ("theory", "independent", "mean")}
    stored = {name: f"{value:.2f}" for name, value in last.items()}
    stored["edge"] = f"{data['edge']:.2f}"
    stored |= {name: str(data["made"][name]) for name in ("width", "seeds")}
    assert named() == set(stored.items())
    share = (last["independent"] - data["edge"]) / (last["mean"] - data["edge"])
    assert 0.2 < share < 0.25  # "less than a quarter"


def test_captions_are_right_about_strength_and_scale():
    data = summary.load()
    strengths = data["spike"]["strength"]
    first = {
        name: min(
            theta
            for theta, value in zip(strengths, data["spike"][name], strict=True)
            if value is not None
        )
        for name in ("theory", "independent")
    }
    assert 0.41 < first["theory"] <= 0.46 and 1.0 < first["independent"] <= 1.05
    small, *_, large = data["rich"]["curves"]
    assert set(small) == {None} and large[-1] > data["theory"][-1]


def test_every_caption_has_its_scene():
    asked = re.findall(r'<li data-scene="(\w+)"', PAGE)
    drawn = re.findall(r"(?m)^    (\w+)(?:\(stage, data, p\) \{|: \(stage)", SCRIPT)
    assert len(asked) == 9 and asked == drawn


def test_the_summary_takes_five_minutes():
    """At the pace of summary.js: seconds by words, and not less than LEAST."""
    least = int(re.search(r"LEAST = (\d+)", SCRIPT)[1])
    pace = float(re.search(r"WORDS_A_SECOND = ([\d.]+)", SCRIPT)[1])
    captions = re.findall(r"<li data-scene.*</li>", PAGE)
    words = [len(re.sub(r"<[^>]+>", "", text).split()) for text in captions]
    assert 240 < sum(max(least, count / pace) for count in words) < 330


@pytest.mark.slow
def test_the_theory_of_the_summary_is_what_the_library_computes():
    stored, fresh = summary.load(), summary.theory()
    for name in ("theory", "independent", "loss"):
        for old, new in zip(stored[name], fresh[name], strict=True):
            assert old == new or abs(old - new) < 0.0021
    assert abs(stored["edge"] - fresh["edge"]) < 0.0021
