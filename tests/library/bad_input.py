"""Bad input for every public entry point: one table, from which the tests and the
appendix on errors are made.

python -m tests.library.bad_input      writes book/errors.md
"""

import concurrent.futures
import dataclasses
import functools
import inspect
import multiprocessing
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import dmftlib as dm

PAGE = Path(__file__).parents[2] / "book/errors.md"
NAN, INF, HUGE = float("nan"), float("inf"), -(10**400)
NO_NUMBER = (
    None,
    "a",
    -1,
    NAN,
    INF,
    [1.0, 2.0],
    [[1.0], [2.0, 3.0]],
    True,
    1 + 2j,
    HUGE,
    10**5000,
    1e300,
    1e-300,
    np.array("1.0"),
    {},
    b"1",
    print,
)
NO_RATE = (*(v for v in NO_NUMBER if not isinstance(v, list)), [0.1] * 5, [[0.1, 0.1]])
NO_FACTORS = ("a", 1.0, [1.0] * 5, [NAN, 1.0, 1.0], [[1.0, 1.0]], [True, True], {}, -1)
NO_INTEGER = (None, "a", -1, NAN, 1.5, [1], np.array([1, 2]), True, 10**400)
HUGE_ENTRY = [[1e300]]
NO_GRAM = (
    None,
    "a",
    [],
    [["a"]],
    [1.0, 2.0],
    [[1.0], [2.0, 3.0]],
    [[NAN, 1.0], [0.0, 1.0]],
    [[1j]],
    HUGE_ENTRY,
    {},
    [[None]],
    np.ones((2, 2, 2)),
    [[True]],
)
NO_MATRIX = (*NO_GRAM, np.zeros((0, 0)))
# no measure of directions depends on the size of the entries
NO_WEIGHTS = tuple(value for value in NO_MATRIX if value is not HUGE_ENTRY)
DEEP = dict(
    hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=3
)
NONLINEAR = dict(
    inputs=[[1.0, 0.0], [0.5, 1.0]],
    targets=[1.0, -1.0],
    hidden_layers=2,
    learning_rate=0.1,
    steps=2,
)
WIDE = dict(output_ratio=0.5, input_ratio=0.7, learning_rate=0.1, steps=3)


def written(ask, sites, x):
    """A network with one hidden matrix."""
    h = ask("W", jnp.tanh(sites["U"] @ x.T))
    return jnp.mean(sites["w"][:, None] * jnp.tanh(h), 0)


def between(change):
    """The same with something done to the question."""

    def forward(ask, sites, x):
        return written(lambda name, h: change(ask, h), sites, x)

    return forward


NO_PROGRAM = (
    None,
    "a",
    1.0,
    lambda ask, sites, x: x,
    lambda ask, sites, x: 1.0,
    between(lambda ask, h: ask("V", h)),
    between(lambda ask, h: ask("W", h.T)),
    between(lambda ask, h: ask("W", h)[::-1]),
    between(lambda ask, h: ask("W", h) * len(h) ** 0.5),
    between(lambda ask, h: ask("W", h) * NAN),
    between(lambda ask, h: jax.lax.map(lambda v: ask("W", v), h.T).T),
    between(lambda ask, h: jax.grad(lambda h: jnp.mean(ask("W", h)))(h)),
)
PROGRAM = dict(
    forward=written,
    matrices={"W": ("hidden", "hidden")},
    sites={"U": (2,), "w": ()},
    inputs=[[1.0, 0.0], [0.5, 1.0]],
    targets=[1.0, -1.0],
    learning_rate=0.1,
    steps=2,
)
PROGRAM_BAD = {
    "forward": NO_PROGRAM,
    "matrices": (
        None,
        "W",
        {},
        {"W": "hidden"},
        {"W": ("a", 1)},
        {1: ("a", "a")},
        PROGRAM["matrices"] | {"V": ("hidden", "hidden")},
    ),
    "sites": (
        None,
        "U",
        {},
        {"U": 2, "w": ()},
        {"U": ("other", 2), "w": ()},
        {"U": (1.5,), "w": ()},
        {"U": (2,), "w": (), "W": ()},
        {"U": (2,), "w": (), "b": ()},
    ),
    "inputs": (None, "a", 1.0, [], [[NAN, 1.0]], [[1.0], [2.0, 3.0]]),
    "targets": (None, "a", 1.0, [1.0], [[1.0, 2.0]], [NAN, 1.0], np.ones((2, 2, 1))),
    "gamma0": NO_NUMBER,
    "init_variance": (
        *(v for v in NO_NUMBER if v != {}),
        {"V": 1.0},
        {"W": -1.0},
        {"U": "a"},
    ),
    "learning_rate": (*NO_RATE, [-0.1, 0.1], [NAN] * 2),
    "steps": NO_INTEGER,
}
NETWORKS = {
    "DeepLinear": (dm.DeepLinear, DEEP),
    "Nonlinear": (dm.Nonlinear, NONLINEAR),
    "Program": (dm.Program, PROGRAM),
    "WideOutput": (dm.WideOutput, WIDE),
}


SAMPLES = {
    "Nonlinear": {"samples": 128},
    "Program": {"samples": 128, "batches": 1},
}


SEQUENCES = [[[1.0, 0.5], [-0.5, 1.0]]]


class Case(NamedTuple):
    """A call that must be refused, and the argument that the message must name."""

    entry: str
    argument: str
    value: object
    call: Callable


def network(kind, **changes):
    make, arguments = NETWORKS[kind]
    return make(**{**arguments, **changes})


@functools.cache
def solved(kind):
    return dm.solve(network(kind), **SAMPLES.get(kind, {}))


