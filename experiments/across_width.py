"""Claims of chapters 8, 9 and 10 that theory made alone, simulated across width in both
parameterizations, at sizes that only sampling in coordinates reaches.

    python -m experiments.across_width [part ...] [--size D]

parts: kernel outliers rates

kernel     the leading mode of the tangent kernel at width ratios from one half to eight,
           at two steps (chapter 9)
outliers   the largest singular values of W^0 and W^1 at three steps, from half the width
           of the input to 256 times it (chapter 8)
rates      the best learning rate after fifteen steps, by the parabola of chapter 10,
           among rates that are the same for all networks and centred on none

Each part has four sizes, a factor ten apart, and as many seeds at each. Means are
extrapolated linearly in 1/D. A row is asked for where theory puts it CLEAR of the edge,
as those at an edge do not settle. No two networks share random numbers, nor do two
sizes; the rates of a network share theirs. All this was fixed before the first run
(2026-11-27). One rule was made after it: a size at which a network shows no mode outside
its bulk, or none that has settled, is left out of that row. That concerns one row of
`kernel` at its smallest size and one of `outliers` at its two largest.

Writes across_width_PART.csv (means), across_width_PART_theory.csv (the theory and those
broken on purpose) and a line of worths.csv to book/_data; some ten minutes a part on a
core.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

import dmftlib as dm
from dmftlib.spectra.ntk import kernel_spectrum
from experiments import protocol, simpler, transfer
from experiments import width as width_study

SIZES, SEEDS = (10**3, 10**4, 10**5, 10**6), 12  # D
LARGER = (10**4, 10**5, 10**6, 10**7)  # for rates: at 10^3 losses scatter by percents
CLEAR = 1.01  # theory over the edge, of singular values; of eigenvalues its square
PARAMETERIZATIONS = ("mup", "ntk")
KEPT = protocol.DATA.parent / "_build/across_width"
Named = dict[str, float]


class Part(NamedTuple):
    """One of the three tables: its networks by name, what theory says of one, what
    one simulated at a size shows (a row a seed), and how theory is broken.
    """

    networks: dict[str, dm.DeepLinear]
    theory: Callable[[str, dm.DeepLinear], Named]
    simulated: Callable[[str, dm.DeepLinear, int, int], pd.DataFrame]
    broken: Callable[["Part"], Iterator[tuple[str, Named]]]
    sizes: tuple[int, ...] = SIZES


def networks(ratios, narrow, **setting) -> dict[str, dm.DeepLinear]:
    """Both parameterizations, which are one network at ratio one; in that of the
    kernel the ratios up to `narrow`.
    """
    return {
        f"{name} {ratio:g}": dm.DeepLinear(
            width_ratio=ratio, parameterization=name, **setting
        )
        for name in PARAMETERIZATIONS
        for ratio in ratios
        if name == "mup" or ratio != 1.0 and ratio <= narrow
    }


# ---------------------------------------------------------------- chapter 9

KERNEL = dict(
    hidden_layers=2,
    sample_ratio=4.0,
    gamma0=4.0,
    init_variance=0.5,
    label_noise=0.2,
    learning_rate=0.04,
    steps=40,
)
KERNEL_RATIOS, KERNEL_AT = (0.5, 2.0, 8.0), (10, 40)


def modes(name, net) -> Named:
    return leading(name, dm.solve(net).ntk)


def leading(name, kernel, every=1) -> Named:
    tops, edges = kernel.outliers[::every, 0], kernel.edge[::every]
    return {
        f"{name}: leading mode at {t}": float(tops[t])
        for t in KERNEL_AT
        if tops[t] > CLEAR**2 * edges[t]
    }


def simulated_modes(name, net, dim, seed) -> pd.DataFrame:
    run = coordinates(net, dim, seed, KERNEL_AT, ntk=True)
    return pd.DataFrame(
        {
            f"{name}: leading mode at {t}": run.ntk_eigenvalues(t)[:, 0]
            for t in KERNEL_AT
        }
    )


def broken_modes(part: Part):
    yield "initial variance 2% larger", said(part, simpler.wider)
    flows = [kernel_flow(name, net) for name, net in part.networks.items()]
    yield "gradient flow", united(flows)
    alone = [strangers(name, net) for name, net in part.networks.items()]
    yield "weights as strangers to the data", united(alone)
    yield "the width of the input at any width", said(part, square)


def kernel_flow(name, net) -> Named:
    return simpler.flow(net, lambda net, every: leading(name, dm.solve(net).ntk, every))


def strangers(name, net) -> Named:
    """Modes of the kernel of the same weights on inputs that they have not met, at its
    edge where there is none.
    """
    few = dm.solve(net).few_directions
    kernel = kernel_spectrum(net, few, fresh_inputs=True)
    tops = np.fmax(kernel.edge, kernel.outliers[:, 0])
    return {f"{name}: leading mode at {t}": float(tops[t]) for t in KERNEL_AT}


# ---------------------------------------------------------------- chapter 8

RATIOS, OUTLIERS_AT = (0.5, 4.0, 16.0, 64.0, 256.0), (10, 20, 40)


def outliers(name, net, independent=False, every=1) -> Named:
    """The outliers of the right theory's rows, or those that independent spikes with
    the same Grams would make, at the edge where they make none.
    """
    solved, found = dm.solve(net), {}
    for layer in range(net.hidden_layers):
        edge = float(solved.bulk(layer).edges[0][1])
        right = np.asarray(solved.outliers(layer, max_outliers=1).values[::every, 0])
        values = right
        if independent:
            alone = solved.outliers(layer, max_outliers=1, independent=True)
            values = np.nan_to_num(np.asarray(alone.values[:, 0]), nan=edge)
        for t in OUTLIERS_AT:
            if right[t] > CLEAR * edge:
                found[f"{name}: W^{layer} at {t}"] = float(values[t] / unit(net, layer))
    return found


def unit(net, layer) -> float:
    """What W^0 is divided by."""
    return net.width_ratio**0.5 if layer == 0 else 1.0


def simulated_outliers(name, net, dim, seed) -> pd.DataFrame:
    run = coordinates(net, dim, seed, OUTLIERS_AT, ntk=False)
    return pd.DataFrame(
        {
            f"{name}: W^{layer} at {t}": run.singular_values(layer, t)[:, 0]
            / unit(net, layer)
            for layer in range(net.hidden_layers)
            for t in OUTLIERS_AT
        }
    )


def broken_outliers(part: Part):
    yield "initial variance 2% larger", said(part, simpler.wider)
    flows = [outlier_flow(name, net) for name, net in part.networks.items()]
    yield "gradient flow", united(flows)
    alone = [outliers(name, net, True) for name, net in part.networks.items()]
    yield "a fresh M(0)", united(alone)
    yield "the limit of wide muP at every width", limits(part)


def outlier_flow(name, net) -> Named:
    return simpler.flow(net, lambda net, every: outliers(name, net, every=every))


def limits(part: Part) -> Named:
    """What a network 256 times as wide as its input would show in muP."""
    widest = part.theory("", part.networks[f"mup {max(RATIOS):g}"])
    found = united(part.theory(n, net) for n, net in part.networks.items())
    return {
        key: widest[key[key.index(":") :]]
        for key in found
        if key.startswith("mup") and not key.startswith(f"mup {max(RATIOS):g}:")
    }


# ---------------------------------------------------------------- chapter 10

RATES = np.geomspace(0.05, 0.25, 41)  # four percent apart
RATE_RATIOS = (0.5, 2.0, 16.0)


def best_rates(name, net) -> Named:
    losses = np.array([loss_at(net, rate) for rate in RATES])
    return read(name, losses[None]).iloc[0].to_dict()


def loss_at(net, rate) -> float:
    solved = dm.solve(replace(net, learning_rate=rate), throw=False)
    return float(solved.train_loss[-1])


def simulated_rates(name, net, dim, seed) -> pd.DataFrame:
    runs = [
        coordinates(replace(net, learning_rate=rate), dim, seed, ()) for rate in RATES
    ]
    return read(name, np.stack([run.train_loss[:, -1] for run in runs], 1))


def read(name, losses) -> pd.DataFrame:
    """The best rate and the least loss of every row of losses."""
    return pd.DataFrame(
        {
            f"{name}: best rate": [transfer.parabola(RATES, row) for row in losses],
            f"{name}: least loss": np.nanmin(losses, 1),
        }
    )


def broken_rates(part: Part):
    yield "initial variance 2% larger", said(part, simpler.wider)
    square = part.theory("", replace(part.networks["mup 2"], width_ratio=1.0))
    yield "networks as wide as their input, muP", everywhere(part, "mup", square)
    yield "2 over the last sharpness, best rates", at_the_edge(said(part))
    lazy = part.theory("", replace(part.networks["ntk 16"], width_ratio=1e6))
    yield "kernel descent, NTK at every width", everywhere(part, "ntk", lazy)


def everywhere(part: Part, parameterization: str, values: Named) -> Named:
    """The same values at every width."""
    return {
        name + quantity: value
        for name in part.networks
        if name.startswith(parameterization)
        for quantity, value in values.items()
    }


def at_the_edge(right: Named) -> Named:
    """Best rates of 2 over the sharpness at the end of training at the best rate, with
    what the parabola reads too low.
    """
    found = {}
    for row in protocol.load("transfer").itertuples():
        key = f"{row.parameterization} {row.width_ratio:g}: best rate"
        if key in right:
            bias = right[key] / row.best_rate
            found[key] = bias * 2 / row.last_sharpness
    return found


# ---------------------------------------------------------------- all

PARTS = dict(
    kernel=Part(
        networks(KERNEL_RATIOS, 8.0, **KERNEL), modes, simulated_modes, broken_modes
    ),
    outliers=Part(
        networks(RATIOS, 64.0, **width_study.WIDE),
        outliers,
        simulated_outliers,
        broken_outliers,
    ),
    rates=Part(
        networks(RATE_RATIOS, 16.0, learning_rate=0.1, **transfer.SETTING),
        best_rates,
        simulated_rates,
        broken_rates,
        LARGER,
    ),
)


def coordinates(net, dim, seed, at, **options):
    leading = 1 if at else 0
    options |= dict(spectra_at=at, leading=leading, progress=False)
    return dm.simulate(
        net, dim=dim, seeds=SEEDS, seed=seed, method="coordinates", **options
    )


def square(net):
    return replace(net, width_ratio=1.0)


def said(part: Part, change=lambda net: net) -> Named:
    """What theory says of changed networks."""
    return united(part.theory(name, change(net)) for name, net in part.networks.items())


def united(parts) -> Named:
    return {key: value for part in parts for key, value in part.items()}


def seed_of(network: int, size: int) -> int:
    """No two networks and no two sizes share random numbers."""
    return 10_000 + 100 * network + round(np.log10(size))


def theories(part: Part) -> pd.DataFrame:
    """Of the rows that the right one has. Where another has no such outlier, its row is
    left out.
    """
    right, rows = said(part), []
    for which, values in [("theory", right), *part.broken(part)]:
        rows += [
            dict(
                which=which, quantity=quantity, theory=value, theory_standard_error=0.0
            )
            for quantity, value in values.items()
            if quantity in right
        ]
    return pd.DataFrame(rows)


def drawn(part_name: str, size: int) -> pd.DataFrame:
    """A row a seed, of one size; kept in _build, so that sizes can be drawn apart."""
    path = KEPT / f"{part_name}_{size}.csv"
    if not path.exists():
        part = PARTS[part_name]
        runs = [
            part.simulated(name, net, size, seed_of(i, size))
            for i, (name, net) in enumerate(part.networks.items())
        ]
        KEPT.mkdir(parents=True, exist_ok=True)
        pd.concat(runs, axis=1).to_csv(path, index=False)
    return pd.read_csv(path)


def worth(found: dict[int, pd.DataFrame]) -> float:
    """Of all seeds, each size in its own units."""
    scaled = [(table - table.mean()) / table.std() for table in found.values()]
    return protocol.worth(pd.concat(scaled, ignore_index=True).dropna())


def run(name: str) -> None:
    part, table = PARTS[name], f"across_width_{name}"
    note = dict(script=f"experiments/across_width.py {name}", sizes=part.sizes)
    note |= dict(seeds=SEEDS)
    told = theories(part)
    protocol.save(f"{table}_theory", told, digits=10, **note)
    right = told[told.which == "theory"]
    found = {size: drawn(name, size)[list(right.quantity)] for size in part.sizes}
    # where a network shows nothing outside its bulk, there is no mean of that size
    means = protocol.summary(found).dropna(subset="mean")
    protocol.save(table, means, digits=10, **note)
    row = dict(table=table, N=min(part.sizes), seeds=SEEDS, rows=len(right))
    protocol.keep_worth(row | dict(worth=worth(found)))
    judged = protocol.judge(
        protocol.load(table), dict(zip(right.quantity, right.theory, strict=True))
    )
    print(judged[["quantity", "theory", "simulation", "z"]].to_string())
    print(protocol.report(judged, worth(found)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--size", type=int, help="draw the networks of one size only")
    options = parser.parse_args()
    for name in options.parts:
        drawn(name, options.size) if options.size else run(name)
