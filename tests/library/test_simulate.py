import ast
import dataclasses
import importlib
import inspect
import pathlib
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dmftlib import simulate, solve
from dmftlib.matrix_free import simulate_matrix_free
from dmftlib.networks import DeepLinear, Nonlinear, WideOutput
from dmftlib.simulate import simulator
from dmftlib.simulations.base import Simulation
from dmftlib.simulations.coordinates import simulate_coordinates
from dmftlib.simulations.deep_linear import (
    Sizes,
    loss,
    predictor,
    simulate_deep_linear,
    start,
)
from dmftlib.solve import solver
from dmftlib.spectra.bulk import rectangular_law

MODULE = importlib.import_module("dmftlib.simulations.deep_linear")
NET = DeepLinear(
    hidden_layers=2,
    width_ratio=0.8,
    sample_ratio=1.5,
    gamma0=3.0,
    init_variance=0.5,
    label_noise=0.2,
    learning_rate=0.05,
    steps=4,
)
TANH = Nonlinear(
    inputs=[[1.0, 0.0], [0.5, 1.0]],
    targets=[1.0, -1.0],
    hidden_layers=2,
    learning_rate=0.1,
    steps=2,
)
WIDE = WideOutput(output_ratio=0.5, input_ratio=0.7, learning_rate=0.1, steps=2)


PACKAGE = pathlib.Path(MODULE.__file__).parents[1]
LEVELS = ("training", "spectra")
# of simulate.py: the conditioning solver run at S = N, which is level 1 by nature
EXEMPT = {"matrix_free"}


def imports(path, package=PACKAGE):
    """Files of the package that a file imports, anywhere in it, and all names that it
    imports by other ways.
    """
    folder = path.parent
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
            found |= {
                package / m.split(".", 1)[-1].replace(".", "/")
                for m in modules
                if m.startswith("dmftlib")
            }
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            base = folder.parents[node.level - 2] if node.level > 1 else folder
        elif (node.module or "").split(".")[0] == "dmftlib":
            base = package.parent
        else:
            continue
        base = base.joinpath(*(node.module or "").split("."))
        found |= {base} if node.module else set()
        found |= {base / alias.name for alias in node.names}
    return {
        each.with_suffix(".py") for each in found if each.with_suffix(".py").exists()
    }


def reached(start, package=PACKAGE):
    """Files that these reach by imports of imports, the exempt apart."""
    seen, open_ends = set(), list(start)
    while open_ends:
        path = open_ends.pop()
        if path not in seen:
            seen.add(path)
            open_ends += [
                each
                for each in imports(path, package)
                if not (path.name == "simulate.py" and each.stem in EXEMPT)
            ]
    return seen


def test_simulations_share_no_code_with_either_level():
    files = [PACKAGE / "simulate.py", *(PACKAGE / "simulations").glob("*.py")]
    assert len(files) >= 6
    seen = reached(files)
    assert PACKAGE / "networks.py" in seen and PACKAGE / "activations.py" in seen
    assert not [each for each in seen if each.parent.name in (*LEVELS, "solutions")]


