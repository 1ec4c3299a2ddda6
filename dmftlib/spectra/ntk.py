"""The spectrum of the neural tangent kernel of a deep linear network, at every step of its training.

    K = (1/alpha) Xh S_0 Xh^T,   Xh = X/sqrt(D),   S_l = a_l + M_l^T S_{l+1} M_l,   a_l = |g^{l+1}|^2/(N fan_in/D)

is a product of large matrices, and (Xh S_0 Xh^T - z)^{-1} a block of the inverse of something linear in each of them:

    -z a + Xh e_0 = 0,   Xh^T a - b_0 = 0,   a_l b_l + M_l^T e_{l+1} - e_l = 0,   M_l b_l - b_{l+1} = 0.

A Gaussian matrix acts on all but finitely many directions as a self-energy. With y_l = sigma_l/(1 - sigma_l eps_l),

    sigma_l = a_l + variance c_l y_{l+1},   sigma_L = a_L,   eps_{l+1} = variance eps_l/(1 - sigma_l eps_l),
    eps_0 = alpha E[1/(z - zeta)],          z = alpha/eps_0 + y_0    (zeta the eigenvalues of Xh S_0 Xh^T, c_l aspects).

Everything is an explicit function of x = eps_L, z included. On the directions that training has queried the pencil is a
small matrix. Eliminating a and all b_l, which never change sign, leaves N(x) on e_0 ... e_L: positive definite as
x -> 0, falling as x grows. The number of outliers is that of the negative eigenvalues of N at the edge, and each is
the x at which one of them changes sign. Nothing is inverted that could be singular.
"""

import equinox as eqx
import numpy as np
from scipy.linalg import block_diag
from scipy.optimize import brentq

from .. import checks
from ..networks import DeepLinear
from ..training.deep_linear import train


class KernelSpectrum(eqx.Module):
    """Eigenvalues of the neural tangent kernel of a deep linear network as D -> infinity; entry t after t updates.

    edge              (steps+1,)    upper edge of the bulk
    outliers          (steps+1, k)  eigenvalues above it, descending, padded with NaN; k at least 1
    residual_overlap  (steps+1, k)  squared cosine of each outlier's eigenvector with the residual Delta(t)
    target_overlap    (steps+1, k)  the same with the targets y

    In these units Delta(t+1) = (1 - learning_rate K) Delta(t) to first order, unstable where an eigenvalue exceeds
    2/learning_rate. All are NaN from the step on at which training diverged. At dimension D the outliers fluctuate by
    O(D^(-1/2)), the largest of the bulk by O(D^(-2/3)).

    Source: the pencil in the docstring of the module, derived in chapter 9 of the book.
    """

    edge: np.ndarray
    outliers: np.ndarray
    residual_overlap: np.ndarray
    target_overlap: np.ndarray
    shares: np.ndarray  # a_l, (steps+1, L+1)
    aspects: np.ndarray  # of M_0 ... M_{L-1} and of X
    variance: float

    def density(self, x, step: int) -> np.ndarray:
        """Density of the eigenvalues at the points x, after `step` updates: mass min(1, 1/alpha) on x > 0.

        The other 1 - 1/alpha, for alpha > 1, are exactly zero.
        """
        points = checks.points("x", x)
        if checks.integer("step", step, 0) >= len(self.edge):
            checks.fail("step", step, f"at most {len(self.edge) - 1}, the steps of the training")
        a, alpha = self.shares[step], self.aspects[-1]
        z = alpha * np.where(points > 0, points, 1.0)
        far = 10 * alpha * self.edge[step]
        root = alpha * self.variance ** (len(a) - 1) / (z + 1j * far)
        for height in far * np.append(0.7 ** np.arange(80), 0.0):  # down to the real axis, along with the root
            for _ in range(3):
                chain = Chain(root, a, self.aspects, self.variance)
                root = root - (chain.z - z - 1j * height) / chain.slopes[0]
        return np.where(points > 0, np.maximum(-Chain(root, a, self.aspects, self.variance).eps[0].imag / np.pi, 0), 0)


