"""Candidates made feasible: laws and channels of any numbers at all, and what a distortion lets a channel spend."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rdtheory.limits.certify.sums import FLOOR, U, either, relative
from rdtheory.limits.discrete.arithmetic import unit_of

SLIGHT = 2.0**-400  # least positive excess, in units of the greatest, that a channel is charged for
LITTLE = 2.0**-900  # less than this is not spent: of what a channel is charged so much may be flushed
FAR = 128.0  # bits; a slope that makes every positive excess cost this acts like an infinite one
NOISE = 64.0  # bits; log of the smallest change of a channel that rounding may have made, 2^-64, with its sign


class Budget(NamedTuple):
    """In units of a power of two near the largest excess, so that nothing that matters is flushed."""

    excess: Array  # d - min d, of source letters with mass; no less than it is, and zero where that is
    priced: Array  # the same, no more than it is
    least: Array  # A, what D allows of it, is in [least, most]
    most: Array
    unit: Array


def budget(p: Array, d: Array, target: Array, summed: int = 0) -> Budget:
    """Where every least distortion is zero A is D, exactly; a D below Σ p min d is meant to be that.

    `summed` is of how many terms each p is the sum.
    """
    floor = jnp.where(p > 0, jnp.min(d, axis=1), 0.0)
    excess = jnp.where(jnp.isfinite(d), jnp.where((p > 0)[:, None], d - floor[:, None], 0.0), jnp.inf)
    excess = jnp.where((p > 0)[:, None], excess, 0.0)
    largest = jnp.max(jnp.where(jnp.isfinite(excess), excess, 0.0))
    unit = unit_of(largest)
    wanted, least = target / unit, p @ (floor / unit)
    off = jnp.where(least == 0, 0.0, relative(len(p) + summed) * least + 2 * U * wanted)
    spare, most = either(wanted - least - off, 0.0), either(jnp.maximum(wanted - least, 0.0) + off, jnp.inf)
    most = jnp.where((most > 0) | ((least == 0) & (target > 0)), jnp.maximum(most, FLOOR), 0.0)
    raised = jnp.where(excess > 0, jnp.maximum(excess / unit, SLIGHT), 0.0)
    return Budget(raised, excess / unit, jnp.where(spare > LITTLE, spare, 0.0), most, unit)


def priced(budget: Budget, slope: Array) -> tuple[Array, Array]:
    """S e for a slope that the problem allows, and the most of it that a channel within the budget spends.

    Where nothing is allowed the price of every excess is infinite.
    """
    excess, none = budget.priced, budget.most == 0
    smallest = jnp.min(jnp.where(excess > 0, excess, jnp.inf))
    s = jnp.where(slope > 0, jnp.minimum(slope * budget.unit, FAR / smallest), 0.0)
    costs = jnp.where(excess < jnp.inf, times(s, excess), jnp.inf)
    return jnp.where(none & (excess > 0), jnp.inf, costs), jnp.where(none, 0.0, times(s, budget.most)) * (1 + 8 * U)


def spending(weights: Array, channel: Array, budget: Budget, best: Array) -> Array:
    """The channel (k, n, m) mixed with one without excess, until the mean excess is within the budget."""
    excess = budget.excess[None]
    costly = (weights > 0) & (channel > 0) & (excess > 0)
    spent = jnp.sum(jnp.where(costly, weights * (channel * excess), 0.0))
    some = within(spent, budget.least, relative(channel.size))
    # Where nothing is allowed nothing is, not even what is flushed.
    kept = jnp.where(budget.least > 0, some, jnp.where(jnp.any(costly), 0.0, 1.0))
    return kept * channel + (1 - kept) * best[None]


def within(spent: Array, allowed: Array, error: Array | float) -> Array:
    """Greatest share of what spends so much that is surely within what is allowed."""
    surely = allowed * (1 - error)
    # What is no number (an infinite cost that is never paid) has no share.
    return jnp.where(
        spent * (1 + error) <= surely, 1.0, surely / jnp.where(spent > 0, spent * (1 + 2 * error), jnp.inf)
    )


def toward(p: Array, channel: Array, share: Array) -> tuple[Array, Array]:
    """The channel followed by one that moves its output law towards p, by `share` of the way; a bound of the noise.

    Processing the output costs no rate. Where the law is nearly p already, little of the way is more than rounding.
    """
    output = p @ channel
    surplus, missing = share * jnp.maximum(output - p, 0.0), share * jnp.maximum(p - output, 0.0)
    moved = jnp.where(output > 0, surplus / jnp.where(output > 0, output, 1.0), 0.0)
    # All that is missing may be lost in rounding, of a likely letter for one; rows must sum to one all the same.
    law = jnp.where(jnp.sum(missing) > 0, missing / jnp.where(jnp.sum(missing) > 0, jnp.sum(missing), 1.0), p)
    noise = jnp.where(share > 0, NOISE * relative(len(p)), 0.0)
    return channel * (1 - moved)[None, :] + (channel @ moved)[:, None] * law[None, :], noise


def law(weights: Array, usable: Array) -> Array:
    """The weights made a law on what is usable, along the last axis; uniform if there are none."""
    clean = jnp.where(usable & (weights > 0) & jnp.isfinite(weights), jnp.minimum(weights, 1 / FLOOR), 0.0)
    largest = jnp.max(clean, axis=-1, keepdims=True)
    scaled = jnp.where(largest > 0, clean / jnp.where(largest > 0, largest, 1.0), usable)
    return scaled / jnp.maximum(jnp.sum(scaled, axis=-1, keepdims=True), 1.0)


def rows(joint: Array) -> Array:
    """Each row divided by its sum."""
    total = jnp.sum(joint, axis=1, keepdims=True)
    return joint / jnp.where(total > 0, total, 1.0)


def best(excess: Array) -> Array:
    """The channel to a letter without excess."""
    return one_hot(jnp.argmin(excess, axis=-1), excess.shape[-1])


def one_hot(at: Array, size: int) -> Array:
    return jax.nn.one_hot(at, size, dtype=jnp.float64)


def times(s: Array, x: Array) -> Array:
    return jnp.where(x == 0, 0.0, jnp.where(s == 0, 0.0, s * x))
