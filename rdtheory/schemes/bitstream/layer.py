"""A coded layer in a bitstream: steps and spreads of its inputs (and outputs), then labels by one law, scaled.

Given dither and state, a label is known up to whole units: what is coded is the whole part of its place, whose law is a
density of the scale of its input and output, taken at the places that are left. The 16 phases of these places have
tables of their own while they matter.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rdtheory import _checks
from rdtheory.results import CodedLayer
from rdtheory.schemes.bitstream import entropy, layer_values
from rdtheory.schemes.bitstream.layer_values import FINENESS, NOT_SENT, PER_OCTAVE
from rdtheory.schemes.bitstream.models import POINTWISE, POWERS, SCALES, SHAPED, frequencies
from rdtheory.schemes.bitstream.numbers import (
    STEPWISE,
    TABLEWISE,
    Sink,
    Source,
    charge,
    put_array,
    put_floats,
    put_labels,
    put_number,
    take_array,
    take_floats,
    take_labels,
    take_number,
)
from rdtheory.schemes.bitstream.plans import put_escaped, take_escaped
from rdtheory.schemes.trellis import state_machine
from rdtheory.schemes.trellis.code import CODES, taps

__all__ = ["concrete", "length", "put_layer", "take_layer", "validate", "weights"]

STRIDE = 16 // PER_OCTAVE  # scales of a density to one of ours
UNIT = 64  # the scale of one unit, the standard deviation but for a factor
BROAD = UNIT + 16 * 4  # from this scale on, 16 units, the phase does not matter
WIDEST = 2**12  # units from zero that a table reaches
RARE = 30  # bits: what is rarer has no place in a table
LAWS = [(shape, zone) for shape in (3, 2, 1) for zone in (0, POINTWISE)]
LARGEST = 2**26  # of labels, so that places have 31 bits
GAUSSIAN = 0  # of the laws that of cells; the next is that of points
SMALLEST = 1 / 8  # of units
MOST_KINDS = 16  # of outputs
COLUMN_MODEL = 40  # bits of the model of their spreads, about
ESCAPE = 20  # bits that what no table holds is rarer than what is most frequent
ROUNDS = 8
TAPS = [taps(states) for states in CODES]


def concrete(where: str, leaf: CodedLayer) -> CodedLayer:
    """The same in NumPy, valid."""
    arrays = CodedLayer._make(None if part is None else _checks.native(np.asarray(part)) for part in leaf)
    validate(where, arrays)
    return arrays


def validate(where: str, leaf: CodedLayer) -> None:
    """Raise ValueError, naming the leaf, unless its parts go together."""
    labels, base, exponents, kinds, seed, taps = leaf

    def need(sound, message: str) -> None:
        if not bool(sound):
            raise ValueError(f"{where}: {message}")

    need(labels.dtype.kind == "i", f"labels must be signed whole numbers, got dtype {labels.dtype}")
    need(labels.ndim == 2 and labels.size > 0, f"labels must be a matrix, not empty, got shape {labels.shape}")
    need(-LARGEST < labels.min() and labels.max() < LARGEST, f"labels must be between {-LARGEST} and {LARGEST}")
    need(base.dtype in (np.float32, np.float64), f"base must be float32 or float64, got dtype {base.dtype}")
    need(base.shape == () and np.isfinite(base) and base > 0, f"base must be a finite number > 0, got {base}")
    need(np.frexp(base)[0] * 2**11 % 1 == 0, f"base must have 11 bits at most, got {base!r}")
    need(exponents.dtype.kind == "i", f"exponents must be signed whole numbers, got dtype {exponents.dtype}")
    sound = exponents.ndim == 2 and 0 < len(exponents) <= MOST_KINDS and exponents.shape[1] == len(labels)
    need(sound, f"exponents must have shape (kinds, {len(labels)}), {MOST_KINDS} kinds at most, got {exponents.shape}")
    sound = exponents.min() >= NOT_SENT and exponents.max() < -NOT_SENT
    need(sound, f"exponents must lie in {NOT_SENT} to {-NOT_SENT - 1}")
    if kinds is None:
        need(len(exponents) == 1, f"kinds must say which of {len(exponents)} rows of exponents an output has")
    else:
        need(kinds.dtype == np.uint8, f"kinds must be uint8, got dtype {kinds.dtype}")
        need(kinds.shape == labels.shape[1:], f"kinds must have shape {labels.shape[1:]}, got {kinds.shape}")
        need(kinds.max() < len(exponents), f"kinds must lie in 0 to {len(exponents) - 1}")
    with np.errstate(over="ignore"):
        sizes = layer_values.steps(base, exponents, kinds)
    need(not labels[np.broadcast_to(sizes == 0, labels.shape)].any(), "labels of what is not sent must be 0")
    least, most = np.finfo(base.dtype).tiny, np.finfo(base.dtype).max / LARGEST
    sound = ((sizes == 0) & (exponents == NOT_SENT).any() | (sizes >= least) & (sizes <= most)).all()
    need(sound, f"the steps must lie in {least:.1e} to {most:.1e}, for weights to fit {base.dtype}")
    if seed is not None:
        need(seed.shape == () and seed.dtype == np.uint32, f"seed must be one number of uint32, got dtype {seed.dtype}")
    if taps is not None:
        need(
            taps.shape == (2,) and tuple(taps.tolist()) in TAPS, f"taps must be those of a code of trellis, got {taps}"
        )


def weights(leaf: CodedLayer) -> np.ndarray:
    """The weights of a valid leaf, each rounded once: a step has 23 bits, a place 31."""
    place = layer_values.places(leaf.labels, leaf.taps, leaf.seed)
    steps = layer_values.steps(leaf.base, leaf.exponents, leaf.kinds)
    return (steps.astype(float) * place / FINENESS).astype(leaf.base.dtype)


def length(leaf: CodedLayer) -> float:
    """Bits of the labels of a valid leaf, by Gaussian laws of a spread for each input and kind of output."""
    labels, _ = _sent_labels(leaf)
    if not len(labels.whole):
        return 0.0
    kind = GAUSSIAN if leaf.seed is None else GAUSSIAN + 1
    cells = _refined(kind, _rounded(_likely(kind, labels, labels.cell)), None, labels)
    return float(_bits(kind, cells, None, labels).sum())


class _Labels(NamedTuple):
    """The labels that are sent, in order: whole part and phase of their places, cell (input and kind), output."""

    whole: np.ndarray
    phase: np.ndarray
    cell: np.ndarray
    output: np.ndarray


class _Laws(NamedTuple):
    """The law of the labels at each scale and phase: frequencies of the whole parts -reach..reach, and of any other."""

    reach: np.ndarray  # by scale, in units
    place: np.ndarray  # by scale and phase, in the list of the tables
    tables: list[np.ndarray]


def put_layer(sink: Sink, leaf: CodedLayer) -> None:
    """Labels' dtype and shape, base, code and seed, kinds, exponents, law, spreads, labels."""
    operations, code = sink[1], 0 if leaf.taps is None else 1 + TAPS.index(tuple(leaf.taps.tolist()))
    put_array(sink, leaf.labels)
    put_floats(sink, leaf.base)
    put_number(sink, 2 * code + (leaf.seed is not None))
    if leaf.seed is not None:
        put_number(sink, int(leaf.seed))
    put_number(sink, 0 if leaf.kinds is None else len(leaf.exponents))
    if leaf.kinds is not None:
        put_labels(sink, leaf.kinds)
    sent = leaf.exponents != NOT_SENT
    for row, before in _from_last(sent):
        put_labels(sink, sent[row] ^ (before is not None and sent[before]))
    exponents = leaf.exponents.astype(np.int64)
    _put_chain(sink, exponents, sent)
    labels, there = _sent_labels(leaf)
    if not len(labels.whole):
        return
    kind, cells, columns = _fit(labels)
    put_number(sink, 2 * kind + (columns is not None))
    spreads = np.zeros(sent.shape, np.int64)
    spreads[sent] = cells
    # Weights of one spread have the more steps the finer these are.
    _put_chain(sink, spreads + exponents, sent)
    if columns is not None:
        put_labels(sink, np.pad(columns, (0, leaf.labels.shape[1] - len(columns))))
    scales = _scales(cells, columns, labels)
    laws = _laws(kind, scales)
    sink[2][0] += _work(laws, len(scales))
    reach, context = laws.reach[scales], laws.place[scales, labels.phase]
    outside = np.abs(labels.whole) > reach
    put_number(sink, int(np.count_nonzero(outside)))
    put_escaped(operations, leaf.labels[there][outside].astype(np.int64))
    symbols = np.where(outside, 2 * reach + 1, labels.whole + reach)
    if leaf.taps is not None:
        entropy.put_mixed(operations, symbols, laws.tables, context)
        return
    for table, order in zip(laws.tables, _orders(context, len(laws.tables)), strict=True):
        if len(order):
            entropy.put(operations, symbols[order], table)


