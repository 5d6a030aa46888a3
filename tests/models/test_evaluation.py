import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy.special import rel_entr, softmax

from rdtheory import evaluation, importance, networks

rng = np.random.default_rng(0)
NETWORK = networks.mlp([5, 8, 4])
PARAMS, PARAMS_HAT = (NETWORK.init(jax.random.key(seed)) for seed in (0, 1))
INPUTS = rng.normal(size=(23, 5))
LABELS = rng.integers(0, 4, 23)
OUTPUTS, OUTPUTS_HAT = (np.asarray(NETWORK.apply(params, INPUTS)) for params in (PARAMS, PARAMS_HAT))
BATCHES = pytest.mark.parametrize("batch_size", [1, 5, 22, 23, 24, 1000])


def linear(weights, x):
    return x @ weights


@BATCHES
def test_each_measure_is_its_definition_whatever_the_batch(batch_size):
    p, q = softmax(OUTPUTS, axis=1), softmax(OUTPUTS_HAT, axis=1)
    wanted = {
        "accuracy": np.mean(OUTPUTS.argmax(axis=1) == LABELS),
        "cross_entropy": -np.mean(np.log2(p[np.arange(23), LABELS])),
        "kl": np.mean(rel_entr(p, q).sum(axis=1)) / np.log(2),
        "squared_error": np.mean(((OUTPUTS - OUTPUTS_HAT) ** 2).sum(axis=1)),
    }
    for name, value in wanted.items():
        against = (LABELS,) if name in ("accuracy", "cross_entropy") else ()
        models = (PARAMS,) if against else (PARAMS, PARAMS_HAT)
        found = getattr(evaluation, name)(NETWORK.apply, *models, INPUTS, *against, batch_size=batch_size)
        np.testing.assert_allclose(found, value, rtol=1e-12, err_msg=name)


def test_inputs_may_be_whole_numbers_or_lists(as_user):
    w, whole = np.arange(20.0).reshape(5, 4) % 7, np.arange(115).reshape(23, 5) % 11
    wanted = evaluation.cross_entropy(linear, w, whole.astype(float), LABELS)
    for given in (whole, whole.astype(np.uint8), whole.tolist()):
        assert evaluation.cross_entropy(linear, w, given, LABELS) == wanted


def test_a_divergence_between_nearly_equal_networks_keeps_its_digits():
    w, step = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    for size in (1e-3, 1e-6, 1e-9):
        found = evaluation.kl(linear, w, w + size * step, INPUTS)
        with mpmath.workdps(60):
            total = mpmath.mpf(0)
            for a, b in zip(INPUTS @ w, INPUTS @ (w + size * step), strict=True):
                log_p, log_q = ([mpmath.mpf(float(x)) for x in row] for row in (a, b))
                norm_p, norm_q = (mpmath.log(sum(map(mpmath.exp, row))) for row in (log_p, log_q))
                total += sum(
                    mpmath.exp(x - norm_p) * (x - norm_p - y + norm_q) for x, y in zip(log_p, log_q, strict=True)
                )
            wanted = float(total / len(INPUTS) / mpmath.log(2))
        # Rounding of the outputs themselves, 1e-16 of a step of `size`.
        np.testing.assert_allclose(found, wanted, rtol=1e-14 / size + 1e-12)
    # The textbook sum loses everything here, so the comparison can fail.
    p, q = softmax(INPUTS @ w, axis=1), softmax(INPUTS @ (w + 1e-9 * step), axis=1)
    assert abs(np.mean(rel_entr(p, q).sum(axis=1)) / np.log(2) / wanted - 1) > 1e-2


