"""Files of arrays: what NumPy writes is read, and nothing else is believed."""

import io
import zipfile

import numpy as np
import pytest

from rdtheory.codec import npz

ARRAYS = {
    "a": np.arange(6.0).reshape(2, 3),
    "b": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(3, 2)),
    "file": np.array([True, False]),
    "scalar": np.array(3, np.int16),
}


def by_ourselves(path, **arrays):
    with path.open("wb") as stream:
        npz.write(stream, arrays)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed, by_ourselves])
def test_what_numpy_writes_is_read(tmp_path, save):
    given = ARRAYS if save is by_ourselves else {name: array for name, array in ARRAYS.items() if name != "file"}
    save(tmp_path / "x.npz", **given)
    found = npz.read(tmp_path / "x.npz")
    assert list(found) == list(given)
    for name, array in given.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


def test_one_array_is_named_as_its_file(tmp_path):
    np.save(tmp_path / "weights.npy", ARRAYS["b"])
    np.testing.assert_array_equal(npz.read(tmp_path / "weights.npy")["weights"], ARRAYS["b"])


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    return tmp_path / "x.npz"


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([1 + 2j]), "real numbers"),
        (np.array(["text"]), "real numbers"),
        (np.array([{}], dtype=object), "damaged header|real numbers"),
        (np.array([1.0, np.nan]), "1 infinite or NaN"),
        (np.array([np.inf, np.nan]), "2 infinite or NaN"),
        (np.zeros((0, 3)), "empty"),
        (np.zeros(2, "M8[s]"), "real numbers"),
        (np.zeros(2, np.longdouble), "64 bits"),
    ],
)
def test_an_array_that_holds_no_weights_is_named(tmp_path, array, said):
    with pytest.raises(ValueError, match=rf"x\.npz: bad.*({said})"):
        npz.read(saved(tmp_path, bad=array))


def written(tmp_path, members, **options):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", **options) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return tmp_path / "x.npz"


def header(shape, descr="<f8"):
    text = str({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "holds no array"),
        ([("readme.txt", b"hello")], "readme.txt"),
        ([("w.npy", b"no header")], "damaged header"),
        ([("w.npy", header((2**40,)))], "needs 8,796,093,022,208 bytes"),
        ([("w.npy", header((2,)) + bytes(24))], "needs 16 bytes, and there are 24"),
        ([("w.npy", header((-2, -2)) + bytes(32))], "empty"),
        ([("w.npy", header((2,), "|O") + bytes(16))], "real numbers"),
        ([("w.npy", b"\x93NUMPY\x09\x00" + bytes(100))], "version"),
    ],
)
def test_a_header_that_does_not_go_with_its_bytes_is_refused(tmp_path, members, said):
    with pytest.raises(ValueError, match=rf"x\.npz.*{said}"):
        npz.read(written(tmp_path, members))


def test_more_than_can_be_packed_into_a_file_is_refused_unread(tmp_path, monkeypatch):
    path = written(tmp_path, [("w.npy", header((2**20,)) + bytes(2**23))], compression=zipfile.ZIP_DEFLATED)
    assert npz.read(path)["w"].size == 2**20
    monkeypatch.setattr(npz, "LARGEST", 2**22)
    with pytest.raises(ValueError, match="claims to hold 8,388,736"):
        npz.read(path)


def test_a_file_that_is_not_there_or_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        npz.read(tmp_path / "x.npz")
    with pytest.raises(FileNotFoundError, match="folder"):
        npz.read(tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_file_is_read_or_refused(tmp_path, save):
    path, rng = tmp_path / "x.npz", np.random.default_rng(0)
    save(path, a=rng.normal(size=50), b=np.arange(20))
    whole, read, refused = path.read_bytes(), 0, 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(bytes(data[: rng.integers(len(data)) if rng.random() < 0.3 else None]))
        try:
            found = npz.read(path)
        except ValueError as error:
            assert "x.npz" in str(error)
            refused += 1
        else:
            read += 1
            assert all(np.isfinite(array).all() for array in found.values())
    assert refused > 100 and read > 0, "flips of unused bytes leave a sound file"


def test_names_that_savez_has_for_itself_are_written():
    stream = io.BytesIO()
    npz.write(stream, {"file": np.zeros(2), "allow_pickle": np.ones(1)})
    assert set(np.load(io.BytesIO(stream.getvalue()))) == {"file", "allow_pickle"}
