"""The bound of a sum of Gaussian bells and the maxima it has, against the sum itself on a fine grid."""

import numpy as np
import pytest

from rdtheory.limits.continuous import supremum

WIDTH = 0.3


def nodes(seed, far=0.0):
    rng = np.random.default_rng(seed)
    x = np.sort(np.concatenate([rng.uniform(-2, 2, 60), far + rng.uniform(-1, 1, 20)]))
    return x, rng.exponential(size=80) / 80


def c(x, weights, y):
    return np.exp(-0.5 * ((x - y[..., None]) / WIDTH) ** 2) @ weights


CASES = [(0, 0.0), (1, 0.0), (2, 30.0)]


@pytest.mark.parametrize(("seed", "far"), CASES)
def test_the_polynomials_are_the_sum(seed, far):
    x, weights = nodes(seed, far)
    cells = supremum.expand(x, weights, WIDTH)
    y, found = supremum.values(cells)
    np.testing.assert_allclose(found, c(x, weights, y), rtol=0, atol=1e-12 * weights.sum())
    assert (np.diff(y) > 0).all()
    assert len(y) == 16 * len(cells.centers)
    # Every place between the first and the last node that is within reach of one is in a cell.
    probes = np.linspace(x[0], x[-1], 4000)
    seen = np.abs(probes[:, None] - x).min(axis=1) < 8 * WIDTH
    assert (np.abs(probes[seen][:, None] - cells.centers).min(axis=1) <= WIDTH * (0.5 + 1e-12)).all()
    if far:
        assert len(cells.centers) < 45, "nothing is expanded where nothing is"


@pytest.mark.parametrize(("seed", "far"), CASES)
@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-10])
def test_the_bound_is_one_and_within_the_tolerance(seed, far, tol):
    x, weights = nodes(seed, far)
    bound = supremum.bound(supremum.expand(x, weights, WIDTH), tol)
    y = np.linspace(x[0] - 1, x[-1] + 1, 20_001)
    # Between two points of the grid c rises by at most the square of half their distance over the width, halved.
    highest = float(c(x, weights, y).max())
    missing = highest * ((y[1] - y[0]) / WIDTH) ** 2 / 8
    assert highest <= bound <= (highest + missing + tol) * (1 + 1e-11)


def test_the_supremum_is_over_all_y_and_not_over_a_grid():
    rng = np.random.default_rng(1)
    x, weights, width = np.sort(rng.normal(size=300)) * 3, rng.exponential(size=300), 0.37
    bound = supremum.bound(supremum.expand(x, weights, width), 1e-10)

    def c(y):
        return np.exp(-0.5 * ((x[:, None] - y[None, :]) / width) ** 2).T @ weights

    # 633² points y + z: a term is a product of functions of (x, y), (x, z) and (y, z), so a matrix product sums them.
    step = (x[-1] - x[0]) / 633
    y, z = x[0] + step * np.arange(633), step * np.arange(633) / 633
    near, tilt = np.exp(-0.5 * ((x - y[:, None]) / width) ** 2), np.exp(np.outer(x, z) / width**2)
    everywhere = np.exp(-(np.outer(y, z) + z**2 / 2) / width**2) * ((near * weights) @ tilt)
    np.testing.assert_allclose(everywhere[::50, 99], c(y[::50] + z[99]), rtol=1e-12)
    assert everywhere.max() <= bound
    assert bound <= everywhere.max() * (1 + (step / 633 / width) ** 2 / 8 + 1e-10)


def test_the_margin_is_more_than_what_the_polynomials_leave_out():
    """Of one bell of height one, at a node, the supremum is known."""
    for place in np.linspace(0, WIDTH, 7):
        x, weights = np.array([0.0, place, 1.0]), np.array([0.0, 1.0, 0.0])
        assert 1 <= supremum.bound(supremum.expand(x, weights, WIDTH), 1e-14) <= 1 + 1e-12
    assert supremum.REMAINDER == pytest.approx((np.e / 18) ** 9 / 2**18, rel=1e-12, abs=0)


@pytest.mark.parametrize(("seed", "far"), CASES)
def test_the_maxima_are_those_of_a_fine_grid(seed, far):
    x, weights = nodes(seed, far)
    weights = weights * (1 + 3 * np.sin(5 * x) ** 2)
    cells = supremum.expand(x, weights, WIDTH)
    y = np.linspace(x[0], x[-1], 40_001)
    value = c(x, weights, y)
    peaks = np.nonzero((value[1:-1] > value[:-2]) & (value[1:-1] >= value[2:]))[0] + 1
    above = 0.3 * float(value.max())
    peaks = peaks[value[peaks] > above]
    cell, place, height = supremum.maxima(cells, above)
    assert len(place) == len(peaks) >= 1
    np.testing.assert_allclose(place, y[peaks], rtol=0, atol=2 * (y[1] - y[0]))
    np.testing.assert_allclose(height, c(x, weights, place), rtol=0, atol=1e-12)
    assert (height >= value[peaks] - 1e-13).all()
    assert (np.abs(place - cells.centers[cell]) <= 0.551 * WIDTH).all()


def test_a_maximum_at_an_end_of_all_cells_is_one():
    x = np.array([0.0, 1e-3, 5.0])
    cells = supremum.expand(x, np.array([1.0, 0.0, 0.5]), WIDTH)
    _, place, height = supremum.maxima(cells, 0.4)
    np.testing.assert_allclose(place, [0.0, 5.0], atol=1e-9)
    np.testing.assert_allclose(height, [1.0, 0.5], atol=1e-12)
    assert len(supremum.maxima(cells, 0.6)[1]) == 1
