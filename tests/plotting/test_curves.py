import numpy as np
import pytest
from matplotlib.figure import Figure

import rdtheory as rd
from rdtheory import plotting
from rdtheory.results import RateDistortion
from rdtheory.verify.linear import critical_distortion

pytestmark = pytest.mark.fast


def edges(ax):
    """The two sides of the band as it is drawn, at distortions of one's choice."""
    corners = ax.collections[0].get_paths()[0].vertices
    forth = corners[1 : np.argmax(corners[:, 0]) + 1]
    back = corners[np.argmax(corners[:, 0]) : -1][::-1]
    return lambda D: sorted((np.interp(D, *side[np.argsort(side[:, 0])].T) for side in (forth, back)), key=np.sum)


@pytest.mark.parametrize("budget", [3, 1000])
def test_rate_distortion_draws_the_band_and_nothing_that_is_no_bound(ax, budget):
    points = rd.curve(np.array([0.3, 0.7]), rd.distortion.hamming(2), np.array([1.3, 2.0, 4.0]), max_steps=budget)
    assert plotting.rate_distortion(points, ax, exact=lambda D: 0 * D) is ax
    D = np.linspace(float(points.distortion.min()), float(points.distortion.max()), 101)[1:-1]
    lower, upper = edges(ax)(D)
    exact = np.array([rd.closed_form.bernoulli(0.3, x) for x in D])
    assert np.all(lower <= exact + 1e-12) and np.all(exact <= upper + 1e-12)
    found = rd.discrete.band(points, D)
    np.testing.assert_allclose(upper, found.upper, atol=1e-12)
    assert np.all(lower <= found.lower + 1e-12)
    assert np.max(found.lower - lower) < 1e-12 or budget == 3  # that R falls is not drawn, it is no line
    assert "bits" in ax.get_ylabel()


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_thin_bands_are_not_in_the_legend_and_curves_have_colors(ax):
    p, d = np.array([0.3, 0.7]), rd.distortion.hamming(2)
    plotting.rate_distortion(rd.curve(p, d, tol=1e-3), ax, label="fine", color="black")
    assert legend(ax) == ["fine"] and ax.lines[0].get_color() == "black"
    plotting.rate_distortion(rd.curve(p, d, np.array([1.3, 4.0])), ax, label="coarse")
    assert legend(ax) == ["fine", "coarse: lower to upper bound", "coarse: upper bound"]


def test_one_point_is_a_bar(ax):
    point = rd.rate_at(np.array([0.3, 0.7]), rd.distortion.hamming(2), 0.1, max_steps=1)
    plotting.rate_distortion(point, ax, exact=lambda D: 0 * D)
    [[(x, low), (_, high)]] = ax.collections[0].get_segments()
    assert (x, high) == (0.1, float(point.rate)) and low == pytest.approx(max(float(point.rate - point.gap), 0))
    ax.clear()
    found = rd.continuous.rate_at(rd.sources.uniform(0.0, 1.0), 0.02, tol=0.1)
    plotting.rate_distortion(found, ax)
    [[(x, low), (_, high)]] = ax.collections[0].get_segments()
    np.testing.assert_allclose([x, low, high], [0.02, found.lower, found.upper])


def test_what_cannot_be_drawn_says_so(ax, as_user):
    with pytest.raises(TypeError, match="draws a RateDistortion.*got list"):
        plotting.rate_distortion([1.0, 2.0], ax)
    with pytest.raises(ValueError, match="nothing finite to draw"):
        plotting.rate_distortion(points_of_a_coin()._replace(distortion=np.full(5, np.nan)), ax)


def test_points_in_a_list_are_drawn_as_the_curve_of_them(ax):
    curve = points_of_a_coin()
    names = ("rate", "distortion", "gap", "slope")
    parts = [curve._replace(**{name: getattr(curve, name)[i] for name in names}) for i in (3, 0, 2)]
    plotting.rate_distortion(parts, ax)
    points = np.stack([curve.distortion, curve.rate], axis=1)[[0, 2, 3]]
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), points)


