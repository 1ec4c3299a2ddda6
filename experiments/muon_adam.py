"""Muon, Adam and sign descent: the theory beside networks of several widths, and theories
broken on purpose. For chapter 14.

Five settings: Muon on a deep linear network (whose theory is exact), on a tanh network
of three outputs with the squared loss, and on the cross-entropy of three classes
(Nesterov's momentum and decay); Adam and sign descent on a tanh network of two outputs.
Losses after three quarters of the steps and at the end, and at both every outlier of
every matrix that has a bulk. Outliers within five percent of the next are judged by
their mean, as singular values of networks repel; those within three percent of the edge
are left out, as at these widths the bulk reaches as far.

The networks are written out in NumPy: raw weights, gradients by hand, Muon's polynomial
on the whole matrix, Adam entry by entry, singular values by LAPACK; no code in common
with the theory. How many outliers there are, and which are judged together, is what the
theory says.

Sizes, seeds and quantities of the linear network, of Adam and of sign descent were fixed
before the first network was drawn, but for the seeds at 768, which were made fewer before
they were drawn; those of Muon on tanh networks were not. A first
choice, one output and four samples that overlap, was given up: the small singular values
of its buffer, which the polynomial multiplies by up to 485, are not yet what they are at
infinite width (the fourth outlier was 1.453 and 1.522 at N = 96 and 192, where the theory
has 1.649). With three outputs and samples apart some rows are 1 to 1.5% off at N =
96 and at 192, and less from there on: so N begins at 192, and the 192 networks of N = 96
are not in the table.

Broken on purpose: Muon with the exact polar factor; its momentum taken after the
polynomial; spikes taken as independent of M(0); Adam's update replaced by its best
single direction.

    python -m experiments.muon_adam [part ...]     parts: theory networks

Writes book/_data/muon_adam.csv and book/_data/muon_adam_theory.csv; seed by seed to
muon_adam_samples/ in the current folder, from where it goes on after an interruption.
"""

import re
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import dmftlib as dm
from dmftlib.spectra.outliers import outliers_by_step
from dmftlib.training.descent import Moved, Updated
from dmftlib.training.muon import MuonDescent, orthogonalised
from experiments import protocol

# size -> networks: D of the linear network, N of the others. Muon's polynomial makes
# much of small differences, so that the others are near their limit later
SEEDS = {
    "linear, Muon": {96: 128, 192: 64, 384: 32, 768: 4},
    "tanh, Muon": {192: 96, 384: 48, 768: 8},
    "classes, Muon": {192: 96, 384: 48, 768: 8},
    "two outputs, Adam": {96: 384, 192: 192, 384: 96, 768: 24},
    "two outputs, sign descent": {96: 384, 192: 192, 384: 96, 768: 24},
}
SIZES = (192, 384, 768)  # of which there are networks of every setting
INPUTS = np.array(
    [
        [1.6, 0.2, -0.3, 0.4],
        [-0.3, 1.3, 0.5, -0.2],
        [0.2, -0.6, 1.1, 0.7],
        [0.5, 0.4, -0.8, 1.0],
    ]
)
THREE_INPUTS = np.array(
    [[2.0, 0.3, -0.2, 0.1], [-0.2, 1.8, 0.3, 0.2], [0.1, -0.3, 2.1, -0.2]]
)
TRIPLES = np.array([[1.5, 0.2, -0.3], [-0.2, 1.2, 0.4], [0.3, -0.2, 1.8]])
CLASSES = np.array([0, 1, 2])
PAIRS = np.array([[1.0, 0.9], [-1.0, 0.8], [0.6, -1.0], [-0.7, -0.7]])
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5

