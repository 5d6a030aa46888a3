"""A source on the line as its solvers see it: resolved panels of a density, or atoms."""

import itertools
import math
from typing import NamedTuple

import numpy as np

from rdtheory.limits.continuous.nodes import Nodes, nodes_at, width_of
from rdtheory.limits.continuous.panels import Panels, hidden, resolve, rule
from rdtheory.sources import LogDensity, Source

FAR = 110.0  # nats by which f(x) |x|³ has fallen where the panels end
LEFT = 0.1  # of the mass: more would be no correction
WIDE = 64.0  # scales: the nodes of a panel resolve what is at its end if it is no wider
AWAY = 1024.0  # scales from zero beyond which places lose digits that are worth having
CLOSER_LOOKS = 8
EPS = np.finfo(float).eps


class Units(NamedTuple):
    """Where a solver has its zero, and what it calls one."""

    center: float
    length: float  # a power of two: scaling by it rounds nothing


AS_GIVEN = Units(0.0, 1.0)


class Law(NamedTuple):
    """What the solver must know of a source."""

    source: Source
    panels: Panels | None
    mean: float
    variance: float
    entropy: float  # bits, of atoms; infinite for a density
    away: float  # distance of the user's zero, whose rounding the density was evaluated with; mostly zero

    def nodes(self, slope: float) -> Nodes:
        """The source as seen at a slope."""
        if self.panels is None:
            x, p = self.source.atoms, self.source.masses
            none = np.empty(0)
            return Nodes(x, p, np.arange(len(x)), none, none, 0.0, none, none, None)
        return nodes_at(self.log_density, self.panels, width_of(slope), self.mean)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Normalized, nats."""
        assert self.source.log_density is not None
        assert self.panels is not None
        return self.source.log_density(x) - self.panels.log_scale

    def density(self, x: np.ndarray) -> np.ndarray:
        """Normalized."""
        return np.exp(self.log_density(x))

    def jitter(self, x: np.ndarray) -> np.ndarray:
        """Nats by which the logarithm of the density may be off because its argument was rounded far from zero."""
        return _jitter(self.source.log_density, self.away)(x)


def units_of(source: Source) -> Units:
    """Units in which a source has a scale of about one, and is about zero if it was far from there."""
    places = source.atoms if source.log_density is None else source.breaks
    middle = float(places[len(places) // 2])
    return Units(middle if abs(middle) > AWAY * source.scale else 0.0, 2.0 ** round(math.log2(source.scale)))


def in_units(source: Source, units: Units) -> Source:
    """The same law of (x - center) / length."""
    center, length = units
    if units == AS_GIVEN:
        return source
    given, (low, high) = source.log_density, source.support
    first, last = np.nextafter(low, high), np.nextafter(high, low)  # there may be a pole at an end itself

    def log_density(x: np.ndarray) -> np.ndarray:
        assert given is not None
        with np.errstate(over="ignore"):
            return given(np.clip(x * length + center, first, last)) + math.log(length)

    breaks, atoms = (source.breaks - center) / length, (source.atoms - center) / length
    support = ((low - center) / length, (high - center) / length)
    return Source(given and log_density, support, breaks, source.scale / length, atoms, source.masses)


def _jitter(log_density: LogDensity | None, away: float) -> LogDensity:
    step = 8 * EPS * away  # far enough for its own rounding to be the smaller part

    def jitter(x: np.ndarray) -> np.ndarray:
        if step == 0 or log_density is None:
            return np.zeros(np.shape(x))
        with np.errstate(invalid="ignore"):
            here = log_density(x)
            change = np.abs(log_density(x + step) - here) + np.abs(here - log_density(x - step))
        # A place is off by half of EPS away at most: by a sixteenth of a step, and these are two.
        return np.where(np.isfinite(change), change / 16, 0.0)

    return jitter


def law_of(source: Source, units: Units = AS_GIVEN) -> Law:
    """The law of a source in such units, with its panels."""
    away = abs(units.center) / units.length
    if source.log_density is None:
        x, p = source.atoms, source.masses
        mean = float(p @ x)
        return Law(source, None, mean, float(p @ (x - mean) ** 2), float(-p @ np.log2(p)), 0.0)
    panels = _resolved(source, away)
    if not panels.error < LEFT:
        raise ValueError(f"the density cannot be integrated: a share of {panels.error:.2g} of it may be missing")
    x, w = rule(panels.left, panels.right)
    p = w * np.exp(source.log_density(x) - panels.log_scale)
    start = float(np.median(source.breaks))
    moment = float(np.sum(p * ((x - start) / source.scale) ** 2)) * source.scale**2
    # Where even that is huge, or still growing at the last panel, there is no mean to speak of.
    off = float(np.sum(p * (x - start))) if moment < 1e12 * source.scale**2 else 0.0
    variance = moment - off**2
    if variance <= (panels.error + 8 * EPS) * moment < math.inf:
        raise ValueError(
            f"the variance of the density, {variance:.2g}, is lost in rounding: center the source, that is, "
            "give the density of its distance from a point near its middle"
        )
    return Law(source, panels, start + off, variance, math.inf, away)


def _resolved(source: Source, away: float) -> Panels:
    """Panels, resolved again as long as something is found that was hidden between their nodes."""
    assert source.log_density is not None
    jitter = _jitter(source.log_density, away)
    edges = _edges(source)
    panels = resolve(source.log_density, edges, jitter)
    for _ in range(CLOSER_LOOKS):
        found = hidden(source, panels, jitter, away)
        if not found.size:
            return panels
        edges = np.union1d(edges, found)
        panels = resolve(source.log_density, edges, jitter)
    if hidden(source, panels, jitter, away).size:
        raise ValueError(
            "log_density has too many narrow peaks, holes or jumps to find them all: give breaks near them"
        )
    return panels


def _edges(source: Source) -> np.ndarray:
    """Ends of the support, breaks, and beyond the outermost breaks steps that double, until nothing is left.

    About a break from which the next edge is far there are such steps too: the nodes of one panel would miss a peak.
    """
    assert source.log_density is not None
    edges = list(source.breaks)
    peak = float(np.max(source.log_density(source.breaks)))
    with np.errstate(over="ignore"):
        steps = source.scale * 2.0 ** np.arange(-2, 1000)
    for sign, start, end in ((-1, source.breaks[0], source.support[0]), (1, source.breaks[-1], source.support[1])):
        if math.isfinite(end):
            edges.append(end)
            continue
        x = start + sign * steps[steps < 1e150]
        with np.errstate(over="ignore"):
            log_f, log_x = source.log_density(x), np.log(np.abs(x - start) / source.scale)
        fallen = log_f + 3 * log_x < peak - FAR
        if not log_f[-1] + log_x[-1] < peak - 5:
            raise ValueError("log_density must fall faster than -log|x| towards an infinite end of its support")
        last = int(np.argmax(fallen)) if fallen.any() else len(x) - 1
        edges.extend(x[: last + 1])
    edges = np.unique(edges)
    for left, right in itertools.pairwise(edges):
        if right - left > WIDE * source.scale:
            near = steps[steps < (right - left) / 2]
            parts = [start + sign * near for start, sign in ((left, 1), (right, -1)) if start in source.breaks]
            edges = np.concatenate([edges, *parts])
    return np.unique(edges)