@functools.cache
def simulated(kind):
    return dm.simulate(
        network(kind),
        seeds=2,
        spectra_at=(0,),
        progress=False,
        **{"dim" if kind == "DeepLinear" else "width": 20},
    )


def at(entry, argument, values, call):
    """A case for each value."""
    return [
        Case(entry, argument, value, functools.partial(call, value)) for value in values
    ]


def of_network(kind, argument, values, **changes):
    return at(
        kind, argument, values, lambda v: network(kind, **{**changes, argument: v})
    )


def of_optimiser(kind, steps, layers):
    """What `DeepLinear` and `Nonlinear` have in common."""
    bad = {
        "learning_rate": (*NO_RATE, [-0.1] + [0.1] * (steps - 1), [NAN] * steps),
        "init_variance": (*NO_RATE, [0.0] + [1.0] * (layers - 1), [NAN] * layers),
        "momentum": (*NO_NUMBER, 1.0, 1.5),
        "nesterov": (None, "yes", 2, 1),
        "weight_decay": NO_NUMBER,
        "layer_rates": (*NO_FACTORS, [-1.0] + [1.0] * (layers - 1)),
    }
    return [
        case for name, values in bad.items() for case in of_network(kind, name, values)
    ]


def of_muon():
    """The optimiser of the matrices with a spectrum, and what it does not have."""
    triple = (3.0, -3.0, 1.0)
    own = {
        "learning_rate": (*NO_NUMBER[:4], [NAN, 0.1], [-0.1, 0.1], [[0.1, 0.1]]),
        "momentum": (*NO_NUMBER, 1.0, 1.5),
        "nesterov": (None, "yes", 2, 1),
        "weight_decay": NO_NUMBER,
        "ns_steps": (*NO_INTEGER, 101),
        "ns_coeffs": (
            None,
            "a",
            1.0,
            (),
            (1.0, 2.0),
            [[1.0, 2.0]],
            [[1.0, 2.0, 3.0], [1.0]],
            np.zeros((0, 3)),
            (NAN, 0.0, 0.0),
            (1e300, 0.0, 0.0),
            {},
            [triple] * 4,
        ),
    }

    def of_rates(value):
        return network("DeepLinear", optimizer=dm.Muon(value))

    def of_sharpness(value):
        muon = dm.Muon(0.1, ns_steps=value)
        return dm.solve(network("DeepLinear", optimizer=muon)).sharpness

    def nonlinear(value):
        return network("Nonlinear", optimizer=dm.Muon(value))

    def of_one_layer(value):
        muon = dm.Muon(value)
        return network("Nonlinear", hidden_layers=1, optimizer=muon)

    return [
        *of_function("Muon", dm.Muon, {"learning_rate": 0.1}, own),
        *of_network("DeepLinear", "optimizer", ("muon", 1, dm.Muon, {})),
        *at("DeepLinear", "optimizer.learning_rate", ([0.1] * 5, [0.1]), of_rates),
        *at("DeepLinearSolution.sharpness", "optimizer", (1,), of_sharpness),
        *of_network("Nonlinear", "optimizer", ("muon", 1, dm.Muon, {})),
        *at("Nonlinear", "optimizer", (0.1,), of_one_layer),
        *at("Nonlinear", "optimizer.learning_rate", ([0.1] * 5, [0.1]), nonlinear),
    ]


def of_adam():
    """The optimiser of every weight of a Nonlinear, and what there is not beside it."""
    fraction = (*NO_NUMBER, 1.0, 1.5)
    own = {
        "learning_rate": (*NO_NUMBER[:4], [NAN, 0.1], [-0.1, 0.1], [[0.1, 0.1]]),
        "b1": fraction,
        "b2": fraction,
        "eps": (*NO_NUMBER, 0.0),
        "weight_decay": NO_NUMBER,
    }

    def deep(value):
        return network("DeepLinear", optimizer=dm.Adam(value))

    def nonlinear(value):
        return network("Nonlinear", optimizer=dm.Adam(value))

    def sharpness(value):
        net = network("Nonlinear", optimizer=dm.Adam(value))
        return dataclasses.replace(solved("Nonlinear"), net=net).sharpness

    def traced(value):
        return jax.grad(lambda rate: dm.Adam(rate).learning_rate)(value)

    def beside(name):
        def made(value):
            return network("Nonlinear", optimizer=dm.Adam(0.1), **{name: value})

        return made

    return [
        *of_function("Adam", dm.Adam, {"learning_rate": 0.1}, own),
        *at("Adam", "learning_rate", (0.1,), traced),
        *at("DeepLinear", "optimizer", (0.1,), deep),
        *at("Nonlinear", "optimizer.learning_rate", ([0.1] * 5, [0.1]), nonlinear),
        *at("Nonlinear", "momentum", (0.5,), beside("momentum")),
        *at("Nonlinear", "nesterov", (True,), beside("nesterov")),
        *at("Nonlinear", "weight_decay", (0.5,), beside("weight_decay")),
        *at("NonlinearSolution.sharpness", "optimizer", (0.1,), sharpness),
    ]


def where_adam_is_refused():
    """What solves and simulates other networks."""
    net = network("Nonlinear", optimizer=dm.Adam(0.1))

    def by(form):
        return dm.solve(net, samples=64, form=form)

    def without(matrices):
        return dm.simulate(net, width=20, matrix_free=matrices)

    def too_large(samples):
        return dm.solve(net, samples=samples, batches=1)

    def differentiated(gamma0):
        def loss(gamma0):
            net = network("Nonlinear", optimizer=dm.Adam(0.1), gamma0=gamma0)
            return dm.solve(net, samples=64, rank=8).train_loss[-1]

        return jax.grad(loss)(gamma0)

    return [
        *at("solve", "optimizer", (1.0,), differentiated),
        *at("solve", "optimizer", ("response",), by),
        *at("simulate", "matrix_free", (True,), without),
        *at("solve", "samples", (2**20,), too_large),
    ]


