"""Which rows of a large matrix are kept, and where the mass of the others goes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdtheory.limits.discrete.kernels.matrix import ROWS, Matrix, moved

N = 1024
P = jnp.full(N, 1 / N)
SQUARES = (jnp.linspace(0, 1, N)[:, None] - jnp.linspace(0, 1, N)[None, :]) ** 2


def fewer(p, d):
    """The source and the matrix with fewer rows, or None."""
    found = Matrix(d).coarser(p, ROWS)
    return found and (found[0], found[1].entries)


def test_rows_are_left_out_only_where_they_change_slowly():
    assert fewer(P, SQUARES) is not None
    assert fewer(P, 1 - jnp.eye(N)) is None
    assert fewer(P, jnp.where(SQUARES > 0.5, jnp.inf, SQUARES)) is None
    assert fewer(P, jax.random.uniform(jax.random.key(0), (N, N))) is None
    assert fewer(P[: N - 1], SQUARES[: N - 1]) is None  # small
    one_more = jnp.full(N + 1, 1 / (N + 1)), jnp.concatenate([SQUARES, SQUARES[-1:]])
    assert fewer(*one_more) is not None


@pytest.mark.parametrize("row", [1, 993])
def test_a_row_may_be_a_fiftieth_of_the_largest_away_from_those_about_it(row):
    flat = jnp.full((N, 3), 5.0)
    assert fewer(P, flat.at[row, 1].add(5 * 0.0199)) is not None
    assert fewer(P, flat.at[row, 1].add(5 * 0.0201)) is None
    assert fewer(P, flat.at[row, 1].add(-5 * 0.0201)) is None
    assert fewer(P, flat.at[row, 1].set(jnp.inf)) is None


def test_rows_may_change_by_more_if_they_do_so_evenly():
    """Of sixteen rows, each is a fifteenth away from the next, and the one between them a thirtieth."""
    assert Matrix(jnp.linspace(0, 1, N)[:, None] * jnp.ones((1, 3))).coarser(P, 16) is not None


def test_the_first_and_the_last_row_are_kept_and_a_law_with_the_same_means():
    x = np.arange(N)
    p = np.exp(-x / 300) * (1 + 0.5 * np.sin(x / 50))
    p /= p.sum()
    mass, rows = fewer(jnp.asarray(p), SQUARES)
    kept = np.array([*range(0, N - 1, 2), N - 1])
    np.testing.assert_array_equal(rows, SQUARES[kept])
    np.testing.assert_allclose(mass.sum(), 1, rtol=1e-14)
    for power in range(6):
        np.testing.assert_allclose(mass @ (kept / N) ** power, p @ (x / N) ** power, rtol=1e-12)


def test_where_polynomials_would_make_a_mass_negative_it_goes_to_the_two_beside_it():
    p = jnp.zeros(N).at[501].set(1.0)
    mass, _ = fewer(p, SQUARES)
    np.testing.assert_allclose(mass[250:252], 0.5, rtol=1e-14)
    np.testing.assert_allclose(mass.sum(), 1, rtol=1e-14)


@pytest.mark.parametrize("n", [1024, 1500, 2050])
def test_rows_at_equal_distances_keep_the_means_of_kernels_far_better_than_a_stencil_does(n):
    x = np.linspace(-8, 8, n)
    p, d = np.exp(-(x**2) / 2), (x[:, None] - x) ** 2
    p /= p.sum()
    fewer = Matrix(jnp.asarray(d)).coarser(jnp.asarray(p))
    assert fewer is not None
    mass, rows, _ = fewer
    assert len(mass) <= 3 * n // 4
    np.testing.assert_allclose(mass @ jnp.exp2(-11.5 * rows.entries), p @ np.exp2(-11.5 * d), rtol=0, atol=1e-10)


def test_moved_mass_keeps_the_means_of_polynomials():
    p = np.random.default_rng(0).dirichlet(np.ones(103))
    places = np.array([*range(0, 102, 6), 102])
    for stencil in (2, 6):
        mass = moved(jnp.asarray(p), places, stencil)
        for power in range(stencil):
            np.testing.assert_allclose(mass @ (places / 102) ** power, p @ (np.arange(103) / 102) ** power, rtol=1e-12)


def test_mass_goes_to_the_places_nearest_to_it():
    places = np.arange(0, 61, 6)
    for stencil in (2, 6):
        for index in range(18, 42):
            mass = np.asarray(moved(jnp.eye(61)[index], places, stencil))
            if index % 6:
                assert (np.abs(places[mass != 0] - index) < 3 * stencil).all()
                assert np.sum(mass != 0) == stencil
            else:
                np.testing.assert_array_equal(mass, places == index)
