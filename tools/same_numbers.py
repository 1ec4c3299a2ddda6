"""Whether a change of the code has left the numbers as they were.

    PYTHONPATH=OTHER python tools/same_numbers.py store FILE.npz     (OTHER: a checkout)
    PYTHONPATH=. python tools/same_numbers.py compare FILE.npz

Some sixty calls over all networks, laws and simulations, small, seeded, a minute or two
in all. Differences are relative to the largest number of an array, and NaN must be where
NaN was. How close a call has to be:

    EXACT      1e-10   what the rounding of another order of operations allows
    THRESHOLD  1e-7    outliers whose strength is all but the critical one
    COMPRESSED 1e-5    what is read off the leading directions of a history
    corrected  a difference is reported and not counted: the older number is known to
               be wrong, and the words say how
"""

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

import dmftlib as dm  # noqa: E402

EXACT, THRESHOLD, COMPRESSED = 1e-10, 1e-7, 1e-5


@dataclass(frozen=True)
class Case:
    """A call: what it returns is a tree of arrays."""

    run: Callable
    tolerance: float
    corrected: str = ""


CASES: dict[str, Case] = {}


def case(tolerance: float = EXACT, corrected: str = ""):
    """Registers a function under its name."""

    def register(function):
        CASES[function.__name__] = Case(function, tolerance, corrected)
        return function

    return register


# ---------------------------------------------------------------- deep linear networks

PLAIN = dict(
    hidden_layers=2,
    width_ratio=0.8,
    sample_ratio=1.5,
    gamma0=3.0,
    init_variance=0.5,
    label_noise=0.2,
    learning_rate=0.05,
    steps=24,
)
DEEP = {
    "plain": PLAIN,
    "narrow_ntk": dict(
        PLAIN, hidden_layers=1, parameterization="ntk", width_ratio=0.3, gamma0=1.0
    ),
    "online": dict(PLAIN, batch="online", label_noise=0.0),
    "fraction": dict(PLAIN, hidden_layers=3, batch=0.4, gamma0=2.0),
    "long": dict(PLAIN, hidden_layers=1, width_ratio=2.0, steps=150),
    "diverging": dict(PLAIN, learning_rate=3.0),
}


@functools.cache
def deep(name):
    return dm.solve(dm.DeepLinear(**DEEP[name]), throw=False)


def deep_losses(name):
    solution = deep(name)
    return {
        "train": solution.train_loss,
        "test": solution.test_loss,
        "norm": solution.predictor_norm,
        "alignment": solution.alignment,
        "finite": solution.finite_steps,
    }


def parts(found):
    """Values and overlaps of outliers."""
    return {
        "values": found.values,
        "left": found.left_overlap,
        "right": found.right_overlap,
    }


def deep_outliers(name, **options):
    layers = range(DEEP[name]["hidden_layers"])
    return {layer: parts(deep(name).outliers(layer, **options)) for layer in layers}


def deep_margins(name):
    layers = range(DEEP[name]["hidden_layers"])
    return {layer: deep(name).escape_margin(layer) for layer in layers}


def deep_kernel(name):
    kernel = deep(name).ntk
    middle = np.nanmean(np.asarray(kernel.edge)) * np.linspace(0.02, 0.9, 7)
    return {
        "edge": kernel.edge,
        "outliers": kernel.outliers,
        "sharpness": deep(name).sharpness,
        "density": kernel.density(middle, DEEP[name]["steps"]),
    }


@case()
def deep_linear_losses():
    return deep_losses("plain")


@case()
def deep_linear_losses_ntk():
    return deep_losses("narrow_ntk")


@case()
def deep_linear_losses_online():
    return deep_losses("online")


@case()
def deep_linear_losses_fraction():
    return deep_losses("fraction")


@case()
def deep_linear_losses_long():
    return deep_losses("long")


@case()
def deep_linear_losses_diverging():
    return deep_losses("diverging")


@case()
def deep_linear_grams():
    solution = deep("plain")
    levels = range(3)
    return {
        "features": [solution.feature_gram(level) for level in levels],
        "gradients": [solution.gradient_gram(level) for level in levels],
    }


