"""A Cholesky factor without LAPACK's threads, which nobody can hold back under an outer `jit`: see `_threads`.

Blocks on the diagonal are so small that LAPACK leaves them to one thread; the rest is products, which are XLA's own.
"""

import jax.numpy as jnp
from jax import Array, lax

BLOCK = 64  # rows that LAPACK factors; OpenBLAS takes threads for more than about a hundred
MANY = 1024  # rows from which on compiling as many blocks takes too long, and threads are worth their start
NARROW = 16  # columns that LAPACK solves for at once; OpenBLAS takes threads for 1024 unknowns in half a block


def factor(matrix: Array) -> Array:
    """Lower triangular L with LLᵀ the matrix, of which the lower triangle is read; NaN if it is not definite.

    Examples
    --------
    >>> print(factor(jnp.array([[4.0, 0.0], [2.0, 2.0]])))
    [[2. 0.]
     [1. 1.]]
    """
    if not BLOCK < len(matrix) <= MANY:
        return _at_once(matrix)
    return lax.platform_dependent(matrix, cpu=_by_blocks, default=_at_once)


def _at_once(matrix: Array) -> Array:
    return jnp.linalg.cholesky(matrix, symmetrize_input=False)


def _by_blocks(matrix: Array) -> Array:
    n = len(matrix)
    found = jnp.zeros_like(matrix)
    for start in range(0, n, BLOCK):
        end = min(start + BLOCK, n)
        columns = matrix[start:, start:end] - found[start:, :start] @ found[start:end, :start].T
        corner, below = _at_once(columns[: end - start]), columns[end - start :]
        found = found.at[start:end, start:end].set(corner)
        if end < n:
            inverse = _inverse(corner).T
            rough = below @ inverse
            # An inverse loses as many digits as its block is ill-conditioned: once more on what it left.
            found = found.at[end:, start:end].set(rough + (below - rough @ corner.T) @ inverse)
    return found


def _inverse(lower: Array) -> Array:
    """Of a triangular block, from the inverses of its halves."""
    half = BLOCK // 2
    first, last = lower[:half, :half], lower[half:, half:]
    identity = jnp.eye(half).reshape(half, -1, NARROW).swapaxes(0, 1)
    parts = len(identity)
    each, right = jnp.stack([first] * parts + [last] * parts), jnp.concatenate([identity, identity])
    solved = lax.linalg.triangular_solve(each, right, left_side=True, lower=True)
    above, below = solved.reshape(2, parts, half, NARROW).swapaxes(1, 2).reshape(2, half, half)
    beside = -below @ (lower[half:, :half] @ above)
    return jnp.block([[above, jnp.zeros_like(above)], [beside, below]])
