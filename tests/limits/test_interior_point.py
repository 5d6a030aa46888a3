"""Where Blahut-Arimoto stalls the interior point certifies nine digits; straight pieces of R(D) come back as such."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdtheory as rd
from tests.limits.certificate import assert_certified, assert_honest
from tests.problems import (
    BIASED_COIN,
    BIASED_COIN_CRITICAL_SLOPE,
    FAIR_COIN,
    PROBLEMS,
    REFUSAL,
    Problem,
    entropy,
    free_distortion,
    hamming,
    least_distortion,
    refusal_slope,
)

NAMED = {problem.name: problem for problem in PROBLEMS}
TOL = 1e-9


def unnamed(p, d):
    return FAIR_COIN._replace(source_pmf=np.asarray(p), distortion_matrix=np.asarray(d), exact=None)


def solve(problem: Problem, slope, **options):
    return rd.interior_point(problem.source_pmf, problem.distortion_matrix, slope, **options)


def assert_nine_digits(problem: Problem, slope):
    result = solve(problem, slope)
    assert_certified(problem, result)
    assert result.gap <= TOL, f"gap {result.gap} after {result.steps} steps"
    assert result.converged
    assert result.steps <= 300  # the two probes for a straight piece included
    return result


# Nine digits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.3, 0.1, 1e-3, 1e-6])
@pytest.mark.parametrize("factor", [1, 1 - 1e-8, 1 + 1e-8, 1 - 1e-4, 1 + 1e-4, 1.01, 3.0])
def test_bernoulli_at_and_near_its_critical_slope(p, factor):
    slope = factor * np.log2((1 - p) / p)
    result = assert_nine_digits(unnamed([1 - p, p], hamming(2)), slope)
    D = min(1 / (1 + 2**slope), p)
    # F(s) = R + s D is flat in q to first order, so it is known better than either.
    exact = max(entropy([p, 1 - p]) - entropy([D, 1 - D]), 0.0) + slope * D
    assert exact - 1e-13 <= result.rate + slope * result.distortion <= exact + result.gap + 1e-13


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
@pytest.mark.parametrize("slope", [0.0, 1e-3, 0.4, 1.0, BIASED_COIN_CRITICAL_SLOPE, 4.0, 50.0, 1e4, np.inf])
def test_every_known_problem_at_every_slope(problem, slope):
    result = assert_nine_digits(problem, slope)
    if problem.exact:
        assert_honest(problem.exact(float(result.distortion)), result)
    if slope == np.inf:
        np.testing.assert_allclose(result.distortion, least_distortion(problem), rtol=1e-14)
    if slope == 0 and free_distortion(problem) < np.inf:
        np.testing.assert_allclose(result.distortion, free_distortion(problem), rtol=1e-14)


@pytest.mark.parametrize("n", [8, 3, 2, 1])
@pytest.mark.parametrize("m", [7, 3, 2, 1])
def test_every_small_shape(n, m):
    rng = np.random.default_rng(100 * n + m)
    problem = unnamed(rng.dirichlet(np.ones(n)), rng.uniform(size=(n, m)))
    for slope in (0.0, 0.5, 5.0, 50.0, np.inf):
        assert_nine_digits(problem, slope)


@pytest.mark.parametrize("difference", [0.0, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3])
def test_duplicates_and_near_duplicates(difference):
    rng = np.random.default_rng(0)
    d = np.tile(rng.uniform(size=(7, 5)), 3)
    problem = unnamed(rng.dirichlet(np.ones(7)), d + difference * rng.uniform(size=d.shape))
    for slope in (0.0, 1.0, 6.0, 20.0, 200.0, np.inf):
        assert_nine_digits(problem, slope)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_forbidden_and_zero_mass_letters(seed, share):
    rng = np.random.default_rng(seed)
    n, m = 14, 11
    d = np.where(rng.random((n, m)) < share, np.inf, rng.exponential(size=(n, m)))
    d[np.arange(n), rng.integers(m, size=n)] = 0.0
    p = rng.dirichlet(np.ones(n)) * (rng.random(n) < 0.6)
    d[np.flatnonzero(p == 0)[:1]] = np.inf  # a row without mass may forbid everything
    for slope in (0.0, 0.3, 2.0, 30.0, np.inf):
        assert_nine_digits(unnamed(p / p.sum(), d), slope)


DENSITIES = {
    "gaussian": lambda x: np.exp(-(x**2) / 2),
    "uniform": lambda x: (np.abs(x) <= np.sqrt(3)).astype(float),
    "laplace": lambda x: np.exp(-np.sqrt(2) * np.abs(x)),
    "mixture": lambda x: np.exp(-((x - 2) ** 2) / 0.5) + 0.5 * np.exp(-((x + 2) ** 2) / 2),
}


def grid(density, size, half_width, power=2):
    x = np.linspace(-half_width, half_width, size)
    p = DENSITIES[density](x)
    return unnamed(p / p.sum(), np.abs(x[:, None] - x) ** power)


def slope_of(rate):
    """Of a unit Gaussian under squared error at that many bits."""
    return 4**rate / (2 * np.log(2))


@pytest.mark.parametrize("density", list(DENSITIES))
@pytest.mark.parametrize("half_width", [5, 8, 10])
def test_grids_of_continuous_sources(density, half_width):
    for rate in (0.5, 1.0, 2.0, 4.0):
        assert_nine_digits(grid(density, 64, half_width), slope_of(rate))
    assert_nine_digits(grid(density, 64, half_width, power=1), 3.0)


def test_a_fine_grid_of_a_continuous_source():
    assert_nine_digits(grid("gaussian", 256, 8), slope_of(2))


@pytest.mark.long
@pytest.mark.parametrize("density", list(DENSITIES))
@pytest.mark.parametrize("half_width", [5, 8, 10])
@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0, 3.0, 4.0])
def test_all_fine_grids_of_continuous_sources(density, half_width, rate):
    assert_nine_digits(grid(density, 256, half_width), slope_of(rate))


@pytest.mark.parametrize(("n", "m"), [(200, 200), (50, 200), (200, 50)])
def test_random_matrices(n, m):
    rng = np.random.default_rng(n + 2 * m)
    problem = unnamed(rng.dirichlet(np.ones(n)), rng.uniform(size=(n, m)))
    for slope in (0.0, 10.0):
        assert_nine_digits(problem, slope)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_of_distortion_do_not_matter(scale):
    problem = NAMED["random"]
    scaled = problem._replace(distortion_matrix=problem.distortion_matrix * scale)
    result = assert_nine_digits(scaled, 4.0 / scale)
    np.testing.assert_allclose(result.distortion, scale * solve(problem, 4.0).distortion, rtol=1e-7)


def test_masses_of_very_different_size():
    rng = np.random.default_rng(3)
    p = 10.0 ** -rng.uniform(0, 15, size=12)
    problem = unnamed(p / p.sum(), rng.uniform(size=(12, 9)))
    for slope in (0.0, 1.0, 10.0, 100.0, np.inf):
        assert_nine_digits(problem, slope)


# Stopped early -------------------------------------------------------------------------------------------------------

STOPPED = [
    (BIASED_COIN, BIASED_COIN_CRITICAL_SLOPE),
    (REFUSAL, refusal_slope(0.2)),
    (NAMED["random"], 4.0),
    (NAMED["erasure, biased"], 2.0),
    (NAMED["absolute error"], 1.5),
    (grid("gaussian", 64, 8), slope_of(2)),
]


@pytest.mark.parametrize(("problem", "slope"), STOPPED, ids=[problem.name for problem, _ in STOPPED[:-1]] + ["grid"])
def test_the_best_so_far_is_honest_and_never_gets_worse(problem, slope):
    results = [solve(problem, slope, max_steps=steps) for steps in (1, 2, 3, 5, 8, 500)]
    for steps, result in zip((1, 2, 3, 5, 8, 500), results, strict=True):
        assert_certified(problem, result)
        assert result.steps <= steps
        assert bool(result.converged) == bool(result.gap <= TOL)
        if problem.exact:
            assert_honest(problem.exact(float(result.distortion)), result)
    gaps = np.array([result.gap for result in results])
    assert (np.diff(gaps) <= 0).all(), gaps
    assert gaps[0] > 1e-4 or problem is REFUSAL  # there the uniform pmf, where it begins, is optimal
    assert gaps[-1] <= TOL


@pytest.mark.parametrize("solver", ["rate_at", "distortion_at"])
def test_a_search_cut_short_is_honest(solver):
    for problem in (BIASED_COIN, REFUSAL, NAMED["random"], NAMED["erasure, biased"]):
        for value in (0.45, 0.5) if problem.name == "random" else (0.05, 0.15):
            for steps in (1, 2, 3, 5, 20):
                result = getattr(rd, solver)(problem.source_pmf, problem.distortion_matrix, value, max_steps=steps)
                assert_certified(problem, result)
                assert result.steps <= steps
                assert bool(result.converged) == bool(result.gap <= TOL)


def test_a_tolerance_that_rounding_does_not_allow_ends_with_the_smallest_gap():
    result = solve(NAMED["random"], 4.0, tol=0.0)
    assert_certified(NAMED["random"], result)
    assert not result.converged
    assert result.gap < 1e-12
    assert result.steps < 300


# Straight pieces -----------------------------------------------------------------------------------------------------

STRAIGHT = {
    # slope, ends: the coin is refused, or the die erased, instead of described better or worse
    "coin with refusal": (refusal_slope(0.2), [1 / (1 + 2 ** refusal_slope(0.2)), 0.2]),
    "erasure, fair die": (np.log2(3), [0.0, 1.0]),
    "erasure, biased": (np.log2(3), [0.0, 0.3]),  # up to where the rarest letter is always erased
}


@pytest.mark.parametrize("name", list(STRAIGHT))
def test_a_straight_piece_is_reported_with_its_ends(name):
    problem, (slope, ends) = NAMED[name], STRAIGHT[name]
    p, d = problem.source_pmf, problem.distortion_matrix
    result = assert_nine_digits(problem, slope)
    # Found at slopes 1e-6 apart: the ends are off by about 1e-6 of D where the curve goes on smoothly.
    np.testing.assert_allclose(result.segment, ends, rtol=0, atol=2e-6)
    assert result.segment[0] <= result.distortion <= result.segment[1]
    for share in (0.1, 0.5, 0.9):
        D = ends[0] + share * (ends[1] - ends[0])
        there = rd.rate_at(p, d, D)
        assert there.converged
        assert_certified(problem, there)
        np.testing.assert_allclose(there.slope, slope, rtol=1e-7)
        np.testing.assert_allclose(there.segment, ends, rtol=0, atol=2e-6)
        np.testing.assert_allclose(there.rate, problem.exact(D), rtol=0, atol=TOL)
        back = rd.distortion_at(p, d, problem.exact(D))
        assert back.converged
        np.testing.assert_allclose(back.segment, ends, rtol=0, atol=2e-6)
        np.testing.assert_allclose(back.distortion, D, rtol=0, atol=2e-9)
    points = rd.curve(p, d, jnp.array([0.8 * slope, slope, 1.2 * slope]))
    np.testing.assert_allclose(points.segment[1], ends, rtol=0, atol=2e-6)
    for i in (0, 2):
        np.testing.assert_array_equal(points.segment[i], jnp.full(2, points.distortion[i]))


def test_r_is_straight_between_the_ends_of_a_segment_that_no_formula_gave():
    """All three of a coin, a refusal and a noisy description: two pieces, found by looking for them."""
    p, d = np.array([0.5, 0.5]), np.array([[0.0, 1.0, 0.2, 0.08, 0.6], [1.0, 0.0, 0.2, 0.6, 0.08]])
    segments = [np.asarray(rd.rate_at(p, d, D).segment) for D in np.linspace(0.01, 0.19, 10)]
    wide = [segment for segment in segments if segment[1] - segment[0] > 1e-3]
    assert wide
    for low, high in wide:
        ends = [float(rd.rate_at(p, d, D).rate) for D in (low, high)]
        for share in (0.2, 0.6):
            D = (1 - share) * low + share * high
            chord = (1 - share) * ends[0] + share * ends[1]
            np.testing.assert_allclose(rd.rate_at(p, d, D).rate, chord, rtol=0, atol=3e-9)


@pytest.mark.parametrize("problem", [FAIR_COIN, BIASED_COIN, NAMED["fair die"], NAMED["four letters"]])
def test_a_strictly_convex_curve_has_no_straight_piece(problem):
    p, d = problem.source_pmf, problem.distortion_matrix
    free = free_distortion(problem)
    results = [solve(problem, slope) for slope in (0.5, BIASED_COIN_CRITICAL_SLOPE, 2.0, 5.0, 15.0)]
    results += [rd.rate_at(p, d, share * free) for share in (0.01, 0.3, 0.9, 0.999)]
    results += [rd.distortion_at(p, d, share * entropy(p)) for share in (0.01, 0.3, 0.9)]
    for result in results:
        np.testing.assert_array_equal(result.segment, jnp.full(2, result.distortion))


@pytest.mark.parametrize("slope", [0.0, np.inf])
def test_the_ends_of_the_curve_are_points(slope):
    for problem in (BIASED_COIN, REFUSAL):
        result = solve(problem, slope)
        np.testing.assert_array_equal(result.segment, jnp.full(2, result.distortion))


def test_a_probe_cut_off_by_the_budget_claims_no_straight_piece():
    for problem, slope in ((BIASED_COIN, 2.0), (NAMED["four letters"], 2.0), (NAMED["random"], 4.0)):
        for steps in range(1, 25):
            result = solve(problem, slope, max_steps=steps)
            np.testing.assert_array_equal(result.segment, jnp.full(2, result.distortion))


# The search for the slope --------------------------------------------------------------------------------------------


def test_a_channel_that_hardly_depends_on_the_slope():
    """At this q the slope at which the channel meets D is far from the one at which q is optimal."""
    d = np.array(
        [[1.2, np.inf, 1.7e-2, 3.3e-3, 9.4876e-5, 5.7e-3], [2.4e-2, 2.1e-2, 3.3e-2, 0.21, 1.2565e-4, 5.0579e-4]]
    )
    d = np.vstack([d, [0.2, 8e-2, 3.9619e-4, 3.8e-3, 7.7e-2, 2.1194e-3]])
    d = np.column_stack([d, [1.5, np.inf, 6.9685e-5]])
    problem = unnamed([0.2387, 0.2782, 0.4831], d)
    least = least_distortion(problem)
    for share in (1e-9, 1e-6, 1e-4, 1e-2):
        result = rd.rate_at(problem.source_pmf, d, least + share * 1e-3)
        assert_certified(problem, result)
        assert result.converged


@pytest.mark.parametrize("slope", [1e-9, 1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("max_steps", [1, 3, 1000])
def test_where_the_rate_is_zero_the_lagrangian_is_the_price_of_the_best_letter(slope, max_steps):
    rng = np.random.default_rng(11)
    p, d = rng.dirichlet(np.ones(8)), rng.uniform(size=(8, 8))
    result = rd.discrete.lagrangian(p, d, slope, max_steps=max_steps)
    exact = slope * (p @ d).min()
    assert result.value - result.gap <= exact <= result.value
    assert result.converged == (result.gap <= TOL)


# Which algorithm -----------------------------------------------------------------------------------------------------


def test_the_method_is_named():
    p, d = BIASED_COIN.source_pmf, BIASED_COIN.distortion_matrix
    for result, name in [
        (rd.blahut_arimoto(p, d, 2.0), "Blahut-Arimoto"),
        (rd.algorithms.accelerated_blahut_arimoto(p, d, 2.0), "accelerated Blahut-Arimoto"),
        (solve(BIASED_COIN, 2.0), "interior point"),
        (rd.rate_at(p, d, 0.1), "interior point"),
        (rd.distortion_at(p, d, 0.5), "interior point"),
        (jax.tree.map(lambda leaf: leaf[0], jax.device_get(rd.curve(p, d, np.array([2.0])))), "interior point"),
    ]:
        assert rd.discrete.METHODS[int(result.method)] == name


# First-order with acceleration ---------------------------------------------------------------------------------------

SLOW = {
    "near critical": (BIASED_COIN, 1.01 * BIASED_COIN_CRITICAL_SLOPE),
    "gaussian grid": (grid("gaussian", 16, 4), slope_of(1)),
    "near duplicates": (unnamed([0.6, 0.4], [[0, 1, 0.01], [1, 0, 1.05]]), 3.0),
    "laplace grid": (grid("laplace", 64, 5), 2.88),
}


@pytest.mark.parametrize("name", list(SLOW))
def test_acceleration_saves_steps_where_plain_ones_are_slow(name):
    problem, slope = SLOW[name]
    p, d = problem.source_pmf, problem.distortion_matrix
    tol = 1e-7
    plain = rd.blahut_arimoto(p, d, slope, tol=tol, max_steps=100_000)
    fast = rd.algorithms.accelerated_blahut_arimoto(p, d, slope, tol=tol, max_steps=100_000)
    assert_certified(problem, fast)
    assert fast.converged
    assert plain.steps > 300 or not plain.converged
    assert fast.steps < plain.steps / 2


@pytest.mark.parametrize("name", list(SLOW))
def test_acceleration_is_honest_and_keeps_its_best(name):
    problem, slope = SLOW[name]
    gaps = []
    for steps in (1, 2, 3, 5, 10, 30, 100, 300):
        result = rd.algorithms.accelerated_blahut_arimoto(
            problem.source_pmf, problem.distortion_matrix, slope, max_steps=steps
        )
        assert_certified(problem, result)
        assert result.steps <= steps
        gaps.append(float(result.gap))
    assert (np.diff(gaps) <= 0).all(), gaps


# What a user gets wrong, and where the curve ends --------------------------------------------------------------------


@pytest.mark.parametrize("slope", [-1.0, -np.inf, np.nan])
@pytest.mark.parametrize("solver", [rd.interior_point, rd.algorithms.accelerated_blahut_arimoto])
def test_a_slope_that_is_negative_or_nan_raises(solver, slope):
    with pytest.raises(ValueError, match="slope must be >= 0"):
        solver(BIASED_COIN.source_pmf, BIASED_COIN.distortion_matrix, slope)


def test_an_infinite_slope_has_no_lagrangian():
    with pytest.raises(ValueError, match="slope must be >= 0 and finite"):
        rd.discrete.lagrangian(BIASED_COIN.source_pmf, BIASED_COIN.distortion_matrix, np.inf)


def test_a_distortion_below_the_least_raises_and_above_the_largest_costs_nothing():
    p, d = np.array([0.7, 0.3]), np.array([[5.0, 6.0], [3.0, 2.0]])
    with pytest.raises(ValueError, match="distortion must be at least 4.1"):
        rd.rate_at(p, d, 4.0)
    for D in (4.5, 1e9, np.inf):
        result = rd.rate_at(p, d, D)
        assert result.converged
        np.testing.assert_allclose(result.rate, 0.0, atol=1e-13)
        assert result.distortion == D


def test_a_rate_that_forbidden_letters_make_unreachable_is_flagged():
    p, d = np.array([0.3, 0.7]), np.array([[0.0, np.inf], [np.inf, 0.0]])
    result = rd.distortion_at(p, d, 0.1)
    assert not result.converged
    assert result.rate - result.gap <= entropy(p) <= result.rate
    np.testing.assert_allclose(result.rate, entropy(p), atol=TOL)


@pytest.mark.parametrize(("p", "d"), [([1.0], [[2.0, 1.0, 3.0]]), ([0.2, 0.3, 0.5], [[1.0], [0.0], [2.0]])])
def test_one_letter_on_either_side(p, d):
    problem = unnamed(p, d)
    D = least_distortion(problem)
    results = [solver(np.array(p), np.array(d), value) for solver, value in [
        (rd.interior_point, 0.0), (rd.interior_point, 2.0), (rd.interior_point, np.inf), (rd.rate_at, D),
        (rd.rate_at, D + 1), (rd.distortion_at, 0.0), (rd.distortion_at, 3.0),
    ]]  # fmt: skip
    for result in results:
        assert result.converged
        np.testing.assert_allclose(result.rate, 0.0, atol=1e-13)
        assert_certified(problem, result)
    for result in (*results[:4], *results[5:]):
        np.testing.assert_allclose(result.distortion, D, rtol=1e-12)


# Slopes that are to be found ------------------------------------------------------------------------------------------


def test_a_distortion_or_a_rate_takes_about_as_many_steps_as_a_slope():
    rng = np.random.default_rng(0)
    p, d = rng.dirichlet(np.ones(8), 200), rng.uniform(size=(200, 8, 8))
    least, most = np.sum(p * d.min(2), 1), np.einsum("ki,kij->kj", p, d).min(1)
    at_distortion, at_rate = (jax.jit(jax.vmap(verb)) for verb in (rd.rate_at, rd.distortion_at))

    def at(share):
        found = at_distortion(p, d, least + share * (most - least))
        assert jnp.all(found.converged)
        return found

    met = at(rng.uniform(0.05, 0.95, 200))
    back = at_rate(p, d, met.rate)
    given = jax.jit(jax.vmap(rd.interior_point))(p, d, met.slope)
    assert jnp.all(back.converged)
    np.testing.assert_allclose(back.distortion, met.distortion, rtol=1e-6)
    assert jnp.mean(met.steps) <= 2 * jnp.mean(given.steps)
    assert jnp.mean(back.steps) <= 4 * jnp.mean(given.steps)
    # Where the slope is found only by a search: letters hardly in use, and slopes that are hardly finite.
    at(1 - 10.0 ** rng.uniform(-8, -3, 200))
    at(10.0 ** rng.uniform(-8, -3, 200))
