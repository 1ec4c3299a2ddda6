"""`python -m dmftlib [figure.png]`: one theory curve beside simulated matrices, as a
table and a figure, in seconds.
"""

import argparse

import numpy as np

from . import SpikedEnsemble, outliers

SEEDS = 10
ROWS = 400
STRENGTHS = np.array([0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6])


def main(path: str = "dmftlib.png") -> None:
    """M0 + theta (M0 v) v^T: its outlier in theory, in 400 x 400 matrices, and if the
    spike were independent.
    """
    simulated = np.stack([largest_of_draw(seed) for seed in range(SEEDS)])
    mean = simulated.mean(0)
    error = simulated.std(0, ddof=1) / np.sqrt(SEEDS)
    print("largest singular value of M0 + strength (M0 v) v^T; the bulk ends at 2")
    print("strength   theory   simulation         z   if independent")
    for k, strength in enumerate(STRENGTHS):
        theory = largest(strength, dependent=True)
        stranger = largest(strength, dependent=False)
        z = f"{(mean[k] - theory) / error[k]:6.1f}" if theory > 2.05 else "  bulk"
        seen = f"{mean[k]:.3f} ± {error[k]:.3f}"
        print(f"{strength:8.1f}   {theory:6.3f}   {seen}  {z}   {stranger:14.3f}")
    try:
        draw(path, mean, error)
    except ModuleNotFoundError:
        print("no figure: matplotlib is not installed (pip install 'dmftlib[book]')")
        return
    print(f"figure saved as {path}")


def largest_of_draw(seed: int) -> np.ndarray:
    """The largest singular value of one matrix, at each strength."""
    rng = np.random.default_rng(seed)
    M0 = rng.standard_normal((ROWS, ROWS)) / np.sqrt(ROWS)
    v = rng.standard_normal(ROWS)
    v /= np.linalg.norm(v)
    spike = np.outer(M0 @ v, v)
    return np.array([np.linalg.norm(M0 + t * spike, 2) for t in STRENGTHS])


def largest(strength: float, dependent: bool) -> float:
    """The outlier in theory, or the edge of the bulk where there is none."""
    ensemble = SpikedEnsemble(
        aspect=1.0,
        variance=1.0,
        left_gram=[[1.0]],
        right_gram=[[1.0]],
        left_response=[[1.0]],
        strengths=[[strength]],
    )
    found = outliers(ensemble if dependent else ensemble.independent()).values
    return float(found[0]) if len(found) else float(ensemble.law.edges[0][1])


def draw(path: str, mean, error) -> None:
    """The table as a figure."""
    import matplotlib.pyplot as plt

    from . import plotting

    plotting.use_book_style()
    grid = np.linspace(0.05, 1.7, 100)
    ax = plotting.theory_and_simulation(
        grid,
        [largest(t, dependent=True) for t in grid],
        STRENGTHS,
        mean,
        error,
        baseline=[largest(t, dependent=False) for t in grid],
        edge=2.0,
    )
    ax.set(
        xlabel=r"strength $\theta$",
        ylabel=r"largest singular value of $M_0+\theta\,(M_0v)\,v^T$",
    )
    plt.savefig(path, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m dmftlib", description=__doc__)
    parser.add_argument("figure", nargs="?", default="dmftlib.png", help="its path")
    main(parser.parse_args().figure)
