import jax
import numpy as np
import pytest

import rdtheory as rd
from tests.problems import (
    BIASED_COIN,
    BIASED_COIN_CRITICAL_SLOPE,
    FAIR_COIN,
    PROBLEMS,
    REFUSAL,
    free_distortion,
    least_distortion,
)
from tests.transforms import assert_close, assert_transforms_agree, stack

HALF = np.full(2, 0.5)
BY_SLOPE = [0.0, 0.3, BIASED_COIN_CRITICAL_SLOPE, 3.0, 60.0, np.inf]
exact_problem = pytest.mark.parametrize(
    "problem", [problem for problem in PROBLEMS if problem.exact], ids=lambda problem: problem.name
)


def everywhere(problem):
    """Distortions from D_min on, denser where R(D) bends most."""
    least, free = least_distortion(problem), free_distortion(problem)
    width = free - least if np.isfinite(free) else 3.0
    shares = np.concatenate([np.geomspace(1e-12, 0.1, 12), np.linspace(0.15, 1, 12), [1 - 1e-9, 1.01, 2.0]])
    return least * (1 + 1e-15) + width * shares


def assert_holds(problem, points, at=None):
    at = everywhere(problem) if at is None else at
    found = rd.discrete.band(points, at)
    exact = np.array([problem.exact(D) for D in at])
    assert np.all(found.lower <= exact + 1e-14) and np.all(exact <= found.upper + 1e-14)
    assert np.all(np.asarray(found.lower) >= 0)
    return found


@exact_problem
@pytest.mark.parametrize("budget", [1, 4, 2000])
def test_band_holds_whatever_the_points_are(problem, budget):
    p, d = problem.source_pmf, problem.distortion_matrix
    at_slopes = rd.curve(p, d, np.array(BY_SLOPE), max_steps=budget)
    slow = [rd.blahut_arimoto(p, d, s, max_steps=budget) for s in (0.5, 2.0)]
    rates = [rd.distortion_at(p, d, rate, max_steps=budget) for rate in (1e-6, 0.4)]
    least, free = least_distortion(problem), free_distortion(problem)
    free = free if np.isfinite(free) else least + 3.0
    targets = [least + share * (free - least) for share in (0.0, 0.3, 1 - 1e-9, 1.0, 1.2)]
    distortions = [rd.rate_at(p, d, D, max_steps=budget) for D in targets]
    single = stack([*slow, *rates, *distortions])
    for points in (at_slopes, single, *slow, *rates, *distortions):
        assert_holds(problem, points)
    assert_holds(problem, jax.tree.map(lambda *leaves: np.concatenate(leaves), at_slopes, single))


def test_a_bound_of_zero_lies_on_no_line():
    """Under `rate_at` near D_max, and beyond, it is R >= 0: the line of its slope through it would be false."""
    p, d = BIASED_COIN.source_pmf, BIASED_COIN.distortion_matrix
    point = rd.rate_at(p, d, 0.2999, max_steps=1)
    assert point.rate - point.gap <= 0 < point.slope
    at = np.array([0.1, 0.2])
    through_it = float(point.rate - point.gap) - float(point.slope) * (at - 0.2999)
    found = rd.discrete.band(point, at)
    np.testing.assert_array_equal(found.lower, 0)
    assert np.all(through_it > 0)  # what is given up here
    beyond = rd.rate_at(p, d, 0.5)._replace(slope=np.array(1.0))  # any slope is as good where nothing is spent
    assert_holds(BIASED_COIN, beyond)


def test_lines_and_chords_are_what_they_are():
    """By hand: the tangents and the chord of 1 - h(D) at two points, the ends beside them."""
    D = np.array([0.1, 0.3])
    slopes, rates = np.log2((1 - D) / D), np.array([FAIR_COIN.exact(D) for D in (0.1, 0.3)])
    points = rd.curve(FAIR_COIN.source_pmf, FAIR_COIN.distortion_matrix, slopes)
    at = np.array([0.05, 0.15, 0.25, 0.4])
    lines = rates[:, None] - slopes[:, None] * (at - D[:, None])
    found = assert_holds(FAIR_COIN, points, at)
    np.testing.assert_allclose(found.lower, np.maximum(lines.max(axis=0), 0), rtol=0, atol=2e-9)
    chords = np.interp(at[1:], D, rates)  # beyond the last point R is at most what it is there
    np.testing.assert_allclose(found.upper, [np.inf, *chords], rtol=0, atol=2e-9)


def test_chords_pass_over_points_above_them():
    """A point that costs too much is left out of the upper bound, one of too little is not there."""
    p, d = REFUSAL.source_pmf, REFUSAL.distortion_matrix
    points = stack([rd.rate_at(p, d, D) for D in (0.02, 0.08, 0.15)])
    loose = points._replace(rate=points.rate + np.array([0, 0.2, 0]), gap=points.gap + np.array([0, 0.2, 0]))
    at = np.array([0.05, 0.08, 0.1])
    without = jax.tree.map(lambda leaf: leaf[[0, 2]], points)
    np.testing.assert_allclose(
        assert_holds(REFUSAL, loose, at).upper, assert_holds(REFUSAL, without, at).upper, rtol=1e-14
    )


def test_contradictory_points_show():
    """Of two sources: the negative control, a band that holds for neither is empty."""
    fair = rd.rate_at(FAIR_COIN.source_pmf, FAIR_COIN.distortion_matrix, 0.1)
    cheap = rd.rate_at(np.array([0.99, 0.01]), FAIR_COIN.distortion_matrix, 0.001)
    found = rd.discrete.band(stack([fair, cheap]), 0.1)
    assert found.lower > found.upper


@pytest.mark.parametrize("unit", [1e-280, 1.0, 1e280])
def test_units_change_nothing(unit):
    d = 1 - np.eye(2)
    points = rd.curve(HALF, unit * d, np.array([1.0, 3.0]) / unit)
    found = rd.discrete.band(points, np.array([0.15, 0.25]) * unit)
    wanted = rd.discrete.band(rd.curve(HALF, d, np.array([1.0, 3.0])), np.array([0.15, 0.25]))
    assert_close(found, wanted, rtol=1e-12)


def test_transforms():
    p, d = FAIR_COIN.source_pmf, FAIR_COIN.distortion_matrix
    points = rd.curve(p, d, np.array([0.5, 1.0, 3.0, np.inf]))
    assert_transforms_agree(lambda x: rd.discrete.band(points, x), np.array([0.0, 0.1, 0.45, np.inf]))
    many = stack([points, jax.tree.map(lambda leaf: leaf[::-1], points)])
    both = jax.vmap(lambda points: rd.discrete.band(points, np.array([[0.1], [0.2]])))(many)
    assert both.lower.shape == (2, 2, 1)
    np.testing.assert_array_equal(both.lower[0], both.lower[1])
    bad = jax.jit(lambda x: rd.discrete.band(points, x))(-1.0)
    assert np.isnan(bad.lower) and np.isnan(bad.upper)


def test_bad_input():
    points = rd.curve(HALF, 1 - np.eye(2), np.array([1.0, 3.0]))
    with pytest.raises(ValueError, match="distortions must be >= 0"):
        rd.discrete.band(points, np.array([-0.1]))
    with pytest.raises(ValueError, match="points must not hold NaN"):
        rd.discrete.band(points._replace(rate=points.rate * np.nan), 0.1)
