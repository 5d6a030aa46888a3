r"""Both bounds of R(D) in balls, from any candidate.

In excess over the least distortion, e(x, y) = d(x, y) - min_y d(x, y), at a slope s in bits, with A = 2^(-s e), and for
**any** weights q > 0, z = A q, c = Aᵀ(p / z), r = q c:

- the channel q A / z costs E e = Σ p_x q_y A_xy e_xy / z_x, and I = -s E e - Σ p log z - Σ r log c exactly;
- R(D) ≥ -s (D - D_min) - Σ p log z - log max_y c, for z and s of one's choice (λ = 1 / (z max c) is dual feasible).

A channel that misses D is mixed with one of least distortion, and one that has some to spare with the single best
letter, which costs no rate; mutual information is convex in the channel. Every operation below is FLINT's, on balls
that hold the true value; candidates are taken as the exact numbers that they are.
"""

from __future__ import annotations

from typing import NamedTuple

from rdtheory.rigor._balls import flint
from rdtheory.rigor.exact import Problem


class Candidate(NamedTuple):
    """What is proposed and not trusted."""

    weights: list[flint.arb]  # (m,), exact numbers; what is no positive number counts as nearly zero
    slope: flint.arb | None  # s, exact; None for infinity


class Sums(NamedTuple):
    """What both bounds are made of."""

    kernel: flint.arb_mat  # A
    weights: list[flint.arb]  # q
    log_partition: flint.arb  # Σ p log z, bits
    columns: list[flint.arb]  # c
    ratios: flint.arb_mat  # p / z


def of_candidate(problem: Problem, candidate: Candidate, D: flint.fmpq) -> tuple[flint.arb, flint.arb]:
    """Exact numbers lower <= R(D) <= upper, for D_min <= D < D_max; at D_min the slope must be infinite."""
    sums = summed(problem, candidate)
    most = upper(problem, sums, candidate, D)
    return lower(problem, sums, candidate.slope, D), most if most.is_finite() else flint.arb("inf")


def summed(problem: Problem, candidate: Candidate) -> Sums:
    """The kernel and its sums at a candidate."""
    q = _positive(candidate.weights)
    A = flint.arb_mat(kernel(problem, candidate.slope))
    z = (A * flint.arb_mat([[weight] for weight in q])).entries()
    p = [flint.arb(mass) for mass in problem.source]
    ratios = flint.arb_mat([[mass / part] for mass, part in zip(p, z, strict=True)])
    log_partition = sum((mass * part.log() for mass, part in zip(p, z, strict=True)), flint.arb(0)) / _ln2()
    return Sums(A, q, log_partition, (A.transpose() * ratios).entries(), ratios)


def kernel(problem: Problem, slope: flint.arb | None) -> list[list[flint.arb]]:
    """2^(-s e); at an infinite slope one where e is zero, and nothing elsewhere."""
    rate = None if slope is None else -slope * _ln2()
    return [[_power(rate, value) for value in row] for row in problem.excess]


def lower(problem: Problem, sums: Sums, slope: flint.arb | None, D: flint.fmpq) -> flint.arb:
    """The dual bound."""
    if D > problem.least and not (slope is not None and slope >= 0):
        return flint.arb(0)
    greatest = sums.columns[0]
    for column in sums.columns[1:]:
        greatest = greatest.max(column)
    price = flint.arb(0) if slope is None else slope * flint.arb(D - problem.least)
    return _at_least_zero((-price - sums.log_partition - greatest.log() / _ln2()).lower())


def upper(problem: Problem, sums: Sums, candidate: Candidate, D: flint.fmpq) -> flint.arb:
    """The rate of a channel that meets D."""
    spent, excess = flint.arb(D - problem.least), flint.arb(0)
    if candidate.slope is not None:
        excess = _excess(problem, sums)
    rate = -sums.log_partition - _relative(sums)
    if candidate.slope is not None:
        rate -= candidate.slope * excess
    rate, most = rate.upper(), excess.upper()
    if most <= spent:
        if problem.free is None:
            return rate
        share = _at_least_zero(((spent - most) / (flint.arb(problem.free) - most)).lower())
        return (rate * (1 - share)).upper()
    nearest = summed(problem, Candidate(candidate.weights, None))
    dearest = (-nearest.log_partition - _relative(nearest)).upper()
    share = ((most - spent) / most).upper()
    return (rate * (1 - share) + dearest * share).upper() if share <= 1 else dearest


def _excess(problem: Problem, sums: Sums) -> flint.arb:
    """E e of the channel q A / z."""
    found = flint.arb(0)
    for x, row in enumerate(problem.excess):
        inner = flint.arb(0)
        for y, value in enumerate(row):
            if value:
                inner += sums.weights[y] * sums.kernel[x, y] * flint.arb(value)
        found += inner * sums.ratios[x, 0]
    return found


def _relative(sums: Sums) -> flint.arb:
    """A number at most Σ q c log c, in bits."""
    found = flint.arb(0)
    for weight, column in zip(sums.weights, sums.columns, strict=True):
        # c log2 c > -0.54 anywhere; where c is not known to be positive, that will do.
        found += weight * (column * column.log() / _ln2() if column > 0 else flint.arb(-0.54))
    return found


def _power(rate: flint.arb | None, value: flint.fmpq | None) -> flint.arb:
    if value is None:
        return flint.arb(0)
    if value == 0:
        return flint.arb(1)
    return flint.arb(0) if rate is None else (rate * flint.arb(value)).exp()


def _positive(weights: list[flint.arb]) -> list[flint.arb]:
    """Weights from which every letter can be reached, if with next to no probability."""
    sound = [weight if weight.is_finite() and weight > 0 else flint.arb(0) for weight in weights]
    total = sum(sound, flint.arb(0)).mid()
    floor = (total if total > 0 else flint.arb(1)) * flint.arb(2) ** (-4 * flint.ctx.prec)
    return [weight if weight > floor else floor for weight in sound]


def _at_least_zero(bound: flint.arb) -> flint.arb:
    return bound if bound > 0 else flint.arb(0)


def _ln2() -> flint.arb:
    return flint.arb.const_log2()