class Chain:
    """sigma_l, eps_l, y_0 and z at x = eps_L, real or complex, and their derivatives with respect to x.

    x may be an array, and the shares a (L+1, ...) as well; slopes = (dz, dsigma, deps).
    """

    def __init__(self, x, a, aspects, variance):
        sigma, eps, dsigma, deps = [a[-1] + 0 * x], [x], [0 * x], [1 + 0 * x]
        for l in reversed(range(len(a))):
            s, e, ds, de = sigma[0], eps[0], dsigma[0], deps[0]
            y, dy = s / (1 - s * e), (ds + s**2 * de) / (1 - s * e) ** 2
            if l:
                sigma.insert(0, a[l - 1] + variance * aspects[l - 1] * y)
                dsigma.insert(0, variance * aspects[l - 1] * dy)
                below = variance + sigma[0] * e
                eps.insert(0, e / below)
                deps.insert(0, (variance * de - e**2 * dsigma[0]) / below**2)
        self.sigma, self.eps, self.alpha = sigma, eps, aspects[-1]
        self.z, self.slopes = self.alpha / e + y, (dy - self.alpha * de / e**2, dsigma, deps)


def kernel_spectrum(net: DeepLinear, capacity: int | None = None, tolerance: float = 1e-4,
                    fresh_inputs: bool = False) -> KernelSpectrum:  # fmt: skip
    """The kernel's spectra along the training of `net`, some milliseconds a step.

    The training is solved again with no more directions than `tolerance` needs: each query is perturbed by as much, but
    what is known of the matrices is exact for the perturbed queries. The spectra are correct to about a tenth of it.

    With `fresh_inputs` kernel, residual and targets are those of as many samples that training has not seen.
    Raises ValueError under `jit`, `grad` and `vmap`.

    >>> net = DeepLinear(hidden_layers=1, width_ratio=0.8, sample_ratio=1.5, gamma0=4.0, learning_rate=0.05, steps=10)
    >>> spectrum = kernel_spectrum(net)
    >>> print(spectrum.edge[[0, 10]].round(3), spectrum.outliers[[0, 10], 0].round(3))
    [ 9.003 13.728] [nan nan]
    """
    if not checks.known(net):
        checks.fail("net", "traced numbers", "known ones: the spectrum of the kernel has no derivatives")
    trajectory = train(net, capacity, tolerance)
    if capacity is None and trajectory.dropped > tolerance:
        trajectory = train(net, net.steps + 1, tolerance)
    gamma, label_noise, matrices = float(net.gamma), float(net.label_noise), trajectory.matrices
    alive = np.arange(len(trajectory.train_loss)) < trajectory.finite_steps
    steps, nu = len(alive) - 1, float(matrices[0].aspect)
    aspects, variance = np.array([float(matrix.aspect) for matrix in matrices]), float(matrices[0].variance)
    a = np.stack([np.sum(np.square(g), 1) for g in trajectory.backward[1:]] + [np.ones(steps + 1)], 1)
    a[:, 1:] /= nu
    edge = np.full(steps + 1, np.nan)
    x_edge = find_edge(a[alive].T, aspects, variance)
    edge[alive] = Chain(x_edge, a[alive].T, aspects, variance).z / aspects[-1]
    known, scale = _Known(trajectory, aspects, variance, fresh_inputs), 1 / (gamma * np.sqrt(nu))
    found, noise = [], np.sqrt(label_noise)
    for t in np.flatnonzero(alive):
        v = -scale * np.asarray(trajectory.backward[0][t])
        v[0] += 1
        square = v @ v + label_noise if fresh_inputs else float(trajectory.train_loss[t])
        vectors = (v, square), (np.eye(len(v))[0], 1 + label_noise)
        found.append([])
        for value, data_part, input_part in known.outliers(t, a[t], x_edge[t]):
            shares = [(input_part @ u / np.sqrt(aspects[-1]) + noise * data_part[0]) ** 2 / size for u, size in vectors]
            found[-1].append((value / aspects[-1], *shares))
    columns = np.full((steps + 1, max(1, *map(len, found)), 3), np.nan)
    for t, rows in zip(np.flatnonzero(alive), found, strict=True):
        columns[t, : len(rows)] = np.reshape(rows, (-1, 3))
    return KernelSpectrum(edge, *columns.transpose(2, 0, 1), a, aspects, variance)


