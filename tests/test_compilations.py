"""How often a function is compiled while the size of small problems grows: once for each class of sizes."""

import pytest

from tests.test_package import run

COUNTED = """
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
import rdtheory as rd
from rdtheory import _compile

_compile.is_traced(), _compile._takes_options()  # one program each, once a process
compilations = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: compilations.append(seconds) if event.endswith("backend_compile_duration") else None
)
rng = np.random.default_rng(0)
def cov(m):
    a = rng.normal(size=(m, m))
    return a @ a.T
def channel(m):
    return rng.dirichlet(np.ones(m), m)
def joint(m):
    return rng.dirichlet(np.ones(m * m)).reshape(m, m)
def once(m):
    return {CALL}
for m in range(2, 11):
    jax.block_until_ready(once(m))
print(len(compilations))
"""
CALLS = [
    "rd.gaussian.water_filling(np.arange(1.0, m + 1), 0.7)",
    "rd.linear.rate(cov(m), cov(m), 0.3)",
    "rd.linear.lower_bound(cov(m), np.arange(1, m + 1), 0.3)",
    "rd.linear.shannon_lower_bound(2.0, cov(m), cov(m).tolist(), 0.3)",
    "rd.gaussian_channel.optimal(cov(m), cov(m), 0.3)",
    "rd.gaussian_channel.performance((lambda eye: rd.results.GaussianChannel(eye, eye))(np.eye(m)), cov(m), cov(m))",
    "rd.capacity(channel(m))",
    "rd.channel.capacity_at(channel(m), np.arange(m), 0.4)",
    "rd.side_information.conditional_rate_at(joint(m), 1 - np.eye(m), 0.1)",
    "rd.blahut_arimoto(rng.dirichlet(np.ones(m)), 1 - np.eye(m), 2.0)",
    "rd.algorithms.accelerated_blahut_arimoto(rng.dirichlet(np.ones(m)), 1 - np.eye(m), 2.0)",
]


@pytest.mark.parametrize("call", CALLS)
def test_sizes_two_to_ten_are_two_programs(call):
    assert int(run(COUNTED.replace("{CALL}", call))) <= 2