@case()
def deep_linear_responses():
    solution = deep("plain")
    if hasattr(solution, "responses"):
        left, right = solution.responses(1)
    else:
        left, right = solution.weight_history(1).responses()
    steps = slice(10)  # later ones are sums of many that only together mean something
    return {"left": left[steps, steps], "right": right[steps, steps]}


@case(COMPRESSED)
def deep_linear_outliers():
    return deep_outliers("plain")


@case(COMPRESSED)
def deep_linear_outliers_ntk():
    return deep_outliers("narrow_ntk")


@case(COMPRESSED)
def deep_linear_outliers_online():
    return deep_outliers("online")


@case(COMPRESSED)
def deep_linear_outliers_fraction():
    return deep_outliers("fraction")


@case(COMPRESSED)
def deep_linear_outliers_last_step():
    return deep_outliers("plain", step=24)


@case(COMPRESSED)
def deep_linear_outliers_independent():
    return deep_outliers("plain", independent=True)


@case(COMPRESSED)
def deep_linear_margins():
    return {name: deep_margins(name) for name in ("plain", "online", "fraction")}


@case(COMPRESSED)
def deep_linear_margin_of_the_second():
    return deep("plain").escape_margin(0, 24, number=2)


@case(COMPRESSED)
def deep_linear_escape():
    solution = deep("plain")
    return {
        "time": [solution.escape_time(layer) for layer in (0, 1)],
        "step": [solution.escape_step(layer) or -1 for layer in (0, 1)],
    }


@case(COMPRESSED)
def deep_linear_kernel():
    return deep_kernel("plain")


@case(COMPRESSED)
def deep_linear_kernel_online():
    return deep_kernel("online")


@case(COMPRESSED)
def deep_linear_kernel_ntk():
    return deep_kernel("narrow_ntk")


def deep_function(read):
    """`read` of the solution, as a function of the three numbers of the network."""

    def function(numbers):
        gamma0, variance, rate = numbers
        chosen = dict(gamma0=gamma0, init_variance=variance, learning_rate=rate)
        net = dm.DeepLinear(**dict(PLAIN, steps=8, width_ratio=0.8) | chosen)
        return read(dm.solve(net))

    return function


NUMBERS = jnp.array([3.0, 0.5, 0.3])


def top_outlier(solution):
    return solution.outliers(0, step=8, max_outliers=1).values[0]


def top_overlap(solution):
    found = solution.outliers(0, step=8, max_outliers=1)
    return jnp.sum(found.left_overlap) + jnp.sum(found.right_overlap)


def last_margin(solution):
    return solution.escape_margin(1, step=8)


@case()
def gradient_of_deep_linear_losses():
    def losses(solution):
        return jnp.sum(solution.test_loss) + jnp.sum(solution.train_loss)

    return jax.grad(deep_function(losses))(NUMBERS)


@case(COMPRESSED)
def gradient_of_deep_linear_outlier():
    return jax.value_and_grad(deep_function(top_outlier))(NUMBERS)


@case(COMPRESSED)
def gradient_of_deep_linear_overlaps():
    return jax.value_and_grad(deep_function(top_overlap))(NUMBERS)


@case(COMPRESSED)
def gradient_of_deep_linear_margin():
    return jax.value_and_grad(deep_function(last_margin))(NUMBERS)


@case(COMPRESSED)
def deep_linear_critical():
    def value(variance):
        def network(gamma0):
            chosen = dict(gamma0=gamma0, init_variance=variance, steps=8)
            return dm.DeepLinear(**dict(PLAIN, learning_rate=0.1) | chosen)

        return dm.critical(network, layer=0, between=(0.2, 3.0))

    return jax.value_and_grad(value)(0.5)


@case(COMPRESSED, corrected="second derivatives of an outlier lacked a term")
def curvature_of_deep_linear_outlier():
    return jax.hessian(deep_function(top_outlier))(NUMBERS)


# ------------------------------------------------------------------- nonlinear networks


