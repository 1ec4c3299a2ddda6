"""The box of Chapter 5 with numbers: a few neurons of every layer, whose noise has
exactly the covariances that it should have among them.

For a linear network that makes the outputs exact, so that they can be held against what
SymPy derived. Responses are derivatives by a complex step.
"""

from collections import defaultdict
from collections.abc import Callable

import numpy as np

NEURONS, STEP = 64, 1e-30


def causal_root(covariance):
    """Lower triangular, C C^T the covariance; a row knows only of the rows above."""
    size = len(covariance)
    root = np.zeros((size, size))
    for i in range(size):
        for j in range(i):
            left = covariance[i, j] - root[i, :j] @ root[j, :j]
            root[i, j] = left / root[j, j] if root[j, j] else 0.0
        square = covariance[i, i] - root[i, :i] @ root[i, :i]
        root[i, i] = np.sqrt(square) if square > 1e-12 else 0.0
    return root


class Box:
    """Fields h[l] (steps + 1, P, neurons) and g[l] (steps + 1, P, K, neurons), kernels
    Phi[l] and G[l], responses A[l] and B[l], outputs f and residuals Delta.
    """

    def __init__(
        self,
        phi: Callable,
        slope: Callable,
        layers: int,
        steps: int,
        inputs: np.ndarray,  # x.x'/D (P, P)
        targets: np.ndarray,  # (P, K)
        sigma: float,
        gamma0: float,
        eta: float,
    ):
        self.phi, self.slope, self.L, self.T = phi, slope, layers, steps
        self.inputs, self.targets, self.square = inputs, targets, sigma**2
        self.gamma0, self.kappa = gamma0, eta * gamma0 / len(inputs)
        self.P, self.K = targets.shape
        times, P, K = steps + 1, self.P, self.K
        forward, backward = (times, P), (times, P, K)
        self.Phi = defaultdict(lambda: np.zeros(forward * 2))
        self.G = defaultdict(lambda: np.zeros(backward * 2))
        self.A = defaultdict(lambda: np.zeros(forward + backward))
        self.B = defaultdict(lambda: np.zeros(backward + forward))
        self.f, self.Delta = np.zeros(backward), np.zeros(backward)
        self.h, self.g, self.readout = {}, {}, None
        rng = np.random.default_rng(2)
        count = times * (P + P * K) + P + K
        self.white = {
            l: np.linalg.qr(rng.standard_normal((NEURONS, count)))[0].T
            * np.sqrt(NEURONS)
            for l in range(1, layers + 1)
        }
        for t in range(times):
            self._step(t)

    def _step(self, t):
        for l in range(1, self.L + 1):
            self._settle(l)
            features = self.phi(self.h[l])
            self.Phi[l] = _kernel(features, 2)
            if l < self.L:
                self.A[l] = self._responses(l, to="r")
        outputs = np.einsum("tks,tms->tmk", self.readout, features) / NEURONS
        self.f = outputs / self.gamma0
        self.Delta[t] = self.targets - self.f[t]
        for l in range(self.L, 0, -1):
            self._settle(l)
            self.G[l] = _kernel(self.g[l], 3)
            if l > 1:
                self.B[l - 1] = self._responses(l, to="u")

    def noise(self, l):
        """u^{l-1} and r^l at the neurons of layer l."""
        times, P, K = self.T + 1, self.P, self.K
        white = iter(np.split(self.white[l], [times * P]))
        below = _matrix(self.Phi[l - 1], times * P) if l > 1 else None
        above = _matrix(self.G[l + 1], times * P * K)
        first, rest = next(white), next(white)
        u = causal_root(self.square * below) @ first if l > 1 else None
        r = causal_root(self.square * above) @ rest[: times * P * K]
        u = u.reshape(times, P, NEURONS) if l > 1 else u
        return u, r.reshape(times, P, K, NEURONS)

    def start(self, l):
        """h^1(0) and w(0)."""
        root = np.linalg.cholesky(self.square * self.inputs)
        tail = self.white[l][-(self.P + self.K) :]
        return root @ tail[: self.P], np.sqrt(self.square) * tail[self.P :]

    def _settle(self, l):
        self.h[l], self.g[l], readout = self.site(l, *self.noise(l))
        if l == self.L:
            self.readout = readout

    def site(self, l, u, r):
        """Everything that happens at the neurons of layer l, given their noise."""
        times, kappa, square = self.T + 1, self.kappa, self.square
        first, readout = self.start(l)
        kind = complex if np.iscomplexobj(u) or np.iscomplexobj(r) else float
        h = np.zeros((times, self.P, NEURONS), kind)
        g = np.zeros((times, self.P, self.K, NEURONS), kind)
        w = np.zeros((times, self.K, NEURONS), kind)
        w[0] = readout
        for t in range(times):
            learnt = kappa * self.Delta[:t]
            if l == 1:
                moved = np.einsum("mn,tnj,tnjs->ms", self.inputs, learnt, g[:t])
                h[t] = first + moved
            else:
                loud = square * self.A[l - 1][t, :, :t] + np.einsum(
                    "tnj,mtn->mtnj", learnt, self.Phi[l - 1][t, :, :t]
                )
                h[t] = u[t] + np.einsum("mtnj,tnjs->ms", loud, g[:t])
            phi = self.phi(h)
            w[t] = w[0] + np.einsum("tmk,tms->ks", learnt, phi[:t])
            inner = np.broadcast_to(w[t], g[t].shape)
            if l < self.L:
                echo = np.einsum(
                    "mktn,tns->mks", square * self.B[l][t][:, :, : t + 1], phi[: t + 1]
                )
                spikes = np.einsum(
                    "tnj,mktnj,tns->mks", learnt, self.G[l + 1][t][:, :, :t], phi[:t]
                )
                inner = r[t] + echo + spikes
            g[t] = self.slope(h[t])[:, None] * inner
        return h, g, w

    def _responses(self, l, to):
        """Averages over neurons of a derivative by each component of a noise."""
        u, r = self.noise(l)
        noise = u if to == "u" else r
        columns = []
        for index in np.ndindex(noise.shape[:-1]):
            moved = noise.astype(complex)
            moved[index] += 1j * STEP
            h, g, _ = self.site(l, *((moved, r) if to == "u" else (u, moved)))
            asked = g if to == "u" else self.phi(h)
            columns.append(np.mean(np.imag(asked), axis=-1) / STEP)
        stacked = np.stack(columns, -1)
        return stacked.reshape(*stacked.shape[:-1], *noise.shape[:-1])


def _kernel(fields, axes):
    flat = fields.reshape(-1, NEURONS)
    return (flat @ flat.T / NEURONS).reshape(fields.shape[:axes] * 2)


def _matrix(kernel, size):
    return kernel.reshape(size, size)
