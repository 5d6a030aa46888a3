import matplotlib as mpl
import numpy as np
import pytest

import rdtheory as rd
from rdtheory import plotting
from rdtheory.results import FiniteBlocklength, LayerLimit, NetworkReport

pytestmark = pytest.mark.fast


def test_distance_to_limit_joins_the_codes_of_a_scheme(ax):
    schemes = ["scalar", "trellis", "scalar", "trellis"]
    rates, gaps = np.array([4.0, 1.0, 1.0, 4.0]), np.array([0.25, 0.08, 0.23, 0.07])
    assert plotting.distance_to_limit(schemes, rates, gaps, ax) is ax
    scalar, trellis = ax.lines
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["scalar", "trellis"]
    np.testing.assert_array_equal(scalar.get_xydata(), [[1.0, 0.23], [4.0, 0.25]])
    np.testing.assert_array_equal(trellis.get_xydata(), [[1.0, 0.08], [4.0, 0.07]])
    looks = [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in (scalar, trellis)]
    assert all(one != other for one, other in zip(*looks, strict=True))  # in gray too
    assert "bits" in ax.get_xlabel() and "bits" in ax.get_ylabel()


def test_distance_to_limit_tells_decibels_of_each_bit(ax):
    plotting.distance_to_limit(["a"], np.ones(1), np.ones(1), ax)
    ax.set_ylim(0.1, 1.0)
    ax.figure.canvas.draw()
    [decibels] = ax.child_axes
    assert "dB" in decibels.get_ylabel()
    np.testing.assert_allclose(decibels.get_ylim(), [np.log10(4), 10 * np.log10(4)])


def test_block_lengths_show_bounds_and_what_was_measured(ax):
    n = np.array([4, 8])
    bounds = [rd.finite_blocklength.gaussian(int(length), 0.25, 0.1) for length in n]
    bounds = type(bounds[0])(*map(np.array, zip(*bounds, strict=True)))
    measured = np.array([2.1, 1.9])
    assert plotting.block_lengths(n, bounds, n, measured, np.stack([measured - 0.1, measured + 0.2]), ax) is ax
    achievability, _, converse, rate, *_ = ax.lines
    assert np.all(rate.get_ydata() < converse.get_ydata()) and np.all(converse.get_ydata() < achievability.get_ydata())
    line, _, (bars,) = ax.containers[0]
    np.testing.assert_array_equal(line.get_ydata(), measured)
    np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], [[2.0, 2.3], [1.8, 2.1]])
    assert "bits" in ax.get_ylabel() and "symbols" in ax.get_xlabel()


def test_block_lengths_show_bounds_alone(ax):
    n, ones = np.array([4, 8]), np.ones(2)
    plotting.block_lengths(n, FiniteBlocklength(ones, ones, 1.5 * ones, 1.2 * ones, 2 * ones), ax=ax)
    assert len(ax.lines) == 4 and not ax.containers
    assert all("measured" not in text.get_text() for text in ax.get_legend().get_texts())


@pytest.mark.mpl_image_compare(savefig_kwargs={"dpi": 60})
def test_picture_of_distance_to_limit():
    figure, ax = mpl.pyplot.subplots(figsize=(4, 3), layout="constrained")
    schemes = ["scalar"] * 3 + ["trellis"] * 3 + ["sparse regression"]
    rates, gaps = np.array([0.3, 1.0, 4.0, 0.5, 1.0, 4.0, 1.0]), np.array([0.1, 0.24, 0.25, 0.07, 0.075, 0.08, 0.31])
    plotting.distance_to_limit(schemes, rates, gaps, ax)
    ax.set_ylim(0.03, 0.5)
    return figure


@pytest.mark.mpl_image_compare(savefig_kwargs={"dpi": 60})
def test_picture_of_block_lengths():
    figure, ax = mpl.pyplot.subplots(figsize=(4, 3), layout="constrained")
    n = np.array([2.0, 5.0, 10.0, 30.0, 100.0, 1000.0])
    low, middle, high = 1 + 0.9 / n**0.5, 1 + 1.3 / n**0.5, 1 + 1.3 / n**0.5 + 1 / n
    bounds = FiniteBlocklength(np.ones(6), np.ones(6), middle, low, high)
    measured = np.array([2.7, 1.9])
    plotting.block_lengths(n, bounds, np.array([2, 8]), measured, np.stack([measured - 0.1, measured + 0.3]), ax)
    ax.set_ylim(0.9, 4.0)
    return figure


def test_formats_show_the_limit_below_each(ax):
    bound, nothing = np.array([3.0, 1.5]), np.zeros(2)
    limit = LayerLimit(bound, np.array([5.0, np.nan]), np.array([0.0, 0.1]))
    fields = dict.fromkeys(NetworkReport._fields, nothing)
    found = NetworkReport(
        **{**fields, "formats": ("8-bit", "ours"), "measured": np.array([1e-4, 1e-2]), "kind": "fisher",
           "total_bits": np.array([8.0, 1.4]), "total_limit": limit}
    )  # fmt: skip
    assert plotting.formats(found, ax) is ax
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["8-bit", "ours", "R(D) of the prior"]
    np.testing.assert_array_equal(ax.lines[-1].get_xydata(), [[1e-4, 3.0], [1e-2, 1.5]])
    assert "divergence" in ax.get_xlabel() and "bits" in ax.get_ylabel()
