"""Muon: the polynomial of a small matrix, as of the large one it stands for, in deep
linear and in nonlinear networks.
"""

import dataclasses
import functools
from unittest import mock

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from scipy import special, stats
from scipy.sparse.linalg import eigsh

import dmftlib as dm
from dmftlib.fingerprint import fingerprint
from dmftlib.history import LinearQueries, WeightHistory
from dmftlib.simulations.coordinate_training import Trained
from dmftlib.simulations.optimisers import optimiser, updated
from dmftlib.training import muon as training_muon
from dmftlib.training.descent import Moved, Updated
from dmftlib.training.muon import MuonDescent, orthogonalised

DEEP = dict(
    hidden_layers=2,
    width_ratio=0.8,
    sample_ratio=1.5,
    gamma0=2.0,
    init_variance=0.5,
    label_noise=0.2,
    learning_rate=0.04,
    steps=20,
)
MUON = dict(learning_rate=0.1, momentum=0.8, nesterov=False, weight_decay=0.2)
WIDE = dict(gamma0=2.5, steps=16)  # of which networks of 10^7 inputs were trained
ALL = dict(
    steps=8,
    layer_rates=[0.7, 1.3, 0.8],
    init_variance=[0.6, 0.4, 0.8],
    momentum=0.5,
    nesterov=True,
    weight_decay=0.6,
)
ALL_MUON = dict(learning_rate=np.linspace(0.0, 0.14, 8), momentum=0.6, weight_decay=0.3)
NONLINEAR = dict(
    inputs=np.array([[1.0, 0.4, -0.3], [-0.5, 1.2, 0.6]]),
    targets=np.array([1.0, -1.0]),
    hidden_layers=2,
    gamma0=2.0,
    init_variance=0.8,
    learning_rate=0.2,
    steps=4,
)
CLASSES = dict(
    targets=np.array([0, 2]),
    loss="cross-entropy",
    init_variance=[1.0, 0.6, 1.3],
    layer_rates=[0.7, 1.3, 1.2],
    momentum=0.5,
    nesterov=True,
    weight_decay=0.3,
    steps=3,
)
USUAL = ((3.4445, -4.7750, 2.0315),) * 5
rng = np.random.default_rng(0)


def deep(muon=(), **changes):
    muon = dm.Muon(**{**MUON, **dict(muon)})
    return dm.DeepLinear(**{"optimizer": muon, **DEEP, **changes})


def everything(**changes):
    return deep(ALL_MUON, **{**ALL, **changes})


def nonlinear(muon=(), **changes):
    muon = dm.Muon(**{**MUON, "learning_rate": 0.3, **dict(muon)})
    return dm.Nonlinear(**{"optimizer": muon, **NONLINEAR, **changes})


def rule(rates, momentum=0.8, decay=0.5, unit=1.0, polynomials=USUAL, nesterov=True):
    numbers = (jnp.asarray(x, float) for x in (rates, momentum, decay, unit))
    return MuonDescent(*numbers, polynomials, nesterov)


def polynomial(s):
    for a, b, c in USUAL:
        s = a * s + b * s**3 + c * s**5
    return s


def test_the_update_is_the_polynomial_of_the_singular_values():
    matrix = rng.normal(size=(4, 6))
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    expected = (u * polynomial(s / np.linalg.norm(s))) @ v
    np.testing.assert_allclose(orthogonalised(matrix, USUAL), expected, atol=1e-13)
    for size in (1e-200, 1e150):
        again = orthogonalised(size * matrix, USUAL)
        np.testing.assert_allclose(again, expected, atol=1e-13)
    normalised = matrix / np.linalg.norm(matrix)
    np.testing.assert_allclose(orthogonalised(matrix, ()), normalised, rtol=1e-14)
    # between directions of a large space it is that between the directions
    Q_L, Q_R = (np.linalg.qr(rng.normal(size=(50, k)))[0] for k in (4, 6))
    large = orthogonalised(Q_L @ matrix @ Q_R.T, USUAL)
    np.testing.assert_allclose(large, Q_L @ expected @ Q_R.T, atol=1e-13)
    np.testing.assert_allclose(polynomial(1.0), 0.696, atol=5e-4)
    np.testing.assert_allclose(dm.Muon(0.1).slope, 3.4445**5, rtol=1e-14)


