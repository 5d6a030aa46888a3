"""What points of R(D), each with its certificate, prove of it everywhere. notation: x the distortion asked about."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _size_classes
from rdtheory.results import Band, RateDistortion

ROUNDINGS = 8  # units of rounding that a line or a chord takes, of its largest term


def band(points: RateDistortion, distortions: Float[ArrayLike, "..."]) -> Band:
    r"""Bounds of R(D) at any distortions, from any points of it.

    For points :math:`(D_i, R_i)` with gaps :math:`g_i` and slopes :math:`s_i`, and time shares
    :math:`0 \le \lambda \le 1`,

    .. math:: \max_i\;[R_i - g_i - s_i (D - D_i)] \;\le\; R(D) \;\le\;
        \min_{i, j}\;\{\lambda R_i + (1 - \lambda) R_j : \lambda D_i + (1 - \lambda) D_j \le D\}.

    The dual solution behind a certificate bounds R at every distortion, by a line; two channels used in turn attain
    what lies between them. Both need nothing but the points: none of them has to have converged.

    Where a bound ``rate - gap`` is zero or less it may be no more than R >= 0, as that of `rate_at` is near D_max, and
    then it lies on no line; at a slope of infinity the line is vertical. Of such points only R(D) >= rate - gap for D
    up to their own distortion is used, for R falls.

    Parameters
    ----------
    points : one, or many with a leading axis, of one source and distortion matrix: from `curve`, `rate_at`,
        `distortion_at` or a solver of `algorithms`.
    distortions : where, in any shape; >= 0.

    Returns
    -------
    Band
        ``lower`` and ``upper`` in the shape of `distortions`, in bits per symbol, rounding included. Below all points
        ``upper`` is infinite. No derivative is promised.

    Raises
    ------
    ValueError : a negative distortion, NaN among the points.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Berger (1971): R(D) is convex, and the upper envelope of the lines that the dual solutions are.

    Examples
    --------
    >>> from rdtheory import curve
    >>> points = curve(jnp.array([0.5, 0.5]), 1 - jnp.eye(2), jnp.array([1.0, 3.0]))
    >>> between = band(points, 0.2)  # R(0.2) = 0.278072
    >>> print(f"[{between.lower:.6f}, {between.upper:.6f}]")
    [0.230075, 0.330727]
    """
    _checks.require_x64("band")
    x, ok = _checks.nonnegative("distortions", distortions, np.ndim(distortions), finite=False)
    known = [_checks.array("points", leaf) for leaf in (points.rate, points.gap, points.distortion, points.slope)]
    ok &= _checks.no_nan("points", *known)
    xp, *known, at = _checks.look(*known, x)
    known, at = [leaf.reshape(-1) for leaf in known], at.reshape(-1)
    if xp is jnp:
        found = _band(*known, at)
    else:  # few shapes to compile for: points of which nothing is known, distortions that are not looked at
        padded = _band(*(_filled(leaf, np.inf) for leaf in known), _filled(at, 0.0))
        found = jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf)[: at.size]), padded)
    found = jax.tree.map(lambda leaf: leaf.reshape(x.shape), found)
    return _checks.poison(found, ok)


def _filled(x: np.ndarray, value: float) -> np.ndarray:
    return np.pad(x, (0, _size_classes.size_class(x.size) - x.size), constant_values=value)


@_compile.jit
def _band(rate: Array, gap: Array, D: Array, s: Array, x: Array) -> Band:
    eps, flushed = ROUNDINGS * jnp.finfo(rate.dtype).eps, jnp.finfo(rate.dtype).tiny
    least = jnp.where(gap < jnp.inf, rate - gap, -jnp.inf)
    on_line = (least > 0) & jnp.isfinite(s)
    s = jnp.where(on_line, s, 0.0)

    def at(x: Array) -> Band:
        spared = jnp.where(s > 0, s * (x - D), 0.0)
        line = least - spared - eps * (jnp.abs(least) + jnp.abs(spared)) - (s + 1) * flushed
        level = jnp.where(x <= D, least - eps * jnp.abs(least), 0.0)
        lower = jnp.maximum(jnp.max(jnp.where(on_line, line, 0.0)), jnp.max(level))

        left, right = D <= x, (D > x) & jnp.isfinite(D)
        length = jnp.where(right, D, jnp.inf)[None, :] - jnp.where(left, D, 0.0)[:, None]
        share = jnp.where(length > 0, (x - D)[:, None] / length, 0.0)  # none of what is no point to the right
        chord = rate[:, None] + share * (rate[None, :] - rate[:, None])
        chord += eps * (jnp.abs(rate)[:, None] + jnp.abs(rate)[None, :]) + flushed
        upper = jnp.min(jnp.where(left[:, None] & right[None, :], chord, jnp.inf))
        alone = jnp.min(jnp.where(left, rate, jnp.inf))
        return Band(jnp.maximum(lower, 0.0), jnp.minimum(upper, alone))

    return lax.map(at, x)
