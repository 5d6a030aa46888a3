import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from rdtheory import closed_form, sparse_regression
from tests.transforms import assert_close, stack

L, M, N = 8, 16, 12
COEFFICIENTS = sparse_regression.coefficients(L, M, N, 1.0)
KEY = jax.random.key(3)


def design(key):
    """The matrix, section by section: a codeword of which all coefficients but one are zero is a column."""
    return np.array(
        [[sparse_regression.decode(key, np.full(L, j), np.eye(L)[i], N) for j in range(M)] for i in range(L)]
    )


def mean_of_maximum(m, power=1, draws=2_000_000):
    """By inversion of the distribution of the largest, on the midpoints of as many equal probabilities."""
    return float(np.mean(norm.ppf(((np.arange(draws) + 0.5) / draws) ** (1 / m)) ** power))


def test_the_encoder_is_the_one_of_the_paper_and_the_decoder_leaves_what_it_left():
    columns = design(KEY)
    for seed in range(5):
        source = np.random.default_rng(seed).normal(size=N)
        residual, wanted = source, []
        for section, c in zip(columns, np.asarray(COEFFICIENTS), strict=True):
            wanted.append(int(np.argmax(section @ (residual / np.linalg.norm(residual)))))
            residual = residual - c * section[wanted[-1]]
        indices = sparse_regression.encode(KEY, source, COEFFICIENTS, M)
        np.testing.assert_array_equal(indices, wanted)
        codeword = sparse_regression.decode(KEY, indices, COEFFICIENTS, N)
        np.testing.assert_allclose(codeword, source - residual, rtol=0, atol=1e-13)


def test_columns_are_standard_normal_and_differ():
    columns = design(KEY).ravel()
    assert len(np.unique(columns)) == L * M * N
    assert abs(columns.mean()) < 4 / math.sqrt(len(columns))
    assert abs((columns**2).mean() - 1) < 4 * math.sqrt(2 / len(columns))


def test_another_key_is_another_code():
    source = np.random.default_rng(0).normal(size=N)
    indices = sparse_regression.encode(KEY, source, COEFFICIENTS, M)
    np.testing.assert_array_equal(indices, sparse_regression.encode(KEY, source, COEFFICIENTS, M))
    other = jax.random.key(4)
    assert jnp.any(indices != sparse_regression.encode(other, source, COEFFICIENTS, M))
    right, wrong = (sparse_regression.decode(key, indices, COEFFICIENTS, N) for key in (KEY, other))
    assert np.mean((source - right) ** 2) < 0.3 * np.mean(source**2) < np.mean((source - wrong) ** 2)


@pytest.mark.parametrize(("sections", "size", "wanted"), [(100, 512, 900), (3, 5, 7), (1, 1, 0), (7, 2**20, 140)])
def test_bits(sections, size, wanted):
    assert sparse_regression.bits(sections, size) == wanted == math.ceil(round(sections * math.log2(size), 9))


def test_coefficients_are_those_of_the_paper():
    sections, size, n, variance = 30, 256, 240, 2.5
    R = sections * math.log(size) / n  # nats
    wanted = [math.sqrt(2 * R * variance / sections * (1 - 2 * R / sections) ** i) for i in range(sections)]
    np.testing.assert_allclose(sparse_regression.coefficients(sections, size, n, variance), wanted, rtol=1e-13)


@pytest.mark.parametrize(("m", "wanted"), [(1, 0.0), (2, 1 / math.sqrt(math.pi)), (3, 1.5 / math.sqrt(math.pi))])
def test_matched_coefficients_start_from_the_mean_of_the_largest(m, wanted):
    first = sparse_regression.coefficients(1, m, 50, 1.0, matched=True)[0]
    np.testing.assert_allclose(first * math.sqrt(50), wanted, rtol=1e-13, atol=1e-13)