def test_room_for_more_directions_changes_nothing():
    """A large matrix of which part is zero: as the part, with its derivatives."""
    room = (130, 101)
    for used in ((20, 33), (60, 5), (130, 101)):
        matrix, direction = rng.normal(size=(2, *used))
        larger = [
            jnp.zeros(room).at[: used[0], : used[1]].set(x) for x in (matrix, direction)
        ]
        along = functools.partial(orthogonalised, polynomials=USUAL)
        found = jax.jvp(along, larger[:1], larger[1:])
        with mock.patch.object(training_muon, "_LARGE", 1000):
            expected = jax.jvp(along, (jnp.asarray(matrix),), (jnp.asarray(direction),))
        for whole, part in zip(found, expected, strict=True):
            np.testing.assert_allclose(whole[: used[0], : used[1]], part, atol=1e-10)
            outside = np.array(whole)
            outside[: used[0], : used[1]] = 0
            assert not outside.any()


def test_a_buffer_of_zeros_moves_nothing_and_has_no_derivative_that_is_nan():
    nothing = jnp.zeros((3, 2))
    for transformed in (jax.jacfwd, jax.jacrev):
        slope = transformed(lambda x: orthogonalised(x, USUAL))(nothing)
        np.testing.assert_array_equal(slope, 0)
    descent = rule([0.1, 0.1], decay=0.0)
    directions = np.stack([np.zeros((3, 2)), rng.normal(size=(3, 2))])
    scale, increments = descent.path(jnp.asarray(directions))
    np.testing.assert_array_equal(scale, 1)
    np.testing.assert_array_equal(increments[0], 0)
    assert np.linalg.norm(increments[1]) > 0.05
    # networks of finite size: decay alone
    net = deep(hidden_layers=1, steps=2)
    shapes = (np.ones((4, 5)), np.ones(4))
    of_coefficients = Trained(jnp.ones(()), jnp.ones((3, 3)))
    for first in (jnp.asarray(shapes[0]), of_coefficients):
        weights = [first, jnp.asarray(shapes[1])]
        chain = optimiser(net, 1.0, [2.0])
        gradient = jax.tree.map(jnp.zeros_like, weights)
        moved, _ = updated(chain, gradient, chain.init(weights), weights)
        for leaf in jax.tree.leaves(moved[0]):
            np.testing.assert_allclose(leaf, 1 - 0.1 * 0.2, rtol=1e-14)
        np.testing.assert_array_equal(moved[1], 1)


@pytest.mark.parametrize("nesterov", [False, True])
def test_coefficients_move_as_raw_weights_do(nesterov):
    """The rule of the theory over unit directions beside the chain of the simulation on
    raw weights, whose shape matters nowhere but in sqrt(fan-in).
    """
    steps, n, m = 6, 7, 5
    schedule = np.linspace(0.0, 0.2, steps)
    muon = dict(learning_rate=schedule, momentum=0.7, nesterov=nesterov)
    net = deep(muon, hidden_layers=1, steps=steps, layer_rates=[1.5, 1.0])
    start = rng.normal(size=(n, m))
    directions = rng.normal(size=(steps, n, m))
    chain = optimiser(net, 3.0, [m**0.5])
    weights = [jnp.asarray(start), jnp.zeros(n)]
    memory = chain.init(weights)
    descent = rule(1.5 * schedule, 0.7, 0.2, 1.0, USUAL, nesterov)
    scale, increments = descent.path(jnp.asarray(directions))
    for t, direction in enumerate(directions):
        gradient = [jnp.asarray(-direction), jnp.zeros(n)]
        weights, memory = updated(chain, gradient, memory, weights)
        matrix = scale[t + 1] * start / m**0.5 + increments[: t + 1].sum(0)
        np.testing.assert_allclose(weights[0] / m**0.5, matrix, atol=1e-12)
    per_site = rule(1.5 * schedule, 0.7, 0.2, 0.5, USUAL, nesterov)
    for each, size in ((per_site, 0.5), (per_site.between_unit_directions(), 1.0)):
        path = each.path(jnp.asarray(directions))
        np.testing.assert_allclose(path.increments, size * increments, rtol=1e-13)


def test_an_average_of_gradients_is_as_good_as_their_sum():
    """torch's buffer is an average: its direction is the same."""
    directions = rng.normal(size=(5, 3, 4))
    total, average = np.zeros((3, 4)), np.zeros((3, 4))
    for g in directions:
        total, average = 0.7 * total + g, 0.7 * average + 0.3 * g
        ahead = (g + 0.7 * total, 0.3 * g + 0.7 * average)
        np.testing.assert_allclose(*(orthogonalised(x, USUAL) for x in ahead))


