"""Newton's method on the places and masses of a reproduction and the slope, against finite differences and SciPy."""

import numpy as np
import pytest
import scipy.integrate

import rdtheory as rd
from rdtheory.limits.continuous import atoms, line, points, supremum
from rdtheory.limits.continuous.law import law_of
from rdtheory.limits.continuous.nodes import width_of

UNIFORM = rd.sources.uniform(0.0, 1.0)


def begun(source, share):
    """A fair solution at a distortion that is that share of the variance: masses on a comb."""
    law = law_of(source)
    D = share * law.variance
    slope = points._slope(law, D)
    nodes = law.nodes(slope)
    y, q = line.first_points(nodes, width_of(slope), line.FINER)
    b, a, q, _ = line.masses(nodes, y, q, width_of(slope), 1e-9)
    cells = line.bounds(nodes, b, a, y, q, slope, D, 1e-7).cells
    return nodes, *atoms.likely(cells, y, q, law.mean, law.variance - D), slope, D


def test_the_derivatives_are_those_of_finite_differences():
    nodes, y, q, slope, D = begun(UNIFORM, 1 / 16)
    width, k = width_of(slope), len(y)

    def off(v):
        other = slope * np.exp(v[-1])
        found = atoms._equations(nodes, y + width * v[:k], q * np.exp(v[k:-1]), other, D)[0]
        found[k:-1] *= width_of(other) / width  # c' in the same unit
        return found

    matrix = atoms._equations(nodes, y, q, slope, D)[1]
    step = 1e-6 * np.eye(2 * k + 1)
    wanted = np.stack([(off(row) - off(-row)) / 2e-6 for row in step], axis=1)
    np.testing.assert_allclose(matrix, wanted, rtol=0, atol=1e-8)


def test_all_conditions_hold_at_what_it_finds():
    nodes, *rest = begun(UNIFORM, 1 / 16)
    y, q, slope = atoms.polished(nodes, *rest)
    assert len(y) == 6
    np.testing.assert_allclose(y, 1 - y[::-1], rtol=0, atol=1e-12)  # the source is its own mirror image
    np.testing.assert_allclose(q, q[::-1], rtol=0, atol=1e-12)

    def over(f):
        return scipy.integrate.quad(f, 0, 1, epsabs=1e-13, epsrel=1e-13, limit=400)[0]

    def kernel(x):
        return 2.0 ** (-slope * (x - y) ** 2)

    for j in range(3):
        np.testing.assert_allclose(over(lambda x, j=j: kernel(x)[j] / (kernel(x) @ q)), 1.0, rtol=1e-10)
        np.testing.assert_allclose(
            over(lambda x, j=j: kernel(x)[j] * (x - y[j]) / (kernel(x) @ q)), 0.0, rtol=0, atol=1e-10
        )
    np.testing.assert_allclose(over(lambda x: kernel(x) @ (q * (x - y) ** 2) / (kernel(x) @ q)), rest[-1], rtol=1e-10)


@pytest.mark.parametrize(("bits", "points"), [(1e-3, 2), (0.05, 2), (0.5, 2), (1, 3), (2, 6)])
def test_a_uniform_source_needs_few_points(bits, points):
    found = rd.continuous.rate_at(UNIFORM, 4.0**-bits / 12, tol=1e-9)
    assert found.converged
    assert len(found.points) == points
    assert found.steps <= 3


def test_where_no_few_points_are_optimal_it_gives_up():
    nodes, y, q, slope, D = begun(rd.sources.gaussian(1.0), 1 / 4)
    assert atoms.polished(nodes, y, q, slope, D) is None
    # Nor is it content with points so far from the source that nothing is known there.
    nodes, y, q, slope, D = begun(UNIFORM, 1 / 16)
    assert atoms.polished(nodes, y[:2], q[:2] / q[:2].sum(), slope, D) is None


def test_what_goes_astray_is_taken_back(monkeypatch):
    def astray(nodes, y, q, slope, distortion):
        return np.array([0.2, 0.9]), np.array([0.6, 0.4]), 1.1 * slope

    monkeypatch.setattr(points, "polished", astray)
    with np.errstate(all="ignore"):
        found = rd.continuous.rate_at(UNIFORM, 1 / 48)
    assert found.converged
    monkeypatch.undo()
    sound = rd.continuous.rate_at(UNIFORM, 1 / 48, tol=1e-9)
    assert found.lower <= sound.upper
    assert found.upper >= sound.lower


def test_each_maximum_of_c_gets_the_mass_nearest_to_it():
    x, width = np.linspace(-1, 1, 401), 0.1
    weights = np.exp(-0.5 * ((x + 0.5) / 0.01) ** 2) + np.exp(-0.5 * ((x - 0.5) / 0.01) ** 2)
    cells = supremum.expand(x, weights, width)
    places, masses = atoms.likely(cells, np.array([-0.6, -0.4, 0.1]), np.array([0.25, 0.25, 0.5]), 0.0, 1.0)
    np.testing.assert_allclose(places, [-0.5, 0.5], rtol=0, atol=1e-6)
    np.testing.assert_allclose(masses, [0.5, 0.5], rtol=1e-15)
    one = supremum.expand(x, np.exp(-0.5 * (x / 0.01) ** 2), width)
    places, masses = atoms.likely(one, np.array([0.0]), np.array([1.0]), 0.25, 0.04)
    np.testing.assert_allclose(places, [0.05, 0.45], rtol=1e-14)
    np.testing.assert_allclose(masses, [0.5, 0.5], rtol=0)
