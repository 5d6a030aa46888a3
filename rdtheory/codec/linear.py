"""Linear layers compressed to a distortion asked for, as bytes, beside the rate that no code can go below.

A layer f(x) = xᵀ W, W (inputs, outputs), loses d(W, Ŵ) = tr (W - Ŵ)ᵀ Σ (W - Ŵ) of the squared outputs, Σ = E x xᵀ. Its
weights are rounded input after input, what is still to come making up for the errors (`quantize.error_feedback`); the
steps of all layers follow one water level, found by bisection so that the distortion is met from below.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from rdtheory.limits import gaussian, linear
from rdtheory.results import Quantized
from rdtheory.schemes import bitstream, quantize, scalar

HALVINGS = 14  # of an octave of the level, to 1e-4
DAMPING = 1e-6  # of the mean of Σ's diagonal: inputs that never vary leave it singular
STEPS_OF = ("one step for a layer", "a step for each input", "a step and a class for each input")


class Layer(NamedTuple):
    """One array of weights and the second moments of its inputs."""

    weights: np.ndarray  #: (m, k)
    moments: np.ndarray  #: (m, m), Σ
    variance: float  #: mean square of the weights
    shape: tuple[int, ...]  #: as it was given
    dtype: np.dtype  #: of what is decoded


class Compressed(NamedTuple):
    """What `compress` made, and how far it is from the limit."""

    data: bytes  #: `bitstream.decode` and `bitstream.dequantize` give the weights
    weights_hat: dict[str, np.ndarray]  #: as they are decoded
    distortion: float  #: of those, squared output units, at most what was asked for
    rate: float  #: bits per weight, 8 · len(data) over their number
    bound: float  #: R(D) at that distortion, bits per weight, of Gaussian weights with the same mean squares
    steps_of: str  #: which of `STEPS_OF` took the fewest bytes


def layers(weights: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]) -> dict[str, Layer]:
    """Each array of weights with the moments of the inputs of its name, or of the only ones where there is one array.

    Weights are decoded in the precision they came in, at least float32 and at most float64.

    Raises
    ------
    TypeError : weights that are not floating.
    ValueError : no inputs of that name, or of another width; weights of more than two axes.

    Examples
    --------
    >>> found = layers({"w": np.ones((2, 3))}, {"x": np.array([[1.0, 0.0], [1.0, 2.0]])})
    >>> print(found["w"].moments)
    [[1. 1.]
     [1. 2.]]
    """
    alone = len(weights) == len(inputs) == 1
    found = {}
    for name, array in weights.items():
        x = next(iter(inputs.values())) if alone else inputs.get(name)
        if x is None:
            raise ValueError(f"there are no inputs for the weights {name!r}; the inputs are named {', '.join(inputs)}")
        if array.ndim not in (1, 2):
            raise ValueError(f"weights {name!r} must be of shape (inputs,) or (inputs, outputs), got {array.shape}")
        if x.ndim != 2 or x.shape[1] != array.shape[0]:
            raise ValueError(
                f"inputs of {name!r} must be of shape (examples, {array.shape[0]}), as its weights have shape "
                f"{array.shape}, got {x.shape}"
            )
        w, x = np.asarray(array, float).reshape(len(array), -1), np.asarray(x, float)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(
                f"weights {name!r} must be floating, got dtype {array.dtype}; leave out what is not weights, and turn "
                "weights to float first"
            )
        dtype = np.dtype(np.float32 if array.dtype.itemsize <= 4 else np.float64)
        found[name] = Layer(w, x.T @ x / len(x), float(np.mean(w**2)), array.shape, dtype)
    return found


def distortion_of(layers: Mapping[str, Layer], weights_hat: Mapping[str, np.ndarray]) -> float:
    """Σ over the layers of tr (W - Ŵ)ᵀ Σ (W - Ŵ): the mean squared change of all outputs.

    Examples
    --------
    >>> found = layers({"w": np.ones(1)}, {"x": np.full((5, 1), 2.0)})
    >>> print(distortion_of(found, {"w": np.array([0.5])}))
    1.0
    """
    total = 0.0
    for name, layer in layers.items():
        error = layer.weights - np.asarray(weights_hat[name], float).reshape(layer.weights.shape)
        total += float(np.sum(error * (layer.moments @ error)))
    return total


def bound(layers: Mapping[str, Layer], distortion: float) -> float:
    """R(D) in bits, of Gaussian weights, independent and with the mean square of their layer: reverse water-filling.

    Other weights of those mean squares may take less, and none that are independent of each other more.

    Examples
    --------
    >>> found = layers({"w": np.ones((1, 2))}, {"x": np.ones((1, 1))})
    >>> print(bound(found, 0.5))
    2.0
    """
    components = [
        np.repeat(np.asarray(linear.component_variances(*_covariances(layer))), layer.weights.shape[1])
        for layer in layers.values()
    ]
    return float(gaussian.water_filling(jnp.asarray(np.concatenate(components)), distortion).rate)


def compress(
    weights: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
    distortion: float,
    *,
    progress: Callable[[], None] = lambda: None,
) -> Compressed:
    """Bytes that stand for weights within a distortion of the outputs.

    Parameters
    ----------
    weights : arrays (inputs,) or (inputs, outputs) by name.
    inputs : (examples, inputs) for each of those names, or one array if there is one of weights.
    distortion : D > 0, of all layers together, in squared output units.
    progress : called once for each of `TURNS` pieces of work.

    Raises
    ------
    ValueError : shapes that do not go together, a distortion that is not positive.
    TypeError : weights that are not floating.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found = compress({"w": rng.normal(size=(20, 30))}, {"x": rng.normal(size=(200, 20))}, 6.0)
    >>> print(found.distortion <= 6.0, found.rate > found.bound, bitstream.decode(found.data)["w"].labels.shape)
    True True (20, 30)
    """
    if not (math.isfinite(distortion) and distortion > 0):
        raise ValueError(f"distortion must be > 0 and finite, got {distortion}")
    known = layers(weights, inputs)
    candidates = []
    per_input = [_at_distortion(known, distortion, columns, progress) for columns in (False, True)]
    for way, tree in zip(STEPS_OF, [*per_input, _with_classes(known, per_input[1])], strict=True):
        data = bitstream.encode(tree)
        candidates.append((len(data), way, data))
        progress()
    _, way, data = min(candidates)
    decoded = decompress(data)
    reached = distortion_of(known, decoded)
    count = sum(layer.weights.size for layer in known.values())
    least = bound(known, reached) if reached > 0 else math.inf
    return Compressed(data, decoded, reached, 8 * len(data) / count, least / count, way)


TURNS = 2 * HALVINGS + len(STEPS_OF)


def decompress(data: bytes) -> dict[str, np.ndarray]:
    """The weights that `compress` put there.

    Raises
    ------
    ValueError : data that is damaged, or of another structure.

    Examples
    --------
    >>> decompress(b"RD")
    Traceback (most recent call last):
    ValueError: the bitstream is cut off: it has 2 bytes
    """
    tree = bitstream.decode(data)
    if not isinstance(tree, dict) or not all(isinstance(leaf, Quantized) for leaf in tree.values()):
        raise ValueError("the bitstream does not hold arrays of weights by name")
    return {name: np.asarray(bitstream.dequantize(leaf)) for name, leaf in tree.items()}


def _at_distortion(
    known: Mapping[str, Layer], distortion: float, columns: bool, progress: Callable[[], None]
) -> dict[str, Quantized]:
    """The coarsest steps found that keep the distortion."""
    silent = {name: np.zeros_like(layer.weights) for name, layer in known.items()}
    if distortion_of(known, silent) <= distortion:
        return {name: _leaf(layer, np.zeros(layer.weights.shape, int), np.ones(1)) for name, layer in known.items()}
    count = sum(layer.weights.size for layer in known.values())
    metrics = {name: jnp.asarray(_damped(layer.moments)) for name, layer in known.items()}

    def at(log_level: float) -> tuple[dict[str, Quantized], bool]:
        tree = {}
        for name, layer in known.items():
            found = quantize.uniform(
                layer.weights.T, 1.0, 2.0**log_level, columns=columns, metric=metrics[name], damping=0.0
            )
            steps = np.asarray(found.steps.rows[0] * found.steps.columns[0])
            tree[name] = _leaf(layer, np.asarray(found.labels).T, steps)
        decoded = {name: np.asarray(bitstream.dequantize(leaf)) for name, leaf in tree.items()}
        return tree, distortion_of(known, decoded) <= distortion

    low = math.log2(distortion / count)
    best, met = at(low)
    while not met:  # labels are not as even as at high rate, or all outputs depend on few inputs
        low -= 1
        best, met = at(low)
    high = low + 1
    tree, met = at(high)
    while met:
        best, low, high = tree, high, high + 1
        tree, met = at(high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        tree, met = at(middle)
        best, low, high = (tree, middle, high) if met else (best, low, middle)
        progress()
    return best


def _leaf(layer: Layer, labels: np.ndarray, steps: np.ndarray) -> Quantized:
    """In the shape and the precision of the weights; a label that fits a byte is one."""
    reach = int(np.abs(labels).max(initial=0))
    kind = np.int8 if reach < 2**7 else np.int16 if reach < 2**15 else np.int32
    step = np.where(np.isfinite(steps), steps, 0.0).astype(layer.dtype)
    step = step.reshape(-1, *[1] * (len(layer.shape) - 1)) if np.ptp(step) > 0 else step[0]
    return Quantized(labels=labels.astype(kind).reshape(layer.shape), step=step)


def _with_classes(known: Mapping[str, Layer], tree: dict[str, Quantized]) -> dict[str, Quantized]:
    """Frequencies of their own for inputs whose steps are alike, as far as those differ."""

    def split(layer: Layer, leaf: Quantized) -> Quantized:
        assert leaf.step is not None
        step = np.where(leaf.step > 0, leaf.step, np.inf)  # `scalar` takes it so
        return leaf._replace(classes=np.asarray(scalar.spread_classes(np.full(step.shape, layer.variance), step)))

    return {name: split(known[name], leaf) for name, leaf in tree.items()}


def _covariances(layer: Layer) -> tuple[Array, Array]:
    return jnp.asarray(layer.variance * np.eye(len(layer.moments))), jnp.asarray(layer.moments)


def _damped(moments: np.ndarray) -> np.ndarray:
    return moments + DAMPING * max(float(np.mean(np.diagonal(moments))), 1e-300) * np.eye(len(moments))
