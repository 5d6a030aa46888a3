"""One array of quantized weights: what makes it valid, its weights, and how it stands in a bitstream."""

import math

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rdtheory import _checks
from rdtheory.results import Quantized
from rdtheory.schemes.bitstream import entropy
from rdtheory.schemes.bitstream.numbers import (
    Sink,
    Source,
    put_array,
    put_floats,
    put_labels,
    put_number,
    take_array,
    take_floats,
    take_labels,
    take_number,
)
from rdtheory.schemes.trellis import code, state_machine

__all__ = ["concrete", "parts", "put_leaf", "take_leaf", "validate", "weights"]

LARGEST_TAP = 4095
LARGEST_CLASS = 255
CLASSES, WITHHELD = 1 << 3, 1 << 5  # sent, not sent; both: not sent, and of the shape that the labels have
OFFSET_UNIT = 128  # offsets are told in 128ths of a step
PARTS = ("step", "codebook", "offsets", "classes", "taps")
CODES = [code.taps(states) for states in code.CODES]  # named by their place; 0: the taps follow


def concrete(where: str, leaf: Quantized) -> Quantized:
    """The same in NumPy, valid."""
    parts = [None if part is None else _checks.native(np.asarray(part)) for part in leaf[1:]]
    arrays = Quantized(_checks.native(np.asarray(leaf.labels)), *parts)
    validate(where, arrays)
    return arrays if arrays.taps is None else arrays._replace(taps=arrays.taps.astype(np.int32))


def validate(where: str, leaf: Quantized) -> None:
    """Raise ValueError, naming the leaf, unless its parts go together; values only where they are concrete."""
    labels, step, codebook, offsets, classes, taps = leaf
    known = not _traced(leaf)

    def need(sound, message: str) -> None:
        if not bool(sound):
            raise ValueError(f"{where}: {message}")

    for name, part, kind in (("labels", labels, "iu"), ("step", step, "f"), ("codebook", codebook, "f")):
        if part is not None:
            need(part.dtype.kind in kind, f"{name} must not have dtype {part.dtype}")
            need(part.dtype != np.uint64, f"{name} must not have dtype uint64, at most uint32 or int64")
            need(part.size > 0, f"{name} must not be empty, got shape {part.shape}")
    if step is not None:
        need(_broadcasts(step, labels), f"step must broadcast against the labels, {labels.shape}, got {step.shape}")
        need(not known or np.all(step >= 0), "step must be >= 0")
    if codebook is not None:
        need(codebook.ndim == 1, f"codebook must be a vector, got shape {codebook.shape}")
        need(offsets is None and taps is None, "a codebook goes without offsets and taps")
        need(not known or np.isfinite(codebook).all(), "codebook must be finite")
        sound = not known or (labels.min() >= 0 and labels.max() < len(codebook))
        need(sound, f"labels must lie in 0 to {len(codebook) - 1}, the positions of the codebook")
    if known and step is not None:
        widest = _largest(labels) * 2 + 2 if codebook is None else _largest(codebook)
        need(
            widest * max(_largest(step), 1.0) <= float(np.finfo(step.dtype).max), f"the weights do not fit {step.dtype}"
        )
    if offsets is not None:
        need(offsets.dtype == np.int8, f"offsets must be int8, got {offsets.dtype}")
        rows = () if taps is None else (2,)
        sound = offsets.ndim > 0 and offsets.shape[:-1] in ((), rows) and offsets.shape[-1] % 2
        need(sound, f"offsets must have shape (2m + 1,), or (2, 2m + 1) with taps, got {offsets.shape}")
    if classes is not None:
        need(classes.dtype.kind in "iu", f"classes must be whole numbers, got dtype {classes.dtype}")
        sound = classes.dtype != np.uint64 and _broadcasts(classes, labels)
        need(sound, f"classes must broadcast against the labels, {labels.shape}, got {classes.shape}, {classes.dtype}")
        sound = not known or (classes.min() >= 0 and classes.max() <= LARGEST_CLASS)
        need(sound, f"classes must lie in 0 to {LARGEST_CLASS}")
    if taps is not None:
        need(taps.shape == (2,) and taps.dtype.kind in "iu", f"taps must be two whole numbers, got {taps}")
        sound = not known or (taps.min() >= 0 and taps.max() <= LARGEST_TAP)
        need(sound, f"taps must lie in 0 to {LARGEST_TAP}, got {taps}")


