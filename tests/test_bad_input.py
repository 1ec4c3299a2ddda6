"""Bad input is refused at the door of every public function: a ValueError that names the argument."""

import numpy as np
import pytest

import dmftlib as dm

DEEP = dict(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=3)
NONLINEAR = dict(inputs=[[1.0, 0.0], [0.5, 1.0]], targets=[1.0, -1.0], hidden_layers=2, learning_rate=0.1, steps=2)
WIDE = dict(output_ratio=0.5, input_ratio=0.7, learning_rate=0.1, steps=3)
NAN = float("nan")
NO_NUMBER = (None, "a", -1, NAN, float("inf"), [1.0, 2.0], True, 1 + 2j, -(10**400))
NO_INTEGER = (None, "a", -1, NAN, 1.5, [1], True)

NETWORKS = [
    *((dm.DeepLinear, DEEP, k, v) for k in ("width_ratio", "sample_ratio", "learning_rate", "gamma0", "init_variance",
                                            "label_noise") for v in NO_NUMBER),
    *((dm.DeepLinear, DEEP, k, v) for k in ("hidden_layers", "steps") for v in NO_INTEGER),
    *((dm.DeepLinear, DEEP, "batch", v) for v in (None, "half", 0.0, 1.0, 2, NAN)),
    *((dm.DeepLinear, DEEP, "parameterization", v) for v in (None, "sp", 1)),
    *((dm.WideOutput, WIDE, k, v) for k in ("output_ratio", "input_ratio", "learning_rate", "target_variance", "gamma0",
                                            "init_variance") for v in NO_NUMBER),
    *((dm.WideOutput, WIDE, "steps", v) for v in NO_INTEGER),
    *((dm.WideOutput, WIDE, "train_readout", v) for v in (None, "yes", 2)),
    *((dm.Nonlinear, NONLINEAR, k, v) for k in ("learning_rate", "gamma0", "init_variance") for v in NO_NUMBER),
    *((dm.Nonlinear, NONLINEAR, k, v) for k in ("hidden_layers", "steps") for v in NO_INTEGER),
    *((dm.Nonlinear, NONLINEAR, "inputs", v) for v in (None, [], [[]], "a", [["a"]], [1.0, 2.0], [[1.0], [2.0, 3.0]],
                                                       [[NAN, 1.0], [0.0, 1.0]])),
    *((dm.Nonlinear, NONLINEAR, "targets", v) for v in (None, [1.0], "ab", [[1.0], [np.inf]])),
    *((dm.Nonlinear, NONLINEAR, "activation", v) for v in (None, "cube", 3, np.square, lambda h, g: h, lambda h: h**2)),
    *((dm.Nonlinear, NONLINEAR, "batch", v) for v in (0, 5, "online", 0.5)),
    (dm.Nonlinear, NONLINEAR, "test_inputs", [[1.0]]),
    (dm.WideOutput, {**WIDE, "train_readout": True}, "output_ratio", 0.0),
]  # fmt: skip


def shown(value):
    return getattr(value, "__name__", None) or str(value)[:20]


@pytest.mark.parametrize("network, arguments, name, value", NETWORKS, ids=shown)
def test_networks(network, arguments, name, value):
    with pytest.raises(ValueError, match=f"{name}.*: got"):
        network(**{**arguments, name: value})


@pytest.mark.parametrize("arguments, options, name", [
    *((DEEP, {"dim": 20, k: v}, k) for k, v in (("dim", 0), ("dim", 1.5), ("dim", "a"), ("seeds", 0), ("seeds", None),
                                               ("seed", -1), ("seed", "a"), ("spectra_at", 5), ("spectra_at", (9,)),
                                               ("spectra_at", "abc"), ("width", 3), ("overlaps", -1))),
    *((NONLINEAR, {k: v}, k) for k, v in (("width", 0), ("width", 2.5), ("dim", 3))),
    *((NONLINEAR, {"matrix_free": True, k: v}, k) for k, v in (("width", 0), ("dtype", "int8"), ("rank", 0),
                                                              ("tolerance", -1.0))),
    *((WIDE, {k: v}, k) for k, v in (("width", 0), ("dim", 1.5))),
    ({**WIDE, "train_readout": True}, {"width": 50}, "dim"),
])  # fmt: skip
def test_simulate(arguments, options, name):
    net = (dm.Nonlinear if "inputs" in arguments else dm.WideOutput if "input_ratio" in arguments else dm.DeepLinear)
    with pytest.raises(ValueError, match=f"{name}.*: got"):
        dm.simulate(net(**arguments), progress=False, **options)


@pytest.mark.parametrize("arguments, options, name", [
    (DEEP, {"samples": 5}, "samples"), (DEEP, {"capacity": -1}, "capacity"), (DEEP, {"capacity": "a"}, "capacity"),
    (WIDE, {"samples": 5}, "samples"),
    *((NONLINEAR, {k: v}, k) for k, v in (("samples", 0), ("samples", "a"), ("samples", 1e4), ("seed", -1),
                                         ("form", "x"), ("batches", 0), ("rank", 0), ("accuracy", -1), ("rang", 3))),
])  # fmt: skip
def test_solve(arguments, options, name):
    net = (dm.Nonlinear if "inputs" in arguments else dm.WideOutput if "input_ratio" in arguments else dm.DeepLinear)
    with pytest.raises(ValueError, match=f"^{name}: got"):
        dm.solve(net(**arguments), **options)


def test_what_is_no_network():
    for call in (dm.solve, dm.simulate):
        for wrong in ("DeepLinear", None, DEEP):
            with pytest.raises(ValueError, match="net: got"):
                call(wrong)


def test_questions_to_a_solution():
    net = dm.DeepLinear(**DEEP)
    solution, simulation = dm.solve(net), dm.simulate(net, dim=20, seeds=2, spectra_at=(0, 3), progress=False)
    for layer, step in ((5, 0), ("a", 0), (None, 0), (0, 99), (0, -1), (0, 1.5), (0, "a")):
        for ask in (solution.outliers, solution.bulk, simulation.singular_values):
            with pytest.raises(ValueError, match="layer|step"):
                ask(layer, step)
    for one, other in ((solution, 3), (3, simulation), (dm.solve(dm.WideOutput(**WIDE)), simulation)):
        with pytest.raises(ValueError, match="simulation|solution"):
            dm.compare(one, other)


@pytest.mark.parametrize("call", [
    lambda: dm.rectangular_law(0, 1), lambda: dm.rectangular_law(1, -1), lambda: dm.rectangular_law("a", 1),
    lambda: dm.rectangular_law(NAN, 1), lambda: dm.rectangular_law([1, 2], 1), lambda: dm.outliers(3),
    lambda: dm.generalised_mp([], [], 1), lambda: dm.generalised_mp([1.0], [0.5], 1),
    lambda: dm.generalised_mp([-1.0], [1.0], 1), lambda: dm.generalised_mp([1.0], [1.0], 0),
    lambda: dm.generalised_mp("a", [1.0], 1), lambda: dm.extensive_spikes(1.0, 1.0, [1.0], [1.0, 2.0]),
    lambda: dm.extensive_spikes(1.0, 1.0, [1.0], [1.5]), lambda: dm.extensive_spikes(1.0, 1.0, [-1.0], [0.5]),
    lambda: dm.critical(lambda g: dm.DeepLinear(**DEEP, gamma0=g), 0, (1.0, 1.1)),
])  # fmt: skip
def test_laws_and_others(call):
    with pytest.raises(ValueError, match="got .*; needed"):
        call()
