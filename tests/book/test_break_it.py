"""The checks of this repository are seen to fail: `tools/break_it.py` in its short
form.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_each_corruption_is_caught_by_the_check_in_charge():
    result = subprocess.run(
        [sys.executable, "-m", "tools.break_it"],
        cwd=ROOT,
        text=True,
        capture_output=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
