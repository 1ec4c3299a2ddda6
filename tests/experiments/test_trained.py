"""The example networks of chapter 11: label maps, scaling, checkpoints, settings, and
the statistic that decides.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.stats import ortho_group

from experiments import gpt, images, protocol, rotated_updates, trained
from experiments.trained import Settings

ROOT = Path(__file__).parents[2]

MLP = dict(network="mlp", outputs=10, width=16, steps=64, batch=8)
CNN = dict(network="cnn", outputs=100, width=16, steps=64, batch=8)
GPT = dict(
    network="gpt",
    outputs=16,
    width=32,
    steps=64,
    batch=4,
    optimizer="adam",
    learning_rate=0.03,
)
MAKE = {"mlp": images.make_task, "cnn": images.make_task, "gpt": gpt.make_task}


@pytest.fixture(autouse=True)
def types_as_optax_has_them():
    """Adam of optax takes a real number to the power of a whole one."""
    with jax.numpy_dtype_promotion("standard"):
        yield


# ---------------------------------------------------------------- data


def test_the_pictures_are_the_same_whatever_the_number_of_classes():
    digits = np.array([[0, 0, 0], [9, 9, 9], [3, 1, 4]])
    assert [images.classes_of(digits, C).tolist() for C in (10, 100, 1000)] == [
        [0, 9, 3],
        [0, 99, 31],
        [0, 999, 314],
    ]
    batches = [
        images.make_task(Settings(**{**MLP, "outputs": C})).draw(jax.random.key(5))
        for C in (10, 100, 1000)
    ]
    for inputs, _ in batches[:2]:
        np.testing.assert_array_equal(inputs, batches[2][0])
    assert all((batches[2][1] // 10 ** (2 - k) == batches[k][1]).all() for k in (0, 1))


def test_three_digits_stand_side_by_side_and_none_is_both_learned_and_held_out():
    pixels, target, training, testing = images.pictures()
    assert not set(training) & set(testing) and len(training) + len(testing) == len(
        pixels
    )
    inputs, classes = images.make_task(Settings(**{**MLP, "outputs": 1000})).held_out
    known = {
        image.tobytes(): label
        for image, label in zip(pixels[testing], target[testing], strict=True)
    }
    for picture, label in zip(
        np.asarray(inputs[:50]).reshape(-1, 8, 24),
        np.asarray(classes[:50]),
        strict=True,
    ):
        parts = [
            known[np.ascontiguousarray(picture[:, 8 * k : 8 * k + 8]).tobytes()]
            for k in range(3)
        ]
        assert label == 100 * parts[0] + 10 * parts[1] + parts[2]


def test_tokens_spell_the_text_and_each_label_map_coarsens_the_next():
    training, testing, words, _ = gpt.corpus()
    assert len(words) == len(set(words)) == gpt.VOCABULARY
    text = "".join(
        gpt.topics.topics[name]
        for i, name in enumerate(sorted(gpt.topics.topics))
        if i % 10 == 5
    )
    assert "".join(words[token] for token in testing) == text
    tokens = np.arange(gpt.VOCABULARY)
    maps = [gpt.classes_of(tokens, C) for C in trained.OUTPUTS["gpt"]]
    for coarse, fine in zip(maps, maps[1:], strict=False):
        assert len(
            {(int(a), int(b)) for a, b in zip(fine, coarse, strict=True)}
        ) == len(set(fine))
    assert training.max() < gpt.VOCABULARY and len(training) > 8 * len(testing) > 50_000


def test_the_convolution_is_one():
    rng = np.random.default_rng(0)
    x, M = (
        jnp.asarray(rng.normal(size=(2, 8, 24, 3))),
        jnp.asarray(rng.normal(size=(5, 27))),
    )
    kernel = M.reshape(5, 3, 3, 3).transpose(
        1, 2, 3, 0
    )  # rows, columns, channels in, out
    expected = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(images.patches(x, 1) @ M.T, expected, atol=1e-12)
    np.testing.assert_allclose(
        images.patches(x, 2) @ M.T, expected[:, ::2, ::2], atol=1e-12
    )


def test_gpt_does_not_look_ahead():
    model = gpt.network(Settings(**GPT))
    tokens = jnp.arange(gpt.CONTEXT)[None]
    other = tokens.at[0, 20:].set(7)
    out, changed = model(tokens)[0], model(other)[0]
    np.testing.assert_array_equal(out[0, :20], changed[0, :20])
    assert np.abs(out[0, 20:] - changed[0, 20:]).max() > 1e-3


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "name, value",
    [
        ("network", "rnn"),
        ("outputs", 11),
        ("outputs", 10.0),
        ("outputs", None),
        ("width", 8),
        ("width", 32.0),
        ("width", -1),
        ("seed", -1),
        ("seed", 0.5),
        ("loss", "hinge"),
        ("optimizer", "lion"),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("gamma0", -1.0),
        ("steps", 65),
        ("steps", 0),
        ("batch", 0),
    ],
)
def test_bad_settings_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}.*: got"):
        Settings(**{**MLP, name: value})


def test_a_gpt_needs_heads_and_its_own_outputs():
    for name, value in (("width", 36), ("width", 16), ("outputs", 10)):
        with pytest.raises(ValueError, match=f"{name}.*: got"):
            Settings(**{**GPT, name: value})


@pytest.mark.parametrize(
    "script, bad",
    [
        ("images.py", ["--network", "gpt"]),
        ("images.py", ["--steps", "100"]),
        ("gpt.py", ["--outputs", "3"]),
    ],
)
def test_the_command_line_refuses_and_explains(script, bad, monkeypatch, capsys):
    module = {"images.py": images, "gpt.py": gpt}[script]
    networks = ("gpt",) if script == "gpt.py" else ("mlp", "cnn")

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            trained.command_line(
                "text",
                module.DEFAULTS,
                networks,
                [],
                module.make_task,
                "x",
                dict,
                arguments,
            )
        return stopped.value.code, capsys.readouterr()

    code, shown = run(*bad)
    assert code == 2 and "needed:" in shown.err
    code, shown = run("--help")
    assert code == 0 and "--learning-rate" in shown.out and "--checkpoints" in shown.out


# ---------------------------------------------------------------- checkpoints


def same(one, other):
    rows, network = one
    assert pd.DataFrame(rows).equals(pd.DataFrame(other[0]))
    for a, b in zip(jax.tree.leaves(network), jax.tree.leaves(other[1]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [MLP, CNN, GPT], ids=lambda s: s["network"])
def test_a_run_interrupted_anywhere_ends_as_the_one_left_alone(
    settings, tmp_path, monkeypatch
):
    settings, make_task = Settings(**settings), MAKE[settings["network"]]
    alone = trained.train(settings, make_task)
    write, written = trained.write_checkpoint, 0

    def fails_now_and_then(path, *rest):
        nonlocal written
        written += 1
        if written in (
            1,
            18,
            40,
        ):  # before anything is written, and half-way through a file
            path.with_suffix(".partial").write_bytes(b"half a check")
            raise KeyboardInterrupt
        write(path, *rest)

    monkeypatch.setattr(trained, "write_checkpoint", fails_now_and_then)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            trained.train(settings, make_task, tmp_path)
    same(trained.train(settings, make_task, tmp_path), alone)
    assert written == trained.CHUNKS + 3
    same(
        trained.train(settings, make_task, tmp_path), alone
    )  # a finished run is read, not run
    assert written == trained.CHUNKS + 3


@pytest.mark.slow
def test_a_run_killed_from_outside_ends_as_the_one_left_alone(tmp_path):
    settings = Settings(**{**images.DEFAULTS, **MLP, "steps": 2048})
    command = [
        sys.executable,
        "-m",
        "experiments.images",
        "--width",
        "16",
        "--steps",
        "2048",
        "--batch",
        "8",
        "--checkpoints",
        str(tmp_path),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    )
    path = tmp_path / f"{settings.name}.ckpt"
    for _ in range(1200):
        if path.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.exists()
    same(
        trained.train(settings, images.make_task, tmp_path),
        trained.train(settings, images.make_task),
    )


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    settings, other = Settings(**MLP), Settings(**{**MLP, "seed": 1})
    task = images.make_task(settings)
    state, _ = trained.trainer(task, settings)
    path = tmp_path / f"{settings.name}.ckpt"
    trained.write_checkpoint(path, other, 3, [], state)
    with pytest.raises(ValueError, match="checkpoint: got"):
        trained.train(settings, images.make_task, tmp_path)


def test_divergence_is_an_error(tmp_path):
    settings = Settings(**{**MLP, "learning_rate": 1e24, "loss": "squared"})
    with pytest.raises(FloatingPointError, match="diverged between steps"):
        trained.train(settings, images.make_task)


# ---------------------------------------------------------------- scaling


def changes(settings, chunks=12):
    """Change of what each matrix puts out after some steps, and of the output."""
    task = MAKE[settings.network](settings)
    state, chunk = trained.trainer(task, settings)
    for n in range(chunks):
        state, _ = chunk(state, n)
    start, after = (
        trained.forward(model, task.held_out[0])[1] for model in (task.model, state[0])
    )
    return pd.Series(
        {
            name: trained.rms(after[name] - start[name])
            for name in start
            if name != "position"
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings, widths, growth",
    [({**MLP, "batch": 32}, (64, 512), 3.0), (GPT, (32, 128), 1.5)],
    ids=lambda s: s["network"] if isinstance(s, dict) else None,
)
def test_coordinate_check(settings, widths, growth, monkeypatch):
    """Everything changes by an amount that does not depend on the width; with the rate
    of the hidden matrices left as it is at the smallest width, it does.
    """
    small, large = (
        changes(Settings(**{**settings, "width": width})) for width in widths
    )
    assert (large / small).between(1 / 1.8, 1.8).all(), large / small
    rates, ratio = trained.rates, widths[1] / widths[0]

    def unscaled(model, settings):
        scaled = rates(model, settings)
        hidden = {
            name: rate * (ratio if settings.width == widths[1] else 1)
            for name, rate in scaled.hidden.items()
        }
        return trained.eqx.tree_at(lambda m: m.hidden, scaled, hidden)

    monkeypatch.setattr(trained, "rates", unscaled)
    trained._program.clear()
    wrong = changes(Settings(**{**settings, "width": widths[1]}))
    trained._program.clear()
    assert (wrong / small).max() > growth


def test_the_stored_runs_pass_the_coordinate_check():
    """Between the two largest widths, in the first 64th of the training."""
    for name, network in (("images", "mlp"), ("gpt", "gpt")):
        table = protocol.load(name)
        table = table[
            (table.network == network)
            & (table.loss == "cross-entropy")
            & (table.step > 0)
        ]
        table = table[table.optimizer == {"mlp": "sgd", "gpt": "adam"}[network]]
        early = table[table.step == table.steps // 64]
        means = early.groupby(["outputs", "width"]).activation_change.mean()
        for outputs in (table.outputs.min(), table.outputs.max()):
            *_, one, two = means[outputs]
            assert 1 / 1.3 < two / one < 1.3


# ---------------------------------------------------------------- the statistic


def statistic(M):
    row = trained.spectrum_row(M, np.ones_like(M))
    return row["kolmogorov"] / row["noise"], row.get("outliers"), row["refused"]


def test_the_statistic_passes_noise_with_outliers_and_refuses_a_restructured_bulk():
    rng = np.random.default_rng(0)
    n, m = 60, 90
    noise = [rng.normal(size=(n, m)) / np.sqrt(m) for _ in range(40)]
    u, v = ortho_group.rvs(n, random_state=1), ortho_group.rvs(m, random_state=2)
    few = u[:, :4] @ np.diag([3.0, 4.0, 5.0, 6.0]) @ v[:4]
    assert sum(statistic(M)[0] > 1 for M in noise) <= 2  # a rate of one in a hundred
    assert sum(statistic(M + few)[0] > 1 for M in noise[:20]) <= 1
    assert sum(statistic(M + few)[1] == 4 for M in noise[:20]) >= 17
    quarter, half = (
        np.repeat([0.3, 1.5], [few, n - few])[:, None] for few in (n // 4, n // 2)
    )  # rows of two kinds
    assert all(statistic(quarter * M)[0] > 3 for M in noise[:10])
    for M in noise[
        :10
    ]:  # half and half: the larger ones are outliers of the smaller, too many of them
        ratio, outliers, refused = statistic(half * M)
        assert refused or outliers > n / 4


def test_rotation_takes_away_what_an_update_knows():
    """A quarter of M0 is damped, in random directions, and the bulk restructured;
    damped elsewhere it is not.
    """
    rng, p = np.random.default_rng(0), 64
    found = []
    for seed in range(6):
        M0, u = (
            rng.normal(size=(p, p)) / np.sqrt(p),
            ortho_group.rvs(p, random_state=seed)[:, : p // 4],
        )
        found.append(rotated_updates.row(M0 - 0.8 * u @ (u.T @ M0), M0, rng))
    mean = pd.DataFrame(found).mean()
    assert abs(mean.overlap + 0.5) < 0.05
    assert mean.S_trained > 2 and mean.S_rotated < 1.1
    assert mean.excess_trained > 0.3 > 0.15 > mean.excess_rotated


def test_a_matrix_without_a_bulk_gets_a_distance_all_the_same():
    u = ortho_group.rvs(60, random_state=1)
    M = u[:, :30] @ np.diag(np.linspace(1, 2, 30)) @ u[:30]
    ratio, outliers, refused = statistic(M)
    assert refused and ratio > 5 and outliers is None


def test_the_nearest_law_finds_a_law():
    law = trained.dm.rectangular_law(0.5, 1.7)
    x = np.linspace(*(float(edge) for edge in law.edges[0]), 4000)
    values = np.interp((np.arange(500) + 0.5) / 500, np.asarray(law.cdf(x)), x)
    assert trained.nearest_law(values, 0.5) < 0.002
