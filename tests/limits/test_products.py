import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mpmath import lambertw, mp, mpf
from scipy.optimize import linprog, minimize

from rdtheory import linear, products
from tests import oracles
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

RATES = np.array([0.0, 1e-3, 0.3, 0.9, 1.0, 4.0])
OTHERS = np.array([0.2, 3.0, 0.3, 0.05, 1.5, np.inf])
COVARIANCES = [oracles.random_covariance(np.random.default_rng(seed), 3) for seed in (4, 5)]


def error(r, s):
    return 1 - (1 - 4.0**-r) * (1 - 4.0**-s)


def envelope(R, S):
    """The convex envelope of `error`, by a linear program over a grid of pairs of rates: above it by the grid alone."""
    axis = np.concatenate([[0.0, R, S], np.geomspace(0.02, 8.0, 120)])
    r, s = map(np.ravel, np.meshgrid(axis, axis, indexing="ij"))
    return linprog(error(r, s), A_eq=np.stack([np.ones_like(r), r, s]), b_eq=[1.0, R, S]).fun


# Γ -------------------------------------------------------------------------------------------------------------------


def test_published_values():
    np.testing.assert_allclose(products.critical_rate(), 0.9063235, atol=5e-8)
    np.testing.assert_allclose(products.inner(products.critical_rate()), 0.4883003, atol=5e-8)
    assert products.inner(1.0) == 0.4375
    np.testing.assert_allclose(jax.grad(products.inner)(0.4), -0.5645883, atol=5e-8)


def test_the_critical_rate_is_a_value_of_lamberts_function():
    with mp.workdps(40):
        x = -lambertw(-mpf(1) / 2 * mp.exp(-mpf(1) / 2), -1) - mpf(1) / 2  # eˣ = 1 + 2x
        np.testing.assert_allclose(products.critical_rate(), float(x.real / mp.log(4)), rtol=1e-15)


@pytest.mark.parametrize(("R", "S"), [(0.3, 0.3), (0.8, 0.8), (1.5, 1.5), (0.1, 2.0), (0.7, 0.2), (2.0, 0.9)])
def test_it_is_the_convex_envelope(R, S):
    wanted = envelope(R, S)
    assert wanted - 1e-4 <= products.inner(R, S) <= wanted + 1e-12
    np.testing.assert_allclose(products.inner(R, S), products.inner(S, R), rtol=1e-15)


def test_equal_rates_have_the_published_formula():
    R = np.linspace(0, 3, 61)
    critical = float(products.critical_rate())
    curve = 2 * 4.0**-R - 16.0**-R
    line = 1 + R / critical * (2 * 4.0**-critical - 16.0**-critical - 1)
    found = jax.vmap(products.inner)(jnp.asarray(R))
    np.testing.assert_allclose(found, np.where(R >= critical, curve, line), rtol=0, atol=1e-15)


def test_one_side_known_exactly_is_the_error_of_the_other_alone():
    for R in (0.0, 0.3, 2.0, 30.0):
        np.testing.assert_allclose(products.inner(R, np.inf), 4.0**-R, rtol=1e-14)
    assert products.inner(np.inf) == 0
    assert products.inner(np.inf, 0.0) == 1


def test_small_errors_keep_their_digits():
    np.testing.assert_allclose(products.inner(40.0), 2 * 4.0**-40, rtol=1e-13)


@pytest.mark.parametrize("ratio", [1e-300, 1e-6, 0.3, 1.0, 7.0, 1e300])
def test_at_the_critical_rate_the_chord_from_zero_is_a_tangent(ratio):
    critical = products.critical_rate(ratio)
    with mp.workdps(50):
        a, b = (mpf(float(x)) * mp.log(4) for x in (critical, ratio * critical))
        off = a / mp.expm1(a) + b / mp.expm1(b) - 1
    assert abs(off) < 1e-13
    np.testing.assert_allclose(products.critical_rate(1 / ratio), ratio * critical, rtol=1e-13)


def test_the_critical_rate_beside_what_is_known_is_zero():
    assert products.critical_rate(np.inf) == 0


@pytest.mark.parametrize(("R", "S"), [(0.3, 0.8), (1.2, 2.0), (0.05, 0.05), (0.2, 5.0)])
def test_the_derivatives_are_difference_quotients(R, S):
    for argnum, at in enumerate((R, S)):

        def along(x, argnum=argnum):
            return products.inner(*((x, S) if argnum == 0 else (R, x)))

        numeric = (along(at + 1e-6) - along(at - 1e-6)) / 2e-6
        np.testing.assert_allclose(jax.grad(products.inner, argnums=argnum)(R, S), numeric, rtol=0, atol=1e-9)


# Matrices ------------------------------------------------------------------------------------------------------------


