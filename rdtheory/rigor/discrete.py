"""Enclosures of R(D) of discrete sources: of a result, and to as many digits as one asks for."""

from __future__ import annotations

import math

import numpy as np

from rdtheory.results import RateDistortion
from rdtheory.rigor import bounds, exact, newton
from rdtheory.rigor._balls import flint
from rdtheory.rigor.bounds import Candidate
from rdtheory.rigor.enclosure import Enclosure, width_within
from rdtheory.rigor.exact import Number, Numbers, Problem

PRECISION = 128  # bits of the balls of `enclose`: far more than a result in float64 has
GUARD = 80  # bits beyond the digits asked for
DOUBLINGS = 3  # of the precision, where the digits asked for are not there yet
LN2 = math.log(2)


def enclose(source_pmf: Numbers, distortion_matrix: Numbers, point: RateDistortion) -> Enclosure:
    if any(np.ndim(field) for field in (point.rate, point.distortion, point.slope)):
        raise ValueError("point must be one point: for those of a curve, index each field first")
    with flint.ctx.workprec(PRECISION):
        problem = exact.problem(source_pmf, distortion_matrix)
        D = exact.nonnegative("point.distortion", point.distortion)
        known = _simple(problem, D, "point.distortion")
        if known is not None:
            return known
        weights = np.asarray(point.reproduction_pmf, float)
        if weights.shape != (len(problem.excess[0]),):
            raise ValueError(
                f"point.reproduction_pmf must have shape ({len(problem.excess[0])},), got {weights.shape}; "
                "is it the result of this problem?"
            )
        q = [flint.arb(value) for value in weights.tolist()]
        if D == problem.least:
            return Enclosure(*bounds.of_candidate(problem, Candidate(q, None), D))
        slope = float(point.slope)
        fitted = _fitted(problem, weights, slope, D)
        found = Enclosure(*bounds.of_candidate(problem, Candidate(q, flint.arb(fitted)), D))
        if not 0 <= slope < math.inf or slope == fitted:
            return found
        candidate = Candidate(q, flint.arb(slope))
        line = bounds.lower(problem, bounds.summed(problem, candidate), candidate.slope, D)
        return found._replace(lower=max(line, found.lower))


def rate_at(source_pmf: Numbers, distortion_matrix: Numbers, distortion: Number, *, digits: int = 30) -> Enclosure:
    precision = math.ceil(digits / math.log10(2)) + GUARD
    with flint.ctx.workprec(precision):
        problem = exact.problem(source_pmf, distortion_matrix)
        D = exact.nonnegative("distortion", distortion)
        known = _simple(problem, D, "distortion")
        if known is not None:
            return known
        candidate = _proposal(problem, D)
    best = Enclosure(flint.arb(0), flint.arb("inf"))
    for _ in range(DOUBLINGS):
        with flint.ctx.workprec(precision):
            candidate = newton.polished(problem, candidate, D)
            found = bounds.of_candidate(problem, candidate, D)
            best = Enclosure(max(best.lower, found[0]), min(best.upper, found[1]))
            if width_within(best, digits):
                return best
        precision *= 2
    return best


def _simple(problem: Problem, D: flint.fmpq, name: str) -> Enclosure | None:
    """The answer where the rate is zero; an error where no channel has that distortion."""
    if problem.least > D:
        floor = float(flint.arb(problem.least).upper())
        raise ValueError(
            f"{name} must be at least the least distortion of this problem, exactly {problem.least} (about {floor!r}), "
            f"and is {float(flint.arb(problem.least - D))!r} below it; rounding is no excuse here: "
            f"take {math.nextafter(floor, math.inf)!r}, or fractions throughout"
        )
    zero = problem.free is not None and problem.least + problem.free <= D
    return Enclosure(flint.arb(0), flint.arb(0)) if zero else None


def _fitted(problem: Problem, q: np.ndarray, slope: float, D: flint.fmpq) -> float:
    """About the slope at which the channel of q has distortion D: what it misses, mixing would have to make up for."""
    _, p, e = newton._floats(problem, None)
    forbidden = np.array([[value is None for value in row] for row in problem.excess])
    spent = float(flint.arb(D - problem.least))
    low, high = 0.0, math.inf
    s = slope if 0 < slope < math.inf else 1 / max(spent, 1e-300)
    with np.errstate(all="ignore"):
        for _ in range(60):
            joint = np.where(forbidden, 0.0, q * np.exp2(-s * e))
            law = joint / joint.sum(axis=1, keepdims=True)
            mean = (law * e).sum(axis=1)
            excess, spread = p @ mean, LN2 * (p @ ((law * e**2).sum(axis=1) - mean**2))
            if not math.isfinite(excess) or abs(excess - spent) <= 1e-15 * spent:
                break
            low, high = (s, high) if excess > spent else (low, s)
            fresh = s + (excess - spent) / spread if spread > 0 else math.inf
            if not low < fresh < high:
                fresh = 2 * low if high == math.inf else (low + high) / 2
            if fresh == s or not math.isfinite(fresh):
                break
            s = fresh
    return s


def _proposal(problem: Problem, D: flint.fmpq) -> Candidate:
    """What the solver in float64 finds, or next to nothing."""
    from rdtheory.limits import discrete

    p = np.array([float(flint.arb(mass)) for mass in problem.source])
    d = np.array([[math.inf if v is None else float(flint.arb(v)) for v in row] for row in problem.excess])
    try:
        found = discrete.rate_at(p, d, float(flint.arb(D - problem.least)), tol=1e-13)
        weights, slope = np.asarray(found.reproduction_pmf, float), float(found.slope)
    except ValueError:
        weights, slope = np.full(d.shape[1], 1 / d.shape[1]), math.nan
    q = [flint.arb(value) for value in weights.tolist()]
    if D == problem.least:
        return Candidate(q, None)
    return Candidate(q, flint.arb(_fitted(problem, weights, slope, D)))
