"""The same numbers on one device or several, and what is lost in single precision."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import json, sys
import jax, numpy as np
import dmftlib as dm
from dmftlib.training import nonlinear

where, train = [], nonlinear.train
def watched(*args, **options):
    result = train(*args, **options)
    where.extend(device.id for device in result.predictions.devices())
    return result
nonlinear.train = watched
net = dm.Nonlinear(inputs=[[1.0, 0.0], [0.5, 1.0]], targets=[1.0, -1.0], hidden_layers=2, learning_rate=0.3, steps=4)
solution = dm.solve(net, samples=1024)
wide = dm.solve(dm.WideOutput(output_ratio=0.5, input_ratio=0.7, target_variance=4.0, learning_rate=0.1, steps=30))
try:
    dm.solve(dm.DeepLinear(hidden_layers=1, width_ratio=1.0, sample_ratio=2.0, learning_rate=0.1, steps=3))
    refused = ""
except ValueError as error:
    refused = str(error)
numbers = {"predictions": solution.predictions, "outliers": solution.outliers(1, 4).values, "wide": wide.test_loss}
print(json.dumps({"devices": where, "dtype": str(solution.predictions.dtype), "refused": refused}
                 | {name: np.asarray(x, float).tolist() for name, x in numbers.items()}))
"""


def run(**environment):
    clean = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def alone():
    return run(JAX_ENABLE_X64="1")


def test_several_devices_give_the_same_numbers(alone):
    several = run(
        JAX_ENABLE_X64="1", XLA_FLAGS="--xla_force_host_platform_device_count=4"
    )
    assert alone["devices"] == [0] * 4 and sorted(several["devices"][-4:]) == [
        0,
        1,
        2,
        3,
    ]
    for name in ("predictions", "outliers", "wide"):
        np.testing.assert_array_equal(alone[name], several[name])


def test_single_precision_loses_what_the_documentation_says(alone):
    """In units of the standard error single precision is invisible; where it would be
    wrong it is refused.
    """
    single = run(JAX_ENABLE_X64="0")
    assert single["dtype"] == "float32" and alone["dtype"] == "float64"
    assert "double precision" in single["refused"] and not alone["refused"]
    np.testing.assert_allclose(single["predictions"], alone["predictions"], atol=1e-3)
    np.testing.assert_allclose(single["outliers"], alone["outliers"], rtol=1e-3)
    np.testing.assert_allclose(single["wide"], alone["wide"], rtol=1e-5)
