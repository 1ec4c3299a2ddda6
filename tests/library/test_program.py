"""Networks that a user writes: taken apart, refused where they are none, and solved."""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dmftlib as dm
from dmftlib.training import nonlinear, program

INPUTS = np.array(
    [[[1.0, 0.5], [-0.5, 1.0], [1.0, 0.0]], [[-1.0, 0.3], [0.2, 0.4], [0.5, -1.0]]]
)
FLAT = dict(inputs=INPUTS[0], targets=[1.0, 0.0, -1.0])
RNG = np.random.default_rng(0)


def recurrent(ask, sites, x):
    """Elman's, one matrix for all times, its states normalised."""
    h = sites["U"] @ x[:, 0].T

    @jax.jit
    def next_state(h, u):
        size = jnp.sqrt(jnp.mean(h**2, 0) + 0.5)
        return ask("W", jnp.tanh(h / size)) + u

    for t in range(1, x.shape[1]):
        h = next_state(h, sites["U"] @ x[:, t].T)
    return jnp.mean(sites["w"][:, None] * jnp.tanh(h), 0)


def network(forward=recurrent, **changes):
    settings = dict(
        matrices={"W": ("hidden", "hidden")},
        sites={"U": (2,), "w": ()},
        inputs=INPUTS,
        targets=[1.0, -1.0],
        gamma0=4.0,
        init_variance={"W": 1.5},
        learning_rate=0.2,
        steps=12,
    )
    return dm.Program(forward, **settings | changes)


def of_layers(ask, sites, x):
    """A Nonlinear with two hidden layers."""
    h = sites["U"] @ x.T / x.shape[1] ** 0.5
    h = ask("W", jnp.tanh(h))
    return jnp.mean(sites["w"][:, None] * jnp.tanh(h)[:, :, None], 0)


# Taken apart


def test_a_program_is_a_list_of_questions_with_equations_between_them():
    parts = network().trace({"hidden": 7}).parts
    names = [type(part).__name__ for part in parts]
    between = [name for name in names if name != "Equations"]
    assert between == ["FirstUse", "Question", "Question", "FirstUse"]
    assert all("Equations" in pair for pair in itertools.pairwise(names))
    questions = [part for part in parts if type(part).__name__ == "Question"]
    assert [part.matrix for part in questions] == ["W", "W"]
    assert questions[0].asked.aval.shape == (7, 2)


def test_a_site_parameter_is_read_as_late_as_can_be():
    net = network(of_layers, sites={"U": (2,), "w": (1,)}, **FLAT)
    *_, last_use, _ = net.trace({"hidden": 7}).parts
    (alive,) = last_use.alive  # of tanh(h), though forward reads w before
    assert last_use.site == "w" and alive.aval.shape == (7, 3, 1)


def test_parts_compute_what_the_function_computes():
    """With the answers of one dense matrix."""
    net = network()
    W = RNG.normal(size=(7, 7))
    sites = {
        "U": jnp.asarray(RNG.normal(size=(7, 2))),
        "w": jnp.asarray(RNG.normal(size=7)),
    }
    trace = net.trace({"hidden": 7})
    values = {**trace.constants, trace.x: net.inputs}
    for part in trace.parts:
        match type(part).__name__:
            case "FirstUse":
                values[part.variable] = sites[part.site]
            case "Question":
                values[part.answer] = W @ values[part.asked]
            case _:
                made = part.function(*(values[v] for v in part.inputs))
                values |= zip(part.outputs, made, strict=True)
    expected = recurrent(lambda name, h: W @ h, sites, net.inputs)
    np.testing.assert_allclose(values[trace.output], expected, rtol=1e-12)


def test_vectors_under_vmap_are_asked_together():
    def each(ask, sites, x):
        def one(x):
            h = ask("W", jnp.tanh(sites["U"] @ x[0]))
            return jnp.mean(sites["w"] * jnp.tanh(h))

        return jax.vmap(one)(x)

    assert program.questions(network(each)) == {"W": 2}


