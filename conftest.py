"""What every test and doctest runs under: float64, no silent broadcasting, and the shapes in signatures checked.

Most of the time of a test is compilation, so it is made short: without optimization, which small arrays do not need
(what users run is compiled as for them by the notebooks and `--long`), by XLA's older code generator in one piece where
jaxlib has that, and kept for the other processes of the same run.
"""

import functools
import gc
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
import types
import typing
from pathlib import Path

# Tests keep all processors busy: more threads for each matrix would wait for each other in a loop.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jaxtyping import config, install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


def jaxtyped(*, typechecker, with_sizes=jaxtyping.jaxtyped):
    """jaxtyping's decorator, which counts sizes; where an annotation has none beartype alone, which costs far less."""

    def decorated(function):
        if not isinstance(function, types.FunctionType) or _is_inner(function) or _has_sizes(function):
            return with_sizes(function, typechecker=typechecker)
        checking = typechecker(function)

        @functools.wraps(function)
        def call(*args, **kwargs):
            return (function if config.jaxtyping_disable else checking)(*args, **kwargs)

        return call

    return decorated


def _is_inner(function):
    return "<locals>" in function.__qualname__


def _has_sizes(function):
    try:
        annotations = inspect.get_annotations(function, eval_str=True)
    except NameError:  # of what is imported for types alone
        return True
    return any(map(_is_sized, annotations.values()))


def _is_sized(annotation):
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(map(_is_sized, typing.get_args(annotation)))


# Before rdtheory is imported anywhere: its annotations become checks, by beartype.
jaxtyping.jaxtyped = jaxtyped
install_import_hook("rdtheory", "conftest.checked")
gc.set_threshold(100_000, 50, 100)  # what JAX has compiled is never garbage, and is millions of objects to look at


def checked(function):
    """`function`, its signature checked: jaxtyping gives one that does nothing else.

    A function inside another is made anew by each call of that one, and its check, which takes milliseconds to make,
    is not.
    """
    from beartype import beartype  # notebooks are run where it is not

    if not _is_inner(function):
        return beartype(function)
    code = function.__code__
    form = code.co_varnames, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    optional = len(function.__defaults__ or ()), *(function.__kwdefaults__ or ())
    key = function.__module__, function.__qualname__, form, optional, *function.__annotations__.items()
    if key not in _checks:
        _checks[key] = beartype(function)
    return _checks[key]


_checks: dict = {}


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also run the sweeps marked long (minutes)")


def pytest_configure(config):
    if not config.getoption("--long"):
        jax.config.update("jax_disable_most_optimizations", True)
        if not config.getoption("nbmake", False):
            os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # in the commands that tests run, too
    # This process has read its settings: what is set here is for those that will run the tests.
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="rdtheory-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
    flags = os.environ.get("XLA_FLAGS", "")
    brief = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    if brief not in flags and config.getoption("numprocesses", None):
        # A jaxlib that does not know a flag aborts, so that another process asks it.
        environment = {**os.environ, "XLA_FLAGS": f"{flags} {brief}".strip()}
        asked = [sys.executable, "-c", "import jax; jax.devices()"]
        if subprocess.run(asked, env=environment, capture_output=True).returncode == 0:
            os.environ["XLA_FLAGS"] = environment["XLA_FLAGS"]


def pytest_collection_modifyitems(config, items):
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            item.add_marker("fast")
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    doctest_namespace.update(jax=jax, jnp=jnp, np=np)


@pytest.fixture(autouse=True, scope="module")
def _few_executables():
    """Compiled functions take memory maps, of which a process may have 65,530: out of them, the compiler crashes."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_text().count("\n") > 20_000:
        jax.clear_caches()


@pytest.fixture
def as_user():
    """Without the annotation checks: what someone who passes a wrong shape sees."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