@pytest.mark.parametrize(
    "line",
    [
        "from ..training import gaussian",
        "from ..spectra.bulk import RectangularLaw",
        "import dmftlib.spectra.bulk",
        "from dmftlib.training import gaussian",
        "def f():\n    from ..helper import x",
    ],
)
def test_a_simulation_that_knows_the_theory_is_seen(line, tmp_path):
    package = tmp_path / "dmftlib"
    for name in ("training/gaussian", "spectra/bulk", "simulations/mine", "helper"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").write_text("")
    (package / "helper.py").write_text("from .spectra import bulk")
    (package / "simulations/mine.py").write_text(line)
    seen = reached([package / "simulations/mine.py"], package)
    assert [each for each in seen if each.parent.name in LEVELS]


def test_spectra_are_by_layer_and_step():
    for net, options in (
        (NET, {"dim": 20}),
        (TANH, {"width": 20}),
        (WIDE, {"width": 20}),
    ):
        layer = int(net is TANH)
        simulation = simulate(
            net, seeds=2, spectra_at=(0, 2), progress=False, **options
        )
        assert isinstance(simulation, Simulation)
        assert (layer, 2) in simulation.spectra
        np.testing.assert_array_equal(
            simulation.spectra[layer, 2], simulation.singular_values(layer, 2)
        )
        for step in (np.argmax([0, 1, 5]), np.array(2), jnp.argmax(jnp.arange(3))):
            np.testing.assert_array_equal(
                simulation.singular_values(np.array(layer), step),
                simulation.spectra[layer, 2],
            )
        with pytest.raises(
            ValueError, match=r"^step: got 1; needed: one of spectra_at"
        ):
            simulation.singular_values(layer, 1)


def test_a_diverged_run_keeps_its_finite_part():
    wild = dataclasses.replace(NET, learning_rate=50.0, steps=80)
    for net, options in (
        (wild, {"dim": 20, "overlaps": 1}),
        (wild, {"dim": 20, "leading": 2}),
        (wild, {"dim": 20, "method": "coordinates", "leading": 2}),
        (dataclasses.replace(WIDE, learning_rate=50.0, steps=200), {"width": 20}),
    ):
        simulation = simulate(
            net, seeds=2, spectra_at=(0, net.steps), progress=False, **options
        )
        assert np.isfinite(simulation.singular_values(0, 0)).all()
        assert np.isnan(simulation.singular_values(0, net.steps)).all()
        assert np.isfinite(simulation.test_loss[:, 0]).all()
    every = dict(dim=20, seeds=2, spectra_at=(0, 80), overlaps=1, progress=False)
    coordinates = dict(method="coordinates", leading=2, ntk=True)
    for options in ({}, coordinates):
        simulation = simulate(wild, **every, **options)
        for found in (simulation.ntk_eigenvalues(80), *simulation.overlaps(0, 80)):
            assert np.isnan(found).all()
        assert np.isfinite(simulation.ntk_eigenvalues(0)).any()


SHARING = {
    "tanh, another seed of the batches": (TANH, dict(batch=1, batch_seed=3)),
    "tanh, more steps": (TANH, dict(steps=3, learning_rate=[0.1, 0.2, 0.1])),
    "deep linear, more steps": (NET, dict(steps=7)),
    "wide, more steps": (WIDE, dict(steps=5)),
}


@pytest.mark.parametrize("name", SHARING)
def test_batches_and_numbers_of_steps_share_a_program(compiled, name):
    """And each is trained as long as it should be."""
    net, changes = SHARING[name]
    size = {} if isinstance(net, DeepLinear) else {"width": 20}
    size = size or {"dim": 20, "ntk": False}
    first = simulate(net, seeds=2, progress=False, **size)
    compiled.clear()
    changed = simulate(
        dataclasses.replace(net, **changes), seeds=2, progress=False, **size
    )
    assert not compiled
    assert first.train_loss.shape == (2, net.steps + 1)
    assert changed.train_loss.shape == (2, changes.get("steps", net.steps) + 1)
    np.testing.assert_allclose(first.train_loss[:, 0], changed.train_loss[:, 0])
    if set(changes) == {"steps"}:
        np.testing.assert_array_equal(
            first.train_loss, changed.train_loss[:, : net.steps + 1]
        )


def test_a_batch_of_no_sample_is_refused_and_the_fraction_used_is_said():
    few = dataclasses.replace(NET, batch=0.01)
    with pytest.raises(ValueError, match="^batch: got 0.01 of 15 samples at dim=10"):
        simulate(few, dim=10, seeds=1)
    assert simulate(few, dim=60, seeds=1, ntk=False).batch == 1 / 90
    assert simulate(NET, dim=10, seeds=1, ntk=False).batch == "full"


def test_a_network_of_ones_own_is_simulated_when_registered():
    class Mine:
        steps = 3

    def run(net, seeds, seed, spectra_at, size=1):
        return net, seeds, size

    with pytest.raises(ValueError, match="^net: got Mine; needed: a DeepLinear"):
        simulate(Mine())
    simulator.register(Mine, run)
    mine = Mine()
    assert simulate(mine, seeds=2, size=5) == (mine, 2, 5)
    with pytest.raises(ValueError, match="^sise: got an option .* size"):
        simulate(mine, sise=5)


def options_of(function, **more):
    """Name -> default of what a solver or simulator takes beside what all take."""
    takes = inspect.signature(function).parameters
    own = {name: p.default for name, p in takes.items()}
    shared = ("net", "seeds", "spectra_at")
    return {name: own[name] for name in own if name not in shared} | more


def written_for_editors(function, kind):
    """The same of each overload for networks of that kind."""
    found = []
    for each in typing.get_overloads(function):
        takes = inspect.signature(each).parameters
        if takes["net"].annotation is kind:
            keyword = [p for p in takes.values() if p.kind is p.KEYWORD_ONLY]
            found.append({p.name: p.default for p in keyword})
    return found


def test_editors_are_told_the_options_of_each_network():
    """What is written for editors is what the functions take."""
    no_default = inspect.Parameter.empty
    simulators = {
        DeepLinear: [
            options_of(simulate_deep_linear, method="dense"),
            options_of(simulate_coordinates, method=no_default),
        ],
        Nonlinear: [options_of(simulate_matrix_free, matrix_free=False)],
        WideOutput: [options_of(simulator.dispatch(WideOutput))],
    }
    for kind, taken in simulators.items():
        for own in taken:
            own.pop("seed")
        assert written_for_editors(simulate, kind) == taken
        assert all(name in simulate.__doc__ for own in taken for name in own)
    for kind in (DeepLinear, Nonlinear, WideOutput):
        own = options_of(solver.dispatch(kind))
        assert written_for_editors(solve, kind) == [own]
        assert all(name in solve.__doc__ for name in own)


def test_leading_singular_values_are_those_of_the_whole_matrix():
    whole, leading = (
        simulate(NET, dim=40, seeds=2, spectra_at=(4,), ntk=False, **k)
        for k in ({}, {"leading": 3})
    )
    for layer in range(2):
        np.testing.assert_allclose(
            leading.singular_values(layer, 4),
            whole.singular_values(layer, 4)[:, :3],
            rtol=1e-6,
        )


def test_seeds_do_not_depend_on_how_many_are_trained_at_once(monkeypatch):
    together = simulate(NET, dim=40, seeds=5, seed=3, spectra_at=(0, 4), overlaps=2)
    monkeypatch.setattr(MODULE, "_NUMBERS_AT_ONCE", 2 * 40 * 40 * 3)
    apart = simulate(NET, dim=40, seeds=5, seed=3, spectra_at=(0, 4), overlaps=2)
    np.testing.assert_allclose(together.train_loss, apart.train_loss, rtol=1e-10)
    np.testing.assert_allclose(
        together.singular_values(1, 4), apart.singular_values(1, 4), rtol=1e-8
    )
    other = simulate(NET, dim=40, seeds=5, seed=4)
    assert np.abs(other.train_loss / together.train_loss - 1).max() > 0.01
    left, right = together.overlaps(0, 4)
    assert left.shape == right.shape == (5, 2, 4) and together.singular_values(
        0, 4
    ).shape == (5, 32)
    assert (left >= 0).all() and (left <= 1 + 1e-12).all()


def test_updates_are_those_of_the_normalised_recursion():
    """Autodiff on raw weights against M_l += (kappa/dim) g h^T, w += kappa h^L, written
    out.
    """
    simulation = simulate(NET, dim=40, seeds=1, seed=7)
    (W0, W1, w), beta, X, y = start(
        NET, Sizes(40, 32, 60), np.random.default_rng([7, 0])
    )
    M, gamma, kappa = (
        [W0 / np.sqrt(40), W1 / np.sqrt(32)],
        3.0 * np.sqrt(0.8),
        0.05 * 3.0,
    )
    train, test = [], []
    for _ in range(5):
        g = [M[0].T @ M[1].T @ w, M[1].T @ w, w]
        v = beta - g[0] / (gamma * np.sqrt(0.8))
        residual = y - X @ (beta - v) / np.sqrt(40)
        train.append(np.mean(residual**2))
        test.append(np.mean(v**2))
        d = np.sqrt(40) / 60 * X.T @ residual
        h = [d, M[0] @ d, M[1] @ (M[0] @ d)]
        M = [M[l] + kappa * np.outer(g[l + 1], h[l]) / len(h[l]) for l in range(2)]
        w = w + kappa * h[2]
    np.testing.assert_allclose(simulation.train_loss[0], train, rtol=1e-10)
    np.testing.assert_allclose(simulation.test_loss[0], test, rtol=1e-10)


@pytest.mark.parametrize("samples", [15, 45])
def test_ntk_eigenvalues_are_those_of_the_jacobian(samples):
    net = DeepLinear(
        hidden_layers=2,
        width_ratio=0.8,
        sample_ratio=samples / 30,
        gamma0=3.0,
        init_variance=0.5,
        learning_rate=0.05,
        steps=0,
    )
    weights, _, X, _ = start(net, Sizes(30, 24, samples), np.random.default_rng([5, 0]))
    weights = [jnp.asarray(W) for W in weights]
    jacobian = jax.jacrev(
        lambda weights: X @ predictor(net, weights)[1] / jnp.sqrt(30)
    )(weights)
    kernel = (
        sum(J.reshape(samples, -1) @ J.reshape(samples, -1).T for J in jacobian)
        * 30
        * net.gamma**2
        / samples
    )
    found = simulate(net, dim=30, seeds=1, seed=5, spectra_at=(0,)).ntk_eigenvalues(0)
    np.testing.assert_allclose(found[0], np.linalg.eigvalsh(kernel)[::-1], atol=1e-10)


def test_initial_spectrum_is_the_rectangular_law():
    simulation = simulate(NET, dim=400, seeds=2, spectra_at=(0,), ntk=False)
    for layer, aspect in ((0, 0.8), (1, 1.0)):
        values = np.sort(simulation.singular_values(layer, 0).ravel())
        law = rectangular_law(aspect, 0.5)
        assert (
            np.abs(
                np.asarray(law.cdf(values))
                - (np.arange(len(values)) + 0.5) / len(values)
            ).max()
            < 0.01
        )


def test_loss_and_target_are_normalised():
    assert loss(jnp.zeros(3), jnp.zeros((5, 3)), jnp.full(5, 2.0)) == 2.0
    _, beta, _, _ = start(NET, Sizes(40, 32, 60), np.random.default_rng(0))
    np.testing.assert_allclose((beta**2).mean(), 1.0, rtol=1e-12)


def test_bad_input_is_refused():
    for call, name in (
        (lambda: simulate("net"), "net"),
        (lambda: simulate(NET, dim=0), "dim"),
        (lambda: simulate(NET, seeds=1.5), "seeds"),
        (lambda: simulate(NET, dim=40, spectra_at=(5,)), "spectra_at"),
        (
            lambda: simulate(
                DeepLinear(
                    hidden_layers=1,
                    width_ratio=1e-3,
                    sample_ratio=1.0,
                    learning_rate=0.1,
                    steps=1,
                ),
                dim=40,
            ),
            r"dim \* width_ratio",
        ),
    ):
        with pytest.raises(ValueError, match=f"^{name}: got"):
            call()
    simulation = simulate(NET, dim=40, seeds=1, spectra_at=(0,), ntk=False)
    for call, name in (
        (lambda: simulation.singular_values(0, 1), "step"),
        (lambda: simulation.singular_values(2, 0), "layer"),
        (lambda: simulation.ntk_eigenvalues(0), "ntk"),
        (lambda: simulation.overlaps(0, 0), "overlaps"),
    ):
        with pytest.raises(ValueError, match=f"^{name}: got"):
            call()


@pytest.mark.slow
def test_a_width_that_its_directions_fill_is_named():
    """Not the rank, which nobody has given: and only a training can tell."""
    net = Nonlinear(
        inputs=np.eye(2),
        targets=[1.0, -1.0],
        hidden_layers=2,
        learning_rate=0.1,
        steps=3,
    )
    with pytest.raises(ValueError, match=r"width: got 4\b.*directions that there may"):
        simulate(net, width=4, seeds=1, matrix_free=True, progress=False)
