"""Inputs at the edge of floating point, where a certificate is easily lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdtheory as rd

COIN = np.array([0.4, 0.6])
HAMMING = 1.0 - np.eye(2)
FORBIDDEN = np.full((2, 1), np.inf)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.3, 0.5])
def test_a_forbidden_letter_changes_nothing(rate):
    plain = rd.distortion_at(COIN, HAMMING, rate)
    # Forbidden for every source letter but one that never occurs, or useful for nothing but a cell of its own.
    for source, d in (
        (COIN, np.column_stack([HAMMING, [1.0, np.inf]])),
        (np.array([0.0, *COIN]), np.pad(HAMMING, ((1, 0), (1, 0)), constant_values=np.inf)),
        (np.array([1e-40, *COIN]), np.vstack([[0.0, np.inf, np.inf], np.column_stack([FORBIDDEN, HAMMING])])),
    ):
        point = rd.distortion_at(source / source.sum(), d, rate)
        assert point.converged
        np.testing.assert_allclose(point.distortion, plain.distortion, atol=1e-8)
        there = rd.rate_at(source / source.sum(), d, plain.distortion)
        np.testing.assert_allclose(there.rate, plain.rate, atol=2e-9)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e10, 1e14])
def test_rounding_of_the_largest_distortion_is_in_the_gap(offset):
    source, d = np.array([0.3, 0.7]), HAMMING + offset
    for point in (
        rd.rate_at(source, d, offset + 0.3),
        rd.blahut_arimoto(source, d, 0.0),
        rd.distortion_at(source, d, 0.0),
    ):
        # The number that floating point holds, not the one that was meant.
        exact = rd.closed_form.bernoulli(0.3, np.clip(np.asarray(point.distortion) - offset, 0.0, 1.0))
        assert point.rate - point.gap <= exact <= point.rate


@pytest.mark.parametrize("scale", [1e-289, 1e-200, 1e-160, 1e160, 1e300])
def test_units_of_distortion_do_not_matter(scale):
    plain, scaled = rd.rate_at(COIN, HAMMING, 0.1), rd.rate_at(COIN, HAMMING * scale, 0.1 * scale)
    assert scaled.converged
    np.testing.assert_allclose(scaled.rate, plain.rate, atol=2e-9)
    np.testing.assert_allclose(scaled.slope * scale, plain.slope, rtol=1e-4)
    np.testing.assert_allclose(
        rd.distortion_at(COIN, HAMMING * scale, 0.3).distortion / scale,
        rd.distortion_at(COIN, HAMMING, 0.3).distortion,
        rtol=1e-8,
    )


def test_distortions_that_arithmetic_flushes_to_zero_are_refused():
    with pytest.raises(ValueError, match="distortion_matrix .* smaller unit"):
        rd.rate_at(COIN, HAMMING * 1e-310, 1e-311)


def test_a_subnormal_entry_among_others_is_zero():
    point, limit = (rd.rate_at(COIN, HAMMING + np.diag([tiny, 0.0]), 0.1) for tiny in (5e-324, 0.0))
    np.testing.assert_allclose(point.rate, limit.rate, atol=2e-9)


@pytest.mark.parametrize("cost", [1e10, 1e30, 1e100, 1e290, np.inf])
def test_a_prohibitive_cost_acts_like_infinity(cost):
    source, d = np.array([0.3, 0.5, 0.2]), np.array([[0, 1, cost], [1, 0, cost], [cost, cost, 0]])
    forbidden = np.where(d > 1, np.inf, d)
    for solve, value in ((rd.rate_at, 0.1), (rd.distortion_at, 1.0)):
        point, limit = solve(source, d, value), solve(source, forbidden, value)
        assert point.converged
        np.testing.assert_allclose([point.rate, point.distortion], [limit.rate, limit.distortion], atol=1e-8)


def test_a_huge_step_limit_is_a_limit():
    assert rd.rate_at(COIN, HAMMING, 0.1, max_steps=10**12).converged


def test_steps_and_tolerance_must_be_numbers(as_user):
    with pytest.raises(TypeError, match="max_steps must be a whole number"):
        rd.rate_at(COIN, HAMMING, 0.1, max_steps=np.float64(3.5))
    with pytest.raises(ValueError, match="tol must be >= 0"):
        rd.rate_at(COIN, HAMMING, 0.1, tol=-1e-9)


def test_a_comparison_is_a_hamming_matrix(as_user):
    letters = np.arange(2)
    different = rd.rate_at(COIN, letters[:, None] != letters, 0.1)
    assert different.rate == rd.rate_at(COIN, HAMMING, 0.1).rate


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160])
def test_the_linear_bound_does_not_overflow(scale):
    cov = np.array([[1.0, 0.5], [0.5, 2.0]])
    plain = rd.linear.lower_bound(cov, np.ones(2), 0.1).rate
    np.testing.assert_allclose(rd.linear.lower_bound(cov * scale, np.ones(2), 0.1 * scale).rate, plain, rtol=1e-12)


@pytest.mark.parametrize("D", [0.5, 0.7, 1.0, 2.0])
def test_where_the_rate_is_zero_so_is_its_derivative(D):
    source = jnp.array([0.5, 0.3, 0.2])
    assert jax.grad(rd.closed_form.hamming, argnums=1)(source, D) == 0.0


def test_the_derivative_survives_a_tiny_distortion():
    slope = jax.grad(lambda D: rd.closed_form.vector_gaussian(jnp.eye(2), D))(1e-300)
    np.testing.assert_allclose(slope * 1e-300, -1 / np.log(2), rtol=1e-12)


def test_no_density_means_no_shannon_bound():
    assert rd.linear.shannon_lower_bound(-jnp.inf, jnp.diag(jnp.array([1.0, 0.0])), jnp.eye(2), 0.02).rate == -jnp.inf
