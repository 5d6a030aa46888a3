"""What every solver of a discrete source works on: the problem in good units, its kernel, the allowance for rounding.

notation: p, q source and reproduction pmf; d distortion; s slope; A kernel; z = A q; c = Aᵀ(p/z). Rows are scaled,
A = 2^(-s (d - min_y d)): that leaves c as it is and keeps z from underflowing. The excess distortion is d - min_y d,
here in units of a power of two near its largest finite entry, so that squares of it neither overflow nor underflow; the
slope is in bits per that unit.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import xlog1py, xlogy

from rdtheory.distortion import Grid, Samples
from rdtheory.limits import _axes, _mirror, _structured
from rdtheory.limits._axes import Columns, Kernel, Squares
from rdtheory.limits._mirror import Folded
from rdtheory.limits._structured import Distortion, Streamed

LN2 = math.log(2)
LARGE = 2**20  # entries
STORED = 2**22  # entries up to which a kernel is stored
BLOCK = 64  # rows


class Problem(NamedTuple):
    p: Array
    d: Distortion
    floor: Array  # min_y d, of each source letter; zero where it has no mass
    least: Array  # Σ p min_y d, in units of `unit`
    span: Array  # D_max - least, likewise; infinite if every letter is forbidden for some source letter
    best: Array  # the letter that attains D_max
    unit: Array
    usable: Array  # reproduction letters that some source letter of positive mass may use
    most: Array  # bits that some channel of least distortion gets by with


def make(p: Array, d: Distortion) -> Problem:
    if isinstance(d, Grid | Samples):
        facts = _structured.facts(p, d)
        unit = unit_of(facts.largest)
        usable = jnp.ones(_structured.shape(d)[1], bool)
        most = _log_letters(p, usable)
        return Problem(p, d, facts.floor, p @ facts.floor / unit, facts.spent / unit, facts.best, unit, usable, most)
    floor = jnp.where(p > 0, jnp.min(d, axis=1), 0.0)
    highest = jnp.max(d, axis=1)
    finite = jnp.all(jnp.isfinite(highest))

    def plain() -> tuple[Array, Array, Array]:
        return highest, p @ d - p @ floor, jnp.ones(d.shape[1], bool)

    def forbidding() -> tuple[Array, Array, Array]:
        allowed = jnp.isfinite(d) & (p > 0)[:, None]
        means = jnp.sum(jnp.where((p > 0)[:, None], p[:, None] * excess_over(p, d, floor), 0.0), axis=0)
        return jnp.max(jnp.where(allowed, d, -jnp.inf), axis=1), means, jnp.any(allowed, axis=0)

    # Without infinite entries three passes do, and nothing of the size of the matrix is made.
    highest, means, usable = lax.cond(finite, plain, forbidding) if d.size > LARGE else forbidding()
    unit = unit_of(jnp.max(jnp.where((p > 0) & (highest >= floor), highest - floor, 0.0)))
    means = jnp.maximum(means, 0.0) / unit
    best, most = jnp.argmin(means), _log_letters(p, usable)
    if d.size <= LARGE:
        most = jnp.minimum(most, _entropy_of_nearest(p, d, floor, best))
    return Problem(p, d, floor, p @ floor / unit, jnp.min(means), best, unit, usable, most)


def _log_letters(p: Array, usable: Array) -> Array:
    letters = jnp.minimum(jnp.sum(p > 0), jnp.sum(usable)).astype(p.dtype)
    return jnp.log2(letters) * (1 + 4 * jnp.finfo(p.dtype).eps)


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


def unit_of(largest: Array) -> Array:
    # The reciprocal of a larger one would be flushed, and dividing may be multiplying by that.
    return jnp.where(largest > 0, jnp.ldexp(1.0, jnp.clip(jnp.frexp(largest)[1] - 1, -1000, 1000)), 1.0)


def excess(problem: Problem, letters: Array | None = None) -> Array:
    """Excess distortion of some reproduction letters, or of all, in units of the problem.

    Made anew where it is needed: compiled into what uses it, it costs no memory.
    """
    if letters is None:
        d = problem.d if not isinstance(problem.d, Grid | Samples) else _every_column(problem.d)
    else:
        d = _structured.columns(problem.d, letters)
    return excess_over(problem.p, d, problem.floor) / problem.unit


def _every_column(d: Distortion) -> Array:
    return _structured.columns(d, jnp.arange(_structured.shape(d)[1]))


def view(problem: Problem, letters: Array, *, stream: bool = False) -> Array | Columns | Streamed:
    """Excess distortion of some letters, stored only where its structure does not spare it.

    That over samples is not either if one passage over it is all that is asked for.
    """
    if stream and isinstance(problem.d, Samples):
        some = Samples(problem.d.source, problem.d.reproduction[letters])
        return Streamed(some, problem.floor, problem.unit)
    if isinstance(problem.d, Squares):
        return Columns(tuple(table / problem.unit for table in problem.d.offsets), letters, problem.p > 0)
    return excess(problem, letters)


def price(problem: Problem, s: Array, weights: Array) -> tuple[Array, Array]:
    """C of every letter, from p / z, and a bound on the error of a transform it was computed by."""
    if isinstance(problem.d, Squares):
        tables = tuple(table / problem.unit for table in problem.d.offsets)
        return _axes.price(tables, s, weights, scaled_kernel), jnp.zeros_like(s)
    if isinstance(problem.d, Grid | Samples):
        return _structured.price(problem.d, problem.floor, problem.unit, s, weights, scaled_kernel)
    return _priced(problem, s, weights), jnp.zeros_like(s)


def _priced(problem: Problem, s: Array, weights: Array) -> Array:
    p, d = problem.p, jnp.asarray(problem.d)
    if d.size <= STORED:
        return weights @ scaled_kernel(excess(problem), s)

    def part(d: Array, p: Array, floor: Array, weights: Array) -> Array:
        return weights @ scaled_kernel(excess_over(p, d, floor) / problem.unit, s)

    # In blocks of rows that stay in the cache, for storing the kernel would take longer than computing it.
    def add(sum_: Array, start: Array) -> tuple[Array, None]:
        rows = (lax.dynamic_slice_in_dim(x, start, BLOCK) for x in (d, p, problem.floor, weights))
        return sum_ + part(*rows), None

    whole = len(p) // BLOCK * BLOCK
    rest = part(d[whole:], p[whole:], problem.floor[whole:], weights[whole:])
    return lax.scan(add, rest, jnp.arange(0, whole, BLOCK))[0]


def excess_over(p: Array, d: Array, floor: Array) -> Array:
    """Distortion above the row's minimum; zero in rows without mass, whatever they hold."""
    return jnp.where((p > 0)[:, None], d - floor[:, None], 0.0)


