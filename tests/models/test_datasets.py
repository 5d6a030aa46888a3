import socket
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from rdtheory import datasets


@pytest.mark.parametrize(
    ("name", "shape"), [("digits", (1797, 64)), ("diabetes", (442, 10)), ("breast_cancer", (569, 30))]
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
