"""The slopes at which the optimal reproduction of a source on the line gains or loses a point, proved from both sides.

At a slope points are proposed by a comb, by Newton's method, and by splitting, adding and dropping where these fail;
`places` then proves how many an optimum has. Between two slopes at which these numbers cannot be equal there is a
transition. notation: see `line` and `places`.
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from rdtheory import _checks, _progress
from rdtheory.limits.continuous import line, places, short_range, supremum
from rdtheory.limits.continuous.atoms import polished
from rdtheory.limits.continuous.law import Law, in_units, law_of, units_of
from rdtheory.limits.continuous.nodes import LN2, REACH, Nodes, width_of
from rdtheory.limits.continuous.places import Cells
from rdtheory.sources import Source

__all__ = ["ContinuousTransitions", "transitions"]

TOL = 1e-5  # of a bracket, relative to its slope
OCTAVE = 8  # slopes in a doubling
FIRST, LAST = 1 / 16, 16.0  # of 1 / (2 variance) nats
ROUNDS = 30  # of splitting and adding points
COMB = 0.15  # widths between the places first tried
LIKELY, HEAVY = 0.99, 1e-6  # least c and least mass of a maximum of c that is taken for a point
SHARES = (1.0, 0.6, 1.6, 0.3)  # of the way that two points are apart by a rule of thumb, to begin from
CONVEX, FITS = 1e-9, 1e-11  # c'' at a point, in widths, and c - 1 elsewhere that are left
APART = 1e-3  # widths from a point: a maximum of c nearer than that is the point's
LIGHT = 1e-12
NEW = 0.01  # mass of a point that is added
CLOSE = 1.5  # widths
HALVINGS = 60
ALIKE = 1e-13  # of a density about the mean, in nats, for it to be called symmetric


class ContinuousTransitions(NamedTuple):
    """Slopes between which the optimal reproduction of a source on the line gains or loses points."""

    low: Float[Array, " t"]  #: bits per unit of squared error; each transition lies in [low, high]
    high: Float[Array, " t"]  #: likewise
    fewest: Float[Array, "t 2"]  #: points that an optimal reproduction has at least, at `low` and at `high`
    most: Float[Array, "t 2"]  #: at most; infinite where that is not known
    distortion: Float[Array, "t 2"]  #: D there
    rate: Float[Array, "t 2"]  #: bits per source symbol; an upper bound of R(D)
    gap: Float[Array, "t 2"]  #: bits; R(D) lies in [rate - gap, rate]
    points: Float[Array, "t 2 m"]  #: of the reproduction found, sorted; NaN after the last
    masses: Float[Array, "t 2 m"]  #: their probabilities; zero after the last


@_progress.doing("continuous.transitions")
def transitions(
    source: Source, slopes: Float[ArrayLike, " k"] | None = None, *, tol: float = TOL
) -> ContinuousTransitions:
    r"""Slopes at which the optimal reproduction gains or loses a point under squared error, bracketed.

    For a slope s, K(u) = exp(-θ u²), θ = s ln 2, and a law q on points y, let :math:`z(x) = \sum_j q_j K(x - y_j)`,
    :math:`w_y(x) = K(x - y) / z(x)`, and g the gap of its Lagrangian in nats, with the supremum of
    :math:`c(y) = \mathbb E\,w_y(X)` over all real y in it. The optimum has

    .. math:: |\,c^*(y) - c(y)\,| \le \sqrt{2 g\, \mathbb E (w_y - 1)^2} + g\, (1 + \max |w_y - 1|),

    and no point where surely :math:`c^*(y) < 1`. The same bound for derivatives tells how many points there are at most
    in what is left; that the optimum without an interval is surely worse tells that there is one. Where a source is
    symmetric, a point in the middle may be proved to be two, so that brackets are narrow where a point splits as well.

    A transition is proved where the numbers on both sides cannot be equal. Two of them between neighbors among `slopes`
    that leave the number as it was go unseen. How narrow a bracket is, rounding decides. A source without ends, or with
    ends of next to no mass, may hide points that carry less than the gap: of it only that its rate is above zero is
    proved, and its first transition may lie anywhere below. Of samples, whose optimum need not be unique, the numbers
    are those of one as symmetric as they.

    It is a driver on the host: it does not work under `jit`, `vmap` or `grad`, and says so.

    Parameters
    ----------
    source : from `rdtheory.sources`.
    slopes : (k,), each > 0 and finite, between which to look, in bits per unit of squared error. Eight in each doubling
        unless given, from a sixteenth of 1 / (2 variance) nats to sixteen times that.
    tol : width of a bracket relative to its slope.

    Returns
    -------
    ContinuousTransitions
        ``low`` and ``high`` (t,) in bits per unit of squared error, and for both ends of each how many points there
        are, R and D, and the points found.

    Raises
    ------
    ValueError : slopes that are not positive, or `tol` is not; a source without a variance.
    TypeError : no source, or traced slopes.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Fix (1978), Rose (1994): the optimal reproduction is discrete unless Shannon's lower bound is tight.

    Examples
    --------
    >>> from rdtheory import sources
    >>> found = transitions(sources.uniform(-1.0, 1.0), np.linspace(1.0, 5.0, 5))
    >>> print((found.low * np.log(2)).round(4), "nats; 1 / (2 variance) = 1.5")
    [1.5] nats; 1 / (2 variance) = 1.5
    >>> print(found.fewest[0], found.most[0])
    [1. 2.] [1. 2.]
    """
    _checks.require_x64("continuous.transitions")
    if any(isinstance(value, Tracer) for value in (slopes, tol)):
        raise TypeError("continuous.transitions works on the host: call it outside jit, vmap and grad")
    if not isinstance(source, Source):
        raise TypeError(f"source must be made by rdtheory.sources, got {type(source).__name__}")
    if not tol > 0:
        raise ValueError(f"tol must be > 0, got {tol}")
    units = units_of(source)
    law = law_of(in_units(source, units), units)
    if not 0 < law.variance < 1e12:
        raise ValueError(f"the source must have a variance > 0, and finite, got {law.variance * units.length**2:.3g}")
    at = _slopes(slopes, law, units.length)
    with threadpool_limits(limits=1, user_api="blas"):
        states = [_zero(law)]
        for slope in _progress.each("slope", at.tolist()):
            states.append(_at(law, slope))
            if not np.isfinite(law.source.support).all() and states[-1].fewest > 1:
                break  # no more will be proved
        starts = _progress.each("bracket", _pairs(states))
        found = [pair for start in starts for pair in _narrowed(law, start, tol, at[0])]
    return _result(found, units.center, units.length)


class _State(NamedTuple):
    """What is known at a slope."""

    slope: float
    fewest: int
    most: float
    distortion: float
    rate: float
    gap: float
    y: np.ndarray
    q: np.ndarray


def _slopes(slopes: ArrayLike | None, law: Law, length: float) -> np.ndarray:
    if slopes is None:
        middle, count = 1 / (2 * law.variance * LN2), OCTAVE * round(math.log2(LAST / FIRST))
        return middle * np.geomspace(FIRST, LAST, count + 1)
    s, _ = _checks.finite("slopes", slopes, ndim=1)
    at = np.asarray(np.unique(s), float)
    _checks.holds((at > 0).all(), lambda: f"slopes must be > 0, got {at.min()}")
    return at * length**2


def _zero(law: Law) -> _State:
    return _State(0.0, 1, 1.0, law.variance, 0.0, 0.0, np.array([law.mean]), np.ones(1))


def _at(law: Law, slope: float) -> _State:
    nodes, width = law.nodes(slope), width_of(slope)
    density = None if law.panels is None else law.density
    y, q = _optimum(nodes, slope, few=_is_closed(law, nodes))
    best = places.law_of(density, nodes, slope, y, q)
    fewest, most = _count(law, best)
    channel, _ = line.channel(nodes, short_range.blocks(nodes.x, y, REACH * width), y, q, slope)
    rate, gap = channel.rate + best.error / LN2, (best.gap + 3 * best.error) / LN2
    return _State(slope, fewest, most, channel.distortion, rate, gap, y, q)


def _is_closed(law: Law, nodes: Nodes) -> bool:
    """Whether the nodes are all there is of the source."""
    return bool(np.isfinite(law.source.support).all()) and nodes.tail is None and not len(nodes.outside_x)


def _optimum(nodes: Nodes, slope: float, *, few: bool) -> tuple[np.ndarray, np.ndarray]:
    """Points and masses that are optimal if all went well; on a comb if they need not be few."""
    width = width_of(slope)
    y = np.linspace(nodes.x[0], nodes.x[-1], math.ceil((nodes.x[-1] - nodes.x[0]) / (COMB * width)) + 2)
    b, a, q, _ = line.masses(nodes, y, np.full(len(y), 1 / len(y)), width, 1e-12)
    first = y, q
    if not few:
        return first
    cells = supremum.expand(nodes.x, nodes.p / short_range.times(a, b, q), width)
    _, peaks, _ = supremum.maxima(cells, LIKELY)
    mass = np.bincount(line.nearest(peaks, y), q, minlength=len(peaks))
    y, q = peaks[mass > HEAVY], mass[mass > HEAVY]
    found = None
    while found is None and len(y):
        found = polished(nodes, y, q, slope, None)
        y, q = _fewer(y, q, width)
    for _ in range(ROUNDS):
        if found is None:  # nothing is left to be done, or Newton's method fails
            break
        first = found[:2]
        starts = _more(nodes, *first, width)
        found = next(filter(None, (polished(nodes, *start, slope, None) for start in starts)), None)
    return first


def _fewer(y: np.ndarray, q: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """With the two closest points as one if they are close, or else without the lightest."""
    k = int(np.argmin(np.append(np.diff(y), np.inf)))
    if len(y) < 2 or y[k + 1] - y[k] > CLOSE * width:
        keep = np.arange(len(y)) != np.argmin(q)
        return y[keep], q[keep] / q[keep].sum()
    total = q[k] + q[k + 1]
    middle = (q[k] * y[k] + q[k + 1] * y[k + 1]) / total
    return np.concatenate([y[:k], [middle], y[k + 2 :]]), np.concatenate([q[:k], [total], q[k + 2 :]])


def _more(nodes: Nodes, y: np.ndarray, q: np.ndarray, width: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Starts with the point split at which c is convex, or with points added where c is above one."""
    v = nodes.p / places.mixture(nodes, y, q, width)
    c = places.derivatives(nodes.x / width, v, y / width)
    k = int(np.argmax(c[2]))
    if c[2, k] > CONVEX:
        # There 1 + a t²/2 - b t⁴/24 is greatest, if masses and other points stay.
        step = min(math.sqrt(6 * c[2, k] / max(-c[4, k], 1e-3)), 1.0) * width
        pairs = [[y[k] - share * step, y[k] + share * step] for share in SHARES]
        mass = np.concatenate([q[:k], [q[k] / 2, q[k] / 2], q[k + 1 :]])
        return [(np.concatenate([y[:k], pair, y[k + 1 :]]), mass) for pair in pairs]
    _, peaks, _ = supremum.maxima(supremum.expand(nodes.x, v, width), 1 + FITS)
    new = peaks[np.abs(peaks - y[line.nearest(y, peaks)]) > APART * width]
    order = np.argsort(np.append(y, new))
    mass = np.append(q, np.full(len(new), NEW)) / (1 + NEW * len(new))
    return [(np.append(y, new)[order], mass[order])] if len(new) else []


