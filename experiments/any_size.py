"""Deep linear networks from a dozen dimensions to a billion: sampling in coordinates
against dense networks, against the limit, and what it costs.

    python -m experiments.any_size [part ...]     parts: billion again sizes noise law cost

billion   losses, outliers, overlaps and leading kernel modes at D = 10^9 beside theory
again     of these, the networks with a row beyond three standard errors, drawn anew and
          more of them, so that an error which is not of chance would stand out
sizes     the same network from D = 40 to 10^9: the value at infinity, the coefficient
          of 1/D, and the spread's of D^(-1/2) (of D^(-2/3) for the edge)
noise     the largest singular value of 10^9 rows beside Tracy and Widom's law
law       Kolmogorov and Smirnov's p for every number of small networks, dense networks
          beside coordinates
cost      processor seconds of a seed, dense networks beside coordinates

Each part writes book/_data/any_size_PART.csv, as far as it has come, and goes on from
there: take the file away to begin anew. Networks, sizes, seeds and numbers of seeds
are fixed here before the first run (2026-11-27; D = 640 was added the same day, a
network of width 512, which the fit does not see and has to foretell). An agreement is
asked for as unlikely over the whole table as three standard errors are for one row
(`limit`).
"""

import argparse
import dataclasses
import functools
import resource
import time
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp, kstest, norm

import dmftlib as dm
from dmftlib.empirical import tracy_widom_quantile
from experiments import protocol

BASE = dict(
    hidden_layers=2,
    width_ratio=0.8,
    sample_ratio=1.5,
    gamma0=3.0,
    init_variance=0.5,
    label_noise=0.1,
    learning_rate=0.04,
    steps=16,
)
RATIOS = (0.125, 0.5, 1.0, 4.0, 16.0)
RATES = dict(mup=0.04, ntk=0.02)  # at .04 the narrow NTK networks are unstable
SIZED = BASE | dict(gamma0=5.0, steps=10)
NEAR = 4  # the step at which W1's outlier is 0.4 % above the edge
BILLION = 10**9
BILLION_SEEDS = 160
BILLIONS = 100  # the seeds of the networks at D = 10^9 begin here
AGAIN = {0.5: 6400, 4.0: 640, 16.0: 6400}  # N/D in muP: networks; 640 with spectra
SIZES = (40, *(10**k for k in range(2, 10)))
FORETOLD = 640  # D, of width 512: not fitted
LAW_SIZES = (12, 40, 80)
LAW_SEEDS = 10_000  # networks of each method
KERNEL_SEEDS = 512


class Fit(NamedTuple):
    """A polynomial, by weighted least squares: coefficients from the constant on, and
    their errors.
    """

    values: np.ndarray
    errors: np.ndarray


def polynomial(x, y, error, degree) -> Fit:
    design = np.vander(x, degree + 1, increasing=True)
    scale = np.abs(design).max(0)
    weighted = design / scale / error[:, None]
    covariance = np.linalg.inv(weighted.T @ weighted)
    values = covariance @ weighted.T @ (y / error)
    return Fit(values / scale, np.sqrt(np.diagonal(covariance)) / scale)


def coordinates(net, dim, seeds, **options):
    return dm.simulate(net, dim=dim, seeds=seeds, method="coordinates", **options)


def limit(rows):
    """The largest |z| that `rows` rows may have: Bonferroni's three standard errors."""
    return norm.isf(norm.sf(3) / rows)


def gone_on(part, pieces, most=None, **note):
    """The table of all pieces {name: function}: those that the file has, and those that
    are missing (`most` of them at most), each kept as soon as it is done.
    """
    name = f"any_size_{part}"
    there = (protocol.DATA / f"{name}.csv").exists()
    tables = [protocol.load(name)] if there else []
    done = set(tables[0].piece) if there else set()
    missing = [piece for piece in pieces if piece not in done]
    for piece in missing[:most]:
        function = pieces[piece]
        table = pd.DataFrame(function())
        table.insert(0, "piece", piece)
        tables.append(table)
        print(table.to_string(), flush=True)
        script = f"experiments/any_size.py {part}"
        whole = in_order(tables, pieces)
        note = dict(script=script, network=BASE) | note
        protocol.save(name, whole, digits=10, **note)
    return in_order(tables, pieces)


