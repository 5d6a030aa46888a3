"""The frame of a bitstream: its head, its containers, and one leaf after another."""

import io
import zlib
from collections.abc import Sequence

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Integer, PyTree

from rdtheory import _checks, _progress
from rdtheory.results import CodedLayer, Quantized
from rdtheory.results import schemes as results
from rdtheory.schemes.bitstream import entropy, layer
from rdtheory.schemes.bitstream.leaf import concrete, parts, put_leaf, take_leaf, validate, weights
from rdtheory.schemes.bitstream.numbers import (
    FREE_WORK,
    WORK_PER_BYTE,
    Sink,
    Source,
    put_number,
    take_bytes,
    take_number,
)

__all__ = ["decode", "dequantize", "encode"]

MAGIC, VERSION = b"RD", 2
NONE, LIST, TUPLE, DICT, LEAF = range(5)  # an array is told as LEAF and what parts it has
LAYER = LEAF + 128
CLASSES_WITHHELD = 128  # added to the version
DEEPEST = 64  # containers in containers


@_progress.doing("bitstream.encode")
def encode(tree: PyTree, *, send_classes: bool = True) -> bytes:
    """Everything a decoder needs, in as few bytes as the models of the labels make it.

    The rate is ``8 * len(encode(tree))`` over the number of weights, every piece of side information included: about
    20 bytes, and a few for each class of labels.

    The labels of an array are coded with fixed frequencies, those of each class and each context of a trellis apart.
    They are described by a discretized generalized Gaussian law (about two bytes) or by a table, or those of all
    classes by one law whose scale is in proportion from class to class, whichever takes least in all. Labels beyond a
    range of 2¹⁶ are escaped.

    Parameters
    ----------
    tree : `Quantized` arrays, `CodedLayer`, or dict with string keys, list, tuple and None of them, nested at will. A
        NamedTuple, as the layers of `networks`, comes back as a tuple of the same leaves.
    send_classes : False if whoever decodes knows the classes, as of a linear model with given covariances. They then
        are an argument of `decode`; the checksum covers them.

    Returns
    -------
    bytes : `decode` gives the same tree. The same tree gives the same bytes on one platform; any platform decodes them.

    Raises
    ------
    ValueError : labels outside the codebook, a step that is not positive, parts that do not go together.
    TypeError : a leaf that is neither, or another container.

    References
    ----------
    Duda (2009), Asymmetric numeral systems; Bamler (2022), the constriction library.

    Examples
    --------
    >>> leaf = Quantized(labels=jnp.array([3, -1, 0, 0]), step=jnp.array(0.5))
    >>> data = encode({"layer": leaf, "none": None})
    >>> print(len(data), dequantize(decode(data)["layer"]))
    42 [ 1.5 -0.5  0.   0. ]
    """
    sink: Sink = (bytearray(), [], [0], [])
    _put(sink, tree, "tree", 0, send_classes)
    structure, operations, work, withheld = sink
    coded = entropy.packed(operations)
    start: Sink = (bytearray(MAGIC + bytes([VERSION | (CLASSES_WITHHELD if withheld else 0)])), [], [0], [])
    put_number(start, len(structure))
    body = bytes(start[0] + structure) + coded
    body += bytes(max(-(-(work[0] - FREE_WORK) // WORK_PER_BYTE) - len(body), 0))
    return body + _checksum(body, withheld)


@_progress.doing("bitstream.decode")
def decode(data: bytes, classes: Sequence[Integer[ArrayLike, "..."]] = ()) -> PyTree:
    """The tree that was encoded: labels, dtypes and weights, bit for bit.

    Whatever the bytes are, the answer is a tree or a ValueError, in time and memory in proportion to their number: the
    labels may be 2²² and 256 for each byte, where a label of a trellis code counts 4, and a frequency table of K
    entries 8 (K + 512). The encoder appends zeros where that is too few.

    Parameters
    ----------
    data : what `encode` gave.
    classes : of the arrays that have some, in the order of the tree, if they were not sent.

    Returns
    -------
    tree : arrays are NumPy arrays, so that 64 bits stay 64 bits whatever JAX is set to; `taps` are int32.

    Raises
    ------
    ValueError : data that is cut off, changed, too large for its length or foreign; the message says which.
    TypeError : no bytes.

    Examples
    --------
    >>> decode(b"nothing of the kind")
    Traceback (most recent call last):
    ValueError: data is not a bitstream of rdtheory: it does not begin with b'RD'
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"data must be bytes, got {type(data).__name__}")
    data = bytes(data)
    if data[:2] != MAGIC:
        raise ValueError(f"data is not a bitstream of rdtheory: it does not begin with {MAGIC!r}")
    if len(data) < 9:
        raise ValueError(f"the bitstream is cut off: it has {len(data)} bytes")
    if data[2] & ~CLASSES_WITHHELD != VERSION:
        raise ValueError(
            f"the bitstream has version {data[2] & ~CLASSES_WITHHELD}, of which only {VERSION} can be read"
        )
    known = [np.asarray(array) for array in classes]
    if bool(known) != bool(data[2] & CLASSES_WITHHELD):
        raise ValueError(f"the bitstream {'holds' if known else 'does not hold'} the classes; give them if it does not")
    if _checksum(data[:-4], known) != data[-4:]:
        also = ", or the classes are not those it was encoded with" if known else ""
        raise ValueError(f"the bitstream is cut off or damaged: its checksum does not match{also}")
    body, work = io.BytesIO(data[3:-4]), [FREE_WORK + WORK_PER_BYTE * (len(data) - 4)]
    start: Source = (body, entropy.opened(b""), work, known)
    structure = io.BytesIO(take_bytes(start, take_number(start)))
    coder = entropy.opened(body.read().rstrip(b"\0"))
    tree = _take((structure, coder, work, known), "tree", 0)
    if known or structure.read() or not coder.is_empty():
        raise ValueError("the bitstream goes on after its end")
    return tree


def dequantize(quantized: Quantized | CodedLayer) -> Float[Array | np.ndarray, "..."]:
    """The weights that labels stand for.

    Parameters
    ----------
    quantized : one `Quantized` array, or one `CodedLayer`, which is for the host.

    Returns
    -------
    weights_hat : in the shape of the labels and the dtype of step and codebook. Of concrete arrays a NumPy array, the
        same bits on every platform; under `jit` rounding may differ. Differentiable in step and codebook.

    Raises
    ------
    ValueError : parts that do not go together.

    Examples
    --------
    >>> print(dequantize(Quantized(labels=jnp.array([0, 2, 1]), codebook=jnp.array([-0.5, 0.0, 0.7]))))
    [-0.5  0.7  0. ]
    """
    if isinstance(quantized, CodedLayer):
        return layer.weights(layer.concrete("quantized", quantized))
    leaf = jax.tree.map(lambda part: _checks.native(part if hasattr(part, "dtype") else np.asarray(part)), quantized)
    validate("quantized", leaf)
    return weights(leaf)


def _checksum(body: bytes, withheld: list[np.ndarray]) -> bytes:
    """CRC-32 of the bytes, and of what the decoder is to know without them."""
    crc = zlib.crc32(body)
    for classes in withheld:
        for numbers in (np.array(classes.shape), classes):
            crc = zlib.crc32(numbers.astype("<i8").tobytes(), crc)
    return crc.to_bytes(4, "little")


def _put(sink: Sink, tree: PyTree, where: str, depth: int, send_classes: bool) -> None:
    if depth > DEEPEST:
        raise ValueError(f"{where} is nested more than {DEEPEST} containers deep")
    if tree is None:
        put_number(sink, NONE)
    elif isinstance(tree, Quantized):
        leaf = concrete(where, tree)
        put_number(sink, LEAF + parts(leaf, send_classes))
        put_leaf(sink, leaf, send_classes)
    elif isinstance(tree, CodedLayer):
        put_number(sink, LAYER)
        layer.put_layer(sink, layer.concrete(where, tree))
    elif type(tree) in (list, tuple) or _is_named(tree):
        put_number(sink, LIST if type(tree) is list else TUPLE)
        put_number(sink, len(tree))
        for place, item in enumerate(tree):
            _put(sink, item, f"{where}[{place}]", depth + 1, send_classes)
    elif type(tree) is dict and all(isinstance(key, str) for key in tree):
        put_number(sink, DICT)
        put_number(sink, len(tree))
        for key, item in tree.items():
            name = key.encode()
            put_number(sink, len(name))
            sink[0].extend(name)
            _put(sink, item, f"{where}[{key!r}]", depth + 1, send_classes)
    else:
        raise TypeError(
            f"{where} must be Quantized, CodedLayer, None, or a list, tuple or dict with string keys, "
            f"got {type(tree).__name__}"
        )


def _is_named(tree: PyTree) -> bool:
    """A NamedTuple that holds leaves; one that `schemes` returns is no leaf, and is refused by its name."""
    return isinstance(tree, tuple) and hasattr(tree, "_fields") and type(tree).__module__ != results.__name__


def _take(source: Source, where: str, depth: int) -> PyTree:
    if depth > DEEPEST:
        raise ValueError(f"the bitstream nests more than {DEEPEST} containers")
    kind = take_number(source)
    if kind == NONE:
        return None
    if kind == LAYER:
        return layer.take_layer(source, where)
    if kind >= LEAF:
        return take_leaf(source, where, kind - LEAF)
    items, keys = [], []
    for place in range(take_number(source)):
        if kind == DICT:
            try:
                keys.append(take_bytes(source, take_number(source)).decode())
            except UnicodeDecodeError as error:
                raise ValueError(f"the bitstream holds a key in {where} that is not text") from error
        name = (
            repr(keys[-1][:32]) if kind == DICT else place
        )  # a long one, copied for each child, would take its square
        items.append(_take(source, f"{where}[{name}]", depth + 1))
    if len(set(keys)) < len(keys):
        raise ValueError(f"the bitstream holds a key in {where} twice")
    return dict(zip(keys, items, strict=True)) if kind == DICT else (items if kind == LIST else tuple(items))