def test_the_numbers_of_the_checked_case():
    """L = 2, both matrices by Muon, the readout by SGD; simulated at D = 900: outliers
    1.356(6), 1.121 and 1.530, 1.035, .938.
    """
    solution = dm.solve(deep())
    losses = solution.train_loss[np.array([0, 10, 20])]
    np.testing.assert_allclose(losses, [1.239, 0.2589, 0.0847], atol=6e-5 + 5e-4)
    np.testing.assert_allclose(losses[1:], [0.2589, 0.0847], atol=6e-5)
    for layer, expected in ((0, [1.357, 1.116]), (1, [1.529, 1.036, 0.944])):
        found = solution.outliers(layer, 20).values
        np.testing.assert_allclose(found, expected, atol=6e-4)
        edge = solution.bulk(layer, 20).upper_end
        start = solution.bulk(layer, 0).upper_end
        np.testing.assert_allclose(edge, (1 - 0.02) ** 20 * start, rtol=1e-12)
    np.testing.assert_allclose(solution.scale(1), (1 - 0.02) ** np.arange(21))
    assert solution.escape_step(1) < solution.escape_step(1, 2)
    assert solution.escape_margin(1, 20, 2) > 0 > solution.escape_margin(0, 20, 3)


def test_what_level_2_leaves_out_is_small_after_the_polynomial():
    solution = dm.solve(deep())
    queries = solution.queries(1)
    whole, few = queries.history(), solution.weight_history(1)
    assert few.core.shape[0] < whole.core.shape[0]
    tops = [h.increments for h in (whole, few)]
    sizes = [np.linalg.svd(x, compute_uv=False)[:, :20] for x in tops]
    np.testing.assert_allclose(*sizes, atol=3e-6)
    exact = dm.outliers(whole, 3).values
    np.testing.assert_allclose(solution.outliers(1, 20).values, exact, rtol=1e-5)
    assert np.all(solution.stats["ranks"] == 21)


def frozen_readout(rates, momentum, optimizer):
    return dm.DeepLinear(
        **{**DEEP, "hidden_layers": 1, "steps": 12, "learning_rate": rates},
        layer_rates=[1.0, 0.0],
        momentum=momentum,
        optimizer=optimizer,
    )


@pytest.mark.parametrize(
    ("momentum", "ns_steps", "value"), [(0.8, 0, 1.0), (0.0, 5, polynomial(1.0))]
)
def test_limits_that_are_a_schedule_of_gradient_descent(momentum, ns_steps, value):
    """Without a polynomial, and where the buffer has one direction."""
    muon = dm.Muon(0.1, momentum, nesterov=False, ns_steps=ns_steps)
    solution = dm.solve(frozen_readout(0.1, 0.0, muon))
    queries = solution.queries(0)
    gradients = LinearQueries.path.fget(eqx.tree_at(lambda q: q.descent, queries, None))
    buffer, rates = 0, []
    for g in gradients.increments:
        buffer = momentum * buffer + g
        rates.append(0.1 * value / np.linalg.norm(buffer))
    plain = dm.solve(frozen_readout(rates, momentum, None))
    for quantity in ("train_loss", "test_loss", "alignment"):
        np.testing.assert_allclose(
            getattr(solution, quantity), getattr(plain, quantity), rtol=1e-8
        )
    tops = [s.outliers(0, 12).values for s in (solution, plain)]
    np.testing.assert_allclose(*tops, rtol=1e-6)


def observed(name, value, muon):
    if muon:
        optimizer = dm.Muon(**{**MUON, **ALL_MUON, name: value})
        net = everything(optimizer=optimizer)
    else:
        net = everything(**{name: value})
    solution = dm.solve(net)
    return jnp.stack(
        [
            solution.test_loss[-1],
            *solution.outliers(1, 8, max_outliers=1).values,
            solution.escape_margin(1, 8, number=2),
            solution.escape_margin(0, 8),
            solution.scale(1)[-1],
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "muon"),
    [
        ("learning_rate", True),
        ("momentum", True),
        ("weight_decay", True),
        ("learning_rate", False),
        ("gamma0", False),
        ("init_variance", False),
        ("layer_rates", False),
    ],
)
def test_derivatives_with_respect_to_every_number(name, muon):
    numbers = {**MUON, **ALL_MUON} if muon else {**DEEP, **ALL}
    value = jnp.asarray(numbers[name], float)
    found = jax.jacfwd(lambda x: observed(name, x, muon))(value)
    assert np.isfinite(found).all() and np.abs(found).max() > 1e-3
    step = 1e-5
    for at in list(np.ndindex(value.shape))[::-3]:
        shift = jnp.zeros(value.shape).at[at].set(step)
        ahead, behind = (observed(name, value + sign * shift, muon) for sign in (1, -1))
        expected = (ahead - behind) / (2 * step)
        np.testing.assert_allclose(
            found[(slice(None), *at)], expected, rtol=1e-4, atol=1e-5
        )


