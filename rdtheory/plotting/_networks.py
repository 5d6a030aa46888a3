"""Pictures of networks: which weights matter, what objectives choose, and what compressing costs."""

import itertools
from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdtheory.experiment.records import FULL_NETWORK
from rdtheory.experiment.summary import Summary
from rdtheory.models import relu
from rdtheory.plotting._style import BLUE, GRAY, GREEN, LINES, MARKERS, ORANGE, RED, axes
from rdtheory.results import OptimalityCheck

__all__ = ["compression", "compression_grid", "importance", "optimality", "relu_theorem"]

BITS, ACCURACIES = (1, 2, 3, 4, 5, 6, 8, 12), (0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98)  # marks of axes
BITS_AXIS = "bits per weight, all side information included"
MEASURES = {
    "accuracy": "accuracy on unseen examples (%)",
    "kl": "KL to full network (bits per example)",
}


def importance(
    importance: ArrayLike,
    ax: Axes | None = None,
    *,
    log: bool = True,
    label: str = "importance (output² per weight²)",
) -> Axes:
    """Importance of weights as an image: the darker, the less it matters what becomes of the weight.

    Parameters
    ----------
    importance : (rows, columns), >= 0: as of `importance.diagonal` for a layer, or summed over its units and in the
        shape of its inputs, which shows where the network looks.
    ax : where to draw; a bar of colors takes some of its room.
    log : scale of the colors; a logarithmic one has no color for zero, which is white and crossed out.
    label : of the bar, with the unit.

    Raises
    ------
    ValueError : not a matrix, an entry that is negative or no finite number.
    """
    values = np.asarray(importance, float)
    if values.ndim != 2 or not np.all((values >= 0) & np.isfinite(values)):
        raise ValueError(f"importance must be a matrix of finite numbers >= 0, got shape {values.shape}:\n{values}")
    ax = axes(ax)
    shown = np.ma.masked_equal(values, 0) if log and values.any() else values
    norm = colors.LogNorm() if log and values.any() else colors.Normalize(vmin=0)
    image = ax.imshow(shown, cmap="cividis", norm=norm)
    rows, columns = np.nonzero(np.ma.getmaskarray(shown))
    if len(rows):
        ax.plot(columns, rows, "x", color=GRAY)
        ax.set_xlabel("×: zero")
    ax.set(xticks=[], yticks=[])
    ax.figure.colorbar(image, ax=ax, label=label)
    return ax


def relu_theorem(ax: Axes | None = None) -> Axes:
    """One ReLU neuron: objective and distortion against the angle, on orthogonal candidates and at the best scale."""
    ax = axes(ax)
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
    ax = axes(ax)
    styles = (("full", "-", BLUE), ("diagonal", "--", ORANGE), ("magnitude", ":", RED))
    for name, style, color in styles:
        ratio = np.sort([1 + float(getattr(check, name).excess) for check in checks])
        share = np.mean(ratio < 1 + 1e-9)
        steps = np.concatenate([[1.0], ratio]), np.arange(len(ratio) + 1) / len(ratio)
        text = "magnitude" if name == "magnitude" else f"{name} I_w"
        ax.step(*steps, where="post", linestyle=style, color=color, linewidth=2, label=f"{text}: optimal {share:.0%}")
    ax.set(xscale="log", xlabel="distortion of the choice / least distortion", ylabel="share of layers", ylim=(0, 1.02))
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return ax


def compression(summaries: Sequence[Summary], ax: Axes | None = None, *, measure: str = "accuracy") -> Axes:
    """Accuracy or divergence against bits per weight, a line for each objective of one experiment.

    Both scales are logarithmic: half of what is wrong is as far at every height, 80 to 90 % or 90 to 95 %. The full
    network, which takes more bits than the axis has, is a dashed line at its accuracy.

    Parameters
    ----------
    summaries : of one data set and one way to compress, as `experiment.summary.summarize` makes them; bars are one
        standard error.
    ax : where to draw.
    measure : ``"accuracy"`` or ``"kl"``, the distortion in bits per example.

    Raises
    ------
    ValueError : another measure.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}")
    ax = axes(ax)
    every = [one for one in summaries if one.failed < one.seeds]
    part = [one for one in every if one.objective != FULL_NETWORK]
    looks = itertools.cycle(zip(LINES, MARKERS, itertools.cycle(("-", "--", ":", "-."))))
    names = "bits_per_weight", measure, f"{measure}_error"
    for objective, (color, marker, style) in zip(dict.fromkeys(one.objective for one in part), looks, strict=False):
        mine = sorted((one for one in part if one.objective == objective), key=lambda one: one.bits_per_weight)
        bits, height, error = (np.array([getattr(one, name) for one in mine]) for name in names)
        bars = np.nan_to_num(error)
        if measure == "accuracy":
            height = np.clip(height, 0.01, 0.995)
            bars = np.clip(bars, 0.0, np.stack([height - 0.005, 0.999 - height]))
        ax.errorbar(bits, height, bars, color=color, marker=marker, linestyle=style, markersize=5, label=objective)
    ax.set(xscale="log", xlabel=BITS_AXIS, ylabel=MEASURES[measure])
    ax.set_xticks(BITS, [f"{bit:g}" for bit in BITS])
    ax.minorticks_off()
    if measure == "accuracy":
        for one in every:
            if one.objective == FULL_NETWORK:
                label = f"{FULL_NETWORK}, {one.bits_per_weight:g} bits"
                ax.axhline(np.clip(one.accuracy, 0.01, 0.995), color=GRAY, linestyle="--", label=label)
        ax.set_yscale("logit")
        ax.set_yticks(ACCURACIES, [f"{100 * share:g}" for share in ACCURACIES])
        ax.minorticks_off()
    else:
        ax.set_yscale("log", nonpositive="clip")
    if part:
        ax.legend(frameon=False, fontsize=8, loc="lower right" if measure == "accuracy" else "upper right")
    ax.grid(alpha=0.25)
    return ax


def compression_grid(summaries: Sequence[Summary]) -> Figure:
    """`compression` for a whole experiment: a row for each data set, a column for each way to compress.

    Parameters
    ----------
    summaries : of any data sets and ways to compress.
    """
    rows, columns = (list(dict.fromkeys(getattr(one, field) for one in summaries)) for field in ("data", "scheme"))
    figure = Figure(figsize=(4.6 * len(columns), 3.8 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey="row")
    for (i, data), (j, scheme) in itertools.product(enumerate(rows), enumerate(columns)):
        compression([one for one in summaries if (one.data, one.scheme) == (data, scheme)], grid[i, j])
        grid[i, j].set_title(f"{data}: {scheme}")
        grid[i, j].label_outer()
    return figure
