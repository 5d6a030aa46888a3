"""The layers of a network that are worth compressing: matrices, the moments that errors are measured in, and a weight.

An error Δ of layer l costs about β_l tr Δᵀ Σ_l Δ of the network's output, so that one water level serves all layers.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree
from scipy import optimize

from rdtheory.models import calibration, importance
from rdtheory.network.gaussian_prior import components, prior
from rdtheory.results import LayerPrior, WeightMoments

__all__ = ["Layer", "found", "level", "replaced", "second_order"]

LEAST = 1024  # weights of a matrix; in fewer, scales and headers are what is paid for


class Layer(NamedTuple):
    """One array of weights, as `parts` matrices (m, k)."""

    name: str
    leaf: int  #: number among the leaves
    moments: WeightMoments
    turned: bool  #: a table: its rows are looked up, so that its columns are the inputs here
    weights: np.ndarray  #: (parts, m, k)
    metric: np.ndarray  #: (parts, m, m), Σ, drawn toward its diagonal where rows are few: what codes are made in
    seen: np.ndarray  #: (parts, m, m), Σ as it was found, whose log-determinant and so R(D) are on average too small
    scales: np.ndarray  #: (parts,), β, output units per squared unit of the layer's results
    fits: list[LayerPrior]  #: of each part
    variances: list[np.ndarray]  #: of each part the components that its prior has in `seen`
    rows_per_input: float


def found(params: PyTree, moments: PyTree) -> tuple[list[Layer], list[tuple[str, str, int]]]:
    """Layers to compress; names, reasons and sizes of the leaves that stay as they are."""
    layers, skipped = [], []
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    all_moments = jax.tree.leaves(moments, is_leaf=lambda x: isinstance(x, WeightMoments))
    for number, ((path, leaf), one) in enumerate(zip(leaves, all_moments, strict=True)):
        name = jax.tree_util.keystr(path, simple=True, separator="/") or "weights"
        reason = one.reason or _unfit(one)
        if reason:
            skipped.append((name, reason, leaf.size))
        else:
            layers.append(_layer(name, number, leaf, one))
    return layers, skipped


def _unfit(moments: WeightMoments) -> str:
    _, m, k = moments.layout.shape
    if m * k < LEAST:
        return f"it has matrices of {m * k:,} weights, fewer than {LEAST:,}"
    if _is_table(moments):
        return "" if np.ndim(moments.outputs) == 3 else "both of its sides are beyond 8,192"
    if isinstance(moments.inputs, tuple) or np.ndim(moments.inputs) == 2:
        return f"its fan-in of {m:,} is beyond 8,192"
    return ""


def _is_table(moments: WeightMoments) -> bool:
    """Whether rows are looked up: how often, and with what else the array is used for, another text would say."""
    return "embedding" in moments.kinds and moments.layout.shape[0] == 1


def _layer(name: str, number: int, leaf: np.ndarray, moments: WeightMoments) -> Layer:
    weights = np.asarray(importance.to_matrices(leaf, moments), float)
    if _is_table(moments):
        weights = np.swapaxes(weights, 1, 2)
        # What is rare here may not be elsewhere, so each row counts alike.
        seen, scales, rows = moments.outputs / weights.shape[2], np.ones(1), math.inf
        metric = seen
    else:
        rows, seen = float(moments.rows.min()), np.asarray(moments.inputs)
        metric = np.stack([calibration.shrunk(x, rows).moments for x in seen])
        scales = np.array([_trace(y) / y.shape[0] for y in moments.outputs])
    fits = [prior(part) for part in weights]
    turned = _is_table(moments)
    variances = [components(*both) for both in zip(seen, fits, strict=True)]
    return Layer(name, number, moments, turned, weights, metric, seen, scales, fits, variances, rows / weights.shape[1])


def _trace(x: np.ndarray) -> float:
    return float(np.trace(x) if x.ndim == 2 else np.sum(x))


def level(layers: Sequence[Layer], bits: float) -> tuple[float, np.ndarray]:
    """The water level at which R(D) of all layers together is so many bits per weight, and all their components.

    A network whose layers have no effect has level 1.
    """
    pairs = ((scale, own) for layer in layers for scale, own in zip(layer.scales, layer.variances, strict=True))
    variances = np.concatenate([scale * own for scale, own in pairs])
    seen = variances[variances > 0]
    if not seen.size:
        return 1.0, variances

    def excess(log_level: float) -> float:
        return float(np.sum(np.maximum(np.log2(seen) - log_level, 0.0))) / (2 * variances.size) - bits

    low = math.log2(seen.min()) - 2 * bits * variances.size / seen.size - 1
    return 2.0 ** optimize.brentq(excess, low, math.log2(seen.max()), xtol=1e-6), variances


def replaced(params: PyTree, layers: Sequence[Layer], weights_hat: Sequence[np.ndarray]) -> PyTree:
    """The network with the matrices of its layers replaced."""
    leaves, structure = jax.tree.flatten(params)
    for layer, matrices in zip(layers, weights_hat, strict=True):
        turned = np.swapaxes(matrices, 1, 2) if layer.turned else matrices
        leaves[layer.leaf] = importance.from_matrices(turned, leaves[layer.leaf], layer.moments)
    return jax.tree.unflatten(structure, leaves)


def second_order(layer: Layer, error: np.ndarray) -> float:
    """What an error costs of the network's output, tr Δᵀ A Δ B, with the whole of B."""
    if layer.turned:
        return float(np.sum((layer.metric @ error) * error))
    lost = np.swapaxes(error, 1, 2) @ layer.moments.inputs @ error
    outputs = layer.moments.outputs
    return float(np.sum(lost * outputs) if outputs.ndim == 3 else np.sum(np.diagonal(lost, axis1=1, axis2=2) * outputs))
