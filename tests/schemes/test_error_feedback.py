import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdtheory import quantize
from tests import oracles
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

M = 8
rng = np.random.default_rng(9)
METRICS = np.stack([oracles.random_covariance(rng, M) for _ in range(4)])
WEIGHTS = rng.normal(size=(4, 5, M))
CODEBOOK = np.array([-1.7, -0.6, 0.0, 0.5, 1.9])
ITEMS = pytest.mark.parametrize("item", range(4))


def objective(weights, weights_hat, metric):
    lost = np.asarray(weights - weights_hat)
    return np.einsum("ri,ij,rj->", lost, metric, lost)


def targets(weights, weights_hat, metric):
    """What each column should be given those before it: least squares over all that is still free."""
    root = np.linalg.cholesky(metric).T
    wanted = np.zeros_like(weights)
    for row, (w, w_hat) in enumerate(zip(weights, np.asarray(weights_hat), strict=True)):
        for j in range(len(w)):
            lost = root[:, :j] @ (w[:j] - w_hat[:j])
            free, *_ = np.linalg.lstsq(root[:, j:], -lost)  # the errors w - ŵ from j on
            wanted[row, j] = w[j] - free[0]
    return wanted


@ITEMS
def test_each_column_is_rounded_at_the_conditional_optimum(item):
    w, metric = WEIGHTS[item], METRICS[item]
    found = quantize.error_feedback(w, metric, step=0.3, damping=0.0)
    wanted = targets(w, found.weights_hat, metric)
    np.testing.assert_array_equal(found.labels, np.round(wanted / 0.3))
    np.testing.assert_allclose(found.weights_hat, 0.3 * np.round(wanted / 0.3), atol=1e-15)
    np.testing.assert_allclose(found.objective, objective(w, found.weights_hat, metric), rtol=1e-12)


