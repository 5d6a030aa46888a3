import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

import rdtheory as rd
from rdtheory.limits.continuous import places
from rdtheory.limits.continuous.law import law_of

transitions = sys.modules["rdtheory.limits.continuous.transitions"]  # the function has its name
NATS = math.log(2)
X, WEIGHTS = np.polynomial.legendre.leggauss(200)
WEIGHTS = WEIGHTS / 2


def coin(heads):
    """A coin with so many heads in ten."""
    return rd.sources.from_samples(np.repeat([1.0, 0.0], [heads, 10 - heads]))


def kearns_saul(p):
    """1 / (2 σ²) of the least σ² with ln E e^(l (X - p)) <= l² σ² / 2 for all l, of a coin."""
    return math.log((1 - p) / p) / (1 - 2 * p) if p != 0.5 else 2.0


def holds(found, k, nats):
    assert float(found.low[k]) * NATS <= nats <= float(found.high[k]) * NATS


@pytest.mark.fast
@pytest.mark.parametrize("heads", [1, 3, 5, 8])
def test_one_point_is_optimal_as_long_as_the_source_is_sub_gaussian(heads):
    found = rd.continuous.transitions(coin(heads), kearns_saul(heads / 10) / NATS * np.array([0.9, 1.1]))
    assert len(found.low) == 1
    holds(found, 0, kearns_saul(heads / 10))
    assert found.high[0] < found.low[0] * (1 + 1e-4)
    np.testing.assert_array_equal(found.fewest, [[1, 2]])
    np.testing.assert_array_equal(found.most, [[1, 2]])
    variance = heads * (10 - heads) / 100
    np.testing.assert_allclose(found.distortion, variance, rtol=1e-3)  # no jump
    if heads != 5:
        assert found.high[0] * NATS < 1 / (2 * variance)


def two_points_to_three():
    """Of a uniform source on [-1, 1], in nats: with ±a optimal among two points, c(0) = 1."""

    def place(theta):
        return scipy.optimize.brentq(lambda a: WEIGHTS @ (X * np.tanh(2 * theta * a * X)) - a, 0.1, 1, xtol=1e-15)

    def excess(theta):
        a = place(theta)
        return math.exp(theta * a * a) * float(WEIGHTS @ (1 / np.cosh(2 * theta * a * X))) - 1

    return scipy.optimize.brentq(excess, 3, 6, xtol=1e-13)


def three_points_to_four():
    """The same of c''(0) = 0 at the optimum on three points."""

    def off(unknown):
        a, middle, theta = unknown
        y, q = np.array([-a, 0, a]), np.array([(1 - middle) / 2, middle, (1 - middle) / 2])
        v = WEIGHTS / (np.exp(-theta * (X[:, None] - y) ** 2) @ q)
        at_zero = v * np.exp(-theta * X**2)
        at_end = v * np.exp(-theta * (X - a) ** 2)
        return [at_zero.sum() - 1, at_end @ (X - a), at_zero @ (2 * theta * X**2 - 1)]

    return scipy.optimize.root(off, [0.6, 0.3, 8.0], tol=1e-13).x[2]


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (3.0, 43.0)])
def test_a_uniform_source_gains_a_point_at_a_time(low, high):
    scale = ((high - low) / 2) ** 2
    found = rd.continuous.transitions(rd.sources.uniform(low, high), np.linspace(1.4, 9.0, 6) / scale / NATS)
    for k, nats in enumerate([1.5, two_points_to_three(), three_points_to_four()]):
        holds(found, k, nats / scale)
    assert np.all(found.high < found.low * (1 + 2e-4))
    np.testing.assert_array_equal(found.fewest, [[1, 2], [2, 3], [3, 4]])
    np.testing.assert_array_equal(found.most, found.fewest)
    middle = (low + high) / 2
    np.testing.assert_allclose(np.nansum(found.points * found.masses, axis=2), middle, atol=1e-9)
    for k in (1, 2):  # another solver, which takes the distortion
        point = rd.continuous.rate_at(rd.sources.uniform(low, high), found.distortion[k, 0], tol=1e-8)
        assert found.rate[k, 0] - found.gap[k, 0] <= point.upper and point.lower <= found.rate[k, 0]


