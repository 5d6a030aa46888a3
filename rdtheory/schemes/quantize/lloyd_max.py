"""Codebooks improved step by step: Lloyd's iteration, plain and under an entropy constraint."""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _progress
from rdtheory.results import EntropyConstrained, FittedCodebook
from rdtheory.schemes.quantize.sizes import ENTRY_BITS, size_of, size_of_counts

__all__ = ["entropy_constrained", "like", "lloyd", "weighted"]


@_progress.doing("quantize.lloyd")
def lloyd(
    values: Float[ArrayLike, "..."],
    levels: int,
    importance: Float[ArrayLike, "..."] | None = None,
    *,
    start: Float[ArrayLike, " levels"] | None = None,
    max_steps: int = 1000,
) -> FittedCodebook:
    """Lloyd's iteration: nearest values and weighted means in turn. A local optimum; `kmeans` is the global one.

    Parameters
    ----------
    values, levels, importance : as for `kmeans`.
    start : the first codebook (levels,); without it, values evenly spaced from the least weight to the largest, as
        in Deep Compression.
    max_steps : iterations at most, static.

    Returns
    -------
    FittedCodebook : as from `kmeans`, with ``converged`` and ``steps``. A cell without a weight keeps its value.

    Raises
    ------
    ValueError : as for `kmeans`; a start of another length.

    References
    ----------
    Lloyd (1982); Han, Mao & Dally (2016).

    Examples
    --------
    >>> print(lloyd(jnp.array([0.0, 1.0, 5.0, 7.0]), 2).codebook)
    [0.5 6. ]
    """
    w, a, ok = weighted(values, importance)
    first, first_ok = _start(w, levels, start)
    result = _iterate(w, a, first, _checks.count("max_steps", max_steps, 1))
    return _checks.poison(result, ok & first_ok)


@_progress.doing("quantize.entropy_constrained")
def entropy_constrained(
    values: Float[ArrayLike, "..."],
    levels: int,
    slope: Float[ArrayLike, ""],
    importance: Float[ArrayLike, "..."] | None = None,
    *,
    start: Float[ArrayLike, " levels"] | None = None,
    max_steps: int = 1000,
) -> EntropyConstrained:
    r"""Codebook for labels that an entropy coder stores: bits and weighted squared error weighed against each other.

    .. math:: \min\ n H(\text{labels}) + s \sum_i I_i (w_i - c_{\text{label}_i})^2 .

    Each label is the one whose code length plus s I (w - c)² is least, then values and code lengths follow; neither can
    make the sum larger. A local optimum, deterministic, that depends on the start. A label that dies out stays out, so
    `levels` is the most there can be.

    Parameters
    ----------
    values, levels, importance, max_steps : as for `lloyd`.
    slope : s >= 0, bits per unit of weighted squared error.
    start : the first codebook (levels,); without it, multiples of Δ = √(6 / (s mean(I) ln 2)), the best grid at high
        rate, or of as much more as `levels` of them need to reach from the least weight to the largest.

    Returns
    -------
    EntropyConstrained : with the ``lagrangian`` that was minimized; ``size`` counts only the labels left, and
        log2(levels) bits that say how many.

    Raises
    ------
    ValueError : as for `lloyd`; a negative slope.

    References
    ----------
    Chou, Lookabaugh & Gray (1989).

    Examples
    --------
    >>> values = jax.random.normal(jax.random.key(0), (1000,))
    >>> found = entropy_constrained(values, 32, 30.0)
    >>> print(f"{found.used} labels, {found.size.rate:.2f} bits, of them {found.size.labels / 1000:.2f} for the labels")
    13 labels, 3.48 bits, of them 3.02 for the labels
    """
    w, a, ok = weighted(values, importance)
    s, s_ok = _checks.nonnegative("slope", slope)
    first, first_ok = _start(w, levels, _grid(w, a, s, levels) if start is None else start)
    result = _iterate_constrained(w, a, s, first, _checks.count("max_steps", max_steps, 1))
    return _checks.poison(result, ok & first_ok & s_ok)


