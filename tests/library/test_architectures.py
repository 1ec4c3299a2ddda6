"""Transformers, recurrent and convolutional networks as programs."""

import jax.numpy as jnp
import numpy as np
import pytest

import dmftlib as dm
from dmftlib.tracing import with_notes
from dmftlib.training import program

RNG = np.random.default_rng(0)
TOKENS = RNG.normal(size=(3, 4, 2))
TARGETS = [1.0, -1.0, 0.5]
TRAINED = dict(targets=TARGETS, gamma0=2.0, learning_rate=0.2, steps=3)


def transformer(tokens=TOKENS, **changes):
    return dm.Transformer(tokens=tokens, **TRAINED | changes)


def outputs(net, seed=1, width=6):
    """Of one dense network before training, what it notes, and its weights."""
    rng = np.random.default_rng(seed)
    W = {name: rng.normal(size=(width, width)) for name, _ in net.matrices}
    sites = {name: rng.normal(size=(width, *shape)) for name, (_, shape) in net.sites}

    def ask(name, h):
        return jnp.tensordot(W[name], h, 1) / width**0.5

    found = with_notes(lambda sites, x: net.forward(ask, sites, x))(sites, net.inputs)
    return np.asarray(found.returned), found.notes, W, sites


def test_attention_written_out():
    net = transformer(causal=True, attention_scale=3.0, mlp=True, rmsnorm=True)
    found, notes, W, sites = outputs(net)
    expected = []
    for x in TOKENS:
        h = [sites["embedding"] @ token / 2**0.5 for token in x]
        normed = [each / np.sqrt(np.mean(each**2) + 1e-6) for each in h]
        q, k, v = (
            [W[name] @ each / 6**0.5 for each in normed]
            for name in ("query0", "key0", "value0")
        )
        after = []
        for i in range(4):
            scores = np.array([3 * q[i] @ k[j] / 6 for j in range(i + 1)])
            A = np.exp(scores) / np.exp(scores).sum()
            mixed = sum(A[j] * v[j] for j in range(i + 1))
            r = h[i] + W["output0"] @ mixed / 6**0.5
            up = W["up0"] @ r / np.sqrt(np.mean(r**2) + 1e-6) / 6**0.5
            after.append(r + W["down0"] @ np.tanh(up) / 6**0.5)
        features = np.mean(np.tanh(after), 0)
        expected.append(sites["readout"][:, 0] @ features / 6)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-12)
    A = np.asarray(notes["attention0"])
    assert A.shape == (1, 3, 4, 4) and np.all(np.triu(A[0, 0], 1) == 0)


def test_without_scores_attention_is_the_mean_of_what_is_seen():
    mask = np.array([[True, True, False, True]] * 3)
    _, notes, *_ = outputs(transformer(attention_scale=0.0, mask=mask))
    np.testing.assert_allclose(notes["attention0"][0, 0, 0], [1 / 3, 1 / 3, 0, 1 / 3])


def test_the_order_of_tokens_matters_where_it_should():
    order = [2, 0, 3, 1]
    turned = TOKENS[:, order]
    for changes, same in (
        ({}, True),
        (dict(causal=True), False),
        (dict(pool="last"), False),
    ):
        here, there = (outputs(transformer(x, **changes))[0] for x in (TOKENS, turned))
        assert np.allclose(here, there) == same


def test_masked_tokens_change_nothing():
    mask = np.array([[True, True, True, False]] * 3)
    other = TOKENS.copy()
    other[:, 3] = 7.0
    for pool in ("mean", "last"):
        here, there = (
            outputs(transformer(x, mask=mask, pool=pool))[0] for x in (TOKENS, other)
        )
        short = outputs(transformer(TOKENS[:, :3], pool=pool))[0]
        np.testing.assert_allclose(here, there, rtol=1e-12)
        np.testing.assert_allclose(here, short, rtol=1e-12)


