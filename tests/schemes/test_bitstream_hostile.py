"""Whatever bytes arrive, the answer is a tree or a ValueError that says what is wrong, soon and in little memory."""

import functools
import resource
import time
import tracemalloc
import zlib

import numpy as np
import pytest

from rdtheory import bitstream
from rdtheory.results import CodedLayer, Quantized
from rdtheory.schemes.bitstream import entropy
from rdtheory.schemes.bitstream.numbers import put_number
from rdtheory.schemes.bitstream.stream import DICT, LAYER, LEAF, LIST, VERSION
from tests.schemes.test_bitstream import EIGHT_STATES, EXAMPLES, STEP, gaussian_labels

TREES = [*EXAMPLES.values(), {"a": [EXAMPLES["rows"], None, (EXAMPLES["trellis"],)], "bc": {"": EXAMPLES["codebook"]}}]
SECONDS, BYTES = 2.0, 3 * 10**8  # of streams shorter than 2000 bytes


@functools.cache
def streams():
    """Encoded when a test asks for them, and not when tests are collected."""
    return [bitstream.encode(tree) for tree in TREES]


def sealed(body):
    """With the checksum that belongs to it, so that what reads the bytes behind it is met."""
    return bytes(body) + zlib.crc32(bytes(body)).to_bytes(4, "little")


def crafted(structure, coded=b"", version=VERSION):
    start = (bytearray(b"RD" + bytes([version])), [], [0], [])
    put_number(start, len(structure))
    return sealed(bytes(start[0]) + bytes(structure) + coded)


