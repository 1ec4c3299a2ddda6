"""Networks that a user writes: a frozen description, refused where it is none."""

import functools
from collections.abc import Callable, Hashable, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from . import _checks
from ._types import Layer
from .tracing import Ask, FirstUse, Noted, Question, Trace, asked, trace, with_notes

_FEW = 5  # sites of the first space where a program is looked at
_SAME = 1e-8  # relative difference of outputs that are the same


class Program(eqx.Module):
    """Any network that can be written, of width N -> infinity, on given data.

        f = forward(ask, sites, x) / gamma0

    `forward` is plain JAX. Its vectors have a first axis of N sites (neurons):
    sites[name] (N, ...) are the site parameters, and ask(name, h), (N, ...) -> (N, ...),
    is W h / sqrt(N) with the hidden matrix of that name, for each of the vectors that h
    holds. All else acts site by site or takes means over sites; the output (P,) or (P,
    K) is such a mean. `x` are all inputs. A matrix may be asked more than once, in loops
    of Python; not inside of `lax.scan` or `cond`.

    Every entry of every W starts as N(0, init_variance), every site parameter as N(0,
    1). What is descended is half the squared residual, summed over outputs and averaged
    over samples; the raw learning rate is learning_rate gamma0^2 N, for W and for site
    parameters.

    forward          a function (ask, sites, x) -> (P,) or (P, K)
    matrices         name -> (space of the answers, space of the questions). Spaces,
                     any words, are populations of sites, all of one width
    sites            name -> shape without the axis of sites; where there are several
                     spaces, the name of its space comes first: ("hidden", D)
    inputs           (P, ...)
    targets          (P,) or (P, K); kept as (P, K)
    gamma0           output scale: gamma0 -> 0 is lazy
    init_variance    of the hidden matrices; or a mapping by the names of matrices and
                     sites, those left out 1
    learning_rate    in units in which the training does not depend on N: a number, or
                     one for each step, (steps,), which may be zero
    steps            number of updates

    `note` puts numbers of it on record; `Transformer`, `Recurrent` and `Convolutional`
    are written already.

    Raises ValueError, naming the argument, for anything else, and for a `forward` that
    asks what is not declared or inside of a loop, leaves something declared unused, or
    gives other outputs where every site is there twice, in another order.

    >>> def forward(ask, sites, x):
    ...     h = ask("W", jnp.tanh(sites["U"] @ x.T))
    ...     return jnp.mean(sites["w"][:, None] * jnp.tanh(h), 0)
    >>> net = Program(forward, matrices={"W": ("hidden", "hidden")}, sites={"U": (2,), "w": ()},
    ...               inputs=[[1.0, 0.0], [0.5, 1.0]], targets=[1.0, -1.0], learning_rate=0.1, steps=5)
    >>> net.layer("W"), net.spaces, net.variance("W")
    ('W', ('hidden',), 1.0)
    """

    forward: Callable = eqx.field(static=True)
    matrices: tuple = eqx.field(static=True)  # (name, (to, from))
    sites: tuple = eqx.field(static=True)  # (name, (space, shape))
    inputs: jax.Array
    targets: jax.Array
    gamma0: float
    init_variance: float | dict
    learning_rate: float | jax.Array
    steps: int = eqx.field(static=True)

    def __init__(
        self,
        forward,
        *,
        matrices,
        sites,
        inputs,
        targets,
        gamma0=1.0,
        init_variance=1.0,
        learning_rate,
        steps,
    ):
        if not callable(forward) or not isinstance(forward, Hashable):
            need = "a function (ask, sites, x)"
            _checks.fail("forward", _checks.shown(forward), need)
        self.forward = forward
        self.matrices = _matrices(matrices)
        self.sites = _sites(sites, self.spaces)
        self.inputs = _inputs(inputs)
        self.targets = as_targets(targets, len(self.inputs))
        self.gamma0 = _checks.positive("gamma0", gamma0)
        names = [name for name, _ in self.matrices + self.sites]
        self.init_variance = _variances(init_variance, names)
        self.steps = _checks.integer("steps", steps, 0)
        self.learning_rate = _checks.schedule(
            "learning_rate", learning_rate, self.steps
        )
        if len(set(names)) < len(names):
            need = "a name of its own for every matrix and site parameter"
            _checks.fail("sites", ", ".join(dict(self.sites)), need)
        _look_at(self)

    @property
    def spaces(self) -> tuple[str, ...]:
        """The names of the populations of sites, as the matrices name them."""
        return tuple(
            dict.fromkeys(space for _, ends in self.matrices for space in ends)
        )

    def layer(self, layer: Layer) -> Layer:
        """The name of a matrix, if there is such a one."""
        return _checks.choice("layer", layer, tuple(dict(self.matrices)))

    def variance(self, name: str):
        """Of the entries of a matrix or a site parameter before training."""
        if isinstance(self.init_variance, dict):
            return self.init_variance.get(name, 1.0)
        return self.init_variance if name in dict(self.matrices) else 1.0

    def trace(self, populations: dict) -> Trace:
        """Its parts where the spaces have so many sites."""
        sizes = tuple(populations.items())
        return _traced(
            self.forward, self.matrices, self.sites, self.inputs.shape, sizes
        )


