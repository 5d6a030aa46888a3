r"""Inner products of vectors that are both compressed, as in a product of two matrices.

U and V are coded apart, and whoever has both codes tells UᵀV. With D and E the errors of an entry of U and of V, the
means that the decoder has give an error of

    1 - (1 - D)(1 - E) = D + E - D E

an entry, since errors are orthogonal to means. More is lost than each code loses alone, and at low rates it is better
to code a share of the entries well and the others not at all.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile

__all__ = ["critical_rate", "high_rate", "inner"]

LN4 = math.log(4)
BISECTIONS = 64  # of a bracket no wider than 1500: what is left is rounding


def inner(rate: Float[ArrayLike, ""], other_rate: Float[ArrayLike, ""] | None = None) -> Float[Array, ""]:
    r"""Least error of an inner product of two Gaussian vectors, each described by itself: Γ.

    U and V are independent N(0, I_n). With R and S bits an entry the least :math:`E(U^\top V-\hat g)^2` is nΓ,

    .. math:: \Gamma(R, S) = 1 - \max_{0<\kappa\le 1} \kappa\,(1 - 4^{-R/\kappa})(1 - 4^{-S/\kappa}),

    and n → ∞ reaches it: a share κ of the entries is coded, the rest is not. From `critical_rate` on κ = 1, so that
    :math:`\Gamma(R, R) = 2\cdot 4^{-R} - 16^{-R}`; below, Γ is the line from Γ(0) = 1 that is tangent there.

    *Converse.* The best estimate is ÛᵀV̂ with the conditional means Û and V̂, of error
    :math:`n-\operatorname{tr}\Sigma_{\hat U}\Sigma_{\hat V}\ge n-\sum_i(1-4^{-r_i})(1-4^{-s_i})` (von Neumann), where
    :math:`1-4^{-r_i}` are the eigenvalues of :math:`\Sigma_{\hat U}` and :math:`\sum_i r_i\le nR`. So Γ is the convex
    envelope of :math:`1-(1-4^{-r})(1-4^{-s})`, whose supporting planes touch at the origin and at one other point.

    Parameters
    ----------
    rate : R >= 0, bits for each entry of U; infinite if U is known exactly.
    other_rate : S >= 0, for V; R without it. :math:`\Gamma(R, \infty) = 4^{-R}`.

    Returns
    -------
    Γ in [0, 1], the mean squared error for each entry of the vectors. Differentiable where both rates are > 0.

    Raises
    ------
    ValueError : a negative rate, NaN.

    References
    ----------
    Ordentlich & Polyanskiy (2024), "Optimal quantization for matrix multiplication".

    Examples
    --------
    >>> print(inner(1.0), f"{inner(0.5):.7f}", inner(1.0, jnp.inf))
    0.4375 0.7177058 0.25
    """
    R, ok = _checks.nonnegative("rate", rate, finite=False)
    S, S_ok = (R, ok) if other_rate is None else _checks.nonnegative("other_rate", other_rate, finite=False)
    return _checks.poison(_inner(R, S)[0], ok & S_ok)


def critical_rate(ratio: Float[ArrayLike, ""] = 1.0) -> Float[Array, ""]:
    r"""The rate R* below which only a share of the entries is worth coding, when the other vector has ratio · R bits.

    With :math:`p(x)=x/(e^x-1)` it solves :math:`p(R^*\ln 4) + p(\text{ratio}\cdot R^*\ln 4) = 1`, where the chord of
    :math:`(1-4^{-tR})(1-4^{-t\,\text{ratio}\,R})` from t = 0 is a tangent. For equal rates
    :math:`R^* = \tfrac12\log(1 + 4R^*\ln 2)`, about 0.9063. It is found by bisection.

    Parameters
    ----------
    ratio : > 0, the other rate over this one; R* is 0 for an infinite one.

    Returns
    -------
    R* in bits an entry, within rounding. No derivative is promised.

    Raises
    ------
    ValueError : a ratio that is not positive.

    References
    ----------
    Ordentlich & Polyanskiy (2024); for unequal rates derived from the envelope of `inner`.

    Examples
    --------
    >>> print(f"{critical_rate():.7f}")
    0.9063235
    """
    x, ok = _checks.nonnegative("ratio", ratio, finite=False)
    ok &= _checks.holds(_checks.look(x)[1] > 0, lambda: f"ratio must be > 0, got {x}")
    return _checks.poison(_inner(np.ones((), x.dtype), x)[1], ok)


def high_rate(
    weight_cov: Float[ArrayLike, "m m"],
    input_cov: Float[ArrayLike, "m m"],
    rate: Float[ArrayLike, ""],
    other_rate: Float[ArrayLike, ""] = math.inf,
) -> Float[Array, ""]:
    r"""Error of each entry of a product of matrices at high rate.

    Columns w ~ N(0, Σ_W) of one matrix are coded at R bits a weight, columns x ~ N(0, Σ_X) of the other at S. Then

    .. math:: E(w^\top x - \hat w^\top\hat x)^2 \simeq m\,|\Sigma_W\Sigma_X|^{1/m}\,\bigl(4^{-R} + 4^{-S}\bigr),

    for error covariances K and L leave tr KΣ_X + tr LΣ_W - tr KL, and tr KΣ_X >= m |KΣ_X|^{1/m} is met by a K in
    proportion to the inverse of Σ_X.

    With the weights alone coded, S = ∞, it is a lower bound at every rate and exact where no component of
    :math:`\Sigma_X^{1/2} w` is under water (`linear.rate`). With both it is the leading term: those K and L leave less,
    by tr KL, which is of the order :math:`4^{-R-S}`.

    Parameters
    ----------
    weight_cov, input_cov : (m, m), symmetric positive semidefinite; Σ_W and Σ_X. A singular one gives 0.
    rate : R >= 0, bits a weight.
    other_rate : S >= 0, bits an entry of x; infinite if only the weights are coded.

    Returns
    -------
    Mean squared error of an entry of the product, in squared output units. Differentiable in the rates, and in
    covariances that are not singular.

    Raises
    ------
    ValueError : shapes disagree, an indefinite covariance, a negative rate.

    References
    ----------
    Kolmogorov (1956) for one side; re-derived for both sides, where it is the large-rate form of Ordentlich &
    Polyanskiy (2024).

    Examples
    --------
    >>> print(high_rate(jnp.eye(2), jnp.diag(jnp.array([1.0, 4.0])), 2.0))  # 2 · √(1 · 4) / 16
    0.25
    """
    w, w_ok = _checks.covariance("weight_cov", weight_cov)
    x, x_ok = _checks.covariance("input_cov", input_cov, size=w.shape[0])
    R, R_ok = _checks.nonnegative("rate", rate, finite=False)
    S, S_ok = _checks.nonnegative("other_rate", other_rate, finite=False)
    xp, weights, inputs, *rates = _checks.look(w, x, R, S)
    volume = (xp.linalg.slogdet(weights)[1] + xp.linalg.slogdet(inputs)[1]) / len(w)
    error = len(w) * xp.exp(volume) * sum(xp.exp(-LN4 * bits) for bits in rates)
    return _checks.poison(jax.device_put(error), w_ok & x_ok & R_ok & S_ok)


@_compile.jit
def _inner(R: ArrayLike, S: Array) -> tuple[Array, Array]:
    """Γ, and the critical rate of the first where the ratio is kept."""
    smaller, larger = lax.stop_gradient((jnp.minimum(R, S), jnp.maximum(R, S)))
    ratio = jnp.where(smaller > 0, smaller / jnp.where(smaller > 0, larger, 1.0), 1.0)
    tangent = _tangent(ratio) / LN4  # of the larger one
    # The share is where Γ is least, so that it may be held fixed in a derivative.
    share = jnp.minimum(larger / tangent, 1.0)
    coded = jnp.where(share > 0, share, 1.0)
    D, E = jnp.exp(-LN4 * R / coded), jnp.exp(-LN4 * S / coded)
    error = jnp.where(share > 0, (1 - share) + share * (D + E - D * E), 1.0)
    return error, jnp.where(R < S, ratio, 1.0) * tangent


def _tangent(ratio: Array) -> Array:
    """The root u of p(u) + p(ratio · u) = 1 for a ratio in [0, 1], p(x) = x/(eˣ - 1); anything finite if it is 0.

    p falls from 1. At 1 the sum is above 1. At 2 - 2 ln(ratio) it is below: p(x) < 1 - x/2 + x²/12.
    """
    heard = jnp.where(ratio > 0, ratio, 1.0)

    def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        u = (low + high) / 2
        above = u / jnp.expm1(u) + heard * u / jnp.expm1(heard * u) > 1
        return jnp.where(above, u, low), jnp.where(above, high, u)

    return lax.fori_loop(0, BISECTIONS, halve, (jnp.ones_like(heard), 2 - 2 * jnp.log(heard)))[0]
