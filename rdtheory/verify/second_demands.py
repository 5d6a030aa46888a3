"""Checks beside R(D): Shannon's bound, a second demand and universality, the bottleneck, blocks of a linear model."""

import math

import numpy as np
from jax import Array
from scipy import optimize, stats

from rdtheory import sources
from rdtheory.limits import bottleneck, closed_form, continuous, discrete, perception
from rdtheory.verify.rows import Row, agree, at_most, estimate, generator, host

LN2 = math.log(2)


def shannon_gap(key: Array, quick: bool) -> list[Row]:
    """Shannon's lower bound: exact for some sources, below R(D) for all, and by how much."""
    rows = []
    for name, source, law in (
        ("Student, 5 degrees", sources.student_t(5.0), stats.t(5)),
        ("generalized Gaussian, 1.5", sources.generalized_gaussian(1.5, 1.0), stats.gennorm(1.5)),
    ):
        D = 0.1 * float(law.var())
        bound, point = host((continuous.shannon_lower_bound(source, D), continuous.rate_at(source, D)))
        theory = float(law.entropy()) / LN2 - 0.5 * math.log2(2 * math.pi * math.e * D)
        rows.append(agree("h(X) - ½ log 2πeD", f"by quadrature, {name}", theory, bound.rate, 2 * bound.error))
        rows.append(at_most("Shannon's bound <= R(D)", f"certified R(D), {name}", bound.rate, point.upper))
        if name.startswith("generalized"):
            fisher = sources.generalized_gaussian_fisher_information(1.5, 1.0)
            most, gap = float(continuous.shannon_gap(fisher, D)), float(point.upper - bound.rate)
            rows.append(at_most("R(D) - Shannon's bound <= ½ log(1 + D J)", f"certified, {name}", gap, most))
            rows.append(at_most("that is loose by 10,000", f"10⁴ times the certified gap, {name}", 1e4 * gap, most))
    p, D = np.array([0.4, 0.3, 0.2, 0.1]), 0.2
    bound = host(discrete.shannon_lower_bound(p, 1 - np.eye(4), D))
    rows.append(agree("H(X) - φ(D) = R(D)", f"loaded die, D = {D}", closed_form.hamming(p, D), bound.rate, 1e-12))
    return rows


def demands(key: Array, quick: bool) -> list[Row]:
    """A second demand: formulas, one Gaussian encoder for every demand, two bits of which one encoder costs more."""
    rows, rate = [], 0.8
    rng, n = generator(key), 100_000 if quick else 1_000_000
    x, noise, other = rng.normal(size=(3, n))
    kept = math.sqrt(1 - 4**-rate)
    sent = kept * x + math.sqrt(1 - kept**2) * noise
    for D, P in ((0.45, 0.0), (0.4, 0.02), (0.7, 0.1)):
        found = host(perception.gaussian(1.0, D, P))

        def correlation(deviation: float, D=D) -> float:
            return (1 + deviation**2 - D) / (2 * deviation)

        nearest = 1 - math.sqrt(P)
        best = optimize.minimize_scalar(
            correlation, bounds=(nearest, 2 - nearest), method="bounded", options={"xatol": 1e-12}
        )
        numeric = -0.5 * math.log2(1 - min(best.fun, correlation(nearest)) ** 2)
        demand = f"D = {D}, W₂² = {P}"
        rows.append(agree("R(D, P) of a Gaussian", f"least over couplings, {demand}", found.rate, numeric, 1e-9))
        rows.append(at_most("one encoder of 0.8 bit is enough", f"R(D, P), {demand}", found.rate, rate))
        share = found.correlation / kept
        shown = found.deviation * (share * sent + math.sqrt(max(1 - share**2, 0.0)) * other)
        spent, bar = estimate((x - shown) ** 2)
        rows.append(at_most("its decoder meets D", f"{n:,} samples, {demand}", spent, D, bar))
        _, bar = estimate(shown**2)
        far = abs(math.sqrt(np.mean(shown**2)) - 1)
        rows.append(at_most("its decoder meets P", f"by moments of {n:,} samples, {demand}", far, math.sqrt(P), bar))
    rho, bits = 0.8, 0.4
    found = host(perception.gaussian_classification(1.0, rho, 0.9, bits))

    def told(rate: float) -> float:
        return 0.5 * math.log2(1 / (1 - rho**2 * (1 - 4**-rate))) - bits

    numeric = optimize.brentq(told, 1e-6, 20.0, xtol=1e-13)
    rows.append(agree("R(D, C) of a Gaussian", "rate at which 0.4 bits are told", found.rate, numeric, 1e-9))
    for p, D, P in ((0.3, 0.1, 0.01), (0.3, 0.1, 0.2), (0.4, 0.05, 0.1)):
        rows.append(
            agree(
                "R(D, P) of a coin",
                f"least over channels, p = {p}, D = {D}, P = {P}",
                perception.bernoulli(p, D, P),
                _coin(p, D, P),
                1e-9,
            )
        )
    first, second = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    fair, d, e = np.full(4, 0.25), *(1.0 * (bit[:, None] != bit[None, :]) for bit in (first, second))
    each = [host(perception.classification_rate_at(fair, d, e, D, E)) for D, E in ((0.1, 1.0), (1.0, 0.2))]
    both = host(perception.classification_rate_at(fair, d, e, 0.1, 0.2))
    cost = float(both.rate - both.gap) - max(float(point.rate) for point in each)
    theory = float(closed_form.bernoulli(0.5, 0.2))
    rows.append(agree("two bits: one encoder for both", "certified cost above the dearer demand", theory, cost, 1e-7))
    return rows