def weights(leaf: Quantized):
    """The weights of a valid leaf, in NumPy if it is concrete; each operation is rounded on its own."""
    xp, whole = (jnp, jnp.int32) if _traced(leaf) else (np, np.int64)
    labels = xp.asarray(leaf.labels)
    if leaf.step is None and leaf.codebook is not None:
        return xp.asarray(xp.asarray(leaf.codebook)[labels])
    step = xp.ones((), xp.float32) if leaf.step is None else xp.asarray(leaf.step)
    if leaf.codebook is not None:
        values = xp.asarray(leaf.codebook)[labels]
    else:
        values, rows = labels.astype(step.dtype), 0
        if leaf.taps is not None:
            rows = state_machine.states(labels, xp.asarray(leaf.taps)) & 1
            values = 2 * values + rows.astype(step.dtype)
        if leaf.offsets is not None:
            offsets = xp.asarray(leaf.offsets)
            reach = offsets.shape[-1] // 2
            column = xp.clip(labels.astype(whole), -reach, reach) + reach
            moved = offsets[column] if offsets.ndim == 1 else offsets[rows, column]
            values = values + moved.astype(step.dtype) / OFFSET_UNIT
    told = xp.where(xp.isfinite(step), step, xp.zeros_like(step))
    return xp.asarray(values * xp.broadcast_to(told, labels.shape))


def parts(leaf: Quantized, send_classes: bool) -> int:
    """Which parts there are, a bit for each of `PARTS`; for classes see above.

    Examples
    --------
    >>> parts(Quantized(np.arange(3), step=np.float32(1)), True)
    1
    """
    there = sum(1 << bit for bit, name in enumerate(PARTS) if getattr(leaf, name) is not None)
    if leaf.classes is None or send_classes:
        return there
    return there + WITHHELD - (0 if _shape_known(leaf, send_classes) else CLASSES)