def in_order(tables, pieces):
    """One table, in the order of the pieces."""
    number = {piece: i for i, piece in enumerate(pieces)}
    whole = pd.concat(tables, ignore_index=True)
    return whole.sort_values(
        "piece", key=lambda column: column.map(number), kind="stable", ignore_index=True
    )


def billion(most=None):
    """Every quantity at D = 10^9 for both parameterizations and all ratios N/D."""
    networks = [(name, ratio) for name in RATES for ratio in RATIOS]
    pieces = {
        f"{name} {ratio:g}": functools.partial(limit_beside, name, ratio, BILLIONS + i)
        for i, (name, ratio) in enumerate(networks)
    }
    note = dict(dim=BILLION, seeds=BILLION_SEEDS)
    table = gone_on("billion", pieces, most, **note)
    compared = table[np.isfinite(table.z)]
    worst = np.abs(compared.z).max()
    print(f"{len(compared)} rows: {worst:.2f} of {limit(len(compared)):.2f}")


def limit_beside(parameterization, ratio, seed):
    net = network_at(parameterization, ratio)
    table = compared(net, BILLION_SEEDS, seed, spectra=True)
    table.insert(0, "parameterization", parameterization)
    table.insert(1, "width_ratio", ratio)
    return table


def network_at(parameterization, ratio):
    changed = dict(
        width_ratio=ratio,
        parameterization=parameterization,
        learning_rate=RATES[parameterization],
    )
    return dm.DeepLinear(**BASE | changed)


def compared(net, seeds, seed, spectra):
    """Theory beside networks of D = 10^9 after the last step."""
    last = net.steps
    theory = dm.solve(net)
    options = dict(seed=seed, progress=False)
    if spectra:
        options |= dict(spectra_at=(last,), leading=1, overlaps=1, ntk=True)
    free = coordinates(net, BILLION, seeds, **options)
    table = dm.compare(theory, free)
    table = table[table.step == last]
    if not spectra:
        return table
    return pd.concat([table, kernel_row(theory, free, last)], ignore_index=True)


def again(most=None):
    """Other networks where a row of `billion` was beyond three standard errors."""
    pieces = {}
    for i, (ratio, seeds) in enumerate(AGAIN.items()):
        net = network_at("mup", ratio)
        spectra = seeds < 1000
        call = functools.partial(compared, net, seeds, 7000 + i, spectra)
        pieces[f"mup {ratio:g}, {seeds} networks"] = call
    table = gone_on("again", pieces, most, dim=BILLION)
    print(table.to_string())


def kernel_row(theory, free, step):
    """The leading eigenvalue of the tangent kernel, where theory has one."""
    values = free.ntk_eigenvalues(step)[:, 0]
    expected = theory.ntk.outliers[step, 0]
    mean = values.mean()
    error = values.std(ddof=1) / np.sqrt(len(values))
    row = dict(
        quantity="ntk_1",
        step=step,
        theory=expected,
        simulation=mean,
        standard_error=error,
        z=(mean - expected) / error,
        relative_error=mean / expected - 1,
    )
    return pd.DataFrame([row])


def sizes(most=None):
    """Value at infinity, coefficient of 1/D, and coefficient of the spread."""
    at = [(kind, dim) for kind in MEASURED for dim in SIZES]
    at += [(kind, FORETOLD) for kind in ("losses", "far")]
    pieces = {
        f"{kind}, D = {dim}": functools.partial(at_size, dim, kind) for kind, dim in at
    }
    note = dict(network=SIZED, near=NEAR, foretold=FORETOLD)
    table = gone_on("sizes", pieces, most, **note)
    if table.piece.nunique() < len(pieces):
        return
    found = fit(table)
    print(found.to_string(), flush=True)
    script = "experiments/any_size.py sizes"
    protocol.save("any_size_limits", found, script=script, network=SIZED)


