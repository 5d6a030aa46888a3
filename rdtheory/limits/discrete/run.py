"""Plans carried out: one stage after another until the gap is met. What decides is in `plan`."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jax.typing import ArrayLike

from rdtheory import _compile, _devices, _progress
from rdtheory._compile import is_traced
from rdtheory.distortion import Grid, Samples
from rdtheory.limits._cholesky import ONE_THREAD
from rdtheory.limits._threads import with_one_thread
from rdtheory.limits.discrete import kernels, padding
from rdtheory.limits.discrete.kernels import Cloud, Distortion, Matrix
from rdtheory.limits.discrete.matched_slope import SLOPE
from rdtheory.limits.discrete.plan import SIZES, VIEW, Stage, is_small, make_plan, sizes, whole
from rdtheory.limits.discrete.solvers import blahut_arimoto, columns, mirror, square
from rdtheory.limits.discrete.solvers.columns import Prepared
from rdtheory.results import RateDistortion

THREADED = 2**14  # entries from which on LAPACK's threads are in the way
TOGETHER = 2**10  # entries up to which all slopes of a curve are solved at once, step by step
NEAR = 1.5  # ratio of slopes up to which one point's letters are tried at the next
FAR = 1e-5  # bits; gap from which on the law of a smaller problem tells little about the letters
LIGHT = 1e-7  # probability of letters that are not tried there, nor where a search goes on on more letters


class Task(NamedTuple):
    p: Array
    d: Distortion
    target: Array
    tol: ArrayLike
    max_steps: ArrayLike
    kind: int
    threads: tuple[()] | None  # of LAPACK: see `_cholesky`


def point(
    p: Array,
    distortion: Array | Grid | Samples,
    target: Array,
    tol: ArrayLike,
    max_steps: ArrayLike,
    guess: Array | None = None,
    *,
    kind: int,
) -> RateDistortion:
    """R(D) at a slope, a distortion or a rate. `guess` is a pmf that may be about right, if the problem is large."""
    threads = _threads(p, distortion, target, tol, max_steps)
    if isinstance(distortion, Grid | Samples):
        task = Task(p, kernels.of(distortion), target, tol, max_steps, kind, threads)
        return carry_out(make_plan(task.d, kind, target), task)
    asked = distortion.size <= padding.PADDED and not any(isinstance(x, Tracer) for x in (p, distortion))
    padded = padding.pad(p, distortion, mirrored=asked)
    guess = None if guess is None else padding.pad_pmf(guess, padded)
    task = Task(padded.p, Matrix(padded.d), target, tol, max_steps, kind, threads)
    plan = make_plan(task.d, kind, mirrored=padded.mirrored if asked else None, warm=guess is not None)
    return padding.unpad(carry_out(plan, task, guess), padded, distortion.shape[1])


def directly(p: Array, d: Array, slope: Array, tol: ArrayLike, max_steps: ArrayLike) -> RateDistortion:
    """R(D) at a slope by the interior point on all letters, whatever the size."""
    threads = _threads(p, d, slope, tol, max_steps)
    padded = padding.pad(p, d, mirrored=threads is not None)
    task = Task(padded.p, Matrix(padded.d), slope, tol, max_steps, SLOPE, threads)
    return padding.unpad(carry_out(whole(padded.d.shape[1], padded.mirrored), task), padded, d.shape[1])


def carry_out(plan: list[Stage], task: Task, guess: Array | None = None) -> RateDistortion:
    """What the stages found, the gap met or not."""
    return _guarded(lambda: _found(plan, task, guess), task.d, task)


def _threads(*arguments) -> tuple[()] | None:
    """Of LAPACK: one where a function is called directly, and nobody knows how many under a transformation."""
    return None if is_traced(arguments) else ONE_THREAD


def _guarded(solve: Callable[[], RateDistortion], d: Distortion, arguments: tuple) -> RateDistortion:
    # Of small problems setting the number of threads would take a tenth of the time.
    return solve() if math.prod(d.shape) < THREADED else with_one_thread(solve, arguments)


def _found(plan: Sequence[Stage], task: Task, guess: Array | None) -> RateDistortion:
    m = task.d.shape[1]
    at_once = guess is None and all(stage.method in ("half", "columns") and stage.size >= m for stage in plan)
    prepared = None if at_once else columns.prepare(task.p, task.d, task.target, kind=task.kind, threads=task.threads)
    result, steps = None, task.max_steps
    for i, stage in enumerate(plan):
        over = False if result is None else result.converged | (result.steps >= steps)
        if not isinstance(over, Tracer) and bool(over):
            break
        # Where a smaller problem was there and no help, it may be that most letters are in use.
        helped = result is None or isinstance(result.gap, Tracer) or result.gap < FAR
        attempt = _attempt(stage, plan[i + 1 :], task, prepared, guess)
        fit = stage.method != "half" or stage.known or _is_mirrored(task)
        if attempt is None or fit is False or (stage.method == "square" and helped):
            continue
        with _progress.doing("all letters" if stage.method == "square" else f"{stage.size} letters"):
            if isinstance(over, Tracer) or isinstance(fit, Tracer):
                before = _nothing(attempt, steps) if result is None else result
                result = _unless(over | ~jnp.asarray(fit), before, attempt, steps)
            else:
                result = attempt(steps) if result is None else _better(result, attempt(steps - result.steps))
        # Where half a problem does not do, rounding broke ties, and where a factor of the kernel does not, it has no
        # meaning: their laws are no help.
        if stage.method not in ("half", "square"):
            q = result.reproduction_pmf
            guess = _likely(q) if stage.method == "coarser" else q
    assert result is not None
    return result


def _is_mirrored(task: Task) -> bool | Array:
    mirrored = isinstance(task.d, Matrix) and mirror.is_mirrored(task.p, task.d.entries)
    return mirrored if isinstance(mirrored, Tracer) else bool(mirrored)


def _nothing(attempt: Callable[[ArrayLike], RateDistortion], steps: ArrayLike) -> RateDistortion:
    """What is worse than anything."""
    shapes = jax.eval_shape(attempt, steps)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)._replace(gap=jnp.asarray(jnp.inf))


def _unless(
    over: Array, before: RateDistortion, attempt: Callable[[ArrayLike], RateDistortion], steps: ArrayLike
) -> RateDistortion:
    """What was found, or the better one of that and what is found now, where that is known at the call."""
    # Under `vmap` both are done for a whole batch, of which those that are over must not hold up the others.
    left = jnp.where(over, 0, steps - before.steps)
    return lax.cond(over, lambda: before, lambda: _better(before, attempt(left)))


def _attempt(
    stage: Stage, later: Sequence[Stage], task: Task, prepared: Prepared | None, guess: Array | None
) -> Callable[[ArrayLike], RateDistortion] | None:
    """What a stage does in so many steps; None if it is skipped."""
    p, d, target, tol, _, kind, threads = task
    if stage.method == "accelerated":
        assert isinstance(d, Matrix)
        return partial(blahut_arimoto.accelerated_at_slope, p, d.entries, target, tol)
    if stage.method == "coarser":
        smaller = d.coarser(p, stage.size)
        if smaller is None:
            return None
        assert prepared is not None
        return partial(_from_coarser, stage, task, prepared, smaller, guess)
    if stage.method == "square":
        assert prepared is not None
        return lambda steps: square.solve(prepared, tol, steps, size=stage.size)
    half = stage.method == "half"
    if not half and guess is not None and _are_too_few(stage, later, d, guess):
        return None
    if prepared is None:
        solve = partial(columns.solve, kind=kind, size=stage.size, mirrored=half, threads=threads)
        return lambda steps: solve(p, d, target, tol, steps)
    return lambda steps: columns.improve(prepared, tol, steps, guess, size=stage.size, mirrored=half)


def _are_too_few(stage: Stage, later: Sequence[Stage], d: Distortion, guess: Array) -> bool:
    """Whether the slots of a stage are, or whether more would not fit."""
    if isinstance(guess, Tracer):
        return False
    count = int(_count(guess))
    if isinstance(d, Cloud) and d.shape[0] * count > VIEW // 2:
        return True  # what is left of the gap is there to stay
    return 5 * count // 4 >= stage.size and any(other.method == "columns" for other in later)


def _from_coarser(
    stage: Stage, task: Task, prepared: Prepared, smaller: tuple, guess: Array | None, steps: ArrayLike
) -> RateDistortion:
    """The certificate, in this problem, of what is found in one like it."""
    p, d, letters = smaller
    guess = guess if isinstance(d, Matrix) else None  # which has the same letters
    target, tol = task.target, task.tol
    spread = any(map(_devices.is_spread, jax.tree.leaves((task.p, task.d))))
    if moved := spread and not _devices.is_spread(p):
        target, tol, steps, guess = jax.device_put((target, tol, steps, guess), p.sharding)
    found = _found(stage.inner, task._replace(p=p, d=d, target=target, tol=tol / 2, max_steps=steps), guess)
    if moved:
        found = jax.device_get(found)  # to all of the devices from there
    law, size = found.reproduction_pmf, SIZES[-1]
    if not isinstance(law, Tracer):
        size = min(32 * -(-int(_count(law)) // 32), size)
    result = columns.certified(prepared, task.tol, letters, law, found.slope, size=min(size, len(law)))
    return result._replace(steps=result.steps + found.steps)


def curve(
    p: Array, distortion: Array | Grid | Samples, slopes: Array, tol: ArrayLike, max_steps: ArrayLike
) -> RateDistortion:
    """R(D) at many slopes."""
    threads = _threads(p, distortion, slopes, tol, max_steps)
    if not isinstance(distortion, Grid | Samples):
        asked = distortion.size <= padding.PADDED and threads is not None
        padded = padding.pad(p, distortion, mirrored=asked)
        if is_small(padded.d.shape, padded.mirrored) or sizes(*distortion.shape) == [distortion.shape[1]]:
            as_they_are = threads is None or any(map(_devices.is_spread, (p, distortion, slopes)))
            many = slopes if as_they_are else padding.pad_last(slopes)

            def solve() -> RateDistortion:
                d = Matrix(padded.d)
                return _small_curve(padded.p, d, many, len(slopes), tol, max_steps, threads, mirrored=padded.mirrored)

            points = _guarded(solve, Matrix(padded.d), (p, distortion, slopes))
            points = padding.unpad(points, padded, distortion.shape[1], len(slopes))
            return _completed(points, p, distortion, tol, max_steps) if padded.mirrored else points
    if threads is None:
        return lax.map(lambda s: point(p, distortion, s, tol, max_steps, kind=SLOPE), slopes)
    points: dict[int, RateDistortion] = {}
    guess = last = None
    order = np.argsort(np.asarray(slopes)).tolist()  # each may begin with the letters of the one before
    for i in _progress.each("slope", order):
        guess = guess if last is not None and slopes[i] < NEAR * last else None
        points[i] = point(p, distortion, slopes[i], tol, max_steps, guess, kind=SLOPE)
        q, last = points[i].reproduction_pmf, slopes[i]
        guess = _likely(q)
    return stacked(*(points[i] for i in range(len(slopes))))


def _completed(points: RateDistortion, p: Array, d: Array, tol: ArrayLike, max_steps: ArrayLike) -> RateDistortion:
    """With those solved anew for which half the problem did not do: rounding may break ties in a row otherwise."""
    for i in np.flatnonzero(~np.asarray(points.converged) & (np.asarray(points.steps) < max_steps)):
        one = point(p, d, points.slope[i], tol, max_steps, kind=SLOPE)
        points = jax.tree.map(lambda all_, new, i=i: all_.at[i].set(new), points, one)
    return points


@partial(_compile.jit, static_argnames="mirrored")
def _small_curve(
    p: Array,
    d: Matrix,
    slopes: Array,
    count: ArrayLike,
    tol: Array,
    max_steps: Array,
    threads: tuple[()] | None,
    *,
    mirrored: bool,
) -> RateDistortion:
    """At the first `count` slopes; what is returned for the others means nothing."""
    n, m = d.shape

    def at(s: Array) -> RateDistortion:
        solve = partial(columns.solve, kind=SLOPE, size=m, mirrored=mirrored, slopes_only=True, threads=threads)
        return solve(p, d, s, tol, max_steps)

    if n * m <= TOGETHER:
        return jax.vmap(at)(slopes)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(at, slopes[0]))
    numbered = jnp.arange(len(slopes)), slopes
    return lax.map(lambda item: lax.cond(item[0] < count, at, lambda _: nothing, item[1]), numbered)


def stacked(*points: RateDistortion) -> RateDistortion:
    """Points as one curve: on the host, for on a device each number of points would be a program of its own."""
    leaves = jax.tree.leaves(points)
    if is_traced(leaves) or any(map(_devices.is_spread, leaves)):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)
    curve = jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(points))
    return jax.device_put(curve, _devices.place(points[0].rate))


# Compiled, for each of their operations would be compiled by itself, for each size.


@partial(_compile.jit, brief=True)
def _likely(q: Array) -> Array:
    return jnp.where(q > LIGHT, q, 0.0)


@partial(_compile.jit, brief=True)
def _count(q: Array) -> Array:
    return jnp.sum(q > 0)


@partial(_compile.jit, brief=True)
def _better(before: RateDistortion, after: RateDistortion) -> RateDistortion:
    """The one of smaller gap, with the steps of both."""
    better = (after.gap < before.gap) | jnp.isinf(before.gap)
    best = jax.tree.map(lambda a, b: jnp.where(better, a, b), after, before)
    return best._replace(steps=before.steps + after.steps)