def noting(ask, sites, x):
    """Two layers that share a matrix; sizes noted, inside of a `jit`, and the output."""

    @functools.partial(jax.jit, static_argnums=0)
    def sized(name, h):
        dm.note(name, jnp.mean(h**2, 0))
        return jnp.tanh(h)

    h = sized("first", sites["U"] @ x[:, 0].T)
    h = sized("second", ask("W", h))
    h = sized("third", ask("W", h))
    return dm.note("output", jnp.mean(sites["w"][:, None] * h, 0))


def test_what_is_noted_is_on_record():
    net = network(noting, steps=3)
    theory = dm.solve(net, samples=1024)
    output = theory.numbers["output"][:, :, None] / net.gamma0
    np.testing.assert_allclose(output, theory.predictions, atol=1e-12)
    run = dm.simulate(net, width=300, seeds=12, progress=False)
    assert [*theory.numbers] == ["first", "output", "second", "third"]
    assert run.numbers["third"].shape == (12, 4, 2)
    own = run.numbers["output"][..., None] / net.gamma0
    np.testing.assert_allclose(own, run.predictions, atol=1e-12)
    for name in ("first", "second", "third"):
        mean = run.numbers[name].mean(0)
        error = run.numbers[name].std(0, ddof=1) / 12**0.5
        _, own = theory.measured(lambda solution, name=name: solution.numbers[name])
        z = (mean - theory.numbers[name]) / np.hypot(error, own)
        assert np.abs(z).max() < 4, name


def test_a_number_noted_under_vmap_has_the_mapped_axis_first():
    def each(ask, sites, x):
        def one(x):
            h = ask("W", jnp.tanh(sites["U"] @ x.T))
            dm.note("sizes", jnp.mean(h**2, 0))
            return jnp.mean(sites["w"] * jnp.tanh(h[:, 0]))

        return jax.vmap(one)(x)

    (found,) = network(each).trace({"hidden": 7}).notes.values()
    assert found.aval.shape == (2, 3)


# Refused


def changed(change):
    """The recurrent network with something done to each answer."""

    def forward(ask, sites, x):
        return recurrent(lambda name, h: change(ask, name, h), sites, x)

    return forward


