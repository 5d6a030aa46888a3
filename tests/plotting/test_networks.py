import matplotlib as mpl
import numpy as np
import pytest

import rdtheory as rd
from rdtheory import plotting
from rdtheory.experiment import summary
from rdtheory.experiment.records import Record
from rdtheory.results import Choice, OptimalityCheck

pytestmark = pytest.mark.fast

picture = pytest.mark.mpl_image_compare(savefig_kwargs={"dpi": 60})


def make_axes(**options):
    figure = mpl.figure.Figure(figsize=(4, 3), layout="constrained")
    return figure.subplots(**options)


def make_summaries():
    """One data set, two seeds of which each is a standard error from the mean."""
    accuracy = {"magnitude": (0.2, 0.7, 0.94), "Jacobian": (0.4, 0.9, 0.96)}
    records = [
        Record("digits", "pruning", name, rate, seed, accuracy=a * (0.98 + 0.04 * seed), cross_entropy=1.0,
               kl=(1 - a) * (0.8 + 0.4 * seed), bits_per_weight=16 * rate + 0.5, seconds=0.1)
        for name, each in accuracy.items() for rate, a in zip((0.05, 0.1, 0.3), each, strict=True) for seed in (0, 1)
    ]  # fmt: skip
    full = [Record("digits", "pruning", "full network", 32.0, seed, 0.97, 0.1, 0.0, 32.0, 0.1) for seed in (0, 1)]
    return summary.summarize([*full, *records])


@pytest.mark.parametrize("log", [True, False])
def test_importance_shows_every_weight(ax, log):
    values = np.array([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]])
    assert plotting.importance(values, ax, log=log, label="bits") is ax
    [image] = ax.get_images()
    np.testing.assert_array_equal(image.get_array(), values)
    assert isinstance(image.norm, mpl.colors.LogNorm if log else mpl.colors.Normalize)
    lightness = image.to_rgba(values)[..., :3] @ [0.299, 0.587, 0.114]
    assert np.all(np.diff(np.sort(values.ravel())) > 0) and np.all(np.diff(lightness.T.ravel()) > 0)  # so in gray too
    assert ax.figure.axes[1].get_ylabel() == "bits" and not ax.lines


def test_importance_crosses_zeros_out_where_they_have_no_color(ax):
    plotting.importance(np.array([[1.0, 0.0], [2.0, 3.0]]), ax)
    [crosses] = ax.lines
    np.testing.assert_array_equal(crosses.get_xydata(), [[1.0, 0.0]])
    assert "zero" in ax.get_xlabel()


@pytest.mark.parametrize("values", [[1.0, 2.0], [[1.0, -1.0]], [[np.nan]], [[np.inf]]])
def test_importance_names_what_is_no_importance(ax, values):
    with pytest.raises(ValueError, match="importance must be"):
        plotting.importance(np.array(values), ax)


def test_importance_of_nothing_is_drawn(ax):
    plotting.importance(np.zeros((2, 2)), ax)
    ax.figure.canvas.draw()


@picture
def test_picture_of_importance():
    ax = make_axes()
    rows, columns = np.mgrid[:8, :8]
    plotting.importance(np.where(columns % 7 == 0, 0.0, 10.0 ** (-0.1 * ((rows - 3.5) ** 2 + columns))), ax)
    return ax.figure


@picture
def test_picture_of_relu_theorem():
    return plotting.relu_theorem(make_axes()).figure


@picture
def test_picture_of_optimality():
    excess = [(0.0, 0.0, 0.3), (0.0, 0.2, 1.0), (0.0, 0.0, 3.0), (0.04, 0.5, 9.0)]
    checks = [OptimalityCheck(0, 1.0, *(Choice(1, 1 + each, each) for each in layer)) for layer in excess]
    return plotting.optimality(checks, make_axes()).figure


@picture
def test_picture_of_compression():
    return plotting.compression(make_summaries(), make_axes()).figure


@picture
def test_picture_of_divergence():
    return plotting.compression(make_summaries(), make_axes(), measure="kl").figure


def test_compression_shows_divergence(ax):
    assert plotting.compression(make_summaries(), ax, measure="kl") is ax
    assert "bits" in ax.get_ylabel() and "bits" in ax.get_xlabel() and ax.get_yscale() == "log"
    magnitude, jacobian = ax.containers
    np.testing.assert_allclose(magnitude.lines[0].get_xydata(), [[1.3, 0.8], [2.1, 0.3], [5.3, 0.06]])
    looks = [(line.get_color(), line.get_marker(), line.get_linestyle()) for (line, *_) in (magnitude, jacobian)]
    assert all(one != other for one, other in zip(*looks, strict=True))  # in gray too
    with pytest.raises(ValueError, match="measure must be one of accuracy, kl"):
        plotting.compression([], ax, measure="error")


def test_relu_theorem_curves_increase(ax):
    plotting.relu_theorem(ax)
    objective, true, best = (line.get_ydata() for line in ax.lines)
    assert np.all(np.diff(true) > 0) and np.all(true <= objective + 1e-12) and np.all(best <= true + 1e-12)


def test_optimality_shares_reach_one(ax):
    w = np.random.default_rng(0).normal(size=(2, 3))
    check = rd.relu.optimality(w, rd.candidates.pruned(w, 3), np.eye(3), np.ones(2))
    plotting.optimality([check, check], ax)
    assert all(line.get_ydata()[-1] == 1.0 for line in ax.lines)


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
    figure = plotting.compression_grid(summary.summarize(records))
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
