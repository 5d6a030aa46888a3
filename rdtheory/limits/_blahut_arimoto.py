"""The iterations behind `discrete`: jitted, trusting their arguments.

notation: p, q source and reproduction pmf; d distortion; s slope; A kernel; z = A q; c = Aᵀ(p/z). Rows are scaled,
A = 2^(-s (d - min_y d)): that leaves c as it is and keeps z from underflowing. The excess distortion is d - min_y d,
here in units of a power of two near its largest finite entry, so that squares of it neither overflow nor underflow; the
slope is in bits per that unit.
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


class _Problem(NamedTuple):
    p: Array
    excess: Array  # d - min_y d, in units of `unit`
    least: Array  # Σ p min_y d, in the same units
    span: Array  # D_max - least, likewise; infinite if every letter is forbidden for some source letter
    best: Array  # the letter that attains D_max
    unit: Array


def _problem(p: Array, d: Array) -> _Problem:
    excess, least = excess_over_row(p, d), least_distortion(p, d)
    largest = jnp.max(jnp.where(jnp.isfinite(excess), excess, 0.0))
    unit = jnp.where(largest > 0, jnp.ldexp(1.0, jnp.frexp(largest)[1] - 1), 1.0)
    excess = excess / unit
    means = jnp.sum(jnp.where((p > 0)[:, None], p[:, None] * excess, 0.0), axis=0)
    return _Problem(p, excess, least / unit, jnp.min(means), jnp.argmin(means), unit)


def least_distortion(p: Array, d: Array) -> Array:
    """Σ_x p_x min_y d(x, y)."""
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


def _start(problem: _Problem, at_zero_rate: Array) -> Array:
    """Uniform q; all mass on the best single letter where the rate is to be zero."""
    m = problem.excess.shape[1]
    best = jax.nn.one_hot(problem.best, m, dtype=problem.p.dtype)
    return jnp.where(at_zero_rate & jnp.isfinite(problem.span), best, jnp.full(m, 1 / m))


def _certificate(problem: _Problem, z: Array, q: Array, c: Array, s: Array) -> tuple[Array, Array, Array, Array]:
    """-Σ p log z, log max c, Σ q c log c and a bound on the rounding error of rates made from them, in bits."""
    log_z = jnp.where(problem.p > 0, jnp.log2(z), 0.0)
    drift = jnp.sum(xlogy(q * c, c)) / LN2
    # The largest term of a rate is s times the excess distortion, itself at most -Σ p log z.
    rounding = _rounding(problem, problem.p @ jnp.abs(log_z), s)
    return -(problem.p @ log_z), jnp.log2(jnp.max(c)), drift, rounding


def _rounding(problem: _Problem, magnitude: Array, s: Array) -> Array:
    """Bound on the rounding error of a rate, in bits: every sum is over at most n + m terms.

    The least distortion, subtracted at the start, was rounded too. At slope zero it is D_max that was rounded, and R is
    below its chord from the least distortion to there.
    """
    n, m = problem.excess.shape
    terms = jnp.finfo(problem.p.dtype).eps * (n + m + 8)
    relative = jnp.minimum(terms * (problem.least + problem.span) / problem.span, 1.0)
    chord = jnp.where((s == 0) & (problem.span > 0) & jnp.isfinite(problem.span), relative * math.log2(min(n, m)), 0.0)
    return terms * (1 + 2 * magnitude + jnp.where(jnp.isfinite(s), s * problem.least, 0.0)) + chord


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
    point, steps = lax.while_loop(go_on, step, (before, jnp.full((), -1)))
    return RateDistortion(point.upper, point.distortion, point.gap, point.s, point.gap <= tol, steps, point.q)


@jax.jit
def at_slope(p: Array, d: Array, slope: Array, tol: Array, max_steps: Array) -> RateDistortion:
    """The point of R(D) with that slope."""
    problem = _problem(p, d)
    kernel = scaled_kernel(problem.excess, slope * problem.unit)

    def evaluate(q: Array, s: Array) -> _Iterate:
        z = kernel @ q
        c = kernel.T @ (p / z)
        free_energy, log_max, drift, rounding = _certificate(problem, z, q, c, s)
        gap = jnp.maximum(log_max - drift, 0) + 2 * rounding
        # Rate and distortion wait for the end: they would cost a third pass over the kernel.
        return _Iterate(q, s, c, free_energy - drift + rounding, gap, problem.least)

    q = _start(problem, slope == 0)
    result = _iterate(evaluate, q, slope * problem.unit, tol, max_steps)
    z = kernel @ result.reproduction_pmf
    spent = (p / z) @ (_finite(problem.excess * kernel) @ result.reproduction_pmf)
    rate = result.rate - _times(result.slope, spent)
    gap = jnp.minimum(result.gap, rate)  # R >= 0 is a lower bound too
    distortion = (problem.least + spent) * problem.unit
    return result._replace(rate=rate, gap=gap, converged=gap <= tol, distortion=distortion, slope=slope)


@jax.jit
def along_curve(p: Array, d: Array, slopes: Array, tol: Array, max_steps: Array) -> RateDistortion:
    """The points of R(D) with those slopes."""

    def solve(s: Array) -> RateDistortion:
        return at_slope(p, d, s, tol, max_steps)

    return jax.vmap(solve)(slopes) if d.size <= VMAP_SIZE else lax.map(solve, slopes)


@jax.jit
def at_distortion(p: Array, d: Array, target: Array, tol: Array, max_steps: Array) -> RateDistortion:
    """The point of R(D) at distortion `target`."""
    problem = _problem(p, d)
    excess_target = target / problem.unit - problem.least
    zero_rate = excess_target >= problem.span
    allowed = jnp.where(zero_rate, jnp.inf, jnp.maximum(excess_target, 0.0))
    log_letters = math.log2(min(d.shape))  # no channel of least distortion needs more
    slopes = _slope_range(problem.excess)

    def evaluate(q: Array, s: Array) -> _Iterate:
        def off(s: Array, now: _Moments) -> tuple[Array, Array]:
            newton = now.spent * jnp.log(now.spent / allowed) / (LN2 * s * now.spread)
            over = jnp.where(now.spent > allowed, (1 - allowed / now.spent) * log_letters, -jnp.inf)
            return jnp.maximum(_times(s, now.spent - allowed), over), newton

        s, now = _matched_slope(lambda s: _moments(problem, q, s), off, s, slopes, tol)
        lower = now.free_energy - now.log_max - _times(s, jnp.where(s == 0, 0.0, allowed))
        mixed = jnp.where(now.spent > allowed, 1 - allowed / now.spent, 0.0)
        rate = now.free_energy - now.drift - _times(s, now.spent)
        upper = (1 - mixed) * rate + mixed * log_letters + now.rounding
        gap = jnp.minimum(jnp.maximum(upper - lower, 0) + now.rounding, upper)  # R >= 0 is a lower bound too
        return _Iterate(q, s, now.c, upper, gap, target)

    s = jnp.where(zero_rate | jnp.isinf(target), 0.0, jnp.where(allowed > 0, slopes[0], jnp.inf))
    found = _iterate(evaluate, _start(problem, zero_rate), s, tol, max_steps)
    return found._replace(slope=found.slope / problem.unit)


@jax.jit
def at_rate(p: Array, d: Array, target: Array, tol: Array, max_steps: Array) -> RateDistortion:
    """The point of R(D) at rate `target`."""
    problem = _problem(p, d)
    slopes = _slope_range(problem.excess)

    def evaluate(q: Array, s: Array) -> _Iterate:
        def off(s: Array, now: _Moments) -> tuple[Array, Array]:
            before = jnp.maximum(now.free_energy - _times(s, now.spent), 0.0)  # Σ p D(Q‖q), before q is updated
            newton = before * jnp.log(target / before) / (LN2 * s**2 * now.spread)
            return jnp.where((now.spent == 0) & (before <= target), 0.0, target - before), newton

        s, now = _matched_slope(lambda s: _moments(problem, q, s), off, s, slopes, tol)
        upper = now.free_energy - now.drift - _times(s, now.spent) + now.rounding
        gap = jnp.minimum(jnp.maximum(now.log_max - now.drift, 0) + 2 * now.rounding, upper)
        missed = jnp.where((now.spent == 0) & (upper <= target), 0.0, jnp.abs(upper - target))
        return _Iterate(q, s, now.c, upper, gap + missed, (problem.least + now.spent) * problem.unit)

    found = _iterate(evaluate, _start(problem, jnp.asarray(False)), slopes[0], tol, max_steps)
    # A target within tol of zero is met by channels worse than no channel at all.
    none = _rounding(problem, jnp.zeros_like(target), jnp.zeros_like(target))
    gap = jnp.maximum(none, jnp.abs(none - target))
    free = RateDistortion(
        rate=none,
        distortion=(problem.least + problem.span) * problem.unit,
        gap=gap,
        slope=jnp.zeros_like(target),
        converged=gap <= tol,
        steps=found.steps,
        reproduction_pmf=_start(problem, jnp.asarray(True)),
    )
    use_free = jnp.isfinite(problem.span) & ((target == 0) | (free.distortion <= found.distortion))
    best = jax.tree.map(lambda a, b: jnp.where(use_free, a, b), free, found)
    return best._replace(slope=best.slope / problem.unit)


def _matched_slope(
    moments: Callable[[Array], _Moments],
    off: Callable[[Array, _Moments], tuple[Array, Array]],
    s: Array,
    slopes: tuple[Array, Array, Array],
    tol: Array,
) -> tuple[Array, _Moments]:
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
        matched = ~(jnp.abs(bits) > 0.01 * tol) | stuck
        return low, high, s, following, now, matched, passes + 1

    # The loop makes the first pass too: one copy of the moments to compile.
    unknown = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(moments, s))
    start = (floor, ceiling, s, s, unknown, jnp.asarray(False), 0)
    _, _, s, _, now, _, _ = lax.while_loop(go_on, step, start)
    return s, now


def _moments(problem: _Problem, q: Array, s: Array) -> _Moments:
    p, excess = problem.p, problem.excess
    kernel = scaled_kernel(excess, s)
    z = kernel @ q
    posterior = (kernel * q[None, :]) / z[:, None]
    mean = jnp.sum(_finite(excess * posterior), axis=1)
    variance = jnp.sum(_finite((excess - mean[:, None]) ** 2 * posterior), axis=1)
    c = kernel.T @ (p / z)
    return _Moments(c, p @ mean, p @ variance, *_certificate(problem, z, q, c, s))


def _slope_range(excess: Array) -> tuple[Array, Array, Array]:
    """A slope to begin with, one that acts like zero and one that acts like infinity."""
    positive = (excess > 0) & jnp.isfinite(excess)
    some = jnp.any(positive)
    log = jnp.log(jnp.where(positive, excess, 1.0))
    middle = jnp.exp(-jnp.sum(log) / jnp.maximum(jnp.sum(positive), 1))
    largest = jnp.max(jnp.where(positive, excess, 0.0))
    smallest = jnp.min(jnp.where(positive, excess, jnp.inf))
    return middle, jnp.where(some, 1e-30 / largest, 1e-30), jnp.where(some, 1e4 / smallest, 1e4)


def _finite(x: Array) -> Array:
    """Forbidden letters have probability zero, and 0 · inf is then no cost."""
    return jnp.where(jnp.isfinite(x), x, 0.0)
