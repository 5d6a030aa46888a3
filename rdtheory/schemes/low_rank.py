r"""Low-rank factorization in the metric of the weight importance.

For an array of weights as a matrix W (a, b), all axes but the last by the last, and its importance A ⊗ B in row-major
order, the golden-rule objective is tr(ΔᵀA Δ B) = ‖A^½ Δ B^½‖², Δ = W - Ŵ. By Eckart & Young the best Ŵ of rank r is
the one that makes A^½ Ŵ B^½ the truncated singular value decomposition of Y = A^½ W B^½ = U S Vᵀ.
"""

import functools

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _progress
from rdtheory.results import LowRank

__all__ = ["svd", "weighted"]


@_progress.doing("low_rank.svd")
def svd(weights: Float[ArrayLike, "..."], rank: int) -> LowRank:
    r"""Best approximation of rank `rank` in the plain squared error, min ‖W - Ŵ‖².

    Parameters
    ----------
    weights : W, at least two axes; all but the last are taken together.
    rank : 1 to the smaller side of the matrix.

    Returns
    -------
    LowRank
        ``left`` (a, r), ``right`` (r, b), ``weights_hat`` in the shape of `weights`, all three in its dtype;
        ``objective`` ‖W - Ŵ‖² of that Ŵ, computed in JAX's default precision.

    Raises
    ------
    ValueError : fewer than two axes, `rank` out of range, weights that are not finite.
    TypeError : weights that are not floating.

    References
    ----------
    Eckart & Young (1936).

    Examples
    --------
    >>> print(svd(jnp.diag(jnp.array([3.0, 1.0])), 1).objective.round(9))
    1.0
    """
    w, ok = _matrix(weights)
    rank = _checks.count("rank", rank, 1, min(w.reshape(-1, w.shape[-1]).shape))
    return _checks.poison(_truncated(w, None, None, rank), ok)


@_progress.doing("low_rank.weighted")
def weighted(
    weights: Float[ArrayLike, "..."],
    input_factor: Float[ArrayLike, "a a"],
    output_factor: Float[ArrayLike, "b b"],
    rank: int,
) -> LowRank:
    r"""Best approximation of rank `rank` in the metric A ⊗ B, min tr((W - Ŵ)ᵀ A (W - Ŵ) B).

    .. math:: \hat W = (W B^{1/2} V_r)\, S_r^{-1}\, (U_r^\top A^{1/2} W), \qquad A^{1/2} W B^{1/2} = U S V^\top .

    Neither factor is inverted, so singular ones (an input that never varies) are no exception. Both golden rules hold.

    Parameters
    ----------
    weights : W, at least two axes; all but the last are taken together, a in number.
    input_factor, output_factor : A (a, a) and B (b, b), symmetric positive semidefinite, as of `importance.kronecker`.
    rank : 1 to the smaller side of the matrix.

    Returns
    -------
    LowRank
        ``left`` (a, r), ``right`` (r, b), ``weights_hat``, ``objective`` as for `svd`, ``parameters``
        r (a + b), ``singular_values`` of Y, by which rank can be shared out between layers. A component that the metric
        does not see, S_r = 0, is left zero. No derivative is promised.

    Raises
    ------
    ValueError : fewer than two axes, shapes disagree, an indefinite factor, `rank` out of range.
    TypeError : weights that are not floating.

    References
    ----------
    Eckart & Young (1936); Gao, Liu, Wang & Oh (2019), who name the building block.

    Examples
    --------
    >>> result = weighted(jnp.diag(jnp.array([3.0, 1.0])), jnp.diag(jnp.array([1.0, 16.0])), jnp.eye(2), 1)
    >>> print(jnp.abs(result.weights_hat).round(9))
    [[0. 0.]
     [0. 1.]]
    """
    w, ok = _matrix(weights)
    a, b = w.reshape(-1, w.shape[-1]).shape
    left, left_ok = _checks.covariance("input_factor", input_factor, size=a)
    right, right_ok = _checks.covariance("output_factor", output_factor, size=b)
    rank = _checks.count("rank", rank, 1, min(a, b))
    return _checks.poison(_truncated(w, left, right, rank), ok & left_ok & right_ok)


def _matrix(weights: ArrayLike) -> tuple[Array, _checks.Flag]:
    w, ok = _checks.weights("weights", weights)
    if w.ndim < 2:
        raise ValueError(f"weights must have at least two axes to be a matrix, got shape {w.shape}")
    return w, ok


@functools.partial(_compile.jit, static_argnums=3)
def _truncated(w: Array, a: Array | None, b: Array | None, rank: int) -> LowRank:
    """In the metric a ⊗ b; None is the identity, which is not stored."""
    matrix = w.astype(float).reshape(-1, w.shape[-1])
    root_a, root_b = (None if x is None else _root(x) for x in (a, b))
    u, s, vt = jnp.linalg.svd(_between(root_a, matrix, root_b), full_matrices=False)
    # Y V_r = U_r S_r and U_rᵀ Y = S_r V_rᵀ, so that A^½ Ŵ B^½ = Y V_r S_r⁻¹ U_rᵀ Y is the truncation.
    seen = s[:rank] > max(matrix.shape) * jnp.finfo(s.dtype).eps * s[0]
    half = jnp.where(seen, 1 / jnp.sqrt(jnp.where(seen, s[:rank], 1.0)), 0.0)
    left = ((matrix @ _between(root_b, vt[:rank].T)) * half[None, :]).astype(w.dtype)
    right = (half[:, None] * (_between(None, u[:, :rank].T, root_a) @ matrix)).astype(w.dtype)
    w_hat = (left.astype(float) @ right.astype(float)).astype(w.dtype)
    kept = w_hat.astype(float)
    lost = matrix - kept
    weighted = _between(a, lost, b)
    objective, orthogonality = jnp.sum(lost * weighted), jnp.sum(kept * weighted)
    power = jnp.sum(kept * _between(a, kept, b))
    both = (objective > 0) & (power > 0)
    norms = jnp.sqrt(jnp.where(both, objective, 1.0)) * jnp.sqrt(jnp.where(both, power, 1.0))
    return LowRank(
        left,
        right,
        w_hat.reshape(w.shape),
        jnp.maximum(objective, 0.0),
        orthogonality,
        jnp.where(both, orthogonality / norms, 0.0),
        jnp.asarray(rank * sum(matrix.shape)),
        s,
    )


def _between(left: Array | None, matrix: Array, right: Array | None = None) -> Array:
    matrix = matrix if left is None else left @ matrix
    return matrix if right is None else matrix @ right


def _root(matrix: Array) -> Array:
    """The symmetric square root."""
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None, :]) @ vectors.T
