"""Both bounds for a source on the line under a difference distortion, from masses on the edges of a grid.

Above: the channel q_j K(x - y_j) / z(x), its integrals over every cell by `cells`, its slope moved until it spends D.
Below: λ = v / f with v constant on cells, so ∫ f log λ and c(y) = ∫ v(x) K(x - y) dx at the edges are exact. Between
edges, with v zero beyond the ends,

    c'(y) = Σ_i (v_i - v_(i-1)) K(e_i - y),

and since K falls on either side of zero, each term lies between its values at the two ends of y's cell: two lines with
these slopes bound c there. Nothing but that K falls is used, so a kink, a flat bottom or a bounded ρ do no harm.
"""

import math
from typing import NamedTuple

import numpy as np
import scipy

from rdtheory.limits.continuous.cells import (
    EPS,
    FALLEN,
    LN2,
    Cells,
    Kernel,
    Measure,
    exactly,
    gather,
    kernel_of,
    spread,
)

ORDER, CHECK = 4, 3
FAR_GROUPS = 128


class Channel(NamedTuple):
    """What a channel costs."""

    rate: float  # bits
    distortion: float
    slope: float
    error: float  # bits, of the quadrature: rate and slope times distortion
    rounding: float  # bits
    free: float  # -∫ f log2 z
    z: np.ndarray  # (ORDER, cells)
    c: np.ndarray  # ∫ f K / z at the edges


class Dual(NamedTuple):
    """A lower bound and where it comes from."""

    value: float  # bits
    c: np.ndarray  # at the edges
    above: np.ndarray  # a bound of c on each cell
    loose: float  # bits by which the bound exceeds what the edges show
    rounding: float


def channel(rho: Measure, cells: Cells, kernel: Kernel, q: np.ndarray) -> Channel:
    """The channel of the masses q on the edges; what is outside is sent to q blindly."""
    n, found = cells.grid.cells, {}
    for order in (ORDER, CHECK):
        w = cells.weights[order]
        (z, noise), (num, num_noise) = (
            spread(tables[order], kernel.low, q, n) for tables in (kernel.nodes, kernel.spent)
        )
        small = (z < 4 * noise).any(axis=0) & (w != 0).any(axis=0)
        for first, last in _runs(small):
            tables = [kernel.nodes[order], kernel.spent[order]]
            z[:, first:last], num[:, first:last] = exactly(tables, kernel.low, q, first, last)
        lost = bool((z[:, (w != 0).any(axis=0)] <= 0).any())
        z = np.maximum(z, 1e-300)
        share = np.where(small, 1e-13, np.minimum(1.3 * noise / z, 1.0))
        rounding = float(np.sum(np.abs(w) * (share + kernel.slope * LN2 * (num_noise / noise + num / z) * share))) / LN2
        c, c_noise = gather(kernel.nodes[order], kernel.low, w / z, n + 1)
        free = math.inf if lost else -float(np.sum(w * np.log2(z)))
        ratio = np.maximum(c, 0.0) + cells.outside
        # What comes out is r = q (c + outside): the rate is below that for q by the divergence of the two.
        shift = float(q @ (ratio * np.log2(np.where(ratio > 0, ratio, 1.0))))
        found[order] = (free - shift, float(np.sum(w * num / z)), z, rounding + 4 * c_noise, free, c)
    (rate, spent, z, rounding, free, c), (other, other_spent, *_) = found[ORDER], found[CHECK]
    error = 2 * (abs(rate - other) + kernel.slope * abs(spent - other_spent)) if math.isfinite(rate) else math.inf
    total = spent + _blind(rho, cells, q)
    return Channel(rate - kernel.slope * spent, total, kernel.slope, error, rounding, free, z, c)


def _runs(where: np.ndarray) -> list[tuple[int, int]]:
    place = np.nonzero(np.diff(np.concatenate([[0], where.astype(np.int8), [0]])))[0]
    return [(int(a), int(b)) for a, b in place.reshape(-1, 2)]


def _blind(rho: Measure, cells: Cells, q: np.ndarray) -> float:
    """Distortion of what is outside: every y counts as the farthest in its group."""
    if not cells.far_p.any():
        return 0.0
    edges = cells.grid.edges
    first = np.unique(np.linspace(0, len(edges), FAR_GROUPS + 1).astype(int)[:-1])
    last = np.append(first[1:], len(edges)) - 1
    mass = np.add.reduceat(q, first)
    total = 0.0
    live = cells.far_p > 0
    with np.errstate(over="ignore"):
        for j in np.nonzero(mass)[0]:
            d = np.maximum(rho(cells.far_x[live] - edges[first[j]]), rho(cells.far_x[live] - edges[last[j]]))
            total += mass[j] * float(cells.far_p[live] @ d)
    return total


def matched(rho: Measure, cells: Cells, q: np.ndarray, start: Channel, distortion: float) -> Channel:
    """The channel over the same masses whose distortion is the one asked for, or a little less."""
    low, high = 0.0, math.inf
    best, found, previous = start._replace(rate=math.inf), start, None
    for _ in range(30):
        error = math.log(max(found.distortion, 1e-300) / distortion) if distortion > 0 else math.inf
        if error <= 0:
            high = found.slope
            best = found if found.rate < best.rate else best
            if error > -1e-12:
                break
        else:
            low = found.slope
        rate = -1.0
        if previous is not None and previous[0] != found.slope:
            seen = (error - previous[1]) / math.log(found.slope / previous[0])
            rate = seen if -100 < seen < -1e-3 else rate
        previous = (found.slope, error)
        slope = found.slope * math.exp(min(max(-(error + 3e-13) / rate, -1.0), 1.0))
        if not low < slope < high:
            slope = math.sqrt(low * high) if 0 < low and high < math.inf else (2 * low if low > 0 else high / 2)
        if slope in (found.slope, low, high) or not 1e-300 < slope < 1e300:
            break
        found = channel(rho, cells, kernel_of(rho, slope, cells.grid), q)
    return best


