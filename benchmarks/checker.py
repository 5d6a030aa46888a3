"""An independent check of certificates, in NumPy, from the returned q, slope and D alone; it does not import rdtheory.

With A = 2^(-s (d - min_y d)), z = A q, c = Aᵀ(p/z), the channel q A / z costs

    R_Q = -s (D_Q - least) - Σ p log z - Σ q c log c      bits at distortion D_Q,

and for every D the rate-distortion function is at least  -s (D - least) - Σ p log z - log max c. A result that claims
more than that is a failure, whatever its gap says.
"""

from typing import NamedTuple

import numpy as np


class Dense(NamedTuple):
    """What q and a slope prove."""

    rate: float  # R_Q, bits
    distortion: float  # D_Q
    gap: float  # log max c - Σ q c log c, bits
    upper: float  # R_Q + s D_Q: no less than the least R + s D
    lower: float  # that minus the gap: no more than it
    least: float  # Σ p min d
    rounding: float  # allowance for the sums made here


def kernel(p: np.ndarray, d: np.ndarray, slope: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Masses that are not zero, A of their rows, and Σ p min d."""
    used = p > 0
    p, d = (p, d) if used.all() else (p[used], d[used])
    best = d.min(axis=1)
    exponent = best[:, None] - d
    # An infinite slope leaves the letters of least distortion, and an infinite distortion none, whatever the slope.
    exponent[exponent != 0] *= slope
    if slope == 0:
        exponent[np.isinf(d)] = -np.inf
    return p, np.exp2(exponent, out=exponent), float(p @ best)


def dense(p: np.ndarray, d: np.ndarray, q: np.ndarray, slope: float) -> Dense:
    """The certificate of (q, slope)."""
    p, q, d, slope = (np.asarray(x, dtype=np.float64) for x in (p, q, d, slope))
    rows = d[p > 0]
    p, a, least = kernel(p, d, float(slope))
    z = a @ q
    ratio = p / z
    c = ratio @ a
    free = -float(p @ np.log2(z))
    qc = q * c
    drift = float(np.sum(qc[qc > 0] * np.log2(c[qc > 0])))
    excess = rows - rows.min(axis=1, keepdims=True)
    excess[a == 0] = 0.0
    spent = float(ratio @ ((a * excess) @ q))
    gap = float(np.log2(c.max())) - drift
    cost = 0.0 if spent == 0 else float(slope) * spent
    fixed = 0.0 if least == 0 else float(slope) * least
    upper = free - drift + fixed
    size = np.finfo(float).eps * sum(rows.shape)
    magnitude = 1 + 2 * float(p @ np.abs(np.log2(z))) + (abs(fixed) if np.isfinite(fixed) else 0.0)
    return Dense(free - drift - cost, least + spent, gap, upper, upper - gap, least, size * magnitude)


def least_rate(p: np.ndarray, d: np.ndarray) -> float:
    """Bits that some channel of least distortion gets by with: each letter is shown the nearest, if it can the same."""
    p, d = (x[p > 0] for x in (p, np.asarray(d)))
    excess = d - d.min(axis=1, keepdims=True)
    common = np.argmin(p @ np.where(np.isfinite(excess), excess, 1e300))
    shown = np.where(excess[:, common] == 0, common, np.argmin(excess, axis=1))
    law = np.bincount(shown, weights=p)
    law = law[law > 0]
    return min(-float(law @ np.log2(law)), float(np.log2(min(len(p), d.shape[1]))))


def faults(p, d, q, slope, D, rate, gap) -> list[str]:
    """What is wrong with the claim rate - gap <= R(D) <= rate, in words; empty if it is proved by q and the slope.

    A claim at a distortion a little below that of the channel is granted the mixture with a channel of least
    distortion, at the rate of that one.
    """
    values = {"slope": slope, "distortion": D, "rate": rate, "gap": gap}
    q = np.asarray(q, float)
    wrong = [f"{name} is NaN" for name, value in values.items() if np.isnan(value)]
    if not np.all(np.isfinite(q)) or np.any(q < 0) or not 0.999 < q.sum() < 1.001:
        wrong.append("q is not a probability vector")
    if wrong:
        return wrong
    if gap < 0:
        wrong.append(f"the gap is negative: {gap:.3g}")
    proved = dense(p, d, q, slope)
    channel, slack = proved.rate, 4 * proved.rounding
    over = proved.distortion - D
    if over > np.finfo(float).eps * sum(np.shape(d)) * abs(D):  # two sums of the same terms differ by that much
        mixed = over / (proved.distortion - proved.least) if proved.distortion > proved.least else 1.0
        channel = (1 - mixed) * channel + mixed * least_rate(p, d)
    if rate < channel - slack:
        wrong.append(f"claims R <= {rate!r}, but the channel costs {channel!r}")
    lower = max(proved.lower - slope * D, 0.0) if np.isfinite(slope) else channel - proved.gap
    if rate - gap > lower + slack:
        wrong.append(f"claims R >= {rate - gap!r}, but only {lower!r} is proved")
    return wrong
