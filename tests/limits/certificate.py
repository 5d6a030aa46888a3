"""The certificate of a `RateDistortion`, recomputed in NumPy from nothing but q and the slope."""

import numpy as np

from tests import oracles

ROUNDING = 2e-13  # NumPy's own sums over a few dozen terms of at most a few hundred bits


def assert_certified(problem, result):
    """Rate - gap is at most what the dual point proves, and rate at least what a channel at that D really costs."""
    p, d = problem.source_pmf, problem.distortion_matrix
    q, slope = np.asarray(result.reproduction_pmf), float(result.slope)
    D, rate, gap = float(result.distortion), float(result.rate), float(result.gap)
    assert gap >= 0
    np.testing.assert_allclose(q.sum(), 1, rtol=0, atol=1e-12)
    channel_rate, channel_distortion, lower = oracles.point_of(p, d, q, slope)
    if (
        channel_distortion > D and channel_distortion > oracles.used_rows(p, d)[2]
    ):  # time-share with a channel of least distortion
        used, _, least = oracles.used_rows(p, d)
        at_least = oracles.mutual_information(used, oracles.least_distortion_channel(p, d))
        share = (channel_distortion - D) / (channel_distortion - least)
        channel_rate = (1 - share) * channel_rate + share * at_least
    assert rate >= channel_rate - ROUNDING, f"claims {rate}, but the channel costs {channel_rate}"
    # No channel of that distortion beats the bound, and the bound is what the result says it is.
    assert rate - gap <= lower(D) + ROUNDING, f"claims at least {rate - gap}, but only {lower(D)} is proved"


def assert_honest(exact, result):
    """R(D) in [rate - gap, rate], no slack but the rounding of the formula for R(D)."""
    rate, gap = float(result.rate), float(result.gap)
    assert rate - gap - 1e-14 <= exact <= rate + 1e-14, f"{exact} is not in [{rate - gap}, {rate}]"
