"""Files of models: what other programs write is read, what they read is written, and nothing else is believed."""

import io
import json
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from rdtheory.codec import container, files

RNG = np.random.default_rng(0)
ARRAYS = {
    "w": RNG.normal(size=(4, 3)).astype(np.float32),
    "half": RNG.normal(size=(2, 5)).astype(np.float16),
    "brain": RNG.normal(size=(3, 3)).astype(ml_dtypes.bfloat16),
    "double": np.array([np.nan, np.inf, -0.0]),
    "ids": np.arange(-3, 3),
    "bytes": np.arange(5, dtype=np.uint8),
    "flag": np.array([True, False]),
    "scalar": np.array(2.5, np.float32),
    "empty": np.zeros((0, 4), np.float32),
}
NUMPY = {name: array for name, array in ARRAYS.items() if name != "brain"}
SECONDS = 2.0  # of processor, for any damaged file


def model(arrays=ARRAYS, raw=True):
    made = []
    for name, array in arrays.items():
        if raw:
            made.append(numpy_helper.from_array(array, name))
        else:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            made.append(helper.make_tensor(name, kind, array.shape, array.ravel().tolist()))
    graph = helper.make_graph([], "network", [], [], initializer=made)
    return helper.make_model(graph).SerializeToString()


def same(found, wanted):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), name


def written(path, data):
    path.write_bytes(data)
    return path


def test_every_kind_of_file_gives_every_bit(tmp_path):
    found, metadata = files.read(written(tmp_path / "m.safetensors", save(ARRAYS, {"format": "pt"})))
    same(found, ARRAYS)
    assert metadata == {"format": "pt"}
    same(files.read(written(tmp_path / "m.onnx", model()))[0], ARRAYS)
    same(files.read(written(tmp_path / "typed.onnx", model(NUMPY, raw=False)))[0], NUMPY)
    np.savez(tmp_path / "m.npz", **NUMPY)
    same(files.read(tmp_path / "m.npz")[0], NUMPY)


def test_what_is_written_is_what_others_read(tmp_path):
    for name, arrays in (("m.safetensors", ARRAYS), ("m.npz", NUMPY), ("m", NUMPY)):
        files.write(Path(name), stream := io.BytesIO(), arrays, {"format": "pt"})
        if name.endswith("safetensors"):
            found, metadata = files.read(written(tmp_path / name, stream.getvalue()))
            assert metadata == {"format": "pt"}
        else:
            found = dict(np.load(io.BytesIO(stream.getvalue())))
        same(found, arrays)
    with pytest.raises(ValueError, match=r"m\.npz: brain is bfloat16.*\.safetensors"):
        files.write(Path("m.npz"), io.BytesIO(), ARRAYS, {})
    with pytest.raises(ValueError, match=r"m\.pt: choose a name that ends with"):
        files.write(Path("m.pt"), io.BytesIO(), ARRAYS, {})


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    path = written(tmp_path / "m.safetensors", save(ARRAYS))
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(ModuleNotFoundError, match=r"safetensors is missing.*pip install 'rdtheory\[files\]'"):
        files.read(path)


# Hostile -------------------------------------------------------------------------------------------------------------


def tensors(header, data=b""):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a sound file of safetensors"),
        (b"\xff" * 8, "not a sound file"),
        ((10**15).to_bytes(8, "little") + b"{}", "not a sound file"),
        ((100).to_bytes(8, "little") + b"{}", "not a sound file"),
        (tensors({"w": tensor()}), "not a sound file"),
        (tensors({"w": tensor()}, bytes(7)), "not a sound file"),
        (tensors({"w": tensor()}, bytes(9)), "not a sound file"),
        (tensors({"w": tensor(offsets=(8, 0))}, bytes(8)), "not a sound file"),
        (tensors({"w": tensor(offsets=(0, 8)), "v": tensor(offsets=(4, 12))}, bytes(12)), "not a sound file"),
        (tensors({"w": tensor(offsets=(4, 12))}, bytes(12)), "not a sound file"),
        (tensors({"w": tensor("F99")}, bytes(8)), "not a sound file"),
        (tensors({"w": tensor("F32", (10**12,), (0, 4 * 10**12))}, bytes(8)), "not a sound file"),
        (tensors({"w": tensor("F32", (10**12, 0, 10**12), (0, 0))}), "w has the shape|not a sound file"),
        (tensors({"w": tensor("F32", (-2,))}, bytes(8)), "not a sound file"),
        (tensors({"w": tensor("F8_E8M0", (8,))}, bytes(8)), "w has dtype F8_E8M0, of which nothing is known"),
        (tensors({}), "holds no array"),
        (tensors([1]), "not a sound file"),
    ],
)
def test_tensors_that_are_not_there_are_refused(tmp_path, data, said):
    with pytest.raises(ValueError, match=rf"m\.safetensors.*({said})"):
        files.read(written(tmp_path / "m.safetensors", data))


