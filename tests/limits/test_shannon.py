import math

import jax
import mpmath
import numpy as np
import pytest
from scipy import integrate, optimize, stats
from scipy.special import xlogy

import rdtheory as rd
from rdtheory import continuous, discrete, sources
from rdtheory.limits.continuous import refine, shannon
from rdtheory.limits.continuous.law import law_of
from tests import oracles
from tests.transforms import assert_transforms_agree

rng = np.random.default_rng(22)
LN2 = math.log(2)

LAWS = {
    "gaussian": (sources.gaussian(3.0), stats.norm(scale=3)),
    "uniform": (sources.uniform(1.0, 4.0), stats.uniform(1, 3)),
    "exponential": (sources.exponential(2.0), stats.expon(scale=2)),
    "laplace": (sources.laplace(1e-7), stats.laplace(scale=1e-7)),
    "student": (sources.student_t(5.0), stats.t(5)),
    "half a degree": (sources.student_t(0.5), stats.t(0.5)),
    "sharp": (sources.generalized_gaussian(0.5, 1.0), stats.gennorm(0.5)),
    "far": (sources.from_log_density(lambda x: -abs(x - 1e9), (-np.inf, np.inf), (1e9,)), stats.laplace(1e9)),
}


@pytest.mark.parametrize("name", LAWS)
def test_entropies_are_those_of_scipy_within_the_error(name):
    source, law = LAWS[name]
    bound = continuous.shannon_lower_bound(source, 0.2)
    entropy = float(law.entropy()) / LN2
    assert abs(bound.entropy - entropy) <= bound.error < 1e-5
    np.testing.assert_allclose(bound.noise_entropy, 0.5 * math.log2(2 * math.pi * math.e * 0.2), rtol=1e-15)
    assert bound.rate <= entropy - 0.5 * math.log2(2 * math.pi * math.e * 0.2)


def test_a_tail_that_is_not_all_there_is_in_the_error():
    bound = continuous.shannon_lower_bound(sources.student_t(0.05), 0.2)
    with mpmath.workdps(30):
        v = mpmath.mpf(1) / 20
        h = (v + 1) / 2 * (mpmath.digamma((1 + v) / 2) - mpmath.digamma(v / 2)) + mpmath.log(
            mpmath.sqrt(v) * mpmath.beta(v / 2, 0.5)
        )
        missing = float(h / mpmath.log(2)) - float(bound.entropy)
    assert 1e-6 < missing <= bound.error


@pytest.mark.parametrize("power", [3.0, 4.0])
def test_a_tail_that_flattens_is_in_the_error(power):
    """X = e^U with U Pareto: h(X) = h(U) + E U, and near the end of all numbers there is some of it left."""
    e, a = math.e, power - 1
    source = sources.from_log_density(
        lambda x: -np.log(np.maximum(x, e)) - power * np.log(np.log(np.maximum(x, e))), (e, np.inf)
    )
    bound = continuous.shannon_lower_bound(source, 0.1)
    missing = (1 + 1 / a - math.log(a) + a / (a - 1)) / LN2 - bound.entropy
    assert 1e-5 < missing <= bound.error < 3 * missing


def test_the_student_source_of_the_theory_page_and_where_the_bound_is_the_better_one():
    bound = continuous.shannon_lower_bound(sources.student_t(5.0), 0.2)
    h = 3 * (float(mpmath.digamma(3)) - float(mpmath.digamma(2.5))) + math.log(
        math.sqrt(5) * math.gamma(2.5) * math.gamma(0.5) / 2
    )
    exact = h / LN2 - 0.5 * math.log2(2 * math.pi * math.e * 0.2)
    assert round(exact, 10) == 1.4618584968
    assert exact - 1e-11 <= bound.rate <= exact
    point = continuous.rate_at(sources.student_t(5.0), 0.2)
    assert exact - 1e-11 <= point.lower <= exact <= point.upper


@pytest.mark.parametrize("power", [0.7, 1.0, 3.0])
def test_noise_of_a_power_against_maximum_entropy_by_quadrature(power):
    D = 0.3

    def moment(a, theta):
        return integrate.quad(lambda u: u**a * math.exp(-theta * u**power), 0, np.inf)[0]

    def spent(theta):
        return moment(power, theta) / moment(0, theta) - D

    theta = optimize.brentq(spent, 0.1, 50, xtol=1e-14)
    z = 2 * moment(0, theta)
    wanted = (theta * D + math.log(z)) / LN2
    source = sources.uniform(0.0, 1.0)
    by_power = continuous.shannon_lower_bound(source, D, difference=power)
    by_function = continuous.shannon_lower_bound(source, D, difference=lambda u: np.abs(u) ** power)
    np.testing.assert_allclose([by_power.noise_entropy, by_function.noise_entropy], wanted, rtol=1e-9)
    np.testing.assert_allclose([by_power.slope, by_function.slope], theta / LN2, rtol=1e-4)
    assert by_function.rate <= by_power.rate + 1e-11