def test_one_section_leaves_exactly_what_is_predicted():
    n, size, trials = 24, 16, 20_000
    c = sparse_regression.coefficients(1, size, n, 1.0)

    def error(key):
        code, draw = jax.random.split(key)
        source = jax.random.normal(draw, (n,))
        found = sparse_regression.decode(code, sparse_regression.encode(code, source, c, size), c, n)
        return jnp.mean((source - found) ** 2) + 2 * c[0] * (jnp.linalg.norm(source) / math.sqrt(n) - 1) * excess

    # The source's own length has mean below √n: its part of the prediction is put right, so that the rest is exact.
    excess = mean_of_maximum(size) / math.sqrt(n)
    errors = np.asarray(jax.jit(lambda keys: jax.lax.map(error, keys))(jax.random.split(jax.random.key(0), trials)))
    predicted = sparse_regression.predicted_distortion(c, size, n, 1.0)
    assert abs(errors.mean() - predicted) < 4 * errors.std() / math.sqrt(trials)
    wanted = 1 + c[0] ** 2 * (1 + (mean_of_maximum(size, 2) - 1) / n) - 2 * c[0] * excess
    np.testing.assert_allclose(predicted, wanted, rtol=1e-6)


LENGTH, BLOCKS = 240, 150


@pytest.mark.parametrize(
    "exponents", [(8,), pytest.param((4, 6, 8, 10, 12), marks=pytest.mark.long)], ids=["one size", "five sizes"]
)
def test_larger_dictionaries_come_closer_to_the_limit_as_predicted(exponents):
    gaps, errors = [], []
    for exponent in exponents:
        sections, size = LENGTH // exponent, 2**exponent
        result = sparse_regression.measure(jax.random.key(0), sections, size, LENGTH, blocks=BLOCKS)
        assert result.rate == 1
        c = sparse_regression.coefficients(sections, size, LENGTH, 1.0)
        predicted = sparse_regression.predicted_distortion(c, size, LENGTH, 1.0)
        assert abs(result.distortion - predicted) < 4 * result.standard_error + 3 / LENGTH
        gaps.append(float(result.rate - closed_form.gaussian(1.0, result.distortion)))
        errors.append(float(result.standard_error / result.distortion / 2 / math.log(2)))
    assert all(a - b > 2 * math.hypot(e, f) for a, b, e, f in zip(gaps, gaps[1:], errors, errors[1:], strict=False))
    assert gaps[-1] > 0  # the sandwich


def test_the_gap_falls_like_log_log_over_log():
    ratios = []
    for exponent in (10, 20, 30, 40):
        n, log_size = 400 * exponent, exponent * math.log(2)  # one bit per symbol
        c = sparse_regression.coefficients(400, 2**exponent, n, 1.0, matched=True)
        gap = 1 + 0.5 * math.log2(sparse_regression.predicted_distortion(c, 2**exponent, n, 1.0))
        ratios.append(gap / ((math.log(4 * math.pi * log_size) - 2 * np.euler_gamma) / (2 * log_size)))
    np.testing.assert_allclose(ratios, 1, rtol=0.03)


@pytest.mark.parametrize("bits", [1, 4])
def test_matched_coefficients_are_predicted_to_leave_less(bits):
    left = [
        sparse_regression.predicted_distortion(
            sparse_regression.coefficients(100 * bits, 256, 800, 1.0, matched=matched), 256, 800, 1.0
        )
        for matched in (False, True)
    ]
    assert 4.0**-bits < left[1] < left[0]


