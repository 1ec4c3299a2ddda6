"""The page on performance shows what the benchmarks' tables say."""

import numpy as np
import pandas as pd

from tools import performance


def test_the_projection_is_that_of_the_tables():
    stored = performance.protocol.load("projection")
    pd.testing.assert_frame_equal(
        stored, performance.projection(), check_dtype=False, rtol=1e-2
    )
    one, many = (
        stored[stored.workers == n]["minutes, projected"].to_numpy() for n in (1, 1024)
    )
    assert (one > 2 * many).all() and (
        stored[stored.workers == 1]["limited by"] == "workers"
    ).all()


def test_an_exponent_is_a_slope():
    x = np.array([1.0, 2.0, 4.0, 8.0])
    assert np.isclose(performance.exponent(x, 3 * x**1.5), 1.5)
    assert (
        set(performance.scaling()) == set(performance.MARKS)
        and len(performance.level_1()) >= 4
    )
