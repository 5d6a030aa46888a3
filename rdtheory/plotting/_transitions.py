"""How an optimal reproduction changes with the slope."""

import itertools
from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from rdtheory.limits.continuous import ContinuousRate, ContinuousTransitions
from rdtheory.plotting._style import BLUE, GRAY, ORANGE, axes
from rdtheory.results import RateDistortion, Transitions

__all__ = ["bifurcation"]

LIGHTEST = 1e-6  # mass of a point that is drawn
LARGEST = 90.0  # points², of a mass of one
BEFORE = 1.15  # ratio of the first transition to the least slope that is shown
ROOM = 0.025  # of the axis, that a number takes


def bifurcation(
    points: RateDistortion | ContinuousRate,
    transitions: Transitions | ContinuousTransitions | None = None,
    ax: Axes | None = None,
    *,
    places: ArrayLike | Sequence[float] | None = None,
) -> Axes:
    """Places and masses of an optimal reproduction against the slope: a mark for each point, as large as its mass.

    Each transition is a line, as wide as its bracket is, and between two of them stands how many points there are,
    where there is room.

    Parameters
    ----------
    points : a curve, every field with a leading axis, from `discrete.curve` or `continuous.curve`.
    transitions : of the same source, from `discrete.transitions` or `continuous.transitions`.
    ax : where to draw.
    places : (m,), the numbers that the letters of a discrete source stand for; 0, 1, 2, ... unless given.

    Raises
    ------
    ValueError : one point, or as many places as there are no letters.
    """
    slope = np.asarray(points.slope)
    if slope.ndim != 1:
        raise ValueError(f"points must be a curve, with a leading axis, got a slope of shape {slope.shape}")
    if isinstance(points, ContinuousRate):
        y, mass = np.asarray(points.points), np.asarray(points.masses)
    else:
        mass = np.asarray(points.reproduction_pmf)
        row = np.arange(mass.shape[1], dtype=float) if places is None else np.asarray(places, float)
        if row.shape != mass.shape[1:]:
            raise ValueError(f"places must be one for each of {mass.shape[1]} letters, got shape {row.shape}")
        y = np.broadcast_to(row, mass.shape)
    ax = axes(ax)
    drawn = (mass > LIGHTEST) & np.isfinite(slope)[:, None] & (slope > 0)[:, None]
    at = np.broadcast_to(slope[:, None], mass.shape)
    ax.scatter(at[drawn], y[drawn], s=LARGEST * mass[drawn], color=BLUE, alpha=0.6, linewidth=0)
    ax.set(xscale="log", xlabel="slope s (bits per unit of distortion)", ylabel="reproduction y")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    if transitions is not None:
        _mark(transitions, ax)
    return ax


def _mark(transitions: Transitions | ContinuousTransitions, ax: Axes) -> None:
    if isinstance(transitions, ContinuousTransitions):
        counts = [f"{low:.0f}" if low == high else f"≥ {low:.0f}" for low, high in _ends(transitions)]
    else:
        support = [*np.asarray(transitions.support_before), *np.asarray(transitions.support_after)[-1:]]
        counts = [str(np.sum(letters == 1)) for letters in support]
    least, most = ax.get_xlim()
    low, high = (np.asarray(ends) for ends in (transitions.low, transitions.high))
    least = min([least, *(low[low > 0] / BEFORE)])
    low, high = np.clip(low, least, most), np.clip(high, least, most)
    for left, right in zip(low, high, strict=True):
        ax.axvspan(left, right, color=ORANGE, linewidth=1.0, alpha=0.7)
    edges = [least, *np.sqrt(low * high), most]
    for (left, right), count in zip(itertools.pairwise(edges), counts, strict=True):
        if right > left * (most / least) ** ROOM:
            ax.text(np.sqrt(left * right), 1.01, count, color=GRAY, ha="center", transform=ax.get_xaxis_transform())
    ax.set_xlim(least, most)


def _ends(transitions: ContinuousTransitions) -> list[tuple[float, float]]:
    """How many points there are at least and at most before the first transition, between them, and after the last."""
    fewest, most = np.asarray(transitions.fewest), np.asarray(transitions.most)
    if not len(fewest):
        return []
    sides = np.stack([fewest, most], axis=-1)
    return [tuple(side) for side in [*sides[:, 0], sides[-1, 1]]]
