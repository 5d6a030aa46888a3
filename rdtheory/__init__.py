"""rdtheory: what rate-distortion theory says about compressing models, computed with certificates.

>>> import rdtheory as rd
>>> point = rd.rate_at(jnp.array([0.7, 0.3]), rd.distortion.hamming(2), 0.1)
>>> print(f"{point.rate:.9f} bits, certified to within 1e-9: {point.gap < 1e-9}")
0.412295306 bits, certified to within 1e-9: True
"""

from rdtheory import distortion, information, sources
from rdtheory.limits import (
    algorithms,
    bottleneck,
    channel,
    closed_form,
    continuous,
    discrete,
    gaussian,
    linear,
    perception,
    side_information,
)
from rdtheory.limits.algorithms import blahut_arimoto, interior_point
from rdtheory.limits.channel import capacity
from rdtheory.limits.discrete import curve, distortion_at, rate_at
from rdtheory.models import candidates, datasets, evaluation, golden_rules, importance, networks, relu, training
from rdtheory.schemes import bitstream, gaussian_channel, low_rank, prune, quantize, scalar

__version__ = "0.1.0"

__all__ = [
    "algorithms",
    "bitstream",
    "blahut_arimoto",
    "bottleneck",
    "candidates",
    "capacity",
    "channel",
    "closed_form",
    "continuous",
    "curve",
    "datasets",
    "discrete",
    "distortion",
    "distortion_at",
    "evaluation",
    "gaussian",
    "gaussian_channel",
    "golden_rules",
    "importance",
    "information",
    "interior_point",
    "linear",
    "low_rank",
    "networks",
    "perception",
    "prune",
    "quantize",
    "rate_at",
    "relu",
    "scalar",
    "side_information",
    "sources",
    "training",
]
