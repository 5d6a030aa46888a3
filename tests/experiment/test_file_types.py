import itertools

import jax
import numpy as np
import onnxruntime
import pytest

from rdtheory.experiment import file_types

LETTERS = [8, 16, 32, 64, 128, 256] * 10


@pytest.fixture(scope="module")
def content():
    return file_types.inputs(file_types.files()[:120])


def theirs(content):
    """What the runtime that the network is made for computes of the file as it is."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file_types._folder() / "model.onnx"), options)
    return session.run(None, {"bytes": content})[0]


def ours(content):
    return np.asarray(jax.nn.softmax(jax.jit(file_types.apply)(file_types.load(), content), axis=1))


def test_the_port_computes_what_the_network_does():
    rng = np.random.default_rng(0)
    content = np.stack([rng.choice(256, letters, replace=False)[rng.integers(0, letters, 2048)] for letters in LETTERS])
    np.testing.assert_allclose(ours(content), theirs(content.astype(np.int32)), rtol=0, atol=2e-5)


def test_the_port_decides_on_files_as_the_network_does(content):
    """Where a channel hardly changes its variance cancels in float32, by 3 % where it is added up one by one."""
    apart = np.abs(ours(content) - theirs(content)).max(axis=1)
    assert np.median(apart) < 1e-5 and apart.max() < 0.02


def test_pieces_are_seen_as_files_of_their_own(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(whole := bytes(range(1, 250)) * 60)
    found = file_types.inputs([path], each=3)
    ends = [len(whole) * piece // 3 for piece in range(4)]
    pieces = [whole[start:end] for start, end in itertools.pairwise(ends)]
    np.testing.assert_array_equal(found, [file_types.features(piece) for piece in pieces])
    assert len(file_types.inputs([path], each=9)) == 3  # of 4096 bytes at least


def test_empty_and_blank_files_are_nothing():
    assert (file_types.features(b"") == 256).all()
    assert (file_types.features(b" \n" * 3000) == 256).all()


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(file_types.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"rdtheory\[filetypes\]"):
        file_types.load()


def test_another_network_is_refused(monkeypatch):
    monkeypatch.setattr(file_types.arrays, "read", lambda path: ({"Dense_0/Reshape:0": np.zeros(3)}, {}))
    with pytest.raises(ValueError, match="another network"):
        file_types.load()


def test_patches_are_what_the_kernel_meets(content):
    params = file_types.load()
    seen, _ = file_types.layer_inputs(params, content[:2])
    rows = file_types.patches(seen, np.array([[0, 507], [17, 100]]))
    results = file_types._convolution(seen, jax.numpy.asarray(params["convolution/kernel"]))[
        np.array([0, 0, 1, 1]), [0, 507, 17, 100]
    ]
    np.testing.assert_allclose(rows @ params["convolution/kernel"].reshape(512, 1280).T, results, rtol=0, atol=1e-3)
