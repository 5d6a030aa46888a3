"""Powers of two and products in which inf · 0 is read as it is meant."""

import math

import jax.numpy as jnp
from jax import Array

LN2 = math.log(2)


def scaled_kernel(excess: Array, s: Array) -> Array:
    """2^(-s excess), with inf · 0 read as it is meant at either end: excess zero gives 1, infinite gives 0."""
    exponent = jnp.where((excess > 0) & jnp.isfinite(excess), -s * excess, 0.0)
    return jnp.where(jnp.isfinite(excess), jnp.exp2(exponent), 0.0)


def excess_over(p: Array, d: Array, floor: Array) -> Array:
    """Distortion above the row's minimum; zero in rows without mass, whatever they hold."""
    return jnp.where((p > 0)[:, None], d - floor[:, None], 0.0)


def unit_of(largest: Array) -> Array:
    """A power of two near the largest excess distortion, so that squares neither overflow nor underflow."""
    # The reciprocal of a larger one would be flushed, and dividing may be multiplying by that.
    return jnp.where(largest > 0, jnp.ldexp(1.0, jnp.clip(jnp.frexp(largest)[1] - 1, -1000, 1000)), 1.0)


def times(s: Array, x: Array) -> Array:
    """S x, with inf · 0 = 0."""
    return jnp.where(x == 0, 0.0, s * x)


def finite_or_zero(x: Array) -> Array:
    """Forbidden letters have probability zero, and 0 · inf is then no cost."""
    return jnp.where(jnp.isfinite(x), x, 0.0)
