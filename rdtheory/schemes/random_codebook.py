r"""Shannon's code, literally: codewords drawn from the optimal output law, and a search for the nearest.

For weights N(0, σᵢ²), a diagonal linear model of input variances λᵢ and errors Dᵢ from water-filling, the codewords are
N(0, σᵢ² - Dᵢ), or the same put on an ellipsoid, and w is described by the number of the one that minimizes

    d(w, ŵ) = Σᵢ λᵢ (wᵢ - ŵᵢ)².

This is how achievability is proved and why the paper calls its scheme intractable: the search takes 2^rate codewords,
so vectors stay short, and short vectors pay for it (see finite blocklengths). With λᵢ = 1/n the distortion is that per
symbol of a block of n. The codebook is drawn in pieces from a key and never held.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int, PRNGKeyArray

from rdtheory import _checks, _compile, _progress
from rdtheory.results import ExcessRate, MeasuredDistortion, NearestCodeword

__all__ = ["decode", "encode", "measure", "rate_for_excess"]

PIECE = 2**12  # codewords held at a time
LARGEST = 2**30  # so that no number of a codeword overflows 32 bits


@_progress.doing("random_codebook.encode")
def encode(
    key: PRNGKeyArray,
    weights: Float[ArrayLike, " m"],
    codeword_variances: Float[ArrayLike, " m"],
    input_variances: Float[ArrayLike, " m"],
    codewords: int,
    *,
    spherical: bool = False,
) -> NearestCodeword:
    """The nearest of so many codewords.

    Parameters
    ----------
    key : names the codebook: the decoder must be given the same.
    weights : (m,), to be described.
    codeword_variances : (m,), >= 0, σᵢ² - Dᵢ. A zero is a weight that is not described.
    input_variances : (m,), >= 0, λ.
    codewords : N >= 1, at most 2³⁰, static. Most of the search is to draw them.
    spherical : codewords with Σ ŵᵢ²/variance equal to its mean, the number of weights described, and uniform otherwise.

    Returns
    -------
    NearestCodeword
        ``index`` in [0, N), ``distortion``.

    Raises
    ------
    ValueError : shapes disagree, a negative variance, values that are not finite, no codeword.

    References
    ----------
    Shannon (1959); Gao, Liu, Wang & Oh (2019), Theorem 2; Sakrison (1968) for codewords on a sphere.

    Examples
    --------
    >>> key, w, ones = jax.random.key(0), jnp.array([1.0, -0.5]), jnp.ones(2)
    >>> found = encode(key, w, 0.75 * ones, ones, 16)  # 2 bits per weight
    >>> print(f"{found.distortion:.4f} {jnp.sum((w - decode(key, found.index, 0.75 * ones)) ** 2):.4f}")
    0.1299 0.1299
    """
    w, v, a, ok = _block(weights, codeword_variances, input_variances)
    N = _checks.count("codewords", codewords, 1, LARGEST)
    return _checks.poison(_nearest(key, w, v, a, N, bool(spherical)), ok)


def decode(
    key: PRNGKeyArray, index: Int[ArrayLike, ""], codeword_variances: Float[ArrayLike, " m"], *, spherical: bool = False
) -> Float[Array, " m"]:
    """The codeword of that number; no other is drawn.

    Parameters
    ----------
    key, codeword_variances, spherical : as the encoder had them.
    index : from `encode`.

    Returns
    -------
    weights_hat : (m,).

    Raises
    ------
    ValueError : a negative variance.

    Examples
    --------
    >>> decode(jax.random.key(0), 3, jnp.array([1.0, 0.0])).shape
    (2,)
    """
    v, ok = _checks.nonnegative("codeword_variances", codeword_variances, 1)
    return _checks.poison(_drawn(key, _checks.stored(index), v, bool(spherical)), ok)


@_progress.doing("random_codebook.measure")
def measure(
    key: PRNGKeyArray,
    weight_variances: Float[ArrayLike, " m"],
    codeword_variances: Float[ArrayLike, " m"],
    input_variances: Float[ArrayLike, " m"],
    codewords: int,
    *,
    codebooks: int,
    vectors: int,
    spherical: bool = False,
) -> MeasuredDistortion:
    """Mean distortion over Gaussian weights and over codebooks.

    Parameters
    ----------
    key : for the codebooks and the weights.
    weight_variances : (m,), >= 0, σ².
    codeword_variances, input_variances, codewords, spherical : as in `encode`.
    codebooks : how many are drawn, at least 2, static.
    vectors : weight vectors described with each, static.

    Returns
    -------
    MeasuredDistortion
        ``distortion``, its ``standard_error`` (from the means of the codebooks, since vectors described with one are
        not independent), ``rate`` = ⌈log2 N⌉ bits per weight vector.

    Raises
    ------
    ValueError : as `encode`; fewer than two codebooks.

    Examples
    --------
    >>> n = 8  # one bit per symbol, where R(D) allows 0.25
    >>> ones = jnp.ones(n)
    >>> found = measure(jax.random.key(0), ones, 0.75 * ones, ones / n, 2**n, codebooks=50, vectors=50)
    >>> print(f"{found.distortion:.3f} ± {found.standard_error:.3f} at {found.rate} bits")
    0.358 ± 0.005 at 8.0 bits
    """
    w, v, a, ok = _block(weight_variances, codeword_variances, input_variances, "weight_variances")
    _, w_ok = _checks.nonnegative("weight_variances", w, 1)
    N = _checks.count("codewords", codewords, 1, LARGEST)
    sizes = _checks.count("codebooks", codebooks, 2), _checks.count("vectors", vectors, 1)
    return _checks.poison(_measure(key, w, v, a, N, *sizes, bool(spherical)), ok & w_ok)


def rate_for_excess(
    key: PRNGKeyArray,
    weight_variances: Float[ArrayLike, " m"],
    codeword_variances: Float[ArrayLike, " m"],
    input_variances: Float[ArrayLike, " m"],
    distortion: Float[ArrayLike, ""],
    probability: float,
    *,
    trials: int,
    limit: int,
    spherical: bool = False,
) -> ExcessRate:
    """Logarithm of the least codebook that leaves Gaussian weights farther than D with at most this probability.

    The chance that none of N codewords is within D is the chance that the first such one comes after N: so the answer
    is a quantile of the first within D, over weights and codebooks.

    Parameters
    ----------
    key : for the codebooks and the weights.
    weight_variances, codeword_variances, input_variances, spherical : as in `measure`.
    distortion : D >= 0.
    probability : ε, in (0, 1), static.
    trials : weight vectors, each with a codebook of its own, static.
    limit : codewords looked at in each trial, static.

    Returns
    -------
    ExcessRate
        ``rate`` in bits per weight vector and an interval ``low``, ``high`` that holds the true one with probability
        95 % (order statistics two standard errors away). Infinite where too few trials ended within the limit, as on
        a sphere whatever the limit, for weights farther from it than D; ``high`` is infinite for too few trials.

    Raises
    ------
    ValueError : as `encode`; D < 0; a probability outside (0, 1).

    Examples
    --------
    >>> ones = jnp.ones(4)
    >>> needed = rate_for_excess(
    ...     jax.random.key(0), ones, 0.75 * ones, ones / 4, 0.25, 0.1, trials=400, limit=10**5
    ... )
    >>> print(f"{needed.rate:.1f} bits, in [{needed.low:.1f}, {needed.high:.1f}]; R(D) is 4")
    8.5 bits, in [8.1, 9.2]; R(D) is 4
    """
    w, v, a, ok = _block(weight_variances, codeword_variances, input_variances, "weight_variances")
    _, w_ok = _checks.nonnegative("weight_variances", w, 1)
    D, D_ok = _checks.nonnegative("distortion", distortion)
    if not 0 < probability < 1:
        raise ValueError(f"probability must be in (0, 1) (static under jit), got {probability!r}")
    T, limit = _checks.count("trials", trials, 1), _checks.count("limit", limit, 1, LARGEST)
    # Of the waits in ascending order, the first at which at most εT are longer.
    rank, spread = T - math.floor(probability * T + 1e-9), 2 * math.sqrt(T * probability * (1 - probability))
    ranks = tuple(min(max(k, 0), T + 1) for k in (rank, math.floor(rank - spread), math.ceil(rank + spread) + 1))
    return _checks.poison(_excess(key, w, v, a, D, T, limit, bool(spherical), ranks), ok & w_ok & D_ok)


def _codeword(key: Array, index: Array, deviations: Array, spherical: bool) -> Array:
    """Each has a key of its own, so that the decoder need not draw the others."""
    direction = jax.random.normal(jax.random.fold_in(key, index), deviations.shape)
    if spherical:
        described = deviations > 0
        direction = jnp.where(described, direction, 0.0)
        power = jnp.maximum(jnp.sum(direction**2), jnp.finfo(direction.dtype).tiny)
        direction *= jnp.sqrt(jnp.sum(described) / power)
    return deviations * direction


def _distances(key: Array, indices: Array, w: Array, deviations: Array, a: Array, spherical: bool) -> Array:
    """Distortions less that of the zero codeword. The weights are in a product only: for many it is one of matrices."""
    drawn = jax.vmap(lambda index: _codeword(key, index, deviations, spherical))(indices)
    return drawn**2 @ a - 2 * drawn @ (a * w)


@functools.partial(_compile.jit, static_argnums=3)
def _drawn(key: Array, index: Array, variances: Array, spherical: bool) -> Array:
    return _codeword(key, index, jnp.sqrt(variances), spherical)


@functools.partial(_compile.jit, lengthy=0, static_argnums=(4, 5))
def _nearest(key: Array, w: Array, variances: Array, a: Array, N: int, spherical: bool) -> NearestCodeword:
    piece, deviations = min(N, PIECE), jnp.sqrt(variances)

    def look(best: tuple[Array, Array], start: Array) -> tuple[tuple[Array, Array], None]:
        indices = start + jnp.arange(piece)
        distances = _distances(key, indices, w, deviations, a, spherical)
        distances = jnp.where(indices < N, distances, jnp.inf)
        i = jnp.argmin(distances)
        closer = distances[i] < best[0]
        return (jnp.where(closer, distances[i], best[0]), jnp.where(closer, indices[i], best[1])), None

    starts = jnp.arange(0, N, piece)
    (_, index), _ = lax.scan(look, (jnp.full((), jnp.inf), jnp.zeros((), starts.dtype)), starts)
    return NearestCodeword(index, jnp.sum(a * (w - _codeword(key, index, deviations, spherical)) ** 2))


@functools.partial(_compile.jit, lengthy=0, static_argnums=(5, 6))
def _first_within(
    key: Array, w: Array, deviations: Array, a: Array, D: Array, limit: int, spherical: bool
) -> tuple[Array, Array]:
    """Number of the first codeword within D, and whether there is one below the limit."""
    piece = min(limit, PIECE)
    target = D - jnp.sum(a * w**2)

    def look(state: tuple[Array, Array]) -> tuple[Array, Array]:
        indices = state[0] + jnp.arange(piece)
        within = (_distances(key, indices, w, deviations, a, spherical) <= target) & (indices < limit)
        found = jnp.any(within)
        return jnp.where(found, indices[jnp.argmax(within)], state[0] + piece), found

    start = jnp.zeros((), jnp.arange(1).dtype), jnp.zeros((), bool)
    index, found = lax.while_loop(lambda state: ~state[1] & (state[0] < limit), look, start)
    return index, found


@functools.partial(_compile.jit, lengthy=0, static_argnums=(4, 5, 6, 7))
def _measure(
    key: Array, powers: Array, variances: Array, a: Array, N: int, codebooks: int, vectors: int, spherical: bool
) -> MeasuredDistortion:
    spread = jnp.sqrt(powers)

    def mean(key: Array) -> Array:
        draw, book = jax.random.split(key)
        weights = spread[None, :] * jax.random.normal(draw, (vectors, len(spread)))
        return jnp.mean(jax.vmap(lambda w: _nearest(book, w, variances, a, N, spherical).distortion)(weights))

    means = lax.map(mean, jax.random.split(key, codebooks))
    error = jnp.std(means, ddof=1) / math.sqrt(codebooks)
    return MeasuredDistortion(jnp.mean(means), error, jnp.asarray(float((N - 1).bit_length())))


@functools.partial(_compile.jit, lengthy=0, static_argnums=(5, 6, 7, 8))
def _excess(
    key: Array,
    powers: Array,
    variances: Array,
    a: Array,
    D: Array,
    trials: int,
    limit: int,
    spherical: bool,
    ranks: tuple[int, ...],
) -> ExcessRate:
    """Logarithms of how many codewords it takes to come within D, at these ranks of all trials in ascending order.

    Infinite where the limit is not enough, and beyond the last rank; before the first, 0.
    """
    spread, deviations = jnp.sqrt(powers), jnp.sqrt(variances)

    def wait(key: Array) -> Array:
        draw, book = jax.random.split(key)
        w = spread * jax.random.normal(draw, spread.shape)
        index, found = _first_within(book, w, deviations, a, D, limit, spherical)
        return jnp.where(found, 1.0 + index, jnp.inf)

    waits = lax.map(wait, jax.random.split(key, trials))
    bits = jnp.concatenate([jnp.zeros(1), jnp.log2(jnp.sort(waits)), jnp.full(1, jnp.inf)])
    return ExcessRate(*(bits[k] for k in ranks))


def _block(
    weights: ArrayLike, codeword_variances: ArrayLike, input_variances: ArrayLike, name: str = "weights"
) -> tuple[Array, Array, Array, _checks.Flag]:
    w, w_ok = _checks.finite(name, weights, 1)
    v, v_ok = _checks.nonnegative("codeword_variances", codeword_variances, 1)
    a, a_ok = _checks.nonnegative("input_variances", input_variances, 1)
    _checks.array("codeword_variances", v, shape=w.shape)
    _checks.array("input_variances", a, shape=w.shape)
    return w, v, a, w_ok & v_ok & a_ok
