"""Pictures of results. Each function draws on given axes (or makes them) and returns them; units are on the axes.

The only package that imports matplotlib. Colors are from the Okabe-Ito palette, and differ in lightness and line style
too, so that they survive color blindness and gray print.
"""

from rdtheory.plotting._codes import block_lengths, distance_to_limit, formats
from rdtheory.plotting._curves import linear_bound, rate_distortion, test_channel, water_filling
from rdtheory.plotting._networks import compression, compression_grid, importance, optimality, relu_theorem
from rdtheory.plotting._report import evidence, svg

__all__ = [
    "block_lengths",
    "compression",
    "compression_grid",
    "distance_to_limit",
    "evidence",
    "formats",
    "importance",
    "linear_bound",
    "optimality",
    "rate_distortion",
    "relu_theorem",
    "svg",
    "test_channel",
    "water_filling",
]
