"""A uniform grid of one to three axes: sums over all letters by FFT. notation: see `problem`.

Every other sum of a certificate runs over the few letters of a view, directly: a transform loses the tails, where z is
small.
"""

import math
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from rdtheory import _compile
from rdtheory.limits.discrete.arithmetic import excess_over, scaled_kernel
from rdtheory.limits.discrete.kernels import stored
from rdtheory.limits.discrete.kernels.stored import Facts, Scaled, Stored

BLOCK, UNROLLED = 2**12, 4  # rows of which sums stay in the cache, and letters added to them at once


class Lattice(NamedTuple):
    offsets: tuple[Array, ...]  # for each axis the distortion of letters 0, 1, 2, ... steps apart

    storable, drops, terms, axes = False, False, 0, 0

    @property
    def shape(self) -> tuple[int, int]:
        letters = math.prod(points(self.offsets))
        return letters, letters

    def facts(self, p: Array) -> Facts:
        return facts(self.offsets, p)

    def whole(self, of: Scaled) -> Stored:
        return self.view(of, jnp.arange(self.shape[1]))

    def view(self, of: Scaled, letters: Array) -> Stored:
        return Stored(excess_over(of.p, columns(self.offsets, letters), of.floor) / of.unit, of.threads)

    def once(self, of: Scaled, letters: Array) -> "Shifted":
        return Shifted(tuple(table / of.unit for table in self.offsets), letters)

    def price(self, of: Scaled, s: Array, weights: Array) -> tuple[Array, Array]:
        tables = [scaled_kernel(table / of.unit, s) for table in self.offsets]
        c, error = _convolve(weights.reshape(points(self.offsets)), tables)
        return jnp.maximum(c.ravel(), 0.0), error

    def overshoot(self, of: Scaled, z: Array, c: Array, s: Array) -> Array:
        return jnp.log2(jnp.max(c))

    def peaks(self, c: Array, count: int) -> tuple[Array, Array]:
        return peaks(self.offsets, c, count)

    def first(self, s: Array, size: int) -> tuple[Array, Array]:
        """Some letters that cover the grid evenly along every axis, whatever their number."""
        axes, ratio = points(self.offsets), 1.5
        for _ in range(50):
            ratio = (1 + ratio) ** (1 / (len(axes) + 1))  # the golden ratio and its likes in two and three dimensions
        where = [(0.5 + jnp.arange(size) / ratio ** (k + 1)) % 1 for k in range(len(axes))]
        index = tuple((share * n).astype(int) for share, n in zip(where, axes, strict=True))
        return jnp.ravel_multi_index(index, axes, mode="clip"), (jnp.arange(size) < size // 2) / size

    def coarser(self, p: Array, most: int) -> "tuple[Array, Lattice, Array] | None":
        """The source moved to every 2, 4, 8, ... th point so that cubic polynomials keep their means."""
        return coarser(self.offsets, p, most=most)


class Shifted(NamedTuple):
    """Excess distortion of some letters, never stored: of each it is the same table, shifted."""

    tables: tuple[Array, ...]  # offsets, in units of the problem
    letters: Array

    def moments(self, q: Array, s: Array) -> tuple[Array, Array, Array]:
        """Z, mean and variance of the excess given each source letter."""
        axes = points(self.tables)
        rows = max(1, min(axes[0], BLOCK // math.prod(axes[1:])))
        blocks, block = -(-axes[0] // rows), (rows, *axes[1:])
        beyond = (blocks * rows - axes[0], *(0 for _ in axes[1:]))  # of the last block: left out in the end
        costs = [
            jnp.pad(jnp.concatenate([t[:0:-1], t]), (0, more)) for t, more in zip(self.tables, beyond, strict=True)
        ]
        kernels = [scaled_kernel(cost, s) for cost in costs]  # so many powers of two, and no more
        places = jnp.unravel_index(self.letters, axes)

        def shifted(tables: list[Array], start: Array, j: Array) -> list[Array]:
            """About letter j, each along its own axis."""
            starts = (n - 1 - place[j] for n, place in zip(axes, places, strict=True))
            slices = []
            for axis, (table, at, length) in enumerate(zip(tables, starts, block, strict=True)):
                there = lax.dynamic_slice_in_dim(table, at if axis else at + start, length)
                slices.append(jnp.expand_dims(there, tuple(other for other in range(len(axes)) if other != axis)))
            return slices

        def sums(start: Array) -> tuple[Array, Array, Array]:
            def add(j: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
                zeroth, first, second = state
                term = q[j] * math.prod(shifted(kernels, start, j))
                excess = sum(shifted(costs, start, j))
                return zeroth + term, first + term * excess, second + term * excess**2

            return lax.fori_loop(0, len(q), add, (jnp.zeros(block),) * 3, unroll=UNROLLED)

        found = lax.map(sums, rows * jnp.arange(blocks))
        return stored.moments_from(*(x.reshape(-1)[: math.prod(axes)] for x in found))


def points(tables: tuple[Array, ...]) -> tuple[int, ...]:
    return tuple(len(table) for table in tables)


def facts(offsets: tuple[Array, ...], p: Array) -> Facts:
    mass = p.reshape(points(offsets))
    means = jnp.zeros(mass.shape)
    for k, table in enumerate(offsets):
        rest = tuple(axis for axis in range(mass.ndim) if axis != k)
        along, _ = _convolve(jnp.sum(mass, axis=rest), [table])
        means = means + jnp.expand_dims(along, rest)
    best = jnp.argmin(means)  # to within the rounding of the transform: its mean is summed directly
    positive = [jnp.min(jnp.where(table > 0, table, jnp.inf)) for table in offsets]
    usable, from_best = jnp.ones(len(p), bool), columns(offsets, best[None])[:, 0]
    return Facts(
        floor=jnp.zeros_like(p),
        largest=jnp.sum(jnp.stack([jnp.max(table) for table in offsets])),
        smallest=jnp.min(jnp.stack(positive)),
        spent=p @ from_best,
        best=best,
        nearest=~jnp.any((p > 0) & (from_best > 0)),
        usable=usable,
        most=stored.log_letters(p, usable),
    )


def columns(offsets: tuple[Array, ...], letters: Array) -> Array:
    """d(x, y) for all x and some y, (n, k)."""
    axes = points(offsets)
    x, y = jnp.unravel_index(jnp.arange(math.prod(axes)), axes), jnp.unravel_index(letters, axes)
    return sum(
        (table[jnp.abs(x[k][:, None] - y[k][None, :])] for k, table in enumerate(offsets)),
        start=jnp.zeros((len(x[0]), len(letters))),
    )


def peaks(offsets: tuple[Array, ...], c: Array, count: int) -> tuple[Array, Array]:
    """The letter of largest c in each of at most so many tiles of the grid, and that c."""
    axes = points(offsets)
    width = max(1, int((len(c) / count) ** (1 / len(axes))))
    while math.prod(-(-n // width) for n in axes) > count:
        width += 1

    def tiled(x: Array, fill: int) -> Array:
        cells = [-(-n // width) for n in axes]
        x = jnp.pad(
            x.reshape(axes), [(0, k * width - n) for k, n in zip(cells, axes, strict=True)], constant_values=fill
        )
        for axis, k in enumerate(cells):
            x = x.reshape(*x.shape[:axis], k, width, *x.shape[axis + 1 :])
            x = jnp.moveaxis(x, axis + 1, -1)
        return x.reshape(math.prod(cells), width ** len(axes))

    c, letters = tiled(c, -1), tiled(jnp.arange(len(c)), 0)
    highest = jnp.argmax(c, axis=1)[:, None]
    return jnp.take_along_axis(letters, highest, 1)[:, 0], jnp.take_along_axis(c, highest, 1)[:, 0]


@partial(_compile.jit, static_argnames="most", brief=True)
def coarser(offsets: tuple[Array, ...], p: Array, most: int) -> tuple[Array, Lattice, Array] | None:
    axes = points(offsets)
    if math.prod(axes) <= 2 * most:
        return None
    every = 2
    while math.prod(-(-n // every) + 1 for n in axes) > most:
        every *= 2
    steps = [every if n > 2 * every else 1 for n in axes]
    mass = p.reshape(axes)
    for k, step in enumerate(steps):
        mass = jnp.moveaxis(fewer(jnp.moveaxis(mass, k, 0), step), 0, k)
    index = [jnp.minimum(step * jnp.arange(n), full - 1) for n, step, full in zip(mass.shape, steps, axes, strict=True)]
    tables = tuple(table[i] for table, i in zip(offsets, index, strict=True))
    letters = jnp.ravel_multi_index(tuple(i.ravel() for i in jnp.meshgrid(*index, indexing="ij")), axes, mode="clip")
    return mass.ravel() / jnp.sum(mass), Lattice(tables), letters


def fewer(mass: Array, step: int) -> Array:
    """Mass on every `step`-th point along the first axis."""
    if step == 1:
        return mass
    cells = -(-len(mass) // step)
    rest = mass.shape[1:]
    blocks = jnp.pad(mass, [(0, cells * step - len(mass)), *((0, 0) for _ in rest)]).reshape(cells, step, *rest)
    right = jnp.tensordot(jnp.arange(step) / step, blocks, (0, 1))
    whole = jnp.sum(blocks, axis=1)
    linear = jnp.zeros((cells + 1, *rest)).at[:-1].add(whole - right).at[1:].add(right)
    inner = whole[1:-1] * (1 - step**-2) / 24
    cubic = linear.at[:-3].add(-inner).at[1:-2].add(inner).at[2:-1].add(inner).at[3:].add(-inner)
    return jnp.where(jnp.all(cubic >= 0), cubic, linear)


def _convolve(values: Array, tables: list[Array]) -> tuple[Array, Array]:
    """Σ_x values(x) Π_k tables[k][|x_k - y_k|] for every y, by FFT, and a bound on its rounding error.

    Transform, product and transform back each err by a few ε log N in the Euclidean norm (Higham 2002, Theorem 24.2),
    and no entry errs by more than the norm.
    """
    padded = [_fast_length(2 * len(table) - 1) for table in tables]
    axes = tuple(range(len(tables)))
    spectrum = jnp.fft.rfftn(values, padded, axes)
    size = jnp.ones(())
    for k, (table, length) in enumerate(zip(tables, padded, strict=True)):
        around = jnp.concatenate([table, jnp.zeros(length - 2 * len(table) + 1), table[:0:-1]])
        size = size * jnp.sqrt(jnp.sum(around**2))
        factor = (jnp.fft.rfft(around) if k == len(tables) - 1 else jnp.fft.fft(around)).real  # it is symmetric
        spectrum = spectrum * jnp.expand_dims(factor, tuple(axis for axis in axes if axis != k))
    full = jnp.fft.irfftn(spectrum, padded, axes)
    eps = jnp.finfo(full.dtype).eps
    norms = (len(tables) + 1) * jnp.sqrt(jnp.sum(values**2)) * size + jnp.sqrt(jnp.sum(full**2))
    return full[tuple(slice(len(table)) for table in tables)], 4 * eps * math.log2(math.prod(padded)) * norms


def _fast_length(least: int) -> int:
    """A power of two or three quarters of one: quick to transform, and few shapes are ever compiled."""
    power = 1 << max(least - 1, 3).bit_length()
    return 3 * power // 4 if least <= 3 * power // 4 else power