@pytest.mark.long
def test_a_source_that_is_not_gaussian_is_described_as_well():
    c = sparse_regression.coefficients(40, 64, LENGTH, 1.0)
    predicted = sparse_regression.predicted_distortion(c, 64, LENGTH, 1.0)
    rng = np.random.default_rng(0)
    shape = BLOCKS, LENGTH
    draws = [rng.uniform(-math.sqrt(3), math.sqrt(3), shape), rng.choice([-1.0, 1.0], shape)]
    sources = np.stack(draws).reshape(-1, LENGTH)
    indices = jax.vmap(lambda s: sparse_regression.encode(KEY, s, c, 64))(sources)
    found = np.asarray(jax.vmap(lambda m: sparse_regression.decode(KEY, m, c, LENGTH))(indices))
    for errors in np.mean((sources - found) ** 2, axis=1).reshape(2, BLOCKS):
        assert abs(errors.mean() - predicted) < 4 * errors.std() / math.sqrt(BLOCKS) + 3 / LENGTH


def test_the_encoder_holds_one_section_at_a_time():
    sections, size, n = 64, 128, 96
    shapes = jax.ShapeDtypeStruct((n,), float), jax.ShapeDtypeStruct((sections,), float)
    encode = jax.jit(lambda s, c: sparse_regression.encode(KEY, s, c, size))
    memory = encode.lower(*shapes).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 6 * size * n * 8 < sections * size * n * 8


def test_jit_and_vmap_change_nothing_and_an_invalid_item_is_nan():
    def there_and_back(source, variance):
        c = sparse_regression.coefficients(L, M, N, variance)
        indices = sparse_regression.encode(KEY, source, c, M)
        left = sparse_regression.predicted_distortion(c, M, N, variance)
        return indices, sparse_regression.decode(KEY, indices, c, N), left

    sources, variances = np.random.default_rng(1).normal(size=(3, N)), np.array([1.0, 2.0, 3.0])
    wanted = stack([there_and_back(*item) for item in zip(sources, variances, strict=True)])
    together = jax.jit(jax.vmap(there_and_back))
    assert_close(together(sources, variances), wanted)
    spoiled = jax.device_get(together(sources, np.array([1.0, -2.0, 3.0])))
    assert all(np.isnan(leaf[1]).all() for leaf in spoiled[1:])
    assert_close(*(jax.tree.map(lambda leaf: leaf[np.array([0, 2])], x) for x in (spoiled, wanted)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sparse_regression.coefficients(3, 1000, 13, 1.0), "length must be above 2 ln"),
        (lambda: sparse_regression.coefficients(3, 16, 12, -1.0), "variance must be >= 0"),
        (lambda: sparse_regression.coefficients(0, 16, 12, 1.0), "sections must be a whole number"),
        (lambda: sparse_regression.encode(KEY, np.ones((2, 3)), np.ones(2), 4), "source must be a vector"),
        (lambda: sparse_regression.encode(KEY, np.full(3, np.nan), np.ones(2), 4), "source must be finite"),
        (lambda: sparse_regression.encode(KEY, np.ones(3), np.ones(2), 0), "section_size must be a whole number"),
        (lambda: sparse_regression.bits(0, 4), "sections must be .* at least 1"),
        (lambda: sparse_regression.decode(KEY, np.zeros(2, int), np.ones(2), 0), "length must be .* at least 1"),
        (lambda: sparse_regression.decode(KEY, np.zeros(3, int), np.ones(2), 4), "indices must be 2 whole numbers"),
        (lambda: sparse_regression.decode(KEY, np.zeros(2), np.ones(2), 4), "indices must be 2 whole numbers"),
        (lambda: sparse_regression.measure(KEY, 3, 16, 12, blocks=1), "blocks must be a whole number, at least 2"),
        (lambda: sparse_regression.measure(KEY, 0, 16, 12, blocks=2), "sections must be .* at least 1"),
        (lambda: sparse_regression.measure(KEY, 3, 0, 12, blocks=2), "section_size must be .* at least 1"),
        (lambda: sparse_regression.measure(KEY, 3, 16, 0, blocks=2), "length must be .* at least 1"),
        (lambda: sparse_regression.bits(3, 0), "section_size must be .* at least 1"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, message):
    with pytest.raises(ValueError, match=message):
        call()
