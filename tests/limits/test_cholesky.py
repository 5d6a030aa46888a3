"""Factors by blocks are NumPy's, and nothing is left to LAPACK for which it would take threads."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdtheory as rd
from rdtheory.limits import _cholesky

EPS = np.finfo(float).eps
SIZES = [1, 127, 128, 150, 192]


def definite(n, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, n))
    return jnp.asarray(x @ x.T / n + 0.1 * np.eye(n))


def smooth(n):
    """Equilibrated, of condition 1e12, as those of an interior point that has nearly arrived."""
    x = np.linspace(-1, 1, n)
    kernel = np.exp(-((x[:, None] - x[None, :]) ** 2))
    return jnp.asarray(kernel + 1e-10 * np.eye(n))


@pytest.mark.parametrize("n", SIZES)
def test_factor_is_numpys(n):
    matrix = definite(n)
    found = _cholesky.factor(jnp.where(np.tri(n) > 0, matrix, 7.0))  # the lower triangle is read
    np.testing.assert_allclose(found, np.linalg.cholesky(matrix), rtol=0, atol=100 * EPS)


@pytest.mark.parametrize("n", SIZES)
def test_its_square_is_the_matrix_even_if_nearly_singular(n):
    matrix = smooth(n)
    found = np.asarray(_cholesky.factor(matrix))
    # Higham (2002), theorem 10.3: |LLᵀ - A| <= (n + 1) eps |L||Lᵀ|, whose entries are at most the largest of A.
    assert np.max(np.abs(found @ found.T - matrix)) <= (n + 1) * EPS


@pytest.mark.parametrize("n", [8, 31, 32, 64, 150])
def test_inverse_is_numpys(n):
    np.testing.assert_allclose(_cholesky.inverse(definite(n)), np.linalg.inv(definite(n)), rtol=0, atol=1e4 * EPS)


@pytest.mark.parametrize("broken", [0, 63, 64, 100, 149])
def test_what_is_not_definite_solves_nothing(broken):
    matrix = definite(150).at[broken, broken].set(-1.0)
    solved = jax.scipy.linalg.cho_solve((_cholesky.factor(matrix), True), np.ones(150))
    assert np.isnan(solved).all()
    assert np.isnan(_cholesky.inverse(matrix)).any()


def test_a_batch_is_a_loop_and_breakdown_stays_where_it_is():
    batch = jnp.stack([definite(150), definite(150) - 1.0 * np.eye(150), definite(150, 1)])
    factors, inverses = jax.vmap(_cholesky.factor)(batch), jax.vmap(_cholesky.inverse)(batch)
    assert np.isnan(factors[1]).any()
    assert np.isnan(inverses[1]).any()
    for k in (0, 2):
        np.testing.assert_allclose(factors[k], np.linalg.cholesky(batch[k]), rtol=0, atol=100 * EPS)
        np.testing.assert_allclose(inverses[k], np.linalg.inv(batch[k]), rtol=0, atol=1e4 * EPS)


def letters(n):
    x = np.linspace(-4, 4, n)
    p = np.exp(-(x**2) / 2)
    return p / p.sum(), (x[:, None] - x[None, :]) ** 2


@pytest.mark.parametrize(
    ("function", "n", "demands"),
    [
        (rd.rate_at, 200, [0.3]),
        (rd.rate_at, 600, [0.3]),
        (rd.discrete.lagrangian, 128, [1.0]),
        (rd.perception.rate_at, 40, [0.3, 0.05]),
    ],
)
def test_no_threads_are_taken_under_jit(function, n, demands):
    lowered = jax.jit(function).lower(*letters(n), *jnp.array(demands))
    calls = re.findall(r"@(?:lapack|blas)_(\w+)_ffi\(.* : \((.*)\) ->", lowered.as_text())
    assert calls
    for name, operands in calls:
        shapes = [[int(length) for length in shape.split("x")[:-1]] for shape in re.findall(r"<(.*?)>", operands)]
        # OpenBLAS takes one for matrices smaller than that, and for a single right-hand side.
        if name == "dpotrf":
            assert shapes[0][-1] < 128
        else:
            assert name == "dtrsm"
            assert shapes[1][-1] == 1 or shapes[1][-1] * shapes[1][-2] < 1024


def test_single_precision_stays_so():
    matrix = definite(150).astype(jnp.float32)
    for found, wanted in ((_cholesky.factor(matrix), np.linalg.cholesky), (_cholesky.inverse(matrix), np.linalg.inv)):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, wanted(np.asarray(matrix, float)), rtol=0, atol=1e-4)


def test_a_solver_called_directly_leaves_factors_to_lapack(monkeypatch):
    traced = []
    by_blocks = _cholesky._by_blocks
    monkeypatch.setattr(_cholesky, "_by_blocks", lambda matrix: (traced.append(len(matrix)), by_blocks(matrix))[1])
    p, d = jnp.full(137, 1 / 137), jnp.asarray(np.random.default_rng(0).uniform(size=(137, 137)))
    assert rd.interior_point(p, d, 3.0).converged
    assert not traced
    assert jax.jit(rd.interior_point)(p, d, 3.0).converged  # where nobody can keep it to one thread
    assert 137 in traced
