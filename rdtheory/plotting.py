"""Pictures of results. Each function draws on given axes (or makes them) and returns them; units are on the axes.

The only module that imports matplotlib. Colors are from the Okabe-Ito palette, and differ in lightness and line style
too, so that they survive color blindness and gray print.
"""

import io
import itertools
from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
from jax.typing import ArrayLike
from matplotlib import pyplot as plt
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdtheory.experiment.records import FULL_NETWORK
from rdtheory.experiment.summary import Summary
from rdtheory.limits import linear
from rdtheory.models import relu
from rdtheory.results import FiniteBlocklength, OptimalityCheck, RateDistortion

__all__ = [
    "block_lengths",
    "compression",
    "distance_to_limit",
    "evidence",
    "linear_bound",
    "optimality",
    "rate_distortion",
    "relu_theorem",
    "svg",
]

BLUE, ORANGE, GREEN, RED, GRAY, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666", "#CC79A7"
LINES = (RED, ORANGE, GREEN, BLUE, GRAY, "black", PINK, "#56B4E9", "#8C510A")
MARKERS = "os^Dv*PXh"
BITS, ACCURACIES = (1, 2, 3, 4, 5, 6, 8, 12), (0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98)  # marks of axes
DECIBELS = 20 * np.log10(2)  # for each bit
GAPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def rate_distortion(points: RateDistortion, ax: Axes | None = None, *, label: str = "certified", exact=None) -> Axes:
    """R(D) with its certificate as a band from rate - gap to rate.

    Parameters
    ----------
    points : a curve, every field with a leading axis.
    ax : where to draw.
    label : of the band.
    exact : R(D) as a function of an array of distortions, drawn as a line.
    """
    ax = _axes(ax)
    order = np.argsort(np.asarray(points.distortion))
    D, rate, gap = (np.asarray(field)[order] for field in (points.distortion, points.rate, points.gap))
    ax.fill_between(D, rate - gap, rate, color=ORANGE, alpha=0.5, linewidth=0, label=f"{label}: rate - gap to rate")
    ax.plot(D, rate, ".", color=RED, markersize=4, label=f"{label}: rate")
    if exact is not None:
        fine = np.linspace(D.min(), D.max(), 400)
        ax.plot(fine, np.asarray(exact(fine)), color=BLUE, linewidth=1.2, label="closed form")
    ax.set(xlabel="distortion D", ylabel="rate (bits per symbol)")
    ax.set_ylim(bottom=min(0.0, float(np.min(rate - gap))))
    ax.legend(frameon=False)
    return ax


def linear_bound(weight_cov: ArrayLike, input_variances: ArrayLike, critical: float, ax: Axes | None = None) -> Axes:
    """The paper's bound and the exact rate of a linear model: tight, then loose, then negative.

    Parameters
    ----------
    weight_cov : (m, m); Σ_W.
    input_variances : (m,); λ.
    critical : the distortion up to which the bound is tight.
    ax : where to draw.
    """
    ax = _axes(ax)
    weight_cov, input_variances = np.asarray(weight_cov), np.asarray(input_variances)
    total = float(np.sum(input_variances * np.diagonal(weight_cov)))
    D = np.geomspace(0.1 * critical, total, 100)
    exact = [float(linear.rate(weight_cov, np.diag(input_variances), d).rate) for d in D]
    bound = [float(linear.lower_bound(weight_cov, input_variances, d).rate) for d in D]
    ax.fill_between(D, bound, exact, color=GRAY, alpha=0.25, linewidth=0, label="what the bound leaves open")
    ax.plot(D, exact, color=BLUE, linewidth=2.5, label="exact R(D)")
    ax.plot(D, bound, color=RED, linestyle="--", linewidth=1.5, label="lower bound of Theorem 1")
    ax.axhline(0.0, color="black", linewidth=0.6)
    ax.axvline(critical, color=GRAY, linestyle=":", label="critical D")
    ax.set(xscale="log", xlabel="distortion D (squared output units)", ylabel="rate (bits per weight vector)")
    negative = np.flatnonzero(np.asarray(bound) < 0)
    spans = [("tight", D[0], critical), ("loose", critical, D[negative[0]] if len(negative) else total)]
    if len(negative):
        spans.append(("negative", D[negative[0]], total))
    for word, left, right in spans:
        ax.text(np.sqrt(left * right), 0.92, word, ha="center", transform=ax.get_xaxis_transform())
    ax.legend(frameon=False, loc="lower left")
    return ax


