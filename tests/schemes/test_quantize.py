import itertools
import time

import jax
import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from rdtheory import golden_rules, quantize
from rdtheory.schemes.quantize import exact_kmeans
from tests import oracles
from tests.transforms import assert_close, assert_only_bad_items_are_nan, assert_transforms_agree

rng = np.random.default_rng(4)
SMALL = [(k, rng.normal(size=n), rng.uniform(0.01, 3.0, size=n)) for n in range(1, 9) for k in range(1, n + 1)]
BATCH, BATCH_IMPORTANCE = rng.normal(size=(2, 5, 8)), rng.uniform(0.1, 2.0, size=(2, 5, 8))


def brute_force(values, levels, cost):
    """Least over all divisions of the sorted values into `levels` runs of the sum of cost(run)."""
    order = np.argsort(values)
    ends = itertools.combinations(range(1, len(values)), levels - 1)
    return min(sum(cost(part) for part in np.split(order, list(cut))) for cut in ends)


def quartic_least(values, a, b):
    """Least Σ a (w - c)² + b (w - c)⁴ by a search that knows no cubic."""
    if np.ptp(values) == 0:
        return 0.0
    found = minimize_scalar(
        lambda c: np.sum(a * (values - c) ** 2 + b * (values - c) ** 4),
        bounds=(values.min(), values.max()),
        method="bounded",
        options={"xatol": 1e-12},
    )
    return found.fun


def assert_consistent(found, values, importance):
    """Labels are nearest values, the codebook ascends, and the objective is what it says."""
    codebook, values = np.asarray(found.codebook), np.asarray(values)
    assert (np.diff(codebook) >= 0).all()
    error = np.abs(values - codebook[found.labels])
    np.testing.assert_array_equal(error, np.abs(values[..., None] - codebook).min(axis=-1))
    np.testing.assert_allclose(found.objective, np.sum(importance * error**2), rtol=1e-12, atol=1e-30)


def assert_consistent_cells(found, values, importance):
    """The same for many weights: bounds of the cells instead of all distances, and each value the mean of its cell."""
    codebook, labels = np.asarray(found.codebook), np.asarray(found.labels)
    np.testing.assert_array_equal(labels, np.searchsorted((codebook[1:] + codebook[:-1]) / 2, values))
    np.testing.assert_allclose(
        codebook, np.bincount(labels, importance * values) / np.bincount(labels, importance), rtol=1e-10
    )


# The exact codebook ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("levels", "values", "importance"), SMALL)
def test_the_exact_codebook_is_the_best_of_all_partitions(levels, values, importance):
    found = quantize.kmeans(values, levels, importance)
    cells = np.eye(levels)[np.array(oracles.partitions(len(values), levels))]  # of any kind, not only into intervals
    means = np.einsum("pnl,n->pl", cells, importance * values) / np.einsum("pnl,n->pl", cells, importance)
    best = np.sum(importance * (np.einsum("pnl,pl->pn", cells, means) - values) ** 2, axis=1).min()
    np.testing.assert_allclose(found.objective, best, rtol=1e-11, atol=1e-28)
    assert_consistent(found, values, importance)


@pytest.mark.parametrize("chunk", [1, 3, 1 << 15])
def test_pieces_of_the_candidates_do_not_change_the_answer(chunk, monkeypatch):
    monkeypatch.setattr(exact_kmeans, "CHUNK", chunk)
    for seed in range(20):
        local = np.random.default_rng(seed)
        n = int(local.integers(2, 14))
        levels = int(local.integers(1, n + 1))
        values, importance = local.normal(size=n), local.uniform(0.01, 2.0, size=n)

        def cost(part, values=values, importance=importance):
            mean = np.average(values[part], weights=importance[part])
            return np.sum(importance[part] * (values[part] - mean) ** 2)

        found = quantize.kmeans(values, levels, importance)
        np.testing.assert_allclose(found.objective, brute_force(values, levels, cost), rtol=1e-10, atol=1e-28)


