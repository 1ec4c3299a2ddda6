"""A network written as a function, taken apart: its questions to hidden matrices, and
the equations between them.

`forward(ask, sites, x)` is traced once, with `ask` as a primitive of JAX. Nested `jit`
are inlined where they ask. What is left is a list of parts in causal order, from which
reverse mode is the same list backwards: the derivative of an answer is a question to
the transposed matrix.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import (
    ClosedJaxpr,
    Literal,
    Primitive,
    Var,
    jaxpr_as_fun,
    jaxprs_in_params,
    subjaxprs,
)
from jax.interpreters import ad, batching, mlir

from . import _checks
from ._compile import compiled

_CALLS = ("jit", "pjit", "closed_call")  # what is inlined
_question = Primitive("ask")
_noted = Primitive("note")


class Equations(NamedTuple):
    """What is computed between two questions."""

    function: Callable  # of the inputs, to a list of the outputs
    inputs: tuple[Var, ...]
    outputs: tuple[Var, ...]


class Question(NamedTuple):
    """The answer of a matrix to vectors."""

    matrix: str
    asked: Var
    answer: Var
    vectors: int  # how many are asked together


class FirstUse(NamedTuple):
    """Where a site parameter is read for the first time, and what is alive there: what
    equations and answers have made, and what comes next still reads.
    """

    site: str
    variable: Var
    alive: tuple[Var, ...]


class Compiled(NamedTuple):
    """Equations as compiled functions.

    made     of the inputs, to a list of the outputs
    pulled   (inputs, cotangents of the outputs, None for zero) -> cotangents of the
             inputs, None of those that are no real numbers
    """

    made: Callable
    pulled: Callable


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """A network in parts, in causal order."""

    parts: tuple
    x: Var
    output: Var
    notes: dict  # name -> variable, or the number itself
    constants: dict  # variable -> value

    def numbers(self, values: dict) -> dict:
        """What was noted, given the values of all variables."""
        return {
            name: noted.val if isinstance(noted, Literal) else values[noted]
            for name, noted in self.notes.items()
        }

    def compiled(self, part: Equations) -> Compiled:
        """Of one of the parts; compiled once."""
        return self._compiled[part.outputs]

    @functools.cached_property
    def _compiled(self) -> dict:
        found = {}
        for part in self.parts:
            if isinstance(part, Equations):
                made = compiled(part.function)
                pulled = compiled(functools.partial(_pulled, part))
                found[part.outputs] = Compiled(made, pulled)
        return found


def _pulled(part: Equations, inputs: list, cotangents: list) -> list:
    moving = [variable for variable in part.inputs if _is_real(variable)]
    given = dict(zip(part.inputs, inputs, strict=True))

    def made(*moved):
        values = given | dict(zip(moving, moved, strict=True))
        outputs = part.function(*values.values())
        named = zip(part.outputs, outputs, strict=True)
        return [value for variable, value in named if _is_real(variable)]

    values, pull = jax.vjp(made, *(given[variable] for variable in moving))
    named = zip(part.outputs, cotangents, strict=True)
    above = [cotangent for variable, cotangent in named if _is_real(variable)]
    filled = [
        jnp.zeros_like(value) if cotangent is None else cotangent
        for value, cotangent in zip(values, above, strict=True)
    ]
    below = dict(zip(moving, pull(filled), strict=True))
    return [below.get(variable) for variable in part.inputs]


def _is_real(variable: Var) -> bool:
    aval = variable.aval
    return isinstance(aval, ShapedArray) and jnp.issubdtype(aval.dtype, jnp.floating)


class Ask:
    """The `ask` that `forward` is given: it checks what is asked.

    matrices   name -> (space of the answers, space of the questions)
    populations   space -> number of sites
    answer     (name, h, number of sites of the answer) -> answer
    """

    def __init__(self, matrices: dict, populations: dict, answer: Callable):
        self.matrices = matrices
        self.populations = populations
        self.answer = answer

    def __call__(self, name, h):
        if name not in self.matrices:
            need = "a matrix of `matrices`: " + ", ".join(map(repr, self.matrices))
            _checks.fail("forward", f"a question to {_checks.shown(name)}", need)
        to, origin = self.matrices[name]
        h = jnp.asarray(h)
        sites = self.populations[origin]
        if not h.ndim or h.shape[0] != sites or not jnp.issubdtype(h.dtype, float):
            got = f"ask({name!r}, h) with h of shape {h.shape} and type {h.dtype}"
            need = f"real vectors, their first axis the {sites} sites of {origin!r}"
            _checks.fail("forward", got, need)
        return self.answer(name, h, self.populations[to])


def asked(name: str, h, sites: int):
    """The question as a primitive, which has no rule but its shape."""
    return _question.bind(h, name=name, sites=sites)


@_question.def_abstract_eval
def _shape(h, *, name, sites):
    return ShapedArray((sites, *h.shape[1:]), h.dtype)


def _batched(arguments, axes, *, name, sites):
    """Under vmap the vectors are asked together, the new axis the last."""
    h = jnp.moveaxis(arguments[0], axes[0], -1)
    return asked(name, h, sites), h.ndim - 1


batching.primitive_batchers[_question] = _batched


def note(name: str, x):
    """x, unchanged, and on record under this name: `numbers[name]` of the solution of a
    `Program`, and of its simulation, has it at every step.

    To be called in the `forward` of a program, once for each name, with numbers such as
    attention weights, which have no axis of sites. Under `jax.vmap` the mapped axes come
    first. A function under `jax.jit` is traced once and notes the same name at each call.
    Raises ValueError for anything but real numbers under a name.

    >>> from dmftlib import Program, note, solve
    >>> def forward(ask, sites, x):
    ...     h = ask("W", jnp.tanh(sites["U"] @ x.T))
    ...     note("size", jnp.mean(h**2, 0))
    ...     return jnp.mean(sites["w"][:, None] * jnp.tanh(h), 0)
    >>> net = Program(forward, matrices={"W": ("hidden", "hidden")}, sites={"U": (2,), "w": ()},
    ...               inputs=[[1.0, 0.0], [0.5, 1.0]], targets=[1.0, -1.0], learning_rate=0.5, steps=4)
    >>> solve(net).numbers["size"].shape
    (5, 2)
    """
    if not isinstance(name, str):
        _checks.fail("note", _checks.shown(name), "a name as text, and then the number")
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        _checks.fail("note", f"{name!r} of type {x.dtype}", "real numbers")
    return _noted.bind(x, name=name)


def _unchanged(context, x, *, name):
    return [x]


def _noted_under_vmap(arguments, axes, *, name):
    first = jnp.moveaxis(arguments[0], axes[0], 0)
    return _noted.bind(first, name=name), 0


_noted.def_impl(lambda x, *, name: x)
_noted.def_abstract_eval(lambda x, *, name: x)
mlir.register_lowering(_noted, _unchanged)
ad.deflinear2(_noted, lambda cotangent, x, *, name: [cotangent])
batching.primitive_batchers[_noted] = _noted_under_vmap


class Noted(NamedTuple):
    """What a function returns, and what it noted, by name."""

    returned: Any
    notes: dict


def with_notes(function: Callable) -> Callable:
    """The function, which returns a `Noted`."""

    def run(*arguments) -> Noted:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        inlined = _Inlined(closed)
        flat = inlined(*jax.tree.leaves(arguments))
        returned = jax.tree.unflatten(jax.tree.structure(shape), flat)
        return Noted(returned, inlined.notes)

    return run


def trace(forward: Callable, ask: Ask, sites: dict, x) -> Trace:
    """The parts of forward(ask, sites, x), given the shapes of `sites` and `x`.

    Raises ValueError where it asks inside of a loop or a branch, or takes derivatives
    of an answer.
    """

    def run(sites, x):
        return forward(ask, sites, x)

    try:
        flat, noted = jax.make_jaxpr(with_notes(run), return_shape=True)(sites, x)
    except NotImplementedError as error:
        if "'ask'" not in str(error):
            raise
        got = "a derivative of an answer, or a transformation that `ask` has not"
        _checks.fail("forward", got, "questions alone: the library does reverse mode")
    jaxpr = flat.jaxpr
    *variables, x_variable = jaxpr.invars
    names = dict(zip(variables, sorted(sites), strict=True))
    constants = dict(zip(jaxpr.constvars, flat.consts, strict=True))
    parts = _Parts(_deferred(jaxpr, names), names).found
    output, *others = jaxpr.outvars
    notes = dict(zip(sorted(noted.notes), others, strict=True))
    return Trace(tuple(parts), x_variable, output, notes, constants)


class _Inlined:
    """What a program computes, with the calls opened that hold a question or a note, and
    what was noted.
    """

    def __init__(self, closed: ClosedJaxpr, notes: dict | None = None):
        self.jaxpr = closed.jaxpr
        self.consts = closed.consts
        self.notes = {} if notes is None else notes

    def __call__(self, *arguments):
        values = dict(zip(self.jaxpr.constvars, self.consts, strict=True))
        values |= zip(self.jaxpr.invars, arguments, strict=True)

        def read(atom):
            return atom.val if isinstance(atom, Literal) else values[atom]

        for equation in self.jaxpr.eqns:
            inputs = map(read, equation.invars)
            results = self._done(equation, *inputs)
            values |= zip(equation.outvars, results, strict=True)
        return [read(atom) for atom in self.jaxpr.outvars]

    def _done(self, equation, *inputs):
        if equation.primitive is _question:
            return [_question.bind(*inputs, **equation.params)]
        if equation.primitive is _noted:
            return [self._on_record(*inputs, **equation.params)]
        for inner in (_question, _noted):
            held = functools.partial(_holds, inner)
            if any(map(held, jaxprs_in_params(equation.params))):
                return self._opened(equation, inner, *inputs)
        params = equation.primitive.get_bind_params(equation.params)
        results = equation.primitive.bind(*inputs, **params)
        return results if equation.primitive.multiple_results else [results]

    def _opened(self, equation, inner: Primitive, *inputs):
        name = equation.primitive.name
        if name not in _CALLS:
            what = "a question" if inner is _question else "a note"
            need = "questions and notes outside of loops and branches: unroll it"
            _checks.fail("forward", f"{what} inside of `{name}`", need)
        return _Inlined(equation.params["jaxpr"], self.notes)(*inputs)

    def _on_record(self, x, name):
        if name in self.notes:
            need = "one number under each name, also in a `jit` that is called twice"
            _checks.fail("forward", f"note({name!r}, ...) a second time", need)
        self.notes[name] = x
        return x


def _holds(primitive: Primitive, jaxpr) -> bool:
    """Whether there is one in it, however deep."""
    if any(equation.primitive is primitive for equation in jaxpr.eqns):
        return True
    return any(_holds(primitive, inner) for inner in subjaxprs(jaxpr))


def _function(jaxpr, inputs, outputs) -> Callable:
    """The equations as a function between these variables."""
    names = jaxpr.debug_info.with_unknown_names()
    part = jaxpr.replace(
        constvars=(), invars=list(inputs), outvars=list(outputs), debug_info=names
    )
    return jaxpr_as_fun(ClosedJaxpr(part, ()))


def _deferred(jaxpr, sites):
    """The same program, in which what is made of these variables alone is made where
    something else meets it: site parameters are then read as late as can be.
    """
    waiting = dict.fromkeys(sites)  # variable -> what makes it
    order = []

    def wanted(variable):
        equation = waiting.pop(variable, None)
        if equation is not None:
            take(equation)

    def take(equation):
        for made in equation.outvars:
            waiting.pop(made, None)
        for read in _variables(equation.invars):
            wanted(read)
        order.append(equation)

    for equation in jaxpr.eqns:
        read = _variables(equation.invars)
        alone = all(variable in waiting for variable in read)
        if read and alone and equation.primitive is not _question:
            waiting |= dict.fromkeys(equation.outvars, equation)
        else:
            take(equation)
    for variable in _variables(jaxpr.outvars):
        wanted(variable)
    return jaxpr.replace(eqns=order)


class _Parts:
    """The list of parts, made in one pass through the equations of a flat program."""

    def __init__(self, jaxpr, names: dict):
        self.jaxpr = jaxpr
        self.unread = dict(names)  # site parameters, by variable
        self.last_use = {}
        for i, equation in enumerate(jaxpr.eqns):
            self.last_use |= dict.fromkeys(_variables(equation.invars), i)
        self.last_use |= dict.fromkeys(_variables(jaxpr.outvars), len(jaxpr.eqns))
        self.known = {}  # what has been made so far, in order
        self.group = []
        self.found = []
        for i, equation in enumerate(jaxpr.eqns):
            self._add(i, equation)
        self._close(len(jaxpr.eqns))

    def _add(self, i, equation):
        read = _variables(equation.invars)
        first = [variable for variable in read if variable in self.unread]
        question = equation.primitive is _question
        if first or question:
            self._close(i)
        for variable in first:
            alive = tuple(each for each in self.known if self.last_use[each] >= i)
            self.found.append(FirstUse(self.unread.pop(variable), variable, alive))
            self.known[variable] = None
        if question:
            (h,) = read
            (answer,) = equation.outvars
            _, *others = equation.invars[0].aval.shape
            name = equation.params["name"]
            self.found.append(Question(name, h, answer, math.prod(others)))
            self._make([answer])
        else:
            self.group.append(equation)

    def _close(self, now):
        """End the group of equations before equation number `now`."""
        if not self.group:
            return
        read = [v for each in self.group for v in _variables(each.invars)]
        made = [v for each in self.group for v in each.outvars]
        inputs = tuple(v for v in dict.fromkeys(read) if v not in set(made))
        outputs = tuple(v for v in made if self.last_use.get(v, -1) >= now)
        part = self.jaxpr.replace(eqns=self.group)
        self.found.append(Equations(_function(part, inputs, outputs), inputs, outputs))
        self._make(outputs)
        self.group = []

    def _make(self, variables):
        self.known |= dict.fromkeys(v for v in variables if v in self.last_use)


def _variables(atoms) -> list[Var]:
    return [atom for atom in atoms if not isinstance(atom, Literal)]