def _coin(p: float, D: float, P: float) -> float:
    """The least I(X;X̂) over the share of ones r of X̂, with the errors that it leaves: all of D, between r and p."""

    def information(ones: float) -> float:
        to_one, to_zero = (D - p + ones) / 2, (D + p - ones) / 2
        joint = np.array([1 - p - to_one, to_one, to_zero, p - to_zero])
        law = np.array([1 - p, 1 - p, p, p]) * np.array([1 - ones, ones, 1 - ones, ones])
        return float(np.sum(joint * np.log2(np.maximum(joint, 1e-300) / law)))

    low, high = max(p - P, p - D) + 1e-12, min(p + P, 1.0)
    found = optimize.minimize_scalar(information, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    return min(found.fun, information(low))


def bottlenecks(key: Array, quick: bool) -> list[Row]:
    """The information bottleneck: the Gaussian one by its formula, a grid of it and four letters from both sides."""
    x, y, cross = np.diag([2.0, 1.0]), np.eye(2), np.array([[1.2, 0.0], [0.3, 0.5]])
    found = host(bottleneck.gaussian(x, y, cross, 0.6))
    square = np.linalg.eigvals(np.linalg.solve(x, cross @ cross.T)).real

    def told(rates: np.ndarray) -> float:
        return float(np.sum(-0.5 * np.log2(1 - square * (1 - 4.0**-rates))))

    spent = optimize.minimize(
        np.sum,
        np.full(2, 0.7),
        bounds=[(0, 9)] * 2,
        constraints={"type": "eq", "fun": lambda rates: told(rates) - 0.6},
        options={"ftol": 1e-14},
    )
    rows = [
        agree("Gaussian bottleneck, two pairs", "bits of both by a general solver", found.rate, spent.fun, 1e-7),
        agree(
            "its slope",
            "dI(X;T)/dI(T;Y) of the larger pair",
            found.slope,
            _slope_of(float(square.max()), float(np.max(found.rates))),
            1e-9,
        ),
    ]
    rho, wanted = 0.8, 0.3
    exact = bottleneck.gaussian(np.eye(2), np.eye(2), np.diag([rho, 0.0]), wanted).rate
    letters = 3 if quick else 4  # of Y
    edges = stats.norm.ppf(np.linspace(0, 1, 7)), stats.norm.ppf(np.linspace(0, 1, letters + 1))
    middles = stats.norm.ppf((np.arange(240) + 0.5) / 240)  # forty in each cell of X
    given = np.diff(stats.norm.cdf((edges[1] - rho * middles[:, None]) / math.sqrt(1 - rho**2)), axis=1)
    joint = given.reshape(6, 40, letters).mean(axis=1) / 6
    point = host(bottleneck.rate_at(joint / joint.sum(), wanted))
    grid = f"X in 6 cells, Y in {letters}"
    rows.append(
        at_most("a grid of a Gaussian is no better", f"certified from below, {grid}", exact, point.rate - point.gap)
    )
    rows.append(at_most(f"{letters} letters are certified", f"gap, {grid}", point.gap, 1e-4))
    iterated = _iterated(joint / joint.sum(), float(point.slope), float(point.relevance), rows=8)
    rows.append(
        agree("the discrete bottleneck", f"Tishby's iteration, {grid}", point.rate, iterated, float(point.gap) + 1e-5)
    )
    return rows


def _slope_of(square: float, rate: float) -> float:
    """Of I(T;Y) = -½ log(1 - ρ² + ρ² t), t = 2^(-2 I(X;T)): its derivative in I(X;T) is ρ² t / (1 - ρ² + ρ² t)."""
    t = square * 4.0**-rate
    return (1 - square + t) / t


def _iterated(joint: np.ndarray, slope: float, relevance: float, rows: int) -> float:
    """I(X;T) + slope (relevance - I(T;Y)) of the best fixed point of q(t|x) ∝ q(t) 2^(-slope KL)."""
    p, laws = joint.sum(axis=1), joint / joint.sum(axis=1, keepdims=True)

    def information(weights: np.ndarray) -> float:
        product = weights.sum(axis=1, keepdims=True) * weights.sum(axis=0, keepdims=True)
        return float(np.sum(weights * np.log2(np.maximum(weights, 1e-300) / product)))

    values = []
    for seed in range(3):
        channel = np.random.default_rng(seed).dirichlet(np.ones(rows), size=len(p))
        for _ in range(3000):
            q = np.maximum(p @ channel, 1e-300)
            r = (p[:, None] * channel).T @ laws / q[:, None]
            divergence = (laws[:, None] * np.log2(laws[:, None] / np.maximum(r[None], 1e-300))).sum(axis=2)
            weights = q * np.exp2(-slope * divergence)
            channel = weights / weights.sum(axis=1, keepdims=True)
        values.append(information(p[:, None] * channel) + slope * (relevance - information(channel.T @ joint)))
    return min(values)
