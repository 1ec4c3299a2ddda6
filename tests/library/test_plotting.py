"""Figures of laws with any number of bands."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import dmftlib as dm
from dmftlib import plotting


def drawn(law):
    figure, ax = plt.subplots()
    plotting.spectrum(law=law, ax=ax)
    plt.close(figure)
    bands = [
        line.get_xdata()
        for line in ax.get_lines()
        if line.get_color() == plotting.THEORY and len(line.get_xdata()) > 2
    ]
    (*ends,) = [
        line.get_xdata()[0]
        for line in ax.get_lines()
        if line.get_color() == plotting.EDGE
    ]
    bars = [
        (path.vertices[0][0], path.vertices[:, 1].max())
        for collection in ax.collections
        for path in collection.get_paths()
    ]
    return bands, ends, bars


def test_every_band_is_drawn_and_the_edge_is_the_last():
    law = dm.extensive_spikes(1.0, 1.0, [5.0], [0.3])
    bands, ends, bars = drawn(law)
    np.testing.assert_allclose([(x[0], x[-1]) for x in bands], law.edges)
    assert ends == [law.edges[-1][1]] and not bars


@pytest.mark.parametrize("step", [0, 3])
def test_a_law_of_atoms_alone_is_drawn(step):
    """Half of the D singular values stay at one, all of them before training."""
    net = dm.WideOutput(
        output_ratio=0.25,
        input_ratio=0.5,
        learning_rate=0.1,
        steps=3,
        train_readout=True,
    )
    bands, ends, bars = drawn(dm.solve(net).bulk(0, step))
    assert len(bands) == len(ends) == (step > 0)
    np.testing.assert_allclose(bars, [(1.0, 1.0 if step == 0 else 0.5)])
