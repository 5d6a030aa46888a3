"""Models to bytes within what was asked for: what is claimed is measured again from the decoded weights."""

import warnings

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import rdtheory as rd
from rdtheory.codec import container
from rdtheory.network.gaussian_prior import components

RNG = np.random.default_rng(5)
X = RNG.normal(size=(600, 12)) @ RNG.normal(size=(12, 12)) * np.geomspace(1, 0.05, 12)
W = RNG.normal(size=(12, 200)).astype(np.float32)
HELD_OUT = rd.calibration.split(600).held_out


def measured(weights, inputs, weights_hat):
    """Mean over the examples of the squared change of the outputs."""
    return float(np.mean(np.sum((inputs @ (np.asarray(weights, float) - np.asarray(weights_hat, float))) ** 2, axis=1)))


@pytest.fixture(scope="module")
def compressed():
    return {D: rd.compress({"w": W}, {"x": X}, distortion=D) for D in (300.0, 10.0, 0.1)}


# What is asked for ---------------------------------------------------------------------------------------------------


def test_the_distortion_is_met_from_below_on_inputs_held_out_and_is_that_of_what_is_decoded(compressed):
    for D, found in compressed.items():
        decoded = rd.decompress(found.data)
        np.testing.assert_array_equal(decoded["w"], found.weights_hat["w"])
        assert decoded["w"].shape == W.shape and decoded["w"].dtype == W.dtype
        np.testing.assert_allclose(found.distortion, measured(W, X[HELD_OUT], decoded["w"]), rtol=1e-10)
        assert 0.95 * D < found.distortion <= D
        assert found.rate == 8 * len(found.data) / W.size
        (layer,) = found.layers
        assert layer.held_out == 120 and 0 < layer.standard_error < 0.2 * D
        np.testing.assert_allclose(layer.power, measured(W, X[HELD_OUT], 0 * W), rtol=1e-10)


def test_the_bound_is_r_of_d_of_row_times_column_variances_and_no_code_is_below(compressed):
    moments, fitted = X.T @ X / len(X), rd.network.prior(W)
    for found in compressed.values():
        exact = (
            rd.linear.layer_rate(moments, fitted.row_variances, fitted.column_variances, found.distortion).rate / W.size
        )
        np.testing.assert_allclose(found.bound, exact, rtol=1e-9)
        assert found.bound < found.rate
    rates = [found.rate for found in compressed.values()]
    assert rates == sorted(rates)


def test_many_outputs_come_within_a_fifth_of_a_bit():
    """Of which an eighth are the price of a decoder that does not know the moments, the code's loss and the steps."""
    weights, inputs = RNG.normal(size=(16, 4000)), RNG.normal(size=(2000, 16)) * np.geomspace(1, 0.1, 16)
    found = rd.compress({"w": weights}, {"w": inputs}, relative=0.02)
    assert 0.05 < found.rate - found.bound < 0.16
    better = rd.compress({"w": weights}, {"w": inputs}, relative=0.02, states=256)
    assert better.rate < found.rate - 0.02


@pytest.mark.parametrize("share", [0.3, 0.01, 1e-4])
def test_each_layer_loses_its_share(share):
    weights = {"one": W, "other": 30 * RNG.normal(size=(12, 150)), "bias": np.ones(5)}
    inputs = {"one": X, "other": 0.1 * RNG.normal(size=(200, 12))}
    found = rd.compress(weights, inputs, relative=share)
    assert found.kept == ("bias",)
    for layer in found.layers:
        assert 0.95 * share < layer.distortion / layer.power <= share


@pytest.mark.parametrize("bits", [0.7, 2.0, 5.0])
def test_so_many_bits_are_spent(bits):
    weights = {"one": W, "other": 30 * RNG.normal(size=(12, 150)).astype(np.float32)}
    inputs = {"one": X, "other": 0.1 * RNG.normal(size=(200, 12))}
    found = rd.compress(weights, inputs, bits=bits)
    assert bits - 0.04 < found.rate <= bits
    # In another unit a layer is as important as before.
    other = rd.compress(weights | {"other": 2.0**10 * weights["other"]}, inputs, bits=bits)
    np.testing.assert_allclose(other.rate, found.rate, atol=0.02)
    np.testing.assert_allclose(other.layers[1].distortion, 2.0**20 * found.layers[1].distortion, rtol=0.03)


