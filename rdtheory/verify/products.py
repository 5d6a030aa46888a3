"""Checks of inner products of what is compressed on both sides: Γ, the law at high rate, and real codes."""

import math

import numpy as np
from jax import Array
from scipy.optimize import minimize_scalar

from rdtheory.limits import closed_form, linear, products
from rdtheory.results import GaussianCodebook
from rdtheory.schemes import bitstream, quantize, rotation, trellis
from rdtheory.verify.codes import trellis_leaf
from rdtheory.verify.linear import ROUNDING, correlated
from rdtheory.verify.rows import SIGMAS, Number, Row, agree, at_most, estimate, generator, split

ROWS = 128  # entries of each vector, a power of two
STATES = 8
ROTATED = 0.02  # bits: what a law of the bitstream misses of a Laplacian on a coset, and what 128 entries leave of it


def inner_products(key: Array, quick: bool) -> list[Row]:
    """Γ, the least error of an inner product: time sharing, random splits of the rate, the law at high rate."""
    rng = generator(key)
    rows = []
    for R, S in ((0.3, 0.3), (1.2, 1.2), (0.2, 0.7)):
        least = minimize_scalar(
            lambda share, R=R, S=S: 1 - share * _kept(R / share, S / share),
            bounds=(1e-3, 1.0),
            method="bounded",
            options={"xatol": 1e-10},
        )
        found = float(products.inner(R, S))
        computed = f"rates {R} and {S}, a share of the entries coded"
        rows.append(agree("Γ(R, S), best time sharing", computed, found, min(least.fun, 1 - _kept(R, S)), ROUNDING))
        rates = rng.dirichlet(np.full(4, 0.3), size=(2, 20_000)) * 4 * np.array([R, S])[:, None, None]
        best = np.min(1 - np.mean(_kept(*rates), axis=1))
        rows.append(at_most("Γ(R, S) <= any split of the rates", "20,000 splits over four entries", found, best))
    critical = float(products.critical_rate())
    rows.append(agree("R* = ½log(1 + 4R* ln 2)", "the root of another equation", critical,
                      0.5 * math.log2(1 + 4 * critical * math.log(2)), ROUNDING))  # fmt: skip
    D = 0.2
    alone = float(products.inner(closed_form.gaussian(np.ones(()), np.asarray(D)), math.inf))
    rows.append(agree("Γ(R(D), ∞) = D", f"D = {D}", D, alone, ROUNDING))
    u, v, noise, other = rng.normal(size=(4, 100_000 if quick else 1_000_000))
    D = 4.0**-1.2
    lost = u * v - ((1 - D) * u + math.sqrt(D * (1 - D)) * noise) * ((1 - D) * v + math.sqrt(D * (1 - D)) * other)
    mean, bar = estimate(lost**2)
    rows.append(agree("Γ(R) through test channels", f"{len(u):,} products, R = 1.2", products.inner(1.2), mean, bar))
    w, x = correlated(rng, 5)
    law = float(products.high_rate(w, x, 6.0))
    rows.append(agree("law at high rate, weights only", "rate of the exact function at its error, 6 bits", 6.0,
                      float(linear.rate(w, x, law).rate) / 5, ROUNDING))  # fmt: skip
    R, S = 5.0, 7.0
    K, L = (_shrunk(cov, other, rate) for cov, other, rate in ((w, x, R), (x, w, S)))
    error = np.sum(w * x) - np.sum((w - K) * (x - L))
    law = float(products.high_rate(w, x, R, S))
    rows.append(agree("law at high rate, both sides", "from covariances, with tr KL", law, error + np.sum(K * L),
                      ROUNDING * law))  # fmt: skip
    return rows