def test_under_jit_and_vmap_the_numbers_are_the_same():
    rates = jnp.array([0.05, 0.1])

    def final(rate, momentum):
        net = deep(dict(learning_rate=rate, momentum=momentum), steps=5)
        return dm.solve(net).test_loss[-1]

    together = jax.jit(jax.vmap(final))(rates, jnp.array([0.0, 0.8]))
    alone = [final(*each) for each in ((0.05, 0.0), (0.1, 0.8))]
    np.testing.assert_allclose(together, alone, rtol=1e-10)


def test_muon_is_swept_saved_and_found_again(tmp_path):
    def network(rate, momentum):
        return deep(dict(learning_rate=rate, momentum=momentum), steps=5)

    grid = {"rate": [0.05, 0.1], "momentum": [0.0, 0.8]}
    table = dm.sweep(network, grid, ["test_loss"], progress=False)
    for i, rate in enumerate(grid["rate"]):
        for j, momentum in enumerate(grid["momentum"]):
            alone = dm.solve(network(rate, momentum)).test_loss
            np.testing.assert_allclose(table.test_loss[i, j], alone, rtol=1e-9)
    triples = [(3.0, -3.0, 1.0), (2.0, -1.5, 0.5)]
    net = deep(dict(ns_steps=2, ns_coeffs=triples), steps=5)
    solution = dm.solve(net)
    again = dm.load(dm.save(solution, tmp_path / "solution.npz"))
    assert eqx.tree_equal(again.net, net)
    assert again.net.optimizer.polynomials == tuple(triples)
    np.testing.assert_array_equal(again.outliers(1).values, solution.outliers(1).values)
    changes = (
        dict(momentum=0.5),
        dict(nesterov=True),
        dict(weight_decay=0.1),
        dict(ns_steps=4),
        dict(ns_coeffs=(2.0, -1.5, 0.5)),
        dict(learning_rate=np.full(20, 0.1)),
    )
    prints = {fingerprint(deep(change)) for change in ({}, *changes)}
    assert len({*prints, fingerprint(deep(optimizer=None))}) == 8
    assert dataclasses.replace(deep(), optimizer=None) == deep(optimizer=None)


def test_sharpness_is_refused_and_the_kernel_is_not():
    solution = dm.solve(deep(steps=5))
    for name in ("sharpness", "sharpness_limit", "edge_of_stability_step"):
        with pytest.raises(ValueError, match="optimizer: got a Muon; needed: None"):
            getattr(solution, name)
    assert np.isfinite(solution.ntk.edge).all()


def test_no_step_is_no_update():
    for net in (deep(steps=0), deep(steps=0, optimizer=None, momentum=0.5)):
        solution = dm.solve(net)
        assert solution.train_loss.shape == (1,)
        assert solution.bulk(1).upper_end == solution.initial_law(1).upper_end
        assert not np.isfinite(solution.outliers(1).values).any()
    steps = np.arange(12) + 1
    rates = dict(learning_rate=np.where(steps > 2, 0.1, 0.0))
    warm = dm.solve(deep(rates, learning_rate=np.zeros(12), steps=12))
    np.testing.assert_allclose(warm.test_loss[1:3], warm.test_loss[0], rtol=1e-12)
    assert warm.escape_margin(1, 2) == -1 < warm.escape_margin(1, 3)


@pytest.mark.parametrize("batch", ["online", 0.4])
def test_batches_of_finite_size_obey(batch):
    net = everything(batch=batch)
    solution = dm.solve(net)
    simulation = dm.simulate(
        net,
        dim=150,
        seeds=16,
        spectra_at=(8,),
        leading=2,
        progress=False,
        ntk=batch == "online",
    )
    table = dm.compare(solution, simulation)
    assert np.abs(table.z).max() < 4
    assert (table.z**2).mean() < 2.5  # biased by O(1/D)


@pytest.mark.slow
def test_dense_networks_and_coordinates_have_one_law():
    net = everything()
    options = dict(dim=24, seeds=500, spectra_at=(8,), leading=3, progress=False)
    dense = dm.simulate(net, **options, ntk=False)
    few = dm.simulate(net, **options, seed=1, method="coordinates")
    for quantity in ("train_loss", "test_loss"):
        pair = [getattr(each, quantity) for each in (dense, few)]
        for t in (3, 8):
            assert stats.ks_2samp(*(x[:, t] for x in pair)).pvalue > 1e-3
    for layer in (0, 1):
        pair = [each.singular_values(layer, 8) for each in (dense, few)]
        for k in range(3):
            assert stats.ks_2samp(*(x[:, k] for x in pair)).pvalue > 1e-3


