import itertools
import math

import numpy as np
import pytest
from scipy import stats

from rdtheory import bitstream, successive, trellis
from rdtheory.results import Quantized
from tests import oracles

LAPLACIAN = np.random.default_rng(0).laplace(size=100_000)
FEW = np.random.default_rng(1).laplace(size=(40, 25)).astype(np.float32)


def one_after_another(weights, thresholds, rng):
    """As in the paper: a random index whose residual exceeds the threshold, again and again; ŵ at the end of each."""
    magnitudes = np.zeros(weights.size)
    signs, sizes = np.sign(weights.ravel()), np.abs(weights.astype(float)).ravel()
    for threshold in thresholds:
        while len(above := np.flatnonzero(sizes - magnitudes > threshold)):
            magnitudes[rng.choice(above)] += threshold
        yield (signs * magnitudes).reshape(weights.shape)


def rates(weights, parts):
    """Bits a weight, their distance to R(D), and the share of zeros after each part."""
    scale = np.mean(np.abs(weights))
    for count in range(1, len(parts) + 1):
        decoded = successive.decode(parts[:count])
        rate = 8 * sum(map(len, parts[:count])) / weights.size
        yield rate, rate + math.log2(np.mean(np.abs(weights - decoded)) / scale), np.mean(decoded == 0)


@pytest.mark.parametrize("shrink", [0.5, 0.7, 0.9])
def test_it_decodes_what_the_paper_has_index_after_index(shrink):
    parts = successive.encode(FEW, 0.1, shrink=shrink)
    found = [successive.decode(parts[:count]) for count in range(1, len(parts) + 1)]
    thresholds = [float(found[0].max())]  # every first hit is one threshold
    for before, after in itertools.pairwise(found):
        thresholds.append(float(np.abs(after.astype(float) - before).max()))
    distinct = [
        t for t, following in zip(thresholds, [*thresholds[1:], 0.0], strict=True) if t > following * (1 + 1e-5)
    ]
    *_, wanted = one_after_another(FEW, distinct, np.random.default_rng(5))
    np.testing.assert_allclose(found[-1], wanted, rtol=0, atol=1e-5)


def test_each_part_is_better_and_the_last_meets_the_distortion():
    parts = successive.encode(FEW, 0.2)
    errors = [np.mean(np.abs(FEW - successive.decode(parts[:count]))) for count in range(1, len(parts) + 1)]
    assert all(after < before for before, after in itertools.pairwise(errors))
    assert errors[-1] <= 0.2 < errors[-2]


def test_nothing_is_larger_than_it_was():
    decoded = successive.decode(successive.encode(FEW, 0.05))
    assert (np.abs(decoded) <= np.abs(FEW) * (1 + 1e-6)).all()
    assert (np.sign(decoded) * np.sign(FEW) >= 0).all()
    assert decoded.shape == FEW.shape
    assert decoded.dtype == np.float32


def test_distances_to_the_limit_are_those_of_the_docstring():
    found = np.array(list(rates(LAPLACIAN, successive.encode(LAPLACIAN, 0.2))))
    gaps = np.interp([0.1, 0.36, 0.8, 1.4, 2.0, 3.0], *found[:, :2].T)
    np.testing.assert_allclose(gaps, [0.03, 0.11, 0.26, 0.45, 0.66, 0.9], atol=0.04)
    assert (found[:, 2] > 4.0 ** -found[:, 0]).all()  # zeros, beside the optimal share


def test_one_step_as_in_the_paper_lowers_the_mean_by_less_than_its_update_and_the_tail_is_used_up():
    """Why the distance grows: after the first threshold no residual exceeds the one that the mean would give."""
    n = LAPLACIAN.size
    s = math.log(n / math.log(n))
    residual = np.abs(LAPLACIAN)
    threshold, steps = s * residual.mean(), 0
    while (above := residual > threshold).any():
        residual, steps = residual - threshold * above, steps + above.sum()
    assert steps < 4 * math.log(n)
    assert residual.max() < s * residual.mean()
    gamma = (n - 1) / (n - s)
    np.testing.assert_allclose(gamma * (1 - s / n), 1 - 1 / n, rtol=1e-15)  # the program's update, whatever s is


def test_a_set_of_positions_takes_no_more_than_run_lengths_would():
    parts = successive.encode(LAPLACIAN, 0.7)
    decoded, told = np.zeros(LAPLACIAN.shape), 0.0
    for count, part in enumerate(parts, 1):
        after = successive.decode(parts[:count])
        hits, fresh = np.mean(after != decoded), np.mean((after != 0) & (decoded == 0))
        told += LAPLACIAN.size * (hits * math.log2(math.e / hits) + fresh)
        decoded = after
        assert 8 * sum(map(len, parts[:count])) <= told + 300 * count, part


