"""Checks of linear models: the bound, the exact function, and the channel that meets it."""

import math

import numpy as np
from jax import Array
from scipy import optimize

from rdtheory import distortion as distortion_measures
from rdtheory.limits import algorithms, closed_form, gaussian, linear
from rdtheory.schemes import gaussian_channel
from rdtheory.verify.rows import Row, agree, at_most, estimate, generator, host, split

LN2 = math.log(2)
# Bits, or relative: far above float64's rounding in matrices of this size, far below the error of any wrong formula.
ROUNDING = 1e-9


def linear_rate(key: Array, quick: bool) -> list[Row]:
    """Exact R(D) of a linear model against a search over all Gaussian channels."""
    w, x = correlated(generator(key), 5)
    total = np.sum(w * x)
    rows = []
    for share in (0.02, 0.2, 0.6):
        exact = host(linear.rate(w, x, share * total))
        slope = float(1 / (2 * LN2 * exact.water_level))
        found, slack = _search_channels(w, x, slope)
        computed = f"min I + s·d over channels by BFGS, D = {share} of the total"
        rows.append(agree("R(D) of a linear model", computed, exact.rate, found - slope * share * total, slack))
    rows.append(agree("R(D) beyond the total", "D = 1.5 tr(Σ_X Σ_W)", 0.0, linear.rate(w, x, 1.5 * total).rate, 0.0))
    return rows


def vector_gaussian(key: Array, quick: bool) -> list[Row]:
    """Reverse water-filling: total distortion, and the level as the slope of R(D)."""
    rng = generator(key)
    cov, _ = correlated(rng, 6)
    variances = np.linalg.eigvalsh(cov)
    D = 0.3 * np.sum(variances)
    filled = host(gaussian.water_filling(variances, D))
    step = 1e-5 * D
    ahead, behind = (float(closed_form.vector_gaussian(cov, at)) for at in (D + step, D - step))
    slope = -1 / (2 * LN2 * filled.water_level)
    rounding = ROUNDING * abs(slope)
    # Through the channel X̂ = (1 - D/ν) X + Z of each component above water; the others are reproduced as zero.
    errors = np.minimum(filled.water_level, variances)
    heard = variances > errors
    x = rng.normal(size=(100_000 if quick else 1_000_000, 6)) * np.sqrt(variances)
    kept = 1 - errors / variances
    noise = rng.normal(size=x.shape) * np.sqrt(errors * kept)
    x_hat = x * kept + noise
    spent, spent_bar = estimate(np.sum((x - x_hat) ** 2, axis=1))
    given, alone = errors * kept, variances * kept
    density = 0.5 * (np.log(alone[heard] / given[heard]) + x_hat[:, heard] ** 2 / alone[heard]
                     - noise[:, heard] ** 2 / given[heard])  # fmt: skip
    rate, rate_bar = estimate(np.sum(density, axis=1) / LN2)
    sampled = f"{len(x):,} samples through its channel"
    return [
        agree("R(D) of a Gaussian vector, achieved", sampled, filled.rate, rate, rate_bar),
        agree("D of a Gaussian vector, achieved", sampled, D, spent, spent_bar),
        agree("Σ min(θ, ν) = D", "water-filling, 6 eigenvalues", D, np.sum(filled.distortions), 1e-12 * D),
        agree("dR/dD = -1/(2 θ ln 2)", "central difference", slope, (ahead - behind) / (2 * step), rounding),
        agree("R(D) of a Gaussian vector", "from covariance, from eigenvalues",
              closed_form.vector_gaussian(cov, D), filled.rate, 1e-12),
    ]  # fmt: skip


