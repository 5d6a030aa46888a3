"""Both sides of R(D) from a reproduction pmf and a slope, whatever solver they come from.

The pmf q lives on a view of the problem: all reproduction letters, or the few that a solver works with. Only the dual
bound must look at every letter, which is what `price` does. Neither q nor the slope is believed to be anything: weights
that are no law are made one, a potential -log z is as good as any other, and where z is lost in underflow the channel
is one of least distortion, of `most` bits. notation: see `problem`.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import xlogy

from rdtheory.limits.discrete.arithmetic import LN2, times
from rdtheory.limits.discrete.kernels import Columns, Shifted, Stored, Streamed, kept
from rdtheory.limits.discrete.problem import Problem, View, price

FAR = 64.0  # bits
FLUSHED = 2.0**-1020  # more than what is flushed of any term


class Point(NamedTuple):
    q: Array  # (k,) on the view
    s: Array
    c: Array  # (m,)
    rate: Array  # bits, of a channel at that distortion
    gap: Array
    distortion: Array  # in units of the problem


class Moments(NamedTuple):
    z: Array  # at least TINY
    lost: Array  # whether it was less anywhere: then there is no channel of (q, s)
    spent: Array  # mean excess distortion of the channel of (q, s), or of one of least distortion
    spread: Array  # its variance given the source letter, on average
    free_energy: Array  # -Σ p log z


class Bounds(NamedTuple):
    log_max: Array  # log max c
    drift: Array  # Σ q c log c
    rounding: Array  # bound on the rounding error of rates made from them, in bits


def moments(p: Array, excess: Stored | Columns | Streamed | Shifted, q: Array, s: Array) -> Moments:
    z, mean, variance = excess.moments(q, s)
    lost = jnp.any((p > 0) & (kept(z) != z))
    spent = jnp.where(lost, 0.0, jnp.maximum(p @ mean, 0.0))  # distances may be a digit less than the least of them
    return Moments(kept(z), lost, spent, p @ variance, free_energy(p, kept(z)))


def weights(problem: Problem, view: View, q: Array) -> Array:
    """What is proposed for q made a law on the letters of the view that are of use; uniform if there is nothing."""
    usable = problem.usable[view.letters]
    clean = jnp.where(usable & (q > 0) & jnp.isfinite(q), q, 0.0)
    largest = jnp.max(clean)
    scaled = jnp.where(largest > 0, clean / jnp.where(largest > 0, largest, 1.0), usable)
    return scaled / jnp.maximum(jnp.sum(scaled), 1.0)


def bounds(problem: Problem, z: Array, q: Array, c: Array, error: Array, letters: Array, s: Array) -> Bounds:
    """`error` bounds that of each c: log max c and Σ q c log c change by at most so much (max c >= Σ q c = 1)."""
    on_view = c[letters]
    drift = jnp.sum(xlogy(q * on_view, on_view)) / LN2
    log_max = problem.d.overshoot(problem, z, c, s)
    transform = error * (2 / LN2 + jnp.abs(log_max)) - xlogy(error, jnp.minimum(error, 1.0)) / LN2
    return Bounds(log_max, drift, rounding(problem, z, log_max) + transform)


def at_slope(problem: Problem, view: View, q: Array, s: Array) -> Point:
    """At the slope s, whatever distortion and rate that comes to."""
    q, s = weights(problem, view, q), jnp.where(s >= 0, s, 0.0)
    return at_own(problem, view, q, s, moments(problem.p, view.excess, q, s))[0]


def at_distortion(problem: Problem, now: Moments, near: Bounds, s: Array, target: Array) -> tuple[Array, Array]:
    """Lower and upper bound of R(target), of the channel of (q, s) mixed with one of least distortion if need be."""
    eps = jnp.finfo(problem.p.dtype).eps
    excess, unseen = jnp.maximum(target / problem.unit - problem.least, 0.0), _unseen(problem, target)
    least, most = jnp.where(jnp.isinf(target), jnp.inf, jnp.maximum(excess - unseen, 0.0)), excess + unseen

    # Without an excess to spend every excess was forbidden. That proves nothing of the little that rounding may have
    # hidden, but a price of FAR bits on the smallest excess makes no c larger by more than 2^-FAR Σ p/z.
    finite = jnp.where(jnp.isfinite(s) | (most == 0), s, FAR / problem.smallest)
    log_max = jnp.where(
        finite == s, near.log_max, jnp.logaddexp2(near.log_max, jnp.log2(jnp.sum(problem.p / now.z)) - FAR)
    )
    paid = times(finite, jnp.where(s == 0, 0.0, most))
    lower = now.free_energy - log_max - paid * (1 + 8 * eps) - near.rounding

    flushed = relative(problem) / eps * FLUSHED
    spent = now.spent * (1 + relative(problem)) + jnp.where(jnp.isfinite(s), flushed, 0.0)
    mixed = jnp.where(spent > least, 1 - least / jnp.where(spent > 0, spent, 1.0), 0.0)
    own = jnp.where(now.lost, problem.most, now.free_energy - near.drift - times(s, now.spent) + near.rounding)
    upper = (1 - mixed) * own + mixed * problem.most
    # Surely enough for the best single letter, which takes no bits; it may be the nearest to all.
    free = least >= problem.span + relative(problem) * (problem.least + problem.span) + flushed
    free |= problem.nearest
    upper = jnp.where(free, 0.0, jnp.where(upper < jnp.inf, upper, problem.most) * (1 + 4 * eps))
    return jnp.clip(_or(lower, 0.0), 0.0, upper) * (1 - 4 * eps), upper


def at_own(problem: Problem, view: View, q: Array, s: Array, now: Moments) -> tuple[Point, Bounds]:
    """At a distortion that the channel of (q, s) surely has: it is rounded as the least one is that it is above."""
    c, error = price(problem, s, problem.p / now.z)
    near = bounds(problem, now.z, q, c, error, view.letters, s)
    off = jnp.where(now.spent > 0, relative(problem) * (problem.least + now.spent), 0.0)
    plain = now.free_energy - near.drift - times(s, now.spent) + near.rounding
    rate = _or(jnp.where(now.lost, problem.most, plain), problem.most)
    # R >= 0 is a lower bound too, but not one on the line of slope s, of which the Lagrangian is made.
    misplaced = jnp.where(jnp.isfinite(s), s * (off + relative(problem) * problem.least), 0.0)
    gap = jnp.maximum(near.log_max - near.drift, 0) + 2 * near.rounding + (rate - plain) + misplaced
    return Point(q, s, c, rate, _or(gap, jnp.inf), problem.least + now.spent + off), near


def allowance(problem: Problem, target: Array) -> Array:
    """Excess distortion that `target` surely allows, in units of the problem; infinite where the rate is zero."""
    excess = target / problem.unit - problem.least
    return jnp.where(excess >= problem.span, jnp.inf, jnp.maximum(excess - _unseen(problem, target), 0.0))


def _unseen(problem: Problem, target: Array) -> Array:
    """By how much rounding may have changed that excess; where nothing costs nothing, it is the target itself."""
    return jnp.where(problem.least == 0, 0.0, relative(problem) * (target / problem.unit + problem.least))


def relative(problem: Problem) -> Array:
    """By how much a sum over letters may be off, relative to its terms; distances are sums, too."""
    letters = jnp.sum(problem.p > 0) + jnp.sum(problem.usable)
    return jnp.finfo(problem.p.dtype).eps * (letters + problem.d.terms + 16)


def rounding(problem: Problem, z: Array, log_max: Array) -> Array:
    """Bound on the rounding error of a rate, in bits.

    Its largest term is s times the excess distortion, itself at most -Σ p log z. A power 2^-v is off by v eps; but the
    best letter of x has c >= p/z, so that p/z 2^-v is at most 2^-v max c, and max c is off by n eps at most.
    """
    return relative(problem) * (2 + 2 * (problem.p @ jnp.abs(_log2(problem.p, z))) + jnp.abs(log_max))


def free_energy(p: Array, z: Array) -> Array:
    """-Σ p log z, in bits."""
    return -(p @ _log2(p, z))


def _or(x: Array, instead: Array | float) -> Array:
    return jnp.where(jnp.isnan(x), instead, x)


def _log2(p: Array, z: Array) -> Array:
    return jnp.where(p > 0, jnp.log2(z), 0.0)
