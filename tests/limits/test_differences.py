"""Continuous sources under distortions that depend on x - y alone."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from rdtheory import sources
from rdtheory.limits import continuous
from rdtheory.limits.continuous import cells as _cells
from rdtheory.limits.continuous import difference as _difference
from rdtheory.limits.continuous.law import law_of
from tests import long, oracles

LN2 = np.log(2)
MIXTURE = sources.gaussian_mixture(jnp.array([0.3, 0.7]), jnp.array([-2.0, 1.0]), jnp.array([0.5, 1.0]))
SOURCES = {
    "gaussian": sources.gaussian(1.0),
    "uniform": sources.uniform(0.0, 1.0),
    "laplace": sources.laplace(1.0),
    "exponential": sources.exponential(1.0),
    "mixture": MIXTURE,
}


def overlap(a, b):
    assert max(a.lower, b.lower) <= min(a.upper, b.upper)


def density_of(source):
    return lambda x: float(np.exp(source.log_density(np.array([x])))[0])


def scipy_integral(function, low, high, points):
    edges = np.unique(np.clip(np.concatenate([[low], points, [high]]), low, high))
    return sum(quad(function, a, b, epsabs=1e-13, epsrel=1e-10)[0] for a, b in itertools.pairwise(edges))


# Against closed forms and other methods ------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [long(0.25), 1.0, long(2.0)])
def test_laplace_under_absolute_error(rate):
    """Shannon's lower bound is met: R(D) = log2(scale / D)."""
    result = continuous.rate_at(sources.laplace(2.0), 2.0 * 2.0**-rate, difference=abs)
    assert result.lower <= rate <= result.upper
    assert result.upper - result.lower <= 1e-6
    assert result.converged


def test_laplace_under_absolute_error_near_its_largest_distortion():
    """There nearly all reproductions are zero, as all are at a slope a little too small."""
    result = continuous.rate_at(sources.laplace(1.0), 0.99, difference=1.0, tol=1e-5)
    assert result.lower <= -math.log2(0.99) <= result.upper
    assert result.upper - result.lower <= 1e-5


@pytest.mark.parametrize("D", [0.5, 0.1])
def test_square_as_a_function_meets_the_path_for_squared_error(D):
    a = continuous.rate_at(sources.gaussian(1.0), D, difference=lambda u: u**2)
    overlap(a, continuous.rate_at(sources.gaussian(1.0), D))
    assert a.lower <= -0.5 * np.log2(D) <= a.upper
    assert a.converged


def test_a_power_is_the_function_it_names():
    a = continuous.rate_at(sources.uniform(0.0, 1.0), 0.005, difference=3.0)
    b = continuous.rate_at(sources.uniform(0.0, 1.0), 0.005, difference=lambda u: np.abs(u) ** 3)
    assert a.converged
    np.testing.assert_allclose([a.lower, a.upper], [b.lower, b.upper], rtol=0, atol=1e-12)


def test_uniform_between_two_discrete_problems():
    """Cells with the least distortion over x and y in them bound R below, with the greatest above."""
    n, D = 128, 0.1
    result = continuous.rate_at(sources.uniform(0.0, 1.0), D, difference=1.0)
    k = np.abs(np.arange(n)[:, None] - np.arange(n)[None, :])
    p = np.full(n, 1 / n)
    least, _ = oracles.rate_at(p, np.maximum(k - 1, 0) / n, D, bisections=30, steps=3000)
    _, greatest = oracles.rate_at(p, (k + 1) / n, D, bisections=30, steps=3000)
    assert result.converged
    assert least <= result.upper
    assert result.lower <= greatest
    assert greatest - least < 0.5


@pytest.mark.parametrize(("name", "r"), [("gaussian", 1.5), ("uniform", 1.0), ("exponential", 3.0)])
def test_shannons_lower_bound(name, r):
    """R(D) >= h(f) - log2 of the largest entropy at D, that of exp(-|u|^r) scaled."""
    source, D = SOURCES[name], 0.02
    entropy = {"gaussian": 0.5 * np.log2(2 * np.pi * np.e), "uniform": 0.0, "exponential": np.log2(np.e)}[name]
    theta = 1 / (r * D)
    volume = 2 * quad(lambda u: np.exp(-theta * u**r), 0, np.inf)[0]
    result = continuous.rate_at(source, D, difference=r, tol=1e-4)
    assert entropy - np.log2(volume) - theta * D / LN2 <= result.upper + 1e-12


