"""Points of R(D) of a density: which slope, how many reproductions, when to stop."""

import importlib
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int
from threadpoolctl import threadpool_limits

from rdtheory import _checks, _progress
from rdtheory.distortion import absolute_error
from rdtheory.limits import discrete
from rdtheory.limits.continuous import crossing, line, refine, shannon
from rdtheory.limits.continuous.atoms import likely, polished
from rdtheory.limits.continuous.law import Law, in_units, law_of, units_of
from rdtheory.limits.continuous.nodes import LN2, width_of
from rdtheory.results import Band, RateDistortion
from rdtheory.sources import Source

__all__ = ["ContinuousRate", "band", "curve", "rate_at"]

TOL = 1e-6  # bits
WIDTH, SHARE, MOST = 1e-3, 1 / 32, 4096  # bits between lines and chords of a whole curve, of it the gaps; points
MAX_STEPS = 24
NEWTON = 5  # failures after which it is not tried again: the optimum need not be on few points
LARGEST = 2**16  # nodes times points: more would cost more than it saves
PATIENCE = 8  # rounds without a gap smaller by a third; with heavy tails one without a hundredth counts twice


class ContinuousRate(NamedTuple):
    """A point of a source's rate-distortion function: lower <= R(distortion) <= upper, converged or not."""

    lower: Float[Array, "..."]  #: bits per source symbol; no reproduction does better; Shannon's bound if it is higher
    upper: Float[Array, "..."]  #: bits per source symbol; the points and masses attain it
    distortion: Float[Array, "..."]  #: D, the one asked for
    slope: Float[Array, "..."]  #: s = -dR/dD of the certifying line, bits per unit of distortion
    converged: Bool[Array, "..."]  #: upper - lower <= tol
    steps: Int[Array, "..."]  #: rounds of refinement of the points
    points: Float[Array, "... m"]  #: reproduction points, sorted; of a curve NaN after the last
    masses: Float[Array, "... m"]  #: their probabilities
    quadrature_error: Float[
        Array, "..."
    ]  #: bits, in both bounds: what halving all panels changed; above tol, raise tol
    rounding_error: Float[Array, "..."]  #: bits, in both bounds: allowance for floating point; above tol, raise tol
    abandoned: Float[
        Array, "..."
    ]  #: probability of far ends not resolved, in both bounds; falls as the distortion grows