@functools.lru_cache(maxsize=64)
def _traced(forward, matrices, sites, x_shape, populations) -> Trace:
    """Kept, since compiled programs are those of one and the same trace."""
    populations = dict(populations)
    ask = Ask(dict(matrices), populations, asked)
    shapes = {
        name: jax.ShapeDtypeStruct((populations[space], *shape), float)
        for name, (space, shape) in sites
    }
    x = jax.ShapeDtypeStruct(x_shape, float)
    return trace(forward, ask, shapes, x)


def _mapping(name, value, need) -> dict:
    if not isinstance(value, Mapping) or not value:
        _checks.fail(name, _checks.shown(value), need)
    if not all(isinstance(each, str) for each in value):
        _checks.fail(name, _checks.shown(value), f"{need}, its names as text")
    return dict(value)


def _matrices(value) -> tuple:
    need = "a mapping from names to pairs (space of answers, space of questions)"
    given = _mapping("matrices", value, need)
    for name, ends in given.items():
        pair = isinstance(ends, tuple | list) and len(ends) == 2
        if not pair or not all(isinstance(space, str) for space in ends):
            _checks.fail("matrices", f"{name!r}: {_checks.shown(ends)}", need)
    return tuple((name, tuple(ends)) for name, ends in given.items())


def _sites(value, spaces) -> tuple:
    need = "a mapping from names to shapes without the axis of sites"
    given = _mapping("sites", value, need)
    return tuple((name, _site(name, shape, spaces)) for name, shape in given.items())


def _site(name, shape, spaces) -> tuple:
    """The space of a site parameter, and its shape there."""
    got = f"{name!r}: {_checks.shown(shape)}"
    if not isinstance(shape, tuple | list):
        _checks.fail("sites", got, "a tuple, () for one number a site")
    space, *lengths = shape if shape and isinstance(shape[0], str) else (None, *shape)
    if space is None and len(spaces) == 1:
        space = spaces[0]
    if space not in spaces:
        words = ", ".join(map(repr, spaces))
        _checks.fail("sites", got, f"its space in the first place, one of {words}")
    return space, tuple(_checks.integer(f"sites[{name!r}]", n, 1) for n in lengths)


def _inputs(value):
    """(P, ...), at least one."""
    axes = max(1, _axes(value))
    inputs = _checks.array("inputs", value, (None,) * axes)
    _checks.integer("samples (rows of inputs)", len(inputs), 1)
    return inputs


def as_targets(value, samples):
    """(P, K)"""
    if _axes(value) == 1:
        return _checks.array("targets", value, (samples,))[:, None]
    targets = _checks.array("targets", value, (samples, None))
    _checks.integer("columns of targets", targets.shape[1], 1)
    return targets


def _axes(value) -> int:
    try:
        return np.ndim(value)
    except ValueError:  # ragged
        return 1


def _variances(value, names):
    if not isinstance(value, Mapping):
        return _checks.positive("init_variance", value)
    for name in value:
        if name not in names:
            need = "names of matrices and sites: " + ", ".join(map(repr, names))
            _checks.fail("init_variance", _checks.shown(name), need)
    return {
        name: _checks.positive(f"init_variance[{name!r}]", each)
        for name, each in value.items()
    }


