"""Layers rounded to multiples of water-filled steps, one at a time or all of a model at a coded rate."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile
from rdtheory.results import CodedSize, Steps, UniformLayers, UniformQuantized
from rdtheory.schemes.quantize import feedback
from rdtheory.schemes.quantize.sizes import adaptive_bits, total_size
from rdtheory.schemes.quantize.water_steps import balance, entries, positive, store

__all__ = ["uniform", "uniform_at_rate"]

BASE_BITS = 32.0  # of the step of a layer, float32
EVALUATIONS = 32  # of the rate, by bisection of the log of the level: to the last bit of a float32 step


def uniform(
    weights: Float[ArrayLike, "r c"],
    importance: Float[ArrayLike, "..."],
    level: Float[ArrayLike, ""],
    *,
    rows: bool = False,
    columns: bool = False,
    metric: Float[ArrayLike, "c c"] | None = None,
    damping: Float[ArrayLike, ""] = 1e-2,
) -> UniformQuantized:
    r"""Round a layer to multiples of the `steps` at a water level.

    Weights that matter too little, I w² below 3 θ, fall to zero, as below the level of reverse water-filling. What
    is stored, and counted: a step for the layer (float32); the ratio to it of each row and each column that has its
    own, a power of √2 or infinite, and a bit for either that says whether some are; and the labels, with frequencies
    learned for each size of the step, or for all together if that takes less.

    Parameters
    ----------
    weights : (r, c).
    importance : I >= 0, a number for the layer or (r, 1), (1, c) or (r, c).
    level : θ > 0, the weighted squared error aimed at for each weight.
    rows, columns : whether each row, each column has a step of its own; static.
    metric : (c, c), the importance that the columns share, up to a factor for each row, which `importance`, a number or
        (r, 1), then is. The columns are rounded with `error_feedback` between them, and
        `conditional_importance` is what their steps follow.
    damping : of the metric, as for `error_feedback`; of a metric of zeros it is what the steps follow.

    Returns
    -------
    UniformQuantized : ``weights_hat`` in the dtype of the weights. No derivative is promised.

    Raises
    ------
    TypeError : weights that are not floating.
    ValueError : shapes disagree, a negative importance, an indefinite metric, a singular one without damping, a level
        that is not positive, weights so small or large that float32 does not hold the step.

    Examples
    --------
    >>> result = uniform(jnp.array([[0.9, -0.6, 0.1, 0.0]]), 1.0, 0.25 / 12)
    >>> print(result.weights_hat, result.size.scales)
    [[ 1.  -0.5  0.   0. ]] 32.0
    """
    (w,), (matrix,), (between,), ok = _layers([weights], [importance], [metric], damping)
    theta, level_ok = positive("level", level)
    result = _uniform(w, matrix, between, theta, bool(rows), bool(columns))
    return _checks.poison(result, ok & level_ok & _storable([w], [result]))


def uniform_at_rate(
    weights: list[Float[ArrayLike, "..."]],
    importance: list[Float[ArrayLike, "..."]],
    rate: Float[ArrayLike, ""],
    *,
    rows: bool = False,
    columns: bool = False,
    metrics: list[Float[ArrayLike, "..."] | None] | None = None,
    damping: Float[ArrayLike, ""] = 1e-2,
) -> UniformLayers:
    r"""Round the layers of a model at the common water level that meets a coded rate.

    The level is found by bisection of the rate as `uniform` counts it, side information included. That rate
    jumps from label to label and need not be monotone; the level returned meets `rate`, and one just below it did not.

    Parameters
    ----------
    weights : the layers, (r, c) each; transpose what is stored as (inputs, outputs) if there is a metric.
    importance : of each layer, as for `uniform`. The same number for all is one step for all: the quantizer that
        knows nothing of importance.
    rate : bits per weight of all layers together, met from below.
    rows, columns, damping : as for `uniform`.
    metrics : of each layer (c, c), or None for a layer without error feedback.

    Returns
    -------
    UniformLayers : ``level``, ``layers`` and the ``size`` of all. No derivative is promised.

    Raises
    ------
    ValueError : as for `uniform`; a rate below what the steps alone take.

    Examples
    --------
    >>> keys = jax.random.split(jax.random.key(0))
    >>> weights = [jax.random.normal(keys[0], (40, 50)), jax.random.normal(keys[1], (40, 50)) / 4]
    >>> found = uniform_at_rate(weights, [1.0, 1.0], 2.0)
    >>> print(f"{found.size.rate:.2f}: {found.layers[0].size.rate:.1f} and {found.layers[1].size.rate:.1f}")
    2.00: 2.9 and 1.1
    """
    given = [None] * len(weights) if metrics is None else metrics
    layers, matrices, between, ok = _layers(weights, importance, given, damping)
    wanted, rate_ok = positive("rate", rate)
    result = _at_rate(layers, matrices, between, wanted, bool(rows), bool(columns))
    ok &= _storable(layers, result.layers)
    met = _checks.holds(
        ~(result.size.rate > wanted),
        lambda: f"rate must be at least {result.size.rate:.6g}, which the steps take alone, got {wanted}",
    )
    return _checks.poison(result, ok & rate_ok & met)


@functools.partial(_compile.jit, static_argnums=(4, 5))
def _uniform(w, importance, metric, level, rows, columns) -> UniformQuantized:
    matrix = _effective(importance, metric)
    stored = store(balance(matrix, rows, columns), matrix, rows, columns)
    return _rounded(w, importance, metric, stored, level, rows or columns)


def _storable(layers: list[Array], found: list[UniformQuantized]) -> _checks.Flag:
    """Whether float32, in which the step of a layer is stored, reaches from it to the weights."""
    ok, range_ = np.True_, jnp.finfo(jnp.float32)
    for i, (weights, layer) in enumerate(zip(layers, found, strict=True)):
        xp, w, rows = _checks.look(weights, layer.steps.rows)
        largest, base = xp.abs(w).max().astype(float), rows.min()
        # Steps halve until they vanish: where the least normal one was reached, a finer one would have been wanted.
        sound = (largest == 0) | (largest <= range_.max) & ~(base <= 1.01 * range_.tiny)
        ok &= _checks.holds(
            sound,
            lambda i=i, largest=largest: (
                f"weights of layer {i} are at most {largest:.3g} in absolute value, and float32, which stores the step "
                f"of a layer, ends at {float(range_.tiny):.1e} and {float(range_.max):.1e}: scale the weights"
            ),
        )
    return ok


@functools.partial(_compile.jit, static_argnums=(4, 5))
def _at_rate(layers, importances, metrics, rate, rows, columns) -> UniformLayers:
    matrices = [_effective(i, metric) for i, metric in zip(importances, metrics, strict=True)]
    stores = [store(balance(matrix, rows, columns), matrix, rows, columns) for matrix in matrices]
    counts = [w.size for w in layers]

    def at(log_level: Array) -> UniformLayers:
        found = [
            _rounded(w, i, metric, stored, jnp.exp2(log_level), rows or columns)
            for w, i, metric, stored in zip(layers, importances, metrics, stores, strict=True)
        ]
        return UniformLayers(jnp.exp2(log_level), found, total_size([layer.size for layer in found], counts))

    # From a level at which each weight is far below half its step, to one at which labels have thirty bits.
    largest = [
        jnp.max(jnp.abs(w) / entries(ratios, jnp.inf)) / factor
        for w, (ratios, factor, _, _) in zip(layers, stores, strict=True)
    ]
    top = 2 * jnp.log2(jnp.maximum(jnp.max(jnp.stack(largest)), jnp.finfo(rate.dtype).tiny)) - math.log2(12) + 10

    def halve(turn: Array, state: tuple[Array, Array, UniformLayers]) -> tuple[Array, Array, UniformLayers]:
        low, high, _ = state
        middle = jnp.where(turn < EVALUATIONS, (low + high) / 2, high)  # at last, what was found
        found = at(middle)
        met = found.size.rate <= rate
        return jnp.where(met, low, middle), jnp.where(met, middle, high), found

    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(at, top))
    return lax.fori_loop(0, EVALUATIONS + 1, halve, (top - 60, top, nothing))[2]


def _effective(importance: Array, metric: feedback.Damped | None) -> Array:
    return importance if metric is None else importance * metric.conditional[None, :]


def _rounded(w, importance, metric, stored, level, classed) -> UniformQuantized:
    ratios, factor, classes, ratio_bits = stored
    # To float32, in a way that a compiler may not undo.
    base = lax.reduce_precision(jnp.sqrt(12 * level) * factor, exponent_bits=8, mantissa_bits=23)
    found = Steps(ratios.rows * base, ratios.columns)
    sizes = entries(found, jnp.inf)
    if metric is None:
        labels, values = feedback.round_to_steps(w.astype(float), sizes)
        w_hat = values.astype(w.dtype)
    else:
        w_hat, labels, _ = feedback.feed_back(w, metric, sizes)
    lost = w.astype(float) - w_hat.astype(float)
    objective = jnp.sum(importance * (lost if metric is None else lost @ metric.importance) * lost)
    size = _size(labels, classes if classed else None, jnp.isfinite(sizes), BASE_BITS + ratio_bits)
    return UniformQuantized(w_hat, labels, found, objective, size)


def _size(labels: Array, classes: Array | None, coded: Array, scale_bits: Array) -> CodedSize:
    """Magnitudes by class or together, signs as they are, and a bit for each choice."""
    flat, coded = jnp.abs(labels).ravel(), coded.ravel()
    together = jnp.zeros_like(flat)
    ways = jnp.stack([together] if classes is None else [together, classes.ravel()])
    entropies, costs = jax.vmap(adaptive_bits, (None, 0, None))(flat, ways, coded)
    best = jnp.argmin(costs)
    entropy, bits = entropies[best], costs[best]
    signs, n = jnp.sum(flat > 0), labels.size
    zero = jnp.zeros((), bits.dtype)
    spread = jnp.log2((jnp.max(labels) - jnp.min(labels) + 1).astype(bits.dtype))
    rate, fixed = (bits + 1 + signs + scale_bits) / n, spread + (32 + scale_bits) / n
    return CodedSize(rate, fixed, entropy + signs, bits + 1 - entropy, zero, scale_bits + zero, zero)


def _layers(
    weights, importance, metrics, damping
) -> tuple[list[Array], list[Array], list[feedback.Damped | None], _checks.Flag]:
    """Layers with their importances in full, their metrics with the damping, and the validity of all."""
    if not len(weights) == len(importance) == len(metrics) > 0:
        raise ValueError(
            "weights, importance and metrics must have one entry for each layer, got "
            f"{len(weights)}, {len(importance)} and {len(metrics)}"
        )
    layers, matrices, between = [], [], []
    share, ok = _checks.nonnegative("damping", damping)
    for weight, given, metric in zip(weights, importance, metrics, strict=True):
        w, w_ok = _checks.weights("weights", weight, 2)
        i = _checks.array("importance", given)
        i, i_ok = _checks.nonnegative("importance", i, ndim=i.ndim)
        if metric is not None and i.ndim and i.shape[-1] != 1:
            raise ValueError(
                f"importance must be a number or of shape {(len(w), 1)} beside a metric, which is that of the columns, "
                f"got shape {i.shape}"
            )
        if i.ndim > 2 or any(size not in (1, full) for size, full in zip(i.shape[::-1], w.shape[::-1], strict=False)):
            raise ValueError(f"importance must broadcast against its weights, {w.shape}, got shape {i.shape}")
        m = None
        if metric is not None:
            between_columns, metric_ok = _checks.covariance("metric", metric, size=w.shape[1])
            m, regular = feedback.damped("metric", between_columns, share)
            ok &= metric_ok & regular
        full = jnp.broadcast_to(i.reshape((1,) * (2 - i.ndim) + i.shape), w.shape)
        layers, matrices, between = [*layers, w], [*matrices, full], [*between, m]
        ok &= w_ok & i_ok
    return layers, matrices, between, ok
