"""Where an unknown density is high, and how fast it falls there."""

from collections.abc import Callable

import numpy as np

ROUNDS = 120  # each a five-hundredth of the one before: from lengths of one to the least there are
FLAT = 1e-9  # nats


@np.errstate(over="ignore", invalid="ignore")  # far out
def find(
    log_density: Callable[[np.ndarray], np.ndarray], low: float, high: float, likely: np.ndarray
) -> tuple[float, float]:
    """Where the density is highest, by zooming in, and the length over which it falls by a factor e there.

    It is looked at everywhere, and at the `likely` places.
    """
    reach = 2.0 ** np.linspace(-30, 40, 2001)
    if np.isfinite(low) and np.isfinite(high):
        x = low + (high - low) * (np.arange(4001) + 0.5) / 4001
    elif np.isfinite(low):
        x = low + reach
    elif np.isfinite(high):
        x = high - reach[::-1]
    else:
        x = np.concatenate([-reach[::-1], reach])
    x = np.union1d(x, likely)
    for _ in range(ROUNDS):
        values = log_density(x)
        values = np.where(np.isnan(values), -np.inf, values)
        highest = np.nonzero(values == values.max())[0]
        best = int(highest[(len(highest) - 1) // 2])  # not the end of a flat top: what is next to it is no width
        a, b = x[max(best - 1, 0)], x[min(best + 1, len(x) - 1)]
        peak = x[best]
        if not a < b or b - a < 1e-15 * max(abs(a), abs(b)):
            break
        if values[best] - values.min() < FLAT:
            break
        x = np.union1d(np.linspace(a, b, 1001), [peak])  # a peak that is told can be too narrow to be met again
    reach = np.concatenate([2.0 ** np.arange(-1000, -30, 0.1), reach, 2.0 ** np.arange(40.1, 500, 0.1)])
    steps = np.concatenate([peak - reach[::-1], peak + reach])
    steps = steps[(steps > low) & (steps < high)]
    fallen = np.abs(steps - peak)[log_density(steps) < log_density(np.array([peak])) - 1]
    width = float(fallen.min()) if fallen.size else 1.0
    return float(peak), min(width, high - low)
