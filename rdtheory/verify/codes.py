"""Checks of codes that are real: none is below the limit, and how far above it each one is."""

import functools
import math

import jax
import numpy as np
from jax import Array
from scipy.optimize import minimize_scalar

from rdtheory import _compile
from rdtheory.limits import closed_form, finite_blocklength, gaussian
from rdtheory.results import GaussianChannel, LayerQuantized, Quantized
from rdtheory.schemes import (
    bitstream,
    channel_simulation,
    feedback,
    quantize,
    random_codebook,
    scalar,
    sparse_regression,
    trellis,
)
from rdtheory.schemes.feedback.plan import make_plan
from rdtheory.schemes.feedback.quantizer import HEADER_BITS, SPREAD_BITS
from rdtheory.verify.rows import SIGMAS, Row, agree, at_most, estimate, generator, host, split

LOG_E = math.log2(math.e)
GRIDS = 0.005  # bits that steps and spreads lose in eighths of an octave, and by being fitted to so many outputs
BANDS = 20  # of weights whose λσ² is the same


def entropy_codes(key: Array, quick: bool) -> list[Row]:
    """Scalar and trellis quantization of a Gaussian source, in real bytes, above R(D)."""
    n = 10_000 if quick else 100_000
    weights = generator(key).normal(size=n)
    variance = np.mean(weights**2)
    rows = []

    def sandwich(name: str, leaf: Quantized) -> None:
        data = bitstream.encode(leaf)
        D = np.mean((weights - np.asarray(bitstream.dequantize(bitstream.decode(data)))) ** 2)
        limit, rate = float(closed_form.gaussian(variance, D)), 8 * len(data) / n
        computed = f"{name}, {n:,} weights in {len(data):,} bytes: {rate - limit:.3f} bit per weight above"
        rows.append(at_most("R(D) <= rate of an entropy code", computed, limit, rate))

    for step in (2.4, 1.0, 0.1):
        sandwich("scalar", scalar.quantize(weights, np.float32(step)))
    for states in (8,) if quick else (8, 256):
        for level in (0.5, 0.1, 0.001):
            # All in the shape of the weights, as in a linear model, whose compiled function this is too.
            steps = np.asarray(trellis.steps(level, np.ones(n), states=states))
            leaf, scale = trellis_leaf(weights, steps, np.ones(n), states)
            sandwich(f"trellis of {states} states", leaf._replace(step=np.asarray(scale[0], np.float32), classes=None))
    return rows


def scalar_quantizers(key: Array, quick: bool) -> list[Row]:
    """Fixed-rate scalar quantizers of a Gaussian (Lloyd-Max): between D(R) and √3π/2 · 4^(-b)."""
    x = generator(key).normal(size=100_000 if quick else 1_000_000)
    constant, share, rows = math.sqrt(3) * math.pi / 2, 1.0, []  # of no bits, D = 1
    for bits in range(1, 6):
        found = quantize.gaussian_codebook(2**bits)
        mean, bar = estimate((x - found.codebook[np.searchsorted(found.thresholds, x)]) ** 2)
        fixed, coded = (rate - 0.5 * math.log2(1 / found.distortion) for rate in (bits, found.entropy))
        computed = f"{bits} bits: {fixed:.3f} bit above R(D), {coded:.3f} with an entropy coder"
        rows += [
            agree("D of a Lloyd-Max quantizer", f"{len(x):,} samples, {bits} bits", found.distortion, mean, bar),
            at_most("D(R) <= D of a Lloyd-Max quantizer", computed, 4.0**-bits, found.distortion),
            at_most("D(R) <= D of an entropy coder", computed, 4.0**-found.entropy, found.distortion),
            at_most("Lloyd-Max <= √3π/2 · 4^(-b)", f"{bits} bits", found.distortion, constant * 4.0**-bits),
            at_most("nearer √3π/2 · 4^(-b) with each bit", f"{bits} bits", share, found.distortion * 4.0**bits),
        ]
        share = found.distortion * 4.0**bits
    half = 1 - 2 / math.pi
    rows.append(agree("one bit: D = 1 - 2/π", "closed form", half, quantize.gaussian_codebook(2).distortion, 1e-12))
    return rows