def test_several_layers_share_one_water_level():
    weights = {"first": W, "second": RNG.normal(size=(7, 300)) / 3}
    inputs = {"first": X, "second": RNG.normal(size=(100, 7))}
    found = rd.compress(weights, inputs, distortion=20.0)
    first, second = found.layers
    np.testing.assert_allclose(found.distortion, first.distortion + second.distortion)
    assert 19 < found.distortion <= 20
    both = [
        components(inputs[name].T @ inputs[name] / len(inputs[name]), rd.network.prior(weights[name]))
        for name in weights
    ]
    wanted = rd.gaussian.water_filling(np.concatenate(both), found.distortion)
    np.testing.assert_allclose(first.distortion, wanted.distortions[: W.size].sum(), rtol=0.1)
    np.testing.assert_allclose(found.bound * 4500, wanted.rate, rtol=0.01)  # apart at their distortions, or together


# What there is to compress -------------------------------------------------------------------------------------------


def test_what_has_no_inputs_comes_back_bit_for_bit():
    model = {
        "w": W.astype(ml_dtypes.bfloat16),
        "bias": RNG.normal(size=200).astype(ml_dtypes.bfloat16),
        "norm": RNG.normal(size=12).astype(np.float16),
        "table": RNG.normal(size=(30, 4)),
        "ids": np.arange(-3, 9).reshape(3, 4),
        "mask": np.array([True, False]),
        "infinite": np.array([[np.nan, -np.inf, -0.0]], np.float32),
        "scalar": np.array(2, np.uint64),
        "empty": np.zeros((0, 3), np.int8),
        "small": np.arange(8, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn),
    }
    found = rd.compress(model, {"w": X}, bits=3.0)
    decoded = rd.decompress(found.data)
    assert list(decoded) == sorted(model) and set(found.kept) == set(model) - {"w"}
    for name in found.kept:
        assert decoded[name].dtype == model[name].dtype and decoded[name].shape == model[name].shape
        assert decoded[name].tobytes() == model[name].tobytes()
    assert decoded["w"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(decoded["w"], found.weights_hat["w"])
    np.testing.assert_allclose(found.distortion, measured(model["w"], X[HELD_OUT], decoded["w"]), rtol=1e-10)
    assert found.before == sum(array.nbytes for array in model.values())


def test_a_pytree_comes_back_in_its_structure():
    network = rd.networks.mlp([12, 40, 10])
    params = network.init(jax.random.key(0))
    hidden = np.maximum(X @ np.asarray(params[0].weights), 0)
    told = jax.tree.map(lambda leaf: None, params)
    inputs = (told[0]._replace(weights=X), told[1]._replace(weights=hidden))
    found = rd.compress(params, inputs, relative=0.01)
    assert jax.tree.structure(found.weights_hat) == jax.tree.structure(params)
    assert [layer.name for layer in found.layers] == ["0/weights", "1/weights"]
    back = rd.decompress(found.data, like=params)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, found.weights_hat)
    np.testing.assert_array_equal(back[0].bias, params[0].bias)
    assert set(rd.decompress(found.data)) == {"0/weights", "0/bias", "1/weights", "1/bias"}
    with pytest.raises(ValueError, match="like has an array '0/weights' of shape"):
        rd.decompress(found.data, like=network.init(jax.random.key(0))[::-1])
    alone = rd.compress(jnp.asarray(W), X, bits=2.0)
    assert alone.weights_hat.shape == W.shape


def test_outputs_may_come_first_and_kernels_are_matrices():
    kernel = RNG.normal(size=(3, 4, 150)).astype(np.float32)
    found = rd.compress({"kernel": kernel}, {"x": X}, relative=0.01)
    turned = rd.compress({"kernel": np.ascontiguousarray(kernel.transpose(2, 0, 1))}, {"x": X}, relative=0.01)
    np.testing.assert_array_equal(turned.weights_hat["kernel"].transpose(1, 2, 0), found.weights_hat["kernel"])
    assert measured(kernel.reshape(12, -1), X[HELD_OUT], found.weights_hat["kernel"].reshape(12, -1)) == pytest.approx(
        found.distortion
    )


def test_a_square_layer_must_say_how_it_stands():
    square, wide = RNG.normal(size=(12, 12)), RNG.normal(size=(30, 12))
    with pytest.raises(ValueError, match="'square' are square.*--outputs-first"):
        rd.compress({"square": square}, {"square": X}, relative=0.1)
    one = rd.compress({"square": square}, {"square": X}, relative=0.1, outputs_first=True)
    other = rd.compress({"square": square.T}, {"square": X}, relative=0.1, outputs_first=False)
    np.testing.assert_array_equal(one.weights_hat["square"].T, other.weights_hat["square"])
    # Or another layer does.
    by_other = rd.compress({"square": square, "wide": wide}, {"square": X, "wide": X}, relative=0.1)
    np.testing.assert_array_equal(by_other.weights_hat["square"], one.weights_hat["square"])


