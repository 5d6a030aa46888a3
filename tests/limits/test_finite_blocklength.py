import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from rdtheory import bitstream, closed_form, feedback, finite_blocklength, linear
from rdtheory.limits.finite_blocklength import parallel, random_codes, sphere_covering, type_counting
from tests import oracles
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree, stack


def size(rate, n):
    """The number of codewords."""
    return 2.0 ** (n * float(rate))


# Gaussian: what the bounds are made of ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize(("reach", "radius"), [(0.3, 1.0), (1.0, 1.0), (1.4, 0.5), (1.0, 1e6)])
def test_the_share_within_reach_is_the_lens_of_school(n, reach, radius):
    r, R, d = reach, radius, np.linspace(abs(radius - reach), radius + reach, 12)[1:-1]
    if n == 2:
        angles = np.arccos((d**2 + r**2 - R**2) / (2 * d * r)), np.arccos((d**2 + R**2 - r**2) / (2 * d * R))
        kite = 0.5 * np.sqrt((-d + r + R) * (d + r - R) * (d - r + R) * (d + r + R))
        share = (r**2 * angles[0] + R**2 * angles[1] - kite) / (math.pi * R**2)
    else:
        share = (R + r - d) ** 2 * (d**2 + 2 * d * (r + R) - 3 * (r - R) ** 2) / (16 * d * R**3)
    got = np.exp(sphere_covering.log_hits(n, (d - radius) / reach, reach, radius))
    if radius < 1e3:
        np.testing.assert_allclose(got, share, rtol=1e-12)
    elif n == 3:  # beside a ball so large the formulas cancel; its surface is a plane
        outside = (d - radius) / reach
        plane = (1 - outside) ** 2 * (2 + outside) / 4 * (reach / radius) ** 3
        np.testing.assert_allclose(got, plane, rtol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 10, 10_000])
def test_incomplete_beta_functions_in_logarithms(n):
    a = (n + 1) / 2
    for x in [1e-300, 1e-6, 0.1, 0.5, 0.86, 0.9, 0.99, 0.9999]:
        with mpmath.workdps(40):
            wanted = float(mpmath.log(mpmath.betainc(a, 0.5, 0, x, regularized=True)))
        got = float(sphere_covering.log_incomplete_beta(a, np.array([x]))[0])
        assert abs(got - wanted) <= random_codes.rounding(n) / 10 + 4e-16 * abs(wanted), (x, got, wanted)


@pytest.mark.parametrize("n", [2, 100, 10_000])
def test_special_functions_lose_less_than_the_bounds_give_away(n):
    for sigmas in (-6, -2, 0, 3, 8, 20):
        radius = math.sqrt(max(1 + sigmas * math.sqrt(2 / n), 0.01))
        weight = int(min(max(0.11 * n + sigmas * math.sqrt(0.1 * n), 0), n - 1))
        with mpmath.workdps(40):
            longer = mpmath.gammainc(n / 2, n / 2 * radius**2, mpmath.inf, regularized=True)
            heavier = mpmath.betainc(weight + 1, n - weight, 0, 0.11, regularized=True)
            ball = mpmath.log(sum(math.comb(n, k) for k in range(weight + 1)))
        given = random_codes.rounding(n) / 5
        np.testing.assert_allclose(sphere_covering._tail(n, radius), float(longer), rtol=given)
        np.testing.assert_allclose(type_counting._tail(n, 0.11, weight), float(heavier), rtol=given)
        np.testing.assert_allclose(type_counting.log_ball(n, weight)[-1], float(ball), rtol=1e-15, atol=given)


# Gaussian: the converse ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 10, 30, 1000])
@pytest.mark.parametrize(("D", "e"), [(0.1, 0.1), (0.1, 1e-4), (0.5, 0.01), (0.9, 0.1), (0.9, 1e-4)])
def test_the_gaussian_converse_is_the_volume_of_the_likely_ball(n, D, e):
    found = finite_blocklength.gaussian(n, D, e)
    wanted = n / 2 * math.log2(stats.chi2.isf(e, n) / n / D)
    if wanted < 25:
        assert size(found.converse, n) == pytest.approx(max(math.ceil(2**wanted), 1), rel=1e-12)
    else:
        assert wanted - 1e-8 <= n * found.converse <= wanted + 5e-8  # a whole number above it at most
    assert 0 <= found.converse <= found.achievability


@pytest.mark.parametrize("D", [1e-6, 0.03, 0.5, 1.5])
@pytest.mark.parametrize("e", [0.3, 0.01, 1e-12])
def test_one_gaussian_is_quantized_by_equal_intervals_and_no_better(D, e):
    found = finite_blocklength.gaussian(1, D, e)
    half_width = -special.ndtri(e / 2)
    assert size(found.achievability, 1) == pytest.approx(max(math.ceil(half_width / math.sqrt(D)), 1), rel=1e-9)
    np.testing.assert_allclose(found.converse, found.achievability, rtol=1e-9)


