"""A source on the line at one slope, squared error: masses, refinement of the points, and both bounds.

notation: θ = s ln 2; w = (2θ)^(-1/2) kernel width; x, p nodes and their masses; y, q points and their masses;
K(u) = exp(-u²/2w²); z = Σ q K(x - y); c(y) = Σ v K(x - y), where v = p λ and λ is any positive function of x.
"""

import math
from typing import NamedTuple

import numpy as np

from rdtheory.limits.continuous import short_range, supremum
from rdtheory.limits.continuous.nodes import LN2, REACH, Nodes, dual_nodes, width_of
from rdtheory.limits.continuous.panels import ORDER, rule

SPACING = 1.3  # kernel widths between the first points: such a comb blurs to 1 + 3e-5 cos, and its own blur to 1 + 1e-9
FINER, FEW = 0.8, 64  # the same where that makes so few: no comb is the optimum near ends, and these are near
SMALLEST = 1e-290
EPS = np.finfo(float).eps


class Channel(NamedTuple):
    """What a channel costs: rate in bits, distortion."""

    rate: float
    distortion: float
    slope: float


class Bounds(NamedTuple):
    """Both bounds at one distortion, and where they come from."""

    lower: float
    upper: float
    distortion: float  # of the channel at the slope itself
    cells: supremum.Cells
    v: np.ndarray
    top: float


def kernel(b: short_range.Blocks, width: float) -> np.ndarray:
    """K on the blocks."""
    return np.exp(-0.5 * (b.u / width) ** 2) * b.present


def is_short(nodes: Nodes, width: float) -> bool:
    return bool(nodes.x[-1] - nodes.x[0] <= FEW * FINER * width)


def first_points(nodes: Nodes, width: float, spacing: float = SPACING) -> tuple[np.ndarray, np.ndarray]:
    """A comb over the nodes, each tooth with the mass about it."""
    step = spacing * width
    place = np.floor((nodes.x - nodes.x[0]) / step)
    index, own = np.unique(place, return_inverse=True)
    mass = np.bincount(own, nodes.p)
    if not len(nodes.left):  # atoms: each tooth goes to their mean
        y = np.bincount(own, nodes.p * (nodes.x - nodes.x[0])) / mass + nodes.x[0]
    else:
        y = np.minimum(nodes.x[0] + (index + 0.5) * step, nodes.x[-1])
    mass = np.maximum(mass, 1e-18)
    return y, mass / mass.sum()


def masses(nodes: Nodes, y: np.ndarray, q: np.ndarray, width: float, tol: float):
    """The best masses on the points, with blocks, kernel and steps."""
    b = short_range.blocks(nodes.x, y, REACH * width)
    a = kernel(b, width)
    q, steps = short_range.minimize(a, b, nodes.p, q, tol)
    return b, a, q / q.sum(), steps


def channel(nodes: Nodes, b: short_range.Blocks, y: np.ndarray, q: np.ndarray, slope: float) -> tuple[Channel, float]:
    """The channel q K / z at a slope, and the variance that makes dD/ds; the abandoned part is sent to q blindly."""
    width = width_of(slope)
    a = kernel(b, width)
    z = short_range.times(a, b, q)
    lost = bool((z < SMALLEST).any())  # some node is out of reach of every point
    z = np.maximum(z, SMALLEST)
    squares = b.u * b.u
    first = short_range.times(a * squares, b, q) / z
    second = short_range.times(a * squares * squares, b, q) / z
    c = short_range.transpose_times(a, b, nodes.p / z)
    inside = float(nodes.p @ first)
    variance = float(nodes.p @ np.maximum(second - first * first, 0.0))
    rate = math.inf if lost else -slope * inside - float(nodes.p @ np.log2(z))
    if nodes.tail is not None:
        tail, mass = nodes.tail, float(nodes.p.sum())
        ratio = c / mass
        shift = float(q @ (c * np.log2(np.where(ratio > 0, ratio, 1.0)))) + mass * math.log2(1 - tail.budget)
        ends = -0.5 * math.log2(2 * math.pi * math.e * tail.width**2) - tail.noisy_log_f / LN2
        rate += float(np.sum(np.where(tail.p > 0, tail.p * ends, 0.0))) - shift
        return Channel(rate, inside + nodes.outside * tail.width**2, slope), variance
    mean = float(q @ y)
    spread = float(q @ (y - mean) ** 2)
    outside = float(nodes.outside_p @ ((nodes.outside_x - mean) ** 2 + spread))
    # What really comes out is r = q c from inside and q from outside: rate = -s D - Σ p log z + Σ q c log(q / r) + ...
    ratio = c + nodes.outside
    shift = float(q @ (ratio * np.log2(np.where(ratio > 0, ratio, 1.0))))
    return Channel(rate - shift, inside + outside, slope), variance


