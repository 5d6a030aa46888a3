r"""The second demands that `perception` makes, each with its price and the most that it may cost; jitted.

notation: r law of the reproduction; t(x̂) or t(x, x̂) price of a reproduction, σ(t) the most that it may cost, in nats.

    mean of e <= E:        t = μ e, σ(t) = μ E
    total variation <= P:  t free,  σ(t) = Σ p t + P (max t - min t)
    D(r‖p) <= P:           t free,  σ(t) = min over μ > 0 of μ P + μ log Σ p e^(t/μ)    (Donsker & Varadhan)

The last is attained by r = p e^(t/μ), up to a factor, but nearly singular in t and μ where P is far or very near. In
τ = μ (r/p - 1) instead it is at most μ P + Σ p τ, linear and with equality at the optimum, and t = μ log(1 + τ/μ) is
concave: the program stays convex, and loses no digits as μ grows like 1/sqrt(P).
"""

import math

import jax.numpy as jnp
from jax import Array

from rdtheory import _compile
from rdtheory.limits import certify
from rdtheory.limits.convex.second_demand import Demand, Judged, normalized, solve
from rdtheory.results import ConstrainedRate

LN2 = math.log(2)
LARGEST_PRICE = 50.0  # nats per unit of total variation; every price is a lower bound, a huge one loses digits
LEAST_DIVERGENCE = 1e-24  # nats; that of a smaller level is met by the channel, but not told apart by the search


@_compile.jit
def total_variation(p, d, target, level, tol, max_steps) -> ConstrainedRate:
    """R(D, P) where half of Σ |r - p| is to be at most `level`."""
    n = p.shape[0]
    allowed = jnp.minimum(level, 1.001)

    def limits(extra: Array) -> Array:
        v, price = extra[:n], extra[n]
        return jnp.concatenate([(price / LARGEST_PRICE - 1)[None], -v, v - price])

    def judge(channel: Array, potential: Array, slope: Array, extra: Array, log_c: Array) -> Judged:
        v, most = extra[:n] + log_c, jnp.max(extra[:n]) - jnp.min(extra[:n])
        # Raised further where that keeps the range: then the bound is no worse than with max log c everywhere.
        v = jnp.maximum(v, jnp.max(v) - most)
        tilt = (v - jnp.min(v)) / LN2
        found = certify.total_variation(p, d, target, level, channel, potential, slope, tilt)
        return Judged(found, v - extra[:n], jnp.max(tilt), tilt)

    start = jnp.append(jnp.full(n, 0.5), 1.0)
    cost = jnp.append(p, allowed)
    demand = Demand(start, cost, lambda extra: extra[None, :n], limits, judge)
    return solve(p, normalized(p, d, target), target, level, demand, tol, max_steps)


@_compile.jit
def divergence(p, d, target, level, tol, max_steps) -> ConstrainedRate:
    """R(D, P) where D(r‖p) is to be at most `level`, in bits."""
    n = p.shape[0]
    alive = p > 0
    mass = jnp.where(alive, p, 1.0)
    # No law on the letters alive is further away than that of the rarest.
    allowed = jnp.minimum(level * LN2, -jnp.log(jnp.min(mass)))
    root = jnp.sqrt(jnp.maximum(allowed, LEAST_DIVERGENCE))

    def multiplier(extra: Array) -> Array:
        return jnp.maximum(extra[n], 1e-100) / root  # of the size 1 / root, where the level is small

    def price(extra: Array) -> Array:
        surplus = jnp.where(alive, extra[:n], 0.0) / multiplier(extra)
        return (multiplier(extra) * jnp.log1p(jnp.maximum(surplus, -1 + 1e-15)))[None, :]

    def limits(extra: Array) -> Array:
        return jnp.append(-jnp.where(alive, extra[n] + root * extra[:n], 1.0), -extra[n])

    def judge(channel: Array, potential: Array, slope: Array, extra: Array, log_c: Array) -> Judged:
        mu, t = multiplier(extra), jnp.where(alive, price(extra)[0] + log_c, 0.0)
        tilt = jnp.where(alive, t - jnp.min(jnp.where(alive, t, jnp.inf)), jnp.inf) / LN2
        found = certify.divergence(p, d, target, level, channel, potential, slope, tilt, mu)
        return Judged(found, log_c, mu, tilt)

    start, cost = jnp.append(jnp.zeros(n), 1.0), jnp.append(p, root)
    demand = Demand(start, cost, price, limits, judge)
    first = normalized(p, d, target)
    first = first._replace(forbidden=first.forbidden | ~alive[None, :])
    return solve(p, first, target, level, demand, tol, max_steps)


@_compile.jit
def classification(p, d, target, e, level, tol, max_steps) -> ConstrainedRate:
    """R(D, E) where the mean of e is to be at most `level`."""
    first, second = normalized(p, d, target), normalized(p, e, level)

    def judge(channel: Array, potential: Array, slope: Array, extra: Array, log_c: Array) -> Judged:
        # Where nothing is allowed the letters that would cost are forbidden, and the price is of no use.
        most, price = jnp.max(log_c), jnp.where(second.allowed > 0, jnp.maximum(extra[0], 0.0), 0.0)
        price = price / (LN2 * second.unit)
        found = certify.classification(p, d, target, e, level, channel, potential, slope, price)
        shown = jnp.where(second.allowed > 0, price, jnp.inf)
        return Judged(found, jnp.full(d.shape[1], most), shown, jnp.zeros(d.shape[1]))

    def price(extra: Array) -> Array:
        return jnp.maximum(extra[0], 0.0) * second.excess

    demand = Demand(jnp.ones(1), second.allowed[None], price, jnp.negative, judge)
    both = first._replace(forbidden=first.forbidden | second.forbidden)
    return solve(p, both, target, level, demand, tol, max_steps)
