"""Quantization of a layer column after column, each error made up for by the columns that follow."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _progress
from rdtheory.results import FeedbackQuantized

__all__ = ["Damped", "conditional_importance", "damped", "error_feedback", "feed_back", "round_to_steps"]


class Damped(NamedTuple):
    """An importance I, and with its damping M diag(d) Mᵀ, M upper triangular with ones on its diagonal."""

    importance: Float[Array, "m m"]
    feedback: Float[Array, "m m"]  #: M
    conditional: Float[Array, " m"]  #: d


@_progress.doing("quantize.error_feedback")
def error_feedback(
    weights: Float[ArrayLike, "..."],
    importance: Float[ArrayLike, "m m"],
    *,
    step: Float[ArrayLike, "..."] | None = None,
    codebook: Float[ArrayLike, " levels"] | None = None,
    damping: Float[ArrayLike, ""] = 1e-2,
) -> FeedbackQuantized:
    r"""Round the columns one after another, each time moving those still to come to where they fit best (GPTQ, LDLQ).

    Given the errors e = w - ŵ of the columns before j, the least of eᵀ I e over all that is free has

    .. math:: \hat w_j = w_j + \sum_{i<j} M_{ij} e_i, \quad I = M\,\mathrm{diag}(d)\,M^\top, \quad
              e^\top I e = \sum_j d_j \Big(e_j + \sum_{i<j} M_{ij} e_i\Big)^2,

    M upper triangular with ones on its diagonal; that target is rounded. M⁻ᵀ diag(d)^{-1/2} is the Cholesky factor of
    the inverse of I that GPTQ uses; here no inverse is formed. In the mean this is better than rounding each weight on
    its own; not for every layer.

    Parameters
    ----------
    weights : w, (m,) or rows (r, m) that share the importance; for other importances per row, use jax.vmap. A whole
        model with a full (k, k) importance is one row of k weights.
    importance : I (m, m), symmetric positive semidefinite.
    step : round to multiples of these, > 0, of any shape that broadcasts against the weights; where infinite, to zero.
    codebook : round to the nearest of these values instead; give one of the two.
    damping : this times the mean of the diagonal of I is added to that diagonal, >= 0; where I is all zero, as it is
        for inputs that are, this itself. It is needed where I is singular, as it is for inputs that never vary.

    Returns
    -------
    FeedbackQuantized : ``weights_hat`` in the dtype of the weights, ``labels``, ``objective``. No derivative is
        promised.

    Raises
    ------
    TypeError : weights that are not floating.
    ValueError : shapes disagree, an indefinite matrix, a singular one without damping, steps that are not positive,
        both or none of the quantizers.

    References
    ----------
    Frantar, Ashkboos, Hoefler & Alistarh (2023), GPTQ; Chee, Cai, Kuleshov & De Sa (2023), QuIP.

    Examples
    --------
    Two inputs that are nearly equal: what the first weight loses, the second makes up for.

    >>> importance = jnp.array([[1.0, 0.9], [0.9, 1.0]])
    >>> print(error_feedback(jnp.array([0.4, 0.4]), importance, step=1.0).weights_hat)
    [0. 1.]
    """
    w, w_ok = _checks.weights("weights", weights)
    if w.ndim not in (1, 2):
        raise ValueError(f"weights must be a vector or a matrix (for several, use jax.vmap), got shape {w.shape}")
    matrix, matrix_ok = _checks.covariance("importance", importance, size=w.shape[-1])
    share, share_ok = _checks.nonnegative("damping", damping)
    metric, regular = damped("importance", matrix, share)
    if step is not None and codebook is None:
        steps, quantizer_ok = _steps(step, w.shape)
        result = feed_back(jnp.atleast_2d(w), metric, jnp.atleast_2d(steps))
    elif codebook is not None and step is None:
        entries, quantizer_ok = _checks.finite("codebook", codebook, 1)
        result = _feed_back_codebook(jnp.atleast_2d(w), metric, entries)
    else:
        raise ValueError("error_feedback needs either step or codebook, the quantizer to round with")
    result = FeedbackQuantized(result.weights_hat.reshape(w.shape), result.labels.reshape(w.shape), result.objective)
    return _checks.poison(result, w_ok & matrix_ok & share_ok & regular & quantizer_ok)


def conditional_importance(
    importance: Float[ArrayLike, "m m"], *, damping: Float[ArrayLike, ""] = 1e-2
) -> Float[Array, " m"]:
    r"""What an error in each column costs when the columns after it make up for it: the d of `error_feedback`.

    With error feedback the objective is Σ_j d_j (rounding error of column j)², so d takes the place of the diagonal of
    the importance when steps are chosen. d_j ≤ I_jj, and Π d_j = det I.

    Parameters
    ----------
    importance : (m, m), symmetric positive semidefinite.
    damping : as for `error_feedback`.

    Raises
    ------
    ValueError : an indefinite matrix, a singular one without damping.

    Examples
    --------
    >>> print(conditional_importance(jnp.array([[2.0, 1.0], [1.0, 2.0]]), damping=0.0))
    [1.5 2. ]
    """
    matrix, matrix_ok = _checks.covariance("importance", importance)
    share, share_ok = _checks.nonnegative("damping", damping)
    metric, regular = damped("importance", matrix, share)
    return _checks.poison(metric.conditional, matrix_ok & share_ok & regular)


@_compile.jit
def feed_back(w: Float[Array, "r m"], metric: Damped, steps: Array) -> FeedbackQuantized:
    """`error_feedback` of rows, with a step for every weight, of arguments that were checked.

    Examples
    --------
    >>> print(feed_back(jnp.ones((1, 2)), damped("it", jnp.eye(2), jnp.array(0.0))[0], jnp.full((1, 2), 0.3)).labels)
    [[3 3]]
    """
    return _in_columns(w, metric, steps.T, round_to_steps)


@_compile.jit
def _feed_back_codebook(w: Array, metric: Damped, codebook: Array) -> FeedbackQuantized:
    def nearest(target: Array, _: Array) -> tuple[Array, Array]:
        labels = jnp.argmin(jnp.abs(target[:, None] - codebook[None, :]), axis=1)
        return labels, codebook[labels]

    return _in_columns(w, metric, w.T, nearest)


def round_to_steps(target: Array, steps: Array) -> tuple[Array, Array]:
    """Labels and values of the nearest multiples; zero where the step is infinite.

    Examples
    --------
    >>> print(round_to_steps(jnp.array([1.0, 1.0]), jnp.array([0.4, jnp.inf]))[1])
    [0.8 0. ]
    """
    used = jnp.isfinite(steps)
    # A label is an integer of 32 bits; a coarser step is what someone wants who would need longer ones.
    labels = jnp.clip(jnp.round(jnp.where(used, target / steps, 0.0)), -(2.0**30), 2.0**30)
    return labels.astype(jnp.int32), jnp.where(used, labels * jnp.where(used, steps, 1.0), 0.0)


def _in_columns(
    w: Array,
    metric: Damped,
    quantizer: Array,
    rounded: Callable[[Array, Array], tuple[Array, Array]],
) -> FeedbackQuantized:
    """`rounded` turns a column of targets and its row of `quantizer` into labels and values.

    What is fed back is the error of the values as they are stored, in the precision of the weights.
    """
    exact = w.astype(float)

    def column(shift: Array, item: tuple[Array, Array, Array, Array]):
        j, weights, row, settings = item
        labels, values = rounded(weights + shift[:, j], settings)
        weights_hat = values.astype(w.dtype)
        return shift + (weights - weights_hat.astype(float))[:, None] * row[None, :], (labels, weights_hat)

    items = (jnp.arange(w.shape[1]), exact.T, metric.feedback, quantizer)
    _, (labels, weights_hat) = lax.scan(column, jnp.zeros_like(exact), items)
    lost = exact - weights_hat.T.astype(float)
    return FeedbackQuantized(weights_hat.T, labels.T, jnp.sum((lost @ metric.importance) * lost))


def damped(name: str, importance: Array, damping: Array) -> tuple[Damped, _checks.Flag]:
    """The factors of an importance that was checked, and whether it has them.

    Examples
    --------
    >>> print(damped("it", jnp.array([[2.0, 1.0], [1.0, 2.0]]), jnp.array(0.0))[0].feedback)
    [[1.  0.5]
     [0.  1. ]]
    """
    result, least = _factors(importance, damping)
    # What is left of a pivot by the rounding of all before it is none; NaN, where the last was below zero, is no pivot.
    regular = _checks.holds(
        _checks.look(least)[1] > len(importance) * jnp.finfo(importance.dtype).eps,
        lambda: f"{name} is singular, and damping {damping} does not help: it must be larger (1e-2 is usual)",
    )
    return result, regular


@functools.partial(_compile.jit, brief=True)
def _factors(importance: Array, damping: Array) -> tuple[Damped, Array]:
    """With the least pivot, as a share of its entry of the diagonal."""
    m = len(importance)
    mean = jnp.trace(importance) / m
    # An importance of zeros has no unit of its own to measure the damping in.
    total = importance + damping * jnp.where(mean > 0, mean, 1.0) * jnp.eye(m)
    # Cholesky from the last column up: of the matrix with its order reversed.
    upper = jnp.linalg.cholesky(total[::-1, ::-1])[::-1, ::-1]
    diagonal = jnp.diagonal(upper)
    return Damped(importance, upper / diagonal[None, :], diagonal**2), jnp.min(diagonal**2 / jnp.diagonal(total))


def _steps(step: ArrayLike, shape: tuple[int, ...]) -> tuple[Array, _checks.Flag]:
    given = _checks.array("step", step)
    try:
        steps = jnp.broadcast_to(given.reshape((1,) * (len(shape) - given.ndim) + given.shape), shape)
    except ValueError as error:
        raise ValueError(f"step must broadcast against the weights, {shape}, got shape {given.shape}") from error
    _, v = _checks.look(given)
    return steps, _checks.holds((v > 0).all(), lambda: f"step must be > 0 (infinite where all is zero), got {given}")
