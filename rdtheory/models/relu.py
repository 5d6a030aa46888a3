"""One hidden layer of ReLU units under centered Gaussian inputs: everything in closed form.

One neuron is f_w(x) = ReLU(wᵀx); a layer is f_W(x) = Σ_j v_j ReLU(w_jᵀx), with fixed output weights v_j, scalars or
vectors. In the inner product ⟨u, v⟩ = uᵀ Σ_X v, with θ the angle between u and v,

    E ReLU(uᵀX) ReLU(vᵀX) = ½⟨u, v⟩ + ‖u‖‖v‖ (sin θ - θ cos θ)/2π,

the arc-cosine kernel of order 1 written so that the second term is small where u and v are close.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _progress
from rdtheory.models import _arc_cosine
from rdtheory.results import BestScale, Choice, OptimalityCheck

__all__ = ["best_scale", "distortion", "importance", "optimality"]


def distortion(
    weights: Float[ArrayLike, "*h m"],
    weights_hat: Float[ArrayLike, "*h m"],
    input_cov: Float[ArrayLike, "m m"],
    output_weights: Float[ArrayLike, "h *k"] | None = None,
) -> Float[Array, ""]:
    r"""Distortion E‖f_w(X) - f_ŵ(X)‖² of a compressed ReLU neuron or layer, X ~ N(0, Σ_X).

    For one neuron, with θ the angle between w and ŵ,

    .. math:: d(w,\hat w) = (w-\hat w)^\top I_w (w-\hat w) - \|w\|\|\hat w\|\,\frac{\sin\theta-\theta\cos\theta}{\pi},

    so the golden-rule objective, with I_w = Σ_X/2, is never less than the distortion. A layer sums the kernel over
    all pairs of neurons.

    Parameters
    ----------
    weights, weights_hat : (m,) for one neuron, (h, m) for a layer.
    input_cov : (m, m), symmetric positive semidefinite; Σ_X.
    output_weights : v, (h,) for one output or (h, k) for k of them; only with a layer.

    Returns
    -------
    d(w, ŵ) in squared output units, summed over outputs. Differentiable in both weights, except where a neuron is zero
        (it has a kink there, and JAX's derivative is one of its one-sided ones). Rounding is relative to the
        size of the outputs for a layer, and to (w - ŵ)ᵀ Σ_X (w - ŵ) for one neuron.

    Raises
    ------
    ValueError : shapes disagree, an indefinite covariance, a layer without output weights.

    References
    ----------
    Cho & Saul (2009) for the kernel; Gao, Liu, Wang & Oh (2019), the theorem on one-hidden-layer ReLU networks.

    Examples
    --------
    >>> w, w_hat = jnp.array([3.0, 4.0]), jnp.array([0.0, 4.0])
    >>> print(f"{distortion(w, w_hat, jnp.eye(2)):.6f}")
    3.957606
    """
    w, w_hat, cov, v, ok = _arguments(weights, weights_hat, input_cov, output_weights)
    return _checks.poison(_arc_cosine.distortion(w, w_hat, cov, v), ok)


def importance(
    weights: Float[ArrayLike, "*h m"],
    input_cov: Float[ArrayLike, "m m"],
    output_weights: Float[ArrayLike, "h *k"] | None = None,
) -> Float[Array, "hm hm"]:
    r"""Full weight importance I_w = E ∇f ∇fᵀ of a ReLU neuron or layer, X ~ N(0, Σ_X).

    One neuron has I_w = Σ_X/2 for every w ≠ 0. Block (i, j) of a layer is, with a = Σ_X w_i/‖w_i‖, b = Σ_X w_j/‖w_j‖,

    .. math:: v_i\cdot v_j\left[\frac{\pi-\theta}{2\pi}\Sigma_X
              + \frac{ab^\top + ba^\top - \cos\theta\,(aa^\top + bb^\top)}{2\pi\sin\theta}\right].

    Parameters
    ----------
    weights : (m,) for one neuron, (h, m) for a layer; no neuron may be zero, where f has no gradient.
    input_cov : (m, m), symmetric positive semidefinite; Σ_X.
    output_weights : v, (h,) for one output or (h, k) for k of them; only with a layer.

    Returns
    -------
    I_w, (m, m) or (h m, h m) in the row-major order of the weights. Its diagonal in the shape of the weights is
        ``jnp.diagonal(I_w).reshape(weights.shape)``. No derivative is promised.

    Raises
    ------
    ValueError : shapes disagree, an indefinite covariance, a neuron that is zero for these inputs.

    References
    ----------
    Derived from Gaussian orthant moments; Gao, Liu, Wang & Oh (2019) for the definition.

    Examples
    --------
    >>> print(importance(jnp.array([3.0, 4.0]), jnp.eye(2)))
    [[0.5 0. ]
     [0.  0.5]]
    """
    w, _, cov, v, ok = _arguments(weights, weights, input_cov, output_weights)
    return _checks.poison(_arc_cosine.importance(w, cov, v), ok & _has_gradient(w, cov))


def best_scale(
    weights: Float[ArrayLike, "*h m"],
    weights_hat: Float[ArrayLike, "*h m"],
    input_cov: Float[ArrayLike, "m m"],
    output_weights: Float[ArrayLike, "h *k"] | None = None,
) -> BestScale:
    r"""The factor by which the compressed weights should be multiplied, and what the golden rules' own scale costs.

    f is homogeneous in the hidden weights, so the best factor is E f_w·f_ŵ / E‖f_ŵ‖² where that is positive. For one
    neuron the best norm is ‖w‖(sin θ + (π - θ) cos θ)/π, never less than the ‖w‖ cos θ that orthogonality prescribes.

    Parameters
    ----------
    weights, weights_hat, input_cov, output_weights : as for `distortion`.

    Returns
    -------
    BestScale
        ``scale`` >= 0, ``distortion`` at that scale, and ``cost`` = d(w, ŵ) - ``distortion``, in squared output units.
        No derivative is promised.

    Raises
    ------
    ValueError : as for `distortion`.

    Examples
    --------
    >>> best = best_scale(jnp.array([3.0, 4.0]), jnp.array([0.0, 4.0]), jnp.eye(2))
    >>> print(f"{best.scale:.6f} {best.cost:.6f}")
    1.033900 0.009193
    """
    w, w_hat, cov, v, ok = _arguments(weights, weights_hat, input_cov, output_weights)
    return _checks.poison(_best_scale(w, w_hat, cov, v), ok)


@_progress.doing("relu.optimality")
def optimality(
    weights: Float[ArrayLike, "*h m"],
    candidates: Float[ArrayLike, "c *h m"],
    input_cov: Float[ArrayLike, "m m"],
    output_weights: Float[ArrayLike, "h *k"] | None = None,
) -> OptimalityCheck:
    r"""Does minimizing the golden-rule objective minimize the true distortion? Exhaustively over candidates.

    For one neuron and candidates that satisfy ŵᵀ I_w (w - ŵ) = 0 the theorem says yes: ‖ŵ‖ = ‖w‖ cos θ, and both
    the objective ½‖w‖² sin²θ and the distortion increase with θ. For other candidates, and for a layer, the
    excess distortion of each choice says how nearly.

    Parameters
    ----------
    weights : (m,) or (h, m).
    candidates : (c, m) or (c, h, m), the compressed models to choose from, e.g. from `candidates.pruned`.
    input_cov, output_weights : as for `distortion`.

    Returns
    -------
    OptimalityCheck
        the ``best`` candidate, and what is chosen by the ``full`` importance, by its ``diagonal``, and by
        ``magnitude``, the unweighted ‖w - ŵ‖²: index, distortion and relative excess of each. A tie to rounding is
        resolved in favor of the better candidate.

    Raises
    ------
    ValueError : as for `importance`.

    References
    ----------
    Gao, Liu, Wang & Oh (2019), the theorem on one-hidden-layer ReLU networks.

    Examples
    --------
    >>> w = jnp.array([3.0, 1.0])
    >>> check = optimality(w, jnp.array([[3.0, 0.0], [0.0, 1.0]]), jnp.eye(2))
    >>> print(check.best_index, check.full.index, check.full.excess)
    0 0 0.0
    """
    given, given_ok = _checks.finite("candidates", candidates)
    w, _, cov, v, ok = _arguments(weights, weights, input_cov, output_weights)
    if given.shape[1:] != w.shape:
        raise ValueError(f"candidates must have shape (c, {', '.join(map(str, w.shape))}), got {given.shape}")
    ok &= given_ok & _has_gradient(w, cov)
    return _checks.poison(_optimality(w, given, cov, v), ok)


def _has_gradient(w: Array, cov: Array) -> _checks.Flag:
    xp, weights, input_cov = _checks.look(w, cov)
    return _checks.holds(
        (xp.sum((weights @ input_cov) * weights, axis=-1) > 0).all(),
        lambda: "weights must not hold a neuron that is zero for these inputs: f has no gradient there",
    )


def _arguments(
    weights, weights_hat, input_cov, output_weights
) -> tuple[Array, Array, Array, Array | None, _checks.Flag]:
    """The weights, both sets; Σ_X; output weights, None for one neuron; validity."""
    w, w_ok = _checks.finite("weights", weights)
    if w.ndim not in (1, 2):
        raise ValueError(f"weights must have shape (m,) for one neuron or (h, m) for a layer, got {w.shape}")
    w_hat, w_hat_ok = _checks.finite("weights_hat", weights_hat, shape=w.shape)
    cov, ok = _checks.covariance("input_cov", input_cov, size=w.shape[-1])
    ok &= w_ok & w_hat_ok
    if w.ndim == 1:
        if output_weights is not None:
            raise ValueError("output_weights belong to a layer, weights of shape (h, m); got one neuron, shape (m,)")
        return w, w_hat, cov, None, ok
    if output_weights is None:
        raise ValueError(f"weights of shape {w.shape} are a layer: give its output_weights, shape ({w.shape[0]},)")
    v, v_ok = _checks.finite("output_weights", output_weights)
    if v.ndim not in (1, 2) or v.shape[0] != w.shape[0]:
        raise ValueError(f"output_weights must have shape ({w.shape[0]},) or ({w.shape[0]}, k), got {v.shape}")
    return w, w_hat, cov, v, ok & v_ok


@_compile.jit
def _best_scale(w: Array, w_hat: Array, cov: Array, v: Array | None) -> BestScale:
    outer, bent = _arc_cosine.inner_products(v), _arc_cosine.bends(w, w_hat, cov)
    rows, rows_hat = jnp.atleast_2d(w), jnp.atleast_2d(w_hat)
    cross = 0.5 * jnp.sum(outer * (rows @ cov @ rows_hat.T + bent[2]))
    power = 0.5 * jnp.sum(outer * (rows_hat @ cov @ rows_hat.T + bent[1]))
    scale = jnp.maximum(jnp.where(power > 0, cross / jnp.where(power > 0, power, 1.0), 0.0), 0.0)
    # d(w, a ŵ) = E f² - 2 a cross + a² power, so a = 1 costs power (1 - a*)² more than the best a*; clipped at a* = 0
    # it costs power - 2 cross.
    cost = jnp.where(scale > 0, power * (1 - scale) ** 2, power - 2 * cross)
    best = _arc_cosine.scaled_distortion(w, w_hat, scale, bent, cov, v)
    return BestScale(scale, best, jnp.maximum(cost, 0.0))


@_compile.jit
def _optimality(w: Array, candidates: Array, cov: Array, v: Array | None) -> OptimalityCheck:
    true = jax.vmap(lambda w_hat: _arc_cosine.distortion(w, w_hat, cov, v))(candidates)
    best = jnp.argmin(true)
    full = _arc_cosine.importance(w, cov, v)
    lost = (w[None] - candidates).reshape(len(candidates), -1)

    def choose(objective: Array) -> Choice:
        slack = 1e-12 * jnp.max(objective)
        index = jnp.argmin(jnp.where(objective <= jnp.min(objective) + slack, true, jnp.inf))
        excess = jnp.where(true[best] > 0, true[index] / jnp.where(true[best] > 0, true[best], 1.0) - 1, 0.0)
        return Choice(index, true[index], jnp.where((true[best] == 0) & (true[index] > 0), jnp.inf, excess))

    return OptimalityCheck(
        best,
        true[best],
        choose(jnp.sum((lost @ full) * lost, axis=1)),
        choose(lost**2 @ jnp.diagonal(full)),
        choose(jnp.sum(lost**2, axis=1)),
    )
