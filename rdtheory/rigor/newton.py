"""A proposal in many digits: Newton's method on the letters in use, from a solver's answer in float64.

Nothing here is trusted: whatever comes out, `bounds` proves with it what can be proved.
"""

from __future__ import annotations

import math

import numpy as np

from rdtheory.rigor._balls import flint
from rdtheory.rigor.bounds import Candidate, kernel
from rdtheory.rigor.exact import Problem

ROUNDS = 40  # changes of the letters in use
STEPS = 40  # of Newton's method between them
DEPENDENT = 1e-11  # singular values below which letters in use are no independent choice


def polished(problem: Problem, candidate: Candidate, D: flint.fmpq) -> Candidate:
    """The optimum near a candidate, in the precision that is set; the candidate itself where there is no regular one."""
    q, slope = [float(weight) for weight in candidate.weights], candidate.slope
    places = _independent(problem, q, slope, _likely(problem, q, slope))
    weights = {y: flint.arb(q[y]) for y in places}
    for _ in range(ROUNDS):
        found = _solved(problem, places, [weights[y] for y in places], slope, D)
        if found is None:
            return candidate
        solution, slope_found = found
        negative = [y for y, value in zip(places, solution, strict=True) if value < -_small()]
        if negative:
            # As far as all stay positive; the letter that is first to vanish goes.
            moves = {y: value - weights[y] for y, value in zip(places, solution, strict=True)}
            first = min(negative, key=lambda y: float(weights[y] / -moves[y]))
            share = weights[first] / -moves[first]
            weights = {y: (weights[y] + share * moves[y]).mid() for y in places if y != first}
            places = [y for y in places if y != first]
            if slope is not None and slope_found is not None:
                slope = (slope + share * (slope_found - slope)).mid()
            continue
        slope, weights = slope_found, dict(zip(places, solution, strict=True))
        full = [flint.arb(0)] * len(q)
        for y, value in weights.items():
            full[y] = value if value > 0 else flint.arb(0)
        worst, excess = _most_violated(problem, full, slope, set(places))
        if excess < _small() or worst is None:
            return Candidate(full, slope)
        places, weights = [*places, worst], {**weights, worst: flint.arb(0)}
    return candidate


def _solved(
    problem: Problem, places: list[int], q: list[flint.arb], slope: flint.arb | None, D: flint.fmpq
) -> tuple[list[flint.arb], flint.arb | None] | None:
    """Weights with c = 1 at `places`, and the slope with E d = D; None where Newton's method does not find them."""
    spent, k = flint.arb(D - problem.least), len(places)
    best = math.inf
    for _ in range(STEPS):
        matrix, residual = _equations(problem, places, q, slope, spent)
        try:
            move = matrix.solve(residual, algorithm="approx").mid().entries()
        except ZeroDivisionError:
            return None
        if not all(value.is_finite() for value in move):
            return None
        size = max(float(abs(value)) for value in residual.entries())
        if size > 1e3 * best and size > 1:
            return None
        best = min(best, size)
        # Far away the step is cut, so that no slope is negative.
        share = flint.arb(1)
        if slope is not None and move[k] < -slope / 2:
            share = (slope / 2 / -move[k]).mid()
        q = [(weight + share * change).mid() for weight, change in zip(q, move[:k], strict=True)]
        if slope is not None:
            slope = (slope + share * move[k]).mid()
        if max(float(abs(value)) for value in move) < 1e-300 or all(
            abs(change) <= _small() * (abs(value) + 1)
            for change, value in zip(move, [*q, *([] if slope is None else [slope])], strict=True)
        ):
            return q, slope
    return None


