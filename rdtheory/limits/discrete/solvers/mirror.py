"""Problems that read the same backwards: source and distortion unchanged if both alphabets are reversed.

R(D) is convex in the channel, so the mean of an optimal channel and its mirror image is optimal too, and it is enough
to look among channels that are their own image. Letters together with their images are half as many, and a step of the
interior point costs an eighth. What is found is certified as any other, on the whole problem, so it may be tried on one
that reads the same but for rounding.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from rdtheory import _devices
from rdtheory.limits.discrete.kernels import Stored, Table

LEAST = 2**14  # entries from which on half a problem is so much cheaper that it is worth compiling
BLOCK = 32  # rows that are compared at a time, so that the first ones tell and all stay in the cache
TOLERANCE, ROUNDING = 1e-12, 1e-15  # of an entry, and of the largest: by so much |x - y| may be off


class Half(NamedTuple):
    """Excess distortion of a problem that reads the same backwards, of letters together with their images."""

    whole: Stored

    def at(self, s: Array) -> Table:
        whole = self.whole.at(s)
        return whole._replace(values=fold_matrix(whole.values), costs=fold_matrix(whole.costs))


def is_mirrored(p: Array, d: Array) -> bool | Array:
    """Whether a problem does, as far as rounding tells; of traced arrays that is traced, too.

    Of arrays spread over devices, or traced where they may be, it is not asked: each would need the rows of another.
    """
    if d.size < LEAST or any(map(_devices.is_spread, (p, d))):
        return False
    if any(isinstance(x, Tracer) for x in (p, d)):
        if jax.device_count() > 1:
            return False
        return jnp.logical_and(_agree(p, p[::-1], 0.0), _agree(d, d[::-1, ::-1], ROUNDING))
    pmf, table = np.asarray(p), np.asarray(d)
    if not _agree(pmf, pmf[::-1], 0.0):
        return False
    pairs = ((table[i : i + BLOCK], table[::-1, ::-1][i : i + BLOCK]) for i in range(0, -(-len(table) // 2), BLOCK))
    return all(_agree(rows, others, ROUNDING) for rows, others in pairs)


def _agree(a: Array | np.ndarray, b: Array | np.ndarray, rounding: float) -> Array | np.bool_:
    xp = jnp if isinstance(a, Array) else np
    finite = xp.where(xp.isfinite(b), b, 0.0)
    off = TOLERANCE * finite + rounding * xp.max(finite, initial=0.0)
    with np.errstate(invalid="ignore"):  # two infinities, which are equal
        return xp.all((xp.abs(a - b) <= off) | (a == b))


def about_middle(p: Array, d: Array, n: int, m: int) -> tuple[Array, Array]:
    """The same problem on n and m letters, both even, so that none is its own image."""
    if d.shape == (n, m):
        return p, d
    rows, columns = _places(d.shape[0], n), _places(d.shape[1], m)
    there = np.where(rows[:, None] < 0, 0.0, np.asarray(d)[rows][:, columns])
    return scatter(p, n), jnp.asarray(np.where(columns < 0, np.inf, there))


def scatter(pmf: Array, length: int) -> Array:
    """A pmf on such letters."""
    places = _places(len(pmf), length)
    times = np.bincount(places[places >= 0])[places]
    return jnp.where(places < 0, 0.0, pmf[places] / times)


def gather(pmf: Array | np.ndarray, length: int) -> np.ndarray:
    """And back."""
    pmf, side = np.asarray(pmf), -(-length // 2)
    first, last = pmf[..., :side], pmf[..., pmf.shape[-1] - side :]
    others, rest = [(0, 0)] * (pmf.ndim - 1), length - side
    return np.pad(first, [*others, (0, rest)]) + np.pad(last, [*others, (rest, 0)])


def _places(count: int, length: int) -> np.ndarray:
    """Which of `count` letters each is: one in the middle comes twice, -1 stands for unused ones about it."""
    side = -(-count // 2)
    return np.concatenate([np.arange(side), np.full(length - 2 * side, -1), np.arange(count - side, count)])


def fold(pmf: Array) -> Array:
    """Probabilities of a letter or its image."""
    half = len(pmf) // 2
    return pmf[:half] + pmf[half:][::-1]


def fold_matrix(matrix: Array) -> Array:
    """To a letter or its image, each with probability a half."""
    n, m = (length // 2 for length in matrix.shape)
    return (matrix[:n, :m] + matrix[:n, m:][:, ::-1]) / 2


def unfold(pmf: Array) -> Array:
    return jnp.concatenate([pmf, pmf[::-1]]) / 2
