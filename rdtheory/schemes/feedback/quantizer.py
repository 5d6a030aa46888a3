"""A layer quantized input after input: the public functions, and the one scan that all of them are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _progress
from rdtheory.results import CodedLayer, LayerQuantized
from rdtheory.schemes import trellis
from rdtheory.schemes.bitstream import layer, layer_values
from rdtheory.schemes.bitstream.layer_values import FINENESS
from rdtheory.schemes.feedback.plan import Plan, alike, make_plan, plain, worth
from rdtheory.schemes.trellis import code, viterbi

__all__ = ["gptq", "nearest", "quantize", "watersic"]

BLOCK = 32  # inputs whose errors reach all others together
LARGEST = 2.0**20  # steps
SCALAR_LOSS = 0.15  # bits of a weight of low rate, without dither; fitted
ABOVE = 0.01  # bits that a trellis loses more than at high rate
SPREAD_BITS, HEADER_BITS = 6, 8 * 40  # of an input, of a layer: about


@_progress.doing("feedback.quantize")
def quantize(
    weights: Float[ArrayLike, "m k"],
    moments: Float[ArrayLike, "m m"],
    level: float,
    *,
    states: int = 8,
    seed: int = 0,
) -> LayerQuantized:
    r"""Successive quantization with the rate in the metric.

    At the water level θ a bit is worth 2θ ln 2 of distortion, and a label of variance v costs ŵ²/(2v ln 2) bits, so

    .. math:: (w-\hat w)^\top\Sigma(w-\hat w) + \hat w^\top T\hat w = (\hat w-u)^\top M(\hat w-u) + \text{const}, \quad
              T = \theta\,\mathrm{diag}(1/v),\ M = \Sigma + T = LL^\top,\ u = M^{-1}\Sigma w .

    From the last input to the first the target :math:`u_i + \sum_{j>i} (L_{ji}/L_{ii})(u_j - \hat w_j)` is rounded,
    with errors of variance :math:`\theta/L_{ii}^2`. A dither known to both sides makes these independent of the
    targets, so that v is the fixed point of :math:`v = \mathrm{diag}(G\,E[ww^\top]\,G^\top + \theta M^{-1})`,
    :math:`G = M^{-1}\Sigma`, and at every rate, for each output,

    .. math:: \text{rate} = \sum_i \big(\tfrac12\log(v_i L_{ii}^2/\theta) + \text{loss}\big) .

    The loss is that of the code at high rate: `trellis.loss`, 0.074 bit for 8 states and 0.033 for 256, and 0.2546 for
    scalar labels, which have no dither, for at low rate they are better without. The first term is R(D) at high rate,
    and at any rate about what random coding takes with one codebook for all Σ, or less. Outputs of different variance
    have metrics of their own, by octaves, and inputs that are not worth it are not sent.

    Parameters
    ----------
    weights : W (m, k), m inputs and k outputs.
    moments : Σ (m, m), symmetric positive semidefinite; may be singular.
    level : θ > 0, the water level: at high rate the distortion is m k θ. Dividing it by 4 adds a bit to each weight.
    states : 1 for scalar labels, or those of a code of `trellis`.
    seed : of the dither, below 2³²; it is part of the bitstream.

    Returns
    -------
    LayerQuantized : ``weights_hat`` in the dtype of the weights; ``coded`` is for `bitstream.encode`. All but the
        labels is computed on the host, so that this is not for `jax.jit` or `jax.vmap`. No derivative is promised.

    Raises
    ------
    TypeError : weights that are not floating.
    ValueError : shapes disagree, an indefinite matrix, a level that is not positive or so small that a weight is 2²⁰
        steps from zero, another number of states, a seed that is no whole number of 32 bits.

    References
    ----------
    Lifar, Savkin, Ordentlich & Polyanskiy (2026), WaterSIC; Harbuzova, Ordentlich & Polyanskiy (2026), one codebook for
    all Σ; Zamir & Feder (1996), dither; Cioffi, Dudevoir, Eyuboglu & Forney (1995), the same in equalizers.

    Examples
    --------
    >>> weights = np.random.default_rng(0).normal(size=(8, 2000))
    >>> moments = 0.9 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    >>> found = quantize(weights, moments, 0.01)
    >>> limit = np.mean(0.5 * np.log2(np.linalg.eigvalsh(moments) * weights.size / float(found.distortion)))
    >>> print(f"{found.rate - limit:.2f} bit above R(D)")
    0.10 bit above R(D)
    """
    w, sigma, theta = _checked(weights, moments, level)
    if states != 1:
        code.taps(states)  # raises
    hidden = _checks.count("seed", seed, 0, 2**32 - 1)
    kinds, variances = alike(w)
    scaled = w / np.sqrt(variances)[kinds]
    second = scaled @ scaled.T / w.shape[1]
    least = worth(SCALAR_LOSS if states == 1 else trellis.loss(states) + ABOVE)
    plans = [make_plan(sigma, variance * second, theta, least) for variance in variances]
    targets = np.zeros_like(w)
    for kind, plan in enumerate(plans):
        targets[:, kinds == kind] = plan.pull @ w[:, kinds == kind]
    noise = 1 / 12 if states == 1 else code.noise(states)
    pivots = np.stack([plan.pivots for plan in plans])
    widths = np.sqrt(theta / noise / np.where(pivots > 0, pivots, np.inf))
    feedback = np.stack([plan.feedback for plan in plans])
    return _coded(weights, w, sigma, targets, feedback, widths, kinds, states, None if states == 1 else hidden)


def watersic(weights: Float[ArrayLike, "m k"], moments: Float[ArrayLike, "m m"], level: float) -> LayerQuantized:
    """Successive quantization in the metric Σ itself, with steps that leave every input the same distortion.

    At high rate its loss is ½log(2πe/12) = 0.2546 bit for every Σ. Arguments and errors as for `quantize`, and:

    Raises
    ------
    ValueError : singular moments, of inputs that are not zero.

    References
    ----------
    Lifar, Savkin, Ordentlich & Polyanskiy (2026), Theorem 3.3.

    Examples
    --------
    >>> print(watersic(jnp.array([[0.9, -0.2], [0.4, 1.2]]), jnp.diag(jnp.array([1.0, 4.0])), 1 / 12).weights_hat)
    [[1.  0. ]
     [0.5 1. ]]
    """
    w, sigma, theta = _checked(weights, moments, level)
    plan = _regular(sigma)
    return _scalar(weights, w, sigma, theta, plan, np.where(plan.pivots > 0, plan.pivots, np.inf))


def gptq(weights: Float[ArrayLike, "m k"], moments: Float[ArrayLike, "m m"], level: float) -> LayerQuantized:
    """Successive quantization in the metric Σ, with one step for all inputs; see `watersic`.

    At high rate it takes ½log of the arithmetic over the geometric mean of the pivots of Σ more than that.

    References
    ----------
    Frantar, Ashkboos, Hoefler & Alistarh (2023).

    Examples
    --------
    >>> print(gptq(jnp.array([[0.9, -0.2], [0.4, 1.2]]), jnp.diag(jnp.array([1.0, 1.0])), 1 / 12).weights_hat)
    [[1. 0.]
     [0. 1.]]
    """
    w, sigma, theta = _checked(weights, moments, level)
    plan = _regular(sigma)
    return _scalar(
        weights, w, sigma, theta, plan, np.where(plan.pivots > 0, plan.pivots[plan.pivots > 0].mean(), np.inf)
    )


def nearest(weights: Float[ArrayLike, "m k"], moments: Float[ArrayLike, "m m"], level: float) -> LayerQuantized:
    """Each weight rounded on its own, with one step for all; see `watersic`.

    Examples
    --------
    >>> print(nearest(jnp.array([[0.9, -0.2], [0.4, 1.2]]), jnp.eye(2), 1 / 12).weights_hat)
    [[1. 0.]
     [0. 1.]]
    """
    w, sigma, theta = _checked(weights, moments, level)
    costs = np.diagonal(sigma)
    plan = plain(np.diag(costs))
    return _scalar(weights, w, sigma, theta, plan, np.where(costs > 0, costs[costs > 0].mean(), np.inf))


def _checked(weights: ArrayLike, moments: ArrayLike, level: float) -> tuple[np.ndarray, np.ndarray, float]:
    """In float64, on the host."""
    if _compile.is_traced(weights, moments, level):
        raise TypeError("a layer is planned on the host: call this outside jax.jit and jax.vmap")
    w, _ = _checks.weights("weights", weights, 2)
    sigma, _ = _checks.covariance(
        "moments", np.asarray(moments, float) if isinstance(moments, list) else moments, len(w)
    )
    theta = float(np.asarray(_checks.nonnegative("level", level)[0]))
    if not theta > 0:
        raise ValueError(f"level must be > 0, got {theta}")
    return np.asarray(w, float), np.asarray(sigma, float), theta


def _regular(sigma: np.ndarray) -> Plan:
    try:
        return plain(sigma)
    except np.linalg.LinAlgError as error:
        raise ValueError("moments are singular: add a share of their mean diagonal to it (1e-2 is usual)") from error


def _scalar(
    weights: ArrayLike, w: np.ndarray, sigma: np.ndarray, theta: float, plan: Plan, costs: np.ndarray
) -> LayerQuantized:
    """Weights themselves as targets, and steps for errors that cost θ on average."""
    kinds = np.zeros(w.shape[1], int)
    return _coded(weights, w, sigma, w, plan.feedback[None], np.sqrt(12 * theta / costs)[None], kinds, 1, None)


def _coded(
    weights: ArrayLike,
    w: np.ndarray,
    sigma: np.ndarray,
    targets: np.ndarray,
    feedback: np.ndarray,
    widths: np.ndarray,
    kinds: np.ndarray,
    states: int,
    seed: int | None,
) -> LayerQuantized:
    """Targets (m, k), feedback (kinds, m, m) and distances of points (kinds, m), 0 for what is not sent, to labels."""
    given = _checks.look(_checks.weights("weights", weights)[0])[1].dtype
    kind = np.promote_types(given, np.float32) if given.kind == "f" else np.dtype(np.float32)  # bfloat16
    points = 1 if states == 1 else 2  # in the unit of a label
    sent = widths > 0
    base = _short(points * widths.max() if sent.any() else 1.0, kind)
    near = np.round(layer_values.PER_OCTAVE * np.log2(np.where(sent, points * widths / float(base), 1.0)))
    exponents = np.where(sent, near, layer_values.NOT_SENT).astype(np.int32)
    units = layer_values.steps(base, exponents, np.arange(len(exponents))).T / points
    far = np.abs(targets).max(axis=1) >= LARGEST * np.where(sent, units, np.inf).min(axis=0)
    if far.any():
        raise ValueError(f"level is too small: a weight is more than {LARGEST:.0f} steps from zero")
    arrays = targets.astype(kind), feedback.astype(kind), units.astype(kind), kinds.astype(np.int32)
    labels = np.asarray(_labels(*arrays, None if seed is None else np.uint32(seed), states))
    taps = None if states == 1 else np.array(code.taps(states), np.int32)
    coded = CodedLayer(
        labels=labels,
        base=base,
        exponents=exponents,
        kinds=kinds.astype(np.uint8) if len(exponents) > 1 else None,
        seed=None if seed is None else np.array(seed, np.uint32),
        taps=taps,
    )
    w_hat = layer.weights(coded).astype(given)
    lost = w - w_hat.astype(float)
    bits = layer.length(coded) + SPREAD_BITS * sent.sum() + HEADER_BITS
    distortion = np.sum((sigma @ lost) * lost)
    return LayerQuantized(*jax.device_put((w_hat, bits / w.size, distortion)), coded)


def _short(number: float, dtype: np.dtype) -> np.ndarray:
    """Rounded to 11 bits."""
    if not np.finfo(np.float32).tiny < number < np.finfo(np.float32).max:
        raise ValueError(
            f"weights and level ask for steps of {number:.3g}, beyond float32: measure weights in another unit"
        )
    mantissa, exponent = np.frexp(number)
    return np.array(np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent), dtype)


@functools.partial(_compile.jit, lengthy=0, static_argnums=5)
def _labels(targets: Array, feedback: Array, units: Array, kinds: Array, seed: Array | None, states: int) -> Array:
    """Labels (m, k), int32, of points whose distances are the units (kinds, m)."""
    (m, k), dtype = targets.shape, targets.dtype
    blocks = -(-m // BLOCK)
    extra = blocks * BLOCK - m  # inputs before the first, of which nothing is sent
    u = jnp.pad(targets, ((extra, 0), (0, 0)))
    f = jnp.pad(feedback, ((0, 0), (extra, 0), (extra, 0)))
    sizes = jnp.pad(units, ((0, 0), (extra, 0))).T
    z = jnp.zeros((len(u), 1), dtype)
    if seed is not None:
        z = layer_values.dither(seed, (m, k), states > 1).astype(dtype) * ((1 if states == 1 else 2) / FINENESS)
        z = jnp.pad(z, ((extra, 0), (0, 0)))

    def by_kind(rows: Array) -> Array:
        """Of (kinds, ..., k) that of the kind of each output."""
        if len(rows) == 1:
            return rows[0]
        chosen = mine.reshape(len(rows), *(1,) * (rows.ndim - 2), k)
        return jnp.sum(jnp.where(chosen, rows, 0), axis=0)

    mine = kinds[None, :] == jnp.arange(len(units), dtype=kinds.dtype)[:, None]

    def block(errors: Array, start: Array) -> tuple[Array, Array]:
        """What all inputs after the block have lost is in `errors`; those of the block are added."""
        here = lax.dynamic_slice(f, (0, start, 0), (len(f), BLOCK, len(u)))
        wanted = lax.dynamic_slice_in_dim(u, start, BLOCK)
        shifted = wanted + by_kind(here @ errors)
        within = lax.dynamic_slice(here, (0, 0, start), (len(f), BLOCK, BLOCK))
        unit = lax.dynamic_slice_in_dim(sizes, start, BLOCK)
        moved = lax.dynamic_slice_in_dim(z, start, BLOCK)

        def one(lost: Array, item: tuple) -> tuple[Array, Array]:
            place, aim, unit, moved = item
            size = by_kind(jnp.broadcast_to(unit[:, None], (len(unit), k)))
            sent = size > 0
            target = aim + by_kind(within[:, place] @ lost)
            point = _nearest(jnp.where(sent, target / jnp.where(sent, size, 1.0) + moved, 0.0), sent, states)
            value = jnp.where(sent, size * (point - moved), 0.0)
            return lost.at[place].set(wanted[place] - value), point.astype(jnp.int32)

        items = jnp.arange(BLOCK), shifted, unit, moved
        lost, points = lax.scan(one, jnp.zeros((BLOCK, k), dtype), items, reverse=True)
        return lax.dynamic_update_slice_in_dim(errors, lost, start, 0), points

    _, points = lax.scan(block, jnp.zeros_like(u), BLOCK * jnp.arange(blocks), reverse=True)
    points = points.reshape(-1, k)[extra:]
    return points if states == 1 else (points - (points & 1)) // 2


def _nearest(y: Array, sent: Array, states: int) -> Array:
    """Whole numbers near y: each the nearest, or those of the nearest path; 0 where nothing is sent."""
    if states == 1:
        return jnp.round(y)
    coset = jnp.arange(4, dtype=y.dtype)
    away = y[None, :] - coset[:, None]
    away = (away - 4 * jnp.round(away / 4)) ** 2
    # Of what is not sent even labels are free, odd ones impossible, so that all of them can be 0.
    away = jnp.where(sent[None, :], away, jnp.where(coset < 2, 0.0, jnp.inf)[:, None].astype(y.dtype))
    table = jnp.stack([layer_values.lanes(row[None, :]) for row in away]).astype(jnp.float32)
    start = jnp.zeros(table.shape[2], jnp.int32)
    cosets = viterbi.cheapest(table, start, start - 1, states)[1].T.ravel()[: len(y)]
    label = jnp.where(sent, 4 * jnp.round((y - cosets.astype(y.dtype)) / 4), 0.0)
    return label + cosets.astype(y.dtype)
