"""What a gap leaves open, against all ratios r = z/z* of two letters: Σ p r <= 1 and -Σ p ln r <= gap."""

import numpy as np
import pytest

from rdtheory.limits import _near


@pytest.mark.parametrize("gap", [1e-6, 1e-3, 0.1])
@pytest.mark.parametrize("p", [0.5, 0.1])
def test_no_ratio_goes_beyond_the_slack_and_one_comes_near(p, gap):
    h = np.array([0.3, 1.0])  # h/z of both letters
    law = np.array([1 - p, p])
    mean = law @ h
    first = np.exp(np.linspace(-2 * gap / (1 - p) - 3 * np.sqrt(gap), 2 * np.sqrt(gap / p), 200_001))
    # On the edge Σ p r = 1, and on the edge -Σ p ln r = gap: what is farthest lies on one of them.
    for second in ((1 - (1 - p) * first) / p, np.exp((-gap - (1 - p) * np.log(first)) / p)):
        allowed = (second > 0) & ((1 - p) * first + p * second <= 1 + 1e-12)
        allowed &= -(1 - p) * np.log(first) - p * np.log(np.where(second > 0, second, 1)) <= gap + 1e-12
        off = np.abs((1 - p) * first * h[0] + p * second * h[1] - mean)[allowed]
        bound = _near.slack(gap, law @ (h - mean) ** 2, np.abs(h - mean).max() + mean)
        assert off.max() <= bound * (1 + 1e-9)
        assert off.max() >= 0.6 * bound or gap > 1e-3
