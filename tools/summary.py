"""The numbers of the animated summary on the first page.

    python -m tools.summary

Writes book/_static/summary_data.js, a script, so that a page opened from the file
system may load it. Theory and one trained network are computed here; the spike of
Chapter 3 and other output scales are those of the figures with sliders. The captions in
book/index.md name some of these numbers; tests/book/test_summary.py compares them.
"""

import json
import platform
from datetime import date
from pathlib import Path

import numpy as np

import dmftlib as dm
from tools import sliders
from tools.two_levels import NET

PATH = Path(__file__).parents[1] / "book/_static/summary_data.js"
HEAD, TAIL = "window.summaryData = ", ";\n"
LAYER, SEEN = 1, tuple(range(0, 41, 4))
DIM, SEEDS = 300, 8  # width 240
SCALES = (1.0, 2.0, 4.0, 6.0)


def numbers(values) -> list:
    return [sliders.rounded(value) for value in np.ravel(values)]


def theory() -> dict:
    """The outlier of W^1 step by step, that of independent spikes, bulk, and loss."""
    solution = dm.solve(NET)
    law = solution.bulk(LAYER)
    x, height = sliders.density(law)
    alone = solution.outliers(LAYER, max_outliers=1, independent=True)
    return dict(
        bulk=dict(x=numbers(x), y=numbers(height)),
        edge=sliders.rounded(law.edges[0][1]),
        theory=numbers(sliders.largest(solution.outliers(LAYER, max_outliers=1))),
        independent=numbers(sliders.largest(alone)),
        loss=numbers(solution.test_loss),
    )


def trained() -> dict:
    """Singular values of one network, and the largest of several, at steps SEEN."""
    run = dm.simulate(
        NET, dim=DIM, seeds=SEEDS, seed=3, spectra_at=SEEN, ntk=False, progress=False
    )
    largest = [
        sliders.mean_and_error(run.singular_values(LAYER, step)[:, 0]) for step in SEEN
    ]
    means, errors = zip(*largest, strict=True)
    return dict(
        seen=list(SEEN),
        dots=[numbers(run.singular_values(LAYER, step)[0]) for step in SEEN],
        mean=numbers(means),
        error=numbers(errors),
    )


def column(table: list, place: int) -> list:
    return [row[place] for row in table]


def spike() -> dict:
    """One matrix and one spike, made with the matrix or not, against its strength."""
    stored = sliders.load("spike")
    names = ("theory", "independent", "edge", "mean", "error")
    columns = {name: column(stored["table"], i) for i, name in enumerate(names)}
    return dict(strength=stored["knobs"][0]["values"], **columns)


def scales() -> dict:
    """The outlier against the step for several output scales."""
    stored = sliders.load("richness")
    gammas, steps = (knob["values"] for knob in stored["knobs"])
    outliers = np.array(column(stored["table"], 0), float)
    outliers = outliers.reshape(len(gammas), len(steps))
    curves = [numbers(outliers[gammas.index(scale)]) for scale in SCALES]
    return dict(scales=list(SCALES), steps=steps, curves=curves)


def data() -> dict:
    made = dict(
        by="tools/summary.py",
        on=str(date.today()),
        python=platform.python_version(),
        numpy=np.__version__,
        width=round(DIM * NET.width_ratio),
        seeds=SEEDS,
    )
    return dict(**theory(), **trained(), spike=spike(), rich=scales(), made=made)


def load() -> dict:
    return json.loads(PATH.read_text().removeprefix(HEAD).removesuffix(TAIL))


def main() -> None:
    text = json.dumps(data(), separators=(",", ":"))
    PATH.write_text(HEAD + text + TAIL)
    print(f"{PATH.name}: {PATH.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
