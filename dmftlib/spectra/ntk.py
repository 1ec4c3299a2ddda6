"""The spectrum of the neural tangent kernel of a deep linear network, at every step of
its training: bulk, outliers, and their eigenvectors' overlaps, read off the trajectory
that training has left. The equations are those of `pencil`.
"""

from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from scipy.optimize import brentq

from .. import _checks
from ..networks import DeepLinear
from .pencil import Chain, eliminated, escape_matrix, find_edge

_HEIGHTS = np.append(0.7 ** np.arange(80), 0.0)  # of z above the real axis
_SPANNED = 1e-7  # of the largest: what is less of a direction is rounding
_UNTRAINED = 1e-9  # a factor of the rate that stands for zero
_LEAST = 1e-16  # of a variance, that stands for zero
_NEGATIVE = -1e-12  # eigenvalues below it are, and not by rounding


class KernelSpectrum(eqx.Module):
    """Eigenvalues of the neural tangent kernel of a deep linear network as D ->
    infinity; entry t after t updates.

    edge              (steps+1,)    upper edge of the bulk
    outliers          (steps+1, k)  eigenvalues above it, descending, padded with NaN; k at least 1
    residual_overlap  (steps+1, k)  squared cosine of each outlier's eigenvector with the residual Delta(t)
    target_overlap    (steps+1, k)  the same with the targets y

    In these units Delta(t+1) = (1 - learning_rate K) Delta(t) to first order, without
    momentum and decay, K the sum over layers of their kernels times their layer_rates.
    All are NaN from the step on at which
    training diverged. At dimension D the outliers fluctuate by O(D^(-1/2)), the largest
    of the bulk by O(D^(-2/3)).

    Source: the pencil, derived in chapter 9 of the book.
    """

    edge: np.ndarray
    outliers: np.ndarray
    residual_overlap: np.ndarray
    target_overlap: np.ndarray
    shares: np.ndarray  # a_l, (steps+1, L+1)
    aspects: np.ndarray  # of M_0 ... M_{L-1} and of X
    variances: np.ndarray  # of what is left of M_0(0) ... M_{L-1}(0), (steps+1, L)

    def density(self, x, step: int) -> np.ndarray:
        """Density of the eigenvalues at the points x, after `step` updates: mass min(1,
        1/alpha) on x > 0.

        The other 1 - 1/alpha, for alpha > 1, are exactly zero.
        """
        points = _checks.known_points("x", x)
        step = _checks.integer("step", step, 0)
        if step >= len(self.edge):
            need = f"at most {len(self.edge) - 1}, the steps of the training"
            _checks.fail("step", step, need)
        if not np.isfinite(self.edge[step]):
            return np.full(points.shape, np.nan)
        a = self.shares[step]
        variances = self.variances[step]
        alpha = self.aspects[-1]
        positive = points > 0
        z = alpha * np.where(positive, points, 1.0)
        far = 10 * alpha * self.edge[step]
        root = alpha * np.prod(variances) / (z + 1j * far)
        # down to the real axis, along with the root
        for height in far * _HEIGHTS:
            for _ in range(3):
                chain = Chain(root, a, self.aspects, variances)
                excess = chain.z - z - 1j * height
                root = root - excess / chain.slopes.z
        last = Chain(root, a, self.aspects, variances)
        density = -last.eps[0].imag / np.pi
        density = np.maximum(density, 0)
        return np.where(positive, density, 0)


