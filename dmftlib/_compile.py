"""How the library's own functions are compiled: the one place for XLA's options, and
for the bound on what compiled programs keep.

XLA's CPU backend runs the parts of a program on a pool of as many threads as there are
processors. With the schedule that it prefers, several linear-algebra calls of one
program run at once, and each may wait for threads that the others hold (`linalg`, which
ends that). The schedule chosen here runs fewer of them at once, at the same speed. And
what is fused is written by XLA's older emitters, at the same speed of the program, which
is compiled in three quarters of the time. The options belong to the compiled program
and not to the process.
"""

import functools
import gc
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, overload

import jax
import jax.extend
import jax.monitoring

MOST_MAPPINGS = 30_000  # Linux allows a process 65,530; beyond, compilers abort
_LOOK_EVERY = 20  # new programs between two looks at the mappings
_OPTIONS = {
    "xla_cpu_enable_concurrency_optimized_scheduler": False,
    "xla_cpu_use_fusion_emitters": False,
}
_MAPPINGS = Path("/proc/self/maps")
_COMPILED = "/jax/core/compile/backend_compile_duration"

Function = TypeVar("Function", bound=Callable[..., Any])

with jax.ensure_compile_time_eval():
    _OUTERMOST = jax.extend.core.get_opaque_trace_state()


@overload
def compiled(function: Function, *, jit: Callable = ..., **arguments) -> Function: ...


@overload
def compiled(*, jit: Callable = ..., **arguments) -> Callable[[Function], Function]: ...


def compiled(function=None, *, jit=jax.jit, **arguments) -> Any:
    """`jax.jit` with the library's options, to be used in its place.

        @compiled
        @compiled(static_argnames="steps")
        @compiled(jit=eqx.filter_jit)

    Inside another transformation (`jit`, `grad`, `vmap`) it is the plain `jit`: JAX
    takes options for the outermost program alone.
    """
    if function is None:
        return functools.partial(compiled, jit=jit, **arguments)
    inner = jit(function, **arguments)

    @functools.cache
    def outer():
        return jit(function, compiler_options=compiler_options(), **arguments)

    @functools.wraps(function)
    def call(*args, **kwargs):
        if jax.extend.core.get_opaque_trace_state() != _OUTERMOST:
            return inner(*args, **kwargs)
        forget_programs()
        return outer()(*args, **kwargs)

    return call


def compiler_options() -> dict:
    """What to give a `jit` of your own around the library's functions: XLA's options
    with which they are compiled alone. Empty where JAX does not compute on a CPU.

    A program of your own that asks `jnp.linalg` for batches of matrices, in two places
    that do not depend on each other, may wait for itself for ever on a machine of few
    processors; these options make that rarer. A process that has one thread for its
    programs never does: set the environment variable NPROC=1 before it starts.

    >>> import jax, dmftlib as dm
    >>> def loss(gamma0):
    ...     net = dm.DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, gamma0=gamma0, learning_rate=0.1,
    ...                         steps=10)
    ...     return dm.solve(net).test_loss[-1]
    >>> slope = jax.jit(jax.grad(loss), compiler_options=dm.compiler_options())
    >>> round(float(slope(1.0)), 4)
    -0.2835
    """
    return dict(_OPTIONS) if jax.default_backend() == "cpu" else {}


class _Count:
    """Programs compiled in this process since the last look at the mappings."""

    programs = 0

    def __call__(self, event: str, duration_secs: float, **_):
        self.programs += event == _COMPILED


_new = _Count()
jax.monitoring.register_event_duration_secs_listener(_new)


def mappings() -> int:
    """Memory mappings of this process, of which compiled programs hold some tens each;
    0 where the system does not say.
    """
    return _MAPPINGS.read_bytes().count(b"\n") if _MAPPINGS.exists() else 0


def forget_programs() -> bool:
    """Drop JAX's compiled programs where the process holds more than `MOST_MAPPINGS`,
    and say so: without it one that has compiled for a hundred different networks is
    aborted by the system. Whether they were dropped.
    """
    if _new.programs < _LOOK_EVERY:
        return False
    _new.programs = 0
    held = mappings()
    if held <= MOST_MAPPINGS:
        return False
    jax.clear_caches()
    gc.collect()
    logging.getLogger(__name__).info(
        "dmftlib: compiled programs held %d memory mappings; dropped (%d left)",
        held,
        mappings(),
    )
    return True
