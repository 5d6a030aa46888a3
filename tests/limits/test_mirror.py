"""Problems that read the same backwards are solved on half of their letters: the answers of all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdtheory as rd
from rdtheory.limits.discrete import run
from rdtheory.limits.discrete.kernels import Matrix
from rdtheory.limits.discrete.matched_slope import SLOPE
from rdtheory.limits.discrete.solvers import columns, mirror
from tests.limits.certificate import assert_certified
from tests.limits.test_interior_point import NAMED, STRAIGHT
from tests.problems import FAIR_COIN

TOL = 1e-9


def problem(n, m, *, forbidden=False, without_mass=False):
    """The letters of one grid by those of another, |x - y|^1.5, a density with two humps."""
    x, y = np.linspace(-2, 2, n), np.linspace(-2.5, 2.5, m)
    p = np.exp(-((x - 1) ** 2)) + np.exp(-((x + 1) ** 2))
    p[np.abs(x) > 1.9] *= not without_mass
    d = np.abs(x[:, None] - y) ** 1.5
    return FAIR_COIN._replace(
        source_pmf=p / p.sum(), distortion_matrix=np.where(forbidden & (d > 4), np.inf, d), exact=None
    )


def shuffled(of):
    rng = np.random.default_rng(2)
    rows, columns = (rng.permutation(length) for length in of.distortion_matrix.shape)
    matrix = of.distortion_matrix[rows][:, columns]
    return of._replace(source_pmf=of.source_pmf[rows], distortion_matrix=matrix)


SHAPES = [(130, 130), (131, 131), (140, 181)]
LONG = [pytest.param((400, 45), marks=pytest.mark.long), pytest.param((45, 401), marks=pytest.mark.long)]


@pytest.mark.parametrize("shape", SHAPES + LONG, ids=str)
@pytest.mark.parametrize("kind", [{}, {"forbidden": True, "without_mass": True}], ids=["plain", "forbidden"])
def test_the_answers_are_those_of_all_letters(shape, kind):
    mirrored = problem(*shape, **kind)
    other = shuffled(mirrored)
    p, d = mirrored[1:3]
    assert mirror.is_mirrored(jnp.asarray(p), jnp.asarray(d))
    assert not mirror.is_mirrored(*(jnp.asarray(part) for part in other[1:3]))
    found, wanted = (rd.interior_point(*of[1:3], 3.0) for of in (mirrored, other))
    assert_certified(other, wanted)
    line = [float(result.rate + 3.0 * result.distortion) for result in (found, wanted)]
    np.testing.assert_allclose(*line, rtol=0, atol=2 * TOL)
    on_the_curve = jax.tree.map(lambda leaf: leaf[1], jax.device_get(rd.curve(p, d, np.array([0.5, 3.0]))))
    for result in (found, on_the_curve, rd.rate_at(p, d, 0.3), rd.distortion_at(p, d, 1.0)):
        assert result.converged
        assert_certified(mirrored, result)
        q = result.reproduction_pmf
        np.testing.assert_allclose(q, q[::-1], rtol=0, atol=1e-15)


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_cut_short_it_is_honest(steps):
    of = problem(140, 181)
    for solve, argument in ((rd.interior_point, 3.0), (rd.rate_at, 0.3), (rd.distortion_at, 1.0)):
        result = solve(*of[1:3], argument, max_steps=steps)
        assert_certified(of, result)
        assert result.steps <= steps
        assert bool(result.converged) == bool(result.gap <= TOL)


@pytest.mark.parametrize("name", list(STRAIGHT))
def test_a_straight_piece_is_found_in_the_half(name):
    """A problem and its mirror image side by side, a bit apart: R(D) is that of one of them, and so are its pieces."""
    one, (slope, ends) = NAMED[name], STRAIGHT[name]
    p, d = np.asarray(one.source_pmf), np.asarray(one.distortion_matrix)
    apart = np.full(d.shape, np.inf)
    both = np.block([[d, apart], [apart, d[::-1, ::-1]]])
    arguments = [jnp.asarray(x) for x in (np.concatenate([p, p[::-1]]) / 2, both, slope, TOL, 1000)]
    p, d, *others = arguments
    result = columns.solve(p, Matrix(d), *others, kind=SLOPE, size=both.shape[1], mirrored=True)
    assert result.converged
    assert_certified(one._replace(source_pmf=arguments[0], distortion_matrix=both), result)
    np.testing.assert_allclose(result.segment, ends, rtol=0, atol=2e-6)


@pytest.mark.parametrize("told", [mirror.is_mirrored, jax.jit(mirror.is_mirrored)], ids=["called", "compiled"])
def test_what_reads_otherwise_backwards_is_not_taken_for_it(told):
    p, d = (jnp.asarray(part) for part in problem(140, 140)[1:3])
    assert told(p, d)
    assert told(p * (1 + 1e-15 * jnp.arange(140)), d + 5e-17 * jnp.arange(140.0)[:, None])  # rounding
    assert not told(p.at[3].multiply(1 + 1e-9), d)
    assert not told(p, d.at[70, 3].multiply(1 + 1e-9))
    for row in (0, 70, 139):  # whichever half is compared with the other
        assert not told(p, d.at[row, 130:].set(jnp.inf))
    assert not told(p, d.at[0, 0].add(1e-9))


def test_under_transformations_half_is_solved_where_the_values_read_the_same_backwards():
    mirrored = problem(140, 140)
    other = shuffled(mirrored)
    p, d = (jnp.stack([jnp.asarray(of[i]) for of in (mirrored, other)]) for i in (1, 2))
    called = rd.rate_at(p[0], d[0], 0.1)
    one, batch = jax.jit(rd.rate_at), jax.jit(jax.vmap(rd.rate_at, (0, 0, None)))
    (half, whole), both = (one(p[i], d[i], 0.1) for i in range(2)), batch(p, d, 0.1)
    for result in (half, whole, *(jax.tree.map(lambda leaf, i=i: leaf[i], both) for i in range(2))):
        assert result.converged
        assert abs(result.rate - called.rate) <= max(result.gap, called.gap)
    np.testing.assert_array_equal(both.steps, [half.steps, whole.steps])
    # Without `jit` some arguments are traced and others are not.
    rates = jax.vmap(lambda p, d: rd.rate_at(p, d, 0.1).rate)(p, d)
    np.testing.assert_allclose(rates, both.rate, rtol=0, atol=1e-9)
    at_slope = jax.vmap(lambda p: rd.interior_point(p, d[0], 3.0).gap)(p[:1])
    on_a_curve = jax.vmap(lambda p: rd.curve(p, d[0], jnp.array([3.0])).gap[0])(p[:1])
    assert at_slope[0] <= 1e-9 and on_a_curve[0] <= 1e-9


@pytest.mark.parametrize("case", ["ties broken by rounding", "penalties"])
def test_where_half_does_not_do_the_whole_is_solved(case):
    """What agrees with its image up to rounding may not do at infinite slope, or beside very large entries."""
    rng = np.random.default_rng(4)
    if case == "penalties":
        p, d = np.full(130, 1 / 130), rng.uniform(size=(130, 130))
        d[np.abs(np.subtract.outer(range(130), range(130))) > 40] = 1e16
    else:
        x, y = np.linspace(-3, 3, 131), np.linspace(-4, 4, 150)
        p, d = np.exp(-(x**2) / 2), np.abs(x[:, None] - y)
        p /= p.sum()
    assert mirror.is_mirrored(jnp.asarray(p), jnp.asarray(d))
    of = FAIR_COIN._replace(source_pmf=p, distortion_matrix=d, exact=None)
    slope = 12.0 if case == "penalties" else np.inf
    results = [rd.interior_point(p, d, slope)]
    if case == "penalties":
        points = jax.device_get(rd.curve(p, d, np.array([9.0, slope])))
        results += [jax.tree.map(lambda leaf, i=i: leaf[i], points) for i in range(2)]
    else:
        results.append(rd.distortion_at(p, d, 8.0))
    for result in results:
        assert result.converged
        assert_certified(of, result)


@pytest.mark.parametrize(("count", "length"), [(6, 6), (6, 10), (7, 8), (7, 12), (1, 2)])
def test_letters_are_put_about_the_middle_and_taken_back(count, length):
    pmf = jnp.arange(1.0, count + 1)
    spread = mirror.scatter(pmf, length)
    assert len(spread) == length
    np.testing.assert_allclose(mirror.gather(spread, count), pmf, rtol=1e-15)
    np.testing.assert_allclose(mirror.scatter(pmf[::-1], length), spread[::-1], rtol=1e-15)
    stacked = mirror.gather(jnp.stack([spread, 2 * spread]), count)
    np.testing.assert_allclose(stacked, jnp.stack([pmf, 2 * pmf]), rtol=1e-15)


def test_a_folded_channel_sends_folded_letters_to_folded_letters():
    rng = np.random.default_rng(5)
    half = rng.uniform(size=(3, 8))
    matrix = jnp.asarray(np.concatenate([half, half[::-1, ::-1]]))
    q = jnp.asarray(rng.uniform(size=4))
    both = mirror.unfold(q)
    np.testing.assert_allclose(mirror.fold(both), q, rtol=1e-15)
    np.testing.assert_allclose(mirror.fold_matrix(matrix) @ q, (matrix @ both)[:3], rtol=1e-14)
    # Prices of letters too: c of a letter is that of its image, and of both together.
    nu = jnp.asarray(rng.uniform(size=6))
    nu = nu + nu[::-1]
    np.testing.assert_allclose(mirror.fold(nu) @ mirror.fold_matrix(matrix), (nu @ matrix)[:4], rtol=1e-14)


def test_a_larger_one_is_solved_on_few_letters_and_on_half_of_all_if_these_do_not_do(monkeypatch):
    x = np.linspace(-12, 12, 601)
    p = np.exp(-np.abs(x))
    of = FAIR_COIN._replace(source_pmf=p / p.sum(), distortion_matrix=np.abs(x[:, None] - x), exact=None)
    folded = []
    improve = columns.improve
    monkeypatch.setattr(
        run.columns, "improve", lambda *a, **k: (folded.append(k.get("mirrored", False)), improve(*a, **k))[1]
    )
    points = jax.device_get(rd.curve(*of[1:3], np.array([30.0, 31.0])))
    for i in range(2):
        assert_certified(of, jax.tree.map(lambda leaf, i=i: leaf[i], points))
    assert points.converged.all()
    assert folded[0] is False
    assert True in folded


def test_what_reads_the_same_backwards_is_told_to_rounding():

    def letters(n):
        x = np.linspace(-1, 1, n)
        p, d = np.exp(-(x**2)), 1e-6 * np.abs(x[:, None] - x) ** 1.5
        return (p + p[::-1]) / 2, (d + d[::-1, ::-1]) / 2

    def told(p, d):
        return mirror.is_mirrored(jnp.asarray(p), jnp.asarray(d))

    assert told(*letters(128))
    assert not told(*letters(127)), "are few"
    p, d = letters(130)
    for row in (0, 31, 64, 65, 129):
        for off, same in ((5e-13, True), (2e-12, False)):
            other, law = d.copy(), p.copy()
            other[row, 40] *= 1 + off
            law[row] *= 1 + off
            assert told(p, other) == told(law, d) == same
        for off, same in ((0.5e-15, True), (2e-15, False)):
            other = d.copy()
            other[row, row] = off * d.max()  # on a diagonal of zeros
            assert told(p, other) == same
        other = d.copy()
        other[row, 0] = np.inf
        assert not told(p, other)
        other[129 - row, 129] = np.inf
        assert told(p, other)
        other[64, 64] = 2e-15 * d.max()
        assert not told(p, other)


def test_letters_moved_about_the_middle_are_those_of_before():
    pmf = jnp.array([0.1, 0.2, 0.3, 0.15, 0.25])
    wide = mirror.scatter(pmf, 8)
    np.testing.assert_allclose(wide, [0.1, 0.2, 0.15, 0, 0, 0.15, 0.15, 0.25], rtol=1e-15)
    np.testing.assert_allclose(mirror.gather(wide, 5), pmf, rtol=1e-15)
    np.testing.assert_allclose(mirror.gather(np.stack([wide, 2 * wide]), 5), [pmf, 2 * pmf], rtol=1e-15)
    even = jnp.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(mirror.scatter(even, 6), [0.1, 0.2, 0, 0, 0.3, 0.4])
    np.testing.assert_array_equal(mirror.gather(mirror.scatter(even, 6), 4), even)
    d = jnp.arange(1.0, 21.0).reshape(5, 4)
    p, moved = mirror.about_middle(pmf, d, 8, 6)
    np.testing.assert_array_equal(p, wide)
    rows = [0, 1, 2, None, None, 2, 3, 4]
    columns = [0, 1, None, None, 2, 3]
    wanted = [[np.inf if c is None else 0.0 if r is None else d[r, c] for c in columns] for r in rows]
    np.testing.assert_array_equal(moved, wanted)
    assert mirror.about_middle(even, d[:4], 4, 4)[1].shape == (4, 4)


def test_products_with_what_reads_the_same_are_those_of_the_half():
    rng = np.random.default_rng(0)
    half = rng.uniform(size=(4, 6))
    whole, x = jnp.asarray(np.vstack([half, half[::-1, ::-1]])), jnp.asarray(rng.uniform(size=3))
    np.testing.assert_allclose(mirror.fold_matrix(whole) @ x, (whole @ mirror.unfold(x))[:4], rtol=1e-14)
    np.testing.assert_allclose(mirror.fold(mirror.unfold(x)), x, rtol=1e-15)
    np.testing.assert_array_equal(mirror.fold(jnp.arange(6.0)), [5, 5, 5])


def test_nothing_found_by_half_is_worse_than_what_few_steps_find():
    p, d = (jnp.asarray(part) for part in shuffled(problem(140, 140))[1:3])
    called, compiled = (function(p, d, 0.1, max_steps=1) for function in (rd.rate_at, jax.jit(rd.rate_at)))
    assert not called.converged and not compiled.converged
    np.testing.assert_allclose(compiled.reproduction_pmf.sum(), 1)
    assert compiled.rate + 1e-12 >= called.rate - called.gap
    without = called._replace(gap=jnp.asarray(jnp.inf))  # a certificate, if what is found has none
    nothing = jax.tree.map(jnp.zeros_like, without)._replace(gap=without.gap)
    np.testing.assert_array_equal(run._better(nothing, without).reproduction_pmf, without.reproduction_pmf)


@pytest.mark.parametrize("n", [140, 141])
def test_arrays_from_outside_a_compiled_function_are_looked_at_when_it_is_made(n):
    p, d = (jnp.asarray(part) for part in problem(n, n)[1:3])
    called, compiled = rd.rate_at(p, d, 0.1), jax.jit(lambda D: rd.rate_at(p, d, D))(0.1)
    assert called.converged and compiled.converged
    assert abs(compiled.rate - called.rate) <= 1e-9