@pytest.mark.parametrize(("D", "e"), [(0.05, 0.1), (0.2, 0.01), (0.5, 0.2)])
def test_a_code_of_hexagons_needs_no_less_than_the_converse(D, e):
    reach, edge = math.sqrt(2 * D), math.sqrt(stats.chi2.isf(e, 2))
    i, j = np.meshgrid(np.arange(-60, 61), np.arange(-60, 61))
    centers = reach * np.stack([math.sqrt(3) * (i + j / 2), 1.5 * j], axis=-1).reshape(-1, 2)
    # Hexagons of circumradius `reach` that meet the disk, or might.
    codewords = centers[np.hypot(*centers.T) <= edge + reach]
    samples = np.random.default_rng(0).normal(size=(20_000, 2))
    near = np.min(np.sum((samples[:, None] - codewords) ** 2, axis=2), axis=1) <= 2 * D
    assert np.mean(~near) <= e + 5 * math.sqrt(e / 20_000)
    assert size(finite_blocklength.gaussian(2, D, e).converse, 2) <= len(codewords)


# Gaussian: the achievability ----------------------------------------------------------------------------------------


def failing(n, D, codewords, radius):
    """E (1 - h)^M by adaptive quadrature; codewords uniform in a ball, h as an integral over shells and caps."""

    def hit(z):
        def shell(s):
            cosine = (s**2 + z - D) / (2 * s * math.sqrt(z))
            if abs(cosine) >= 1:
                return float(cosine <= -1) * n * s ** (n - 1) / radius**n
            cap = 0.5 * special.betainc((n - 1) / 2, 0.5, 1 - cosine**2)
            return (cap if cosine > 0 else 1 - cap) * n * s ** (n - 1) / radius**n

        kinks = [abs(math.sqrt(z) - math.sqrt(D)), math.sqrt(abs(z - D))]
        return integrate.quad(shell, 0, radius, points=[k for k in kinks if k < radius], limit=200)[0]

    z = np.linspace(1e-9, (radius + math.sqrt(D)) ** 2, 4001)
    levels = np.interp(z, z[::20], np.log(np.maximum([hit(x) for x in z[::20]], 1e-300)))
    misses = np.exp(codewords * np.log1p(-np.minimum(np.exp(levels), 1 - 1e-16)))
    return integrate.simpson(misses * n * stats.chi2.pdf(n * z, n), x=z) + stats.chi2.sf(n * z[-1], n)


@pytest.mark.parametrize(("n", "D", "e"), [(3, 0.3, 0.1), (6, 0.4, 0.05)])
def test_the_gaussian_achievability_is_the_least_size_that_some_ball_allows(n, D, e):
    codewords = size(finite_blocklength.gaussian(n, D, e).achievability, n)
    assert codewords == pytest.approx(round(codewords), rel=1e-12)
    span = math.sqrt(stats.chi2.isf(e, n) / n) + math.sqrt(D) * np.array([-0.9, 0.9])

    def best(codewords):
        return optimize.minimize_scalar(
            lambda radius: failing(n, D, codewords, radius), bounds=span, method="bounded", options={"xatol": 1e-3}
        )

    found = best(codewords)
    assert found.fun <= e * (1 + 1e-3)  # what the interpolation above is good for
    assert best(0.98 * codewords).fun > e  # the grid of the bound loses less than two percent
    # A codebook drawn anew for each block, and the nearest codeword.
    rng, trials = np.random.default_rng(1), 4000

    def missed():
        directions = rng.normal(size=(round(codewords), n))
        radii = found.x * rng.uniform(size=round(codewords)) ** (1 / n)
        words = directions * (radii * math.sqrt(n) / np.linalg.norm(directions, axis=1))[:, None]
        return np.min(np.sum((words - rng.normal(size=n)) ** 2, axis=1)) > n * D

    share = np.mean([missed() for _ in range(trials)])
    assert abs(share - e) <= 5 * math.sqrt(e * (1 - e) / trials)


@pytest.mark.parametrize(("n", "D", "e"), [(20, 0.25, 0.1), (100, 0.1, 0.01), (100, 0.5, 1e-4), (1000, 0.25, 0.01)])
def test_no_worse_than_codewords_on_a_sphere(n, D, e):
    """The bound of Kostina and Verdú: codewords on the sphere of radius √(n(1 - D)), caps by their lower bound."""
    found = finite_blocklength.gaussian(n, D, e)
    z = np.linspace(*stats.chi2.ppf([1e-9, 1 - 1e-7 * e], n) / n, 20_001)
    cosine = (1 - D + z - D) / (2 * np.sqrt((1 - D) * z))
    in_front = special.gammaln(n / 2 + 1) - special.gammaln((n + 1) / 2) - math.log(math.sqrt(math.pi) * n)
    log_caps = in_front + (n - 1) / 2 * np.log(np.maximum(1 - cosine**2, 1e-12))
    density = n * stats.chi2.pdf(n * z, n)

    def failure(rate):
        misses = np.exp(-np.exp(np.minimum(rate * n * math.log(2) + log_caps, 700)))
        return integrate.simpson(density * misses, x=z) + stats.chi2.sf(n * z[-1], n)

    assert failure(float(found.converse)) > e
    sphere = optimize.brentq(lambda rate: failure(rate) - e, float(found.converse), float(found.converse) + 1)
    assert found.achievability <= sphere + 1e-6


