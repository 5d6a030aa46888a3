"""Reproduction masses on boxes: runs of neighboring edges of a grid that share a mass evenly.

Where the best reproduction has a density, wide boxes follow it with few unknowns; where it has an atom, a box is cut
until it is one edge. The masses come from the same interior point as for squared error, with K averaged over boxes and
over groups of cells: any masses give valid bounds, so what these averages lose shows in the gap and nowhere else.
"""

from typing import NamedTuple

import numpy as np

from rdtheory.limits.continuous import short_range
from rdtheory.limits.continuous.cells import LN2, OFFSETS, Cells, Measure, reach

TEETH = 8  # edges of a box that are used in the end
PARTS = 4  # that a box is cut into
SEEN = 18.0  # nats: K below e^-18 does not decide on masses
LEAST = 1e-18  # mass of a row
POINTS = 2  # in a cell
FEW = 3000  # cells


class Boxes(NamedTuple):
    """Runs of edges, sorted and disjoint."""

    first: np.ndarray
    width: np.ndarray  # in edges


def comb(edges: int, width: int) -> Boxes:
    """All edges in boxes of a width."""
    first = np.arange(0, edges, width)
    return Boxes(first, np.diff(np.append(first, edges)))


def finer(boxes: Boxes, times: int, edges: int) -> Boxes:
    """The same boxes on a grid with so many times the cells; single edges stay single."""
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


class Rows(NamedTuple):
    """The source for the interior point: groups of cells, or two Gauss points in a cell, sorted."""

    cell: np.ndarray
    kind: np.ndarray  # -1 a group that begins there, else which of the points
    p: np.ndarray


def rows_of(cells: Cells, boxes: Boxes, box: int, group: int, near: int) -> Rows:
    """Gauss points within so many cells of a box that was cut, or everywhere if the cells are few; groups elsewhere."""
    n = cells.grid.cells
    fine = np.zeros(n + 1)
    cut_up = boxes.first[(boxes.width < box) & (boxes.first + boxes.width <= n)]
    np.add.at(fine, np.maximum(cut_up - near, 0), 1)
    np.add.at(fine, np.minimum(cut_up + near, n), -1)
    exact = (np.cumsum(fine)[:n] > 0) | (n <= FEW) | (group == 1)
    start = np.arange(0, n - n % group, group)
    whole = ~np.logical_or.reduceat(exact, start) if len(start) else np.empty(0, bool)
    exact[:] = True
    for k in range(group):
        exact[start[whole] + k] = False
    single = np.nonzero(exact)[0]
    order = len(cells.weights[POINTS])
    weights = cells.weights[POINTS][:, single]
    rough = (weights < 0).any(axis=0)
    weights = np.where(rough, cells.mass[single] / order, weights)
    cell = np.concatenate([start[whole], np.tile(single, order)])
    kind = np.concatenate([np.full(whole.sum(), -1), np.repeat(np.arange(order), len(single))])
    p = np.concatenate([np.add.reduceat(cells.mass, start)[whole] if len(start) else np.empty(0), weights.ravel()])
    keep = np.lexsort((kind, cell))
    keep = keep[p[keep] > LEAST]
    return Rows(cell[keep], kind[keep], p[keep])


def masses(rho: Measure, slope: float, cells: Cells, rows: Rows, boxes: Boxes, q: np.ndarray, group: int, tol: float):
    """The best masses for these rows, (boxes,)."""
    step = cells.grid.step
    most = (cells.grid.cells + 1) * step
    near = int(max(reach(rho, slope, SEEN, most)) / step) + 2
    pad = int(boxes.width.max()) + group + 2
    k = np.arange(-near - pad, near + pad + 1)
    offsets = np.append((1 + OFFSETS[POINTS][0]) / 2, 0.5)
    tables = np.exp2(-slope * rho((k + offsets[:, None]) * step)) * (np.abs(k) <= near)
    sums = np.append(np.cumsum(tables[-1]), np.full(group, tables[-1].sum()))
    tables[-1] = (sums[group - 1 : len(k) + group - 1] - np.append(0.0, sums[: len(k) - 1])) / group
    b = short_range.blocks(rows.cell.astype(float), boxes.first.astype(float), float(near + pad))
    index = np.minimum(np.arange(b.x.size), b.n - 1).reshape(b.x.shape)
    kind, width = rows.kind[index][:, :, None], np.append(boxes.width, 1)[b.columns][:, None, :]
    place = np.rint(b.u).astype(np.int64) + near + pad
    row = (kind % len(tables)) * len(k)
    teeth = np.minimum(width, TEETH)
    a = np.zeros(place.shape)
    for tooth in range(min(TEETH, int(boxes.width.max()))):
        at = np.clip(place - _tooth(width, tooth), 0, len(k) - 1)
        a += np.where(tooth < teeth, tables.ravel()[row + at], 0.0)
    a *= b.present / teeth
    start_q = np.maximum(q, 1e-14)
    found, _ = short_range.minimize(a, b, rows.p, start_q / start_q.sum(), tol * LN2)
    return np.maximum(found, 0.0) / np.maximum(found, 0.0).sum()