# Laws ----------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_scaling():
    a = continuous.rate_at(sources.gaussian(1.0), 0.2, difference=1.0)
    b = continuous.rate_at(sources.gaussian(10.0), 2.0, difference=1.0)
    overlap(a, b)
    np.testing.assert_allclose(a.slope, 10 * b.slope, rtol=1e-3)


@pytest.mark.long
def test_mirror_image_of_an_asymmetric_distortion():
    def rho(u):
        return np.where(u > 0, u, -3 * u)

    mirrored = sources.gaussian_mixture(jnp.array([0.3, 0.7]), jnp.array([2.0, -1.0]), jnp.array([0.5, 1.0]))
    a = continuous.rate_at(MIXTURE, 0.5, difference=rho)
    b = continuous.rate_at(mirrored, 0.5, difference=lambda u: rho(-u))
    overlap(a, b)
    assert a.converged
    # -3u costs more than |u|, at most three times it
    assert continuous.rate_at(MIXTURE, 0.5, difference=1.0, tol=1e-4).lower <= a.upper
    assert a.lower <= continuous.rate_at(MIXTURE, 0.5 / 3, difference=1.0, tol=1e-4).upper


def test_a_flat_bottom_is_cheaper_by_what_it_forgives():
    source, D, a = sources.uniform(0.0, 1.0), 0.02, 0.05
    flat = continuous.rate_at(source, D, difference=lambda u: np.maximum(np.abs(u) - a, 0.0), tol=1e-4)
    # max(|u| - a, 0) lies between |u| - a and |u|
    assert flat.lower <= continuous.rate_at(source, D, difference=1.0, tol=1e-4).upper
    assert continuous.rate_at(source, D + a, difference=1.0, tol=1e-4).lower <= flat.upper
    assert 0 <= flat.upper - flat.lower < 1e-3


def test_a_bounded_distortion_is_cheaper_than_what_it_is_cut_from():
    source, D = sources.gaussian(1.0), 0.2
    bounded = continuous.rate_at(source, D, difference=lambda u: np.minimum(np.abs(u), 1.5), tol=1e-4)
    assert bounded.lower <= continuous.rate_at(source, D, difference=1.0, tol=1e-4).upper
    assert 0 < bounded.lower <= bounded.upper < bounded.lower + 1e-3


# The certificate -----------------------------------------------------------------------------------------------------


def recomputed(rho, result):
    """For the uniform source: -∫ f log z, the distortion, the greatest c of a scan; from points and masses alone."""
    y, q, s = (np.asarray(part) for part in (result.points, result.masses, result.slope))
    at = np.linspace(y[0], y[-1], 400)
    edges = np.unique(np.concatenate([[0.0, 1.0], y, at]))  # every kink of the integrands
    t, w = np.polynomial.legendre.leggauss(8)
    half = np.diff(edges)[:, None] / 2
    x, w = (edges[:-1, None] + half * (1 + t)).ravel(), (half * w).ravel()
    d = rho(x[:, None] - y[None, :])
    k = np.exp2(-s * d) * q
    z = k.sum(1)
    c = (w / z) @ np.exp2(-s * rho(x[:, None] - at[None, :]))
    return -float(w @ np.log2(z)), float(w @ ((k * d).sum(1) / z)), float(c.max()), float(s)


@pytest.mark.parametrize("r", [1.0, 3.0])
def test_bounds_agree_with_another_quadrature_of_the_returned_points(r):
    source, D = sources.uniform(0.0, 1.0), 0.15 if r == 1.0 else 0.01
    result = continuous.rate_at(source, D, difference=r)
    free, distortion, top, s = recomputed(lambda u: np.abs(u) ** r, result)
    assert result.converged
    line = free - s * D
    np.testing.assert_allclose(distortion, D, rtol=2e-3)
    assert line - np.log2(max(top, 1.0)) <= float(result.upper) + 1e-6
    assert abs(float(result.upper) - line) < 1e-5  # the channel lies on the line, but for its divergence and slope
    assert top < 1 + 1e-5


