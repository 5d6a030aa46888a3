"""How a layer is to be quantized: which outputs are alike, and for each kind metric, targets and steps; on the host."""

from typing import NamedTuple

import numpy as np
from scipy import linalg, optimize

__all__ = ["Plan", "alike", "make_plan", "plain", "worth"]

FIRST, MOST = 6, 64  # rounds of the fixed point before an input may be left out; in all
SETTLED = 1e-2  # relative change of a variance
LAST = 4  # rounds that are exact in any case
SHARE = 16  # of the inputs still sent, at most one in so many is left out in a round
HOPELESS = 1 + 1e-9  # variances over the level
OCTAVES = 4  # about the mean variance, one kind of outputs to each


class Plan(NamedTuple):
    """Input i is rounded at the target (G w)_i + Σ_j>i F_ij (target - value)_j."""

    pull: np.ndarray  # G, (m, m)
    feedback: np.ndarray  # F, (m, m), zero but for j > i
    pivots: np.ndarray  # ℓ², (m,), what an error in each input costs; 0: nothing is sent


def make_plan(moments: np.ndarray, second: np.ndarray, level: float, least: float) -> Plan:
    """The fixed point v = diag cov ŵ of the metric M = Σ + θ diag(1/v), M = L Lᵀ, of inputs that are worth sending.

    With G = M⁻¹Σ and errors of variance θ/ℓ_i², cov ŵ = G E[wwᵀ] Gᵀ + θ M⁻¹. An input whose v ℓ²/θ is below `least`
    is left out, the worst first, and those that are sent make up for it.

    Parameters
    ----------
    moments, second : Σ and E[wwᵀ], (m, m).
    level : θ > 0.
    least : what `worth` gives.
    """
    m = len(moments)
    sent = np.flatnonzero((np.diagonal(moments) > 0) & (np.diagonal(second) > 0))
    v, pull, lower, exact = np.diagonal(second)[sent], np.zeros((0, m)), np.zeros((0, 0)), False
    for turn in range(1, MOST + 1):
        if not len(sent):
            return Plan(np.zeros((m, m)), np.zeros((m, m)), np.zeros(m))
        lower = linalg.cholesky(moments[np.ix_(sent, sent)] + np.diag(level / v), lower=True)
        inverse = _inverse(lower)
        pull = _pull(inverse, moments, sent, level / v)
        # Weights of different inputs have little in common: what they have takes most of the time, and comes last.
        exact |= turn > MOST - LAST
        seen = np.sum((pull @ second) * pull, axis=1) if exact else pull**2 @ np.diagonal(second)
        before, v = v, seen + level * np.diagonal(inverse)
        worth = v * np.diagonal(lower) ** 2 / level
        low = np.argsort(worth)[: max(len(sent) // SHARE, 1)]
        low = low[(worth[low] < least) & (turn >= FIRST)]
        # Of these v goes to nothing, and would not be a number soon.
        low = np.union1d(low, np.flatnonzero(worth < HOPELESS)) if turn < MOST else low[:0]
        if turn >= FIRST and not len(low) and np.all(np.abs(v - before) <= SETTLED * v):
            if exact:
                break
            exact = True
        sent, v = np.delete(sent, low), np.delete(v, low)
    whole = np.zeros((m, m))
    pivots, feedback = np.zeros(m), np.zeros((m, m))
    whole[sent] = pull
    pivots[sent], feedback[np.ix_(sent, sent)] = _factors(lower)
    return Plan(whole, feedback, pivots)


def plain(metric: np.ndarray) -> Plan:
    """Weights themselves as targets, in a metric that was given; inputs that cost nothing are not sent.

    Examples
    --------
    >>> print(plain(np.array([[2.0, 1.0], [1.0, 1.0]])).pivots)
    [2.  0.5]
    """
    sent = np.flatnonzero(np.diagonal(metric) > 0)
    pivots, feedback = np.zeros(len(metric)), np.zeros(metric.shape)
    pivots[sent], feedback[np.ix_(sent, sent)] = _factors(linalg.cholesky(metric[np.ix_(sent, sent)], lower=True))
    return Plan(np.eye(len(metric)), feedback, pivots)


def worth(loss: float) -> float:
    """The least variance over its level of what is to be sent by a code that wastes `loss` bits of each weight.

    Sending N(0, s) at level 1 costs ½log s + loss bits, and leaves 1 instead of s, where a bit is worth 2 ln 2: it pays
    from s - 1 - ln s = 2 ln 2 · loss on.

    Examples
    --------
    >>> round(worth(0.0), 3), round(worth(0.25), 3)
    (1.0, 2.078)
    """
    excess = 2 * np.log(2) * loss
    return optimize.brentq(lambda s: s - 1 - np.log(s) - excess, 1.0, 3 + 3 * excess)


def alike(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kinds of outputs whose variances are within about an octave, (k,) from 0 on, and the relative variance of each.

    Of weights N(0, r_i c_j), and so measured in units of the inputs' r_i. Mean squares of m Gaussians spread by
    themselves, by √(2/m): only what they spread beyond that is taken for real.

    Examples
    --------
    >>> kinds, variances = alike(np.outer([0.5, 1.0, 2.0, 1.0], [1.0, -1.0, 4.0]))
    >>> print(kinds, variances.round(2))
    [0 0 1] [0.64 1.71]
    """
    rows = np.mean(weights**2, axis=1)
    heard = rows > 0
    if not heard.any():
        return np.zeros(weights.shape[1], int), np.ones(1)
    relative = np.mean(weights[heard] ** 2 / rows[heard, None], axis=0)
    spread, noise = float(np.var(relative)), 2 / np.count_nonzero(heard)
    kept = max(spread - noise, 0.0) / (1 + noise) / max(spread, noise)
    shrunk = np.maximum(1 + kept * (relative - 1), 2.0**-OCTAVES)
    octave = np.minimum(np.round(np.log2(shrunk)), OCTAVES)
    _, kinds, counts = np.unique(octave, return_inverse=True, return_counts=True)
    return kinds, np.bincount(kinds, shrunk) / counts


def _inverse(lower: np.ndarray) -> np.ndarray:
    """(L Lᵀ)⁻¹, in half of the time of solving for it."""
    half = np.tril(linalg.get_lapack_funcs("potri", (lower,))(lower, lower=True)[0])
    return half + np.tril(half, -1).T


def _pull(inverse: np.ndarray, moments: np.ndarray, sent: np.ndarray, charged: np.ndarray) -> np.ndarray:
    """M⁻¹Σ, (sent, m): of what is sent M⁻¹(M - T) = I - M⁻¹T."""
    pull, rest = np.empty((len(sent), len(moments))), np.ones(len(moments), bool)
    pull[:, sent] = np.eye(len(sent)) - inverse * charged
    rest[sent] = False
    pull[:, rest] = inverse @ moments[sent][:, rest]
    return pull


def _factors(lower: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ℓ², and F_ij = L_ji/ℓ_i for j > i."""
    roots = np.diagonal(lower)
    return roots**2, np.triu((lower / roots[None, :]).T, 1)
