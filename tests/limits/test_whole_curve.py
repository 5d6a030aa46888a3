import itertools

import jax
import numpy as np
import pytest
from scipy.optimize import brentq

import rdtheory as rd
from tests.problems import (
    BIASED_COIN,
    FAIR_COIN,
    PROBLEMS,
    REFUSAL,
    bernoulli_rate,
    erasure_matrix,
    free_distortion,
    least_distortion,
    refusal_slope,
)
from tests.transforms import assert_close, stack

HALF = np.full(2, 0.5)
exact_problem = pytest.mark.parametrize(
    "problem", [problem for problem in PROBLEMS if problem.exact], ids=lambda problem: problem.name
)


def widest(points, low, high):
    """On a fine grid, and on one within each interval, where the bounds are furthest apart."""
    D = np.unique(np.concatenate([np.linspace(low, high, 300), *itertools.starmap(between, pairs(points))]))
    D = D[(low <= D) & (D <= high)]
    found = rd.discrete.band(points, D)
    return D, found, float(np.max(found.upper - found.lower))


def between(left, right):
    return np.linspace(left, right, 5)


def pairs(points):
    return itertools.pairwise(np.asarray(points.distortion))


@exact_problem
@pytest.mark.parametrize("tol", [1e-2, pytest.param(1e-3, marks=pytest.mark.long)])
def test_band_is_within_tol_everywhere(problem, tol):
    p, d = problem.source_pmf, problem.distortion_matrix
    points = rd.curve(p, d, tol=tol)
    least, free = least_distortion(problem), free_distortion(problem)
    free = free if np.isfinite(free) else least
    assert points.slope[0] == np.inf and points.slope[-1] == 0
    np.testing.assert_allclose(points.distortion[np.array([0, -1])], [least, free], rtol=1e-12, atol=1e-12)
    assert np.all(np.diff(points.distortion) >= -1e-15 * free) and np.all(points.converged)
    D, found, width = widest(points, float(points.distortion[0]), free)
    assert width <= tol * (1 + 1e-9)
    exact = np.array([problem.exact(x) for x in D])
    assert np.all(found.lower <= exact + 1e-13) and np.all(exact <= found.upper + 1e-13)


def fewest(rate, slope, high, tol):
    """The least number of points of R on [0, high] that leaves `tol`: each interval as long as it can be."""

    def width(a, b):
        fall, meet = rate(a) - rate(b), a
        if a > 0:
            meet = (fall + slope(a) * a - slope(b) * b) / (slope(a) - slope(b))
        return rate(a) - fall * (meet - a) / (b - a) - rate(b) - slope(b) * (b - meet)

    count, at = 1, 0.0
    while at < high:
        count += 1
        at = high if width(at, high) <= tol else brentq(lambda b, at=at: width(at, b) - tol, at + 1e-12, high)
    return count


@pytest.mark.parametrize(("problem", "free"), [(FAIR_COIN, 0.5), (BIASED_COIN, 0.3)], ids=["fair", "biased"])
@pytest.mark.parametrize("tol", [1e-2, 1e-3])
def test_hardly_more_points_than_needed(problem, free, tol):
    least = fewest(problem.exact, lambda D: np.log2((1 - D) / D), free, tol)
    taken = len(rd.curve(problem.source_pmf, problem.distortion_matrix, tol=tol).rate)
    assert least <= taken <= 4 / 3 * least + 3
    bends = 2 * np.arcsin(np.sqrt(free)) / np.sqrt(np.log(2))  # the integral of the root of R''
    assert least == pytest.approx(bends / (2 * np.sqrt(tol)), abs=2.1)