@functools.partial(_compile.jit, static_argnums=3)
def _iterate(values: Array, importance: Array, start: Array, max_steps: int) -> FittedCodebook:
    """Nearest values and weighted means in turn, until no mean moves a weight to another cell."""
    kind, values = values.dtype, values.astype(float)
    flat, levels = values.ravel(), len(start)
    order = jnp.argsort(flat)
    points, weight = flat[order], _relative(importance).ravel()[order]
    middle = jnp.mean(points)  # sums about a far zero would lose their digits
    zero = jnp.zeros(1, points.dtype)
    mass, moment = (jnp.concatenate([zero, jnp.cumsum(x)]) for x in (weight, weight * (points - middle)))

    def breaks(codebook: Array) -> Array:
        return jnp.searchsorted(points, (codebook[1:] + codebook[:-1]) / 2, side="right")

    def means(codebook: Array) -> Array:
        ends = jnp.concatenate([jnp.zeros(1, int), breaks(codebook), jnp.full(1, len(points))])
        total, sums = jnp.diff(mass[ends]), jnp.diff(moment[ends])
        # A cell without weight keeps its value. Rounding of the sums must not put a mean out of order.
        return jnp.sort(jnp.where(total > 0, middle + sums / jnp.where(total > 0, total, 1.0), codebook))

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        codebook, _, count = state
        found = means(codebook)
        return found, jnp.all(breaks(found) == breaks(codebook)), count + 1

    state = (jnp.sort(start), jnp.array(False), jnp.array(0))
    codebook, converged, steps = lax.while_loop(lambda s: ~s[1] & (s[2] < max_steps), step, state)
    stored = codebook.astype(kind)
    codebook = stored.astype(float)
    labels = jnp.searchsorted((codebook[1:] + codebook[:-1]) / 2, flat).reshape(values.shape)
    objective = jnp.sum(importance * (values - codebook[labels]) ** 2)
    size = size_of(labels, levels=levels, codebook_bits=ENTRY_BITS * levels)
    return FittedCodebook(stored, labels, objective, size, converged, steps)


