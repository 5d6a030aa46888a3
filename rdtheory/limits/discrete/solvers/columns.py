"""Column generation: the interior point on the few reproduction letters that matter, priced against all of them.

R(D) has a sparse optimum. Each round solves the problem on a view of `size` letters, at a slope or by a search for
the slope that meets a distortion or a rate, then evaluates c for every letter; letters with c > 1 come in, none goes.
With `size` = m the view is the whole problem. notation: see `problem`.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rdtheory import _compile
from rdtheory.limits.discrete import matched_slope
from rdtheory.limits.discrete.arithmetic import LN2, scaled_kernel
from rdtheory.limits.discrete.certificate import Point
from rdtheory.limits.discrete.kernels import Distortion
from rdtheory.limits.discrete.matched_slope import SLOPE, Aim
from rdtheory.limits.discrete.problem import Problem, View, make
from rdtheory.limits.discrete.solvers import search
from rdtheory.limits.discrete.solvers.blahut_arimoto import COLUMN_GENERATION, INTERIOR_POINT, result_of
from rdtheory.limits.discrete.solvers.mirror import Half, fold, unfold
from rdtheory.limits.discrete.solvers.search import NUDGE
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
    aim: Aim


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
    threads: tuple[()] | None = None,
) -> RateDistortion:
    """The point of R(D) at a slope, a distortion or a rate: one compilation for all three, or a smaller for slopes."""
    prepared = prepare(p, d, target, kind=kind, store=False, threads=threads)
    return improve(prepared, tol, max_steps, size=size, mirrored=mirrored, slopes_only=slopes_only)


def prepare(
    p: Array,
    d: Distortion,
    target: Array,
    *,
    kind: int | Array,
    store: bool = True,
    threads: tuple[()] | None = None,
) -> Prepared:
    problem, aim = _prepare(p, d, target, threads, kind=kind, stored=store and kind == SLOPE and d.storable)
    return Prepared(problem._replace(p=p, d=d), aim)


@partial(_compile.jit, static_argnames="stored")
def _prepare(
    p: Array, d: Distortion, target: Array, threads: tuple[()] | None, *, kind: int | Array, stored: bool
) -> Prepared:
    problem = make(p, d, threads)
    aim = matched_slope.aim(problem, kind, target)
    kernel = scaled_kernel(d.whole(problem).excess, aim.fixed) if stored else None
    # Handed through a compiled function the matrix would be copied: `prepare` puts it back.
    return Prepared(problem._replace(p=None, d=None, kernel=kernel), aim)  # ty: ignore[invalid-argument-type]


@partial(_compile.jit, static_argnames=("size", "mirrored", "slopes_only"))
def improve(
    prepared: Prepared,
    tol: Array,
    max_steps: Array,
    guess: Array | None = None,
    *,
    size: int,
    mirrored: bool = False,
    slopes_only: bool = False,
) -> RateDistortion:
    """The same on `size` letters at a time. `guess` is a pmf to take the first ones from.

    Straight pieces are looked for only without one, on all letters: that costs as much as finding the point, twice.
    With `mirrored` the problem reads the same backwards, which all letters at once make use of.
    """
    problem, aim = prepared
    aim = aim._replace(kind=SLOPE) if slopes_only else aim
    p, fixed, m = problem.p, aim.fixed, len(problem.usable)
    size = min(size, m)
    searched = partial(search.search, problem, aim)

    s = jnp.where(jnp.isnan(fixed), aim.first, fixed)
    letters, mass = _first_letters(problem, size, guess, s)
    q = jnp.where((fixed == 0) & jnp.isfinite(problem.span), letters == problem.best, mass)
    q = q / jnp.sum(q)

    if size == m:
        excess, cold = problem.d.whole(problem), guess is None
        if mirrored:
            found = searched(Half(excess), fold(p), fold(q), s, tol, tol / 4, max_steps, cold, jnp.asarray(cold))
            q = unfold(found.hit.q)
        else:
            found = searched(excess, p, q, s, tol, tol / 4, max_steps, cold, jnp.asarray(cold))
            q = found.hit.q
        point = matched_slope.point(problem, aim, View(excess, letters), q, found.hit.s, tol)
        steps, method = found.steps, INTERIOR_POINT
        # A probe that did not come to its end tells nothing.
        probed = jnp.where((steps < max_steps) & (point.gap <= tol), found.probed, jnp.nan)
    else:

        def body(state: _Round) -> _Round:
            excess, budget = problem.d.view(problem, state.letters), max_steps - state.steps
            cold = (state.rounds == 0) & (guess is None)
            found = searched(excess, p, state.q, state.s, tol, state.inner, budget, False, cold)
            steps = state.steps + found.steps
            some = View(excess, state.letters)
            point = matched_slope.point(problem, aim, some, found.hit.q, found.hit.s, tol)
            better = point.gap < state.best.gap
            best, best_letters = jax.tree.map(
                lambda a, b: jnp.where(better, a, b), (point, state.letters), (state.best, state.best_letters)
            )
            letters, q, grew, full = _exchange(problem, some, point, tol)
            inner = jnp.clip(0.05 * point.gap, tol / 8, state.inner)
            exhausted = full | (~grew & (state.inner <= tol / 4))
            over = (steps >= max_steps) | (best.gap <= tol) | exhausted
            return _Round(letters, q, point.s, best, best_letters, inner, over, state.rounds + 1, steps)

        unknown, count = jnp.asarray(jnp.inf, p.dtype), jnp.zeros((), int)
        nothing = Point(q, s, jnp.ones(m, p.dtype), unknown, unknown, unknown)
        rough = jnp.maximum(tol / 8, 1e-5 if guess is not None and problem.d.drops else 1e-3)
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
    return at_its_slope(result, aim)


@partial(_compile.jit, static_argnames="size")
def certified(
    prepared: Prepared, tol: Array, letters: Array, guess: Array, slope: Array, *, size: int
) -> RateDistortion:
    """The certificate of a pmf on some letters found elsewhere, about right, in use on `size` of them at most."""
    problem, aim = prepared
    mass, used = lax.top_k(guess, size)
    letters = letters[used]
    s = jnp.where(jnp.isnan(aim.fixed), slope * problem.unit, aim.fixed)
    some = View(problem.d.once(problem, letters), letters)
    point = matched_slope.point(problem, aim, some, mass / jnp.sum(mass), s, tol)
    point = point._replace(q=jnp.zeros(len(problem.usable)).at[letters].add(point.q))
    return at_its_slope(result_of(problem, point, tol, jnp.zeros((), int), COLUMN_GENERATION), aim)


def at_its_slope(result: RateDistortion, aim: Aim) -> RateDistortion:
    """To the last bit, where a slope was asked for."""
    return result._replace(slope=jnp.where(aim.kind == SLOPE, aim.target, result.slope))


def _first_letters(problem: Problem, size: int, guess: Array | None, s: Array) -> tuple[Array, Array]:
    """The slots and their masses, zero for free ones: all letters, those in use in `guess`, or evenly spaced ones.

    The best single letter is among them.
    """
    m = len(problem.usable)
    if size >= m:
        mass = 1 / m if guess is None else guess + 1e-3 / m
        return jnp.arange(m), jnp.where(problem.usable, mass, 0.0)
    if guess is None:
        letters, mass = problem.d.first(s / problem.unit, size)
        letters = letters * jnp.sum(problem.usable) // m  # not those that a problem is filled up with, the last ones
    else:
        mass, letters = lax.top_k(guess, size)
        letters, mass = letters.astype(int), jnp.where(mass > DROPPED, mass, 0.0) if problem.d.drops else mass
    there = jnp.any((letters == problem.best) & (mass > 0))
    letters = letters.at[-1].set(jnp.where(there, letters[-1], problem.best))
    return letters, jnp.where(problem.usable[letters], mass, 0.0).at[-1].max(1e-3 / size)


def _exchange(problem: Problem, view: View, point: Point, tol: Array) -> tuple[Array, Array, Array, Array]:
    """Of each stretch or tile of the alphabet the letter of largest c, into the free slots.

    None is dropped: one of hardly any mass may hold down c where the source has hardly any, it would come back, and the
    rounds go in circles. Only on planes those go that have no mass and no price near one.
    """
    size = len(point.q)
    if problem.d.drops:
        idle = (point.q < DROPPED) & (point.c[view.letters] < 1 - 1e-4)
        point = point._replace(q=jnp.where(idle, 0.0, point.q))
    candidates, level = problem.d.peaks(point.c, size // 4)
    present = jnp.any((candidates[:, None] == view.letters[None, :]) & (point.q > 0)[None, :], axis=1)
    wanted, worth = (level > 1 + LN2 * tol / 16) & ~present, level
    if problem.d.drops:
        # What they cost a lower bound that is mended; all that together cost hardly anything stay out.
        nearby, _ = problem.d.price(problem, point.s / 8, problem.p)
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
