"""How many codewords a block needs, from the chance that one of them is close.

A random codebook of M independent codewords leaves a source block of level z without a close one with probability
(1 - h(z))^M, where h(z) is the chance that a single codeword is close. Here h falls with z, so between two nodes it is
at least what it is at the upper one, and

    P[no codeword is close] <= Σ_k P[z_{k-1} < Z <= z_k] (1 - h(z_k))^M + P[Z > z_K]

whatever the nodes are: what a quadrature would have as its error is inside the bound.
"""

import math

import numpy as np
import scipy
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

ACCURACY = 1e-12  # of a root
COUNTED = 20.0  # up to e^20 codewords are counted one by one


def rounding(n: int) -> float:
    """What tails, binomials and beta functions lose at most for a block of n, relative: each bound gives it away."""
    return 1e-10 + 1e-14 * n


def random_codebook_bits(tails: Numbers, log_hits: Numbers, allowed: float, *, whole: bool = True) -> float:
    """Log2 of the least M whose bound is at most `allowed`; infinite if the nodes do not reach far enough for any M.

    `tails` are P[Z > z_k], `log_hits` ln h(z_k) for ascending nodes, (K,) each. M is a whole number, or a real one for
    a search among codebooks.
    """
    log_hits = np.minimum(np.minimum.accumulate(log_hits), 0.0)
    with np.errstate(divide="ignore"):
        # ln(-ln(1 - h)), so that (1 - h)^M = exp(-M exp(.)) for hits far below the smallest number.
        exponents = np.where(log_hits < -37, log_hits, np.log(-np.log1p(-np.exp(log_hits))))
    reached = np.isfinite(log_hits)
    if not tails[reached].min(initial=1.0) < allowed:
        return math.inf
    if _failure(0.0, tails, exponents) <= allowed:
        return 0.0
    most = math.log(800) - float(np.min(exponents[reached]))  # then misses are exp(-800) where they can be
    log_size = float(scipy.optimize.brentq(_surplus, 0.0, most, (tails, exponents, allowed), xtol=ACCURACY))
    if not whole:
        return log_size / math.log(2)
    if log_size < COUNTED:
        size = max(math.floor(math.exp(log_size - 10 * ACCURACY)), 1)
        while _failure(math.log(size), tails, exponents) > allowed:
            size += 1
        return math.log2(size)
    while _failure(log_size, tails, exponents) > allowed:
        log_size += ACCURACY * log_size
    return (log_size + math.exp(-log_size)) / math.log(2)  # the next whole number is no larger


def _failure(log_size: float, tails: Numbers, exponents: Numbers) -> float:
    """The bound for exp(log_size) codewords, summed by parts: all terms are positive, each tail keeps its digits."""
    with np.errstate(over="ignore"):
        misses = np.exp(-np.exp(exponents + log_size))
    return float(misses[0] + np.sum(tails * np.diff(misses, append=1.0)))


def _surplus(log_size: float, tails: Numbers, exponents: Numbers, allowed: float) -> float:
    """Ln of the bound over what is allowed, for a root."""
    found = _failure(log_size, tails, exponents)
    return math.log(found) - math.log(allowed) if found > 0 else -1e3


def whole_bits(log_size: float) -> float:
    """Log2 of the least whole number of codewords >= exp(log_size), at least one; of that itself if it is large."""
    bits = float(log_size) / math.log(2)
    return bits if bits > 52 else math.log2(max(math.ceil(2.0**bits), 1))
