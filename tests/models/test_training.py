import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rich.progress  # noqa: F401  imported where a bar is drawn first, which takes a while

from rdtheory import _progress, datasets, evaluation, networks, training
from rdtheory.models import _minibatches
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


# Minibatches ---------------------------------------------------------------------------------------------------------

NETWORK = networks.mlp([3, 16, 3])
START = NETWORK.init(jax.random.key(5))


def fit(**options):
    return training.fit(NETWORK.apply, START, INPUTS, LABELS, **{"key": KEY, "epochs": 3, "batch_size": 16, **options})


def adam_by_hand(w, inputs, targets, batches, rate):
    """Kingma & Ba's algorithm 1 on w of x @ w, squared error summed over outputs, with the cosine."""
    first, second, losses = np.zeros_like(w), np.zeros_like(w), []
    for t, rows in enumerate(batches):
        x, error = inputs[rows], inputs[rows] @ w - targets[rows]
        losses.append(np.mean(np.sum(error**2, axis=1)))
        gradient = 2 * x.T @ error / len(rows)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        corrected = first / (1 - 0.9 ** (t + 1)), second / (1 - 0.999 ** (t + 1))
        step = rate * (1 + np.cos(np.pi * t / len(batches))) / 2
        w = w - step * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    return w, losses


def test_fit_is_adam_on_the_shuffled_batches():
    targets, start = rng.normal(size=(120, 2)), rng.normal(size=(3, 2))
    found = training.fit(
        lambda w, x: x @ w, start, INPUTS, targets, key=KEY, epochs=2, batch_size=50, learning_rate=0.1
    )
    orders = [np.asarray(jax.random.permutation(jax.random.fold_in(KEY, epoch), 120)) for epoch in range(2)]
    batches = [order[i : i + 50] for order in orders for i in (0, 50)]  # 20 examples are left out, others each time
    w, losses = adam_by_hand(start, INPUTS, targets, batches, 0.1)
    np.testing.assert_allclose(found.params, w, rtol=1e-9)
    np.testing.assert_allclose(found.losses, [np.mean(losses[:2]), np.mean(losses[2:])], rtol=1e-9)
    assert found.epoch == 2
    assert np.isnan(found.held_out_losses).all()


def test_a_regression_ends_near_least_squares():
    targets = INPUTS @ np.array([1.0, -2.0, 0.5]) + 0.1 * rng.normal(size=120)
    found = training.fit(
        lambda w, x: x @ w, np.zeros((3, 1)), INPUTS, targets, key=KEY, epochs=100, batch_size=30, learning_rate=0.1
    )
    wanted = np.linalg.lstsq(INPUTS, targets, rcond=None)[0]
    np.testing.assert_allclose(found.params[:, 0], wanted, atol=2e-3)


def test_fit_learns_what_no_linear_model_can_and_reports_its_loss_in_bits():
    found = fit(epochs=100, learning_rate=0.01)
    assert evaluation.accuracy(NETWORK.apply, found.params, INPUTS, LABELS) > 0.9
    assert found.losses[-1] < 0.3 * found.losses[0]
    bits = evaluation.cross_entropy(NETWORK.apply, found.params, INPUTS, LABELS)
    np.testing.assert_allclose(found.losses[-1], bits, rtol=0.1)  # the last steps hardly move


def test_the_same_key_fits_the_same_bits_and_another_key_others():
    first, again, other = fit(), fit(), fit(key=jax.random.key(9))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert jnp.any(first.params[0].weights != other.params[0].weights)


def test_no_epoch_changes_nothing():
    found = fit(epochs=0)
    jax.tree.map(np.testing.assert_array_equal, found.params, START)
    assert (found.epoch, found.losses.shape, found.held_out_losses.shape) == (0, (0,), (0,))


def test_a_batch_larger_than_the_data_is_all_of_it():
    jax.tree.map(np.testing.assert_array_equal, fit(batch_size=500), fit(batch_size=120))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_starting_weights_decide_the_precision(dtype):
    found = training.fit(NETWORK.apply, NETWORK.init(KEY, dtype), INPUTS, LABELS, key=KEY, epochs=1)
    assert {leaf.dtype for leaf in jax.tree.leaves(found.params)} == {jnp.dtype(dtype)}


def test_keys_of_fit_may_be_batched_and_jitted():
    keys = jax.random.split(KEY, 2)
    batch = jax.jit(jax.vmap(lambda key: fit(key=key).params))(keys)
    for i in range(2):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[i], b, rtol=1e-9), batch, fit(key=keys[i]).params)  # noqa: B023


# Holding out ---------------------------------------------------------------------------------------------------------

NOISE = rng.integers(0, 3, 120)
OTHERS = datasets.Dataset(jnp.asarray(rng.normal(size=(60, 3))), jnp.asarray(rng.integers(0, 3, 60)))


def fit_noise(**options):
    return training.fit(
        NETWORK.apply, START, INPUTS, NOISE, key=KEY, epochs=40, batch_size=20, learning_rate=0.03, **options
    )


