import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import rdtheory as rd
from rdtheory import sources
from rdtheory.limits import continuous
from rdtheory.limits.continuous.law import law_of
from tests import oracles

LN2 = np.log(2)
MIXTURE = sources.gaussian_mixture(jnp.array([0.3, 0.7]), jnp.array([-2.0, 1.0]), jnp.array([0.5, 1.0]))
# name: source, variance, differential entropy in bits, half-width beyond which nothing is left
SOURCES = {
    "gaussian": (sources.gaussian(1.0), 1.0, 0.5 * np.log2(2 * np.pi * np.e), (-9.0, 9.0)),
    "uniform": (sources.uniform(0.0, 1.0), 1 / 12, 0.0, (0.0, 1.0)),
    "laplace": (sources.laplace(1.0), 2.0, np.log2(2 * np.e), (-36.0, 36.0)),
    "exponential": (sources.exponential(1.0), 1.0, np.log2(np.e), (0.0, 36.0)),
    "mixture": (MIXTURE, 0.3 * 0.25 + 0.7 + 0.3 * 0.7 * 9, None, (-9.0, 10.0)),
    "generalized": (sources.generalized_gaussian(4.0, 1.0), 0.337989120030, None, (-2.5, 2.5)),
}
by_source = pytest.mark.parametrize("name", SOURCES)


def shannon(entropy, D):
    return entropy - 0.5 * np.log2(2 * np.pi * np.e * D)


def density_of(source):
    return lambda x: float(np.exp(source.log_density(np.array([x])))[0])


def integral(function, ends, pieces):
    edges = np.linspace(*ends, pieces + 1)
    return sum(quad(function, a, b, epsabs=1e-13, epsrel=1e-11)[0] for a, b in itertools.pairwise(edges))


def recomputed(source, ends, result):
    """Lower and upper bound from points, masses and slope alone: scipy's quadrature, and a scan over y."""
    y, q, s = (np.asarray(part) for part in (result.points, result.masses, result.slope))
    f = density_of(source)

    def z(x):
        return float(q @ np.exp2(-s * (x - y) ** 2))

    def spent(x):
        weights = q * np.exp2(-s * (x - y) ** 2)
        return float(weights @ (x - y) ** 2 / weights.sum())

    pieces = int(np.ceil((ends[1] - ends[0]) * np.sqrt(2 * s * LN2) / 2))
    free = -integral(lambda x: f(x) * np.log2(z(x)), ends, pieces)
    channel_distortion = integral(lambda x: f(x) * spent(x), ends, pieces)

    def c(at):
        # far from y there is nothing; near it the integrand is smooth
        reach = 9 / np.sqrt(2 * s * LN2)
        near = (max(ends[0], at - reach), min(ends[1], at + reach))
        return integral(lambda x: f(x) / z(x) * np.exp2(-s * (x - at) ** 2), near, 8)

    gathered = np.cumsum(q)
    core = np.linspace(*(y[np.searchsorted(gathered, share)] for share in (0.02, 0.98)), 60)
    return free, channel_distortion, max(c(at) for at in core)


# The certificate -----------------------------------------------------------------------------------------------------


@by_source
def test_bounds_agree_with_scipy_quadrature_of_the_returned_points(name):
    source, variance, _, ends = SOURCES[name]
    D = 0.2 * variance
    result = continuous.rate_at(source, D)
    assert result.converged
    free, distortion, top = recomputed(source, ends, result)
    s = float(result.slope)
    # the channel at this slope lies on the line, up to what the last slope step moved
    np.testing.assert_allclose(distortion, D, rtol=2e-3)
    at_its_own = free - s * distortion
    assert float(result.lower) <= at_its_own + s * (distortion - D) + 1e-9
    # The line of slope s through it, with the supremum from a scan: no lower bound may be above the upper one,
    # nor above what the unpolished dual point could prove with the mass at hand by more than the claimed width.
    line = free - s * D - np.log2(max(top, 1.0))
    assert line <= float(result.upper) + 1e-6  # the scan may miss the maxima by what was left of c - 1
    assert float(result.upper) - line < 1e-5
    assert float(result.lower) <= float(result.upper)


