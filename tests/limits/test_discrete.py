import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rdtheory as rd
from rdtheory.limits.discrete.kernels import Matrix
from rdtheory.limits.discrete.matched_slope import SLOPE
from rdtheory.limits.discrete.solvers import columns
from tests import oracles
from tests.limits.certificate import assert_certified, assert_honest
from tests.problems import (
    BIASED_COIN,
    BIASED_COIN_CRITICAL_SLOPE,
    FAIR_COIN,
    LOSSLESS,
    PROBLEMS,
    REFUSAL,
    entropy,
    free_distortion,
    hamming,
    least_distortion,
    refusal_slope,
)
from tests.transforms import assert_close, assert_only_bad_items_are_nan, assert_transforms_agree

by_name = functools.partial(pytest.mark.parametrize, "problem", ids=lambda problem: problem.name)
every_problem = by_name(PROBLEMS)
exact_problem = by_name([problem for problem in PROBLEMS if problem.exact])
bounded_problem = by_name([problem for problem in PROBLEMS if np.isfinite(free_distortion(problem))])
open_problem = by_name([problem for problem in PROBLEMS if not problem.exact])
BUDGETS = [1, 3, 10, 2000]
SLOPES = [0.0, 0.3, 1.0, BIASED_COIN_CRITICAL_SLOPE, 3.0, 12.0, 60.0, np.inf]
RATE_FRACTIONS = [0.0, 1e-6, 0.1, 0.5, 0.9, 1.0, 1.5]


def distortions_of(problem):
    least, free = least_distortion(problem), free_distortion(problem)
    if np.isinf(free):
        return [least, least + 0.5, least + 3.0]
    inside = [least + share * (free - least) for share in (1e-9, 1e-3, 0.1, 0.3, 0.7, 0.95, 1 - 1e-9)]
    return [least, *inside, free, free * (1 + 1e-12), free + 1.0]


def solve_everywhere(problem, max_steps):
    """Every solver at several slopes, distortions and rates."""
    p, d = problem.source_pmf, problem.distortion_matrix
    for slope in SLOPES:
        yield rd.blahut_arimoto(p, d, slope, max_steps=max_steps)
        yield rd.algorithms.accelerated_blahut_arimoto(p, d, slope, max_steps=max_steps)
        yield rd.interior_point(p, d, slope, max_steps=max_steps)
    for D in distortions_of(problem):
        yield rd.rate_at(p, d, D, max_steps=max_steps)
    for fraction in RATE_FRACTIONS:
        yield rd.distortion_at(p, d, fraction * entropy(p), max_steps=max_steps)


@functools.cache
def solved(name, max_steps):
    """For all tests of the certificate."""
    (problem,) = (problem for problem in PROBLEMS if problem.name == name)
    return list(solve_everywhere(problem, max_steps))


# The certificate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_steps", BUDGETS)
@exact_problem
def test_the_exact_rate_lies_in_the_certified_interval_converged_or_not(problem, max_steps):
    for result in solved(problem.name, max_steps):
        assert_honest(problem.exact(float(result.distortion)), result)


@pytest.mark.parametrize("max_steps", BUDGETS)
@every_problem
def test_the_certificate_is_what_numpy_finds_from_q_and_the_slope(problem, max_steps):
    for result in solved(problem.name, max_steps):
        assert_certified(problem, result)
        assert bool(result.converged) == (float(result.gap) <= rd.algorithms.TOL)
        assert int(result.steps) <= max_steps


@open_problem
def test_certified_intervals_of_the_solver_and_of_a_bisection_oracle_overlap(problem):
    p, d = problem.source_pmf, problem.distortion_matrix
    least, free = least_distortion(problem), free_distortion(problem)
    for share in (0.2, 0.5, 0.8):
        D = least + share * (free - least)
        lower, upper = oracles.rate_at(p, d, D, bisections=40, steps=1500)
        result = rd.rate_at(p, d, D)
        assert result.converged
        assert result.rate - result.gap <= upper + 1e-13
        assert lower - 1e-13 <= result.rate
        assert upper - lower < 1e-6


