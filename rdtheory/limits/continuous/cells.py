"""A density on equal cells and a kernel K of differences on their edges: sums over cells are convolutions.

Reproductions are edges, so K(x - y) is smooth in x on every cell, though it may have a kink at zero. Inside a cell a
function of x is the polynomial through its values at four Gauss points, times the density: its weights integrate any
density, however rough, and what three points give instead is the stated error.

notation: edges e_j = start + j h; cell i = [e_i, e_(i+1)]; K(u) = 2^(-s ρ(u)); table[k] belongs to x - y = k h + ...
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from rdtheory.limits.continuous.law import Law
from rdtheory.limits.continuous.panels import divide, resolve, rule

LN2 = math.log(2)
EPS = np.finfo(float).eps
FALLEN = 40.0  # nats: where K < e^-40 it is dropped
ABANDONED = 1e-11  # mass, and nats of distortion, given up far out
GIVEN_UP = 1e-7  # the same, beyond which cells are rather made coarser
COARSEST = 0.4  # widths of the kernel
OFFSETS = {order: np.polynomial.legendre.leggauss(order) for order in (2, 3, 4)}

Measure = Callable[[np.ndarray], np.ndarray]  # ρ


class Grid(NamedTuple):
    """Equal cells over the part of a source that is resolved."""

    start: float
    step: float
    cells: int

    @property
    def edges(self) -> np.ndarray:
        """All edges, (cells + 1,)."""
        return self.start + self.step * np.arange(self.cells + 1)


class Cells(NamedTuple):
    """A density as the grid sees it."""

    grid: Grid
    mass: np.ndarray  # (cells,)
    weights: dict[int, np.ndarray]  # by order: (order, cells), of the values at the Gauss points
    entropy: float  # -∫ f log2 f over the grid, bits
    outside: float  # mass
    far_x: np.ndarray  # quadrature of what lies outside
    far_p: np.ndarray
    error: float  # of the mass, and of the entropy in nats


class Kernel(NamedTuple):
    """K and K ρ at one slope, tabulated within reach."""

    slope: float
    low: int  # index of the first entry of every table: x - y = (low + place) h
    edge: np.ndarray  # K(k h), one entry more than the others
    nodes: dict[int, np.ndarray]  # K((k + t) h), (order, entries)
    spent: dict[int, np.ndarray]  # K ρ there

    @property
    def high(self) -> int:
        """Index of the last entry."""
        return self.low + len(self.edge) - 2


def reach(rho: Measure, slope: float, nats: float, most: float) -> tuple[float, float]:
    """How far to the left and to the right of zero s ρ stays below so many nats, or a little more; at most `most`."""
    u = most * np.geomspace(1e-15, 1, 4000)
    over = [LN2 * slope * rho(sign * u) > nats for sign in (-1.0, 1.0)]
    left, right = (float(u[np.argmax(one)]) if one.any() else most for one in over)
    return left, right


def width_of(rho: Measure, slope: float, most: float) -> float:
    """Length over which K falls, on its steeper side."""
    top = max(float(LN2 * slope * rho(np.array([sign * most]))[0]) for sign in (-1.0, 1.0))
    high = min(2.0, 0.9 * top)
    far, near = reach(rho, slope, high, most), reach(rho, slope, high / 16, most)
    return min(max(a - b, a / 64) for a, b in zip(far, near, strict=True))


def core(law: Law, rho: Measure, slope: float, longest: float) -> tuple[float, float, float]:
    """The interval outside of which neither mass nor distortion is worth a cell; shorter if that is too long.

    Also what was given up at either end, mass and nats; infinite if that was more than there is.
    """
    panels = law.panels
    assert panels is not None
    center = float(np.median(law.source.breaks))
    # Panels may be coarse where little is left, so they are cut first.
    length = panels.right - panels.left
    left, right = divide(panels.left, panels.right, np.maximum(law.source.scale / 4, length / 64))
    x, w = rule(left, right)
    with np.errstate(over="ignore"):
        far = LN2 * slope * np.maximum(rho(left - center), rho(right - center))
        cost = (w * law.density(x)).sum(1) * (1 + np.where(np.isfinite(far), far, 1e300))
    ahead, behind = np.cumsum(cost), np.cumsum(cost[::-1])[::-1]
    least = min(float(np.minimum(ahead, behind).max()) / 2, 1.0)
    for given_up in ABANDONED * 10.0 ** np.arange(0, 300, 0.5):
        kept = np.nonzero((ahead > min(given_up, least)) & (behind > min(given_up, least)))[0]
        low, high = float(left[kept[0]]), float(right[kept[-1]])
        if high - low <= longest or given_up > least:
            break
    if high - low > longest:  # not even without most of the mass: what is about the center
        return max(low, center - longest / 2), min(high, center + longest / 2), math.inf
    return low, high, given_up


def grid_of(law: Law, rho: Measure, slope: float, fraction: float, most_cells: int) -> Grid:
    """Cells of a fraction of the kernel's width; jumps of the density and the ends of a flat bottom on edges.

    A wide source gets coarser ones, up to `COARSEST`, rather than lose its ends.
    """
    assert law.panels is not None
    source = law.source
    most = float(law.panels.right[-1] - law.panels.left[0])
    step = fraction * min(width_of(rho, slope, most), source.scale)
    low, high, lost = core(law, rho, slope, most_cells * step)
    while lost > GIVEN_UP and 2 * fraction <= COARSEST:
        step, fraction = 2 * step, 2 * fraction
        low, high, lost = core(law, rho, slope, most_cells * step)
    flat = [end for end in reach(rho, 1.0, 0.0, high - low) if 1e-6 * step < end < high - low]
    at_low, at_high = low == source.support[0], high == source.support[1]
    whole_source = [high - low] if at_low and at_high else []
    anchor = low if at_low else high if at_high else float(np.median(source.breaks))
    steps = [abs(place - anchor) for place in source.breaks[:16] if low < place < high]
    step = _aligned(whole_source + flat + steps, step)
    before = math.ceil((anchor - low) / step - 1e-9)
    cells = before + math.ceil((high - anchor) / step - 1e-9)
    return Grid(anchor - before * step, step, cells)


def _aligned(lengths: list[float], step: float) -> float:
    """A step between half the one given and that: it divides the first length, and as many others as can be."""
    lengths = [length for length in lengths if length > step / 2]
    if not lengths:
        return step
    first = math.ceil(lengths[0] / step - 1e-9)
    steps = lengths[0] / np.arange(first, min(2 * first, first + 5_000) + 1)
    ratio = np.array(lengths)[:, None] / steps
    misfits = (np.abs(ratio - np.round(ratio)) > 1e-9 * ratio).sum(axis=0)
    return float(steps[np.argmin(misfits)])


def cells_of(law: Law, grid: Grid) -> Cells:
    """The density on a grid: its panels cut at the edges, and what it has beyond them."""
    panels, edges = law.panels, grid.edges
    assert panels is not None
    low, high = edges[0], edges[-1]
    ends = np.append(panels.left, panels.right[-1])
    cuts = np.unique(np.concatenate([ends, edges]))
    cuts = cuts[(cuts >= ends[0]) & (cuts <= ends[-1])]
    left, right = cuts[:-1], cuts[1:]
    middle = (left + right) / 2
    inside = (middle > low) & (middle < high)
    x, w = rule(left[inside], right[inside])
    log_f = law.log_density(x)
    p = w * np.exp(log_f)
    cell = np.clip(((middle[inside] - low) / grid.step).astype(np.int64), 0, grid.cells - 1)
    t = 2 * (x - edges[cell][:, None]) / grid.step - 1
    most = max(OFFSETS)
    legendre = np.polynomial.legendre.legvander(t, most - 1)
    moments = np.stack([np.bincount(cell, (p * legendre[..., a]).sum(1), grid.cells) for a in range(most)])
    weights = {}
    for order, (at, share) in OFFSETS.items():
        # Σ_k of this times g(t_k) integrates the polynomial through the values of g
        basis = np.polynomial.legendre.legvander(at, order - 1) * (np.arange(order) + 0.5) * share[:, None]
        weights[order] = basis @ moments[:order]
    entropy = -float(np.sum(np.where(p > 0, p * np.where(p > 0, log_f, 0.0), 0.0))) / LN2
    far_x, far_w = rule(left[~inside], right[~inside])
    far_p = (far_w * law.density(far_x)).ravel()
    outside = max(1 - float(moments[0].sum()), float(far_p.sum())) + panels.error
    return Cells(grid, moments[0], weights, entropy, max(outside, 0.0), far_x.ravel(), far_p, panels.error)


def kernel_of(rho: Measure, slope: float, grid: Grid) -> Kernel:
    """The tables at a slope."""
    most = (grid.cells + 1) * grid.step
    left, right = (min(math.ceil(end / grid.step) + 1, grid.cells + 1) for end in reach(rho, slope, FALLEN, most))
    k = np.arange(-left, right + 1)
    nodes, spent = {}, {}
    for order, (at, _) in list(OFFSETS.items())[1:]:
        d = rho((k + (1 + at[:, None]) / 2) * grid.step)
        nodes[order] = np.exp2(-slope * d)
        spent[order] = d * nodes[order]
    return Kernel(slope, -left, np.exp2(-slope * rho(np.append(k, right + 1) * grid.step)), nodes, spent)


def whole(rho: Measure, kernel: Kernel, grid: Grid) -> tuple[np.ndarray, float]:
    """∫ K over each cell, and a bound on the sum of their errors."""
    edges = grid.step * np.arange(kernel.low, kernel.high + 2)
    found = resolve(lambda u: -LN2 * kernel.slope * rho(u), edges)
    place = np.clip(np.searchsorted(edges, found.left, side="right") - 1, 0, len(edges) - 2)
    scale = math.exp(found.log_scale)
    return scale * np.bincount(place, found.mass, len(edges) - 1), scale * found.error


def spread(table: np.ndarray, low: int, q: np.ndarray, cells: int) -> tuple[np.ndarray, float]:
    """Σ_j q_j table[i - j] over the cells i, (rows, cells), and a bound on its rounding."""
    full, noise = _convolve(table, q[None, :])
    return full[:, -low : cells - low], noise


def gather(table: np.ndarray, low: int, v: np.ndarray, edges: int) -> tuple[np.ndarray, float]:
    """Σ_i v_i table[i - j] over the edges j, summed over rows, and a bound on its rounding."""
    high = low + table.shape[1] - 1
    full, noise = _convolve(table[:, ::-1], v)
    return full.sum(0)[high : high + edges], noise * len(table)


def _convolve(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float]:
    size = a.shape[1] + b.shape[1] - 1
    norm = float(np.linalg.norm(a, axis=1).max() * np.linalg.norm(b, axis=1).max())
    length = scipy.fft.next_fast_len(size, real=True)
    full = scipy.fft.irfft(scipy.fft.rfft(a, length) * scipy.fft.rfft(b, length), length)[:, :size]
    return full, 8 * EPS * math.log2(size + 1) * norm


def exactly(tables: list[np.ndarray], low: int, q: np.ndarray, first: int, last: int) -> list[np.ndarray]:
    """What `spread` gives for the cells from first to last, term by term: no digit is lost where it is small."""
    high, table = low + tables[0].shape[1] - 1, np.concatenate(tables)
    total = np.zeros((len(table), last - first))
    near = np.nonzero(q[max(first - high, 0) : max(last - low, 0)])[0] + max(first - high, 0)
    # The same sums in the same order, by edges or by distances, whichever are fewer.
    if len(near) <= high - low + 1:
        for j in near:
            start, stop = max(low, first - j), min(high + 1, last - j)
            if start < stop:
                total[:, start + j - first : stop + j - first] += q[j] * table[:, start - low : stop - low]
    else:
        for k in range(high, low - 1, -1):
            start, stop = max(first, k), min(last, len(q) + k)
            if start < stop:
                total[:, start - first : stop - first] += table[:, k - low, None] * q[start - k : stop - k]
    return np.split(total, np.cumsum([len(one) for one in tables])[:-1])
