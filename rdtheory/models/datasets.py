"""Real inputs that come with an installed package: nothing is downloaded."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Shaped

__all__ = ["Dataset", "breast_cancer", "diabetes", "digits"]


class Dataset(NamedTuple):
    """Examples and what to predict from them."""

    inputs: Float[Array, "n m"]
    labels: Shaped[Array, " n"]  #: class numbers, or real targets for regression


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
    return Dataset(jnp.asarray(images / 16.0), jnp.asarray(labels))


def diabetes() -> Dataset:
    """Diabetes progression, 442 patients, 10 standardized inputs, a real target.

    Raises
    ------
    ModuleNotFoundError : scikit-learn is not installed.

    Examples
    --------
    >>> diabetes().inputs.shape
    (442, 10)
    """
    inputs, targets = _sklearn().load_diabetes(return_X_y=True, scaled=False)
    return Dataset(_standardized(inputs), jnp.asarray(targets))


def breast_cancer() -> Dataset:
    """Breast cancer diagnosis, 569 tumors, 30 standardized and strongly correlated inputs, labels 0 and 1.

    Raises
    ------
    ModuleNotFoundError : scikit-learn is not installed.

    Examples
    --------
    >>> breast_cancer().inputs.shape
    (569, 30)
    """
    inputs, labels = _sklearn().load_breast_cancer(return_X_y=True)
    return Dataset(_standardized(inputs), jnp.asarray(labels))


def _standardized(inputs) -> Array:
    return jnp.asarray((inputs - inputs.mean(axis=0)) / inputs.std(axis=0))


def _sklearn():
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the bundled data sets come with scikit-learn; install it with: pip install 'rdtheory[data]'",
            name=error.name,
        ) from error
    return datasets