@functools.cache
def data(samples=5, dim=4, outputs=1, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((samples, dim))
    targets = rng.standard_normal((samples, outputs))
    return inputs, targets


def nonlinear_net(name, **others):
    inputs, targets = data(outputs=2 if name == "erf" else 1)
    fresh, _ = data(3, seed=1)
    common = dict(
        inputs=inputs,
        targets=targets,
        test_inputs=fresh,
        gamma0=2.0,
        init_variance=1.2,
        learning_rate=0.3,
        steps=6,
    )
    return dm.Nonlinear(**common | NONLINEAR[name] | others)


NONLINEAR = {
    "tanh": dict(hidden_layers=2, activation="tanh"),
    "relu": dict(hidden_layers=3, activation="relu", learning_rate=0.1),
    "erf": dict(hidden_layers=2, activation="erf", batch=3, batch_seed=4),
    "gelu": dict(hidden_layers=1, activation="gelu"),
    "linear": dict(hidden_layers=2, activation="linear", learning_rate=0.1),
    "own": dict(hidden_layers=2, activation=jnp.sin),
}


@functools.cache
def nonlinear(name, form="conditioning", samples=1000):
    net = nonlinear_net(name)
    return dm.solve(net, samples=samples, seed=3, throw=False, form=form)


def nonlinear_losses(name, **options):
    solution = nonlinear(name, **options)
    return {
        "train": solution.train_loss,
        "predictions": solution.predictions,
        "test predictions": solution.test_predictions,
    }


def nonlinear_kernels(name, **options):
    solution = nonlinear(name, **options)
    levels = range(1, NONLINEAR[name]["hidden_layers"] + 1)
    return {
        "features": [solution.feature_kernel(level) for level in levels],
        "gradients": [solution.gradient_kernel(level) for level in levels],
        "tangent": solution.ntk.kernel,
        "sharpness": solution.sharpness,
        "alignment": solution.alignment,
    }


def nonlinear_spectra(name, **options):
    solution = nonlinear(name, **options)
    layers = range(1, NONLINEAR[name]["hidden_layers"])
    return {
        layer: parts(solution.outliers(layer))
        | {"margin": solution.escape_margin(layer)}
        for layer in layers
    }


@case()
def nonlinear_losses_tanh():
    return nonlinear_losses("tanh")


@case()
def nonlinear_losses_relu():
    return nonlinear_losses("relu")


@case()
def nonlinear_losses_of_batches_and_two_outputs():
    return nonlinear_losses("erf")


@case()
def nonlinear_losses_of_one_layer():
    return nonlinear_losses("gelu")


@case()
def nonlinear_losses_linear():
    return nonlinear_losses("linear")


@case()
def nonlinear_losses_of_an_own_activation():
    return nonlinear_losses("own")


@case()
def nonlinear_kernels_tanh():
    return nonlinear_kernels("tanh")


@case()
def nonlinear_kernels_relu():
    return nonlinear_kernels("relu")


@case()
def nonlinear_kernels_of_two_outputs():
    return nonlinear_kernels("erf")


@case()
def nonlinear_kernels_between_times():
    return {level: nonlinear("tanh").two_time(level) for level in (1, 2)}


@case()
def nonlinear_responses():
    return nonlinear("tanh").responses(1)


@case(COMPRESSED)
def nonlinear_spectra_tanh():
    return nonlinear_spectra("tanh")


@case(COMPRESSED)
def nonlinear_spectra_relu():
    return nonlinear_spectra("relu")


@case(COMPRESSED)
def nonlinear_spectra_of_two_outputs():
    return nonlinear_spectra("erf")


@case(COMPRESSED)
def nonlinear_outliers_independent():
    return parts(nonlinear("tanh").outliers(1, independent=True))


@case()
def nonlinear_standard_errors():
    solution = nonlinear("tanh")
    return {
        "loss": solution.standard_error(lambda s: s.train_loss),
        "kernel": solution.standard_error(lambda s: s.feature_kernel(2)),
    }


@case()
def nonlinear_more_samples():
    more = nonlinear("gelu").more(400)
    return {"loss": more.train_loss, "kernel": more.feature_kernel(1)}


@case()
def response_form_losses():
    return nonlinear_losses("tanh", form="response", samples=800)


@case()
def response_form_kernels():
    return nonlinear_kernels("tanh", form="response", samples=800)


@case(COMPRESSED)
def response_form_spectra():
    return nonlinear_spectra("tanh", form="response", samples=800)


def nonlinear_function(read):
    """`read` of the solution, as a function of the three numbers of the network."""

    def function(numbers):
        gamma0, variance, rate = numbers
        chosen = dict(gamma0=gamma0, init_variance=variance, learning_rate=rate)
        net = nonlinear_net("tanh", steps=3, **chosen)
        return read(dm.solve(net, samples=200, seed=1))

    return function


@case()
def gradient_of_nonlinear_losses():
    read = nonlinear_function(lambda s: jnp.sum(s.train_loss))
    return jax.value_and_grad(read)(jnp.array([2.0, 1.2, 0.3]))


@case(COMPRESSED)
def gradient_of_nonlinear_outlier():
    def top(solution):
        return solution.outliers(1, step=3, max_outliers=1).values[0]

    return jax.value_and_grad(nonlinear_function(top))(jnp.array([4.0, 1.2, 1.0]))


@case(COMPRESSED)
def gradient_of_nonlinear_margin():
    read = nonlinear_function(lambda s: s.escape_margin(1, step=3))
    return jax.value_and_grad(read)(jnp.array([2.0, 1.2, 0.3]))


@case(COMPRESSED)
def nonlinear_critical():
    def network(gamma0):
        return nonlinear_net("tanh", steps=3, learning_rate=1.0, gamma0=gamma0)

    found = dm.critical(network, 1, between=(0.5, 6.0), rtol=1e-7, samples=200)
    return found


# ----------------------------------------------------------------- networks of many outputs

WIDE = {
    "frozen": dict(output_ratio=0.25, input_ratio=0.5, target_variance=6.0),
    "few": dict(output_ratio=0.0, input_ratio=0.7, target_variance=4.0),
    "trained": dict(
        output_ratio=0.3, input_ratio=0.6, target_variance=4.0, train_readout=True
    ),
}


@functools.cache
def wide(name):
    return dm.solve(dm.WideOutput(**WIDE[name], learning_rate=0.1, steps=10))


def law_answers(law, points, far=(9.0, 30.0)):
    return {
        "edges": [edge for band in law.edges for edge in band],
        "density": law.density(points),
        "cdf": law.cdf(points),
        "stieltjes": law.stieltjes(points + 0.5j),
        "far": law.stieltjes(np.array(far)),
    }


POINTS = np.linspace(0.05, 4.0, 23)


@case()
def wide_output_losses():
    return {
        name: [wide(name).train_loss, wide(name).test_loss, wide(name).sharpness]
        for name in WIDE
    }


@case()
def wide_output_bulk():
    return {step: law_answers(wide("frozen").bulk(0, step), POINTS) for step in (0, 3)}


@case()
def wide_output_bulk_of_the_update():
    return law_answers(wide("frozen").update_bulk(0, 5), POINTS)


@case()
def wide_output_bulk_trained():
    law = wide("trained").bulk(0, 10)
    return law_answers(law, POINTS) if law.edges else dict(law.atoms)


@case()
def wide_output_outliers():
    return parts(wide("few").outliers(0))


# --------------------------------------------------------------------------------- laws


@case()
def rectangular_law():
    found = {}
    for aspect in (0.25, 1.0, 3.0):
        law = dm.rectangular_law(aspect, 1.3)
        found[aspect] = law_answers(law, POINTS)
        found[aspect]["left"] = law.m_left(np.array([6.0, 4.0]))
        found[aspect]["right"] = law.m_right(POINTS + 0.1j)
    return found


@case()
def generalised_mp():
    law = dm.generalised_mp([1.0, 2.0, 12.0], [0.5, 0.3, 0.2], aspect=0.6)
    return law_answers(law, 5 * POINTS, far=(60.0, 300.0))


@case()
def extensive_spikes():
    law = dm.extensive_spikes(0.7, 1.0, strengths=[3.0, 5.0], fractions=[0.2, 0.3])
    return law_answers(law, 2 * POINTS)


# ---------------------------------------------------------------------- spiked ensembles


def chain(strength):
    """h -> g = M0 h -> h' = M0^T g: two spikes that depend on M0 and on each other."""
    c, v = 0.7, 0.9
    return dm.SpikedEnsemble(
        aspect=c,
        variance=v,
        left_gram=[[v]],
        right_gram=[[1.0, v * c], [v * c, v**2 * c * (1 + c)]],
        left_response=[[1.0, 0.0]],
        right_response=[[0.0], [1.0]],
        strengths=strength * jnp.array([[1.0, 0.6]]),
    )


def ensemble(strengths, **others):
    size = len(strengths)
    settings = dict(
        aspect=0.5, variance=1.0, left_gram=jnp.eye(size), right_gram=jnp.eye(size)
    )
    return dm.SpikedEnsemble(**settings | others, strengths=jnp.diag(strengths))


@case()
def spiked_ensemble_independent():
    return parts(dm.outliers(ensemble(jnp.array([3.0, 2.0, 0.5]))))


@case()
def spiked_ensemble_dependent():
    return {x: parts(dm.outliers(chain(x))) for x in (0.7, 1.5)}


@case()
def spiked_ensemble_degenerate():
    return dm.outliers(ensemble(jnp.array([3.0, 3.0]))).values


@case()
def spiked_ensemble_from_vectors():
    rng = np.random.default_rng(0)
    M0 = rng.standard_normal((150, 200)) / np.sqrt(200)
    h = rng.standard_normal((200, 2))
    made = dm.SpikedEnsemble.from_vectors(M0, M0 @ h, h, np.diag([0.9, 2.0]))
    return parts(dm.outliers(made))


@case(THRESHOLD)
def spiked_ensemble_near_the_threshold():
    critical = 0.5**-0.25
    close = (1e-2, 1e-4)
    found = [
        dm.outliers(ensemble(jnp.array([critical * (1 + x)])), max_outliers=1)
        for x in close
    ]
    return [each.values for each in found]


@case(corrected="within 1e-6 of the threshold: outlier missed, or overlaps above 1")
def spiked_ensemble_at_the_threshold():
    critical = 0.5**-0.25
    close = (1e-6, 1e-9)
    found = [
        dm.outliers(ensemble(jnp.array([critical * (1 + x)])), max_outliers=1)
        for x in close
    ]
    return [parts(each) for each in found]


@case()
def gradient_of_spiked_ensemble():
    def top(strength):
        return dm.outliers(chain(strength), max_outliers=1).values[0]

    def overlap(strength):
        found = dm.outliers(chain(strength), max_outliers=1)
        return jnp.sum(found.left_overlap) + jnp.sum(found.right_overlap)

    return [jax.value_and_grad(function)(1.5) for function in (top, overlap)]


@case(corrected="second derivatives of an outlier lacked a term")
def curvature_of_spiked_ensemble():
    def top(strength):
        return dm.outliers(chain(strength), max_outliers=1).values[0]

    return jax.grad(jax.grad(top))(1.5)


# --------------------------------------------------------------- simulations and weights


def recorded(simulation, layers, steps):
    return {
        "train": simulation.train_loss,
        "values": {
            f"{layer} {step}": simulation.singular_values(layer, step)
            for layer in layers
            for step in steps
        },
    }


@functools.cache
def simulated_deep():
    net = dm.DeepLinear(**PLAIN)
    options = dict(seeds=3, seed=5, spectra_at=(0, 24), progress=False)
    return dm.simulate(net, dim=60, **options)


@case()
def simulation_of_deep_linear():
    simulation = simulated_deep()
    found = recorded(simulation, (0, 1), (0, 24))
    found["test"] = simulation.test_loss
    found["tangent"] = simulation.ntk_eigenvalues(24)
    return found


@case()
def simulation_of_deep_linear_fraction():
    net = dm.DeepLinear(**DEEP["fraction"])
    options = dict(seeds=2, seed=5, spectra_at=(24,), ntk=False, progress=False)
    return recorded(dm.simulate(net, dim=50, **options), (0, 2), (24,))


@case()
def simulation_of_nonlinear():
    options = dict(seeds=2, seed=5, spectra_at=(0, 6), progress=False)
    simulation = dm.simulate(nonlinear_net("tanh"), width=80, **options)
    return recorded(simulation, (1,), (0, 6))


@case()
def simulation_without_matrices():
    options = dict(width=500, matrix_free=True, seeds=2, seed=5, progress=False)
    simulation = dm.simulate(nonlinear_net("tanh"), **options)
    return {"train": simulation.train_loss, "kernel": simulation.feature_kernel(1)}


@case()
def simulation_of_wide_output():
    net = dm.WideOutput(**WIDE["frozen"], learning_rate=0.1, steps=5)
    options = dict(width=80, seeds=2, seed=5, spectra_at=(0, 5), progress=False)
    return recorded(dm.simulate(net, **options), (0,), (0, 5))


@case(COMPRESSED)
def comparison_with_simulation():
    table = dm.compare(deep("plain"), simulated_deep())
    table = table.sort_values(["quantity", "layer", "step"], kind="stable")
    columns = ("theory", "simulation", "standard_error")
    return {column: table[column].to_numpy(float) for column in columns}


@case()
def empirical_spectra():
    rng = np.random.default_rng(2)
    before = rng.standard_normal((90, 120)) / np.sqrt(120)
    left, right = rng.standard_normal(90), rng.standard_normal(120)
    after = before + 3 * np.outer(left, right) / np.sqrt(90 * 120)
    found = dm.empirical.spectrum(after)
    return {
        "edge": found.edge,
        "bulk": found.bulk,
        "rank": dm.empirical.stable_rank(after),
        "participation": dm.empirical.participation_ratio(after),
        "overlaps": dm.empirical.overlaps(after, left[:, None]),
        "quantile": dm.empirical.tracy_widom_quantile(0.99),
    }


# ------------------------------------------------------------------------------ the tool


def flat(tree) -> dict[str, np.ndarray]:
    """Path -> array."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def measured(names) -> dict[str, np.ndarray]:
    """name/path -> array, and the seconds of each call on the screen."""
    found = {}
    for name in names:
        start = time.perf_counter()
        try:
            answers = flat(CASES[name].run())
        except (TypeError, ValueError, AttributeError) as error:
            print(f"{name:48s} refused: {error}", flush=True)
            continue
        print(f"{name:48s}{time.perf_counter() - start:8.2f} s", flush=True)
        found |= {f"{name}/{path}": answer for path, answer in answers.items()}
    return found


def difference(old, new) -> float:
    """Largest difference over the largest number; infinite for other shapes or NaN."""
    if old.shape != new.shape:
        return np.inf
    if not old.size:
        return 0.0
    if (np.isfinite(old) != np.isfinite(new)).any():
        return np.inf
    finite = np.isfinite(old)
    size = np.abs(old[finite]).max(initial=0.0)
    distance = np.abs(new[finite] - old[finite]).max(initial=0.0)
    return float(distance / size) if size else float(distance)


def compare(old, names) -> int:
    """Prints a table; the number of calls that are not as close as they should be."""
    new = measured(names)
    wrong = 0
    print(
        f"\n{'call':48s}{'arrays':>7s}{'numbers':>9s}{'difference':>12s}{'allowed':>9s}"
    )
    for name in names:
        paths = sorted({path for path in (*old, *new) if path.split("/")[0] == name})
        common = [path for path in paths if path in old and path in new]
        if not common:
            print(f"{name:48s}        refused by one of the two")
            continue
        found = {path: difference(old[path], new[path]) for path in common}
        found |= {path: np.inf for path in paths if path not in found}
        worst = max(found, key=found.get)
        chosen = CASES[name]
        close = found[worst] <= chosen.tolerance
        verdict = "" if close else chosen.corrected or "DIFFERS"
        where = "" if close else worst.removeprefix(f"{name}/")
        count = sum(new[path].size for path in common)
        wrong += not close and not chosen.corrected
        print(
            f"{name:48s}{len(paths):7d}{count:9d}{found[worst]:12.1e}"
            f"{chosen.tolerance:9.0e}  {verdict} {where}"
        )
    return wrong


def main(arguments) -> int:
    print(f"{dm.__file__}, {len(CASES)} calls")
    names = [name for name in CASES if arguments.only in name]
    if arguments.what == "store":
        np.savez_compressed(arguments.file, **measured(names))
        return 0
    with np.load(arguments.file) as stored:
        return min(1, compare(dict(stored), names))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("store", "compare"))
    parser.add_argument("file")
    parser.add_argument("--only", default="", help="calls whose name contains this")
    sys.exit(main(parser.parse_args()))
