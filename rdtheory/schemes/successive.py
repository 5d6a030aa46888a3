r"""Codes in parts, each of which makes what came before it better, so that a decoder may stop after any of them.

`encode_linear` refines a linear model by one trellis code after the other. `encode` is the code of Isik, Weissman & No
for Laplacian weights under absolute error. There a weight whose residual exceeds a threshold s/λ is given that much,
where λ⁻¹ is the mean residual and s = ln(n / ln n). What is left of an exponential residual is exponential again. So a
step, for about log n bits, lowers the mean by s/(nλ), and that is the slope of R(D) = -log(λD) as n → ∞. When no
residual exceeds the threshold, it is lowered.

So it would go if there were always weights above the threshold. But their number, about ln n, is used up after as many
steps, and from then on residuals end at the threshold: they are not exponential, and each bit is worth less. `encode`
has the numbers.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from scipy import stats

from rdtheory import _checks, _progress
from rdtheory.results import LawFit, Quantized
from rdtheory.schemes import bitstream, trellis
from rdtheory.schemes.trellis import code, model

__all__ = ["decode", "decode_linear", "encode", "encode_linear", "goodness_of_fit"]

EIGHTHS = 8
SMALLEST = 2.0**-126  # of what float32 holds to its digits


@_progress.doing("successive.encode")
def encode(
    weights: Float[ArrayLike, "..."], distortion: Float[ArrayLike, ""], *, shrink: Float[ArrayLike, ""] = 0.7
) -> list[bytes]:
    r"""Weights as parts, until the mean of abs(w - ŵ) is at most D; the first parts, however many, can be decoded.

    In each part a residual abs(w) - abs(ŵ) above the threshold τ gives τ to its weight, and the first time its sign is
    sent too. At one threshold the order of the weights does not matter, so a part is a set of positions; that takes no
    more than the run lengths by which the authors estimate what their random indices would take. What the parts before
    tell to be under τ takes next to nothing. When no residual exceeds τ, it becomes shrink · τ.

    Of 100,000 Laplacian weights it took .03 bit more than R(D) at .1 bit, .11 at .36, .26 at .8, .45 at 1.4, .66 at 2
    and .9 at 3. It leaves far more zeros than the share 4^(-R) of the optimal reproduction.

    Parameters
    ----------
    weights : w, any shape.
    distortion : D > 0, mean absolute error.
    shrink : in (0, 1). The authors' program has 0.9, which gives more parts, and takes more bits above one bit.

    Returns
    -------
    parts : bitstreams, in order; the rate is 8 times their total length over the number of weights.

    Raises
    ------
    ValueError : a distortion that is not positive, weights that are not finite.
    TypeError : weights that are not floating.

    References
    ----------
    Isik, Weissman & No (2022), "An information-theoretic justification for model pruning".

    Examples
    --------
    >>> weights = np.random.default_rng(0).laplace(size=10_000)
    >>> parts = encode(weights, 0.9)
    >>> rate, error = 8 * sum(map(len, parts)) / weights.size, np.mean(np.abs(weights - decode(parts)))
    >>> print(f"{rate + np.log2(error / np.mean(np.abs(weights))):.2f} bit above R(D) = -log(λD)")
    0.13 bit above R(D) = -log(λD)
    """
    w = np.asarray(_checks.weights("weights", weights)[0])
    D, factor = (float(_checks.finite(name, x, 0)[0]) for name, x in (("distortion", distortion), ("shrink", shrink)))
    for name, value, sound in (
        ("distortion must be > 0", D, D > 0),
        ("shrink must be in (0, 1)", factor, 0 < factor < 1),
    ):
        if not sound:
            raise ValueError(f"{name}, got {value}")
    signs, residual = np.sign(w).astype(np.int8), np.abs(w.astype(float))
    with np.errstate(over="ignore"):
        threshold = np.float32(_start(w.size) * residual.mean() or 1.0)
    parts, told = [], None
    while residual.mean() > D or not parts:
        if not SMALLEST <= threshold < np.inf:
            raise ValueError(
                f"weights / distortion must leave thresholds to float32, got {residual.mean():.1e} / {D:.1e}"
            )
        hits = residual > threshold
        if not hits.any() and residual.mean() > D:
            threshold = np.float32(factor * threshold)
            continue
        first = np.ones(w.shape, bool) if told is None else told.signs == 0
        labels = np.where(hits, np.where(first, signs, 1), 0).astype(np.int8)
        parts.append(
            bitstream.encode(Quantized(labels, np.asarray(threshold), classes=_classes(told)), send_classes=False)
        )
        told = _after(told, labels, float(threshold))
        residual = np.where(hits, residual - threshold, residual)
    return parts


def decode(parts: Sequence[bytes]) -> Float[np.ndarray, "..."]:
    """The weights that the first parts of what `encode` gave stand for.

    Parameters
    ----------
    parts : one or more, the first ones in order.

    Returns
    -------
    weights_hat : float32, in the shape of the weights; zero where nothing has been sent.

    Raises
    ------
    ValueError : no part, or parts that are damaged or not in order.

    Examples
    --------
    >>> parts = encode(np.array([3.0, -1.0, 0.1, 0.2]), 0.2)
    >>> print(decode(parts[:1]), decode(parts))
    [1.1391346 0.        0.        0.       ] [ 2.8364453 -0.7973942  0.         0.       ]
    """
    told = None
    for place, part in enumerate(parts):
        leaf = _decoded(place, part, _classes(told))
        if leaf.step is None or leaf.step.shape or not 0 < leaf.step < np.inf or np.abs(leaf.labels).max() > 1:
            raise ValueError(f"parts[{place}] is a bitstream of something else")
        told = _after(told, np.asarray(leaf.labels), float(leaf.step))
    if told is None:
        raise ValueError("parts must hold one part at least")
    return np.asarray(told.signs * told.magnitudes, np.float32)


def goodness_of_fit(weights: Float[ArrayLike, "..."]) -> LawFit:
    r"""How far weights are from a Laplacian law, and from a Gaussian one: in bits, and as distribution functions.

    .. math:: D(P\,\|\,\text{Laplacian}) = \log(2e\,E|W|) - h(W), \qquad
              D(P\,\|\,\text{Gaussian}) = \tfrac12\log(2\pi e\,EW^2) - h(W),

    which is what a weight costs more, at high rate, if its code is made for that law. Both laws have mean zero and the
    scale of greatest likelihood; h is estimated from the spacings of the weights.

    Parameters
    ----------
    weights : of one law, any shape, three at least. Up to a thousand do not tell a hundredth of a bit.

    Returns
    -------
    LawFit
        ``laplacian``, ``gaussian`` in bits a weight, biased for few weights, and below zero by chance where the law
        fits; ``laplacian_distance``, ``gaussian_distance``, the largest difference of the distribution functions
        (Kolmogorov-Smirnov).

    Raises
    ------
    ValueError : fewer weights, weights that are not finite or all alike.
    TypeError : weights that are not floating.

    References
    ----------
    Ebrahimi, Pflughoeft & Soofi (1994), the estimate of h; Isik, Weissman & No (2022) find trained weights Laplacian.

    Examples
    --------
    >>> found = goodness_of_fit(np.random.default_rng(0).laplace(size=100_000))
    >>> print(f"{found.laplacian:.3f} {found.gaussian:.3f}")
    -0.005 0.101
    """
    w = np.asarray(_checks.weights("weights", weights)[0]).astype(float).ravel()
    if len(w) < 3 or np.ptp(w) == 0:
        raise ValueError(f"weights must be three at least, and not all alike, got {len(w)} in [{w.min()}, {w.max()}]")
    scale, deviation = np.mean(np.abs(w)), np.sqrt(np.mean(w**2))
    laws = stats.laplace(scale=scale), stats.norm(scale=deviation)
    entropy = stats.differential_entropy(w, base=2)
    lengths = math.log2(2 * math.e * scale), 0.5 * math.log2(2 * math.pi * math.e) + math.log2(deviation)
    distances = [stats.kstest(w, law.cdf).statistic for law in laws]
    return LawFit(*(length - entropy for length in lengths), *distances)


@_progress.doing("successive.encode_linear")
def encode_linear(
    weights: Float[ArrayLike, " m"],
    variances: Float[ArrayLike, " m"],
    importance: Float[ArrayLike, " m"],
    levels: Sequence[float],
    *,
    states: int = 8,
) -> list[bytes]:
    r"""Weights of a linear model as parts that refine each other, each a trellis code of what is left by those before.

    Part l has the water level θ_l: it describes residuals of a variance above 1.4 times θ_l/λ_i times the code's noise,
    and leaves about θ_l/λ_i of them. With ideal codes the first l parts would meet R(D) for every l. Here each part has
    the loss of the code: the first l take about R(D_l) + l · `trellis.loss` bits a weight, where all are described.

    Parameters
    ----------
    weights : (m,), of mean zero and independent; of others the components (see `gaussian_channel.optimal`).
    variances : (m,), >= 0, σ², which the decoder knows.
    importance : (m,), >= 0, λ, which it knows too: the distortion is Σ λ (w - ŵ)².
    levels : θ_1 > θ_2 > ... > 0, of λ times squared error.
    states : of the trellis code.

    Returns
    -------
    parts : bitstreams, one for each level.

    Raises
    ------
    ValueError : shapes disagree, levels that do not fall, negative numbers, weights that are not finite.
    TypeError : weights that are not floating.

    References
    ----------
    Equitz & Cover (1991): nothing is lost by it, with ideal codes.

    Examples
    --------
    >>> weights, ones = np.random.default_rng(0).normal(size=20_000), np.ones(20_000)
    >>> parts = encode_linear(weights, ones, ones, [0.25, 0.0625])
    >>> for count in (1, 2):
    ...     error = np.mean((weights - decode_linear(parts[:count], ones, ones, [0.25, 0.0625])) ** 2)
    ...     rate = 8 * sum(map(len, parts[:count])) / 20_000
    ...     print(f"{rate:.2f} bit, {rate + 0.5 * np.log2(error / np.mean(weights**2)):.2f} above R(D)")
    1.07 bit, 0.08 above R(D)
    2.16 bit, 0.16 above R(D)
    """
    w = np.asarray(_checks.weights("weights", weights, 1)[0])
    plan = _layers(w.shape, variances, importance, levels, states)
    residual, parts = w.astype(float), []
    for step, deviation, scale, classes in plan:
        found = trellis.quantize(residual, step, states=states, deviation=deviation)
        leaf = trellis.packed(found, states=states)._replace(step=None, classes=classes)
        parts.append(bitstream.encode(leaf, send_classes=False))
        residual = residual - scale * bitstream.dequantize(leaf)
    return parts


def decode_linear(
    parts: Sequence[bytes],
    variances: Float[ArrayLike, " m"],
    importance: Float[ArrayLike, " m"],
    levels: Sequence[float],
    *,
    states: int = 8,
) -> Float[np.ndarray, " m"]:
    """The weights that the first parts of what `encode_linear` gave stand for.

    Parameters
    ----------
    parts : the first ones in order, as many as there are levels or fewer.
    variances, importance, levels, states : as `encode_linear` had them.

    Returns
    -------
    weights_hat : (m,), float64.

    Raises
    ------
    ValueError : more parts than levels; parts that are damaged, not in order, or of other numbers than those given.

    Examples
    --------
    >>> ones = np.ones(3)
    >>> parts = encode_linear(np.array([0.4, -1.1, 2.0]), ones, ones, [0.25, 0.01])
    >>> print(np.abs(decode_linear(parts, ones, ones, [0.25, 0.01]) - np.array([0.4, -1.1, 2.0])).max() < 0.3)
    True
    """
    if len(parts) > len(levels):
        raise ValueError(f"parts must be at most as many as levels, {len(levels)}, got {len(parts)}")
    plan = _layers(np.shape(variances), variances, importance, levels, states)
    weights_hat = np.zeros(np.shape(variances))
    for place, (part, (_, _, scale, classes)) in enumerate(zip(parts, plan, strict=False)):
        leaf = _decoded(place, part, classes)
        weights_hat = weights_hat + scale * bitstream.dequantize(leaf)
    return weights_hat


def _layers(
    shape: tuple[int, ...], variances: ArrayLike, importance: ArrayLike, levels: Sequence[float], states: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Of each part: steps, deviations of what is left, what a point of the code stands for, and classes."""
    spread, worth = (
        np.asarray(_checks.nonnegative(name, _checks.array(name, value, shape=shape), 1)[0])
        for name, value in (("variances", variances), ("importance", importance))
    )
    told = [float(level) for level in levels]
    if not told or any(not 0 < after < before for before, after in itertools.pairwise([math.inf, *told])):
        raise ValueError(f"levels must be finite, > 0 and fall, got {told}")
    noise, layers = code.noise(states), []
    for level in told:
        step = np.asarray(trellis.steps(level, worth, states=states))
        sent = spread > model.WORTH * noise * step**2
        ratio = np.where(sent, np.sqrt(spread) / np.where(sent, step, 1.0), 1.0)
        scale = np.where(sent, step, 0.0) * np.sqrt(1 - noise / ratio**2)
        classes = np.where(sent, np.clip(np.round(model.PER_OCTAVE * np.log2(ratio)) + model.PER_OCTAVE, 1, 255), 0)
        layers.append((step, np.sqrt(spread), scale, classes.astype(np.uint8)))
        spread = np.where(sent, level / np.where(worth > 0, worth, 1.0), spread)
    return layers


