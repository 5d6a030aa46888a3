"""Problems on which a certificate was once false, or said nothing: each with its right value, computed elsewhere."""

import numpy as np
import pytest
from mpmath import mp, mpf

import rdtheory as rd
from tests import oracles


def assert_holds(result, value, gap):
    assert result.rate - result.gap <= value <= result.rate
    assert result.gap <= gap


def test_a_channel_whose_entries_underflow():
    x, y = np.arange(-3, 4.0), np.arange(-41, 41.25, 0.5)
    w = np.exp(-((y[None, :] - x[:, None]) ** 2) / 2)
    w /= w.sum(axis=1, keepdims=True)
    found = rd.channel.capacity_at(w, x**2, 0.09)
    p = np.asarray(found.input_pmf)
    assert p @ x**2 <= 0.09
    # What this input attains, and above all of them the capacity of the Gaussian channel at that power.
    assert_holds(found, oracles.mutual_information(p, w) + 1e-10, 1e-9)
    assert found.rate <= 0.5 * np.log2(1.09)


def test_a_channel_entry_near_the_smallest_number():
    w = np.array([[1e-307, 1, 0], [0, 1, 0], [0, 0, 1]])
    assert_holds(rd.channel.capacity_at(w, np.array([1.0, 0, 2]), 1.0), 1.0, 1e-9)


def test_a_letter_of_the_bottleneck_of_hardly_any_mass():
    with_it = rd.bottleneck.rate_at(np.array([[0.4, 0.1], [0.1, 0.4], [3.7e-308, 2.1e-308]]), 0.2)
    without = rd.bottleneck.rate_at(np.array([[0.4, 0.1], [0.1, 0.4]]), 0.2)
    assert_holds(with_it, float(without.rate - without.gap / 2), 1e-9)
    np.testing.assert_allclose(with_it.rate, 0.62786, atol=1e-5)


@pytest.mark.parametrize("above", [0.0, 1e-9, 1e-8, 1e-7, 1e-5])
def test_a_distortion_that_rounding_hides_beside_the_least(above):
    """Two letters, both wrong ones an excess of 1: R is h(.3) - h(excess), the excess of D as it is stored."""
    p, d = np.array([0.3, 0.7]), np.array([[1e8 + 1, 1e8 + 2], [3e7 + 8, 3e7 + 7]])
    D = float(p @ d.min(axis=1)) + above
    mp.dps = 40
    p0, p1 = mpf(0.3), mpf(0.7)
    excess = mpf(D) - (p0 * mpf(d[0, 0]) + p1 * mpf(d[1, 1])) / (p0 + p1)

    def h(x):
        return -(x * mp.log(x, 2) + (1 - x) * mp.log(1 - x, 2)) if x > 0 else mpf(0)

    exact = float(h(p0 / (p0 + p1)) - h(max(excess, mpf(0))))
    assert_holds(rd.rate_at(p, d, D), exact, 1e-4)


@pytest.mark.parametrize("D", [1.0, 0.7, 0.36])
def test_a_distortion_beyond_what_a_letter_of_hardly_any_mass_needs(D):
    found = rd.rate_at(np.array([1e-17, 0.65, 0.35]), np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), D)
    assert_holds(found, 0.0, 1e-14)


def test_a_rate_that_only_rare_letters_make():
    p = [0.99999205410216, 6.179648317161283e-9, 1.6733722120399496e-7, 3.0040093344005747e-6, 4.768371636070591e-6]
    d = [[0, 0, 1, 0, 0], [1, 1, 1, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [1, 0, 1, 1, 0]]
    found = rd.rate_at(np.array(p), np.array(d, float), 3.7114118548596347e-9)
    assert_holds(found, 2.6246006703e-8, 1e-9)


@pytest.mark.parametrize(
    "w",
    [
        np.random.default_rng(64).dirichlet(np.ones(64), 64),
        np.array([[0.501, 0.499], [0.499, 0.501], [0.5, 0.5]]),
        np.array([[0.5001, 0.4999], [0.4999, 0.5001]]),
    ],
    ids=["random", "useless", "more useless"],
)
def test_a_capacity_is_found_to_its_own_digits(w):
    found = rd.capacity(w)
    assert found.converged
    assert found.gap <= 1e-9 * min(1.0, found.rate)
    attained = oracles.mutual_information(np.asarray(found.input_pmf), w)
    assert attained >= found.rate - found.gap - 1e-15
    if len(w) == 3:
        np.testing.assert_allclose(found.rate, 1 - oracles.entropy([0.499, 0.501]), rtol=1e-7)
