"""Pictures of rate-distortion functions and their bounds."""

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes

from rdtheory.limits import linear
from rdtheory.plotting._style import BLUE, GRAY, ORANGE, RED, axes
from rdtheory.results import RateDistortion

__all__ = ["linear_bound", "rate_distortion"]


def rate_distortion(points: RateDistortion, ax: Axes | None = None, *, label: str = "certified", exact=None) -> Axes:
    """R(D) with its certificate as a band from rate - gap to rate.

    Parameters
    ----------
    points : a curve, every field with a leading axis.
    ax : where to draw.
    label : of the band.
    exact : R(D) as a function of an array of distortions, drawn as a line.
    """
    ax = axes(ax)
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
    ax.legend(frameon=False, loc="lower left")
    return ax