@functools.partial(_compile.jit, static_argnums=4)
def _iterate_constrained(
    values: Array, importance: Array, slope: Array, start: Array, max_steps: int
) -> EntropyConstrained:
    """Cheapest label, code length included, and weighted means and new code lengths in turn."""
    kind, values = values.dtype, values.astype(float)
    flat, weight, levels = values.ravel(), importance.ravel(), len(start)

    def cheapest(codebook: Array, lengths: Array) -> Array:
        def compare(k: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
            least, labels = best
            price = slope * weight * (flat - codebook[k]) ** 2 + lengths[k]
            return jnp.minimum(price, least), jnp.where(price < least, k, labels)

        return lax.fori_loop(0, levels, compare, (jnp.full_like(flat, jnp.inf), jnp.zeros(flat.shape, int)))[1]

    def summed(labels: Array, terms: Array) -> Array:
        return jnp.zeros(levels, flat.dtype).at[labels].add(terms)

    def described(labels: Array, codebook: Array) -> tuple[Array, Array]:
        total = summed(labels, _relative(weight))
        away = summed(labels, _relative(weight) * (flat - codebook[labels]))
        codebook = codebook + jnp.where(total > 0, away / jnp.where(total > 0, total, 1.0), 0.0)
        counts = summed(labels, jnp.ones_like(flat))
        return codebook, jnp.log2(len(flat) / counts)  # infinite for a label that has died out

    def step(state):
        codebook, lengths, labels, _, count = state
        codebook, lengths = described(labels, codebook)
        found = cheapest(codebook, lengths)
        return codebook, lengths, found, jnp.all(found == labels), count + 1

    equal = jnp.zeros(levels, flat.dtype)
    state = (start, equal, cheapest(start, equal), jnp.array(False), jnp.array(0))
    state = lax.while_loop(lambda s: ~s[3] & (s[4] < max_steps), step, state)
    codebook, _, labels, converged, steps = state
    codebook, lengths = described(labels, codebook)
    # Those in use first, ascending; the rest repeats the last.
    used = jnp.isfinite(lengths)
    order = jnp.argsort(jnp.where(used, codebook, jnp.inf))
    count = jnp.sum(used)
    labels = jnp.argsort(order)[labels].reshape(values.shape)
    codebook = codebook[order][jnp.minimum(jnp.arange(levels), count - 1)].astype(kind)
    objective = jnp.sum(importance * (values - codebook.astype(float)[labels]) ** 2)
    side = jnp.stack([ENTRY_BITS * count, jnp.zeros(()), jnp.array(math.log2(levels))]).astype(flat.dtype)
    size = size_of_counts(summed(labels.ravel(), jnp.ones_like(flat)), count, side)
    return EntropyConstrained(
        codebook, labels, objective, size, converged, steps, size.labels + slope * objective, count
    )


def _grid(w: Array, importance: Array, slope: Array, levels: int) -> Array:
    """At high rate D = mean(I) Δ²/12 of each weight, and slope = -dR/dD = 1 / (2 D ln 2)."""
    levels = _checks.count("levels", levels, 1)
    least, largest = jnp.min(w).astype(float), jnp.max(w).astype(float)
    price = slope * jnp.mean(importance)
    step = jnp.where(price > 0, jnp.sqrt(6 / jnp.log(2.0) / jnp.where(price > 0, price, 1.0)), jnp.inf)
    step = jnp.clip(step, (largest - least) / max(levels - 1, 1), jnp.maximum(largest - least, 1.0))
    return (jnp.floor(least / step) + jnp.arange(levels)) * step


def _start(w: Array, levels: int, start: ArrayLike | None) -> tuple[Array, _checks.Flag]:
    levels = _checks.count("levels", levels, 1)
    if start is None:
        return jnp.linspace(jnp.min(w).astype(float), jnp.max(w).astype(float), levels), np.True_
    return _checks.finite("start", start, shape=(levels,))


def weighted(values: ArrayLike, importance: ArrayLike | None) -> tuple[Array, Array, _checks.Flag]:
    """Weights, of squares that are numbers, with their importance, one each without it.

    Examples
    --------
    >>> print(weighted(jnp.array([2.0, 3.0]), None)[1])
    [1. 1.]
    """
    w, w_ok = _checks.weights("values", values)
    limit, (_, v) = math.sqrt(jnp.finfo(jnp.result_type(float)).max) / 4, _checks.look(w)
    w_ok &= _checks.holds(
        abs(v).max().astype(float) <= limit,
        lambda: f"values must be at most {limit:.1e} in absolute value, for squares to be numbers; scale them down",
    )
    if importance is None:
        return w, jnp.ones(w.shape), w_ok
    a, a_ok = like("importance", importance, w)
    return w, a, w_ok & a_ok


def like(name: str, value: ArrayLike, w: Array) -> tuple[Array, _checks.Flag]:
    """Numbers >= 0 in the shape of the weights.

    Examples
    --------
    >>> print(like("importance", np.array([1, 2]), jnp.zeros(2))[0])
    [1. 2.]
    """
    given = _checks.array(name, value, shape=w.shape)
    return _checks.nonnegative(name, given, ndim=w.ndim)


def _relative(importance: Array) -> Array:
    """In units of the largest; where nothing matters, all alike."""
    # The reciprocal of a number at the end of the range, which division may turn into, is flushed to zero.
    importance = importance * jnp.where(jnp.max(importance) > jnp.finfo(importance.dtype).max / 2**16, 2.0**-16, 1.0)
    largest = jnp.max(importance)
    return jnp.where(largest > 0, importance / jnp.where(largest > 0, largest, 1.0), 1.0)
