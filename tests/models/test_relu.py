import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from rdtheory import candidates, relu
from tests import oracles
from tests.transforms import assert_only_bad_items_are_nan, assert_transforms_agree

rng = np.random.default_rng(1810)
M = 3
COV = oracles.random_covariance(rng, M) + 0.2 * np.eye(M)
W, W_HAT = rng.normal(size=(2, 3, M))
SCALARS, VECTORS = rng.normal(size=3), rng.normal(size=(3, 2))
FIRST_ZERO = W_HAT * np.array([[0.0], [1.0], [1.0]])
PARALLEL = np.stack([W[0], 2 * W[0], -0.5 * W[0]])
LAYERS = [
    ("one neuron", W[0], W_HAT[0], None),
    ("one neuron, removed", W[0], np.zeros(M), None),
    ("one neuron, opposite", W[0], -0.3 * W[0], None),
    ("one neuron, longer", W[0], 2.0 * W[0], None),
    ("layer", W, W_HAT, SCALARS),
    ("two outputs", W, W_HAT, VECTORS),
    ("a neuron removed", W, FIRST_ZERO, VECTORS),
    ("all removed", W, np.zeros_like(W), SCALARS),
    ("two neurons merged", W, W[[0, 0, 2]], SCALARS),
    ("parallel and opposite neurons", PARALLEL, W_HAT, SCALARS),
]
layers = pytest.mark.parametrize(("w", "w_hat", "v"), [case[1:] for case in LAYERS], ids=[case[0] for case in LAYERS])
IMPORTANT = [
    case for case in LAYERS if case[0] in ("one neuron", "layer", "two outputs", "parallel and opposite neurons")
]
important = pytest.mark.parametrize(
    ("w", "w_hat", "v"), [case[1:] for case in IMPORTANT], ids=[c[0] for c in IMPORTANT]
)


# Distortion ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cov", [np.eye(M), COV], ids=["isotropic", "correlated"])
@layers
def test_distortion_is_the_quadrature_of_its_definition(w, w_hat, v, cov):
    wanted = oracles.relu_distortion(w, w_hat, cov, v)
    np.testing.assert_allclose(relu.distortion(w, w_hat, cov, v), wanted, rtol=1e-10, atol=1e-12)


@layers
def test_distortion_is_within_five_standard_errors_of_samples(w, w_hat, v):
    inputs = np.random.default_rng(0).multivariate_normal(np.zeros(M), COV, size=100_000)
    errors = np.sum((oracles.relu_outputs(w, inputs, v) - oracles.relu_outputs(w_hat, inputs, v)) ** 2, axis=1)
    deviation = abs(errors.mean() - float(relu.distortion(w, w_hat, COV, v)))
    assert deviation <= 5 * errors.std() / np.sqrt(len(errors))


@pytest.mark.parametrize("perturbation", [1.0, 1e-1, 1e-2, 1e-3, 1e-5, 1e-8, 1e-12])
@pytest.mark.parametrize("seed", range(4))
def test_one_neuron_keeps_its_digits_however_small_the_change(perturbation, seed):
    generator = np.random.default_rng(seed)
    w = generator.normal(size=M)
    w_hat = w + perturbation * generator.normal(size=M)
    wanted = oracles.neuron_distortion_in_many_digits(w, w_hat, COV)
    np.testing.assert_allclose(relu.distortion(w, w_hat, COV), wanted, rtol=1e-12)


@pytest.mark.parametrize("angle", [0.0199, 0.02, 0.0201, 1.0, np.pi / 2, 3.0, np.pi - 1e-9, np.pi])
def test_one_neuron_on_either_side_of_the_series_and_up_to_opposite(angle):
    w, w_hat = np.array([1.0, 0.0]), np.array([np.cos(angle), np.sin(angle)])
    wanted = oracles.neuron_distortion_in_many_digits(w, w_hat, np.eye(2))
    np.testing.assert_allclose(relu.distortion(w, w_hat, np.eye(2)), wanted, rtol=1e-13)


def test_a_model_has_no_distortion_from_itself_nor_from_itself_rewritten():
    assert relu.distortion(W[0], W[0], COV) == 0
    np.testing.assert_allclose(relu.distortion(W, W, COV, VECTORS), 0, atol=1e-15)
    # Two equal neurons of output weights a and b are one of a + b; the order of neurons does not matter.
    doubled = np.stack([W[0], W[0], W[1]])
    merged = relu.distortion(doubled, np.stack([2 * W[0], 0 * W[0], W[1]]), COV, np.array([1.0, 1.0, 3.0]))
    np.testing.assert_allclose(merged, 0, atol=1e-14)
    np.testing.assert_allclose(
        relu.distortion(W, W_HAT, COV, VECTORS), relu.distortion(W[::-1], W_HAT[::-1], COV, VECTORS[::-1]), rtol=1e-13
    )