def product_codes(key: Array, quick: bool) -> list[Row]:
    """Products of matrices that are both trellis coded, in real bytes; and what it costs to make them Gaussian."""
    key, rotated, _ = split(key)
    rng = generator(key)
    count = 10_000 if quick else 100_000  # sizes of other checks, for which the code is compiled
    shape = ROWS, count // ROWS + 1
    rows = []

    def product(name: str, u: np.ndarray, v: np.ndarray, level: float) -> None:
        (u, u_hat, D, R), (v, v_hat, E, S) = _coded(u, level, count), _coded(v, level, count)
        # Not `estimate`: the products of one column with all others are not independent.
        errors = (u.T @ v - u_hat.T @ v_hat) ** 2 / ROWS
        mean, sides = float(errors.mean()), [np.mean(errors, axis=axis) for axis in (0, 1)]
        bar = SIGMAS * math.sqrt(sum(np.var(side, ddof=1) / len(side) for side in sides))
        computed = f"{name}, {R:.2f} and {S:.2f} bits an entry in bytes"
        rows.append(agree("error of a product = D + E - DE", computed, D + E - D * E, mean, bar))
        if name == "Gaussian":
            rows.append(at_most("Γ <= error of a product of codes", computed, products.inner(R, S), mean, bar))

    for level in (0.25, 0.01):
        product("Gaussian", *rng.normal(size=(2, *shape)), level)
    plain = rng.laplace(size=(2, *shape))
    spread = np.asarray([rotation.rotate(rotated, matrix) for matrix in plain])
    product("Laplacian, rotated", *spread, 0.01)
    (_, _, D, R), (_, _, E, S) = _coded(plain[0], 0.001, count), _coded(spread[0], 0.001, count)
    sent = plain[0].T.ravel()[:count]
    spent = 0.5 * math.log2(2 * math.pi * math.e * np.mean(sent**2)) - math.log2(2 * math.e * np.mean(np.abs(sent)))
    rows.append(agree("a rotation costs h(Gaussian) - h(law)", f"Laplacian, {S:.2f} bits an entry rotated, {R:.2f} not",
                      spent, S - R + 0.5 * math.log2(E / D), ROTATED))  # fmt: skip
    found = quantize.gaussian_codebook(16)
    before, after = (_rounded(matrix, found) for matrix in (plain[0], spread[0]))
    mean, bar = estimate(after)
    rows.append(agree("a rotation makes D that of Gaussians", f"Laplacian, 4 bits of equal length, {before.mean():.4f} "
                      "without", found.distortion, mean, bar))  # fmt: skip
    return rows


def _rounded(matrix: np.ndarray, found: GaussianCodebook) -> np.ndarray:
    """Squared errors of a codebook for Gaussians."""
    sent = matrix / math.sqrt(np.mean(matrix**2))
    return (sent - found.codebook[np.searchsorted(found.thresholds, sent)]).ravel() ** 2


def _coded(matrix: np.ndarray, level: float, count: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Whole columns of unit power, what is decoded of them, their error, and the bits an entry of all that is coded."""
    sent = matrix.T.ravel()[:count]
    sent = sent / math.sqrt(np.mean(sent**2))
    leaf, scale = trellis_leaf(sent, np.asarray(trellis.steps(level, np.ones(count))), np.ones(count), STATES)
    data = bitstream.encode(leaf._replace(step=np.asarray(scale[0], np.float32), classes=None))
    decoded = np.asarray(bitstream.dequantize(bitstream.decode(data)))
    whole = count // ROWS * ROWS
    u, u_hat = (x[:whole].reshape(-1, ROWS).T for x in (sent, decoded))
    return u, u_hat, float(np.mean((u - u_hat) ** 2)), 8 * len(data) / count


def _kept(r: Number, s: Number) -> Number:
    return (1 - 4.0**-r) * (1 - 4.0**-s)


def _shrunk(cov: np.ndarray, other: np.ndarray, rate: float) -> np.ndarray:
    """The error covariance of that rate in proportion to the inverse of the other covariance."""
    volume = (np.linalg.slogdet(cov)[1] + np.linalg.slogdet(other)[1]) / len(cov)
    return math.exp(volume) * 4.0**-rate * np.linalg.inv(other)