def network_of_sizes():
    return dm.DeepLinear(**SIZED)


def at_size(dim, kind):
    """A row for each quantity: mean, spread and the middle 90 % of the networks."""
    rows = []
    for quantity, values in MEASURED[kind](network_of_sizes(), dim).items():
        there = values[np.isfinite(values)]
        spread = there.std(ddof=1)
        low, high = np.quantile(there, (0.05, 0.95))
        rows.append(
            dict(
                quantity=quantity,
                D=dim,
                seeds=len(there),
                asked=len(values),
                mean=there.mean(),
                standard_error=spread / np.sqrt(len(there)),
                spread=spread,
                low=low,
                high=high,
            )
        )
    return rows


class Seeds(NamedTuple):
    """How many networks: for losses, for outliers far from the edge and near it."""

    losses: int
    far: int
    near: int


def seeds_at(dim) -> Seeds:
    """Where the bias shows, more of them; multiples of the 64 and 21 that are treated
    at once, so that all sizes are compiled alike.
    """
    if dim < 100:
        return Seeds(10_000, 2016, 252)
    if dim <= 1000:
        return Seeds(4000, 1008, 63)
    return Seeds(512, 63, 63)


def seed_at(dim, first):
    """Sizes share no random numbers."""
    return first + (*SIZES, FORETOLD).index(dim)


def losses(net, dim):
    """{quantity: (seeds,)}"""
    free = coordinates(
        net, dim, seeds_at(dim).losses, seed=seed_at(dim, 200), progress=False
    )
    last = net.steps
    return {
        "train_loss": free.train_loss[:, last],
        "test_loss": free.test_loss[:, last],
    }


def far(net, dim):
    """Outliers at the last step."""
    last = net.steps
    options = dict(spectra_at=(last,), leading=1, progress=False)
    free = coordinates(net, dim, seeds_at(dim).far, seed=seed_at(dim, 220), **options)
    return {f"outlier W{l}": free.singular_values(l, last)[:, 0] for l in (0, 1)}


def near(net, dim):
    """The outlier that has just left the edge."""
    options = dict(spectra_at=(NEAR,), leading=1, progress=False)
    free = coordinates(net, dim, seeds_at(dim).near, seed=seed_at(dim, 240), **options)
    return {"near outlier W1": free.singular_values(1, NEAR)[:, 0]}


def edge(net, dim):
    """The largest singular value of the noise."""
    rows = round(net.width_ratio * dim)
    seeds = seeds_at(dim).far
    values = dm.leading_noise(
        net.width_ratio,
        net.init_variance,
        rows,
        seeds,
        leading=1,
        seed=seed_at(dim, 260),
    )
    return {"edge W0": values[:, 0]}


MEASURED = dict(losses=losses, far=far, near=near, edge=edge)


def expected(net):
    """{quantity: theory}"""
    theory = dm.solve(net)
    last = net.steps
    return {
        "train_loss": theory.train_loss[last],
        "test_loss": theory.test_loss[last],
        "outlier W0": theory.outliers(0, last, max_outliers=1).values[0],
        "outlier W1": theory.outliers(1, last, max_outliers=1).values[0],
        "edge W0": theory.bulk(0).edges[0][1],
        "near outlier W1": theory.outliers(1, NEAR, max_outliers=1).values[0],
    }


def broken():
    """Theories that are wrong: {name: {quantity: value}}."""
    net = network_of_sizes()
    wider = dataclasses.replace(net, init_variance=1.01 * net.init_variance)
    theory = dm.solve(net)
    strangers = expected(net)
    for layer in (0, 1):
        found = theory.outliers(layer, max_outliers=1, independent=True)
        strangers[f"outlier W{layer}"] = found.values[net.steps, 0]
    return {"variance 1 % larger": expected(wider), "independent spikes": strangers}


