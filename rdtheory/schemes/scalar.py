"""Entropy-coded scalar quantization: a uniform grid, a zero cell as wide as pays, and centroids.

What `quantize` gives is a leaf for `bitstream.encode`, which counts its bits. For Gaussian weights it comes within
½ log(2πe/12) = 0.2546 bit of the rate-distortion function, and closer below two bits. Weights of different spread and
importance follow one water level: `water_step` gives the step of each, `spread_classes` what is coded together,
`least_dead_zone` how wide the zero cell is to be.
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Integer

from rdtheory import _checks, _compile
from rdtheory.results import Quantized
from rdtheory.schemes.quantize.water_steps import positive

__all__ = ["least_dead_zone", "quantize", "spread_classes", "water_step"]

WORTH = 1 / 3  # of a step: less spread is not worth a bit. The water level itself is at 1/√12
LAST_CLASS = 255  # that a bitstream knows
OFFSET_UNIT = 128
LARGEST = 2.0**31


def quantize(
    weights: Float[ArrayLike, "..."],
    step: Float[ArrayLike, "..."],
    importance: Float[ArrayLike, "..."] | None = None,
    *,
    dead_zone: Float[ArrayLike, "..."] = 0.0,
    classes: Integer[ArrayLike, "..."] | None = None,
    moved: int = 2,
) -> Quantized:
    r"""Labels of a uniform threshold quantizer, for entropy coding.

    .. math:: k = \operatorname{sign}(w) \max(0, \lfloor |w|/\Delta + \tfrac12 - z \rfloor)

    A dead zone z > 0 makes the cell of zero 1 + 2z steps wide and moves the others out: fewer bits for more error. A
    label ±k is decoded as the weighted mean of its cell, rounded to a 128th of a step: each k below `moved` has its
    own, and those from there on share their distance from the grid.

    Parameters
    ----------
    weights : w, any shape.
    step : Δ > 0, broadcasts against the weights; infinite for a weight that is not described. In the bitstream it is as
        precise as its dtype, which for a plain number is that of the weights, or float32 for a shorter one, and takes
        few bits if it has few values. What a decoder knows anyhow need not be there:
        with weights in units of their own step, w_i/Δ_i, it is 1.
    importance : in the shape of the weights: how much the error of each counts in the means; without it all count
        alike.
    dead_zone : z in [0, ½], broadcasts against the weights; not stored. See `least_dead_zone`.
    classes : whole numbers 0..255 that broadcast against the weights: those of a class share their frequencies, and
        class 0 is not described. See `spread_classes`.
    moved : number of means, static; 0 for the grid itself.

    Returns
    -------
    Quantized : int32 labels; `bitstream.dequantize` gives the weights, in the dtype of the step. No derivative is
        promised.

    Raises
    ------
    TypeError : weights that are not floating.
    ValueError : shapes disagree, a step that is not positive, a dead zone outside [0, ½], labels beyond 31 bits.

    References
    ----------
    Gish & Pierce (1968), Asymptotically efficient quantizing; Sullivan (1996), for the dead zone.

    Examples
    --------
    >>> found = quantize(jnp.array([0.9, -0.6, 0.1, 0.3]), 0.5, dead_zone=0.2)
    >>> print(found.labels, found.offsets)
    [ 2 -1  0  0] [ 26 -26   0  26 -26]
    """
    w, w_ok = _checks.weights("weights", weights)
    told = _checks.stored(step)
    if not (hasattr(step, "dtype") and jnp.issubdtype(told.dtype, jnp.floating)):
        told = told.astype(jnp.promote_types(w.dtype, jnp.float32))
    delta = _checks.array("step", told)
    zone = _checks.array("dead_zone", dead_zone)
    ok = w_ok & _beside("step", delta, w, lambda v: v > 0, "> 0")
    ok &= _beside("dead_zone", zone, w, lambda v: (v >= 0) & (v <= 0.5), "in [0, 1/2]")
    a = None
    if importance is not None:
        a, a_ok = _checks.nonnegative("importance", _checks.array("importance", importance, shape=w.shape), w.ndim)
        ok &= a_ok
    group = None
    if classes is not None:
        group = _checks.stored(classes)
        if not jnp.issubdtype(group.dtype, jnp.integer):
            raise ValueError(f"classes must be whole numbers, got dtype {group.dtype}")
        ok &= _beside("classes", group, w, lambda v: (v >= 0) & (v <= LAST_CLASS), "in 0..255")
    labels, offsets, top = _quantize(w, delta, a, zone, group, _checks.count("moved", moved, 0, 127))
    top = _checks.look(top)[1]
    ok &= _checks.holds(top < LARGEST, lambda: f"labels must be below 2^31, got {top}: the step is too small")
    return _checks.poison(Quantized(labels, told, None, offsets, group, None), ok)


def water_step(importance: Float[ArrayLike, "..."], level: Float[ArrayLike, ""]) -> Float[Array, "..."]:
    r"""The step that leaves a weight the error μ/λ at high rate: Δ = √(12 μ/λ).

    Weighted reverse water-filling gives weight i the error min(μ/λ_i, σ_i²), where all slopes are alike. The slope of a
    uniform quantizer depends on λ Δ² alone, up to two percent where it spends more than one bit.

    Parameters
    ----------
    importance : λ >= 0 of each weight, any shape. Zeros get an infinite step.
    level : μ > 0, the common level of λ times squared error.

    Returns
    -------
    step : in the shape of the importance.

    Raises
    ------
    ValueError : a negative importance, a level that is not positive.

    Examples
    --------
    >>> print(water_step(jnp.array([1.0, 4.0, 0.0]), 1 / 12))
    [1.  0.5 inf]
    """
    given = _checks.array("importance", importance)
    weight, ok = _checks.nonnegative("importance", given, given.ndim)
    mu, level_ok = positive("level", level)
    return _checks.poison(_water_step(weight, mu), ok & level_ok)


def spread_classes(
    variances: Float[ArrayLike, "..."], step: Float[ArrayLike, "..."], *, per_octave: int = 2
) -> Int[Array, "..."]:
    """Classes of weights whose deviation is about the same multiple of the step, so that their labels have one law.

    Taking those for equal that differ by up to an octave over `per_octave` loses (log 2)/(12 per_octave²) bit of each
    Gaussian weight, 0.014 bit for two classes to the octave, and each class takes about 15 bits in the bitstream, or 5
    where the class of a weight is known from its row. Class 0 is what no scalar
    quantizer can describe for less than it saves, σ <= Δ/3; what lies under water, σ² <= μ/λ = Δ²/12, is part of it.

    Parameters
    ----------
    variances : σ² >= 0, any shape.
    step : Δ > 0, broadcasts against the variances.
    per_octave : classes to the octave of σ/Δ, static.

    Returns
    -------
    classes : in the shape of the variances, 0..255.

    Raises
    ------
    ValueError : a negative variance, a step that is not positive, shapes that disagree.

    Examples
    --------
    >>> print(spread_classes(jnp.array([0.1, 1.0, 4.0, 4.1]), 1.0))
    [0 4 6 6]
    """
    v, delta, ok = _spread(variances, step)
    return _checks.poison(_classes(v, delta, _checks.count("per_octave", per_octave, 1)), ok)


def least_dead_zone(variances: Float[ArrayLike, "..."], step: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""The dead zone of least λD + slope · rate for a Gaussian weight whose step follows the water level.

    At the slope 2 ln 2 · Δ²/12 of the other weights the best z is near :math:`\min(\tfrac12, 0.02 (\Delta/\sigma)^3)`:
    none at high rate. The formula was fitted, to 0.04, to the optimum found numerically for σ/Δ from 0.4 to 5.

    Parameters
    ----------
    variances, step : as for `spread_classes`.

    Returns
    -------
    dead_zone : in the shape of the variances, for `quantize`.

    Raises
    ------
    ValueError : as for `spread_classes`.

    Examples
    --------
    >>> print(least_dead_zone(jnp.array([0.16, 4.0]), 1.0))
    [0.3125 0.0025]
    """
    v, delta, ok = _spread(variances, step)
    return _checks.poison(_dead_zone(v, delta), ok)


