"""As few points of R(D) as show it everywhere: where chords and lines are furthest apart, more slopes are asked for.

All of this is planning, on the host: what it promises is read off the points by `bands`. notation: D, r, least
distortion, upper and lower bound of each point, s its slope; a line is (slope, value at the first distortion).
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdtheory import _progress
from rdtheory.results import RateDistortion

MOST = 2**13  # points
BATCH = 26  # slopes in one call: more are a length of their own to compile for, and a long time without news
ZERO = 1  # the point at slope zero
AT_ONCE = 8  # pieces that an interval is cut into before all is looked at again
SHARE = 1 / 32  # of the width that is asked for, left to the gap of a point
LONG = 4.0  # times as long as its neighbors is an interval that may be a straight piece


class Interval(NamedTuple):
    """Between neighbors of the upper bound."""

    ends: tuple[int, int]
    width: float  # the most by which the bounds differ on it, in bits
    open: float  # what of that is not the gaps of its ends
    steepest: float  # slope of the lower bound at its left end, and at its right end
    flattest: float


def whole(
    at: Callable[[np.ndarray, float], RateDistortion], tol: float, progress: Callable[[RateDistortion], object] | None
) -> RateDistortion:
    """The points that leave `tol` at most, in order of distortion. `at` finds those at some slopes to a gap."""
    inner = SHARE * tol
    points, tried = at(np.array([np.inf, 0.0]), inner), {math.inf, 0.0}
    wanted: list[float] = []
    with _progress.doing("points", shown=progress is None) as tell:
        while True:
            if progress is not None:
                progress(points)
            if not wanted:
                intervals = _intervals(points)
                needed = sum(_pieces(interval, tol) for interval in intervals)
                tell(f"{len(points.rate)}, about {needed - len(intervals)} more")
                if needed > MOST:
                    raise ValueError(
                        f"tol of {tol:.3g} would take some {needed:,} points, and at most {MOST:,} are made"
                    )
                wanted = _wanted(points, intervals, tol, tried) or _straight(points, intervals, inner, tried)
            if not wanted:
                return _touching(points, tol)
            now, wanted = wanted[:BATCH], wanted[BATCH:]
            tried.update(now)
            points = _joined(points, at(np.array(now), inner))


def _joined(*points: RateDistortion) -> RateDistortion:
    return jax.tree.map(lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves]), *points)


def _lines(points: RateDistortion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of which points the lines are that bound R from below, their slopes, falling, and their values at D_min.

    R >= 0 is the last of them, of the slope-zero point.
    """
    D, r, s = (np.asarray(leaf) for leaf in (points.distortion, points.rate, points.slope))
    least = r - np.asarray(points.gap)
    proved = np.flatnonzero((least > 0) & np.isfinite(s))  # as in `bands`
    slope = np.append(s[proved], 0.0)
    value = np.append(least[proved] + s[proved] * (D[proved] - D.min()), 0.0)
    # The upper envelope of lines is the lower hull of what is dual to them.
    envelope = _below(-slope, -value)
    return np.append(proved, ZERO)[envelope], slope[envelope], value[envelope]