def test_the_quadratic_dynamic_program_agrees_on_hundreds_of_weights():
    values = np.sort(rng.standard_t(3, size=300))
    importance = rng.uniform(size=300) ** 4
    a = np.concatenate([[0], np.cumsum(importance)])
    b = np.concatenate([[0], np.cumsum(importance * values)])
    c = np.concatenate([[0], np.cumsum(importance * values**2)])
    with np.errstate(all="ignore"):
        cost = (c[None, :] - c[:, None]) - (b[None, :] - b[:, None]) ** 2 / (a[None, :] - a[:, None])
    cost = np.where(np.arange(301)[:, None] < np.arange(301), cost, np.inf)
    least = cost[0]
    for levels in range(2, 12):
        least = np.min(least[:, None] + cost, axis=0)  # every start of the last cell is tried
        np.testing.assert_allclose(quantize.kmeans(values, levels, importance).objective, least[300], rtol=1e-9)


def test_lloyd_is_never_better_and_from_an_even_start_often_worse():
    worse = 0
    for seed in range(20):
        values = np.random.default_rng(seed).laplace(size=400)
        best = quantize.kmeans(values, 8)
        quantile = np.quantile(values, (np.arange(8) + 0.5) / 8)
        for start in [None, quantile]:
            found = quantize.lloyd(values, 8, start=start)
            assert found.converged
            assert found.objective >= best.objective * (1 - 1e-12)
            assert_consistent(found, values, 1.0)
        worse += quantize.lloyd(values, 8).objective > 1.01 * best.objective
    assert worse >= 5


def test_lloyd_stays_at_the_exact_codebook():
    values, importance = rng.normal(size=200), rng.uniform(0.1, 2.0, size=200)
    best = quantize.kmeans(values, 6, importance)
    found = quantize.lloyd(values, 6, importance, start=best.codebook)
    np.testing.assert_allclose(found.codebook, best.codebook, rtol=1e-12)
    assert found.steps == 1


def test_lloyd_says_when_it_was_cut_off():
    values = rng.normal(size=1000)
    short, long = quantize.lloyd(values, 16, max_steps=2), quantize.lloyd(values, 16)
    assert not short.converged
    assert short.steps == 2
    assert long.converged
    assert long.objective < short.objective


def test_the_weighted_means_of_the_cells_keep_the_first_golden_rule_and_plain_means_do_not():
    values, importance = rng.normal(size=100), rng.uniform(size=100) ** 3
    for found in [quantize.kmeans(values, 5, importance), quantize.lloyd(values, 5, importance)]:
        residual = golden_rules.residuals(values, found.codebook[found.labels], importance)
        np.testing.assert_allclose(residual.cosine, 0, atol=1e-12)
    plain = quantize.kmeans(values, 5)
    assert abs(golden_rules.residuals(values, plain.codebook[plain.labels], importance).cosine) > 1e-4


def test_as_many_levels_as_weights_or_more_lose_nothing():
    values = np.array([[3.0, 1.0], [1.0, 2.0]])
    for levels in [3, 4, 7]:
        found = quantize.kmeans(values, levels)
        assert found.objective == 0
        np.testing.assert_array_equal(found.codebook[found.labels], values)
        np.testing.assert_array_equal(found.codebook, [1.0, 2.0, *[3.0] * (levels - 2)])


def test_equal_weights_are_one_weight_of_their_importance_together():
    values, importance = np.array([0.0, 1.0, 1.0, 1.0, 4.0, 5.0]), np.array([1.0, 0.5, 0.2, 0.3, 2.0, 1.0])
    once = quantize.kmeans(np.array([0.0, 1.0, 4.0, 5.0]), 2, np.array([1.0, 1.0, 2.0, 1.0]))
    found = quantize.kmeans(values, 2, importance)
    np.testing.assert_allclose(found.codebook, once.codebook, rtol=1e-15)
    np.testing.assert_allclose(found.objective, once.objective, rtol=1e-14)
    np.testing.assert_array_equal(found.labels, [0, 0, 0, 0, 1, 1])