def matched(nodes: Nodes, b: short_range.Blocks, y, q, slope: float, distortion: float) -> Channel:
    """The channel over the same points whose distortion is the one asked for, or a little less."""
    low, high = 0.0, math.inf
    best = Channel(math.inf, distortion, slope)
    for _ in range(40):
        found, variance = channel(nodes, b, y, q, slope)
        if found.distortion <= distortion:
            high = slope
            if found.rate < best.rate:
                best = found
            if distortion - found.distortion <= 1e-13 * distortion:
                break
        else:
            low = slope
        aim = distortion * (1 - 3e-14)
        newton = slope + (found.distortion - aim) / (variance * LN2) if variance > 0 else slope * 2
        newton = min(newton, 4 * slope)
        if not low < newton < high:
            newton = math.sqrt(low * high) if 0 < low and high < math.inf else (2 * low if low > 0 else high / 2)
        if newton == slope:
            break
        slope = newton
    return best


def bounds(nodes: Nodes, b, a, y, q, slope: float, distortion: float, tol: float) -> Bounds:
    """Both bounds at the distortion asked for, without quadrature error."""
    width = width_of(slope)
    z = np.maximum(short_range.times(a, b, q), SMALLEST)
    # c is then one on the support of q, whatever mass the tails have.
    scaled = nodes.p / z / (1.0 if nodes.tail is None else float(nodes.p.sum()))
    dual, v = dual_nodes(nodes, scaled, width)
    first = cells = supremum.expand(dual.x, v, width)
    if nodes.tail is not None:  # where points are missed is told by the core alone
        first = supremum.expand(nodes.x, scaled, width)
    fine = tol / 64
    best = (-math.inf, v, math.inf)
    # Where c is above one, λ may be lowered: that costs the mass there times the excess, not the excess. Three widths
    # about are not all that c sees, so it is done again; nine are.
    for reach in (3, 3, REACH, None):
        top = supremum.bound(cells, min(fine, 1e-10))
        value = _lower(dual, v, top, slope, distortion)
        if value > best[0]:
            best = (value, v, top)
        if reach is None or top < 1 + min(fine, 1e-10) * 2:
            break
        v = v / _envelope(cells, dual, math.ceil(reach))
        cells = supremum.expand(dual.x, v, width)
    spent = channel(nodes, b, y, q, slope)[0].distortion
    upper = matched(nodes, b, y, q, slope, distortion).rate
    return Bounds(best[0], upper, spent, first, best[1], best[2])


def _lower(nodes: Nodes, v: np.ndarray, top: float, slope: float, distortion: float) -> float:
    live = nodes.p > 0
    entropy = float(nodes.p[live] @ np.log2(v[live] / nodes.p[live]))
    stray = math.exp(-REACH * REACH / 2) * float(v.sum())
    if nodes.tail is not None:
        tail, norm = nodes.tail, width_of(slope) * math.sqrt(2 * math.pi)
        far, log_f = tail.p[tail.rim :], tail.log_f[tail.rim :]
        ends = float(np.sum(np.where(far > 0, -far * (log_f + math.log(norm)), 0.0))) / LN2
        return -slope * distortion + entropy + ends - math.log2(max(top, 1.0) + 4 * stray)
    return -slope * distortion + entropy - math.log2(top + nodes.outside + stray)


def _envelope(cells: supremum.Cells, nodes: Nodes, reach: int) -> np.ndarray:
    """The greatest max(c, 1) within `reach` cells of each node's panel."""
    cell, _, height = supremum.maxima(cells, 1.0)
    highest = np.ones(len(cells.centers))
    np.maximum.at(highest, cell, height)
    ends = np.maximum(cells.coefficients @ 0.5 ** np.arange(supremum.TERMS), 1.0)
    highest = np.maximum(highest, ends)
    # Cells in which c stays below one change nothing, so only the others spread.
    active = np.nonzero(highest > 1)[0]
    result = np.ones(len(nodes.x))
    position = np.floor((nodes.x - nodes.x[0]) / cells.width)
    place = np.round((cells.centers - nodes.x[0]) / cells.width - 0.5)
    for shift in range(-reach, reach + 1):
        at = np.searchsorted(place[active], position + shift)
        at = np.minimum(at, max(len(active) - 1, 0))
        if len(active):
            hit = place[active][at] == position + shift
            result = np.maximum(result, np.where(hit, highest[active][at], 1.0))
    per_panel = np.ones(int(nodes.panel.max()) + 1)
    np.maximum.at(per_panel, nodes.panel, result)
    return per_panel[nodes.panel]


