"""What small problems are padded with changes nothing: every size of two classes against what is known without it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdtheory as rd
from rdtheory import _size_classes, gaussian, gaussian_channel, linear
from rdtheory.limits.algorithms import accelerated_blahut_arimoto
from rdtheory.limits.channel import capacity_at
from rdtheory.limits.side_information import conditional_rate_at
from rdtheory.results import GaussianChannel
from tests import oracles

SIZES = pytest.mark.parametrize("m", range(2, 11))
rng = np.random.default_rng(18)


def unpadded(function, *args):
    """With traced arguments, which are taken as they are."""
    return jax.jit(function)(*args)


def assert_same(got, wanted, *, rtol=1e-10, atol=1e-11):
    for a, b in zip(got, wanted, strict=True):
        assert isinstance(a, jax.Array)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def singular(m, known=0):
    """A covariance of half the rank, and some variances of zero."""
    cov = oracles.random_covariance(rng, m, rank=max(1, m // 2))
    there = np.arange(m) >= known
    return cov * there[:, None] * there[None, :]


def exact_rate(w, x, D):
    """That of `oracles`, for singular covariances too."""
    values, vectors = np.linalg.eigh(x)
    root = vectors * np.sqrt(np.maximum(values, 0))
    variances = np.linalg.eigvalsh(root.T @ w @ root)
    return oracles.reverse_water_filling(np.where(variances > 1e-12 * variances[-1], variances, 0.0), D)[0]


def binary_entropy(x):
    return oracles.entropy([x, 1 - x])


def hamming_rate(m, D):
    """R(D) of m equally likely letters."""
    return np.log2(m) - binary_entropy(D) - D * np.log2(m - 1)


def test_the_classes_and_what_stays_as_it_is():
    assert [_size_classes.size_class(m) for m in (1, 8, 9, 17, 33, 49, 65)] == [8, 8, 16, 32, 48, 64, 96]
    assert [_size_classes.size_class(m) for m in (129, 161, 256, 257, 513, 1024)] == [160, 192, 256, 320, 640, 1024]
    x = jnp.ones((9, 2))
    assert _size_classes.classes(x.shape, x) == (16, 8)
    assert _size_classes.classes((65, 2), x) == (65, 2)
    seen = []
    jax.vmap(lambda row: seen.append(_size_classes.classes(row.shape, row)) or row)(x)
    assert seen == [(2,)]
    padded = _size_classes.pad(x, (16, 8), np.inf)
    assert np.isfinite(padded).sum() == 18
    assert padded[:9, :2].min() == padded[:9, :2].max() == 1


# Gaussian ------------------------------------------------------------------------------------------------------------


@SIZES
def test_water_filling(m):
    variances = np.append(rng.uniform(0.1, 2.0, m - 1), 0.0)
    for D in (0.05, 0.8 * variances.sum(), 2 * variances.sum()):
        wanted = oracles.reverse_water_filling(variances, D)
        assert_same(gaussian.water_filling(variances, D)[:3], wanted)


@SIZES
def test_the_exact_rate_of_a_linear_model(m):
    for w, x in ((oracles.random_covariance(rng, m), oracles.random_covariance(rng, m)), (singular(m), singular(m, 1))):
        D = 0.3 * np.trace(w @ x)
        found = linear.rate(w, x, D)
        np.testing.assert_allclose(found.rate, exact_rate(w, x, D), rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(found.distortions.sum(), D, rtol=1e-10)
        assert found.distortions.shape == (m,)


@SIZES
def test_the_bound_of_theorem_one(m):
    w, inputs = oracles.random_covariance(rng, m), rng.uniform(0.1, 2.0, m)
    D = 0.3 * inputs @ np.diag(w)
    assert_same(linear.lower_bound(w, inputs, D)[:3], oracles.theorem_one(w, inputs, D))
    # One weight more, which is known, before and after the others.
    wider, more = np.zeros((m + 1, m + 1)), np.append(inputs, 1.0)
    wider[:m, :m] = w
    for order in (np.arange(m + 1), np.arange(m + 1)[::-1]):
        found = linear.lower_bound(wider[np.ix_(order, order)], more[order], D)
        np.testing.assert_allclose(found.rate, oracles.theorem_one(w, inputs, D)[0], rtol=1e-10, atol=1e-10)
    correlated = np.ones((m, m)) + np.diag(np.append(np.zeros(2), np.ones(m - 2)))
    assert linear.lower_bound(correlated, inputs, 0.1).rate == -np.inf


@SIZES
def test_shannons_bound_without_a_share_for_what_pads(m):
    w, D = oracles.random_covariance(rng, m), 0.4
    inputs = np.append(0.0, np.sort(rng.uniform(0.1, 2.0, m - 1)))  # one that no output sees
    basis = np.linalg.qr(rng.normal(size=(m, m)))[0]
    variances = np.diag(basis.T @ w @ basis)
    errors = np.append(variances[0], oracles.theorem_one(np.diag(variances[1:]), inputs[1:], D)[2])
    wanted = 1.5 - 0.5 * np.log2(2 * np.pi * np.e * errors).sum()
    found = linear.shannon_lower_bound(1.5, w, basis * inputs @ basis.T, D)
    assert_same((found.rate, found.weight_distortions), (wanted, errors), rtol=1e-9, atol=1e-9)


@SIZES
def test_the_optimal_channel_and_its_performance(m):
    variances, inputs = np.append(rng.uniform(0.2, 2.0, m - 1), 0.0), rng.uniform(0.2, 2.0, m)
    D = 0.4 * variances @ inputs
    _, _, errors = oracles.theorem_one(np.diag(variances[:-1]), inputs[:-1], D)
    kept = np.append(1 - errors / variances[:-1], 0.0)
    channel = gaussian_channel.optimal(np.diag(variances), np.diag(inputs), D)
    noise = np.append(errors, 0.0) * kept
    assert_same(channel, (np.diag(kept), np.diag(noise)))
    for w, x in ((oracles.random_covariance(rng, m), oracles.random_covariance(rng, m)), (singular(m), singular(m, 1))):
        D = 0.3 * np.trace(w @ x)
        found = gaussian_channel.performance(gaussian_channel.optimal(w, x, D), w, x)
        np.testing.assert_allclose(found.distortion, D, rtol=1e-9)
        np.testing.assert_allclose(found.rate, exact_rate(w, x, D), rtol=1e-7, atol=1e-7)
    loud = GaussianChannel(jnp.asarray(np.diag(kept)), jnp.zeros((m, m)))
    assert gaussian_channel.performance(loud, np.diag(variances), np.diag(inputs)).rate == np.inf


@pytest.mark.parametrize("m", [3, 9])
def test_gaussian_results_are_those_of_the_core_without_padding(m):
    w, x, inputs = singular(m, 1), singular(m), rng.uniform(0.0, 2.0, m)
    for got, wanted in (
        (linear.rate(w, x, 0.1), unpadded(linear.rate, w, x, 0.1)),
        (linear.lower_bound(w, inputs, 0.1), unpadded(linear.lower_bound, w, inputs, 0.1)),
    ):
        assert_same(got, wanted)


# Channels ------------------------------------------------------------------------------------------------------------


def symmetric_channel(m, error):
    return (1 - error) * np.eye(m) + error / (m - 1) * (1 - np.eye(m))


@SIZES
def test_the_capacity_of_a_symmetric_channel_and_an_output_that_never_comes(m):
    wanted = hamming_rate(m, 0.1)
    channel = np.insert(symmetric_channel(m, 0.1), 1, 0.0, axis=1)
    for found in (rd.capacity(channel), capacity_at(channel, np.arange(float(m)), (m - 1) / 2)):
        assert found.converged
        assert found.rate - found.gap <= wanted <= found.rate
        np.testing.assert_allclose(found.input_pmf, np.full(m, 1 / m), atol=1e-4)
        assert found.input_pmf.sum() == pytest.approx(1, abs=1e-12)


@SIZES
def test_inputs_that_cannot_be_told_apart_or_must_not_be_used(m):
    alike = np.tile([0.25, 0.75], (m, 1))
    found = rd.capacity(alike)
    assert 0 <= found.rate <= 1e-14
    # An input that is never worth its cost, and a budget for the cheapest letters alone.
    costs = np.append(np.zeros(m - 1), 1.0)
    found = capacity_at(symmetric_channel(m, 0.1), costs, 0.0)
    rows = symmetric_channel(m, 0.1)[:-1]
    lower, upper = oracles.capacity(rows)
    assert found.rate - found.gap <= upper + 1e-13
    assert lower <= found.rate + 1e-13
    assert found.input_pmf[-1] == 0
    assert found.spent == 0


@pytest.mark.parametrize("shape", [(3, 5), (9, 2)])
def test_channels_are_solved_step_by_step_as_without_padding(shape):
    channel = rng.dirichlet(np.ones(shape[1]), shape[0])
    costs = rng.uniform(size=shape[0])

    def few(w, b):
        return rd.capacity(w, max_steps=4), capacity_at(w, b, jnp.mean(b), max_steps=4)

    for got, wanted in zip(few(channel, costs), unpadded(few, channel, costs), strict=True):
        assert_same(got, wanted, rtol=1e-9)


# Sources -------------------------------------------------------------------------------------------------------------


@SIZES
@pytest.mark.parametrize("solver", [rd.blahut_arimoto, accelerated_blahut_arimoto])
def test_equally_likely_letters(solver, m):
    slope = 3.0
    D = (m - 1) / (2**slope + m - 1)
    found = solver(np.full(m, 1 / m), 1 - np.eye(m), slope)
    assert found.converged
    assert_same((found.distortion,), (D,))
    assert found.rate - found.gap <= hamming_rate(m, D) + 1e-14
    assert hamming_rate(m, D) <= found.rate + 1e-14
    assert found.reproduction_pmf.shape == (m,)


@SIZES
def test_textbook_steps_from_the_uniform_law(m):
    p, d = rng.dirichlet(np.ones(m)), rng.uniform(size=(m, m + 2))
    p, d[0, 1] = np.append(0.0, p[1:] / p[1:].sum()), np.inf
    a, q = np.exp2(-2.0 * d), np.full(m + 2, 1 / (m + 2))
    for _ in range(3):
        q = q * (a.T @ (p / (a @ q)))
    found = rd.blahut_arimoto(p, d, 2.0, tol=0.0, max_steps=3)
    assert_same((found.reproduction_pmf,), (q,), rtol=1e-13)
    if m in (3, 9):
        assert_same(found, unpadded(lambda p, d: rd.blahut_arimoto(p, d, 2.0, tol=0.0, max_steps=3), p, d))


@SIZES
def test_side_information_that_says_nothing(m):
    side = rng.dirichlet(np.ones(m))
    d = np.insert(1 - np.eye(m), 1, np.inf, axis=1)  # and a letter that may not be shown
    for D in (0.1, 1 - 1 / m):
        found = conditional_rate_at(np.full((m, 1), 1 / m) * side, d, D)
        assert found.converged
        assert found.rate - found.gap <= hamming_rate(m, D) + 1e-13
        assert hamming_rate(m, D) <= found.rate + 1e-13
        assert found.reproduction_pmf.shape == (m, m + 1)
        np.testing.assert_allclose(found.reproduction_pmf.sum(axis=1), 1, rtol=1e-12)
        assert not found.reproduction_pmf[:, 1].any()


@pytest.mark.parametrize("shape", [(3, 2, 5), (9, 3, 2)])
def test_conditional_rates_are_found_step_by_step_as_without_padding(shape):
    n, k, m = shape
    joint = rng.dirichlet(np.ones(n * k)).reshape(n, k)
    joint[0] = 0
    joint[1, 1] = 0
    joint /= joint.sum()
    d = rng.uniform(size=(n, m))
    D = joint.sum(axis=1) @ d.min(axis=1) + 0.05

    def few(joint, d):
        return conditional_rate_at(joint, d, D, max_steps=5)

    assert_same(few(joint, d), unpadded(few, joint, d), rtol=1e-8, atol=1e-9)
