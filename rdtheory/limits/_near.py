"""How far the optimum may be from a channel whose Lagrangian is off by a certified gap.

notation: p source; z = A q; z* that of an optimum q*; c* = Aᵀ(p/z*) is at most one on the letters allowed.
"""

import numpy as np


def slack(gap: float, variance: np.ndarray | float, largest: np.ndarray | float) -> np.ndarray | float:
    """By how much Σ p h/z* may differ from a = Σ p h/z, for a function h.

    `variance` is Σ p (h/z - a)² and `largest` at least max abs(h/z - a) + abs(a). With r = z/z*, the gap is in nats at
    least -Σ p log r, so Σ p r is at least 1 - gap; and Σ p r = Σ q c* <= 1. For w = h/z - a and any ν > max w

        1 - Σ p r w/ν  >=  Σ p r (1 - w/ν)  >=  exp(Σ p log r + Σ p log(1 - w/ν))  >=  1 - gap + Σ p log(1 - w/ν).

    As -log(1 - t) <= t + t²/2(1 - max(t, 0)) and Σ p w = 0, Σ p r w <= Σ p w²/2(ν - max w) + gap ν, of which the best
    ν makes what is returned. The other side is that of -h, and Σ p r a adds at most gap abs(a).
    """
    return np.sqrt(2 * gap * variance) + gap * largest
