"""Cholesky factors and inverses without LAPACK's threads, which wait in a loop that starves XLA's: see `_threads`.

Under an outer `jit` nobody can hold them back. There blocks on the diagonal are as small as what LAPACK does in one
thread, and the rest is products, which are XLA's own. Where they are held back LAPACK does it faster.
"""

from functools import partial

import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import cho_factor, cho_solve

ONE_THREAD = ()  # in place of None, for `jit` compiles anew for another structure of its arguments: LAPACK has one
THREADED = 128  # rows from which on OpenBLAS takes threads for a factor,
UNKNOWNS = 1024  # and unknowns from which on it does so for a triangular system, unless of a single right-hand side
BLOCK = 64
NARROW = 16  # right-hand sides of half a block
MANY = 1024  # rows from which on to compile so many blocks takes too long


def factor(matrix: Array, threads: tuple[()] | None = None) -> Array:
    """Lower triangular L with LLᵀ the matrix, of which the lower triangle is read; NaN in it if it is not definite.

    `threads` is `ONE_THREAD` where LAPACK is kept to one while this runs.

    Examples
    --------
    >>> print(factor(jnp.array([[4.0, 0.0], [2.0, 2.0]])))
    [[2. 0.]
     [1. 1.]]
    """
    if threads == ONE_THREAD or not THREADED <= len(matrix) <= MANY:
        return _at_once(matrix)
    return lax.platform_dependent(matrix, cpu=_by_blocks, default=_at_once)


def inverse(matrix: Array) -> Array:
    """Of a positive definite matrix, by its factor; what rounding loses is for the caller to refine.

    Examples
    --------
    >>> print(inverse(jnp.array([[4.0, 0.0], [0.0, 2.0]])))
    [[0.25 0.  ]
     [0.   0.5 ]]
    """

    def at_once(matrix: Array) -> Array:
        return cho_solve(cho_factor(matrix), jnp.eye(len(matrix), dtype=matrix.dtype))

    def by_blocks(matrix: Array) -> Array:
        half = _inverse_by_blocks(factor(matrix))
        return half.T @ half

    if len(matrix) ** 2 < UNKNOWNS or len(matrix) > MANY:
        return at_once(matrix)
    return lax.platform_dependent(matrix, cpu=by_blocks, default=at_once)


_at_once = partial(jnp.linalg.cholesky, symmetrize_input=False)


def _by_blocks(matrix: Array) -> Array:
    n = len(matrix)
    found = jnp.zeros_like(matrix)
    for start in range(0, n, BLOCK):
        end = n if n - start < THREADED else start + BLOCK
        columns = matrix[start:, start:end] - found[start:, :start] @ found[start:end, :start].T
        corner, below = _at_once(columns[: end - start]), columns[end - start :]
        found = found.at[start:end, start:end].set(corner)
        if end == n:
            break
        right = _inverse_of_block(corner).T
        rough = below @ right
        # An inverse loses digits where its block is nearly singular: once more on what is left.
        found = found.at[end:, start:end].set(rough + (below - rough @ corner.T) @ right)
    return found


def _inverse_by_blocks(lower: Array) -> Array:
    n = len(lower)
    found = jnp.zeros_like(lower)
    for start in range(0, n, BLOCK):
        rows = slice(start, min(start + BLOCK, n))
        corner = _inverse_of_block(lower[rows, rows])
        beside = -corner @ (lower[rows, :start] @ found[:start, :start])
        found = found.at[rows, :start].set(beside).at[rows, rows].set(corner)
    return found


def _inverse_of_block(lower: Array) -> Array:
    """From the inverses of its halves, a few columns at a time."""
    n, half = len(lower), BLOCK // 2
    lower = lower if n == BLOCK else jnp.eye(BLOCK, dtype=lower.dtype).at[:n, :n].set(lower)
    identity = jnp.eye(half, dtype=lower.dtype).reshape(half, -1, NARROW).swapaxes(0, 1)
    parts = len(identity)
    triangles = jnp.stack([lower[:half, :half]] * parts + [lower[half:, half:]] * parts)
    columns = lax.linalg.triangular_solve(triangles, jnp.concatenate([identity, identity]), left_side=True, lower=True)
    first, last = columns.reshape(2, parts, half, NARROW).swapaxes(1, 2).reshape(2, half, half)
    beside = -last @ (lower[half:, :half] @ first)
    return jnp.block([[first, jnp.zeros_like(first)], [beside, last]])[:n, :n]
