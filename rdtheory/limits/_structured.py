"""What the solvers ask of a distortion, whether it is a matrix or a structure that stands for one never stored.

They ask for some columns, for what `_problem.make` needs to know, and for c at every letter (`price`). Every other
sum of a certificate runs over the few letters of a view, directly: a transform loses the tails, where z is small.
notation: see `_problem`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer

from rdtheory import _checks
from rdtheory.distortion import Grid, Samples

BLOCK = 2**20  # distances computed at once

Distortion = Array | Grid | Samples


class Facts(NamedTuple):
    floor: Array  # min_y d, of each source letter; zero where it has no mass
    largest: Array  # excess distortion
    smallest: Array  # that is not zero; infinite if all are
    spent: Array  # mean excess distortion of the best single letter
    best: Array  # that letter


class Streamed(NamedTuple):
    """Excess distortion of samples over some letters, in blocks and never stored."""

    d: Samples  # to those letters
    floor: Array
    unit: Array

    def sums(self, q: Array, s: Array, kernel_of: Callable[[Array, Array], Array]) -> tuple[Array, Array, Array]:
        """Σ_y q K, Σ_y q K d and Σ_y q K d² for every x."""

        def add(state: None, distances: Array, rows: tuple[Array, ...]) -> tuple[None, tuple[Array, Array, Array]]:
            above = (distances - rows[0][:, None]) / self.unit
            terms = kernel_of(above, s) * q[None, :]
            return None, (jnp.sum(terms, axis=1), jnp.sum(terms * above, axis=1), jnp.sum(terms * above**2, axis=1))

        return _fold(self.d, (self.floor,), add, None)[1]


def shape(d: Distortion) -> tuple[int, int]:
    """Letters of the source and of the reproduction."""
    if isinstance(d, Grid):
        letters = math.prod(_points(d))
        return letters, letters
    if isinstance(d, Samples):
        return len(d.source), len(d.reproduction)
    n, m = d.shape
    return n, m


def columns(d: Distortion, letters: Array) -> Array:
    """d(x, y) for all x and some y, (n, k)."""
    if isinstance(d, Samples):
        return _squared(d.source, d.reproduction[letters])
    if not isinstance(d, Grid):
        return d[:, letters]
    points = _points(d)
    x, y = jnp.unravel_index(jnp.arange(math.prod(points)), points), jnp.unravel_index(letters, points)
    return sum(
        (table[jnp.abs(x[k][:, None] - y[k][None, :])] for k, table in enumerate(d.offsets)),
        start=jnp.zeros((len(x[0]), len(letters))),
    )


def without_dead_letters(p: Array, d: Grid | Samples) -> Grid | Samples:
    """Samples of mass zero put where one with mass is.

    They change nothing; but far from every reproduction all kernels are zero there, and their ratios are not numbers.
    """
    if isinstance(d, Grid) or (not isinstance(p, Tracer) and bool(jnp.all(p > 0))):
        return d
    return d._replace(source=jnp.where((p > 0)[:, None], d.source, d.source[jnp.argmax(p)]))


def facts(p: Array, d: Grid | Samples) -> Facts:
    if isinstance(d, Samples):
        return _facts_of_samples(p, d)
    points = _points(d)
    mass = p.reshape(points)
    means = jnp.zeros(points)
    for k, table in enumerate(d.offsets):
        rest = tuple(axis for axis in range(len(points)) if axis != k)
        along, _ = _convolve(jnp.sum(mass, axis=rest), [table])
        means = means + jnp.expand_dims(along, rest)
    best = jnp.argmin(means)  # to within the rounding of the transform: its mean is summed directly
    positive = [jnp.min(jnp.where(table > 0, table, jnp.inf)) for table in d.offsets]
    return Facts(
        floor=jnp.zeros_like(p),
        largest=jnp.sum(jnp.stack([jnp.max(table) for table in d.offsets])),
        smallest=jnp.min(jnp.stack(positive)),
        spent=p @ columns(d, best[None])[:, 0],
        best=best,
    )


def price(
    d: Grid | Samples, floor: Array, unit: Array, s: Array, weights: Array, kernel_of: Callable[[Array, Array], Array]
) -> tuple[Array, Array]:
    """C of every letter, Σ_x weights 2^(-s (d - floor) / unit), and a bound on the error of the transform."""
    if isinstance(d, Samples):

        def add(c: Array, distances: Array, rows: tuple[Array, ...]) -> tuple[Array, None]:
            weights, floor = rows
            return c + weights @ kernel_of((distances - floor[:, None]) / unit, s), None

        c, _ = _fold(d, (weights, floor), add, jnp.zeros(len(d.reproduction)))
        return c, jnp.zeros(())
    c, error = _convolve(weights.reshape(_points(d)), [kernel_of(table / unit, s) for table in d.offsets])
    return jnp.maximum(c.ravel(), 0.0), error


def peaks(d: Distortion, c: Array, most: int) -> tuple[Array, Array]:
    """The letter of largest c in each of at most so many stretches of the alphabet, or tiles of a grid, and that c."""
    points = _points(d) if isinstance(d, Grid) else c.shape
    width = max(1, int((len(c) / most) ** (1 / len(points))))
    while math.prod(-(-n // width) for n in points) > most:
        width += 1

    def tiled(x: Array, fill: int) -> Array:
        cells = [-(-n // width) for n in points]
        x = jnp.pad(
            x.reshape(points), [(0, k * width - n) for k, n in zip(cells, points, strict=True)], constant_values=fill
        )
        for axis, k in enumerate(cells):
            x = x.reshape(*x.shape[:axis], k, width, *x.shape[axis + 1 :])
            x = jnp.moveaxis(x, axis + 1, -1)
        return x.reshape(math.prod(cells), width ** len(points))

    c, letters = tiled(c, -1), tiled(jnp.arange(len(c)), 0)
    highest = jnp.argmax(c, axis=1)[:, None]
    return jnp.take_along_axis(letters, highest, 1)[:, 0], jnp.take_along_axis(c, highest, 1)[:, 0]


def spread_letters(d: Grid, count: int) -> Array:
    """Some letters that cover the grid evenly along every axis, whatever their number."""
    points = _points(d)
    ratio = 1.5
    for _ in range(50):
        ratio = (1 + ratio) ** (1 / (len(points) + 1))  # the golden ratio and its likes in two and three dimensions
    where = [(0.5 + jnp.arange(count) / ratio ** (k + 1)) % 1 for k in range(len(points))]
    index = tuple((share * n).astype(int) for share, n in zip(where, points, strict=True))
    return jnp.ravel_multi_index(index, points, mode="clip")


def coarser(p: Array, d: Grid | Samples, most: int) -> tuple[Array, Grid | Samples, Array] | None:
    """A problem like this one of at most so many source letters, and which its other letters are; None if small.

    The source of a grid is moved to every 2, 4, 8, ... th point so that cubic polynomials keep their means. Samples
    near each other are merged, or if there are few such, thinned out.
    """
    n, _ = shape(d)
    if n <= 2 * most:
        return None
    if isinstance(d, Samples):
        merged = _merged(p, d, most)
        if merged is not None:
            return *merged, jnp.arange(len(d.reproduction))
        every = -(-n // most)
        thin = p[::every] + 1e-3 / n  # should all mass be elsewhere, this is no worse than any other guess
        return thin / jnp.sum(thin), Samples(d.source[::every], d.reproduction), jnp.arange(len(d.reproduction))
    points = _points(d)
    every = 2
    while math.prod(-(-n // every) + 1 for n in points) > most:
        every *= 2
    steps = [every if n > 2 * every else 1 for n in points]
    mass = p.reshape(points)
    for k, step in enumerate(steps):
        mass = jnp.moveaxis(fewer(jnp.moveaxis(mass, k, 0), step), 0, k)
    index = [
        jnp.minimum(step * jnp.arange(n), full - 1) for n, step, full in zip(mass.shape, steps, points, strict=True)
    ]
    tables = tuple(table[i] for table, i in zip(d.offsets, index, strict=True))
    letters = jnp.ravel_multi_index(tuple(i.ravel() for i in jnp.meshgrid(*index, indexing="ij")), points, mode="clip")
    return mass.ravel() / jnp.sum(mass), Grid(tables), letters


def _merged(p: Array, d: Samples, most: int) -> tuple[Array, Samples] | None:
    """Samples in one cell of a grid merged to two for each axis of space, of the same mass, mean and covariance.

    None where the cells would have to be large, or nothing is known of the samples yet.
    """
    if any(isinstance(leaf, Tracer) or _checks.is_spread(leaf) for leaf in (p, d.source)):
        return None
    p_, x = np.asarray(p), np.asarray(d.source)
    axes = x.shape[1]
    low, side = x.min(axis=0), float(np.ptp(x, axis=0).max())
    if not side > 0 or axes > 4:
        return None
    fit = None
    for halves in range(40):
        place = np.floor((x - low) / (side * 2.0 ** (-halves / 2))).astype(np.int64)
        span = place.max(axis=0) + 1
        if math.prod(span.tolist()) > 2**62:
            break
        cells, own = np.unique(np.ravel_multi_index(tuple(place.T), tuple(span)), return_inverse=True)
        if len(cells) * 2 * axes > most:
            break
        fit = own, len(cells), halves
    if fit is None or fit[2] < 8:
        return None
    own, count, _ = fit
    mass = np.maximum(np.bincount(own, p_, count), 1e-300)
    mean = np.stack([np.bincount(own, p_ * column, count) for column in x.T], axis=1) / mass[:, None]
    off = x - mean[own]
    spread = np.empty((count, axes, axes))
    for i in range(axes):
        for j in range(axes):
            spread[:, i, j] = np.bincount(own, p_ * off[:, i] * off[:, j], count) / mass
    variances, ways = np.linalg.eigh(spread)
    arms = np.sqrt(axes * np.maximum(variances, 0.0))[:, None, :] * ways  # columns: one for each principal axis
    arms = np.concatenate([arms, -arms], axis=2)
    points = (mean[:, :, None] + arms).transpose(0, 2, 1).reshape(-1, axes)
    weights = np.repeat(mass / (2 * axes), 2 * axes)
    return jnp.asarray(weights / weights.sum()), Samples(jnp.asarray(points), d.reproduction)


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


def _points(d: Grid) -> tuple[int, ...]:
    return tuple(len(table) for table in d.offsets)


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


def _facts_of_samples(p: Array, d: Samples) -> Facts:
    def look(state: tuple, distances: Array, rows: tuple[Array, ...]) -> tuple[tuple, Array]:
        means, largest, smallest = state
        (p,) = rows
        floor = jnp.where(p > 0, jnp.min(distances, axis=1), 0.0)
        above = jnp.where((p > 0)[:, None], distances - floor[:, None], 0.0)
        smallest = jnp.minimum(smallest, jnp.min(jnp.where(above > 0, above, jnp.inf)))
        return (means + p @ above, jnp.maximum(largest, jnp.max(above)), smallest), floor

    start = jnp.zeros(len(d.reproduction)), jnp.zeros(()), jnp.asarray(jnp.inf)
    (means, largest, smallest), floor = _fold(d, (p,), look, start)
    return Facts(floor, largest, smallest, jnp.min(means), jnp.argmin(means))


def _fold(d: Samples, rows: tuple[Array, ...], function: Callable, start) -> tuple:
    """Scan `function` over blocks of source letters; rows added to fill the last one are zero."""
    n, m = shape(d)
    height = max(1, min(n, BLOCK // m))
    blocks = -(-n // height)

    def cut(x: Array) -> Array:
        return jnp.pad(x, [(0, blocks * height - n), *((0, 0) for _ in x.shape[1:])]).reshape(
            blocks, height, *x.shape[1:]
        )

    def step(state, block):
        x, *rows = block
        return function(state, _squared(x, d.reproduction), tuple(rows))

    state, out = lax.scan(step, start, (cut(d.source), *map(cut, rows)))
    return state, jax.tree.map(lambda x: x.ravel()[:n], out)


def _squared(x: Array, y: Array) -> Array:
    return jnp.sum((x[:, None, :] - y[None, :, :]) ** 2, axis=2)