def test_weights_of_no_importance_do_not_count_and_get_the_nearest_value():
    values, importance = np.array([0.0, 0.1, 50.0, 1.0, 1.1]), np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    for found in [
        quantize.kmeans(values, 2, importance),
        quantize.lloyd(values, 2, importance, start=np.array([0.0, 1.0])),
    ]:
        np.testing.assert_allclose(found.codebook, [0.05, 1.05], rtol=1e-13)
        np.testing.assert_array_equal(found.labels, [0, 0, 1, 1, 1])
    nothing = quantize.kmeans(values, 2, np.zeros(5))
    np.testing.assert_array_equal(nothing.codebook, quantize.kmeans(values, 2).codebook)
    assert nothing.objective == 0


@pytest.mark.parametrize("shift", [0.0, 1e3, -1e8])
@pytest.mark.parametrize("scale", [1e-100, 1e-8, 1.0, 1e100])
def test_units_and_origin_do_not_change_the_labels(scale, shift):
    local = np.random.default_rng(0)
    values, importance = local.integers(0, 1000, size=200) / 8, local.uniform(0.1, 1.0, size=200)
    wanted = quantize.kmeans(values, 7, importance)
    for unit in [1e-200, 1.0, 1e80]:
        found = quantize.kmeans(scale * (values + shift), 7, unit * importance)
        np.testing.assert_array_equal(found.labels, wanted.labels)
        np.testing.assert_allclose(found.codebook, scale * (wanted.codebook + shift), rtol=1e-13)


def test_importances_at_the_end_of_the_range_of_numbers_are_no_others():
    values = np.arange(6.0)
    for unit in [1e308, 1e300, 1e-290]:
        found = quantize.kmeans(values, 2, np.full(6, unit))
        np.testing.assert_array_equal(found.codebook, [1.0, 4.0])
        np.testing.assert_array_equal(found.labels, [0, 0, 0, 1, 1, 1])
        assert found.objective == pytest.approx(4 * unit, rel=1e-14) or (unit == 1e308 and np.isinf(found.objective))
    doubled = quantize.kmeans(np.repeat(values, 2), 2, np.full(12, 1e308))
    np.testing.assert_array_equal(doubled.codebook, [1.0, 4.0])
    np.testing.assert_array_equal(quantize.lloyd(values, 2, np.full(6, 1e308)).codebook, [1.0, 4.0])


def test_values_of_squares_that_are_no_numbers_are_refused_or_nan():
    far = 1e308 * np.linspace(-1.0, 1.0, 6)
    for call in [quantize.kmeans, quantize.lloyd, lambda w, levels: quantize.entropy_constrained(w, levels, 1.0)]:
        with pytest.raises(ValueError, match="values must be at most 3.4e\\+153 in absolute value.*scale them down"):
            call(far, 2)
    assert np.isnan(jax.jit(lambda w: quantize.lloyd(w, 2).codebook)(far)).all()
    np.testing.assert_allclose(quantize.lloyd(np.array([-3e153, 3e153]), 2).codebook, [-3e153, 3e153])


def test_a_far_origin_does_not_hide_small_differences():
    """Running sums about zero would lose all digits here."""
    small = rng.integers(0, 10**6, size=400) * 2.0**-30
    near, far = quantize.kmeans(small, 8), quantize.kmeans(small + 1e6, 8)
    np.testing.assert_array_equal(near.labels, far.labels)


@pytest.mark.long
def test_a_million_weights_at_sixteen_levels():
    values, importance = rng.normal(size=10**6), rng.uniform(0.1, 2.0, size=10**6)
    start = time.process_time()
    found = quantize.kmeans(values, 16, importance)
    assert time.process_time() - start < 8.0  # seconds of processor time: 4, and half more beside another process
    assert_consistent_cells(found, values, importance)
    np.testing.assert_allclose(found.objective / importance.sum(), 0.009497, rtol=0.02)  # the table below


@pytest.mark.parametrize(
    ("levels", "distortion", "largest"),
    [(2, 0.3634, 0.7980), (4, 0.1175, 1.510), (8, 0.03454, 2.152), (16, 0.009497, 2.733)],
)
def test_a_gaussian_has_the_quantizers_of_the_published_table(levels, distortion, largest):
    """Max (1960), table I."""
    values = norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    found = quantize.kmeans(values, levels)
    np.testing.assert_allclose(found.objective / 200_000, distortion, rtol=1e-3)
    np.testing.assert_allclose(found.codebook[-1], largest, atol=1e-3)


