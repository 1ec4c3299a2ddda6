"""Spectra of any trained weights: the variance of the bulk, the outliers past its edge, and where they point.

Every matrix is taken raw, as W of shape (n, m) with fan_in = m columns; spectra are singular values of
M = W / sqrt(m). Libraries that store W^T (inputs first) need a transpose before they come here: the outliers found
are the same, the units are not. The null hypothesis is a matrix of iid Gaussian entries; nothing else is assumed.
"""

from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import optimize, special

from . import checks
from .spectra.bulk import RectangularLaw

SMALLEST = 10  # singular values that a bulk needs: below this its variance cannot be told
_TW_MEAN, _TW_VARIANCE = -1.2065335745820, 1.6077810345810  # of the beta = 1 Tracy-Widom law


@lru_cache
def tracy_widom_quantile(probability: float) -> float:
    """Quantile of the Tracy-Widom law of real matrices (beta = 1), to about 1e-10.

    Its distribution function is the Fredholm determinant F_1(x) = det(1 - A_x), A_x(u, v) = Ai(u + v + x) on
    (0, inf) (Ferrari and Spohn 2005), here by 60-point Gauss-Legendre quadrature (Bornemann 2010).
    Raises ValueError unless `probability` lies in [1e-6, 1 - 1e-6].

    >>> round(tracy_widom_quantile(0.95), 4)
    0.9793
    """
    checks.number("probability", probability, 1e-6, maximum=1 - 1e-6)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    u, root = 10 * (1 + nodes), np.sqrt(10 * weights)

    def cdf(x):
        return np.linalg.det(np.eye(60) - np.outer(root, root) * special.airy(u[:, None] + u + x)[0])

    return float(optimize.brentq(lambda x: cdf(x) - probability, -8.0, 12.0, xtol=1e-12))


@lru_cache(maxsize=64)
def _noise(n: int, m: int):
    """Of an n x m matrix X of iid N(0, 1) entries: squares expected of the middle half of its singular values (with
    their range of ranks, ascending), standard error of the variance fitted to them, and centre and scale of the top
    square. The O(1/p) shift of the ranks, p = min(n, m), is that of the mean density of real matrices."""
    law, p = RectangularLaw(n / m, 1.0), min(n, m)
    low, high = (float(edge) ** 2 for edge in law.edges[0])
    angle = np.linspace(0, np.pi, 4001)  # square = (low + high)/2 - cos(angle) (high - low)/2
    square = (low + high) / 2 - np.cos(angle) * (high - low) / 2
    expected_rank = p * np.asarray(law.cdf(np.sqrt(square))) + 0.25 - 0.5 * angle / np.pi
    first, last = p // 4, p - p // 4
    squares = np.interp(np.arange(first, last) + 0.5, expected_rank, square)
    # central limit theorem of linear statistics (Johansson 1998): variance (1/2) sum k f_k^2 for f = sum f_k cos(k angle)
    statistic = np.clip(square, *np.interp([first, last], expected_rank, square))
    k = np.arange(1, 200)
    coefficients = 2 / np.pi * np.trapezoid(statistic * np.cos(np.outer(k, angle)), angle, axis=-1)
    relative_error = np.sqrt(0.5 * (k * coefficients**2).sum()) / squares.sum()
    rows, columns = np.sqrt(n - 0.5), np.sqrt(m - 0.5)  # second-order accurate centring (Ma 2012)
    return m * squares, first, last, relative_error, (rows + columns) ** 2, (rows + columns) * (1 / rows + 1 / columns) ** (1 / 3)