@_progress.doing("continuous.rate_at")
def rate_at(
    source: Source,
    distortion: Float[ArrayLike, ""],
    *,
    tol: float = TOL,
    max_steps: int = MAX_STEPS,
    difference: float | Callable = 2.0,
) -> ContinuousRate:
    r"""Rate R(D) of a source on the real line under a distortion ρ(x - y), certified from both sides.

    Solves

    .. math:: \min_{P(y|x)}\; I(X;Y) \quad\text{subject to}\quad \mathbb E\,\rho(X-Y) \le D, \qquad y \in \mathbb R,

    by an interior point on the masses, new points where the dual is violated, and a root search on the slope; where the
    optimum is on few points, by Newton's method on their places, their masses and the slope.

    It is a driver on the host: it does not work under `jit`, `vmap` or `grad`, and says so.

    Parameters
    ----------
    source : from `rdtheory.sources`.
    distortion : D > 0, in units of ρ: for ``difference=2`` in squared units of the source. Zero only for samples. From
        min E ρ(X - y) over all y on, the variance for squared error, the rate is zero.
    tol : width upper - lower in bits at which to stop.
    max_steps : rounds of refinement after which to stop anyway.
    difference : r > 0 for ρ(u) = abs(u)^r, or a function ρ of u = x - y on NumPy arrays: continuous, ρ(0) = 0,
        never negative, never falling away from zero on either side. It may be asymmetric, bounded, or flat at zero.
        Samples take 2, or a power up to 1. Heavy tails, and r below one, may leave a wider interval than asked for;
        ``upper`` is infinite where the mean of ρ is, unless that is the square.

    Returns
    -------
    ContinuousRate
        ``lower`` and ``upper`` in bits per symbol, with ``lower <= R(D) <= upper`` for the density itself; where they
        come from, and the errors that they include. Of a density ``lower`` is `shannon_lower_bound` where that is more.
        For samples they hold for the empirical law. Where ``converged`` is
        False, the interval holds all the same. It is wider than `tol` because ``steps`` came to `max_steps` (allow
        more), because ``quadrature_error``, ``rounding_error`` or ``abandoned`` is not small beside `tol`, or because
        rounds no longer made it much narrower (it is then what this method gives: a larger D gives less).

    Raises
    ------
    ValueError : D is not positive (a density has infinite rate at D = 0), the density cannot be integrated, or
        `difference` is not such a function, or not one that samples take.
    TypeError : the distortion is traced.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Csiszár (1974) for the dual; Rose (1994), Fix (1978): the optimal reproduction is discrete unless Shannon's lower
    bound is tight.

    Examples
    --------
    >>> from rdtheory import sources
    >>> point = rate_at(sources.gaussian(1.0), 1 / 16)
    >>> print(f"R in [{point.lower:.6f}, {point.upper:.6f}] bits")
    R in [2.000000, 2.000000] bits
    >>> point = rate_at(sources.laplace(1.0), 1 / 2, difference=abs)
    >>> print(f"R in [{point.lower:.5f}, {point.upper:.5f}] bits")
    R in [1.00000, 1.00000] bits
    """
    _checks.require_x64("continuous.rate_at")
    if any(isinstance(value, Tracer) for value in (distortion, tol, max_steps)):
        raise TypeError(
            "continuous.rate_at chooses its points on the host: call it with numbers, outside jit, vmap and grad"
        )
    if not isinstance(source, Source):
        raise TypeError(
            f"source must be made by rdtheory.sources, got {type(source).__name__}; for probabilities of letters call "
            "rdtheory.rate_at(source_pmf, distortion_matrix, distortion), for samples sources.from_samples"
        )
    _checks.stopping(tol, max_steps)
    D, _ = _checks.nonnegative("distortion", distortion)
    D = float(D)
    importlib.import_module("scipy.linalg")  # its threads can be limited only once it is there
    difference = 1.0 if difference is abs else difference
    if D == 0 and source.log_density is not None:
        raise ValueError("distortion must be > 0: a source with a density has infinite rate at distortion zero")
    rho = None if difference == 2 else refine.measure(difference, source.scale)
    # Without units nothing overflows, and R(D) does not depend on them.
    units = units_of(source)
    one, other = _worth(difference, units.length, D)
    with np.errstate(over="ignore", divide="ignore"):
        share = float(np.float64(D) / one / other)
    if share == 0 < D and source.log_density is not None:
        raise ValueError(
            f"distortion is too small beside the source's scale {source.scale:.3g} to be resolved, got {D}"
        )
    if rho is not None and callable(difference):
        given = rho

        def rho(u: np.ndarray) -> np.ndarray:
            return given(units.length * u) / one

    law = law_of(in_units(source, units), units)
    found = _unitless(law, rho, difference, share, float(tol), int(max_steps))
    if law.panels is not None and float(found.upper) > 0:
        # With the slope of its own, for `band` draws the line on which it is.
        lower, slope = max((float(found.lower), float(found.slope)), shannon.best(law, difference, rho, share))
        converged = jax.device_put(np.bool_(float(found.upper) - lower <= tol))
        found = found._replace(lower=_put(lower), slope=_put(slope), converged=converged)
    with np.errstate(over="ignore", divide="ignore"):
        slope = np.asarray(found.slope) / one / other
    points = units.center + units.length * np.asarray(found.points)
    return found._replace(distortion=_put(D), slope=_put(slope), points=_put(points))


