import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdtheory import datasets, golden_rules, importance, prune, training
from tests import oracles
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

rng = np.random.default_rng(4)
K = 8
SHAPES = {"a": np.zeros((3, 5)), "b": [np.zeros(7), np.zeros((2, 2, 2))]}
TREE = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), SHAPES)
DIAGONAL = jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0.01, 3.0, size=leaf.shape)), TREE)
WEIGHTS = rng.normal(size=(4, K))
FULL = np.stack([oracles.random_covariance(rng, K) for _ in range(4)])
KEEPS = [0.01, 0.1, 0.25, 0.5, 0.99, 1.0]


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


# Magnitude and diagonal ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", KEEPS)
def test_the_count_is_exact(keep):
    def count(k):
        return max(1, math.floor(keep * k + 0.5))

    for result in [prune.magnitude(TREE, keep), prune.weighted(TREE, DIAGONAL, keep)]:
        assert result.kept == count(30)
        assert flat(result.mask).sum() == count(30)
        np.testing.assert_array_equal(flat(result.weights_hat), np.where(flat(result.mask), flat(TREE), 0.0))
    result = prune.weighted(TREE, DIAGONAL, keep, scope="layer")
    assert [int(leaf.sum()) for leaf in jax.tree.leaves(result.mask)] == [count(15), count(7), count(8)]


def test_of_equal_weights_the_first_are_kept():
    result = prune.magnitude({"a": jnp.ones((2, 3)), "b": -jnp.ones(4)}, 0.7)
    np.testing.assert_array_equal(flat(result.mask), [True] * 7 + [False] * 3)
    assert prune.magnitude(jnp.zeros(5), 0.4).kept == 2


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_magnitude_is_importance_one(scope):
    ones = jax.tree.map(jnp.ones_like, TREE)
    plain, weighted = prune.magnitude(TREE, 0.3, scope=scope), prune.weighted(TREE, ones, 0.3, scope=scope)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(weighted), strict=True):
        np.testing.assert_array_equal(a, b)
    if scope == "global":
        sizes, kept = np.abs(flat(TREE)), flat(plain.mask)
        assert sizes[kept].min() > sizes[~kept].max()


@pytest.mark.parametrize("kept", range(1, K))
def test_no_mask_is_better_than_the_weighted_one(kept):
    w, diagonal = WEIGHTS[0], rng.uniform(0.01, 3.0, size=K)
    found = prune.weighted(w, diagonal, kept / K)
    best = min(np.sum(diagonal * (1 - mask) * w**2) for mask in oracles.masks(K, kept))
    np.testing.assert_allclose(found.objective, best, rtol=1e-13)
    by_magnitude = prune.magnitude(w, kept / K).weights_hat
    assert golden_rules.residuals(w, by_magnitude, diagonal).objective >= best * (1 - 1e-13)


def test_masks_keep_the_first_golden_rule_exactly():
    result = prune.weighted(TREE, DIAGONAL, 0.4)
    rules = golden_rules.residuals(flat(TREE), flat(result.weights_hat), flat(DIAGONAL))
    assert result.orthogonality == rules.orthogonality == 0
    np.testing.assert_allclose(result.objective, rules.objective, rtol=1e-13)


def test_extreme_importance_orders_as_it_should():
    w, tiny, huge = jnp.array([1e-3, 2e-3, 3e-3]), jnp.full(3, 1e-306), jnp.full(3, 1e306)
    for scale in (tiny, huge):
        np.testing.assert_array_equal(prune.weighted(w * 1e3, scale, 0.34).mask, [False, False, True])


def test_uncorrelated_regression_keeps_a_fifth_of_what_magnitude_loses():
    # f = xᵀW, inputs of very different variances: the importance is the input variance, and the theory is exact.
    variances = np.exp(rng.uniform(np.log(1e-3), np.log(1e3), size=40))
    inputs = np.linalg.qr(rng.normal(size=(400, 40)))[0] * np.sqrt(400 * variances)
    w = rng.normal(size=(40, 10))
    diagonal = importance.diagonal(lambda w, x: x @ w, w, inputs)
    np.testing.assert_allclose(diagonal, np.tile(variances[:, None], 10), rtol=1e-10)

    def distortion(result):
        return np.mean(np.sum((inputs @ (w - np.asarray(result.weights_hat))) ** 2, axis=1))

    weighted, magnitude = prune.weighted(w, diagonal, 0.5), prune.magnitude(w, 0.5)
    np.testing.assert_allclose(distortion(weighted), weighted.objective, rtol=1e-10)
    assert distortion(weighted) <= 0.2 * distortion(magnitude)