@pytest.mark.parametrize(("D", "e"), [(0.1, 0.1), (0.5, 1e-3)])
def test_longer_gaussian_blocks_need_less_and_approach_the_approximation(D, e):
    ns = np.array([2, 4, 10, 30, 100, 300, 1000, 3000, 10_000])
    found = [finite_blocklength.gaussian(int(n), D, e) for n in ns]
    converse, achievability, normal = (
        np.array([getattr(each, name) for each in found])
        for name in ("converse", "achievability", "normal_approximation")
    )
    rate = 0.5 * math.log2(1 / D)
    assert np.all(np.diff(converse) < 0)
    assert np.all(np.diff(achievability) < 0)
    np.testing.assert_allclose(normal, rate + stats.norm.isf(e) * oracles.LOG_E / np.sqrt(2 * ns), rtol=1e-13)
    assert np.all(np.abs(converse - rate) <= 4 / np.sqrt(ns))
    large = ns >= 100
    # The theorem: a remainder of order log(n)/n. The converse has none of it, only O(1/n).
    assert np.all(np.abs(normal - converse)[large] * ns[large] <= 4)
    assert np.all(np.abs(achievability - converse)[large] * ns[large] / np.log2(ns[large]) <= 0.55)
    assert np.all(np.diff((achievability - converse)[large] * ns[large]) > 0)  # and it does grow


def test_the_approximation_need_not_lie_between_the_bounds():
    found = finite_blocklength.gaussian(10, 0.1, 1e-4)
    assert found.normal_approximation > found.achievability + 0.005


@pytest.mark.parametrize("n", [1, 4, 60])
def test_less_is_needed_for_more_distortion_or_more_failures(n):
    for bound in ("converse", "achievability"):
        in_D = [float(getattr(finite_blocklength.gaussian(n, D, 0.01), bound)) for D in (0.01, 0.5, 1.0, 1.3, 4.0)]
        in_e = [float(getattr(finite_blocklength.gaussian(n, 0.2, e), bound)) for e in (1e-100, 0.01, 0.5, 0.99)]
        assert np.all(np.diff(in_D) <= 0)
        assert np.all(np.diff(in_e) <= 0)


def test_only_the_share_of_the_variance_counts():
    a, b = finite_blocklength.gaussian(7, 0.3, 0.1), finite_blocklength.gaussian(7, 1.2, 0.1, variance=4.0)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)
    assert a.rate == closed_form.gaussian(1.0, 0.3)


def test_gaussian_extremes():
    beyond = finite_blocklength.gaussian(100, 1.5, 1e-3)
    assert beyond == (0, 0, 0, beyond.converse, 0)
    at = finite_blocklength.gaussian(100, 1.0, 1e-3)  # R(D) is 0, and yet half of the blocks are longer
    assert at[:3] == (0, 0, 0)
    assert 0.2 < at.converse < at.achievability < 0.4
    nothing = finite_blocklength.gaussian(3, 0.0, 0.1)
    assert nothing.rate == nothing.normal_approximation == nothing.converse == nothing.achievability == np.inf
    assert finite_blocklength.gaussian(3, 0.0, 0.1, variance=0.0) == (0, 0, 0, 0, 0)
    for n, D, e in [
        (10_000, 1e-6, 1e-3),
        (100_000, 0.1, 0.01),
        (3, 1e-300, 0.1),
        (10, 0.1, 1e-250),
        (10, 0.1, 1 - 1e-9),
    ]:
        found = finite_blocklength.gaussian(n, D, e)
        assert np.all(np.isfinite(found))
        assert found.converse <= found.achievability


# Coins: the bounds by other means ------------------------------------------------------------------------------------


