"""Scalar quantization of a linear model in the basis that makes its components independent."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import log_ndtr
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile
from rdtheory.results import TransformCoded
from rdtheory.schemes.quantize.sizes import size_of

__all__ = ["transform"]


def transform(
    weights: Float[ArrayLike, "n m"],
    weight_cov: Float[ArrayLike, "m m"],
    input_cov: Float[ArrayLike, "m m"],
    step: Float[ArrayLike, ""],
) -> TransformCoded:
    r"""One step for all components in the eigenbasis (KLT), each with an ideal entropy coder.

    .. math:: T = U^\top \Sigma_X^{1/2} W, \qquad
              \Sigma_X^{1/2}\Sigma_W\Sigma_X^{1/2} = U\,\mathrm{diag}(\nu)\,U^\top .

    The components of T are uncorrelated and the distortion is their squared error, so one step is the common water
    level: each is rounded to a multiple of it and decoded to the mean that a Gaussian of variance ν_k has in that cell.
    At high rate that takes ½ log(2πe/12) = 0.2546 bit per component more than R(D), and components below the water
    level, which round to zero, take next to nothing. The decoder knows both covariances, as it does in R(D).

    Parameters
    ----------
    weights : (n, m), weight vectors of mean zero.
    weight_cov, input_cov : (m, m), symmetric positive semidefinite; Σ_W, Σ_X.
    step : Δ > 0, in output units.

    Returns
    -------
    TransformCoded
        ``rate``, Σ_k of the empirical entropy of the n labels of component k, which falls short of the entropy for few
        weight vectors; ``distortion``, the mean over them; ``weights_hat`` in the dtype of the weights. No derivative
        is promised.

    Raises
    ------
    ValueError : shapes disagree, an indefinite covariance, a step that is not positive.
    TypeError : weights that are not floating.

    References
    ----------
    Gish & Pierce (1968); Huang & Schultheiss (1963).

    Examples
    --------
    >>> cov = jnp.array([[1.0, 0.9], [0.9, 1.0]])
    >>> weights = jax.random.multivariate_normal(jax.random.key(0), jnp.zeros(2), cov, (20_000,))
    >>> result = transform(weights, cov, jnp.eye(2), 0.2)
    >>> limit = 0.5 * jnp.log2(jnp.linalg.det(cov)) - jnp.log2(result.distortion / 2)  # exact below the smallest ν
    >>> print(f"{(result.rate - limit) / 2:.2f} bit per weight above R(D)")
    0.25 bit per weight above R(D)
    """
    covariance, cov_ok = _checks.covariance("weight_cov", weight_cov)
    x, x_ok = _checks.covariance("input_cov", input_cov, size=len(covariance))
    w, w_ok = _checks.weights("weights", weights, 2)
    _checks.array("weights", w, shape=(len(w), len(covariance)))
    width, width_ok = _checks.nonnegative("step", step)
    width_ok &= _checks.holds(width > 0, lambda: f"step must be > 0, got {width}")
    return _checks.poison(_transform(w, covariance, x, width), cov_ok & x_ok & w_ok & width_ok)


@_compile.jit
def _transform(w: Array, weight_cov: Array, x: Array, step: Array) -> TransformCoded:
    values, vectors = jnp.linalg.eigh(x)
    seen = values > len(x) * jnp.finfo(x.dtype).eps * values[-1]
    root = jnp.sqrt(jnp.where(seen, values, 1.0))
    forward = vectors * jnp.where(seen, root, 0.0)[None, :] @ vectors.T
    back = vectors * jnp.where(seen, 1 / root, 0.0)[None, :] @ vectors.T
    variances, basis = jnp.linalg.eigh(forward @ weight_cov @ forward)
    components = w.astype(float) @ forward @ basis
    labels = jnp.clip(jnp.round(components / step), -(2.0**30), 2.0**30).astype(jnp.int32)
    decoded = _cell_means(labels, step, jnp.sqrt(jnp.maximum(variances, 0.0)))
    rates = jax.vmap(lambda column: size_of(column).labels, in_axes=1)(labels) / len(w)
    weights_hat = (decoded @ basis.T @ back).astype(w.dtype)
    lost = (w.astype(float) - weights_hat.astype(float)) @ forward
    return TransformCoded(weights_hat, jnp.sum(rates), jnp.mean(jnp.sum(lost**2, axis=1)))


def _cell_means(labels: Array, step: Array, deviations: Array) -> Array:
    """Mean of a Gaussian in its cell, σ (φ(a) - φ(b)) / (Φ(b) - Φ(a)); the middle where that is not a number."""
    middle = labels * step
    safe = jnp.where(deviations > 0, deviations, 1.0)[None, :]
    # On the side of the lower tail, where the logarithms keep their digits.
    a, b = (-jnp.abs(labels) - 0.5) * step / safe, (-jnp.abs(labels) + 0.5) * step / safe
    log_low, log_high = log_ndtr(a), log_ndtr(b)
    mass = -jnp.expm1(log_low - log_high)
    lines = [jnp.exp(-0.5 * edge**2 - log_high) / jnp.sqrt(2 * jnp.pi) for edge in (a, b)]
    mean = -jnp.sign(labels) * safe * (lines[0] - lines[1]) / mass
    inside = jnp.abs(jnp.abs(mean) - jnp.abs(middle)) <= step / 2
    return jnp.where((deviations > 0)[None, :] & inside & (labels != 0), mean, jnp.where(labels == 0, 0.0, middle))
