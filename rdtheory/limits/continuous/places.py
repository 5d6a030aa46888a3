"""Where on the line an optimum may have its points, and how many: certified from one that is nearly optimal.

Squared error, one slope. The optimum's c, c*, is at most one, and one at all its points. Near it is the c of what was
found, by `_near`: so are its derivatives, for which h is a derivative of the kernel. What is left of the line where c*
is not surely below one are a few short intervals. One on which c* is concave has at most one point, and one on which
its fourth derivative is negative at most two, for c* is concave, convex and concave there. An interval has a point if
the optimum on all others has a larger Lagrangian. notation: see `line`; places in units of w.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rdtheory.limits import _near
from rdtheory.limits.continuous import line, short_range, supremum
from rdtheory.limits.continuous.nodes import ABANDONED, LN2, REACH, Nodes, width_of

FAR = 3 * REACH  # widths within which a node sees a point: few points may be far from all mass
CELL = 1 / 8  # of a width
HALVINGS = 8
MOST = 2**12  # cells that are halved: more are left of a law that is far from the optimum
FINER = 8  # halvings more where only c of one law is asked for
AT_ONCE = 2**20  # nodes times places
# Bounds of two derivatives of the kernel beside it, and Cauchy's of those of c beside sup c, as in `supremum`.
LARGEST = {2: lambda t: t**2 + 1, 4: lambda t: t**4 + 6 * t**2 + 3}
CAUCHY = [1.0] + [math.factorial(k) * (math.e / k) ** (k / 2) for k in range(1, 6)]


class Law(NamedTuple):
    """Points and masses beside the source, whatever they are."""

    density: Callable | None  # of the source, none for atoms
    nodes: Nodes
    slope: float
    y: np.ndarray
    q: np.ndarray
    z: np.ndarray
    free: float  # -Σ p log z, nats: the Lagrangian of the law, up to its gap
    top: float  # a bound of c everywhere
    error: float  # of `free` and of log c: quadrature, rounding, what is not resolved

    @property
    def gap(self) -> float:
        """By how much the Lagrangian is at most above the least one, in nats."""
        return max(math.log(self.top), 0.0) + self.error


class Cells(NamedTuple):
    """Parts of the line, in widths."""

    middle: np.ndarray
    half: np.ndarray


def law_of(density: Callable | None, nodes: Nodes, slope: float, y: np.ndarray, q: np.ndarray) -> Law:
    """With z, and how far off that may be."""
    width = width_of(slope)
    b = short_range.blocks(nodes.x, y, FAR * width)
    a = line.kernel(b, width)
    z = mixture(nodes, y, q, width)
    v, free = nodes.p / z, -float(nodes.p @ np.log(z))
    quadrature = (
        0.0 if density is None or nodes.tail is not None else line.quadrature_error(density, nodes, y, q, slope, v)
    )
    spent = float(v @ short_range.times(a * b.u**2, b, q))
    error = float(LN2 * (quadrature + line.rounding(nodes, slope, spent, free)) + nodes.outside + ABANDONED)
    return Law(density, nodes, slope, y, q, z, free, supremum.bound(supremum.expand(nodes.x, v, width), 1e-14), error)


def possible(law: Law) -> list[Cells]:
    """The intervals in which an optimum has all its points, each as the cells that it consists of."""
    x = law.nodes.x / width_of(law.slope)
    count = math.ceil((x[-1] - x[0]) / CELL) + 1
    half = (x[-1] - x[0]) / count / 2  # outside of the source c* only falls
    cells = Cells(x[0] + half * (2 * np.arange(count) + 1), np.full(count, half))
    for halving in range(HALVINGS + 1):
        cells = _kept(cells, _greatest(law, cells) + _slack(law, cells, 0, 1.0) >= 1 - law.error)
        if halving == HALVINGS or len(cells.middle) > MOST:
            break
        cells = _halved(cells)
    apart = np.flatnonzero(np.diff(cells.middle) > 1.5 * (cells.half[1:] + cells.half[:-1])) + 1
    return [Cells(*parts) for parts in zip(*(np.split(part, apart) for part in cells), strict=True) if len(parts[0])]


def most(law: Law, interval: Cells) -> float:
    """How many points an optimum has in an interval, at most."""
    c, h = derivatives_of(law, interval.middle), interval.half
    second = c[2] + np.abs(c[3]) * h + CAUCHY[4] * law.top * h**2 / 2
    fourth = c[4] + CAUCHY[5] * law.top * h
    for k, points, bound in ((2, 1.0, second), (4, 2.0, fourth)):
        if np.all(bound + _slack(law, interval, k, 0.0) + CAUCHY[k] * law.error < 0):
            return points
    return math.inf


def lower_bound(law: Law, intervals: list[Cells], places: list[float]) -> float:
    """Of the Lagrangian, in nats, of every law with all points in these intervals or at these places."""
    greatest = float(np.max(derivatives_of(law, np.array(places), 1), initial=0.0))
    if intervals:
        cells = Cells(*(np.concatenate(parts) for parts in zip(*intervals, strict=True)))
        for _ in range(FINER):
            seen = float(np.max(derivatives_of(law, cells.middle, 1), initial=greatest))
            cells = _halved(_kept(cells, _greatest(law, cells) >= seen))
        greatest = float(np.max(_greatest(law, cells), initial=greatest))
    return law.free - math.log(greatest) - 2 * law.error


def _greatest(law: Law, cells: Cells) -> np.ndarray:
    """A bound of c on each cell: its Taylor polynomial of degree two, and the remainder."""
    (c, first, second), h = derivatives_of(law, cells.middle, 3), cells.half
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = np.where(second < 0, -first / second, np.inf)
    t = np.where(np.abs(inside) < h, inside, np.where(first < 0, -h, h))
    return c + first * t + second * t * t / 2 + CAUCHY[3] * law.top * h**3 / 6


def mixture(nodes: Nodes, y: np.ndarray, q: np.ndarray, width: float) -> np.ndarray:
    """Z at the nodes."""
    b = short_range.blocks(nodes.x, y, FAR * width)
    return np.maximum(short_range.times(line.kernel(b, width), b, q), line.SMALLEST)


def derivatives_of(law: Law, middle: np.ndarray, orders: int = 5) -> np.ndarray:
    """C and its first derivatives, (orders, places); all in widths."""
    return derivatives(law.nodes.x / width_of(law.slope), law.nodes.p / law.z, middle, orders)


def derivatives(x: np.ndarray, v: np.ndarray, middle: np.ndarray, orders: int = 5) -> np.ndarray:
    """The same from the weights of c at the nodes."""
    parts = [np.empty((orders, 0))]
    for some in _chunks(x, middle):
        t = x[:, None] - middle[some]
        before, now, sums = np.zeros_like(t), np.exp(-0.5 * t * t), []
        for k in range(orders):  # now = He_k(t) exp(-t² / 2)
            sums.append(v @ now)
            before, now = now, t * now - k * before
        parts.append(np.stack(sums))
    return np.concatenate(parts, axis=1)


def _slack(law: Law, cells: Cells, k: int, about: float) -> np.ndarray:
    """By how much the k-th derivative of c* may differ from that of c, on each cell."""
    x = law.nodes.x / width_of(law.slope)
    parts = []
    for some in _chunks(x, cells.middle):
        away = np.abs(x[:, None] - cells.middle[some])
        near, far = np.maximum(away - cells.half[some], 0.0), away + cells.half[some]
        high, low = (np.exp(-0.5 * t * t) / law.z[:, None] for t in (near, far))
        spread = np.maximum(np.abs(high - about), np.abs(low - about)) if k == 0 else high * LARGEST[k](far)
        parts.append(_near.slack(law.gap, law.nodes.p @ spread**2, np.max(spread, axis=0) + abs(about)))
    return np.concatenate(parts) if parts else np.empty(0)


def _chunks(x: np.ndarray, middle: np.ndarray) -> list[slice]:
    size = max(AT_ONCE // len(x), 1)
    return [slice(start, start + size) for start in range(0, len(middle), size)]


def _kept(cells: Cells, which: np.ndarray) -> Cells:
    return Cells(cells.middle[which], cells.half[which])


def _halved(cells: Cells) -> Cells:
    half = np.repeat(cells.half / 2, 2)
    return Cells(np.repeat(cells.middle, 2) + half * np.tile([-1.0, 1.0], len(cells.half)), half)