# The brain surgeon ---------------------------------------------------------------------------------------------------


def surgeon(w, matrix, keep):
    """Hassibi and Stork by the book: the inverse, downdated one weight at a time."""
    inverse, w, left = np.linalg.inv(matrix), w.copy(), np.ones(len(w), bool)
    for _ in range(len(w) - keep):
        cost = np.where(left, w**2 / np.where(left, np.diag(inverse), 1.0), np.inf)
        q = np.argmin(cost)
        w = w - w[q] / inverse[q, q] * inverse[:, q]
        inverse = inverse - np.outer(inverse[:, q], inverse[q]) / inverse[q, q]
        left[q] = False
    return left, np.where(left, w, 0.0)


def least_lost(w, matrix, support):
    """(w - ŵ)ᵀ I (w - ŵ) of the best ŵ on the support."""
    best = np.zeros(len(w))
    best[support] = np.linalg.solve(matrix[np.ix_(support, support)], matrix[support] @ w)
    return (w - best) @ matrix @ (w - best)


@pytest.mark.parametrize("item", range(4))
@pytest.mark.parametrize("kept", range(1, K))
def test_greedy_removal_by_the_book_and_its_projection(item, kept):
    w, matrix = WEIGHTS[item], FULL[item]
    result = prune.obs(w, matrix, kept / K, damping=0.0)
    left, wanted = surgeon(w, matrix, kept)
    np.testing.assert_array_equal(result.mask, left)
    np.testing.assert_allclose(result.weights_hat, wanted, rtol=0, atol=1e-9)
    projected = golden_rules.project(w, matrix, np.eye(K)[:, left])
    np.testing.assert_allclose(result.weights_hat, projected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(result.cosine, 0, atol=1e-10)
    objectives = [least_lost(w, matrix, mask > 0) for mask in oracles.masks(K, kept)]
    assert min(objectives) <= result.objective * (1 + 1e-10)
    if kept == K - 1:
        np.testing.assert_allclose(result.objective, min(objectives), rtol=1e-10)
    masked = prune.weighted(w, np.diag(matrix), kept / K)
    assert result.objective <= golden_rules.residuals(w, masked.weights_hat, matrix).objective


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.05])
def test_many_steps_are_those_of_the_book(keep):
    k = 200  # several blocks of steps, and a part of one
    factor = rng.normal(size=(300, k)) * np.exp(rng.normal(size=k))
    matrix, w = factor.T @ factor / 300, rng.normal(size=k)
    result = prune.obs(w, matrix, keep, damping=0.0)
    left, wanted = surgeon(w, matrix, int(k * keep))
    np.testing.assert_array_equal(result.mask, left)
    np.testing.assert_allclose(result.weights_hat, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())


def test_a_singular_importance_is_projected_as_least_squares_does():
    k, kept = 40, 12
    factor = rng.normal(size=(10, k))
    factor[:, 3] = 0  # a weight that does nothing
    w, matrix = rng.normal(size=k), factor.T @ factor
    result = prune.obs(w, matrix, kept / k, damping=0.0)
    assert result.kept == kept
    assert not result.mask[3]
    # Ten numbers are seen, and twelve weights can keep all of them.
    assert result.objective < 1e-9 * np.sum((factor @ w) ** 2)
    few = prune.obs(w, matrix, 6 / k, damping=0.0)
    support = np.asarray(few.mask)
    best = np.linalg.lstsq(factor[:, support], factor @ w)[1][0]
    np.testing.assert_allclose(few.objective, best, rtol=1e-8)
    np.testing.assert_allclose(few.cosine, 0, atol=1e-8)


def test_everything_kept_is_the_model_itself():
    result = prune.obs(TREE, np.eye(30) + 0.1, 1.0)
    np.testing.assert_allclose(flat(result.weights_hat), flat(TREE), rtol=1e-14)
    assert result.kept == 30
    assert jax.tree.structure(result.weights_hat) == jax.tree.structure(TREE)


