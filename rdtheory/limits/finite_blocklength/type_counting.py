"""Two bounds on the codebook of a block of n biased coins, on the host, by counting sequences of each weight."""

import functools
import math
from collections.abc import Callable

import numpy as np
import scipy
from numpy.typing import NDArray

from rdtheory.limits.finite_blocklength.random_codes import random_codebook_bits, rounding, whole_bits

Numbers = NDArray[np.float64]

ENTRIES = 2**21  # of a table of weights by distances
COARSE, FINE = 64, 1024  # weights
OUTSIDE = 1e-6  # of the allowed probability, on either side of the nodes


def bounds(n: int, probability: float, distortion: float, excess_probability: float) -> tuple[float, float]:
    """Converse and achievability in bits per symbol, for a share of wrong symbols."""
    p = min(probability, 1 - probability)  # ones are the rarer symbol
    errors = allowed_errors(n, distortion)
    if p == 0 or errors == n:
        return 0.0, 0.0
    ball = log_ball(n, errors)[-1]
    likely = _log_likely(n, p, excess_probability * (1 + rounding(n)))
    converse = whole_bits(likely - ball - 3 * rounding(n))
    return converse / n, _achievability(n, p, errors, excess_probability * (1 - rounding(n))) / n


def allowed_errors(n: int, distortion: float) -> int:
    """Wrong symbols in a block; a product n D that rounding alone keeps below a whole number counts as that."""
    return math.floor(min(n, n * distortion * (1 + 1e-12)))


def log_ball(n: int, radius: int) -> Numbers:
    """Ln of the number of sequences within each distance 0 .. radius, (radius + 1,)."""
    return np.logaddexp.accumulate(_log_binomial(n, np.arange(radius + 1.0)))


def _achievability(n: int, p: float, errors: int, allowed: float) -> float:
    """Bits per block of the better of two codes: the likely sequences themselves, and a random codebook.

    The codewords are uniform over the sequences of at most so many ones, the best number.
    """
    if _tail(n, p, errors) <= allowed:
        return 0.0
    listed = whole_bits(_log_likely(n, p, allowed) + 2 * rounding(n))
    if errors == 0:
        return listed
    if p == 0.5:
        hit = log_ball(n, errors)[-1] - n * math.log(2) - rounding(n)
        return min(listed, random_codebook_bits(np.array([0.0]), np.array([hit]), allowed))
    edge = _quantile(n, p, allowed)
    lowest, highest = _quantile(n, p, 1 - OUTSIDE * allowed), min(max(_quantile(n, p, OUTSIDE * allowed), edge), n)
    least = max(edge - errors, 0)  # with fewer ones no codeword is near the edge

    def nodes(count: int) -> NDArray[np.int_]:
        return np.unique(np.linspace(lowest, highest, min(highest - lowest + 1, count)).astype(int))

    # The best number of ones is searched for with few nodes and hits at the middle of each cell, so not with a bound.
    # They fall in steps of two weights, hence the mean of two where a cell has several.
    few = nodes(COARSE)
    middles = (np.concatenate([few[:1], few[:-1] + 1]) + few) // 2
    tails, hits = _tail(n, p, few), _lens(n, errors, middles)
    hits_next = _lens(n, errors, np.where(middles < few, middles + 1, few))

    @functools.cache
    def roughly(most_ones: int) -> float:
        return random_codebook_bits(tails, (hits(most_ones) + hits_next(most_ones)) / 2, allowed, whole=False)

    tried = [int(most_ones) for most_ones in np.linspace(least, max(n // 2, least), 20)]
    best, step = min(tried, key=lambda most_ones: roughly(most_ones)), max((tried[-1] - least) // 40, 1)
    while step:
        reached = [min(max(best + k * step, least), n) for k in (0, -1, 1, -2, 2)]
        moved = min(reached, key=lambda most_ones: roughly(most_ones))
        best, step = (moved, step) if moved != best else (best, step // 2)
    many = nodes(min(FINE, ENTRIES // (errors + 1)))
    all_tails, all_hits = _tail(n, p, many), _lens(n, errors, many)
    near = range(max(best - 1, least), min(best + 1, n) + 1)
    return min(listed, *(random_codebook_bits(all_tails, all_hits(most) - rounding(n), allowed) for most in near))


def _lens(n: int, errors: int, weights: NDArray[np.int_]) -> Callable[[int], Numbers]:
    """For a number of ones: ln of the share of the sequences with at most so many that lie near one of each weight.

    Of a sequence with t ones, a ones and b zeros are changed: a + b <= errors and t - a + b <= most_ones. These shares
    fall with t, as a sequence is no likelier with one more one.
    """
    t, a = weights.astype(float)[:, None], np.arange(errors + 1.0)[None, :]
    changed_ones = _log_binomial(t, a)
    changed_zeros = np.logaddexp.accumulate(_log_binomial(n - t, a), axis=1)
    total = log_ball(n, n)

    def log_hits(most_ones: int) -> Numbers:
        b = np.minimum(errors - a, most_ones - t + a)
        terms = np.take_along_axis(changed_zeros, np.maximum(b, 0).astype(int), axis=1) + changed_ones
        return scipy.special.logsumexp(np.where(b >= 0, terms, -np.inf), axis=1) - total[most_ones]

    return log_hits


def _log_likely(n: int, p: float, excess_probability: float) -> float:
    """Ln of the size, not a whole number, of the smallest set of probability 1 - excess_probability: of fewest ones."""
    if excess_probability >= 1:
        return 0.0
    edge = _quantile(n, p, excess_probability)
    inside = log_ball(n, edge - 1)[-1] if edge > 0 else -math.inf
    of_edge = float(_log_binomial(n, edge))
    log_mass = of_edge + edge * math.log(p) + (n - edge) * math.log1p(-p)
    missing = float(_tail(n, p, edge - 1)) - excess_probability
    return float(np.logaddexp(inside, of_edge + min(math.log(missing) - log_mass, 0.0)))


def _tail(n: int, p: float, weights: NDArray[np.int_] | int) -> Numbers:
    """Probability of more ones than `weights`."""
    k = np.clip(weights, 0, n - 1)
    return np.where(weights < 0, 1.0, np.where(weights >= n, 0.0, scipy.special.betainc(k + 1.0, n - k, p)))


def _quantile(n: int, p: float, probability: float) -> int:
    """Least weight whose tail is at most `probability`."""
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _tail(n, p, middle) <= probability else (middle, high)
    return high


def _log_binomial(n: Numbers | int, k: Numbers | int) -> Numbers:
    """Ln of the binomial coefficients, -inf where k > n."""
    inside = np.minimum(k, n)
    value = scipy.special.gammaln(n + 1) - scipy.special.gammaln(inside + 1) - scipy.special.gammaln(n - inside + 1)
    return np.where(k <= n, value, -np.inf)
