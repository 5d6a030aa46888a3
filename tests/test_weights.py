"""Weights keep the precision they came in, with errors reported of what is returned; what is no weight is refused."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdtheory import (
    candidates,
    gaussian_channel,
    golden_rules,
    importance,
    low_rank,
    prune,
    quantize,
    training,
    trellis,
)
from rdtheory.codec import model
from rdtheory.schemes import bitstream, scalar
from tests import oracles

R, M = 5, 8
rng = np.random.default_rng(16)
WEIGHTS = rng.normal(size=(R, M))
METRIC, WHOLE = oracles.random_covariance(rng, M), oracles.random_covariance(rng, R * M)
DIAGONAL = rng.uniform(0.1, 2.0, size=(R, M))
BASIS = rng.normal(size=(R * M, 3))


def exact(x):
    return np.asarray(x, np.float64)


def squares(w, w_hat, metric=1.0):
    return np.sum(metric * (exact(w) - exact(w_hat)) ** 2)


def in_rows(w, w_hat, metric):
    lost = exact(w) - exact(w_hat)
    return np.sum((lost @ metric) * lost)


def pruned(function, metric, *arguments):
    def call(w):
        found = function({"a": w, "b": [w[0]]}, *arguments, 0.5)
        both = np.concatenate([exact(leaf).ravel() for leaf in (w, w[0])])
        hat = np.concatenate([exact(leaf).ravel() for leaf in jax.tree.leaves(found.weights_hat)])
        assert found.weights_hat["b"][0].dtype == found.weights_hat["a"].dtype
        return (
            found.weights_hat["a"],
            found.objective,
            in_rows(both, hat, np.diag(metric) if metric.ndim == 1 else metric),
        )

    return call


def codebook(function, *arguments, metric=1.0, fourth=0.0):
    def call(w):
        found = function(w, 4, *arguments)
        w_hat = exact(found.codebook)[np.asarray(found.labels)]
        lost = exact(w) - w_hat
        return found.codebook, found.objective, np.sum(metric * lost**2 + fourth * lost**4)

    return call


def factored(w, found, metric):
    wanted = jnp.asarray(exact(found.left) @ exact(found.right)).astype(w.dtype)
    np.testing.assert_allclose(exact(found.weights_hat), exact(wanted), rtol=float(jnp.finfo(w.dtype).eps))
    return found.weights_hat, found.objective, in_rows(w, found.weights_hat, metric)


def fed_back(w, **quantizer):
    found = quantize.error_feedback(w, METRIC, **quantizer)
    return found.weights_hat, found.objective, in_rows(w, found.weights_hat, METRIC)


def uniform(w):
    found = quantize.uniform(w, DIAGONAL, 1e-3, rows=True)
    return found.weights_hat, found.objective, squares(w, found.weights_hat, DIAGONAL)


def at_rate(w):
    (layer,) = quantize.uniform_at_rate([w], [1.0], 20.0, metrics=[METRIC]).layers
    return layer.weights_hat, layer.objective, in_rows(w, layer.weights_hat, METRIC)


def transformed(w):
    found = quantize.transform(w, METRIC, np.eye(M), 0.3)
    return found.weights_hat, found.distortion, squares(w, found.weights_hat) / R


def trellised(w):
    found = trellis.quantize(w, 0.3)
    decoded = trellis.dequantize(found.labels, found.scale, found.offsets)
    packed = bitstream.dequantize(bitstream.decode(bitstream.encode(trellis.packed(found))))
    np.testing.assert_array_equal(packed, decoded)
    np.testing.assert_array_equal(exact(decoded.astype(found.weights_hat.dtype)), exact(found.weights_hat))
    return found.weights_hat, 0.0, 0.0


def scaled(w):
    return bitstream.dequantize(scalar.quantize(w, 0.3)), 0.0, 0.0


def compressed(w):
    found = model.compress({"a": w}, {"a": rng.normal(size=(60, R))}, relative=0.02)
    np.testing.assert_array_equal(exact(model.decompress(found.data)["a"]), exact(found.weights_hat["a"]))
    return found.weights_hat["a"], 0.0, 0.0


def alone(function, *arguments):
    return lambda w: (function(w, *arguments), 0.0, 0.0)


CHANNEL = gaussian_channel.optimal(METRIC, np.eye(M), 0.5)
BOTH = np.concatenate([DIAGONAL.ravel(), DIAGONAL[0]])
CALLS = {
    "prune.magnitude": pruned(lambda tree, keep: prune.magnitude(tree, keep), np.ones(R * M + M)),
    "prune.weighted": pruned(prune.weighted, BOTH, {"a": DIAGONAL, "b": [DIAGONAL[0]]}),
    "prune.obs": pruned(
        prune.obs,
        oracles.random_covariance(np.random.default_rng(3), R * M + M),
        oracles.random_covariance(np.random.default_rng(3), R * M + M),
    ),
    "quantize.kmeans": codebook(quantize.kmeans, DIAGONAL, metric=DIAGONAL),
    "quantize.quartic": codebook(quantize.quartic, DIAGONAL, DIAGONAL, metric=DIAGONAL, fourth=DIAGONAL),
    "quantize.lloyd": codebook(quantize.lloyd, DIAGONAL, metric=DIAGONAL),
    "quantize.entropy_constrained": codebook(quantize.entropy_constrained, 10.0, DIAGONAL, metric=DIAGONAL),
    "quantize.centroid": alone(quantize.centroid, DIAGONAL, DIAGONAL),
    "quantize.error_feedback": lambda w: fed_back(w, step=0.3),
    "quantize.error_feedback, codebook": lambda w: fed_back(w, codebook=np.array([-1.1, -0.3, 0.0, 0.4, 1.3])),
    "quantize.uniform": uniform,
    "quantize.uniform_at_rate": at_rate,
    "quantize.transform": transformed,
    "low_rank.svd": lambda w: factored(w, low_rank.svd(w, 2), np.eye(M)),
    "low_rank.weighted": lambda w: factored(w, low_rank.weighted(w, np.eye(R), METRIC, 2), METRIC),
    "trellis.quantize": trellised,
    "scalar.quantize": scaled,
    "model.compress": compressed,
    "gaussian_channel.sample": lambda w: (gaussian_channel.sample(jax.random.key(0), CHANNEL, w), 0.0, 0.0),
    "golden_rules.project": alone(golden_rules.project, WHOLE, BASIS),
    "candidates.pruned": lambda w: (candidates.pruned(w[0], 2), 0.0, 0.0),
    "candidates.pruned, projected": lambda w: (candidates.pruned(w[0], 2, METRIC), 0.0, 0.0),
    "candidates.quantized": lambda w: (candidates.quantized(w[0], 2, METRIC), 0.0, 0.0),
}
DECODED = ("scalar.quantize",)  # in no less than float32
# What weights are only looked at by: numbers come of them.
LOOKED_AT = {"golden_rules.residuals"}


def test_every_function_of_weights_is_here():
    named = set()
    for module in (candidates, gaussian_channel, golden_rules, low_rank, prune, quantize, scalar, trellis):
        for name in module.__all__:
            if {"weights", "values"} & inspect.signature(getattr(module, name)).parameters.keys():
                named.add(f"{module.__name__.split('.')[-1]}.{name}")
    assert named - LOOKED_AT <= {name.split(",")[0] for name in CALLS}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, jnp.bfloat16) for name in CALLS), *((name, np.float32) for name in ("trellis.quantize", *DECODED))],
)
def test_weights_keep_their_precision_and_the_error_is_that_of_what_is_returned(name, dtype):
    w = jnp.asarray(WEIGHTS, dtype)
    found, reported, wanted = CALLS[name](w)
    assert found.dtype == (jnp.promote_types(dtype, np.float32) if name in DECODED else dtype)
    np.testing.assert_allclose(reported, wanted, rtol=1e-10)


@pytest.mark.parametrize(
    "name",
    [
        "prune.obs",
        "low_rank.svd",
        "low_rank.weighted",
        "gaussian_channel.sample",
        "golden_rules.project",
        "quantize.kmeans",
        "quantize.lloyd",
        "quantize.centroid",
        "candidates.quantized",
    ],
)
def test_what_is_computed_is_rounded_once(name):
    w = jnp.asarray(WEIGHTS, jnp.bfloat16)
    found, wanted = CALLS[name](w)[0], CALLS[name](w.astype(float))[0]
    rounding = float(jnp.finfo(jnp.bfloat16).eps) * (2 if name.startswith("low_rank") else 1)
    np.testing.assert_allclose(exact(found), exact(wanted), rtol=rounding, atol=rounding * np.abs(wanted).max() / 4)


@pytest.mark.parametrize("dtype", [">f8", ">f4", np.longdouble])
def test_other_byte_orders_and_long_numbers_are_read_as_the_kind_they_are(as_user, dtype):
    w = WEIGHTS.astype(dtype)
    kind = np.dtype(np.float32 if w.itemsize == 4 else np.float64)
    for name in ("prune.magnitude", "quantize.kmeans", "trellis.quantize", "model.compress"):
        found, wanted = (CALLS[name](given)[0] for given in (w, w.astype(kind)))
        assert found.dtype == kind
        if name != "model.compress":  # random inputs
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", [np.int32, np.bool_])
@pytest.mark.parametrize("name", list(CALLS))
def test_what_is_not_floating_is_no_weight(as_user, name, dtype):
    with pytest.raises(TypeError, match=r"must be (an array of )?floating.*to float"):
        CALLS[name](jnp.asarray(WEIGHTS > 0, dtype))


@pytest.mark.parametrize("leaf", [True, 3, np.int32(3), np.arange(3), np.array([True, False])])
def test_a_leaf_that_is_no_weight_is_named_with_the_remedy(as_user, leaf):
    tree, x = {"w": np.ones((2, 2)), "layer": [{"step": leaf}]}, np.ones((3, 2))

    def apply(params, x):
        return x @ params["w"]

    calls = {
        "weights": (
            lambda: prune.magnitude(tree, 0.5),
            lambda: prune.weighted(tree, jax.tree.map(np.ones_like, tree), 0.5),
            lambda: prune.obs(tree, np.eye(4), 0.5),
        ),
        "params": (
            lambda: importance.diagonal(apply, tree, x),
            lambda: importance.full(apply, tree, x),
            lambda: importance.kronecker(apply, tree, x),
            lambda: importance.as_published(apply, tree, x, kind="fisher"),
            lambda: training.fit(apply, tree, x, x, key=jax.random.key(0)),
        ),
    }
    for name, functions in calls.items():
        for call in functions:
            with pytest.raises(TypeError, match=rf"{name}\['layer'\]\[0\]\['step'\] must be .*equinox.partition"):
                call()


def test_without_x64_double_precision_is_single_and_no_warning():
    local = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    with local(False):
        for name in ("prune.obs", "quantize.kmeans", "golden_rules.project"):
            assert CALLS[name](WEIGHTS)[0].dtype == np.float32
        with pytest.raises(ValueError, match="values must be at most 4.6e"):
            quantize.kmeans(np.array([1e30, 2.0]), 2)


def test_training_keeps_the_precision_of_each_leaf():
    params = {"w": jnp.ones((2, 2), jnp.bfloat16), "b": jnp.zeros((1, 2), jnp.float32)}
    x = rng.normal(size=(8, 2))

    def apply(params, x):
        return x @ params["w"] + params["b"]

    fitted = training.fit(
        apply, params, x, x, key=jax.random.key(0), epochs=2, batch_size=4, learning_rate=0.1, progress=False
    )
    assert jax.tree.map(lambda leaf: leaf.dtype, fitted.params) == jax.tree.map(lambda leaf: leaf.dtype, params)
    assert not jnp.array_equal(fitted.params["w"], params["w"])