@open_problem
def test_a_general_nonlinear_solver_of_the_dual_finds_the_same_rate(problem):
    p, d = problem.source_pmf, problem.distortion_matrix
    for share in (0.1, 1 / 3, 0.8):
        D = (1 - share) * least_distortion(problem) + share * free_distortion(problem)
        result = rd.rate_at(p, d, D)
        found = oracles.dual_rate_at(p, d, D)
        assert found <= result.rate + 1e-13  # it proves that no channel is better
        assert result.rate - result.gap <= found + 1e-8


@pytest.mark.parametrize("solver", ["blahut_arimoto", "rate_at", "distortion_at"])
def test_a_corrupted_certificate_is_caught(solver):
    argument = {"blahut_arimoto": 2.0, "rate_at": 0.15, "distortion_at": 0.4}[solver]
    p, d = BIASED_COIN.source_pmf, BIASED_COIN.distortion_matrix
    result = getattr(rd, solver)(p, d, argument, max_steps=3)
    assert result.gap > 1e-6
    assert_certified(BIASED_COIN, result)
    _, _, lower = oracles.point_of(p, d, np.asarray(result.reproduction_pmf), float(result.slope))
    proved = result.rate - lower(float(result.distortion))
    assert result.gap >= proved
    with pytest.raises(AssertionError, match="proved"):
        assert_certified(BIASED_COIN, result._replace(gap=proved / 2))
    with pytest.raises(AssertionError, match="proved"):
        assert_certified(BIASED_COIN, result._replace(rate=result.rate + 1e-9, gap=proved))
    with pytest.raises(AssertionError, match="the channel costs"):
        assert_certified(BIASED_COIN, result._replace(rate=result.rate - 1e-3))


def test_a_gap_that_no_longer_covers_the_exact_rate_is_caught():
    p, d = BIASED_COIN.source_pmf, BIASED_COIN.distortion_matrix
    result = rd.blahut_arimoto(p, d, 2.0, max_steps=3)
    exact = BIASED_COIN.exact(float(result.distortion))
    too_much = result.rate - exact
    assert too_much > 1e-9
    with pytest.raises(AssertionError, match="is not in"):
        assert_honest(exact, result._replace(gap=too_much / 2))


@pytest.mark.parametrize("max_steps", [1, 10, 100, 1000, 10_000])
def test_the_gap_is_honest_at_a_critical_slope_where_convergence_is_sublinear(max_steps):
    p, d = BIASED_COIN.source_pmf, BIASED_COIN.distortion_matrix
    result = rd.blahut_arimoto(p, d, BIASED_COIN_CRITICAL_SLOPE, max_steps=max_steps)
    assert_honest(BIASED_COIN.exact(float(result.distortion)), result)
    assert_certified(BIASED_COIN, result)
    assert not result.converged
    assert result.steps == max_steps
    assert result.gap < 3 / max_steps  # it shrinks like 1/steps, and nothing pretends otherwise


@pytest.mark.long
@pytest.mark.parametrize("seed", range(200))
def test_random_sources_of_many_shapes_are_certified(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 9, size=2)
    d = rng.exponential(size=(n, m)) * 10.0 ** rng.integers(-6, 7)
    d[rng.random((n, m)) < 0.2] = np.inf
    d[np.arange(n), rng.integers(m, size=n)] = 0.0
    problem = FAIR_COIN._replace(source_pmf=rng.dirichlet(np.full(n, 0.5)), distortion_matrix=d)
    for max_steps in (1, 10, 1000):
        for result in solve_everywhere(problem, max_steps):
            assert_certified(problem, result)


# Points that are known -----------------------------------------------------------------------------------------------