def where_muon_is_refused():
    """What solves and simulates other networks."""
    net = network("Nonlinear", optimizer=dm.Muon(0.1))

    def by(form):
        return dm.solve(net, samples=64, form=form)

    def in_precision(dtype):
        return dm.simulate(net, width=20, matrix_free=True, dtype=dtype)

    return [
        *at("solve", "optimizer", ("response",), by),
        *at("simulate", "dtype", ("float32",), in_precision),
    ]


def of_function(entry, function, arguments, bad):
    """`function(**arguments)` with one of the arguments bad."""
    return [
        case
        for name, values in bad.items()
        for case in at(
            entry, name, values, lambda v, name=name: function(**{**arguments, name: v})
        )
    ]


def of_options(entry, function, kind, bad, **also):
    return [
        case
        for name, values in bad.items()
        for case in at(
            f"{entry} ({kind})",
            name,
            values,
            lambda v, name=name: function(network(kind), **{**also, name: v}),
        )
    ]


def in_coordinates():
    """What a DeepLinear of any size is asked for."""
    coordinates = dict(method="coordinates", progress=False)
    spectra = dict(coordinates, dim=20, spectra_at=(0,), leading=2)
    bad = {
        "dim": (0, 2**53 + 1, 2**54, *NO_INTEGER),
        "seeds": (0, 10**15, *NO_INTEGER),
        "seed": NO_INTEGER,
        "spectra_at": (5, (9,), "abc", (-1,), (0.5,), (True,), None, NAN),
        "leading": (0, 21, *NO_INTEGER),
        "overlaps": (3, *NO_INTEGER),
        "ntk": ("yes", None, 1),
        "blocks": (0, 63, *NO_INTEGER),
        "width": (3,),
    }
    kind = "DeepLinear"
    entry = 'simulate (DeepLinear, method="coordinates")'

    def of_batch(value):
        return dm.simulate(network(kind, batch=value), **coordinates)

    def of_width(value):
        return dm.simulate(network(kind, width_ratio=value), **coordinates)

    def of_size(value):
        return dm.simulate(network(kind), dim=value, **coordinates)

    return [
        *of_options("simulate", dm.simulate, kind, {"method": ("exact", None, 1)}),
        *(
            case._replace(entry=entry)
            for case in of_options("simulate", dm.simulate, kind, bad, **spectra)
        ),
        *at(entry, "dim * sample_ratio", (2**53,), of_size),
        *at(entry, "batch", (0.5,), of_batch),
        *at(entry, "dim * width_ratio", (1e-9,), of_width),
    ]


def questions(kind, things, methods, bad):
    """Methods of what `solve` or `simulate` have returned."""
    return [
        case
        for method in methods
        for name, values in bad.items()
        for case in at(
            f"{kind + 'Solution' if things is solved else f'simulate({kind})'}.{method}",
            name,
            values,
            lambda v, name=name, method=method: _ask(things(kind), method, name, v),
        )
    ]


def _ask(thing, method, name, value):
    first = {dm.Nonlinear: 1, dm.Program: "W"}
    layer = first.get(type(thing.net), 0)
    given = {"layer": layer, "l": 1, "step": 0}
    method = getattr(thing, method)
    return method(
        **{k: v for k, v in given.items() if k in inspect.signature(method).parameters}
        | {name: value}
    )


def in_folder(call):
    """A call that is given a folder of its own."""

    def run(value):
        with tempfile.TemporaryDirectory() as folder:
            return call(value, Path(folder))

    return run


def damaged(content, folder):
    (folder / "x.npz").write_bytes(content)
    return dm.load(folder / "x.npz")


def no_store(content, folder):
    (folder / "x.jsonl").write_bytes(content)
    return sweep_of(folder / "x.jsonl", "store")


def gamma(gamma0):
    return network("DeepLinear", gamma0=gamma0)


def forking():
    """A pool whose workers, copies of a process with JAX's threads, would hang."""
    context = multiprocessing.get_context("fork")
    return concurrent.futures.ProcessPoolExecutor(1, mp_context=context)


def sweep_of(value, name):
    arguments = dict(
        make_network=gamma,
        grid={"gamma0": [1.0]},
        quantities=["test_loss"],
        progress=False,
    )
    return dm.sweep(**{**arguments, name: value})


NOISE = np.random.default_rng(0).normal(size=(12, 15))
SPIKED = dict(
    aspect=1.0, variance=1.0, left_gram=[[1.0]], right_gram=[[1.0]], strengths=[[0.8]]
)
VECTORS = dict(M0=NOISE, U=np.ones((12, 1)), V=np.ones((15, 1)), strengths=[[1.0]])
LAYERS, STEPS = (
    (5, -1, "a", None, 1.0, True, [0]),
    (99, -1, 1.5, "a", True, [0], 10**400),
)
POINTS, COMPLEX = (
    ("a", NAN, None, [[1.0], [1.0, 2.0]], {}, 1j),
    ("a", NAN, INF, None, [[1.0], [1.0, 2.0]], {}),
)
POSITIVE = tuple(v for v in NO_NUMBER if v is not None)


