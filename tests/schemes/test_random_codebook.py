import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import beta, chi2, kstest, ncx2, norm, uniform

from rdtheory import closed_form, gaussian_channel, linear, random_codebook
from tests.transforms import assert_close, stack

KEY = jax.random.key(5)


# Oracles: given the weights, codewords are independent, so all of N miss D with probability (1 - p)^N ----------------


def hit(n, powers, D, variance, spherical):
    """P(|x - Y|² <= n D) for each |x|² of `powers`."""
    if not spherical:
        return ncx2.cdf(n * D / variance, n, powers / variance)
    radius = math.sqrt(n * variance)
    cosine = (powers + radius**2 - n * D) / (2 * np.sqrt(powers) * radius)
    return beta.cdf((1 - np.clip(cosine, -1, 1)) / 2, (n - 1) / 2, (n - 1) / 2)


def excess(n, codewords, D, variance, spherical, points=1000):
    powers = chi2.ppf((np.arange(points) + 0.5) / points, n)
    return np.mean(np.exp(codewords * np.log1p(-np.minimum(hit(n, powers, D, variance, spherical), 1 - 1e-16))))


def mean_distortion(n, codewords, variance, spherical):
    nodes, node_weights = np.polynomial.legendre.leggauss(60)  # the chance of more than 6 is nothing
    return sum(3 * node_weights * [excess(n, codewords, 3 * (1 + x), variance, spherical) for x in nodes])


def codewords_needed(n, D, variance, spherical, probability):
    return brentq(lambda bits: excess(n, 2.0**bits, D, variance, spherical) - probability, 0, 60)


# One codebook --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("codewords", "spherical"), [(40, False), (random_codebook.PIECE + 404, True)], ids=str)
def test_the_nearest_is_found(codewords, spherical):
    weights, variances, inputs = jnp.array([0.7, -1.9]), jnp.array([0.5, 2.0]), jnp.array([3.0, 0.4])
    book = jax.vmap(lambda i: random_codebook.decode(KEY, i, variances, spherical=spherical))(jnp.arange(codewords))
    distances = np.sum(np.asarray(inputs) * (np.asarray(weights) - np.asarray(book)) ** 2, axis=1)
    found = random_codebook.encode(KEY, weights, variances, inputs, codewords, spherical=spherical)
    assert found.index == np.argmin(distances)
    np.testing.assert_allclose(found.distortion, distances.min(), rtol=1e-12)


def test_codewords_have_the_law_asked_for():
    variances = np.array([0.5, 2.0, 1.0])
    numbers = jnp.arange(20_000)
    book = np.asarray(jax.vmap(lambda i: random_codebook.decode(KEY, i, variances))(numbers))
    for column, variance in zip(book.T, variances, strict=True):
        assert kstest(column, norm(0, math.sqrt(variance)).cdf).pvalue > 1e-3
    assert np.all(np.abs(np.corrcoef(book.T) - np.eye(3)) < 4 / math.sqrt(len(book)))
    book = np.asarray(jax.vmap(lambda i: random_codebook.decode(KEY, i, variances, spherical=True))(numbers))
    np.testing.assert_allclose(np.sum(book**2 / variances, axis=1), 3.0, rtol=1e-12)
    fewer = random_codebook.decode(KEY, 0, np.array([0.5, 0.0, 2.0]), spherical=True)
    np.testing.assert_allclose([fewer[0] ** 2 / 0.5 + fewer[2] ** 2 / 2, fewer[1]], [2.0, 0.0], rtol=1e-12)
    for column, variance in zip(book.T, variances, strict=True):
        assert kstest(column / math.sqrt(3 * variance), uniform(-1, 2).cdf).pvalue > 1e-3  # Archimedes


def test_another_key_is_another_codebook():
    ones = jnp.ones(4)
    first = random_codebook.decode(KEY, 7, ones)
    np.testing.assert_array_equal(first, random_codebook.decode(KEY, 7, ones))
    assert jnp.all(first != random_codebook.decode(jax.random.key(6), 7, ones))
    assert jnp.all(first != random_codebook.decode(KEY, 8, ones))


def test_a_million_codewords_are_never_held():
    ones, codewords = jnp.ones(10), 2**20
    encode = jax.jit(lambda w: random_codebook.encode(KEY, w, 0.75 * ones, ones / 10, codewords)).lower(ones).compile()
    piece = random_codebook.PIECE * 10 * 8  # bytes
    assert encode.memory_analysis().temp_size_in_bytes < 5 * piece < codewords * 10 * 8 / 50
    as_near = hit(10, np.array([10.0]), float(encode(ones).distortion), 0.75, False)[0] * codewords
    assert 1e-3 < as_near < 10  # codewords expected to be as near: exponential with mean one


