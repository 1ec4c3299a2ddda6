"""How the library's functions are compiled: with options where they are outermost, plain
inside another transformation, and forgotten before they hold too many mappings.
"""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dmftlib as dm
from dmftlib import _compile
from dmftlib._compile import compiled, compiler_options

X = np.array([1.0, 2.0, 3.0])


@compiled
def squared(x):
    return jnp.sin(x) ** 2


@compiled(static_argnames="power")
def to_the(x, power):
    return x**power


@compiled(jit=eqx.filter_jit)
def filtered(x, words):
    return x + len(words)


class Scale(eqx.Module):
    by: float

    @compiled
    def __call__(self, x):
        return self.by * x


def test_outermost_programs_have_the_options_and_inner_ones_none(monkeypatch):
    given = []

    def jit(function, **arguments):
        given.append(arguments.get("compiler_options"))
        return jax.jit(function, **arguments)

    twice = compiled(jit=jit)(lambda x: 2 * x)
    assert given == [None]  # the inner one
    assert float(twice(1.5)) == 3.0
    assert given == [None, compiler_options()]
    assert compiler_options() == {
        "xla_cpu_enable_concurrency_optimized_scheduler": False,
        "xla_cpu_use_fusion_emitters": False,
    }
    twice(2.5)
    assert len(given) == 2
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options() == {}


def test_every_transformation_takes_them():
    """JAX refuses options below the outermost program: none are given there."""
    right = np.sin(X) ** 2
    slope = np.sin(2 * X)
    np.testing.assert_allclose(squared(X), right, rtol=1e-15)
    np.testing.assert_allclose(jax.jit(squared)(X), right, rtol=1e-15)
    np.testing.assert_allclose(jax.vmap(squared)(X), right, rtol=1e-15)
    np.testing.assert_allclose(jax.jacfwd(squared)(X).diagonal(), slope, rtol=1e-14)
    gradient = jax.grad(lambda x: squared(x).sum())
    for way in (gradient, jax.jit(gradient, compiler_options=compiler_options())):
        np.testing.assert_allclose(way(X), slope, rtol=1e-14)
    second = jax.hessian(lambda x: squared(x).sum())(X).diagonal()
    np.testing.assert_allclose(second, 2 * np.cos(2 * X), rtol=1e-13)
    scanned = jax.lax.map(squared, jnp.asarray(X))
    np.testing.assert_allclose(scanned, right, rtol=1e-15)


def test_static_arguments_filters_and_methods_work_as_under_jit():
    assert float(to_the(2.0, power=3)) == 8.0
    assert float(filtered(jnp.asarray(1.0), "ab")) == 3.0
    assert float(Scale(2.0)(jnp.asarray(4.0))) == 8.0
    assert squared.__name__ == "squared"


def test_numbers_do_not_depend_on_the_options():
    net = dm.DeepLinear(
        hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=8
    )

    def ask(gamma0):
        solution = dm.solve(eqx.tree_at(lambda n: n.gamma0, net, gamma0), throw=False)
        return solution.test_loss, solution.outliers(0, max_outliers=1).values

    plain = jax.jit(ask)(2.0)
    given = jax.jit(ask, compiler_options=dm.compiler_options())(2.0)
    for a, b in zip(plain, given, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.slow
def test_programs_are_forgotten_past_a_number_of_mappings(monkeypatch, caplog):
    """Mappings stay below a bound while ever new programs are compiled."""
    if not _compile.mappings():
        pytest.skip("this system does not say what a process maps")
    most = _compile.mappings() + 100
    monkeypatch.setattr(_compile, "MOST_MAPPINGS", most)
    caplog.set_level("INFO", logger="dmftlib._compile")
    held = []
    for size in range(100, 260):
        squared(np.ones(size))
        held.append(_compile.mappings())
    assert max(held) < most + 500
    assert "dropped" in caplog.text
    np.testing.assert_allclose(squared(X), np.sin(X) ** 2, rtol=1e-15)


SOAK = """
import sys, time
from tools import soak
def stands(x):
    time.sleep(60)
    return x
if sys.argv[1] == "stands":
    cases = {"stands": soak.Case(stands, ("plain",))}
    soak.soak(cases, 30, 0.2, 0)
cases = {name: soak.CASES[name] for name in ("law", "wide")}
counts, start, end = soak.soak(cases, 60, 60, 0, most=40)
assert sum(counts.values()) == 40 and set(counts) == {
    (name, way) for name, case in cases.items() for way in case.ways}
assert end.mappings <= start.mappings + 200, (start, end)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["calls", "stands"])
def test_a_short_soak_ends_and_a_call_that_stands_still_is_named(what):
    run = subprocess.run(
        [sys.executable, "-c", SOAK, what], capture_output=True, text=True, timeout=500
    )
    if what == "calls":
        assert run.returncode == 0, run.stderr
    else:
        assert run.returncode == 1
        assert "stands plain" in run.stderr and "Timeout" in run.stderr
        assert "in stands" in run.stderr  # the stack