def test_one_side_at_high_rate_is_the_exact_function_of_the_layer():
    weight_cov, input_cov = COVARIANCES
    least = np.linalg.eigvals(weight_cov @ input_cov).real.min()
    for R in (4.0, 6.0):
        D = float(products.high_rate(weight_cov, input_cov, R))
        assert D / 3 < least  # nothing is under water
        np.testing.assert_allclose(linear.rate(weight_cov, input_cov, D).rate / 3, R, rtol=1e-12)


def test_one_side_at_any_rate_is_a_lower_bound():
    weight_cov, input_cov = COVARIANCES
    for R in (0.05, 0.3, 1.0):
        assert linear.rate(weight_cov, input_cov, products.high_rate(weight_cov, input_cov, R)).rate / 3 >= R


def least_error(weight_cov, input_cov, R, S):
    """The least error over all error covariances of these rates, by a search over their Cholesky factors."""
    m = len(weight_cov)
    lower = np.tril_indices(m)

    def covariance(x, cov, bits):
        factor = np.zeros((m, m))
        factor[lower] = x
        shape = factor @ factor.T
        return shape * (np.linalg.det(cov) * 4.0 ** (-bits * m) / np.linalg.det(shape)) ** (1 / m)

    def value(x):
        K, L = covariance(x[: len(x) // 2], weight_cov, R), covariance(x[len(x) // 2 :], input_cov, S)
        return np.sum(K * input_cov) + np.sum(L * weight_cov) - np.sum(K * L), K, L

    start = np.tile(np.linalg.cholesky(np.eye(m))[lower], 2)
    found = minimize(lambda x: value(x)[0], start, options={"gtol": 1e-12})
    return value(found.x)


@pytest.mark.parametrize(("R", "S"), [(4.0, 4.0), (4.0, 6.0)])
def test_both_sides_leave_less_than_the_law_by_the_product_of_the_errors(R, S):
    weight_cov, input_cov = COVARIANCES
    least, K, L = least_error(weight_cov, input_cov, R, S)
    for error_cov, cov in ((K, weight_cov), (L, input_cov)):
        assert np.linalg.eigvalsh(cov - error_cov).min() > 0  # a code of that error exists
    law = float(products.high_rate(weight_cov, input_cov, R, S))
    assert least <= law
    np.testing.assert_allclose(least, law, rtol=0.02)
    # Errors in proportion to the inverses, as in the proof, leave the law less tr KL, and no others leave less by more.
    volume = math.exp((np.linalg.slogdet(weight_cov)[1] + np.linalg.slogdet(input_cov)[1]) / 3)
    together = volume**2 * 4.0 ** -(R + S) * np.trace(np.linalg.inv(weight_cov @ input_cov))
    assert law - 1.1 * together <= least <= law - together + 1e-9 * law


def test_independent_entries_of_unit_variance_are_the_inner_product_at_high_rate():
    law = products.high_rate(np.eye(3), np.eye(3), 8.0, 9.0)
    np.testing.assert_allclose(law / 3, products.inner(8.0, 9.0), rtol=1e-4)


def test_what_has_no_volume_has_no_law():
    assert products.high_rate(np.zeros((2, 2)), np.eye(2), 1.0) == 0
    assert products.high_rate(np.eye(2), np.ones((2, 2)), 1.0, 1.0) < 1e-7


# All of them ---------------------------------------------------------------------------------------------------------


def test_jit_and_vmap_change_nothing():
    assert_transforms_agree(products.inner, RATES, OTHERS)
    assert_transforms_agree(products.critical_rate, OTHERS)
    assert_transforms_agree(products.high_rate, np.stack(COVARIANCES), np.stack(COVARIANCES[::-1]), RATES[3:5])


@pytest.mark.parametrize("bad", [-1.0, np.nan])
def test_an_invalid_item_of_a_batch_is_nan_and_its_neighbors_stay_exact(bad):
    assert_only_bad_items_are_nan(products.inner, [RATES, OTHERS], [bad, 1.0], 2)
    assert_only_bad_items_are_nan(products.critical_rate, [OTHERS], [bad], 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: products.inner(-0.1), ValueError, "rate must be >= 0, got -0.1"),
        (lambda: products.inner(1.0, np.nan), ValueError, "other_rate must be >= 0"),
        (lambda: products.inner([1.0, 2.0]), ValueError, "rate must be a scalar"),
        (lambda: products.critical_rate(0.0), ValueError, "ratio must be > 0, got 0.0"),
        (lambda: products.high_rate(np.eye(2), np.eye(3), 1.0), ValueError, r"input_cov must be \(2, 2\)"),
        (lambda: products.high_rate(-np.eye(2), np.eye(2), 1.0), ValueError, "weight_cov must be positive semidef"),
        (lambda: products.high_rate(np.eye(2), np.eye(2), 1.0, -1.0), ValueError, "other_rate must be >= 0"),
        (lambda: products.inner("one"), TypeError, "rate"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, error, message):
    with pytest.raises(error, match=message):
        call()
