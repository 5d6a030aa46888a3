import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rdtheory as rd

ROOT = Path(__file__).resolve().parent.parent
MODULES = [
    module.name
    for module in pkgutil.walk_packages(rd.__path__, "rdtheory.")
    if not module.name.startswith(("rdtheory.cli", "rdtheory.plotting", "rdtheory.verify"))
]


def run(code, **environment):
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["rdtheory", *MODULES])
def test_every_name_in_all_exists(name):
    module = importlib.import_module(name)
    names = getattr(module, "__all__", [])
    assert [public for public in names if not hasattr(module, public)] == []
    assert names == sorted(set(names), key=lambda public: (not public.isupper(), public))  # constants first


@pytest.mark.parametrize("name", rd.__all__)
def test_every_public_thing_is_documented(name):
    thing = getattr(rd, name)
    assert thing.__doc__
    for public in getattr(thing, "__all__", []):
        assert getattr(thing, public).__doc__, f"{name}.{public}"


def test_help_has_one_line_for_each_topic():
    lines = re.findall(r"^    (\w+) {2,}(\S.*)$", rd.__doc__, re.MULTILINE)
    topics = [name for name in rd.__all__ if inspect.ismodule(getattr(rd, name))]
    assert sorted(name for name, _ in lines) == topics
    assert all(f"`{name}`" in rd.__doc__ for name in rd.__all__ if name not in topics)


def test_every_public_function_has_an_example_that_is_run():
    """So `pytest -m fast`, which runs them, calls each of them once; exercises and pictures have fast tests instead."""
    functions = [
        thing
        for topic in (getattr(rd, name) for name in rd.__all__ if name not in ("exercises", "plotting"))
        if inspect.ismodule(topic)
        for thing in (getattr(topic, name) for name in getattr(topic, "__all__", []))
        if inspect.isfunction(thing)
    ]
    assert len(functions) > 100
    without = {f"{thing.__module__}.{thing.__qualname__}" for thing in functions if ">>> " not in (thing.__doc__ or "")}
    assert not without


def test_importing_the_package_imports_no_plotting_no_data_and_no_command_line():
    loaded = run("import sys, rdtheory; rdtheory.curve; print(*sys.modules)").split()
    assert "rdtheory.limits.discrete" in loaded
    assert not {"matplotlib", "sklearn", "typer", "rich", "rdtheory.cli", "rdtheory.plotting"} & set(loaded)


def test_every_public_name_is_there_on_its_first_use_and_no_other():
    run("import rdtheory; [getattr(rdtheory, name) for name in rdtheory.__all__]")
    run("from rdtheory import *; rate_at, linear.rate")
    assert {"curve", "linear", "__version__"} <= set(dir(rd))
    with pytest.raises(AttributeError, match="no attribute 'lineal'"):
        rd.lineal  # noqa: B018


def test_importing_the_package_adds_little_to_importing_jax():
    code = """
import time, jax, jax.numpy
t = time.process_time()
import rdtheory
rdtheory.curve, rdtheory.linear, rdtheory.relu, rdtheory.prune
print(time.process_time() - t)"""
    assert min(float(run(code)) for _ in range(4)) < 0.3  # seconds of processor time, whatever else the machine does


def test_without_float64_a_solver_refuses_and_says_what_to_run():
    code = """
import jax.numpy as jnp, rdtheory as rd
p, d = jnp.array([0.5, 0.5]), 1 - jnp.eye(2)
for call in [
    lambda: rd.blahut_arimoto(p, d, 1.0),
    lambda: rd.curve(p, d, jnp.array([1.0])),
    lambda: rd.rate_at(p, d, 0.1),
    lambda: rd.distortion_at(p, d, 0.1),
    lambda: rd.capacity(jnp.eye(2)),
]:
    try:
        call()
    except RuntimeError as error:
        print('jax.config.update("jax_enable_x64", True)' in str(error))
    else:
        print("no error")
"""
    assert run(code, JAX_ENABLE_X64="0").split() == ["True"] * 5


def test_float64_for_some_calls_as_the_error_says():
    code = """
import jax, jax.experimental, jax.numpy as jnp, numpy as np, rdtheory as rd
p, d, one = np.array([0.5, 0.5]), 1 - np.eye(2), np.eye(2)
try:
    rd.rate_at(p, d, 0.1)
except RuntimeError as error:
    remedy = str(error).split("for some calls only: ")[1]
exec(remedy + " found = rd.rate_at(p, d, 0.1).rate, rd.continuous.rate_at(rd.sources.gaussian(1.0), 0.25).upper")
exec(remedy + " found += (rd.linear.rate(one, one, 0.5).rate, rd.capacity(one).rate)")
print(*found, *(rate.dtype for rate in found), jnp.zeros(()).dtype)
"""
    found = run(code, JAX_ENABLE_X64="0").split()
    assert [float(rate) for rate in found[:4]] == pytest.approx([0.531004406411, 1.0, 2.0, 1.0], abs=1e-6)
    assert found[4:] == ["float64"] * 4 + ["float32"]


def test_closed_forms_and_models_work_in_float32_too():
    code = """
import jax.numpy as jnp, rdtheory as rd
print(rd.closed_form.bernoulli(0.5, 0.11), rd.linear.rate(jnp.eye(2), jnp.eye(2), 0.5).rate.dtype)
"""
    rate, dtype = run(code, JAX_ENABLE_X64="0").split()
    assert abs(float(rate) - 0.5) < 1e-3
    assert dtype == "float32"


def test_the_global_configuration_of_jax_is_left_alone():
    code = """
import jax
before = dict(jax.config.values)
import rdtheory as rd
import jax.numpy as jnp
print(dict(jax.config.values) == before, jnp.zeros(()).dtype)
jax.config.update("jax_enable_x64", True)
before = dict(jax.config.values)
rd.rate_at(jnp.array([0.5, 0.5]), rd.distortion.hamming(2), 0.1)
rd.linear.rate(jnp.eye(2), jnp.eye(2), 0.5)
rd.relu.distortion(jnp.ones(2), jnp.zeros(2), jnp.eye(2))
print(dict(jax.config.values) == before)
"""
    assert run(code, JAX_ENABLE_X64="0").split() == ["True", "float32", "True"]


def test_limits_and_schemes_do_not_import_each_other():
    for folder, other in [("limits", "schemes"), ("schemes", "limits")]:
        for source in (ROOT / "rdtheory" / folder).glob("*.py"):
            assert f"rdtheory.{other}" not in source.read_text(), source
