"""How much is compiled: what a newcomer waits for must not grow unnoticed. No times: they depend on the machine."""

import functools
import json
import os
import re
import subprocess
import sys

import pytest

from benchmarks import startup
from tests.test_package import run

COUNTED = """
import json
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
def counted(call):
    before = len(compilations)
    jax.block_until_ready(call())
    return len(compilations) - before
"""
TURNS = """
rng = np.random.default_rng(0)
def cov(m):
    a = rng.normal(size=(m, m))
    return a @ a.T
def channel(m):
    return rng.dirichlet(np.ones(m), m)
def joint(m):
    return rng.dirichlet(np.ones(m * m)).reshape(m, m)
found = {name: counted(lambda: [eval(call) for m in range(2, 11)]) for name, call in CALLS.items()}
print(json.dumps(found))
"""
CALLS = {
    "water_filling": "rd.gaussian.water_filling(np.arange(1.0, m + 1), 0.7)",
    "rate": "rd.linear.rate(cov(m), cov(m), 0.3)",
    "lower_bound": "rd.linear.lower_bound(cov(m), np.arange(1, m + 1), 0.3)",
    "shannon_lower_bound": "rd.linear.shannon_lower_bound(2.0, cov(m), cov(m).tolist(), 0.3)",
    "optimal": "rd.gaussian_channel.optimal(cov(m), cov(m), 0.3)",
    "performance": "rd.gaussian_channel.performance(rd.results.GaussianChannel(np.eye(m), np.eye(m)), cov(m), cov(m))",
    "capacity": "rd.capacity(channel(m))",
    "capacity_at": "rd.channel.capacity_at(channel(m), np.arange(m), 0.4)",
    "conditional_rate_at": "rd.side_information.conditional_rate_at(joint(m), 1 - np.eye(m), 0.1)",
    "blahut_arimoto": "rd.blahut_arimoto(rng.dirichlet(np.ones(m)), 1 - np.eye(m), 2.0)",
    "accelerated": "rd.algorithms.accelerated_blahut_arimoto(rng.dirichlet(np.ones(m)), 1 - np.eye(m), 2.0)",
    "rate_at": "rd.rate_at(rng.dirichlet(np.ones(m)), 1 - np.eye(m), 0.1)",
}
EVERYDAY = """
p, d = np.array([0.3, 0.7]), 1 - np.eye(2)
calls = {
    "rate_at": lambda: rd.rate_at(p, d, 0.1),
    "distortion_at": lambda: rd.distortion_at(p, d, 0.5),
    "lagrangian": lambda: rd.discrete.lagrangian(p, d, 1.0),
    "interior_point": lambda: rd.interior_point(p, d, 1.0),
    **{f"curve, {k} slopes": lambda k=k: rd.curve(p, d, np.linspace(0.1, 3.0, k)) for k in (50, 51, 40)},
    **{f"{k} distortions": lambda k=k: rd.curve(p, d, distortions=np.linspace(0.05, 0.25, k)) for k in (3, 4)},
}
print(json.dumps({name: counted(call) for name, call in calls.items()}))
"""


@functools.cache
def turns() -> dict[str, int]:
    return json.loads(run(f"{COUNTED}\nCALLS = {CALLS}\n{TURNS}"))


@pytest.mark.parametrize("name", list(CALLS))
def test_sizes_two_to_ten_are_two_programs(name):
    assert 1 <= turns()[name] <= 2


def test_a_slope_a_distortion_and_a_rate_are_one_program_and_curves_of_about_fifty_slopes_another():
    """Each length of a curve has a program besides that cuts it, of no operation but slices."""
    found = json.loads(run(COUNTED + EVERYDAY))
    curves = [found.pop(f"curve, {k} slopes") for k in (50, 51, 40)]
    assert curves == [2, 1, 1]
    assert [found.pop(f"{k} distortions") for k in (3, 4)] == [1, 1]  # what takes them apart; none puts points together
    assert found.pop("rate_at") == 1 and set(found.values()) == {0}


def test_the_quick_checks_are_few_programs(tmp_path):
    """345 of 31 checks before they were counted; what both processes need counts twice."""
    command = [sys.executable, "-m", "rdtheory", "verify", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "JAX_LOG_COMPILES": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 10 < len(re.findall(startup.COMPILED, done.stderr)) <= 120
