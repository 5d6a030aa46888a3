"""Answers to the problem sheets, checked: each function takes the answer to one problem and says whether it is right.

What an answer is compared with is computed here, by the solvers, and never written down. An answer that is wrong gets
a hint and the order of its error, which does not give the right one away. An unfilled sheet, whose answers are ``...``,
is not answered yet. Numbers must be right to a thousandth. Answers to research problems have no reference: they are
measured.
"""

from rdtheory.exercises._answers import Verdict
from rdtheory.exercises._elementary import coin, collapse, die, erasure, gaussian_distortion, one_bit, two_components
from rdtheory.exercises._intermediate import (
    best_scale,
    coin_channel,
    critical_slope,
    linear_bounds,
    quantizer_gap,
    shannon_gap,
    unequal_costs,
    wyner_ziv,
)
from rdtheory.exercises._research import (
    bytes_on_disk,
    dual,
    laplace_quantizer,
    layer,
    lower_bound,
    mixture,
    pruning_mask,
    weights,
)

__all__ = [
    "Verdict",
    "best_scale",
    "bytes_on_disk",
    "coin",
    "coin_channel",
    "collapse",
    "critical_slope",
    "die",
    "dual",
    "erasure",
    "gaussian_distortion",
    "laplace_quantizer",
    "layer",
    "linear_bounds",
    "lower_bound",
    "mixture",
    "one_bit",
    "pruning_mask",
    "quantizer_gap",
    "shannon_gap",
    "two_components",
    "unequal_costs",
    "weights",
    "wyner_ziv",
]
