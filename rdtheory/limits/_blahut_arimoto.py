"""The iterations behind `discrete`: jitted, trusting their arguments.

notation: p, q source and reproduction pmf; d distortion; s slope; A kernel; z = A q; c = Aᵀ(p/z). Rows are scaled,
A = 2^(-s (d - min_y d)): that leaves c as it is and keeps z from underflowing. The excess distortion is d - min_y d.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import xlogy

from rdtheory.results import RateDistortion

LN2 = math.log(2)
VMAP_SIZE = 4096  # entries of a distortion matrix up to which a curve runs its slopes side by side


class _Iterate(NamedTuple):
    q: Array
    s: Array
    c: Array
    upper: Array  # bits; of R at the distortion the certificate speaks of
    gap: Array
    distortion: Array


class _Moments(NamedTuple):
    c: Array
    spent: Array  # mean excess distortion of the channel of (q, s)
    spread: Array  # its variance given the source letter, on average
    free_energy: Array  # -Σ p log z
    log_max: Array  # log max c
    drift: Array  # Σ q c log c
    rounding: Array


def least_distortion(p: Array, d: Array) -> Array:
    return p @ jnp.where(p > 0, jnp.min(d, axis=1), 0.0)


def excess_over_row(p: Array, d: Array) -> Array:
    """Distortion above the row's minimum; zero in rows without mass, whatever they hold."""
    return jnp.where((p > 0)[:, None], d - jnp.min(d, axis=1, keepdims=True), 0.0)


def scaled_kernel(excess: Array, s: Array) -> Array:
    """2^(-s excess), with inf · 0 read as it is meant at either end: excess zero gives 1, infinite gives 0."""
    exponent = jnp.where((excess > 0) & jnp.isfinite(excess), -s * excess, 0.0)
    return jnp.where(jnp.isfinite(excess), jnp.exp2(exponent), 0.0)


def _times(s: Array, x: Array) -> Array:
    """S x, with inf · 0 = 0."""
    return jnp.where(x == 0, 0.0, s * x)


def _start(p: Array, d: Array, at_zero_rate: Array) -> Array:
    """Uniform q; all mass on the best single letter where the rate is to be zero."""
    m = d.shape[1]
    mean = jnp.sum(jnp.where((p > 0)[:, None], p[:, None] * d, 0.0), axis=0)
    best = jax.nn.one_hot(jnp.argmin(mean), m, dtype=p.dtype)
    return jnp.where(at_zero_rate & jnp.isfinite(jnp.min(mean)), best, jnp.full(m, 1 / m))


def _certificate(p: Array, z: Array, q: Array, c: Array, s: Array, least: Array) -> tuple[Array, Array, Array, Array]:
    """-Σ p log z, log max c, Σ q c log c and a bound on the rounding error of rates made from them, in bits.

    Every sum is over at most n + m terms; the largest term is s times the excess distortion, which is itself at
    most -Σ p log z. `least`, subtracted from the distortion at the start, was rounded too.
    """
    log_z = jnp.log2(z)
    free_energy = -jnp.sum(jnp.where(p > 0, p * log_z, 0.0))
    drift = jnp.sum(xlogy(q * c, c)) / LN2
    eps = jnp.finfo(p.dtype).eps
    magnitude = 1 + 2 * jnp.sum(jnp.where(p > 0, p * jnp.abs(log_z), 0.0))
    rounding = eps * (len(p) + len(q) + 8) * (magnitude + jnp.where(jnp.isfinite(s), s * least, 0.0))
    return free_energy, jnp.log2(jnp.max(c)), drift, rounding


