"""Pictures of a report: what was compared, and pictures as files."""

import io
from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdtheory.plotting._style import BLUE, RED, axes

__all__ = ["evidence", "svg"]


def evidence(errors: Sequence[float], error_bars: Sequence[float], ax: Axes | None = None) -> Axes:
    """Every comparison: its error against its error bar; what lies above the diagonal fails.

    Parameters
    ----------
    errors, error_bars : of the rows.
    ax : where to draw.
    """
    ax = axes(ax)
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
