"""Files of arrays, .npz or .npy, that others made: nothing in them is believed before it is checked.

Every problem raises ``ValueError`` naming the file and the array, a missing file ``FileNotFoundError``. Objects are
never unpickled, and no memory is taken for an array before its header agrees with the bytes that are there.
"""

import io
import zipfile
import zlib
from pathlib import Path
from typing import cast

import numpy as np

RATIO = 1032  # deflate cannot compress better than this
LARGEST = 2**34  # bytes of all arrays together
SUFFIX = ".npy"
# What `zipfile` and `zlib` raise over a damaged archive: an offset before its start is an OSError of seek.
UNSOUND = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)


def read(path: Path, *, weights: bool = False) -> dict[str, np.ndarray]:
    """The arrays of a file by name, in its order; of a .npy file the one array, named as the file.

    Parameters
    ----------
    path : a file that ``numpy.savez``, ``numpy.savez_compressed`` or ``numpy.save`` wrote.
    weights : whether what cannot be a layer or its inputs may be there: arrays without entries, or with infinite ones.

    Returns
    -------
    dict : real arrays, at least one; finite and not empty unless `weights`.

    Raises
    ------
    ValueError : a damaged or foreign file, an array of objects, text or complex numbers, an infinite or NaN entry.
    FileNotFoundError : there is no such file.

    Examples
    --------
    >>> read(Path("no-such.npz"))
    Traceback (most recent call last):
    FileNotFoundError: no-such.npz: there is no such file
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is {'a folder of that name' if path.is_dir() else 'no such file'}")
    with path.open("rb") as stream:
        single = stream.read(6) == np.lib.format.MAGIC_PREFIX
        stream.seek(0)
        if single:
            return {path.stem: _array(path, path.stem, stream, path.stat().st_size, weights)}
        try:
            with zipfile.ZipFile(stream) as archive:
                return _arrays(path, archive, weights)
        except UNSOUND as error:
            if isinstance(error, ValueError) and str(error).startswith(str(path)):
                raise
            raise ValueError(
                f"{path} is not a sound .npz or .npy file ({error}); save it again with numpy.savez"
            ) from error


def write(stream: io.BufferedIOBase, arrays: dict[str, np.ndarray]) -> None:
    """What ``numpy.savez`` writes, whatever the names are.

    Examples
    --------
    >>> write(stream := io.BytesIO(), {"file": np.zeros(2)})
    >>> print(np.load(io.BytesIO(stream.getvalue()))["file"])
    [0. 0.]
    """
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            with archive.open(name + SUFFIX, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _arrays(path: Path, archive: zipfile.ZipFile, weights: bool) -> dict[str, np.ndarray]:
    members = archive.infolist()
    there, claimed = path.stat().st_size, sum(member.file_size for member in members)
    if claimed > min(LARGEST, RATIO * there):
        raise ValueError(
            f"{path} has {there:,} bytes and claims to hold {claimed:,}: more than it can, or than {LARGEST:,}"
        )
    found: dict[str, np.ndarray] = {}
    for member in members:
        name = member.filename.removesuffix(SUFFIX)
        if name == member.filename:
            raise ValueError(
                f"{path} holds {member.filename!r}, which is not an array; it was not written by numpy.savez"
            )
        if name in found:
            raise ValueError(f"{path} holds {name!r} twice")
        with archive.open(member) as stream:
            found[name] = _array(path, name, cast(io.BufferedIOBase, stream), member.file_size, weights)
    if not found:
        raise ValueError(f"{path} holds no array")
    return found


def _array(path: Path, name: str, stream: io.BufferedIOBase, size: int, weights: bool) -> np.ndarray:
    """One array, whose header and entries take exactly `size` bytes."""
    where = f"{path}: {name}"
    try:
        version = np.lib.format.read_magic(stream)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if header is None:
            raise ValueError(f"version {version} of the format is not known")
        shape, fortran_order, dtype = header(stream)
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise ValueError(f"{where} has a damaged header ({str(error).splitlines()[0]})") from error
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise ValueError(f"{where} must hold real numbers of at most 64 bits, got dtype {dtype}")
    count = 1
    for axis in shape:
        count *= axis
    if count < 1 - weights or min(shape, default=1) < 0:
        raise ValueError(f"{where} is empty: its shape is {shape}")
    wanted = count * dtype.itemsize
    if size - stream.tell() != wanted:
        raise ValueError(f"{where} of shape {shape} needs {wanted:,} bytes, and there are {size - stream.tell():,}")
    content = stream.read(wanted)
    if len(content) != wanted:
        raise ValueError(f"{where} is cut off: it needs {wanted:,} bytes, and there are {len(content):,}")
    try:
        array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
    except (ValueError, OverflowError) as error:  # an axis that no array can have, beside one of no entries
        raise ValueError(f"{where} has the shape {shape} ({error})") from error
    if not weights and not np.isfinite(array).all():
        raise ValueError(f"{where} holds {np.count_nonzero(~np.isfinite(array))} infinite or NaN entries")
    return array
