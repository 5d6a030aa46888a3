"""Frequencies of the labels of one context, described in as few bits as they can be.

A model is a tuple. (CERTAIN, position): one label. (SHAPED, shape, zone, scale): a density 2^-(|x|/s)^p, s a power of
2^(1/16), integrated over the cells of a uniform quantizer whose middle cell is wider by `zone` 16ths of a step on either
side. (TABLE, fineness, spread, levels): a logarithm for each label, in steps of 1/2^fineness bit below the largest, of
which differences are coded. The encoder tries them and takes the cheapest.
"""

import functools
import math

import numpy as np

from rdtheory.schemes import _entropy
from rdtheory.schemes._entropy import bits, even, halved, normalized, peaked, put, take

__all__ = ["ESCAPES", "LARGEST_TABLE", "describe", "fit", "frequencies", "read"]

CERTAIN, SHAPED, TABLE = range(3)
POWERS = (0.5, 1.0, 1.5, 2.0)
ZONES = 9
SCALES = 384  # from 2^-4 to 2^20
FINENESS = 5
SPREADS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
DEEPEST = 26  # bits from the most frequent label of a table to the rarest
LARGEST_TABLE = 4096
ESCAPES = 32  # shares of the labels outside the range: 2^-e, or none

Model = tuple


def frequencies(model: Model, low: int, size: int, escape: int | None) -> np.ndarray:
    """Of the labels low, low + 1, ..., `size` of them, and of what is none of them if there is an escape.

    Examples
    --------
    >>> print((frequencies((SHAPED, 3, 0, 64), -1, 3, None) / 2**24).round(3))
    [0.267 0.467 0.267]
    """
    kind, *rest = model
    if kind == CERTAIN:
        weights = np.zeros(size, np.int64)
        weights[rest[0]] = 2**_entropy.UNIT
    elif kind == SHAPED:
        weights = _shaped(*rest, low, size)
    else:
        weights = halved(rest[2] / 2.0 ** rest[0])
    if escape is not None:
        weights = np.append(weights, max(int(weights.max()) >> escape, 1))
    elif kind == CERTAIN:
        return normalized(np.ones(1, np.int64))
    return normalized(weights)


