"""The largest singular values of a Gaussian matrix of any size, exactly in law.

Householder's reflections make an n x m matrix with iid N(0, 1) entries bidiagonal, and
leave chi numbers of falling order,

    chi_m
    chi_{n-1}   chi_{m-1}
                chi_{n-2}   chi_{m-2}   ...

(Golub and Kahan 1965 on a Gaussian matrix; Silverstein 1985; Dumitriu and Edelman 2002,
math-ph/0206043). Its largest singular vectors live on the first rows, of the order of
n^(1/3) of them (Edelman and Persson 2005, math-ph/0501068), so that a billion rows are
no more work than some thousand.
"""

import numpy as np
from scipy.linalg import eigh_tridiagonal

from .. import _checks

_BEYOND = 10.0  # lengths behind the turning point, where exp(-4/3 x^(3/2)) is nothing


def leading_noise(
    aspect: float,
    variance: float,
    size: int,
    seeds: int,
    leading: int = 4,
    seed: int = 0,
) -> np.ndarray:
    """The `leading` largest singular values of M(0) alone, n x m with iid N(0,
    variance/m) entries, n = size rows and m = n/aspect columns, rounded: (seeds,
    leading), descending.

    Exactly in law at any size up to 2^53, at a cost of the order of size^(1/3) for each
    seed. The same `seed` gives the same numbers. Raises ValueError for an aspect or
    variance that is not positive, sizes and seeds below one, and more values than the
    smaller side of the matrix has.

    >>> top = leading_noise(aspect=1.0, variance=1.0, size=10**9, seeds=2, leading=2)
    >>> top.shape, bool(abs(top - 2).max() < 2e-5)
    ((2, 2), True)
    """
    _checks.positive("aspect", aspect)
    _checks.positive("variance", variance)
    rows = _checks.integer("size", size, 1)
    columns = _checks.integer("size / aspect", round(rows / aspect), 1)
    _checks.integer("seeds", seeds, 1)
    _checks.integer("leading", leading, 1, min(rows, columns))
    _checks.integer("seed", seed, 0)
    kept = rows_needed(rows, columns, leading)
    need = "fewer seeds or values, or a smaller size"
    _checks.memory("size", size, 64.0 * kept + 8.0 * seeds * leading, need)
    values = []
    for i in range(seeds):
        rng = np.random.default_rng([seed, i])
        entries = draw_entries(rng, rows, columns, kept)
        values.append(largest(entries, leading))
    scale = np.sqrt(variance / columns)
    return scale * np.stack(values)


def rows_needed(rows, columns, leading):
    """How many rows of the bidiagonal matrix the leading singular vectors live on.

    With a = sqrt(m), b = sqrt(n), row i allows singular values up to a + b - i (a +
    b)/(2 a b), and a wave number q costs q^2 a b/(2 (a + b)): Airy functions of length
    (a b/(a + b))^(2/3), the k-th of which turns at (3 pi k/2)^(2/3) lengths.
    """
    root = 1 / (rows**-0.5 + columns**-0.5)
    turning = (1.5 * np.pi * leading) ** (2 / 3)
    length = root ** (2 / 3)
    needed = np.ceil(length * (turning + _BEYOND) + 10)
    return int(min(rows, columns, needed))


def draw_entries(rng, rows, columns, kept) -> np.ndarray:
    """The first rows of the bidiagonal matrix with unit variance, the entry on the
    diagonal and the one below it in turn: (2 kept,).
    """
    order = np.arange(kept)
    freedom = np.stack([columns - order, rows - 1 - order], 1)
    square = rng.chisquare(np.maximum(freedom, 1)) * (freedom > 0)
    return np.sqrt(square).ravel()


def largest(entries, leading) -> np.ndarray:
    """The largest singular values of a bidiagonal matrix, from its entries in turn: as
    eigenvalues of [[0, B], [B^T, 0]], which is tridiagonal when rows and columns
    alternate.
    """
    size = len(entries) + 1
    last = (size - leading, size - 1)
    values = eigh_tridiagonal(
        np.zeros(size), entries, eigvals_only=True, select="i", select_range=last
    )
    return np.asarray(values)[::-1]
