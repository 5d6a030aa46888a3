"""Two bounds on the codebook of a block of n standard Gaussians, on the host: everything in units of √n."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from rdtheory.limits._finite_codebook import random_codebook_bits, rounding, whole_bits

Numbers = NDArray[np.float64]

NODES = 512
OUTSIDE = 1e-6  # of the allowed probability, on either side of the nodes


def bounds(n: int, distortion: float, excess_probability: float) -> tuple[float, float]:
    """Converse and achievability in bits per symbol, for a distortion in units of the variance."""
    if distortion == 0:
        return math.inf, math.inf
    reach = math.sqrt(distortion)
    least = _radius(n, excess_probability * (1 + rounding(n)), outward=False)
    converse = whole_bits(n * math.log(least / reach) - rounding(n)) if least > 0 else 0.0
    return converse / n, _achievability(n, reach, excess_probability * (1 - rounding(n))) / n


def _achievability(n: int, reach: float, allowed: float) -> float:
    """Bits per block of a codebook drawn uniformly from the best ball about zero, where nothing better is known."""
    if _tail(n, np.array(reach)) <= allowed:
        return 0.0  # one codeword, at zero
    edge = _radius(n, allowed, outward=True)
    if n == 1:
        return whole_bits(math.log(edge / reach) + rounding(n))  # intervals tile the line
    # notation: codewords fill the ball of radius edge + u · reach; for u <= -1 they would not come near the edge
    innermost = math.sqrt(2 / n * special.gammaincinv(n / 2, OUTSIDE * allowed))
    outermost = _radius(n, OUTSIDE * allowed, outward=True)
    near_edge = np.linspace(max(edge - 2 * reach, innermost), min(edge + 2 * reach, outermost), NODES)
    nodes = np.union1d(np.linspace(innermost, outermost, NODES), near_edge)

    def bits(u: float, nodes: Numbers = nodes) -> float:
        return random_codebook_bits(_tail(n, nodes), hits(u, nodes), allowed)

    def hits(u: float, nodes: Numbers) -> Numbers:
        # The lens loses digits where the ball is much larger than the reach.
        return log_hits(n, nodes, reach, edge + u * reach) - rounding(n) - 1e-15 * n * edge / reach

    tried = np.linspace(-0.95, 0.95, 20)
    best = int(np.argmin([bits(u) for u in tried]))
    around = tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)]
    refined = optimize.minimize_scalar(bits, bounds=around, method="bounded", options={"xatol": 1e-3}).x
    u = min(tried[best], refined, key=bits)
    # Once more, with nodes where the misses go from 0 to 1.
    mean_hits = hits(u, nodes) + bits(u) * math.log(2)
    first, last = max(np.sum(mean_hits > 5) - 1, 0), min(np.sum(mean_hits > -25), len(nodes) - 1)
    return bits(u, np.union1d(nodes, np.linspace(nodes[first], nodes[last], 4 * NODES)))


def log_hits(n: int, distances: Numbers, reach: float, radius: float) -> Numbers:
    """Ln of the share of the ball of `radius` about zero that lies within `reach` of a point at each distance.

    The lens where two balls meet is a cap of each. Shares fall with the distance, since indicators of balls are
    symmetric and unimodal (Anderson).
    """
    whole = min(n * math.log(reach / radius), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Heron: 16 area² of the triangle of center, point and a common point of the two spheres.
        area = (
            (distances + reach + radius)
            * (distances + reach - radius)
            * (distances - reach + radius)
            * (reach + radius - distances)
        )
        height2 = np.maximum(area, 0.0) / (4 * distances**2)
        near = _log_cap(n, np.minimum(height2 / reach**2, 1.0), distances**2 + reach**2 < radius**2)
        far = _log_cap(n, np.minimum(height2 / radius**2, 1.0), distances**2 + radius**2 < reach**2)
        lens = np.minimum(np.logaddexp(n * math.log(reach / radius) + near, far), whole)
    return np.where(
        distances <= abs(reach - radius), whole, np.where(distances < reach + radius, lens, -np.inf)
    )


def _log_cap(n: int, sine2: Numbers, obtuse: NDArray[np.bool_]) -> Numbers:
    """Ln of the share of an n-ball in a cap, from the squared sine of its half-angle."""
    log_half = log_incomplete_beta((n + 1) / 2, sine2) - math.log(2)
    return np.where(obtuse, np.log1p(-np.exp(log_half)), log_half)


def log_incomplete_beta(a: float, x: Numbers) -> Numbers:
    """Ln I_x(a, 1/2), also where it is below the smallest number: there by its series, which has positive terms."""
    with np.errstate(divide="ignore"):
        result = np.log(special.betainc(a, 0.5, x))
    small = (result < -600) & (x > 0)
    if small.any():
        y = x[small]
        total, term, j = np.ones_like(y), np.ones_like(y), 0
        while np.max(term) > 1e-13 * (1 - np.max(y)):
            term = term * y * ((a + 0.5 + j) / (a + 1 + j))
            total, j = total + term, j + 1
        front = a * np.log(y) + 0.5 * np.log1p(-y) - math.log(a) - special.betaln(a, 0.5)
        result[small] = front + np.log(total)
    return result


def _tail(n: int, radii: Numbers) -> Numbers:
    """Probability that a block of n standard Gaussians is longer than √n times a radius."""
    return special.gammaincc(n / 2, n / 2 * radii**2)


def _radius(n: int, probability: float, *, outward: bool) -> float:
    """Where `_tail` is `probability`, rounded outward or inward until the tail says so too."""
    if probability >= 1:
        return 0.0
    radius = math.sqrt(2 / n * special.gammainccinv(n / 2, probability))
    step = 1e-15
    while (_tail(n, np.array(radius)) > probability) if outward else (_tail(n, np.array(radius)) < probability):
        radius, step = radius * (1 + step if outward else 1 - step), 2 * step
    return radius