def find_edge(a, aspects, variance):
    """The first x in (0, 1/a_L) with dz/dx = 0: z falls from infinity at x = 0 to the edge; should it fall once more,
    beyond, that is a gap in the bulk."""
    grid = np.concatenate([[0], 1 / (1 + np.exp(-np.linspace(-35, 15, 500)))])[:, None] / a[-1]
    rises = Chain(grid[1:], a[:, None], aspects, variance).slopes[0] >= 0
    first = rises.argmax(0) + 1
    low, high = (np.take_along_axis(grid, i[None], 0)[0] for i in (first - 1, first))
    for _ in range(50):
        x = (low + high) / 2
        falling = Chain(x, a, aspects, variance).slopes[0] < 0
        low, high = np.where(falling, x, low), np.where(falling, high, x)
    return low


class _Known:
    """What training has revealed of M_0 ... M_{L-1} and X, over orthonormal bases of the spaces it happened in.

    Spaces 0 ... L are those of g^0 ... g^L, space L+1 that of the samples.
    """

    def __init__(self, trajectory, aspects, variance, fresh_inputs):
        self.aspects, self.variance = aspects, variance
        L = len(trajectory.layers)
        ends = [(l + 1, l) for l in range(L)] + [(L + 1, 0)]  # of each matrix: its left and its right space
        spans = [[] for _ in range(L + 2)]
        parts = []
        for matrix, (left, right) in zip(trajectory.matrices, ends, strict=True):
            ranks = (0, 0) if fresh_inputs and left == L + 1 else (int(matrix.left_rank), int(matrix.right_rank))
            Q, to_right = (np.asarray(x)[: ranks[0]] for x in (matrix.left_basis, matrix.left_images))
            R, to_left = (np.asarray(x)[: ranks[1]] for x in (matrix.right_basis, matrix.right_images))
            spans[left] += [Q, to_left]
            spans[right] += [R, to_right]
            parts.append((Q, to_right, R, to_left))
        axes = [np.eye(1, span[0].shape[1]) for span in spans]  # beta, the initial readout, the noise
        self.bases = [_basis(np.concatenate([*span, axis])) for span, axis in zip(spans, axes, strict=True)]
        self.start, self.left, self.right = [], [], []
        for i, ((left, right), (Q, to_right, R, to_left)) in enumerate(zip(ends, parts, strict=True)):
            Q, to_left = Q @ self.bases[left].T, to_left @ self.bases[left].T
            R, to_right = R @ self.bases[right].T, to_right @ self.bases[right].T
            fresh = np.eye(R.shape[1]) - R.T @ R
            self.start.append(np.sqrt(aspects[i]) * (to_left.T @ R + Q.T @ (to_right @ fresh) / aspects[i]))
            self.left.append(Q)
            self.right.append(R)
        self.spikes = [tuple(map(np.asarray, (h.rates[:, None] * h.left_queries, h.right_queries)))
                       for h in trajectory.layers]  # fmt: skip

    def at(self, t):
        """The known part of each matrix after t updates, in orthonormal coordinates."""
        now = list(self.start)
        for l, (g, h) in enumerate(self.spikes):
            spike = g[:t, : len(self.left[l])].T @ h[:t, : len(self.right[l])]
            now[l] = now[l] + np.sqrt(self.aspects[l]) * self.left[l].T @ spike @ self.right[l]
        return now

    def outliers(self, t, a, x_edge):
        """(z, a, b_0) of each: the eigenvector's part in the samples' space, of the length it has there, and its image
        under Xh^T, both as coefficients."""
        *M, X = self.at(t)
        L = len(M)
        known_left, known_right = ([Q.T @ Q for Q in side] for side in (self.left, self.right))
        fresh = [np.eye(len(p)) - p for p in [known_right[-1], *known_left[:-1]]]  # what eps_l acts on
        offsets = np.cumsum([0] + [len(p) for p in fresh])

        def matrix(x):
            return escape_matrix(Chain(x, a, self.aspects, self.variance), a, M, X, known_left, known_right)

        def eigenvalue(x, k):
            return np.linalg.eigvalsh(matrix(x))[k]

        found = []
        for k in range(int(np.sum(np.linalg.eigvalsh(matrix(x_edge)) < -1e-12))):
            above, below = x_edge, x_edge / 2
            while eigenvalue(below, k) < 0:
                above, below = below, below / 2
            x = brentq(eigenvalue, below, above, (k,), xtol=1e-300, rtol=1e-10)
            chain = Chain(x, a, self.aspects, self.variance)
            e = np.split(np.linalg.eigh(matrix(x))[1][:, k], offsets[1:-1])
            inverse, samples = _eliminated(chain, a, known_left, known_right)
            y = samples @ X @ e[0]
            b = [inverse[l] @ (e[l] - (M[l].T @ e[l + 1] if l < L else 0)) for l in range(L + 1)]
            dz, dsigma, deps = chain.slopes
            dfar = -self.aspects[-1] * deps[0] / chain.eps[0] ** 2
            norm = y @ y * dfar + (dz - dfar) * y @ known_left[-1] @ y
            norm -= sum(ds * (u @ u - u @ p @ u) for ds, u, p in zip(dsigma, b, known_right[:-1], strict=False))
            norm -= sum(de * u @ p @ u for de, u, p in zip(deps, e, fresh, strict=True))
            size = np.sqrt(norm / dz)
            found.append((chain.z, y @ self.bases[-1] / size, b[0] @ self.bases[0] / size))
        return found


