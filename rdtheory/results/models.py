"""What the functions of `models` return."""

from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Float, Int, PyTree


class GoldenRules(NamedTuple):
    """The two golden rules, as residual numbers."""

    orthogonality: Float[Array, ""]  #: ŵᵀ I_w (w - ŵ), squared output units; rule one asks for 0
    cosine: Float[Array, ""]  #: the same over ‖ŵ‖ ‖w - ŵ‖ in the I_w norm, in [-1, 1]; 0 where either is 0
    objective: Float[Array, ""]  #: (w - ŵ)ᵀ I_w (w - ŵ), what rule two minimizes


class BestScale(NamedTuple):
    """The best multiple of a compressed ReLU model, and what not using it costs."""

    scale: Float[Array, ""]  #: the factor >= 0 that minimizes the distortion of factor · ŵ
    distortion: Float[Array, ""]  #: distortion at that factor
    cost: Float[Array, ""]  #: distortion of ŵ itself minus that, >= 0


class Choice(NamedTuple):
    """The candidate that one objective picks, and how far from the best it is."""

    index: Int[Array, ""]  #: position among the candidates
    distortion: Float[Array, ""]  #: true distortion of the pick
    excess: Float[Array, ""]  #: distortion / best distortion - 1, >= 0; 0 when the pick is optimal


class OptimalityCheck(NamedTuple):
    """Exhaustive comparison of objectives with the true distortion of a ReLU model."""

    best_index: Int[Array, ""]  #: the candidate of least true distortion
    best_distortion: Float[Array, ""]  #: its distortion
    full: Choice  #: picked by the full weight importance
    diagonal: Choice  #: picked by the diagonal of the weight importance
    magnitude: Choice  #: picked by the unweighted squared error


class KroneckerFactors(NamedTuple):
    """A Kronecker product A ⊗ B that stands for the importance of one array of weights, in row-major order."""

    input_factor: Float[
        Array, "a a"
    ]  #: A, over all axes but the last; symmetric positive semidefinite, mean diagonal 1
    output_factor: Float[
        Array, "b b"
    ]  #: B, over the last axis; symmetric positive semidefinite, units of the importance
    residual: Float[Array, ""]  #: ‖block - A ⊗ B‖/‖block‖, Frobenius, estimated; NaN where it was not asked for


class SampledImportance(NamedTuple):
    """An estimate of the diagonal of the importance, from directions that were drawn at random."""

    importance: PyTree  #: like the weights, >= 0
    standard_error: PyTree  #: of each entry, over the examples and what was drawn for them; infinite for one example


class WeightMoments(NamedTuple):
    """What meets an array of weights as matrices W (m inputs, k outputs), one or more, and what their outputs do.

    A change Δ of one of them costs about tr Δᵀ A Δ B of the model's output.
    """

    #: A, mean of x xᵀ over all rows; the diagonal (parts, m) where it is diagonal or m > 8192; of a convolution with
    #: m > 8192 a pair, channels (parts, c, c) and taps (parts, t, t), whose Kronecker product stands for it
    inputs: Float[np.ndarray, "parts m m"] | Float[np.ndarray, "parts m"] | tuple[np.ndarray, np.ndarray]
    #: B, mean over the examples of what their rows add up to, in the units of the importance; diagonal if k > 8192
    outputs: Float[np.ndarray, "parts k k"] | Float[np.ndarray, "parts k"]
    rows: Int[np.ndarray, " parts"]  #: how many x the mean is over, all uses together
    layout: Int[np.ndarray, "parts m k"]  #: where in the raveled array each entry of the matrices is
    standard_error: Float[np.ndarray, " parts"]  #: of the trace of `outputs`, over examples and directions drawn
    kinds: str  #: "dense", "convolution", "embedding", or several of them
    reason: str  #: why there are no parts; empty where there are


class ShrunkMoments(NamedTuple):
    """Second moments of a layer's inputs, shrunk because few inputs say little about others."""

    moments: Float[np.ndarray, "m m"]  #: symmetric positive semidefinite
    shrinkage: Float[np.ndarray, ""]  #: α in [0, 1], the share of the moments' own diagonal
    count: Int[np.ndarray, ""] | Float[np.ndarray, ""]  #: n, inputs that they are of


class Split(NamedTuple):
    """Rows of inputs for calibration, and rows held out to measure with."""

    calibration: Int[np.ndarray, " n"]  #: ascending
    held_out: Int[np.ndarray, " h"]  #: ascending


class HeldOut(NamedTuple):
    """What inputs that were held out say about a layer's distortion."""

    distortion: Float[np.ndarray, ""]  #: mean of `each`, squared output units
    standard_error: Float[np.ndarray, ""]  #: of that mean, wider for few inputs
    each: Float[np.ndarray, " n"]  #: of each input


class CompressedLayer(NamedTuple):
    """What `compress` made of one layer."""

    name: str
    shape: tuple[int, ...]
    rate: float  #: bits per weight, in bytes of a file of its own
    distortion: float  #: mean squared change of its outputs, on inputs that were held out
    standard_error: float  #: of that mean; NaN if nothing was held out
    power: float  #: mean square of its outputs, all together, on the same inputs
    bound: (
        float  #: R(D) at that distortion, bits per weight, of the prior; a rate below it is evidence against the prior
    )
    kurtosis: float  #: of weights in units of their row and column: 3 for a Gaussian, as the prior has it
    divergence: float  #: bits, Kullback-Leibler, of their law to the prior's, estimated
    held_out: int  #: inputs that distortions were measured on; 0 if moments were given


class Compressed(NamedTuple):
    """What `compress` made of a model, and how far it is from the limit."""

    data: bytes  #: `decompress` gives the weights
    weights_hat: PyTree  #: as they are decoded, in the structure of what was given
    distortion: float  #: sum over the layers
    standard_error: float  #: of that sum; NaN if nothing was held out
    rate: float  #: bits per weight of the layers: all bytes but those of arrays that are kept as they are
    bound: float  #: R(D) of the layers at their distortions, bits per weight
    layers: tuple[CompressedLayer, ...]
    kept: tuple[str, ...]  #: names of the arrays that are kept, bit for bit
    before: int  #: bytes of all arrays as they were given