@exact_problem
def test_rate_at_meets_the_closed_form_at_a_smooth_point(problem):
    D = least_distortion(problem) + 0.27 * min(free_distortion(problem) - least_distortion(problem), 1.0)
    result = rd.rate_at(problem.source_pmf, problem.distortion_matrix, D)
    assert result.converged
    np.testing.assert_allclose(result.rate, problem.exact(D), rtol=0, atol=rd.algorithms.TOL)


@bounded_problem
def test_slope_zero_is_rate_zero_at_the_best_single_letter(problem):
    result = rd.blahut_arimoto(problem.source_pmf, problem.distortion_matrix, 0.0)
    assert result.converged
    np.testing.assert_allclose(result.rate, 0, atol=1e-13)
    np.testing.assert_allclose(result.distortion, free_distortion(problem), rtol=1e-14)


@every_problem
def test_slope_infinity_is_the_least_distortion(problem):
    result = rd.blahut_arimoto(problem.source_pmf, problem.distortion_matrix, np.inf)
    np.testing.assert_allclose(result.distortion, least_distortion(problem), rtol=1e-14, atol=0)
    if problem.exact:
        assert_honest(problem.exact(least_distortion(problem)), result)


@bounded_problem
def test_from_the_free_distortion_on_the_rate_is_zero(problem):
    p, d, free = problem.source_pmf, problem.distortion_matrix, free_distortion(problem)
    # The sum behind D_max may round the other way inside, so at D_max itself only the tolerance is promised.
    for D, error in [(free, rd.algorithms.TOL), (2 * free + 1, 1e-13), (np.inf, 1e-13)]:
        result = rd.rate_at(p, d, D)
        assert result.converged
        np.testing.assert_allclose(result.rate, 0, atol=error)


def test_without_a_finite_column_every_finite_distortion_costs_the_entropy():
    p, d = LOSSLESS.source_pmf, LOSSLESS.distortion_matrix
    for D in [0.0, 1.0, 1e6]:
        np.testing.assert_allclose(rd.rate_at(p, d, D).rate, entropy(p), rtol=0, atol=1e-9)
    for slope in [0.0, 1.0, np.inf]:
        result = rd.blahut_arimoto(p, d, slope)
        assert result.distortion == 0
        np.testing.assert_allclose(result.rate, entropy(p), rtol=0, atol=1e-9)


@exact_problem
def test_the_rate_at_the_least_distortion(problem):
    D = least_distortion(problem)
    result = rd.rate_at(problem.source_pmf, problem.distortion_matrix, D)
    assert_honest(problem.exact(D), result)
    if problem.name not in ("equal letters", "four letters"):
        assert result.converged


def test_a_distortion_below_the_least_is_an_error_and_one_off_by_rounding_is_not():
    p, d = jnp.array([0.7, 0.3]), jnp.array([[5.0, 6.0], [3.0, 2.0]])
    with pytest.raises(ValueError, match="distortion must be at least 4.1"):
        rd.rate_at(p, d, 4.0999)
    result = rd.rate_at(p, d, 4.1 * (1 - 2e-16))
    np.testing.assert_allclose(result.rate, entropy(p), rtol=0, atol=1e-9)


def test_a_linear_segment_has_one_slope_and_the_rate_of_the_chord():
    p, d = REFUSAL.source_pmf, REFUSAL.distortion_matrix
    wanted = refusal_slope(0.2)
    for D in [0.1, 0.15, 0.19]:
        result = rd.rate_at(p, d, D, max_steps=100_000)
        assert_honest(REFUSAL.exact(D), result)
        np.testing.assert_allclose(result.rate, REFUSAL.exact(D), rtol=0, atol=1e-8)
        np.testing.assert_allclose(result.slope, wanted, rtol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 1e-12, 0.05, 0.5, 0.85])
def test_distortion_at_meets_the_inverted_closed_form(rate):
    p, d = BIASED_COIN.source_pmf, BIASED_COIN.distortion_matrix
    result = rd.distortion_at(p, d, rate)
    assert_honest(BIASED_COIN.exact(float(result.distortion)), result)
    assert result.converged
    np.testing.assert_allclose(result.rate, rate, rtol=0, atol=rd.algorithms.TOL)


