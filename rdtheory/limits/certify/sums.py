"""Sums of which it is known how far rounding may have moved them."""

import jax.numpy as jnp
from jax import Array

from rdtheory.limits.discrete.arithmetic import LN2

U = 2.0**-53
FLOOR = 2.0**-1000  # least probability that a law gives to what it must not exclude
LEAST_LOG = -900.0  # of a maximum, so that what was flushed stays far below it
FLUSHED = 2.0**-1000  # more than any term that is flushed: 2^-1022 times a logarithm


def relative(terms: int) -> float:
    return (terms + 16) * 2 * U


def log_sum(terms: Array, exponents: Array, sizes: Array) -> Array:
    """Upper bound of log Σ_x 2^exponent over some terms, of which each exponent is off by at most U sizes."""
    high = jnp.where(terms, exponents + U * sizes, -jnp.inf)
    top = jnp.max(high, axis=0)
    top = jnp.where(jnp.isfinite(top), top, jnp.where(top > 0, jnp.inf, 0.0))
    total = jnp.sum(jnp.where(terms, jnp.exp2(high - top[None, :]), 0.0), axis=0)
    # A power 2^-v counts as such, and v 2^-v, by which it is off, is below 1.
    return jnp.where(jnp.isnan(total), jnp.inf, top + jnp.log2(total) + 2 * relative(len(terms)) + 4 * U * jnp.abs(top))


def dual(p: Array, potential: Array, costs: Array) -> Array:
    """Σ p a - log max c, less what it may be off; costs (n, m), infinite where a reproduction is forbidden."""
    used, a = p > 0, finite(potential)
    log_p = jnp.log2(jnp.where(used, p, 1.0))
    exponents = (log_p + a)[:, None] - costs
    sizes = (jnp.abs(log_p) + jnp.abs(a))[:, None] + jnp.abs(costs)
    log_c = log_sum(used[:, None] & (costs < jnp.inf), exponents, 8 * sizes)
    highest = jnp.maximum(jnp.max(log_c), LEAST_LOG)
    a = jnp.where(used, a, 0.0)
    return p @ a - relative(len(p)) * (p @ jnp.abs(a)) - highest - 4 * U * jnp.abs(highest)


def rate(p: Array, channel: Array) -> Array:
    """Upper bound of I(p, channel)."""
    divergences, off = divergence(channel, jnp.maximum(p @ channel, FLOOR)[None, :])
    return p @ jnp.where(p > 0, divergences + off, 0.0) * (1 + relative(len(p)))


def information(p: Array, w: Array, r: Array, summed: int) -> tuple[Array, Array]:
    """I(p, W), of which r is the output law, and what it may be off; W and r are sums of so many terms."""
    divergences, off = divergence(w, jnp.maximum(r, FLOOR)[None, :], summed=summed)
    value, error = p @ jnp.where(p > 0, divergences, 0.0), relative(w.size + summed)
    return value, p @ jnp.where(p > 0, off, 0.0) + error * (value + error)


def divergence(w: Array, r: Array, change: Array | None = None, summed: int = 0) -> tuple[Array, Array]:
    """D(W_x‖r) of each row and what it may be off, relative to its terms; r > 0, of which `change` is w - r.

    Σ w log(w/r) - w + r has no negative term, so little is lost where w is near r. It is written with one ratio there:
    the compiler may compute w twice, a last digit apart. If r does not sum to 1 this is more than the divergence from r
    divided by its sum.
    """
    ratio = (w - r if change is None else change) / r
    near = jnp.abs(ratio) < 0.25
    x = jnp.where(near, ratio, 0.0)
    apart = jnp.where(w > 0, w * jnp.log(jnp.where(w > 0, w, 1.0) / r), 0.0)
    terms = jnp.where(near, r * ((1 + x) * jnp.log1p(x) - x), apart - w + r)
    sizes = jnp.where(near, 3 * r * jnp.abs(x), jnp.abs(apart) + w + r)
    off = relative(r.shape[-1] + summed) * jnp.sum(sizes, axis=-1) + r.shape[-1] * FLUSHED
    return jnp.sum(terms, axis=-1) / LN2, 2 * off / LN2


def most_paid(p: Array, t: Array, mu: Array, level: Array) -> Array:
    """Upper bound of μ P + μ log Σ p 2^(t/μ), to the digits of t where μ is large, or of max t, if that is less."""
    mean = p @ t
    x = jnp.where(p > 0, t - mean, 0.0) / mu * LN2
    spread = jnp.log1p(p @ (jnp.expm1(x) - x)) / LN2  # as Σ p x = 0
    size = p @ jnp.abs(t) + jnp.max(jnp.abs(jnp.where(p > 0, t - mean, 0.0))) + mu * (level + spread)
    paid = mean + mu * (level + spread) + 8 * relative(len(p)) * size
    return jnp.minimum(either(paid, jnp.inf), jnp.max(jnp.where(p > 0, t, -jnp.inf)))


def finite(x: Array) -> Array:
    return jnp.where(jnp.isfinite(x), x, 0.0)


def either(x: Array, instead: float) -> Array:
    return jnp.where(jnp.isnan(x), instead, x)