def kernel_spectrum(
    net: DeepLinear, trajectory, fresh_inputs: bool = False
) -> KernelSpectrum:
    """The kernel's spectra along a training, some milliseconds a step.

    trajectory     what training has left. All directions that it has revealed are used,
                   so one with few of them will do: `solve(net).few_directions` is
                   perturbed by 1e-4 of its queries, and the spectra by a tenth of that
    fresh_inputs   kernel, residual and targets are those of as many samples that
                   training has not seen

    Raises ValueError under `jit`, `grad` and `vmap`.

    >>> import dmftlib as dm
    >>> net = DeepLinear(hidden_layers=1, width_ratio=0.8, sample_ratio=1.5, gamma0=4.0, learning_rate=0.05, steps=10)
    >>> spectrum = kernel_spectrum(net, dm.solve(net).few_directions)
    >>> print(spectrum.edge[[0, 10]].round(3), spectrum.outliers[[0, 10], 0].round(3))
    [ 9.003 13.728] [nan nan]
    """
    _checks.concrete("net", (net, trajectory))
    matrices = trajectory.matrices
    aspects = np.array([float(matrix.aspect) for matrix in matrices])
    times = len(trajectory.train_loss)
    alive = np.arange(times) < trajectory.finite_steps
    a = _shares(trajectory, aspects) * _factors(net)
    known = Known(revealed(trajectory, fresh_inputs))
    variances = known.variances
    numbers = a[alive].T, aspects, variances[alive].T
    x_edge = find_edge(*numbers)
    edge = np.full(times, np.nan)
    edge[alive] = Chain(x_edge, *numbers).z / aspects[-1]
    found = []
    for t, x in enumerate(x_edge):
        measured = _Measured(net, trajectory, t, fresh_inputs)
        modes = known.outliers(t, a[t], x)
        found.append([measured.row(mode, aspects[-1]) for mode in modes])
    most = max(map(len, found), default=0)
    columns = np.full((3, times, max(1, most)), np.nan)
    for t, rows in enumerate(found):
        columns[:, t, : len(rows)] = np.reshape(rows, (-1, 3)).T
    values, on_residual, on_targets = columns
    return KernelSpectrum(
        edge=edge,
        outliers=values,
        residual_overlap=on_residual,
        target_overlap=on_targets,
        shares=a,
        aspects=aspects,
        variances=variances,
    )


def _factors(net):
    """r_l; of a layer that does not train, too little to be seen."""
    if net.layer_rates is None:
        return np.ones(net.hidden_layers + 1)
    return np.maximum(net.layer_rates, _UNTRAINED)


def _shares(trajectory, aspects):
    """a_l = |g^{l+1}|^2/(N fan_in/D) at each step: (steps+1, L+1)."""
    squares = [np.square(g) for g in trajectory.backward[1:]]
    lengths = [square.sum(1) for square in squares]
    ones = np.ones_like(lengths[0])
    a = np.stack([*lengths, ones], 1)
    a[:, 1:] /= aspects[0]
    return a


def _residual_directions(net, trajectory):
    """v = beta - p at each step, over the coefficients of the input space."""
    scale = float(net.gamma) * net.width_ratio**0.5
    v = -np.asarray(trajectory.backward[0]) / scale
    v[:, 0] += 1
    return v


class _Measured(NamedTuple):
    """What outliers are compared with after t updates."""

    net: DeepLinear
    trajectory: Any  # of training.deep_linear: this level trains nothing
    t: int
    fresh_inputs: bool

    def row(self, mode, alpha):
        """(eigenvalue, squared cosine with the residual, and with the targets)."""
        label_noise = float(self.net.label_noise)
        v = _residual_directions(self.net, self.trajectory)[self.t]
        square = float(self.trajectory.train_loss[self.t])
        if self.fresh_inputs:
            square = v @ v + label_noise
        beta = np.eye(1, len(v))[0]
        noise = np.sqrt(label_noise) * mode.samples[0]
        inputs = mode.inputs / np.sqrt(alpha)
        on_residual = inputs @ v + noise
        on_targets = inputs @ beta + noise
        return (
            mode.z / alpha,
            on_residual**2 / square,
            on_targets**2 / (1 + label_noise),
        )


