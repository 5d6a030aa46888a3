"""The greatest c(r) = Σ p 2^(a - s D(p_{Y|x}‖r)) over every law r of Y, bounded from above: the bottleneck's dual."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import rel_entr

from rdtheory.limits.certify.sums import LEAST_LOG, U, log_sum, relative

LN2 = math.log(2)
CELLS = 32768  # of the partition that bounds c over all laws of a binary letter
HALVED, ROUNDS = 128, 4000  # simplices of laws that are halved at once, and how often at most
DEEPEST = 90  # halvings of a simplex
WHOLE = 2**60  # a probability of one, in the units of the corners of simplices
CLOSE, SHARE = 2.0**-32, 2.0**-6  # bits, and share of log c: a bound so near its greatest value is good enough
AT_FIRST, CLOSER = 2.0**-8, 2.0**-6  # bits, and how much nearer it is to be each time


def greatest_of_two(p: Array, potential: Array, s: Array, laws: Array) -> Array:
    """Upper bound of log c over every law r of a binary Y, c(r) = Σ p 2^(a - s D(p_{Y|x}‖r)).

    Outside the span of the letters' laws every term falls. On a cell [a, b] of it each term exp(f) is between its ends
    and its peak, f' falls and f'' = -s (p1/r² + p0/(1-r)²) is bounded at the ends: that bounds c'', and Taylor's
    formula about the middle bounds c. At a singular end the sum of the peaks does.
    """
    log_p = jnp.log2(jnp.where(p > 0, p, 1.0))
    exponents = jnp.where(p > 0, log_p + potential + 8 * U * (jnp.abs(log_p) + jnp.abs(potential)), -jnp.inf)
    top = jnp.max(exponents)
    weights = jnp.exp2(exponents - top)[:, None]
    p0, p1 = laws[:, :1], laws[:, 1:]
    # Both of its probabilities are kept of each law on an edge, for 1 - r has none of the digits of a small r.
    share = (1 - jnp.cos(jnp.pi * jnp.arange(CELLS + 1) / CELLS)) / 2

    def between(low: Array, high: Array, share: Array) -> Array:
        return jnp.clip(low + (high - low) * share, low, high).at[0].set(low).at[-1].set(high)[None, :]

    up, down = between(jnp.min(p1), jnp.max(p1), share), between(jnp.min(p0), jnp.max(p0), share)[:, ::-1]
    a, b = (down[:, :-1], up[:, :-1]), (down[:, 1:], up[:, 1:])

    def term(at: tuple[Array, Array]) -> Array:
        return weights * jnp.exp(-s * (rel_entr(p1, at[1]) + rel_entr(p0, at[0])))

    def slope(at: tuple[Array, Array]) -> Array:
        left = jnp.where(p1 > 0, p1 / jnp.where(p1 > 0, at[1], 1.0), 0.0)
        right = jnp.where(p0 > 0, p0 / jnp.where(p0 > 0, at[0], 1.0), 0.0)
        return s * (left - right)

    peak = term((jnp.clip(p0, b[0], a[0]), jnp.clip(p1, a[1], b[1])))
    foot = jnp.minimum(term(a), term(b))
    steepest, fall = jnp.maximum(slope(a) ** 2, slope(b) ** 2), s * (p1 / b[1] ** 2 + p0 / a[0] ** 2)
    bend = steepest - fall
    second = jnp.sum(jnp.where(bend > 0, peak, foot) * bend, axis=0)
    middle = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
    half = jnp.maximum(a[0] - b[0], b[1] - a[1])[0] / 2
    at_middle = term(middle)
    value, first = jnp.sum(at_middle, axis=0), jnp.sum(at_middle * slope(middle), axis=0)
    taylor = value + jnp.abs(first) * half + jnp.maximum(second, 0.0) * half**2 / 2
    parabola = jnp.where(second < 0, value - first**2 / (2 * second), jnp.inf)
    sizes = half * jnp.sum(at_middle * jnp.abs(slope(middle)), axis=0)
    sizes = sizes + half**2 * jnp.sum(peak * (steepest + fall), axis=0)
    taylor = jnp.minimum(taylor, parabola) + 2 * relative(len(p)) * sizes
    bounds = jnp.minimum(jnp.sum(peak, axis=0), jnp.where(jnp.isnan(taylor), jnp.inf, taylor))
    # The terms that count have s D below 60, so that s D is off by (60 + 2s) u at most.
    log_c = jnp.log2(jnp.max(bounds) * (1 + 4 * relative(len(p)) * (1 + s)))
    return jnp.maximum(top + log_c, LEAST_LOG) * (1 + 4 * U * jnp.sign(top + log_c))


def greatest_on_simplex(p: Array, potential: Array, s: Array, laws: Array, seen: Array) -> Array:
    """Upper bound of log c over every law r of Y, by branch and bound on simplices of laws; `seen` (t, k) are some.

    On a simplex with the center m, log r_y <= log m_y + (r_y - m_y) / m_y in nats, which bounds each term of c by the
    exponential of something linear. Their sum is convex, so it is greatest at a corner. Where that is more than c has
    been seen to be, the longest edge is halved. Corners are whole numbers of 2^-60, so that the halves are all of it.
    """
    n, k = laws.shape
    used = p > 0
    log_p = jnp.log2(jnp.where(used, p, 1.0))
    negentropies = jnp.sum(jnp.where(laws > 0, laws * jnp.log2(jnp.where(laws > 0, laws, 1.0)), 0.0), axis=1)
    first, second = np.triu_indices(k, 1)

    def at(centers: Array) -> tuple[Array, Array]:
        """The exponents of the terms of c, (n, t), and a size of which each is off by (8k + 96) u."""
        cross = -laws @ jnp.log2(centers).T
        sizes = (1 + jnp.abs(log_p) + jnp.abs(potential))[:, None] + s * (1 - negentropies[:, None] + cross)
        return (log_p + potential)[:, None] - s * (negentropies[:, None] + cross), sizes

    def values(laws: Array) -> Array:
        exponents, _ = at(laws)
        return log_sum(used[:, None] & (exponents > -jnp.inf), exponents, jnp.zeros_like(exponents))

    def bounded(whole: Array) -> Array:
        corners = whole / WHOLE
        centers = jnp.sum(whole, axis=1) / (k * WHOLE)
        exponents, sizes = at(centers)
        away = (corners - centers[:, None, :]) / centers[:, None, :] / LN2  # (t, corner, y), less than 1.5 k
        high = exponents[:, :, None] + s * jnp.einsum("xy,tcy->xtc", laws, away)
        sizes = jnp.broadcast_to((8 * k + 96) * (sizes + 2 * k * s)[:, :, None], high.shape)
        bounds = log_sum(jnp.broadcast_to(used[:, None], (n, high[0].size)), high.reshape(n, -1), sizes.reshape(n, -1))
        return jnp.max(bounds.reshape(-1, k), axis=1)

    def halve(state):
        corners, bounds, depths, count, greatest, left_out, rounds, close = state
        start = jnp.maximum(count - HALVED, 0)
        parts, bound, depth = (jax.lax.dynamic_slice_in_dim(x, start, HALVED) for x in (corners, bounds, depths))
        there = jnp.arange(HALVED) + start < count
        edges = (parts[:, first] - parts[:, second]) / WHOLE
        longest = jnp.argmax(jnp.sum(edges**2, axis=2), axis=1)
        i, j, row = jnp.asarray(first)[longest], jnp.asarray(second)[longest], jnp.arange(HALVED)
        ends = parts[row, i] + parts[row, j]
        middle = ends // 2
        halves = jnp.concatenate([parts.at[row, i].set(middle), parts.at[row, j].set(middle)])
        odd = jnp.tile(jnp.any(ends % 2 == 1, axis=1), 2)  # then the halves leave something out
        found = jnp.where(odd, jnp.tile(bound, 2), jnp.minimum(bounded(halves), jnp.tile(bound, 2)))
        greatest = jnp.maximum(greatest, jnp.max(jnp.where(there, values(middle / WHOLE), -jnp.inf)))
        open_ = jnp.tile(there, 2) & (found > greatest + close)
        # Of one that cannot be halved exactly, or no more, its own bound is what is known.
        final = open_ & (jnp.tile(depth + 1 >= DEEPEST, 2) | odd)
        left_out = jnp.maximum(left_out, jnp.max(jnp.where(final, jnp.tile(bound, 2), -jnp.inf)))
        open_ &= ~final
        order = jnp.argsort(~open_)
        new = halves[order], found[order], jnp.tile(depth, 2)[order] + 1
        corners, bounds, depths = (
            jax.lax.dynamic_update_slice_in_dim(old, one, start, 0)
            for old, one in zip((corners, bounds, depths), new, strict=True)
        )
        return corners, bounds, depths, start + jnp.sum(open_), greatest, left_out, rounds + 1, close

    def searched(state):
        """From the whole simplex on, until no bound is `close` above the greatest value."""
        least, greatest, close, _ = state
        begin = (corners, jnp.full(room, whole), depths, zero + 1, greatest, jnp.asarray(-jnp.inf), zero, close)
        end = jax.lax.while_loop(lambda state: (state[3] > 0) & (state[6] < ROUNDS), halve, begin)
        _, bounds, _, count, greatest, left_out, *_ = end
        bound = jnp.maximum(
            jnp.maximum(greatest + close, left_out), jnp.max(bounds, where=place < count, initial=-jnp.inf)
        )
        more = (count == 0) & (close > jnp.maximum(CLOSE, SHARE * jnp.abs(greatest)))
        return jnp.minimum(least, bound), greatest, close * CLOSER, more

    room, zero = (DEEPEST + 4) * HALVED, jnp.zeros((), int)  # each round goes on with its own halves first
    place, depths = jnp.arange(room), jnp.zeros(room, int)
    corners = jnp.broadcast_to(WHOLE * jnp.eye(k, dtype=jnp.int64), (room, k, k))
    whole = bounded(corners[:1])[0]
    greatest = jnp.max(jnp.where(jnp.isnan(values(seen)), -jnp.inf, values(seen)))
    start = (whole, greatest, jnp.asarray(AT_FIRST), jnp.asarray(True))
    log_c, *_ = jax.lax.while_loop(lambda state: state[3], searched, start)
    return jnp.where(jnp.isnan(log_c), jnp.inf, jnp.maximum(log_c, LEAST_LOG) + 4 * U * jnp.abs(log_c))
