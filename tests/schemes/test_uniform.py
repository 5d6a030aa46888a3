import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from rdtheory import quantize
from rdtheory.schemes.quantize.sizes import adaptive_bits
from tests import long
from tests.transforms import assert_transforms_agree

rng = np.random.default_rng(12)
IMPORTANCE = rng.uniform(0.1, 3.0, size=(6, 8)) ** 3
WEIGHTS = rng.laplace(size=(40, 30))
HEAVY = 10.0 ** rng.uniform(-2, 2, size=(40, 1)) * 10.0 ** rng.uniform(-2, 2, size=30)  # rows × columns
KINDS = pytest.mark.parametrize(("rows", "columns"), [*itertools.product([False, True], repeat=2)])


# Steps ----------------------------------------------------------------------------------------------------------------


@KINDS
def test_steps_have_even_errors_and_no_others_of_the_kind_take_fewer_bits(rows, columns):
    found = quantize.steps(IMPORTANCE, 0.02, rows=rows, columns=columns)
    step = np.asarray(found.rows * found.columns)
    error = IMPORTANCE * step**2 / 12
    np.testing.assert_allclose(error.mean(), 0.02, rtol=1e-12)
    if rows:
        np.testing.assert_allclose(error.mean(axis=1), 0.02, rtol=1e-9)
    if columns:
        np.testing.assert_allclose(error.mean(axis=0), 0.02, rtol=1e-9)

    # Maximize the mean of log2 of the step under the same error, without its formula.
    def bits(x):
        log_step = x[0] + rows * x[1:7, None] + columns * x[None, 7:]
        error = np.mean(IMPORTANCE * np.exp2(2 * log_step)) / 12
        return 0.5 * np.log2(error / 0.02) - log_step.mean()

    best = minimize(bits, np.zeros(15), method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(-np.log2(step).mean(), best.fun, atol=1e-9)


def test_importances_that_are_products_are_balanced_exactly():
    found = quantize.steps(HEAVY, 1 / 12, rows=True, columns=True)
    np.testing.assert_allclose(found.rows * found.columns, 1 / np.sqrt(HEAVY), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_steps_do_not_depend_on_the_units(scale):
    wanted = quantize.steps(IMPORTANCE, 0.02, rows=True, columns=True)
    found = quantize.steps(scale * IMPORTANCE, 0.02, rows=True, columns=True)
    np.testing.assert_allclose(found.rows * found.columns * math.sqrt(scale), wanted.rows * wanted.columns, rtol=1e-12)


def test_what_does_not_matter_gets_no_step():
    importance = IMPORTANCE.copy()
    importance[2], importance[:, 5] = 0.0, 0.0
    found = quantize.steps(importance, 1.0, rows=True, columns=True)
    assert np.isinf(found.rows[2, 0])
    assert np.isinf(found.columns[0, 5])
    assert np.isfinite(np.delete(found.rows, 2)).all()
    result = quantize.uniform(np.ones((6, 8)), importance, 1e-4, rows=True, columns=True)
    np.testing.assert_array_equal(result.weights_hat == 0, importance == 0)
    nothing = quantize.uniform(np.ones((6, 8)), 0.0, 1e-4)
    np.testing.assert_array_equal(nothing.weights_hat, 0.0)
    assert nothing.objective == 0


# Rounding -------------------------------------------------------------------------------------------------------------


@KINDS
def test_uniform_rounds_to_its_steps_and_its_objective_is_the_level(rows, columns):
    result = quantize.uniform(WEIGHTS, HEAVY, 1e-8, rows=rows, columns=columns)
    step = np.asarray(result.steps.rows * result.steps.columns)
    np.testing.assert_array_equal(result.labels, np.round(WEIGHTS / step))
    np.testing.assert_allclose(result.weights_hat, result.labels * step, rtol=1e-15)
    np.testing.assert_allclose(result.objective, np.sum(HEAVY * (WEIGHTS - result.weights_hat) ** 2), rtol=1e-10)
    np.testing.assert_allclose(result.objective / WEIGHTS.size, 1e-8, rtol=0.15)
    # What is stored: one number of 32 bits, and ratios that are powers of √2.
    powers = 2 * np.log2(step / step[0, 0])
    np.testing.assert_allclose(powers, np.round(powers), atol=1e-9)
    base = step.min() if rows or columns else step[0, 0]
    assert np.float32(base) == base


def test_rounding_the_ratios_to_powers_of_the_root_of_two_costs_little():
    ideal = quantize.steps(HEAVY, 1e-4, rows=True, columns=True)
    stored = quantize.uniform(WEIGHTS, HEAVY, 1e-4, rows=True, columns=True).steps
    lost = np.log2(ideal.rows * ideal.columns).mean() - np.log2(stored.rows * stored.columns).mean()
    assert 0 < lost < 0.05  # bit per weight, at the same error; 0.028 is expected of two roundings


def test_with_a_metric_errors_are_fed_back_and_steps_follow_the_conditional_importance():
    inputs = rng.normal(size=(200, 30)) @ rng.normal(size=(30, 30))
    metric = inputs.T @ inputs / 200
    by_row = rng.uniform(0.1, 10.0, size=(40, 1))
    result = quantize.uniform(WEIGHTS, by_row, 1e-4, rows=True, columns=True, metric=metric, damping=1e-9)
    step = np.asarray(result.steps.rows * result.steps.columns)
    fed = quantize.error_feedback(WEIGHTS, metric, step=step, damping=1e-9)
    np.testing.assert_array_equal(result.labels, fed.labels)
    d = quantize.conditional_importance(metric, damping=1e-9)
    error = by_row * np.asarray(d) * step**2 / 12
    assert np.log2(error).std() < 0.5
    lost = WEIGHTS - np.asarray(result.weights_hat)
    np.testing.assert_allclose(result.objective, np.sum(by_row[:, 0] * np.einsum("ri,ij,rj->r", lost, metric, lost)))
    np.testing.assert_allclose(result.objective / WEIGHTS.size, 1e-4, rtol=0.15)


def test_a_layer_whose_metric_is_zero_keeps_its_weights_by_the_damping():
    weights = [np.ones((2, 3)), rng.normal(size=(8, 3))]
    found = quantize.uniform_at_rate(weights, [1.0, 1.0], 16.0, metrics=[np.zeros((3, 3)), np.eye(3)])
    zero, other = found.layers
    step = np.asarray(zero.steps.rows * zero.steps.columns)
    np.testing.assert_allclose(step**2 * 0.01 / 12, found.level, rtol=1e-6)  # the damping is its importance
    np.testing.assert_array_equal(zero.weights_hat, np.round(1 / step) * step)
    assert zero.objective == 0
    assert 0 < other.objective < 0.1
    assert 0 < found.size.rate <= 16


# Bits -----------------------------------------------------------------------------------------------------------------


def sequential_bits(labels, levels):
    """The code length of an adaptive coder, label after label."""
    counts, bits = np.full(levels, 0.5), 0.0
    for label in np.asarray(labels).ravel():
        bits -= math.log2(counts[label] / counts.sum())
        counts[label] += 1
    return bits


def unary_bits(magnitudes, classes, coded):
    """The same for questions "is it 0? is it 1? ..." in each class."""
    bits, counts = 0.0, {}
    for m, c, used in zip(magnitudes, classes, coded, strict=True):
        for k in range(m + 1) if used else []:
            seen = counts.setdefault((c, k), [0.5, 0.5])
            bits -= math.log2(seen[int(m == k)] / sum(seen))
            seen[int(m == k)] += 1
    return bits


def test_the_size_is_the_length_of_an_adaptive_code():
    labels = rng.binomial(6, 0.3, size=200)
    size = quantize.coded_size(labels, levels=7, codebook_bits=7 * 32.0, scale_bits=16.0)
    np.testing.assert_allclose(size.labels + size.frequencies, sequential_bits(labels, 7), rtol=1e-12)
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    np.testing.assert_allclose(size.labels, -np.sum(counts * np.log2(counts / 200)), rtol=1e-12)
    total = size.labels + size.frequencies + size.codebook + size.scales + size.alphabet
    np.testing.assert_allclose(size.rate, total / 200, rtol=1e-14)
    np.testing.assert_allclose(size.fixed_rate, math.log2(7) + (7 * 32 + 16) / 200, rtol=1e-14)
    # Without the number of levels it is told.
    free = quantize.coded_size(labels - 3)
    np.testing.assert_allclose(free.labels + free.frequencies, sequential_bits(labels, labels.max() + 1), rtol=1e-12)
    assert free.alphabet == 32


def test_bits_of_classes_are_the_length_of_an_adaptive_code():
    magnitudes, classes = rng.geometric(0.4, size=150) - 1, rng.integers(-2, 3, size=150)
    magnitudes[7] = 40  # a gap of many questions
    coded = rng.uniform(size=150) < 0.8
    entropy, bits = adaptive_bits(jnp.asarray(magnitudes), jnp.asarray(classes), jnp.asarray(coded))
    np.testing.assert_allclose(bits, unary_bits(magnitudes, classes, coded), rtol=1e-12)
    wanted = 0.0
    for c in range(-2, 3):
        counts = np.bincount(magnitudes[(classes == c) & coded])
        counts = counts[counts > 0]
        wanted -= np.sum(counts * np.log2(counts / counts.sum()))
    np.testing.assert_allclose(entropy, wanted, rtol=1e-12)
    assert entropy <= bits
    nothing = adaptive_bits(jnp.asarray(magnitudes), jnp.asarray(classes), jnp.zeros(150, bool))
    assert nothing == (0, 0)


@KINDS
def test_every_bit_of_a_layer_is_counted(rows, columns):
    result = quantize.uniform(WEIGHTS, HEAVY, 1e-2, rows=rows, columns=columns)
    step = np.asarray(result.steps.rows * result.steps.columns)
    labels = np.abs(np.asarray(result.labels)).ravel()
    classes = np.round(2 * np.log2(step / step.min())).astype(int).ravel()
    always = np.ones(labels.size, bool)
    lengths = [unary_bits(labels, known, always) for known in (classes, 0 * classes)]
    np.testing.assert_allclose(
        result.size.labels + result.size.frequencies, min(lengths) + np.sum(labels > 0) + 1, rtol=1e-10
    )
    scales = 32.0
    for used, ratios in [(rows, result.steps.rows), (columns, result.steps.columns)]:
        if used:
            powers = np.round(2 * np.log2(ratios / ratios.min())).astype(int).ravel()
            scales += unary_bits(powers, 0 * powers, powers >= 0) + 1  # and whether the last code is no step
    np.testing.assert_allclose(result.size.scales, scales, rtol=1e-10)
    total = result.size.labels + result.size.frequencies + result.size.scales
    np.testing.assert_allclose(result.size.rate, total / WEIGHTS.size, rtol=1e-12)


def test_an_infinite_ratio_and_the_finite_one_of_the_same_code_are_told_apart_at_a_bit():
    w, every, fewer = np.ones((3, 4)), np.array([[4.0], [2.0], [1.0]]), np.array([[4.0], [2.0], [0.0]])
    finite, infinite = (quantize.uniform(w, i, 1e-6, rows=True) for i in (every, fewer))
    assert np.isfinite(finite.steps.rows).all() and np.isinf(infinite.steps.rows[2, 0])
    wanted = 32 + unary_bits([0, 1, 2], [0, 0, 0], [True] * 3) + 1
    np.testing.assert_allclose([finite.size.scales, infinite.size.scales], wanted, rtol=1e-12)


# One level for a model ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [long(0.3), 1.5, long(4.0)])
def test_the_rate_is_met_and_the_level_is_common(rate):
    weights = [WEIGHTS, 0.05 * WEIGHTS[:20, :10]]
    importance = [HEAVY, 50.0]
    found = quantize.uniform_at_rate(weights, importance, rate, rows=True, columns=True)
    assert rate - 0.03 < found.size.rate <= rate
    bits = 0.0
    for w, i, layer in zip(weights, importance, found.layers, strict=True):
        alone = quantize.uniform(w, i, found.level, rows=True, columns=True)
        np.testing.assert_array_equal(alone.labels, layer.labels)
        bits += float(alone.size.rate) * w.size
    np.testing.assert_allclose(found.size.rate, bits / sum(w.size for w in weights), rtol=1e-12)
    # The next finer level that was tried does not meet it.
    finer = [
        quantize.uniform(w, i, found.level * (1 - 1e-3), rows=True, columns=True).size.rate * w.size
        for w, i in zip(weights, importance, strict=True)
    ]
    assert sum(finer) / sum(w.size for w in weights) > rate - 0.01


@pytest.mark.long
def test_water_filling_beats_one_step_for_all_where_importances_differ():
    weights, importance = [WEIGHTS, WEIGHTS[:, :10]], [HEAVY, 100 * np.ones((40, 1))]
    errors = {}
    for name, given, kinds in [
        ("one step", [1.0, 1.0], {}),
        ("layers", importance, {}),
        ("rows", importance, {"rows": True}),
        ("rows and columns", importance, {"rows": True, "columns": True}),
    ]:
        found = quantize.uniform_at_rate(weights, given, 3.0, **kinds)
        assert found.size.rate <= 3.0
        errors[name] = sum(
            np.sum(i * (w - np.asarray(layer.weights_hat)) ** 2)
            for w, i, layer in zip(weights, importance, found.layers, strict=True)
        )
    assert errors["rows and columns"] < 0.6 * errors["rows"]
    assert errors["rows"] < 0.8 * errors["layers"]
    assert errors["layers"] < errors["one step"]


def test_with_even_importances_scales_of_rows_and_columns_are_only_a_burden():
    even = np.ones_like(WEIGHTS)
    plain = quantize.uniform_at_rate([WEIGHTS], [even], 2.0)
    burdened = quantize.uniform_at_rate([WEIGHTS], [even], 2.0, rows=True, columns=True)
    assert burdened.size.scales > plain.size.scales == 32
    assert burdened.layers[0].objective > plain.layers[0].objective


def test_jit_changes_nothing():
    assert_transforms_agree(
        lambda w, i: quantize.uniform(w, i, 1e-2, rows=True), np.stack([WEIGHTS, WEIGHTS[::-1]]), np.stack([HEAVY] * 2)
    )

    def call(w):
        return quantize.uniform_at_rate([w], [1.0], 2.0).layers[0].labels

    np.testing.assert_array_equal(jax.jit(call)(WEIGHTS), call(WEIGHTS))


def test_invalid_values_are_nan_in_compiled_code():
    assert np.isnan(jax.jit(lambda i: quantize.uniform(WEIGHTS, i, 1.0).weights_hat)(-HEAVY)).all()
    too_little = jax.jit(lambda rate: quantize.uniform_at_rate([WEIGHTS], [HEAVY], rate, rows=True).size.rate)
    assert np.isnan(too_little(0.001))
    assert too_little(1.0) <= 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quantize.steps(-IMPORTANCE, 1.0), "importance must be >= 0"),
        (lambda: quantize.steps(IMPORTANCE, 0.0), "level must be > 0"),
        (lambda: quantize.uniform(WEIGHTS, np.ones(7), 1.0), "importance must broadcast"),
        (lambda: quantize.uniform(WEIGHTS, HEAVY, 1.0, metric=np.eye(30)), "importance must be a number or of shape"),
        (lambda: quantize.uniform(WEIGHTS, 1.0, 1.0, metric=np.eye(3)), "metric must be \\(30, 30\\)"),
        (lambda: quantize.uniform(WEIGHTS[0], 1.0, 1.0), "weights must be a matrix"),
        (lambda: quantize.uniform_at_rate([WEIGHTS], [1.0, 1.0], 1.0), "one entry for each layer, got 1, 2 and 1"),
        (lambda: quantize.uniform_at_rate([WEIGHTS], [1.0], 0.0), "rate must be > 0"),
        (lambda: quantize.uniform_at_rate([WEIGHTS], [HEAVY], 0.01, rows=True), "rate must be at least"),
        (
            lambda: quantize.uniform_at_rate([WEIGHTS * 1e-42], [1.0], 8.0),
            "weights of layer 0 are at most .*e-42.*scale",
        ),
        (
            lambda: quantize.uniform_at_rate([WEIGHTS * 1e-37], [1.0], 8.0),
            "weights of layer 0 are at most .*e-3.*scale",
        ),
        (
            lambda: quantize.uniform_at_rate([WEIGHTS * 1e42], [1.0], 8.0),
            "weights of layer 0 are at most .*e\\+42.*scale",
        ),
        (lambda: quantize.uniform(WEIGHTS, 1.0, 1e-90), "weights of layer 0 are at most .*float32"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, message):
    with pytest.raises(ValueError, match=message):
        call()
