"""Blahut-Arimoto for discrete sources, certified from both sides at every iterate.

For a source p, a distortion matrix d and a slope s, put A = 2^(-s d), z = A q, c = Aᵀ(p/z). The channel q A / z has
rate

    R_Q = -s D_Q - Σ p log z - Σ q c log c,

and for every distortion D' duality gives R(D') ≥ -s D' - Σ p log z - log max c. The distance between the two at D_Q
is the `gap`. It needs no convergence, so it is both the stopping rule and the error bar.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks
from rdtheory.limits import _blahut_arimoto
from rdtheory.results import RateDistortion

__all__ = ["blahut_arimoto", "curve", "distortion_at", "rate_at", "test_channel"]

TOL = 1e-9  # bits
MAX_STEPS = 10_000


def blahut_arimoto(
    source_pmf: Float[ArrayLike, " n"],
    distortion_matrix: Float[ArrayLike, "n m"],
    slope: Float[ArrayLike, ""],
    *,
    tol: float | Array = TOL,
    max_steps: int | Array = MAX_STEPS,
) -> RateDistortion:
    r"""Point of R(D) at a given slope, by Blahut-Arimoto, with its certificate.

    Solves

    .. math:: \min_{Q}\; I(X;Y) + s\,\mathbb E\,d(X,Y), \qquad q \leftarrow q \circ A^\top\!\big(p/(Aq)\big),

    and stops when the certified gap is at most `tol`. Convergence is linear, and sublinear at a slope where the
    support of q changes: there the result comes back with ``converged=False`` and a gap that still holds.

    Parameters
    ----------
    source_pmf : (n,), sums to 1; letters of mass zero change nothing.
    distortion_matrix : (n, m), >= 0; infinite entries forbid a reproduction.
    slope : s >= 0, in bits per unit of distortion. Zero asks for the least distortion of rate zero, infinity for
        the least distortion at all.
    tol : certified gap in bits at which to stop.
    max_steps : steps after which to stop anyway.

    Returns
    -------
    RateDistortion
        ``rate`` in bits per symbol, ``distortion``, ``gap``, ``slope``, ``converged``, ``steps``, and
        ``reproduction_pmf`` (m,). By Danskin's theorem ``rate + slope * distortion`` has the derivatives
        ``distortion`` in the slope and the partial derivatives at fixed q in the other arguments; differentiating
        through the iteration is not supported, here and in the functions below.

    Raises
    ------
    ValueError : a pmf that does not sum to 1, shapes that disagree, a negative or NaN entry.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Blahut (1972); Arimoto (1972); Csiszár (1974) for the bound.

    Examples
    --------
    >>> point = blahut_arimoto(jnp.array([0.5, 0.5]), 1 - jnp.eye(2), 2.0)
    >>> print(f"R({point.distortion:.3f}) = {point.rate:.9f} bits, certified to {point.gap:.0e}")
    R(0.200) = 0.278071905 bits, certified to 1e-14
    """
    _checks.require_x64("blahut_arimoto")
    p, d, ok = _source(source_pmf, distortion_matrix)
    s, s_ok = _checks.nonnegative("slope", slope, finite=False)
    return _checks.poison(
        _blahut_arimoto.at_slope(p, d, s, tol, max_steps), ok & s_ok & _checks.stopping(tol, max_steps)
    )


def curve(
    source_pmf: Float[ArrayLike, " n"],
    distortion_matrix: Float[ArrayLike, "n m"],
    slopes: Float[ArrayLike, " k"],
    *,
    tol: float | Array = TOL,
    max_steps: int | Array = MAX_STEPS,
) -> RateDistortion:
    """Points of R(D) at many slopes: `blahut_arimoto` with a leading axis.

    Parameters
    ----------
    source_pmf, distortion_matrix, tol, max_steps : as for `blahut_arimoto`.
    slopes : (k,), each >= 0.

    Returns
    -------
    RateDistortion : every field with a leading axis (k,), in the order of `slopes`.

    Raises
    ------
    ValueError, RuntimeError : as for `blahut_arimoto`.

    Examples
    --------
    >>> points = curve(jnp.array([0.5, 0.5]), 1 - jnp.eye(2), jnp.array([1.0, 3.0]))
    >>> print(points.rate.round(6))
    [0.081704 0.496742]
    """
    _checks.require_x64("curve")
    p, d, ok = _source(source_pmf, distortion_matrix)
    s, s_ok = _checks.nonnegative("slopes", slopes, ndim=1, finite=False)
    return _checks.poison(
        _blahut_arimoto.along_curve(p, d, s, tol, max_steps), ok & s_ok & _checks.stopping(tol, max_steps)
    )


def rate_at(
    source_pmf: Float[ArrayLike, " n"],
    distortion_matrix: Float[ArrayLike, "n m"],
    distortion: Float[ArrayLike, ""],
    *,
    tol: float | Array = TOL,
    max_steps: int | Array = MAX_STEPS,
) -> RateDistortion:
    r"""Rate R(D) at a given distortion, certified.

    Solves :math:`\min_Q I(X;Y)` subject to :math:`\mathbb E\,d(X,Y) \le D`. Each iteration is one Blahut-Arimoto
    step on q and one Newton step on the slope, so a linear segment of R(D), where one slope serves an interval of
    D, needs no special care. The certificate is made at the D that was asked for: a channel that misses it by a
    little is mixed with the one of least distortion.

    Parameters
    ----------
    source_pmf, distortion_matrix, tol, max_steps : as for `blahut_arimoto`.
    distortion : D, at least Σ_x p_x min_y d(x, y). From D_max = min_y Σ_x p_x d(x, y) on the rate is zero.

    Returns
    -------
    RateDistortion
        ``rate`` with R(D) in [rate - gap, rate]; ``distortion`` is the D asked for; ``slope`` is -dR/dD where the
        derivative exists.

    Raises
    ------
    ValueError : as for `blahut_arimoto`, or no channel reaches that distortion.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Berger (1971) for the dual; Chen et al. (2023), arXiv 2305.02650, for moving the slope along.

    Examples
    --------
    >>> point = rate_at(jnp.array([0.5, 0.5]), 1 - jnp.eye(2), 0.11)
    >>> print(f"{point.rate:.9f} bits at slope {point.slope:.6f}")
    0.500084042 bits at slope 3.016302
    """
    _checks.require_x64("rate_at")
    p, d, ok = _source(source_pmf, distortion_matrix)
    target, target_ok = _checks.reachable("distortion", distortion, p, d)
    return _checks.poison(
        _blahut_arimoto.at_distortion(p, d, target, tol, max_steps), ok & target_ok & _checks.stopping(tol, max_steps)
    )


def distortion_at(
    source_pmf: Float[ArrayLike, " n"],
    distortion_matrix: Float[ArrayLike, "n m"],
    rate: Float[ArrayLike, ""],
    *,
    tol: float | Array = TOL,
    max_steps: int | Array = MAX_STEPS,
) -> RateDistortion:
    r"""Least distortion D(R) at a given rate, certified.

    Solves :math:`\min_Q \mathbb E\,d(X,Y)` subject to :math:`I(X;Y) \le R`, by the iteration of `rate_at` with the
    Newton step on the rate.

    Parameters
    ----------
    source_pmf, distortion_matrix, tol, max_steps : as for `blahut_arimoto`.
    rate : R >= 0, in bits per symbol. More than the least distortion needs is not spent.

    Returns
    -------
    RateDistortion
        ``distortion`` of a channel of rate ``rate``, with R(distortion) in [rate - gap, rate]. While the rate
        differs from the one asked for, by more than is needed for the least distortion, the difference is part of
        the gap: the result has converged only if both are within `tol`. ``gap / slope`` bounds how far the distortion
        is above D(R). Where forbidden letters make every finite distortion cost more than R, the rate returned is
        above the one asked for, and ``converged`` is False.

    Raises
    ------
    ValueError : as for `blahut_arimoto`, or a negative rate.
    RuntimeError : JAX is not in float64.

    Examples
    --------
    >>> print(distortion_at(jnp.array([0.5, 0.5]), 1 - jnp.eye(2), 0.5).distortion.round(9))
    0.110027864
    """
    _checks.require_x64("distortion_at")
    p, d, ok = _source(source_pmf, distortion_matrix)
    target, target_ok = _checks.nonnegative("rate", rate, finite=False)
    return _checks.poison(
        _blahut_arimoto.at_rate(p, d, target, tol, max_steps), ok & target_ok & _checks.stopping(tol, max_steps)
    )


def test_channel(
    reproduction_pmf: Float[ArrayLike, " m"],
    distortion_matrix: Float[ArrayLike, "n m"],
    slope: Float[ArrayLike, ""],
) -> Float[Array, "n m"]:
    """Test channel q A / z behind a result: ``[x, y]`` = P(y given x), rows sum to 1.

    Parameters
    ----------
    reproduction_pmf, slope : from a `RateDistortion`.
    distortion_matrix : (n, m), the one it was computed for.

    Raises
    ------
    ValueError : shapes disagree, a negative slope.

    Examples
    --------
    >>> print(test_channel(jnp.array([0.5, 0.5]), 1 - jnp.eye(2), 2.0))
    [[0.8 0.2]
     [0.2 0.8]]
    """
    q, q_ok = _checks.pmf("reproduction_pmf", reproduction_pmf)
    rows = jnp.ones(np.shape(distortion_matrix)[:1])
    d, d_ok = _checks.distortion_matrix("distortion_matrix", distortion_matrix, rows)
    _checks.array("distortion_matrix", d, shape=(d.shape[0], q.shape[0]))
    s, s_ok = _checks.nonnegative("slope", slope, finite=False)
    joint = q[None, :] * _blahut_arimoto.scaled_kernel(_blahut_arimoto.excess_over_row(rows, d), s)
    return _checks.poison(joint / jnp.sum(joint, axis=1, keepdims=True), q_ok & d_ok & s_ok)


def _source(source_pmf: ArrayLike, distortion_matrix: ArrayLike) -> tuple[Array, Array, _checks.Flag]:
    p, p_ok = _checks.pmf("source_pmf", source_pmf)
    d, d_ok = _checks.distortion_matrix("distortion_matrix", distortion_matrix, p)
    return p, d, p_ok & d_ok
