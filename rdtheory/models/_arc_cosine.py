"""The arc-cosine kernel of order 1 and what follows from it, under N(0, cov) inputs.

notation: w is (m,) for one neuron, which has v = None, or (h, m) for a layer with output weights v, (h,) or (h, k);
outer[i, j] = v_i·v_j; angles and norms are those of the inner product uᵀ cov v.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from rdtheory import _compile

SERIES = [6 * (k + 1) / math.factorial(2 * k + 3) for k in range(5, -1, -1)]


def inner_products(v: Array | None) -> Array:
    """v_i·v_j, (h, h); 1 for one neuron."""
    rows = jnp.ones((1, 1)) if v is None else v.reshape(len(v), -1)
    return rows @ rows.T


def angles(u: Array, v: Array, cov: Array) -> tuple[Array, Array, Array, Array]:
    """Inner products, norms of u and of v, and angles in [0, π], between rows of u and of v; 0 for a zero row.

    Kahan's form 2 atan2(‖û - v̂‖, ‖û + v̂‖) keeps small angles accurate, where acos of the cosine loses half the digits.
    """
    inner = u @ cov @ v.T
    norm_u, norm_v = norm_in(u, cov), norm_in(v, cov)
    unit_u = u / jnp.where(norm_u > 0, norm_u, 1.0)[:, None]
    unit_v = v / jnp.where(norm_v > 0, norm_v, 1.0)[:, None]
    apart = norm_in(unit_u[:, None, :] - unit_v[None, :, :], cov)
    together = norm_in(unit_u[:, None, :] + unit_v[None, :, :], cov)
    present = (norm_u > 0)[:, None] & (norm_v > 0)[None, :]
    return (
        inner,
        norm_u,
        norm_v,
        jnp.where(present, 2 * jnp.arctan2(apart, jnp.where(present, together, 1.0)), 0.0),
    )


def norm_in(x: Array, cov: Array) -> Array:
    """‖x‖ in the inner product of cov, with derivative 0 rather than NaN at x = 0."""
    square = jnp.sum((x @ cov) * x, axis=-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def bend(u: Array, v: Array, cov: Array) -> Array:
    """‖u‖‖v‖ (sin θ - θ cos θ)/π between rows: twice what the kernel has beyond ½⟨u, v⟩."""
    _, norm_u, norm_v, angle = angles(u, v, cov)
    # sin θ - θ cos θ = θ³/3 · Σ_k (-θ²)^k 6 (k + 1)/(2k + 3)! cancels; below 0.3 six terms reach rounding.
    small = angle < 0.3
    theta = jnp.where(small, 1.0, angle)
    series = angle**3 / 3 * jnp.polyval(jnp.asarray(SERIES, angle.dtype), -(angle**2))
    bent = jnp.where(small, series, jnp.sin(theta) - theta * jnp.cos(theta))
    return norm_u[:, None] * norm_v[None, :] * bent / math.pi


@_compile.jit
def distortion(w: Array, w_hat: Array, cov: Array, v: Array | None) -> Array:
    """E‖f_w(X) - f_ŵ(X)‖²."""
    return scaled_distortion(w, w_hat, 1.0, bends(w, w_hat, cov), cov, v)


def bends(w: Array, w_hat: Array, cov: Array) -> Array:
    """Those among w, among ŵ and between both, (3, h, h): together, for one is most of what there is to compile."""
    w, w_hat = jnp.atleast_2d(w), jnp.atleast_2d(w_hat)
    return jax.vmap(bend, (0, 0, None))(jnp.stack([w, w_hat, w]), jnp.stack([w, w_hat, w_hat]), cov)


def scaled_distortion(w: Array, w_hat: Array, scale: ArrayLike, bent: Array, cov: Array, v: Array | None) -> Array:
    """E‖f_w(X) - f_{scale · ŵ}(X)‖² for a scale >= 0, from the `bends` of w and ŵ."""
    lost = jnp.atleast_2d(w) - scale * jnp.atleast_2d(w_hat)
    straight = lost @ cov @ lost.T
    # The bend of a neuron with itself is zero, so one neuron loses nothing to cancellation.
    curved = bent[0] + scale**2 * bent[1] - 2 * scale * bent[2]
    outer = inner_products(v)
    return jnp.maximum(0.5 * (jnp.sum(outer * straight) + jnp.sum(outer * curved)), 0.0)


@_compile.jit
def importance(w: Array, cov: Array, v: Array | None) -> Array:
    """E ∇f ∇fᵀ, (h m, h m)."""
    w, outer = jnp.atleast_2d(w), inner_products(v)
    h, m = w.shape
    _, norm, _, angle = angles(w, w, cov)
    angle = jnp.where(jnp.eye(h, dtype=bool), 0.0, angle)
    a = (w / norm[:, None]) @ cov
    # The numerator is σ[-(a - σb)(a - σb)ᵀ + (1 - |cos θ|)(aaᵀ + bbᵀ)] with σ the sign of cos θ, which does not cancel
    # where a and σb are close; it vanishes there like sin²θ.
    sign = jnp.where(angle < math.pi / 2, 1.0, -1.0)
    near = jnp.minimum(angle, math.pi - angle)
    step = a[:, None, :] - sign[:, :, None] * a[None, :, :]
    squares = a[:, :, None] * a[:, None, :]
    numerator = 2 * jnp.sin(near / 2)[:, :, None, None] ** 2 * (squares[:, None] + squares[None, :])
    numerator = sign[:, :, None, None] * (numerator - step[:, :, :, None] * step[:, :, None, :])
    sine = jnp.sin(near)[:, :, None, None]
    tilt = jnp.where(sine > 0, numerator / jnp.where(sine > 0, sine, 1.0), 0.0) / (2 * math.pi)
    flat = ((math.pi - angle) / (2 * math.pi))[:, :, None, None] * cov[None, None, :, :]
    blocks = outer[:, :, None, None] * (flat + tilt)
    return blocks.transpose(0, 2, 1, 3).reshape(h * m, h * m)