@dataclass(frozen=True)
class Spectrum:
    """What `spectrum` found. All singular values are those of M = W / sqrt(m), descending.

    singular_values (min(n, m),); outliers (k,), those above `threshold`; variance of the entries of W under the
    outliers, with its standard error; law, of the (n - k) x (m - k) matrix left when the outliers are taken out;
    kolmogorov, largest distance between its distribution function and that of the other singular values.
    """

    singular_values: Float[np.ndarray, "p"]
    outliers: Float[np.ndarray, "k"]
    threshold: float
    variance: float
    variance_error: float
    law: RectangularLaw
    kolmogorov: float

    @property
    def bulk(self) -> Float[np.ndarray, "p_minus_k"]:
        """The singular values that are not outliers, descending."""
        return self.singular_values[len(self.outliers):]

    @property
    def edge(self) -> float:
        """Upper edge of `law`, where the bulk of an infinitely large matrix would end (below `threshold`)."""
        return float(self.law.edges[0][1])


def spectrum(weights, false_positive_rate: float = 0.01, name: str = "weights") -> Spectrum:
    """Bulk and outliers of a weight matrix W (n, m), the entries of its bulk taken as iid N(0, variance).

    The variance is fitted to the middle half of the singular values, by the ratio of the sum of their squares to the
    sum expected: outliers cannot pull it. Its bias is below 0.1 standard errors on pure noise of 10 x 10 and more;
    its relative standard error is 1.0 to 1.4 times that of all entries known to be noise, sqrt(2/(n m)).
    An outlier exceeds `threshold`, which the largest singular value of pure noise passes with probability
    `false_positive_rate`:

        m threshold^2 = variance (centre + scale q),   q = mean + (q_1 - mean) sqrt(1 + error^2/(2 var)),
        centre = (sqrt(n - 1/2) + sqrt(m - 1/2))^2,
        scale = (sqrt(n - 1/2) + sqrt(m - 1/2)) (1/sqrt(n - 1/2) + 1/sqrt(m - 1/2))^(1/3),

    with q_1 the beta = 1 Tracy-Widom quantile, mean and var of that law, and error the standard error of
    variance centre/scale, which widens it for the variance being fitted. The k outliers found are taken out, (n, m)
    becomes (n - k, m - k), and fit and threshold are made again until no more are found. The width of the threshold
    above the edge falls as N^(-2/3). Measured rates on pure noise and on planted spikes: `scripts/empirical_rates.py`.

    Raises ValueError for anything but a finite matrix with 10 singular values or more, for a false-positive rate
    outside [1e-6, 0.5], and where no bulk can be told (a rank below 3/4 of full, or half of the values past the edge).
    `name` is what the matrix is called in these messages.

    Source: Johnstone 2001, Ma 2012 (centring); Ferrari and Spohn 2005 (q_1).

    >>> rng = np.random.default_rng(0)
    >>> noise, u, v = rng.normal(size=(200, 300)), rng.normal(size=200), rng.normal(size=300)
    >>> found = spectrum(noise + 3 * np.outer(u, v) / np.sqrt(200))
    >>> len(found.outliers), round(found.variance, 2), round(found.outliers[0], 1)
    (1, 1.01, 3.2)
    """
    W = _matrix(name, weights)
    checks.number("false_positive_rate", false_positive_rate, 1e-6, maximum=0.5)
    n, m = W.shape
    p = min(n, m)
    if p < SMALLEST:
        checks.fail(name, f"shape {W.shape}", f"a matrix with at least {SMALLEST} rows and columns")
    s = np.linalg.svd(W / np.sqrt(m), compute_uv=False)
    if s[p - p // 4 - 1] <= 1e-6 * s[0]:
        checks.fail(name, f"a matrix of rank about {int((s > 1e-6 * s[0]).sum())}", f"a bulk: a rank above {p - p // 4}")
    quantile, k = tracy_widom_quantile(1 - false_positive_rate), 0
    while True:
        squares, first, last, relative_error, centre, scale = _noise(n - k, m - k)
        variance = m * (s[k:][::-1][first:last] ** 2).sum() / squares.sum()
        spread = np.sqrt(1 + 0.5 * (relative_error * centre / scale) ** 2 / _TW_VARIANCE)
        threshold = np.sqrt(variance * (centre + scale * (_TW_MEAN + (quantile - _TW_MEAN) * spread)) / m)
        more = int((s[k:] > threshold).sum())
        if not more:
            break
        k += more
        if k > p // 2:
            checks.fail(name, f"{k} of {p} singular values past the edge", "a bulk with a few outliers")
    law = RectangularLaw((n - k) / (m - k), variance * (m - k) / m)
    predicted, ranks = np.asarray(law.cdf(s[k:][::-1])), np.arange(p - k + 1) / (p - k)
    kolmogorov = max(np.abs(predicted - ranks[1:]).max(), np.abs(predicted - ranks[:-1]).max())
    return Spectrum(s, s[:k], float(threshold), float(variance), float(variance * relative_error), law, float(kolmogorov))


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
    if initial is not None and {k: np.shape(w) for k, w in leaves.items()} != {
            k: np.shape(w) for k, w in _matrices(initial).items()}:
        checks.fail("initial", "a tree with other matrices", "matrices of the same paths and shapes as those of `tree`")
    starts = {} if initial is None else _matrices(initial)
    rows = {}
    for label, W in leaves.items():
        found = spectrum(W, false_positive_rate, name=label)
        rows[label] = {
            "rows": W.shape[0], "columns": W.shape[1], "variance": found.variance, "variance_error": found.variance_error,
            "edge": found.edge, "threshold": found.threshold, "outliers": len(found.outliers),
            "largest": found.singular_values[0], "kolmogorov": found.kolmogorov,
            "stable_rank": stable_rank(W), "participation_ratio": participation_ratio(W)}
        if initial is not None:
            update = np.asarray(W, float) - np.asarray(starts[label], float)
            moved = np.any(update)
            rows[label]["update_stable_rank"] = stable_rank(update) if moved else np.nan
            rows[label]["update_participation_ratio"] = participation_ratio(update) if moved else np.nan
    return pd.DataFrame.from_dict(rows, orient="index")


def stable_rank(matrix) -> float:
    """sum_i s_i^2 / max_i s_i^2 over the singular values, between 1 and the rank. For an update pass W_t - W_0.

    Raises ValueError for anything but a finite matrix that is not zero.

    >>> stable_rank(np.diag([2.0, 1.0, 1.0]))
    1.5
    """
    squares = _squares(matrix)
    return float(squares.sum() / squares[0])


def participation_ratio(matrix) -> float:
    """(sum_i s_i^2)^2 / sum_i s_i^4 over the singular values: how many directions carry the squared norm.

    Raises ValueError for anything but a finite matrix that is not zero.

    >>> participation_ratio(np.diag([2.0, 1.0, 1.0]))
    2.0
    """
    squares = _squares(matrix) / _squares(matrix)[0]
    return float(squares.sum() ** 2 / (squares**2).sum())


def overlaps(matrix, directions, side: str = "left", count: int = 1) -> Float[np.ndarray, "count l"]:
    """Squared cosines of the top `count` singular vectors of a matrix (n, m) with given directions.

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
    """Density of the singular values of M = W / sqrt(m) at `points`, smoothed with a Gaussian of standard deviation `width`.

    Stochastic Lanczos quadrature: from each of `probes` random directions `depth` steps of Golub-Kahan bidiagonalisation,
    whose singular values and vectors are nodes and weights of a quadrature. It costs 2 depth probes products with W and
    never stores a square matrix, so it is for matrices too large for a full SVD (needs the optional package matfree).
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
        bumps = np.exp(-(((np.asarray(points, float)[:, None] - nodes) / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))
        density += bumps @ vectors[:, 0] ** 2 / probes
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
    """Squared singular values, descending, of a matrix that is not zero."""
    s = np.linalg.svd(_matrix("matrix", matrix), compute_uv=False)
    if s[0] == 0:
        checks.fail("matrix", "a matrix of zeros", "a matrix that is not zero")
    return s**2