def initializer(**fields):
    made = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], raw_data=bytes(8))
    for name, value in fields.items():
        made.ClearField(name)
        if isinstance(value, list):
            getattr(made, name).extend(value)
        elif value is not None:
            setattr(made, name, value)
    return helper.make_model(helper.make_graph([], "g", [], [], initializer=[made])).SerializeToString()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xff\xff\xff", "not a sound file of ONNX"),
        (b"", "holds no array"),
        (model()[:-40], "not a sound file of ONNX"),
        (initializer(dims=[10**12]), "needs 4,000,000,000,000 bytes, and has 8"),
        (initializer(dims=[-1, -2]), "needs 8 bytes"),
        (initializer(dims=[10**12, 10**12, 0], raw_data=b""), "w has the shape"),
        (initializer(dims=[3]), "needs 12 bytes, and has 8"),
        (initializer(raw_data=None, float_data=[1.0]), "needs 2 numbers, and has 1"),
        (initializer(raw_data=None, dims=[10**12]), "needs 1,000,000,000,000 numbers, and has 0"),
        (initializer(data_type=77), "a dtype of number 77"),
        (
            initializer(data_type=TensorProto.STRING, raw_data=None, string_data=[b"a", b"b"]),
            "of which nothing is known",
        ),
        (initializer(data_type=TensorProto.COMPLEX64, dims=[1]), "of which nothing is known"),
        (initializer(data_location=TensorProto.EXTERNAL, raw_data=None), "w is in another file"),
    ],
)
def test_initializers_that_are_not_there_are_refused(tmp_path, data, said):
    with pytest.raises(ValueError, match=rf"m\.onnx.*({said})"):
        files.read(written(tmp_path / "m.onnx", data))


def test_initializers_of_one_name_are_refused(tmp_path):
    one = numpy_helper.from_array(np.ones(2), "w")
    twice = helper.make_model(helper.make_graph([], "g", [], [], initializer=[one, one])).SerializeToString()
    with pytest.raises(ValueError, match="holds 'w' twice"):
        files.read(written(tmp_path / "m.onnx", twice))


def mutated(rng, data):
    """One to three changes: of a bit, a byte, a stretch removed, inserted or doubled; half of them near the start."""
    body = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(min(len(body), 120) if rng.random() < 0.5 else len(body)))
        kind, stretch = rng.integers(5), int(rng.integers(1, 30))
        if kind == 0:
            body[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            body[place] = int(rng.integers(256))
        elif kind == 2:
            del body[place : place + stretch]
        elif kind == 3:
            body[place:place] = rng.integers(0, 256, stretch).astype(np.uint8).tobytes()
        else:
            body[place:place] = body[place : place + stretch]
        if not body:
            break
    return bytes(body)


@pytest.mark.parametrize("kind", ["safetensors", "onnx", "npz"])
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, kind):
    rng, path = np.random.default_rng(1), tmp_path / f"m.{kind}"
    stream = io.BytesIO()
    np.savez(stream, **NUMPY)
    whole = {"safetensors": save(ARRAYS), "onnx": model(), "npz": stream.getvalue()}[kind]
    read = refused = 0
    for turn in range(300):
        data = mutated(rng, whole) if turn % 4 else whole[: rng.integers(len(whole))]
        start = time.process_time()
        try:
            found, _ = files.read(written(path, data))
        except ValueError as error:
            assert path.name in str(error) and len(str(error).splitlines()) == 1
            refused += 1
        else:
            read += 1
            assert all(array.dtype in container.DTYPES.values() for array in found.values())
        assert time.process_time() - start < SECONDS
    assert refused > 100 and read > 0, "changes of entries leave a sound file"


def test_the_bitstream_of_a_model_is_not_believed_either():
    """Whatever its header tells of names, dtypes and shapes, sealed with a checksum that fits."""
    from rdtheory import bitstream
    from rdtheory.results import Quantized

    planes = [Quantized(np.arange(6, dtype=np.uint8)) for _ in range(4)]

    def told(arrays, leaves=None, **more):
        text = json.dumps({"arrays": arrays, **more})
        return bitstream.encode({text: [planes] if leaves is None else leaves})

    assert container.unpack(told([["w", "float32", [2, 3], "kept"]]))[0]["w"].shape == (2, 3)
    assert container.unpack(told([["w", "float32", [0, 3], "kept"]], [[]]))[0]["w"].shape == (0, 3)
    for data in (
        told([["w", "float32", [10**12], "kept"]]),
        told([["w", "float64", [2, 3], "kept"]]),
        told([["w", "float32", [0, 10**12, 10**12], "kept"]], [[]]),
        told([["w", "float99", [2, 3], "kept"]]),
        told([["w", "float32", [-2, -3], "kept"]]),
        told([["w", "float32", ["2", 3], "kept"]]),
        told([["w", "float32", [2, 3], "lost"]]),
        told([["w", "float32", [2, 3], "inputs first"]]),
        told([["w", "float32", [], "inputs first"]]),
        told([["w", "float32", 6, "kept"]]),
        told([[["w"], "float32", [6], "kept"]]),
        told([["w", [], [6], "kept"]]),
        told([["w", "float32", [6], {}]]),
        told([["w", "bool", [6], "kept"]], [planes[:1]]),
        told([["w", "float32", [6], "kept"]] * 2, [planes, planes]),
        told([["w", "float32", [6], "kept"]], []),
        told([["w", "float32", [6], "kept"]], metadata={"a": 1}),
        told([["w", "float32", [6], "kept"]], metadata=[]),
        told({"w": 1}),
        told(7),
        bitstream.encode({"not json": [planes]}),
        bitstream.encode({"[" * 100_000: [planes]}),
        bitstream.encode({"{}": [planes]}),
    ):
        with pytest.raises(ValueError):
            container.unpack(data)
