"""Few reproduction letters at a time, priced against all of them: the same answers as all letters at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdtheory as rd
from rdtheory.limits.discrete import plan, run
from rdtheory.limits.discrete import problem as problems
from rdtheory.limits.discrete.kernels import Matrix, matrix
from rdtheory.limits.discrete.matched_slope import DISTORTION, RATE, SLOPE
from rdtheory.limits.discrete.solvers import columns
from tests.limits.certificate import assert_certified
from tests.problems import FAIR_COIN

TOL = 1e-9
SIZE = 64
N = 200  # the least at which the everyday verbs generate columns is near


def unnamed(p, d):
    return FAIR_COIN._replace(source_pmf=p, distortion_matrix=d, exact=None)


@functools.cache
def problem(name):
    rng = np.random.default_rng(11)
    x = np.linspace(-6, 6, N)
    squared = (x[:, None] - x) ** 2
    p = {
        "gaussian": lambda: np.exp(-(x**2) / 2),
        "laplace": lambda: np.exp(-np.abs(x)),
        "random": lambda: rng.exponential(size=N),
        "forbidden": lambda: rng.exponential(size=N),
    }[name]()
    d = squared
    if name == "random":
        d = rng.uniform(size=(N, N))
    if name == "forbidden":
        d = np.where(squared > 4, np.inf, squared)
    return unnamed(p / p.sum(), d)


SLOPES = {"gaussian": 2.885, "laplace": 1.0, "random": 5.0, "forbidden": 1.0}


def solve(p, d, *others, **how):
    return columns.solve(p, Matrix(d), *others, **how)


def by_columns(p, d, target, kind=SLOPE):
    arguments = [jnp.asarray(value) for value in (p, d, target, TOL, 2000)]
    return solve(*arguments, kind=kind, size=SIZE)


def directly(p, d, slope):
    arguments = [jnp.asarray(value) for value in (p, d, slope, TOL, 2000)]
    return solve(*arguments, kind=SLOPE, size=d.shape[1])


def name_of(result):
    return rd.discrete.METHODS[int(result.method)]


@pytest.mark.parametrize("name", list(SLOPES))
def test_at_a_slope_it_agrees_with_all_letters_at_once(name):
    p, d = problem(name)[1:3]
    few, all_of_them = by_columns(p, d, SLOPES[name]), directly(p, d, SLOPES[name])
    assert (name_of(few), name_of(all_of_them)) == ("column generation", "interior point")
    for result in (few, all_of_them):
        assert_certified(problem(name), result)
        assert result.converged
    # The Lagrangian is what both have certified.
    one, other = (result.rate + SLOPES[name] * result.distortion for result in (few, all_of_them))
    assert one - few.gap <= other
    assert other - all_of_them.gap <= one
    assert (few.reproduction_pmf > 0).sum() <= SIZE


def test_slope_zero_is_the_best_single_letter():
    for name in ("random", "gaussian"):
        p, d = problem(name)[1:3]
        result = by_columns(p, d, 0.0)
        assert_certified(problem(name), result)
        assert result.converged
        np.testing.assert_allclose(result.distortion, (p @ d).min(), rtol=1e-12)
        np.testing.assert_allclose(result.rate, 0.0, atol=TOL)


@pytest.mark.parametrize("steps", [1, 3, 30])
def test_cut_short_it_is_honest(steps):
    for name in ("gaussian", "forbidden"):
        p, d = problem(name)[1:3]
        for kind, target in [
            (SLOPE, SLOPES[name]),
            (DISTORTION, 0.4),
            (RATE, 1.0),
        ]:
            arguments = [jnp.asarray(value) for value in (p, d, target, TOL, steps)]
            result = solve(*arguments, kind=kind, size=SIZE)
            assert_certified(problem(name), result)
            assert result.steps <= steps
            assert bool(result.converged) == bool(result.gap <= TOL)


@pytest.mark.long
def test_a_support_larger_than_the_letters_is_honest_and_the_next_method_takes_over(monkeypatch):
    p, d = problem("gaussian")[1:3]
    monkeypatch.setattr(run.mirror, "is_mirrored", lambda p, d: False)
    slope = 4**6 / (2 * np.log(2))
    few = by_columns(p, d, slope)
    assert not few.converged
    assert_certified(problem("gaussian"), few)
    everyday = jax.tree.map(lambda leaf: leaf[0], jax.device_get(rd.curve(p, d, np.array([slope]))))
    assert everyday.converged
    assert everyday.gap < few.gap
    assert everyday.steps > few.steps
    assert name_of(everyday) == "interior point"
    assert_certified(problem("gaussian"), everyday)


def test_the_everyday_verbs_generate_columns_where_the_problem_is_large():
    x = np.linspace(-8, 8, 320)
    p = np.exp(-((x - 0.1) ** 2) / 2)  # reads otherwise backwards
    large = unnamed(p / p.sum(), (x[:, None] - x) ** 2)
    p, d = large[1:3]
    at_slope = jax.tree.map(lambda leaf: leaf[1], jax.device_get(rd.curve(p, d, np.array([0.5, SLOPES["gaussian"]]))))
    at_distortion = rd.rate_at(p, d, 0.25)
    at_rate = rd.distortion_at(p, d, 1.0)
    for result in (at_slope, at_distortion, at_rate):
        assert name_of(result) == "column generation"
        assert result.converged
        assert_certified(large, result)
    # A fine grid: the Gaussian's own R(D), up to what discretization does at a distance of 0.05.
    for result in (at_distortion, at_rate):
        np.testing.assert_allclose(result.rate, 0.5 * np.log2(1 / result.distortion), atol=1e-3)
    assert name_of(rd.interior_point(p, d, SLOPES["gaussian"])) == "interior point"


def test_the_corrupted_certificate_of_a_column_generation_is_caught():
    p, d = problem("laplace")[1:3]
    result = by_columns(p, d, SLOPES["laplace"])
    with pytest.raises(AssertionError, match="proved"):
        assert_certified(problem("laplace"), result._replace(rate=result.rate + 1e-8))
    with pytest.raises(AssertionError, match="the channel costs"):
        assert_certified(problem("laplace"), result._replace(rate=result.rate - 1e-8))


def test_a_bad_first_guess_costs_rounds_not_the_answer():
    p, d = problem("laplace")[1:3]
    guess = np.zeros(N)
    guess[:3] = 1 / 3  # the far left
    p_, d_, *arguments = [jnp.asarray(value) for value in (p, d, SLOPES["laplace"], TOL, 2000, guess)]
    prepared = columns.prepare(p_, Matrix(d_), arguments[0], kind=SLOPE)
    result = columns.improve(prepared, *arguments[1:], size=SIZE)
    assert result.converged
    assert_certified(problem("laplace"), result)


def test_a_curve_keeps_the_order_of_its_slopes_though_each_begins_where_another_ended(monkeypatch):
    p, d = problem("gaussian")[1:3]
    monkeypatch.setattr(run.mirror, "is_mirrored", lambda p, d: False)
    slopes = np.array([2.885, 0.9, 1.1, 2.4])
    points = jax.device_get(rd.curve(p, d, slopes))
    assert points.converged.all()
    np.testing.assert_array_equal(points.slope, slopes)
    for i in range(len(slopes)):
        assert_certified(problem("gaussian"), jax.tree.map(lambda leaf, i=i: leaf[i], points))


@pytest.mark.parametrize("verb", ["curve", pytest.param("rate_at", marks=pytest.mark.long)])
def test_a_large_matrix_is_solved_on_fewer_rows_first(verb):
    x = np.linspace(-6, 6, 1100)
    p = np.exp(-np.abs(x)) * (1 + (x > 1))  # a kink and a jump
    large = unnamed(p / p.sum(), np.abs(x[:, None] - x) ** 1.5)
    fewer, rows, _ = Matrix(jnp.asarray(large[2])).coarser(jnp.asarray(large[1]), plan.ROWS)
    assert len(fewer) == len(rows.entries) == 551
    argument = {"curve": np.array([3.0]), "rate_at": 0.3}[verb]
    found = jax.device_get(getattr(rd, verb)(*large[1:3], argument, tol=1e-6))
    result = jax.tree.map(lambda leaf: np.ravel(leaf)[0] if leaf.size == 1 else np.squeeze(leaf), found)
    assert result.converged
    assert_certified(large, result)


def test_facts_of_a_large_matrix_are_those_of_any(monkeypatch):
    rng = np.random.default_rng(4)
    d = rng.uniform(size=(30, 40)) + rng.uniform(size=(30, 1))
    p = jnp.asarray(np.append(rng.dirichlet(np.ones(29)), 0.0))
    for table in (d, np.where(d > 1.5, np.inf, d)):
        usual = problems.make(p, Matrix(jnp.asarray(table)))
        monkeypatch.setattr(matrix, "LARGE", 0)
        large = problems.make(p, Matrix(jnp.asarray(table)))
        monkeypatch.undo()
        for name in ("floor", "least", "span", "best", "unit", "usable"):
            np.testing.assert_allclose(getattr(large, name), getattr(usual, name), rtol=1e-12, err_msg=name)


def test_sizes_grow_to_all_letters_for_what_is_small_enough():
    assert plan.sizes(100, 100) == [100]
    assert plan.sizes(N, N) == [64, N]
    assert plan.sizes(600, 600) == [64, 192, 600]
    kinds = {
        n: "".join(stage.method[0] for stage in plan.make_plan(Matrix(jnp.zeros((n, n))), 1))
        for n in (8, 200, 201, 600)
    }
    assert kinds == {8: "hc", 200: "hcc", 201: "cc", 600: "cchc"}  # half of the letters where that may do
    assert plan.sizes(10_000, 10_000)[-1] < 10_000  # never factored whole


@pytest.mark.long
@pytest.mark.parametrize("n", [400, 600])
@pytest.mark.parametrize("half_width", [5, 8, 10])
@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0, 3.0])
def test_fine_grids(n, half_width, rate):
    x = np.linspace(-half_width, half_width, n)
    p = np.exp(-(x**2) / 2)
    fine = unnamed(p / p.sum(), (x[:, None] - x) ** 2)
    slope = 4**rate / (2 * np.log(2))
    points = jax.device_get(rd.curve(*fine[1:3], np.array([slope])))
    result = jax.tree.map(lambda leaf: leaf[0], points)
    assert result.converged
    assert_certified(fine, result)
    there = rd.rate_at(*fine[1:3], float(result.distortion))
    assert there.converged
    assert_certified(fine, there)
    assert there.rate - there.gap <= result.rate
    assert result.rate - result.gap <= there.rate


def test_what_few_letters_cannot_reach_is_not_searched_for():
    """A distortion below the least one of the first letters: the rounds are there to find others."""
    x = np.linspace(-4, 4, 200)
    p = np.exp(-((x - 0.3) ** 2) / 2)
    few = unnamed(p / p.sum(), (x[:, None] - x) ** 2)
    result = jax.device_get(rd.rate_at(*few[1:3], 1 / 300))
    assert result.converged
    assert result.steps < 400  # of 1,373
    assert_certified(few, result)


@pytest.mark.parametrize("letters", [3, 40, 300])
def test_the_price_of_each_letter_of_a_large_matrix_is_found_block_by_block(monkeypatch, letters):
    rng = np.random.default_rng(2)
    d, weights = rng.uniform(size=(50, letters)), rng.uniform(size=50)
    problem = problems.make(jnp.full(50, 0.02), Matrix(jnp.asarray(d)))
    monkeypatch.setattr(matrix, "STORED", 0)
    found, _ = problem.d.price(problem, jnp.asarray(2.0), jnp.asarray(weights))
    excess = (d - d.min(axis=1, keepdims=True)) / problem.unit
    np.testing.assert_allclose(found, weights @ np.exp2(-2.0 * excess), rtol=1e-12)
