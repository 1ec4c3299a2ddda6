"""The type checker of `make lint`, as pyproject.toml sets it, refuses what it should."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WHERE = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

SOUND = '''"""A module."""


class Law:
    def density(self, x: float) -> float:
        raise NotImplementedError


class Flat(Law):
    def density(self, x: float) -> float:
        return 1.0


def doubled(x: float | None) -> float:
    return 0.0 if x is None else 2 * x


def last(values: list[float]) -> float:
    found = 0.0
    for found in values:
        pass
    return found
'''
FAULTS = {
    "reportArgumentType": ("2 * x", "last([x, None])"),
    "reportAttributeAccessIssue": ("2 * x", "Flat().densty(x)"),
    "reportIncompatibleMethodOverride": (
        "def density(self, x: float) -> float:\n        return 1.0",
        "def density(self, x: float) -> str:\n        return str(x)",
    ),
    "reportOptionalOperand": ("0.0 if x is None else 2 * x", "x * 2"),
    "reportPossiblyUnboundVariable": ("    found = 0.0\n", ""),
    "reportReturnType": ("return 1.0", "return None"),
    "reportUndefinedVariable": ("2 * x", "numpy.add(x, x)"),
}


def test_each_planted_fault_is_refused_and_sound_code_is_not(tmp_path):
    (tmp_path / "sound.py").write_text(SOUND)
    for rule, (sound, faulty) in FAULTS.items():
        source = SOUND.replace(sound, faulty)
        (tmp_path / f"{rule}.py").write_text(source)
    files = sorted(map(str, tmp_path.glob("*.py")))
    checker = shutil.which("basedpyright", path=WHERE)
    command = [checker, "--outputjson", "--pythonpath", sys.executable, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(files)
    found = {
        (Path(each["file"]).stem, each["rule"]) for each in report["generalDiagnostics"]
    }
    assert found == {(rule, rule) for rule in FAULTS}
    assert done.returncode == 1
