"""Globally optimal codebooks, by dynamic programming."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _progress
from rdtheory.results import Codebook, CodedSize
from rdtheory.schemes.quantize import exact_kmeans
from rdtheory.schemes.quantize.lloyd_max import like, weighted
from rdtheory.schemes.quantize.sizes import ENTRY_BITS, size_of

__all__ = ["centroid", "kmeans", "quartic"]


@_progress.doing("quantize.kmeans")
def kmeans(values: Float[ArrayLike, "..."], levels: int, importance: Float[ArrayLike, "..."] | None = None) -> Codebook:
    r"""The codebook of least weighted squared error: the global optimum, by dynamic programming.

    .. math:: \min_{c_1 < \dots < c_K,\ \text{labels}} \sum_i I_i (w_i - c_{\text{label}_i})^2 .

    The cells of an optimum are intervals of the sorted weights, found in O(K n log n) on the host: a million weights at
    16 levels take about four seconds. No codebook does better, up to rounding of about 1e-15 of Σ I max (w - mean)²:
    weights are not told apart beside outliers 10⁷ times farther off, nor beside others that count 10¹⁵ times as much.

    Parameters
    ----------
    values : w, any shape, floating; the codebook has their dtype. What is computed inside is so in float64.
    levels : K >= 1, static.
    importance : I >= 0 in the shape of the weights; without it all weights count alike, as they do if all are zero.
        A weight of importance zero gets the nearest value.

    Returns
    -------
    Codebook
        ``codebook`` (K,) ascending, ``labels``, ``objective``, ``size``. Each value is the weighted mean of its cell:
        the first golden rule holds. With K above the number of distinct weights that count, the last value repeats.
        The objective is that of the codebook as rounded to the dtype. The size counts 32 bits for each of the K values;
        rounding what is in float64 is left to the caller. No derivative is promised.

    Raises
    ------
    ValueError : shapes disagree, a negative importance, values that are not finite or of squares that are not, no
        level.
    TypeError : values that are not floating.

    References
    ----------
    Wu (1991), Optimal quantization by matrix searching; Wang & Song (2011), Ckmeans.1d.dp.

    Examples
    --------
    >>> found = kmeans(jnp.array([0.0, 1.0, 5.0, 7.0]), 2, jnp.array([1.0, 3.0, 1.0, 1.0]))
    >>> print(found.codebook, found.labels, found.objective)
    [0.75 6.  ] [0 0 1 1] 2.75
    """
    w, a, ok = weighted(values, importance)
    return _optimal(w, a, None, _checks.count("levels", levels, 1), ok)


@_progress.doing("quantize.quartic")
def quartic(
    values: Float[ArrayLike, "..."],
    levels: int,
    importance: Float[ArrayLike, "..."],
    curvature: Float[ArrayLike, "..."],
) -> Codebook:
    r"""The codebook of least error to second order in the loss, which has fourth powers: the global optimum.

    .. math:: \min \sum_i a_i \delta_i^2 + b_i \delta_i^4, \qquad \delta_i = w_i - c_{\text{label}_i} .

    With g and h the first and second derivative of an example's loss in one weight, the loss changes by gδ + ½hδ². Its
    mean square over the examples is a δ² + b δ⁴ for a = E g² and b = ¼ E h², without the term in δ³, which vanishes for
    errors that are as often positive as negative. Whatever a and b are, a term grows with |δ|: so the best label is the
    nearest value, each value is the `centroid` of its cell, and the dynamic program of `kmeans` applies, with about
    ten times the work.

    Parameters
    ----------
    values : w, any shape.
    levels : number of values, static.
    importance, curvature : a, b >= 0 in the shape of the weights.

    Returns
    -------
    Codebook : as from `kmeans`, with this objective.

    Raises
    ------
    ValueError : shapes disagree, a negative coefficient, values that are not finite, no level.

    References
    ----------
    Gao, Liu, Wang & Oh (2019), gradient and Hessian in the quantization experiment; the solution is derived here.

    Examples
    --------
    >>> print(quartic(jnp.array([0.0, 1.0, 4.0]), 1, jnp.zeros(3), jnp.ones(3)).codebook)
    [1.96281504]
    """
    w, a, ok = weighted(values, importance)
    b, b_ok = like("curvature", curvature, w)
    return _optimal(w, a, b, _checks.count("levels", levels, 1), ok & b_ok)


def centroid(
    values: Float[ArrayLike, "..."], importance: Float[ArrayLike, "..."], curvature: Float[ArrayLike, "..."]
) -> Float[Array, ""]:
    r"""The one value of least Σ a (w - c)² + b (w - c)⁴: the real root of a cubic, in closed form.

    Parameters
    ----------
    values : w, any shape.
    importance, curvature : a, b >= 0 in that shape; where all are zero the mean is returned.

    Raises
    ------
    ValueError : shapes disagree, a negative coefficient, values that are not finite.

    Examples
    --------
    >>> print(f"{centroid(jnp.array([0.0, 1.0, 4.0]), jnp.zeros(3), jnp.ones(3)):.6f}")
    1.962815
    """
    w, a, ok = weighted(values, importance)
    b, b_ok = like("curvature", curvature, w)
    return _checks.poison(_centroid(w, a, b), ok & b_ok)


def _optimal(w: Array, a: Array, b: Array | None, levels: int, ok: _checks.Flag) -> Codebook:
    def fit(w: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
        flat = [np.asarray(x, np.float64).ravel() for x in (w, a, b)]
        codebook, labels, objective = exact_kmeans.fit(*flat, levels, w.dtype)
        return codebook, labels.astype(np.int32).reshape(w.shape), np.asarray(objective, a.dtype)

    b = jax.device_put(np.zeros(a.shape, a.dtype)) if b is None else b
    codebook, labels, objective = _on_host(fit, levels, ok, w, a, b)
    return _checks.poison(Codebook(codebook, labels, objective, _size(labels, levels)), ok)


def _on_host(fit: Callable, levels: int, ok: _checks.Flag, w: Array, *coefficients: Array) -> list[Array]:
    """`fit` of NumPy arrays: at once if they are at hand, else when the compiled function has them."""
    if _checks.look(w, *coefficients)[0] is np:
        return [jax.device_put(x) for x in fit(*(np.asarray(x) for x in (w, *coefficients)))]
    kinds = ((levels,), w.dtype), (w.shape, jnp.int32), ((), coefficients[0].dtype)
    shapes = [jax.ShapeDtypeStruct(*kind) for kind in kinds]
    sound = [jnp.where(ok, x, 0.0) for x in (w, *coefficients)]  # an invalid item becomes NaN later
    return list(
        jax.pure_callback(lambda *given: fit(*map(np.asarray, given)), tuple(shapes), *sound, vmap_method="sequential")
    )


@functools.partial(_compile.jit, static_argnums=1)
def _size(labels: Array, levels: int) -> CodedSize:
    return size_of(labels, levels=levels, codebook_bits=ENTRY_BITS * levels)


@_compile.jit
def _centroid(w: Array, a: Array, b: Array) -> Array:
    kind, w = w.dtype, w.astype(float)
    nothing = (jnp.max(a) == 0) & (jnp.max(b) == 0)
    a = jnp.where(nothing, 1.0, a)
    middle = (jnp.min(w) + jnp.max(w)) / 2
    scale = jnp.maximum(jnp.max(jnp.abs(w - middle)), jnp.finfo(w.dtype).tiny)
    away = (w - middle) / scale
    unit = jnp.maximum(jnp.max(a), jnp.max(b) * scale**2)
    a, b = a / unit, b * (scale**2 / unit)
    sums = [jnp.sum(x * away**k) for x, powers in ((a, 2), (b, 4)) for k in range(powers)]
    return (middle + scale * exact_kmeans.cubic_root(sums[:2], sums[2:], jnp)).astype(kind)