def test_a_layer_of_one_neuron_is_that_neuron():
    np.testing.assert_allclose(
        relu.distortion(W[:1], W_HAT[:1], COV, np.ones(1)), relu.distortion(W[0], W_HAT[0], COV), rtol=1e-15
    )


def test_inputs_that_do_not_vary_do_not_count():
    cov = np.diag([1.0, 0.0, 2.0])
    moved = W_HAT[0] + np.array([0.0, 100.0, 0.0])
    np.testing.assert_allclose(relu.distortion(W[0], W_HAT[0], cov), relu.distortion(W[0], moved, cov), rtol=1e-14)


gradients = jax.jit(jax.grad(relu.distortion, argnums=(0, 1)))


@layers
def test_the_gradient_of_the_distortion_is_a_difference_quotient(w, w_hat, v):
    def value(w, w_hat):
        return float(relu.distortion(w, w_hat, COV, v))

    by_w, by_w_hat = gradients(w, w_hat, COV, v)
    step = 1e-6
    # A neuron at zero has a kink, where the package promises a finite number and no more.
    smooth = np.linalg.norm(np.atleast_2d(w_hat), axis=1) > 0
    numeric = np.atleast_2d(oracles.central_difference(lambda x: value(w, x), w_hat, step))[smooth]
    np.testing.assert_allclose(np.atleast_2d(by_w_hat)[smooth], numeric, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(
        by_w, oracles.central_difference(lambda x: value(x, w_hat), w, step), rtol=1e-6, atol=1e-8
    )
    assert np.isfinite(by_w_hat).all()


def test_the_gradient_vanishes_at_the_model_itself_and_is_finite_at_zero():
    for w, v in [(W[0], None), (W, SCALARS), (PARALLEL, VECTORS)]:
        np.testing.assert_allclose(gradients(w, w, COV, v)[1], 0, atol=1e-14)
        assert np.isfinite(gradients(w, np.zeros_like(w), COV, v)[1]).all()


# Weight importance ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cov", [np.eye(M), COV], ids=["isotropic", "correlated"])
@important
def test_importance_is_the_quadrature_of_its_definition(w, w_hat, v, cov):
    wanted = oracles.relu_importance(w, cov, v)
    np.testing.assert_allclose(relu.importance(w, cov, v), wanted, rtol=0, atol=1e-12)


@important
def test_importance_is_within_five_standard_errors_of_samples(w, w_hat, v):
    inputs = np.random.default_rng(0).multivariate_normal(np.zeros(M), COV, size=100_000)
    rows = np.atleast_2d(w)
    outputs = np.ones((1, 1)) if v is None else v.reshape(len(rows), -1)
    active = (inputs @ rows.T > 0).astype(float)
    total, square = 0.0, 0.0
    # ∇ f_k = (v_jk 1{w_jᵀx > 0} x)_j for each output k
    gradients = np.einsum("nj,jk,nm->nkjm", active, outputs, inputs).reshape(len(inputs), outputs.shape[1], -1)
    products = np.einsum("nka,nkb->nab", gradients, gradients)
    total, square = products.mean(axis=0), products.std(axis=0)
    difference = np.abs(total - np.asarray(relu.importance(w, COV, v)))
    assert np.all(difference <= 5 * square / np.sqrt(len(inputs)) + 1e-12)


@important
def test_importance_is_half_the_hessian_of_the_distortion_at_the_model(w, w_hat, v):
    full = np.asarray(relu.importance(w, COV, v))
    for direction in np.random.default_rng(2).normal(size=(5, *w.shape)):

        def quotient(step, direction=direction):
            return float(relu.distortion(w, w + step * direction, COV, v)) / step**2

        # The next term is of order |step|: extrapolated away, it leaves step² ~ 1e-6 times the size of the terms.
        extrapolated = 2 * quotient(5e-4) - quotient(1e-3)
        scale = np.sum(np.diag(full) * direction.ravel() ** 2)
        np.testing.assert_allclose(
            extrapolated, direction.ravel() @ full @ direction.ravel(), rtol=0, atol=2e-5 * scale
        )


def test_one_neuron_has_half_the_input_covariance_whatever_its_weights():
    for w in [W[0], 1e-100 * W[1], 1e100 * W[2]]:
        np.testing.assert_allclose(relu.importance(w, COV), COV / 2, rtol=1e-14)


@pytest.mark.parametrize("angle", [1e-3, 1e-6, 1e-9, 1e-12, 0.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_nearly_parallel_and_nearly_opposite_neurons_are_close_to_their_limit(angle, sign):
    w = np.array([[1.0, 0.0], [sign * np.cos(angle), sign * np.sin(angle)]])
    block = np.asarray(relu.importance(w, np.eye(2), np.ones(2)))[:2, 2:]
    wanted = np.eye(2) / 2 if sign > 0 else np.zeros((2, 2))
    assert np.abs(block - wanted).max() <= angle / 2 + 1e-15


def test_importance_is_symmetric_positive_semidefinite():
    full = np.asarray(relu.importance(rng.normal(size=(5, 4)), np.eye(4), rng.normal(size=(5, 3))))
    np.testing.assert_allclose(full, full.T, rtol=0, atol=1e-15)
    assert np.linalg.eigvalsh(full)[0] > -1e-14


# One neuron: the theorem ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.3, 0.8, 1.2, np.pi / 2])
@pytest.mark.parametrize("norm", [0.1, 3.0])
def test_orthogonal_candidates_have_the_distortion_and_objective_of_the_theorem(angle, norm):
    w = norm * np.array([1.0, 0.0])
    w_hat = norm * np.cos(angle) * np.array([np.cos(angle), np.sin(angle)])
    full = np.asarray(relu.importance(w, np.eye(2)))
    np.testing.assert_allclose(w_hat @ full @ (w - w_hat), 0, atol=1e-15 * norm**2)
    np.testing.assert_allclose(
        (w - w_hat) @ full @ (w - w_hat), norm**2 * np.sin(angle) ** 2 / 2, rtol=1e-9, atol=1e-15
    )
    sine, cosine = np.sin(angle), np.cos(angle)
    bracket = (1 + cosine**2) / 2 - cosine / np.pi * (sine + (np.pi - angle) * cosine)
    np.testing.assert_allclose(relu.distortion(w, w_hat, np.eye(2)), norm**2 * bracket, rtol=0, atol=1e-15 * norm**2)


@layers
def test_best_scale_is_what_a_scalar_minimizer_finds(w, w_hat, v):
    best = relu.best_scale(w, w_hat, COV, v)
    found = minimize_scalar(lambda a: float(relu.distortion(w, a * w_hat, COV, v)), bounds=(0, 10), method="bounded")
    np.testing.assert_allclose(best.distortion, found.fun, rtol=1e-8, atol=1e-10)
    assert best.distortion <= found.fun + 1e-14
    if np.any(w_hat) and found.x > 1e-4:
        np.testing.assert_allclose(best.scale, found.x, atol=2e-5)  # the minimizer stops at 1e-5
    np.testing.assert_allclose(best.cost, relu.distortion(w, w_hat, COV, v) - best.distortion, rtol=0, atol=1e-13)
    assert best.scale >= 0
    assert best.cost >= 0


@pytest.mark.parametrize("angle", [0.1, 0.7, 1.4, 2.5])
def test_best_scale_of_one_neuron_has_the_norm_of_the_theorem(angle):
    w, w_hat = np.array([2.0, 0.0]), 0.7 * np.array([np.cos(angle), np.sin(angle)])
    wanted = 2.0 * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
    np.testing.assert_allclose(relu.best_scale(w, w_hat, np.eye(2)).scale * 0.7, wanted, rtol=1e-13)
    assert wanted >= 2.0 * np.cos(angle)


def test_best_scale_of_a_layer_that_points_the_wrong_way_is_zero():
    best = relu.best_scale(W[:1], W[:1], np.eye(M), np.ones(1))
    np.testing.assert_allclose(best.scale, 1.0, rtol=1e-14)
    w, w_hat = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 0.0], [1.0, 0.0]])
    best = relu.best_scale(w, w_hat, np.eye(2), np.array([1.0, -1.0]))  # f_ŵ = -ReLU(x₁)
    cross = oracles.relu_kernel(w[1], w[0], np.eye(2)) - 0.5
    assert cross < 0
    assert best.scale == 0
    np.testing.assert_allclose(best.cost, 0.5 - 2 * cross, rtol=1e-10)
    np.testing.assert_allclose(best.distortion, relu.distortion(w, 0 * w, np.eye(2), np.array([1.0, -1.0])), rtol=1e-14)


