import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdtheory import candidates, golden_rules
from tests import oracles

rng = np.random.default_rng(2)
W = rng.normal(size=5)
DIAGONAL = rng.uniform(0.1, 2.0, size=5)
FULL = oracles.random_covariance(rng, 5)


@pytest.mark.parametrize("keep", range(6))
def test_pruned_is_every_mask_in_lexicographic_order(keep):
    np.testing.assert_array_equal(candidates.pruned(W, keep), oracles.masks(5, keep).reshape(-1, 5) * W)


@pytest.mark.parametrize("importance", [DIAGONAL, FULL], ids=["diagonal", "full"])
@pytest.mark.parametrize("keep", [1, 3, 5])
def test_pruned_with_an_importance_is_the_least_squares_on_every_support(keep, importance):
    metric = np.diag(importance) if importance.ndim == 1 else importance
    found = candidates.pruned(W, keep, importance)
    assert found.shape == (math.comb(5, keep), 5)
    for candidate, mask in zip(found, oracles.masks(5, keep), strict=True):
        kept = mask > 0
        wanted = np.zeros(5)
        wanted[kept] = np.linalg.solve(metric[np.ix_(kept, kept)], metric[kept] @ W)
        np.testing.assert_allclose(candidate, wanted, rtol=0, atol=1e-9)
        np.testing.assert_allclose(golden_rules.residuals(W, candidate, importance).orthogonality, 0, atol=1e-12)


def test_masks_are_projections_in_a_diagonal_importance():
    np.testing.assert_allclose(candidates.pruned(W, 2, DIAGONAL), candidates.pruned(W, 2), rtol=0, atol=1e-15)


@pytest.mark.parametrize("keep", [0, 2])
def test_pruned_keeps_the_shape_of_the_weights(keep):
    w = W[:4].reshape(2, 2)
    found = candidates.pruned(w, keep)
    assert found.shape == (math.comb(4, keep), 2, 2)
    np.testing.assert_array_equal(found.reshape(-1, 4), candidates.pruned(W[:4], keep))
    assert candidates.pruned(w, keep, jnp.ones((2, 2))).shape == found.shape


@pytest.mark.parametrize("levels", range(1, 6))
def test_quantized_is_every_partition_with_the_weighted_mean_of_each_cell(levels):
    found = np.asarray(candidates.quantized(W, levels, DIAGONAL))
    partitions = oracles.partitions(5, levels)
    assert found.shape == (len(partitions), 5)
    for candidate, labels in zip(found, partitions, strict=True):
        for cell in range(levels):
            inside = np.array(labels) == cell
            np.testing.assert_allclose(candidate[inside], np.average(W[inside], weights=DIAGONAL[inside]), rtol=1e-12)


@pytest.mark.parametrize(("k", "levels", "count"), [(8, 2, 127), (8, 3, 966), (8, 4, 1701), (7, 7, 1), (6, 1, 1)])
def test_quantized_counts_the_stirling_numbers(k, levels, count):
    assert candidates.quantized(np.arange(float(k)), levels, np.ones(k)).shape == (count, k)


@pytest.mark.parametrize(
    ("call", "count"),
    [
        (lambda: candidates.pruned(np.arange(5.0), 3), 10),
        (lambda: candidates.quantized(np.arange(5.0), 3, np.ones(5)), 25),
        (lambda: candidates.quantized(np.arange(6.0), 2, np.ones(6)), 31),
    ],
)
def test_as_many_as_the_limit_are_made_and_no_more(monkeypatch, call, count):
    monkeypatch.setattr(candidates, "LIMIT", count)
    assert len(call()) == count
    monkeypatch.setattr(candidates, "LIMIT", count - 1)
    with pytest.raises(ValueError, match=f"at least {count} candidates"):
        call()


def test_it_is_what_is_made_that_is_limited():
    assert candidates.quantized(np.arange(20.0), 19, np.ones(20)).shape == (190, 20)  # of 20 weights two share a cell
    for k, count in [(40, "137,846,528,820"), (20_000, r"[\d,]+")]:
        with pytest.raises(ValueError, match=f"at least {count} candidates, more than 1,000,000"):
            candidates.pruned(np.ones(k), k // 2)
    with pytest.raises(ValueError, match="candidates, more than 1,000,000"):
        candidates.quantized(np.ones(20_000), 10_000, np.ones(20_000))


def test_quantized_in_a_full_importance_satisfies_both_rules():
    for candidate in candidates.quantized(W, 2, FULL):
        np.testing.assert_allclose(golden_rules.residuals(W, candidate, FULL).cosine, 0, atol=1e-8)


def test_as_many_levels_as_weights_change_nothing():
    np.testing.assert_allclose(candidates.quantized(W, 5, DIAGONAL)[0], W, rtol=1e-13)


def test_jit_and_vmap_change_nothing():
    batch = jnp.stack([jnp.asarray(W), jnp.asarray(-2 * W)])
    for function in [
        lambda w: candidates.pruned(w, 2),
        lambda w: candidates.pruned(w, 2, FULL),
        lambda w: candidates.quantized(w, 2, DIAGONAL),
    ]:
        loop = jnp.stack([function(w) for w in batch])
        np.testing.assert_allclose(jax.vmap(function)(batch), loop, rtol=0, atol=1e-11)
        np.testing.assert_allclose(jax.jit(jax.vmap(function))(batch), loop, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: candidates.pruned(W, -1), ValueError, "keep must be a whole number, at least 0 and at most 5"),
        (lambda: candidates.pruned(W, 6), ValueError, "keep must be a whole number, at least 0 and at most 5"),
        (lambda: candidates.pruned(W, 2.0), ValueError, "keep must be a whole number, at least 0 and at most 5"),
        (
            lambda: candidates.quantized(W, 0, DIAGONAL),
            ValueError,
            "levels must be a whole number, at least 1 and at most 5",
        ),
        (
            lambda: candidates.quantized(W, 6, DIAGONAL),
            ValueError,
            "levels must be a whole number, at least 1 and at most 5",
        ),
        (lambda: candidates.quantized(np.ones(40), 3, np.ones(40)), ValueError, "candidates, more than 1,000,000"),
        (lambda: candidates.pruned(W, 2, np.ones(3)), ValueError, "importance must have shape"),
        (lambda: candidates.quantized(W, 2, -DIAGONAL), ValueError, "importance must be >= 0"),
        (lambda: candidates.pruned(W, 2, -FULL), ValueError, "importance must be positive semidefinite"),
        (lambda: candidates.pruned("w", 2), TypeError, "weights"),
        (lambda: candidates.pruned(W * 1j, 2), TypeError, "weights must hold real numbers"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, error, message):
    with pytest.raises(error, match=message):
        call()
