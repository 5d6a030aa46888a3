"""Linear models f_w(x) = wᵀx: what no compressor of their weights can beat.

Centered inputs of covariance Σ_X and centered weights of covariance Σ_W give the distortion
d(w, ŵ) = (w - ŵ)ᵀ Σ_X (w - ŵ). `lower_bound` is the paper's Theorem 1, `rate` the exact function of a Gaussian prior,
`layer_rate` that of a layer with several outputs, `shannon_lower_bound` the converse for any other prior:

    shannon_lower_bound <= R(D) of the prior <= rate, which is what a Gaussian of the same covariance needs.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _size_classes
from rdtheory.limits.gaussian import fill, of_sums, pour
from rdtheory.results import LinearBound, WaterFilling

__all__ = ["component_variances", "layer_rate", "lower_bound", "rate", "shannon_lower_bound"]

LN2 = math.log(2)


def lower_bound(
    weight_cov: Float[ArrayLike, "m m"],
    input_variances: Float[ArrayLike, " m"],
    distortion: Float[ArrayLike, ""],
) -> LinearBound:
    r"""Rate below which no compressor of a linear model meets `distortion` (Theorem 1 of the paper).

    Weighted reverse water-filling, for Gaussian weights and uncorrelated inputs,

    .. math:: \underline R(D) = \tfrac12\log\det\Sigma_W - \sum_i \tfrac12\log D_i, \quad
              D_i = \min(\mu/\lambda_i, E W_i^2), \quad \sum_i \lambda_i D_i = D .

    Tight iff diag(D_i) ⪯ Σ_W in the Loewner order: always for uncorrelated weights, and below a critical distortion
    for correlated ones. Above it the bound is loose and can be negative; it is returned as the theorem states it,
    not clipped at zero. See `rate` for the exact function.

    Parameters
    ----------
    weight_cov : (m, m), symmetric positive semidefinite; Σ_W. A weight of variance zero is known and left out; any
        other singular Σ_W makes the bound -inf.
    input_variances : (m,), >= 0; λ. A zero costs no rate.
    distortion : D >= 0, in squared output units. D = 0 makes the bound +inf where a weight must be described.

    Returns
    -------
    LinearBound
        ``rate`` in bits per weight vector, ``water_level`` μ, ``weight_distortions`` (m,) D_i, and ``rounding``, by
        how many bits floating point may have moved the rate: large where Σ_W is nearly singular, above all in float32.
        Differentiable in every argument where it is finite, off the kinks of the minimum.

    Raises
    ------
    ValueError : shapes disagree, a negative variance, an indefinite covariance, D < 0.

    References
    ----------
    Gao, Liu, Wang & Oh (2019), Theorem 1.

    Examples
    --------
    >>> bound = lower_bound(jnp.eye(2), jnp.array([1.0, 4.0]), 1.0)
    >>> print(f"{bound.rate:.9f}", bound.water_level, bound.weight_distortions)
    2.000000000 0.5 [0.5   0.125]
    """
    cov, cov_ok = _checks.covariance("weight_cov", weight_cov)
    inputs, inputs_ok = _checks.nonnegative("input_variances", input_variances, ndim=1)
    _checks.array("input_variances", inputs, shape=cov.shape[:1])
    D, D_ok = _checks.nonnegative("distortion", distortion)
    m, shape = cov.shape[:1], _size_classes.classes(cov.shape, cov, inputs, D)
    found = _lower_bound(_size_classes.pad(cov, shape), _size_classes.pad(inputs, shape[:1]), D)
    return _checks.poison(_size_classes.cut(found, weight_distortions=m), cov_ok & inputs_ok & D_ok)


def rate(
    weight_cov: Float[ArrayLike, "m m"],
    input_cov: Float[ArrayLike, "m m"],
    distortion: Float[ArrayLike, ""],
) -> WaterFilling:
    r"""Exact rate-distortion function of a linear model with Gaussian weights.

    .. math:: R(D) = \sum_k \tfrac12\log^+(\nu_k/\theta), \quad \sum_k\min(\theta,\nu_k) = D, \quad
              \nu = \operatorname{eig}(\Sigma_X^{1/2}\Sigma_W\Sigma_X^{1/2}).

    The distortion only sees Σ_X^{1/2} W, a Gaussian vector under squared error, and the rate of W is the rate of that
    vector: what it does not determine need not be described.

    Parameters
    ----------
    weight_cov : (m, m), symmetric positive semidefinite; Σ_W, may be singular.
    input_cov : (m, m), symmetric positive semidefinite; Σ_X, may be singular.
    distortion : D >= 0, in squared output units. From tr(Σ_X Σ_W) on the rate is 0; D = 0 is infinite unless
        nothing must be described.

    Returns
    -------
    WaterFilling
        ``rate`` in bits per weight vector, ``water_level`` θ, ``distortions`` (m,) of the components in descending
        order of their variance, and ``rounding``, by how many bits floating point may have moved the rate: infinite
        where a component that matters cannot be told from zero. Differentiable in every argument for 0 < D;
        dR/dD = -1/(2 θ ln 2). A component whose variance is below about (m · 2e-16)² of the product of the largest
        scales counts as zero.

    Raises
    ------
    ValueError : shapes disagree, an indefinite covariance, D < 0.

    References
    ----------
    Kolmogorov (1956), applied to Σ_X^{1/2} W.

    Examples
    --------
    >>> print(f"{rate(jnp.eye(2), jnp.diag(jnp.array([1.0, 4.0])), 1.0).rate:.9f}")
    2.000000000
    """
    w, w_ok = _checks.covariance("weight_cov", weight_cov)
    x, x_ok = _checks.covariance("input_cov", input_cov, size=w.shape[0])
    D, D_ok = _checks.nonnegative("distortion", distortion)
    shape = _size_classes.classes(w.shape, w, x, D)
    found = _rate(_size_classes.pad(w, shape), _size_classes.pad(x, shape), D)
    return _checks.poison(_size_classes.cut(found, distortions=w.shape[:1]), w_ok & x_ok & D_ok)


def layer_rate(
    moments: Float[ArrayLike, "m m"],
    row_variances: Float[ArrayLike, " m"],
    column_variances: Float[ArrayLike, " k"],
    distortion: Float[ArrayLike, ""],
) -> WaterFilling:
    r"""Exact rate-distortion function of a linear layer W (m inputs, k outputs) of independent Gaussian weights.

    W_ij is N(0, r_i c_j), and the distortion tr (W - Ŵ)ᵀ Σ (W - Ŵ), Σ = E xxᵀ. So each output j has components of the
    variances c_j ν, and all outputs share one water level,

    .. math:: R(D) = \sum_j \sum_k \tfrac12\log^+(c_j\nu_k/\theta), \quad \sum_j \sum_k\min(\theta, c_j\nu_k) = D, \quad
              \nu = \operatorname{eig}(\mathrm{diag}(r)^{1/2}\,\Sigma\,\mathrm{diag}(r)^{1/2}).

    Parameters
    ----------
    moments : (m, m), symmetric positive semidefinite; Σ, may be singular.
    row_variances, column_variances : (m,) and (k,), >= 0; r and c. Only their products matter.
    distortion : D >= 0, of all outputs together.

    Returns
    -------
    WaterFilling
        ``rate`` in bits for the whole layer, ``water_level`` θ, ``distortions`` (k, m) of the components of each
        output, ``rounding`` and derivatives as for `rate`. A layer of zeros, or inputs that are, take 0 bits.

    Raises
    ------
    ValueError : shapes disagree, an indefinite matrix, a negative variance, D < 0.

    References
    ----------
    Kolmogorov (1956), applied to Σ^{1/2} W.

    Examples
    --------
    >>> found = layer_rate(jnp.diag(jnp.array([1.0, 4.0])), jnp.ones(2), jnp.array([1.0, 4.0]), 4.0)
    >>> print(f"{found.rate:.9f}", found.water_level)
    4.000000000 1.0
    """
    x, x_ok = _checks.covariance("moments", moments)
    r, r_ok = _checks.nonnegative("row_variances", row_variances, ndim=1)
    _checks.array("row_variances", r, shape=x.shape[:1])
    c, c_ok = _checks.nonnegative("column_variances", column_variances, ndim=1)
    D, D_ok = _checks.nonnegative("distortion", distortion)
    shape = c.shape + r.shape
    k, m = _size_classes.classes(shape, x, r, c, D)
    found = _layer_rate(_size_classes.pad(x, (m, m)), _size_classes.pad(r, (m,)), _size_classes.pad(c, (k,)), D)
    return _checks.poison(_size_classes.cut(found, distortions=shape), x_ok & r_ok & c_ok & D_ok)


def shannon_lower_bound(
    differential_entropy: Float[ArrayLike, ""],
    weight_cov: Float[ArrayLike, "m m"],
    input_cov: Float[ArrayLike, "m m"],
    distortion: Float[ArrayLike, ""],
) -> LinearBound:
    r"""Lower bound for weights of any law with a density, from their differential entropy.

    .. math:: \underline R(D) = h(W) - \sum_i \tfrac12\log(2\pi e D_i), \quad
              D_i = \min(\mu/\lambda_i, E(u_i^\top W)^2), \quad \sum_i \lambda_i D_i = D,

    in the eigenbasis u of Σ_X. The entropy term replaces ½ log det Σ_W of the Gaussian; a Gaussian and uncorrelated
    inputs give `lower_bound` back.

    Parameters
    ----------
    differential_entropy : h(W) in bits, of the whole weight vector; -inf, if it has no density, gives -inf.
    weight_cov : (m, m), symmetric positive semidefinite; Σ_W of the same law.
    input_cov : (m, m), symmetric positive semidefinite; Σ_X.
    distortion : D >= 0, in squared output units.

    Returns
    -------
    LinearBound
        ``rate`` in bits per weight vector, not clipped; ``water_level`` μ; ``weight_distortions`` (m,) in the
        eigenbasis of Σ_X, ascending λ; ``rounding`` in bits, of all but the entropy. Differentiable in
        `differential_entropy` and `distortion`.

    Raises
    ------
    ValueError : shapes disagree, an indefinite covariance, NaN entropy, D < 0.

    References
    ----------
    Shannon (1959); Gao, Liu, Wang & Oh (2019), Theorem 1 for other priors.

    Examples
    --------
    Two independent weights, uniform on an interval of length 2, so h(W) = 2 bits:

    >>> print(f"{shannon_lower_bound(2.0, jnp.eye(2) / 3, jnp.eye(2), 0.02).rate:.6f}")
    4.549665
    """
    h = _checks.array("differential_entropy", differential_entropy, 0)
    xp, bits = _checks.look(h)
    h_ok = _checks.holds(~xp.isnan(bits), lambda: "differential_entropy must be a number of bits, got NaN")
    w, w_ok = _checks.covariance("weight_cov", weight_cov)
    x, x_ok = _checks.covariance("input_cov", input_cov, size=w.shape[0])
    D, D_ok = _checks.nonnegative("distortion", distortion)
    shape = _size_classes.classes(w.shape, h, w, x, D)
    there = np.arange(shape[0]) < len(w)
    found = _shannon_lower_bound(h, _size_classes.pad(w, shape), _size_classes.pad(x, shape), D, there)
    return _checks.poison(_size_classes.cut(found, weight_distortions=w.shape[:1]), h_ok & w_ok & x_ok & D_ok)


def component_variances(weight_cov: Float[Array, "m m"], input_cov: Float[Array, "m m"]) -> Float[Array, " m"]:
    r"""Variances of the decorrelated outputs, :math:`\operatorname{eig}(\Sigma_X^{1/2}\Sigma_W\Sigma_X^{1/2})`.

    With any factors F Fᵀ = Σ these are the squared singular values of F_Xᵀ F_W, a form that keeps small ones accurate;
    those at rounding level are set to zero, so that they cost no rate. Descending, (m,). The derivative is exact for
    symmetric functions of the variances, repeated ones included.

    Parameters
    ----------
    weight_cov, input_cov : (m, m), symmetric positive semidefinite, not checked.

    Examples
    --------
    >>> print(component_variances(jnp.eye(2), jnp.diag(jnp.array([1.0, 4.0]))))
    [4. 1.]
    """
    return _components(weight_cov, input_cov)[0]


class _Trust(NamedTuple):
    """How far rounding may have moved the variances ν_k, the eigenvalues of F_Xᵀ Σ_W F_X and of F_Wᵀ Σ_X F_W.

    The correlations C of either covariance are off by some E with abs(eigenvalues of E) <= ε, so ν_k moves by at most
    ε ‖a_k‖², where a_k = diag(deviations) F u_k, F the factor of the other one and u_k an orthonormal basis. Since
    Σ a_k a_kᵀ / ν_k = C⁻¹,

        Σ_k ε ‖a_k‖² / max(ν_k, θ) <= min(ε tr C⁻¹, ε ‖diag(deviations) F‖² / θ).
    """

    inverse: Array  # (2,) ε tr C⁻¹ of weights and of inputs; infinite if singular
    largest: Array  # (2,) the same for the largest eigenvalue of C⁻¹
    length: Array  # (2,) ε ‖diag(deviations) F‖²
    root: Array  # error of the singular values themselves


@jax.custom_jvp
def _components(weight_cov: Array, input_cov: Array) -> tuple[Array, _Trust]:
    factor_w, factor_x = _factor(weight_cov), _factor(input_cov)
    roots = jnp.linalg.svd(factor_x.T @ factor_w, compute_uv=False)
    least = _least_root(factor_w, factor_x)
    (inverse_w, largest_w, error_w), (inverse_x, largest_x, error_x) = _inverse(weight_cov), _inverse(input_cov)
    length_w = error_w * jnp.sum(jnp.diagonal(weight_cov)[:, None] * factor_x**2)
    length_x = error_x * jnp.sum(jnp.diagonal(input_cov)[:, None] * factor_w**2)
    pairs = (inverse_w, inverse_x), (largest_w, largest_x), (length_w, length_x)
    return jnp.where(roots <= least, 0.0, roots**2), _Trust(*map(jnp.stack, pairs), 4 * least)


@_components.defjvp
def _components_jvp(primals, tangents):
    # First-order perturbation: ν are the eigenvalues of F_Xᵀ Σ_W F_X and of F_Wᵀ Σ_X F_W, so each covariance is
    # varied with the factor of the other one held fixed, and no factor is differentiated.
    (w, x), (dw, dx) = primals, tangents
    factor_w, factor_x = _factor(w), _factor(x)
    left, _, right = jnp.linalg.svd(factor_x.T @ factor_w)
    along_w, along_x = factor_x @ left, factor_w @ right.T
    tangent = jnp.einsum("ik,ij,jk->k", along_w, dw, along_w) + jnp.einsum("ik,ij,jk->k", along_x, dx, along_x)
    variances, trust = _components(w, x)
    return (variances, trust), (tangent, jax.tree.map(jnp.zeros_like, trust))


@partial(_compile.jit, brief=True)
def _lower_bound(weight_cov: Array, input_variances: Array, D: Array) -> LinearBound:
    weight_variances = jnp.diagonal(weight_cov)
    level, errors = _allowed_errors(weight_variances, input_variances, D)
    known = weight_variances == 0
    log_errors = jnp.sum(jnp.log2(jnp.where(known, 1.0, errors)))
    log_det = _log2_det(weight_cov, known)
    bits = jnp.where(jnp.isneginf(log_det), -jnp.inf, 0.5 * (log_det - log_errors))
    inverse, largest, _ = _inverse(weight_cov)
    own = of_sums(weight_variances, jnp.ones_like(level), ~known) + of_sums(errors, level, (errors > 0) & ~known)
    return LinearBound(bits, level, errors, own + _bits(inverse, largest))


@partial(_compile.jit, brief=True)
def _rate(weight_cov: Array, input_cov: Array, D: Array) -> WaterFilling:
    variances, trust = _components(weight_cov, input_cov)
    filled = fill(variances, D)
    return filled._replace(
        rounding=filled.rounding + _moved(trust, *lax.stop_gradient((variances, filled.water_level)))
    )


@partial(_compile.jit, brief=True)
def _layer_rate(moments: Array, row_variances: Array, column_variances: Array, D: Array) -> WaterFilling:
    variances, trust = _components(jnp.diag(row_variances), moments)
    all_variances = column_variances[:, None] * variances[None, :]
    filled = fill(all_variances.ravel(), D)
    known, level, columns = lax.stop_gradient((variances, filled.water_level, column_variances))
    # In units of its variance an output has these components at a level of its own.
    levels = level / jnp.where(columns > 0, columns, 1.0)
    moved = jnp.where(columns > 0, jax.vmap(lambda at: _moved(trust, known, at))(levels), 0.0)
    products = jnp.finfo(variances.dtype).eps * jnp.sum(all_variances > 0)
    return filled._replace(
        distortions=filled.distortions.reshape(all_variances.shape),
        rounding=filled.rounding + jnp.sum(moved) + lax.stop_gradient(products),
    )


def _moved(trust: _Trust, variances: Array, level: Array) -> Array:
    """Bits by which the errors of the variances move the rate, which has the derivative 1 / (2 max(ν, θ) ln 2)."""

    def over(length: Array, depth: Array) -> Array:
        return jnp.where(length > 0, length / depth, 0.0)

    shift = over(trust.root * (2 * jnp.sqrt(variances) + trust.root), jnp.maximum(variances, level))
    moved = jnp.sum(jnp.minimum(trust.inverse, over(trust.length, level))) + jnp.sum(shift)
    return _bits(moved, jnp.sum(jnp.minimum(trust.largest, over(trust.length, level))) + jnp.max(shift))


def _bits(moved: Array, most: Array) -> Array:
    """Bits for the sum of the relative changes of all variances, to first order; infinite if the largest is not small.

    The derivative at a variance that moved by a share η is larger by up to 1 / (1 - η).
    """
    return jnp.where(most < 0.5, moved / (2 * LN2 * (1 - 2 * jnp.minimum(most, 0.5))), jnp.inf)


@partial(_compile.jit, brief=True)
def _shannon_lower_bound(entropy: Array, weight_cov: Array, input_cov: Array, D: Array, there: Array) -> LinearBound:
    # Weights that are not there get the last places of the eigenbasis, and no share in any other.
    total = jnp.trace(input_cov)
    apart = jnp.where(total > 0, 2 * total, 1.0)
    input_variances, basis = jnp.linalg.eigh(input_cov + jnp.diag(jnp.where(there, 0.0, apart)))
    input_variances = jnp.where(there, jnp.maximum(input_variances, 0.0), 0.0)
    weight_variances = jnp.maximum(jnp.einsum("ik,ij,jk->k", basis, weight_cov, basis), 0.0)
    level, errors = _allowed_errors(weight_variances, input_variances, D)
    bits = entropy - 0.5 * jnp.sum(jnp.log2(jnp.where(there, 2 * math.pi * math.e * errors, 1.0)))
    # With inputs off by E the errors allowed cost tr E D_i more, and each weight's variance is a sum that was rounded.
    relative = 4 * jnp.sum(there) * jnp.finfo(bits.dtype).eps
    off_inputs = relative * jnp.max(input_variances) * jnp.where(level > 0, errors / level, 0.0)
    off_weights = relative * jnp.trace(weight_cov) / jnp.where(weight_variances > 0, weight_variances, 1.0)
    off = jnp.where(there, off_inputs + jnp.where(errors >= weight_variances, off_weights, 0.0), 0.0)
    own = of_sums(errors, level, there) + relative * (jnp.abs(entropy) + jnp.sum(there))
    rounding = lax.stop_gradient(own + _bits(jnp.sum(off), jnp.max(off)))
    return LinearBound(jnp.where(jnp.isneginf(entropy), -jnp.inf, bits), level, errors, rounding)


def _least_root(factor_w: Array, factor_x: Array) -> Array:
    """What a singular value of F_Xᵀ F_W must exceed to be told from zero."""
    scale = jnp.linalg.norm(factor_w) * jnp.linalg.norm(factor_x)
    seen = jnp.any((factor_w != 0) | (factor_x != 0), axis=1)  # what has no variance adds no rounding
    return jnp.sum(seen) * jnp.finfo(factor_w.dtype).eps * scale


def _inverse(cov: Array) -> tuple[Array, Array, Array]:
    """ε tr C⁻¹ and ε over the least eigenvalue of the correlations C, infinite if they are singular; and ε itself.

    C was rounded when it was stored and when it was scaled; its eigenvalues and its factors are exact for a C + E with
    E of the size of a few m roundings of the largest eigenvalue.
    """
    deviations, values, _ = _correlation(lax.stop_gradient(cov))
    error = 4 * (jnp.sum(deviations > 0) + 1) * jnp.finfo(cov.dtype).eps * jnp.max(values)
    regular = jnp.sum(values > 0) == jnp.sum(deviations > 0)
    inverses = jnp.where(values > 0, 1 / jnp.where(values > 0, values, 1.0), 0.0)
    total, largest = (jnp.where(regular, error * x, jnp.inf) for x in (jnp.sum(inverses), jnp.max(inverses)))
    return total, largest, error


def _factor(cov: Array) -> Array:
    """F with F Fᵀ = cov, through the correlation matrix: scales may differ by any factor."""
    deviations, values, vectors = _correlation(cov)
    return deviations[:, None] * vectors * jnp.sqrt(values)[None, :]


def _correlation(cov: Array) -> tuple[Array, Array, Array]:
    """Standard deviations; then eigenvalues, zero where at rounding level, and eigenvectors of the correlations."""
    deviations = jnp.sqrt(jnp.maximum(jnp.diagonal(cov), 0.0))
    safe = jnp.where(deviations > 0, deviations, 1.0)
    values, vectors = jnp.linalg.eigh(cov / safe[:, None] / safe[None, :])
    rounding = jnp.sum(deviations > 0) * jnp.finfo(cov.dtype).eps
    return deviations, jnp.where(values <= rounding, 0.0, values), vectors


def _allowed_errors(weight_variances: Array, input_variances: Array, D: Array) -> tuple[Array, Array]:
    """μ and D_i = min(μ/λ_i, E W_i²) with Σ λ_i D_i = D."""
    level = pour(input_variances * weight_variances, D)
    seen = input_variances > 0
    return level, jnp.where(
        seen, jnp.minimum(level / jnp.where(seen, input_variances, 1.0), weight_variances), weight_variances
    )


def _log2_det(cov: Array, known: Array) -> Array:
    """Log-determinant of what is not known, in bits; -inf where its correlations are singular to rounding."""
    variances = jnp.where(known, 1.0, jnp.diagonal(cov))
    _, values, _ = _correlation(lax.stop_gradient(cov))
    singular = jnp.sum(values > 0) < jnp.sum(~known)
    scale = jnp.sqrt(jnp.where(singular, 1.0, variances))
    whole = cov + jnp.diag(jnp.where(known, 1.0, 0.0))
    correlations = jnp.where(singular, jnp.eye(len(cov)), whole / scale[:, None] / scale[None, :])
    log_det = jnp.sum(jnp.log2(jnp.where(singular, 1.0, variances))) + jnp.linalg.slogdet(correlations)[1] / LN2
    return jnp.where(singular, -jnp.inf, log_det)
