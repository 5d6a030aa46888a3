import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import hadamard
from scipy.stats import kstest

from rdtheory import rotation

KEY = jax.random.key(3)


@pytest.mark.parametrize("n", [1, 2, 8, 64])
def test_it_is_hadamards_matrix_with_random_signs(n):
    matrix = np.asarray(rotation.rotate(KEY, np.eye(n)))
    signs = np.sign(matrix[0])  # the first row of Hadamard's matrix is all ones
    np.testing.assert_allclose(matrix, hadamard(n) / np.sqrt(n) * signs, rtol=0, atol=1e-15)


def test_the_signs_are_fair_and_those_of_the_key():
    signs = np.sign(np.asarray(rotation.rotate(KEY, np.eye(1024))[0]))
    assert abs(signs.mean()) < 4 / np.sqrt(1024)
    other = np.sign(np.asarray(rotation.rotate(jax.random.key(4), np.eye(1024))[0]))
    assert abs((signs * other).mean()) < 4 / np.sqrt(1024)


@pytest.mark.parametrize("shape", [(16,), (16, 3), (16, 3, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_undo_gives_the_weights_back(shape, dtype):
    weights = np.random.default_rng(0).normal(size=shape).astype(dtype)
    back = rotation.undo(KEY, rotation.rotate(KEY, weights))
    assert back.dtype == dtype
    np.testing.assert_allclose(back, weights, rtol=0, atol=8 * np.finfo(dtype).eps)


def test_inner_products_stay():
    u, v = np.random.default_rng(1).normal(size=(2, 256, 5))
    rotated = rotation.rotate(KEY, u).T @ rotation.rotate(KEY, v)
    np.testing.assert_allclose(rotated, u.T @ v, rtol=0, atol=1e-12)


def test_what_was_far_from_gaussian_is_near_it():
    """A vector of which one entry in fifty is not zero; after the rotation no test tells it from Gaussian ones."""
    rng = np.random.default_rng(2)
    sparse = np.where(rng.uniform(size=4096) < 0.02, rng.laplace(size=4096), 0.0)
    sparse /= np.sqrt(np.mean(sparse**2))
    assert kstest(sparse, "norm").pvalue < 1e-100
    assert kstest(np.asarray(rotation.rotate(KEY, sparse)), "norm").pvalue > 0.01


def test_jit_vmap_and_the_derivative():
    weights = np.random.default_rng(3).normal(size=(4, 8))
    rows = np.stack([rotation.rotate(KEY, row) for row in weights])
    batch = jax.jit(jax.vmap(lambda row: rotation.rotate(KEY, row)))(weights)
    np.testing.assert_allclose(batch, rows, rtol=0, atol=1e-15)
    np.testing.assert_allclose(rotation.rotate(KEY, weights.T), rows.T, rtol=0, atol=1e-15)
    back = jax.grad(lambda w: rotation.rotate(KEY, w) @ jnp.asarray(rows[1]))(jnp.asarray(weights[0]))
    np.testing.assert_allclose(back, weights[1], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(6), ValueError, r"weights must have a power of two of rows, got shape \(6,\); append zeros up to 8"),
        (np.ones(()), ValueError, "weights must have a power of two of rows"),
        (np.array([1.0, np.nan]), ValueError, "weights must be finite"),
        (np.array([1, 2]), TypeError, "weights must be floating"),
    ],
)
def test_what_is_wrong_is_named(as_user, weights, error, message):
    with pytest.raises(error, match=message):
        rotation.rotate(KEY, weights)
    with pytest.raises(error, match=message.replace("weights must", "rotated must")):
        rotation.undo(KEY, weights)