def exact_noise_entropy(power, D):
    """φ(D) of abs(u)^power in bits, to 50 digits, of the binary numbers as they are."""
    r, D = mpmath.mpf(power), mpmath.mpf(float(D))
    return (mpmath.log(2 * mpmath.gamma(1 / r) / r) + (mpmath.log(r * D) + 1) / r) / mpmath.log(2)


@pytest.mark.parametrize("power", [0.02, 0.5, 2.0])
def test_the_bound_holds_to_the_last_digit(power):
    """Of a uniform source h is exactly 0, so that the bound is -φ(D): numbers of up to 50,000 bits, rounded."""
    D = 10.0 ** rng.uniform(-300, 0, 200)
    bound = continuous.shannon_lower_bound(sources.uniform(0.0, 1.0), D, difference=power)
    with mpmath.workdps(50):
        phi = [exact_noise_entropy(power, one) for one in D]
        off = np.array(
            [float(mpmath.mpf(float(one)) - exact) for one, exact in zip(bound.noise_entropy, phi, strict=True)]
        )
        over = np.array([float(mpmath.mpf(float(one)) + exact) for one, exact in zip(bound.rate, phi, strict=True)])
    _, h_error = shannon.entropy(law_of(sources.uniform(0.0, 1.0)))
    assert (over <= 0).all()
    assert (np.abs(off) <= bound.error - h_error).all()
    if power == 0.02:  # what rounding takes is more than is allowed to the entropy of the source alone
        assert np.mean(off < -h_error) > 0.2


@pytest.mark.parametrize(("power", "D"), [(0.5, 2.5e-323), (0.5, 5e-324), (0.5, 1.5e-323), (3.0, 1.7e308)])
def test_distortions_whose_multiples_round_otherwise_or_not_at_all(power, D):
    source = sources.generalized_gaussian(power, 1.0)  # of which the bound is R(D)
    bound = continuous.shannon_lower_bound(source, D, difference=power)
    with mpmath.workdps(50):
        rate = exact_noise_entropy(power, 1 / power) - exact_noise_entropy(power, D)
    assert rate - 1e-8 <= float(bound.rate) <= rate


def test_entropies_are_off_by_no_more_than_the_error_to_the_last_digit():
    """Of a uniform density the panels have no error, and what is left is rounding."""
    missed = []
    for width in rng.uniform(0.01, 100, 50):
        h, error = shannon.entropy(law_of(sources.uniform(0.0, width)))
        with mpmath.workdps(50):
            missed.append(abs(float(mpmath.mpf(h) - mpmath.log(mpmath.mpf(width), 2))))
        assert missed[-1] <= error < 1e-11
    assert max(missed) > 1e-16


def test_noise_of_a_function_is_off_by_no_more_than_the_error_to_the_last_digit():
    measure, missed = refine.measure(np.abs, 1.0), []
    for D in 10.0 ** rng.uniform(8, 16, 30):
        _, phi, error = shannon.noise(np.abs, measure, D)
        with mpmath.workdps(50):
            missed.append(float(mpmath.mpf(phi) - exact_noise_entropy(1, D)))
        assert -error <= missed[-1] < 1e-9  # a slope beside the best one has more entropy
    assert min(missed) < -1e-15


def test_one_sided_and_flat_measures():
    """With errors below zero priced steeply the noise is about exponential."""

    def steeply(u):
        return np.where(u > 0, u, -1e6 * u)

    def beyond_one(u):
        return np.maximum(np.abs(u) - 1, 0)

    steep = continuous.shannon_lower_bound(sources.exponential(1.0), 0.2, difference=steeply)
    np.testing.assert_allclose(steep.noise_entropy, math.log2(math.e * 0.2), atol=1e-5)
    assert steep.rate <= rd.closed_form.exponential(1.0, 0.2)
    flat = continuous.shannon_lower_bound(sources.uniform(0.0, 8.0), 0.5, difference=beyond_one)
    assert 0 < flat.rate <= continuous.rate_at(sources.uniform(0.0, 8.0), 0.5, difference=beyond_one).upper
    with pytest.raises(ValueError, match="must grow without bound on either side"):
        continuous.shannon_lower_bound(sources.gaussian(1.0), 0.2, difference=lambda u: np.minimum(np.abs(u), 1.0))


