"""The data of the figures with sliders: theory at every position of the knobs, and
small simulations.

    python -m tools.sliders [name ...]          (make sliders)

Each function below returns one figure. `main` writes it to
`book/_static/sliders/NAME.js`: JSON in one function call, since a page opened from the
file system may load a script and may not fetch a file. `book/_static/sliders.js` draws
it:

    knobs      what the sliders set: label, values, and the position `start` that is
               shown first
    numbers    what is read out: label, style (theory, baseline, simulation, edge)
    table      one row of numbers for each combination of the knobs, the last knob
               fastest; null where there is none
    spectrum   left panel: curves, each with x and y for every position of the knobs in
               `by` (a single x where it is always the same), and `marks`, the numbers
               that are marked on the axis; `y` is its label if not density
    trace      right panel: numbers `lines` against knob `along`, with error bars
               `points`: [mean, standard error] or []

`tests/book/test_site.py` computes one position of each figure anew.
"""

import dataclasses
import itertools
import json
import platform
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

import dmftlib as dm

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "book/_static/sliders"


def stored(name: str) -> dict:
    """The note on a table of results: the chapter, its simulations and its slider use
    the same network.
    """
    return json.loads((ROOT / f"book/_data/{name}.json").read_text())


DEEP = dm.DeepLinear(**stored("deep_linear")["networks"]["mup 2"])
WIDTHS, TRANSFER = (stored(name)["setting"] for name in ("width", "transfer"))
WIDE = dm.WideOutput(
    output_ratio=0.0, input_ratio=0.7, target_variance=6.0, learning_rate=0.1, steps=30
)


def figure(alt, knobs, numbers, rows, spectrum, trace) -> dict:
    """Rounded; `rows` maps the values of the knobs to numbers, `knobs` is (label,
    values, start) each.
    """
    table = [
        [rounded(x) for x in rows[key]]
        for key in itertools.product(*(values for _, values, _ in knobs))
    ]
    return dict(
        alt=alt,
        knobs=[
            dict(zip(("label", "values", "start"), knob, strict=True)) for knob in knobs
        ],
        numbers=[dict(label=label, style=style) for label, style in numbers],
        table=table,
        spectrum=spectrum,
        trace=trace,
    )


def rounded(value):
    """Three decimals; None for what is not there."""
    return None if value is None or not np.isfinite(value) else round(float(value), 3)


def curve(label, style, by, pairs) -> dict:
    """`pairs` of x and y, one for every position of the knobs `by`; a single x if it is
    always the same.
    """
    x, y = (
        [[rounded(v) for v in values] for values in side]
        for side in zip(*pairs, strict=True)
    )
    return dict(
        label=label,
        style=style,
        by=by,
        x=x[:1] if all(other == x[0] for other in x) else x,
        y=y,
    )


def density(law, points=60):
    """x and y along all bulks of a law, from edge to edge."""
    pieces = [
        (low + high - (high - low) * np.cos(np.linspace(0, np.pi, points))) / 2
        for low, high in law.edges
    ]
    x = np.concatenate(pieces).astype(float)
    return x, np.asarray(law.density(x))


def histogram(values, bins):
    """Outline of a normalised histogram."""
    heights, _ = np.histogram(values, bins, density=True)
    return np.repeat(bins, 2), np.concatenate([[0], np.repeat(heights, 2), [0]])


def mean_and_error(values):
    return np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))


def largest(found):
    """The largest outlier at each step, NaN where there is none."""
    return np.asarray(found.values)[..., 0]


