"""A distortion matrix, stored. notation: see `problem`."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jax.scipy.special import xlog1py, xlogy

from rdtheory import _compile, _devices
from rdtheory.limits.discrete.arithmetic import LN2, excess_over, scaled_kernel
from rdtheory.limits.discrete.kernels import stored
from rdtheory.limits.discrete.kernels.stored import Facts, Scaled, Stored

LARGE = 2**20  # entries
STORED = 2**22  # entries up to which a kernel is stored
BLOCK, COLUMNS = 32, 256  # rows and columns that are read at a time
ROWS = 2**9  # about as many are kept of a problem made smaller
FEW = 2**4  # rows on one device below which they are no fewer
EVERY = 8  # one interval in so many tells whether all are smooth
SMOOTH = 0.02  # of the largest distortion, by which a row may differ from the mean of rows about it that are kept


class Matrix(NamedTuple):
    entries: Array  # (n, m)

    terms, axes, drops = 0, 0, False

    @property
    def shape(self) -> tuple[int, int]:
        n, m = self.entries.shape
        return n, m

    def facts(self, p: Array) -> Facts:
        d = self.entries
        floor = jnp.where(p > 0, jnp.min(d, axis=1), 0.0)
        highest = jnp.max(d, axis=1)
        finite = jnp.all(jnp.isfinite(highest))

        def plain() -> tuple[Array, Array, Array]:
            return highest, p @ d - p @ floor, jnp.ones(d.shape[1], bool)

        def forbidding() -> tuple[Array, Array, Array]:
            allowed = jnp.isfinite(d) & (p > 0)[:, None]
            means = jnp.sum(jnp.where((p > 0)[:, None], p[:, None] * excess_over(p, d, floor), 0.0), axis=0)
            return jnp.max(jnp.where(allowed, d, -jnp.inf), axis=1), means, jnp.any(allowed, axis=0)

        # Without infinite entries a few passes do, and nothing of the size of the matrix is made.
        highest, means, usable = lax.cond(finite, plain, forbidding) if d.size > LARGE else forbidding()
        means = jnp.maximum(means, 0.0)
        best, most = jnp.argmin(means), stored.log_letters(p, usable)
        if d.size <= LARGE:
            most = jnp.minimum(most, _entropy_of_nearest(p, d, floor, best))
        return Facts(
            floor=floor,
            largest=jnp.max(jnp.where((p > 0) & (highest >= floor), highest - floor, 0.0)),
            smallest=_smallest(d, p, floor),
            spent=jnp.min(means),
            best=best,
            nearest=~jnp.any(excess_over(p, jnp.take(d, best[None], axis=1), floor) > 0),
            usable=usable,
            most=most,
        )

    def whole(self, of: Scaled) -> Stored:
        """Made anew where it is needed: compiled into what uses it, it costs no memory."""
        return Stored(excess_over(of.p, self.entries, of.floor) / of.unit, of.threads)

    def view(self, of: Scaled, letters: Array) -> Stored:
        return Stored(excess_over(of.p, self.entries[:, letters], of.floor) / of.unit, of.threads)

    def once(self, of: Scaled, letters: Array) -> Stored:
        return self.view(of, letters)

    @property
    def storable(self) -> bool:
        """Whether the kernel of all letters is worth storing, which takes longer than computing it if it is large."""
        return self.entries.size <= STORED or _devices.is_spread(self.entries)

    def price(self, of: Scaled, s: Array, weights: Array) -> tuple[Array, Array]:
        return _priced(self.entries, of, s, weights), jnp.zeros_like(s)

    def overshoot(self, of: Scaled, z: Array, c: Array, s: Array) -> Array:
        return jnp.log2(jnp.max(c))

    def peaks(self, c: Array, count: int) -> tuple[Array, Array]:
        return stored.peaks(c, count)

    def first(self, s: Array, size: int) -> tuple[Array, Array]:
        return stored.spread(self.shape[1], size)

    def coarser(self, p: Array, most: int = ROWS) -> "tuple[Array, Matrix, Array] | None":
        """Only the source, and only where rows change slowly: its mass is moved to few of them.

        Of a matrix spread over devices they are solved on one, where they take about as much room as its share.
        """
        if any(isinstance(x, Tracer) for x in (p, self.entries)):
            return None
        held = math.gcd(*(x.sharding.shard_shape(x.shape)[0] for x in (p, self.entries)))  # by one device
        count = most * held // len(p)
        if count < FEW or held < 2 * count:
            return None
        mass, rows, smooth = _thinned(p, self.entries, held=held, step=held // count)
        if not smooth:
            return None
        mass, rows = _devices.gathered(mass, rows)
        return mass, Matrix(rows), jnp.arange(self.shape[1])


def _smallest(d: Array, p: Array, floor: Array) -> Array:
    """Excess distortion above zero."""

    def part(d: Array, p: Array, floor: Array) -> Array:
        above = excess_over(p, d, floor)
        return jnp.min(above, axis=1, where=above > 0, initial=jnp.inf)

    # Unless in blocks the compiler takes one number at a time.
    if d.size <= LARGE:
        return jnp.min(part(d, p, floor))
    if _on_one_cpu():
        return _folded(lambda *rows: jnp.min(part(*rows), initial=jnp.inf), jnp.minimum, d, p, floor)
    blocks, rest = _by_columns(lambda columns: part(columns, p, floor), d)
    return jnp.minimum(jnp.min(blocks), jnp.min(rest))


def _entropy_of_nearest(p: Array, d: Array, floor: Array, best: Array) -> Array:
    """Of the letter shown where each is shown the nearest: `best` where that is among them."""
    nearest = jnp.where(jnp.take(d, best, axis=1) == floor, best, jnp.argmin(d, axis=1))
    law = jnp.zeros(d.shape[1]).at[nearest].add(p)
    # Nearly all may be shown the same, and then the digits that count are those of the others.
    likely = jnp.argmax(law)
    others = jnp.minimum(jnp.sum(jnp.where(nearest == likely, 0.0, p)), 1.0)
    rare = jnp.where(jnp.arange(len(law)) == likely, 0.0, law)
    rest = jnp.where(others < 0.25, xlog1py(1 - others, -others), xlogy(1 - others, 1 - others))
    entropy = -jnp.sum(xlogy(rare, rare)) - rest
    return entropy / LN2 * (1 + 2 * (len(p) + len(law) + 16) * jnp.finfo(p.dtype).eps)


def _priced(d: Array, of: Scaled, s: Array, weights: Array) -> Array:
    def part(d: Array, p: Array, floor: Array, weights: Array) -> Array:
        return weights @ scaled_kernel(excess_over(p, d, floor) / of.unit, s)

    # In blocks that stay in the cache, for storing the kernel would take longer than computing it.
    if d.size <= STORED:
        return part(d, of.p, of.floor, weights)
    if _on_one_cpu():
        return _folded(part, jnp.add, d, of.p, of.floor, weights)
    blocks, rest = _by_columns(lambda columns: part(columns, of.p, of.floor, weights), d)
    return jnp.concatenate([blocks.ravel(), rest])


def _on_one_cpu() -> bool:
    return jax.device_count() == 1 and jax.default_backend() == "cpu"


def _by_columns(part: Callable[[Array], Array], d: Array) -> tuple[Array, Array]:
    """What `part` makes of some columns at a time: where rows are spread over devices, each so keeps to its own."""
    block = min(COLUMNS, d.shape[1])
    whole = d.shape[1] // block * block
    blocks = lax.map(lambda start: part(lax.dynamic_slice_in_dim(d, start, block, axis=1)), jnp.arange(0, whole, block))
    return blocks, part(d[:, whole:])


def _folded(part: Callable[..., Array], combine: Callable[[Array, Array], Array], *arrays: Array) -> Array:
    """What `part` makes of some rows of all arrays at a time, combined."""
    n = len(arrays[0])
    block = min(BLOCK, n)
    whole = n // block * block

    def go_on(so_far: Array, start: Array) -> tuple[Array, None]:
        return combine(so_far, part(*(lax.dynamic_slice_in_dim(x, start, block) for x in arrays))), None

    return lax.scan(go_on, part(*(x[whole:] for x in arrays)), jnp.arange(0, whole, block))[0]


@partial(_compile.jit, static_argnames=("held", "step"))
def _thinned(p: Array, d: Array, *, held: int, step: int) -> tuple[Array, Array, Array]:
    """Few of the rows that each device holds, taken there, and the mass moved to them; whether rows change slowly.

    They are at equal distances, for then errors of what is moved cancel; but for the last one, which is among them, for
    c of the last letters is made of hardly any others.
    """
    stretches = d.reshape(-1, held, d.shape[1])
    kept = np.minimum(step * np.arange(-(-(held - 1) // step) + 1), held - 1)
    before, after = kept[:-1:EVERY], kept[1::EVERY]
    middle = (before + after) // 2
    share = ((middle - before) / (after - before))[None, :, None]
    low, between, high = (stretches[:, at] for at in (before, middle, after))
    off, highest = jnp.abs((1 - share) * low + share * high - between), jnp.maximum(jnp.max(low), jnp.max(high))
    smooth = jnp.isfinite(highest) & (jnp.max(off) <= SMOOTH * highest)
    places = (held * np.arange(len(stretches))[:, None] + kept).ravel()
    mass, mean = moved(p, places, 6), moved(p, places, 2)
    mass = jnp.where(jnp.all(mass >= 0), mass, mean)
    return mass / jnp.sum(mass), stretches[:, kept].reshape(-1, d.shape[1]), smooth


def moved(p: Array, places: np.ndarray, stencil: int) -> Array:
    """Mass moved to some places, that of each index to the `stencil` about it: polynomials keep their means."""
    index = np.arange(len(p))
    before = np.searchsorted(places, index, side="right") - stencil // 2
    chosen = np.clip(before, 0, len(places) - stencil)[:, None] + np.arange(stencil)
    x = places[chosen].astype(float)
    others = ~np.eye(stencil, dtype=bool)  # Lagrange's basis: all factors but one's own
    ratios = (index[:, None, None] - x[:, None, :]) / np.where(others, x[:, :, None] - x[:, None, :], 1.0)
    return jnp.zeros(len(places)).at[chosen].add(p[:, None] * np.prod(ratios, axis=2, where=others))