def test_fitting_noise_stops_early_at_the_least_loss_on_what_was_held_out():
    found = fit_noise(held_out=OTHERS, patience=4)
    held = np.asarray(found.held_out_losses)
    assert len(held) < 40
    assert found.epoch == held.argmin() + 1 == len(held) - 4
    assert len(fit_noise(held_out=OTHERS).held_out_losses) == found.epoch + 5  # unless told
    bits = evaluation.cross_entropy(NETWORK.apply, found.params, *OTHERS)
    np.testing.assert_allclose(bits, held.min(), rtol=1e-12)
    # Going on would have fitted the noise better and the others worse.
    on = fit_noise()
    assert on.losses[-1] < found.losses[-1]
    assert evaluation.cross_entropy(NETWORK.apply, on.params, *OTHERS) > bits


def test_looking_at_what_is_held_out_changes_no_step():
    with_look, without = fit_noise(held_out=OTHERS, patience=50), fit_noise()
    np.testing.assert_array_equal(with_look.losses, without.losses)


def test_held_out_targets_of_a_regression():
    targets = INPUTS @ np.array([1.0, -2.0, 0.5])
    held_out = datasets.Dataset(OTHERS.inputs, OTHERS.inputs @ jnp.array([1.0, -2.0, 0.5]))
    found = training.fit(lambda w, x: x @ w, np.zeros((3, 1)), INPUTS, targets, key=KEY, epochs=5, held_out=held_out)
    wanted = np.mean((np.asarray(held_out.inputs @ found.params)[:, 0] - np.asarray(held_out.labels)) ** 2)
    np.testing.assert_allclose(found.held_out_losses[-1], wanted, rtol=1e-12)


# The bar -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("terminal", "progress"), [(True, True), (True, False), (False, True)])
def test_the_bar_is_on_stderr_of_a_terminal_only_and_may_be_asked_off(monkeypatch, capsys, terminal, progress):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(_progress, "AFTER", 0.0)
    monkeypatch.setattr(_progress, "EVERY", 0.01)
    epoch = _minibatches.epoch
    monkeypatch.setattr(_minibatches, "epoch", lambda *arguments: (time.sleep(0.1), epoch(*arguments))[1])
    found = fit(progress=progress)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("training" in printed.err) == (terminal and progress)
    jax.tree.map(np.testing.assert_array_equal, found, fit(progress=False))


# Real data -----------------------------------------------------------------------------------------------------------


def assert_reaches(wanted, network, data, **options):
    """On the test part of a fixed split, which no choice here has seen."""
    parts = datasets.split(jax.random.key(0), data)
    start = network.init(jax.random.key(1), jnp.float32)
    found = training.fit(
        network.apply, start, *parts.train, key=jax.random.key(2), held_out=parts.validation, **options
    )
    accuracy = evaluation.accuracy(network.apply, found.params, *parts.test)
    assert accuracy >= wanted


def test_digits_are_read_at_97_percent():
    assert_reaches(0.97, networks.lenet_300_100(64), datasets.digits(), epochs=30, batch_size=32)


@pytest.mark.long
def test_one_small_hidden_layer_reads_digits_at_96_percent():
    assert_reaches(0.96, networks.mlp([64, 32, 10]), datasets.digits(), epochs=60, batch_size=32, learning_rate=3e-3)


@pytest.mark.long
def test_mnist_is_read_at_95_percent():
    assert_reaches(0.95, networks.lenet_5(), datasets.mnist5k(), epochs=8, batch_size=32, learning_rate=2e-3)


@pytest.mark.long
def test_mnist_is_read_at_97_percent_in_more_time():
    assert_reaches(0.965, networks.lenet_5(), datasets.mnist5k(), epochs=20, learning_rate=2e-3)


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "labels", "options", "message"),
    [
        (INPUTS, LABELS[:5], {}, "labels must be 120 class numbers"),
        (INPUTS, LABELS + 1, {}, "labels must be from 0 to 2, one for each output, got 1 to 3"),
        (INPUTS, LABELS.astype(float), {}, "labels must be whole class numbers, or real targets of shape \\(120, 3\\)"),
        (INPUTS, np.full((120, 3), np.nan), {}, "labels must be finite"),
        (INPUTS * np.inf, LABELS, {}, "inputs must be finite"),
        (INPUTS[:, 0], LABELS, {}, "inputs must be a matrix"),
        (INPUTS[:, :2], LABELS, {}, "x must have 3 inputs"),
        (INPUTS, LABELS, {"epochs": -1}, "epochs must be a whole number, at least 0"),
        (INPUTS, LABELS, {"batch_size": 0}, "batch_size must be a whole number, at least 1"),
        (INPUTS, LABELS, {"patience": 0}, "patience must be a whole number, at least 1"),
        (INPUTS, LABELS, {"learning_rate": -0.1}, "learning_rate must be >= 0"),
        (INPUTS, LABELS, {"held_out": (OTHERS.inputs, OTHERS.labels[:3])}, "held_out.labels must be 60 class numbers"),
        (INPUTS, LABELS, {"held_out": (OTHERS.inputs * np.nan, OTHERS.labels)}, "held_out.inputs must be finite"),
        (INPUTS, LABELS, {"held_out": (OTHERS.inputs, jnp.zeros((60, 3)))}, "held_out.labels must be of the kind"),
    ],
)
def test_what_is_wrong_with_fit_is_named(as_user, inputs, labels, options, message):
    with pytest.raises(ValueError, match=message):
        training.fit(NETWORK.apply, START, inputs, labels, **{"key": KEY, "epochs": 1, **options})