def test_linear_bound_draws_bound_below_exact(ax):
    cov, inputs = np.array([[1.0, 0.8], [0.8, 1.0]]), np.array([1.0, 2.0])
    plotting.linear_bound(cov, inputs, critical_distortion(cov, inputs), ax)
    exact, bound = (line.get_ydata() for line in ax.lines[:2])
    assert np.all(bound <= exact + 1e-9) and bound[-1] < 0
    assert {"tight", "loose", "negative"} == {text.get_text() for text in ax.texts}


def points_of_a_coin():
    """Written down, so that no solver moves the picture: the upper ends are R(D) of a fair coin."""
    D = np.array([0.05, 0.11, 0.2, 0.3, 0.4])
    rate, gap = np.array([0.7136, 0.5001, 0.2781, 0.1187, 0.0290]), np.array([0.02, 0.05, 0.1, 0.05, 0.01])
    no = np.zeros(5)
    return RateDistortion(rate, D, gap, np.log2((1 - D) / D), no, no, no, no, no)


def figure_and_axes():
    return Figure(figsize=(4, 3), layout="constrained").subplots()


@pytest.mark.mpl_image_compare(savefig_kwargs={"dpi": 60})
def test_picture_of_rate_distortion():
    ax = figure_and_axes()
    schemes = {"time sharing": ([0.0, 0.5], [1.0, 0.0]), "one code": (0.25, 0.5)}
    plotting.rate_distortion(points_of_a_coin(), ax, schemes=schemes)
    return ax.figure


@pytest.mark.mpl_image_compare(savefig_kwargs={"dpi": 60})
def test_picture_of_water_filling():
    ax = figure_and_axes()
    plotting.water_filling(rd.gaussian.water_filling(np.array([4.0, 1.0, 0.25]), 1.25), np.array([4.0, 1.0, 0.25]), ax)
    return ax.figure


@pytest.mark.mpl_image_compare(savefig_kwargs={"dpi": 60})
def test_picture_of_test_channel():
    ax = figure_and_axes()
    point = points_of_a_coin()._replace(reproduction_pmf=np.array([0.75, 0.25]), slope=np.array(2.0))
    plotting.test_channel(point, 1 - np.eye(2), ax)
    return ax.figure


def test_schemes_are_drawn_in_order_of_distortion_and_differ_in_gray(ax):
    schemes = {"a": ([0.3, 0.1], [0.4, 0.7]), "b": (0.2, 0.5)}
    plotting.rate_distortion(points_of_a_coin(), ax, schemes=schemes)
    rates, _, a, b = ax.lines
    np.testing.assert_array_equal(a.get_xydata(), [[0.1, 0.7], [0.3, 0.4]])
    np.testing.assert_array_equal(b.get_xydata(), [[0.2, 0.5]])
    looks = [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in (rates, a, b)]
    assert all(len(set(kind)) == 3 for kind in zip(*looks, strict=True))
    assert {"a", "b"} <= {text.get_text() for text in ax.get_legend().get_texts()}


@pytest.mark.parametrize("bound", [False, True])
def test_water_is_the_distortion_and_bits_are_the_rate(ax, bound):
    inputs, weights, D = np.array([1.0, 2.0, 0.5]), np.array([0.3, 2.0, 1.0]), 1.0
    depths = inputs * weights
    if bound:
        filled = rd.linear.lower_bound(np.diag(weights), inputs, D)
        distortions = inputs * np.asarray(filled.weight_distortions)
    else:
        filled = rd.gaussian.water_filling(depths, D)
        distortions = filled.distortions
    assert plotting.water_filling(filled, depths, ax, unit="volts²") is ax
    water, described, vessels = ([bar.get_height() for bar in bars] for bars in ax.containers)
    np.testing.assert_allclose(water, distortions)
    assert np.sum(water) == pytest.approx(D)
    np.testing.assert_allclose(np.add(water, described), depths)
    np.testing.assert_array_equal(vessels, depths)
    bits = [float(text.get_text().split()[0]) for text in ax.texts]
    assert np.sum(bits) == pytest.approx(float(filled.rate), abs=0.015)  # two digits each
    assert "volts²" in ax.get_ylabel()