def test_outputs_far_apart_have_a_finite_divergence():
    w = np.array([[1000.0, 0.0, -1000.0]])
    # All of p is on the first output and its log-probability under q is -2000 nats; as much the other way round.
    np.testing.assert_allclose(evaluation.kl(linear, w, -w, np.ones((1, 1))), 2000 / np.log(2), rtol=1e-14)
    np.testing.assert_allclose(evaluation.kl(linear, w, 0 * w, np.ones((1, 1))), np.log2(3), rtol=1e-14)
    np.testing.assert_allclose(evaluation.kl(linear, 0 * w, w, np.ones((1, 1))), 1000 / np.log(2) - np.log2(3))
    assert evaluation.kl(linear, w, w, np.ones((1, 1))) == 0
    gradient = jax.grad(lambda w_hat: evaluation.kl(linear, w, w_hat, np.ones((1, 1))))(-w)
    np.testing.assert_allclose(gradient, np.array([[-1.0, 0.0, 1.0]]) / np.log(2), atol=1e-12)


def test_a_class_that_is_ruled_out_is_as_if_it_were_not_there():
    x, labels = np.array([[1.0, -0.5, 0.3], [0.2, 0.4, 0.1]]), np.array([0, 1])

    def masked(w, x):
        return x * w + jnp.array([[0.0, 0.0, -jnp.inf]])

    def without(w, x):
        return x[:, :2] * w

    np.testing.assert_allclose(evaluation.kl(masked, 1.0, 1.5, x), 0.0265783373, rtol=1e-8)
    assert evaluation.kl(masked, 1.0, 1.0, x) == 0
    for measure in (evaluation.kl, evaluation.squared_error):
        for derivative in (jax.grad, jax.hessian):
            here, there = (derivative(measure, argnums=(1, 2)) for _ in range(2))
            for pair in ((1.0, 1.5), (1.0, 1.0)):
                np.testing.assert_allclose(here(masked, *pair, x), there(without, *pair, x), rtol=1e-12, atol=1e-14)
    for measure in (evaluation.accuracy, evaluation.cross_entropy):
        np.testing.assert_allclose(measure(masked, 1.0, x, labels), measure(without, 1.0, x, labels), rtol=1e-14)
    slope = jax.grad(evaluation.cross_entropy, argnums=1)
    np.testing.assert_allclose(slope(masked, 1.0, x, labels), slope(without, 1.0, x, labels), rtol=1e-12)


def test_a_class_that_one_network_rules_out_costs_infinity_or_what_the_other_spends_on_it():
    x, broken = np.zeros((1, 3)), np.array([0.0, 0.0, np.nan])

    def apply(w, x):
        return x + w[None]

    even, two = np.zeros(3), np.array([0.0, 0.0, -np.inf])
    assert evaluation.kl(apply, even, two, x) == np.inf
    np.testing.assert_allclose(evaluation.kl(apply, two, even, x), np.log2(3 / 2), rtol=1e-15)
    assert np.isnan(evaluation.kl(apply, broken, two, x)) and np.isnan(evaluation.kl(apply, two, broken, x))


def test_outputs_that_broke_are_no_right_answers():
    broken = np.full((5, 4), np.nan)
    assert evaluation.accuracy(linear, broken, INPUTS, np.zeros(23, int)) == 0
    assert np.isnan(evaluation.cross_entropy(linear, broken, INPUTS, LABELS))
    assert np.isnan(evaluation.kl(linear, np.zeros((5, 4)), broken, INPUTS))


def test_equal_outputs_are_right_for_the_first_class_only():
    assert evaluation.accuracy(linear, np.zeros((5, 4)), INPUTS, np.zeros(23, int)) == 1
    assert evaluation.accuracy(linear, np.zeros((5, 4)), INPUTS, np.ones(23, int)) == 0


def test_the_second_order_term_of_the_divergence_is_half_the_fisher_information():
    w, step = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    p = softmax(INPUTS @ w, axis=1)
    moved = INPUTS @ step
    fisher = np.mean((p * moved**2).sum(axis=1) - (p * moved).sum(axis=1) ** 2)
    found = evaluation.kl(linear, w, w + 1e-5 * step, INPUTS) / 1e-10
    np.testing.assert_allclose(found, fisher / 2 / np.log(2), rtol=1e-4)


