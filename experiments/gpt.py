"""A small GPT on CPython's own language reference, its targets coarse-grained to 2, 16,
128 or all 2,048 tokens.

The text is the module pydoc_data.topics (0.46 million characters), every tenth topic
held out. Tokens are words, punctuation and white space; those not among the 2,048 of
the vocabulary are spelled with the longest tokens that fit. A token's class is its rank
in the vocabulary modulo the number of outputs: each map is a coarsening of the next.

The network is a decoder-only transformer, pre-norm, with two blocks and four heads,
attention logits q.k/d, and muP learning rates.

    python -m experiments.gpt --plan                        the registered runs
                                                        (book/_data/outputs_protocol.md)
    python -m experiments.gpt --outputs 2 16 --width 64     other runs, printed
"""

import functools
import hashlib
import re
from collections import Counter
from pydoc_data import topics

import jax
import jax.numpy as jnp
import numpy as np

from experiments import trained
from experiments.trained import Network, Settings, Task, gaussian

VOCABULARY, CONTEXT, BLOCKS, HEADS = 2048, 32, 2, 4
PIECES = re.compile(r"([*=\-.~^])\1{2,}| ?[A-Za-z_]+|\d|\n+| +|.", re.S)


class Gpt(Network):
    def features(self, tokens):
        length = tokens.shape[-1]
        x, seen = (
            self.inputs["embedding"][tokens] + self.inputs["position"][:length],
            {},
        )
        causal = jnp.tril(jnp.ones((length, length), bool))

        def apply(name, h):
            seen[name] = h @ self.hidden[name].T
            return seen[name]

        for b in range(BLOCKS):
            h = normalise(x)
            q, k, v = (
                apply(f"{b}.{name}", h).reshape(*h.shape[:-1], HEADS, -1)
                for name in ("query", "key", "value")
            )
            logits = jnp.einsum("...thi,...shi->...hts", q, k) / q.shape[-1]
            weights = jax.nn.softmax(jnp.where(causal, logits, -jnp.inf), -1)
            x = x + apply(
                f"{b}.mix",
                jnp.einsum("...hts,...shi->...thi", weights, v).reshape(h.shape),
            )
            x = x + apply(f"{b}.down", jax.nn.gelu(apply(f"{b}.up", normalise(x))))
        return normalise(x), seen | {"embedding": x, "position": x}


def normalise(x):
    return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def network(settings: Settings) -> Gpt:
    N = settings.width
    shapes = {
        f"{b}.{name}": (N, N)
        for b in range(BLOCKS)
        for name in ("query", "key", "value", "mix")
    }
    shapes |= {f"{b}.up": (4 * N, N) for b in range(BLOCKS)} | {
        f"{b}.down": (N, 4 * N) for b in range(BLOCKS)
    }
    keys = iter(jax.random.split(jax.random.key(settings.seed), len(shapes) + 3))
    return Gpt(
        inputs={
            "embedding": gaussian(next(keys), VOCABULARY, N, unit=True),
            "position": gaussian(next(keys), CONTEXT, N, unit=True),
        },
        readout=gaussian(next(keys), settings.outputs, N, unit=True),
        hidden={name: gaussian(next(keys), *shape) for name, shape in shapes.items()},
        scale=N,
        gamma0=settings.gamma0,
    )


# ---------------------------------------------------------------- text


def vocabulary(text: str) -> list[str]:
    """All characters and the most frequent pieces, by falling frequency; equal ones in
    the order of the alphabet.
    """
    counts = Counter(match[0] for match in PIECES.finditer(text))
    counts.update({character: 0 for character in set(text)})
    letters = set(text)
    words = sorted(
        (piece for piece in counts if piece not in letters),
        key=lambda piece: (-counts[piece], piece),
    )
    kept = letters.union(words[: VOCABULARY - len(letters)])
    return sorted(kept, key=lambda piece: (-counts[piece], piece))


def encode(text: str, ranks: dict[str, int]) -> np.ndarray:
    longest, tokens = max(map(len, ranks)), []
    for match in PIECES.finditer(text):
        rest = match[0]
        while rest:
            end = next(
                n for n in range(min(longest, len(rest)), 0, -1) if rest[:n] in ranks
            )
            tokens.append(ranks[rest[:end]])
            rest = rest[end:]
    return np.array(tokens, np.int32)


@functools.cache
def corpus():
    """(training tokens, held-out tokens, vocabulary, a fingerprint of the text)."""
    names = sorted(topics.topics)
    parts = [
        "".join(
            topics.topics[name]
            for i, name in enumerate(names)
            if (i % 10 == 5) == held_out
        )
        for held_out in (False, True)
    ]
    words = vocabulary("".join(parts))
    ranks = {word: rank for rank, word in enumerate(words)}
    return (
        *(encode(part, ranks) for part in parts),
        words,
        hashlib.sha256("".join(parts).encode()).hexdigest()[:16],
    )


def classes_of(tokens, outputs: int):
    """Class of a token: its rank modulo the number of outputs."""
    return tokens % outputs


def make_task(settings: Settings) -> Task:
    training, testing = corpus()[:2]

    def windows(text, starts):
        tokens = jnp.asarray(text)[starts[:, None] + jnp.arange(CONTEXT + 1)]
        return tokens[:, :-1], classes_of(tokens[:, 1:], settings.outputs)

    def draw(key):
        return windows(
            training,
            jax.random.randint(key, (settings.batch,), 0, len(training) - CONTEXT),
        )

    held_out = windows(
        testing, np.linspace(0, len(testing) - CONTEXT - 1, 128).astype(int)
    )
    return Task(network(settings), draw, held_out)


def provenance() -> dict:
    return dict(
        script="experiments/gpt.py",
        protocol="book/_data/outputs_protocol.md",
        text=corpus()[3],
    )


DEFAULTS = dict(
    outputs=2048,
    width=96,
    seed=0,
    loss="cross-entropy",
    optimizer="adam",
    learning_rate=0.03,
    gamma0=1.0,
    steps=512,
    batch=16,
)


def registered() -> list[Settings]:
    """The runs of book/_data/outputs_protocol.md."""
    families = [
        (dict(width=96), (2, 16, 128, 2048)),
        (dict(width=48), (2, 16, 128, 2048)),
        (dict(width=48, loss="squared"), (2, 16, 128, 2048)),
        (dict(width=24), (2, 2048)),
        (dict(width=192), (2, 2048)),
    ]
    return [
        Settings(**dict(DEFAULTS, network="gpt", outputs=C, seed=seed, **family))
        for family, outputs in families
        for C in outputs
        for seed in range(3)
    ]


if __name__ == "__main__":
    trained.command_line(
        __doc__.split("\n")[0],
        DEFAULTS,
        ("gpt",),
        registered(),
        make_task,
        "gpt",
        provenance,
    )
