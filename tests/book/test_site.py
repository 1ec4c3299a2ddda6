"""What surrounds the chapters: figures with sliders, launch buttons, environments,
limits on notebooks.
"""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import yaml
from jupyter_cache import get_cache
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dmftlib import plotting
from tools import check_site, sliders

ROOT = Path(__file__).parents[2]

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())


# Figures with sliders


def shown(data: dict, values: tuple) -> dict:
    """What is seen at one position of the knobs; simulations only where they are
    stored, and histograms not at all.
    """
    at = [
        knob["values"].index(value)
        for knob, value in zip(data["knobs"], values, strict=True)
    ]

    def index(knobs):
        number = 0
        for k in knobs:
            number = number * len(data["knobs"][k]["values"]) + at[k]
        return number

    row = data["table"][index(range(len(at)))]
    numbers = {
        number["label"]: value
        for number, value in zip(data["numbers"], row, strict=False)
    }
    curves = {
        c["label"]: (
            c["x"][index(c["by"]) if len(c["x"]) > 1 else 0],
            c["y"][index(c["by"])],
        )
        for c in data["spectrum"]["curves"]
        if c["style"] != "histogram"
    }
    return dict(numbers=numbers, curves=curves)


def differences(one: dict, other: dict, tolerance=0.0021) -> list[str]:
    """Three decimals are stored; the last may differ by rounding, and by two where a
    computer's digits do.
    """
    wrong = [
        name
        for name, value in one["numbers"].items()
        if not _close(value, other["numbers"][name], tolerance)
    ]
    for name, pair in one["curves"].items():
        for own, its in zip(pair, other["curves"][name], strict=True):
            wrong += (
                []
                if len(own) == len(its)
                and all(map(_close, own, its, itertools.repeat(tolerance)))
                else [name]
            )
    return wrong


def _close(a, b, tolerance):
    return a is b if a is None or b is None else abs(a - b) < tolerance


POSITIONS = {
    "aspect": (0.63,),
    "spike": (0.85,),
    "richness": (4.0, 30),
    "outputs": (0.06,),
    "dimension": (10**9,),
    "width": (2.0, 40),
    "transfer": (0.087, 4.0),
}


QUICK = ("aspect", "outputs")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in POSITIONS
    ],
)
def test_sliders_show_what_the_library_computes(name):
    stored, values = sliders.load(name), POSITIONS[name]
    options = (
        {} if name in ("dimension", "width", "transfer") else dict(seeds=0)
    )  # these simulate nothing
    fresh = shown(
        sliders.FIGURES[name][0](*([value] for value in values), **options), values
    )
    assert differences(fresh, shown(stored, values)) == []
    label, value = next(
        (label, value) for label, value in fresh["numbers"].items() if value
    )
    fresh["numbers"][label] = value + 0.004  # which is seen
    assert differences(fresh, shown(stored, values)) == [label]


@pytest.mark.parametrize("name", POSITIONS)
def test_slider_data_are_small_and_whole(name):
    data = sliders.load(name)
    assert sliders.path(name).stat().st_size < 60_000
    positions = list(itertools.product(*(knob["values"] for knob in data["knobs"])))
    assert len(data["table"]) == len(positions) and data["made"]["by"].startswith(
        "tools/sliders.py"
    )
    assert [knob["values"] for knob in data["knobs"]] == list(sliders.FIGURES[name][1:])
    assert {len(row) for row in data["table"]} == {len(data["numbers"])}
    assert len(data["alt"]) > 60
    assert shown(data, positions[0]) != shown(data, positions[-1])


def test_every_slider_is_in_a_chapter():
    pages = "\n".join(path.read_text() for path in (ROOT / "book").glob("*.ipynb"))
    named = re.findall(r'class=\\"slider-figure\\" data-name=\\"(\w+)\\"', pages)
    files = sorted(path.stem for path in sliders.FOLDER.glob("*.js"))
    assert files == sorted(sliders.FIGURES) == sorted(POSITIONS) and len(named) == len(
        set(named)
    )
    assert sorted(named) == files


def test_sliders_have_the_colours_of_the_figures():
    css = (ROOT / "book/_static/book.css").read_text()
    light = r"(?m)^ *(?:html\[data-theme\] )?\.slider-figure \{[^}]*\}"
    rules = re.findall(light, css)
    assert len(rules) == 2  # on a screen and on paper
    for name in ("theory", "simulation", "baseline", "edge"):
        colour = f"--{name}: {getattr(plotting, name.upper())};"
        assert all(colour in rule for rule in rules)
    script = (ROOT / "book/_static/sliders.js").read_text()
    assert (
        "fetch(" not in script
        and "import " not in script
        and "XMLHttpRequest" not in script
    )