# Optimality of the objective -----------------------------------------------------------------------------------------

NEURONS = np.random.default_rng(3).normal(size=(50, 8))
WIDE = oracles.random_covariance(np.random.default_rng(4), 8)


def excesses(neurons, compress, cov):
    """Excess distortion of the full, the diagonal and the magnitude choice, (neurons, 3)."""

    def check(w):
        found = relu.optimality(w, compress(w), cov)
        return jnp.stack([found.full.excess, found.diagonal.excess, found.magnitude.excess])

    return np.asarray(jax.jit(jax.vmap(check))(jnp.asarray(neurons)))


def test_isotropic_inputs_every_mask_the_objective_picks_the_optimum():
    found = excesses(NEURONS, lambda w: candidates.pruned(w, 4), jnp.eye(8))
    np.testing.assert_array_equal(found, np.zeros((50, 3)))  # full, diagonal and magnitude agree here


def test_isotropic_inputs_every_quantizer_the_objective_picks_the_optimum():
    found = excesses(NEURONS[:20, :6], lambda w: candidates.quantized(w, 3, jnp.ones(6)), jnp.eye(6))
    np.testing.assert_array_equal(found, np.zeros((20, 3)))


def test_correlated_inputs_every_projected_mask_the_objective_picks_the_optimum():
    found = excesses(NEURONS, lambda w: candidates.pruned(w, 4, jnp.asarray(WIDE) / 2), jnp.asarray(WIDE))
    np.testing.assert_array_equal(found[:, 0], np.zeros(50))
    assert (found[:, 1] > 0).any()
    assert (found[:, 2] > 0).any()