@_progress.doing("continuous.curve")
def curve(
    source: Source,
    distortions: Float[ArrayLike, " k"] | None = None,
    *,
    least: float | None = None,
    tol: float | None = None,
    max_steps: int = MAX_STEPS,
    difference: float | Callable = 2.0,
) -> ContinuousRate:
    r"""R(D) of a source on the real line at many distortions, or as a whole from a least distortion on.

    As a whole: points are added where the lines below and the chords above differ most, until nowhere by more than
    `tol`, up to a distortion at which the rate is as good as zero.

    Parameters
    ----------
    source, max_steps, difference : as for `rate_at`.
    distortions : (k,), each as for `rate_at`.
    least : D > 0 in place of them, from which on the whole curve is wanted: at zero a density has infinite rate.
    tol : in bits. Of points: as for `rate_at`. Of a whole curve: the width of its `band` at most, 1e-3 unless given;
        each point is found to a gap of a thirty-second of it.

    Returns
    -------
    ContinuousRate
        every field with a leading axis (k,), in the order of `distortions`, a whole curve in order of distortion;
        ``points`` and ``masses`` (k, m), for the largest number of points m: after its last point a row has NaN, and
        zeros as masses.

    Raises
    ------
    ValueError, RuntimeError : as for `rate_at`; a `tol` of a whole curve that rounding does not allow.
    TypeError : as for `rate_at`; neither distortions nor `least`, or both.

    References
    ----------
    As for `rate_at`.

    Examples
    --------
    >>> from rdtheory import sources
    >>> points = curve(sources.uniform(-1.0, 1.0), np.array([0.03, 0.1, 0.3]))
    >>> print(points.upper.round(4), (points.masses > 0).sum(axis=1))
    [1.5597 0.7574 0.0744] [5 3 2]
    >>> points = curve(sources.uniform(-1.0, 1.0), least=0.03, tol=0.01)
    >>> between = band(points, np.linspace(0.03, 0.4, 1000))
    >>> print(f"{len(points.upper)} points, within {jnp.max(between.upper - between.lower):.3f} bits")
    16 points, within 0.010 bits
    """
    if (distortions is None) == (least is None):
        raise TypeError("curve takes distortions or least, the distortion that a whole curve begins at: one of the two")
    if any(isinstance(value, Tracer) for value in (distortions, least)):
        raise TypeError("continuous.curve chooses its points on the host: call it with numbers, outside jit and vmap")

    def at(D: float, gap: float) -> ContinuousRate:
        return rate_at(source, D, tol=gap, max_steps=max_steps, difference=difference)

    if least is not None:
        found = _whole(at, float(least), WIDTH if tol is None else float(tol))
    else:
        assert distortions is not None
        D, _ = _checks.nonnegative("distortions", distortions, 1)
        found = [at(D, TOL if tol is None else tol) for D in _progress.each("point", np.asarray(D).tolist())]
    most = max(len(point.points) for point in found)

    def filled(values: Array, value: float) -> Array:
        return jax.device_put(np.pad(np.asarray(values), (0, most - len(values)), constant_values=value))

    alike = [point._replace(points=filled(point.points, np.nan), masses=filled(point.masses, 0.0)) for point in found]
    return jax.device_put(jax.tree.map(lambda *leaves: np.stack(leaves), *alike))


def _whole(at: Callable[[float, float], ContinuousRate], least: float, tol: float) -> list[ContinuousRate]:
    if not (least > 0 and tol > 0):
        raise ValueError(f"least and tol must be > 0, got {least} and {tol}")
    found = [at(least, SHARE * tol)]
    while float(found[-1].upper) > tol / 4:
        found.append(at(2 * float(found[-1].distortion), SHARE * tol))
    while wide := [D for pair in itertools.pairwise(found) if (D := _widest(*pair, tol)) is not None]:
        known = {float(point.distortion) for point in found}
        if len(found) > MOST or not known.isdisjoint(wide):
            raise ValueError(f"tol of {tol:.3g} is not met by {len(found):,} points: raise it, or `least`")
        fresh = [at(D, SHARE * tol) for D in _progress.each(f"{len(found)} points, and", wide)]
        found = sorted(found + fresh, key=lambda point: float(point.distortion))
    return found


def _widest(left: ContinuousRate, right: ContinuousRate, tol: float) -> float | None:
    """Where between neighbors chord and lines differ most; None where that is not too much."""
    (a, low_a, high_a, s_a), (b, low_b, high_b, s_b) = (
        (float(x.distortion), float(x.lower), float(x.upper), float(x.slope) if x.lower > 0 else 0.0)
        for x in (left, right)
    )
    # From either end a line: the higher of the two is lowest where they meet.
    meet = a + (low_a - low_b - s_b * (b - a)) / (s_a - s_b) if s_a > s_b else (a + b) / 2
    x = min(max(meet, a), b)
    share = (x - a) / (b - a)
    width = (1 - share) * high_a + share * high_b - max(low_a - s_a * (x - a), low_b + s_b * (b - x), 0.0)
    return x if width > tol else None


def band(points: ContinuousRate, distortions: Float[ArrayLike, "..."]) -> Band:
    """Bounds of R(D) at any distortions, from any points of it; see `discrete.band`.

    Parameters
    ----------
    points : one, or many with a leading axis, of one source and difference.
    distortions : where, in any shape; >= 0.

    Returns
    -------
    Band
        ``lower`` and ``upper`` in the shape of `distortions`, in bits per symbol. Below all points ``upper`` is
        infinite.

    Raises
    ------
    ValueError, RuntimeError : as for `discrete.band`.

    References
    ----------
    As for `discrete.band`.

    Examples
    --------
    >>> from rdtheory import sources
    >>> between = band(curve(sources.gaussian(1.0), np.array([0.1, 0.3])), 0.2)  # R(0.2) = 1.160964
    >>> print(f"[{between.lower:.4f}, {between.upper:.4f}]")
    [1.1089, 1.2647]
    """
    nothing = jax.device_put(np.zeros(()))
    known = (points.upper, points.distortion, points.upper - points.lower, points.slope)
    return discrete.band(RateDistortion(*known, *[nothing] * 5), distortions)


