"""Trained example networks: settings, training with checkpoints, and what is measured
of their weights.

`images.py` and `gpt.py` say what the networks and the data are; this module does the
rest. All weights are kept as M = W / sqrt(fan_in), single precision. Scaling is muP: a
readout that divides by its fan-in, and learning rates such that a step changes every
activation by an amount that does not depend on the width,

    sgd   (loss as it is)      input and hidden M: eta gamma0^2 F / fan_in,   readout: eta gamma0^2 F,   F its fan-in
    adam  (direction of +-1)   hidden M: 16 eta / fan_in,   embedding and readout: eta

with a linear warm-up over the first sixteenth of the steps and a cosine decay to zero
after it.
"""

import argparse
import dataclasses
import functools
import io
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from scipy import optimize
from tqdm import tqdm

import dmftlib as dm
from dmftlib import _checks, empirical
from experiments import protocol

ROOT = Path(__file__).parent.parent

CHUNKS = 64  # of equal length: after each there is a checkpoint
MEASURED = (0, 1, 2, 4, 8, 16, 32, 64)  # chunks after which the weights are measured
WIDTHS = {
    "mlp": 16,
    "cnn": 16,
    "gpt": 24,
}  # the smallest: below, a hidden matrix has no bulk
OUTPUTS = {"mlp": (10, 100, 1000), "cnn": (10, 100, 1000), "gpt": (2, 16, 128, 2048)}


@dataclasses.dataclass(frozen=True)
class Settings:
    """One training run. Raises ValueError, naming the setting, for anything that makes
    no sense.
    """

    network: str
    outputs: int
    width: int
    seed: int = 0
    loss: str = "cross-entropy"
    optimizer: str = "sgd"
    learning_rate: float = 1.0
    gamma0: float = 1.0
    steps: int = 1024
    batch: int = 128

    def __post_init__(self):
        _checks.choice("network", self.network, tuple(OUTPUTS))
        _checks.choice(
            "outputs",
            _checks.integer("outputs", self.outputs, 1),
            OUTPUTS[self.network],
        )
        _checks.integer("width", self.width, WIDTHS[self.network])
        if self.network == "gpt" and self.width % 8:
            _checks.fail(
                "width",
                self.width,
                "a multiple of 8 (four heads of an even number of units)",
            )
        _checks.choice("loss", self.loss, ("cross-entropy", "squared", "zero"))
        _checks.choice("optimizer", self.optimizer, ("sgd", "adam"))
        _checks.positive("learning_rate", self.learning_rate)
        _checks.positive("gamma0", self.gamma0)
        if _checks.integer("steps", self.steps, CHUNKS) % CHUNKS:
            _checks.fail("steps", self.steps, f"a multiple of {CHUNKS}")
        _checks.integer("batch", self.batch, 1)
        _checks.integer("seed", self.seed, 0)

    @property
    def name(self) -> str:
        return "-".join(str(value) for value in dataclasses.astuple(self))


class Network(eqx.Module):
    """Weights M = W / sqrt(fan_in) by name. `scale` is the fan-in of the readout, which
    divides the output.
    """

    inputs: dict
    hidden: dict
    readout: jax.Array
    scale: int = eqx.field(static=True)
    gamma0: float = eqx.field(static=True)

    def __call__(self, x):
        """Outputs (..., outputs), and what each matrix puts out, by name."""
        last, seen = self.features(x)
        out = last @ self.readout.T / (self.gamma0 * self.scale)
        return out, seen | {"output": out}


def gaussian(key, rows: int, columns: int, unit: bool = False):
    """Entries N(0, 1/columns), or N(0, 1) if `unit`."""
    return jax.random.normal(key, (rows, columns), jnp.float32) / (
        1 if unit else columns**0.5
    )


def rates(model: Network, settings: Settings) -> Network:
    """The muP learning rates, in the place of the weights."""

    def sgd(M):
        return settings.gamma0**2 * model.scale / M.shape[1]

    def adam(M):
        return 16 / M.shape[1]

    if settings.optimizer == "sgd":
        inputs, hidden, readout = sgd, sgd, settings.gamma0**2 * model.scale
    else:
        inputs, hidden, readout = (
            (lambda M: 1.0) if settings.network == "gpt" else adam,
            adam,
            1.0,
        )
    values = (
        jax.tree.map(inputs, model.inputs),
        jax.tree.map(hidden, model.hidden),
        readout,
    )
    return eqx.tree_at(lambda m: (m.inputs, m.hidden, m.readout), model, values)


@dataclasses.dataclass(frozen=True)
class Task:
    """model, the initial network; draw(key), a batch (inputs, classes); held_out, one
    that is never drawn.
    """

    model: Network
    draw: Callable
    held_out: tuple


def loss(model, batch, kind: str):
    """Mean over samples; the squared one is half the sum over outputs, with the mean
    target taken off, and "zero" is the squared one with targets of zero: a control
    that has nothing to learn, and the random output of the start to unlearn.
    """
    inputs, classes = batch
    out = model(inputs)[0]
    if kind == "zero":
        return 0.5 * (out**2).sum(-1).mean()
    if kind == "cross-entropy":
        return optax.softmax_cross_entropy_with_integer_labels(out, classes).mean()
    target = (
        jax.nn.one_hot(classes, out.shape[-1], dtype=jnp.float32) - 1 / out.shape[-1]
    )
    return 0.5 * ((target - out) ** 2).sum(-1).mean()


