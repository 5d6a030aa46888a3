"""The optimal test channel of a linear model with Gaussian weights, Ŵ = G W + Z (Theorem 2 of the paper).

In the coordinates T = Uᵀ Σ_X^{1/2} W that make the components independent, with variances ν_k and errors D_k,

    T̂_k = (1 - D_k/ν_k) T_k + Z_k,    Z_k ~ N(0, D_k (1 - D_k/ν_k)).

It is a test channel, not yet a code: a code approaches its rate over long blocks. Nothing is shared with `limits`: the
errors are found here by shrinking from the loudest component down, and `performance` reads rate and distortion off the
matrices of any such channel, optimal or not.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, PRNGKeyArray

from rdtheory import _checks, _compile, _size_classes
from rdtheory.results import ChannelPerformance, GaussianChannel

__all__ = ["coarser", "optimal", "performance", "sample"]

LN2 = math.log(2)


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
        1 - D_i/σ_i² and D_i (1 - D_i/σ_i²). The entries of a gain near 1 are rounded, so below about 1e-13 of the
        largest component's variance the distortion is not met to its digits, and `performance` may call the channel
        noiseless. No derivative is promised.

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
    shape = _size_classes.classes(w.shape, w, x, D)
    # The channel from the weights themselves, which are their own reproduction at D = 0.
    found = _coarser(_size_classes.pad(w, shape), _size_classes.pad(x, shape), np.zeros((), D.dtype), D)
    return _checks.poison(_size_classes.cut(found, gain=w.shape, noise_cov=w.shape), w_ok & x_ok & D_ok)


def coarser(
    weight_cov: Float[ArrayLike, "m m"],
    input_cov: Float[ArrayLike, "m m"],
    distortion: Float[ArrayLike, ""],
    coarse_distortion: Float[ArrayLike, ""],
) -> GaussianChannel:
    r"""Channel from the optimal reproduction at `distortion` to that at a larger one: successive refinement.

    .. math:: \hat T_{1,k} = \frac{\nu_k - D_{1,k}}{\nu_k - D_{2,k}}\,\hat T_{2,k} + Z_k, \qquad
              Z_k \sim N\left(0, \frac{(\nu_k - D_{1,k})(D_{1,k} - D_{2,k})}{\nu_k - D_{2,k}}\right)

    in the independent components T, with the errors D_1 >= D_2 of the two water levels. After the channel `optimal` at
    D_2 it makes the channel `optimal` at D_1. So W - Ŵ_2 - Ŵ_1 is a Markov chain that meets R(D) at both ends, and
    R(D_2) - R(D_1) more bits refine Ŵ_1 to Ŵ_2: under (weighted) squared error a linear model loses nothing by being
    described in parts. `successive.encode_linear` is a code for it.

    Parameters
    ----------
    weight_cov, input_cov : (m, m), symmetric positive semidefinite; Σ_W, Σ_X.
    distortion : D_2 >= 0, in squared output units.
    coarse_distortion : D_1 >= D_2.

    Returns
    -------
    GaussianChannel
        ``gain`` (m, m), which acts on Ŵ_2, and ``noise_cov`` (m, m). No derivative is promised.

    Raises
    ------
    ValueError : shapes disagree, an indefinite covariance, D_1 < D_2.

    References
    ----------
    Equitz & Cover (1991), for each component.

    Examples
    --------
    >>> one = jnp.eye(1)
    >>> fine, further = optimal(one, one, 0.25), coarser(one, one, 0.25, 0.5)
    >>> print(f"{(further.gain @ fine.gain)[0, 0]:.6f}", optimal(one, one, 0.5).gain)
    0.500000 [[0.5]]
    """
    w, w_ok = _checks.covariance("weight_cov", weight_cov)
    x, x_ok = _checks.covariance("input_cov", input_cov, size=w.shape[0])
    D, D_ok = _checks.nonnegative("distortion", distortion)
    coarse, coarse_ok = _checks.nonnegative("coarse_distortion", coarse_distortion)
    _, fine, above = _checks.look(D, coarse)
    coarse_ok &= _checks.holds(
        above >= fine, lambda: f"coarse_distortion must be at least distortion, {fine}, got {above}"
    )
    shape = _size_classes.classes(w.shape, w, x, D, coarse)
    found = _coarser(_size_classes.pad(w, shape), _size_classes.pad(x, shape), D, coarse)
    return _checks.poison(_size_classes.cut(found, gain=w.shape, noise_cov=w.shape), w_ok & x_ok & D_ok & coarse_ok)


def performance(
    channel: GaussianChannel, weight_cov: Float[ArrayLike, "m m"], input_cov: Float[ArrayLike, "m m"]
) -> ChannelPerformance:
    r"""Exact rate, distortion and orthogonality residual of any linear Gaussian channel.

    .. math:: I(W;\hat W) = \tfrac12\log\det(1 + N^{-1} G\Sigma_W G^\top), \quad
              E\,d = \operatorname{tr}\Sigma_X[(I-G)\Sigma_W(I-G)^\top + N], \quad
              E\,\hat W^\top\Sigma_X(W-\hat W) = \operatorname{tr}\Sigma_X[G\Sigma_W(I-G)^\top - N],

    the first infinite where a combination of the weights passes without noise.

    Parameters
    ----------
    channel : gain and noise covariance, (m, m) each.
    weight_cov, input_cov : (m, m), symmetric positive semidefinite.

    Returns
    -------
    ChannelPerformance
        ``rate`` in bits per weight vector, ``distortion``, ``orthogonality``, 0 for the optimal channel. No derivative
        is promised.

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
    gain, gain_ok = _checks.finite("channel.gain", channel.gain, shape=w.shape)
    noise, noise_ok = _checks.covariance("channel.noise_cov", channel.noise_cov, size=w.shape[0])
    shape = _size_classes.classes(w.shape, gain, noise, w, x)
    found = _performance(*(_size_classes.pad(matrix, shape) for matrix in (gain, noise, w, x)))
    return _checks.poison(found, w_ok & x_ok & gain_ok & noise_ok)


