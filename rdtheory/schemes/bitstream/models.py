"""Frequencies of the labels of one context, described in as few bits as they can be.

A model is a tuple. (CERTAIN, position): one label. (SHAPED, shape, zone, scale): a density 2^-(|x|/s)^p, s a power of
2^(1/16), integrated over the cells of a uniform quantizer whose middle cell is wider on either side by `zone` 16ths of
a step, or taken at the labels themselves. (TABLE, fineness, spread, levels): a logarithm for each label, in steps of
1/2^fineness bit below the largest, of which differences are coded. The encoder takes the cheapest.
"""

import functools
import math

import numpy as np

from rdtheory.schemes.bitstream import entropy
from rdtheory.schemes.bitstream.entropy import bits, even, halved, normalized, peaked, put, take

__all__ = ["certain", "describe", "fit", "frequencies", "likely_scale", "read", "remembered"]

CERTAIN, SHAPED, TABLE, AGAIN = range(4)
KINDS = normalized(np.array([3, 2, 2, 9]))  # AGAIN: a density as before but for its scale
OLD_SHAPE, NEW_SHAPE, NEW_TABLE = 5.0, 16.0, 16.0  # bits that they take, about
POWERS = (0.5, 1.0, 1.5, 2.0)
ZONES, POINTWISE = 10, 9
SCALES = 384  # from 2^-4 to 2^20
FINENESS = 5
SPREADS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
DEEPEST = 26  # bits from the most frequent label of a table to the rarest
LARGEST_TABLE = 4096
ESCAPES = 32  # shares of the labels outside the range: 2^-e, or none

Model = tuple
Memory = tuple[int, int, int, int] | None  # shape, zone, scale of the density before, scale of the one before that


def frequencies(model: Model, low: int, size: int, escape: int | None = None, half: int | float = 0) -> np.ndarray:
    """Of the labels low, low + 1, ..., `size` of them, and of what is none of them if there is an escape.

    Where one label is `certain` there is nothing to code, and one frequency. Label k is at k + half/2.

    Examples
    --------
    >>> print((frequencies((SHAPED, 3, 0, 64), -1, 3, None) / 2**24).round(3))
    [0.259 0.481 0.259]
    """
    kind, *rest = model
    if kind == CERTAIN:
        weights = np.zeros(size, np.int64)
        weights[rest[0]] = 2**entropy.UNIT
    elif kind == SHAPED:
        weights = _shaped(*rest, low + half / 2, size)
    else:
        weights = halved(rest[2] / 2.0 ** rest[0])
    if escape is not None:
        weights = np.append(weights, max(int(weights.max()) >> escape, 1))
    elif kind == CERTAIN:
        return normalized(np.ones(1, np.int64))
    return normalized(weights)


def certain(model: Model, escape: int | None) -> int | None:
    """The position of the one label there is, of which nothing is coded.

    Examples
    --------
    >>> print(certain((CERTAIN, 5), None), certain((CERTAIN, 5), 3))
    5 None
    """
    return model[1] if model[0] == CERTAIN and escape is None else None