def trainer(task: Task, settings: Settings):
    """(initial state, function that does one chunk of steps: (state, first step) ->
    (state, losses)).
    """
    direction, chunk = program(
        dataclasses.replace(settings, seed=0), task.draw, task.model
    )
    key = jax.random.key(1_000_003 * (settings.seed + 1))
    return (task.model, direction.init(task.model)), lambda state, start: chunk(
        state, start, key
    )


_program = {}


def program(settings: Settings, draw: Callable, model: Network):
    """(direction, chunk of steps), compiled once for all seeds; only the last one is
    kept.
    """
    if settings not in _program:
        _program.clear()
        jax.clear_caches()
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, settings.learning_rate, settings.steps // 16, settings.steps
        )
        adam = optax.scale_by_adam(b2=0.98, eps=1e-12)
        direction, scales = (
            adam if settings.optimizer == "adam" else optax.identity(),
            rates(model, settings),
        )

        def step(state, t, key):
            model, memory = state
            value, gradient = jax.value_and_grad(loss)(
                model, draw(jax.random.fold_in(key, t)), settings.loss
            )
            updates, memory = direction.update(gradient, memory)
            updates = jax.tree.map(
                lambda u, rate: (-schedule(t) * rate * u).astype(u.dtype),
                updates,
                scales,
            )
            return (optax.apply_updates(model, updates), memory), value

        @jax.jit
        def chunk(state, start, key):
            times = start + jnp.arange(settings.steps // CHUNKS)
            return jax.lax.scan(lambda state, t: step(state, t, key), state, times)

        _program[settings] = direction, chunk
    return _program[settings]


# ---------------------------------------------------------------- checkpoints


def write_checkpoint(path: Path, settings: Settings, chunks: int, rows: list, state):
    """All or nothing: the file is complete whenever it has its name."""
    head = dict(settings=dataclasses.asdict(settings), chunks=chunks, rows=rows)
    blob = io.BytesIO(json.dumps(head).encode() + b"\n")
    blob.seek(0, io.SEEK_END)
    eqx.tree_serialise_leaves(blob, state)
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        file.write(blob.getvalue())
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read_checkpoint(path: Path, settings: Settings, state):
    """(chunks done, rows, state); raises ValueError for a file of other settings."""
    with open(path, "rb") as file:
        head = json.loads(file.readline())
        if head["settings"] != dataclasses.asdict(settings):
            _checks.fail(
                "checkpoint",
                f"{path.name} of {head['settings']}",
                f"one of {dataclasses.asdict(settings)}",
            )
        return head["chunks"], head["rows"], eqx.tree_deserialise_leaves(file, state)


def train(settings: Settings, make_task: Callable, folder: Path | None = None):
    """(rows measured, trained network). With a folder, goes on from the checkpoint in
    it, if there is one.
    """
    task = make_task(settings)
    state, chunk = trainer(task, settings)
    done, rows, path = 0, [], None
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        path = Path(folder) / f"{settings.name}.ckpt"
        if path.exists():
            done, rows, state = read_checkpoint(path, settings, state)
    if done == 0 and not rows:
        rows = measure(task, state[0], settings, 0, np.nan)
    length = settings.steps // CHUNKS
    with tqdm(
        total=settings.steps,
        initial=done * length,
        desc=settings.name,
        leave=False,
        disable=path is None,
    ) as bar:
        for n in range(done + 1, CHUNKS + 1):
            state, losses = chunk(state, (n - 1) * length)
            value = float(losses.mean())
            if not np.isfinite(value):
                raise FloatingPointError(
                    f"{settings.name}: diverged between steps {(n - 1) * length} and {n * length}"
                )
            if n in MEASURED:
                rows = rows + measure(task, state[0], settings, n * length, value)
            if path is not None:
                write_checkpoint(path, settings, n, rows, state)
            bar.set_postfix(loss=f"{value:.3f}")
            bar.update(length)
    return rows, state[0]


# ---------------------------------------------------------------- measurement


@functools.cache
def noise_distance(n: int, m: int, draws: int = 200) -> float:
    """The Kolmogorov distance that one pure-noise matrix in a hundred exceeds, as
    `empirical.spectrum` finds it.
    """
    rng = np.random.default_rng([n, m])
    return float(
        np.quantile(
            [
                empirical.spectrum(rng.normal(size=(n, m))).kolmogorov
                for _ in range(draws)
            ],
            0.99,
        )
    )


def nearest_law(values, aspect: float) -> float:
    """The smallest Kolmogorov distance between the singular values and a rectangular
    law of any variance.
    """
    values, steps = np.sort(values), np.arange(len(values) + 1) / len(values)

    def distance(log_variance):
        reached = np.asarray(
            dm.rectangular_law(aspect, np.exp(log_variance)).cdf(values)
        )
        return max(
            np.abs(reached - steps[1:]).max(), np.abs(reached - steps[:-1]).max()
        )

    start = np.log(
        (values**2).mean() / max(1.0, aspect) if aspect > 1 else (values**2).mean()
    )
    return float(
        optimize.minimize_scalar(
            distance, bounds=(start - 4, start + 1), method="bounded"
        ).fun
    )


def spectrum_row(M, initial) -> dict:
    """What `empirical` finds in one matrix, its distance in units of noise, and its
    update.
    """
    M, initial = np.asarray(M, float), np.asarray(initial, float)
    n, m = M.shape
    transposed = n > m  # the null is symmetric; a row fewer shapes to simulate
    null = noise_distance(m, n) if transposed else noise_distance(n, m)
    table = empirical.spectra({"M": M * np.sqrt(m)}, {"M": initial * np.sqrt(m)})
    table = table.iloc[0].to_dict()
    # more than half of the values past the edge, or a rank too low: there is no such
    # bulk
    refused = table.pop("reason") != ""
    if refused:
        values = np.linalg.svd(M, compute_uv=False)
        distance = nearest_law(values, n / m)
        kept = ("rows", "columns", "update_stable_rank", "update_participation_ratio")
        table = {name: table[name] for name in kept} | dict(largest=values[0])
    else:
        distance = table["kolmogorov"]
        null *= min(n, m) / (min(n, m) - int(table["outliers"]))
    for name in ("zero_rows", "zero_columns"):
        table.pop(name, None)
    return table | dict(
        kolmogorov=distance,
        noise=null,
        refused=refused,
        moved=np.linalg.norm(M - initial) / np.linalg.norm(initial),
    )


def measure(
    task: Task, model: Network, settings: Settings, step: int, train_loss: float
) -> list[dict]:
    """A row for each input and hidden matrix: its spectrum, and the size and the change
    of what it puts out.
    """
    inputs, classes = task.held_out
    out, seen = forward(model, inputs)
    start = forward(task.model, inputs)[1]
    common = dict(
        step=step,
        train_loss=train_loss,
        held_out_loss=float(loss(model, task.held_out, settings.loss)),
        accuracy=float((out.argmax(-1) == classes).mean()),
    )
    before = task.model.inputs | task.model.hidden
    rows = []
    for name, M in (model.inputs | model.hidden).items():
        size = {
            "activation": rms(seen[name]),
            "activation_change": rms(seen[name] - start[name]),
            "output": rms(out),
            "output_change": rms(out - start["output"]),
        }
        has_bulk = (
            name in model.hidden
            or min(M.shape) >= empirical.SMALLEST
            and settings.network != "gpt"
        )
        spectrum = spectrum_row(M, before[name]) if has_bulk else {}
        rows.append(
            {
                k: v if isinstance(v, str) else float(v)
                for k, v in (
                    common
                    | dict(matrix=name, hidden=name in model.hidden)
                    | size
                    | spectrum
                ).items()
            }
        )
    return rows


@eqx.filter_jit
def forward(model, inputs):
    return model(inputs)


def rms(x) -> float:
    return float(jnp.sqrt((x.astype(jnp.float32) ** 2).mean()))


# ---------------------------------------------------------------- command line


def command_line(
    description: str,
    defaults: dict,
    networks: tuple,
    plan: list,
    make_task: Callable,
    result: str,
    provenance: Callable[[], dict],
    arguments=None,
):
    """The registered plan, or a product of settings of one's own; finished runs are
    read from their checkpoints.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="all registered runs; the options on settings are not used",
    )
    parser.add_argument(
        "--network",
        nargs="+",
        default=[networks[0]],
        help=f"one or more of {', '.join(networks)}",
    )
    for field in dataclasses.fields(Settings)[1:]:
        kind = (
            field.type
            if isinstance(field.type, type)
            else {"int": int, "str": str, "float": float}[field.type]
        )
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            nargs="+",
            type=kind,
            default=[defaults[field.name]],
            help="one or more values: every combination is trained",
        )
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=ROOT / "_build/trained",
        help="a run killed goes on here",
    )
    parser.add_argument(
        "--result",
        default=None,
        help="name of the table in book/_data; without it, it is printed",
    )
    options = vars(parser.parse_args(arguments))
    names = [field.name for field in dataclasses.fields(Settings)]
    try:
        for network in options["network"]:
            _checks.choice("network", network, networks)
        runs = (
            plan
            if options["plan"]
            else [
                Settings(**dict(zip(names, values, strict=True)))
                for values in itertools.product(*(options[name] for name in names))
            ]
        )
    except ValueError as error:
        parser.error(str(error))
    table = []
    for settings in tqdm(runs, desc="runs"):
        rows, _ = train(settings, make_task, options["checkpoints"])
        table += [dataclasses.asdict(settings) | row for row in rows]
        if options["plan"] or options["result"]:
            protocol.save(
                options["result"] or result,
                pd.DataFrame(table),
                4,
                runs=len(runs),
                jax=jax.__version__,
                registered=options["plan"],
                complete=settings is runs[-1],
                **provenance(),
            )
    if not options["plan"] and not options["result"]:
        print(pd.DataFrame(table).to_string())
