"""What the simulations of all networks have in common."""

import abc
from typing import Generic, NamedTuple

import numpy as np

from .. import _checks
from .._types import Layer, Net


class Simulation(abc.ABC, Generic[Net]):
    """Trained networks of finite size: every array has a first axis of seeds, entry t
    after t updates.

    net           the network
    spectra_at    the steps at which spectra were recorded
    spectra       spectra[layer, step]: (seeds, k), descending
    train_loss, test_loss   (seeds, steps+1)
    """

    net: Net
    spectra_at: tuple
    spectra: dict

    def singular_values(self, layer: Layer, step: int) -> np.ndarray:
        """Singular values of W^layer / sqrt(fan_in) after `step` updates, descending:
        (seeds, min(n, m)). Those of a WideOutput are of W/sqrt(N); of matrix-free
        networks there are those past the edge of the bulk, up to O(1/N), padded with
        NaN.

        Raises ValueError for layers that have no spectrum and for steps not recorded.
        """
        return self.spectra[self.net.layer(layer), self.recorded(step)]

    def recorded(self, step: int) -> int:
        """The step, if spectra were recorded there. Raises ValueError otherwise."""
        plain = _checks.plain(step)
        if type(plain) is not int or plain not in self.spectra_at:
            need = f"one of spectra_at = {self.spectra_at}"
            _checks.fail("step", _checks.shown(step), need)
        return plain


def in_turns(seeds: int, numbers: int, most: int) -> tuple[int, int]:
    """How many batches of seeds, and how many seeds in each, so that each has about
    `most` numbers if a seed has `numbers`.

    All batches are of one size, so that one compilation serves them; the surplus is cut
    off afterwards.
    """
    at_most = max(1, most // numbers)
    batches = -(-seeds // at_most)
    at_once = -(-seeds // batches)
    return batches, at_once


_NOTHING = np.empty(0)


class Singular(NamedTuple):
    """Of stacked matrices: values (..., k) descending, vectors (..., n, k) and (..., k,
    m), empty if not wanted. NaN where the matrix is not finite, as after a divergence.
    """

    values: np.ndarray
    left: np.ndarray = _NOTHING
    right: np.ndarray = _NOTHING


def singular(matrices, vectors: bool = False) -> Singular:
    """The singular values of stacked matrices (..., n, m), with the vectors if asked."""
    finite = np.isfinite(matrices).all((-2, -1))
    rows = finite[..., None]
    blocks = rows[..., None]
    safe = np.where(blocks, matrices, 0.0)
    if not vectors:
        values = np.linalg.svd(safe, compute_uv=False)
        values = np.where(rows, values, np.nan)
        return Singular(values)
    left, values, right = np.linalg.svd(safe, full_matrices=False)
    values = np.where(rows, values, np.nan)
    left = np.where(blocks, left, np.nan)
    right = np.where(blocks, right, np.nan)
    return Singular(values, left, right)
