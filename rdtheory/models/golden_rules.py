"""The two golden rules of compression: orthogonality, and least weighted error.

For a weight importance I_w a compressed ŵ should satisfy ŵᵀ I_w (w - ŵ) = 0 and minimize (w - ŵ)ᵀ I_w (w - ŵ). An
importance is given in full, (k, k) for k weights, or by its diagonal, an array of the shape of the weights.
"""

from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _metric
from rdtheory.results import GoldenRules

__all__ = ["project", "residuals"]


def residuals(
    weights: Float[ArrayLike, "..."],
    weights_hat: Float[ArrayLike, "..."],
    importance: Float[ArrayLike, "..."],
) -> GoldenRules:
    r"""How far a compressed model is from each golden rule.

    Parameters
    ----------
    weights, weights_hat : w and ŵ, of one shape, with k entries.
    importance : I_w >= 0; full (k, k), in the row-major order of the weights, or its diagonal in their shape.

    Returns
    -------
    GoldenRules
        ``orthogonality`` ŵᵀ I_w (w - ŵ), ``cosine`` the same normalized, ``objective`` (w - ŵ)ᵀ I_w (w - ŵ).
        Differentiable in the weights except where the cosine's norms vanish.

    Raises
    ------
    ValueError : shapes disagree, a negative diagonal or an indefinite matrix.

    References
    ----------
    Gao, Liu, Wang & Oh (2019).

    Examples
    --------
    >>> print(residuals(jnp.array([3.0, 1.0]), jnp.array([3.0, 0.0]), jnp.array([1.0, 2.0])))
    GoldenRules(orthogonality=Array(0., dtype=float64), cosine=Array(0., dtype=float64),
                objective=Array(2., dtype=float64))
    """
    w, w_ok = _checks.finite("weights", weights)
    w_hat, w_hat_ok = _checks.finite("weights_hat", weights_hat, shape=w.shape)
    matrix, ok = _metric.checked(importance, w.shape)
    return _checks.poison(_metric.residuals(w, w_hat, matrix), w_ok & w_hat_ok & ok)


def project(
    weights: Float[ArrayLike, "..."], importance: Float[ArrayLike, "..."], basis: Float[ArrayLike, "k r"]
) -> Float[Array, "..."]:
    r"""The ŵ in the span of `basis` that satisfies both golden rules: the projection in the metric of I_w.

    .. math:: \hat w = B\,(B^\top I_w B)^{+} B^\top I_w\, w .

    Pruning is B = the columns of the identity that are kept (then this is the optimal brain surgeon, and for a diagonal
    I_w it is plain masking); a quantizer's cells are B = one indicator column for each cell (then a diagonal I_w makes
    every entry the I_w-weighted mean of its cell).

    Parameters
    ----------
    weights : w, any shape, k entries.
    importance : I_w; full (k, k) or its diagonal in the shape of the weights.
    basis : B (k, r); columns that are zero or depend on others change nothing.

    Returns
    -------
    weights_hat : in the shape and dtype of `weights`; a column of importance zero gets zero. Differentiable in them.

    Raises
    ------
    ValueError : shapes disagree, a negative diagonal or an indefinite matrix.
    TypeError : weights that are not floating.

    References
    ----------
    Gao, Liu, Wang & Oh (2019); Hassibi & Stork (1993).

    Examples
    --------
    >>> print(project(jnp.array([1.0, 3.0, 5.0]), jnp.array([1.0, 3.0, 1.0]), jnp.array([[1.0, 0], [1, 0], [0, 1]])))
    [2.5 2.5 5. ]
    """
    w, w_ok = _checks.weights("weights", weights)
    b, b_ok = _checks.finite("basis", basis, 2)
    _checks.array("basis", b, shape=(w.size, b.shape[1]))
    matrix, ok = _metric.checked(importance, w.shape)
    return _checks.poison(_metric.project(w, matrix, b), w_ok & b_ok & ok)
