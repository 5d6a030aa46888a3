"""The models of all contexts of an array, each on its own or all of one law; and labels that no model knows."""

import math
from typing import NamedTuple

import numpy as np

from rdtheory.schemes.bitstream import entropy
from rdtheory.schemes.bitstream.models import (
    CERTAIN,
    POINTWISE,
    POWERS,
    SCALES,
    SHAPED,
    ZONES,
    certain,
    describe,
    fit,
    frequencies,
    likely_scale,
    read,
    remembered,
)

__all__ = ["Plan", "choose", "ideal", "put_escaped", "put_plan", "take_escaped", "take_plan"]

SLOPES = (1, 2, 4, 8, 16)  # of the scale from class to class, in 16ths of an octave
MANY = 64  # contexts: if all are of one law, no other is looked for
LAW_BITS = 18.0
CHUNK = 16  # bits


class Plan(NamedTuple):
    """What `choose` found."""

    price: float
    contexts: int
    law: tuple | None  # shape, zone, scale of class 0, slope, whether class 0 is all zeros
    models: list  # of each context, with its escape
    low: int
    size: int
    halves: np.ndarray


def choose(
    symbols: np.ndarray, contexts: np.ndarray | None, groups: int, low: int, size: int, halves: np.ndarray
) -> Plan:
    """The cheapest models for symbols, of which `size` is the escape, in groups · len(halves) contexts."""
    count = groups * len(halves)
    place = symbols if contexts is None else contexts * (size + 1) + symbols
    counts = np.bincount(place, minlength=count * (size + 1)).reshape(count, size + 1)
    found = []
    if groups > 1 and not counts[:, -1].any():
        found += _one_law(counts[:, :-1], groups, low, halves)
    if count <= MANY or not found:
        price, models, memory = 0.0, [], None
        for row, half in zip(counts, np.tile(halves, groups), strict=True):
            taken, model, escape = fit(row[:-1], low, int(row[-1]), memory, int(half))
            price, memory = price + taken, remembered(model, memory)
            models.append((model, escape))
        found.append((price, None, models))
    price, law, models = min(found, key=lambda f: f[0])
    return Plan(price, count, law, models, low, size, halves)


def ideal(symbols: np.ndarray, contexts: np.ndarray, size: int) -> float:
    """About the bits of the symbols by the law of each context, which is known for free.

    Their own frequencies flatter them, by ½ log e bit for each number that is fitted.

    Examples
    --------
    >>> print(f"{ideal(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), 2):.3f}")  # four bits, and two numbers
    5.443
    """
    counts, totals = np.bincount(contexts * (size + 1) + symbols), np.bincount(contexts)
    counts, totals = counts[counts > 0], totals[totals > 0]
    flattery = (len(counts) - len(totals)) / (2 * math.log(2))
    return float(totals @ np.log2(totals) - counts @ np.log2(counts)) + flattery


def _one_law(counts: np.ndarray, groups: int, low: int, halves: np.ndarray) -> list[tuple[float, tuple, list]]:
    """Densities whose scales are in proportion from class to class, if there are any."""
    size, kinds = counts.shape[1], len(halves)
    by_class = counts.reshape(groups, kinds, size)
    zeros = -size < low <= 0 and not np.delete(by_class[0], -low, axis=1).any()
    used = [c for c in range(int(zeros), groups) if by_class[c].any()]
    if not used:
        return []
    likely = np.array([likely_scale(by_class[c].sum(axis=0), low + halves.mean() / 2, 3) for c in used])
    n = by_class[used].sum(axis=(1, 2))

    def price(law: tuple) -> float:
        total = LAW_BITS
        for c in used:
            for row, half in zip(by_class[c], halves, strict=True):
                if row.any():
                    total += entropy.bits(row, frequencies(_of_law(law, c, low), low, size, None, int(half)))
        return total

    def better(law: tuple) -> tuple[float, tuple]:
        best = (price(law), law)
        for stride in (4, 1, -4, -1):
            while True:
                shape, zone, scale, slope, zeros = best[1]
                moved = (shape, zone, min(max(scale + stride, 0), SCALES - 1), slope, zeros)
                candidate = (price(moved), moved)
                if candidate[0] >= best[0]:
                    break
                best = candidate
        return best

    slopes = []
    for slope in SLOPES:
        base = likely - slope * np.array(used)
        middle = round(float(n @ base / n.sum()))
        slopes.append((float(n @ (base - middle) ** 2), slope, min(max(middle, 0), SCALES - 1)))
    _, slope, scale = min(slopes)
    best = better((3, 0, scale, slope, int(zeros)))
    for zone in (POINTWISE, *range(1, POINTWISE)):
        candidate = better((3, zone, best[1][2], slope, int(zeros)))
        if candidate > best and zone != POINTWISE:
            break
        best = min(best, candidate)
    for shape in range(3):
        best = min(best, better((shape, best[1][1], best[1][2], slope, int(zeros))))
    return [(*best, [])]


