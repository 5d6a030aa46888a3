r"""Which algorithm for which problem: a plan, made once from what is known beforehand, and carried out in `run`.

>>> from rdtheory.limits.discrete.kernels import of
>>> from rdtheory.limits.discrete.matched_slope import SLOPE
>>> print(*((stage.method, stage.size) for stage in make_plan(of(jnp.zeros((1024, 1024))), SLOPE)), sep="\n")
('coarser', 512)
('square', 128)
('columns', 64)
('columns', 192)
('columns', 384)
('half', 1024)
('columns', 1024)
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.core import Tracer

from rdtheory import _devices
from rdtheory.limits.discrete.kernels import Cloud, Distortion, Lattice, Plane
from rdtheory.limits.discrete.kernels.matrix import ROWS
from rdtheory.limits.discrete.kernels.plane import comb
from rdtheory.limits.discrete.matched_slope import SLOPE

DIRECT = 192**3  # n m min(n, m) up to which the interior point takes all letters at once
MIRRORED = 2**27  # the same if the problem reads the same backwards
SIZES = (64, 192, 384, 1024)  # letters that column generation works with
PLANE = (512, 1024, 1536, 2048)  # the same on a grid of several axes
DIRECT_PLANE = 2**10
OUT = 8  # one letter in so many may be out of use where a kernel is factored as a whole
DENSE = 2**25  # entries of a matrix that is still factored whole if its support turns out large
COARSE = (2**13, 2**15)  # source letters of the problems solved before one without a matrix
VIEW = 2**28  # entries of the columns that column generation works with


class Stage(NamedTuple):
    """What is tried from where the stage before ended, until the gap is met.

    ``columns``: the interior point on `size` letters at a time, which is all of them if there are no more.
    ``half``: on all letters of a problem that reads the same backwards, together with their images; skipped if it does
    not, which is found out at each call where the values are not known when the plan is made. ``coarser``: a problem
    like this one of about `size` source letters, by stages of its own; its law is then certified here; skipped if there
    is none. ``square``: Newton's method on a kernel factored as a whole, of as many letters as source letters, `size`
    of them out of use at most; skipped where the stage before was a help. ``accelerated``: Blahut-Arimoto.
    """

    method: str
    size: int
    inner: tuple["Stage", ...] = ()
    known: bool = False  # of a half, that the problem reads the same backwards


def make_plan(
    d: Distortion, kind: int, target: Array | None = None, *, mirrored: bool | None = None, warm: bool = False
) -> list[Stage]:
    """The stages for a point at a slope, a distortion or a rate.

    `mirrored`: whether the problem reads the same backwards; None if that is to be found out when it matters.
    `warm`: whether there is a pmf to begin with that may be about right.
    """
    n, m = d.shape
    if isinstance(d, Plane):
        return _ladder(_combed(d, kind, target) if n > DIRECT_PLANE else sizes(n, m))
    if isinstance(d, Lattice | Cloud):
        levels = [most for most in COARSE if n > 2 * most]
        fewer = [most if isinstance(d, Lattice) else m for most in levels]  # letters there
        inner = [tuple(_ladder(sizes(*shape))) for shape in zip(levels, fewer, strict=True)]
        return [*(Stage("coarser", *level) for level in zip(levels, inner, strict=True)), *_ladder(sizes(n, m))]
    mirrored = False if n % 2 or m % 2 else mirrored
    if is_small(d.shape, bool(mirrored)):
        return whole(m, mirrored)
    stages = _ladder(sizes(n, m))
    if stages[-1].size == m and mirrored is not False:
        stages.insert(0 if is_small(d.shape, mirrored=True) else -1, Stage("half", m, known=bool(mirrored)))
    if n // ROWS >= 2:
        # Rows are few, so columns need not be: a solution on 64 letters that fails is a poor place to go on from.
        few = sizes(ROWS, m)
        inner = [size for size in few if (0 if warm else SIZES[1]) <= size <= m // 4] or few[:1]
        coarser = Stage("coarser", ROWS, tuple(_ladder(inner)))
        stages.insert(0, coarser)
        # Spread over devices, a kernel would have to be gathered on each to be factored as a whole.
        if kind == SLOPE and n == m and n * m <= DENSE and not _devices.is_spread(d.entries):
            stages.insert(1, Stage("square", m // OUT))
    if kind == SLOPE and n * m > DENSE:
        stages.append(Stage("accelerated", m))
    return stages


def whole(m: int, mirrored: bool | None) -> list[Stage]:
    """All letters at once."""
    return [*([] if mirrored is False else [Stage("half", m, known=bool(mirrored))]), Stage("columns", m)]


def is_small(shape: tuple[int, ...], mirrored: bool) -> bool:
    """Whether the interior point takes all letters at once."""
    n, m = shape
    return sizes(n, m) == [m] or (mirrored and n * m * min(n, m) <= MIRRORED)


def sizes(n: int, m: int) -> list[int]:
    """Letters to work with, from the first try to the last; m for all of them at once."""
    if n * m * min(n, m) <= DIRECT:
        return [m]
    # Once the support takes more than a third of the letters, generating them saves nothing.
    few = [size for size in SIZES if 5 * size <= 2 * m and n * size <= VIEW]
    return few + ([m] if n * m <= DENSE or not few else [])


def _ladder(letters: list[int]) -> list[Stage]:
    return [Stage("columns", size) for size in letters]


def _combed(d: Plane, kind: int, target: Array | None) -> list[int]:
    """Letters that a first comb has, and half as many again, where the slope is known; and more than that."""
    if kind != SLOPE or target is None or isinstance(target, Tracer):
        return list(PLANE)
    teeth = 3 * int(jnp.sum(comb(d.offsets, target, PLANE[-1])[1])) // 2
    return [size for size in PLANE if size >= teeth] or list(PLANE[-1:])
