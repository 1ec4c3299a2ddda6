"""Ready-made programs: transformers, recurrent and convolutional networks.

Each is a `forward` for `Program`, written as a user would write it. Two that are alike
are equal, so that what is compiled for one serves the other.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from . import _checks
from .activations import Activation
from .activations import activation as find_activation
from .programs import Program, as_targets
from .tracing import note

_RIDGE = 1e-6  # of a mean square
_UNSEEN = -1e30  # the score of a token that is not attended to
_CELLS = {"elman": "", "lstm": "ifog", "gru": "rzn"}  # names of their matrices


def Transformer(
    *,
    tokens,
    targets,
    blocks=1,
    heads=1,
    attention_scale=1.0,
    causal=False,
    mlp=False,
    rmsnorm=False,
    pool="mean",
    activation="tanh",
    mask=None,
    **program,
) -> Program:
    """A transformer of infinite width on a few sequences of a few tokens.

        h_i = W_E x_i / sqrt(D),     h_i <- h_i + W_O sum_j A_ij W_V h_j     for each head
        A = softmax_j(attention_scale (W_Q h_i) . (W_K h_j) / N)
        f = mean over sites and pooled tokens of w phi(h_i), divided by gamma0

    tokens           (P, S, D): P sequences of S tokens; where a token stands has to be
                     in its numbers
    targets          (P,) or (P, K)
    blocks           of attention, one after the other
    heads            of a block, each with four matrices of its own; answers are added
    attention_scale  0 is the mean over the tokens that are seen
    causal           a token sees itself and those before it
    mlp              after the attention of each block, h_i <- h_i + W_down phi(W_up h_i)
    rmsnorm          before both, h_i / sqrt(mean over sites of h_i^2 + 1e-6)
    pool             "mean" over the tokens, or the "last"
    mask             (P, S), False for tokens that are neither attended to nor pooled
    **program        gamma0, init_variance, learning_rate and steps of `Program`

    Matrices are "query0", "key0", "value0", "output0" of the first block, with several
    heads "query0.0" and so on, and "up0", "down0"; site parameters "embedding" and
    "readout". `numbers["attention0"]` of the solution is A, (steps+1, heads, P, S, S).

    Raises ValueError, naming the argument, for anything else.

    >>> tokens = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    >>> net = Transformer(tokens=tokens, targets=[1.0, -1.0], pool="last", learning_rate=0.1, steps=5)
    >>> [name for name, _ in net.matrices]
    ['query0', 'key0', 'value0', 'output0']
    """
    tokens = _sequences("tokens", tokens)
    P, S, D = tokens.shape
    names = _Names(
        _checks.integer("blocks", blocks, 1),
        _checks.integer("heads", heads, 1),
    )
    forward = _Transformer(
        names,
        float(_checks.number("attention_scale", attention_scale)),
        _checks.choice("causal", causal, (False, True)),
        _checks.choice("mlp", mlp, (False, True)),
        _checks.choice("rmsnorm", rmsnorm, (False, True)),
        _checks.choice("pool", pool, ("mean", "last")),
        find_activation(activation),
        _mask(mask, P, S),
    )
    targets = as_targets(targets, P)
    sites = dict(embedding=(D,), readout=targets.shape[1:])
    matrices = names.all(forward.mlp)
    return _program(forward, matrices, sites, tokens, targets, program)


@dataclasses.dataclass(frozen=True)
class _Names:
    """Of the matrices of a transformer."""

    blocks: int
    heads: int

    def of(self, what: str, block: int, head: int) -> str:
        return f"{what}{block}" if self.heads == 1 else f"{what}{block}.{head}"

    def all(self, mlp: bool) -> list[str]:
        found = []
        for block in range(self.blocks):
            for head in range(self.heads):
                kinds = ("query", "key", "value", "output")
                found += [self.of(what, block, head) for what in kinds]
            found += [f"up{block}", f"down{block}"] if mlp else []
        return found


@dataclasses.dataclass(frozen=True)
class _Transformer:
    names: _Names
    scale: float
    causal: bool
    mlp: bool
    rmsnorm: bool
    pool: str
    activation: Activation
    mask: tuple | None  # rows of truth values

    def __call__(self, ask, sites, x):
        h = jnp.einsum("nd,psd->nps", sites["embedding"], x) / math.sqrt(x.shape[-1])
        for block in range(self.names.blocks):
            h = h + self.attended(ask, block, self.normed(h))
            if self.mlp:
                up = ask(f"up{block}", self.normed(h))
                h = h + ask(f"down{block}", self.activation(up))
        pooled = jnp.einsum("nps,ps->np", self.activation(h), self.weights(x))
        return pooled.T @ sites["readout"] / len(h)

    def attended(self, ask, block: int, h):
        """What attention adds to the stream."""
        total = 0.0
        attention = []
        for head in range(self.names.heads):
            asked = functools.partial(self.names.of, block=block, head=head)
            q, k, v = (ask(asked(what), h) for what in ("query", "key", "value"))
            scores = self.scale * jnp.einsum("nps,npt->pst", q, k) / len(q)
            scores = jnp.where(self.seen(h), scores, _UNSEEN)
            attention.append(jax.nn.softmax(scores, axis=-1))
            mixed = jnp.einsum("pst,npt->nps", attention[-1], v)
            total = total + ask(asked("output"), mixed)
        note(f"attention{block}", jnp.stack(attention))
        return total

    def normed(self, h):
        """The stream as matrices see it."""
        if not self.rmsnorm:
            return h
        return h / jnp.sqrt(jnp.mean(h**2, 0) + _RIDGE)

    def seen(self, h):
        """Which tokens each token attends to, (P, S, S)."""
        _, P, S = h.shape
        seen = np.ones((P, S, S), bool)
        if self.causal:
            seen &= np.tri(S, dtype=bool)
        if self.mask is not None:
            seen &= np.array(self.mask)[:, None, :]
        return seen

    def weights(self, x):
        """Of the tokens in the output, (P, S)."""
        P, S, _ = x.shape
        real = np.ones((P, S)) if self.mask is None else np.array(self.mask, float)
        if self.pool == "last":
            after = np.cumsum(real[:, ::-1], 1)[:, ::-1]
            real = real * (after == 1)
        return real / real.sum(1, keepdims=True)


def Recurrent(
    *, inputs, targets, cell="elman", activation="tanh", **program
) -> Program:
    """A recurrent network of infinite width: the same matrices at all times.

        elman   h <- W phi(h) + U x                              f = mean of w phi(h)
        lstm    i, f, o = sigmoid(W h + U x), g = tanh(W h + U x), each with its own;
                c <- f c + i g,  h <- o tanh(c)                   f = mean of w h
        gru     r, z = sigmoid(W h + U x), n = tanh(r (W h) + U x);
                h <- (1 - z) n + z h                              f = mean of w h

    from h = 0, with U x / sqrt(D) for U x, read after the last input and divided by
    gamma0.

    inputs       (P, S, D): P sequences of S inputs, at least two
    targets      (P,) or (P, K)
    cell         "elman", "lstm" or "gru"
    activation   phi of an Elman network
    **program    gamma0, init_variance, learning_rate and steps of `Program`

    The matrix is "W"; of a cell with gates they are "i", "f", "o", "g" or "r", "z", "n".
    Site parameters are "input", with gates "input i" and so on, and "readout".

    Raises ValueError, naming the argument, for anything else.

    >>> inputs = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    >>> net = Recurrent(inputs=inputs, targets=[1.0, -1.0], cell="gru", learning_rate=0.1, steps=5)
    >>> [name for name, _ in net.matrices]
    ['r', 'z', 'n']
    """
    inputs = _sequences("inputs", inputs)
    P, S, D = inputs.shape
    _checks.integer("times (axis 1 of inputs)", S, 2)
    cell = _checks.choice("cell", cell, tuple(_CELLS))
    forward = _Recurrent(cell, find_activation(activation))
    gates = _CELLS[cell]
    targets = as_targets(targets, P)
    driven = [f"input {gate}" for gate in gates] or ["input"]
    sites = dict.fromkeys(driven, (D,)) | dict(readout=targets.shape[1:])
    matrices = [*gates] or ["W"]
    return _program(forward, matrices, sites, inputs, targets, program)


@dataclasses.dataclass(frozen=True)
class _Recurrent:
    cell: str
    activation: Activation

    def __call__(self, ask, sites, x):
        seen = jnp.swapaxes(x, 0, 2) / math.sqrt(x.shape[-1])  # (D, S, P)
        step = getattr(self, self.cell)
        state = step(ask, sites, seen[:, 0], None)
        for t in range(1, x.shape[1]):
            state = step(ask, sites, seen[:, t], state)
        h = self.activation(state.h) if self.cell == "elman" else state.h
        return h.T @ sites["readout"] / len(h)

    def elman(self, ask, sites, seen, state: "_Cell | None") -> "_Cell":
        h = sites["input"] @ seen
        if state is not None:
            h = h + ask("W", self.activation(state.h))
        return _Cell(h)

    def lstm(self, ask, sites, seen, state: "_Cell | None") -> "_Cell":
        driven = {}
        for gate in _CELLS["lstm"]:
            driven[gate] = sites[f"input {gate}"] @ seen
            if state is not None:
                driven[gate] = driven[gate] + ask(gate, state.h)
        i, f, o = (jax.nn.sigmoid(driven[gate]) for gate in "ifo")
        c = i * jnp.tanh(driven["g"])
        if state is not None:
            c = c + f * state.c
        return _Cell(o * jnp.tanh(c), c)

    def gru(self, ask, sites, seen, state: "_Cell | None") -> "_Cell":
        r, z, n = (sites[f"input {gate}"] @ seen for gate in "rzn")
        if state is None:
            return _Cell((1 - jax.nn.sigmoid(z)) * jnp.tanh(n))
        r = jax.nn.sigmoid(r + ask("r", state.h))
        z = jax.nn.sigmoid(z + ask("z", state.h))
        n = jnp.tanh(n + r * ask("n", state.h))
        return _Cell((1 - z) * n + z * state.h)


@dataclasses.dataclass(frozen=True)
class _Cell:
    """What a cell remembers."""

    h: jax.Array
    c: jax.Array | float = 0.0


def Convolutional(
    *, inputs, targets, hidden_layers, kernel=3, activation="tanh", **program
) -> Program:
    """A convolutional network of infinitely many channels on a ring of positions.

        h^1(a) = W_E x(a) / sqrt(D)
        h^{l+1}(a) = sum_o C_{l,o} phi(h^l(a + o - kernel // 2)) / sqrt(kernel),   l = 1 ... L-1
        f = mean over sites and positions of w phi(h^L(a)), divided by gamma0

    inputs         (P, positions, D)
    targets        (P,) or (P, K)
    hidden_layers  L, at least two
    kernel         offsets, each with a matrix of its own; at most as many as positions
    activation     phi
    **program      gamma0, init_variance, learning_rate and steps of `Program`

    Matrices are "C1.0", "C1.1", ... of layer and offset; site parameters "embedding" and
    "readout". With a kernel of one and one position it is a `Nonlinear`.

    Raises ValueError, naming the argument, for anything else.

    >>> inputs = np.array([[[1.0], [0.0], [0.0]], [[0.0], [1.0], [1.0]]])
    >>> net = Convolutional(inputs=inputs, targets=[1.0, -1.0], hidden_layers=2, learning_rate=0.1, steps=5)
    >>> [name for name, _ in net.matrices]
    ['C1.0', 'C1.1', 'C1.2']
    """
    inputs = _sequences("inputs", inputs)
    P, positions, D = inputs.shape
    forward = _Convolutional(
        _checks.integer("hidden_layers", hidden_layers, 2),
        _checks.integer("kernel", kernel, 1, positions),
        find_activation(activation),
    )
    targets = as_targets(targets, P)
    sites = dict(embedding=(D,), readout=targets.shape[1:])
    matrices = []
    for l in range(1, forward.layers):
        matrices += [f"C{l}.{offset}" for offset in range(forward.kernel)]
    return _program(forward, matrices, sites, inputs, targets, program)


@dataclasses.dataclass(frozen=True)
class _Convolutional:
    layers: int
    kernel: int
    activation: Activation

    def __call__(self, ask, sites, x):
        h = jnp.einsum("nd,pad->npa", sites["embedding"], x) / math.sqrt(x.shape[-1])
        for l in range(1, self.layers):
            features = self.activation(h)
            h = 0.0
            for offset in range(self.kernel):
                there = jnp.roll(features, self.kernel // 2 - offset, axis=2)
                h = h + ask(f"C{l}.{offset}", there)
            h = h / math.sqrt(self.kernel)
        features = self.activation(h).mean(2)
        return features.T @ sites["readout"] / len(features)


def _sequences(name: str, value) -> jax.Array:
    return _checks.array(name, value, (None, None, None))


def _mask(mask, P: int, S: int) -> tuple | None:
    """Rows of truth values, or None."""
    if mask is None:
        return None
    given = np.asarray(mask)
    if given.shape != (P, S) or given.dtype != bool or not given.any(1).all():
        need = f"truth values ({P}, {S}), one of every row True, or None"
        _checks.fail("mask", _checks.shown(mask), need)
    return tuple(map(tuple, given.tolist()))


def _program(forward, matrices: list, sites: dict, inputs, targets, others) -> Program:
    """Of one space."""
    return Program(
        forward,
        matrices=dict.fromkeys(matrices, ("hidden", "hidden")),
        sites=sites,
        inputs=inputs,
        targets=targets,
        **others,
    )
