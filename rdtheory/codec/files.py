"""Files of arrays that others made and that others read: .safetensors, .npz and .npy, and the initializers of .onnx.

Nothing in them is believed before it is checked: every problem raises ``ValueError`` naming the file, and no memory is
taken for an array that is not there.
"""

import importlib
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

from rdtheory.codec import npz
from rdtheory.codec.container import DTYPES

SAFETENSORS = {
    "BOOL": "bool",
    **{
        f"{letter}{bits}": f"{kind}{bits}" for letter, kind in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
    },
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
SUFFIXES = (".safetensors", ".npz", "")


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a file by name, and what it says of itself.

    Parameters
    ----------
    path : .safetensors; .onnx, of which the initializers are read; or what ``numpy.savez`` or ``numpy.save`` wrote.

    Raises
    ------
    ValueError : a damaged or foreign file, a dtype that is not known.
    FileNotFoundError : there is no such file.
    ModuleNotFoundError : the package that reads such files is missing.

    Examples
    --------
    >>> read(Path("no-such.safetensors"))
    Traceback (most recent call last):
    FileNotFoundError: no-such.safetensors: there is no such file
    """
    readers = {".safetensors": _safetensors, ".onnx": _onnx}
    if path.suffix not in readers:
        return npz.read(path, weights=True), {}
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is {'a folder of that name' if path.is_dir() else 'no such file'}")
    found, metadata = readers[path.suffix](path)
    if not found:
        raise ValueError(f"{path} holds no array")
    return found, metadata


def write(path: Path, stream: io.BufferedIOBase, arrays: dict[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Arrays as a file of that name holds them.

    Raises
    ------
    ValueError : another suffix than .safetensors, .npz or none; a dtype that NumPy's files do not know.

    Examples
    --------
    >>> write(Path("w.npz"), stream := io.BytesIO(), {"w": np.zeros(2)}, {})
    >>> print(np.load(io.BytesIO(stream.getvalue()))["w"])
    [0. 0.]
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: choose a name that ends with .safetensors or .npz, for no other kind is written")
    if path.suffix == ".safetensors":
        stream.write(_package("safetensors.numpy", path).save(arrays, dict(metadata) or None))
        return
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{path}: {name} is {array.dtype}, which .npz does not know; choose a .safetensors file")
    npz.write(stream, arrays)


def _safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    package, data, found = _package("safetensors", path), path.read_bytes(), {}
    try:
        tensors = package.deserialize(data)
    except package.SafetensorError as error:
        raise ValueError(f"{path} is not a sound file of safetensors ({error})") from error
    for name, tensor in tensors:
        found[name] = _array(
            path, name, SAFETENSORS.get(tensor["dtype"], tensor["dtype"]), tensor["shape"], tensor["data"]
        )
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])  # which the package has checked
    return dict(sorted(found.items())), header.get("__metadata__") or {}


def _onnx(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    package, found = _package("onnx", path), {}
    from google.protobuf.message import DecodeError

    try:
        model = package.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError) as error:
        raise ValueError(f"{path} is not a sound file of ONNX ({error})") from error
    for tensor in model.graph.initializer:
        if not isinstance(tensor.name, str):  # what is no text comes as bytes
            raise ValueError(f"{path} holds an array whose name is no text, {tensor.name!r}")
        if tensor.name in found:
            raise ValueError(f"{path} holds {tensor.name!r} twice")
        if tensor.data_location == package.TensorProto.EXTERNAL:
            raise ValueError(f"{path}: {tensor.name} is in another file; save the model in one file")
        found[tensor.name] = _initializer(path, package, tensor)
    return found, {}


def _initializer(path: Path, package: ModuleType, tensor) -> np.ndarray:
    """An array whose entries are there, as bytes or as numbers."""
    try:
        dtype = package.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except KeyError as error:
        raise ValueError(
            f"{path}: {tensor.name} has a dtype of number {tensor.data_type}, which is not known"
        ) from error
    if tensor.HasField("raw_data"):
        return _array(path, tensor.name, dtype.name, tensor.dims, tensor.raw_data)
    _array(path, tensor.name, dtype.name, (0,), b"")  # a dtype that is known
    field = package.helper.tensor_dtype_to_field(tensor.data_type)
    there, wanted = len(getattr(tensor, field)), math.prod(tensor.dims)
    if there != wanted or min(tensor.dims, default=0) < 0:
        raise ValueError(
            f"{path}: {tensor.name} of shape {tuple(tensor.dims)} needs {wanted:,} numbers, and has {there:,}"
        )
    try:
        return package.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: {tensor.name} is not sound ({error})") from error


def _array(path: Path, name: str, dtype: str, shape, data: bytes | bytearray) -> np.ndarray:
    """Bytes as an array, if they are as many as it takes."""
    if dtype not in DTYPES:
        raise ValueError(f"{path}: {name} has dtype {dtype}, of which nothing is known; known are {', '.join(DTYPES)}")
    shape, kind = tuple(shape), DTYPES[dtype]
    wanted = math.prod(shape) * kind.itemsize
    if wanted != len(data) or min(shape, default=0) < 0 or len(shape) > 32:
        raise ValueError(f"{path}: {name} of shape {shape} needs {wanted:,} bytes, and has {len(data):,}")
    try:
        return np.frombuffer(bytes(data), kind.newbyteorder("<") if kind.kind in "iuf" else kind).reshape(shape)
    except (ValueError, OverflowError) as error:  # an axis that no array can have, beside one of no entries
        raise ValueError(f"{path}: {name} has the shape {shape} ({error})") from error


def _package(name: str, path: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path}: {name.split('.')[0]} is missing, which reads and writes such files: pip install 'rdtheory[files]'"
        ) from error