@dataclasses.dataclass(frozen=True)
class Measured:
    """Means of outliers, W^0's two and W^1's first, and losses at steps 8 and 16, of
    networks of 10^7 inputs; and how far a right theory may be.
    """

    numbers: np.ndarray
    errors: np.ndarray

    def z(self, solution):
        return np.abs(of(solution) - self.numbers) / self.errors


def of(thing):
    """The numbers of a solution, (5,)."""
    first = thing.outliers(0, 16).values
    values = [*np.pad(first, (0, 2))[:2], thing.outliers(1, 16).values[0]]
    return np.array([*values, thing.test_loss[8], thing.test_loss[16]])


@pytest.fixture(scope="module")
def measured():
    simulation = dm.simulate(
        deep(**WIDE),
        dim=10**7,
        seeds=6,
        method="coordinates",
        leading=2,
        spectra_at=(16,),
        progress=False,
    )
    tops = [simulation.singular_values(layer, 16) for layer in (0, 1)]
    losses = simulation.test_loss[:, [8, 16]]
    each = np.concatenate([tops[0], tops[1][:, :1], losses], 1)
    return Measured(each.mean(0), each.std(0, ddof=1) / 6**0.5 + 5e-5)


@pytest.mark.slow
def test_networks_of_ten_million_inputs_obey_to_four_digits(measured):
    solution = dm.solve(deep(**WIDE))
    np.testing.assert_allclose(of(solution)[:3], [1.2402, 1.1754, 1.5181], atol=6e-5)
    np.testing.assert_allclose(of(solution), measured.numbers, rtol=5e-4)
    assert measured.z(solution).max() < 4


def after_the_polynomial(self, t, weights, buffer, direction):
    """Momentum of what was orthogonalised."""
    turned = self.unit * orthogonalised(direction.spikes, self.polynomials)
    buffer = self.momentum * buffer + (1 - self.momentum) * turned
    rate = self.rates[t]
    shrunk = rate * self.weight_decay
    spikes = rate * buffer - shrunk * weights.spikes
    return Updated(Moved(-shrunk * weights.scale, spikes), buffer)


@pytest.mark.slow
def test_broken_theories_are_rejected(measured):
    cubic = dict(ns_steps=60, ns_coeffs=(1.5, -0.5, 0.0))
    polar = dm.solve(deep(cubic, **WIDE))
    assert measured.z(polar).max() > 20
    right = dm.solve(deep(**WIDE))
    alone = [right.outliers(layer, 16, independent=True) for layer in (0, 1)]
    tops = np.array([each.values[0] for each in alone])
    assert (np.abs(tops / measured.numbers[[0, 2]] - 1) > 0.04).all()
    jax.clear_caches()
    with mock.patch.object(MuonDescent, "update", after_the_polynomial):
        late = dm.solve(deep(**WIDE))
    jax.clear_caches()
    assert measured.z(late).max() > 20


def residual(net, f):
    """Minus the derivative of the loss, and the loss."""
    targets = np.asarray(net.targets)
    if net.loss.name == "squared":
        return targets - f, np.sum((targets - f) ** 2, 1).mean()
    shares = special.softmax(f, 1)
    return targets - shares, -np.sum(targets * np.log(shares), 1).mean()


def between_bases(left, right):
    """The polynomial of left right^T between orthonormal bases of the two sides."""
    (Q_L, R_L), (Q_R, R_R) = (np.linalg.qr(side) for side in (left, right))
    u, s, v = np.linalg.svd(R_L @ R_R.T)
    turned = (u * polynomial(s / np.linalg.norm(s))) @ v
    return (Q_L @ turned) @ Q_R.T


def in_bfloat16(left, right):
    """The same of the whole matrix, each product rounded to eight bits, as torch does."""

    def rounded(x):
        return x.astype(ml_dtypes.bfloat16).astype(np.float32)

    buffer = left @ right.T
    x = rounded(buffer / np.linalg.norm(buffer))
    for a, b, c in USUAL:
        square = rounded(x @ x.T)
        both = rounded(b * square + c * rounded(square @ square))
        x = rounded(a * x + rounded(both @ x))
    return x


