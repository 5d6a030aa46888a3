"""Labels of the best path, and the weights that they stand for."""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from rdtheory import _checks, _compile, _progress
from rdtheory.results import Quantized, TrellisQuantized
from rdtheory.schemes.trellis import code, model, viterbi

__all__ = ["dequantize", "loss", "packed", "quantize", "steps"]

LARGEST = 2.0**22  # points have so many bits and a sign
EXPONENT, MANTISSA = 11, 20  # bits of a number that is sent, beside its sign
NUMBER_BITS = 32.0


@_progress.doing("trellis.quantize")
def quantize(
    weights: Float[ArrayLike, "..."],
    step: Float[ArrayLike, "..."],
    *,
    states: int = 8,
    deviation: Float[ArrayLike, "..."] | None = None,
    passes: int = 4,
) -> TrellisQuantized:
    r"""Labels of a trellis code, chosen for squared error and rate together.

    With points c (whole numbers, even or odd as the state says), y = w/Δ, and D the error of the code at high rate,

    .. math:: \min_{\text{paths}} \sum_i (y_i - \alpha_i c_i)^2 + 2 D \ln\frac{1}{P_i(c_i)}, \qquad
              P_i(c) \propto e^{-c^2/2\tau_i^2}, \quad \tau_i = \text{factor} \cdot \sigma_i/\Delta_i,

    in which 2 D ln 2 is the slope of R(D) at D. Steps of equal importance · Δ² make that the weighted squared error at
    one slope, as reverse water-filling asks; `steps` gives them. Each pass finds the best path, then fits the factor.

    Parameters
    ----------
    weights : w of mean zero, any shape, taken in row-major order.
    step : Δ > 0, a number or in the shape of the weights; infinite: the weight is not sent.
    states : 4, 8, 16, 32, 64, 128 or 256, static. Time and memory (a byte) go with states times weights.
    deviation : σ >= 0, which the decoder knows, as the step: a number or in the shape of the weights. Without it, the
        root mean square of the weights.
    passes : how often to search, static. Long sequences are searched in pieces, each between two states of the path
        before; the pieces of the next pass straddle those joints.

    Returns
    -------
    TrellisQuantized
        Weights with σ² below 1.4 times the water level DΔ² are not sent, and cost nothing. Where weights are not
        Gaussian, ``entropy`` can be well below ``rate``; a coder that learns frequencies gets near it. With few weights
        in a context it is too small, for such a coder has to learn them. ``weights_hat`` has the dtype of the weights;
        ``scale`` too, but float32 for a shorter one. No derivative is promised.

    Raises
    ------
    TypeError : weights that are not floating.
    ValueError : shapes disagree, a step that is not positive, a negative deviation, weights that are not finite or
        2²² steps from zero, another number of states.

    References
    ----------
    Marcellin & Fischer (1990), Fischer & Wang (1992), trellis-coded quantization and its entropy coding; Ungerboeck
    (1982), the codes; Zamir & Feder (1996), lattices at every rate.

    Examples
    --------
    >>> weights = jax.random.normal(jax.random.key(0), (20_000,))
    >>> found = quantize(weights, steps(1 / 16))
    >>> error = jnp.mean((weights - found.weights_hat) ** 2)
    >>> print(f"{found.rate + 0.5 * jnp.log2(error / jnp.mean(weights**2)):.2f} bit above R(D)")
    0.08 bit above R(D)
    """
    w, w_ok = _checks.weights("weights", weights)
    width, width_ok = _like("step", step, w, finite=False)
    sigma, sigma_ok = (None, np.True_) if deviation is None else _like("deviation", deviation, w)
    code.taps(states)  # raises
    turns = _checks.count("passes", passes, 1)
    xp, v, d = _checks.look(w, width)
    width_ok &= _checks.holds(xp.all(d > 0), lambda: "step must be > 0")
    far = _checks.holds(
        xp.all(abs(v) < LARGEST * d), lambda: f"weights must be less than {LARGEST:.0f} steps from zero; enlarge step"
    )
    return _checks.poison(_quantize(w, width, sigma, states, turns), w_ok & width_ok & sigma_ok & far)


