import matplotlib as mpl
import numpy as np
import pytest

from rdtheory import plotting

pytestmark = pytest.mark.fast


def test_evidence_marks_failures(ax):
    plotting.evidence([0.0, 1.0, np.nan], [1e-9, 0.5, 1.0], ax)
    assert [line.get_label() for line in ax.lines] == ["holds", "fails", "error = error bar"]
    assert len(ax.lines[1].get_xdata()) == 2


def test_svg_is_the_same_twice():
    assert plotting.svg(plotting.relu_theorem) == plotting.svg(plotting.relu_theorem)


def test_axes_are_made_when_none_are_given():
    axes = plotting.relu_theorem()
    assert axes.get_xlabel()
    mpl.pyplot.close(axes.figure)
