"""Which algorithm for which problem: one after another until the gap is met, each from where the last one ended."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer

from rdtheory import _checks
from rdtheory.distortion import Grid, Samples
from rdtheory.limits import _axes, _blahut_arimoto, _columns, _slope_search, _structured
from rdtheory.limits._axes import Squares
from rdtheory.limits._structured import Distortion
from rdtheory.results import RateDistortion

DIRECT = 2**21  # n m min(n, m) up to which the interior point takes all letters at once
SIZES = (64, 192, 512, 1024)  # letters that column generation works with
PADDED = 2**20  # entries up to which a matrix is padded to one of few shapes
PLANE = (512, 1024, 1536, 2048)  # the same on a grid of several axes
DIRECT_PLANE = 2**10
DENSE = 2**25  # entries of a matrix that is still factored whole if its support turns out large
COARSE = (2**13, 2**15)  # source letters of the problems solved before one without a matrix
VIEW = 2**28  # entries of the columns that column generation works with


def point(p: Array, d: Distortion, target: Array, tol: Array, max_steps: Array, kind: str) -> RateDistortion:
    """R(D) at a slope, a distortion or a rate."""
    if isinstance(d, Grid):
        d = _axes.known(d)
    if isinstance(d, Squares):
        return _point(p, d, target, tol, max_steps, kind)
    if isinstance(d, Grid | Samples):
        return _coarse_first(p, d, target, tol, max_steps, kind)
    return _without_padding(_point(*_padded(p, d), target, tol, max_steps, kind), d)


def directly(p: Array, d: Array, slope: Array, tol: Array, max_steps: Array) -> RateDistortion:
    """R(D) at a slope by the interior point on all letters, whatever the size."""
    p_padded, d_padded = _padded(p, d)
    found = _columns.solve(p_padded, d_padded, slope, tol, max_steps, kind=_slope_search.SLOPE, size=d_padded.shape[1])
    return _without_padding(found, d)


def curve(p: Array, d: Distortion, slopes: Array, tol: Array, max_steps: Array) -> RateDistortion:
    """R(D) at many slopes."""
    if isinstance(d, Grid | Samples):
        if any(isinstance(x, Tracer) for x in jax.tree.leaves((p, d, slopes, tol, max_steps))):
            return lax.map(lambda s: point(p, d, s, tol, max_steps, _slope_search.SLOPE), slopes)
        points = [point(p, d, s, tol, max_steps, _slope_search.SLOPE) for s in slopes]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)
    return _without_padding(_curve(*_padded(p, d), slopes, tol, max_steps), d)


def _padded(p: Array, d: Array) -> tuple[Array, Array]:
    """With letters of no mass and letters that may not be used, so that few shapes are ever compiled.

    Not if spread over devices: their shares are the caller's choice.
    """
    if d.size > PADDED or _checks.is_spread(d) or _checks.is_spread(p):
        return p, d
    n, m = d.shape
    rows, columns = _bucket(n) - n, _bucket(m) - m
    xp, p, d = _checks.look(p, d)
    d = xp.pad(xp.pad(d, ((0, 0), (0, columns)), constant_values=np.inf), ((0, rows), (0, 0)))
    return jnp.asarray(xp.pad(p, (0, rows))), jnp.asarray(d)


def _bucket(count: int) -> int:
    """Least of 8, 16, 32, 48, 64, 96, 128, 192, ... that is not below `count`."""
    power = max(8, 1 << (count - 1).bit_length())
    return 3 * power // 4 if count <= 3 * power // 4 and power >= 64 else power


def _without_padding(result: RateDistortion, d: Array) -> RateDistortion:
    return result._replace(reproduction_pmf=result.reproduction_pmf[..., : d.shape[1]])


def _coarse_first(
    p: Array,
    d: Grid | Samples,
    target: Array,
    tol: Array,
    max_steps: Array,
    kind: str,
    levels: tuple[int, ...] = COARSE,
) -> RateDistortion:
    """With letters from a smaller problem like this one, whose reproduction pmf may do as it is."""
    smaller = _structured.coarser(p, d, levels[0])
    if smaller is None:
        return _point(p, d, target, tol, max_steps, kind)
    coarse_p, coarse_d, letters = smaller
    found = _point(coarse_p, coarse_d, target, tol / 2, max_steps, kind)
    guess = jnp.zeros(_structured.shape(d)[1]).at[letters].add(found.reproduction_pmf)
    size = _sizes(*_structured.shape(d))[-1]
    if not isinstance(guess, Tracer):
        size = min(32 * -(-int(jnp.sum(guess > 0)) // 32), size)
    result = _columns.certified(p, d, target, tol, guess, found.slope, kind=kind, size=size)
    result = result._replace(steps=found.steps, segment=result.segment)

    def from_there() -> RateDistortion:
        left = jnp.maximum(max_steps - found.steps, 1)
        if len(levels) > 1:
            return _better(result, _coarse_first(p, d, target, tol, left, kind, levels[1:]))
        return _better(result, _point(p, d, target, tol, left, kind, guess))

    return _unless_converged(result, from_there)


def _point(
    p: Array, d: Distortion, target: Array, tol: Array, max_steps: Array, kind: str, guess: Array | None = None
) -> RateDistortion:
    n, m = _structured.shape(d)
    first, *others = _sizes(n, m)
    if isinstance(d, Squares) and n > DIRECT_PLANE:
        first, *others = [size for size in PLANE if size >= _teeth(d, target, kind)] or PLANE[-1:]
    result = _columns.solve(p, d, target, tol, max_steps, guess, kind=kind, size=first)
    for size in others:

        def again(before: RateDistortion = result, size: int = size) -> RateDistortion:
            left = jnp.maximum(max_steps - before.steps, 1)
            after = _columns.solve(p, d, target, tol, left, before.reproduction_pmf, kind=kind, size=size)
            return _better(before, after)

        result = _unless_converged(result, again)
    if kind == _slope_search.SLOPE and others and n * m > DENSE and not isinstance(d, Grid | Samples):

        def accelerated(before: RateDistortion = result) -> RateDistortion:
            left = jnp.maximum(max_steps - before.steps, 1)
            return _better(before, _blahut_arimoto.accelerated_at_slope(p, d, target, tol, left))

        result = _unless_converged(result, accelerated)
    return result


def _teeth(d: Squares, target: Array, kind: str) -> int:
    """Letters that a first comb has, and half as many again, at a slope that is known."""
    if kind != _slope_search.SLOPE or isinstance(target, Tracer):
        return 0
    return 3 * int(jnp.sum(_axes.comb(d, target, PLANE[-1])[1])) // 2


def _curve(p: Array, d: Array, slopes: Array, tol: Array, max_steps: Array) -> RateDistortion:
    result = _first_try(p, d, slopes, tol, max_steps)
    if len(_sizes(*d.shape)) == 1 or (not isinstance(result.converged, Tracer) and bool(result.converged.all())):
        return result
    if isinstance(result.converged, Tracer):
        return lax.map(lambda s: _point(p, d, s, tol, max_steps, _slope_search.SLOPE), slopes)
    points = [
        jax.tree.map(lambda x, i=i: x[i], result)
        if result.converged[i]
        else _point(p, d, slopes[i], tol, max_steps, _slope_search.SLOPE)
        for i in range(len(slopes))
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)


@jax.jit
def _first_try(p: Array, d: Array, slopes: Array, tol: Array, max_steps: Array) -> RateDistortion:
    size = _sizes(*d.shape)[0]
    return lax.map(lambda s: _columns.solve(p, d, s, tol, max_steps, kind=_slope_search.SLOPE, size=size), slopes)


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
