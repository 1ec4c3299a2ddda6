"""Bad input is refused at the door of every public function: quickly, in words that
name the argument, for good.
"""

import os
import threading
import time

import bad_input
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import example, given, settings

import dmftlib as dm
from dmftlib import _checks

CASES = bad_input.cases()
ENTRIES = sorted({case.entry for case in CASES})


@pytest.fixture(scope="module", autouse=True)
def prepared():
    with jax.numpy_dtype_promotion(
        "strict"
    ):  # as in the tests, or what is compiled here is of no use to them
        bad_input.prepare()


SAID = {}  # case -> its message


def said(case):
    if id(case) not in SAID:
        SAID[id(case)] = bad_input.message(case)
    return SAID[id(case)]


@pytest.mark.filterwarnings(
    "ignore:A JAX array is being set as static"
)  # Equinox says it before we can
@pytest.mark.parametrize("entry", ENTRIES)
def test_bad_input_is_refused(entry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = threading.active_count()
    for case in (case for case in CASES if case.entry == entry):
        start = time.process_time()
        words = said(case)
        took = time.process_time() - start
        match = bad_input.PATTERN.fullmatch(words)
        assert match and case.argument in match["named"], (
            f"{case.argument} = {case.value!r}: {words}"
        )
        assert len(words) < 1000
        assert took < 5, (
            f"{case.argument} = {case.value!r} was refused after {took:.1f} s of processor time"
        )
    assert not os.listdir(tmp_path)
    assert threading.active_count() <= before


def test_the_page_on_errors_is_what_the_library_says():
    page = bad_input.page([(case, said(case)) for case in CASES])
    assert bad_input.PAGE.read_text() == page, "run python -m tests.library.bad_input"


def test_every_public_name_is_in_the_table():
    containers = {
        "Outliers",
        "WeightHistory",
        "SolveError",
        "RectangularLaw",
        "compiler_options",
    }  # made by the others, or without arguments
    named = {entry.split(" ")[0].split(".")[0] for entry in ENTRIES}
    assert set(dm.__all__) - containers <= named


def test_a_case_that_is_accepted_is_seen():
    with pytest.raises(AssertionError, match="not refused"):
        bad_input.message(bad_input.Case("solve", "net", None, lambda: None))


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.lists(st.floats(), max_size=3),
    st.lists(st.lists(st.integers(), max_size=2), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.fractions(),
    st.decimals(),
    st.datetimes(),
    st.floats(width=32).map(np.float32),
    st.integers(0, 255).map(np.uint8),
    st.floats().map(np.array),
    st.sampled_from(
        [
            np.float16(2.0),
            np.timedelta64(3, "s"),
            np.datetime64("2020"),
            np.array("1"),
            object(),
            10**30,
            slice(3),
            np.ma.masked,
            np.zeros((0, 3)),
            np.array(None),
            range(3),
            ...,
            NotImplemented,
        ]
    ),
)


def is_number(value):
    """Independently of the library: one real number, finite, of an ordinary size."""
    plain = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(plain, (bool, np.bool_)) or not isinstance(
        plain, (int, float, np.integer, np.floating)
    ):
        return False
    if isinstance(plain, (int, np.integer)):
        return not isinstance(plain, np.timedelta64) and -(2**63) <= plain < 2**64
    return plain == 0 or 1e-50 <= abs(float(plain)) <= 1e50


@settings(max_examples=60, deadline=None)
@example([0.0, 0.0], "learning_rate", "Nonlinear")
@given(
    ANYTHING,
    st.sampled_from(["gamma0", "init_variance", "learning_rate"]),
    st.sampled_from(list(bad_input.NETWORKS)),
)
def test_a_number_is_taken_and_nothing_else(value, argument, kind):
    try:
        made = bad_input.network(kind, **{argument: value})
    except ValueError as error:
        assert f"{argument}: got" in str(error) and not (is_number(value) and value > 0)
        return
    taken = np.asarray(getattr(made, argument))
    if argument != "gamma0" and taken.ndim == 1:
        # a rate for each step, a variance for each layer
        assert all(is_number(one) and one >= 0 for one in value)
        assert taken.tolist() == [float(one) for one in value]
        return
    assert is_number(value) and value > 0 and float(taken) == float(value)


@settings(max_examples=60, deadline=None)
@given(ANYTHING)
def test_a_whole_number_is_taken_and_nothing_else(value):
    alone = value.item() if isinstance(value, np.ndarray) and not value.ndim else value
    whole = isinstance(alone, (int, np.integer)) and not isinstance(
        alone, (bool, np.timedelta64)
    )
    whole = whole and 1 <= alone <= 2**53
    try:
        assert _checks.integer("n", value, 1) == value and whole
    except ValueError as error:
        assert str(error).startswith("n: got") and not whole


@settings(max_examples=40, deadline=None)
@given(ANYTHING)
def test_arrays_and_points_are_taken_and_nothing_else(value):
    for check in (
        lambda: _checks.array("x", value, (None,)),
        lambda: _checks.points("x", value),
    ):
        try:
            taken = np.asarray(check())
        except ValueError as error:
            assert str(error).startswith("x: got")
        else:
            assert taken.dtype == float and not np.isnan(taken).any()
            np.testing.assert_allclose(taken, np.asarray(value, float))


SIZES = st.floats(-50, 50).map(lambda e: 10.0**e)


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            k: SIZES
            for k in (
                "width_ratio",
                "sample_ratio",
                "gamma0",
                "init_variance",
                "learning_rate",
                "label_noise",
            )
        }
    ),
    st.sampled_from(["mup", "ntk"]),
)
def test_sizes_far_from_one_give_finite_numbers_or_say_why_not(
    numbers, parameterization
):
    solution = dm.solve(
        bad_input.network("DeepLinear", **numbers, parameterization=parameterization),
        throw=False,
    )
    losses = np.asarray(solution.train_loss)
    finite = np.isfinite(losses)
    assert (finite.all() and solution.ok) or not solution.ok
    assert (
        finite[: int(solution.finite_steps)].all()
        and not finite[int(solution.finite_steps) :].any()
    )


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            k: SIZES
            for k in (
                "input_ratio",
                "gamma0",
                "init_variance",
                "learning_rate",
                "target_variance",
                "output_ratio",
            )
        }
    ),
    st.booleans(),
)
def test_wide_outputs_of_any_size_likewise(numbers, train_readout):
    solution = dm.solve(
        bad_input.network("WideOutput", **numbers, train_readout=train_readout),
        throw=False,
    )
    assert np.isfinite(np.asarray(solution.test_loss)).all() == solution.ok


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, SIZES, st.floats(-0.9, 0.9))
def test_an_outlier_of_any_size_is_where_theory_has_it(variance, left, right, relative):
    """Scales are no physics: with spikes in units of the noise, and queries of any
    length, the outlier scales along.
    """
    strength = (1 + relative) * np.sqrt(variance / left) / np.sqrt(right)
    try:
        ensemble = dm.SpikedEnsemble(
            aspect=1.0,
            variance=variance,
            left_gram=[[left]],
            right_gram=[[right]],
            strengths=[[strength]],
        )
    except ValueError as error:
        assert "strengths" in str(error) and strength > 1e50
        return
    found = np.asarray(dm.outliers(ensemble).values) / np.sqrt(variance)
    theta = 1 + relative
    assert len(found) == (theta > 1) or abs(relative) < 1e-4
    if len(found):
        np.testing.assert_allclose(found, theta + 1 / theta, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES)
def test_laws_of_any_size_add_up_to_one(aspect, variance):
    law = dm.rectangular_law(aspect, variance)
    low, high = (float(edge) for edge in law.edges[0])
    assert 0 <= low <= high and np.isfinite(high)
    assert float(law.cdf(2 * high)) == 1 and float(law.cdf(low / 2)) == 0
    np.testing.assert_allclose(
        float(law.stieltjes(1e4 * high)) * 1e4 * high, 1, rtol=1e-3
    )