def raw_network(net, count, width, seed, turned=between_bases):
    """The largest singular value after the last step, the sum of the `count` largest and
    of those of what training has added, and losses, of one network of two hidden layers without Nesterov's momentum.

    Raw weights in NumPy, gradients by hand, and the polynomial of the buffer, the product
    of what is on its two sides.
    """
    draw = np.random.default_rng([seed, width])
    P, D = net.inputs.shape
    x, muon, pull = np.asarray(net.inputs), net.optimizer, net.gamma0 / P
    deviations = np.sqrt(np.broadcast_to(net.init_variance, (3,)))
    W0 = deviations[0] * draw.normal(size=(width, D))
    M = deviations[1] * draw.normal(size=(width, width)) / width**0.5
    w = deviations[2] * draw.normal(size=(net.targets.shape[1], width))
    left, right, losses = np.zeros((width, 0)), np.zeros((width, 0)), []
    added = np.zeros((width, width))
    for t in range(net.steps + 1):
        first = np.tanh(x @ W0.T / D**0.5)
        second = np.tanh(first @ M.T)
        delta, loss = residual(net, second @ w.T / (net.gamma0 * width))
        losses.append(loss)
        if t == net.steps:
            break
        g2 = (1 - second**2) * (delta @ w)
        g1 = (1 - first**2) * (g2 @ M)
        left = np.hstack([muon.momentum * left, pull * g2.T])
        right = np.hstack([right, first.T])
        moved = muon.learning_rate * turned(left, right)
        kept = 1 - muon.learning_rate * muon.weight_decay
        M, added = kept * M + moved, kept * added + moved
        w = w + net.learning_rate * pull * delta.T @ second
        W0 = W0 + net.learning_rate * pull * g1.T @ x / D**0.5
    tops, of_update = (
        np.sqrt(eigsh(matrix.T @ matrix, count, return_eigenvectors=False))
        for matrix in (M, added)
    )
    sums = tops.sum(), of_update.sum()
    return np.array([tops.max(), *sums, *losses[2::2]])


def seen(solution, count, **options):
    """The same of a solution; the edge where there are fewer outliers."""
    last = solution.net.steps
    values = solution.outliers(1, last, max_outliers=count, **options).values
    tops = jnp.where(jnp.isfinite(values), values, solution.bulk(1, last).upper_end)
    of_update = solution.update_spectrum(1, last)[:count].sum()
    top = jnp.stack([tops[0], tops.sum(), of_update])
    return jnp.concatenate([top, solution.train_loss[2::2]])


@dataclasses.dataclass(frozen=True)
class Wide:
    """What raw networks of two widths say of infinite width, where they differ from it
    by one over the width.
    """

    count: int
    limit: np.ndarray
    errors: np.ndarray

    @staticmethod
    def of(net, count, widths, seeds):
        """Of so many singular values; the second width is twice the first."""
        found = np.array(
            [
                [raw_network(net, count, width, seed) for seed in range(seeds)]
                for width in widths
            ]
        )
        narrow, wide = found.mean(1)
        of_narrow, of_wide = found.var(1, ddof=1) / seeds
        return Wide(count, 2 * wide - narrow, np.sqrt(4 * of_wide + of_narrow))

    def z(self, solution, **options):
        apart = seen(solution, self.count, **options) - self.limit
        error = solution.standard_error(lambda s: seen(s, self.count))
        return np.abs(apart) / np.hypot(self.errors, error)


@pytest.fixture(scope="module")
def by_muon():
    return dm.solve(nonlinear(), samples=1024)


@pytest.mark.parametrize(
    ("momentum", "ns_steps", "value"),
    [
        (0.0, 5, polynomial(1.0)),
        pytest.param(0.8, 0, 1.0, marks=pytest.mark.slow),
    ],
)
def test_limits_of_a_nonlinear_network_that_are_a_schedule(momentum, ns_steps, value):
    """Where the buffer has one direction, as of one sample without momentum, and without
    a polynomial; all else frozen.
    """
    one = dict(inputs=[[1.0, 0.5]], targets=[1.0], layer_rates=[0.0, 1.0, 0.0])
    options = dict(samples=256, batches=1)
    muon = dict(momentum=momentum, weight_decay=0.0, ns_steps=ns_steps)
    solution = dm.solve(nonlinear(muon, **one), **options)
    (measured,) = solution.trajectory.layers
    undirected = eqx.tree_at(lambda m: m.descent, measured, None)
    gradients = WeightHistory.from_moments(undirected, 1e-7)
    buffer, rates = 0.0, []
    for gradient in gradients.increments:
        buffer = momentum * buffer + gradient
        rates.append(0.3 * value / np.linalg.norm(buffer))
    changes = dict(optimizer=None, learning_rate=rates, momentum=momentum)
    plain = dm.solve(nonlinear(**changes, **one), **options)
    for quantity in ("predictions", "train_loss"):
        pair = [getattr(each, quantity) for each in (solution, plain)]
        np.testing.assert_allclose(*pair, rtol=1e-6, atol=1e-12)
    tops = [s.outliers(1, max_outliers=1).values for s in (solution, plain)]
    np.testing.assert_allclose(*tops, rtol=1e-5)


