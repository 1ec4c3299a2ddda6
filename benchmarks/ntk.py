"""The neural tangent kernel's spectra along 100 steps of training, beside one simulated
network at the same steps.

Writes book/_data/ntk_benchmark.csv: seconds of the theory (all steps, warm) and of the
eigenvalues of one network of P = 3000 samples (D = 2000, two hidden layers), and how
far the two spectra are apart. On an idle machine: python -m benchmarks.ntk [--quick]
"""

import argparse
import time

import numpy as np
import pandas as pd

import dmftlib as dm
from dmftlib.spectra.ntk import kernel_spectrum
from experiments import protocol

SETTING = dict(
    hidden_layers=2,
    width_ratio=0.8,
    sample_ratio=1.5,
    gamma0=3.0,
    init_variance=0.5,
    label_noise=0.2,
    learning_rate=0.05,
    steps=100,
)


def main(samples: int):
    net = dm.DeepLinear(**SETTING)
    start = time.perf_counter()
    kernel_spectrum(net, dm.solve(net).few_directions)
    first, start = time.perf_counter() - start, time.perf_counter()
    spectrum = kernel_spectrum(net, dm.solve(net).few_directions)
    theory = time.perf_counter() - start
    x = np.concatenate(
        [spectrum.edge[t] * np.linspace(0, 1, 400)[1:] for t in (0, 50, 100)]
    )
    start = time.perf_counter()
    spectrum.density(x, 100)
    density = (time.perf_counter() - start) / len(x)

    dim, at = round(samples / net.sample_ratio), (0, 25, 50, 75, 100)

    def simulated(**options):
        start = time.perf_counter()
        found = dm.simulate(net, dim=dim, seeds=1, progress=False, **options)
        return time.perf_counter() - start, found

    training, without_kernels = (
        simulated(ntk=False)[0],
        simulated(spectra_at=at, ntk=False)[0],
    )
    with_kernels, simulation = simulated(spectra_at=at)
    eigenvalues = (
        (with_kernels - without_kernels) * 101 / len(at)
    )  # timed at five of the steps
    top = np.array([simulation.ntk_eigenvalues(t)[0, 0] for t in at])
    apart = np.abs(top / np.fmax(spectrum.edge, spectrum.outliers[:, 0])[list(at)] - 1)
    row = dict(
        samples=samples,
        dim=dim,
        theory_first_call=first,
        theory=theory,
        density_per_point=density,
        training=training,
        eigenvalues=eigenvalues,
        ratio=(training + eigenvalues) / theory,
        largest_distance=apart.max(),
        last_distance=apart[-1],
    )
    print(row)
    protocol.save(
        "ntk_benchmark",
        pd.DataFrame([row]),
        digits=3,
        script="benchmarks/ntk.py",
        setting=SETTING,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="P = 300")
    main(300 if parser.parse_args().quick else 3000)