def test_moments_in_place_of_inputs_hold_nothing_out():
    moments = X.T @ X / len(X)
    found = rd.compress({"w": W}, {"w": moments}, relative=0.01)
    (layer,) = found.layers
    lost = W - np.asarray(found.weights_hat["w"], float)
    np.testing.assert_allclose(layer.distortion, np.sum(lost * (moments @ lost)), rtol=1e-10)
    assert layer.held_out == 0 and np.isnan(layer.standard_error)
    shrunk = rd.calibration.moments(X)
    other = rd.compress({"w": W}, {"w": shrunk}, relative=0.01)
    np.testing.assert_allclose(other.layers[0].power, np.sum(W * (shrunk.moments @ W)), rtol=1e-6)
    np.testing.assert_array_equal(
        rd.compress({"w": W}, {"w": X}, relative=0.01, held_out=0.0, shrinkage=0.0).weights_hat["w"],
        found.weights_hat["w"],
    )


def test_moments_that_are_found_in_a_model_say_how_its_layers_stand():
    def apply(params, x):
        hidden = jnp.maximum(x @ params["first"].reshape(-1, 30), 0)
        return (params["second"] @ jnp.maximum(params["square"] @ hidden.T, 0)).T

    rng = np.random.default_rng(8)
    shapes = {"first": (3, 4, 30), "square": (30, 30), "second": (40, 30)}
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    found = rd.compress(params, rd.importance.moments(apply, params, X), relative=0.01)
    hidden = np.maximum(X @ params["first"].reshape(-1, 30), 0)
    second = np.maximum(hidden @ params["square"].T, 0)
    by_rows = rd.compress(params, {"first": X, "second": second}, relative=0.01, held_out=0.0)
    assert [layer.name for layer in found.layers] == ["first", "second", "square"]
    for layer, other in zip(found.layers, by_rows.layers, strict=False):
        assert layer.name == other.name and layer.held_out == 0
        np.testing.assert_allclose(layer.power, other.power, rtol=1e-3)
        np.testing.assert_allclose(layer.bound, other.bound, atol=0.02)  # of distortions 2 % apart
    lost = (params["square"] - found.weights_hat["square"].astype(float)).T
    coded_for = rd.calibration.shrunk(hidden.T @ hidden / len(hidden), len(hidden)).moments
    np.testing.assert_allclose(np.sum(lost * (coded_for @ lost)), found.layers[2].distortion, rtol=1e-3)


# Honesty -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [32, 64, 128, 640])
def test_the_distortion_that_is_told_is_the_true_one_however_few_the_inputs(n):
    m, rng = 64, np.random.default_rng(n)
    sigma = 0.9 ** np.abs(np.subtract.outer(np.arange(m), np.arange(m)))
    weights, inputs = rng.normal(size=(m, 100)), rng.normal(size=(n, m)) @ np.linalg.cholesky(sigma).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = rd.compress(weights, inputs, relative=0.01, few=True)
    lost = weights - found.weights_hat
    assert abs(found.distortion - np.sum(lost * (sigma @ lost))) < 3 * found.standard_error


def test_few_inputs_are_told_and_fewer_refused():
    with pytest.warns(UserWarning, match="inputs of 'w' are 60 for 12 dimensions: 60 more"):
        rd.compress({"w": W}, {"w": X[:60]}, relative=0.1)
    with pytest.raises(ValueError, match="inputs of 'w' are 8 for 12 dimensions.*give 4 more at least, better 112"):
        rd.compress({"w": W}, {"w": X[:8]}, relative=0.1)


def test_layers_and_inputs_of_zeros_have_the_bound_zero():
    for weights, inputs in ((np.zeros((12, 200), np.float32), X), (W, np.zeros((200, 12)))):
        for asked in ({"relative": 0.01}, {"bits": 1.0}, {"distortion": 1e-9}):
            found = rd.compress({"w": weights, "b": np.ones(3)}, {"w": inputs}, **asked)
            assert found.distortion == 0.0 and found.bound == 0.0 and 0 <= found.rate < 0.4
            assert not found.weights_hat["w"].any()
    assert rd.compress({"w": W}, {"w": X}, distortion=1e9).bound == 0.0


def test_inputs_that_never_vary_cost_nothing_and_break_nothing():
    inputs = X * (np.arange(12) < 6)
    found, whole = (rd.compress({"w": W}, {"x": x}, relative=0.01) for x in (inputs, X))
    assert found.rate < whole.rate
    assert np.isfinite(found.weights_hat["w"]).all()


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_a_distortion_out_of_reach_names_the_least_that_was_reached(dtype):
    with pytest.raises(ValueError, match=r"1e-40 is out of reach of 'w': the least .* is [0-9.]+(e-[0-9]+)?$"):
        rd.compress({"w": W.astype(dtype)}, {"w": X}, distortion=1e-40)
    with pytest.raises(ValueError, match="0.001 bits per weight are out of reach of 'w': the fewest"):
        rd.compress({"w": W}, {"w": X}, bits=0.001)


