"""What a Gaussian weight is to the code: how it is scaled, what each point costs, and what each point stands for."""

import math

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["PER_STEP", "classes", "code_length", "entropy", "fit_offsets", "gain", "log_partition", "metrics", "refit"]

LN2 = math.log(2)
WORTH = 1.4  # variances over the water level; with less, sending nothing costs less than sending
OUTERMOST = 4  # labels beyond it share their offset
PER_STEP = 128  # offsets are whole 128ths of a step
PER_OCTAVE = 16  # classes of σ/Δ: a law for the middle of a class costs 0.0002 bit
CLASSES = 256


def gain(ratio: Array, noise: float) -> Array:
    """√(1 - D/σ²) for the ratio σ/Δ, and 0 where sending costs more than it gains.

    It scales what enters the code and what leaves it, as in the test channel of R(D): of variance σ² itself are the
    points in between, σ² (1 - D/σ²) + D.

    Examples
    --------
    >>> print(gain(jnp.array([0.5, 1.0]), 0.25).round(3))
    [0.    0.866]
    """
    sent = ratio**2 > WORTH * noise
    return jnp.where(sent, jnp.sqrt(1 - noise / jnp.where(sent, ratio, 1.0) ** 2), 0.0)


def log_partition(width: Array) -> Array:
    """Natural logarithms of Σ exp(-c²/2τ²) over the even and over the odd numbers c, for widths τ > 0: (2, ...).

    Summed as it stands for narrow widths, by Poisson's formula for wide ones.

    Examples
    --------
    >>> print(jnp.exp(log_partition(jnp.array(1.0))).round(6))
    [1.271342 1.235287]
    """
    wide = width >= 1
    narrow, broad = jnp.where(wide, 1.0, width), jnp.where(wide, width, 1.0)
    e, f = jnp.exp(-0.5 / narrow**2), jnp.exp(-0.5 * (math.pi * broad) ** 2)
    even = jnp.log1p(2 * (e**4 + e**16 + e**36 + e**64))
    odd = LN2 - 0.5 / narrow**2 + jnp.log1p(e**8 + e**24 + e**48)
    integral = jnp.log(broad) + 0.5 * math.log(math.pi / 2)
    above = [integral + jnp.log1p(2 * (sign * f + f**4 + sign * f**9)) for sign in (1, -1)]
    return jnp.stack([jnp.where(wide, above[0], even), jnp.where(wide, above[1], odd)])


def metrics(points: Array, sent: Array, scaled: Array, width: Array, noise: float) -> Array:
    r"""Prices (4, n) of the cosets of 4ℤ, in units of step²: squared error and rate, at the slope of R(D).

    For weights y in steps, a point c costs (y - αc)² + 2D (c²/2τ² + ln Z_q(τ)), D being the error of the code: that is
    A (c - u)² + 2 D ln Z_q(τ) + constant with A = α² + D/τ² and u = αy/A. So the best label of a coset is the nearest.

    Parameters
    ----------
    points, scaled, width : (n,), u, A and τ.
    sent : (n,) booleans; a weight that is not sent has label 0 and costs nothing.
    """
    coset = jnp.arange(4.0, dtype=points.dtype)[:, None]
    away = points[None, :] - coset
    away = away - 4 * jnp.round(away / 4)
    constants = 2 * noise * log_partition(width)
    price = scaled[None, :] * away**2 + jnp.concatenate([constants, constants])
    price = price - jnp.min(price, axis=0)[None, :]  # sums stay small: float32 is enough, and twice as fast
    free = jnp.array([0.0, 0.0, jnp.inf, jnp.inf], points.dtype)[:, None]
    return jnp.where(sent[None, :], price, free).astype(jnp.float32)


def code_length(points: Array, width: Array) -> Array:
    """Bits of each point c under probabilities in proportion to exp(-c²/2τ²) among those of its parity.

    Examples
    --------
    >>> print(code_length(jnp.array([1]), jnp.array([0.1])))  # it could have been -1
    [1.]
    """
    constants = log_partition(width)
    return (0.5 * (points / width) ** 2 + jnp.where(points & 1, constants[1], constants[0])) / LN2


