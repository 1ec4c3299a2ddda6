"""`python -m dmftlib [figure.png]`: one theory curve beside simulated matrices, as a table and a figure, in seconds."""

import sys

import numpy as np

from . import SpikedEnsemble, outliers


def main(path: str = "dmftlib.png") -> None:
    """M0 + theta (M0 v) v^T: its outlier in theory, in 400 x 400 matrices, and if the spike were independent."""
    seeds, n, strengths = 10, 400, np.array([0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6])
    simulated = np.empty((seeds, len(strengths)))
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        M0, v = rng.standard_normal((n, n)) / np.sqrt(n), rng.standard_normal(n)
        v /= np.linalg.norm(v)
        for k, strength in enumerate(strengths):
            simulated[seed, k] = np.linalg.norm(M0 + strength * np.outer(M0 @ v, v), 2)
    mean, error = simulated.mean(0), simulated.std(0, ddof=1) / np.sqrt(seeds)

    def largest(strength, dependent):
        ensemble = SpikedEnsemble(aspect=1.0, variance=1.0, left_gram=[[1.0]], right_gram=[[1.0]],
                                  left_response=[[1.0]], strengths=[[strength]])
        found = outliers(ensemble if dependent else ensemble.independent()).values
        return float(found[0]) if len(found) else float(ensemble.law.edges[0][1])

    print("largest singular value of M0 + strength (M0 v) v^T; the bulk ends at 2")
    print("strength   theory   simulation         z   if independent")
    for k, strength in enumerate(strengths):
        theory, stranger = largest(strength, True), largest(strength, False)
        z = f"{(mean[k] - theory) / error[k]:6.1f}" if theory > 2.05 else "  bulk"
        print(f"{strength:8.1f}   {theory:6.3f}   {mean[k]:.3f} ± {error[k]:.3f}  {z}   {stranger:14.3f}")

    try:
        import matplotlib.pyplot as plt

        from . import plotting
    except ModuleNotFoundError:
        print("no figure: matplotlib is not installed (pip install 'dmftlib[book]')")
        return
    plotting.use_book_style()
    grid = np.linspace(0.05, 1.7, 100)
    ax = plotting.theory_and_simulation(grid, [largest(t, True) for t in grid], strengths, mean, error,
                                        baseline=[largest(t, False) for t in grid], edge=2.0)
    ax.set(xlabel=r"strength $\theta$", ylabel=r"largest singular value of $M_0+\theta\,(M_0v)\,v^T$")
    plt.savefig(path, dpi=110)
    print(f"figure saved as {path}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
