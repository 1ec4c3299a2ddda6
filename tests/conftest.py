import gc
import os
from pathlib import Path

import pytest

os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "JAX_DISABLE_MOST_OPTIMIZATIONS", "1"
)  # most of the time of the tests is compilation
os.environ.setdefault("MPLBACKEND", "agg")

import jaxtyping  # noqa: E402

from tests import typed  # noqa: E402

MAPPINGS = Path("/proc/self/maps")

# the modules whose shapes are checked; their number may only grow
CHECKED = ("history", "kernels", "linalg", "spectra")
jaxtyping.install_import_hook(
    [f"dmftlib.{name}" for name in CHECKED], f"{typed.__name__}.check"
)


@pytest.fixture(autouse=True)
def no_mixed_types(request):
    """In fast tests no integer or truth value turns real, and no real number complex,
    unasked.
    """
    import jax

    with jax.numpy_dtype_promotion(
        "standard" if request.node.get_closest_marker("slow") else "strict"
    ):
        yield


@pytest.fixture(autouse=True)
def shapes_as_annotated(request):
    """In fast tests every array that passes between functions of the library has the
    axes that its annotation names.
    """
    slow = request.node.get_closest_marker("slow") is not None
    jaxtyping.config.update("jaxtyping_disable", slow)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def few_mappings():
    """Compiled programs hold memory mappings, of which Linux allows a process 65,530:
    beyond that, compilers crash.
    """
    yield
    if MAPPINGS.exists() and MAPPINGS.read_bytes().count(b"\n") > 30_000:
        import jax

        jax.clear_caches()
        gc.collect()


@pytest.fixture
def compiled():
    """The names of the events of compilation since the test began."""
    import jax

    events = []

    def listen(name, seconds, **_):
        if name.endswith("backend_compile_duration"):
            events.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    jax.jit(lambda x: x + 1)(1.0)
    assert events, "compilations go unnoticed"
    events.clear()
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)
