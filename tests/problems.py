"""Discrete sources whose rate-distortion function is known, with what makes each of them difficult."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

INF = np.inf


class Problem(NamedTuple):
    name: str
    source_pmf: np.ndarray
    distortion_matrix: np.ndarray
    exact: Callable[[float], float] | None  # R(D) in bits for D >= D_min; None where only a solver knows
    tags: frozenset


def entropy(p) -> float:
    p = np.asarray(p, float)
    p = p[p > 0]
    return float(-np.sum(p * np.log2(p)))


def hamming(n: int) -> np.ndarray:
    return 1.0 - np.eye(n)


def bernoulli_rate(p: float) -> Callable[[float], float]:
    least = min(p, 1 - p)

    def rate(D: float) -> float:
        return 0.0 if least <= D else entropy([p, 1 - p]) - entropy([D, 1 - D])

    return rate


def die_rate(M: int) -> Callable[[float], float]:
    def rate(D: float) -> float:
        return 0.0 if 1 - 1 / M <= D else np.log2(M) - entropy([D, 1 - D]) - D * np.log2(M - 1)

    return rate


def erokhin_rate(p) -> Callable[[float], float]:
    """Any source, Hamming distortion: try each number k of letters in use until τ fits between p_{k+1} and p_k."""
    p = np.sort(np.asarray(p, float))[::-1]
    p = p[p > 0]

    def rate(D: float) -> float:
        if 1 - p[0] <= D:
            return 0.0
        for k in range(len(p), 1, -1):
            tau = (D - p[k:].sum()) / (k - 1)
            if (p[k] if k < len(p) else 0.0) <= tau < p[k - 1]:
                return entropy(p[:k]) - entropy([1 - D]) - (k - 1) * entropy([tau])
        raise AssertionError("no number of letters fits")

    return rate


def erasure_rate(p) -> Callable[[float], float]:
    """Erased mass min(p, t), as even as the source allows."""
    p = np.asarray(p, float)

    def rate(D: float) -> float:
        if D >= 1:
            return 0.0
        t = brentq(lambda t: np.minimum(p, t).sum() - D, 0.0, p.max(), xtol=1e-17, rtol=1e-15)
        return entropy(p) - entropy(np.minimum(p, t)) + entropy([D])

    return rate


def coin_with_refusal_rate(price: float) -> Callable[[float], float]:
    """Fair coin that may also be refused at `price` < 1/2: the convex hull of 1 - h(D) and the point (price, 0)."""

    def slope(D: float) -> float:
        return np.log2((1 - D) / D)

    def above(D: float) -> float:
        return 1 - entropy([D, 1 - D]) - slope(D) * (price - D)

    touch = brentq(above, 1e-12, price, xtol=1e-17, rtol=1e-15)

    def rate(D: float) -> float:
        if touch <= D:
            # The line through (price, 0): its slope is stationary at the tangent point, so rounding there is harmless.
            return (1 - entropy([touch, 1 - touch])) * max(price - D, 0.0) / (price - touch)
        return 1 - entropy([D, 1 - D])

    return rate


def refusal_slope(price: float) -> float:
    """The one slope of the linear segment of `coin_with_refusal_rate`."""
    return brentq(lambda s: 1 - np.log2(1 + 2.0**-s) - s * price, 1e-6, 1e3, xtol=1e-15, rtol=1e-15)


def erasure_matrix(n: int) -> np.ndarray:
    return np.column_stack([np.where(np.eye(n, dtype=bool), 0.0, INF), np.ones(n)])


def _problem(name, p, d, exact, *tags) -> Problem:
    return Problem(name, np.asarray(p, float), np.asarray(d, float), exact, frozenset(tags))


_random = np.random.default_rng(20190610)
_random_pmf = _random.dirichlet(np.ones(5))
_random_matrix = _random.uniform(0, 2, (5, 7))

FAIR_COIN = _problem("fair coin", [0.5, 0.5], hamming(2), bernoulli_rate(0.5))
BIASED_COIN = _problem("biased coin", [0.7, 0.3], hamming(2), bernoulli_rate(0.3), "critical slope")
BIASED_COIN_CRITICAL_SLOPE = float(np.log2(0.7 / 0.3))
REFUSAL = _problem(
    "coin with refusal",
    [0.5, 0.5],
    [[0, 1, 0.2], [1, 0, 0.2]],
    coin_with_refusal_rate(0.2),
    "n != m",
    "linear segment",
    "critical slope",
)
LOSSLESS = _problem(
    "no finite column", [0.3, 0.7], [[0, INF], [INF, 0]], lambda D: entropy([0.3, 0.7]), "infinite", "no finite column"
)

PROBLEMS = [
    FAIR_COIN,
    BIASED_COIN,
    REFUSAL,
    LOSSLESS,
    _problem("very biased coin", [0.999, 0.001], hamming(2), bernoulli_rate(0.001), "near-degenerate"),
    _problem("zero-mass letter", [0.7, 0.3, 0.0], hamming(3), bernoulli_rate(0.3), "zero mass", "critical slope"),
    _problem(
        "zero-mass row, all infinite",
        [0.5, 0.0, 0.5],
        [[0, 1, 1], [INF, INF, INF], [1, 1, 0]],
        bernoulli_rate(0.5),
        "zero mass",
        "infinite",
    ),
    _problem("fair die", np.full(6, 1 / 6), hamming(6), die_rate(6)),
    _problem("four letters", [0.2, 0.4, 0.1, 0.3], hamming(4), erokhin_rate([0.2, 0.4, 0.1, 0.3]), "support changes"),
    _problem("equal letters", [0.25, 0.25, 0.5], hamming(3), erokhin_rate([0.25, 0.25, 0.5]), "ties"),
    _problem(
        "erasure, fair die", np.full(3, 1 / 3), erasure_matrix(3), lambda D: max(1 - D, 0) * np.log2(3), "infinite"
    ),
    _problem(
        "erasure, biased",
        [0.6, 0.3, 0.1],
        erasure_matrix(3),
        erasure_rate([0.6, 0.3, 0.1]),
        "infinite",
        "n != m",
    ),
    _problem(
        "duplicate columns",
        [0.7, 0.3],
        [[0, 1, 0, 1], [1, 0, 1, 0]],
        bernoulli_rate(0.3),
        "duplicate columns",
        "ties",
        "n != m",
    ),
    _problem("shifted rows", [0.7, 0.3], [[5, 6], [3, 2]], lambda D: bernoulli_rate(0.3)(D - 4.1), "D_min > 0"),
    _problem("constant", [0.2, 0.8], [[1, 1, 1], [2, 2, 2]], lambda D: 0.0, "ties", "D_min > 0", "n != m"),
    _problem("one source letter", [1.0], [[2, 1, 3]], lambda D: 0.0, "n = 1"),
    _problem("one reproduction", [0.2, 0.3, 0.5], [[1], [0], [2]], lambda D: 0.0, "m = 1"),
    _problem("uneven errors", [0.4, 0.6], [[0, 1], [3, 0]], None),
    _problem(
        "absolute error", [0.1, 0.4, 0.4, 0.1], np.abs(np.arange(4.0)[:, None] - np.arange(0, 3.5, 0.5)), None, "n != m"
    ),
    _problem("random", _random_pmf, _random_matrix, None, "n != m", "D_min > 0"),
]


def least_distortion(problem: Problem) -> float:
    p, d = problem.source_pmf, problem.distortion_matrix
    return float(sum(p[x] * d[x].min() for x in range(len(p)) if p[x] > 0))


def free_distortion(problem: Problem) -> float:
    """D_max, from which on the rate is zero; infinite if no single letter will do."""
    used = problem.source_pmf > 0
    return float((problem.source_pmf[used, None] * problem.distortion_matrix[used]).sum(axis=0).min())