def _of_law(law: tuple, c: int, low: int) -> tuple:
    """The model of class c."""
    shape, zone, scale, slope, zeros = law
    if zeros and c == 0:
        return CERTAIN, -low
    return SHAPED, shape, zone, min(max(scale + slope * c, 0), SCALES - 1)


def put_plan(operations: list, plan: Plan, escapes: bool) -> list[np.ndarray]:
    """Put the models; their frequencies are returned."""
    halves = np.tile(plan.halves, plan.contexts // len(plan.halves)).tolist()
    if plan.contexts > len(plan.halves) and not escapes:
        entropy.put(operations, int(plan.law is not None), entropy.even(2))
    if plan.law is not None:
        for number, size in zip(_indices(plan.law), LAW, strict=True):
            entropy.put(operations, number, entropy.even(size))
        models = [(_of_law(plan.law, i // len(plan.halves), plan.low), None) for i in range(plan.contexts)]
    else:
        models, memory = plan.models, None
        for model, escape in models:
            memory = describe(operations, model, escape, plan.size, escapes, memory)
    return [
        frequencies(model, plan.low, plan.size, escape, half)
        for (model, escape), half in zip(models, halves, strict=True)
    ]


LAW = (len(POWERS), ZONES, SCALES, len(SLOPES), 2)


def _indices(law: tuple) -> tuple:
    shape, zone, scale, slope, zeros = law
    return shape, zone, scale, SLOPES.index(slope), zeros


def take_plan(
    coder, groups: int, low: int, size: int, escapes: bool, halves: np.ndarray
) -> tuple[list[np.ndarray], list[int]]:
    """Frequencies of each context, and the label of those that have but one."""
    count, memory, models = groups * len(halves), None, []
    if groups > 1 and not escapes and entropy.take(coder, 1, entropy.even(2))[0]:
        shape, zone, scale, slope, zeros = (int(entropy.take(coder, 1, entropy.even(n))[0]) for n in LAW)
        if zeros and not 0 <= -low < size:
            raise ValueError("the bitstream says that labels are 0, which is not among its labels")
        law = (shape, zone, scale, SLOPES[slope], zeros)
        models = [(_of_law(law, i // len(halves), low), None) for i in range(count)]
    else:
        for _ in range(count):
            model, escape, memory = read(coder, size, escapes, memory)
            models.append((model, escape))
    tables = [
        frequencies(model, low, size, escape, half)
        for (model, escape), half in zip(models, np.tile(halves, groups).tolist(), strict=True)
    ]
    return tables, [certain(model, escape) or 0 for model, escape in models]


def put_escaped(operations: list, values: np.ndarray) -> None:
    """Numbers of up to 64 bits: how many bits, then those below the leading one."""
    if not len(values):
        return
    folded = ((values << 1) ^ (values >> 63)).astype(np.uint64)
    lengths = np.array([int(value).bit_length() for value in folded])
    entropy.put(operations, lengths, entropy.even(65))
    for length in range(2, 65):
        of_length = folded[lengths == length]
        for low in range(0, length - 1, CHUNK):
            width = min(CHUNK, length - 1 - low)
            part = (of_length >> np.uint64(low)) & np.uint64(2**width - 1)
            entropy.put(operations, part, entropy.even(2**width))


def take_escaped(coder, count: int) -> np.ndarray:
    lengths = entropy.take(coder, count, entropy.even(65))
    folded = np.zeros(count, np.uint64)
    folded[lengths > 0] = np.uint64(1) << (lengths[lengths > 0] - 1).astype(np.uint64)
    for length in np.unique(lengths[lengths > 1]).tolist():
        where = np.flatnonzero(lengths == length)
        for low in range(0, length - 1, CHUNK):
            width = min(CHUNK, length - 1 - low)
            part = entropy.take(coder, len(where), entropy.even(2**width)).astype(np.uint64)
            folded[where] |= part << np.uint64(low)
    return (folded >> np.uint64(1)).astype(np.int64) ^ -(folded & np.uint64(1)).astype(np.int64)
