"""A problem with a large matrix made smaller where its rows change slowly: its mass moved to few of them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from rdtheory import _checks

ROWS = 2**9  # about as many are kept
SMOOTH = 0.02  # of the largest distortion, by which a row may differ from the mean of rows about it that are kept


def fewer(p: Array, d: Array) -> tuple[Array, Array] | None:
    """A problem like this one with fewer source letters, where its rows change slowly; else None."""
    step = len(p) // ROWS
    if step < 2 or any(isinstance(x, Tracer) or _checks.is_spread(x) for x in (p, d)):
        return None
    if not _is_smooth(d, step):
        return None
    rows = np.minimum(step * np.arange(-(-(len(p) - 1) // step) + 1), len(p) - 1)
    mass = moved(np.asarray(p), rows, 6)
    mass = mass if (mass >= 0).all() else moved(np.asarray(p), rows, 2)
    return jnp.asarray(mass / mass.sum()), d[rows]


def moved(p: np.ndarray, places: np.ndarray, stencil: int) -> np.ndarray:
    """Mass moved to some places, that of each index to the `stencil` about it: polynomials keep their means."""
    index = np.arange(len(p))
    before = np.searchsorted(places, index, side="right") - stencil // 2
    chosen = np.clip(before, 0, len(places) - stencil)[:, None] + np.arange(stencil)
    x = places[chosen].astype(float)
    others = ~np.eye(stencil, dtype=bool)  # Lagrange's basis: all factors but one's own
    ratios = (index[:, None, None] - x[:, None, :]) / np.where(others, x[:, :, None] - x[:, None, :], 1.0)
    return np.bincount(chosen.ravel(), (p[:, None] * np.prod(ratios, axis=2, where=others)).ravel(), len(places))


@partial(jax.jit, static_argnames="step")
def _is_smooth(d: Array, step: int) -> Array:
    count, stride = (len(d) - 1) // (8 * step), 8 * step  # one interval in eight will tell
    below, between, above = (d[start::stride][:count] for start in (0, step // 2, step))
    off, highest = jnp.abs((below + above) / 2 - between), jnp.maximum(jnp.max(below), jnp.max(above))
    return jnp.isfinite(highest) & (jnp.max(off) <= SMOOTH * highest)
