"""The measure of dense code sees what it should: `tools/check_style.py`."""

import ast

import pytest

from tools import check_style

PLAIN = '''"""A module."""


def scaled(x, factor):
    """Times a factor."""
    larger = factor * x
    return larger
'''


def test_plain_code_has_no_fault():
    assert check_style.faults(check_style.measure("plain.py", PLAIN)) == {}


def test_docstrings_comments_and_blank_lines_do_not_count():
    commented = PLAIN.replace("    larger", "    # why\n\n    larger")
    assert check_style.measure("a.py", commented) == check_style.measure("a.py", PLAIN)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            "x = [f(a, b) + g(c, d) * h(e)[1:2, None] - k.T @ (m - n) for a in b]",
            "tokens",
        ),
        ("def long(x):\n" + "    x = 2 * x\n" * 41, "41 code lines"),
        ("class A:\n    def long(x):\n" + "        x = 2 * x\n" * 41, "41 code lines"),
        ("def guarded(x):\n    assert x\n", "an assert"),
    ],
)
def test_a_planted_fault_is_seen(fault, said):
    source = fault if said == "tokens" else PLAIN + fault
    (found,) = check_style.faults(check_style.measure("faulty.py", source)).values()
    assert said in found


def test_tuple_assignments_are_those_of_unlike_things():
    source = "a, b = x, y\na, b = function()\nfor a, b in pairs:\n    pass\n"
    assert [
        check_style.is_tuple_assignment(node) for node in ast.parse(source).body
    ] == [
        True,
        False,
        False,
    ]
