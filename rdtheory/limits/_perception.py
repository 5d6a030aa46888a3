r"""The programs behind `perception`: least rate under a distortion and a second demand; jitted, trusting its arguments.

notation: t(x, x̂) price of a reproduction, in nats; r law of the reproduction; σ(t) the most that t may cost, over all
that meets the second demand. For any q, s >= 0 and t, with z = Σ q e^(-s d - t) and c = Σ p e^(-s d - t) / z,

    R >= -Σ p log z - log max c - s D - σ(t),

and a channel that meets both demands bounds R above. The price of a letter is free where the demand is on r:

    total variation <= P:  σ(t) = Σ p t + P (max t - min t)
    D(r‖p) <= P:           σ(t) = min over μ > 0 of μ P + μ log Σ p e^(t/μ)    (Donsker & Varadhan)

In the last, r = p e^(t/μ) up to a factor, so t = μ log(1 + τ/μ) with τ = μ (r/p - 1): then σ(t) <= μ P + Σ p τ is linear
in the unknowns, s d + t is concave in them still, and nothing is lost as μ grows, which it does like 1/sqrt(P).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import rel_entr, xlog1py

from rdtheory.limits import _primal_dual
from rdtheory.results import ConstrainedRate

LN2 = math.log(2)
LARGEST_PRICE = 50.0  # nats per unit of total variation; every price is a lower bound, a huge one loses digits
LEAST_DIVERGENCE = 1e-24  # nats; below it the rate is within 1e-9 bit of that without any


class Demand(NamedTuple):
    """The second demand, as the interior point and the certificate need it."""

    start: Array  # unknowns of its price
    cost: Array  # of each unknown: at the optimum their sum is σ
    price: Callable[[Array], Array]  # t, (1, m) or (n, m), concave in the unknowns
    limits: Callable[[Array], Array]  # <= 0 wherever the unknowns may be
    certified: Callable[[Array, Array], "Price"]  # of the unknowns and of log c for their price
    meet: Callable[[Array], Array]  # the channel, changed until it meets the demand


class Price(NamedTuple):
    """A price that may be charged, whatever the unknowns were."""

    raised: Array  # by how much above t, (m,); by log c it makes every c equal to 1
    paid: Array  # σ(t) once raised, nats
    scale: Array  # nats that the rounding of σ(t) is relative to
    slope: Array  # bits per unit of the level
    tilt: Array  # (m,), bits: the price of a letter


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
        return Price(v - extra[:n], v @ p + price * allowed, jnp.max(jnp.abs(v)), price / LN2, v / LN2)

    def meet(channel: Array) -> Array:
        distance = jnp.sum(jnp.abs(p @ channel - p)) / 2
        return _toward(p, channel, jnp.where(distance > allowed, 1 - allowed / distance, 0.0))

    start = jnp.append(jnp.full(n, 0.5), 1.0)
    demand = Demand(start, jnp.append(p, allowed), lambda extra: extra[None, :n], limits, certified, meet)
    return _solve(p, _normalized(p, d, target), target, level, jnp.arange(n), demand, tol, max_steps)


@jax.jit
def divergence(p, d, target, level, tol, max_steps) -> ConstrainedRate:
    """R(D, P) where D(r‖p) is to be at most `level`, in bits."""
    n = p.shape[0]
    alive = p > 0
    mass = jnp.where(alive, p, 1.0)
    # No law on the letters alive is further away than that of the rarest.
    allowed = jnp.minimum(level * LN2, -jnp.log(jnp.min(mass)))
    root = jnp.sqrt(jnp.maximum(allowed, LEAST_DIVERGENCE))

    def price(extra: Array) -> Array:
        mu = jnp.maximum(extra[n], 1e-100) / root
        surplus = jnp.where(alive, extra[:n], 0.0) / mu
        return (mu * jnp.log1p(jnp.maximum(surplus, -1 + 1e-15)))[None, :]

    def limits(extra: Array) -> Array:
        return jnp.append(-jnp.where(alive, extra[n] + root * extra[:n], 1.0), -extra[n])

    def certified(extra: Array, log_c: Array) -> Price:
        t, mu = price(extra)[0] + jnp.where(alive, log_c, 0.0), extra[n] / root
        paid = _most_paid(p, t, mu, allowed)
        return Price(log_c, paid, jnp.max(jnp.abs(t)) + mu * allowed, mu, jnp.where(alive, t / LN2, jnp.inf))

    def meet(channel: Array) -> Array:
        return _toward(p, channel, 1 - _kept(p, p @ channel, allowed))

    start, cost = jnp.append(jnp.zeros(n), 1.0), jnp.append(p, root)
    demand = Demand(start, cost, price, limits, certified, meet)
    first = _normalized(p, d, target)
    first = first._replace(forbidden=first.forbidden | ~alive[None, :])
    return _solve(p, first, target, level, jnp.arange(n), demand, tol, max_steps)


@jax.jit
def classification(p, d, target, e, level, tol, max_steps) -> ConstrainedRate:
    """R(D, E) where the mean of e is to be at most `level`."""
    first, second = _normalized(p, d, target), _normalized(p, e, level)
    best = jnp.argmin(first.excess + second.excess, axis=1)

    def certified(extra: Array, log_c: Array) -> Price:
        # Where nothing is allowed the letters that would cost are forbidden, and the price is of no use.
        most, price = jnp.max(log_c), jnp.where(second.allowed > 0, jnp.maximum(extra[0], 0.0), 0.0)
        slope = jnp.where(second.allowed > 0, price / (LN2 * second.unit), jnp.inf)
        paid, scale = most + price * second.allowed, price * (1 + second.least)
        return Price(jnp.full(d.shape[1], most), paid, scale, slope, jnp.zeros(d.shape[1]))

    def meet(channel: Array) -> Array:
        return _mixed(p, channel, second, best)

    def price(extra: Array) -> Array:
        return jnp.maximum(extra[0], 0.0) * second.excess

    demand = Demand(jnp.ones(1), second.allowed[None], price, jnp.negative, certified, meet)
    both = first._replace(forbidden=first.forbidden | second.forbidden)
    return _solve(p, both, target, level, best, demand, tol, max_steps)


class Excess(NamedTuple):
    """A distortion above the least of its row, in units of its largest; `allowed` and `least` in the same units."""

    excess: Array
    allowed: Array
    unit: Array
    least: Array
    forbidden: Array


def _normalized(p: Array, d: Array, target: Array) -> Excess:
    """Where nothing is allowed, every letter but the best is forbidden; no mean is above 1, so neither is `allowed`."""
    excess = jnp.where((p > 0)[:, None], d - jnp.min(d, axis=1, keepdims=True), 0.0)
    least = p @ jnp.min(d, axis=1)
    unit = jnp.where(jnp.max(excess) > 0, jnp.max(excess), 1.0)
    allowed = jnp.clip((target - least) / unit, 0.0, 1.001)
    return Excess(excess / unit, allowed, unit, least / unit, (excess > 0) & (allowed == 0))


def _solve(p, first: Excess, target, level, best, demand: Demand, tol, max_steps) -> ConstrainedRate:
    """`best` is a reproduction of each letter without excess of either kind."""
    (n, m), used = first.excess.shape, p > 0
    terms = used[:, None] & ~first.forbidden
    shown = jnp.any(terms, axis=0)
    log_p = jnp.log(jnp.where(used, p, 1.0))

    def constraints(unknowns: Array) -> Array:
        s, extra = unknowns[n], unknowns[n + 1 :]
        exponents = (log_p + unknowns[:n])[:, None] - s * first.excess - demand.price(extra)
        return jnp.concatenate([_primal_dual.log_sum_exp(exponents, terms, 0), -s[None], demand.limits(extra)])

    def certify(unknowns: Array, multipliers: Array) -> tuple[Array, ConstrainedRate]:
        s = jnp.where(first.allowed > 0, jnp.maximum(unknowns[n], 0.0), 0.0)
        total = s * first.excess + demand.price(unknowns[n + 1 :])
        weights = jnp.where(shown, jnp.maximum(multipliers[:m], jnp.finfo(p.dtype).tiny), 0.0)
        q = weights / jnp.sum(weights)
        log_q = jnp.log(jnp.where(shown, q, 1.0))
        log_z = jnp.where(used, _primal_dual.log_sum_exp(log_q[None, :] - total, terms, 1), 0.0)
        log_c = _primal_dual.log_sum_exp((log_p - log_z)[:, None] - total, terms, 0)
        price = demand.certified(unknowns[n + 1 :], log_c)
        paid = s * first.allowed + price.paid
        lower = (-(p @ log_z) - paid) / LN2

        channel = jnp.where(terms, jnp.exp(log_q[None, :] - total - log_z[:, None]), 0.0)
        # Of an exponent only the relative error is small.
        exponents = jnp.sum(p[:, None] * channel * jnp.abs(total))
        channel = jnp.where(used[:, None], channel, q[None, :])
        channel = channel / jnp.sum(channel, axis=1, keepdims=True)
        channel = _mixed(p, demand.meet(channel), first, best)
        joint = p[:, None] * channel
        rate = jnp.sum(rel_entr(joint, p[:, None] * jnp.sum(joint, axis=0)[None, :])) / LN2
        size = 1 + 2 * (p @ jnp.abs(log_z) + jnp.abs(paid) + s * first.least + price.scale + exponents) / LN2
        rounding = jnp.finfo(p.dtype).eps * (n * m + n + m + 8) * size
        upper = jnp.maximum(rate, 0.0) + rounding
        gap = jnp.minimum(jnp.maximum(upper - lower, 0.0) + rounding, upper)
        # With these for q, and the price raised, z is what it was.
        raised = q * jnp.exp(price.raised - jnp.max(price.raised))
        result = ConstrainedRate(
            rate=upper,
            distortion=target,
            level=level,
            gap=gap,
            slope=jnp.where(first.allowed > 0, s / (LN2 * first.unit), jnp.inf),
            level_slope=price.slope,
            converged=gap <= tol,
            steps=jnp.zeros((), int),
            reproduction_pmf=raised / jnp.sum(raised),
            tilt=price.tilt,
            test_channel=channel,
        )
        return gap, result

    begin = jnp.concatenate([-log_p, jnp.ones(1), demand.start])
    bounds = constraints(begin)
    start = begin.at[:n].add(-1.0 - jnp.max(bounds[:m]))
    multipliers = jnp.concatenate([jnp.full(m, 1 / m), jnp.full(bounds.shape[0] - m, 1e-1 / m)])
    objective = jnp.concatenate([-p, first.allowed[None], demand.cost])
    found, steps = _primal_dual.minimize(objective, constraints, start, multipliers, certify, tol, max_steps)
    return found._replace(steps=steps)


def _mixed(p: Array, channel: Array, demand: Excess, best: Array) -> Array:
    """The channel mixed with the one that shows the best letter, until the mean excess is what is allowed."""
    spent = jnp.sum(p[:, None] * channel * demand.excess)
    share = jnp.where(spent > demand.allowed, 1 - demand.allowed / spent, 0.0)
    return (1 - share) * channel + share * jax.nn.one_hot(best, channel.shape[1], dtype=p.dtype)


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
    u = (t - mean) / mu
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

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = jnp.sqrt(low * high)
        inside = divergence(middle) <= level
        return jnp.where(inside, middle, low), jnp.where(inside, high, middle)

    one = jnp.ones(())
    whole = divergence(one)
    # Divergence is convex along the way, so this much is within the level.
    least = level / jnp.where(whole > level, whole, 1.0)
    return jnp.where(whole > level, lax.fori_loop(0, 60, halve, (least, one))[0], 1.0)
