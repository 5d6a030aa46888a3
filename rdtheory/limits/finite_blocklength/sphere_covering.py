"""Two bounds on the codebook of a block of n standard Gaussians, on the host: everything in units of √n."""

import math

import numpy as np
import scipy
from numpy.typing import NDArray

from rdtheory.limits.finite_blocklength.random_codes import random_codebook_bits, rounding, whole_bits

Numbers = NDArray[np.float64]

NODES = 200  # of a search; the bound has ten times as many


def bounds(n: int, distortion: float, excess_probability: float) -> tuple[float, float]:
    """Converse and achievability in bits per symbol, for a distortion in units of the variance."""
    if distortion in (0.0, math.inf):
        return (math.inf, math.inf) if distortion == 0 else (0.0, 0.0)
    reach = math.sqrt(distortion)
    least = _radius(n, excess_probability * (1 + rounding(n)), outward=False)
    converse = whole_bits(n * math.log(least / reach) - rounding(n)) if least > 0 else 0.0
    return converse / n, _achievability(n, reach, excess_probability * (1 - rounding(n))) / n


def _achievability(n: int, reach: float, allowed: float) -> float:
    """Bits per block of a codebook drawn uniformly from the best ball about zero, where nothing better is known."""
    if _tail(n, reach) <= allowed:
        return 0.0  # one codeword, at zero
    edge = _radius(n, allowed, outward=True)
    if n == 1:
        return whole_bits(math.log(edge / reach) + rounding(n))  # intervals tile the line
    # notation: in units of the reach from the edge on, the ball of the codewords ends at u and blocks lie at t, so that
    # differences keep their digits; for u <= -1 no codeword would come near the edge
    negligible = max(1e-6 * allowed, 1e-300)
    inner = (math.sqrt(2 / n * scipy.special.gammaincinv(n / 2, negligible)) - edge) / reach
    outer = (_radius(n, negligible, outward=True) - edge) / reach
    nodes = np.union1d(np.linspace(inner, outer, NODES), np.linspace(max(-2.0, inner), min(2.0, outer), NODES))

    def roughly(u: float) -> float:
        return random_codebook_bits(tails, hits(u, nodes), allowed, whole=False)

    def hits(u: float, t: Numbers) -> Numbers:
        return log_hits(n, t - u, reach, edge + u * reach) - rounding(n)

    tails, tried = _tail(n, edge + nodes * reach), np.linspace(-0.9, 0.9, 10)
    best = int(np.argmin([roughly(u) for u in tried]))
    around = tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)]
    u = scipy.optimize.minimize_scalar(roughly, bounds=around, method="bounded", options={"xatol": 1e-3}).x
    # The bound itself, with more nodes where the misses go from 0 to 1.
    mean_hits = hits(u, nodes) + roughly(u) * math.log(2)
    first, last = max(np.sum(mean_hits > 5) - 1, 0), min(np.sum(mean_hits > -25), len(nodes) - 1)
    nodes = np.union1d(nodes, np.linspace(nodes[first], nodes[last], 10 * NODES))
    return random_codebook_bits(_tail(n, edge + nodes * reach), hits(u, nodes), allowed)


def log_hits(n: int, outside: Numbers, reach: float, radius: float) -> Numbers:
    """Ln of the share of the ball of `radius` about zero within `reach` of points at distance radius + outside · reach.

    The lens where two balls meet is a cap of each. Shares fall with the distance, since indicators of balls are
    symmetric and unimodal (Anderson).
    """
    whole = min(n * math.log(reach / radius), 0.0)
    distances = np.maximum(radius + outside * reach, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Heron: the height of the triangle of center, point and a common point of the two spheres, over the reach.
        height = (distances + reach + radius) * (distances - reach + radius) * (1 - outside**2) / (4 * distances**2)
        near = _log_cap(n, height, outside * (distances + radius) + reach < 0)
        far = _log_cap(n, height * (reach / radius) ** 2, distances**2 + radius**2 < reach**2)
        lens = np.minimum(np.logaddexp(n * math.log(reach / radius) + near, far), whole)
    within = (outside <= -1) | (distances <= reach - radius)
    return np.where(within, whole, np.where(outside < 1, lens, -np.inf))


def _log_cap(n: int, sine2: Numbers, obtuse: NDArray[np.bool_]) -> Numbers:
    """Ln of the share of an n-ball in a cap, from the squared sine of its half-angle."""
    log_half = log_incomplete_beta((n + 1) / 2, np.clip(sine2, 0.0, 1.0)) - math.log(2)
    return np.where(obtuse, np.log1p(-np.exp(log_half)), log_half)


def log_incomplete_beta(a: float, x: Numbers) -> Numbers:
    """Ln I_x(a, 1/2), also where it is below the smallest number: there by its series, which has positive terms."""
    with np.errstate(divide="ignore"):
        result = np.log(scipy.special.betainc(a, 0.5, x))
    small = (result < -600) & (x > 0)
    if small.any():
        y = x[small]
        total, term, j = np.ones_like(y), np.ones_like(y), 0
        while np.max(term) > 1e-13 * (1 - np.max(y)):
            term = term * y * ((a + 0.5 + j) / (a + 1 + j))
            total, j = total + term, j + 1
        front = a * np.log(y) + 0.5 * np.log1p(-y) - math.log(a) - scipy.special.betaln(a, 0.5)
        result[small] = front + np.log(total)
    return result


def _tail(n: int, radii: Numbers | float) -> Numbers:
    """Probability that a block of n standard Gaussians is longer than √n times a radius."""
    return np.asarray(scipy.special.gammaincc(n / 2, n / 2 * radii**2))


def _radius(n: int, probability: float, *, outward: bool) -> float:
    """Where `_tail` is `probability`, rounded outward or inward until the tail says so too."""
    if probability >= 1:
        return 0.0
    radius, step = math.sqrt(2 / n * scipy.special.gammainccinv(n / 2, probability)), 1e-15 if outward else -1e-15
    while _tail(n, radius) > probability if outward else _tail(n, radius) < probability:
        radius, step = radius * (1 + step), 2 * step
    return radius
