"""Reverse water-filling: the rate-distortion function of independent Gaussian components."""

from functools import partial

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from rdtheory import _checks, _compile, _size_classes
from rdtheory.results import WaterFilling

__all__ = ["fill", "of_sums", "pour", "water_filling"]


def water_filling(variances: Float[ArrayLike, " m"], distortion: Float[ArrayLike, ""]) -> WaterFilling:
    r"""Rate of m independent Gaussian components whose squared errors sum to at most `distortion`.

    .. math:: R(D) = \sum_k \tfrac12\log^+(\nu_k/\theta), \qquad \sum_k \min(\theta, \nu_k) = D .

    Parameters
    ----------
    variances : (m,), >= 0; ν. A zero costs no rate.
    distortion : D >= 0. D = 0 is an infinite rate unless every variance is zero.

    Returns
    -------
    WaterFilling
        ``rate`` in bits per vector, ``water_level`` θ, ``distortions`` (m,), ``rounding``, which no derivative is
        promised of. Differentiable in both arguments for D > 0; dR/dD = -1/(2 θ ln 2).

    Raises
    ------
    ValueError : a negative or NaN variance, D < 0.

    References
    ----------
    Kolmogorov (1956); Cover & Thomas, Theorem 10.3.3.

    Examples
    --------
    >>> result = water_filling(jnp.array([4.0, 1.0, 0.25]), 1.25)
    >>> print(f"{result.rate:.9f}", result.water_level, result.distortions)
    2.000000000 0.5 [0.5  0.5  0.25]
    """
    v, v_ok = _checks.nonnegative("variances", variances, ndim=1)
    D, D_ok = _checks.nonnegative("distortion", distortion)
    padded = _size_classes.pad(v, _size_classes.classes(v.shape, v, D))
    return _checks.poison(_size_classes.cut(fill(padded, D), distortions=v.shape), v_ok & D_ok)


@partial(_compile.jit, brief=True)
def fill(variances: Float[Array, " m"], distortion: Float[Array, ""]) -> WaterFilling:
    """`water_filling` of arguments that were checked.

    Examples
    --------
    >>> print(fill(jnp.array([2.0, 2.0]), jnp.array(1.0)).distortions)
    [0.5 0.5]
    """
    level = pour(variances, distortion)
    described = variances > level
    terms = jnp.log2(jnp.where(described, variances, 1.0)) - jnp.log2(jnp.where(described, level, 1.0))
    rounding = of_sums(variances, level, described)
    return WaterFilling(0.5 * jnp.sum(terms), level, jnp.minimum(level, variances), rounding)


def of_sums(variances: Float[Array, " m"], level: Float[Array, ""], described: Bool[Array, " m"]) -> Float[Array, ""]:
    """Bits by which rounding moves Σ ½ log(variance / level) over what is described, if these variances are exact.

    The level comes from a sum of at most m levels, so it is off by m² roundings at most; each logarithm by as many as
    its size, and their sum by m of its own.

    Examples
    --------
    >>> print(of_sums(jnp.array([4.0]), jnp.array(1.0), jnp.array([True])) < 1e-14)
    True
    """
    v, level = lax.stop_gradient((variances, level))
    sizes = jnp.abs(_log2(jnp.where(described, v, 1.0))) + jnp.where(described, jnp.abs(_log2(level)), 0.0)
    m = jnp.sum(v > 0)
    return jnp.finfo(v.dtype).eps * (m * (m + 4) + (m + 4) * jnp.sum(sizes))


def _log2(x: Array) -> Array:
    """log2, and 0 of 0: an infinite rate is not rounded."""
    return jnp.log2(jnp.where(x > 0, x, 1.0))


def pour(capacities: Float[Array, " m"], volume: Float[Array, ""]) -> Float[Array, ""]:
    r"""Level θ at which vessels of the given capacities hold `volume`: :math:`\sum_k \min(\theta, c_k) = V`.

    The left side is the least, over subsets S, of |S| θ + Σ_{k∉S} c_k, so θ = max_S (V - Σ_{k∉S} c_k) / |S|, and
    with the capacities in ascending order only the m upper sets matter: exact, without iteration. A volume of at
    least the total gives the largest capacity.

    Parameters
    ----------
    capacities : (m,), >= 0, not checked.
    volume : V >= 0, not checked.

    Examples
    --------
    >>> print(pour(jnp.array([4.0, 1.0, 0.25]), jnp.array(1.25)))
    0.5
    """
    c = jnp.sort(capacities)
    # Not cumsum(c) - c, in which small capacities drown beside a large one.
    below = jnp.concatenate([jnp.zeros(1, c.dtype), jnp.cumsum(c)[:-1]])
    return jnp.minimum(jnp.max((volume - below) / jnp.arange(len(c), 0, -1)), c[-1])