def relu_theorem(ax: Axes | None = None) -> Axes:
    """One ReLU neuron: objective and distortion against the angle, on orthogonal candidates and at the best scale."""
    ax = _axes(ax)
    w, cov = np.array([1.0, 0.0]), np.eye(2)
    angles = np.linspace(0, np.pi / 2, 46)
    orthogonal = np.cos(angles)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    true = [float(relu.distortion(w, w_hat, cov)) for w_hat in orthogonal]
    best = [float(relu.best_scale(w, w_hat, cov).distortion) for w_hat in orthogonal]
    degrees = np.degrees(angles)
    ax.plot(degrees, np.sin(angles) ** 2 / 2, color=RED, linestyle="--", label="objective (w - ŵ)ᵀ I_w (w - ŵ)")
    ax.plot(degrees, true, color=BLUE, linewidth=2, label="distortion, ‖ŵ‖ = ‖w‖ cos θ")
    ax.plot(degrees, best, color=GREEN, linestyle=":", linewidth=2, label="distortion at the best scale")
    ax.set(xlabel="angle between w and ŵ (degrees)", ylabel="distortion / ‖w‖²")
    ax.legend(frameon=False)
    return ax


def optimality(checks: Sequence[OptimalityCheck], ax: Axes | None = None) -> Axes:
    """How far the choice of each objective is from the best candidate: one distribution function each.

    Parameters
    ----------
    checks : results of `relu.optimality`.
    ax : where to draw.
    """
    ax = _axes(ax)
    styles = (("full", "-", BLUE), ("diagonal", "--", ORANGE), ("magnitude", ":", RED))
    for name, style, color in styles:
        ratio = np.sort([1 + float(getattr(check, name).excess) for check in checks])
        share = np.mean(ratio < 1 + 1e-9)
        steps = np.concatenate([[1.0], ratio]), np.arange(len(ratio) + 1) / len(ratio)
        text = "magnitude" if name == "magnitude" else f"{name} I_w"
        ax.step(*steps, where="post", linestyle=style, color=color, linewidth=2, label=f"{text}: optimal {share:.0%}")
    ax.set(xscale="log", xlabel="distortion of the choice / least distortion", ylabel="share of layers", ylim=(0, 1.02))
    ax.legend(frameon=False, loc="lower right")
    return ax


def evidence(errors: Sequence[float], error_bars: Sequence[float], ax: Axes | None = None) -> Axes:
    """Every comparison: its error against its error bar; what lies above the diagonal fails.

    Parameters
    ----------
    errors, error_bars : of the rows.
    ax : where to draw.
    """
    ax = _axes(ax)
    floor = 1e-17
    error, bar = np.maximum(errors, floor), np.maximum(error_bars, floor)
    bad = ~(np.asarray(errors) <= np.asarray(error_bars))
    ax.loglog(bar[~bad], error[~bad], "o", color=BLUE, alpha=0.6, label="holds")
    if bad.any():
        ax.loglog(bar[bad], error[bad], "X", color=RED, markersize=10, label="fails")
    line = np.array([floor, 1e1])
    ax.plot(line, line, color="black", linewidth=0.8, label="error = error bar")
    ax.set(xlabel=f"error bar (zero drawn at {floor:.0e})", ylabel="error", xlim=(floor / 2, 20), ylim=(floor / 2, 20))
    ax.legend(frameon=False, loc="upper left")
    return ax


