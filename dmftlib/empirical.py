"""Spectra of any trained weights: the variance of the bulk, the outliers past its edge,
where they point, and what training did to them.

Every matrix is taken raw, as W of shape (n, m) with fan_in = m columns; spectra are
singular values of M = W / sqrt(m). Libraries that store W^T (inputs first) need a
transpose before they come here: the outliers found are the same, the units are not. The
null hypothesis is a matrix of iid Gaussian entries: a bulk of another kind shows as
many 'outliers' and a large Kolmogorov distance.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd

from . import _checks
from .noise import noise, tracy_widom_cdf, tracy_widom_quantile
from .spectra.bulk import RectangularLaw
from .weights import (
    SMALLEST,
    read_leaves,
    read_matrices,
    read_matrix,
    read_numbers,
    without_zeros,
)

__all__ = [
    "SMALLEST",
    "Spectrum",
    "lanczos_density",
    "overlaps",
    "participation_ratio",
    "report",
    "spectra",
    "spectrum",
    "stable_rank",
    "tracy_widom_cdf",
    "tracy_widom_quantile",
]

# what a leaf may raise that holds no matrix of numbers, whatever library it is of
_FAULTS = (ValueError, TypeError, RuntimeError, AttributeError, np.linalg.LinAlgError)
_DEPTH = 80  # steps of Lanczos, where there are so many


# ---------------------------------------------------------------- one matrix


@dataclass(frozen=True)
class Spectrum:
    """What `spectrum` found. All singular values are those of M = W / sqrt(m),
    descending; n and m count the rows and columns that are not zero.

    singular_values (min(n, m),); outliers (k,), those above `threshold`; variance of
    the entries of W under the outliers, with its standard error; law, of the (n - k) x
    (m - k) matrix left when the outliers are taken out; kolmogorov, largest distance
    between its distribution function and that of the other singular values; zero_rows
    and zero_columns, how many of W were left out.
    """

    singular_values: np.ndarray
    outliers: np.ndarray
    threshold: float
    variance: float
    variance_error: float
    law: RectangularLaw
    kolmogorov: float
    zero_rows: int = 0
    zero_columns: int = 0

    @property
    def bulk(self) -> np.ndarray:
        """The singular values that are not outliers, descending."""
        return self.singular_values[len(self.outliers) :]

    @property
    def edge(self) -> float:
        """Upper edge of `law`, where the bulk of an infinitely large matrix would end
        (below `threshold`).
        """
        return float(self.law.edges[0][1])


def spectrum(
    weights, false_positive_rate: float = 0.01, name: str = "weights"
) -> Spectrum:
    """Bulk and outliers of a weight matrix W (n, m), the entries of its bulk taken as
    iid N(0, variance).

    The variance is fitted to the middle half of the singular values, which outliers
    cannot pull: the sum of their squares over the sum expected of noise. On pure noise
    of 10 x 10 and more its bias is below a fifth of its standard error, which is 1.1 to
    1.4 times sqrt(2/(n m)), the best possible. The largest singular value of pure noise
    passes `threshold` with probability `false_positive_rate`:

        m threshold^2 = variance (centre + scale q),   q = mean + (q_1 - mean) sqrt(1 +
                                                       error^2/(2 var)),
        centre = (sqrt(n - 1/2) + sqrt(m - 1/2))^2,
        scale = (sqrt(n - 1/2) + sqrt(m - 1/2)) (1/sqrt(n - 1/2) + 1/sqrt(m - 1/2))^(1/3),

    with q_1 the beta = 1 Tracy-Widom quantile, mean and var of that law, and error the
    relative standard error of the variance times centre/scale: the threshold is widened
    for a variance that is fitted. (Were the fit independent of the largest value, the 2
    would be a 1; they move together a little, and 2 meets the rate in simulation.) The
    k outliers found are taken out, (n, m) becomes (n - k, m - k), and fit and threshold
    are made again until no more are found. Relative to the edge the threshold comes
    down as N^(-2/3). Measured rates: `experiments/empirical_rates.py`.

    Rows and columns that hold nothing (pruned units: below a millionth of the typical
    row or column) are taken out first, and the rest is tested; fan_in stays m. The
    matrix is divided by its largest entry before anything is computed.

    Takes arrays of any library, also torch tensors and sparse matrices. Raises
    ValueError for anything but a finite matrix with 10 singular values or more and a
    largest entry from 1e-50 to 1e50, for a false-positive rate outside [1e-6, 0.5], and
    where no bulk can be told (a rank below 3/4 of full, or half of the values past the
    edge); `name` is what the matrix is called in these messages.

    Source: Johnstone 2001, Ma 2012 (centring and scale); Ferrari and Spohn 2005 (q_1);
    Johansson 1998 (error).

    >>> rng = np.random.default_rng(0)
    >>> W = rng.normal(size=(200, 300))
    >>> spike = np.outer(rng.normal(size=200), rng.normal(size=300)) / np.sqrt(200)
    >>> found = spectrum(W + 3 * spike)
    >>> print(found.outliers.round(2), round(found.variance, 2))
    [3.06] 1.0
    """
    _checks.number("false_positive_rate", false_positive_rate, 1e-6, maximum=0.5)
    W = read_matrix(name, weights)
    scale = _largest_entry(name, W)
    rest = _tested(name, W / scale)
    values = np.linalg.svd(rest, compute_uv=False)
    fit = _fit(name, values, rest.shape, false_positive_rate)
    unit = scale / np.sqrt(W.shape[1])
    return Spectrum(
        singular_values=values * unit,
        outliers=values[: fit.outliers] * unit,
        threshold=fit.threshold * unit,
        variance=fit.variance * scale**2,
        variance_error=fit.variance_error * scale**2,
        law=_law_of_any_scale(fit.aspect, fit.law_variance * unit**2),
        kolmogorov=fit.kolmogorov,
        zero_rows=W.shape[0] - rest.shape[0],
        zero_columns=W.shape[1] - rest.shape[1],
    )


def _law_of_any_scale(aspect: float, variance: float) -> RectangularLaw:
    """Squares of entries may leave the range that arguments are held to."""
    law = RectangularLaw(aspect, 1.0)
    return eqx.tree_at(lambda law: law.variance, law, jnp.asarray(variance, float))


def _largest_entry(name: str, W) -> float:
    """What to divide by; a matrix of zeros is left as it is."""
    largest = float(np.abs(W).max())
    if largest == 0:
        return 1.0
    if not 1 / _checks.LARGEST <= largest <= _checks.LARGEST:
        need = f"a largest entry from {1 / _checks.LARGEST:g} to {_checks.LARGEST:g}"
        remedy = "multiply the matrix by a number first, which changes no outlier"
        _checks.fail(name, f"a largest entry of {largest:g}", f"{need}: {remedy}")
    return largest


def _tested(name: str, W) -> np.ndarray:
    """The part of W that is not zero, if it is large enough for a bulk."""
    need = f"at least {SMALLEST} rows and columns"
    if min(W.shape) < SMALLEST:
        _checks.fail(name, f"shape {W.shape}", f"a matrix with {need}")
    rest = without_zeros(W)
    if rest.size == 0:
        _checks.fail(name, "a matrix of rank 0", f"a bulk, so {need} that are not zero")
    if min(rest.shape) < SMALLEST:
        got = f"shape {W.shape}, of which {rest.shape} is not zero"
        _checks.fail(name, got, f"a matrix with {need}")
    return rest


class _Fit(NamedTuple):
    """What the singular values of a matrix say, in the units of its entries."""

    outliers: int
    threshold: float
    variance: float
    variance_error: float
    aspect: float  # of the matrix left, and the variance of its law, without fan_in
    law_variance: float
    kolmogorov: float


def _fit(name: str, values, shape: tuple, false_positive_rate: float) -> _Fit:
    """The loop of `spectrum`: singular values of a matrix of `shape`, descending."""
    n, m = shape
    _refuse_low_rank(name, values)
    quantile = float(tracy_widom_quantile(1 - false_positive_rate))
    k = 0
    while True:
        expected = noise(n - k, m - k)
        middle = values[k:][::-1][expected.half]
        variance = float((middle**2).sum() / expected.squares.sum())
        threshold = float(np.sqrt(variance * expected.largest_square(quantile)))
        more = int((values[k:] > threshold).sum())
        k += more
        if k > len(values) // 2:
            got = f"{k} of {len(values)} singular values past the edge"
            _checks.fail(name, got, "a bulk with a few outliers")
        if not more:
            break
    law_variance = variance * (m - k)
    aspect = (n - k) / (m - k)
    return _Fit(
        outliers=k,
        threshold=threshold,
        variance=variance,
        variance_error=variance * expected.relative_error,
        aspect=aspect,
        law_variance=law_variance,
        kolmogorov=_kolmogorov(RectangularLaw(aspect, law_variance), values, k),
    )


def _refuse_low_rank(name: str, values):
    p = len(values)
    if values[p - p // 4 - 1] <= 1e-6 * values[0]:
        got = f"a matrix of rank {(values > 1e-6 * values[0]).sum()}"
        _checks.fail(name, got, f"a bulk, so a rank above {p - p // 4 - 1}")


def _kolmogorov(law: RectangularLaw, values, k: int) -> float:
    """Largest distance between the law and the values without the first k."""
    left = len(values) - k
    # of all values, so that one program serves every k
    predicted = np.asarray(law.cdf(values[::-1]))[:left]
    steps = np.arange(left + 1) / left
    above = np.abs(predicted - steps[1:]).max()
    below = np.abs(predicted - steps[:-1]).max()
    return float(max(above, below))


class _Directions(NamedTuple):
    """How many directions carry a matrix, from its singular values."""

    stable_rank: float
    participation_ratio: float

    @classmethod
    def of(cls, values):
        squares = (values / values[0]) ** 2
        ratio = squares.sum() ** 2 / (squares**2).sum()
        return cls(float(squares.sum()), float(ratio))


def _singular_values(matrix) -> np.ndarray:
    values = np.linalg.svd(read_matrix("matrix", matrix), compute_uv=False)
    if values[0] == 0:
        _checks.fail("matrix", "a matrix of zeros", "a matrix that is not zero")
    return values


# ---------------------------------------------------------------- trees of matrices


def spectra(tree, initial=None, false_positive_rate: float = 0.01) -> pd.DataFrame:
    """`spectrum` of every weight matrix in a tree, a row each, labelled by its path.

    Leaves may be arrays, torch tensors or sparse matrices; a convolution kernel is a
    matrix of a row for each output, and a stack of matrices is read one by one, as
    `report` does. Biases and what has fewer than 10 rows or columns are left out. A
    matrix that is refused, by its zeros, a NaN, or too many values past the edge, keeps
    its row, with the reason in the last column and NaN for what could not be told. With
    `initial`, a tree of the same structure, the stable rank and the participation ratio
    of the update are added (NaN where a matrix did not move). Each test has the stated
    false-positive rate.

    Raises ValueError where the tree holds no such matrix, where `initial` differs in
    paths or shapes, and for a false-positive rate outside [1e-6, 0.5].

    >>> rng = np.random.default_rng(0)
    >>> table = spectra({"hidden": rng.normal(size=(50, 80)), "bias": np.zeros(50)})
    >>> table.index.tolist(), table.outliers.tolist()
    (["['hidden']"], [0])
    """
    _checks.number("false_positive_rate", false_positive_rate, 1e-6, maximum=0.5)
    found = _with_a_bulk(_read(tree))
    if not found:
        got = f"{len(read_leaves(tree))} leaves with two axes or more, none of them one"
        need = f"at least one matrix of at least {SMALLEST} rows and columns"
        _checks.fail("tree", got, need)
    starts = {} if initial is None else _with_a_bulk(_read(initial))
    if initial is not None and _shapes(starts) != _shapes(found):
        need = "matrices of the same paths and shapes as those of `tree`"
        _checks.fail("initial", "other matrices", need)
    rows = {
        label: _spectra_row(label, found[label], starts.get(label), false_positive_rate)
        for label in found
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def report(before, after, false_positive_rate: float = 0.01, seed: int = 0):
    """What training did to each weight matrix of a network: a pandas table of one row a
    matrix, labelled by its path in the tree `after`.

    With M0 and M a matrix before and after, Delta = M - M0 and |.| the root of the sum
    of squares, the columns are: rows, columns, and how many of them are zero in M;
    variance of the bulk of M, outliers k and Kolmogorov distance D of the bulk, as in
    `spectrum`; moved = |Delta|/|M0|; participation_ratio P and stable_rank of Delta;
    share, the part of |Delta|^2 along the k outliers' singular vectors (on the side of
    fewer dimensions, the left of a square one); overlap = sum(Delta M0)/(|Delta| |M0|); outliers_turned and
    kolmogorov_turned, k and D of a control, M0 + O Delta Q with random rotations O and
    Q: the same update, if it knew nothing of M0. It is drawn with `seed` and the path.
    All but the variance do not depend on the units of W or on its being transposed.

    The trees hold NumPy or JAX arrays, torch tensors of any precision, Parameters, or
    sparse matrices; a torch module stands for its state_dict (which shares its memory
    with the network: keep a deep copy of the one before). A convolution kernel is a
    matrix of a row for each output: of shape (outputs, inputs, *kernel) as in torch,
    with axes of fewer than ten entries, or (*kernel, inputs, outputs) as in flax, with
    two axes or more, equal and at most 7; of up to four inputs 32 in both. All else is
    a stack of matrices, read one by one. Leaves with fewer than two axes are left out.

    No leaf stops the table. What could not be told is NaN, and `reason` says why: a
    NaN, zeros, fewer than 10 rows or columns, too many values past the edge, no such
    leaf in `before`. Raises ValueError for a bad rate or seed, and if `after` has no
    leaf with two axes.

    >>> rng = np.random.default_rng(0)
    >>> start = rng.normal(size=(100, 150))
    >>> spike = np.outer(rng.normal(size=100), rng.normal(size=150)) / 3
    >>> table = report({"W": start}, {"W": start + spike})
    >>> print(table[["outliers", "participation_ratio", "share", "moved"]].round(2))
           outliers  participation_ratio  share  moved
    ['W']         1                  1.0   0.95   0.32
    """
    _checks.number("false_positive_rate", false_positive_rate, 1e-6, maximum=0.5)
    _checks.integer("seed", seed, 0)
    ends = _read(after)
    starts = _read(before)
    if not ends:
        _checks.fail("after", "no matrix", "a tree with a leaf of two axes or more")
    missing = _Read(None, "not in `before`")
    rows = {}
    for label, end in ends.items():
        rng = np.random.default_rng([seed, zlib.crc32(label.encode())])
        start = starts.get(label, missing)
        rows[label] = _report_row(label, start, end, false_positive_rate, rng)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=_REPORTED)
    counts = [column for column in _REPORTED if column in _COUNTS]
    return table.astype(dict.fromkeys(counts, "Int64"))


_COUNTS = {
    "rows",
    "columns",
    "zero_rows",
    "zero_columns",
    "outliers",
    "outliers_turned",
}
_REPORTED = [
    "rows",
    "columns",
    "zero_rows",
    "zero_columns",
    "variance",
    "outliers",
    "kolmogorov",
    "moved",
    "participation_ratio",
    "stable_rank",
    "share",
    "overlap",
    "outliers_turned",
    "kolmogorov_turned",
    "reason",
]


class _Read(NamedTuple):
    """A matrix, or why there is none."""

    matrix: np.ndarray | None
    reason: str = ""


def _read(tree) -> dict:
    """{label: _Read} of every matrix of a tree."""
    found = {}
    for label, leaf in read_leaves(tree).items():
        try:
            each = read_matrices(label, leaf)
            found |= {name: _Read(matrix) for name, matrix in each.items()}
        except _FAULTS as error:
            found[label] = _Read(None, str(error))
    return found


def _with_a_bulk(found: dict) -> dict:
    return {
        label: read
        for label, read in found.items()
        if read.matrix is None or min(read.matrix.shape) >= SMALLEST
    }


def _shapes(found: dict) -> dict:
    return {
        label: read.matrix.shape
        for label, read in found.items()
        if read.matrix is not None
    }


def _gathered(*measurements) -> dict:
    """The columns of several measurements, and why some of them failed."""
    row = {}
    reasons = []
    for measure in measurements:
        try:
            row |= measure()
        except _FAULTS as error:
            reasons.append(str(error))
    return row | {"reason": "; ".join(dict.fromkeys(reasons))}


def _spectra_row(label: str, end: _Read, start: _Read | None, rate: float) -> dict:
    W = end.matrix
    if W is None:
        return {"reason": end.reason}
    row = {"rows": W.shape[0], "columns": W.shape[1]}
    if start is not None and start.matrix is not None and np.any(W - start.matrix):
        update = _Directions.of(_singular_values(W - start.matrix))
        row["update_stable_rank"] = update.stable_rank
        row["update_participation_ratio"] = update.participation_ratio
    elif start is not None:
        row["update_stable_rank"] = np.nan
        row["update_participation_ratio"] = np.nan

    def bulk():
        found = spectrum(W, rate, name=label)
        return {
            "zero_rows": found.zero_rows,
            "zero_columns": found.zero_columns,
            "variance": found.variance,
            "variance_error": found.variance_error,
            "edge": found.edge,
            "threshold": found.threshold,
            "outliers": len(found.outliers),
            "largest": found.singular_values[0],
            "kolmogorov": found.kolmogorov,
        }

    def directions():
        return _Directions.of(_singular_values(W))._asdict()

    return row | _gathered(bulk, directions)


def _report_row(label: str, start: _Read, end: _Read, rate: float, rng) -> dict:
    if end.matrix is None:
        return {"reason": end.reason}
    row = {"rows": end.matrix.shape[0], "columns": end.matrix.shape[1]}
    M0 = np.zeros_like(end.matrix) if start.matrix is None else start.matrix
    if M0.shape != end.matrix.shape:
        start = _Read(None, f"before: got shape {M0.shape}")
        M0 = np.zeros_like(end.matrix)
    scale = max(np.abs(M0).max(), np.abs(end.matrix).max()) or 1.0
    change = _Change(label, M0 / scale, end.matrix / scale, rate)
    if start.matrix is None:
        found = _gathered(change.bulk)
        found["reason"] = "; ".join(filter(None, [start.reason, found["reason"]]))
    else:
        found = _gathered(change.bulk, change.update, lambda: change.turned(rng))
    if "variance" in found:
        found["variance"] *= scale**2
    return row | found


class _Change:
    """A matrix before and after training, in units of the largest entry."""

    def __init__(self, label: str, before, after, rate: float):
        self.label = label
        self.before = before
        self.after = after
        self.rate = rate
        self.delta = after - before
        self.left, self.values, self.right = np.linalg.svd(after, full_matrices=False)

    def bulk(self) -> dict:
        rest = _tested(self.label, self.after)
        values = self.values[: min(rest.shape)]
        fit = _fit(self.label, values, rest.shape, self.rate)
        return {
            "zero_rows": self.after.shape[0] - rest.shape[0],
            "zero_columns": self.after.shape[1] - rest.shape[1],
            "variance": fit.variance,
            "outliers": fit.outliers,
            "kolmogorov": fit.kolmogorov,
            "share": self.share(fit.outliers),
        }

    def share(self, outliers: int) -> float:
        """The part of |delta|^2 along the vectors of the outliers."""
        n, m = self.delta.shape
        along = self.left.T @ self.delta if n <= m else self.right @ self.delta.T
        total = (self.delta**2).sum()
        return float((along[:outliers] ** 2).sum() / total) if total else np.nan

    def update(self) -> dict:
        length = np.linalg.norm(self.delta)
        start = np.linalg.norm(self.before)
        found = {"moved": length / start if start else np.inf if length else np.nan}
        if length:
            values = np.linalg.svd(self.delta, compute_uv=False)
            found |= _Directions.of(values)._asdict()
        if length and start:
            product = (self.delta * self.before).sum()
            found["overlap"] = float(product / length / start)
        return found

    def turned(self, rng) -> dict:
        """The control: the singular values of the update, in random directions."""
        if not np.any(self.before):
            _checks.fail("before", "a matrix of zeros", "one that is not zero")
        if not np.any(self.delta):
            _checks.fail("after", "the matrix of `before`", "one that has moved")
        n, m = self.delta.shape
        values = np.linalg.svd(self.delta, compute_uv=False)
        left = _random_frame(n, len(values), rng)
        right = _random_frame(m, len(values), rng)
        rest = _tested(self.label, self.before + (left * values) @ right.T)
        spectrum_of_rest = np.linalg.svd(rest, compute_uv=False)
        name = f"{self.label}, turned"
        fit = _fit(name, spectrum_of_rest, rest.shape, self.rate)
        return {"outliers_turned": fit.outliers, "kolmogorov_turned": fit.kolmogorov}


def _random_frame(rows: int, columns: int, rng) -> np.ndarray:
    """Orthonormal columns in directions that prefer none."""
    frame, triangle = np.linalg.qr(rng.normal(size=(rows, columns)))
    return frame * np.sign(np.diag(triangle))


# ---------------------------------------------------------------- directions


def stable_rank(matrix) -> float:
    """sum_i s_i^2 / max_i s_i^2 over the singular values, between 1 and the rank. For
    an update pass W_t - W_0.

    Raises ValueError for anything but a finite matrix that is not zero.

    >>> stable_rank(np.diag([2.0, 1.0, 1.0]))
    1.5
    """
    return _Directions.of(_singular_values(matrix)).stable_rank


def participation_ratio(matrix) -> float:
    """(sum_i s_i^2)^2 / sum_i s_i^4 over the singular values: how many directions carry
    the squared norm.

    Raises ValueError for anything but a finite matrix that is not zero.

    >>> participation_ratio(np.diag([2.0, 1.0, 1.0]))
    2.0
    """
    return _Directions.of(_singular_values(matrix)).participation_ratio


def overlaps(matrix, directions, side: str = "left", count: int = 1) -> np.ndarray:
    """Squared cosines (count, l) of the top `count` singular vectors of a matrix (n, m)
    with l given directions.

    `directions` holds one direction in each of its l columns: (n, l) for side = "left",
    (m, l) for "right". Entry (k, j) is (w_k . d_j)^2 / |d_j|^2. A random direction
    gives about 1/n. Over orthogonal directions a row adds up to the squared cosine with
    their span.

    Raises ValueError for shapes that do not fit, a zero direction, or a count outside 1
    ... min(n, m).

    >>> overlaps(np.diag([3.0, 2.0, 1.0]), np.array([[1.0, 1.0, 0.0]]).T, count=2).round(3).tolist()
    [[0.5], [0.5]]
    """
    W = read_matrix("matrix", matrix)
    _checks.choice("side", side, ("left", "right"))
    _checks.integer("count", count, 1)
    if count > min(W.shape):
        _checks.fail("count", count, f"at most min(n, m) = {min(W.shape)}")
    directions = read_numbers("directions", directions)
    _checks.array("directions", directions, (W.shape[side == "right"], None))
    lengths = np.linalg.norm(directions, axis=0)
    if not np.all(lengths):
        _checks.fail("directions", "a column of zeros", "columns that are not zero")
    left, _, right = np.linalg.svd(W, full_matrices=False)
    vectors = left.T if side == "left" else right
    return (vectors[:count] @ (directions / lengths)) ** 2


def lanczos_density(
    weights,
    points,
    width: float,
    depth: int | None = None,
    probes: int = 10,
    seed: int = 0,
):
    """Density at `points` of the min(n, m) singular values of M = W / sqrt(m), smoothed
    with a Gaussian of deviation `width`.

    Stochastic Lanczos quadrature: from each of `probes` random directions, `depth`
    steps of Golub-Kahan bidiagonalisation, whose singular values and vectors are the
    nodes and weights of a quadrature. It costs 2 depth probes products with W, for
    matrices too large for a full SVD: `weights` may be a matrix, or anything with a
    shape, `matvec` and `rmatvec` (`scipy.sparse.linalg.LinearOperator`). Fewer steps
    are made where a direction is used up before: a matrix of low rank has no more. The
    statistical error falls as 1/sqrt(probes min(n, m)); structure finer than
    range/depth is not resolved, so a `width` below that shows the nodes. The depth is
    80, or min(n, m) where that is less, if not given.

    Raises ValueError for weights that are not a finite matrix, points that are not
    finite, or a depth above min(n, m). Source: Golub and Kahan 1965; Ubaru, Chen and
    Saad 2017.

    >>> W = np.random.default_rng(0).normal(size=(300, 400))
    >>> density = lanczos_density(W, np.linspace(0, 3, 301), width=0.1, depth=40)
    >>> round(float(density.sum() * 0.01), 2)
    1.0
    """
    products = _products(weights)
    _checks.array("points", points, (None,))
    _checks.positive("width", width)
    _checks.integer("seed", seed, 0)
    _checks.integer("probes", probes, 1)
    most = min(products.shape)
    if depth is None:
        depth = min(_DEPTH, most)
    if _checks.integer("depth", depth, 1) > most:
        _checks.fail("depth", depth, f"at most min(n, m) = {most}")
    points = np.asarray(points, float)
    rng = np.random.default_rng(seed)
    density = np.zeros(len(points))
    for _ in range(probes):
        bidiagonal = _bidiagonal(products, rng.normal(size=min(products.shape)), depth)
        _, nodes, vectors = np.linalg.svd(bidiagonal)
        distance = (points[:, None] - nodes / np.sqrt(products.shape[1])) / width
        density += np.exp(-(distance**2) / 2) @ vectors[:, 0] ** 2
    return density / (probes * width * np.sqrt(2 * np.pi))


class _Products(NamedTuple):
    """Products with a matrix from its smaller side, which has no null directions that
    the min(n, m) singular values do not have, and back.
    """

    shape: tuple
    out: Callable
    back: Callable


def _products(weights) -> _Products:
    if hasattr(weights, "matvec") and hasattr(weights, "rmatvec"):
        shape = tuple(weights.shape)
        there, back = weights.matvec, weights.rmatvec
    else:
        W = read_matrix("weights", weights)
        shape = W.shape
        there, back = W.__matmul__, W.T.__matmul__
    if shape[0] < shape[1]:
        there, back = back, there
    return _Products(shape, there, back)


def _bidiagonal(products: _Products, start, depth: int) -> np.ndarray:
    """Upper bidiagonal matrix of at most `depth` steps from `start`, every vector kept
    orthogonal to all before; it ends where nothing new comes back.
    """
    inner = [start / np.linalg.norm(start)]
    outer = []
    diagonal = []
    beyond = []
    largest = 0.0
    for step in range(depth):
        image, alpha = _new_part(products.out(inner[-1]), outer)
        largest = max(largest, alpha)
        diagonal.append(alpha)
        outer.append(image)
        if step == depth - 1 or alpha <= 1e-10 * largest:
            break
        echo, beta = _new_part(products.back(image), inner)
        largest = max(largest, beta)
        if beta <= 1e-10 * largest:
            break
        beyond.append(beta)
        inner.append(echo)
    return np.diag(diagonal) + np.diag(beyond, 1)


def _new_part(vector, known: list):
    """The part of a vector orthogonal to the known ones, of length one, and its
    length.
    """
    vector = np.array(vector, float)
    for _ in range(2):
        for direction in known:
            vector -= (direction @ vector) * direction
    length = float(np.linalg.norm(vector))
    return (vector / length if length else vector), length
