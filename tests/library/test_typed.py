"""The gates of shapes: annotations of arrays are checked while the fast tests run."""

from pathlib import Path

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import dmftlib
from dmftlib.spectra.outliers import SpikedFamily
from tests import typed


def test_an_array_with_other_axes_than_its_annotation_is_refused():
    square = jnp.eye(2)
    SpikedFamily(at_edge=square, slope=square)
    with pytest.raises(jaxtyping.TypeCheckError, match="slope"):
        SpikedFamily(at_edge=square, slope=jnp.ones((2, 3)))
    with pytest.raises(jaxtyping.TypeCheckError, match="slope"):
        SpikedFamily(at_edge=square, slope=jnp.eye(2, dtype=int))


def test_arrays_of_numpy_pass_for_those_of_jax_and_numbers_are_not_looked_at():
    @jaxtyping.jaxtyped(typechecker=typed.check)
    def scaled(x: jaxtyping.Float[jaxtyping.Array, " n"], by: int):
        return by * x

    assert scaled(np.ones(3), 0.5).sum() == 1.5
    with pytest.raises(jaxtyping.TypeCheckError):
        scaled(np.ones((3, 3)), 2)


def test_a_program_that_uses_the_library_sees_its_types():
    assert (Path(dmftlib.__file__).parent / "py.typed").exists()
