import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from rdtheory import golden_rules, low_rank
from tests import oracles
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

rng = np.random.default_rng(8)
A, B = 5, 4
WEIGHTS = rng.normal(size=(3, A, B))
INPUTS = np.stack([oracles.random_covariance(rng, A) for _ in range(3)])
OUTPUTS = np.stack([oracles.random_covariance(rng, B) for _ in range(3)])
RANKS = pytest.mark.parametrize("rank", [1, 2, 3])


def objective(w, w_hat, a, b):
    lost = (w - w_hat).ravel()
    return lost @ np.kron(a, b) @ lost


@RANKS
def test_plain_truncation_is_numpys(rank):
    u, s, vt = np.linalg.svd(WEIGHTS[0])
    result = low_rank.svd(WEIGHTS[0], rank)
    np.testing.assert_allclose(result.weights_hat, (u[:, :rank] * s[:rank]) @ vt[:rank], rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.objective, np.sum(s[rank:] ** 2), rtol=1e-12)
    np.testing.assert_allclose(result.singular_values, s, rtol=1e-12)
    weighted = low_rank.weighted(WEIGHTS[0], np.eye(A), np.eye(B), rank)
    np.testing.assert_allclose(weighted.weights_hat, result.weights_hat, rtol=0, atol=1e-12)
    scaled = low_rank.weighted(WEIGHTS[0], 3 * np.eye(A), 5 * np.eye(B), rank)
    np.testing.assert_allclose(scaled.weights_hat, result.weights_hat, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scaled.objective, 15 * result.objective, rtol=1e-12)


def test_a_tall_matrix_needs_no_square_of_its_rows():
    """A table of words: 50,000 rows squared would be 20 GB."""
    tall = rng.normal(size=(50_000, 2))
    found = low_rank.svd(tall, 1)
    np.testing.assert_allclose(found.objective, np.linalg.eigvalsh(tall.T @ tall)[0], rtol=1e-9)


@RANKS
@pytest.mark.parametrize("item", range(3))
def test_descent_over_all_factors_finds_nothing_better(item, rank):
    w, a, b = WEIGHTS[item], INPUTS[item], OUTPUTS[item]
    result = low_rank.weighted(w, a, b, rank)
    np.testing.assert_allclose(result.objective, objective(w, np.asarray(result.weights_hat), a, b), rtol=1e-9)
    np.testing.assert_allclose(result.objective, np.sum(np.asarray(result.singular_values)[rank:] ** 2), rtol=1e-9)

    def value_and_gradient(x):
        left, right = x[: A * rank].reshape(A, rank), x[A * rank :].reshape(rank, B)
        lost = w - left @ right
        slope = -2 * a @ lost @ b
        return np.sum(lost * (a @ lost @ b)), np.concatenate([(slope @ right.T).ravel(), (left.T @ slope).ravel()])

    found = min(
        minimize(
            value_and_gradient, rng.normal(size=rank * (A + B)), jac=True, options={"gtol": 1e-10, "maxiter": 5000}
        ).fun
        for _ in range(6)
    )
    np.testing.assert_allclose(result.objective, found, rtol=1e-6)
    # Plain truncation has the same rank and costs more.
    plain = np.asarray(low_rank.svd(w, rank).weights_hat)
    assert objective(w, plain, a, b) > 1.01 * result.objective


def test_what_rounding_leaves_of_the_rule_does_not_depend_on_the_scale():
    w = WEIGHTS[0].astype(np.float32)
    large, small = low_rank.svd(w, 2), low_rank.svd(w * np.float32(2.0**-20), 2)
    w_hat = np.asarray(large.weights_hat, float).ravel()
    lost = w.astype(float).ravel() - w_hat
    wanted = w_hat @ lost / np.linalg.norm(w_hat) / np.linalg.norm(lost)
    assert abs(wanted) > 1e-12
    np.testing.assert_allclose([large.cosine, small.cosine], wanted, rtol=1e-4)


@RANKS
def test_both_golden_rules_hold_in_the_full_importance(rank):
    w, a, b = WEIGHTS[0], INPUTS[0], OUTPUTS[0]
    result = low_rank.weighted(w, a, b, rank)
    rules = golden_rules.residuals(w, result.weights_hat, np.kron(a, b))
    np.testing.assert_allclose(rules.cosine, 0, atol=1e-12)
    np.testing.assert_allclose(result.cosine, rules.cosine, atol=1e-12)
    np.testing.assert_allclose(result.orthogonality, rules.orthogonality, atol=1e-11)
    np.testing.assert_allclose(result.objective, rules.objective, rtol=1e-10)
    plain = low_rank.svd(w, rank).weights_hat
    assert abs(golden_rules.residuals(w, plain, np.kron(a, b)).cosine) > 1e-3


