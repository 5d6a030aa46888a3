"""Column generation: the interior point on the few reproduction letters that matter, priced against all of them.

R(D) has a sparse optimum. Each round solves the problem on a view of `size` letters, at a slope or by a search for
the slope that meets a distortion or a rate, then evaluates c for every letter; letters with c > 1 come in, none goes.
With `size` = m the view is the whole problem. notation: see `_problem`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rdtheory import _checks, _compile
from rdtheory.distortion import Grid, Samples
from rdtheory.limits import _axes, _certificate, _matched_slope, _problem, _slope_search, _structured
from rdtheory.limits._axes import Squares
from rdtheory.limits._blahut_arimoto import COLUMN_GENERATION, INTERIOR_POINT, result_of
from rdtheory.limits._certificate import Point, View
from rdtheory.limits._matched_slope import DISTORTION, RATE, SLOPE
from rdtheory.limits._mirror import Folded, fold, unfold
from rdtheory.limits._problem import LN2, STORED, Problem, scaled_kernel
from rdtheory.limits._slope_search import NUDGE, Search
from rdtheory.limits._structured import Distortion
from rdtheory.results import RateDistortion

ROUNDS = 60
DROPPED = 1e-9  # mass of a letter of a grid below which it is not taken along if c is below one there


class _Round(NamedTuple):
    letters: Array
    q: Array
    s: Array
    best: Point
    best_letters: Array
    inner: Array  # bits to which the next round is solved
    over: Array
    rounds: Array
    steps: Array


class Prepared(NamedTuple):
    """What every view of a problem shares, made once."""

    problem: Problem
    slopes: tuple[Array, Array, Array]  # to begin with, that acts like zero, that acts like infinity
    fixed: Array  # the slope where it is known beforehand, else NaN
    kernel: Array | None  # at that slope, of every letter, where it is worth storing


@partial(_compile.jit, brief=True, static_argnames=("size", "mirrored", "slopes_only"))
def solve(
    p: Array,
    d: Distortion,
    target: Array,
    tol: Array,
    max_steps: Array,
    *,
    kind: int | Array,
    size: int,
    mirrored: bool = False,
    slopes_only: bool = False,
) -> RateDistortion:
    """The point of R(D) at a slope, a distortion or a rate: one compilation for all three, or a smaller for slopes."""
    prepared = prepare(p, d, target, kind=kind, store=False)
    return improve(prepared, target, tol, max_steps, kind=kind, size=size, mirrored=mirrored, slopes_only=slopes_only)


def prepare(p: Array, d: Distortion, target: Array, *, kind: int | Array, store: bool = True) -> Prepared:
    # Writing a large kernel takes longer than computing it: it is not stored, unless it is spread over devices.
    small = not isinstance(d, Grid | Samples) and (d.size <= STORED or _checks.is_spread(d))
    facts = _prepare(p, d, target, kind=kind, stored=store and kind == SLOPE and small)
    return facts._replace(problem=facts.problem._replace(p=p, d=d))


@partial(_compile.jit, static_argnames="stored")
def _prepare(p: Array, d: Distortion, target: Array, *, kind: int | Array, stored: bool) -> Prepared:
    problem = _problem.make(p, d)
    fixed = _fixed_slope(problem, kind, target)
    first, least, largest = (jnp.where(kind == SLOPE, fixed, s) for s in _problem.slope_range(problem))
    kernel = scaled_kernel(_problem.excess(problem), fixed) if stored else None
    # Handed through a compiled function the matrix would be copied: `prepare` puts it back.
    without = problem._replace(p=None, d=None)  # ty: ignore[invalid-argument-type]
    return Prepared(without, (first, least, largest), fixed, kernel)


@partial(_compile.jit, static_argnames=("size", "mirrored", "slopes_only"))
def improve(
    prepared: Prepared,
    target: Array,
    tol: Array,
    max_steps: Array,
    guess: Array | None = None,
    *,
    kind: int | Array,
    size: int,
    mirrored: bool = False,
    slopes_only: bool = False,
) -> RateDistortion:
    """The same on `size` letters at a time. `guess` is a pmf to take the first ones from.

    Straight pieces are looked for only without one, on all letters: that costs as much as finding the point, twice.
    With `mirrored` the problem reads the same backwards, which all letters at once make use of.
    """
    problem, slopes, fixed, _ = prepared
    p, m = problem.p, len(problem.usable)
    size, kind = min(size, m), SLOPE if slopes_only else kind
    certify = _certifier(prepared, kind, target, tol)

    def search(view: View, q: Array, s: Array, inner: Array, budget: Array, probe: bool, cold: Array) -> Search:
        return _slope_search.search(problem, view, q, s, fixed, slopes, kind, target, tol, inner, budget, probe, cold)

    first = slopes[0]
    if isinstance(problem.d, Squares):  # as if the Shannon lower bound held
        axes = len(problem.d.offsets)
        likely = problem.span * 2 ** (-2 * target / axes)
        likely = jnp.where(kind == DISTORTION, _certificate.allowance(problem, target), likely)
        first = axes / (2 * LN2 * likely)  # not used where the slope is given
    s = jnp.where(jnp.isnan(fixed), first, fixed)
    letters, mass = _first_letters(problem, size, guess, s)
    q = jnp.where((fixed == 0) & jnp.isfinite(problem.span), letters == problem.best, mass)
    q = q / jnp.sum(q)

    if size == m:
        view, cold = _certificate.all_letters(problem), guess is None
        if mirrored:
            half = view._replace(excess=Folded(_problem.excess(problem)))
            found = search(half, fold(q), s, tol / 4, max_steps, cold, jnp.asarray(cold))
            q = unfold(found.hit.q)
        else:
            found = search(view, q, s, tol / 4, max_steps, cold, jnp.asarray(cold))
            q = found.hit.q
        point, steps, method = certify(view, q, found.hit.s), found.steps, INTERIOR_POINT
        # A probe that did not come to its end tells nothing.
        probed = jnp.where((steps < max_steps) & (point.gap <= tol), found.probed, jnp.nan)
    else:

        def body(state: _Round) -> _Round:
            view = View(_problem.view(problem, state.letters), state.letters)
            cold = (state.rounds == 0) & (guess is None)
            found = search(view, state.q, state.s, state.inner, max_steps - state.steps, False, cold)
            steps = state.steps + found.steps
            point = certify(view, found.hit.q, found.hit.s)
            better = point.gap < state.best.gap
            best, best_letters = jax.tree.map(
                lambda a, b: jnp.where(better, a, b), (point, state.letters), (state.best, state.best_letters)
            )
            letters, q, grew, full = _exchange(problem, view, point, tol)
            inner = jnp.clip(0.05 * point.gap, tol / 8, state.inner)
            exhausted = full | (~grew & (state.inner <= tol / 4))
            over = (steps >= max_steps) | (best.gap <= tol) | exhausted
            return _Round(letters, q, point.s, best, best_letters, inner, over, state.rounds + 1, steps)

        unknown, count = jnp.asarray(jnp.inf, p.dtype), jnp.zeros((), int)
        nothing = Point(q, s, jnp.ones(m, p.dtype), unknown, unknown, unknown)
        rough = jnp.maximum(tol / 8, 1e-5 if guess is not None and isinstance(problem.d, Squares) else 1e-3)
        state = _Round(letters, q, s, nothing, letters, rough, jnp.asarray(False), count, count)
        state = lax.while_loop(lambda state: ~state.over & (state.rounds < ROUNDS), body, state)
        point = state.best._replace(q=jnp.zeros(m, p.dtype).at[state.best_letters].add(state.best.q))
        probed, steps, method = jnp.full(2, jnp.nan, p.dtype), state.steps, COLUMN_GENERATION

    result = result_of(problem, point, tol, steps, method)
    probed = (problem.least + probed[::-1]) * problem.unit
    # Slopes NUDGE apart have distortions that far apart on a curve; only what is much more is a straight piece.
    wide = probed[1] - probed[0] > 1e3 * NUDGE * (probed[1] - problem.least * problem.unit)
    straight = jnp.stack([jnp.minimum(probed[0], result.distortion), jnp.maximum(probed[1], result.distortion)])
    result = result._replace(segment=jnp.where(wide, straight, result.segment))
    return result._replace(slope=jnp.where(kind == SLOPE, target, result.slope))  # to the last bit


@partial(_compile.jit, static_argnames="size")
def certified(
    prepared: Prepared, target: Array, tol: Array, guess: Array, slope: Array, *, kind: int | Array, size: int
) -> RateDistortion:
    """The certificate of a pmf found elsewhere, about right, in use on `size` letters at most."""
    problem, _, fixed, _ = prepared
    mass, letters = lax.top_k(guess, size)
    s = jnp.where(jnp.isnan(fixed), slope * problem.unit, fixed)
    view = View(_problem.view(problem, letters, stream=True), letters)
    point = _certifier(prepared, kind, target, tol)(view, mass / jnp.sum(mass), s)
    point = point._replace(q=jnp.zeros_like(guess).at[letters].add(point.q))
    result = result_of(problem, point, tol, jnp.zeros((), int), COLUMN_GENERATION)
    return result._replace(slope=jnp.where(kind == SLOPE, target, result.slope))


def _certifier(
    prepared: Prepared, kind: int | Array, target: Array, tol: Array
) -> Callable[[View, Array, Array], Point]:
    problem, slopes, _, kernel = prepared

    def price(s: Array, weights: Array) -> tuple[Array, Array]:
        return _problem.price(problem, s, weights) if kernel is None else (weights @ kernel, jnp.zeros_like(s))

    def certify(view: View, q: Array, s: Array) -> Point:
        return _matched_slope.point(problem, view, q, price, kind, target, (s, *slopes[1:]), tol)

    return certify


def _fixed_slope(problem: Problem, kind: int | Array, target: Array) -> Array:
    """The slope in units of the problem where it is known beforehand, else NaN."""
    allowed = _certificate.allowance(problem, target)
    at_distortion = jnp.where(allowed == 0, jnp.inf, jnp.where(jnp.isinf(allowed), 0.0, jnp.nan))
    at_rate = jnp.where((target == 0) & jnp.isfinite(problem.span), 0.0, jnp.nan)
    return jnp.where(kind == SLOPE, target * problem.unit, jnp.where(kind == RATE, at_rate, at_distortion))


def _first_letters(problem: Problem, size: int, guess: Array | None, s: Array) -> tuple[Array, Array]:
    """The slots and their masses, zero for free ones: all letters, those in use in `guess`, or evenly spaced ones.

    The best single letter is among them.
    """
    m = len(problem.usable)
    if size >= m:
        mass = 1 / m if guess is None else guess + 1e-3 / m
        return jnp.arange(m), jnp.where(problem.usable, mass, 0.0)
    if guess is None:
        even = isinstance(problem.d, Grid)
        letters = _structured.spread_letters(problem.d, size) if even else (jnp.arange(size) * m) // (size // 2) % m
        mass = (jnp.arange(size) < size // 2) / size
        if isinstance(problem.d, Squares):
            letters, live = _axes.comb(problem.d, s / problem.unit, size)
            mass = live / size
    else:
        mass, letters = lax.top_k(guess, size)
        letters = letters.astype(int)
        if isinstance(problem.d, Squares):
            mass = jnp.where(mass > DROPPED, mass, 0.0)
    there = jnp.any((letters == problem.best) & (mass > 0))
    letters = letters.at[-1].set(jnp.where(there, letters[-1], problem.best))
    return letters, jnp.where(problem.usable[letters], mass, 0.0).at[-1].max(1e-3 / size)


def _exchange(problem: Problem, view: View, point: Point, tol: Array) -> tuple[Array, Array, Array, Array]:
    """Of each stretch or tile of the alphabet the letter of largest c, into the free slots.

    None is dropped: one of hardly any mass may hold down c where the source has hardly any, it would come back, and the
    rounds go in circles. Only on planes those go that have no mass and no price near one.
    """
    size = len(point.q)
    if isinstance(problem.d, Squares):
        idle = (point.q < DROPPED) & (point.c[view.letters] < 1 - 1e-4)
        point = point._replace(q=jnp.where(idle, 0.0, point.q))
    candidates, level = _structured.peaks(problem.d, point.c, size // 4)
    present = jnp.any((candidates[:, None] == view.letters[None, :]) & (point.q > 0)[None, :], axis=1)
    wanted, worth = (level > 1 + LN2 * tol / 16) & ~present, level
    if isinstance(problem.d, Squares):
        # What they cost a lower bound that is mended; all that together cost hardly anything stay out.
        nearby, _ = _problem.price(problem, point.s / 8, problem.p)
        worth = jnp.where(wanted, (level - 1) * nearby[candidates], 0.0)
        rising = jnp.argsort(worth)
        idle = jnp.zeros_like(wanted).at[rising].set(jnp.cumsum(worth[rising]) <= LN2 * tol / 16)
        wanted &= ~idle
    order = jnp.argsort(jnp.where(wanted, -worth, jnp.inf))
    slots = jnp.argsort(point.q > 0, stable=True)[: len(level)]  # the free ones first
    use = wanted[order] & (point.q[slots] == 0)
    letters = view.letters.at[slots].set(jnp.where(use, candidates[order], view.letters[slots]))
    q = point.q.at[slots].set(jnp.where(use, 1e-3 / size, point.q[slots]))
    full = jnp.any(wanted[order] & ~use)
    letters, q = lax.sort_key_val(letters, q)  # neighbors beside each other: a banded matrix has a banded factor
    return letters, q / jnp.sum(q), jnp.any(use), full