def exchange(nodes: Nodes, y: np.ndarray, q: np.ndarray, cells: supremum.Cells, width: float, tol: float):
    """Points at and about the maxima of c above one, fewer where there is no mass; None if there is nothing to add.

    Each maximum comes with two neighbors at a fifth of its distance from the nearest point: between them the optimum of
    the next round is caught, and that distance shrinks as many times.
    """
    _, new, height = supremum.maxima(cells, 1 + tol / 16)
    total = np.concatenate([[0.0], np.cumsum(nodes.p)])
    near = total[np.searchsorted(nodes.x, new + 3 * width)] - total[np.searchsorted(nodes.x, new - 3 * width)]
    gain = near * np.minimum(height - 1, 1.0)
    order = np.argsort(gain)
    new = np.sort(new[order[np.cumsum(gain[order]) > tol / 64]])
    if not len(new):
        return None
    gathered = np.concatenate([[0.0], np.cumsum(q)])
    local = gathered[np.searchsorted(y, y + 0.7 * width)] - gathered[np.searchsorted(y, y - 0.7 * width)]
    keep = q > 1e-5 * local
    old, mass = y[keep], q[keep]
    distance = np.abs(new - old[nearest(old, new)])
    step = np.maximum(0.2 * distance, 1e-7 * width)
    points = np.unique(np.concatenate([old, new, new - step, new + step]))
    own = nearest(old, points)
    return points, mass[own] / np.bincount(own, minlength=len(old))[own]


def nearest(points: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.searchsorted((points[1:] + points[:-1]) / 2, x)


def quadrature_error(density, nodes: Nodes, y, q, slope: float, v: np.ndarray) -> float:
    """Bits by which halving every panel changes the bounds: -Σ p log z, the distortion, and c at all cell ends."""
    if not len(nodes.left):
        return 0.0
    width = width_of(slope)
    if nodes.tail is not None:  # the rim is a constant times K, integrated by the same rule
        dual, _ = dual_nodes(nodes, nodes.p, width)
        v = v[dual.panel <= nodes.panel[-1]]
    middle = (nodes.left + nodes.right) / 2
    ends = np.stack([nodes.left, middle, middle, nodes.right], 1).reshape(-1, 2)
    x, w = rule(ends[:, 0], ends[:, 1])
    p = (w * density(x)).ravel()
    x = x.ravel()
    b = short_range.blocks(x, y, REACH * width)
    a = kernel(b, width)
    z = short_range.times(a, b, q)
    spent = short_range.times(a * b.u * b.u, b, q) / z
    coarse_b = short_range.blocks(nodes.x, y, REACH * width)
    coarse_a = kernel(coarse_b, width)
    coarse_z = short_range.times(coarse_a, coarse_b, q)
    coarse_spent = short_range.times(coarse_a * coarse_b.u * coarse_b.u, coarse_b, q) / coarse_z
    lowered = (nodes.p / coarse_z / np.where(v > 0, v, 1.0)).reshape(-1, ORDER)[:, 0]  # one factor per panel
    fine_v = p / z / np.repeat(np.where(lowered > 0, lowered, 1.0), 2 * ORDER)
    probe = np.unique(np.concatenate([y, (y[1:] + y[:-1]) / 2]))
    first = short_range.blocks(x, probe, REACH * width)
    second = short_range.blocks(nodes.x, probe, REACH * width)
    c = short_range.transpose_times(kernel(first, width), first, fine_v)
    coarse_c = short_range.transpose_times(kernel(second, width), second, v)
    return float(
        abs(p @ np.log2(z) - nodes.p @ np.log2(coarse_z))
        + slope * abs(p @ spent - nodes.p @ coarse_spent)
        + 2 * np.abs(c - coarse_c).max() / LN2
    )


def noise(jitter, nodes: Nodes, y: np.ndarray, q: np.ndarray, slope: float) -> float:
    """Bits by which either bound moves if the logarithm of the density is off by `jitter`.

    Below, λ takes up the error and leaves c as it is, so ∫ f log λ moves by that of log f and of f. Above, the free
    energy, the distortion and the output law move, and s ρ is at most -log z on average.
    """
    off = jitter(nodes.x)
    if not off.any():
        return 0.0
    b = short_range.blocks(nodes.x, y, REACH * width_of(slope))
    z = np.maximum(short_range.times(kernel(b, width_of(slope)), b, q), SMALLEST)
    bits = float(np.sum(nodes.p * off * (2 + 3 * np.abs(np.log(z))))) / LN2
    if nodes.tail is not None:
        bits += float(np.sum(nodes.tail.p * jitter(nodes.tail.x) * (2 + 3 * np.abs(nodes.tail.log_f)))) / LN2
    return bits


def rounding(nodes: Nodes, slope: float, distortion: float, rate: float) -> float:
    """Bound on the rounding error of either bound, in bits.

    K carries at most REACH² / 2 roundings of its exponent, z and c sum at most a few hundred such terms each, and the
    density's logarithm carries as many as its size; every mean over the nodes is a pairwise sum.
    """
    # A node is stored to EPS |x|, and K changes by up to REACH times that over the width.
    place = 2 * REACH * EPS * float(np.abs(nodes.x).max()) / width_of(slope)
    return 1000 * EPS * (1 + abs(rate) + 2 * slope * distortion) + place
