"""Distortion matrices d[x, y]: what it costs to reproduce the letter x as y.

Those too large to store have a structure in place of entries: `grid` and `samples`.
"""

import os
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile

__all__ = ["Grid", "Samples", "absolute_error", "erasure", "grid", "hamming", "samples", "squared_error"]


class Grid(NamedTuple):
    """A distortion of differences on a uniform product grid; made by `grid`."""

    offsets: tuple[Array, ...]  #: for each axis (n_k,), the distortion of letters 0, 1, 2, ... steps apart


class Samples(NamedTuple):
    """Squared Euclidean error between two lists of points; made by `samples`."""

    source: Float[Array, "n k"]  #: one source letter a row
    reproduction: Float[Array, "m k"]  #: one reproduction letter a row


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
    return _squares(*_letters(source, reproduction))


def absolute_error(source: Float[ArrayLike, " n"], reproduction: Float[ArrayLike, " m"]) -> Float[Array, "n m"]:
    """|x - y| between two lists of real letters.

    Examples
    --------
    >>> print(absolute_error(jnp.array([0.0, 2.0]), jnp.array([1.5])))
    [[1.5]
     [0.5]]
    """
    return _distances(*_letters(source, reproduction))


def grid(*offsets: Float[ArrayLike, " _"]) -> Grid:
    """Distortion of differences on a uniform product grid, for `curve`, `rate_at` and their like; never stored.

    Source and reproduction letters are the points of one grid, n = Π n_k of them in row-major order, and

        d(x, y) = Σ_k offsets[k][|x_k - y_k|],    x_k, y_k = 0, ..., n_k - 1.

    A step costs O(n log n) by FFT, axis by axis, where the matrix would take n² entries.

    Parameters
    ----------
    offsets : for each of one to three axes (n_k,), the distortion of letters 0, 1, 2, ... steps apart: >= 0,
        finite, beginning with 0.

    Raises
    ------
    ValueError : no axis or more than three, a first entry that is not 0, a negative or infinite one.

    Examples
    --------
    Squared error on a million points, and on 256 x 256 of them:

    >>> line = grid((1e-5 * jnp.arange(1_000_000)) ** 2)
    >>> plane = grid((0.05 * jnp.arange(256)) ** 2, (0.05 * jnp.arange(256)) ** 2)
    """
    if not 1 <= len(offsets) <= 3:
        raise ValueError(f"grid takes the offsets of one, two or three axes, got {len(offsets)}")
    axes = []
    for k, value in enumerate(offsets):
        table, ok = _checks.nonnegative(f"offsets[{k}]", value, 1)
        _, first = _checks.look(table)
        ok &= _checks.holds(
            first[0] == 0, lambda k=k, first=first: f"offsets[{k}] must begin with 0, got {float(first[0])}"
        )
        axes.append(_checks.poison(table, ok))
    return Grid(tuple(axes))


def samples(source: Float[ArrayLike, "n k"], reproduction: Float[ArrayLike, "m k"]) -> Samples:
    """Squared error |x - y|² between two lists of points, for `curve`, `rate_at` and their like; never stored.

    The columns that a solver works with are computed when it asks, all others in blocks of source letters.

    A certificate is of R(D) over the reproductions given. Over all points of the space R(D) is less, and nothing is
    said of how much. Take some of the source's own points, or a grid finer than the root of D, and more of them until
    the rate stays as it is. n samples tell the R(D) of what they were drawn from no better than to about 1/√n bits, so
    that solvers aim at 1e-3 bit with them, unless `tol` says otherwise.

    Parameters
    ----------
    source : (n, k), one point a row.
    reproduction : (m, k), the points to reproduce them by.

    Raises
    ------
    ValueError : lengths k that disagree, NaN or infinity, points so far apart or so near that squares are no numbers.

    Examples
    --------
    >>> rows = jax.random.normal(jax.random.key(0), (1000, 2))
    >>> blocks = samples(rows, rows[:100])
    """
    x, x_ok = _checks.finite("source", source, 2)
    y, y_ok = _checks.finite("reproduction", reproduction, 2)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"source and reproduction must have rows of one length, got {x.shape} and {y.shape}")
    return _checks.poison(Samples(x, y), x_ok & y_ok & _checks.squares(x, y))


def _letters(source: ArrayLike, reproduction: ArrayLike) -> tuple[Array, Array]:
    x, y = _checks.array("source", source, 1), _checks.array("reproduction", reproduction, 1)
    needed, memory = 8 * x.size * y.size, _physical_memory()
    if needed > memory / 2:
        raise ValueError(
            f"the matrix of {x.size:,} x {y.size:,} letters would take {needed / 2**30:.0f} GiB, and there are "
            f"{memory / 2**30:.0f}; distortion.grid (letters on a uniform grid) and distortion.samples (any points) "
            "never store it"
        )
    return x, y


@_compile.jit
def _squares(x: Array, y: Array) -> Array:
    return (x[:, None] - y[None, :]) ** 2


@_compile.jit
def _distances(x: Array, y: Array) -> Array:
    return jnp.abs(x[:, None] - y[None, :])


def _physical_memory() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # a system that does not say
        return float("inf")
