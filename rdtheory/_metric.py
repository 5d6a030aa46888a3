"""The metric of a weight importance: residuals of the golden rules in it, and projections.

An importance is full, (k, k) for k weights in row-major order, or its diagonal in the shape of the weights. Below both
`models` and `schemes`, which state the rules and use them.
"""

import math

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from rdtheory import _checks, _compile
from rdtheory.results import GoldenRules


def checked(importance: ArrayLike, shape: tuple[int, ...]) -> tuple[Array, _checks.Flag]:
    """I_w as it was given, full (k, k) or the diagonal in the shape of the weights, and its validity."""
    k = math.prod(shape)
    given = _checks.array("importance", importance)
    if given.shape == shape:
        return _checks.nonnegative("importance", given, ndim=len(shape))
    if given.shape == (k, k):
        return _checks.covariance("importance", importance)
    raise ValueError(f"importance must have shape {(k, k)} (full) or {shape} (diagonal), got {given.shape}")


@_compile.jit
def residuals(w: Array, w_hat: Array, importance: Array) -> GoldenRules:
    kept, lost = w_hat.ravel(), (w - w_hat).ravel()
    weighted = times(importance, w.shape, lost[:, None])[:, 0]
    objective, orthogonality = lost @ weighted, kept @ weighted
    power = kept @ times(importance, w.shape, kept[:, None])[:, 0]
    both = (objective > 0) & (power > 0)
    norms = jnp.sqrt(jnp.where(both, objective, 1.0)) * jnp.sqrt(jnp.where(both, power, 1.0))
    cosine = jnp.where(both, orthogonality / norms, 0.0)
    return GoldenRules(orthogonality, cosine, objective)


@_compile.jit
def project(w: Array, importance: Array, b: Array) -> Array:
    """In the precision of w; computed in that of the importance."""
    weighted = times(importance, w.shape, b)
    gram = b.T @ weighted
    # In units of each column's norm: a small importance is not a dependent column.
    norm = jnp.sqrt(jnp.maximum(jnp.diagonal(gram), 0.0))
    inverse = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1.0), 0.0)
    scaled = inverse[:, None] * (gram + gram.T) / 2 * inverse[None, :]
    coordinates = inverse * (jnp.linalg.pinv(scaled, hermitian=True) @ (inverse * (weighted.T @ w.ravel())))
    return (b @ coordinates).reshape(w.shape).astype(w.dtype)


def times(importance: Array, shape: tuple[int, ...], columns: Array) -> Array:
    """I_w times each column; a diagonal has the shape of the weights."""
    return importance.ravel()[:, None] * columns if importance.shape == shape else importance @ columns
