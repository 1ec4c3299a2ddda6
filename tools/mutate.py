"""Mutation testing of the two levels: small faults planted in `training/` and
`spectra/`, and the tests that see them.

    python -m tools.mutate [--list] [--only training/gaussian.py] [--stages fast] [--again]

A mutant is one change of executable code: an operator or comparison replaced, a sign or
a transposition dropped, a term or a factor left out, a number changed (a tenth more, or
one more). Docstrings, annotations, decorators, error messages, true and false given as
keyword arguments are left alone. As many mutants are drawn from each file as its share
of all possible ones, with a fixed seed; each is tried in a copy of the package, against
the fast tests of its file and, if it survives them, the slow ones, those of other files
that use it, and the contracts of the chapters. A mutant with which the tests do not end
within ten minutes is counted as killed.

Takes about 20 s a mutant and writes book/_data/mutants.csv. Mutants listed in
tools/mutants.toml have been read and found to change nothing that a test could see,
with the reason; they count as explained, not as killed.
"""

import argparse
import ast
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import protocol

ROOT = Path(__file__).parents[1]

# the test files of a file, others that use it, and the chapters whose contracts do
TESTS = {
    "training/gaussian.py": ("gaussian", "deep_linear", "deep_linear"),
    "training/deep_linear.py": ("deep_linear", "ntk", "deep_linear or width"),
    "history.py": ("deep_linear", "critical", "deep_linear"),
    "training/response.py": ("nonlinear", "", ""),
    "training/rows.py": ("rows", "", ""),
    "training/sites.py": ("nonlinear", "", ""),
    "training/queries.py": ("nonlinear", "", ""),
    "training/nonlinear.py": ("nonlinear", "", ""),
    "training/nonlinear_step.py": ("nonlinear", "", ""),
    "training/forward_mode.py": ("deep_linear nonlinear", "critical", ""),
    "training/steps.py": ("deep_linear nonlinear", "", ""),
    "training/wide_output.py": ("wide_output", "", "wide_output"),
    "spectra/bulk.py": ("bulk", "", "bulk"),
    "spectra/resolvent.py": ("population", "wide_output", "wide_output"),
    "spectra/push_forward.py": ("population", "wide_output", "wide_output"),
    "spectra/pencil.py": ("ntk", "", "ntk"),
    "spectra/ntk.py": ("ntk", "", "ntk"),
    "spectra/outliers.py": ("outliers", "", "spikes"),
    "spectra/escape.py": (
        "deep_linear",
        "critical nonlinear",
        "deep_linear or width",
    ),
}
NO_SHRINKING = """
import hypothesis
hypothesis.settings.register_profile("mutants", phases=[hypothesis.Phase.generate], deadline=None)
hypothesis.settings.load_profile("mutants")
"""
STAGES = ("fast", "slow", "others", "contracts")
OPERATORS = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.LtE: (ast.Lt,),
    ast.GtE: (ast.Gt,),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
}
NAMES = {
    "minimum": "maximum",
    "maximum": "minimum",
    "min": "max",
    "max": "min",
    "argmax": "argmin",
    "fmax": "fmin",
    "any": "all",
    "all": "any",
    "logical_or": "logical_and",
}


def replacements(node):
    """What may stand in the place of an expression."""
    if isinstance(node, ast.BinOp):
        for other in OPERATORS.get(type(node.op), ()):
            yield ast.BinOp(node.left, other(), node.right)
        if isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)):
            yield node.left  # the second term or factor left out
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in COMPARISONS.get(type(node.ops[0]), ()):
            yield ast.Compare(node.left, [other()], node.comparators)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(
            ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values
        )
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield node.value
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield ast.Attribute(node.value, NAMES[node.attr], node.ctx)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant(
            node.value + 1 if isinstance(node.value, int) else 1.1 * node.value or 0.1
        )


class _Sites(ast.NodeVisitor):
    """The expressions of a file that run and count."""

    def __init__(self):
        self.found = []

    def generic_visit(self, node):
        self.found.append(node)
        super().generic_visit(node)

    def visit_FunctionDef(self, node):
        for part in (
            *node.body,
            *node.args.defaults,
            *filter(None, node.args.kw_defaults),
        ):
            self.visit(part)

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self.visit(node.value)

    def visit_ClassDef(self, node):
        for part in node.body:
            self.visit(part)

    def visit_Call(self, node):
        if ast.unparse(node.func) in (
            "checks.fail",
            "_checks.fail",
            "eqx.field",
            "isinstance",
        ):
            return
        self.found.append(node)
        self.visit(node.func)
        for argument in (
            *node.args,
            *(k.value for k in node.keywords if not isinstance(k.value, ast.Constant)),
        ):
            self.visit(argument)

    def visit_JoinedStr(self, node):
        pass


def mutants(path):
    """(line, what, by what, the whole file with it, once called) for each mutant that
    the file has.
    """
    for number, node in enumerate(expressions(ast.parse(path.read_text()))):
        for k, new in enumerate(replacements(node)):
            yield (
                node.lineno,
                ast.unparse(node),
                ast.unparse(new),
                functools.partial(mutated, path, number, k),
            )


