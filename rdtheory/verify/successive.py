"""Checks of successive refinement: laws that can be described in parts, and codes whose parts can be decoded."""

import math

import numpy as np
from jax import Array
from scipy import integrate, stats

from rdtheory.limits import closed_form, gaussian, linear
from rdtheory.schemes import gaussian_channel, successive, trellis
from rdtheory.verify.codes import BANDS
from rdtheory.verify.linear import ROUNDING, correlated
from rdtheory.verify.rows import Row, agree, at_most, estimate, generator, host

HEADERS = 0.05  # bits a weight that is described: laws of the classes, and what a part sends of what is under water
CRITICAL = 2.75  # √n times the Kolmogorov-Smirnov distance, exceeded as rarely as five standard errors


def laplacian_refinement(key: Array, quick: bool) -> list[Row]:
    """A Laplacian under absolute error: zeros of the optimal reproduction, and a chain that meets R(D) twice."""
    rng = generator(key)
    b, coarse, fine = 1.3, 0.7, 0.2
    n = 100_000 if quick else 1_000_000
    outer, inner, whole = (float(host(closed_form.laplacian_output(*pair)).zeros)
                           for pair in ((b, coarse), (coarse, fine), (b, fine)))  # fmt: skip
    rows = []
    for name, share, scale, D in (("D = 0.7", outer, b, coarse), ("D = 0.2", whole, b, fine)):
        off = [
            share * _density(x, D) + (1 - share) * _convolved(x, scale, D) - _density(x, scale) for x in (0.0, 0.8, 4.0)
        ]
        rows.append(agree("Ŵ + N is Laplacian", f"densities by quadrature, {name}", 0.0, max(map(abs, off)), ROUNDING))
    # The law of the better reproduction, part by part of the two that are added.
    off = [
        outer * (1 - inner) * _density(x, coarse)
        + (1 - outer) * inner * _density(x, b)
        + (1 - outer) * (1 - inner) * _convolved(x, b, coarse)
        - (1 - whole) * _density(x, b)
        for x in (0.3, 2.0)
    ]
    rows.append(agree("Ŵ₁ + increment has the law of Ŵ₂", "density by quadrature", 0.0, max(map(abs, off)), ROUNDING))

    def drawn(zeros: float, scale: float) -> np.ndarray:
        return np.where(rng.uniform(size=n) < zeros, 0.0, rng.laplace(scale=scale, size=n))

    first = drawn(outer, b)
    second = first + drawn(inner, coarse)
    w = second + rng.laplace(scale=fine, size=n)
    sampled = f"{n:,} samples of the chain"
    zero, bar = estimate((second == 0).astype(float))
    rows.append(agree("share of zeros = 4^(-R)", sampled, 4 ** -float(closed_form.laplacian(b, fine)), zero, bar))
    for name, x, D in (("first", first, coarse), ("second", second, fine)):
        density = (np.abs(w) / b - np.abs(w - x) / D) / math.log(2) + math.log2(b / D)
        rate, bar = estimate(density)
        rows.append(agree("R(D) of a refined Laplacian", f"{sampled}, {name}", closed_form.laplacian(b, D), rate, bar))
    spent, bar = estimate(np.abs(w - first))
    rows.append(agree("D of a refined Laplacian", f"{sampled}, first", coarse, spent, bar))
    for name, x, scale in (("W", w, b), ("W - Ŵ₁", w - first, coarse)):
        off = stats.kstest(x, stats.laplace(scale=scale).cdf).statistic
        computed = f"{sampled}: largest difference of distribution functions"
        rows.append(at_most(f"{name} is Laplacian", computed, off, CRITICAL / math.sqrt(n)))
    return rows


def successive_codes(key: Array, quick: bool) -> list[Row]:
    """Parts of the code of Isik, Weissman & No, in real bytes: each of them better, all above R(D)."""
    n = 10_000 if quick else 100_000
    weights = generator(key).laplace(size=n)
    scale, rows = np.mean(np.abs(weights)), []
    before = scale
    parts = successive.encode(weights, 0.1 * scale)
    for count in range(1, len(parts) + 1, 2):
        D = np.mean(np.abs(weights - successive.decode(parts[:count])))
        rate, limit = 8 * sum(map(len, parts[:count])) / n, float(closed_form.laplacian(scale, D))
        computed = f"{count} parts of {n:,} weights, {rate:.2f} bit, {rate - limit:.3f} above"
        rows.append(at_most("R(D) <= rate of a successive code", computed, limit, rate))
        rows.append(at_most("each part lowers the distortion", f"{count} parts", D, before))
        before = D
    return rows


