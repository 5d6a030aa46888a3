import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from rdtheory import quantize

# Max (1960), table I: positive values of the codebooks, and their squared errors.
MAX = {
    2: ([0.7980], 0.3634),
    4: ([0.4528, 1.510], 0.1175),
    8: ([0.2451, 0.7560, 1.344, 2.152], 0.03454),
    16: ([0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733], 0.009497),
    32: (
        [
            0.0659,
            0.1981,
            0.3314,
            0.4668,
            0.605,
            0.7473,
            0.8947,
            1.049,
            1.212,
            1.387,
            1.577,
            1.788,
            2.029,
            2.319,
            2.692,
            3.263,
        ],
        0.002499,
    ),
}
MISPRINTED = {16: 0.009501, 32: 0.002505}


def error(values):
    """E (X - nearest value)² of positive values and their negatives, by quadrature cell by cell."""
    values = np.sort(values)
    ends = [0.0, *(values[1:] + values[:-1]) / 2, 12.0]
    cells = zip(values, ends[:-1], ends[1:], strict=True)
    return 2 * sum(quad(lambda x, c=c: (x - c) ** 2 * norm.pdf(x), a, b, epsabs=1e-14)[0] for c, a, b in cells)


@pytest.mark.parametrize("levels", MAX)
def test_values_are_those_published(levels):
    found = quantize.gaussian_codebook(levels)
    values, _ = MAX[levels]
    np.testing.assert_allclose(found.codebook[levels // 2 :], values, rtol=8e-4)
    np.testing.assert_allclose(found.codebook[: levels // 2], -found.codebook[: levels // 2 - 1 : -1], rtol=1e-15)
    np.testing.assert_allclose(found.distortion, error(found.codebook[levels // 2 :]), rtol=1e-9)


@pytest.mark.parametrize("levels", MAX)
def test_published_errors_are_those_of_the_published_values_but_for_two(levels):
    """For 16 and 32 values less was printed than the error of the values printed, and less than the least there is."""
    values, published = MAX[levels]
    recomputed = error(np.array(values))
    np.testing.assert_allclose(recomputed, MISPRINTED.get(levels, published), rtol=3e-4)
    assert (recomputed > published * (1 + 3e-4)) == (levels in MISPRINTED)
    assert quantize.gaussian_codebook(levels).distortion <= recomputed


def test_two_values_are_those_of_the_halves():
    found = quantize.gaussian_codebook(2)
    np.testing.assert_allclose(found.codebook, [-math.sqrt(2 / math.pi), math.sqrt(2 / math.pi)], rtol=1e-15)
    np.testing.assert_allclose(found.distortion, 1 - 2 / math.pi, rtol=1e-14)
    assert found.entropy == 1


def test_one_value_is_the_mean():
    found = quantize.gaussian_codebook(1)
    assert (found.codebook, found.distortion, found.entropy, found.residual) == (0, 1, 0, 0)
    assert found.thresholds.shape == (0,)


@pytest.mark.parametrize("levels", [3, 5, 16, 100, 1024, 4096])
def test_each_value_is_the_mean_of_its_cell_and_each_threshold_the_middle(levels):
    found = quantize.gaussian_codebook(levels)
    assert found.residual < 1e-15 * levels
    middles = (found.codebook[1:] + found.codebook[:-1]) / 2
    np.testing.assert_allclose(found.thresholds, middles, rtol=0, atol=1e-15)
    place = levels // 3
    a, b = [-np.inf, *found.thresholds, np.inf][place : place + 2]
    mass, moment = (quad(lambda x, n=n: x**n * norm.pdf(x), a, b, epsabs=1e-13)[0] for n in (0, 1))
    np.testing.assert_allclose(found.codebook[place], moment / mass, rtol=1e-9)


@pytest.mark.parametrize("levels", [3, 8])
def test_no_other_codebook_nearby_is_better(levels):
    found = quantize.gaussian_codebook(levels)
    rng = np.random.default_rng(0)
    x = norm.ppf((np.arange(200_000) + 0.5) / 200_000)

    def sampled(codebook):
        return np.mean((x - codebook[np.searchsorted((codebook[1:] + codebook[:-1]) / 2, x)]) ** 2)

    best = sampled(found.codebook)
    np.testing.assert_allclose(best, found.distortion, rtol=2e-4)
    for size in (0.01, 0.1, 1.0):
        assert all(sampled(np.sort(found.codebook + size * rng.normal(size=levels))) > best for _ in range(20))


def test_it_is_what_lloyds_iteration_and_dynamic_programming_find_from_samples():
    x = norm.ppf((np.arange(4000) + 0.5) / 4000)
    exact = quantize.gaussian_codebook(8)
    for found in (quantize.lloyd(x, 8), quantize.kmeans(x, 8)):
        np.testing.assert_allclose(found.codebook, exact.codebook, atol=5e-3)
        np.testing.assert_allclose(found.objective / len(x), exact.distortion, rtol=0.01)


def test_errors_are_below_the_constant_of_panter_and_dite_and_go_to_it():
    constant = math.sqrt(3) * math.pi / 2
    shares = [quantize.gaussian_codebook(2**bits).distortion * 4**bits / constant for bits in range(13)]
    assert all(before < after < 1 for before, after in itertools.pairwise(shares))
    assert shares[-1] > 0.999


@pytest.mark.parametrize("levels", [0, -2, 4097, 2.5, "two"])
def test_what_is_wrong_is_named(as_user, levels):
    with pytest.raises((ValueError, TypeError), match="levels must be a whole number"):
        quantize.gaussian_codebook(levels)
