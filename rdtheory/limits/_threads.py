"""LAPACK's threads, which are in the way of XLA's."""

import importlib
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import jax
from jax import Array
from jax.typing import ArrayLike
from threadpoolctl import ThreadpoolController

from rdtheory._compile import is_traced
from rdtheory.limits import _structured
from rdtheory.limits._structured import Distortion
from rdtheory.results import RateDistortion

Result = TypeVar("Result")
THREADED = 2**14  # entries of a matrix from which on they are


def with_one_thread(
    solve: Callable[[], RateDistortion], p: Array, d: Distortion, *others: ArrayLike | None
) -> RateDistortion:
    """What `solve` returns, computed while LAPACK has one thread.

    Its threads wait for each other in a loop. Beside XLA's own, or on a busy machine, that makes a factorization up to
    a hundred times slower. Of small problems setting the number would take a tenth of the time.
    """
    n, m = _structured.shape(d)
    return solve() if n * m < THREADED else alone(solve, p, d, others)


def alone(solve: Callable[[], Result], *arguments) -> Result:
    """The same for a problem of any size; `arguments` are what `solve` computes it from."""
    if is_traced(arguments):
        return solve()
    with _blas().limit(limits=1, user_api="blas"):
        return jax.block_until_ready(solve())


@cache
def _blas() -> ThreadpoolController:
    importlib.import_module("scipy.linalg")  # JAX takes LAPACK from there, and only what is loaded is found
    return ThreadpoolController()
