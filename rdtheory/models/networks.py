"""Networks of the classic experiments, as two pure functions each: ``init`` draws the weights, ``apply`` uses them.

The weights are a tuple with one `Layer` for each layer, in order: a pytree, for any function that takes one. They
compute in their own precision: ``jax.tree.map(lambda w: w.astype(jnp.float64), params)`` changes it.

>>> network = lenet_300_100()
>>> params = network.init(jax.random.key(0))
>>> network.apply(params, jnp.zeros((5, 784))).shape
(5, 10)
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, PRNGKeyArray

from rdtheory import _checks, _compile

__all__ = ["Architecture", "Layer", "cifar", "lenet_300_100", "lenet_5", "mlp"]  # noqa: RUF022 (300 before 5)


class Layer(NamedTuple):
    """Weights of one layer, which computes x · weights + bias, or a convolution in place of the product."""

    weights: Float[Array, "*window inputs outputs"]  #: (inputs, outputs), or (rows, columns, inputs, outputs)
    bias: Float[Array, " outputs"]


class Architecture(NamedTuple):
    """A network without its weights."""

    init: Callable[..., tuple[Layer, ...]]  #: init(key), or init(key, dtype): random weights, biases zero
    apply: Callable[[tuple[Layer, ...], ArrayLike], Array]  #: apply(params, x): outputs (..., k) of inputs (..., m)


def mlp(sizes: Sequence[int]) -> Architecture:
    """Fully connected layers with ReLU between them.

    Parameters
    ----------
    sizes : number of inputs, of units in each hidden layer, of outputs.

    Raises
    ------
    ValueError : fewer than two sizes, or one below 1; in ``apply``, inputs of another size.

    Examples
    --------
    >>> network = mlp([64, 32, 10])
    >>> [layer.weights.shape for layer in network.init(jax.random.key(0))]
    [(64, 32), (32, 10)]
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes must name inputs and outputs at least, got {list(sizes)}")
    checked = [_checks.count("sizes", size, 1) for size in sizes]
    return Architecture(functools.partial(_init, tuple(itertools.pairwise(checked))), _mlp)


def lenet_300_100(inputs: int = 784, classes: int = 10) -> Architecture:
    """LeNet-300-100: two hidden layers, 266,610 weights for MNIST.

    Parameters
    ----------
    inputs, classes : numbers of inputs and of outputs.

    References
    ----------
    LeCun, Bottou, Bengio & Haffner (1998), with ReLU.

    Examples
    --------
    >>> params = lenet_300_100().init(jax.random.key(0))
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    266610
    """
    return mlp([inputs, 300, 100, classes])


def lenet_5(classes: int = 10) -> Architecture:
    """LeNet-5 on 28 × 28 pixels: two convolutions and three full layers, 61,706 weights.

    The picture gets a margin of two pixels, as in the original; means are pooled; ReLU, softmax, and every feature of
    the first layer seen by the second are the usual changes.

    Parameters
    ----------
    classes : number of outputs.

    References
    ----------
    LeCun, Bottou, Bengio & Haffner (1998).

    Examples
    --------
    >>> network = lenet_5()
    >>> params = network.init(jax.random.key(0), jnp.float32)
    >>> print(network.apply(params, jnp.zeros((2, 784))).dtype)
    float32
    """
    shapes = ((5, 5, 1, 6), (5, 5, 6, 16), (400, 120), (120, 84), (84, _checks.count("classes", classes, 1)))
    return Architecture(functools.partial(_init, shapes), _lenet_5)


def cifar(classes: int = 10) -> Architecture:
    """A small network for CIFAR-10: three 3 × 3 convolutions with maxima pooled, one full layer, 66,570 weights.

    Parameters
    ----------
    classes : number of outputs. Inputs are rows of 3 · 32 · 32 pixels, color by color.

    Examples
    --------
    >>> network = cifar()
    >>> network.apply(network.init(jax.random.key(0)), jnp.zeros((2, 3072))).shape
    (2, 10)
    """
    shapes = ((3, 3, 3, 32), (3, 3, 32, 64), (3, 3, 64, 64), (1024, _checks.count("classes", classes, 1)))
    return Architecture(functools.partial(_init, shapes), _cifar)