def take_layer(source: Source, where: str) -> CodedLayer:
    """What `put_layer` put, valid."""
    header = f"the header of the bitstream gives {where}"
    dtype, shape, _ = take_array(source)
    if dtype.kind != "i" or len(shape) != 2:
        raise ValueError(f"{header} labels of dtype {dtype} and shape {shape}")
    base = take_floats(source)
    code, dithered = divmod(take_number(source), 2)
    if code > len(TAPS):
        raise ValueError(f"{header} a code of number {code}, which does not exist")
    seed = take_number(source) if dithered else 0
    if seed >= 2**32:
        raise ValueError(f"{header} a seed of more than 32 bits")
    told = take_number(source)
    if told > MOST_KINDS:
        raise ValueError(f"{header} {told} kinds of outputs, more than {MOST_KINDS}")
    (m, k), count = shape, max(told, 1)
    charge(source, count * m)
    kinds = take_labels(source, k) if told else None
    if kinds is not None and (kinds.min() < 0 or kinds.max() >= count):
        raise ValueError(f"{header} {count} kinds of outputs, and others")
    sent = np.zeros((count, m), bool)
    for row, before in _from_last(sent):
        bits = take_labels(source, m)
        if bits.min() < 0 or bits.max() > 1:
            raise ValueError(f"the bitstream does not say which inputs of {where} are sent")
        sent[row] = bits ^ (before is not None and sent[before])
    exponents = _take_chain(source, sent)
    if np.abs(exponents).max() >= -NOT_SENT:
        raise ValueError(f"{header} steps further apart than they can be")
    leaf = CodedLayer(
        labels=np.zeros(shape, dtype.newbyteorder("=")),
        base=base,
        exponents=np.where(sent, exponents, NOT_SENT).astype(np.int32),
        kinds=None if kinds is None else kinds.astype(np.uint8),
        seed=np.array(seed, np.uint32) if dithered else None,
        taps=np.array(TAPS[code - 1], np.int32) if code else None,
    )
    validate(f"the bitstream's {where}", leaf)
    labels, there = _sent_labels(leaf)
    if not len(labels.whole):
        return leaf
    kind, has_columns = divmod(take_number(source), 2)
    if kind >= len(LAWS):
        raise ValueError(f"{header} a law of number {kind}, which does not exist")
    cells = (_take_chain(source, sent) - exponents)[sent]
    columns = take_labels(source, k) if has_columns else None
    if max(np.abs(cells).max(), 0 if columns is None else np.abs(columns).max()) > SCALES:
        raise ValueError(f"the bitstream gives {where} spreads beyond 2^{SCALES // PER_OCTAVE} steps")
    scales = _scales(cells, columns, labels)
    laws = _laws(kind, scales, lambda laws: charge(source, _work(laws, len(scales))))
    found, limits = _take_labels(source, leaf, labels, there, laws, scales), np.iinfo(dtype)
    if found.min() < limits.min or found.max() > limits.max:
        raise ValueError(f"the bitstream holds numbers that its dtype, {dtype}, does not")
    leaf.labels[there] = found
    validate(f"the bitstream's {where}", leaf)
    return leaf