def test_the_supremum_is_over_all_y_and_not_over_the_edges():
    """A rough v: c between edges is above c at the edges, and below the bound."""
    rng = np.random.default_rng(3)
    law = law_of(sources.uniform(0.0, 1.0))
    grid = _cells.Grid(0.0, 1 / 40, 40)
    cells = _cells.cells_of(law, grid)
    v = rng.exponential(size=40)
    slope = 20.0
    for r in (0.5, 1.0, 2.5):

        def rho(u, r=r):
            return np.abs(u) ** r

        kernel = _cells.kernel_of(rho, slope, grid)
        dual = _difference.lower(cells, kernel, _cells.whole(rho, kernel, grid), v, 0.1)
        at = rng.uniform(0.0, 1.0, size=60)
        edges = grid.edges
        exact = []
        for y in at:
            parts = [
                scipy_integral(lambda x, y=y, rho=rho: np.exp2(-slope * rho(np.array(x - y))), a, b, [y])
                for a, b in itertools.pairwise(edges)
            ]
            exact.append(float(v @ np.array(parts)))
        bound = dual.above[np.minimum((at * 40).astype(int), 39)]
        assert (np.array(exact) <= bound + 1e-9).all()
        if r > 1:
            assert max(exact) > dual.c.max() or dual.above.max() > dual.c.max()


