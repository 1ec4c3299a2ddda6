"""Every table that holds a theory against simulation, judged in one way, for the page on
how claims are tested: `protocol.report` of the theory and of those broken on purpose.

theories    what the theories of chapters 3, 6, 9, 10 and 12 say, right and broken, whose
            simulations are stored (two minutes on a core)
worths      how many independent rows the correlated rows of a table are worth, from its
            smallest networks, trained again with the same seeds (a minute or two)
referee     the report of every table, from stored tables alone; where there are several
            sizes also without the smallest, and the size from which a broken theory is
            refused

Writes theories.csv, worths.csv and referee.csv to book/_data, from the folder book:

    cd book; python -m experiments.referee [theories] [worths [table ...]]
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

import dmftlib as dm
from dmftlib.history import LinearQueries
from dmftlib.spectra.ntk import kernel_spectrum
from dmftlib.spectra.outliers import outliers_by_step
from experiments import (
    deep_linear,
    dependent_spikes,
    digits,
    muon_adam,
    nine_outliers,
    nonlinear,
    ntk,
    optimisers,
    outputs_verdict,
    protocol,
    sgd,
    simpler,
    transfer,
)
from experiments import losses as losses_of
from experiments import wide_output as wide

EDGE = 2 / 3  # the end of a bulk comes in as N^(-2/3)
Named = dict[str, float]  # quantity -> theory


# ---------------------------------------------------------------- what theories say


def spikes() -> Iterator[tuple[str, float, Named]]:
    """(which, exponent, theory) of chapter 3."""
    from derivations.spikes import tanh_chain  # of the book

    chain = tanh_chain(dependent_spikes.ASPECT, dependent_spikes.STRENGTHS)
    fields = (
        "aspect variance left_gram right_gram left_response right_response strengths"
    )
    given = {name: getattr(chain, name) for name in fields.split()}
    broken = {
        "theory": {},
        "variance 5% larger": dict(variance=1.05),
        "A dropped": dict(right_response=np.zeros((2, 2))),
        "B 10% smaller": dict(left_response=0.9 * chain.left_response),
        "variance 2% larger": dict(variance=1.02),
        "a half missing in A": dict(right_response=2 * chain.right_response),
        "a sign wrong in A": dict(right_response=-chain.right_response),
    }
    for which, change in broken.items():
        yield which, 1.0, both_outliers(dm.SpikedEnsemble(**given | change))
    yield "taken as independent", 1.0, both_outliers(chain.independent())


def both_outliers(ensemble) -> Named:
    """Two outliers and their overlaps with all queries."""
    got, named = dm.outliers(ensemble, max_outliers=2), {}
    for k in range(2):
        named[f"outlier {k + 1}"] = float(got.values[k])
        for j in range(2):
            named[f"left overlap {k + 1}, g_{j + 1}"] = float(got.left_overlap[k, j])
            named[f"right overlap {k + 1}, h_{j + 1}"] = float(got.right_overlap[k, j])
    return named


def losses(name, solved, every=1) -> Named:
    return {
        f"{name}: {kind} at {t}": float(getattr(solved, kind)[every * t])
        for kind in ("train_loss", "test_loss")
        for t in deep_linear.LOSSES_AT
    }


def spectra(name, solved, change=LinearQueries.history, every=1) -> Named:
    """Outliers (the edge where there is none) and overlaps, from weight histories that
    may be tampered with.
    """
    named, last = {}, deep_linear.SPECTRA_AT[-1]
    for layer in range(solved.net.hidden_layers):
        history = change(solved.queries(layer).compressed(1e-6))
        found = outliers_by_step(history, max_outliers=1)
        edge = float(dm.rectangular_law(history.aspect, history.variance).edges[0][1])
        for t in deep_linear.SPECTRA_AT:
            top = float(np.nan_to_num(found.values[every * t, 0], nan=edge))
            named[f"{name}: outlier of W^{layer} at {t}"] = top
        for side in ("left", "right"):
            overlaps = getattr(found, f"{side}_overlap")[every * last, 0]
            share = float(np.nan_to_num(overlaps[every * deep_linear.QUERY]))
            named[f"{name}: {side} overlap of W^{layer} at {last}"] = share
    return named


TAMPERED = {
    "a fresh M(0)": lambda queries: simpler.fresh(queries.history()),
    "the first step extrapolated": lambda q: simpler.extrapolated(q.history()),
    "a half missing in A": lambda queries: simpler.response_times(
        queries, "right_response", 2
    ).history(),
    "a sign wrong in B": lambda queries: simpler.response_times(
        queries, "left_response", -1
    ).history(),
}


def linear() -> Iterator[tuple[str, float, Named]]:
    """Chapter 6."""
    nets = {n: dm.DeepLinear(**s) for n, s in deep_linear.NETWORKS.items()}

    def both(name, net, every=1):
        solved = dm.solve(net)
        return losses(name, solved, every) | spectra(name, solved, every=every)

    yield "theory", 1.0, united(both(*one) for one in nets.items())
    solved = {name: dm.solve(net) for name, net in nets.items()}
    wider = {name: simpler.wider(net) for name, net in nets.items()}
    yield (
        "initial variance 2% larger",
        1.0,
        united(both(*one) for one in wider.items()),
    )
    flows = [simpler.flow(net, partial(both, name)) for name, net in nets.items()]
    yield "gradient flow", 1.0, united(flows)
    for which, change in TAMPERED.items():
        wrong = [spectra(name, one, change) for name, one in solved.items()]
        yield which, 1.0, united(wrong)


def united(parts) -> Named:
    return {key: value for part in parts for key, value in part.items()}


def kernels() -> Iterator[tuple[str, float, Named]]:
    """Chapter 9."""
    nets = {n: dm.DeepLinear(**setting) for n, setting in ntk.NETWORKS.items()}
    wider = {name: simpler.wider(net) for name, net in nets.items()}
    for which, chosen in (("theory", nets), ("initial variance 2% larger", wider)):
        found = {name: dm.solve(net).ntk for name, net in chosen.items()}
        yield which, 1.0, united(modes(*one) for one in found.items())
        yield which, EDGE, united(edges(*one) for one in found.items())
    for exponent, read in ((1.0, modes), (EDGE, edges)):
        flows = [kernel_flow(name, net, read) for name, net in nets.items()]
        yield "gradient flow", exponent, united(flows)
    strangers = {
        name: kernel_spectrum(net, dm.solve(net).few_directions, fresh_inputs=True)
        for name, net in nets.items()
    }
    found = united(modes(*one) for one in strangers.items())
    yield "weights as strangers to the data, modes", 1.0, found


def kernel_flow(name, net, read) -> Named:
    return simpler.flow(net, lambda net, every: read(name, dm.solve(net).ntk, every))


def modes(name, kernel, every=1) -> Named:
    return {
        f"{name}: leading mode at {t}": float(
            np.fmax(kernel.edge[every * t], kernel.outliers[every * t, 0])
        )
        for t in (ntk.ESCAPE, ntk.LATE)
    }


def edges(name, kernel, every=1) -> Named:
    return {
        f"{name}: edge at {t}": float(kernel.edge[every * t])
        for t in (ntk.EARLY, ntk.LATE)
    }


def rates() -> Iterator[tuple[str, float, Named]]:
    """Chapter 10: by the parabola of the simulation, at the same rates."""
    stored = protocol.load("transfer").set_index(["parameterization", "width_ratio"])
    right, noisier, unstable = {}, {}, {}
    for name in transfer.PARAMETERIZATIONS:
        for ratio in transfer.SIMULATED:
            key = f"{name} {ratio:g}: "
            right |= read(key, name, ratio)
            noisier |= read(key, name, ratio, partial(simpler.wider, factor=1.05))
            known = stored.loc[(name, ratio)]
            bias = right[key + "best rate"] / known.best_rate  # of the parabola
            unstable[key + "best rate"] = bias * 2 / known.last_sharpness
    yield "theory", 1.0, right
    yield "initial variance 5% larger", 1.0, noisier
    square = read("", "mup", 1.0)["best rate"]
    found = {f"mup {ratio:g}: best rate": square for ratio in transfer.SIMULATED}
    yield "one best rate at every width, muP", 1.0, found
    yield "2 over the last sharpness, best rates", 1.0, unstable


def read(key, name, ratio, change=lambda net: net) -> Named:
    near = transfer.tried(name, ratio)
    nets = [change(transfer.network(name, ratio, rate)) for rate in near]
    tried = np.array([dm.solve(net, throw=False).train_loss[-1] for net in nets])
    return {key + "best rate": transfer.parabola(near, tried), key + "loss": tried[4]}


def many() -> Iterator[tuple[str, float, Named]]:
    """Chapter 12."""
    broken = {
        "theory": lambda net: {},
        "variance 5% larger": lambda net: dict(init_variance=1.05),
        "target 5% larger": lambda net: dict(
            target_variance=1.05 * net.target_variance
        ),
        "one step more": lambda net: dict(steps=31),
        "C/N 5% larger": lambda net: dict(output_ratio=1.05 * net.output_ratio),
    }
    for which, change in broken.items():
        found = [band(n, replace(net, **change(net))) for n, net in wide.FROZEN.items()]
        yield which, EDGE, united(ends for ends, _ in found)
        yield which, 1.0, united(averages for _, averages in found)


def band(name, net) -> tuple[Named, Named]:
    """What ends a bulk, and averages over it."""
    solved = dm.solve(net)
    law = solved.bulk(0)
    (low, *_), *_ = filled = [tuple(map(float, pair)) for pair in law.edges]
    ends = {f"{name}: top": filled[-1][1]}
    if name == "few":
        ends["few: bottom of the band"] = filled[-1][0]
        ends["few: top of the bulk"] = filled[0][1]
    else:
        ends["many: bottom"] = low
    update = solved.trajectory.update[-1] @ solved.trajectory.weights
    top = float(solved.update_bulk(0).edges[-1][1])
    rank = net.input_ratio * float(update) / top**2
    ends[f"{name}: update, stable rank / N"] = rank
    averages = {
        f"{name}: mean": average(law, filled, 1),
        f"{name}: mean square": average(law, filled, 2),
        f"{name}: loss": float(solved.test_loss[-1]),
    }
    return ends, averages


def average(law, filled, power: int) -> float:
    """Of x^power over the law, in the angle that removes the roots at the edges."""
    angle = np.pi * (np.arange(400) + 0.5) / 400
    total = 0.0
    for low, high in filled:
        x = (low + high - (high - low) * np.cos(angle)) / 2
        height = np.asarray(law.density(x)) * np.sin(angle)
        total += float((height * x**power).sum() * (high - low) / 2 * np.pi / 400)
    return total


COMPUTED = dict(
    dependent_spikes=spikes,
    deep_linear=linear,
    ntk=kernels,
    transfer_simulation=rates,
    wide_frozen=many,
)


def theories() -> pd.DataFrame:
    rows = []
    for name, said in COMPUTED.items():
        for which, exponent, values in said():
            rows += [
                dict(
                    table=name,
                    which=which,
                    exponent=exponent,
                    quantity=quantity,
                    theory=float(value),
                    theory_standard_error=0.0,
                )
                for quantity, value in values.items()
            ]
        print(name, flush=True)
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- what tables say


class Table(NamedTuple):
    """Simulations, and what each theory says of them."""

    chapter: int
    name: str
    means: pd.DataFrame
    theories: dict[str, pd.DataFrame]


def judged(means: pd.DataFrame, said: pd.DataFrame) -> pd.DataFrame:
    """The rows of one theory that there are means of, each in its power of N."""
    said = said[said.quantity.isin(means.quantity)]
    parts = [
        protocol.judge(
            means,
            dict(zip(part.quantity, part.theory, strict=True)),
            exponent,
            dict(zip(part.quantity, part.theory_standard_error, strict=True)),
            *batches_of(part),
        )
        for exponent, part in said.groupby("exponent", sort=False)
    ]
    return pd.concat(parts, ignore_index=True)


def batches_of(part: pd.DataFrame) -> list[int]:
    """Of a sampled theory, where they are not as many as usual."""
    return [int(part.batches.iloc[0])] if "batches" in part else []


def told(said: dict) -> pd.DataFrame:
    """A theory without errors, in 1/N."""
    return pd.DataFrame(
        dict(
            quantity=list(said),
            theory=list(said.values()),
            theory_standard_error=0.0,
            exponent=1.0,
        )
    )


def by_which(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    whole = {which: part for which, part in rows.groupby("which", sort=False)}
    return {"theory": whole.pop("theory")} | whole


def sampled(name: str) -> dict[str, pd.DataFrame]:
    """The theories in a stored table."""
    return by_which(protocol.load(f"{name}_theory").assign(exponent=1.0))


def of_sgd(size: int) -> list[pd.DataFrame]:
    """Of chapter 8."""
    nets = {name: dm.DeepLinear(**setting) for name, setting in sgd.NETWORKS.items()}
    return [
        sgd.simulated(name, net, size, sgd.seeds(size), size)
        for name, net in nets.items()
    ]


def of_chapter_5(size: int) -> list[pd.DataFrame]:
    return [digits.simulated(digits.network(), size)[digits.JUDGED]]


def of_chapter_9(size: int) -> list[pd.DataFrame]:
    found = []
    for name, setting in ntk.NETWORKS.items():
        net = dm.DeepLinear(**setting)
        run = dm.simulate(
            net,
            dim=size,
            seeds=ntk.seeds(size),
            seed=size,
            spectra_at=ntk.AT,
            progress=False,
        )
        table = ntk.measured(name, run, dm.solve(net).ntk)
        judged = [key for key in table if "Kolmogorov" not in key]
        found.append(table[judged])
    return found


def of_chapter_12(size: int) -> list[pd.DataFrame]:
    return [protocol.simulate(wide.draw, [size], wide.seeds)[size]]


def of_chapter_7(size: int) -> list[pd.DataFrame]:
    together = averaged()
    return [nonlinear.simulated(name, size, together[name]) for name in together]


def of_chapter_14(size: int) -> list[pd.DataFrame]:
    """As many networks of each setting as of that with the fewest."""
    few = min(seeds[size] for seeds in muon_adam.SEEDS.values())
    found = []
    for name in muon_adam.CASES:
        quantities = muon_adam.rows_of("theory", name).quantity
        rows = muon_adam.drawn(name, size)[:few]
        found.append(pd.DataFrame({q: muon_adam.read(rows, q) for q in quantities}))
    return found


# The smallest networks of a table, a row a seed. Their seeds are those of the stored run,
# so that their correlations are those of the stored means.
SMALLEST = dict(
    sgd=(sgd, of_sgd),
    optimisers=(
        optimisers,
        lambda size: [optimisers.simulated(name, size) for name in optimisers.CASES],
    ),
    losses=(losses_of, lambda size: [losses_of.simulated(size)]),
    deep_linear=(
        deep_linear,
        lambda size: [trained(name, size) for name in deep_linear.NETWORKS],
    ),
    digits=(digits, of_chapter_5),
    nonlinear=(nonlinear, of_chapter_7),
    ntk=(ntk, of_chapter_9),
    wide_frozen=(wide, of_chapter_12),
    muon_adam=(muon_adam, of_chapter_14),
)


def averaged() -> dict[str, dict[int, int]]:
    """How many outliers of each layer of chapter 7 are averaged."""
    note = json.loads((protocol.DATA / "nonlinear.json").read_text())["theories"]
    return {
        name: {int(layer): count for layer, count in of["averaged"].items()}
        for name, of in note.items()
    }


def trained(name: str, size: int) -> pd.DataFrame:
    """A network of chapter 6."""
    simulation = dm.simulate(
        dm.DeepLinear(**deep_linear.NETWORKS[name]),
        dim=size,
        seeds=deep_linear.seeds(size),
        seed=size,
        overlaps=1,
        spectra_at=deep_linear.SPECTRA_AT,
        ntk=False,
        progress=False,
    )
    return deep_linear.measured(name, simulation)


def worths(names) -> None:
    """How many independent rows these tables are worth, kept as soon as it is known."""
    for name in names:
        script, draw = SMALLEST[name]
        size = min(script.SIZES)
        samples = pd.concat(draw(size), axis=1)
        means = protocol.load(name).query("N == @size").set_index("quantity")
        again = samples.mean() - means["mean"][samples.columns]
        row = dict(
            table=name,
            N=size,
            seeds=len(samples),
            rows=samples.shape[1],
            worth=protocol.worth(samples),
            # nothing, where the stored run is repeated to the last digit kept
            largest_change=(again.abs() / means.standard_error).max(),
        )
        print(row, flush=True)
        protocol.keep_worth(row)


def several_sizes() -> Iterator[Table]:
    stored = protocol.load("theories")
    chapters = dict(
        dependent_spikes=3,
        digits=5,
        deep_linear=6,
        nonlinear=7,
        nonlinear_deep=7,
        near_edge=7,
        nine_outliers=7,
        sgd=8,
        escape_half=8,
        across_width_outliers=8,
        ntk=9,
        across_width_kernel=9,
        transfer_simulation=10,
        across_width_rates=10,
        wide_frozen=12,
        optimisers=13,
        losses=13,
        muon_adam=14,
    )
    read = dict(
        sgd=noisy,
        near_edge=close,
        nine_outliers=of_a_hundred_digits,
        escape_half=escaped,
        digits=partial(sampled, "digits"),
        nonlinear=partial(sampled, "nonlinear"),
        nonlinear_deep=partial(sampled, "nonlinear_deep"),
        optimisers=partial(sampled, "optimisers"),
        losses=partial(sampled, "losses"),
        muon_adam=partial(sampled, "muon_adam"),
        across_width_kernel=partial(sampled, "across_width_kernel"),
        across_width_outliers=partial(sampled, "across_width_outliers"),
        across_width_rates=partial(sampled, "across_width_rates"),
    )
    for name, chapter in chapters.items():
        means = protocol.load(name)
        if name == "near_edge":
            means = means[means.part == "plain"].assign(quantity=at_layer)
        if name in read:
            said = read[name]()
        else:
            said = by_which(stored[stored.table == name])
        yield Table(chapter, name, means, said)


def noisy() -> dict[str, pd.DataFrame]:
    """Of chapter 8, which are kept with their simulation."""
    note = json.loads((protocol.DATA / "sgd.json").read_text())
    return {which: told(said) for which, said in note["theories"].items()}


def at_layer(table: pd.DataFrame) -> pd.Series:
    return "W^" + table.layer.astype(str)


def close() -> dict[str, pd.DataFrame]:
    """The two outliers of chapter 7 that are nearest to their edge."""
    name = "relu 3, three outputs, SGD: outlier of "
    rows = protocol.load("nonlinear_theory").assign(exponent=1.0)
    rows = rows[rows.quantity.str.startswith(name)]
    return by_which(rows.assign(quantity=rows.quantity.str.removeprefix(name)))


def of_a_hundred_digits() -> dict[str, pd.DataFrame]:
    """Of chapter 7: the theory without options, and independent spikes."""
    parts = map(nine_outliers.rows_of, ("theory", "a fresh M(0)"))
    return by_which(pd.concat(parts).assign(exponent=1.0))


def escaped() -> dict[str, pd.DataFrame]:
    """Half of the seeds have escaped at the critical scale, which is one."""
    quantities = protocol.load("escape_half").quantity.unique()
    return {"theory": told(dict.fromkeys(quantities, 1.0)).assign(exponent=1 / 3)}


def one_size() -> Iterator[tuple[int, str, pd.DataFrame]]:
    """(chapter, table, rows as of `protocol.judge`), nothing extrapolated."""
    billion = protocol.load("any_size_billion")
    billion = billion[np.isfinite(billion.z)]
    yield (
        6,
        "any_size_billion",
        alone(billion.z, billion.degrees_of_freedom.fillna(np.inf)),
    )
    width = protocol.load("width").dropna()
    z = (width["mean"] - width.theory) / width.standard_error
    yield 8, "width", alone(z, width.seeds - 1)


def alone(z: pd.Series, freedom: pd.Series) -> pd.DataFrame:
    p = 2 * stats.t.sf(z.abs(), freedom)
    nothing = dict(bend=np.nan, bend_freedom=0, bend_p=np.nan)
    return pd.DataFrame(dict(z=z, freedom=freedom, p=p, **nothing))


def worth(name: str, which: str) -> float | None:
    """Of the rows of a table, where it is known."""
    known = protocol.load("worths").set_index("table").worth
    return float(known[name]) if which == "theory" and name in known else None


def reports() -> pd.DataFrame:
    """A row for each theory of each table."""
    rows = []
    for table in several_sizes():
        sizes = sorted(table.means.N.unique())
        fewer = protocol.extrapolable(table.means[table.means.N > sizes[0]])
        for which, said in table.theories.items():
            found = judged(table.means, said)
            less = protocol.report(judged(fewer, said), worth(table.name, which))
            row = dict(chapter=table.chapter, table=table.name, which=which)
            row |= protocol.report(found, worth(table.name, which))._asdict()
            row |= dict(least_freedom=found.freedom.min(), least=sizes[0])
            row |= dict(largest=sizes[-1], less_mean_z2=less.mean_z2, less_p=less.p)
            if which != "theory":
                judge = partial(judged, said=said)
                row["seen_from"] = protocol.seen_from(table.means, judge)
            rows.append(row)
    for chapter, name, found in one_size():
        row = dict(chapter=chapter, table=name, which="theory")
        row |= protocol.report(found)._asdict()
        rows.append(row | dict(least_freedom=found.freedom.min()))
    return pd.DataFrame(rows).sort_values("chapter", kind="stable", ignore_index=True)


# ---------------------------------------------------------------- chapter 11


PICTURES = dict(mlp=(256, "sgd"), cnn=(64, "sgd"), gpt=(96, "adam"))


def powers() -> pd.DataFrame:
    """What the rule of `outputs_verdict` says of each family, and whether it could have
    said something else: a power above one half can miss what it looks for.
    """
    found = outputs_verdict.verdicts().reset_index()
    rows = []
    for (family, outputs), part in found.groupby(["family", "outputs"], sort=False):
        said = part.verdict.value_counts()
        row = dict(family=family, outputs=outputs, kinds=len(part))
        row |= {word: int(said.get(word, 0)) for word in VERDICTS}
        row |= dict(able=int((part.power <= 0.5).sum()), least=part.power.min())
        rows.append(row)
    return pd.DataFrame(rows)


VERDICTS = ("finite", "restructured", "between", "open")


def rises() -> pd.DataFrame:
    """How log S of the bulk rises from few outputs to many, over seeds: Student's."""
    runs = pd.concat(map(protocol.load, ("images", "gpt")), ignore_index=True)
    runs["log_S"] = np.log(runs.kolmogorov / runs.noise)
    runs = runs[(runs.hidden == 1) & (runs.step == runs.steps)]
    rows = []
    for network, (width, optimizer) in PICTURES.items():
        chosen = runs[(runs.network == network) & (runs.width == width)]
        chosen = chosen[chosen.optimizer == optimizer]
        chosen = chosen[chosen.loss == "cross-entropy"]
        seeds = chosen.groupby(["outputs", "seed"]).log_S.mean().unstack("seed")
        few, large = (
            seeds.loc[f()].dropna() for f in (seeds.index.min, seeds.index.max)
        )
        rows.append(
            dict(network=network, few=few.name, many=large.name) | rise(few, large)
        )
    return pd.DataFrame(rows)


def rise(few: pd.Series, large: pd.Series) -> dict:
    """The difference of two means, with Welch's t."""
    variances = [part.var() / len(part) for part in (few, large)]
    error = sum(variances) ** 0.5
    freedom = protocol.effective(variances, [len(few) - 1, len(large) - 1])
    t = (large.mean() - few.mean()) / error
    return dict(
        seeds=len(few),
        rise=large.mean() - few.mean(),
        standard_error=error,
        t=t,
        freedom=freedom,
        p=2 * stats.t.sf(abs(t), freedom),
        limit=stats.t.isf(stats.norm.sf(3), freedom),
    )


NOTE = dict(script="experiments/referee.py")

if __name__ == "__main__":
    if "worths" in sys.argv:
        worths([name for name in SMALLEST if name in sys.argv] or SMALLEST)
    if "theories" in sys.argv:
        protocol.save("theories", theories(), digits=10, **NOTE)
    protocol.save("referee_outputs", powers(), digits=4, **NOTE)
    protocol.save("referee_rises", rises(), digits=4, **NOTE)
    found = reports()
    protocol.save("referee", found, digits=6, **NOTE)
    print(found.round(4).to_string())