def test_colours_differ_to_the_colour_blind():
    """In protanopia, deuteranopia, tritanopia (Machado et al. 2009, on linear RGB). In
    grey, lines differ in style.
    """
    as_seen = {
        "protan": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deutan": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        "tritan": [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    }
    colours = [plotting.THEORY, plotting.SIMULATION, plotting.BASELINE, plotting.EDGE]
    linear = np.array(
        [[(int(c[i : i + 2], 16) / 255) ** 2.2 for i in (1, 3, 5)] for c in colours]
    )
    for matrix in as_seen.values():
        seen = np.clip(linear @ np.transpose(matrix), 0, 1) ** (1 / 2.2)
        assert all(
            np.abs(a - b).max() > 0.15 for a, b in itertools.combinations(seen, 2)
        )
    contrast = 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    assert contrast.min() > 3  # of a line to its white ground
    css = (ROOT / "book/_static/book.css").read_text()
    theory, baseline, edge = (
        re.search(rf"\.{name} {{[^}}]*stroke-dasharray: ([^;]+);", css)
        for name in ("theory", "baseline", "edge")
    )
    assert theory is None and baseline[1] != edge[1]


# Running it elsewhere


def test_one_address_for_all_buttons():
    address = CONFIG["repository"]["url"].removeprefix("https://")
    readme = (ROOT / "README.md").read_text()
    owner = address.removeprefix("github.com/")
    buttons = re.findall(r"\((https://(?:mybinder|colab)[^)\s]*\.ipynb)\)", readme)
    assert len(buttons) == (2 if address else 0)
    assert all(owner in button for button in buttons)
    assert all(
        (ROOT / "book" / button.split("/book/")[1]).exists() for button in buttons
    )
    assert CONFIG["launch_buttons"].keys() >= {"binderhub_url", "colab_url"}


def test_environment_installs_what_make_installs():
    """`environment.yml` names no version of its own: it installs the project, with the
    pins, as `make` does.
    """
    *conda, pip = ENVIRONMENT["dependencies"]
    make = re.search(r"pip install --quiet (.*)", (ROOT / "Makefile").read_text())[
        1
    ].replace("'", "")
    assert " ".join(pip["pip"]) == make
    assert sorted(conda) == ["pip", "python=3.11"]
    assert Requirement("python" + PROJECT["requires-python"]).specifier.contains("3.11")


def requirements(texts, extras=frozenset(), found=None) -> dict:
    """All that is needed, directly or not: {package: [requirements]}. Installers are
    not pinned and left out.
    """
    found = {} if found is None else found
    for requirement in map(Requirement, texts):
        name, wanted = canonicalize_name(requirement.name), requirement.extras
        applies = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": e}) for e in extras | {""}
        )
        if applies and name not in ("pip", "setuptools", "wheel", "dmftlib"):
            known = any(wanted <= other.extras for other in found.setdefault(name, []))
            found[name].append(requirement)
            if not known:
                requirements(metadata.requires(name) or [], wanted, found)
    return found


def test_every_package_is_pinned_and_every_pin_is_allowed():
    declared = [
        *PROJECT["dependencies"],
        *itertools.chain(*PROJECT["optional-dependencies"].values()),
    ]
    needed = requirements(declared)
    pins = {canonicalize_name(name): version for name, version in PINS.items()}
    assert sorted(needed.keys() - pins.keys()) == []
    assert [
        str(r)
        for name, wanted in needed.items()
        for r in wanted
        if pins[name] not in r.specifier
    ] == []
    assert {name: metadata.version(name) for name in needed} == {
        name: pins[name] for name in needed
    }


@pytest.mark.slow
def test_pip_part_of_the_environment_installs(tmp_path):
    """As far as pip goes without installing: it resolves, and what is here already is
    what it asks for.
    """
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "dmftlib", tmp_path / "dmftlib")
    options = " ".join(ENVIRONMENT["dependencies"][-1]["pip"]).split()
    result = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", *options],
        cwd=tmp_path,
        text=True,
        capture_output=True,
    )
    if (
        result.returncode and "requirement setuptools" in result.stderr
    ):  # which an isolated build has to download
        pytest.skip("no package index in reach")
    assert result.returncode == 0, result.stderr
    would = re.search(r"Would install (.*)", result.stdout)[1].split()
    assert [name.rpartition("-")[0] for name in would] == ["dmftlib"]


def test_binder_finds_environment_yml():
    """repo2docker looks in binder/ and .binder/ first, and prefers a Dockerfile; what
    it reads must be at the root.
    """
    assert not any(
        (ROOT / name).exists()
        for name in (
            "binder",
            ".binder",
            "Dockerfile",
            "requirements.txt",
            "runtime.txt",
            "Pipfile",
            "setup.py",
            "apt.txt",
        )
    )
    assert (ROOT / "environment.yml").exists()


# Limits on notebooks


