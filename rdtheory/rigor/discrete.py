"""Enclosures of R(D) of discrete sources: of a result, and to as many digits as one asks for."""

from __future__ import annotations

import math

import numpy as np

from rdtheory import _progress
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


@_progress.doing("rigor.enclose")
def enclose(source_pmf: Numbers, distortion_matrix: Numbers, point: RateDistortion) -> Enclosure:
    r"""Enclosure of R(D) from a solver's result that is not trusted.

    Proves, for D = ``point.distortion``, both bounds that ``point.reproduction_pmf`` and ``point.slope`` lead to, in
    balls of 128 bits. Whatever these are, NaN or of another problem, the enclosure holds; it is narrow if they are
    optimal.

    The problem that is meant is the one of the exact values: a float is the binary number that it is, and the source is
    the masses divided by their exact sum, :math:`p_x / \sum_x p_x` (floats seldom sum to one). D is taken as it is,
    too: below the exact D_min by however little, no channel has it.

    Parameters
    ----------
    source_pmf : (n,), as floats, ints, `fractions.Fraction`, or strings like ``"0.1"`` and ``"1/3"``.
    distortion_matrix : (n, m) of the same, >= 0; infinity forbids a reproduction.
    point : from `rdtheory.rate_at` and its kin, for one D.

    Returns
    -------
    Enclosure
        ``lower <= R(D) <= upper`` in bits, as ``flint.arb`` of radius zero.

    Raises
    ------
    ValueError : masses that are negative or do not sum to 1 within 1e-6, shapes that disagree, D below the exact D_min.
    ImportError : python-flint is missing: ``pip install 'rdtheory[proofs]'``.

    References
    ----------
    Berger (1971) for the dual; Johansson (2017), Arb, for the arithmetic.

    Examples
    --------
    >>> import rdtheory as rd
    >>> p, d = np.array([0.7, 0.3]), rd.distortion.hamming(2)
    >>> lower, upper = enclose(p, d, rd.rate_at(p, d, 0.1))
    >>> print(lower <= upper, float(upper - lower) < 1e-9)
    True True
    """
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
            # Solvers stop at a finite slope, where the best letters among equals need not have shown.
            best = newton.polished(problem, Candidate(q, None), D)
            return Enclosure(*bounds.of_candidate(problem, best, D))
        slope = float(point.slope)
        fitted = _fitted(problem, weights, slope, D)
        found = Enclosure(*bounds.of_candidate(problem, Candidate(q, flint.arb(fitted)), D))
        if not 0 <= slope < math.inf or slope == fitted:
            return found
        candidate = Candidate(q, flint.arb(slope))
        line = bounds.lower(problem, bounds.summed(problem, candidate), candidate.slope, D)
        return found._replace(lower=max(line, found.lower))


@_progress.doing("rigor.rate_at")
def rate_at(source_pmf: Numbers, distortion_matrix: Numbers, distortion: Number, *, digits: int = 30) -> Enclosure:
    """R(D) to as many digits as one asks for, proved.

    Newton's method, in enough bits, on the letters that a solver's answer in float64 uses, with the slope; letters that
    prove wrong are exchanged. What comes out is proved as `enclose` proves it. Where the optimum is not regular (many
    choices of letters, nearly the same) the enclosure may be wider than asked for; it holds all the same.

    Parameters
    ----------
    source_pmf, distortion_matrix : as for `enclose`.
    distortion : D, a number or a string, taken exactly. At least the exact D_min.
    digits : significant digits: ``upper - lower <= 10^-digits upper`` where the optimum is regular.

    Returns
    -------
    Enclosure
        ``lower <= R(D) <= upper`` in bits; `decimal` writes its digits.

    Raises
    ------
    ValueError : as for `enclose`, or fewer than one digit.
    RuntimeError : JAX is not in float64, which the solver that proposes needs.
    ImportError : python-flint is missing.

    Examples
    --------
    >>> from rdtheory.rigor import decimal
    >>> print(decimal(rate_at(["1/2", "1/2"], [[0, 1], [1, 0]], "0.11"), places=30))
    0.500084041835472004359500405870
    """
    if digits < 1:
        raise ValueError(f"digits must be at least 1, got {digits}")
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
            f"{name} must be at least the least distortion of this problem, about {floor!r}, and is "
            f"{float(flint.arb(problem.least - D)):.3g} below it; in a proof rounding is no excuse: take "
            f"{math.nextafter(floor, math.inf)!r}, or fractions throughout"
        )
    zero = problem.free is not None and problem.least + problem.free <= D
    return Enclosure(flint.arb(0), flint.arb(0)) if zero else None


def _fitted(problem: Problem, q: np.ndarray, slope: float, D: flint.fmpq) -> float:
    """About the slope at which the channel of q has distortion D: what it misses, mixing would have to make up for."""
    _, p, e = newton.floats(problem, None)
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
