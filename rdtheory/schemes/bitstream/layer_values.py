"""What the labels of a coded layer stand for: steps, dither and trellis, exactly alike on every platform.

All values are whole numbers of a 16th of a label's unit times the step of the input. Steps have 23 bits and the whole
numbers 24, so that each weight is one product, rounded once.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array

from rdtheory.schemes.trellis import state_machine

__all__ = ["EIGHTHS", "FINENESS", "NOT_SENT", "PER_OCTAVE", "cut", "dither", "lanes", "places", "steps"]

FINENESS = 16  # places of the dither in the unit of a label
PER_OCTAVE = 8
EIGHTHS = np.round(2.0 ** (np.arange(PER_OCTAVE) / PER_OCTAVE) * 2**11) / 2**11  # of an octave, in 12 bits
NOT_SENT = -(2**15)  # in place of the exponent of an input whose weights are zero
SEGMENT = 512  # labels between two places where the trellis begins anew, about


def cut(k: int) -> tuple[int, int]:
    """Into how many segments, of how many labels, the k labels of an input are cut.

    Examples
    --------
    >>> cut(512), cut(513)
    ((1, 512), (2, 257))
    """
    pieces = -(-k // SEGMENT)
    return pieces, -(-k // pieces)


def steps(base, exponents, kinds=None):
    """The step of each weight, in the dtype of the base: (m, k) for k outputs of some kinds, else (m, 1).

    Zero where nothing is sent.

    Examples
    --------
    >>> print(steps(np.float32(1), np.array([[-8, 4, NOT_SENT]])).T)
    [[0.5       1.4140625 0.       ]]
    """
    whole = np.where(exponents == NOT_SENT, 0, exponents)
    sizes = np.ldexp(base * EIGHTHS.astype(base.dtype)[whole % PER_OCTAVE], whole // PER_OCTAVE)
    return np.where(exponents == NOT_SENT, np.zeros((), base.dtype), sizes)[
        np.zeros(1, int) if kinds is None else kinds
    ].T


def dither(seed, shape: tuple[int, int], trellis: bool):
    """Whole numbers, 16ths of a unit: of one unit for scalar labels, of two for a trellis, where cosets repeat.

    A hash of seed and place (`lowbias32` of Wellons), in arithmetic modulo 2³².

    Examples
    --------
    >>> print(dither(np.uint32(1), (1, 4), False), dither(jnp.uint32(1), (1, 4), False))
    [[0 9 0 0]] [[0 9 0 0]]
    """
    xp = jnp if isinstance(seed, Array) else np
    count = math.prod(shape)
    x = xp.arange(count, dtype=xp.uint32) + xp.full(1, seed, xp.uint32) * np.uint32(0x9E3779B9)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    x = x ^ (x >> np.uint32(16))
    return (x >> np.uint32(27 if trellis else 28)).astype(xp.int32).reshape(shape)


def lanes(rows):
    """Labels (m, k) as segments (length, m · segments): along the first axis the trellis goes."""
    xp = np if isinstance(rows, np.ndarray) else jnp
    m, k = rows.shape
    segments, size = cut(k)
    return xp.pad(rows, ((0, 0), (0, segments * size - k))).reshape(m * segments, size).T


def places(labels: np.ndarray, taps: np.ndarray | None, seed: np.ndarray | None) -> np.ndarray:
    """Where each label is, in 16ths of a unit: whole numbers, int64."""
    found = FINENESS * labels.astype(np.int64)
    if taps is not None:
        found += FINENESS // 2 * (_states(labels, taps) & 1)
    return found if seed is None else found - dither(seed, labels.shape, taps is not None)


def _states(labels: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """The state before each label."""
    following, rows = state_machine.transitions(taps), lanes(labels & 1)
    states = np.zeros(rows.shape, np.int64)
    for before, after, odd in zip(states, states[1:], rows, strict=False):
        after[:] = following[before, odd]
    return states.T.reshape(len(labels), -1)[:, : labels.shape[1]]
