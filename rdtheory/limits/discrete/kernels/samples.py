"""Squared error between two lists of points, never stored but for some letters. notation: see `problem`."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer

from rdtheory import _devices
from rdtheory.limits.discrete.arithmetic import excess_over, scaled_kernel
from rdtheory.limits.discrete.kernels import stored
from rdtheory.limits.discrete.kernels.stored import Facts, Scaled, Stored

BLOCK = 2**20  # distances computed at once


class Cloud(NamedTuple):
    source: Array  # (n, k)
    reproduction: Array  # (m, k)

    storable, drops, axes = False, False, 0

    @property
    def terms(self) -> int:
        return self.source.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.source), len(self.reproduction)

    def facts(self, p: Array) -> Facts:
        def look(state: tuple, distances: Array, rows: tuple[Array, ...]) -> tuple[tuple, Array]:
            means, largest, smallest = state
            (p,) = rows
            floor = jnp.where(p > 0, jnp.min(distances, axis=1), 0.0)
            above = excess_over(p, distances, floor)
            smallest = jnp.minimum(smallest, jnp.min(jnp.where(above > 0, above, jnp.inf)))
            return (means + p @ above, jnp.maximum(largest, jnp.max(above)), smallest), floor

        m = len(self.reproduction)
        start = jnp.zeros(m), jnp.zeros(()), jnp.asarray(jnp.inf)
        (means, largest, smallest), floor = _fold(self, (p,), look, start)
        best, usable = jnp.argmin(means), jnp.ones(m, bool)
        from_best = excess_over(p, _squared(self.source, self.reproduction[best[None]]), floor)
        return Facts(
            floor=floor,
            largest=largest,
            smallest=smallest,
            spent=jnp.min(means),
            best=best,
            nearest=~jnp.any(from_best > 0),
            usable=usable,
            most=stored.log_letters(p, usable),
        )

    def whole(self, of: Scaled) -> Stored:
        return Stored(excess_over(of.p, _squared(*self), of.floor) / of.unit, of.threads)

    def view(self, of: Scaled, letters: Array) -> Stored:
        return self._replace(reproduction=self.reproduction[letters]).whole(of)

    def once(self, of: Scaled, letters: Array) -> "Streamed":
        return Streamed(self._replace(reproduction=self.reproduction[letters]), of.floor, of.unit)

    def price(self, of: Scaled, s: Array, weights: Array) -> tuple[Array, Array]:
        def add(c: Array, distances: Array, rows: tuple[Array, ...]) -> tuple[Array, None]:
            weights, floor = rows
            return c + weights @ scaled_kernel((distances - floor[:, None]) / of.unit, s), None

        c, _ = _fold(self, (weights, of.floor), add, jnp.zeros(len(self.reproduction)))
        return c, jnp.zeros(())

    def overshoot(self, of: Scaled, z: Array, c: Array, s: Array) -> Array:
        return jnp.log2(jnp.max(c))

    def peaks(self, c: Array, count: int) -> tuple[Array, Array]:
        return stored.peaks(c, count)

    def first(self, s: Array, size: int) -> tuple[Array, Array]:
        return stored.spread(self.shape[1], size)

    def coarser(self, p: Array, most: int) -> "tuple[Array, Cloud, Array] | None":
        """Only the source: samples near each other are merged, or if there are few such, thinned out."""
        n, m = self.shape
        if n <= 2 * most:
            return None
        merged = _merged(p, self, most)
        if merged is None:
            every = -(-n // most)
            thin = p[::every] + 1e-3 / n  # should all mass be elsewhere, this is no worse than any other guess
            merged = thin / jnp.sum(thin), self._replace(source=self.source[::every])
        return *merged, jnp.arange(m)


class Streamed(NamedTuple):
    """Excess distortion over some letters, in blocks and never stored."""

    d: Cloud  # to those letters
    floor: Array
    unit: Array

    def moments(self, q: Array, s: Array) -> tuple[Array, Array, Array]:
        """Z, mean and variance of the excess given each source letter."""

        def add(state: None, distances: Array, rows: tuple[Array, ...]) -> tuple[None, tuple[Array, Array, Array]]:
            above = (distances - rows[0][:, None]) / self.unit
            terms = scaled_kernel(above, s) * q[None, :]
            return None, (jnp.sum(terms, axis=1), jnp.sum(terms * above, axis=1), jnp.sum(terms * above**2, axis=1))

        return stored.moments_from(*_fold(self.d, (self.floor,), add, None)[1])


def _merged(p: Array, d: Cloud, most: int) -> tuple[Array, Cloud] | None:
    """Samples in one cell of a grid merged to two for each axis of space, of the same mass, mean and covariance.

    None where the cells would have to be large, or nothing is known of the samples yet.
    """
    if any(isinstance(leaf, Tracer) or _devices.is_spread(leaf) for leaf in (p, d.source)):
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
    return jnp.asarray(weights / weights.sum()), Cloud(jnp.asarray(points), d.reproduction)


def _fold(d: Cloud, rows: tuple[Array, ...], function: Callable, start) -> tuple:
    """Scan `function` over blocks of source letters; rows added to fill the last one are zero."""
    n, m = d.shape
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