def test_single_precision_stays_single():
    params, x = NETWORK.init(jax.random.key(0), jnp.float32), INPUTS.astype(np.float32)
    assert evaluation.kl(NETWORK.apply, params, params, x).dtype == jnp.float32
    np.testing.assert_allclose(
        evaluation.cross_entropy(NETWORK.apply, params, x, LABELS),
        evaluation.cross_entropy(NETWORK.apply, jax.tree.map(lambda w: w.astype(float), params), INPUTS, LABELS),
        rtol=1e-6,
    )


def test_jit_and_vmap_change_nothing():
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), PARAMS, PARAMS_HAT)
    together = jax.vmap(lambda params: evaluation.cross_entropy(NETWORK.apply, params, INPUTS, LABELS, batch_size=7))(
        both
    )
    alone = [evaluation.cross_entropy(NETWORK.apply, params, INPUTS, LABELS) for params in (PARAMS, PARAMS_HAT)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    jitted = jax.jit(lambda x, y: evaluation.accuracy(NETWORK.apply, PARAMS, x, y))
    assert jitted(INPUTS, LABELS) == evaluation.accuracy(NETWORK.apply, PARAMS, INPUTS, LABELS)
    assert jnp.isnan(jitted(INPUTS, LABELS + 4))
    assert jnp.isnan(jitted(INPUTS * np.inf, LABELS))


@pytest.mark.parametrize(
    ("inputs", "labels", "options", "error", "message"),
    [
        (INPUTS, LABELS[:5], {}, ValueError, "labels must be 23 class numbers"),
        (INPUTS, LABELS.astype(float), {}, ValueError, "labels must be 23 class numbers.*dtype float64"),
        (INPUTS, LABELS + 1, {}, ValueError, "labels must be from 0 to 3, one for each output, got 1 to 4"),
        (INPUTS, LABELS - 1, {}, ValueError, "labels must be from 0 to 3.*got -1 to 2"),
        (INPUTS[0], LABELS, {}, ValueError, "inputs must be a matrix"),
        (INPUTS[:0], LABELS[:0], {}, ValueError, "inputs must not be empty"),
        (INPUTS * np.nan, LABELS, {}, ValueError, "inputs must be finite"),
        (INPUTS, LABELS, {"batch_size": 0}, ValueError, "batch_size must be a whole number, at least 1"),
        (INPUTS * 1j, LABELS, {}, TypeError, "inputs must hold real numbers"),
    ],
)
def test_what_is_wrong_is_named(as_user, inputs, labels, options, error, message):
    with pytest.raises(error, match=message):
        evaluation.accuracy(linear, np.zeros((5, 4)), inputs, labels, **options)


def test_models_whose_outputs_do_not_fit_are_named(as_user):
    with pytest.raises(ValueError, match="one row of outputs for each of 23 inputs, got shape \\(4,\\)"):
        evaluation.accuracy(lambda w, x: w[0], np.zeros((5, 4)), INPUTS, LABELS)
    with pytest.raises(ValueError, match="one row of outputs for each of 23 inputs, got tuple"):
        evaluation.accuracy(lambda w, x: (x, x), np.zeros((5, 4)), INPUTS, LABELS)
    with pytest.raises(ValueError, match="must make as many outputs, got 4 and 3"):
        evaluation.kl(linear, np.zeros((5, 4)), np.zeros((5, 3)), INPUTS)


def test_a_model_of_one_example_is_told_how_to_become_one_of_many(as_user):
    def one(w, x):
        return w.T @ x

    w, x, y = jnp.eye(3, 2), jnp.eye(5, 3), jnp.zeros(5, int)
    for measure in (lambda apply: evaluation.accuracy(apply, w, x, y), lambda apply: importance.diagonal(apply, w, x)):
        with pytest.raises(
            ValueError, match=r"must take a batch, here of shape \(.*, 3\).*jax.vmap\(apply, in_axes=\(None, 0\)\)"
        ):
            measure(one)
        measure(jax.vmap(one, in_axes=(None, 0)))
        with pytest.raises(TypeError, match="dot_general"):  # of the model itself, as it is
            measure(lambda w, x: x @ jnp.ones((4, 2)))
