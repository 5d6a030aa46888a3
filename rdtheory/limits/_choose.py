"""Which algorithm for which problem: one after another until the gap is met, each from where the last one ended."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jax.typing import ArrayLike

from rdtheory import _checks, _compile
from rdtheory._compile import is_traced
from rdtheory.distortion import Grid, Samples
from rdtheory.limits import _axes, _blahut_arimoto, _columns, _mirror, _padding, _rows, _structured
from rdtheory.limits._axes import Squares
from rdtheory.limits._columns import Prepared
from rdtheory.limits._matched_slope import SLOPE
from rdtheory.limits._padding import Padded
from rdtheory.limits._structured import Distortion
from rdtheory.limits._threads import with_one_thread
from rdtheory.results import RateDistortion

DIRECT = 2**21  # n m min(n, m) up to which the interior point takes all letters at once
MIRRORED = 2**27  # the same if the problem reads the same backwards
SIZES = (64, 192, 384, 1024)  # letters that column generation works with
TOGETHER = 2**10  # entries up to which all slopes of a curve are solved at once, step by step
PLANE = (512, 1024, 1536, 2048)  # the same on a grid of several axes
DIRECT_PLANE = 2**10
DENSE = 2**25  # entries of a matrix that is still factored whole if its support turns out large
COARSE = (2**13, 2**15)  # source letters of the problems solved before one without a matrix
NEAR = 1.5  # ratio of slopes up to which one point's letters are tried at the next
LIGHT = 1e-7  # probability of letters that are not tried there, nor where a search goes on on more letters
VIEW = 2**28  # entries of the columns that column generation works with


def point(
    p: Array,
    d: Distortion,
    target: Array,
    tol: ArrayLike,
    max_steps: ArrayLike,
    guess: Array | None = None,
    *,
    kind: int,
) -> RateDistortion:
    """R(D) at a slope, a distortion or a rate. `guess` is a pmf that may be about right, if the problem is large."""
    if isinstance(d, Grid | Samples):
        return _never_stored(p, d, target, jnp.asarray(tol), jnp.asarray(max_steps), kind)
    mirrored = d.size <= _padding.PADDED and not is_traced(target, tol, max_steps)
    padded = _padding.pad(p, d, mirrored=mirrored)
    if not _is_small(padded):
        found = _large(padded, target, jnp.asarray(tol), jnp.asarray(max_steps), guess, kind)
        return _padding.unpad(found, padded, d.shape[1])
    return _padding.unpad(_whole(padded, target, tol, max_steps, kind), padded, d.shape[1])


def _never_stored(
    p: Array, d: Grid | Samples, target: Array, tol: Array, max_steps: Array, kind: int
) -> RateDistortion:
    d = _axes.known(d) if isinstance(d, Grid) else d

    def solve() -> RateDistortion:
        if isinstance(d, Squares):
            return _grown(_columns.prepare(p, d, target, kind=kind), target, tol, max_steps, kind)
        return _coarse_first(p, d, target, tol, max_steps, kind)

    return with_one_thread(solve, p, d, target)


def _large(
    padded: Padded, target: Array, tol: Array, max_steps: Array, guess: Array | None, kind: int
) -> RateDistortion:
    p, d, _ = padded
    m = d.shape[1]
    guess = None if guess is None else _padding.pad_pmf(guess, padded)

    def solve() -> RateDistortion:
        fewer = _rows.fewer(p, d)
        if fewer is None:
            return _grown(_columns.prepare(p, d, target, kind=kind), target, tol, max_steps, kind, guess)
        # Rows are few, so columns need not be: a solution on 64 letters that fails is a poor place to go on from.
        ends = (SIZES[1] if guess is None else 0, m // 4)
        found = _grown(_columns.prepare(*fewer, target, kind=kind), target, tol / 2, max_steps, kind, guess, ends)
        return _from_there(p, d, target, tol, max_steps, kind, found, found.reproduction_pmf)

    return with_one_thread(solve, p, d, target)


def directly(p: Array, d: Array, slope: Array, tol: ArrayLike, max_steps: ArrayLike) -> RateDistortion:
    """R(D) at a slope by the interior point on all letters, whatever the size."""
    padded, kind = _padding.pad(p, d, mirrored=not is_traced(slope, tol, max_steps)), SLOPE
    return _padding.unpad(_whole(padded, slope, tol, max_steps, kind), padded, d.shape[1])


def _whole(padded: Padded, target: Array, tol: ArrayLike, max_steps: ArrayLike, kind: int) -> RateDistortion:
    p, d, mirrored = padded
    solve = partial(_columns.solve, p, d, target, tol, kind=kind, size=d.shape[1])
    found = with_one_thread(lambda: solve(max_steps, mirrored=mirrored), p, d, target)
    if mirrored and _is_unfinished(found, max_steps):
        found = _better(found, with_one_thread(lambda: solve(max_steps - found.steps), p, d, target))
    return found


def _is_unfinished(half: RateDistortion, max_steps: ArrayLike) -> bool:
    """Whether half a problem did not do: rounding may break ties in a row otherwise than in its image."""
    return not bool(half.converged) and bool(half.steps < max_steps)


def curve(p: Array, d: Distortion, slopes: Array, tol: ArrayLike, max_steps: ArrayLike) -> RateDistortion:
    """R(D) at many slopes."""
    if not isinstance(d, Grid | Samples):
        mirrored = d.size <= _padding.PADDED and not is_traced(slopes, tol, max_steps)
        padded = _padding.pad(p, d, mirrored=mirrored)
        if _is_small(padded) or _sizes(*d.shape) == [d.shape[1]]:
            as_they_are = is_traced(p, d, slopes, tol, max_steps) or any(map(_checks.is_spread, (p, d, slopes)))
            many = slopes if as_they_are else _padding.pad_last(slopes)

            def solve() -> RateDistortion:
                return _small_curve(padded.p, padded.d, many, len(slopes), tol, max_steps, mirrored=padded.mirrored)

            points = _padding.unpad(with_one_thread(solve, p, d, slopes), padded, d.shape[1], len(slopes))
            return _completed(points, p, d, tol, max_steps) if padded.mirrored else points
    if is_traced(p, d, slopes, tol, max_steps):
        return lax.map(lambda s: point(p, d, s, tol, max_steps, kind=SLOPE), slopes)
    points: dict[int, RateDistortion] = {}
    guess = last = None
    for i in np.argsort(np.asarray(slopes)):  # each may begin with the letters of the one before
        guess = guess if last is not None and slopes[i] < NEAR * last else None
        points[i] = point(p, d, slopes[i], tol, max_steps, guess, kind=SLOPE)
        q, last = points[i].reproduction_pmf, slopes[i]
        guess = jnp.where(q > LIGHT, q, 0.0)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(points[i] for i in range(len(slopes))))


def _completed(points: RateDistortion, p: Array, d: Array, tol: ArrayLike, max_steps: ArrayLike) -> RateDistortion:
    """With those solved anew for which half the problem did not do."""
    for i in np.flatnonzero(~np.asarray(points.converged) & (np.asarray(points.steps) < max_steps)):
        one = point(p, d, points.slope[i], tol, max_steps, kind=SLOPE)
        points = jax.tree.map(lambda all_, new, i=i: all_.at[i].set(new), points, one)
    return points


@partial(_compile.jit, static_argnames="mirrored")
def _small_curve(
    p: Array, d: Array, slopes: Array, count: ArrayLike, tol: Array, max_steps: Array, *, mirrored: bool
) -> RateDistortion:
    """At the first `count` slopes; what is returned for the others means nothing."""

    def at(s: Array) -> RateDistortion:
        solve = partial(_columns.solve, kind=SLOPE, size=d.shape[1], mirrored=mirrored, slopes_only=True)
        return solve(p, d, s, tol, max_steps)

    if d.size <= TOGETHER:
        return jax.vmap(at)(slopes)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(at, slopes[0]))
    numbered = jnp.arange(len(slopes)), slopes
    return lax.map(lambda item: lax.cond(item[0] < count, at, lambda _: nothing, item[1]), numbered)


def _coarse_first(
    p: Array,
    d: Grid | Samples,
    target: Array,
    tol: Array,
    max_steps: Array,
    kind: int,
    levels: tuple[int, ...] = COARSE,
) -> RateDistortion:
    """With letters from a smaller problem like this one, whose reproduction pmf may do as it is."""
    smaller = _structured.coarser(p, d, levels[0])
    if smaller is None:
        return _grown(_columns.prepare(p, d, target, kind=kind), target, tol, max_steps, kind)
    coarse_p, coarse_d, letters = smaller
    found = _grown(_columns.prepare(coarse_p, coarse_d, target, kind=kind), target, tol / 2, max_steps, kind)
    guess = jnp.zeros(_structured.shape(d)[1]).at[letters].add(found.reproduction_pmf)
    if len(levels) == 1:
        return _from_there(p, d, target, tol, max_steps, kind, found, guess)
    result = _certified(_columns.prepare(p, d, target, kind=kind), target, tol, kind, found, guess)

    def finer() -> RateDistortion:
        left = jnp.maximum(max_steps - found.steps, 1)
        return _better(result, _coarse_first(p, d, target, tol, left, kind, levels[1:]))

    return _unless_converged(result, finer)


def _certified(
    prepared: Prepared, target: Array, tol: Array, kind: int, found: RateDistortion, guess: Array
) -> RateDistortion:
    """The certificate, in this problem, of what was found in one like it."""
    size = SIZES[-1]
    if not isinstance(guess, Tracer):
        size = min(32 * -(-int(jnp.sum(guess > 0)) // 32), size)
    size = min(size, len(guess))
    result = _columns.certified(prepared, target, tol, guess, found.slope, kind=kind, size=size)
    return result._replace(steps=found.steps)


def _from_there(
    p: Array,
    d: Distortion,
    target: Array,
    tol: Array,
    max_steps: Array,
    kind: int,
    found: RateDistortion,
    guess: Array,
) -> RateDistortion:
    """The certificate of what was found in a problem like this one; if that will not do, the search goes on."""
    prepared = _columns.prepare(p, d, target, kind=kind)
    result = _certified(prepared, target, tol, kind, found, guess)

    def go_on() -> RateDistortion:
        left = jnp.maximum(max_steps - found.steps, 1)
        return _better(result, _grown(prepared, target, tol, left, kind, jnp.where(guess > LIGHT, guess, 0.0)))

    if isinstance(d, Samples) and not isinstance(guess, Tracer) and len(p) * int(jnp.sum(guess > 0)) > VIEW // 2:
        return result  # what is left of the gap is there to stay: the columns would not fit
    return _unless_converged(result, go_on)


def _grown(
    prepared: Prepared,
    target: Array,
    tol: Array,
    max_steps: Array,
    kind: int,
    guess: Array | None = None,
    ends: tuple[int, int] | None = None,
) -> RateDistortion:
    """On ever more letters, between `ends`."""
    p, d = prepared.problem.p, prepared.problem.d
    n, m = _structured.shape(d)
    sizes = _sizes(n, m)
    if isinstance(d, Squares) and n > DIRECT_PLANE:
        sizes = [size for size in PLANE if size >= _teeth(d, target, kind)] or list(PLANE[-1:])
    if guess is not None and not isinstance(guess, Tracer):
        needed = 5 * int(jnp.sum(guess > 0)) // 4
        sizes = [size for size in sizes if size > needed] or sizes[-1:]
    first, *others = [size for size in sizes if ends is None or ends[0] <= size <= ends[1]] or sizes[:1]
    result = _columns.improve(prepared, target, tol, max_steps, guess, kind=kind, size=first)
    for size in others:

        def again(before: RateDistortion = result, size: int = size) -> RateDistortion:
            left, guess = jnp.maximum(max_steps - before.steps, 1), before.reproduction_pmf
            improve = partial(_columns.improve, prepared, target, tol, kind=kind, size=size)
            even = n % 2 == m % 2 == 0 and not isinstance(d, Grid | Samples)
            if size == m and even and not is_traced(target, tol, max_steps) and _mirror.is_mirrored(p, d):
                before = _better(before, improve(left, guess, mirrored=True))
                if not _is_unfinished(before, max_steps):
                    return before
                left = max_steps - before.steps
            return _better(before, improve(left, guess))

        result = _unless_converged(result, again)
    if kind == SLOPE and ends is None and n * m > DENSE and not isinstance(d, Grid | Samples):

        def accelerated(before: RateDistortion = result) -> RateDistortion:
            left = jnp.maximum(max_steps - before.steps, 1)
            return _better(before, _blahut_arimoto.accelerated_at_slope(p, d, target, tol, left))

        result = _unless_converged(result, accelerated)
    return result


def _teeth(d: Squares, target: Array, kind: int) -> int:
    """Letters that a first comb has, and half as many again, at a slope that is known."""
    if kind != SLOPE or isinstance(target, Tracer):
        return 0
    return 3 * int(jnp.sum(_axes.comb(d, target, PLANE[-1])[1])) // 2


def _is_small(padded: Padded) -> bool:
    """Whether the interior point takes all letters at once."""
    n, m = padded.d.shape
    return _sizes(n, m) == [m] or (padded.mirrored and n * m * min(n, m) <= MIRRORED)


def _sizes(n: int, m: int) -> list[int]:
    """Letters to work with, from the first try to the last; m for all of them at once."""
    if n * m * min(n, m) <= DIRECT:
        return [m]
    # Once the support takes more than a third of the letters, generating them saves nothing.
    sizes = [size for size in SIZES if 5 * size <= 2 * m and n * size <= VIEW]
    return sizes + ([m] if n * m <= DENSE or not sizes else [])


def _unless_converged(result: RateDistortion, otherwise) -> RateDistortion:
    if isinstance(result.converged, Tracer):
        return lax.cond(result.converged, lambda: result, otherwise)
    return result if bool(result.converged) else otherwise()


def _better(before: RateDistortion, after: RateDistortion) -> RateDistortion:
    """The one of smaller gap, with the steps of both."""
    best = jax.tree.map(lambda a, b: jnp.where(after.gap < before.gap, a, b), after, before)
    return best._replace(steps=before.steps + after.steps)