# Fourth powers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_the_centroid_is_the_root_of_the_cubic_to_all_digits(seed):
    local = np.random.default_rng(seed)
    n = int(local.integers(2, 8))
    values = local.normal(size=n) * 10 ** local.uniform(-3, 3) + local.normal()
    a, b = (local.uniform(0.01, 2.0, size=n) * 10 ** local.uniform(-9, 9) for _ in range(2))
    with mpmath.workdps(50):
        w, a_, b_ = ([mpmath.mpf(float(x)) for x in array] for array in (values, a, b))
        root = mpmath.findroot(
            lambda c: sum(p * (x - c) + 2 * q * (x - c) ** 3 for x, p, q in zip(w, a_, b_, strict=True)),
            (min(w), max(w)),
            solver="anderson",
        )
    # The data themselves are only known to a rounding of the largest.
    error = abs(float(root) - quantize.centroid(values, a, b))
    assert error < 1e-13 * np.ptp(values) + 4e-16 * np.abs(values).max()


@pytest.mark.parametrize("seed", range(6))
def test_no_search_finds_a_better_centroid(seed):
    local = np.random.default_rng(seed)
    values, a, b = local.normal(size=9), local.uniform(size=9), 3 * local.uniform(size=9)
    c = float(quantize.centroid(values, a, b))
    objective = np.sum(a * (values - c) ** 2 + b * (values - c) ** 4)
    np.testing.assert_allclose(objective, quartic_least(values, a, b), rtol=1e-12)
    wrong = np.average(values, weights=a + 6 * b)  # a weighted mean is not it
    assert np.sum(a * (values - wrong) ** 2 + b * (values - wrong) ** 4) > objective * (1 + 1e-6)