@pytest.mark.parametrize("weights", [np.zeros(5), np.ones((2, 3)), np.array([-2.0]), np.array(0.5), FEW[:1]], ids=str)
def test_small_and_odd_arrays(weights):
    parts = successive.encode(weights, 1e-3)
    np.testing.assert_allclose(successive.decode(parts), weights, rtol=0, atol=weights.size * 1.1e-3)


def test_a_distortion_that_zeros_meet_takes_one_part():
    parts = successive.encode(FEW, 100.0)
    assert len(parts) == 1
    assert successive.decode(parts).shape == FEW.shape


def test_parts_that_are_damaged_foreign_or_out_of_order_are_refused():
    parts = successive.encode(FEW, 0.3)
    assert len(parts) > 3
    with pytest.raises(ValueError, match=r"parts\[1\]: "):
        successive.decode([parts[0], parts[2], parts[1]])
    with pytest.raises(ValueError, match=r"parts\[0\]: "):
        successive.decode(parts[1:])
    spoiled = bytearray(parts[2])
    spoiled[len(spoiled) // 2] ^= 4
    with pytest.raises(ValueError, match=r"parts\[2\]: .*damaged"):
        successive.decode([*parts[:2], bytes(spoiled)])
    with pytest.raises(ValueError, match="parts must hold one part at least"):
        successive.decode([])
    for other in (
        Quantized(np.array([3]), np.float32(1)),
        Quantized(np.array([1]), np.float32(0)),
        Quantized(np.array([1])),
        None,
    ):
        with pytest.raises(ValueError, match=r"parts\[0\] is a bitstream of something else"):
            successive.decode([bitstream.encode(other)])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: successive.encode(FEW, 0.0), ValueError, "distortion must be > 0, got 0.0"),
        (lambda: successive.encode(FEW, np.nan), ValueError, "distortion must be finite"),
        (lambda: successive.encode(FEW, 0.1, shrink=1.0), ValueError, r"shrink must be in \(0, 1\), got 1.0"),
        (lambda: successive.encode(np.array([1, 2]), 0.1), TypeError, "weights must be floating"),
        (lambda: successive.encode(np.array([1.0, np.inf]), 0.1), ValueError, "weights must be finite"),
        (lambda: successive.encode(np.array([1.0, 2.0]), 1e-60), ValueError, "must leave thresholds to float32"),
        (lambda: successive.encode(np.array([1e50, 2e50]), 1e40), ValueError, "must leave thresholds to float32"),
        (lambda: successive.goodness_of_fit(np.ones(5)), ValueError, "weights must be three at least, and not all"),
        (lambda: successive.goodness_of_fit(np.array([1.0, 2.0])), ValueError, "weights must be three at least"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, error, message):
    with pytest.raises(error, match=message):
        call()


# Linear models -------------------------------------------------------------------------------------------------------

