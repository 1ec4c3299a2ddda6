"""Losses of a nonlinear network, by name or as a function: what one sample with outputs
f (K,) and target y (K,) costs, and what training sees of it.

                    loss                            Delta = -d loss/d f   H = d^2 loss/d f^2
    squared         |y - f|^2 / 2                   y - f                 1
    cross-entropy   -sum_k y_k log p_k              y - p                 diag(p) - p p^T
    logistic        sum_k log(1 + exp(-y_k f_k))    y q                   diag(q (1 - q))
    a function l    l(f, y)                         -dl/df                d^2 l/df^2

with p = softmax(f) and q_k = 1/(1 + exp(y_k f_k)). Training descends along Delta, and
nothing else of the loss enters it. The squared loss is reported without the half.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from . import _checks
from .fingerprint import Named

_TIED = 1e-9  # outputs closer than that are equal


@dataclasses.dataclass(frozen=True, eq=False)
class Loss(Named):
    """A loss of one sample. Its functions take outputs and targets (..., K).

    name       of those that have one here, or the function's
    value      (...,): what is reported
    residual   (..., K): Delta, what training descends along
    hessian    (..., K, K): of what is descended, in the outputs
    source     the function of a user's, from which they were made; None for those that
               have a name here

    Two are equal, in any process, if they have the same name here or were made from
    functions of the same name and code.
    """

    name: str
    value: Callable
    residual: Callable
    hessian: Callable
    source: Callable | None = None

    def correct(self, f, y):
        """The share of right answers of each sample, (...,): whether the largest output
        is the largest target; of the logistic loss, and where there is one output, the
        share of outputs with the sign of their target. A tie shares the answer.
        """
        if self is Logistic or y.shape[-1] == 1:
            agreement = f * y
            tied = jnp.abs(agreement) <= _TIED
            right = jnp.where(agreement > 0, 1.0, 0.0)
            return jnp.where(tied, 0.5, right).mean(-1)
        first = f >= f.max(-1, keepdims=True) - _TIED
        wanted = y >= y.max(-1, keepdims=True)
        return (first & wanted).sum(-1) / first.sum(-1)

    def targets(self, name: str, value, rows: int, outputs: int | None = None):
        """Targets as (rows, K), one column for a plain vector, one-hot for classes.

        Raises ValueError, with `name` of the argument, for other shapes, and for what
        are no targets of this loss.
        """
        if self is CrossEntropy and _is_vector(value):
            return _one_hot(name, value, rows, outputs)
        columns = _columns(name, value, rows, outputs)
        if self is CrossEntropy:
            _check_shares(name, columns)
        if self is Logistic:
            _check_signs(name, columns)
        if self.source is not None:
            _check_function(self, columns)
        return columns

    def __reduce__(self):
        return loss, (self.name if self.source is None else self.source,)


def _squared(f, y):
    return jnp.sum((y - f) ** 2, -1)


def _squared_residual(f, y):
    return y - f


def _identity(f, y):
    K = f.shape[-1]
    return jnp.broadcast_to(jnp.eye(K, dtype=f.dtype), (*f.shape, K))


def _cross_entropy(f, y):
    return -jnp.sum(y * jax.nn.log_softmax(f), -1)


def _cross_entropy_residual(f, y):
    return y - jax.nn.softmax(f)


def _cross_entropy_hessian(f, y):
    p = jax.nn.softmax(f)
    return _diagonal(p) - p[..., :, None] * p[..., None, :]


def _logistic(f, y):
    return jnp.sum(jax.nn.softplus(-y * f), -1)


def _logistic_residual(f, y):
    q = jax.nn.sigmoid(-y * f)
    return y * q


def _logistic_hessian(f, y):
    q = jax.nn.sigmoid(-y * f)
    return _diagonal(q * (1 - q))


def _diagonal(values):
    identity = jnp.eye(values.shape[-1], dtype=values.dtype)
    return values[..., None] * identity


Squared = Loss("squared", _squared, _squared_residual, _identity)
CrossEntropy = Loss(
    "cross-entropy",
    _cross_entropy,
    _cross_entropy_residual,
    _cross_entropy_hessian,
)
Logistic = Loss("logistic", _logistic, _logistic_residual, _logistic_hessian)

_NAMED = {known.name: known for known in (Squared, CrossEntropy, Logistic)}
_NEED = (
    f"one of {', '.join(map(repr, _NAMED))}, or a function of outputs (K,) and targets "
    "(K,) to a number, twice differentiable"
)


def loss(spec) -> Loss:
    """The loss of that name, or made from a function (f (K,), y (K,)) -> number, of
    which autodiff then takes Delta and the Hessian.

    Raises ValueError for anything else.

    >>> import jax.numpy as jnp
    >>> f, y = jnp.array([0.0, 0.0]), jnp.array([1.0, 0.0])
    >>> print(loss("cross-entropy").residual(f, y), loss(lambda f, y: jnp.sum((f - y) ** 4)).residual(f, y))
    [ 0.5 -0.5] [ 4. -0.]
    """
    if isinstance(spec, Loss):
        return spec
    if isinstance(spec, str) and spec in _NAMED:
        return _NAMED[spec]
    if not callable(spec):
        _checks.fail("loss", _checks.shown(spec), _NEED)
    slope = jax.grad(spec)

    def residual(f, y):
        return -slope(f, y)

    return Loss(
        getattr(spec, "__name__", "custom"),
        jnp.vectorize(spec, signature="(k),(k)->()"),
        jnp.vectorize(residual, signature="(k),(k)->(k)"),
        jnp.vectorize(jax.hessian(spec), signature="(k),(k)->(k,k)"),
        spec,
    )


def _is_vector(targets) -> bool:
    try:
        return np.ndim(targets) < 2
    except ValueError:  # a ragged sequence
        return False


def _columns(name, targets, rows, outputs):
    """Targets as (rows, K), one column for a plain vector."""
    if _is_vector(targets):
        values = _checks.array(name, targets, (rows,))[:, None]
    else:
        values = _checks.array(name, targets, (rows, outputs))
    _checks.integer(f"columns of {name}", values.shape[1], 1)
    if outputs not in (None, values.shape[1]):
        _checks.fail(name, f"shape {values.shape}", f"shape ({rows}, {outputs})")
    return values


def _one_hot(name, classes, rows, outputs):
    """Whole numbers from 0 as rows of one 1; K is the largest + 1."""
    need = "classes as whole numbers from 0, or one-hot as (samples, K)"
    if not _checks.is_concrete(classes):
        _checks.fail(name, "traced classes", "one-hot ones, (samples, K), under jit")
    _checks.array(name, classes, (rows,))
    classes = np.asarray(classes, float)
    wrong = classes[(classes != np.round(classes)) | (classes < 0)]
    if len(wrong):
        _checks.fail(name, f"{wrong[0]:g}", need)
    largest = int(classes.max(initial=0))
    if outputs is None:
        outputs = largest + 1
        _checks.memory(name, f"class {largest}", 64.0 * rows * outputs, need)
        if outputs == 1:
            _checks.fail(name, "class 0 only", "at least two classes")
    if largest >= outputs:
        _checks.fail(name, f"class {largest}", f"classes 0 to {outputs - 1}")
    return jnp.asarray(np.eye(outputs)[classes.astype(int)], float)


def _check_shares(name, targets):
    """Refuse what is no distribution over at least two classes."""
    need = "rows that are one-hot, or shares of classes that add up to 1"
    if targets.shape[1] == 1:
        _checks.fail(name, "one column", f"{need}, of at least two classes")
    if not _checks.is_concrete(targets):
        return
    values = np.asarray(targets)
    if values.min(initial=0.0) < 0:
        _checks.fail(name, f"an entry of {values.min():g}", need)
    sums = values.sum(1)
    wrong = sums[np.abs(sums - 1) > 1e-6]
    if len(wrong):
        _checks.fail(name, f"a row that adds up to {wrong[0]:g}", need)


def _check_signs(name, targets):
    """Refuse what is neither -1 nor 1."""
    if not _checks.is_concrete(targets):
        return
    values = np.asarray(targets)
    wrong = values[np.abs(values) != 1]
    if len(wrong):
        _checks.fail(name, f"an entry of {wrong[0]:g}", "-1 and 1 for this loss")


def _check_function(loss, targets):
    """Refuse a function that is no number of a sample, or has no finite slope where
    training starts.
    """
    sample = jax.ShapeDtypeStruct((targets.shape[1],), targets.dtype)
    try:
        value = jax.eval_shape(loss.source, sample, sample)
        shape = value.shape
        if shape == ():
            jax.eval_shape(jax.hessian(loss.source), sample, sample)
    except Exception as error:  # whatever a function of the user's may raise
        first, _, _ = str(error).partition("\n")
        got = f"a function that fails on outputs {sample.shape} ({first})"
        _checks.fail("loss", got, _NEED)
    if shape != ():
        got = f"a function from outputs {sample.shape} to an array of shape {shape}"
        _checks.fail("loss", got, _NEED)
    if not _checks.is_concrete(targets):
        return
    with jax.ensure_compile_time_eval():  # numbers, under jit too
        start = jnp.zeros_like(targets)
        found = [of(start, targets) for of in (loss.value, loss.residual, loss.hessian)]
    if not all(np.isfinite(each).all() for each in found):
        got = "a function that is infinite or undefined, or whose slopes are, where all outputs are 0"
        _checks.fail("loss", got, _NEED)