def outline(points: RateDistortion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distortions, from the least to the largest, and both bounds there, between which these are straight.

    Rounding apart they are what `bands` proves.
    """
    D, r, _ = _upper(points)
    hull, (_, slope, value) = _below(D, r), _lines(points)
    breaks = _breaks(D.min(), slope, value)
    x = np.unique(np.concatenate([D[hull], breaks[(breaks > D.min()) & (breaks < D.max())]]))
    lower = np.max(value[None, :] - slope[None, :] * (x - D.min())[:, None], axis=1)
    return x, lower, np.interp(x, D[hull], r[hull])


def _upper(points: RateDistortion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distortions, the least rates known to do there, slopes."""
    D, r, s = (np.asarray(leaf) for leaf in (points.distortion, points.rate, points.slope))
    return D, np.min(np.where(D[None, :] <= D[:, None], r[None, :], np.inf), axis=1), s  # R falls


def _breaks(first: float, slope: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Where each line of the lower bound gives way to the next."""
    return first + (value[:-1] - value[1:]) / np.maximum(slope[:-1] - slope[1:], 1e-300)


def _intervals(points: RateDistortion) -> list[Interval]:
    """All of them from the least to the largest distortion."""
    D, r, s = _upper(points)
    _, slope, value = _lines(points)
    breaks, found = _breaks(D.min(), slope, value), []
    for i, j in itertools.pairwise(_below(D, r)):
        x = np.concatenate([[D[i]], breaks[(breaks > D[i]) & (breaks < D[j])], [D[j]]])
        lower = np.max(value[None, :] - slope[None, :] * (x - D.min())[:, None], axis=1)
        chord = r[i] + (r[j] - r[i]) * ((x - D[i]) / (D[j] - D[i]))
        left, right = np.searchsorted(breaks, D[i], side="right"), np.searchsorted(breaks, D[j], side="left")
        steepest = math.inf if s[i] == math.inf else float(slope[left])
        width, gaps = float(np.max(chord - lower)), float(points.gap[i] + points.gap[j])
        found.append(Interval((i, j), width, width - gaps, steepest, float(slope[right])))
    return found


def _below(x: np.ndarray, y: np.ndarray) -> list[int]:
    """The corners of the lower hull, from left to right."""
    hull: list[int] = []
    for i in np.lexsort((y, x)):
        if hull and x[i] == x[hull[-1]]:
            continue
        while len(hull) > 1:
            a, b = hull[-2:]
            if (y[b] - y[a]) * (x[i] - x[a]) < (y[i] - y[a]) * (x[b] - x[a]):
                break
            hull.pop()
        hull.append(int(i))
    return hull


def _wanted(points: RateDistortion, intervals: list[Interval], tol: float, tried: set[float]) -> list[float]:
    """Slopes that cut what is too wide.

    An interval of length h is R'' h² / 4 wide, so it takes the root of how many times too wide it is. R is taken for
    the parabola that touches both lines where they leave the two points; in the middle its slope is that of the chord,
    which is the one to find a straight piece by.
    """
    wanted = []
    for interval in intervals:
        wanted += _cut(points, interval, min(_pieces(interval, tol), AT_ONCE), tol, tried)
    return wanted


def _pieces(interval: Interval, tol: float) -> int:
    """How many it is to be cut into; one if it may stay, or if no more points help, but better ones."""
    if interval.width <= tol or interval.open <= tol / 2:
        return 1
    return max(math.ceil(math.sqrt(interval.open / tol)), 2)


def _straight(points: RateDistortion, intervals: list[Interval], inner: float, tried: set[float]) -> list[float]:
    """Slopes of chords that may be straight pieces of R: much longer than what is beside them."""
    D, wanted = np.asarray(points.distortion), []
    lengths = [float(D[j] - D[i]) for i, j in (interval.ends for interval in intervals)]
    for k, interval in enumerate(intervals):
        beside = [lengths[other] for other in (k - 1, k + 1) if 0 <= other < len(lengths)]
        if interval.width > 4 * inner and beside and lengths[k] > LONG * max(beside):
            wanted += _cut(points, interval, 2, interval.width, tried)
    return wanted


def _cut(points: RateDistortion, interval: Interval, pieces: int, tol: float, tried: set[float]) -> list[float]:
    if pieces == 1:
        return []
    i, j = interval.ends
    length = float(points.distortion[j] - points.distortion[i])
    fall = float(points.rate[i] - points.rate[j])
    chord, (a, b) = fall / length, (interval.steepest, interval.flattest)
    # Where the two lines meet, as seen from the left end.
    across = 0.0 if math.isinf(a) else (fall - b * length) / (a - b) if a > b else length / 2
    down = fall - b * (length - across)
    t = np.arange(1, pieces) / pieces
    if not 0 <= across < length or not 0 < down <= fall:  # bounds of points not found exactly
        t, across, down = np.array([0.5]), length / 2, fall / 2
    slopes = ((1 - t) * down + t * (fall - down)) / ((1 - t) * across + t * (length - across))
    fresh = [float(s) for s in slopes if s > 0 and not any(math.isclose(s, other, rel_tol=1e-12) for other in tried)]
    # At the slope of a straight piece a point of rate zero may come back, which proves nothing: a little more does.
    beside = chord + tol / (4 * length)
    return fresh or ([beside] if beside > 0 and beside not in tried else [])


def _touching(points: RateDistortion, tol: float) -> RateDistortion:
    """Those that a bound touches, in order of distortion; converged where the bounds beside are within `tol`."""
    intervals, D = _intervals(points), np.asarray(points.distortion)
    touching, failed = set(_lines(points)[0]), set()
    for interval in intervals:
        touching.update(interval.ends)
        failed.update(interval.ends if interval.width > tol else ())
    kept = {i for i in touching if D[i] < D[ZERO]} | {0, ZERO}
    # At a corner the distortions of many slopes are one, but for what was left when each point was found.
    order = sorted(kept, key=lambda i: (i != 0, i == ZERO, D[i], -points.slope[i]))
    points = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[order]), points)
    return points._replace(converged=points.converged & np.array([i not in failed for i in order]))
