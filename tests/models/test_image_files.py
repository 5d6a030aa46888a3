"""Files of images that others made: read right when they are right, refused by name when they are not."""

import gzip
import os
import struct
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdtheory import datasets
from rdtheory.models import _files

rng = np.random.default_rng(0)
PIXELS = rng.integers(0, 256, (12, 3, 4), dtype=np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 10
IMAGES_NAME, LABELS_NAME = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx_bytes(values, magic=None):
    """The format as LeCun's page describes it: magic number, sizes, big-endian, then the bytes."""
    magic = 0x800 + values.ndim if magic is None else magic
    return struct.pack(f">{1 + values.ndim}I", magic, *values.shape) + values.tobytes()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / IMAGES_NAME).write_bytes(idx_bytes(PIXELS))
    (tmp_path / LABELS_NAME).write_bytes(idx_bytes(LABELS))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(PIXELS[:5])))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(LABELS[:5])))
    return tmp_path


def refused(folder, name=IMAGES_NAME, message="", **options):
    with pytest.raises(ValueError, match=name) as caught:
        datasets.idx(folder, **options)
    assert message in str(caught.value), caught.value


# IDX -----------------------------------------------------------------------------------------------------------------


def test_idx_files_are_read_plain_and_compressed(folder):
    train, test = datasets.idx(folder), datasets.idx(str(folder), test=True)
    np.testing.assert_array_equal(train.inputs, PIXELS.reshape(12, 12) / np.float32(255))
    np.testing.assert_array_equal(train.labels, LABELS)
    np.testing.assert_array_equal(test.inputs, train.inputs[:5])
    np.testing.assert_array_equal(test.labels, LABELS[:5])
    assert train.inputs.dtype == jnp.float32
    assert jnp.issubdtype(train.labels.dtype, jnp.integer)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-", "."])
def test_files_are_read_whatever_the_name_says_of_their_content(tmp_path, dot, end, compressed):
    for name, values in (("images{}idx3", PIXELS), ("labels{}idx1", LABELS)):
        content = idx_bytes(values)
        path = tmp_path / f"train-{name.format(dot)}-ubyte{end}"
        path.write_bytes(gzip.compress(content) if compressed else content)
    found = datasets.idx(tmp_path)
    np.testing.assert_array_equal(found.inputs, PIXELS.reshape(12, 12) / np.float32(255))
    np.testing.assert_array_equal(found.labels, LABELS)


def test_the_plain_file_is_read_where_both_are_there(folder):
    (folder / f"{IMAGES_NAME}.gz").write_bytes(b"not gzip")
    assert datasets.idx(folder).inputs.shape == (12, 12)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut off inside its header"),
        (idx_bytes(PIXELS)[:15], "cut off inside its header"),
        (idx_bytes(PIXELS)[:-1], "cut off"),
        (idx_bytes(PIXELS) + b"\0", "goes on after"),
        (idx_bytes(PIXELS, magic=0x803_0000), "not an IDX file of images: it starts with 0x08030000"),  # little-endian
        (idx_bytes(PIXELS, magic=0xD03), "not an IDX file of images"),  # floats
        (idx_bytes(LABELS), "not an IDX file of images: it starts with 0x00000801"),  # labels in place of images
        (b"<!DOCTYPE html><html>404 Not Found</html>", "not an IDX file of images"),
        (struct.pack(">4I", 0x803, 0, 28, 28), "holds no images"),
        (struct.pack(">4I", 0x803, 12, 0, 28), "holds no images"),
        (struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"\0" * 64, "cut off"),
        (idx_bytes(PIXELS[:11]), "11 images"),
    ],
)
def test_a_wrong_file_of_images_is_refused_by_name(folder, content, message):
    (folder / IMAGES_NAME).write_bytes(content)
    refused(folder, message=message)
    (folder / IMAGES_NAME).unlink()
    (folder / f"{IMAGES_NAME}.gz").write_bytes(gzip.compress(content))
    refused(folder, message=message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx_bytes(LABELS)[:-1], "cut off"),
        (idx_bytes(LABELS) + b"\0", "goes on after"),
        (idx_bytes(PIXELS), "not an IDX file of labels"),
        (idx_bytes(np.where(LABELS == 3, 10, LABELS).astype(np.uint8)), "holds the label 10 (number 4)"),
        (idx_bytes(LABELS[:0]), "holds no labels"),
    ],
)
def test_a_wrong_file_of_labels_is_refused_by_name(folder, content, message):
    (folder / LABELS_NAME).write_bytes(content)
    refused(folder, LABELS_NAME, message)


