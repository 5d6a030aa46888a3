"""Scalar quantization of weights by their importance, with every bit counted.

Codebooks: `kmeans` and `quartic` are globally optimal, `lloyd` and `entropy_constrained` local, `gaussian_codebook` is
that of a density. Grids: `uniform` rounds
a layer to multiples of `steps`, whose common water level `uniform_at_rate` finds for a whole model. `error_feedback`
rounds column after column and lets what is still to come make up for the errors. `transform` is for linear models.
"""

from rdtheory.schemes.quantize.codebooks import centroid, kmeans, quartic
from rdtheory.schemes.quantize.eigenbasis import transform
from rdtheory.schemes.quantize.feedback import conditional_importance, error_feedback
from rdtheory.schemes.quantize.gaussian_codebook import gaussian_codebook
from rdtheory.schemes.quantize.lloyd_max import entropy_constrained, lloyd
from rdtheory.schemes.quantize.sizes import coded_size
from rdtheory.schemes.quantize.uniform_steps import uniform, uniform_at_rate
from rdtheory.schemes.quantize.water_steps import steps

__all__ = [
    "centroid",
    "coded_size",
    "conditional_importance",
    "entropy_constrained",
    "error_feedback",
    "gaussian_codebook",
    "kmeans",
    "lloyd",
    "quartic",
    "steps",
    "transform",
    "uniform",
    "uniform_at_rate",
]
