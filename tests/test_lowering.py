"""Every function that can be compiled is lowered for an accelerator that is not there: it asks nothing of a CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdtheory as rd

N = 4
P, SQUARE, ONE, VALUES = np.full(N, 1 / N), 1 - np.eye(N), np.ones(()), np.linspace(-1.0, 1.0, 8)
JOINT, CHANNEL, KEY = np.full((2, 2), 0.25), np.array([[0.9, 0.1], [0.2, 0.8]]), jax.random.key(0)
X, Y = np.zeros((3, 2)), np.zeros((3, 1))


def linear(params, inputs):
    return inputs @ params


# Without the functions of NumPy only (channel_simulation, codecs, what counts bytes) and those that share a core.
CASES = {
    "algorithms.accelerated_blahut_arimoto": (P, SQUARE, ONE),
    "algorithms.blahut_arimoto": (P, SQUARE, ONE),
    "algorithms.interior_point": (P, SQUARE, ONE),
    "bottleneck.rate_at": (JOINT, 0.1 * ONE),
    "channel.capacity": (CHANNEL,),
    "channel.capacity_at": (CHANNEL, np.arange(2.0), ONE),
    "closed_form.bernoulli": (0.3 * ONE, 0.1 * ONE),
    "closed_form.laplacian": (ONE, 0.1 * ONE),
    "closed_form.vector_gaussian": (SQUARE + 2 * np.eye(N), ONE),
    "discrete.curve": (P, SQUARE, np.ones(3)),
    "discrete.distortion_at": (P, SQUARE, ONE),
    "discrete.lagrangian": (P, SQUARE, ONE),
    "discrete.rate_at": (P, SQUARE, 0.1 * ONE),
    "discrete.rate_at of many letters": (np.full(200, 1 / 200), np.ones((200, 200)), 0.1 * ONE),
    "gaussian.water_filling": (P, ONE),
    "golden_rules.residuals": (P, P, P),
    "information.divergence": (P, P),
    "linear.lower_bound": (np.eye(N), P, ONE),
    "linear.rate": (np.eye(N), np.eye(N), ONE),
    "low_rank.svd": (SQUARE, 2),
    "perception.rate_at": (P, SQUARE, 0.1 * ONE, 0.1 * ONE),
    "perception.classification_rate_at": (P, SQUARE, SQUARE, 0.2 * ONE, 0.2 * ONE),
    "gaussian_channel.optimal": (np.eye(N), np.eye(N), ONE),
    "prune.magnitude": (VALUES, 0.5),
    "prune.obs": (VALUES, np.eye(8), 0.5),
    "quantize.error_feedback": (VALUES, np.eye(8), {"step": 0.1}),
    "quantize.lloyd": (VALUES, 2),
    "random_codebook.measure": (KEY, P, P, P, 8, {"codebooks": 2, "vectors": 2}),
    "relu.distortion": (VALUES, VALUES, np.eye(8)),
    "relu.importance": (VALUES, np.eye(8)),
    "scalar.quantize": (VALUES, 0.1 * ONE),
    "side_information.conditional_rate_at": (JOINT, SQUARE[:2, :2], 0.1 * ONE),
    "side_information.wyner_ziv_rate_at": (JOINT, SQUARE[:2, :2], 0.1 * ONE),
    "trellis.quantize": (VALUES, 0.1 * ONE),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_lowered_for_cuda(name):
    topic, function = name.split()[0].split(".")
    *arguments, last = CASES[name]
    options = last if isinstance(last, dict) else {}
    arguments = arguments if options else [*arguments, last]
    static = tuple(k for k, value in enumerate(arguments) if isinstance(value, int | float))

    def call(*args):
        return getattr(getattr(rd, topic), function)(*args, **options)

    traced = jax.jit(call, static_argnums=static).trace(*arguments)
    assert "stablehlo" in traced.lower(lowering_platforms=("cuda",)).as_text()


def test_an_importance_is_lowered_for_cuda():
    params, inputs = jnp.zeros((2, 1)), jnp.zeros((3, 2))
    for function in (rd.importance.diagonal, rd.importance.full):
        traced = jax.jit(lambda params, inputs, function=function: function(linear, params, inputs)).trace(
            params, inputs
        )
        assert "stablehlo" in traced.lower(lowering_platforms=("cuda",)).as_text()