def linear_codes(key: Array, quick: bool) -> list[Row]:
    """Quantizers with water-filled steps for a linear model with given covariances, above its R(D)."""
    m = 10_000 if quick else 100_000  # diagonal covariances; λσ² from 1 to 1e-4
    rng = generator(key)
    loudness = np.repeat(np.geomspace(1.0, 1e-4, BANDS), m // BANDS)
    importance = np.exp(rng.uniform(-2.0, 2.0, size=m))
    variances = loudness / importance
    weights = rng.normal(size=m) * np.sqrt(variances)
    # The bound at the variances that the bands of this sample have, from which rate and distortion differ least.
    heard = np.repeat(np.mean((importance * weights**2).reshape(BANDS, -1), axis=1), m // BANDS)
    rows = []

    def sandwich(name: str, leaf: Quantized, unit: np.ndarray) -> None:
        assert leaf.classes is not None
        data = bitstream.encode(leaf, send_classes=False)
        decoded = np.asarray(bitstream.dequantize(bitstream.decode(data, [leaf.classes])))
        D = np.sum(importance * (weights - decoded * unit) ** 2)
        limit, bits = float(gaussian.water_filling(heard, D).rate), 8 * len(data)
        computed = f"{name}, {m:,} weights in {len(data):,} bytes: {(bits - limit) / m:.3f} bit per weight above"
        rows.append(at_most("R(D) <= rate, linear model", computed, limit, bits))

    for level in (0.03, 1e-5):
        unit = np.asarray(scalar.water_step(importance, level))
        classes = np.asarray(scalar.spread_classes(variances, unit, per_octave=8), np.uint8)
        zone = scalar.least_dead_zone(variances, unit)
        sandwich("scalar", scalar.quantize(weights / unit, np.float32(1), dead_zone=zone, classes=classes), unit)
        for states in (8,) if quick else (8, 256):
            steps = np.asarray(trellis.steps(level, importance, states=states))
            leaf, scale = trellis_leaf(weights, steps, np.sqrt(variances), states)
            sandwich(f"trellis of {states} states", leaf, scale)
    return rows


def layer_codes(key: Array, quick: bool) -> list[Row]:
    """Successive quantization of a layer: its loss at high rate, and at every rate the price of one codebook."""
    m, k = 16, 1000 if quick else 10_000
    weights = generator(key).normal(size=(m, k))
    basis = np.linalg.qr(weights[:, :m])[0]
    spectra = {
        "correlated": 0.9 ** np.abs(np.subtract.outer(np.arange(m), np.arange(m))),
        "two levels": (basis * np.repeat([1.0, 1e-4], m // 2)) @ basis.T,
    }
    quarter, rows = 0.5 * math.log2(math.pi * math.e / 6), []
    for name, moments in spectra.items():
        pivots = np.diagonal(np.linalg.cholesky(moments)) ** 2
        finest = 1e-3 * pivots.min()
        found = host(feedback.watersic(weights, moments, finest))
        gap, bar = _above(found, weights, moments)
        rows.append(agree("WaterSIC loses ½log(2πe/12)", f"{name}, {found.rate:.1f} bits", quarter, gap, bar))
        rounded = (np.linalg.cholesky(moments) / np.sqrt(pivots)).T @ (weights - np.asarray(found.weights_hat))
        rows.append(agree("Babai's identity", f"{name}, Σ ℓ² (error at the target)²",
                          np.sum(pivots[:, None] * rounded**2), found.distortion, 1e-9 * found.distortion))  # fmt: skip
        means = 0.5 * math.log2(pivots.mean() / np.exp(np.mean(np.log(pivots))))
        found = host(feedback.gptq(weights, moments, finest))
        gap, bar = _above(found, weights, moments)
        computed = f"{name}, {found.rate:.1f} bits"
        rows.append(agree("GPTQ loses ½log(mean ℓ²/geometric) more", computed, quarter + means, gap, bar))
    for name, moments in spectra.items():
        spectrum = np.linalg.eigvalsh(moments)
        for level in (0.5, 0.1, 0.01):
            plan = make_plan(moments, np.eye(m), level, 1.0)
            inverse, left = plan.pull @ np.linalg.inv(moments), np.eye(m) - plan.pull
            v = np.sum(plan.pull**2, axis=1) + level * np.diagonal(inverse)
            ideal = float(np.mean(0.5 * np.log2(v * plan.pivots / level)))
            D = float(np.trace(moments @ (left @ left.T + level * inverse))) / m
            computed = f"{name}, level {level}, from covariances"
            rows.append(
                at_most("successive quantization <= one codebook", computed, ideal, one_codebook(spectrum, D), 1e-3)
            )
            states = 8
            found = host(feedback.quantize(weights, moments, level, states=states))
            data = bitstream.encode(found.coded)
            assert (bitstream.dequantize(bitstream.decode(data)) == found.weights_hat).all()
            D, power = float(found.distortion) / weights.size, float(np.mean(weights**2))
            bound = one_codebook(spectrum * power, D) + trellis.loss(states) + 0.02
            if name == "correlated" and level < 0.5:
                rows += _block(spectrum, float(found.distortion) / k, 8 * len(data) / weights.size, k)
            side = 8 * m + 320  # bits, about, of spreads, steps and header
            computed = f"{name}, {states} states, {weights.size:,} weights in {len(data):,} bytes"
            rows.append(
                at_most(
                    "rate <= one codebook + loss + 0.02",
                    computed,
                    8 * len(data) / weights.size,
                    bound,
                    side / weights.size,
                )
            )
    return rows


def _block(variances: np.ndarray, D: float, measured: float, copies: int) -> list[Row]:
    """A code of these weights cannot do with less than the converse says, unless by a chance of one in a million.

    Random coding does with less than it takes, for 99 of 100 draws of the weights.
    """
    computed = f"{len(variances) * copies:,} weights at D = {D / len(variances):.4f}"
    sure, often = (finite_blocklength.parallel_gaussians(variances, D, e, copies=copies) for e in (1 - 1e-6, 0.01))
    return [
        at_most("converse of the block <= a layer's code", computed, sure.converse, measured),
        at_most("converse <= achievability of the block", computed, often.converse, often.achievability),
        at_most("random coding of the block <= a layer's code", computed, often.achievability, measured),
    ]


def one_codebook(spectrum: np.ndarray, D: float) -> float:
    r"""Bits per weight of random coding with one codebook N(0, s I), at the best s, of N(0, 1) in a metric Σ, λ its
    eigenvalues.

    In nats max_t mean[½ ln(1 + 2tλs) + tλ/(1 + 2tλs)] - tD: by large deviations of the distance to a random codeword.
    """

    def nats(log_s: float) -> float:
        def below(log_t: float) -> float:
            near = 2 * np.exp(log_t + log_s) * spectrum
            return np.exp(log_t) * D - np.mean(0.5 * np.log1p(near) + np.exp(log_t) * spectrum / (1 + near))

        return -minimize_scalar(below, bounds=(-15.0, 25.0), method="bounded", options={"xatol": 1e-8}).fun

    return LOG_E * minimize_scalar(nats, bounds=(-8.0, 1.0), method="bounded", options={"xatol": 1e-6}).fun


def _above(found: LayerQuantized, weights: np.ndarray, moments: np.ndarray) -> tuple[float, float]:
    """Bits per weight of the labels above R(D) of Gaussians of the covariance that the sample has, and their error."""
    m, k = weights.shape
    root = np.linalg.cholesky(moments).T @ weights
    lost = np.linalg.cholesky(moments).T @ (weights - np.asarray(found.weights_hat))
    mean, bar = estimate(np.sum(lost**2, axis=0))
    limit = float(gaussian.water_filling(np.linalg.eigvalsh(root @ root.T / k), mean).rate) / m
    side = (SPREAD_BITS * m + HEADER_BITS) / weights.size
    return float(found.rate) - side - limit, 0.5 * LOG_E * bar / mean + GRIDS


def block_codes(key: Array, quick: bool) -> list[Row]:
    """Sparse regression and random codebooks: distortion above D(R), rate above the converse of their length."""
    book, excess, key = split(key)
    blocks = generator(key).normal(size=(100 if quick else 200, 120))
    rows = []

    def above(name: str, errors: np.ndarray, bits: int, n: int) -> None:
        mean, bar = estimate(errors)
        rate = bits / n
        gap = rate - float(closed_form.gaussian(np.ones(()), np.asarray(mean)))
        computed = f"{name}, {bits} bits for {n} weights: {gap:.3f} bit per weight above"
        rows.append(at_most("D(R) <= distortion of a block code", computed, 4.0**-rate, mean, bar))

    n = blocks.shape[1]
    for M in (64,) if quick else (64, 256):
        L = n // round(math.log2(M))
        c = sparse_regression.coefficients(L, M, n, 1.0, matched=True)
        errors = np.mean((blocks - np.asarray(regressed(book, blocks, c, M))) ** 2, axis=1)
        above(f"sparse regression, {M} columns to a section", errors, sparse_regression.bits(L, M), n)
    n, D, probability = 6, 0.25, 0.1
    ones = np.ones(n)
    laws = jax.device_put(((1 - D) * ones, ones / n))

    @functools.partial(_compile.jit, lengthy=0)
    def nearest(book: Array, blocks: Array) -> Array:
        keys = jax.random.split(book, len(blocks))
        return jax.vmap(lambda key, w: random_codebook.encode(key, w, *laws, 2**n).distortion)(keys, blocks)

    above("random codebook", np.asarray(nearest(book, blocks[:, :n])), n, n)
    trials = 200 if quick else 500
    needed = random_codebook.rate_for_excess(excess, ones, *laws, D, probability, trials=trials, limit=2**16)
    bounds = finite_blocklength.gaussian(n, D, probability)
    bar = SIGMAS / 2 * (float(needed.rate) - float(needed.low)) / n  # the interval is of two standard errors
    computed = (
        f"random codebooks, blocks of {n}, D = {D} missed by {probability:.0%}; R(D) is {bounds.rate:g}, "
        f"some code takes {bounds.achievability:.3f}"
    )
    rows.append(at_most("converse of a block length", computed, bounds.converse, float(needed.rate) / n, bar))
    return rows


def channel_codes(key: Array, quick: bool) -> list[Row]:
    """Channel simulation: the distortion of the channel itself, in I + log(I + 1) + 5 whole bits."""
    draw, key, _ = split(key)
    trials = 200 if quick else 4000
    D, one = 0.25, np.eye(1)
    information = -0.5 * math.log2(D)
    # On the device, they are checked once, and not by what is compiled.
    gain, noise, cov = jax.device_put(((1 - D) * one, D * (1 - D) * one, one))
    channel = GaussianChannel(gain, noise)
    weights = generator(draw).normal(size=(trials, 1))

    def send(item: tuple[Array, Array]) -> tuple[Array, Array]:
        key, w = item
        sent = channel_simulation.encode(key, channel, cov, w)
        return sent.bits, channel_simulation.decode(key, channel, cov, sent.index)

    run = _compile.jit(lambda key, weights: jax.lax.map(send, (jax.random.split(key, trials), weights)))
    bits, received = map(np.asarray, run(key, weights))
    length, length_bar = estimate(np.ceil(bits))
    lost, lost_bar = estimate(np.sum((weights - received) ** 2, axis=1))
    sampled = f"{trials:,} weights, I = {information:g} bit"
    return [
        at_most("length of channel simulation", f"{sampled}, {length:.2f} sent", length,
                information + math.log2(information + 1) + 5, length_bar),
        at_most("I <= length of channel simulation", sampled, information, length, length_bar),
        agree("D of channel simulation", sampled, D, lost, lost_bar),
    ]  # fmt: skip


@functools.partial(_compile.jit, lengthy=0, static_argnums=3)
def regressed(book: Array, blocks: Array, c: Array, M: int) -> Array:
    """Blocks through sparse regression codes: one of its own for each, so that errors are independent.

    Examples
    --------
    >>> regressed(jax.random.key(0), jnp.ones((2, 12)), sparse_regression.coefficients(3, 16, 12, 1.0), 16).shape
    (2, 12)
    """

    def through(key: Array, w: Array) -> Array:
        return sparse_regression.decode(key, sparse_regression.encode(key, w, c, M), c, len(w))

    return jax.vmap(through)(jax.random.split(book, len(blocks)), blocks)


def trellis_leaf(
    weights: np.ndarray, step: np.ndarray, deviation: np.ndarray, states: int
) -> tuple[Quantized, np.ndarray]:
    """Labels with classes, in units of the scale, which is beside them."""
    found = trellis.quantize(weights, step, states=states, deviation=deviation)
    leaf = trellis.packed(found, states=states)
    classes = (np.asarray(found.contexts) // 2).astype(np.uint8)
    return leaf._replace(step=None, classes=classes), np.asarray(found.scale)