def test_an_outlier_is_told():
    weights = W.copy()
    weights[3, 5] = 1e8
    with pytest.warns(UserWarning, match=r"one weight of 'w', 1e\+08, has 100% of their power"):
        found = rd.compress({"w": weights}, {"w": X}, relative=0.01)
    assert np.isfinite(found.bound) and found.distortion <= 0.01 * found.layers[0].power


def test_a_rate_below_the_bound_can_only_be_the_prior_s_fault():
    """Weights of two sizes at random places take less than Gaussian ones of their variances."""
    sparse = RNG.normal(size=(60, 600)) * (RNG.random((60, 600)) < 0.02)
    with pytest.warns(UserWarning, match="'w' are not Gaussian.*may take less than R"):
        found = rd.compress({"w": sparse}, {"w": np.eye(60)}, relative=0.03)
    (layer,) = found.layers
    assert layer.kurtosis > 20 and np.isinf(layer.divergence)
    assert found.rate < found.bound


# What does not go together -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "inputs", "asked", "error", "said"),
    [
        ({"w": W}, {"x": X}, {"distortion": 0.0}, ValueError, "distortion must be > 0"),
        ({"w": W}, {"x": X}, {"relative": np.nan}, ValueError, "relative must be > 0"),
        ({"w": W}, {"x": X}, {}, ValueError, "give one of relative, bits and distortion, got none"),
        ({"w": W}, {"x": X}, {"bits": 1.0, "relative": 1.0}, ValueError, "got relative, bits"),
        ({"w": W}, {"x": X}, {"bits": 1.0, "states": 5}, ValueError, "states"),
        ({"w": W}, {"x": X}, {"bits": 1.0, "held_out": 1.0}, ValueError, "held_out must be"),
        ({"w": W}, {"x": X[:, :5]}, {"bits": 1.0}, ValueError, r"inputs of 'w'.*shape \(12, 200\).*got \(600, 5\)"),
        ({"w": W}, {"x": X[0]}, {"bits": 1.0}, ValueError, r"inputs of 'w' must be of shape \(examples, inputs\)"),
        ({"w": W, "v": W}, {"x": X}, {"bits": 1.0}, ValueError, "inputs named 'x' and no weights of that name"),
        ({"weight": W, "v": W}, {"weigth": X}, {"bits": 1.0}, ValueError, "did you mean 'weight'"),
        ({"w": W.astype(int)}, {"w": X}, {"bits": 1.0}, TypeError, "'w' must be floating, of .* got dtype int64"),
        ({"w": W}, {"w": np.full((20, 12), np.nan)}, {"bits": 1.0}, ValueError, "inputs of 'w' must be finite"),
        ({"w": W * np.nan}, {"w": X}, {"bits": 1.0}, ValueError, "weights 'w' must be finite"),
        (
            {"w": W},
            {"w": np.diag([-1.0] + 11 * [1.0])},
            {"bits": 1.0},
            ValueError,
            "moments of 'w' must be positive semi",
        ),
        ({"w": W, "z": np.ones(3, complex)}, {"w": X}, {"bits": 1.0}, TypeError, "'z' has dtype complex128"),
        ({"a/b": W, "a": {"b": W}}, {"a/b": X}, {"bits": 1.0}, ValueError, "two arrays of the name 'a/b'"),
        ({}, {"w": X}, {"bits": 1.0}, ValueError, "params must hold at least one array"),
    ],
)
def test_what_does_not_go_together_is_named(weights, inputs, asked, error, said):
    with pytest.raises(error, match=said):
        rd.compress(weights, inputs, **asked)


@pytest.mark.parametrize("tree", [None, [rd.scalar.quantize(np.ones(3), 0.5)], {"w": {"deeper": None}}])
def test_a_bitstream_of_something_else_is_refused(tree):
    with pytest.raises(ValueError, match="arrays of weights by name"):
        rd.decompress(rd.bitstream.encode(tree))


def test_files_of_quantized_arrays_alone_are_read():
    leaf = rd.scalar.quantize(W, 0.25)
    np.testing.assert_array_equal(
        rd.decompress(rd.bitstream.encode({"w": leaf}))["w"], np.asarray(rd.bitstream.dequantize(leaf))
    )


def test_the_work_is_told():
    told = []
    rd.compress({"w": W}, {"x": X}, relative=0.1, progress=told.append)
    assert told[0].startswith("w, 1 of 1") and told[-1] == "writing"


def test_metadata_come_back():
    found = rd.compress({"w": W}, {"x": X}, bits=1.0, metadata={"format": "pt"})
    assert container.unpack(found.data)[1] == {"format": "pt"}
