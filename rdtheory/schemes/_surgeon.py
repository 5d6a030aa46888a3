"""The optimal brain surgeon: greedy removal in a full importance, and the projection onto what is kept.

notation: H is the importance in units in which its diagonal is 1, P the inverse of H on the weights that are left.
Removing weight q and moving the others to make up for it costs w_q²/P_qq, changes w by -(w_q/P_qq) P[:, q] and P by
-P[:, q] P[q, :]/P_qq. The columns P[:, q]/√P_qq of all steps are a pivoted Cholesky factor of P; those of a block of
steps are applied to P together, as one product of matrices.
"""

import functools
import math

import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import cho_factor, cho_solve

from rdtheory import _compile

BLOCK = 64


@functools.partial(_compile.jit, lengthy=2**16, static_argnums=3)
def greedy(w: Array, importance: Array, left: Array, keep: int, damping: Array) -> tuple[Array, Array]:
    """Indices (keep,) of what is kept of the weights `left`, ascending, and all compressed weights (k,)."""
    inner, metric = w[left], importance[left][:, left]
    chosen = _support(inner, metric, keep, damping)
    return left[chosen], jnp.zeros_like(w).at[left].set(project(inner, metric, chosen, damping))


@_compile.jit
def project(w: Array, importance: Array, support: Array, damping: Array) -> Array:
    """ŵ_S = w_S + (I_SS)⁻¹ I_SR w_R; what rounding needs added to a singular I_SS is taken out again by refinement."""
    scale = _scale(importance)
    inverse = jnp.where(scale > 0, 1 / jnp.where(scale > 0, scale, 1.0), 0.0)[support]
    rest = w.at[support].set(0.0)
    target = inverse * (importance[support] @ rest)
    matrix = inverse[:, None] * importance[support][:, support] * inverse[None, :] + jnp.eye(len(support)) * damping
    factor = cho_factor(matrix + jnp.eye(len(support)) * _floor(len(w)))

    def refine(_, moved: Array) -> Array:
        return moved + cho_solve(factor, target - matrix @ moved)

    moved = lax.fori_loop(0, 10, refine, cho_solve(factor, target))
    return jnp.zeros_like(w).at[support].set(w[support] + inverse * moved)


def _support(w: Array, importance: Array, keep: int, damping: Array) -> Array:
    k, drop = len(w), len(w) - keep
    scale = _scale(importance)
    # A weight of no importance costs nothing: scaled to zero, it goes first.
    inverse = jnp.where(scale > 0, 1 / jnp.where(scale > 0, scale, 1.0), 0.0)
    damped = inverse[:, None] * importance * inverse[None, :] + jnp.eye(k) * jnp.maximum(damping, _floor(k))
    p = cho_solve(cho_factor(damped + jnp.diag(jnp.where(scale > 0, 0.0, 1.0))), jnp.eye(k))
    present = jnp.ones(k, bool)

    def block(state, first: Array):
        w, p, present = state
        columns = jnp.zeros((BLOCK, k))

        def remove(step: Array, inner):
            w, diagonal, present, columns = inner
            q = jnp.argmin(jnp.where(present, w * w / diagonal, jnp.inf))
            column = p[q] - columns.T @ columns[:, q]
            column = jnp.where(present & (first + step < drop), column / jnp.sqrt(column[q]), 0.0)
            moved = w - column * jnp.where(column[q] > 0, w[q] / jnp.where(column[q] > 0, column[q], 1.0), 0.0)
            left = present & ~((jnp.arange(k) == q) & (first + step < drop))
            lower = jnp.where(left, jnp.maximum(diagonal - column**2, jnp.finfo(w.dtype).tiny), 1.0)
            return jnp.where(left, moved, 0.0), lower, left, columns.at[step].set(column)

        start = (w, jnp.where(present, jnp.diagonal(p), 1.0), present, columns)
        w, _, present, columns = lax.fori_loop(0, BLOCK, remove, start)
        return (w, p - columns.T @ columns, present), None

    blocks = jnp.arange(math.ceil(drop / BLOCK)) * BLOCK
    (_, _, present), _ = lax.scan(block, (w * scale, p, present), blocks)
    return jnp.nonzero(present, size=keep)[0]


def _scale(importance: Array) -> Array:
    return jnp.sqrt(jnp.maximum(jnp.diagonal(importance), 0.0))


def _floor(k: int) -> float:
    """What keeps a singular matrix of unit diagonal positive definite in rounding."""
    return 10 * k * float(jnp.finfo(jnp.zeros(()).dtype).eps)