class Revealed(NamedTuple):
    """What training has revealed of one matrix M(0), and what it has made of it, in the
    coefficients of its two spaces: M(t) = scale_t M(0) + left^T spikes_t right.

    left, to_right   (p, .)  orthonormal directions asked from the left, and M^T of them
    right, to_left   (q, .)  the same from the right, and M of them
    spikes           (steps+1, p, q)  between them, as unit vectors
    scale            (steps+1,)
    """

    aspect: float
    variance: float
    left: np.ndarray
    to_right: np.ndarray
    right: np.ndarray
    to_left: np.ndarray
    spikes: np.ndarray
    scale: np.ndarray


def revealed(trajectory, fresh_inputs: bool = False) -> list[Revealed]:
    """Of M_0 ... M_{L-1} and of X/sqrt(D); of fresh inputs nothing."""
    *matrices, inputs = trajectory.matrices
    steps = len(trajectory.train_loss) - 1
    known = []
    for matrix, history in zip(matrices, trajectory.layers, strict=True):
        asked = _asked(matrix, steps)
        p = len(asked.left)
        q = len(asked.right)
        scale, increments = map(np.asarray, history.path)
        spikes = np.zeros((steps + 1, p, q))
        spikes[1:] = np.cumsum(increments[:, :p, :q], 0)
        known.append(asked._replace(spikes=spikes, scale=scale))
    return [*known, _asked(inputs, steps, nothing=fresh_inputs)]


def _asked(matrix, steps, nothing=False) -> Revealed:
    """What a Gaussian matrix has answered, or `nothing`; nothing is added to it."""
    p = 0 if nothing else int(matrix.left.rank)
    q = 0 if nothing else int(matrix.right.rank)
    return Revealed(
        aspect=float(matrix.aspect),
        variance=float(matrix.variance),
        left=np.asarray(matrix.left.basis)[:p],
        to_right=np.asarray(matrix.left.images)[:p],
        right=np.asarray(matrix.right.basis)[:q],
        to_left=np.asarray(matrix.right.images)[:q],
        spikes=np.zeros((steps + 1, p, q)),
        scale=np.ones(steps + 1),
    )


def basis(vectors):
    """Orthonormal rows that span the given ones."""
    _, sizes, rows = np.linalg.svd(vectors, full_matrices=False)
    if not len(sizes) or sizes[0] == 0:
        return rows[:0]
    return rows[sizes > _SPANNED * sizes[0]]


class Mode(NamedTuple):
    """An outlier of the pencil: z, and the eigenvector's part in the samples' space, of
    the length it has there, with its image under Xh^T, both as coefficients.
    """

    z: float
    samples: np.ndarray
    inputs: np.ndarray


