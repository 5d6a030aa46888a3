"""Arrays by name as one bitstream: layers that are coded, and all else bit for bit.

The tree of the bitstream is a dictionary with one key, a text in JSON that tells name, dtype and shape of each array
and how it stands there; its value is the list of these arrays. What is kept stands there byte by byte: the lowest bytes
of all entries, then the second ones, so that what the exponents of floats have in common takes few bits.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from rdtheory import _checks
from rdtheory.results import CodedLayer, Quantized
from rdtheory.schemes import bitstream

FLOATS = ("float16", "bfloat16", "float32", "float64")
WHOLE = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)))
SMALL = ("float8_e4m3fn", "float8_e5m2")
DTYPES = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in (*FLOATS, *WHOLE, *SMALL)}
FEW = 64  # entries, whose bytes are not worth models of their own
COLUMNS, ROWS, KEPT = "inputs first", "outputs first", "kept"


class Coded(NamedTuple):
    """A layer, and the array that it was: its inputs are all axes but the last, or with outputs first but the first."""

    layer: CodedLayer
    dtype: np.dtype
    shape: tuple[int, ...]
    outputs_first: bool


def pack(arrays: Mapping[str, Coded | np.ndarray], metadata: Mapping[str, str] | None = None) -> bytes:
    """Bytes of coded layers, and of arrays bit for bit.

    Parameters
    ----------
    arrays : by name.
    metadata : what a file of arrays says beside them.

    Raises
    ------
    TypeError : an array of a dtype that is not in `DTYPES`.

    Examples
    --------
    >>> data = pack({"bias": np.ones(3, np.float32)})
    >>> print(unpack(data)[0])
    {'bias': array([1., 1., 1.], dtype=float32)}
    """
    told, leaves = [], []
    for name, array in arrays.items():
        if isinstance(array, Coded):
            way = ROWS if array.outputs_first else COLUMNS
            leaves.append(array.layer)
        else:
            way, array = KEPT, _checks.native(array)
            leaves.append(_planes(name, array))
        told.append([name, array.dtype.name, list(array.shape), way])
    header = {"arrays": told} | ({"metadata": dict(metadata)} if metadata else {})
    return bitstream.encode({json.dumps(header, separators=(",", ":"), ensure_ascii=False): leaves})


def unpack(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What `pack` put there: arrays, and metadata. Nothing is allocated that the bitstream has not paid for.

    Raises
    ------
    ValueError : data that is damaged, or of another structure.

    Examples
    --------
    >>> unpack(b"RD")
    Traceback (most recent call last):
    ValueError: the bitstream is cut off: it has 2 bytes
    """
    tree = bitstream.decode(data)
    if isinstance(tree, dict) and all(isinstance(leaf, Quantized | CodedLayer) for leaf in tree.values()):
        return {name: np.asarray(bitstream.dequantize(leaf)) for name, leaf in tree.items()}, {}
    header, leaves = _header(tree)
    found = {}
    for (name, dtype, shape, way), leaf in zip(header["arrays"], leaves, strict=True):
        where = f"the array {name[:64]!r}"
        found[name] = _joined(where, leaf, dtype, shape) if way == KEPT else _matrix(where, leaf, dtype, shape, way)
    return found, header.get("metadata", {})


def matrix(array: np.ndarray, outputs_first: bool) -> np.ndarray:
    """An array of weights as (inputs, outputs).

    Examples
    --------
    >>> matrix(np.zeros((5, 3, 3, 2)), False).shape, matrix(np.zeros((5, 3, 3, 2)), True).shape
    ((45, 2), (18, 5))
    """
    if outputs_first:
        return array.reshape(len(array), -1).T
    return array.reshape(-1, array.shape[-1] if array.ndim > 1 else 1)


def unmatrix(weights: np.ndarray, dtype: np.dtype, shape: tuple[int, ...], outputs_first: bool) -> np.ndarray:
    """The array that a matrix was.

    Examples
    --------
    >>> unmatrix(matrix(np.zeros((5, 3, 3, 2)), True), np.dtype("float16"), (5, 3, 3, 2), True).shape
    (5, 3, 3, 2)
    """
    with np.errstate(over="ignore"):
        return np.ascontiguousarray((weights.T if outputs_first else weights).astype(dtype)).reshape(shape)