@pytest.mark.slow
def test_a_notebook_that_takes_too_much_fails(tmp_path):
    (tmp_path / "figure_check.py").write_text(
        (ROOT / "book/figure_check.py").read_text()
    )
    cell = dict(
        cell_type="code",
        id="a",
        metadata={},
        source="x = 1",
        outputs=[],
        execution_count=1,
    )
    kernel = dict(
        kernelspec=dict(name="python3", display_name="Python 3", language="python")
    )
    (tmp_path / "small.ipynb").write_text(
        json.dumps(dict(cells=[cell], metadata=kernel, nbformat=4, nbformat_minor=5))
    )
    limits, outcome = (ROOT / "book/conftest.py").read_text(), []
    limit = re.compile(r"^SECONDS, GIGABYTES = (.*)$", re.MULTILINE)
    assert len(limit.findall(limits)) == 1
    for seconds, gigabytes in ((90, 1.5), (90, 0.01), (0.001, 1.5)):
        here = f"SECONDS, GIGABYTES = {seconds}, {gigabytes}"
        (tmp_path / "conftest.py").write_text(limit.sub(here, limits))
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "--nbval",
                "-p",
                "no:cacheprovider",
                "small.ipynb",
            ],
            cwd=tmp_path,
            text=True,
            capture_output=True,
        )
        outcome.append((run.returncode, "at most" in run.stdout))
        assert "small.ipynb: " in run.stdout
    assert outcome == [(0, False), (1, True), (1, True)]


def notebook(*cells: dict) -> str:
    """Code cells with their stored outputs, as a notebook."""
    whole = [
        dict(
            dict(cell_type="code", id=f"c{i}", metadata={}, execution_count=i + 1),
            **cell,
        )
        for i, cell in enumerate(cells)
    ]
    kernel = dict(kernelspec=dict(name="python3", display_name="Python 3"))
    return json.dumps(dict(cells=whole, metadata=kernel, nbformat=4, nbformat_minor=5))


@pytest.mark.slow
def test_what_comes_out_of_compared_notebooks_is_kept_for_the_site(tmp_path):
    """Of a right one, with its fresh picture; not of a wrong one, nor of one of which a
    cell is left out.
    """

    def printed(text):
        return [dict(output_type="stream", name="stdout", text=text)]

    show = (
        "from IPython.display import display\ndisplay({'image/png': 'QUJD'}, raw=True)"
    )
    stale = dict(output_type="display_data", metadata={}, data={"image/png": "QkFE"})
    good = dict(source="print(1 + 1)", outputs=printed("2\n"))
    bad = dict(source="print(1 + 1)", outputs=printed("3\n"))
    skipped = dict(metadata=dict(tags=["nbval-skip"]))
    contents = dict(
        right=notebook(good, dict(source=show, outputs=[stale])),
        wrong=notebook(good, bad),
        skipping=notebook(good, good | skipped),
    )
    for name, text in contents.items():
        (tmp_path / f"{name}.ipynb").write_text(text)
    (tmp_path / "keeper.py").write_text(
        "from pathlib import Path\n"
        "from tools import execute_book\n"
        "execute_book.CACHE = Path('cache').resolve()\n"
        "from tools.kept_outputs import *\n"
    )
    subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "keeper", "--nbval", "-q"],
        cwd=tmp_path,
        env=os.environ | dict(PYTHONPATH=str(ROOT)),
        capture_output=True,
    )
    records = get_cache(str(tmp_path / "cache")).list_cache_records()
    assert [Path(record.uri).name for record in records] == ["right.ipynb"]
    kept = get_cache(str(tmp_path / "cache")).get_cache_bundle(records[0].pk).nb
    assert kept.cells[1].outputs[0].data["image/png"].strip() == "QUJD"


# What a newcomer finds


def small_site(folder: Path, links: list[str], headings: dict[str, list[str]]) -> Path:
    """A first page with these links, and pages with these headings."""
    (folder / "book").mkdir()
    body = "".join(f'<a href="{link}">x</a>' for link in links)
    (folder / check_site.FIRST).write_text(body)
    for page, names in headings.items():
        text = "".join(f'<section id="{name}"></section>' for name in names)
        (folder / page).write_text(text)
    return folder


def missing(site: Path) -> list[str]:
    return [text for text in check_site.problems(site) if "a newcomer" in text]


HEADINGS = {
    "book/about.html": ["how-to-cite", "licence", "what-to-install"],
    "book/start_here.html": ["where-does-an-outlier-come-from"],
}


def test_a_newcomer_finds_licence_citation_and_origin_in_one_click(tmp_path):
    site = small_site(tmp_path, ["about.html#licence", "start_here.html"], HEADINGS)
    assert missing(site) == []


@pytest.mark.parametrize(
    "links, headings, number",
    [
        (["about.html"], HEADINGS, 1),
        ([], HEADINGS, 4),
        (
            ["about.html", "start_here.html"],
            HEADINGS | {"book/about.html": ["licence"]},
            2,
        ),
    ],
)
def test_what_a_newcomer_does_not_find_is_a_fault(tmp_path, links, headings, number):
    assert len(missing(small_site(tmp_path, links, headings))) == number
