"""Gradient descent, Muon, Adam and sign descent on one task: what each of them adds to
the hidden matrix, what leaves the bulk, and the rates that suit them at each width. For
chapter 14.

The task is that of `few_classes` under the squared loss, with a hidden matrix of less
variance. Theory by `dmftlib`; networks in NumPy, with gradients by hand and the
optimisers of `muon_adam`, which are written out.

    theory         losses and leading singular values of W^1 step by step, and at the end
                   the singular values of what training has added
    networks       the same of networks
    samples        stable rank and participation ratio of the same, by number of samples
    rates          final losses by rate and width, and rates_theory by rate in theory

Writes book/_data/update_*.csv: python -m experiments.update_shapes PART [OPTIMISER ...]
"""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd

import dmftlib as dm
from experiments import few_classes, protocol
from experiments.muon_adam import Adam, Muon, Sgd

STEPS, GAMMA, VARIANCES = 12, 3.0, (1.0, 0.5, 1.0)
RATE = 0.6  # of gradient descent
BESIDE = 5.0  # rate of the layers that Muon leaves, in units of its own
MUON = dict(momentum=0.8, nesterov=False, weight_decay=0.0)
ADAM = dict(b1=0.9, b2=0.95, eps=0.01, weight_decay=0.0)
SIGN = dict(b1=0.0, b2=0.0, eps=0.0, weight_decay=0.0)
HIDDEN_RATES = {"Muon": 0.12, "Adam": 0.25, "sign descent": 0.19}
SCRIPT = "experiments/update_shapes.py"
OPTIMISERS = ("gradient descent", *HIDDEN_RATES)
WIDTH, SEEDS, SITES = 400, 8, 2048
ENTRYWISE = dict(samples=4096, batches=2)  # Adam keeps neurons times neurons
LEADING, LOOKS = 12, tuple(range(0, STEPS + 1, 2))
SAMPLES = (3, 6, 12, 24, 48)
WIDTHS = (64, 128, 256)
RATES = {
    "Muon": (0.06, 0.12, 0.24, 0.36, 0.48, 0.6, 0.8),
    "Adam": (0.12, 0.2, 0.25, 0.3, 0.33, 0.36, 0.42, 0.54),
}


def task(samples=6):
    """(inputs, one-hot targets): samples around three centres, six of them those of
    `few_classes`.
    """
    if samples == 6:
        return few_classes.inputs(), np.eye(3)[few_classes.CLASSES]
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((3, 8))
    classes = np.arange(samples) % 3
    inputs = centres[classes] + 0.7 * rng.standard_normal((samples, 8))
    return inputs, np.eye(3)[classes]


def network(name, rate=None, samples=6):
    """The same network under each optimiser; `rate` is its own."""
    if rate is None:
        rate = RATE if name == OPTIMISERS[0] else HIDDEN_RATES[name]
    inputs, targets = task(samples)
    plain = dm.Nonlinear(
        inputs=inputs,
        targets=targets,
        hidden_layers=2,
        gamma0=GAMMA,
        init_variance=VARIANCES,
        learning_rate=rate,
        steps=STEPS,
    )
    if name == OPTIMISERS[0]:
        return plain
    if name == "Muon":
        muon = dm.Muon(rate, **MUON)
        return replace(plain, learning_rate=BESIDE * rate, optimizer=muon)
    numbers = ADAM if name == "Adam" else SIGN
    return replace(plain, optimizer=dm.Adam(rate, **numbers))


# ---------------------------------------------------------------- networks in NumPy