def test_a_query_contracted_with_a_small_residual_is_no_small_query():
    """Muon moves as far for targets that are nearly reached."""
    small = 1e-5 * np.array([[1.0, 0.0], [-0.5, 1.0]])
    sizes = []
    for targets in (small, 1e-3 * small):
        net = nonlinear(targets=targets, layer_rates=[0.0, 1.0, 0.0])
        solution = dm.solve(net, samples=256, throw=False)
        (measured,) = solution.trajectory.layers
        queries = np.linalg.norm(measured.left_queries[:, :4], axis=-1)
        largest = queries.max((2, 3))
        assert 0.1 < largest.min() <= largest.max() < 10
        sizes.append(measured.rates[:, 0].max())
    np.testing.assert_allclose(sizes[0], 1e3 * sizes[1], rtol=1e-5)


def test_raw_networks_of_two_widths_obey(by_muon):
    wide = Wide.of(by_muon.net, 1, (150, 300), 60)
    assert wide.z(by_muon).max() < 4
    assert wide.errors.max() < 0.02
    sizes = by_muon.update_spectrum(1)
    assert sizes.shape[0] == 5 and not sizes[0].any()
    np.testing.assert_array_equal(sizes[4], by_muon.update_spectrum(1, 4))


def test_the_first_update_has_the_polynomial_of_one_direction():
    sizes = dm.solve(deep(steps=1)).update_spectrum(1, 1)
    np.testing.assert_allclose(sizes[0], 0.1 * polynomial(1.0), rtol=1e-9)
    np.testing.assert_allclose(sizes[1:], 0, atol=1e-12)


def test_what_solutions_of_nonlinear_networks_have_and_refuse(by_muon):
    for name in ("sharpness", "sharpness_limit", "edge_of_stability_step"):
        with pytest.raises(ValueError, match="optimizer: got a Muon; needed: None"):
            getattr(by_muon, name)
    assert np.isfinite(by_muon.ntk.kernel).all()
    np.testing.assert_allclose(by_muon.scale(1), (1 - 0.06) ** np.arange(5))
    edge = by_muon.bulk(1, 4).upper_end
    np.testing.assert_allclose(edge, 0.94**4 * 2 * 0.8**0.5, rtol=1e-12)
    with pytest.raises(ValueError, match="optimizer: got a Muon.*response form"):
        dm.solve(nonlinear(), samples=64, form="response")
    with pytest.raises(ValueError, match="dtype: got 'float32'.*Muon"):
        dm.simulate(nonlinear(), width=500, matrix_free=True, dtype="float32")


def test_what_is_left_out_of_a_nonlinear_history_is_small_after_the_polynomial(by_muon):
    few, whole = (by_muon.outliers(1, 4, tolerance=x).values for x in (1e-3, 1e-6))
    count = min(len(few), len(whole))
    assert count >= 2
    np.testing.assert_allclose(few[:count], whole[:count], rtol=1e-4)
    assert (few[count:] < 1.001 * by_muon.bulk(1, 4).upper_end).all()


def test_a_nonlinear_solution_is_saved_and_found_again(by_muon, tmp_path):
    again = dm.load(dm.save(by_muon, tmp_path / "solution.npz"))
    assert eqx.tree_equal(again.net, by_muon.net)
    np.testing.assert_array_equal(again.outliers(1).values, by_muon.outliers(1).values)
    changes = (
        dict(momentum=0.5),
        dict(nesterov=True),
        dict(weight_decay=0.1),
        dict(learning_rate=np.full(4, 0.1)),
    )
    prints = {fingerprint(nonlinear(change)) for change in ({}, *changes)}
    assert len({*prints, fingerprint(nonlinear(optimizer=None))}) == 6


SMALL = dict(samples=128, batches=1, rank=10)


def loss_and_top(numbers):
    """Of the rate, the momentum, the decay of Muon, and gamma0."""
    rate, momentum, decay, gamma0 = numbers
    muon = dict(learning_rate=rate, momentum=momentum, weight_decay=decay)
    solution = dm.solve(nonlinear(muon, gamma0=gamma0), **SMALL)
    (top,) = solution.outliers(1, 4, max_outliers=1).values
    return jnp.stack([solution.train_loss[-1], top])


