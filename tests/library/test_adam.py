"""Adam and sign descent on every weight of a nonlinear network: the update as an operator
between the sites, and what of it leaves the bulk.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dmftlib as dm
from dmftlib.simulations import nonlinear as simulated
from dmftlib.training.entrywise import AdamDescent, leading_functions

DATA = dict(
    inputs=np.array([[1.0, 0.4, -0.3], [-0.5, 1.2, 0.6]]),
    targets=np.array([1.0, -1.0]),
    hidden_layers=2,
    gamma0=2.0,
    init_variance=[0.8, 0.1, 0.8],
    steps=6,
)
# schedules throughout: networks of as many steps share their programs
ADAM = dict(
    learning_rate=[0.0, 0.1, 0.2, 0.1, 0.1, 0.1],
    b1=0.5,
    b2=0.9,
    eps=0.1,
    weight_decay=0.4,
)
SIGN = dict(learning_rate=[0.08] * 6, b1=0.0, b2=0.0, eps=0.0)
SITES = 1024
WIDTH = 300
rng = np.random.default_rng(0)


def network(adam=ADAM, **changes):
    return dm.Nonlinear(**{**DATA, "optimizer": dm.Adam(**adam), **changes})


def solve(net):
    return dm.solve(net, samples=2 * SITES, batches=2)


@functools.cache
def solved(name):
    adam = network(layer_rates=[0.7, 1.3, 0.8])
    return solve({"adam": adam, "sign": network(SIGN)}[name])


class Dense:
    """A network of finite width in NumPy: gradients by hand, Adam as it is written."""

    def __init__(self, net, width, rng):
        self.net = net
        self.x = np.asarray(net.inputs)
        self.y = np.asarray(net.targets)
        fans = [self.x.shape[1], width]
        shapes = [(width, fan) for fan in fans] + [(1, width)]
        deviations = np.sqrt(np.broadcast_to(net.init_variance, 3))
        self.W = [
            s * rng.normal(size=n) for s, n in zip(deviations, shapes, strict=True)
        ]
        self.start = self.W[1].copy()
        self.m = [np.zeros(n) for n in shapes]
        self.v = [np.zeros(n) for n in shapes]
        self.predictions = []

    def pulls(self):
        """What Adam sees of each layer."""
        W0, W1, w = self.W
        P, D = self.x.shape
        N = len(W0)
        phi1 = np.tanh(self.x @ W0.T / np.sqrt(D))
        phi2 = np.tanh(phi1 @ W1.T / np.sqrt(N))
        f = phi2 @ w.T / (self.net.gamma0 * N)
        self.predictions.append(f)
        g2 = (1 - phi2**2) * w
        g1 = (1 - phi1**2) * (g2 @ W1 / np.sqrt(N))
        kappa = self.net.gamma0 / P
        delta = self.y - f
        bottom = kappa * (delta * g1).T @ self.x
        hidden = kappa * (delta * g2).T @ phi1
        return bottom, hidden, kappa * delta.T @ phi2

    def train(self):
        adam = self.net.optimizer
        N = len(self.start)
        rates = np.broadcast_to(adam.learning_rate, self.net.steps)
        factors = np.ones(3) if self.net.layer_rates is None else self.net.layer_rates
        for t, rate in enumerate(rates, 1):
            for l, d in enumerate(self.pulls()):
                self.m[l] = adam.b1 * self.m[l] + (1 - adam.b1) * d
                self.v[l] = adam.b2 * self.v[l] + (1 - adam.b2) * d**2
                size = np.sqrt(self.v[l] / (1 - adam.b2**t)) + adam.eps
                length = N**-0.5 if l == 1 else 1.0
                move = length * self.m[l] / (1 - adam.b1**t) / size
                own = rate * factors[l]
                self.W[l] = (1 - own * adam.weight_decay) * self.W[l] + own * move
        self.pulls()
        return self

    @property
    def spectrum(self):
        return np.linalg.svd(self.W[1], compute_uv=False) / len(self.start) ** 0.5

    def of_update(self, scale):
        added = self.W[1] - scale * self.start
        return np.linalg.svd(added, compute_uv=False) / len(self.start) ** 0.5


@functools.cache
def dense(name, seeds=16):
    net = solved(name).net
    return [Dense(net, WIDTH, np.random.default_rng(s)).train() for s in range(seeds)]


def mean_and_error(values):
    values = np.asarray(values)
    return values.mean(0), values.std(0, ddof=1) / len(values) ** 0.5


def agree(theory, theory_error, simulated, floor=0.0):
    mean, error = mean_and_error(simulated)
    allowed = 4 * np.hypot(theory_error, error) + floor
    assert np.all(np.abs(theory - mean) <= allowed), (theory, mean, allowed)


def test_the_update_is_adam_entry_by_entry():
    steps, decay, rates = 5, 0.3, np.array([0.1, 0.0, 0.2, 0.1, 0.05])
    directions = rng.normal(size=(steps, 4, 3))
    numbers = map(jnp.asarray, (rates, 0.7, 0.9, 1e-3, decay))
    descent = AdamDescent(*numbers)
    of_optax = optax.scale_by_adam(0.7, 0.9, 1e-3)
    ours = theirs = jnp.asarray(rng.normal(size=(4, 3)))
    buffer = descent.at_rest(ours)
    state = of_optax.init(theirs)
    for t, direction in enumerate(jnp.asarray(directions)):
        update, buffer = descent.update(t, ours, buffer, direction)
        ours = ours + update
        with jax.numpy_dtype_promotion("standard"):
            adapted, state = of_optax.update(direction, state)
        theirs = (1 - rates[t] * decay) * theirs + rates[t] * adapted
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    whole = np.cumsum(directions, 0)
    scale, increments = descent.path(jnp.asarray(whole))
    np.testing.assert_allclose(scale, np.cumprod([1, *(1 - rates * decay)]))
    np.testing.assert_allclose(increments, directions, atol=1e-14)


def test_leading_functions_are_those_of_the_singular_values():
    x, z = np.meshgrid(np.linspace(-1, 1, 300), np.linspace(-1, 1, 300))
    D = np.tanh(2 * x * z + x)
    features = np.stack([x[0], np.tanh(3 * x[0]) + 0.5])
    found = leading_functions(jnp.asarray(D), jnp.asarray(features))
    rebuilt = found.left.T @ found.right
    u, s, v = np.linalg.svd(D / 300)
    kept = s > 1e-3 * s[0]
    expected = (300 * u[:, kept] * s[kept]) @ v[kept]
    np.testing.assert_allclose(rebuilt, expected, atol=2e-3)
    error = np.linalg.norm(D - rebuilt) / 300
    np.testing.assert_allclose(found.left_out, error, rtol=1e-6)
    nothing = leading_functions(jnp.zeros((300, 300)), jnp.asarray(features))
    assert not any(map(np.any, nothing))


def test_sign_descent_on_one_sample_is_of_rank_one():
    """sign(g) sign(phi), of which every entry is 1: the rate is its singular value. The
    same sample twice is one.
    """
    adam = {**SIGN, "learning_rate": [0.3, 0.2, 0.0, 0.0, 0.0, 0.0]}
    solution = solve(network(adam, inputs=DATA["inputs"][[0, 0]], targets=[1.0, 1.0]))
    spectrum = solution.update_spectrum(1)
    np.testing.assert_allclose(spectrum[1, 0], 0.3, rtol=1e-4)
    np.testing.assert_allclose(spectrum[1, 1:], 0, atol=1e-4)
    assert spectrum[0].max() == 0
    assert spectrum[2, 0] < 0.5  # some signs have changed


def test_a_large_epsilon_is_momentum_descent():
    """Up to the units of W^0 and what stands for the bias of the average."""
    b1, eps, rate = 0.6, 1e5, 0.5
    t = np.arange(1, 7)
    adam = dict(learning_rate=[eps * rate] * 6, b1=b1, eps=eps, weight_decay=1e-20)
    by_adam = network({**ADAM, **adam}, layer_rates=[1.0, 1.0, 1.0])
    by_momentum = network(
        optimizer=None,
        learning_rate=rate * (1 - b1) / (1 - b1**t),
        momentum=b1,
        layer_rates=[np.sqrt(3), 1.0, 1.0],
    )
    ours, known = map(solve, (by_adam, by_momentum))
    np.testing.assert_allclose(ours.predictions, known.predictions, atol=2e-3)
    spectra = [each.update_spectrum(1, 6)[:2] for each in (ours, known)]
    np.testing.assert_allclose(*spectra, atol=2e-3)
    outliers = [each.outliers(1, 6).values for each in (ours, known)]
    assert len(outliers[0])
    np.testing.assert_allclose(*outliers, rtol=3e-3)


@pytest.mark.parametrize("name", ["adam", "sign"])
def test_predictions_and_spectra_are_those_of_wide_networks(name):
    solution = solved(name)
    networks = dense(name)
    predictions = solution.measured("predictions")
    agree(*predictions, [each.predictions for each in networks], floor=2e-3)
    edge = float(solution.bulk(1, 6).upper_end)
    assert len(solution.outliers(1, 6).values) == 1
    tops = [each.spectrum[:2] for each in networks]
    outlier = solution.outliers(1, 6)
    agree(outlier.values, outlier.standard_error, [top[:1] for top in tops], 3e-3)
    second, _ = mean_and_error([top[1] for top in tops])
    assert 0.93 * edge < second < 1.02 * edge
    scale = float(solution.scale(1)[-1])
    added = [each.of_update(scale)[:3] for each in networks]
    spectrum = solution.measured(lambda s: s.update_spectrum(1, 6)[:3])
    agree(*spectrum, added, floor=4e-3)


@pytest.mark.parametrize("name", ["adam", "sign"])
def test_spikes_taken_as_independent_are_rejected(name):
    solution = solved(name)
    wrong = solution.outliers(1, 6, independent=True).values[0]
    mean, error = mean_and_error([each.spectrum[0] for each in dense(name)])
    assert wrong < mean - 10 * error


def test_the_simulation_steps_as_written():
    net = solved("adam").net
    weights = simulated._start(net, 30, jax.random.split(jax.random.key(0), 1))
    ours = Dense(net, 30, np.random.default_rng(0))
    ours.W = [np.array(W[0]) for W in weights]
    memory = jax.vmap(simulated._optimiser(net, 1.0, 30).init)(weights)
    for _ in range(net.steps):
        weights, memory, _ = simulated._step(net, weights, memory, np.full(2, 0.5))
    for W, expected in zip(weights, ours.train().W, strict=True):
        np.testing.assert_allclose(W[0], expected, rtol=1e-9, atol=1e-12)
    signs = network(SIGN)
    found = dm.simulate(signs, width=30, seeds=2, spectra_at=(6,))
    assert np.isfinite(found.singular_values(1, 6)).all()


def test_a_solution_is_saved(tmp_path):
    solution = solved("adam")
    again = dm.load(dm.save(solution, tmp_path / "adam.npz"))
    assert again.net == solution.net
    np.testing.assert_array_equal(
        again.outliers(1, 6).values, solution.outliers(1, 6).values
    )
    np.testing.assert_allclose(solution.scale(1)[1:3], [1, 1 - 0.1 * 1.3 * 0.4])
    assert 0 < solution.stats["left_out"][0] < 0.1
    assert solution.trajectory.layers[0].functions.left.shape[:3] == (2, 6, 16)


def test_a_matrix_that_is_not_there_is_not_needed():
    """One hidden layer, classes, batches of one: losses only."""
    net = network(
        hidden_layers=1,
        init_variance=1.0,
        targets=np.array([0, 2]),
        loss="cross-entropy",
        batch=1,
    )
    solution = dm.solve(net, samples=512)
    found = dm.simulate(net, width=500, seeds=16)
    loss, error = solution.measured("train_loss")
    agree(loss, error, found.train_loss, floor=5e-3)