def sample(key: PRNGKeyArray, channel: GaussianChannel, weights: Float[ArrayLike, "... m"]) -> Float[Array, "... m"]:
    """Weights as they come out of the channel.

    Parameters
    ----------
    key : JAX random key; the same key gives the same result.
    channel : gain and noise covariance, (m, m) each.
    weights : (..., m), one or many weight vectors, each sent on its own.

    Returns
    -------
    weights_hat : (..., m), in the dtype of `weights`. Differentiable in them.

    Raises
    ------
    ValueError : shapes disagree, weights that are not finite.
    TypeError : weights that are not floating.

    Examples
    --------
    >>> channel = optimal(jnp.eye(3), jnp.eye(3), 0.3)
    >>> sample(jax.random.key(0), channel, jnp.ones((5, 3))).shape
    (5, 3)
    """
    noise, noise_ok = _checks.covariance("channel.noise_cov", channel.noise_cov)
    gain, gain_ok = _checks.finite("channel.gain", channel.gain, shape=noise.shape)
    w, w_ok = _checks.weights("weights", weights)
    _checks.array("weights", w, shape=(*w.shape[:-1], len(noise)))
    return _checks.poison(_sample(key, gain, noise, w), noise_ok & gain_ok & w_ok)


@partial(_compile.jit, brief=True)
def _coarser(w: Array, x: Array, D: ArrayLike, coarse: Array) -> GaussianChannel:
    # In units of each input's deviation, so that inputs of very different scales are all seen.
    deviations = jnp.sqrt(jnp.maximum(jnp.diagonal(x), 0.0))
    inverse = _safe_inverse(deviations)
    w = deviations[:, None] * w * deviations[None, :]
    x = inverse[:, None] * x * inverse[None, :]
    root, inverse_root = _roots(x)
    variances, vectors = jnp.linalg.eigh(root @ w @ root)
    variances = jnp.maximum(variances, 0.0)
    errors, more = _shrink_loudest(variances, D), _shrink_loudest(variances, coarse)
    told = variances > errors
    kept = jnp.where(told, (variances - more) / jnp.where(told, variances - errors, 1.0), 0.0)
    forward, back = vectors.T @ root, inverse_root @ vectors
    gain = (back * kept[None, :]) @ forward
    noise_cov = (back * (kept * (more - errors))[None, :]) @ back.T
    return GaussianChannel(
        inverse[:, None] * gain * deviations[None, :], inverse[:, None] * noise_cov * inverse[None, :]
    )