def test_the_result_is_its_factors():
    result = low_rank.weighted(WEIGHTS[0], INPUTS[0], OUTPUTS[0], 2)
    assert result.left.shape == (A, 2)
    assert result.right.shape == (2, B)
    np.testing.assert_array_equal(result.left @ result.right, result.weights_hat)
    assert result.parameters == 2 * (A + B)
    assert np.linalg.matrix_rank(result.weights_hat) == 2


def test_full_rank_is_the_model_itself():
    result = low_rank.weighted(WEIGHTS[0], INPUTS[0], OUTPUTS[0], B)
    np.testing.assert_allclose(result.weights_hat, WEIGHTS[0], rtol=0, atol=1e-10)


@RANKS
def test_singular_factors_cost_nothing_where_they_do_not_see(rank):
    w = WEIGHTS[0]
    a = INPUTS[0].copy()
    a[1], a[:, 1] = 0, 0  # an input that never varies
    b = OUTPUTS[0][:, :2] @ OUTPUTS[0][:, :2].T  # two directions of the output
    result = low_rank.weighted(w, a, b, rank)
    assert np.isfinite(result.weights_hat).all()
    # The same problem in coordinates in which both are positive definite.
    kept = [0, 2, 3, 4]
    values, basis = np.linalg.eigh(b)
    reduced = np.linalg.cholesky(a[np.ix_(kept, kept)]).T @ w[kept] @ basis[:, 2:] * np.sqrt(values[2:])
    tail = np.sum(np.linalg.svd(reduced)[1][rank:] ** 2)
    np.testing.assert_allclose(result.objective, tail, rtol=1e-9, atol=1e-12)


def test_no_importance_at_all_gives_zero():
    result = low_rank.weighted(WEIGHTS[0], np.zeros((A, A)), OUTPUTS[0], 2)
    np.testing.assert_array_equal(result.weights_hat, np.zeros((A, B)))
    assert result.objective == 0


def test_a_convolution_kernel_is_a_matrix_of_all_axes_but_the_last():
    kernel = WEIGHTS.reshape(3, 5, 1, 4)
    a = oracles.random_covariance(rng, 15)
    result = low_rank.weighted(kernel, a, OUTPUTS[0], 2)
    flat = low_rank.weighted(kernel.reshape(15, 4), a, OUTPUTS[0], 2)
    assert result.weights_hat.shape == kernel.shape
    np.testing.assert_allclose(result.weights_hat.reshape(15, 4), flat.weights_hat, rtol=1e-12)


def test_jit_and_vmap_change_nothing():
    def product_and_objective(w, a, b):  # the factors' signs are free
        result = low_rank.weighted(w, a, b, 2)
        return result.weights_hat, result.objective

    assert_transforms_agree(product_and_objective, WEIGHTS, INPUTS, OUTPUTS, rtol=1e-9, atol=1e-11)
    good = [WEIGHTS, INPUTS, OUTPUTS]
    assert_only_bad_items_are_nan(
        product_and_objective, good, [WEIGHTS[1], -np.eye(A), OUTPUTS[1]], 1, rtol=1e-9, atol=1e-11
    )
    assert_transforms_agree(lambda w: low_rank.svd(w, 1).weights_hat, WEIGHTS, rtol=1e-10)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: low_rank.svd(np.ones(3), 1), ValueError, "weights must have at least two axes"),
        (lambda: low_rank.svd(np.ones((3, 2)), 3), ValueError, "rank must be a whole number, at least 1 and at most 2"),
        (lambda: low_rank.svd(np.ones((3, 2)), 0), ValueError, "rank must be a whole number, at least 1"),
        (lambda: low_rank.svd(np.ones((3, 2)), 1.5), ValueError, "rank"),
        (lambda: low_rank.weighted(np.ones((3, 2)), np.eye(3), np.eye(2), 0), ValueError, "rank must be .* at least 1"),
        (lambda: low_rank.weighted(np.ones((3, 2)), np.eye(3), np.eye(2), 3), ValueError, "rank must be .* at most 2"),
        (lambda: low_rank.svd(np.full((3, 2), np.nan), 1), ValueError, "weights must be finite"),
        (lambda: low_rank.weighted(np.ones((3, 2)), np.eye(2), np.eye(2), 1), ValueError, "input_factor must be"),
        (lambda: low_rank.weighted(np.ones((3, 2)), np.eye(3), -np.eye(2), 1), ValueError, "output_factor must be pos"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_rank_is_static_under_jit(as_user):
    with pytest.raises(ValueError, match="static under jit"):
        jax.jit(low_rank.svd)(jnp.ones((3, 2)), 1)
