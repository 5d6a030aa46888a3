"""A whole network, its formats and its limits, in one call."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree
from scipy import special

from rdtheory import _checks, _progress, _tree_checks
from rdtheory.models import _moments, importance
from rdtheory.network import measure
from rdtheory.network.gaussian_prior import compared
from rdtheory.network.layers import Layer, found, level, replaced, second_order
from rdtheory.results import CodedLayer, NetworkReport
from rdtheory.schemes import bitstream, feedback, formats

__all__ = ["FORMATS", "report"]

OURS = "our code"
CODE_LOSS = 0.1  # bits of a weight above R(D), about: what the water level is chosen for
NEAR, TURNS = 0.05, 3  # bits of a weight that its rate may miss what was asked for; levels that are tried


#: What is compared with, by name: of weights (m, k) and their metric.
FORMATS: dict[str, Callable] = {
    "8-bit per channel": lambda weights, metric: formats.integers(weights, 8),
    "4-bit in groups of 128": lambda weights, metric: formats.integers(weights, 4, 128),
    "NF4 in groups of 64": lambda weights, metric: formats.normal_floats(weights, 64),
    "GPTQ 4-bit in groups of 128": lambda weights, metric: formats.gptq(weights, metric, 4, 128),
    "half pruned": lambda weights, metric: formats.half_zero(weights),
}


class _Made(NamedTuple):
    """All layers in one format."""

    weights_hat: list[np.ndarray]
    bits: list[float]  # of each layer
    total: float  # of all


@_progress.doing("report")
def report(
    apply: Callable,
    params: PyTree,
    inputs: PyTree,
    *,
    bits: float = 4.0,
    kind: str = "jacobian",
    states: int = 8,
    held_out: float = 0.2,
    samples: int | None = None,
    key: PRNGKeyArray | None = None,
    batch_size: int | None = None,
) -> NetworkReport:
    r"""What the formats in use and our code take and lose on each layer of a network and in all, beside R(D).

    A part of the inputs gives the moments where weights meet activations (`importance.moments`); every loss that is
    reported is measured on the others. An error Δ of a layer is measured at its results, E‖Δᵀx‖², and costs about
    β E‖Δᵀx‖² of the network's output, β the mean of the output-gradients' moments. Our code takes the bits of all
    layers from one water level. R(D) of a layer is that of its `prior` at the distortion that a format has, and of the
    network that of all layers at the sum of their costs. It is computed with the moments of the calibration inputs as
    they are: from few rows they make it too small, and gaps too large, rather than the other way round.

    A table, of which rows are looked up, is measured in its output-gradients' moments, each row as often as any other.
    Arrays that are no layer, or of fewer than 1024 weights, stay as they are.

    Parameters
    ----------
    apply, params, inputs, kind, samples, key : as for `importance.moments`; no iterator and no ``"gradient"``. With
        ``"fisher"`` or ``"ggn"`` the outputs are logits, and what is measured at them is the divergence in bits.
    bits : per weight, about what our code is to take.
    states : of our code, as for `feedback.quantize`.
    held_out : share of the inputs that all losses are measured on, at regular places among them.
    batch_size : examples at a time; as many as fit in 128 MiB.

    Returns
    -------
    NetworkReport : see there; `write` makes a page, JSON and CSV of it. Computed on the host.

    Raises
    ------
    RuntimeError : JAX is not in float64.
    ValueError : as for `importance.moments`; too few inputs, a network without layers to compress.
    TypeError : as for `importance.moments`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> params = {"first": rng.normal(size=(16, 200)), "second": rng.normal(size=(200, 6))}
    >>> apply = lambda w, x: jnp.tanh(x @ w["first"] / 4) @ w["second"]
    >>> found = report(apply, params, rng.normal(size=(500, 16)), bits=4.0)
    >>> gptq, ours = (found.formats.index(name) for name in ("GPTQ 4-bit in groups of 128", "our code"))
    >>> print(found.layers, found.total_bits[[gptq, ours]].round(1), found.measured[ours] < found.measured[gptq])
    ('first', 'second') [4.8 4. ] True
    """
    _checks.require_x64("network.report")
    if kind not in ("jacobian", "fisher", "ggn"):
        raise ValueError(f"kind must be 'jacobian', 'fisher' or 'ggn' here, got {kind!r}")
    if not (math.isfinite(bits) and 0 < bits <= 16):
        raise ValueError(f"bits must be a number in (0, 16], got {bits!r}")
    size = None if batch_size is None else _checks.count("batch_size", batch_size, 1)
    weights, _ = _tree_checks.tree("params", params)
    weights = jax.tree.map(np.asarray, weights)
    learned, tested = _split(_moments.checked(inputs), held_out)
    moments = importance.moments(apply, weights, learned, kind=kind, samples=samples, key=key, batch_size=size)
    layers, skipped = found(weights, moments)
    if not layers:
        reasons = "; ".join(f"{name}: {reason}" for name, reason, _ in skipped)
        raise ValueError(f"params have no layers to compress: {reasons}")
    theta, variances = level(layers, max(bits - CODE_LOSS, 0.01))
    n = [len(jax.tree.leaves(part)[0]) for part in (learned, tested)]
    size = size or measure.fitting(apply, weights, tested)
    original = measure.outputs(apply, weights, tested, size)
    power = measure.powers(apply, weights, weights, tested, size)

    columns = []
    for name in _progress.each("format", (*FORMATS, OURS)):
        made = _ours(layers, theta, states, bits) if name == OURS else _in_format(layers, FORMATS[name])
        network = replaced(weights, layers, made.weights_hat)
        deltas = jax.tree.map(lambda w, w_hat: np.subtract(w, w_hat, dtype=w.dtype), weights, network)
        lost = measure.powers(apply, weights, deltas, tested, size)
        changed = measure.outputs(apply, network, tested, size)
        columns.append(_column(layers, made, lost, power, variances, n[0]) | _outcome(kind, original, changed))
    stacked = jax.tree.map(lambda *rows: np.stack(rows), *columns)
    fits = [layer.fits[0] for layer in layers]
    return NetworkReport(
        formats=(*FORMATS, OURS),
        layers=tuple(layer.name for layer in layers),
        kinds=tuple("table" if layer.turned else "inputs" for layer in layers),
        shapes=np.array([layer.weights.shape for layer in layers]),
        rows_per_input=np.array([layer.rows_per_input for layer in layers]),
        kurtosis=np.array([float(fit.kurtosis) for fit in fits]),
        divergence=np.array([float(fit.divergence) for fit in fits]),
        power=np.array(np.mean(np.sum(original.reshape(len(original), -1) ** 2, axis=1))),
        examples=np.array(n),
        skipped=tuple(name for name, _, _ in skipped),
        reasons=tuple(reason for _, reason, _ in skipped),
        skipped_weights=np.array(sum(count for *_, count in skipped), int),
        kind=kind,
        **stacked,
    )


def _split(inputs: PyTree, share: float) -> tuple[PyTree, PyTree]:
    """What is learned from, and what is measured on, at regular places: inputs may be in an order."""
    n = len(jax.tree.leaves(inputs)[0])
    if not 0 < share < 1 or not 2 <= round(n * share) <= n - 2:
        raise ValueError(
            f"held_out must leave at least two inputs on either side, got {share!r} of {n}; take more inputs"
        )
    out = np.floor(np.arange(1, n + 1) * share) > np.floor(np.arange(n) * share)
    return jax.tree.map(lambda x: x[~out], inputs), jax.tree.map(lambda x: x[out], inputs)


def _in_format(layers: Sequence[Layer], make: Callable) -> _Made:
    weights_hat, bits = [], []
    for layer in layers:
        parts = [make(w, metric) for w, metric in zip(layer.weights, layer.metric, strict=True)]
        weights_hat.append(np.stack([part.weights_hat for part in parts]))
        bits.append(float(sum(part.bits for part in parts)))
    return _Made(weights_hat, bits, sum(bits))


def _ours(layers: Sequence[Layer], theta: float, states: int, bits: float) -> _Made:
    """What a decoder makes of the bytes, at a level near θ that takes about so many bits for each weight.

    Layers that are small have more to say beside, so that the level is moved where it misses the rate.
    """
    count = sum(layer.weights.size for layer in layers)
    for turn in range(TURNS):
        coded = [_coded(layer, theta, states) for layer in _progress.each("layer", layers)]
        own = [8.0 * len(bitstream.encode(parts)) for parts in coded]
        over = sum(own) / count - bits
        if abs(over) <= NEAR or turn == TURNS - 1:
            break
        theta *= 4.0**over
    weights_hat = [np.stack([np.asarray(bitstream.dequantize(part), float) for part in parts]) for parts in coded]
    names = [layer.name for layer in layers]
    return _Made(weights_hat, own, 8.0 * len(bitstream.encode(dict(zip(names, coded, strict=True)))))


def _coded(layer: Layer, theta: float, states: int) -> list[CodedLayer]:
    parts = zip(layer.weights, layer.scales, layer.metric, strict=True)
    least = np.finfo(float).tiny  # a layer without an effect is nothing but zeros
    return [feedback.quantize(w, max(scale, least) * sigma, theta, states=states).coded for w, scale, sigma in parts]


def _column(
    layers: Sequence[Layer],
    made: _Made,
    lost: Sequence[np.ndarray],
    power: Sequence[np.ndarray],
    variances: np.ndarray,
    examples: int,
) -> dict:
    """What one format takes and loses, as `NetworkReport` names it."""
    relative, errors, limits, cost, predicted = [], [], [], 0.0, 0.0
    for layer, w_hat, bits in zip(layers, made.weights_hat, made.bits, strict=True):
        error = layer.weights - w_hat
        expected = np.sum((layer.seen @ error) * error, axis=(1, 2))
        if layer.turned:
            whole = float(np.sum((layer.metric @ layer.weights) * layer.weights))
            D, share, off = float(expected.sum()), float(expected.sum()) / (whole or 1.0), 0.0
        else:
            share, off = measure.ratio(lost[layer.leaf], power[layer.leaf])
            D = float(np.mean(lost[layer.leaf])) * examples / float(layer.moments.rows[0])
        own = np.concatenate(layer.variances)
        limits.append(compared(own, np.array(D), np.array(bits / error.size), error.size))
        relative.append(share)
        errors.append(off)
        cost += D * float(np.average(layer.scales, weights=expected if expected.any() else None))
        predicted += second_order(layer, error)
    count = variances.size
    return {
        "bits": np.array(made.bits) / [layer.weights.size for layer in layers],
        "relative": np.array(relative),
        "relative_error": np.array(errors),
        "limit": jax.tree.map(lambda *x: np.stack(x), *limits),
        "total_bits": np.array(made.total / count),
        "total_limit": compared(variances, np.array(cost), np.array(made.total / count), count),
        "predicted": np.array(predicted),
    }


def _outcome(kind: str, original: np.ndarray, changed: np.ndarray) -> dict:
    """What happens at the outputs (n, ..., k)."""
    if kind == "jacobian":
        each = (original - changed) ** 2
    else:
        p, q = (special.log_softmax(f, axis=-1) for f in (original, changed))
        with np.errstate(invalid="ignore"):
            each = np.where(np.isneginf(p), 0.0, np.exp(p) * (p - q)) / math.log(2)
    measured, error = measure.mean_and_error(np.sum(each.reshape(len(each), -1), axis=1))
    agreement, off = math.nan, math.nan
    if original.ndim > 1 and original.shape[-1] > 1:
        same = np.argmax(original, axis=-1) == np.argmax(changed, axis=-1)
        agreement, off = measure.mean_and_error(np.mean(same.reshape(len(same), -1), axis=1))
    found = {"measured": measured, "measured_error": error, "agreement": agreement, "agreement_error": off}
    return jax.tree.map(np.array, found)