@partial(_compile.jit, brief=True)
def _performance(gain: Array, noise: Array, w: Array, x: Array) -> ChannelPerformance:
    # Signal over noise needs no decision on the rank of the output: where both are at rounding level, the noise is of
    # first order in it and the signal of second, if its amplitude is computed. In units of each output's deviation.
    amplitude = gain @ _factor(w)
    deviations = jnp.sqrt(jnp.sum(amplitude**2, axis=1) + jnp.maximum(jnp.diagonal(noise), 0.0))
    inverse = _safe_inverse(deviations)
    powers, axes = jnp.linalg.eigh(inverse[:, None] * noise * inverse[None, :])
    along = axes.T @ (inverse[:, None] * amplitude)
    rounding = 8 * _positive(jnp.diagonal(w) + deviations) * jnp.finfo(w.dtype).eps
    noisy = powers > rounding
    over_noise = along * _safe_inverse(jnp.sqrt(jnp.where(noisy, powers, 0.0)))[:, None]
    clean = jnp.any(~noisy & (jnp.sum(along**2, axis=1) > rounding))
    bits = jnp.where(clean, jnp.inf, 0.5 * jnp.sum(jnp.log1p(jnp.linalg.svd(over_noise, compute_uv=False) ** 2)) / LN2)
    error = (jnp.eye(len(w)) - gain) @ w
    distortion = jnp.sum(x * (error - error @ gain.T + noise))
    orthogonality = jnp.sum(x * (gain @ error.T - noise))
    return ChannelPerformance(bits, distortion, orthogonality)


@partial(_compile.jit, brief=True)
def _sample(key: Array, gain: Array, noise: Array, weights: Array) -> Array:
    w_hat = weights.astype(float) @ gain.T + jax.random.normal(key, weights.shape) @ _roots(noise)[0]
    return w_hat.astype(weights.dtype)


def _roots(cov: Array) -> tuple[Array, Array]:
    """Symmetric root and its pseudo-inverse."""
    values, vectors = jnp.linalg.eigh(cov)
    present = values > _positive(jnp.diagonal(cov)) * jnp.finfo(cov.dtype).eps * values[-1]
    root = jnp.sqrt(jnp.where(present, values, 1.0))
    seen = vectors * jnp.where(present, 1.0, 0.0)[None, :]
    return (seen * root[None, :]) @ seen.T, (seen / root[None, :]) @ seen.T


def _positive(variances: Array) -> Array:
    """How many there are: what has no variance adds no rounding."""
    return jnp.sum(variances > 0)


def _safe_inverse(x: Array) -> Array:
    """1/x, and 0 where x is 0."""
    return jnp.where(x > 0, 1 / jnp.where(x > 0, x, 1.0), 0.0)


def _factor(cov: Array) -> Array:
    """F with F Fᵀ = cov, through the correlation matrix."""
    deviations = jnp.sqrt(jnp.maximum(jnp.diagonal(cov), 0.0))
    inverse = _safe_inverse(deviations)
    return deviations[:, None] * _roots(inverse[:, None] * cov * inverse[None, :])[0]


def _shrink_loudest(variances: Array, D: ArrayLike) -> Array:
    """Errors min(θ, ν) summing to D: lower the largest to the level of the next until the sum is met.

    `variances` and the errors returned are in ascending order.
    """
    m = len(variances)
    loudest_first = jnp.maximum(variances[::-1], 0.0)
    following = jnp.append(loudest_first[1:], 0.0)
    # Nothing is taken from a sum: the quiet components would drown in the rounding of the loud ones.
    quiet = jnp.append(jnp.cumsum(loudest_first[:0:-1])[::-1], 0.0)
    lowered = jnp.arange(1, m + 1)
    k = jnp.argmax(lowered * following + quiet <= D)  # the last one always is
    level = jnp.clip((D - quiet[k]) / lowered[k], following[k], loudest_first[k])
    return jnp.minimum(level, loudest_first)[::-1]
