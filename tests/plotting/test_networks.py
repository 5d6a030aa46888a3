import numpy as np

import rdtheory as rd
from rdtheory import plotting
from rdtheory.experiment import summary
from rdtheory.experiment.records import Record


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