@pytest.mark.parametrize("rate", [0.25, 1.0, 3.0, 6.0])
def test_gaussian(rate):
    D = 2.0 ** (-2 * rate)
    result = continuous.rate_at(sources.gaussian(3.0), 9 * D)
    assert result.lower <= rate <= result.upper
    assert result.upper - result.lower <= 1e-6
    assert result.converged


@pytest.mark.parametrize("D", [0.9, 0.99, 0.999])
def test_gaussian_near_its_variance(D):
    """Where coarse points have a distortion that the optimum has at another slope, and the best masses are all at 0."""
    result = continuous.rate_at(sources.gaussian(1.0), D, tol=1e-7)
    assert result.lower <= -0.5 * math.log2(D) <= result.upper
    assert result.upper - result.lower <= 1e-7


@pytest.mark.parametrize("share", [0.99, 0.99999])
def test_a_uniform_source_near_its_variance_has_two_points(share):
    result = continuous.rate_at(sources.uniform(0.0, 1.0), share / 12)
    assert result.upper - result.lower <= 1e-9
    assert len(result.points) == 2


@by_source
@pytest.mark.parametrize("share", [0.7, 0.1, 0.002])
def test_shannon_bound_below_and_gaussian_above(name, share):
    source, variance, entropy, ends = SOURCES[name]
    D = share * variance
    result = continuous.rate_at(source, D)
    assert result.upper - result.lower <= 1e-6
    assert result.converged
    if entropy is None:
        f = density_of(source)
        entropy = integral(lambda x: -f(x) * np.log2(max(f(x), 1e-300)), ends, 40)
    assert shannon(entropy, D) <= result.upper + 1e-12
    assert result.lower <= -0.5 * np.log2(share)
    masses = np.asarray(result.masses)
    assert masses.min() >= 0
    np.testing.assert_allclose(masses.sum(), 1, rtol=0, atol=1e-12)


def test_uniform_to_nine_digits_where_the_reproduction_is_finite():
    for D in (0.05, 0.01, 1e-3):
        result = continuous.rate_at(sources.uniform(-0.5, 0.5), D, tol=1e-9)
        assert result.converged
        assert result.upper - result.lower <= 1e-9


def test_a_fine_discrete_problem_agrees():
    """A uniform source cut into n letters is the continuous one but for the cells' own error."""
    n, D = 256, 0.02
    result = continuous.rate_at(sources.uniform(0.0, 1.0), D)
    x = (np.arange(n) + 0.5) / n
    cell = 1 / (12 * n * n)
    # y at the letters only makes R larger, dropping the variance within cells makes D smaller by exactly `cell`
    lower, upper = oracles.rate_at(
        np.full(n, 1 / n), (x[:, None] - x[None, :]) ** 2, D - cell, bisections=30, steps=3000
    )
    assert result.lower <= upper
    assert abs(0.5 * (lower + upper) - float(result.upper)) < 2e-3


def test_scaling_and_shift():
    a = continuous.rate_at(sources.uniform(0.0, 1.0), 0.01)
    b = continuous.rate_at(sources.uniform(100.0, 110.0), 1.0)
    np.testing.assert_allclose(a.upper, b.upper, rtol=0, atol=2e-6)
    np.testing.assert_allclose(a.slope, 100 * b.slope, rtol=1e-4)


def test_mixture_of_far_components_is_a_bit_more_than_either():
    source = sources.gaussian_mixture(jnp.array([0.5, 0.5]), jnp.array([-500.0, 500.0]), jnp.array([1.0, 1.0]))
    result = continuous.rate_at(source, 1 / 16)
    assert result.lower <= 3 <= result.upper
    assert result.upper - result.lower <= 1e-6


def test_generalized_gaussian_meets_laplace_and_gaussian():
    D = 0.3
    for shape, scale, other in ((2.0, np.sqrt(2.0), sources.gaussian(1.0)), (1.0, 1.0, sources.laplace(1.0))):
        a = continuous.rate_at(sources.generalized_gaussian(shape, scale), D)
        b = continuous.rate_at(other, D)
        assert max(a.lower, b.lower) <= min(a.upper, b.upper) + 1e-9  # the ends are rounded


