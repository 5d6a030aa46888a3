"""LAPACK's threads, which are in the way of XLA's."""

import importlib
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import jax
from threadpoolctl import ThreadpoolController

from rdtheory._compile import is_traced

Result = TypeVar("Result")


def with_one_thread(solve: Callable[[], Result], *arguments) -> Result:
    """What `solve` returns, computed from `arguments` while LAPACK has one thread.

    Its threads wait for each other in a loop. Beside XLA's own, or on a busy machine, that makes a factorization up to
    a hundred times slower.
    """
    if is_traced(arguments):
        return solve()
    with _blas().limit(limits=1, user_api="blas"):
        return jax.block_until_ready(solve())


@cache
def _blas() -> ThreadpoolController:
    importlib.import_module("scipy.linalg")  # JAX takes LAPACK from there, and only what is loaded is found
    return ThreadpoolController()