def test_several_distortions_are_those_one_by_one():
    source, D = sources.laplace(math.sqrt(0.5)), np.array([[0.1, 0.5], [1.0, 3.0]])
    bound = continuous.shannon_lower_bound(source, D)
    assert bound.rate.shape == bound.entropy.shape == D.shape
    for place in np.ndindex(D.shape):
        one = continuous.shannon_lower_bound(source, D[place])
        assert all(leaf[place] == alone for leaf, alone in zip(bound, one, strict=True))
    np.testing.assert_allclose(bound.rate[0, 1], 0.39560, atol=5e-6)


def test_the_gap_of_generalized_gaussians_is_within_that_of_fisher_information():
    for shape, D in ((0.75, 0.3), (1.5, 0.1), (6.0, 0.3)):
        scale = math.sqrt(math.gamma(1 / shape) / math.gamma(3 / shape))
        source = sources.generalized_gaussian(shape, scale)
        J = sources.generalized_gaussian_fisher_information(shape, scale)
        x = np.linspace(0, 1, 400_001)[1:] ** 4 * 40 * scale  # denser where the score may be infinite
        score2 = (shape / scale * (x / scale) ** (shape - 1)) ** 2
        np.testing.assert_allclose(
            J, 2 * integrate.trapezoid(score2 * stats.gennorm(shape, scale=scale).pdf(x), x), rtol=1e-3
        )
        point = continuous.rate_at(source, D)
        bound = continuous.shannon_lower_bound(source, D)
        assert 0 < point.upper - bound.rate < continuous.shannon_gap(J, D)
        if shape == 1.5:
            assert point.upper - bound.rate < 4.3e-6  # and the bound .075
            assert continuous.shannon_gap(J, D) > 0.075
    assert sources.generalized_gaussian_fisher_information(0.5, 1.0) == math.inf
    # Where it is exact: a Gaussian, whose h(X + N) - h(X) it is.
    np.testing.assert_allclose(continuous.shannon_gap(1 / 4.0, 1.0), 0.5 * math.log2(5 / 4), rtol=1e-15)


@pytest.mark.parametrize(("width", "breaks"), [(1e-4, ()), (1e-5, ()), (1e-7, (0.3137,))])
def test_a_narrow_peak_does_not_fall_between_nodes(width, breaks):
    """On [-1, 1] a flat part and a peak of about as much mass: a flag, and a code for the flat part alone, do it."""
    source = sources.from_log_density(
        lambda x: np.logaddexp(0.0, -math.log(width) - 0.5 * ((x - 0.3137) / width) ** 2), (-1.0, 1.0), breaks
    )
    total = 2 + math.sqrt(2 * math.pi)

    def integrand(u):
        density = 1 + math.exp(-0.5 * u * u) / width
        return width * density * math.log(density)

    nats = math.log(total) - 2 * integrate.quad(integrand, 0, 9, epsabs=1e-12, epsrel=1e-13)[0] / total
    bound = continuous.shannon_lower_bound(source, 1e-3)
    np.testing.assert_allclose(bound.entropy, nats / math.log(2), atol=1e-9)
    share = 2 / total
    flag = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
    flat = continuous.rate_at(sources.uniform(-1.0, 1.0), 0.999e-3 / share).upper
    assert continuous.rate_at(source, 1e-3).lower <= flag + share * flat


def test_no_peak_or_hole_hides_between_nodes_beside_a_higher_peak():
    """The highest peak is looked for; others are narrower than the distance of two nodes."""
    parts = [(1.0, -0.2, 1e-2), (0.5, 0.3137, 1e-5), (0.25, 0.7, 3e-5)]

    def log_density(x):
        each = [math.log(m / w) - 0.5 * ((x - at) / w) ** 2 for m, at, w in parts]
        return np.where(np.abs(x + 0.7) < 2e-5, -np.inf, np.logaddexp.reduce([np.full(np.shape(x), -3.0), *each]))

    found = continuous.shannon_lower_bound(sources.from_log_density(log_density, (-1.0, 1.0)), 1e-3)
    told = [at + k * w for _, at, w in parts for k in (-12, -3, 0, 3, 12)] + [-0.70002, -0.69998]
    wanted = continuous.shannon_lower_bound(sources.from_log_density(log_density, (-1.0, 1.0), told), 1e-3)
    edges = np.sort([-1.0, 1.0, *told])
    x = edges[:-1, None] + np.diff(edges)[:, None] * (np.arange(100_000) + 0.5) / 100_000
    masses = np.exp(log_density(x)) * np.diff(edges)[:, None] / 100_000
    entropy = np.log2(masses.sum()) - np.sum(xlogy(masses, np.exp(log_density(x)))) / masses.sum() / LN2
    np.testing.assert_allclose([found.entropy, wanted.entropy], entropy, atol=1e-7)
    assert abs(found.entropy - wanted.entropy) <= found.error + wanted.error < 1e-9


