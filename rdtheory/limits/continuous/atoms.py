"""A reproduction on few points: Newton's method on their places, their masses and the slope at once.

At the optimum c(y) = 1 and c'(y) = 0 at each point, and the distortion is the one asked for: as many equations as
unknowns. It begins at the maxima of c, of which a fair solution on other points has as many as the optimum has points.
Nothing here is trusted; the bounds are those of `line`. notation: see `line`; t = (x - y) / w.
"""

import math

import numpy as np

from rdtheory.limits.continuous import supremum
from rdtheory.limits.continuous.line import nearest
from rdtheory.limits.continuous.nodes import REACH, Nodes, width_of

HIGH, HEAVY = 0.9, 1e-12  # least c and least mass of a maximum that is taken for a point
STEPS = 30
HOPELESS = 5  # steps in which the largest residual must fall by a third
FURTHEST = np.array([0.3, 1.0, 0.1])  # in one step: of a place in widths, of the logarithms of a mass and of the slope
EXACT = 1e-12


def likely(
    cells: supremum.Cells, y: np.ndarray, q: np.ndarray, mean: float, variance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Places and masses of the optimum's points, by those of a fair solution and its c.

    One maximum stands for two points nearer than two widths: Y = E[X given Y] has the mean of X, and as variance that
    of X less D.
    """
    _, places, _ = supremum.maxima(cells, HIGH)
    if len(places) == 1:
        return mean + math.sqrt(variance) * np.array([-1.0, 1.0]), np.array([0.5, 0.5])
    if not len(places):
        return places, places
    mass = np.bincount(nearest(places, y), q, minlength=len(places))
    return places[mass > HEAVY], mass[mass > HEAVY]


def polished(
    nodes: Nodes, y: np.ndarray, q: np.ndarray, slope: float, distortion: float | None
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Points, masses and slope that meet all conditions to rounding; None if Newton's method does not find them.

    Where no distortion is asked for the slope stays as it is.
    """
    residuals = []
    with np.errstate(all="ignore"):  # what goes astray is given up
        for _ in range(STEPS):
            off, matrix = _equations(nodes, y, q, slope, distortion or 1.0)
            if distortion is None:
                off[-1], matrix[-1] = 0.0, np.append(np.zeros(2 * len(y)), 1.0)
            residuals.append(float(np.abs(off).max()))
            hopeless = len(residuals) > HOPELESS and residuals[-1] > residuals[-1 - HOPELESS] / 1.5
            if hopeless or not np.isfinite(matrix).all():
                return None
            if residuals[-1] <= EXACT:
                far = np.abs(nodes.x - y[nearest(y, nodes.x)]).max() >= REACH * width_of(slope)
                return None if far else (y, q / q.sum(), slope)
            try:
                change = np.linalg.solve(matrix, -off)
            except np.linalg.LinAlgError:
                return None
            moved, grown, steeper = change[: len(y)], change[len(y) : -1], float(change[-1])
            sizes = np.array([np.abs(moved).max(), np.abs(grown).max(), abs(steeper)])
            share = min(1.0, float(np.min(FURTHEST / np.maximum(sizes, 1e-300))))
            y = y + share * moved * width_of(slope)
            q = q * np.exp(share * grown)
            slope *= math.exp(share * steeper)
            if not (np.diff(y) > 0).all():
                return None
    return None


def _equations(nodes: Nodes, y: np.ndarray, q: np.ndarray, slope: float, distortion: float):
    """What c - 1, c' and log(distortion) are off by, and their derivatives in y / w, log q and log s."""
    width = width_of(slope)
    t = (nodes.x[:, None] - y) / width
    kernel = np.exp(-0.5 * t * t)
    moments = [kernel]
    for _ in range(4):
        moments.append(moments[-1] * t)
    zeroth, first, second = moments[:3]
    z = zeroth @ q  # zero where a node is out of reach: then nothing is finite
    ratio = nodes.p / z
    sums = [ratio @ moment for moment in moments]
    spent_at = second @ q
    spent = float(ratio @ spent_at)

    weighted = (ratio / z)[:, None] * np.hstack([zeroth, first, spent_at[:, None]])
    pairs = np.hstack([zeroth, first, spent_at[:, None]]).T @ weighted
    k = len(y)
    both, to_spent = pairs[:-1, :-1], pairs[-1, :-1]
    # Columns: places (their kernel's derivative is `first`), masses, slope.
    matrix = np.empty((2 * k + 1, 2 * k + 1))
    matrix[:-1, :k] = -both[:, k:] * q
    matrix[:-1, k:-1] = -both[:, :k] * q
    matrix[np.arange(k), np.arange(k)] += sums[1]
    matrix[k + np.arange(k), np.arange(k)] += sums[2] - sums[0]
    matrix[:-1, -1] = 0.5 * (to_spent - np.concatenate([sums[2], sums[3]]))
    matrix[-1, :k] = q * (sums[3] - 2 * sums[1] - to_spent[k:]) / spent
    matrix[-1, k:-1] = q * (sums[2] - to_spent[:k]) / spent
    matrix[-1, -1] = 0.5 * (pairs[-1, -1] - float(ratio @ (moments[4] @ q))) / spent
    off = np.concatenate([sums[0] - 1, sums[1], [math.log(spent * width**2 / distortion)]])
    return off, matrix
