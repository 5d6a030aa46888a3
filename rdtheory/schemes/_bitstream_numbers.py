"""Whole numbers and floats in a bitstream: what is short stands in its header, what is long goes through the coder.

An encoder fills a sink (header, operations, work), a decoder reads a source (header, coder, work left). Work is counted
alike on both sides, in labels and entries of frequency tables: no more is allocated or done than was checked before.
"""

import io
import math

import numpy as np

from rdtheory.schemes import _bitstream_models, _entropy, _trellis_states

__all__ = [
    "Sink",
    "Source",
    "put_array",
    "put_floats",
    "put_labels",
    "put_number",
    "take_array",
    "take_bytes",
    "take_floats",
    "take_labels",
    "take_number",
]

Sink = tuple[bytearray, list, list[int]]
Source = tuple[io.BytesIO, object, list[int]]

DTYPES = tuple(np.dtype(name) for name in ("<i1", "<i2", "<i4", "<i8", "<u1", "<u2", "<u4", "<f2", "<f4", "<f8"))
WIDEST = 2**16  # range of labels that have frequencies; what lies outside is escaped
AXES = 32
STEPWISE = 4  # work of a label of a trellis code, which is coded on its own
CHUNK = 16  # bits


def put_number(sink: Sink, number: int) -> None:
    """A whole number >= 0, seven bits a byte.

    Examples
    --------
    >>> sink = (bytearray(), [], [0])
    >>> put_number(sink, 300)
    >>> take_number((io.BytesIO(sink[0]), None, [0]))
    300
    """
    while number >= 128:
        sink[0].append(number & 127 | 128)
        number >>= 7
    sink[0].append(number)


def take_number(source: Source) -> int:
    """What `put_number` put."""
    number = 0
    for place in range(0, 64, 7):
        byte = take_bytes(source, 1)[0]
        number |= (byte & 127) << place
        if byte < 128:
            return number
    raise ValueError("the header of the bitstream holds a number of more than 64 bits")


def take_bytes(source: Source, count: int) -> bytes:
    """The next bytes of the header."""
    left = len(source[0].getbuffer()) - source[0].tell()
    if count > left:
        raise ValueError(f"the header of the bitstream claims {count} more bytes, of which it has {left}")
    return source[0].read(count)


def charge(source: Source, work: int) -> None:
    """Count work before it is done."""
    source[2][0] -= work
    if source[2][0] < 0:
        raise ValueError("the bitstream claims more labels or longer tables than its length allows")


def put_array(sink: Sink, array: np.ndarray) -> None:
    """Dtype and shape."""
    put_number(sink, DTYPES.index(array.dtype.newbyteorder("<")) + len(DTYPES) * array.ndim)
    for size in array.shape:
        put_number(sink, size)


def take_array(source: Source) -> tuple[np.dtype, tuple[int, ...], int]:
    """What `put_array` put, with the number of entries."""
    axes, code = divmod(take_number(source), len(DTYPES))
    if axes > AXES:
        raise ValueError(f"the header of the bitstream names an array of {axes} axes, more than {AXES}")
    shape = tuple(take_number(source) for _ in range(axes))
    if 0 in shape:
        raise ValueError(f"the header of the bitstream names an array without entries, {shape}")
    size = math.prod(shape)
    if size > source[2][0]:
        raise ValueError(f"the bitstream claims an array of {size} entries, more than its length allows")
    return DTYPES[code], shape, size


def put_floats(sink: Sink, array: np.ndarray) -> None:
    """Every bit of an array of floats: as they are, or the distinct ones with their positions if that is shorter."""
    put_array(sink, array)
    flat = np.ascontiguousarray(array).ravel()
    distinct, place, counts = np.unique(flat.view(f"u{flat.itemsize}"), return_inverse=True, return_counts=True)
    positions = -float(counts @ np.log2(counts / len(flat))) / 8
    listed = len(flat) > 1 and len(distinct) * (flat.itemsize + 1) + positions + 8 < len(flat) * flat.itemsize
    if len(flat) > 1:
        put_number(sink, len(distinct) if listed else 0)
    kept = distinct.view(flat.dtype) if listed else flat
    sink[0].extend(kept.astype(flat.dtype.newbyteorder("<")).tobytes())
    if listed:
        put_labels(sink, place, None, None)


