"""The interior point until a distortion or a rate is met: its slope moves, or, where that fails, slopes are tried.

F(s) = min_q -Σ p log z is concave with derivative D(s), so a bracket of slopes is a bracket of distortions. Secants in
log s make it small, chords of R(D) find the slope of a straight piece at once, halving is the safeguard. notation: see
`problem`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import cho_solve

from rdtheory.limits import _cholesky
from rdtheory.limits.discrete import certificate
from rdtheory.limits.discrete.arithmetic import LN2, times
from rdtheory.limits.discrete.kernels import Columns, Stored, Table
from rdtheory.limits.discrete.matched_slope import RATE, SLOPE, Aim
from rdtheory.limits.discrete.problem import Problem
from rdtheory.limits.discrete.solvers import interior_point
from rdtheory.limits.discrete.solvers.interior_point import Slope
from rdtheory.limits.discrete.solvers.mirror import Half

TRIES = 100  # slopes tried in one search
NUDGE = 1e-6  # relative; R(D) is straight where slopes this far apart have different distortions
STEEP = 1e2  # ratio of relative changes, of distortion to slope, from which on that looks straight
PROBE = 0.01  # of the usual accuracy, there
NEAR = 1e-4  # what a letter's c may be below one if it comes into use at a slope as close as that
GENTLE = 10.0  # ratio of relative changes, of distortion to slope, up to which D(s) is called smooth
ROOM = 1.5  # times the least distortion of a few letters
RIDGE = 1e-12  # beside a diagonal of ones: what is singular shows, and rounding does not


class End(NamedTuple):
    """One side of a bracket of slopes."""

    s: Array
    spent: Array
    rate: Array
    q: Array


class Search(NamedTuple):
    s: Array
    q: Array
    low: End  # slope too small
    high: End
    last: tuple[Array, Array]  # log of the slope tried before, and by how much it was off
    hit: End  # what meets the constraint
    found: Array
    probed: Array  # excess distortions just below and just above the slope found
    smooth: Array  # whether the optimum there is the only one, for certain, so that nothing is to be probed
    cold: Array  # whether to start from the uniform q, for from the last one it failed
    tries: Array
    steps: Array
    free: Array  # whether the slope is found together with q: at first, where the constraint tells it


def search(
    problem: Problem,
    aim: Aim,
    excess: Stored | Columns | Half,
    p: Array,
    q: Array,
    s: Array,
    tol: Array,
    inner: Array,
    budget: Array,
    probe: bool,
    cold: Array,
) -> Search:
    """What meets the constraint on some letters, and the distortions just beside its slope if `probe` asks for them.

    `p` is the source of a problem with that excess distortion. Unless `cold`, q is worth starting from.
    """
    live, (kind, target, fixed, _, least, _) = q > 0, aim
    allowed = _within_reach(problem, excess, p, live, certificate.allowance(problem, target))
    accuracy = jnp.maximum(0.02 * tol, 0.1 * inner)

    def too_small(spent: Array, rate: Array) -> Array:
        """How far the slope is, in log s, were D ∝ 1/s."""
        log_off = jnp.log(jnp.maximum(spent, 1e-300) / allowed)
        return jnp.where(kind == RATE, 2 * LN2 * (target - rate), log_off)

    def missed(s: Array, spent: Array, rate: Array) -> Array:
        """How far from the constraint, in bits."""
        # R falls by at most s times an excess, and what is missing by no more than it takes to make up for it.
        missing = jnp.where(spent > allowed, (1 - allowed / spent) * problem.most, 0.0)
        bits = jnp.maximum(jnp.abs(times(s, spent - allowed)), missing)
        return jnp.where(kind == RATE, jnp.abs(target - rate), bits)

    def short(s: Array, spent: Array, rate: Array) -> Array:
        """How far in excess distortion, were log D linear in s."""
        return jnp.where(kind == RATE, (rate - target) / s, -spent * too_small(spent, rate))

    def body(state: Search) -> Search:
        s = state.s
        kernel = excess.at(s)
        # From the boundary an interior point goes nowhere.
        spread = jnp.where(state.cold, 1.0, 0.1) * live / jnp.sum(live) + jnp.where(state.cold, 0.0, 0.9) * state.q
        # A probe is exact enough where what is left of its gap is far below s · NUDGE · D, by which two ends differ.
        accurate = jnp.where(state.found, PROBE * inner, inner)
        slope = None
        if not (isinstance(excess, Columns) or _is_slope(kind)):
            slope = Slope(excess.at, s, missed, short, jnp.asarray(kind != SLOPE), state.free)
        q, gap, steps, moved = interior_point.minimize(kernel, p, spread, accurate, budget - state.steps, slope)
        if slope:
            s, kernel = moved, excess.at(moved)
        z, costs = kernel.sums(q)
        spent = (p / z) @ costs
        rate = certificate.free_energy(p, z) - times(s, spent)
        here = End(s, spent, rate, q)
        if _is_slope(kind):
            following, low, high, last, found, hit = s, state.low, state.high, state.last, True, here
        else:
            log_off, bits = too_small(spent, rate), missed(s, spent, rate)
            low = jax.tree.map(lambda a, b: jnp.where(log_off > 0, a, b), here, state.low)
            high = jax.tree.map(lambda a, b: jnp.where(log_off > 0, b, a), here, state.high)
            following = _next_slope(state, low, high, aim, jnp.log(s), log_off)
            stuck = jnp.where(log_off > 0, s == jnp.inf, s <= least)
            narrow = (high.s - low.s <= 1e-12 * high.s) & (high.s < jnp.inf)
            # A slope that is given is found at once, even if it is NaN: an invalid item must not hold up its batch.
            exact = (bits <= accuracy) | stuck | ~jnp.isnan(fixed) | (kind == SLOPE)
            found = exact | narrow | (state.tries >= TRIES)
            mixed = _mix(low, high, kind, target, allowed)
            hit = jax.tree.map(lambda a, b: jnp.where(exact | ~jnp.isfinite(mixed.s), a, b), here, mixed)
            last = (jnp.log(s), log_off)
        below = state.found & (s < state.hit.s)
        above = state.found & (s > state.hit.s)
        probed = jnp.where(jnp.stack([below, above]), spent, state.probed)
        hit = jax.tree.map(lambda a, b: jnp.where(state.found, a, b), state.hit, hit)
        smooth = state.smooth
        if probe:
            assert isinstance(kernel, Table)  # of all letters together
            table = kernel
            smooth = lax.cond(state.found, lambda: state.smooth, lambda: _is_smooth(table, p, here, z, costs))
        around = hit.s * jnp.where(below | above, 1 + NUDGE, 1 - NUDGE)
        steps += state.steps
        following = Search(
            s=jnp.where(state.found | found, around, following),
            q=jnp.where(state.found, state.q, q),
            low=low, high=high, last=last, hit=hit, found=state.found | found, probed=probed, smooth=smooth,
            cold=jnp.asarray(False), tries=state.tries + 1, steps=steps, free=jnp.asarray(False),
        )  # fmt: skip
        again = (~state.cold | state.free) & (gap > accurate)
        once_more = state._replace(s=s, hit=hit, cold=jnp.asarray(True), free=jnp.asarray(False), steps=steps)
        return jax.tree.map(lambda a, b: jnp.where(again, a, b), once_more, following)

    def go_on(state: Search) -> Array:
        # A point that is no number has no neighbors: an invalid item must not hold up its batch.
        inside = (state.hit.s > 0) & (state.hit.s < jnp.inf) & ~jnp.isnan(state.hit.spent)
        unprobed = inside & jnp.isnan(state.probed[1]) & ~state.smooth if probe else False
        # What was found at a given slope is well inside a straight piece, if there is one.
        gentle = state.probed[0] - state.hit.spent <= STEEP * NUDGE * state.probed[0]
        unprobed &= ~((kind == SLOPE) & gentle)
        return (~state.found | unprobed) & (state.steps < budget)

    none = jnp.full_like(s, jnp.nan)
    low = End(jnp.zeros_like(s), none, none, q)
    high = End(jnp.full_like(s, jnp.inf), none, none, q)
    count = jnp.zeros((), int)
    nowhere, unprobed, no = End(s, none, none, q), jnp.full(2, jnp.nan), jnp.asarray(False)
    free = (kind != SLOPE) & jnp.isnan(fixed)
    state = Search(s, q, low, high, (none, none), nowhere, no, unprobed, no, cold, count, count, free)
    return lax.while_loop(go_on, body, state)


def _within_reach(problem: Problem, excess: Stored | Columns | Half, p: Array, live: Array, allowed: Array) -> Array:
    """What is allowed, or, where no channel to a few letters gets there, what a moderate slope gets to."""
    if not isinstance(excess, Stored) or len(live) == len(problem.usable):
        return allowed
    nearest = jnp.min(jnp.where(live[None, :], excess.excess, jnp.inf), axis=1)
    least = p @ jnp.where(jnp.isfinite(nearest), nearest, 0.0)
    return jnp.where(allowed < least, ROOM * least, allowed)


def _is_slope(kind: int | Array) -> bool:
    """Whether a slope is asked for, and that is known when the program is made."""
    return isinstance(kind, int) and kind == SLOPE


def _is_smooth(kernel: Table, p: Array, here: End, z: Array, costs: Array) -> Array:
    """Whether D(s) has a moderate derivative, even if every letter whose c is near one counts as in use.

    On those letters c(q, s) stays at one: H dq = b ds, with H = Aᵀ diag(p/z²) A = -∂c/∂q and b = ∂c/∂s, and the part of
    dD/ds that is due to q is -bᵀ H⁻¹ b / ln 2. On a straight piece H is singular and b is not in its range.
    """
    weights = p / z
    c = kernel.transposed(weights)
    value, letters = lax.top_k(c, min(kernel.values.shape))
    near = value > 1 - NEAR
    columns = jnp.where(near[None, :], kernel.values[:, letters], 0.0)
    spent = jnp.where(near[None, :], kernel.costs[:, letters], 0.0)
    b = -LN2 * (weights @ (spent - columns * (costs / z)[:, None]))
    scaled = jnp.sqrt(weights / z)[:, None] * columns
    norm = jnp.where(near, jnp.linalg.norm(scaled, axis=0), 1.0)
    scaled, b = scaled / norm[None, :], b / norm
    matrix = scaled.T @ scaled + jnp.diag(jnp.where(near, RIDGE, 1.0))
    response = b @ cho_solve((_cholesky.factor(matrix, kernel.threads), True), b) / LN2
    return (jnp.sum(c > 1 - NEAR) <= len(p)) & (times(here.s, response) <= GENTLE * here.spent)


def _next_slope(state: Search, low: End, high: End, aim: Aim, log_s: Array, off: Array) -> Array:
    known = (low.s > 0) & (high.s < jnp.inf)
    incline = (off - state.last[1]) / (log_s - state.last[0])
    incline = jnp.where(incline < -1e-3, incline, -1.0)  # D ∝ 1/s until two points tell more
    step = jnp.clip(-off / incline, -5.0, 5.0)
    # A little too far while one end is unknown, and further each time, so that it becomes known.
    least = jnp.where(state.tries < 2, 0.0, jnp.minimum(0.4 * 1.3**state.tries, 50.0))
    secant = jnp.exp(log_s + jnp.where(known, step, jnp.sign(step) * jnp.maximum(1.1 * jnp.abs(step), least)))
    chord = (high.rate - low.rate) / (low.spent - high.spent)
    middle = jnp.sqrt(low.s) * jnp.sqrt(jnp.minimum(high.s, 1e300))
    slow = known & ~(jnp.abs(off) < 0.3 * jnp.abs(state.last[1]))
    proposal = jnp.where(slow, jnp.where(state.tries % 2 == 0, chord, middle), secant)
    inside = (proposal > low.s) & (proposal < high.s)
    inside_chord = known & (chord > low.s) & (chord < high.s)
    fallback = jnp.where(inside_chord, chord, jnp.where(known, middle, jnp.exp(log_s + jnp.sign(off) * (1 + least))))
    following = jnp.maximum(jnp.where(inside, proposal, fallback), aim.least)
    # At the slope that acts like infinity first, so that a bracket ends there.
    beyond = jnp.where(jnp.exp(log_s) >= 0.99 * aim.largest, jnp.inf, aim.largest)
    return jnp.where(following < aim.largest, following, beyond)


def _mix(low: End, high: End, kind: int | Array, target: Array, allowed: Array) -> End:
    """Both ends of a bracket time-shared so that the constraint is met: on a straight piece of R(D), its optimum."""
    by_rate, by_distortion = (target, low.rate, high.rate), (allowed, low.spent, high.spent)
    wanted, at_low, at_high = (jnp.where(kind == RATE, a, b) for a, b in zip(by_rate, by_distortion, strict=True))
    share = jnp.clip((wanted - at_high) / (at_low - at_high), 0.0, 1.0)
    slope = (high.rate - low.rate) / (low.spent - high.spent)
    slope = jnp.where((slope >= low.s) & (slope <= high.s), slope, jnp.sqrt(low.s) * jnp.sqrt(high.s))
    blend = [share * a + (1 - share) * b for a, b in zip(low[1:], high[1:], strict=True)]
    return End(jnp.where(jnp.isfinite(share), slope, jnp.nan), *blend)
