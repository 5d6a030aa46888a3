"""Image files that others made: nothing in them is believed before it is checked.

Every problem raises ``ValueError`` naming the file, a missing file ``FileNotFoundError`` saying what belongs where. No
more memory is taken than the bytes that are really there, and a compressed file is not unpacked beyond what its own
header announces.
"""

import contextlib
import gzip
import math
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import BinaryIO

import numpy as np

IMAGES, LABELS = 0x803, 0x801  # IDX: unsigned bytes, along three axes and along one
GZIP = b"\x1f\x8b"  # how a compressed file begins, whatever its name is
UNPACKED = 2**28  # bytes that a compressed file may unpack to; MNIST's 60,000 images are 2**25.5
RATIO = 1032  # deflate cannot compress better than this
CIFAR_IMAGES, CIFAR_PIXELS = 10_000, 3 * 32 * 32


def idx_images(path: Path) -> np.ndarray:
    """Images (n, rows, columns) of one IDX file, under any of its `idx_names`, compressed or not."""
    return _idx(path, IMAGES, "images")


def idx_labels(path: Path, classes: int) -> np.ndarray:
    """Labels (n,) below `classes` of one IDX file, under any of its `idx_names`, compressed or not."""
    labels = _idx(path, LABELS, "labels")
    return _in_range(_found(path), labels, classes)


def cifar_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (10000, 3072), all of red, then green, then blue, and labels (10000,) of one CIFAR-10 file."""
    size, wanted = path.stat().st_size, CIFAR_IMAGES * (1 + CIFAR_PIXELS)
    if size != wanted:
        remedy = "gunzip it" if _is_compressed(path) else "copy it again"
        raise ValueError(f"{path} has {size:,} bytes; a batch of binary CIFAR-10 has {wanted:,}: {remedy}")
    content = _take(path, path.read_bytes(), wanted).reshape(CIFAR_IMAGES, 1 + CIFAR_PIXELS)
    return content[:, 1:], _in_range(path, content[:, 0], 10)


def idx_names(name: str) -> tuple[str, ...]:
    """What a file of MNIST is found as, the one to be read first: some copies have a dot for the second dash."""
    dotted = name.replace("-idx", ".idx")
    return name, f"{name}.gz", dotted, f"{dotted}.gz"


def require(
    folder: Path, names: list[str], remedy: str, *, names_of: Callable[[str], tuple[str, ...]] = lambda name: (name,)
) -> None:
    """Raise unless `folder` holds a file for each of `names`, under one of the names it may have."""
    missing = [name for name in names if not any((folder / given).is_file() for given in names_of(name))]
    if missing:
        where = f"{folder} lacks {', '.join(missing)}" if folder.is_dir() else f"{folder} is not a folder"
        raise FileNotFoundError(f"{where}; {remedy}")


def _idx(name: Path, magic: int, kind: str) -> np.ndarray:
    path = _found(name)
    axes = magic & 0xFF
    compressed = _is_compressed(path)
    with _opened(path, compressed) as stream:
        header = stream.read(4 + 4 * axes)
        if len(header) < 4 + 4 * axes:
            raise ValueError(f"{path} is cut off inside its header; copy it again")
        found, *shape = (int(number) for number in np.frombuffer(header, ">u4"))
        if found != magic:
            raise ValueError(f"{path} is not an IDX file of {kind}: it starts with 0x{found:08x}, not 0x{magic:08x}")
        size = math.prod(shape)
        if size == 0:
            raise ValueError(f"{path} holds no {kind}: its header says {_times(shape)}")
        _plausible(path, shape, size, compressed)
        # One byte more than announced: there must be none.
        content = stream.read(size + 1)
    return _take(path, content, size, f"{_times(shape)} {kind}").reshape(shape)


def _plausible(path: Path, shape: list[int], size: int, compressed: bool) -> None:
    """Refuse what a header announces before any memory is taken for it."""
    there = path.stat().st_size
    if not compressed:
        if there < size:
            raise ValueError(f"{path} is cut off: its header announces {_times(shape)} bytes, it has {there:,}")
    elif size > RATIO * there:
        raise ValueError(f"{path} is cut off: its header announces {_times(shape)} bytes, it has {there:,} compressed")
    elif size > UNPACKED:
        raise ValueError(f"{path} would unpack to {size:,} bytes, more than {UNPACKED:,}; if it is sound, gunzip it")


def _take(path: Path, content: bytes, size: int, what: str = "its images") -> np.ndarray:
    if len(content) < size:
        raise ValueError(f"{path} is cut off: {what} need {size:,} bytes, and it has {len(content):,}; copy it again")
    if len(content) > size:
        raise ValueError(f"{path} goes on after {what}, {size:,} bytes; it is damaged, or no such file")
    return np.frombuffer(content, np.uint8)


def _in_range(path: Path, labels: np.ndarray, classes: int) -> np.ndarray:
    if labels.max() >= classes:
        where = int(np.argmax(labels >= classes))
        raise ValueError(f"{path} holds the label {labels[where]} (number {where + 1}); labels must be below {classes}")
    return labels


def _found(path: Path) -> Path:
    """The first of the names under which the file is there."""
    return next((given for name in idx_names(path.name) if (given := path.with_name(name)).is_file()), path)


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(GZIP)) == GZIP


@contextlib.contextmanager
def _opened(path: Path, compressed: bool) -> Generator[BinaryIO | gzip.GzipFile]:
    if not compressed:
        with path.open("rb") as stream:
            yield stream
        return
    try:
        with gzip.open(path) as stream:
            yield stream
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a sound gzip file ({error}); copy it again") from error


def _times(shape: list[int]) -> str:
    return " × ".join(f"{axis:,}" for axis in shape)