def test_own_density_meets_the_named_one():
    own = sources.from_log_density(lambda x: 5 - 0.5 * jnp.square((x - 3) / 2), (-np.inf, np.inf))
    result = continuous.rate_at(own, 0.25)
    assert result.lower <= 2 <= result.upper
    assert result.converged


@pytest.mark.parametrize("share", [0.5, 0.02])
def test_heavy_tails(share):
    result = continuous.rate_at(sources.student_t(3.0), 3 * share)
    f = density_of(sources.student_t(3.0))
    entropy = 2 * sum(
        quad(lambda x: -f(x) * np.log2(f(x)), a, b)[0] for a, b in ((0, 5), (5, 100), (100, 1e5), (1e5, 1e8))
    )
    assert result.upper - result.lower <= 1e-6
    assert shannon(entropy, 3 * share) <= result.upper
    assert result.lower <= -0.5 * np.log2(share)


def test_student_with_many_degrees_of_freedom_is_nearly_gaussian():
    result = continuous.rate_at(sources.student_t(1e7), 0.25)
    assert abs(float(result.upper) - 1) < 1e-6


# Samples -------------------------------------------------------------------------------------------------------------


def test_two_atoms_against_a_convex_program_over_a_fine_grid():
    x, p = np.array([-1.0, 1.0]), np.array([0.3, 0.7])
    source = sources.from_samples(jnp.array([-1.0] * 3 + [1.0] * 7))
    np.testing.assert_allclose(source.masses, p)
    D = 0.2
    result = continuous.rate_at(source, D)
    assert result.converged
    y = np.linspace(-1, 1, 201)
    lower, upper = oracles.rate_at(p, (x[:, None] - y[None, :]) ** 2, D, bisections=40, steps=3000)
    assert result.lower <= upper
    assert abs(float(result.upper) - 0.5 * (lower + upper)) < 2e-3


def test_samples_at_zero_distortion_cost_their_entropy():
    result = continuous.rate_at(sources.from_samples(jnp.array([1.0, 2.0, 2.0, 4.0])), 0.0)
    assert result.lower <= 1.5 <= result.upper
    near = continuous.rate_at(sources.from_samples(jnp.array([1.0, 2.0, 2.0, 4.0])), 1e-9)
    assert near.lower <= 1.5
    assert near.upper > 1.49999


def test_many_samples():
    x = np.random.default_rng(0).normal(size=500)
    result = continuous.rate_at(sources.from_samples(jnp.asarray(x)), 0.1 * x.var())
    assert result.upper - result.lower <= 1e-6
    assert 1.0 < result.lower < 0.5 * np.log2(10)


# Edges ---------------------------------------------------------------------------------------------------------------


def test_zero_rate_from_the_variance_on():
    for D in (1 / 12, 5.0):
        result = continuous.rate_at(sources.uniform(0.0, 1.0), D)
        assert result.lower == result.upper == 0
        np.testing.assert_allclose(result.points, [0.5])
    just = continuous.rate_at(sources.uniform(0.0, 1.0), (1 - 1e-6) / 12)
    assert 0 <= just.lower <= just.upper < 1e-4


@pytest.mark.parametrize(
    ("source", "D", "wanted"),
    [
        # shift, scale and length change nothing but the rounding allowance
        (sources.from_log_density(lambda x: -0.5 * (x - 1e6) ** 2, (-np.inf, np.inf)), 0.1, 0.5 * np.log2(10)),
        (sources.gaussian(1e-8), 0.1e-16, 0.5 * np.log2(10)),
        (sources.gaussian(1e8), 0.1e16, 0.5 * np.log2(10)),
        (sources.gaussian(1.0), 2.0**-20, 10.0),
    ],
)
def test_extreme_places_and_units(source, D, wanted):
    result = continuous.rate_at(source, D)
    assert result.lower <= wanted <= result.upper
    assert result.converged


