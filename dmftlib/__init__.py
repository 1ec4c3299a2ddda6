"""Two-level dynamical mean-field theory of the spectra of wide networks under training.

Level 1, training time: losses, kernels, responses. Level 2, an auxiliary time whose
response is the resolvent: bulk laws, outliers, overlaps.

The numbers are meant in double precision. Importing this package therefore turns on
JAX's 64-bit mode, and says so, if it is off; set the environment variable
JAX_ENABLE_X64 to 0 or 1 beforehand to decide yourself. In single precision a WideOutput
is good to about 1e-6, the predictions and outliers of a Nonlinear to a few 1e-4, a
tenth of their usual standard errors, and a DeepLinear is refused; `simulate(...,
matrix_free=True, dtype="float32")` is for memory.

The batches of samples of a Nonlinear are spread over the devices that JAX sees. The
numbers do not depend on how many.
"""

import logging
import os

import jax

if "JAX_ENABLE_X64" not in os.environ and not jax.config.values["jax_enable_x64"]:
    jax.config.update("jax_enable_x64", True)
    logging.getLogger(__name__).warning(
        "dmftlib: turned on JAX 64-bit mode (JAX_ENABLE_X64=0 or 1 decides otherwise)"
    )

from . import empirical  # noqa: E402
from ._compile import compiler_options  # noqa: E402
from .architectures import Convolutional, Recurrent, Transformer  # noqa: E402
from .compare import compare  # noqa: E402
from .critical import critical  # noqa: E402
from .history import WeightHistory  # noqa: E402
from .kernels import kernel_at_start  # noqa: E402
from .networks import Adam, DeepLinear, Muon, Nonlinear, WideOutput  # noqa: E402
from .programs import Program  # noqa: E402
from .simulate import simulate  # noqa: E402
from .simulations.leading_noise import leading_noise  # noqa: E402
from .solve import SolveError, solve  # noqa: E402
from .spectra.bulk import AbstractLaw, RectangularLaw, rectangular_law  # noqa: E402
from .spectra.outliers import Outliers, outliers  # noqa: E402
from .spectra.push_forward import extensive_spikes  # noqa: E402
from .spectra.resolvent import generalised_mp  # noqa: E402
from .spectra.spiked import SpikedEnsemble  # noqa: E402
from .storage import load, save  # noqa: E402
from .sweep import sweep  # noqa: E402
from .tracing import note  # noqa: E402

__all__ = [
    "AbstractLaw",
    "Adam",
    "Convolutional",
    "DeepLinear",
    "Muon",
    "Nonlinear",
    "Outliers",
    "Program",
    "RectangularLaw",
    "Recurrent",
    "SolveError",
    "SpikedEnsemble",
    "Transformer",
    "WeightHistory",
    "WideOutput",
    "compare",
    "compiler_options",
    "critical",
    "empirical",
    "extensive_spikes",
    "generalised_mp",
    "kernel_at_start",
    "leading_noise",
    "load",
    "note",
    "outliers",
    "rectangular_law",
    "save",
    "simulate",
    "solve",
    "sweep",
]
