"""What a network is worth on a data set, and how far a compressed one is from it.

Outputs are made in batches, so memory is bounded whatever the number of examples.
``apply(params, x)`` is any model that gives one row of outputs for each row of x.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from rdtheory import _checks, _compile
from rdtheory.models import _examples
from rdtheory.models._examples import Apply

__all__ = ["accuracy", "cross_entropy", "kl", "squared_error"]

LN2 = math.log(2)


def accuracy(
    apply: Apply,
    params: Any,
    inputs: Float[ArrayLike, "n m"],
    labels: Int[ArrayLike, " n"],
    *,
    batch_size: int = 1000,
) -> Float[Array, ""]:
    """Share of examples whose largest output is that of their label; of equal outputs the first counts.

    Parameters
    ----------
    apply, params : the model; its outputs are (n, k).
    inputs : (n, m).
    labels : (n,), class numbers from 0 to k - 1.
    batch_size : examples that are computed at once.

    Raises
    ------
    ValueError : not one label per input, a label out of range, outputs of another shape.

    Examples
    --------
    >>> x, labels = jnp.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1, 1])
    >>> print(accuracy(lambda w, x: x @ w, jnp.eye(2), x, labels))
    0.6666666666666666
    """
    return _against_labels(_right, apply, params, inputs, labels, batch_size)


def cross_entropy(
    apply: Apply,
    params: Any,
    inputs: Float[ArrayLike, "n m"],
    labels: Int[ArrayLike, " n"],
    *,
    batch_size: int = 1000,
) -> Float[Array, ""]:
    r"""Mean of :math:`-\log_2 p_w(\text{label} \mid x)`, in bits per example, for p the softmax of the outputs.

    Parameters, errors: as in `accuracy`. Differentiable in `params`.

    Examples
    --------
    >>> print(cross_entropy(lambda w, x: x @ w, jnp.zeros((2, 4)), jnp.ones((3, 2)), jnp.array([0, 1, 3])))
    2.0
    """
    return _against_labels(surprise, apply, params, inputs, labels, batch_size)


def kl(
    apply: Apply, params: Any, params_hat: Any, inputs: Float[ArrayLike, "n m"], *, batch_size: int = 1000
) -> Float[Array, ""]:
    r"""Distortion of a compressed classifier, the mean of :math:`KL(p_w(\cdot|x) \| p_{\hat w}(\cdot|x))` in bits.

    Parameters
    ----------
    apply : the model; p is the softmax of its outputs.
    params, params_hat : the network and the compressed one, of the same structure.
    inputs : (n, m).
    batch_size : examples that are computed at once.

    Returns
    -------
    kl : >= 0, bits per example; infinite where only the compressed network rules a class out, by an output of -inf. A
        class that both rule out counts for nothing. Differentiable in both networks where it is finite.

    References
    ----------
    Gao, Liu, Wang & Oh (2019), the distortion of classification.

    Examples
    --------
    >>> w, w_hat = jnp.zeros((1, 2)), jnp.log(jnp.array([[1.0, 3.0]]))
    >>> print(f"{kl(lambda w, x: x @ w, w, w_hat, jnp.ones((1, 1))):.6f}")
    0.207519
    """
    return _between(_divergence, apply, params, params_hat, inputs, batch_size)


def squared_error(
    apply: Apply, params: Any, params_hat: Any, inputs: Float[ArrayLike, "n m"], *, batch_size: int = 1000
) -> Float[Array, ""]:
    r"""Distortion of a compressed regression, the mean of :math:`\|f_w(x) - f_{\hat w}(x)\|^2`.

    Parameters: as in `kl`.

    Examples
    --------
    >>> print(squared_error(lambda w, x: x @ w, jnp.eye(2), jnp.zeros((2, 2)), jnp.array([[3.0, 4.0]])))
    25.0
    """
    return _between(_difference, apply, params, params_hat, inputs, batch_size)


def surprise(outputs: Array, labels: Array) -> Array:
    """Bits of each label under the softmax of its row of outputs."""
    return -jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], axis=1)[:, 0] / LN2


@functools.partial(_compile.jit, static_argnums=(0, 1, 5))
def mean(score: Callable, apply: Apply, networks: tuple, x: Array, y: Array | None, batch_size: int) -> Array:
    """Mean over all rows of the score of the networks' outputs, `batch_size` rows at a time."""

    def total(batch: tuple[Array, Array | None]) -> Array:
        return jnp.sum(score(*(apply(params, batch[0]) for params in networks), batch[1]))

    whole = len(x) // batch_size * batch_size
    first = jax.tree.map(lambda a: a[:whole].reshape(-1, batch_size, *a.shape[1:]), (x, y))
    rest = jax.tree.map(lambda a: a[whole:], (x, y))
    parts = [jnp.sum(lax.map(total, first))] if whole else []
    parts += [total(rest)] if whole < len(x) else []
    return jnp.stack(parts).sum() / len(x)


def _against_labels(
    score: Callable, apply: Apply, params: Any, inputs: ArrayLike, labels: ArrayLike, batch_size: int
) -> Array:
    size = _checks.count("batch_size", batch_size, 1)
    x, x_ok = _examples.rows(inputs)
    y, y_ok = _examples.classes(labels, len(x), _examples.outputs(apply, params, x))
    return _checks.poison(mean(score, apply, (params,), x, y, size), x_ok & y_ok)


def _between(score: Callable, apply: Apply, params: Any, params_hat: Any, inputs: ArrayLike, batch_size: int) -> Array:
    size = _checks.count("batch_size", batch_size, 1)
    x, ok = _examples.rows(inputs)
    k, k_hat = _examples.outputs(apply, params, x), _examples.outputs(apply, params_hat, x)
    if k != k_hat:
        raise ValueError(f"params and params_hat must make as many outputs, got {k} and {k_hat}")
    return _checks.poison(mean(score, apply, (params, params_hat), x, None, size), ok)


def _right(outputs: Array, labels: Array) -> Array:
    # argmax takes a NaN for the largest, and a broken network would be right about its first class.
    right = (jnp.argmax(outputs, axis=1) == labels) & ~jnp.isnan(outputs).any(axis=1)
    return right.astype(outputs.dtype)


def _divergence(outputs: Array, outputs_hat: Array, _: None) -> Array:
    """Σ p log(p/q) = Σ (q - p - p d), d = log(q/p): every term is >= 0, so a small sum is not lost among large ones."""
    log_p, log_q = jax.nn.log_softmax(outputs), jax.nn.log_softmax(outputs_hat)
    masked = jnp.isneginf(log_p)  # p = 0, whatever q is: the term is q
    p, q, d = jnp.exp(log_p), jnp.exp(log_q), jnp.where(masked, 0.0, log_q - log_p)
    small = abs(d) < 1
    near = jnp.where(small, d, 0.0)
    terms = jnp.where(small, p * (jnp.expm1(near) - near), q - p - p * d)
    return jnp.sum(jnp.where(masked, q, terms), axis=1) / LN2


def _difference(outputs: Array, outputs_hat: Array, _: None) -> Array:
    # Outputs that are infinite alike, as of masked classes, are no difference; where finite, all derivatives are kept.
    alike = jnp.isinf(outputs) & (outputs == outputs_hat)
    return jnp.sum(jnp.where(alike, 0.0, outputs - outputs_hat) ** 2, axis=1)
