"""Checks of discrete sources and of the scalar sources with a formula."""

import math

import numpy as np
from jax import Array
from jax.typing import ArrayLike
from scipy import integrate, stats

from rdtheory import distortion, sources
from rdtheory.limits import algorithms, channel, closed_form, continuous, discrete
from rdtheory.results import RateDistortion
from rdtheory.verify.rows import Row, agree, at_most, estimate, generator, host

LN2 = math.log(2)


def coin(key: Array, quick: bool) -> list[Row]:
    """Bernoulli source, probability of error: R(D) = h(p) - h(D)."""
    d = distortion.hamming(2)
    rows = []
    for p in (0.5, 0.3):
        for D in (0.01, 0.1, 0.25):
            point = discrete.rate_at(np.array([p, 1 - p]), d, D)
            theory = closed_form.bernoulli(p, D)
            rows.append(agree("R(D) of a coin", f"certified, p = {p}, D = {D}", theory, point.rate, point.gap))
    return rows + _sampled("coin", generator(key), np.array([p, 1 - p]), d, point, theory, quick)


def critical_slope(key: Array, quick: bool) -> list[Row]:
    """Coin at the slope where its support changes: slow, but the gap stays honest; and that slope, bracketed.

    Under squared error one number serves up to 1 / (2 σ²) nats, where ln E e^(l (X - p)) <= l² σ² / 2 for all l. Of a
    coin the least such σ² is (1 - 2p) / (2 ln((1 - p) / p)) (Kearns & Saul, 1998).
    """
    p = 0.3
    source, d = np.array([p, 1 - p]), distortion.hamming(2)
    rows = []
    for steps in (10, 100, 1000):
        point = host(algorithms.blahut_arimoto(source, d, math.log2((1 - p) / p), max_steps=steps))
        theory = closed_form.bernoulli(p, point.distortion)
        computed = f"Blahut-Arimoto, {steps} steps, at D = {point.distortion:.6f}"
        rows.append(agree("R(D) at the critical slope", computed, theory, point.rate, point.gap))
        lower = at_most("the gap covers", f"rate - gap <= R(D), {steps} steps", point.rate - point.gap, theory)
        rows += [lower, at_most("the gap covers", f"R(D) <= rate, {steps} steps", theory, point.rate)]
    point = algorithms.interior_point(source, d, math.log2((1 - p) / p))
    theory = closed_form.bernoulli(p, point.distortion)
    computed = f"interior point, {point.steps} steps, at D = {point.distortion:.6f}"
    rows.append(agree("R(D) at the critical slope", computed, theory, point.rate, point.gap))
    rows.append(at_most("certified to 1e-9", f"gap of the interior point, {point.steps} steps", point.gap, 1e-9))
    coin, nats = sources.from_samples(np.repeat([0.0, 1.0], [7, 3])), math.log((1 - p) / p) / (1 - 2 * p)
    found = continuous.transitions(coin, np.array([2.5, 3.5]))
    [low], [high] = np.asarray(found.low), np.asarray(found.high)
    computed = f"bracketed in [{low:.6f}, {high:.6f}]"
    return [*rows, agree("critical slope, squared error", computed, nats / LN2, (low + high) / 2, (high - low) / 2)]


def hamming(key: Array, quick: bool) -> list[Row]:
    """Any finite source, probability of error: Erokhin's formula, and the fair die."""
    d = distortion.hamming(4)
    loaded = np.array([0.4, 0.3, 0.2, 0.1])
    rows = []
    for D in (0.05, 0.3, 0.5):
        point = discrete.rate_at(np.full(4, 0.25), d, D)
        theory = closed_form.uniform_hamming(4, D)
        rows.append(agree("R(D) of a fair die", f"certified, 4 sides, D = {D}", theory, point.rate, point.gap))
        point = discrete.rate_at(loaded, d, D)
        theory = closed_form.hamming(loaded, D)
        rows.append(agree("Erokhin's R(D)", f"certified, loaded die, D = {D}", theory, point.rate, point.gap))
    return rows + _sampled("loaded die", generator(key), loaded, d, point, theory, quick)


def erasure(key: Array, quick: bool) -> list[Row]:
    """Letters may be erased, never mistaken: forbidden reproductions cost infinity."""
    source, d = np.array([0.2, 0.3, 0.5]), distortion.erasure(3)
    rows = []
    for D in (0.0, 0.3, 0.8):
        point = discrete.rate_at(source, d, D)
        theory = closed_form.erasure(source, D)
        rows.append(agree("R(D) under erasures", f"certified, D = {D}", theory, point.rate, point.gap))
    return rows + _sampled("erasures", generator(key), source, d, point, theory, quick)


def inverse(key: Array, quick: bool) -> list[Row]:
    """D(R) is the inverse of R(D)."""
    source, d = np.array([0.3, 0.7]), distortion.hamming(2)
    rows = []
    for rate in (0.1, 0.6):
        point = discrete.distortion_at(source, d, rate)
        theory = closed_form.bernoulli(0.3, point.distortion)
        rows.append(agree("R(D(R)) = R", f"D({rate}), certified", theory, rate, point.gap))
    return rows