def _iterate(evaluate: Callable[[Array, Array], _Iterate], q: Array, s: Array, tol: Array, max_steps: Array):
    """Blahut-Arimoto steps q ← q c, each with its slope, until the certified gap is at most `tol`."""

    def go_on(state: tuple[_Iterate, Array]) -> Array:
        point, steps = state
        return (point.gap > tol) & (steps < max_steps)

    def step(state: tuple[_Iterate, Array]) -> tuple[_Iterate, Array]:
        point, steps = state
        return evaluate(point.q * point.c, point.s), steps + 1

    # The loop makes the first evaluation too, as step 0: one copy of it to compile.
    unknown = jnp.full_like(s, jnp.inf)
    before = _Iterate(q, s, jnp.ones_like(q), unknown, unknown, unknown)
    point, steps = lax.while_loop(go_on, step, (before, jnp.full((), -1, jnp.int32)))
    return RateDistortion(point.upper, point.distortion, point.gap, point.s, point.gap <= tol, steps, point.q)


@jax.jit
def at_slope(p: Array, d: Array, s: Array, tol: Array, max_steps: Array) -> RateDistortion:
    excess, least = excess_over_row(p, d), least_distortion(p, d)
    kernel = scaled_kernel(excess, s)

    def evaluate(q: Array, s: Array) -> _Iterate:
        z = kernel @ q
        c = kernel.T @ (p / z)
        free_energy, log_max, drift, rounding = _certificate(p, z, q, c, s, least)
        gap = jnp.maximum(log_max - drift, 0) + 2 * rounding
        # Rate and distortion wait for the end: they would cost a third pass over the kernel.
        return _Iterate(q, s, c, free_energy - drift + rounding, gap, least)

    q = _start(p, d, s == 0)
    result = _iterate(evaluate, q, s, tol, max_steps)
    z = kernel @ result.reproduction_pmf
    excess_distortion = (p / z) @ (_finite(excess * kernel) @ result.reproduction_pmf)
    rate = result.rate - _times(s, excess_distortion)
    gap = jnp.minimum(result.gap, rate)  # R >= 0 is a lower bound too
    return result._replace(rate=rate, gap=gap, converged=gap <= tol, distortion=least + excess_distortion)


@jax.jit
def along_curve(p: Array, d: Array, slopes: Array, tol: Array, max_steps: Array) -> RateDistortion:
    def solve(s: Array) -> RateDistortion:
        return at_slope(p, d, s, tol, max_steps)

    return jax.vmap(solve)(slopes) if d.size <= VMAP_SIZE else lax.map(solve, slopes)


@jax.jit
def at_distortion(p: Array, d: Array, target: Array, tol: Array, max_steps: Array) -> RateDistortion:
    excess, least = excess_over_row(p, d), least_distortion(p, d)
    zero_rate = target >= jnp.min(jnp.sum(jnp.where((p > 0)[:, None], p[:, None] * d, 0.0), axis=0))
    allowed = jnp.where(zero_rate, jnp.inf, jnp.maximum(target - least, 0.0))
    log_letters = math.log2(min(d.shape))  # no channel of least distortion needs more

    def evaluate(q: Array, s: Array) -> _Iterate:
        def off(s: Array, now: _Moments) -> tuple[Array, Array]:
            newton = now.spent * jnp.log(now.spent / allowed) / (LN2 * s * now.spread)
            over = jnp.where(now.spent > allowed, (1 - allowed / now.spent) * log_letters, -jnp.inf)
            return jnp.maximum(_times(s, now.spent - allowed), over), newton

        s, now = _matched_slope(lambda s: _moments(p, excess, least, q, s), off, s, first, tol)
        lower = now.free_energy - now.log_max - _times(s, jnp.where(s == 0, 0.0, allowed))
        mixed = jnp.where(now.spent > allowed, 1 - allowed / now.spent, 0.0)
        rate = now.free_energy - now.drift - _times(s, now.spent)
        upper = (1 - mixed) * rate + mixed * log_letters + now.rounding
        gap = jnp.minimum(jnp.maximum(upper - lower, 0) + now.rounding, upper)  # R >= 0 is a lower bound too
        return _Iterate(q, s, now.c, upper, gap, target)

    first = _first_slope(p, excess)
    s = jnp.where(zero_rate | jnp.isinf(target), 0.0, jnp.where(allowed > 0, first, jnp.inf))
    return _iterate(evaluate, _start(p, d, zero_rate), s, tol, max_steps)


