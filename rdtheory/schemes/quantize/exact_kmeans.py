"""Dynamic program of the best partition of sorted points into consecutive cells, on NumPy arrays.

With F_j(i) the least cost of the first i points in j cells, F_j(i) = min_l F_{j-1}(l) + cost(l, i). Where a point costs
more the farther it is from the value of its cell, the leftmost best l does not decrease with i: for a <= b <= c <= d,
cost(a, c) + cost(b, d) <= cost(a, d) + cost(b, c), as the two values on the right serve the cells on the left, the
smaller value the one further left. So the middle row of each gap looks only between the answers of its two neighbors,
which is n candidates for all the rows of one halving.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Positions = NDArray[np.intp]
Cell = Callable[[Numbers], Numbers]

POLISHING = 20
CHUNK = 1 << 15  # candidates at a time: some arrays of this length fit in a processor's cache


def fit(
    values: Numbers, importance: Numbers, curvature: Numbers, levels: int, kind: np.dtype
) -> tuple[NDArray, Positions, float]:
    """Codebook, labels and objective of least Σ importance (w - ŵ)² + curvature (w - ŵ)⁴, all vectors of one length.

    The codebook is of dtype `kind`, and the rest is what it is for those values.
    """
    # Far from the end of the range of numbers, so that sums stay in it; a power of two changes no digit.
    shrunk = 2.0**-64 if max(importance.max(), curvature.max()) > 1e280 else 1.0
    importance, curvature = importance * shrunk, curvature * shrunk
    counted = (importance > 0) | (curvature > 0)
    # Where nothing matters whatever is chosen is best; then all count alike.
    share = importance if counted.any() else np.ones_like(importance)
    counted |= ~counted.any()
    order = np.flatnonzero(counted)[np.argsort(values[counted], kind="stable")]
    points = values[order]
    new = np.flatnonzero(np.concatenate([[True], points[1:] != points[:-1]]))
    points, a, b = points[new], np.add.reduceat(share[order], new), np.add.reduceat(curvature[order], new)
    used = min(levels, len(points))
    if used == len(points):
        codebook = points
    else:
        # Moments about the middle of the points: those about a far zero would lose their digits.
        middle = np.average(points, weights=a / a.max() + b / b.max() if a.any() and b.any() else a + b)
        scale = np.abs(points - middle).max()
        moved = (points - middle) / scale
        # In units of the largest, so that no square or sum leaves the range of numbers.
        unit = max(a.max(), b.max() * scale**2)
        a, b = a / unit, b / unit * scale**2
        quartic = b.any()
        prefixes = _prefixes([*(a * moved**k for k in range(2)), *(b * moved**k for k in range(4 if quartic else 0))])
        breaks = optimal_breaks(prefixes, used, quartic_cell if quartic else kmeans_cell)
        codebook = _polished(moved, a, b, breaks) * scale + middle
    stored = codebook.astype(kind)
    codebook = stored.astype(np.float64)
    labels = np.searchsorted((codebook[1:] + codebook[:-1]) / 2, values)
    squares = (values - codebook[labels]) ** 2
    fourth = curvature * squares**2 if curvature.any() else 0.0  # fourth powers need not be numbers
    with np.errstate(over="ignore"):  # which may itself be too large for a number
        objective = float(np.sum(importance * squares + fourth) / shrunk)
    return np.concatenate([stored, np.full(levels - used, stored[-1])]), labels, objective


def kmeans_cell(sums: Numbers) -> Numbers:
    """Least Σ a (w - c)² of cells, without Σ a w², from their sums of a w^0..1, (2, cells)."""
    square = sums[1] * sums[1]
    # Weights that vanish in the running sums leave a cell of sum 0, and a square that is nothing either.
    np.divide(square, sums[0], out=square, where=sums[0] > 0)
    return np.negative(square, out=square)


def quartic_cell(sums: Numbers) -> Numbers:
    """Least Σ a (w - c)² + b (w - c)⁴, without Σ a w² + b w⁴, from the sums of a w^0..1 and b w^0..3, (6, cells).

    The points are within [-1, 1], where rounding in the sums of weights that hardly count must not take c out of.
    """
    a0, a1, b0, b1, b2, b3 = sums
    c = np.clip(cubic_root(sums[:2], sums[2:], np), -1.0, 1.0)
    return -c * (2 * a1 - c * a0) - c * (4 * b3 - c * (6 * b2 - c * (4 * b1 - c * b0)))


def cubic_root(a, b, xp):
    r"""The c of least Σ a (w - c)² + b (w - c)⁴, from the sums of a w^0..1, (2, ...), and of b w^0..3, (4, ...).

    The derivative, over 4, is B₀c³ - 3B₁c² + (3B₂ + A₀/2)c - (B₃ + A₁/2), and its own derivative is positive: one real
    root. About u = B₁/B₀, over B₀, it is t³ + pt + q with p >= 0, and t = -2√(p/3) sinh(asinh(3q/(2p) √(3/p))/3).
    """
    flat = b[0] <= 1e-100 * a[0]  # no fourth power to speak of
    b0 = xp.where(flat, 1.0, b[0])
    u, half = b[1] / b0, a[0] / (2 * b0)
    p = 3 * xp.maximum(b[2] / b0 - u * u, 0.0) + half
    q = u * (3 * b[2] / b0 - 2 * u * u + half) - b[3] / b0 - a[1] / (2 * b0)
    safe = xp.where(p > 0, p, 1.0)
    t = -2 * xp.sqrt(safe / 3) * xp.sinh(xp.arcsinh(1.5 * q / safe * xp.sqrt(3 / safe)) / 3)
    c = u + xp.where(p > 0, t, 0.0)
    slope = xp.where(p > 0, 3 * (c - u) ** 2 + p, 1.0)  # one Newton step for the last digits
    c = c - xp.where(p > 0, ((c - u) ** 3 + p * (c - u) + q) / slope, 0.0)
    return xp.where(flat, a[1] / xp.where(a[0] > 0, a[0], 1.0), c)


def optimal_breaks(prefixes: Numbers, levels: int, cell: Cell) -> Positions:
    """Ends of the cells of a best partition of n sorted points into `levels` <= n cells, (levels + 1,), from 0 to n.

    `cell` turns sums over cells, (f, cells), into their costs; a part that every partition pays may be left out.
    """
    n = prefixes.shape[1] - 1
    least = np.full(n + 1, np.inf)
    least[1:] = cell(prefixes[:, 1:] - prefixes[:, :1])
    choices = []
    for used in range(2, levels):
        least, choice = _add_cell(prefixes, least, used, cell)
        choices.append(choice)
    breaks = [n]
    if levels > 1:  # of the last row only the end is wanted
        starts = np.array([levels - 1])
        breaks.append(int(_search(prefixes, least, np.array([n]), starts, np.array([n - 1]), cell)[1][0]))
        for choice in reversed(choices):
            breaks.append(int(choice[breaks[-1]]))
    return np.array([*breaks, 0][::-1])


def _add_cell(prefixes: Numbers, least: Numbers, used: int, cell: Cell) -> tuple[Numbers, NDArray[np.int32]]:
    """F_used and the start of its last cell at every i, from F_{used - 1}; each cell holds at least one point."""
    n = len(least) - 1
    rows = n - used + 1  # row r = 1..rows stands for i = used - 1 + r
    grown, choice = np.full(n + 1, np.inf), np.zeros(n + 1, np.int32)
    # Rows 0 and rows + 1 onward are sentinels: the first and the last column there are.
    best = np.full(2 * (1 << rows.bit_length()) + 1, n - 1)
    best[0] = used - 1
    stride = 1 << (rows.bit_length() - 1)
    while stride:
        r = np.arange(stride, rows + 1, 2 * stride)
        i = used - 1 + r
        grown[i], found = _search(prefixes, least, i, best[r - stride], np.minimum(best[r + stride], i - 1), cell)
        choice[i] = best[r] = found
        stride //= 2
    return grown, choice


def _search(
    prefixes: Numbers, least: Numbers, i: Positions, first: Positions, last: Positions, cell: Cell
) -> tuple[Numbers, Positions]:
    """Least of least[l] + cost(l, i) over first <= l <= last for each i, and the first l that has it."""
    found, values = first.copy(), least[first] + cell(prefixes[:, i] - prefixes[:, first])
    longer = np.flatnonzero(last > first)
    ends = np.cumsum(last[longer] - first[longer])
    row = 0
    while row < len(longer):
        done = ends[row - 1] if row else 0
        stop = max(row + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
        part = longer[row:stop]
        lengths = last[part] - first[part]
        starts = ends[row:stop] - done - lengths
        # Without its first column, tried above, a row mostly starts where the one before it stopped: nothing to gather.
        columns = np.arange(first[part[0]] + 1, last[part[-1]] + 1)
        chosen = slice(int(columns[0]), int(columns[-1]) + 1)
        if len(columns) != ends[stop - 1] - done:
            chosen = columns = np.arange(lengths.sum()) + np.repeat(first[part] + 1 - starts, lengths)
        sums = np.repeat(prefixes[:, i[part]], lengths, axis=1)
        sums -= prefixes[:, chosen]
        costs = cell(sums)
        costs += least[chosen]
        smallest = np.minimum.reduceat(costs, starts)
        hits = np.flatnonzero(costs == np.repeat(smallest, lengths))
        where = columns[hits[np.searchsorted(hits, starts)]]
        better = smallest < values[part]
        values[part[better]], found[part[better]] = smallest[better], where[better]
        row = stop
    return values, found


def _polished(points: Numbers, a: Numbers, b: Numbers, breaks: Positions) -> Numbers:
    """Best values of the cells, from moments about each cell's own middle; then Lloyd's steps till none moves a break.

    Where running sums could not tell two partitions apart, that takes what is left of the difference.
    """
    for _ in range(POLISHING):
        starts, counts = breaks[:-1], np.diff(breaks)
        middle = (points[starts] + points[breaks[1:] - 1]) / 2
        away = points - np.repeat(middle, counts)
        moments = [np.add.reduceat(weight * away**k, starts) for weight in (a, b) for k in range(4)]
        codebook = middle + cubic_root(moments[:2], moments[4:], np)
        edges = np.searchsorted(points, (codebook[1:] + codebook[:-1]) / 2, side="right")
        moved = np.concatenate([[0], edges, [len(points)]])
        if (moved == breaks).all() or (np.diff(moved) < 1).any():
            break
        breaks = moved
    return codebook


def _prefixes(terms: list[Numbers]) -> Numbers:
    # Summed in the widest arithmetic there is, so that a running sum is off by one rounding and not by n.
    sums = np.zeros((len(terms), len(terms[0]) + 1))
    for total, term in zip(sums, terms, strict=True):
        total[1:] = np.cumsum(term, dtype=np.longdouble)
    return sums
