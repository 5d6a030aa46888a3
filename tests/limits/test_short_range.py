"""Blocks of a kernel that reaches only a little way, and the masses that are best for it, against the dense matrix."""

import numpy as np
import pytest

from rdtheory.limits.continuous import short_range

WIDTH = 0.05


def problem(n, m, seed):
    """Nodes, points, and the kernel of all pairs in blocks and dense."""
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.uniform(0, 1, n)), np.sort(rng.uniform(0, 1, m))
    b = short_range.blocks(x, y, 9 * WIDTH)
    return x, y, b, np.exp(-0.5 * (b.u / WIDTH) ** 2) * b.present, np.exp(-0.5 * ((x[:, None] - y) / WIDTH) ** 2)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (63, 5), (64, 40), (200, 31)])
def test_products_are_those_of_the_matrix(n, m):
    x, y, b, a, dense = problem(n, m, n)
    rng = np.random.default_rng(0)
    q, v = rng.uniform(size=m), rng.uniform(size=n)
    np.testing.assert_allclose(short_range.times(a, b, q), dense @ q, rtol=0, atol=1e-15 * m)
    np.testing.assert_allclose(short_range.transpose_times(a, b, v), v @ dense, rtol=0, atol=1e-15 * n)
    # Every pair within reach is there once, and nothing else is.
    ones = np.where(np.abs(b.u) <= 9 * WIDTH, 1.0, 0.0) * b.present
    np.testing.assert_array_equal(
        short_range.times(ones, b, np.ones(m)), np.sum(np.abs(x[:, None] - y) <= 9 * WIDTH, 1)
    )


def test_a_point_out_of_reach_of_every_node_is_in_no_block():
    b = short_range.blocks(np.array([0.0, 1.0]), np.array([-3.0, 0.5, 5.0]), 1.0)
    assert set(b.columns[np.broadcast_to(b.present[:, 0], b.columns.shape)]) == {1}
    alone = short_range.blocks(np.array([0.0, 1.0]), np.array([5.0]), 1.0)
    np.testing.assert_array_equal(short_range.times(np.ones(alone.u.shape) * alone.present, alone, np.ones(1)), 0)


@pytest.mark.parametrize(("n", "m", "mass"), [(150, 31, 1.0), (200, 70, 0.7)])
def test_the_masses_it_finds_are_optimal(n, m, mass):
    """As the conditions of Kuhn and Tucker say: c <= Σ p, with equality where there is mass."""
    _, _, b, a, dense = problem(n, m, 1)
    p = np.random.default_rng(2).dirichlet(np.ones(n)) * mass
    q, steps = short_range.minimize(a, b, p, np.full(m, 1 / m), 1e-10)
    np.testing.assert_allclose(q.sum(), mass, rtol=1e-12)
    c = (p * mass / (dense @ q)) @ dense / mass
    assert c.max() <= 1 + 1e-9
    assert mass * np.log(c.max()) - np.sum(q * c * np.log(c)) <= 1.1e-10
    assert np.sum(q < 1e-6) > m / 4, "most of so many points are of no use"
    assert steps <= 22


def test_it_stops_where_rounding_has_won():
    _, _, b, a, _ = problem(150, 31, 1)
    p = np.random.default_rng(2).dirichlet(np.ones(150))
    _, enough = short_range.minimize(a, b, p, np.full(31, 1 / 31), 1e-12)
    q, steps = short_range.minimize(a, b, p, np.full(31, 1 / 31), -1.0)
    assert enough + 15 < steps < 60
    assert np.isfinite(q).all()
    _, steps = short_range.minimize(a, b, p, np.full(31, 1 / 31), -1.0, max_steps=7)
    assert steps == 7


def test_the_banded_factor_solves_the_reduced_system():
    _, _, b, a, dense = problem(200, 31, 3)
    rng = np.random.default_rng(4)
    w, diagonal, right = rng.uniform(size=200), rng.uniform(0.5, 1, size=31), rng.normal(size=31)
    solve = short_range._banded(a, b)(w, diagonal, 0.0)
    matrix = (w[:, None] * dense).T @ dense + np.diag(diagonal)
    np.testing.assert_allclose(solve(right), np.linalg.solve(matrix, right), rtol=1e-10)
    # With a ridge: that share of the diagonal is added.
    ridged = short_range._banded(a, b)(w, diagonal, 0.25)(right)
    np.testing.assert_allclose(ridged, np.linalg.solve(matrix + 0.25 * np.diag(np.diag(matrix)), right), rtol=1e-10)


def test_a_step_ends_before_an_entry_is_negative():
    x = np.array([1.0, 2.0])
    assert short_range._length(x, np.array([1.0, 0.0]), 0.9) == 1.0
    assert short_range._length(x, np.array([-0.5, 1.0]), 1.0) == 1.0
    assert short_range._length(x, np.array([-4.0, -1.0]), 1.0) == 0.25
    assert short_range._length(x, np.array([-4.0, -10.0]), 0.9) == 0.9 / 5