def capacity(key: Array, quick: bool) -> list[Row]:
    """Capacity of the binary symmetric, the erasure and the Z channel."""

    def binary_entropy(p: float) -> float:
        return -p * math.log2(p) - (1 - p) * math.log2(1 - p)

    p = 0.2
    channels = (
        ("binary symmetric channel", [[1 - p, p], [p, 1 - p]], 1 - binary_entropy(p)),
        ("Z channel", [[1.0, 0.0], [p, 1 - p]], math.log2(1 + (1 - p) * p ** (p / (1 - p)))),
        ("erasure channel", [[1 - p, p, 0.0], [0.0, p, 1 - p]], 1 - p),
    )
    rows = []
    for name, matrix, theory in channels:
        found = channel.capacity(np.array(matrix))
        rows.append(agree(f"capacity, {name}", f"Blahut-Arimoto, p = {p}", theory, found.rate, found.gap))
    return rows


def gaussian(key: Array, quick: bool) -> list[Row]:
    """Gaussian source, squared error: ½ log(σ²/D), met from both sides."""
    D = 0.2
    source, noise = stats.norm(), stats.norm(scale=math.sqrt(D))
    rng = generator(key)
    reproduction = rng.normal(scale=math.sqrt(1 - D), size=_samples(quick))
    return _two_sided(rng, "Gaussian", closed_form.gaussian(1.0, D), D, source, noise, reproduction, np.square)


def laplacian(key: Array, quick: bool) -> list[Row]:
    """Laplacian source, absolute error: log(b/D), met from both sides."""
    D = 0.2
    # X = Y + N with Laplacian N of scale D leaves Y: zero with probability D², else Laplacian of scale 1.
    rng, n = generator(key), _samples(quick)
    reproduction = np.where(rng.random(n) < D**2, 0.0, rng.laplace(size=n))
    source, noise = stats.laplace(), stats.laplace(scale=D)
    return _two_sided(rng, "Laplacian", closed_form.laplacian(1.0, D), D, source, noise, reproduction, np.abs)


def exponential(key: Array, quick: bool) -> list[Row]:
    """Exponential source, one-sided error: log(μ/D), met from both sides."""
    D = 0.2
    # X = Y + N with exponential N of mean D leaves Y: zero with probability D, else exponential of mean 1.
    rng, n = generator(key), _samples(quick)
    reproduction = np.where(rng.random(n) < D, 0.0, rng.exponential(size=n))
    source, noise = stats.expon(), stats.expon(scale=D)
    return _two_sided(rng, "exponential", closed_form.exponential(1.0, D), D, source, noise, reproduction, np.abs)


def _sampled(
    name: str,
    rng: np.random.Generator,
    source: ArrayLike,
    d: Array,
    point: RateDistortion,
    theory: Array,
    quick: bool,
) -> list[Row]:
    """Letters sent through the test channel: mean information density and mean distortion."""
    p, costs, n = np.asarray(source), np.asarray(d), _samples(quick)
    channel = np.asarray(discrete.test_channel(point.reproduction_pmf, d, point.slope))
    x = rng.choice(len(p), size=n, p=p)
    y = np.minimum((rng.random(n)[:, None] > np.cumsum(channel[x], axis=1)).sum(axis=1), channel.shape[1] - 1)
    rate, rate_bar = estimate(np.log2(channel[x, y] / (p @ channel)[y]))
    spent, spent_bar = estimate(costs[x, y])
    sampled = f"{n:,} letters through the test channel"
    return [
        agree(f"R(D), {name}, achieved", sampled, theory, rate, rate_bar),
        agree(f"D, {name}, achieved", sampled, point.distortion, spent, spent_bar),
    ]


def _samples(quick: bool) -> int:
    return 100_000 if quick else 1_000_000


def _two_sided(
    rng: np.random.Generator, name: str, theory: Array, D: float, source, noise, reproduction: np.ndarray, cost
) -> list[Row]:
    """R(D) = h(X) - h(N) where the source is the sum of an independent reproduction Y and noise N.

    The difference of entropies is the Shannon lower bound, by quadrature; the channel from X to Y meets it, by
    sampling.
    """
    error = noise.rvs(size=reproduction.size, random_state=rng)
    x = reproduction + error
    rate, rate_bar = estimate((noise.logpdf(error) - source.logpdf(x)) / LN2)
    spent, spent_bar = estimate(cost(error))
    (source_bits, source_bar), (noise_bits, noise_bar) = _entropy(source), _entropy(noise)
    converse = "Shannon lower bound h(X) - h(N), by quadrature"
    fit = stats.kstest(x, source.cdf).statistic
    return [
        agree(f"R(D), {name} source, converse", converse, theory, source_bits - noise_bits, source_bar + noise_bar),
        agree(f"R(D), {name} source, achieved", f"information density, {x.size:,} samples", theory, rate, rate_bar),
        agree(f"D of the channel, {name} source", f"mean error, {x.size:,} samples", D, spent, spent_bar),
        # Kolmogorov: P(√n sup > 2.6) = 3e-6.
        agree(f"Y + N is {name}", "Kolmogorov-Smirnov distance", 0.0, fit, 2.6 / math.sqrt(x.size)),
    ]


def _entropy(law) -> tuple[float, float]:
    """Differential entropy in bits, and quadrature's error estimate plus what the cut tails may hold."""
    edge = 60 * law.std()
    pieces = [(a, b) for a, b in ((-edge, 0.0), (0.0, edge)) if law.cdf(b) > law.cdf(a)]

    def integrand(x: float) -> float:
        return -law.pdf(x) * law.logpdf(x) / LN2 if law.pdf(x) > 0 else 0.0

    values, errors = zip(*(integrate.quad(integrand, a, b, epsabs=1e-12, limit=400) for a, b in pieces), strict=True)
    return sum(values), sum(errors) + 1e-12