@pytest.mark.parametrize("entries", [3, 30])
def test_sums_term_by_term_are_those_of_the_whole_matrix(entries):
    """A narrow table is gone through by its own entries, a wide one by the masses."""
    rng = np.random.default_rng(entries)
    low, cells = -(entries // 3), 25
    tables, q = [rng.exponential(size=(rows, entries)) for rows in (2, 3)], rng.exponential(size=cells + 1)
    k = np.arange(cells)[:, None] - np.arange(cells + 1) - low
    for first, last in ((0, cells), (0, 4), (9, 17), (cells - 1, cells)):
        found = _cells.exactly(tables, low, q, first, last)
        for table, sums in zip(tables, found, strict=True):
            matrix = np.where((k >= 0) & (k < entries), table[:, np.clip(k, 0, entries - 1)], 0.0)
            np.testing.assert_allclose(sums, (matrix @ q)[:, first:last], rtol=1e-14)


def test_bounds_from_the_edges_alone_would_have_been_wrong():
    """Without what c does between edges and without the excess of c the "lower bound" of a first round is above R."""
    truth = continuous.rate_at(sources.uniform(0.0, 1.0), 0.1, difference=1.0)
    rough = continuous.rate_at(sources.uniform(0.0, 1.0), 0.1, difference=1.0, max_steps=1)
    free, _, top, s = recomputed(np.abs, rough)
    assert free - s * 0.1 > truth.upper + 1e-4
    assert top > 1 + 1e-4
    assert rough.lower <= truth.upper
    assert truth.lower <= rough.upper
    assert not rough.converged


# Edges ---------------------------------------------------------------------------------------------------------------


def test_zero_rate_from_the_best_constant_on():
    result = continuous.rate_at(sources.uniform(0.0, 1.0), 0.25, difference=1.0)
    assert result.lower <= 0 <= result.upper < 1e-6
    result = continuous.rate_at(sources.exponential(1.0), 0.7, difference=1.0)  # the median: ln 2
    assert result.lower == result.upper == 0
    np.testing.assert_allclose(result.points, [LN2], atol=1e-6)
    just = continuous.rate_at(sources.uniform(0.0, 1.0), 0.25 * (1 - 1e-5), difference=1.0)
    assert 0 <= just.lower <= just.upper < 1e-3


def test_a_heavy_tail_leaves_an_honest_interval():
    result = continuous.rate_at(sources.student_t(3.0), 0.5, difference=1.0, max_steps=1)
    assert result.lower <= result.upper
    assert not np.isnan([result.lower, result.upper]).any()
    assert bool(result.converged) == (result.upper - result.lower <= 1e-6)


def test_a_source_without_a_mean_has_its_lower_bound():
    """Cauchy, absolute error: f - D² f'' >= 0 for D² <= 8/9, so that Shannon's bound is the rate."""
    result = continuous.rate_at(sources.student_t(1.0), 0.663, difference=1.0, max_steps=3)
    rate = np.log2(4 * np.pi) - np.log2(2 * np.e * 0.663)
    assert rate - 1e-6 <= result.lower <= rate + 1e-12
    assert rate <= result.upper
    assert not result.converged


@pytest.mark.parametrize(
    ("difference", "message"),
    [
        (0.0, "must be > 0"),
        (-1.0, "must be > 0"),
        (np.inf, "must be > 0"),
        (np.nan, "must be > 0"),
        (lambda u: u, "must be >= 0"),
        (lambda u: np.abs(u) + 1, "0 at 0"),
        (lambda u: np.where(np.abs(u) > 1, 0.5, np.abs(u)), "never fall"),
        (lambda u: u * np.nan, "finite"),
        (lambda u: 1.0, "elementwise"),
        (lambda u: np.ceil(np.abs(u)), "jumps"),
        (lambda u: np.abs(u) + (u > 0.37), "jumps near 0.37"),
    ],
)
def test_bad_differences_are_named(difference, message):
    with pytest.raises(ValueError, match=message):
        continuous.rate_at(sources.gaussian(1.0), 0.1, difference=difference)


@pytest.mark.long
def test_a_distortion_without_a_mean_leaves_an_interval_and_no_nan():
    result = continuous.rate_at(sources.student_t(3.0), 0.5, difference=4.0, max_steps=1)
    assert 0 <= result.lower <= result.upper
    assert not result.converged


@pytest.mark.parametrize("difference", [1.0, abs, 0.5])
def test_two_samples_are_a_coin(difference):
    """No y between them helps: one error costs as much as any way to share it."""
    result = continuous.rate_at(sources.from_samples(jnp.array([0.0, 1.0])), 0.1, difference=difference)
    assert result.converged
    rate = 1 + 0.1 * np.log2(0.1) + 0.9 * np.log2(0.9)
    assert result.lower <= rate <= result.upper
    np.testing.assert_array_equal(result.points, [0.0, 1.0])


@pytest.mark.parametrize("power", [1.0, 0.7])
def test_between_samples_no_reproduction_is_better(power):
    x = np.random.default_rng(5).normal(size=40)
    result = continuous.rate_at(sources.from_samples(x), 0.2, difference=power)
    assert result.converged
    y, q, s = np.asarray(result.points), np.asarray(result.masses), float(result.slope)
    z = np.exp2(-s * np.abs(x[:, None] - y) ** power) @ q
    everywhere = np.concatenate([x, np.linspace(-4, 4, 5001)])
    c = np.mean(np.exp2(-s * np.abs(x[:, None] - everywhere) ** power) / z[:, None], axis=0)
    proved = -s * 0.2 - np.mean(np.log2(z)) - np.log2(c.max())
    assert result.lower <= proved + 1e-12
    assert result.upper - proved <= 2e-6


def test_samples_take_no_other_difference():
    with pytest.raises(ValueError, match="at most 1 for samples"):
        continuous.rate_at(sources.from_samples(jnp.array([1.0, 2.0])), 0.1, difference=1.5)


def test_zero_distortion_is_refused():
    with pytest.raises(ValueError, match="distortion must be > 0"):
        continuous.rate_at(sources.gaussian(1.0), 0.0, difference=1.0)


@pytest.mark.long
@pytest.mark.parametrize("share", [0.75, 0.2, 0.02])
@pytest.mark.parametrize("r", [1.0, 1.5, 3.0, 4.0])
@pytest.mark.parametrize("name", SOURCES)
def test_sweep(name, r, share):
    source = SOURCES[name]
    f = density_of(source)
    ends = {"uniform": (0.0, 1.0), "exponential": (0.0, 40.0)}.get(name, (-40.0, 40.0))
    center = {"uniform": 0.5, "exponential": LN2}.get(name, 0.0)
    D = share**r * scipy_integral(lambda x: f(x) * abs(x - center) ** r, *ends, [-3.0, 0.0, center, 3.0])
    result = continuous.rate_at(source, D, difference=r)
    assert 0 <= result.upper - result.lower <= 1e-5  # not all get to the tolerance
    assert bool(result.converged) == bool(result.upper - result.lower <= 1e-6)


# R(D) of Laplace under the absolute error is -log D; at a small D a source is wide beside the kernel.
@pytest.mark.parametrize(
    ("source", "D", "lower", "upper"),
    [
        (sources.laplace(1.0), 1e-3, 9.96, -np.log2(1e-3)),
        # Shannon's bound, which noise of the kernel's own density meets but for the two ends
        (sources.uniform(0.0, 1.0), 3e-4, -np.log2(2 * np.e * 3e-4), -np.log2(2 * np.e * 3e-4) + 0.01),
    ],
)
def test_a_source_wide_beside_the_kernel_gets_coarser_cells(source, D, lower, upper):
    result = continuous.rate_at(source, D, difference=abs, max_steps=3)
    assert lower - 0.05 <= result.lower <= upper
    assert lower <= result.upper <= upper + 0.5
    assert result.abandoned < 1e-5


def test_a_source_too_wide_to_be_resolved_is_given_up_at_once():
    result = continuous.rate_at(sources.laplace(1.0), 1e-5, difference=abs)
    np.testing.assert_allclose(result.lower, np.log2(1e5), rtol=1e-12)  # Shannon's bound needs no resolution
    assert result.upper == np.inf
    assert result.steps == 1
    assert result.abandoned > 0.1  # that is why
