"""Weight matrices in any tree: which leaves are weights, what numbers they hold, and
which matrices those are.

A leaf is a NumPy or JAX array, a torch tensor or Parameter (anything with `detach` and
`numpy`), or a sparse matrix of SciPy (anything with `toarray`); narrow types such as
bfloat16 are read as double precision.
"""

import math

import jax
import numpy as np

from . import _checks

SMALLEST = 10  # rows and columns of a matrix with a bulk to speak of
WIDEST_KERNEL = 7
WIDEST_OF_PICTURES = 32
MOST_COLOURS = 4


def read_leaves(tree) -> dict:
    """{path: leaf} of the leaves with two axes or more. A torch module stands for its
    `state_dict`.
    """
    if hasattr(tree, "state_dict"):
        tree = tree.state_dict()
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path) or "weights": leaf
        for path, leaf in found
        if len(getattr(leaf, "shape", ())) >= 2
    }


def read_numbers(name: str, leaf) -> np.ndarray:
    """The entries of a leaf in double precision. Raises ValueError for what holds no
    finite real numbers.
    """
    if hasattr(leaf, "detach"):
        leaf = _of_tensor(leaf)
    elif hasattr(leaf, "toarray"):
        leaf = leaf.toarray()
    values = _checks.points(name, leaf)
    if (bad := np.count_nonzero(~np.isfinite(values))) > 0:
        _checks.fail(name, f"{bad} infinite entries", "finite real numbers")
    return np.asarray(values, float)


def _of_tensor(tensor):
    tensor = tensor.detach().cpu()
    if getattr(tensor, "is_sparse", False):
        tensor = tensor.to_dense()
    if getattr(tensor, "is_complex", bool)():
        return tensor.numpy()
    return tensor.double().numpy()


def read_matrix(name: str, leaf) -> np.ndarray:
    """A leaf that must be one matrix, and not empty."""
    values = read_numbers(name, leaf)
    if values.ndim != 2:
        need = "finite real numbers of shape (any, any)"
        _checks.fail(name, f"shape {values.shape}", need)
    if values.size == 0:
        _checks.fail(name, f"shape {values.shape}", "a matrix that is not empty")
    return values


def read_matrices(name: str, leaf) -> dict:
    """{label: matrix} of what a leaf holds.

    Two axes: itself. A convolution kernel is one matrix, of a row for each output. Two
    orders of its axes are known: (outputs, inputs, *kernel), as in torch, where no axis
    of the kernel has ten entries; and (*kernel, inputs, outputs), as in flax and Keras,
    with two axes of the kernel or more, all equal and at most 7. Of up to four inputs
    (pictures) the axes of the kernel may have 32 entries in both. All else is a stack
    of matrices, labelled name[i].
    """
    values = read_numbers(name, leaf)
    shape = values.shape
    kernel = range(values.ndim - 2)
    if values.ndim == 2:
        return {name: values}
    if _is_torch_kernel(shape):
        return {name: values.reshape(shape[0], math.prod(shape[1:]))}
    if _is_flax_kernel(shape):
        outputs_first = values.transpose(-1, -2, *kernel)
        return {name: outputs_first.reshape(shape[-1], math.prod(shape[:-1]))}
    return {
        f"{name}[{', '.join(map(str, place))}]": values[place]
        for place in np.ndindex(shape[:-2])
    }


def _is_torch_kernel(shape: tuple) -> bool:
    widest = max(shape[2:])
    of_pictures = len(shape) > 3 and shape[1] <= MOST_COLOURS
    return widest < SMALLEST or (of_pictures and widest <= WIDEST_OF_PICTURES)


def _is_flax_kernel(shape: tuple) -> bool:
    kernel = shape[:-2]
    of_pictures = shape[-2] <= MOST_COLOURS
    widest = WIDEST_OF_PICTURES if of_pictures else WIDEST_KERNEL
    return len(set(kernel)) == 1 < len(kernel) and kernel[0] <= widest


def without_zeros(values: np.ndarray) -> np.ndarray:
    """A matrix without the rows and columns that hold nothing: those below a millionth
    of the typical one.
    """
    kept_rows = _alive(np.linalg.norm(values, axis=1))
    kept_columns = _alive(np.linalg.norm(values, axis=0))
    return values[kept_rows][:, kept_columns]


def _alive(lengths: np.ndarray) -> np.ndarray:
    if not np.any(lengths):
        return np.zeros(len(lengths), bool)
    return lengths > 1e-6 * np.median(lengths[lengths > 0])
