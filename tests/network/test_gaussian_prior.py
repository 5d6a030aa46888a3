"""A prior with row and column variances: what it was made with, and what it says where it is wrong."""

import numpy as np
import pytest

from rdtheory import linear, network

rng = np.random.default_rng(6)
M, K = 40, 300
ROWS, COLUMNS = np.geomspace(0.1, 3, M), np.geomspace(1, 20, K)
SCALES = np.sqrt(np.outer(ROWS, COLUMNS))


def within(value, wanted, error):
    return abs(value - wanted) <= error


def test_the_variances_are_those_that_weights_were_made_with():
    found = network.prior(rng.normal(size=(M, K)) * SCALES * 1e-5)
    made, fitted = np.outer(ROWS, COLUMNS) * 1e-10, np.outer(found.row_variances, found.column_variances)
    # Means of 300 and of 40 squares.
    np.testing.assert_allclose(np.log(fitted / made), 0, atol=5 * np.sqrt(2 / K + 2 / M))
    assert within(found.kurtosis, 3, 4 * found.kurtosis_error)
    assert found.divergence < found.divergence_error
    even = network.prior(rng.normal(size=(M, K)))
    # Nothing is read into variances that spread by chance alone.
    assert np.std(even.row_variances) < 0.05 > np.std(even.column_variances)


@pytest.mark.parametrize(
    ("draw", "kurtosis", "divergence"),
    [
        (lambda shape: rng.laplace(size=shape), 6.0, 0.5 * np.log2(np.pi / np.e)),
        (lambda shape: rng.uniform(-1, 1, size=shape), 1.8, 0.5 * np.log2(np.pi * np.e / 6)),
    ],
)
def test_other_laws_have_the_kurtosis_and_divergence_of_the_formulas(draw, kurtosis, divergence):
    found = network.prior(draw((200, 500)))
    np.testing.assert_allclose(found.kurtosis, kurtosis, rtol=0.05)
    assert within(found.divergence, divergence, 1.5 * found.divergence_error)


def test_before_scaling_a_gaussian_layer_looks_like_another_law():
    w = rng.normal(size=(M, K)) * SCALES
    flat = network.prior(w.reshape(1, -1))  # one row: every column would have its own variance
    assert flat.kurtosis > 5 > network.prior(w).kurtosis
    assert flat.divergence > 0.15 > 0.05 > network.prior(w).divergence


def test_the_bound_is_the_rate_of_a_layer():
    w, a = rng.normal(size=(M, K)) * SCALES, rng.normal(size=(M, M))
    moments, fitted = a @ a.T, network.prior(w)
    D = np.array([1e-3, 0.1]) * np.sum((moments @ w) * w)
    found = network.limit(w, moments, D, np.array([1.0, 1.0]))
    for at, bound in zip(D, found.bound, strict=True):
        wanted = linear.layer_rate(moments, fitted.row_variances, fitted.column_variances, at).rate / w.size
        np.testing.assert_allclose(bound, wanted, rtol=1e-9)
    assert found.bound[0] > 1 > found.bound[1]
    assert np.isnan(found.gap[0])
    np.testing.assert_allclose(found.evidence, [found.bound[0] - 1, 0])
    np.testing.assert_allclose(found.gap[1], 1 - found.bound[1])


def test_zeros_take_nothing():
    zero, some = np.zeros((M, K)), rng.normal(size=(M, K))
    for w, moments in ((zero, np.eye(M)), (some, np.zeros((M, M)))):
        found = network.limit(w, moments, 0.0, 0.0)
        assert [float(x) for x in found] == [0, 0, 0]
    some[3], some[:, 5] = 0, 0
    fitted = network.prior(some)
    assert fitted.row_variances[3] == 0 == fitted.column_variances[5]
    assert within(fitted.kurtosis, 3, 5 * fitted.kurtosis_error)
    assert network.limit(some, np.eye(M), 0.0, 8.0).bound == np.inf
    assert np.isnan(network.prior(zero).kurtosis)


def test_an_outlier_is_seen():
    w = rng.normal(size=(M, K))
    w[7, 9] = 1e8
    found = network.prior(w)
    assert found.kurtosis > 1000
    assert found.divergence > 1
    assert network.limit(w, np.eye(M), 1.0, 8.0).bound >= 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: network.prior(np.ones(3)), "weights must be a matrix"),
        (lambda: network.prior(np.full((2, 2), np.inf)), "weights must be finite"),
        (lambda: network.limit(np.ones((2, 2)), np.eye(3), 1.0, 1.0), "moments must be"),
        (lambda: network.limit(np.ones((2, 2)), np.eye(2), -1.0, 1.0), "distortion must be"),
        (lambda: network.limit(np.ones((2, 2)), np.eye(2), np.ones(2), 1.0), "shape of distortion"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, message):
    with pytest.raises(ValueError, match=message):
        call()