def dequantize(
    labels: Int[ArrayLike, "..."],
    scale: Float[ArrayLike, "..."],
    offsets: Int[ArrayLike, "2 kinds"],
    *,
    states: int = 8,
) -> Float[Array, "..."]:
    """The weights that labels stand for, bit for bit as `quantize` returned them.

    They are in the dtype of the scale: in that of the weights, except of weights shorter than float32.
    Label k in state s stands for scale · (2k + q + offsets[q, k]/128), q = s mod 2, where the offset of a label outside
    the table is the outermost. The first state is 0. The next is ⌊s/2⌋, plus modulo 2 the first tap if s is odd and the
    second if k is odd; the taps of 8 states are 5 and 2.

    Parameters
    ----------
    labels : whole numbers, any shape, in row-major order.
    scale, offsets, states : as `quantize` returned or was given them; `scale` is a number or in the shape of labels.

    Raises
    ------
    ValueError : shapes disagree, another number of states.

    Examples
    --------
    >>> found = quantize(jnp.array([0.9, -1.7, 0.2, 2.6]), 0.5)
    >>> jnp.array_equal(dequantize(found.labels, found.scale, found.offsets), found.weights_hat)
    Array(True, dtype=bool)
    """
    k, table, kind = _checks.stored(labels), _checks.stored(offsets), _checks.stored(scale).dtype
    for name, given in ("labels", k), ("offsets", table):
        if not jnp.issubdtype(given.dtype, jnp.integer):
            raise TypeError(f"{name} must be whole numbers, got dtype {given.dtype}")
    if table.ndim != 2 or table.shape[0] != 2 or table.shape[1] % 2 == 0:
        raise ValueError(f"offsets must have two rows, of odd length, got shape {table.shape}")
    unit, ok = _like("scale", scale, k)
    code.taps(states)  # raises
    unit = unit.astype(kind if jnp.issubdtype(kind, jnp.floating) else float)
    return _checks.poison(_dequantize(k, unit, table, states), ok)


def packed(found: TrellisQuantized, *, states: int = 8) -> Quantized:
    """What `bitstream.encode` takes of a result: labels, scale, what centroids there are, classes, the code.

    Parameters
    ----------
    found : as `quantize` returned it.
    states : as it was given.

    Returns
    -------
    Quantized : its weights are those of the result, bit for bit where they are in float32 or float64.

    Raises
    ------
    ValueError : another number of states.

    Examples
    --------
    >>> from rdtheory.schemes import bitstream
    >>> found = quantize(jax.random.normal(jax.random.key(0), (1000,)), 0.5)
    >>> leaf = bitstream.decode(bitstream.encode(packed(found)))
    >>> print((bitstream.dequantize(leaf) == found.weights_hat).all())
    True
    """
    classes, offsets = np.asarray(found.contexts) // 2, np.asarray(found.offsets, np.int8)
    return Quantized(
        labels=found.labels,
        step=found.scale,
        offsets=offsets if offsets.any() else None,
        classes=classes if np.ptp(classes) else None,
        taps=np.array(code.taps(states), np.int32),
    )


def steps(
    level: Float[ArrayLike, ""], importance: Float[ArrayLike, "..."] = 1.0, *, states: int = 8
) -> Float[Array, "..."]:
    r"""Steps at which the importance-weighted squared error of each weight that is sent is `level`.

    That is Δ = √(level / (importance · D)), D the error of the code in steps². So `level` is the water level of
    (weighted) reverse water-filling at the distortion wanted, which is met within about one percent, and five below a
    bit per weight that is sent; and at a rate wanted, that of the rate less `loss`. Halving a step adds one bit.

    Parameters
    ----------
    level : θ > 0, weighted squared error.
    importance : I >= 0, a number or an array; λ of a linear model. Zero: the step is infinite.
    states : of the code, static.

    Raises
    ------
    ValueError : a negative importance, a level that is not positive, another number of states.

    Examples
    --------
    >>> print(steps(0.01, jnp.array([1.0, 4.0, 0.0])).round(3))
    [0.196 0.098   inf]
    """
    theta, theta_ok = _checks.nonnegative("level", level)
    theta_ok &= _checks.holds(_checks.look(theta)[1] > 0, lambda: f"level must be > 0, got {theta}")
    i = _checks.array("importance", importance)
    i, i_ok = _checks.nonnegative("importance", i, ndim=i.ndim)
    return _checks.poison(_steps(theta, code.noise(states), i), theta_ok & i_ok)