REFUSED = {
    "another order": changed(lambda ask, name, h: ask(name, h)[::-1]),
    "twice": changed(lambda ask, name, h: jnp.cumsum(ask(name, h), 0)),
    "no powers of N": changed(lambda ask, name, h: ask(name, h) * len(h) ** 0.5),
    "no sums": changed(lambda ask, name, h: ask(name, h) + h.sum(0)),
    "a matrix of `matrices`": changed(lambda ask, name, h: ask("V", h)),
    "their first axis the 5 sites": changed(lambda ask, name, h: ask(name, h.T).T),
    "inside of `scan`": changed(
        lambda ask, name, h: jax.lax.scan(
            lambda c, _: (ask(name, c), None), h, length=2
        )[0]
    ),
    "inside of `cond`": changed(
        lambda ask, name, h: jax.lax.cond(
            jnp.mean(h) > 0, lambda h: ask(name, h), lambda h: h, h
        )
    ),
    "reverse mode": changed(
        lambda ask, name, h: jax.grad(lambda h: jnp.mean(ask(name, h)))(h)
    ),
    "as the targets": lambda ask, sites, x: recurrent(ask, sites, x)[:1],
    "with an axis of sites": lambda ask, sites, x: (
        recurrent(ask, sites, x) + jnp.mean(dm.note("U", sites["U"]))
    ),
    "a second time": changed(
        lambda ask, name, h: ask(name, h) + dm.note("a", jnp.mean(h))
    ),
    "a note inside of `cond`": changed(
        lambda ask, name, h: (
            ask(name, h)
            + jax.lax.cond(True, lambda x: dm.note("a", x), lambda x: x, jnp.mean(h))
        )
    ),
    "runs at any number": changed(
        lambda ask, name, h: ask(name, h) + jnp.zeros((3, 1))
    ),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_no_program_is_refused_in_words(words):
    with pytest.raises(ValueError, match="^forward: got ") as refused:
        network(REFUSED[words])
    assert words in str(refused.value)


def test_what_is_declared_and_not_used_is_refused():
    with pytest.raises(ValueError, match="sites: got 'b'"):
        network(sites={"U": (2,), "w": (), "b": ()})
    with pytest.raises(ValueError, match="matrices: got 'V'"):
        network(matrices={"W": ("hidden", "hidden"), "V": ("hidden", "hidden")})


def test_vectors_of_two_spaces_are_not_added():
    two = dict(matrices={"W": ("b", "a")}, **FLAT)
    sites = {"U": ("a", 2), "w": ("b", 1)}
    assert network(of_layers, sites=sites, **two).spaces == ("b", "a")
    with pytest.raises(ValueError, match="first axis the 6 sites of 'a'"):
        network(of_layers, sites={"U": ("b", 2), "w": ("b", 1)}, **two)
    with pytest.raises(ValueError, match="one of 'b', 'a'"):
        network(of_layers, sites={"U": (2,), "w": ("b", 1)}, **two)


# Solved


def same_table(*spaces):
    """In place of quasi-random numbers: for each space in turn, its own."""
    numbers = iter(spaces)

    def table(rng, rows, sites):
        return np.random.default_rng(next(numbers)).standard_normal((400, sites))[:rows]

    return table


@pytest.mark.slow
def test_a_nonlinear_written_as_a_program_is_the_same_to_rounding(monkeypatch):
    targets = RNG.normal(size=(3, 2))
    data = dict(inputs=3**0.5 * np.eye(3), targets=targets, gamma0=4.0)  # h^1 = U
    rest = dict(learning_rate=0.5, steps=5)
    variances = [1.0, 0.3, 1.0]
    layered = dm.Nonlinear(hidden_layers=2, init_variance=variances, **data, **rest)
    sites = {"U": ("first", 3), "w": ("last", 2)}
    written = dm.Program(
        of_layers,
        matrices={"W": ("last", "first")},
        sites=sites,
        init_variance=0.3,
        **data,
        **rest,
    )
    monkeypatch.setattr(nonlinear, "sobol", same_table(1, 2))
    room = nonlinear.room_for(layered, 18, 256, each_output=False)
    expected = nonlinear.train(layered, 0, sites=256, room=room, each_output=False)
    monkeypatch.setattr(program, "sobol", same_table(2, 1))
    found = program.train(
        written, 0, sites=256, room=program.room_for(written, 18, 256)
    )
    np.testing.assert_allclose(found.predictions, expected.predictions, atol=1e-12)

    def outliers(moments):
        batch = jax.tree.map(lambda x: x[None], moments)
        return dm.outliers(dm.WeightHistory.from_moments(batch)).values

    ours = outliers(found.matrices["W"])
    theirs = outliers(expected.layers[0])
    assert len(ours) > 0
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


ASK = program._ask


def deaf(matrix, *rest):
    """The answer of a matrix without an echo of what it was asked from the other side."""
    echo = jax.tree.map(jnp.copy, matrix.left_images)
    nothing = jax.tree.map(jnp.zeros_like, echo)
    matrix = eqx.tree_at(lambda matrix: matrix.left_images, matrix, nothing)
    reply = ASK(matrix, *rest)
    after = eqx.tree_at(lambda matrix: matrix.left_images, reply.matrix, echo)
    return reply._replace(matrix=after)


@pytest.mark.slow
def test_a_recurrent_network_is_simulated_and_its_echo_is_needed(monkeypatch):
    net = network()
    theory = dm.solve(net)
    simulated = dm.simulate(net, width=400, seeds=16, spectra_at=(12,), progress=False)
    monkeypatch.setattr(program, "_ask", deaf)
    unheard = dm.solve(network(lambda *arguments: recurrent(*arguments)), throw=False)
    assert np.abs(z_scores(theory, simulated)).max() < 3.5
    assert np.abs(z_scores(unheard, simulated)).max() > 6
    found = theory.outliers("W", 12)
    largest = simulated.singular_values("W", 12)[:, 0]
    assert len(found.values) == 1
    error = np.hypot(found.standard_error[0], largest.std(ddof=1) / 4)
    assert abs(largest.mean() - found.values[0]) < 3 * error
    assert not len(theory.outliers("W", 12, independent=True).values)


def z_scores(solution, simulation):
    """Of the predictions, from the first update on."""
    predictions = simulation.predictions[:, 1:]
    error = predictions.std(0, ddof=1) / len(predictions) ** 0.5
    theory, own = solution.measured("predictions")
    return (predictions.mean(0) - theory[1:]) / np.hypot(error, own[1:])