# Over weights and codebooks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lengths", "spherical"),
    [
        ((8,), False),
        pytest.param((2, 4, 6, 8, 10), False, marks=pytest.mark.long),
        pytest.param((2, 4, 6, 8, 10), True, marks=pytest.mark.long),
    ],
    ids=["Gaussian, 8", "Gaussian", "spherical"],
)
def test_mean_distortion_is_the_exact_one_and_its_excess_falls_with_the_length(lengths, spherical):
    above = []
    for n in lengths:
        ones = jnp.ones(n)
        result = random_codebook.measure(
            KEY, ones, 0.75 * ones, ones / n, 2**n, codebooks=200, vectors=40, spherical=spherical
        )
        assert result.rate == n
        assert abs(result.distortion - mean_distortion(n, 2**n, 0.75, spherical)) < 4 * result.standard_error
        assert result.standard_error < 0.05 * result.distortion
        assert closed_form.gaussian(1.0, result.distortion) < 1  # the sandwich
        above.append(float(result.distortion) - 0.25)
    assert all(a > 1.15 * b for a, b in itertools.pairwise(above))


@pytest.mark.long
def test_the_standard_error_is_that_of_the_mean():
    ones = jnp.ones(2)
    runs = jax.vmap(lambda key: random_codebook.measure(key, ones, 0.75 * ones, ones / 2, 4, codebooks=20, vectors=30))(
        jax.random.split(KEY, 300)
    )
    np.testing.assert_allclose(jnp.mean(runs.standard_error**2), jnp.var(runs.distortion, ddof=1), rtol=0.3)


@pytest.mark.parametrize(
    ("D", "probability", "spherical"),
    [(0.4, 0.25, True), pytest.param(0.25, 0.1, False, marks=pytest.mark.long)],
    ids=["spherical", "Gaussian"],
)
def test_the_rate_for_an_excess_is_the_exact_one(D, probability, spherical):
    n, ones = 4, jnp.ones(4)
    result = random_codebook.rate_for_excess(
        KEY, ones, (1 - D) * ones, ones / n, D, probability, trials=1500, limit=2**12, spherical=spherical
    )
    exact = codewords_needed(n, D, 1 - D, spherical, probability)
    assert result.low < result.rate < result.high
    assert abs(result.rate - exact) < result.high - result.low  # four standard errors
    assert exact > n * closed_form.gaussian(1.0, D)


@pytest.mark.long
def test_the_interval_holds_the_exact_rate_as_often_as_it_says():
    ones, exact = jnp.ones(2), codewords_needed(2, 0.4, 0.6, False, 0.2)
    runs = jax.vmap(
        lambda key: random_codebook.rate_for_excess(key, ones, 0.6 * ones, ones / 2, 0.4, 0.2, trials=100, limit=2**12)
    )(jax.random.split(KEY, 200))
    share = np.mean((runs.low <= exact) & (exact <= runs.high))
    assert share > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 200)


def test_weights_beyond_the_sphere_are_missed_by_every_codebook():
    ones = jnp.ones(4)  # one in nine is farther than √D + √(1 - D) from the origin
    result = random_codebook.rate_for_excess(
        KEY, ones, 0.75 * ones, ones / 4, 0.25, 0.1, trials=1500, limit=2**12, spherical=True
    )
    assert chi2.sf(4 * (0.5 + math.sqrt(0.75)) ** 2, 4) > 0.1
    assert result.rate == result.high == np.inf


def test_too_small_a_limit_is_seen_as_an_infinite_rate():
    ones = jnp.ones(4)
    result = random_codebook.rate_for_excess(KEY, ones, ones, ones, 1e-6, 0.5, trials=10, limit=10)
    assert result.rate == result.high == np.inf
    few = random_codebook.rate_for_excess(KEY, ones, ones, ones, 100.0, 0.01, trials=10, limit=10)
    assert few.high == np.inf  # ten trials say nothing about one in a hundred


# The linear model ----------------------------------------------------------------------------------------------------

WEIGHTS, INPUTS, D = np.array([2.0, 1.0, 0.5, 0.3]), np.array([1.0, 2.0, 0.3, 0.8]), 1.2


def test_a_linear_model_is_described_above_its_limit():
    channel = gaussian_channel.optimal(np.diag(WEIGHTS), np.diag(INPUTS), D)
    codeword_variances = WEIGHTS * np.diagonal(channel.gain)  # σ² - D
    limit = linear.rate(np.diag(WEIGHTS), np.diag(INPUTS), D)
    assert np.sum(codeword_variances == 0) >= 1  # some weight is below the water
    bits = math.ceil(limit.rate)
    result = random_codebook.measure(KEY, WEIGHTS, codeword_variances, INPUTS, 2**bits, codebooks=800, vectors=20)
    assert linear.rate(np.diag(WEIGHTS), np.diag(INPUTS), result.distortion - 4 * result.standard_error).rate < bits
    assert result.distortion < np.sum(WEIGHTS * INPUTS)  # better than sending nothing
    # Codewords of the same total power that ignore the water level do worse.
    flat = WEIGHTS * np.sum(INPUTS * codeword_variances) / np.sum(INPUTS * WEIGHTS)
    worse = random_codebook.measure(KEY, WEIGHTS, flat, INPUTS, 2**bits, codebooks=800, vectors=20)
    assert worse.distortion - result.distortion > 4 * math.hypot(result.standard_error, worse.standard_error)


