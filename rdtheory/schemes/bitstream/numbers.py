"""Whole numbers and floats in a bitstream: what is short stands in its header, what is long goes through the coder.

An encoder fills a sink (header, operations, work, classes withheld), a decoder reads a source (header, coder, work
left, classes known). Work is counted alike on both sides, in labels and frequency tables: no more is done or
allocated than was checked before.
"""

import io
import math

import numpy as np

from rdtheory.schemes.bitstream import entropy
from rdtheory.schemes.bitstream.entropy import AnsCoder
from rdtheory.schemes.bitstream.plans import choose, ideal, put_escaped, put_plan, take_escaped, take_plan
from rdtheory.schemes.trellis import state_machine

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

Sink = tuple[bytearray, list, list[int], list]
Source = tuple[io.BytesIO, AnsCoder, list[int], list]

DTYPES = tuple(np.dtype(name) for name in ("<i1", "<i2", "<i4", "<i8", "<u1", "<u2", "<u4", "<f2", "<f4", "<f8"))
WIDEST = 2**16  # range of labels that have frequencies; what lies outside is escaped
AXES = 32
MODEL_BITS = 16  # of a context, about
OFTEN = 4  # labels for each frequency: with fewer their own frequencies flatter them too much to tell
TABLEWISE = 8  # work of an entry of a frequency table, and 512 more for the table itself
STEPWISE = 4  # work of a label of a trellis code, which is coded on its own
FREE_WORK, WORK_PER_BYTE = 2**22, 256  # that a stream may ask for