def test_the_centroid_in_its_limits():
    values = np.array([0.0, 1.0, 5.0])
    mean = np.average(values, weights=[1.0, 2.0, 3.0])
    np.testing.assert_allclose(quantize.centroid(values, np.array([1.0, 2.0, 3.0]), np.zeros(3)), mean, rtol=1e-15)
    for tiny in [1e-300, 1e-100, 1e-20]:
        near = quantize.centroid(values, np.array([1.0, 2.0, 3.0]), np.full(3, tiny))
        np.testing.assert_allclose(near, mean, rtol=1e-14)
    # With fourth powers alone two equal weights meet in the middle.
    np.testing.assert_allclose(quantize.centroid(np.array([1.0, 3.0]), np.zeros(2), np.ones(2)), 2.0, rtol=1e-15)
    np.testing.assert_allclose(quantize.centroid(np.full(4, 0.3), np.ones(4), np.ones(4)), 0.3, rtol=1e-15)
    np.testing.assert_allclose(quantize.centroid(values, np.zeros(3), np.zeros(3)), 2.0, rtol=1e-14)
    np.testing.assert_allclose(quantize.centroid(1e6 + values, np.ones(3), np.zeros(3)), 1e6 + 2.0, rtol=1e-15)
    wanted = quantize.centroid(values, np.ones(3), np.ones(3))
    for unit in [1e-150, 1e150]:  # in other units it is the same
        found = quantize.centroid(unit * values, np.ones(3), np.full(3, 1 / unit) / unit)
        np.testing.assert_allclose(found, unit * wanted, rtol=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_the_quartic_codebook_is_the_best_of_all_divisions(seed):
    local = np.random.default_rng(seed)
    values, a, b = local.normal(size=8), local.uniform(size=8), 3 * local.uniform(size=8)
    for levels in [1, 2, 3, 5]:
        found = quantize.quartic(values, levels, a, b)

        def cost(part, values=values, a=a, b=b):
            return quartic_least(values[part], a[part], b[part])

        np.testing.assert_allclose(found.objective, brute_force(values, levels, cost), rtol=1e-9)
        for label in range(levels):
            cell = np.asarray(found.labels) == label
            np.testing.assert_allclose(
                found.codebook[label], quantize.centroid(values[cell], a[cell], b[cell]), rtol=1e-10
            )


def test_labels_are_nearest_under_fourth_powers_too():
    """Trying every label for every weight by its own term finds nothing better."""
    values, a, b = rng.normal(size=60), rng.uniform(size=60) ** 3, 10 * rng.uniform(size=60) ** 3
    found = quantize.quartic(values, 5, a, b)
    away = (values[:, None] - np.asarray(found.codebook)[None, :]) ** 2
    np.testing.assert_array_equal(found.labels, np.argmin(a[:, None] * away + b[:, None] * away**2, axis=1))


def test_without_curvature_the_quartic_codebook_is_that_of_kmeans():
    values, importance = rng.normal(size=50), rng.uniform(0.1, 1.0, size=50)
    assert_close(
        quantize.quartic(values, 6, importance, np.zeros(50)), quantize.kmeans(values, 6, importance), rtol=1e-13
    )
    tiny = quantize.quartic(values, 6, importance, np.full(50, 1e-14))
    np.testing.assert_allclose(tiny.codebook, quantize.kmeans(values, 6, importance).codebook, rtol=1e-9)


# Under an entropy constraint ------------------------------------------------------------------------------------------


def assert_locally_optimal(found, values, importance, slope):
    """No weight gains by another label, no value by moving, at the code lengths of the labels' own frequencies."""
    used = int(found.used)
    labels, codebook = np.asarray(found.labels).ravel(), np.asarray(found.codebook)[:used]
    counts = np.bincount(labels, minlength=used)
    assert (counts > 0).all()
    lengths = np.log2(len(labels) / counts)
    prices = slope * importance[:, None] * (values[:, None] - codebook) ** 2 + lengths
    chosen = prices[np.arange(len(labels)), labels]
    assert (chosen <= prices.min(axis=1) + 1e-12).all()
    means = np.bincount(labels, importance * values) / np.bincount(labels, importance)
    np.testing.assert_allclose(codebook, means, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.size.labels, counts @ lengths, rtol=1e-12)
    np.testing.assert_allclose(found.objective, np.sum(importance * (values - codebook[labels]) ** 2), rtol=1e-12)
    np.testing.assert_allclose(found.lagrangian, chosen.sum(), rtol=1e-12)


@pytest.mark.parametrize("slope", [3.0, 30.0, 300.0])
def test_the_entropy_constrained_codebook_is_a_local_optimum_and_codebooks_of_kmeans_are_not(slope):
    values, importance = rng.normal(size=2000), rng.uniform(0.1, 2.0, size=2000)
    found = quantize.entropy_constrained(values, 64, slope, importance)
    assert found.converged
    assert_locally_optimal(found, values, importance, slope)
    for levels in [2, 4, 8, 16, 32]:
        other = quantize.kmeans(values, levels, importance)
        # Local optima differ: by 0.2 % at most in these.
        assert found.lagrangian < 1.002 * (other.size.labels + slope * other.objective)
    with pytest.raises(AssertionError):
        fixed = quantize.kmeans(values, int(found.used), importance)
        lagrangian = fixed.size.labels + slope * fixed.objective
        assert_locally_optimal(found._replace(**fixed._asdict(), lagrangian=lagrangian), values, importance, slope)


def test_at_high_rate_entropy_coding_is_a_quarter_of_a_bit_from_the_limit():
    """Gish & Pierce: ½ log(2πe/12) = 0.2546 bit above R(D) of a Gaussian; fixed-rate quantizers are farther off."""
    values = norm.ppf((np.arange(40_000) + 0.5) / 40_000)
    found = quantize.entropy_constrained(values, 128, 0.5 / np.log(2) / 1e-3)
    rate, distortion = found.size.labels / 40_000, found.objective / 40_000
    np.testing.assert_allclose(rate + 0.5 * np.log2(distortion), 0.2546, atol=0.005)
    fixed = quantize.kmeans(values, 16)
    assert 4 + 0.5 * np.log2(fixed.objective / 40_000) > 0.6


def test_the_price_of_bits_decides_how_many_labels_are_left():
    values = rng.laplace(size=2000)
    rates = [quantize.entropy_constrained(values, 64, slope).size.labels for slope in [0.0, 0.5, 3.0, 30.0, 300.0]]
    assert rates[0] == 0
    assert (np.diff(rates) > 0).all()
    free = quantize.entropy_constrained(values, 64, 0.0)
    assert free.used == 1
    np.testing.assert_allclose(free.codebook[0], values.mean(), atol=1e-12)
    assert (free.size.codebook, free.size.alphabet) == (32, 6)  # one value, and that it is one of at most 64


# Transforms, errors ---------------------------------------------------------------------------------------------------


def lloyd(w, i):
    return quantize.lloyd(w, 4, i)


def entropy_constrained(w, i):
    return quantize.entropy_constrained(w, 8, 20.0, i)


def test_jit_and_vmap_change_nothing():
    for function in [
        lambda w, i: quantize.kmeans(w, 4, i),
        lloyd,
        entropy_constrained,
        lambda w, i: quantize.centroid(w, i, i[::-1]),
    ]:
        assert_transforms_agree(function, BATCH, BATCH_IMPORTANCE, rtol=1e-10)


def test_an_invalid_item_of_a_batch_is_nan_and_its_neighbors_stay_exact():
    for function in [lambda w, i: quantize.quartic(w, 4, i, i[::-1]), lloyd, entropy_constrained]:
        for bad in [(np.nan, BATCH_IMPORTANCE[1]), (BATCH[1], -BATCH_IMPORTANCE[1])]:
            assert_only_bad_items_are_nan(function, [BATCH, BATCH_IMPORTANCE], bad, 1, rtol=1e-10)


def test_large_arrays_pass_through_compiled_code():
    values = rng.normal(size=200_000)
    found = jax.jit(lambda w: quantize.kmeans(w, 3))(values)
    assert_close(found, quantize.kmeans(values, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: quantize.kmeans([1.0, np.nan], 2), ValueError, "values must be finite"),
        (lambda: quantize.kmeans([1.0, 2.0], 0), ValueError, "levels must be a whole number, at least 1"),
        (lambda: quantize.kmeans([1.0, 2.0], 1.5), ValueError, "levels must be a whole number"),
        (
            lambda: quantize.kmeans([1.0, 2.0], 2, [1.0]),
            ValueError,
            "importance must have shape \\(2,\\), got \\(1,\\)",
        ),
        (lambda: quantize.kmeans([1.0, 2.0], 2, [1.0, -1.0]), ValueError, "importance must be >= 0"),
        (lambda: quantize.kmeans([], 2), ValueError, "values must not be empty"),
        (lambda: quantize.quartic([1.0], 1, [1.0], [-1.0]), ValueError, "curvature must be >= 0"),
        (lambda: quantize.centroid([1.0], [1.0], [1.0, 1.0]), ValueError, "curvature must have shape"),
        (lambda: quantize.lloyd([1.0, 2.0], 2, start=[1.0]), ValueError, "start must have shape \\(2,\\)"),
        (lambda: quantize.lloyd([1.0, 2.0], 2, max_steps=0), ValueError, "max_steps"),
        (lambda: quantize.lloyd([1.0, 2.0], 0), ValueError, "levels must be .* at least 1"),
        (lambda: quantize.quartic([1.0], 0, [1.0], [1.0]), ValueError, "levels must be .* at least 1"),
        (lambda: quantize.entropy_constrained([1.0, 2.0], 0, 1.0), ValueError, "levels must be .* at least 1"),
        (lambda: quantize.entropy_constrained([1.0, 2.0], 2, 1.0, max_steps=0), ValueError, "max_steps"),
        (lambda: quantize.coded_size(np.array([0]), levels=0), ValueError, "levels must be .* at least 1"),
        (lambda: quantize.entropy_constrained([1.0, 2.0], 2, -1.0), ValueError, "slope must be >= 0"),
        (lambda: quantize.coded_size([0.5, 1.0]), ValueError, "labels must be whole numbers"),
        (lambda: quantize.coded_size(np.array([0, 2]), levels=2), ValueError, "labels must lie in 0 to 1"),
        (lambda: quantize.coded_size(np.array([0, 1]), scale_bits=-1.0), ValueError, "scale_bits must be >= 0"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, error, message):
    with pytest.raises(error, match=message):
        call()