def _worth(difference: float | Callable, length: float, D: float) -> tuple[np.float64, np.float64]:
    """Two factors, whose product may be no float, of the distortion that is called one."""
    if callable(difference):
        return np.exp2(np.rint(np.log2(D))) if D > 0 else np.float64(1.0), np.float64(1.0)
    with np.errstate(over="ignore"):
        half = np.exp2(difference / 2 * np.log2(length))
    return half, half


def _unitless(
    law: Law, rho: refine.Measure | None, difference: float | Callable, D: float, tol: float, max_steps: int
) -> ContinuousRate:
    if rho is not None:
        return _any_difference(law, D, rho, difference, tol, max_steps)
    if law.variance <= D:
        return _result(0.0, 0.0, D, 0.0, tol, 0, np.array([law.mean]), np.ones(1), 0.0, 0.0, 0.0)
    if D == 0:
        rounding = 100 * line.EPS * (1 + law.entropy)
        x, p = law.source.atoms, law.source.masses
        return _result(law.entropy - rounding, law.entropy + rounding, D, math.inf, tol, 0, x, p, 0.0, rounding, 0.0)
    # The blocks are small: several threads on one would only wait for each other.
    with threadpool_limits(limits=1, user_api="blas"):
        return _solve(law, D, tol, max_steps, short=True)


def _any_difference(
    law: Law, D: float, rho: refine.Measure, difference: float | Callable, tol: float, max_steps: int
) -> ContinuousRate:
    """The same for a ρ that is not the square."""
    if law.panels is None:
        if callable(difference) or difference > 1:
            raise ValueError(
                "difference must be 2 or at most 1 for samples; under another, rdtheory.rate_at takes their distortion "
                "matrix over reproduction points of your choice"
            )
        return _among_samples(law, D, float(difference), tol, max_steps)
    far_out = np.errstate(over="ignore", invalid="ignore", divide="ignore")
    with threadpool_limits(limits=1, user_api="blas"), far_out:
        y, greatest, error = refine.best_constant(law, rho)
        if greatest + error <= D:
            return _result(0.0, 0.0, D, 0.0, tol, 0, np.array([y]), np.ones(1), 0.0, 0.0, 0.0)
        found = refine.solve(law, rho, D, greatest - error, tol, max_steps)
    lower, upper, slope, steps, points, masses, quadrature, rounding, outside = found
    return _result(lower, upper, D, slope, tol, steps, points, masses, quadrature, rounding, outside)


def _among_samples(law: Law, D: float, power: float, tol: float, max_steps: int) -> ContinuousRate:
    """For samples and a power up to one, where 2^(-s abs(u)^power) is convex on either side of zero.

    Then c is convex between samples, so it is largest at one of them, and no other reproduction is needed.
    """
    x, p = law.source.atoms, law.source.masses
    found = discrete.rate_at(p, absolute_error(x, x) ** power, D, tol=tol, max_steps=100 * max_steps)
    q = np.asarray(found.reproduction_pmf)
    lower, steps = float(found.rate - found.gap), int(found.steps)
    return _result(lower, float(found.rate), D, float(found.slope), tol, steps, x[q > 0], q[q > 0], 0.0, 0.0, 0.0)