def _shaped(shape: int, zone: int, scale: int, low: int, size: int) -> np.ndarray:
    points = 16 if size <= 512 else 4 if size <= 8192 else 1
    inside = (np.arange(points) + 0.5) / points - 0.5
    labels = np.abs(np.arange(low, low + size, dtype=np.float64))
    wide = 1 + zone / 8
    x = np.where((labels == 0)[:, None], inside * wide, labels[:, None] + (zone / 16 + inside))
    u = np.abs(x) / _entropy.power(scale - 64)
    v = (np.sqrt(u), u, u * np.sqrt(u), u * u)[shape]
    weights = halved(v).sum(axis=1)
    return np.where(labels == 0, weights * (8 + zone) // 8, weights)


def fit(counts: np.ndarray, low: int, outside: int = 0) -> tuple[float, Model, int | None]:
    """The cheapest model of labels that occur `counts` times: what they and it take, itself, how rare the escape is.

    Examples
    --------
    >>> fit(np.array([0, 7]), 0)
    (3.0, (0, 1), None)
    """
    escape = None if not outside else min(max(round(math.log2(max(counts.max(), 1) / outside)), 0), ESCAPES - 1)
    used = np.flatnonzero(counts)
    if len(used) <= 1:
        return 2 + math.log2(len(counts)), (CERTAIN, int(used[0]) if len(used) else 0), escape
    candidates = [_best_shape(counts, low)]
    if len(counts) <= LARGEST_TABLE:
        candidates.append(_best_table(counts))
    return *min(candidates, key=_first), escape


def _best_shape(counts: np.ndarray, low: int) -> tuple[float, Model]:
    labels = np.abs(np.arange(low, low + len(counts), dtype=np.float64))
    n = max(counts.sum(), 1)

    @functools.cache
    def price(shape: int, zone: int, scale: int) -> float:
        return bits(counts, frequencies((SHAPED, shape, zone, scale), low, len(counts), None))

    def descend(shape: int, zone: int, scale: int) -> tuple[float, Model]:
        for stride in (8, 2, 1):
            while True:
                near = [min(max(scale + d, 0), SCALES - 1) for d in (0, -stride, stride)]
                best = min(near, key=lambda s: price(shape, zone, s))
                if best == scale:
                    break
                scale = best
        return price(shape, zone, scale), (SHAPED, shape, zone, scale)

    found = []
    for shape, p in enumerate(POWERS):
        moment = (counts @ np.maximum(labels, 0.25) ** p / n * p * math.log(2)) ** (1 / p)  # of greatest likelihood
        found.append(descend(shape, 0, min(max(round(16 * math.log2(moment)) + 64, 0), SCALES - 1)))
    best = min(found)
    if len(counts) <= 512:
        _, (_, shape, _, scale) = best
        for zone in range(1, ZONES):
            candidate = descend(shape, zone, scale)
            scale = candidate[1][3]
            best = min(best, candidate)
    return best[0] + 12, best[1]


def _best_table(counts: np.ndarray) -> tuple[float, Model]:
    below = np.log2(counts.max() / np.maximum(counts, 0.25))
    best = (math.inf, ())
    for fineness in range(FINENESS):
        levels = np.round(below * 2.0**fineness).astype(np.int64)
        levels = np.minimum(levels - levels.min(), DEEPEST * 2**fineness)
        data = bits(counts, frequencies((TABLE, fineness, 0, levels), 0, len(counts), None))
        reach = DEEPEST * 2**fineness
        seen = np.bincount(np.diff(levels) + reach, minlength=2 * reach + 1)
        for spread, width in enumerate(SPREADS):
            best = min(best, (data + bits(seen, peaked(width, reach)), (TABLE, fineness, spread, levels)), key=_first)
    return best[0] + 16, best[1]


def _first(pair: tuple[float, Model]) -> float:
    return pair[0]


def describe(operations: list, model: Model, escape: int | None, size: int, escapes: bool, guess: int) -> int:
    """Put a model; `guess` is the scale to expect, and that to expect next is returned."""
    kind, *rest = model
    put(operations, kind, even(3))
    if escapes:
        put(operations, ESCAPES if escape is None else escape, even(ESCAPES + 1))
    if kind == CERTAIN:
        put(operations, rest[0], even(size))
    elif kind == SHAPED:
        shape, zone, scale = rest
        put(operations, shape, even(len(POWERS)))
        put(operations, zone, even(ZONES))
        put(operations, scale - guess + SCALES, peaked(24, SCALES))
        return scale
    else:
        fineness, spread, levels = rest
        reach = DEEPEST * 2**fineness
        put(operations, fineness, even(FINENESS))
        put(operations, spread, even(len(SPREADS)))
        put(operations, levels[0], even(reach + 1))
        put(operations, np.diff(levels) + reach, peaked(SPREADS[spread], reach))
    return guess


def read(coder, size: int, escapes: bool, guess: int) -> tuple[Model, int | None, int]:
    """What `describe` put: the model, the escape, and the scale to expect next."""

    def one(table: np.ndarray) -> int:
        return int(take(coder, 1, table)[0])

    kind, escape = one(even(3)), None
    if escapes:
        told = one(even(ESCAPES + 1))
        escape = None if told == ESCAPES else told
    if kind == CERTAIN:
        return (CERTAIN, one(even(size))), escape, guess
    if kind == SHAPED:
        shape, zone = one(even(len(POWERS))), one(even(ZONES))
        scale = one(peaked(24, SCALES)) - SCALES + guess
        if not 0 <= scale < SCALES:
            raise ValueError(f"the bitstream describes frequencies of a scale {scale}, not between 0 and {SCALES - 1}")
        return (SHAPED, shape, zone, scale), escape, scale
    if size > LARGEST_TABLE:
        raise ValueError(f"the bitstream describes a table of {size} frequencies, more than {LARGEST_TABLE}")
    fineness, spread = one(even(FINENESS)), one(even(len(SPREADS)))
    reach = DEEPEST * 2**fineness
    first = one(even(reach + 1))
    rest = take(coder, size - 1, peaked(SPREADS[spread], reach)).astype(np.int64) - reach
    levels = np.cumsum(np.concatenate([[first], rest]))
    if levels.min() < 0 or levels.max() > reach:
        raise ValueError("the bitstream describes frequencies outside the range of a table")
    return (TABLE, fineness, spread, levels), escape, guess