@every_problem
def test_more_rate_than_the_least_distortion_needs_is_not_spent(problem):
    for rate in [entropy(problem.source_pmf) + 1, 50.0, np.inf]:
        result = rd.distortion_at(problem.source_pmf, problem.distortion_matrix, rate)
        np.testing.assert_allclose(result.distortion, least_distortion(problem), rtol=1e-13, atol=1e-13)
        assert result.rate <= np.log2(min(problem.distortion_matrix.shape)) + 1e-12


@bounded_problem
def test_rate_zero_is_met_by_the_best_single_letter(problem):
    result = rd.distortion_at(problem.source_pmf, problem.distortion_matrix, 0.0)
    np.testing.assert_allclose(result.distortion, free_distortion(problem), rtol=1e-13)
    np.testing.assert_allclose(result.rate, 0, atol=1e-13)
    assert result.converged


@by_name([problem for problem in PROBLEMS if free_distortion(problem) - least_distortion(problem) not in (0, np.inf)])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
def test_rate_at_and_distortion_at_are_inverse(problem, share):
    p, d = problem.source_pmf, problem.distortion_matrix
    D = least_distortion(problem) + share * (free_distortion(problem) - least_distortion(problem))
    there = rd.rate_at(p, d, D)
    back = rd.distortion_at(p, d, there.rate)
    # Both rates are within their gaps of R, whose slope turns a difference in rate into one in distortion.
    error = (there.gap + back.gap + abs(there.rate - back.rate)) / min(there.slope, back.slope)
    assert abs(back.distortion - D) <= error + 1e-12
    assert error < 1e-5


