"""The report on real torch networks: the table that is kept, and the networks anew where
torch is installed.
"""

import importlib.util

import numpy as np
import pytest

from experiments import protocol, torch_report

COLUMNS = ("moved", "participation_ratio", "stable_rank")


def check(table):
    """No matrix without its numbers; those numbers are torch's own."""
    assert set(table.form) == {"float32", "bfloat16", "module"}
    assert len(table) == 3 * 7
    reasons = table.set_index(["form", "matrix"]).reason.fillna("")
    for name in ("lora_b", "lora_a", "0.weight", "2.weight", "5.weight", "9.weight"):
        assert any(name in matrix for matrix in table.matrix)
    for (_, matrix), reason in reasons.items():
        if matrix == "0.weight":
            assert "at least 10 rows and columns" in reason  # 32 x 9
        elif "lora_b" in matrix:
            assert "zeros" in reason
        else:
            assert reason == "" or "past the edge" in reason or "rank" in reason, matrix
    for column in COLUMNS:
        found, right = table[column], table[f"{column}_by_torch"]
        np.testing.assert_allclose(found, right, rtol=1e-6)
    lora = table[table.matrix.str.contains("lora_b")]
    assert np.isinf(lora.moved).all() and (lora.participation_ratio > 1).all()
    parts = {form: part.set_index("matrix") for form, part in table.groupby("form")}
    as_module, narrow = parts["module"], parts["bfloat16"]
    np.testing.assert_allclose(as_module.moved, parts["float32"].moved)
    finite = np.isfinite(as_module.moved)
    np.testing.assert_allclose(narrow.moved[finite], as_module.moved[finite], rtol=0.03)


def test_the_table_that_is_kept_has_the_numbers_of_torch():
    check(protocol.load("torch_report"))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)
def test_torch_networks_are_reported_as_torch_has_them():
    import torch

    check(torch_report.rows(torch))
