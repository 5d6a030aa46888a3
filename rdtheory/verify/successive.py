"""Checks of successive refinement: laws that can be described in parts, and codes whose parts can be decoded."""

import math

import numpy as np
from jax import Array
from scipy import integrate, stats

from rdtheory.limits import closed_form
from rdtheory.schemes import successive
from rdtheory.verify.linear import ROUNDING
from rdtheory.verify.rows import Row, agree, at_most, estimate, generator, host

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


def _density(x: float, scale: float) -> float:
    return math.exp(-abs(x) / scale) / (2 * scale)


def _convolved(x: float, scale: float, other: float) -> float:
    """The density of the sum of two Laplacians."""
    reach = 60 * max(scale, other)
    points = sorted({0.0, x})
    return integrate.quad(lambda y: _density(y, scale) * _density(x - y, other), -reach, reach, points=points,
                          limit=400, epsabs=1e-13, epsrel=1e-12)[0]  # fmt: skip
