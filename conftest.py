"""What every test and doctest runs under: float64, no silent broadcasting, and the shapes in signatures checked."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import config, install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Before rdtheory is imported anywhere: its annotations become checks, by beartype.
install_import_hook("rdtheory", "beartype.beartype")


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also run the sweeps marked long (minutes)")


def pytest_collection_modifyitems(config, items):
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
