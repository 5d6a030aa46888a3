"""How many codewords a block needs, from the chance that one of them is close.

A random codebook of M independent codewords leaves a source block of level z without a close one with probability
(1 - h(z))^M, where h(z) is the chance that a single codeword is close. Here h falls with z, so between two nodes it is
at least what it is at the upper one, and

    P[no codeword is close] <= Σ_k P[z_{k-1} < Z <= z_k] (1 - h(z_k))^M + P[Z > z_K]

whatever the nodes are: what a quadrature would have as its error is inside the bound.
"""

import math

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

MANTISSA = 52


def rounding(n: int) -> float:
    """What tails, binomials and beta functions lose at most for a block of n, relative: each bound gives it away."""
    return 1e-10 + 1e-14 * n


def random_codebook_bits(tails: Numbers, log_hits: Numbers, allowed: float) -> float:
    """Log2 of the least M whose bound is at most `allowed`; infinite if the nodes do not reach far enough for any M.

    `tails` are P[Z > z_k], `log_hits` ln h(z_k) for ascending nodes, (K,) each.
    """
    log_hits = np.minimum(np.minimum.accumulate(log_hits), 0.0)
    with np.errstate(divide="ignore"):
        # ln(-ln(1 - h)), so that (1 - h)^M = exp(-M exp(.)) for hits far below the smallest number.
        exponents = np.where(log_hits < -37, log_hits, np.log(-np.log1p(-np.exp(log_hits))))
    reached = np.isfinite(log_hits)
    if not tails[reached].min(initial=1.0) < allowed:
        return math.inf

    def enough(mantissa: int, exponent: int) -> bool:
        with np.errstate(over="ignore"):
            misses = np.exp(-np.exp(exponents + math.log(mantissa) + exponent * math.log(2)))
        # Summed by parts: all terms are positive, and each tail keeps its digits.
        return float(misses[0] + np.sum(tails * np.diff(misses, append=1.0))) <= allowed

    if enough(1, 0):
        return 0.0
    # M = mantissa · 2^shift is a whole number throughout. With the first `high`, misses are exp(-800) where reached.
    low, high = 0, max(math.ceil((math.log(800) - np.min(exponents[reached])) / math.log(2)), 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(1, middle) else (middle, high)
    shift = max(high - MANTISSA, 0)
    few, many = 2 ** (low - shift), 2 ** (high - shift)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle, shift) else (middle, many)
    return math.log2(many) + shift


def whole_bits(log_size: float) -> float:
    """Log2 of the least whole number of codewords >= exp(log_size), at least one."""
    bits = float(log_size) / math.log(2)
    return bits if bits > MANTISSA else math.log2(max(math.ceil(2.0**bits), 1))
