"""Pictures of codes beside the limit."""

import itertools
from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike
from matplotlib import ticker
from matplotlib.axes import Axes

from rdtheory.plotting._style import BLUE, GRAY, GREEN, LINES, MARKERS, ORANGE, RED, axes
from rdtheory.results import FiniteBlocklength, NetworkReport

__all__ = ["block_lengths", "distance_to_limit", "formats"]

DECIBELS = 20 * np.log10(2)  # for each bit
GAPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def distance_to_limit(schemes: Sequence[str], rates: ArrayLike, gaps: ArrayLike, ax: Axes | None = None) -> Axes:
    """Codes on one axis: how many bits each spends beyond R(D), on a logarithmic scale, against those it spends.

    Parameters
    ----------
    schemes : name of the scheme of each code; those of one name are joined by a line.
    rates : bits per weight, one for each code.
    gaps : rate - R(D) at the distortion of the code, bits per weight, > 0.
    ax : where to draw.
    """
    ax = axes(ax)
    rate, gap = np.asarray(rates, float), np.asarray(gaps, float)
    looks = zip(itertools.cycle(LINES), itertools.cycle(MARKERS), itertools.cycle(("-", "--", ":", "-.")))
    for scheme, (color, marker, style) in zip(dict.fromkeys(schemes), looks, strict=False):
        mine = np.flatnonzero([name == scheme for name in schemes])
        mine = mine[np.argsort(rate[mine], kind="stable")]
        ax.plot(rate[mine], gap[mine], color=color, marker=marker, linestyle=style, markersize=6, label=scheme)
    ax.set(xlabel="rate (bits per weight)", ylabel="rate above R(D) (bits per weight)", yscale="log")
    decibels = ax.secondary_yaxis("right", functions=(lambda bits: DECIBELS * bits, lambda shown: shown / DECIBELS))
    decibels.set_ylabel("distortion above D(R) (dB)")
    for axis, marks in (ax, GAPS), (decibels, 6 * np.array(GAPS)):
        axis.set_yticks(marks, [f"{mark:g}" for mark in marks])
        axis.yaxis.set_minor_locator(ticker.NullLocator())
    ax.set_ylim(gap.min() / 1.3, gap.max() * 1.3)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize=8)
    return ax


def block_lengths(
    lengths: ArrayLike,
    bounds: FiniteBlocklength,
    measured_lengths: ArrayLike | None = None,
    measured: ArrayLike | None = None,
    intervals: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """What blocks of n symbols need, between converse and achievability, and what a code was measured to take.

    Parameters
    ----------
    lengths : (k,), n.
    bounds : from `finite_blocklength`, every field (k,).
    measured_lengths : (j,), n of the codes measured; without these three, the bounds alone.
    measured : (j,), bits per symbol.
    intervals : (2, j), from and to: where the true ones are.
    ax : where to draw.
    """
    ax = axes(ax)
    n = np.asarray(lengths)
    ax.fill_between(n, bounds.converse, bounds.achievability, color=GRAY, alpha=0.25, linewidth=0)
    ax.plot(n, bounds.achievability, color=BLUE, label="achievability: some code takes no more")
    ax.plot(n, bounds.normal_approximation, color=ORANGE, linestyle=":", linewidth=2, label="normal approximation")
    ax.plot(n, bounds.converse, color=RED, linestyle="--", label="converse: no code takes less")
    ax.plot(n, bounds.rate, color="black", linewidth=0.8, label="R(D), infinite blocks")
    if measured_lengths is not None:
        (low, high), found = np.asarray(intervals), np.asarray(measured)
        bars, label = np.stack([found - low, high - found]), "measured: random codebooks"
        ax.errorbar(measured_lengths, found, bars, color=GREEN, marker="D", linestyle="none", label=label)
    ax.set(xscale="log", xlabel="block length n (symbols)", ylabel="rate (bits per symbol)")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize=8)
    return ax


def formats(found: NetworkReport, ax: Axes | None = None) -> Axes:
    """Formats of a whole network: what each takes and does to the outputs, and R(D) of the prior below it.

    Parameters
    ----------
    found : from `network.report`.
    ax : where to draw.
    """
    ax = axes(ax)
    bound = found.total_limit.bound
    for name, x, bits, least, color, marker in zip(
        found.formats,
        found.measured,
        found.total_bits,
        bound,
        itertools.cycle(LINES),
        itertools.cycle(MARKERS),
        strict=False,
    ):
        ax.plot(x, bits, color=color, marker=marker, linestyle="none", markersize=7, label=name)
        ax.vlines(x, least, bits, color=color, linewidth=0.8)
    ax.plot(
        found.measured, bound, color="black", marker="_", linestyle="none", markersize=12, label="R(D) of the prior"
    )
    unit = "squared error" if found.kind == "jacobian" else "divergence, bits"
    ax.set(xscale="log", xlabel=f"change of the outputs on held-out inputs ({unit})", ylabel="rate (bits per weight)")
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize=8)
    return ax
