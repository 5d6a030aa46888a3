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
from jax import Array
from jax.core import Tracer

from rdtheory.distortion import Grid

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
        apart = sum((step * (y[:, None] - y[None, :]) ** 2 for step, y in zip(steps, at, strict=True)), start=jnp.zeros(()))
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


def kernel(columns: Columns, s: Array, kernel_of: Callable[[Array, Array], Array]) -> Kernel:
    return Kernel(columns, s, tuple(kernel_of(_matrix(table), s) for table in columns.tables))


def price(tables: tuple[Array, ...], s: Array, weights: Array, kernel_of: Callable[[Array, Array], Array]) -> Array:
    """C of every letter."""
    factors = [kernel_of(_matrix(table), s) for table in tables]
    return _along(factors, weights.reshape(_points(tables))).ravel()


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
    return tuple(jnp.where(rows, x.ravel(), away) for x, away in ((zeroth, 1.0), (first, 0.0), (second, 0.0)))


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
