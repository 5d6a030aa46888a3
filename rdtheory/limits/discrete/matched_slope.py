"""The slope at which the channel of a given q meets a distortion or a rate, and what is certified there.

How well the search went is part of the certificate, so that it need not be trusted. notation: see `problem`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rdtheory.limits.discrete import certificate
from rdtheory.limits.discrete.arithmetic import LN2, times
from rdtheory.limits.discrete.certificate import Moments, Point
from rdtheory.limits.discrete.problem import Problem, View, slope_range

SLOPE, DISTORTION, RATE = range(3)  # what a point is asked for by


class Aim(NamedTuple):
    """Which point of R(D) is asked for. Slopes are in units of the problem."""

    kind: int | Array
    target: Array
    fixed: Array  # its slope where that is known beforehand, else NaN
    first: Array  # a slope to begin with
    least: Array  # one that acts like zero
    largest: Array  # one that acts like infinity


def aim(problem: Problem, kind: int | Array, target: Array) -> Aim:
    allowed = certificate.allowance(problem, target)
    at_distortion = jnp.where(allowed == 0, jnp.inf, jnp.where(jnp.isinf(allowed), 0.0, jnp.nan))
    at_rate = jnp.where((target == 0) & jnp.isfinite(problem.span), 0.0, jnp.nan)
    fixed = _of_kind(kind, target * problem.unit, at_distortion, at_rate)
    first, least, largest = (jnp.where(kind == SLOPE, fixed, s) for s in slope_range(problem))
    if axes := problem.d.axes:
        likely = jnp.where(kind == DISTORTION, allowed, problem.span * 2 ** (-2 * target / axes))
        first = axes / (2 * LN2 * likely)  # not used where the slope is known
    return Aim(kind, target, fixed, first, least, largest)


def point(problem: Problem, aim: Aim, view: View, q: Array, s: Array, tol: Array) -> Point:
    """The point of a pmf q at a slope, a distortion or a rate, from a slope s about right.

    To meet a distortion exactly the slope is moved, and what is left is made up by a channel of least distortion. By
    how much a rate is missed is part of the gap.
    """
    kind, target, _, _, least, largest = aim
    if isinstance(kind, int) and kind == SLOPE:  # known when the program is made
        return certificate.at_slope(problem, view, q, s)
    allowed = certificate.allowance(problem, target)
    most = problem.most

    def off(s: Array, now: Moments) -> tuple[Array, Array]:
        over = jnp.where(now.spent > allowed, (1 - allowed / now.spent) * most, -jnp.inf)
        too_much = jnp.maximum(times(s, now.spent - allowed), over)
        before = jnp.maximum(now.free_energy - times(s, now.spent), 0.0)  # Σ p D(Q‖q), before q is updated
        too_little = jnp.where((now.spent == 0) & (before <= target), 0.0, target - before)
        bits = _of_kind(kind, jnp.zeros_like(s), too_much, too_little)
        toward_distortion = now.spent * jnp.log(now.spent / allowed) / (LN2 * s * now.spread)
        toward_rate = before * jnp.log(target / before) / (LN2 * s**2 * now.spread)
        return bits, jnp.where(kind == RATE, toward_rate, toward_distortion)

    def moments(s: Array) -> Moments:
        return certificate.moments(problem.p, view.excess, q, s)

    q = certificate.weights(problem, view, q)
    s, now = _search(moments, off, (jnp.where(s >= 0, s, least), least, largest), tol)
    own, near = certificate.at_own(problem, view, q, s, now)
    lower, upper = certificate.at_distortion(problem, now, near, s, target)
    # The compiler may compute `upper` here and where it is returned, some digits apart: far less than its rounding.
    gap = jnp.where(upper == 0, 0.0, upper - lower + near.rounding)
    missed = jnp.where((now.spent == 0) & (own.rate <= target), 0.0, jnp.abs(own.rate - target))
    return own._replace(
        rate=_of_kind(kind, own.rate, upper, own.rate),
        gap=_of_kind(kind, own.gap, gap, jnp.minimum(own.gap, own.rate + near.rounding) + missed),
        distortion=_of_kind(kind, own.distortion, target / problem.unit, own.distortion),
    )


def _of_kind(kind: int | Array, slope: Array, distortion: Array, rate: Array) -> Array:
    return jnp.where(kind == SLOPE, slope, jnp.where(kind == DISTORTION, distortion, rate))


def _search(
    moments: Callable[[Array], Moments],
    off: Callable[[Array, Moments], tuple[Array, Array]],
    slopes: tuple[Array, Array, Array],
    tol: Array,
) -> tuple[Array, Moments]:
    """The slope at which the channel of a given q meets the constraint, and the moments there.

    `off` says by how many bits it does not (positive: the slope is too small) and proposes a Newton step on log s.
    A bracket keeps Newton honest. A library's bisection would need 15 times the passes over the kernel; what is
    left of the mismatch is part of the certificate, so this search need not be trusted.
    """
    first, floor, ceiling = slopes

    def go_on(state):
        *_, matched, passes = state
        return ~matched & (passes < 100)

    def step(state):
        low, high, _, s, _, _, passes = state
        now = moments(s)
        bits, newton = off(s, now)
        stuck = jnp.where(bits > 0, s >= high, s <= low) | (s == 0) | (s == jnp.inf)
        low, high = jnp.where(bits > 0, s, low), jnp.where(bits > 0, high, s)
        proposal = s * jnp.exp(jnp.clip(newton, -math.log(16), math.log(16)))
        inside = (proposal > low) & (proposal < high)
        # Until both ends are known, from where the search began or further out; then the middle.
        up, down = jnp.maximum(4 * s, first), jnp.minimum(s / 4, first)
        middle = jnp.sqrt(low) * jnp.sqrt(high)
        halved = jnp.where(bits > 0, jnp.where(high == ceiling, up, middle), jnp.where(low == floor, down, middle))
        following = jnp.clip(jnp.where(inside, proposal, halved), floor, ceiling)
        # Written so that a NaN counts as matched: an invalid item must not hold up its batch.
        matched = ~(jnp.abs(bits) > 0.03 * tol) | stuck
        return low, high, s, following, now, matched, passes + 1

    # The loop makes the first pass too: one copy of the moments to compile.
    unknown = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(moments, first))
    start = (floor, ceiling, first, first, unknown, jnp.asarray(False), 0)
    _, _, s, _, now, _, _ = lax.while_loop(go_on, step, start)
    return s, now