STEPS = np.arange(7.0) ** 2 / 8
SCALED = {
    "gaussian": (sources.gaussian, 2, 0.25, 2.0),
    "exponential": (sources.exponential, 2, 0.1, 2.0),
    "mixture": (lambda s: sources.gaussian_mixture(*jnp.array([[0.5, 0.5], [-s, s], [0.5 * s, 0.2 * s]])), 2, 0.1, 2.0),
    "own": (lambda s: sources.from_log_density(lambda x: -np.abs(x / s), (-np.inf, np.inf)), 2, 0.5, 2.0),
    "samples": (lambda s: sources.from_samples(STEPS * s), 2, 0.5, 2.0),
    "samples, absolute": (lambda s: sources.from_samples(STEPS * s), 1, 0.5, abs),
    "uniform, cube": (lambda s: sources.uniform(-s, s), 3, 0.1, 3.0),
}


@pytest.mark.parametrize("name", SCALED)
def test_the_rate_does_not_depend_on_the_unit_of_length(name):
    make, power, D, difference = SCALED[name]
    plain = continuous.rate_at(make(1.0), D, difference=difference)
    assert plain.converged
    for exponent in (-300, 300) if power < 3 else (-200, 200):
        scale = 2.0**exponent  # rounds nothing, but no rule sees the digits
        found = continuous.rate_at(make(scale), D * scale**power, difference=difference)
        assert found.converged
        assert max(plain.lower, found.lower) <= min(plain.upper, found.upper)
        np.testing.assert_allclose(float(found.slope) * scale**power, plain.slope, rtol=1e-2)
        np.testing.assert_allclose(found.distortion, D * scale**power, rtol=1e-15)
        spread = [np.sqrt(r.masses @ (np.asarray(r.points) / s) ** 2) for r, s in ((plain, 1.0), (found, scale))]
        np.testing.assert_allclose(*spread, rtol=1e-3)


def test_units_at_the_end_of_the_range():
    assert continuous.rate_at(sources.gaussian(1e90), 2.5e179).lower == pytest.approx(1.0, abs=1e-6)
    found = continuous.rate_at(sources.gaussian(1e-100), 9e-201)
    wanted = -0.5 * np.log2(0.9)
    assert found.lower <= wanted <= found.upper < wanted + 1e-6
    # Below, distortions have few digits left or none, and slopes are beyond all numbers.
    found = continuous.rate_at(sources.from_samples(STEPS * 1e-160), 2.5e-320 / 2)
    assert found.converged
    with pytest.raises(ValueError, match="too small beside the source's scale"):
        continuous.rate_at(sources.gaussian(1e200), 0.1)
    assert continuous.rate_at(sources.gaussian(1e-200), 0.1).upper == 0


@pytest.mark.parametrize(
    ("source", "D", "width"),
    [
        (lambda at: sources.uniform(at, at + 1), 0.01, 1e-6),
        (lambda at: sources.from_samples(at + STEPS), 0.5, 1e-6),
        # what the density is asked at was rounded there
        (lambda at: sources.gaussian_mixture(*jnp.array([[1.0], [at], [1.0]])), 0.1, 1e-5),
    ],
)
def test_far_from_zero_it_is_as_about_zero(source, D, width):
    plain, far = (continuous.rate_at(source(at), D) for at in (0.0, 1e9))
    assert max(plain.lower, far.lower) <= min(plain.upper, far.upper)
    assert far.upper - far.lower <= width
    assert abs(float(far.masses @ (far.points - 1e9)) - float(plain.masses @ plain.points)) < 1e-3


def test_a_source_far_from_zero_for_its_width_is_no_constant():
    source = sources.from_log_density(lambda x: -0.5 * ((x - 1e9) / 1e-5) ** 2, (-np.inf, np.inf), breaks=(1e9,))
    result = continuous.rate_at(source, 0.25e-10)
    assert 0.5 < result.lower <= 1 <= result.upper < 1.5


def test_a_variance_lost_in_rounding_is_refused():
    narrow = sources.from_log_density(lambda x: -0.5 * ((x - 1e6) / 0.01) ** 2, (-np.inf, np.inf), breaks=(1e6,))
    with pytest.raises(ValueError, match="center the source"):
        law_of(narrow._replace(breaks=np.array([0.0, 1e6]), scale=1.0))


