"""Distortion matrices d[x, y]: what it costs to reproduce the letter x as y."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks

__all__ = ["absolute_error", "erasure", "hamming", "squared_error"]


def hamming(letters: int) -> Float[Array, "n n"]:
    """Probability of error: 0 on the diagonal, 1 elsewhere.

    Examples
    --------
    >>> print(hamming(2))
    [[0. 1.]
     [1. 0.]]
    """
    return jnp.asarray(1.0 - np.eye(_checks.count("letters", letters, 1)))


def erasure(letters: int) -> Float[Array, "n n+1"]:
    """Exact, or erased at cost 1: the last column is the erasure, a wrong letter costs infinity.

    Examples
    --------
    >>> print(erasure(2))
    [[ 0. inf  1.]
     [inf  0.  1.]]
    """
    n = _checks.count("letters", letters, 1)
    return jnp.asarray(np.column_stack([np.where(np.eye(n, dtype=bool), 0.0, np.inf), np.ones(n)]))


def squared_error(source: Float[ArrayLike, " n"], reproduction: Float[ArrayLike, " m"]) -> Float[Array, "n m"]:
    """(x - y)² between two lists of real letters.

    Examples
    --------
    >>> print(squared_error(jnp.array([0.0, 2.0]), jnp.array([1.0])))
    [[1.]
     [1.]]
    """
    return (_checks.array("source", source, 1)[:, None] - _checks.array("reproduction", reproduction, 1)[None, :]) ** 2


def absolute_error(source: Float[ArrayLike, " n"], reproduction: Float[ArrayLike, " m"]) -> Float[Array, "n m"]:
    """|x - y| between two lists of real letters.

    Examples
    --------
    >>> print(absolute_error(jnp.array([0.0, 2.0]), jnp.array([1.5])))
    [[1.5]
     [0.5]]
    """
    return jnp.abs(
        _checks.array("source", source, 1)[:, None] - _checks.array("reproduction", reproduction, 1)[None, :]
    )