def _count(law: Law, best: places.Law) -> tuple[int, float]:
    """How many points an optimum has, at least and at most."""
    x, p, width = best.nodes.x, best.nodes.p, width_of(best.slope)
    alone = float(p @ (x - law.mean) ** 2) / (2 * width**2)  # the Lagrangian of one point
    several = best.free + 2 * best.error < alone
    if not _is_closed(law, best.nodes):
        return 1 + int(several and best.nodes.tail is None), math.inf
    intervals = places.possible(best)
    fewest = max(_fewest(best, intervals, _middle(law, best)), 1 + several)
    return int(fewest), float(sum(places.most(best, interval) for interval in intervals))


def _fewest(best: places.Law, intervals: list[Cells], middle: float) -> int:
    """In how many intervals an optimum has points, where one in the middle of a symmetric source may have two."""
    images = [
        [
            m
            for m, cells in enumerate(intervals)
            if np.any(np.abs(2 * middle - cells.middle - own.middle[0]) <= cells.half)
        ]
        for own in intervals
    ]
    count = 0
    for k in range(len(intervals)):
        # An optimum that is symmetric has points in both or in neither, if they are each other's images and no other's.
        own = images[k] if images.count(images[k]) == 1 and [images[m] for m in images[k]] == [[k]] else []
        others = [cells for m, cells in enumerate(intervals) if m != k and m not in own]
        count += not others or _is_worse(best, others, [])
        count += own == [k] and _is_worse(best, others, [middle])
    return int(count)