def exact_sizes(n, p, errors, e):
    """Least number of sequences of probability 1 - e, and what it is over a ball: exact, but for the given floats."""
    p, left, count = Fraction(min(p, 1 - p)), 1 - Fraction(e), 0
    for k in range(n + 1):
        each, number = p**k * (1 - p) ** (n - k), math.comb(n, k)
        if left <= each * number:
            count += math.ceil(left / each)
            break
        left, count = left - each * number, count + number
    return count, -(-count // sum(math.comb(n, k) for k in range(errors + 1)))


@pytest.mark.parametrize("n", [1, 3, 20, 60])
@pytest.mark.parametrize(("p", "e"), [(0.5, 0.0123), (0.4, 0.3), (0.89, 1e-9)])  # no ties, which go to the safe side
def test_the_converse_of_coins_counts_the_likely_sequences(n, p, e):
    for errors in {0, n // 10, n // 3}:
        listed, converse = exact_sizes(n, p, errors, e)
        found = finite_blocklength.bernoulli(n, p, errors / n, e)
        np.testing.assert_allclose(n * found.converse, math.log2(converse), rtol=1e-12, atol=1e-8 if n > 30 else 1e-12)
        assert n * found.converse <= math.log2(converse) + 1e-12
        if errors == 0:
            np.testing.assert_allclose(found.achievability, math.log2(listed) / n, rtol=1e-9)
        assert found.achievability <= math.log2(listed) / n + 1e-9


def test_the_converse_of_long_blocks_of_coins():
    _, converse = exact_sizes(1000, 0.25, 50, 2.0**-7)
    found = finite_blocklength.bernoulli(1000, 0.25, 0.05, 2.0**-7)
    assert math.log2(converse) - 1e-7 <= 1000 * found.converse <= math.log2(converse)
    ball = sum(math.comb(10_000, k) for k in range(1101))
    found = finite_blocklength.bernoulli(10_000, 0.5, 0.11, 0.01)
    wanted = math.log2((99 * 2**10_000) // (100 * ball))
    assert wanted - 1e-7 <= 10_000 * found.converse <= wanted


def all_codes(n, errors):
    """Each number of codewords, and what its codebooks cover, as bits of an integer: all codebooks there are."""
    words = np.arange(2**n)
    balls = [sum(1 << int(x) for x in words if bin(x ^ y).count("1") <= errors) for y in words]
    for codewords in range(1, 2**n + 1):
        covered = {sum_of(code, balls) for code in itertools.combinations(range(2**n), codewords)}
        yield codewords, covered
        if (1 << 2**n) - 1 in covered:
            return


def sum_of(code, balls):
    result = 0
    for y in code:
        result |= balls[y]
    return result


@pytest.mark.parametrize(("n", "errors"), [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2), (4, 1), (4, 2)])
def test_every_code_of_tiny_blocks_of_coins(n, errors):
    weights = np.array([bin(x).count("1") for x in range(2**n)])
    codes = list(all_codes(n, errors))
    for p in (0.5, 0.45, 0.3, 0.11):
        mass = p**weights * (1 - p) ** (n - weights)
        most = [
            max(sum(m for x, m in enumerate(mass) if covered >> x & 1) for covered in of_size) for _, of_size in codes
        ]
        for e in (0.007, 0.03, 0.123, 0.31, 0.7):
            least = next(number for (number, _), share in zip(codes, most, strict=True) if share >= 1 - e - 1e-12)
            found = finite_blocklength.bernoulli(n, p, errors / n, e)
            assert size(found.converse, n) <= least + 1e-9, (p, e)
            assert size(found.achievability, n) >= least - 1e-9, (p, e)


@pytest.mark.parametrize(
    ("n", "errors", "codewords", "perfect"),
    # Covering codes: the least sizes K(n, R), from the tables of Cohen, Honkala, Litsyn and Lobstein.
    [
        *[(5, 1, 7, False), (6, 1, 12, False), (8, 1, 32, False), (7, 2, 7, False), (9, 2, 16, False)],
        *[(3, 1, 2, True), (7, 1, 16, True), (5, 2, 2, True), (15, 1, 2048, True), (23, 3, 4096, True)],
    ],
)
def test_published_covering_codes(n, errors, codewords, perfect):
    found = finite_blocklength.bernoulli(n, 0.5, errors / n, 0.5 * 2.0**-n)
    assert size(found.converse, n) <= codewords * (1 + 1e-12)
    assert size(found.achievability, n) >= codewords * (1 - 1e-12)
    if perfect:
        assert size(found.converse, n) == pytest.approx(codewords, rel=1e-12)


def hits_by_enumeration(n, errors):
    """[most ones, ones of the source]: share of the sequences of at most so many ones that are near, one by one."""
    words = np.arange(2**n)
    ones = np.array([bin(x).count("1") for x in words])
    near = np.array([ones[words ^ (2**t - 1)] <= errors for t in range(n + 1)])
    return np.array([[np.mean(near[t][ones <= most]) for t in range(n + 1)] for most in range(n + 1)])


@pytest.mark.parametrize(("p", "errors", "e"), [(0.3, 2, 0.05), (0.45, 3, 0.2), (0.8, 3, 1e-6)])
def test_the_achievability_of_coins_is_the_least_size_that_some_codebook_allows(p, errors, e):
    n = 12
    hits, source = hits_by_enumeration(n, errors), stats.binom.pmf(np.arange(n + 1), n, min(p, 1 - p))

    def misses(codewords):
        return np.min((1 - hits) ** codewords @ source)

    codewords = next(m for m in range(1, 2**n) if misses(m) <= e)
    wanted = min(codewords, exact_sizes(n, p, errors, e)[0])
    found = finite_blocklength.bernoulli(n, p, errors / n, e)
    assert size(found.achievability, n) == pytest.approx(wanted, rel=1e-12)
    if codewords == wanted:
        most = int(np.argmin((1 - hits) ** codewords @ source))
        rng, trials = np.random.default_rng(2), 4000
        words = np.flatnonzero([bin(x).count("1") <= most for x in range(2**n)])
        blocks = (rng.uniform(size=(trials, n)) < min(p, 1 - p)) @ (1 << np.arange(n))
        ones = np.array([bin(x).count("1") for x in range(2**n)])
        share = np.mean([np.min(ones[rng.choice(words, codewords) ^ x]) > errors for x in blocks])
        assert share <= e + 5 * math.sqrt(e / trials)
        assert share >= misses(codewords) - 5 * math.sqrt(e / trials)


@pytest.mark.parametrize("n", [10, 50, 400])
@pytest.mark.parametrize("e", [0.1, 1e-6])
def test_random_codebooks_of_the_fair_coin(n, e):
    errors = n // 5
    share = Fraction(sum(math.comb(n, k) for k in range(errors + 1)), 2**n)
    with mpmath.workdps(60):
        wanted = mpmath.log(e) / mpmath.log(1 - mpmath.mpf(share.numerator) / share.denominator)
        bits = min(float(mpmath.log(mpmath.ceil(wanted), 2)), math.log2(exact_sizes(n, 0.5, errors, e)[0]))
    found = finite_blocklength.bernoulli(n, 0.5, errors / n, e)
    assert bits - 1e-12 <= n * found.achievability <= bits + 1e-8
    assert found.normal_approximation == closed_form.bernoulli(0.5, errors / n) + 0.5 * math.log2(n) / n
    assert found.dispersion == 0


@pytest.mark.parametrize(("p", "D"), [(0.3, 0.1), (0.11, 0.05)])
@pytest.mark.parametrize("n", [40, 200])
def test_no_worse_than_independent_symbols(p, D, n):
    """The random coding bound with codewords of independent biased coins, the law that attains R(D)."""
    e, errors, t = 0.01, round(n * D), np.arange(n + 1)
    found = finite_blocklength.bernoulli(n, p, D, e)
    q = (p - D) / (1 - 2 * D)
    hits = np.array(
        [np.convolve(stats.binom.pmf(t, k, 1 - q), stats.binom.pmf(t, n - k, q))[: errors + 1].sum() for k in t]
    )
    sizes = np.exp2(n * np.linspace(found.converse, found.converse + 0.6, 300))
    failures = np.array([stats.binom.pmf(t, n, p) @ np.exp(m * np.log1p(-np.minimum(hits, 1 - 1e-15))) for m in sizes])
    assert failures[-1] <= e
    assert n * found.achievability <= math.log2(sizes[np.argmax(failures <= e)])


@pytest.mark.parametrize(("p", "D"), [(0.11, 0.05), (0.4, 0.1), (0.5, 0.1)])
def test_longer_blocks_of_coins_approach_the_approximation(p, D):
    for e in (0.1, 0.01):
        found = [finite_blocklength.bernoulli(n, p, D, e) for n in (100, 1000, 4000)]
        gaps = [float(each.achievability - each.converse) for each in found]
        for n, each, gap in zip((100, 1000, 4000), found, gaps, strict=True):
            assert each.converse <= each.achievability
            assert abs(each.converse - each.rate) <= 3 / math.sqrt(n)
            assert gap <= 0.6 * math.log2(n) / n
            assert abs(each.normal_approximation - each.converse) <= 2 * math.log2(n) / n
        assert gaps[0] > 4 * gaps[1] > 8 * gaps[2]


def test_a_coin_and_its_opposite():
    for x, y in zip(
        finite_blocklength.bernoulli(30, 0.25, 0.1, 0.01),
        finite_blocklength.bernoulli(30, 0.75, 0.1, 0.01),
        strict=True,
    ):
        np.testing.assert_allclose(x, y, rtol=1e-13)


def test_coins_need_less_for_more_distortion_or_more_failures():
    for bound in ("converse", "achievability"):
        in_D = [
            float(getattr(finite_blocklength.bernoulli(50, 0.4, D, 0.01), bound))
            for D in (0.0, 0.02, 0.1, 0.3, 0.38, 0.4, 0.5, 1.0)
        ]
        in_e = [float(getattr(finite_blocklength.bernoulli(50, 0.4, 0.1, e), bound)) for e in (1e-100, 0.01, 0.5, 0.99)]
        assert np.all(np.diff(in_D) <= 0)
        assert np.all(np.diff(in_e) <= 0)


def test_extremes_of_coins():
    for p in (0.0, 1.0):
        assert finite_blocklength.bernoulli(9, p, 0.0, 0.1) == (0, 0, 0, 0, 0)
    assert finite_blocklength.bernoulli(9, 0.3, 1.0, 1e-9) == (0, 0, 0, 0, 0)
    lossless = finite_blocklength.bernoulli(1, 0.3, 0.0, 0.2)
    assert (lossless.converse, lossless.achievability) == (1, 1)
    assert finite_blocklength.bernoulli(1, 0.3, 0.0, 0.31).achievability == 0
    beyond = finite_blocklength.bernoulli(100, 0.3, 0.35, 0.01)
    assert beyond[:3] == (0, 0, 0)
    assert 0.03 < beyond.converse < beyond.achievability < 0.1
    # 0.29 · 100 is 28.999999999999996 in floats.
    assert (
        finite_blocklength.bernoulli(100, 0.5, 0.29, 0.1).converse
        == finite_blocklength.bernoulli(100, 0.5, 0.295, 0.1).converse
    )
    for n, p, D, e in [(10_000, 0.11, 0.05, 0.01), (100, 0.3, 0.1, 1e-250), (100, 0.3, 0.1, 1 - 1e-9)]:
        found = finite_blocklength.bernoulli(n, p, D, e)
        assert np.all(np.isfinite(found))
        assert found.converse <= found.achievability


# Linear models -------------------------------------------------------------------------------------------------------


def test_the_dispersion_of_a_linear_model_is_the_variance_of_its_tilted_information():
    variances, D = np.array([4.0, 1.0, 0.3, 0.05]), 1.0
    found = finite_blocklength.linear_model(np.diag(variances), np.eye(4), D, 0.02)
    level = optimize.brentq(lambda level: np.minimum(level, variances).sum() - D, 1e-9, 4)
    x = np.random.default_rng(0).normal(size=(1_000_000, 4)) * np.sqrt(variances)
    # ln of E over the optimal output of 2^(s (D - d)), one component at a time, with s = 1/(2 θ) nats.
    kept = np.maximum(variances - level, 0.0)
    tilted = 0.5 * np.log1p(kept / level) + x**2 / (2 * (level + kept)) - np.minimum(level, variances) / (2 * level)
    tilted = tilted.sum(axis=1) * oracles.LOG_E
    error = tilted.std() / 1000
    assert abs(tilted.mean() - found.rate) <= 5 * error
    fourth = np.mean((tilted - tilted.mean()) ** 4)
    assert abs(tilted.var() - found.dispersion) <= 5 * math.sqrt(fourth) / 1000
    np.testing.assert_allclose(
        found.normal_approximation, found.rate + stats.norm.isf(0.02) * math.sqrt(found.dispersion), rtol=1e-13
    )


def test_a_linear_model_of_equal_components_is_a_block_of_gaussians():
    cov = oracles.random_covariance(np.random.default_rng(3), 5)
    found = finite_blocklength.linear_model(cov, np.linalg.inv(cov), 2.0, 0.1)
    block = finite_blocklength.gaussian(5, 0.4, 0.1)
    np.testing.assert_allclose(found.normal_approximation, 5 * block.normal_approximation, rtol=1e-9)
    np.testing.assert_allclose(found.dispersion, 5 * block.dispersion, rtol=1e-9)


def test_extremes_of_a_linear_model():
    weights, inputs = np.diag([1.0, 0.0]), np.eye(2)
    assert finite_blocklength.linear_model(weights, inputs, 1.0, 0.1) == (0, 0, 0)
    assert finite_blocklength.linear_model(np.zeros((2, 2)), inputs, 0.0, 0.1) == (0, 0, 0)
    found = finite_blocklength.linear_model(weights, inputs, 0.0, 0.1)
    assert found.rate == found.normal_approximation == np.inf
    np.testing.assert_allclose(found.dispersion, 0.5 * oracles.LOG_E**2)
    assert finite_blocklength.linear_model(weights, inputs, 0.3, 0.1).rate == linear.rate(weights, inputs, 0.3).rate


def test_derivatives_of_a_linear_model():
    weights, inputs = jnp.diag(jnp.array([3.0, 1.0, 0.1])), jnp.eye(3)

    def bits(weights, D, e):
        return finite_blocklength.linear_model(weights, inputs, D, e).normal_approximation

    by_weights, by_D, by_e = jax.jit(jax.grad(bits, argnums=(0, 1, 2)))(weights, 0.8, 0.1)
    step = 1e-5
    one = np.diag([0, step, 0])
    by_hand = (bits(weights + one, 0.8, 0.1) - bits(weights - one, 0.8, 0.1)) / 2e-5
    np.testing.assert_allclose(by_weights[1, 1], by_hand, rtol=1e-7)
    np.testing.assert_allclose(
        by_D, (bits(weights, 0.8 + step, 0.1) - bits(weights, 0.8 - step, 0.1)) / 2e-5, rtol=1e-7
    )
    np.testing.assert_allclose(
        by_e, (bits(weights, 0.8, 0.1 + step) - bits(weights, 0.8, 0.1 - step)) / 2e-5, rtol=1e-6
    )


# Transformations and errors ------------------------------------------------------------------------------------------

DS, ES, PS = np.array([0.05, 0.1, 0.6]), np.array([0.1, 1e-3, 0.2]), np.array([0.5, 0.3, 0.9])


def of_gaussian(D, e, variance):
    return finite_blocklength.gaussian(8, D, e, variance=variance)


def of_coins(p, D, e):
    return finite_blocklength.bernoulli(8, p, D, e)


def test_jit_and_vmap_change_nothing():
    assert_transforms_agree(of_gaussian, DS, ES, np.array([1.0, 2.0, 0.5]))
    assert_transforms_agree(of_coins, PS, DS, ES)
    covs = np.stack([np.diag([3.0, 1.0, 0.1])] * 3)
    for got, wanted in zip(  # the loop over its items is compiled code already
        jax.vmap(finite_blocklength.linear_model)(covs, covs, DS, ES),
        stack([finite_blocklength.linear_model(*item) for item in zip(covs, covs, DS, ES, strict=True)]),
        strict=True,
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


@pytest.mark.parametrize("bad", [(-1.0, 0.1, 1.0), (0.1, np.nan, -1.0)])
def test_an_invalid_item_of_gaussians_is_nan_and_its_neighbors_stay_exact(bad):
    assert_only_bad_items_are_nan(of_gaussian, [DS, ES, np.ones(3)], bad, 1)


@pytest.mark.parametrize("bad", [(1.1, 0.1, 0.1), (0.3, -0.1, 0.1), (0.3, 0.1, 1.0)])
def test_an_invalid_item_of_coins_is_nan_and_its_neighbors_stay_exact(bad):
    assert_only_bad_items_are_nan(of_coins, [PS, DS, ES], bad, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: finite_blocklength.gaussian(0, 0.1, 0.1), "n must be a whole number, at least 1"),
        (lambda: finite_blocklength.gaussian(2.5, 0.1, 0.1), "n must be a whole number"),
        (lambda: finite_blocklength.gaussian(5, -0.1, 0.1), "distortion must be >= 0"),
        (
            lambda: finite_blocklength.gaussian(5, 0.1, 0.0),
            "excess_probability must be strictly between 0 and 1, got 0.0",
        ),
        (lambda: finite_blocklength.gaussian(5, 0.1, 1.0), "excess_probability must be strictly between 0 and 1"),
        (lambda: finite_blocklength.gaussian(5, 0.1, 0.1, variance=-1.0), "variance must be >= 0"),
        (lambda: finite_blocklength.gaussian(5, np.ones(2), 0.1), "distortion must be a scalar"),
        (lambda: finite_blocklength.bernoulli(5, 1.1, 0.1, 0.1), "p must be between 0 and 1, got 1.1"),
        (lambda: finite_blocklength.bernoulli(5, np.nan, 0.1, 0.1), "p must be between 0 and 1"),
        (lambda: finite_blocklength.bernoulli(5, 0.3, np.inf, 0.1), "distortion must be >= 0"),
        (lambda: finite_blocklength.linear_model(np.eye(2), np.eye(3), 0.1, 0.1), "input_cov must be"),
        (lambda: finite_blocklength.linear_model(np.eye(2), np.eye(2), 0.1, 2.0), "excess_probability must be"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, message):
    with pytest.raises(ValueError, match=message):
        call()


# How long a block must be --------------------------------------------------------------------------------------------


def test_the_least_length_brackets_what_quantiles_of_chi_square_say():
    D, epsilon, excess = 0.25, 0.01, 0.1
    found = finite_blocklength.least_length(lambda n: finite_blocklength.gaussian(n, D, epsilon), excess)
    n = np.arange(1, found.enough + 1)
    converse = 0.5 * np.log2(stats.chi2.isf(epsilon, n) / n / D)  # before rounding to whole codewords
    above = np.flatnonzero(converse > 1 + excess)
    assert abs(found.too_short - n[above[-1]]) <= 1
    assert found.too_short < found.approximation < found.enough
    assert abs(found.approximation / (0.5 / math.log(2) ** 2 * (stats.norm.isf(epsilon) / excess) ** 2) - 1) < 2e-3
    assert finite_blocklength.gaussian(found.enough, D, epsilon).achievability <= 1 + excess
    assert finite_blocklength.gaussian(found.enough - 1, D, epsilon).achievability > 1 + excess


def test_the_least_length_of_a_coin_and_of_nothing_to_say():
    coin = finite_blocklength.least_length(lambda n: finite_blocklength.bernoulli(n, 0.3, 0.1, 0.05), 0.2)
    assert 0 < coin.too_short < coin.enough < 200
    assert finite_blocklength.least_length(lambda n: finite_blocklength.gaussian(n, 1.0, 0.9), 9.0) == (0, 1, 1)


def test_bounds_that_are_no_number_prove_no_length_too_short():
    def bounds(n):
        found = finite_blocklength.gaussian(n, 0.25, 0.01)
        return found._replace(converse=np.nan) if n > 100 else found

    found = finite_blocklength.least_length(bounds, 0.1)
    assert found == finite_blocklength.least_length(lambda n: finite_blocklength.gaussian(n, 0.25, 0.01), 0.1)._replace(
        too_short=100
    )
    with pytest.raises(ValueError, match="not proved to be met"):
        finite_blocklength.least_length(lambda n: bounds(n)._replace(achievability=np.nan), 0.1, longest=1000)


def test_bad_lengths():
    def bounds(n):
        return finite_blocklength.gaussian(n, 0.25, 0.01)

    with pytest.raises(ValueError, match="excess_rate must be > 0, got 0.0"):
        finite_blocklength.least_length(bounds, 0.0)
    with pytest.raises(ValueError, match="not proved to be met by 10 symbols"):
        finite_blocklength.least_length(bounds, 0.1, longest=10)


# Components of different variances ------------------------------------------------------------------------------------


@pytest.mark.parametrize("copies", [1, 30, 1000])
def test_tails_of_weighted_squares_hold_chi_square_and_samples(copies):
    t = np.array([-2.0, -0.5, 0.0, 1.0, 2.5]) * math.sqrt(2 * 3 * copies)
    low, high = parallel.tail(np.ones(3), copies, t)
    exact = stats.chi2.sf(t + 3 * copies, 3 * copies)
    assert ((low <= exact) & (exact <= high)).all()
    assert (high - low).max() < (1e-3 if copies == 1 else 1e-10)
    w = np.array([1.0, 0.3, 0.02])
    t = np.array([-1.0, 0.0, 1.0, 2.5]) * math.sqrt(2 * copies * np.sum(w**2))
    low, high = parallel.tail(w, copies, t)
    sums = (np.random.default_rng(3).chisquare(copies, size=(400_000, 3)) - copies) @ w
    counted = np.mean(sums[:, None] > t, axis=0)
    assert (np.abs(counted - (low + high) / 2) <= 5 * np.sqrt(counted * (1 - counted) / len(sums)) + high - low).all()
    for weights in (w, -w):
        at = parallel.chernoff(weights, copies, 0.01)
        assert np.mean(np.sign(weights[0]) * sums > at) <= 0.01
        assert np.mean(np.sign(weights[0]) * sums > at) <= parallel.chernoff_probability(weights, copies, at) * (
            1 + 1e-9
        )


def test_of_one_variance_the_converse_is_that_of_the_sphere_and_the_achievability_no_better():
    for n in (10, 1000):
        found = finite_blocklength.parallel_gaussians(np.full(2, 2.0), 1.0, 0.01, copies=n // 2)
        sharp = finite_blocklength.gaussian(n, 0.25, 0.01)
        np.testing.assert_allclose(found.converse, sharp.converse, rtol=1e-9)
        np.testing.assert_allclose([found.rate, found.dispersion], [sharp.rate, sharp.dispersion], rtol=1e-14)
        np.testing.assert_allclose(found.normal_approximation, sharp.normal_approximation, rtol=1e-14)
        assert sharp.achievability <= found.achievability


def test_both_bounds_fall_towards_the_rate_with_the_number_of_weights():
    variances = np.exp(np.random.default_rng(0).normal(size=64))
    D = 0.2 * float(variances.sum())
    lengths = [1, 4, 16, 64, 256, 1024, 16384]
    bounds = [finite_blocklength.parallel_gaussians(variances, D, 0.01, copies=c) for c in lengths]
    converse, achieved = ([float(getattr(b, name)) for b in bounds] for name in ("converse", "achievability"))
    rate = float(linear.rate(np.diag(variances), np.eye(64), D).rate) / 64
    np.testing.assert_allclose([float(b.rate) for b in bounds], rate, rtol=1e-12)
    assert (np.diff(converse) < 0).all() and (np.diff(achieved) < 0).all()
    assert all(rate < c < a for c, a in zip(converse, achieved, strict=True))
    model = finite_blocklength.linear_model(np.diag(variances), np.eye(64), D, 0.01)
    np.testing.assert_allclose(bounds[0].normal_approximation, model.normal_approximation / 64, rtol=1e-12)
    # Both are R(D) + constant / √n: the converse's constant is that of the theorem.
    gaps = np.array([[x - rate for x in line[-2:]] for line in (converse, achieved)])
    np.testing.assert_allclose(gaps[:, 0] / gaps[:, 1], 4, rtol=0.1)
    approximation = float(bounds[-1].normal_approximation) - rate
    assert 0.9 < gaps[0, 1] / approximation < 1 < gaps[1, 1] / approximation < 5


def test_a_random_code_of_so_many_words_meets_the_distortion_as_often_as_promised():
    """The bound of one word's chance, against the drawing of many words for the worst of many blocks."""
    copies, v, D, epsilon = 6, np.array([1.0, 0.4]), 0.9, 0.2
    size = parallel._achievability(copies, v / D, epsilon)
    kappa = min(parallel.MARGINS, key=lambda kappa: parallel._for_margin(copies, v / D, epsilon, kappa))
    theta = D * parallel.level(v / D, 1 - kappa)
    local = np.random.default_rng(0)
    x = local.normal(size=(400, 2, copies)) * np.sqrt(v)[:, None]
    words = local.normal(size=(20_000, 2, copies)) * np.sqrt(np.maximum(v - theta, 0))[:, None]
    cross = np.einsum("iac,jac->ij", x, words)
    distances = np.sum(x**2, axis=(1, 2))[:, None] + np.sum(words**2, axis=(1, 2)) - 2 * cross
    chances = np.mean(distances <= copies * D, axis=1)
    assert np.mean((1 - chances) ** math.exp(size)) <= epsilon


def test_no_code_of_a_layer_is_below_the_converse_and_random_coding_is_below_ours():
    weights = np.random.default_rng(1).normal(size=(16, 1000))
    moments = 0.9 ** np.abs(np.subtract.outer(np.arange(16), np.arange(16)))
    coded = feedback.quantize(weights, moments, 0.1)
    measured, D = 8 * len(bitstream.encode(coded.coded)) / weights.size, float(coded.distortion) / 1000
    variances = np.linalg.eigvalsh(moments)
    converse = finite_blocklength.parallel_gaussians(variances, D, 1 - 1e-6, copies=1000).converse
    achieved = finite_blocklength.parallel_gaussians(variances, D, 0.01, copies=1000)
    assert converse < achieved.rate < achieved.converse < achieved.achievability < measured


def test_ends_and_bad_input_of_components():
    v = np.array([1.0, 0.0, 0.5])
    assert finite_blocklength.parallel_gaussians(v, 0.0, 0.1).converse == np.inf
    assert finite_blocklength.parallel_gaussians(0 * v, 0.0, 0.1).achievability == 0
    enough = finite_blocklength.parallel_gaussians(v, 3.0, 0.01, copies=100)
    assert enough.converse == enough.achievability == enough.rate == 0
    # Of one weight the Fourier series has no more than a digit, but this is twenty deviations away.
    assert finite_blocklength.parallel_gaussians(np.ones(1), 400.0, 0.01).achievability == 0
    with pytest.raises(ValueError, match="copies must be a whole number, at least 1"):
        finite_blocklength.parallel_gaussians(v, 1.0, 0.1, copies=0)
    with pytest.raises(ValueError, match="excess_probability must be strictly between 0 and 1"):
        finite_blocklength.parallel_gaussians(v, 1.0, 1.0)
    batches = np.array([[1.0, 2.0], [0.3, 1.0], [1.0, 1.0]]), np.array([0.5, 0.1, 0.3]), np.array([0.1, 0.01, 0.5])

    def one(v, D, epsilon):
        return finite_blocklength.parallel_gaussians(v, D, epsilon, copies=50)

    assert_transforms_agree(one, *batches)
    assert_only_bad_items_are_nan(one, batches, (np.array([1.0, -1.0]), 0.5, 0.1), 1)
