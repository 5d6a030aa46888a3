"""Pictures of rate-distortion functions and their bounds."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes

from rdtheory.limits import discrete, linear
from rdtheory.limits.continuous import ContinuousRate
from rdtheory.limits.discrete import sandwich
from rdtheory.plotting._style import BLUE, GRAY, GREEN, LINES, MARKERS, ORANGE, PINK, RED, axes
from rdtheory.results import LinearBound, RateDistortion, ShannonBound, WaterFilling

__all__ = ["linear_bound", "rate_distortion", "shannon_gap", "test_channel", "water_filling"]

FEW = 12  # components or letters: more have no numbers written on them
SCHEMES = ((GREEN, "D", "--"), ("black", "^", ":"), (PINK, "s", "-."), (GRAY, "v", "-"))  # not those of the curve
WATER = "#56B4E9"
WIDTH = 1.0  # points, of the upper edge of a band


def rate_distortion(
    points: RateDistortion | ContinuousRate | list[RateDistortion],
    ax: Axes | None = None,
    *,
    label: str = "certified",
    color: str | None = None,
    exact: Callable | None = None,
    shannon: ShannonBound | None = None,
    schemes: Mapping[str, tuple[ArrayLike | Sequence[float], ArrayLike | Sequence[float]]] | None = None,
) -> Axes:
    """What points prove of R(D) as a band, its upper edge a line through them; and what schemes attain.

    The band is that of `discrete.band`, corner by corner, so that nothing between the points is a guess: chords above,
    lines below. Where it is nowhere wider than the line, the legend names the line alone.

    Parameters
    ----------
    points : a curve, every field with a leading axis; a list of curves or points, as of `rate_at`; or one point, drawn
        as a bar from its lower bound to its upper.
    ax : where to draw.
    label : of the band and the line.
    color : of both; orange and red unless given.
    exact : R(D) as a function of an array of distortions, drawn as a line.
    shannon : Shannon's lower bound at several distortions, drawn as a line where it is above zero.
    schemes : name of each scheme, and its (distortions, rates), drawn as points in order of distortion joined by a
        line; one of each is a point.

    Raises
    ------
    TypeError : `points` is neither; ValueError : it holds no point that is finite.
    """
    known = _finite(points)
    ax = axes(ax)
    x, lower, upper = sandwich.outline(known)
    dots, shade = color or RED, color or ORANGE
    if len(x) == 1:
        band = ax.vlines(x, lower, upper, color=shade, alpha=0.5, linewidth=6)
    else:
        band = ax.fill_between(x, lower, upper, color=shade, alpha=0.5, linewidth=0)
    [line] = ax.plot(x, upper, color=dots, linewidth=WIDTH)
    ax.plot(known.distortion, known.rate, ".", color=dots, markersize=4)
    if exact is not None:
        low, high = (x[0], x[-1]) if len(x) > 1 else (x[0] / 2, 1.5 * x[0])
        fine = np.linspace(low, high, 400)
        ax.plot(fine, np.asarray(exact(fine)), color=BLUE, linewidth=1.2, label="closed form")
    if shannon is not None:
        along = np.argsort(shannon.distortion, kind="stable")
        bits = np.where(shannon.rate[along] >= 0, shannon.rate[along], np.nan)
        ax.plot(shannon.distortion[along], bits, color="black", linestyle=(0, (4, 2)), label="Shannon's lower bound")
    for (name, (distortions, rates)), look in zip((schemes or {}).items(), itertools.cycle(SCHEMES), strict=False):
        scheme, marker, style = look
        at, spent = (np.atleast_1d(np.asarray(values, float)) for values in (distortions, rates))
        along = np.argsort(at, kind="stable")
        ax.plot(at[along], spent[along], color=scheme, marker=marker, linestyle=style, markersize=5, label=name)
    ax.set(xlabel="distortion D", ylabel="rate (bits per symbol)")
    ax.set_ylim(bottom=0.0, auto=True)  # what is drawn later may be higher
    height = ax.transData.transform([(0, width) for width in (0.0, float(np.max(upper - lower)))])[:, 1]
    if height[1] - height[0] > WIDTH * ax.figure.dpi / 72:
        band.set_label(f"{label}: lower to upper bound")
        line.set_label(f"{label}: upper bound")
    else:
        line.set_label(label)
    ax.legend(frameon=False)
    return ax


def _finite(points: RateDistortion | ContinuousRate | list[RateDistortion]) -> RateDistortion:
    """The finite ones in order of distortion, with one leading axis."""
    if isinstance(points, list) and points and all(isinstance(part, RateDistortion) for part in points):
        points = jax.tree.map(lambda *leaves: np.concatenate([np.ravel(leaf) for leaf in leaves]), *points)
    if not isinstance(points, RateDistortion | ContinuousRate):
        kind = type(points).__name__
        raise TypeError(f"rate_distortion draws a RateDistortion, as from rd.curve, or a ContinuousRate, got {kind}")
    if isinstance(points, ContinuousRate):
        rate, gap = points.upper, points.upper - points.lower
    else:
        rate, gap = points.rate, points.gap
    D, rate, gap, s = (np.ravel(leaf) for leaf in (points.distortion, rate, gap, points.slope))
    order = [i for i in np.argsort(D, kind="stable") if np.isfinite(D[i]) and np.isfinite(rate[i])]
    if not order:
        raise ValueError(f"points hold nothing finite to draw: distortion {D}, rate {rate}")
    rate, D, gap, s = jax.device_put([leaf[order] for leaf in (rate, D, gap, s)])
    nothing = jax.device_put(np.zeros(len(order)))
    return RateDistortion(rate, D, gap, s, nothing, nothing, nothing, nothing, nothing)


def shannon_gap(
    sources: Mapping[str, tuple[Sequence[ContinuousRate], ShannonBound, float]], ax: Axes | None = None
) -> Axes:
    """How far R(D) is above Shannon's lower bound, certified, under what Fisher information says of it at most.

    Marks are the certified gap: its upper end, with a bar down to the lower one, or an arrow down where that is below
    half of it. Lines are ½ log₂(1 + D J). An arrow at the worst of them says by what factor it is too large.

    Parameters
    ----------
    sources : for each name the points of R(D) of `continuous.rate_at`, Shannon's bound at the same distortions, and J.
    ax : where to draw.
    """
    ax = axes(ax)
    worst = (0.0, 0.0, 0.0, 0.0)
    for (name, (points, shannon, fisher)), color, marker in zip(
        sources.items(), itertools.cycle(LINES), itertools.cycle(MARKERS), strict=False
    ):
        D, floor = np.asarray(shannon.distortion), np.asarray(shannon.rate)
        upper, lower = (
            np.array([float(getattr(point, end)) for point in points]) - floor for end in ("upper", "lower")
        )
        bound = np.log1p(D * fisher) / (2 * np.log(2))
        ax.plot(D, bound, color=color, linewidth=1.2)
        seen = lower > 0.5 * upper
        ax.vlines(D[seen], lower[seen], upper[seen], color=color)
        ax.plot(D[seen], upper[seen], marker, color=color, markersize=5, label=name)
        ax.plot(D[~seen], upper[~seen], marker="$\u2193$", linestyle="", color=color, markersize=7)
        k = int(np.argmax(np.where(seen, bound / upper, 0.0)))
        worst = max(worst, (float(bound[k] / upper[k]), float(D[k]), float(upper[k]), float(bound[k])))
    factor, at, gap, bound = worst
    digit = 10.0 ** np.floor(np.log10(max(factor, 1.0)))
    ax.annotate("", (at, bound), (at, gap), arrowprops={"arrowstyle": "<->", "color": GRAY})
    ax.annotate(
        f"loose by a factor of\n{digit * (factor // digit):,.0f} or more", (at, np.sqrt(gap * bound)), (5, 0),
        textcoords="offset points", va="center", fontsize=8,
    )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="distortion D", ylabel="R(D) - Shannon's bound (bits per symbol)")
    ax.plot([], [], color="black", linewidth=1.2, label="½ log₂(1 + D J), in each color")
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
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
    ax = axes(ax)
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
    ax.legend(loc="lower left", framealpha=1, edgecolor="white")  # over the lines at zero and at the critical D
    return ax


def water_filling(
    filled: WaterFilling | LinearBound, depths: ArrayLike, ax: Axes | None = None, *, unit: str = "squared output units"
) -> Axes:
    """Vessels of different depth, filled to one level: the water is the distortion, what rises above it is described.

    With at most twelve vessels the bits of each, ½ log₂ (depth / level), are written above it.

    Parameters
    ----------
    filled : of `gaussian.water_filling`, `linear.rate`, `linear.lower_bound` or `linear.shannon_lower_bound`.
    depths : (m,), what each component costs if it is not described: variances ν_k, or λ_i E W_i² for the bounds.
    ax : where to draw.
    unit : of the depths.
    """
    ax = axes(ax)
    depth, level = np.asarray(depths, float), float(filled.water_level)
    component = np.arange(1, len(depth) + 1)
    water, described = np.minimum(depth, level), np.maximum(depth - level, 0.0)
    ax.bar(component, water, color=WATER, edgecolor="white", hatch="///", linewidth=0, label="water: distortion")
    ax.bar(component, described, bottom=water, color=ORANGE, alpha=0.4, label="above it: described")
    ax.bar(component, depth, color="none", edgecolor="black", linewidth=1)
    ax.axhline(level, color=BLUE, linestyle="--", linewidth=1.5, label=f"water level {level:.3g}")
    if len(depth) <= FEW:
        with np.errstate(divide="ignore"):
            bits = np.where(depth > level, np.log2(np.where(depth > level, depth, 1.0)) - np.log2(level), 0.0) / 2
        for k, top, own in zip(component, np.maximum(depth, level), bits, strict=True):
            text = f"{own:.2f}\nbits" if np.isfinite(own) else "∞\nbits"
            ax.annotate(text, (k, top), (0, 3), textcoords="offset points", ha="center", va="bottom", fontsize=8)
        ax.set_xticks(component)
    ax.set(xlabel="component", ylabel=f"depth ({unit})", ylim=(0, 1.25 * max(depth.max(), level) or 1.0))
    ax.legend(frameon=False, fontsize=8)
    return ax


def test_channel(point: RateDistortion, distortion_matrix: ArrayLike, ax: Axes | None = None) -> Axes:
    """The channel Q(y|x) behind a point of R(D), a row for each source letter, under the pmf q of its output.

    With at most twelve letters on either side the probabilities are written in the cells; else a color bar tells them.

    Parameters
    ----------
    point : from a solver of `algorithms` or `discrete`.
    distortion_matrix : (n, m), the one it was computed for.
    ax : where to draw; q is on an inset above it, the first of its ``child_axes``.
    """
    ax = axes(ax)
    q = np.asarray(point.reproduction_pmf)
    channel = np.asarray(discrete.test_channel(q, distortion_matrix, point.slope))
    image = ax.imshow(channel, cmap="Blues", vmin=0, vmax=channel.max(), aspect="auto")
    ax.set(xlabel="reproduction letter y", ylabel="source letter x")
    above = ax.inset_axes((0, 1.04, 1, 0.28), sharex=ax)
    bars = above.bar(np.arange(len(q)), q, color=GRAY, width=0.8 if len(q) <= FEW else 1.0)
    above.tick_params(labelbottom=False)
    above.spines[["top", "right"]].set_visible(False)
    above.set(ylabel="q(y)", ylim=(0, 1.6 * q.max()))
    if max(channel.shape) > FEW:
        ax.figure.colorbar(image, ax=ax, label="Q(y|x)")
        return ax
    for (x, y), share in np.ndenumerate(channel):
        color = "white" if share > 0.6 * channel.max() else "black"
        ax.text(y, x, f"{share:.2f}", ha="center", va="center", color=color, fontsize=8)
    above.bar_label(bars, fmt="%.2f", fontsize=8)
    above.set_yticks([])
    for mark, letters in zip((ax.set_yticks, ax.set_xticks), channel.shape, strict=True):
        mark(np.arange(letters))
    return ax
