import numpy as np
import pytest
from matplotlib.figure import Figure

import rdtheory as rd
from rdtheory import plotting
from rdtheory.limits.continuous import ContinuousRate, ContinuousTransitions
from tests.plotting.test_curves import figure_and_axes

pytestmark = pytest.mark.fast


def marks(ax):
    """Slope, place and size of every mark."""
    [scatter] = ax.collections[:1]
    return np.column_stack([scatter.get_offsets(), scatter.get_sizes()])


def numbers(ax):
    return [text.get_text() for text in ax.texts]


def test_bifurcation_of_letters_has_a_mark_for_each_in_use(ax):
    p, d, slopes = np.array([0.6, 0.3, 0.1]), rd.distortion.hamming(3), np.array([0.8, 1.5, 2.0, 4.0])
    points, found = rd.curve(p, d, slopes), rd.discrete.transitions(p, d)
    assert plotting.bifurcation(points, found, ax, places=[10.0, 20.0, 30.0]) is ax
    shown = marks(ax)
    np.testing.assert_array_equal(shown[:, 1], [10, 10, 20, 10, 20, 10, 20, 30])
    np.testing.assert_allclose(shown[:, 2] / shown[0, 2], points.reproduction_pmf[points.reproduction_pmf > 1e-6])
    assert numbers(ax) == ["1", "2", "3"]
    lines = [patch.get_xy()[0] for patch in ax.patches]
    np.testing.assert_allclose(lines, [1.0, 3.0], rtol=1e-5)  # e^-s = 1/2 and 1/8
    assert "bits" in ax.get_xlabel()


def three_points():
    """Written down, so that no solver moves the picture."""
    slope, nothing = np.array([2.0, 4.0, 8.0, 16.0]), np.zeros(4)
    points = np.array([[-0.3, 0.3, np.nan], [-0.5, 0.5, np.nan], [-0.6, 0.0, 0.6], [-0.7, 0.0, 0.7]])
    masses = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.4, 0.2, 0.4], [1 / 3, 1 / 3, 1 / 3]])
    return ContinuousRate(nothing, nothing, nothing, slope, nothing, nothing, points, masses, *[nothing] * 3)


def gained():
    low, high, side = np.array([1.8, 6.0]), np.array([1.8, 7.0]), np.zeros((2, 2))
    fewest, most = np.array([[1.0, 2.0], [2.0, 3.0]]), np.array([[1.0, 2.0], [2.0, np.inf]])
    nothing = np.zeros((2, 2, 0))
    return ContinuousTransitions(low, high, fewest, most, side, side, side, nothing, nothing)


def test_bifurcation_of_points_says_what_is_proved(ax):
    plotting.bifurcation(three_points(), gained(), ax)
    assert len(marks(ax)) == 10 and numbers(ax) == ["1", "2", "≥ 3"]
    assert ax.patches[1].get_width() == pytest.approx(1.0)


def test_bifurcation_takes_curves_only(ax, as_user):
    p, d = np.array([0.6, 0.3, 0.1]), rd.distortion.hamming(3)
    with pytest.raises(ValueError, match="leading axis"):
        plotting.bifurcation(rd.rate_at(p, d, 0.1), ax=ax)
    with pytest.raises(ValueError, match="one for each of 3 letters"):
        plotting.bifurcation(rd.curve(p, d, np.array([1.0, 2.0])), ax=ax, places=[1.0])


@pytest.mark.mpl_image_compare(savefig_kwargs={"dpi": 60})
def test_picture_of_bifurcation():
    ax = figure_and_axes()
    plotting.bifurcation(three_points(), gained(), ax)
    figure = ax.figure
    assert isinstance(figure, Figure)
    return figure