def linear_refinement(key: Array, quick: bool) -> list[Row]:
    """A linear model in parts: a channel from each optimal reproduction to the coarser ones, and codes that refine."""
    rng = generator(key)
    w, x = correlated(rng, 5)
    total = np.sum(w * x)
    D, coarse = 0.02 * total, 0.2 * total
    fine, direct = (host(gaussian_channel.optimal(w, x, at)) for at in (D, coarse))
    further = host(gaussian_channel.coarser(w, x, D, coarse))
    rates = [float(linear.rate(w, x, at).rate) for at in (D, coarse)]
    second = fine.gain @ w @ fine.gain.T + fine.noise_cov
    first = further.gain @ second @ further.gain.T + further.noise_cov
    cross = w @ fine.gain.T @ further.gain.T  # of W with Ŵ₁, through Ŵ₂
    lost = np.sum(x * (w - cross - cross.T + first))
    bits = [0.5 * np.linalg.slogdet(_given(w, *map(np.asarray, known)))[1] / math.log(2)
            for known in ((second, w @ fine.gain.T), (first, cross))]  # fmt: skip
    scale = np.abs(w).max()
    rows = [
        agree("W - Ŵ₂ - Ŵ₁ is a Markov chain", "covariance with the Ŵ₁ of its own channel, largest residual", 0.0,
              np.abs(w @ direct.gain.T - cross).max(), ROUNDING * scale),
        agree("Ŵ₂ - Ŵ₁ is new", "largest covariance with Ŵ₁", 0.0, np.abs(second @ further.gain.T - first).max(),
              ROUNDING * scale),
        agree("D of the coarser reproduction", "trace formula", coarse, lost, ROUNDING * coarse),
        agree("R(D) of the coarser reproduction", "log-determinants", rates[1],
              0.5 * np.linalg.slogdet(w)[1] / math.log(2) - bits[1], ROUNDING),
        agree("I(W; Ŵ₂ | Ŵ₁) = R(D₂) - R(D₁)", "log-determinants", rates[0] - rates[1], bits[1] - bits[0], ROUNDING),
    ]  # fmt: skip
    m = 10_000 if quick else 100_000  # sizes of other checks, for which the code is compiled
    loudness = np.repeat(np.geomspace(1.0, 1e-4, BANDS), m // BANDS)
    importance = np.exp(rng.uniform(-2.0, 2.0, size=m))
    weights = rng.normal(size=m) * np.sqrt(loudness / importance)
    heard = np.repeat(np.mean((importance * weights**2).reshape(BANDS, -1), axis=1), m // BANDS)
    levels = [0.03, 1e-3, 1e-5]
    known = loudness / importance, importance, levels
    parts = successive.encode_linear(weights, *known)
    for count, level in enumerate(levels, 1):
        error = weights - successive.decode_linear(parts[:count], *known)
        bits = 8 * sum(map(len, parts[:count]))
        limit = float(gaussian.water_filling(heard, np.sum(importance * error**2)).rate)
        described = np.count_nonzero(loudness > level)
        computed = f"{count} parts, {m:,} weights in {bits // 8:,} bytes: {(bits - limit) / m:.3f} bit per weight above"
        rows.append(at_most("R(D) <= rate of the first parts", computed, limit, bits))
        allowed = count * trellis.loss() + HEADERS
        computed = f"{count} parts, bits above for each of {described:,} weights described"
        rows.append(at_most("each part has the loss of its code", computed, (bits - limit) / described, allowed))
    return rows


def _given(cov: np.ndarray, known: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """The covariance that is left when variables of that covariance are known."""
    return cov - cross @ np.linalg.pinv(known, 1e-12, hermitian=True) @ cross.T


def _density(x: float, scale: float) -> float:
    return math.exp(-abs(x) / scale) / (2 * scale)


def _convolved(x: float, scale: float, other: float) -> float:
    """The density of the sum of two Laplacians."""
    reach = 60 * max(scale, other)
    points = sorted({0.0, x})
    return integrate.quad(lambda y: _density(y, scale) * _density(x - y, other), -reach, reach, points=points,
                          limit=400, epsabs=1e-13, epsrel=1e-12)[0]  # fmt: skip