def test_heads_have_matrices_of_their_own():
    net = transformer(heads=2, blocks=2)
    names = [name for name, _ in net.matrices]
    assert len(names) == 16 and names[:4] == [
        "query0.0",
        "key0.0",
        "value0.0",
        "output0.0",
    ]
    assert outputs(net)[1]["attention1"].shape == (2, 3, 4, 4)


def test_a_gated_cell_written_out():
    net = dm.Recurrent(inputs=TOKENS, cell="lstm", **TRAINED)
    found, _, W, sites = outputs(net)
    h = c = np.zeros((6, 3))
    for t in range(4):
        driven = {
            gate: W[gate] @ h / 6**0.5
            + sites[f"input {gate}"] @ TOKENS[:, t].T / 2**0.5
            for gate in "ifog"
        }
        i, f, o = (1 / (1 + np.exp(-driven[gate])) for gate in "ifo")
        c = f * c + i * np.tanh(driven["g"])
        h = o * np.tanh(c)
    np.testing.assert_allclose(found, h.T @ sites["readout"] / 6, rtol=1e-12)
    net = dm.Recurrent(inputs=TOKENS, cell="gru", **TRAINED)
    found, _, W, sites = outputs(net)
    h = np.zeros((6, 3))
    for t in range(4):
        seen = {g: sites[f"input {g}"] @ TOKENS[:, t].T / 2**0.5 for g in "rzn"}
        r, z = (1 / (1 + np.exp(-(W[g] @ h / 6**0.5 + seen[g]))) for g in "rz")
        n = np.tanh(r * (W["n"] @ h / 6**0.5) + seen["n"])
        h = (1 - z) * n + z * h
    np.testing.assert_allclose(found, h.T @ sites["readout"] / 6, rtol=1e-12)


def test_convolutions_turn_with_their_inputs_and_mix_neighbours():
    conv = dict(hidden_layers=2, **TRAINED)
    turned = np.roll(TOKENS, 1, axis=1)
    here, there = (
        outputs(dm.Convolutional(inputs=x, **conv))[0] for x in (TOKENS, turned)
    )
    np.testing.assert_allclose(here, there, rtol=1e-12)
    found, _, W, sites = outputs(dm.Convolutional(inputs=TOKENS, **conv))
    phi = np.tanh(np.einsum("nd,pad->pan", sites["embedding"], TOKENS) / 2**0.5)
    h = sum(
        np.roll(phi, 1 - offset, axis=1) @ W[f"C1.{offset}"].T for offset in range(3)
    )
    features = np.tanh(h / 18**0.5).mean(1)
    np.testing.assert_allclose(found, features @ sites["readout"] / 6, rtol=1e-12)


def test_two_that_are_alike_share_their_programs():
    one, other = transformer(), transformer(gamma0=3.0)
    assert one.trace({"hidden": 8}) is other.trace({"hidden": 8})


FURTHER = TRAINED | dict(learning_rate=1.0, steps=5)
MADE = {
    "attention": transformer(causal=True, attention_scale=2.0, **FURTHER),
    "heads": transformer(heads=2, mlp=True, rmsnorm=True, pool="last", **FURTHER),
    "lstm": dm.Recurrent(inputs=TOKENS[:, :3], cell="lstm", **FURTHER),
    "elman": dm.Recurrent(inputs=TOKENS[:, :3], **FURTHER),
    "ring": dm.Convolutional(inputs=TOKENS, hidden_layers=2, kernel=2, **FURTHER),
}


def largest_z(net) -> float:
    """Of the predictions after the first step, theory against networks."""
    theory = dm.solve(net)
    run = dm.simulate(net, width=400, seeds=16, progress=False)
    mean = run.predictions.mean(0)[1:]
    error = run.predictions.std(0, ddof=1)[1:] / 4
    value, own = theory.measured("predictions")
    z = (mean - value[1:]) / np.hypot(error, own[1:])
    return np.abs(z).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_predictions_are_those_of_networks(name):
    assert largest_z(MADE[name]) < 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attention", "ring"])