def least_distortion(p: Array, d: Array) -> Array:
    """Σ_x p_x min_y d(x, y)."""
    return p @ jnp.where(p > 0, jnp.min(d, axis=1), 0.0)


def excess_over_row(p: Array, d: Array) -> Array:
    """Distortion above the row's minimum; zero in rows without mass, whatever they hold."""
    return jnp.where((p > 0)[:, None], d - jnp.min(d, axis=1, keepdims=True), 0.0)


def scaled_kernel(excess: Array, s: Array) -> Array:
    """2^(-s excess), with inf · 0 read as it is meant at either end: excess zero gives 1, infinite gives 0."""
    exponent = jnp.where((excess > 0) & jnp.isfinite(excess), -s * excess, 0.0)
    return jnp.where(jnp.isfinite(excess), jnp.exp2(exponent), 0.0)


def kernel(excess: Array | Columns | Folded, s: Array) -> Array | Kernel:
    if isinstance(excess, Folded):
        return _mirror.fold_matrix(scaled_kernel(excess.whole, s))
    return _axes.kernel(excess, s, scaled_kernel) if isinstance(excess, Columns) else scaled_kernel(excess, s)


def costs(excess: Array | Folded, kernel: Array, s: Array) -> Array:
    """K excess."""
    if isinstance(excess, Folded):
        return _mirror.fold_matrix(costs(excess.whole, scaled_kernel(excess.whole, s), s))
    return finite_or_zero(excess * kernel)


def sums(excess: Array | Columns | Folded, kernel: Array | Kernel, s: Array, q: Array) -> tuple[Array, Array]:
    """Σ_y q K and Σ_y q K excess, for every x."""
    if isinstance(kernel, Kernel):
        z, spent, _ = _axes.sums(kernel, q)
        return z, spent
    assert not isinstance(excess, Columns)
    return kernel @ q, costs(excess, kernel, s) @ q


def times(s: Array, x: Array) -> Array:
    """S x, with inf · 0 = 0."""
    return jnp.where(x == 0, 0.0, s * x)


def finite_or_zero(x: Array) -> Array:
    """Forbidden letters have probability zero, and 0 · inf is then no cost."""
    return jnp.where(jnp.isfinite(x), x, 0.0)


def smallest(problem: Problem) -> Array:
    """The smallest excess distortion above zero, in units of the problem; infinite if there is none."""
    if isinstance(problem.d, Grid | Samples):
        return _structured.facts(problem.p, problem.d).smallest / problem.unit
    above = excess(problem)
    return jnp.min(jnp.where(above > 0, above, jnp.inf))


def slope_range(problem: Problem) -> tuple[Array, Array, Array]:
    """A slope to begin with, one that acts like zero and one that acts like infinity."""
    if isinstance(problem.d, Grid | Samples):
        largest = _structured.facts(problem.p, problem.d).largest / problem.unit
    else:
        above = excess(problem)
        largest = jnp.max(jnp.where(jnp.isfinite(above), above, 0.0))
    some = largest > 0
    scale = jnp.where(jnp.isfinite(problem.span), problem.span, largest)  # every letter may be forbidden to some other
    # Beyond ten bits for the smallest excess hardly any is left, however little D_max is.
    middle = jnp.minimum(1 / jnp.where(scale > 0, scale, 1.0), jnp.where(some, 10 / smallest(problem), jnp.inf))
    return middle, jnp.where(some, 1e-30 / largest, 1e-30), jnp.where(some, 1e4 / smallest(problem), 1e4)
