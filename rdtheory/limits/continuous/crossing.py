"""The slope at which a distortion is spent: bracketed secant steps in logarithms."""

import math
from collections.abc import Callable


def slope_of(distortion: Callable[[float], float], start: float, target: float) -> float:
    """A slope whose distortion, which falls with it, is within a thousandth of the target, or next below it."""
    slope = start
    low, high = 0.0, math.inf  # slopes with more and with less distortion
    previous = None
    for _ in range(40):
        error = math.log(max(distortion(slope) / target, 1e-30))
        if error > 0:
            low = slope
        else:
            high = slope
        if abs(error) < 1e-3 or high / max(low, 1e-300) < 1 + 1e-6:
            break
        rate = -1.0
        if previous is not None and previous[1] != error:
            rate = min((error - previous[1]) / math.log(slope / previous[0]), -0.1)
        previous = (slope, error)
        aim = slope * math.exp(min(max(-error / rate, -1.0), 1.0))
        slope = aim if low < aim < high else math.sqrt(low * high)  # beyond an end only where both are known
    return high if high < math.inf and abs(error) >= 1e-3 else slope