def dual_of(cells: Cells, z: np.ndarray) -> np.ndarray:
    """The v = f / z with z averaged over each cell, (cells,): where z falls as K does, c is as for z itself."""
    mass = np.where(cells.mass > 0, cells.mass, 1.0)
    mean = np.clip((cells.weights[ORDER] * z).sum(axis=0) / mass, z.min(axis=0), z.max(axis=0))
    return np.where(cells.mass > 0, cells.mass / mean, 0.0) / cells.grid.step


def lower(cells: Cells, kernel: Kernel, table: tuple[np.ndarray, float], v: np.ndarray, distortion: float) -> Dual:
    """The lower bound that v proves."""
    n, h = cells.grid.cells, cells.grid.step
    whole, table_error = table
    c, noise = gather(whole[None, :], kernel.low, v[None, :], n + 1)
    jump = np.diff(v, prepend=0.0, append=0.0)
    up, down = np.maximum(jump, 0.0)[None, :], np.maximum(-jump, 0.0)[None, :]
    high = np.maximum(kernel.edge[1:], kernel.edge[:-1])[None, :]  # e_i - y between k h and (k + 1) h, k = i - j - 1
    least = np.minimum(kernel.edge[1:], kernel.edge[:-1])[None, :]
    (up_high, a), (up_least, b), (down_high, e), (down_least, d) = (
        gather(one, kernel.low + 1, part, n) for part in (up, down) for one in (high, least)
    )
    stray = math.exp(-FALLEN) * float(np.abs(jump).sum())  # beyond the tables
    rise, fall = up_high - down_least + stray, up_least - down_high - stray
    above = _between(c, rise, fall, h)
    rounding = noise + h * (a + b + d + e) + table_error * float(v.max()) + math.exp(-FALLEN) * h * float(v.sum())
    top = float(above.max()) + rounding
    live = cells.mass > 0
    gain = float(cells.mass[live] @ np.log2(v[live])) + cells.entropy
    value = -kernel.slope * distortion + gain - math.log2(top + cells.outside)
    return Dual(value, c, above, math.log2(top / float(c.max())), rounding / LN2)


def _between(c: np.ndarray, rise: np.ndarray, fall: np.ndarray, h: float) -> np.ndarray:
    """A bound of c on each cell, from its values at the two ends and bounds of its derivative."""
    left, right = c[:-1], c[1:]
    inner = (rise > 0) & (fall < 0)
    t = np.clip((right - left - fall * h) / np.where(inner, rise - fall, 1.0), 0.0, h)
    return np.where(inner, np.maximum(left + rise * t, np.maximum(left, right)), np.maximum(left, right))


def best_dual(
    cells: Cells, kernel: Kernel, table, z: np.ndarray, distortion: float, widths: tuple[int, ...], reach: int
):
    """The best lower bound of 1 / z, of its averages over so many cells, and of these lowered where c is above one.

    Points a step apart leave ripples in 1 / z of that step, and an average over it none. `reach` is K's width in cells.
    Also c of 1 / z itself at the edges, and what its constant cells give in bits.
    """
    raw = dual_of(cells, z)
    live = cells.mass > 0
    best = c = None
    for width in widths:
        share = np.maximum(scipy.ndimage.uniform_filter1d(live.astype(float), width, mode="constant"), 0.5 / width)
        v = np.maximum(scipy.ndimage.uniform_filter1d(raw, width, mode="constant") / share, 1e-9 * raw) * live
        for lowered in (3, 3, 9, 40, None):
            found = lower(cells, kernel, table, v, distortion)
            c = found.c if c is None else c
            best = found if best is None or found.value > best.value else best
            if found.above.max() <= 1 + 1e-12 or lowered is None:
                break
            size = 2 * min(lowered * reach, cells.grid.cells) + 1
            v = v / scipy.ndimage.maximum_filter1d(np.maximum(found.above, 1.0), size, mode="nearest")
    return best, c, float(cells.mass[live] @ np.log2(raw[live])) + cells.entropy


def noise(jitter, cells: Cells, z: np.ndarray) -> float:
    """Bits by which either bound moves if the logarithm of the density is off by `jitter`, as in `line`."""
    off = jitter((cells.grid.edges[1:] + cells.grid.edges[:-1]) / 2)
    if not off.any():
        return 0.0
    return float(np.sum(cells.mass * off * (2 + 3 * np.abs(np.log(z)).max(axis=0)))) / LN2


def rounding(cells: Cells, rate: float, slope: float, distortion: float, width: int) -> float:
    """Bits: sums of numbers of the bounds' size, beside what was counted term by term; K's width is in cells."""
    # A place is stored to EPS |x|, over which log K changes by at most FALLEN widths' worth.
    place = 2 * FALLEN * EPS * float(np.abs(cells.grid.edges[[0, -1]]).max()) / (width * cells.grid.step)
    return 1000 * EPS * (1 + abs(rate) + 2 * slope * distortion) + place
