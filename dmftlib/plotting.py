"""Figures of the book. Every function takes ax=None and returns the Axes.

Theory is a solid blue line, simulation black points with error bars, the
independent-spike (or lazy) baseline a dashed orange line, a bulk edge a dotted grey
line: readable in colour, in grey, and by the colour-blind.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np

THEORY, SIMULATION, BASELINE, EDGE = "#0072B2", "#1A1A1A", "#D55E00", "#7F7F7F"

STYLE: dict[Any, Any] = {
    "figure.figsize": (6.4, 3.8),
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.0,
}


def use_book_style():
    """Set matplotlib to the book's look (a global change, made only when called)."""
    plt.rcParams.update(STYLE)


def _axes(ax):
    return plt.subplots()[1] if ax is None else ax


def spectrum(
    singular_values=None, law=None, outliers=(), ax=None, bins=60, label="simulation"
):
    """Histogram of singular values, the bulk density over it, and a marker at each
    predicted outlier.

    The histogram is normalised by all values given, so that bulk and outliers share one
    scale. Every band of the law is drawn, with a line where the last one ends; an atom
    is a bar of the height of its weight.
    """
    ax = _axes(ax)
    if singular_values is not None:
        ax.hist(
            np.ravel(singular_values),
            bins=bins,
            density=True,
            color="0.8",
            edgecolor="0.65",
            lw=0.4,
            label=label,
        )
    if law is not None:
        _draw(law, ax)
    for k, value in enumerate(np.ravel(outliers)):
        ax.plot(
            value,
            0,
            marker="v",
            color=THEORY,
            ms=9,
            clip_on=False,
            ls="none",
            zorder=5,
            label="predicted outlier" if k == 0 else None,
        )
    ax.set(xlabel="singular value", ylabel="density")
    ax.set_ylim(bottom=0)
    ax.legend()
    return ax


def _draw(law, ax):
    """All bands and atoms of a law; each kind has one entry in the legend."""
    angle = np.linspace(0, np.pi, 400)
    for k, (low, high) in enumerate(law.edges):
        low, high = float(low), float(high)
        x = low + (high - low) * (1 - np.cos(angle)) / 2
        label = None if k else "bulk law"
        ax.plot(x, np.asarray(law.density(x)), color=THEORY, label=label)
    if law.edges:
        end = float(law.edges[-1][1])
        ax.axvline(end, color=EDGE, ls=":", label="bulk edge")
    for k, (position, weight) in enumerate(law.atoms):
        label = None if k else "atom (weight)"
        ax.vlines(position, 0, weight, color=THEORY, lw=4, label=label)


def theory_and_simulation(
    x, theory, simulated_x=(), mean=(), error=(), baseline=None, edge=None, ax=None
):
    """One quantity: theory as a line, simulated means with standard errors as points,
    baseline and bulk edge beside.
    """
    ax = _axes(ax)
    if edge is not None:
        ax.plot(
            x, np.broadcast_to(edge, np.shape(x)), color=EDGE, ls=":", label="bulk edge"
        )
    if baseline is not None:
        ax.plot(x, baseline, color=BASELINE, ls="--", label="independent spikes")
    ax.plot(x, theory, color=THEORY, label="theory")
    ax.errorbar(
        simulated_x,
        mean,
        yerr=error,
        fmt="o",
        color=SIMULATION,
        capsize=2,
        lw=1.2,
        label="simulation",
    )
    ax.legend()
    return ax


def report(table, ax=None):
    """The table of `dmftlib.empirical.report`: for each matrix how many directions its
    update lives in (line, the participation ratio), how many outliers it has (points)
    and how many the same update makes when it is turned at random (open points). What
    could not be told is left out; a reason stands in its place.
    """
    ax = _axes(ax)
    places = np.arange(len(table))[::-1]
    ratio = table["participation_ratio"].to_numpy(float, na_value=np.nan)
    outliers = table["outliers"].to_numpy(float, na_value=np.nan)
    turned = table["outliers_turned"].to_numpy(float, na_value=np.nan)
    ax.hlines(places, 0, ratio, color=THEORY, lw=2.0, label="directions of the update")
    ax.plot(turned, places, "o", mfc="none", ms=9, color=BASELINE, label="turned")
    ax.plot(outliers, places, "o", color=SIMULATION, label="outliers")
    for place, reason in zip(places, table["reason"], strict=True):
        if reason:
            ax.text(
                0, place + 0.25, reason, color=EDGE, fontsize="x-small", va="center"
            )
    ax.set(xlabel="directions", xlim=(0, None), ylim=(-0.6, len(table) - 0.4))
    ax.set_yticks(places, table.index)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return ax
