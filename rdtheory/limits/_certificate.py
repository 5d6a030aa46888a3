"""Both sides of R(D) from a reproduction pmf and a slope, whatever solver they come from.

The pmf q lives on a view of the problem: all reproduction letters, or the few that a solver works with. Only the dual
bound must look at every letter, which is what `price` does. notation: see `_problem`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import xlogy

from rdtheory.limits import _axes, _problem
from rdtheory.limits._axes import Columns, Squares
from rdtheory.limits._mirror import Folded
from rdtheory.limits._problem import LN2, Problem, finite_or_zero, rounding, scaled_kernel, times
from rdtheory.limits._structured import Streamed

FAR = 64.0  # bits
SLOPE, DISTORTION, RATE = range(3)  # what a point is asked for by

# slope, p / z -> c for every reproduction letter, and a bound on the error of a transform that it came from
Price = Callable[[Array, Array], tuple[Array, Array]]


class View(NamedTuple):
    excess: Array | Columns | Streamed | Folded  # (n, k), of the letters that q lives on
    letters: Array  # (k,) which they are


class Point(NamedTuple):
    q: Array  # (k,) on the view
    s: Array
    c: Array  # (m,)
    rate: Array  # bits, of a channel at that distortion
    gap: Array
    distortion: Array  # in units of the problem


class Moments(NamedTuple):
    z: Array
    spent: Array  # mean excess distortion of the channel of (q, s)
    spread: Array  # its variance given the source letter, on average
    free_energy: Array  # -Σ p log z


class Bounds(NamedTuple):
    log_max: Array  # log max c
    drift: Array  # Σ q c log c
    rounding: Array  # bound on the rounding error of rates made from them, in bits


def all_letters(problem: Problem) -> View:
    return View(_problem.excess(problem), jnp.arange(len(problem.usable)))


def moments(p: Array, excess: Array | Columns | Streamed | Folded, q: Array, s: Array) -> Moments:
    assert not isinstance(excess, Folded)  # certificates are of the whole problem
    if not isinstance(excess, Array):
        if isinstance(excess, Streamed):
            z, first, second = excess.sums(q, s, scaled_kernel)
        else:
            z, first, second = _axes.sums(_axes.kernel(excess, s, scaled_kernel), q)
        mean = first / z
        return Moments(z, p @ mean, p @ jnp.maximum(second / z - mean**2, 0.0), free_energy(p, z))
    kernel = scaled_kernel(excess, s)
    z = kernel @ q
    posterior = (kernel * q[None, :]) / z[:, None]
    mean = jnp.sum(finite_or_zero(excess * posterior), axis=1)
    variance = jnp.sum(finite_or_zero((excess - mean[:, None]) ** 2 * posterior), axis=1)
    return Moments(z, p @ mean, p @ variance, free_energy(p, z))


def bounds(problem: Problem, z: Array, q: Array, c: Array, error: Array, letters: Array, s: Array) -> Bounds:
    """`error` bounds that of each c: log max c and Σ q c log c change by at most so much (max c >= Σ q c = 1)."""
    on_view = c[letters]
    drift = jnp.sum(xlogy(q * on_view, on_view)) / LN2
    log_max = jnp.log2(jnp.max(c))
    if isinstance(problem.d, Squares):
        log_max = _axes.lowered(
            problem.p, problem.d, z, c, s / problem.unit, lambda v: _problem.price(problem, s, v)[0]
        )
    transform = error * (2 / LN2 + jnp.abs(log_max)) - xlogy(error, jnp.minimum(error, 1.0)) / LN2
    # The largest term of a rate is s times the excess distortion, itself at most -Σ p log z.
    return Bounds(log_max, drift, rounding(problem, problem.p @ jnp.abs(_log2(problem.p, z)), s) + transform)


def at_slope(problem: Problem, view: View, q: Array, s: Array, price: Price) -> Point:
    """At the slope s, whatever distortion and rate that comes to."""
    return _at_own(problem, view, q, s, moments(problem.p, view.excess, q, s), price)[0]


def certify(
    problem: Problem,
    view: View,
    q: Array,
    price: Price,
    kind: int | Array,
    target: Array,
    slopes: tuple[Array, Array, Array],
    tol: Array,
) -> Point:
    """The point of a pmf q at a slope, a distortion or a rate, from a slope about right, the least and the largest.

    To meet a distortion exactly the slope is moved, and what is left is made up by a channel of least distortion. By
    how much a rate is missed is part of the gap.
    """
    if isinstance(kind, int) and kind == SLOPE:  # known when the program is made
        return at_slope(problem, view, q, slopes[0], price)
    allowed = allowance(problem, target)
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

    s, now = _matched_slope(lambda s: moments(problem.p, view.excess, q, s), off, slopes, tol)
    own, near = _at_own(problem, view, q, s, now, price)

    # Without an excess to spend every excess was forbidden. That proves nothing of the little that rounding may have
    # hidden, but a price of FAR bits on the smallest excess makes no c larger by more than 2^-FAR Σ p/z.
    hidden = 2 * _unseen(problem, target)
    finite = jnp.where(jnp.isfinite(s) | (hidden == 0), s, FAR / _problem.smallest(problem))
    log_max = jnp.where(
        finite == s, near.log_max, jnp.logaddexp2(near.log_max, jnp.log2(jnp.sum(problem.p / now.z)) - FAR)
    )
    lower = now.free_energy - log_max - times(finite, jnp.where(s == 0, 0.0, allowed + hidden))
    mixed = jnp.where(now.spent > allowed, 1 - allowed / now.spent, 0.0)
    upper = (1 - mixed) * (own.rate - near.rounding) + mixed * most + near.rounding
    gap = jnp.minimum(jnp.maximum(upper - lower, 0) + near.rounding, upper)
    missed = jnp.where((now.spent == 0) & (own.rate <= target), 0.0, jnp.abs(own.rate - target))
    return own._replace(
        rate=_of_kind(kind, own.rate, upper, own.rate),
        gap=_of_kind(kind, own.gap, gap, jnp.minimum(own.gap, own.rate) + missed),
        distortion=_of_kind(kind, own.distortion, target / problem.unit, own.distortion),
    )


def _at_own(problem: Problem, view: View, q: Array, s: Array, now: Moments, price: Price) -> tuple[Point, Bounds]:
    c, error = price(s, problem.p / now.z)
    near = bounds(problem, now.z, q, c, error, view.letters, s)
    rate = now.free_energy - near.drift - times(s, now.spent) + near.rounding
    gap = jnp.maximum(near.log_max - near.drift, 0) + 2 * near.rounding
    # R >= 0 is a lower bound too, but not one on the line of slope s, of which the Lagrangian is made.
    return Point(q, s, c, rate, gap, problem.least + now.spent), near


def _of_kind(kind: int | Array, slope: Array, distortion: Array, rate: Array) -> Array:
    return jnp.where(kind == SLOPE, slope, jnp.where(kind == DISTORTION, distortion, rate))


def allowance(problem: Problem, target: Array) -> Array:
    """Excess distortion that `target` surely allows, in units of the problem; infinite where the rate is zero."""
    excess = target / problem.unit - problem.least
    return jnp.where(excess >= problem.span, jnp.inf, jnp.maximum(excess - _unseen(problem, target), 0.0))


def _unseen(problem: Problem, target: Array) -> Array:
    """By how much rounding may have changed that excess; where nothing costs nothing, it is the target itself."""
    error = jnp.finfo(problem.p.dtype).eps * (len(problem.p) + 4) * (target / problem.unit + problem.least)
    return jnp.where(problem.least == 0, 0.0, error)


def free_energy(p: Array, z: Array) -> Array:
    """-Σ p log z, in bits."""
    return -(p @ _log2(p, z))


def _log2(p: Array, z: Array) -> Array:
    return jnp.where(p > 0, jnp.log2(z), 0.0)


def _matched_slope(
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
