r"""Two bounds on the codebook of a block of independent Gaussians of different variances, on the host.

Converse. With the d-tilted information ȷ, E 2^(ȷ(X) + λD - λ d(X, y)) <= 1 for every y, so that a ball of radius √D has
at most one of the measure 2^ȷ P. What M balls hold with probability 1 - ε has at least that of the set of the least ȷ,

    M >= E[2^ȷ; ȷ <= t] >= 2^t (P[ȷ > t] - ε) for every t.

Achievability. M codewords are drawn from the optimal Y for a little less, D - κ. The probability that one of them is
within D of x is at least 2^(-ȷ(x) - λκ) p(x), where p(x) is that of a distortion within κ of D - κ for Y given x. Its
mean and variance there, which Chebyshev's inequality needs, are weighted sums of squares, as ȷ is.

notation: c copies of m components; ν variances; θ water level; z standard, χ² sums of c of their squares; nats.
"""

import math

import numpy as np
import scipy
from numpy.typing import NDArray

from rdtheory.limits.finite_blocklength.random_codes import rounding, whole_bits

Numbers = NDArray[np.float64]

SPREAD = 12.0  # standard deviations on either side, beyond which a sum of squares is by Chernoff's bound
TERMS = 2**14
CHUNK = 2**20
EXPONENTS = np.geomspace(1e-7, 0.99, 240)  # of Chernoff's bound, in units of the largest that there is
TRIED = np.linspace(-3.0, 6.0, 181)  # standard deviations of ȷ
MARGINS = np.geomspace(1e-6, 0.9, 80)  # κ in units of D
SHARES = {"information": 0.7, "mean above": 0.1, "mean below": 0.1, "variance": 0.05, "misses": 0.05}  # of ε


def bounds(copies: int, variances: Numbers, distortion: float, excess_probability: float) -> tuple[float, float]:
    """Converse and achievability in bits per weight; a block of `copies` of all components may spend as many D."""
    v, weights = np.sort(variances[variances > 0])[::-1], copies * len(variances)
    if distortion == 0 or not len(v):
        return (math.inf, math.inf) if len(v) else (0.0, 0.0)
    if distortion == math.inf:
        return 0.0, 0.0
    v = v / distortion  # so that a copy may spend one
    safe = rounding(weights)
    tilted = _converse(copies, v, excess_probability * (1 + safe)) if np.sum(v) > 1 else 0.0
    log_size = max(tilted, _volume(copies, v, excess_probability * (1 + safe)))
    converse = whole_bits(log_size - safe - 1e-12 * abs(log_size)) if log_size > 0 else 0.0
    log_size = _achievability(copies, v, excess_probability * (1 - safe))
    if log_size in (0.0, math.inf):
        return converse / weights, log_size
    achievability = whole_bits(log_size * (1 + 1e-12) + safe)
    return converse / weights, achievability / weights


def level(variances: Numbers, volume: float) -> float:
    """Water level θ with Σ min(θ, ν) = volume; the variances in descending order."""
    rest = np.append(np.cumsum(variances[::-1])[::-1][1:], 0.0)
    return float(min(np.max((volume - rest) / np.arange(1, len(variances) + 1)), variances[0]))


