"""Squared error on a grid of two or three axes, where everything a solver asks is done axis by axis.

The kernel is a product over axes, so z and c are products with one small matrix for each axis: sums of positive terms,
exact in the tails, where a transform is not. The Gram matrix of the columns needs no columns either: by

    |x - y|² + |x - y'|² = 2 |x - (y + y')/2|² + |y - y'|²/2

its entries are values at the midpoints of one convolution on a grid of twice the points. notation: see `_problem`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer

from rdtheory.distortion import Grid

SPACING = 1.3  # such a comb blurs to 1 + 3e-5 cos, and its own blur to 1 + 1e-9
RADIUS, PASSES = 1.5, 4  # kernel widths about a letter, and how often its excess is spread over them
LONGEST = 2048  # points along one axis up to which its matrix is made


class Squares(Grid):
    """A grid whose offsets are known to be squares, up to rounding."""


class Columns(NamedTuple):
    """Excess distortion of some letters, never stored."""

    tables: tuple[Array, ...]  # offsets, in units of the problem
    letters: Array
    rows: Array  # source letters of positive mass; the others count as if nothing distorted them


class Kernel(NamedTuple):
    """2^(-s excess) of some letters, never stored, and what the interior point asks of it."""

    columns: Columns
    s: Array
    factors: tuple[Array, ...]

    def times(self, q: Array) -> Array:
        return jnp.where(self.columns.rows, _along(self.factors, _placed(self.columns, q)).ravel(), 1.0)

    def transposed(self, weights: Array) -> Array:
        whole = _along(self.factors, weights.reshape(_points(self.columns.tables)))
        return whole.ravel()[self.columns.letters]

    def gram(self, weights: Array) -> Array:
        """Σ_x weights K(x, y) K(x, y') for all pairs of letters."""
        points = _points(self.columns.tables)
        steps = [table[1] for table in self.columns.tables]
        middles = []
        for n, step in zip(points, steps, strict=True):
            away = 0.5 * jnp.arange(2 * n - 1)[:, None] - jnp.arange(n)[None, :]
            middles.append(jnp.exp2(-2 * self.s * step * away**2))
        at = jnp.unravel_index(self.columns.letters, points)
        sums = tuple(y[:, None] + y[None, :] for y in at)
        apart = sum(
            (step * (y[:, None] - y[None, :]) ** 2 for step, y in zip(steps, at, strict=True)), start=jnp.zeros(())
        )
        return _along(middles, weights.reshape(points))[sums] * jnp.exp2(-0.5 * self.s * apart)


def known(d: Grid) -> Grid:
    """The same grid, as `Squares` if it can be."""
    if not 2 <= len(d.offsets) <= 3 or any(isinstance(table, Tracer) for table in d.offsets):
        return d
    for table in map(np.asarray, d.offsets):
        if not 2 <= len(table) <= LONGEST or not 0 < table[1] < np.inf:
            return d
        squares = table[1] * np.arange(len(table)) ** 2
        if np.any(np.abs(table - squares) > 1e-9 * squares):
            return d
    return Squares(d.offsets)


def comb(d: Squares, s: Array, size: int) -> tuple[Array, Array]:
    """Letters `SPACING` kernel widths apart, or further so that some slots are left; and which are in use."""
    points = _points(d.offsets)
    widths = [1 / jnp.sqrt(2 * math.log(2) * s * table[1]) for table in d.offsets]

    def teeth(wider: Array) -> list[Array]:
        gaps = [(n - 1) / (wider * SPACING * width) for n, width in zip(points, widths, strict=True)]
        return [jnp.clip(jnp.ceil(gap), 1, n - 1) + 1 for gap, n in zip(gaps, points, strict=True)]

    def too_many(wider: Array) -> Array:
        return (math.prod(teeth(wider)) > 3 * size // 4) & (wider < 1e9)  # at an infinite slope nothing helps

    counts = teeth(lax.while_loop(too_many, lambda wider: 1.02 * wider, jnp.ones(())))
    rest, index = jnp.arange(size), []
    for n, count in zip(points, counts, strict=True):
        index.append(jnp.round(rest % count * (n - 1) / (count - 1)).astype(int))
        rest = rest // count
    return jnp.ravel_multi_index(tuple(index), points, mode="clip"), jnp.arange(size) < math.prod(counts)


def kernel(columns: Columns, s: Array, kernel_of: Callable[[Array, Array], Array]) -> Kernel:
    return Kernel(columns, s, tuple(kernel_of(_matrix(table), s) for table in columns.tables))


def price(tables: tuple[Array, ...], s: Array, weights: Array, kernel_of: Callable[[Array, Array], Array]) -> Array:
    """C of every letter."""
    factors = [kernel_of(_matrix(table), s) for table in tables]
    return _along(factors, weights.reshape(_points(tables))).ravel()


def lowered(p: Array, d: Squares, z: Array, c: Array, s: Array, price: Callable[[Array], Array]) -> Array:
    """Bits that c above one costs a lower bound, where that is less than log max c.

    For any λ > 0, R(D) >= -s D + Σ p log λ - log max_y Σ_x p λ K. Where c is above one, λ = 1/z is divided by its
    largest value m nearby: that costs Σ p log m, little where there is little mass, and leaves hardly any c above one.
    """
    points = _points(d.offsets)
    reach = [jnp.ceil(RADIUS / jnp.sqrt(2 * math.log(2) * s * table[1])) for table in d.offsets]
    reach = [jnp.minimum(steps, 64).astype(int) for steps in reach]  # s may be zero

    def wider(_: Array, x: Array) -> Array:
        least = jnp.full((1, *x.shape[1:]), 1.0)
        return jnp.maximum(x, jnp.maximum(jnp.concatenate([x[1:], least]), jnp.concatenate([least, x[:-1]])))

    def again(_: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        m, c, best = state
        nearby = jnp.maximum(c, 1.0).reshape(points)
        for axis, steps in enumerate(reach):
            nearby = jnp.moveaxis(lax.fori_loop(0, steps, wider, jnp.moveaxis(nearby, axis, 0)), 0, axis)
        m = m * nearby.ravel()
        c = price(p / (z * m))
        return m, c, jnp.minimum(best, p @ jnp.log2(m) + jnp.log2(jnp.max(c)))

    return lax.fori_loop(0, PASSES, again, (jnp.ones_like(z), c, jnp.log2(jnp.max(c))))[2]


def sums(kernel: Kernel, q: Array) -> tuple[Array, Array, Array]:
    """Σ_y q K, Σ_y q K d and Σ_y q K d² for every x."""
    zeroth = _placed(kernel.columns, q)
    first = second = jnp.zeros_like(zeroth)
    for axis, (factor, table) in enumerate(zip(kernel.factors, kernel.columns.tables, strict=True)):
        d = _matrix(table)
        once, twice = d * factor, d * d * factor
        second = _on(factor, second, axis) + 2 * _on(once, first, axis) + _on(twice, zeroth, axis)
        first = _on(factor, first, axis) + _on(once, zeroth, axis)
        zeroth = _on(factor, zeroth, axis)
    rows = kernel.columns.rows
    return (
        jnp.where(rows, zeroth.ravel(), 1.0),
        jnp.where(rows, first.ravel(), 0.0),
        jnp.where(rows, second.ravel(), 0.0),
    )


def _placed(columns: Columns, q: Array) -> Array:
    points = _points(columns.tables)
    return jnp.zeros(math.prod(points)).at[columns.letters].add(q).reshape(points)


def _points(tables: tuple[Array, ...]) -> tuple[int, ...]:
    return tuple(len(table) for table in tables)


def _matrix(table: Array) -> Array:
    place = jnp.arange(len(table))
    return table[jnp.abs(place[:, None] - place[None, :])]


def _along(factors, values: Array) -> Array:
    for axis, factor in enumerate(factors):
        values = _on(factor, values, axis)
    return values


def _on(factor: Array, values: Array, axis: int) -> Array:
    return jnp.moveaxis(jnp.tensordot(factor, values, (1, axis)), 0, axis)
