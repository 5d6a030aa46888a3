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
