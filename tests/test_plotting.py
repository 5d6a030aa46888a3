import matplotlib as mpl
import numpy as np
import pytest

import rdtheory as rd
from rdtheory import plotting
from rdtheory.experiment import summary
from rdtheory.experiment.records import Record
from rdtheory.verify.linear import critical_distortion

mpl.use("agg")


@pytest.fixture
def ax():
    figure, ax = mpl.pyplot.subplots()
    yield ax
    mpl.pyplot.close(figure)


def test_rate_distortion_band_is_the_certificate(ax):
    points = rd.curve(np.array([0.3, 0.7]), rd.distortion.hamming(2), np.array([1.0, 2.0, 4.0]), max_steps=3)
    assert plotting.rate_distortion(points, ax, exact=lambda D: 0 * D) is ax
    band = ax.collections[0].get_paths()[0].vertices
    for D, rate, gap in zip(points.distortion, points.rate, points.gap, strict=True):
        edges = band[np.isclose(band[:, 0], D), 1]
        assert edges.min() == pytest.approx(float(rate - gap)) and edges.max() == pytest.approx(float(rate))
    assert "bits" in ax.get_ylabel()


def test_linear_bound_draws_bound_below_exact(ax):
    cov, inputs = np.array([[1.0, 0.8], [0.8, 1.0]]), np.array([1.0, 2.0])
    plotting.linear_bound(cov, inputs, critical_distortion(cov, inputs), ax)
    exact, bound = (line.get_ydata() for line in ax.lines[:2])
    assert np.all(bound <= exact + 1e-9) and bound[-1] < 0
    assert {"tight", "loose", "negative"} == {text.get_text() for text in ax.texts}


def test_relu_theorem_curves_increase(ax):
    plotting.relu_theorem(ax)
    objective, true, best = (line.get_ydata() for line in ax.lines)
    assert np.all(np.diff(true) > 0) and np.all(true <= objective + 1e-12) and np.all(best <= true + 1e-12)


def test_optimality_shares_reach_one(ax):
    w = np.random.default_rng(0).normal(size=(2, 3))
    check = rd.relu.optimality(w, rd.candidates.pruned(w, 3), np.eye(3), np.ones(2))
    plotting.optimality([check, check], ax)
    assert all(line.get_ydata()[-1] == 1.0 for line in ax.lines)


def test_evidence_marks_failures(ax):
    plotting.evidence([0.0, 1.0, np.nan], [1e-9, 0.5, 1.0], ax)
    assert [line.get_label() for line in ax.lines] == ["holds", "fails", "error = error bar"]
    assert len(ax.lines[1].get_xdata()) == 2


def test_compression_shows_every_objective_with_its_errors():
    records = [
        Record(data, "pruning", objective, rate, seed, accuracy=0.5 + 0.1 * seed, cross_entropy=1.0, kl=1.0,
               bits_per_weight=10 * rate, seconds=0.1)
        for data in ("digits", "mnist5k") for objective in ("magnitude", "Jacobian") for rate in (0.5, 0.1)
        for seed in (0, 1)
    ]  # fmt: skip
    records += [
        Record("digits", "pruning", "full network", 32.0, seed, 0.9 + 0.02 * seed, 0.1, 0.0, 32.0, 0.1)
        for seed in (0, 1)
    ]
    records += [records[0]._replace(objective="broken", kl=np.nan)]  # nothing to draw
    figure = plotting.compression(summary.summarize(records))
    assert [ax.get_title() for ax in figure.axes] == ["digits: pruning", "mnist5k: pruning"]
    full = figure.axes[0].lines[-1]
    assert (full.get_label(), full.get_linestyle()) == ("full network, 32 bits", "--")
    np.testing.assert_allclose(full.get_ydata(), 0.91)
    for ax, more in zip(figure.axes, (["full network, 32 bits"], []), strict=True):
        assert {text.get_text() for text in ax.get_legend().get_texts()} == {"magnitude", "Jacobian", *more}
        line, _, (bars,) = ax.containers[0]
        np.testing.assert_allclose(line.get_xdata(), [1.0, 5.0])
        np.testing.assert_allclose(line.get_ydata(), [0.55, 0.55])
        np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], [[0.5, 0.6]] * 2)


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


def test_svg_is_the_same_twice():
    assert plotting.svg(plotting.relu_theorem) == plotting.svg(plotting.relu_theorem)


def test_axes_are_made_when_none_are_given():
    axes = plotting.relu_theorem()
    assert axes.get_xlabel()
    mpl.pyplot.close(axes.figure)
