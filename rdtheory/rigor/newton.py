"""A proposal in many digits: Newton's method on the letters in use, from a solver's answer in float64.

Nothing here is trusted: whatever comes out, `bounds` proves with it what can be proved.
"""

from __future__ import annotations

import math

import numpy as np

from rdtheory.rigor._balls import flint
from rdtheory.rigor.bounds import Candidate, kernel
from rdtheory.rigor.exact import Problem

ROUNDS = 12  # changes of the letters in use
STEPS = 60  # of Newton's method between them
SUNK = 5  # steps in a row that each would take more than a letter's mass, until it is gone
SETTLING = 2000  # steps of Blahut and Arimoto before
FLOOR = 1e-20  # mass that every letter has before them
NEAR = 1e-7  # what c may lack to one for a letter in use, whatever its mass
DEPENDENT = 1e-11  # singular values below which letters in use are no independent choice


def polished(problem: Problem, candidate: Candidate, D: flint.fmpq) -> Candidate:
    """The optimum near a candidate, in the precision that is set; the candidate where there is no regular one."""
    slope = candidate.slope
    q = _settled(problem, np.array([float(weight) for weight in candidate.weights]), slope)
    places = _independent(problem, q, slope, _likely(problem, q, slope))
    for _ in range(ROUNDS):
        found = _solved(problem, {y: flint.arb(float(q[y])) for y in places}, slope, D)
        if found is None:
            return candidate
        weights, slope = found
        full = [weights.get(y, flint.arb(0)) for y in range(len(q))]
        worst, excess = _most_violated(problem, full, slope, set(weights))
        if worst is None or excess < _small():
            return Candidate(full, slope)
        start = np.array([float(value) for value in full])
        start[worst] = start.max() * 1e-3
        q, places = _settled(problem, start, slope), [*weights, worst]
    return candidate


def _solved(
    problem: Problem, weights: dict[int, flint.arb], slope: flint.arb | None, D: flint.fmpq
) -> tuple[dict[int, flint.arb], flint.arb | None] | None:
    """Weights with c = 1, and the slope with E d = D; letters that would need less than nothing go.

    None where Newton's method finds no solution.
    """
    spent, sinking = flint.arb(D - problem.least), dict.fromkeys(weights, 0)
    for _ in range(STEPS):
        matrix, residual = _equations(problem, list(weights), list(weights.values()), slope, spent)
        try:
            *moves, last = matrix.solve(residual, algorithm="approx").mid().entries() + (
                [] if slope else [flint.arb(0)]
            )
        except ZeroDivisionError:
            return None
        if not all(value.is_finite() for value in (*moves, last)):
            return None
        still, before = True, slope
        for (y, weight), move in zip(weights.items(), moves, strict=True):
            sinks = weight + move <= 0
            weights[y] = (weight / 10 if sinks else weight + move).mid()
            sinking[y] = sinking[y] + 1 if sinks else 0
            still &= bool(abs(move) < _small() * weight)
        if slope is not None and before is not None:
            slope = (before + last.max(-before / 2).min(before)).mid()
            still &= bool(abs(last) < _small() * before)
        if still:
            return weights, slope
        for y in [y for y in weights if sinking[y] >= SUNK]:
            del weights[y]
        if not weights:
            return None
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


def _settled(problem: Problem, q: np.ndarray, slope: flint.arb | None) -> np.ndarray:
    """Steps of Blahut and Arimoto, in which a far letter of next to no mass settles as soon as any other."""
    A, p, _ = floats(problem, slope)
    q = q / q.sum() if 0 < q.sum() < math.inf else np.ones(len(q)) / len(q)
    found = q = np.where(q > 0, q, 0.0) + np.where(q >= 0, FLOOR, 0.0)
    with np.errstate(all="ignore"):
        for _ in range(SETTLING):
            q = q * (A.T @ (p / (A @ q)))
    return q if np.isfinite(q).all() and q.sum() > 0 else found


def _likely(problem: Problem, q: np.ndarray, slope: flint.arb | None) -> list[int]:
    """The letters in use at the optimum: those whose c is one, or lacks less to it than they have mass."""
    A, p, _ = floats(problem, slope)
    weights = q / q.sum()
    with np.errstate(all="ignore"):
        c = A.T @ (p / (A @ weights))
    likely = (weights > 0) & ((weights > 1 - c) | (c > 1 - NEAR)) if np.isfinite(c).all() else weights > 0
    return [int(y) for y in np.flatnonzero(likely if likely.any() else weights > 0)]


def _independent(problem: Problem, q: np.ndarray, slope: flint.arb | None, places: list[int]) -> list[int]:
    """Fewer letters with the same kernel sums and the same excess: along a dependence until one of them vanishes."""
    A, p, e = floats(problem, slope)
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


def floats(problem: Problem, slope: flint.arb | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kernel, source and excess in float64; an excess that is infinite is zero, as its kernel is."""
    p = np.array([float(flint.arb(mass)) for mass in problem.source])
    e = np.array([[math.inf if v is None else float(flint.arb(v)) for v in row] for row in problem.excess])
    with np.errstate(all="ignore"):
        A = np.where(e == 0, 1.0, 0.0) if slope is None else np.exp2(-float(slope) * e)
    return np.where(np.isnan(A), 1.0, A), p, np.where(np.isfinite(e), e, 0.0)


def _small() -> flint.arb:
    """What counts as nothing in the precision that is set: half of its digits, which the next step makes all."""
    return flint.arb(2) ** (-(2 * flint.ctx.prec) // 3)