def test_more_classes_allow_more_labels_and_fewer_do_not(folder):
    (folder / LABELS_NAME).write_bytes(idx_bytes(LABELS + np.uint8(40)))
    assert datasets.idx(folder, classes=50).labels.max() == 49
    refused(folder, LABELS_NAME, "below 49", classes=49)


def test_images_and_labels_must_be_as_many(folder):
    (folder / LABELS_NAME).write_bytes(idx_bytes(LABELS[:11]))
    refused(folder, message="12 images, but train-labels-idx1-ubyte 11 labels")


@pytest.mark.parametrize("damage", ["cut", "garbage after", "flipped", "not gzip", "empty"])
def test_a_damaged_gzip_file_is_refused_by_name(folder, damage):
    packed = gzip.compress(idx_bytes(PIXELS))
    content = {
        "cut": packed[:-9],
        "garbage after": packed + b"more",
        "flipped": packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:],  # in the checksum
        "not gzip": b"<!DOCTYPE html>",
        "empty": b"",
    }[damage]
    (folder / IMAGES_NAME).unlink()
    (folder / f"{IMAGES_NAME}.gz").write_bytes(content)
    refused(folder, f"{IMAGES_NAME}.gz")


def peak(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shape", [(60_000, 28, 28), (2**31, 2**31, 2**31), (2**20, 2**10, 1)])
def test_nothing_is_allocated_for_what_only_the_header_announces(folder, shape, compressed):
    content = struct.pack(">4I", 0x803, *shape) + b"\0" * 100
    (folder / IMAGES_NAME).unlink()
    name = f"{IMAGES_NAME}.gz" if compressed else IMAGES_NAME
    (folder / name).write_bytes(gzip.compress(content) if compressed else content)
    assert peak(lambda: refused(folder, message="cut off")) < 2**20


@pytest.mark.parametrize("announced", [12, 2**30])
def test_a_gzip_bomb_is_not_unpacked(folder, announced):
    # 300 MB of zeros in 300 kB: behind images that are as announced, or announced themselves.
    content = struct.pack(">4I", 0x803, announced, 1, 1) + bytes(300_000_000 if announced == 12 else 100_000_000)
    packed = gzip.compress(content, 1)
    # What announces a gigabyte must also be large enough to be believed.
    packed += os.urandom(2**30 // 1032) if announced > 12 else b""
    del content
    (folder / IMAGES_NAME).unlink()
    (folder / f"{IMAGES_NAME}.gz").write_bytes(packed)
    message = "would unpack to 1,073,741,824 bytes" if announced > 12 else "goes on after"
    assert peak(lambda: refused(folder, message=message)) < 2**20


@settings(max_examples=300, deadline=None)
@given(data=st.data(), compressed=st.booleans())
def test_a_mutated_file_is_read_as_it_is_or_refused_by_name(tmp_path_factory, data, compressed):
    folder = tmp_path_factory.mktemp("mutated")
    sound = gzip.compress(idx_bytes(PIXELS), mtime=0) if compressed else idx_bytes(PIXELS)
    content = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.integers(0, max(0, min(len(content) - 1, 24))) | st.integers(0, len(content)))
        kind = data.draw(st.sampled_from(["set", "cut", "insert", "repeat"]))
        if kind == "set" and where < len(content):
            content[where] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del content[where : where + data.draw(st.integers(1, 40))]
        elif kind == "insert":
            content[where:where] = data.draw(st.binary(max_size=20))
        else:
            content += content[where:]
    path = folder / (IMAGES_NAME + (".gz" if compressed else ""))
    path.write_bytes(bytes(content))
    try:
        images = _files.idx_images(folder / IMAGES_NAME)
    except ValueError as error:
        assert str(path) in str(error)
        return
    plain = gzip.decompress(bytes(content)) if compressed else bytes(content)
    assert plain == idx_bytes(images)


@pytest.mark.parametrize("missing", [IMAGES_NAME, LABELS_NAME])
def test_a_missing_file_says_what_belongs_where(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"{folder} lacks {missing}; .*{LABELS_NAME}.*\\.gz.*belong into it"):
        datasets.idx(folder)


def test_a_missing_folder_a_file_in_its_place_and_a_pipe_are_not_read(folder):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        datasets.idx(folder / "nowhere")
    with pytest.raises(FileNotFoundError, match=f"{IMAGES_NAME} is not a folder"):
        datasets.idx(folder / IMAGES_NAME)
    (folder / IMAGES_NAME).unlink()
    os.mkfifo(folder / IMAGES_NAME)  # opening it would wait for ever
    with pytest.raises(FileNotFoundError, match=f"lacks {IMAGES_NAME}"):
        datasets.idx(folder)


# CIFAR-10 ------------------------------------------------------------------------------------------------------------

BATCH = 10_000 * 3073


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """Five batches whose image i of batch b has the label (b + i) mod 10, and a first pixel of each color."""
    folder = tmp_path_factory.mktemp("cifar-10-batches-bin")
    for number, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
        content = np.zeros((10_000, 3073), np.uint8)
        content[:, 0] = (number + np.arange(10_000)) % 10
        content[:, [1, 1025, 2049]] = [10 + number, 20, 30]
        (folder / name).write_bytes(content.tobytes())
    return folder


def test_cifar_files_are_read_color_by_color(cifar):
    inputs, labels = datasets.cifar10(cifar, test=True)
    assert inputs.shape == (10_000, 3072)
    assert inputs.dtype == jnp.float32
    np.testing.assert_array_equal(labels, (5 + np.arange(10_000)) % 10)
    pixels = np.asarray(inputs).reshape(-1, 3, 32, 32)
    np.testing.assert_allclose(pixels[7, :, 0, 0] * 255, [15, 20, 30], rtol=1e-6)
    assert np.count_nonzero(pixels) == 30_000


@pytest.mark.long
def test_the_five_cifar_batches_come_in_order(cifar):
    inputs, labels = datasets.cifar10(cifar)
    assert inputs.shape == (50_000, 3072)
    np.testing.assert_allclose(inputs[::10_000, 0] * 255, [10, 11, 12, 13, 14], rtol=1e-6)
    np.testing.assert_array_equal(labels[::10_000], range(5))


@pytest.mark.parametrize("size", [0, BATCH - 1, BATCH + 1, BATCH - 3073, 2**42])
def test_a_cifar_file_of_another_size_is_refused_by_name(tmp_path, size):
    path = tmp_path / "test_batch.bin"
    with path.open("wb") as file:
        file.truncate(size)  # a hole: takes no room, however large
    with pytest.raises(ValueError, match=f"{path} has {size:,} bytes; a batch of binary CIFAR-10 has 30,730,000"):
        datasets.cifar10(tmp_path, test=True)


def test_a_compressed_cifar_file_is_told_to_be_one(tmp_path):
    (tmp_path / "test_batch.bin").write_bytes(gzip.compress(bytes(BATCH)))
    with pytest.raises(ValueError, match="a batch of binary CIFAR-10 has 30,730,000: gunzip it"):
        datasets.cifar10(tmp_path, test=True)


@pytest.mark.parametrize(("where", "label"), [(0, 10), (9999, 255), (1234, 11)])
def test_a_cifar_label_above_nine_is_refused_by_name(tmp_path, where, label):
    path = tmp_path / "test_batch.bin"
    with path.open("wb") as file:
        file.truncate(BATCH)
        file.seek(3073 * where)
        file.write(bytes([label]))
    with pytest.raises(ValueError, match=f"{path} holds the label {label} \\(number {where + 1}\\)"):
        datasets.cifar10(tmp_path, test=True)


def test_missing_cifar_files_are_named(tmp_path):
    (tmp_path / "data_batch_1.bin").touch()
    with pytest.raises(FileNotFoundError, match="lacks data_batch_2.bin, .*data_batch_5.bin; .*cifar-10-binary.tar.gz"):
        datasets.cifar10(tmp_path)
    with pytest.raises(FileNotFoundError, match="lacks test_batch.bin"):
        datasets.cifar10(tmp_path, test=True)