def _look_at(net: Program):
    """Refuse a function that is no program."""
    populations = {space: _FEW + i for i, space in enumerate(net.spaces)}
    found = _tried(lambda: net.trace(populations))
    outputs = _tried(lambda: _twice(net, populations))
    samples, K = net.targets.shape
    allowed = [(samples, K), (samples,)] if K == 1 else [(samples, K)]
    once, twice = outputs
    shape = np.shape(once.returned)
    if shape not in allowed:
        need = f"outputs of shape {' or '.join(map(str, allowed))}, as the targets"
        _checks.fail("forward", f"outputs of shape {shape}", need)
    _refuse_changed("outputs", once.returned, twice.returned)
    for name, number in once.notes.items():
        _refuse_changed(f"note({name!r}, ...)", number, twice.notes[name])
    _refuse_unused(net, found)


def _refuse_changed(what: str, once, twice):
    """Numbers that are not finite, or others where every site is there twice."""
    if np.shape(once) != np.shape(twice):
        got = f"{what} of shape {np.shape(once)}, with an axis of sites"
        _checks.fail("forward", got, "means over sites")
    once, twice = np.asarray(once), np.asarray(twice)
    if not np.isfinite(once).all():
        _checks.fail("forward", f"{what} that are not finite", "finite real numbers")
    apart = np.abs(twice - once).max(initial=0.0)
    if not apart <= _SAME * (1 + np.abs(once).max(initial=0.0)):
        got = (
            f"{what} that change by {apart:.2g} where every site is there twice, in "
            "another order"
        )
        need = "functions site by site, `ask`, and means over sites: no sums, no powers of N"
        _checks.fail("forward", got, f"{need}, nothing that mixes sites")


def _tried(call):
    """What a call of `forward` returns; its errors in the words of this library."""
    try:
        return call()
    except Exception as error:
        if str(error).startswith("forward: got"):
            raise
        got = f"{type(error).__name__}: {_checks.shown(str(error))}"
        need = (
            "a function (ask, sites, x) that runs at any number of sites in each space"
        )
        raise ValueError(f"forward: got {got}; needed: {need}") from error


def _twice(net: Program, populations: dict) -> tuple:
    """The outputs of a few sites, and those where each is there twice, in another
    order.
    """
    rng = np.random.default_rng(0)
    matrices = dict(net.matrices)
    W = {
        name: rng.normal(size=[populations[space] for space in ends])
        for name, ends in net.matrices
    }
    sites = {
        name: rng.normal(size=(populations[space], *shape))
        for name, (space, shape) in net.sites
    }
    outputs = [_dense(net, populations, W, sites)]
    copies = {
        space: rng.permutation(2 * number) % number
        for space, number in populations.items()
    }
    for name, (to, origin) in matrices.items():
        W[name] = W[name][copies[to]][:, copies[origin]]
    for name, (space, _) in net.sites:
        sites[name] = sites[name][copies[space]]
    double = {space: 2 * number for space, number in populations.items()}
    outputs.append(_dense(net, double, W, sites))
    return tuple(outputs)


def _dense(net: Program, populations, W, sites) -> Noted:
    """The outputs of these matrices, whose answers are means."""

    def answer(name, h, _):
        return jnp.tensordot(W[name], h, 1) / len(h)

    ask = Ask(dict(net.matrices), populations, answer)
    given = {name: jnp.asarray(each) for name, each in sites.items()}
    return with_notes(functools.partial(net.forward, ask))(given, net.inputs)


def _refuse_unused(net: Program, found: Trace):
    questions = {part.matrix for part in found.parts if isinstance(part, Question)}
    read = {part.site for part in found.parts if isinstance(part, FirstUse)}
    for argument, used in (("matrices", questions), ("sites", read)):
        idle = [name for name, _ in getattr(net, argument) if name not in used]
        if idle:
            got = ", ".join(map(repr, idle)) + ", which forward does not use"
            _checks.fail(argument, got, "names that it uses")
