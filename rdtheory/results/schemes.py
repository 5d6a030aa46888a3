"""What the functions of `schemes` return."""

from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, PyTree, Shaped


class GaussianChannel(NamedTuple):
    """The channel Ŵ = gain W + Z with Z ~ N(0, noise_cov) independent of W (everything centered)."""

    gain: Float[Array, "m m"]  #: acts on a weight vector (m,)
    noise_cov: Float[Array, "m m"]  #: symmetric positive semidefinite


class ChannelPerformance(NamedTuple):
    """What a Gaussian channel spends and attains, read off its matrices."""

    rate: Float[Array, ""]  #: I(W; Ŵ), bits per weight vector
    distortion: Float[Array, ""]  #: E (W - Ŵ)ᵀ Σ_X (W - Ŵ)
    orthogonality: Float[Array, ""]  #: E Ŵᵀ Σ_X (W - Ŵ), the residual of the first golden rule


class CodedSize(NamedTuple):
    """What quantized weights take to store: bits in all by name, and bits per weight.

    ``rate`` = (labels + frequencies + codebook + scales + alphabet) / number of weights.
    """

    rate: Float[Array, "..."]  #: bits per weight with an adaptive entropy coder, side information included
    fixed_rate: Float[Array, "..."]  #: bits per weight with equally long labels, side information included
    labels: Float[Array, "..."]  #: bits: number of weights times the empirical entropy of their labels
    frequencies: Float[Array, "..."]  #: bits more that the coder spends because it learns the frequencies as it goes
    codebook: Float[Array, "..."]  #: bits of the values that the labels stand for
    scales: Float[Array, "..."]  #: bits of the quantizer steps
    alphabet: Float[Array, "..."]  #: bits that say which labels there are: the zero point and the number of levels


class Codebook(NamedTuple):
    """The best codebook there is: no other has a smaller objective, up to rounding."""

    codebook: Float[Array, "... levels"]  #: ascending; the quantized weights are ``codebook[labels]``
    labels: Int[Array, "..."]  #: in the shape of the weights
    objective: Float[Array, "..."]  #: what was minimized, at this codebook and these labels
    size: CodedSize


class FittedCodebook(NamedTuple):
    """A codebook improved until nothing changed: a local optimum, no more."""

    codebook: Float[Array, "... levels"]  #: ascending; the quantized weights are ``codebook[labels]``
    labels: Int[Array, "..."]  #: in the shape of the weights
    objective: Float[Array, "..."]  #: Σ importance (w - ŵ)²
    size: CodedSize
    converged: Bool[Array, "..."]  #: the last step moved nothing
    steps: Int[Array, "..."]  #: iterations made


class FeedbackQuantized(NamedTuple):
    """Weights quantized column after column, each error made up for by the columns after it."""

    weights_hat: Float[Array, "..."]  #: ŵ, in the shape of the weights
    labels: Int[Array, "..."]  #: multiples of the step, or positions in the codebook
    objective: Float[Array, ""]  #: Σ_rows (w - ŵ)ᵀ importance (w - ŵ), without the damping


class Steps(NamedTuple):
    """Steps of a uniform quantizer: entry (i, j) of the weights has step rows[i] · columns[j]."""

    rows: Float[Array, "r 1"]  #: infinite where nothing need be described
    columns: Float[Array, "1 c"]


class UniformQuantized(NamedTuple):
    """A layer rounded to multiples of its steps."""

    weights_hat: Float[Array, "r c"]  #: ŵ = labels · steps
    labels: Int[Array, "r c"]
    steps: Steps  #: as stored, in few bits
    objective: Float[Array, ""]  #: Σ importance (w - ŵ)²; with a metric Σ_rows importance (w - ŵ)ᵀ metric (w - ŵ)
    size: CodedSize


class TransformCoded(NamedTuple):
    """Weight vectors of a linear model, quantized in the basis that makes their components independent."""

    weights_hat: Float[Array, "n m"]
    rate: Float[Array, ""]  #: bits per weight vector, the sum of the empirical entropies of the components
    distortion: Float[Array, ""]  #: mean of (w - ŵ)ᵀ Σ_X (w - ŵ), squared output units


