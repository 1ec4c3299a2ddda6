"""What pure noise looks like: the singular values of an n x m matrix of iid N(0, 1)
entries, and the Tracy-Widom law of the largest.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from . import _checks
from .spectra.bulk import RectangularLaw

# of the beta = 1 Tracy-Widom law
TW_MEAN = -1.2065335745820
TW_VARIANCE = 1.6077810345810
# where its distribution function is 0 and 1 to all digits
_LOWEST = -12.0
_HIGHEST = 16.0


def tracy_widom_cdf(x):
    """Distribution function of the Tracy-Widom law of real matrices (beta = 1) at a
    number or an array x, to about 1e-12.

    It is the Fredholm determinant F_1(x) = det(1 - A_x), A_x(u, v) = Ai(u + v + x) on
    (0, inf) (Ferrari and Spohn 2005), here by 40-point Gauss-Legendre quadrature
    (Bornemann 2010). Raises ValueError for anything but real numbers.

    >>> print(tracy_widom_cdf([-1.2686, 0.9793]).round(4))
    [0.5  0.95]
    """
    values = np.asarray(_checks.points("x", x), float)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    u = 8 * (1 + nodes)
    root = np.sqrt(8 * weights)
    inside = np.clip(values, _LOWEST, _HIGHEST)
    sums = np.add.outer(inside, np.add.outer(u, u))
    airy, *_ = special.airy(sums)
    kernel = root[:, None] * airy * root
    determinant = np.linalg.det(np.eye(40) - kernel)
    found = np.where(values <= _LOWEST, 0.0, determinant.clip(0.0, 1.0))
    return _as_given(found)


def tracy_widom_quantile(probability):
    """Quantile of the Tracy-Widom law of real matrices (beta = 1), to about 1e-10, at a
    number or an array of probabilities.

    Raises ValueError unless every `probability` lies in [1e-6, 1 - 1e-6]. Source: the
    inverse of `tracy_widom_cdf`.

    >>> round(tracy_widom_quantile(0.95), 4)
    0.9793
    """
    values = np.asarray(_checks.points("probability", probability), float)
    found = np.empty(values.shape)
    for place, value in np.ndenumerate(values):
        _checks.number("probability", value, 1e-6, maximum=1 - 1e-6)
        found[place] = _quantile(float(value))
    return _as_given(found)


def _as_given(found):
    """A number for a number, an array for an array."""
    if found.ndim == 0:
        return float(found)
    return found


@lru_cache
def _quantile(probability: float) -> float:
    def excess(x):
        return tracy_widom_cdf(x) - probability

    root = optimize.brentq(excess, -8.0, 12.0, xtol=1e-12)
    return root  # pyright: ignore[reportReturnType]  # scipy has no stubs: a number


class Noise(NamedTuple):
    """Singular values x of an n x m matrix of iid N(0, 1) entries, ascending."""

    half: slice  # ranks of the middle half
    squares: np.ndarray  # x^2 expected there
    relative_error: float  # standard error of a variance fitted to them
    centre: float  # of the largest x^2, and its scale, in the Tracy-Widom law
    scale: float

    def largest_square(self, quantile: float) -> float:
        """The square of the largest singular value, over the fitted variance, at a
        quantile of the Tracy-Widom law, widened for a variance that is fitted.
        """
        fit_error = self.relative_error * self.centre / self.scale
        widening = np.sqrt(1 + fit_error**2 / (2 * TW_VARIANCE))
        above_the_mean = (quantile - TW_MEAN) * widening
        return self.centre + self.scale * (TW_MEAN + above_the_mean)


@lru_cache(maxsize=64)
def noise(n: int, m: int) -> Noise:
    """What to expect of pure noise of n x m."""
    p = min(n, m)
    angle = np.linspace(0, np.pi, 4001)
    square, rank = _ranked_squares(n, m, angle)
    half = slice(p // 4, p - p // 4)
    squares = np.interp(np.arange(p)[half] + 0.5, rank, square)
    bottom, top = np.interp([half.start, half.stop], rank, square)
    spread = _spread_of_a_sum(np.clip(square, bottom, top), angle)
    rows = np.sqrt(n - 0.5)
    columns = np.sqrt(m - 0.5)
    both = rows + columns
    return Noise(
        half=half,
        squares=m * squares,
        relative_error=spread / float(squares.sum()),
        centre=float(both**2),
        scale=float(both * np.cbrt(1 / rows + 1 / columns)),
    )


def _ranked_squares(n: int, m: int, angle):
    """x^2/m along the bulk, and how many values are expected below, with the term of
    order one of real matrices.
    """
    law = RectangularLaw(n / m, 1.0)
    lowest, highest = law.edges[0]
    middle = float(highest**2 + lowest**2) / 2
    half_width = float(highest**2 - lowest**2) / 2
    square = middle - half_width * np.cos(angle)
    share = np.asarray(law.cdf(np.sqrt(square)))
    correction = 0.25 - 0.5 * angle / np.pi
    return square, min(n, m) * share + correction


def _spread_of_a_sum(summand, angle) -> float:
    """Standard deviation of a sum of f(square) over the singular values, by the central
    limit theorem of real matrices: with f = sum_k f_k cos(k angle) the variance is
    sum_k k f_k^2 / 2.
    """
    k = np.arange(1, 200)
    waves = np.cos(np.outer(k, angle))
    integrals = np.trapezoid(summand * waves, angle, axis=-1)
    coefficients = 2 / np.pi * integrals
    variance = (k * coefficients**2).sum() / 2
    return float(np.sqrt(variance))
