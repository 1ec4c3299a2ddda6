"""Spectra of any trained weights: the variance of the bulk, the outliers past its edge, and where they point.

Every matrix is taken raw, as W of shape (n, m) with fan_in = m columns; spectra are singular values of
M = W / sqrt(m). Libraries that store W^T (inputs first) need a transpose before they come here: the outliers found
are the same, the units are not. The null hypothesis is a matrix of iid Gaussian entries: a bulk of another kind shows
as many 'outliers' and a large Kolmogorov distance.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy import optimize, special

from . import checks
from .spectra.bulk import RectangularLaw

SMALLEST = 10  # singular values that a bulk needs: below this its variance cannot be told
_TW_MEAN, _TW_VARIANCE = -1.2065335745820, 1.6077810345810  # of the beta = 1 Tracy-Widom law


@lru_cache
def tracy_widom_quantile(probability: float) -> float:
    """Quantile of the Tracy-Widom law of real matrices (beta = 1), to about 1e-10.

    Its distribution function is the Fredholm determinant F_1(x) = det(1 - A_x), A_x(u, v) = Ai(u + v + x) on
    (0, inf) (Ferrari and Spohn 2005), here by 40-point Gauss-Legendre quadrature (Bornemann 2010).
    Raises ValueError unless `probability` lies in [1e-6, 1 - 1e-6].

    >>> round(tracy_widom_quantile(0.95), 4)
    0.9793
    """
    checks.number("probability", probability, 1e-6, maximum=1 - 1e-6)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    u, root = 8 * (1 + nodes), np.sqrt(8 * weights)

    def cdf(x):
        return np.linalg.det(np.eye(40) - np.outer(root, root) * special.airy(u[:, None] + u + x)[0])

    return optimize.root_scalar(lambda x: cdf(x) - probability, bracket=(-8.0, 12.0), xtol=1e-12).root


class _Noise(NamedTuple):
    """Singular values x of an n x m matrix of iid N(0, 1) entries, ascending."""

    half: slice  # ranks of the middle half
    squares: np.ndarray  # x^2 expected there
    relative_error: float  # standard error of a variance fitted to them
    centre: float  # of the largest x^2, and its scale, in the Tracy-Widom law
    scale: float


@lru_cache(maxsize=64)
def _noise(n: int, m: int) -> _Noise:
    law, p = RectangularLaw(n / m, 1.0), min(n, m)
    low, high = (float(edge) ** 2 for edge in law.edges[0])
    angle = np.linspace(0, np.pi, 4001)
    square = (low + high) / 2 - (high - low) / 2 * np.cos(angle)  # of x/sqrt(m)
    rank = p * np.asarray(law.cdf(np.sqrt(square))) + 0.25 - 0.5 * angle / np.pi  # with the O(1) term of real matrices
    half = slice(p // 4, p - p // 4)
    squares = np.interp(np.arange(p)[half] + 0.5, rank, square)
    # Central limit theorem for sums of f(square), f = sum_k f_k cos(k angle): variance sum_k k f_k^2 / 2.
    bottom, top = np.interp([half.start, half.stop], rank, square)
    summand = np.clip(square, bottom, top)
    k = np.arange(1, 200)
    coefficients = 2 / np.pi * np.trapezoid(summand * np.cos(np.outer(k, angle)), angle, axis=-1)
    relative_error = np.sqrt((k * coefficients**2).sum() / 2) / squares.sum()
    rows, columns = np.sqrt(n - 0.5), np.sqrt(m - 0.5)
    centre, scale = (rows + columns) ** 2, (rows + columns) * (1 / rows + 1 / columns) ** (1 / 3)
    return _Noise(half, m * squares, float(relative_error), float(centre), float(scale))


@dataclass(frozen=True)
class Spectrum:
    """What `spectrum` found. All singular values are those of M = W / sqrt(m), descending.

    singular_values (min(n, m),); outliers (k,), those above `threshold`; variance of the entries of W under the
    outliers, with its standard error; law, of the (n - k) x (m - k) matrix left when the outliers are taken out;
    kolmogorov, largest distance between its distribution function and that of the other singular values.
    """

    singular_values: np.ndarray
    outliers: np.ndarray
    threshold: float
    variance: float
    variance_error: float
    law: RectangularLaw
    kolmogorov: float

    @property
    def bulk(self) -> np.ndarray:
        """The singular values that are not outliers, descending."""
        return self.singular_values[len(self.outliers):]

    @property
    def edge(self) -> float:
        """Upper edge of `law`, where the bulk of an infinitely large matrix would end (below `threshold`)."""
        return float(self.law.edges[0][1])


def spectrum(weights, false_positive_rate: float = 0.01, name: str = "weights") -> Spectrum:
    """Bulk and outliers of a weight matrix W (n, m), the entries of its bulk taken as iid N(0, variance).

    The variance is fitted to the middle half of the singular values, which outliers cannot pull: the sum of their
    squares over the sum expected of noise. On pure noise of 10 x 10 and more its bias is below a fifth of its standard
    error, which is 1.1 to 1.4 times sqrt(2/(n m)), the best possible. The largest singular value of pure noise passes
    `threshold` with probability `false_positive_rate`:

        m threshold^2 = variance (centre + scale q),   q = mean + (q_1 - mean) sqrt(1 + error^2/(2 var)),
        centre = (sqrt(n - 1/2) + sqrt(m - 1/2))^2,
        scale = (sqrt(n - 1/2) + sqrt(m - 1/2)) (1/sqrt(n - 1/2) + 1/sqrt(m - 1/2))^(1/3),

    with q_1 the beta = 1 Tracy-Widom quantile, mean and var of that law, and error the relative standard error of the
    variance times centre/scale: the threshold is widened for a variance that is fitted. (Were the fit independent of
    the largest value, the 2 would be a 1; they move together a little, and 2 meets the rate in simulation.) The k
    outliers found are taken out, (n, m) becomes (n - k, m - k), and fit and threshold are made again until no more are
    found. Relative to the edge the threshold comes down as N^(-2/3). Measured rates: `scripts/empirical_rates.py`.

    Raises ValueError for anything but a finite matrix with 10 singular values or more, for a false-positive rate
    outside [1e-6, 0.5], and where no bulk can be told (a rank below 3/4 of full, or half of the values past the edge);
    `name` is what the matrix is called in these messages.

    Source: Johnstone 2001, Ma 2012 (centring and scale); Ferrari and Spohn 2005 (q_1); Johansson 1998 (error).

    >>> rng = np.random.default_rng(0)
    >>> noise, u, v = rng.normal(size=(200, 300)), rng.normal(size=200), rng.normal(size=300)
    >>> found = spectrum(noise + 3 * np.outer(u, v) / np.sqrt(200))
    >>> print(found.outliers.round(2), round(found.variance, 2))
    [3.06] 1.0
    """
    W = _matrix(name, weights)
    checks.number("false_positive_rate", false_positive_rate, 1e-6, maximum=0.5)
    n, m = W.shape
    p = min(n, m)
    if p < SMALLEST:
        checks.fail(name, f"shape {W.shape}", f"a matrix with at least {SMALLEST} rows and columns")
    s = np.linalg.svd(W / np.sqrt(m), compute_uv=False)
    if s[p - p // 4 - 1] <= 1e-6 * s[0]:
        checks.fail(name, f"a matrix of rank {(s > 1e-6 * s[0]).sum()}", f"a bulk, so a rank above {p - p // 4 - 1}")
    quantile, k = tracy_widom_quantile(1 - false_positive_rate), 0
    while True:
        noise = _noise(n - k, m - k)
        variance = m * (s[k:][::-1][noise.half] ** 2).sum() / noise.squares.sum()
        fit_error = noise.relative_error * noise.centre / noise.scale
        deviation = (quantile - _TW_MEAN) * np.sqrt(1 + fit_error**2 / (2 * _TW_VARIANCE))
        threshold = np.sqrt(variance / m * (noise.centre + noise.scale * (_TW_MEAN + deviation)))
        more = int((s[k:] > threshold).sum())
        if not more:
            break
        k += more
        if k > p // 2:
            checks.fail(name, f"{k} of {p} singular values past the edge", "a bulk with a few outliers")
    law = RectangularLaw((n - k) / (m - k), variance * (m - k) / m)
    predicted = np.asarray(law.cdf(s[::-1]))[:p - k]  # of all p values, so that one program serves every k
    steps = np.arange(p - k + 1) / (p - k)
    kolmogorov = max(np.abs(predicted - steps[1:]).max(), np.abs(predicted - steps[:-1]).max())
    return Spectrum(singular_values=s, outliers=s[:k], threshold=float(threshold), variance=float(variance),
                    variance_error=float(variance * noise.relative_error), law=law, kolmogorov=float(kolmogorov))


def spectra(tree, initial=None, false_positive_rate: float = 0.01) -> pd.DataFrame:
    """`spectrum` of every weight matrix in a pytree, a row each, labelled by its path.

    Matrices are the 2-d arrays with at least 10 rows and columns; other leaves (biases, thin readouts, functions) are
    left out. With `initial`, a tree of the same structure, the stable rank and the participation ratio of the update
    are added (NaN where a matrix did not move). Each test has the stated false-positive rate.

    Raises ValueError where the tree holds no such matrix, where `initial` differs in structure or shapes, and as
    `spectrum` does (the message names the leaf).

    >>> rng = np.random.default_rng(0)
    >>> table = spectra({"hidden": rng.normal(size=(50, 80)), "bias": np.zeros(50)})
    >>> table.index.tolist(), table.outliers.tolist()
    (["['hidden']"], [0])
    """
    leaves = _matrices(tree)
    if not leaves:
        checks.fail("tree", f"{len(jax.tree.leaves(tree))} leaves, no matrix among them",
                    f"at least one 2-d array of at least {SMALLEST} rows and columns")
    starts = {} if initial is None else _matrices(initial)
    if initial is not None and {k: w.shape for k, w in starts.items()} != {k: w.shape for k, w in leaves.items()}:
        checks.fail("initial", "other matrices", "matrices of the same paths and shapes as those of `tree`")
    rows = {}
    for label, W in leaves.items():
        found = spectrum(W, false_positive_rate, name=label)
        rows[label] = {
            "rows": W.shape[0], "columns": W.shape[1], "variance": found.variance,
            "variance_error": found.variance_error, "edge": found.edge, "threshold": found.threshold,
            "outliers": len(found.outliers), "largest": found.singular_values[0], "kolmogorov": found.kolmogorov,
            "stable_rank": stable_rank(W), "participation_ratio": participation_ratio(W)}
        if label in starts:
            update = np.asarray(W, float) - np.asarray(starts[label], float)
            for measure in (stable_rank, participation_ratio):
                rows[label][f"update_{measure.__name__}"] = measure(update) if np.any(update) else np.nan
    return pd.DataFrame.from_dict(rows, orient="index")


def stable_rank(matrix) -> float:
    """sum_i s_i^2 / max_i s_i^2 over the singular values, between 1 and the rank. For an update pass W_t - W_0.

    Raises ValueError for anything but a finite matrix that is not zero.

    >>> stable_rank(np.diag([2.0, 1.0, 1.0]))
    1.5
    """
    return float(_squares(matrix).sum())


def participation_ratio(matrix) -> float:
    """(sum_i s_i^2)^2 / sum_i s_i^4 over the singular values: how many directions carry the squared norm.

    Raises ValueError for anything but a finite matrix that is not zero.

    >>> participation_ratio(np.diag([2.0, 1.0, 1.0]))
    2.0
    """
    squares = _squares(matrix)
    return float(squares.sum() ** 2 / (squares**2).sum())


def overlaps(matrix, directions, side: str = "left", count: int = 1) -> np.ndarray:
    """Squared cosines (count, l) of the top `count` singular vectors of a matrix (n, m) with l given directions.

    `directions` holds one direction in each of its l columns: (n, l) for side = "left", (m, l) for "right". Entry
    (k, j) is (w_k . d_j)^2 / |d_j|^2. A random direction gives about 1/n. Over orthogonal directions a row adds up to
    the squared cosine with their span.

    Raises ValueError for shapes that do not fit, a zero direction, or a count outside 1 ... min(n, m).

    >>> overlaps(np.diag([3.0, 2.0, 1.0]), np.array([[1.0, 1.0, 0.0]]).T, count=2).round(3).tolist()
    [[0.5], [0.5]]
    """
    W = _matrix("matrix", matrix)
    checks.choice("side", side, ("left", "right"))
    checks.integer("count", count, 1)
    if count > min(W.shape):
        checks.fail("count", count, f"at most min(n, m) = {min(W.shape)}")
    checks.array("directions", directions, (W.shape[0 if side == "left" else 1], None))
    directions = np.asarray(directions, float)
    lengths = np.linalg.norm(directions, axis=0)
    if not np.all(lengths):
        checks.fail("directions", "a column of zeros", "columns that are not zero")
    left, _, right = np.linalg.svd(W, full_matrices=False)
    vectors = left.T if side == "left" else right
    return (vectors[:count] @ (directions / lengths)) ** 2


def lanczos_density(weights, points, width: float, depth: int = 80, probes: int = 10, seed: int = 0):
    """Density at `points` of the singular values of M = W / sqrt(m), smoothed with a Gaussian of deviation `width`.

    Stochastic Lanczos quadrature: from each of `probes` random directions, `depth` steps of Golub-Kahan
    bidiagonalisation, whose singular values and vectors are the nodes and weights of a quadrature. It costs
    2 depth probes products with W, for matrices too large for a full SVD (needs the optional package matfree).
    The statistical error falls as 1/sqrt(probes min(n, m)); structure finer than range/depth is not resolved, so a
    `width` below that shows the nodes.

    Raises ValueError for weights that are not a finite matrix, points that are not finite, or a depth above min(n, m).

    >>> W = np.random.default_rng(0).normal(size=(300, 400))
    >>> density = lanczos_density(W, np.linspace(0, 3, 301), width=0.1, depth=40)
    >>> round(float(density.sum() * 0.01), 2)
    1.0
    """
    W = _matrix("weights", weights)
    checks.array("points", points, (None,))
    checks.positive("width", width)
    checks.integer("seed", seed, 0)
    checks.integer("probes", probes, 1)
    if checks.integer("depth", depth, 1) > min(W.shape):
        checks.fail("depth", depth, f"at most min(n, m) = {min(W.shape)}")
    try:
        from matfree import decomp
    except ImportError as error:
        raise ImportError("lanczos_density needs the package matfree: pip install 'dmftlib[book]'") from error
    M = jnp.asarray((W if W.shape[0] >= W.shape[1] else W.T) / np.sqrt(W.shape[1]))  # no null directions on the right
    bidiagonal = jax.jit(lambda start: decomp.bidiag(depth)(lambda v: M @ v, start).J_small)
    density = np.zeros(np.shape(points))
    for key in jax.random.split(jax.random.key(seed), probes):
        _, nodes, vectors = np.linalg.svd(np.asarray(bidiagonal(jax.random.normal(key, M.shape[1:]))))
        bumps = np.exp(-(((np.asarray(points, float)[:, None] - nodes) / width) ** 2) / 2)
        density += bumps @ vectors[:, 0] ** 2 / (probes * width * np.sqrt(2 * np.pi))
    return density


def _matrix(name, value) -> np.ndarray:
    checks.array(name, value, (None, None))
    if 0 in np.shape(value):
        checks.fail(name, f"shape {np.shape(value)}", "a matrix that is not empty")
    return np.asarray(value, float)


def _matrices(tree) -> dict:
    """Path -> array for the leaves of a pytree that are matrices with a bulk to speak of."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path) or "weights": leaf for path, leaf in leaves
            if getattr(leaf, "ndim", 0) == 2 and min(leaf.shape) >= SMALLEST}


def _squares(matrix) -> np.ndarray:
    """Squared singular values, descending, in units of the largest."""
    s = np.linalg.svd(_matrix("matrix", matrix), compute_uv=False)
    if s[0] == 0:
        checks.fail("matrix", "a matrix of zeros", "a matrix that is not zero")
    return (s / s[0]) ** 2