def put_number(sink: Sink, number: int) -> None:
    """A whole number >= 0, seven bits a byte.

    Examples
    --------
    >>> sink = (bytearray(), [], [0], [])
    >>> put_number(sink, 300)
    >>> sink[0].hex()
    'ac02'
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


def put_array(sink: Sink, array: np.ndarray, *, shape_known: bool = False) -> None:
    """Dtype and shape; without the shape, the dtype of a number."""
    shape = () if shape_known else array.shape
    if len(shape) > AXES:
        raise ValueError(f"arrays have {AXES} axes at most in a bitstream, got {len(shape)}")
    put_number(sink, DTYPES.index(array.dtype.newbyteorder("<")) + len(DTYPES) * len(shape))
    for size in shape:
        put_number(sink, size)


def take_array(source: Source, known: tuple[int, ...] | None = None) -> tuple[np.dtype, tuple[int, ...], int]:
    """What `put_array` put, with the number of entries; in the shape that is known, if it is."""
    axes, code = divmod(take_number(source), len(DTYPES))
    if axes > (AXES if known is None else 0):
        raise ValueError(f"the header of the bitstream names an array of {axes} axes, too many")
    shape = tuple(take_number(source) for _ in range(axes)) if known is None else known
    if 0 in shape:
        raise ValueError(f"the header of the bitstream names an array without entries, {shape}")
    size = math.prod(shape)
    if DTYPES[code].kind != "f" and size > source[2][0]:  # floats stand there byte by byte, or are labels of a list
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
        put_labels(sink, place)


def take_floats(source: Source) -> np.ndarray:
    """What `put_floats` put."""
    dtype, shape, size = take_array(source)
    if dtype.kind != "f":
        raise ValueError(f"the header of the bitstream names dtype {dtype}, where floats are expected")
    listed = take_number(source) if size > 1 else 0
    kept = np.frombuffer(take_bytes(source, (listed or size) * dtype.itemsize), dtype).astype(dtype.newbyteorder("="))
    if not listed:
        return kept.reshape(shape)
    place = take_labels(source, size)
    if place.min() < 0 or place.max() >= listed:
        raise ValueError("the bitstream names a number that is not in its list")
    return kept[place].reshape(shape)


def put_labels(sink: Sink, labels: np.ndarray, classes: np.ndarray | None = None, taps=None) -> None:
    """Whole numbers (n,), with frequencies for each class, and for each context of a trellis."""
    _, operations, work, _ = sink
    labels = labels.astype(np.int64)
    groups = 1 if classes is None else int(classes.max()) + 1
    least, size = _range(labels, groups)
    # Not labels - least, which 64 bits need not hold.
    outside = (labels < least) | (labels >= least + size)
    escaped = int(np.count_nonzero(outside))
    symbols = labels - least if not escaped else np.where(outside, size, labels - np.where(outside, 0, least))
    symbols = symbols.astype(np.int32)
    put_number(sink, 2 * (size - 1) + bool(escaped))
    put_number(sink, _folded(least + size // 2))  # mostly near zero
    if escaped:
        put_number(sink, escaped)
        put_escaped(operations, labels[outside])
    contexts = None if groups == 1 or classes is None else classes.astype(np.int64)
    if taps is None:
        plan = choose(symbols, contexts, groups, least, size, np.zeros(1, int))
    else:
        states = state_machine.states(labels, taps)
        plans, fewest = [], math.inf
        for way in range(state_machine.WAYS):
            of_state, halves = state_machine.contexts(taps, way)
            mixed = of_state[states] + (0 if contexts is None else contexts * len(halves))
            # More contexts are tried where their labels would take less even if each had to be described, unless the
            # stream would have to be made longer to be allowed the work.
            least_bits = ideal(symbols, mixed, size) + MODEL_BITS * groups * len(halves)
            asked = work[0] + _work(len(labels), taps) + _table_work(groups, halves, size)
            allowed = asked <= FREE_WORK + WORK_PER_BYTE * least_bits / 8
            if not plans or (least_bits < fewest and allowed and OFTEN * groups * len(halves) * size <= len(labels)):
                plans.append((choose(symbols, mixed, groups, least, size, halves), mixed, way))
                fewest = least_bits
        plan, contexts, way = min(plans, key=lambda p: p[0].price)
        entropy.put(operations, way, entropy.even(state_machine.WAYS))
    work[0] += _work(len(labels), taps) + TABLEWISE * plan.contexts * (size + 512)
    tables = put_plan(operations, plan, bool(escaped))
    if taps is not None and contexts is not None:
        entropy.put_mixed(operations, symbols, tables, contexts)
    elif contexts is None:
        entropy.put(operations, symbols, tables[0])
    else:
        for order, table in zip(_split(contexts, groups), tables, strict=True):
            entropy.put(operations, symbols[order], table)


def take_labels(source: Source, count: int, classes: np.ndarray | None = None, taps=None) -> np.ndarray:
    """What `put_labels` put, `count` labels."""
    coder = source[1]
    told, middle = take_number(source), _unfolded(take_number(source))
    size, escaped = told // 2 + 1, take_number(source) if told % 2 else 0
    least = middle - size // 2
    if size > WIDEST or escaped > count or least < -(2**63) or least + size > 2**63:
        raise ValueError(f"the bitstream claims {size} labels from {least} on, and {escaped} others of {count}")
    groups = 1 if classes is None else int(classes.max()) + 1
    charge(source, _work(count, taps))
    outside = take_escaped(coder, escaped)
    of_state, halves = np.zeros(1, np.int64), np.zeros(1, np.int64)
    if taps is not None:
        way = int(entropy.take(coder, 1, entropy.even(state_machine.WAYS))[0])
        of_state, halves = state_machine.contexts(taps, way)
    charge(source, _table_work(groups, halves, size))
    tables, only = take_plan(coder, groups, least, size, bool(escaped), halves)
    contexts = None if groups == 1 or classes is None else classes.astype(np.int64)
    if taps is not None:
        base = np.zeros(count, np.int64) if contexts is None else contexts * len(halves)
        symbols = _follow(coder, tables, only, base, of_state, taps, least, size, outside)
    elif contexts is None:
        symbols = entropy.take(coder, count, tables[0]).astype(np.int64)
        symbols += only[0]
    else:
        symbols = np.zeros(count, np.int64)
        for order, table, start in zip(_split(contexts, groups), tables, only, strict=True):
            symbols[order] = entropy.take(coder, len(order), table) + start
    if not escaped:
        symbols += least
        return symbols
    seen = symbols == size
    if np.count_nonzero(seen) != escaped:
        raise ValueError(f"the bitstream holds {np.count_nonzero(seen)} escaped labels and claims {escaped}")
    symbols += least
    symbols[seen] = outside
    return symbols


def _work(count: int, taps) -> int:
    return count * (1 if taps is None else STEPWISE)


def _table_work(groups: int, halves: np.ndarray, size: int) -> int:
    return TABLEWISE * groups * len(halves) * (size + 512)


def _range(labels: np.ndarray, groups: int) -> tuple[int, int]:
    """The labels that have frequencies: all, or as many about the median as is worth it."""
    least, largest = int(labels.min()), int(labels.max())
    widest = min(WIDEST, max(512, 4 * len(labels)), max(512, 64 * len(labels) // groups))
    if largest - least >= widest:
        middle = int(np.partition(labels, len(labels) // 2)[len(labels) // 2])
        least = min(max(middle - widest // 2, least), largest - widest + 1)
    return least, min(largest - least + 1, widest)


def _follow(coder, tables, only, base, of_state, taps, least, size, outside) -> np.ndarray:
    """Labels of a trellis code one after another: each leads to the state in whose context the next was coded."""
    models = [entropy.model(table) for table in tables]
    following, of_state, known = state_machine.transitions(taps).tolist(), of_state.tolist(), iter(outside.tolist())
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


def _folded(number: int) -> int:
    return 2 * number if number >= 0 else -2 * number - 1


def _unfolded(number: int) -> int:
    return -(number + 1) // 2 if number & 1 else number // 2