def fit(table):
    """What the sizes say together, a row for each quantity: its mean as a polynomial of
    the second degree in the power of D by which it nears its limit, D^(-2/3) for the
    edge and 1/D else; and its spread, times D^(2/3) or D^(1/2), of the first.
    """
    right = expected(network_of_sizes())
    wrong = broken()
    rows = []
    fitted = table[table.D != FORETOLD]
    for quantity, part in fitted.groupby("quantity", sort=False):
        if quantity.startswith("near"):  # which no power describes
            continue
        edge = quantity.startswith("edge")
        D = part.D.to_numpy(float)
        x = D ** (-2 / 3 if edge else -1)
        mean = polynomial(x, part["mean"].to_numpy(), part.standard_error.to_numpy(), 2)
        scaled = part.spread.to_numpy() * D ** (2 / 3 if edge else 1 / 2)
        error = scaled / np.sqrt(2 * part.seeds.to_numpy())
        spread = polynomial(x, scaled, error, 1)
        found = mean.values[0]
        found_error = mean.errors[0]
        row = dict(
            quantity=quantity,
            theory=float(right[quantity]),
            infinity=found,
            infinity_error=found_error,
            z=float((found - right[quantity]) / found_error),
            bias_coefficient=mean.values[1],
            bias_error=mean.errors[1],
            spread_coefficient=spread.values[0],
            spread_error=spread.errors[0],
        )
        for name, values in wrong.items():
            row[f"z, {name}"] = float((found - values[quantity]) / found_error)
            if values[quantity] == right[quantity]:  # it says nothing else of this
                row[f"z, {name}"] = np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def noise(_=None):
    """Quantiles of Tracy and Widom's law, and the share of matrices below them."""
    seeds = 2000
    n = BILLION
    top = dm.leading_noise(1.0, 1.0, n, seeds, leading=1, seed=1)[:, 0]
    root = np.sqrt(n - 1) + np.sqrt(n)
    scale = root * (1 / np.sqrt(n - 1) + 1 / np.sqrt(n)) ** (1 / 3)
    scaled = (n * top**2 - root**2) / scale
    rows = []
    for probability in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99):
        below = np.mean(scaled < tracy_widom_quantile(probability))
        error = np.sqrt(probability * (1 - probability) / seeds)
        rows.append(dict(probability=probability, below=below, standard_error=error))
    table = pd.DataFrame(rows)
    table["z"] = (table.below - table.probability) / table.standard_error
    print(table.to_string(), flush=True)
    script = "experiments/any_size.py noise"
    protocol.save("any_size_noise", table, script=script, network=BASE)


LAW_NETWORKS = {
    "two layers, muP": dict(),
    "three layers, NTK": dict(
        hidden_layers=3, parameterization="ntk", width_ratio=0.5, gamma0=1.5
    ),
    "online": dict(batch="online", width_ratio=1.25, sample_ratio=0.75, gamma0=2.0),
}


def law(most=None):
    """p-values of every number, dense networks against coordinates."""
    pieces = {
        f"{name}, D = {dim}": functools.partial(law_rows, name, dim)
        for dim in LAW_SIZES
        for name in LAW_NETWORKS
    }
    table = gone_on("law", pieces, most)
    print(table.groupby(["network", "D"]).p.describe().to_string())
    print(f"uniform: {kstest(table.p, 'uniform')}")
    print(f"smallest of {len(table)}: {table.p.min():.2g}")


