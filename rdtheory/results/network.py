"""What the functions of `network` return."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class LayerPrior(NamedTuple):
    """Independent Gaussian weights N(0, r_i c_j), fitted to a layer, and how well they fit."""

    row_variances: Float[np.ndarray, " m"]  #: r
    column_variances: Float[np.ndarray, " k"]  #: c
    kurtosis: Float[np.ndarray, ""]  #: of w/√(r c), weights of variance zero left out; 3 for a Gaussian; NaN for none
    kurtosis_error: Float[np.ndarray, ""]  #: its standard error if the prior is right
    divergence: Float[np.ndarray, ""]  #: bits per weight, of the law of w/√(r c) from the Gaussian, estimated; >= 0
    divergence_error: Float[np.ndarray, ""]  #: what that estimate may be off by: bias and two standard errors


class LayerLimit(NamedTuple):
    """A rate that was achieved beside R(D) of a prior, in bits per weight."""

    bound: Float[np.ndarray, "..."]  #: R(D); 0 where nothing must be described
    gap: Float[np.ndarray, "..."]  #: rate - bound; NaN where the rate is below the bound
    #: bound - rate where that is positive, which cannot be of weights from the prior, on average; 0 elsewhere
    evidence: Float[np.ndarray, "..."]


class NetworkReport(NamedTuple):
    """What formats and our code take and lose, layer by layer (the second axis) and in all."""

    formats: tuple[str, ...]  #: names along the first axis; the last one is our code
    layers: tuple[str, ...]  #: names along the second axis, the paths in the weights
    kinds: tuple[str, ...]  #: "inputs", or "table" where rows are looked up: turned, each row as often as any other
    shapes: Int[np.ndarray, "layers 3"]  #: matrices, inputs, outputs
    rows_per_input: Float[np.ndarray, " layers"]  #: calibration rows over m; below 10 the moments are poor
    kurtosis: Float[np.ndarray, " layers"]  #: as in `LayerPrior`, of the first matrix
    divergence: Float[np.ndarray, " layers"]  #: bits per weight, likewise
    bits: Float[np.ndarray, "formats layers"]  #: per weight, scales and headers included
    relative: Float[np.ndarray, "formats layers"]  #: E‖Δᵀx‖²/E‖Wᵀx‖² on held-out inputs
    relative_error: Float[np.ndarray, "formats layers"]  #: its standard error over the held-out examples
    limit: LayerLimit  #: each (formats, layers), at the distortion of the format
    total_bits: Float[np.ndarray, " formats"]  #: per weight of all layers; of our code the bytes of one stream
    total_limit: LayerLimit  #: each (formats,), one water level for all layers, weighted by their effect
    predicted: Float[np.ndarray, " formats"]  #: change of the network's outputs, to second order
    measured: Float[np.ndarray, " formats"]  #: the same on held-out inputs: squared error of an example, or KL in bits
    measured_error: Float[np.ndarray, " formats"]  #: its standard error
    power: Float[np.ndarray, ""]  #: mean of the squared outputs of an example
    agreement: Float[np.ndarray, " formats"]  #: share of equal decisions; NaN where there is one output
    agreement_error: Float[np.ndarray, " formats"]  #: its standard error
    examples: Int[np.ndarray, "2"]  #: for calibration, held out
    skipped: tuple[str, ...]  #: names of what stays as it is
    reasons: tuple[str, ...]  #: and why
    skipped_weights: Int[np.ndarray, ""]  #: how many numbers that are
    kind: str  #: of the importance
