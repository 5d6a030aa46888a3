"""Frequencies as whole numbers, the same on every platform, and the entropy coder that uses them.

The coder is constriction's, asymmetric numeral systems with frequencies of 24 bits: what is decoded first is encoded
last. So an encoder collects operations in the order of decoding, and `packed` runs them backwards.

Frequencies are computed by additions, products, quotients and square roots of float64, one at a time, which IEEE 754
rounds alike everywhere, and by whole numbers; no library's logarithm, no sum whose order is not fixed.
"""

import functools

import numpy as np
from constriction import stream  # ty: ignore[missing-module-member]
from jax.typing import ArrayLike

__all__ = ["bits", "even", "halved", "normalized", "opened", "packed", "peaked", "power", "put", "put_mixed", "take"]

PRECISION = 24
UNIT = 30  # `halved` counts in 2^-30
Categorical, AnsCoder = stream.model.Categorical, stream.stack.AnsCoder
LN2 = 0.6931471805599453
ROOTS = (2.0**0.5, 2.0**0.25, 2.0**0.125, 2.0**0.0625)

Operation = tuple[np.ndarray, list[np.ndarray], np.ndarray | None]


def normalized(weights: np.ndarray) -> np.ndarray:
    """Whole numbers >= 1 in proportion to `weights` (integers from 0 to 2^38) that sum to 2^24; equal if all are 0.

    Examples
    --------
    >>> print(normalized(np.array([3, 1, 0])))
    [12582911  4194304        1]
    """
    weights = weights if weights.any() else weights + 1
    top = int(weights.max()).bit_length() - UNIT
    weights = weights >> top if top > 0 else weights
    spare = 2**PRECISION - len(weights)
    found = weights * spare // weights.sum()
    # What rounding down has left over goes to the largest.
    found[np.argmax(found)] += spare - found.sum()
    return found + 1


def halved(exponents: np.ndarray) -> np.ndarray:
    """2^(30 - exponent) for float64 exponents >= 0, as whole numbers.

    Examples
    --------
    >>> print(halved(np.array([0.0, 1.0, 29.5])))
    [1073741824  536870912          1]
    """
    exponents = np.minimum(exponents, 62.0)
    whole = np.floor(exponents)
    t = (exponents - whole) * LN2
    series = np.ones_like(t)
    for order in range(12, 0, -1):
        series = 1.0 - t / order * series
    return np.ldexp(series, UNIT - whole.astype(np.int32)).astype(np.int64)


def power(sixteenths: int) -> float:
    """2^(sixteenths / 16), rounded alike everywhere.

    Examples
    --------
    >>> print(power(16), power(-8))
    2.0 0.7071067811865476
    """
    whole, part = divmod(sixteenths, 16)
    result = 2.0**whole
    for root, bit in zip(ROOTS, (8, 4, 2, 1), strict=True):
        result *= root if part & bit else 1.0
    return result


def even(size: int) -> np.ndarray:
    """Equal frequencies.

    Examples
    --------
    >>> print(even(2))
    [8388608 8388608]
    """
    return normalized(np.ones(size, np.int64))


@functools.lru_cache(128)
def peaked(spread: int, reach: int) -> np.ndarray:
    """Frequencies of -reach..reach that halve every `spread` / 4 steps away from zero.

    Examples
    --------
    >>> print(peaked(4, 1) / 2**24)
    [0.25 0.5  0.25]
    """
    return normalized(halved(np.abs(np.arange(-reach, reach + 1)) * 4 / spread))


def bits(counts: np.ndarray, frequencies: np.ndarray) -> float:
    """What symbols that occur `counts` times take.

    Examples
    --------
    >>> print(bits(np.array([4, 4]), even(2)))
    8.0
    """
    return float(counts @ (PRECISION - np.log2(frequencies)))


def put(operations: list[Operation], symbols: ArrayLike, frequencies: np.ndarray) -> None:
    """Symbols, positions in `frequencies`, to be coded after all before."""
    operations.append((np.atleast_1d(np.asarray(symbols, np.int32)), [frequencies], None))


def put_mixed(operations: list[Operation], symbols: np.ndarray, tables: list[np.ndarray], contexts: np.ndarray) -> None:
    """Symbols with frequencies `tables[context]` each."""
    operations.append((symbols.astype(np.int32), tables, contexts))


def packed(operations: list[Operation]) -> bytes:
    """Everything that was put, as bytes without a trailing zero.

    Examples
    --------
    >>> operations = []
    >>> put(operations, np.array([1, 0, 1]), even(2))
    >>> print(take(opened(packed(operations)), 3, even(2)))
    [1 0 1]
    """
    coder = AnsCoder()
    for symbols, tables, contexts in reversed(operations):
        models = [model(table) for table in tables]
        if contexts is None:
            if models[0] is not None:
                coder.encode_reverse(symbols, models[0])
            continue
        for symbol, context in zip(symbols[::-1].tolist(), contexts[::-1].tolist(), strict=True):
            if models[context] is not None:
                coder.encode_reverse(symbol, models[context])
    return coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


def opened(data: bytes) -> AnsCoder:
    """A decoder of what `packed` gave.

    Examples
    --------
    >>> opened(b"").is_empty()
    True
    """
    return AnsCoder(np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32))


def take(coder: AnsCoder, count: int, frequencies: np.ndarray) -> np.ndarray:
    """The next `count` symbols."""
    table = model(frequencies)
    return np.zeros(count, np.int32) if table is None or count == 0 else coder.decode(table, count)


def model(frequencies: np.ndarray) -> Categorical | None:
    """For constriction, which adds 1 to each frequency and divides by the sum: here both are exact.

    Examples
    --------
    >>> print(model(np.array([2**24])))  # what is certain need not be coded
    None
    """
    return None if len(frequencies) == 1 else Categorical((frequencies - 1).astype(np.float64), perfect=False)