def test_half_of_what_is_sent_back_is_noticed(name, monkeypatch):
    as_rows = program._as_rows

    def half(vectors, factor):
        return as_rows(vectors, factor if factor == 1 else factor / 2)

    monkeypatch.setattr(program, "_as_rows", half)
    assert largest_z(MADE[name]) > 20


@pytest.mark.slow
def test_a_convolution_of_one_position_is_a_nonlinear():
    inputs = TOKENS[:, :1]
    ring = dm.Convolutional(
        inputs=inputs, hidden_layers=3, kernel=1, init_variance=0.6, **FURTHER
    )
    layered = dm.Nonlinear(
        inputs=inputs[:, 0],
        hidden_layers=3,
        init_variance=[1.0, 0.6, 0.6, 1.0],
        **FURTHER,
    )
    found, expected = (dm.solve(net, samples=8192) for net in (ring, layered))
    value, error = found.measured("predictions")
    other, own = expected.measured("predictions")
    assert np.abs(value - other).max() < 0.01 and np.abs(other[-1]).max() > 0.1
    assert (np.abs(value - other)[1:] < 5 * np.hypot(error, own)[1:] + 1e-4).all()


def retrieval() -> dict:
    """Two tokens with a key and a value each; the third asks for the value of a key."""
    tokens, targets = [], []
    for first in (1.0, -1.0):
        for second in (1.0, -1.0):
            for asked in (0, 1):
                keys = np.eye(2)
                sequence = [
                    [*keys[0], first, 0.0],
                    [*keys[1], second, 0.0],
                    [*keys[asked], 0.0, 1.0],
                ]
                tokens.append(sequence)
                targets.append((first, second)[asked])
    return dict(tokens=1.5 * np.array(tokens), targets=targets)


@pytest.mark.slow
def test_a_task_that_needs_attention_sends_out_queries_and_keys():
    net = dm.Transformer(
        **retrieval(),
        attention_scale=4.0,
        pool="last",
        learning_rate=0.12,
        gamma0=4.0,
        init_variance=0.3,
        steps=40,
    )
    solution = dm.solve(net, samples=4096, batches=1)
    losses = np.asarray(solution.train_loss)[[0, 13, 26, 39]]
    # two networks of width 800, by another program
    np.testing.assert_allclose(losses, [1.0, 0.486, 0.030, 0.001], atol=0.015)
    expected = dict(query0=1.150, key0=1.161, value0=1.791, output0=1.796)
    for name, value in expected.items():
        (largest, *_) = solution.outliers(name, 40).values
        assert largest == pytest.approx(value, abs=0.015), name


@pytest.mark.parametrize(
    "make, changes, words",
    [
        (dm.Transformer, dict(tokens=[[1.0, 2.0]]), "tokens: got"),
        (dm.Transformer, dict(tokens=TOKENS, blocks=0), "blocks: got 0"),
        (dm.Transformer, dict(tokens=TOKENS, heads=1.5), "heads: got 1.5"),
        (dm.Transformer, dict(tokens=TOKENS, pool="all"), "pool: got 'all'"),
        (dm.Transformer, dict(tokens=TOKENS, causal=1), "causal: got 1"),
        (dm.Transformer, dict(tokens=TOKENS, mask=[True]), "mask: got"),
        (
            dm.Transformer,
            dict(tokens=TOKENS, attention_scale=np.nan),
            "attention_scale",
        ),
        (dm.Recurrent, dict(inputs=TOKENS[:, :1]), "times .*: got 1"),
        (dm.Recurrent, dict(inputs=TOKENS, cell="rnn"), "cell: got 'rnn'"),
        (
            dm.Convolutional,
            dict(inputs=TOKENS, hidden_layers=1),
            "hidden_layers: got 1",
        ),
        (
            dm.Convolutional,
            dict(inputs=TOKENS, hidden_layers=2, kernel=5),
            "kernel: got 5",
        ),
    ],
)
def test_bad_settings_are_refused_by_name(make, changes, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        make(**TRAINED | changes)