MUON = {
    "linear, Muon": dict(
        learning_rate=0.1, momentum=0.8, nesterov=False, weight_decay=0.2
    ),
    "tanh, Muon": dict(
        learning_rate=0.25, momentum=0.8, nesterov=False, weight_decay=0.0
    ),
    "classes, Muon": dict(
        learning_rate=0.2, momentum=0.6, nesterov=True, weight_decay=0.4
    ),
}
ADAM = {
    "two outputs, Adam": dict(
        learning_rate=0.15, b1=0.9, b2=0.95, eps=0.01, weight_decay=0.0
    ),
    "two outputs, sign descent": dict(
        learning_rate=0.15, b1=0.0, b2=0.0, eps=0.0, weight_decay=0.0
    ),
}
LINEAR = dict(
    hidden_layers=2,
    width_ratio=0.8,
    sample_ratio=1.5,
    gamma0=2.5,
    init_variance=0.5,
    label_noise=0.2,
    learning_rate=0.04,
    steps=16,
)
TANH = dict(
    inputs=THREE_INPUTS,
    targets=TRIPLES,
    hidden_layers=2,
    gamma0=2.0,
    init_variance=[1.0, 0.4, 1.0],
    learning_rate=0.2,
    steps=6,
)
ENTRYWISE = dict(
    inputs=INPUTS,
    targets=PAIRS,
    hidden_layers=2,
    gamma0=2.0,
    init_variance=[0.8, 0.1, 0.8],
    steps=8,
)
CASES = {
    "linear, Muon": LINEAR,
    "tanh, Muon": TANH,
    "classes, Muon": {**TANH, "targets": CLASSES, "loss": "cross-entropy"},
    "two outputs, Adam": ENTRYWISE,
    "two outputs, sign descent": ENTRYWISE,
}
BATCHES, SITES = 4, 4_096  # of the theory of tanh networks
SHOWN = 10  # singular values of a network
KEPT = Path("muon_adam_samples")
BEYOND = 1.03  # of the edge, and an outlier is judged
APART = 0.05  # of an outlier: nearer ones are judged together
POLAR = dict(ns_steps=30, ns_coeffs=(1.5, -0.5, 0.0))  # Newton and Schulz: converges


def looked_at(name) -> tuple[int, int]:
    """After three quarters of the steps, and at the end."""
    steps = CASES[name]["steps"]
    return 3 * steps // 4, steps


def matrices(name) -> tuple[int, ...]:
    """The numbers of those that have a bulk."""
    return (0, 1) if name.startswith("linear") else (1,)


def loss_at(name, t) -> str:
    return f"{name}: train loss at {t}"


def outlier_at(name, layer, k, t) -> str:
    """Of W^layer, counted from one."""
    return f"{name}: outlier {k} of W^{layer} at {t}"


def mean_at(name, layer, first, last, t) -> str:
    """Of the outliers from the first to the last."""
    if first == last:
        return outlier_at(name, layer, first, t)
    return f"{name}: outliers {first}-{last} of W^{layer} at {t}"


def read(row, quantity):
    """A quantity, which may be a mean, of a row of all."""
    parts = re.fullmatch(r"(.*: outlier)s (\d+)-(\d+)( of .*)", quantity)
    if parts is None:
        return row[quantity]
    begin, first, last, end = parts.groups()
    several = range(int(first), int(last) + 1)
    return sum(row[f"{begin} {k}{end}"] for k in several) / len(several)


# ---------------------------------------------------------------- networks


def newton_schulz(matrix):
    """Five steps of X <- a X + b (X X^T) X + c (X X^T)^2 X from X / |X|_F."""
    if len(matrix) > matrix.shape[1]:
        return newton_schulz(matrix.T).T
    norm = np.linalg.norm(matrix)
    if norm == 0:
        return np.zeros_like(matrix)
    a, b, c = COEFFICIENTS
    x = matrix / norm
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x


class Sgd:
    """W <- W - rate gradient."""

    def __init__(self, rate):
        self.rate = rate

    def moved(self, W, gradient):
        return W - self.rate * gradient


class Muon:
    """buffer <- mu buffer + gradient; W <- (1 - eta lam) W - eta length p(buffer), or
    p(gradient + mu buffer).
    """

    def __init__(self, rule, length):
        self.rule = rule
        self.length = length
        self.buffer = 0.0

    def moved(self, W, gradient):
        momentum, rate = self.rule["momentum"], self.rule["learning_rate"]
        self.buffer = momentum * self.buffer + gradient
        ahead = self.buffer
        if self.rule["nesterov"]:
            ahead = gradient + momentum * self.buffer
        kept = 1 - rate * self.rule["weight_decay"]
        return kept * W - rate * self.length * newton_schulz(ahead)


class Adam:
    """Adam on raw weights: its rate times `length`, its epsilon over `unit`."""

    def __init__(self, rule, length, unit):
        self.rule = rule
        self.length = length
        self.eps = rule["eps"] / unit
        self.first = 0.0
        self.second = 0.0
        self.t = 0

    def moved(self, W, gradient):
        b1, b2 = self.rule["b1"], self.rule["b2"]
        self.t += 1
        self.first = b1 * self.first + (1 - b1) * gradient
        self.second = b2 * self.second + (1 - b2) * gradient**2
        average = self.first / (1 - b1**self.t)
        size = np.sqrt(self.second / (1 - b2**self.t)) + self.eps
        rate = self.rule["learning_rate"]
        step = np.divide(average, size, out=np.zeros_like(size), where=size > 0)
        kept = 1 - rate * self.rule["weight_decay"]
        return kept * W - rate * self.length * step