def refit(factor: Array, points: Array, sent: Array, ratio: Array) -> Array:
    """The factor of all widths, changed by what the mean square of the points is to what it should be.

    Examples
    --------
    >>> print(f"{refit(jnp.array(1.0), jnp.array([-4, 4]), jnp.array([True]), jnp.array([5.0])):.6f}")
    0.800000
    """
    width = factor * ratio
    slopes = jax.jvp(log_partition, (width,), (jnp.ones_like(width),))[1]
    expected = width**3 * jnp.where(points & 1, slopes[1], slopes[0])
    seen, meant = (jnp.sum(jnp.where(sent, square / ratio**2, 0.0)) for square in (points**2, expected))
    change = jnp.where((seen > 0) & (meant > 0), seen / jnp.where(meant > 0, meant, 1.0), 1.0)
    return jnp.clip(factor * jnp.sqrt(change), 0.5, 2.0)


def classes(ratio: Array, sent: Array) -> Array:
    """Classes of weights by σ/Δ, sixteen to an octave, from 1 on; 0 is what is not sent.

    Examples
    --------
    >>> print(classes(jnp.array([0.7, 1.0, 1.2, 100.0]), jnp.array([False, True, True, True])))
    [  0  17  21 123]
    """
    place = jnp.floor(PER_OCTAVE * jnp.log2(ratio)).astype(jnp.int32) + PER_OCTAVE + 1
    return jnp.where(sent, jnp.clip(place, 1, CLASSES - 1), 0)


def entropy(labels: Array, contexts: Array) -> Array:
    """Bits of the labels under their frequencies in each context: labels of up to 22 bits and sign, 512 contexts.

    Examples
    --------
    >>> print(entropy(jnp.array([0, -1, 7, 7]), jnp.array([0, 0, 5, 5])))
    2.0
    """
    dtype = jnp.zeros(()).dtype
    folded = jnp.where(labels < 0, -2 * labels - 1, 2 * labels)
    ordered = jnp.sort(contexts.astype(jnp.uint32) * 2**23 + folded.astype(jnp.uint32))
    run = jnp.cumsum(jnp.concatenate([jnp.zeros(1, jnp.int32), ordered[1:] != ordered[:-1]]))
    together, alike = (
        jnp.zeros(2 * CLASSES, dtype).at[contexts].add(1.0),
        jnp.zeros(len(labels), dtype).at[run].add(1.0),
    )
    totals = [jnp.sum(count * jnp.log2(jnp.maximum(count, 1.0))) for count in (together, alike)]
    return totals[0] - totals[1]


def fit_offsets(weights: Array, points: Array, labels: Array, quantizer: Array, gains: Array) -> tuple[Array, Array]:
    """What to add to the points of each quantizer and label -m..m: the centroids, in 128ths; and the bits of that.

    All zero if the error that they save is worth less than the bits they take.
    """
    kinds = 2 * OUTERMOST + 1
    kind = quantizer * kinds + jnp.clip(labels, -OUTERMOST, OUTERMOST) + OUTERMOST
    error = weights - gains * points
    cross, power = (jnp.zeros(2 * kinds, error.dtype).at[kind].add(x) for x in (gains * error, gains**2))
    found = jnp.round(PER_STEP * cross / jnp.where(power > 0, power, 1.0))
    found = jnp.clip(found, -PER_STEP, PER_STEP - 1)
    saved = jnp.sum(found / PER_STEP * (2 * cross - found / PER_STEP * power))
    total = jnp.sum(error**2)
    bits = 8.0 * 2 * kinds
    worth = 0.5 * len(weights) * jnp.log2(total / jnp.maximum(total - saved, jnp.finfo(total.dtype).tiny)) > bits
    worth &= total > 0
    return jnp.where(worth, found, 0.0).astype(jnp.int8).reshape(2, kinds), 1 + jnp.where(worth, bits, 0.0)
