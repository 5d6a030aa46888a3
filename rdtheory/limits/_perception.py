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

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import xlog1py

from rdtheory.limits._second_demand import Demand, Price, mixed, normalized, solve
from rdtheory.results import ConstrainedRate

LN2 = math.log(2)
LARGEST_PRICE = 50.0  # nats per unit of total variation; every price is a lower bound, a huge one loses digits
LEAST_DIVERGENCE = 1e-24  # nats; that of a smaller level is met by the channel, but not told apart by the search


@jax.jit
def total_variation(p, d, target, level, tol, max_steps) -> ConstrainedRate:
    """R(D, P) where half of Σ |r - p| is to be at most `level`."""
    n = p.shape[0]
    allowed = jnp.minimum(level, 1.001)

    def limits(extra: Array) -> Array:
        v, price = extra[:n], extra[n]
        return jnp.concatenate([(price / LARGEST_PRICE - 1)[None], -v, v - price])

    def certified(extra: Array, log_c: Array) -> Price:
        v, most = extra[:n] + log_c, jnp.max(extra[:n]) - jnp.min(extra[:n])
        # Raised further where that keeps the range: then the bound is no worse than with max log c everywhere.
        v = jnp.maximum(v, jnp.max(v) - most)
        price = jnp.max(v) - jnp.min(v)
        return Price(v - extra[:n], v @ p + price * allowed, jnp.max(jnp.abs(v)), price / LN2, (v - jnp.min(v)) / LN2)

    def meet(channel: Array) -> Array:
        distance = jnp.sum(jnp.abs(p @ channel - p)) / 2
        return _toward(p, channel, jnp.where(distance > allowed, 1 - allowed / distance, 0.0))

    start = jnp.append(jnp.full(n, 0.5), 1.0)
    cost = jnp.append(p, allowed)
    demand = Demand(start, cost, lambda extra: extra[None, :n], limits, certified, meet)
    return solve(p, normalized(p, d, target), target, level, jnp.arange(n), demand, tol, max_steps)


@jax.jit
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

    def certified(extra: Array, log_c: Array) -> Price:
        mu, t = multiplier(extra), jnp.where(alive, price(extra)[0] + log_c, 0.0)
        tilt = jnp.where(alive, t - jnp.min(jnp.where(alive, t, jnp.inf)), jnp.inf) / LN2
        return Price(log_c, _most_paid(p, t, mu, allowed), jnp.max(jnp.abs(t)) + mu * allowed, mu, tilt)

    def meet(channel: Array) -> Array:
        return _toward(p, channel, 1 - _kept(p, p @ channel, allowed))

    start, cost = jnp.append(jnp.zeros(n), 1.0), jnp.append(p, root)
    demand = Demand(start, cost, price, limits, certified, meet)
    first = normalized(p, d, target)
    first = first._replace(forbidden=first.forbidden | ~alive[None, :])
    return solve(p, first, target, level, jnp.arange(n), demand, tol, max_steps)


@jax.jit
def classification(p, d, target, e, level, tol, max_steps) -> ConstrainedRate:
    """R(D, E) where the mean of e is to be at most `level`."""
    first, second = normalized(p, d, target), normalized(p, e, level)
    best = jnp.argmin(first.excess + second.excess, axis=1)

    def certified(extra: Array, log_c: Array) -> Price:
        # Where nothing is allowed the letters that would cost are forbidden, and the price is of no use.
        most, price = jnp.max(log_c), jnp.where(second.allowed > 0, jnp.maximum(extra[0], 0.0), 0.0)
        slope = jnp.where(second.allowed > 0, price / (LN2 * second.unit), jnp.inf)
        paid, scale = most + price * second.allowed, price * (1 + second.least)
        return Price(jnp.full(d.shape[1], most), paid, scale, slope, jnp.zeros(d.shape[1]))

    def meet(channel: Array) -> Array:
        return mixed(p, channel, second, best)

    def price(extra: Array) -> Array:
        return jnp.maximum(extra[0], 0.0) * second.excess

    demand = Demand(jnp.ones(1), second.allowed[None], price, jnp.negative, certified, meet)
    both = first._replace(forbidden=first.forbidden | second.forbidden)
    return solve(p, both, target, level, best, demand, tol, max_steps)


def _toward(p: Array, channel: Array, share: Array) -> Array:
    """The channel followed by another that moves its output law towards p, by `share` of the way.

    Processing the output costs no rate, so this bounds the rate as well as the channel did.
    """
    output = p @ channel
    surplus, missing = share * jnp.maximum(output - p, 0.0), share * jnp.maximum(p - output, 0.0)
    moved = jnp.where(output > 0, surplus / jnp.where(output > 0, output, 1.0), 0.0)
    law = missing / jnp.where(jnp.sum(missing) > 0, jnp.sum(missing), 1.0)
    return channel * (1 - moved)[None, :] + (channel @ moved)[:, None] * law[None, :]


def _most_paid(p: Array, t: Array, mu: Array, level: Array) -> Array:
    """μ P + μ log Σ p e^(t/μ), to the digits of t where μ is large."""
    mean = p @ t
    u = jnp.where(p > 0, t - mean, 0.0) / mu
    near = jnp.clip(u, -1.0, 1.0)
    small = jnp.log1p(p @ (jnp.expm1(near) - near))
    large = jnp.log(p @ jnp.exp(u - jnp.max(u))) + jnp.max(u)
    return mean + mu * (level + jnp.where(jnp.max(jnp.abs(u)) <= 1, small, large))


def _kept(p: Array, law: Array, level: Array) -> Array:
    """The greatest share of the way from p to `law` that stays within the divergence `level`, by bisection."""
    surplus = jnp.where(p > 0, law / jnp.where(p > 0, p, 1.0) - 1, 0.0)

    def divergence(share: Array) -> Array:
        x = share * surplus
        return p @ (xlog1py(1 + x, x) - x)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = jnp.sqrt(low * high)
        inside = divergence(middle) <= level
        return jnp.where(inside, middle, low), jnp.where(inside, high, middle)

    one = jnp.ones(())
    whole = divergence(one)
    outside = whole > level
    # Divergence is convex along the way, so this much is within the level.
    least = level / jnp.where(outside, whole, 1.0)
    return jnp.where(outside, lax.fori_loop(0, 60, halve, (least, one))[0], 1.0)