def test_units_of_the_inputs_do_not_matter():
    scale, w, v = jnp.array([3.0, 0.2]), jnp.array([0.3, -1.0]), jnp.array([0.5, 0.7])
    plain = random_codebook.encode(KEY, w, v, jnp.ones(2), 40)
    scaled = random_codebook.encode(KEY, scale * w, scale**2 * v, 1 / scale**2, 40)
    assert plain.index == scaled.index
    np.testing.assert_allclose(plain.distortion, scaled.distortion, rtol=1e-12)


# Transformations and errors ------------------------------------------------------------------------------------------


def test_jit_and_vmap_change_nothing_and_an_invalid_item_is_nan():
    def there_and_back(key, w, v, a):
        found = random_codebook.encode(key, w, v, a, 40)
        return found, random_codebook.decode(key, found.index, v)

    keys, w = jax.random.split(KEY, 5), np.random.default_rng(0).normal(size=(5, 2))
    v, a = np.full((5, 2), [0.5, 1.0]), np.full((5, 2), [1.0, 0.0])
    wanted = stack([there_and_back(*item) for item in zip(keys, w, v, a, strict=True)])
    together = jax.jit(jax.vmap(there_and_back))
    assert_close(together(keys, w, v, a), wanted, rtol=1e-11)
    w[1], v[2], a[3] = np.nan, -1.0, -1.0
    spoiled = jax.device_get(together(keys, w, v, a))
    assert np.isnan(np.asarray(spoiled[0].distortion)[1:4]).all()
    others = np.array([0, 4])
    assert_close(*(jax.tree.map(lambda leaf: leaf[others], x) for x in (spoiled, wanted)), rtol=1e-11)


TWO = np.ones(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_codebook.encode(KEY, TWO, np.ones(3), TWO, 4), "codeword_variances must have shape"),
        (lambda: random_codebook.encode(KEY, TWO, TWO, np.ones(3), 4), "input_variances must have shape"),
        (lambda: random_codebook.encode(KEY, TWO, -TWO, TWO, 4), "codeword_variances must be >= 0"),
        (lambda: random_codebook.encode(KEY, TWO, TWO, -TWO, 4), "input_variances must be >= 0"),
        (lambda: random_codebook.encode(KEY, TWO, TWO, TWO, 0), "codewords must be a whole number"),
        (lambda: random_codebook.encode(KEY, TWO, TWO, TWO, 2**30 + 1), "codewords must be a whole number"),
        (lambda: random_codebook.decode(KEY, 0, -TWO), "codeword_variances must be >= 0"),
        (
            lambda: random_codebook.measure(KEY, -TWO, TWO, TWO, 4, codebooks=2, vectors=2),
            "weight_variances must be >= 0",
        ),
        (
            lambda: random_codebook.measure(KEY, TWO, TWO, TWO, 4, codebooks=1, vectors=2),
            "codebooks must be .* least 2",
        ),
        (lambda: random_codebook.measure(KEY, TWO, TWO, TWO, 4, codebooks=2, vectors=0), "vectors must be .* least 1"),
        (
            lambda: random_codebook.measure(KEY, TWO, TWO, TWO, 0, codebooks=2, vectors=2),
            "codewords must be .* least 1",
        ),
        (
            lambda: random_codebook.rate_for_excess(KEY, TWO, TWO, TWO, 1.0, 0.1, trials=0, limit=2),
            "trials must be .* at least 1",
        ),
        (
            lambda: random_codebook.rate_for_excess(KEY, TWO, TWO, TWO, 1.0, 0.1, trials=2, limit=0),
            "limit must be .* at least 1",
        ),
        (
            lambda: random_codebook.rate_for_excess(KEY, TWO, TWO, TWO, 1.0, 0.1, trials=2, limit=2**30 + 1),
            "limit must be .* at most",
        ),
        (
            lambda: random_codebook.rate_for_excess(KEY, TWO, TWO, TWO, 1.0, 1.0, trials=2, limit=2),
            "probability must be in",
        ),
        (
            lambda: random_codebook.rate_for_excess(KEY, TWO, TWO, TWO, -1.0, 0.1, trials=2, limit=2),
            "distortion must be >= 0",
        ),
    ],
)
def test_what_is_wrong_is_named(as_user, call, message):
    with pytest.raises(ValueError, match=message):
        call()
