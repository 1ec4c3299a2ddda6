"""The figure check sees what it is there to see: every kind of artist, moved a little,
and a changed picture.

The figures of the chapters are checked where they are drawn, while `pytest --nbval
book` reruns the notebooks (`book/figure_check.py`). `test_every_figure_has_its_record`
in `test_book.py` holds the records to the figures.
"""

import figure_check
import matplotlib.pyplot as plt
import numpy as np
import pytest


def drawing(
    shift=0.0,
    colour="C0",
    text="edge",
    label="theory",
    bins=10,
    legend="upper right",
    marker="o",
):
    fig, ax = plt.subplots(figsize=(4, 3))
    x = np.linspace(0, 1, 200)
    ax.plot(x, np.sin(6 * x) + shift, color=colour, label=label)
    ax.errorbar([0.2, 0.8], [0.1, 0.3], yerr=[0.1, 0.1 + shift], fmt=marker)
    ax.scatter([0.1, 0.5], [0.5, 0.5 + shift], c=[0.0, 1.0])
    ax.hist(x**2, bins=bins, density=True)
    ax.fill_between(x, x, x + 0.1 + shift)
    ax.imshow(np.eye(4) + shift, extent=(0, 1, 0, 1), aspect="auto")
    ax.text(0.5, 0.5, text)
    ax.legend(loc=legend)
    fig.canvas.draw()
    plt.close(fig)
    return fig


def compare(one, two):
    return figure_check.differences(figure_check.record(one), figure_check.record(two))


def test_the_same_figure_agrees():
    assert compare(drawing(), drawing()) == []
    assert (
        compare(drawing(), drawing(shift=1e-10)) == []
    )  # another computer's last digits
    assert (
        figure_check.picture_differences(
            figure_check.picture(drawing()), figure_check.picture(drawing())
        )
        == []
    )


@pytest.mark.parametrize("kind", ["lines", "collections", "images"])
def test_one_percent_is_seen_in_every_artist(kind):
    assert any(kind in line for line in compare(drawing(), drawing(shift=0.01)))


@pytest.mark.parametrize(
    "change",
    [
        dict(colour="C1"),
        dict(text="Edge"),
        dict(label="simulation"),
        dict(bins=11),
        dict(marker="s"),
    ],
)
def test_style_text_and_bars_are_seen(change):
    assert compare(drawing(), drawing(**change))


def test_values_between_the_kept_ones_are_seen():
    values = np.linspace(1, 2, 1000)
    moved = values.copy()
    moved[501] += 10
    assert not np.isin(501, np.linspace(0, 999, figure_check.KEPT).round())
    assert figure_check.differences(
        figure_check.numbers(values), figure_check.numbers(moved)
    )


def test_not_a_number_is_a_difference():
    assert figure_check.differences([1.0, 2.0], [1.0, float("nan")])
    assert figure_check.differences([1.0, float("nan")], [1.0, float("nan")]) == []


def test_the_picture_sees_what_the_data_do_not():
    one, two = drawing(), drawing(legend="lower left")
    assert compare(one, two) == []
    assert figure_check.picture_differences(
        figure_check.picture(one), figure_check.picture(two)
    )


def test_records_are_stored_once_and_held_to(tmp_path, monkeypatch):
    monkeypatch.setattr(figure_check, "RECORDS", tmp_path / "figures")
    assert "no record" in figure_check.check("fig-x", drawing())[0]
    figure_check.store("fig-x", drawing())
    assert figure_check.check("fig-x", drawing()) == []
    assert figure_check.check("fig-x", drawing(shift=0.01))
    written = (tmp_path / "figures/fig-x.json").stat().st_mtime_ns
    figure_check.store("fig-x", drawing(shift=1e-10))
    assert (tmp_path / "figures/fig-x.json").stat().st_mtime_ns == written
