"""What a sample of inputs says about all of them: scikit-learn's estimator, and distortions of a known law."""

import numpy as np
import pytest
from sklearn.covariance import OAS, ledoit_wolf

from rdtheory import calibration, feedback

M, K = 64, 128
CORRELATED = 0.9 ** np.abs(np.subtract.outer(np.arange(M), np.arange(M)))
BASIS = np.linalg.qr(np.random.default_rng(0).normal(size=(M, M)))[0]
SPECTRA = {
    "correlated": CORRELATED,
    "a power law": (BASIS * np.arange(1, M + 1) ** -1.5) @ BASIS.T,
    "units": CORRELATED * np.outer(np.geomspace(1, 100, M), np.geomspace(1, 100, M)),
}


def drawn(rng, moments, n):
    return rng.normal(size=(n, len(moments))) @ np.linalg.cholesky(moments).T


@pytest.mark.parametrize("n", [M // 2, M, 10 * M])
def test_shrinkage_is_that_of_scikit_learn_for_inputs_of_unit_size(n):
    x = drawn(np.random.default_rng(n), CORRELATED, n)
    x /= np.sqrt(np.mean(x**2, axis=0))
    found = calibration.moments(x)
    wanted, shrinkage = ledoit_wolf(x, assume_centered=True)
    np.testing.assert_allclose(found.shrinkage, shrinkage, rtol=1e-10)
    np.testing.assert_allclose(found.moments, wanted, rtol=1e-10, atol=1e-12)
    assert found.count == n and 0 < shrinkage < 1


def test_shrinkage_of_moments_is_that_of_scikit_learn():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(30, 3)) @ rng.normal(size=(3, 12)) + rng.normal(size=(30, 12)) * np.linspace(1, 3, 12)
    units = np.sqrt(np.mean(x**2, axis=0))
    wanted = OAS(assume_centered=True).fit(x / units).covariance_ * np.outer(units, units)
    found = calibration.shrunk(x.T @ x / 30, 30.0)
    np.testing.assert_allclose(found.moments, wanted, rtol=0.03)  # what it leaves out, 2/m, is kept here
    np.testing.assert_array_equal(calibration.shrunk(np.diag([1.0, 0.0]), 5).moments, np.diag([1.0, 0.0]))
    with pytest.raises(ValueError, match="count must be > 0"):
        calibration.shrunk(np.eye(2), 0)


def test_units_make_no_difference_and_silence_stays(monkeypatch):
    x, units = drawn(np.random.default_rng(1), CORRELATED, 90), np.geomspace(1e-3, 1e3, M)
    units[5] = 0.0
    one, other = calibration.moments(x * (units > 0)), calibration.moments(x * units)
    np.testing.assert_allclose(other.moments, units[:, None] * one.moments * units, rtol=1e-9, atol=1e-12)
    assert not other.moments[5].any() and other.shrinkage > 0
    monkeypatch.setattr(calibration, "BLOCK", 7 * M)
    np.testing.assert_allclose(calibration.moments(x).moments, calibration.moments(x[::-1]).moments, atol=1e-12)
    silent = calibration.moments(np.zeros((4, 3)))
    assert not silent.moments.any() and silent.shrinkage == 0


def test_a_shrinkage_that_is_given_is_taken():
    x = drawn(np.random.default_rng(2), CORRELATED, 40)
    plain = x.T @ x / 40
    np.testing.assert_allclose(calibration.moments(x, shrinkage=0.0).moments, plain, atol=1e-12)
    np.testing.assert_allclose(calibration.moments(x, shrinkage=1.0).moments, np.diag(np.diagonal(plain)), atol=1e-12)


def test_moments_without_correlations_are_shrunk_to_what_they_are():
    plain = np.diag([2.0, 3.0, 0.0])
    found = calibration.shrunk(plain, 20)
    assert found.shrinkage == 1
    np.testing.assert_array_equal(found.moments, plain)


@pytest.mark.parametrize(
    ("n", "share", "out"), [(10, 0.2, 2), (2, 0.2, 1), (3, 0.9, 2), (1000, 0.25, 250), (7, 0.0, 0)]
)
def test_a_split_holds_out_the_share_and_nothing_is_in_both(n, share, out):
    found = calibration.split(n, share)
    assert len(found.held_out) == out
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(n))
    np.testing.assert_array_equal(found.held_out, calibration.split(n, share).held_out)