def take_floats(source: Source) -> np.ndarray:
    """What `put_floats` put."""
    dtype, shape, size = take_array(source)
    if dtype.kind != "f":
        raise ValueError(f"the header of the bitstream names dtype {dtype}, where floats are expected")
    listed = take_number(source) if size > 1 else 0
    kept = np.frombuffer(take_bytes(source, (listed or size) * dtype.itemsize), dtype).astype(dtype.newbyteorder("="))
    if not listed:
        return kept.reshape(shape)
    place = take_labels(source, size, None, None)
    if place.min() < 0 or place.max() >= listed:
        raise ValueError("the bitstream names a number that is not in its list")
    return kept[place].reshape(shape)


def put_labels(sink: Sink, labels: np.ndarray, classes: np.ndarray | None, taps: np.ndarray | None) -> None:
    """Whole numbers (n,), with frequencies for each class, and for each context of a trellis."""
    header, operations, work = sink
    labels = labels.astype(np.int64)
    least, largest = int(labels.min()), int(labels.max())
    groups = 1 if classes is None else int(classes.max()) + 1
    widest = min(WIDEST, max(512, 16 * len(labels) // groups))
    if largest - least >= widest:
        middle = int(np.partition(labels, len(labels) // 2)[len(labels) // 2])
        least = min(max(middle - widest // 2, least), largest - widest + 1)
    size = min(largest - least + 1, widest)
    # Not labels - least, which 64 bits need not hold.
    outside = (labels < least) | (labels >= least + size)
    escaped = int(np.count_nonzero(outside))
    symbols = (labels - least if not escaped else np.where(outside, size, labels - np.where(outside, 0, least))).astype(
        np.int32
    )
    put_number(sink, _folded(least))
    put_number(sink, 2 * (size - 1) + bool(escaped))
    if escaped:
        put_number(sink, escaped)
        _put_escaped(operations, labels[outside])
    contexts = None if groups == 1 else classes.astype(np.int64)
    if taps is not None:
        states = _trellis_states.states(labels, taps)
        tried = []
        for way in range(_trellis_states.WAYS if len(_trellis_states.transitions(taps)) <= 8 else 2):
            of_state = _trellis_states.contexts(taps, way)
            kinds = int(of_state.max()) + 1
            mixed = of_state[states] if contexts is None else contexts * kinds + of_state[states]
            tried.append((*_fitted(symbols, mixed, groups * kinds, least, size), mixed, way))
        _, models, contexts, way = min(tried, key=lambda t: t[0])
        put_number(sink, way)
    else:
        _, models = _fitted(symbols, contexts, groups, least, size)
    work[0] += len(labels) * (1 if taps is None else STEPWISE) + len(models) * size
    tables, memory = [], None
    for model, escape in models:
        memory = _bitstream_models.describe(operations, model, escape, size, bool(escaped), memory)
        tables.append(_bitstream_models.frequencies(model, least, size, escape))
    if taps is not None:
        _entropy.put_mixed(operations, symbols, tables, contexts)
        return
    for order, table in zip([slice(None)] if groups == 1 else _split(contexts, groups), tables, strict=True):
        _entropy.put(operations, symbols[order], table)


def take_labels(source: Source, count: int, classes: np.ndarray | None, taps: np.ndarray | None) -> np.ndarray:
    """What `put_labels` put, `count` labels."""
    coder = source[1]
    least, size = _unfolded(take_number(source)), take_number(source)
    size, escaped = size // 2 + 1, take_number(source) if size % 2 else 0
    if size > WIDEST or escaped > count or least < -(2**63) or least + size > 2**63:
        raise ValueError(f"the bitstream claims {size} labels from {least} on, and {escaped} others of {count}")
    groups = 1 if classes is None else int(classes.max()) + 1
    of_state = np.zeros(1, np.int64)
    if taps is not None:
        way = take_number(source)
        if way >= _trellis_states.WAYS:
            raise ValueError(f"the bitstream names a way {way} of making contexts, which does not exist")
        of_state = _trellis_states.contexts(taps, way)
    kinds = int(of_state.max()) + 1
    charge(source, count * (1 if taps is None else STEPWISE) + groups * kinds * size)
    outside = _take_escaped(coder, escaped)
    tables, only, memory = [], [], None
    for _ in range(groups * kinds):
        model, escape, memory = _bitstream_models.read(coder, size, bool(escaped), memory)
        tables.append(_bitstream_models.frequencies(model, least, size, escape))
        only.append(_bitstream_models.certain(model, escape) or 0)
    contexts = None if groups == 1 else classes.astype(np.int64)
    if taps is not None:
        base = np.zeros(count, np.int64) if contexts is None else contexts * kinds
        symbols = _follow(coder, tables, only, base, of_state, taps, least, size, outside)
    elif contexts is None:
        symbols = _entropy.take(coder, count, tables[0]).astype(np.int64)
        symbols += only[0]
    else:
        symbols = np.zeros(count, np.int64)
        for order, table, start in zip(_split(contexts, groups), tables, only, strict=True):
            symbols[order] = _entropy.take(coder, len(order), table) + start
    if not escaped:
        symbols += least
        return symbols
    seen = symbols == size
    if np.count_nonzero(seen) != escaped:
        raise ValueError(f"the bitstream holds {np.count_nonzero(seen)} escaped labels and claims {escaped}")
    symbols += least
    symbols[seen] = outside
    return symbols


def _fitted(symbols, contexts, count, least, size) -> tuple[float, list]:
    """Cheapest models of all contexts, with what symbols and models take."""
    place = symbols if contexts is None else contexts * (size + 1) + symbols
    counts = np.bincount(place, minlength=count * (size + 1)).reshape(count, size + 1)
    total, found, memory = 0.0, [], None
    for row in counts:
        price, model, escape = _bitstream_models.fit(row[:-1], least, int(row[-1]), memory)
        total += price
        memory = _bitstream_models.remembered(model, memory)
        found.append((model, escape))
    return total, found


def _follow(coder, tables, only, base, of_state, taps, least, size, outside) -> np.ndarray:
    """Labels of a trellis code one after another: each leads to the state in whose context the next was coded."""
    models = [_entropy.model(table) for table in tables]
    following, of_state, known = _trellis_states.transitions(taps).tolist(), of_state.tolist(), iter(outside.tolist())
    state, symbols = 0, []
    for first in base.tolist():
        context = first + of_state[state]
        model = models[context]
        symbol = only[context] if model is None else coder.decode(model)
        symbols.append(symbol)
        label = symbol + least if symbol < size else next(known, 0)
        state = following[state][label & 1]
    return np.array(symbols, np.int64)


def _split(contexts: np.ndarray, count: int) -> list[np.ndarray]:
    """The positions of each context, in order."""
    order = np.argsort(contexts, kind="stable")
    return np.split(order, np.cumsum(np.bincount(contexts, minlength=count))[:-1])


def _put_escaped(operations: list, values: np.ndarray) -> None:
    """Numbers of up to 64 bits: how many bits, then those below the leading one."""
    if not len(values):
        return
    folded = ((values << 1) ^ (values >> 63)).astype(np.uint64)
    lengths = np.array([int(value).bit_length() for value in folded])
    _entropy.put(operations, lengths, _entropy.even(65))
    for length in range(2, 65):
        of_length = folded[lengths == length]
        for low in range(0, length - 1, CHUNK):
            width = min(CHUNK, length - 1 - low)
            part = (of_length >> np.uint64(low)) & np.uint64(2**width - 1)
            _entropy.put(operations, part, _entropy.even(2**width))


def _take_escaped(coder, count: int) -> np.ndarray:
    lengths = _entropy.take(coder, count, _entropy.even(65))
    folded = np.zeros(count, np.uint64)
    folded[lengths > 0] = np.uint64(1) << (lengths[lengths > 0] - 1).astype(np.uint64)
    for length in np.unique(lengths[lengths > 1]).tolist():
        where = np.flatnonzero(lengths == length)
        for low in range(0, length - 1, CHUNK):
            width = min(CHUNK, length - 1 - low)
            part = _entropy.take(coder, len(where), _entropy.even(2**width)).astype(np.uint64)
            folded[where] |= part << np.uint64(low)
    return (folded >> np.uint64(1)).astype(np.int64) ^ -(folded & np.uint64(1)).astype(np.int64)


def _folded(number: int) -> int:
    return 2 * number if number >= 0 else -2 * number - 1


def _unfolded(number: int) -> int:
    return -(number + 1) // 2 if number & 1 else number // 2
