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
    finite_blocklength,
    gaussian,
    linear,
    perception,
    side_information,
)
from rdtheory.limits.algorithms import blahut_arimoto, interior_point
from rdtheory.limits.channel import capacity
from rdtheory.limits.discrete import curve, distortion_at, rate_at
from rdtheory.models import candidates, datasets, evaluation, golden_rules, importance, networks, relu, training
from rdtheory.schemes import (
    channel_simulation,
    gaussian_channel,
    low_rank,
    prune,
    quantize,
    random_codebook,
    sparse_regression,
    trellis,
)

__version__ = "0.1.0"

__all__ = [
    "algorithms",
    "blahut_arimoto",
    "bottleneck",
    "candidates",
    "capacity",
    "channel",
    "channel_simulation",
    "closed_form",
    "continuous",
    "curve",
    "datasets",
    "discrete",
    "distortion",
    "distortion_at",
    "evaluation",
    "finite_blocklength",
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
    "random_codebook",
    "rate_at",
    "relu",
    "side_information",
    "sources",
    "sparse_regression",
    "training",
    "trellis",
]
