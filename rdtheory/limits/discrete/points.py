"""Points of R(D), checked on the way in and differentiable on the way out."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _devices, _progress
from rdtheory._compile import is_traced
from rdtheory.distortion import Grid, Samples
from rdtheory.limits import _derivatives
from rdtheory.limits._arguments import MAX_STEPS, TOL, constants
from rdtheory.limits.discrete import matched_slope, run, sandwich
from rdtheory.limits.discrete.arguments import reachable, source
from rdtheory.limits.discrete.arithmetic import excess_over, finite_or_zero, scaled_kernel, times
from rdtheory.results import Lagrangian, RateDistortion

__all__ = ["curve", "distortion_at", "lagrangian", "rate_at", "test_channel"]

WIDTH = 1e-3  # bits; what the band of a whole curve leaves
SAMPLED = 1e-3  # bits; n samples tell R(D) to about 1/√n, and a millionth of that takes several times as long to find


@_progress.doing("curve")
def curve(
    source_pmf: Float[ArrayLike, " n"],
    distortion_matrix: Float[ArrayLike, "n m"] | Grid | Samples,
    slopes: Float[ArrayLike, " k"] | None = None,
    *,
    distortions: Float[ArrayLike, " k"] | None = None,
    tol: float | Array | None = None,
    max_steps: int | Array = MAX_STEPS,
    progress: Callable[[RateDistortion], object] | None = None,
) -> RateDistortion:
    r"""R(D) as a whole; or its points at many slopes, or at many distortions.

    With neither slopes nor distortions, points are added where their `band`, chords above and lines below, is wider
    than `tol`, until it is so nowhere on [D_min, D_max]. Both ends are among them; a long straight piece of R(D) is
    found to within the gaps. A stretch of length h between two points leaves :math:`R'' h^2/4`, so that no choice of
    points does with fewer than about

    .. math:: \frac{1}{2\sqrt{\text{tol}}} \int_{D_{\min}}^{D_{\max}} \sqrt{R''(D)}\; dD.

    These are up to a third more. Of thousands of letters many are needed near D_min, where each takes long: give slopes
    or distortions there.

    Parameters
    ----------
    source_pmf : (n,), sums to 1; letters of mass zero change nothing.
    distortion_matrix : (n, m), >= 0; infinite entries forbid a reproduction. One that is too large to store:
        `distortion.grid` or `distortion.samples`, for which no derivative is defined.
    slopes : (k,), each >= 0.
    distortions : (k,), each at least D_min, in place of slopes: the points of `rate_at`.
    tol : in bits. Of the points of a whole curve: the width of their band at most, 1e-3 unless given; each is found to
        a gap of a thirty-second of it. Of others: the certified gap at which to stop, unless given 1e-9, or 1e-3 with
        `distortion.samples`, from which more of R(D) is seldom known.
    max_steps : steps for each point after which to stop anyway.
    progress : called with the points of a whole curve each time that some were added; otherwise a terminal shows it.

    Returns
    -------
    RateDistortion
        every field with a leading axis (k,), in the order of `slopes` or `distortions`; a whole curve in order of
        distortion, ``converged`` where the band on both sides of the point is within `tol`. Where one of the slopes is
        that of a straight piece of R(D), its ``segment`` is that piece; column generation does not look for one.

    Raises
    ------
    ValueError : a pmf that does not sum to 1, shapes that disagree, a negative or NaN entry, a distortion below D_min,
        a `tol` that a whole curve takes too many points for.
    TypeError : both slopes and distortions; a whole curve inside `jit`, `vmap` or `grad`, where its length cannot be.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Rote (1992), The convergence rate of the sandwich algorithm for approximating convex functions.

    Examples
    --------
    >>> coin, d = jnp.array([0.5, 0.5]), 1 - jnp.eye(2)
    >>> points = curve(coin, d, jnp.array([1.0, 3.0]))
    >>> print(points.rate.round(6))
    [0.081704 0.496742]
    >>> print(curve(coin, d, distortions=jnp.array([0.05, 0.2])).rate.round(6))
    [0.713603 0.278072]
    >>> from rdtheory.limits.discrete import band
    >>> points = curve(coin, d, tol=0.01)
    >>> between = band(points, jnp.linspace(0, 0.5, 1000))
    >>> print(f"{len(points.rate)} points, within {jnp.max(between.upper - between.lower):.3f} bits everywhere")
    15 points, within 0.010 bits everywhere
    """
    _checks.require_x64("curve")
    if slopes is not None and distortions is not None:
        raise TypeError("curve takes slopes or distortions, got both")
    if distortions is not None:
        return _at_distortions(source_pmf, distortion_matrix, distortions, tol, max_steps)
    if slopes is None:
        return _whole(source_pmf, distortion_matrix, WIDTH if tol is None else tol, max_steps, progress)
    tol = _tolerance(tol, distortion_matrix)
    p, d, ok = source(source_pmf, distortion_matrix)
    s, s_ok = _checks.nonnegative("slopes", slopes, ndim=1, finite=False)
    ok &= s_ok & _checks.stopping(tol, max_steps)
    found = run.curve(*constants(p, d, s, tol, max_steps))
    return _checks.poison(_derivatives.none_of(found, (p, d, s), _derivatives.REMEDY), ok)


def _whole(
    source_pmf: ArrayLike,
    distortion: ArrayLike | Grid | Samples,
    tol: float | Array,
    max_steps: int | Array,
    progress: Callable[[RateDistortion], object] | None,
) -> RateDistortion:
    if is_traced(source_pmf, distortion, tol, max_steps):
        raise TypeError(
            "curve without slopes chooses how many points there are, which jit, vmap and grad must know before: "
            "give slopes or distortions there"
        )
    _checks.stopping(tol, max_steps)
    if not tol > 0:
        raise ValueError(f"tol must be > 0 for a whole curve, got {tol}")

    def at(slopes: np.ndarray, gap: float) -> RateDistortion:
        return curve(source_pmf, distortion, slopes, tol=gap, max_steps=max_steps)

    return sandwich.whole(at, float(tol), progress)


def _at_distortions(
    source_pmf: ArrayLike,
    distortion: ArrayLike | Grid | Samples,
    targets: ArrayLike,
    tol: float | Array | None,
    max_steps: int | Array,
) -> RateDistortion:
    targets = _checks.array("distortions", targets, 1)

    def at(target: Array) -> RateDistortion:
        return rate_at(source_pmf, distortion, target, tol=tol, max_steps=max_steps)

    if is_traced(source_pmf, distortion, targets, tol, max_steps):
        return lax.map(at, targets)
    return run.stacked(*map(at, _progress.each("point", list(targets))))


def _tolerance(tol: float | Array | None, distortion: ArrayLike | Grid | Samples) -> float | Array:
    if tol is None:
        return SAMPLED if isinstance(distortion, Samples) else TOL
    return tol


@_progress.doing("rate_at")
@_checks.of_letters
def rate_at(
    source_pmf: Float[ArrayLike, " n"],
    distortion_matrix: Float[ArrayLike, "n m"] | Grid | Samples,
    distortion: Float[ArrayLike, ""],
    *,
    tol: float | Array | None = None,
    max_steps: int | Array = MAX_STEPS,
) -> RateDistortion:
    r"""Rate R(D) at a given distortion, certified.

    Solves :math:`\min_Q I(X;Y)` subject to :math:`\mathbb E\,d(X,Y) \le D` by the interior point, the slope being
    one more unknown of its equations; where that fails, by a bracketed search for the slope. On a straight piece of
    R(D), where one slope serves an interval of D, its two ends are time-shared. The certificate is made at the D that
    was asked for: a channel that misses it by a little is mixed with the one of least distortion.

    Parameters
    ----------
    source_pmf, distortion_matrix, tol, max_steps : as for `curve`.
    distortion : D, at least Σ_x p_x min_y d(x, y). From D_max = min_y Σ_x p_x d(x, y) on the rate is zero.

    Returns
    -------
    RateDistortion
        ``rate`` with R(D) in [rate - gap, rate]; ``distortion`` is the D asked for; ``slope`` is -dR/dD where the
        derivative exists. ``rate`` is differentiable once, in the distortion asked for, the source and the
        distortion matrix (envelope theorem); a second derivative, or one of another field, is a TypeError.

    Raises
    ------
    ValueError : as for `curve`, or no channel reaches that distortion.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Berger (1971) for the dual; `algorithms.interior_point` and its references.

    Examples
    --------
    >>> point = rate_at(jnp.array([0.5, 0.5]), 1 - jnp.eye(2), 0.11)
    >>> print(f"{point.rate:.9f} bits at slope {point.slope:.6f}")
    0.500084042 bits at slope 3.016302
    """
    _checks.require_x64("rate_at")
    tol = _tolerance(tol, distortion_matrix)
    p, d, ok = source(source_pmf, distortion_matrix)
    target, target_ok = reachable(distortion, p, d)
    ok &= target_ok & _checks.stopping(tol, max_steps)
    found = run.point(*constants(p, d, target, tol, max_steps), kind=matched_slope.DISTORTION)
    if is_traced(p, d, target):
        rate = _envelope(found.rate, (p, d, target), found.reproduction_pmf, found.slope, found.slope, -found.slope)
        found = _derivatives.none_of(found, (p, d, target), _derivatives.REMEDY)._replace(rate=rate)
    return _checks.poison(found, ok)


@_progress.doing("distortion_at")
def distortion_at(
    source_pmf: Float[ArrayLike, " n"],
    distortion_matrix: Float[ArrayLike, "n m"] | Grid | Samples,
    rate: Float[ArrayLike, ""],
    *,
    tol: float | Array | None = None,
    max_steps: int | Array = MAX_STEPS,
) -> RateDistortion:
    r"""Least distortion D(R) at a given rate, certified.

    Solves :math:`\min_Q \mathbb E\,d(X,Y)` subject to :math:`I(X;Y) \le R`, by the method of `rate_at`.

    Parameters
    ----------
    source_pmf, distortion_matrix, tol, max_steps : as for `curve`.
    rate : R >= 0, in bits per symbol. More than the least distortion needs is not spent.

    Returns
    -------
    RateDistortion
        ``distortion`` of a channel of rate ``rate``, with R(distortion) in [rate - gap, rate]. While the rate
        differs from the one asked for, by more than is needed for the least distortion, the difference is part of
        the gap: the result has converged only if both are within `tol`. ``gap / slope`` bounds how far the distortion
        is above D(R). Where forbidden letters make every finite distortion cost more than R, the rate returned is
        above the one asked for, and ``converged`` is False. ``distortion`` is differentiable as the rate of
        `rate_at` is; at rate zero its derivative in the rate is the one from the left, zero.

    Raises
    ------
    ValueError : as for `curve`, or a negative rate.
    RuntimeError : JAX is not in float64.

    Examples
    --------
    >>> print(distortion_at(jnp.array([0.5, 0.5]), 1 - jnp.eye(2), 0.5).distortion.round(9))
    0.110027864
    """
    _checks.require_x64("distortion_at")
    tol = _tolerance(tol, distortion_matrix)
    p, d, ok = source(source_pmf, distortion_matrix)
    target, target_ok = _checks.nonnegative("rate", rate, finite=False)
    ok &= target_ok & _checks.stopping(tol, max_steps)
    found = run.point(*constants(p, d, target, tol, max_steps), kind=matched_slope.RATE)
    if is_traced(p, d, target):
        q, s, one = found.reproduction_pmf, found.slope, jnp.ones(())
        distortion = _envelope(found.distortion, (p, d, target), q, s, one, jnp.where(s > 0, -1 / s, 0.0))
        found = _derivatives.none_of(found, (p, d, target), _derivatives.REMEDY)._replace(distortion=distortion)
    return _checks.poison(found, ok)


@_progress.doing("lagrangian")
def lagrangian(
    source_pmf: Float[ArrayLike, " n"],
    distortion_matrix: Float[ArrayLike, "n m"] | Grid | Samples,
    slope: Float[ArrayLike, ""],
    *,
    tol: float | Array | None = None,
    max_steps: int | Array = MAX_STEPS,
) -> Lagrangian:
    r"""Least rate plus priced distortion, with its derivatives.

    Solves :math:`F(p, d, s) = \min_Q\; I(X;Y) + s\,\mathbb E\,d(X,Y)`. By Danskin's theorem its first derivatives
    are those at fixed q: the distortion in the slope, :math:`s\,p_x Q_{y|x}` in d(x, y), and
    :math:`-\log_2 \sum_y q_y 2^{-s d(x,y)}` in p(x).

    Parameters
    ----------
    source_pmf, distortion_matrix, tol, max_steps : as for `curve`.
    slope : s >= 0, finite, in bits per unit of distortion.

    Returns
    -------
    Lagrangian
        ``value`` in bits, with F in [value - gap, value], ``gap``, ``converged``. ``value`` is differentiable once, in
        all three arguments.

    Raises
    ------
    ValueError, RuntimeError : as for `curve`.

    Examples
    --------
    >>> source, matrix = jnp.array([0.5, 0.5]), 1 - jnp.eye(2)
    >>> print(jax.grad(lambda s: lagrangian(source, matrix, s).value)(2.0).round(9))  # the distortion there
    0.2
    """
    _checks.require_x64("lagrangian")
    tol = _tolerance(tol, distortion_matrix)
    p, d, ok = source(source_pmf, distortion_matrix)
    s, s_ok = _checks.nonnegative("slope", slope)
    ok &= s_ok & _checks.stopping(tol, max_steps)
    found = run.point(*constants(p, d, s, tol, max_steps), kind=matched_slope.SLOPE)
    _, rate, slope, distortion = _checks.look(found.rate, found.slope, found.distortion)
    value = jax.device_put(rate + slope * distortion, _devices.place(found.rate))
    if is_traced(p, d, s):
        value = _envelope(value, (p, d, s), found.reproduction_pmf, found.slope, found.slope, found.distortion)
    return _checks.poison(Lagrangian(value, found.gap, found.converged), ok)


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
    rows = jax.device_put(np.ones(np.shape(distortion_matrix)[:1]))
    d, d_ok = _checks.distortion_matrix("distortion_matrix", distortion_matrix, rows)
    _checks.array("distortion_matrix", d, shape=(d.shape[0], q.shape[0]))
    s, s_ok = _checks.nonnegative("slope", slope, finite=False)
    return _checks.poison(_test_channel(q, d, s), q_ok & d_ok & s_ok)


@_compile.jit
def _test_channel(q: Array, d: Array, s: Array) -> Array:
    excess = excess_over(jnp.ones(len(d)), d, jnp.min(d, axis=1))
    joint = q[None, :] * scaled_kernel(excess, s)
    return joint / jnp.sum(joint, axis=1, keepdims=True)


@jax.custom_jvp
def _envelope(
    value: Array,
    arguments: tuple[Array, Array | Grid | Samples, Array],
    q: Array,
    s: Array,
    weight: Array,
    in_target: Array,
) -> Array:
    """`value`, with the derivatives of weight · min_Q (I/s + E d) at fixed q, and `in_target` in the third."""
    return value


@_envelope.defjvp
def _(primals, tangents):
    value, (p, d, _), q, s, weight, in_target = primals
    if isinstance(d, Grid | Samples):
        raise TypeError("no derivative is defined where the distortion matrix is never stored (grid, samples)")
    _, changes, *_ = tangents
    slopes = *_influence(p, d, q, s, weight), in_target
    slopes = _derivatives.once_only(slopes, primals[1], "R(D), as rate_at, distortion_at and lagrangian give it,")
    return value, _along(*slopes, *changes)


@functools.partial(_compile.jit, brief=True)
def _influence(p: Array, d: Array, q: Array, s: Array, weight: Array) -> tuple[Array, Array]:
    """The derivatives in the source and in the distortion matrix."""
    floor = jnp.min(d, axis=1)
    # A letter that nothing may reproduce has no mass; its own derivative is infinite, and counts as zero.
    floor = jnp.where(jnp.isfinite(floor), floor, 0.0)
    excess = jnp.where(jnp.isfinite(jnp.min(d, axis=1))[:, None], d - floor[:, None], 0.0)
    joint = scaled_kernel(excess, s) * q[None, :]
    z = jnp.sum(joint, axis=1)
    channel = joint / z[:, None]
    above = jnp.where(s > 0, -jnp.log2(z) / s, jnp.sum(finite_or_zero(channel * excess), axis=1))
    return times(weight, floor + above), times(weight, p[:, None] * channel)


@jax.jit
def _along(in_source: Array, in_distortion: Array, in_target: Array, p: Array, d: Array, target: Array) -> Array:
    """What changes of the three arguments come to: linear in them, which is transposed for gradients."""
    return in_source @ p + jnp.sum(in_distortion * d) + in_target * target