def mutated(rng, stream):
    """One to three changes: of a bit, a byte, a stretch removed, inserted, or taken from another stream."""
    body = bytearray(stream[:-4])
    for _ in range(rng.integers(1, 4)):
        # Half of them among the first bytes, where the structure is.
        place = int(rng.integers(2, min(len(body), 60) if rng.random() < 0.5 else len(body)))
        stretch = rng.integers(0, 256, rng.integers(1, 5)).astype(np.uint8).tobytes()
        kind = rng.integers(5)
        if kind == 0:
            body[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            body[place] = stretch[0]
        elif kind == 2:
            del body[place : place + len(stretch)]
        elif kind == 3:
            body[place:place] = stretch
        else:
            other = streams()[rng.integers(len(streams()))]
            body[place:] = other[int(rng.integers(len(other))) : -4]
        if len(body) < 8:
            break
    return bytes(body)


def outcome(data):
    """The tree or the error; anything else is not caught. Every array of a tree can be turned into weights."""
    start = time.process_time()
    try:
        tree = bitstream.decode(data)
    except ValueError as error:
        assert str(error).strip()
        tree = error
    else:
        for leaf in leaves(tree):
            assert bitstream.dequantize(leaf).shape == leaf.labels.shape
    assert time.process_time() - start < SECONDS
    return tree


def leaves(tree):
    if isinstance(tree, Quantized | CodedLayer):
        return [tree]
    items = tree.values() if isinstance(tree, dict) else tree or ()
    return [leaf for item in items for leaf in leaves(item)]


def fuzz(count, seed):
    """Mutated streams, with the checksum left as it was and with one that fits: how many of each were trees."""
    rng, trees = np.random.default_rng(seed), [0, 0]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for turn in range(count):
        original = streams()[turn % len(streams())]
        body = mutated(rng, original)
        if turn % 2:
            trees[1] += not isinstance(outcome(sealed(body)), ValueError)
        elif body != original[:-4]:
            trees[0] += not isinstance(outcome(body + original[-4:]), ValueError)
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < BYTES
    return trees


def test_a_thousand_mutated_streams():
    damaged, foreign = fuzz(1000, 0)
    assert damaged == 0  # never silently wrong weights
    assert 0 < foreign < 250  # some mutations are harmless, as of a step


@pytest.mark.long
def test_a_hundred_thousand_mutated_streams():
    assert fuzz(100_000, 1)[0] == 0


@pytest.mark.parametrize("name", ["rows", "codebook", "trellis", "far", "trellis layer"])
def test_every_truncation_and_every_flipped_bit_is_an_error(name):
    data = bitstream.encode(
        EXAMPLES[name]._replace(labels=EXAMPLES[name].labels[:, :3]) if name != "rows" else TREES[0]
    )
    for length in range(len(data)):
        assert isinstance(outcome(data[:length]), ValueError)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert isinstance(outcome(bytes(flipped)), ValueError)


def test_bytes_of_any_other_kind_are_errors(as_user):
    rng = np.random.default_rng(0)
    for length in range(200):
        noise = rng.integers(0, 256, length).astype(np.uint8).tobytes()
        assert isinstance(outcome(noise), ValueError)
        assert outcome(crafted(noise)) is not None or noise[:1] == b"\0"
        assert isinstance(outcome(sealed(b"RD\2" + noise)), ValueError) or length < 3
    with pytest.raises(TypeError, match="data must be bytes, got str"):
        bitstream.decode("RD")


AXIS = [2 + 10, 3]  # labels of int32, one axis, of three entries
UNNAMED, EACH_STATE = ((np.array([n], np.int32), [entropy.even(k)], None) for n, k in ((0, 8), (2, 3)))
LABELS = [LEAF + 1, *AXIS]  # and a step
LAYERS = [LAYER % 128 + 128, LAYER // 128]
MATRIX = [*LAYERS, 2 + 20, 2, 3]
FLOAT = [8, 0, 0, 128, 63]  # a scalar of float32, 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin with b'RD'"),
        (b"RD\2", "cut off: it has 3 bytes"),
        (crafted([0], version=1), "version 1, of which only 2 can be read"),
        (lambda: streams()[0][:-1], "cut off or damaged: its checksum"),
        (lambda: streams()[0] + b"\0", "cut off or damaged: its checksum"),
        (lambda: sealed(streams()[0][:-4] + b"\1"), "goes on after its end"),
        (sealed(b"RD\2" + b"\xff" * 11), "more than 64 bits"),
        (sealed(b"RD\2\x7f\0"), "claims 127 more bytes, of which it has 1"),
        (crafted([0, 0]), "goes on after its end"),
        (crafted([0], b"\1"), "goes on after its end"),
        (crafted([LIST, 255, 255, 255, 255, 15]), "claims 1 more bytes, of which it has 0"),
        (crafted([DICT, 2, 1, 97, 0, 1, 97, 0]), "a key in tree twice"),
        (crafted([DICT, 1, 1, 255, 0]), "a key in tree that is not text"),
        (crafted([DICT, 1, 200, 1, 97]), "claims 200 more bytes"),
        (crafted([LIST, 1] * 100 + [0]), "nests more than 64 containers"),
        (crafted([LEAF + 64, *AXIS]), "parts 64, which do not exist"),
        (crafted([LEAF + 1, 204, 2]), "33 axes"),
        (crafted([LEAF + 1, 2 + 20, 3, 0]), "without entries"),
        (
            crafted([LEAF + 1, 2 + 20, *[255, 255, 255, 255, 15] * 2]),
            "an array of [0-9]+ entries, more than its length",
        ),
        (crafted([LEAF + 1, 2 + 10, 255, 255, 255, 7]), "an array of [0-9]+ entries, more than its length"),
        (crafted([*LABELS, 2]), "names dtype int32, where floats"),
        (crafted([LEAF + 1, 8, *FLOAT, 0, 0]), "names dtype float32, where whole numbers"),
        (crafted([*LABELS, 8, 0, 0, 128, 191, 0, 0]), "step must be >= 0"),
        (crafted([*LABELS, 8, 0, 0, 192, 127, 0, 0]), "step must be >= 0"),
        (crafted([*LABELS, *FLOAT, 254, 255, 127, 0]), "labels from -[0-9]+ on"),
        (crafted([*LABELS, *FLOAT, 128, 128, 8, 0]), "claims 65537 labels"),
        (crafted([*LABELS, *FLOAT, 1, 0, 4]), "1 labels from 0 on, and 4 others of 3"),
        (crafted([*LABELS, *FLOAT, 0, *[255] * 9, 127]), "more than 64 bits|labels from"),
        (crafted([LEAF + 2, *AXIS, *FLOAT, 0, 0]), "codebook must be a vector"),
        (crafted([LEAF + 17, *AXIS, *FLOAT, 128, 32, 1, 0, 0]), "taps above 4095"),
        (
            crafted([LEAF + 17, *AXIS, *FLOAT, 255, 31, 255, 31, 0, 0], entropy.packed([UNNAMED, EACH_STATE])),
            "more labels or longer tables",
        ),
        (crafted([LEAF + 5, *AXIS, *FLOAT, 2, 0, 0, 0]), "offsets of no label"),
        (crafted([LEAF + 9, *AXIS, *FLOAT, 4 + 10, 2, 0, 0, 0, 0]), "classes that do not go with its labels"),
        (crafted([LEAF + 9, *AXIS, *FLOAT, 2, 255, 15, 0, 0, 0]), "classes that do not go with its labels"),
        (crafted([LEAF + 33, *AXIS, *FLOAT, 0, 0]), "needs the classes of tree"),
        (crafted([*LAYERS, 2 + 10, 3]), "labels of dtype int32 and shape \\(3,\\)"),
        (crafted([*LAYERS, 8 + 20, 2, 3]), "labels of dtype float32|more than its length"),
        (crafted([*LAYERS, 2 + 20, *[255, 255, 255, 255, 15] * 2]), "an array of [0-9]+ entries, more than its length"),
        (crafted([*MATRIX, *FLOAT, 16]), "a code of number 8, which does not exist"),
        (crafted([*MATRIX, *FLOAT, 1, 255, 255, 255, 255, 16]), "a seed of more than 32 bits"),
        (crafted([*MATRIX, *FLOAT, 0, 17]), "17 kinds of outputs, more than 16"),
        (crafted([*MATRIX, *FLOAT, 0, 2, 0, 10]), "2 kinds of outputs, and others"),
        (crafted([*MATRIX, *FLOAT, 0, 0, 0, 10]), "does not say which inputs of tree are sent"),
        (crafted([*MATRIX, *FLOAT, 0, 0, 0, 2, 0, 255, 255, 4]), "steps further apart"),
        (crafted([*MATRIX, *FLOAT, 0, 0, 0, 2, 0, 200, 78]), "steps must lie in"),
        (crafted([*MATRIX, 8, 1, 0, 128, 63, 0, 0, 0, 2, 0, 0]), "base must have 11 bits"),
        (crafted([*MATRIX, 8, 0, 0, 128, 191, 0, 0, 0, 2, 0, 0]), "base must be a finite number > 0"),
        (crafted([*MATRIX, *FLOAT, 0, 0, 0, 2, 0, 0, 100]), "a law of number 50"),
        (crafted([*MATRIX, *FLOAT, 0, 0, 0, 2, 0, 0, 0, 0, 255, 15]), "spreads beyond"),
        (crafted([*MATRIX, *FLOAT, 0, 0, 0, 2, 0, 0, 0, 0, 0, 9]), "9 escaped labels of 6"),
    ],
)
def test_what_is_wrong_is_said(data, message):
    data = data() if callable(data) else data
    with pytest.raises(ValueError, match=message):
        bitstream.decode(data)