def test_straight_pieces_are_found():
    """All of R for an erasure of a fair die; for a coin with refusal from where the tangent leaves 1 - h(D)."""
    third = np.full(3, 1 / 3)
    points = rd.curve(third, erasure_matrix(3))
    assert len(points.rate) <= 10 and widest(points, 0.0, 1.0)[2] < 1e-12

    p, d = REFUSAL.source_pmf, REFUSAL.distortion_matrix
    slope = refusal_slope(0.2)
    touch = brentq(lambda D: np.log2((1 - D) / D) - slope, 1e-9, 0.2)
    tol = 1e-3
    points = rd.curve(p, d, tol=tol)
    inside = (points.distortion > touch * 1.1) & (points.distortion < 0.2)
    assert not np.any(inside & (points.slope > slope * 1.01))
    assert widest(points, touch, 0.2)[2] <= tol / 8  # but for the gaps of its points, where elsewhere tol is left


def test_points_that_were_not_found_end_it():
    points = rd.curve(BIASED_COIN.source_pmf, BIASED_COIN.distortion_matrix, max_steps=1)
    D, found, width = widest(points, 0.0, 0.3)
    assert width > 1e-3 and not np.all(points.converged)
    exact = np.array([bernoulli_rate(0.3)(x) for x in D])
    assert np.all(found.lower <= exact + 1e-13) and np.all(exact <= found.upper + 1e-13)


def test_progress_and_units():
    seen = []
    points = rd.curve(HALF, 1 - np.eye(2), progress=lambda points: seen.append(len(points.rate)))
    assert seen[0] == 2 and np.all(np.diff(seen) > 0) and seen[-1] >= len(points.rate)
    other = rd.curve(HALF, 1e-100 * (1 - np.eye(2)))
    np.testing.assert_allclose(other.distortion, 1e-100 * points.distortion, rtol=1e-6)


def test_what_is_never_stored():
    offsets = np.linspace(0, 1, 24) ** 2
    p = np.random.default_rng(0).dirichlet(np.ones(24))
    points = rd.curve(p, rd.distortion.grid(offsets), tol=0.05)
    matrix = offsets[np.abs(np.arange(24)[:, None] - np.arange(24))]
    assert widest(points, float(points.distortion[0]), float(points.distortion[-1]))[2] <= 0.05
    other = rd.discrete.band(points, rd.curve(p, matrix, np.array([1.0, 10.0, 100.0])).distortion)
    rates = rd.curve(p, matrix, np.array([1.0, 10.0, 100.0])).rate
    assert np.all(other.lower <= rates) and np.all(rates <= other.upper + 1e-9)


def test_at_distortions():
    p, d, D = BIASED_COIN.source_pmf, BIASED_COIN.distortion_matrix, np.array([0.3, 0.0, 0.1])
    points = rd.curve(p, d, distortions=D)
    assert_close(points, stack([rd.rate_at(p, d, x) for x in D]))
    np.testing.assert_array_equal(points.distortion, D)
    assert_close(jax.jit(lambda D: rd.curve(p, d, distortions=D))(D), points, atol=1e-9)
    slopes = jax.jacobian(lambda D: rd.curve(p, d, distortions=D).rate)(D[2:])
    np.testing.assert_allclose(slopes, -points.slope[2:, None], rtol=1e-9)
    with pytest.raises(ValueError, match="distortion must be at least 4.1"):
        rd.curve(np.array([0.7, 0.3]), np.array([[5.0, 6.0], [3.0, 2.0]]), distortions=np.array([5.0, 4.0]))


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.grad], ids=["jit", "vmap", "grad"])
def test_no_whole_curve_under_transformations(transform):
    p = HALF[None, :] if transform is jax.vmap else HALF
    with pytest.raises(TypeError, match="how many points there are"):
        transform(lambda p: rd.curve(p, 1 - np.eye(2)).rate[0])(p)


def test_bad_input():
    d = 1 - np.eye(2)
    with pytest.raises(TypeError, match="slopes or distortions, got both"):
        rd.curve(HALF, d, np.ones(1), distortions=np.ones(1))
    with pytest.raises(ValueError, match="tol must be > 0"):
        rd.curve(HALF, d, tol=0.0)
    with pytest.raises(ValueError, match="would take some .* points"):
        rd.curve(HALF, d, tol=1e-11)
    with pytest.raises(ValueError, match="sum to 1"):
        rd.curve(np.array([0.5, 0.6]), d)