def test_correlated_inputs_plain_masks_are_outside_the_theorem():
    found = excesses(NEURONS, lambda w: candidates.pruned(w, 4), jnp.asarray(WIDE))
    assert (found[:, 0] > 1e-3).any()


def test_a_wrong_importance_is_seen_to_be_wrong():
    cov = jnp.diag(jnp.geomspace(0.01, 10.0, 8))
    found = excesses(NEURONS, lambda w: candidates.pruned(w, 4), cov)
    np.testing.assert_array_equal(found[:, :2], np.zeros((50, 2)))  # uncorrelated: a mask is its own projection
    assert (found[:, 2] > 0.1).mean() > 0.5


def test_choices_are_those_of_a_loop_over_the_candidates():
    w, v, cov = W, VECTORS, COV
    options = np.asarray(candidates.pruned(w, 5))
    check = relu.optimality(w, options, cov, v)
    true = np.array([float(relu.distortion(w, option, cov, v)) for option in options])
    full = np.asarray(relu.importance(w, cov, v))
    lost = (w - options).reshape(len(options), -1)
    assert check.best_index == true.argmin()
    np.testing.assert_allclose(check.best_distortion, true.min(), rtol=1e-12)
    for choice, objective in [
        (check.full, np.einsum("ca,ab,cb->c", lost, full, lost)),
        (check.diagonal, lost**2 @ np.diag(full)),
        (check.magnitude, np.sum(lost**2, axis=1)),
    ]:
        assert choice.index == objective.argmin()
        np.testing.assert_allclose(choice.distortion, true[objective.argmin()], rtol=1e-12)
        np.testing.assert_allclose(choice.excess, true[objective.argmin()] / true.min() - 1, rtol=1e-9, atol=1e-12)


def test_the_model_among_the_candidates_is_chosen_and_any_other_choice_is_infinitely_worse():
    check = relu.optimality(W[0], np.stack([W_HAT[0], W[0]]), COV)
    assert check.best_index == check.full.index == 1
    assert check.full.excess == 0


# Transformations and errors ------------------------------------------------------------------------------------------

BATCH = [rng.normal(size=(4, 3, M)), rng.normal(size=(4, 3, M))]
BATCH += [np.stack([oracles.random_covariance(rng, M) for _ in range(4)]), rng.normal(size=(4, 3, 2))]
FUNCTIONS = {
    "distortion": (0, 1, 2, 3),
    "importance": (0, 2, 3),
    "best_scale": (0, 1, 2, 3),
    "optimality": (0, 4, 2, 3),
}
BATCH.append(rng.normal(size=(4, 6, 3, M)))
every_function = pytest.mark.parametrize("function", list(FUNCTIONS))