def test_between_transitions_of_a_skewed_source_another_solver_has_as_many_points():
    source = rd.sources.from_log_density(lambda x: -x, (0.0, 3.0))
    found = rd.continuous.transitions(source, np.geomspace(0.6, 5.0, 9) / NATS, tol=1e-3)
    np.testing.assert_array_equal(found.fewest, [[1, 2], [2, 3], [3, 4]])
    np.testing.assert_array_equal(found.most, found.fewest)
    between = np.sqrt(np.append(found.distortion[1:, 0], 0.09) * found.distortion[:, 1])
    points = rd.continuous.curve(source, between, tol=1e-9)
    np.testing.assert_array_equal(np.sum(points.masses > 1e-6, axis=1), found.fewest[:, 1])


def test_published_slopes_of_the_uniform_source_on_forty_are_not_where_points_come():
    """Printed .0039, .0116, .0274, .0725 nats for 2, 3, 4 and 5 points."""
    printed = np.array([0.0039, 0.0116, 0.0274, 0.0725])
    slopes = np.array([0.003, 0.0045, 0.015, 0.025, 0.04]) / NATS
    found = rd.continuous.transitions(rd.sources.uniform(-20.0, 20.0), slopes, tol=1e-4)
    np.testing.assert_allclose(found.low * NATS, [0.00375, 0.0111, 0.021012, 0.033075], rtol=2e-4)
    assert np.all(found.high * NATS < printed)
    np.testing.assert_array_equal(found.fewest, [[1, 2], [2, 3], [3, 4], [4, 5]])


@pytest.mark.parametrize("source", [rd.sources.laplace(1.0), rd.sources.gaussian(1.0)], ids=["laplace", "gaussian"])
def test_of_a_source_without_ends_a_positive_rate_is_all_that_is_proved(source):
    found = rd.continuous.transitions(source, np.array([0.1, 0.45, 0.6]) / NATS)
    assert found.low[0] == 0 and found.most[0, 1] == math.inf
    high, exact = float(found.high[0]) * NATS, {0.1: 0.1, 0.5: 0.5}
    if source.log_density(np.array([0.0]))[0] < math.log(0.45):  # the Gaussian
        assert 0.5 <= high < 0.502
    else:
        assert high <= exact[0.1]  # its tails are not sub-Gaussian


@pytest.mark.parametrize("off", [0.0, 1e-6, 1e-3, 0.03])
def test_numbers_of_points_hold_from_any_law_near_or_far(off):
    random = np.random.default_rng(2)
    law = law_of(rd.sources.uniform(-1.0, 1.0))
    for theta, points in ((4.0, 2), (6.5, 3), (8.2, 3), (8.6, 4)):
        slope = theta / NATS
        nodes = law.nodes(slope)
        y, q = transitions._optimum(nodes, slope, few=True)
        assert len(y) == points
        moved = y + off * random.uniform(-1, 1, len(y)), q * np.exp(off * random.uniform(-1, 1, len(q)))
        near = places.law_of(law.density, nodes, slope, moved[0], moved[1] / moved[1].sum())
        intervals = places.possible(near)
        for place in y * math.sqrt(2 * theta):
            assert any(np.any(np.abs(cells.middle - place) <= cells.half) for cells in intervals)
        fewest, most = transitions._count(law, near)
        assert fewest <= points <= most
        if off == 0:
            assert fewest == points == most


def test_bad_input_is_named(as_user):
    source = rd.sources.uniform(0.0, 1.0)
    with pytest.raises(ValueError, match="slopes must be > 0"):
        rd.continuous.transitions(source, np.array([-1.0, 1.0]))
    with pytest.raises(ValueError, match="tol must be > 0"):
        rd.continuous.transitions(source, tol=0.0)
    with pytest.raises(ValueError, match="variance"):
        rd.continuous.transitions(rd.sources.student_t(1.5))
    with pytest.raises(TypeError, match=r"made by rdtheory.sources, got ndarray"):
        rd.continuous.transitions(np.ones(3))
    with pytest.raises(TypeError, match="outside jit"):
        jax.jit(lambda s: rd.continuous.transitions(source, s))(jnp.ones(1))
