"""The slope at which a distortion is spent: which slopes are asked for, where that can be said beforehand."""

import math

import numpy as np
import pytest

from rdtheory.limits.continuous.crossing import slope_of


def visited(distortion, start, target):
    """Logarithms of the slopes asked for, from the first, and the slope that is returned."""
    asked = []

    def spent(slope):
        asked.append(math.log(slope / start))
        return distortion(slope)

    found = slope_of(spent, start, target)
    return np.array(asked), found


@pytest.mark.parametrize("start", [1e-4, 1.0, 300.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_power_is_known_after_two_slopes_and_followed_by_a_factor_e_at_most(start, sign):
    def power(exponent):
        return lambda slope: 7 * (slope / start) ** -exponent

    logs, found = visited(power(1), start, 7 * math.exp(-2.5 * sign))
    np.testing.assert_allclose(logs, sign * np.array([0, 1, 2, 2.5]), atol=1e-12)
    assert math.isclose(found, start * math.exp(logs[-1]))
    logs, _ = visited(power(0.5), start, 7 * math.exp(-0.375 * sign))
    np.testing.assert_allclose(logs, sign * np.array([0, 0.375, 0.75]), atol=1e-12)
    # What falls by less than the tenth power is taken to fall by that: here half of the way is left each time.
    logs, _ = visited(power(0.05), start, 7 * math.exp(-0.05 * sign))
    np.testing.assert_allclose(logs, sign * np.append(0, 1 - 0.95 * 0.5 ** np.arange(7)), atol=1e-12)


@pytest.mark.parametrize("place", [0.2, 3.0, 5.0, 5.7, 40.0])
def test_where_the_distortion_jumps_it_is_the_next_slope_with_less(place):
    logs, found = visited(lambda slope: 2.0 if slope < place else 0.5, 1.0, 1.0)
    assert place <= found <= place * (1 + 1e-6)
    assert len(logs) < 35


def test_beyond_a_slope_nothing_may_be_spent():
    _, found = visited(lambda slope: 2.0 if slope < 3.0 else 0.0, 1.0, 1.0)
    assert 3 <= found <= 3.001


def test_a_distortion_that_rises_by_a_little_does_not_turn_it_back():
    logs, found = visited(lambda slope: 30 / slope if slope > 12 else 2 + 0.01 * slope, 1.0, 0.5)
    np.testing.assert_allclose(logs[:4], np.arange(4), atol=1e-12)
    assert abs(math.log(30 / found / 0.5)) < 1e-3


def test_what_is_out_of_reach_is_asked_for_forty_times():
    logs, _ = visited(lambda slope: 1 / slope, 1.0, math.exp(-100))
    np.testing.assert_allclose(logs, np.arange(40), atol=1e-9)
