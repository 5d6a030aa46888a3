"""Sums of which it is known how far rounding may have moved them."""

import jax.numpy as jnp
from jax import Array

U = 2.0**-53
FLOOR = 2.0**-1000  # least probability that a law gives to what it must not exclude
LEAST_LOG = -900.0  # of a maximum, so that what was flushed stays far below it


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