def _decoded(place: int, part: bytes, classes: np.ndarray | None) -> Quantized:
    try:
        leaf = bitstream.decode(part, () if classes is None else (classes,))
    except ValueError as error:
        raise ValueError(f"parts[{place}]: {error}") from error
    if not isinstance(leaf, Quantized):
        raise ValueError(f"parts[{place}] is a bitstream of something else")
    return leaf


class _Told(NamedTuple):
    """What whoever has some parts knows of each weight."""

    signs: np.ndarray  # 0 before the first hit
    magnitudes: np.ndarray
    bounds: np.ndarray  # what the residual is at most
    threshold: float  # the last


def _after(told: _Told | None, labels: np.ndarray, threshold: float) -> _Told:
    """After one part more: float64, one operation at a time, so that encoder and decoder agree on every platform."""
    if told is None:
        told = _Told(np.zeros_like(labels), np.zeros(labels.shape), np.full(labels.shape, np.inf), threshold)
    hits = labels != 0
    return _Told(
        np.where(told.signs == 0, labels, told.signs),
        np.where(hits, told.magnitudes + threshold, told.magnitudes),
        np.where(hits, told.bounds - threshold, np.minimum(told.bounds, threshold)),
        threshold,
    )


def _classes(told: _Told | None) -> np.ndarray | None:
    """Of weights with a sign, how many eighths of the last threshold the residual is at most; a class for the others.

    So those which cannot exceed the next threshold cost next to nothing.
    """
    if told is None:
        return None
    eighths = np.minimum(np.ceil(told.bounds / told.threshold * EIGHTHS), EIGHTHS)
    return np.where(told.signs == 0, EIGHTHS + 1, eighths).astype(np.uint8)


def _start(n: int) -> float:
    """ln(n / ln n), the threshold in mean residuals."""
    return math.log(n / math.log(n)) if n > 1 else 1.0
