import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdtheory import training
from tests import oracles

rng = np.random.default_rng(0)
INPUTS = rng.normal(size=(120, 3))
LABELS = (INPUTS[:, 0] * INPUTS[:, 1] > 0).astype(int) + (INPUTS[:, 2] > 1)
KEY = jax.random.key(0)


def loss(network):
    scores = np.asarray(training.logits(network, INPUTS))
    scores = scores - scores.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(scores)), LABELS]))


def test_logits_are_those_of_the_relu_layer():
    network = training.Network(jnp.asarray(rng.normal(size=(5, 3))), jnp.asarray(rng.normal(size=(5, 2))))
    wanted = oracles.relu_outputs(np.asarray(network.hidden), INPUTS, np.asarray(network.output))
    np.testing.assert_allclose(training.logits(network, INPUTS), wanted, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(jax.jit(training.logits)(network, INPUTS), wanted, rtol=1e-12, atol=1e-14)
    one_by_one = jax.vmap(lambda x: training.logits(network, x[None])[0])(INPUTS)
    np.testing.assert_allclose(one_by_one, wanted, rtol=1e-12, atol=1e-14)


def test_training_lowers_the_cross_entropy_and_learns_what_no_linear_model_can():
    start, end = (training.train(KEY, INPUTS, LABELS, 16, steps=steps) for steps in (0, 400))
    assert end.hidden.shape == (16, 3)
    assert end.output.shape == (16, 3)  # classes 0, 1 and 2
    assert loss(end) < 0.3 * loss(start)
    assert np.mean(np.argmax(training.logits(end, INPUTS), axis=1) == LABELS) > 0.9


def test_the_same_key_gives_the_same_bits_and_another_key_others():
    first = training.train(KEY, INPUTS, LABELS, 4, steps=20)
    again = training.train(KEY, INPUTS, LABELS, 4, steps=20)
    other = training.train(jax.random.key(1), INPUTS, LABELS, 4, steps=20)
    np.testing.assert_array_equal(first.hidden, again.hidden)
    np.testing.assert_array_equal(first.output, again.output)
    assert jnp.any(first.hidden != other.hidden)


def test_a_larger_learning_rate_moves_further():
    start = training.train(KEY, INPUTS, LABELS, 4, steps=0)
    slow, fast = (training.train(KEY, INPUTS, LABELS, 4, steps=3, learning_rate=rate) for rate in (0.001, 0.1))
    assert jnp.linalg.norm(fast.hidden - start.hidden) > 10 * jnp.linalg.norm(slow.hidden - start.hidden)


def test_keys_may_be_batched():
    keys = jax.random.split(KEY, 2)
    batch = jax.vmap(lambda key: training.train(key, INPUTS, LABELS, 4, steps=5))(keys)
    for i in range(2):
        alone = training.train(keys[i], INPUTS, LABELS, 4, steps=5)
        np.testing.assert_allclose(batch.hidden[i], alone.hidden, rtol=1e-10)


def test_training_may_be_jitted():
    wanted = training.train(KEY, INPUTS, LABELS, 4, steps=5)
    jitted = jax.jit(lambda key: training.train(key, INPUTS, LABELS, 4, steps=5))(KEY)
    np.testing.assert_allclose(jitted.hidden, wanted.hidden, rtol=1e-10)


@pytest.mark.parametrize(
    ("inputs", "labels", "error", "message"),
    [
        (INPUTS, LABELS[:5], ValueError, "labels must be 120 class numbers"),
        (INPUTS, LABELS - 1, ValueError, "labels must be 120 class numbers >= 0"),
        (INPUTS, LABELS.astype(float), ValueError, "labels must be 120 class numbers.*dtype float64"),
        (INPUTS[0], LABELS, ValueError, "inputs must be a matrix"),
        (INPUTS * 1j, LABELS, TypeError, "inputs must hold real numbers"),
        ("pixels", LABELS, TypeError, "inputs"),
        (np.where(INPUTS > 2, np.nan, INPUTS), LABELS, ValueError, "inputs"),
    ],
)
def test_what_is_wrong_is_named(as_user, inputs, labels, error, message):
    with pytest.raises(error, match=message):
        training.train(KEY, inputs, labels, 4, steps=1)


@pytest.mark.parametrize("options", [{"hidden": 0}, {"hidden": 4, "steps": -1}])
def test_a_count_out_of_range_is_named(as_user, options):
    hidden = options.pop("hidden")
    with pytest.raises(ValueError, match="hidden|steps"):
        training.train(KEY, INPUTS, LABELS, hidden, **options)
