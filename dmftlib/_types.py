"""Types of which several modules speak."""

from typing import Any, Protocol, TypeAlias, TypeVar

import jax
import numpy as np

# of NumPy, which has nothing to compile, where there is nothing to trace
AnyArray: TypeAlias = jax.Array | np.ndarray


# its number, or the name of a matrix of a Program
Layer: TypeAlias = Any


class Trainable(Protocol):
    """What every network says of itself."""

    @property
    def steps(self) -> int:
        """The number of updates."""
        ...

    @property
    def learning_rate(self) -> Any:
        """A number, or one for each step, (steps,)."""
        ...

    def layer(self, layer: Layer) -> Layer:
        """The layer, if there is such a matrix."""
        ...


Net = TypeVar("Net", bound=Trainable)