def test_a_diagonal_importance_is_a_mask():
    result, masked = prune.obs(TREE, np.diag(flat(DIAGONAL)), 0.4, damping=0.0), prune.weighted(TREE, DIAGONAL, 0.4)
    np.testing.assert_array_equal(flat(result.mask), flat(masked.mask))
    np.testing.assert_allclose(flat(result.weights_hat), flat(masked.weights_hat), rtol=1e-12)
    np.testing.assert_allclose(result.objective, masked.objective, rtol=1e-12)


def test_damping_is_another_metric():
    w, matrix = WEIGHTS[0], FULL[0]
    damped = prune.obs(w, matrix, 0.5, damping=0.3)
    other = prune.obs(w, matrix + 0.3 * np.diag(np.diag(matrix)), 0.5, damping=0.0)
    np.testing.assert_allclose(damped.weights_hat, other.weights_hat, rtol=0, atol=1e-12)
    assert damped.objective < other.objective
    assert abs(damped.cosine) > 1e-3


def test_rounds_with_an_importance_that_does_not_change_change_nothing():
    one = prune.obs(WEIGHTS[0], FULL[0], 2 / K, damping=0.0)
    seen = []

    def recompute(weights_hat):
        seen.append(int(np.sum(np.asarray(weights_hat) != 0)))
        return FULL[0]

    three = prune.obs(WEIGHTS[0], FULL[0], 2 / K, rounds=3, recompute=recompute, damping=0.0)
    np.testing.assert_array_equal(three.mask, one.mask)
    np.testing.assert_allclose(three.weights_hat, one.weights_hat, rtol=0, atol=1e-10)
    assert seen == [5, 3]  # 8 (1/4)^(1/3), 8 (1/4)^(2/3)


def test_rounds_follow_an_importance_that_changes():
    # After the first round the importance is another; the second round must select and project in it.
    first = prune.obs(WEIGHTS[0], FULL[0], 0.5, damping=0.0)
    support = np.flatnonzero(first.mask)
    wanted_left, wanted = surgeon(np.asarray(first.weights_hat)[support], FULL[1][np.ix_(support, support)], 2)
    two = prune.obs(WEIGHTS[0], FULL[0], 0.25, rounds=2, recompute=lambda w: FULL[1], damping=0.0)
    np.testing.assert_array_equal(np.flatnonzero(two.mask), support[wanted_left])
    np.testing.assert_allclose(np.asarray(two.weights_hat)[support], wanted, rtol=0, atol=1e-10)


# Digits --------------------------------------------------------------------------------------------------------------


def apply(network, x):
    return training.logits(network, x)


def digits_network(seed):
    inputs, labels = datasets.digits()
    order = np.random.default_rng(seed).permutation(len(inputs))
    train, test = order[:1437], order[1437:]
    network = training.train(jax.random.key(seed), inputs[train], labels[train], 32)

    def accuracy(result):
        return 100 * float(jnp.mean(apply(result.weights_hat, inputs[test]).argmax(axis=1) == labels[test]))

    return network, inputs[train], accuracy


def test_digits_at_thirty_percent():
    network, inputs, accuracy = digits_network(0)
    weighted = prune.weighted(network, importance.diagonal(apply, network, inputs), 0.3)
    assert accuracy(weighted) >= accuracy(prune.magnitude(network, 0.3, scope="layer")) + 5
    full = importance.full(apply, network, inputs)
    assert accuracy(prune.obs(network, full, 0.3)) >= accuracy(prune.obs(network, full, 0.3, damping=0.0)) + 30


@pytest.mark.long
def test_digits_at_ten_percent():
    gains = []
    for seed in range(3):
        network, inputs, accuracy = digits_network(seed)

        def recompute(w, inputs=inputs):
            return importance.full(apply, w, inputs)

        result = prune.obs(network, recompute(network), 0.1, rounds=6, recompute=recompute, damping=0.1)
        gains.append(accuracy(result) - accuracy(prune.magnitude(network, 0.1)))
    assert np.mean(gains) >= 30