def cases() -> list[Case]:
    law, mixed = (
        dm.rectangular_law(1.0, 1.0),
        dm.generalised_mp([1.0, 20.0], [0.5, 0.5], aspect=0.5),
    )
    spiked = dm.SpikedEnsemble(**SPIKED)
    found = [
        *(
            c
            for k in (
                "width_ratio",
                "sample_ratio",
                "gamma0",
                "label_noise",
            )
            for c in of_network("DeepLinear", k, NO_NUMBER)
        ),
        *(
            case
            for kind, steps, layers in (("DeepLinear", 3, 2), ("Nonlinear", 2, 3))
            for case in of_optimiser(kind, steps, layers)
        ),
        *of_muon(),
        *of_adam(),
        *(
            c
            for k in ("hidden_layers", "steps")
            for c in of_network("DeepLinear", k, NO_INTEGER)
        ),
        *of_network("DeepLinear", "hidden_layers", (0, 1001)),
        *of_network("DeepLinear", "batch", (None, "half", 0.0, 1.0, 2, NAN, ["full"])),
        *of_network(
            "DeepLinear",
            "parameterization",
            (None, "sp", 1, ["mup"], np.array(["mup", "ntk"])),
        ),
        *(
            c
            for k in (
                "output_ratio",
                "input_ratio",
                "learning_rate",
                "target_variance",
                "gamma0",
                "init_variance",
            )
            for c in of_network("WideOutput", k, NO_NUMBER)
        ),
        *of_network("WideOutput", "steps", NO_INTEGER),
        *of_network("WideOutput", "train_readout", (None, "yes", 2, 1)),
        *of_network("WideOutput", "output_ratio", (0.0,), train_readout=True),
        *of_network("Nonlinear", "gamma0", NO_NUMBER),
        *(
            c
            for k in ("hidden_layers", "steps", "batch_seed")
            for c in of_network("Nonlinear", k, NO_INTEGER)
        ),
        *of_network("Nonlinear", "inputs", (*NO_MATRIX, [[]], ["a", "b"])),
        *of_network(
            "Nonlinear",
            "targets",
            (
                None,
                [1.0],
                "ab",
                [[1.0], [np.inf]],
                [[1.0], [1.0, 2.0]],
                [[], []],
                [1j, 1],
                np.ones((2, 1, 1)),
            ),
        ),
        *of_network(
            "Nonlinear",
            "activation",
            (
                None,
                "cube",
                3,
                np.square,
                lambda h, g: h,
                lambda h: h**2,
                ["tanh"],
                lambda h: h / 0,
            ),
        ),
        *of_network(
            "Nonlinear",
            "loss",
            (
                None,
                "hinge",
                3,
                ["squared"],
                np.square,
                lambda f: 0.0,
                lambda f, y: f - y,
                lambda f, y: (f - y) ** 2,
                lambda f, y: "a",
                lambda f, y: jnp.sum(jnp.log(f)),
                lambda f, y: jnp.sum(jnp.sqrt(jnp.abs(f))),
                lambda f, y: float(f[0]),
            ),
        ),
        *of_network(
            "Nonlinear",
            "targets",
            (
                [0, -1],
                [0.5, 1.0],
                [0, 0],
                [0, 1, 1],
                [NAN, 1],
                [0, 10**15],
                [[0.0], [1.0]],
                [[1.0, 1.0], [0.0, 1.0]],
                [[2.0, -1.0], [0.0, 1.0]],
                [["a"], [1]],
            ),
            loss="cross-entropy",
        ),
        *of_network(
            "Nonlinear",
            "targets",
            ([0.0, 1.0], [1.0, 2.0], [[1.0, -1.0], [1.0, 0.5]], [1.0]),
            loss="logistic",
        ),
        *at(
            "Nonlinear",
            "test_targets",
            ([0, 3], [0.5, 1.0], [0], [[1.0], [1.0]], [[1.0, 0.0], [0.5, 0.6]]),
            lambda v: network(
                "Nonlinear",
                loss="cross-entropy",
                targets=[0, 1],
                test_inputs=[[1.0, 2.0], [0.0, 1.0]],
                test_targets=v,
            ),
        ),
        *of_network(
            "Nonlinear", "batch", (0, 5, "online", 0.5, True, np.array([1, 2]), None)
        ),
        *of_network("Nonlinear", "test_inputs", ([[1.0]], "a", [[NAN, 1.0]])),
        *at(
            "Nonlinear",
            "inputs",
            (np.ones((2, 3)),),
            lambda v: network("Nonlinear", inputs=v, targets=np.ones(3)),
        ),
        *at(
            "Nonlinear",
            "test_inputs",
            (np.ones((2, 3)),),
            lambda v: network("Nonlinear", test_inputs=v),
        ),
        *of_network(
            "Nonlinear",
            "test_targets",
            ([1.0], "a", [[NAN]]),
            test_inputs=[[1.0, 2.0], [0.0, 1.0]],
        ),
        *at(
            "Nonlinear",
            "test_inputs",
            (None,),
            lambda v: network("Nonlinear", test_inputs=v, test_targets=[1.0]),
        ),
        *(
            case
            for argument, values in PROGRAM_BAD.items()
            for case in of_network("Program", argument, values)
        ),
        *of_options(
            "solve",
            dm.solve,
            "Program",
            {
                "samples": (0, 1e4, 10**15, *NO_INTEGER[1:]),
                "seed": NO_INTEGER,
                "batches": (0, *NO_INTEGER),
                "rank": (0, *NO_INTEGER[1:]),
                "form": ("response",),
            },
        ),
        *at(
            "solve (Program)",
            "samples",
            (4000,),
            lambda v: dm.solve(network("Program", steps=10**9), samples=v),
        ),
        *at(
            "solve (Program)",
            "net",
            ("gamma0, traced",),
            lambda _: jax.grad(
                lambda g: dm.solve(network("Program", gamma0=g)).train_loss[-1]
            )(1.0),
        ),
        *of_options(
            "simulate",
            dm.simulate,
            "Program",
            {"width": (0, 10**7, *NO_INTEGER), "matrix_free": (True,)},
            progress=False,
        ),
        *at("solve", "net", ("DeepLinear", None, DEEP, solved), dm.solve),
        *of_options(
            "solve",
            dm.solve,
            "DeepLinear",
            {"samples": (5,), "capacity": NO_INTEGER[1:]},
        ),
        *of_options("solve", dm.solve, "WideOutput", {"samples": (5,)}),
        *of_options(
            "solve",
            dm.solve,
            "Nonlinear",
            {
                "samples": (0, 1e4, 10**15, *NO_INTEGER[1:]),
                "seed": NO_INTEGER,
                "batches": (0, *NO_INTEGER),
                "rank": (0, *NO_INTEGER[1:]),
                "accuracy": POSITIVE,
                "form": ("x", None, 1),
                "rang": (3,),
            },
        ),
        *at(
            "solve (DeepLinear)",
            "steps",
            (10**9,),
            lambda v: dm.solve(network("DeepLinear", steps=v)),
        ),
        *at(
            "solve (WideOutput)",
            "steps",
            (10**9,),
            lambda v: dm.solve(network("WideOutput", steps=v)),
        ),
        *at(
            "solve (Nonlinear)",
            "samples",
            (4000,),
            lambda v: dm.solve(network("Nonlinear", steps=10**9), samples=v),
        ),
        *at(
            "solve (Nonlinear)",
            "samples",
            (100,),
            lambda v: dm.solve(network("Nonlinear"), samples=v, batches=10**9),
        ),
        *at(
            "kernel_at_start",
            "net",
            (None, "Nonlinear", network("DeepLinear")),
            dm.kernel_at_start,
        ),
        *at("simulate", "net", ("DeepLinear", None, DEEP), dm.simulate),
        *of_options(
            "simulate",
            dm.simulate,
            "DeepLinear",
            {
                "dim": (0, 10**7, *NO_INTEGER),
                "seeds": (0, *NO_INTEGER),
                "seed": NO_INTEGER,
                "width": (3,),
                "spectra_at": (5, (9,), "abc", (-1,), (0.5,), (True,), None, NAN),
                "overlaps": NO_INTEGER,
                "leading": NO_INTEGER,
            },
            progress=False,
        ),
        *in_coordinates(),
        *at(
            "simulate (DeepLinear)",
            "batch",
            (0.01,),
            lambda v: dm.simulate(network("DeepLinear", batch=v), dim=10),
        ),
        *of_options(
            "simulate",
            dm.simulate,
            "Nonlinear",
            {
                "width": (0, 10**7, *NO_INTEGER),
                "dim": (3,),
                "matrix_free": ("yes", None, 1),
            },
            progress=False,
        ),
        *of_options(
            "simulate",
            dm.simulate,
            "Nonlinear",
            {
                "width": (0, 10**12),
                "dtype": ("int8", None),
                "rank": (0, 1.5),
                "tolerance": (-1.0, "a"),
            },
            matrix_free=True,
            progress=False,
        ),
        *of_options(
            "simulate",
            dm.simulate,
            "WideOutput",
            {"width": (0, 10**7, *NO_INTEGER), "dim": (0, *NO_INTEGER[1:])},
            progress=False,
        ),
        *at(
            "simulate (WideOutput)",
            "dim",
            (None,),
            lambda v: dm.simulate(
                network("WideOutput", train_readout=True), width=50, dim=v
            ),
        ),
        *questions(
            "DeepLinear", solved, ("outliers", "bulk"), {"layer": LAYERS, "step": STEPS}
        ),
        *questions(
            "DeepLinear", solved, ("outliers",), {"max_outliers": ("a", 1.5, -1)}
        ),
        *questions(
            "DeepLinear",
            solved,
            (
                "escape_step",
                "crossings",
                "escape_margin",
                "weight_history",
                "initial_law",
                "scale",
            ),
            {"layer": LAYERS},
        ),
        *questions(
            "DeepLinear", solved, ("feature_gram", "gradient_gram"), {"l": LAYERS}
        ),
        *questions(
            "Nonlinear", solved, ("outliers", "bulk"), {"layer": LAYERS, "step": STEPS}
        ),
        *questions(
            "Nonlinear",
            solved,
            ("feature_kernel", "gradient_kernel", "two_time"),
            {"l": LAYERS},
        ),
        *questions(
            "Nonlinear", solved, ("fields",), {"l": LAYERS, "step": (None, *STEPS)}
        ),
        *questions("Nonlinear", solved, ("more",), {"samples": (0, *NO_INTEGER)}),
        *questions(
            "Program",
            solved,
            ("outliers", "bulk"),
            {"layer": (*LAYERS, "V"), "step": STEPS},
        ),
        *questions(
            "Program",
            solved,
            ("weight_history", "initial_law", "descent"),
            {"layer": LAYERS},
        ),
        *at(
            "ProgramSolution.sharpness",
            "sharpness",
            (None,),
            lambda _: solved("Program").sharpness,
        ),
        *questions(
            "Program",
            simulated,
            ("singular_values",),
            {"layer": LAYERS, "step": (1, *STEPS)},
        ),
        *at(
            "compare",
            "solution",
            (dm.Program,),
            lambda _: dm.compare(solved("Program"), simulated("Program")),
        ),
        *at(
            "save",
            "result",
            (dm.Program,),
            lambda _: dm.save(solved("Program"), "program.npz"),
        ),
        *questions(
            "WideOutput",
            solved,
            ("outliers", "bulk", "update_bulk"),
            {"layer": LAYERS, "step": STEPS},
        ),
        *questions(
            "DeepLinear",
            simulated,
            ("singular_values",),
            {"layer": LAYERS, "step": (1, *STEPS)},
        ),
        *questions(
            "Nonlinear",
            simulated,
            ("singular_values",),
            {"layer": LAYERS, "step": (1, *STEPS)},
        ),
        *questions(
            "WideOutput",
            simulated,
            ("singular_values",),
            {"layer": LAYERS, "step": (1, *STEPS)},
        ),
        *at(
            "DeepLinearSolution.ntk.density",
            "step",
            STEPS,
            lambda v: solved("DeepLinear").ntk.density(1.0, v),
        ),
        *at(
            "DeepLinearSolution.ntk.density",
            "x",
            POINTS,
            lambda v: solved("DeepLinear").ntk.density(v, 0),
        ),
        *at(
            "compare",
            "solution",
            (3, None, simulated),
            lambda v: dm.compare(v, simulated("DeepLinear")),
        ),
        *at(
            "compare",
            "solution",
            ("a simulation",),
            lambda v: dm.compare(*[simulated("DeepLinear")] * 2),
        ),
        *at(
            "compare",
            "simulation",
            (3, None),
            lambda v: dm.compare(solved("DeepLinear"), v),
        ),
        *at(
            "compare",
            "simulation",
            ("a solution",),
            lambda v: dm.compare(*[solved("DeepLinear")] * 2),
        ),
        *at(
            "compare",
            "simulation",
            ("one of another network",),
            lambda v: dm.compare(solved("WideOutput"), simulated("DeepLinear")),
        ),
        *of_function(
            "SpikedEnsemble",
            dm.SpikedEnsemble,
            SPIKED,
            {
                "aspect": POSITIVE,
                "variance": POSITIVE,
                "left_gram": (*NO_GRAM, [[-1.0]], [[1.0, 2.0], [0.0, 1.0]]),
                "right_gram": (*NO_GRAM, [[-1.0]]),
                "strengths": NO_MATRIX,
                "left_response": NO_MATRIX[1:],
                "right_response": NO_MATRIX[1:],
            },
        ),
        *at(
            "SpikedEnsemble",
            "left_response",
            ([[5.0]],),
            lambda v: dm.SpikedEnsemble(**SPIKED, left_response=v),
        ),
        *at(
            "SpikedEnsemble",
            "left_response",
            (0.1,),
            lambda v: dm.SpikedEnsemble(
                **SPIKED, left_response=[[v]], right_response=[[v]]
            ),
        ),
        *of_function(
            "SpikedEnsemble.from_vectors",
            dm.SpikedEnsemble.from_vectors,
            VECTORS,
            {
                "M0": (*NO_GRAM, np.zeros((12, 15))),
                "U": NO_MATRIX,
                "V": NO_MATRIX,
                "strengths": NO_MATRIX,
                "variance": POSITIVE,
            },
        ),
        *at(
            "SpikedEnsemble.from_vectors",
            "U",
            (np.ones((12, 12)),),
            lambda v: dm.SpikedEnsemble.from_vectors(
                NOISE, v, np.ones((15, 1)), np.ones((12, 1))
            ),
        ),
        *at("outliers", "ensemble", (3, None, "a", SPIKED), dm.outliers),
        *at(
            "outliers",
            "max_outliers",
            ("a", 0, -1, 1.5, True),
            lambda v: dm.outliers(spiked, v),
        ),
        *of_function(
            "rectangular_law",
            dm.rectangular_law,
            dict(aspect=1.0, variance=1.0),
            {"aspect": (0, *POSITIVE), "variance": POSITIVE},
        ),
        *(
            c
            for m in ("density", "cdf")
            for c in at(f"RectangularLaw.{m}", "x", POINTS, getattr(law, m))
        ),
        *at("RectangularLaw.stieltjes", "z", (1.0, *COMPLEX), law.stieltjes),
        *at("AbstractLaw.ppf", "q", (-0.1, 1.5, [0.5, 2.0], *POINTS), law.ppf),
        *at("AbstractLaw.sample", "n", (0, *NO_INTEGER), law.sample),
        *at("AbstractLaw.sample", "seed", NO_INTEGER, lambda v: law.sample(3, v)),
        *(
            c
            for m in ("m_left", "m_right")
            for c in at(f"RectangularLaw.{m}", "s", (-1.0, *COMPLEX), getattr(law, m))
        ),
        *(
            c
            for m in ("density", "cdf")
            for c in at(f"GeneralisedMP.{m}", "x", POINTS, getattr(mixed, m))
        ),
        *at("GeneralisedMP.stieltjes", "z", (20.0, *COMPLEX), mixed.stieltjes),
        *of_function(
            "generalised_mp",
            dm.generalised_mp,
            dict(values=[1.0], weights=[1.0], aspect=1.0),
            {
                "values": ([-1.0], [0.0], "a", [[1.0]], [NAN], None, [1e300]),
                "weights": ([], [0.5], [-1.0], [1.0, 0.0], "a"),
                "aspect": (0, *POSITIVE),
            },
        ),
        *of_function(
            "leading_noise",
            dm.leading_noise,
            dict(aspect=1.0, variance=1.0, size=10, seeds=2),
            {
                "aspect": (0, *POSITIVE),
                "variance": (0, *POSITIVE),
                "size": (0, 2**53 + 1, *NO_INTEGER),
                "seeds": (0, *NO_INTEGER),
                "leading": (0, 11, *NO_INTEGER),
                "seed": NO_INTEGER,
            },
        ),
        *at(
            "leading_noise",
            "size / aspect",
            (1e-17, 100.0),
            lambda v: dm.leading_noise(v, 1.0, size=10, seeds=2),
        ),
        *of_function(
            "Transformer",
            dm.Transformer,
            dict(tokens=SEQUENCES, targets=[1.0], learning_rate=0.1, steps=2),
            {
                "tokens": (None, "a", [[1.0]], [[[NAN]]], []),
                "targets": (None, "a", [1.0, 2.0], [[1.0], [2.0, 3.0]]),
                "blocks": (0, *NO_INTEGER),
                "heads": (0, *NO_INTEGER),
                "attention_scale": (None, "a", NAN),
                "causal": (None, 1, "a"),
                "mlp": (None, 1, "a"),
                "rmsnorm": (None, 1, "a"),
                "pool": (None, "all"),
                "activation": (None, "softmax"),
                "mask": ("a", [True], [[1, 1]], [[False, False]]),
            },
        ),
        *of_function(
            "Recurrent",
            dm.Recurrent,
            dict(inputs=SEQUENCES, targets=[1.0], learning_rate=0.1, steps=2),
            {
                "inputs": (None, "a", [[1.0]], [[[NAN]]], []),
                "targets": (None, "a", [1.0, 2.0]),
                "cell": (None, "rnn"),
                "activation": (None, "softmax"),
            },
        ),
        *at(
            "Recurrent",
            "times (axis 1 of inputs)",
            ([[[1.0, 0.5]]],),
            lambda v: dm.Recurrent(inputs=v, targets=[1.0], learning_rate=0.1, steps=2),
        ),
        *of_function(
            "Convolutional",
            dm.Convolutional,
            dict(
                inputs=SEQUENCES,
                targets=[1.0],
                hidden_layers=2,
                kernel=2,
                learning_rate=0.1,
                steps=2,
            ),
            {
                "inputs": (None, "a", [[1.0]], [[[NAN]]], []),
                "targets": (None, "a", [1.0, 2.0]),
                "hidden_layers": (1, *NO_INTEGER),
                "kernel": (0, 3, *NO_INTEGER),
                "activation": (None, "softmax"),
            },
        ),
        *at("note", "note", (1, None), lambda v: dm.note(v, 1.0)),
        *at("note", "note", (1, True, [1, 2]), lambda v: dm.note("size", v)),
        *at(
            "generalised_mp",
            "values",
            ([-1.0, 1.0],),
            lambda v: dm.generalised_mp(v, [0.5, 0.5], 1.0),
        ),
        *of_function(
            "extensive_spikes",
            dm.extensive_spikes,
            dict(aspect=1.0, variance=1.0, strengths=[1.0], fractions=[0.5]),
            {
                "strengths": ([-1.0], "a", [NAN], [[1.0]], None, [1e300]),
                "fractions": ([1.5], [-0.1], [0.1, 0.2], "a"),
                "aspect": POSITIVE,
                "variance": POSITIVE,
            },
        ),
        *of_function(
            "empirical.spectrum",
            dm.empirical.spectrum,
            dict(weights=NOISE),
            {
                "weights": (
                    *NO_WEIGHTS,
                    np.zeros((12, 15)),
                    np.ones((12, 15)),
                    NOISE[:5],
                    NOISE * 1e60,
                    NOISE * 1e-170,
                    np.vstack([NOISE[:5], np.zeros((9, 15))]),
                ),
                "false_positive_rate": (0.0, 0.9, *NO_NUMBER),
            },
        ),
        *at(
            "empirical.spectra",
            "tree",
            (None, {}, "a", [1.0], {"bias": np.zeros(20)}),
            dm.empirical.spectra,
        ),
        *at(
            "empirical.spectra",
            "initial",
            ({}, {"a": NOISE.T}),
            lambda v: dm.empirical.spectra({"a": NOISE}, v),
        ),
        *of_function(
            "empirical.report",
            dm.empirical.report,
            dict(before={"a": NOISE}, after={"a": NOISE}),
            {
                "after": (None, {}, "a", [1.0], {"bias": np.zeros(20)}),
                "false_positive_rate": (0.0, 0.9, *NO_NUMBER),
                "seed": NO_INTEGER,
            },
        ),
        *(
            c
            for f in ("stable_rank", "participation_ratio")
            for c in at(
                f"empirical.{f}",
                "matrix",
                (*NO_WEIGHTS, [[0.0]]),
                getattr(dm.empirical, f),
            )
        ),
        *of_function(
            "empirical.overlaps",
            dm.empirical.overlaps,
            dict(matrix=NOISE, directions=np.ones((12, 1))),
            {
                "matrix": NO_WEIGHTS,
                "directions": (*NO_WEIGHTS, np.zeros((12, 1)), np.ones((11, 1))),
                "side": ("top", None, 1),
                "count": (0, 13, *NO_INTEGER),
            },
        ),
        *of_function(
            "empirical.lanczos_density",
            dm.empirical.lanczos_density,
            dict(weights=NOISE, points=[1.0], width=0.1, depth=3),
            {
                "weights": NO_WEIGHTS,
                "points": ("a", [NAN], 1.0, None),
                "width": NO_NUMBER,
                "depth": (13, 0, *NO_INTEGER[1:]),
                "probes": (0, *NO_INTEGER),
                "seed": NO_INTEGER,
            },
        ),
        *at(
            "empirical.tracy_widom_quantile",
            "probability",
            (0.0, 1.0, "a", NAN, None),
            dm.empirical.tracy_widom_quantile,
        ),
        *at(
            "empirical.tracy_widom_cdf",
            "x",
            ("a", NAN, None, [0.0, NAN], 1j),
            dm.empirical.tracy_widom_cdf,
        ),
        *at(
            "critical",
            "make_network",
            (3, None),
            lambda v: dm.critical(v, 0, (0.5, 4.0)),
        ),
        *at("critical", "net", (lambda g: g,), lambda v: dm.critical(v, 0, (0.5, 4.0))),
        *at(
            "critical",
            "between",
            (3, None, "ab", (1.0,), (1.0, NAN), ("a", "b"), (1.0, 1.1)),
            lambda v: dm.critical(gamma, 0, v),
        ),
        *at("critical", "layer", LAYERS, lambda v: dm.critical(gamma, v, (0.5, 4.0))),
        *at(
            "critical",
            "step",
            STEPS,
            lambda v: dm.critical(gamma, 0, (0.5, 4.0), step=v),
        ),
        *at(
            "critical",
            "number",
            (0, 99, *NO_INTEGER),
            lambda v: dm.critical(gamma, 0, (0.5, 4.0), number=v),
        ),
        *at(
            "critical",
            "rtol",
            (0.0, *NO_NUMBER),
            lambda v: dm.critical(gamma, 0, (0.5, 4.0), rtol=v),
        ),
        *(
            c
            for name, values in {
                "make_network": (3, None),
                "grid": (
                    {},
                    [],
                    3,
                    None,
                    "gamma0",
                    [1.0],
                    {"gamma0": []},
                    [{"gamma0": 1.0}, {"width_ratio": 1.0}],
                    {"gamma0": [None]},
                    {"gamma0": [[1.0, 2j]]},
                    {"test_loss_0": [1.0]},
                    {"gamma0": [1j]},
                    {"status": [1.0]},
                ),
                "quantities": (
                    [],
                    {},
                    None,
                    3,
                    "test_loss",
                    [3],
                    {"test_loss": 3},
                    ["status"],
                    ["gamma0"],
                ),
                "executor": (3, "threads", forking()),
                "timeout": (0.0, -1.0, "a", 60.0),
                "store": (3, True),
                "throw": (False,),
            }.items()
            for c in at("sweep", name, values, functools.partial(sweep_of, name=name))
        ),
        *at(
            "sweep",
            "store",
            (b"\x00\xff", b"no sweep\n", b"[1, 2]\n", b"{}\n"),
            in_folder(no_store),
        ),
        *at(
            "save",
            "result",
            (None, 3, {"loss": 1.0}, dm.save, dm),
            in_folder(lambda v, at: dm.save(v, at / "x.npz")),
        ),
        *at(
            "save",
            "activation",
            (np.tanh,),
            in_folder(
                lambda v, at: dm.save(
                    network("Nonlinear", activation=lambda h: h / 2), at / "x.npz"
                )
            ),
        ),
        *at(
            "save", "path", (None, 3, True), lambda v: dm.save(network("DeepLinear"), v)
        ),
        *at("load", "path", (None, 3, True), dm.load),
        *at(
            "load",
            "path",
            (b"", b"no file of dmftlib", b"PK\x03\x04" + bytes(60)),
            in_folder(damaged),
        ),
    ]
    found += where_muon_is_refused()
    found += where_adam_is_refused()
    return found