class Dense:
    """One network: W^0, M = W^1/sqrt(N) and the readout."""

    def __init__(self, name, width, seed, rate=None, samples=6):
        self.net = network(name, rate, samples)
        self.x, self.y = task(samples)
        self.width = width
        rng = np.random.default_rng([width, seed])
        shapes = ((width, self.x.shape[1]), (width, width), (3, width))
        self.W0, M, self.w = (
            v**0.5 * rng.standard_normal(shape)
            for v, shape in zip(VARIANCES, shapes, strict=True)
        )
        self.M = M / width**0.5
        self.start = self.M
        self.rules = self._rules(name)

    def _rules(self, name):
        """For W^0, M and w."""
        sgd, own = Sgd(self.net.learning_rate), self.net.optimizer
        if own is None:
            return [sgd, Sgd(sgd.rate / self.width), sgd]
        rule = dict(learning_rate=own.learning_rate)
        if name == "Muon":
            return [sgd, Muon(rule | MUON, 1.0), sgd]
        rule |= ADAM if name == "Adam" else SIGN
        lengths = (1.0, 1 / self.width, 1.0)
        return [Adam(rule, length, 1.0) for length in lengths]

    def _forward(self):
        D = self.x.shape[1]
        first = np.tanh(self.x @ self.W0.T / D**0.5)
        second = np.tanh(first @ self.M.T)
        return first, second, second @ self.w.T / (GAMMA * self.width)

    @property
    def loss(self):
        return np.sum((self.y - self._forward()[2]) ** 2) / len(self.x)

    def update(self):
        """One step of all layers."""
        first, second, f = self._forward()
        P, D = self.x.shape
        pulled = GAMMA / P * (self.y - f)
        top = (1 - second**2) * (pulled @ self.w)
        bottom = (1 - first**2) * (top @ self.M)
        seen = D**0.5 if isinstance(self.rules[0], Sgd) else 1.0
        pulls = (bottom.T @ self.x / seen, top.T @ first, pulled.T @ second)
        weights = (self.W0, self.M, self.w)
        self.W0, self.M, self.w = (
            rule.moved(W, -pull)
            for rule, W, pull in zip(self.rules, weights, pulls, strict=True)
        )

    def trained(self, look=lambda t, dense: None):
        """After all steps; `look` is called before each and after the last."""
        for t in range(STEPS):
            look(t, self)
            self.update()
        look(STEPS, self)
        return self


def top(matrix, count=LEADING):
    return np.linalg.svd(matrix, compute_uv=False)[:count]


def shape(values, rest=0.0):
    """Stable rank and participation ratio of a matrix with these singular values, and
    others so small that their fourth powers count for nothing, of Frobenius norm `rest`.
    """
    squares = np.asarray(values) ** 2
    total = squares.sum(-1) + rest**2
    stable = total / squares.max(-1)
    participation = total**2 / (squares**2).sum(-1)
    return {"stable rank": stable, "participation ratio": participation}


# ---------------------------------------------------------------- tables


def _mean_and_error(values):
    values = np.asarray(values)
    error = values.std(0, ddof=1) / len(values) ** 0.5
    return values.mean(0), error


def theory(name):
    """At each step the loss, the outliers, and what they would be of spikes that know
    nothing of M(0); at the end singular values and counts of what was added.
    """
    entrywise = name in ("Adam", "sign descent")
    options = ENTRYWISE if entrywise else dict(samples=SITES)
    solution = dm.solve(network(name), **options)
    told = solution.outliers(1, max_outliers=LEADING).values
    alone = solution.outliers(1, max_outliers=LEADING, independent=True).values
    rows = []
    for t in range(STEPS + 1):
        rows.append(("loss", t, 1, solution.train_loss[t], np.nan))
        for k in range(LEADING):
            rows.append(("outlier", t, k + 1, told[t, k], alone[t, k]))
    added = np.asarray(solution.update_spectrum(1, STEPS))
    rows += [("update", STEPS, k + 1, added[k], np.nan) for k in range(LEADING)]
    rest = float(np.max(solution.stats["left_out"])) if entrywise else 0.0
    for what, value in shape(added, rest).items():
        rows.append((what, STEPS, 1, value, np.nan))
    columns = ("quantity", "step", "number", "theory", "independent")
    table = pd.DataFrame(rows, columns=columns).assign(optimiser=name)
    told = ["theory", "independent"]
    table[told] = table[told].astype(float)
    sites = [SITES, ENTRYWISE["samples"]]
    _save("update_theory", table, samples=sites)