def test_another_seed_holds_out_other_inputs():
    assert not np.array_equal(calibration.split(1000).held_out, calibration.split(1000, seed=1).held_out)


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("n", [M // 2, M, 2 * M, 10 * M])
def test_what_is_measured_is_within_three_standard_errors_of_the_truth(n, spectrum):
    """And what the inputs of calibration themselves would say is not, where they are few."""
    moments, rng = SPECTRA[spectrum], np.random.default_rng(n)
    weights, x = rng.normal(size=(M, K)), drawn(rng, moments, n)
    known, unseen = calibration.split(n)
    shrunk = calibration.moments(x[known]).moments
    w_hat = np.asarray(feedback.quantize(weights, shrunk, 0.02 * np.trace(moments) / M).weights_hat)
    true = float(np.sum((weights - w_hat) * (moments @ (weights - w_hat))))
    found = calibration.distortion(weights, w_hat, x[unseen])
    assert abs(found.distortion - true) < 3 * found.standard_error
    flattered = calibration.distortion(weights, w_hat, x[known])
    assert flattered.distortion < true
    if n <= M:
        assert true - flattered.distortion > 3 * flattered.standard_error


def test_standard_errors_are_those_of_means():
    rng = np.random.default_rng(3)
    weights, w_hat = rng.normal(size=(2, M, 3))
    means = [calibration.distortion(weights, w_hat, drawn(rng, CORRELATED, 50)) for _ in range(400)]
    spread = np.std([found.distortion for found in means])
    np.testing.assert_allclose(np.mean([found.standard_error for found in means]), spread, rtol=0.15)
    few = calibration.distortion(weights, w_hat, drawn(rng, CORRELATED, 4))
    student = 9.2189  # which a mean of four exceeds, over its standard error, as rarely as a Gaussian three
    np.testing.assert_allclose(few.standard_error, few.each.std(ddof=1) / 2 * student / 3, rtol=1e-4)
    assert np.isinf(calibration.distortion(weights, w_hat, np.ones((1, M))).standard_error)


def test_shrinking_helps_on_inputs_never_seen():
    """At the same rate, of moments that would otherwise be singular."""
    rng = np.random.default_rng(4)
    weights, x = rng.normal(size=(M, K)), drawn(rng, CORRELATED, M)

    def lost(shrinkage):
        level = 0.02
        found = [
            feedback.quantize(weights, calibration.moments(x, shrinkage=shrinkage).moments, level * 4.0**i)
            for i in range(-3, 2)
        ]
        D = [np.sum((weights - f.weights_hat) * (CORRELATED @ (weights - f.weights_hat))) for f in found]
        return np.exp2(np.interp(2.0, [float(f.rate) for f in found][::-1], np.log2(D)[::-1]))

    assert lost(None) < lost(0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibration.moments(np.zeros((0, 3))), "inputs must not be empty"),
        (lambda: calibration.moments(np.full((2, 2), np.nan)), "inputs must be finite"),
        (lambda: calibration.moments(np.ones(3)), "inputs must be a matrix"),
        (lambda: calibration.moments(np.ones((2, 2)), shrinkage=1.5), "shrinkage must lie"),
        (lambda: calibration.split(0), "count must be a whole number"),
        (lambda: calibration.split(5, 1.0), "held_out must be a share"),
        (lambda: calibration.split(5, seed=-1), "seed must be .* at least 0"),
        (lambda: calibration.split(1), "of one input"),
        (lambda: calibration.distortion(np.ones((2, 1)), np.ones((1, 1)), np.ones((1, 2))), "weights_hat must have"),
        (lambda: calibration.distortion(np.ones((2, 1)), np.ones((2, 1)), np.ones((1, 3))), "inputs must have 2"),
    ],
)
def test_what_does_not_go_together_is_named(as_user, call, message):
    with pytest.raises(ValueError, match=message):
        call()