class Passed(NamedTuple):
    """A network at one step: its loss, and the gradients of the mean loss descended with
    respect to raw weights.
    """

    loss: float
    gradients: list


def residuals(name, f):
    """-d loss/d f of every sample, and the loss that is reported."""
    if CASES[name].get("loss") == "cross-entropy":
        powers = np.exp(f - f.max(1, keepdims=True))
        shares = powers / powers.sum(1, keepdims=True)
        hot = np.eye(f.shape[1])[CASES[name]["targets"]]
        return hot - shares, -np.log((shares * hot).sum(1)).mean()
    apart = CASES[name]["targets"].reshape(f.shape) - f
    return apart, (apart**2).sum(1).mean()


class Tanh:
    """h^1 = W^0 x / sqrt(D), h^2 = W^1 tanh(h^1) / sqrt(N), f = w tanh(h^2) / (gamma0 N)."""

    def __init__(self, name, N, rng):
        self.name = name
        self.case = CASES[name]
        self.x = self.case["inputs"]
        self.N = N
        self.D = self.x.shape[1]
        targets = self.case["targets"]
        outputs = 3 if targets.ndim == 1 else targets.shape[1]
        deviations = np.sqrt(self.case["init_variance"])
        shapes = (N, self.D), (N, N), (outputs, N)
        self.W = [
            s * rng.standard_normal(n) for s, n in zip(deviations, shapes, strict=True)
        ]
        self.fan_in = self.D, N

    def passed(self) -> Passed:
        W0, W1, w = self.W
        scale = self.case["gamma0"] * self.N
        first = np.tanh(self.x @ W0.T / self.D**0.5)
        second = np.tanh(first @ W1.T / self.N**0.5)
        delta, loss = residuals(self.name, second @ w.T / scale)
        delta = delta / (len(self.x) * scale)
        back2 = (delta @ w) * (1 - second**2)
        back1 = (back2 @ W1 / self.N**0.5) * (1 - first**2)
        pulls = (
            back1.T @ self.x / self.D**0.5,
            back2.T @ first / self.N**0.5,
            delta.T @ second,
        )
        return Passed(loss, [-pull for pull in pulls])

    def optimisers(self) -> list:
        unit = self.case["gamma0"] ** 2 * self.N
        if self.name in ADAM:
            rule = ADAM[self.name]
            root = self.N**0.5
            return [
                Adam(rule, 1.0, unit * self.D**0.5),
                Adam(rule, 1 / root, unit * root),
                Adam(rule, 1.0, unit),
            ]
        sgd = Sgd(self.case["learning_rate"] * unit)
        return [sgd, Muon(MUON[self.name], self.N**0.5), sgd]


class Linear:
    """f = w W^1 W^0 x / (gamma N sqrt(D)) of noisy linear targets, gamma = gamma0
    sqrt(N/D).
    """

    def __init__(self, name, D, rng):
        self.name = name
        self.case = CASES[name]
        self.D = D
        self.N = N = round(self.case["width_ratio"] * D)
        P = round(self.case["sample_ratio"] * D)
        deviation = self.case["init_variance"] ** 0.5
        self.W = [
            deviation * rng.standard_normal(shape) for shape in ((N, D), (N, N), (1, N))
        ]
        self.x = rng.standard_normal((P, D))
        beta = rng.standard_normal(D)
        beta *= D**0.5 / np.linalg.norm(beta)
        noise = self.case["label_noise"] ** 0.5 * rng.standard_normal(P)
        self.y = self.x @ beta / D**0.5 + noise
        self.gamma = self.case["gamma0"] * (N / D) ** 0.5
        self.fan_in = D, N

    def passed(self) -> Passed:
        W0, W1, w = self.W
        scale = self.gamma * (self.N * self.D) ** 0.5
        root = self.N**0.5
        first = self.x @ W0.T
        second = first @ W1.T / root
        apart = self.y[:, None] - second @ w.T / scale
        delta = apart / (len(self.x) * scale)
        back2 = delta @ w
        back1 = back2 @ W1 / root
        pulls = back1.T @ self.x, back2.T @ first / root, delta.T @ second
        return Passed((apart**2).mean(), [-pull for pull in pulls])

    def optimisers(self) -> list:
        rule = MUON[self.name]
        rate = self.case["learning_rate"] * self.gamma**2 * self.D
        of_matrices = [Muon(rule, fan**0.5) for fan in self.fan_in]
        return [*of_matrices, Sgd(rate)]