@ITEMS
def test_the_targets_themselves_are_right_to_ten_digits(item):
    """With a quantizer so fine that labels show the target."""
    w, metric = WEIGHTS[item], METRICS[item]
    coarse = np.where(np.arange(M) < M // 2, 0.5, 2.0**-28)
    found = quantize.error_feedback(w, metric, step=coarse, damping=0.0)
    wanted = targets(w, found.weights_hat, metric)
    np.testing.assert_allclose(found.weights_hat[:, M // 2 :], wanted[:, M // 2 :], rtol=0, atol=2.0**-29 + 1e-10)
    # The first half given, the second is the best there is: the projection.
    kept, free = np.arange(M // 2), np.arange(M // 2, M)
    lost = w[:, kept] - np.asarray(found.weights_hat)[:, kept]
    best = w[:, free] + lost @ metric[np.ix_(kept, free)] @ np.linalg.inv(metric[np.ix_(free, free)])
    np.testing.assert_allclose(found.weights_hat[:, free], best, atol=1e-7)


@ITEMS
def test_a_codebook_takes_the_nearest_value_to_each_target(item):
    w, metric = WEIGHTS[item], METRICS[item]
    found = quantize.error_feedback(w, metric, codebook=CODEBOOK, damping=0.0)
    wanted = targets(w, found.weights_hat, metric)
    nearest = np.abs(wanted[..., None] - CODEBOOK).argmin(axis=-1)
    np.testing.assert_array_equal(found.labels, nearest)
    np.testing.assert_array_equal(found.weights_hat, CODEBOOK[nearest])
    shuffled = quantize.error_feedback(w, metric, codebook=CODEBOOK[::-1], damping=0.0)
    np.testing.assert_array_equal(shuffled.weights_hat, found.weights_hat)


@ITEMS
def test_the_factor_of_the_inverse_that_gptq_uses_gives_the_same(item):
    w, metric = WEIGHTS[item].copy(), METRICS[item]
    upper = np.linalg.cholesky(np.linalg.inv(metric)).T
    w_hat = np.zeros_like(w)
    for j in range(M):
        w_hat[:, j] = 0.4 * np.round(w[:, j] / 0.4)
        w -= np.outer((w[:, j] - w_hat[:, j]) / upper[j, j], upper[j]) * (np.arange(M) > j)
    found = quantize.error_feedback(WEIGHTS[item], metric, step=0.4, damping=0.0)
    np.testing.assert_allclose(found.weights_hat, w_hat, atol=1e-12)


@ITEMS
def test_conditional_importances_are_schur_complements(item):
    metric = METRICS[item]
    found = quantize.conditional_importance(metric, damping=0.0)
    for j in range(M):
        rest = np.arange(j + 1, M)
        given = metric[j, rest] @ np.linalg.solve(metric[np.ix_(rest, rest)], metric[rest, j]) if len(rest) else 0.0
        np.testing.assert_allclose(found[j], metric[j, j] - given, rtol=1e-9)
    np.testing.assert_allclose(jnp.prod(found), np.linalg.det(metric), rtol=1e-9)
    damped = quantize.conditional_importance(metric, damping=0.1)
    wanted = quantize.conditional_importance(metric + 0.1 * np.trace(metric) / M * np.eye(M), damping=0.0)
    np.testing.assert_allclose(damped, wanted, rtol=1e-12)


def test_the_objective_is_the_conditional_importances_times_the_rounding_errors():
    w, metric = rng.normal(size=(2000, M)), METRICS[1]
    d = np.asarray(quantize.conditional_importance(metric, damping=0.0))
    found = quantize.error_feedback(w, metric, step=0.01, damping=0.0)
    np.testing.assert_allclose(found.objective / 2000, d.sum() * 0.01**2 / 12, rtol=0.03)
    # Rounding each weight on its own costs the diagonal instead.
    alone = objective(w, 0.01 * np.round(w / 0.01), metric)
    np.testing.assert_allclose(alone / 2000, np.trace(metric) * 0.01**2 / 12, rtol=0.03)


@pytest.mark.parametrize("step", [0.05, 0.5, 1.5])
def test_in_the_mean_it_is_better_than_rounding_to_the_nearest(step):
    fed, alone = [], []
    for seed in range(30):
        local = np.random.default_rng(seed)
        w, metric = local.normal(size=(6, M)), oracles.random_covariance(local, M)
        fed.append(float(quantize.error_feedback(w, metric, step=step).objective))
        alone.append(objective(w, step * np.round(w / step), metric))
    assert np.mean(fed) < 0.6 * np.mean(alone)
    assert np.mean(np.array(fed) < alone) > 0.8


def test_a_wrong_order_of_the_factor_is_worse():
    """Feeding errors back through the lower factor, as if earlier columns could still move, does not pay."""
    w, metric = rng.normal(size=(500, M)), METRICS[2]
    lower = np.linalg.cholesky(metric)
    unit = (lower / np.diagonal(lower)).T
    w_hat = np.zeros_like(w)
    for j in range(M):
        target = w[:, j] + (w[:, :j] - w_hat[:, :j]) @ unit[:j, j]
        w_hat[:, j] = 0.5 * np.round(target / 0.5)
    right = quantize.error_feedback(w, metric, step=0.5, damping=0.0)
    assert objective(w, w_hat, metric) > 1.2 * right.objective


def test_uncorrelated_columns_are_rounded_on_their_own():
    found = quantize.error_feedback(WEIGHTS[0], np.diag(rng.uniform(0.1, 2.0, size=M)), step=0.3)
    np.testing.assert_array_equal(found.labels, np.round(WEIGHTS[0] / 0.3))


def test_a_whole_model_is_one_row():
    flat = WEIGHTS[0].ravel()
    metric = np.kron(np.eye(5), METRICS[0])
    found = quantize.error_feedback(flat, metric, step=0.3)
    layer = quantize.error_feedback(WEIGHTS[0], METRICS[0], step=0.3)
    assert found.weights_hat.shape == flat.shape
    np.testing.assert_allclose(found.weights_hat.reshape(5, M), layer.weights_hat, atol=1e-12)
    np.testing.assert_allclose(found.objective, layer.objective, rtol=1e-10)


def test_inputs_that_never_vary_need_the_damping_and_get_the_nearest_value():
    metric = METRICS[0].copy()
    metric[2], metric[:, 2] = 0.0, 0.0
    found = quantize.error_feedback(WEIGHTS[0], metric, step=0.3)
    np.testing.assert_array_equal(found.labels[:, 2], np.round(WEIGHTS[0][:, 2] / 0.3))
    rest = np.delete(np.arange(M), 2)
    damping = 1e-2 * (M - 1) / M  # the same amount
    without = quantize.error_feedback(WEIGHTS[0][:, rest], metric[np.ix_(rest, rest)], step=0.3, damping=damping)
    np.testing.assert_array_equal(np.asarray(found.labels)[:, rest], without.labels)


COLUMN = np.arange(1.0, M + 1)
SINGULAR = {
    "zeros": np.zeros((M, M)),
    "an input that never varies": np.diag(np.arange(M) * 1.0),
    "rank one": np.outer(COLUMN, COLUMN),
    "rank one, rounded": np.outer(1 / COLUMN, 1 / COLUMN),
    "fewer examples than inputs": np.cov(rng.normal(size=(M, M - 2)), bias=True),
}


@pytest.mark.parametrize("kind", list(SINGULAR))
def test_a_singular_importance_needs_the_damping(kind):
    metric, w, codebook = SINGULAR[kind], WEIGHTS[0], np.array([-1.0, 1.0])
    calls = {
        "importance": (
            lambda metric, damping: quantize.error_feedback(w, metric, step=0.3, damping=damping),
            lambda metric, damping: quantize.error_feedback(w, metric, codebook=codebook, damping=damping),
            lambda metric, damping: quantize.conditional_importance(metric, damping=damping),
        ),
        "metric": (
            lambda metric, damping: quantize.uniform(w, 1.0, 0.1, columns=True, metric=metric, damping=damping),
            lambda metric, damping: quantize.uniform_at_rate([w], [1.0], 30.0, metrics=[metric], damping=damping),
        ),
    }
    for name, functions in calls.items():
        for call in functions:
            with pytest.raises(ValueError, match=f"{name} is singular, and damping 0.0 does not help: .*larger"):
                call(metric, 0.0)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(call(metric, 1e-3)))
    both = jax.vmap(lambda metric: quantize.error_feedback(w, metric, step=0.3, damping=0.0))(
        np.stack([metric, METRICS[0]])
    )
    assert np.isnan(both.weights_hat[0]).all()
    assert np.isfinite(both.weights_hat[1]).all()


def test_with_an_importance_of_zeros_each_weight_is_rounded_on_its_own():
    found = quantize.error_feedback(WEIGHTS[0], np.zeros((M, M)), step=0.3)
    np.testing.assert_array_equal(found.labels, np.round(WEIGHTS[0] / 0.3))
    assert found.objective == 0
    np.testing.assert_allclose(quantize.conditional_importance(np.zeros((M, M)), damping=0.1), 0.1, rtol=1e-15)


def test_a_step_may_differ_by_weight_and_be_infinite():
    step = np.where(rng.uniform(size=(5, M)) < 0.2, np.inf, rng.uniform(0.1, 1.0, size=(5, M)))
    found = quantize.error_feedback(WEIGHTS[0], METRICS[0], step=step)
    np.testing.assert_array_equal(np.asarray(found.weights_hat)[np.isinf(step)], 0.0)
    finite = np.isfinite(step)
    np.testing.assert_allclose(found.weights_hat[finite], found.labels[finite] * step[finite])
    per_row = quantize.error_feedback(WEIGHTS[0], METRICS[0], step=np.full((5, 1), 0.3))
    np.testing.assert_array_equal(per_row.labels, quantize.error_feedback(WEIGHTS[0], METRICS[0], step=0.3).labels)


def fed_back(w, metric):
    return quantize.error_feedback(w, metric, step=0.3)


def test_jit_and_vmap_change_nothing():
    assert_transforms_agree(fed_back, WEIGHTS, METRICS, rtol=1e-10)
    found = jax.vmap(lambda w, i: quantize.error_feedback(w, i, codebook=CODEBOOK))(WEIGHTS, METRICS)
    np.testing.assert_array_equal(
        found.labels[2], quantize.error_feedback(WEIGHTS[2], METRICS[2], codebook=CODEBOOK).labels
    )


def test_an_invalid_item_of_a_batch_is_nan_and_its_neighbors_stay_exact():
    for bad in [(WEIGHTS[1], -np.eye(M)), (np.nan, METRICS[1])]:
        assert_only_bad_items_are_nan(fed_back, [WEIGHTS, METRICS], bad, 1, rtol=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quantize.error_feedback(WEIGHTS[0], np.eye(3), step=1.0), "importance must be \\(8, 8\\)"),
        (lambda: quantize.error_feedback(WEIGHTS[0], -np.eye(M), step=1.0), "importance must be positive semidefinite"),
        (lambda: quantize.error_feedback(WEIGHTS[0], np.eye(M)), "either step or codebook"),
        (
            lambda: quantize.error_feedback(WEIGHTS[0], np.eye(M), step=1.0, codebook=CODEBOOK),
            "either step or codebook",
        ),
        (lambda: quantize.error_feedback(WEIGHTS[0], np.eye(M), step=0.0), "step must be > 0"),
        (lambda: quantize.error_feedback(WEIGHTS[0], np.eye(M), step=np.ones(3)), "step must broadcast"),
        (lambda: quantize.error_feedback(WEIGHTS, np.eye(M), step=1.0), "weights must be a vector or a matrix"),
        (lambda: quantize.error_feedback(WEIGHTS[0], np.eye(M), step=1.0, damping=-1.0), "damping must be >= 0"),
        (lambda: quantize.conditional_importance(np.triu(np.ones((3, 3)))), "importance must be symmetric"),
    ],
)
def test_what_is_wrong_is_named(as_user, call, message):
    with pytest.raises(ValueError, match=message):
        call()
