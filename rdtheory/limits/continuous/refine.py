"""R(D) of a density under a difference distortion: masses, finer boxes and finer cells until both bounds meet."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from rdtheory.limits.continuous import crossing, panels
from rdtheory.limits.continuous.boxes import comb, cut, finer, masses, on_edges, rows_of
from rdtheory.limits.continuous.cells import (
    FALLEN,
    LN2,
    Cells,
    Grid,
    Measure,
    cells_of,
    grid_of,
    kernel_of,
    whole,
    width_of,
)
from rdtheory.limits.continuous.difference import best_dual, channel, matched, noise, rounding
from rdtheory.limits.continuous.law import Law

COARSE, FIRST = 0.1, 0.02  # cells in widths of the kernel: to find the slope, and at first
BOX = 16  # cells of the first grid: a third of a width
MOST_COARSE, MOST_FIRST, MOST = 2**14, 2**16, 2**18  # cells on those grids, and on any
AT_ONCE = 40  # boxes cut in a round
GAIN = 0.03  # of the greatest that is missing: less is left for the next round
HOPELESS = 0.01  # mass beyond all cells: no round brings it back
COLLAPSED = 0.3  # of what distortion is to be less than the best constant's: where it is, the slope is far too small
PATIENCE = 4  # rounds without a gap smaller by a tenth; one without a hundredth counts twice
SAMPLES = np.concatenate([-np.geomspace(1e3, 1e-9, 400), [0.0], np.geomspace(1e-9, 1e3, 400)])


class Found(NamedTuple):
    """Both bounds, and where they come from."""

    lower: float
    upper: float
    slope: float
    steps: int
    points: np.ndarray
    masses: np.ndarray
    quadrature: float
    rounding: float
    outside: float


def measure(difference: float | Callable, scale: float) -> Measure:
    """ρ as a function on arrays, checked at many differences up to a thousand times a scale."""
    if not callable(difference):
        r = float(difference)
        if not (r > 0 and math.isfinite(r)):
            raise ValueError(f"difference must be > 0 and finite, got {difference}")
        return lambda u: np.abs(u) ** r
    given = difference

    def rho(u: np.ndarray) -> np.ndarray:
        return np.asarray(given(u), float)

    u = scale * SAMPLES
    d = rho(u)
    if d.shape != u.shape:
        raise ValueError(f"difference must act elementwise, but turned shape {u.shape} into {d.shape}")
    if not np.isfinite(d).all():
        raise ValueError(f"difference must be finite, but is {d[~np.isfinite(d)][0]} at {u[~np.isfinite(d)][0]:.6g}")
    if (d < 0).any():
        raise ValueError(f"difference must be >= 0, but is {d.min():.6g} at {u[d.argmin()]:.6g}")
    if d[u == 0][0] != 0:
        raise ValueError(f"difference must be 0 at 0, got {d[u == 0][0]:.6g}")
    for sign in (-1, 1):
        side = d[::sign][len(d) // 2 :]
        falls = np.diff(side) < -1e-12 * side[1:] - 1e-300
        if falls.any():
            at = sign * scale * SAMPLES[len(d) // 2 + 1 :][falls.argmax()]
            raise ValueError(f"difference must never fall away from zero, but does near {at:.6g}")
    jump = _jump(rho, u, d)
    if jump is not None:
        raise ValueError(f"difference must be continuous, but jumps near {jump:.6g}")
    return rho


def _jump(rho: Measure, u: np.ndarray, d: np.ndarray) -> float | None:
    """Where ρ jumps: there halving an interval, towards the larger difference, does not make it smaller."""
    (a, b), (low, high) = (u[:-1], u[1:]), (d[:-1], d[1:])
    before = np.abs(high - low)
    for _ in range(40):
        middle = (a + b) / 2
        value = rho(middle)
        left = np.abs(value - low) >= np.abs(high - value)
        a, low = np.where(left, a, middle), np.where(left, low, value)
        b, high = np.where(left, middle, b), np.where(left, value, high)
    jumps = (np.abs(high - low) >= 0.3 * before) & (before > 1e-6 * np.maximum(np.abs(high), np.abs(low)))
    jumps &= b - a < 1e-6 * (u[1:] - u[:-1])
    return float(b[jumps.argmax()]) if jumps.any() else None


def best_constant(law: Law, rho: Measure) -> tuple[float, float, float]:
    """The y with the least E ρ(X - y), that distortion, and its quadrature error; infinite where it does not exist."""
    center = float(np.median(law.source.breaks)) if law.panels is not None else float(law.mean)

    def at(y: float) -> tuple[float, float]:
        x, p = law.source.atoms, law.source.masses
        if law.panels is None:
            return float(p @ rho(x - y)), 0.0
        ends = np.append(law.panels.left, law.panels.right[-1])
        graded = law.source.scale * 2.0 ** np.arange(-40, 3)
        cuts = np.unique(np.concatenate([ends, np.clip(np.concatenate([y - graded, [y], y + graded]), *ends[[0, -1]])]))
        totals = []
        for pieces in (cuts, np.unique(np.concatenate([cuts, (cuts[1:] + cuts[:-1]) / 2]))):
            x, w = panels.rule(pieces[:-1], pieces[1:])
            with np.errstate(over="ignore", invalid="ignore"):
                totals.append(float(np.nansum(w * law.density(x) * rho(x - y))))
        return totals[1], abs(totals[1] - totals[0]) + 1e-14 * totals[1]

    reach = 4 * law.source.scale
    found = scipy.optimize.minimize_scalar(
        lambda y: at(y)[0], bracket=(center - reach / 8, center + reach / 7), method="brent", options={"maxiter": 80}
    )
    y = min((center, float(found.x)), key=lambda y: at(y)[0])
    return y, *at(y)


def solve(law: Law, rho: Measure, D: float, greatest: float, tol: float, max_steps: int) -> Found:
    """Bounds for a density of which the best constant has at least the distortion `greatest`."""
    slope, steepest = (
        _slope(law, rho, D),
        crossing.slope_of(lambda slope: noise_distortion(rho, slope), 1 / (LN2 * D), D),
    )
    grid = grid_of(law, rho, slope, FIRST, MOST_FIRST)
    cells = cells_of(law, grid)
    box = BOX
    boxes = comb(grid.cells + 1, box)
    q = np.full(len(boxes.first), 1 / len(boxes.first))
    best, stale, steps = None, 0, 0
    previous, elasticity = None, -1.0
    while steps < max_steps and stale < PATIENCE:
        steps += 1
        grid = cells.grid
        width = max(round(width_of(rho, slope, (grid.cells + 1) * grid.step) / grid.step), 1)
        kernel = kernel_of(rho, slope, grid)
        group = max(box // 8, 1)
        rows = rows_of(cells, boxes, box, group, width)
        q = masses(rho, slope, cells, rows, boxes, q, group, tol / 100)
        there = on_edges(boxes, q, grid.cells + 1)
        spent = channel(rho, cells, kernel, there)
        above = matched(rho, cells, there, spent, D)
        table = whole(rho, kernel, grid)
        dual, c, gain = best_dual(cells, kernel, table, spent.z, D, (1, box), width)
        rounded = rounding(cells, above.rate, slope, D, width) + max(dual.rounding, above.rounding)
        rounded += noise(law.jitter, cells, spent.z)
        quadrature = above.error + 2 * cells.error / LN2
        found = Found(
            max(dual.value - cells.error / LN2 - rounded, 0.0),
            above.rate + quadrature + rounded,
            slope, steps, grid.edges[there > 0], there[there > 0], quadrature, rounded, cells.outside,
        )  # fmt: skip
        gap = found.upper - found.lower
        missed = greatest - spent.distortion < COLLAPSED * (greatest - D)
        collapsed = D < greatest and missed and slope < 0.999 * steepest
        least = math.inf if best is None else best.upper - best.lower
        stale = 0 if best is None or collapsed or gap < 0.9 * least else stale + (1 if gap < 0.99 * least else 2)
        best = found if best is None or gap < least or math.isnan(least) else best
        if gap <= 0.9 * tol or cells.outside > HOPELESS:
            break
        if collapsed:
            slope, previous = math.sqrt(slope * steepest), None
            continue
        seen = max(float(spent.c.max()), 1.0)
        coarse = max(spent.free - gain, 0.0) + dual.loose + quadrature + max(math.log2(float(c.max()) / seen), 0.0)
        times = int(np.clip(math.ceil(math.sqrt(coarse / (tol / 8))), 2, 4)) if coarse < math.inf else 2
        missing = _missing(cells, spent.c, width, tol)
        before = len(q)
        boxes, q = cut(boxes, q, missing)
        stuck = len(q) == before
        if (coarse > tol / 4 or stuck) and grid.cells * times <= MOST and (stuck or gap < 100 * coarse):
            cells = cells_of(law, Grid(grid.start, grid.step / times, grid.cells * times))
            boxes, box = finer(boxes, times, cells.grid.cells + 1), box * times
        error = math.log(max(spent.distortion / D, 1e-30))
        if previous is not None and abs(math.log(slope / previous[0])) > 1e-6:
            seen = (error - previous[1]) / math.log(slope / previous[0])
            elasticity = seen if -100 < seen < -0.2 else elasticity
        previous = (slope, error)
        slope *= math.exp(min(max(error / -elasticity, -0.1), 0.1))
    assert best is not None
    # Distortions without a mean, or beyond all numbers, prove nothing.
    return best._replace(
        lower=best.lower if math.isfinite(best.lower) else 0.0,
        upper=best.upper if math.isfinite(best.upper) else math.inf,
    )


def _missing(cells: Cells, c: np.ndarray, width: int, tol: float) -> np.ndarray:
    """Edges at local maxima of c above one, fewer where there is no mass."""
    peak = (c >= np.append(-np.inf, c[:-1])) & (c > np.append(c[1:], -np.inf)) & (c > 1 + tol / 16)
    at = np.nonzero(peak)[0]
    total = np.append(0.0, np.cumsum(cells.mass))
    near = total[np.minimum(at + 2 * width, cells.grid.cells)] - total[np.maximum(at - 2 * width, 0)]
    gain = near * np.minimum(c[at] - 1, 1.0)
    keep = np.argsort(gain)[-AT_ONCE:]
    return np.sort(at[keep[gain[keep] > max(GAIN * float(gain.max(initial=0.0)), tol / 1000)]])


def _slope(law: Law, rho: Measure, D: float) -> float:
    """A slope at which the optimum has about the distortion D, on coarse cells.

    Where even these are too many the source is wide beside the kernel: then the optimal channel adds about a noise of a
    density in proportion to K.
    """

    def distortion(slope: float) -> float:
        cells = cells_of(law, grid_of(law, rho, slope, COARSE, MOST_COARSE))
        # What is outside does not depend on the slope: where it is too much for D alone, no slope would do.
        cells = cells._replace(far_p=np.zeros_like(cells.far_p))
        if cells.outside > HOPELESS:
            return noise_distortion(rho, slope)
        edges = cells.grid.cells + 1
        boxes = comb(edges, 4)
        q = np.full(len(boxes.first), 1 / len(boxes.first))
        rows = rows_of(cells, boxes, 4, 2, 0)
        q = on_edges(boxes, masses(rho, slope, cells, rows, boxes, q, 2, 1e-6), edges)
        return channel(rho, cells, kernel_of(rho, slope, cells.grid), q).distortion

    return crossing.slope_of(distortion, 1 / (LN2 * D), D)


def noise_distortion(rho: Measure, slope: float) -> float:
    """Mean ρ of noise with a density in proportion to K = 2^(-slope ρ)."""
    far = 1.0
    while far < 1e150 and min(slope * rho(np.array([far, -far]))) < FALLEN:
        far *= 2
    while far > 1e-150 and min(slope * rho(np.array([far, -far]) / 2)) > 2 * FALLEN:
        far /= 2
    x = far * (np.arange(2**14) + 0.5) / 2**14
    d = rho(np.concatenate([-x, x]))
    k = np.exp2(-slope * d)
    return float(k @ d / k.sum())