def _init(
    shapes: tuple[tuple[int, ...], ...], key: PRNGKeyArray, dtype: np.dtype | type | None = None
) -> tuple[Layer, ...]:
    return _draw(shapes, jnp.zeros(()).dtype if dtype is None else np.dtype(dtype), key)


@functools.partial(_compile.jit, static_argnums=(0, 1))
def _draw(shapes: tuple[tuple[int, ...], ...], dtype: np.dtype, key: Array) -> tuple[Layer, ...]:
    """Normal weights of variance 2 / fan-in, which keeps the size of signals through ReLU; biases zero."""
    keys = jax.random.split(key, len(shapes))
    return tuple(
        Layer(jax.random.normal(key, shape, dtype) * math.sqrt(2 / math.prod(shape[:-1])), jnp.zeros(shape[-1], dtype))
        for key, shape in zip(keys, shapes, strict=True)
    )


@_compile.jit
def _mlp(params: tuple[Layer, ...], x: ArrayLike) -> Array:
    return _dense(params, _rows(params, x, params[0].weights.shape[0]))


@_compile.jit
def _lenet_5(params: tuple[Layer, ...], x: ArrayLike) -> Array:
    rows = _rows(params, x, 28 * 28)
    maps = rows.reshape(-1, 28, 28, 1)
    for layer, margin in zip(params[:2], (2, 0), strict=True):
        maps = jnp.mean(_windows(jax.nn.relu(_convolve(maps, layer, margin))), axis=(2, 4))
    return _dense(params[2:], maps.reshape(*rows.shape[:-1], -1))


@_compile.jit
def _cifar(params: tuple[Layer, ...], x: ArrayLike) -> Array:
    rows = _rows(params, x, 3 * 32 * 32)
    maps = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    for layer in params[:3]:
        maps = jnp.max(_windows(jax.nn.relu(_convolve(maps, layer, 1))), axis=(2, 4))
    return _dense(params[3:], maps.reshape(*rows.shape[:-1], -1))


def _dense(params: tuple[Layer, ...], x: Array) -> Array:
    for layer in params[:-1]:
        x = jax.nn.relu(_affine(x, layer))
    return _affine(x, params[-1])


def _affine(x: Array, layer: Layer) -> Array:
    product = x @ layer.weights
    return product + jnp.broadcast_to(layer.bias, product.shape)


def _convolve(maps: Array, layer: Layer, margin: int) -> Array:
    """A convolution with a margin of zeros, as one product of all patches (n, rows, columns, window) with the weights.

    On processors XLA's own convolution is slow inside a loop: training took 4 (`lenet_5`) to 25 times (`cifar`) longer.
    """
    rows, columns, _, features = layer.weights.shape
    maps = jnp.pad(maps, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    height, width = maps.shape[1] - rows + 1, maps.shape[2] - columns + 1
    shifted = [maps[:, i : i + height, j : j + width, :] for i in range(rows) for j in range(columns)]
    return _affine(jnp.concatenate(shifted, axis=-1), Layer(layer.weights.reshape(-1, features), layer.bias))


def _windows(maps: Array) -> Array:
    """2 × 2 windows side by side, along the new axes 2 and 4."""
    n, rows, columns, features = maps.shape
    return maps.reshape(n, rows // 2, 2, columns // 2, 2, features)


def _rows(params: tuple[Layer, ...], x: ArrayLike, size: int) -> Array:
    """Inputs in the precision of the weights."""
    rows = _checks.stored(x).astype(params[0].weights.dtype)
    if rows.ndim == 0 or rows.shape[-1] != size:
        raise ValueError(
            f"x must have {size} inputs along its last axis (a picture is one row), got shape {rows.shape}"
        )
    return rows