def aspect(aspects, seeds=6, m=300) -> dict:
    """Chapter 2: the rectangular law, from wide to tall."""
    rows, laws, seen, bins = {}, [], [], np.linspace(0, 3.2, 49)
    for c in aspects:
        laws.append(dm.rectangular_law(c, 1.0))
        draws = [
            np.random.default_rng(seed).standard_normal((round(c * m), m))
            for seed in range(seeds)
        ]
        seen.append(
            np.array([np.linalg.svd(M / np.sqrt(m), compute_uv=False) for M in draws])
        )
        ((low, high),) = laws[-1].edges
        rows[c,] = (low, high, *(mean_and_error(seen[-1][:, 0]) if seeds else ()))
    return figure(
        "Left: the density of singular values of a Gaussian matrix over a simulated histogram. Right: its edges "
        "against the aspect n/m. The lower edge touches zero for square matrices only.",
        [("aspect c = n/m", aspects, len(aspects) // 2)],
        [
            ("lower edge", "theory"),
            ("upper edge", "theory"),
            ("largest simulated", "simulation"),
            ("standard error", "simulation"),
        ],
        rows,
        dict(
            x="singular value",
            limits=[0, 3.2, 0, 1.8],
            marks=[],
            curves=[
                *(
                    [
                        curve(
                            "simulation",
                            "histogram",
                            [0],
                            [histogram(v, bins) for v in seen],
                        )
                    ]
                    if seeds
                    else []
                ),
                curve("theory", "theory", [0], [density(law, 40) for law in laws]),
            ],
        ),
        dict(
            y="edges", along=0, limits=[0, 3.2], log=True, lines=[0, 1], points=[2, 3]
        ),
    )


def spike(strengths, seeds=12, n=300) -> dict:
    """Chapter 3: a spike made with the matrix it is added to, from weak to strong."""
    law, rows = dm.rectangular_law(1.0, 1.0), {}
    draws = [np.random.default_rng(seed) for seed in range(seeds)]
    matrices = [rng.standard_normal((n, n)) / np.sqrt(n) for rng in draws]
    directions = [
        v / np.linalg.norm(v) for v in (rng.standard_normal(n) for rng in draws)
    ]
    for theta in strengths:
        spiked = dm.SpikedEnsemble(
            aspect=1.0,
            variance=1.0,
            left_gram=[[1.0]],
            right_gram=[[1.0]],
            left_response=[[1.0]],
            strengths=[[theta]],
        )
        tops = [
            np.linalg.norm(M + theta * np.outer(M @ v, v), 2)
            for M, v in zip(matrices, directions, strict=True)
        ]
        rows[theta,] = (
            largest(dm.outliers(spiked, max_outliers=1)),
            largest(dm.outliers(spiked.independent(), max_outliers=1)),
            law.edges[0][1],
            *(mean_and_error(tops) if tops else ()),
        )
    return figure(
        "Left: the bulk of singular values from 0 to 2 and the predicted outlier, which moves out with the strength. "
        "Right: the outlier against the strength. If the spike were independent it would escape at 1 instead of 0.41.",
        [("strength θ", strengths, len(strengths) // 2)],
        [
            ("outlier, theory", "theory"),
            ("if independent", "baseline"),
            ("bulk edge", "edge"),
            ("largest simulated", "simulation"),
            ("standard error", "simulation"),
        ],
        rows,
        dict(
            x="singular value",
            limits=[0, 3.2, 0, 0.8],
            curves=[curve("bulk law", "bulk", [], [density(law)])],
            marks=[0, 1],
        ),
        dict(
            y="largest singular value",
            along=0,
            limits=[1.8, 3.2],
            lines=[0, 1, 2],
            points=[3, 4],
        ),
    )


def richness(gammas, steps, seeds=6, dim=200) -> dict:
    """Chapter 6: W^1 of a deep linear network, against the output scale and the
    training time.
    """
    rows, seen_at = {}, (8, 16, 24, 32, 40)
    for gamma0 in gammas:
        net = dataclasses.replace(DEEP, gamma0=gamma0)
        sol = dm.solve(net)
        law = sol.bulk(1)
        theory = largest(sol.outliers(1, max_outliers=1))
        strangers = largest(sol.outliers(1, max_outliers=1, independent=True))
        sim = seeds and dm.simulate(
            net,
            dim=dim,
            seeds=seeds,
            seed=1,
            spectra_at=seen_at,
            ntk=False,
            progress=False,
        )
        for t in steps:
            simulated = (
                mean_and_error(sim.singular_values(1, t)[:, 0])
                if sim and t in seen_at
                else (None, None)
            )
            rows[gamma0, t] = (
                theory[t],
                strangers[t],
                law.edges[0][1],
                sol.test_loss[t],
                *simulated,
            )
    top = 1.05 * max(row[0] for row in rows.values() if np.isfinite(row[0]))
    return figure(
        "Left: the bulk of the singular values of W¹ and the predicted outlier. Right: the outlier against the "
        "training step. A larger output scale lets it escape earlier and go further.",
        [
            ("output scale γ₀", gammas, gammas.index(4.0) if 4.0 in gammas else 0),
            ("training step t", steps, len(steps) // 2),
        ],
        [
            ("outlier of W¹, theory", "theory"),
            ("if independent", "baseline"),
            ("bulk edge", "edge"),
            ("test loss", "text"),
            ("largest simulated", "simulation"),
            ("standard error", "simulation"),
        ],
        rows,
        dict(
            x="singular value of W¹",
            limits=[0, rounded(top), 0, 1.1],
            curves=[curve("bulk law", "bulk", [], [density(law)])],
            marks=[0, 1],
        ),
        dict(
            y="largest singular value of W¹",
            along=1,
            limits=[1.2, rounded(top)],
            lines=[0, 1, 2],
            points=[4, 5],
        ),
    )


def dimension(sizes) -> dict:
    """Chapter 6: W^1 of one deep linear network, from forty dimensions to a billion.
    Simulations are stored.
    """
    net = dm.DeepLinear(**stored("any_size_sizes")["network"])
    table = pd.read_csv(ROOT / "book/_data/any_size_sizes.csv")
    sol = dm.solve(net)
    law = sol.bulk(1)
    x, y = density(law)  # from zero, where it does not vanish
    outlier = largest(sol.outliers(1, max_outliers=1))[net.steps]
    rows, middle = {}, []
    for dim in sizes:
        at = table[table.D == dim].set_index("quantity")
        top, loss = at.loc["outlier W1"], at.loc["test_loss"]
        rows[dim,] = (
            outlier,
            law.edges[0][1],
            top["mean"],
            top.spread,
            1e6 * top.spread,
            sol.test_loss[net.steps],
            loss["mean"],
            1e6 * loss.spread,
        )
        low, high = top.low, top.high
        middle.append(([low, low, high, high], [0, 1, 1, 0]))
    return figure(
        "Left: the bulk of the singular values of W¹, the predicted outlier, and a box around the middle 90 % of "
        "networks of this size. Right: mean and spread of the outlier against the dimension. The box shrinks onto the "
        "prediction as the dimension grows.",
        [("dimension D", sizes, 0)],
        [
            ("outlier of W¹, theory", "theory"),
            ("bulk edge", "edge"),
            ("mean of networks", "simulation"),
            ("their spread", "simulation"),
            ("spread of the outlier in millionths", "text"),
            ("test loss, theory", "text"),
            ("mean test loss", "text"),
            ("spread of the test loss in millionths", "text"),
        ],
        rows,
        dict(
            x="singular value of W¹",
            limits=[0, 2.2, 0, 1.1],
            marks=[0, 1],
            curves=[
                curve("middle 90 % of networks", "histogram", [0], middle),
                curve("bulk law", "bulk", [], [([0, *x], [0, *y])]),
            ],
        ),
        dict(
            y="largest singular value of W¹",
            along=0,
            limits=[1.3, 2.0],
            log=True,
            lines=[0, 1],
            points=[2, 3],
        ),
    )


def width(ratios, steps) -> dict:
    """Chapter 8: W^1 of a deep linear network against its width, in both
    parameterizations. Simulations are stored.
    """
    rows = {}
    table = pd.read_csv(ROOT / "book/_data/width.csv").query(
        "parameterization == 'mup' and matrix == 1"
    )
    simulated = {
        row.width_ratio: (row["mean"], row.standard_error)
        for _, row in table.iterrows()
    }
    for ratio in ratios:
        nets = [
            dm.DeepLinear(width_ratio=ratio, parameterization=name, **WIDTHS)
            for name in ("mup", "ntk")
        ]
        solved = [dm.solve(net) for net in nets]
        law, paths = (
            solved[0].bulk(1),
            [largest(sol.outliers(1, max_outliers=1)) for sol in solved],
        )
        for t in steps:
            seen = (
                simulated.get(ratio, (None, None))
                if t == WIDTHS["steps"]
                else (None, None)
            )
            rows[ratio, t] = (paths[0][t], paths[1][t], law.edges[0][1], *seen)
    return figure(
        "Left: the bulk of the singular values of W¹ and the outlier in muP and in NTK parameterization. Right: the "
        "outlier against the width. In muP it converges to a place outside the bulk, in NTK parameterization it falls "
        "back into the bulk.",
        [
            ("width ratio ν", ratios, ratios.index(2.0) if 2.0 in ratios else 0),
            ("training step t", steps, len(steps) - 1),
        ],
        [
            ("outlier in muP", "theory"),
            ("in NTK parameterization", "baseline"),
            ("bulk edge", "edge"),
            ("simulated, muP", "simulation"),
            ("standard error", "simulation"),
        ],
        rows,
        dict(
            x="singular value of W¹",
            limits=[0, 2.2, 0, 1.1],
            marks=[0, 1],
            curves=[curve("bulk law", "bulk", [], [density(law)])],
        ),
        dict(
            y="largest singular value of W¹",
            along=0,
            limits=[1.2, 2.2],
            log=True,
            lines=[0, 1, 2],
            points=[3, 4],
        ),
    )


def transfer(rates, ratios) -> dict:
    """Chapter 10: the loss after some steps against the learning rate, at each width.
    Theory only.
    """
    rows, losses = {}, {"mup": [], "ntk": []}
    for rate, ratio in itertools.product(rates, ratios):
        for name, found in losses.items():
            net = dm.DeepLinear(
                width_ratio=ratio, learning_rate=rate, parameterization=name, **TRANSFER
            )
            loss = np.asarray(dm.solve(net, throw=False).train_loss)
            found.append(
                np.where(loss < 10, loss, np.nan)
            )  # beyond, it has as good as diverged
        rows[rate, ratio] = (losses["mup"][-1][-1], losses["ntk"][-1][-1])
    steps = np.arange(TRANSFER["steps"] + 1)
    curves = [
        curve(label, style, [0, 1], [(steps, loss) for loss in losses[name]])
        for name, style, label in (
            ("mup", "theory", "muP"),
            ("ntk", "baseline", "NTK parameterization"),
        )
    ]
    return figure(
        "Left: the training loss, step by step, in muP and in NTK parameterization. Right: the loss after 15 steps "
        "against the learning rate. As the width grows the best rate stays where it is in muP, and moves in NTK "
        "parameterization.",
        [
            ("learning rate η", rates, len(rates) // 2),
            ("width ratio ν", ratios, len(ratios) // 2),
        ],
        [
            ("loss in muP (none: diverged)", "theory"),
            ("in NTK parameterization", "baseline"),
        ],
        rows,
        dict(
            x="training step t",
            y="training loss",
            limits=[0, TRANSFER["steps"], 0, 1.4],
            marks=[],
            curves=curves,
        ),
        dict(
            y="loss after 15 steps",
            along=0,
            limits=[0, 0.4],
            log=True,
            lines=[0, 1],
            points=[],
        ),
    )


def outputs(ratios, seeds=3, width=300) -> dict:
    """Chapter 12: a trained layer with ever more outputs."""
    rows, laws, seen, bins = {}, [], [], np.linspace(0, 5.6, 57)
    for ratio in ratios:
        net = dataclasses.replace(WIDE, output_ratio=ratio)
        laws.append(dm.solve(net).bulk(0))
        edges = [float(x) for pair in laws[-1].edges for x in pair]
        if seeds:
            sim = dm.simulate(
                net, width=width, seeds=seeds, spectra_at=(WIDE.steps,), updates=False
            )
            seen.append(sim.singular_values(0, WIDE.steps))
        rows[ratio,] = (
            edges[0],
            edges[-1],
            *(edges[1:3] if len(edges) == 4 else (None, None)),
            *(mean_and_error(seen[-1][:, 0]) if seeds else ()),
        )
    curves = (
        [curve("simulation", "histogram", [0], [histogram(v, bins) for v in seen])]
        if seeds
        else []
    )
    start = dm.rectangular_law(1 / WIDE.input_ratio, WIDE.input_ratio)
    return figure(
        "Left: the density of singular values of a trained layer over a simulated histogram. Right: the edges of its "
        "bulk and of the band of outliers. The band widens with the number of outputs and merges with the bulk near "
        "C/N = 0.15.",
        [("outputs per width C/N", ratios, min(6, len(ratios) // 2))],
        [
            ("lowest edge", "theory"),
            ("highest edge", "theory"),
            ("gap from", "theory"),
            ("gap to", "theory"),
            ("largest simulated", "simulation"),
            ("standard error", "simulation"),
        ],
        rows,
        dict(
            x="singular value",
            limits=[0, 5.6, 0, 1.2],
            marks=[],
            curves=[
                *curves,
                curve("before training", "baseline", [], [density(start)]),
                curve("theory", "theory", [0], [density(law, 40) for law in laws]),
            ],
        ),
        dict(
            y="edges",
            along=0,
            limits=[0, 5.6],
            log=True,
            lines=[0, 1, 2, 3],
            points=[4, 5],
        ),
    )


FIGURES = dict(  # the function, and the values of its knobs
    aspect=(aspect, np.round(np.geomspace(0.1, 4, 25), 2).tolist()),
    spike=(spike, np.round(np.arange(0.05, 1.651, 0.05), 2).tolist()),
    richness=(richness, (np.arange(2, 13) / 2).tolist(), list(range(0, 41, 2))),
    dimension=(dimension, [40, *(10**k for k in range(2, 10))]),
    width=(
        width,
        [0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0, 16.0],
        list(range(0, 41, 4)),
    ),
    transfer=(
        transfer,
        np.round(np.geomspace(0.02, 0.3, 25), 3).tolist(),
        [0.5, 1.0, 2.0, 4.0, 8.0, 16.0],
    ),
    outputs=(
        outputs,
        [
            0.002,
            0.005,
            0.01,
            0.02,
            0.03,
            0.045,
            0.06,
            0.08,
            0.1,
            0.12,
            0.14,
            0.16,
            0.18,
            0.2,
            0.25,
            0.3,
            0.4,
            0.5,
            0.65,
            0.8,
            1.0,
            1.25,
        ],
    ),
)


def path(name: str) -> Path:
    return FOLDER / f"{name}.js"


def load(name: str) -> dict:
    return json.loads(
        path(name).read_text().removeprefix("sliderData(").removesuffix(");\n")
    )


def main(names) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in names or FIGURES:
        made = dict(
            by=f"tools/sliders.py {name}",
            on=str(date.today()),
            python=platform.python_version(),
            numpy=np.__version__,
        )
        make, *values = FIGURES[name]
        data = dict(name=name, **make(*values), made=made)
        path(name).write_text(
            f"sliderData({json.dumps(data, ensure_ascii=False, separators=(',', ':'))});\n"
        )
        print(
            f"{path(name).relative_to(ROOT)}: {path(name).stat().st_size / 1e3:.0f} kB"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
