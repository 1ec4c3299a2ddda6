"""Steps of training a second, beside a plain implementation of the same GPT in one
file: this one.

python -m benchmarks.trained writes book/_data/trained_benchmark.csv. The plain network
keeps its weights in a dictionary, does Adam by hand and calls one compiled step after
the other; same sizes, batches and precision. Chunks of both are timed in turn, and the
ratio is that of the medians.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import gpt, protocol, trained

REPEATS = 9


def plain(settings):
    """(parameters with Adam's memory, function of one step)."""
    N, C, T, B, H, V = (
        settings.width,
        settings.outputs,
        gpt.CONTEXT,
        gpt.BLOCKS,
        gpt.HEADS,
        gpt.VOCABULARY,
    )
    shapes = {"embedding": (V, N), "position": (T, N), "readout": (C, N)}
    for b in range(B):
        shapes |= {f"{b}{name}": (N, N) for name in "qkvo"} | {
            f"{b}up": (4 * N, N),
            f"{b}down": (N, 4 * N),
        }
    keys = jax.random.split(jax.random.key(0), len(shapes))
    weights = {
        name: jax.random.normal(key, shape, jnp.float32)
        / (1 if shape[0] in (V, T, C) else shape[1] ** 0.5)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    text = jnp.asarray(gpt.corpus()[0])

    def norm(x):
        return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)

    def loss(w, tokens):
        x = w["embedding"][tokens[:, :-1]] + w["position"]
        mask = jnp.tril(jnp.ones((T, T), bool))
        for b in range(B):
            h = norm(x)
            q, k, v = (
                (h @ w[f"{b}{name}"].T).reshape(-1, T, H, N // H).swapaxes(1, 2)
                for name in "qkv"
            )
            attention = jax.nn.softmax(
                jnp.where(mask, q @ k.swapaxes(2, 3) * (H / N), -jnp.inf)
            )
            x = x + (attention @ v).swapaxes(1, 2).reshape(-1, T, N) @ w[f"{b}o"].T
            x = x + jax.nn.gelu(norm(x) @ w[f"{b}up"].T) @ w[f"{b}down"].T
        logits = norm(x) @ w["readout"].T / N
        hit = jnp.take_along_axis(logits, (tokens[:, 1:] % C)[..., None], -1)[..., 0]
        return (jax.nn.logsumexp(logits, -1) - hit).mean()

    @jax.jit
    def step(state, t):
        w, first, second = state
        start = jax.random.randint(
            jax.random.fold_in(jax.random.key(1), t),
            (settings.batch, 1),
            0,
            len(text) - T,
        )
        gradient = jax.grad(loss)(w, text[start + jnp.arange(T + 1)])
        first = {k: 0.9 * first[k] + 0.1 * g for k, g in gradient.items()}
        second = {k: 0.98 * second[k] + 0.02 * g * g for k, g in gradient.items()}
        rate = {
            k: settings.learning_rate
            * (1 if k in ("embedding", "position", "readout") else 16 / w[k].shape[1])
            for k in w
        }
        w = {
            k: w[k]
            - (
                rate[k]
                * (first[k] / (1 - 0.9 ** (t + 1)))
                / (jnp.sqrt(second[k] / (1 - 0.98 ** (t + 1))) + 1e-12)
            ).astype(jnp.float32)
            for k in w
        }
        return w, first, second

    zeros = {name: jnp.zeros_like(value) for name, value in weights.items()}
    return (weights, zeros, zeros), step


def compare(settings):
    length = settings.steps // trained.CHUNKS
    state, chunk = trained.trainer(gpt.make_task(settings), settings)
    other, step = plain(settings)
    state, other = chunk(state, 0)[0], step(other, 0)
    times = []
    for n in range(1, REPEATS + 1):
        start = time.perf_counter()
        state = jax.block_until_ready(chunk(state, n * length)[0])
        middle = time.perf_counter()
        for t in range(length):
            other = step(other, n * length + t)
        jax.block_until_ready(other)
        times.append((middle - start, time.perf_counter() - middle))
    ours, theirs = np.median(times, 0) / length
    print(
        settings.name,
        f"{1 / ours:.1f} steps a second, plain {1 / theirs:.1f}",
        flush=True,
    )
    return {
        "width": settings.width,
        "outputs": settings.outputs,
        "tokens a step": settings.batch * gpt.CONTEXT,
        "steps a second": round(1 / ours, 1),
        "over the plain one": round(theirs / ours, 2),
    }


if __name__ == "__main__":
    runs = [
        trained.Settings(
            **dict(gpt.DEFAULTS, network="gpt", width=width, outputs=outputs)
        )
        for width, outputs in ((48, 2), (96, 2), (96, 2048))
    ]
    protocol.save(
        "trained_benchmark",
        pd.DataFrame([compare(settings) for settings in runs]),
        3,
        repeats=REPEATS,
        script="benchmarks/trained.py",
        jax=jax.__version__,
    )
