import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from rdtheory import networks

KEY = jax.random.key(0)
rng = np.random.default_rng(0)
# Name, network, inputs, weights with biases: 784·300 + 300 + 300·100 + 100 + 100·10 + 10, and so on by hand.
CASES = {
    "mlp": (networks.mlp([6, 5, 4, 3]), 6, 35 + 24 + 15),
    "lenet_300_100": (networks.lenet_300_100(), 784, 235_500 + 30_100 + 1_010),
    "lenet_5": (networks.lenet_5(), 784, 156 + 2_416 + 48_120 + 10_164 + 850),
    "cifar": (networks.cifar(), 3072, 896 + 18_496 + 36_928 + 10_250),
}
every = pytest.mark.parametrize("name", list(CASES))


def random_params(network, dtype=np.float64):
    """Biases too, which start at zero."""
    params = initial(network, dtype)
    return jax.tree.map(lambda w: jnp.asarray(np.asarray(w) + 0.1 * rng.normal(size=w.shape), w.dtype), params)


@functools.cache
def initial(network, dtype=np.float64):
    return network.init(KEY, dtype)


def dense(params, x):
    for layer in params[:-1]:
        x = np.maximum(x @ np.asarray(layer.weights) + np.asarray(layer.bias), 0)
    return x @ np.asarray(params[-1].weights) + np.asarray(params[-1].bias)


def convolution(maps, layer, margin):
    """XLA's own, which the module does not use."""
    padding = ((margin, margin), (margin, margin))
    found = lax.conv_general_dilated(maps, layer.weights, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return np.maximum(np.asarray(found) + np.asarray(layer.bias), 0)


def lenet_5(params, x):
    maps = convolution(jnp.asarray(x.reshape(-1, 28, 28, 1)), params[0], 2)
    maps = lax.reduce_window(jnp.asarray(maps), 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
    maps = convolution(maps, params[1], 0)
    maps = lax.reduce_window(jnp.asarray(maps), 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
    return dense(params[2:], np.asarray(maps).reshape(len(x), 400))


def cifar(params, x):
    maps = jnp.asarray(x.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    for layer in params[:3]:
        maps = lax.reduce_window(
            jnp.asarray(convolution(maps, layer, 1)), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
        )
    return dense(params[3:], np.asarray(maps).reshape(len(x), 1024))


ORACLES = {"mlp": dense, "lenet_300_100": dense, "lenet_5": lenet_5, "cifar": cifar}


@every
def test_outputs_are_those_of_another_program(name):
    network, inputs, _ = CASES[name]
    params, x = random_params(network), rng.normal(size=(3, inputs))
    np.testing.assert_allclose(network.apply(params, x), ORACLES[name](params, x), rtol=1e-10, atol=1e-12)


@every
def test_the_number_of_weights_is_the_known_one(name):
    network, _, count = CASES[name]
    assert sum(leaf.size for leaf in jax.tree.leaves(initial(network))) == count


@every
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_weights_decide_the_precision(name, dtype):
    network, inputs, _ = CASES[name]
    params = initial(network, dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}
    for kind in (np.float32, np.float64, np.uint8):
        assert jax.eval_shape(network.apply, params, np.ones((2, inputs), kind)).dtype == dtype


@every
def test_one_input_a_batch_and_a_batch_of_batches_agree(name):
    network, inputs, _ = CASES[name]
    params, x = random_params(network), jnp.asarray(rng.normal(size=(2, 3, inputs)))
    all_at_once = network.apply(params, x)
    assert all_at_once.shape[:2] == (2, 3)
    one = network.apply(params, x[1, 2])
    np.testing.assert_allclose(np.asarray(all_at_once)[1, 2], one, rtol=1e-10, atol=1e-12)
    mapped = jax.vmap(network.apply, in_axes=(None, 0))(params, x)
    np.testing.assert_allclose(mapped, all_at_once, rtol=1e-10, atol=1e-12)


@every
def test_the_gradient_is_a_difference_quotient(name):
    network, inputs, _ = CASES[name]
    params, x = random_params(network), jnp.asarray(rng.normal(size=(2, inputs)))
    params = jax.tree.map(np.asarray, params)
    direction = jax.tree.map(lambda w: rng.normal(size=w.shape), params)

    def value(step):
        moved = jax.tree.map(lambda w, d: w + step * d, params, direction)
        return np.sum(np.asarray(network.apply(moved, x)) ** 2)

    gradient = jax.jit(jax.grad(lambda params: jnp.sum(network.apply(params, x) ** 2)))(params)
    slope = sum(np.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
    # Piecewise linear networks: a kink within the step of 1e-7 would show, and there is none here.
    np.testing.assert_allclose(slope, (value(1e-7) - value(-1e-7)) / 2e-7, rtol=1e-5)


def test_initial_weights_keep_the_size_of_signals_through_the_layers():
    network = networks.mlp([1000, 1000, 1000, 1000])
    params = network.init(KEY)
    for layer in params:
        assert abs(np.std(layer.weights) / np.sqrt(2 / 1000) - 1) < 0.01
        assert not layer.bias.any()
    x = rng.normal(size=(50, 1000))
    # Of each unit's square, one half passes ReLU and the weights double it again.
    np.testing.assert_allclose(np.mean(network.apply(params, x) ** 2), 2, rtol=0.15)


def test_the_same_key_gives_the_same_weights_and_layers_differ():
    network = networks.mlp([4, 4, 4])
    first, again, other = network.init(KEY), network.init(KEY), network.init(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not jnp.any(first[0].weights == other[0].weights)
    assert not jnp.any(first[0].weights == first[1].weights)


def test_one_function_serves_networks_of_all_sizes():
    assert networks.mlp([2, 3]).apply is networks.lenet_300_100(64).apply  # so jit compiles it once for one shape
    assert networks.lenet_5().apply is networks.lenet_5(7).apply


def test_other_numbers_of_inputs_and_classes():
    assert jax.eval_shape(networks.lenet_300_100(64, 7).init, KEY)[0].weights.shape == (64, 300)
    for network, inputs in [(networks.lenet_300_100(64, 7), 64), (networks.lenet_5(7), 784), (networks.cifar(7), 3072)]:
        outputs = jax.eval_shape(lambda key, x, n=network: n.apply(n.init(key), x), KEY, np.zeros((1, inputs)))
        assert outputs.shape == (1, 7)


@pytest.mark.parametrize("sizes", [[], [5], [5, 0], [0, 5], [5, -1, 2], [5, 2.5]])
def test_sizes_that_make_no_network_are_named(as_user, sizes):
    with pytest.raises(ValueError, match="sizes"):
        networks.mlp(sizes)


@pytest.mark.parametrize("make", [networks.lenet_5, networks.cifar])
def test_no_class_is_named(as_user, make):
    with pytest.raises(ValueError, match="classes must be a whole number, at least 1"):
        make(0)


@every
def test_inputs_of_another_size_are_named(as_user, name):
    network, inputs, _ = CASES[name]
    for shape in [(2, inputs + 1), (inputs, 2), (2, 28, 28), ()]:
        with pytest.raises(ValueError, match=f"x must have {inputs} inputs along its last axis"):
            network.apply(initial(network), np.zeros(shape))