def _is_worse(best: places.Law, intervals: list[Cells], fixed: list[float]) -> bool:
    """Whether the Lagrangian of any law with all points there, in widths, is surely above the least one."""
    nodes, slope, width = best.nodes, best.slope, width_of(best.slope)
    own = [_tried(best, cells) for cells in intervals]
    ends = [cells.middle[[0, -1]] for cells in intervals]

    def is_above(y: np.ndarray, q: np.ndarray) -> bool:
        law = places.law_of(best.density, nodes, slope, y, q)
        return bool(places.lower_bound(law, intervals, fixed) > best.free + best.error)

    with np.errstate(all="ignore"):  # a node that is out of reach of all points proves nothing
        several = _weighed(nodes, width * np.unique(np.concatenate([*own, *ends, np.array(fixed)])), width)
        if is_above(*several):
            return True
        y, q = _weighed(nodes, width * np.unique(np.concatenate([*own, np.array(fixed)])), width)
        found = polished(nodes, y[q > LIGHT], q[q > LIGHT], slope, None)
        return found is not None and is_above(*found[:2])


def _weighed(nodes: Nodes, y: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """The points with their best masses, however far from nodes."""
    b = short_range.blocks(nodes.x, y, places.FAR * width)
    q, _ = short_range.minimize(line.kernel(b, width), b, nodes.p, np.full(len(y), 1 / len(y)), 1e-14)
    return y, np.nan_to_num(q / q.sum(), nan=1 / len(y))


def _tried(best: places.Law, cells: Cells) -> np.ndarray:
    """The points in an interval, or where c is greatest in it."""
    y = best.y / width_of(best.slope)
    inside = y[(y >= cells.middle[0] - cells.half[0]) & (y <= cells.middle[-1] + cells.half[-1])]
    return inside if len(inside) else cells.middle[[np.argmax(places.derivatives_of(best, cells.middle, 1))]]


def _middle(law: Law, best: places.Law) -> float:
    """Of a symmetric source, in widths; NaN for any other."""
    x, p = best.nodes.x, best.nodes.p
    mirrored = 2 * law.mean - x
    if best.density is None:
        alike = np.allclose(mirrored[::-1], x, rtol=0, atol=ALIKE * np.ptp(x)) and np.array_equal(p[::-1], p)
    else:
        with np.errstate(all="ignore"):  # it may be asked about places outside of its support
            alike = np.max(np.abs(law.log_density(x) - law.log_density(mirrored))) <= ALIKE
    return law.mean / width_of(best.slope) if alike else math.nan


def _distinct(one: _State, other: _State) -> bool:
    return one.most < other.fewest or one.fewest > other.most


def _pairs(states: list[_State]) -> list[tuple[_State, _State]]:
    """Neighbors whose numbers of points cannot be equal, apart from those between of which less is known."""
    result, last = [], states[0]
    for state in states[1:]:
        if _distinct(last, state):
            result.append((last, state))
        if _distinct(last, state) or state.most - state.fewest <= last.most - last.fewest:
            last = state
    return result


def _narrowed(law: Law, pair: tuple[_State, _State], tol: float, lowest: float) -> list[tuple[_State, _State]]:
    """Brackets inside one; of one that begins at zero the other end, down to the lowest of the slopes asked for."""
    low, high = pair
    first, last = math.inf, -math.inf  # slopes at which neither side is proved
    for _ in range(HALVINGS):
        to_go = max(first - low.slope, high.slope - last)
        if (
            high.slope - low.slope <= tol * low.slope
            or to_go <= max((low.slope > 0) * (last - first), tol * high.slope) / 4
        ):
            break
        if first > last:
            middle = math.sqrt(max(low.slope, lowest) * high.slope)
        elif first - low.slope > high.slope - last:
            middle = (low.slope + first) / 2
        else:
            middle = (last + high.slope) / 2
        if not low.slope < middle < high.slope:
            break
        state = _at(law, middle)
        below, above = _distinct(low, state), _distinct(state, high)
        if below and above:
            return _narrowed(law, (low, state), tol, lowest) + _narrowed(law, (state, high), tol, lowest)
        if below:
            high = state
        elif above:
            low = state
        else:
            first, last = min(first, middle) if low.slope > 0 else 0.0, max(last, middle)
    return [(low, high)]


def _result(pairs: list[tuple[_State, _State]], center: float, length: float) -> ContinuousTransitions:
    area = length**2
    most = max((len(state.y) for pair in pairs for state in pair), default=0)

    def filled(name: str, value: float) -> np.ndarray:
        ends = [getattr(state, name) for pair in pairs for state in pair]
        padded = [np.pad(end, (0, most - len(end)), constant_values=value) for end in ends]
        return np.array(padded, float).reshape(len(pairs), 2, most)

    def field(name: str) -> np.ndarray:
        return np.array([[getattr(state, name) for state in pair] for pair in pairs], float).reshape(-1, 2)

    slopes, places = field("slope") / area, center + length * filled("y", np.nan)
    rest = (field("fewest"), field("most"), field("distortion") * area, field("rate"), field("gap"))
    return ContinuousTransitions(*jax.device_put((slopes[:, 0], slopes[:, 1], *rest, places, filled("q", 0.0))))