def tail(weights: Numbers, copies: int, at: Numbers) -> tuple[Numbers, Numbers]:
    """Bounds of P[Σ w (χ² - c) > t], both w and t in any unit, by Fourier inversion.

    Davies: the sum over half-odd multiples of a step is off by at most the probability beyond ± 2π / step from t. What
    is left out of it falls at least as a power from the last term on.
    """
    w = np.sort(weights)[::-1]
    deviation = math.sqrt(2 * copies * float(np.sum(w**2)))
    low, high = float(np.min(at)), float(np.max(at))
    # Beyond the period there is no more than so much.
    reach = SPREAD * deviation + max(abs(low), abs(high))
    step = 2 * math.pi / (reach + max(-low, high, 0.0))
    aliased = chernoff_probability(w, copies, reach) + chernoff_probability(-w, copies, reach)

    def log_size(u: Numbers) -> Numbers:
        return -copies / 4 * np.sum(np.log1p((2 * u[:, None] * w) ** 2), axis=1)

    terms = 64
    while terms < TERMS and log_size(np.array([(terms + 0.5) * step]))[0] > -40:
        terms *= 2
    total, block = np.zeros(len(at)), max(CHUNK // len(w), 1)
    for start in range(0, terms, block):
        k = np.arange(start, min(start + block, terms)) + 0.5
        u: Numbers = np.multiply(k, step, dtype=np.float64)
        phase = copies * np.sum(0.5 * np.arctan(2 * u[:, None] * w) - u[:, None] * w, axis=1)
        total += np.exp(log_size(u)) / (math.pi * k) @ np.sin(phase[:, None] - np.outer(u, at))
    last = np.array([(terms + 0.5) * step])
    square = (2 * last[0] * w) ** 2
    power = copies / 2 * float(np.sum(square / (1 + square)))
    off = aliased + float(np.exp(log_size(last))[0]) * (1 / power + 1 / terms) / math.pi
    off += 1e-12 + 1e-14 * math.sqrt(copies * len(w))  # rounding
    return np.clip(0.5 + total - off, 0.0, 1.0), np.clip(0.5 + total + off, 0.0, 1.0)


def chernoff(weights: Numbers, copies: int, probability: float) -> float:
    """A t that Σ w (χ² - c) exceeds with at most the probability; the weights may be all negative."""
    exponents, cumulants = _cumulants(weights, copies)
    return float(np.min((math.log(1 / probability) + cumulants) / exponents)) if len(exponents) else 0.0


def chernoff_probability(weights: Numbers, copies: int, t: float) -> float:
    """At least P[Σ w (χ² - c) > t], t > 0."""
    exponents, cumulants = _cumulants(weights, copies)
    return math.exp(min(float(np.min(cumulants - exponents * t)), 0.0)) if len(exponents) else 0.0


def _cumulants(weights: Numbers, copies: int) -> tuple[Numbers, Numbers]:
    w = weights[weights != 0]
    if not len(w):
        return np.empty(0), np.empty(0)
    largest = float(np.max(np.abs(w)))
    exponents = EXPONENTS / (2 * largest) if w[0] > 0 else np.geomspace(1e-7, 1e4, 240) / (2 * largest)
    products = exponents[:, None] * w
    return exponents, copies * np.sum(-0.5 * np.log1p(-2 * products) - products, axis=1)


def _converse(copies: int, v: Numbers, allowed: float) -> float:
    """By the tilted information, log of the least number of codewords."""
    theta = level(v, 1.0)
    a, rate = np.minimum(v / theta, 1.0), 0.5 * copies * float(np.sum(np.log(np.maximum(v / theta, 1.0))))
    t = TRIED * math.sqrt(0.5 * copies * float(np.sum(a**2)))
    probability, _ = tail(a / 2, copies, t)
    with np.errstate(divide="ignore"):
        return float(np.max(rate + t + np.log(np.maximum(probability - allowed, 0.0))))


def _volume(copies: int, v: Numbers, allowed: float) -> float:
    """By volume, of the largest components alone, as many as are best: a code for all is one for them."""
    n = copies * np.arange(1, len(v) + 1)
    square = 2 * scipy.special.gammainccinv(n / 2, min(allowed, 1.0)) * (1 - 1e-11)
    with np.errstate(divide="ignore"):
        return float(np.max(0.5 * copies * np.cumsum(np.log(v)) + n / 2 * np.log(square / copies)))


def _achievability(copies: int, v: Numbers, allowed: float) -> float:
    """Log of a number of codewords that is enough."""
    if np.sum(v) < 1:
        spare = copies * (1 - float(np.sum(v)))
        _, probability = tail(v, copies, np.array([spare]))
        if min(probability[0], chernoff_probability(v, copies, spare)) <= allowed:
            return 0.0  # one codeword, at zero
    return min(_for_margin(copies, v, allowed, kappa) for kappa in MARGINS)


def _for_margin(copies: int, v: Numbers, allowed: float, kappa: float) -> float:
    """The same for codewords that are drawn to spend κ less, per copy."""
    if np.sum(v) <= 1 - kappa:
        return math.inf
    theta = level(v, 1 - kappa)
    described, a = v > theta, np.minimum(v / theta, 1.0)
    theta_share = np.where(described, theta / v, 1.0)  # 1 - β
    mean = np.where(described, theta * theta_share, v)
    varying = 4 * theta**2 * theta_share * (1 - theta_share)
    quantiles = {
        "information": chernoff(a / 2, copies, SHARES["information"] * allowed),
        "mean above": chernoff(mean, copies, SHARES["mean above"] * allowed),
        "mean below": chernoff(-mean, copies, SHARES["mean below"] * allowed),
        "variance": chernoff(varying, copies, SHARES["variance"] * allowed),
    }
    variance = copies * float(np.sum(2 * theta**2 * (1 - theta_share) ** 2 + varying)) + quantiles["variance"]
    room = copies * kappa - max(quantiles["mean above"], quantiles["mean below"])
    if room <= 0 or room**2 <= variance:
        return math.inf
    rate = 0.5 * copies * float(np.sum(np.log(np.maximum(v / theta, 1.0))))
    log_miss = rate + quantiles["information"] + copies * kappa / (2 * theta) - math.log1p(-variance / room**2)
    return log_miss + math.log(math.log(1 / (SHARES["misses"] * allowed)))