# Bits of a mask ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "s"), [(1, 0), (1, 1), (10, 3), (500, 250), (2368, 237), (100_000, 1000)])
def test_the_bits_of_a_mask_count_the_sets(k, s):
    mask = np.arange(k) < s
    bits = prune.mask_bits(mask)
    np.testing.assert_allclose(bits, math.log2(k + 1) + math.log2(math.comb(k, s)), rtol=1e-9)
    share = s / k
    entropy = 0.0 if share in (0, 1) else -share * math.log2(share) - (1 - share) * math.log2(1 - share)
    assert bits <= k * entropy + math.log2(k + 1) + 1e-6
    np.testing.assert_allclose(prune.mask_bits({"a": mask, "b": mask.reshape(1, k)}), 2 * bits, rtol=1e-12)


# Transformations and errors ------------------------------------------------------------------------------------------


def test_jit_and_vmap_change_nothing():
    diagonals = np.stack([np.diag(matrix) for matrix in FULL])
    assert_transforms_agree(lambda w, i: prune.weighted(w, i, 0.5), WEIGHTS, diagonals)
    assert_transforms_agree(lambda w: prune.magnitude({"a": w}, 0.3, scope="layer"), WEIGHTS)
    assert_transforms_agree(lambda w, i: prune.obs(w, i, 0.5), WEIGHTS, FULL, rtol=1e-8, atol=1e-11)
    assert_transforms_agree(prune.mask_bits, WEIGHTS > 0)


def test_an_invalid_item_of_a_batch_is_nan_and_its_neighbors_stay_exact():
    def floats(function):
        return lambda *arguments: (function(*arguments).weights_hat, function(*arguments).objective)

    assert_only_bad_items_are_nan(
        floats(lambda w, i: prune.obs(w, i, 0.5)), [WEIGHTS, FULL], [WEIGHTS[1], -np.eye(K)], 1, rtol=1e-8, atol=1e-11
    )
    diagonals = np.abs(WEIGHTS)
    assert_only_bad_items_are_nan(
        floats(lambda w, i: prune.weighted(w, i, 0.5)), [WEIGHTS, diagonals], [WEIGHTS[1], -diagonals[1]], 1
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: prune.magnitude(TREE, 0.0), ValueError, r"keep must be a number in \(0, 1\]"),
        (lambda: prune.magnitude(TREE, 1.5), ValueError, "keep"),
        (lambda: prune.magnitude(TREE, True), ValueError, "keep"),
        (lambda: prune.magnitude(TREE, 0.5, scope="all"), ValueError, "scope must be 'global' or 'layer', got 'all'"),
        (lambda: prune.magnitude({"a": jnp.array([jnp.nan])}, 0.5), ValueError, r"weights\['a'\] must be finite"),
        (lambda: prune.magnitude({"a": "much"}, 0.5), TypeError, r"weights\['a'\]"),
        (lambda: prune.weighted(TREE, DIAGONAL["a"], 0.5), ValueError, "importance must have the structure of weights"),
        (lambda: prune.weighted([np.ones(2)], [np.ones(3)], 0.5), ValueError, r"importance\[0\] must have shape"),
        (lambda: prune.weighted(np.ones(2), -np.ones(2), 0.5), ValueError, "importance must be >= 0"),
        (lambda: prune.obs(np.ones(2), np.ones(2), 0.5), ValueError, "importance must be a matrix"),
        (lambda: prune.obs(np.ones(2), np.eye(3), 0.5), ValueError, r"importance must be \(2, 2\)"),
        (lambda: prune.obs(np.ones(2), -np.eye(2), 0.5), ValueError, "importance must be positive semidefinite"),
        (lambda: prune.obs(np.ones(2), np.eye(2), 0.5, rounds=2), ValueError, "rounds = 2 needs recompute"),
        (lambda: prune.obs(np.ones(2), np.eye(2), 0.5, rounds=0), ValueError, "rounds"),
        (lambda: prune.obs(np.ones(2), np.eye(2), 0.5, damping=-1.0), ValueError, "damping must be >= 0"),
        (lambda: prune.obs(np.ones(9), np.eye(9), 0.1, rounds=2, recompute=lambda w: w), ValueError, "recompute"),
        (lambda: prune.mask_bits(np.ones(3)), TypeError, "mask must be boolean"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(as_user, call, error, message):
    with pytest.raises(error, match=message):
        call()
