"""The least rate under a distortion and a second demand on the reproduction: jitted, trusting its arguments.

notation: a(x) potential of a letter, t(x, x̂) price of a reproduction that meets the second demand, both in nats; σ(t)
the most that t may cost among all that meet it. Wherever Σ_x p e^(a - s d - t) <= 1 for every x̂, and s >= 0,

    R >= Σ p a - s D - σ(t),

and a channel that meets both demands bounds R above. Given q, the potentials are -log z with z = Σ q e^(-s d - t); then
t must be raised by log c, c = Σ p e^(-s d - t) / z, for which q c is to be read in place of q: z stays what it was.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import rel_entr

from rdtheory.limits import _primal_dual
from rdtheory.results import ConstrainedRate

LN2 = math.log(2)


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


class Excess(NamedTuple):
    """A distortion above the least of its row, in units of its largest; `allowed` and `least` in the same units."""

    excess: Array
    allowed: Array
    unit: Array
    least: Array
    forbidden: Array


def normalized(p: Array, d: Array, target: Array) -> Excess:
    """Where nothing is allowed, every letter but the best is forbidden; no mean is above 1, so neither is `allowed`."""
    excess = jnp.where((p > 0)[:, None], d - jnp.min(d, axis=1, keepdims=True), 0.0)
    least = p @ jnp.min(d, axis=1)
    unit = jnp.where(jnp.max(excess) > 0, jnp.max(excess), 1.0)
    allowed = jnp.clip((target - least) / unit, 0.0, 1.001)
    return Excess(excess / unit, allowed, unit, least / unit, (excess > 0) & (allowed == 0))


def solve(p, first: Excess, target, level, best, demand: Demand, tol, max_steps) -> ConstrainedRate:
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
        backward = (log_p - log_z)[:, None] - total
        log_c = _primal_dual.log_sum_exp(backward, terms, 0)
        price = demand.certified(unknowns[n + 1 :], log_c)
        paid = s * first.allowed + price.paid
        lower = (-(p @ log_z) - paid) / LN2

        channel = jnp.where(terms, jnp.exp(log_q[None, :] - total - log_z[:, None]), 0.0)
        # Of an exponent only the relative error is small; any column may be the one that σ depends on.
        backward = jnp.where(terms, jnp.exp(jnp.where(terms, backward, 0.0) - log_c[None, :]), 0.0)
        exponents = jnp.max(jnp.sum(backward * ((jnp.abs(log_p) + jnp.abs(log_z))[:, None] + jnp.abs(total)), axis=0))
        channel = jnp.where(used[:, None], channel, q[None, :])
        channel = channel / jnp.sum(channel, axis=1, keepdims=True)
        channel = mixed(p, demand.meet(channel), first, best)
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


def mixed(p: Array, channel: Array, demand: Excess, best: Array) -> Array:
    """The channel mixed with the one that shows the best letter, until the mean excess is what is allowed."""
    spent = jnp.sum(p[:, None] * channel * demand.excess)
    share = jnp.where(spent > demand.allowed, 1 - demand.allowed / spent, 0.0)
    return (1 - share) * channel + share * jax.nn.one_hot(best, channel.shape[1], dtype=p.dtype)