M = 4000
IMPORTANCE = np.repeat([1.0, 0.2, 5.0, 0.0], M // 4)
VARIANCES = np.repeat([1.0, 0.05, 0.3, 2.0], M // 4)
WEIGHTS = np.random.default_rng(7).normal(size=M) * np.sqrt(VARIANCES)
LEVELS = [0.2, 0.01, 0.001]
KNOWN = VARIANCES, IMPORTANCE, LEVELS


@pytest.fixture(scope="module")
def linear_parts():
    return successive.encode_linear(WEIGHTS, *KNOWN)


def test_the_parts_are_trellis_codes_of_what_is_left(linear_parts):
    residual, deviation = WEIGHTS, np.sqrt(VARIANCES)
    for count, level in enumerate(LEVELS, 1):
        found = trellis.quantize(residual, trellis.steps(level, IMPORTANCE), deviation=deviation)
        residual = residual - np.asarray(found.weights_hat)
        decoded = successive.decode_linear(linear_parts[:count], *KNOWN)
        np.testing.assert_allclose(decoded, WEIGHTS - residual, rtol=0, atol=1e-12)
        described = np.asarray(found.scale) > 0
        deviation = np.where(described, np.sqrt(level / np.where(described, IMPORTANCE, 1.0)), deviation)


def test_every_number_of_parts_is_above_the_limit_by_about_the_losses(linear_parts):
    present = IMPORTANCE > 0
    powers = [np.mean((IMPORTANCE * WEIGHTS**2)[VARIANCES == v]) for v in np.unique(VARIANCES)]
    heard = np.repeat(powers, M // 4)
    for count, level in enumerate(LEVELS, 1):
        error = WEIGHTS - successive.decode_linear(linear_parts[:count], *KNOWN)
        bits = 8 * sum(map(len, linear_parts[:count]))
        limit, *_ = oracles.reverse_water_filling(heard, np.sum(IMPORTANCE * error**2))
        described = np.count_nonzero((VARIANCES * IMPORTANCE > level) & present)
        assert limit < bits < limit + count * (described * trellis.loss() + 300)  # header and laws of a part


def test_a_weight_without_importance_or_under_water_is_zero(linear_parts):
    decoded = successive.decode_linear(linear_parts, *KNOWN)
    assert not decoded[IMPORTANCE == 0].any()
    first = successive.decode_linear(linear_parts[:1], *KNOWN)
    assert not first[VARIANCES == 0.05].any()
    assert decoded[VARIANCES == 0.05].any()


def test_nothing_decoded_is_zero_and_a_variance_of_zero_takes_nothing():
    assert not successive.decode_linear([], *KNOWN).any()
    [part] = successive.encode_linear(np.ones(5), np.zeros(5), np.ones(5), [0.1])
    assert not successive.decode_linear([part], np.zeros(5), np.ones(5), [0.1]).any()


def test_parts_of_a_linear_model_that_are_damaged_or_of_other_numbers_are_refused(linear_parts):
    with pytest.raises(ValueError, match=r"parts\[0\]: .*classes are not those"):
        successive.decode_linear(linear_parts, 2 * VARIANCES, *KNOWN[1:])
    with pytest.raises(ValueError, match=r"parts\[0\]: "):
        successive.decode_linear(linear_parts[::-1], *KNOWN)
    with pytest.raises(ValueError, match="parts must be at most as many as levels, 2, got 3"):
        successive.decode_linear(linear_parts, VARIANCES, IMPORTANCE, LEVELS[:2])
    with pytest.raises(ValueError, match=r"parts\[1\]: .*damaged"):
        successive.decode_linear([linear_parts[0], linear_parts[1][:-1]], *KNOWN)


@pytest.mark.parametrize(
    ("weights", "variances", "importance", "levels", "states", "message"),
    [
        (np.ones(3), np.ones(2), np.ones(3), [0.1], 8, r"variances must have shape \(3,\)"),
        (np.ones(3), np.ones(3), -np.ones(3), [0.1], 8, "importance must be >= 0"),
        (np.ones(3), np.ones(3), np.ones(3), [], 8, "levels must be finite, > 0 and fall"),
        (np.ones(3), np.ones(3), np.ones(3), [0.1, 0.2], 8, "levels must be finite, > 0 and fall"),
        (np.ones(3), np.ones(3), np.ones(3), [0.1, 0.0], 8, "levels must be finite, > 0 and fall"),
        (np.ones(3), np.ones(3), np.ones(3), [np.nan], 8, "levels must be finite, > 0 and fall"),
        (np.ones(3), np.ones(3), np.ones(3), [0.1], 7, "states must be one of"),
        (np.ones((3, 1)), np.ones(3), np.ones(3), [0.1], 8, "weights must be a vector"),
    ],
)
def test_what_is_wrong_with_a_linear_model_is_named(as_user, weights, variances, importance, levels, states, message):
    with pytest.raises(ValueError, match=message):
        successive.encode_linear(weights, variances, importance, levels, states=states)


# How Laplacian weights are -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "laplacian", "gaussian"),
    [
        (stats.laplace(scale=3.0), 0.0, 0.5 * math.log2(math.pi / math.e)),
        (stats.norm(scale=0.1), math.log2(4 / math.pi) + 0.5 * math.log2(math.e) - 1 + 0.0, 0.0),
        (stats.uniform(-1, 2), math.log2(math.e) - 1, 0.5 * math.log2(math.pi * math.e / 6)),
    ],
    ids=["Laplacian", "Gaussian", "uniform"],
)
def test_divergences_are_those_of_the_laws(law, laplacian, gaussian):
    samples = law.rvs(size=100_000, random_state=np.random.default_rng(3))
    found = successive.goodness_of_fit(samples)
    exact = law.entropy() / math.log(2)
    scale, power = law.expect(abs), law.expect(np.square)
    np.testing.assert_allclose(math.log2(2 * math.e * scale) - exact, laplacian, atol=1e-6)
    np.testing.assert_allclose(found.laplacian, laplacian, atol=0.02)
    np.testing.assert_allclose(found.gaussian, gaussian, atol=0.02)
    x = np.linspace(law.ppf(1e-6), law.ppf(1 - 1e-6), 20_001)
    for distance, model in (
        (found.laplacian_distance, stats.laplace(scale=scale)),
        (found.gaussian_distance, stats.norm(scale=math.sqrt(power))),
    ):
        np.testing.assert_allclose(distance, np.abs(model.cdf(x) - law.cdf(x)).max(), atol=0.006)
