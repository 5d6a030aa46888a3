"""The slopes at which letters come into use or fall out of it, each proved from both sides.

Let c be that of the optimum without a letter. The letter is in use exactly if its c is above one: if it is, no optimum
does without it; if it is below one, the optimum without it is the only one there is. And c is continuous in the slope,
so a letter comes into use where it crosses one. notation: see `problem`; w = A/z.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from rdtheory import _checks, _compile, _progress
from rdtheory._compile import is_traced
from rdtheory.limits import _arguments, _near
from rdtheory.limits.discrete import points, run
from rdtheory.results import RateDistortion, Transitions

__all__ = ["transitions"]

EPS = np.finfo(float).eps
TOL = 1e-6  # of a bracket, relative to its slope
GAP, STEPS = 1e-16, 200  # bits, which is less than rounding leaves
FEW = 26  # slopes at once, as many as `sandwich` asks for
TOGETHER = 8  # solves at once
OCTAVE = 8  # slopes in a doubling
LEAST, MOST = -6, 6  # log2 of the bits that the largest and the least excess distortion cost, at the first and last one
ROUNDS = 60
USED, UNUSED, UNDECIDED = 1, 0, -1


@_progress.doing("transitions")
def transitions(
    source_pmf: Float[ArrayLike, " n"],
    distortion_matrix: Float[ArrayLike, "n m"],
    slopes: Float[ArrayLike, " k"] | None = None,
    *,
    tol: float = TOL,
) -> Transitions:
    r"""Slopes at which the optimal reproduction gains or loses a letter, bracketed.

    For a slope s, A = 2^(-s d) and the letters :math:`y \ne y_0` alone, let q be nearly optimal, :math:`z = Aq`,
    :math:`w_y = A_{\cdot y}/z`, and g the gap of its Lagrangian in nats. The optimum without :math:`y_0` has

    .. math:: \big|\,c(y) - \mathbb E\,w_y\,\big| \le \sqrt{2 g \operatorname{Var} w_y} + 2 g \max w_y, \qquad x \sim p,

    and every optimal q uses :math:`y_0` if surely :math:`c(y_0) > 1`, none does if surely :math:`c(y_0) < 1`. Between
    slopes where the one and the other is proved there is a transition. What is returned is there; but a letter that
    comes and goes between neighbors among `slopes`, while no other does, goes unseen.

    Where the optimal q is not unique, as with letters whose columns depend on each other, a letter may be used by some
    and not by others: it is then neither, and stays undecided. Letters with equal columns count as the first of them.

    Parameters
    ----------
    source_pmf : (n,), sums to 1.
    distortion_matrix : (n, m), >= 0; infinite entries forbid a reproduction.
    slopes : (k,), each > 0 and finite, between which to look, in bits per unit of distortion. Eight in each doubling
        unless given, from where the largest distortion costs next to nothing to where the least costs all.
    tol : width of a bracket relative to its slope; where rounding does not allow it the bracket is wider.

    Returns
    -------
    Transitions
        ``low`` and ``high`` (t,), with ``before`` and ``after``, the points of R(D) there, and the letters in use.
        Brackets that overlap, as of letters that come together, are one. ``decided`` where all letters are, on both
        sides. At a straight piece of R(D) the distortion jumps within the bracket.

    Raises
    ------
    ValueError : as for `curve`; slopes that are not positive, or `tol` is not.
    TypeError : inside `jit`, `vmap` or `grad`, where the number of transitions cannot be.
    RuntimeError : JAX is not in float64.

    References
    ----------
    Berger (1971), chapter 2, on letters that are not used; Rose (1994) on transitions of sources on the line.

    Examples
    --------
    >>> found = transitions(jnp.array([0.7, 0.3]), 1 - jnp.eye(2))
    >>> print(f"one at {found.low[0] * np.log(2):.5f} nats, the logarithm of 7/3 = {np.log(7 / 3):.5f}")
    one at 0.84730 nats, the logarithm of 7/3 = 0.84730
    >>> print(found.support_before[0], found.support_after[0])
    [1 0] [1 1]
    """
    _checks.require_x64("transitions")
    if is_traced(source_pmf, distortion_matrix, slopes, tol):
        raise TypeError(
            "transitions finds how many there are, which jit, vmap and grad must know before: call it outside"
        )
    p, d, _ = _arguments.source(source_pmf, distortion_matrix)
    if not tol > 0:
        raise ValueError(f"tol must be > 0, got {tol}")
    problem = _problem(np.asarray(p), np.asarray(d))
    if slopes is None:
        at = _usual(problem)
    else:
        s, _ = _checks.finite("slopes", slopes, ndim=1)
        at = np.asarray(np.unique(s), float)
        _checks.holds((at > 0).all(), lambda: f"slopes must be > 0, got {at.min()}")
    low, high, states = _brackets(problem, at, float(tol))
    before, after = (jax.device_put(_points(p, d, ends)) for ends in (low, high))
    support = [np.pad(part, ((0, 0), (0, 1)))[:, problem.column] for part in states]
    decided = np.all(np.concatenate(support, axis=1) != UNDECIDED, axis=1)
    low, high, *support, decided = jax.device_put((low, high, *support, decided))
    return Transitions(low, high, before, after, *support, decided)


class _Problem(NamedTuple):
    p: np.ndarray  # letters with mass only
    d: np.ndarray  # different columns only
    excess: np.ndarray  # over the least of each row
    column: np.ndarray  # of each letter; the last one, of no letter, where an equal one stands for it


def _problem(p: np.ndarray, d: np.ndarray) -> _Problem:
    p, rows = p[p > 0] / p.sum(), d[p > 0]
    _, first = np.unique(rows, axis=1, return_index=True)
    first = np.sort(first)
    column = np.full(d.shape[1], len(first))
    column[first] = np.arange(len(first))
    some = rows[:, first]
    return _Problem(p, some, some - some.min(axis=1, keepdims=True), column)


def _usual(problem: _Problem) -> np.ndarray:
    some = problem.excess[(problem.excess > 0) & np.isfinite(problem.excess)]
    if not len(some):
        return np.ones(1)
    first, last = 2.0**LEAST / some.max(), 2.0**MOST / some.min()
    return np.geomspace(first, last, math.ceil(OCTAVE * math.log2(last / first)) + 1)


def _points(p: ArrayLike, d: ArrayLike, slopes: np.ndarray) -> RateDistortion:
    """Points of R(D) at so many slopes, perhaps none, padded to lengths of which there are few."""
    size = max(FEW * math.ceil(len(slopes) / FEW), FEW)
    padded = np.pad(slopes, (0, size - len(slopes)), constant_values=1.0)
    some = _progress.each("slopes", list(padded.reshape(-1, FEW)))
    parts = [points.curve(p, d, part, tol=GAP, max_steps=STEPS) for part in some]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(slopes)], *parts)


def _brackets(problem: _Problem, slopes: np.ndarray, tol: float) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Both ends of all that are found, in order, and the states of all letters there."""
    states, found = _states(problem, slopes), np.empty((0, 2))
    while tasks := _tasks(slopes, states, found):
        found = _merged(np.concatenate([found, _narrowed(problem, tasks, tol)]))
        # A letter that came and went between two slopes shows where another is bracketed.
        new = np.setdiff1d(found, slopes)
        slopes, order = np.unique(np.concatenate([slopes, new]), return_index=True)
        states = np.concatenate([states, _states(problem, new)])[order]
    low, high = found.T
    return low, high, [states[np.searchsorted(slopes, ends)] for ends in (low, high)]


