import jax
import numpy as np
import pytest

from rdtheory import golden_rules
from tests import oracles
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree, compiled_batch

K = 6
rng = np.random.default_rng(11)
WEIGHTS, OTHERS = rng.normal(size=(2, 4, K))
FULL = np.stack([oracles.random_covariance(rng, K) for _ in range(4)])
DIAGONAL = rng.uniform(0.1, 3.0, size=(4, K))
BASES = rng.normal(size=(4, K, 3))
ITEMS = pytest.mark.parametrize("item", range(4))
METRICS = pytest.mark.parametrize("metrics", [FULL, DIAGONAL], ids=["full", "diagonal"])


def matrix(importance):
    return np.diag(importance.ravel()) if importance.shape != (K, K) else importance


@ITEMS
@METRICS
def test_residuals_are_their_definitions(item, metrics):
    w, w_hat, metric = WEIGHTS[item], OTHERS[item], matrix(metrics[item])
    lost = w - w_hat
    result = golden_rules.residuals(w, w_hat, metrics[item])
    np.testing.assert_allclose(result.orthogonality, w_hat @ metric @ lost, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(result.objective, lost @ metric @ lost, rtol=1e-13)
    norms = np.sqrt((lost @ metric @ lost) * (w_hat @ metric @ w_hat))
    np.testing.assert_allclose(result.cosine, w_hat @ metric @ lost / norms, rtol=1e-12, atol=1e-13)
    assert abs(result.cosine) <= 1 + 1e-15


def test_the_cosine_is_zero_where_it_has_no_meaning():
    for w_hat in [WEIGHTS[0], np.zeros(K)]:
        result = golden_rules.residuals(WEIGHTS[0], w_hat, DIAGONAL[0])
        assert result.cosine == 0
        assert result.orthogonality == 0


@ITEMS
@METRICS
def test_a_projection_is_weighted_least_squares_and_keeps_both_rules(item, metrics):
    w, basis, metric = WEIGHTS[item], BASES[item], matrix(metrics[item])
    root = np.linalg.cholesky(metric).T
    coordinates, *_ = np.linalg.lstsq(root @ basis, root @ w)
    projected = golden_rules.project(w, metrics[item], basis)
    np.testing.assert_allclose(projected, basis @ coordinates, rtol=0, atol=1e-10)
    result = golden_rules.residuals(w, projected, metrics[item])
    np.testing.assert_allclose(result.cosine, 0, atol=1e-10)
    for _ in range(20):
        other = basis @ (coordinates + 1e-3 * rng.normal(size=3))
        assert result.objective <= golden_rules.residuals(w, other, metrics[item]).objective


@ITEMS
def test_a_projection_on_a_support_is_the_optimal_brain_surgeon(item):
    w, metric = WEIGHTS[item], FULL[item]
    kept = np.array([0, 2, 5])
    wanted = np.zeros(K)
    wanted[kept] = np.linalg.solve(metric[np.ix_(kept, kept)], metric[kept] @ w)
    np.testing.assert_allclose(golden_rules.project(w, metric, np.eye(K)[:, kept]), wanted, rtol=0, atol=1e-10)
    # Masking instead breaks rule one and costs more.
    masked = np.where(np.isin(np.arange(K), kept), w, 0.0)
    assert abs(golden_rules.residuals(w, masked, metric).orthogonality) > 1e-3
    assert golden_rules.residuals(w, masked, metric).objective > golden_rules.residuals(w, wanted, metric).objective


@ITEMS
def test_masks_are_exactly_orthogonal_in_a_diagonal_metric_and_are_its_projections(item):
    w, diagonal = WEIGHTS[item], DIAGONAL[item]
    for mask in oracles.masks(K, 3):
        assert golden_rules.residuals(w, mask * w, diagonal).orthogonality == 0
        np.testing.assert_allclose(golden_rules.project(w, diagonal, np.eye(K)[:, mask > 0]), mask * w, atol=1e-14)


@ITEMS
def test_weighted_cell_means_are_orthogonal_and_plain_means_are_not(item):
    w, diagonal = WEIGHTS[item], DIAGONAL[item]
    cells = np.eye(2)[[0, 1, 0, 0, 1, 1]]
    weighted = golden_rules.project(w, diagonal, cells)
    wanted = cells @ ((cells.T @ (diagonal * w)) / (cells.T @ diagonal))
    np.testing.assert_allclose(weighted, wanted, rtol=1e-12)
    np.testing.assert_allclose(golden_rules.residuals(w, weighted, diagonal).orthogonality, 0, atol=1e-14)
    plain = cells @ ((cells.T @ w) / cells.sum(axis=0))
    residuals = golden_rules.residuals(w, plain, diagonal)
    assert abs(residuals.orthogonality) > 1e-3
    assert residuals.objective > golden_rules.residuals(w, weighted, diagonal).objective
    np.testing.assert_allclose(golden_rules.residuals(w, plain, np.ones(K)).orthogonality, 0, atol=1e-14)


@METRICS
def test_dependent_and_zero_columns_change_nothing(metrics):
    basis = np.column_stack([BASES[0], BASES[0] @ [1.0, -2.0, 3.0], np.zeros(K)])
    np.testing.assert_allclose(
        golden_rules.project(WEIGHTS[0], metrics[0], basis),
        golden_rules.project(WEIGHTS[0], metrics[0], BASES[0]),
        rtol=0,
        atol=1e-10,
    )


def test_a_projection_on_everything_is_the_model_and_on_nothing_zero():
    np.testing.assert_allclose(golden_rules.project(WEIGHTS[0], FULL[0], np.eye(K)), WEIGHTS[0], atol=1e-9)
    np.testing.assert_array_equal(golden_rules.project(WEIGHTS[0], FULL[0], np.zeros((K, 1))), np.zeros(K))


def test_projecting_twice_changes_nothing():
    once = golden_rules.project(WEIGHTS[0], FULL[0], BASES[0])
    np.testing.assert_allclose(golden_rules.project(once, FULL[0], BASES[0]), once, atol=1e-10)


def test_weights_of_any_shape_are_taken_in_row_major_order():
    w, w_hat, square = WEIGHTS[0].reshape(2, 3), OTHERS[0].reshape(2, 3), DIAGONAL[0].reshape(2, 3)
    flat = golden_rules.residuals(WEIGHTS[0], OTHERS[0], DIAGONAL[0])
    for metric in [square, np.diag(DIAGONAL[0])]:
        shaped = golden_rules.residuals(w, w_hat, metric)
        np.testing.assert_allclose(np.stack(shaped), np.stack(flat), rtol=1e-13)
        projected = golden_rules.project(w, metric, BASES[0])
        assert projected.shape == (2, 3)
        np.testing.assert_allclose(
            projected.ravel(), golden_rules.project(WEIGHTS[0], DIAGONAL[0], BASES[0]), rtol=1e-10
        )


def test_a_singular_importance_does_not_count_what_it_does_not_see():
    metric = np.diag([1.0, 2.0, 0.0, 0.0, 1.0, 1.0])
    projected = golden_rules.project(WEIGHTS[0], metric, BASES[0])
    np.testing.assert_allclose(golden_rules.residuals(WEIGHTS[0], projected, metric).cosine, 0, atol=1e-10)


@METRICS
def test_the_derivatives_in_the_weights_are_difference_quotients(metrics):
    w, w_hat, metric, basis = WEIGHTS[0], OTHERS[0], metrics[0], BASES[0]
    derivatives = jax.jit(jax.jacrev(golden_rules.residuals, argnums=(0, 1)))(w, w_hat, metric)
    for field in ["orthogonality", "cosine", "objective"]:
        for argument, at, function in [
            (0, w, lambda x, field=field: getattr(golden_rules.residuals(x, w_hat, metric), field)),
            (1, w_hat, lambda x, field=field: getattr(golden_rules.residuals(w, x, metric), field)),
        ]:
            numeric = oracles.central_difference(lambda x, f=function: float(f(x)), at, 1e-6)
            np.testing.assert_allclose(getattr(derivatives, field)[argument], numeric, rtol=1e-7, atol=1e-8)
    jacobian = jax.jit(jax.jacobian(lambda x: golden_rules.project(x, metric, basis)))(w)
    np.testing.assert_allclose(jacobian @ w, golden_rules.project(w, metric, basis), rtol=1e-11)  # it is linear


@METRICS
def test_jit_and_vmap_change_nothing(metrics):
    assert_transforms_agree(golden_rules.residuals, WEIGHTS, OTHERS, metrics)
    assert_transforms_agree(golden_rules.project, WEIGHTS, metrics, BASES, rtol=1e-10, atol=1e-11)


def test_an_invalid_item_of_a_batch_is_nan_and_its_neighbors_stay_exact():
    for metrics, bad in [(FULL, -np.eye(K)), (FULL, np.triu(np.ones((K, K)))), (DIAGONAL, -DIAGONAL[1])]:
        assert_only_bad_items_are_nan(
            golden_rules.residuals, [WEIGHTS, OTHERS, metrics], [WEIGHTS[1], OTHERS[1], bad], 1
        )
    spoiled = FULL.copy()
    spoiled[1] = -np.eye(K)
    clean, dirty = (np.asarray(compiled_batch(golden_rules.project)(WEIGHTS, x, BASES)) for x in (FULL, spoiled))
    assert np.isnan(dirty[1]).all()
    np.testing.assert_array_equal(np.delete(dirty, 1, axis=0), np.delete(clean, 1, axis=0))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: golden_rules.residuals([1.0, 2.0], [1.0], [1.0, 1.0]), ValueError, "weights_hat must have shape"),
        (lambda: golden_rules.residuals([1.0, 2.0], [1.0, 0.0], [1.0, -1.0]), ValueError, "importance must be >= 0"),
        (lambda: golden_rules.residuals([1.0, 2.0], [1.0, 0.0], [1.0, np.nan]), ValueError, "importance must be >= 0"),
        (lambda: golden_rules.residuals([1.0, 2.0], [1.0, 0.0], np.ones(3)), ValueError, "importance must have shape"),
        (lambda: golden_rules.residuals([1.0, 2.0], [1.0, 0.0], -np.eye(2)), ValueError, "importance must be positive"),
        (lambda: golden_rules.residuals([1.0], [1.0], "much"), TypeError, "importance"),
        (lambda: golden_rules.residuals([1j], [1.0], [1.0]), TypeError, "weights must hold real numbers"),
        (lambda: golden_rules.residuals([np.nan], [1.0], [1.0]), ValueError, "weights"),
        (lambda: golden_rules.project([1.0, 2.0], [1.0, 1.0], np.eye(3)), ValueError, "basis must have shape"),
        (lambda: golden_rules.project([1.0, 2.0], [1.0, 1.0], [1.0, 1.0]), ValueError, "basis must be a matrix"),
        (lambda: golden_rules.project([1.0, np.nan], [1.0, 1.0], np.eye(2)), ValueError, "weights"),
        (lambda: golden_rules.project([1.0, 1.0], [1.0, 1.0], np.eye(2) * np.nan), ValueError, "basis"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("small", [1e-6, 1e-20, 1e-100])
def test_a_small_importance_is_no_reason_to_drop_a_weight(small):
    weights, importance = np.array([1.0, 2.0, 3.0]), np.array([1.0, small, 1.0])
    kept = golden_rules.project(weights, importance, np.eye(3)[:, :2])
    np.testing.assert_allclose(kept, [1.0, 2.0, 0.0], rtol=1e-14)
    np.testing.assert_allclose(golden_rules.project(weights, np.diag(importance), np.eye(3)[:, :2]), kept, rtol=1e-14)


def test_the_cosine_is_free_of_scale():
    w, w_hat = np.array([3.0, 1.0]), np.array([2.0, 1.5])
    plain = golden_rules.residuals(w, w_hat, np.ones(2)).cosine
    for scale in (1e-90, 1e90):
        np.testing.assert_allclose(golden_rules.residuals(w * scale, w_hat * scale, np.ones(2)).cosine, plain)