@pytest.mark.slow
def test_a_nonlinear_network_has_derivatives_and_is_swept():
    at = jnp.array([0.4, 0.8, 0.2, 2.0])
    found = jax.jacfwd(loss_and_top)(at)
    for i, step in enumerate(1e-5 * np.eye(4)):
        expected = (loss_and_top(at + step) - loss_and_top(at - step)) / 2e-5
        np.testing.assert_allclose(found[:, i], expected, rtol=1e-3, atol=1e-5)
        assert np.abs(expected).min() > 1e-3

    def network(rate):
        return nonlinear(dict(learning_rate=rate, weight_decay=0.2))

    rates = dict(rate=[0.3, 0.4])
    table = dm.sweep(network, rates, ["train_loss"], progress=False, **SMALL)
    alone = loss_and_top(at)[0]
    np.testing.assert_allclose(table.train_loss[1, -1], alone, rtol=1e-9)


@pytest.mark.slow
def test_matrix_free_networks_have_the_law_of_dense_ones():
    muon = dict(learning_rate=[0.0, 0.3, 0.2], momentum=0.6, nesterov=True)
    net = nonlinear(muon, **CLASSES)
    options = dict(width=64, progress=False)
    plain = dm.simulate(net, seeds=400, **options)
    free = dm.simulate(net, seeds=200, seed=1, matrix_free=True, **options)
    for quantity in (
        lambda s: s.train_loss[:, -1],
        lambda s: s.predictions[:, 3, 0, 0],
        lambda s: s.feature_kernel(2)[:, -1, 0, 1],
    ):
        pair = [quantity(each) for each in (plain, free)]
        assert stats.ks_2samp(*pair).pvalue > 1e-3


SEVERAL = dict(
    inputs=np.array(
        [
            [1.6, 0.2, -0.3, 0.4],
            [-0.3, 1.3, 0.5, -0.2],
            [0.2, -0.6, 1.1, 0.7],
            [0.5, 0.4, -0.8, 1.0],
        ]
    ),
    targets=np.array([1.0, -1.0, 0.5, -0.7]),
    init_variance=[1.0, 0.4, 1.0],
    steps=6,
)
SEVERAL_MUON = dict(learning_rate=0.25, weight_decay=0.0)


def several(muon=(), **changes):
    return nonlinear({**SEVERAL_MUON, **dict(muon)}, **{**SEVERAL, **changes})


def test_eight_bits_in_the_polynomial_hardly_move_an_outlier():
    """They fill the update with noise in all directions, of some 485 times the rounding
    over the root of the width.
    """
    left, right = rng.normal(size=(2, 200, 4))
    coarse, exact = (turned(left, right) for turned in (in_bfloat16, between_bases))
    sizes = np.linalg.svd(coarse - exact, compute_uv=False)
    assert 0.01 < sizes[50] < sizes[0] < 0.3
    for seed in range(3):
        pair = [
            raw_network(several(), 4, 200, seed, turned)
            for turned in (in_bfloat16, between_bases)
        ]
        apart = np.abs(np.subtract(*pair))
        assert apart[0] < 0.01 and apart[1] < 0.02 and apart[3:].max() < 1e-3


@pytest.mark.slow
def test_several_classes_send_out_several_directions():
    """Cross-entropy, with decay: each sample has a direction of its own."""
    classes = dict(targets=np.array([0, 1, 2, 0]), loss="cross-entropy")
    net = several(dict(weight_decay=0.4), **classes)
    solution = dm.solve(net, samples=4096)
    assert len(solution.outliers(1, 6).values) >= 4
    wide = Wide.of(net, 4, (400, 800), 40)
    assert wide.z(solution).max() < 4
    assert (wide.z(solution, independent=True)[:2] > [2, 6]).any()


@pytest.mark.slow
def test_broken_theories_of_a_nonlinear_network_are_rejected():
    wide = Wide.of(several(), 4, (400, 800), 40)
    right = dm.solve(several(), samples=4096)
    assert wide.z(right).max() < 4
    assert wide.z(right, independent=True)[:2].min() > 6
    cubic = dict(ns_steps=20, ns_coeffs=(1.5, -0.5, 0.0))
    polar = dm.solve(several(cubic), samples=4096)
    assert wide.z(polar).max() > 8
    jax.clear_caches()
    with mock.patch.object(MuonDescent, "update", after_the_polynomial):
        late = dm.solve(several(), samples=4096)
    jax.clear_caches()
    assert wide.z(late).max() > 8
