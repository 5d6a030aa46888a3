"""The solvers on a source spread over several devices, and over several processes: the answers of one device."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rdtheory.limits.discrete.kernels import matrix
from tests import sharded
from tests.test_package import run

TIMEOUT = 150  # seconds
# Each virtual device would start as many threads of LAPACK as there are cores.
ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
ELSEWHERE = """
import json
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)
import numpy as np
import rdtheory as rd
from rdtheory.limits.discrete.solvers import mirror
here = jax.devices()[1]
found = {}
for n, p in ((5, np.arange(1, 6) / 15), (130, np.full(130, 1 / 130))):  # the second reads the same backwards
    p, d = jax.device_put((p, abs(np.subtract.outer(np.arange(n), np.arange(n))) / n), here)
    results = {
        "rate_at": rd.rate_at(p, d, 0.1),
        "distortion_at": rd.distortion_at(p, d, 0.2),
        "curve": rd.curve(p, d, np.array([5.0, 10.0])),
        "interior_point": rd.interior_point(p, d, 5.0),
        "blahut_arimoto": rd.blahut_arimoto(p, d, 5.0, max_steps=10),
        "lagrangian": rd.discrete.lagrangian(p, d, 5.0),
    }
    found |= {f"{name}, {n} letters": all(x.devices() == {here} for x in r) for name, r in results.items()}
# On several devices each would need the rows of another.
found["half, compiled"] = not bool(jax.jit(mirror.is_mirrored)(p, d)) and mirror.is_mirrored(p, d)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def on_one_device():
    return sharded.answers()


def spread(devices: int, processes: int, letters: int = 0) -> list[dict]:
    """What each process finds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.sharded", *map(str, (devices, processes, process, port, letters))],
            cwd=Path(__file__).parents[1],
            env=os.environ | ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(processes)
    ]
    try:
        outputs = [process.communicate(timeout=TIMEOUT) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    for process, (_, errors) in zip(running, outputs, strict=True):
        assert process.returncode == 0, errors[-4000:]
    return [json.loads(printed.splitlines()[-1]) for printed, _ in outputs]  # after what gloo says


@pytest.mark.parametrize(("devices", "processes"), [(8, 1), (2, 2)], ids=["eight devices", "two processes of two"])
def test_a_source_spread_over_devices_gives_the_answers_of_one(on_one_device, devices, processes):
    for found in spread(devices, processes):
        assert found.keys() == on_one_device.keys()
        for name, wanted in on_one_device.items():
            got = found[name]
            for exact in ("method", "converged"):
                assert got[exact] == wanted[exact], f"{exact} of {name}"
            if name.startswith("rate_at, fewer rows first"):  # others, for each device keeps its first and its last
                assert abs(got["rate"] - wanted["rate"]) <= max(got["gap"], wanted["gap"]) <= 1e-7
                continue
            for field in ("rate", "distortion", "gap", "reproduction_pmf"):
                np.testing.assert_allclose(got[field], wanted[field], rtol=0, atol=1e-12, err_msg=f"{field} of {name}")


def test_devices_exchange_sums_and_never_the_matrix():
    """Above every size from which on anything is done otherwise: vectors, and the Gram matrix of a few letters."""
    n = 2304
    assert n**2 > matrix.STORED > matrix.LARGE
    (found,) = spread(8, 1, n)
    assert max(found.values()) <= max(n, sharded.LETTERS**2) < n**2 / 8
    assert min(found.values()) > 0  # something was found to be exchanged


def test_an_answer_is_on_the_device_of_its_arguments():
    found = json.loads(run(ELSEWHERE))
    assert len(found) == 13
    assert all(found.values()), found