def escape_matrix(chain, a, M, X, known_left, known_right):
    """N on the known directions of spaces 0 ... L: an outlier has escaped for each negative eigenvalue at the edge.

    M, X                     the known part of M_0 ... M_{L-1} and of X/sqrt(D), in orthonormal coordinates
    known_left, known_right  of each of them and, last, of X: projectors on the directions that have been queried
    """
    inverse, samples = _eliminated(chain, a, known_left, known_right)
    queried = [known_right[-1], *known_left[:-1]]
    diagonal = [b - e * (np.eye(len(p)) - p) for b, e, p in zip(inverse, chain.eps, queried, strict=True)]
    diagonal[0] -= X.T @ samples @ X
    ends = np.cumsum([0] + [len(p) for p in queried])
    N = np.zeros((ends[-1], ends[-1]))
    for l, matrix in enumerate(M):
        coupled = matrix @ inverse[l]
        diagonal[l + 1] += coupled @ matrix.T
        here, above = slice(*ends[l : l + 2]), slice(*ends[l + 1 : l + 3])
        N[above, here], N[here, above] = -coupled, -coupled.T
    return N + block_diag(*diagonal)


def _eliminated(chain, a, known_left, known_right):
    """Inverses of what acts on b_0 ... b_L, and of minus what acts on the samples."""
    inverse = [np.eye(len(p)) / s + (1 / share - 1 / s) * p
               for p, s, share in zip(known_right[:-1], chain.sigma, a[:-1], strict=False)]  # fmt: skip
    far, p = chain.eps[0] / chain.alpha, known_left[-1]
    return inverse + [np.eye(len(known_left[-2])) / a[-1]], far * np.eye(len(p)) + (1 / chain.z - far) * p


def _basis(vectors, tolerance=1e-7):
    """Orthonormal rows that span the given ones."""
    _, sizes, rows = np.linalg.svd(vectors, full_matrices=False)
    return rows[sizes > tolerance * sizes[0]] if len(sizes) and sizes[0] > 0 else rows[:0]