class UniformLayers(NamedTuple):
    """Layers rounded at one water level."""

    level: Float[Array, ""]  #: θ, the weighted squared error aimed at for each weight
    layers: list[UniformQuantized]
    size: CodedSize  #: of all layers together


class EntropyConstrained(NamedTuple):
    """A codebook with variable-length labels, improved until nothing changed: a local optimum, no more."""

    codebook: Float[Array, "... levels"]  #: ascending; the first `used` entries, then the last of them again
    labels: Int[Array, "..."]  #: in the shape of the weights
    objective: Float[Array, "..."]  #: Σ importance (w - ŵ)²
    size: CodedSize
    converged: Bool[Array, "..."]  #: the last step moved nothing
    steps: Int[Array, "..."]  #: iterations made
    lagrangian: Float[Array, "..."]  #: bits, what was minimized: size.labels + slope · objective
    used: Int[Array, "..."]  #: number of labels left


class Pruned(NamedTuple):
    """Weights some of which are zero, and how well they keep the golden rules."""

    weights_hat: PyTree  #: ŵ, like the weights
    mask: PyTree  #: True where a weight is kept
    kept: Int[Array, ""]  #: number of weights kept
    objective: Float[Array, ""]  #: (w - ŵ)ᵀ I_w (w - ŵ), in the importance that was given
    orthogonality: Float[Array, ""]  #: ŵᵀ I_w (w - ŵ), the residual of the first golden rule
    cosine: Float[Array, ""]  #: the same over ‖ŵ‖ ‖w - ŵ‖ in the I_w norm, in [-1, 1]; 0 where either is 0


class LowRank(NamedTuple):
    """A matrix of weights as a product of two thin ones."""

    left: Float[Array, "a r"]  #: from the input side
    right: Float[Array, "r b"]  #: to the output side; weights_hat = left @ right, reshaped
    weights_hat: Float[Array, "..."]  #: Ŵ, in the shape of the weights
    objective: Float[Array, ""]  #: tr(ΔᵀA Δ B), Δ = W - Ŵ
    orthogonality: Float[Array, ""]  #: tr(ŴᵀA Δ B), the residual of the first golden rule
    cosine: Float[Array, ""]  #: the same normalized, in [-1, 1]
    parameters: Int[Array, ""]  #: r (a + b), numbers to be stored
    singular_values: Float[Array, " s"]  #: all of A^½ W B^½, descending; the objective is the sum of squares past rank


class TrellisQuantized(NamedTuple):
    """Weights as labels of a trellis code, in their shape and in row-major order.

    Label k with quantizer q = state mod 2 stands for scale · (2k + q + offsets[q, k]/128).
    """

    labels: Int[Array, "..."]  #: k; with the scale, the offsets and the code all that a decoder needs
    weights_hat: Float[Array, "..."]  #: ŵ, zero where nothing is sent
    states: Int[Array, "..."]  #: the state of the trellis before each label
    contexts: Int[Array, "..."]  #: 2 · class + quantizer; classes are eighths of an octave of σ/Δ, 0 is not sent
    rate: Float[Array, ""]  #: bits per weight with the probabilities of `spread`, and `side`: an arithmetic coder's
    entropy: Float[Array, ""]  #: an estimate, labels given contexts: an ideal code with empirical frequencies for free
    side: Float[Array, ""]  #: bits per weight of what else is sent: offsets, a factor, a deviation that is not known
    scale: Float[Array, "..."]  #: Δα, one number or in the shape of the weights; 0 where nothing is sent
    offsets: Int[Array, "2 kinds"]  #: 128ths, by q, for the labels -m..m and, outermost, those beyond: centroids
    spread: Float[Array, "..."]  #: τ, like the scale: label k has a probability in proportion to exp(-(2k + q)²/2τ²)


class MeasuredDistortion(NamedTuple):
    """A Monte Carlo measurement of what a code attains."""

    distortion: Float[Array, "..."]  #: mean over what was encoded
    standard_error: Float[Array, "..."]  #: of that mean
    rate: Float[Array, "..."]  #: bits spent, whole names counted, per symbol or per vector as the function says