def distance_to_limit(schemes: Sequence[str], rates: ArrayLike, gaps: ArrayLike, ax: Axes | None = None) -> Axes:
    """Codes on one axis: how many bits each spends beyond R(D), on a logarithmic scale, against those it spends.

    Parameters
    ----------
    schemes : name of the scheme of each code; those of one name are joined by a line.
    rates : bits per weight, one for each code.
    gaps : rate - R(D) at the distortion of the code, bits per weight, > 0.
    ax : where to draw.
    """
    ax = _axes(ax)
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
    measured_lengths: ArrayLike,
    measured: ArrayLike,
    intervals: ArrayLike,
    ax: Axes | None = None,
) -> Axes:
    """What blocks of n symbols need, between converse and achievability, and what a code was measured to take.

    Parameters
    ----------
    lengths : (k,), n.
    bounds : from `finite_blocklength`, every field (k,).
    measured_lengths : (j,), n of the codes measured.
    measured : (j,), bits per symbol.
    intervals : (2, j), from and to: where the true ones are.
    ax : where to draw.
    """
    ax = _axes(ax)
    n, found, ends = np.asarray(lengths), np.asarray(measured), np.asarray(intervals)
    ax.fill_between(n, bounds.converse, bounds.achievability, color=GRAY, alpha=0.25, linewidth=0)
    ax.plot(n, bounds.achievability, color=BLUE, label="achievability: some code takes no more")
    ax.plot(n, bounds.normal_approximation, color=ORANGE, linestyle=":", linewidth=2, label="normal approximation")
    ax.plot(n, bounds.converse, color=RED, linestyle="--", label="converse: no code takes less")
    ax.plot(n, bounds.rate, color="black", linewidth=0.8, label="R(D), infinite blocks")
    bars = np.stack([found - ends[0], ends[1] - found])
    ax.errorbar(
        measured_lengths, found, bars, color=GREEN, marker="D", linestyle="none", label="measured: random codebooks"
    )
    ax.set(xscale="log", xlabel="block length n (symbols)", ylabel="rate (bits per symbol)")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize=8)
    return ax


def compression(summaries: Sequence[Summary]) -> Figure:
    """Accuracy against bits per weight: a row for each data set, a column for each way to compress.

    The full network, which takes more bits than the axis has, is a dashed line at its accuracy.

    Parameters
    ----------
    summaries : of an experiment; bars are one standard error.
    """
    rows, columns = (list(dict.fromkeys(getattr(one, field) for one in summaries)) for field in ("data", "scheme"))
    figure = Figure(figsize=(4.6 * len(columns), 3.8 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey="row")
    for (i, data), (j, scheme) in itertools.product(enumerate(rows), enumerate(columns)):
        every = [one for one in summaries if (one.data, one.scheme) == (data, scheme) and one.failed < one.seeds]
        part = [one for one in every if one.objective != FULL_NETWORK]
        looks = itertools.cycle(zip(LINES, MARKERS, strict=True))
        for objective, (color, marker) in zip(dict.fromkeys(one.objective for one in part), looks, strict=False):
            mine = sorted((one for one in part if one.objective == objective), key=lambda one: one.bits_per_weight)
            bits, accuracy, error = (
                np.array([getattr(one, name) for one in mine])
                for name in ("bits_per_weight", "accuracy", "accuracy_error")
            )
            accuracy, error = np.clip(accuracy, 0.01, 0.995), np.nan_to_num(error)
            bars = np.clip(error, 0.0, np.stack([accuracy - 0.005, 0.999 - accuracy]))
            grid[i, j].errorbar(bits, accuracy, bars, color=color, marker=marker, markersize=5, label=objective)
        for one in every:
            if one.objective == FULL_NETWORK:
                label = f"{FULL_NETWORK}, {one.bits_per_weight:g} bits"
                grid[i, j].axhline(np.clip(one.accuracy, 0.01, 0.995), color=GRAY, linestyle="--", label=label)
        # Half of what is wrong is as far at every height: 80 to 90 %, 90 to 95 %.
        grid[i, j].set(xscale="log", yscale="logit", title=f"{data}: {scheme}")
        grid[i, j].set_xticks(BITS, [f"{bit:g}" for bit in BITS])
        grid[i, j].set_yticks(ACCURACIES, [f"{100 * share:g}" for share in ACCURACIES])
        grid[i, j].minorticks_off()
        grid[i, j].legend(frameon=False, fontsize=8, loc="lower right")
        grid[i, j].grid(alpha=0.25)
    for ax in grid[:, 0]:
        ax.set_ylabel("accuracy on unseen examples (%)")
    for ax in grid[-1]:
        ax.set_xlabel("bits per weight, all side information included")
    return figure


def svg(draw: Callable[[Axes], object]) -> bytes:
    """A picture as a file that is the same whenever its numbers are, without opening a window.

    Parameters
    ----------
    draw : draws on the axes it is given, as the functions above do.
    """
    with mpl.rc_context({"svg.hashsalt": "rdtheory", "svg.fonttype": "path", "font.size": 10}):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        draw(figure.subplots())
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots(figsize=(6.4, 4.2), layout="constrained")[1] if ax is None else ax
