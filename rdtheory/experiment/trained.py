"""The networks that are compressed: data, a split, weights fitted on the training part, and scores on the test part."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from rdtheory.models import datasets, evaluation, networks, training
from rdtheory.models.datasets import Split
from rdtheory.models.networks import Architecture, Layer

__all__ = ["Scores", "Trained", "check", "scores", "train"]

DATA = ("digits", "mnist5k", "idx:DIR", "cifar:DIR")
BATCH = 250  # examples scored at once
TRAINING = {  # epochs, batch size, learning rate
    "digits": (60, 32, 3e-3),
    "mnist5k": (8, 64, 2e-3),
    "idx": (20, 64, 1e-3),
    "cifar": (20, 64, 1e-3),
}
Matrices = tuple[Array, ...]


class Trained(NamedTuple):
    """A network as the compressors see it: each layer one matrix, (inputs + 1, outputs), its last row the bias."""

    apply: Callable[[Matrices, ArrayLike], Array]
    matrices: Matrices
    split: Split


class Scores(NamedTuple):
    """What a compressed network is worth on examples it has not seen."""

    accuracy: float
    cross_entropy: float  #: bits per example
    kl: float  #: bits per example, from the full network


def check(data: str) -> None:
    """Raise ValueError unless `data` names one of `DATA`."""
    kind, _, folder = data.partition(":")
    if data not in ("digits", "mnist5k") and not (kind in ("idx", "cifar") and folder):
        raise ValueError(f"data must be one of {', '.join(DATA)}, got {data!r}")


def train(data: str, seed: int, *, progress: bool = True) -> Trained:
    """The network of a data set, fitted anew; the same seed gives the same split and the same weights.

    Parameters
    ----------
    data : ``"digits"`` (64-32-10), ``"mnist5k"`` (LeNet-5), ``"idx:DIR"`` (LeNet-300-100), ``"cifar:DIR"``.
    seed : of the split, where the data have no test part of their own, of the first weights and of the batches.
    progress : show a bar on stderr.

    Raises
    ------
    ValueError : another name; files that are damaged.
    ModuleNotFoundError, FileNotFoundError : data that are not there.
    """
    check(data)
    key = jax.random.key(seed)
    kind = data.partition(":")[0]
    split, architecture = _split(data, jax.random.fold_in(key, 0)), _architecture(kind)
    epochs, batch_size, learning_rate = TRAINING[kind]
    start = architecture.init(jax.random.fold_in(key, 1), jnp.float32)
    fitted = training.fit(
        architecture.apply,
        start,
        split.train.inputs,
        split.train.labels,
        key=jax.random.fold_in(key, 2),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        held_out=split.validation,
        patience=epochs,
        progress=progress,
    )
    shapes = tuple(layer.weights.shape for layer in fitted.params)
    matrices = tuple(_joined(jax.tree.map(lambda x: x.astype(float), layer)) for layer in fitted.params)
    return Trained(_apply(architecture.apply, shapes), matrices, split)


def scores(trained: Trained, matrices: Matrices, part: str = "test") -> Scores:
    """Of compressed matrices, on the ``"test"`` or the ``"validation"`` part."""
    inputs, labels = getattr(trained.split, part)
    return Scores(
        float(evaluation.accuracy(trained.apply, matrices, inputs, labels, batch_size=BATCH)),
        float(evaluation.cross_entropy(trained.apply, matrices, inputs, labels, batch_size=BATCH)),
        float(evaluation.kl(trained.apply, trained.matrices, matrices, inputs, batch_size=BATCH)),
    )


def _split(data: str, key: Array) -> Split:
    kind, _, folder = data.partition(":")
    if kind in ("digits", "mnist5k"):
        return datasets.split(key, getattr(datasets, kind)())
    load = datasets.idx if kind == "idx" else datasets.cifar10
    parts = datasets.split(key, load(folder), test=0)
    return parts._replace(test=load(folder, test=True))


@functools.cache
def _architecture(kind: str) -> Architecture:
    if kind == "digits":
        return networks.mlp([64, 32, 10])
    return {"mnist5k": networks.lenet_5, "idx": networks.lenet_300_100, "cifar": networks.cifar}[kind]()


@functools.cache
def _apply(apply: Callable, shapes: tuple[tuple[int, ...], ...]) -> Callable[[Matrices, ArrayLike], Array]:
    """One function object for each network, so that what is compiled for it is found again."""

    def applied(matrices: Matrices, x: ArrayLike) -> Array:
        layers = (Layer(w[:-1].reshape(shape), w[-1]) for w, shape in zip(matrices, shapes, strict=True))
        return apply(tuple(layers), x)

    return applied


def _joined(layer: Layer) -> Array:
    return jnp.concatenate([layer.weights.reshape(-1, layer.weights.shape[-1]), layer.bias[None, :]])