class NearestCodeword(NamedTuple):
    """Where in a codebook the weights are, and how far off."""

    index: Int[Array, "..."]  #: all that is sent, ⌈log2 of the number of codewords⌉ bits
    distortion: Float[Array, "..."]  #: Σ λ (w - ŵ)²


class ExcessRate(NamedTuple):
    """A Monte Carlo measurement of the rate at which a code fails with a given probability."""

    rate: Float[Array, "..."]  #: bits per weight vector, log2 of a number of codewords; not rounded up
    low: Float[Array, "..."]  #: the true one is in [low, high] with probability 95 %
    high: Float[Array, "..."]


class SimulatedChannel(NamedTuple):
    """What is sent so that the decoder has a sample of the channel's output."""

    index: Int[Array, "..."]  #: number of the candidate, from 1; 0 where the search was cut: no sample
    bits: Float[Array, "..."]  #: ideal length of the index, `channel_simulation.code_length`; NaN where it was cut
    candidates: Int[Array, "..."]  #: how many had to be looked at
    found: Bool[Array, "..."]  #: the search ended within the limit


class Quantized(NamedTuple):
    """Weights as whole numbers, with what turns them back into weights; a leaf of what `bitstream.encode` takes.

    A label k stands for step · (k + offset), or for step · codebook[k]. With `taps` it belongs to a trellis code: at
    state s of the decoder it stands for step · (2k + q + offset), q = s mod 2, and the next state is
    ⌊s/2⌋ ⊕ q · taps[0] ⊕ (k mod 2) · taps[1], from state 0 on, the labels taken in row-major order.
    """

    labels: Int[Array | np.ndarray, "..."]  #: in the shape of the weights
    step: Float[Array | np.ndarray, "..."] | None = (
        None  #: >= 0, broadcasts against the labels; 0 or infinite: the weight is zero; without a codebook None is 1
    )
    codebook: Float[Array | np.ndarray, " levels"] | None = None  #: values of the labels 0, 1, ...; without it, a grid
    #: int8, 128ths of a step, for the labels -m..m; beyond, the outermost: (2m + 1,), or (2, 2m + 1) by q
    offsets: Int[Array | np.ndarray, "..."] | None = None
    classes: Int[Array | np.ndarray, "..."] | None = (
        None  #: 0..255, broadcasts against the labels: which share their frequencies
    )
    taps: Int[Array | np.ndarray, "2"] | None = (
        None  #: whole numbers below 4096 that make the trellis; None for scalar labels
    )


class CodedLayer(NamedTuple):
    """A layer as labels of a dithered code, with a step for each input; a leaf of what `bitstream.encode` takes.

    The steps are base · 2^(exponent/8), with 12 bits for each eighth of an octave. A label k stands for step · (k - z),
    z the dither, or with taps for step · (k + q/2 - z), q = s mod 2 by the state s of the trellis (as of `Quantized`),
    which is 0 again at the beginning of each input and of each of its segments, of at most 512 outputs.
    """

    labels: Int[np.ndarray, "m k"]  #: m inputs, k outputs; 0 where nothing is sent
    base: Float[np.ndarray, ""]  #: > 0, of 11 bits, in the dtype of the weights, float32 at least
    exponents: Int[np.ndarray, "kinds m"]  #: -32768 where nothing is sent
    kinds: Int[np.ndarray, " k"] | None = None  #: uint8, which row of the exponents an output has; if there are two
    seed: Int[np.ndarray, ""] | None = None  #: of the dither, uint32; without it there is none
    taps: Int[np.ndarray, "2"] | None = None  #: of a code of `trellis`; None for scalar labels


class LayerQuantized(NamedTuple):
    """A layer quantized input after input, each error made up for by the inputs that follow."""

    weights_hat: Float[Array, "m k"]  #: ŵ, zero where nothing is sent
    rate: Float[Array, ""]  #: bits per weight: Gaussian code lengths, and about what the steps and spreads take
    distortion: Float[Array, ""]  #: tr (W - Ŵ)ᵀ Σ (W - Ŵ), under the moments that were given
    coded: CodedLayer  #: what `bitstream.encode` takes


class Stored(NamedTuple):
    """A layer in one of today's formats."""

    weights_hat: Shaped[np.ndarray, "m k"]  #: ŵ
    bits: Int[np.ndarray, ""]  #: of labels and scales
