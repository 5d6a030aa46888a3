"""R(D) of sources on the real line, certified for the continuous source and not for a grid."""

from rdtheory.limits.continuous.points import ContinuousRate, rate_at

__all__ = ["ContinuousRate", "rate_at"]
