"""Squared error on a grid of two or three axes, where everything a solver asks is done axis by axis.

The kernel is a product over axes, so z and c are products with one small matrix for each axis: sums of positive terms,
exact in the tails, where a transform is not. The Gram matrix of the columns needs no columns either: by

    |x - y|² + |x - y'|² = 2 |x - (y + y')/2|² + |y - y'|²/2

its entries are values at the midpoints of one convolution on a grid of twice the points. notation: see `problem`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer

from rdtheory.limits.discrete.arithmetic import excess_over, scaled_kernel
from rdtheory.limits.discrete.kernels import grid, stored
from rdtheory.limits.discrete.kernels.grid import points
from rdtheory.limits.discrete.kernels.stored import Facts, Scaled, Stored

SPACING = 1.3  # such a comb blurs to 1 + 3e-5 cos, and its own blur to 1 + 1e-9
RADIUS, PASSES = 1.5, 4  # kernel widths about a letter, and how often its excess is spread over them
LONGEST = 2048  # points along one axis up to which its matrix is made


def is_plane(offsets: tuple[Array, ...]) -> bool:
    """Whether a grid has several axes, and its offsets are known to be squares, up to rounding."""
    if not 2 <= len(offsets) <= 3 or any(isinstance(table, Tracer) for table in offsets):
        return False
    for table in map(np.asarray, offsets):
        if not 2 <= len(table) <= LONGEST or not 0 < table[1] < np.inf:
            return False
        squares = table[1] * np.arange(len(table)) ** 2
        if np.any(np.abs(table - squares) > 1e-9 * squares):
            return False
    return True


class Plane(NamedTuple):
    offsets: tuple[Array, ...]

    storable, drops, terms = False, True, 0

    @property
    def axes(self) -> int:
        return len(self.offsets)

    @property
    def shape(self) -> tuple[int, int]:
        letters = math.prod(points(self.offsets))
        return letters, letters

    def facts(self, p: Array) -> Facts:
        return grid.facts(self.offsets, p)

    def whole(self, of: Scaled) -> Stored:
        every = grid.columns(self.offsets, jnp.arange(self.shape[1]))
        return Stored(excess_over(of.p, every, of.floor) / of.unit, of.threads)

    def view(self, of: Scaled, letters: Array) -> "Columns":
        return Columns(tuple(table / of.unit for table in self.offsets), letters, of.p > 0, of.threads)

    def once(self, of: Scaled, letters: Array) -> "Columns":
        return self.view(of, letters)

    def price(self, of: Scaled, s: Array, weights: Array) -> tuple[Array, Array]:
        factors = [scaled_kernel(_matrix(table / of.unit), s) for table in self.offsets]
        return _along(factors, weights.reshape(points(self.offsets))).ravel(), jnp.zeros_like(s)

    def overshoot(self, of: Scaled, z: Array, c: Array, s: Array) -> Array:
        """Bits that c above one costs a lower bound, where that is less than log max c.

        For any λ > 0, R(D) >= -s D + Σ p log λ - log max_y Σ_x p λ K. Where c is above one, λ = 1/z is divided by its
        largest value m nearby: that costs Σ p log m, little where there is little mass, and leaves hardly any c above
        one.
        """
        axes = points(self.offsets)
        reach = [jnp.ceil(RADIUS / jnp.sqrt(2 * math.log(2) * (s / of.unit) * table[1])) for table in self.offsets]
        reach = [jnp.minimum(steps, 64).astype(int) for steps in reach]  # s may be zero

        def wider(_: Array, x: Array) -> Array:
            least = jnp.full((1, *x.shape[1:]), 1.0)
            return jnp.maximum(x, jnp.maximum(jnp.concatenate([x[1:], least]), jnp.concatenate([least, x[:-1]])))

        def again(_: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            m, c, best = state
            nearby = jnp.maximum(c, 1.0).reshape(axes)
            for axis, steps in enumerate(reach):
                nearby = jnp.moveaxis(lax.fori_loop(0, steps, wider, jnp.moveaxis(nearby, axis, 0)), 0, axis)
            m = m * nearby.ravel()
            c, _ = self.price(of, s, of.p / (z * m))
            return m, c, jnp.minimum(best, of.p @ jnp.log2(m) + jnp.log2(jnp.max(c)))

        return lax.fori_loop(0, PASSES, again, (jnp.ones_like(z), c, jnp.log2(jnp.max(c))))[2]

    def peaks(self, c: Array, count: int) -> tuple[Array, Array]:
        return grid.peaks(self.offsets, c, count)

    def first(self, s: Array, size: int) -> tuple[Array, Array]:
        letters, live = comb(self.offsets, s, size)
        return letters, live / size

    def coarser(self, p: Array, most: int) -> None:
        """None: a comb over all of it is as good."""


class Columns(NamedTuple):
    """Excess distortion of some letters, never stored."""

    tables: tuple[Array, ...]  # offsets, in units of the problem
    letters: Array
    rows: Array  # source letters of positive mass; the others count as if nothing distorted them
    threads: tuple[()] | None = None

    def at(self, s: Array) -> "PlaneKernel":
        return PlaneKernel(self, s, tuple(scaled_kernel(_matrix(table), s) for table in self.tables))

    def moments(self, q: Array, s: Array) -> tuple[Array, Array, Array]:
        """Z, mean and variance of the excess given each source letter."""
        return stored.moments_from(*self.at(s).powers(q))


class PlaneKernel(NamedTuple):
    """2^(-s excess) of some letters, never stored."""

    columns: Columns
    s: Array
    factors: tuple[Array, ...]

    def times(self, q: Array) -> Array:
        return jnp.where(self.columns.rows, _along(self.factors, _placed(self.columns, q)).ravel(), 1.0)

    def transposed(self, weights: Array) -> Array:
        """Of one vector, or of several."""
        return jnp.vectorize(self._transposed, signature="(n)->(m)")(weights)

    def _transposed(self, weights: Array) -> Array:
        whole = _along(self.factors, weights.reshape(points(self.columns.tables)))
        return whole.ravel()[self.columns.letters]

    def inverse(self, weights: Array, root: Array, ridge: Array) -> Callable[[Array], Array]:
        return stored.inverse_of(root[:, None] * self.gram(weights) * root[None, :], ridge, self.columns.threads)

    def sums(self, q: Array) -> tuple[Array, Array]:
        z, spent, _ = self.powers(q)
        return z, spent

    def gram(self, weights: Array) -> Array:
        """Σ_x weights K(x, y) K(x, y') for all pairs of letters."""
        axes = points(self.columns.tables)
        steps = [table[1] for table in self.columns.tables]
        middles = []
        for n, step in zip(axes, steps, strict=True):
            away = 0.5 * jnp.arange(2 * n - 1)[:, None] - jnp.arange(n)[None, :]
            middles.append(jnp.exp2(-2 * self.s * step * away**2))
        at = jnp.unravel_index(self.columns.letters, axes)
        sums = tuple(y[:, None] + y[None, :] for y in at)
        apart = sum(
            (step * (y[:, None] - y[None, :]) ** 2 for step, y in zip(steps, at, strict=True)), start=jnp.zeros(())
        )
        return _along(middles, weights.reshape(axes))[sums] * jnp.exp2(-0.5 * self.s * apart)

    def powers(self, q: Array) -> tuple[Array, Array, Array]:
        """Σ_y q K, Σ_y q K e and Σ_y q K e² for every x, e the excess."""
        zeroth = _placed(self.columns, q)
        first = second = jnp.zeros_like(zeroth)
        for axis, (factor, table) in enumerate(zip(self.factors, self.columns.tables, strict=True)):
            d = _matrix(table)
            once, twice = d * factor, d * d * factor
            second = _on(factor, second, axis) + 2 * _on(once, first, axis) + _on(twice, zeroth, axis)
            first = _on(factor, first, axis) + _on(once, zeroth, axis)
            zeroth = _on(factor, zeroth, axis)
        rows = self.columns.rows
        return (
            jnp.where(rows, zeroth.ravel(), 1.0),
            jnp.where(rows, first.ravel(), 0.0),
            jnp.where(rows, second.ravel(), 0.0),
        )


def comb(offsets: tuple[Array, ...], s: Array, size: int) -> tuple[Array, Array]:
    """Letters `SPACING` kernel widths apart, or further so that some slots are left; and which are in use."""
    axes = points(offsets)
    widths = [1 / jnp.sqrt(2 * math.log(2) * s * table[1]) for table in offsets]

    def teeth(wider: Array) -> list[Array]:
        gaps = [(n - 1) / (wider * SPACING * width) for n, width in zip(axes, widths, strict=True)]
        return [jnp.clip(jnp.ceil(gap), 1, n - 1) + 1 for gap, n in zip(gaps, axes, strict=True)]

    def too_many(wider: Array) -> Array:
        return (math.prod(teeth(wider)) > 3 * size // 4) & (wider < 1e9)  # at an infinite slope nothing helps

    counts = teeth(lax.while_loop(too_many, lambda wider: 1.02 * wider, jnp.ones(())))
    rest, index = jnp.arange(size), []
    for n, count in zip(axes, counts, strict=True):
        index.append(jnp.round(rest % count * (n - 1) / (count - 1)).astype(int))
        rest = rest // count
    return jnp.ravel_multi_index(tuple(index), axes, mode="clip"), jnp.arange(size) < math.prod(counts)


def _placed(columns: Columns, q: Array) -> Array:
    axes = points(columns.tables)
    return jnp.zeros(math.prod(axes)).at[columns.letters].add(q).reshape(axes)


def _matrix(table: Array) -> Array:
    place = jnp.arange(len(table))
    return table[jnp.abs(place[:, None] - place[None, :])]


def _along(factors, values: Array) -> Array:
    for axis, factor in enumerate(factors):
        values = _on(factor, values, axis)
    return values


def _on(factor: Array, values: Array, axis: int) -> Array:
    return jnp.moveaxis(jnp.tensordot(factor, values, (1, axis)), 0, axis)