def test_a_jump_nobody_told_about_is_found():
    told = sources.from_log_density(lambda x: np.where(x < 0.3217, 0.0, 1.5), (0.0, 1.0), breaks=(0.3217,))
    untold = told._replace(breaks=np.array([0.5]))
    a, b = continuous.rate_at(told, 0.003), continuous.rate_at(untold, 0.003)
    assert a.converged
    assert max(a.lower, b.lower) <= min(a.upper, b.upper) + 1e-12


def test_a_peak_far_from_where_nodes_are_crowded_is_found():
    """Uniform on a short piece or, in a gap there, the square of a uniform number: half of the mass each."""
    place, width = 0.865557526512877, 2e-4
    ends = (place - width / 2, place + width / 2)

    def log_density(x):
        return np.where(np.abs(x - place) < width / 2, -math.log(width), math.log(0.5) - 0.5 * np.log(x))

    a, b = (continuous.rate_at(sources.from_log_density(log_density, (0.0, 1.0), told), 0.01) for told in ((), ends))
    assert max(a.lower, b.lower) <= min(a.upper, b.upper) + 1e-9  # the ends are rounded
    np.testing.assert_allclose(a.lower, b.lower, atol=1e-6)


def test_what_cannot_be_integrated_or_resolved_is_said():
    flat = sources.from_log_density(lambda x: 0 * x, (-np.inf, np.inf))
    with pytest.raises(ValueError, match="must fall faster"):
        continuous.rate_at(flat, 0.1)
    far = sources.gaussian_mixture(jnp.array([0.5, 0.5]), jnp.array([-1e4, 1e4]), jnp.array([1.0, 0.001]))
    with pytest.raises(ValueError, match="widths of the kernel"):
        continuous.rate_at(far, 1e-4)


def test_bad_input_is_named():
    source = sources.gaussian(1.0)
    with pytest.raises(ValueError, match="infinite rate at distortion zero"):
        continuous.rate_at(source, 0.0)
    with pytest.raises(ValueError, match="distortion must be >= 0"):
        continuous.rate_at(source, -1.0)
    with pytest.raises(ValueError, match="distortion must be >= 0"):
        continuous.rate_at(source, np.nan)
    with pytest.raises(TypeError, match="outside jit, vmap and grad"):
        jax.jit(lambda D: continuous.rate_at(source, D))(0.1)


def test_few_rounds_leave_an_honest_interval():
    best = continuous.rate_at(sources.laplace(1.0), 0.4)
    for rounds in (1, 2, 3):
        rough = continuous.rate_at(sources.laplace(1.0), 0.4, max_steps=rounds)
        assert rough.lower <= best.upper
        assert best.lower <= rough.upper
        assert rough.steps <= rounds
    assert not continuous.rate_at(sources.laplace(1.0), 0.4, max_steps=1).converged


def test_a_density_may_have_a_pole_at_any_end():
    """The square of a uniform number, its mirror image at one, and the arcsine law."""
    laws = [
        (lambda x: -0.5 * np.log(x), (0.0, 1.0)),
        (lambda x: -0.5 * np.log(1 - x), (0.0, 1.0)),
        (lambda x: -0.5 * np.log((1 - x) * (1 + x)), (-1.0, 1.0)),
    ]
    one, other, both = (
        continuous.rate_at(sources.from_log_density(*law), D)
        for law, D in zip(laws, (1 / 45, 1 / 45, 1 / 8), strict=True)
    )
    assert one.converged
    assert other.converged
    assert both.converged
    assert one.lower <= other.upper
    assert other.lower <= one.upper
    entropy = np.log2(np.pi / 2)  # of the arcsine law: Shannon's lower bound, and a Gaussian of its variance
    assert entropy - 0.5 * np.log2(2 * np.pi * np.e / 8) <= both.upper <= 1


def test_a_steep_pole():
    """The twentieth power of a uniform number: of its quantiles, an atom for most, R(D) is within a thousandth."""
    D = 0.1 * (1 / 41 - 1 / 441)
    found = continuous.rate_at(sources.from_log_density(lambda x: -0.95 * np.log(x), (0.0, 1.0)), D)
    quantiles = ((np.arange(2000) + 0.5) / 2000) ** 20
    wanted = continuous.rate_at(sources.from_samples(np.where(quantiles < 1e-3, 0.0, quantiles)), D, tol=1e-4)
    np.testing.assert_allclose([found.lower, found.upper], wanted.upper, atol=1e-3)
    assert found.converged
    with pytest.raises(ValueError, match="cannot be integrated"):
        continuous.rate_at(sources.from_log_density(lambda x: -0.999 * np.log(x), (0.0, 1.0)), D)


