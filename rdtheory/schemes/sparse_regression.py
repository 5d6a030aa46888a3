r"""Sparse regression codes: M^L codewords from a matrix of n x ML numbers, searched one column at a time.

The L sections of the design matrix A have M columns each, all entries N(0, 1). A codeword is the sum of one column from
each section, the i-th times cᵢ. The encoder takes from one section after the other the column that points most along
what is still to be described:

    mᵢ = argmax_j ⟨A_j, residual⟩ over section i,    residual <- residual - cᵢ A_{mᵢ},

L M inner products in all; to find the nearest of all codewords would take M^L. As M grows at a fixed rate
R = L log2(M) / n the distortion goes to that of the Gaussian rate-distortion function, like log log M / log M: slowly.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int, PRNGKeyArray

from rdtheory import _checks, _compile, _progress
from rdtheory.results import MeasuredDistortion

__all__ = ["bits", "coefficients", "decode", "encode", "measure", "predicted_distortion"]


def bits(sections: int, section_size: int) -> int:
    """Length of a codeword's name, ⌈L log2 M⌉ bits.

    Parameters
    ----------
    sections, section_size : L, M >= 1, static.

    Raises
    ------
    ValueError : not whole numbers of at least 1.

    Examples
    --------
    >>> bits(100, 512), bits(3, 5)  # 5³ = 125 names
    (900, 7)
    """
    L, M = _checks.count("sections", sections, 1), _checks.count("section_size", section_size, 1)
    return (M**L - 1).bit_length()


def coefficients(
    sections: int, section_size: int, length: int, variance: Float[ArrayLike, ""], *, matched: bool = False
) -> Float[Array, " sections"]:
    r"""What each section's column is multiplied by.

    .. math:: c_i^2 = \sigma^2 \frac{\xi^2}{n} \Big(1 - \frac{\xi^2}{n}\Big)^{i-1}, \qquad \xi^2 = 2 \ln M .

    The largest of M standard normal numbers is about ξ, so the best column of a section explains the share ξ²/n of the
    residual, whose variance before section i is then σ² (1 - ξ²/n)^{i-1}.

    Parameters
    ----------
    sections, section_size, length : L, M, n, static; 2 ln M < n.
    variance : σ² >= 0 of the source.
    matched : for ξ take the mean of the largest of M normal numbers, which is smaller than √(2 ln M). The residual is
        then what the schedule says it is, which counts at high rates.

    Returns
    -------
    coefficients : (L,), positive and decreasing.

    Raises
    ------
    ValueError : a negative variance, sizes that are not whole numbers, a block too short for its sections.

    References
    ----------
    Venkataramanan, Sarkar & Tatikonda (2014), where 2 ln(M)/n is written 2R/L; `matched` is derived here.

    Examples
    --------
    >>> print(coefficients(3, 16, 12, 1.0))
    [0.67977799 0.49856138 0.36565386]
    """
    L, M, n = (_checks.count(*item, 1) for item in _named(sections, section_size, length))
    v, ok = _checks.nonnegative("variance", variance)
    share = (_mean_of_maximum(M) ** 2 if matched else 2 * math.log(M)) / n
    if share >= 1:
        raise ValueError(f"length must be above 2 ln(section_size) = {2 * math.log(M):.3g}, got {n}")
    return _checks.poison(_schedule(v, share, L), ok)


@_progress.doing("sparse_regression.encode")
def encode(
    key: PRNGKeyArray, source: Float[ArrayLike, " n"], coefficients: Float[ArrayLike, " sections"], section_size: int
) -> Int[Array, " sections"]:
    """The columns that describe a block, one of each section.

    Parameters
    ----------
    key : names the code: the decoder must be given the same.
    source : (n,), to be described.
    coefficients : (L,), see `coefficients`.
    section_size : M >= 1, static.

    Returns
    -------
    indices : (L,), in [0, M). They take 2 n M L operations, and the memory of one section, n M numbers; under `vmap`
        over sources alone the sections are generated once for all.

    Raises
    ------
    ValueError : not vectors, values that are not finite, no columns.

    References
    ----------
    Venkataramanan, Sarkar & Tatikonda (2014).

    Examples
    --------
    >>> c = coefficients(16, 64, 48, 1.0)  # 2 bits per symbol
    >>> source = jax.random.normal(jax.random.key(0), (48,))
    >>> indices = encode(jax.random.key(1), source, c, 64)
    >>> error = source - decode(jax.random.key(1), indices, c, 48)
    >>> print(f"{jnp.mean(error**2) / jnp.mean(source**2):.2f} of the variance is left")
    0.12 of the variance is left
    """
    s, s_ok = _checks.finite("source", source, 1)
    c, c_ok = _checks.finite("coefficients", coefficients, 1)
    return _checks.poison(_encode(key, s, c, _checks.count("section_size", section_size, 1)), s_ok & c_ok)


def decode(
    key: PRNGKeyArray, indices: Int[ArrayLike, " sections"], coefficients: Float[ArrayLike, " sections"], length: int
) -> Float[Array, " n"]:
    """The codeword Σ cᵢ A_{mᵢ}.

    Parameters
    ----------
    key, coefficients : as the encoder had them.
    indices : (L,), from `encode`.
    length : n >= 1, static.

    Returns
    -------
    reconstruction : (n,). Only the L columns in it are generated: 2 n L operations.

    Raises
    ------
    ValueError : shapes disagree, values that are not finite.

    Examples
    --------
    >>> decode(jax.random.key(1), jnp.array([5, 0, 2]), coefficients(3, 16, 12, 1.0), 12).shape
    (12,)
    """
    c, ok = _checks.finite("coefficients", coefficients, 1)
    m = _checks.stored(indices)
    if m.shape != c.shape or not jnp.issubdtype(m.dtype, jnp.integer):
        raise ValueError(f"indices must be {len(c)} whole numbers, one for each section, got {m.dtype}{m.shape}")
    return _checks.poison(_decode(key, m, c, _checks.count("length", length, 1)), ok)


def predicted_distortion(
    coefficients: Float[ArrayLike, " sections"], section_size: int, length: int, variance: Float[ArrayLike, ""]
) -> Float[Array, ""]:
    r"""Squared error per symbol that the sequential encoder comes to, fluctuations of the residual left out.

    .. math:: D_i = D_{i-1} + c_i^2 \Big(1 + \frac{E\xi^2 - 1}{n}\Big) - 2 c_i \sqrt{D_{i-1}} \frac{E\xi}{\sqrt n},
              \qquad D_0 = \sigma^2,

    with ξ the largest of M standard normal numbers. Each step is the exact mean given the residual before it, so what
    is left out is of order 1/n. With the matched schedule, for long blocks, it is
    :math:`\sigma^2 2^{-2R (E\xi)^2 / (2\ln M)}`: of R bits per symbol, R (1 - (Eξ)²/(2 ln M)) are lost to searching the
    sections one by one, about R (ln(4π ln M) - 2γ) / (2 ln M), γ = 0.577.

    Parameters
    ----------
    coefficients : (L,), see `coefficients`.
    section_size, length : M, n, static.
    variance : σ² >= 0 of the source.

    Raises
    ------
    ValueError : a negative variance, values that are not finite, sizes that are not whole numbers.

    Examples
    --------
    >>> for M in (2**5, 2**10, 2**15):  # at one bit per symbol, where R(D) allows 0.25
    ...     L = round(2000 / np.log2(M))
    ...     print(f"{predicted_distortion(coefficients(L, M, 2000, 1.0), M, 2000, 1.0):.3f}")
    0.432
    0.351
    0.324
    """
    M, n = _checks.count("section_size", section_size, 1), _checks.count("length", length, 1)
    c, c_ok = _checks.finite("coefficients", coefficients, 1)
    v, v_ok = _checks.nonnegative("variance", variance)
    mean, square = _mean_of_maximum(M), _mean_of_maximum(M, 2)

    def section(left: Array, c: Array) -> tuple[Array, None]:
        return left + c**2 * (1 + (square - 1) / n) - 2 * c * jnp.sqrt(left) * mean / math.sqrt(n), None

    return _checks.poison(lax.scan(section, v, c)[0], c_ok & v_ok)


@_progress.doing("sparse_regression.measure")
def measure(
    key: PRNGKeyArray, sections: int, section_size: int, length: int, *, blocks: int, matched: bool = False
) -> MeasuredDistortion:
    """Squared error on blocks of a standard Gaussian source, all described by one code.

    Parameters
    ----------
    key : for the code and the source.
    sections, section_size, length : L, M, n, static.
    blocks : number of blocks, at least 2, static.
    matched : as in `coefficients`.

    Returns
    -------
    MeasuredDistortion
        ``distortion`` per symbol, of the one code that this key draws; its ``standard_error`` over the blocks;
        ``rate`` = ⌈L log2 M⌉/n bits per symbol.

    Raises
    ------
    ValueError : as `coefficients`; fewer than two blocks.

    Examples
    --------
    >>> result = measure(jax.random.key(0), 32, 64, 192, blocks=100)
    >>> print(f"{result.rate} bit, D = {result.distortion:.3f} ± {result.standard_error:.3f}")
    1.0 bit, D = 0.421 ± 0.005
    """
    L, M, n = (_checks.count(*item, 1) for item in _named(sections, section_size, length))
    c = coefficients(L, M, n, 1.0, matched=matched)
    return _measure(key, c, M, n, _checks.count("blocks", blocks, 2))._replace(rate=jnp.asarray(bits(L, M) / n))


@functools.partial(_compile.jit, static_argnums=2)
def _schedule(variance: Array, share: ArrayLike, sections: int) -> Array:
    return jnp.sqrt(variance * share * (1 - share) ** jnp.arange(sections))


@functools.partial(_compile.jit, static_argnums=3)
def _encode(key: Array, source: Array, c: Array, M: int) -> Array:
    def section(residual: Array, this: tuple[Array, Array]) -> tuple[Array, Array]:
        i, c = this
        columns = jax.vmap(lambda j: _column(key, i, j, len(source)))(jnp.arange(M))
        best = jnp.argmax(columns @ residual)
        return residual - c * columns[best], best

    return lax.scan(section, source, (jnp.arange(len(c)), c))[1]


@functools.partial(_compile.jit, static_argnums=3)
def _decode(key: Array, indices: Array, c: Array, n: int) -> Array:
    columns = jax.vmap(lambda i, j: _column(key, i, j, n))(jnp.arange(len(c)), indices)
    return c @ columns


@functools.partial(_compile.jit, static_argnums=(2, 3, 4))
def _measure(key: Array, c: Array, M: int, n: int, blocks: int) -> MeasuredDistortion:
    code, draw = jax.random.split(key)
    source = jax.random.normal(draw, (blocks, n))
    indices = jax.vmap(lambda s: _encode(code, s, c, M))(source)
    errors = jnp.mean((source - jax.vmap(lambda m: _decode(code, m, c, n))(indices)) ** 2, axis=1)
    return MeasuredDistortion(jnp.mean(errors), jnp.std(errors, ddof=1) / math.sqrt(blocks), jnp.zeros(()))


def _column(key: Array, section: Array, column: Array, n: int) -> Array:
    """A column has a key of its own, so that the decoder need not generate the others."""
    return jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, section), column), (n,))


@functools.cache
def _mean_of_maximum(M: int, power: int = 1) -> float:
    """Mean of the largest of M standard normal numbers, or of its square, by the trapezoidal rule."""
    x = np.linspace(-12.0, 12.0, 4001)  # for smooth integrands that vanish at the ends: exact to rounding
    density = M * np.exp((M - 1) * scipy.special.log_ndtr(x) - x**2 / 2) / math.sqrt(2 * math.pi)
    return float(np.sum(x**power * density) * (x[1] - x[0]))


def _named(sections: int, section_size: int, length: int) -> tuple[tuple[str, int], ...]:
    return ("sections", sections), ("section_size", section_size), ("length", length)
