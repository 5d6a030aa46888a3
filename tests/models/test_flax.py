"""The importance of a model that flax made, beside the same network written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from rdtheory import importance

rng = np.random.default_rng(8)
INPUTS = jnp.asarray(rng.normal(size=(23, 4)))


class Network(linen.Module):
    @linen.compact
    def __call__(self, x):
        hidden = linen.relu(linen.Dense(5, param_dtype=float)(x))
        return linen.Dense(3, param_dtype=float)(hidden)


def by_hand(layers, x):
    (first, bias), (last, shift) = layers
    return jax.nn.relu(x @ first + bias[None, :]) @ last + shift[None, :]


def test_a_flax_model_is_a_pytree_like_any_other():
    params = Network().init(jax.random.key(0), INPUTS)
    layers = [(layer["kernel"], layer["bias"]) for layer in (params["params"][f"Dense_{i}"] for i in range(2))]
    found = importance.diagonal(Network().apply, params, INPUTS)
    assert jax.tree.structure(found) == jax.tree.structure(params)
    for i, wanted in enumerate(importance.diagonal(by_hand, layers, INPUTS)):
        for name, part in zip(("kernel", "bias"), wanted, strict=True):
            np.testing.assert_allclose(found["params"][f"Dense_{i}"][name], part, rtol=1e-12)


class Block(linen.Module):
    """Tokens, a convolution along them, attention, and logits."""

    @linen.compact
    def __call__(self, tokens):
        x = linen.Embed(6, 4, param_dtype=float)(tokens)
        x = linen.Conv(4, (2,), param_dtype=float)(x)
        x = x + linen.MultiHeadDotProductAttention(2, param_dtype=float)(linen.LayerNorm(param_dtype=float)(x))
        return linen.Dense(3, param_dtype=float)(x.mean(axis=1))


def test_the_layers_of_flax_are_found_with_their_shapes():
    tokens = jnp.asarray(rng.integers(6, size=(5, 3)))
    params = Block().init(jax.random.key(0), tokens)
    found = importance.moments(Block().apply, params, tokens)["params"]
    attention = found["MultiHeadDotProductAttention_0"]
    kernels = {name: attention[name]["kernel"].layout.shape for name in ("query", "key", "value", "out")}
    assert kernels == dict.fromkeys(kernels, (1, 4, 4))
    assert found["Embed_0"]["embedding"].layout.shape == (1, 6, 4)
    assert found["Conv_0"]["kernel"].layout.shape == (1, 8, 4)
    assert found["Dense_0"]["kernel"].layout.shape == (1, 4, 3)
    assert "add" in found["Dense_0"]["bias"].reason
    assert "mul" in found["LayerNorm_0"]["scale"].reason
    # The last layer has the outputs themselves as results.
    factors = importance.kronecker(Block().apply, params, tokens)["params"]["Dense_0"]["kernel"]
    product = np.kron(found["Dense_0"]["kernel"].inputs[0], found["Dense_0"]["kernel"].outputs[0])
    np.testing.assert_allclose(product, np.kron(factors.input_factor, factors.output_factor), rtol=1e-9, atol=1e-12)
