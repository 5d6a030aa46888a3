import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdtheory import bitstream, feedback, linear, trellis
from rdtheory.schemes.bitstream import layer_values
from rdtheory.schemes.feedback.plan import make_plan, worth
from rdtheory.schemes.feedback.quantizer import _nearest
from rdtheory.schemes.trellis import code
from tests import oracles

M, K = 8, 4096
ROUNDING = 0.5 * math.log2(math.pi * math.e / 6)
rng = np.random.default_rng(21)
WEIGHTS = rng.normal(size=(M, K))


def correlated(m=M):
    return 0.9 ** np.abs(np.subtract.outer(np.arange(m), np.arange(m)))


def two_levels(m=M):
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(m, m)))[0]
    return (q * np.repeat([1.0, 1e-4], m // 2)) @ q.T


SPECTRA = {"correlated": correlated(), "two levels": two_levels(), "diagonal": np.diag(np.geomspace(1, 1e-3, M))}


def level_at(moments, rate):
    """The water level of that rate, in bits per weight."""
    spectrum = np.linalg.eigvalsh(moments)
    low, high = -60.0, 10.0
    for _ in range(80):
        middle = (low + high) / 2
        above = np.mean(0.5 * np.log2(np.maximum(spectrum / 2.0**middle, 1))) > rate
        low, high = (middle, high) if above else (low, middle)
    return 2.0**low


def gaps(found, weights, moments):
    """Bits per weight above R(D), of the bytes, and what of that is the price of one codebook for all moments."""
    data = bitstream.encode(found.coded)
    np.testing.assert_array_equal(bitstream.dequantize(bitstream.decode(data)), found.weights_hat)
    spectrum, power, n = np.linalg.eigvalsh(moments), np.mean(weights**2), weights.size
    D = float(found.distortion) / n
    limit = oracles.reverse_water_filling(power * spectrum, D * len(moments))[0] / len(moments)
    return 8 * len(data) / n - limit, oracles.one_codebook_rate(power * spectrum, D) - limit


# What is attained ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_eight_states_take_the_price_and_their_loss_in_bytes(spectrum, rate):
    moments = SPECTRA[spectrum]
    found = feedback.quantize(WEIGHTS, moments, level_at(moments, rate))
    gap, price = gaps(found, WEIGHTS, moments)
    assert gap <= price + trellis.loss(8) + 0.02
    assert gap >= 0.01  # as for a code without any loss
    np.testing.assert_allclose(
        found.distortion, np.sum((WEIGHTS - found.weights_hat) * (moments @ (WEIGHTS - found.weights_hat)))
    )


@pytest.mark.parametrize("states", [1, 256])
def test_other_codes_take_their_loss(states):
    moments = SPECTRA["correlated"]
    gap, price = gaps(feedback.quantize(WEIGHTS, moments, level_at(moments, 1.5), states=states), WEIGHTS, moments)
    loss = ROUNDING if states == 1 else trellis.loss(states)
    assert price + loss - 0.02 <= gap <= price + loss + 0.02


def test_the_price_is_the_one_published_for_two_spectra():
    for moments, rate, wanted in (
        (correlated(32), 1.0, 0.037),
        (correlated(32), 0.5, 0.075),
        (two_levels(32), 3.0, 0.0755),
    ):
        spectrum, level = np.linalg.eigvalsh(moments), level_at(moments, rate)
        price = oracles.one_codebook_rate(spectrum, np.mean(np.minimum(spectrum, level))) - rate
        np.testing.assert_allclose(price, wanted, atol=5e-4)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_watersic_wastes_a_quarter_bit_at_high_rate_whatever_the_spectrum(spectrum):
    moments = SPECTRA[spectrum]
    found = feedback.watersic(WEIGHTS, moments, level_at(moments, 9.0))
    gap, _ = gaps(found, WEIGHTS, moments)
    np.testing.assert_allclose(gap, ROUNDING, atol=0.02)  # of which half are the header's bytes


@pytest.mark.parametrize("spectrum", ["two levels", "diagonal"])
def test_one_step_for_all_wastes_the_means_of_the_pivots_more(spectrum):
    moments = SPECTRA[spectrum]
    pivots = np.diagonal(np.linalg.cholesky(moments)) ** 2
    excess = 0.5 * np.log2(pivots.mean() / np.exp(np.log(pivots).mean()))
    assert excess > 0.5
    gap, _ = gaps(feedback.gptq(WEIGHTS, moments, level_at(moments, 9.0)), WEIGHTS, moments)
    np.testing.assert_allclose(gap, ROUNDING + excess, atol=0.02)


def test_rounding_alone_wastes_what_feedback_would_save():
    moments = SPECTRA["correlated"]
    gap, _ = gaps(feedback.nearest(WEIGHTS, moments, level_at(moments, 9.0)), WEIGHTS, moments)
    np.testing.assert_allclose(gap, ROUNDING - 0.5 * np.linalg.slogdet(moments)[1] / np.log(2) / M, atol=0.02)


def test_outputs_and_inputs_of_different_spread_follow_one_water_level():
    local, m, k = np.random.default_rng(2), 64, 1000
    rows, columns = np.exp2(local.integers(-2, 3, m)), 4.0 ** local.integers(-1, 2, k)
    weights, moments = local.normal(size=(m, k)) * np.sqrt(rows[:, None] * columns[None, :]), correlated(m)

    def above(coded, w_hat):
        lost = weights - w_hat
        limit = linear.layer_rate(moments, rows, columns, np.sum(lost * (moments @ lost))).rate
        return (8 * len(bitstream.encode(coded)) - float(limit)) / weights.size

    found = feedback.quantize(weights, moments, 0.1)
    told = (
        np.log2(3) * k + 6 * len(found.coded.exponents) * m
    ) / weights.size  # which kind, and steps and spreads of each
    gap = above(found.coded, found.weights_hat)
    assert 0 < gap <= trellis.loss(8) + 0.04 + told
    # As if all were alike, even if the decoder were told the variances.
    alike = feedback.quantize(weights / np.sqrt(columns), moments, 0.1 / np.mean(columns))
    assert above(alike.coded, np.sqrt(columns) * np.asarray(alike.weights_hat)) > gap + 0.02


# How it is done ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [feedback.watersic, feedback.gptq])
def test_each_input_is_rounded_at_the_conditional_optimum(scheme):
    m = 40  # more than a block
    weights, moments = rng.normal(size=(m, 5)), oracles.random_covariance(rng, m) + 0.1 * np.eye(m)
    found = scheme(weights, moments, 0.05)
    steps = layer_values.steps(found.coded.base, found.coded.exponents)[:, 0]
    np.testing.assert_array_equal(found.coded.labels, oracles.successive(weights, moments, np.eye(m), steps))
    np.testing.assert_allclose(found.weights_hat, found.coded.labels * steps[:, None], rtol=1e-15)
    assert (len(np.unique(found.coded.exponents)) == 1) == (scheme is feedback.gptq)


def test_babai_the_distortion_is_that_of_the_roundings():
    moments = SPECTRA["correlated"]
    lower = np.linalg.cholesky(moments)
    found = feedback.watersic(WEIGHTS, moments, 0.05)
    rounded = (lower / np.diagonal(lower)).T @ (WEIGHTS - found.weights_hat)
    steps = layer_values.steps(found.coded.base, found.coded.exponents)
    assert np.all(np.abs(rounded) <= steps * (0.5 + 1e-9))
    np.testing.assert_allclose(found.distortion, np.sum((np.diagonal(lower)[:, None] * rounded) ** 2), rtol=1e-12)


def metric_of(plan):
    roots = np.sqrt(plan.pivots)
    lower = (plan.feedback + np.eye(len(roots))).T * roots
    return lower @ lower.T


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_plan_is_the_fixed_point(spectrum):
    moments, level = SPECTRA[spectrum], 0.05
    second = oracles.random_covariance(rng, M)
    plan = make_plan(moments, second, level, 1.0)
    metric = metric_of(plan)
    np.testing.assert_allclose(plan.pull, np.linalg.solve(metric, moments), atol=1e-9)
    charged = metric - moments
    np.testing.assert_allclose(charged, np.diag(np.diagonal(charged)), atol=1e-9)
    v = np.diagonal(plan.pull @ second @ plan.pull.T + level * np.linalg.inv(metric))
    np.testing.assert_allclose(np.diagonal(charged), level / v, rtol=0.02)


def test_scalar_labels_follow_the_plan():
    moments, level, weights = SPECTRA["correlated"], 0.1, WEIGHTS[:, :300]
    plan = make_plan(moments, np.mean(weights**2) * np.eye(M), level, 1.0)
    found = feedback.quantize(weights, moments, level, states=1)
    plan = make_plan(moments, weights @ weights.T / 300, level, worth(0.15))
    steps = layer_values.steps(found.coded.base, found.coded.exponents)[:, 0]
    np.testing.assert_allclose(steps, np.sqrt(12 * level / plan.pivots), rtol=0.05)  # eighths of an octave
    wanted = oracles.successive(weights, metric_of(plan), plan.pull, steps)
    np.testing.assert_array_equal(found.coded.labels, wanted)


def test_dither_makes_the_distortion_that_of_the_covariances():
    """Errors at the targets have the variance that the code has on uniform samples, independent of the weights."""
    moments, level = SPECTRA["correlated"], 0.1
    weights = rng.normal(size=(M, 40_000))
    second = weights @ weights.T / weights.shape[1]
    plan = make_plan(moments, second, level, worth(trellis.loss(8) + 0.01))
    found = feedback.quantize(weights, moments, level)
    spacing = layer_values.steps(found.coded.base, found.coded.exponents) / 2
    kept, spread = np.eye(M) - plan.pull, np.linalg.inv(np.eye(M) + plan.feedback)
    lost = kept @ second @ kept.T + spread @ (code.noise(8) * spacing**2 * spread.T)
    np.testing.assert_allclose(found.distortion / weights.shape[1], np.sum(moments * lost), rtol=0.01)


@pytest.mark.parametrize("states", [4, 8])
def test_the_nearest_path_is_the_nearest_of_all(states):
    y = 3 * rng.normal(size=7)
    best = np.inf
    for bits in itertools.product((0, 1), repeat=len(y)):  # of the labels, which are free up to even numbers
        state, total = 0, 0.0
        for value, odd in zip(y, bits, strict=True):
            coset = 2 * odd + state % 2
            total += (value - coset - 4 * np.round((value - coset) / 4)) ** 2
            state = code.successors(states)[state, odd]
        best = min(best, total)
    found = np.asarray(_nearest(jnp.asarray(y), jnp.ones(7, bool), states))
    np.testing.assert_allclose(np.sum((found - y) ** 2), best, rtol=1e-6)


def test_the_dither_is_even_and_the_same_everywhere():
    seed, shape = np.uint32(2**32 - 1), (200, 500)
    for on_trellis in (False, True):
        drawn = layer_values.dither(seed, shape, on_trellis)
        np.testing.assert_array_equal(drawn, layer_values.dither(jnp.asarray(seed), shape, on_trellis))
        places = 32 if on_trellis else 16
        counts = np.bincount(drawn.ravel(), minlength=places)
        assert len(counts) == places
        assert np.sum((counts - 1e5 / places) ** 2 / (1e5 / places)) < places + 6 * math.sqrt(2 * places)
        for one, other in (
            (drawn[1:], drawn[:-1]),
            (drawn[:, 1:], drawn[:, :-1]),
            (drawn, layer_values.dither(np.uint32(0), shape, on_trellis)),
        ):
            assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02


# What comes back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("states", [1, 8])
def test_weights_keep_their_dtype_and_bytes_give_every_bit(dtype, states):
    weights = jnp.asarray(WEIGHTS[:, :700]).astype(dtype)  # two segments
    found = feedback.quantize(weights, SPECTRA["diagonal"], 0.01, states=states)
    assert found.weights_hat.dtype == weights.dtype
    back = bitstream.decode(bitstream.encode({"layer": found.coded}))["layer"]
    for got, wanted in zip(back, found.coded, strict=True):
        np.testing.assert_array_equal(got, wanted)
    decoded = bitstream.dequantize(back)
    assert decoded.dtype == (np.float64 if dtype == "float64" else np.float32)
    np.testing.assert_array_equal(decoded.astype(weights.dtype), np.asarray(found.weights_hat))
    np.testing.assert_allclose(found.rate, 8 * len(bitstream.encode(found.coded)) / weights.size, atol=0.03)


def test_a_layer_may_be_small_silent_or_zero():
    for weights, moments, level in (
        (np.ones((1, 1)), np.eye(1), 0.01),
        (WEIGHTS[:, :1], SPECTRA["correlated"], 0.1),
        (WEIGHTS[:1, :9], np.eye(1), 1e-6),
        (np.zeros((3, 4)), np.eye(3), 0.1),
        (WEIGHTS[:3, :4], np.zeros((3, 3)), 0.1),
        (WEIGHTS[:3, :4], np.ones((3, 3)), 0.1),
        (WEIGHTS[:3, :4], np.eye(3), 100.0),
    ):
        for states in (1, 8):
            found = feedback.quantize(weights, moments, level, states=states)
            lost = weights - found.weights_hat
            np.testing.assert_array_equal(
                bitstream.dequantize(bitstream.decode(bitstream.encode(found.coded))), found.weights_hat
            )
            assert np.isfinite(found.rate)
            assert found.distortion <= max(np.sum(weights * (moments @ weights)), 12 * level * weights.size) + 1e-12
            np.testing.assert_allclose(found.distortion, np.sum(lost * (moments @ lost)), atol=1e-12)
            if not weights.any() or not moments.any() or level == 100.0:
                assert not found.weights_hat.any() and not found.coded.labels.any()


def test_inputs_that_never_vary_are_not_sent_and_change_nothing():
    moments, weights = np.zeros((M + 2, M + 2)), rng.normal(size=(M + 2, 600))
    heard = np.arange(M + 2) % 5 != 1
    moments[np.ix_(heard, heard)] = SPECTRA["correlated"]
    found, alone = (
        feedback.quantize(weights, moments, 0.1),
        feedback.quantize(weights[heard], SPECTRA["correlated"], 0.1),
    )
    assert not found.weights_hat[~heard].any()
    np.testing.assert_array_equal(found.coded.exponents[:, heard], alone.coded.exponents)
    np.testing.assert_allclose(found.distortion, alone.distortion, rtol=0.1)  # another dither


def test_the_same_seed_gives_the_same_bits_and_another_others():
    first, again, other = (
        feedback.quantize(WEIGHTS[:, :600], SPECTRA["correlated"], 0.1, seed=seed) for seed in (3, 3, 4)
    )
    assert bitstream.encode(first.coded) == bitstream.encode(again.coded)
    assert (first.coded.labels != other.coded.labels).any()
    np.testing.assert_allclose(first.distortion, other.distortion, rtol=0.1)


def test_in_any_unit_labels_are_the_same():
    one = feedback.quantize(WEIGHTS[:, :600], SPECTRA["correlated"], 0.1)
    other = feedback.quantize(2.0**-20 * WEIGHTS[:, :600], 2.0**30 * SPECTRA["correlated"], 0.1 * 2.0**-10)
    np.testing.assert_array_equal(one.coded.labels, other.coded.labels)
    np.testing.assert_array_equal(one.weights_hat, 2.0**20 * other.weights_hat)


ONES = np.ones((2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: feedback.quantize(ONES.astype(int), np.eye(2), 0.1), TypeError, "weights must be floating"),
        (lambda: feedback.quantize(ONES[0], np.eye(2), 0.1), ValueError, "weights must be a matrix"),
        (lambda: feedback.quantize(ONES * np.nan, np.eye(2), 0.1), ValueError, "weights must be finite"),
        (lambda: feedback.quantize(ONES, np.eye(3), 0.1), ValueError, "moments must be (2, 2)"),
        (
            lambda: feedback.quantize(ONES, np.diag([1.0, -1.0]), 0.1),
            ValueError,
            "moments must be positive semidefinite",
        ),
        (lambda: feedback.quantize(ONES, np.nan * np.eye(2), 0.1), ValueError, "moments must be finite"),
        (lambda: feedback.quantize(ONES, np.eye(2), 0.0), ValueError, "level must be > 0"),
        (lambda: feedback.quantize(ONES, np.eye(2), -1.0), ValueError, "level must be >= 0"),
        (lambda: feedback.quantize(ONES, np.eye(2), 1e-16), ValueError, "level is too small"),
        (lambda: feedback.quantize(1e-30 * ONES, np.eye(2), 1e-80), ValueError, "beyond float32"),
        (lambda: feedback.quantize(ONES, np.eye(2), 0.1, states=6), ValueError, "states must be one of 4, 8"),
        (lambda: feedback.quantize(ONES, np.eye(2), 0.1, seed=-1), ValueError, "seed must be a whole number"),
        (lambda: feedback.quantize(ONES, np.eye(2), 0.1, seed=2**32), ValueError, "seed must be a whole number"),
        (lambda: feedback.watersic(ONES, np.ones((2, 2)), 0.1), ValueError, "moments are singular"),
        (lambda: jax.jit(feedback.quantize)(ONES, np.eye(2), 0.1), TypeError, "outside jax.jit"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert message in str(raised.value)