def linear_bound(key: Array, quick: bool) -> list[Row]:
    """The paper's lower bound: tight, then loose, then negative."""
    w, inputs = uncorrelated_inputs(key)
    total = np.sum(inputs * np.diagonal(w))
    critical = critical_distortion(w, inputs)
    rows = []
    for share in (0.05, 0.5, 0.9):
        independent = np.diag(np.diagonal(w))
        bound = linear.lower_bound(independent, inputs, share * total).rate
        exact = linear.rate(independent, np.diag(inputs), share * total).rate
        rows.append(agree("Theorem 1, uncorrelated weights", f"bound and exact rate, D = {share} of the total",
                          exact, bound, ROUNDING))  # fmt: skip
    for share in (0.1, 0.5, 0.999):
        bound = linear.lower_bound(w, inputs, share * critical).rate
        exact = linear.rate(w, np.diag(inputs), share * critical).rate
        rows.append(agree("Theorem 1, tight below critical", f"bound and exact rate, D = {share} of the critical",
                          exact, bound, ROUNDING))  # fmt: skip
    for D in (1.5 * critical, 0.5 * (critical + total), 0.99 * total):
        bound = linear.lower_bound(w, inputs, D).rate
        exact = linear.rate(w, np.diag(inputs), D).rate
        rows.append(at_most("Theorem 1, a lower bound", f"bound below exact rate, D = {D / total:.3f} of the total",
                            bound, exact, ROUNDING))  # fmt: skip
    hadamard = 0.5 * (np.linalg.slogdet(w)[1] - np.sum(np.log(np.diagonal(w)))) / LN2
    rows.append(agree("Theorem 1, negative at the end", "bound at D = total, and Hadamard's deficit",
                      hadamard, linear.lower_bound(w, inputs, total).rate, ROUNDING))  # fmt: skip
    rows.append(
        at_most("Theorem 1, negative at the end", "bound at D = total", linear.lower_bound(w, inputs, total).rate, 0.0)
    )
    return rows


def linear_channel(key: Array, quick: bool) -> list[Row]:
    """Theorem 2: the optimal channel meets R(D) and is orthogonal."""
    key_z, key, _ = split(key)
    rng = generator(key)
    w, x = correlated(rng, 5)
    D = 0.3 * np.sum(w * x)
    rows = achieved("random covariances", w, x, D)
    n = 50_000 if quick else 500_000
    weights = rng.multivariate_normal(np.zeros(5), w, size=n)
    weights_hat = np.asarray(gaussian_channel.sample(key_z, gaussian_channel.optimal(w, x, D), weights))
    lost = weights - weights_hat
    spent, spent_bar = estimate(np.sum((lost @ x) * lost, axis=1))
    residual, residual_bar = estimate(np.sum((weights_hat @ x) * lost, axis=1))
    rows += [
        agree("Theorem 2, distortion", f"{n:,} samples through the channel", D, spent, spent_bar),
        agree("Theorem 2, orthogonality", f"{n:,} samples through the channel", 0.0, residual, residual_bar),
    ]
    variances, inputs = np.array([2.0, 1.0, 0.1, 0.5, 4.0]), np.array([1.0, 3.0, 0.5, 2.0, 0.1])
    errors = host(linear.lower_bound(np.diag(variances), inputs, 1.0).weight_distortions)
    channel = host(gaussian_channel.optimal(np.diag(variances), np.diag(inputs), 1.0))
    off = np.max(np.abs(channel.gain - np.diag(1 - errors / variances)))
    noise_off = np.max(np.abs(channel.noise_cov - np.diag(errors * (1 - errors / variances))))
    rows += [
        agree("Theorem 2, diagonal gain", "1 - D_i/σ_i² with the D_i of Theorem 1, largest error", 0.0, off, 1e-12),
        agree("Theorem 2, diagonal noise", "D_i (1 - D_i/σ_i²), largest error", 0.0, noise_off, 1e-12),
    ]
    return rows


def shannon_bound(key: Array, quick: bool) -> list[Row]:
    """A uniform prior: Shannon's bound below, a Gaussian of the same variance above."""
    n, half = 64, math.sqrt(3)
    width = 2 * half / n
    letters = -half + width * (np.arange(n) + 0.5)
    one = np.eye(1)
    # X = X_Δ + U with X_Δ the middle of the cell: ‖X - X_Δ‖ = Δ/√12 in mean square, and moving y to a letter costs Δ/2.
    off_source, off_letter = width / math.sqrt(12), width / 2
    rows = []
    for slope in (7.0, 2.4):
        d = distortion_measures.squared_error(letters, letters)
        point = host(algorithms.blahut_arimoto(np.full(n, 1 / n), d, slope, tol=1e-4, max_steps=3000))
        D = float(point.distortion)
        looser, tighter = (math.sqrt(D) + off_source) ** 2, (math.sqrt(D) - off_source - off_letter) ** 2
        lower = linear.shannon_lower_bound(math.log2(2 * half), one, one, looser).rate
        upper = linear.rate(one, one, tighter).rate
        computed = f"{n} cells of a uniform source, D = {D:.3f}"
        rows += [
            at_most("Shannon bound <= R(D)", computed, lower, point.rate),
            at_most("R(D) <= Gaussian R(D)", computed, point.rate - point.gap, upper),
        ]
    return rows


