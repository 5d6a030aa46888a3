"""R(D) of a discrete source: along the curve, at a distortion, at a rate, certified from both sides."""

from rdtheory.limits.discrete.points import METHODS, curve, distortion_at, lagrangian, rate_at, test_channel

__all__ = ["METHODS", "curve", "distortion_at", "lagrangian", "rate_at", "test_channel"]
