"""The supremum of c(y) = Σ W_i exp(-(x_i - y)² / 2w²) over all real y, as a bound and not as a scan.

On a cell c is its Taylor polynomial of degree 17 plus a remainder. For complex ζ with |ζ| = v w the kernel satisfies
|c(y + ζ)| <= e^(v²/2) sup c, so by Cauchy the k-th Taylor coefficient is at most (e/k)^(k/2) sup c, in units of w. In
cells of width w the remainder is therefore below 2e-13 sup c, everywhere. The polynomial is bounded by its Bernstein
coefficients, and the cells in which they do not decide are halved.
"""

import math
from typing import NamedTuple

import numpy as np

from rdtheory.limits.continuous import short_range

TERMS = 18
REMAINDER = (math.e / TERMS) ** (TERMS / 2) * 0.5**TERMS
HALVINGS = 40
SAMPLES = np.linspace(-0.5, 0.5, 17)


class Cells(NamedTuple):
    """Taylor polynomials of c on cells one kernel width wide."""

    centers: np.ndarray
    coefficients: np.ndarray  # (cells, TERMS), in powers of (y - center) / width
    width: float
    rounding: float


def expand(x: np.ndarray, weights: np.ndarray, width: float) -> Cells:
    """Cells over every y within reach of a node; beyond them c is below e^-40 Σ W. The nodes are sorted."""
    reach = 9 * width
    low = x[0]
    index = np.unique(np.floor((x - low) / width).astype(np.int64))
    near = np.unique((index[:, None] + np.arange(-9, 10)[None, :]).ravel())
    last = index[-1]
    near = near[(near >= 0) & (near <= last)]  # outside the hull of the nodes c only falls
    centers = low + (near + 0.5) * width
    b = short_range.blocks(x, centers, reach)
    u = b.u / width
    before, now = np.zeros_like(u), np.exp(-0.5 * u * u) * b.present
    columns = []
    for k in range(TERMS):  # now = He_k(u) / k! exp(-u² / 2)
        columns.append(short_range.transpose_times(now, b, weights))
        before, now = now, (u * now - before) / (k + 1)
    coefficients = np.stack(columns, axis=1)
    return Cells(centers, coefficients, width, 300 * np.finfo(float).eps)


def bound(cells: Cells, tol: float) -> float:
    """An upper bound of sup c, too large by about `tol` at most."""
    b = cells.coefficients @ _TO_BERNSTEIN
    best = top = float(b[:, 0].max())
    for _ in range(HALVINGS):
        bounds = b.max(axis=1)
        open_ = bounds > best + tol
        top = max(best + tol, float(bounds.max()))
        if not open_.any():
            break
        b = np.concatenate([b[open_] @ _LEFT, b[open_] @ _RIGHT])
        best = max(best, float(b[:, -1].max()))
    return top * (1 + REMAINDER + cells.rounding) / (1 - 2 * REMAINDER)


def values(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Points y, 16 to a cell, and c there; both flat and sorted by y."""
    powers = SAMPLES[:-1, None] ** np.arange(TERMS)
    c = cells.coefficients @ powers.T
    y = cells.centers[:, None] + cells.width * SAMPLES[None, :-1]
    return y.ravel(), c.ravel()


def maxima(cells: Cells, above: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Local maxima of c higher than `above`, to rounding: the cell, the y and the height of each, sorted by y."""
    _, c = values(cells)
    left, right = np.append(-np.inf, c[:-1]), np.append(c[1:], -np.inf)
    found = np.nonzero((c >= left) & (c > right) & (c > above - 4e-3))[0]
    cell, t = found // (len(SAMPLES) - 1), SAMPLES[found % (len(SAMPLES) - 1)]
    a = cells.coefficients[cell]
    k = np.arange(TERMS)
    start = t
    for _ in range(6):
        powers = t[:, None] ** k
        slope = (a[:, 1:] * k[1:] * powers[:, :-1]).sum(1)
        curvature = (a[:, 2:] * (k[2:] * (k[2:] - 1)) * powers[:, :-2]).sum(1)
        move = np.where(curvature < 0, -slope / np.where(curvature < 0, curvature, 1.0), 0.0)
        t = np.clip(t + move, np.maximum(start - 1 / 16, -0.55), np.minimum(start + 1 / 16, 0.55))
    height = (a * t[:, None] ** k).sum(1)
    keep = height > above
    return cell[keep], (cells.centers[cell] + t * cells.width)[keep], height[keep]


def _bernstein() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices, acting on rows: from powers of t on [-1/2, 1/2] to Bernstein, and from Bernstein to either half."""
    d = TERMS - 1
    # (s - 1/2)^k in powers of s, then s^j = Σ_{i >= j} C(i, j) / C(d, j) B_i
    shift = np.array(
        [[math.comb(k, j) * (-0.5) ** (k - j) if j <= k else 0.0 for j in range(d + 1)] for k in range(d + 1)]
    )
    lift = np.array([[math.comb(i, j) / math.comb(d, j) for i in range(d + 1)] for j in range(d + 1)])
    left = np.array([[math.comb(i, j) / 2**i if j <= i else 0.0 for i in range(d + 1)] for j in range(d + 1)])
    return shift @ lift, left, left[::-1, ::-1].copy()


_TO_BERNSTEIN, _LEFT, _RIGHT = _bernstein()
