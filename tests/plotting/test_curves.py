import numpy as np
import pytest

import rdtheory as rd
from rdtheory import plotting
from rdtheory.verify.linear import critical_distortion


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