def loss(states: int = 8) -> float:
    """Bits per weight above R(D) at high rate, ½ log(2πe D/4) for the error D in steps²; and about so at every rate.

    Examples
    --------
    >>> print(f"{loss(8):.3f} {loss(256):.3f}")
    0.074 0.033
    """
    return 0.5 * math.log2(math.pi * math.e / 2 * code.noise(states))


@_compile.jit
def _steps(level: Array, noise: ArrayLike, importance: Array) -> Array:
    return jnp.sqrt(level / (noise * importance))


@functools.partial(_compile.jit, lengthy=2**15, static_argnums=(3, 4))
def _quantize(w: Array, step: Array, sigma: Array | None, states: int, passes: int) -> TrellisQuantized:
    kind, w = w.dtype, w.astype(float)
    noise, n = code.noise(states), w.size
    deviation = lax.reduce_precision(jnp.sqrt(jnp.mean(w**2)), EXPONENT, MANTISSA) if sigma is None else sigma
    ratio = deviation / step
    gains = model.gain(ratio, noise)
    scale = (jnp.where(gains > 0, step, 0.0) * gains).astype(jnp.promote_types(kind, jnp.float32))
    # From here on in steps and in a row; what is the same for all weights stays one number.
    y, alpha, r = (w / step).ravel(), gains.ravel(), ratio.ravel()
    sent = alpha > 0
    r = jnp.where(sent, r, 1.0)

    def improve(turn: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        factor, taken, _ = state
        width = factor * r
        power = alpha**2 + noise / width**2
        nearest = jnp.where(sent, alpha * y / power, 0.0)
        table = model.metrics(nearest, sent, power, width, noise)
        taken, coset = viterbi.search(table, taken, turn, states)
        points = (4 * jnp.round((nearest - coset) / 4)).astype(jnp.int32) + coset
        return model.refit(factor, points, sent, r), taken, points

    nowhere = jnp.zeros(n, jnp.int32)
    factor, taken, points = lax.fori_loop(0, passes, improve, (jnp.ones((), w.dtype), nowhere, nowhere))
    factor = lax.reduce_precision(factor, EXPONENT, MANTISSA)
    quantizer = points & 1
    labels = (points - quantizer) // 2
    offsets, offset_bits = model.fit_offsets(y, points, labels, quantizer, alpha)
    length = jnp.sum(jnp.where(sent, model.code_length(points, factor * r), 0.0))
    side = offset_bits + NUMBER_BITS * (2 if sigma is None else 1)  # the factor; the deviation
    contexts = 2 * model.classes(r, sent) + quantizer
    entropy = model.entropy(labels, contexts)
    k, q, s, context = (x.reshape(w.shape) for x in (labels, quantizer, taken, contexts))
    spread = jnp.where(gains > 0, factor * ratio, 0.0)
    w_hat = _value(k, q, scale, offsets).astype(kind)
    return TrellisQuantized(k, w_hat, s, context, (length + side) / n, entropy / n, side / n, scale, offsets, spread)


@functools.partial(_compile.jit, static_argnums=3)
def _dequantize(labels: Array, scale: Array, offsets: Array, states: int) -> Array:
    path = code.path(labels.ravel(), states).reshape(labels.shape)
    return _value(labels, path & 1, scale, offsets)


def _value(labels: Array, quantizer: Array, scale: Array, offsets: Array) -> Array:
    # The sum is exact, so that the one product is rounded alike by encoder and decoder, however they are compiled.
    most = offsets.shape[1] // 2
    offset = offsets[quantizer, jnp.clip(labels, -most, most) + most].astype(scale.dtype)
    return scale * ((2 * labels + quantizer) + offset / model.PER_STEP)


def _like(name: str, value: ArrayLike, other: Array, *, finite: bool = True) -> tuple[Array, _checks.Flag]:
    """Numbers >= 0, one or in the shape of the other array."""
    x = _checks.array(name, value)
    if x.shape not in ((), other.shape):
        raise ValueError(f"{name} must be a number or of shape {other.shape}, got shape {x.shape}")
    return _checks.nonnegative(name, x, ndim=x.ndim, finite=finite)
