"""The least rate under a distortion and a second demand on the reproduction: jitted, trusting its arguments.

notation: a(x) potential of a letter, t(x, x̂) price of a reproduction that meets the second demand, both in nats; σ(t)
the most that t may cost among all that meet it. Wherever Σ_x p e^(a - s d - t) <= 1 for every x̂, and s >= 0,

    R >= Σ p a - s D - σ(t),

and a channel that meets both demands bounds R above: `certify` says what that comes to. Given q, the potentials are
-log z with z = Σ q e^(-s d - t); then t must be raised by log c, c = Σ p e^(-s d - t) / z, for which q c is to be read
in place of q: z stays what it was.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from rdtheory.limits.certify import Certificate
from rdtheory.limits.convex import primal_dual
from rdtheory.results import ConstrainedRate

LN2 = math.log(2)


class Demand(NamedTuple):
    """The second demand, as the interior point and the certificate need it."""

    start: Array  # unknowns of its price
    cost: Array  # of each unknown: at the optimum their sum is σ
    price: Callable[[Array], Array]  # t, (1, m) or (n, m), concave in the unknowns
    limits: Callable[[Array], Array]  # <= 0 wherever the unknowns may be
    # of a channel, potentials in bits, the slope, the unknowns and log c for their price
    judge: Callable[[Array, Array, Array, Array, Array], "Judged"]


class Judged(NamedTuple):
    """What `certify` says, and the price that it was asked about."""

    certificate: Certificate
    raised: Array  # by how much above t, (m,), nats; by log c it makes every c equal to 1
    slope: Array  # bits per unit of the level
    tilt: Array  # (m,), bits: the price of a letter


class Excess(NamedTuple):
    """A distortion above the least of its row, in units of its largest; `allowed` in the same units."""

    excess: Array
    allowed: Array
    unit: Array
    forbidden: Array


def normalized(p: Array, d: Array, target: Array) -> Excess:
    """Where nothing is allowed, every letter but the best is forbidden; no mean is above 1, so neither is `allowed`."""
    excess = jnp.where((p > 0)[:, None], d - jnp.min(d, axis=1, keepdims=True), 0.0)
    least = p @ jnp.min(d, axis=1)
    unit = jnp.where(jnp.max(excess) > 0, jnp.max(excess), 1.0)
    allowed = jnp.clip((target - least) / unit, 0.0, 1.001)
    return Excess(excess / unit, allowed, unit, (excess > 0) & (allowed == 0))


def solve(p, first: Excess, target, level, demand: Demand, tol, max_steps) -> ConstrainedRate:
    (n, m), used = first.excess.shape, p > 0
    terms = used[:, None] & ~first.forbidden
    shown = jnp.any(terms, axis=0)
    log_p = jnp.log(jnp.where(used, p, 1.0))

    def constraints(unknowns: Array) -> Array:
        s, extra = unknowns[n], unknowns[n + 1 :]
        exponents = (log_p + unknowns[:n])[:, None] - s * first.excess - demand.price(extra)
        return jnp.concatenate([primal_dual.log_sum_exp(exponents, terms, 0), -s[None], demand.limits(extra)])

    def certified(unknowns: Array, multipliers: Array) -> tuple[Array, ConstrainedRate]:
        s = jnp.where(first.allowed > 0, jnp.maximum(unknowns[n], 0.0), 0.0)
        total = s * first.excess + demand.price(unknowns[n + 1 :])
        weights = jnp.where(shown, jnp.maximum(multipliers[:m], jnp.finfo(p.dtype).tiny), 0.0)
        q = weights / jnp.sum(weights)
        log_q = jnp.log(jnp.where(shown, q, 1.0))
        log_z = jnp.where(used, primal_dual.log_sum_exp(log_q[None, :] - total, terms, 1), 0.0)
        log_c = primal_dual.log_sum_exp((log_p - log_z)[:, None] - total, terms, 0)
        channel = jnp.where(terms, jnp.exp(log_q[None, :] - total - log_z[:, None]), 0.0)
        channel = jnp.where(used[:, None], channel, q[None, :])
        slope = s / (LN2 * first.unit)
        judged = demand.judge(channel, -log_z / LN2, slope, unknowns[n + 1 :], log_c)
        lower, upper, channel = judged.certificate
        gap = upper - lower
        # With these for q, and the price raised, z is what it was.
        raised = q * jnp.exp(judged.raised - jnp.max(judged.raised))
        result = ConstrainedRate(
            rate=upper,
            distortion=target,
            level=level,
            gap=gap,
            slope=jnp.where(first.allowed > 0, slope, jnp.inf),
            level_slope=judged.slope,
            converged=gap <= tol,
            steps=jnp.zeros((), int),
            reproduction_pmf=raised / jnp.sum(raised),
            tilt=judged.tilt,
            test_channel=channel,
        )
        return gap, result

    begin = jnp.concatenate([-log_p, jnp.ones(1), demand.start])
    bounds = constraints(begin)
    start = begin.at[:n].add(-1.0 - jnp.max(bounds[:m]))
    multipliers = jnp.concatenate([jnp.full(m, 1 / m), jnp.full(bounds.shape[0] - m, 1e-1 / m)])
    objective = jnp.concatenate([-p, first.allowed[None], demand.cost])
    found, steps = primal_dual.minimize(objective, constraints, start, multipliers, certified, tol, max_steps)
    return found._replace(steps=steps)
