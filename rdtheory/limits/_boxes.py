"""Reproduction masses on boxes: runs of neighboring edges of a grid that share a mass evenly.

Where the best reproduction has a density, wide boxes follow it with few unknowns; where it has an atom, a box is cut
until it is one edge. The masses come from the same interior point as for squared error, with K averaged over boxes and
over groups of cells: any masses give valid bounds, so what these averages lose shows in the gap and nowhere else.
"""

from typing import NamedTuple

import numpy as np

from rdtheory.limits import _short_range
from rdtheory.limits._cells import LN2, Cells, Measure, reach

TEETH = 8  # edges of a box that are used in the end
PARTS = 4  # that a box is cut into
SEEN = 18.0  # nats: K below e^-18 does not decide on masses
LEAST = 1e-18  # mass of a group


class Boxes(NamedTuple):
    """Runs of edges, sorted and disjoint."""

    first: np.ndarray
    width: np.ndarray  # in edges


def comb(edges: int, width: int) -> Boxes:
    """All edges in boxes of a width."""
    first = np.arange(0, edges, width)
    return Boxes(first, np.diff(np.append(first, edges)))


def finer(boxes: Boxes, times: int, edges: int) -> Boxes:
    """The same boxes on a grid with so many times the cells: single edges stay single, and what lies between is left."""
    single = boxes.width == 1
    width = np.where(single, 1, boxes.width * times)
    first = boxes.first * times
    return Boxes(first, np.minimum(width, edges - first))


def cut(boxes: Boxes, q: np.ndarray, at: np.ndarray) -> tuple[Boxes, np.ndarray]:
    """The boxes with these edges in them cut in parts; an edge in no box becomes one."""
    own = np.clip(np.searchsorted(boxes.first, at, side="right") - 1, 0, len(boxes.first) - 1)
    covered = (at >= boxes.first[own]) & (at < boxes.first[own] + boxes.width[own])
    parts = np.ones(len(q), int)
    parts[own[covered]] = np.minimum(PARTS, boxes.width[own[covered]])
    index = np.repeat(np.arange(len(q)), parts)
    k = np.arange(len(index)) - np.repeat(np.cumsum(parts) - parts, parts)
    start, stop = (boxes.width[index] * (k + one) // parts[index] for one in (0, 1))
    first, width, mass = boxes.first[index] + start, stop - start, q[index] / parts[index]
    new = np.unique(at[~covered])
    first, width = np.append(first, new), np.append(width, np.ones(len(new), int))
    mass = np.append(mass, np.full(len(new), float(np.mean(q))))
    order = np.argsort(first)
    return Boxes(first[order], width[order]), mass[order] / mass.sum()


def on_edges(boxes: Boxes, q: np.ndarray, edges: int) -> np.ndarray:
    """The masses spread over a few edges of each box, (edges,)."""
    teeth = np.minimum(boxes.width, TEETH)
    result = np.zeros(edges)
    for k in range(TEETH):
        use = k < teeth
        result[boxes.first[use] + _tooth(boxes.width[use], k)] += q[use] / teeth[use]
    return result


def _tooth(width: np.ndarray, k: int) -> np.ndarray:
    """Place in its box of the k-th edge that is used."""
    teeth = np.clip(width, 1, TEETH)
    return (width * (2 * k + 1)) // (2 * teeth)


def masses(rho: Measure, slope: float, cells: Cells, boxes: Boxes, q: np.ndarray, group: int, tol: float) -> np.ndarray:
    """The best masses for the source in groups of so many cells."""
    step = cells.grid.step
    start = np.arange(0, cells.grid.cells, group)
    size = np.diff(np.append(start, cells.grid.cells))
    p = np.add.reduceat(cells.mass, start)
    start, size, p = start[p > LEAST], size[p > LEAST], p[p > LEAST]
    most = (cells.grid.cells + 1) * step
    near = int(max(reach(rho, slope, SEEN, most)) / step) + 2
    pad = int(boxes.width.max()) + group + 2
    k = np.arange(-near - pad, near + pad + 1)
    table = np.where(np.abs(k) <= near, np.exp2(-slope * rho((k + 0.5) * step)), 0.0)
    sums = np.append(0.0, np.cumsum(table))
    b = _short_range.blocks(start.astype(float), boxes.first.astype(float), near + float(boxes.width.max()) + group)
    rows = np.minimum(np.arange(b.x.size), b.n - 1).reshape(b.x.shape)
    size, width = size[rows][:, :, None], np.append(boxes.width, 1)[b.columns][:, None, :]
    place = np.rint(b.u).astype(np.int64) + near + pad
    teeth = np.minimum(width, TEETH)
    a = np.zeros(place.shape)
    for tooth in range(min(TEETH, int(boxes.width.max()))):
        at = np.clip(place - _tooth(width, tooth), 0, len(table) - group)
        a += np.where(tooth < teeth, sums[at + size] - sums[at], 0.0)
    a *= b.present / (size * teeth)
    start_q = np.maximum(q, 1e-14)
    found, _ = _short_range.minimize(a, b, p, start_q / start_q.sum(), tol * LN2)
    return np.maximum(found, 0.0) / np.maximum(found, 0.0).sum()
