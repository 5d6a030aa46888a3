"""Rate-distortion functions that have a formula. No solver is used here, so each is an independent oracle for one."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import entr
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile
from rdtheory.limits.gaussian import fill, pour
from rdtheory.results import LaplacianOutput

__all__ = [
    "bernoulli",
    "erasure",
    "exponential",
    "gaussian",
    "hamming",
    "laplacian",
    "laplacian_output",
    "uniform_hamming",
    "vector_gaussian",
]

LN2 = math.log(2)


def bernoulli(probability: Float[ArrayLike, ""], distortion: Float[ArrayLike, ""]) -> Float[Array, ""]:
    r"""Biased coin, probability of error: :math:`R(D) = h(p) - h(D)` for :math:`D < \min(p, 1-p)`, else 0.

    Parameters
    ----------
    probability : p in [0, 1].
    distortion : D >= 0, per symbol.

    Returns
    -------
    R(D) in bits per symbol, differentiable in both arguments where it is positive and D > 0.

    References
    ----------
    Shannon (1959); Cover & Thomas, Theorem 10.3.1.

    Examples
    --------
    >>> print(f"{bernoulli(0.5, 0.11):.9f}")
    0.500084042
    """
    p, p_ok = _checks.nonnegative("probability", probability)
    p_ok &= _checks.holds(_checks.look(p)[1] <= 1, lambda: f"probability must be at most 1, got {float(p)}")
    D, D_ok = _checks.nonnegative("distortion", distortion)
    return _checks.poison(_bernoulli(p, D), p_ok & D_ok)


def uniform_hamming(letters: int, distortion: Float[ArrayLike, ""]) -> Float[Array, ""]:
    r"""Fair M-sided die, probability of error: :math:`R(D) = \log M - h(D) - D \log(M-1)` for :math:`D < 1 - 1/M`.

    Parameters
    ----------
    letters : M >= 1.
    distortion : D >= 0, per symbol.

    Returns
    -------
    R(D) in bits per symbol, differentiable in D where it is positive and D > 0.

    References
    ----------
    Cover & Thomas, problem 10.5.

    Examples
    --------
    >>> print(f"{uniform_hamming(6, 0.1):.9f}")
    1.883774098
    """
    letters = _checks.count("letters", letters, 1)
    D, ok = _checks.nonnegative("distortion", distortion)
    return _checks.poison(_uniform_hamming(letters, D), ok)


def hamming(source_pmf: Float[ArrayLike, " n"], distortion: Float[ArrayLike, ""]) -> Float[Array, ""]:
    r"""Any finite source, probability of error (Erokhin).

    With the probabilities in descending order, k letters are reproduced and the rest, of total mass T, never:

    .. math:: R(D) = -\sum_{i\le k} p_i\log p_i + (1-D)\log(1-D) + (k-1)\,\tau\log\tau, \quad
              \tau = \frac{D - T}{k-1}, \quad p_{k+1} \le \tau < p_k .

    Parameters
    ----------
    source_pmf : (n,), sums to 1, in any order.
    distortion : D >= 0, per symbol.

    Returns
    -------
    R(D) in bits per symbol, differentiable in D where it is positive and D > 0.

    References
    ----------
    Erokhin (1958); derived from the KKT conditions: the output is q_i ∝ (p_i - τ)⁺.

    Examples
    --------
    >>> print(f"{hamming(jnp.array([0.7, 0.2, 0.1]), 0.25):.9f}")
    0.102763876
    """
    p, p_ok = _checks.pmf("source_pmf", source_pmf)
    D, D_ok = _checks.nonnegative("distortion", distortion)
    return _checks.poison(_hamming(p, D), p_ok & D_ok)


def erasure(source_pmf: Float[ArrayLike, " n"], distortion: Float[ArrayLike, ""]) -> Float[Array, ""]:
    r"""Any finite source whose letters may be erased at cost 1 but never reproduced wrongly.

    The erased mass D is spread as evenly as the source allows, since R(D) = H(X) - D · H(X | erased):

    .. math:: R(D) = H(p) + \sum_x u_x \log u_x - D\log D, \quad u_x = \min(p_x, t), \quad \sum_x u_x = D .

    For a fair die it is (1 - D) log M.

    Parameters
    ----------
    source_pmf : (n,), sums to 1.
    distortion : D >= 0, the fraction of letters that may be erased.

    Returns
    -------
    R(D) in bits per symbol, differentiable where it is positive and D > 0.

    References
    ----------
    Cover & Thomas, problem 10.7 for the fair coin; the general source follows from maximizing H(X | erased).

    Examples
    --------
    >>> print(f"{erasure(jnp.array([0.5, 0.5]), 0.25):.9f}")
    0.750000000
    """
    p, p_ok = _checks.pmf("source_pmf", source_pmf)
    D, D_ok = _checks.nonnegative("distortion", distortion)
    return _checks.poison(_erasure(p, D), p_ok & D_ok)


def gaussian(variance: Float[ArrayLike, ""], distortion: Float[ArrayLike, ""]) -> Float[Array, ""]:
    r"""Gaussian source, squared error: :math:`R(D) = \tfrac12\log^+(\sigma^2/D)`.

    Parameters
    ----------
    variance : σ² >= 0.
    distortion : D >= 0; infinite rate at 0 unless the variance is 0.

    Returns
    -------
    R(D) in bits per symbol, differentiable where it is positive and finite.

    References
    ----------
    Shannon (1959); Cover & Thomas, Theorem 10.3.2.

    Examples
    --------
    >>> print(gaussian(1.0, 0.25))
    1.0
    """
    return _half_line("variance", variance, distortion, 0.5)


def laplacian(scale: Float[ArrayLike, ""], distortion: Float[ArrayLike, ""]) -> Float[Array, ""]:
    r"""Laplacian source of density :math:`e^{-|x|/b}/2b`, absolute error: :math:`R(D) = \log^+(b/D)`.

    Parameters
    ----------
    scale : b >= 0, the mean of |X|.
    distortion : D >= 0.

    Returns
    -------
    R(D) in bits per symbol, differentiable where it is positive and finite.

    References
    ----------
    Berger (1971). `laplacian_output` has the reproduction that attains it.

    Examples
    --------
    >>> print(laplacian(1.0, 0.25))
    2.0
    """
    return _half_line("scale", scale, distortion)


def laplacian_output(scale: Float[ArrayLike, ""], distortion: Float[ArrayLike, ""]) -> LaplacianOutput:
    r"""The optimal reproduction of a Laplacian under absolute error: why pruning is optimal for such weights.

    .. math:: \hat X \sim \left(\tfrac Db\right)^2\delta_0 + \left(1 - \left(\tfrac Db\right)^2\right)
              \frac{e^{-|\hat x|/b}}{2b}, \qquad X = \hat X + N,

    with N Laplacian of mean magnitude D, independent of X̂: the characteristic functions 1/(1 + b²t²) and 1/(1 + D²t²)
    have the quotient (D/b)² + (1 - (D/b)²)/(1 + b²t²). So a share of 4^(-R) of the reproductions is exactly zero.

    For D_1 > D_2 the better X̂_2 is X̂_1 plus a variable of the law `laplacian_output(D_1, D_2)`, so that X̂_1 - X̂_2 - X
    is a Markov chain that meets R(D) twice: the source is successively refinable.

    Parameters
    ----------
    scale : b >= 0, the mean of |X|.
    distortion : D >= 0. From b on everything is reproduced as zero.

    Returns
    -------
    LaplacianOutput
        ``zeros``, and ``scale`` of the reproductions that are not zero. Differentiable where 0 < D < b.

    References
    ----------
    Isik, Weissman & No (2022); Equitz & Cover (1991) for successive refinement.

    Examples
    --------
    >>> print(laplacian_output(1.0, 0.5).zeros)  # at one bit
    0.25
    """
    b, b_ok = _checks.nonnegative("scale", scale)
    D, D_ok = _checks.nonnegative("distortion", distortion)
    xp, known, level = _checks.look(b, D)
    heard = level < known
    zeros = xp.where(heard, (level / xp.where(heard, known, 1.0)) ** 2, 1.0)
    return _checks.poison(LaplacianOutput(jax.device_put(zeros), b), b_ok & D_ok)


def exponential(mean: Float[ArrayLike, ""], distortion: Float[ArrayLike, ""]) -> Float[Array, ""]:
    r"""Exponential source with one-sided error x - y, y <= x: :math:`R(D) = \log^+(\mu/D)`.

    A reproduction above the source is forbidden.

    Parameters
    ----------
    mean : μ >= 0.
    distortion : D >= 0.

    Returns
    -------
    R(D) in bits per symbol, differentiable where it is positive and finite.

    References
    ----------
    Verdú (1996), "The exponential distribution in information theory".

    Examples
    --------
    >>> print(exponential(1.0, 0.5))
    1.0
    """
    return _half_line("mean", mean, distortion)


def vector_gaussian(covariance: Float[ArrayLike, "m m"], distortion: Float[ArrayLike, ""]) -> Float[Array, ""]:
    r"""Gaussian vector, total squared error: reverse water-filling over the eigenvalues of the covariance.

    .. math:: R(D) = \sum_k \tfrac12\log^+(\nu_k/\theta), \qquad \sum_k \min(\theta, \nu_k) = D .

    Parameters
    ----------
    covariance : (m, m), symmetric positive semidefinite.
    distortion : D >= 0, the sum over the components.

    Returns
    -------
    R(D) in bits per vector, differentiable in D where it is positive and finite.

    References
    ----------
    Kolmogorov (1956); Cover & Thomas, Theorem 10.3.3.

    Examples
    --------
    >>> print(vector_gaussian(jnp.diag(jnp.array([4.0, 1.0])), 2.0))
    1.0
    """
    cov, ok = _checks.covariance("covariance", covariance)
    D, D_ok = _checks.nonnegative("distortion", distortion)
    return _checks.poison(_vector_gaussian(cov, D), ok & D_ok)


@_compile.jit
def _bernoulli(p: Array, D: Array) -> Array:
    smaller = jnp.minimum(p, 1 - p)
    return jnp.where(D < smaller, _binary_entropy(smaller) - _binary_entropy(jnp.minimum(D, smaller)), 0.0)


@functools.partial(_compile.jit, static_argnums=0)
def _uniform_hamming(letters: int, D: Array) -> Array:
    level = jnp.minimum(D, 1 - 1 / letters)
    rate = math.log2(letters) - _binary_entropy(level) - level * math.log2(max(letters - 1, 1))
    return jnp.where(D < 1 - 1 / letters, jnp.maximum(rate, 0.0), 0.0)


@_compile.jit
def _hamming(p: Array, distortion: Array) -> Array:
    p = -jnp.sort(-p)
    n = p.shape[0]
    positive = distortion < 1 - p[0]
    D = jnp.where(positive, distortion, 0.0)  # where the rate is zero, so is its derivative
    # The distortion at which letter i drops out is Σ min(p, p_i) - p_i: it falls with i, so counting is enough.
    drops_at = jnp.sum(jnp.minimum(p[None, :], p[:, None]), axis=1) - p
    k = jnp.maximum(jnp.sum(drops_at > D), 1)
    kept = jnp.arange(n) < k
    tau = jnp.maximum(D - jnp.sum(jnp.where(kept, 0.0, p)), 0.0) / jnp.maximum(k - 1, 1)
    nats = jnp.sum(jnp.where(kept, entr(p), 0.0)) - entr(jnp.maximum(1 - D, 0.0)) - (k - 1) * entr(tau)
    return jnp.where(positive, jnp.maximum(nats / LN2, 0.0), 0.0)


@_compile.jit
def _erasure(p: Array, D: Array) -> Array:
    erased = jnp.minimum(D, 1.0)
    u = jnp.minimum(p, pour(p, erased))
    nats = jnp.sum(entr(p)) - jnp.sum(entr(u)) + entr(erased)
    return jnp.where(D < 1, jnp.maximum(nats / LN2, 0.0), 0.0)


@_compile.jit
def _vector_gaussian(cov: Array, D: Array) -> Array:
    return fill(jnp.maximum(jnp.linalg.eigvalsh(cov), 0.0), D).rate


def _half_line(name: str, scale: ArrayLike, distortion: ArrayLike, factor: float = 1.0) -> Array:
    """Factor · log⁺(scale / D)."""
    a, a_ok = _checks.nonnegative(name, scale)
    D, D_ok = _checks.nonnegative("distortion", distortion)
    return _checks.poison(_log_ratio(a, D, factor), a_ok & D_ok)


@_compile.jit
def _log_ratio(a: Array, D: Array, factor: ArrayLike) -> Array:
    return jnp.where(a > D, factor * jnp.log2(jnp.where(a > D, a, 1.0) / D), 0.0)


def _binary_entropy(p: Array) -> Array:
    return (entr(p) + entr(1 - p)) / LN2