def _tasks(slopes: np.ndarray, states: np.ndarray, found: np.ndarray) -> list["_Task"]:
    """Letters between neighbors among slopes at which their states are proved and differ, no bracket in between."""
    tasks = []
    for letter, own in enumerate(states.T):
        for i, j in itertools.pairwise(np.flatnonzero(own != UNDECIDED)):
            if own[i] != own[j] and not np.any((found[:, 0] < slopes[j]) & (found[:, 1] > slopes[i])):
                tasks.append(_Task(letter, int(own[i]), float(slopes[i]), float(slopes[j])))
    return tasks


def _narrowed(problem: _Problem, tasks: list["_Task"], tol: float) -> list[tuple[float, float]]:
    with _progress.doing("brackets") as tell:
        for _ in range(ROUNDS):
            wide = [k for k, task in enumerate(tasks) if not _is_narrow(task, tol)]
            if not wide:
                break
            tell(f"{len(wide)} of {len(tasks)} left to narrow")
            middles = np.array([_middle(tasks[k]) for k in wide])
            found = _alone(problem, np.array([tasks[k].letter for k in wide]), middles)
            for k, slope, state in zip(wide, middles, found.tolist(), strict=True):
                tasks[k] = _told(tasks[k], slope, state)
    return [(task.low, task.high) for task in tasks]