@jax.jit
def at_rate(p: Array, d: Array, target: Array, tol: Array, max_steps: Array) -> RateDistortion:
    excess, least = excess_over_row(p, d), least_distortion(p, d)

    def evaluate(q: Array, s: Array) -> _Iterate:
        def off(s: Array, now: _Moments) -> tuple[Array, Array]:
            before = now.free_energy - _times(s, now.spent)  # Σ p D(Q‖q), the rate before q is updated
            newton = before * jnp.log(target / before) / (LN2 * s**2 * now.spread)
            return jnp.where((now.spent == 0) & (before <= target), 0.0, target - before), newton

        s, now = _matched_slope(lambda s: _moments(p, excess, least, q, s), off, s, first, tol)
        upper = now.free_energy - now.drift - _times(s, now.spent) + now.rounding
        gap = jnp.minimum(jnp.maximum(now.log_max - now.drift, 0) + 2 * now.rounding, upper)
        missed = jnp.where((now.spent == 0) & (upper <= target), 0.0, jnp.abs(upper - target))
        return _Iterate(q, s, now.c, upper, gap + missed, least + now.spent)

    first = _first_slope(p, excess)
    found = _iterate(evaluate, _start(p, d, jnp.asarray(False)), first, tol, max_steps)
    free = _iterate(evaluate, _start(p, d, jnp.asarray(True)), jnp.zeros_like(first), tol, jnp.asarray(0))
    # A target within tol of zero is met by channels worse than no channel at all.
    use_free = (target == 0) | (free.distortion <= found.distortion)
    return jax.tree.map(lambda a, b: jnp.where(use_free, a, b), free, found)


def _matched_slope(
    moments: Callable[[Array], _Moments],
    off: Callable[[Array, _Moments], tuple[Array, Array]],
    s: Array,
    first: Array,
    tol: Array,
) -> tuple[Array, _Moments]:
    """The slope at which the channel of a given q meets the constraint, and the moments there.

    `off` says by how many bits it does not (positive: the slope is too small) and proposes a Newton step on log s.
    A bracket keeps Newton honest. A library's bisection would need 15 times the passes over the kernel; what is
    left of the mismatch is part of the certificate, so this search need not be trusted.
    """
    floor, ceiling = first * 1e-30, first * 1e30  # beyond these a slope acts like 0 and like infinity

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
        halved = jnp.where(low == floor, s / 4, jnp.where(high == ceiling, s * 4, jnp.sqrt(low) * jnp.sqrt(high)))
        following = jnp.clip(jnp.where(inside, proposal, halved), floor, ceiling)
        # Written so that a NaN counts as matched: an invalid item must not hold up its batch.
        matched = ~(jnp.abs(bits) > 0.01 * tol) | stuck
        return low, high, s, following, now, matched, passes + 1

    # The loop makes the first pass too: one copy of the moments to compile.
    unknown = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(moments, s))
    start = (floor, ceiling, s, s, unknown, jnp.asarray(False), 0)
    _, _, s, _, now, _, _ = lax.while_loop(go_on, step, start)
    return s, now


def _moments(p: Array, excess: Array, least: Array, q: Array, s: Array) -> _Moments:
    kernel = scaled_kernel(excess, s)
    z = kernel @ q
    posterior = (kernel * q[None, :]) / z[:, None]
    mean = jnp.sum(_finite(excess * posterior), axis=1)
    variance = jnp.sum(_finite((excess - mean[:, None]) ** 2 * posterior), axis=1)
    c = kernel.T @ (p / z)
    return _Moments(c, p @ mean, p @ variance, *_certificate(p, z, q, c, s, least))


def _first_slope(p: Array, excess: Array) -> Array:
    mean = p @ jnp.mean(_finite(excess), axis=1)
    return jnp.where(mean > 0, 1 / mean, 1.0)


def _finite(x: Array) -> Array:
    """Forbidden letters have probability zero, and 0 · inf is then no cost."""
    return jnp.where(jnp.isfinite(x), x, 0.0)
