"""The greatest c(r) = Σ p 2^(a - s D(p_{Y|x}‖r)) over every law r of Y, bounded from above: the bottleneck's dual."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rdtheory.limits.certify.sums import FLOOR, LEAST_LOG, LN2, U, log_sum

HALVED, ROUNDS = 128, 4000  # simplices of laws that are halved at once, and how often at most
WHOLE = 2**60  # a share of one, in the units of the corners of simplices
SHARE = 2.0**-6  # of log c: a bound so near its greatest value is good enough
AT_FIRST, CLOSER = 2.0**-8, 2.0**-6  # bits, and how much nearer it is to be each time


def greatest_c(p: Array, potential: Array, s: Array, laws: Array, seen: Array) -> Array:
    """Upper bound of log c over every law r of Y, by branch and bound on simplices of laws; `seen` (t, k) are some.

    On a simplex with the center m, log r_y <= log m_y + (r_y - m_y) / m_y in nats, which bounds each term of c by the
    exponential of something linear. Their sum is convex, so it is greatest at a corner. Where that is more than c has
    been seen to be, the longest edge is halved. The first simplex is of all laws, or for two letters between the
    outermost of the given ones, as every term falls beyond them. Corners are shares of its corners, in whole numbers of
    2^-60, so that the halves are all of it.
    """
    (n, k), closest = laws.shape, 2.0**-44 if laws.shape[1] == 2 else 2.0**-32  # bits, that take milliseconds
    odds = laws[:, 0] / laws[:, -1]  # of two letters: the larger share alone has not the digits of the smaller
    ends = laws[jnp.stack([jnp.argmin(odds), jnp.argmax(odds)])] if k == 2 else jnp.eye(k)
    used = p > 0
    constant = jnp.where(used, jnp.log2(jnp.where(used, p, 1.0)) + potential, -jnp.inf)
    negentropies = jnp.sum(jnp.where(laws > 0, laws * jnp.log2(jnp.where(laws > 0, laws, 1.0)), 0.0), axis=1)
    first, second = np.triu_indices(k, 1)

    def at(centers: Array) -> tuple[Array, Array]:
        """The exponents of the terms of c, (n, t), and by how many U each is off."""
        cross = -laws @ jnp.log2(centers).T
        sizes = (1 + jnp.abs(jnp.log2(jnp.where(used, p, 1.0))) + jnp.abs(potential))[:, None]
        sizes = sizes + s * (1 - negentropies[:, None] + cross)
        return constant[:, None] - s * (negentropies[:, None] + cross), (4 * k + 40) * sizes

    def values(laws: Array) -> Array:
        exponents, _ = at(jnp.maximum(laws, FLOOR))
        return log_sum(used[:, None] & (exponents > -jnp.inf), exponents, jnp.zeros_like(exponents))

    def bounded(whole: Array) -> Array:
        shares = jnp.sum(whole, axis=1) / (k * WHOLE)
        centers = jnp.maximum(shares @ ends, FLOOR)  # a larger law makes a larger bound
        exponents, sizes = at(centers)
        away = (whole / WHOLE - shares[:, None, :]) @ ends / centers[:, None, :] / LN2  # (t, corner, y), below 1.5 k
        high = exponents[:, :, None] + s * jnp.einsum("xy,tcy->xtc", laws, away)
        sizes = sizes[:, :, None] + (4 * k + 40) * s * jnp.einsum("xy,tcy->xtc", laws, jnp.abs(away))
        bounds = log_sum(jnp.broadcast_to(used[:, None], (n, high[0].size)), high.reshape(n, -1), sizes.reshape(n, -1))
        return jnp.max(bounds.reshape(-1, k), axis=1)

    def halve(state):
        corners, bounds, count, highest, left_out, rounds, close = state
        start = jnp.maximum(count - HALVED, 0)
        parts, bound = (jax.lax.dynamic_slice_in_dim(x, start, HALVED) for x in (corners, bounds))
        there = jnp.arange(HALVED) + start < count
        edges = (parts[:, first] - parts[:, second]) / WHOLE
        longest = jnp.argmax(jnp.sum(edges**2, axis=2), axis=1)
        i, j, row = jnp.asarray(first)[longest], jnp.asarray(second)[longest], jnp.arange(HALVED)
        both = parts[row, i] + parts[row, j]
        middle = both // 2
        halves = jnp.concatenate([parts.at[row, i].set(middle), parts.at[row, j].set(middle)])
        found = jnp.minimum(bounded(halves), jnp.tile(bound, 2))
        highest = jnp.maximum(highest, jnp.max(jnp.where(there, values(middle / WHOLE @ ends), -jnp.inf)))
        # Of one that cannot be halved exactly, or no more for want of room, its own bound is what is known.
        final = there & (bound > highest + close) & (jnp.any(both % 2 == 1, axis=1) | (start + 3 * HALVED > room))
        left_out = jnp.maximum(left_out, jnp.max(jnp.where(final, bound, -jnp.inf)))
        open_ = jnp.tile(there & ~final, 2) & (found > highest + close)
        order = jnp.argsort(~open_)
        corners = jax.lax.dynamic_update_slice_in_dim(corners, halves[order], start, 0)
        bounds = jax.lax.dynamic_update_slice_in_dim(bounds, found[order], start, 0)
        return corners, bounds, start + jnp.sum(open_), highest, left_out, rounds + 1, close

    def search(state):
        """From the whole simplex on, until no bound is `close` above the highest value."""
        least, highest, close, _ = state
        begin = (corners, jnp.full(room, whole), zero + 1, highest, jnp.asarray(-jnp.inf), zero, close)
        end = jax.lax.while_loop(lambda state: (state[2] > 0) & (state[5] < ROUNDS), halve, begin)
        _, bounds, count, highest, left_out, *_ = end
        rest = jnp.max(bounds, where=jnp.arange(room) < count, initial=-jnp.inf)
        bound = jnp.maximum(jnp.maximum(highest + close, left_out), rest)
        more = (count == 0) & (close > enough(highest))
        return jnp.minimum(least, bound), highest, jnp.maximum(close * CLOSER, enough(highest)), more

    def enough(highest: Array) -> Array:
        return jnp.maximum(jnp.maximum(closest, SHARE * jnp.abs(highest)), rough)

    room, zero = 100 * HALVED, jnp.zeros((), int)  # each round goes on with its own halves first
    corners = jnp.broadcast_to(WHOLE * jnp.eye(k, dtype=jnp.int64), (room, k, k))
    whole, among = bounded(corners[:1])[0], values(seen)
    rough = U * jnp.max(jnp.where(used[:, None], at(jnp.maximum(jnp.mean(ends, axis=0, keepdims=True), FLOOR))[1], 0.0))
    highest = jnp.max(jnp.where(jnp.isnan(among), -jnp.inf, among))
    start = (whole, highest, jnp.maximum(AT_FIRST, enough(highest)), jnp.asarray(True))
    log_c, *_ = jax.lax.while_loop(lambda state: state[3], search, start)
    return jnp.where(jnp.isnan(log_c), jnp.inf, jnp.maximum(log_c, LEAST_LOG) + 4 * U * jnp.abs(log_c))
