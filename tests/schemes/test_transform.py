import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from rdtheory import linear, quantize
from tests import oracles
from tests.transforms import assert_transforms_agree

M, N = 5, 60_000
rng = np.random.default_rng(3)
COVS = [(oracles.random_covariance(rng, M), oracles.random_covariance(rng, M)) for _ in range(4)]
SAMPLES = [rng.multivariate_normal(np.zeros(M), weight_cov, size=N) for weight_cov, _ in COVS]
ITEMS = pytest.mark.parametrize("item", range(4))


@ITEMS
@pytest.mark.parametrize("share", [1e-4, 1e-2, 0.1, 0.5])
def test_the_eigenbasis_is_within_three_tenths_of_a_bit_of_the_limit(item, share):
    (weight_cov, input_cov), weights = COVS[item], SAMPLES[item]
    step = np.sqrt(12 * share * np.trace(weight_cov @ input_cov) / M)
    result = quantize.transform(weights, weight_cov, input_cov, step)
    gap = (result.rate - linear.rate(weight_cov, input_cov, result.distortion).rate) / M
    assert 0 < gap < 0.26
    if share == 1e-4 and np.linalg.eigvalsh(weight_cov @ input_cov).min() > step**2:
        np.testing.assert_allclose(gap, 0.2546, atol=0.005)


@ITEMS
def test_other_bases_are_farther_from_it(item):
    """Each weight on its own, with the step that its variance of inputs asks for: the diagonal allocation."""
    (weight_cov, input_cov), weights = COVS[item], SAMPLES[item]
    step = np.sqrt(12 * 1e-3 * np.trace(weight_cov @ input_cov) / M)
    steps = step / np.sqrt(np.diagonal(input_cov))
    labels = np.round(weights / steps)
    rate = sum(float(quantize.coded_size(labels[:, k].astype(int)).labels) for k in range(M)) / N
    lost = weights - labels * steps
    distortion = np.mean(np.einsum("ni,ij,nj->n", lost, input_cov, lost))
    gap = (rate - linear.rate(weight_cov, input_cov, distortion).rate) / M
    assert gap > 0.4


@ITEMS
def test_the_distortion_is_that_of_the_weights(item):
    (weight_cov, input_cov), weights = COVS[item], SAMPLES[item][:2000]
    result = quantize.transform(weights, weight_cov, input_cov, 0.7)
    lost = weights - np.asarray(result.weights_hat)
    np.testing.assert_allclose(result.distortion, np.mean(np.einsum("ni,ij,nj->n", lost, input_cov, lost)), rtol=1e-8)


@pytest.mark.parametrize("step", [0.3, 1.0, 3.0, 6.0])
def test_one_weight_is_a_uniform_quantizer_with_the_means_of_its_cells(step):
    values = norm.ppf((np.arange(200_000) + 0.5) / 200_000)[:, None]
    result = quantize.transform(values, np.eye(1), np.eye(1), step)
    edges = (np.arange(-60, 61) + 0.5) * step
    p = np.diff(norm.cdf(np.where(edges > 0, 0, edges))) + np.diff(-norm.sf(np.where(edges > 0, edges, 0)))
    np.testing.assert_allclose(result.rate, oracles.entropy(p[p > 0]), atol=1e-3)
    for label in [0, 1, -2]:
        cell = np.round(values[:, 0] / step) == label
        if cell.any():
            low, high = (label - 0.5) * step, (label + 0.5) * step
            mass = norm.cdf(high) - norm.cdf(low)
            wanted = quad(lambda t: t * norm.pdf(t), low, high)[0] / mass
            np.testing.assert_allclose(np.asarray(result.weights_hat)[cell, 0], wanted, atol=1e-9)


def test_far_values_are_decoded_inside_their_cells():
    values = np.array([[40.0], [-1e4], [0.0], [1e9]])
    found = np.asarray(quantize.transform(values, np.eye(1), np.eye(1), 1.0).weights_hat)
    assert np.isfinite(found).all()
    assert (np.abs(found - np.round(values)) <= 0.5).all()


@pytest.mark.parametrize("rank", [1, 3])
def test_what_the_inputs_do_not_see_costs_nothing(rank):
    weight_cov, input_cov = COVS[0][0], oracles.random_covariance(rng, M, rank)
    result = quantize.transform(SAMPLES[0], weight_cov, input_cov, 0.1)
    gap = result.rate - linear.rate(weight_cov, input_cov, result.distortion).rate
    assert 0 < gap < 0.26 * rank


def test_jit_and_vmap_change_nothing():
    assert_transforms_agree(
        lambda w, c, x: quantize.transform(w, c, x, 0.5),
        np.stack([s[:50] for s in SAMPLES[:2]]),
        *np.stack(COVS[:2]).transpose(1, 0, 2, 3),
        rtol=1e-9,
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quantize.transform(np.ones((3, 2)), np.eye(3), np.eye(3), 1.0), "weights must have shape \\(3, 3\\)"),
        (lambda: quantize.transform(np.ones((3, 2)), np.eye(2), np.eye(3), 1.0), "input_cov must be"),
        (lambda: quantize.transform(np.ones((3, 2)), np.eye(2), -np.eye(2), 1.0), "input_cov must be positive"),
        (lambda: quantize.transform(np.ones((3, 2)), np.eye(2), np.eye(2), 0.0), "step must be > 0"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, message):
    with pytest.raises(ValueError, match=message):
        call()