class Known:
    """The known parts of M_0 ... M_{L-1} and X, over orthonormal bases of the spaces it
    happened in.

    Spaces 0 ... L are those of g^0 ... g^L, space L+1 that of the samples. `left` and
    `right` are projectors on the directions that each matrix was asked; `variances`
    (steps+1, L) those of what is left of M_0(0) ... M_{L-1}(0).
    """

    def __init__(self, revealed: list[Revealed]):
        shrunk = [each.variance * each.scale**2 for each in revealed[:-1]]
        self.variances = np.maximum(np.stack(shrunk, 1), _LEAST)
        self.aspects = np.array([each.aspect for each in revealed])
        L = len(revealed) - 1
        # of each matrix: its left and its right space
        self.ends = [(l + 1, l) for l in range(L)]
        self.ends.append((L + 1, 0))
        self.bases = self._bases(revealed)
        self.start = []
        self.left = []
        self.right = []
        self.ends_of_spikes = []
        self.spikes = []
        self.scales = []
        for each, (left, right) in zip(revealed, self.ends, strict=True):
            to_basis = self.bases[left].T
            Q = each.left @ to_basis
            to_left = each.to_left @ to_basis
            to_basis = self.bases[right].T
            R = each.right @ to_basis
            to_right = each.to_right @ to_basis
            fresh = to_right - to_right @ R.T @ R
            root = np.sqrt(each.aspect)
            start = root * to_left.T @ R
            self.start.append(start + Q.T @ fresh / root)
            self.left.append(Q.T @ Q)
            self.right.append(R.T @ R)
            self.ends_of_spikes.append((Q, R))
            self.spikes.append(each.spikes)
            self.scales.append(each.scale)

    def _bases(self, revealed):
        """Of each space: all that its vectors span, and its first axis (beta, the
        initial readout, the noise).
        """
        spans = [[] for _ in range(len(revealed) + 1)]
        for each, (left, right) in zip(revealed, self.ends, strict=True):
            spans[left] += [each.left, each.to_left]
            spans[right] += [each.right, each.to_right]
        bases = []
        for span in spans:
            dimension = span[0].shape[1]
            vectors = [*span, np.eye(1, dimension)]
            bases.append(basis(np.concatenate(vectors)))
        return bases

    def at(self, t) -> list:
        """The known part of each matrix after t updates, in orthonormal coordinates."""
        known = zip(
            self.start, self.scales, self.ends_of_spikes, self.spikes, strict=True
        )
        return [
            scale[t] * start + Q.T @ spikes[t] @ R
            for start, scale, (Q, R), spikes in known
        ]

    def outliers(self, t, a, x_edge) -> list[Mode]:
        """The modes past the edge after t updates, largest first."""
        *M, X = self.at(t)

        def chain(x):
            return Chain(x, a, self.aspects, self.variances[t])

        def matrix(x):
            return escape_matrix(chain(x), a, M, X, self.left, self.right)

        def eigenvalue(x, k):
            return np.linalg.eigvalsh(matrix(x))[k]

        at_edge = np.linalg.eigvalsh(matrix(x_edge))
        count = int(np.sum(at_edge < _NEGATIVE))
        found = []
        for k in range(count):
            above = x_edge
            below = x_edge / 2
            while eigenvalue(below, k) < 0:
                above = below
                below = below / 2
            x = brentq(
                eigenvalue,
                below,
                above,
                (k,),
                xtol=1e-300,
                rtol=1e-10,  # pyright: ignore[reportArgumentType]  # scipy has no stubs: any number
            )
            _, vectors = np.linalg.eigh(matrix(x))
            null = vectors[:, k]
            found.append(self._mode(chain(x), a, M, X, null))
        return found

    def _mode(self, chain, a, M, X, vector) -> Mode:
        """From the null vector of the escape matrix, e_0 ... e_L."""
        sizes = [len(p) for p in self._queried]
        ends = np.cumsum(sizes)
        e = np.split(vector, ends[:-1])
        inverse = eliminated(chain, a, self.left, self.right)
        y = inverse.samples @ X @ e[0]
        pulled = []
        for l, matrix in enumerate(M):
            pulled.append(e[l] - matrix.T @ e[l + 1])
        pulled.append(e[-1])
        b = []
        for each, pull in zip(inverse.spaces, pulled, strict=True):
            b.append(each @ pull)
        square = self._norm(chain, y, b, e) / chain.slopes.z
        size = np.sqrt(square)
        return Mode(
            z=chain.z,
            samples=y @ self.bases[-1] / size,
            inputs=b[0] @ self.bases[0] / size,
        )

    @property
    def _queried(self) -> list:
        """Projectors on what was asked in spaces 0 ... L, from above."""
        return [self.right[-1], *self.left[:-1]]

    def _norm(self, chain, y, b, e):
        """y^T y, and what the derivatives of all self-energies add to it."""
        slopes = chain.slopes
        slope = -chain.alpha * slopes.eps[0] / chain.eps[0] ** 2
        asked = y @ self.left[-1] @ y
        norm = slope * y @ y + (slopes.z - slope) * asked
        below = zip(slopes.sigma, b, self.right[:-1], strict=False)
        above = zip(slopes.eps, e, self._queried, strict=True)
        for change, u, p in [*below, *above]:
            fresh = u @ u - u @ p @ u
            norm -= change * fresh
        return norm
