"""What all pictures share: colors, markers and axes."""

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

__all__ = ["BLUE", "GRAY", "GREEN", "LINES", "MARKERS", "ORANGE", "PINK", "RED", "axes"]

BLUE, ORANGE, GREEN, RED, GRAY, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666", "#CC79A7"
LINES = (RED, ORANGE, GREEN, BLUE, GRAY, "black", PINK, "#56B4E9", "#8C510A")
MARKERS = "os^Dv*PXh"


def axes(ax: Axes | None) -> Axes:
    """The axes given, or new ones."""
    return plt.subplots(figsize=(6.4, 4.2), layout="constrained")[1] if ax is None else ax