def test_bad_input_for_densities():
    with pytest.raises(ValueError, match="distortion must be > 0"):
        continuous.shannon_lower_bound(sources.gaussian(1.0), 0.0)
    with pytest.raises(ValueError, match="source must have a density"):
        continuous.shannon_lower_bound(sources.from_samples(np.arange(3.0)), 0.1)
    source = sources.gaussian(1.0)
    with pytest.raises(TypeError, match="outside jit"):
        jax.jit(lambda D: continuous.shannon_lower_bound(source, D).rate)(0.1)
    with pytest.raises(ValueError, match="fisher_information must be >= 0"):
        continuous.shannon_gap(-1.0, 0.1)


# Discrete sources --------------------------------------------------------------------------------------------------


def greatest_noise_entropy(costs, D):
    """Max H of a noise on the letters of a cyclic difference distortion, by a general solver."""
    n = len(costs)
    found = optimize.minimize(
        lambda q: float(np.sum(q * np.log2(np.maximum(q, 1e-300)))),
        np.full(n, 1 / n) * 0.5 + 0.5 * (costs == costs.min()) / np.sum(costs == costs.min()),
        bounds=[(0, 1)] * n,
        constraints=[{"type": "eq", "fun": lambda q: q.sum() - 1}, {"type": "ineq", "fun": lambda q: D - q @ costs}],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return -found.fun


@pytest.mark.parametrize("D", [0.2, 0.7, 1.3])
def test_cyclic_difference_distortions(D):
    costs, n = np.array([0.0, 1.0, 2.0, 4.0, 1.5]), 5
    d = costs[(np.arange(n)[:, None] - np.arange(n)[None, :]) % n]
    p = rng.dirichlet(3 * np.ones(n))
    bound = discrete.shannon_lower_bound(p, d, D)
    np.testing.assert_allclose(bound.rate, oracles.entropy(p) - greatest_noise_entropy(costs, D), atol=1e-6)
    point = rd.rate_at(p, d, D)
    assert bound.rate <= point.rate


def test_it_is_r_of_d_for_a_coin_and_a_die_and_below_it_elsewhere():
    for p, D in (([0.7, 0.3], 0.1), ([0.4, 0.3, 0.2, 0.1], 0.2), ([0.4, 0.3, 0.2, 0.1], 0.4)):
        p = np.array(p)
        bound, exact = discrete.shannon_lower_bound(p, rd.distortion.hamming(len(p)), D), rd.closed_form.hamming(p, D)
        assert bound.rate <= exact
        assert (abs(bound.rate - exact) < 1e-13) == (D / (len(p) - 1) < p.min())
    for _ in range(10):
        p, d = rng.dirichlet(np.ones(6)), rng.exponential(size=(6, 4))
        D = float(p @ d.min(axis=1)) + 0.2
        assert discrete.shannon_lower_bound(p, d, D).rate <= rd.rate_at(p, d, D).rate + 1e-12


def test_ends_forbidden_letters_and_letters_without_mass():
    p, d = np.array([0.5, 0.25, 0.25, 0.0]), rd.distortion.erasure(4)
    for D in (0.0, 0.3):
        bound = discrete.shannon_lower_bound(p, d, D)
        assert bound.rate <= rd.closed_form.erasure(p, D) + 1e-13
    np.testing.assert_allclose(discrete.shannon_lower_bound(p, d, 0.0).rate, 1.5, atol=1e-12)
    assert discrete.shannon_lower_bound(p, 1e-200 * rd.distortion.hamming(4), 1e-201).error < 1e-12
    with pytest.raises(ValueError, match="distortion must be at least"):
        discrete.shannon_lower_bound(p, 1 + rd.distortion.hamming(4), 0.5)


def test_transforms_of_the_discrete_bound():
    pmfs, D = rng.dirichlet(np.ones(4), size=3), np.array([0.1, 0.2, 0.3])
    d = np.asarray(rd.distortion.hamming(4))
    assert_transforms_agree(lambda p, D: discrete.shannon_lower_bound(p, d, D), pmfs, D)
