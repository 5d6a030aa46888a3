import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from rdtheory import gaussian
from tests import oracles
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

VARIANCES = [
    [4.0, 1.0, 0.25],
    [1.0, 1.0, 1.0],
    [1.0, 0.0, 2.0],
    [1e-12, 1.0, 1e12],
    [0.3, 0.3, 5.0],
]
BATCH, DISTORTIONS = np.array(VARIANCES), np.array([1.25, 2.0, 0.5, 1e-3, 7.0])


@pytest.mark.parametrize("variances", VARIANCES)
@pytest.mark.parametrize("share", [1e-9, 0.01, 0.2, 0.5, 0.9, 1 - 1e-9])
def test_rate_level_and_distortions_are_those_of_a_bisection(variances, share):
    D = share * sum(variances)
    rate, level, distortions = oracles.reverse_water_filling(variances, D)
    result = gaussian.water_filling(np.array(variances), D)
    # Bisection stops at 1e-15 relative in the level, plus rounding of sums as large as D.
    np.testing.assert_allclose(result.water_level, level, rtol=1e-12)
    np.testing.assert_allclose(result.distortions, distortions, rtol=1e-12)
    np.testing.assert_allclose(result.rate, rate, rtol=0, atol=1e-11)


@pytest.mark.parametrize("variances", VARIANCES)
@pytest.mark.parametrize("share", [0.0, 1e-9, 0.3, 1.0, 2.0])
def test_the_distortions_add_up_and_stay_below_variance_and_level(variances, share):
    variances = np.array(variances)
    result = gaussian.water_filling(variances, share * variances.sum())
    np.testing.assert_allclose(result.distortions.sum(), min(share, 1) * variances.sum(), rtol=1e-14)
    np.testing.assert_array_equal(result.distortions, np.minimum(variances, result.water_level))


def test_the_rate_is_zero_from_the_total_variance_on_and_infinite_at_zero():
    v = np.array([4.0, 0.0, 1.0])
    for D in [5.0, 5.1, 1e9]:
        result = gaussian.water_filling(v, D)
        assert result.rate == 0
        np.testing.assert_array_equal(result.distortions, v)
    assert gaussian.water_filling(v, 0.0).rate == np.inf
    assert gaussian.water_filling(np.zeros(3), 0.0).rate == 0


def test_one_component_is_the_scalar_formula():
    for D in [0.01, 0.5, 1.9]:
        np.testing.assert_allclose(gaussian.water_filling(np.array([2.0]), D).rate, 0.5 * np.log2(2 / D), rtol=1e-14)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(0, 1e6), min_size=4, max_size=4), st.floats(0, 1))
def test_pour_solves_its_equation(capacities, share):
    c = np.array(capacities)
    level = gaussian.pour(jnp.asarray(c), jnp.asarray(share * c.sum()))
    np.testing.assert_allclose(np.minimum(level, c).sum(), share * c.sum(), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("small", [1e-10, 1e-17, 1e-100])
def test_pour_keeps_a_small_vessel_beside_a_large_one(small):
    # Both vessels are filled to the same level, less than the small one holds or as much as it holds and more.
    np.testing.assert_allclose(gaussian.pour(jnp.array([1.0, small]), jnp.array(1.5 * small)), 0.75 * small, rtol=1e-14)
    np.testing.assert_allclose(gaussian.pour(jnp.array([1.0, small]), jnp.array(3.0 * small)), 2.0 * small, rtol=1e-14)


@pytest.mark.parametrize("variances", VARIANCES[:3] + VARIANCES[4:])
def test_the_derivatives_are_difference_quotients(variances):
    v, D = np.array(variances), 0.37 * sum(variances)

    def rate(v, D):
        return float(gaussian.water_filling(v, D).rate)

    by_variances, by_distortion = jax.grad(lambda v, D: gaussian.water_filling(v, D).rate, argnums=(0, 1))(v, D)
    present = v > 0
    numeric = oracles.central_difference(lambda x: rate(np.where(present, x, 0.0), D), v, 1e-6)
    np.testing.assert_allclose(np.where(present, by_variances, 0), numeric, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(by_distortion, oracles.central_difference(lambda x: rate(v, x), D, 1e-6), rtol=1e-7)
    level = gaussian.water_filling(v, D).water_level
    np.testing.assert_allclose(by_distortion, -1 / (2 * level * np.log(2)), rtol=1e-12)


def test_the_derivative_in_a_variance_of_zero_is_finite():
    assert jnp.isfinite(jax.grad(lambda v: gaussian.water_filling(v, 0.5).rate)(jnp.array([0.0, 1.0]))).all()


def test_jit_and_vmap_change_nothing():
    assert_transforms_agree(gaussian.water_filling, BATCH, DISTORTIONS)
    assert_transforms_agree(gaussian.fill, jnp.asarray(BATCH), jnp.asarray(DISTORTIONS))
    assert_transforms_agree(gaussian.pour, jnp.asarray(BATCH), jnp.asarray(DISTORTIONS))


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_an_invalid_item_of_a_batch_is_nan_and_its_neighbors_stay_exact(bad):
    assert_only_bad_items_are_nan(gaussian.water_filling, [BATCH, DISTORTIONS], [np.array([1, bad, 1]), 1.0], 2)
    assert_only_bad_items_are_nan(gaussian.water_filling, [BATCH, DISTORTIONS], [BATCH[2], bad], 2)


@pytest.mark.parametrize(
    ("variances", "D", "error", "message"),
    [
        ([1.0, -1.0], 0.5, ValueError, "variances must be >= 0"),
        ([1.0, np.nan], 0.5, ValueError, "variances must be >= 0"),
        ([[1.0]], 0.5, ValueError, "variances must be a vector"),
        ([], 0.5, ValueError, "variances must not be empty"),
        ([1.0], -0.5, ValueError, "distortion must be >= 0"),
        ([1.0], np.nan, ValueError, "distortion must be >= 0"),
        ([1.0], [0.5], ValueError, "distortion must be a scalar"),
        (np.array([1j]), 0.5, TypeError, "variances must hold real numbers"),
        ("one", 0.5, TypeError, "variances"),
    ],
)
def test_what_is_wrong_is_named(as_user, variances, D, error, message):
    with pytest.raises(error, match=message):
        gaussian.water_filling(variances, D)


@pytest.mark.parametrize("spread", [1e-2, 1.0, 30.0])
def test_the_rate_is_off_by_no_more_than_its_rounding(spread):
    rng = np.random.default_rng(7)
    v = np.exp(-spread * rng.uniform(size=(200, 4)))
    v[::5, 0] = 0.0
    D = rng.uniform(0.001, 0.999, size=200) * v.sum(axis=1)
    found = jax.vmap(gaussian.fill)(jnp.asarray(v), jnp.asarray(D))
    with mp.workdps(40):
        for variances, distortion, rate, rounding in zip(v, D, found.rate, found.rounding, strict=True):
            c = sorted(mpf(float(x)) for x in variances)
            level = max((mpf(float(distortion)) - sum(c[:k])) / (4 - k) for k in range(4))
            exact = sum(mp.log(x / level, 2) for x in c if x > level) / 2
            assert abs(exact - mpf(float(rate))) <= float(rounding)
            assert rounding < 1e-14 * (10 + spread)


def test_an_infinite_rate_is_not_rounded():
    found = gaussian.water_filling(np.array([4.0, 0.0, 1.0]), 0.0)
    assert found.rate == np.inf
    assert found.rounding < 1e-14
