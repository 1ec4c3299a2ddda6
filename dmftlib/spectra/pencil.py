"""The pencil whose inverse holds the resolvent of the neural tangent kernel of a deep
linear network.

    K = (1/alpha) Xh S_0 Xh^T,   Xh = X/sqrt(D),   S_l = a_l + M_l^T S_{l+1} M_l,   a_l = |g^{l+1}|^2/(N fan_in/D)

is a product of large matrices, and (Xh S_0 Xh^T - z)^{-1} a block of the inverse of
something linear in each of them:

    -z a + Xh e_0 = 0,   Xh^T a - b_0 = 0,   a_l b_l + M_l^T e_{l+1} - e_l = 0,   M_l b_l - b_{l+1} = 0.

A Gaussian matrix acts on all but finitely many directions as a self-energy. With y_l =
sigma_l/(1 - sigma_l eps_l),

    sigma_l = a_l + v_l c_l y_{l+1},   sigma_L = a_L,   eps_{l+1} = v_l eps_l/(1 - sigma_l eps_l),
    eps_0 = alpha E[1/(z - zeta)],          z = alpha/eps_0 + y_0,

zeta the eigenvalues of Xh S_0 Xh^T, c_l the aspects, v_l the variances of what is left
of M_l(0). Where layers have factors r_l of the learning rate, a_l is r_l
|g^{l+1}|^2/(N fan_in/D).

Everything is an explicit function of x = eps_L, z included. On the directions that
training has queried the pencil is a small matrix. Eliminating a and all b_l, which
never change sign, leaves N(x) on e_0 ... e_L: positive definite as x -> 0, falling as x
grows. The number of outliers is that of the negative eigenvalues of N at the edge, and
each is the x at which one of them changes sign. Nothing is inverted that could be
singular.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import block_diag

_LOGITS = np.linspace(-35, 15, 500)  # of x a_L, where the edge is looked for


class Slopes(NamedTuple):
    """Derivatives with respect to x, of z, and of the lists sigma and eps."""

    z: np.ndarray
    sigma: list
    eps: list


class Chain:
    """sigma_l, eps_l, y_0 and z at x = eps_L, real or complex, and their derivatives
    with respect to x.

    x may be an array, and the shares a (L+1, ...) and the variances (L, ...) as well;
    one variance is that of all.
    """

    def __init__(self, x, a, aspects, variances):
        s = a[-1] + 0 * x
        e = x
        ds = 0 * x
        de = 1 + 0 * x
        self.sigma = [s]
        self.eps = [e]
        sigma_slopes = [ds]
        eps_slopes = [de]
        y, dy = _chained(s, e, ds, de)
        for l in reversed(range(len(a) - 1)):
            variance = variances[l] if np.ndim(variances) else variances
            load = variance * aspects[l]
            s = a[l] + load * y
            ds = load * dy
            below = variance + s * e
            de = variance * de - e**2 * ds
            de = de / below**2
            e = e / below
            self.sigma.insert(0, s)
            self.eps.insert(0, e)
            sigma_slopes.insert(0, ds)
            eps_slopes.insert(0, de)
            y, dy = _chained(s, e, ds, de)
        self.alpha = aspects[-1]
        self.z = self.alpha / e + y
        slope = dy - self.alpha * de / e**2
        self.slopes = Slopes(slope, sigma_slopes, eps_slopes)


def _chained(s, e, ds, de):
    """y = s/(1 - s e), and its derivative."""
    rest = 1 - s * e
    slope = ds + s**2 * de
    return s / rest, slope / rest**2


def find_edge(a, aspects, variances):
    """The first x in (0, 1/a_L) with dz/dx = 0: z falls from infinity at x = 0 to the
    edge; should it fall once more, beyond, that is a gap in the bulk.
    """

    def rising(x, shares):
        return Chain(x, shares, aspects, variances).slopes.z >= 0

    logistic = 1 / (1 + np.exp(-_LOGITS))
    fractions = np.append(0, logistic)
    grid = fractions[:, None] / a[-1]
    rises = rising(grid[1:], a[:, None])
    before = rises.argmax(0)
    column = np.arange(grid.shape[1])
    low = grid[before, column]
    high = grid[before + 1, column]
    for _ in range(50):
        x = (low + high) / 2
        beyond = rising(x, a)
        low = np.where(beyond, low, x)
        high = np.where(beyond, x, high)
    return low


class Eliminated(NamedTuple):
    """Inverses of what acts on b_0 ... b_L, and of minus what acts on the samples."""

    spaces: list
    samples: np.ndarray


def eliminated(chain, a, known_left, known_right) -> Eliminated:
    """What is left of a and b_0 ... b_L once e_0 ... e_L are given; see `escape_matrix`
    for the arguments.
    """
    spaces = []
    matrices = zip(known_right[:-1], chain.sigma, a[:-1], strict=False)
    for p, s, share in matrices:
        fresh = np.eye(len(p)) / s
        excess = 1 / share - 1 / s
        spaces.append(fresh + excess * p)
    top = np.eye(len(known_left[-2]))
    spaces.append(top / a[-1])
    far = chain.eps[0] / chain.alpha
    p = known_left[-1]
    fresh = far * np.eye(len(p))
    excess = 1 / chain.z - far
    return Eliminated(spaces, fresh + excess * p)


def escape_matrix(chain, a, M, X, known_left, known_right):
    """N on the known directions of spaces 0 ... L: an outlier has escaped for each
    negative eigenvalue at the edge.

    M, X                     the known part of M_0 ... M_{L-1} and of X/sqrt(D), in
                             orthonormal coordinates
    known_left, known_right  of each of them and, last, of X: projectors on the
                             directions that have been queried
    """
    inverse = eliminated(chain, a, known_left, known_right)
    queried = [known_right[-1], *known_left[:-1]]
    diagonal = []
    for b, e, p in zip(inverse.spaces, chain.eps, queried, strict=True):
        fresh = np.eye(len(p)) - p
        diagonal.append(b - e * fresh)
    diagonal[0] -= X.T @ inverse.samples @ X
    sizes = [len(p) for p in queried]
    ends = np.cumsum([0, *sizes])
    total = ends[-1]
    N = np.zeros((total, total))
    for l, matrix in enumerate(M):
        coupled = matrix @ inverse.spaces[l]
        diagonal[l + 1] += coupled @ matrix.T
        here = slice(*ends[l : l + 2])
        above = slice(*ends[l + 1 : l + 3])
        N[above, here] = -coupled
        N[here, above] = -coupled.T
    own = block_diag(*diagonal)
    return N + np.asarray(own)
