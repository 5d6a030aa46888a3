"""The masses of a reproduction when the kernel reaches only a little way: Mehrotra's method with a banded factor.

The program and method are Koenker & Mizera's (2014): min -Σ p log(A q) + Σ q over q >= 0. Here nodes and points
lie sorted on a line and A[i, j] = K(x_i - y_j) vanishes beyond a reach, so A is held as dense blocks near its diagonal,
the reduced system is banded, and a step costs the number of points times the square of how many lie within reach.

notation: x, p nodes and their masses; y, q points and their masses; z = A q; c = Aᵀ(p/z); ν dual; t slack.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy
from scipy.special import xlogy

ROWS = 64  # nodes in a block
STEP = 0.9995  # of the way to the boundary
NEGLIGIBLE = 1e-30  # beside a diagonal of ones: kept out, or denormal numbers make a step a hundred times slower
PATIENCE = 20  # steps without a smaller gap after which rounding has won


class Blocks(NamedTuple):
    """Differences x - y of all pairs within reach."""

    x: np.ndarray  # (blocks, ROWS), the last node repeated to fill up
    columns: np.ndarray  # (blocks, k) indices of points; m where there is none
    u: np.ndarray  # (blocks, ROWS, k) x - y
    present: np.ndarray  # (blocks, 1, k)
    n: int
    m: int


def blocks(x: np.ndarray, y: np.ndarray, reach: float) -> Blocks:
    """All pairs of a node and a point at most `reach` apart, and some more; both sorted."""
    n, m = len(x), len(y)
    count = -(-n // ROWS)
    rows = np.minimum(np.arange(count * ROWS), n - 1).reshape(count, ROWS)
    x = x[rows]
    first = np.searchsorted(y, x[:, 0] - reach)
    last = np.searchsorted(y, x[:, -1] + reach, side="right")
    columns = first[:, None] + np.arange(max(int((last - first).max()), 1))
    present = columns < last[:, None]
    columns = np.where(present, columns, m)
    u = np.where(present[:, None, :], x[:, :, None] - np.append(y, 0.0)[columns][:, None, :], 0.0)
    return Blocks(x, columns, u, present[:, None, :], n, m)


def times(a: np.ndarray, b: Blocks, q: np.ndarray) -> np.ndarray:
    """A q over the nodes, (n,)."""
    return np.matmul(a, np.append(q, 0.0)[b.columns][:, :, None]).ravel()[: b.n]


def transpose_times(a: np.ndarray, b: Blocks, v: np.ndarray) -> np.ndarray:
    """Aᵀ v over the points, (m,)."""
    products = np.matmul(_fill(v, b)[:, None, :], a)
    return np.bincount(b.columns.ravel(), products.ravel(), b.m + 1)[: b.m]


def _fill(v: np.ndarray, b: Blocks) -> np.ndarray:
    full = np.zeros(b.x.size)
    full[: b.n] = v
    return full.reshape(b.x.shape)


def minimize(a: np.ndarray, b: Blocks, p: np.ndarray, q: np.ndarray, tol: float, max_steps: int = 60):
    """The q of least gap log max c - Σ q c log c that was found, in nats and summing to Σ p, and the steps taken."""
    mass = p.sum()
    z = times(a, b, q)
    nu = p / z
    top = transpose_times(a, b, nu).max()
    q, z, nu = q * 1.0, z * 1.0, nu / top
    t = np.maximum(1 - transpose_times(a, b, nu), 0.1 / b.m)
    solver = _banded(a, b)

    def newton(product: np.ndarray, complement: np.ndarray, state: tuple, solve: Callable, dual: np.ndarray):
        q, z, nu, t = state
        dq = solve(transpose_times(a, b, product / z) + complement / q - dual)
        dz = times(a, b, dq)
        return dq, dz, (product - nu * dz) / z, (complement - t * dq) / q

    best, least, stale, ridge = q, np.inf, 0, 4 * np.finfo(float).eps
    steps = 0
    while steps < max_steps:
        steps += 1
        c = transpose_times(a, b, p / z)
        gap = np.log(c.max()) * mass - float(q @ xlogy(c, c))
        stale = 0 if gap < 0.9 * least else stale + 1
        if gap < least:
            best, least = q, gap
        if least <= tol or stale > PATIENCE or ridge > 1e-3:
            break
        try:
            solve = solver(nu / z, t / q, ridge)
        except np.linalg.LinAlgError:
            ridge *= 64
            continue
        dual = 1 - transpose_times(a, b, nu) - t

        state = (q, z, nu, t)
        product, complement = p - z * nu, -q * t
        dq, dz, dnu, dt = newton(product, complement, state, solve, dual)
        primal, dual_length = _length(q, dq, 1.0), min(_length(t, dt, 1.0), _length(nu, dnu, 1.0))
        gauge = float(q @ t)
        reached = float((q + primal * dq) @ (t + dual_length * dt))
        centering = gauge / b.m * (reached / gauge) ** 3
        dq, dz, dnu, dt = newton(product - dz * dnu, complement + centering - dq * dt, state, solve, dual)
        if not np.isfinite(dq.sum() + dnu.sum() + dt.sum()):
            ridge *= 64
            continue
        primal = _length(q, dq, STEP)
        dual_length = min(_length(t, dt, STEP), _length(nu, dnu, STEP))
        q, nu, t = q + primal * dq, nu + dual_length * dnu, t + dual_length * dt
        z = times(a, b, q)
    return best * (mass / best.sum()), steps


def _length(x: np.ndarray, dx: np.ndarray, share: float) -> float:
    """The share of the way to where an entry of x turns negative, at most one."""
    worst = float(np.max(-dx / x, initial=0.0))
    return min(1.0, share / worst) if worst > 0 else 1.0


def _banded(a: np.ndarray, b: Blocks) -> Callable:
    """A function of W and the diagonal that gives x -> (Aᵀ W A + diagonal)⁻¹ x, equilibrated and ridged."""
    k = b.columns.shape[1]
    high, low = b.columns[:, :, None], b.columns[:, None, :]
    inside = (high < b.m) & (low <= high) & np.tri(k, dtype=bool)
    width = int(np.max(np.where(inside, high - low, 0)))
    place = np.where(inside, (high - low) * b.m + low, (width + 1) * b.m).ravel()
    swapped = np.swapaxes(a, 1, 2)
    # partner[o, j] = j + o: the other end of each entry of the band
    partner = np.minimum(np.arange(width + 1)[:, None] + np.arange(b.m)[None, :], b.m - 1)

    def factor(weights: np.ndarray, diagonal: np.ndarray, ridge: float) -> Callable:
        gram = np.matmul(swapped * _fill(weights, b)[:, None, :], a)
        band = np.bincount(place, gram.ravel(), (width + 1) * b.m + 1)[:-1].reshape(width + 1, b.m)
        band[0] += diagonal
        scale = 1 / np.sqrt(band[0])
        band *= scale[None, :] * scale[partner]
        band[0] += ridge
        band[np.abs(band) < NEGLIGIBLE] = 0.0
        chol = scipy.linalg.cholesky_banded(band, lower=True, overwrite_ab=True, check_finite=False)
        return lambda right: scale * scipy.linalg.cho_solve_banded((chol, True), scale * right, check_finite=False)

    return factor