def test_a_supremum_from_the_points_alone_would_have_been_wrong():
    """At the points found by the interior point c is one; between them it is not, and the certificate knows."""
    result = continuous.rate_at(sources.uniform(0.0, 1.0), 0.01, max_steps=1)
    source, _, _, ends = SOURCES["uniform"]
    free, _, _ = recomputed(source, ends, result)
    on_points_only = free - float(result.slope) * float(result.distortion)
    truth = continuous.rate_at(source, 0.01, tol=1e-9)
    assert on_points_only > truth.upper + 1e-5  # corrupted: a "lower bound" above R
    assert result.lower <= truth.upper


def test_top_level_names():
    assert rd.continuous is continuous
    assert rd.sources is sources


def test_a_curve_is_its_points_padded():
    source, D = rd.sources.uniform(-1.0, 1.0), np.array([0.02, 0.3, 0.4])
    found = rd.continuous.curve(source, D)
    assert found.points.shape == found.masses.shape == (3, 6)
    for k, distortion in enumerate(D):
        point = rd.continuous.rate_at(source, distortion)
        count = len(point.points)
        np.testing.assert_array_equal(found.points[k], np.append(point.points, np.full(6 - count, np.nan)))
        np.testing.assert_array_equal(found.masses[k], np.append(point.masses, np.zeros(6 - count)))
        assert (found.lower[k], found.upper[k], found.slope[k]) == (point.lower, point.upper, point.slope)
    with pytest.raises(ValueError, match="distortions"):
        rd.continuous.curve(source, np.array([-1.0]))


@pytest.mark.parametrize(
    ("source", "exact", "difference"),
    [
        (sources.gaussian(2.0), lambda D: np.maximum(0.5 * np.log2(4.0 / D), 0.0), 2.0),
        (sources.laplace(1.0), lambda D: np.maximum(-np.log2(D), 0.0), 1.0),
    ],
    ids=["gaussian", "laplace"],
)
def test_a_whole_curve_leaves_nowhere_more_than_was_asked_for(source, exact, difference):
    points = rd.continuous.curve(source, least=0.1, tol=0.02, difference=difference)
    D = np.concatenate([np.linspace(0.1, 9.0, 500), np.geomspace(0.1, 100.0, 100)])
    between = rd.continuous.band(points, D)
    assert np.all(between.lower <= exact(D) + 1e-12) and np.all(exact(D) <= between.upper + 1e-12)
    assert float(np.max(between.upper - between.lower)) <= 0.02
    assert np.all(np.diff(points.distortion) > 0) and points.distortion[0] == 0.1 and points.upper[-1] <= 0.02
    assert len(points.upper) < 40


@pytest.mark.parametrize(
    ("source", "exact", "difference"),
    [
        (sources.gaussian(1.0), lambda D: -0.5 * np.log2(D), 2.0),
        (sources.laplace(1.0), lambda D: -np.log2(D), 1.0),
    ],
    ids=["gaussian", "laplace"],
)
def test_where_shannons_bound_is_the_higher_one_the_slope_is_its_own(source, exact, difference):
    """One round is too few for the slope: through that bound its line would cross R(D)."""
    point = rd.continuous.rate_at(source, 0.7, max_steps=1, difference=difference)
    D = np.linspace(0.5, 0.95, 200)
    between = rd.continuous.band(point, D)
    assert np.all(between.lower <= exact(D) + 1e-12)
    assert point.lower > exact(0.7) - 1e-10


def test_a_whole_curve_needs_to_know_where_it_begins(as_user):
    source = rd.sources.uniform(0.0, 1.0)
    for given in ({}, {"distortions": np.ones(1), "least": 0.1}):
        with pytest.raises(TypeError, match="distortions or least"):
            rd.continuous.curve(source, **given)
    with pytest.raises(ValueError, match="least and tol must be > 0"):
        rd.continuous.curve(source, least=0.0)