def _take_labels(
    source: Source, leaf: CodedLayer, zeros: _Labels, there: np.ndarray, laws: _Laws, scales: np.ndarray
) -> np.ndarray:
    """Labels that are sent. `zeros` are the places that they would have if all were 0: those of even states."""
    coder, n = source[1], len(scales)
    escaped = take_number(source)
    if escaped > n:
        raise ValueError(f"the bitstream claims {escaped} escaped labels of {n}")
    outside, reach = take_escaped(coder, escaped), laws.reach[scales]
    if leaf.taps is None:
        context, symbols = laws.place[scales, zeros.phase], np.zeros(n, np.int64)
        for table, order in zip(laws.tables, _orders(context, len(laws.tables)), strict=True):
            symbols[order] = entropy.take(coder, len(order), table)
        seen = symbols > 2 * reach
        if np.count_nonzero(seen) != escaped:
            raise ValueError(f"the bitstream holds {np.count_nonzero(seen)} escaped labels and claims {escaped}")
        labels = symbols - reach - zeros.whole
        labels[seen] = outside
        return labels
    models = [entropy.model(table) for table in laws.tables]
    following, size = state_machine.transitions(leaf.taps).tolist(), layer_values.cut(leaf.labels.shape[1])[1]
    labels, known = np.zeros(n, np.int64), iter(outside.tolist())
    # By the quantizer of the state: the context, and what is to be added to a symbol.
    phases = zeros.phase, zeros.phase + FINENESS // 2
    contexts = [laws.place[scales, phase % FINENESS] for phase in phases]
    added = [-reach - zeros.whole - phase // FINENESS for phase in phases]
    end = 0
    for row in there:
        begin, end, found = end, end + np.count_nonzero(row), []
        if begin == end:
            continue
        numbers = zip(*(x[begin:end].tolist() for x in (*contexts, *added, 2 * reach)), strict=True)
        for j, sent in enumerate(row.tolist()):
            state = 0 if j % size == 0 else state
            label = 0
            if sent:
                even, odd, plus_even, plus_odd, most = next(numbers)
                symbol = coder.decode(models[odd if state & 1 else even])
                if symbol <= most:
                    label = symbol + (plus_odd if state & 1 else plus_even)
                else:
                    label = next(known, None)
                    if label is None:
                        raise ValueError(f"the bitstream holds more escaped labels than the {escaped} that it claims")
                found.append(label)
            state = following[state][label & 1]
        labels[begin:end] = found
    if next(known, None) is not None:
        raise ValueError(f"the bitstream holds fewer escaped labels than the {escaped} that it claims")
    return labels


def _from_last(rows: np.ndarray):
    """The place of each row and of the one it is told by: kinds of larger variance first."""
    last = len(rows) - 1
    return [(row, row + 1 if row < last else None) for row in range(last, -1, -1)]


def _put_chain(sink: Sink, numbers: np.ndarray, sent: np.ndarray) -> None:
    """Of each kind the numbers of what is sent, as differences from the kind before."""
    guess = np.zeros(numbers.shape[1], np.int64)
    for row, _ in _from_last(numbers):
        if sent[row].any():
            put_labels(sink, (numbers[row] - guess)[sent[row]])
            guess = np.where(sent[row], numbers[row], guess)


def _take_chain(source: Source, sent: np.ndarray) -> np.ndarray:
    numbers, guess = np.zeros(sent.shape, np.int64), np.zeros(sent.shape[1], np.int64)
    for row, _ in _from_last(numbers):
        if sent[row].any():
            numbers[row][sent[row]] = guess[sent[row]] + take_labels(source, int(sent[row].sum()))
            guess = np.where(sent[row], numbers[row], guess)
    return numbers


def _sent_labels(leaf: CodedLayer) -> tuple[_Labels, np.ndarray]:
    """The labels that are sent, and where they are, (m, k)."""
    sent = leaf.exponents != NOT_SENT
    kinds = np.zeros(leaf.labels.shape[1], int) if leaf.kinds is None else leaf.kinds
    there = sent[kinds].T
    place = layer_values.places(leaf.labels, leaf.taps, leaf.seed)[there]
    number = (np.cumsum(sent).reshape(sent.shape) - 1)[kinds].T
    return _Labels(place // FINENESS, place % FINENESS, number[there], np.nonzero(there)[1]), there


def _fit(labels: _Labels) -> tuple[int, np.ndarray, np.ndarray | None]:
    """The law that takes least, with the spread of each cell, and of each output where that pays."""
    fits = [(kind, _rounded(_likely(kind, labels, labels.cell))) for kind in range(len(LAWS))]
    bits, kind, cells = min(((_bits(*fit, None, labels).sum(), *fit) for fit in fits), key=_first)
    columns, exact = np.zeros(1), _likely(kind, labels, labels.cell)
    for _ in range(ROUNDS // 2):
        columns = _likely(kind, labels, labels.output, exact[labels.cell])
        exact = _likely(kind, labels, labels.cell, columns[labels.output])
    both = _rounded(exact), _rounded(columns)
    counts = np.unique(both[1], return_counts=True)[1]
    told = COLUMN_MODEL + counts @ (math.log2(len(columns)) - np.log2(counts))
    pays = _bits(kind, *both, labels).sum() + told < bits
    cells, columns = both if pays else (cells, None)
    return kind, _refined(kind, cells, columns, labels), columns


def _refined(kind: int, cells: np.ndarray, columns: np.ndarray | None, labels: _Labels) -> np.ndarray:
    """Spreads from which no cell has a shorter code one step further."""
    for _ in range(ROUNDS):
        tried = [np.bincount(labels.cell, _bits(kind, cells + step, columns, labels)) for step in (0, -1, 1)]
        moved = np.array([0, -1, 1])[np.argmin(tried, axis=0)]
        cells = cells + moved
        if not moved.any():
            break
    return cells


def _likely(kind: int, labels: _Labels, groups: np.ndarray, beside: np.ndarray | float = 0.0) -> np.ndarray:
    """Spreads of groups of labels that are the likeliest, as if places were continuous; 8 to the octave."""
    p = POWERS[LAWS[kind][0]]
    size = np.maximum(np.abs(labels.whole + labels.phase / FINENESS), SMALLEST)
    power = np.exp2(p * (np.log2(size) - beside / PER_OCTAVE))
    counts = np.bincount(groups)
    mean = np.where(counts > 0, np.bincount(groups, power) / np.maximum(counts, 1), 1.0)
    return PER_OCTAVE * np.log2(mean * p * math.log(2)) / p


def _rounded(spreads: np.ndarray) -> np.ndarray:
    return np.round(spreads).astype(np.int64)


def _bits(kind: int, cells: np.ndarray, columns: np.ndarray | None, labels: _Labels) -> np.ndarray:
    """Of each label."""
    scales = _scales(cells, columns, labels)
    laws = _laws(kind, scales)
    reach = laws.reach[scales]
    lengths = np.concatenate([entropy.PRECISION - np.log2(table) for table in laws.tables])
    first = np.concatenate([[0], np.cumsum([len(table) for table in laws.tables])])
    place = np.where(np.abs(labels.whole) > reach, 2 * reach + 1, labels.whole + reach)
    return lengths[first[laws.place[scales, labels.phase]] + place]


def _scales(cells: np.ndarray, columns: np.ndarray | None, labels: _Labels) -> np.ndarray:
    """Of the law of each label, in the numbers of `models`."""
    total = cells[labels.cell] + (0 if columns is None else columns[labels.output])
    return np.clip(UNIT + STRIDE * total, 0, SCALES - 1)


def _laws(kind: int, scales: np.ndarray, allowed: Callable[[_Laws], None] | None = None) -> _Laws:
    """The laws of some scales; `allowed` is asked before any table is made."""
    shape, zone = LAWS[kind]
    reach, place, count = np.zeros(SCALES, np.int64), np.zeros((SCALES, FINENESS), np.int64), 0
    used = np.flatnonzero(np.bincount(scales, minlength=SCALES)).tolist()
    for scale in used:
        reach[scale] = min(math.ceil(entropy.power(scale - UNIT) * RARE ** (1 / POWERS[shape])) + 1, WIDEST)
        phases = FINENESS if scale < BROAD else 1
        place[scale] = count + np.arange(FINENESS) % phases
        count += phases
    laws = _Laws(reach, place, [])
    if allowed is not None:
        allowed(laws)
    for scale in used:
        for phase in range(FINENESS if scale < BROAD else 1):
            laws.tables.append(_table(shape, zone, scale, phase, int(reach[scale])))
    return laws


@functools.lru_cache(8192)
def _table(shape: int, zone: int, scale: int, phase: int, reach: int) -> np.ndarray:
    model = SHAPED, shape, zone, scale
    return frequencies(model, -reach, 2 * reach + 1, ESCAPE, 2 * phase / FINENESS)


def _work(laws: _Laws, count: int) -> int:
    """Of the tables, and of the labels."""
    phases = laws.place.max(axis=1) - laws.place[:, 0] + 1
    return TABLEWISE * int(((2 * laws.reach + 514) * phases)[laws.reach > 0].sum()) + STEPWISE * count


def _orders(context: np.ndarray, count: int) -> list[np.ndarray]:
    """The positions of each context, in order."""
    order = np.argsort(context.ravel(), kind="stable")
    return np.split(order, np.cumsum(np.bincount(context.ravel(), minlength=count))[:-1])


def _first(pair: tuple) -> float:
    return pair[0]