def expressions(tree):
    sites = _Sites()
    sites.visit(tree)
    return sites.found


def mutated(path, number, k):
    """The file with replacement k of expression `number`."""
    tree = ast.parse(path.read_text())
    old = expressions(tree)[number]
    new = list(replacements(old))[k]

    class Swap(ast.NodeTransformer):
        def visit(self, at):
            return new if at is old else self.generic_visit(at)

    return ast.unparse(ast.fix_missing_locations(Swap().visit(tree)))


def sample(count, seed, only=None):
    """`count` mutants, of each file its share."""
    files = {name: list(mutants(ROOT / "dmftlib" / name)) for name in TESTS}
    total, rng = sum(map(len, files.values())), np.random.default_rng(seed)
    for name, all_of_it in files.items():
        share = max(1, round(count * len(all_of_it) / total))
        for index in sorted(rng.choice(len(all_of_it), share, replace=False)):
            if only in (None, name):
                yield name, *all_of_it[index]


def run(name, source, stage, limit):
    """Whether the tests of a stage pass with `source` in the place of that file; None
    if they do not end.
    """
    files, others, chapters = TESTS[name]
    tests, more = (
        [f"tests/library/test_{each}.py" for each in part.split()]
        for part in (files, others)
    )
    chosen = {
        "fast": [*tests, "-m", "not slow"],
        "slow": [*tests, "-m", "slow"],
        "others": more,
        "contracts": [
            "tests/book/test_contracts.py",
            "-k",
            f"test_contract[ and ({chapters})",
        ],
    }[stage]
    if not {"others": others, "contracts": chapters}.get(stage, True):
        return True
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder)
        for part in (
            "dmftlib",
            "tests",
            "benchmarks",
            "experiments",
            "tools",
            "book/derivations",
        ):
            shutil.copytree(
                ROOT / part, copied / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        for part in ("pyproject.toml", "book/protocol.py"):
            shutil.copy(ROOT / part, copied / part)
        (copied / "dmftlib" / name).write_text(source)
        with open(copied / "tests/conftest.py", "a") as file:
            file.write(NO_SHRINKING)
        cache = (
            Path(tempfile.gettempdir()) / "dmftlib_mutants"
        )  # what a mutant leaves alone is compiled once
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_ENABLE_X64": "1",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": folder,
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            *chosen,
        ]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                timeout=limit,
                capture_output=True,
                text=True,
            )
        except subprocess.TimeoutExpired:
            return None
        return done.returncode in (0, 5)


def explained():
    """(file, what, by what) -> why no test could see it."""
    listed = tomllib.loads((ROOT / "tools/mutants.toml").read_text())["equivalent"]
    return {(each["file"], each["was"], each["is"]): each["reason"] for each in listed}


def main(count, seed, only, show, again, stages):
    chosen, reasons, passing, rows = (
        list(sample(count, seed, only)),
        explained(),
        set(),
        [],
    )
    before = protocol.load("mutants").astype(str).replace("nan", "") if again else ()
    for i, (name, line, was, became, source) in enumerate(chosen):
        change = f"{name}:{line}  {was}   ->   {became}"
        if show:
            print(f"{i:3} {change}")
            continue
        if i < len(before) and before.fate[i].startswith("killed"):
            assert tuple(before.loc[i, ["file", "was", "is"]]) == (name, was, became), (
                "another sample: run them all"
            )
            rows.append(dict(before.loc[i]))
            continue
        if (
            not again and TESTS[name][0] not in passing
        ):  # without a mutant the tests pass, without the file they do not
            assert run(name, (ROOT / "dmftlib" / name).read_text(), "fast", 900), (
                f"the tests of {name} fail"
            )
            assert not run(name, "raise ImportError", "fast", 900), (
                "the tests do not see the copy"
            )
            passing.add(TESTS[name][0])
        start, reason = time.perf_counter(), reasons.get((name, was, became), "")
        for stage in stages:
            passed = run(name, source(), stage, 600)
            if not passed:
                break
        fate = "equivalent" if reason else "survives"
        if not passed:
            fate = (
                "killed: does not end" if passed is None else f"killed by {stage} tests"
            )
        rows.append(
            {
                "file": name,
                "line": line,
                "was": was,
                "is": became,
                "fate": fate,
                "reason": reason,
            }
        )
        print(
            f"{i:3} {time.perf_counter() - start:5.0f} s  {fate:22} {change}",
            flush=True,
        )
        if (
            only is None
        ):  # after each, so that a run that is stopped can be continued with --again
            protocol.save(
                "mutants",
                pd.DataFrame(rows),
                script=f"tools/mutate.py --mutants {count} --seed {seed}",
            )
    if rows:
        print(pd.DataFrame(rows).fate.value_counts().to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutants", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TESTS, help="those of one file")
    parser.add_argument(
        "--again",
        action="store_true",
        help="only those that were not killed the last time",
    )
    parser.add_argument("--list", action="store_true", help="show them, run nothing")
    parser.add_argument(
        "--stages", nargs="+", choices=STAGES, default=STAGES, help="which tests"
    )
    asked = parser.parse_args()
    main(asked.mutants, asked.seed, asked.only, asked.list, asked.again, asked.stages)
