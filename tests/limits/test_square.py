"""Nearly all letters in use, found by Newton's method on the slacks of the others: the interior point's answers."""

import jax.numpy as jnp
import numpy as np
import pytest

import rdtheory as rd
from rdtheory.limits.discrete.kernels import Matrix
from rdtheory.limits.discrete.matched_slope import SLOPE
from rdtheory.limits.discrete.solvers import columns, square
from tests.limits.certificate import assert_certified
from tests.problems import FAIR_COIN

TOL = 1e-9
N = 96


def problem(p, d):
    return FAIR_COIN._replace(source_pmf=p / p.sum(), distortion_matrix=d, exact=None)


def line(n, density):
    x = np.linspace(-6, 6, n)
    return problem(density(x), np.abs(x[:, None] - x))


def noisy(x):
    return np.exp(-np.abs(x - 0.3) + 0.1 * np.random.default_rng(5).normal(size=len(x)))


def scattered():
    """A metric without an order of letters: points in the cube, plain distances."""
    rng = np.random.default_rng(7)
    places = rng.uniform(size=(N, 3))
    return problem(rng.dirichlet(np.full(N, 3.0)), np.linalg.norm(places[:, None] - places, axis=2))


def unlike():
    """Reproductions that are not the source's letters, so that the matrix is not that of its transpose."""
    x, rng = np.linspace(-6, 6, N), np.random.default_rng(3)
    return problem(np.exp(-np.abs(x - 0.3)), np.abs(x[:, None] - (x + rng.uniform(-0.03, 0.03, N))))


# Letters out of use: none, a few at both ends, here and there, here and there.
CASES = {
    "steep": (line(N, lambda x: np.exp(-np.abs(x - 0.3))), 40.0),
    "ends": (line(N, lambda x: np.exp(-np.abs(x - 0.3))), 5.0),
    "noisy": (line(N, noisy), 8.0),
    "scattered": (scattered(), 20.0),
    "unlike": (unlike(), 10.0),
}


def solve(of, slope, size):
    p, d = jnp.asarray(of.source_pmf), Matrix(jnp.asarray(of.distortion_matrix))
    prepared = columns.prepare(p, d, jnp.asarray(slope), kind=SLOPE)
    return square.solve(prepared, jnp.asarray(TOL), jnp.asarray(2000), size=size)


@pytest.mark.parametrize("name", list(CASES))
def test_it_agrees_with_the_interior_point(name):
    of, slope = CASES[name]
    found, other = solve(of, slope, N // 2), rd.interior_point(of.source_pmf, of.distortion_matrix, slope, tol=TOL)
    assert_certified(of, found)
    assert found.converged
    assert abs((found.rate + slope * found.distortion) - (other.rate + slope * other.distortion)) <= 2 * TOL
    np.testing.assert_allclose(found.reproduction_pmf, other.reproduction_pmf, rtol=0, atol=1e-4)
    out = np.sum(np.asarray(found.reproduction_pmf) < 1e-9)
    assert (out == 0) == (name == "steep")


@pytest.mark.parametrize("of, slope", [(line(N, lambda x: np.exp(-(x**2) / 2)), 1.0), (scattered(), 2.0)])
def test_where_more_letters_are_out_of_use_its_gap_says_so(of, slope):
    found = solve(of, slope, N // 8)
    assert not found.converged
    assert found.gap > 100 * TOL
    assert_certified(of, found)


def test_a_kernel_that_cannot_be_inverted_is_no_harm():
    p, d = CASES["ends"][0][1:3]
    p, d = np.append(p / 2, p / 2), np.tile(d, (2, 2))  # every letter twice
    found = solve(problem(p, d), 5.0, N // 4)
    assert_certified(problem(p, d), found)


def test_a_point_of_a_thousand_letters_most_of_them_in_use_is_found_so():
    of = line(1024, lambda x: np.exp(-np.abs(x - 0.3)))
    found = rd.curve(of.source_pmf, of.distortion_matrix, jnp.array([8.0]), tol=TOL)
    (found,) = [type(found)(*(leaf[0] for leaf in found))]
    assert rd.discrete.METHODS[int(found.method)] == "Newton"
    assert found.converged
    assert np.sum(np.asarray(found.reproduction_pmf) > 1e-9) > 900
    assert_certified(of, found)