def put_leaf(sink: Sink, leaf: Quantized, send_classes: bool) -> None:
    """Labels' dtype and shape, then each part."""
    labels = np.asarray(leaf.labels)
    step, codebook, offsets, classes, taps = (None if part is None else np.asarray(part) for part in leaf[1:])
    put_array(sink, labels, shape_known=_shape_known(leaf, send_classes))
    for floats in (step, codebook):
        if floats is not None:
            put_floats(sink, floats)
    if offsets is not None:
        half = offsets[..., offsets.shape[-1] // 2 + 1 :]
        odd = half.size > 0 and np.array_equal(_mirrored(half), offsets)
        put_number(sink, offsets.shape[-1] // 2 * 4 + 2 * odd + offsets.ndim - 1)
        put_labels(sink, half.ravel() if odd else offsets.ravel())
    if taps is not None:
        name = 1 + CODES.index(tuple(taps.tolist())) if tuple(taps.tolist()) in CODES else 0
        entropy.put(sink[1], name, entropy.even(1 + len(CODES)))
        for tap in () if name else taps.tolist():
            put_number(sink, tap)
    spread = None
    if classes is not None:
        if send_classes:
            put_array(sink, classes)
            put_labels(sink, _differences(classes))
        else:
            sink[3].append(classes)
        spread = np.broadcast_to(classes, labels.shape).ravel()
    put_labels(sink, labels.ravel(), spread, taps)


def take_leaf(source: Source, where: str, parts: int) -> Quantized:
    """What `put_leaf` put, valid."""
    if parts >= 2 * WITHHELD:
        raise ValueError(f"the header of the bitstream says that {where} has parts {parts}, which do not exist")
    has = {name: bool(parts >> bit & 1) for bit, name in enumerate(PARTS)}
    given = None
    if parts & WITHHELD:
        if not source[3]:
            raise ValueError(f"the bitstream needs the classes of {where}, and no more were given")
        given = source[3].pop(0)
    dtype, shape, count = take_array(source, given.shape if given is not None and has["classes"] else None)
    step, codebook = (take_floats(source) if has[name] else None for name in ("step", "codebook"))
    offsets = None
    if has["offsets"]:
        told = take_number(source)
        reach, odd, rows = told >> 2, told & 2, told & 1
        if odd and not reach:
            raise ValueError(f"the bitstream gives {where} half of the offsets of no label")
        shape_of = ((2,) if rows else ()) + (reach if odd else 2 * reach + 1,)
        described = (np.dtype(np.int8), shape_of, math.prod(shape_of))
        offsets = _whole(described, lambda size: take_labels(source, size))
        offsets = _mirrored(offsets) if odd else offsets
    taps = None
    if has["taps"]:
        taps = _take_taps(source, where)
    classes = spread = None
    if has["classes"] or given is not None:
        classes = (
            _whole(take_array(source), lambda size: np.cumsum(take_labels(source, size))) if given is None else given
        )
        if classes.min() < 0 or classes.max() > LARGEST_CLASS or not _broadcastable(classes.shape, shape):
            raise ValueError(f"the bitstream gives {where} classes that do not go with its labels")
        spread = np.broadcast_to(classes, shape).ravel()
    labels = _whole((dtype, shape, count), lambda size: take_labels(source, size, spread, taps))
    leaf = Quantized(labels, step, codebook, offsets, classes, taps)
    validate(f"the bitstream's {where}", leaf)
    return leaf


def _shape_known(leaf: Quantized, send_classes: bool) -> bool:
    """To whoever knows the classes."""
    return leaf.classes is not None and not send_classes and leaf.classes.shape == leaf.labels.shape


def _take_taps(source: Source, where: str) -> np.ndarray:
    name = int(entropy.take(source[1], 1, entropy.even(1 + len(CODES)))[0])
    told = CODES[name - 1] if name else [min(take_number(source), LARGEST_TAP + 1) for _ in range(2)]
    if max(told) > LARGEST_TAP:
        raise ValueError(f"the header of the bitstream says that {where} has taps above {LARGEST_TAP}")
    return np.array(told, np.int32)


def _largest(array) -> float:
    """The largest finite magnitude."""
    known = np.asarray(array)
    known = known[np.isfinite(known)]
    return max(abs(float(known.max())), abs(float(known.min()))) if known.size else 0.0


def _traced(leaf: Quantized) -> bool:
    return any(isinstance(part, Tracer) for part in leaf)


def _whole(described: tuple, read) -> np.ndarray:
    """Whole numbers that fit the dtype they are to have."""
    dtype, shape, size = described
    if dtype.kind == "f":
        raise ValueError(f"the header of the bitstream names dtype {dtype}, where whole numbers are expected")
    numbers, limits = read(size), np.iinfo(dtype)
    if numbers.min() < limits.min or numbers.max() > limits.max:
        raise ValueError(f"the bitstream holds numbers that its dtype, {dtype}, does not")
    return numbers.astype(dtype.newbyteorder("=")).reshape(shape)


def _mirrored(half: np.ndarray) -> np.ndarray:
    """Offsets of all labels from those of the positive ones."""
    return np.concatenate([-half[..., ::-1], np.zeros((*half.shape[:-1], 1), half.dtype), half], axis=-1)


def _differences(classes: np.ndarray) -> np.ndarray:
    """Zero where a class is that of the entry before: in order, long runs take next to nothing."""
    return np.diff(classes.ravel().astype(np.int64), prepend=0)


def _broadcasts(array, labels) -> bool:
    return _broadcastable(array.shape, labels.shape)


def _broadcastable(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    fits = all(size in (1, wanted) for size, wanted in zip(shape[::-1], full[::-1], strict=False))
    return len(shape) <= len(full) and fits