def prepare():
    """What the calls that ask something of a solution need: solved, simulated and
    compiled once.
    """
    for kind in NETWORKS:
        solved(kind), simulated(kind)
    (
        solved("DeepLinear").outliers(0, 1),
        solved("DeepLinear").escape_margin(0, 3),
        solved("DeepLinear").ntk,
    )


def message(case) -> str:
    """What the user reads."""
    try:
        case.call()
    except ValueError as error:
        return str(error)
    raise AssertionError(
        f"{case.entry}: {case.argument} = {case.value!r} was not refused"
    )


PATTERN = re.compile(
    r"(?P<named>.*?): got (?P<got>.*); needed: (?P<need>.*)", re.DOTALL
)


def page(messages) -> str:
    """The appendix: for each entry point and argument what is needed and what was got,
    from the messages themselves.
    """
    table = {}
    for case, words in messages:
        need, got = (
            re.sub(r"/\S*/(?=x\.)", "", part)
            for part in PATTERN.fullmatch(words).group("need", "got")
        )
        got = re.sub(r"\d+\.\d+ GiB", "too many GiB", re.sub(r" at 0x\w+", "", got))
        need = re.sub(r"\d+\.\d+ GiB", "what this machine has", need)
        needs = table.setdefault(case.entry, {}).setdefault(case.argument, {})
        needs.setdefault(need, []).append(got)
    lines = [HEAD]
    for entry, arguments in table.items():
        lines += [
            f"## `{entry}`",
            "",
            "| argument | needed | refused, for example |",
            "|---|---|---|",
        ]
        for argument, needs in arguments.items():
            for need, got in needs.items():
                shown = list(dict.fromkeys(got))[:4]
                cells = (f"`{argument}`", _cell(need), "; ".join(map(_cell, shown)))
                lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(text):
    short = text if len(text) <= 160 else text[:150] + " ..."
    return "`" + short.replace("|", "\\|").replace("`", "'") + "`"


HEAD = """# Errors

Whatever is wrong with an argument is said before anything is computed, in a `ValueError` of one form:

```text
argument: got what came; needed: what is needed
```

This page is made from the messages themselves, by `tests/library/bad_input.py`. The tests make every one of these
calls, and see that it is refused within a second (where a network has to be solved to tell, of that network's time),
that the message names the argument, and that no file and no thread is left behind. Memory is checked as well: what
would need more than the machine has is refused, not tried.

Three things are not errors of input. Training that diverges, or an answer that is not to be trusted, is a
`dmftlib.SolveError`, whose `solution` holds the finite part; `solve(..., throw=False)` returns it, and its `status`
says what is wrong. A file that is not there is a `FileNotFoundError`, a disk that is full an `OSError`. Under
`jax.jit`, `jax.grad` and `jax.vmap` numbers cannot be looked at: there shapes, names and whole numbers are checked, and
values are not.
"""

if __name__ == "__main__":
    PAGE.write_text(page([(case, message(case)) for case in cases()]))
    sys.stdout.write(f"{PAGE} written\n")