class _Task(NamedTuple):
    """A bracket of one letter, to be made narrow."""

    letter: int
    state: int  # at `low`; at `high` the other one is proved
    low: float
    high: float
    first: float = math.inf  # slopes at which nothing could be proved: the transition is near, and both ends move there
    last: float = -math.inf


def _is_narrow(task: _Task, tol: float) -> bool:
    to_go = max(task.first - task.low, task.high - task.last)
    return bool(task.high - task.low <= tol * task.low or to_go <= max(task.last - task.first, tol * task.low) / 4)


def _middle(task: _Task) -> float:
    if task.first > task.last:
        return math.sqrt(task.low * task.high)
    if task.first - task.low > task.high - task.last:
        return (task.low + task.first) / 2
    return (task.last + task.high) / 2


def _told(task: _Task, slope: float, state: int) -> _Task:
    if state == UNDECIDED:
        return task._replace(first=min(task.first, slope), last=max(task.last, slope))
    # Other transitions of the letter may be inside: any pair of neighboring proofs that differ will do.
    return task._replace(low=slope) if state == task.state else task._replace(high=slope)


def _merged(brackets: np.ndarray) -> np.ndarray:
    """In order, those that overlap as one."""
    result: list[tuple[float, float]] = []
    for low, high in sorted(brackets.tolist()):
        if result and low <= result[-1][1]:
            result[-1] = result[-1][0], max(high, result[-1][1])
        else:
            result.append((low, high))
    return np.array(result)


def _states(problem: _Problem, slopes: np.ndarray) -> np.ndarray:
    """Of every letter at every slope, (slopes, columns)."""
    laws = np.asarray(_points(problem.p, problem.d, slopes).reproduction_pmf)
    least = [_enclosed(problem, s, q, np.ones(len(q), bool))[1] for s, q in zip(slopes, laws, strict=True)]
    states = np.where(np.reshape(least, laws.shape) < 1, UNUSED, UNDECIDED).astype(np.int8)
    at, letter = np.nonzero(states == UNDECIDED)
    states[at, letter] = _alone(problem, letter, slopes[at])
    return states


def _alone(problem: _Problem, letters: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """What the optimum without a letter says of it, for each letter and slope."""
    allowed = np.isfinite(problem.d)
    needed = np.any(allowed & (allowed.sum(axis=1, keepdims=True) == 1), axis=0)  # nothing else for some source letter
    states = np.where(needed[letters], USED, UNDECIDED).astype(np.int8)
    asked = np.flatnonzero(states == UNDECIDED)
    for start in range(0, len(asked), TOGETHER):
        some = asked[start : start + TOGETHER]
        padded = (np.pad(values[some], (0, TOGETHER - len(some)), mode="edge") for values in (letters, slopes))
        laws = _without(*jax.device_put((problem.p, problem.d, *padded)))
        for k, q in zip(some, np.asarray(laws), strict=False):
            low, high = _enclosed(problem, slopes[k], q, np.arange(len(q)) != letters[k])
            states[k] = USED if low[letters[k]] > 1 else UNUSED if high[letters[k]] < 1 else UNDECIDED
    return states


@_compile.jit
def _without(p: Array, d: Array, letters: Array, slopes: Array) -> Array:
    def law(letter: Array, s: Array) -> Array:
        others = jnp.arange(d.shape[1]) != letter
        return run.directly(p, jnp.where(others, d, jnp.inf), s, GAP, STEPS).reproduction_pmf

    return jax.vmap(law)(letters, slopes)


def _enclosed(problem: _Problem, s: float, q: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of c of the optimum on the allowed letters, which q is near to or not, for all letters."""
    p, exponent = problem.p, s * problem.excess
    with np.errstate(all="ignore"):
        q = np.where(allowed, q, 0.0) / np.sum(q, where=allowed)
        kernel = np.exp2(-exponent)
        # A power is off by its exponent times EPS, and a sum by its length; an infinite exponent makes an exact zero.
        off = EPS * (np.where(kernel > 0, 2 * exponent, 0.0) + sum(kernel.shape) + 16)
        z = kernel @ q
        relative = off + ((kernel * off) @ q / z)[:, None]
        ratio = kernel / z[:, None]
        low, high = p @ (ratio * (1 - relative)), p @ (ratio * (1 + relative))
        gap = max(float(np.log(np.max(high, where=allowed, initial=1.0))), 0.0)
        spread = np.abs(ratio - (low + high) / 2) + ratio * relative + (high - low)
        slack = _near.slack(gap, p @ spread**2, np.max(spread, axis=0) + high)
        return low - slack, high + slack
