"""A proposal for a source on the line under squared error: few points, their masses and the slope.

Nothing here is trusted: `continuous` proves with it what can be proved. It begins with the answer of
`rdtheory.continuous`, and lets Newton's method solve c = 1 and c' = 0 at the points and E d = D. Where the source has
no end, neither have the points: they are continued outwards one by one, each time with a little more of the source.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rdtheory.rigor._balls import flint
from rdtheory.rigor.densities import Density

LN2 = math.log(2)
NODES = 20  # of a Gauss-Legendre panel
PANEL = 0.6  # its length, in widths 1/√β of the kernel
APART = 0.4  # points nearer than this, in widths, are one
LEAST = 1e-7  # points of less mass are none
CUTS = (0.15, 0.2, 0.25, 0.12)  # shares of its width to which a source without ends is cut at first
FACTORS = (1.0, 0.97, 0.94, 0.9, 1.04, 0.86, 1.08, 0.8)  # of the distance to which it is then cut for a point more
SLACK = 1e-9  # by which c may exceed one in float64
TOL = 1e-8  # bits, of the solver that proposes
STEPS = 25  # of Newton's method
ASTRAY = 50.0  # a step as large as this leads nowhere
PATIENCE = (0, 60, 300)  # steps of Blahut and Arimoto before Newton's method is tried, and tried again


class Points(NamedTuple):
    """Places, masses and the slope in bits, in float64."""

    places: np.ndarray
    masses: np.ndarray
    slope: float


class Cut(NamedTuple):
    """Points for a source of which no more than what is between two ends is looked at."""

    points: Points
    low: float
    high: float


def proposed(density: Density, D: float, low: float, high: float) -> Cut | None:
    """Points for the source between `low` and `high`, or wider; None where none are found that look optimal."""
    with np.errstate(all="ignore"):
        ends = density.breaks[0] is not None
        whole = _solved(density, D, low, high, patience=PATIENCE if ends else (0,))
        if whole is not None or ends:
            return None if whole is None else Cut(whole, low, high)
        for share in CUTS:
            start = _solved(density, D, share * low, share * high)
            cut = None if start is None else _continued(density, start, D, share, low, high)
            if cut is not None:
                return cut
    return None


def _solved(density: Density, D: float, low: float, high: float, patience: tuple[int, ...] = PATIENCE) -> Points | None:
    """The optimum for the source between two ends, if it is on few points."""
    from rdtheory.limits import continuous

    _, p = nodes(density, low, high, 1 / (2 * D))
    inside = density.source.breaks[(density.source.breaks > low) & (density.source.breaks < high)]
    cut = density.source._replace(support=(low, high), breaks=inside if len(inside) else np.array([(low + high) / 2]))
    found = continuous.rate_at(cut, D / p.sum(), tol=TOL)
    slope, places, masses = float(found.slope), np.asarray(found.points, float), np.asarray(found.masses, float)
    if not 0 < slope < math.inf:
        return None
    groups = np.split(np.arange(len(places)), np.flatnonzero(np.diff(places) > APART / math.sqrt(slope * LN2)) + 1)
    merged = np.array([(masses[g] @ places[g] / masses[g].sum(), masses[g].sum()) for g in groups]).T
    kept = merged[1] > LEAST
    return _optimum(density, Points(merged[0][kept], merged[1][kept], slope), D, low, high, patience)


def _continued(density: Density, start: Points, D: float, share: float, low: float, high: float) -> Cut | None:
    """From the points of a source cut nearer, outwards on both sides until it is as wide as from `low` to `high`."""
    points, before, ends = start, None, (share * low, share * high)
    while points is not None and (ends[0] > low or ends[1] < high):
        wider, after = _wider(points, before)
        mirrored, ahead = _wider(_mirrored(wider), None if before is None else _mirrored(before))
        guess, here, before = _mirrored(mirrored), ends, points
        for factor in FACTORS:
            ends = (here[0] - factor * ahead, here[1] + factor * after)
            points = _optimum(density, guess, D, *ends)
            if points is not None:
                break
    return None if points is None else Cut(points, *ends)


def _wider(points: Points, before: Points | None) -> tuple[Points, float]:
    """One point more on the right, and by how much further the source is then to be cut.

    The last few go on as they did when the point `before` was added, the others stay.
    """
    y, q, slope = points
    if before is None:
        m = max(len(y) - 4, 0)
        step, ratio = y[m + 1] - y[m], q[m + 1] / q[m]
        return Points(np.append(y[: m + 1], y[m:] + step), np.append(q[: m + 1], q[m:] * ratio), slope), step
    k = min(4, len(before.places))
    places, masses = 2 * y[-k:] - before.places[-k:], q[-k:] ** 2 / before.masses[-k:]
    kept = len(y) + 1 - k
    return Points(np.append(y[:kept], places), np.append(q[:kept], masses), slope), y[-1] - before.places[-1]


def _mirrored(points: Points) -> Points:
    return Points(-points.places[::-1], points.masses[::-1], points.slope)


def _optimum(
    density: Density, start: Points, D: float, low: float, high: float, patience: tuple[int, ...] = PATIENCE
) -> Points | None:
    """Where Newton's method leads to, at once or after steps that always lead nearer, if that looks optimal."""
    x, p = nodes(density, low, high, start.slope * LN2)
    for steps in patience:
        points = _newton(x, p, _blahut_arimoto(x, p, start, steps), D)
        if points is None:
            continue
        grid = np.linspace(low, high, int(20 * (high - low) * math.sqrt(points.slope * LN2)) + 2)
        ratio = p / (_kernel(x, points) @ points.masses)
        parts = np.array_split(grid, len(grid) // 500 + 1)
        if max((_kernel(x, points._replace(places=part)).T @ ratio).max() for part in parts) < 1 + SLACK:
            return points
        return None
    return None


def _blahut_arimoto(x: np.ndarray, p: np.ndarray, points: Points, steps: int) -> Points:
    """Steps of Blahut and Arimoto, each point moved to the mean of what it stands for (Rose 1994)."""
    for _ in range(steps):
        joint = _kernel(x, points) * points.masses
        joint *= (p / joint.sum(axis=1))[:, None]
        masses = joint.sum(axis=0)
        points = Points(x @ joint / masses, masses, points.slope)
    return points


def _newton(x: np.ndarray, p: np.ndarray, points: Points, D: float) -> Points | None:
    """The solution of the equations, if Newton's method finds one."""
    for _ in range(STEPS):
        matrix, residual = equations(x, p, points, D)
        if not np.isfinite(matrix).all():
            return None
        try:
            step = np.linalg.solve(matrix, -residual)
        except np.linalg.LinAlgError:
            return None
        size = np.abs(step).max()
        if not size < ASTRAY:
            return None
        points = moved(points, step * min(1, 0.5 / size))
        if size < 1e-10:
            order = points.places.argsort()
            return Points(points.places[order], points.masses[order], points.slope)
    return None


def moved(points: Points, step: np.ndarray) -> Points:
    """After a step in log q, √β y and log s."""
    y, q, s = points
    k = len(y)
    return Points(y + step[k : 2 * k] / math.sqrt(s * LN2), q * np.exp(step[:k]), s * math.exp(step[2 * k]))


def equations(x: np.ndarray, p: np.ndarray, points: Points, D: float) -> tuple[np.ndarray, np.ndarray]:
    """Jacobian and values of (c - 1, c'/√β, E d/D - 1) in (log q, √β y, log s)."""
    y, q, s = points
    k, beta = len(y), s * LN2
    root = math.sqrt(beta)
    u = x[:, None] - y
    A = np.exp(-beta * u * u)
    z = A @ q
    r = p / z
    B, square = 2 * beta * u * A, A * u * u  # derivative in y, and what counts as distortion
    excess, slopes = square @ q, B.T @ r
    values = np.concatenate([A.T @ r - 1, slopes / root, [(r @ excess - D) / D]])
    in_z = (r / z)[:, None] * np.concatenate([A * q, B * q / root, (-beta * excess)[:, None]], axis=1)
    J = np.concatenate([-A.T @ in_z, -B.T @ in_z / root, -(excess @ in_z)[None] / D])
    both = np.arange(k)
    J[both, k + both] += slopes / root
    J[:k, 2 * k] -= beta * (square.T @ r)
    J[k + both, k + both] += (((2 * beta * u) ** 2 - 2 * beta) * A).T @ r / beta
    J[k : 2 * k, 2 * k] += beta * (2 * u * A - u * u * B).T @ r / root
    J[2 * k, :k] += q * (square.T @ r) / D
    J[2 * k, k : 2 * k] += q * ((u * u * B - 2 * u * A).T @ r) / D / root
    J[2 * k, 2 * k] -= beta * (((square * u * u) @ q) @ r) / D
    return J, values


def nodes(density: Density, low: float, high: float, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """Panels of Gauss and Legendre between two ends, with the breaks among their edges, and the density there."""
    edges = panel_edges(density, low, high, PANEL / math.sqrt(beta))
    t, w = np.polynomial.legendre.leggauss(NODES)
    middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    x = (middle[:, None] + half[:, None] * t).ravel()
    assert density.source.log_density is not None
    return x, (half[:, None] * w).ravel() * np.exp(density.source.log_density(x))


def panel_edges(density: Density, low: float, high: float, length: float) -> np.ndarray:
    """Edges at most `length` apart from low to high, the inner breaks of the density among them."""
    inner = [b for b in (float(flint.arb(edge)) for edge in density.breaks[1:-1]) if low < b < high]
    ends = [low, *inner, high]
    parts = [np.linspace(a, b, math.ceil((b - a) / length) + 1) for a, b in pairwise(ends)]
    return np.unique(np.concatenate(parts))


def _kernel(x: np.ndarray, points: Points) -> np.ndarray:
    return np.exp2(-points.slope * (x[:, None] - points.places) ** 2)