def trained(name, size, rng, shown=SHOWN) -> dict:
    """Losses, and the leading singular values of every matrix with a bulk."""
    kind = Linear if name.startswith("linear") else Tanh
    net = kind(name, size, rng)
    optimisers = net.optimisers()
    times = looked_at(name)
    row = {}
    for t in range(CASES[name]["steps"] + 1):
        here = net.passed()
        if t in times:
            row[loss_at(name, t)] = here.loss
            for layer in matrices(name):
                M = net.W[layer] / net.fan_in[layer] ** 0.5
                values = np.linalg.svd(M, compute_uv=False)
                for k, value in enumerate(values[:shown], 1):
                    row[outlier_at(name, layer, k, t)] = value
        net.W = [
            each.moved(W, gradient)
            for each, W, gradient in zip(optimisers, net.W, here.gradients, strict=True)
        ]
    return row


def kept(name, part) -> Path:
    """The file of a setting and a size, or of its theory."""
    KEPT.mkdir(exist_ok=True)
    return KEPT / f"{name.replace(', ', '_').replace(' ', '_')}_{part}.csv"


def drawn(name, size) -> pd.DataFrame:
    """A row a seed, each kept on disk as soon as it is known."""
    seeds = SEEDS[name][size]
    file = kept(name, size)
    known = pd.read_csv(file).to_dict("records") if file.exists() else []
    for seed in range(len(known), seeds):
        known.append(trained(name, size, np.random.default_rng([size, seed])))
        pd.DataFrame(known).to_csv(file, index=False)
    return pd.DataFrame(known[:seeds])


def networks():
    runs = [(size, name) for name, seeds in SEEDS.items() for size in seeds]
    for size, name in sorted(runs, key=lambda run: run[0]):
        drawn(name, size)
        print(f"{size}: {name}, {SEEDS[name][size]} seeds", flush=True)
    means()


def means():
    """Of what is kept, with the means that the theory asks for."""
    asked = protocol.load("muon_adam_theory").quantity.unique()
    tables = []
    for name in CASES:
        samples = {}
        for size in SEEDS[name]:
            rows = drawn(name, size)
            for quantity in asked:
                if quantity.startswith(name):
                    rows[quantity] = read(rows, quantity)
            samples[size] = rows
        tables.append(protocol.summary(samples))
    protocol.save("muon_adam", pd.concat(tables, ignore_index=True), **provenance())


# ---------------------------------------------------------------- theory


def network(name, **muon):
    """Of the theory; with other numbers of Muon."""
    if name in ADAM:
        optimizer = dm.Adam(**ADAM[name])
    else:
        optimizer = dm.Muon(**{**MUON[name], **muon})
    kind = dm.DeepLinear if name.startswith("linear") else dm.Nonlinear
    return kind(**CASES[name], optimizer=optimizer)


def solved(name, **muon):
    net = network(name, **muon)
    if isinstance(net, dm.DeepLinear):
        return dm.solve(net)
    return dm.solve(net, samples=BATCHES * SITES, batches=BATCHES)


def as_it_is(history):
    return history


def independent(history):
    return history.independent()


def of_one_direction(history):
    """What training has added up to each step, replaced by its best single direction."""
    left, sizes, right = np.linalg.svd(np.asarray(history.spikes), full_matrices=False)
    best = left[:, :, :1] * sizes[:, None, :1] @ right[:, :1]
    added = jnp.asarray(np.diff(best, axis=0))
    return eqx.tree_at(lambda h: h.increments, history, added)


def numbers(solution, name, change=as_it_is) -> dict:
    """Losses and leading outliers, as of a network; where there is none, the edge."""
    row = {loss_at(name, t): solution.train_loss[t] for t in looked_at(name)}
    for layer in matrices(name):
        history = change(solution.weight_history(layer))
        for t in looked_at(name):
            found = outliers_by_step(history, t, SHOWN).values
            edge = solution.bulk(layer, t).upper_end
            values = jnp.where(jnp.isfinite(found), found, edge)
            for k, value in enumerate(values, 1):
                row[outlier_at(name, layer, k, t)] = value
    return row


def together(values, edge) -> list[tuple[int, int]]:
    """The first and the last of outliers that are judged as one, counted from one."""
    known = [value for value in values if value > edge]
    found = []
    first = 1
    for k, value in enumerate(known, 1):
        if k == len(known) or value - known[k] > APART * value:
            found.append((first, k))
            first = k + 1
    return [(first, last) for first, last in found if known[last - 1] > BEYOND * edge]


