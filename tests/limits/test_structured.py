"""Distortions that are never stored, against the same as matrices, and their certificates recomputed in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdtheory as rd
from rdtheory import distortion
from rdtheory.limits.discrete import arguments, certificate, kernels, plan
from rdtheory.limits.discrete import problem as problems
from rdtheory.limits.discrete.kernels import grid, samples
from rdtheory.limits.discrete.solvers import interior_point
from tests import long


def gaussian(points, width=4.0):
    x = np.linspace(-width, width, points)
    p = np.exp(-(x**2) / 2)
    return x, p / p.sum()


def line(points=501):
    x, p = gaussian(points)
    return p, distortion.grid((x - x[0]) ** 2), (x[:, None] - x[None, :]) ** 2


def plane(first=16, second=14):
    (x, p), (y, q) = gaussian(first, 3.0), gaussian(second, 3.0)
    dense = (np.abs(x[:, None] - x) ** 2)[:, None, :, None] + np.abs(y[:, None] - y)[None, :, None, :]
    mass = np.outer(p, q) * (1.2 + np.sin(np.outer(x, y)))  # no product
    mass /= mass.sum()
    size = first * second
    return mass.ravel(), distortion.grid((x - x[0]) ** 2, y - y[0]), dense.reshape(size, size)


def cloud(n=600, m=500):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(n, 2)), 1.2 * rng.normal(size=(m, 2))
    p = rng.uniform(0.1, 1, n)
    return p / p.sum(), distortion.samples(x, y), ((x[:, None, :] - y[None, :, :]) ** 2).sum(axis=2)


PROBLEMS = {"line": line, "plane": plane, "cloud": cloud}
SLOPES = {"line": 6.0, "plane": 2.5, "cloud": 2.0}

# Compiled, for each of their operations would be compiled by itself.
make = jax.jit(lambda p, d: problems.make(p, kernels.of(d)))
price = jax.jit(problems.price)
columns = jax.jit(lambda of, letters: of.d.view(of, letters).excess)


def bounds_of(p, d, q, s):
    """Rate, distortion and the lower bound there, from the dense formulas."""
    kernel = 2.0 ** (-s * (d - d.min(axis=1, keepdims=True)))
    z = kernel @ q
    c = kernel.T @ (p / z)
    spent = (p / z) @ ((d * kernel) @ q)
    free = -p @ np.log2(z) + s * p @ d.min(axis=1)
    drift = np.sum(q[q > 0] * c[q > 0] * np.log2(c[q > 0]))
    return free - drift - s * spent, spent, free - np.log2(c.max()) - s * spent


@pytest.fixture(scope="module", params=PROBLEMS)
def problem(request):
    return (*PROBLEMS[request.param](), SLOPES[request.param])


def test_it_stands_for_the_matrix(problem):
    p, d, dense, _ = problem
    letters = jnp.array([0, 3, len(dense[0]) - 1, 150])
    got, wanted = make(p, d), make(p, dense)
    above = dense[:, letters] - dense.min(axis=1, keepdims=True)
    np.testing.assert_allclose(columns(got, letters) * got.unit, above, rtol=1e-12, atol=1e-12)
    for name in ("floor", "least", "span", "unit", "usable"):
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), rtol=1e-11, atol=1e-12)
    above = p @ (dense - dense.min(axis=1, keepdims=True))
    np.testing.assert_allclose(above[int(got.best)], above.min(), rtol=1e-11)  # there may be several


def test_prices_err_by_less_than_their_bound(problem):
    p, d, dense, s = problem
    made = make(p, d)
    rng = np.random.default_rng(0)
    for scale in (0.0, 3.0, 12.0):
        weights = p * np.exp(scale * rng.normal(size=len(p)))
        c, error = price(made, s * np.asarray(made.unit), weights)
        above = dense - dense.min(axis=1, keepdims=True)
        wanted = weights.astype(np.longdouble) @ (2.0 ** (-s * above.astype(np.longdouble)))
        rounding = 100 * len(p) * np.finfo(float).eps * wanted
        assert np.all(np.abs(np.asarray(c) - wanted) <= float(error) + rounding)
        assert float(error) <= 1e-10 * np.linalg.norm(weights) * len(p)


@pytest.mark.long
def test_it_agrees_with_the_matrix(problem):
    p, d, dense, s = problem
    got = rd.curve(p, d, jnp.array([s]), tol=1e-9)
    wanted = rd.curve(p, dense, jnp.array([s]))
    assert got.converged.all()
    np.testing.assert_allclose(got.rate + s * got.distortion, wanted.rate + s * wanted.distortion, rtol=0, atol=1e-9)
    D, R = float(wanted.distortion[0]), float(wanted.rate[0])
    at = rd.rate_at(p, d, D, tol=1e-9)
    assert at.converged
    np.testing.assert_allclose(at.rate, R, rtol=0, atol=2e-9)
    assert at.distortion == D
    back = rd.distortion_at(p, d, R, tol=1e-9)
    assert back.converged
    np.testing.assert_allclose(back.distortion, D, rtol=0, atol=2e-9 / s)
    low = rd.discrete.lagrangian(p, d, s, tol=1e-9)
    np.testing.assert_allclose(low.value, R + s * D, rtol=0, atol=1e-9)


def test_samples_are_solved_to_what_they_tell():
    p, d, _ = cloud()
    for default in (rd.rate_at(p, d, 0.3), rd.distortion_at(p, d, 1.0), rd.discrete.lagrangian(p, d, 2.0)):
        assert default.converged and 1e-6 < default.gap <= 1e-3
    assert 1e-6 < rd.curve(p, d, distortions=np.array([0.3])).gap[0] <= 1e-3
    assert 1e-6 < rd.curve(p, d, np.array([2.0])).gap[0] <= 1e-3


@pytest.mark.parametrize("steps", [1, long(15), 10_000])
def test_the_certificate_is_what_the_dense_formulas_give(problem, steps):
    p, d, dense, s = problem
    point = first(rd.curve(p, d, np.array([s]), tol=1e-9, max_steps=steps))
    rate, spent, lower = bounds_of(p, dense, np.asarray(point.reproduction_pmf), s)
    np.testing.assert_allclose(point.distortion, spent, rtol=1e-10)
    assert rate <= point.rate <= rate + 1e-10
    assert lower - 1e-9 <= point.rate - point.gap <= lower


def first(points):
    """Of a curve, in NumPy."""
    return jax.tree.map(lambda leaf: leaf[0], jax.device_get(points))


def test_a_corrupted_price_is_caught(monkeypatch):
    """An error that a transform admits to widens the gap by at least as much."""
    p, d, _ = line()
    q = rd.curve(p, d, jnp.array([6.0])).reproduction_pmf[0]
    exact = kernels.Lattice.price

    @jax.jit
    def gap(off):
        def price(self, of, s, weights):
            c, error = exact(self, of, s, weights)
            return c - off, error + off

        monkeypatch.setattr(kernels.Lattice, "price", price)
        made = problems.make(jnp.asarray(p), kernels.of(d))
        every = problems.View(made.d.whole(made), jnp.arange(len(p)))
        return certificate.at_slope(made, every, q, 6.0 * made.unit).gap

    assert gap(0.0) < 1e-9
    assert gap(1e-6) >= 1e-6


@pytest.mark.parametrize("name", ["line", "cloud"])
def test_a_coarser_problem_is_tried_first(name, monkeypatch):
    p, d, dense = PROBLEMS[name]()
    monkeypatch.setattr(plan, "COARSE", (64, 200))
    s = SLOPES[name]
    for tol in (1e-3, 1e-9):
        point = first(rd.curve(p, d, np.array([s]), tol=tol))
        rate, _, lower = bounds_of(p, dense, np.asarray(point.reproduction_pmf), s)
        assert point.converged
        assert rate <= point.rate <= rate + 1e-10
        assert point.rate - point.gap <= lower


def test_samples_of_mass_zero_change_nothing_however_far(monkeypatch):
    p, d, _ = PROBLEMS["cloud"]()
    monkeypatch.setattr(plan, "COARSE", (64, 200))
    p = np.append(0.0, p[1:]) / p[1:].sum()
    plain, *others = (
        rd.curve(p, d._replace(source=d.source.at[0].set(place)), np.array([SLOPES["cloud"]]), tol=1e-9)
        for place in (0.0, 1e3, 1e150)
    )
    for point in others:
        assert point.converged.all()
        np.testing.assert_allclose(point.rate, plain.rate, rtol=0, atol=2e-9)
    far = d._replace(source=d.source.at[0].set(1e150))
    assert jax.jit(arguments.without_dead_letters)(p, far).source.max() < 10


def test_merged_samples_keep_mass_mean_and_covariance():
    rng = np.random.default_rng(8)
    x, p = rng.normal(size=(3000, 2)) * [1.0, 3.0], rng.dirichlet(np.ones(3000))
    merged, d = samples._merged(jnp.asarray(p), kernels.of(distortion.samples(x, x[:3])), 1000)
    assert len(merged) == len(d.source) <= 1000
    assert merged.min() >= 0
    for weights, points in ((p, x), (np.asarray(merged), np.asarray(d.source))):
        moments = [weights.sum(), *(weights @ points), *(weights @ points**2), weights @ (points[:, 0] * points[:, 1])]
        if points is x:
            expected = moments
    np.testing.assert_allclose(moments, expected, rtol=1e-12, atol=1e-12)


def test_many_samples_are_certified_from_merged_ones(monkeypatch):
    rng = np.random.default_rng(9)
    x, y, s = rng.normal(size=(5000, 2)), 1.2 * rng.normal(size=(30, 2)), 1.0
    p = np.full(5000, 1 / 5000)
    monkeypatch.setattr(plan, "COARSE", (1024,))
    point = first(rd.curve(p, distortion.samples(x, y), np.array([s]), tol=1e-4, max_steps=1000))
    assert point.converged
    dense = ((x[:, None, :] - y[None, :, :]) ** 2).sum(axis=2)
    rate, spent, lower = bounds_of(p, dense, np.asarray(point.reproduction_pmf), s)
    np.testing.assert_allclose(point.distortion, spent, rtol=1e-10)
    assert rate <= point.rate <= rate + 1e-10
    assert lower - 1e-9 <= point.rate - point.gap <= lower


def test_moving_mass_to_a_coarser_grid_keeps_cubic_means():
    rng = np.random.default_rng(1)
    mass = 1 + 0.1 * rng.uniform(size=97)
    x = np.arange(97.0)
    mass[:8] = mass[-9:] = 0  # at the ends straight lines are all that is kept
    fewer = np.asarray(jax.jit(grid.fewer, static_argnums=1)(mass, 4))
    for power in range(2):
        np.testing.assert_allclose(fewer @ (4.0 * np.arange(len(fewer))) ** power, mass @ x**power, rtol=1e-12)
    assert len(fewer) == 26


@pytest.mark.parametrize("name", ["line", "cloud"])
@pytest.mark.long
def test_it_works_under_jit(name):
    p, d, _ = PROBLEMS[name]()
    wanted = rd.rate_at(p, d, 0.3, tol=1e-6)
    got = jax.jit(lambda p, d, D: rd.rate_at(p, d, D, tol=1e-6))(p, d, 0.3)
    assert got.converged
    np.testing.assert_allclose(got.rate, wanted.rate, rtol=0, atol=1e-6)
    bad = jax.jit(lambda p, d, D: rd.rate_at(p, d, D, tol=1e-6))(p, d, -1.0)
    assert jnp.isnan(bad.rate)
    assert not bad.converged


def squares(first, second, width=3.0):
    """A plane of squared error in both axes, with steps of two lengths and some letters of no mass."""
    (x, p), (y, q) = gaussian(first, width), gaussian(second, 0.8 * width)
    mass = np.outer(p, q) * (1.2 + np.sin(np.outer(x, y)))
    mass[0, :2] = 0
    dense = ((x[:, None] - x) ** 2)[:, None, :, None] + ((y[:, None] - y) ** 2)[None, :, None, :]
    size = first * second
    d = distortion.grid((x - x[0]) ** 2, (y - y[0]) ** 2)
    return mass.ravel() / mass.sum(), d, dense.reshape(size, size)


@pytest.mark.parametrize("axes", [(9000,), (100, 60), (22, 19, 17)])
def test_shifted_tables_are_what_the_columns_give(axes):
    """In blocks of rows, of which the last one is not full, far into the tails."""
    rng = np.random.default_rng(len(axes))
    tables = [np.append(0.0, np.cumsum(rng.exponential(size=n - 1)) / n) for n in axes]
    n, letters, q = int(np.prod(axes)), rng.choice(np.prod(axes), 7, replace=False), rng.dirichlet(np.ones(7))
    x, y = np.unravel_index(np.arange(n), axes), np.unravel_index(letters, axes)
    apart = [np.abs(i[:, None] - j[None, :]) for i, j in zip(x, y, strict=True)]
    d = sum(table[gap] for table, gap in zip(tables, apart, strict=True)).astype(np.longdouble)
    s = float(800 / d.min(axis=1).max())  # so many bits is one letter away from the nearest of them

    @jax.jit
    def moments(offsets):
        made = problems.make(jnp.ones(n) / n, kernels.of(distortion.Grid(offsets)))
        return made.unit, made.d.once(made, jnp.asarray(letters)).moments(jnp.asarray(q), s * made.unit)

    unit, found = moments(tuple(map(jnp.asarray, tables)))
    terms = q * 2.0 ** (-s * d)
    z, mean = terms.sum(axis=1), (terms * d).sum(axis=1) / terms.sum(axis=1)
    variance = (terms * (d - mean[:, None]) ** 2).sum(axis=1) / z
    assert 2.0**-900 < z.min() < 1e-200
    unit = float(unit)
    for got, wanted, atol in zip(found, (z, mean / unit, variance / unit**2), (0.0, 0.0, 1e-12), strict=True):
        np.testing.assert_allclose(got, wanted.astype(float), rtol=1e-11, atol=atol)


def test_squares_are_recognized():
    _, d, _ = squares(6, 5)
    assert isinstance(kernels.of(d), kernels.Plane)
    for other in (plane()[1], line()[1], distortion.grid(jnp.zeros(4), jnp.zeros(5))):
        assert not isinstance(kernels.of(other), kernels.Plane)
    jax.jit(lambda d: isinstance(kernels.of(d), kernels.Plane) and 1 / 0)(d)  # not while their values are unknown


def test_axis_by_axis_is_what_the_matrix_gives():
    p, d, dense = squares(13, 11)
    letters, s = jnp.array([0, 5, 70, 71, 142]), 3.0
    above = np.where((p > 0)[:, None], dense, 0.0)
    wanted = 2.0 ** (-s * above[:, letters])
    rng = np.random.default_rng(0)
    on = p > 0
    q, weights = rng.uniform(size=5), rng.uniform(size=len(p)) * on

    @jax.jit
    def axis_by_axis(d):
        made = problems.make(jnp.asarray(p), d)
        kernel = made.d.view(made, letters).at(s * made.unit)
        sums = (kernel.times(jnp.asarray(q)), *kernel.powers(jnp.asarray(q)))
        products = kernel.transposed(jnp.asarray(weights)), kernel.gram(jnp.asarray(weights))
        return made.unit, sums, products, problems.price(made, s * made.unit, jnp.asarray(weights)), kernel

    unit, sums, (transposed, gram), (c, error), kernel = axis_by_axis(kernels.of(d))
    for got, power in zip(sums, (0, 0, 1, 2), strict=True):
        expected = (wanted * (above[:, letters] / float(unit)) ** power) @ q
        np.testing.assert_allclose(np.asarray(got)[on], expected[on], rtol=1e-12)
    np.testing.assert_allclose(transposed, weights @ wanted, rtol=1e-12)
    np.testing.assert_allclose(gram, wanted.T @ (weights[:, None] * wanted), rtol=1e-11)
    np.testing.assert_allclose(c, weights @ 2.0 ** (-s * above), rtol=1e-12)
    assert error == 0
    one, other = (
        jax.jit(interior_point.minimize)(k, p, np.full(5, 0.2), np.asarray(1e-9), np.asarray(50))[0]
        for k in (kernel, kernels.Table(wanted, wanted))
    )
    np.testing.assert_allclose(one, other, atol=1e-8)


@jax.jit
def lowered(p, d, z, c, s):
    made = problems.make(p, d)
    return d.overshoot(made, z, c, s * made.unit)


@pytest.mark.parametrize("s", [0.0, 0.7, 3.0, 12.0])
def test_a_lower_bound_mended_is_one(s):
    """Below the Lagrangian of the optimum for any q, and better than log max c where q is poor in the tails only."""
    p, d, dense = squares(15, 12)
    best = rd.interior_point(p, dense, s)
    lowest = best.rate + s * best.distortion  # an upper bound of the least Lagrangian, to 1e-9
    known = kernels.of(d)
    above = np.where((p > 0)[:, None], dense, 0.0)
    kernel = (2.0 ** (-s * above)).astype(np.longdouble)
    rng = np.random.default_rng(1)
    for far in (0.0, 1.0, 4.0):
        q = np.asarray(best.reproduction_pmf) * np.exp(far * rng.normal(size=len(p))) + 1e-6
        q /= q.sum()
        z = np.asarray(kernel @ q, float)
        c = np.asarray((p / z) @ kernel, float)
        cost = float(lowered(p, known, z, c, s))
        assert cost <= np.log2(c.max()) + 1e-14
        free = -(p[p > 0] @ np.log2(z[p > 0]))
        assert free - cost <= lowest + 1e-12
    few = np.asarray(best.reproduction_pmf) * (np.arange(len(p)) % 12 != 0)  # an edge is missing
    z = np.asarray(kernel @ (few / few.sum()), float)
    made = jax.jit(problems.make)(p, known)
    c = np.asarray(price(made, s * np.asarray(made.unit), p / z)[0])
    if s == 3.0:
        assert float(lowered(p, known, z, c, s)) < 0.5 * np.log2(c.max())


@pytest.mark.parametrize("verb", ["curve", pytest.param("rate_at, distortion_at", marks=pytest.mark.long)])
def test_a_plane_is_certified_and_a_product_is_the_sum_of_its_axes(verb, monkeypatch):
    monkeypatch.setattr(plan, "PLANE", (384,))
    (x, p), (y, q) = gaussian(40, 3.0), gaussian(34, 3.0)
    tables, s = ((x - x[0]) ** 2, (y - y[0]) ** 2), 2.0
    axes = [rd.interior_point(mass, (z[:, None] - z) ** 2, s) for z, mass in ((x, p), (y, q))]
    wanted = sum(float(point.rate + s * point.distortion) for point in axes)
    mass, d = np.outer(p, q).ravel(), distortion.grid(*tables)
    dense = (((x[:, None] - x) ** 2)[:, None, :, None] + ((y[:, None] - y) ** 2)[None, :, None, :]).reshape(1360, 1360)
    if verb != "curve":
        at_its_own_distortion_and_rate(mass, d, axes, s)
        return
    point = first(rd.curve(mass, d, np.array([s]), tol=1e-6))
    assert point.converged
    rate, spent, lower = bounds_of(mass, dense, np.asarray(point.reproduction_pmf), s)
    np.testing.assert_allclose(point.distortion, spent, rtol=1e-12)
    assert rate <= point.rate <= rate + 1e-10
    assert lower <= wanted - s * spent + 1e-12
    value = float(point.rate) + s * float(point.distortion)
    assert value - float(point.gap) <= wanted + 1e-9
    assert wanted - 1e-9 <= value


def at_its_own_distortion_and_rate(mass, d, axes, s):
    D, R = (sum(float(getattr(a, name)) for a in axes) for name in ("distortion", "rate"))
    for at, level in ((rd.rate_at(mass, d, D, tol=1e-6), D), (rd.distortion_at(mass, d, R, tol=1e-6), None)):
        assert at.converged
        assert at.rate - at.gap <= R + s * (D - float(at.distortion)) + 1e-9 <= float(at.rate) + 1e-8
        assert level is None or at.distortion == level


def test_a_plane_cut_short_is_honest(monkeypatch):
    monkeypatch.setattr(plan, "PLANE", (64,))
    monkeypatch.setattr(plan, "DIRECT_PLANE", 0)
    p, d, dense = squares(15, 12)
    for steps in (1, 4):
        for s in (0.0, 2.5):
            point = first(rd.curve(p, d, np.array([s]), max_steps=steps, tol=1e-6))
            best = rd.interior_point(p, dense, s)
            lowest = float(best.rate + s * best.distortion)
            rate, _, _ = bounds_of(p, dense, np.asarray(point.reproduction_pmf), s)
            assert rate <= point.rate <= rate + 1e-10
            assert point.rate - point.gap + s * point.distortion <= lowest + 1e-10


def test_peaks_are_the_highest_of_each_tile():
    c = np.random.default_rng(0).uniform(size=(17, 23))
    letters, levels = jax.jit(grid.peaks, static_argnums=2)(squares(17, 23)[1].offsets, c.ravel(), 24)
    tiles = {(i, j): c[5 * i : 5 * i + 5, 5 * j : 5 * j + 5].max() for i in range(4) for j in range(5)}
    assert sorted(np.asarray(levels)) == sorted(tiles.values())
    np.testing.assert_array_equal(c.ravel()[letters], levels)


def ring(points=256):
    x = np.linspace(-4, 4, points)
    p = np.exp(-((np.hypot(x[:, None], x) - 2) ** 2) / (2 * 0.3**2))
    return x, p / p.sum()


@pytest.mark.long
@pytest.mark.parametrize(("kind", "slope"), [("ring", 1.6), ("ring", 3.2), ("gaussian", 1.44), ("gaussian", 2.885)])
def test_a_large_plane_is_certified(kind, slope):
    x, p = ring() if kind == "ring" else (gaussian(256)[0], np.outer(gaussian(256)[1], gaussian(256)[1]))
    table = (x - x[0]) ** 2
    point = jax.tree.map(
        lambda a: a[0], rd.curve(p.ravel(), distortion.grid(table, table), jnp.array([slope]), tol=1e-6)
    )
    assert point.converged
    kernel = np.exp2(-slope * (x[:, None] - x) ** 2).astype(np.longdouble)
    q = np.asarray(point.reproduction_pmf).reshape(256, 256)
    z = kernel @ q @ kernel
    c = kernel @ (p / z) @ kernel
    value = -np.sum(p * np.log2(z))
    assert value - np.log2(c.max()) - 1e-12 <= point.rate + slope * point.distortion <= value + 1e-10
    if kind == "gaussian":
        axis = rd.interior_point(gaussian(256)[1], (x[:, None] - x) ** 2, slope)
        wanted = 2 * float(axis.rate + slope * axis.distortion)
        value = float(point.rate + slope * point.distortion)
        assert value - float(point.gap) <= wanted + 1e-9
        assert wanted - 2e-9 <= value


def test_from_the_largest_distortion_on_the_rate_is_zero():
    p, d, dense = line()
    point = rd.rate_at(p, d, (p @ dense).min() + 1e-9)
    np.testing.assert_allclose(point.rate, 0, atol=1e-9)
    assert rd.rate_at(p, d, 0.99 * (p @ dense).min()).rate > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: distortion.grid(), "one, two or three axes"),
        (lambda: distortion.grid(jnp.array([1.0, 2.0])), "must begin with 0"),
        (lambda: distortion.grid(jnp.array([0.0, -2.0])), "must be >= 0"),
        (lambda: distortion.grid(jnp.array([0.0, jnp.inf])), "finite"),
        (lambda: distortion.grid(jnp.array([0.0]), jnp.array([0.0, jnp.nan])), r"offsets\[1\]"),
        (lambda: distortion.samples(jnp.array([[jnp.nan]]), jnp.ones((2, 1))), "source must be finite"),
        (lambda: distortion.samples(jnp.ones((3, 2)), jnp.ones((2, 1))), "one length"),
        (lambda: rd.rate_at([0.5, 0.5], distortion.grid(jnp.arange(3.0)), 0.1), "2 letters"),
        (
            lambda: rd.rate_at([0.5, 0.5], distortion.samples(jnp.array([[0.0], [1.0]]), jnp.array([[5.0]])), 1.0),
            "least",
        ),
        (lambda: rd.rate_at([0.5, 0.5], distortion.Grid((jnp.array([0.0, jnp.nan]),)), 0.1), "NaN"),
        (lambda: distortion.squared_error(jnp.zeros(10**6), jnp.zeros(10**7)), "distortion.grid"),
        (lambda: distortion.absolute_error(jnp.zeros(10**6), jnp.zeros(10**7)), "distortion.samples"),
    ],
)
def test_what_is_wrong_is_named(as_user, make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_where_a_matrix_is_needed_it_says_so(as_user):
    with pytest.raises(TypeError, match="must be a matrix here"):
        rd.blahut_arimoto([0.5, 0.5], distortion.grid(jnp.arange(2.0)), 1.0)


def test_no_derivative_is_better_than_a_wrong_one():
    d = distortion.grid(jnp.arange(2.0))
    with pytest.raises(TypeError, match="no derivative"):
        jax.jit(jax.grad(lambda D: rd.rate_at(jnp.array([0.5, 0.5]), d, D).rate))(0.1)
