"""The optimal test channel of a linear model with Gaussian weights, Ŵ = G W + Z (Theorem 2 of the paper).

In the coordinates T = Uᵀ Σ_X^{1/2} W that make the components independent, with variances ν_k and errors D_k,

    T̂_k = (1 - D_k/ν_k) T_k + Z_k,    Z_k ~ N(0, D_k (1 - D_k/ν_k)).

It is a test channel, not yet a code: a code approaches its rate over long blocks. Nothing is shared with `limits`: the
errors are found here by shrinking from the loudest component down, and `performance` reads rate and distortion off the
matrices of any such channel, optimal or not.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, PRNGKeyArray

from rdtheory import _checks
from rdtheory.results import ChannelPerformance, GaussianChannel

__all__ = ["optimal", "performance", "sample"]


def optimal(
    weight_cov: Float[ArrayLike, "m m"],
    input_cov: Float[ArrayLike, "m m"],
    distortion: Float[ArrayLike, ""],
) -> GaussianChannel:
    r"""Channel of least rate among those that meet `distortion` (Theorem 2).

    Parameters
    ----------
    weight_cov : (m, m), symmetric positive semidefinite; Σ_W.
    input_cov : (m, m), symmetric positive semidefinite; Σ_X. What it does not see is reproduced as zero.
    distortion : D >= 0, in squared output units.

    Returns
    -------
    GaussianChannel
        ``gain`` (m, m) and ``noise_cov`` (m, m). For diagonal covariances and λ_i > 0 both are diagonal, with entries
        1 - D_i/σ_i² and D_i (1 - D_i/σ_i²). No derivative is promised.

    Raises
    ------
    ValueError : shapes disagree, an indefinite covariance, D < 0.

    References
    ----------
    Gao, Liu, Wang & Oh (2019), Theorem 2; Berger (1971).

    Examples
    --------
    >>> channel = optimal(jnp.eye(2), jnp.diag(jnp.array([1.0, 4.0])), 1.0)
    >>> print(channel.gain)
    [[0.5   0.   ]
     [0.    0.875]]
    """
    w, w_ok = _checks.covariance("weight_cov", weight_cov)
    x, x_ok = _checks.covariance("input_cov", input_cov, size=w.shape[0])
    D, D_ok = _checks.nonnegative("distortion", distortion)
    return _checks.poison(_optimal(w, x, D), w_ok & x_ok & D_ok)


def performance(
    channel: GaussianChannel, weight_cov: Float[ArrayLike, "m m"], input_cov: Float[ArrayLike, "m m"]
) -> ChannelPerformance:
    r"""Exact rate, distortion and orthogonality residual of any linear Gaussian channel.

    .. math:: I(W;\hat W) = \tfrac12\log\frac{\det(G\Sigma_W G^\top + N)}{\det N}, \quad
              E\,d = \operatorname{tr}\Sigma_X[(I-G)\Sigma_W(I-G)^\top + N], \quad
              E\,\hat W^\top\Sigma_X(W-\hat W) = \operatorname{tr}\Sigma_X[G\Sigma_W(I-G)^\top - N],

    with the determinants on the range of the output covariance.

    Parameters
    ----------
    channel : gain and noise covariance, (m, m) each.
    weight_cov, input_cov : (m, m), symmetric positive semidefinite.

    Returns
    -------
    ChannelPerformance
        ``rate`` in bits per weight vector, infinite where a combination of the weights passes without noise;
        ``distortion``; ``orthogonality``, 0 for the optimal channel. No derivative is promised.

    Raises
    ------
    ValueError : shapes disagree, an indefinite covariance.

    Examples
    --------
    >>> cov = jnp.eye(1)
    >>> print(f"{performance(optimal(cov, cov, 0.25), cov, cov).rate:.9f}")
    1.000000000
    """
    w, w_ok = _checks.covariance("weight_cov", weight_cov)
    x, x_ok = _checks.covariance("input_cov", input_cov, size=w.shape[0])
    gain = _checks.array("channel.gain", channel.gain, shape=w.shape)
    noise, noise_ok = _checks.covariance("channel.noise_cov", channel.noise_cov, size=w.shape[0])
    return _checks.poison(_performance(gain, noise, w, x), w_ok & x_ok & noise_ok)


def sample(key: PRNGKeyArray, channel: GaussianChannel, weights: Float[ArrayLike, "... m"]) -> Float[Array, "... m"]:
    """Weights as they come out of the channel.

    Parameters
    ----------
    key : JAX random key; the same key gives the same result.
    channel : gain and noise covariance, (m, m) each.
    weights : (..., m), one or many weight vectors, each sent on its own.

    Returns
    -------
    weights_hat : (..., m). Differentiable in `weights`.

    Raises
    ------
    ValueError : shapes disagree.

    Examples
    --------
    >>> channel = optimal(jnp.eye(3), jnp.eye(3), 0.3)
    >>> sample(jax.random.key(0), channel, jnp.ones((5, 3))).shape
    (5, 3)
    """
    noise, ok = _checks.covariance("channel.noise_cov", channel.noise_cov)
    w = _checks.array("weights", weights)
    _checks.array("weights", w, shape=(*w.shape[:-1], len(noise)))
    white = jax.random.normal(key, w.shape, w.dtype)
    return _checks.poison(w @ jnp.asarray(channel.gain).T + white @ _roots(noise)[0], ok)


@jax.jit
def _optimal(w: Array, x: Array, D: Array) -> GaussianChannel:
    root, inverse_root = _roots(x)
    variances, vectors = jnp.linalg.eigh(root @ w @ root)
    variances = jnp.maximum(variances, 0.0)
    errors = _shrink_loudest(variances, D)
    kept = jnp.where(variances > 0, 1 - errors / jnp.where(variances > 0, variances, 1.0), 0.0)
    forward, back = vectors.T @ root, inverse_root @ vectors
    gain = (back * kept[None, :]) @ forward
    noise_cov = (back * (errors * kept)[None, :]) @ back.T
    return GaussianChannel(gain, noise_cov)


@jax.jit
def _performance(gain: Array, noise: Array, w: Array, x: Array) -> ChannelPerformance:
    passed = gain @ w
    output = passed @ gain.T + noise
    output = (output + output.T) / 2
    scale, vectors = jnp.linalg.eigh(output)
    present = scale > len(w) * jnp.finfo(w.dtype).eps * scale[-1]
    whiten = vectors / jnp.sqrt(jnp.where(present, scale, 1.0))[None, :] * jnp.where(present, 1.0, 0.0)[None, :]
    remaining = jnp.linalg.eigvalsh(whiten.T @ noise @ whiten + jnp.diag(jnp.where(present, 0.0, 1.0)))
    noiseless = remaining <= len(w) * jnp.finfo(w.dtype).eps
    bits = -0.5 * jnp.sum(jnp.log2(jnp.where(noiseless, 0.0, jnp.minimum(remaining, 1.0))))
    error = (jnp.eye(len(w)) - gain) @ w
    distortion = jnp.sum(x * (error - error @ gain.T + noise))
    orthogonality = jnp.sum(x * (gain @ error.T - noise))
    return ChannelPerformance(bits, distortion, orthogonality)


def _roots(cov: Array) -> tuple[Array, Array]:
    """Symmetric root and its pseudo-inverse."""
    values, vectors = jnp.linalg.eigh(cov)
    present = values > len(cov) * jnp.finfo(cov.dtype).eps * values[-1]
    root = jnp.sqrt(jnp.where(present, values, 1.0))
    seen = vectors * jnp.where(present, 1.0, 0.0)[None, :]
    return (seen * root[None, :]) @ seen.T, (seen / root[None, :]) @ seen.T


def _shrink_loudest(variances: Array, D: Array) -> Array:
    """Errors min(θ, ν) summing to D: lower the largest to the level of the next until the sum is met.

    `variances` and the errors returned are in ascending order.
    """
    m = len(variances)
    loudest_first = variances[::-1]

    def lower(errors: Array, k: Array) -> tuple[Array, None]:
        following = jnp.where(k + 1 < m, loudest_first[jnp.minimum(k + 1, m - 1)], 0.0)
        surplus = jnp.maximum(jnp.sum(errors) - D, 0.0)
        drop = jnp.minimum(errors[k] - following, surplus / (k + 1))
        return errors - jnp.where(jnp.arange(m) <= k, drop, 0.0), None

    errors, _ = lax.scan(lower, loudest_first, jnp.arange(m))
    return jnp.minimum(jnp.maximum(errors, 0.0), loudest_first)[::-1]