def _equations(
    problem: Problem, places: list[int], q: list[flint.arb], slope: flint.arb | None, spent: flint.arb
) -> tuple[flint.arb_mat, flint.arb_mat]:
    """The Jacobian of (c - 1, E e - spent) in (q, s), and minus its value."""
    chosen = problem._replace(excess=[[row[y] for y in places] for row in problem.excess])
    A = flint.arb_mat(kernel(chosen, slope)).mid()
    p = [flint.arb(mass).mid() for mass in problem.source]
    column = flint.arb_mat([[weight] for weight in q])
    z = (A * column).mid().entries()
    r = flint.arb_mat([[mass / part] for mass, part in zip(p, z, strict=True)]).mid()
    scaled = flint.arb_mat(
        [[A[x, y] * (r[x, 0] / z[x]) for y in range(len(places))] for x in range(len(p))]
    ).mid()  # p A / z²
    At = A.transpose()
    curvature = (At * scaled).mid()
    c = (At * r).entries()
    if slope is None:
        return -curvature, flint.arb_mat([[1 - value] for value in c]).mid()
    e = [[flint.arb(0) if value is None else flint.arb(value).mid() for value in row] for row in chosen.excess]
    Ae = flint.arb_mat([[A[x, y] * value for y, value in enumerate(row)] for x, row in enumerate(e)]).mid()
    Aee = flint.arb_mat([[Ae[x, y] * value for y, value in enumerate(row)] for x, row in enumerate(e)]).mid()
    ln2, h, hh = flint.arb.const_log2(), (Ae * column).mid().entries(), (Aee * column).mid().entries()
    rh = flint.arb_mat([[r[x, 0] * h[x] / z[x]] for x in range(len(p))]).mid()
    in_weights = ((Ae.transpose() * r) - (At * rh)).mid().entries()  # of E e; and of c in s, but for -ln 2
    in_slope = -ln2 * sum((r[x, 0] * (hh[x] - h[x] * h[x] / z[x]) for x in range(len(p))), flint.arb(0))
    excess = sum((r[x, 0] * h[x] for x in range(len(p))), flint.arb(0))
    k = len(places)
    rows = [[*(-curvature[i, j] for j in range(k)), -ln2 * in_weights[i]] for i in range(k)]
    rows.append([*in_weights, in_slope])
    return flint.arb_mat(rows).mid(), flint.arb_mat([[1 - value] for value in c] + [[spent - excess]]).mid()


def _most_violated(
    problem: Problem, weights: list[flint.arb], slope: flint.arb | None, used: set[int]
) -> tuple[int | None, flint.arb]:
    """The letter not in use whose c is largest, and by how much that exceeds one."""
    A = flint.arb_mat(kernel(problem, slope)).mid()
    z = (A * flint.arb_mat([[weight] for weight in weights])).entries()
    r = flint.arb_mat([[flint.arb(mass) / part] for mass, part in zip(problem.source, z, strict=True)])
    c = (A.transpose() * r).mid().entries()
    others = [y for y in range(len(c)) if y not in used]
    worst = max(others, key=lambda y: float(c[y]), default=None)
    return worst, flint.arb(-1) if worst is None else c[worst] - 1


def _likely(problem: Problem, q: list[float], slope: flint.arb | None) -> list[int]:
    """The letters in use at the optimum: those whose mass is larger than what their c lacks to one."""
    A, p, _ = _floats(problem, slope)
    weights = np.asarray(q) / sum(q)
    with np.errstate(all="ignore"):
        c = A.T @ (p / (A @ weights))
    likely = weights > np.maximum(1 - c, 0) if np.isfinite(c).all() else weights > 0
    return [int(y) for y in np.flatnonzero(likely if likely.any() else weights > 0)]


def _independent(problem: Problem, q: list[float], slope: flint.arb | None, places: list[int]) -> list[int]:
    """Fewer letters with the same kernel sums and the same excess: along a dependence until one of them vanishes."""
    A, p, e = _floats(problem, slope)
    with np.errstate(all="ignore"):
        r = p / (A @ np.asarray(q))
        rows = (np.sqrt(p * r)[:, None] * A, ((r / max(r.sum(), 1e-300)) @ (A * e))[None])
    left = np.array(q)
    places = list(places)
    while len(places) > 1:
        matrix = np.concatenate([part[:, places] for part in rows])
        norms = np.linalg.norm(matrix, axis=0)
        if not np.isfinite(matrix).all() or not (norms > 0).all():
            return places
        _, values, vectors = np.linalg.svd(matrix / norms)
        rank = int((values > DEPENDENT * values[0]).sum())
        if rank == len(places):
            return places
        along = vectors[-1] / norms
        along = along if along.max() >= -along.min() else -along
        share = np.where(along > 1e-12 * np.abs(along).max(), left[places] / np.where(along > 0, along, 1), np.inf)
        gone = int(np.argmin(share))
        left[places] = np.maximum(left[places] - share[gone] * along, 0)
        places.pop(gone)
    return places


def _floats(problem: Problem, slope: flint.arb | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kernel, source and excess in float64; an excess that is infinite is zero, as its kernel is."""
    p = np.array([float(flint.arb(mass)) for mass in problem.source])
    e = np.array([[math.inf if v is None else float(flint.arb(v)) for v in row] for row in problem.excess])
    with np.errstate(all="ignore"):
        A = np.where(e == 0, 1.0, 0.0) if slope is None else np.exp2(-float(slope) * e)
    return np.where(np.isnan(A), 1.0, A), p, np.where(np.isfinite(e), e, 0.0)


def _small() -> flint.arb:
    """What counts as nothing in the precision that is set: half of its digits, which the next step makes all."""
    return flint.arb(2) ** (-(2 * flint.ctx.prec) // 3)