def test_little_is_allocated_for_what_a_stream_only_claims():
    """Four million labels are granted to any stream; ten times as many must be refused before they exist."""
    granted = crafted([LEAF + 1, 12, *[128, 128, 128, 2], *FLOAT, 0, 0])  # 2²² labels
    refused = crafted([LEAF + 9, 12, *[128, 128, 128, 16], *FLOAT, 4, 0, 0, 0, 0])
    layer = crafted([*LAYERS, 22, 232, 7, 232, 7, *FLOAT, 1, 7, 0, 0, 2, 0, 0, 0, 0, 0, 0])  # 10⁶ labels with dither
    for data, most in ((granted, BYTES), (refused, 10**5), (layer, BYTES)):
        tracemalloc.start()
        outcome(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < most


def test_a_long_key_takes_time_in_proportion():
    key, items = [192, 150, 177, 2, *b"a" * 5_000_000], [144, 78, *bytes(10_000)]
    data = crafted([DICT, 1, *key, LIST, *items])
    start = time.process_time()
    assert len(bitstream.decode(data)) == 1
    assert time.process_time() - start < SECONDS


# What cannot be encoded -----------------------------------------------------------------------------------------------

SHEET = CodedLayer(gaussian_labels(6, 0.3).reshape(2, 3), np.array(0.5, np.float32), np.zeros((1, 2), np.int32))
GRID = Quantized(gaussian_labels(6, 1.0).reshape(2, 3), STEP)
CODED = Quantized(np.array([0, 1, 2]), codebook=np.array([0.5, 1.0, 2.0]))


def deep(levels):
    tree = GRID
    for _ in range(levels):
        tree = [tree]
    return tree


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        (
            SHEET._replace(labels=SHEET.labels * 1.0),
            ValueError,
            "labels must be signed whole numbers, got dtype float64",
        ),
        (SHEET._replace(labels=SHEET.labels[0]), ValueError, "labels must be a matrix, not empty, got shape \\(3,\\)"),
        (SHEET._replace(labels=SHEET.labels + 2**26), ValueError, "labels must be between"),
        (SHEET._replace(base=np.array(1)), ValueError, "base must be float32 or float64, got dtype int64"),
        (SHEET._replace(base=np.array(0.1)), ValueError, "base must have 11 bits at most, got"),
        (SHEET._replace(base=np.array(-1.0)), ValueError, "base must be a finite number > 0"),
        (SHEET._replace(exponents=np.zeros(2, int)), ValueError, "exponents must have shape \\(kinds, 2\\)"),
        (SHEET._replace(exponents=np.full((1, 2), 2**15)), ValueError, "exponents must lie in -32768 to 32767"),
        (SHEET._replace(exponents=np.full((1, 2), 2000)), ValueError, "the steps must lie in"),
        (SHEET._replace(exponents=np.array([[-(2**15), 0]])), ValueError, "labels of what is not sent must be 0"),
        (SHEET._replace(exponents=np.zeros((2, 2), int)), ValueError, "kinds must say which of 2 rows"),
        (SHEET._replace(kinds=np.zeros(3, int)), ValueError, "kinds must be uint8"),
        (SHEET._replace(kinds=np.zeros(2, np.uint8)), ValueError, "kinds must have shape \\(3,\\)"),
        (SHEET._replace(kinds=np.ones(3, np.uint8)), ValueError, "kinds must lie in 0 to 0"),
        (SHEET._replace(seed=np.array(1)), ValueError, "seed must be one number of uint32"),
        (SHEET._replace(taps=np.array([5, 3])), ValueError, "taps must be those of a code of trellis"),
        ({"a": [GRID, np.ones(3)]}, TypeError, "tree\\['a'\\]\\[1\\] must be Quantized.*got ndarray"),
        ({1: GRID}, TypeError, "string keys, got dict"),
        ([{"x": GRID}, {GRID.labels.tobytes(): None}], TypeError, "tree\\[1\\] must be"),
        (deep(65), ValueError, "nested more than 64"),
        (GRID._replace(labels=GRID.labels * 1.0), ValueError, "labels must not have dtype float64"),
        (GRID._replace(labels=GRID.labels.astype(np.uint64)), ValueError, "dtype uint64"),
        (GRID._replace(labels=GRID.labels[:0]), ValueError, "labels must not be empty"),
        ([Quantized(np.zeros((1,) * 33, np.int8))], ValueError, "32 axes at most in a bitstream, got 33"),
        (GRID._replace(step=np.ones((2, 1, 1))), ValueError, "step must broadcast against the labels, \\(2, 3\\)"),
        (GRID._replace(step=np.float32(-1)), ValueError, "step must be >= 0"),
        (GRID._replace(step=np.float32(np.nan)), ValueError, "step must be >= 0"),
        (GRID._replace(step=np.float32(3e38)), ValueError, "the weights do not fit float32"),
        (GRID._replace(labels=np.array([40_000]), step=np.float16(1)), ValueError, "the weights do not fit float16"),
        (GRID._replace(step=np.array(1)), ValueError, "step must not have dtype int64"),
        (GRID._replace(classes=np.array([0, 1])), ValueError, "classes must broadcast"),
        (GRID._replace(classes=np.array(256)), ValueError, "classes must lie in 0 to 255"),
        (GRID._replace(classes=np.array(0.0)), ValueError, "classes must be whole numbers"),
        (GRID._replace(offsets=np.zeros(3)), ValueError, "offsets must be int8"),
        (GRID._replace(offsets=np.zeros(4, np.int8)), ValueError, "offsets must have shape"),
        (GRID._replace(offsets=np.zeros((2, 3), np.int8)), ValueError, "offsets must have shape"),
        (GRID._replace(taps=np.array([5, 4096])), ValueError, "taps must lie in 0 to 4095"),
        (GRID._replace(taps=np.array([5])), ValueError, "taps must be two whole numbers"),
        (CODED._replace(labels=np.array([0, 3])), ValueError, "labels must lie in 0 to 2"),
        (CODED._replace(labels=np.array([-1])), ValueError, "labels must lie in 0 to 2"),
        (CODED._replace(codebook=np.array([0.0, np.inf, 1.0])), ValueError, "codebook must be finite"),
        (CODED._replace(taps=EIGHT_STATES), ValueError, "a codebook goes without"),
    ],
)
def test_what_cannot_be_encoded_is_named(tree, error, message):
    with pytest.raises(error, match=message):
        bitstream.encode(tree)
    if isinstance(tree, Quantized | CodedLayer):
        with pytest.raises(error, match=message):
            bitstream.dequantize(tree)