@every_function
def test_jit_and_vmap_change_nothing(function):
    assert_transforms_agree(getattr(relu, function), *(BATCH[i] for i in FUNCTIONS[function]), rtol=1e-11, atol=1e-12)


@every_function
def test_jit_and_vmap_change_nothing_for_one_neuron(function):
    arguments = [BATCH[0][:, 0], BATCH[1][:, 0], BATCH[2], None, BATCH[4][:, :, 0]]
    picked = [arguments[i] for i in FUNCTIONS[function] if arguments[i] is not None]
    assert_transforms_agree(getattr(relu, function), *picked, rtol=1e-11, atol=1e-12)


@functools.cache
def floats_only(function):
    def call(*arguments):
        return [
            x for x in jax.tree.leaves(getattr(relu, function)(*arguments)) if jnp.issubdtype(x.dtype, jnp.floating)
        ]

    return call


@pytest.mark.parametrize(
    ("function", "position"), [(name, i) for name, arguments in FUNCTIONS.items() for i in range(len(arguments))]
)
def test_an_invalid_item_of_a_batch_is_nan_and_its_neighbors_stay_exact(function, position):
    picked = [BATCH[i] for i in FUNCTIONS[function]]
    items = [batch[1] for batch in picked]
    items[position] = np.full_like(items[position], np.nan)

    assert_only_bad_items_are_nan(floats_only(function), picked, items, 1)


def test_a_zero_neuron_of_a_batch_has_no_importance():
    items = [BATCH[0][1] * np.array([[1.0], [0.0], [1.0]]), BATCH[2][1], BATCH[3][1]]
    assert_only_bad_items_are_nan(relu.importance, [BATCH[0], BATCH[2], BATCH[3]], items, 1)


EYE = np.eye(M)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((W[0], W_HAT[0][:2], EYE), ValueError, "weights_hat must have shape"),
        ((W[0], W_HAT[0], np.eye(2)), ValueError, "input_cov must be \\(3, 3\\)"),
        ((W[0], W_HAT[0], -EYE), ValueError, "input_cov must be positive semidefinite"),
        ((W[0], W_HAT[0], np.triu(np.ones((M, M)))), ValueError, "input_cov must be symmetric"),
        ((W[0] * np.nan, W_HAT[0], EYE), ValueError, "weights must be finite"),
        ((W[0], W_HAT[0] * np.inf, EYE), ValueError, "weights_hat must be finite"),
        ((W, W_HAT, EYE), ValueError, "give its output_weights, shape \\(3,\\)"),
        ((W[0], W_HAT[0], EYE, np.ones(1)), ValueError, "output_weights belong to a layer"),
        ((W, W_HAT, EYE, np.ones(2)), ValueError, "output_weights must have shape"),
        ((W, W_HAT, EYE, np.ones((3, 1, 1))), ValueError, "output_weights must have shape"),
        ((W, W_HAT, EYE, np.full(3, np.nan)), ValueError, "output_weights must be finite"),
        ((W[None], W_HAT[None], EYE), ValueError, "weights must have shape \\(m,\\) for one neuron"),
        ((1.0, 1.0, EYE), ValueError, "weights must have shape \\(m,\\) for one neuron"),
        ((W[0] * 1j, W_HAT[0], EYE), TypeError, "weights must hold real numbers"),
        (("w", W_HAT[0], EYE), TypeError, "weights"),
    ],
)
@pytest.mark.parametrize("function", [relu.distortion, relu.best_scale])
def test_what_is_wrong_is_named(as_user, function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(*arguments)


def test_what_is_wrong_with_an_importance_or_with_candidates_is_named(as_user):
    with pytest.raises(ValueError, match="neuron that is zero for these inputs"):
        relu.importance(np.zeros(M), EYE)
    with pytest.raises(ValueError, match="neuron that is zero for these inputs"):
        relu.importance(np.array([0.0, 1.0, 0.0]), np.diag([1.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="candidates must have shape"):
        relu.optimality(W[0], np.ones((5, 2)), EYE)
    with pytest.raises(ValueError, match="candidates must be finite"):
        relu.optimality(W[0], np.full((5, M), np.nan), EYE)


def test_optimality_of_a_zero_neuron_is_an_error_as_its_importance_is():
    with pytest.raises(ValueError, match="zero for these inputs"):
        relu.optimality(np.zeros(M), np.ones((5, M)), EYE)