def test_dry_vessels_need_infinitely_many_bits_and_many_have_no_numbers(ax):
    plotting.water_filling(rd.gaussian.water_filling(np.array([1.0, 0.0]), 0.0), np.array([1.0, 0.0]), ax)
    assert [text.get_text() for text in ax.texts] == ["∞\nbits", "0.00\nbits"]
    ax.clear()
    plotting.water_filling(rd.gaussian.water_filling(np.ones(40), 10.0), np.ones(40), ax)
    assert not ax.texts
    plotting.water_filling(rd.gaussian.water_filling(np.zeros(2), 0.0), np.zeros(2), ax)  # no warning of empty axes


def test_channel_is_drawn_row_by_row_under_the_pmf_of_its_output(ax):
    d = rd.distortion.hamming(2)
    point = rd.rate_at(np.array([0.7, 0.3]), d, 0.1)
    assert plotting.test_channel(point, d, ax) is ax
    [image], [above] = ax.images, ax.child_axes
    channel = np.asarray(image.get_array())
    np.testing.assert_allclose(channel.sum(axis=1), 1)
    joint = np.array([[0.7], [0.3]]) * channel
    assert joint[0, 1] + joint[1, 0] == pytest.approx(0.1)
    np.testing.assert_allclose([bar.get_height() for bar in above.patches], joint.sum(axis=0), atol=1e-6)
    assert [float(text.get_text()) for text in ax.texts] == pytest.approx(channel.ravel(), abs=0.005)


def test_channel_of_many_letters_has_a_color_bar(ax):
    d = rd.distortion.hamming(20)
    plotting.test_channel(rd.blahut_arimoto(np.full(20, 0.05), d, 6.0), d, ax)
    assert not ax.texts and [other.get_ylabel() for other in ax.figure.axes[1:]] == ["Q(y|x)"]


def test_shannon_s_bound_is_a_line_below_the_curve_that_ends_at_zero(ax):
    p, d, D = np.array([0.5, 0.3, 0.2]), rd.distortion.hamming(3), np.array([0.5, 0.05, 0.2])
    bounds = [rd.discrete.shannon_lower_bound(p, d, x) for x in D]
    stacked = type(bounds[0])(*(np.array(leaf) for leaf in zip(*bounds, strict=True)))
    plotting.rate_distortion([rd.rate_at(p, d, x) for x in D], ax, shannon=stacked)
    [line] = [line for line in ax.lines if line.get_label() == "Shannon's lower bound"]
    np.testing.assert_array_equal(line.get_xdata(), [0.05, 0.2, 0.5])
    np.testing.assert_allclose(line.get_ydata()[:2], stacked.rate[[1, 2]])
    assert np.isnan(line.get_ydata()[2])


def test_shannon_gap_shows_certified_gaps_and_the_worst_factor(ax):
    D = np.array([0.1, 0.3])
    source, fisher = rd.sources.laplace(0.5**0.5), 2.0
    points = [rd.continuous.rate_at(source, x) for x in D]
    bound = rd.continuous.shannon_lower_bound(source, D)
    assert plotting.shannon_gap({"Laplace": (points, bound, fisher)}, ax) is ax
    above, marks = ax.lines[0], ax.lines[1]
    np.testing.assert_allclose(above.get_ydata(), 0.5 * np.log2(1 + 2 * D))
    np.testing.assert_allclose(marks.get_ydata(), [float(p.upper) for p in points] - np.asarray(bound.rate), rtol=1e-9)
    assert any("200 or more" in text.get_text() for text in ax.texts)  # .1315 / .000569