def test_the_test_channel_has_the_rate_and_distortion_of_its_result():
    p, d = PROBLEMS[-1].source_pmf, PROBLEMS[-1].distortion_matrix
    result = rd.blahut_arimoto(p, d, 2.0, max_steps=7)
    channel = rd.discrete.test_channel(result.reproduction_pmf, d, result.slope)
    np.testing.assert_allclose(channel.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(np.sum(p[:, None] * channel * d), result.distortion, rtol=1e-13)
    np.testing.assert_allclose(oracles.mutual_information(p, channel), result.rate, rtol=0, atol=1e-12)


def test_the_test_channel_forbids_infinite_entries_at_any_slope():
    d = jnp.array([[0.0, jnp.inf, 1.0], [jnp.inf, 0.0, 1.0]])
    for slope in [0.0, 1.0, np.inf]:
        channel = rd.discrete.test_channel(jnp.array([0.25, 0.25, 0.5]), d, slope)
        assert channel[0, 1] == 0
        assert channel[1, 0] == 0
        np.testing.assert_allclose(channel.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_array_equal(channel, [[1, 0, 0], [0, 1, 0]])


def test_the_lagrangian_has_the_derivatives_danskin_promises():
    p, d, slope, step = PROBLEMS[-1].source_pmf, PROBLEMS[-1].distortion_matrix, 3.0, 1e-4

    def lagrangian(s):
        point = rd.blahut_arimoto(p, d, s, tol=1e-13, max_steps=100_000)
        return float(point.rate + s * point.distortion)

    numeric = (lagrangian(slope + step) - lagrangian(slope - step)) / (2 * step)
    # Error step² times a third derivative of order one, and 1e-13 / step.
    point = rd.blahut_arimoto(p, d, slope, tol=1e-13, max_steps=100_000)
    np.testing.assert_allclose(point.distortion, numeric, rtol=0, atol=1e-7)


# Curves and transformations ------------------------------------------------------------------------------------------


def test_a_batch_of_curves_has_the_slopes_that_were_asked_for():
    sources, d, slopes = jnp.array([[0.2, 0.3, 0.5], [0.4, 0.3, 0.3]]), 1 - np.eye(3), np.array([1.0, 2.0, 3.0])
    points = jax.vmap(lambda p: rd.curve(p, d, slopes))(sources)
    assert points.rate.shape == (2, 3) and points.reproduction_pmf.shape == (2, 3, 3)
    for i in range(2):
        np.testing.assert_allclose(points.rate[i], rd.curve(sources[i], d, slopes).rate, rtol=0, atol=1e-9)
    points = jax.vmap(lambda tol: rd.curve(sources[0], d, slopes, tol=tol))(jnp.array([1e-9, 1e-6]))
    assert points.gap.shape == (2, 3)


@pytest.mark.parametrize("bad", [(1.0, 1.0, np.nan), (np.nan, 1.0, 1.0), (1.0, np.nan, 1.0), (1.0, np.inf, 1.0)])
def test_an_invalid_item_does_not_hold_up_its_batch(bad):
    p, d = np.full(8, 1 / 8), np.random.default_rng(0).random((8, 8))
    batch = (np.stack([p, p * bad[0]]), np.stack([d, d * bad[1]]), np.array([1.0, 9.0 * bad[2]]))
    # Of the solver itself: what the public function returns for an invalid item is poisoned.
    assert _steps_of_both(*batch).max() < 200


@jax.jit
@jax.vmap
def _steps_of_both(p, d, s):
    return columns.solve(p, Matrix(d), s, 1e-9, 1000, kind=SLOPE, size=8).steps


@pytest.mark.parametrize("max_steps", [1, 3, 6])
def test_by_how_much_a_rate_is_missed_is_part_of_the_gap(max_steps):
    p, d = np.random.default_rng(1).dirichlet(np.ones(5)), np.random.default_rng(0).random((5, 5))
    found = rd.distortion_at(p, d, 0.7, max_steps=max_steps)
    assert abs(found.rate - 0.7) > 1e-6 and found.gap >= abs(found.rate - 0.7)


@pytest.mark.parametrize(("n", "m"), [(5, 7), (200, 220)], ids=["all letters at once", "column generation"])
def test_a_curve_is_the_loop_over_its_slopes(n, m):
    rng = np.random.default_rng(0)
    p, d = rng.dirichlet(np.ones(n)), rng.uniform(size=(n, m))
    slopes = np.array([0.0, 1.0, 8.0, np.inf])
    points = jax.device_get(rd.curve(p, d, slopes))
    alone = [rd.discrete.lagrangian(p, d, slope) for slope in slopes[:-1]]
    for i, slope in enumerate(slopes):
        point = jax.tree.map(lambda leaf, i=i: leaf[i], points)
        by_another = rd.algorithms.accelerated_blahut_arimoto(p, d, slope)
        assert_certified(FAIR_COIN._replace(source_pmf=p, distortion_matrix=d), point)
        assert point.converged
        np.testing.assert_allclose(point.distortion, by_another.distortion, rtol=1e-4)
        np.testing.assert_allclose(point.rate, by_another.rate, rtol=0, atol=1e-4)
        if slope < jnp.inf:
            value = point.rate + slope * point.distortion
            np.testing.assert_allclose(value, by_another.rate + slope * by_another.distortion, atol=3e-9)
            # Solved side by side they are rounded differently, and may stop a step apart.
            np.testing.assert_allclose(alone[i].value, value, rtol=0, atol=1e-9)


batch = np.random.default_rng(5)
PMFS = batch.dirichlet(np.ones(3), size=4)
MATRICES = batch.uniform(0, 1, size=(4, 3, 4)) + 0.01
PARAMETERS = {"blahut_arimoto": np.array([0.0, 1.0, 4.0, 9.0]), "rate_at": np.array([0.4, 0.5, 0.6, 0.9])}
PARAMETERS["distortion_at"] = np.array([0.0, 0.05, 0.3, 5.0])
PARAMETERS["curve"] = np.tile([0.0, 1.0, 4.0], (4, 1))
PARAMETERS["interior_point"] = PARAMETERS["blahut_arimoto"]
SOLVERS = pytest.mark.parametrize("solver", list(PARAMETERS))


@functools.cache
def function_and_tolerance(solver):
    """Plain steps are the same however they are run; a second-order method may take one more, to the same answer."""
    if solver == "blahut_arimoto":
        return functools.partial(rd.blahut_arimoto, max_steps=100), {}

    def answer(*arguments):
        result = getattr(rd, solver)(*arguments)
        return result.rate, result.distortion, result.converged

    return answer, {"rtol": 0, "atol": 2 * rd.algorithms.TOL}


@SOLVERS
def test_jit_and_vmap_change_nothing(solver):
    function, tolerance = function_and_tolerance(solver)
    assert_transforms_agree(function, PMFS, MATRICES, PARAMETERS[solver], **tolerance)


def test_jit_and_vmap_change_no_test_channel():
    assert_transforms_agree(
        rd.discrete.test_channel, np.tile(np.full(4, 0.25), (4, 1)), MATRICES, np.array([0.0, 1.0, 4.0, 9.0])
    )


@SOLVERS
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        (0, [0.5, 0.4, 0.2]),
        (0, [1.2, -0.2, 0.0]),
        (0, [0.5, np.nan, 0.5]),
        (1, np.full((3, 4), np.nan)),
        (1, np.full((3, 4), -1.0)),
        (1, np.full((3, 4), np.inf)),
        (2, -1.0),
        (2, np.nan),
    ],
)
def test_an_invalid_item_of_a_batch_is_nan_and_its_neighbors_stay_exact(solver, argument, value):
    function, tolerance = function_and_tolerance(solver)
    good = [PMFS, MATRICES, PARAMETERS[solver]]
    bad = [array[1] for array in good]
    bad[argument] = np.broadcast_to(value, bad[argument].shape)
    assert_only_bad_items_are_nan(function, good, bad, 1, **tolerance)