def networks(name):
    """The same of networks."""
    seen, added, lost, shapes = [], [], [], []

    def look(t, dense):
        lost.append(dense.loss)
        if t in LOOKS:
            seen.append(top(dense.M))

    for seed in range(SEEDS):
        dense = Dense(name, WIDTH, seed).trained(look)
        values = top(dense.M - dense.start, WIDTH)
        added.append(values[:LEADING])
        shapes.append(list(shape(values).values()))
    rows = []

    def enter(quantity, steps, values):
        mean, error = _mean_and_error(values)
        for i, t in enumerate(steps):
            for k in range(mean.shape[1]):
                rows.append((quantity, t, k + 1, mean[i, k], error[i, k]))

    every = range(STEPS + 1)
    enter("loss", every, np.reshape(lost, (SEEDS, STEPS + 1, 1)))
    enter("outlier", LOOKS, np.reshape(seen, (SEEDS, len(LOOKS), LEADING)))
    enter("update", [STEPS], np.reshape(added, (SEEDS, 1, LEADING)))
    for which, what in enumerate(shape(values)):
        one = np.asarray(shapes)[:, which]
        enter(what, [STEPS], one[:, None, None])
    columns = ("quantity", "step", "number", "simulation", "standard_error")
    table = pd.DataFrame(rows, columns=columns).assign(optimiser=name)
    _save("update_networks", table, sizes=[WIDTH], seeds=[SEEDS])


def samples(name):
    """Shapes of the update in networks, by the number of samples."""
    rows = []
    for P in SAMPLES:
        found = []
        for seed in range(SEEDS // 2):
            dense = Dense(name, WIDTH, seed, samples=P).trained()
            found.append(top(dense.M - dense.start, WIDTH))
        for what, each in shape(found).items():
            rows.append((P, what, *_mean_and_error(each)))
    columns = ("samples", "quantity", "simulation", "standard_error")
    table = pd.DataFrame(rows, columns=columns).assign(optimiser=name)
    _save("update_samples", table, sizes=[WIDTH], seeds=[SEEDS // 2])


def rates(name):
    """Final losses by rate of networks of several widths."""
    rows = []
    for rate in RATES[name]:
        for width in WIDTHS:
            lost = [
                Dense(name, width, seed, rate).trained().loss
                for seed in range(SEEDS * 256 // width)
            ]
            rows.append((rate, width, *_mean_and_error(lost)))
    columns = ("rate", "width", "loss", "standard_error")
    table = pd.DataFrame(rows, columns=columns).assign(optimiser=name)
    seeds = [SEEDS * 256 // N for N in WIDTHS]
    _save("update_rates", table, sizes=list(WIDTHS), seeds=seeds)


def rates_theory(name):
    """The same in theory."""
    rows = []
    for rate in RATES[name]:
        net = network(name, rate)
        solution = dm.solve(net, samples=SITES, batches=2, throw=False)
        rows.append((rate, float(solution.train_loss[-1])))
    table = pd.DataFrame(rows, columns=("rate", "loss")).assign(optimiser=name)
    _save("update_rates_theory", table, samples=SITES)


def _save(name, table, **provenance):
    """In the place of what is known of the same optimiser."""
    print(table.to_string(), flush=True)
    if (protocol.DATA / f"{name}.csv").exists():
        known = protocol.load(name)
        others = known[~known.optimiser.isin(table.optimiser)]
        table = pd.concat([others, table])
    table = table.sort_values("optimiser", key=_places, kind="stable")
    protocol.save(name, table, digits=6, script=SCRIPT, **provenance)


def _places(optimisers):
    return optimisers.map(OPTIMISERS.index)


PARTS = {
    "theory": (theory, OPTIMISERS),
    "networks": (networks, OPTIMISERS),
    "samples": (samples, OPTIMISERS),
    "rates": (rates, RATES),
    "rates_theory": (rates_theory, RATES),
}

if __name__ == "__main__":
    part, *chosen = sys.argv[1:]
    function, everybody = PARTS[part]
    for each in chosen or everybody:
        function(each)