def achieved(name: str, weight_cov: np.ndarray, input_cov: np.ndarray, D: float) -> list[Row]:
    """Limits and schemes side by side: what the optimal channel spends and attains, against the exact function."""
    exact = host(linear.rate(weight_cov, input_cov, D))
    met = gaussian_channel.performance(gaussian_channel.optimal(weight_cov, input_cov, D), weight_cov, input_cov)
    return [
        agree("Theorem 2, rate", f"log-determinants of the channel, {name}", exact.rate, met.rate,
              ROUNDING * (1 + exact.rate)),
        agree("Theorem 2, distortion", f"trace formula, {name}", D, met.distortion, ROUNDING * D),
        agree("Theorem 2, orthogonality", f"trace formula, {name}", 0.0, met.orthogonality, ROUNDING * D),
    ]  # fmt: skip


def correlated(rng: np.random.Generator, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Two random covariances."""
    a, b = rng.normal(size=(2, m, m)) / math.sqrt(m)
    return a @ a.T + 0.05 * np.eye(m), b @ b.T + 0.05 * np.eye(m)


def uncorrelated_inputs(key: Array) -> tuple[np.ndarray, np.ndarray]:
    """Covariance of correlated weights, variances of uncorrelated inputs: where Theorem 1 has something to say."""
    rng = generator(key)
    weight_cov, _ = correlated(rng, 5)
    return weight_cov, np.exp(rng.normal(size=5))


def critical_distortion(weight_cov: np.ndarray, input_variances: np.ndarray) -> float:
    """Largest D with diag(D_i) ⪯ Σ_W, where the paper's bound stops being tight."""

    def smallest(D: float) -> float:
        errors = host(linear.lower_bound(weight_cov, input_variances, D).weight_distortions)
        return float(np.linalg.eigvalsh(weight_cov - np.diag(errors))[0])

    total = np.sum(input_variances * np.diagonal(weight_cov))
    return optimize.brentq(smallest, 1e-9 * total, total)


def _search_channels(weight_cov: np.ndarray, input_cov: np.ndarray, slope: float) -> tuple[float, float]:
    """Least I(W;Ŵ) + s E d over error covariances K = F (1 + B Bᵀ)⁻¹ Fᵀ ⪯ Σ_W, and how far off it may be.

    In K the problem is convex, with value at least the tangent at the point found minimized over 0 ⪯ K ⪯ Σ_W:
    with G the gradient in coordinates where Σ_W is the identity, that is tr(G K) minus the sum of G's negative
    eigenvalues.
    """
    m = len(weight_cov)
    factor = np.linalg.cholesky(weight_cov)
    seen = slope * factor.T @ input_cov @ factor

    def value_and_gradient(entries: np.ndarray) -> tuple[float, np.ndarray]:
        b = entries.reshape(m, m)
        precision = np.eye(m) + b @ b.T
        inverse = np.linalg.inv(precision)
        value = 0.5 * np.linalg.slogdet(precision)[1] / LN2 + np.sum(inverse * seen)
        return value, (inverse @ b / LN2 - 2 * inverse @ seen @ inverse @ b).ravel()

    start = (np.eye(m) + 0.1).ravel()
    found = optimize.minimize(value_and_gradient, start, jac=True, method="BFGS", options={"gtol": 1e-10})
    precision = np.eye(m) + found.x.reshape(m, m) @ found.x.reshape(m, m).T
    gradient = seen - precision / (2 * LN2)
    duality_gap = np.sum(gradient * np.linalg.inv(precision)) - np.sum(np.minimum(np.linalg.eigvalsh(gradient), 0.0))
    return found.fun, duality_gap + 1e-12