def test_an_unreachable_distortion_in_a_batch_is_nan():
    good = [PMFS, MATRICES, PARAMETERS["rate_at"]]
    bad = [PMFS[2], MATRICES[2], 0.001]
    function, tolerance = function_and_tolerance("rate_at")
    assert_only_bad_items_are_nan(function, good, bad, 2, **tolerance)


def test_an_invalid_slope_of_a_curve_under_jit_makes_it_nan():
    result = jax.jit(rd.curve)(PMFS[0], MATRICES[0], jnp.array([1.0, -1.0]))
    assert jnp.isnan(result.rate).all()
    assert not result.converged.any()


def test_options_may_be_traced(as_user):
    p, d = PMFS[0], MATRICES[0]
    results = jax.vmap(lambda tol: rd.blahut_arimoto(p, d, 3.0, tol=tol))(jnp.array([1e-3, 1e-9, -1.0]))
    assert results.steps[0] < results.steps[1]
    np.testing.assert_array_equal(results.converged, [True, True, False])
    assert jnp.isnan(results.rate[2])


# What a user gets wrong ----------------------------------------------------------------------------------------------

P, D2 = [0.7, 0.3], [[0.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize("solver", ["blahut_arimoto", "interior_point", "rate_at", "distortion_at", "curve"])
@pytest.mark.parametrize(
    ("pmf", "matrix", "message"),
    [
        ([0.7, 0.4], D2, "source_pmf must sum to 1, but sums to 1.1"),
        ([1.3, -0.3], D2, "source_pmf must be >= 0"),
        ([np.nan, 1.0], D2, "source_pmf must be >= 0"),
        (P, [[0.0, -1.0], [1.0, 0.0]], "distortion_matrix must be >= 0"),
        (P, [[0.0, np.nan], [1.0, 0.0]], "distortion_matrix must be >= 0"),
        (P, [[0.0, 1.0], [np.inf, np.inf]], "distortion_matrix must have a finite entry .* row 1"),
    ],
)
def test_invalid_values_raise_and_name_the_argument(solver, pmf, matrix, message):
    last = [0.5] if solver == "curve" else 0.5
    with pytest.raises(ValueError, match=message):
        getattr(rd, solver)(np.array(pmf), np.array(matrix), np.array(last))


@pytest.mark.parametrize(
    ("solver", "value", "message"),
    [
        ("blahut_arimoto", -1.0, "slope must be >= 0"),
        ("blahut_arimoto", np.nan, "slope must be >= 0"),
        ("rate_at", -0.1, "distortion must be >= 0"),
        ("rate_at", np.nan, "distortion must be >= 0"),
        ("distortion_at", -0.1, "rate must be >= 0"),
        ("distortion_at", np.nan, "rate must be >= 0"),
        ("curve", np.array([1.0, -1.0]), "slopes must be >= 0"),
    ],
)
def test_an_invalid_slope_distortion_or_rate_raises(solver, value, message):
    with pytest.raises(ValueError, match=message):
        getattr(rd, solver)(np.array(P), np.array(D2), value)


@pytest.mark.parametrize("solver", ["blahut_arimoto", "interior_point", "rate_at", "distortion_at", "curve"])
@pytest.mark.parametrize("option", [{"tol": -1.0}, {"tol": np.nan}, {"max_steps": 0}])
def test_options_that_stop_nothing_raise(solver, option):
    last = np.array([0.5]) if solver == "curve" else 0.5
    with pytest.raises(ValueError, match="tol must be >= 0|max_steps must be at least 1"):
        getattr(rd, solver)(np.array(P), np.array(D2), last, **option)


@pytest.mark.parametrize("solver", ["blahut_arimoto", "interior_point", "rate_at", "distortion_at", "curve"])
@pytest.mark.parametrize(
    ("pmf", "matrix", "error", "message"),
    [
        ([P], D2, ValueError, "source_pmf must be a vector"),
        ([], D2, ValueError, "source_pmf must not be empty"),
        (P, P, ValueError, "distortion_matrix must be a matrix"),
        (P, hamming(3), ValueError, "one row per source letter: source_pmf has 2 letters"),
        (P, np.zeros((2, 0)), ValueError, "distortion_matrix must not be empty"),
        ("half", D2, TypeError, "source_pmf"),
        (np.array(["a", "b"]), D2, TypeError, "source_pmf"),
        (np.array(P, complex), D2, TypeError, "source_pmf must hold real numbers"),
        (P, np.array(D2, complex), TypeError, "distortion_matrix must hold real numbers"),
        (P, None, TypeError, "distortion_matrix"),
    ],
)
def test_wrong_shapes_and_types_raise_and_name_the_argument(as_user, solver, pmf, matrix, error, message):
    last = [0.5] if solver == "curve" else 0.5
    with pytest.raises(error, match=message):
        getattr(rd, solver)(pmf, matrix, last)


@pytest.mark.parametrize("solver", ["blahut_arimoto", "rate_at", "distortion_at"])
def test_a_vector_where_a_scalar_is_due_raises(as_user, solver):
    with pytest.raises(ValueError, match="must be a scalar"):
        getattr(rd, solver)(P, D2, [0.5])


def test_integers_lists_and_float32_are_welcome(as_user):
    wanted = rd.blahut_arimoto(np.array([0.5, 0.5]), np.array(D2), 2.0)
    assert_close(rd.blahut_arimoto([0.5, 0.5], [[0, 1], [1, 0]], 2), wanted)
    assert_close(rd.blahut_arimoto(np.array([0.5, 0.5], np.float32), np.array(D2, np.float32), 2.0), wanted)


def test_a_pmf_stored_in_float32_is_normalized():
    p = np.full(3, 1 / 3, np.float32)
    result = rd.blahut_arimoto(p, hamming(3), np.inf)
    np.testing.assert_allclose(result.rate, np.log2(3), rtol=0, atol=1e-12)


def test_test_channel_names_what_is_wrong(as_user):
    with pytest.raises(ValueError, match="slope must be >= 0"):
        rd.discrete.test_channel(P, D2, -1.0)
    with pytest.raises(ValueError, match="reproduction_pmf must sum to 1"):
        rd.discrete.test_channel([0.5, 0.6], D2, 1.0)
    with pytest.raises(ValueError, match="distortion_matrix must have shape"):
        rd.discrete.test_channel(P, hamming(3), 1.0)
    with pytest.raises(ValueError, match="distortion_matrix must be >= 0"):
        rd.discrete.test_channel(P, -hamming(2), 1.0)


# Properties ----------------------------------------------------------------------------------------------------------

N, M = 3, 4
checked = settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
masses = st.lists(st.floats(0.01, 1.0), min_size=N, max_size=N).map(lambda x: np.array(x) / sum(x))
matrices = st.lists(st.floats(0.0, 2.0), min_size=N * M, max_size=N * M).map(lambda x: np.array(x).reshape(N, M))
shares = st.floats(0.02, 0.98)


def rate_at(p, d, share):
    problem = FAIR_COIN._replace(source_pmf=p, distortion_matrix=d)
    least, free = least_distortion(problem), free_distortion(problem)
    D = least + share * (free - least)
    return D, rd.rate_at(p, d, D, max_steps=300)


def assert_overlap(a, b):
    """Two certified intervals for one number."""
    assert a.rate - a.gap <= b.rate + 1e-13
    assert b.rate - b.gap <= a.rate + 1e-13


@checked
@given(masses, matrices, shares)
def test_the_rate_is_between_zero_and_the_entropy(p, d, share):
    _, result = rate_at(p, d, share)
    assert result.rate >= 0
    assert result.rate - result.gap <= entropy(p)


@checked
@given(masses, matrices, shares, shares)
def test_the_rate_does_not_increase(p, d, one, other):
    _, left = rate_at(p, d, min(one, other))
    _, right = rate_at(p, d, max(one, other))
    assert right.rate - right.gap <= left.rate + 1e-13


@checked
@given(masses, matrices, shares, shares)
def test_the_rate_is_convex(p, d, one, other):
    _, left = rate_at(p, d, one)
    _, right = rate_at(p, d, other)
    _, middle = rate_at(p, d, (one + other) / 2)
    assert middle.rate - middle.gap <= (left.rate + right.rate) / 2 + 1e-13


@checked
@given(masses, matrices, shares, st.permutations(range(N)), st.permutations(range(M)))
def test_the_order_of_the_letters_does_not_matter(p, d, share, rows, columns):
    D, result = rate_at(p, d, share)
    permuted = rd.rate_at(p[rows], d[rows][:, columns], max(D, least_distortion_of(p[rows], d[rows])), max_steps=300)
    assert_overlap(result, permuted)


@checked
@given(masses, matrices, shares, st.sampled_from([1e-6, 0.5, 3.0, 1e6]))
def test_scaling_the_distortion_scales_the_axis(p, d, share, scale):
    D, result = rate_at(p, d, share)
    assert_overlap(result, rd.rate_at(p, scale * d, scale * D, max_steps=300))


@checked
@given(masses, matrices, shares, st.lists(st.sampled_from([0.0, 1.0, np.inf]), min_size=M, max_size=M))
def test_a_letter_of_mass_zero_is_inert(p, d, share, row):
    D, result = rate_at(p, d, share)
    assert_overlap(result, rd.rate_at(np.append(p, 0.0), np.vstack([d, row]), D, max_steps=300))


@checked
@given(masses, matrices, st.floats(0.0, 20.0))
def test_every_result_at_a_slope_is_certified(p, d, slope):
    problem = FAIR_COIN._replace(source_pmf=p, distortion_matrix=d)
    assert_certified(problem, rd.blahut_arimoto(p, d, slope, max_steps=30))


def least_distortion_of(p, d):
    return least_distortion(FAIR_COIN._replace(source_pmf=p, distortion_matrix=d))