def _solve(law: Law, D: float, tol: float, max_steps: int, *, short: bool) -> ContinuousRate:
    """From a fine comb first if the source is `short`, and then from the usual one if need be."""
    slope = _slope(law, D)
    nodes, seen_at = law.nodes(slope), slope
    short = short and line.is_short(nodes, width_of(slope))
    y, q = line.first_points(nodes, width_of(slope), line.FINER if short else line.SPACING)
    best, least, stale = None, math.inf, 0
    previous, elasticity, damping = None, -1.0, 1.0  # of D in the slope
    steps, failures, count = 0, 0, 0  # rounds; failures of Newton's method, points that it would begin at
    before = None  # what it began at, while its points are in use
    while steps < max_steps and stale < PATIENCE:
        steps += 1
        if abs(math.log(slope / seen_at)) > 0.02:  # panels and rims go by the kernel's width
            nodes, seen_at = law.nodes(slope), slope
        width = width_of(slope)
        b, a, q, _ = line.masses(nodes, y, q, width, tol / 100)
        found = line.bounds(nodes, b, a, y, q, slope, D, tol)
        gap = found.upper - found.lower
        gaussian = 1 / (2 * LN2 * D)
        collapsed = law.variance - found.distortion < refine.COLLAPSED * (law.variance - D) and slope < 0.999 * gaussian
        floor = nodes.tail is not None and gap > 0.99 * least  # what the ends cost
        stale = 0 if gap < 0.7 * least or collapsed else stale + (before is None) * (2 if floor else 1)
        if best is None or gap < least:
            best, least = (found, nodes, y, q, slope), gap
        if gap <= 0.9 * tol:
            break
        fresh = None
        failures += before is not None
        if before is not None and gap <= before[0]:
            fresh = line.exchange(nodes, y, q, found.cells, width, tol)
        if before is not None and fresh is None:  # astray, or nothing to be added: back to where it began
            _, y, q, slope, found = before
            width = width_of(slope)
        elif before is None and failures < NEWTON and nodes.tail is None:
            places, weights = likely(found.cells, y, q, law.mean, law.variance - D)
            steady, count = len(places) == count or steps == 1, len(places)
            tried = steady and 0 < len(nodes.x) * count <= LARGEST
            starts = (slope, gaussian) if tried else ()  # near D_max coarse points tell little of the slope
            atoms = next(filter(None, (polished(nodes, places, weights, s, D) for s in starts)), None)
            failures += tried and atoms is None
            if atoms is not None:
                before = (gap, y, q, slope, found)
                y, q, slope = atoms
                continue
        before = None
        error = math.log(max(found.distortion / D, 1e-30))
        fresh = fresh or line.exchange(nodes, y, q, found.cells, width, tol)
        if fresh is None and abs(error) < 1e-7:
            break
        y, q = fresh if fresh is not None else (y, q)
        if previous is not None and abs(math.log(slope / previous[0])) > 1e-5:
            seen = (error - previous[1]) / math.log(slope / previous[0])
            elasticity = seen if -100 < seen < -0.2 else elasticity
            if error * previous[1] < 0:  # the points lag behind the slope: do not chase them
                damping /= 2
        previous = (slope, error)
        if collapsed:
            slope, previous = math.sqrt(slope * gaussian), None
        else:
            slope *= math.exp(min(max(-damping * error / elasticity, -0.1), 0.1))
    assert best is not None
    found, nodes, y, q, slope = best
    quadrature = 0.0 if law.panels is None else line.quadrature_error(law.density, nodes, y, q, slope, found.v)
    rounding = line.rounding(nodes, slope, D, found.upper) + line.noise(law.jitter, nodes, y, q, slope)
    lower, upper = found.lower - quadrature - rounding, found.upper + quadrature + rounding
    result = _result(max(lower, 0.0), upper, D, slope, tol, steps, y, q, quadrature, rounding, nodes.outside)
    if not short or result.converged or steps >= max_steps:
        return result
    other = _solve(law, D, tol, max_steps - steps, short=False)
    return min(result, other, key=lambda found: float(found.upper - found.lower))._replace(
        steps=result.steps + other.steps
    )


def _slope(law: Law, D: float) -> float:
    """A slope at which the optimum has about the distortion D, on coarse points."""

    def distortion(slope: float) -> float:
        nodes = law.nodes(slope)
        width = width_of(slope)
        y, q = line.first_points(nodes, width)
        b, _, q, _ = line.masses(nodes, y, q, width, 1e-7)
        return line.channel(nodes, b, y, q, slope)[0].distortion

    return crossing.slope_of(distortion, 1 / (2 * LN2 * D), D)


def _result(lower, upper, D, slope, tol, steps, y, q, quadrature, rounding, abandoned) -> ContinuousRate:
    number, rest = map(_put, (lower, upper, D, slope)), map(_put, (y, q, quadrature, rounding, abandoned))
    converged = np.bool_(upper - lower <= tol)
    return ContinuousRate(*number, *map(jax.device_put, (converged, np.asarray(steps))), *rest)


def _put(value: float | np.ndarray) -> Array:
    # Not `jnp.asarray`, which is compiled for each shape.
    return jax.device_put(np.asarray(value, float))