@_compile.jit
def _water_step(importance: Array, level: Array) -> Array:
    heard = importance > 0
    return jnp.where(heard, jnp.sqrt(12 * level / jnp.where(heard, importance, 1.0)), jnp.inf)


@_compile.jit
def _classes(variances: Array, step: Array, per_octave: ArrayLike) -> Array:
    ratio = _ratio(variances, step)
    place = jnp.round(per_octave * jnp.log2(jnp.where(ratio > WORTH, ratio / WORTH, 1.0))) + 1
    return jnp.where(ratio > WORTH, jnp.clip(place, 1, LAST_CLASS), 0).astype(jnp.int32)


@_compile.jit
def _dead_zone(variances: Array, step: Array) -> Array:
    least = (0.02 / 0.5) ** (1 / 3)
    return 0.02 / jnp.maximum(_ratio(variances, step), least) ** 3


@functools.partial(_compile.jit, static_argnums=5)
def _quantize(w: Array, delta: Array, importance: Array | None, zone: Array, group: Array | None, moved: int):
    delta, zone = _ranked(delta, w.ndim), _ranked(zone, w.ndim)
    w = w.astype(float)
    importance = jnp.ones_like(w) if importance is None else importance
    scaled = w / delta
    size = jnp.maximum(jnp.floor(jnp.abs(scaled) + 0.5 - zone), 0.0)
    size = size if group is None else jnp.where(_ranked(group, w.ndim) > 0, size, 0.0)
    top = jnp.max(size)
    labels = (jnp.sign(scaled) * jnp.minimum(size, LARGEST - 1)).astype(jnp.int32)
    if not moved:
        return labels, None, top
    # The error of one step counts importance · Δ², in units of the largest, whose square need not be a number.
    amplitude = jnp.where(size > 0, jnp.sqrt(importance) * delta, 0.0)
    largest = jnp.max(amplitude)
    weight = (amplitude / jnp.where(largest > 0, largest, 1.0)) ** 2
    column = (jnp.minimum(size, moved) - 1).astype(jnp.int32)
    # Of size 0 the weight is 0, so that it counts in no column.
    total, away = (
        jnp.zeros(moved, w.dtype).at[jnp.maximum(column, 0).ravel()].add(terms.ravel())
        for terms in (weight, jnp.where(size > 0, weight * (jnp.abs(scaled) - size), 0.0))
    )
    mean = jnp.where(total > 0, away / jnp.where(total > 0, total, 1.0), 0.0)
    told = jnp.clip(jnp.round(OFFSET_UNIT * mean), -127, 127).astype(jnp.int8)
    return labels, jnp.concatenate([-told[::-1], jnp.zeros(1, jnp.int8), told]), top


def _ratio(variances: Array, step: Array) -> Array:
    """σ/Δ, and 0 where the step is infinite."""
    return jnp.sqrt(variances) / _ranked(step, variances.ndim)


def _ranked(x: Array, ndim: int) -> Array:
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)


def _spread(variances: ArrayLike, step: ArrayLike) -> tuple[Array, Array, _checks.Flag]:
    given = _checks.array("variances", variances)
    v, ok = _checks.nonnegative("variances", given, given.ndim)
    delta = _checks.array("step", step)
    return v, delta, ok & _beside("step", delta, v, lambda s: s > 0, "> 0")


def _beside(name: str, x: Array, w: Array, sound: Callable[[Array], Array], wanted: str) -> _checks.Flag:
    """Whether numbers that broadcast against the weights are sound."""
    if x.ndim > w.ndim or any(size not in (1, full) for size, full in zip(x.shape[::-1], w.shape[::-1], strict=False)):
        raise ValueError(f"{name} must broadcast against the shape {w.shape}, got shape {x.shape}")
    _, known = _checks.look(x)
    return _checks.holds(
        sound(known).all(), lambda: f"{name} must be {wanted}, got numbers from {known.min()} to {known.max()}"
    )
