"""Layers to bytes within a distortion: what is claimed is measured again from the decoded weights and the inputs."""

import numpy as np
import pytest

import rdtheory as rd
from rdtheory.codec import linear

RNG = np.random.default_rng(5)
X = RNG.normal(size=(300, 12)) @ RNG.normal(size=(12, 12)) * np.geomspace(1, 0.05, 12)
W = RNG.normal(size=(12, 40)).astype(np.float32)


def measured(weights, inputs, weights_hat):
    """Mean over the examples of the squared change of the outputs."""
    changes = [inputs[name] @ (weights[name] - np.asarray(weights_hat[name], float)) for name in weights]
    return sum(float(np.mean(np.sum(change.reshape(len(change), -1) ** 2, axis=1))) for change in changes)


@pytest.fixture(scope="module")
def compressed():
    return {D: linear.compress({"w": W}, {"x": X}, D) for D in (30.0, 1.0, 0.01)}


def test_the_distortion_is_met_from_below_and_is_that_of_what_is_decoded(compressed):
    for D, found in compressed.items():
        decoded = linear.decompress(found.data)
        np.testing.assert_array_equal(decoded["w"], found.weights_hat["w"])
        assert decoded["w"].shape == W.shape and decoded["w"].dtype == W.dtype
        np.testing.assert_allclose(found.distortion, measured({"w": W}, {"w": X}, decoded), rtol=1e-10)
        assert 0.95 * D < found.distortion <= D
        assert found.rate == 8 * len(found.data) / W.size


def test_the_bound_is_that_of_the_linear_model_and_no_code_is_below(compressed):
    moments, variance = X.T @ X / len(X), float(np.mean(np.asarray(W, float) ** 2))
    for found in compressed.values():
        exact = rd.linear.rate(variance * np.eye(12), moments, found.distortion / 40).rate * 40 / W.size
        np.testing.assert_allclose(found.bound, exact, rtol=1e-9)
        assert found.bound < found.rate
    rates = [found.rate for found in compressed.values()]
    assert rates == sorted(rates)


def test_many_outputs_and_separate_inputs_come_within_a_third_of_a_bit():
    weights, inputs = RNG.normal(size=(16, 1500)), RNG.normal(size=(400, 16)) * np.geomspace(1, 0.1, 16)
    found = linear.compress({"w": weights}, {"w": inputs}, 10.0)
    assert 0.15 < found.rate - found.bound < 0.33


def test_several_layers_share_one_water_level():
    weights = {"first": W, "second": RNG.normal(size=7) / 3}
    inputs = {"first": X, "second": RNG.normal(size=(50, 7)), "unused": np.ones((2, 2))}
    found = linear.compress(weights, inputs, 2.0)
    np.testing.assert_allclose(found.distortion, measured(weights, inputs, found.weights_hat), rtol=1e-10)
    assert 1.9 < found.distortion <= 2.0
    parts = {name: rd.bitstream.decode(found.data)[name] for name in weights}
    assert parts["first"].step.dtype == np.float32 and parts["second"].step.dtype == np.float64


def test_inputs_that_never_vary_cost_nothing_and_break_nothing():
    inputs = X * (np.arange(12) < 6)
    found = linear.compress({"w": W}, {"x": inputs}, 1.0)
    whole = linear.compress({"w": W}, {"x": X}, 1.0)
    assert found.distortion <= 1.0 and found.rate < whole.rate
    assert np.isfinite(found.weights_hat["w"]).all()


def test_a_distortion_that_nothing_need_be_described_for_gives_zeros():
    found = linear.compress({"w": W}, {"x": X}, 1e9)
    assert not found.weights_hat["w"].any() and found.bound == 0.0 and found.rate < 1.0
    still = linear.compress({"w": W}, {"x": np.zeros((3, 12))}, 1e-9)
    assert still.distortion == 0.0 and not still.weights_hat["w"].any()


@pytest.mark.parametrize(
    ("weights", "inputs", "D", "said"),
    [
        ({"w": W}, {"x": X}, 0.0, "distortion must be > 0"),
        ({"w": W}, {"x": X}, np.nan, "distortion must be > 0"),
        ({"w": W}, {"x": X[:, :5]}, 1.0, r"shape \(examples, 12\)"),
        ({"w": W, "v": W}, {"w": X}, 1.0, "no inputs for the weights 'v'"),
        ({"w": np.ones((2, 2, 2))}, {"x": np.ones((3, 2))}, 1.0, r"\(inputs, outputs\)"),
    ],
)
def test_what_does_not_go_together_is_named(weights, inputs, D, said):
    with pytest.raises(ValueError, match=said):
        linear.compress(weights, inputs, D)


@pytest.mark.parametrize("tree", [None, [rd.scalar.quantize(np.ones(3), 0.5)], {"w": {"deeper": None}}])
def test_a_bitstream_of_something_else_is_refused(tree):
    with pytest.raises(ValueError, match="arrays of weights by name"):
        linear.decompress(rd.bitstream.encode(tree))


def test_progress_is_told_as_often_as_announced():
    told = []
    linear.compress({"w": W}, {"x": X}, 1.0, progress=lambda: told.append(1))
    assert len(told) == linear.TURNS