def judged_of(solution, name) -> list[str]:
    """The losses, and the outliers that are far enough from the edge."""
    row = numbers(solution, name)
    kept = [loss_at(name, t) for t in looked_at(name)]
    for t in looked_at(name):
        for layer in matrices(name):
            edge = solution.bulk(layer, t).upper_end
            names = [outlier_at(name, layer, k, t) for k in range(1, SHOWN + 1)]
            for first, last in together([row[each] for each in names], edge):
                kept.append(mean_at(name, layer, first, last, t))
    return kept


def told(solution, name, which, quantities, change=as_it_is) -> pd.DataFrame:
    """A row for each quantity, with its standard error."""

    def of(solution):
        row = numbers(solution, name, change)
        return jnp.stack([jnp.asarray(read(row, each)) for each in quantities])

    values = np.asarray(of(solution))
    sampled = hasattr(solution, "standard_error")
    errors = np.asarray(solution.standard_error(of)) if sampled else 0.0
    return pd.DataFrame(
        dict(
            which=which,
            quantity=quantities,
            theory=values,
            theory_standard_error=errors,
            batches=BATCHES,
        )
    )


def after_the_polynomial(self, t, weights, buffer, direction):
    """Of MuonDescent, an average of what was orthogonalised."""
    turned = self.unit * orthogonalised(direction.spikes, self.polynomials)
    buffer = self.momentum * buffer + (1 - self.momentum) * turned
    rate = jnp.asarray(self.rates)[t]
    shrunk = rate * self.weight_decay
    spikes = rate * buffer - shrunk * weights.spikes
    return Updated(Moved(-shrunk * weights.scale, spikes), buffer)


def of_right(name) -> pd.DataFrame:
    """The theory of a setting, and what needs no other solution."""
    right = solved(name)
    quantities = judged_of(right, name)
    outliers = [each for each in quantities if "outlier" in each]
    tables = [
        told(right, name, "theory", quantities),
        told(right, name, "independent spikes", outliers, independent),
    ]
    if name in ADAM:
        one = "one direction of the update"
        tables.append(told(right, name, one, outliers, of_one_direction))
    return pd.concat(tables, ignore_index=True)


def with_polar_factor(name, quantities) -> pd.DataFrame:
    return told(solved(name, **POLAR), name, "exact polar factor", quantities)


def with_late_momentum(name, quantities) -> pd.DataFrame:
    jax.clear_caches()
    with mock.patch.object(MuonDescent, "update", after_the_polynomial):
        found = solved(name)
        table = told(found, name, "momentum after the polynomial", quantities)
    jax.clear_caches()
    return table


def stored(name, part, make) -> pd.DataFrame:
    """A table that is kept as soon as it is known."""
    file = kept(name, part)
    if not file.exists():
        make().to_csv(file, index=False)
        print(pd.read_csv(file).to_string(), flush=True)
    return pd.read_csv(file)


def theory():
    right = {name: stored(name, "theory", partial(of_right, name)) for name in CASES}
    tables = list(right.values())
    for name in MUON:
        known = right[name]
        quantities = known[known.which == "theory"].quantity.tolist()
        for part, make in (("polar", with_polar_factor), ("late", with_late_momentum)):
            tables.append(stored(name, part, partial(make, name, quantities)))
    found = pd.concat(tables, ignore_index=True)
    protocol.save("muon_adam_theory", found, **provenance())


def plain(case: dict) -> dict:
    """As JSON has it."""
    return {key: np.asarray(value).tolist() for key, value in case.items()}


def provenance() -> dict:
    return dict(
        script="experiments/muon_adam.py",
        cases={name: plain(case) for name, case in CASES.items()},
        muon=MUON,
        adam=ADAM,
        networks=SEEDS,
        batches=BATCHES,
        sites=SITES,
    )


def rows_of(which="theory", setting="") -> pd.DataFrame:
    """What one of the theories says, of settings that begin so."""
    said = protocol.load("muon_adam_theory")
    chosen = (said.which == which) & said.quantity.str.startswith(setting)
    return said[chosen].reset_index(drop=True)


def judged(which="theory", setting="") -> pd.DataFrame:
    """`protocol.judge` of these rows."""
    rows = rows_of(which, setting).set_index("quantity")
    return protocol.judge(
        protocol.load("muon_adam"),
        rows.theory.to_dict(),
        theory_error=rows.theory_standard_error.to_dict(),
        batches=BATCHES,
    )


PARTS = dict(theory=theory, networks=networks)

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