def law_rows(name, dim):
    """Losses, singular values and overlaps of many networks, kernel modes of
    KERNEL_SEEDS.
    """
    net = dm.DeepLinear(**BASE | dict(steps=6, learning_rate=0.1) | LAW_NETWORKS[name])
    last = net.steps
    options = dict(spectra_at=(last,), progress=False)
    both = dict(seeds=LAW_SEEDS, dim=dim, overlaps=1, **options)
    dense = dm.simulate(net, seed=301, ntk=False, **both)
    free = dm.simulate(net, seed=302, method="coordinates", leading=3, **both)
    one = law_numbers(dense)
    other = law_numbers(free)
    if net.batch == "full":
        both = dict(seeds=KERNEL_SEEDS, dim=dim, ntk=True, leading=1, **options)
        dense = dm.simulate(net, seed=303, **both)
        free = dm.simulate(net, seed=304, method="coordinates", **both)
        one["kernel mode 1"] = dense.ntk_eigenvalues(last)[:, 0]
        other["kernel mode 1"] = free.ntk_eigenvalues(last)[:, 0]
    return [
        dict(network=name, D=dim, quantity=key, seeds=len(one[key]))
        | ks(one[key], other[key])
        for key in one
    ]


def law_numbers(simulation):
    """{quantity: (seeds,)}"""
    last = simulation.net.steps
    found = {}
    for step in (0, last // 2, last):
        found[f"train_loss {step}"] = simulation.train_loss[:, step]
        found[f"test_loss {step}"] = simulation.test_loss[:, step]
    for layer in range(simulation.net.hidden_layers):
        for k in range(3):
            values = simulation.singular_values(layer, last)[:, k]
            found[f"singular value {k + 1} of W{layer}"] = values
        sides = simulation.overlaps(layer, last)
        for side, overlaps in zip(("left", "right"), sides, strict=True):
            found[f"{side} overlap of W{layer}"] = overlaps[:, 0, -1]
    return found


def ks(one, other):
    there = np.isfinite(other)
    found = ks_2samp(one, other[there])
    return dict(statistic=found.statistic, p=found.pvalue, settled=there.mean())


def cost(most=None):
    """Seconds of a seed, after compilation: of the processor (all threads count; what
    others do on the machine does not) and of the clock; and the most memory so far.
    """
    net = dm.DeepLinear(**BASE | dict(steps=20))
    spectra = dict(spectra_at=(20,), leading=4, progress=False)

    def free(dim, seeds, **options):
        return functools.partial(coordinates, net, dim, seeds, **options)

    def dense(dim, seeds, **options):
        options = options | dict(ntk=False, progress=False)
        return functools.partial(dm.simulate, net, dim=dim, seeds=seeds, **options)

    pieces = {}
    for dim in (10**3, 10**6, BILLION):
        pieces[f"losses, {dim}"] = free(dim, 640, progress=False)
        pieces[f"four values, {dim}"] = free(dim, 64, **spectra)
    for dim, seeds in ((500, 4), (2000, 1)):
        pieces[f"dense, losses, {dim}"] = dense(dim, seeds)
        pieces[f"dense, four values, {dim}"] = dense(dim, seeds, **spectra)
    timers = {name: functools.partial(timed, call) for name, call in pieces.items()}
    table = gone_on("cost", timers, most)
    ten_thousand = table.processor_seconds * 10_000
    print(table.assign(minutes_of_10_000=ten_thousand / 60).to_string(), flush=True)


def timed(call):
    call(seed=0)
    clock = time.perf_counter()
    processor = time.process_time()
    seeds = len(call(seed=1).train_loss)
    processor = time.process_time() - processor
    clock = time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    row = dict(
        seeds=seeds,
        processor_seconds=processor / seeds,
        clock_seconds=clock / seeds,
        peak_GiB=peak,
    )
    return [row]


PARTS = dict(billion=billion, again=again, sizes=sizes, noise=noise, law=law, cost=cost)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--pieces", type=int, help="do so many new ones, and no more")
    arguments = parser.parse_args()
    for part in arguments.parts:
        PARTS[part](arguments.pieces)