def _planes(name: str, array: np.ndarray) -> list[Quantized]:
    if DTYPES.get(array.dtype.name) != array.dtype:
        raise TypeError(
            f"{name!r} has dtype {array.dtype}, of which nothing is known; choose one of {', '.join(DTYPES)}"
        )
    if not array.size:
        return []
    bits = np.ascontiguousarray(array).reshape(-1).view(f"u{array.dtype.itemsize}")
    planes = [(bits >> np.array(8 * i, bits.dtype)).astype(np.uint8) for i in range(bits.itemsize)]
    return [Quantized(plane) for plane in (planes if array.size >= FEW else [np.concatenate(planes)])]


def _joined(where: str, leaf: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    size, labels = math.prod(shape), [np.zeros(0, np.uint8)]
    for piece in leaf if isinstance(leaf, list) else [leaf]:
        if not isinstance(piece, Quantized) or any(part is not None for part in piece[1:]):
            raise ValueError(f"the bitstream does not hold bytes for {where}")
        labels.append(np.asarray(piece.labels))
    planes = np.concatenate([part.ravel() for part in labels])
    if planes.dtype != np.uint8 or len(planes) != size * dtype.itemsize:
        raise ValueError(f"the bitstream does not hold what {where} of {dtype}, {shape}, needs")
    planes = planes.reshape(dtype.itemsize, size)
    bits = np.zeros(size, f"u{dtype.itemsize}")
    for i, plane in enumerate(planes):
        bits |= plane.astype(bits.dtype) << np.array(8 * i, bits.dtype)
    if dtype.kind == "b" and size and bits.max() > 1:
        raise ValueError(f"the bitstream says of {where} what is neither true nor false")
    return bits.view(dtype).reshape(shape)


def _matrix(where: str, leaf: Any, dtype: np.dtype, shape: tuple[int, ...], way: str) -> np.ndarray:
    outputs_first = way == ROWS
    k = shape[0] if outputs_first else shape[-1] if len(shape) > 1 else 1
    wanted = math.prod(shape) // k, k
    if not isinstance(leaf, CodedLayer) or dtype.name not in FLOATS or leaf.labels.shape != wanted:
        raise ValueError(f"the bitstream does not hold the layer that {where} of {dtype}, {shape}, needs")
    return unmatrix(np.asarray(bitstream.dequantize(leaf)), dtype, shape, outputs_first)


def _header(tree: Any) -> tuple[dict, list]:
    """What the one key tells, checked, and the leaves."""
    try:
        if type(tree) is not dict or len(tree) != 1:
            raise ValueError("it is another tree")
        ((text, leaves),) = tree.items()
        header = json.loads(text)
        if type(header) is not dict or type(leaves) is not list or len(header["arrays"]) != len(leaves):
            raise ValueError("its header does not go with it")
        arrays = []
        for name, dtype, shape, way in header["arrays"]:
            sound = type(name) is str and type(dtype) is str and way in (COLUMNS, ROWS, KEPT)
            if not sound or not all(type(n) is int and 0 <= n < 2**62 for n in shape) or len(shape) > 32:
                raise ValueError(f"its header tells {str(name)[:64]!r} in a way that is not known")
            if way != KEPT and (not shape or 0 in shape):
                raise ValueError(f"its header tells a layer of shape {tuple(shape)}")
            arrays.append((name, DTYPES[dtype], tuple(shape), way))
        metadata = header.get("metadata", {})
        if len({name for name, *_ in arrays}) < len(arrays) or type(metadata) is not dict:
            raise ValueError("its header tells an array twice, or no metadata")
        if not all(type(value) is str for value in metadata.values()):
            raise ValueError("its header tells metadata that are no text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"the bitstream does not hold arrays of weights by name ({error})") from error
    return {"arrays": arrays, "metadata": metadata}, leaves