def _shaped(shape: int, zone: int, scale: int, low: float, size: int) -> np.ndarray:
    points = 16 if size <= 512 else 4 if size <= 8192 else 1
    inside, zone = ((np.arange(points) + 0.5) / points - 0.5, zone) if zone < POINTWISE else (np.zeros(1), 0)
    place = np.abs(low + np.arange(size))
    x = np.where((place == 0)[:, None], inside * (1 + zone / 8), place[:, None] + (zone / 16 + inside))
    u = np.abs(x) / entropy.power(scale - 64)
    v = (np.sqrt(u), u, u * np.sqrt(u), u * u)[shape]
    weights = halved(v).sum(axis=1)
    return np.where(place == 0, weights * (8 + zone) // 8, weights)


def fit(counts: np.ndarray, low: int, outside: int, memory: Memory, half: int = 0) -> tuple[float, Model, int | None]:
    """The cheapest model of labels that occur `counts` times: what they and it take, itself, how rare the escape is.

    Examples
    --------
    >>> fit(np.array([0, 7]), 0, 0, None)
    (4.0, (0, 1), None)
    """
    escape = None if not outside else min(max(round(math.log2(max(counts.max(), 1) / outside)), 0), ESCAPES - 1)
    used = np.flatnonzero(counts)
    if len(used) <= 1:
        return 3 + math.log2(len(counts)), (CERTAIN, int(used[0]) if len(used) else 0), escape
    candidates = [_best_shape(counts, low, memory, half)]
    if len(counts) <= LARGEST_TABLE:
        candidates.append(_best_table(counts))
    return *min(candidates, key=_first), escape


def _best_shape(counts: np.ndarray, low: int, memory: Memory, half: int) -> tuple[float, Model]:
    @functools.cache
    def price(shape: int, zone: int, scale: int) -> float:
        return bits(counts, frequencies((SHAPED, shape, zone, scale), low, len(counts), None, half))

    def descend(shape: int, zone: int, scale: int) -> tuple[float, Model]:
        for stride in (8, 2, 1):
            while True:
                near = [min(max(scale + d, 0), SCALES - 1) for d in (0, -stride, stride)]
                best = min(near, key=lambda s: price(shape, zone, s))
                if best == scale:
                    break
                scale = best
        told = NEW_SHAPE if memory is None or memory[:2] != (shape, zone) else OLD_SHAPE
        return price(shape, zone, scale) + told, (SHAPED, shape, zone, scale)

    found = [descend(shape, 0, likely_scale(counts, low + half / 2, shape)) for shape in range(len(POWERS))]
    if memory is not None:
        found.append(descend(*memory[:2], likely_scale(counts, low + half / 2, memory[0])))
    best = min(found)
    if len(counts) <= 512:
        _, (_, shape, _, scale) = best
        for zone in (POINTWISE, *range(1, POINTWISE)):
            candidate = descend(shape, zone, scale)
            if candidate > best and zone != POINTWISE:
                break
            best = min(best, candidate)
    return best


def likely_scale(counts: np.ndarray, low: float, shape: int) -> int:
    """The scale of greatest likelihood if labels were not rounded.

    Examples
    --------
    >>> likely_scale(np.array([1, 0, 1]), -1.0, 3)
    68
    """
    p, place = POWERS[shape], np.maximum(np.abs(low + np.arange(len(counts))), 0.25)
    return min(
        max(round(16 * math.log2((counts @ place**p / counts.sum() * p * math.log(2)) ** (1 / p))) + 64, 0), SCALES - 1
    )


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
    return best[0] + NEW_TABLE, best[1]


def _first(pair: tuple[float, Model]) -> float:
    return pair[0]


def describe(operations: list, model: Model, escape: int | None, size: int, escapes: bool, memory: Memory) -> Memory:
    """Put a model; what is remembered of those before makes it shorter, and what to remember is returned."""
    kind, *rest = model
    again = memory is not None and kind == SHAPED and tuple(rest[:2]) == memory[:2]
    put(operations, AGAIN if again else kind, KINDS)
    if escapes:
        put(operations, ESCAPES if escape is None else escape, even(ESCAPES + 1))
    if kind == CERTAIN:
        put(operations, rest[0], even(size))
    elif kind == SHAPED:
        shape, zone, scale = rest
        if not again:
            put(operations, shape, even(len(POWERS)))
            put(operations, zone, even(ZONES))
        expected = _expected(memory)
        put(operations, scale - expected + SCALES, peaked(8 if memory else 200, SCALES))
    else:
        fineness, spread, levels = rest
        reach = DEEPEST * 2**fineness
        put(operations, fineness, even(FINENESS))
        put(operations, spread, even(len(SPREADS)))
        put(operations, levels[0], even(reach + 1))
        put(operations, np.diff(levels) + reach, peaked(SPREADS[spread], reach))
    return remembered(model, memory)


def read(coder, size: int, escapes: bool, memory: Memory) -> tuple[Model, int | None, Memory]:
    """What `describe` put: the model, the escape, and what to remember."""

    def one(table: np.ndarray) -> int:
        return int(take(coder, 1, table)[0])

    kind, escape = one(KINDS), None
    if escapes:
        told = one(even(ESCAPES + 1))
        escape = None if told == ESCAPES else told
    if kind == CERTAIN:
        return (CERTAIN, one(even(size))), escape, memory
    if kind == TABLE:
        return (TABLE, *_read_table(coder, size, one)), escape, memory
    if memory is None and kind == AGAIN:
        raise ValueError("the bitstream describes frequencies by others before, of which there are none")
    shape, zone = memory[:2] if memory is not None and kind == AGAIN else (one(even(len(POWERS))), one(even(ZONES)))
    scale = one(peaked(8 if memory else 200, SCALES)) - SCALES + _expected(memory)
    if not 0 <= scale < SCALES:
        raise ValueError(f"the bitstream describes frequencies of a scale {scale}, not between 0 and {SCALES - 1}")
    model = (SHAPED, shape, zone, scale)
    return model, escape, remembered(model, memory)


def _read_table(coder, size: int, one) -> tuple[int, int, np.ndarray]:
    if size > LARGEST_TABLE:
        raise ValueError(f"the bitstream describes a table of {size} frequencies, more than {LARGEST_TABLE}")
    fineness, spread = one(even(FINENESS)), one(even(len(SPREADS)))
    reach = DEEPEST * 2**fineness
    first = one(even(reach + 1))
    rest = take(coder, size - 1, peaked(SPREADS[spread], reach)).astype(np.int64) - reach
    levels = np.cumsum(np.concatenate([[first], rest]))
    if levels.min() < 0 or levels.max() > reach:
        raise ValueError("the bitstream describes frequencies outside the range of a table")
    return fineness, spread, levels


def remembered(model: Model, memory: Memory) -> Memory:
    """What is known after a model.

    Examples
    --------
    >>> remembered((SHAPED, 3, 0, 64), (3, 1, 60, 58))
    (3, 0, 64, 60)
    """
    if model[0] != SHAPED:
        return memory
    _, shape, zone, scale = model
    return shape, zone, scale, memory[2] if memory else scale


def _expected(memory: Memory) -> int:
    """As far from the scale before as that was from its own; without any, about one step."""
    return 96 if memory is None else min(max(2 * memory[2] - memory[3], 0), SCALES - 1)
