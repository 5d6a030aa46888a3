"""R(D) of a discrete source: along the curve, at a distortion, at a rate, certified from both sides.

These choose among the algorithms of `algorithms` by the size of the problem: the interior point on all reproduction
letters where that is small, column generation with the interior point inside where it is not, Newton's method with one
factor of the kernel where most of many letters are in use, one after another until the gap is met. Which one it was is
in the result.
"""

from rdtheory.limits.discrete.bands import band
from rdtheory.limits.discrete.points import curve, distortion_at, lagrangian, rate_at, test_channel
from rdtheory.limits.discrete.shannon import shannon_lower_bound
from rdtheory.limits.discrete.transitions import transitions

__all__ = [
    "METHODS",
    "band",
    "curve",
    "distortion_at",
    "lagrangian",
    "rate_at",
    "shannon_lower_bound",
    "test_channel",
    "transitions",
]

METHODS = ("Blahut-Arimoto", "accelerated Blahut-Arimoto", "interior point", "column generation", "Newton")
"""What the field ``method`` of a result counts."""
